//! `make demo`: live applications whose passwords are rotated again and again, and a day of break-glass, as timelines.

mod application;
mod break_glass;
mod clients;
mod day;
mod judge;
mod leak;
mod login;
mod mongo;
mod secrecy;

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use application::Objects;
use clients::{Crowd, Tally};
use keyturn_tests::rds::Rds;
use keyturn_tests::secrets_manager::{Attempt, RotationOutcome};
use keyturn_tests::stacks::postgres::{ADMIN, App, Stack};
use secrecy::{Credentials, Sampler};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::bench;
use crate::command_line::Arguments;
use crate::screen::{Screen, grouped, milliseconds};

const ROTATIONS: usize = 4;
/// How long clients work between two rotations, at least.
const PERIOD: Duration = Duration::from_millis(600);

/// The demo while it runs.
struct Demo {
    screen: Screen,
    stack: Stack,
    passwords: Credentials,
    started: Instant,
    rotations: usize,
    seen: Tally,
    /// Promises that were not kept.
    broken: Vec<String>,
}

/// Shows it, and fails if a promise is broken.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let screen = Screen::stdout();
    let bootstrap = arguments.function("rotate-postgres")?;
    eprintln!("starting PostgreSQL {}, Secrets Manager, and the function", arguments.postgres);
    let starting = Instant::now();
    let rds = Rds::start().await?;
    let stack = Stack::builder(arguments.postgres).bootstrap(bootstrap.clone());
    let stack = stack.variable("AWS_ENDPOINT_URL_RDS", &rds.url()).start().await?;
    screen.title("Keyturn: database passwords turn while the application works");
    screen.note(&format!(
        "PostgreSQL {} with TLS, Secrets Manager (local), rotate-postgres ({} build); up in {:.1} s",
        application::version(&stack).await?,
        bench::profile(&bootstrap),
        starting.elapsed().as_secs_f64(),
    ));
    screen.note("Six clients: three log in for each request, one pools, one makes tables, one never logs in again.");
    let sampler = Sampler::start(&stack).await?;
    let mut demo = Demo {
        screen,
        passwords: Credentials::of_the_stack(&stack),
        stack,
        started: Instant::now(),
        rotations: 0,
        seen: Tally::default(),
        broken: Vec::new(),
    };

    let shop = application::in_clone_layout(&demo.stack, "shop").await?;
    demo.act("Clone layout", "shop and shop_clone take turns; everything belongs to shop", &shop).await?;
    let billing = application::in_owner_layout(&demo.stack, "billing").await?;
    demo.act("Owner layout", "billing_a and billing_b take turns; everything belongs to billing", &billing).await?;

    demo.get_stuck(&billing).await?;
    let orders = demo.start_on_rds(&rds).await?;
    demo.lose_a_password(&orders).await?;
    demo.broken.extend(rds.violations().into_iter().map(|request| format!("no client sends RDS {request}")));
    demo.search(sampler).await?;

    let mongo = mongo::play(screen, arguments.function("rotate-mongo")?).await?;
    demo.broken.extend_from_slice(&mongo.broken);

    let day = break_glass::play(screen).await?;
    let real = break_glass::real(screen, arguments.function("oncall-sync")?).await?;
    demo.broken.extend(day.broken());
    demo.broken.extend(login::play(screen, &real, arguments).await?);
    demo.broken.extend(day.search(&real)?);
    demo.conclude(&[mongo.line(), day.line()])
}

