//! The third act: a day of break-glass on a compressed clock, and the real bootstrap on the machine's.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use chrono::{DateTime, Duration, Utc};
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use serde_json::{Value, json};

use super::day::{Act, BEGINS, ENDS, PEOPLE, RIGHTS, SHIFTS, STORY, Scene, Time, shown};
use super::judge::{Changes, Judge, LIMIT};
use super::secrecy::Credentials;
use crate::bench::oncall_now;
use crate::screen::{Screen, grouped};

/// EventBridge's minute does not begin with ours.
const TICK_AFTER: Time = 20;
const MINUTE: Time = 60;
/// More than PagerDuty is asked while it fails.
const FAILING_REPLIES: usize = 500;

/// A day that was played.
pub(super) struct Played {
    screen: Screen,
    world: Oncall,
    shop: Bound,
    people: Vec<Engineer>,
    midnight: DateTime<Utc>,
    judge: Judge<'static>,
    ticks: usize,
    took: std::time::Duration,
    /// Everything that the function answered, and every ledger it stored.
    answers: BTreeSet<String>,
    ledgers: BTreeSet<String>,
    /// The function's metrics, as it wrote them.
    metrics: Arc<Mutex<Vec<Value>>>,
}

/// Plays the day, and prints it.
pub(super) async fn play(screen: Screen) -> Result<Played> {
    let metrics: Arc<Mutex<Vec<Value>>> = Arc::default();
    let taken = Arc::clone(&metrics);
    keyturn::metrics::hand_to(move |line| taken.lock().unwrap_or_else(PoisonError::into_inner).push(line.clone()));
    let world = Oncall::start().await?;
    let midnight = world.today("00:00") + Duration::days(1);
    world.clock.advance(midnight - world.clock.now());
    let people: Vec<Engineer> = PEOPLE.iter().map(|name| world.engineer(name)).collect::<Result<_>>()?;
    let shop = world.bind("shop", &json!({}));
    let mut played = Played {
        screen,
        world,
        shop,
        people,
        midnight,
        judge: Judge::new(&RIGHTS),
        ticks: 0,
        took: std::time::Duration::ZERO,
        answers: BTreeSet::new(),
        ledgers: BTreeSet::new(),
        metrics,
    };
    for (who, from, until) in SHIFTS {
        let engineer = played.engineer(who)?;
        let (from, until) = (played.instant(from), played.instant(until));
        played.world.pagerduty.shift(&played.shop.schedule, &engineer.pagerduty, from, until);
    }
    screen.title("Break-glass: the Okta group follows PagerDuty");
    screen.note("oncall-sync in this process, with PagerDuty, Okta, Datadog, Slack and Parameter Store (emulators).");
    screen.note(&format!(
        "Compressed clock: a tick for each minute from {} to {}, at {TICK_AFTER} s past the minute, as fast as they go.",
        shown(BEGINS),
        shown(ENDS),
    ));
    println!("{}", screen.dim(&format!("  {:<8}{:<20}{:<56}{:>6}", "time", "scene", "who comes and leaves", "after")));
    let started = Instant::now();
    played.day().await?;
    played.took = started.elapsed();
    played.print_summary();
    Ok(played)
}

impl Played {
    async fn day(&mut self) -> Result<()> {
        let mut story = STORY.iter().peekable();
        for minute in BEGINS / MINUTE..=ENDS / MINUTE {
            let tick_at = minute * MINUTE + TICK_AFTER;
            let mut scene = None;
            let mut changes = Changes::default();
            while let Some(next) = story.next_if(|next| next.at <= tick_at) {
                changes = self.begin(next).await?;
                scene = Some(next);
            }
            let at_once = changes != Changes::default();
            self.turn_to(tick_at);
            let report = self.tick().await?;
            let by_tick = self.look(tick_at, None);
            let by_hand = scene.is_some_and(|scene| matches!(scene.act, Act::Grant(..) | Act::Revoke(_)));
            if at_once && by_hand {
                self.print(scene, &changes, scene.map_or(tick_at, |scene| scene.at), &json!({}));
            }
            if by_tick != Changes::default() || (scene.is_some() && !by_hand) {
                self.print(scene, &by_tick, tick_at, &report);
            }
        }
        ensure!(story.next().is_none(), "the day ended before its story");
        Ok(())
    }

