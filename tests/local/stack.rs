//! `make local`: the stacks of all functions stay up, and `cargo lambda watch` runs them, all but break-glass. `make cloud`:
//! so do the deployed functions. `make rotate` asks for a rotation.

mod cloud;
mod folder;
mod logins;
mod reports;
mod rotate;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use anyhow::{Result, anyhow};
use folder::{Folder, client_environment};
use keyturn_tests::aws::Aws;
use keyturn_tests::stacks::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::stacks::postgres::{ADMIN, Stack};
use reports::Reports;
use tokio::time::sleep;

pub(crate) use cloud::run as cloud;
pub(crate) use logins::beside;
pub(crate) use rotate::rotate;

use crate::bench::oncall_now;
use crate::command_line::Arguments;
use crate::screen::Screen;

/// The secret that `events/rotate-postgres-*` name.
pub(crate) const NAME: &str = "shop";
/// What the ARN of each secret that `events/` name ends in.
const SUFFIX: &str = "AbCdEf";
/// The version that `events/` rotates to.
const TOKEN: &str = "8f1d2c3b-0000-4000-8000-00000000c0de";

/// Where each `cargo lambda watch` is asked to listen: its usual port and the next ones, or those that are free.
const INVOKE_PORTS: std::ops::Range<u16> = 9000..9100;

const ROTATE_ENVIRONMENT: &str = "rotate-postgres.env";
const SYNC_ENVIRONMENT: &str = "oncall-sync.env";

const POLL: Duration = Duration::from_millis(100);

/// The people that `events/` names: one on call, one not.
struct OnCall {
    world: Oncall,
    shop: Bound,
    people: [Engineer; 2],
}

/// Keeps the stacks up until a signal ends the program.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let screen = Screen::stdout();
    eprintln!(
        "starting PostgreSQL {}, MongoDB, Secrets Manager, Atlas, PagerDuty, Okta, Datadog and Slack",
        arguments.postgres
    );
    // These stacks' own functions are never invoked; any program will do.
    let program = std::env::current_exe()?;
    let stack = Stack::builder(arguments.postgres).bootstrap(program.clone()).start().await?;
    let secret = secret(&stack).await?;
    let reports = reports::start(program).await?;
    let [rotate_port, mongo_port, sync_port] = free_ports()?;
    let invoke_url = format!("http://127.0.0.1:{rotate_port}/2015-03-31/functions/rotate-postgres/invocations");
    stack.aws.secrets.set_rotation(&secret, &invoke_url)?;
    stack.aws.secrets.stage_pending(&secret, TOKEN)?;
    reports.invoke_at(mongo_port)?;
    let on_call = on_call().await?;
    let logins = logins::start(arguments, &on_call).await?;

    let folder = Folder::make()?;
    let ca_file = stack.postgres.certificates().ca_file().display().to_string();
    let settings = [
        ("AWS_ENDPOINT_URL", &*stack.aws.url()),
        ("DATABASE_CA_FILE", &ca_file),
        ("ADMIN_SECRET_ARNS", &stack.admin_arn),
    ];
    folder.write(ROTATE_ENVIRONMENT, &settings)?;
    let variables = on_call.world.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    folder.write(SYNC_ENVIRONMENT, &variables)?;
    folder.write(&client_environment(NAME), &[("AWS_ENDPOINT_URL", &stack.aws.client_url())])?;
    reports.write(&folder)?;
    print_stacks(screen, &stack, &reports, &on_call);
    logins.print_stack();
    print_terminals(screen);
    print_rotation(screen, rotate_port, arguments.features.as_deref());
    reports::print_rotation(screen, mongo_port);
    print_on_call(screen, sync_port);
    logins.print_events(screen);
    screen.title("What happens to the secrets, and who is in the group");
    let secrets = [(&stack.aws, secret.as_str(), NAME), (&reports.stack.aws, &reports.secret, reports::NAME)];
    let OnCall { world, shop, people: [ann, dan] } = &on_call;
    watch(screen, &secrets, || world.members(shop, &[ann, dan])).await
}

