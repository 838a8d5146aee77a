//! What the function makes of secrets, events and settings that somebody got wrong, or that are merely odd.

use crate::rotate_postgres::checks::{effects, failure, log, logged, login, put, roles, steps};
use keyturn_tests::aws::{Aws, secrets_client};
use keyturn_tests::faults::Faults;
use keyturn_tests::lambda::{FunctionError, Lambda};
use keyturn_tests::rotator::built;
use keyturn_tests::stacks::postgres::{App, Stack};
use serde_json::{Value, json};

/// Sits wherever a secret may hold one; must never come out again.
const CANARY: &str = "cAnArY-7f3e";

type Case = (String, &'static str, &'static str);

/// The refusal has the code, names the problem and repeats nothing of the secret.
fn assert_refused(error: &FunctionError, code: &str, says: &str, case: &str) {
    assert_eq!(error.error_type, code, "{case}: {error}");
    assert!(error.error_message.contains(says), "{case}: {error}");
    assert!(!error.error_message.contains(CANARY), "{case}: {error}");
}

/// A good secret with one key changed; `null` leaves the key out.
fn with(good: &Value, key: &str, value: Value) -> String {
    let mut changed = good.clone();
    changed[key] = value;
    if let Some(members) = changed.as_object_mut() {
        members.retain(|name, value| name != key || !value.is_null());
    }
    changed.to_string()
}

fn unreadable() -> Vec<Case> {
    let owned = |(text, code, says): (&str, _, _)| (text.replace("{C}", CANARY), code, says);
    [
        ("{C}", "SECRET_NOT_JSON", "breaks at line 1"),
        ("username=app password={C}", "SECRET_NOT_JSON", "is not JSON"),
        ("{\"username\": \"app\",\n \"password\": \"{C}\"", "SECRET_NOT_JSON", "line 2"),
        ("{'username': 'app', 'password': '{C}'}", "SECRET_NOT_JSON", "is not JSON"),
        ("{\"username\": \"app\", \"password\": \"{C}\"} {}", "SECRET_NOT_JSON", "is not JSON"),
        ("{\"username\": \"app\", \"password\": \"{C}\", \"port\": 0x10}", "SECRET_NOT_JSON", "is not JSON"),
        ("\u{feff}{\"username\": \"app\", \"password\": \"{C}\"}", "SECRET_NOT_JSON", "is not JSON"),
        ("[\"app\", \"{C}\"]", "SECRET_NOT_OBJECT", "is an array"),
        ("\"{C}\"", "SECRET_NOT_OBJECT", "is a string"),
        ("5432", "SECRET_NOT_OBJECT", "is a number"),
        ("null", "SECRET_NOT_OBJECT", "is null"),
        ("{}", "SECRET_KEY_MISSING", "\"username\""),
        ("{\"Username\": \"app\", \"Password\": \"{C}\"}", "SECRET_KEY_MISSING", "\"username\""),
        ("{\"username\": \"app\", \"password\": \"{C}\", \"password\": \"x\"}", "SECRET_KEY_DUPLICATE", "\"password\""),
        ("{\"username\": \"app\", \"password\": \"{C}\", \"{C}\": 1, \"{C}\": 2}", "SECRET_KEY_DUPLICATE", "a key"),
        ("{\"username\": \"app\", \"password\": \"\\ud800{C}\"}", "SECRET_KEY_INVALID", "\"password\""),
        ("{\"username\": \"app\", \"password\": \"{C}\\u0000\"}", "SECRET_KEY_INVALID", "NUL"),
    ]
    .map(owned)
    .into_iter()
    .chain([(format!("{}{CANARY}", "[".repeat(50_000)), "SECRET_NOT_JSON", "is not JSON")])
    .collect()
}

