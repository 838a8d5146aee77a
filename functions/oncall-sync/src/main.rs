//! The Lambda function: settings, clients, and the sync that answers events.

use keyturn::clock::Clock;
use keyturn::parameters::Parameters;
use keyturn::secrets::Secrets;
use keyturn::{Vars, lambda};
use oncall_sync::OncallSync;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    let mut vars = Vars::environment();
    lambda::start_logging(&mut vars);
    let aws = lambda::aws(&mut vars).await;
    let secrets = Secrets::new(lambda::secrets_manager(&vars, &aws));
    let parameters = Parameters::new(lambda::parameter_store(&aws));
    let function = OncallSync::new(vars, &secrets, parameters, Clock::system());
    // With bad settings the function starts all the same: each event is answered with what is wrong.
    lambda::serve(async |event, deadline| match &function {
        Ok(function) => function.handle(event, deadline).await,
        Err(error) => Err(error.clone()),
    })
    .await
}
