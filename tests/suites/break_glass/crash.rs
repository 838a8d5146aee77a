//! The crash matrix: the function is killed before and after every external call of an opening, a closing and a sweep. Whatever is
//! left ends at its time, sessions included.

use crate::matrix::points;
use crate::prove::tell;
use keyturn_tests::faults::Fault;
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::break_glass::{Answer, Stack};
use serde_json::{Value, json};
use std::collections::BTreeSet;

async fn stack(major: u32) -> (Stack, Lambda) {
    let stack = Stack::builder(major).through_proxy().start().await.unwrap();
    stack.database("shop", &json!({})).await.unwrap();
    stack.grant("ann", 600);
    let lambda = stack.lambda(None).await.unwrap();
    (stack, lambda)
}

fn opening(stack: &Stack) -> Value {
    stack.url_event("ann", "POST", "/shop", Some(&json!({"minutes": 30, "reason": "INC-42"})))
}

/// Each role has a record, so that a sweep knows when it ends.
async fn nothing_is_forgotten(stack: &Stack, what: &str) {
    let records = stack.records();
    let known: BTreeSet<&str> = records.iter().filter_map(|record| record["login"].as_str()).collect();
    for role in stack.roles().await.unwrap() {
        assert!(known.contains(role.as_str()), "{what}: {role} has no record");
    }
}

async fn all_is_over(stack: &mut Stack, what: &str) {
    stack.faults.reset();
    stack.minutes_later(31);
    stack.recycle().unwrap();
    let swept = stack.sweep().await.unwrap();
    assert_eq!(swept["overstaying"], json!([]), "{what}: {swept}");
    // What a channel has not taken is told once more, and then forgotten.
    stack.sweep().await.unwrap();
    assert_eq!((stack.roles().await.unwrap(), stack.records()), (vec![], vec![]), "{what}: {swept}");
    stack.minutes_later(-31);
}

async fn killed_at_every_call_of(
    event: impl Fn(&Stack) -> (&'static str, Value),
    opens_first: bool,
    turn: usize,
    name: &str,
) {
    let (mut stack, lambda) = stack(18).await;
    let (alias, _) = event(&stack);
    let prepare = async |stack: &Stack| {
        if opens_first {
            let opened = lambda.invoke_by(Some("url"), &opening(stack)).await.result.unwrap();
            assert_eq!(opened["statusCode"], 200, "{opened}");
            if alias == "ops" {
                stack.hold("ann");
            }
        }
        stack.faults.reset();
    };
    prepare(&stack).await;
    lambda.invoke_by(Some(alias), &event(&stack).1).await.result.unwrap();
    let calls: BTreeSet<String> = stack.faults.recorded().into_iter().collect();
    all_is_over(&mut stack, "a clean run").await;
    let points = points(calls, &Fault::Kill, turn);
    for point in &points {
        stack.grant("ann", 600);
        prepare(&stack).await;
        stack.faults.inject(point.clone());
        let _ = lambda.invoke_by(Some(alias), &event(&stack).1).await;
        assert_eq!(stack.faults.struck().len(), 1, "{point} never came");
        nothing_is_forgotten(&stack, &point.to_string()).await;
        all_is_over(&mut stack, &point.to_string()).await;
    }
    tell(&format!("{name}: killed at {} points, nothing outlives its end", points.len()));
}

#[tokio::test]
async fn an_opening_that_is_killed_anywhere_leaves_nothing_that_outlives_its_end() {
    killed_at_every_call_of(|stack| ("url", opening(stack)), false, 0, "opening").await;
}

#[tokio::test]
async fn a_closing_that_is_killed_anywhere_is_finished_by_the_sweep() {
    killed_at_every_call_of(|stack| ("url", stack.url_event("ann", "DELETE", "/shop", None)), true, 1, "closing").await;
}

#[tokio::test]
async fn a_sweep_that_is_killed_anywhere_is_finished_by_the_next() {
    killed_at_every_call_of(|_| ("ops", json!({})), true, 2, "sweep").await;
}

#[tokio::test]
async fn an_opening_whose_answers_are_lost_anywhere_gives_a_login_that_works_or_none_that_lasts() {
    let (mut stack, lambda) = stack(17).await;
    lambda.invoke_by(Some("url"), &opening(&stack)).await.result.unwrap();
    let calls: BTreeSet<String> = stack.faults.recorded().into_iter().collect();
    all_is_over(&mut stack, "a clean run").await;
    let points = points(calls, &Fault::Cut, 1);
    let mut given = 0;
    for point in &points {
        stack.grant("ann", 600);
        stack.faults.reset();
        stack.faults.inject(point.clone());
        lambda.recycle();
        let answer = lambda.invoke_by(Some("url"), &opening(&stack)).await.result.unwrap();
        assert_eq!(stack.faults.struck().len(), 1, "{point} never came");
        let answer = Answer::read(&answer).unwrap();
        if answer.status == 200 {
            stack.log_in(&answer).await.unwrap();
            given += 1;
        } else {
            assert!(answer.status == 503 && !answer.text("remedy").is_empty(), "{point}: {answer:?}");
        }
        nothing_is_forgotten(&stack, &point.to_string()).await;
        all_is_over(&mut stack, &point.to_string()).await;
    }
    assert!(given > 0 && given < points.len(), "{given} of {}", points.len());
    tell(&format!("opening: cut at {} points, {given} logins given all the same", points.len()));
}
