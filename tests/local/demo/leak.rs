//! A password leaks: what a team asks the function for, while its clients work. The application's admin secret is one that RDS
//! manages.

use anyhow::{Context as _, Result};
use keyturn_tests::aws::secrets_client;
use keyturn_tests::rds::{Instance, Rds};
use keyturn_tests::stacks::postgres::{ADMIN, App, Stack};
use serde_json::json;
use std::time::Duration;
use tokio::time::{sleep, timeout};

use super::clients::Crowd;
use super::{Demo, application};

/// For a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

impl Demo {
    /// A secret as AWS's tutorial sets it up: RDS keeps its admin's password.
    pub(super) async fn start_on_rds(&mut self, rds: &Rds) -> Result<App> {
        self.screen.title("An admin secret that RDS manages");
        self.screen.note("It holds username and password alone. RDS (local) says where the server is.");
        let app = under_managed_admin(&self.stack, rds, "orders").await?;
        self.passwords.remember(&self.stack.value(&app.secret, "AWSCURRENT")?);
        self.print_check(&app).await?;
        Ok(app)
    }

    /// The current password leaks, and is made useless under load.
    pub(super) async fn lose_a_password(&mut self, app: &App) -> Result<()> {
        self.screen.title("A password leaks");
        self.screen
            .note("A thief has the password of orders, which is in use, and a session. Five clients work all along.");
        self.stack.postgres.execute(&format!("GRANT pg_signal_backend TO {ADMIN}")).await?;
        let leaked = self.stack.value(&app.secret, "AWSCURRENT")?;
        let [user, password] = ["username", "password"].map(|key| leaked[key].as_str().unwrap_or_default());
        let thief = self.stack.postgres.client(user, password, &app.name).await?;
        let crowd = Crowd::start(&self.stack, app);
        crowd.caught_up().await?;

        let rotating = self.ask(json!({"action": "revoke"}), app).await?;
        let version = rotating["version"].as_str().unwrap_or_default().to_owned();
        timeout(PATIENCE, self.moved_from(&version, app)).await.context("the rotation does not end")??;
        self.rotations += 1;
        self.passwords.remember(&self.stack.value(&app.secret, "AWSCURRENT")?);
        crowd.caught_up().await?;
        let waiting = self.ask(json!({"action": "revoke", "version": version}), app).await?;
        let revoked = self.ask(json!({"action": "revoke", "version": version, "force": true}), app).await?;
        crowd.caught_up().await?;
        let (tally, _) = crowd.finish(&self.stack, app).await?;

        let is_out = thief.batch_execute("SELECT 1").await.is_err()
            && self.stack.postgres.client(user, password, &app.name).await.is_err();
        if is_out {
            println!("  {:<9}its session has ended, and the server refuses the password", "thief");
        }
        self.print_clients(&tally);
        self.judge_errors(&tally, app);
        let states = [rotating, waiting, revoked].map(|answer| answer["state"].clone());
        if !is_out || states != [json!("rotating"), json!("waiting"), json!("revoked")] {
            self.broken.push(format!("the leaked password of {} was not revoked: {states:?}", app.name));
        }
        self.seen.add(&tally);
        Ok(())
    }

    /// Waits until another version is AWSCURRENT.
    async fn moved_from(&self, version: &str, app: &App) -> Result<()> {
        while self.stack.aws.secrets.version(&app.secret, "AWSCURRENT")?.as_deref() == Some(version) {
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

/// An application in clone layout, whose `masterarn` names a secret as RDS makes it.
async fn under_managed_admin(stack: &Stack, rds: &Rds, name: &str) -> Result<App> {
    let app = application::in_clone_layout(stack, name).await?;
    let instance = rds.add_instance(Instance {
        id: format!("{name}-db"),
        engine: "postgres".to_owned(),
        endpoint: Some(("localhost".to_owned(), stack.database_port())),
        ..Instance::default()
    });
    let managed = json!({"username": ADMIN, "password": stack.admin_password});
    let admin = stack.aws.secrets.create("rds!db-1a2b3c", &managed.to_string())?;
    stack.aws.secrets.tag(&admin, "aws:rds:primaryDBInstanceArn", &instance)?;
    let mut value = stack.value(&app.secret, "AWSCURRENT")?;
    value["masterarn"] = json!(admin);
    let client = secrets_client(&stack.aws.client_url());
    client.put_secret_value().secret_id(&app.secret).secret_string(value.to_string()).send().await?;
    Ok(app)
}
