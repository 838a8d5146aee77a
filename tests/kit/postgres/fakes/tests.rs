use std::time::Instant;

use postgres_native_tls::MakeTlsConnector;
use tokio::io::AsyncReadExt;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Config, NoTls};

use super::*;

fn config(port: u16) -> Config {
    let mut config = Config::new();
    config.host("127.0.0.1").port(port).user("app").password("geheim").dbname("postgres").ssl_mode(SslMode::Require);
    config
}

async fn fake(manner: Manner) -> (FakePostgres, MakeTlsConnector) {
    let certificates = Certificates::new().unwrap();
    let server = FakePostgres::start(manner, &certificates).await.unwrap();
    (server, MakeTlsConnector::new(certificates.connector()))
}

#[tokio::test]
async fn a_client_that_sends_its_password_in_clear_is_found_out() {
    let (server, tls) = fake(Manner::AsksForPlainPassword).await;
    // tokio-postgres does send it: what the function adds is to refuse.
    let refused = config(server.port()).connect(tls).await.err().unwrap();
    assert_eq!(refused.code(), Some(&SqlState::INVALID_PASSWORD));
    let seen = Seen { connections: 1, users: vec!["app".to_owned()], passwords: 1, statements: 0 };
    assert_eq!(server.seen(), seen);
}

#[tokio::test]
async fn a_server_can_let_everybody_in_and_counts_what_they_do() {
    let (server, tls) = fake(Manner::TrustsEverybody).await;
    let (client, connection) = config(server.port()).connect(tls).await.unwrap();
    tokio::spawn(connection);
    assert_eq!(server.seen().statements, 0);
    assert!(client.batch_execute("SELECT 1").await.is_err());
    let seen = Seen { connections: 1, users: vec!["app".to_owned()], passwords: 0, statements: 1 };
    assert_eq!(server.seen(), seen);
}

#[tokio::test]
async fn a_server_without_tls_sees_who_goes_on_in_the_clear() {
    let (server, tls) = fake(Manner::RefusesTls).await;
    assert!(config(server.port()).connect(tls).await.is_err());
    assert_eq!(server.seen(), Seen { connections: 1, ..Seen::default() });

    assert!(config(server.port()).ssl_mode(SslMode::Disable).connect(NoTls).await.is_err());
    assert_eq!(server.seen().users, ["app"]);
    assert_eq!(server.seen().passwords, 1);
}

#[tokio::test]
async fn nobody_picks_up() {
    let hole = Blackhole::no_accept().await.unwrap();
    let connecting = TcpStream::connect((Ipv4Addr::LOCALHOST, hole.port()));
    let limit = Duration::from_millis(500);
    assert!(tokio::time::timeout(limit, connecting).await.is_err(), "somebody picked up, or refused");
}

#[tokio::test]
async fn somebody_picks_up_and_is_silent() {
    let hole = Blackhole::silent().unwrap();
    let asked = Instant::now();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(TcpStream::connect((Ipv4Addr::LOCALHOST, hole.port())).await.unwrap());
    }
    assert!(asked.elapsed() < Duration::from_secs(5));
    let answer = tokio::time::timeout(Duration::from_millis(200), streams[0].read_u8()).await;
    assert!(answer.is_err(), "it spoke: {answer:?}");
}
