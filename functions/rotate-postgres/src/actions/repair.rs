//! `repair-ownership`: gives what the two logins own to the role that both act as, in each database. A plan first; with
//! `"apply": true` one transaction a database, which waits for no lock for long. What is left can be asked for again.

use crate::catalog::{self, Query, Role};
use crate::codes::Code;
use crate::guards;
use crate::plan;
use crate::postgres::Postgres;
use crate::survey::{self, Survey};
use crate::transaction;
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::Attempt;
use keyturn::rotation::{Job, no_current};
use keyturn::secrets::CURRENT;
use keyturn::{Error, Result};
use keyturn_postgres::codes::Code as PostgresCode;
use keyturn_postgres::{Parameter, Session, Type, quoted};
use serde::Serialize;
use serde_json::{Value, json};

/// What belongs to the logins, and what has become of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Repair {
    action: &'static str,
    secret: String,
    /// The logins that are to own nothing, and who is to own it.
    from: Vec<String>,
    to: String,
    databases: Vec<Belongings>,
    /// This answer in sentences, for people: `jq -r '.says[]'`.
    says: Vec<String>,
    /// The event that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<Value>,
}

/// What the logins have in one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Belongings {
    database: String,
    objects: i64,
    default_privileges: i64,
    /// They may hold passwords, so that only a person makes them anew.
    user_mappings: i64,
    state: State,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Planned,
    Moved,
    /// It is as it was, for this reason.
    Left(String),
}

/// Errors: those of a rotation's createSecret, and `LAYOUT_WITHOUT_OWNER`.
pub(super) async fn repair(postgres: &Postgres, job: &Job, apply: bool) -> Result<Repair> {
    let stored = postgres.secrets.read(&job.secret_arn, CURRENT, None, job.deadline).await?;
    let stored = stored.ok_or_else(|| no_current(&job.secret_arn))?;
    let current = Credential::parse(stored.text, "the AWSCURRENT value")?;
    let survey = Box::pin(survey::survey(postgres, &current, job)).await?;
    let (turn, verdict) = plan::turn(&survey, job)?;
    // What this action mends, and locks, which it leaves.
    let fine = |refusal: &Error| {
        let own = [Code::ObjectsNotShared, Code::PasswordExpired, Code::StaleSessions];
        own.iter().any(|code| refusal.is(*code)) || refusal.is(PostgresCode::RoleCannotLogIn)
    };
    if let Some(refusal) = verdict.refusals.into_iter().find(|refusal| !fine(refusal)) {
        return Err(refusal);
    }
    let Some(owner) = turn.base().map(str::to_owned) else {
        return Err(Error::new(
            Code::LayoutWithoutOwner,
            format!("{} is in pair layout: each user owns what it makes.", job.secret_arn),
            "Use owner layout: tag the secret with keyturn:owner as well.",
        ));
    };
    let logins = [&turn.current, &turn.pending].into_iter().filter(|user| **user != owner);
    let from: Vec<String> = logins.filter(|user| survey.catalog.role(user).is_some()).cloned().collect();
    let session = survey.admin.open(postgres, job.deadline).await?.until(job.deadline);
    let mut databases = session.reading(belongings(&session, &from)).await?;
    for belongings in databases.iter_mut().filter(|_| apply) {
        let moved = Box::pin(moved(postgres, &survey, &from, &owner, &belongings.database, job)).await;
        belongings.state =
            moved.map_or_else(|error| State::Left(format!("{}: {error}", error.code())), |()| State::Moved);
    }
    let is_left = |belongings: &Belongings| belongings.state != State::Moved;
    let next = databases.iter().any(is_left);
    let mut says: Vec<String> = databases.iter().map(|belongings| belongings.sentence(&owner)).collect();
    if databases.is_empty() {
        says.push(format!("{} own nothing.", from.join(" and ")));
    }
    Ok(Repair {
        action: "repair-ownership",
        secret: job.secret_arn.clone(),
        from,
        to: owner,
        databases,
        says,
        next: next.then(|| json!({"action": "repair-ownership", "secret": job.secret_arn, "apply": true})),
    })
}

