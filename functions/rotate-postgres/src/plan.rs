//! Which user is next, and whether the rotation may go on. Pure: what was read in, a verdict out.

use crate::guards;
use crate::layout::{Layout, Turn};
use crate::place::Place;
use crate::survey::Survey;
use keyturn::Result;
use keyturn::credential::Credential;

/// The users of the rotation that comes next.
///
/// Errors: those of [`Layout::after`] and [`guards::roles`].
pub(crate) fn turn(survey: &Survey) -> Result<Turn> {
    let Survey { layout, current, admin, catalog } = survey;
    let turn = layout.after(current, |login, base| catalog.is_clone_of(login, base))?;
    guards::roles(&turn, admin, catalog)?;
    Ok(turn)
}

/// Says in which way `pending` cannot be what follows `current`; `None` when it can.
pub(crate) fn mismatch(current: &Credential, pending: &Credential) -> Option<String> {
    let of = |credential| Place::of(credential, "it").ok();
    let (Some(from), Some(to)) = (of(current), of(pending)) else {
        return Some("one of them names no PostgreSQL host".to_owned());
    };
    if from != to {
        return Some(format!("it is for {}/{} instead of {}/{}", to.address, to.database, from.address, from.database));
    }
    if current.engine() != pending.engine() {
        return Some(format!("its engine is {:?} instead of {:?}", pending.engine(), current.engine()));
    }
    let turn = Layout::of(current).and_then(|layout| layout.turn(current.username(), pending.username()));
    turn.err().map(|error| error.message().trim_end_matches('.').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Role};

    fn role(name: &str, member_of: &[&str]) -> Role {
        let member_of: Vec<String> = member_of.iter().map(|role| (*role).to_owned()).collect();
        let effective = !member_of.is_empty();
        Role {
            name: name.to_owned(),
            may_log_in: true,
            member_of,
            inherits_base: effective,
            may_set_base: effective,
            admin_has_option: true,
            ..Role::default()
        }
    }

    fn next_after(current: &str, roles: impl IntoIterator<Item = Role>) -> Result<String> {
        let admin = Role { creates_roles: true, ..role("admin", &[]) };
        let catalog = Catalog::of(180_000, roles.into_iter().chain([admin]));
        let survey = Survey { layout: Layout::Clone, current: current.to_owned(), admin: "admin".to_owned(), catalog };
        turn(&survey).map(|turn| turn.pending)
    }

    #[test]
    fn the_catalog_decides_whether_a_name_is_a_clones() {
        let base = || role("app", &[]);
        assert_eq!(next_after("app", [base()]).as_deref(), Ok("app_clone"));
        assert_eq!(next_after("app_clone", [base(), role("app_clone", &["app"])]).as_deref(), Ok("app"));
        assert_eq!(next_after("app_clone", [base(), role("app_clone", &[])]).as_deref(), Ok("app_clone_clone"));
    }

    #[test]
    fn a_guard_that_refuses_refuses_the_plan() {
        let powerful = Role { powers: vec!["SUPERUSER".to_owned()], ..role("app_clone", &["app"]) };
        assert_eq!(next_after("app", [role("app", &[]), powerful]).unwrap_err().code(), "TWIN_TOO_POWERFUL");
    }

    #[test]
    fn a_pending_value_follows_at_the_same_place_with_the_same_engine() {
        let value = |user: &str, host: &str, more: &str| {
            let text = format!(r#"{{"username": "{user}", "password": "x", "host": "{host}"{more}}}"#);
            Credential::parse(text.into(), "it").unwrap()
        };
        let current = value("app", "db", "");
        assert_eq!(mismatch(&current, &value("app_clone", "DB.", "")), None);
        for (pending, says) in [
            (value("app_clone", "other", ""), "it is for other:5432/postgres instead of db:5432/postgres"),
            (value("app_clone", "db", r#", "dbname": "shop""#), "it is for db:5432/shop instead of"),
            (value("app_clone", "db", r#", "engine": "postgres""#), "its engine is Some(\"postgres\") instead of None"),
            (value("app_clone", "db", r#", "engine": "mysql""#), "one of them names no PostgreSQL host"),
            (value("victim", "db", ""), "\"victim\" is neither its clone nor its base"),
        ] {
            let difference = mismatch(&current, &pending).unwrap();
            assert!(difference.contains(says) && !difference.ends_with('.'), "{difference}");
        }
    }
}
