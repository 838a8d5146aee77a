//! A loopback HTTP server that lives exactly as long as its handle.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// A running server. Dropped, it stops listening and closes its idle connections.
pub(crate) struct Server {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Server {
    /// Serves `router` on a free loopback port.
    pub(crate) async fn start(router: Router) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no free loopback port")?;
        let address = listener.local_addr().context("a listener without an address")?;
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await; // resolves when the sender is dropped
        });
        tokio::spawn(serving.into_future());
        Ok(Self { address, _stop: stop })
    }

    /// `127.0.0.1:port`.
    pub(crate) fn authority(&self) -> String {
        self.address.to_string()
    }

    /// `http://127.0.0.1:port`.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Cuts the connection whose request is being handled: nothing of a reply gets out.
///
/// axum has no way to say so. Each connection is a task of its own, so unwinding that task closes its socket;
/// `resume_unwind` does it without a panic message.
pub(crate) fn cut() -> ! {
    std::panic::resume_unwind(Box::new("connection cut on purpose"))
}
