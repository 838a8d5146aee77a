//! Servers that are not what a client hopes for: one that wants the password in clear, one that lets anybody in, one
//! that wants a certificate, one without TLS, and two that are not there at all.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Certificates;
use crate::postgres::wire::{FirstPacket, Wire, accept_tls, message, refusal};
use crate::tcp::{Bound, Serving};

/// How a fake server treats whoever connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Over TLS, it asks for the password in clear text, and refuses it.
    AsksForPlainPassword,
    /// Over TLS, it lets everybody in without a password, and refuses every statement.
    TrustsEverybody,
    /// Its TLS takes nobody without a certificate.
    DemandsCertificate,
    /// It offers no TLS; to a client that goes on without, it behaves as the first.
    RefusesTls,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Connections, whatever came of them.
    pub connections: usize,
    /// The users that asked for a session. At a server without TLS these are clients that went on in the clear.
    pub users: Vec<String>,
    pub passwords: usize,
    pub statements: usize,
}

pub struct FakePostgres {
    record: Record,
    serving: Serving,
}

impl FakePostgres {
    /// Starts one with the stack's server certificate.
    pub async fn start(manner: Manner, certificates: &Certificates) -> Result<Self> {
        let acceptor = match manner {
            Manner::DemandsCertificate => certificates.demanding_acceptor()?,
            _ => certificates.acceptor()?,
        };
        let record = Record::default();
        let recording = record.clone();
        let serving = Bound::free().await?.serve("fake PostgreSQL", move |stream| {
            recording.lock().connections += 1;
            let (acceptor, record) = (acceptor.clone(), recording.clone());
            async move {
                let _ = serve(stream, manner, acceptor, record).await;
                Ok(())
            }
        });
        Ok(Self { record, serving })
    }

    /// The port it listens on, at 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.serving.port
    }

    /// What clients have done so far.
    #[must_use]
    pub fn seen(&self) -> Seen {
        self.record.lock().clone()
    }
}

#[derive(Clone, Default)]
struct Record(Arc<Mutex<Seen>>);

impl Record {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A client that leaves in the middle, or shakes no hands, is what these servers are for: its errors are not ours.
async fn serve(stream: TcpStream, manner: Manner, acceptor: TlsAcceptor, record: Record) -> Result<()> {
    match manner {
        Manner::AsksForPlainPassword | Manner::DemandsCertificate => {
            ask(accept_tls(stream, &acceptor).await?, &record).await
        }
        Manner::TrustsEverybody => trust(accept_tls(stream, &acceptor).await?, &record).await,
        Manner::RefusesTls => ask(Wire::new(stream), &record).await,
    }
}

/// The user a client names; a wish for TLS is refused.
async fn startup<S: AsyncRead + AsyncWrite + Unpin>(client: &mut Wire<S>, record: &Record) -> Result<()> {
    loop {
        match client.first_packet().await? {
            Some(FirstPacket::Tls | FirstPacket::Gss) => client.send(b"N").await?,
            Some(FirstPacket::Startup(user, _)) => {
                record.lock().users.push(user);
                return Ok(());
            }
            _ => anyhow::bail!("the client left"),
        }
    }
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut client: Wire<S>, record: &Record) -> Result<()> {
    startup(&mut client, record).await?;
    client.send(&message(b'R', &3_u32.to_be_bytes())).await?;
    while let Some(message) = client.message().await? {
        if message.kind() == b'p' {
            record.lock().passwords += 1;
            return client.send(&refusal("28P01", "refused by the fake server")).await.map_err(Into::into);
        }
    }
    Ok(())
}

async fn trust<S: AsyncRead + AsyncWrite + Unpin>(mut client: Wire<S>, record: &Record) -> Result<()> {
    startup(&mut client, record).await?;
    client.send(&message(b'R', &0_u32.to_be_bytes())).await?;
    client.send(&message(b'Z', b"I")).await?;
    while let Some(sent) = client.message().await? {
        match sent.kind() {
            b'p' => record.lock().passwords += 1,
            b'Q' | b'S' => {
                record.lock().statements += 1;
                client.send(&refusal("42501", "refused by the fake server")).await?;
                client.send(&message(b'Z', b"I")).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// An address at which nobody answers.
pub struct Blackhole {
    port: u16,
    _listener: TcpListener,
    _waiting: Vec<TcpStream>,
}

impl Blackhole {
    /// Nobody picks up: connecting itself hangs, as when a firewall drops packets.
    pub async fn no_accept() -> Result<Self> {
        let listener = listen(1)?;
        let address = listener.local_addr()?;
        // The kernel completes connections until the queue of the listener, which never accepts, is full.
        let mut waiting = Vec::new();
        while let Ok(stream) = tokio::time::timeout(Duration::from_millis(250), TcpStream::connect(address)).await {
            waiting.push(stream.context("the queue cannot be filled")?);
            ensure!(waiting.len() < 100, "the queue of this system has no end");
        }
        Ok(Self { port: address.port(), _listener: listener, _waiting: waiting })
    }

    /// Somebody picks up and never says a word.
    pub fn silent() -> Result<Self> {
        let listener = listen(1024)?; // connections are complete while they wait in the queue
        Ok(Self { port: listener.local_addr()?.port(), _listener: listener, _waiting: Vec::new() })
    }

    /// Its port, at 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }
}

fn listen(queue: u32) -> Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    socket.listen(queue).context("the blackhole cannot listen")
}

#[cfg(test)]
mod tests;
