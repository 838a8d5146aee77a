use std::time::{Duration, Instant};

use mongodb::Client;
use mongodb::bson::Bson;
use mongodb::bson::spec::BinarySubtype;
use mongodb::error::{Error, ErrorKind};

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
