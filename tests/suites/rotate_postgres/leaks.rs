//! Where passwords must not be: server logs, `pg_stat_activity`, our own logs at every level, errors.

use keyturn_tests::stacks::postgres::{ADMIN, App, Stack};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Every statement that `pg_stat_activity` shows while something goes on, looked at over and over.
struct Activity {
    seen: Arc<Mutex<BTreeSet<String>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Activity {
    async fn watch(stack: &Stack) -> Self {
        let seen = Arc::new(Mutex::new(BTreeSet::new()));
        let seeing = Arc::clone(&seen);
        let client = stack.postgres.admin_client().await.unwrap();
        let task = tokio::spawn(async move {
            loop {
                let rows = client.query("SELECT query FROM pg_stat_activity WHERE query <> ''", &[]).await.unwrap();
                seeing.lock().unwrap().extend(rows.iter().map(|row| row.get::<_, String>(0)));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        Self { seen, task }
    }

    async fn shows(&self, statement: &str) {
        let shown = async {
            while !self.seen.lock().unwrap().iter().any(|seen| seen.contains(statement)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), shown)
            .await
            .unwrap_or_else(|_| panic!("the statement was never seen"));
    }

    fn seen(self) -> String {
        self.task.abort();
        self.seen.lock().unwrap().iter().cloned().collect::<Vec<_>>().join("\n")
    }
}

/// Rotates while somebody else holds the role, so that the statement with the password's verifier stands and waits.
async fn rotate_in_slow_motion(stack: &Stack, app: &App, activity: &Activity) {
    let holder = stack.postgres.admin_client().await.unwrap();
    holder.batch_execute("BEGIN; ALTER ROLE shop_clone CONNECTION LIMIT 5").await.unwrap();
    let (outcome, ()) = tokio::join!(stack.rotate(&app.secret), async {
        activity.shows("ALTER ROLE \"shop_clone\" PASSWORD 'SCRAM-SHA-256$").await;
        holder.batch_execute("ROLLBACK").await.unwrap();
    });
    assert!(outcome.unwrap().succeeded());
}

fn password(stack: &Stack, app: &App, label: &str) -> Option<String> {
    let text = stack.aws.secrets.value(&app.secret, label).unwrap()?;
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    Some(value["password"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_appears_in_no_log_even_when_the_statement_that_sets_it_fails() {
    let stack = Stack::builder(16).variable("LOG_LEVEL", "trace").start().await.unwrap();
    let mut passwords = BTreeSet::from([stack.admin_password.clone()]);
    let mut errors = String::new();
    let activity = Activity::watch(&stack).await;

    let app = stack.app("shop").await.unwrap();
    for turn in 0..4 {
        match turn {
            2 => rotate_in_slow_motion(&stack, &app, &activity).await,
            _ => assert!(stack.rotate(&app.secret).await.unwrap().succeeded()),
        }
        passwords.extend(["AWSCURRENT", "AWSPREVIOUS"].iter().filter_map(|label| password(&stack, &app, label)));
    }
    // An admin whom RDS might let through is not stopped by the guard: the server refuses its ALTER ROLE.
    stack.postgres.execute(&format!("CREATE ROLE rds_superuser; GRANT rds_superuser TO {ADMIN}")).await.unwrap();
    stack
        .postgres
        .execute(&format!("REVOKE shop FROM {ADMIN} CASCADE; ALTER ROLE shop_clone RENAME TO gone"))
        .await
        .unwrap();
    stack.postgres.execute("CREATE ROLE shop_clone LOGIN IN ROLE shop").await.unwrap();
    let current = stack.value(&app.secret, "AWSCURRENT").unwrap();
    assert_eq!(current["username"], "shop");
    let failed = stack.rotate(&app.secret).await.unwrap();
    let error = failed.error().expect("the server was to refuse").clone();
    assert_eq!(error.error_type, "ADMIN_LACKS_PRIVILEGE", "{error}");
    assert!(error.error_message.contains("ADMIN OPTION"), "{error}");
    errors.push_str(&failed.to_string());
    passwords.extend(password(&stack, &app, "AWSPENDING"));

    let statements = activity.seen();
    let server_log = stack.postgres.server_log().unwrap();
    let function_log = stack.lambda.logs().unwrap();
    assert!(passwords.len() >= 6, "{} passwords", passwords.len());
    assert!(server_log.contains("ERROR:  permission denied") && server_log.contains("ALTER ROLE \"shop_clone\""));
    assert!(function_log.contains("\"level\":\"ERROR\""));
    for password in &passwords {
        for (place, text) in [
            ("server log", &server_log),
            ("pg_stat_activity", &statements),
            ("function log", &function_log),
            ("error", &errors),
        ] {
            assert!(!text.contains(password.as_str()), "a password is in the {place}");
        }
    }
    for (place, text) in [("function log", &function_log), ("error", &errors)] {
        assert!(!text.contains("SCRAM-SHA-256$"), "a verifier is in the {place}");
    }
}
