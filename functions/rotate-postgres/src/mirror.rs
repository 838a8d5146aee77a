//! RDS Proxy logs in to the database itself, with plain secrets that it was given, one for each user. The rotated secret is
//! current for one user at a time, so that each of the two has a mirror: a secret that the rotation keeps up to date.

use crate::codes::Code;
use crate::layout::Turn;
use crate::postgres::Postgres;
use crate::rds;
use crate::settings::Tag;
use keyturn::credential::Credential;
use keyturn::rotation::Job;
use keyturn::secrets::CURRENT;
use keyturn::settings::DeclaredSetting as _;
use keyturn::{Error, Result};
use keyturn_postgres::Place;
use secrecy::ExposeSecret as _;
use serde_json::json;

/// The mirror of a user, as the rotated secret's tags name it.
fn of<'j>(user: &str, job: &'j Job) -> Option<&'j str> {
    job.tags.get(&tag(user)).map(|arn| arn.trim()).filter(|arn| !arn.is_empty())
}

fn tag(user: &str) -> String {
    Tag::Mirror.name().replace("<user>", user)
}

/// Both users have a mirror, or none; and behind RDS Proxy both.
///
/// Errors: `MIRROR_MISSING`.
pub(crate) fn check(turn: &Turn, named: &Place, job: &Job) -> Result<()> {
    let users = [&turn.current, &turn.pending];
    let without = users.into_iter().find(|user| of(user, job).is_none());
    let is_mirrored = users.iter().any(|user| of(user, job).is_some());
    let Some(without) = without.filter(|_| is_mirrored || rds::is_proxy(&named.address.host)) else { return Ok(()) };
    Err(missing(without, named, job))
}

/// Behind RDS Proxy no user logs in without a mirror: told before anybody tries.
///
/// Errors: `MIRROR_MISSING`.
pub(crate) fn check_proxy(current: &str, users: &[String], named: &Place, job: &Job) -> Result<()> {
    if rds::is_proxy(&named.address.host) && users.iter().all(|user| of(user, job).is_none()) {
        return Err(missing(current, named, job));
    }
    Ok(())
}

fn missing(without: &str, named: &Place, job: &Job) -> Error {
    let (secret, address) = (&job.secret_arn, &named.address);
    let (why, alias) = if rds::is_proxy(&address.host) {
        (
            format!("{} is an RDS Proxy, which lets a user in only by a secret of that user's own", address.host),
            format!(" let HOST_ALIASES name the server behind it ({address}=<server>:<port>),"),
        )
    } else {
        ("The other user has a mirror".to_owned(), String::new())
    };
    Error::new(
        Code::MirrorMissing,
        format!("{why}: {without:?} has none."),
        format!(
            "Make a secret {{\"username\", \"password\"}} for each of the two users, register both with the proxy, list them in PostgresMirrorSecretArns,{alias} and tag: aws secretsmanager tag-resource --secret-id {secret} --tags 'Key={},Value=<its ARN>'",
            tag(without)
        ),
    )
}

/// A user's mirror, and what it holds.
pub(crate) struct Mirror<'j> {
    arn: &'j str,
    stored: Option<Credential>,
}

/// Reads the mirror of a user, if it has one.
///
/// Errors: `MIRROR_INVALID` where it is another user's, and what reading a secret can say.
pub(crate) async fn read<'j>(postgres: &Postgres, user: &str, job: &'j Job) -> Result<Option<Mirror<'j>>> {
    let Some(arn) = of(user, job) else { return Ok(None) };
    if *arn == job.secret_arn || !arn.starts_with("arn:") {
        return Err(Error::new(
            Code::MirrorInvalid,
            format!("The mirror {arn:?} in the tags of {} is not the ARN of another secret.", job.secret_arn),
            "Name a plain secret of its own for each of the two users, as RDS Proxy has it.",
        ));
    }
    let Some(stored) = postgres.secrets.read(arn, CURRENT, None, job.deadline).await? else {
        return Ok(Some(Mirror { arn, stored: None }));
    };
    let stored = Credential::parse(stored.text, &format!("the mirror {arn}"))?;
    if stored.username() == user {
        return Ok(Some(Mirror { arn, stored: Some(stored) }));
    }
    Err(Error::new(
        Code::MirrorInvalid,
        format!("The mirror {arn} is for {:?}, not for {user:?}.", stored.username()),
        format!("Correct the tag {} of {}.", tag(user), job.secret_arn),
    ))
}

impl Mirror<'_> {
    /// Puts the credential of its user into it, and says so; `None` where it is there already.
    ///
    /// Safe to repeat: it compares first. It can be written before the turn is over, since the proxy meets that user only once
    /// AWSCURRENT names it.
    pub(crate) async fn follow(&self, pending: &Credential, postgres: &Postgres, job: &Job) -> Result<Option<String>> {
        let (user, password) = (pending.username(), pending.password());
        let text = match &self.stored {
            None => json!({"username": user, "password": password.expose_secret()}).to_string().into(),
            Some(stored) if stored.password().expose_secret() == password.expose_secret() => return Ok(None),
            Some(stored) => stored.with(user, password)?.text().clone(),
        };
        postgres.secrets.put_current(self.arn, &text, job.deadline).await?;
        Ok(Some(format!("mirror of {user:?} updated")))
    }
}
