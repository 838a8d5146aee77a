//! Whatever goes wrong in a tick, the next one mends it, tells nothing twice, and nobody stays because an alert is slow.

use crate::prove::{long_form, tell};
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::vendors::Reply;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;
use tokio::time::Instant;

/// Worlds at the same time: nearly all of their time is spent waiting for what was made to fail.
const AT_ONCE: usize = 16;
/// Longer than anything that is not meant to wait takes, and shorter than any `Slow` here.
const AT_ONCE_MEANS: Duration = Duration::from_millis(2500);
const SLOW: Duration = Duration::from_secs(4);
/// More than the function's patience with one try.
const HANGS: Duration = Duration::from_mins(1);

/// It is noon: ann's shift ends, bob's begins, and mallory was put into the group by hand a minute ago.
struct Noon {
    world: Oncall,
    shop: Bound,
    ann: Engineer,
    bob: Engineer,
    mallory: Engineer,
    told_before: (usize, usize),
}

impl Noon {
    async fn warm() -> Self {
        let world = Oncall::start().await.unwrap();
        let [ann, bob, mallory] = ["ann", "bob", "mallory"].map(|name| world.engineer(name).unwrap());
        let shop = world.bind("shop", &json!({}));
        world.on_call(&shop, &ann, "08:00", "12:00");
        world.on_call(&shop, &bob, "12:00", "17:00");
        world.tick().await.unwrap();
        world.at("12:00");
        world.okta.add(&shop.group, &mallory.okta);
        let told_before = (world.datadog.events().len(), world.slack.messages().len());
        world.faults.reset();
        Self { world, shop, ann, bob, mallory, told_before }
    }

    async fn cold() -> Self {
        let mut noon = Self::warm().await;
        noon.world.recycle().unwrap();
        noon
    }

    fn members(&self) -> Vec<String> {
        self.world.members(&self.shop, &[&self.ann, &self.bob, &self.mallory])
    }

    /// What Datadog was told since noon, and how often.
    fn events(&self) -> BTreeMap<String, usize> {
        let events = self.world.datadog.events().split_off(self.told_before.0);
        tally(events.iter().map(|event| format!("{} {}", event["title"], event["aggregation_key"])))
    }

    /// What Slack was told since noon, and how often.
    fn messages(&self) -> BTreeMap<String, usize> {
        let messages = self.world.slack.messages().split_off(self.told_before.1);
        tally(messages.iter().map(|message| message["blocks"].to_string()))
    }

    /// The ledger without the instants that depend on when it was written.
    fn ledger(&self) -> Value {
        let mut ledger = self.world.ledger(&self.shop).unwrap_or_default();
        for person in ledger["people"].as_object_mut().into_iter().flat_map(|people| people.values_mut()) {
            person["state"]["granted"]["since"].take();
            person["state"]["granted"]["on_call"]["until"].take();
        }
        ledger["confirmed_at"].take();
        ledger["serial"].take();
        ledger["version"].take();
        ledger
    }

    async fn next_tick(&self) {
        self.world.minutes_later(1);
        self.world.tick().await.unwrap();
    }
}

fn tally(words: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    words.fold(BTreeMap::new(), |mut tally, word| {
        *tally.entry(word).or_default() += 1;
        tally
    })
}

/// What two ticks come to when nothing goes wrong, and every call of the first of them.
struct Clean {
    calls: BTreeSet<String>,
    ledger: Value,
    events: BTreeMap<String, usize>,
    messages: BTreeMap<String, usize>,
}

impl Clean {
    async fn run() -> Self {
        let noon = Noon::cold().await;
        noon.world.tick().await.unwrap();
        let calls: BTreeSet<String> = noon.world.faults.recorded().into_iter().collect();
        assert_eq!(noon.members(), ["bob"]);
        noon.next_tick().await;
        assert_eq!(noon.members(), ["bob"]);
        assert_eq!(noon.world.violations(), Vec::<String>::new());
        let clean = Self { calls, ledger: noon.ledger(), events: noon.events(), messages: noon.messages() };
        // Two leave and one comes, on both channels; the ledger is written before and after.
        assert_eq!((clean.events.len(), clean.messages.len()), (3, 3), "{:?}", clean.events);
        for call in ["GET", "PUT", "DELETE", "POST", "PutParameter", "GetParametersByPath", "GetSecretValue"] {
            assert!(clean.calls.iter().any(|recorded| recorded.contains(call)), "{call} in {:?}", clean.calls);
        }
        clean
    }

