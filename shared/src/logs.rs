//! CloudWatch Logs: reading back what functions have logged.

use crate::aws_call::{Call, Failed, within};
use crate::codes::Code;
use crate::{Deadline, Error, Result};
use aws_sdk_cloudwatchlogs::Client;
use aws_sdk_cloudwatchlogs::operation::filter_log_events::FilterLogEventsError;
use chrono::{DateTime, SecondsFormat, Utc};

/// So many lines are read; what needs more is asked for in parts.
pub const MOST_LINES: usize = 20_000;

/// One line of a log group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub at: DateTime<Utc>,
    pub text: String,
}

/// CloudWatch Logs, through the AWS SDK, whose standard retries run within each call's deadline.
#[derive(Clone, Debug)]
pub struct Logs {
    client: Client,
}

impl Logs {
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The lines of a log group from `since` until before `until` that match a filter pattern, in no promised order.
    ///
    /// # Errors
    /// `LOG_GROUP_NOT_FOUND`, `TOO_MANY_LOG_LINES`, `OUT_OF_TIME` and the `AWS_*` codes: all lines or none.
    pub async fn filter(
        &self,
        group: &str,
        pattern: &str,
        since: DateTime<Utc>,
        until: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Vec<Line>> {
        let mut lines = Vec::new();
        let mut page = None;
        loop {
            let is_first = page.is_none();
            let call = self
                .client
                .filter_log_events()
                .log_group_name(group)
                .filter_pattern(pattern)
                .start_time(since.timestamp_millis())
                // The service takes the last instant that is still meant.
                .end_time(until.timestamp_millis() - 1)
                .set_next_token(page)
                .send();
            // Boxed: the SDK's futures are large, and everything that waits for one holds it.
            let answer =
                Box::pin(within(deadline, call)).await.map_err(|failed| explained(&failed, group, is_first))?;
            lines.extend(answer.events.unwrap_or_default().into_iter().filter_map(read));
            if lines.len() > MOST_LINES {
                let [since, until] = [since, until].map(|at| at.to_rfc3339_opts(SecondsFormat::Secs, true));
                return Err(Error::of(
                    Code::TooManyLogLines,
                    format!("More than {MOST_LINES} lines of {group} match between {since} and {until}."),
                ));
            }
            // A page may be empty and have another after it.
            page = answer.next_token.filter(|token| !token.is_empty());
            if page.is_none() {
                return Ok(lines);
            }
        }
    }
}

fn explained(failed: &Failed<FilterLogEventsError>, group: &str, is_first: bool) -> Error {
    let call = Call::logs("FilterLogEvents", group);
    match failed {
        // It answered before: there is only more to search than there is time for.
        Failed::Late | Failed::NoTimeLeft if !is_first => Error::new(
            Code::OutOfTime,
            format!("The invocation's time was nearly up before all of {group} was searched."),
            "Ask for a shorter period, or give the function a longer timeout.",
        ),
        _ if failed.code() == Some("ResourceNotFoundException") => {
            Error::of(Code::LogGroupNotFound, format!("There is no log group {group} in this account and region."))
        }
        _ => failed.explain(&call),
    }
}

fn read(event: aws_sdk_cloudwatchlogs::types::FilteredLogEvent) -> Option<Line> {
    Some(Line { at: DateTime::from_timestamp_millis(event.timestamp?)?, text: event.message? })
}