impl Demo {
    /// Rotates one application's secret under load.
    async fn act(&mut self, title: &str, cast: &str, app: &App) -> Result<()> {
        let screen = self.screen;
        screen.title(title);
        screen.note(cast);
        self.passwords.remember(&self.stack.value(&app.secret, "AWSCURRENT")?);
        self.print_check(app).await?;
        let mut crowd = Crowd::start(&self.stack, app);
        crowd.let_one_stay();
        crowd.caught_up().await?;
        println!(
            "{}",
            screen.dim(&format!(
                "  {:>6}{:>9}{:>9}{:>9}{:>9}   {:<12}{:>9}{:>8}{:>8}",
                "time", "create", "set", "test", "finish", "now current", "requests", "logins", "failed"
            ))
        );
        let mut before = crowd.tally();
        for _ in 0..ROTATIONS {
            sleep(PERIOD).await;
            let outcome = self.rotate(app).await?;
            // The one thing rotation asks of clients: to read the secret at least once from one rotation to the next.
            crowd.caught_up().await?;
            let now = crowd.tally();
            self.print_rotation(&outcome, app, &now.since(&before))?;
            before = now;
        }
        sleep(PERIOD).await;
        let (tally, objects) = crowd.finish(&self.stack, app).await?;
        self.print_summary(&tally, &objects, app);
        self.judge(&tally, &objects, app);
        self.seen.add(&tally);
        Ok(())
    }

    /// What an operator asks first: what would a rotation do?
    async fn print_check(&mut self, app: &App) -> Result<()> {
        let answer = self.ask(json!({"action": "check"}), app).await?;
        if answer["ready"] != json!(true) {
            self.broken.push(format!("the check of {} refuses its rotation", app.name));
        }
        Ok(())
    }

    /// Invokes an action on a secret, and prints its sentences.
    async fn ask(&self, mut event: Value, app: &App) -> Result<Value> {
        event["secret"] = json!(app.name);
        println!("{}", self.screen.dim(&format!("  {event}")));
        let answer = self.stack.lambda.invoke(event.clone()).await.result;
        let answer = answer.map_err(|error| anyhow!("{event}: {error}"))?;
        for sentence in answer["says"].as_array().into_iter().flatten() {
            println!("    {}", sentence.as_str().unwrap_or_default());
        }
        Ok(answer)
    }

    /// The admin is locked, so that a rotation gets stuck; the function says why, and the rotation goes on.
    async fn get_stuck(&mut self, app: &App) -> Result<()> {
        self.screen.title("A rotation that gets stuck");
        self.screen
            .note("The admin is locked (ALTER ROLE ... NOLOGIN): setSecret fails. AWSCURRENT logs in all the while.");
        let superuser = self.stack.postgres.admin_client().await?;
        superuser.batch_execute(&format!("ALTER ROLE {ADMIN} NOLOGIN")).await?;
        let stuck = self.stack.rotate(&app.secret).await?;
        let answer = self.ask(json!({"action": "explain"}), app).await?;
        if stuck.succeeded() || answer["refusal"]["code"] != json!("ROLE_CANNOT_LOG_IN") {
            self.broken.push(format!("explain does not say why the rotation of {} is stuck", app.name));
        }
        superuser.batch_execute(&format!("ALTER ROLE {ADMIN} LOGIN")).await?;
        self.rotate(app).await?;
        println!("  unlocked: the same rotation went on, and ended");
        Ok(())
    }

    async fn rotate(&mut self, app: &App) -> Result<RotationOutcome> {
        let outcome = self.stack.rotate(&app.secret).await?;
        ensure!(outcome.succeeded(), "the rotation of {} failed:\n{outcome}", app.name);
        self.passwords.remember(&self.stack.value(&app.secret, "AWSCURRENT")?);
        self.rotations += 1;
        Ok(outcome)
    }

    fn print_rotation(&self, outcome: &RotationOutcome, app: &App, seen: &Tally) -> Result<()> {
        let screen = self.screen;
        let steps = outcome.attempts.last().map_or(&[][..], |Attempt { steps }| steps);
        let took: Vec<String> = steps.iter().map(|run| format!("{:>9}", milliseconds(run.duration))).collect();
        let current = self.stack.value(&app.secret, "AWSCURRENT")?;
        println!(
            "  {:>4.1} s{}   {}{:>9}{:>8}{}",
            self.started.elapsed().as_secs_f64(),
            took.concat(),
            screen.name(&format!("{:<12}", current["username"].as_str().unwrap_or_default())),
            grouped(seen.requests),
            grouped(seen.logins),
            screen.zero(seen.failed_logins, 8),
        );
        Ok(())
    }

