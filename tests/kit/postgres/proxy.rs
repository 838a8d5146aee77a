//! A proxy in front of a PostgreSQL server that sees every statement and strikes by the stack's plan of faults.
//!
//! It takes the client's TLS off and speaks plain TCP to the server. Each login and each statement is a call of the
//! plan: before it nothing has reached the server, after it the server has answered and the client has seen nothing.

use std::collections::HashMap;

use anyhow::{Result, bail};
use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::certificates::Certificates;
use crate::faults::{Faults, Moment};
use crate::postgres::iam::{self, IAM_USER};
use crate::postgres::wire::{FirstPacket, Message, Wire, accept_tls, message, refusal, renamed};
use crate::tcp::{Bound, Serving, dial, strike};

const LONGEST_NAME: usize = 40;

/// How it treats logins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logins {
    /// As the server does.
    PassedOn,
    /// As a pooler does: one SQLSTATE for whatever is refused, and no routine (`PgBouncer` 1.18 in front of a PostgreSQL 16
    /// answered so); and `forced_app` becomes a session of `app`.
    OfAPooler,
    /// As RDS does with IAM database authentication: [`IAM_USER`] has to show a token.
    ByIamToken,
}

/// A running proxy. Dropped, it cuts every connection.
pub struct PostgresProxy(Serving);

impl PostgresProxy {
    /// Starts a proxy in front of the server on this port of the loopback interface.
    pub async fn start(
        upstream_port: u16,
        certificates: &Certificates,
        faults: Faults,
        logins: Logins,
    ) -> Result<Self> {
        let acceptor = certificates.acceptor()?;
        let bound = Bound::free().await?;
        let itself = format!("localhost:{}", bound.port);
        let serve = move |stream| {
            let (acceptor, faults, itself) = (acceptor.clone(), faults.clone(), itself.clone());
            async move { relay(accept_tls(stream, &acceptor).await?, upstream_port, &faults, logins, &itself).await }
        };
        Ok(Self(bound.serve("postgres proxy", serve)))
    }

    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    #[must_use]
    pub fn port(&self) -> u16 {
        self.0.port
    }
}

/// A connection from its first message to its end; returning cuts both sides.
async fn relay(
    mut client: Wire<TlsStream<TcpStream>>,
    upstream_port: u16,
    faults: &Faults,
    logins: Logins,
    itself: &str,
) -> Result<()> {
    let (user, startup) = match client.first_packet().await? {
        Some(FirstPacket::Startup(user, packet)) => (user, packet),
        Some(FirstPacket::Cancel(packet)) => {
            return Wire::new(dial(upstream_port).await?).send(&packet).await.map_err(Into::into);
        }
        _ => return Ok(()),
    };
    let call = faults.begin(&format!("connect {user}"));
    if let Some(last) = strike(faults, &call, Moment::Before).await {
        return client.send(last).await.map_err(Into::into);
    }
    if logins == Logins::ByIamToken && user == IAM_USER && !shows_token(&mut client, &user, itself).await? {
        return Ok(());
    }
    let mut session =
        Session { client, server: Wire::new(dial(upstream_port).await?), faults, statements: HashMap::new() };
    let forced = user.strip_prefix("forced_").filter(|_| logins == Logins::OfAPooler);
    let startup = forced.map(|to| renamed(&startup, &user, to)).unwrap_or(startup);
    session.server.send(&startup).await?;
    let Some(mut verdict) = session.log_in().await? else { return Ok(()) };
    if logins == Logins::OfAPooler && verdict.first() == Some(&b'E') {
        verdict = refusal("08P01", "SASL authentication failed");
    }
    if let Some(last) = strike(faults, &call, Moment::After).await {
        return session.client.send(last).await.map_err(Into::into);
    }
    session.client.send(&verdict).await?;
    session.run().await
}

/// Asks for the password as it is, and looks at the token that comes.
async fn shows_token(client: &mut Wire<TlsStream<TcpStream>>, user: &str, server: &str) -> Result<bool> {
    client.send(&message(b'R', &3_u32.to_be_bytes())).await?;
    let Some(answer) = client.message().await? else { return Ok(false) };
    let token = answer.texts().next().unwrap_or_default();
    if let Err(error) = iam::check(&token, user, server) {
        eprintln!("token of {user:?} refused: {error:#}");
        let says = format!("SFATAL\0VFATAL\0C28000\0MPAM authentication failed for user \"{user}\"\0Rauth_failed\0\0");
        client.send(&message(b'E', says.as_bytes())).await?;
        return Ok(false);
    }
    Ok(true)
}

