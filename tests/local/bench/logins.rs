//! What a login for a person costs: break-glass opens one on PostgreSQL, sweeps, and ends it.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::break_glass::Stack;
use keyturn_tests::stacks::postgres::Latency;
use serde_json::{Value, json};

use super::steps::{FAR, how_often};
use super::{COLD_STARTS, Measured, cold_invocations, middle_of};
use crate::command_line::Arguments;
use crate::screen::{Screen, milliseconds};

const ROUNDS: usize = 9;
const ROUNDS_FAR_AWAY: usize = 5;
/// AWS so far away, and the database so much nearer, that a whole login to the database fits into the time of one call.
const FARTHER: Duration = Duration::from_millis(240);
const NEARER: Duration = Duration::from_millis(20);
/// In a row, that an opening may have.
const OPENING_WAITS: usize = 4;
const EVENTS: [&str; 4] = ["opening", "sweep, nothing over", "sweep, ends a login", "closing"];

/// Of each event, the middle of some rounds.
struct Costs {
    times: [Duration; 4],
    cpu: Option<[Duration; 4]>,
}

/// The function's start, memory and size, and what each event costs when it is warm and when it has to start.
pub(super) struct Logins {
    /// For the table of budgets.
    pub measured: Measured,
    warm: Costs,
    cold: Costs,
}

/// The stack, and the function on it.
struct World {
    stack: Stack,
    lambda: Lambda,
}

/// Measures the real bootstrap, with nothing between it and the server.
pub(super) async fn measure(arguments: &Arguments) -> Result<Logins> {
    let bootstrap = arguments.function("break-glass")?;
    let world = World::start(arguments.postgres, bootstrap.clone()).await?;
    let warm = world.costs(ROUNDS, || ()).await?;
    let cold = world.costs(ROUNDS, || world.lambda.recycle()).await?;
    let peak = world.lambda.peak_memory();
    let starts = cold_invocations(&world.lambda, Some("ops"), &json!({}), COLD_STARTS).await?;
    let violations = world.stack.violations();
    ensure!(violations.is_empty(), "no client sends {violations:?}");
    Ok(Logins { measured: Measured { name: "break-glass", starts, peak, bootstrap }, warm, cold })
}

impl Logins {
    /// Prints the table. Waits are counted on a stack of its own whose parts are put far away in turn.
    pub(super) async fn print(self, screen: Screen, arguments: &Arguments) -> Result<()> {
        let world = World::start(arguments.postgres, self.measured.bootstrap).await?;
        let calls = world.aws_calls().await?;
        let near = world.times_at(Duration::ZERO, Duration::ZERO).await?;
        let aws_far = world.times_at(FAR, Duration::ZERO).await?;
        let database_far = world.times_at(Duration::ZERO, FAR).await?;
        // What a database that is far away adds to calls that take longer than its login: the round trips that nothing hides.
        let calls_farther = world.times_at(FARTHER, Duration::ZERO).await?;
        let both_far = world.times_at(FARTHER, NEARER).await?;
        screen.title("A login on PostgreSQL: break-glass, with nothing far away");
        let heads = format!(
            "  {:<21}{:>9}{:>9}{:>9}{:>9}{:>11}{:>11}{:>16}{:>10}{:>8}",
            "event", "warm", "CPU", "cold", "CPU", "AWS calls", "AWS waits", "DB round trips", "seen", "waits"
        );
        println!("{}", screen.dim(&heads));
        for (n, event) in EVENTS.into_iter().enumerate() {
            let cpu = |costs: &Costs| costs.cpu.map_or_else(|| "-".to_owned(), |cpu| milliseconds(cpu[n]));
            let aws_waits = how_often(FAR, near[n], aws_far[n]);
            let trips = how_often(FAR, near[n], database_far[n]);
            let seen = how_often(NEARER, calls_farther[n], both_far[n]).min(trips);
            let waits = aws_waits + seen;
            let verdict = if n == 0 { screen.budget(waits <= OPENING_WAITS) } else { String::new() };
            println!(
                "  {event:<21}{:>9}{:>9}{:>9}{:>9}{:>11}{aws_waits:>11}{trips:>16}{seen:>10}{waits:>8} {verdict}",
                milliseconds(self.warm.times[n]),
                cpu(&self.warm),
                milliseconds(self.cold.times[n]),
                cpu(&self.cold),
                calls[n],
            );
        }
        screen.note("  warm: the function has run before; cold: it starts for this, and its first sweep looks at every database");
        screen.note(
            "  seen: those that the answer waits for where a login to the database takes no longer than a call of AWS",
        );
        screen.note(
            "  waits: in a row, of AWS and seen; channels answer at once here, and are told while the login is made",
        );
        Ok(())
    }
}

