//! What the server's catalogs say about the roles of a turn. Every login may read all of this.

use crate::errors;
use keyturn::codes::Code as Core;
use keyturn::failure::Attempt;
use keyturn_postgres::{Parameter, Session, Type};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};

/// The first version whose memberships have options of their own (INHERIT, SET), in which CREATEROLE alone gives no power over
/// roles that somebody else made.
pub(crate) const MEMBERSHIP_OPTIONS: i32 = 160_000;

/// The first version in which the right to set one parameter can be given away.
const PARAMETER_PRIVILEGES: i32 = 150_000;

/// The minor releases of November 14, 2024 ignore settings of `role` (release notes of 17.2, 16.6, 15.10, 14.15 and 13.18).
const IGNORE_ROLE_SETTINGS: [i32; 5] = [170_001, 160_005, 150_009, 140_014, 130_017];

/// What the catalogs said at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    pub(crate) server: ServerFacts,
    pub(crate) roles: BTreeMap<String, Role>,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct ServerFacts {
    /// As `server_version_num`: 160004 is 16.4.
    pub(crate) version: i32,
    /// A standby, or read-only by setting.
    pub(crate) read_only: bool,
    /// `password_encryption` is md5, and no database's owner has said so.
    pub(crate) encrypts_md5: bool,
    /// `scram_iterations`; 4096 before PostgreSQL 16.
    pub(crate) scram_iterations: u32,
    /// RDS lets only members of `rds_password` change passwords.
    pub(crate) restricts_password_commands: bool,
    /// The parameters that only a superuser may set, but for which the admin was given the right (15 and later).
    #[serde(skip)]
    pub(crate) admin_may_set: BTreeSet<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "the columns of pg_roles")]
pub(crate) struct Role {
    pub(crate) name: String,
    /// It is whom the admin changes roles as: the admin itself, or the role that it acts as.
    pub(crate) is_admin: bool,
    pub(crate) superuser: bool,
    pub(crate) creates_roles: bool,
    pub(crate) replicates: bool,
    pub(crate) may_log_in: bool,
    pub(crate) inherit: bool,
    pub(crate) connection_limit: i32,
    /// In UTC and ISO 8601's order, whatever the session's settings; `None`: for ever.
    pub(crate) valid_until: Option<String>,
    pub(crate) expired: bool,
    /// In how many days VALID UNTIL passes.
    pub(crate) days_left: Option<i32>,
    /// What `COMMENT ON ROLE` says.
    pub(crate) comment: Option<String>,
    /// It owns something that can be given to somebody else, in whichever database.
    pub(crate) owns_objects: bool,
    /// Of the roles asked for: those that have no right of their own on some object where it has one, by GRANT or by a policy.
    pub(crate) has_grants_beyond: Vec<String>,
    /// Every role it is a member of, directly or not. Up to PostgreSQL 14 a role may grant itself to others: that says nothing,
    /// and is left out here and below.
    pub(crate) member_of: Vec<String>,
    /// Of these, the ones that it is a member of by the grants of admins alone.
    pub(crate) vouched_for: Vec<String>,
    /// Of these, the ones whose rights it has, without or with SET ROLE, or can give itself by ADMIN OPTION.
    pub(crate) rights_of: Vec<String>,
    /// Of these, the ones that it can act as, or can give itself by ADMIN OPTION.
    pub(crate) can_act_as: Vec<String>,
    /// Of these, the ones that it can give to others.
    pub(crate) can_grant: Vec<String>,
    /// The roles it was put into itself, and by that has the rights of or may SET ROLE to: not by ADMIN OPTION alone, which from
    /// 16 on whoever creates a role has.
    pub(crate) uses: Vec<String>,
    /// Its own attributes of power (`SUPERUSER`, `CREATEDB` ...), which no member of it has.
    pub(crate) attributes: Vec<String>,
    /// The same of itself and of every role that it can act as.
    pub(crate) powers: Vec<String>,
    /// Of the roles asked for: whose rights it has without SET ROLE.
    pub(crate) inherits: Vec<String>,
    /// Of the roles asked for: to which it may SET ROLE.
    pub(crate) may_set: Vec<String>,
    /// Of the roles asked for: which it may grant to others (ADMIN OPTION, directly or through a group).
    pub(crate) may_grant: Vec<String>,
    /// Its open sessions, but for this function's.
    pub(crate) sessions: u64,
    /// What their clients call themselves.
    pub(crate) clients: Vec<String>,
    /// It may end sessions of others, by the rights of `pg_signal_backend`.
    pub(crate) ends_sessions: bool,
    /// Whom a login of it acts as in the database of the secret, by whichever setting of PostgreSQL.
    pub(crate) acts_as: String,
    #[serde(skip)]
    pub(crate) settings: BTreeMap<SettingKey, Setting>,
}

