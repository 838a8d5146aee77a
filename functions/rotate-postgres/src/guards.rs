//! What must be true before the admin's power is used. Pure: what was read in, a verdict out.
//!
//! Whoever can write a secret decides whose password is reset with whose power. These rules see to it that this is never a
//! user with more rights than the one they can log in as already.

use crate::catalog::{Catalog, Role};
use crate::codes::Code;
use crate::errors::{literal, quoted};
use crate::layout::{Base, Turn};
use crate::settings::Settings;
use keyturn::address::Address;
use keyturn::codes::Code as Core;
use keyturn::{Error, Result};

/// How roles are named that give power over the server: PostgreSQL's own and those of RDS.
const POWERFUL: [&str; 2] = ["pg_", "rds_"];

/// Members of this role log in by IAM token only.
const IAM: &str = "rds_iam";

/// The first version in which CREATEROLE alone gives no power over roles that somebody else made.
const ADMIN_OPTION_NEEDED: i32 = 160_000;

/// The rotated secret and its admin secret must mean the same server.
///
/// Errors: `ADMIN_OF_ANOTHER_SERVER`.
pub(crate) fn same_server(settings: &Settings, current: &Address, admin: &Address) -> Result<()> {
    if current == admin || settings.is_alias_of(current, admin) {
        return Ok(());
    }
    Err(Error::new(
        Core::AdminOfAnotherServer,
        format!("The secret is for {current}, but its admin secret (masterarn) is for {admin}."),
        format!(
            "Let both name the same host and port. If {current} is a replica, proxy or alias of {admin}, say so to the function: HOST_ALIASES={current}={admin}"
        ),
    ))
}

/// The roles of the turn, as the server knows them. Gives back warnings.
pub(crate) fn roles(turn: &Turn, admin: &str, catalog: &Catalog) -> Result<Vec<Warning>> {
    names(turn, admin)?;
    let base = base_role(turn, catalog)?;
    let current = catalog.role(&turn.current);
    let pending = catalog.role(&turn.pending);
    for role in [base, current, pending].into_iter().flatten() {
        takes_passwords(role)?;
    }
    if let Some(pending) = pending {
        unlocked(pending)?;
    }
    match turn.base {
        Base::None => pair(turn, current, pending)?,
        // Membership was given by someone with power over the base: it says "these two are one application".
        Base::Pending => member(current, turn, &turn.current)?,
        Base::Owner(ref owner) if turn.current != *owner => member(current, turn, &turn.current)?,
        Base::Owner(_) | Base::Current => {}
    }
    match (&turn.base, pending, base) {
        (Base::Current, Some(twin), Some(base)) => {
            twin_is_ours(twin, base)?;
            no_stronger(twin, base, admin)?;
        }
        (Base::Owner(_), Some(twin), Some(owner)) => {
            twin_is_ours(twin, owner)?;
            twin_acts_as(twin, owner)?;
            // The user in use is the measure: the owner's name is the secret's to choose.
            no_stronger(twin, current.unwrap_or(owner), admin)?;
            no_member_of_more(twin, current.unwrap_or(owner), owner)?;
        }
        (Base::Pending | Base::None, Some(pending), _) if pending.expired => return Err(expired(pending)),
        _ => {}
    }
    let own_objects = shared_objects(turn, current, base)?;
    let admin_options = admin_suffices(turn, admin, catalog)?;
    Ok([own_objects, admin_options].into_iter().flatten().collect())
}

/// A finding that does not stop the rotation, but that an operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    pub(crate) code: Code,
    pub(crate) says: String,
}

/// The next user has no rights on objects that the current one owns itself, or makes as itself.
fn shared_objects(turn: &Turn, current: Option<&Role>, base: Option<&Role>) -> Result<Option<Warning>> {
    let (Some(current), Some(base)) = (current, base) else { return Ok(None) };
    let acts_as_base = current.assumes() == Some(base.assumes().unwrap_or(&base.name));
    let refuses = matches!(turn.base, Base::Owner(_));
    if current.name == base.name || !(current.owns_objects || (refuses && !acts_as_base)) {
        return Ok(None);
    }
    let does = if current.owns_objects {
        "owns objects"
    } else {
        "acts as itself and not as the owner, so that it owns what it makes"
    };
    let says = format!("{:?} {does}: {:?} and its other users have no rights on them.", current.name, base.name);
    let (login, owner) = (quoted(&current.name), quoted(&base.name));
    let remedy = format!(
        "In each database of the application: REASSIGN OWNED BY {login} TO {owner}. And once, for what it makes from now on: ALTER ROLE {login} SET role = {}",
        literal(&base.name)
    );
    if refuses {
        // A team that begins with this layout: clients would lose their tables at the first turn.
        return Err(Error::new(Code::ObjectsNotShared, says, remedy));
    }
    // What a clone of AWS's function made has been out of its base's reach all along.
    Ok(Some(Warning { code: Code::ObjectsNotShared, says: format!("{says} {remedy}") }))
}

