//! An application that can write its own secret's value, and nothing else, wants another user's password.

use super::{At, BOTH, Case, Scene};
use crate::rotate_mongo::scene::{put_pending, refused};
use keyturn_tests::mongo::Mongo;
use keyturn_tests::mongo::proxy::MongoProxy;
use keyturn_tests::stacks::mongo::ADMIN;
use serde_json::{Value, json};

const PLAIN: &[(&str, &str)] = &[("readWrite", "shop")];
const STRONGER: &[(&str, &str)] = &[("readWrite", "shop"), ("readWrite", "pay")];

/// What the thief would like the victim's password to be.
const WANTED: &str = "Chosen-by-the-thief-1";

/// Refused because nobody logs in as the victim with that.
const NOT_ITS_OWN: [&str; 3] = ["CURRENT_PASSWORD_REFUSED", "CURRENT_PASSWORD_REFUSED", "PASSWORD_REFUSED"];

/// Plays every attack. The victims stay as they are.
pub(super) async fn on_everybody(scene: &Scene) {
    let mut cases = Vec::new();
    for at in BOTH {
        cases.extend(by_a_name(scene, at).await);
        cases.extend(by_a_turn(scene, at).await);
    }
    cases.extend(by_a_project_or_an_engine(scene).await);
    scene.refuse(&cases).await;
    by_a_server(scene).await;
    for at in BOTH {
        by_a_pending_value(scene, at).await;
        a_name_like_a_twins_is_harmless_under_a_tag(scene, at).await;
    }
}

/// The secret's value names the victim.
async fn by_a_name(scene: &Scene, at: At) -> Vec<Case> {
    let victim = format!("victim-{}_test_rw", at.name());
    scene.user(at, &victim, STRONGER).await;
    let as_victim = |value: &mut Value| value["password"] = json!(WANTED);
    let untagged = Case::of(scene.secret(at, &victim, as_victim), NOT_ITS_OWN[0], &["so nothing was changed"]);

    let app = scene.secret(at, &victim, as_victim);
    scene.tag(&app, "username", &format!("thief-{}_test_rw", at.name()));
    let tagged = Case::of(app, "USERNAME_MISMATCH", &["its tag keyturn:username"]).at_once();
    vec![untagged.codes(NOT_ITS_OWN), tagged]
}

/// Two users take turns, and the victim's name is made to be one of the two.
async fn by_a_turn(scene: &Scene, at: At) -> Vec<Case> {
    let base = format!("turn-{}_test_rw", at.name());
    let twin = format!("{base}_clone");
    scene.user(at, &base, STRONGER).await;
    let like_a_twin = scene.user(at, &twin, PLAIN).await;
    scene.tag(&like_a_twin, "strategy", "alternating");
    let says = ["has also readWrite@pay"];
    let mut cases = vec![Case::of(like_a_twin, "ROLES_DIFFER", &says).next(&base)];

    // In use is who the thief says, with a password of its own: either of the two, with the other one next.
    for (user, next) in [(&base, &twin), (&twin, &base)] {
        let app = scene.secret(at, user, |value| value["password"] = json!(WANTED));
        scene.tag(&app, "strategy", "alternating");
        // Whose rights differ is said first, or at the same moment.
        let case = Case::of(app, "ROLES_DIFFER", &["take turns but have not the same rights"]).next(next);
        cases.push(case.codes(["ROLES_DIFFER", NOT_ITS_OWN[1], "ROLES_DIFFER"]));
    }
    let app = scene.secret(at, &base, |value| value["password"] = json!(WANTED));
    scene.tag(&app, "strategy", "alternating");
    scene.tag(&app, "username", &format!("thief-{}_test_rw", at.name()));
    let says = ["is not \"thief-", "_test_rw\" nor \"thief-"];
    cases.push(Case::of(app, "USERNAME_MISMATCH", &says).next(&twin).at_once());
    cases
}

/// The victim is in another project, or kept by another system.
async fn by_a_project_or_an_engine(scene: &Scene) -> Vec<Case> {
    let (project, other) = (scene.stack.project.id(), scene.other.id());
    scene.at_atlas(&scene.other, "far_test_rw", STRONGER, &json!({})).await;
    let edit = |value: &mut Value| (value["groupId"], value["password"]) = (json!(other), json!(WANTED));
    let app = scene.secret(At::Atlas, "far_test_rw", edit);
    scene.tag(&app, "atlas-project", project);
    let says = ["has groupId", "but the secret is for project"];
    let project = Case::of(app, "PROJECT_MISMATCH", &says).at_once();
    let project = project.under("ATLAS_PROJECT_IDS", &format!("{},{other}", scene.stack.project.id()));

    let edit = |value: &mut Value| (value["engine"], value["password"]) = (json!("mongodb-atlas"), json!(WANTED));
    let app = scene.secret(At::Own, "victim-atlas_test_rw", edit);
    let engine = Case::of(app, NOT_ITS_OWN[0], &["so nothing was changed"]).codes(NOT_ITS_OWN);
    vec![project, engine]
}

