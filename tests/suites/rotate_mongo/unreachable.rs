//! Servers that cannot be reached are never taken for a wrong password, and nothing is changed because of them; what is
//! a refusal is said to be one.

use super::scene::{created, finishes, password, patches, pending, put_current, refused, rotates, step};
use crate::refusal::Refusal;
use futures_util::StreamExt as _;
use keyturn_tests::certificates::Certificates;
use keyturn_tests::faults::{Fault, Moment, Point};
use keyturn_tests::lambda::Lambda;
use keyturn_tests::mongo::proxy::MongoProxy;
use keyturn_tests::postgres::fakes::Blackhole;
use keyturn_tests::stacks::mongo::{ADMIN, MongoApp, MongoStack};
use keyturn_tests::tcp::closed_port;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;

/// What an operator is promised.
const PATIENCE: Duration = Duration::from_secs(15);

const STEPS: [&str; 3] = ["createSecret", "setSecret", "testSecret"];

const SILENT: &str = "did not answer in time (TCP connect, TLS handshake or greeting)";
const NETWORK: &str = "security groups let it through";
const TLS_ON: &str = "Switch TLS on at the server";
const OTHER_SET: &str = "where \"other\" was to be expected";

/// Somewhere that a server should be, and what is said of it.
struct Place<'a> {
    name: &'static str,
    function: &'a Lambda,
    /// `host:port`.
    address: String,
    replica_set: Option<&'static str>,
    code: &'static str,
    says: &'static [&'static str],
}

