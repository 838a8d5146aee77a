//! One server on which many stories are played one after the other, each with role names and secrets of its own.

use crate::refusal::Refusal;
use keyturn_tests::aws::secrets_client;
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::postgres::{ADMIN, Builder, Stack};
use serde_json::{Value, json};
use std::ops::Deref;
use tokio_postgres::Client;

/// A stack with a superuser's session, and one password for every role of its stories.
pub(super) struct Scene {
    pub stack: Stack,
    pub superuser: Client,
    pub password: String,
    pub verifier: String,
}

impl Deref for Scene {
    type Target = Stack;

    fn deref(&self) -> &Stack {
        &self.stack
    }
}

impl Scene {
    pub(super) async fn start(major: u32) -> Self {
        Self::of(Stack::builder(major)).await
    }

    pub(super) async fn of(builder: Builder) -> Self {
        let stack = builder.start().await.unwrap();
        // What fails here shall fail at once, not three times.
        stack.aws.secrets.set_attempts(1);
        let superuser = stack.postgres.admin_client().await.unwrap();
        let password = format!("Scene-{}", stack.admin_password);
        let verifier = postgres_protocol::password::scram_sha_256(password.as_bytes());
        Self { stack, superuser, password, verifier }
    }

    pub(super) fn is_16_or_later(&self) -> bool {
        self.postgres.major() >= 16
    }

