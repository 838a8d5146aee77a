//! A panic in a rotation step, provoked by a target that panics where it is asked.

use keyturn::credential::Credential;
use keyturn::metrics;
use keyturn::password::{PasswordPolicy, Preset};
use keyturn::rotation::{Job, Rotation, Target};
use keyturn::secrets::Secrets;
use keyturn::{Deadline, Result};
use keyturn_tests::aws::{Aws, secrets_client};
use keyturn_tests::faults::Faults;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

struct Broken;

impl Target for Broken {
    type Survey = ();

    async fn survey(&self, current: &Credential, _: &Job) -> Result<()> {
        panic!("the password of {} is hunter2", current.username());
    }

    fn plan(&self, (): &(), _: &Job) -> Result<String> {
        Ok(String::new())
    }

    fn mismatch(&self, _: &Credential, _: &Credential, _: &Job) -> Result<Option<String>> {
        Ok(None)
    }

    async fn apply(
        &self,
        _: &Credential,
        _: &Credential,
        _: &Job,
        _: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    async fn prove(&self, _: &Credential, _: &Job) -> Result<()> {
        Ok(())
    }

    async fn still_accepted(&self, _: &Credential, _: &Credential, _: &Job) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_step_that_panics_is_answered_as_a_defect_and_counted_as_failed() {
    let aws = Aws::start(Faults::none()).await.unwrap();
    let value = json!({"username": "app", "password": "hunter2", "host": "db"});
    let secret = aws.secrets.create("app", &value.to_string()).unwrap();
    let token = "0d1f3c5a-0000-4000-8000-000000000001";
    aws.secrets.stage_pending(&secret, token).unwrap();

    let lines = Arc::new(Mutex::new(Vec::<Value>::new()));
    let kept = Arc::clone(&lines);
    metrics::hand_to(move |line| kept.lock().unwrap().push(line.clone()));
    let secrets = Secrets::new(secrets_client(&aws.client_url()));
    let rotation = Rotation::new("broken-rotation", secrets, PasswordPolicy::from(Preset::SAFE), Broken);
    let event = json!({"Step": "createSecret", "SecretId": secret, "ClientRequestToken": token});

    let error = rotation.handle(&event, Deadline::after(Duration::from_secs(20))).await.unwrap_err();
    assert_eq!(error.code(), "INTERNAL_DEFECT", "{error}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    let lines = lines.lock().unwrap();
    let counted: Vec<&Value> = lines.iter().filter(|line| line["Function"] == "broken-rotation").collect();
    assert!(matches!(counted[..], [line] if line["StepFailed"] == 1), "{counted:?}");
    assert_eq!(aws.secrets.value(&secret, "AWSPENDING").unwrap(), None, "nothing was put");
}