impl<'a> Place<'a> {
    fn new(
        name: &'static str,
        function: &'a Lambda,
        address: String,
        code: &'static str,
        says: &'static [&'static str],
    ) -> Self {
        Self { name, function, address, replica_set: None, code, says }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_cannot_be_reached_is_named_in_under_15_seconds_and_no_password_is_touched() {
    let stack = MongoStack::start().await.unwrap();
    let (deaf, mute) = (Blackhole::no_accept().await.unwrap(), Blackhole::silent().unwrap());
    let own_certificate = tempfile::NamedTempFile::new().unwrap();
    let (garbage, hangs_up, unlisted) = (talks_garbage().await, ends_with(&[]).await, ends_with(&INTERNAL_ERROR).await);
    let misnamed = has_another_name(own_certificate.path()).await;
    let stranger = Certificates::new().unwrap();
    let distrusting = trusting(&stack, "distrusting", stranger.ca_file()).await;
    let believing = trusting(&stack, "believing", own_certificate.path()).await;
    let (usual, server) = (&stack.lambda, stack.mongo.address());
    let unknown = "no-such-host.invalid:27017".to_owned();
    let (outdated, future) = (speaks(&stack, 6, 6).await, speaks(&stack, 99, 99).await);
    // An admin of whichever servers a tag names.
    let admin = json!({"username": ADMIN, "password": stack.admin_password});
    put_current(&stack, &stack.admin_arn, &admin.to_string()).await;
    let places = [
        Place::new("deaf", usual, at(deaf.port()), "DATABASE_UNREACHABLE", &[SILENT, NETWORK]),
        Place::new("mute", usual, at(mute.port()), "DATABASE_UNREACHABLE", &[SILENT, NETWORK]),
        Place::new(
            "closed",
            usual,
            at(closed_port().unwrap()),
            "DATABASE_UNREACHABLE",
            &["cannot be reached", NETWORK],
        ),
        Place::new("nameless", usual, unknown, "DATABASE_HOST_UNKNOWN", &["has no address (DNS lookup)"]),
        Place::new("garbage", usual, at(garbage), "TLS_NOT_OFFERED", &["does not answer in TLS", TLS_ON]),
        Place::new("hangup", usual, at(hangs_up), "TLS_NOT_OFFERED", &["closed the connection", TLS_ON]),
        Place::new(
            "unlisted",
            usual,
            at(unlisted),
            "ADDRESS_NOT_ALLOWED",
            &["IP access list", "not the service account's"],
        ),
        Place::new("untrusted", &distrusting, server.clone(), "TLS_UNTRUSTED", &["set DATABASE_CA_FILE"]),
        Place::new(
            "misnamed",
            &believing,
            at(misnamed),
            "TLS_UNTRUSTED",
            &["not valid for name", "must name this host"],
        ),
        Place::new("outdated", usual, outdated.address(), "SERVER_TOO_OLD", &["Upgrade to MongoDB 4.4"]),
        Place::new("future", usual, future.address(), "SERVER_TOO_NEW", &["Deploy a newer version"]),
        Place {
            replica_set: Some("other"),
            ..Place::new(
                "renamed",
                usual,
                server,
                "REPLICA_SET_NAME_WRONG",
                &[OTHER_SET, "Correct the name: replicaSet="],
            )
        },
    ];
    let mut stories = Vec::new();
    for place in &places {
        for strategy in ["fixed", "alternating"] {
            stories.push((place, at_own_server(&stack, place, strategy).await));
            stories.push((place, at_atlas(&stack, place, strategy).await));
        }
    }
    let before = everybody(&stack).await;
    // Silent servers are waited for to the limit, so several at a time.
    let told = stories.iter().map(|(place, app)| told(&stack, place, app));
    futures_util::stream::iter(told).buffer_unordered(8).collect::<Vec<()>>().await;
    assert_eq!(everybody(&stack).await, before, "no password is touched");
    assert!(stack.atlas.seen().iter().all(|call| call.method == "GET" || call.path.starts_with("/api/oauth/")));
    assert_eq!(stack.violations(), Vec::<String>::new());
}

fn at(port: u16) -> String {
    format!("localhost:{port}")
}

async fn trusting(stack: &MongoStack, name: &str, ca_file: &Path) -> Lambda {
    function(stack, name, "DATABASE_CA_FILE", &ca_file.display().to_string()).await
}

/// An application whose server is at this place, by a tag.
async fn at_own_server(stack: &MongoStack, place: &Place<'_>, strategy: &str) -> MongoApp {
    let app = stack.own_app(&format!("own_{}_{strategy}", place.name)).await.unwrap();
    let set = place.replica_set.map(|set| format!("{set}/")).unwrap_or_default();
    stack.tag(&app.secret, "hosts", &format!("{set}{}", place.address)).unwrap();
    stack.tag(&app.secret, "strategy", strategy).unwrap();
    app
}

/// An application whose cluster is at this place, as Atlas says.
async fn at_atlas(stack: &MongoStack, place: &Place<'_>, strategy: &str) -> MongoApp {
    let cluster = format!("{}-{strategy}", place.name);
    stack.atlas.add_cluster(&stack.project, &cluster, Arc::clone(&stack.mongo)).unwrap();
    stack.atlas.describe_cluster(&cluster, &connection(&place.address, place.replica_set));
    let app = scoped(stack, &format!("atlas_{}_{strategy}", place.name), &[&cluster]).await;
    stack.tag(&app.secret, "strategy", strategy).unwrap();
    if is_alternating(&app) {
        let mut twin = stack.atlas.user_json(&stack.project, &app.user);
        twin["username"] = json!(format!("{}_clone", app.user));
        stack.atlas.add_user(&stack.project, &twin, "of-the-twin").await.unwrap();
    }
    app
}

async fn scoped(stack: &MongoStack, name: &str, clusters: &[&str]) -> MongoApp {
    let scopes: Vec<Value> = clusters.iter().map(|name| json!({"name": name, "type": "CLUSTER"})).collect();
    stack.atlas_app_with(name, &json!({"scopes": scopes})).await.unwrap()
}

fn connection(address: &str, replica_set: Option<&str>) -> Value {
    let set = replica_set.map(|set| format!("&replicaSet={set}")).unwrap_or_default();
    json!({"connectionStrings": {"standard": format!("mongodb://{address}/?ssl=true&authSource=admin{set}")}})
}

/// Each step that logs in says so, in time.
async fn told(stack: &MongoStack, place: &Place<'_>, app: &MongoApp) {
    let says = [&[place.address.as_str()], place.says].concat();
    for name in STEPS {
        let token = prepared(stack, app, name).await;
        let event = json!({"Step": name, "SecretId": app.secret, "ClientRequestToken": token});
        let invocation = place.function.invoke(event).await;
        println!("{} {name}: {:.1} s", app.user, invocation.duration.as_secs_f64());
        Refusal(place.code, &says).is(invocation.result, &format!("{} {name}", app.user));
        assert!(invocation.duration < PATIENCE, "{} {name}: {:?}", app.user, invocation.duration);
        let pending = stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap();
        assert_eq!(pending.is_some(), name != "createSecret", "{}: a value was stored", app.user);
    }
}

/// The token of a rotation that has come to this step. What is pending was put by hand, and no server knows it.
async fn prepared(stack: &MongoStack, app: &MongoApp, step: &str) -> String {
    if step == "createSecret" {
        return stack.stage(&app.secret).unwrap();
    }
    let next = if is_alternating(app) { format!("{}_clone", app.user) } else { app.user.clone() };
    pending(stack, app, &next).await
}

fn is_alternating(app: &MongoApp) -> bool {
    app.database.ends_with("_alternating")
}

async fn everybody(stack: &MongoStack) -> (Vec<mongodb::bson::Document>, Vec<Value>) {
    (stack.mongo.users().await.unwrap(), stack.atlas.users(&stack.project))
}

async fn function(stack: &MongoStack, name: &str, variable: &str, value: &str) -> Lambda {
    let function = stack.function(name, &[(variable, value)]).await.unwrap();
    function.set_timeout(Duration::from_mins(1));
    function
}

/// A server of other versions than the driver knows.
async fn speaks(stack: &MongoStack, first: i32, last: i32) -> MongoProxy {
    let proxy = MongoProxy::start(&stack.mongo, stack.faults.clone()).await.unwrap();
    proxy.pretend_wire_versions(first, last);
    proxy
}

/// Somebody who speaks first, and something else than TLS.
async fn talks_garbage() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 mail.example.com ESMTP ready\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    port
}

