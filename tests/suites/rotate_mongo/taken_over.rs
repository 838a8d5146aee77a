//! AWS's own functions for MongoDB before ours, after ours, and in the middle: a team can swap them under a secret, and back.

use super::scene::refused;
use crate::aws_function::{self, Function};
use anyhow::{Context as _, Result, bail, ensure};
use aws_sdk_secretsmanager::Client;
use keyturn_tests::aws::secrets_client;
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

const STEPS: [&str; 4] = ["createSecret", "setSecret", "testSecret", "finishSecret"];

/// What AWS's function leaves out of passwords by default.
const EXCLUDED: &str = "/@\"'\\";

/// The role by which a user changes its own password. It is one of `admin`, so it takes the operator's leave.
const OF_ITSELF: &str = "changes_itself";

/// Which of AWS's functions the secret was made for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scheme {
    /// `SecretsManagerMongoDBRotationSingleUser`: the user sets its own password.
    Single,
    /// `SecretsManagerMongoDBRotationMultiUser`: two users take turns, and an admin makes the second one.
    Multi,
}

impl Scheme {
    fn users(self) -> usize {
        match self {
            Self::Single => 1,
            Self::Multi => 2,
        }
    }
}

/// What AWS's function does at each step, told in Rust: its effects on the secret and on the server.
struct Theirs<'s> {
    stack: &'s MongoStack,
    secrets: Client,
    scheme: Scheme,
}

impl<'s> Theirs<'s> {
    fn new(stack: &'s MongoStack, scheme: Scheme) -> Self {
        Self { stack, secrets: secrets_client(&stack.aws.client_url()), scheme }
    }

    async fn step(&self, secret: &str, token: &str, step: &str) -> Result<()> {
        let Some(versions) = aws_function::begin(&self.secrets, secret, token).await? else { return Ok(()) };
        match step {
            "createSecret" => self.create(secret, token).await,
            "setSecret" => self.set(secret, token).await,
            "testSecret" => {
                let pending = self.read(secret, "AWSPENDING", Some(token)).await?;
                ensure!(self.logs_in(&pending).await, "unable to log in with the pending secret");
                Ok(())
            }
            _ => aws_function::finish(&self.secrets, secret, token, &versions).await,
        }
    }

    async fn create(&self, secret: &str, token: &str) -> Result<()> {
        let mut value = self.read(secret, "AWSCURRENT", None).await?;
        if self.read(secret, "AWSPENDING", Some(token)).await.is_ok() {
            return Ok(());
        }
        value.insert("username", self.next(text(&value, "username")));
        value.insert("password", aws_function::random_password(EXCLUDED));
        let put = self.secrets.put_secret_value().secret_id(secret).client_request_token(token);
        put.secret_string(dumps(&value)?).version_stages("AWSPENDING").send().await?;
        Ok(())
    }

    async fn set(&self, secret: &str, token: &str) -> Result<()> {
        let current = self.read(secret, "AWSCURRENT", None).await?;
        let pending = self.read(secret, "AWSPENDING", Some(token)).await?;
        if self.logs_in(&pending).await {
            return Ok(());
        }
        ensure!(self.next(text(&current, "username")) == text(&pending, "username"), "another user");
        ensure!(text(&current, "host") == text(&pending, "host"), "another host");
        match self.scheme {
            Scheme::Single => self.set_by_itself(secret, &current, &pending).await,
            Scheme::Multi => self.set_by_admin(&current, &pending).await,
        }
    }

    async fn set_by_itself(&self, secret: &str, current: &Document, pending: &Document) -> Result<()> {
        let previous = self.read(secret, "AWSPREVIOUS", None).await.ok();
        for own in [Some(current), previous.as_ref()].into_iter().flatten() {
            if self.logs_in(own).await {
                ensure!(text(own, "username") == text(pending, "username"), "another user before");
                let update = doc! {"updateUser": text(pending, "username"), "pwd": text(pending, "password")};
                return self.run(own, update).await.map(drop);
            }
        }
        bail!("unable to log in with the previous, current or pending secret")
    }

    async fn set_by_admin(&self, current: &Document, pending: &Document) -> Result<()> {
        ensure!(self.logs_in(current).await, "unable to log in with the current secret");
        let admin = self.read(text(current, "masterarn"), "AWSCURRENT", None).await?;
        ensure!(text(current, "host") == text(&admin, "host"), "the master secret is for another host");
        let (name, password) = (text(pending, "username"), text(pending, "password"));
        if self.user(&admin, name).await?.is_some() {
            return self.run(&admin, doc! {"updateUser": name, "pwd": password}).await.map(drop);
        }
        let model = self.user(&admin, text(current, "username")).await?.context("no user to copy")?;
        let roles = model.get_array("roles")?;
        self.run(&admin, doc! {"createUser": name, "pwd": password, "roles": roles}).await.map(drop)
    }

