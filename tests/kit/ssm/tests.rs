use aws_sdk_ssm::Client;
use aws_sdk_ssm::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_ssm::types::{ParameterTier, ParameterType};

use crate::aws::{Aws, parameters_client};
use crate::faults::Faults;

async fn stack() -> (Aws, Client) {
    let aws = Aws::start(Faults::none()).await.unwrap();
    let client = parameters_client(&aws.url());
    (aws, client)
}

fn code<T, E: ProvideErrorMetadata, R>(sent: Result<T, SdkError<E, R>>) -> String {
    sent.err().and_then(|error| error.code().map(str::to_owned)).unwrap_or_default()
}

#[tokio::test]
async fn a_missing_parameter_is_not_found() {
    let (_aws, client) = stack().await;
    assert_eq!(code(client.get_parameter().name("/none").send().await), "ParameterNotFound");
    assert_eq!(code(client.delete_parameter().name("/none").send().await), "ParameterNotFound");
}

#[tokio::test]
async fn only_overwrite_replaces_a_value() {
    let (aws, client) = stack().await;
    aws.parameters.put("/a", "one");
    let put = || client.put_parameter().name("/a").value("two");
    assert_eq!(code(put().send().await), "ParameterAlreadyExists");
    assert_eq!(put().overwrite(true).send().await.unwrap().version(), 2);
    assert_eq!(aws.parameters.value("/a").as_deref(), Some("two"));
    let changed = put().overwrite(true).r#type(ParameterType::SecureString).send().await;
    assert_eq!(code(changed), "HierarchyTypeMismatchException");
}

#[tokio::test]
async fn a_new_parameter_needs_a_type_and_a_good_name() {
    let (_aws, client) = stack().await;
    assert_eq!(code(client.put_parameter().name("/a").value("x").send().await), "ValidationException");
    for name in ["a/b", "/a b", "/aws/x", "ssm-x"] {
        let put = client.put_parameter().name(name).value("x").r#type(ParameterType::String);
        assert_eq!(code(put.send().await), "ValidationException", "{name}");
    }
}

#[tokio::test]
async fn a_standard_parameter_holds_four_kilobytes() {
    let (_aws, client) = stack().await;
    let put = |size| client.put_parameter().name("/a").value("x".repeat(size)).r#type(ParameterType::String);
    assert_eq!(code(put(4097).send().await), "ValidationException");
    put(4096).send().await.unwrap();
    put(8192).tier(ParameterTier::Advanced).overwrite(true).send().await.unwrap();
}

#[tokio::test]
async fn a_secure_string_is_clear_only_when_decryption_is_asked_for() {
    let (_aws, client) = stack().await;
    client.put_parameter().name("/k").value("clear").r#type(ParameterType::SecureString).send().await.unwrap();
    let get = async |decrypted: bool| {
        let sent = client.get_parameter().name("/k").with_decryption(decrypted).send().await;
        sent.unwrap().parameter.unwrap().value.unwrap()
    };
    assert_eq!(get(true).await, "clear");
    assert_ne!(get(false).await, "clear");
}

#[tokio::test]
async fn one_parameter_whose_key_may_not_be_used_fails_every_list_that_is_to_be_decrypted() {
    let (aws, client) = stack().await;
    aws.parameters.put("/folder/a", "clear");
    aws.parameters.put_sealed("/folder/b", "secret");
    let list = |decrypted| client.get_parameters_by_path().path("/folder").with_decryption(decrypted).send();
    assert_eq!(code(list(true).await), "AccessDeniedException");
    assert_eq!(
        code(client.get_parameter().name("/folder/b").with_decryption(true).send().await),
        "AccessDeniedException"
    );
    let listed = list(false).await.unwrap().parameters.unwrap();
    let listed: Vec<_> = listed.iter().map(|p| (p.r#type().unwrap().as_str(), p.value().unwrap())).collect();
    assert_eq!(listed, [("String", "clear"), ("SecureString", "AQICAHh-encrypted")]);
}

#[tokio::test]
async fn paging_out_of_bounds_is_refused() {
    let (_aws, client) = stack().await;
    let get = || client.get_parameters_by_path().path("/folder");
    assert_eq!(code(get().max_results(11).send().await), "ValidationException");
    assert_eq!(code(get().next_token("stale").send().await), "InvalidNextToken");
    assert_eq!(code(client.get_parameters_by_path().path("folder").send().await), "ValidationException");
}

#[tokio::test]
async fn parameter_calls_have_names_in_the_fault_plan() {
    let faults = Faults::none();
    let aws = Aws::start(faults.clone()).await.unwrap();
    let client = parameters_client(&aws.url());
    let _ = client.get_parameter().name("/a").send().await;
    let _ = client.get_parameters().names("/a").names("/b").send().await;
    let _ = client.get_parameters_by_path().path("/c").send().await;
    let named = [" GetParameter /a #1", " GetParameters /a+/b #1", " GetParametersByPath /c #1"];
    assert_eq!(faults.recorded(), named);
}
