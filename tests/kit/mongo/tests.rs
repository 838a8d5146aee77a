use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;

use super::install::Install;
use super::*;
use crate::daemon::{Daemon, Recipe};

async fn refusal(client: &Client, db: &str, command: Document) -> Option<i32> {
    let error = client.database(db).run_command(command).await.err()?;
    Some(code(&error).unwrap_or_else(|| panic!("no refusal but {error}")))
}

fn is_running(pid: u32) -> bool {
    Command::new("kill").args(["-0", &pid.to_string()]).stderr(Stdio::null()).status().unwrap().success()
}

#[tokio::test]
async fn a_server_starts_serves_and_goes() {
    let started = Instant::now();
    let server = Mongo::start().await.unwrap();
    println!("secantusdb started in {} ms", started.elapsed().as_millis());
    server.make_user("admin", "app", "right", &[("readWrite", "shop")]).await.unwrap();
    let client = server.client("admin", "app", "right").unwrap();
    client.database("shop").collection("orders").insert_one(doc! { "n": 1 }).await.unwrap();
    assert!(server.logs_in("admin", "app", "right").await.unwrap());

    let (pid, folder) = (server.pid(), server.server.folder().to_owned());
    assert!(is_running(pid) && folder.exists());
    drop(client);
    drop(server);
    assert!(!is_running(pid) && !folder.exists(), "something is left");
}

#[tokio::test]
async fn a_bad_login_is_code_18_and_anything_else_is_an_error() {
    let server = Mongo::start().await.unwrap();
    server.make_user("shop", "app", "right", &[("readWrite", "shop")]).await.unwrap();
    assert!(server.logs_in("shop", "app", "right").await.unwrap());
    for (db, name, password) in [("shop", "app", "wrong"), ("shop", "nobody", "right"), ("admin", "app", "right")] {
        let client = server.client(db, name, password).unwrap();
        assert_eq!(refusal(&client, "admin", doc! { "connectionStatus": 1 }).await, Some(18));
        assert!(!server.logs_in(db, name, password).await.unwrap());
    }
    let stranger = Certificates::new().unwrap();
    let client = connect(&stranger, server.port(), "shop", "app", "right").unwrap();
    let error = client.database("admin").run_command(doc! { "ping": 1 }).await.unwrap_err();
    assert!(code(&error).is_none() && matches!(*error.kind, ErrorKind::ServerSelection { .. }), "{error}");
}

#[tokio::test]
async fn roles_are_enforced() {
    let server = Mongo::start().await.unwrap();
    server.make_user("admin", "app", "first", &[("readWrite", "shop")]).await.unwrap();
    let anything = doc! { "db": "admin", "collection": "" };
    let own_password = doc! { "resource": anything, "actions": ["changeOwnPassword", "viewUser"] };
    server.make_role("changes_itself", vec![own_password], &[]).await.unwrap();

    let client = server.client("admin", "app", "first").unwrap();
    let insert = doc! { "insert": "t", "documents": [{ "n": 1 }] };
    assert_eq!(refusal(&client, "shop", insert.clone()).await, None);
    assert_eq!(refusal(&client, "other", insert).await, Some(13));
    let change = doc! { "updateUser": "app", "pwd": "second" };
    assert_eq!(refusal(&client, "admin", change.clone()).await, Some(13));

    server.set_roles("admin", "app", &[("readWrite", "shop"), ("changes_itself", "admin")]).await.unwrap();
    let client = server.client("admin", "app", "first").unwrap();
    assert_eq!(refusal(&client, "admin", change).await, None);
    assert_eq!(refusal(&client, "admin", doc! { "usersInfo": "app" }).await, None);
    assert!(server.logs_in("admin", "app", "second").await.unwrap());
}

#[tokio::test]
async fn users_are_made_changed_listed_and_dropped() {
    let server = Mongo::start().await.unwrap();
    server.make_user("shop", "local", "p", &[("read", "shop")]).await.unwrap();
    server.make_user("admin", "app", "p", &[("readWrite", "shop")]).await.unwrap();
    let before = server.users().await.unwrap();
    let names: Vec<_> = before.iter().map(|user| user.get_str("_id").unwrap()).collect();
    assert_eq!(names, ["admin.app", "admin.root", "shop.local"]);
    assert_eq!(server.users().await.unwrap(), before);

    server.set_password("admin", "app", "p").await.unwrap(); // the same, but another salt
    assert_ne!(server.users().await.unwrap(), before);
    let app = server.user("admin", "app").await.unwrap().unwrap();
    assert_eq!(app.get_array("roles").unwrap(), &[Bson::from(doc! { "role": "readWrite", "db": "shop" })]);
    assert!(!app.contains_key("credentials"));

    server.drop_user("admin", "app").await.unwrap();
    assert_eq!(server.user("admin", "app").await.unwrap(), None);
    for gone in [server.set_password("admin", "app", "p").await, server.drop_user("admin", "app").await] {
        assert_eq!(code(gone.unwrap_err().downcast_ref().unwrap()), Some(11), "not UserNotFound");
    }
}

