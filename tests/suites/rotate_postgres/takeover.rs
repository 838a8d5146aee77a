//! AWS's own function before ours, after ours, and in the middle: a team can swap them under a secret, and back.

use crate::aws_function::{self, Function};
use crate::refusal::Refusal;
use crate::rotate_postgres::checks::{STEPS, failure, log, logged, login, password, steps, user};
use crate::rotate_postgres::scene::Scene;
use anyhow::{Context as _, Result, ensure};
use aws_sdk_secretsmanager::Client;
use keyturn_tests::aws::secrets_client;
use keyturn_tests::lambda::Lambda;
use keyturn_tests::rotator::built;
use keyturn_tests::stacks::postgres::{ADMIN, App, Stack};
use postgres_protocol::escape::{escape_identifier, escape_literal};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Value, json};
use std::fmt;

/// What AWS's function leaves out of passwords by default.
const EXCLUDED: &str = ":/@\"'\\";

/// A flat JSON object that keeps its members' order, as a Python dict does.
struct Document(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Document;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Document(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

impl Document {
    fn text(&self, key: &str) -> &str {
        self.0.iter().find(|(name, _)| name == key).and_then(|(_, value)| value.as_str()).unwrap_or_default()
    }

    fn set(&mut self, key: &str, text: &str) {
        if let Some((_, value)) = self.0.iter_mut().find(|(name, _)| name == key) {
            *value = json!(text);
        }
    }

    /// As Python's `json.dumps` writes it: a space after every comma and colon, nothing but ASCII.
    fn dumps(&self) -> String {
        let members: Vec<String> = self.0.iter().map(|(key, value)| format!("{}: {value}", json!(key))).collect();
        let mut dumped = String::new();
        for character in format!("{{{}}}", members.join(", ")).chars() {
            if character.is_ascii() {
                dumped.push(character);
            } else {
                let units = &mut [0; 2];
                dumped.extend(character.encode_utf16(units).iter().map(|unit| format!("\\u{unit:04x}")));
            }
        }
        dumped
    }
}

/// What AWS's `SecretsManagerRDSPostgreSQLRotationMultiUser` does at each step, told in Rust: its effects on the secret and
/// the database, including those we would not have (the password in clear SQL, no `SET role`).
struct Theirs<'s> {
    stack: &'s Stack,
    secrets: Client,
}

impl<'s> Theirs<'s> {
    fn new(stack: &'s Stack) -> Self {
        Self { stack, secrets: secrets_client(&stack.aws.client_url()) }
    }

    async fn step(&self, secret: &str, token: &str, step: &str) -> Result<()> {
        let Some(versions) = aws_function::begin(&self.secrets, secret, token).await? else { return Ok(()) };
        match step {
            "createSecret" => self.create(secret, token).await,
            "setSecret" => self.set(secret, token).await,
            "testSecret" => {
                let pending = self.read(secret, "AWSPENDING", Some(token)).await?;
                self.connect(&pending).await?.batch_execute("SELECT NOW()").await.map_err(Into::into)
            }
            _ => aws_function::finish(&self.secrets, secret, token, &versions).await,
        }
    }

    async fn create(&self, secret: &str, token: &str) -> Result<()> {
        let mut value = self.read(secret, "AWSCURRENT", None).await?;
        if self.read(secret, "AWSPENDING", Some(token)).await.is_ok() {
            return Ok(());
        }
        let next = alternate(value.text("username"));
        value.set("username", &next);
        value.set("password", &aws_function::random_password(EXCLUDED));
        let put = self.secrets.put_secret_value().secret_id(secret).client_request_token(token);
        put.secret_string(value.dumps()).version_stages("AWSPENDING").send().await?;
        Ok(())
    }

    async fn set(&self, secret: &str, token: &str) -> Result<()> {
        let current = self.read(secret, "AWSCURRENT", None).await?;
        let pending = self.read(secret, "AWSPENDING", Some(token)).await?;
        if self.connect(&pending).await.is_ok() {
            return Ok(());
        }
        ensure!(alternate(current.text("username")) == pending.text("username"), "neither the user nor its clone");
        ensure!(current.text("host") == pending.text("host"), "another host");
        self.connect(&current).await.context("unable to log in with the current secret")?;
        let mut admin = self.read(current.text("masterarn"), "AWSCURRENT", None).await?;
        ensure!(current.text("host") == admin.text("host"), "the master secret is for another host");
        admin.set("dbname", current.text("dbname"));
        let mut session = self.connect(&admin).await.context("unable to log in with the master secret")?;
        let transaction = session.transaction().await?;
        let known =
            transaction.query("SELECT 1 FROM pg_roles WHERE rolname = $1", &[&pending.text("username")]).await?;
        let role = escape_identifier(pending.text("username"));
        let password = escape_literal(pending.text("password"));
        if known.is_empty() {
            transaction.batch_execute(&format!("CREATE ROLE {role} WITH LOGIN PASSWORD {password}")).await?;
            let base = escape_identifier(current.text("username"));
            transaction.batch_execute(&format!("GRANT {base} TO {role}")).await?;
        } else {
            transaction.batch_execute(&format!("ALTER USER {role} WITH PASSWORD {password}")).await?;
        }
        Ok(transaction.commit().await?)
    }

    async fn read(&self, secret: &str, label: &str, version: Option<&str>) -> Result<Document> {
        Ok(serde_json::from_str(&aws_function::read(&self.secrets, secret, label, version).await?)?)
    }

    async fn connect(&self, value: &Document) -> Result<tokio_postgres::Client> {
        self.stack.postgres.client(value.text("username"), value.text("password"), value.text("dbname")).await
    }
}

fn alternate(user: &str) -> String {
    user.strip_suffix("_clone").map_or_else(|| format!("{user}_clone"), str::to_owned)
}

impl Function {
    async fn run(self, stack: &Stack, app: &App, token: &str, steps: &[&str]) {
        for step in steps {
            self.step(stack, app, token, step).await.unwrap_or_else(|error| panic!("{self:?} {step}: {error}"));
        }
    }

    async fn step(self, stack: &Stack, app: &App, token: &str, step: &str) -> Result<(), String> {
        match self {
            Self::Ours => stack.step(&app.secret, token, step).await.map(drop).map_err(|error| error.to_string()),
            Self::Theirs => {
                Theirs::new(stack).step(&app.secret, token, step).await.map_err(|error| format!("{error:#}"))
            }
        }
    }
}

/// A secret in the form of AWS's templates, with what teams add to it.
async fn app(stack: &Stack, name: &str) -> App {
    let made = stack.app(name).await.unwrap();
    let first = password(stack, &made.secret, "AWSCURRENT");
    let (port, admin) = (stack.database_port(), &stack.admin_arn);
    let text = format!(
        r#"{{"engine": "postgres", "host": "localhost", "username": "{name}", "password": "{first}", "dbname": "{name}", "port": {port}, "masterarn": "{admin}", "ssl": true, "team": "Größe ☕", "weights": [1.0, 2]}}"#
    );
    let secret = stack.secret_text(&format!("{name}-of-aws"), &text).unwrap();
    App { name: name.to_owned(), secret }
}

/// The rest of the secret: every key but the two that change, in their order.
fn rest(stack: &Stack, app: &App) -> Vec<(String, Value)> {
    let text = stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap().unwrap();
    let Document(mut members) = serde_json::from_str(&text).unwrap();
    members.retain(|(key, _)| key != "username" && key != "password");
    members
}

/// Both the user in use and the one before log in, and the clone has the rights of the base.
async fn assert_sound(stack: &Stack, app: &App, case: &str) {
    let (base, clone) = (&app.name, format!("{}_clone", app.name));
    for label in ["AWSCURRENT", "AWSPREVIOUS"] {
        login(stack, app, label).await.unwrap_or_else(|error| panic!("{case}: {label}: {error:#}"));
    }
    let client = stack.postgres.admin_client().await.unwrap();
    let member = client.query_one("SELECT pg_has_role($1, $2, 'USAGE')", &[&clone, base]).await.unwrap();
    assert!(member.get::<_, bool>(0), "{case}");
}

/// Hands every rotation over after each of its steps, in both turns. Each app is new, so that either function makes clones.
async fn hand_over(from: Function) {
    let stack = Stack::start(16).await.unwrap();
    for after in 1..=STEPS.len() {
        for from_the_start in [false, true] {
            let case = format!(
                "{from:?} up to {}, then the other {}",
                STEPS[after - 1],
                if from_the_start { "from the start" } else { "on" }
            );
            let app = app(&stack, &format!("app_{after}_{from_the_start}")).await;
            let before = rest(&stack, &app);
            for turn in [format!("{}_clone", app.name), app.name.clone()] {
                let token = stack.stage(&app.secret).unwrap();
                from.run(&stack, &app, &token, &STEPS[..after]).await;
                let put =
                    stack.aws.secrets.value(&app.secret, if after == 4 { "AWSCURRENT" } else { "AWSPENDING" }).unwrap();
                from.other().run(&stack, &app, &token, if from_the_start { &STEPS } else { &STEPS[after..] }).await;
                assert_eq!(
                    stack.aws.secrets.value(&app.secret, "AWSCURRENT").unwrap(),
                    put,
                    "{case}: one value per rotation"
                );
                assert_eq!((user(&stack, &app), rest(&stack, &app)), (turn, before.clone()), "{case}");
                assert_sound(&stack, &app, &case).await;
            }
            // And on it goes with ours, for whole rotations.
            for function in [Function::Ours, Function::Ours] {
                let token = stack.stage(&app.secret).unwrap();
                function.run(&stack, &app, &token, &STEPS).await;
            }
            assert_eq!(rest(&stack, &app), before, "{case}");
            for label in ["AWSCURRENT", "AWSPREVIOUS"] {
                let (_, acts_as) = login(&stack, &app, label).await.unwrap();
                assert_eq!(acts_as, app.name, "{case}: our setSecret has seen both users");
            }
        }
    }
    log(&stack, &[]);
    assert_eq!(stack.aws.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn our_function_takes_over_from_awss_after_any_step() {
    hand_over(Function::Theirs).await;
}

#[tokio::test]
async fn awss_function_takes_over_from_ours_after_any_step() {
    hand_over(Function::Ours).await;
}

#[tokio::test]
async fn either_function_ends_what_the_other_failed_at() {
    let stack = Stack::start(16).await.unwrap();
    for (name, failing) in [("a", Function::Theirs), ("b", Function::Ours)] {
        let app = app(&stack, name).await;
        for turn in [format!("{name}_clone"), name.to_owned(), format!("{name}_clone")] {
            let token = stack.stage(&app.secret).unwrap();
            failing.run(&stack, &app, &token, &["createSecret"]).await;
            stack.postgres.execute(&format!("ALTER ROLE {ADMIN} NOLOGIN")).await.unwrap();
            failing.step(&stack, &app, &token, "setSecret").await.unwrap_err();
            stack.postgres.execute(&format!("ALTER ROLE {ADMIN} LOGIN")).await.unwrap();
            let pending = password(&stack, &app.secret, "AWSPENDING");
            failing.other().run(&stack, &app, &token, &STEPS).await;
            assert_eq!((user(&stack, &app), password(&stack, &app.secret, "AWSCURRENT")), (turn, pending));
            assert_sound(&stack, &app, name).await;
        }
    }
}

#[tokio::test]
async fn a_clone_that_somebody_locked_stays_so_and_what_awss_function_cannot_repair_is_repaired_afterwards() {
    let stack = Stack::start(16).await.unwrap();
    let app = app(&stack, "shop").await;
    let token = stack.stage(&app.secret).unwrap();
    Function::Theirs.run(&stack, &app, &token, &STEPS[..2]).await;
    stack
        .postgres
        .execute("ALTER ROLE shop_clone NOLOGIN; REVOKE shop FROM shop_clone GRANTED BY rotation_admin")
        .await
        .unwrap();
    Function::Theirs.step(&stack, &app, &token, "testSecret").await.unwrap_err();
    Function::Theirs.run(&stack, &app, &token, &STEPS[..2]).await;
    Function::Theirs.step(&stack, &app, &token, "testSecret").await.unwrap_err();
    let refused = Function::Ours.step(&stack, &app, &token, "setSecret").await.unwrap_err();
    assert!(format!("{refused:?}").contains("ROLE_CANNOT_LOG_IN"), "{refused:?}");
    stack.postgres.execute("ALTER ROLE shop_clone LOGIN").await.unwrap();
    // Nothing but its name says any more that it is the shop's.
    let refused = Function::Ours.step(&stack, &app, &token, "setSecret").await.unwrap_err();
    assert!(format!("{refused:?}").contains("TWIN_IS_SOMEBODY_ELSE"), "{refused:?}");
    stack.postgres.execute("GRANT shop TO shop_clone").await.unwrap();
    Function::Ours.run(&stack, &app, &token, &STEPS).await;
    assert_sound(&stack, &app, "repaired").await;
    assert_eq!(login(&stack, &app, "AWSCURRENT").await.unwrap(), ("shop_clone".to_owned(), "shop".to_owned()));
}

#[tokio::test]
async fn swapped_in_under_a_clone_that_awss_function_made_ours_accepts_it_with_a_warning() {
    let stack = Stack::start(16).await.unwrap();
    let app = app(&stack, "shop").await;
    let token = stack.stage(&app.secret).unwrap();
    Function::Theirs.run(&stack, &app, &token, &STEPS).await;
    assert_eq!(login(&stack, &app, "AWSCURRENT").await.unwrap().1, "shop_clone", "as AWS's function leaves it");
    let client = secrets_client(&stack.aws.client_url());
    let unstage = client.update_secret_version_stage().secret_id(&app.secret).version_stage("AWSPENDING");
    unstage.remove_from_version_id(&token).send().await.unwrap();

    let outcome = stack.aws.secrets.test_rotation(&app.secret).await.unwrap();
    assert!(outcome.succeeded() && outcome.attempts[0].steps.len() == 1, "{outcome}");
    let lines = log(&stack, &[&password(&stack, &app.secret, "AWSCURRENT")]);
    let warning = lines.iter().find(|line| line["code"] == "ROLE_NOT_ASSUMED").unwrap();
    assert_eq!((&warning["level"], &warning["user"]), (&json!("WARN"), &json!("shop_clone")));

    for _ in 0..2 {
        assert!(stack.rotate(&app.secret).await.unwrap().succeeded());
    }
    assert_eq!(login(&stack, &app, "AWSCURRENT").await.unwrap(), ("shop_clone".to_owned(), "shop".to_owned()));
    assert_eq!(logged(&log(&stack, &[]), "ROLE_NOT_ASSUMED"), 1, "mended");
}

#[tokio::test]
async fn connection_urls_that_awss_function_left_behind_are_right_again_after_ours() {
    let stack = Stack::start(16).await.unwrap();
    let made = stack.app("shop").await.unwrap();
    let mut credential = stack.value(&made.secret, "AWSCURRENT").unwrap();
    let port = stack.database_port();
    credential["url"] =
        json!(format!("postgresql://shop:{}@localhost:{port}/shop", credential["password"].as_str().unwrap()));
    let app = App { name: "shop".to_owned(), secret: stack.secret("with-url", &credential).unwrap() };
    for turns in 1..=2 {
        for _ in 0..turns {
            let token = stack.stage(&app.secret).unwrap();
            Function::Theirs.run(&stack, &app, &token, &STEPS).await;
        }
        let token = stack.stage(&app.secret).unwrap();
        steps(&stack, &app, &token, &STEPS).await;
        let value = stack.value(&app.secret, "AWSCURRENT").unwrap();
        let (user, password) = (value["username"].as_str().unwrap(), value["password"].as_str().unwrap());
        let encoded: tokio_postgres::Config = value["url"].as_str().unwrap().parse().unwrap();
        assert_eq!(
            (encoded.get_user(), encoded.get_password()),
            (Some(user), Some(password.as_bytes())),
            "after {turns}"
        );
    }
}

/// The lines of the manual's table, in its order.
#[tokio::test]
async fn every_key_that_awss_function_knows_does_what_the_manual_says() {
    let scene = Scene::start(16).await;
    scene.login("swap", "").await;
    let port = scene.database_port();
    for (n, (key, value, expected)) in [
        ("engine", json!("aurora-postgresql"), Ok(())),
        ("engine", Value::Null, Ok(())),
        ("engine", json!("mysql"), Err("ENGINE_UNKNOWN")),
        ("host", json!("LOCALHOST."), Ok(())),
        ("host", json!("127.0.0.1"), Err("ADMIN_OF_ANOTHER_SERVER")),
        ("host", Value::Null, Err("SECRET_KEY_MISSING")),
        ("port", json!(port.to_string()), Ok(())),
        ("dbname", Value::Null, Ok(())),
        ("ssl", json!(false), Ok(())),
        ("ssl", json!("true"), Ok(())),
        ("masterarn", json!("admin"), Ok(())),
        ("masterarn", Value::Null, Err("SECRET_KEY_MISSING")),
        ("dbInstanceIdentifier", json!(1), Ok(())),
        ("dbClusterIdentifier", json!({"id": "shop"}), Ok(())),
        ("team", json!(["shop"]), Ok(())),
    ]
    .into_iter()
    .enumerate()
    {
        let mut current = scene.of_user("swap");
        current[key] = value;
        let secret = scene.secret(&format!("swap-{n}"), &current).unwrap();
        let token = scene.stage(&secret).unwrap();
        let created = scene.step(&secret, &token, "createSecret").await;
        if let Err(code) = expected {
            Refusal(code, &[]).is(created, &current.to_string());
        } else {
            assert_eq!(created.unwrap()["user"], json!("swap_clone"), "{current}");
            let mut pending = scene.value(&secret, "AWSPENDING").unwrap();
            assert_ne!(pending["password"], current["password"]);
            (pending["username"], pending["password"]) = (current["username"].clone(), current["password"].clone());
            assert_eq!(pending, current);
        }
    }
    // The admin secret's port counts as well.
    let mut admin = scene.of_user(ADMIN);
    (admin["port"], admin["password"]) = (json!(1), json!(scene.admin_password));
    let mut current = scene.of_user("swap");
    current["masterarn"] = json!(scene.aws.secrets.create("swap-admin", &admin.to_string()).unwrap());
    let secret = scene.secret("swap-port", &current).unwrap();
    let token = scene.stage(&secret).unwrap();
    let refused = scene.step(&secret, &token, "createSecret").await;
    Refusal("ADMIN_OF_ANOTHER_SERVER", &["HOST_ALIASES="]).is(refused, "another port");
    assert!(scene.postgres.server_log().unwrap().contains("SSL enabled (protocol="));
    scene.ends();
}

#[tokio::test]
async fn the_password_settings_of_awss_function_mean_the_same_in_ours() {
    let stack = Stack::start(16).await.unwrap();
    let app = app(&stack, "shop").await;
    for (settings, length, never, always) in [
        (vec![], 32, " !\"#$%&'()*+,/:;<=>?@[\\]^`{|}", vec!["-_.~", "0123456789"]),
        (vec![("EXCLUDE_CHARACTERS", ":/@\"'\\")], 32, ":/@\"'\\", vec!["!#$%&()*+,-.;<=>?[]^_`{|}~", "0123456789"]),
        (
            vec![("PASSWORD_LENGTH", "128"), ("EXCLUDE_PUNCTUATION", "True")],
            128,
            "-_.~!#$",
            vec!["abcdefghijklmnopqrstuvwxyz"],
        ),
        (
            vec![("EXCLUDE_NUMBERS", "yes"), ("EXCLUDE_LOWERCASE", "1"), ("PASSWORD_LENGTH", "8")],
            8,
            "0123456789abcdefghijklmnopqrstuvwxyz",
            vec!["ABCDEFGHIJKLMNOPQRSTUVWXYZ"],
        ),
        (
            vec![("EXCLUDE_UPPERCASE", "TRUE"), ("REQUIRE_EACH_INCLUDED_TYPE", "false"), ("PASSWORD_LENGTH", "64")],
            64,
            "ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            vec![],
        ),
    ] {
        let mut variables = vec![
            ("AWS_ENDPOINT_URL".to_owned(), stack.aws.url()),
            ("DATABASE_CA_FILE".to_owned(), stack.postgres.certificates().ca_file().display().to_string()),
            ("ADMIN_SECRET_ARNS".to_owned(), stack.admin_arn.clone()),
        ];
        variables.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        let bootstrap = built("rotate-postgres").unwrap();
        let lambda = Lambda::start("rotate-postgres", bootstrap, variables, stack.faults.clone()).await.unwrap();
        let mut drawn = Vec::new();
        for _ in 0..6 {
            let token = stack.stage(&app.secret).unwrap();
            let event = json!({"Step": "createSecret", "SecretId": app.secret, "ClientRequestToken": token});
            lambda.invoke(event).await.result.unwrap();
            let password = password(&stack, &app.secret, "AWSPENDING");
            assert_eq!(password.chars().count(), length, "{settings:?}");
            assert!(
                !password.contains(|c| never.contains(c)) && password.chars().all(|c| c.is_ascii_graphic()),
                "{settings:?}: {password}"
            );
            assert!(always.iter().all(|class| password.contains(|c| class.contains(c))), "{settings:?}: {password}");
            drawn.push(password);
        }
        // All of what may come does come: 6 passwords hold several of AWS's 26 special characters.
        if settings.first().is_some_and(|(name, _)| *name == "EXCLUDE_CHARACTERS") {
            let special: std::collections::BTreeSet<char> =
                drawn.concat().chars().filter(|c| !c.is_alphanumeric() && !"-_.~".contains(*c)).collect();
            assert!(special.len() > 5, "{special:?}");
        }
        drawn.sort();
        drawn.dedup();
        assert_eq!(drawn.len(), 6);
        steps(&stack, &app, &stack.aws.secrets.version(&app.secret, "AWSPENDING").unwrap().unwrap(), &STEPS[1..]).await;
        login(&stack, &app, "AWSCURRENT").await.unwrap();
    }
}

#[tokio::test]
async fn a_whole_rotation_by_the_service_takes_up_what_awss_function_left_pending() {
    let stack = Stack::start(16).await.unwrap();
    let app = app(&stack, "shop").await;
    let token = stack.stage(&app.secret).unwrap();
    Function::Theirs.run(&stack, &app, &token, &["createSecret"]).await;
    stack.postgres.execute(&format!("ALTER ROLE {ADMIN} NOLOGIN")).await.unwrap();
    assert_eq!(failure(&stack.rotate(&app.secret).await.unwrap()).error_type, "ROLE_CANNOT_LOG_IN");
    stack.postgres.execute(&format!("ALTER ROLE {ADMIN} LOGIN")).await.unwrap();
    let outcome = stack.rotate(&app.secret).await.unwrap();
    assert!(outcome.succeeded() && outcome.token == token, "{outcome}");
    assert_sound(&stack, &app, "by the service").await;
}