/// What a session of a user's own is, for testSecret.
#[derive(Debug, Deserialize)]
pub(crate) struct Standing {
    /// `server_version_num`
    pub(crate) version: i32,
    /// The session's `current_user`.
    pub(crate) acts_as: String,
    /// The role that the login's own setting names for all databases, whether that has an effect or not.
    pub(crate) assumes: Option<String>,
    pub(crate) base: Option<RightsOf>,
}

/// What the login has of its base or owner.
#[derive(Debug, Deserialize)]
pub(crate) struct RightsOf {
    /// Whom a login of the base acts as in the same database.
    pub(crate) acts_as: String,
    pub(crate) inherited: bool,
    pub(crate) may_set: bool,
}

/// A setting made by `ALTER ROLE ... [IN DATABASE ...] SET`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SettingKey {
    /// `None`: in all databases.
    pub(crate) database: Option<String>,
    pub(crate) name: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) value: String,
    /// Everybody may set it for themselves. Of parameters of extensions that are not loaded, nobody knows.
    pub(crate) anybody_may_set: bool,
}

impl Role {
    pub(crate) fn is_member_of(&self, role: &str) -> bool {
        has(&self.member_of, role)
    }

    pub(crate) fn inherits(&self, role: &str) -> bool {
        self.name == role || has(&self.inherits, role)
    }

    pub(crate) fn may_set(&self, role: &str) -> bool {
        self.name == role || has(&self.may_set, role)
    }

    pub(crate) fn may_grant(&self, role: &str) -> bool {
        has(&self.may_grant, role)
    }

    /// It acts as another role than itself.
    pub(crate) fn acts_as_another(&self) -> bool {
        self.acts_as != self.name
    }

    /// The role that a login of it is to act as in all databases, so far as that has an effect there.
    pub(crate) fn meant_to_act_as(&self) -> &str {
        let by_itself = self.assumes().filter(|role| has(&self.can_act_as, role));
        let in_one_database = self.settings.keys().any(|key| key.name == "role" && key.database.is_some());
        by_itself.unwrap_or(if in_one_database { &self.name } else { &self.acts_as })
    }

    /// The role that its own setting names for all databases, whether that has an effect or not.
    pub(crate) fn assumes(&self) -> Option<&str> {
        let key = SettingKey { database: None, name: "role".to_owned() };
        self.settings.get(&key).map(|setting| setting.value.as_str()).filter(|role| *role != "none")
    }
}

fn has(names: &[String], name: &str) -> bool {
    names.iter().any(|other| other == name)
}

/// Whether a login acts as the role that its settings name.
pub(crate) fn heeds_role_settings(version: i32) -> bool {
    !IGNORE_ROLE_SETTINGS.contains(&version)
}

impl Catalog {
    pub(crate) fn role(&self, name: &str) -> Option<&Role> {
        self.roles.get(name)
    }

    /// Whom the admin changes roles as; `None` where there is no such admin.
    pub(crate) fn admin(&self) -> Option<&Role> {
        self.roles.values().find(|role| role.is_admin)
    }

    /// Whether the admin may make this setting for another role.
    pub(crate) fn admin_may_set(&self, name: &str, setting: &Setting) -> bool {
        setting.anybody_may_set
            || self.admin().is_some_and(|admin| admin.superuser)
            || self.server.admin_may_set.contains(name)
    }
}

#[cfg(test)]
impl Role {
    /// An unremarkable login that is a member of these roles by an admin's grant, with everything that this gives.
    pub(crate) fn of(name: &str, member_of: &[&str]) -> Self {
        let member_of: Vec<String> = member_of.iter().map(|role| (*role).to_owned()).collect();
        Self {
            name: name.to_owned(),
            may_log_in: true,
            inherit: true,
            connection_limit: -1,
            acts_as: name.to_owned(),
            vouched_for: member_of.clone(),
            uses: member_of.clone(),
            rights_of: member_of.clone(),
            can_act_as: member_of.clone(),
            inherits: member_of.clone(),
            may_set: member_of.clone(),
            member_of,
            ..Self::default()
        }
    }

