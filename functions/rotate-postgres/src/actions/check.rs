//! `check`: everything that a rotation reads and decides, without what it writes. It works before a rotation is attached.

use super::{Finding, told, version_with};
use crate::case::Case;
use crate::catalog::{self, Query};
use crate::codes::Code;
use crate::guards::{self, Verdict};
use crate::layout::Layout;
use crate::place;
use crate::plan;
use crate::postgres::Postgres;
use crate::statements;
use crate::survey;
use keyturn::credential::Credential;
use keyturn::rotation::{Job, replicas};
use keyturn::secrets::{CURRENT, Description, PENDING};
use keyturn::{Error, Result};
use keyturn_postgres::Login;
use secrecy::SecretString;
use serde::Serialize;

/// The rotation that would happen if it began now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    action: &'static str,
    secret: String,
    /// Whether a rotation would go through, as far as reading can tell.
    ready: bool,
    /// This answer in sentences, for people: `jq -r '.says[]'`.
    says: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    would: Option<Outlook>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Finding>,
    /// What would stop it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refusals: Vec<Finding>,
}

/// The rotation that would come next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Outlook {
    layout: &'static str,
    /// host:port/database
    server: String,
    /// The user in use, who has logged in.
    from: String,
    to: String,
    /// The changes that setSecret would make, each in a few words.
    changes: Vec<String>,
    /// What clients can notice of the layout.
    notice: &'static str,
    /// Sessions of the next user: a warning says more.
    stale_sessions: u64,
}

/// Errors: what reading the secret's labels can say.
pub(super) async fn check(postgres: &Postgres, description: &Description, job: &Job) -> Result<Check> {
    let mut says = labels(description);
    let Examined { would, verdict: Verdict { warnings, refusals } } =
        Box::pin(examine(postgres, description, job)).await;
    says.extend(would.iter().flat_map(Outlook::sentences));
    says.extend(warnings.iter().flat_map(|warning| told("Warning", warning)));
    says.extend(refusals.iter().flat_map(|refusal| told("A rotation would be refused,", refusal)));
    says.push("Nothing was changed.".to_owned());
    Ok(Check {
        action: "check",
        secret: job.secret_arn.clone(),
        ready: refusals.is_empty(),
        says,
        would,
        warnings: warnings.iter().map(Finding::from).collect(),
        refusals: refusals.iter().map(Finding::from).collect(),
    })
}

/// What the labels say of the rotation's schedule.
fn labels(description: &Description) -> Vec<String> {
    let mut says = Vec::new();
    if description.rotation_enabled != Some(true) {
        says.push("Rotation is not switched on for this secret.".to_owned());
    }
    let pending = version_with(description, PENDING);
    if pending.is_some() && pending != version_with(description, CURRENT) {
        says.push("A rotation is under way, or stuck: ask {\"action\": \"explain\"}.".to_owned());
    }
    says
}

/// What reading alone finds out about the next rotation.
#[derive(Default)]
pub(super) struct Examined {
    /// Only where nothing stops it.
    would: Option<Outlook>,
    pub(super) verdict: Verdict,
}

/// Goes the way of createSecret and setSecret, up to where they would write, and on past what would stop them, so far as there
/// is a way.
pub(super) async fn examine(postgres: &Postgres, description: &Description, job: &Job) -> Examined {
    let mut examined = Examined::default();
    if let Some(region) = &description.primary_region {
        examined.verdict.refusals.push(is_replica(&job.secret_arn, region));
        return examined;
    }
    if let Err(error) = Box::pin(look(postgres, job, &mut examined)).await {
        examined.verdict.refusals.push(error);
    }
    examined.verdict.warnings.extend(replicas::in_sync(&job.secret_arn, &job.replicas).err().map(|lag| lag.error));
    examined
}

fn is_replica(secret: &str, primary: &str) -> Error {
    Error::new(
        Code::SecretIsReplica,
        format!("{secret} is a replica: only its primary in {primary} can be rotated."),
        format!(
            "Ask the function in {primary}. If that region is lost, make this a secret of its own: aws secretsmanager stop-replication-to-replica --secret-id {secret}"
        ),
    )
}

/// Errors: what ends the examination.
async fn look(postgres: &Postgres, job: &Job, examined: &mut Examined) -> Result<()> {
    let stored = postgres.secrets.read(&job.secret_arn, CURRENT, None, job.deadline).await?;
    let stored = stored.ok_or_else(|| keyturn::rotation::no_current(&job.secret_arn))?;
    let current = Credential::parse(stored.text, "the AWSCURRENT value")?;
    let survey = Box::pin(survey::survey(postgres, &current, job)).await?;
    let turn;
    (turn, examined.verdict) = plan::turn(&survey, job)?;
    let refusals = &mut examined.verdict.refusals;
    let place = place::of_rotated(&current, "The AWSCURRENT value", job)?;
    let server = postgres.server(place.clone(), job);
    if place != server {
        // testSecret logs in by the other name.
        let login = Login::new(&current, place);
        refusals.extend(postgres.connector.open(&login, job.deadline).await.err().map(|failure| failure.error));
    }
    let session = survey.admin.open(postgres, job.deadline).await?.until(job.deadline);
    let (names, admin) = (survey.case.layout.names(current.username()), &survey.admin.login.user);
    let query = Query { names: &names, database: &server.database, admin, its_database: &session.place().database };
    let catalog = catalog::survey(&session, query).await?;
    if catalog.server.read_only {
        return Err(session.read_only_failure().error);
    }
    // Once more with what the admin sees, at the server where it would write.
    let verdict = guards::judge(&survey.case, &turn, admin, &catalog);
    examined.verdict.warnings = verdict.warnings;
    for refusal in verdict.refusals {
        if !refusals.contains(&refusal) {
            refusals.push(refusal);
        }
    }
    if !refusals.is_empty() {
        return Ok(());
    }
    examined.would = Some(Outlook {
        layout: (&survey.case.layout).into(),
        server: format!("{}/{}", server.address, server.database),
        from: turn.current.clone(),
        to: turn.pending.clone(),
        changes: statements::of(&survey.case, &turn, &catalog, Some(&SecretString::from("")))
            .into_iter()
            .map(|statement| statement.says)
            .collect(),
        notice: notice(&survey.case),
        stale_sessions: catalog.role(&turn.pending).map_or(0, |pending| pending.sessions),
    });
    Ok(())
}

fn notice(case: &Case) -> &'static str {
    if case.acts_as_base && !matches!(case.layout, Layout::Pair { .. }) {
        "Both users act as the role that owns what they make. current_user is that role; PostgreSQL asks session_user for a few things: row level security policies on it, one's own other sessions in pg_stat_activity and pg_terminate_backend"
    } else {
        "Each user acts as itself, and owns what it makes: the other one has only those rights on it that are granted"
    }
}

impl Outlook {
    fn sentences(&self) -> Vec<String> {
        vec![
            format!("{} is in {} layout; {:?} and the admin log in.", self.server, self.layout, self.from),
            format!(
                "A rotation would move clients from {:?} to {:?}: {}.",
                self.from,
                self.to,
                self.changes.join("; ")
            ),
            format!("What clients can notice: {}.", self.notice),
        ]
    }
}
