//! What a newcomer does: the commands of `infra/quickstart.md` as they stand there, and AWS's own tutorial.

use crate::world::{eventually, on_the_cloud, text};
use keyturn_tests::cloud::{Cloud, REGION};
use keyturn_tests::source;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

const VERSION: &str = "1.0.0";

#[test]
fn every_command_of_the_quickstart_works_as_it_stands_there_and_says_what_the_page_says() {
    on_the_cloud(async |cloud| {
        let app = cloud.postgres.app("newcomer").await.unwrap();
        let app = cloud.postgres.value(&app.secret, "AWSCURRENT").unwrap();
        let [user, database, password] = ["username", "dbname", "password"].map(|key| text(&app[key]));
        let admin = cloud.managed_instance("newcomer-db").await.unwrap();
        let page = source::read("infra/quickstart.md").unwrap();
        let mut script = String::from("set -euo pipefail\n");
        for block in page.split("```sh\n").skip(1) {
            script += block.split_once("```").unwrap().0;
        }
        // The values of step 1, and what is different where AWS is on this machine and another stack has the names.
        let settings = json!({
            "DATABASE_CA_FILE": cloud.postgres.postgres.certificates().ca_file(),
            "SECRETS_MANAGER_ENDPOINT": cloud.secrets_manager_url(),
        });
        for (stands_there, here) in [
            ("\nDB=orders-db\n", "\nDB=newcomer-db\n".to_owned()),
            ("\nDATABASE=orders\n", format!("\nDATABASE={database}\n")),
            ("\nAPP_USER=orders\n", format!("\nAPP_USER={user}\n")),
            ("AWS_REGION=eu-west-1\n", format!("AWS_REGION={REGION}\n")),
            ("--name /prod/platform/orders ", "--name of-a-newcomer ".to_owned()),
            ("AlarmEmail=", format!("Name=newcomer PostgresSettings='{settings}' AlarmEmail=")),
        ] {
            assert_eq!(script.matches(stands_there).count(), 1, "{stands_there}");
            script = script.replace(stands_there, &here);
        }
        script = script.replace("--stack-name keyturn-rotation", "--stack-name newcomer");

        cloud.bucket("my-artifacts").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        released(folder.path());
        let said = run(cloud, folder.path(), &script, password).await;
        let zip = format!("keyturn-rotate-postgres-{VERSION}-arm64.zip: OK");
        let function = "function:newcomer-rotate-postgres";
        for says in [
            "keyturn-rotation.json: OK",
            &zip,
            &admin,
            "Successfully created/updated stack",
            function,
            "\"VersionId\"",
            "\"ready\": true", // MiniStack puts a space there, Lambda none
            "\"username\": \"newcomer_clone\"",
        ] {
            assert!(said.contains(says), "{says} is not in {said}");
        }
        assert!(!said.contains(password));
    });
}

/// AWS's page "Set up alternating users rotation for AWS Secrets Manager", with the ARN of our function where it has AWS's
/// make one, by boto3's names. RDS manages the admin's secret, and nothing has a tag.
#[test]
fn awss_tutorial_for_alternating_users_works_with_our_function_in_place_of_theirs() {
    on_the_cloud(async |cloud| {
        let admin = &cloud.managed_arn;
        let app = cloud.postgres.app("appuser").await.unwrap();
        let mut value = cloud.postgres.value(&app.secret, "AWSCURRENT").unwrap();
        value["masterarn"] = json!(admin);
        let database = text(&value["dbname"]).to_owned();
        let ask = async |operation: &str, parameters: Value| {
            cloud.secrets_manager(operation, parameters).await.unwrap_or_else(|error| panic!("{operation}: {error}"))
        };
        let made = ask("create_secret", json!({"Name": "tutorial", "SecretString": value.to_string()})).await;
        let function = format!("arn:aws:lambda:{REGION}:123456789012:function:{}", Cloud::deployed("rotate-postgres"));
        let rules = json!({"AutomaticallyAfterDays": 10});
        let rotation = json!({"SecretId": made["ARN"], "RotationLambdaARN": function, "RotationRules": rules});
        ask("rotate_secret", rotation).await;
        eventually("the clone is current", Duration::from_mins(1), async || {
            let current = ask("get_secret_value", json!({"SecretId": made["ARN"]})).await;
            let current: Value = serde_json::from_str(text(&current["SecretString"])).unwrap();
            current["username"] == "appuser_clone"
        })
        .await;
        let current = ask("get_secret_value", json!({"SecretId": made["ARN"]})).await;
        let current: Value = serde_json::from_str(text(&current["SecretString"])).unwrap();
        let postgres = &cloud.postgres.postgres;
        postgres.client("appuser_clone", text(&current["password"]), &database).await.unwrap();
        assert_eq!((&current["masterarn"], &current["host"]), (&json!(admin), &json!("localhost")));
    });
}

/// The files of a release, as somebody has downloaded them.
fn released(folder: &Path) {
    let checkout = source::checkout();
    let zip = format!("keyturn-rotate-postgres-{VERSION}-arm64.zip");
    fs::copy(checkout.join("target/lambda/rotate-postgres/bootstrap.zip"), folder.join(&zip)).unwrap();
    fs::copy(checkout.join("target/infra/keyturn-rotation.json"), folder.join("keyturn-rotation.json")).unwrap();
    let mut sums = std::process::Command::new("sha256sum");
    let sums = sums.args([&zip, "keyturn-rotation.json"]).current_dir(folder).output().unwrap();
    assert!(sums.status.success());
    // Not everything of a release was downloaded.
    let others =
        "0000000000000000000000000000000000000000000000000000000000000000  keyturn-oncall-sync-1.0.0-arm64.zip\n";
    fs::write(folder.join("SHA256SUMS"), [sums.stdout.as_slice(), others.as_bytes()].concat()).unwrap();
}

/// Runs a script in this folder with version 1 of the AWS CLI, which lacks one option of version 2, and types the password.
async fn run(cloud: &Cloud, folder: &Path, script: &str, password: &str) -> String {
    let aws = folder.join("aws");
    let python = source::checkout().join(".tools/cloud/run");
    let program = format!(
        "#!/bin/bash\nargs=()\nwhile [ $# -gt 0 ]; do case $1 in --cli-binary-format) shift 2;; *) args+=(\"$1\"); shift;; esac; done\nexec {} -m awscli \"${{args[@]}}\"\n",
        python.display()
    );
    fs::write(&aws, program).unwrap();
    fs::set_permissions(&aws, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(folder.join("quickstart.sh"), script).unwrap();
    let path = format!("{}:{}", folder.display(), std::env::var_os("PATH").unwrap().display());
    let mut command = Command::new("bash");
    command.arg("quickstart.sh").current_dir(folder).env("PATH", path).envs(cloud.api.environment());
    command.env("AWS_ENDPOINT_URL_SECRETS_MANAGER", cloud.secrets_manager_url());
    command.env("AWS_ENDPOINT_URL_RDS", cloud.rds.url()).env("HOME", folder).env("AWS_PAGER", "");
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut running = command.spawn().unwrap();
    running.stdin.take().unwrap().write_all(format!("{password}\n").as_bytes()).await.unwrap();
    let limit = Duration::from_mins(3);
    let output = tokio::time::timeout(limit, running.wait_with_output()).await.unwrap().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{}:\n{said}", output.status);
    said
}