    /// Lets a scene begin, and gives back who came and left by that alone.
    async fn begin(&mut self, scene: &Scene) -> Result<Changes> {
        self.turn_to(scene.at);
        let schedule = self.shop.schedule.clone();
        match scene.act {
            Act::Passes => {}
            Act::TakesOver { who, until } => {
                let (from, until) = (self.instant(scene.at), self.instant(until));
                let pagerduty = self.engineer(who)?.pagerduty;
                self.world.pagerduty.override_shift(&schedule, &pagerduty, from, until);
            }
            Act::PagerDutyFails => self.pagerduty_fails(),
            Act::PagerDutyAnswers => self.world.faults.reset(),
            Act::AddedAtOkta(who) => {
                self.world.okta.add(&self.shop.group, &self.engineer(who)?.okta);
                return Ok(self.look(scene.at, Some(who)));
            }
            Act::Grant(who, minutes) => {
                let user = self.engineer(who)?.email;
                let event =
                    json!({"action": "grant", "binding": "shop", "user": user, "minutes": minutes, "reason": "INC-42"});
                self.ask(&event).await?;
            }
            Act::Revoke(who) => {
                let user = self.engineer(who)?.email;
                self.ask(&json!({"action": "revoke", "binding": "shop", "user": user, "reason": "INC-43"})).await?;
            }
        }
        Ok(self.look(scene.at, None))
    }

    /// 500 and not 503: a passing 503 is tried again after real pauses, which no compressed clock shortens.
    fn pagerduty_fails(&self) {
        self.world.faults.reset();
        let schedule = &self.shop.schedule;
        for path in ["/oncalls", &format!("/schedules/{schedule}"), &format!("/v3/schedules/{schedule}")] {
            for nth in 1..=FAILING_REPLIES {
                let call = format!(" PagerDuty GET {path} #{nth}");
                self.world.faults.inject(Point { call, moment: Moment::Before, fault: Fault::Status(500, "") });
            }
        }
    }

    async fn tick(&mut self) -> Result<Value> {
        self.ticks += 1;
        // As EventBridge sends it.
        self.ask(&json!({"source": "aws.events", "detail-type": "Scheduled Event"})).await
    }

    async fn ask(&mut self, event: &Value) -> Result<Value> {
        let report = self.world.event(event).await.with_context(|| format!("oncall-sync refused {event}"))?;
        self.answers.insert(report.to_string());
        if let Ok(ledger) = self.world.ledger(&self.shop) {
            self.ledgers.insert(ledger.to_string());
        }
        Ok(report)
    }

    fn look(&mut self, now: Time, outsider: Option<&str>) -> Changes {
        let people: Vec<&Engineer> = self.people.iter().collect();
        self.judge.look(now, &self.world.members(&self.shop, &people), outsider)
    }

    fn turn_to(&self, time: Time) {
        self.world.clock.advance(self.instant(time) - self.world.clock.now());
    }

    fn instant(&self, time: Time) -> DateTime<Utc> {
        self.midnight + Duration::seconds(time)
    }

    fn engineer(&self, name: &str) -> Result<Engineer> {
        let position = PEOPLE.iter().position(|known| *known == name);
        let engineer = position.and_then(|position| self.people.get(position));
        Ok(engineer.with_context(|| format!("nobody is called {name}"))?.clone())
    }

    fn print(&self, scene: Option<&Scene>, changes: &Changes, now: Time, report: &Value) {
        let screen = self.screen;
        let (title, note) = scene.map_or(("", ""), |scene| (scene.title, scene.note));
        let left = changes.left.iter().map(|who| format!("{who} leaves ({})", self.reason(who, report)));
        let moves: Vec<String> = left.chain(changes.came.iter().map(|who| format!("{who} comes in"))).collect();
        let after = scene.filter(|_| !moves.is_empty());
        let after = after.map_or_else(String::new, |scene| format!("{} s", now - scene.at));
        let moves = if moves.is_empty() { "nobody comes or leaves".to_owned() } else { moves.join(", ") };
        let time = scene.map_or(now, |scene| scene.at);
        let moves = format!("{moves:<56}{after:>6}");
        println!("  {:<8}{}{}", shown(time), screen.name(&format!("{title:<20}")), moves.trim_end());
        if !note.is_empty() {
            println!("  {:<28}{}", "", screen.dim(note));
        }
    }

    /// Why somebody left, as the function says it.
    fn reason(&self, who: &str, report: &Value) -> String {
        let okta = self.engineer(who).map(|engineer| engineer.okta).unwrap_or_default();
        let revoked = report["revoked"].as_array().into_iter().flatten().find(|change| change["user"] == okta);
        revoked.and_then(|change| change["reason"].as_str()).unwrap_or("manual").to_owned()
    }

    fn print_summary(&self) {
        let (screen, judge) = (self.screen, &self.judge);
        let (pagerduty, okta) = (self.world.pagerduty.seen().len(), self.world.okta.seen().len());
        let line = |what: &str, text: String| println!("  {what:<10}{text}");
        let number = |number: usize| grouped(number as u64);
        line("ticks", format!("{} in {:.1} s", number(self.ticks), self.took.as_secs_f64()));
        line("requests", format!("{} to PagerDuty, {} to Okta", number(pagerduty), number(okta)));
        line(
            "people",
            format!(
                "{} granted, {} revoked; longest in without a right {} s, longest out with one {} s: {} {LIMIT} s",
                judge.arrivals,
                judge.departures,
                judge.longest_overstay,
                judge.longest_wait,
                screen.budget(judge.longest_overstay.max(judge.longest_wait) <= LIMIT),
            ),
        );
        let (events, messages) = (self.world.datadog.events().len(), self.world.slack.messages().len());
        line("alerts", format!("{events} at Datadog, {messages} in Slack"));
        line(
            "metrics",
            format!(
                "Grants {}, Revokes {}, OverstaySeconds {} at the most",
                self.metric("Grants").sum::<u64>(),
                self.metric("Revokes").sum::<u64>(),
                self.metric("OverstaySeconds").max().unwrap_or_default(),
            ),
        );
        line(
            "judge",
            format!(
                "wrong at a look: {}; requests no correct client sends: {}",
                screen.zero(judge.broken.len() as u64, 0),
                screen.zero(self.world.violations().len() as u64, 0)
            ),
        );
    }

