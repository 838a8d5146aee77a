//! Every shape of secret is taken as it is, and comes back byte for byte but for the password, the user, and copies of them.

use super::scene::{put_current, put_pending, refused};
use keyturn_tests::stacks::mongo::MongoStack;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

/// Where a secret's user is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
enum At {
    Own,
    Atlas,
}

/// A secret's text. `<user>`, `<password>` (in JSON's spelling) and `<escaped>` (in a URL's) are what turns; `<first>` is the
/// user's name where it means somebody else; `<port>`, `<admin>` and `<project>` are the stack's.
struct Shape {
    name: &'static str,
    at: At,
    tags: &'static [(&'static str, &'static str)],
    /// The keys that hold user and password; none for the user where a tag says who it is.
    keys: (&'static str, &'static str),
    text: &'static str,
}

const AWS: (&str, &str) = ("username", "password");
const OWN: &[(&str, &str)] = &[("engine", "mongo")];
const ATLAS: &[(&str, &str)] = &[("engine", "mongodb-atlas")];

const SHAPES: [Shape; 15] = [
    Shape {
        name: "aws",
        at: At::Own,
        tags: &[],
        keys: AWS,
        text: r#"{"engine": "mongo", "host": "localhost", "username": "<user>", "password": "<password>", "dbname": "shop", "port": <port>, "ssl": true, "masterarn": "<admin>"}"#,
    },
    Shape {
        name: "aws-spelled-differently",
        at: At::Own,
        tags: &[],
        keys: AWS,
        text: "{\n\t\"password\" :\"<password>\",\"team\":\"Gr\\u00f6\\u00dfe \u{2615}\", \"weights\": [1.0, 2e3, -0],\r\n  \"port\":\"<port>\", \"ssl\": \"TRUE\", \"username\"  :\"<user>\", \"nothing\": null, \"host\":\"LocalHost.\", \"engine\":\"mongo\", \"\": {} }\n",
    },
    Shape {
        name: "cluster-url",
        at: At::Own,
        tags: OWN,
        keys: AWS,
        text: r#"{"username":"<user>","password":"<password>","clusterUrl":"mongodb://localhost:<port>/?replicaSet=rs0","databaseName":"shop"}"#,
    },
    Shape {
        name: "cluster-url-with-the-credential",
        at: At::Own,
        tags: &[("engine", "mongo"), ("hosts", "localhost:<port>")],
        keys: AWS,
        text: r#"{"username":"<user>","password":"<password>","clusterUrl":"mongodb+srv://<user>:<escaped>@shop.example.com/?w=majority"}"#,
    },
    Shape {
        name: "mongo-hostname",
        at: At::Own,
        tags: OWN,
        keys: ("mongoUser", "mongoPassword"),
        text: r#"{"mongoHostname":"rs0/localhost:<port>","mongoUser":"<user>","mongoPassword":"<password>"}"#,
    },
    Shape {
        name: "password-alone",
        at: At::Own,
        tags: &[("engine", "mongo"), ("hosts", "localhost:<port>"), ("username", "<user>")],
        keys: ("", "password"),
        text: r#"{"password":"<password>"}"#,
    },
    Shape {
        name: "password-and-uri",
        at: At::Own,
        tags: &[("engine", "mongo"), ("hosts", "localhost:<port>"), ("username", "<user>")],
        keys: ("", "password"),
        text: r#"{"password":"<password>", "MONGODB_URI": "mongodb://<user>:<escaped>@h1.example.com,h2.example.com:27018/shop?authSource=admin"}"#,
    },
    Shape { name: "strings", at: At::Own, tags: OWN, keys: AWS, text: STRINGS },
    Shape {
        name: "aws-at",
        at: At::Atlas,
        tags: &[],
        keys: AWS,
        text: r#"{"engine":"mongodb-atlas","host":"cluster0.ab1cd.mongodb.net","username":"<user>","password":"<password>","dbname":"shop"}"#,
    },
    Shape {
        name: "cluster-url-at",
        at: At::Atlas,
        tags: ATLAS,
        keys: AWS,
        text: r#"{"username":"<user>","password":"<password>","clusterUrl":"mongodb+srv://cluster0.ab1cd.mongodb.net","databaseName":"shop","groupId":"<project>"}"#,
    },
    Shape {
        name: "cluster-url-with-the-credential-at",
        at: At::Atlas,
        tags: ATLAS,
        keys: AWS,
        text: r#"{ "clusterUrl": "mongodb+srv://<user>:<escaped>@cluster0.ab1cd.mongodb.net/?retryWrites=true&w=majority", "username": "<user>", "password": "<password>", "groupId": "" }"#,
    },
    Shape {
        name: "mongo-hostname-at",
        at: At::Atlas,
        tags: ATLAS,
        keys: ("mongoUser", "mongoPassword"),
        text: r#"{"mongoHostname":"cluster0.ab1cd.mongodb.net","mongoUser":"<user>","mongoPassword":"<password>"}"#,
    },
    Shape {
        name: "password-alone-at",
        at: At::Atlas,
        tags: &[("engine", "mongodb-atlas"), ("username", "<user>"), ("atlas-project", "<project>")],
        keys: ("", "password"),
        text: "{\n  \"password\": \"<password>\"\n}\n",
    },
    Shape {
        name: "password-and-uri-at",
        at: At::Atlas,
        tags: &[("engine", "mongodb-atlas"), ("username", "<user>")],
        keys: ("", "password"),
        text: r#"{"uri":"mongodb+srv://<user>:<escaped>@cluster0.ab1cd.mongodb.net/shop","password":"<password>"}"#,
    },
    Shape { name: "strings-at", at: At::Atlas, tags: ATLAS, keys: AWS, text: STRINGS },
];

