//! Networks: no name, no host, no answer. A Lambda function that is not in the database's VPC meets these first.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::postgres::fakes::Blackhole;
use keyturn_tests::tcp::closed_port;
use std::time::{Duration, Instant};

/// What an operator is promised.
const PATIENCE: Duration = Duration::from_secs(15);

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_named_with_port_and_phase_in_under_15_seconds() {
    let scene = Scene::start(16).await;
    // Silent servers are waited for to the limit, so all at once.
    let (deaf, mute) = (Blackhole::no_accept().await.unwrap(), Blackhole::silent().unwrap());
    let closed = closed_port().unwrap();
    let security_group = "its security group may reach the database's port";
    let stories = [
        (
            "deaf",
            "localhost",
            deaf.port(),
            "DATABASE_UNREACHABLE",
            "did not answer within 10.0 s (TCP connect)",
            security_group,
        ),
        (
            "mute",
            "localhost",
            mute.port(),
            "DATABASE_UNREACHABLE",
            "did not answer within 10.0 s (request for TLS)",
            security_group,
        ),
        ("closed", "localhost", closed, "DATABASE_UNREACHABLE", "cannot be reached (TCP connect)", security_group),
        (
            "unknown",
            "no-such-host.invalid",
            5432,
            "DATABASE_HOST_UNKNOWN",
            "has no address (DNS lookup)",
            "Correct \"host\" in the secret, or the VPC's DNS",
        ),
    ];
    let told = async |(name, host, port, code, what, remedy): (&str, &str, u16, &'static str, &str, &str)| {
        let (secret, place) = scene.secret_at(name, host, port);
        let refusal = Refusal(code, &[&place, what, remedy]);
        for step in ["createSecret", "setSecret"] {
            let token = match step {
                "createSecret" => scene.stage(&secret).unwrap(),
                _ => scene.pending(&secret, "app_clone").await,
            };
            let started = Instant::now();
            refusal.is(scene.step(&secret, &token, step).await, &format!("{step} {name}"));
            let took = started.elapsed();
            println!("{step} {place}: {:.1} s", took.as_secs_f64());
            assert!(took < PATIENCE, "{name}: {took:?}");
            assert_eq!(scene.aws.secrets.value(&secret, "AWSPENDING").unwrap().is_some(), step == "setSecret");
        }
    };
    let [one, two, three, four] = stories;
    tokio::join!(told(one), told(two), told(three), told(four));
    scene.ends();
}
