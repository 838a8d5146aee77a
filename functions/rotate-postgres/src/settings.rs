//! What the operator sets per deployment, read once at start.

use keyturn::address::Address;
use keyturn::settings::DeclaredSetting;
use keyturn::{Vars, admin, clock};
use keyturn_postgres::{DEFAULT_PORT, read_certificates};
use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;
use strum::{EnumIter, EnumMessage, EnumProperty, EnumString, IntoStaticStr, VariantNames};

/// The settings of this function beside those of the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Setting {
    /// PEM file of the only authorities to trust for databases
    #[strum(props(
        default = "built-in: for RDS endpoints their region's and Amazon's, else RDS and public roots",
        example = "/opt/database-ca.pem"
    ))]
    DatabaseCaFile,
    /// you need not set it: OpenSSL reads this file at its start, and the function does not use it. The stack names an empty one
    /// (`/dev/null`), which saves 11 ms of CPU in a cold start
    #[strum(props(default = "OpenSSL's own", example = "/dev/null"))]
    SslCertFile,
    /// `auto`: store MD5 only if `password_encryption` is md5 and the user in use has an MD5 password, else SCRAM; `scram`: always
    /// store SCRAM, and refuse to log in with MD5; `md5`: always store MD5, for clients without SCRAM
    #[strum(props(default = "auto"))]
    PasswordHash,
    /// what to do about open sessions of the user whose password comes next, whose clients did not follow the turn before: `warn`;
    /// `fail`: refuse the rotation; `terminate`: end them once the new password is set
    #[strum(props(default = "warn"))]
    StaleSessions,
    /// days after which a password is no longer accepted (`VALID UNTIL`), if no rotation replaces it before: more than two periods of
    /// every secret's schedule. It takes the place of the `VALID UNTIL` of the user in use
    #[strum(props(default = "not set", example = "90"))]
    PasswordValidDays,
    /// comma list: the only admin secrets that may be used; `any`: whoever may write a secret's value may name any admin secret
    /// that the function's role can read
    #[strum(props(default = "none", example = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:admin-AbCdEf"))]
    AdminSecretArns,
    /// comma list of `alias:port=server:port`: a secret may name the alias where its admin secret names the server
    #[strum(props(default = "none", example = "reader.example.com:5432=writer.example.com:5432"))]
    HostAliases,
}

impl DeclaredSetting for Setting {}

/// The tags of a secret that are read here. They decide whose password changes. Names stand apart by spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
pub enum Tag {
    /// owner or pair layout: the two users
    #[strum(serialize = "keyturn:usernames", props(default = "clone layout", example = "app_a app_b"))]
    Usernames,
    /// owner layout: the role that both users act as
    #[strum(serialize = "keyturn:owner", props(default = "none", example = "app"))]
    Owner,
    /// clone layout: pins the base, so that the value can name it and its clone only
    #[strum(serialize = "keyturn:username", props(default = "the secret's", example = "app"))]
    Username,
    /// `owner`: logins act as the owner, or in clone layout as the base (`SET role`); `self`: as themselves, as with AWS's
    /// function
    #[strum(serialize = "keyturn:acts-as", props(default = "owner", example = "self"))]
    ActsAs,
    /// the server's own endpoint, where the secret has another name of it (a CNAME): the certificate must name it, and all but
    /// testSecret and finishSecret connect to it
    #[strum(
        serialize = "keyturn:tls-name",
        props(default = "the secret's host", example = "shop.c1a2b3.eu-west-1.rds.amazonaws.com")
    )]
    TlsName,
    /// `iam`: the admin logs in by a token of RDS that is valid for 15 minutes, and no password of it is stored
    #[strum(
        serialize = "keyturn:admin-auth",
        props(default = "the admin secret's `adminauth`, else password", example = "iam")
    )]
    AdminAuth,
    /// behind RDS Proxy, one for each of the two users: the ARN of a plain secret that the proxy logs in with as this user, and that
    /// the rotation keeps up to date
    #[strum(
        serialize = "keyturn:mirror.<user>",
        props(default = "none", example = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:app_a-AbCdEf")
    )]
    Mirror,
    /// a role that nothing in the catalog vouches for, or the ARN of the secret whose users this one takes over
    #[strum(serialize = "keyturn:adopt", props(default = "none", example = "app_clone"))]
    Adopt,
}

impl DeclaredSetting for Tag {}

/// Which kind of password hash is stored in the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum PasswordHash {
    /// MD5 where the server makes MD5 hashes and the user in use has one; else SCRAM-SHA-256.
    #[default]
    Auto,
    /// SCRAM-SHA-256 always; a server that asks for an MD5 answer is refused.
    Scram,
    /// MD5, for clients too old for SCRAM.
    Md5,
}

/// What to do about sessions of the user whose password comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "lowercase")]
pub(crate) enum StaleSessions {
    #[default]
    Warn,
    Fail,
    /// They end once the new password is set.
    Terminate,
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// PEM certificates to trust instead of the built-in ones.
    pub(crate) database_ca: Option<Vec<u8>>,
    pub(crate) password_hash: PasswordHash,
    pub(crate) stale_sessions: StaleSessions,
    /// `VALID UNTIL` of every password that is set.
    pub(crate) valid_days: Option<u16>,
    /// `None`, said as `any`, leaves the choice to each secret's `masterarn`.
    pub(crate) admin_secret_arns: Option<Vec<String>>,
    /// By another name (a replica's, a proxy's, a DNS alias) that a secret may give: the server that its admin secret names.
    pub(crate) host_aliases: BTreeMap<Address, Address>,
}

