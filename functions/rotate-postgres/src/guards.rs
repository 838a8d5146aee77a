//! What must be true before the admin's power is used. Pure: what was read in, a verdict out.
//!
//! Whoever can write a secret decides whose password is reset with whose power. These rules see to it that this is never a
//! user with more rights than the one they can log in as already.

use crate::case::Case;
use crate::catalog::{Catalog, MEMBERSHIP_OPTIONS, Role, heeds_role_settings};
use crate::codes::Code;
use crate::layout::{Base, Turn};
use crate::mark;
use crate::settings::StaleSessions;
use crate::statements::{self, MembershipOptions};
use keyturn::address::Address;
use keyturn::codes::Code as Core;
use keyturn::{Error, Result};
use keyturn_postgres::codes::Code as PostgresCode;
use keyturn_postgres::{literal, quoted};

/// Members of this role log in by IAM token only.
const IAM: &str = "rds_iam";

/// The first version in which a login cannot grant itself to others.
const SELF_ADMINISTRATION_ENDED: i32 = 150_000;

/// The rotated secret and its admin secret must mean the same server.
///
/// Errors: `ADMIN_OF_ANOTHER_SERVER`.
pub(crate) fn same_server(current: &Address, admin: &Address) -> Result<()> {
    if current == admin {
        return Ok(());
    }
    Err(Error::new(
        Core::AdminOfAnotherServer,
        format!("The secret is for {current}, but its admin secret (masterarn) is for {admin}."),
        format!(
            "Let both name the same host and port. If {} is a name of your own for {} (a CNAME), tag the secret keyturn:tls-name={}. If it is a replica, proxy or alias, say so to the function: HOST_ALIASES={current}={admin}",
            current.host, admin.host, admin.host
        ),
    ))
}

/// What stops the rotation, and what an operator should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) refusals: Vec<Error>,
    pub(crate) warnings: Vec<Error>,
}

impl Verdict {
    /// Errors: the first refusal.
    pub(crate) fn warnings(self) -> Result<Vec<Error>> {
        self.refusals.into_iter().next().map_or(Ok(self.warnings), Err)
    }

    fn refuse(&mut self, found: Result<()>) {
        self.refusals.extend(found.err());
    }

    fn warn_or_refuse(&mut self, found: Result<Option<Error>>) {
        match found {
            Ok(warning) => self.warnings.extend(warning),
            Err(error) => self.refusals.push(error),
        }
    }
}

/// The roles of the turn, as the server knows them. `admin` is the login that the admin secret names.
pub(crate) fn judge(case: &Case, turn: &Turn, admin: &str, catalog: &Catalog) -> Verdict {
    let required = || {
        let acting = acting_admin(admin, catalog)?;
        names(turn, [admin, &acting.name])?;
        Ok((acting, base_role(turn, catalog)?, existing(&turn.current, catalog)?))
    };
    let mut verdict = Verdict::default();
    let (acting, base, current) = match required() {
        Ok(roles) => roles,
        // Without these nothing else can be judged.
        Err(error) => return Verdict { refusals: vec![error], ..verdict },
    };
    let pending = catalog.role(&turn.pending);
    let keeps_its_own = pending.zip(base).is_some_and(|(twin, base)| statements::keeps_its_own(turn, twin, base));
    let needs_setting = match turn.base {
        Base::Owner(_) => case.acts_as_base,
        Base::Current => case.acts_as_base && !keeps_its_own,
        Base::Pending | Base::None => false,
    };
    if needs_setting && !heeds_role_settings(catalog.server.version) {
        verdict.refusals.push(role_settings_ignored(case, catalog.server.version));
    }
    for role in [base, Some(current), pending].into_iter().flatten() {
        verdict.refuse(takes_passwords(role));
    }
    if let Some(pending) = pending {
        verdict.refuse(unlocked(pending, current));
    }
    verdict.refuse(has_room(current, turn));
    verdict.refuse(case.check_valid_days());
    for role in mark::users(turn, catalog) {
        verdict.refuse(of_this_secret(case, role));
    }
    verdict.refuse(match (&turn.base, base) {
        (Base::Owner(_), Some(owner)) => owner_layout(case, turn, current, pending, owner, catalog),
        (Base::Current, Some(base)) => to_the_clone(case, base, pending, catalog),
        // From the clone back to its base. Membership was given by someone with power over the base: it says "these two are one
        // application". Who has the base's password can do all that the base can, so the clone must be able to already.
        (Base::Pending, Some(base)) => member(current, base, catalog).and_then(|()| may_act(current, base)),
        _ => pair(current, pending, turn, catalog),
    });
    verdict.warn_or_refuse(no_fewer_attributes(case, turn, current, pending));
    verdict.warnings.extend(not_shared(case, turn, current, pending, base));
    for role in [Some(current), pending].into_iter().flatten() {
        verdict.refuse(within_reach(role, acting, catalog));
    }
    if let Some(pending) = pending {
        verdict.warn_or_refuse(stale_sessions(case, pending, acting));
    }
    verdict.warnings.extend(dies_soon(case, turn, current, pending));
    verdict.refuse(replicates_too(current, pending, turn, acting, catalog));
    verdict.warn_or_refuse(admin_suffices(turn, acting, catalog));
    verdict.warn_or_refuse(settings_can_be_copied(case, turn, acting, catalog));
    verdict
}

