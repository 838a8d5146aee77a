//! The channels that take alerts, and what each of them took.

use super::{Alert, Conditions, Datadog, Slack};
use crate::codes::{Code, DeclaredCode as _};
use crate::http::Base;
use crate::vendor::{AT_ONCE, Clients, Vendor};
use crate::{Deadline, Error, Result};
use futures_util::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A place where alerts go.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    Datadog,
    Slack,
    /// A channel of a later version of Keyturn.
    #[serde(other)]
    Other,
}

impl Channel {
    /// All of them; one that the deployment has not set takes everything at once.
    #[must_use]
    pub fn all() -> BTreeSet<Self> {
        BTreeSet::from([Self::Datadog, Self::Slack])
    }
}

/// Where alerts go. Without any, the log and the metrics say it alone.
pub struct Channels {
    pub datadog: Option<Vendor<Datadog>>,
    pub slack: Option<Vendor<Slack>>,
}

impl Channels {
    /// The channels whose secrets are named; `datadog_at` is where Datadog is instead, if it is elsewhere.
    #[must_use]
    pub fn new(
        datadog_secret: Option<&str>,
        datadog_at: Option<&Base>,
        slack_secret: Option<&str>,
        clients: &Clients,
    ) -> Self {
        let place = datadog_at.cloned();
        let datadog = datadog_secret.map(|id| {
            Vendor::new(clients, id, move |text, client, clock| Datadog::parse(text, place.as_ref(), client, clock))
        });
        let slack = slack_secret.map(|id| Vendor::new(clients, id, Slack::parse));
        Self { datadog, slack }
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datadog.is_none() && self.slack.is_none()
    }

    /// Sends an alert to these channels at once; gives back those that did not take it. One that is not set takes everything.
    pub async fn send(&self, alert: &Alert, channels: &BTreeSet<Channel>, deadline: Deadline) -> BTreeSet<Channel> {
        let datadog = self.datadog.as_ref().filter(|_| channels.contains(&Channel::Datadog));
        let slack = self.slack.as_ref().filter(|_| channels.contains(&Channel::Slack));
        let (datadog, slack) = tokio::join!(
            post("datadog", datadog, alert, deadline, async |datadog| datadog.post(alert, deadline).await),
            post("slack", slack, alert, deadline, async |slack| slack.post(alert, deadline).await),
        );
        let untaken = [(Channel::Datadog, datadog), (Channel::Slack, slack)];
        untaken.into_iter().filter(|(_, taken)| !taken).map(|(channel, _)| channel).collect()
    }

    /// Sends the alerts of conditions to the channels that have not taken them. Gives back how many were not taken now.
    /// A condition from before that is not among them is over, unless its key `may_hold`.
    pub async fn tell(
        &self,
        alerts: &BTreeMap<String, Alert>,
        conditions: &Conditions,
        may_hold: impl Fn(&str) -> bool,
        deadline: Deadline,
    ) -> usize {
        let untold = conditions.untold(alerts.keys(), may_hold);
        let send = async |(key, channels): (String, BTreeSet<Channel>)| {
            let Some(alert) = alerts.get(&key) else { return 0 };
            let untaken = self.send(alert, &channels, deadline).await;
            let count = untaken.len();
            conditions.told(&key, untaken);
            count
        };
        stream::iter(untold).map(send).buffer_unordered(AT_ONCE).collect::<Vec<usize>>().await.into_iter().sum()
    }
}

/// Posts to one channel, if there is one to post to. Whether nothing is left to be told to it.
async fn post<T>(
    name: &'static str,
    channel: Option<&Vendor<T>>,
    alert: &Alert,
    deadline: Deadline,
    post: impl AsyncFn(&T) -> Result<()>,
) -> bool {
    let Some(vendor) = channel else { return true };
    // Not by `Vendor::call`: an alert that may have arrived is not sent again with another credential.
    let sent = match vendor.account(deadline).await {
        Ok(account) => {
            let sent = post(&account).await;
            if sent.is_err() {
                // Whatever was wrong, the secret may have been replaced.
                vendor.doubt(&account).await;
            }
            sent
        }
        Err(error) => Err(error),
    };
    match sent {
        Ok(()) => {
            alerted(&alert.title, name);
            true
        }
        Err(error) => {
            alert_failed(&alert.title, &error);
            false
        }
    }
}

fn alert_failed(title: &str, error: &Error) {
    tracing::error!(code = error.code(), alert = title, remedy = error.remedy(), "{}", error.message());
}

fn alerted(title: &str, channel: &'static str) {
    tracing::info!(code = Code::AlertSent.name(), alert = title, channel, "An alert was sent to {channel}: {title}");
}
