use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use postgres_native_tls::MakeTlsConnector;
use tokio_postgres::config::{ChannelBinding, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, Error};

use super::*;
use crate::faults::{Fault, Point};
use crate::postgres::Postgres;

struct Stack {
    server: Postgres,
    proxy: PostgresProxy,
    faults: Faults,
    password: String,
}

impl Stack {
    async fn new() -> Self {
        let server = Postgres::start(16).await.unwrap();
        let password = server.make_admin("app").await.unwrap();
        let faults = Faults::none();
        let proxy =
            PostgresProxy::start(server.port(), server.certificates(), faults.clone(), Logins::PassedOn).await.unwrap();
        Self { server, proxy, faults, password }
    }

    fn config(&self) -> Config {
        let mut config = Config::new();
        config.host(self.proxy.host()).port(self.proxy.port()).user("app").password(&self.password).dbname("postgres");
        config.ssl_mode(SslMode::Require).channel_binding(ChannelBinding::Prefer);
        config
    }

    async fn connect(&self) -> Result<Client, Error> {
        let tls = MakeTlsConnector::new(self.server.certificates().connector());
        let (client, connection) = self.config().connect(tls).await?;
        tokio::spawn(connection);
        Ok(client)
    }

    fn inject(&self, call: &str, moment: Moment, fault: Fault) {
        self.faults.inject(Point { call: call.to_owned(), moment, fault });
    }

    async fn role_exists(&self, name: &str) -> bool {
        let admin = self.server.admin_client().await.unwrap();
        admin.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&name]).await.unwrap().is_some()
    }

    /// Every session of `app` has ended at the server.
    async fn wait_until_alone(&self) {
        let admin = self.server.admin_client().await.unwrap();
        let started = Instant::now();
        while admin.query_opt("SELECT FROM pg_stat_activity WHERE usename = 'app'", &[]).await.unwrap().is_some() {
            assert!(started.elapsed() < Duration::from_mins(1), "a session of the cut connection goes on");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn calls_are_recorded_in_order_and_without_literals() {
    let stack = Stack::new().await;
    stack.faults.enter_step("setSecret");
    let mut client = stack.connect().await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.batch_execute("CREATE ROLE \"twin 1\" LOGIN PASSWORD 'geheim'").await.unwrap();
    let row = transaction.query_one("SELECT $1::text || 'x'", &[&"y"]).await.unwrap();
    assert_eq!(row.get::<_, String>(0), "yx");
    transaction.commit().await.unwrap();
    let refused = client.batch_execute("SELECT 1 / 0").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::DIVISION_BY_ZERO));
    let calls = [
        "connect app #1",
        "sql START TRANSACTION #1",
        "sql CREATE ROLE #1",
        "sql SELECT #1", // prepared,
        "sql SELECT #2", // and executed
        "sql COMMIT #1",
        "sql SELECT #3",
    ];
    assert_eq!(stack.faults.recorded(), calls.map(|call| format!("setSecret {call}")));
    assert!(stack.role_exists("twin 1").await);
}

#[tokio::test]
async fn a_login_is_cut_before_and_after_the_server_saw_it() {
    let stack = Stack::new().await;
    stack.inject(" connect app #1", Moment::Before, Fault::Cut);
    stack.inject(" connect app #2", Moment::After, Fault::Cut);
    let accepted = || stack.server.server_log().unwrap().matches("connection authorized: user=app").count();

    assert!(stack.connect().await.unwrap_err().code().is_none());
    assert_eq!(accepted(), 0);
    assert!(stack.connect().await.unwrap_err().code().is_none());
    assert_eq!(accepted(), 1);
    stack.connect().await.unwrap();
    assert_eq!(stack.faults.struck().len(), 2);
}

#[tokio::test]
async fn a_refusal_can_get_lost_too() {
    let mut stack = Stack::new().await;
    stack.inject(" connect app #1", Moment::After, Fault::Cut);
    stack.password.push('x');
    assert!(stack.connect().await.unwrap_err().code().is_none());
    assert!(stack.server.server_log().unwrap().contains("password authentication failed"));
    assert_eq!(stack.connect().await.unwrap_err().code(), Some(&SqlState::INVALID_PASSWORD));
}

