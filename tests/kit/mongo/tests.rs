use mongodb::bson::{Document, doc};
use rustix::process::Signal;

use super::install::Install;
use super::*;
use crate::daemon::{Daemon, Recipe};

async fn refusal(client: &Client, db: &str, command: Document) -> Option<i32> {
    let error = client.database(db).run_command(command).await.err()?;
    Some(code(&error).unwrap_or_else(|| panic!("no refusal but {error}")))
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
    let own_password = doc! { "resource": anything, "actions": ["changeOwnPassword"] };
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
async fn a_connection_without_tls_is_refused() {
    let server = Mongo::start().await.unwrap();
    let plain = Client::with_options(options(server.port())).unwrap();
    let error = plain.database("admin").run_command(doc! { "ping": 1 }).await.unwrap_err();
    assert!(matches!(*error.kind, ErrorKind::ServerSelection { .. }), "{error}");
    let log = server.log().unwrap();
    assert!(log.contains("only allow SSL connections") && !log.contains(server.root().1), "{log}");
}

#[test]
fn a_port_that_somebody_else_took_is_told_from_a_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("data")).unwrap();
    let log = folder.path().join("log");
    let recipe = Recipe { name: "mongod", log, stop: Signal::KILL, folders: vec![folder.path()] };
    let command = |flag: &str| {
        let mut command =
            Install::find().unwrap().command(&folder.path().join("data"), taken.local_addr().unwrap().port());
        command.arg(flag);
        command
    };
    assert!(Daemon::run(&recipe, command("--auth"), || false).unwrap().is_none());
    let error = Daemon::run(&recipe, command("--no-such-flag"), || false).err().unwrap();
    assert!(format!("{error:#}").contains("no-such-flag"), "{error:#}");
}
