//! What the server's catalogs say about the roles of a turn. Every login may read all of this.

use crate::session::{Parameter, Session};
use keyturn::failure::Attempt;
use std::collections::BTreeMap;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// What the catalogs said at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(crate) server: ServerFacts,
    pub(crate) roles: BTreeMap<String, Role>,
}

#[derive(Clone, Debug)]
pub(crate) struct ServerFacts {
    /// As `server_version_num`: 160004 is 16.4.
    pub(crate) version: i32,
    /// A standby, or read-only by setting.
    pub(crate) read_only: bool,
    /// `password_encryption` is md5.
    pub(crate) encrypts_md5: bool,
    /// `scram_iterations`; 4096 before PostgreSQL 16.
    pub(crate) scram_iterations: u32,
    /// RDS lets only members of `rds_password` change passwords.
    pub(crate) restricts_password_commands: bool,
    /// The session's `current_user`.
    pub(crate) acts_as: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "the columns of pg_roles")]
pub(crate) struct Role {
    pub(crate) name: String,
    pub(crate) superuser: bool,
    pub(crate) creates_roles: bool,
    pub(crate) replicates: bool,
    pub(crate) may_log_in: bool,
    /// The attributes of power (`SUPERUSER`, `CREATEROLE` ...) that it or any role it is a member of has.
    pub(crate) powers: Vec<String>,
    pub(crate) inherit: bool,
    pub(crate) connection_limit: i32,
    /// In UTC and ISO 8601's order, whatever the session's settings; `None`: for ever.
    pub(crate) valid_until: Option<String>,
    pub(crate) expired: bool,
    /// It owns something, in whichever database.
    pub(crate) owns_objects: bool,
    /// It owns something, or has been given rights on something, in whichever database.
    pub(crate) in_use: bool,
    /// Every role it is a member of, directly or not.
    pub(crate) member_of: Vec<String>,
    /// Every login that is a member of it, directly or not, but for superusers, the admin, and who is one through the admin.
    pub(crate) held_by: Vec<String>,
    /// The admin has ADMIN OPTION on it, directly or through a group.
    pub(crate) admin_has_option: bool,
    /// It has the base role's rights without SET ROLE.
    pub(crate) inherits_base: bool,
    /// It may SET ROLE to the base role.
    pub(crate) may_set_base: bool,
    pub(crate) settings: BTreeMap<SettingKey, String>,
}

/// A setting made by `ALTER ROLE ... [IN DATABASE ...] SET`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SettingKey {
    /// `None`: in all databases.
    pub(crate) database: Option<String>,
    pub(crate) name: String,
}

impl Role {
    pub(crate) fn is_member_of(&self, role: &str) -> bool {
        self.member_of.iter().any(|name| name == role)
    }

    /// The role a login of this role acts as, by its setting for all databases.
    pub(crate) fn assumes(&self) -> Option<&str> {
        self.role_setting(None)
    }

    /// The same in one database, whose own setting comes first.
    pub(crate) fn assumes_in(&self, database: &str) -> Option<&str> {
        self.role_setting(Some(database)).or_else(|| self.assumes())
    }

    fn role_setting(&self, database: Option<&str>) -> Option<&str> {
        let key = SettingKey { database: database.map(str::to_owned), name: "role".to_owned() };
        self.settings.get(&key).map(String::as_str).filter(|role| *role != "none")
    }
}

impl Catalog {
    pub(crate) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name)
    }

    /// Whether `login` is a member of the role it is named after.
    pub(crate) fn is_clone_of(&self, login: &str, base: &str) -> bool {
        self.role(login).is_some_and(|role| role.is_member_of(base))
    }
}

#[cfg(test)]
impl Catalog {
    /// The catalog of an unremarkable server of this version with these roles.
    pub(crate) fn of(version: i32, roles: impl IntoIterator<Item = Role>) -> Self {
        let server = ServerFacts {
            version,
            read_only: false,
            encrypts_md5: false,
            scram_iterations: 4096,
            restricts_password_commands: false,
            acts_as: String::new(),
        };
        Self { server, roles: roles.into_iter().map(|role| (role.name.clone(), role)).collect() }
    }
}

const SERVER: &str = "SELECT current_setting('server_version_num')::int4 AS version,
    pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
    current_setting('password_encryption') = 'md5' AS encrypts_md5,
    coalesce(current_setting('scram_iterations', true), '4096') AS scram_iterations,
    coalesce(current_setting('rds.restrict_password_commands', true), 'off') NOT IN ('off', '0', 'false', '')
        AS restricts_password_commands,
    current_user::text AS acts_as";

/// $1: the roles asked for, $2: the admin, $3: the base. What `pg_has_role` says of a missing role is an error, hence EXISTS.
const ROLES: &str = "WITH RECURSIVE
    asked AS (SELECT * FROM pg_roles WHERE rolname = ANY ($1::text[])),
    reach (login, role) AS (
        SELECT a.oid, m.roleid FROM asked a JOIN pg_auth_members m ON m.member = a.oid
        UNION SELECT reach.login, m.roleid FROM reach JOIN pg_auth_members m ON m.member = reach.role),
    holders (role, member) AS (
        SELECT a.oid, m.member FROM asked a JOIN pg_auth_members m ON m.roleid = a.oid
        UNION SELECT h.role, m.member FROM holders h JOIN pg_roles g ON g.oid = h.member
            JOIN pg_auth_members m ON m.roleid = h.member WHERE g.rolname <> $2)
