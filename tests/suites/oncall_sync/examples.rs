//! What oncall-sync is set up with: the models in `infra/examples/secrets` are taken by the function.

use keyturn::alert::{Datadog, Slack};
use keyturn::clock::Clock;
use keyturn::http;
use keyturn_tests::source::checkout;
use oncall_sync::binding::Bindings;
use oncall_sync::{okta, pagerduty};
use secrecy::SecretString;
use std::collections::BTreeMap;
use std::fs;

fn model(name: &str) -> String {
    fs::read_to_string(checkout().join("infra/examples/secrets").join(name)).unwrap()
}

#[test]
fn every_model_of_a_credential_is_taken() {
    let (client, clock) = (http::client().unwrap(), Clock::system());
    let secret = |name: &str| SecretString::from(model(&format!("oncall-sync/{name}.json")));
    for name in ["pagerduty-token", "pagerduty-app"] {
        let places = pagerduty::Places { api: None, identity: None };
        pagerduty::Account::parse(&secret(name), &places, &client, &clock).map(drop).unwrap();
    }
    for name in ["okta-token", "okta-app"] {
        okta::Account::parse(&secret(name), None, &client, &clock).map(drop).unwrap();
    }
    Datadog::parse(&secret("datadog"), None, &client, &clock).map(drop).unwrap();
    Slack::parse(&secret("slack"), &client, &clock).map(drop).unwrap();
}

#[test]
fn the_models_of_bindings_go_side_by_side() {
    let [schedule, policy, rotations] =
        ["schedule", "escalation-policy", "rotations"].map(|name| model(&format!("bindings/{name}.json")));
    let documents = [
        ("/prod/platform/oncall-sync/bindings/shop", schedule.as_str()),
        ("/prod/platform/oncall-sync/bindings/payments", &policy),
        ("/prod/platform/oncall-sync/bindings/search", &rotations),
    ];
    let bindings = Bindings::read(documents, &BTreeMap::new(), BTreeMap::new());
    assert_eq!((bindings.good.len(), bindings.bad.len()), (3, 0), "{:?}", bindings.bad);
}
