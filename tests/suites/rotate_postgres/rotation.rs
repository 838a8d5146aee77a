//! What a team sees when its secret is rotated: the transaction on every supported PostgreSQL, and clients that never fail.

use crate::polling::eventually;
use crate::rotate_postgres::clients::{Clients, WORK};
use keyturn_tests::stacks::postgres::{ADMIN, App, Stack};
use serde_json::{Value, json};

/// Logs in with the current credential and gives back who acts, as `session_user` and `current_user`.
async fn identity(stack: &Stack, app: &App) -> (String, String) {
    let current = stack.value(&app.secret, "AWSCURRENT").unwrap();
    let text = |key: &str| current[key].as_str().unwrap().to_owned();
    let client = stack.postgres.client(&text("username"), &text("password"), &app.name).await.unwrap();
    let row = client.query_one("SELECT session_user::text, current_user::text", &[]).await.unwrap();
    (row.get(0), row.get(1))
}

/// What a connection pool does between two users of a connection does not lose the role.
async fn a_reset_session_still_acts_as_the_owner(stack: &Stack, app: &App) {
    for reset in ["DISCARD ALL", "RESET ROLE", "RESET ALL", "RESET SESSION AUTHORIZATION"] {
        let current = stack.value(&app.secret, "AWSCURRENT").unwrap();
        let text = |key: &str| current[key].as_str().unwrap().to_owned();
        let client = stack.postgres.client(&text("username"), &text("password"), &app.name).await.unwrap();
        client.batch_execute(reset).await.unwrap();
        let row = client.query_one("SELECT current_user::text", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), app.name, "after {reset}");
    }
}

/// Runs SQL as the current user.
async fn as_current(stack: &Stack, app: &App, sql: &str) -> Result<(), tokio_postgres::Error> {
    let current = stack.value(&app.secret, "AWSCURRENT").unwrap();
    let text = |key: &str| current[key].as_str().unwrap().to_owned();
    let client = stack.postgres.client(&text("username"), &text("password"), &app.name).await.unwrap();
    client.batch_execute(sql).await
}

async fn rotate(stack: &Stack, app: &App) {
    let outcome = stack.rotate(&app.secret).await.unwrap();
    assert!(outcome.succeeded() && outcome.attempts.len() == 1, "{outcome}{}", stack.lambda.logs().unwrap());
}

/// One fact of one role, as text.
async fn fact(stack: &Stack, sql: &str) -> String {
    let client = stack.postgres.admin_client().await.unwrap();
    client.query_opt(sql, &[]).await.unwrap().and_then(|row| row.get::<_, Option<String>>(0)).unwrap_or_default()
}

async fn both_users_work_on_each_others_objects(stack: &Stack, app: &App) {
    as_current(stack, app, "CREATE TABLE first (n int); INSERT INTO first VALUES (1)").await.unwrap();
    rotate(stack, app).await;
    as_current(stack, app, "ALTER TABLE first ADD m int; CREATE TABLE second (n int)").await.unwrap();
    rotate(stack, app).await;
    as_current(stack, app, "DROP TABLE first, second").await.unwrap();
}

async fn clone_layout(stack: &Stack) {
    let app = stack.app("Shop \"é'% 1").await.unwrap();
    let name = app.name.clone();
    let mut turns = vec![identity(stack, &app).await];
    for _ in 0..3 {
        rotate(stack, &app).await;
        turns.push(identity(stack, &app).await);
    }
    let clone = format!("{name}_clone");
    let expected = [&name, &clone, &name, &clone].map(|login| (login.clone(), name.clone()));
    assert_eq!(turns, expected);
    both_users_work_on_each_others_objects(stack, &app).await;
}

async fn owner_layout(stack: &Stack) {
    let app = stack.owner_app("billing").await.unwrap();
    let mut turns = vec![identity(stack, &app).await.0];
    for _ in 0..3 {
        rotate(stack, &app).await;
        let (session, acts_as) = identity(stack, &app).await;
        assert_eq!(acts_as, "billing", "as {session}");
        turns.push(session);
    }
    assert_eq!(turns, ["billing_a", "billing_b", "billing_a", "billing_b"]);
    a_reset_session_still_acts_as_the_owner(stack, &app).await;
    both_users_work_on_each_others_objects(stack, &app).await;
}