/// A login would not act as its base or owner.
pub(crate) fn role_settings_ignored(case: &Case, version: i32) -> Error {
    let (major, minor) = (version / 10_000, version % 10_000);
    Error::new(
        Code::RoleSettingsIgnored,
        format!(
            "PostgreSQL {major}.{minor} ignores ALTER ROLE ... SET role: the second user would act as itself, and own what it makes."
        ),
        format!(
            "Upgrade the server to {major}.{} or later. Or let the users act as themselves: aws secretsmanager tag-resource --secret-id {} --tags Key=keyturn:acts-as,Value=self",
            minor + 1,
            case.secret
        ),
    )
}

/// Two logins that the operator named, and the role that owns what they make.
fn owner_layout(
    case: &Case,
    turn: &Turn,
    current: &Role,
    twin: Option<&Role>,
    owner: &Role,
    catalog: &Catalog,
) -> Result<()> {
    let starts_with_owner = current.name == owner.name;
    if !starts_with_owner {
        member(current, owner, catalog)?;
        if case.acts_as_base {
            may_act(current, owner)?;
        }
        no_objects_of_its_own(case, current, owner)?;
    }
    if let Some(twin) = twin {
        twin_is_ours(case, twin, owner, catalog)?;
        twin_acts_as(case, twin, owner)?;
        // The user in use is the measure, so that a rotation hands out nothing that its holder does not have.
        no_more(twin, current, catalog)?;
    }
    no_fewer_memberships(case, turn, current, twin, owner)
}

/// PostgreSQL asks the login itself what it may SET ROLE to, and `pg_hba.conf` whom it admits by `+group`. What the rotation
/// gives is membership in the owner, and by that in whatever the owner is in.
fn no_fewer_memberships(case: &Case, turn: &Turn, current: &Role, twin: Option<&Role>, owner: &Role) -> Result<()> {
    let has = |user: &Role, role: &String| user.name == *role || user.rights_of.contains(role);
    let given = |role: &String| *role == turn.pending || has(owner, role) || twin.is_some_and(|twin| has(twin, role));
    let lacking = current.uses.iter().filter(|role| !given(role));
    let lacking: Vec<String> = lacking.map(|role| quoted(role)).collect();
    if lacking.is_empty() {
        return Ok(());
    }
    let (lacking, name, owner) = (lacking.join(", "), quoted(&turn.pending), &owner.name);
    let give = if twin.is_some() {
        format!("GRANT {lacking} TO {name}")
    } else {
        let act = format!("; ALTER ROLE {name} SET role = {}", literal(owner));
        let act = if case.acts_as_base { act.as_str() } else { "" };
        format!("CREATE ROLE {name} LOGIN IN ROLE {}, {lacking}{act}", quoted(owner))
    };
    let remedy = format!(
        "If its clients do not need that: REVOKE {lacking} FROM {}. Else give it to the other user, with the same options: {give}",
        quoted(&current.name)
    );
    Err(Error::new(
        Code::PairRightsDiffer,
        format!(
            "{:?} is a member of {lacking}, {:?} would not be: its clients would lose that.",
            current.name, turn.pending
        ),
        remedy,
    ))
}