    /// Every fault before and after every call; in the short form one, of each kind in turn.
    fn points(&self, faults: &[Fault]) -> Vec<Point> {
        let moments = [Moment::Before, Moment::After];
        let places = self.calls.iter().flat_map(|call| moments.map(|moment| (call, moment)));
        let all = places.enumerate().flat_map(|(nth, (call, moment))| {
            let faults = faults.iter().cycle().skip(nth).take(if long_form() { faults.len() } else { 1 });
            faults.map(move |fault| Point { call: call.clone(), moment, fault: fault.clone() })
        });
        all.filter(|point| !is_a_lie(point)).collect()
    }

    /// What is wrong after a tick with this fault, and one without.
    async fn difference(&self, point: &Point, cold_next: bool) -> Vec<String> {
        let mut noon = Noon::cold().await;
        noon.world.faults.inject(point.clone());
        let failed = noon.world.tick().await.err();
        let mut wrong = Vec::new();
        if noon.world.faults.struck() != std::slice::from_ref(point) {
            wrong.push("it never came by".to_owned());
        }
        if cold_next {
            noon.world.recycle().unwrap();
        }
        noon.next_tick().await;
        if noon.members() != ["bob"] {
            wrong.push(format!("in the group: {:?}", noon.members()));
        }
        if noon.ledger() != self.ledger {
            wrong.push(format!("the ledger is {} and not {}", noon.ledger(), self.ledger));
        }
        let (datadog_hit, slack_hit) = (strikes(point, "datadog"), strikes(point, "slack"));
        wrong.extend(untold_or_twice("Datadog", &noon.events(), &self.events, datadog_hit));
        wrong.extend(untold_or_twice("Slack", &noon.messages(), &self.messages, slack_hit));
        wrong.extend(noon.world.violations());
        wrong.iter().map(|wrong| format!("{point} (the tick: {failed:?}): {wrong}")).collect()
    }
}

/// A 429 to an alert says that it was not taken. It is sent again, and rightly so: a channel that took it would be lying.
fn is_a_lie(point: &Point) -> bool {
    let refused = matches!(point.fault, Fault::Status(429, _)) && point.moment == Moment::After;
    refused && (point.call.starts_with(" Datadog POST") || point.call.starts_with(" Slack POST"))
}

/// Whether the fault strikes a call to this channel, or for its secret.
fn strikes(point: &Point, channel: &str) -> bool {
    point.call.to_lowercase().contains(channel) && !matches!(point.fault, Fault::Slow(_))
}