/// A team that logs in as the owner itself moves to owner layout by tagging its secret.
async fn from_one_login_to_owner_layout(stack: &Stack) {
    let app = stack.app("legacy").await.unwrap();
    stack.postgres.execute("ALTER ROLE legacy SET search_path = \"$user\", \"Odd, name\"").await.unwrap();
    stack.in_owner_layout(&app.secret, ["legacy_a", "legacy_b"], "legacy").unwrap();
    rotate(stack, &app).await;
    assert_eq!(identity(stack, &app).await, ("legacy_a".to_owned(), "legacy".to_owned()));
    rotate(stack, &app).await;
    assert_eq!(identity(stack, &app).await, ("legacy_b".to_owned(), "legacy".to_owned()));
    let path = "SELECT setconfig::text FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = setrole WHERE rolname = ";
    let of = async |role: &str| fact(stack, &format!("{path}'{role}'")).await;
    let owners = of("legacy").await;
    let owners_setting = owners.trim_matches(['{', '}']);
    for login in ["legacy_a", "legacy_b"] {
        let login = of(login).await;
        assert!(login.contains(owners_setting), "{login} has not {owners}");
    }
}

async fn pair_layout(stack: &Stack) {
    let password = stack.postgres.make_login("red", "").await.unwrap();
    let unknown = stack.postgres.make_login("blue", "").await.unwrap();
    if stack.postgres.major() >= 16 {
        stack.postgres.execute(&format!("GRANT red, blue TO {ADMIN} WITH ADMIN OPTION")).await.unwrap();
    }
    let secret = stack.secret("pair", &stack.credential("postgres", "red", &password)).unwrap();
    stack.in_pair_layout(&secret, ["red", "blue"]).unwrap();
    let app = App { name: "postgres".into(), secret };
    rotate(stack, &app).await;
    assert_eq!(identity(stack, &app).await, ("blue".to_owned(), "blue".to_owned()));
    assert!(stack.postgres.client("blue", &unknown, "postgres").await.is_err(), "blue's old password still works");
    assert!(stack.postgres.client("red", &password, "postgres").await.is_ok(), "red was touched");
    rotate(stack, &app).await;
    assert_eq!(identity(stack, &app).await, ("red".to_owned(), "red".to_owned()));
}

/// The twin follows its base in everything that makes a login behave as it does.
async fn settings_and_limits_follow(stack: &Stack) {
    let app = stack.app("tuned").await.unwrap();
    let set = "ALTER ROLE tuned CONNECTION LIMIT 7 VALID UNTIL '2099-01-01';
        ALTER ROLE tuned SET work_mem = '5MB';
        ALTER ROLE tuned SET application_name = 'a=b';
        ALTER ROLE tuned IN DATABASE tuned SET search_path = \"$user\", public, \"A \"\"b\"\", c\"";
    stack.postgres.execute(set).await.unwrap();
    rotate(stack, &app).await;
    let settings = |role: &str| {
        format!(
            "SELECT string_agg(coalesce(datname, '') || ':' || c, ' | ' ORDER BY coalesce(datname, '') || c) FROM pg_db_role_setting s \
            JOIN pg_roles r ON r.oid = setrole LEFT JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) c \
            WHERE rolname = '{role}' AND c NOT LIKE 'role=%'"
        )
    };
    let limits =
        |role: &str| format!("SELECT rolconnlimit || ' ' || rolvaliduntil FROM pg_roles WHERE rolname = '{role}'");
    assert_eq!(fact(stack, &settings("tuned_clone")).await, fact(stack, &settings("tuned")).await);
    assert_eq!(fact(stack, &limits("tuned_clone")).await, fact(stack, &limits("tuned")).await);
    assert_eq!(fact(stack, &limits("tuned_clone")).await, "7 2099-01-01 00:00:00+00");
    // "$user" still finds the base's own schema.
    stack.postgres.execute_in("tuned", "CREATE SCHEMA tuned AUTHORIZATION tuned").await.unwrap();
    as_current(stack, &app, "CREATE TABLE here (n int); SELECT * FROM tuned.here").await.unwrap();

    stack
        .postgres
        .execute("ALTER ROLE tuned RESET work_mem; ALTER ROLE tuned CONNECTION LIMIT -1 VALID UNTIL 'infinity'")
        .await
        .unwrap();
    rotate(stack, &app).await;
    rotate(stack, &app).await;
    assert_eq!(fact(stack, &settings("tuned_clone")).await, fact(stack, &settings("tuned")).await);
    assert_eq!(fact(stack, &limits("tuned_clone")).await, "-1 infinity");
}