impl Belongings {
    fn sentence(&self, owner: &str) -> String {
        let Self { database, objects, default_privileges, user_mappings, state } = self;
        let what =
            format!("{objects} object(s) and {default_privileges} entries of default privileges in {database:?}");
        let mappings = if *user_mappings == 0 {
            String::new()
        } else {
            format!(
                " {user_mappings} user mapping(s) stay: they may hold passwords. Make them anew: CREATE USER MAPPING FOR {} SERVER ... OPTIONS (...)",
                quoted(owner)
            )
        };
        match state {
            State::Planned => format!("{what} would go to {owner:?}.{mappings}"),
            State::Moved => format!("{what} have gone to {owner:?}.{mappings}"),
            State::Left(why) => format!("{what} stay as they were: {why}"),
        }
    }
}

/// What the roles own in each database; what is shared by all of them counts in this one.
async fn belongings(session: &Session, roles: &[String]) -> Attempt<Vec<Belongings>> {
    let sql = "SELECT coalesce(d.datname, current_database())::text,
            count(*) FILTER (WHERE s.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)),
            count(*) FILTER (WHERE s.classid = 'pg_default_acl'::regclass),
            count(*) FILTER (WHERE s.classid = 'pg_user_mapping'::regclass)
        FROM pg_shdepend s JOIN pg_roles r ON s.refclassid = 'pg_authid'::regclass AND r.oid = s.refobjid
            LEFT JOIN pg_database d ON d.oid = s.dbid
        WHERE r.rolname = ANY ($1::text[]) AND s.deptype = 'o' GROUP BY 1 ORDER BY 1";
    let roles: [Parameter<'_>; 1] = [(&roles, Type::TEXT_ARRAY)];
    let rows = session.rows(sql, &roles, "looking at what the users own").await?;
    let belongings = rows.iter().map(|row| Belongings {
        database: row.get(0),
        objects: row.get(1),
        default_privileges: row.get(2),
        user_mappings: row.get(3),
        state: State::Planned,
    });
    Ok(belongings.collect())
}

/// Moves everything in one database, or nothing.
///
/// Safe to repeat: what has been moved is not there to be moved again.
async fn moved(
    postgres: &Postgres,
    survey: &Survey,
    from: &[String],
    owner: &str,
    database: &str,
    job: &Job,
) -> Result<()> {
    let admin = &survey.admin;
    let session = admin.open_in(database, postgres, job.deadline).await?.until(job.deadline);
    let names: Vec<String> = from.iter().cloned().chain([owner.to_owned()]).collect();
    let query = Query { names: &names, database, admin: &admin.login.user, its_database: database };
    session.run(transaction::BEGIN, "starting the transaction").await?;
    let catalog = catalog::read(&session, query).await?;
    let acting = guards::acting_admin(&admin.login.user, &catalog)?;
    // PostgreSQL asks for the rights of both sides. What the admin lacks of them it has for this transaction alone.
    let lacks = |name: &&String| !acting.superuser && acting.name != **name && !acting.inherits(name);
    let lent: Vec<&String> = names.iter().filter(lacks).collect();
    if let Some(role) = granted_already(&session, &acting.name, &lent).await? {
        return Err(Error::new(
            Core::AdminLacksPrivilege,
            format!("The admin {:?} is a member of {role:?} without its rights.", acting.name),
            format!("{}; and ask again.", grant(&role, acting, catalog.server.version)),
        ));
    }
    let grants = lent.iter().map(|name| grant(name, acting, catalog.server.version));
    let privileges = default_privileges(&session, from, owner).await?;
    let reassign = from.iter().map(|user| format!("REASSIGN OWNED BY {} TO {}", quoted(user), quoted(owner)));
    let revokes = lent.iter().map(|name| format!("REVOKE {} FROM {}", quoted(name), quoted(&acting.name)));
    let statements: Vec<String> = grants.chain(reassign).chain(privileges).chain(revokes).collect();
    let given = session.run(&statements.join("; "), "giving the objects to their owner").await;
    given.map_err(|failure| {
        if failure.error.is(Core::AdminLacksPrivilege) {
            may_not_own(failure.error, owner, database)
        } else {
            failure.error
        }
    })?;
    session.commit().await?;
    Ok(())
}

