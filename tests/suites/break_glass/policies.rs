//! The policies in `infra/examples/policies` that say who may ask for what: by IAM's rules, as far as the tests know them.

use keyturn_tests::cloud::policy::allows;
use keyturn_tests::source;
use serde_json::{Value, json};

const FUNCTION: &str = "arn:aws:lambda:eu-west-1:123456789012:function:keyturn-break-glass";
const DIRECTLY: [(&str, &str); 1] = [("aws:PrincipalArn", "arn:aws:iam::123456789012:role/ci")];
const BY_THE_URL: [(&str, &str); 2] =
    [("lambda:InvokedViaFunctionUrl", "true"), ("lambda:FunctionUrlAuthType", "AWS_IAM")];

fn policy(name: &str) -> Value {
    let text = source::read(&format!("infra/examples/policies/break-glass-{name}.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// An administrator, and what the organization denies to everybody.
fn administrator() -> [Value; 2] {
    [json!({"Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}), policy("invoke")]
}

#[test]
fn whoever_may_ask_may_invoke_the_alias_of_the_url_by_the_url_and_in_no_other_way() {
    let may = |action: &str, alias: &str, context: &[(&str, &str)]| {
        allows(&[policy("caller")], &format!("lambda:{action}"), &format!("{FUNCTION}{alias}"), context).unwrap()
    };
    assert!(may("InvokeFunctionUrl", ":url", &BY_THE_URL) && may("InvokeFunction", ":url", &BY_THE_URL));
    assert!(!may("InvokeFunction", ":url", &DIRECTLY) && !may("InvokeFunction", ":url", &[]));
    for alias in ["", ":ops", ":$LATEST"] {
        assert!(!may("InvokeFunction", alias, &BY_THE_URL) && !may("InvokeFunctionUrl", alias, &BY_THE_URL), "{alias}");
    }
}

#[test]
fn an_operator_invokes_the_alias_that_names_nobody_and_writes_documents_alone() {
    let may = |action: &str, resource: &str| allows(&[policy("operator")], action, resource, &DIRECTLY).unwrap();
    assert!(may("lambda:InvokeFunction", &format!("{FUNCTION}:ops")));
    for alias in ["", ":url", ":$LATEST"] {
        assert!(!may("lambda:InvokeFunction", &format!("{FUNCTION}{alias}")), "{alias}");
    }
    let parameter = |path: &str| format!("arn:aws:ssm:eu-west-1:123456789012:parameter/prod/platform/{path}");
    assert!(may("ssm:PutParameter", &parameter("break-glass/databases/shop")));
    assert!(!may("ssm:PutParameter", &parameter("break-glass/logins/shop/bg_ann")));
    assert!(!may("ssm:PutParameter", &parameter("oncall-sync/ledgers/shop.00g1")));
}

#[test]
fn even_an_administrator_cannot_ask_in_somebody_elses_name_nor_change_what_says_who_is_asking() {
    let may = |action: &str, resource: &str, context: &[(&str, &str)]| {
        allows(&administrator(), action, resource, context).unwrap()
    };
    let url = format!("{FUNCTION}:url");
    assert!(!may("lambda:InvokeFunction", &url, &DIRECTLY), "directly");
    assert!(!may("lambda:InvokeFunction", &url, &[("lambda:InvokedViaFunctionUrl", "false")]));
    assert!(may("lambda:InvokeFunction", &url, &BY_THE_URL) && may("lambda:InvokeFunctionUrl", &url, &BY_THE_URL));
    assert!(!may("lambda:InvokeFunction", FUNCTION, &DIRECTLY));
    assert!(may("lambda:InvokeFunction", &format!("{FUNCTION}:ops"), &DIRECTLY));
    let platform = [("aws:PrincipalArn", "arn:aws:iam::123456789012:role/platform-deployer")];
    let parameter = |path: &str| format!("arn:aws:ssm:eu-west-1:123456789012:parameter/prod/platform/{path}");
    for (action, resource) in [
        ("lambda:UpdateFunctionCode", FUNCTION.to_owned()),
        ("lambda:UpdateFunctionUrlConfig", url),
        ("lambda:AddPermission", FUNCTION.to_owned()),
        ("ssm:PutParameter", parameter("break-glass/databases/shop")),
        ("ssm:PutParameter", parameter("oncall-sync/ledgers/shop.00g1")),
    ] {
        assert!(!may(action, &resource, &DIRECTLY), "{action}");
        assert!(may(action, &resource, &platform), "{action}");
    }
    // Each function keeps its own: whoever may make a role of such a name writes nothing.
    let [ledger, record] = [parameter("oncall-sync/ledgers/shop.00g1"), parameter("break-glass/logins/shop/bg_ann")];
    for (role, writes_ledgers, writes_records) in [
        ("keyturn-oncall-sync-eu-west-1", true, false),
        ("keyturn-break-glass-eu-west-1", false, true),
        ("keyturn-break-glass-of-mine", false, false),
    ] {
        let principal = format!("arn:aws:iam::123456789012:role/{role}");
        let puts = |resource: &str| may("ssm:PutParameter", resource, &[("aws:PrincipalArn", &principal)]);
        assert_eq!((puts(&ledger), puts(&record)), (writes_ledgers, writes_records), "{role}");
        assert!(!puts(&parameter("break-glass/databases/shop")), "{role}");
    }
}