/// From the base to its clone.
fn to_the_clone(case: &Case, base: &Role, twin: Option<&Role>, catalog: &Catalog) -> Result<()> {
    let Some(twin) = twin else { return Ok(()) };
    twin_is_ours(case, twin, base, catalog)?;
    no_more(twin, base, catalog)
}

/// What is held and not known.
fn beyond<'h>(held: &'h [String], known: &[String]) -> Vec<&'h str> {
    held.iter().filter(|one| !known.contains(one)).map(String::as_str).collect()
}

/// Two logins that exist; nothing but a password is changed.
fn pair(current: &Role, pending: Option<&Role>, turn: &Turn, catalog: &Catalog) -> Result<()> {
    let Some(pending) = pending else {
        return Err(Error::new(
            Core::UserMissing,
            format!("There is no user {:?}. In pair layout both users must exist.", turn.pending),
            format!(
                "CREATE ROLE {} LOGIN with the rights it needs, or add the tag keyturn:owner and let the rotation make it.",
                quoted(&turn.pending)
            ),
        ));
    };
    no_more(pending, current, catalog)?;
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
    let lacking = beyond(&current.powers, &pending.powers);
    // REPLICATION has a code of its own.
    if lacking.is_empty() || lacking == ["REPLICATION"] {
        return Ok(());
    }
    Err(attributes_differ(current, &pending.name, &lacking, Some(pending), ""))
}

/// A login that acts as itself has its own attributes alone, and a new one is made without any.
fn no_fewer_attributes(case: &Case, turn: &Turn, current: &Role, pending: Option<&Role>) -> Result<Option<Error>> {
    if case.acts_as_base || !turn.copies() {
        return Ok(None);
    }
    let lacking = beyond(&current.attributes, pending.map_or(&[], |pending| &pending.attributes));
    if lacking.is_empty() {
        return Ok(None);
    }
    let differ = attributes_differ(current, &turn.pending, &lacking, pending, turn.base().unwrap_or_default());
    // What AWS's function has left, its clients know.
    if pending.is_some() { Ok(Some(differ)) } else { Err(differ) }
}

fn attributes_differ(current: &Role, other: &str, lacking: &[&str], pending: Option<&Role>, base: &str) -> Error {
    let (all, name) = (lacking.join(" "), quoted(other));
    let give = match pending {
        Some(_) => format!("ALTER ROLE {name} {all}"),
        None => format!("CREATE ROLE {name} LOGIN {all} IN ROLE {}", quoted(base)),
    };
    Error::new(
        Code::PairRightsDiffer,
        format!("{:?} has {}, {other:?} has not: its clients would lose that.", current.name, lacking.join(", ")),
        format!(
            "Make both alike. If clients do not need it: ALTER ROLE {} NO{}. Else, as a superuser: {give}",
            quoted(&current.name),
            lacking.join(" NO")
        ),
    )
}

/// What clients of the user in use have, and will not have as the next one. What AWS's function has left, its clients know.
fn not_shared(case: &Case, turn: &Turn, current: &Role, pending: Option<&Role>, base: Option<&Role>) -> Vec<Error> {
    // From whom, to whom, and whether its grants by name have an effect, or would have none any more.
    let (from, to, by_itself) = match (&turn.base, base, pending) {
        (Base::Current, Some(base), Some(twin)) if case.acts_as_base && statements::keeps_its_own(turn, twin, base) => {
            (twin, base, true)
        }
        (Base::Pending, Some(base), _) => (current, base, !current.acts_as_another()),
        (Base::Owner(_), Some(owner), _) if current.name != owner.name => {
            (current, pending.unwrap_or(owner), !case.acts_as_base)
        }
        (Base::None, _, Some(pending)) => (current, pending, !current.acts_as_another()),
        _ => return Vec::new(),
    };
    let owns = from.owns_objects && matches!(turn.base, Base::Current | Base::Pending);
    let grants = by_itself && from.has_grants_beyond.contains(&to.name);
    let then = format!("Then it acts as {:?}, too", to.name);
    let then =
        if case.acts_as_base && matches!(turn.base, Base::Current | Base::Pending) { then } else { String::new() };
    let owns = owns.then(|| {
        let says = format!("{:?} owns objects on which {:?} has no rights.", from.name, to.name);
        Error::new(Code::ObjectsNotShared, says, format!("{}. {then}", reassign(from, to)))
    });
    let grants = grants.then(|| {
        Error::new(
            Code::GrantsNotShared,
            format!("{:?} has rights by name (GRANT, policies) on objects on which {:?} has none.", from.name, to.name),
            format!(
                "In each database of the application, give {to} the same: SELECT table_schema, table_name, privilege_type FROM information_schema.table_privileges WHERE grantee = {name}; policies: SELECT * FROM pg_policies WHERE {name} = ANY (roles). {then}",
                to = quoted(&to.name),
                name = literal(&from.name)
            ),
        )
    });
    owns.into_iter().chain(grants).collect()
}