    fn next(&self, user: &str) -> String {
        match (self.scheme, user.strip_suffix("_clone")) {
            (Scheme::Single, _) => user.to_owned(),
            (Scheme::Multi, Some(base)) => base.to_owned(),
            (Scheme::Multi, None) => format!("{user}_clone"),
        }
    }

    async fn user(&self, admin: &Document, name: &str) -> Result<Option<Document>> {
        let answer = self.run(admin, doc! {"usersInfo": name}).await?;
        Ok(answer.get_array("users")?.first().and_then(|user| user.as_document().cloned()))
    }

    async fn read(&self, secret: &str, label: &str, version: Option<&str>) -> Result<Document> {
        let value: Document = serde_json::from_str(&aws_function::read(&self.secrets, secret, label, version).await?)?;
        ensure!(text(&value, "engine") == "mongo", "not for MongoDB");
        Ok(value)
    }

    /// Any failure counts as one of the password, as it does there.
    async fn logs_in(&self, value: &Document) -> bool {
        let (user, password) = (text(value, "username"), text(value, "password"));
        self.stack.mongo.logs_in(database(value), user, password).await.unwrap_or(false)
    }

    async fn run(&self, login: &Document, command: Document) -> Result<Document> {
        let (user, password) = (text(login, "username"), text(login, "password"));
        let client = self.stack.mongo.client(database(login), user, password)?;
        Ok(client.database(database(login)).run_command(command).await?)
    }
}

/// The key `dbname` says which database keeps the user, there.
fn database(value: &Document) -> &str {
    value.get_str("dbname").unwrap_or("admin")
}

fn text<'v>(value: &'v Document, key: &str) -> &'v str {
    value.get_str(key).unwrap_or_default()
}

/// As Python's `json.dumps` writes a flat object: the members in their order, a space after every comma and colon.
fn dumps(value: &Document) -> Result<String> {
    let member = |(key, value)| Ok(format!("{}: {}", json!(key), serde_json::to_string(value)?));
    let members: Result<Vec<String>> = value.iter().map(member).collect();
    Ok(format!("{{{}}}", members?.join(", ")))
}

/// The stack, and the function of ours that a team has set up for its secrets.
struct Scene {
    stack: MongoStack,
    /// By whom ours changes passwords: an admin, or (without one) the user itself.
    ours: Lambda,
    scheme: Scheme,
}

impl Scene {
    async fn start(scheme: Scheme, settings: &[(&str, &str)]) -> Self {
        let stack = MongoStack::start().await.unwrap();
        let actions = ["changeOwnPassword", "viewUser"];
        let privilege = doc! {"resource": {"db": "admin", "collection": ""}, "actions": actions.as_slice()};
        stack.mongo.make_role(OF_ITSELF, vec![privilege], &[]).await.unwrap();
        let ours = stack.function("ours", settings).await.unwrap();
        Self { stack, ours, scheme }
    }