/// A membership of the admin's that a REVOKE after the change would take away, though it was there before.
async fn granted_already(session: &Session, admin: &str, roles: &[&String]) -> Attempt<Option<String>> {
    let sql = "SELECT r.rolname::text FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        WHERE m.member = to_regrole(quote_ident($1))::oid AND r.rolname = ANY ($2::text[])
            AND (current_setting('server_version_num')::int4 < 160000 OR m.grantor = m.member) LIMIT 1";
    let by: [Parameter<'_>; 2] = [(&admin, Type::TEXT), (&roles, Type::TEXT_ARRAY)];
    let rows = session.rows(sql, &by, "reading the admin's memberships").await?;
    Ok(rows.first().map(|row| row.get(0)))
}

/// PostgreSQL gives an object only to a role that could make it where it is.
fn may_not_own(refused: Error, owner: &str, database: &str) -> Error {
    let (owner, database) = (quoted(owner), quoted(database));
    refused.with_remedy(format!(
        "The owner has to be allowed to make such objects: GRANT CREATE ON DATABASE {database} TO {owner} for schemas, GRANT CREATE ON SCHEMA <schema> TO {owner} for what is in one; the message names which."
    ))
}

fn grant(role: &str, admin: &Role, version: i32) -> String {
    let options = if version < catalog::MEMBERSHIP_OPTIONS { "" } else { " WITH INHERIT TRUE" };
    format!("GRANT {} TO {}{options}", quoted(role), quoted(&admin.name))
}

/// The statements that make default privileges of the users those of the owner, and take them away from the users.
async fn default_privileges(session: &Session, from: &[String], owner: &str) -> Attempt<Vec<String>> {
    let sql = "SELECT r.rolname::text, n.nspname::text,
            CASE d.defaclobjtype WHEN 'r' THEN 'TABLES' WHEN 'S' THEN 'SEQUENCES' WHEN 'f' THEN 'FUNCTIONS'
                WHEN 'T' THEN 'TYPES' WHEN 'n' THEN 'SCHEMAS' ELSE 'LARGE OBJECTS' END,
            CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END,
            a.privilege_type, a.is_grantable, a.is_taken
        FROM pg_default_acl d JOIN pg_roles r ON r.oid = d.defaclrole LEFT JOIN pg_namespace n ON n.oid = d.defaclnamespace,
            LATERAL (SELECT CASE WHEN d.defaclnamespace = 0 THEN acldefault(d.defaclobjtype, d.defaclrole) END) usual (acl),
            LATERAL (
                (SELECT grantee, privilege_type, is_grantable, false FROM aclexplode(d.defaclacl)
                    EXCEPT SELECT grantee, privilege_type, is_grantable, false FROM aclexplode(usual.acl))
                UNION ALL
                (SELECT grantee, privilege_type, is_grantable, true FROM aclexplode(usual.acl)
                    EXCEPT SELECT grantee, privilege_type, is_grantable, true FROM aclexplode(d.defaclacl))
            ) a (grantee, privilege_type, is_grantable, is_taken)
        WHERE r.rolname = ANY ($1::text[]) AND a.grantee <> d.defaclrole";
    let users: [Parameter<'_>; 1] = [(&from, Type::TEXT_ARRAY)];
    let rows = session.rows(sql, &users, "reading the default privileges").await?;
    let mut statements = Vec::new();
    for row in &rows {
        let (user, schema): (&str, Option<&str>) = (row.get(0), row.get(1));
        let (kind, grantee, privilege): (&str, &str, &str) = (row.get(2), row.get(3), row.get(4));
        let schema = schema.map(|schema| format!(" IN SCHEMA {}", quoted(schema))).unwrap_or_default();
        let option = if row.get(5) { " WITH GRANT OPTION" } else { "" };
        let alter = |role: &str| format!("ALTER DEFAULT PRIVILEGES FOR ROLE {}{schema}", quoted(role));
        let give = |role: &str| format!("{} GRANT {privilege} ON {kind} TO {grantee}{option}", alter(role));
        let take = |role: &str| format!("{} REVOKE {privilege} ON {kind} FROM {grantee}", alter(role));
        // PostgreSQL grants PUBLIC functions and types by default. Where a user's entry revokes that, the owner's has to revoke it.
        let is_taken: bool = row.get(6);
        statements.extend(if is_taken { [take(owner), give(user)] } else { [give(owner), take(user)] });
    }
    Ok(statements)
}
