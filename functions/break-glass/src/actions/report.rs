//! The report: who held what, when, and who holds what now. Nothing is changed.

use super::AT_ONCE;
use crate::BreakGlass;
use crate::codes::Code;
use crate::document::{Document, Opener, Who};
use crate::login::Record;
use crate::report::Findings;
use crate::report::holding::{self, GroupLedger, Period};
use crate::report::line::{self, Line, Said};
use crate::report::power::{Holders, Known};
use crate::store::Found;
use crate::telemetry::audit;
use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::try_join_all;
use futures_util::stream::{self, StreamExt as _};
use keyturn::clock::instant;
use keyturn::codes::Code as Core;
use keyturn::ids::{BindingId, GroupId};
use keyturn::ledger::Ledger;
use keyturn::secrets::Stored;
use keyturn::{Deadline, Error, Result};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

const LONGEST_AGO: TimeDelta = TimeDelta::days(400);
/// A log group is searched in so many parts at once: a search goes through all lines of its time, a quarter of a year in one go
/// takes minutes.
const PARTS: i32 = 6;
/// Lambda answers with 6 MB at most.
const MOST_BYTES: usize = 6_000_000;

/// The report. Whoever asks takes the texts out of it.
#[derive(Debug, Serialize)]
pub struct Report {
    since: String,
    until: String,
    made_at: String,
    /// Everything was read; else `unknown` says what was not.
    complete: bool,
    unknown: Vec<String>,
    held: usize,
    still_held: usize,
    tied_to_nothing: usize,
    csv: String,
    powers_csv: String,
    html: String,
}

/// The audit lines of one log, and what of it could not be read.
struct Read {
    lines: Vec<Line>,
    unknown: Vec<String>,
}

impl BreakGlass {
    /// # Errors
    /// `EVENT_INVALID`, `REPORT_TOO_LARGE`, and what makes a report of a part of its time: `TOO_MANY_LOG_LINES`, `OUT_OF_TIME`.
    /// The report's `unknown` names everything else that could not be read.
    pub(crate) async fn report(
        &self,
        since: DateTime<Utc>,
        until: Option<DateTime<Utc>>,
        deadline: Deadline,
    ) -> Result<Report> {
        let period = period(since, until, self.clock.now())?;
        let own = self.lines(self.settings.own_logs.as_deref(), "its own", &line::OF_LOGINS, period, deadline);
        let oncall =
            self.lines(self.settings.oncall_logs.as_deref(), "oncall-sync's", &line::OF_GROUPS, period, deadline);
        let (own, oncall) = tokio::join!(own, oncall);
        let (own, oncall) = (own?, oncall?);
        let mut unknown = [own.unknown, oncall.unknown].concat();
        let lines = [own.lines, oncall.lines].concat();
        // Read after the lines: whoever is in a group by then, and has no line that ends it, is still in.
        let (documents, records) = tokio::join!(self.store.documents(deadline), self.store.records(deadline));
        let documents = documents.unwrap_or_else(|error| {
            unknown.push(format!("The documents of databases: who holds power now. {}: {error}", error.code()));
            Found { good: Vec::new(), bad: BTreeMap::new() }
        });
        let records = records.unwrap_or_else(|error| {
            unknown.push(format!("The records of logins: which of them are still there. {}: {error}", error.code()));
            Found { good: Vec::new(), bad: BTreeMap::new() }
        });
        unknown.extend(records.bad.values().map(|error| format!("A record of a login. {}: {error}", error.code())));
        let records = records.good;
        let (ledgers, unread) = self.group_ledgers(&documents.good, &lines, deadline).await;
        unknown.extend(unread);
        let admins = self.admins(&documents.good, deadline).await;
        let nobody = BTreeMap::new();
        let visit = async |document: &Document| {
            let admins = admins.get(&document.engine.place()).unwrap_or(&nobody);
            let powers = Box::pin(self.powers(document, admins, &records, deadline)).await;
            Holders {
                database: document.name.to_string(),
                engine: document.engine.name(),
                powers: powers.map_err(|error| format!("{}: {error}", error.code())),
            }
        };
        let mut databases: Vec<Holders> = stream::iter(&documents.good).map(visit).buffered(AT_ONCE).collect().await;
        databases.extend(documents.bad.iter().map(|(name, error)| Holders {
            database: name.rsplit('/').next().unwrap_or_default().to_owned(),
            engine: "",
            powers: Err(format!("{}: {error}", error.code())),
        }));
        for Holders { database, powers, .. } in &databases {
            if let Err(why) = powers {
                unknown.push(format!("Who holds power over database {database} now. {why}"));
            }
        }
        let holdings = holding::holdings(lines, &ledgers, &records, period);
        let report = Report::of(&Findings { period, holdings, databases, unknown })?;
        audit::answered("report");
        Ok(report)
    }