/// Readable JSON whose known keys are not what they must be.
fn wrong_keys(good: &Value) -> Vec<Case> {
    let long = |letter: &str, times: usize| json!(letter.repeat(times));
    [
        ("username", json!(null), "SECRET_KEY_MISSING", "\"username\" is missing"),
        ("username", json!(""), "SECRET_KEY_INVALID", "\"username\" is empty"),
        ("username", json!(7), "SECRET_KEY_WRONG_TYPE", "\"username\" must be a string but is a number"),
        ("username", json!("app\0x"), "SECRET_KEY_INVALID", "\"username\" holds a control character"),
        ("username", json!("app\nx"), "SECRET_KEY_INVALID", "\"username\" holds a control character"),
        ("username", long("n", 64), "NAME_TOO_LONG", "64 bytes"),
        ("username", long("n", 58), "NAME_TOO_LONG", "64 bytes"),
        ("username", long("é", 32), "NAME_TOO_LONG", "64 bytes"),
        ("password", json!(null), "SECRET_KEY_MISSING", "\"password\" is missing"),
        ("password", json!(""), "SECRET_KEY_INVALID", "\"password\" is empty"),
        ("password", json!([CANARY]), "SECRET_KEY_WRONG_TYPE", "\"password\" must be a string but is an array"),
        ("password", json!({"value": CANARY}), "SECRET_KEY_WRONG_TYPE", "but is an object"),
        ("engine", json!("mysql"), "ENGINE_UNKNOWN", "\"mysql\""),
        ("engine", json!(true), "SECRET_KEY_WRONG_TYPE", "\"engine\" must be a string but is a boolean"),
        ("host", json!(null), "SECRET_KEY_MISSING", "\"host\""),
        ("host", json!(""), "SECRET_KEY_INVALID", "\"host\" is empty"),
        ("host", json!(["localhost"]), "SECRET_KEY_WRONG_TYPE", "\"host\""),
        ("host", json!("local\thost"), "SECRET_KEY_INVALID", "\"host\" holds a control character"),
        ("port", json!(0), "SECRET_KEY_INVALID", "\"port\" is not a whole number from 1 to 65535"),
        ("port", json!(-1), "SECRET_KEY_INVALID", "\"port\""),
        ("port", json!(65536), "SECRET_KEY_INVALID", "\"port\""),
        ("port", json!(5432.5), "SECRET_KEY_INVALID", "\"port\""),
        ("port", json!("five"), "SECRET_KEY_INVALID", "\"port\""),
        ("port", json!(""), "SECRET_KEY_INVALID", "\"port\""),
        ("port", json!([5432]), "SECRET_KEY_WRONG_TYPE", "\"port\""),
        ("dbname", json!(1), "SECRET_KEY_WRONG_TYPE", "\"dbname\""),
        ("dbname", json!("shop\0"), "SECRET_KEY_INVALID", "\"dbname\" holds a control character"),
        ("masterarn", json!(null), "SECRET_KEY_MISSING", "\"masterarn\""),
        ("masterarn", json!(""), "SECRET_KEY_MISSING", "\"masterarn\""),
        ("masterarn", json!({"arn": CANARY}), "SECRET_KEY_WRONG_TYPE", "\"masterarn\""),
        ("masterarn", json!("no-such-secret"), "ADMIN_SECRET_MISSING", "no-such-secret"),
        ("usernames", json!("shop,shop_b"), "LAYOUT_IN_VALUE", "tag-resource"),
        ("usernames", json!(["shop", CANARY]), "LAYOUT_IN_VALUE", "must not choose whose password changes"),
        ("testQueries", json!([1]), "SECRET_KEY_WRONG_TYPE", "\"testQueries\""),
    ]
    .map(|(key, value, code, says)| (with(good, key, value), code, says))
    .into()
}

#[tokio::test]
async fn a_malformed_secret_is_refused_with_what_is_wrong_and_nothing_is_written() {
    let stack = Stack::builder(16).variable("LOG_LEVEL", "trace").start().await.unwrap();
    stack.app("shop").await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let before = roles(&stack).await;
    let good = stack.credential("shop", "shop", CANARY);
    let cases: Vec<Case> = unreadable().into_iter().chain(wrong_keys(&good)).collect();
    for (n, (text, code, says)) in cases.iter().enumerate() {
        let secret = stack.secret_text(&format!("malformed-{n}"), text).unwrap();
        let outcome = stack.rotate(&secret).await.unwrap();
        let error = failure(&outcome);
        assert_refused(&error, code, says, text);
        assert!(stack.aws.secrets.value(&secret, "AWSPENDING").unwrap().is_none(), "{text}");
        assert_eq!(outcome.attempts[0].steps[0].step, "createSecret");
    }
    // The next step would refuse an unreadable value just the same.
    let secret = stack.secret_text("malformed", &unreadable()[0].0).unwrap();
    let token = stack.stage(&secret).unwrap();
    let error = stack.step(&secret, &token, "setSecret").await.unwrap_err();
    assert_refused(&error, "SECRET_NOT_JSON", "AWSCURRENT", "setSecret");

    assert!(effects(&stack).is_empty(), "{:?}", effects(&stack));
    assert_eq!(roles(&stack).await, before);
    let lines = log(&stack, &[CANARY]);
    assert_eq!(logged(&lines, "NAME_TOO_LONG"), 3);
    let errors: Vec<&Value> = lines.iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(errors.len(), cases.len() + 1, "each failure is logged once");
    assert!(errors.iter().all(|line| line["remedy"].as_str().is_some_and(|remedy| remedy.len() > 20)), "{errors:?}");
    assert!(stack.aws.violations().is_empty(), "{:?}", stack.aws.violations());
}