fn names(turn: &Turn, admin: &str) -> Result<()> {
    if turn.pending == admin || turn.current == admin {
        return Err(Error::new(
            Core::AdminIsTarget,
            format!("The admin {admin:?} is one of the users this secret alternates between."),
            "Use an admin user of its own: CREATE ROLE rotation_admin LOGIN CREATEROLE PASSWORD '...'",
        ));
    }
    Ok(())
}

fn base_role<'c>(turn: &Turn, catalog: &'c Catalog) -> Result<Option<&'c Role>> {
    let Some(base) = turn.base() else { return Ok(None) };
    catalog.role(base).map(Some).ok_or_else(|| {
        Error::new(
            Code::OwnerMissing,
            format!("There is no role {base:?} for the two users to share."),
            format!("Create it, or correct the secret: CREATE ROLE {} NOLOGIN", quoted(base)),
        )
    })
}

fn takes_passwords(role: &Role) -> Result<()> {
    if !role.is_member_of(IAM) {
        return Ok(());
    }
    Err(Error::new(
        Code::IamAuthOnly,
        format!("{:?} is a member of rds_iam: RDS then takes IAM tokens from it, and no password.", role.name),
        format!("Rotate nothing (IAM tokens rotate themselves), or REVOKE rds_iam FROM {}", quoted(&role.name)),
    ))
}

/// NOLOGIN is how a login is locked in an incident, and what a group is: neither is a rotation's to lift.
fn unlocked(role: &Role) -> Result<()> {
    if role.may_log_in {
        return Ok(());
    }
    Err(Error::new(
        Code::RoleCannotLogIn,
        format!(
            "{:?} may not log in (NOLOGIN): somebody locked it, or it is a group. A rotation leaves that as it is.",
            role.name
        ),
        format!("If it is to log in again: ALTER ROLE {} LOGIN", quoted(&role.name)),
    ))
}

fn pair(turn: &Turn, current: Option<&Role>, pending: Option<&Role>) -> Result<()> {
    let (Some(current), Some(pending)) = (current, pending) else {
        let missing = if current.is_none() { &turn.current } else { &turn.pending };
        return Err(Error::new(
            Core::UserMissing,
            format!("There is no user {missing:?}. In pair layout both users must exist."),
            format!(
                "CREATE ROLE {} LOGIN with the rights it needs, or add \"owner\" to the secret and let the rotation make it.",
                quoted(missing)
            ),
        ));
    };
    no_stronger(pending, current, "")?;
    if current.member_of != pending.member_of {
        return Err(Error::new(
            Code::PairRightsDiffer,
            format!(
                "{:?} is a member of [{}], {:?} of [{}]: they are not two logins of one application.",
                current.name,
                current.member_of.join(", "),
                pending.name,
                pending.member_of.join(", ")
            ),
            "Make both members of the same roles, or use the owner layout.",
        ));
    }
    Ok(())
}

fn member(login: Option<&Role>, turn: &Turn, name: &str) -> Result<()> {
    let base = turn.base().unwrap_or_default();
    // From PostgreSQL 16 on a membership may give nothing at all (INHERIT FALSE, SET FALSE): that vouches for nothing.
    if login.is_some_and(|login| login.is_member_of(base) && (login.inherits_base || login.may_set_base)) {
        return Ok(());
    }
    Err(Error::new(
        Code::CurrentNotMember,
        format!("{name:?} is not a member of {base:?}, so nothing says that the two belong together."),
        format!("If they do: GRANT {} TO {}", quoted(base), quoted(name)),
    ))
}

fn twin_is_ours(twin: &Role, base: &Role) -> Result<()> {
    // Whoever is a member of the twin would get the base's rights with it.
    let fresh = twin.member_of.is_empty() && !twin.in_use && twin.held_by.is_empty();
    if fresh || twin.is_member_of(&base.name) {
        return Ok(());
    }
    Err(Error::new(
        Code::TwinIsSomebodyElse,
        format!(
            "{:?} exists, is not a member of {:?}, and has memberships, members, objects or rights of its own: it is another application's user.",
            twin.name, base.name
        ),
        format!(
            "If it is this application's all the same: GRANT {} TO {}. Otherwise name two other users with \"usernames\".",
            quoted(&base.name),
            quoted(&twin.name)
        ),
    ))
}

/// In owner layout both names are the secret's to choose: membership in the owner alone does not make two logins one
/// application. Acting as the owner does: only the login itself, or someone with power over it, can have set that.
fn twin_acts_as(twin: &Role, owner: &Role) -> Result<()> {
    let fresh = !twin.is_member_of(&owner.name);
    if fresh || twin.assumes() == Some(owner.assumes().unwrap_or(&owner.name)) {
        return Ok(());
    }
    Err(Error::new(
        Code::TwinIsSomebodyElse,
        format!(
            "{:?} is a member of {:?}, but does not act as it: it may be another application's user.",
            twin.name, owner.name
        ),
        format!("If it is this application's: ALTER ROLE {} SET role = {}", quoted(&twin.name), literal(&owner.name)),
    ))
}

