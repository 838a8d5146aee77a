//! What createSecret reads before it decides who is next: the catalog, as the user in use sees it. Writes nothing.

use crate::catalog::{self, Catalog};
use crate::layout::Layout;
use crate::place::Place;
use crate::postgres::Postgres;
use crate::session::Login;
use keyturn::Result;
use keyturn::credential::Credential;
use keyturn::rotation::Job;

#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) layout: Layout,
    /// The user in use, who has logged in.
    pub(crate) current: String,
    /// The user that the admin secret names.
    pub(crate) admin: String,
    pub(crate) catalog: Catalog,
}

/// Reads the admin secret and logs in as the user in use at the same time, then reads the catalog in that session.
pub(crate) async fn survey(postgres: &Postgres, current: &Credential, job: &Job) -> Result<Survey> {
    let place = Place::of(current, "The AWSCURRENT value")?;
    let layout = Layout::of(current)?;
    let user = current.username();
    layout.check_name(user)?;
    let login = Login::new(current, place.clone());
    let (admin, session) = tokio::try_join!(postgres.admin(current, &place, job), postgres.prove_current(&login, job))?;
    let admin = admin.login.user;
    let mut names = layout.names(user);
    names.push(admin.clone());
    let catalog = session.reading(Box::pin(catalog::read(&session, &names, &admin, layout.likely_base(user)))).await?;
    Ok(Survey { layout, current: user.to_owned(), admin, catalog })
}