SELECT r.rolname::text AS name, r.rolsuper AS superuser, r.rolcreaterole AS creates_roles, r.rolreplication AS replicates,
    r.rolcanlogin AS may_log_in, r.rolinherit AS inherit, r.rolconnlimit AS connection_limit,
    ARRAY (SELECT DISTINCT power.name
        FROM (SELECT r.oid UNION ALL SELECT reach.role FROM reach WHERE reach.login = r.oid) held (oid)
        JOIN pg_roles g ON g.oid = held.oid
        CROSS JOIN LATERAL (VALUES ('SUPERUSER', g.rolsuper), ('REPLICATION', g.rolreplication),
            ('BYPASSRLS', g.rolbypassrls), ('CREATEROLE', g.rolcreaterole), ('CREATEDB', g.rolcreatedb)) power (name, has)
        WHERE power.has ORDER BY 1) AS powers,
    CASE WHEN r.rolvaliduntil = '-infinity' THEN '-infinity' WHEN r.rolvaliduntil < 'infinity' THEN
        rtrim(rtrim(to_char(r.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), '0'), '.') || '+00' END AS valid_until,
    coalesce(r.rolvaliduntil < now(), false) AS expired,
    EXISTS (SELECT FROM pg_shdepend d
        WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o') AS owns_objects,
    EXISTS (SELECT FROM pg_shdepend d
        WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype IN ('o', 'a')) AS in_use,
    ARRAY (SELECT g.rolname::text FROM reach JOIN pg_roles g ON g.oid = reach.role WHERE reach.login = r.oid ORDER BY 1)
        AS member_of,
    ARRAY (SELECT g.rolname::text FROM holders h JOIN pg_roles g ON g.oid = h.member
        WHERE h.role = r.oid AND g.rolcanlogin AND NOT g.rolsuper AND g.rolname <> $2 ORDER BY 1) AS held_by,
    EXISTS (SELECT FROM pg_roles a WHERE a.rolname = $2
        AND pg_has_role(a.oid, r.oid, 'MEMBER WITH ADMIN OPTION')) AS admin_has_option,
    EXISTS (SELECT FROM pg_roles b WHERE b.rolname = $3 AND pg_has_role(r.oid, b.oid, 'USAGE')) AS inherits_base,
    EXISTS (SELECT FROM pg_roles b WHERE b.rolname = $3 AND pg_has_role(r.oid, b.oid,
        CASE WHEN current_setting('server_version_num')::int4 >= 160000 THEN 'SET' ELSE 'MEMBER' END)) AS may_set_base
FROM asked r";

const SETTINGS: &str = "SELECT r.rolname::text, d.datname::text, unnest(s.setconfig)
    FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase
    WHERE r.rolname = ANY ($1::text[])";

/// Reads everything about `names`, in one round trip, in a transaction with a fixed schema path. `admin` and `base` are who
/// rights are judged by.
pub(crate) async fn read(session: &Session, names: &[String], admin: &str, base: Option<&str>) -> Attempt<Catalog> {
    let by: [Parameter<'_>; 3] = [(&names, Type::TEXT_ARRAY), (&admin, Type::TEXT), (&base, Type::TEXT)];
    let doing = "reading the roles";
    let (server, roles, settings) = tokio::try_join!(
        session.rows(SERVER, &[], doing),
        session.rows(ROLES, &by, doing),
        session.rows(SETTINGS, &by[..1], doing)
    )?;
    let mut roles: BTreeMap<String, Role> = roles.iter().map(role).map(|role| (role.name.clone(), role)).collect();
    for row in &settings {
        // Split at the first "=": values hold more of them.
        let (Some(role), Some((name, value))) =
            (roles.get_mut(row.get::<_, &str>(0)), row.get::<_, &str>(2).split_once('='))
        else {
            continue;
        };
        role.settings.insert(SettingKey { database: row.get(1), name: name.to_owned() }, value.to_owned());
    }
    // A SELECT without FROM gives exactly one row.
    Ok(Catalog { server: server_facts(&server[0]), roles })
}

fn server_facts(row: &Row) -> ServerFacts {
    ServerFacts {
        version: row.get("version"),
        read_only: row.get("read_only"),
        encrypts_md5: row.get("encrypts_md5"),
        scram_iterations: row.get::<_, &str>("scram_iterations").parse().unwrap_or(4096),
        restricts_password_commands: row.get("restricts_password_commands"),
        acts_as: row.get("acts_as"),
    }
}

fn role(row: &Row) -> Role {
    Role {
        name: row.get("name"),
        superuser: row.get("superuser"),
        creates_roles: row.get("creates_roles"),
        replicates: row.get("replicates"),
        may_log_in: row.get("may_log_in"),
        powers: row.get("powers"),
        inherit: row.get("inherit"),
        connection_limit: row.get("connection_limit"),
        valid_until: row.get("valid_until"),
        expired: row.get("expired"),
        owns_objects: row.get("owns_objects"),
        in_use: row.get("in_use"),
        member_of: row.get("member_of"),
        held_by: row.get("held_by"),
        admin_has_option: row.get("admin_has_option"),
        inherits_base: row.get("inherits_base"),
        may_set_base: row.get("may_set_base"),
        settings: BTreeMap::new(),
    }
}
