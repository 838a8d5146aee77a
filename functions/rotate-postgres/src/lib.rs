//! Rotates PostgreSQL passwords between two alternating users, so that the one in use is never touched.

mod actions;
mod apply;
mod case;
mod catalog;
pub mod codes;
mod errors;
mod guards;
mod layout;
mod mark;
mod mirror;
mod place;
mod plan;
mod postgres;
mod prove;
mod rds;
pub mod settings;
mod statements;
mod survey;
mod transaction;

use actions::Answer;
use keyturn::Result;
use keyturn::credential::Credential;
use keyturn::lambda::{Invocation, Start};
use keyturn::metrics::{self, Metric};
use keyturn::password::{PasswordPolicy, Preset};
use keyturn::rotation::{Job, Rotation, Target};
use postgres::Postgres;
use rds::Rds;
use serde_json::Value;
use settings::Settings;
use survey::Survey;

/// The dimension of the metrics, where Lambda does not name the function.
const NAME: &str = "rotate-postgres";

/// The handler of rotation events, and of what people ask for by hand, with the settings of the environment.
///
/// # Errors
/// `CONFIGURATION_INVALID`, with everything that is wrong.
pub fn build(start: Start) -> Result<impl AsyncFn(&Value, Invocation) -> Result<Answer>> {
    let secrets = start.secrets();
    let aws = start.aws().clone();
    let mut vars = start.vars;
    let settings = Settings::read(&mut vars);
    let passwords = PasswordPolicy::read(Preset::SAFE, &mut vars);
    vars.finish()?;
    let postgres = || Postgres::new(settings.clone(), secrets.clone(), Rds::new(&aws));
    let asked = postgres();
    let rotation = Rotation::new(NAME, secrets.clone(), passwords, postgres());
    Ok(async move |event: &Value, invocation: Invocation| {
        let deadline = invocation.deadline;
        if event.get("action").is_some() {
            return Box::pin(actions::handle(&asked, event, deadline)).await;
        }
        rotation.handle(event, deadline).await.map(Answer::Step)
    })
}

impl Target for Postgres {
    type Survey = Survey;

    fn only_admin(&self) -> Option<&str> {
        match self.settings.admin_secret_arns.as_deref() {
            Some([only]) => Some(only),
            _ => None,
        }
    }

    async fn survey(&self, current: &Credential, job: &Job) -> Result<Survey> {
        // Boxed: the SDK's futures are large.
        Box::pin(survey::survey(self, current, job)).await
    }

    fn plan(&self, survey: &Survey, job: &Job) -> Result<String> {
        let (turn, verdict) = plan::turn(survey, job)?;
        let sessions = survey.catalog.role(&turn.pending).map_or(0, |pending| pending.sessions);
        metrics::emit(NAME, &[Metric::StaleSessions(sessions)]);
        verdict.warnings()?.iter().for_each(|warning| job.warn(warning));
        Ok(turn.pending)
    }

    fn mismatch(&self, current: &Credential, pending: &Credential, job: &Job) -> Result<Option<String>> {
        plan::mismatch(current, pending, job)
    }

    async fn apply(
        &self,
        current: &Credential,
        pending: &Credential,
        job: &Job,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>> {
        apply::apply(self, current, pending, job, &still).await
    }

    async fn prove(&self, pending: &Credential, job: &Job) -> Result<()> {
        prove::prove(self, pending, job).await
    }

    async fn still_accepted(&self, _current: &Credential, pending: &Credential, job: &Job) -> Result<()> {
        prove::logged_in(self, pending, job).await.map(drop)
    }
}