/// The binding `shop`, with ann on call now by the machine's clock, and dan who is not.
async fn on_call() -> Result<OnCall> {
    let world = Oncall::builder().on_the_machines_clock().start().await?;
    let (shop, ann) = oncall_now(&world, NAME, "ann")?;
    let dan = world.engineer("dan")?;
    Ok(OnCall { world, shop, people: [ann, dan] })
}

/// An application in clone layout, its secret under the ARN that `events/` names.
async fn secret(stack: &Stack) -> Result<String> {
    let password = stack.postgres.make_login(NAME, "").await?;
    stack.postgres.execute(&format!("CREATE DATABASE {NAME} OWNER {NAME}")).await?;
    if stack.postgres.major() >= 16 {
        stack.postgres.execute(&format!("GRANT {NAME} TO {ADMIN} WITH ADMIN OPTION")).await?;
    }
    stack.aws.secrets.create_as(NAME, SUFFIX, &stack.credential(NAME, NAME, &password).to_string())
}

fn free_ports() -> Result<[u16; 3]> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let free: Vec<u16> = INVOKE_PORTS.filter(is_free).take(3).collect();
    free.try_into().map_err(|_| anyhow!("fewer than three ports of {INVOKE_PORTS:?} are free"))
}

fn print_stacks(screen: Screen, stack: &Stack, reports: &Reports, on_call: &OnCall) {
    screen.title("The stacks are up until Ctrl-C");
    println!("  PostgreSQL {} on 127.0.0.1:{}", stack.postgres.major(), stack.postgres.port());
    println!("  Secrets Manager with {NAME} at {}", stack.aws.client_url());
    reports.print_stack();
    let OnCall { world, shop, people: [ann, dan] } = on_call;
    println!(
        "  PagerDuty at {}: {} is on call for {} (8 hours from now), {} is not",
        world.pagerduty.url(),
        ann.email,
        shop.id,
        dan.email
    );
    println!("  Okta at {}: the group {} is empty", world.okta.url(), shop.group);
}

fn print_terminals(screen: Screen) {
    screen.title("In every other terminal");
    println!("  export PATH=\"$PWD/.tools/cargo-lambda/bin:$PATH\"");
}

fn print_rotation(screen: Screen, port: u16, features: Option<&str>) {
    let at = format!("--invoke-address 127.0.0.1 --invoke-port {port}");
    let features = features.map(|features| format!(" --features {features}")).unwrap_or_default();
    screen
        .title("rotate-postgres in a second terminal, built again whenever its code changes; in a third what follows");
    println!("  cargo lambda watch {at} --env-file .local/{ROTATE_ENVIRONMENT} -p rotate-postgres{features}");
    screen.title("What a rotation would do, and where it stands");
    for event in ["check", "explain"] {
        println!("  cargo lambda invoke rotate-postgres {at} --data-file events/rotate-postgres-{event}.json");
    }
    screen.title("The four steps of a rotation");
    for event in ["1-create", "2-set", "3-test", "4-finish"] {
        println!("  cargo lambda invoke rotate-postgres {at} --data-file events/rotate-postgres-{event}-secret.json");
    }
    screen.title("Or all of them at once, as Secrets Manager does it, as often as you like");
    println!("  make rotate");
    screen.title("Or with the AWS CLI, where it is installed");
    println!("  set -a; . .local/{}; set +a", client_environment(NAME));
    println!("  aws secretsmanager get-secret-value --secret-id {NAME}");
}

fn print_on_call(screen: Screen, port: u16) {
    let at = format!("--invoke-address 127.0.0.1 --invoke-port {port}");
    screen.title("oncall-sync in another terminal");
    println!("  cargo lambda watch {at} --env-file .local/{SYNC_ENVIRONMENT} -p oncall-sync");
    screen.title("Is all there? a tick as EventBridge sends it, and what people ask for by hand");
    for event in ["doctor", "plan", "tick", "sync", "grant", "revoke"] {
        println!("  cargo lambda invoke oncall-sync {at} --data-file events/oncall-sync-{event}.json");
    }
}