    /// The audit lines with these codes since the beginning of the period; those after its end say how what was held then ended.
    async fn lines(
        &self,
        group: Option<&str>,
        whose: &str,
        codes: &[&str],
        period: Period,
        deadline: Deadline,
    ) -> Result<Read> {
        let nothing = |why: String| Read { lines: Vec::new(), unknown: vec![why] };
        let Some(group) = group else {
            let setting = if codes == line::OF_GROUPS { "ONCALL_LOG_GROUP" } else { "AWS_LAMBDA_LOG_GROUP_NAME" };
            return Ok(nothing(format!("The audit lines of {whose} log: {setting} is not set.")));
        };
        let pattern = line::pattern(codes);
        let Period { since, now, .. } = period;
        let part = (now - since) / PARTS;
        // The last part ends a little later: the division may have left a rest.
        let parts = (0..PARTS).map(|n| (since + part * n, if n + 1 == PARTS { now } else { since + part * (n + 1) }));
        let parts = parts.map(|(since, until)| self.logs.filter(group, &pattern, since, until, deadline));
        let read = match Box::pin(try_join_all(parts)).await {
            Ok(parts) => parts.concat(),
            Err(error) if error.is(Core::TooManyLogLines) || error.is(Core::OutOfTime) => return Err(error),
            Err(error) => return Ok(nothing(format!("The audit lines of {whose} log. {}: {error}", error.code()))),
        };
        if read.len() > keyturn::logs::MOST_LINES {
            return Err(Error::of(
                Core::TooManyLogLines,
                format!("{} lines of {group} match, and {} are the most.", read.len(), keyturn::logs::MOST_LINES),
            ));
        }
        let lines: Vec<Line> = read.iter().filter_map(|line| Line::parse(&line.text)).collect();
        let strange = read.len() - lines.len();
        let unknown = (strange > 0).then(|| {
            format!("{strange} audit lines of {whose} log, {group}, have another form than this version knows.")
        });
        Ok(Read { lines, unknown: unknown.into_iter().collect() })
    }

    /// The ledgers of every group that a document or a line names, by group; and which of them tell nothing.
    async fn group_ledgers(
        &self,
        documents: &[Document],
        lines: &[Line],
        deadline: Deadline,
    ) -> (BTreeMap<String, GroupLedger>, BTreeSet<String>) {
        let of_document = |document: &Document| match &document.who {
            Who::OnCall(openers) => openers.clone(),
            Who::Anybody => Vec::new(),
        };
        let configured: Vec<Opener> = documents.iter().flat_map(of_document).collect();
        let openers: Vec<Opener> = configured.iter().cloned().chain(lines.iter().filter_map(opener)).collect();
        let ledgers = self.store.ledgers(openers.iter(), deadline).await;
        let mut found: BTreeMap<String, GroupLedger> = BTreeMap::new();
        let mut unknown = BTreeSet::new();
        for opener in &openers {
            let Opener { binding, group } = opener;
            let read =
                ledgers.of(opener).map(|found| found.map(|ledger| (Ledger::parse(&ledger.value), ledger.version)));
            let why = match read {
                Ok(Some((Ok(ledger), version)))
                    if ledger.group == *group && ledger.is_of_version(version) && ledger.moved_to.is_none() =>
                {
                    // Of two ledgers of one group, whose binding was renamed, the later one counts.
                    let known = found.get(group.as_str());
                    if known.is_none_or(|known| known.ledger.serial < ledger.serial) {
                        found.insert(group.to_string(), GroupLedger { binding: binding.to_string(), ledger });
                    }
                    continue;
                }
                Ok(Some((Ok(ledger), _))) if ledger.moved_to.is_some() => "its binding has another name by now",
                Ok(Some((Ok(ledger), _))) if ledger.group == *group => "somebody else than oncall-sync wrote it last",
                Ok(Some((Ok(_), _))) => "it is of another group",
                Ok(Some((Err(why), _))) | Err(why) => why,
                Ok(None) if configured.contains(opener) => "there is none",
                // The binding of an old line may be gone by now.
                Ok(None) => continue,
            };
            unknown.insert(format!("The ledger of group {group} ({binding}): who is in it now. Why: {why}."));
        }
        (found, unknown)
    }

