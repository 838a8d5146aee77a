use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio_postgres::error::SqlState;

use super::server::{self, Home};
use super::*;
use crate::daemon::Daemon;

/// Waits until it is so, for at most ten seconds.
async fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < Duration::from_mins(1), "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Whether any process works in this folder: all of a server's have their data directory as working directory.
fn in_use(folder: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false }; // macOS: the process id has to do
    processes
        .flatten()
        .any(|process| fs::read_link(process.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
}

fn is_running(pid: u32) -> bool {
    Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status().unwrap().success()
}

#[tokio::test]
async fn a_server_starts_serves_and_goes() {
    let major = 18;
    let started = Instant::now();
    let server = Postgres::start(major).await.unwrap();
    println!("PostgreSQL {major} started in {} ms", started.elapsed().as_millis());
    let admin = server.make_admin("admin").await.unwrap();
    let app = server.make_login("app", "").await.unwrap();
    let client = server.client("app", &app, "postgres").await.unwrap();
    let row = client
        .query_one(
            "SELECT current_setting('server_version_num')::int, s.ssl, current_setting('password_encryption')
               FROM pg_stat_ssl s WHERE s.pid = pg_backend_pid()",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(u32::try_from(row.get::<_, i32>(0)).unwrap() / 10_000, major);
    assert!(row.get::<_, bool>(1), "no TLS");
    assert_eq!(row.get::<_, String>(2), "scram-sha-256");

    let refused = server.client("app", "wrong", "postgres").await.err().unwrap();
    let cause = refused.downcast_ref::<tokio_postgres::Error>().unwrap();
    assert_eq!(cause.code(), Some(&SqlState::INVALID_PASSWORD));

    let log = server.server_log().unwrap();
    assert!(log.contains("current_setting('server_version_num')") && log.contains("connection authorized"), "{log}");
    for secret in [&admin, &app, server.superuser_password()] {
        assert!(!log.contains(secret), "a password of the stack itself is in the server log");
    }

    let (pid, folder) = (server.pid(), server.server.folder().to_owned());
    assert!(is_running(pid) && folder.exists());
    if Path::new("/proc").exists() {
        assert!(in_use(&folder));
    }
    drop(client);
    drop(server);
    assert!(!is_running(pid) && !in_use(&folder) && !folder.exists(), "something is left of {major}");
}

#[tokio::test]
async fn an_administrator_makes_roles_and_is_no_superuser() {
    let server = Postgres::start(18).await.unwrap();
    let password = server.make_admin("some \"admin\"").await.unwrap();
    let admin = server.client("some \"admin\"", &password, "postgres").await.unwrap();
    admin.batch_execute("CREATE ROLE made LOGIN").await.unwrap();
    let refused = admin.batch_execute("CREATE ROLE stronger SUPERUSER").await.unwrap_err();
    assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE));
}

#[test]
fn a_port_that_somebody_else_took_is_told_from_a_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let home = Home::prepare(&plan(15)).unwrap();
    let command = home.command(taken.local_addr().unwrap().port());
    assert!(Daemon::run(&home.recipe(), command, || false).unwrap().is_none());
    drop(taken);
    server::start(&plan(15)).unwrap();
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let error = Postgres::builder(14).setting("no_such_setting", "1").start().await.err().unwrap();
    assert!(format!("{error:#}").contains("no_such_setting"), "{error:#}");
}

#[tokio::test]
async fn a_killed_test_leaves_no_server_behind() {
    // This test once more, in a process of its own, which holds a server until it is killed.
    const HOLDER: &str = "postgres::tests::a_killed_test_leaves_no_server_behind";
    const HOLD: &str = "KEYTURN_TEST_HOLDS_A_SERVER";
    if std::env::var_os(HOLD).is_some() {
        return hold_a_server().await;
    }
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([HOLDER, "--exact", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(holder.stdout.take().unwrap()));
    let line = lines.find_map(|line| Some(line.unwrap().split_once("holding ")?.1.to_owned())).unwrap();
    let [pid, folder, ca_file] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
    let (folder, ca_file) = (Path::new(folder), Path::new(ca_file));
    assert!(is_running(pid.parse().unwrap()) && folder.exists() && ca_file.exists());

    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("the server ends", || !in_use(folder)).await;
    eventually("its folders go", || !folder.exists() && !ca_file.exists()).await;
}

async fn hold_a_server() {
    let server = Postgres::start(16).await.unwrap();
    let (folder, ca_file) = (server.server.folder(), server.certificates().ca_file());
    println!("holding {} {} {}", server.pid(), folder.display(), ca_file.display());
    tokio::time::sleep(Duration::from_mins(1)).await;
}

fn plan(major: u32) -> Plan {
    let builder = Postgres::builder(major);
    let certificates = Certificates::new().unwrap();
    Plan { major, settings: builder.settings(), hba: builder.hba_lines(), certificates }
}