/// A server of the thief's own, where the victim has a password that the thief knows: no admin shows up there.
async fn by_a_server(scene: &Scene) {
    let stack = &scene.stack;
    let builder = Mongo::builder().standalone().certificates(stack.mongo.certificates());
    let elsewhere = builder.start().await.unwrap();
    elsewhere.make_user("admin", "victim-own_test_rw", WANTED, STRONGER).await.unwrap();
    elsewhere.make_user("admin", ADMIN, WANTED, &[("root", "admin")]).await.unwrap();
    let proxy = MongoProxy::start(&elsewhere, stack.faults.clone()).await.unwrap();
    let (here, there) = (stack.database_port(), proxy.port());
    let of_there = json!({"host": "localhost", "port": there, "username": ADMIN, "password": WANTED});
    let of_there = stack.aws.secrets.create("admin-elsewhere", &of_there.to_string()).unwrap();
    let both = format!("{},{of_there}", stack.admin_arn);

    let mut cases = Vec::new();
    for (host, admin) in [
        (format!("localhost:{there}"), &stack.admin_arn),
        (format!("localhost:{there},localhost:{here}"), &stack.admin_arn),
        (format!("localhost:{here},localhost:{there}"), &of_there),
        (format!("localhost:{here}"), &of_there),
    ] {
        let app = scene.secret(At::Own, "victim-own_test_rw", |value| {
            (value["host"], value["masterarn"], value["password"]) = (json!(host), json!(admin), json!(WANTED));
        });
        let case = Case::of(app, "ADMIN_OF_ANOTHER_SERVER", &["name the same hosts and ports"]);
        cases.push(case.at_once().under("ADMIN_SECRET_ARNS", &both));
    }
    scene.refuse(&cases).await;
    assert!(elsewhere.logs_in("admin", "victim-own_test_rw", WANTED).await.unwrap());
}

/// The current value is right; the pending one, put by hand, is for the victim or for somewhere else.
async fn by_a_pending_value(scene: &Scene, at: At) {
    let thief = scene.user(at, &format!("pending-{}_test_rw", at.name()), PLAIN).await;
    let before = scene.world().await;
    let place = match at {
        At::Own => ("port", json!(1)),
        At::Atlas => ("groupId", json!(scene.other.id())),
    };
    let victim = ("username", json!(format!("victim-{}_test_rw", at.name())));
    let admin = ("masterarn", json!(scene.stack.atlas_arn));
    for (key, other) in [victim, place, admin] {
        let mut value = scene.stack.value(&thief.secret, "AWSCURRENT").unwrap();
        value["password"] = json!(WANTED);
        value[key] = other;
        // At Atlas it is nobody's, and changes nothing.
        let harmless = at == At::Atlas && key == "masterarn";
        let token = put_pending(&scene.stack, &thief.secret, &value.to_string()).await;
        for step in ["createSecret", "setSecret"].into_iter().filter(|_| !harmless) {
            let says = ["does not follow the current one", "--version-stage AWSPENDING --remove-from-version-id"];
            refused(scene.stack.step(&thief.secret, &token, step).await, "PENDING_MISMATCH", &says);
        }
        let code = match key {
            "groupId" => "PROJECT_MISMATCH",
            // The current password works, the pending one does not.
            _ if harmless => "REVERTED_BY_OTHER_WRITER",
            _ => "PENDING_MISMATCH",
        };
        refused(scene.stack.step(&thief.secret, &token, "testSecret").await, code, &[]);
        assert!(scene.world().await == before, "{}: {key}", thief.user);
    }
}

/// With the tag, a name that merely ends like a twin's is a base of its own.
async fn a_name_like_a_twins_is_harmless_under_a_tag(scene: &Scene, at: At) {
    let (base, twin) = (format!("near-{}_test_rw", at.name()), format!("near-{}_test_rw_clone", at.name()));
    let neighbour = scene.user(at, &base, PLAIN).await;
    let app = scene.user(at, &twin, PLAIN).await;
    scene.tag(&app, "strategy", "alternating");
    scene.tag(&app, "username", &twin);
    // No name of a deployment's looks like this, unless the operator says so.
    let function = scene.function(&[("ALLOW_ANY_USERNAME", "true".to_owned())]).await;
    scene.stack.aws.secrets.set_rotation(&app.secret, &function.invoke_url()).unwrap();
    for user in [format!("{twin}_clone"), twin] {
        let outcome = scene.stack.rotate(&app.secret).await.unwrap();
        assert!(outcome.succeeded(), "{outcome}");
        assert_eq!(scene.stack.value(&app.secret, "AWSCURRENT").unwrap()["username"], json!(user));
    }
    assert!(scene.stack.logs_in(&neighbour.secret, "AWSCURRENT").await.unwrap(), "{base}");
}
