//! `make local`: the stacks of both functions stay up, and `cargo lambda watch` runs them. `make rotate` asks for a rotation.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use keyturn_tests::aws::{Aws, secrets_client};
use keyturn_tests::oncall::{Bound, Engineer, Oncall};
use keyturn_tests::stack::{ADMIN, Stack};
use tokio::time::{Instant, sleep};

use crate::bench::oncall_now;
use crate::command_line::Arguments;
use crate::screen::Screen;

/// The secret that `events/` names.
const NAME: &str = "shop";
const SUFFIX: &str = "AbCdEf";
/// The version that `events/` rotates to.
const TOKEN: &str = "8f1d2c3b-0000-4000-8000-00000000c0de";

/// Where each `cargo lambda watch` is asked to listen: its usual port and the next, or those that are free.
const INVOKE_PORTS: std::ops::Range<u16> = 9000..9100;

const ROTATE_ENVIRONMENT: &str = "rotate-postgres.env";
const SYNC_ENVIRONMENT: &str = "oncall-sync.env";
const CLIENT_ENVIRONMENT: &str = "aws.env";

const POLL: Duration = Duration::from_millis(100);
const ROTATION_LIMIT: Duration = Duration::from_mins(2);

/// The people that `events/` names: one on call, one not.
struct OnCall {
    world: Oncall,
    shop: Bound,
    people: [Engineer; 2],
}