    /// A secret in the form of AWS's templates, with what teams add to it.
    async fn app(&self, name: &str) -> MongoApp {
        let (stack, user, password) = (&self.stack, format!("{name}_test_rw"), "As-AWSs-template-made-it-1");
        let (port, admin) = (stack.database_port(), &stack.admin_arn);
        let (roles, who) = match self.scheme {
            Scheme::Single => (vec![("readWrite", "shop"), (OF_ITSELF, "admin")], String::new()),
            Scheme::Multi => (vec![("readWrite", "shop")], format!(r#""masterarn": "{admin}", "#)),
        };
        stack.mongo.make_user("admin", &user, password, &roles).await.unwrap();
        let text = format!(
            r#"{{"engine": "mongo", "host": "localhost", "username": "{user}", "password": "{password}", "port": {port}, {who}"ssl": true, "team": "Größe ☕", "weights": [1.5, 2]}}"#
        );
        let secret = stack.secret_text(name, &text).unwrap();
        if self.scheme == Scheme::Multi {
            stack.tag(&secret, "strategy", "alternating").unwrap();
        }
        MongoApp { database: "shop".to_owned(), user, password: password.to_owned(), secret }
    }

    async fn step(&self, by: Function, app: &MongoApp, token: &str, step: &str) -> Result<(), String> {
        match by {
            Function::Ours => {
                let event = json!({"Step": step, "SecretId": app.secret, "ClientRequestToken": token});
                self.ours.invoke(event).await.result.map(drop).map_err(|error| error.to_string())
            }
            Function::Theirs => {
                let theirs = Theirs::new(&self.stack, self.scheme);
                theirs.step(&app.secret, token, step).await.map_err(|error| format!("{error:#}"))
            }
        }
    }

    async fn steps(&self, by: Function, app: &MongoApp, token: &str, steps: &[&str]) {
        for step in steps {
            self.step(by, app, token, step).await.unwrap_or_else(|error| panic!("{by:?} {step}: {error}"));
        }
    }

    fn value(&self, app: &MongoApp, label: &str) -> Value {
        self.stack.value(&app.secret, label).unwrap()
    }

    /// The rest of the secret: every key but the two that change.
    fn rest(&self, app: &MongoApp) -> Value {
        let mut value = self.value(app, "AWSCURRENT");
        for key in ["username", "password"] {
            value.as_object_mut().unwrap().remove(key);
        }
        value
    }

    /// What is in use logs in, and what was in use before does where two take turns.
    async fn assert_sound(&self, app: &MongoApp, case: &str) {
        assert!(self.stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "{case}");
        let before = self.stack.logs_in(&app.secret, "AWSPREVIOUS").await.unwrap();
        assert_eq!(before, self.scheme == Scheme::Multi, "{case}: AWSPREVIOUS");
        if self.scheme == Scheme::Multi {
            let clone = format!("{}_clone", app.user);
            let roles = async |name: &str| {
                let user = self.stack.mongo.user("admin", name).await.unwrap().unwrap();
                user.get_array("roles").unwrap().clone()
            };
            assert_eq!(roles(&clone).await, roles(&app.user).await, "{case}");
        }
    }

    /// Hands every rotation over after each of its steps, once for each user. Each app is new, so that either function
    /// makes the second one.
    async fn hand_over(&self, from: Function) {
        for after in 1..=STEPS.len() {
            for from_the_start in [false, true] {
                let case = format!("{from:?}-{after}-{from_the_start}");
                let app = self.app(&case).await;
                let rest = self.rest(&app);
                for turn in 0..self.scheme.users() {
                    let token = self.stack.stage(&app.secret).unwrap();
                    self.steps(from, &app, &token, &STEPS[..after]).await;
                    let put = self.value(&app, if after == STEPS.len() { "AWSCURRENT" } else { "AWSPENDING" });
                    let rest_of_steps = if from_the_start { &STEPS } else { &STEPS[after..] };
                    self.steps(from.other(), &app, &token, rest_of_steps).await;
                    assert_eq!(self.value(&app, "AWSCURRENT"), put, "{case}: one value per rotation");
                    let other = self.scheme == Scheme::Multi && turn == 0;
                    let user = if other { format!("{}_clone", app.user) } else { app.user.clone() };
                    assert_eq!((&put["username"], self.rest(&app)), (&json!(user), rest.clone()), "{case}");
                    self.assert_sound(&app, &case).await;
                }
                // And back it goes, for a whole rotation.
                let token = self.stack.stage(&app.secret).unwrap();
                self.steps(from, &app, &token, &STEPS).await;
                self.assert_sound(&app, &case).await;
            }
        }
        assert_eq!(self.stack.violations(), Vec::<String>::new());
    }
}

const BY_AN_ADMIN: &[(&str, &str)] = &[("ALLOW_ROLES", "changes_itself@admin")];
const BY_ITSELF: &[(&str, &str)] = &[("ALLOW_ROLES", "changes_itself@admin"), ("ADMIN_SECRET_ARNS", "")];

#[tokio::test(flavor = "multi_thread")]
async fn awss_function_for_two_users_and_ours_take_over_from_each_other_after_any_step() {
    let scene = Scene::start(Scheme::Multi, &[]).await;
    for from in [Function::Theirs, Function::Ours] {
        scene.hand_over(from).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn awss_function_for_one_user_and_ours_take_over_from_each_other_after_any_step() {
    for settings in [BY_AN_ADMIN, BY_ITSELF] {
        let scene = Scene::start(Scheme::Single, settings).await;
        for from in [Function::Theirs, Function::Ours] {
            scene.hand_over(from).await;
        }
    }
}

/// There the fixed password of a user of another database is `dbname`'s; here that takes a tag.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_awss_function_keeps_in_dbname_is_taken_over_with_a_tag() {
    let scene = Scene::start(Scheme::Single, BY_ITSELF).await;
    let stack = &scene.stack;
    let actions = ["changeOwnPassword", "viewUser"];
    let privilege = doc! {"resource": {"db": "shop", "collection": ""}, "actions": actions.as_slice()};
    stack.mongo.make_role("changes_itself_in_shop", vec![privilege], &[]).await.unwrap();
    let ours = [("ALLOW_ROLES", "changes_itself_in_shop@admin"), ("ADMIN_SECRET_ARNS", "")];
    let scene = Scene { ours: stack.function("ours-in-shop", &ours).await.unwrap(), ..scene };
    let stack = &scene.stack;

    let (user, password) = ("local_test_rw", "Of-the-user-in-shop-1");
    let roles = [("readWrite", "shop"), ("changes_itself_in_shop", "admin")];
    stack.mongo.make_user("shop", user, password, &roles).await.unwrap();
    let mut value = stack.own_credential("shop", user, password);
    value.as_object_mut().unwrap().remove("masterarn");
    let secret = stack.secret("in-shop", &value).unwrap();
    let app = MongoApp { database: "shop".to_owned(), user: user.to_owned(), password: password.to_owned(), secret };

    let token = stack.stage(&app.secret).unwrap();
    scene.steps(Function::Theirs, &app, &token, &STEPS).await;
    let token = stack.stage(&app.secret).unwrap();
    let refusal = scene.step(Function::Ours, &app, &token, "createSecret").await.unwrap_err();
    assert!(refusal.starts_with("CURRENT_PASSWORD_REFUSED"), "{refusal}");
    stack.tag(&app.secret, "auth-db", "shop").unwrap();
    for by in [Function::Ours, Function::Theirs, Function::Ours] {
        let token = stack.stage(&app.secret).unwrap();
        scene.steps(by, &app, &token, &STEPS).await;
        let value = scene.value(&app, "AWSCURRENT");
        assert!(stack.mongo.logs_in("shop", user, value["password"].as_str().unwrap()).await.unwrap(), "{by:?}");
    }
}

/// Whoever forgets to say that two users take turns is told, before anything is changed.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_two_users_is_not_ended_as_one_of_a_single_user() {
    let scene = Scene::start(Scheme::Multi, &[]).await;
    let app = scene.app("forgotten").await;
    scene.stack.tag(&app.secret, "strategy", "").unwrap();
    let token = scene.stack.stage(&app.secret).unwrap();
    scene.steps(Function::Theirs, &app, &token, &STEPS[..1]).await;
    let before = scene.stack.mongo.users().await.unwrap();
    for step in &STEPS[..3] {
        let says = ["forgotten_test_rw_clone"];
        refused(scene.stack.step(&app.secret, &token, step).await, "PENDING_MISMATCH", &says);
    }
    assert!(scene.stack.mongo.users().await.unwrap() == before);
    scene.stack.tag(&app.secret, "strategy", "alternating").unwrap();
    scene.steps(Function::Ours, &app, &token, &STEPS).await;
    scene.assert_sound(&app, "forgotten").await;
    assert_eq!(scene.stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn either_function_ends_what_the_other_failed_at() {
    let scene = Scene::start(Scheme::Multi, &[]).await;
    for failing in [Function::Theirs, Function::Ours] {
        let app = scene.app(&format!("{failing:?}")).await;
        for turn in [format!("{}_clone", app.user), app.user.clone(), format!("{}_clone", app.user)] {
            let token = scene.stack.stage(&app.secret).unwrap();
            scene.steps(failing, &app, &token, &STEPS[..1]).await;
            let admin = keyturn_tests::stacks::mongo::ADMIN;
            scene.stack.mongo.set_password("admin", admin, "Changed-behind-its-back-1").await.unwrap();
            scene.step(failing, &app, &token, "setSecret").await.unwrap_err();
            scene.stack.mongo.set_password("admin", admin, &scene.stack.admin_password).await.unwrap();
            let pending = scene.value(&app, "AWSPENDING");
            scene.steps(failing.other(), &app, &token, &STEPS).await;
            assert_eq!((scene.value(&app, "AWSCURRENT"), &pending["username"]), (pending.clone(), &json!(turn)));
            scene.assert_sound(&app, "either").await;
        }
    }
    assert_eq!(scene.stack.violations(), Vec::<String>::new());
}
