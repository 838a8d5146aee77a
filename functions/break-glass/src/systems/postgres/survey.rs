//! What the admin must be allowed, and what a login must not be.

use super::{Admin, SET_OPTION};
use crate::codes::Code;
use crate::document::{PostgresDocument, Who};
use keyturn::codes::Code as Core;
use keyturn::failure::Attempt;
use keyturn::{Error, Result};
use keyturn_postgres::codes::Code as PostgresCode;
use keyturn_postgres::{Parameter, Session, Type, quoted};

/// What opening and closing depend on.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) version: i32,
    /// The role that the admin acts as.
    pub(super) admin: String,
    /// What is missing first.
    lack: Option<Lack>,
    /// Roles by which a member of the access role could change how long a login lasts, keep the admin from ending it, or stay: one
    /// that may log in can be given a password by whoever acts as it.
    powers: Vec<String>,
    pub(super) scram_iterations: i32,
}

/// Why no login can be made, in the order in which it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    /// The server takes no changes.
    Writer,
    /// There is no such database.
    Database,
    /// There is no access role.
    AccessRole,
    /// The admin may not create roles.
    CreateRole,
    /// The admin may not make members of the access role.
    AccessAdmin,
    /// The admin does not have the access role's rights, or may not act as it: what a person has made could not be given to it.
    AccessRights,
    /// Before version 16 a role may take back what makes the admin its member, and with it the power to end its sessions.
    Signal,
    /// RDS lets only members of `rds_password` set passwords, and the admin is none.
    RdsPassword,
    /// The access role may not connect to the document's database, and so neither may its member, the admin.
    Connect,
}