/// Nothing is left untold; and nothing is told twice unless the channel itself was struck, which may have taken it.
fn untold_or_twice(
    channel: &str,
    told: &BTreeMap<String, usize>,
    clean: &BTreeMap<String, usize>,
    struck: bool,
) -> Vec<String> {
    let most = if struck { 2 } else { 1 };
    let often = told.iter().filter(|(_, times)| **times > most);
    let twice = often.map(|(alert, times)| format!("{times} times: {alert}"));
    let untold = clean.keys().filter(|alert| !told.contains_key(*alert));
    twice.chain(untold.map(|alert| format!("never: {alert}"))).map(|wrong| format!("{channel} {wrong}")).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn the_next_tick_mends_everything(faults: &[Fault], cold_next: bool, name: &str) {
    let started = Instant::now();
    let clean = block_on(Clean::run());
    let points = Mutex::new(clean.points(faults));
    let wrong = Mutex::new(Vec::new());
    let (count, calls) = (points.lock().unwrap().len(), clean.calls.len());
    let next = || points.lock().unwrap().pop();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(point) = next() {
                    let different = block_on(clean.difference(&point, cold_next));
                    wrong.lock().unwrap().extend(different);
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {count} points:\n{}", wrong.len(), wrong.join("\n"));
    let seconds = started.elapsed().as_secs();
    tell(&format!(
        "break-glass faults, {name}: {count} points at {calls} calls converge with the next tick ({seconds} s)"
    ));
}

#[test]
fn after_a_fault_anywhere_the_next_tick_has_the_right_people_in_and_tells_nothing_twice() {
    let faults = [
        Fault::Cut,
        Fault::Status(500, "InternalServerError"),
        Fault::Status(429, "ThrottlingException"),
        Fault::Status(503, "ServiceUnavailable"),
        Fault::Garbage,
        Fault::Slow(Duration::from_millis(300)),
    ];
    the_next_tick_mends_everything(&faults, false, "warm");
}

#[test]
fn after_a_fault_anywhere_a_new_environment_has_the_right_people_in_and_tells_nothing_twice() {
    // What is refused for a moment and what is slow goes on within the tick: there is nothing left to remember of it.
    let faults = [Fault::Cut, Fault::Status(500, "InternalServerError"), Fault::Garbage];
    the_next_tick_mends_everything(&faults, true, "cold");
}

/// Injects `Slow` before the first `times` calls of this name.
fn slow_down(world: &Oncall, call: &str, times: usize, pause: Duration) {
    for nth in 1..=times {
        let point = Point { call: format!(" {call} #{nth}"), moment: Moment::Before, fault: Fault::Slow(pause) };
        world.faults.inject(point);
    }
}

/// It came through all the same: the function's next write is its own.
#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_was_stored_though_nobody_said_so_is_not_taken_for_somebody_elses() {
    let noon = Noon::warm().await;
    let call = format!(" PutParameter {} #1", noon.shop.ledger_name());
    noon.world.faults.inject(Point { call, moment: Moment::After, fault: Fault::Slow(HANGS) });
    noon.world.tick().await.unwrap();
    assert_eq!(noon.world.faults.struck().len(), 1);
    for _ in 0..3 {
        noon.next_tick().await;
    }
    assert_eq!(noon.members(), ["bob"]);
    assert!(!noon.world.alerts().iter().any(|title| title.contains("LEDGER_UNREADABLE")));
    assert!(noon.events().values().all(|times| *times == 1), "{:?}", noon.events());
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

/// Neither break-glass nor the next tick believes a ledger that names another version than the parameter's.
#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_was_written_twice_names_its_version() {
    let noon = Noon::warm().await;
    let call = format!(" PutParameter {} #2", noon.shop.ledger_name());
    noon.world.faults.inject(Point { call, moment: Moment::After, fault: Fault::Status(500, "InternalServerError") });
    noon.world.tick().await.unwrap();
    assert_eq!(noon.world.faults.struck().len(), 1);
    let named = noon.world.ledger(&noon.shop).unwrap()["version"].as_u64();
    assert_eq!(named, noon.world.aws.parameters.version(&noon.shop.ledger_name()));
    assert!(named.is_some() && noon.world.violations().is_empty());
}

/// The intent came through, and the outcome says the same as the ledger before both.
#[tokio::test(flavor = "multi_thread")]
async fn an_outsider_s_removal_is_told_once_though_nobody_said_that_its_intent_is_stored() {
    let world = Oncall::start().await.unwrap();
    let mallory = world.engineer("mallory").unwrap();
    let shop = world.bind("shop", &json!({}));
    world.tick().await.unwrap();
    world.minutes_later(1);
    world.tick().await.unwrap();
    world.okta.add(&shop.group, &mallory.okta);
    world.faults.reset();
    let call = format!(" PutParameter {} #1", shop.ledger_name());
    world.faults.inject(Point { call, moment: Moment::After, fault: Fault::Slow(HANGS) });
    let told = world.alerts().len();
    for tick in ["the removal", "the next tick"] {
        world.minutes_later(1);
        world.tick().await.unwrap();
        assert!(world.members(&shop, &[&mallory]).is_empty(), "{tick}");
        assert_eq!(world.alerts().len() - told, 1, "{tick}: {:?}", world.alerts());
    }
    assert_eq!(world.faults.struck().len(), 1);
    assert_eq!(world.violations(), Vec::<String>::new());
}

/// Two bindings whose people have to leave at noon, with channels that take their time.
async fn nobody_stays_for_a_slow_alert(cold: bool) {
    let mut noon = if cold { Noon::cold().await } else { Noon::warm().await };
    let bank = noon.world.bind("bank", &json!({}));
    noon.world.on_call(&bank, &noon.ann, "12:00", "12:01");
    noon.world.tick().await.unwrap();
    // From now on ann is in the second group, too; at 12:01 she leaves it, and two outsiders leave both.
    noon.world.okta.add(&noon.shop.group, &noon.mallory.okta);
    noon.world.okta.add(&bank.group, &noon.mallory.okta);
    assert_eq!(noon.world.members(&bank, &[&noon.ann, &noon.mallory]), ["ann", "mallory"]);
    if cold {
        noon.world.recycle().unwrap();
    }
    noon.world.minutes_later(1);
    noon.world.faults.reset();
    let Noon { world, shop, .. } = &noon;
    let slack = format!("Slack POST {}", url::Url::parse(&world.slack.webhook_url()).unwrap().path());
    slow_down(world, "Datadog POST /api/v1/events", 3, SLOW);
    slow_down(world, &slack, 3, SLOW);
    let told_before = world.datadog.events().len() + world.slack.messages().len();

    let started = Instant::now();
    let everybody_out = async {
        while !(world.okta.members(&bank.group).is_empty() && noon.members() == ["bob"]) {
            assert!(started.elapsed() < AT_ONCE_MEANS, "{:?} {:?}", world.okta.members(&bank.group), noon.members());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let told = world.datadog.events().len() + world.slack.messages().len();
        assert_eq!(told, told_before, "an alert was taken before everybody was out of {}", shop.id);
    };
    let (report, ()) = tokio::join!(world.tick(), everybody_out);
    assert_eq!(report.unwrap()["revoked"].as_array().unwrap().len(), 3);
    assert_eq!(world.datadog.events().len() + world.slack.messages().len(), told_before + 6);
    assert_eq!(world.faults.struck().len(), 6);
    assert_eq!(world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn people_of_every_binding_are_out_before_a_slow_channel_has_taken_the_alert() {
    tokio::join!(nobody_stays_for_a_slow_alert(false), nobody_stays_for_a_slow_alert(true));
}

/// What PagerDuty says of schedules that are in no policy.
fn no_rows() -> Reply {
    Reply::json(200, &json!({"oncalls": [], "limit": 100, "offset": 0, "more": false, "total": null}))
}

/// PagerDuty takes requests and never answers, for as long as the tick lasts: those for many schedules, or those for a
/// single one, of which there are more than are made at the same time.
async fn the_expired_leave_while_pagerduty_hangs(cold: bool, alone: bool) {
    let noon = if cold { Noon::cold().await } else { Noon::warm().await };
    if alone {
        noon.world.pagerduty.replace("GET /oncalls", 1, no_rows());
        slow_down(&noon.world, &format!("PagerDuty GET /v3/schedules/{}", noon.shop.schedule), 3, HANGS);
    } else {
        slow_down(&noon.world, "PagerDuty GET /oncalls", 3, HANGS);
    }
    for other in 0..20 {
        let other = noon.world.bind_alone(&format!("other{other}"), &json!({}));
        slow_down(&noon.world, &format!("PagerDuty GET /v3/schedules/{}", other.schedule), 3, HANGS);
    }
    let report = noon.world.tick().await.unwrap();
    assert!(!noon.world.faults.struck().is_empty());
    // Who comes in, and whether mallory is on call, nobody can say.
    assert_eq!(noon.members(), ["mallory"], "{report}");
    assert_eq!(report["revoked"][0]["reason"], "shift_ended");
    noon.world.faults.reset();
    noon.next_tick().await;
    assert_eq!(noon.members(), ["bob"]);
    assert_eq!(noon.world.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_s_shift_is_over_leaves_within_the_tick_in_which_pagerduty_hangs() {
    tokio::join!(
        the_expired_leave_while_pagerduty_hangs(false, false),
        the_expired_leave_while_pagerduty_hangs(true, false),
        the_expired_leave_while_pagerduty_hangs(true, true),
    );
}