    /// The logins in the admin secrets, with the secret's ARN, by server or project.
    async fn admins(&self, documents: &[Document], deadline: Deadline) -> BTreeMap<String, BTreeMap<String, String>> {
        let ask = async |document: &Document| {
            // Why it cannot be read is said with the powers of its document.
            let admin = self.admin(document, deadline).await.ok()?;
            Some((document.engine.place(), username(&admin)?, admin.arn))
        };
        let read: Vec<_> = stream::iter(documents).map(ask).buffered(AT_ONCE).collect().await;
        let mut admins: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (place, login, arn) in read.into_iter().flatten() {
            admins.entry(place).or_default().insert(login, arn);
        }
        admins
    }

    async fn powers(
        &self,
        document: &Document,
        admins: &BTreeMap<String, String>,
        records: &[Record],
        deadline: Deadline,
    ) -> Result<Vec<crate::report::power::Power>> {
        let admin = self.admin(document, deadline).await?;
        let connected = self.systems.connect(document, &admin, deadline).await?;
        let holders = connected.holders(deadline).await;
        connected.leave().await;
        let known = Known { place: &document.engine.place(), admins, accounts: &document.accounts, records };
        Ok(known.tied(holders?))
    }
}

impl Report {
    fn of(findings: &Findings) -> Result<Self> {
        let Period { since, until, now } = findings.period;
        let report = Self {
            since: instant(since),
            until: instant(until),
            made_at: instant(now),
            complete: findings.unknown.is_empty(),
            unknown: findings.unknown.clone(),
            held: findings.holdings.len(),
            still_held: findings.still(),
            tied_to_nothing: findings.untied(),
            csv: findings.csv(),
            powers_csv: findings.powers_csv(),
            html: findings.html(),
        };
        let bytes = serde_json::to_vec(&report).map_or(usize::MAX, |text| text.len());
        if bytes > MOST_BYTES {
            return Err(Error::of(
                Code::ReportTooLarge,
                format!(
                    "{} holdings make a report of {bytes} bytes, and Lambda answers with {MOST_BYTES} at most.",
                    report.held
                ),
            ));
        }
        Ok(report)
    }
}

fn period(since: DateTime<Utc>, until: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<Period> {
    let until = until.unwrap_or(now).min(now);
    let problem = if since >= now {
        "\"since\" is not in the past"
    } else if now - since > LONGEST_AGO {
        "\"since\" is more than 400 days ago"
    } else if until <= since {
        "\"until\" is not after \"since\""
    } else {
        return Ok(Period { since, until, now });
    };
    Err(Error::new(
        Core::EventInvalid,
        format!("No report is made: {problem}."),
        "{\"action\": \"report\", \"since\": \"2026-01-01T00:00:00Z\", \"until\": \"2026-04-01T00:00:00Z\"}",
    ))
}

fn opener(line: &Line) -> Option<Opener> {
    let (Said::GrantIntended { binding, group, .. }
    | Said::Granted { binding, group, .. }
    | Said::Revoked { binding, group, .. }) = &line.said
    else {
        return None;
    };
    let binding = BindingId::try_from(binding.as_str()).ok()?;
    Some(Opener { binding, group: GroupId::try_from(group.as_str()).ok()? })
}

/// The login in a secret, if it has one.
fn username(stored: &Stored) -> Option<String> {
    #[derive(Deserialize)]
    struct Login {
        username: String,
    }
    serde_json::from_str(stored.text.expose_secret()).ok().map(|Login { username }| username)
}
