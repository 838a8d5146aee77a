//! The second act: passwords turn at Atlas, with one user (refused logins for a moment) and with two (none at all).

mod clients;
mod judge;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clients::{Crowd, Tally};
use judge::{Kind, Seat, Turn, windows};
use keyturn_tests::secrets_manager::{Attempt, RotationOutcome};
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use tokio::time::{sleep, timeout};

use super::secrecy::Credentials;
use crate::bench;
use crate::screen::{Screen, grouped, milliseconds};

/// How long after the API's answer the fast cluster applies a change.
const FAST: Duration = Duration::from_millis(100);
/// How often the function looks for a change at the slow cluster, after the fast one has it, before the slow one has it too:
/// whoever goes by the fast one alone never looks that often.
const LOOKS: usize = 2;
const CLUSTERS: usize = 2;
const FIXED_ROTATIONS: usize = 1;
const ALTERNATING_ROTATIONS: usize = 3;
/// How long clients work between two rotations, at least.
const PERIOD: Duration = Duration::from_millis(400);
/// For a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// The act, when it is over.
pub(super) struct Played {
    /// Promises that were not kept.
    pub broken: Vec<String>,
    /// The longest of the times from a first refused login to a last one, with one user.
    window: Duration,
    /// Logins that were accepted while two users alternated.
    logins: u64,
}

/// The act while it runs.
struct Act {
    screen: Screen,
    stack: MongoStack,
    passwords: Credentials,
    started: Instant,
    broken: Vec<String>,
    rotations: usize,
    /// How long each kind of client was refused while there was one user.
    windows: BTreeMap<Seat, Duration>,
    logins: u64,
}

/// Plays the act, and prints it.
pub(super) async fn play(screen: Screen, bootstrap: PathBuf) -> Result<Played> {
    let starting = Instant::now();
    let stack = MongoStack::builder()
        .bootstrap(bootstrap.clone())
        .clusters(CLUSTERS)
        .variable("LOG_LEVEL", "trace")
        .start()
        .await?;
    stack.atlas.set_delay("cluster0", FAST);
    screen.title("MongoDB: the same at Atlas, where a change takes its time");
    screen.note(&format!(
        "Two mongods with TLS and SCRAM behind Atlas's API (emulator), rotate-mongo ({} build); up in {:.1} s",
        bench::profile(&bootstrap),
        starting.elapsed().as_secs_f64(),
    ));
    screen.note(&format!(
        "cluster0 applies a change {} after the API has taken it; cluster1 when the function has looked for it {LOOKS} times more.",
        milliseconds(FAST),
    ));
    screen.note("At each: two clients that read AWSCURRENT and log in for every request, and one that pools, and reads AWSCURRENT");
    screen.note("again when it is refused.");
    let mut act = Act {
        screen,
        passwords: Credentials::of_the_mongo_stack(&stack)?,
        stack,
        started: Instant::now(),
        broken: Vec::new(),
        rotations: 0,
        windows: BTreeMap::new(),
        logins: 0,
    };
    let secret = act.fixed().await?;
    act.alternating().await?;
    act.search(&secret).await?;
    Ok(act.end())
}

impl Act {
    /// One user. Gives back its secret.
    async fn fixed(&mut self) -> Result<String> {
        let screen = self.screen;
        let app = self.stack.atlas_app("reports").await?;
        screen.title("Fixed username");
        screen.note(&format!("{} stays, only its password changes (keyturn:strategy=fixed, the default)", app.user));
        let tally = self.rotations(&app, FIXED_ROTATIONS, false).await?;
        self.print_windows();
        self.print_summary(&tally);
        Ok(app.secret)
    }

    async fn alternating(&mut self) -> Result<()> {
        let screen = self.screen;
        let app = self.stack.atlas_app("payments").await?;
        self.stack.tag(&app.secret, "strategy", "alternating")?;
        screen.title("Alternating usernames");
        screen.note(&format!("{0} and {0}_clone take turns (keyturn:strategy=alternating)", app.user));
        let tally = self.rotations(&app, ALTERNATING_ROTATIONS, true).await?;
        self.logins = tally.logins;
        self.print_summary(&tally);
        Ok(())
    }