/// The role as which the admin changes others.
pub(crate) fn acting_admin<'c>(admin: &str, catalog: &'c Catalog) -> Result<&'c Role> {
    catalog.admin().ok_or_else(|| {
        Error::new(
            Code::AdminMissing,
            format!("The server knows no role {admin:?}, which the admin secret names."),
            "Correct the admin secret.",
        )
    })
}

fn names(turn: &Turn, admins: [&str; 2]) -> Result<()> {
    if !admins.iter().any(|admin| turn.pending == *admin || turn.current == *admin) {
        return Ok(());
    }
    Err(Error::new(
        Core::AdminIsTarget,
        format!("The admin {:?} is, or acts as, one of the users this secret alternates between.", admins[0]),
        "Use an admin user of its own: CREATE ROLE rotation_admin LOGIN CREATEROLE PASSWORD '...'",
    ))
}

fn base_role<'c>(turn: &Turn, catalog: &'c Catalog) -> Result<Option<&'c Role>> {
    let Some(base) = turn.base() else { return Ok(None) };
    catalog.role(base).map(Some).ok_or_else(|| {
        Error::new(
            Code::OwnerMissing,
            format!("There is no role {base:?} for the two users to share."),
            format!("Create it, or correct the secret's tags: CREATE ROLE {} NOLOGIN", quoted(base)),
        )
    })
}

pub(crate) fn existing<'c>(name: &str, catalog: &'c Catalog) -> Result<&'c Role> {
    catalog.role(name).ok_or_else(|| {
        Error::new(Core::UserMissing, format!("There is no user {name:?}."), "Correct the user in the secret's value.")
    })
}

fn takes_passwords(role: &Role) -> Result<()> {
    if !role.is_member_of(IAM) {
        return Ok(());
    }
    Err(Error::new(
        PostgresCode::IamAuthOnly,
        format!("{:?} is a member of rds_iam: RDS then takes IAM tokens from it, and no password.", role.name),
        format!("Rotate nothing (IAM tokens rotate themselves), or REVOKE rds_iam FROM {}", quoted(&role.name)),
    ))
}

/// NOLOGIN, VALID UNTIL in the past and CONNECTION LIMIT 0 are how a login is locked in an incident, and the first is what a
/// group is: none of them is a rotation's to lift.
fn unlocked(role: &Role, current: &Role) -> Result<()> {
    if role.expired {
        return Err(expired(role, current));
    }
    let (lock, lifted_by) = if !role.may_log_in {
        ("NOLOGIN", "LOGIN".to_owned())
    } else if role.connection_limit == 0 {
        let limit = if current.connection_limit == 0 { -1 } else { current.connection_limit };
        ("CONNECTION LIMIT 0", format!("CONNECTION LIMIT {limit}"))
    } else {
        return Ok(());
    };
    Err(Error::new(
        PostgresCode::RoleCannotLogIn,
        format!(
            "{:?} may not log in ({lock}): somebody locked it, or it is a group. A rotation leaves that as it is.",
            role.name
        ),
        format!(
            "If it is to log in again, without its old password (the rotation sets a new one): ALTER ROLE {} {lifted_by} PASSWORD NULL",
            quoted(&role.name)
        ),
    ))
}

