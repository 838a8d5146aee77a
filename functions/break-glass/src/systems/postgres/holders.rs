//! Which logins there are, and who holds power.

use super::{Admin, Holder, MARK};
use crate::login::PREFIX;
use chrono::DateTime;
use keyturn::Result;
use keyturn_postgres::{Parameter, Row, Type, mark};

impl Admin<'_> {
    pub(in crate::systems) async fn logins(&self) -> Result<Vec<String>> {
        let sql = "SELECT rolname::text FROM pg_roles WHERE starts_with(rolname, $1) ORDER BY 1";
        let rows = self.session.rows(sql, &[(&PREFIX, Type::TEXT)], "listing logins");
        let rows = self.session.reading(rows).await.map_err(|failure| failure.error)?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    pub(in crate::systems) async fn holders(&self) -> Result<Vec<Holder>> {
        let sql = "WITH RECURSIVE reach(login, role) AS (
                SELECT oid, oid FROM pg_roles WHERE rolcanlogin
                UNION
                SELECT r.login, m.roleid FROM reach r JOIN pg_auth_members m ON m.member = r.role
            ),
            powers AS (
                SELECT reach.login, p.power FROM reach JOIN pg_roles r ON r.oid = reach.role
                CROSS JOIN LATERAL (VALUES
                    (CASE WHEN r.rolsuper THEN 'superuser' END), (CASE WHEN r.rolcreaterole THEN 'createrole' END),
                    (CASE WHEN r.rolbypassrls THEN 'bypassrls' END), (CASE WHEN r.rolreplication THEN 'replication' END),
                    (CASE WHEN r.rolname = $1 OR r.rolname IN ('rds_superuser', 'pg_execute_server_program',
                        'pg_write_server_files', 'pg_read_all_data', 'pg_write_all_data') THEN 'member of ' || r.rolname END)
                ) AS p(power) WHERE p.power IS NOT NULL
            )
            SELECT l.rolname::text, array_agg(DISTINCT p.power ORDER BY p.power), shobj_description(l.oid, 'pg_authid'),
                CASE WHEN isfinite(l.rolvaliduntil) THEN extract(epoch FROM l.rolvaliduntil)::bigint END
            FROM powers p JOIN pg_roles l ON l.oid = p.login GROUP BY l.oid, l.rolname, l.rolvaliduntil ORDER BY 1";
        let access = self.engine.access.as_str();
        let by_name: [Parameter<'_>; 1] = [(&access, Type::TEXT)];
        let rows = self.session.rows(sql, &by_name, "reading who holds power");
        let rows = self.session.reading(rows).await.map_err(|failure| failure.error)?;
        let holder = |row: &Row| {
            let comment: Option<String> = row.get(2);
            let until: Option<i64> = row.get(3);
            Holder {
                login: row.get(0),
                powers: row.get(1),
                // What a person gave as the reason is no mark.
                secret: comment
                    .filter(|text| !text.starts_with(MARK))
                    .as_deref()
                    .and_then(mark::secret_in)
                    .map(str::to_owned),
                until: until.and_then(|seconds| DateTime::from_timestamp(seconds, 0)),
            }
        };
        Ok(rows.iter().map(holder).collect())
    }
}
