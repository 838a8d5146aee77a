//! break-glass beside oncall-sync, whose ledger says who is on call.
//!
//! `make local` runs this function itself: `cargo lambda watch` names every function `function-arn`, without an account and
//! without an alias, and break-glass believes no event of which it knows neither.

use anyhow::{Context as _, Result};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::break_glass::{CONFIG_PATH, Stack};
use keyturn_tests::stacks::oncall::{Bound, Oncall};
use serde_json::json;

use super::{NAME, OnCall};
use crate::command_line::Arguments;
use crate::screen::Screen;

/// The function, and the server on which it makes logins.
pub(super) struct Logins {
    stack: Stack,
    lambda: Lambda,
}

/// A stack with the database `shop`, for whoever `oncall-sync` grants. Both functions have one Parameter Store.
pub(crate) async fn beside(oncall: &Oncall, bound: &Bound, postgres: u32) -> Result<Stack> {
    let parameters = oncall.aws.url();
    let stack = Stack::builder(postgres).variable("AWS_ENDPOINT_URL_SSM", &parameters).start().await?;
    stack.database(NAME, &json!({"bindings": [{"binding": bound.id, "group": bound.group}]})).await?;
    let name = format!("{CONFIG_PATH}/{NAME}");
    let document = stack.aws.parameters.value(&name).context("a stack without its document")?;
    oncall.aws.parameters.put(&name, &document);
    Ok(stack)
}

pub(super) async fn start(arguments: &Arguments, on_call: &OnCall) -> Result<Logins> {
    let stack = beside(&on_call.world, &on_call.shop, arguments.postgres).await?;
    let lambda = stack.lambda(Some(arguments.function("break-glass")?)).await?;
    Ok(Logins { stack, lambda })
}

impl Logins {
    pub(super) fn print_stack(&self) {
        let port = self.stack.postgres().port();
        println!("  PostgreSQL with the database {NAME} on 127.0.0.1:{port}, whose logins break-glass makes");
        println!(
            "  break-glass at {}, as Lambda answers there: oncall-sync's ledger says who may ask",
            self.lambda.url()
        );
    }

    /// The commands that invoke it.
    pub(super) fn print_events(&self, screen: Screen) {
        let address = self.lambda.url();
        let port = address.rsplit(':').next().unwrap_or_default();
        let at = format!("--invoke-address 127.0.0.1 --invoke-port {port}");
        screen.title("break-glass, once oncall-sync has ticked: what ann asks by the function URL, on its alias");
        for event in ["open", "list", "close"] {
            println!("  cargo lambda invoke break-glass:url {at} --data-file events/break-glass-{event}.json");
        }
        screen.title("What the schedule and operators ask, on the other alias; nobody sweeps here but you");
        for event in ["sweep", "check", "report"] {
            println!("  cargo lambda invoke break-glass:ops {at} --data-file events/break-glass-{event}.json");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::on_call;
    use super::super::tests::event;
    use super::*;
    use chrono::TimeDelta;
    use keyturn_tests::rotator::built;

    #[tokio::test]
    async fn whoever_oncall_sync_lets_in_opens_a_login_and_loses_it_with_the_shift() {
        let OnCall { world, shop, people: [ann, dan] } = on_call().await.unwrap();
        let stack = beside(&world, &shop, 17).await.unwrap();
        let lambda = stack.lambda(Some(built("break-glass").unwrap())).await.unwrap();
        let ask = async |alias: &str, name: &str| {
            lambda.invoke_by(Some(alias), &event(&format!("break-glass-{name}"))).await.result.unwrap()
        };
        assert_eq!(ask("url", "open").await["statusCode"], 503, "there is no ledger yet");
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &dan]), ["ann"]);
        assert_eq!(ask("url", "open").await["statusCode"], 200);
        assert_eq!(stack.roles().await.unwrap().len(), 1);
        let now = keyturn::clock::now();
        world.pagerduty.override_shift(
            &shop.schedule,
            &dan.pagerduty,
            now - TimeDelta::minutes(1),
            now + TimeDelta::hours(1),
        );
        world.tick().await.unwrap();
        assert_eq!(world.members(&shop, &[&ann, &dan]), ["dan"]);
        assert_eq!(ask("ops", "sweep").await["closed"].as_array().map(Vec::len), Some(1));
        assert_eq!(stack.roles().await.unwrap(), Vec::<String>::new());
        assert_eq!([stack.violations(), world.violations()].concat(), Vec::<String>::new());
    }
}
