//! What the function refuses, so that whoever can write a secret never gets more power than they have: at Atlas and on a
//! server of one's own, in every step that could use that power, with nothing changed anywhere. Each override lets it
//! through, and is named.

mod attacks;
mod cases;

use super::scene::{put_pending, refused};
use keyturn_tests::lambda::{FunctionError, Lambda};
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use keyturn_tests::vendors::Call;
use keyturn_tests::vendors::atlas::Project;
use mongodb::bson::Document;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The steps that could use power. What is refused in createSecret has not been stored.
const STEPS: [&str; 3] = ["createSecret", "setSecret", "testSecret"];

/// The operator's own rules, besides those that always hold.
const SETTINGS: [(&str, &str); 3] =
    [("PROTECTED_USERS", "vault_*"), ("FORBIDDEN_DATABASES", "ledger"), ("DATABASE_PATTERNS", "pr-{n}_test_rw=pr_{n}")];

const PASSWORD: &str = "Known-to-its-application-1";

/// Where a user is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Own,
    Atlas,
}

const BOTH: [At; 2] = [At::Own, At::Atlas];

impl At {
    fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Atlas => "atlas",
        }
    }
}

/// A secret whose rotation is refused.
struct Case {
    app: MongoApp,
    /// The user for whom a pending value is put by hand.
    next: String,
    /// What else the function is set to.
    settings: Vec<(&'static str, String)>,
    /// The refusal in each of [`STEPS`].
    codes: [&'static str; 3],
    /// What happened, and the remedy.
    says: Vec<String>,
    /// Whether it is refused before any call to Atlas or a server.
    at_once: bool,
    /// The settings that let it through.
    unless: Vec<(&'static str, String)>,
}

impl Case {
    fn of(app: MongoApp, code: &'static str, says: &[&str]) -> Self {
        let next = app.user.clone();
        let says = says.iter().map(|&part| part.to_owned()).collect();
        let (settings, unless) = (Vec::new(), Vec::new());
        Self { app, next, settings, codes: [code; 3], says, at_once: false, unless }
    }

    fn next(self, user: &str) -> Self {
        Self { next: user.to_owned(), ..self }
    }

    fn under(mut self, name: &'static str, value: &str) -> Self {
        self.settings.push((name, value.to_owned()));
        self
    }

    fn codes(self, codes: [&'static str; 3]) -> Self {
        Self { codes, ..self }
    }

    fn at_once(self) -> Self {
        Self { at_once: true, ..self }
    }

    fn unless(mut self, name: &'static str, value: &str) -> Self {
        self.unless.push((name, value.to_owned()));
        self
    }
}

/// One stack on which all cases are played.
struct Scene {
    stack: MongoStack,
    /// A project that the function may not touch, with a cluster of its own.
    other: Project,
    /// How many secrets there are, for names of their own.
    secrets: AtomicUsize,
}

type World = (Vec<Document>, Vec<Value>, Vec<Value>);

impl Scene {
    async fn start() -> Self {
        let builder = MongoStack::builder().through_proxy();
        let builder = SETTINGS.iter().fold(builder, |builder, (name, value)| builder.variable(name, value));
        let stack = builder.start().await.unwrap();
        let other = stack.atlas.project();
        stack.atlas.set_roles(&stack.principal, &other, &["GROUP_DATABASE_ACCESS_ADMIN"]);
        stack.atlas.add_cluster(&other, "elsewhere", stack.mongo.clone()).unwrap();
        Self { stack, other, secrets: AtomicUsize::new(0) }
    }

    /// A user with these roles (role, database), and its secret.
    async fn user(&self, at: At, user: &str, roles: &[(&str, &str)]) -> MongoApp {
        self.user_with(at, user, roles, json!({}), |_| {}).await
    }

    /// The same with more said of it at Atlas, and with its secret's value edited.
    async fn user_with(
        &self,
        at: At,
        user: &str,
        roles: &[(&str, &str)],
        more: Value,
        edit: impl FnOnce(&mut Value),
    ) -> MongoApp {
        match at {
            At::Own => self.stack.mongo.make_user("admin", user, PASSWORD, roles).await.unwrap(),
            At::Atlas => self.at_atlas(&self.stack.project, user, roles, &more).await,
        }
        self.secret(at, user, edit)
    }

    async fn at_atlas(&self, project: &Project, user: &str, roles: &[(&str, &str)], more: &Value) {
        let roles: Vec<Value> =
            roles.iter().map(|(role, database)| json!({"roleName": role, "databaseName": database})).collect();
        let mut body = json!({"username": user});
        if !roles.is_empty() {
            body["roles"] = json!(roles);
        }
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.stack.atlas.add_user(project, &body, PASSWORD).await.unwrap();
    }

    /// A secret for a user, whether or not there is one.
    fn secret(&self, at: At, user: &str, edit: impl FnOnce(&mut Value)) -> MongoApp {
        let mut value = match at {
            At::Own => self.stack.own_credential("shop", user, PASSWORD),
            At::Atlas => self.stack.atlas_credential("shop", user, PASSWORD),
        };
        edit(&mut value);
        let name = format!("guarded-{}", self.secrets.fetch_add(1, Ordering::Relaxed));
        let secret = match at {
            At::Own => self.stack.secret(&name, &value),
            At::Atlas => self.stack.atlas_secret(&name, &value),
        };
        let part = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
        MongoApp {
            database: "shop".to_owned(),
            user: part("username"),
            password: part("password"),
            secret: secret.unwrap(),
        }
    }

    fn tag(&self, app: &MongoApp, name: &str, value: &str) {
        self.stack.tag(&app.secret, name, value).unwrap();
    }

    async fn world(&self) -> World {
        let users = self.stack.mongo.users().await.unwrap();
        (users, self.stack.atlas.users(&self.stack.project), self.stack.atlas.users(&self.other))
    }

    async fn function(&self, settings: &[(&'static str, String)]) -> Lambda {
        let settings = settings.iter().map(|(name, value)| (*name, value.as_str()));
        let settings: Vec<(&str, &str)> = SETTINGS.into_iter().chain(settings).collect();
        self.stack.function("under-other-settings", &settings).await.unwrap()
    }

    /// Every case is refused in every step, one after the other, and the world stays as it was.
    async fn refuse(&self, cases: &[Case]) {
        let before = self.world().await;
        for case in cases {
            self.refuses(case).await;
            let after = self.world().await;
            assert!(after == before, "{}: {}: a user is not what it was", case.codes[0], case.app.user);
        }
    }

    async fn refuses(&self, case: &Case) {
        let own;
        let function = if case.settings.is_empty() {
            &self.stack.lambda
        } else {
            own = self.function(&case.settings).await;
            &own
        };
        self.forget();
        let (secret, says) = (&case.app.secret, case.says.iter().map(String::as_str).collect::<Vec<_>>());
        let token = self.stack.stage(secret).unwrap();
        refused(invoke(function, secret, &token, STEPS[0]).await, case.codes[0], &says);
        assert_eq!(self.stack.aws.secrets.value(secret, "AWSPENDING").unwrap(), None, "{says:?}: a value was stored");

        let token = self.pending(case).await;
        for (step, code) in STEPS.into_iter().zip(case.codes).skip(1) {
            let says = if code == case.codes[0] { says.as_slice() } else { &[] };
            refused(invoke(function, secret, &token, step).await, code, says);
        }
        self.nothing_was_to_change(case);
    }

    /// Puts a pending value by hand: the current one with another user and a password that no server knows.
    async fn pending(&self, case: &Case) -> String {
        let mut value = self.stack.value(&case.app.secret, "AWSCURRENT").unwrap();
        value["username"] = json!(case.next);
        value["password"] = json!("PutByHandAndKnownToNobody0000000000000");
        put_pending(&self.stack, &case.app.secret, &value.to_string()).await
    }

    fn forget(&self) {
        self.stack.atlas.forget();
        self.stack.proxy.as_ref().unwrap().forget();
        self.stack.faults.reset();
    }

    fn nothing_was_to_change(&self, case: &Case) {
        let story = format!("{}: {}", case.codes[0], case.app.user);
        let calls = self.stack.atlas.seen();
        let changing = calls.iter().filter(|call| call.method != "GET" && !call.path.starts_with("/api/oauth/"));
        assert_eq!(changing.map(Call::name).next(), None, "{story}");
        for command in self.stack.proxy.as_ref().unwrap().commands() {
            let name = command.keys().next().unwrap();
            assert!(["connectionStatus", "usersInfo"].contains(&name.as_str()), "{story}: {name}");
        }
        let outside = |call: &String| call.contains(" mongo ") || call.contains(" atlas ");
        let outside = self.stack.faults.recorded().into_iter().find(outside);
        assert!(!case.at_once || outside.is_none(), "{story}: {outside:?}");
    }

    /// The same secret under the settings that let it through: it is rotated, and each step and its log line name them.
    async fn lets_through(&self, case: &Case) {
        let settings: Vec<_> = case.settings.iter().chain(&case.unless).cloned().collect();
        let function = self.function(&settings).await;
        let secret = &case.app.secret;
        let token = self.stack.stage(secret).unwrap();
        for step in [STEPS[0], STEPS[1], STEPS[2], "finishSecret"] {
            let report =
                invoke(&function, secret, &token, step).await.unwrap_or_else(|error| panic!("{secret}: {error}"));
            let named = named_in(step, &case.unless);
            let reported = report["overrides"].as_array().cloned().unwrap_or_default();
            assert_eq!(json!(reported), json!(named), "{secret}: {report}");
            let log = function.logs().unwrap();
            let mut lines = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let line = lines.rfind(|line| line["code"].is_string()).unwrap();
            assert_eq!(line["overrides"], json!(named.join(", ")), "{secret}: {line}");
        }
        assert!(self.stack.logs_in(secret, "AWSCURRENT").await.unwrap(), "{secret}");
    }

    fn ends(&self) {
        assert_eq!(self.stack.atlas.live_tokens(), 0);
        assert_eq!(self.stack.violations(), Vec::<String>::new());
    }
}

/// The overrides that a step names, in their order: those without which it would have refused.
fn named_in(step: &str, unless: &[(&'static str, String)]) -> Vec<&'static str> {
    let is_used_in = |name: &str| match name {
        "SYNC_ROLES" => ["createSecret", "setSecret"].contains(&step),
        // The last step looks at names alone.
        "ALLOW_ROLES" | "ALLOW_DATABASES" => step != "finishSecret",
        _ => true,
    };
    let mut names: Vec<_> = unless.iter().map(|(name, _)| *name).filter(|name| is_used_in(name)).collect();
    names.sort_unstable();
    names
}

async fn invoke(function: &Lambda, secret: &str, token: &str, step: &str) -> Result<Value, FunctionError> {
    function.invoke(json!({"Step": step, "SecretId": secret, "ClientRequestToken": token})).await.result
}

#[tokio::test(flavor = "multi_thread")]
async fn every_guard_holds_in_every_step_and_each_override_is_named() {
    let scene = Scene::start().await;
    let cases = cases::all(&scene).await;
    scene.refuse(&cases).await;
    cases::users_of_a_server_without_a_password(&scene).await;
    cases::a_twin_that_is_not_there_proves_nothing(&scene).await;
    let overridden: Vec<&Case> = cases.iter().filter(|case| !case.unless.is_empty()).collect();
    for case in &overridden {
        scene.lets_through(case).await;
    }
    println!("{} cases, {} of them let through by an override", cases.len(), overridden.len());
    scene.ends();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_only_write_a_secrets_value_gets_nobody_elses_password() {
    let scene = Scene::start().await;
    attacks::on_everybody(&scene).await;
    scene.ends();
}

/// A rotation that was let through goes on to its end, and says in every step by what.
#[tokio::test(flavor = "multi_thread")]
async fn an_override_that_ends_in_the_middle_of_a_rotation_does_not_stop_it() {
    let stack = MongoStack::start().await.unwrap();
    for strategy in ["alternating", "fixed"] {
        let app = stack.own_app(strategy).await.unwrap();
        stack.tag(&app.secret, "strategy", strategy).unwrap();
        let until = async |name: &str, date: &str| {
            let guards = [("PROTECTED_USERS", &*app.user), ("ALLOW_PROTECTED_USERS", &app.user), ("ALLOW_UNTIL", date)];
            stack.function(&format!("{strategy}-{name}"), &guards).await.unwrap()
        };
        let (allowed, ended) =
            (until("allowed", "2999-12-31T00:00:00Z").await, until("ended", "2020-01-01T00:00:00Z").await);
        let token = stack.stage(&app.secret).unwrap();
        refused(invoke(&ended, &app.secret, &token, STEPS[0]).await, "USER_PROTECTED", &["is a protected user"]);
        for (function, step) in
            [(&allowed, STEPS[0]), (&allowed, STEPS[1]), (&allowed, STEPS[2]), (&ended, "finishSecret")]
        {
            let result = invoke(function, &app.secret, &token, step).await;
            let report = result.unwrap_or_else(|error| panic!("{strategy} {step}: {error}"));
            assert_eq!(report["overrides"], json!(["ALLOW_PROTECTED_USERS"]), "{strategy} {step}: {report}");
        }
        assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}
