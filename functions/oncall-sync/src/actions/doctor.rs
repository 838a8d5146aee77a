//! The doctor: proves that everything the function needs is there, before it is needed.

use crate::OncallSync;
use crate::binding::Binding;
use crate::codes::Code;
use crate::observe::unseen;
use crate::report::{Check, Report};
use crate::source::pagerduty::PagerDuty;
use crate::telemetry::alerts;
use keyturn::alert::{Channel, Datadog};
use keyturn::ids::{GroupId, OktaId};
use keyturn::{Deadline, Result};
use std::collections::BTreeSet;

impl OncallSync {
    /// Checks every part by itself.
    ///
    /// # Errors
    /// Only where Parameter Store itself cannot be read; everything else is a check that failed.
    pub(crate) async fn examine(&self, deadline: Deadline) -> Result<Report> {
        let (bindings, _) = self.observer.configuration(deadline).await?;
        self.observer.groups.forget().await;
        let mut checks: Vec<Check> = bindings
            .bad
            .iter()
            .map(|(name, error)| Check { check: format!("document {name}"), ok: false, detail: error.to_string() })
            .collect();
        let users = self.observer.source.check_users(deadline).await;
        checks.push(check(format!("{}: users.read, region", PagerDuty::NAME), users.map(|()| "readable")));
        checks.push(check("Okta: group rules", self.rules(deadline).await));
        for binding in &bindings.good {
            let source = self.observer.check_source(binding, self.clock.now(), deadline).await;
            checks.push(check(format!("{}: source at {}", binding.id, PagerDuty::NAME), source.map(|()| "readable")));
            checks.extend(self.group(binding, deadline).await);
        }
        checks.extend(self.channels(deadline).await);
        let healthy = checks.iter().all(|check| check.ok);
        Ok(Report::Examined { healthy, checks })
    }

    /// Whether Okta lists the org's group rules. The function works without them.
    async fn rules(&self, deadline: Deadline) -> Result<String> {
        self.observer.okta.check_secret(deadline).await?;
        let by_hand = "see to it by hand that no group rule fills a binding's group";
        match self.observer.okta.rules(deadline.at_most(deadline.remaining() / 4)).await {
            Ok(rules) if rules.odd == 0 => Ok("readable".to_owned()),
            Ok(rules) => Ok(format!("{} of an unknown form: {by_hand}", rules.odd)),
            Err(error) if error.is(Code::OktaForbidden) => Ok(format!("not readable with this role: {by_hand}")),
            Err(error) if Code::is_about_one_call(&error) => Ok(format!("not readable ({error}): {by_hand}")),
            Err(error) => Err(error),
        }
    }

    async fn group(&self, binding: &Binding, deadline: Deadline) -> Vec<Check> {
        let id = &binding.id;
        let refused = self.observer.groups.refused(std::slice::from_ref(binding), &self.observer.okta, deadline).await;
        let fine = self.fine_group(binding, deadline).await;
        let named = refused.into_values().next().map_or(Ok(fine), Err);
        let members = self.observer.okta.members(&binding.group, deadline).await;
        let may_change = match &members {
            Ok(members) => self.prove_change(binding, &members.keys().cloned().collect(), deadline).await,
            Err(error) => Err(error.clone()),
        };
        let eligible = match &binding.eligible_group {
            Some(eligible) => self.eligible(eligible, deadline).await,
            None => Ok("not set: whoever can edit the schedule can become database admin"),
        };
        vec![
            check(format!("{id}: Okta group's id, name, type, owner and rules"), named),
            check(format!("{id}: members of the group"), members.map(|_| "readable")),
            check(format!("{id}: okta.groups.members.manage, okta.users.read"), may_change.map(|()| "proven")),
            check(format!("{id}: eligible_group"), eligible),
        ]
    }

    /// The detail of a group's check that passed: `doctor` adds the words that its description at Okta still lacks.
    async fn fine_group(&self, binding: &Binding, deadline: Deadline) -> String {
        let group = self.observer.okta.group(&binding.group, deadline).await;
        match group.ok().flatten().and_then(|group| self.observer.groups.missing_mark(&group)) {
            Some(mark) => format!(
                "as the document says; add {mark} to its description at Okta, so that a second deployment leaves it alone"
            ),
            None => "as the document says".to_owned(),
        }
    }

    /// Whether the group is there, and shows among the groups of a person who is in it.
    async fn eligible(&self, group: &GroupId, deadline: Deadline) -> Result<&'static str> {
        self.observer.okta.group(group, deadline).await?.ok_or_else(|| unseen(group))?;
        if let Some(member) = self.observer.okta.a_member(group, deadline).await? {
            let groups = self.observer.okta.groups_of(&member, deadline).await?;
            return if groups.contains(group) { Ok("readable") } else { Err(unseen(group)) };
        }
        if let Some(anybody) = self.observer.okta.somebody_not_in(&BTreeSet::new(), deadline).await? {
            self.observer.okta.groups_of(&anybody, deadline).await?;
        }
        Ok("readable, and empty: nobody can be granted")
    }

    /// Removes a user who is no member from the group: that changes nothing, but needs the permission to change.
    async fn prove_change(&self, binding: &Binding, members: &BTreeSet<OktaId>, deadline: Deadline) -> Result<()> {
        match self.observer.okta.somebody_not_in(members, deadline).await? {
            Some(stranger) => self.applier.membership.remove(&binding.group, &stranger, deadline).await.map(|_| ()),
            None => Ok(()),
        }
    }

    async fn channels(&self, deadline: Deadline) -> Vec<Check> {
        let mut checks = Vec::new();
        if let Some(datadog) = &self.applier.channels.datadog {
            let valid =
                datadog.check(deadline, Code::proof, async |datadog: &Datadog| datadog.validate(deadline).await);
            checks.push(check("Datadog: API key", valid.await.map(|()| "valid")));
        }
        // The test alert proves the webhook that is stored now.
        let slack = self.applier.channels.slack.as_ref();
        if let Some(slack) = slack
            && let Ok(account) = slack.account(deadline).await
        {
            slack.doubt(&account).await;
        }
        let alert = alerts::of_doctor(self.clock.now());
        let failed = self.applier.channels.send(&alert, &Channel::all(), deadline).await.len();
        if let Some(slack) = slack
            && let Some(problem) = slack.problem().await
        {
            checks.push(check("Slack: webhook", Err::<&str, _>(problem)));
        }
        let detail = match (failed, self.applier.channels.is_empty()) {
            (0, false) => "a test alert was taken".to_owned(),
            (0, true) => {
                "no channel is set: set DATADOG_SECRET_ID or SLACK_SECRET_ID, or rely on CloudWatch alone".to_owned()
            }
            (failed, _) => format!("{failed} channel(s) did not take a test alert; the log has the reason"),
        };
        checks.push(Check { check: "alerts".to_owned(), ok: failed == 0, detail });
        checks
    }
}

/// The detail is what was found, or the error.
fn check(what: impl Into<String>, found: Result<impl Into<String>>) -> Check {
    let (ok, detail) = match found {
        Ok(detail) => (true, detail.into()),
        Err(error) => (false, format!("{}: {error}", error.code())),
    };
    Check { check: what.into(), ok, detail }
}
