//! What createSecret reads before it decides who is next: the catalog, as the user in use sees it. Writes nothing.

use crate::case::Case;
use crate::catalog::{self, Catalog, Query};
use crate::place::Place;
use crate::postgres::{Admin, Postgres};
use crate::session::Login;
use keyturn::Result;
use keyturn::credential::Credential;
use keyturn::rotation::Job;

#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) case: Case,
    /// The user in use, who has logged in.
    pub(crate) current: String,
    pub(crate) admin: Admin,
    pub(crate) catalog: Catalog,
}

/// Reads the admin secret and logs in as the user in use at the same time, then reads the catalog in that session.
pub(crate) async fn survey(postgres: &Postgres, current: &Credential, job: &Job) -> Result<Survey> {
    let place = postgres.server(Place::of(current, "The AWSCURRENT value")?);
    let case = Case::of(current, job)?;
    let user = current.username();
    case.layout.check_name(user)?;
    let login = Login::new(current, place.clone());
    let (admin, proven) = tokio::try_join!(postgres.admin(current, &place, job), postgres.prove_current(&login, job))?;
    let names = case.layout.names(user);
    let of_admin = (admin.login.user.clone(), admin.login.place.database.clone());
    let query = Query { names, database: place.database, admin: Some(of_admin) };
    let session = match proven {
        Some(session) => session,
        // No connection is left for the user in use: the admin reads instead.
        None => admin.open(&postgres.connector, job.deadline).await?,
    };
    let catalog = catalog::survey(&session, &query).await?;
    Ok(Survey { case, current: user.to_owned(), admin, catalog })
}