fn no_member_of_more(twin: &Role, current: &Role, owner: &Role) -> Result<()> {
    let known = |role: &&String| **role == owner.name || current.is_member_of(role) || owner.is_member_of(role);
    let excess: Vec<&str> = twin.member_of.iter().filter(|role| !known(role)).map(String::as_str).collect();
    if excess.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Code::TwinTooPowerful,
        format!(
            "{:?} is a member of {}, which {:?} is not. A rotation must not hand that out.",
            twin.name,
            excess.join(", "),
            current.name
        ),
        level(twin, current),
    ))
}

/// The rotation leaves this user's VALID UNTIL as it is, and no password of it would be accepted.
pub(crate) fn expired(role: &Role) -> Error {
    Error::new(
        Code::PasswordExpired,
        format!(
            "VALID UNTIL of {:?} is in the past ({}): no password of it is accepted.",
            role.name,
            role.valid_until.as_deref().unwrap_or_default()
        ),
        format!("ALTER ROLE {} VALID UNTIL 'infinity'", quoted(&role.name)),
    )
}

fn no_stronger(twin: &Role, base: &Role, admin: &str) -> Result<()> {
    let attributes = twin.powers.iter().filter(|power| !base.powers.contains(power)).cloned();
    let powerful = |role: &&String| POWERFUL.iter().any(|prefix| role.starts_with(prefix)) || role.as_str() == admin;
    let memberships = twin
        .member_of
        .iter()
        .filter(powerful)
        .filter(|role| !base.is_member_of(role))
        .map(|role| format!("membership in {role}"));
    let excess: Vec<String> = attributes.chain(memberships).collect();
    if excess.is_empty() {
        return Ok(());
    }
    Err(Error::new(
        Code::TwinTooPowerful,
        format!(
            "{:?} has what {:?} has not: {}. A rotation must not hand that out.",
            twin.name,
            base.name,
            excess.join(", ")
        ),
        level(twin, base),
    ))
}

/// How to make `twin` no stronger than `other`.
fn level(twin: &Role, other: &Role) -> String {
    let (twin, other) = (quoted(&twin.name), quoted(&other.name));
    format!(
        "Take it from {twin}: REVOKE <role> FROM {twin}, or ALTER ROLE {twin} NO<attribute>. If the application is to have it, give it to {other} as well."
    )
}

fn admin_suffices(turn: &Turn, admin: &str, catalog: &Catalog) -> Result<Option<Warning>> {
    let Some(role) = catalog.role(admin) else {
        return Err(Error::new(
            Code::AdminMissing,
            format!("The server knows no role {admin:?}, which the admin secret names."),
            "Correct the admin secret.",
        ));
    };
    if role.superuser {
        return Ok(None);
    }
    let on_rds = role.is_member_of("rds_superuser");
    if !role.creates_roles && !on_rds {
        return Err(Error::new(
            Code::AdminLacksCreaterole,
            format!("The admin {admin:?} has no CREATEROLE."),
            format!("As a superuser: ALTER ROLE {} CREATEROLE", quoted(admin)),
        ));
    }
    if catalog.server.restricts_password_commands && !role.is_member_of("rds_password") {
        return Err(Error::new(
            Code::AdminLacksRdsPassword,
            format!("rds.restrict_password_commands is on, and the admin {admin:?} is not a member of rds_password."),
            format!("GRANT rds_password TO {}", quoted(admin)),
        ));
    }
    let missing = missing_admin_options(turn, catalog);
    if missing.is_empty() {
        return Ok(None);
    }
    let grants: Vec<String> =
        missing.iter().map(|role| format!("GRANT {} TO {} WITH ADMIN OPTION", quoted(role), quoted(admin))).collect();
    let says = format!(
        "The admin {admin:?} lacks ADMIN OPTION on {}, which PostgreSQL 16 and later ask for.",
        missing.join(" and ")
    );
    if on_rds {
        // RDS may let an rds_superuser through all the same: the statement itself will tell.
        let says = format!("{says} Should it be refused: {}", grants.join("; "));
        return Ok(Some(Warning { code: Code::AdminLacksAdminOption, says }));
    }
    Err(Error::new(
        Code::AdminLacksAdminOption,
        says,
        format!("As whoever made the role, or a superuser: {}", grants.join("; ")),
    ))
}

/// The roles on which the admin must have ADMIN OPTION and has not. Before PostgreSQL 16 CREATEROLE was enough.
fn missing_admin_options(turn: &Turn, catalog: &Catalog) -> Vec<String> {
    if catalog.server.version < ADMIN_OPTION_NEEDED {
        return Vec::new();
    }
    let twin = catalog.role(&turn.pending);
    let grant_needed =
        |base: &&str| *base == turn.pending || twin.is_none_or(|twin| !(twin.inherits_base && twin.may_set_base));
    let needed = turn.base().filter(grant_needed).into_iter().chain(twin.map(|twin| twin.name.as_str()));
    let mut missing: Vec<String> = needed
        .filter(|name| catalog.role(name).is_some_and(|role| !role.admin_has_option))
        .map(str::to_owned)
        .collect();
    missing.dedup();
    missing
}

/// The statement that shows an operator where a role stands.
pub(crate) fn look_at(role: &str) -> String {
    format!("SELECT * FROM pg_roles WHERE rolname = {}", literal(role))
}

#[cfg(test)]
mod tests;
