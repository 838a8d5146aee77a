//! The fourth act: a database login for whoever is on call. break-glass reads the ledger that oncall-sync wrote.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use chrono::TimeDelta;
use keyturn_tests::lambda::{Invocation, Lambda};
use keyturn_tests::stacks::break_glass::{STATE_PATH, Stack};
use serde_json::{Value, json};

use super::break_glass::Real;
use super::secrecy::Credentials;
use crate::command_line::Arguments;
use crate::screen::{Screen, grouped, milliseconds};
use crate::stack::beside;

/// An answer of the function URL.
struct Answer {
    status: u64,
    body: Value,
    took: Duration,
}

impl Answer {
    fn text(&self, key: &str) -> &str {
        self.body[key].as_str().unwrap_or_default()
    }
}

/// Plays it, prints it, and gives back what was promised and not kept.
pub(super) async fn play(screen: Screen, real: &Real, arguments: &Arguments) -> Result<Vec<String>> {
    let stack = beside(&real.world, &real.shop, arguments.postgres).await?;
    let lambda = stack.lambda(Some(arguments.function("break-glass")?)).await?;
    let bob = real.world.engineer("bob")?;
    let line = |what: &str, text: String| println!("  {what:<10}{text}");
    let mut broken = Vec::new();
    let mut promise = |kept: bool, what: &str| {
        if !kept {
            broken.push(format!("break-glass: {what}"));
        }
    };
    screen.title("A database login for whoever is on call, gone by itself");
    screen.note(&format!(
        "break-glass (real function) on PostgreSQL {}, with the ledger that the real oncall-sync has just written.",
        stack.postgres().major()
    ));

    let refused = open(&stack, &lambda, "bob").await?;
    promise(refused.text("code") == "NOT_GRANTED", "bob is not on call, and was not refused");
    line("bob asks", format!("{} {}: {}", refused.status, refused.text("code"), refused.text("message")));
    let opened = open(&stack, &lambda, "ann").await?;
    ensure!(opened.status == 200, "ann is on call, and got no login: {}", opened.body);
    let login = opened.text("username").to_owned();
    let until = opened.text("until");
    line("ann asks", format!("{} until {until}, after {}", screen.name(&login), milliseconds(opened.took)));

    let session = stack.postgres().client(&login, opened.text("password"), opened.text("dbname")).await?;
    session.batch_execute("CREATE TABLE repaired (id int)").await?;
    let sql = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'repaired'";
    let owner: String = session.query_one(sql, &[]).await?.get(0);
    let server_log = stack.postgres().server_log()?;
    let by_name = server_log.lines().find(|line| line.contains(&login) && line.contains("CREATE TABLE repaired"));
    promise(by_name.is_some(), "the server's log does not name who made the table");
    promise(owner == "shop_admin", "the table does not belong to the access role");
    line("the table", format!("belongs to {}; the server's log names {login}", screen.name(&owner)));

    let now = keyturn::clock::now();
    let schedule = &real.shop.schedule;
    real.world.pagerduty.override_shift(schedule, &bob.pagerduty, now, now + TimeDelta::hours(1));
    real.tick().await?;
    let members = real.members(&[&real.ann, &bob]).join(", ");
    promise(members == "bob", "the shift ended, and the group did not follow");
    line(
        "shift end",
        format!("bob takes over at PagerDuty; a tick of oncall-sync: {} is in the group", screen.name(&members)),
    );
    let Invocation { result, duration } = lambda.invoke_by(Some("ops"), &json!({"action": "sweep"})).await;
    let swept = result.map_err(anyhow::Error::msg).context("the sweep")?;
    promise(swept["closed"] == json!([login]), "the sweep did not end the login");
    promise(session.simple_query("SELECT 1").await.is_err(), "the session goes on");
    line("the sweep", format!("cuts the session and drops the login, in {}", milliseconds(duration)));

    let roles = stack.roles().await?.len() as u64;
    let records = real.world.aws.parameters.below(STATE_PATH).len() as u64;
    promise(roles == 0 && records == 0, "something is left over");
    let violations = stack.violations();
    promise(violations.is_empty(), &format!("no client sends {violations:?}"));
    line("left over", format!("logins: {}; records: {}", screen.zero(roles, 0), screen.zero(records, 0)));
    let (hits, lines) = search(&stack, &lambda, real, &opened)?;
    promise(hits == 0, "ann's password or the admin's is in clear somewhere");
    let places = "server's log, both functions' logs, alerts, parameters";
    line("passwords", format!("{places}: {} lines, {} hits", grouped(lines), screen.zero(hits, 0)));
    Ok(broken)
}

async fn open(stack: &Stack, lambda: &Lambda, person: &str) -> Result<Answer> {
    let event = stack.url_event(person, "POST", "/shop", Some(&json!({"minutes": 60, "reason": "INC-42"})));
    let Invocation { result, duration } = lambda.invoke_by(Some("url"), &event).await;
    let answer = result.map_err(anyhow::Error::msg).context("break-glass")?;
    let body = serde_json::from_str(answer["body"].as_str().unwrap_or_default())?;
    Ok(Answer { status: answer["statusCode"].as_u64().unwrap_or_default(), body, took: duration })
}

/// Looks for the passwords wherever one could have been written down.
fn search(stack: &Stack, lambda: &Lambda, real: &Real, opened: &Answer) -> Result<(u64, u64)> {
    let mut passwords = Credentials::default();
    passwords.remember(&opened.body);
    let admin = stack.aws.secrets.value(stack.admin_arn(), "AWSCURRENT")?.context("no admin")?;
    passwords.remember(&serde_json::from_str(&admin)?);
    let told = [stack.datadog.events(), stack.slack.messages()].concat();
    let mut written = vec![stack.postgres().server_log()?, lambda.logs()?, real.log()?];
    written.extend(told.iter().map(Value::to_string));
    written.extend(real.world.aws.parameters.below("").into_iter().map(|(_, text)| text));
    let written = written.join("\n");
    Ok((passwords.hits(&written), written.lines().count() as u64))
}