    /// The admin, with ADMIN OPTION on these roles.
    pub(crate) fn admin(may_grant: &[&str]) -> Self {
        let may_grant = may_grant.iter().map(|role| (*role).to_owned()).collect();
        Self { creates_roles: true, may_grant, ..Self::of("admin", &[]) }
    }

    pub(crate) fn acting_as(mut self, role: &str) -> Self {
        self.acts_as = role.to_owned();
        self.with_setting(None, "role", role)
    }

    pub(crate) fn with_setting(mut self, database: Option<&str>, name: &str, value: &str) -> Self {
        let key = SettingKey { database: database.map(str::to_owned), name: name.to_owned() };
        self.settings.insert(key, Setting { value: value.to_owned(), anybody_may_set: true });
        self
    }
}

#[cfg(test)]
impl Catalog {
    /// The catalog of an unremarkable server of this version with these roles, administered by `admin`.
    pub(crate) fn of(version: i32, roles: impl IntoIterator<Item = Role>) -> Self {
        let server = ServerFacts {
            version,
            read_only: false,
            encrypts_md5: false,
            scram_iterations: 4096,
            restricts_password_commands: false,
            admin_may_set: BTreeSet::new(),
        };
        let admin_or_not = |role: Role| Role { is_admin: role.name == "admin", ..role };
        Self { server, roles: roles.into_iter().map(|role| (role.name.clone(), admin_or_not(role))).collect() }
    }
}

const SERVER: &str = "SELECT current_setting('server_version_num')::int4 AS version,
    pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
    current_setting('password_encryption') = 'md5' AND NOT EXISTS (SELECT FROM pg_db_role_setting s, unnest(s.setconfig) c
        WHERE s.setrole = 0 AND s.setdatabase <> 0 AND c LIKE 'password_encryption=%') AS encrypts_md5,
    coalesce(current_setting('scram_iterations', true), '4096')::int4 AS scram_iterations,
    coalesce(current_setting('rds.restrict_password_commands', true), 'off') NOT IN ('off', '0', 'false', '')
        AS restricts_password_commands";

/// Of sessions of others the server tells a user's name and the client's own; their kind only to those with rights over the user.
///
/// $1: the roles asked for, $2: the secret's database, $3: the admin, $4: its database.
///
/// `reach` says how far a login comes: 2 it can act as the role, or can give itself the role; 1 it has the role's rights;
/// 0 it is a member. `vouched` follows the grants of an admin alone. `edges` joins the role itself: a GRANT at the same time as
/// DROP ROLE leaves a membership of a role that is gone (seen on 15), which nobody could revoke.
const ROLES: &str = "WITH RECURSIVE
    admin (name) AS (SELECT {admin acts} FROM pg_roles r WHERE r.rolname = $3),
    asked AS (SELECT *, rolname IN (SELECT name FROM admin) AS is_admin FROM pg_roles
        WHERE rolname = ANY ($1::text[]) OR rolname IN (SELECT name FROM admin)),
    edges AS (SELECT m.roleid, m.member, m.admin_option,
            coalesce((to_jsonb(m) ->> 'set_option')::bool, true) AS settable,
            coalesce((to_jsonb(m) ->> 'inherit_option')::bool, member.rolinherit) AS inherited,
            m.grantor <> m.member AND (current_setting('server_version_num')::int4 >= 160000
                OR coalesce(grantor.rolsuper OR grantor.rolcreaterole, false)) AS by_an_admin
        FROM pg_auth_members m JOIN pg_roles role ON role.oid = m.roleid JOIN pg_roles member ON member.oid = m.member
            LEFT JOIN pg_roles grantor ON grantor.oid = m.grantor
        WHERE current_setting('server_version_num')::int4 >= 150000 OR m.grantor <> m.roleid),
    reach (login, role, how) AS (
        SELECT oid, oid, 2 FROM asked
        UNION SELECT r.login, e.roleid, step.how FROM reach r JOIN edges e ON e.member = r.role
            CROSS JOIN LATERAL (VALUES (0, true), (1, r.how >= 1 AND e.inherited),
                (2, r.how = 2 AND e.settable OR e.admin_option)) step (how, goes)
            WHERE step.goes),
    reached AS (SELECT login, role, pg_get_userbyid(role)::text AS name, max(how) AS how FROM reach GROUP BY 1, 2),
    sessions AS MATERIALIZED (SELECT usesysid AS login, application_name AS client FROM pg_stat_get_activity(NULL)
        WHERE coalesce(backend_type, 'client backend') = 'client backend' AND application_name <> 'keyturn rotate-postgres'),
    vouched (login, role) AS (
        SELECT oid, oid FROM asked
        UNION SELECT v.login, e.roleid FROM vouched v JOIN edges e ON e.member = v.role AND e.by_an_admin)