struct Session<'a> {
    client: Wire<TlsStream<TcpStream>>,
    server: Wire<TcpStream>,
    faults: &'a Faults,
    /// The SQL of what the client has prepared, by its name there.
    statements: HashMap<String, String>,
}

impl Session<'_> {
    /// Carries the login through, up to the server's yes or no, which is given back unsent. `None`: one side left.
    async fn log_in(&mut self) -> Result<Option<BytesMut>> {
        let mut verdict = BytesMut::new();
        loop {
            tokio::select! {
                message = self.client.message() => match message? {
                    Some(message) => self.server.send(message.bytes()).await?,
                    None => return Ok(None),
                },
                message = self.server.message() => match message? {
                    // The password was right, but the session can still be refused (no such database).
                    Some(message) if !verdict.is_empty() || message.ends_authentication() => {
                        verdict.extend_from_slice(message.bytes());
                        if matches!(message.kind(), b'Z' | b'E') {
                            return Ok(Some(verdict));
                        }
                    }
                    Some(message) => self.client.send(message.bytes()).await?,
                    None => return Ok(None),
                },
            }
        }
    }

    async fn run(&mut self) -> Result<()> {
        let mut batch = Batch::default();
        loop {
            let message = tokio::select! {
                message = self.client.message() => message?,
                message = self.server.message() => match message? {
                    // Unasked: a changed setting, or that the server is going away.
                    Some(message) => {
                        self.client.send(message.bytes()).await?;
                        continue;
                    }
                    None => return Ok(()),
                },
            };
            let Some(message) = message else { return Ok(()) };
            batch.add(&message, &mut self.statements);
            match message.kind() {
                b'X' => return self.server.send(message.bytes()).await.map_err(Into::into),
                b'Q' | b'S' => {
                    if !self.carry_out(std::mem::take(&mut batch)).await? {
                        return Ok(());
                    }
                }
                b'P' | b'B' | b'D' | b'E' | b'C' => {}
                other => bail!("a client sent a message that the proxy does not know: {:?}", char::from(other)),
            }
        }
    }

    /// One statement or batch, and the server's whole answer. False: the connection is to be cut.
    async fn carry_out(&mut self, batch: Batch) -> Result<bool> {
        // A client that only closes a prepared statement does so when it likes: counted, it would make runs differ.
        let call = batch.sql.map(|sql| self.faults.begin(&format!("sql {}", name(&sql))));
        if self.strikes(call.as_deref(), Moment::Before).await? {
            return Ok(false);
        }
        self.server.send(&batch.bytes).await?;
        let mut answer = BytesMut::new();
        let whole = loop {
            let Some(message) = self.server.message().await? else { break false };
            answer.extend_from_slice(message.bytes());
            match message.kind() {
                b'Z' => break true,
                b'G' | b'H' | b'W' => bail!("the proxy does not carry COPY"),
                _ => {}
            }
        };
        if self.strikes(call.as_deref(), Moment::After).await? {
            return Ok(false);
        }
        self.client.send(&answer).await?;
        Ok(whole)
    }

    async fn strikes(&mut self, call: Option<&str>, moment: Moment) -> Result<bool> {
        let Some(call) = call else { return Ok(false) };
        let Some(last) = strike(self.faults, call, moment).await else { return Ok(false) };
        self.client.send(last).await?;
        Ok(true)
    }
}

/// What a client has sent since its last statement was complete.
#[derive(Default)]
struct Batch {
    bytes: BytesMut,
    sql: Option<String>,
}

impl Batch {
    fn add(&mut self, message: &Message, statements: &mut HashMap<String, String>) {
        self.bytes.extend_from_slice(message.bytes());
        let mut texts = message.texts();
        let sql = match message.kind() {
            b'Q' => texts.next(),
            b'P' => {
                let (statement, sql) = (texts.next().unwrap_or_default(), texts.next().unwrap_or_default());
                statements.insert(statement, sql.clone());
                Some(sql)
            }
            b'B' => statements.get(&texts.nth(1).unwrap_or_default()).cloned(), // the portal's name comes first
            _ => None,
        };
        self.sql = self.sql.take().or(sql);
    }
}

/// The words that a statement begins with, up to a name in quotes, a literal or a number.
fn name(sql: &str) -> String {
    let head = sql.trim_start().split(['\'', '"', '$', '\n', '\r']).next().unwrap_or_default();
    let head = head.split(|c: char| c.is_ascii_digit()).next().unwrap_or_default();
    let head: String = head.chars().take(LONGEST_NAME).collect();
    head.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