/// The end of a password is an instant, however the server's sessions write one.
async fn the_end_of_a_password_stays_where_it_is(stack: &Stack) {
    let app = stack.app("dated").await.unwrap();
    let set = "ALTER ROLE dated VALID UNTIL '2099-03-04 05:06:07.5+00'";
    stack.postgres.execute(set).await.unwrap();
    for database in ["dated", "postgres"] {
        let settings = format!(
            "ALTER DATABASE {database} SET DateStyle = 'SQL, DMY'; ALTER DATABASE {database} SET TimeZone = 'Asia/Kolkata'"
        );
        stack.postgres.execute(&settings).await.unwrap();
    }
    for _ in 0..3 {
        rotate(stack, &app).await;
        let ends = "SELECT string_agg(DISTINCT (extract(epoch FROM rolvaliduntil) * 10)::bigint::text, ' ') FROM pg_roles \
            WHERE rolname IN ('dated', 'dated_clone')";
        assert_eq!(fact(stack, ends).await, "40762839675");
    }
    for database in ["dated", "postgres"] {
        stack.postgres.execute(&format!("ALTER DATABASE {database} RESET ALL")).await.unwrap();
    }
}

/// Behind a pooler in transaction mode, the session that the function has used is the application's a moment later.
fn nothing_is_left_in_a_session(stack: &Stack) {
    let log = stack.postgres.server_log().unwrap();
    assert!(log.contains("SET LOCAL search_path = pg_catalog, pg_temp"));
    let is_left =
        |line: &&str| line.contains("statement: SET search_path") || line.contains("statement: RESET search_path");
    let left: Vec<_> = log.lines().filter(is_left).collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What somebody broke at the twin since the last rotation is mended by the next one.
async fn a_damaged_twin_is_mended(stack: &Stack) {
    let app = stack.app("worn").await.unwrap();
    rotate(stack, &app).await;
    rotate(stack, &app).await;
    stack
        .postgres
        .execute("REVOKE worn FROM worn_clone; ALTER ROLE worn_clone NOINHERIT; ALTER ROLE worn_clone RESET role")
        .await
        .unwrap();
    rotate(stack, &app).await;
    assert_eq!(identity(stack, &app).await, ("worn_clone".to_owned(), "worn".to_owned()));
    both_users_work_on_each_others_objects(stack, &app).await;
}

async fn every_layout_rotates_on(major: u32) {
    let stack = Stack::start(major).await.unwrap();
    clone_layout(&stack).await;
    owner_layout(&stack).await;
    from_one_login_to_owner_layout(&stack).await;
    pair_layout(&stack).await;
    settings_and_limits_follow(&stack).await;
    a_damaged_twin_is_mended(&stack).await;
    the_end_of_a_password_stays_where_it_is(&stack).await;
    nothing_is_left_in_a_session(&stack);
    assert_eq!(stack.aws.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn every_layout_rotates_on_postgresql_13() {
    every_layout_rotates_on(13).await;
}

#[tokio::test]
async fn every_layout_rotates_on_postgresql_14() {
    every_layout_rotates_on(14).await;
}

#[tokio::test]
async fn every_layout_rotates_on_postgresql_15() {
    every_layout_rotates_on(15).await;
}

#[tokio::test]
async fn every_layout_rotates_on_postgresql_16() {
    every_layout_rotates_on(16).await;
}

#[tokio::test]
async fn every_layout_rotates_on_postgresql_17() {
    every_layout_rotates_on(17).await;
}

#[tokio::test]
async fn every_layout_rotates_on_postgresql_18() {
    every_layout_rotates_on(18).await;
}

/// What PostgreSQL asks the login for, or the role that it acts as, when the two differ.
#[tokio::test]
async fn what_clients_can_notice_of_acting_as_the_owner() {
    let stack = Stack::start(17).await.unwrap();
    let app = stack.owner_app("billing").await.unwrap();
    let session = async || {
        let current = stack.value(&app.secret, "AWSCURRENT").unwrap();
        let text = |key: &str| current[key].as_str().unwrap().to_owned();
        stack.postgres.client(&text("username"), &text("password"), "billing").await.unwrap()
    };
    let asks = async |client: &tokio_postgres::Client, sql: &str| -> String {
        match client.query_one(sql, &[]).await {
            Ok(row) => row.get(0),
            Err(error) => error.as_db_error().unwrap().message().to_owned(),
        }
    };
    // Another session of the same user: acting as the owner, and as itself.
    let (one, other) = (session().await, session().await);
    let pid: i32 = other.query_one("SELECT pg_backend_pid()", &[]).await.unwrap().get(0);
    let (text, cancel) = (
        format!("SELECT query FROM pg_stat_activity WHERE pid = {pid}"),
        format!("SELECT pg_cancel_backend({pid})::text"),
    );
    assert_eq!(asks(&one, &text).await, "<insufficient privilege>");
    assert_eq!(asks(&one, &cancel).await, "permission denied to cancel query");
    one.batch_execute("SET ROLE NONE").await.unwrap();
    assert_eq!(asks(&one, &text).await, "SELECT pg_backend_pid()");
    assert_eq!(asks(&one, &cancel).await, "true");

    // Row level security on session_user tells the two users apart, and on current_user it does not.
    let seen = async |column: &str| {
        let client = session().await;
        let policy = format!(
            "CREATE TABLE IF NOT EXISTS by_{column} (who text); ALTER TABLE by_{column} ENABLE ROW LEVEL SECURITY;
            ALTER TABLE by_{column} FORCE ROW LEVEL SECURITY; DROP POLICY IF EXISTS own ON by_{column};
            CREATE POLICY own ON by_{column} USING (who = {column}); INSERT INTO by_{column} VALUES ({column})"
        );
        client.batch_execute(&policy).await.unwrap();
        asks(&client, &format!("SELECT count(*)::text FROM by_{column}")).await
    };
    assert_eq!((seen("session_user").await, seen("current_user").await), ("1".to_owned(), "1".to_owned()));
    rotate(&stack, &app).await;
    assert_eq!((seen("session_user").await, seen("current_user").await), ("1".to_owned(), "2".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_read_awscurrent_never_fail_while_it_is_rotated_again_and_again() {
    let stack = Stack::start(17).await.unwrap();
    let clone = stack.app("shop").await.unwrap();
    let owner = stack.owner_app("billing").await.unwrap();
    for app in [&clone, &owner] {
        as_current(&stack, app, "CREATE TABLE work (n int)").await.unwrap();
        let clients = Clients::start(&stack, app, 4, WORK);
        for _ in 0..6 {
            clients.after_more_logins(8).await;
            rotate(&stack, app).await;
        }
        let seen = clients.stop().await;
        assert!(seen.logins >= 48, "{seen:?}");
        assert_eq!(seen.failures, Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_warm_rotation_makes_no_call_it_does_not_need() {
    let stack = Stack::builder(18).through_proxy().start().await.unwrap();
    let app = stack.app("shop").await.unwrap();
    for _ in 0..2 {
        rotate(&stack, &app).await;
    }
    stack.faults.reset();
    rotate(&stack, &app).await;
    let of = |step: &str| -> Vec<String> {
        let mut calls: Vec<String> =
            stack.faults.recorded().iter().filter_map(|c| c.strip_prefix(step).map(|c| c.trim().to_owned())).collect();
        calls.sort();
        calls
    };
    assert_calls(&of("createSecret"), 5, 1);
    assert_calls(&of("setSecret"), 5, 3);
    assert_calls(&of("testSecret"), 2, 1);
    assert_calls(&of("finishSecret"), 4, 1);
}

/// So many calls to AWS, and so many logins.
fn assert_calls(calls: &[String], aws: usize, logins: usize) {
    let is_sql = |call: &&String| call.starts_with("sql ");
    let is_login = |call: &&String| call.starts_with("connect ");
    assert_eq!(calls.iter().filter(is_login).count(), logins, "{calls:?}");
    assert_eq!(calls.len() - calls.iter().filter(is_sql).count() - logins, aws, "{calls:?}");
}

/// Passwords that other tools put in may hold anything: the verifier computed here must be what the server computes.
#[tokio::test]
async fn a_pending_password_of_any_characters_logs_in() {
    let stack = Stack::start(16).await.unwrap();
    for (n, password) in
        ["p\u{e4}ss w\u{f6}rd", "\u{2168}\u{aa}\u{ad}x", "\u{1d11e}'\\\"$$;--%s", "\u{7}bell", "\u{627}1"]
            .iter()
            .enumerate()
    {
        let app = stack.app(&format!("any{n}")).await.unwrap();
        let token = stack.stage(&app.secret).unwrap();
        let pending = stack.credential(&app.name, &format!("any{n}_clone"), password).to_string();
        let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
        let put = client.put_secret_value().secret_id(&app.secret).client_request_token(&token);
        put.version_stages("AWSPENDING").secret_string(pending).send().await.unwrap();
        for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
            stack.step(&app.secret, &token, step).await.unwrap();
        }
        assert_eq!(identity(&stack, &app).await.1, app.name);
    }
}

/// The rotation has waited for a lock while somebody put another credential: it must not set its password any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_set_secret_that_waited_too_long_does_not_overwrite_a_newer_credential() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    rotate(&stack, &app).await;
    rotate(&stack, &app).await;
    let hash = "SELECT rolpassword FROM pg_authid WHERE rolname = 'shop_clone'";
    let before = fact(&stack, hash).await;

    // The first holds up the rotation's lock, the second its change.
    for by_hand in ["COMMENT ON ROLE shop IS 'by hand'", "ALTER ROLE shop_clone CONNECTION LIMIT 7"] {
        let token = stack.stage(&app.secret).unwrap();
        stack.step(&app.secret, &token, "createSecret").await.unwrap();
        let holder = stack.postgres.admin_client().await.unwrap();
        holder.batch_execute(&format!("BEGIN; {by_hand}")).await.unwrap();
        let waits = "SELECT count(*)::text FROM pg_stat_activity WHERE application_name LIKE 'keyturn%' AND wait_event_type = 'Lock' AND query_start < now() - interval '50 ms'";
        let meanwhile = async {
            eventually("the rotation waits", async || fact(&stack, waits).await == "1").await;
            let value = stack.value(&app.secret, "AWSCURRENT").unwrap().to_string();
            let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
            client.put_secret_value().secret_id(&app.secret).secret_string(value).send().await.unwrap();
            holder.batch_execute("ROLLBACK").await.unwrap();
        };
        let (set, ()) = tokio::join!(stack.step(&app.secret, &token, "setSecret"), meanwhile);
        assert_eq!(set.unwrap_err().error_type, "CURRENT_MOVED", "{by_hand}");
        assert_eq!(fact(&stack, hash).await, before, "{by_hand}: the password was set all the same");
    }
}

/// Else every client would read a password that does not work.
#[tokio::test]
async fn a_password_that_somebody_replaced_after_its_test_does_not_become_current() {
    let stack = Stack::start(17).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    let current = stack.value(&app.secret, "AWSCURRENT").unwrap();
    // Called out of turn, too.
    stack.step(&app.secret, &token, "createSecret").await.unwrap();
    let early = stack.step(&app.secret, &token, "finishSecret").await.unwrap_err();
    assert_eq!(early.error_type, "PASSWORD_REFUSED", "{early}");
    for step in ["setSecret", "testSecret"] {
        stack.step(&app.secret, &token, step).await.unwrap();
    }
    stack.postgres.execute("ALTER ROLE shop_clone PASSWORD 'of somebody else'").await.unwrap();
    let late = stack.step(&app.secret, &token, "finishSecret").await.unwrap_err();
    assert_eq!(late.error_type, "PASSWORD_REFUSED", "{late}");
    assert_eq!(stack.value(&app.secret, "AWSCURRENT").unwrap(), current);
    // The next try sets it again.
    for step in ["setSecret", "testSecret", "finishSecret"] {
        stack.step(&app.secret, &token, step).await.unwrap();
    }
    assert_eq!(identity(&stack, &app).await.0, "shop_clone");
}

#[tokio::test]
async fn the_reports_say_what_was_done() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    let mut reports = Vec::new();
    for step in ["createSecret", "setSecret", "testSecret", "finishSecret", "finishSecret"] {
        reports.push(stack.step(&app.secret, &token, step).await.unwrap());
    }
    let expected: [Value; 5] = [
        json!({"step": "createSecret", "outcome": "pending_created", "user": "shop_clone"}),
        json!({"step": "setSecret", "outcome": "password_set", "user": "shop_clone", "changes": ["\"shop_clone\" created, password set", "acts as \"shop\"", "\"shop\" marked as this secret's", "\"shop_clone\" marked as this secret's"]}),
        json!({"step": "testSecret", "outcome": "pending_proven", "user": "shop_clone"}),
        json!({"step": "finishSecret", "outcome": "finished"}),
        json!({"step": "finishSecret", "outcome": "already_current"}),
    ];
    assert_eq!(reports, expected);
}