SELECT r.rolname::text AS name, r.is_admin, r.rolsuper AS superuser, r.rolcreaterole AS creates_roles, r.rolreplication AS replicates,
    r.rolcanlogin AS may_log_in, r.rolinherit AS inherit, r.rolconnlimit AS connection_limit,
    CASE WHEN r.rolvaliduntil = '-infinity' THEN '-infinity' WHEN r.rolvaliduntil < 'infinity' THEN
        rtrim(rtrim(to_char(r.rolvaliduntil AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US'), '0'), '.') || '+00' END AS valid_until,
    coalesce(r.rolvaliduntil < now(), false) AS expired,
    CASE WHEN isfinite(r.rolvaliduntil) THEN least(extract(epoch FROM r.rolvaliduntil - now()) / 86400, 1000000)::int4 END AS days_left,
    shobj_description(r.oid, 'pg_authid') AS comment,
    EXISTS (SELECT FROM pg_shdepend d
        WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid AND d.deptype = 'o'
            AND d.classid NOT IN ('pg_default_acl'::regclass, 'pg_user_mapping'::regclass)) AS owns_objects,
    ARRAY (SELECT b.rolname::text FROM asked b WHERE b.oid <> r.oid AND NOT b.rolsuper AND EXISTS (
        SELECT FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
            AND d.deptype IN ('a', 'r') AND d.classid <> 'pg_database'::regclass AND NOT EXISTS (
                SELECT FROM pg_shdepend o WHERE o.refclassid = 'pg_authid'::regclass AND o.refobjid = b.oid
                    AND (o.dbid, o.classid, o.objid) = (d.dbid, d.classid, d.objid)))) AS has_grants_beyond,
    ARRAY (SELECT name FROM reached WHERE login = r.oid AND role <> r.oid ORDER BY 1) AS member_of,
    ARRAY (SELECT pg_get_userbyid(role)::text FROM vouched WHERE login = r.oid AND role <> r.oid ORDER BY 1) AS vouched_for,
    ARRAY (SELECT DISTINCT pg_get_userbyid(e.roleid)::text FROM edges e
        WHERE e.member = r.oid AND (e.settable OR e.inherited) ORDER BY 1) AS uses,
    ARRAY (SELECT name FROM reached WHERE login = r.oid AND role <> r.oid AND how > 0 ORDER BY 1) AS rights_of,
    ARRAY (SELECT name FROM reached WHERE login = r.oid AND role <> r.oid AND how = 2 ORDER BY 1) AS can_act_as,
    ARRAY (SELECT DISTINCT pg_get_userbyid(e.roleid)::text FROM reached JOIN edges e ON e.member = reached.role AND e.admin_option
        WHERE reached.login = r.oid ORDER BY 1) AS can_grant,
    ARRAY (SELECT power.name FROM (VALUES ('SUPERUSER', r.rolsuper), ('BYPASSRLS', r.rolbypassrls),
        ('CREATEROLE', r.rolcreaterole), ('CREATEDB', r.rolcreatedb)) power (name, has) WHERE power.has) AS attributes,
    ARRAY (SELECT DISTINCT power.name FROM reached JOIN pg_roles g ON g.oid = reached.role
        CROSS JOIN LATERAL (VALUES ('SUPERUSER', g.rolsuper), ('REPLICATION', g.rolreplication),
            ('BYPASSRLS', g.rolbypassrls), ('CREATEROLE', g.rolcreaterole), ('CREATEDB', g.rolcreatedb)) power (name, has)
        WHERE reached.login = r.oid AND reached.how = 2 AND power.has ORDER BY 1) AS powers,
    ARRAY (SELECT b.rolname::text FROM asked b WHERE b.oid <> r.oid AND pg_has_role(r.oid, b.oid, 'USAGE')) AS inherits,
    ARRAY (SELECT b.rolname::text FROM asked b WHERE b.oid <> r.oid AND {may set}) AS may_set,
    ARRAY (SELECT b.rolname::text FROM asked b WHERE pg_has_role(r.oid, b.oid, 'MEMBER WITH ADMIN OPTION')) AS may_grant,
    (SELECT count(*) FROM sessions s WHERE s.login = r.oid) AS sessions,
    pg_has_role(r.oid, 'pg_signal_backend', 'USAGE') AS ends_sessions,
    ARRAY (SELECT DISTINCT s.client FROM sessions s WHERE s.login = r.oid AND s.client <> '' ORDER BY 1) AS clients,
    {acts} AS acts_as
FROM asked r";

/// Whether one role may SET ROLE to another.
fn may_set(role: &str, other: &str) -> String {
    format!(
        "pg_has_role({role}, {other}, CASE WHEN current_setting('server_version_num')::int4 >= 160000 THEN 'SET' ELSE 'MEMBER' END)"
    )
}

/// Whom a login of role r acts as in a database: by the nearest of the settings of `role` there that have an effect.
fn acts(database: &str) -> String {
    let may_set = may_set("r.oid", "b.oid");
    format!(
        "coalesce((SELECT b.rolname::text
            FROM pg_db_role_setting s, unnest(s.setconfig) c
                JOIN pg_roles b ON b.rolname = substr(c, 6) OR (substr(c, 6) = 'none' AND b.oid = r.oid)
            WHERE s.setrole IN (r.oid, 0) AND c LIKE 'role=%' AND {may_set}
                AND current_setting('server_version_num')::int4 <> ALL (ARRAY {IGNORE_ROLE_SETTINGS:?})
                AND (s.setdatabase = 0 OR s.setdatabase = (SELECT oid FROM pg_database WHERE datname = {database}))
            ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1), r.rolname::text)"
    )
}

/// `role` and `seed` are not listed in `pg_settings`.
const SETTINGS: &str = "SELECT r.rolname::text, d.datname::text, c, split_part(c, '=', 1) IN ('role', 'seed')
        OR split_part(c, '=', 1) IN (SELECT name FROM pg_settings WHERE context = 'user' AND name = split_part(c, '=', 1))
        AS anybody_may_set
    FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole LEFT JOIN pg_database d ON d.oid = s.setdatabase,
        unnest(s.setconfig) c
    WHERE r.rolname = ANY ($1::text[])";

/// $1: the base, $2: the database, $3: the base counts though the login is no member of it.
const STANDING: &str = "SELECT current_setting('server_version_num')::int4 AS version, current_user::text AS acts_as,
    {assumes} AS assumes,
    CASE WHEN base.oid IS NOT NULL AND ($3 OR pg_has_role(session_user, base.oid, 'MEMBER')) THEN
        jsonb_build_object('acts_as', {acts}, 'inherited', pg_has_role(session_user, base.oid, 'USAGE'), 'may_set', {may set})
    END AS base
FROM (SELECT to_regrole(quote_ident($1))::oid AS oid) base";

/// The login's own setting of `role`.
const ASSUMES: &str = "(SELECT substr(c, 6) FROM pg_db_role_setting s, unnest(s.setconfig) c
    WHERE s.setrole = to_regrole(quote_ident(session_user))::oid AND s.setdatabase = 0 AND c LIKE 'role=%' AND c <> 'role=none')";

