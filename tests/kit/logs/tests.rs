use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::error::{ProvideErrorMetadata, SdkError};
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::Deadline;
use keyturn::logs::{Line, Logs, MOST_LINES};
use std::time::Duration;

use crate::aws::{Aws, Refusal, function_config, logs_client};
use crate::faults::{Fault, Faults, Moment, Point};

const GROUP: &str = "/aws/lambda/app";
const PATTERN: &str = "{ ($.code = \"OPENED\") || ($.code = \"CLOSED\") }";

fn noon() -> DateTime<Utc> {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

async fn stack() -> (Aws, Client) {
    let aws = Aws::start(Faults::none()).await.unwrap();
    aws.logs.create(GROUP);
    let client = logs_client(&aws.url());
    (aws, client)
}

/// What a function has that reads the hour before and the hour after noon.
async fn read(aws: &Aws, pattern: &str) -> keyturn::Result<Vec<Line>> {
    let logs = Logs::new(Client::new(&function_config(&aws.url())));
    let hour = TimeDelta::hours(1);
    logs.filter(GROUP, pattern, noon() - hour, noon() + hour, Deadline::after(Duration::from_secs(20))).await
}

fn code<T, E: ProvideErrorMetadata, R>(sent: Result<T, SdkError<E, R>>) -> String {
    sent.err().and_then(|error| error.code().map(str::to_owned)).unwrap_or_default()
}

#[tokio::test]
async fn what_the_service_refuses_is_refused() {
    let (_aws, client) = stack().await;
    let filter = || client.filter_log_events().log_group_name(GROUP);
    for (request, refused) in [
        (client.filter_log_events().log_group_name("/none"), "ResourceNotFoundException"),
        (filter().filter_pattern("{ $.code = "), "InvalidParameterException"),
        (filter().filter_pattern("{ ($.code = OPENED) }"), "InvalidParameterException"),
        (filter().filter_pattern("{ ($.code = \"A\") or ($.code = \"B\") }"), "InvalidParameterException"),
        (filter().start_time(2).end_time(1), "InvalidParameterException"),
        (filter().limit(10_001), "InvalidParameterException"),
        (filter().limit(0), "InvalidParameterException"),
        (filter().next_token("x"), "InvalidParameterException"),
    ] {
        assert_eq!(code(request.send().await), refused);
    }
    assert_eq!(code(filter().filter_pattern(PATTERN).limit(10_000).start_time(1).end_time(1).send().await), "");
}

#[tokio::test]
async fn every_matching_line_of_the_period_is_read_and_no_other_whatever_the_pages() {
    let (aws, _) = stack().await;
    let hour = TimeDelta::hours(1);
    for (at, code) in [
        (noon() - hour - TimeDelta::milliseconds(1), "OPENED"),
        (noon() - hour, "OPENED"),
        (noon(), "SWEPT"),
        (noon(), "SWEPT"),
        (noon(), "SWEPT"),
        (noon() + TimeDelta::seconds(1), "CLOSED"),
        (noon() + hour - TimeDelta::milliseconds(1), "OPENED"),
        (noon() + hour, "CLOSED"),
    ] {
        aws.logs.log(GROUP, at, &format!("{{\"code\":\"{code}\",\"number\":{}}}", at.timestamp_millis()));
    }
    aws.logs.log(GROUP, noon(), "START RequestId: 1");
    let mut expected = vec![noon() - hour, noon() + TimeDelta::seconds(1), noon() + hour - TimeDelta::milliseconds(1)];
    for searched in [1, 2, 3, 1000] {
        aws.logs.search_at_a_time(searched);
        let mut found: Vec<_> = read(&aws, PATTERN).await.unwrap().into_iter().map(|line| line.at).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected, "{searched} at a time");
    }
    assert_eq!(aws.violations(), Vec::<String>::new());
}

#[tokio::test]
async fn a_group_with_too_many_lines_is_not_read_in_part() {
    let (aws, _) = stack().await;
    for number in 0..=MOST_LINES {
        let at = noon() + TimeDelta::milliseconds(i64::try_from(number).unwrap());
        aws.logs.log(GROUP, at, "{\"code\":\"OPENED\"}");
    }
    aws.logs.search_at_a_time(usize::MAX);
    let error = read(&aws, PATTERN).await.unwrap_err();
    assert_eq!(error.code(), "TOO_MANY_LOG_LINES");
    assert!(error.to_string().contains("20000") && error.to_string().contains("shorter period"), "{error}");
}

#[tokio::test]
async fn whoever_asks_is_told_which_group_and_which_action_it_was() {
    let (aws, _) = stack().await;
    let logs = Logs::new(Client::new(&function_config(&aws.url())));
    let soon = Deadline::after(Duration::from_secs(20));
    let missing = logs.filter("/none", PATTERN, noon(), noon() + TimeDelta::hours(1), soon).await.unwrap_err();
    assert_eq!(missing.code(), "LOG_GROUP_NOT_FOUND");
    assert!(missing.message().contains("/none"), "{missing}");
    aws.refuse("FilterLogEvents", Refusal::AccessDenied, 1);
    let denied = read(&aws, PATTERN).await.unwrap_err();
    assert_eq!(denied.code(), "AWS_ACCESS_DENIED");
    assert!(denied.to_string().contains("logs:FilterLogEvents") && denied.to_string().contains(GROUP), "{denied}");
    aws.refuse("FilterLogEvents", Refusal::Throttling, 2);
    read(&aws, PATTERN).await.unwrap();
}

#[tokio::test]
async fn a_search_that_outlasts_the_invocation_asks_for_a_shorter_period() {
    let faults = Faults::none();
    faults.enter_step("report");
    let call = format!("report FilterLogEvents {GROUP} #2");
    faults.inject(Point { call, moment: Moment::Before, fault: Fault::Slow(Duration::from_secs(5)) });
    let aws = Aws::start(faults).await.unwrap();
    for _ in 0..3 {
        aws.logs.log(GROUP, noon(), "{\"code\":\"OPENED\"}");
    }
    aws.logs.search_at_a_time(1);
    let logs = Logs::new(Client::new(&function_config(&aws.url())));
    let soon = Deadline::after(Duration::from_millis(300));
    let error = logs.filter(GROUP, PATTERN, noon(), noon() + TimeDelta::hours(1), soon).await.unwrap_err();
    assert_eq!(error.code(), "OUT_OF_TIME");
    assert!(error.remedy().contains("shorter period"), "{error}");
}