impl Settings {
    /// What is wrong with the settings is noted in `vars`.
    pub(crate) fn read(vars: &mut Vars) -> Self {
        Self {
            database_ca: vars.parsed(Setting::DatabaseCaFile, read_certificates),
            password_hash: vars.parsed(Setting::PasswordHash, word).unwrap_or_default(),
            stale_sessions: vars.parsed(Setting::StaleSessions, word).unwrap_or_default(),
            valid_days: vars.parsed(Setting::PasswordValidDays, valid_days),
            admin_secret_arns: vars.parsed(Setting::AdminSecretArns, admins).unwrap_or(Some(Vec::new())),
            host_aliases: vars.parsed(Setting::HostAliases, host_aliases).unwrap_or_default(),
        }
    }

    /// `PASSWORD_VALID_DAYS` from now, as VALID UNTIL takes it.
    pub(crate) fn new_valid_until(&self) -> Option<String> {
        let lasts = Duration::from_secs(u64::from(self.valid_days?) * 86_400);
        Some((clock::now() + lasts).format("%Y-%m-%d %H:%M:%S+00").to_string())
    }

    /// The server that this address is another name of; the address itself, where it is none.
    pub(crate) fn server_of<'a>(&'a self, address: &'a Address) -> &'a Address {
        self.host_aliases.get(address).unwrap_or(address)
    }
}

/// One of the words that a setting may have.
fn word<T: FromStr + VariantNames>(value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("not one of {}", T::VARIANTS.join(", ")))
}

fn valid_days(value: &str) -> Result<u16, String> {
    value.parse().ok().filter(|days| *days > 0).ok_or_else(|| "not a number of days, 1 to 65535".to_owned())
}

fn admins(value: &str) -> Result<Option<Vec<String>>, String> {
    if value == "any" { Ok(None) } else { admin::secret_arns(value).map(Some) }
}

fn host_aliases(value: &str) -> Result<BTreeMap<Address, Address>, String> {
    let mut aliases = BTreeMap::new();
    for pair in value.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (alias, server) = pair.split_once('=').ok_or_else(|| format!("{pair:?} has no '='"))?;
        let (alias, server) = (Address::parse(alias, DEFAULT_PORT)?, Address::parse(server, DEFAULT_PORT)?);
        if let Some(twice) = aliases.insert(alias.clone(), server) {
            return Err(format!("{alias} is there twice, once for {twice}"));
        }
    }
    Ok(aliases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_environment_gives_the_defaults() {
        let mut vars = Vars::of([]);
        let settings = Settings::read(&mut vars);
        vars.finish().unwrap();
        assert_eq!(settings.password_hash, PasswordHash::Auto);
        assert_eq!(settings.admin_secret_arns, Some(Vec::new()), "no admin, not any");
        assert!(settings.database_ca.is_none() && settings.host_aliases.is_empty());
        let any = Settings::read(&mut Vars::of([("ADMIN_SECRET_ARNS", "any")]));
        assert_eq!(any.admin_secret_arns, None);
    }

    #[test]
    fn every_bad_setting_is_named() {
        let mut vars = Vars::of([
            ("DATABASE_CA_FILE", "/does/not/exist.pem"),
            ("PASSWORD_HASH", "bcrypt"),
            ("STALE_SESSIONS", "kill"),
            ("PASSWORD_VALID_DAYS", "0"),
            ("ADMIN_SECRET_ARNS", "admin"),
            ("HOST_ALIASES", "a:5432=b:port"),
        ]);
        let _ = Settings::read(&mut vars);
        let error = vars.finish().unwrap_err().to_string();
        for name in [
            "DATABASE_CA_FILE: cannot read",
            "PASSWORD_HASH: not one of",
            "STALE_SESSIONS: not one of",
            "PASSWORD_VALID_DAYS: not a number of days",
            "ADMIN_SECRET_ARNS: \"admin\" is not",
            "HOST_ALIASES: ",
        ] {
            assert!(error.contains(name), "{name} in {error}");
        }
    }

    #[test]
    fn aliases_are_pairs_of_addresses() {
        let mut vars = Vars::of([("HOST_ALIASES", "Reader.example.com=writer.example.com:5433, [::1]:1=[::1]:2")]);
        let settings = Settings::read(&mut vars);
        vars.finish().unwrap();
        let (reader, other) = (Address::new("reader.example.com", 5432), Address::new("other", 1));
        assert_eq!(settings.server_of(&reader), &Address::new("writer.example.com", 5433));
        assert_eq!(settings.server_of(&Address::new("::1", 1)), &Address::new("::1", 2));
        assert_eq!(settings.server_of(&other), &other);
        assert_eq!(host_aliases("a=b,A.=c").unwrap_err(), "a:5432 is there twice, once for b:5432");
    }
}
