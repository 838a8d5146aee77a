//! What Atlas's API may answer: each trouble has its code and its remedy, changes nothing and leaves no access token
//! behind; mended, the rotation goes through.

use super::scene::{created, finishes, password, patches, put_current, refused, rotates, sets, step, user_path};
use crate::polling::eventually;
use crate::refusal::Refusal;
use keyturn_tests::lambda::Lambda;
use keyturn_tests::stacks::mongo::{MongoApp, MongoStack};
use keyturn_tests::vendors::atlas::{Endpoint, RateLimit};
use keyturn_tests::vendors::{Call, Reply, tally};
use mongodb::bson::Document;
use serde_json::{Value, json};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

const STRANGE: &str = "that no proxy answers in its place";
const STORE: &str = "aws secretsmanager put-secret-value --secret-id <ATLAS_SECRET_ID>";

#[tokio::test(flavor = "multi_thread")]
async fn what_atlas_refuses_is_said_with_its_remedy_and_changes_nothing() {
    let stack = MongoStack::start().await.unwrap();
    the_address_is_not_allowed(&stack).await;
    a_role_is_missing(&stack).await;
    the_project_or_the_user_is_unknown(&stack).await;
    the_apis_version_is_gone(&stack).await;
    the_credential_is_wrong(&stack).await;
    too_many_tokens(&stack).await;
    the_secret_is_no_credential(&stack).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn the_address_is_not_allowed(stack: &MongoStack) {
    let says = ["203.0.113.7 is not on the credential's API access list", "Add it: in Atlas", "NAT gateway"];
    let spoil = async || stack.atlas.deny_address("203.0.113.7");
    let mend = async || stack.atlas.allow_address();
    each_step(stack, "address", Refusal("ATLAS_IP_NOT_ALLOWED", &says), spoil, mend).await;
}

async fn a_role_is_missing(stack: &MongoStack) {
    let role = "the role GROUP_DATABASE_ACCESS_ADMIN (Project Database Access Admin) on this very project";
    let mend = async || {
        stack.atlas.set_roles(&stack.principal, &stack.project, &["GROUP_DATABASE_ACCESS_ADMIN"]);
        stack.atlas.permit(&stack.principal, Endpoint::DatabaseUsers);
        stack.atlas.permit(&stack.principal, Endpoint::Clusters);
    };
    let spoil = async || stack.atlas.set_roles(&stack.principal, &stack.project, &["GROUP_READ_ONLY"]);
    let says = ["403, USER_UNAUTHORIZED", role];
    each_step(stack, "readonly", Refusal("ATLAS_PERMISSION_MISSING", &says), spoil, mend).await;
    for (endpoint, status, role) in [
        (Endpoint::DatabaseUsers, 401, role),
        (Endpoint::Clusters, 401, "the role GROUP_READ_ONLY (Project Read Only) beside"),
        (Endpoint::Clusters, 403, "the role GROUP_READ_ONLY (Project Read Only) beside"),
    ] {
        let spoil = async || stack.atlas.refuse(&stack.principal, endpoint, status);
        let says = [&format!("{status}, USER_UNAUTHORIZED"), role];
        let name = format!("{endpoint:?}{status}").to_lowercase();
        each_step(stack, &name, Refusal("ATLAS_PERMISSION_MISSING", &says), spoil, mend).await;
    }
}

async fn the_project_or_the_user_is_unknown(stack: &MongoStack) {
    let unknown = "64b0a1c2ffffffffffffffff";
    let projects = format!("{},{unknown}", stack.project.id());
    let function = stack.function("two-projects", &[("ATLAS_PROJECT_IDS", &projects)]).await.unwrap();
    let app = stack.atlas_app("nowhere").await.unwrap();
    let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
    value.as_object_mut().unwrap().remove("groupId");
    put_current(stack, &app.secret, &value.to_string()).await;
    let says = ["404, GROUP_NOT_FOUND", unknown, "`atlas projects list`"];
    let spoil = async || stack.tag(&app.secret, "atlas-project", unknown).unwrap();
    let mend = async || stack.tag(&app.secret, "atlas-project", stack.project.id()).unwrap();
    each_step_of(stack, &function, &app, Refusal("ATLAS_PROJECT_NOT_FOUND", &says), spoil, mend).await;

    let app = stack.atlas_app("absent").await.unwrap();
    let get = format!("GET {}", user_path(stack, &app.user));
    let says = ["There is no user \"absent_test_rw\" in admin", "make the user"];
    let spoil = async || stack.atlas.replace(&get, 1, no(404, "USERNAME_NOT_FOUND"));
    each_step_of(stack, &stack.lambda, &app, Refusal("USER_MISSING", &says), spoil, nothing).await;

    // A 404 that is about something else is no missing user.
    let app = stack.atlas_app("elsewhere").await.unwrap();
    let get = format!("GET {}", user_path(stack, &app.user));
    let says = ["404, RESOURCE_NOT_FOUND", "docs/atlas/api/api-errors"];
    let spoil = async || stack.atlas.replace(&get, 1, no(404, "RESOURCE_NOT_FOUND"));
    each_step_of(stack, &stack.lambda, &app, Refusal("ATLAS_CALL_FAILED", &says), spoil, nothing).await;
}

async fn the_apis_version_is_gone(stack: &MongoStack) {
    let app = stack.atlas_app("bygone").await.unwrap();
    let user = format!("GET {}", user_path(stack, &app.user));
    for resource in [user, clusters(stack)] {
        for (status, code) in [(410, "VERSION_GONE"), (406, "INVALID_VERSION_DATE")] {
            let spoil = async || stack.atlas.replace(&resource, 1, no(status, code));
            let said = format!("{status}, {code}");
            let says = [resource.as_str(), &said, "Deploy a newer version"];
            each_step_of(stack, &stack.lambda, &app, Refusal("ATLAS_API_VERSION_GONE", &says), spoil, nothing).await;
        }
    }
}

async fn the_credential_is_wrong(stack: &MongoStack) {
    let right = atlas_secret(stack);
    let account = json!({"client_id": stack.principal, "client_secret": "mdb_sa_sk_not-this-one"}).to_string();
    // The token that is kept in between would still be good.
    let spoil = async || {
        stack.atlas.expire_tokens();
        put_current(stack, &stack.atlas_arn, &account).await;
    };
    let mend = async || put_current(stack, &stack.atlas_arn, &right).await;
    let says = ["POST /api/oauth/token", "the credential was refused (401, invalid_client)", STORE];
    each_step(stack, "account", Refusal("ATLAS_CREDENTIAL_REFUSED", &says), spoil, mend).await;

    let (public, private) = stack.atlas.api_key(&stack.project, &["GROUP_DATABASE_ACCESS_ADMIN"]);
    let key = json!({"public_key": public, "private_key": private}).to_string();
    let wrong = json!({"public_key": public, "private_key": "11111111-2222-3333-4444-555555555555"}).to_string();
    let spoil = async || put_current(stack, &stack.atlas_arn, &wrong).await;
    let mend = async || put_current(stack, &stack.atlas_arn, &key).await;
    let says = ["the credential was refused (401", STORE];
    each_step(stack, "key", Refusal("ATLAS_CREDENTIAL_REFUSED", &says), spoil, mend).await;
    put_current(stack, &stack.atlas_arn, &right).await;
}

async fn too_many_tokens(stack: &MongoStack) {
    let says = ["403, access_denied: too many access tokens", "a service account of its own"];
    let spoil = async || {
        stack.atlas.expire_tokens();
        stack.atlas.fill_tokens(100);
    };
    let mend = async || stack.atlas.expire_tokens();
    each_step(stack, "crowded", Refusal("ATLAS_TOKEN_LIMIT", &says), spoil, mend).await;
}

/// Nothing of what stands there is quoted: it may be a password that was put in the wrong place.
async fn the_secret_is_no_credential(stack: &MongoStack) {
    let right = atlas_secret(stack);
    let app = stack.atlas_app("misplaced").await.unwrap();
    for (text, why) in [
        ("S3cretS3cret", "no JSON object"),
        ("[\"S3cretS3cret\"]", "no JSON object"),
        ("{\"client_id\": \"S3cretS3cret\"}", "\"client_secret\" is missing"),
        ("{\"client_secret\": \"S3cretS3cret\"}", "\"client_id\" or \"public_key\" is missing"),
        ("{\"public_key\": \"a\", \"private_key\": [\"S3cretS3cret\"]}", "\"private_key\" is no text"),
        (
            "{\"client_id\": \"a\", \"client_secret\": \"b\", \"password\": \"S3cretS3cret\"}",
            "\"password\" is not a key",
        ),
        ("{\"public_key\": \"S3cret:S3cret\", \"private_key\": \"S3cretS3cret\"}", "\"public_key\" has characters"),
    ] {
        let token = stack.stage(&app.secret).unwrap();
        put_current(stack, &stack.atlas_arn, text).await;
        let so_far = stack.atlas.seen().len();
        let result = step(stack, &app, &token, "createSecret").await;
        let words = result.as_ref().unwrap_err().to_string();
        refused(result, "ATLAS_SECRET_INVALID", &[why, STORE]);
        assert!(!words.contains("S3cret"), "{words}");
        assert_eq!(stack.atlas.seen().len(), so_far, "nobody was asked");
    }
    // A token that is kept in between cannot be given back without the credential.
    let spoil = async || {
        stack.atlas.expire_tokens();
        put_current(stack, &stack.atlas_arn, "S3cretS3cret").await;
    };
    let mend = async || put_current(stack, &stack.atlas_arn, &right).await;
    let says = ["Atlas's secret cannot be used: ", STORE];
    each_step_of(stack, &stack.lambda, &app, Refusal("ATLAS_SECRET_INVALID", &says), spoil, mend).await;

    let absent = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:atlas-of-others-AbCdEf";
    for (id, says) in [("", "ATLAS_SECRET_ID is not set"), (absent, "does not exist or has no AWSCURRENT value")] {
        let function = stack.function("without-secret", &[("ATLAS_SECRET_ID", id)]).await.unwrap();
        let app = stack.atlas_app(if id.is_empty() { "unset" } else { "dangling" }).await.unwrap();
        each_step_of(stack, &function, &app, Refusal("ATLAS_SECRET_MISSING", &[says]), nothing, nothing).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_not_atlass_are_told_apart_and_nothing_is_sent_to_others() {
    let stack = MongoStack::start().await.unwrap();
    html(&stack).await;
    a_fault_of_atlass(&stack).await;
    a_redirect_is_not_followed(&stack).await;
    the_reply_to_a_patch_is_a_proxys(&stack).await;
    clusters_on_two_pages(&stack).await;
    pages_that_do_not_add_up(&stack).await;
    assert_eq!(stack.atlas.live_tokens(), 0, "every token is given back");
    assert_eq!(stack.violations(), Vec::<String>::new());
}

/// A proxy's page, or a sign-in page's, in place of each of the calls that every step makes.
async fn html(stack: &MongoStack) {
    for (name, status) in [("page", 200), ("gateway", 502)] {
        let app = stack.atlas_app(name).await.unwrap();
        let get = format!("GET {}", user_path(stack, &app.user));
        // 502 is tried again, three times.
        let times = if status == 502 { 4 } else { 1 };
        let spoil = async || stack.atlas.replace(&get, times, Reply::html(status));
        let says = [&get, "the answer is not the vendor's", STRANGE];
        each_step_of(stack, &stack.lambda, &app, Refusal("ATLAS_ANSWER_STRANGE", &says), spoil, nothing).await;
    }
    let spoil = async || stack.atlas.replace(&clusters(stack), 1, Reply::html(200));
    let says = [&clusters(stack), STRANGE];
    each_step(stack, "listing", Refusal("ATLAS_ANSWER_STRANGE", &says), spoil, nothing).await;
    let spoil = async || {
        stack.atlas.expire_tokens();
        stack.atlas.replace("POST /api/oauth/token", 1, Reply::html(200));
    };
    let says = ["POST /api/oauth/token", STRANGE];
    each_step(stack, "signin", Refusal("ATLAS_ANSWER_STRANGE", &says), spoil, nothing).await;
}

async fn a_fault_of_atlass(stack: &MongoStack) {
    let app = stack.atlas_app("down").await.unwrap();
    let get = format!("GET {}", user_path(stack, &app.user));
    let spoil = async || stack.atlas.replace(&get, 1, no(500, "UNEXPECTED_ERROR"));
    let says = ["500, UNEXPECTED_ERROR", "Secrets Manager's next try may do"];
    each_step_of(stack, &stack.lambda, &app, Refusal("ATLAS_CALL_FAILED", &says), spoil, nothing).await;
    // One 503 is got over.
    let app = stack.atlas_app("hiccup").await.unwrap();
    for call in [format!("GET {}", user_path(stack, &app.user)), format!("PATCH {}", user_path(stack, &app.user))] {
        stack.atlas.replace(&call, 1, Reply::html(503));
    }
    rotates(stack, &app).await;
}

async fn a_redirect_is_not_followed(stack: &MongoStack) {
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    elsewhere.set_nonblocking(true).unwrap();
    let redirect = |status| {
        let place = format!("http://{}/elsewhere", elsewhere.local_addr().unwrap());
        Reply::empty(status).with("location", place)
    };
    let says = ["the answer is a redirect, which is never followed", STRANGE];
    for status in [302, 307] {
        let app = stack.atlas_app(&format!("sent{status}")).await.unwrap();
        let get = format!("GET {}", user_path(stack, &app.user));
        let spoil = async || stack.atlas.replace(&get, 1, redirect(status));
        each_step_of(stack, &stack.lambda, &app, Refusal("ATLAS_ANSWER_STRANGE", &says), spoil, nothing).await;
    }
    let spoil = async || {
        stack.atlas.expire_tokens();
        stack.atlas.replace("POST /api/oauth/token", 1, redirect(307));
    };
    each_step(stack, "sentaway", Refusal("ATLAS_ANSWER_STRANGE", &says), spoil, nothing).await;

    // Nobody can tell what became of the change: a login shows that nothing did, and it is made again.
    let app = stack.atlas_app("halfway").await.unwrap();
    stack.atlas.replace(&format!("PATCH {}", user_path(stack, &app.user)), 1, redirect(308));
    rotates(stack, &app).await;
    assert_eq!(patches(stack, &app.user).len(), 2);
    let visit = elsewhere.accept().map(drop).map_err(|error| error.kind());
    assert_eq!(visit, Err(std::io::ErrorKind::WouldBlock), "nobody came, with a credential or without");
}

/// A proxy says 200 to a PATCH that has never reached Atlas: only the login tells.
async fn the_reply_to_a_patch_is_a_proxys(stack: &MongoStack) {
    let app = stack.atlas_app("swallowed").await.unwrap();
    stack.atlas.replace(&format!("PATCH {}", user_path(stack, &app.user)), 1, Reply::html(200));
    rotates(stack, &app).await;
    let set = sets(&password(stack, &app, "AWSCURRENT"));
    assert_eq!(patches(stack, &app.user), [set.clone(), set]);
}

async fn clusters_on_two_pages(stack: &MongoStack) {
    for nth in 0..100 {
        stack.atlas.add_cluster_without_server(&stack.project, &format!("idle{nth}")).unwrap();
    }
    stack.atlas.add_cluster(&stack.project, "last", Arc::clone(&stack.mongo)).unwrap();
    let scopes = json!({"scopes": [{"name": "last", "type": "CLUSTER"}]});
    let app = stack.atlas_app_with("paged", &scopes).await.unwrap();
    let so_far = stack.atlas.seen().len();
    rotates(stack, &app).await;
    let seen = stack.atlas.seen().split_off(so_far);
    let listed = |call: &&Call| call.name() == clusters(stack);
    let pages = |number| seen.iter().filter(listed).filter(|call| call.query("pageNum") == Some(number)).count();
    assert_eq!((pages("1"), pages("2"), pages("3")), (3, 3, 0), "in three steps");
}

async fn pages_that_do_not_add_up(stack: &MongoStack) {
    let scopes = json!({"scopes": [{"name": "last", "type": "CLUSTER"}]});
    let app = stack.atlas_app_with("short", &scopes).await.unwrap();
    let spoil = async || {
        let page = json!({"results": [], "totalCount": 5, "links": []});
        stack.atlas.replace(&clusters(stack), 1, Reply::json(200, &page));
    };
    let says = ["page 1 leaves 5 of 5 out", STRANGE];
    each_step_of(stack, &stack.lambda, &app, Refusal("ATLAS_ANSWER_STRANGE", &says), spoil, nothing).await;

    let app = stack.atlas_app_with("endless", &scopes).await.unwrap();
    let page = json!({"results": [{"name": "again"}], "totalCount": 1_000_000_000, "links": []});
    stack.atlas.replace(&clusters(stack), usize::MAX, Reply::json(200, &page));
    let before = picture(stack, &app).await;
    let (started, so_far) = (Instant::now(), stack.atlas.seen().len());
    let token = stack.stage(&app.secret).unwrap();
    refused(step(stack, &app, &token, "createSecret").await, "ATLAS_ANSWER_STRANGE", &["page 100 leaves ", STRANGE]);
    let calls = stack.atlas.seen().len() - so_far;
    println!("a list without an end: {calls} calls, {:.1} s", started.elapsed().as_secs_f64());
    assert!(calls < 200);
    assert_eq!(picture(stack, &app).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn atlas_is_waited_for_as_it_asks_and_asked_for_one_token_a_rotation() {
    let stack = MongoStack::start().await.unwrap();
    one_token_a_rotation(&stack).await;
    a_token_ends_while_a_change_is_watched(&stack).await;
    told_to_wait(&stack).await;
    told_to_wait_for_too_long(&stack).await;
    assert_eq!(stack.atlas.live_tokens(), 0, "every token is given back");
    // The same with an API key.
    let (public, private) = stack.atlas.api_key(&stack.project, &["GROUP_DATABASE_ACCESS_ADMIN"]);
    put_current(&stack, &stack.atlas_arn, &json!({"public_key": public, "private_key": private}).to_string()).await;
    nonces_get_stale(&stack).await;
    assert_eq!(stack.violations(), Vec::<String>::new());
}

async fn one_token_a_rotation(stack: &MongoStack) {
    let app = stack.atlas_app("thrifty").await.unwrap();
    for _ in 0..2 {
        let so_far = stack.atlas.seen().len();
        rotates(stack, &app).await;
        let calls = tally(&stack.atlas.seen().split_off(so_far));
        println!("calls of one rotation at Atlas: {calls:#?}");
        assert_eq!((calls["POST /api/oauth/token"], calls["POST /api/oauth/revoke"]), (1, 1));
        assert_eq!(stack.atlas.live_tokens(), 0);
    }
}

async fn a_token_ends_while_a_change_is_watched(stack: &MongoStack) {
    let app = stack.atlas_app("expired").await.unwrap();
    let token = created(stack, &app).await;
    let minted = stack.atlas.access_tokens().len();
    while_watched(stack, &app, &token, || stack.atlas.expire_tokens()).await;
    assert_eq!(stack.atlas.access_tokens().len(), minted + 1);
    finishes(stack, &app, &token).await;
    assert_eq!((stack.atlas.live_tokens(), patches(stack, &app.user).len()), (0, 1));
}

async fn nonces_get_stale(stack: &MongoStack) {
    let app = stack.atlas_app("stale").await.unwrap();
    let token = created(stack, &app).await;
    while_watched(stack, &app, &token, || stack.atlas.expire_nonces()).await;
    finishes(stack, &app, &token).await;
    assert_eq!(patches(stack, &app.user).len(), 1);
    for life in [2, 1] {
        stack.atlas.nonce_life(life);
        rotates(stack, &stack.atlas_app(&format!("nonce{life}")).await.unwrap()).await;
    }
}

/// Runs setSecret, and does this while the change is under way.
async fn while_watched(stack: &MongoStack, app: &MongoApp, token: &str, act: impl Fn()) {
    let status = format!("GET /api/atlas/v2/groups/{}/clusters/cluster0/status", stack.project.id());
    let asked = || stack.atlas.seen().iter().filter(|call| call.name() == status).count();
    stack.atlas.hold("cluster0");
    let acting = async {
        eventually("it is set", async || patches(stack, &app.user).len() == 1).await;
        let so_far = asked();
        eventually("it is watched", async || asked() > so_far).await;
        act();
        let so_far = asked();
        eventually("it is watched on", async || asked() > so_far + 1).await;
        stack.atlas.release("cluster0");
    };
    let (result, ()) = tokio::join!(step(stack, app, token, "setSecret"), acting);
    result.unwrap();
}

async fn told_to_wait(stack: &MongoStack) {
    for (name, step_name, said, seconds) in [
        ("header", "setSecret", RateLimit::Header(2), 2),
        ("unsaid", "createSecret", RateLimit::Unsaid, 10),
        ("tokens", "createSecret", RateLimit::Header(2), 2),
    ] {
        let app = stack.atlas_app(name).await.unwrap();
        let path = user_path(stack, &app.user);
        let call = match (name, step_name) {
            ("tokens", _) => "POST /api/oauth/token".to_owned(),
            (_, "setSecret") => format!("PATCH {path}"),
            _ => format!("GET {path}"),
        };
        let token = match step_name {
            "setSecret" => created(stack, &app).await,
            _ => stack.stage(&app.secret).unwrap(),
        };
        stack.atlas.limit(&call, 1, said);
        let started = Instant::now();
        step(stack, &app, &token, step_name).await.unwrap();
        let took = started.elapsed();
        println!("429 {said:?} for {call}: {step_name} took {:.1} s", took.as_secs_f64());
        let told = Duration::from_secs(seconds);
        assert!(told <= took && took < told + Duration::from_secs(8), "{took:?}");
        finishes(stack, &app, &token).await;
    }
}

async fn told_to_wait_for_too_long(stack: &MongoStack) {
    let remedy = "it is tried again by itself";
    for (name, times, said) in [("longheader", 1, RateLimit::Header(600)), ("again", 4, RateLimit::Header(0))] {
        let app = stack.atlas_app(name).await.unwrap();
        let get = format!("GET {}", user_path(stack, &app.user));
        let spoil = async || stack.atlas.limit(&get, times, said);
        let says = ["the rate limit is used up (429)", remedy, "what else calls the API for this project"];
        let started = Instant::now();
        each_step_of(stack, &stack.lambda, &app, Refusal("ATLAS_THROTTLED", &says), spoil, nothing).await;
        assert!(started.elapsed() < Duration::from_secs(40), "it does not wait for what is too late");
    }
    // A change that nobody is locked out by is not put off for as long: until then another rotation may have begun.
    for seconds in [20, 600] {
        let app = stack.atlas_app(&format!("patient{seconds}")).await.unwrap();
        let token = created(stack, &app).await;
        let before = picture(stack, &app).await;
        stack.atlas.limit(&format!("PATCH {}", user_path(stack, &app.user)), 1, RateLimit::Header(seconds));
        refused(step(stack, &app, &token, "setSecret").await, "ATLAS_THROTTLED", &[remedy]);
        assert_eq!(picture(stack, &app).await, before);
        finishes(stack, &app, &token).await;
    }
}

/// An application of this name meets the same trouble in each step that calls Atlas.
async fn each_step(stack: &MongoStack, name: &str, refusal: Refusal<'_>, spoil: impl AsyncFn(), mend: impl AsyncFn()) {
    each_step_of(stack, &stack.lambda, &stack.atlas_app(name).await.unwrap(), refusal, spoil, mend).await;
}

/// Each step that calls Atlas is refused by this function, changes nothing and leaves no token; mended, the stack's own
/// function does it.
async fn each_step_of(
    stack: &MongoStack,
    function: &Lambda,
    app: &MongoApp,
    refusal: Refusal<'_>,
    spoil: impl AsyncFn(),
    mend: impl AsyncFn(),
) {
    let token = stack.stage(&app.secret).unwrap();
    for name in ["createSecret", "setSecret", "testSecret"] {
        let (before, so_far) = (picture(stack, app).await, stack.atlas.seen().len());
        spoil().await;
        let event = json!({"Step": name, "SecretId": app.secret, "ClientRequestToken": token});
        let result = function.invoke(event).await.result;
        refusal.is(result, &format!("{} {name}", app.user));
        assert_eq!(picture(stack, app).await, before, "{} {name}: changed", app.user);
        let writes = stack.atlas.seen().split_off(so_far);
        assert!(writes.iter().all(|call| call.method == "GET" || call.path.starts_with("/api/oauth/")), "{writes:#?}");
        mend().await;
        if std::ptr::eq(function, &raw const stack.lambda) {
            assert_eq!(stack.atlas.live_tokens(), 0, "{} {name}: a token is left", app.user);
        }
        step(stack, app, &token, name).await.unwrap_or_else(|error| panic!("{} {name}, mended: {error}", app.user));
    }
    step(stack, app, &token, "finishSecret").await.unwrap();
    assert!(stack.logs_in(&app.secret, "AWSCURRENT").await.unwrap(), "{}", app.user);
    assert_eq!(stack.atlas.live_tokens(), 0, "{}: a token is left", app.user);
}

async fn nothing() {}

/// All that a rotation changes.
async fn picture(stack: &MongoStack, app: &MongoApp) -> (Vec<Document>, Vec<Value>, Option<String>) {
    let pending = stack.aws.secrets.value(&app.secret, "AWSPENDING").unwrap();
    (stack.mongo.users().await.unwrap(), stack.atlas.users(&stack.project), pending)
}

/// An error as the API gives it.
fn no(status: u16, code: &str) -> Reply {
    let detail = "It is not so.";
    Reply::json(status, &json!({"error": status, "errorCode": code, "detail": detail, "parameters": [], "reason": ""}))
}

fn clusters(stack: &MongoStack) -> String {
    format!("GET /api/atlas/v2/groups/{}/clusters", stack.project.id())
}

fn atlas_secret(stack: &MongoStack) -> String {
    stack.aws.secrets.value(&stack.atlas_arn, "AWSCURRENT").unwrap().unwrap()
}