/// The other user gets the limit of the one in use: with none at all, nobody could prove its password.
fn has_room(current: &Role, turn: &Turn) -> Result<()> {
    if current.connection_limit != 0 || !turn.copies() {
        return Ok(());
    }
    Err(Error::new(
        PostgresCode::ConnectionLimitReached,
        format!(
            "{:?} has CONNECTION LIMIT 0, and {:?} would get the same: neither could log in.",
            current.name, turn.pending
        ),
        format!("ALTER ROLE {} CONNECTION LIMIT -1", quoted(&current.name)),
    ))
}

/// A date that somebody has set, or that `PASSWORD_VALID_DAYS` has left when it was unset: no rotation moves it on.
fn dies_soon(case: &Case, turn: &Turn, current: &Role, pending: Option<&Role>) -> Option<Error> {
    let whose = if turn.copies() { current } else { pending? };
    let (days, period) = (whose.days_left?, case.period_days?);
    if case.valid_days.is_some() || i64::from(days) > 2 * period {
        return None;
    }
    let says = format!(
        "{:?} will have VALID UNTIL {}, in {days} days, and is rotated every {period}: its password dies before it is replaced.",
        turn.pending,
        whose.valid_until.as_deref().unwrap_or_default()
    );
    let remedy = format!(
        "Move the date on for both users: ALTER ROLE {current} VALID UNTIL 'infinity'; ALTER ROLE {pending} VALID UNTIL 'infinity'",
        current = quoted(&turn.current),
        pending = quoted(&turn.pending)
    );
    Some(Error::new(Code::PasswordExpiresSoon, says, remedy))
}

/// Sessions of others may be ended by whoever has their rights, or those of `pg_signal_backend`.
///
/// Errors: `ADMIN_LACKS_PRIVILEGE`.
pub(crate) fn may_end_sessions(admin: &Role, user: &Role) -> Result<()> {
    if admin.superuser || admin.ends_sessions || admin.inherits(&user.name) {
        return Ok(());
    }
    Err(Error::new(
        Core::AdminLacksPrivilege,
        format!("Sessions of {:?} are to be ended, and the admin {:?} may not do that.", user.name, admin.name),
        format!("GRANT pg_signal_backend TO {}", quoted(&admin.name)),
    ))
}

/// Open sessions of the user whose password comes next: their clients have not read the secret since the turn before, and will
/// be refused when they connect again.
fn stale_sessions(case: &Case, pending: &Role, admin: &Role) -> Result<Option<Error>> {
    if case.stale_sessions == StaleSessions::Terminate {
        may_end_sessions(admin, pending)?;
    }
    if pending.sessions == 0 {
        return Ok(None);
    }
    let clients = if pending.clients.is_empty() { "without a name" } else { &pending.clients.join(", ") };
    let says = format!(
        "{} session(s) of {:?} are open ({clients}): clients that have not read the secret since the turn before. Their next connection will be refused.",
        pending.sessions, pending.name
    );
    let remedy = format!(
        "Let these clients read the secret again. Who they are: SELECT pid, client_addr, application_name, backend_start FROM pg_stat_activity WHERE usename = {}",
        literal(&pending.name)
    );
    let found = Error::new(Code::StaleSessions, says, remedy);
    if case.stale_sessions == StaleSessions::Fail { Err(found) } else { Ok(Some(found)) }
}

/// Some roles only a superuser may change, even their password: superusers, and up to 15 those with REPLICATION.
fn within_reach(role: &Role, admin: &Role, catalog: &Catalog) -> Result<()> {
    let what = if role.superuser {
        "a superuser"
    } else if role.replicates && catalog.server.version < MEMBERSHIP_OPTIONS {
        "a role with REPLICATION on PostgreSQL 15 or before"
    } else {
        return Ok(());
    };
    if admin.superuser {
        return Ok(());
    }
    Err(Error::new(
        Core::AdminLacksPrivilege,
        format!("{:?} is {what}: only a superuser may change it, and the admin {:?} is none.", role.name, admin.name),
        "Let masterarn name a superuser, or give that power to a login of its own.",
    ))
}