    /// What the function said with each tick about one of its metrics.
    fn metric(&self, name: &str) -> impl Iterator<Item = u64> {
        let lines = self.metrics.lock().unwrap_or_else(PoisonError::into_inner);
        let values: Vec<u64> = lines.iter().filter_map(|line| line[name].as_u64()).collect();
        values.into_iter()
    }

    /// What was promised and not kept.
    pub(super) fn broken(&self) -> Vec<String> {
        let mut broken: Vec<String> = self.judge.broken.iter().cloned().collect();
        let counted = (self.metric("Grants").sum::<u64>(), self.metric("Revokes").sum::<u64>());
        if counted != (self.judge.arrivals as u64, self.judge.departures as u64) {
            broken.push(format!("the metrics count {} grants and {} revokes", counted.0, counted.1));
        }
        broken.extend(self.world.violations().into_iter().map(|request| format!("no client sends {request}")));
        broken
    }

    /// The day in one line.
    pub(super) fn line(&self) -> String {
        let Judge { arrivals, departures, longest_overstay, .. } = &self.judge;
        format!(
            "A day on call: {arrivals} granted, {departures} revoked, nobody in for more than {longest_overstay} s too long."
        )
    }

    /// Looks for every token wherever one could have been written down. Gives back what was found.
    pub(super) fn search(&self, real: &Real) -> Result<Vec<String>> {
        let mut tokens = Credentials::default();
        tokens.remember_tokens(&self.world);
        tokens.remember_tokens(&real.world);
        self.screen.title(&format!("Where the tokens are not: {} of them searched for", tokens.count()));
        let text = |values: Vec<Value>| values.iter().map(Value::to_string).collect::<Vec<_>>();
        let lines = |texts: &BTreeSet<String>| texts.iter().cloned().collect::<Vec<_>>();
        let mut found = Vec::new();
        for (place, lines) in [
            ("events at Datadog", text([self.world.datadog.events(), real.world.datadog.events()].concat())),
            ("messages in Slack", text([self.world.slack.messages(), real.world.slack.messages()].concat())),
            ("ledgers in Parameter Store", lines(&self.ledgers)),
            ("the function's answers", lines(&self.answers)),
            ("the real function's log", real.log()?.lines().map(str::to_owned).collect()),
        ] {
            let hits = tokens.hits(&lines.join("\n"));
            println!("  {place:<34}{:>9} lines   {} hits", grouped(lines.len() as u64), self.screen.zero(hits, 0));
            if hits > 0 || lines.is_empty() {
                found.push(format!("{place}: {hits} tokens in clear in {} lines", lines.len()));
            }
        }
        Ok(found)
    }
}

/// The real bootstrap, after it granted somebody who is on call now.
pub(super) struct Real {
    pub world: Oncall,
    pub shop: Bound,
    pub ann: Engineer,
    lambda: Lambda,
}

/// Starts the real bootstrap on the machine's clock, and has it grant somebody.
pub(super) async fn real(screen: Screen, bootstrap: PathBuf) -> Result<Real> {
    let world = Oncall::builder().on_the_machines_clock().start().await?;
    let (shop, ann) = oncall_now(&world, "shop", "ann")?;
    let lambda = world.lambda(Some(bootstrap)).await?;
    let real = Real { world, shop, ann, lambda };
    real.tick().await?;
    ensure!(real.members(&[&real.ann]) == ["ann"], "the real oncall-sync did not let ann in");
    println!(
        "  {:<10}one tick of the real function, on the machine's clock: {} comes in",
        "bootstrap",
        screen.name("ann")
    );
    Ok(real)
}

impl Real {
    pub(super) async fn tick(&self) -> Result<()> {
        let tick = self.lambda.invoke(json!({"source": "aws.events", "detail-type": "Scheduled Event"})).await;
        tick.result.map_err(anyhow::Error::msg).context("the real oncall-sync")?;
        ensure!(self.world.violations().is_empty(), "no client sends {:?}", self.world.violations());
        Ok(())
    }

    pub(super) fn members(&self, people: &[&Engineer]) -> Vec<String> {
        self.world.members(&self.shop, people)
    }

    pub(super) fn log(&self) -> Result<String> {
        self.lambda.logs()
    }
}
