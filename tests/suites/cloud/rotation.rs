//! The packaged functions rotate: deployed, and on the bare Runtime API.

use crate::world::{list, on_the_cloud};
use keyturn_tests::cloud::Cloud;
use keyturn_tests::rotator::Rotator;
use keyturn_tests::source::checkout;
use keyturn_tests::source::functions as every_function;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_deployed_rotate_postgres_turns_a_password_and_the_new_one_logs_in() {
    on_the_cloud(async |cloud| {
        let app = cloud.postgres_app("orders").await.unwrap();
        let current = rotated(&cloud.postgres, &app.secret).await;
        assert_eq!(current["username"], "orders_clone");
        logs_in_to_postgres(cloud, &current).await;
        assert_eq!(cloud.postgres.aws.violations(), Vec::<String>::new());
    });
}

#[test]
fn the_deployed_rotate_mongo_turns_passwords_at_atlas_and_on_a_server_of_ones_own() {
    on_the_cloud(async |cloud| {
        for app in [cloud.atlas_app("billing").await.unwrap(), cloud.mongo_app("stock").await.unwrap()] {
            let current = rotated(&cloud.mongo, &app.secret).await;
            assert_ne!(current["password"], json!(app.password));
            assert!(cloud.mongo.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "{}", app.user);
        }
        assert_eq!(cloud.mongo.violations(), Vec::<String>::new());
    });
}

#[test]
fn the_packaged_rotate_postgres_runs_on_a_bare_system_without_its_openssl() {
    on_the_cloud(async |cloud| {
        let app = cloud.postgres.app("bare").await.unwrap();
        logs_in_to_postgres(cloud, &rotated(&cloud.postgres, &app.secret).await).await;
        brings_its_own_tls(&cloud.bootstrap("rotate-postgres"));
    });
}

#[test]
fn the_packaged_rotate_mongo_runs_on_a_bare_system_without_its_openssl() {
    on_the_cloud(async |cloud| {
        let app = cloud.mongo.atlas_app("bare").await.unwrap();
        rotated(&cloud.mongo, &app.secret).await;
        assert!(cloud.mongo.logs_in(&app.secret, "AWSCURRENT").await.unwrap());
        brings_its_own_tls(&cloud.bootstrap("rotate-mongo"));
    });
}

#[test]
fn the_packaged_oncall_sync_runs_on_a_bare_system_without_its_openssl() {
    on_the_cloud(async |cloud| {
        let lambda = cloud.oncall.lambda(Some(cloud.bootstrap("oncall-sync"))).await.unwrap();
        let plan = lambda.invoke(json!({"action": "plan"})).await.result.unwrap();
        assert!(plan.to_string().contains("shop"), "{plan}");
        brings_its_own_tls(&cloud.bootstrap("oncall-sync"));
    });
}

#[test]
fn the_deployed_functions_are_the_packaged_ones() {
    on_the_cloud(async |cloud| {
        let functions = cloud.api.call("lambda", "list_functions", json!({})).await.unwrap();
        for function in every_function().unwrap() {
            let name = Cloud::deployed(&function);
            let deployed = list(&functions["Functions"]).iter().find(|found| found["FunctionName"] == name);
            let deployed = deployed.unwrap_or_else(|| panic!("{name} is not there"));
            let zip = format!("target/lambda/{function}/bootstrap.zip");
            let size = fs::metadata(checkout().join(zip)).unwrap().len();
            assert_eq!(deployed["CodeSize"], size, "{name}");
            assert_eq!(deployed["Runtime"], "provided.al2023");
            assert_eq!(deployed["Handler"], "bootstrap");
            assert_eq!(deployed["MemorySize"], 128);
        }
    });
}

/// Rotates as the service does, at the first attempt, and gives back what is current then.
async fn rotated(rotator: &Rotator, secret: &str) -> Value {
    let before = rotator.value(secret, "AWSCURRENT").unwrap();
    let outcome = rotator.rotate(secret).await.unwrap();
    assert!(outcome.succeeded() && outcome.attempts.len() == 1, "{outcome}");
    let current = rotator.value(secret, "AWSCURRENT").unwrap();
    assert_ne!(before["password"], current["password"]);
    current
}

async fn logs_in_to_postgres(cloud: &Cloud, current: &Value) {
    let part = |key: &str| current[key].as_str().unwrap();
    cloud.postgres.postgres.client(part("username"), part("password"), part("dbname")).await.unwrap();
}

/// A running process of this bootstrap has loaded no TLS library of the system. Linux tells.
fn brings_its_own_tls(bootstrap: &Path) {
    let processes = running(bootstrap);
    assert!(!processes.is_empty() || cfg!(not(target_os = "linux")), "{} does not run", bootstrap.display());
    for process in processes {
        let maps = fs::read_to_string(process.join("maps")).unwrap();
        assert!(maps.contains("bootstrap"), "{maps}");
        for library in ["libssl", "libcrypto", "libgnutls"] {
            assert!(!maps.contains(library), "{}: {library}", bootstrap.display());
        }
    }
}

/// The folders in `/proc` of the processes that run this program.
fn running(program: &Path) -> Vec<PathBuf> {
    let program = program.canonicalize().unwrap();
    let all = fs::read_dir("/proc").into_iter().flatten().map(|entry| entry.unwrap().path());
    all.filter(|process| fs::read_link(process.join("exe")).is_ok_and(|exe| exe == program)).collect()
}