    /// Runs SQL as the superuser.
    #[track_caller]
    pub(super) fn sql(&self, sql: &str) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move { self.superuser.batch_execute(sql).await.unwrap_or_else(|e| panic!("{caller}: {sql}: {e:?}")) }
    }

    /// Makes a role that the admin has power over, and that logs in with the scene's password.
    pub(super) async fn login(&self, name: &str, options: &str) {
        self.stranger(name, options).await;
        self.admit(ADMIN, name).await;
    }

    /// Makes a role that logs in with the scene's password, and that somebody else than the admin made.
    pub(super) async fn stranger(&self, name: &str, options: &str) {
        self.sql(&format!("CREATE ROLE \"{name}\" LOGIN {options} PASSWORD '{}'", self.verifier)).await;
    }

    /// Gives an admin what it needs to have from PostgreSQL 16 on.
    pub(super) async fn admit(&self, admin: &str, role: &str) {
        if self.is_16_or_later() {
            self.sql(&format!("GRANT \"{role}\" TO \"{admin}\" WITH ADMIN OPTION")).await;
        }
    }

    /// What is stored for a user, in clone layout.
    pub(super) fn of_user(&self, user: &str) -> Value {
        self.credential("postgres", user, &self.password)
    }

    /// The same in a secret of the user's name.
    pub(super) fn secret_of(&self, user: &str) -> String {
        self.secret(user, &self.of_user(user)).unwrap()
    }

    /// The ARN of a secret of this name.
    pub(super) fn arn(&self, name: &str) -> String {
        self.aws.secrets.arn(name).unwrap()
    }

    /// A secret of `user`, tagged for owner layout.
    pub(super) fn owner_secret(&self, name: &str, user: &str, users: [&str; 2], owner: &str) -> String {
        let secret = self.secret(name, &self.of_user(user)).unwrap();
        self.in_owner_layout(&secret, users, owner).unwrap();
        secret
    }

    /// A secret of `user`, tagged for pair layout.
    pub(super) fn pair_secret(&self, name: &str, user: &str, users: [&str; 2]) -> String {
        let secret = self.secret(name, &self.of_user(user)).unwrap();
        self.in_pair_layout(&secret, users).unwrap();
        secret
    }

    /// A secret and its admin's, both of a database somewhere else. Gives back the ARN, and the place as messages name it.
    pub(super) fn secret_at(&self, name: &str, host: &str, port: u16) -> (String, String) {
        let mut value = self.of_user("app");
        (value["host"], value["port"]) = (json!(host), json!(port));
        let mut admin = value.clone();
        admin["username"] = json!(ADMIN);
        value["masterarn"] = json!(self.aws.secrets.create(&format!("{name}-admin"), &admin.to_string()).unwrap());
        (self.secret(name, &value).unwrap(), format!("{host}:{port}"))
    }

    /// Another admin, with a secret of its own. Gives back the secret's ARN.
    pub(super) async fn admin(&self, name: &str, options: &str) -> String {
        self.stranger(name, options).await;
        let mut credential = self.of_user(name);
        credential.as_object_mut().unwrap().remove("masterarn");
        self.aws.secrets.create(name, &credential.to_string()).unwrap()
    }

    /// The same function with another environment, besides what every function here has.
    pub(super) async fn function(&self, name: &str, variables: &[(&str, &str)]) -> Lambda {
        let usual = [
            ("AWS_ENDPOINT_URL", self.aws.url()),
            ("DATABASE_CA_FILE", self.postgres.certificates().ca_file().display().to_string()),
            ("ADMIN_SECRET_ARNS", "any".to_owned()),
        ];
        let usual = usual.into_iter().filter(|(name, _)| variables.iter().all(|(other, _)| other != name));
        let variables = variables.iter().map(|(name, value)| (*name, (*value).to_owned())).chain(usual);
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).collect();
        let bootstrap = keyturn_tests::rotator::built("rotate-postgres").unwrap();
        Lambda::start(name, bootstrap, variables, self.faults.clone()).await.unwrap()
    }

    /// A session with the current value of a secret.
    pub(super) async fn client_of(&self, secret: &str) -> Client {
        let value = self.value(secret, "AWSCURRENT").unwrap();
        let [user, password] = ["username", "password"].map(|key| value[key].as_str().unwrap());
        self.postgres.client(user, password, "postgres").await.unwrap()
    }

    /// Puts the pending value of a rotation, as AWS's function, an attacker or a careless hand may do.
    pub(super) async fn put_pending(&self, secret: &str, token: &str, value: &Value) {
        let client = secrets_client(&self.aws.client_url());
        let put = client.put_secret_value().secret_id(secret).client_request_token(token);
        put.secret_string(value.to_string()).version_stages("AWSPENDING").send().await.unwrap();
    }

    /// A rotation of `secret` that has come to its pending value: `user`, with a password that the server does not know.
    pub(super) async fn pending(&self, secret: &str, user: &str) -> String {
        let mut value = self.value(secret, "AWSCURRENT").unwrap();
        value["username"] = json!(user);
        value["password"] = json!(format!("new-{}", self.password));
        let token = self.stage(secret).unwrap();
        self.put_pending(secret, &token, &value).await;
        token
    }

    /// createSecret is refused and stores nothing; setSecret, where a pending value for `user` is there all the same, is
    /// refused and leaves every role as it was.
    pub(super) async fn refuses(&self, secret: &str, user: &str, expected: Refusal<'_>) {
        self.refuses_to_create(secret, &expected).await;
        self.refuses_to_set(secret, user, &expected).await;
    }

    pub(super) async fn refuses_to_create(&self, secret: &str, expected: &Refusal<'_>) {
        let before = self.roles().await;
        let token = self.stage(secret).unwrap();
        expected.is(self.step(secret, &token, "createSecret").await, &format!("createSecret {secret}"));
        assert_eq!(self.aws.secrets.value(secret, "AWSPENDING").unwrap(), None, "{secret}: a value was stored");
        self.unchanged_since(&before, secret).await;
    }

    pub(super) async fn refuses_to_set(&self, secret: &str, user: &str, expected: &Refusal<'_>) {
        let token = self.pending(secret, user).await;
        self.refuses_step(secret, &token, "setSecret", expected).await;
    }

    pub(super) async fn refuses_step(&self, secret: &str, token: &str, step: &str, expected: &Refusal<'_>) {
        let before = self.roles().await;
        expected.is(self.step(secret, token, step).await, &format!("{step} {secret}"));
        self.unchanged_since(&before, secret).await;
    }

    /// Rotates as the service does, and says who is current then. The new credential has logged in.
    pub(super) async fn rotates(&self, secret: &str) -> String {
        let outcome = self.rotate(secret).await.unwrap();
        assert!(outcome.succeeded(), "{secret}: {outcome}");
        let current = self.value(secret, "AWSCURRENT").unwrap();
        let part = |key: &str| current[key].as_str().unwrap();
        self.postgres.client(part("username"), part("password"), part("dbname")).await.unwrap();
        part("username").to_owned()
    }

    async fn unchanged_since(&self, before: &str, story: &str) {
        let after = self.roles().await;
        let changed = before.lines().zip(after.lines()).find(|(before, after)| before != after);
        assert!(before == after, "{story}: the roles are not what they were: {changed:?}");
    }

    /// Everything about every role: attributes, password hashes, memberships, settings.
    pub(super) async fn roles(&self) -> String {
        const ALL: &str = "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
            SELECT a::text FROM pg_authid a UNION ALL SELECT m::text FROM pg_auth_members m
            UNION ALL SELECT s::text FROM pg_db_role_setting s) AS everything (line)";
        self.superuser.query_one(ALL, &[]).await.unwrap().get(0)
    }

    /// How often this user has been let in so far, by the server's log.
    pub(super) fn logins_of(&self, user: &str) -> usize {
        self.postgres.server_log().unwrap().matches(&format!("connection authorized: user={user} ")).count()
    }

    /// One value, asked for by the superuser.
    pub(super) async fn ask<T: for<'r> tokio_postgres::types::FromSql<'r>>(&self, sql: &str) -> T {
        self.superuser.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// At the end of all stories.
    pub(super) fn ends(&self) {
        assert_eq!(self.aws.violations(), Vec::<String>::new());
    }
}