    fn print_clients(&self, tally: &Tally) {
        let screen = self.screen;
        println!(
            "  {:<9}{} requests, {} logins; failed logins {}, permission errors {}, other errors {}",
            "clients",
            grouped(tally.requests),
            grouped(tally.logins),
            screen.zero(tally.failed_logins, 0),
            screen.zero(tally.permission_errors, 0),
            screen.zero(tally.other_errors, 0),
        );
    }

    fn print_summary(&self, tally: &Tally, objects: &Objects, app: &App) {
        let screen = self.screen;
        self.print_clients(tally);
        let made: Vec<String> = objects.made.iter().map(|(user, tables)| format!("{tables} by {user}")).collect();
        println!(
            "  {:<9}{}; {} of {} belong to {}; {} changed by the twin of their maker",
            "tables",
            made.join(", "),
            objects.of_owner,
            objects.tables,
            screen.name(&app.name),
            objects.changed_by_twin,
        );
        println!(
            "  {:<9}one connection opened as {} before the first rotation is still at work: {} requests",
            "sessions",
            screen.name(&tally.first_user),
            grouped(tally.oldest_session),
        );
    }

    fn judge_errors(&mut self, tally: &Tally, app: &App) {
        let errors = [
            (tally.failed_logins, "failed logins"),
            (tally.permission_errors, "permission errors"),
            (tally.other_errors, "other errors"),
        ];
        for (count, what) in errors {
            if count > 0 {
                let example = tally.example.as_deref().unwrap_or_default();
                self.broken.push(format!("{}: {count} {what}, such as: {example}", app.name));
            }
        }
    }

    fn judge(&mut self, tally: &Tally, objects: &Objects, app: &App) {
        self.judge_errors(tally, app);
        if objects.tables == 0 || objects.of_owner < objects.tables {
            self.broken.push(format!("{}: tables that do not belong to it", app.name));
        }
        if objects.made.len() < 2 || objects.changed_by_twin == 0 {
            self.broken.push(format!("{}: the two users did not share their tables", app.name));
        }
    }

    /// Looks for every password wherever one could have been written down.
    async fn search(&mut self, sampler: Sampler) -> Result<()> {
        let screen = self.screen;
        let activity = sampler.finish().await?;
        let server_log = self.stack.postgres.server_log()?;
        let function_log = self.stack.lambda.logs()?;
        screen.title(&format!("Where the passwords are not: {} of them searched for", self.passwords.count()));
        for (place, text) in [
            ("server log, log_statement=all", &server_log),
            ("the function's log", &function_log),
            ("pg_stat_activity, sampled", &activity),
        ] {
            let hits = self.passwords.hits(text);
            let lines = text.lines().count() as u64;
            println!("  {place:<34}{:>9} lines   {} hits", grouped(lines), screen.zero(hits, 0));
            if hits > 0 {
                self.broken.push(format!("{place}: {hits} passwords in clear"));
            }
        }
        match secrecy::statement_with_verifier(&server_log) {
            Some(statement) => println!("  {:<34}{}", "what the server was sent instead", screen.dim(&statement)),
            None => self.broken.push("the server log does not show how the password was set".to_owned()),
        }
        Ok(())
    }

    fn conclude(mut self, others: &[String]) -> Result<()> {
        self.broken.extend(self.stack.aws.violations().into_iter().map(|request| format!("no client sends {request}")));
        println!();
        if self.broken.is_empty() {
            let line = format!(
                "PostgreSQL: {} rotations, {} requests, {} logins, 0 of them failed.",
                self.rotations,
                grouped(self.seen.requests),
                grouped(self.seen.logins),
            );
            for line in [&[line], others].concat() {
                println!("{}", self.screen.good(&line));
            }
            return Ok(());
        }
        for promise in &self.broken {
            println!("{} {promise}", self.screen.bad("broken:"));
        }
        bail!("promises not kept: {}", self.broken.len())
    }
}