/// Prints every change of the secrets' labels, and of the group's members.
async fn watch(screen: Screen, secrets: &[(&Aws, &str, &str)], members: impl Fn() -> Vec<String>) -> Result<()> {
    let (mut shown, mut shown_members) = (BTreeMap::new(), None);
    loop {
        for (aws, secret, name) in secrets {
            let labels = labels(aws, secret)?;
            if shown.get(name) != Some(&labels) {
                let line: Vec<String> =
                    labels.iter().map(|(label, holder)| format!("{label} {}", screen.name(holder))).collect();
                println!("  {} {name}: {}", now(screen), line.join("   "));
                shown.insert(*name, labels);
            }
        }
        let members = members();
        if shown_members.as_ref() != Some(&members) {
            let line = if members.is_empty() { "nobody".to_owned() } else { members.join(", ") };
            println!("  {} in the group: {}", now(screen), screen.name(&line));
            shown_members = Some(members);
        }
        sleep(POLL).await;
    }
}

fn now(screen: Screen) -> String {
    screen.dim(&keyturn::clock::now().format("%H:%M:%S").to_string())
}

/// Each label with the user and the version that have it.
fn labels(aws: &Aws, secret: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (version, stages) in aws.secrets.stages(secret)? {
        for label in stages {
            let value = aws.secrets.value(secret, &label)?;
            labels.insert(label, held_by(value.as_deref(), &version));
        }
    }
    Ok(labels)
}

/// A version's user, and the beginning of its id.
fn held_by(value: Option<&str>, version: &str) -> String {
    let credential: Option<serde_json::Value> = value.and_then(|text| serde_json::from_str(text).ok());
    let user = credential.as_ref().and_then(|credential| credential["username"].as_str());
    let short = version.split('-').next().unwrap_or_default();
    format!("{} ({short})", user.unwrap_or("no value yet"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use std::fs;
    use std::path::Path;

    /// The event of this name in `events/`.
    pub(super) fn event(name: &str) -> Value {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("events");
        serde_json::from_str(&fs::read_to_string(folder.join(format!("{name}.json"))).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn every_question_about_the_secret_is_answered() {
        let bootstrap = keyturn_tests::rotator::built("rotate-postgres").unwrap();
        let stack = Stack::builder(17).bootstrap(bootstrap).start().await.unwrap();
        secret(&stack).await.unwrap();
        let ask =
            async |name: &str| stack.lambda.invoke(event(&format!("rotate-postgres-{name}"))).await.result.unwrap();
        assert_eq!(ask("check").await["would"]["to"], json!("shop_clone"));
        assert_eq!(ask("explain").await["under_way"], json!(false));
    }

    #[tokio::test]
    async fn every_event_for_oncall_sync_does_what_its_name_says() {
        let OnCall { world, shop, people: [ann, dan] } = on_call().await.unwrap();
        let ask = async |name: &str| world.event(&event(&format!("oncall-sync-{name}"))).await.unwrap();
        let members = || world.members(&shop, &[&ann, &dan]);
        assert_eq!(ask("doctor").await["healthy"], json!(true));
        assert!(ask("plan").await.to_string().contains("grant"));
        assert_eq!(members(), Vec::<String>::new());
        assert_eq!(ask("tick").await["granted"].as_array().map(Vec::len), Some(1));
        assert_eq!(members(), ["ann"]);
        assert_eq!(ask("sync").await["granted"], Value::Array(Vec::new()));
        ask("grant").await;
        assert_eq!(members(), ["ann", "dan"]);
        ask("revoke").await;
        ask("tick").await;
        assert_eq!(members(), ["dan"]);
        assert_eq!(world.violations(), Vec::<String>::new());
    }
}
