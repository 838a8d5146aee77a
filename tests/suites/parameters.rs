//! The core's client of Parameter Store, against the emulator.

use keyturn::parameters::{Kind, Parameter, Parameters};
use keyturn::{Deadline, Error};
use keyturn_tests::aws::{Aws, function_config};
use keyturn_tests::faults::{Fault, Faults, Moment, Point};
use std::collections::BTreeSet;
use std::time::Duration;

async fn store() -> (Aws, Faults, Parameters) {
    let faults = Faults::none();
    let aws = Aws::start(faults.clone()).await.unwrap();
    let parameters = Parameters::new(aws_sdk_ssm::Client::new(&function_config(&aws.url())));
    (aws, faults, parameters)
}

fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(10))
}

fn names(found: Vec<Parameter>) -> BTreeSet<String> {
    found.into_iter().map(|parameter| parameter.name).collect()
}

fn set<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[tokio::test]
async fn a_parameter_is_got_by_its_name_and_an_encrypted_one_stays_encrypted() {
    let (aws, _, parameters) = store().await;
    aws.parameters.put("/a", "one");
    aws.parameters.put("/a", "two");
    aws.parameters.put_sealed("/sealed", "secret");
    let got = parameters.get("/a", soon()).await.unwrap().unwrap();
    assert_eq!((got.name.as_str(), got.value.as_str(), got.version, got.kind), ("/a", "two", 2, Kind::Text));
    let sealed = parameters.get("/sealed", soon()).await.unwrap().unwrap();
    assert_eq!(sealed.kind, Kind::Encrypted);
    assert_ne!(sealed.value, "secret");
    assert_eq!(parameters.get("/none", soon()).await.unwrap(), None);
}

#[tokio::test]
async fn of_many_names_those_that_exist_are_read() {
    let (aws, _, parameters) = store().await;
    for name in ["/n00", "/n11", "/n24", "/other"] {
        aws.parameters.put(name, "x");
    }
    let asked: BTreeSet<String> = (0..25).map(|n| format!("/n{n:02}")).collect();
    let answers = parameters.get_many(asked.clone(), soon()).await;
    assert_eq!(answers.keys().cloned().collect::<BTreeSet<_>>(), asked);
    let found = answers.into_values().filter_map(Result::unwrap).collect();
    assert_eq!(names(found), set(["/n00", "/n11", "/n24"]));
    assert!(parameters.get_many(BTreeSet::new(), soon()).await.is_empty());
}

#[tokio::test]
async fn a_folder_is_read_whole_directly_below_or_at_any_depth() {
    let (aws, _, parameters) = store().await;
    let logins: Vec<String> = (0..12).map(|n| format!("/state/shop/{n:02}")).collect();
    for name in &logins {
        aws.parameters.put(name, "x");
    }
    aws.parameters.put("/state/top", "x");
    assert_eq!(names(parameters.below("/state", soon()).await.unwrap()), set(["/state/top"]));
    let all: BTreeSet<String> = logins.into_iter().chain(["/state/top".to_owned()]).collect();
    assert_eq!(names(parameters.anywhere_below("/state", soon()).await.unwrap()), all);
    assert_eq!(parameters.below("/none", soon()).await.unwrap(), []);
}

#[tokio::test]
async fn what_is_deleted_twice_is_gone() {
    let (aws, _, parameters) = store().await;
    aws.parameters.put("/a", "one");
    for _ in 0..2 {
        parameters.delete("/a", soon()).await.unwrap();
        assert_eq!(aws.parameters.value("/a"), None);
    }
}

#[tokio::test]
async fn a_refused_call_names_the_right_that_is_missing() {
    let (_aws, faults, parameters) = store().await;
    for call in ["GetParameter", "GetParametersByPath", "PutParameter", "DeleteParameter"] {
        let fault = Fault::Status(400, "AccessDeniedException");
        faults.inject(Point { call: format!(" {call} /a #1"), moment: Moment::Before, fault });
    }
    let outcomes = [
        ("ssm:GetParameter\"", parameters.get("/a", soon()).await.map(drop)),
        ("ssm:GetParametersByPath\"", parameters.anywhere_below("/a", soon()).await.map(drop)),
        ("ssm:PutParameter\"", parameters.put("/a", "x", soon()).await.map(drop).map_err(Error::from)),
        ("ssm:DeleteParameter\"", parameters.delete("/a", soon()).await),
    ];
    for (right, outcome) in outcomes {
        let error = outcome.unwrap_err();
        assert_eq!(error.code(), "AWS_ACCESS_DENIED", "{right}");
        assert!(error.remedy().contains(right), "{right} in {error}");
    }
}
