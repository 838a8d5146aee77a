//! The Lambda function: settings, clients, and the rotation that answers events.

use keyturn::secrets::Secrets;
use keyturn::{Vars, lambda};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let mut vars = Vars::environment();
    lambda::start_logging(&mut vars);
    let aws = lambda::aws(&mut vars).await;
    let secrets = Secrets::new(lambda::secrets_manager(&vars, &aws));
    let rotation = rotate_mongo::rotation(vars, secrets);
    // With bad settings the function starts all the same: each event is answered with what is wrong.
    lambda::serve(async |event, deadline| match &rotation {
        Ok(rotation) => rotation.handle(event, deadline).await,
        Err(error) => Err(error.clone()),
    })
    .await
}