/// The TLS alert `internal_error`, with which Atlas ends the handshakes of addresses that are not on the project's list.
const INTERNAL_ERROR: [u8; 7] = [0x15, 3, 3, 0, 2, 2, 80];

/// A server that says this to what begins a handshake, and ends the connection; one without TLS says nothing.
async fn ends_with(last: &'static [u8]) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(last).await;
        }
    });
    port
}

/// A server whose certificate is trusted, but names another host. Writes the certificate to `file`.
async fn has_another_name(file: &Path) -> u16 {
    let made = rcgen::generate_simple_self_signed(vec!["elsewhere.example.com".to_owned()]).unwrap();
    std::fs::write(file, made.cert.pem()).unwrap();
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let acceptor =
        TlsAcceptor::from(Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key.into()).unwrap()));
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_login_is_said_to_be_one_and_a_lost_connection_is_not() {
    let stack = MongoStack::builder().through_proxy().start().await.unwrap();
    let proxy = stack.proxy.as_ref().unwrap();
    stack.atlas.describe_cluster("cluster0", &connection(&proxy.address(), None));
    the_current_password_is_refused(&stack).await;
    the_previous_password_works(&stack).await;
    the_admin_is_refused(&stack).await;
    nobody_but_the_user_itself(&stack).await;
    connections_are_lost_while_a_change_is_waited_for(&stack).await;
    one_cluster_refuses_and_another_is_away(&stack).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// Somebody else has changed it. Servers say 18, Atlas's proxies say 8000.
async fn the_current_password_is_refused(stack: &MongoStack) {
    let proxy = stack.proxy.as_ref().unwrap();
    for (as_atlas, words) in [(false, "Authentication failed"), (true, "bad auth : Authentication failed")] {
        proxy.refuse_logins_as_atlas(as_atlas);
        for strategy in ["fixed", "alternating"] {
            let apps = [
                stack.own_app(&format!("own{as_atlas}_{strategy}")).await.unwrap(),
                stack.atlas_app(&format!("atlas{as_atlas}_{strategy}")).await.unwrap(),
            ];
            for app in apps {
                stack.tag(&app.secret, "strategy", strategy).unwrap();
                stack.mongo.set_password("admin", &app.user, "of-somebody-else").await.unwrap();
                let says = ["so nothing was changed", words, "aws secretsmanager put-secret-value --secret-id"];
                // The twin has not been made.
                let in_test = if strategy == "fixed" { "PASSWORD_REFUSED" } else { "USER_MISSING" };
                no_step_changes_anything(stack, &app, "CURRENT_PASSWORD_REFUSED", in_test, &says).await;

                let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
                value["password"] = json!("of-somebody-else");
                put_current(stack, &app.secret, &value.to_string()).await;
                rotates(stack, &app).await;
            }
        }
    }
    proxy.refuse_logins_as_atlas(false);
}

/// The user in use is broken, and the other one is not: its value is a way out.
async fn the_previous_password_works(stack: &MongoStack) {
    for app in
        [stack.own_app("own_back_alternating").await.unwrap(), stack.atlas_app("back_alternating").await.unwrap()]
    {
        stack.tag(&app.secret, "strategy", "alternating").unwrap();
        rotates(stack, &app).await;
        let twin = format!("{}_clone", app.user);
        stack.mongo.set_password("admin", &twin, "of-somebody-else").await.unwrap();
        let token = stack.stage(&app.secret).unwrap();
        let hint = format!("The AWSPREVIOUS one ({:?}) does", app.user);
        let way_back = "aws secretsmanager update-secret-version-stage --secret-id";
        let says = [&format!("The AWSCURRENT credential ({twin:?}) does not log in"), &hint, way_back];
        refused(step(stack, &app, &token, "createSecret").await, "CURRENT_PASSWORD_REFUSED", &says);
        let client = keyturn_tests::aws::secrets_client(&stack.aws.client_url());
        let version = |label| stack.aws.secrets.version(&app.secret, label).unwrap().unwrap();
        let back = client.update_secret_version_stage().secret_id(&app.secret).version_stage("AWSCURRENT");
        let back = back.move_to_version_id(version("AWSPREVIOUS")).remove_from_version_id(version("AWSCURRENT"));
        back.send().await.unwrap();
        assert_eq!(rotates(stack, &app).await["username"], json!(twin), "and the broken one is mended");
    }
}

async fn the_admin_is_refused(stack: &MongoStack) {
    stack.mongo.set_password("admin", ADMIN, "of-somebody-else").await.unwrap();
    let admin = format!("The admin credential in {} does not log in: Authentication failed", stack.admin_arn);
    let says = [admin.as_str(), "see to it that its own rotation works"];
    let mut apps = Vec::new();
    for strategy in ["fixed", "alternating"] {
        let app = stack.own_app(&format!("helpless_{strategy}")).await.unwrap();
        stack.tag(&app.secret, "strategy", strategy).unwrap();
        no_step_changes_anything(stack, &app, "ADMIN_PASSWORD_REFUSED", "ADMIN_PASSWORD_REFUSED", &says).await;
        apps.push(app);
    }
    stack.mongo.set_password("admin", ADMIN, &stack.admin_password).await.unwrap();
    for app in apps {
        rotates(stack, &app).await;
    }
}

/// Without an admin the user changes its own password: what keeps it from logging in is told apart just the same.
async fn nobody_but_the_user_itself(stack: &MongoStack) {
    let alone = function(stack, "alone", "ADMIN_SECRET_ARNS", "").await;
    for (name, port, code) in [
        ("alone_away", closed_port().unwrap(), "DATABASE_UNREACHABLE"),
        ("alone_wrong", stack.database_port(), "CURRENT_PASSWORD_REFUSED"),
    ] {
        let app = stack.own_app(name).await.unwrap();
        let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
        value.as_object_mut().unwrap().remove("masterarn");
        value["port"] = json!(port);
        put_current(stack, &app.secret, &value.to_string()).await;
        stack.mongo.set_password("admin", &app.user, "of-somebody-else").await.unwrap();
        let before = everybody(stack).await;
        for name in STEPS {
            let token = prepared(stack, &app, name).await;
            let event = json!({"Step": name, "SecretId": app.secret, "ClientRequestToken": token});
            Refusal(code, &[&at(port)]).is(alone.invoke(event).await.result, &format!("{} {name}", app.user));
        }
        assert_eq!(everybody(stack).await, before);
    }
}

/// After the change, every login is cut off for several seconds: longer than a change may be refused that is applied.
async fn connections_are_lost_while_a_change_is_waited_for(stack: &MongoStack) {
    for app in [stack.atlas_app("cut").await.unwrap(), stack.own_app("own_cut").await.unwrap()] {
        let token = created(stack, &app).await;
        // The first two are before the change.
        let login = |nth| format!("setSecret mongo login {} #{nth}", app.user);
        for nth in 3..=14 {
            stack.faults.inject(Point { call: login(nth), moment: Moment::Before, fault: Fault::Cut });
        }
        stack.proxy.as_ref().unwrap().forget();
        step(stack, &app, &token, "setSecret").await.unwrap();
        let struck = stack.faults.struck().into_iter().filter(|point| point.call.contains(&app.user)).count();
        assert_eq!(struck, 12, "{}", app.user);
        let at_atlas = patches(stack, &app.user).len();
        let at_server = changes_of_users(stack);
        assert_eq!(at_atlas + at_server, 1, "{}: it was set once", app.user);
        assert!(stack.logs_in(&app.secret, "AWSPENDING").await.unwrap(), "{}", app.user);
        finishes(stack, &app, &token).await;
    }
}

/// What is away may be the one that knows better.
async fn one_cluster_refuses_and_another_is_away(stack: &MongoStack) {
    let away = at(closed_port().unwrap());
    stack.atlas.add_cluster_without_server(&stack.project, "away").unwrap();
    stack.atlas.describe_cluster("away", &connection(&away, None));
    let app = scoped(stack, "torn", &["cluster0", "away"]).await;
    stack.mongo.set_password("admin", &app.user, "of-somebody-else").await.unwrap();
    let says = [&format!("{away} cannot be reached")[..]];
    no_step_changes_anything(stack, &app, "DATABASE_UNREACHABLE", "DATABASE_UNREACHABLE", &says).await;

    // Accepted at the one and away at the other is no success, either.
    let whole = scoped(stack, "whole", &["cluster0", "away"]).await;
    no_step_changes_anything(stack, &whole, "DATABASE_UNREACHABLE", "DATABASE_UNREACHABLE", &says).await;
    assert_ne!(password(stack, &whole, "AWSPENDING"), password(stack, &whole, "AWSCURRENT"));
}

async fn no_step_changes_anything(stack: &MongoStack, app: &MongoApp, code: &str, code_in_test: &str, says: &[&str]) {
    let before = everybody(stack).await;
    stack.proxy.as_ref().unwrap().forget();
    for name in STEPS {
        let token = prepared(stack, app, name).await;
        let result = step(stack, app, &token, name).await;
        match name {
            "testSecret" if code != code_in_test => refused(result, code_in_test, &[&app.user]),
            _ => refused(result, code, says),
        }
        let stored = stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap().is_some();
        assert_eq!(stored, name != "createSecret", "{} {name}", app.user);
    }
    assert_eq!(everybody(stack).await, before, "{}: something was changed", app.user);
    assert_eq!((patches(stack, &app.user).len(), changes_of_users(stack)), (0, 0), "{}", app.user);
}

/// The commands that change users, since they were forgotten.
fn changes_of_users(stack: &MongoStack) -> usize {
    let commands = stack.proxy.as_ref().unwrap().commands();
    let changes =
        |command: &&mongodb::bson::Document| command.keys().any(|key| key == "updateUser" || key == "createUser");
    commands.iter().filter(changes).count()
}