#[tokio::test]
async fn a_binary_secret_is_refused_with_the_command_that_stores_text() {
    let stack = Stack::start(16).await.unwrap();
    let client = secrets_client(&stack.aws.client_url());
    let binary = || aws_sdk_secretsmanager::primitives::Blob::new(CANARY);
    let created = client.create_secret().name("binary").secret_binary(binary());
    let secret = created.client_request_token("0".repeat(32)).send().await.unwrap().arn.unwrap();
    stack.aws.secrets.set_rotation(&secret, &stack.lambda.invoke_url()).unwrap();
    stack.aws.secrets.set_attempts(1);
    let error = failure(&stack.rotate(&secret).await.unwrap());
    assert_refused(&error, "SECRET_IS_BINARY", "aws secretsmanager put-secret-value", "current");

    let app = stack.app("shop").await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    let put = client.put_secret_value().secret_id(&app.secret).client_request_token(&token).secret_binary(binary());
    put.version_stages("AWSPENDING").send().await.unwrap();
    for step in ["createSecret", "setSecret", "testSecret"] {
        let error = stack.step(&app.secret, &token, step).await.unwrap_err();
        assert_refused(&error, "SECRET_IS_BINARY", "AWSPENDING", step);
    }

    let mut of_binary_admin = stack.value(&app.secret, "AWSCURRENT").unwrap();
    of_binary_admin["masterarn"] = json!(secret);
    let secret = stack.secret("with-binary-admin", &of_binary_admin).unwrap();
    let error = failure(&stack.rotate(&secret).await.unwrap());
    assert_refused(&error, "SECRET_IS_BINARY", of_binary_admin["masterarn"].as_str().unwrap(), "admin");
    log(&stack, &[CANARY]);
}

#[tokio::test]
async fn a_pending_value_that_somebody_else_put_is_refused_with_the_command_that_clears_it() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let before = roles(&stack).await;
    let mut clone = stack.credential("shop", "shop_clone", CANARY);
    let mut cases: Vec<Case> = unreadable();
    for (key, value, code, says) in [
        ("username", json!(5), "SECRET_KEY_WRONG_TYPE", "\"username\" must be a string"),
        ("port", json!("x"), "SECRET_KEY_INVALID", "\"port\""),
        ("username", json!("shop"), "PENDING_IS_CURRENT_USER", "\"shop\", who is in use"),
        ("username", json!("victim"), "PENDING_MISMATCH", "\"victim\""),
        ("username", json!("shop_clone_clone"), "PENDING_MISMATCH", "shop_clone_clone"),
        ("host", json!("elsewhere.example.com"), "PENDING_MISMATCH", "elsewhere.example.com"),
        ("host", json!(null), "PENDING_MISMATCH", "names no PostgreSQL host"),
        ("masterarn", json!("arn:of:before"), "PENDING_MISMATCH", "key \"masterarn\" differs"),
        ("API_KEY", json!(CANARY), "PENDING_MISMATCH", "another key than the credential's differs"),
        ("port", json!(1), "PENDING_MISMATCH", "localhost:1/shop"),
        ("dbname", json!("postgres"), "PENDING_MISMATCH", "/postgres"),
        ("engine", json!("aurora-postgresql"), "PENDING_MISMATCH", "key \"engine\" differs"),
    ] {
        cases.push((with(&clone, key, value), code, says));
    }
    for (text, code, says) in &cases {
        let token = stack.stage(&app.secret).unwrap();
        put(&stack, &app.secret, Some(&token), Some("AWSPENDING"), text).await;
        // testSecret looks at the pending value alone, so it cannot see what does not fit the current one.
        let looks: &[&str] = if code.starts_with("SECRET_") {
            &["createSecret", "setSecret", "testSecret"]
        } else {
            &["createSecret", "setSecret"]
        };
        for step in looks {
            let error = stack.step(&app.secret, &token, step).await.unwrap_err();
            assert_refused(&error, code, says, text);
            let clears = format!("--version-stage AWSPENDING --remove-from-version-id {token}");
            assert!(error.error_message.contains(&clears), "{error}");
        }
        assert_eq!(stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap().as_ref(), Some(text));
    }
    assert!(effects(&stack).is_empty(), "{:?}", effects(&stack));
    assert_eq!(roles(&stack).await, before);
    log(&stack, &[CANARY]);

    // The remedy, done as told, is all it takes.
    let token = stack.aws.secrets.version(&app.secret, "AWSPENDING").unwrap().unwrap();
    let client = secrets_client(&stack.aws.client_url());
    let clear = client.update_secret_version_stage().secret_id(&app.secret).version_stage("AWSPENDING");
    clear.remove_from_version_id(token).send().await.unwrap();
    let outcome = stack.rotate(&app.secret).await.unwrap();
    assert!(outcome.succeeded() && !outcome.reattempted, "{outcome}");
    clone["password"] = json!(crate::rotate_postgres::checks::password(&stack, &app.secret, "AWSCURRENT"));
    assert_eq!(stack.value(&app.secret, "AWSCURRENT").unwrap(), clone);
}

