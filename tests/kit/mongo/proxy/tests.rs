use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::Bson;
use mongodb::bson::spec::BinarySubtype;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ClientOptions, Credential, ServerAddress, Tls, TlsOptions};

use super::session::user;
use super::*;
use crate::faults::{Fault, Moment, Point};
use crate::mongo::{code, connect};

struct Stack {
    server: Mongo,
    proxy: MongoProxy,
    faults: Faults,
}

impl Stack {
    async fn new() -> Self {
        Self::before(Mongo::builder().standalone().start().await.unwrap()).await
    }

    async fn before(server: Mongo) -> Self {
        server.make_user("admin", "app", "first", &[("userAdmin", "admin")]).await.unwrap();
        let faults = Faults::none();
        let proxy = MongoProxy::start(&server, faults.clone()).await.unwrap();
        Self { server, proxy, faults }
    }

    fn client(&self, password: &str) -> Client {
        connect(self.server.certificates(), self.proxy.port(), "admin", "app", password).unwrap()
    }

    /// The outcome of one command of `app` on a connection of its own.
    async fn run(&self, password: &str, command: Document) -> Result<Document, Error> {
        self.client(password).database("admin").run_command(command).await
    }

    async fn log_in(&self, password: &str) -> Result<Document, Error> {
        self.run(password, doc! { "connectionStatus": 1 }).await
    }

    async fn refusal(&self, password: &str, command: Document) -> Option<i32> {
        code(&self.run(password, command).await.unwrap_err())
    }

    fn inject(&self, call: &str, moment: Moment, fault: Fault) {
        self.faults.inject(Point { call: call.to_owned(), moment, fault });
    }

    async fn password_is(&self, password: &str) -> bool {
        self.server.logs_in("admin", "app", password).await.unwrap()
    }
}

fn change(password: &str) -> Document {
    doc! { "updateUser": "app", "pwd": password, "mechanisms": ["SCRAM-SHA-256"], "writeConcern": { "w": "majority" } }
}

#[tokio::test]
async fn everything_passes_and_commands_are_recorded() {
    let stack = Stack::new().await;
    stack.faults.enter_step("setSecret");
    let client = stack.client("first");
    client.database("admin").run_command(doc! { "ping": 1 }).await.unwrap();
    client.database("admin").run_command(change("second")).await.unwrap();
    stack.log_in("second").await.unwrap();
    assert!(stack.password_is("second").await);

    let commands = stack.proxy.commands();
    let [update, status] = &commands[..] else { panic!("{commands:?}") };
    for (key, value) in change("second") {
        assert_eq!(update.get(&key), Some(&value));
    }
    assert_eq!(update.get_str("$db").unwrap(), "admin");
    assert!(status.contains_key("connectionStatus"));
    let calls = ["login app #1", "ping #1", "updateUser #1", "login app #2", "connectionStatus #1"];
    assert_eq!(stack.faults.recorded(), calls.map(|call| format!("setSecret mongo {call}")));
    stack.proxy.forget();
    assert!(stack.proxy.commands().is_empty());
}

#[tokio::test]
async fn documents_sent_beside_a_command_are_recorded_with_it() {
    let stack = Stack::new().await;
    stack.server.set_roles("admin", "app", &[("readWrite", "shop")]).await.unwrap();
    let orders = stack.client("first").database("shop").collection::<Document>("orders");
    orders.insert_many([doc! { "_id": 1 }, doc! { "_id": 2 }]).await.unwrap();
    assert_eq!(orders.count_documents(doc! {}).await.unwrap(), 2);
    let insert = stack.proxy.commands().remove(0);
    let documents = [doc! { "_id": 1 }, doc! { "_id": 2 }].map(Bson::from);
    assert_eq!(insert.get_array("documents").unwrap(), &documents);
}

#[tokio::test]
async fn a_refused_login_is_code_18_and_on_atlas_8000() {
    let stack = Stack::new().await;
    let status = doc! { "connectionStatus": 1 };
    assert_eq!(stack.refusal("wrong", status.clone()).await, Some(18));
    stack.proxy.refuse_logins_as_atlas(true);
    assert_eq!(stack.refusal("wrong", status.clone()).await, Some(8000));
    stack.log_in("first").await.unwrap();
    stack.server.drop_user("admin", "app").await.unwrap();
    assert_eq!(stack.refusal("first", status.clone()).await, Some(8000));
    stack.proxy.refuse_logins_as_atlas(false);
    assert_eq!(stack.refusal("first", status).await, Some(18));
    let recorded = stack.faults.recorded();
    let logins = recorded.iter().filter(|call| call.contains("mongo login app")).count();
    assert_eq!((logins, recorded.len()), (5, 6), "each login is one call: {recorded:?}");
}

#[tokio::test]
async fn logins_of_a_held_user_are_refused_until_released() {
    let stack = Stack::new().await;
    stack.proxy.hold_logins_of("app", true);
    assert_eq!(stack.refusal("first", doc! { "connectionStatus": 1 }).await, Some(18));
    assert!(stack.password_is("first").await);
    stack.proxy.hold_logins_of("other", true);
    stack.proxy.hold_logins_of("app", false);
    stack.log_in("first").await.unwrap();
}

