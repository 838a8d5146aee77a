//! Opening: a login for a person who is on call. Four waits in a row: the document; what it names; the record and the admin's
//! session; the login itself.

use super::ALERT;
use crate::BreakGlass;
use crate::answer::Http;
use crate::caller::Caller;
use crate::codes::Code;
use crate::document::{DatabaseName, Document, Opener, Who};
use crate::grant::{self, Standing};
use crate::login::{LoginName, Record, State};
use crate::store::Ledgers;
use crate::systems::{Made, NotMade, Opening};
use crate::telemetry::{alerts, audit};
use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use keyturn::alert::Channel;
use keyturn::codes::Code as Core;
use keyturn::password::{PasswordPolicy, Preset};
use keyturn::{Deadline, Error, Result};

/// So many logins a person may have open in one database: a second terminal, and one more where an answer was lost.
const MOST_OPEN: usize = 3;

impl BreakGlass {
    /// Makes a login for `lasts`, or until the grant ends, whichever is sooner.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        database: &DatabaseName,
        lasts: TimeDelta,
        reason: &str,
        deadline: Deadline,
    ) -> Result<Http> {
        if !self.settings.is_scheduled {
            return Err(Error::of(
                Code::NotScheduled,
                "The sweep is switched off, so nobody would end the login's sessions.",
            ));
        }
        let document = self.document_for(caller, database, deadline).await?;
        if lasts > document.longest {
            return Err(Error::of(
                Code::TooLong,
                format!(
                    "{} minutes are asked for, and {database} is opened for {} at most.",
                    lasts.num_minutes(),
                    document.longest.num_minutes()
                ),
            ));
        }
        let openers = match &document.who {
            Who::OnCall(openers) => openers.as_slice(),
            Who::Anybody => &[],
        };
        let (ledgers, records, admin) = tokio::join!(
            self.store.ledgers(openers.iter(), deadline),
            self.store.records_of(database, deadline),
            self.admin(&document, deadline),
        );
        let now = self.clock.now();
        let (opener, granted_until) = granted(&document, caller, &ledgers, now)?;
        let is_theirs = |record: &&Record| record.state == State::Open && caller.is(&record.person);
        let open = records?.good.iter().filter(is_theirs).count();
        if open >= MOST_OPEN {
            return Err(Error::of(
                Code::TooManyOpen,
                format!("{} has {open} logins open in {database}.", caller.person),
            ));
        }
        let admin = admin?;
        let until = granted_until.map_or(now + lasts, |end| end.min(now + lasts));
        // The database gets whole seconds.
        let until = until.duration_trunc(TimeDelta::seconds(1)).unwrap_or(until);
        let login = LoginName::new(&caller.person, now).map_err(|why| {
            Error::of(Core::RandomnessUnavailable, format!("The operating system gave no random bytes: {why}."))
        })?;
        let password = PasswordPolicy::from(Preset::ALPHANUMERIC).generate()?;
        let mut record = Record::new(&document, login, &caller.person, reason, [now, until], opener.cloned());

        let ready = async {
            let connected = Box::pin(self.systems.connect(&document, &admin, deadline)).await?;
            match Box::pin(connected.vet(deadline)).await {
                Ok(()) => Ok(connected),
                Err(error) => {
                    connected.leave().await;
                    Err(error)
                }
            }
        };
        let (noted, connected) = tokio::join!(self.store.put(&record, deadline), ready);
        let connected = match (noted, connected) {
            (Ok(()), Ok(connected)) => connected,
            (Ok(()), Err(error)) => {
                self.withdraw(&record, deadline).await;
                return Err(error);
            }
            (Err(error), connected) => {
                if let Ok(connected) = connected {
                    connected.leave().await;
                }
                return Err(error);
            }
        };
        // It is told while it is made: nobody waits twice.
        let alert = alerts::of_opening(&record, self.clock.now());
        let opening = Opening { record: &record, password: &password };
        let everybody = Channel::all();
        let (made, untold) = tokio::join!(
            Box::pin(connected.make(&opening, deadline)),
            self.channels.send(&alert, &everybody, deadline.at_most(ALERT))
        );
        connected.leave().await;
        audit::alerts_untaken(untold.len());
        match made {
            Ok(Made { ready }) => {
                audit::opened(&record);
                if !untold.is_empty() {
                    record.untold = untold;
                    self.store.put(&record, deadline).await.unwrap_or_else(|error| audit::error(&error));
                }
                Ok(Http::opened(&document, &record, &password, ready))
            }
            Err(NotMade { error, is_certain }) => {
                self.corrects(record, &error, is_certain, deadline).await;
                Err(error)
            }
        }
    }

    /// An opening was told, and failed. If nobody knows whether there is a login, the sweep ends it.
    async fn corrects(&self, mut record: Record, error: &Error, is_certain: bool, deadline: Deadline) {
        let correction = alerts::of_failed_opening(&record, error, is_certain, self.clock.now());
        let untold = self.channels.send(&correction, &Channel::all(), deadline.at_most(ALERT)).await;
        audit::alerts_untaken(untold.len());
        if is_certain {
            self.withdraw(&record, deadline).await;
        } else {
            record.failed = true;
            self.store.put(&record, deadline).await.unwrap_or_else(|error| audit::error(&error));
        }
    }

    /// Nothing was made: the record goes. Where it cannot be deleted, the sweep does it at the login's end.
    async fn withdraw(&self, record: &Record, deadline: Deadline) {
        if let Err(error) = self.store.delete(record, deadline).await {
            audit::error(&error);
        }
    }
}

/// The opener whose ledger grants the caller, and the grant's end; neither for a `read_only` document.
fn granted<'d>(
    document: &'d Document,
    caller: &Caller,
    ledgers: &Ledgers,
    now: DateTime<Utc>,
) -> Result<(Option<&'d Opener>, Option<DateTime<Utc>>)> {
    let Who::OnCall(openers) = &document.who else { return Ok((None, None)) };
    let standing = |opener| (opener, Standing::of(opener, ledgers.of(opener), &caller.person, now));
    let standings: Vec<_> = openers.iter().map(standing).collect();
    grant::find(&standings, &caller.person, now).map(|(opener, until)| (Some(opener), Some(until)))
}
