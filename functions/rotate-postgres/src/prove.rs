//! testSecret's proof: a fresh login with the pending credential is who it should be and may do what it must.

use crate::catalog::{self, Catalog};
use crate::causes::{self, Attempt, Failure, quoted};
use crate::layout::{Layout, base_of};
use crate::session::Session;
use keyturn::credential::Credential;

/// Proves the session's identity and rights, then runs the secret's own `testQueries`.
pub(crate) async fn session(session: &Session, layout: &Layout, pending: &Credential) -> Attempt<()> {
    let user = pending.username();
    let base = match layout {
        Layout::Owner { owner, .. } => Some(owner.as_str()),
        Layout::Clone => base_of(user),
        Layout::Pair { .. } => None,
    };
    let names: Vec<String> = [Some(user), base].into_iter().flatten().map(str::to_owned).collect();
    let actual = session.identify().await?;
    if actual != user {
        return Err(causes::somebody_else(user, &actual, session.place()));
    }
    let catalog = catalog::read(session, &names, user, base).await?;
    // A name that merely ends like a clone's is nobody's clone, and acts as itself.
    let base = base.filter(|base| *layout != Layout::Clone || catalog.is_clone_of(user, base));
    if !matches!(layout, Layout::Pair { .. }) {
        rights(&catalog, user, base, session)?;
    }
    for (n, query) in pending.test_queries().iter().enumerate() {
        test_query(session, n + 1, query).await?;
    }
    Ok(())
}

fn rights(catalog: &Catalog, user: &str, base: Option<&str>, session: &Session) -> Attempt<()> {
    let login = catalog.role(user);
    if let Some(base) = base
        && !login.is_some_and(|login| login.inherits_base)
    {
        return Err(Failure::permanent(
            "MEMBERSHIP_HAS_NO_EFFECT",
            format!("{user:?} has not got the rights of {base:?}."),
            format!("GRANT {} TO {}", quoted(base), quoted(user)),
        ));
    }
    let acting = &catalog.server.current_user;
    let database = &session.place().database;
    let own = login.and_then(|login| login.assumes_in(database));
    // What the base acts as there, not what somebody set for this login alone.
    let wanted = base.map(|base| catalog.role(base).and_then(|role| role.assumes_in(database)).unwrap_or(base));
    match (own.map(|own| wanted.unwrap_or(own)), base) {
        // The server only warns at login when a role setting has no effect, and stays the login role: so, too, when a clone's
        // membership is gone, by which it was known as one.
        (Some(wanted), _) if acting != wanted => Err(Failure::permanent(
            "ROLE_NOT_ASSUMED",
            format!(
                "{user:?} should act as {wanted:?} but acts as {acting:?}: what it makes would belong to the wrong role."
            ),
            format!("GRANT {} TO {}", quoted(wanted), quoted(user)),
        )),
        (None, Some(_)) => {
            // A clone that AWS's function made, and no setSecret of ours has seen yet. It works as it always has.
            tracing::warn!(
                code = "ROLE_NOT_ASSUMED",
                user,
                "This user acts as itself: what it makes is its own. The next rotation of it mends that."
            );
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The text of the query and of the server's answer stay out of the error: they may hold anything.
async fn test_query(session: &Session, n: usize, query: &str) -> Attempt<()> {
    session
        .run("RESET search_path; BEGIN READ ONLY; SET LOCAL statement_timeout = '10s'", "starting a test query")
        .await?;
    // Not by `run`, which takes several statements: a COMMIT among them would end the read-only transaction.
    let result = session.execute(query, "running a test query").await;
    session.run("ROLLBACK", "ending a test query").await?;
    result.map_err(|_| {
        Failure::permanent(
            "TEST_QUERY_FAILED",
            format!(
                "Query {n} of the secret's \"testQueries\" failed for the pending user in a read-only transaction."
            ),
            "Run it as that user to see why, and grant what is missing or correct the query.",
        )
    })
}