#[tokio::test]
async fn a_prepared_answer_comes_as_often_as_said_and_nothing_else_happens() {
    let stack = Stack::new().await;
    let refusal = doc! { "ok": 0, "code": 13, "codeName": "Unauthorized", "errmsg": "not authorized on admin" };
    stack.proxy.answer("updateUser", 1, refusal);
    let user = doc! { "user": "app", "mechanisms": ["SCRAM-SHA-1", "SCRAM-SHA-256"] };
    stack.proxy.answer("usersInfo", 2, doc! { "ok": 1, "users": [user.clone()] });
    assert_eq!(stack.refusal("first", change("second")).await, Some(13));
    assert!(stack.password_is("first").await);
    for prepared in [true, true, false] {
        let answer = stack.run("first", doc! { "usersInfo": "app" }).await.unwrap();
        assert_eq!(answer.get_array("users").unwrap() == &[Bson::from(user.clone())], prepared);
    }
    stack.run("first", change("second")).await.unwrap();
    assert!(stack.password_is("second").await);
}

#[tokio::test]
async fn a_replica_set_is_found_behind_the_proxy_and_a_mongos_is_pretended() {
    let stack = Stack::before(Mongo::start().await.unwrap()).await;
    let discovering = |replica_set: Option<&str>| {
        let host = ServerAddress::Tcp { host: "localhost".to_owned(), port: Some(stack.proxy.port()) };
        let ca = stack.server.certificates().ca_file().to_owned();
        let mut options = ClientOptions::builder().hosts(vec![host]).build();
        options.credential =
            Some(Credential::builder().username("app".to_owned()).password("first".to_owned()).build());
        options.tls = Some(Tls::Enabled(TlsOptions::builder().ca_file_path(ca).build()));
        options.repl_set_name = replica_set.map(str::to_owned);
        options.server_selection_timeout = Some(Duration::from_secs(5));
        Client::with_options(options).unwrap()
    };
    let hello = || doc! { "hello": 1 };
    let member = discovering(stack.server.replica_set()).database("admin").run_command(change("first")).await;
    member.unwrap();
    assert_eq!(stack.proxy.commands().len(), 1, "the driver went around the proxy");

    stack.proxy.pretend_mongos();
    let router = discovering(None).database("admin").run_command(hello()).await.unwrap();
    assert_eq!(router.get_str("msg").unwrap(), "isdbgrid");
    assert!(!router.contains_key("setName") && !router.contains_key("hosts"));
}

#[tokio::test]
async fn a_login_is_cut_before_and_after_the_server_judged_it() {
    let stack = Stack::new().await;
    for moment in [Moment::Before, Moment::After] {
        stack.faults.reset();
        stack.inject(" mongo login app #1", moment, Fault::Cut);
        let cut = stack.log_in("wrong").await.unwrap_err();
        assert!(code(&cut).is_none(), "{cut}");
        assert_eq!(stack.faults.struck().len(), 1);
        stack.log_in("first").await.unwrap();
    }
}

#[tokio::test]
async fn a_command_is_cut_before_and_after_its_effect() {
    let stack = Stack::new().await;
    for (moment, password) in [(Moment::Before, "first"), (Moment::After, "second")] {
        stack.faults.reset();
        stack.inject(" mongo updateUser #1", moment, Fault::Cut);
        let cut = stack.run("first", change("second")).await.unwrap_err();
        assert!(matches!(*cut.kind, ErrorKind::Io(_)), "{cut}");
        assert!(stack.password_is(password).await);
        assert_eq!(stack.faults.recorded(), [" mongo login app #1", " mongo updateUser #1"]);
    }
}

#[tokio::test]
async fn slowness_death_and_garbage_are_carried_out() {
    let stack = Stack::new().await;
    stack.inject(" mongo login app #1", Moment::Before, Fault::Slow(Duration::from_millis(200)));
    let started = Instant::now();
    stack.log_in("first").await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(200));

    let killed = Arc::new(Mutex::new(false));
    let flag = Arc::clone(&killed);
    stack.faults.on_kill(move || *flag.lock().unwrap() = true);
    stack.inject(" mongo connectionStatus #2", Moment::Before, Fault::Kill);
    stack.log_in("first").await.unwrap_err();
    assert!(*killed.lock().unwrap());

    stack.inject(" mongo connectionStatus #3", Moment::After, Fault::Garbage);
    let garbage = stack.log_in("first").await.unwrap_err();
    assert!(matches!(*garbage.kind, ErrorKind::InvalidResponse { .. }), "{garbage}");
}

#[test]
fn the_user_of_a_login_is_read_from_its_first_message() {
    let payload = |text: &str| {
        Bson::Binary(mongodb::bson::Binary { subtype: BinarySubtype::Generic, bytes: text.as_bytes().to_vec() })
    };
    let start = doc! { "saslStart": 1, "payload": payload("n,,n=a=2Cb=3D,r=x") };
    assert_eq!(user(&start).as_deref(), Some("a,b="));
    assert_eq!(user(&doc! { "hello": 1, "speculativeAuthenticate": start }).as_deref(), Some("a,b="));
    assert_eq!(user(&doc! { "hello": 1 }), None);
    assert_eq!(user(&doc! { "saslContinue": 1, "payload": payload("c=biws") }), None);
}