#[tokio::test]
async fn a_statement_is_cut_before_and_after_its_effect() {
    let stack = Stack::new().await;
    for (moment, exists) in [(Moment::Before, false), (Moment::After, true)] {
        stack.faults.reset();
        stack.inject(" sql CREATE ROLE #1", moment, Fault::Cut);
        let client = stack.connect().await.unwrap();
        let cut = client.batch_execute("CREATE ROLE \"made\"").await.unwrap_err();
        assert!(cut.code().is_none() && client.is_closed(), "{cut:?}");
        assert_eq!(stack.role_exists("made").await, exists);
        stack.wait_until_alone().await;
    }
}

#[tokio::test]
async fn a_prepared_statement_is_cut_like_any_other() {
    let stack = Stack::new().await;
    stack.inject(" sql SELECT set_config( #2", Moment::After, Fault::Cut);
    let client = stack.connect().await.unwrap();
    let statement = client.prepare("SELECT set_config('a.b', $1, false)").await.unwrap();
    assert!(client.query_one(&statement, &[&"c"]).await.unwrap_err().code().is_none());
}

#[tokio::test]
async fn garbage_is_no_answer_and_slow_is_one() {
    let stack = Stack::new().await;
    stack.inject(" connect app #1", Moment::After, Fault::Garbage);
    assert!(stack.connect().await.unwrap_err().code().is_none());

    stack.inject(" sql SELECT #1", Moment::After, Fault::Slow(Duration::from_millis(100)));
    let client = stack.connect().await.unwrap();
    let asked = Instant::now();
    client.batch_execute("SELECT 1").await.unwrap();
    assert!(asked.elapsed() >= Duration::from_millis(100));
}

#[tokio::test]
async fn a_kill_strikes_before_the_connection_is_cut() {
    let stack = Stack::new().await;
    let killed = Arc::new(AtomicBool::new(false));
    stack.faults.on_kill({
        let killed = Arc::clone(&killed);
        move || killed.store(true, Ordering::SeqCst)
    });
    stack.inject(" sql SELECT #1", Moment::Before, Fault::Kill);
    let client = stack.connect().await.unwrap();
    assert!(client.batch_execute("SELECT 1").await.is_err());
    assert!(killed.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_statement_can_be_cancelled() {
    let stack = Stack::new().await;
    let client = stack.connect().await.unwrap();
    let cancel = client.cancel_token();
    let tls = MakeTlsConnector::new(stack.server.certificates().connector());
    let (slept, cancelled) = tokio::join!(client.batch_execute("SELECT pg_sleep(30)"), async {
        let admin = stack.server.admin_client().await.unwrap();
        let started = Instant::now();
        let asleep = "SELECT FROM pg_stat_activity WHERE usename = 'app' AND wait_event = 'PgSleep'";
        while admin.query_opt(asleep, &[]).await.unwrap().is_none() {
            assert!(started.elapsed() < Duration::from_mins(1), "the statement never began");
        }
        cancel.cancel_query(tls).await
    });
    cancelled.unwrap();
    assert_eq!(slept.unwrap_err().code(), Some(&SqlState::QUERY_CANCELED));
}

#[tokio::test]
async fn a_dropped_proxy_cuts_what_it_carries() {
    let stack = Stack::new().await;
    let client = stack.connect().await.unwrap();
    drop(stack.proxy);
    assert!(client.batch_execute("SELECT 1").await.is_err());
}

#[test]
fn a_name_never_holds_a_literal() {
    for (sql, expected) in [
        ("BEGIN", "BEGIN"),
        ("  alter   ROLE\t\"app\" PASSWORD 'x'", "alter ROLE"),
        ("SET LOCAL lock_timeout = 5000", "SET LOCAL lock_timeout ="),
        ("SELECT $1", "SELECT"),
        ("SELECT rolname\nFROM pg_roles", "SELECT rolname"),
        ("SELECT a_very_long_function_name_indeed(and_its_argument)", "SELECT a_very_long_function_name_indeed("),
        ("'secret'", ""),
        ("", ""),
    ] {
        assert_eq!(name(sql), expected, "{sql}");
    }
}
