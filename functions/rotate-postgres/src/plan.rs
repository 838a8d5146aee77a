//! Which user is next, and whether the rotation may go on. Pure: what was read in, a verdict out.

use crate::case::Case;
use crate::guards::{self, Verdict};
use crate::layout::Turn;
use crate::mirror;
use crate::place;
use crate::survey::Survey;
use keyturn::Result;
use keyturn::credential::Credential;
use keyturn::rotation::Job;

/// The users of the rotation that comes next, and whether it may come.
///
/// Errors: those of [`Layout::after`].
pub(crate) fn turn(survey: &Survey, job: &Job) -> Result<(Turn, Verdict)> {
    let Survey { case, named, current, admin, catalog } = survey;
    let turn =
        case.layout.after(current, |login, base| catalog.role(login).is_some_and(|role| role.is_member_of(base)))?;
    let mut verdict = guards::judge(case, &turn, &admin.login.user, catalog);
    verdict.refusals.extend(mirror::check(&turn, named, job).err());
    Ok((turn, verdict))
}

/// Says in which way `pending` cannot be what follows `current`; `None` when it can.
///
/// Errors: those of [`Case::of`] and [`place::of`] for the current value.
pub(crate) fn mismatch(current: &Credential, pending: &Credential, job: &Job) -> Result<Option<String>> {
    let case = Case::of(current, job)?;
    let from = place::of(current, "The AWSCURRENT value")?;
    let Ok(to) = place::of(pending, "it") else {
        return Ok(Some("it names no PostgreSQL host".to_owned()));
    };
    if from != to {
        return Ok(Some(format!(
            "it is for {}/{} instead of {}/{}",
            to.address, to.database, from.address, from.database
        )));
    }
    let turn = case.layout.turn(current.username(), pending.username());
    Ok(turn.err().map(|error| error.message().trim_end_matches('.').to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Role};
    use crate::layout::Layout;
    use crate::postgres::Admin;
    use keyturn::Deadline;
    use std::time::Duration;

    fn next_after(current: &str, roles: impl IntoIterator<Item = Role>) -> Result<String> {
        let admin = Role::admin(&["app", "app_clone"]);
        let catalog = Catalog::of(180_000, roles.into_iter().chain([admin]));
        let case = Case::with(Layout::Clone { base: None });
        let admin = Admin::named("admin");
        let named = admin.login.place.clone();
        let survey = Survey { case, named, current: current.to_owned(), admin, catalog };
        let (turn, verdict) = turn(&survey, &Job::of("arn:app", [], Deadline::after(Duration::from_secs(1))))?;
        verdict.warnings().map(|_| turn.pending)
    }

    #[test]
    fn the_catalog_decides_whether_a_name_is_a_clones() {
        let base = || Role::of("app", &[]);
        assert_eq!(next_after("app", [base()]).as_deref(), Ok("app_clone"));
        assert_eq!(next_after("app_clone", [base(), Role::of("app_clone", &["app"])]).as_deref(), Ok("app"));
        assert_eq!(next_after("app_clone", [base(), Role::of("app_clone", &[])]).as_deref(), Ok("app_clone_clone"));
    }

    #[test]
    fn a_guard_that_refuses_refuses_the_plan() {
        let powerful = Role { powers: vec!["SUPERUSER".to_owned()], ..Role::of("app_clone", &["app"]) };
        assert_eq!(next_after("app", [Role::of("app", &[]), powerful]).unwrap_err().code(), "TWIN_TOO_POWERFUL");
    }

    #[test]
    fn a_pending_value_follows_at_the_same_place_with_the_same_engine() {
        let value = |user: &str, host: &str, more: &str| {
            let text = format!(r#"{{"username": "{user}", "password": "x", "host": "{host}"{more}}}"#);
            Credential::parse(text.into(), "it").unwrap()
        };
        let current = value("app", "db", "");
        let job = Job::of("arn:app", [], Deadline::after(Duration::from_secs(1)));
        assert_eq!(mismatch(&current, &value("app_clone", "DB.", ""), &job), Ok(None));
        for (pending, says) in [
            (value("app_clone", "other", ""), "it is for other:5432/postgres instead of db:5432/postgres"),
            (value("app_clone", "db", r#", "dbname": "shop""#), "it is for db:5432/shop instead of"),
            (value("app_clone", "db", r#", "engine": "mysql""#), "it names no PostgreSQL host"),
            (value("victim", "db", ""), "\"victim\" is neither its clone nor its base"),
        ] {
            let difference = mismatch(&current, &pending, &job).unwrap().unwrap();
            assert!(difference.contains(says) && !difference.ends_with('.'), "{difference}");
        }
    }
}