/// Keeps the stacks up until a signal ends the program.
pub async fn run(arguments: &Arguments) -> Result<()> {
    let screen = Screen::stdout();
    eprintln!("starting PostgreSQL {}, Secrets Manager, PagerDuty, Okta, Datadog and Slack", arguments.postgres);
    // This stack's own function is never invoked; any program will do.
    let stack = Stack::builder(arguments.postgres).bootstrap(std::env::current_exe()?).start().await?;
    let secret = secret(&stack).await?;
    let [rotate_port, sync_port] = free_ports()?;
    let invoke_url = format!("http://127.0.0.1:{rotate_port}/2015-03-31/functions/rotate-postgres/invocations");
    stack.aws.secrets.set_rotation(&secret, &invoke_url)?;
    stack.aws.secrets.stage_pending(&secret, TOKEN)?;
    let on_call = on_call().await?;

    let folder = Folder::make()?;
    let ca_file = stack.postgres.certificates().ca_file().display().to_string();
    folder.write(ROTATE_ENVIRONMENT, &[("AWS_ENDPOINT_URL", &stack.aws.url()), ("DATABASE_CA_FILE", &ca_file)])?;
    let variables = on_call.world.variables();
    let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    folder.write(SYNC_ENVIRONMENT, &variables)?;
    folder.write(CLIENT_ENVIRONMENT, &[("AWS_ENDPOINT_URL", &stack.aws.client_url())])?;
    print_stacks(screen, &stack, &on_call);
    print_rotation(screen, rotate_port, arguments.features.as_deref());
    print_on_call(screen, sync_port);
    watch(screen, &stack.aws, &secret, &on_call).await
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

fn free_ports() -> Result<[u16; 2]> {
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let free: Vec<u16> = INVOKE_PORTS.filter(is_free).take(2).collect();
    free.try_into().map_err(|_| anyhow!("fewer than two ports of {INVOKE_PORTS:?} are free"))
}

/// `.local` in the checkout, as long as the stack is up.
struct Folder(PathBuf);

impl Folder {
    fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(".local")
    }

    fn make() -> Result<Self> {
        let path = Self::path();
        fs::create_dir_all(&path).with_context(|| format!("{} not made", path.display()))?;
        Ok(Self(path))
    }

    /// Writes an environment file, with what every AWS client has to know added.
    fn write(&self, name: &str, settings: &[(&str, &str)]) -> Result<()> {
        let access = [
            ("AWS_REGION", "eu-west-1"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
            ("AWS_ACCESS_KEY_ID", "local"),
            ("AWS_SECRET_ACCESS_KEY", "local"),
        ];
        let text = settings.iter().chain(&access).fold(String::new(), |mut text, (name, value)| {
            let _ = writeln!(text, "{name}={value}"); // a String takes everything
            text
        });
        let path = self.0.join(name);
        fs::write(&path, text).with_context(|| format!("{} not written", path.display()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for name in [ROTATE_ENVIRONMENT, SYNC_ENVIRONMENT, CLIENT_ENVIRONMENT] {
            let _ = fs::remove_file(self.0.join(name)); // gone already is as good
        }
    }
}

fn print_stacks(screen: Screen, stack: &Stack, on_call: &OnCall) {
    screen.title("The stacks are up until Ctrl-C");
    println!("  PostgreSQL {} on 127.0.0.1:{}", stack.postgres.major(), stack.postgres.port());
    println!("  Secrets Manager at {}", stack.aws.client_url());
    let OnCall { world, shop, people: [ann, dan] } = on_call;
    println!(
        "  PagerDuty at {}: {} is on call for {} (8 hours from now), {} is not",
        world.pagerduty.url(),
        ann.email,
        shop.id,
        dan.email
    );
    println!("  Okta at {}: the group {} is empty", world.okta.url(), shop.group);
    screen.title("In every other terminal");
    println!("  export PATH=\"$PWD/.tools/cargo-lambda/bin:$PATH\"");
}

fn print_rotation(screen: Screen, port: u16, features: Option<&str>) {
    let at = format!("--invoke-address 127.0.0.1 --invoke-port {port}");
    let features = features.map(|features| format!(" --features {features}")).unwrap_or_default();
    screen.title("rotate-postgres in a second terminal, built again whenever its code changes");
    println!("  cargo lambda watch {at} --env-file .local/{ROTATE_ENVIRONMENT} -p rotate-postgres{features}");
    screen.title("In a third: the four steps of a rotation");
    for event in ["1-create", "2-set", "3-test", "4-finish"] {
        println!("  cargo lambda invoke rotate-postgres {at} --data-file events/rotate-postgres-{event}-secret.json");
    }
    screen.title("Or all of them at once, as Secrets Manager does it, as often as you like");
    println!("  make rotate");
    screen.title("Or with the AWS CLI, where it is installed");
    println!("  set -a; . .local/{CLIENT_ENVIRONMENT}; set +a");
    println!("  aws secretsmanager get-secret-value --secret-id {NAME}");
}

fn print_on_call(screen: Screen, port: u16) {
    let at = format!("--invoke-address 127.0.0.1 --invoke-port {port}");
    screen.title("oncall-sync in a fourth");
    println!("  cargo lambda watch {at} --env-file .local/{SYNC_ENVIRONMENT} -p oncall-sync");
    screen.title("In a fifth: is all there? a tick as EventBridge sends it, and what people ask for by hand");
    for event in ["doctor", "plan", "tick", "sync", "grant", "revoke"] {
        println!("  cargo lambda invoke oncall-sync {at} --data-file events/oncall-sync-{event}.json");
    }
    screen.title("What happens to the secret, and who is in the group");
}

/// Prints every change of the secret's labels, and of the group's members.
async fn watch(screen: Screen, aws: &Aws, secret: &str, on_call: &OnCall) -> Result<()> {
    let OnCall { world, shop, people: [ann, dan] } = on_call;
    let (mut shown, mut shown_members) = (BTreeMap::new(), None);
    loop {
        let labels = labels(aws, secret)?;
        if labels != shown {
            let line: Vec<String> =
                labels.iter().map(|(label, holder)| format!("{label} {}", screen.name(holder))).collect();
            println!("  {} {}", now(screen), line.join("   "));
            shown = labels;
        }
        let members = world.members(shop, &[ann, dan]);
        if shown_members.as_ref() != Some(&members) {
            let line = if members.is_empty() { "nobody".to_owned() } else { members.join(", ") };
            println!("  {} in the group: {}", now(screen), screen.name(&line));
            shown_members = Some(members);
        }
        sleep(POLL).await;
    }
}

/// The time of day.
fn now(screen: Screen) -> String {
    screen.dim(&keyturn::clock::now().format("%H:%M:%S").to_string())
}

/// Each label with the user and the version that have it.
fn labels(aws: &Aws, secret: &str) -> Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for (version, stages) in aws.secrets.stages(secret)? {
        for label in stages {
            let value = aws.secrets.value(secret, &label)?;
            let user = value.and_then(|text| {
                let credential: serde_json::Value = serde_json::from_str(&text).ok()?;
                credential["username"].as_str().map(str::to_owned)
            });
            let short = version.split('-').next().unwrap_or_default();
            labels.insert(label, format!("{} ({short})", user.as_deref().unwrap_or("no value yet")));
        }
    }
    Ok(labels)
}

/// Asks Secrets Manager of the running stack for a rotation, and waits for its end.
pub async fn rotate() -> Result<()> {
    let path = Folder::path().join(CLIENT_ENVIRONMENT);
    let settings = fs::read_to_string(&path).context("no local stack is up: start one with make local")?;
    let endpoint = settings.lines().find_map(|line| line.strip_prefix("AWS_ENDPOINT_URL="));
    let secrets = secrets_client(endpoint.with_context(|| format!("{} names no endpoint", path.display()))?);
    let before = current(&secrets).await?;
    match secrets.rotate_secret().secret_id(NAME).send().await {
        Ok(_) => println!("rotation asked for; the terminal of make local shows the labels move"),
        Err(error) => match error.into_service_error() {
            // The service takes the unfinished one up again, and says so as a refusal.
            error if error.is_invalid_request_exception() => println!("{}", error.meta().message().unwrap_or_default()),
            error => return Err(error).context("RotateSecret"),
        },
    }
    let asked = Instant::now();
    while asked.elapsed() < ROTATION_LIMIT {
        let now = current(&secrets).await?;
        if now != before {
            println!("AWSCURRENT: {} -> {}", before.1, now.1);
            return Ok(());
        }
        sleep(POLL).await;
    }
    bail!(
        "AWSCURRENT has not moved for {ROTATION_LIMIT:?}: look at the terminal of cargo lambda watch, and whether it runs at all"
    )
}

/// The current version and its user.
async fn current(secrets: &aws_sdk_secretsmanager::Client) -> Result<(String, String)> {
    let value = secrets.get_secret_value().secret_id(NAME).send().await;
    let value = value.context("the local stack does not answer: start it with make local")?;
    let credential: serde_json::Value = serde_json::from_str(value.secret_string().unwrap_or_default())?;
    let user = credential["username"].as_str().unwrap_or_default().to_owned();
    Ok((value.version_id().unwrap_or_default().to_owned(), user))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[tokio::test]
    async fn every_event_in_the_folder_does_what_its_name_says() {
        let OnCall { world, shop, people: [ann, dan] } = on_call().await.unwrap();
        let ask = async |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("events");
            let event = fs::read_to_string(folder.join(format!("oncall-sync-{name}.json"))).unwrap();
            world.event(&serde_json::from_str(&event).unwrap()).await.unwrap()
        };
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