impl World {
    /// The database `shop`, and the function, which has been used.
    async fn start(major: u32, bootstrap: PathBuf) -> Result<Self> {
        // As it is deployed: else OpenSSL reads the system's authorities, to be dropped.
        let builder = Stack::builder(major).variable("SSL_CERT_FILE", "/dev/null").through_relay();
        let stack = builder.start().await?;
        stack.database("shop", &json!({})).await?;
        let lambda = stack.lambda(Some(bootstrap)).await?;
        let world = Self { stack, lambda };
        world.round(|| ()).await?;
        Ok(world)
    }

    /// A login that the sweep ends and one that its person closes; each invocation's time, and its CPU time.
    async fn round(&self, before: impl Fn()) -> Result<[(Duration, Option<Duration>); 4]> {
        let body = json!({"minutes": 30, "reason": "INC-42"});
        let open = self.stack.url_event("ann", "POST", "/shop", Some(&body));
        let close = self.stack.url_event("ann", "DELETE", "/shop", None);
        let sweep = json!({"action": "sweep"});
        self.stack.grant("ann", 60);
        let opening = self.invoke("url", &open, &before).await?.1;
        let idle = self.invoke("ops", &sweep, &before).await?.1;
        self.stack.hold("ann");
        let (swept, ending) = self.invoke("ops", &sweep, &before).await?;
        ensure!(swept["closed"].as_array().map(Vec::len) == Some(1), "not ended: {swept}");
        self.stack.grant("ann", 60);
        self.invoke("url", &open, &|| ()).await?;
        let closing = self.invoke("url", &close, &before).await?.1;
        Ok([opening, idle, ending, closing])
    }

    async fn invoke(
        &self,
        alias: &str,
        event: &Value,
        before: &impl Fn(),
    ) -> Result<(Value, (Duration, Option<Duration>))> {
        before();
        let invocation = self.lambda.invoke_by(Some(alias), event).await;
        let answer = invocation.result.map_err(anyhow::Error::msg)?;
        ensure!(answer["statusCode"].as_u64().is_none_or(|status| status == 200), "refused: {answer}");
        Ok((answer, (invocation.duration, self.lambda.cpu_times().pop())))
    }

    async fn costs(&self, rounds: usize, before: impl Fn()) -> Result<Costs> {
        let mut all = Vec::new();
        for _ in 0..rounds {
            all.push(self.round(&before).await?);
        }
        let middle = |n: usize| middle_of(all.iter().map(|round| round[n].0).collect());
        let cpu = |n: usize| all.iter().map(|round| round[n].1).collect::<Option<Vec<_>>>().map(middle_of);
        let cpu = [cpu(0), cpu(1), cpu(2), cpu(3)];
        let cpu = cpu.iter().all(Option::is_some).then(|| cpu.map(Option::unwrap_or_default));
        Ok(Costs { times: [middle(0), middle(1), middle(2), middle(3)], cpu })
    }

    async fn times_at(&self, aws: Duration, database: Duration) -> Result<[Duration; 4]> {
        self.stack.set_latency(Latency { aws, database });
        self.round(|| ()).await?; // makes its connections to AWS anew
        let costs = self.costs(ROUNDS_FAR_AWAY, || ()).await;
        self.stack.set_latency(Latency::default());
        Ok(costs?.times)
    }

    /// How many calls of AWS each event makes.
    async fn aws_calls(&self) -> Result<[usize; 4]> {
        let recorded = std::cell::RefCell::new(Vec::new());
        let taken = || {
            let vendors = ["Datadog ", "Slack "];
            let calls = self.stack.faults.recorded();
            let of_aws =
                calls.iter().filter(|call| !vendors.iter().any(|vendor| call.trim_start().starts_with(vendor)));
            recorded.borrow_mut().push(of_aws.count());
            self.stack.faults.reset();
        };
        self.stack.faults.reset();
        self.round(taken).await?;
        taken();
        // The last but one is the opening before the closing and the closing: the opening alone is known.
        let counts = recorded.into_inner();
        let [_, opening, idle, ending_and_opening, closing] = counts.as_slice() else {
            return Err(anyhow::anyhow!("{} counts", counts.len())).context("calls of AWS");
        };
        Ok([*opening, *idle, ending_and_opening - opening, *closing])
    }
}