/// What is read.
#[derive(Clone, Copy)]
pub(crate) struct Query<'q> {
    pub(crate) names: &'q [String],
    /// The secret's database.
    pub(crate) database: &'q str,
    /// The admin's login.
    pub(crate) admin: &'q str,
    /// The database that the admin logs in to.
    pub(crate) its_database: &'q str,
}

/// Reads the roles of these names and the admin, in one round trip, in a transaction with a fixed schema path.
pub(crate) async fn read(session: &Session, query: Query<'_>) -> Attempt<Catalog> {
    let Query { names, database, admin, its_database } = query;
    let on_roles: [Parameter<'_>; 4] =
        [(&names, Type::TEXT_ARRAY), (&database, Type::TEXT), (&admin, Type::TEXT), (&its_database, Type::TEXT)];
    let roles = ROLES
        .replace("{admin acts}", &acts("$4"))
        .replace("{acts}", &acts("$2"))
        .replace("{may set}", &may_set("r.oid", "b.oid"));
    let (server, roles, settings) = tokio::join!(
        records(session, SERVER, &[]),
        records::<Role>(session, &roles, &on_roles),
        session.rows(SETTINGS, &on_roles[..1], READING)
    );
    // In the order in which they were asked: after the first error the server says only that the transaction is aborted.
    let (server, roles, settings) = (server?, roles?, settings?);
    let mut roles: BTreeMap<String, Role> = roles.into_iter().map(|role| (role.name.clone(), role)).collect();
    for row in &settings {
        // Split at the first "=": values hold more of them.
        let (Some(role), Some((name, value))) =
            (roles.get_mut(row.get::<_, &str>(0)), row.get::<_, &str>(2).split_once('='))
        else {
            continue;
        };
        let setting = Setting { value: value.to_owned(), anybody_may_set: row.get("anybody_may_set") };
        role.settings.insert(SettingKey { database: row.get(1), name: name.to_owned() }, setting);
    }
    let server = server.into_iter().next().ok_or_else(|| errors::strange(session.place(), "no row"))?;
    Ok(Catalog { server, roles })
}

const READING: &str = "reading the roles";

/// The rows of a query, by the names of their columns.
async fn records<T: DeserializeOwned>(session: &Session, sql: &str, by: &[Parameter<'_>]) -> Attempt<Vec<T>> {
    let rows = session.rows(&format!("SELECT to_jsonb(x)::text FROM ({sql}) x"), by, READING).await?;
    let records = rows.iter().map(|row| serde_json::from_str(row.get(0)));
    records.collect::<Result<_, _>>().map_err(|e| errors::strange(session.place(), &e.to_string()))
}

/// What the session's own user is there. Where the server does not let everybody read its catalog, no setting of `role` is
/// known, and the base counts as acting as itself.
pub(crate) async fn standing(session: &Session, base: Option<&str>, member_or_not: bool) -> Attempt<Standing> {
    let by: [Parameter<'_>; 3] =
        [(&base, Type::TEXT), (&session.place().database, Type::TEXT), (&member_or_not, Type::BOOL)];
    let ask = async |assumes: &str, acts: &str| {
        let sql = STANDING.replace("{assumes}", assumes).replace("{acts}", acts);
        let sql = sql.replace("{may set}", &may_set("session_user", "base.oid"));
        let found = session.reading(records(session, &sql, &by)).await?;
        found.into_iter().next().ok_or_else(|| errors::strange(session.place(), "no row"))
    };
    let acts = format!("(SELECT {} FROM pg_roles r WHERE r.oid = base.oid)", acts("$2"));
    match ask(ASSUMES, &acts).await {
        Err(failure) if failure.error.is(Core::AdminLacksPrivilege) => ask("NULL", "$1").await,
        standing => standing,
    }
}

/// The same in a transaction of its own, in a session that is not the admin's.
pub(crate) async fn survey(session: &Session, query: Query<'_>) -> Attempt<Catalog> {
    let mut catalog = session.reading(Box::pin(read(session, query))).await?;
    if !restricted(&catalog).is_empty() {
        session.reading(Box::pin(add_parameter_privileges(session, &mut catalog))).await?;
    }
    Ok(catalog)
}

/// The parameters among the roles' settings that only a superuser may set, and for which rights can have been given. Seldom
/// any: then nothing has to be asked.
fn restricted(catalog: &Catalog) -> Vec<&str> {
    if catalog.server.version < PARAMETER_PRIVILEGES {
        return Vec::new();
    }
    let settings = catalog.roles.values().flat_map(|role| &role.settings);
    settings.filter(|(_, setting)| !setting.anybody_may_set).map(|(key, _)| key.name.as_str()).collect()
}

/// Adds which restricted parameters the admin was given the right to set: a question that PostgreSQL 14 does not understand.
pub(crate) async fn add_parameter_privileges(session: &Session, catalog: &mut Catalog) -> Attempt<()> {
    let (Some(admin), names) = (catalog.admin(), restricted(catalog)) else { return Ok(()) };
    if names.is_empty() {
        return Ok(());
    }
    let by: [Parameter<'_>; 2] = [(&names, Type::TEXT_ARRAY), (&admin.name, Type::TEXT)];
    let sql = "SELECT name FROM unnest($1::text[]) name WHERE has_parameter_privilege($2, name, 'SET')";
    let rows = session.rows(sql, &by, "reading the rights on parameters").await?;
    catalog.server.admin_may_set = rows.iter().map(|row| row.get(0)).collect();
    Ok(())
}
