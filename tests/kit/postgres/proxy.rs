//! A proxy in front of a PostgreSQL server that sees every statement and strikes by the stack's plan of faults.
//!
//! It takes the client's TLS off and speaks plain TCP to the server. Each login and each statement is a call of the
//! plan: before it nothing has reached the server, after it the server has answered and the client has seen nothing.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::certificates::Certificates;
use crate::faults::{Fault, Faults, Moment};
use crate::postgres::wire::{FirstPacket, Message, Wire, accept_tls};

/// No message of the protocol begins like this.
const GARBAGE: [u8; 64] = [0xff; 64];

const LONGEST_NAME: usize = 40;

/// A running proxy. Dropped, it cuts every connection.
pub struct PostgresProxy {
    port: u16,
    accepting: JoinHandle<()>,
}

impl PostgresProxy {
    /// Starts a proxy in front of the server on this port of the loopback interface.
    pub async fn start(upstream_port: u16, certificates: &Certificates, faults: Faults) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("the proxy cannot listen")?;
        let port = listener.local_addr()?.port();
        let acceptor = certificates.acceptor()?;
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // goes with this task, and takes the connections along
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, upstream_port, acceptor.clone(), faults.clone()));
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Self { port, accepting })
    }

    /// The host it listens on.
    #[must_use]
    pub fn host(&self) -> &'static str {
        "127.0.0.1"
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, upstream_port: u16, acceptor: TlsAcceptor, faults: Faults) {
    let cut = match accept_tls(stream, &acceptor).await {
        Ok(client) => relay(client, upstream_port, &faults).await,
        Err(error) => Err(error),
    };
    // A client that is killed, or that distrusts the certificate, is nothing new to a test: its own error tells.
    if let Err(error) = cut
        && error.downcast_ref::<std::io::Error>().is_none()
    {
        eprintln!("postgres proxy: {error:#}");
    }
}

/// A connection from its first message to its end; returning cuts both sides.
async fn relay(mut client: Wire<TlsStream<TcpStream>>, upstream_port: u16, faults: &Faults) -> Result<()> {
    let (user, startup) = match client.first_packet().await? {
        Some(FirstPacket::Startup(user, packet)) => (user, packet),
        Some(FirstPacket::Cancel(packet)) => return dial(upstream_port).await?.send(&packet).await.map_err(Into::into),
        _ => return Ok(()),
    };
    let call = faults.begin(&format!("connect {user}"));
    if let Some(fault) = faults.at(&call, Moment::Before).await {
        return strike(&mut client, &fault).await;
    }
    let mut session = Session { client, server: dial(upstream_port).await?, faults, statements: HashMap::new() };
    session.server.send(&startup).await?;
    let Some(verdict) = session.log_in().await? else { return Ok(()) };
    if let Some(fault) = faults.at(&call, Moment::After).await {
        return strike(&mut session.client, &fault).await;
    }
    session.client.send(&verdict).await?;
    session.run().await
}

async fn dial(port: u16) -> Result<Wire<TcpStream>> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    Ok(Wire::new(stream))
}

async fn strike(client: &mut Wire<TlsStream<TcpStream>>, fault: &Fault) -> Result<()> {
    if *fault == Fault::Garbage {
        client.send(&GARBAGE).await?;
    }
    Ok(())
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
        let Some(fault) = self.faults.at(call, moment).await else { return Ok(false) };
        strike(&mut self.client, &fault).await?;
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
