//! What createSecret reads before it decides who is next: the catalog, as the user in use sees it. Writes nothing.

use crate::case::Case;
use crate::catalog::{self, Catalog, Query};
use crate::mirror;
use crate::place;
use crate::postgres::{Admin, Postgres};
use keyturn::Result;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::rotation::Job;
use keyturn_postgres::{Login, Place};

#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) case: Case,
    /// Where the secret's clients log in.
    pub(crate) named: Place,
    /// The user in use, who has logged in.
    pub(crate) current: String,
    pub(crate) admin: Admin,
    pub(crate) catalog: Catalog,
}

/// Reads the admin secret and logs in as the user in use at the same time, then reads the catalog in that session.
pub(crate) async fn survey(postgres: &Postgres, current: &Credential, job: &Job) -> Result<Survey> {
    let named = place::of_rotated(current, "The AWSCURRENT value", job)?;
    let place = postgres.server(named.clone(), job);
    let case = Case::of(current, job)?.under(&postgres.settings);
    let user = current.username();
    case.layout.check_name(user)?;
    let users = case.layout.names(user);
    mirror::check_proxy(user, &users, &named, job)?;
    let login = Login::new(current, place.clone());
    let (admin, proven) = tokio::try_join!(postgres.admin(current, &named, job), postgres.prove_current(&login, job))?;
    if postgres.server(named.clone(), job) != place {
        // RDS has just said that the admin's server is another one of its endpoints.
        return Box::pin(survey(postgres, current, job)).await;
    }
    for name in &users {
        Box::pin(mirror::read(postgres, name, job)).await?;
    }
    let (login, its_database) = (&admin.login.user, &admin.login.place.database);
    let query = Query { names: &users, database: &place.database, admin: login, its_database };
    let seen = match &proven {
        Some(session) => Some(catalog::survey(session, query).await),
        None => None,
    };
    let catalog = match seen {
        Some(Ok(catalog)) => catalog,
        Some(Err(failure)) if !failure.error.is(Core::AdminLacksPrivilege) => return Err(failure.error),
        // No connection is left for the user in use, or the server does not let everybody read its catalog.
        _ => {
            let session = admin.open(postgres, job.deadline).await?.until(job.deadline);
            catalog::survey(&session, query).await?
        }
    };
    Ok(Survey { case, named, current: user.to_owned(), admin, catalog })
}