#[tokio::test]
async fn a_malformed_admin_secret_is_named_in_the_refusal() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let before = roles(&stack).await;
    let admin = json!({"engine": "postgres", "host": "localhost", "port": stack.database_port(), "username": "rotation_admin", "password": CANARY});
    let mut cases = unreadable();
    for (key, value, code, says) in [
        ("host", json!(null), "SECRET_KEY_MISSING", "\"host\""),
        ("port", json!("x"), "SECRET_KEY_INVALID", "\"port\""),
        ("engine", json!("mysql"), "ENGINE_UNKNOWN", "\"mysql\""),
        ("password", json!(null), "SECRET_KEY_MISSING", "\"password\""),
        ("port", json!(null), "ADMIN_OF_ANOTHER_SERVER", "localhost:5432"),
    ] {
        cases.push((with(&admin, key, value), code, says));
    }
    let mut credential = stack.value(&app.secret, "AWSCURRENT").unwrap();
    for (n, (text, code, says)) in cases.iter().enumerate() {
        let admin = stack.aws.secrets.create(&format!("bad-admin-{n}"), text).unwrap();
        credential["masterarn"] = json!(admin);
        let secret = stack.secret(&format!("shop-{n}"), &credential).unwrap();
        let error = failure(&stack.rotate(&secret).await.unwrap());
        assert_refused(&error, code, says, text);
        assert!(error.error_message.contains("admin secret"), "{error}");
        assert!(stack.aws.secrets.value(&secret, "AWSPENDING").unwrap().is_none(), "{text}");
    }
    assert!(effects(&stack).is_empty(), "{:?}", effects(&stack));
    assert_eq!(roles(&stack).await, before);
    log(&stack, &[CANARY]);
}