/// Two secrets for the same users would change each other's passwords, in silence.
fn of_this_secret(case: &Case, role: &Role) -> Result<()> {
    let other = role.comment.as_deref().and_then(mark::secret_in);
    let Some(other) = other.filter(|other| *other != case.secret && !case.adopts(other)) else { return Ok(()) };
    Err(Error::new(
        Code::PairOfAnotherSecret,
        format!("{:?} is a user of the secret {other} (its comment says so), not of {}.", role.name, case.secret),
        format!(
            "Delete one of the two secrets. If this one takes the other's place (a restored database, a secret made anew): aws secretsmanager tag-resource --secret-id {} --tags Key=keyturn:adopt,Value={other}",
            case.secret
        ),
    ))
}

fn member(login: &Role, base: &Role, catalog: &Catalog) -> Result<()> {
    // From PostgreSQL 16 on a membership may give nothing at all (INHERIT FALSE, SET FALSE): that vouches for nothing.
    if login.is_member_of(&base.name) && (login.inherits(&base.name) || login.may_set(&base.name)) {
        return Ok(());
    }
    Err(Error::new(
        Code::CurrentNotMember,
        format!("{:?} is not a member of {:?}, so nothing says that the two belong together.", login.name, base.name),
        format!("If they do: {}", grant(base, login, catalog)),
    ))
}

/// The statement by which an admin puts a login into a role. Up to 15 a grant that somebody else made keeps its grantor.
fn grant(base: &Role, login: &Role, catalog: &Catalog) -> String {
    let (base, login) = (quoted(&base.name), quoted(&login.name));
    if catalog.server.version < MEMBERSHIP_OPTIONS {
        format!("REVOKE {base} FROM {login}; GRANT {base} TO {login}")
    } else {
        format!("GRANT {base} TO {login}")
    }
}

/// The user in use may do all that its base may. If not, the other user must not be able to either.
fn may_act(login: &Role, base: &Role) -> Result<()> {
    if login.may_set(&base.name) {
        return Ok(());
    }
    Err(Error::new(
        Code::MembershipHasNoEffect,
        format!(
            "{:?} is a member of {:?} without SET, so it cannot act as it; a rotation must not give its other user more.",
            login.name, base.name
        ),
        format!("If it is to act as it: GRANT {} TO {} WITH SET TRUE", quoted(&base.name), quoted(&login.name)),
    ))
}

/// What the user in use owns, and makes, must be within the next one's reach: clients would lose their tables.
fn no_objects_of_its_own(case: &Case, current: &Role, owner: &Role) -> Result<()> {
    let does = if current.owns_objects {
        "owns objects"
    } else if case.acts_as_base && current.acts_as != owner.acts_as {
        "acts as itself and not as the owner, so that it owns what it makes"
    } else {
        return Ok(());
    };
    let says = format!("{:?} {does}: {:?} and its other users have no rights on them.", current.name, owner.name);
    let act = format!(
        " And once, for what it makes from now on: ALTER ROLE {} SET role = {}",
        quoted(&current.name),
        literal(&owner.name)
    );
    let act = if case.acts_as_base { act } else { String::new() };
    Err(Error::new(Code::ObjectsNotShared, says, format!("{}.{act}", reassign(current, owner))))
}

/// Default privileges and user mappings are no objects that REASSIGN OWNED moves.
fn reassign(from: &Role, to: &Role) -> String {
    let (from, to) = (quoted(&from.name), quoted(&to.name));
    format!(
        "In each database of the application: REASSIGN OWNED BY {from} TO {to} (default privileges and user mappings stay behind: make them anew for {to})"
    )
}

/// The catalog has to say that an existing role is this application's second user, by something that the application itself
/// cannot have written.
fn twin_is_ours(case: &Case, twin: &Role, base: &Role, catalog: &Catalog) -> Result<()> {
    let marked = twin.comment.as_deref().and_then(mark::secret_in).is_some_and(|secret| secret == case.secret);
    if twin.vouched_for.contains(&base.name) || marked || case.adopts(&twin.name) {
        return Ok(());
    }
    let why = if twin.is_member_of(&base.name) {
        "is a member of it, but by no admin's grant"
    } else {
        "is not a member of it by anybody else's grant than its own"
    };
    Err(Error::new(
        Code::TwinIsSomebodyElse,
        format!(
            "{:?} exists, but nothing says that it is a second user of {:?}: it {why}, and may be another application's.",
            twin.name, base.name
        ),
        format!(
            "If it is this application's, as an admin: {}. Or vouch for it: aws secretsmanager tag-resource --secret-id {} --tags 'Key=keyturn:adopt,Value={}'. Otherwise name two other users with the tag keyturn:usernames.",
            grant(base, twin, catalog),
            case.secret,
            twin.name
        ),
    ))
}