    /// Rotates one application's secret again and again under load.
    async fn rotations(&mut self, app: &MongoApp, times: usize, alternates: bool) -> Result<Tally> {
        self.passwords.remember(&self.stack.value(&app.secret, "AWSCURRENT")?);
        let crowd = Crowd::start(&self.stack, app);
        crowd.all_use(&self.version(app)?).await?;
        self.print_heads();
        let mut before = crowd.tally();
        for _ in 0..times {
            sleep(PERIOD).await;
            let old = self.version(app)?;
            let outcome = self.rotate(app, &old).await?;
            ensure!(outcome.succeeded(), "the rotation of {} failed:\n{outcome}", app.user);
            self.passwords.remember(&self.stack.value(&app.secret, "AWSCURRENT")?);
            let new = self.version(app)?;
            crowd.all_use(&new).await?;
            let after = crowd.tally();
            self.print_rotation(&outcome, app, &before, &after)?;
            let refusals = &after.refusals[before.refusals.len()..];
            let broken = Turn { old: &old, new: &new, alternates }.broken(refusals);
            self.broken.extend(broken.into_iter().map(|promise| format!("{}: {promise}", app.user)));
            self.windows.extend(windows(refusals));
            self.judge_old_value(app, alternates).await?;
            before = after;
        }
        sleep(PERIOD).await;
        let tally = crowd.finish().await?;
        if tally.refusals.len() > before.refusals.len() {
            self.broken.push(format!("{}: logins refused after everybody had the new value", app.user));
        }
        if let Some(example) = &tally.example {
            self.broken.push(format!("{}: {} other errors, such as: {example}", app.user, tally.other_errors));
        }
        Ok(tally)
    }

    /// Rotates while the second cluster lags behind.
    async fn rotate(&mut self, app: &MongoApp, old: &str) -> Result<RotationOutcome> {
        self.rotations += 1;
        self.stack.atlas.hold("cluster1");
        let slow_cluster = timeout(PATIENCE, self.slow_cluster(app, old));
        let (outcome, moved_early) = tokio::join!(self.stack.rotate(&app.secret), slow_cluster);
        let outcome = outcome?;
        if moved_early.with_context(|| format!("the function does not wait for cluster1:\n{outcome}"))?? {
            self.broken.push(format!("{}: AWSCURRENT moved before cluster1 had applied the change", app.user));
        }
        Ok(outcome)
    }

    /// Lets the second cluster apply the change when the function has waited for it, and says whether AWSCURRENT has moved
    /// before that.
    async fn slow_cluster(&self, app: &MongoApp, old: &str) -> Result<bool> {
        let looks = || self.stack.atlas.seen().iter().filter(|call| call.path.ends_with("/cluster1/status")).count();
        self.stack.atlas.applied("cluster0", self.rotations).await?;
        let (before, mut moved) = (looks(), false);
        while looks() < before + LOOKS && !moved {
            sleep(Duration::from_millis(5)).await;
            moved = self.version(app)? != old;
        }
        self.stack.atlas.release("cluster1");
        Ok(moved)
    }

    /// The old password of an only user is dead everywhere; the user who had their turn is left as they were.
    async fn judge_old_value(&mut self, app: &MongoApp, alternates: bool) -> Result<()> {
        let value = self.stack.value(&app.secret, "AWSPREVIOUS")?;
        let part = |key: &str| value[key].as_str().unwrap_or_default();
        for (n, server) in self.stack.clusters.iter().enumerate() {
            let works = server.logs_in("admin", part("username"), part("password")).await?;
            if works != alternates {
                let what = if works { "still logs in" } else { "does not log in any more" };
                self.broken.push(format!("{}: AWSPREVIOUS {what} at cluster{n}", app.user));
            }
        }
        Ok(())
    }

    fn version(&self, app: &MongoApp) -> Result<String> {
        self.stack.aws.secrets.version(&app.secret, "AWSCURRENT")?.context("no current version")
    }

    fn print_heads(&self) {
        let heads = format!(
            "  {:>6}{:>9}{:>9}{:>9}{:>9}   {:<26}{:>9}{:>8}{:>8}",
            "time", "create", "set", "test", "finish", "now current", "requests", "logins", "refused"
        );
        println!("{}", self.screen.dim(&heads));
    }

    fn print_rotation(&self, outcome: &RotationOutcome, app: &MongoApp, before: &Tally, now: &Tally) -> Result<()> {
        let steps = outcome.attempts.last().map_or(&[][..], |Attempt { steps }| steps);
        let took: Vec<String> = steps.iter().map(|run| format!("{:>9}", milliseconds(run.duration))).collect();
        let current = self.stack.value(&app.secret, "AWSCURRENT")?;
        println!(
            "  {:>4.1} s{}   {}{:>9}{:>8}{}",
            self.started.elapsed().as_secs_f64(),
            took.concat(),
            self.screen.name(&format!("{:<26}", current["username"].as_str().unwrap_or_default())),
            grouped(now.requests - before.requests),
            grouped(now.logins - before.logins),
            self.screen.zero((now.refusals.len() - before.refusals.len()) as u64, 8),
        );
        Ok(())
    }