fn malformed_events() -> Vec<(Value, &'static str, &'static str)> {
    let good = json!({"Step": "createSecret", "SecretId": "shop", "ClientRequestToken": "t"});
    let changed = |field: &str, value: Value| -> Value { serde_json::from_str(&with(&good, field, value)).unwrap() };
    let forged = format!("shop\n{{\"level\":\"INFO\",\"code\":\"FORGED\",\"msg\":\"{CANARY}\"}}");
    vec![
        (json!({}), "EVENT_INVALID", "Step is missing"),
        (json!([]), "EVENT_INVALID", "Step is missing"),
        (json!([good]), "EVENT_INVALID", "Step is missing"),
        (json!("createSecret"), "EVENT_INVALID", "Step is missing"),
        (json!(42), "EVENT_INVALID", "Step is missing"),
        (json!(null), "EVENT_INVALID", "Step is missing"),
        (
            json!({"step": "createSecret", "secretId": "shop", "clientRequestToken": "t"}),
            "EVENT_INVALID",
            "Step is missing",
        ),
        (changed("Step", json!(null)), "EVENT_INVALID", "Step is missing"),
        (changed("SecretId", json!(null)), "EVENT_INVALID", "SecretId is missing"),
        (changed("ClientRequestToken", json!(null)), "EVENT_INVALID", "ClientRequestToken is missing"),
        (changed("Step", json!(1)), "EVENT_INVALID", "Step is not a string"),
        (changed("Step", json!({"name": "createSecret"})), "EVENT_INVALID", "Step is not a string"),
        (changed("SecretId", json!(["shop"])), "EVENT_INVALID", "SecretId is not a string"),
        (changed("SecretId", json!("")), "EVENT_INVALID", "SecretId is empty"),
        (changed("SecretId", json!(forged)), "EVENT_INVALID", "SecretId holds a control character"),
        (changed("SecretId", json!("shop\u{1b}[2K")), "EVENT_INVALID", "SecretId holds a control character"),
        (changed("SecretId", json!("s".repeat(100_000))), "EVENT_INVALID", "SecretId is longer"),
        (changed("ClientRequestToken", json!(forged)), "EVENT_INVALID", "ClientRequestToken holds a control character"),
        (changed("ClientRequestToken", json!("a\0b")), "EVENT_INVALID", "ClientRequestToken holds a control character"),
        (changed("ClientRequestToken", json!(true)), "EVENT_INVALID", "ClientRequestToken is not a string"),
        (changed("RotationToken", json!(forged)), "EVENT_INVALID", "RotationToken holds a control character"),
        (changed("RotationToken", json!([CANARY])), "EVENT_INVALID", "RotationToken is not a string"),
        (changed("Step", json!(forged)), "EVENT_INVALID", "Step holds a control character"),
        (
            changed("Step", json!("create_secret")),
            "EVENT_UNKNOWN_STEP",
            "createSecret, setSecret, testSecret, finishSecret",
        ),
        (changed("Step", json!("CREATESECRET")), "EVENT_UNKNOWN_STEP", "\"CREATESECRET\""),
        (changed("Step", json!("deleteSecret")), "EVENT_UNKNOWN_STEP", "\"deleteSecret\""),
    ]
}

#[tokio::test]
async fn a_malformed_event_is_answered_without_a_call_to_anybody_and_cannot_forge_a_log_line() {
    let stack = Stack::start(16).await.unwrap();
    let events = malformed_events();
    for (event, code, says) in &events {
        let error = stack.lambda.invoke(event.clone()).await.result.unwrap_err();
        assert_refused(&error, code, says, &event.to_string());
    }
    assert_eq!(stack.faults.recorded(), Vec::<String>::new());
    let lines = log(&stack, &[CANARY]);
    assert_eq!(logged(&lines, "FORGED"), 0);
    assert_eq!(logged(&lines, "EVENT_INVALID") + logged(&lines, "EVENT_UNKNOWN_STEP"), events.len());
}

#[tokio::test]
async fn fields_that_the_service_may_add_to_an_event_one_day_do_no_harm() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    for step in crate::rotate_postgres::checks::STEPS {
        let event = json!({"Step": step, "SecretId": app.secret, "ClientRequestToken": token, "RotationToken": null,
            "Version": 2, "Context": {"Step": "finishSecret", "Lines": ["a\nb"]}, "step": "finishSecret"});
        stack.lambda.invoke(event).await.result.unwrap();
    }
    assert_eq!(login(&stack, &app, "AWSCURRENT").await.unwrap(), ("shop_clone".to_owned(), "shop".to_owned()));
}

