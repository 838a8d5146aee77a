//! A loopback TCP listener that lives exactly as long as its handle, for proxies and fake servers.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::faults::{Fault, Faults, Moment};

/// No message of a database's protocol begins like this.
const GARBAGE: [u8; 64] = [0xff; 64];

/// A port that is ours, with nobody to answer yet.
pub(crate) struct Bound {
    listener: TcpListener,
    pub(crate) port: u16,
}

impl Bound {
    pub(crate) async fn free() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free loopback port")?;
        let port = listener.local_addr()?.port();
        Ok(Self { listener, port })
    }

    /// Hands each connection to `serve`, which cuts it by returning. `name` is for its errors.
    pub(crate) fn serve<F>(self, name: &'static str, serve: impl Fn(TcpStream) -> F + Send + 'static) -> Serving
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let Self { listener, port } = self;
        let accepting = tokio::spawn(async move {
            let mut connections = JoinSet::new(); // goes with this task, and takes the connections along
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(told(name, serve(stream)));
                while connections.try_join_next().is_some() {}
            }
        });
        Serving { port, accepting }
    }
}

/// A client or server that is killed, or that distrusts the certificate, is nothing new to a test: its own error tells.
async fn told(name: &'static str, serving: impl Future<Output = Result<()>>) {
    if let Err(error) = serving.await
        && error.downcast_ref::<std::io::Error>().is_none()
    {
        eprintln!("{name}: {error:#}");
    }
}

/// A loopback port where connections are refused. This process keeps it to its end, so that no server that another test starts can
/// get it.
///
/// # Errors
/// If no port is free.
pub fn closed_port() -> Result<u16> {
    let socket = TcpSocket::new_v4()?; // without SO_REUSEADDR: bound, it is nobody else's, though it does not listen
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).context("no free loopback port")?;
    let port = socket.local_addr()?.port();
    std::mem::forget(socket);
    Ok(port)
}

/// A listener at work. Dropped, it cuts every connection.
pub(crate) struct Serving {
    pub(crate) port: u16,
    accepting: JoinHandle<()>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A connection to a server on this loopback port.
pub(crate) async fn dial(port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Waits this long. The runtime's own timer goes by whole milliseconds, which is as long as a whole round trip to a database.
pub(crate) async fn pause(length: Duration) {
    if !length.is_zero() {
        let slept = tokio::task::spawn_blocking(move || std::thread::sleep(length)).await;
        slept.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
    }
}

/// If a fault strikes the call at this moment: what the client is still sent before its connection is cut.
pub(crate) async fn strike(faults: &Faults, call: &str, moment: Moment) -> Option<&'static [u8]> {
    let fault = faults.at(call, moment).await?;
    Some(if fault == Fault::Garbage { &GARBAGE } else { &[] })
}