    /// How long clients were refused, and why.
    fn print_windows(&self) {
        let clusters: Vec<String> = (0..CLUSTERS).map(|n| format!("{:>12}", format!("cluster{n}"))).collect();
        let heads = format!("  {:<45}{}", "window: from the first refused login to the last", clusters.concat());
        println!("{}", self.screen.dim(&heads));
        for (kind, what) in [
            (Kind::Visitor, "reads AWSCURRENT, logs in for every request"),
            (Kind::Pool, "pools, reads AWSCURRENT again when refused"),
        ] {
            let shown = |cluster| match self.windows.get(&Seat { kind, cluster }) {
                Some(&Duration::ZERO) => format!("{:>12}", "one login"),
                Some(window) => format!("{:>12}", milliseconds(*window)),
                None => format!("{:>12}", "none"),
            };
            let windows: Vec<String> = (0..CLUSTERS).map(shown).collect();
            println!("  {what:<48}{}", windows.concat());
        }
        self.screen.note("  A cluster refuses the old password once it has the new one, which nobody is handed before every cluster has it.");
        self.screen.note(
            "  Longer with slower clusters (Atlas: seconds to a minute) and with clients that read AWSCURRENT late.",
        );
    }

    fn print_summary(&self, tally: &Tally) {
        println!(
            "  {:<9}{} requests, {} logins; refused logins {}, other errors {}",
            "clients",
            grouped(tally.requests),
            grouped(tally.logins),
            self.screen.zero(tally.refusals.len() as u64, 0),
            self.screen.zero(tally.other_errors, 0),
        );
    }

    /// Looks for every password, token and key wherever one could have been written down.
    async fn search(&mut self, secret: &str) -> Result<()> {
        let answers = self.answers(secret).await?;
        self.passwords.remember_each(self.stack.atlas.access_tokens());
        let screen = self.screen;
        screen
            .title(&format!("Where they are not: {} passwords, tokens and keys searched for", self.passwords.count()));
        let servers: Vec<String> = self.stack.clusters.iter().map(|server| server.log()).collect::<Result<_>>()?;
        let addresses: Vec<String> = self.stack.atlas.seen().iter().map(|call| call.target.clone()).collect();
        for (place, text) in [
            ("the function's log, at trace level", self.stack.lambda.logs()?),
            ("the function's answers", answers.join("\n")),
            ("the servers' logs", servers.concat()),
            ("addresses asked for at Atlas", addresses.join("\n")),
        ] {
            let hits = self.passwords.hits(&text);
            let lines = text.lines().count() as u64;
            println!("  {place:<34}{:>9} lines   {} hits", grouped(lines), screen.zero(hits, 0));
            if hits > 0 || lines == 0 {
                self.broken.push(format!("{place}: {hits} passwords in clear in {lines} lines"));
            }
        }
        Ok(())
    }

    /// What the function answers to each step of a rotation, and to a stranger's.
    async fn answers(&mut self, secret: &str) -> Result<Vec<String>> {
        let mut answers = Vec::new();
        let token = self.stack.stage(secret)?;
        for step in STEPS {
            let report = self.stack.step(secret, &token, step).await.map_err(anyhow::Error::msg);
            answers.push(report.with_context(|| step)?.to_string());
        }
        self.passwords.remember(&self.stack.value(secret, "AWSCURRENT")?);
        let stranger = self.stack.step(secret, "00000000-0000-4000-8000-000000000000", "setSecret").await;
        answers.extend(stranger.err().map(|error| error.to_string()));
        Ok(answers)
    }

    fn end(mut self) -> Played {
        self.broken.extend(self.stack.violations().into_iter().map(|request| format!("no client sends {request}")));
        Played {
            broken: self.broken,
            window: self.windows.values().max().copied().unwrap_or_default(),
            logins: self.logins,
        }
    }
}

impl Played {
    /// The act in one line.
    pub(super) fn line(&self) -> String {
        format!(
            "MongoDB: logins refused for {} while one user's password turned; {ALTERNATING_ROTATIONS} rotations with two users, {} logins, 0 of them refused.",
            milliseconds(self.window),
            grouped(self.logins),
        )
    }
}