/// Copies of the credential in every form, and what only looks like one.
const STRINGS: &str = r#"{
  "host": "localhost", "port": <port>.0,
  "username": "<user>", "password": "<password>",
  "MONGODB_URI": "mongodb://<user>:<escaped>@localhost:<port>/shop?authSource=admin&replicaSet=rs0",
  "several": "mongodb://<user>:<escaped>@h1.example.com:27017,h2.example.com:27018,[::1]/shop?w=majority",
  "srv": "mongodb+srv://<user>:<escaped>@cluster0.ab1cd.mongodb.net/?retryWrites=true",
  "without": "mongodb://<user>@localhost:<port>/",
  "MONGO_USER": "<user>", "MONGO_PASSWORD": "<password>", "mongoPassword": "<password>", "DB_PASS": "<password>",
  "spring": {"data": {"mongodb": {"uri": "mongodb://<user>:<escaped>@localhost", "username": "<user>", "password": "<password>"}},
             "uris": ["mongodb://<user>:<escaped>@localhost:<port>", ["<first>", {"login": "<user>", "pwd":"<password>"}]]},
  "reporting": "mongodb://report:Other-1@localhost:<port>/shop",
  "elsewhere": "mongodb://<first>:Other-2@archive.example.com/shop",
  "queue": "amqp://<first>:guest@mq.example.com/v", "smtp_user": "<first>", "smtp_password": "Other-3",
  "path": "C:\\mongo\/data", "name": "shop"
}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_of_secret_comes_back_byte_for_byte_with_a_new_password() {
    let stack = MongoStack::start().await.unwrap();
    for shape in &SHAPES {
        let secret = make(&stack, shape, "fixed").await;
        let user = user_of(shape, "fixed");
        for _ in 0..2 {
            turns(&stack, shape, &secret, &user, &user).await;
        }
        if shape.keys.0.is_empty() {
            cannot_alternate(&stack, shape, &secret).await;
        }
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_shape_that_names_a_user_comes_back_byte_for_byte_with_the_other_user() {
    let stack = MongoStack::start().await.unwrap();
    for shape in SHAPES.iter().filter(|shape| !shape.keys.0.is_empty()) {
        let secret = make(&stack, shape, "turn").await;
        stack.tag(&secret, "strategy", "alternating").unwrap();
        let first = user_of(shape, "turn");
        for user in [format!("{first}_clone"), first.clone(), format!("{first}_clone")] {
            turns(&stack, shape, &secret, &user, &first).await;
        }
    }
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// The model in infra/examples, which has the keys of AWS's managed external rotation: that one and this one take over from each
/// other, and no key changes.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_managed_external_rotation_moves_over_and_back() {
    let stack = MongoStack::start().await.unwrap();
    let model: Value =
        serde_json::from_str(include_str!("../../../infra/examples/secrets/rotate-mongo/managed-external.json"))
            .unwrap();
    let text = model.to_string().replace(model["username"].as_str().unwrap(), "<user>");
    let text = text.replace(model["password"].as_str().unwrap(), "<password>");
    let text = text.replace(model["groupId"].as_str().unwrap(), "<project>");
    let text: &'static str = text.leak();
    let shape = Shape { name: "managed", at: At::Atlas, tags: ATLAS, keys: AWS, text };
    let secret = make(&stack, &shape, "moved").await;
    let user = user_of(&shape, "moved");
    turns(&stack, &shape, &secret, &user, &user).await;
    // What the managed rotation does: another password at Atlas, and in the same keys.
    stack.atlas.revert("cluster0", &user, "Of-the-managed-rotation-1").await.unwrap();
    put_current(&stack, &secret, &filled(&stack, text, &user, "Of-the-managed-rotation-1", &user)).await;
    turns(&stack, &shape, &secret, &user, &user).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// One rotation: afterwards the text is the shape's with `user` and a new password in it, and nothing else has changed.
async fn turns(stack: &MongoStack, shape: &Shape, secret: &str, user: &str, first: &str) {
    let before = text(stack, secret);
    let outcome = stack.rotate(secret).await.unwrap();
    assert!(outcome.succeeded(), "{}: {outcome}", shape.name);
    let after = text(stack, secret);
    let password = value(&after, shape.keys.1);
    assert_ne!(password, value(&before, shape.keys.1), "{}", shape.name);
    assert_eq!(after, filled(stack, shape.text, user, &password, first), "{}", shape.name);
    assert!(stack.mongo.logs_in("admin", user, &password).await.unwrap(), "{}: {user}", shape.name);
}

/// Clients of a secret that names no user could not know whose turn it is.
async fn cannot_alternate(stack: &MongoStack, shape: &Shape, secret: &str) {
    stack.tag(secret, "strategy", "alternating").unwrap();
    let before = stack.mongo.users().await.unwrap();
    let says = ["its value names none", "Add \"username\"", "keyturn:strategy=fixed"];
    let token = stack.stage(secret).unwrap();
    refused(stack.step(secret, &token, "createSecret").await, "USERNAME_NOT_IN_SECRET", &says);
    assert_eq!(stack.aws.secrets.value(secret, "AWSPENDING").unwrap(), None, "{}", shape.name);
    let pending = json!({"password": "PutByHandAndKnownToNobody"}).to_string();
    let token = put_pending(stack, secret, &pending).await;
    refused(stack.step(secret, &token, "setSecret").await, "PENDING_IS_CURRENT_USER", &["who is in use"]);
    refused(stack.step(secret, &token, "testSecret").await, "USERNAME_NOT_IN_SECRET", &says);
    assert_eq!(stack.mongo.users().await.unwrap(), before, "{}", shape.name);
}

/// A user with a password that JSON and URLs spell differently, and its secret.
async fn make(stack: &MongoStack, shape: &Shape, story: &str) -> String {
    let (user, password) = (user_of(shape, story), "Old p@ss/w:rd?#%&=+\"\\1");
    match shape.at {
        At::Own => stack.mongo.make_user("admin", &user, password, &[("readWrite", "shop")]).await.unwrap(),
        At::Atlas => {
            let body = json!({"username": user, "roles": [{"roleName": "readWrite", "databaseName": "shop"}]});
            stack.atlas.add_user(&stack.project, &body, password).await.unwrap();
        }
    }
    let text = filled(stack, shape.text, &user, password, &user);
    let secret = stack.secret_text(&format!("{}-{story}", shape.name), &text).unwrap();
    for (name, value) in shape.tags {
        stack.tag(&secret, name, &filled(stack, value, &user, password, &user)).unwrap();
    }
    secret
}

fn user_of(shape: &Shape, story: &str) -> String {
    format!("{}-{story}_test_rw", shape.name)
}

fn filled(stack: &MongoStack, template: &str, user: &str, password: &str, first: &str) -> String {
    let quoted = json!(password).to_string();
    template
        .replace("<user>", user)
        .replace("<password>", &quoted[1..quoted.len() - 1])
        .replace("<escaped>", &utf8_percent_encode(password, NON_ALPHANUMERIC).to_string())
        .replace("<first>", first)
        .replace("<port>", &stack.database_port().to_string())
        .replace("<admin>", &stack.admin_arn)
        .replace("<project>", stack.project.id())
}

fn text(stack: &MongoStack, secret: &str) -> String {
    stack.aws.secrets.value(secret, "AWSCURRENT").unwrap().unwrap()
}

fn value(text: &str, key: &str) -> String {
    let value: Value = serde_json::from_str(text).unwrap();
    value[key].as_str().unwrap().to_owned()
}
