//! What several suites look at: roles, logins, what the function said, and what nobody may ever say.

use anyhow::Result;
use keyturn_tests::aws::secrets_client;
use keyturn_tests::lambda::FunctionError;
use keyturn_tests::secrets_manager::RotationOutcome;
use keyturn_tests::stacks::postgres::{App, Stack};
use serde_json::{Value, json};

/// The steps of a rotation in their order.
pub(super) const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

const ROLES: &str = "SELECT concat_ws(' ', a.rolname, a.rolpassword, a.rolcanlogin, a.rolconnlimit, a.rolvaliduntil,
    (SELECT string_agg(m.roleid::regrole::text, ',' ORDER BY m.roleid) FROM pg_auth_members m WHERE m.member = a.oid),
    (SELECT string_agg(s.setconfig::text, ',' ORDER BY s.setdatabase) FROM pg_db_role_setting s WHERE s.setrole = a.oid))
    FROM pg_authid a ORDER BY a.rolname";

/// Every role with its password's hash, its memberships and its settings.
pub(super) async fn roles(stack: &Stack) -> Vec<String> {
    let client = stack.postgres.admin_client().await.unwrap();
    client.query(ROLES, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// Logs in with the value under a label, and gives back who the session is and who it acts as.
pub(super) async fn login(stack: &Stack, app: &App, label: &str) -> Result<(String, String)> {
    let value = stack.value(&app.secret, label)?;
    let text = |key: &str| value[key].as_str().unwrap_or_default();
    let client = stack.postgres.client(text("username"), text("password"), text("dbname")).await?;
    let row = client.query_one("SELECT session_user::text, current_user::text", &[]).await?;
    Ok((row.get(0), row.get(1)))
}

pub(super) fn user(stack: &Stack, app: &App) -> String {
    stack.value(&app.secret, "AWSCURRENT").unwrap()["username"].as_str().unwrap().to_owned()
}

/// The error that a rotation ended with.
pub(super) fn failure(outcome: &RotationOutcome) -> FunctionError {
    outcome.error().cloned().unwrap_or_else(|| panic!("it succeeded: {outcome}"))
}

/// Runs steps one after the other, all of which must succeed.
pub(super) async fn steps(stack: &Stack, app: &App, token: &str, steps: &[&str]) {
    for step in steps {
        stack.step(&app.secret, token, step).await.unwrap_or_else(|error| panic!("{step}: {error}"));
    }
}

/// Puts a value as somebody with the AWS console would: as the current one, or under another label.
pub(super) async fn put(stack: &Stack, secret: &str, token: Option<&str>, label: Option<&str>, text: &str) {
    let put = secrets_client(&stack.aws.client_url()).put_secret_value().secret_id(secret).secret_string(text);
    let put = put.set_client_request_token(token.map(str::to_owned));
    put.set_version_stages(label.map(|label| vec![label.to_owned()])).send().await.unwrap();
}

/// The calls recorded so far that change a secret or reach the database.
pub(super) fn effects(stack: &Stack) -> Vec<String> {
    let mut calls = stack.faults.recorded();
    calls.retain(|call| {
        ["PutSecretValue", "UpdateSecretVersionStage", "connect"].iter().any(|name| call.contains(name))
    });
    calls
}

/// The function's log, line by line: each is one JSON object, none tells of a panic, and none holds what must stay secret.
pub(super) fn log(stack: &Stack, secrets: &[&str]) -> Vec<Value> {
    let log = stack.lambda.logs().unwrap();
    for secret in secrets {
        assert!(!secret.is_empty() && !log.contains(secret), "the function's log holds a secret");
    }
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"))).collect();
    assert!(lines.iter().all(Value::is_object), "{log}");
    assert!(!lines.iter().any(|line| line["code"] == json!("INTERNAL_DEFECT")), "{log}");
    lines
}

/// How many lines of the log have this code.
pub(super) fn logged(lines: &[Value], code: &str) -> usize {
    lines.iter().filter(|line| line["code"] == json!(code)).count()
}

/// The password under a label.
pub(super) fn password(stack: &Stack, secret: &str, label: &str) -> String {
    stack.value(secret, label).unwrap()["password"].as_str().unwrap().to_owned()
}
