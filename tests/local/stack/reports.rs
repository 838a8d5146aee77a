//! The application `reports`, whose one user is at Atlas: for rotate-mongo.

use std::path::PathBuf;

use anyhow::Result;
use keyturn_tests::stacks::mongo::{ENVIRONMENT, MongoStack};
use serde_json::json;

use super::folder::{Folder, client_environment};
use super::{SUFFIX, TOKEN};
use crate::screen::Screen;

/// The secret that `events/rotate-mongo-*` name.
pub(super) const NAME: &str = "reports";
const FUNCTION_ENVIRONMENT: &str = "rotate-mongo.env";
/// Whatever the application chose, long ago.
const FIRST_PASSWORD: &str = "chosen-by-a-person-long-ago";

/// The application, with a rotation of its secret begun.
pub(super) struct Reports {
    /// Its servers, Secrets Manager, and Atlas.
    pub stack: MongoStack,
    pub secret: String,
}

/// Starts it. `bootstrap` is for whoever invokes the stack's own function.
pub(super) async fn start(bootstrap: PathBuf) -> Result<Reports> {
    let stack = MongoStack::builder().bootstrap(bootstrap).start().await?;
    let user = format!("{NAME}_{ENVIRONMENT}_rw");
    let roles = json!([{"roleName": "readWrite", "databaseName": NAME}]);
    stack.atlas.add_user(&stack.project, &json!({"username": user, "roles": roles}), FIRST_PASSWORD).await?;
    let credential = stack.atlas_credential(NAME, &user, FIRST_PASSWORD).to_string();
    let secret = stack.aws.secrets.create_as(NAME, SUFFIX, &credential)?;
    stack.tag(&secret, "engine", "mongodb-atlas")?;
    stack.aws.secrets.set_rotation(&secret, &stack.lambda.invoke_url())?;
    stack.aws.secrets.stage_pending(&secret, TOKEN)?;
    Ok(Reports { stack, secret })
}

impl Reports {
    /// Has Secrets Manager invoke the function that listens on this port.
    pub(super) fn invoke_at(&self, port: u16) -> Result<()> {
        let url = format!("http://127.0.0.1:{port}/2015-03-31/functions/rotate-mongo/invocations");
        self.stack.aws.secrets.set_rotation(&self.secret, &url)
    }

    /// Writes what the function and clients of Secrets Manager have to know.
    pub(super) fn write(&self, folder: &Folder) -> Result<()> {
        let stack = &self.stack;
        let ca_file = stack.mongo.certificates().ca_file().display().to_string();
        let settings = [
            ("AWS_ENDPOINT_URL", &*stack.aws.url()),
            ("DATABASE_CA_FILE", &ca_file),
            ("ATLAS_API_URL", &stack.atlas.url()),
            ("ATLAS_SECRET_ID", &stack.atlas_arn),
            ("ATLAS_PROJECT_IDS", stack.project.id()),
            ("KEYTURN_ENV", ENVIRONMENT),
        ];
        folder.write(FUNCTION_ENVIRONMENT, &settings)?;
        folder.write(&client_environment(NAME), &[("AWS_ENDPOINT_URL", &stack.aws.client_url())])
    }

    pub(super) fn print_stack(&self) {
        let stack = &self.stack;
        println!("  MongoDB on 127.0.0.1:{}, behind Atlas at {}", stack.mongo.port(), stack.atlas.url());
        println!("  Secrets Manager with {NAME} at {}", stack.aws.client_url());
    }
}

/// The commands that run and invoke the function.
pub(super) fn print_rotation(screen: Screen, port: u16) {
    let at = format!("--invoke-address 127.0.0.1 --invoke-port {port}");
    screen.title("rotate-mongo in another terminal");
    println!("  cargo lambda watch {at} --env-file .local/{FUNCTION_ENVIRONMENT} -p rotate-mongo");
    screen.title("The four steps of its rotation, or all of them at once");
    for event in ["1-create", "2-set", "3-test", "4-finish"] {
        println!("  cargo lambda invoke rotate-mongo {at} --data-file events/rotate-mongo-{event}-secret.json");
    }
    println!("  make rotate SECRET={NAME}");
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;
    use keyturn_tests::rotator::built;

    #[tokio::test(flavor = "multi_thread")]
    async fn the_four_events_rotate_the_secret_that_they_name() {
        let Reports { stack, secret } = start(built("rotate-mongo").unwrap()).await.unwrap();
        for (name, outcome) in [
            ("1-create", "pending_created"),
            ("2-set", "password_set"),
            ("3-test", "pending_proven"),
            ("4-finish", "finished"),
        ] {
            assert_ne!(stack.aws.secrets.version(&secret, "AWSCURRENT").unwrap().unwrap(), TOKEN, "{name}");
            let report = stack.lambda.invoke(event(&format!("rotate-mongo-{name}-secret"))).await.result.unwrap();
            assert_eq!(report["outcome"], outcome, "{name}");
        }
        assert_eq!(stack.aws.secrets.version(&secret, "AWSCURRENT").unwrap().unwrap(), TOKEN);
        assert!(stack.logs_in(&secret, "AWSCURRENT").await.unwrap());
        assert!(!stack.logs_in(&secret, "AWSPREVIOUS").await.unwrap());
        assert_eq!(stack.violations(), Vec::<String>::new());
    }
}
