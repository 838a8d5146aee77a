//! `make cloud`: the packaged functions stay deployed in a local AWS.

use anyhow::Result;
use keyturn_tests::cloud::{Cloud, PREFIX, REGION, Template};

use super::folder::Folder;
use super::{NAME, reports, watch};
use crate::command_line::Arguments;
use crate::screen::Screen;

const ENVIRONMENT: &str = "aws-cloud.env";

/// Deploys, and keeps it up until a signal ends the program.
pub(crate) async fn run(arguments: &Arguments) -> Result<()> {
    let screen = Screen::stdout();
    eprintln!(
        "starting PostgreSQL {}, MongoDB, the vendors and a local AWS, and deploying with sam deploy",
        arguments.postgres
    );
    let cloud = Box::pin(Cloud::start(arguments.postgres)).await?;
    let shop = cloud.postgres_app(NAME).await?.secret;
    let reports = cloud.atlas_app(reports::NAME).await?.secret;
    let dan = cloud.oncall.engineer("dan")?; // whom events/oncall-sync-grant.json names
    let folder = Folder::make()?;
    let endpoints = [
        ("AWS_ENDPOINT_URL", cloud.api.endpoint()),
        ("AWS_ENDPOINT_URL_SECRETS_MANAGER", &cloud.secrets_manager_url()),
    ];
    folder.write(ENVIRONMENT, &endpoints)?;
    print(screen, &cloud, &dan.email);
    let secrets = [(&cloud.postgres.aws, shop.as_str(), NAME), (&cloud.mongo.aws, reports.as_str(), reports::NAME)];
    watch(screen, &secrets, || cloud.oncall.members(&cloud.shop, &[&cloud.ann, &dan])).await
}

fn print(screen: Screen, cloud: &Cloud, dan: &str) {
    let [rotation, oncall, break_glass] = Template::ALL.map(Template::stack);
    screen.title(&format!("The stacks {rotation}, {oncall} and {break_glass} are deployed until Ctrl-C"));
    println!("  MiniStack, an AWS of your own with IAM enforced, at {}", cloud.api.endpoint());
    println!("  Secrets Manager, whose rotations are the service's, at {}", cloud.secrets_manager_url());
    println!("  PostgreSQL {} on 127.0.0.1:{}", cloud.postgres.postgres.major(), cloud.postgres.postgres.port());
    println!("  MongoDB on 127.0.0.1:{}, behind Atlas at {}", cloud.mongo.mongo.port(), cloud.mongo.atlas.url());
    let (pagerduty, ann) = (cloud.oncall.pagerduty.url(), &cloud.ann.email);
    println!("  PagerDuty at {pagerduty}: {ann} is on call for {} (8 hours from now), {dan} is not", cloud.shop.id);
    println!(
        "  Okta at {}: the group {} is empty until the schedule's first tick",
        cloud.oncall.okta.url(),
        cloud.shop.group
    );
    screen.title("In another terminal, with the AWS CLI");
    println!("  set -a; . .local/{ENVIRONMENT}; set +a");
    screen.title("Rotate, as often as you like; this terminal shows the labels move");
    for name in [NAME, reports::NAME] {
        println!("  aws secretsmanager rotate-secret --secret-id {PREFIX}/{name}");
    }
    screen.title("Ask oncall-sync; its schedule ticks every minute by itself");
    let function = Cloud::deployed("oncall-sync");
    let invoke = format!("aws lambda invoke --function-name {function} --cli-binary-format raw-in-base64-out");
    for event in ["doctor", "plan", "grant"] {
        println!("  {invoke} --payload file://events/oncall-sync-{event}.json /dev/stdout");
    }
    screen.title("What was deployed, what it wrote, what watches it");
    println!("  aws cloudformation list-stack-resources --stack-name {rotation} --output table");
    println!("  aws logs tail /aws/lambda/{function}");
    println!("  aws cloudwatch describe-alarms --query 'MetricAlarms[].[AlarmName,StateValue]' --output table");
    println!("  aws cloudwatch get-dashboard --dashboard-name {rotation}-{REGION} --query DashboardBody --output text");
    screen.title("Without the AWS CLI");
    println!(
        "  echo '{{\"service\": \"secretsmanager\", \"operation\": \"rotate_secret\", \"parameters\": {{\"SecretId\": \"{PREFIX}/{NAME}\"}}}}' | .tools/cloud/run infra/tools/aws.py"
    );
    screen.title("What happens to the secrets, and who is in the group");
}
