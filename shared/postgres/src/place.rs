//! Where a database is: the server's address and the database's name.

use keyturn::address::Address;

/// PostgreSQL's registered port, for secrets and settings that name none.
pub const DEFAULT_PORT: u16 = 5432;

/// A database on a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub address: Address,
    pub database: String,
    /// Whom the server's certificate must name, if not the host: for names of one's own (CNAMEs).
    pub tls_name: Option<String>,
}

impl Place {
    /// Whom the server's certificate must name.
    #[must_use]
    pub fn certified(&self) -> &str {
        self.tls_name.as_deref().unwrap_or(&self.address.host)
    }
}
