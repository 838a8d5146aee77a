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
async fn a_name_that_cannot_be_one_is_invalid_and_not_missing() {
    let (_aws, client) = stack().await;
    assert_eq!(code(client.get_parameter().name("/a@b").send().await), "ValidationException");
}

#[tokio::test]
async fn a_deleted_parameter_is_gone_and_begins_anew() {
    let (aws, client) = stack().await;
    aws.parameters.put("/a", "one");
    aws.parameters.put("/a", "two");
    client.delete_parameter().name("/a").send().await.unwrap();
    assert_eq!(code(client.get_parameter().name("/a").send().await), "ParameterNotFound");
    let put = client.put_parameter().name("/a").value("x").r#type(ParameterType::String).send().await;
    assert_eq!(put.unwrap().version(), 1);
}

#[tokio::test]
async fn of_several_names_those_that_do_not_exist_are_listed_as_invalid() {
    let (aws, client) = stack().await;
    aws.parameters.put("/a", "one");
    let names = |names: std::ops::Range<usize>| names.map(|n| format!("/{n}")).collect();
    let get = |names: Vec<String>| client.get_parameters().set_names(Some(names)).send();
    let answer = get(vec!["/none".to_owned(), "/a".to_owned()]).await.unwrap();
    let found: Vec<_> = answer.parameters().iter().map(|found| found.name().unwrap()).collect();
    assert_eq!((found, answer.invalid_parameters()), (vec!["/a"], ["/none".to_owned()].as_slice()));
    get(names(0..10)).await.unwrap();
    assert_eq!(code(get(names(0..11)).await), "ValidationException");
}

#[tokio::test]
async fn a_path_shows_what_is_directly_below_it_or_at_any_depth_page_by_page() {
    let (aws, client) = stack().await;
    for name in ["/state", "/state/shop/ann", "/state/shop/bob", "/state/top", "/states/x"] {
        aws.parameters.put(name, "x");
    }
    let list = async |recursive: bool, token: Option<String>| {
        let call = client.get_parameters_by_path().path("/state").recursive(recursive).max_results(2);
        let answer = call.set_next_token(token).send().await.unwrap();
        let names: Vec<String> = answer.parameters().iter().map(|found| found.name().unwrap().to_owned()).collect();
        (names, answer.next_token)
    };
    assert_eq!(list(false, None).await, (vec!["/state/top".to_owned()], None));
    let (first, token) = list(true, None).await;
    assert_eq!(first, ["/state/shop/ann", "/state/shop/bob"]);
    assert!(token.is_some());
    assert_eq!(list(true, token).await, (vec!["/state/top".to_owned()], None));
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
    let put = |name: &str| client.put_parameter().name(name).value("x").r#type(ParameterType::String).send();
    for name in ["a/b", "/a b", "/aws/x", "ssm-x", "/a//b", "/a/"] {
        assert_eq!(code(put(name).await), "ValidationException", "{name}");
    }
    put(&"/a".repeat(15)).await.unwrap();
    assert_eq!(code(put(&"/a".repeat(16)).await), "HierarchyLevelLimitExceededException");
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