/// Percent-encodes everything that is not unreserved.
fn encoded(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A secret in nobody's usual form; what must come back byte for byte around the changed values.
fn odd_secret(stack: &Stack, database: &str, user: &str, password: &str) -> String {
    let (in_url, secret_in_url, database_in_url) = (encoded(user), encoded(password), encoded(database));
    let (user, password, database) = (json!(user), json!(password), json!(database));
    let (port, admin) = (stack.database_port(), &stack.admin_arn);
    format!(
        r#"
{{ "url" : "postgresql://{in_url}:{secret_in_url}@localhost:{port}/{database_in_url}?sslmode=require",
	"password":{password},   "port": "{port}",
  "nested" : {{"password":{password}, "deep": [1.50, {{"user": {user}, "n": 1E+2}}], "off": false}},
  "username" : {user}, "engine":"postgres","host": "LOCALHOST.", "dbname": {database}, "masterarn": "{admin}",
  "jdbcUrl":"jdbc:postgresql://localhost:{port}/{database_in_url}?user={in_url}&password={secret_in_url}",
  "dsn": "host=localhost user='someone else' password=theirs",
  "ssl": ["whatever"], "zeros": [1.0, 100000000000000000000000, -0, null], "note": "caf\u00e9 \/ ☕", "": 1 }}
"#
    )
}

#[tokio::test]
async fn names_and_secrets_of_any_form_rotate_and_every_other_byte_comes_back() {
    let stack = Stack::start(16).await.unwrap();
    let longest = "n".repeat(57);
    let names = [
        "o'brien",
        "Say \"Hi\"",
        "a b",
        "100%41",
        "MixedCase",
        "größe日本",
        "back\\slash; DROP ROLE y; --",
        "$user",
        "a@b:c/d?e#f",
        &longest,
    ];
    for (n, name) in names.into_iter().enumerate() {
        let app = stack.app(name).await.unwrap();
        let first = crate::rotate_postgres::checks::password(&stack, &app.secret, "AWSCURRENT");
        let secret = stack.secret_text(&format!("odd-{n}"), &odd_secret(&stack, name, name, &first)).unwrap();
        let odd = App { name: name.to_owned(), secret };
        for user in [format!("{name}_clone"), name.to_owned()] {
            let outcome = stack.rotate(&odd.secret).await.unwrap();
            assert!(outcome.succeeded() && outcome.attempts.len() == 1, "{name}: {outcome}");
            let text = stack.aws.secrets.value(&odd.secret, "AWSCURRENT").unwrap().unwrap();
            let password = crate::rotate_postgres::checks::password(&stack, &odd.secret, "AWSCURRENT");
            assert_eq!(text, odd_secret(&stack, name, &user, &password));
            let value: Value = serde_json::from_str(&text).unwrap();
            let url: tokio_postgres::Config = value["url"].as_str().unwrap().parse().unwrap();
            let in_url = (url.get_user().unwrap(), std::str::from_utf8(url.get_password().unwrap()).unwrap());
            assert_eq!(in_url, (user.as_str(), password.as_str()));
            let client = stack.postgres.client(in_url.0, in_url.1, url.get_dbname().unwrap()).await.unwrap();
            assert_eq!(client.query_one("SELECT current_user::text", &[]).await.unwrap().get::<_, &str>(0), name);
        }
    }
    assert!(stack.aws.violations().is_empty(), "{:?}", stack.aws.violations());
}

#[tokio::test]
async fn a_port_may_be_written_in_any_form_and_no_database_means_postgres() {
    let stack = Stack::start(16).await.unwrap();
    let port = stack.database_port();
    let forms = [format!("{port}"), format!("\"{port}\""), format!("{port}.0"), format!("\" {port} \"")];
    let databases = ["\"dbname\": null,", "\"dbname\": \"\",", "", "\"dbname\": \"postgres\","];
    for (n, (port, database)) in forms.iter().zip(databases).enumerate() {
        let name = format!("app{n}");
        let app = stack.app(&name).await.unwrap();
        let text = |user: &str, password: &str| {
            let admin = &stack.admin_arn;
            format!(
                r#"{{"host": "localhost", "port": {port}, {database} "username": "{user}", "password": "{password}", "masterarn": "{admin}"}}"#
            )
        };
        let first = crate::rotate_postgres::checks::password(&stack, &app.secret, "AWSCURRENT");
        let secret = stack.secret_text(&format!("form-{n}"), &text(&name, &first)).unwrap();
        for user in [format!("{name}_clone"), name.clone()] {
            let outcome = stack.rotate(&secret).await.unwrap();
            assert!(outcome.succeeded(), "{port} {database}: {outcome}");
            let password = crate::rotate_postgres::checks::password(&stack, &secret, "AWSCURRENT");
            assert_eq!(stack.aws.secrets.value(&secret, "AWSCURRENT").unwrap().unwrap(), text(&user, &password));
            let entered = format!("connection authorized: user={user} database=postgres");
            assert!(stack.postgres.server_log().unwrap().contains(&entered), "{user} came into another database");
        }
    }
}

#[tokio::test]
async fn a_secret_without_a_port_means_5432_and_the_error_says_so() {
    let stack = Stack::start(16).await.unwrap();
    stack.aws.secrets.set_attempts(1);
    let credential = stack.credential("shop", "shop", CANARY);
    let secret = stack.secret_text("portless", &with(&credential, "port", json!(null))).unwrap();
    let error = failure(&stack.rotate(&secret).await.unwrap());
    assert!(error.error_message.contains("localhost:5432"), "{error}");
    assert!(stack.aws.secrets.value(&secret, "AWSPENDING").unwrap().is_none());
    log(&stack, &[CANARY]);
}

/// The function with these settings and nothing behind it.
async fn function(aws: &Aws, faults: &Faults, settings: &[(&str, &str)]) -> Lambda {
    let mut variables = vec![("AWS_ENDPOINT_URL".to_owned(), aws.url())];
    variables.retain(|(name, _)| settings.iter().all(|(other, _)| other != name));
    variables.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Lambda::start("rotate-postgres", built("rotate-postgres").unwrap(), variables, faults.clone()).await.unwrap()
}

#[tokio::test]
async fn bad_settings_are_all_named_in_the_answer_to_every_invocation() {
    let faults = Faults::none();
    let aws = Aws::start(faults.clone()).await.unwrap();
    let settings = [
        ("LOG_LEVEL", "loud"),
        ("PASSWORD_LENGTH", "0"),
        ("EXCLUDE_NUMBERS", "on"),
        ("REQUIRE_EACH_INCLUDED_TYPE", "maybe"),
        ("PASSWORD_HASH", "bcrypt"),
        ("HOST_ALIASES", "a=b:port"),
        ("ADMIN_SECRET_ARNS", "admin"),
        ("DATABASE_CA_FILE", "/nowhere/ca.pem"),
        ("AWS_CA_BUNDLE", "/nowhere/bundle.pem"),
        ("SECRETS_MANAGER_ENDPOINT", "http://secretsmanager.example.com"),
    ];
    let lambda = function(&aws, &faults, &settings).await;
    for step in ["createSecret", "setSecret", "createSecret"] {
        let event = json!({"Step": step, "SecretId": "shop", "ClientRequestToken": "t"});
        let error = lambda.invoke(event).await.result.unwrap_err();
        assert_refused(&error, "CONFIGURATION_INVALID", "10 bad setting(s)", step);
        for (name, _) in settings {
            let example = format!("for example {name}=");
            assert!(
                error.error_message.contains(&format!("{name}: ")) && error.error_message.contains(&example),
                "{name}: {error}"
            );
        }
    }
    assert_eq!(lambda.cold_starts().len(), 1, "the function stays up and answers");
    assert_eq!(faults.recorded(), Vec::<String>::new());
    let log = lambda.logs().unwrap();
    assert_eq!(log.matches("\"CONFIGURATION_INVALID\"").count(), 1, "said once, when it starts: {log}");
}

#[tokio::test]
async fn secrets_are_never_asked_for_over_plain_http_outside_this_machine() {
    let faults = Faults::none();
    let aws = Aws::start(faults.clone()).await.unwrap();
    for name in ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER", "SECRETS_MANAGER_ENDPOINT"] {
        for url in
            ["http://192.0.2.1:4566", "http://secretsmanager.eu-west-1.amazonaws.com", "http://localhost:80@192.0.2.1"]
        {
            let lambda = function(&aws, &faults, &[(name, url)]).await;
            let invocation =
                lambda.invoke(json!({"Step": "createSecret", "SecretId": "shop", "ClientRequestToken": "t"})).await;
            assert_refused(&invocation.result.unwrap_err(), "CONFIGURATION_INVALID", name, url);
        }
    }
    assert_eq!(faults.recorded(), Vec::<String>::new());
}

#[tokio::test]
async fn after_the_mistake_is_mended_the_same_secret_rotates() {
    let stack = Stack::start(16).await.unwrap();
    let app = stack.app("shop").await.unwrap();
    let good = stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap().unwrap();
    put(&stack, &app.secret, None, None, "not JSON").await;
    let error = failure(&stack.rotate(&app.secret).await.unwrap());
    assert_refused(&error, "SECRET_NOT_JSON", "AWSCURRENT", "current");
    put(&stack, &app.secret, None, None, &good).await;
    let outcome = stack.rotate(&app.secret).await.unwrap();
    assert!(outcome.succeeded() && outcome.reattempted, "{outcome}");
    login(&stack, &app, "AWSCURRENT").await.unwrap();
    let token = stack.stage(&app.secret).unwrap();
    steps(&stack, &app, &token, &crate::rotate_postgres::checks::STEPS).await;
}