#[tokio::test]
async fn a_connection_without_tls_is_refused() {
    let server = Mongo::start().await.unwrap();
    let plain = Client::with_options(options(server.port())).unwrap();
    let error = plain.database("admin").run_command(doc! { "ping": 1 }).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::ServerSelection { .. }), "{error}");
    let log = server.log().unwrap();
    assert!(log.contains("TLS handshake") && !log.contains(server.root().1), "{log}");
}

#[tokio::test]
async fn a_server_says_what_it_is_a_member_of() {
    let certificates = Certificates::new().unwrap();
    let standalone = Mongo::builder().standalone().certificates(&certificates);
    let member = Mongo::builder().certificates(&certificates);
    let (standalone, member) = tokio::try_join!(standalone.start(), member.start()).unwrap();
    for server in [standalone, member] {
        let (root, password) = server.root();
        let client = connect(&certificates, server.port(), "admin", root, password).unwrap();
        let hello = client.database("admin").run_command(doc! { "hello": 1 }).await.unwrap();
        assert_eq!(hello.get_str("setName").ok(), server.replica_set());
        let hosts = server.replica_set().map(|_| vec![Bson::from(format!("127.0.0.1:{}", server.port()))]);
        assert_eq!(hello.get_array("hosts").ok(), hosts.as_ref());
        assert_eq!(server.address(), format!("localhost:{}", server.port()));
    }
}

#[tokio::test]
async fn two_servers_at_once_know_nothing_of_each_other() {
    let (one, two) = tokio::try_join!(Mongo::start(), Mongo::start()).unwrap();
    assert_ne!(one.port(), two.port());
    one.make_user("admin", "here", "p", &[("read", "shop")]).await.unwrap();
    assert!(one.logs_in("admin", "here", "p").await.unwrap());
    assert!(!two.logs_in("admin", "here", "p").await.unwrap());
}

#[test]
fn a_port_that_somebody_else_took_is_told_from_a_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let recipe = Recipe { name: "secantusdb", log, stop: Signal::KILL, folders: vec![folder.path()] };
    let command = |flag: &str| {
        let mut command = Install::find().unwrap().command(folder.path(), taken.local_addr().unwrap().port());
        command.args(["--storage-path", "data", flag]);
        command
    };
    assert!(Daemon::run(&recipe, command("--auth"), || false).unwrap().is_none());
    let error = Daemon::run(&recipe, command("--no-such-flag"), || false).err().unwrap();
    assert!(format!("{error:#}").contains("no-such-flag"), "{error:#}");
}

#[tokio::test]
async fn a_killed_test_leaves_no_server_behind() {
    // This test once more, in a process of its own, which holds a server until it is killed.
    const HOLDER: &str = "mongo::tests::a_killed_test_leaves_no_server_behind";
    const HOLD: &str = "KEYTURN_TEST_HOLDS_A_SERVER";
    if std::env::var_os(HOLD).is_some() {
        let server = Mongo::start().await.unwrap();
        println!("holding {} {}", server.pid(), server.server.folder().display());
        return std::future::pending().await;
    }
    let mut holder = Command::new(std::env::current_exe().unwrap())
        .args([HOLDER, "--exact", "--nocapture"])
        .env(HOLD, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(holder.stdout.take().unwrap()));
    let line = lines.find_map(|line| Some(line.unwrap().split_once("holding ")?.1.to_owned())).unwrap();
    let (pid, folder) = line.split_once(' ').unwrap();
    let (pid, folder) = (pid.parse().unwrap(), Path::new(folder));
    assert!(is_running(pid) && folder.exists());

    holder.kill().unwrap();
    holder.wait().unwrap();
    let killed = Instant::now();
    while folder.exists() {
        assert!(killed.elapsed() < Duration::from_secs(10), "its folder stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!is_running(pid));
}