pub(super) async fn facts(session: &Session, engine: &PostgresDocument) -> Attempt<Facts> {
    // Of an older server the row of a membership has no set_option: every member can act as the role.
    let sql = "WITH RECURSIVE
        me AS (SELECT oid, rolname, rolsuper, rolcreaterole FROM pg_roles WHERE rolname = current_user),
        access AS (SELECT oid FROM pg_roles WHERE rolname = $1),
        reach(oid) AS (
            SELECT oid FROM access
            UNION
            SELECT m.roleid FROM reach r JOIN pg_auth_members m ON m.member = r.oid
            WHERE m.admin_option OR coalesce((to_jsonb(m)->>'set_option')::boolean, true)
        ),
        server AS (SELECT current_setting('server_version_num')::int AS version),
        db AS (SELECT oid FROM pg_database WHERE datname = $2)
        SELECT server.version, me.rolname::text, pg_is_in_recovery(),
            me.rolsuper OR me.rolcreaterole,
            access.oid IS NOT NULL,
            me.rolsuper OR (CASE WHEN server.version >= 160000
                THEN coalesce(pg_has_role(me.oid, access.oid, 'MEMBER WITH ADMIN OPTION'), false) ELSE me.rolcreaterole END),
            me.rolsuper OR coalesce(pg_has_role(me.oid, access.oid, 'USAGE')
                AND pg_has_role(me.oid, access.oid, CASE WHEN server.version >= 160000 THEN 'SET' ELSE 'MEMBER' END), false),
            coalesce(has_database_privilege(access.oid, db.oid, 'CONNECT'), false),
            ARRAY(SELECT r.rolname::text FROM pg_roles r LEFT JOIN reach ON reach.oid = r.oid
                WHERE (reach.oid IS NOT NULL AND (r.rolsuper OR r.rolcreaterole OR r.rolcanlogin OR r.oid = me.oid))
                    OR (r.rolname IN ('pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend', 'rds_superuser')
                        AND (reach.oid IS NOT NULL OR coalesce(pg_has_role(access.oid, r.oid, 'USAGE'), false)))
                ORDER BY 1),
            coalesce(current_setting('scram_iterations', true)::int, 4096),
            coalesce(current_setting('rds.restrict_password_commands', true), '') IN ('on', '1')
                AND NOT coalesce((SELECT pg_has_role(me.oid, oid, 'MEMBER') FROM pg_roles WHERE rolname = 'rds_password'), false),
            db.oid IS NOT NULL,
            me.rolsuper OR server.version >= 160000 OR pg_has_role(me.oid, 'pg_signal_backend', 'USAGE')
        FROM me CROSS JOIN server LEFT JOIN access ON true LEFT JOIN db ON true";
    let by: [Parameter<'_>; 2] = [(&engine.access, Type::TEXT), (&engine.database, Type::TEXT)];
    let rows = session.reading(session.rows(sql, &by, "reading what the admin may do")).await?;
    let row = &rows[0];
    let not = |column: usize| !row.get::<_, bool>(column);
    let lacks: [(Lack, bool); 9] = [
        (Lack::Writer, row.get(2)),
        (Lack::Database, not(11)),
        (Lack::AccessRole, not(4)),
        (Lack::CreateRole, not(3)),
        (Lack::AccessAdmin, not(5)),
        (Lack::AccessRights, not(6)),
        (Lack::Signal, not(12)),
        (Lack::RdsPassword, row.get(10)),
        (Lack::Connect, not(7)),
    ];
    Ok(Facts {
        version: row.get(0),
        admin: row.get(1),
        lack: lacks.into_iter().find(|(_, is_so)| *is_so).map(|(lack, _)| lack),
        powers: row.get(8),
        scram_iterations: row.get(9),
    })
}

impl Admin<'_> {
    /// # Errors
    /// `DATABASE_READ_ONLY`, `ACCESS_MISSING`, `ADMIN_LACKS_PRIVILEGE`, `ACCESS_TOO_POWERFUL`.
    pub(in crate::systems) async fn vet(&self) -> Result<()> {
        if let Some(lack) = self.facts.lack {
            return Err(self.lacking(lack));
        }
        if self.document.who == Who::Anybody {
            self.only_reads().await?;
        }
        if self.facts.powers.is_empty() || self.document.allow_power {
            return Ok(());
        }
        let access = &self.engine.access;
        Err(Error::new(
            Code::AccessTooPowerful,
            format!(
                "A member of {access:?} has the power of {}, and so could change how long a login lasts, or keep a way in.",
                self.facts.powers.join(", ")
            ),
            format!(
                "Take that from {} (LOGIN, CREATEROLE, SUPERUSER, these memberships); or write \"allow_power\": true into the document: then the sweep alone ends a login that its person has lengthened.",
                quoted(access)
            ),
        ))
    }

    /// The setting `default_transaction_read_only` is the session's to change: what keeps it from writing is what the access may,
    /// and every role that its members can act as.
    async fn only_reads(&self) -> Result<()> {
        let sql = "WITH RECURSIVE reach(oid) AS (
                SELECT oid FROM pg_roles WHERE rolname = $1
                UNION
                SELECT m.roleid FROM reach r JOIN pg_auth_members m ON m.member = r.oid
                WHERE m.admin_option OR coalesce((to_jsonb(m)->>'set_option')::boolean, true)
            )
            SELECT role.rolname::text, c.oid::regclass::text, c.relkind = 'S'
            FROM reach JOIN pg_roles role ON role.oid = reach.oid
                CROSS JOIN pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE c.relkind IN ('r', 'p', 'v', 'f', 'S') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
                AND CASE WHEN c.relkind = 'S' THEN has_sequence_privilege(role.oid, c.oid, 'USAGE, UPDATE')
                    ELSE has_table_privilege(role.oid, c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')
                        OR has_any_column_privilege(role.oid, c.oid, 'INSERT, UPDATE') END
            ORDER BY role.rolname = $1 DESC, 1, 2
            LIMIT 1";
        let access = self.engine.access.as_str();
        let by_name: [Parameter<'_>; 1] = [(&access, Type::TEXT)];
        let rows = self.session.rows(sql, &by_name, "looking what the access may write");
        let rows = self.session.reading(rows).await.map_err(|failure| failure.error)?;
        let Some(row) = rows.first() else { return Ok(()) };
        let (role, what, is_sequence): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
        let rights = if is_sequence {
            format!("USAGE, UPDATE ON SEQUENCE {what}")
        } else {
            format!("INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER ON {what}")
        };
        let through =
            if role == access { String::new() } else { format!(", as {role:?}, which its members can act as") };
        Err(Error::new(
            Code::AccessTooPowerful,
            format!(
                "The document of {} is \"read_only\", and {access:?} may write to {what}{through}.",
                self.document.name
            ),
            format!("REVOKE {rights} FROM {}; or name a role that only reads.", quoted(&role)),
        ))
    }

    /// Refuses a standby, where a login of the writer is not known yet, or not any more.
    ///
    /// # Errors
    /// `DATABASE_READ_ONLY`.
    pub(super) fn is_writer(&self) -> Result<()> {
        if self.facts.lack == Some(Lack::Writer) { Err(self.lacking(Lack::Writer)) } else { Ok(()) }
    }

    fn lacking(&self, lack: Lack) -> Error {
        let Facts { admin, version, .. } = &self.facts;
        let (access, database, address) = (&self.engine.access, &self.engine.database, &self.login.place.address);
        let admin_lacks = |what: String, remedy: String| {
            Error::new(Core::AdminLacksPrivilege, format!("The admin {admin:?} {what}."), remedy)
        };
        match lack {
            Lack::Writer => Error::new(
                Core::DatabaseReadOnly,
                format!("{address} takes no changes."),
                "Let \"host\" in the document name the writer.",
            ),
            Lack::Database => Error::new(
                PostgresCode::DatabaseNotFound,
                format!("{address} has no database {database:?}."),
                "Correct \"dbname\" in the document.",
            ),
            Lack::AccessRole => Error::new(
                Code::AccessMissing,
                format!("{address} has no role {access:?}."),
                format!("As an administrator: CREATE ROLE {} NOLOGIN", quoted(access)),
            ),
            Lack::CreateRole => admin_lacks(
                "may not create roles".to_owned(),
                format!("As a superuser: ALTER ROLE {} CREATEROLE", quoted(admin)),
            ),
            Lack::AccessAdmin => {
                let with = if *version >= SET_OPTION { "ADMIN TRUE, INHERIT TRUE, SET TRUE" } else { "ADMIN OPTION" };
                admin_lacks(
                    format!("cannot make members of {access:?}"),
                    format!(
                        "As a superuser, or as who made the role: GRANT {} TO {} WITH {with}",
                        quoted(access),
                        quoted(admin)
                    ),
                )
            }
            // Whoever made a role has ADMIN on it, and gives itself the rest (from 16 on).
            Lack::AccessRights => {
                let with = if *version >= SET_OPTION { " WITH INHERIT TRUE, SET TRUE" } else { "" };
                admin_lacks(
                    format!("does not have the rights of {access:?}, which has to get what people leave behind"),
                    format!("As this admin, or as a superuser: GRANT {} TO {}{with}", quoted(access), quoted(admin)),
                )
            }
            Lack::Signal => admin_lacks(
                "may not end sessions of logins that take back its membership".to_owned(),
                format!("As a superuser (on RDS the master user): GRANT pg_signal_backend TO {}", quoted(admin)),
            ),
            Lack::RdsPassword => admin_lacks(
                "may not set passwords: rds.restrict_password_commands is on".to_owned(),
                format!("As the master user: GRANT rds_password TO {}", quoted(admin)),
            ),
            Lack::Connect => admin_lacks(
                format!("would make logins that cannot come in: {access:?} lacks CONNECT on {database:?}"),
                format!("GRANT CONNECT ON DATABASE {} TO {}", quoted(database), quoted(access)),
            ),
        }
    }
}