/// Membership in the owner alone does not make two logins one application. Acting as the owner does: only the login itself,
/// or someone with power over it, can have set that.
fn twin_acts_as(case: &Case, twin: &Role, owner: &Role) -> Result<()> {
    if !case.acts_as_base || case.adopts(&twin.name) || twin.acts_as == owner.acts_as {
        return Ok(());
    }
    // Its setting is right, but has no effect yet: the rotation gives it the membership that it lacks.
    if twin.assumes() == Some(owner.assumes().unwrap_or(&owner.name)) {
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

/// The rotation leaves a VALID UNTIL that has passed as it is, and no password of the user would be accepted.
///
/// In owner and clone layout a new user gets the date of the one in use. Who moves that on has to move both.
pub(crate) fn expired(role: &Role, current: &Role) -> Error {
    Error::new(
        Code::PasswordExpired,
        format!(
            "VALID UNTIL of {:?} is in the past ({}): no password of it is accepted.",
            role.name,
            role.valid_until.as_deref().unwrap_or_default()
        ),
        format!(
            "If somebody has locked it, find out why. To use it again, without its old password (the rotation sets a new one): ALTER ROLE {} VALID UNTIL {} PASSWORD NULL",
            quoted(&role.name),
            literal(current.valid_until.as_deref().unwrap_or("infinity"))
        ),
    )
}

/// Whoever learns the password of `twin` gets nothing that `other` does not have.
fn no_more(twin: &Role, other: &Role, catalog: &Catalog) -> Result<()> {
    let more = |held: &[String], known: &[String], what: &str, itself: bool| -> Vec<String> {
        let is_other = |role: &&str| itself && *role == other.name;
        beyond(held, known).into_iter().filter(|role| !is_other(role)).map(|role| format!("{what}{role}")).collect()
    };
    // Up to 14 every login can grant itself.
    let grants_itself = catalog.server.version < SELF_ADMINISTRATION_ENDED;
    let mut excess = more(&twin.powers, &other.powers, "", false);
    let rights = more(&twin.rights_of, &other.rights_of, "membership in ", true);
    if rights.is_empty() {
        excess.extend(more(&twin.can_act_as, &other.can_act_as, "SET OPTION on ", true));
        excess.extend(more(&twin.can_grant, &other.can_grant, "ADMIN OPTION on ", grants_itself));
    }
    excess.extend(rights);
    if excess.is_empty() {
        return Ok(());
    }
    let (a, b) = (quoted(&twin.name), quoted(&other.name));
    Err(Error::new(
        Code::TwinTooPowerful,
        format!(
            "{:?} has what {:?} has not: {}. A rotation must not hand that out.",
            twin.name,
            other.name,
            excess.join(", ")
        ),
        format!(
            "Take it from {a}: REVOKE <role> FROM {a}, or ALTER ROLE {a} NO<attribute>. If the application is to have it, give it to {b} as well."
        ),
    ))
}

/// PostgreSQL asks the login itself for REPLICATION, whomever it acts as.
fn replicates_too(current: &Role, pending: Option<&Role>, turn: &Turn, admin: &Role, catalog: &Catalog) -> Result<()> {
    let lacks = current.replicates && pending.is_none_or(|pending| !pending.replicates);
    if !lacks || turn.base == Base::Pending || statements::gives_replication(admin, turn, catalog) {
        return Ok(());
    }
    let twin = quoted(&turn.pending);
    let base = turn.base().map(|base| format!(" IN ROLE {}", quoted(base))).unwrap_or_default();
    let statement = match pending {
        Some(_) => format!("ALTER ROLE {twin} REPLICATION"),
        None => format!("CREATE ROLE {twin} LOGIN REPLICATION{base}"),
    };
    Err(Error::new(
        Code::TwinLacksReplication,
        format!(
            "{:?} may log in for replication, {:?} may not, and the admin cannot change that.",
            current.name, turn.pending
        ),
        format!("As a superuser: {statement}"),
    ))
}

/// A twin without a setting of its base would surprise clients after every second rotation.
fn settings_can_be_copied(case: &Case, turn: &Turn, admin: &Role, catalog: &Catalog) -> Result<Option<Error>> {
    let denied = statements::denied_settings(case, turn, catalog);
    if denied.is_empty() {
        return Ok(None);
    }
    let mut denied = denied.join("; ");
    if denied.contains("'...'") {
        denied = format!(
            "{denied} -- '...' is the value that {:?} has: SELECT setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole WHERE rolname = {}",
            turn.current,
            literal(&turn.current)
        );
    }
    let says = format!("Only a superuser may make the settings of {:?} like those of its other user.", turn.pending);
    let create = match (catalog.role(&turn.pending), turn.base()) {
        (None, Some(base)) => format!("CREATE ROLE {} LOGIN IN ROLE {}; ", quoted(&turn.pending), quoted(base)),
        _ => String::new(),
    };
    superusers(admin, Code::SettingNotCopied, says, &denied, &format!("As a superuser: {create}{denied}"))
}

/// What only a superuser may do. RDS may let an `rds_superuser` through all the same: there the statement itself will tell.
fn superusers(admin: &Role, code: Code, says: String, sql: &str, remedy: &str) -> Result<Option<Error>> {
    if on_rds(admin) {
        return Ok(Some(Error::new(code, says, format!("Should it be refused: {sql}"))));
    }
    Err(Error::new(code, says, remedy))
}

fn on_rds(admin: &Role) -> bool {
    admin.is_member_of("rds_superuser")
}

fn admin_suffices(turn: &Turn, admin: &Role, catalog: &Catalog) -> Result<Option<Error>> {
    if admin.superuser {
        return Ok(None);
    }
    let name = &admin.name;
    if !admin.creates_roles && !on_rds(admin) {
        return Err(Error::new(
            Code::AdminLacksCreaterole,
            format!("The admin {name:?} has no CREATEROLE."),
            format!("As a superuser: ALTER ROLE {} CREATEROLE", quoted(name)),
        ));
    }
    if catalog.server.restricts_password_commands && !admin.is_member_of("rds_password") {
        return Err(Error::new(
            Code::AdminLacksRdsPassword,
            format!("rds.restrict_password_commands is on, and the admin {name:?} is not a member of rds_password."),
            format!("GRANT rds_password TO {}", quoted(name)),
        ));
    }
    let missing = missing_admin_options(turn, admin, catalog);
    if missing.is_empty() {
        return Ok(None);
    }
    let grants: Vec<String> =
        missing.iter().map(|role| format!("GRANT {} TO {} WITH ADMIN OPTION", quoted(role), quoted(name))).collect();
    let says = format!(
        "The admin {name:?} lacks ADMIN OPTION on {}, which PostgreSQL 16 and later ask for.",
        missing.join(" and ")
    );
    let grants = grants.join("; ");
    let remedy = format!("As whoever made the role, or a superuser: {grants}");
    superusers(admin, Code::AdminLacksAdminOption, says, &grants, &remedy)
}

/// The roles on which the admin must have ADMIN OPTION and has not: both users, which it marks, and the owner, if it has to
/// put a user into it. Before PostgreSQL 16 CREATEROLE was enough.
fn missing_admin_options(turn: &Turn, admin: &Role, catalog: &Catalog) -> Vec<String> {
    if catalog.server.version < MEMBERSHIP_OPTIONS {
        return Vec::new();
    }
    let base = turn.base().and_then(|base| catalog.role(base)).zip(catalog.role(&turn.current));
    let base = base.filter(|(base, current)| {
        let options = MembershipOptions::of(current, base);
        base.name != turn.pending && catalog.role(&turn.pending).is_none_or(|twin| !options.are_given_to(twin, base))
    });
    let base = base.map(|(base, _)| base.name.as_str());
    let needed = [Some(turn.current.as_str()), base, Some(&turn.pending)];
    let mut missing: Vec<String> = Vec::new();
    for name in needed.into_iter().flatten() {
        if catalog.role(name).is_some() && !admin.may_grant(name) && !missing.iter().any(|other| other == name) {
            missing.push(name.to_owned());
        }
    }
    missing
}

#[cfg(test)]
mod tests;
