//! A network between a function and its database: carries bytes to and fro, and lets each round trip take some time.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use crate::tcp::{Bound, Serving, dial, pause};

/// A running relay. Dropped, it cuts every connection.
pub(crate) struct Relay {
    serving: Serving,
    round_trip: Arc<Mutex<Duration>>,
}

impl Relay {
    /// Starts a relay in front of the server on this port of the loopback interface.
    pub(crate) async fn start(upstream_port: u16) -> Result<Self> {
        let round_trip = Arc::<Mutex<Duration>>::default();
        let of_new_connections = Arc::clone(&round_trip);
        let serve = move |client| {
            let round_trip = *of_new_connections.lock().unwrap_or_else(PoisonError::into_inner);
            carry(client, upstream_port, round_trip)
        };
        Ok(Self { serving: Bound::free().await?.serve("relay", serve), round_trip })
    }

    pub(crate) fn port(&self) -> u16 {
        self.serving.port
    }

    /// How long a round trip takes on connections that are made from now on. Making one is a round trip, too.
    pub(crate) fn set_round_trip(&self, time: Duration) {
        *self.round_trip.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }
}

/// Delays the server's bytes by a round trip, in order, and passes the client's on at once.
async fn carry(mut client: TcpStream, upstream_port: u16, round_trip: Duration) -> Result<()> {
    client.set_nodelay(true)?;
    let mut server = dial(upstream_port).await?;
    pause(round_trip).await;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (late, mut due) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let requests = async {
        tokio::io::copy(&mut from_client, &mut to_server).await?;
        to_server.shutdown().await
    };
    let replies = async {
        let mut buffer = vec![0; 16_384];
        loop {
            let length = from_server.read(&mut buffer).await?;
            if length == 0 || late.send((Instant::now() + round_trip, buffer[..length].to_vec())).is_err() {
                drop(late);
                return Ok(());
            }
        }
    };
    let arrivals = async {
        while let Some((at, bytes)) = due.recv().await {
            pause(at.saturating_duration_since(Instant::now())).await;
            to_client.write_all(&bytes).await?;
        }
        to_client.shutdown().await
    };
    tokio::try_join!(requests, replies, arrivals)?;
    Ok(())
}
