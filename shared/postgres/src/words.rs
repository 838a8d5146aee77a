//! What messages say differently in each function.

/// How a function calls its own things. Messages and remedies name them.
#[derive(Clone, Copy, Debug)]
pub struct Words {
    /// The function's name.
    pub function: &'static str,
    /// Where the server's host is written: `"host" in the secret`.
    pub host: &'static str,
    /// Where the database's name is written: `"dbname" in the secret`.
    pub dbname: &'static str,
    /// What has to name the server that takes changes: `the admin secret's "host"`.
    pub writer: &'static str,
    /// Completes "for RDS use the endpoint's own name", where a function takes another name of a server; else empty.
    pub certified_elsewhere: &'static str,
    /// Who logs in, as a line of `pg_hba.conf` would list them: `<the secret's users and its admin>`.
    pub users: &'static str,
    /// Why an MD5 answer is not given: completes "it asks for an MD5 answer, and ...".
    pub only_scram: &'static str,
    /// Completes "give the user a SCRAM password", where a function does so itself; else empty.
    pub replaces_md5: &'static str,
    /// The remedy where the admin may not do what it is asked to.
    pub admin_needs: &'static str,
}

impl Words {
    /// What the function's sessions are called in `pg_stat_activity`.
    #[must_use]
    pub fn application_name(&self) -> String {
        format!("keyturn {}", self.function)
    }
}
