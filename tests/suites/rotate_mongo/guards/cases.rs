//! What is refused, case by case.

use super::{At, BOTH, Case, PASSWORD, Scene};
use crate::rotate_mongo::scene::{put_current, put_pending, refused};
use keyturn_tests::stacks::mongo::ADMIN;
use mongodb::bson::{Document, doc};
use serde_json::{Value, json};

const PLAIN: &[(&str, &str)] = &[("readWrite", "shop")];

pub(super) async fn all(scene: &Scene) -> Vec<Case> {
    let mut cases = names(scene).await;
    cases.extend(rights(scene).await);
    cases.extend(kinds_of_users(scene).await);
    cases.extend(projects(scene).await);
    cases.extend(clusters(scene).await);
    cases.extend(admins(scene).await);
    cases.extend(servers(scene).await);
    for at in BOTH {
        cases.extend(twins(scene, at).await);
    }
    cases
}

/// Whose name says that it is nobody's to touch.
async fn names(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    for (at, user) in [
        (At::Own, "break_glass_own"),
        (At::Own, "serviceadmin"),
        (At::Atlas, "admin"),
        (At::Atlas, "mms-automation"),
        (At::Atlas, "break_glass_at"),
    ] {
        let says = [&format!("{user:?} is a protected user"), &format!("ALLOW_PROTECTED_USERS={user}")];
        let case = Case::of(scene.user(at, user, PLAIN).await, "USER_PROTECTED", &says.map(String::as_str)).at_once();
        cases.push(case.unless("ALLOW_PROTECTED_USERS", user).unless("ALLOW_ANY_USERNAME", "true"));
    }
    for at in BOTH {
        let user = format!("vault_{}_test_rw", at.name());
        let says = ["is a protected user", "ALLOW_PROTECTED_USERS=vault_"];
        let case = Case::of(scene.user(at, &user, PLAIN).await, "USER_PROTECTED", &says).at_once();
        cases.push(case.unless("ALLOW_PROTECTED_USERS", &user));

        let user = format!("shop-{}_prod_rw", at.name());
        let says = ["is not a user of this deployment", "{env} = \"test\"", "ALLOW_ANY_USERNAME=true"];
        let case = Case::of(scene.user(at, &user, PLAIN).await, "USERNAME_NOT_ALLOWED", &says).at_once();
        cases.push(case.unless("ALLOW_ANY_USERNAME", "true"));

        // The other one of a turn needs leave as well: here it is the twin alone that is protected.
        let user = format!("lone-{}_test_rw", at.name());
        let twin = format!("{user}_clone");
        let app = scene.user(at, &user, PLAIN).await;
        scene.tag(&app, "strategy", "alternating");
        let case = Case::of(app, "USER_PROTECTED", &["_clone\" is a protected user"]).next(&twin).at_once();
        cases.push(case.under("PROTECTED_USERS", &twin).unless("ALLOW_PROTECTED_USERS", &twin));

        let app = scene.user(at, &format!("tagged-{}_test_rw", at.name()), PLAIN).await;
        scene.tag(&app, "username", "someone_test_rw");
        let says =
            ["which is not \"someone_test_rw\" of its tag keyturn:username", "Correct the secret's value, or its tag"];
        cases.push(Case::of(app, "USERNAME_MISMATCH", &says).at_once());
    }
    cases
}

/// Who may do more than an application.
async fn rights(scene: &Scene) -> Vec<Case> {
    scene.stack.mongo.make_role("atlasAdmin", Vec::new(), &[]).await.unwrap();
    scene.stack.mongo.make_role("reporting", Vec::new(), &[]).await.unwrap();
    let mut cases = Vec::new();
    for (at, role) in [
        (At::Own, "root"),
        (At::Own, "userAdminAnyDatabase"),
        (At::Own, "clusterAdmin"),
        (At::Own, "backup"),
        (At::Atlas, "atlasAdmin"),
        (At::Atlas, "readWriteAnyDatabase"),
        (At::Atlas, "dbAdminAnyDatabase"),
        (At::Atlas, "restore"),
    ] {
        let app = scene.user(at, &format!("{role}_test_rw"), &[("readWrite", "shop"), (role, "admin")]).await;
        let allow = format!("{role}@admin");
        let says = [&format!("has the role {allow}, which is too powerful"), &format!("ALLOW_ROLES={allow}")];
        cases.push(Case::of(app, "ROLE_FORBIDDEN", &says.map(String::as_str)).unless("ALLOW_ROLES", &allow));
    }
    for at in BOTH {
        for (role, database, setting) in [
            ("read", "admin", "ALLOW_ROLES"),
            ("reporting", "admin", "ALLOW_ROLES"),
            ("userAdmin", "admin", "ALLOW_DATABASES"),
            ("readWrite", "local", "ALLOW_DATABASES"),
            ("dbOwner", "config", "ALLOW_ROLES"),
            ("read", "ledger", "ALLOW_DATABASES"),
        ] {
            let user = format!("{}-{role}-{database}_test_rw", at.name());
            let app = scene.user(at, &user, &[("readWrite", "shop"), (role, database)]).await;
            let grant = format!("{role}@{database}");
            let says = [
                &format!("has the role {grant}, and {database} is no database of an application"),
                &format!("ALLOW_ROLES={grant} or ALLOW_DATABASES={database}"),
            ];
            let leave = if setting == "ALLOW_ROLES" { grant.as_str() } else { database };
            let case = Case::of(app, "DATABASE_FORBIDDEN", &says.map(String::as_str));
            cases.push(case.unless(setting, leave));
        }
        let n = at.name();
        let (own, other) = (format!("pr_{n}"), format!("pr_other-{n}"));
        let roles = [("readWrite", own.as_str()), ("read", other.as_str())];
        let app = scene.user(at, &format!("pr-{n}_test_rw"), &roles).await;
        let says = ["has the role read@pr_other", "belong on pr_{n} only", "DATABASE_PATTERNS"];
        cases.push(Case::of(app, "DATABASE_NOT_OF_USER", &says));
    }
    cases
}

/// Users that have no password, end by themselves, may do nothing, or are not there.
async fn kinds_of_users(scene: &Scene) -> Vec<Case> {
    let mut cases = Vec::new();
    for (kind, value) in
        [("awsIAMType", "USER"), ("x509Type", "MANAGED"), ("oidcAuthType", "IDP_GROUP"), ("ldapAuthType", "USER")]
    {
        let user = format!("{}_test_rw", kind.to_lowercase());
        let app = scene.user_with(At::Atlas, &user, PLAIN, json!({kind: value}), |_| {}).await;
        let says =
            [&format!("has no password to rotate: {kind} is {value}"), "aws secretsmanager cancel-rotate-secret"];
        cases.push(Case::of(app, "USER_HAS_NO_PASSWORD", &says));
    }
    let ends = json!({"deleteAfterDate": "2030-01-02T03:04:05Z"});
    let app = scene.user_with(At::Atlas, "guest_test_rw", PLAIN, ends, |_| {}).await;
    let says = ["Atlas deletes it on 2030-01-02T03:04:05Z", "Make a user that stays"];
    cases.push(Case::of(app, "USER_ENDS", &says));
    for at in BOTH {
        let app = scene.user(at, &format!("idle-{}_test_rw", at.name()), &[]).await;
        cases.push(Case::of(app, "USER_HAS_NO_ROLES", &["has no roles", "cancel the rotation"]));
        let app = scene.secret(at, &format!("gone-{}_test_rw", at.name()), |_| {});
        let says = ["There is no user \"gone-", "named by the tag keyturn:auth-db"];
        cases.push(Case::of(app, "USER_MISSING", &says));
    }
    cases
}

async fn projects(scene: &Scene) -> Vec<Case> {
    let other = scene.other.id();
    let of_other = |value: &mut Value| value["groupId"] = json!(other);
    let app = scene.user_with(At::Atlas, "mismatch_test_rw", PLAIN, json!({}), of_other).await;
    let mut cases = vec![Case::of(app, "PROJECT_MISMATCH", &["has groupId", "keyturn:atlas-project"]).at_once()];

    scene.at_atlas(&scene.other, "foreign_test_rw", PLAIN, &json!({})).await;
    let app = scene.secret(At::Atlas, "foreign_test_rw", of_other);
    scene.tag(&app, "atlas-project", other);
    let says = [other, "not among ATLAS_PROJECT_IDS", "ALLOW_ANY_PROJECT=true"];
    cases.push(Case::of(app, "PROJECT_NOT_ALLOWED", &says).at_once().unless("ALLOW_ANY_PROJECT", "true"));

    let both = format!("{},{other}", scene.stack.project.id());
    let app = scene.user(At::Atlas, "anywhere_test_rw", PLAIN).await;
    let says = ["does not say in which Atlas project", "keyturn:atlas-project"];
    cases.push(Case::of(app, "PROJECT_UNKNOWN", &says).at_once().under("ATLAS_PROJECT_IDS", &both));

    let app = scene.user(At::Atlas, "kept-elsewhere_test_rw", PLAIN).await;
    scene.tag(&app, "auth-db", "shop");
    let says = ["are in admin at Atlas", "aws secretsmanager untag-resource", "--tag-keys keyturn:auth-db"];
    cases.push(Case::of(app, "AUTH_DATABASE_NOT_ADMIN", &says).at_once());
    cases
}

/// Clusters that are not the user's.
async fn clusters(scene: &Scene) -> Vec<Case> {
    let app = scene.user(At::Atlas, "wanderer_test_rw", PLAIN).await;
    scene.tag(&app, "atlas-clusters", "cluster0 elsewhere");
    let says =
        ["names \"elsewhere\", which is not among the clusters", "(cluster0)", "Correct the tag, or the user's scopes"];
    let mut cases = vec![Case::of(app, "CLUSTER_NOT_FOUND", &says)];

    // Scopes of another kind are no clusters.
    for (user, scope, says) in [
        ("scoped_test_rw", json!({"name": "gone", "type": "CLUSTER"}), "is limited to \"gone\""),
        ("lake_test_rw", json!({"name": "cluster0", "type": "DATA_LAKE"}), "no cluster in project"),
    ] {
        let app = scene.user_with(At::Atlas, user, PLAIN, json!({"scopes": [scope]}), |_| {}).await;
        cases.push(Case::of(app, "CLUSTER_NOT_FOUND", &[says, "Correct the user's scopes"]));
    }
    cases
}

async fn admins(scene: &Scene) -> Vec<Case> {
    let stack = &scene.stack;
    let admin = |user: &str| json!({"host": "localhost", "port": stack.database_port(), "username": user, "password": PASSWORD});
    let stranger = stack.aws.secrets.create("stranger", &admin("stranger_admin").to_string()).unwrap();
    let homeless =
        stack.aws.secrets.create("homeless", &json!({"username": ADMIN, "password": stack.admin_password}).to_string());
    let homeless = homeless.unwrap();
    let both = format!("{},{stranger}", stack.admin_arn);
    let own = async |user: &str, admin: &str| {
        scene.user_with(At::Own, user, PLAIN, json!({}), |value| value["masterarn"] = json!(admin)).await
    };

    let app = own("listed_test_rw", &stranger).await;
    let says = [stranger.as_str(), "not among ADMIN_SECRET_ARNS", "add the ARN"];
    let mut cases = vec![Case::of(app, "ADMIN_NOT_ALLOWED", &says).at_once()];

    let app = own("alone_test_rw", "no-such-secret").await;
    let says = ["no-such-secret", "Correct masterarn"];
    cases.push(Case::of(app, "ADMIN_SECRET_MISSING", &says).at_once());

    // The name finds the secret as well as the ARN does, and so does the ARN without its last seven characters.
    for (n, cut) in [0, 7].into_iter().enumerate() {
        let app = own(&format!("narcissus-{n}_test_rw"), "").await;
        let mut value = stack.value(&app.secret, "AWSCURRENT").unwrap();
        value["masterarn"] = json!(app.secret[..app.secret.len() - cut]);
        put_current(stack, &app.secret, &value.to_string()).await;
        cases.push(Case::of(app, "ADMIN_IS_ROTATED_SECRET", &["names that secret itself"]).at_once());
    }

    let app = own("undecided_test_rw", "").await;
    let says = [
        "has no key \"masterarn\", and ADMIN_SECRET_ARNS names several",
        "{\"masterarn\": \"arn:aws:secretsmanager:...\"}",
    ];
    cases.push(Case::of(app, "ADMIN_NOT_NAMED", &says).at_once().under("ADMIN_SECRET_ARNS", &both));

    let app = own("orphan_test_rw", "").await;
    scene.tag(&app, "strategy", "alternating");
    let case = Case::of(app, "ADMIN_NOT_NAMED", &["alternates between two users, which takes an admin"]);
    cases.push(case.next("orphan_test_rw_clone").at_once().under("ADMIN_SECRET_ARNS", ""));

    let app = own("rootless_test_rw", &homeless).await;
    let says = ["names no server", "the rotated secret's tag keyturn:hosts counts"];
    cases.push(Case::of(app, "ADMIN_OF_ANOTHER_SERVER", &says).at_once().under("ADMIN_SECRET_ARNS", &homeless));
    cases.extend(admins_as_targets(scene, &admin).await);
    cases
}

/// The admin itself, in use or as the other one of a turn.
async fn admins_as_targets(scene: &Scene, admin: &impl Fn(&str) -> Value) -> Vec<Case> {
    let says = ["is the user (or one of the two) whose password this secret rotates", "an admin of its own"];
    let itself = scene.secret(At::Own, ADMIN, |value| value["password"] = json!(scene.stack.admin_password));
    let itself = Case::of(itself, "ADMIN_IS_TARGET", &says).at_once().under("ALLOW_ANY_USERNAME", "true");

    let app = scene.user(At::Own, "chief_test_rw", PLAIN).await;
    let twin = "chief_test_rw_clone";
    let chief = scene.stack.aws.secrets.create("chief", &admin(twin).to_string()).unwrap();
    let mut value = scene.stack.value(&app.secret, "AWSCURRENT").unwrap();
    value["masterarn"] = json!(chief);
    put_current(&scene.stack, &app.secret, &value.to_string()).await;
    scene.tag(&app, "strategy", "alternating");
    let chief = Case::of(app, "ADMIN_IS_TARGET", &says).next(twin).at_once().under("ADMIN_SECRET_ARNS", &chief);
    vec![itself, chief]
}

/// Where an admin would log in.
async fn servers(scene: &Scene) -> Vec<Case> {
    let port = scene.stack.database_port();
    let mut cases = Vec::new();
    for (n, (host, at)) in [
        ("evil.example.com".to_owned(), json!(port)),
        ("localhost".to_owned(), json!(1)),
        ("127.0.0.1".to_owned(), json!(port)),
        (format!("localhost:{port},evil.example.com:{port}"), json!(port)),
        (format!("mongodb://localhost:{port},localhost:1/?replicaSet=rs0"), Value::Null),
    ]
    .into_iter()
    .enumerate()
    {
        let edit = |value: &mut Value| (value["host"], value["port"]) = (json!(host), at);
        let app = scene.user_with(At::Own, &format!("server-{n}_test_rw"), PLAIN, json!({}), edit).await;
        let says = [&format!("is for localhost:{port}"), "keyturn:hosts"];
        cases.push(Case::of(app, "ADMIN_OF_ANOTHER_SERVER", &says.map(|part| part as &str)).at_once());
    }
    // A tag does not lead an admin away from where its own secret says it is.
    let app = scene.user(At::Own, "tagged-away_test_rw", PLAIN).await;
    scene.tag(&app, "hosts", &format!("localhost:{port} localhost:1"));
    let says = [&format!("is for localhost:{port},localhost:1"), "name the same hosts and ports"];
    cases.push(Case::of(app, "ADMIN_OF_ANOTHER_SERVER", &says.map(|part| part as &str)).at_once());

    let says = ["belongs to Atlas", "keyturn:engine=mongodb-atlas, and ATLAS_SECRET_ID"];
    let edit = |value: &mut Value| value["host"] = json!("cluster0-shard-00-00.ab1cd.mongodb.net");
    let app = scene.user_with(At::Own, "misplaced_test_rw", PLAIN, json!({}), edit).await;
    cases.push(Case::of(app, "ATLAS_NEEDS_ITS_API", &says).at_once());
    let app = scene.user(At::Own, "mistagged_test_rw", PLAIN).await;
    scene.tag(&app, "hosts", &format!("localhost:{port} Cluster0.MongoDB.net."));
    cases.push(Case::of(app, "ATLAS_NEEDS_ITS_API", &says).at_once());
    cases
}

/// The other user of a turn, who is to have the same rights.
async fn twins(scene: &Scene, at: At) -> Vec<Case> {
    let mut cases = Vec::new();
    let pair = async |name: &str, of_twin: &[(&str, &str)], scopes: Value| {
        let user = format!("{name}-{}_test_rw", at.name());
        let app = scene.user_with(at, &user, PLAIN, scopes, |_| {}).await;
        let twin = format!("{user}_clone");
        scene.user(at, &twin, of_twin).await;
        scene.tag(&app, "strategy", "alternating");
        (app, twin)
    };
    for (name, of_twin, difference) in [
        ("more", &[("readWrite", "shop"), ("read", "pay")] as &[_], "has also read@pay"),
        ("less", &[("read", "shop")], "it lacks readWrite@shop"),
    ] {
        let (app, twin) = pair(name, of_twin, json!({})).await;
        let says = ["take turns but have not the same rights", difference, "SYNC_ROLES=true"];
        cases.push(Case::of(app, "ROLES_DIFFER", &says).next(&twin).unless("SYNC_ROLES", "true"));
    }
    if at == At::Atlas {
        let scopes = json!({"scopes": [{"name": "cluster0", "type": "CLUSTER"}]});
        let (app, twin) = pair("narrow", PLAIN, scopes).await;
        let case = Case::of(app, "ROLES_DIFFER", &["their scopes differ"]).next(&twin);
        cases.push(case.unless("SYNC_ROLES", "true"));
    }
    // Stronger than an application may be: nobody's rights are made the same as these.
    let (app, twin) = pair("strong", &[("readWrite", "shop"), ("root", "admin")], json!({})).await;
    let case = Case::of(app, "ROLE_FORBIDDEN", &["_clone\" has the role root@admin"]).next(&twin);
    cases.push(case.under("SYNC_ROLES", "true"));
    cases
}

/// The server says that there is none: its answer is prepared, since it knows no such users itself.
pub(super) async fn users_of_a_server_without_a_password(scene: &Scene) {
    for (n, (mechanisms, why)) in
        [(vec!["MONGODB-X509"], "its mechanism is MONGODB-X509"), (vec![], "it has no credentials")]
            .into_iter()
            .enumerate()
    {
        let user = format!("nopass-{n}_test_rw");
        let app = scene.user(At::Own, &user, PLAIN).await;
        let mut shown: Document = scene.stack.mongo.user("admin", &user).await.unwrap().unwrap();
        shown.insert("mechanisms", mechanisms);
        let answer = doc! {"ok": 1.0, "users": [shown]};
        scene.stack.proxy.as_ref().unwrap().answer("usersInfo", super::STEPS.len(), answer);
        let says = [why, "aws secretsmanager cancel-rotate-secret"];
        scene.refuse(&[Case::of(app, "USER_HAS_NO_PASSWORD", &says)]).await;
    }
}

/// A pending value put by hand is not believed.
pub(super) async fn a_twin_that_is_not_there_proves_nothing(scene: &Scene) {
    for at in BOTH {
        let user = format!("single-{}_test_rw", at.name());
        let app = scene.user(at, &user, PLAIN).await;
        scene.tag(&app, "strategy", "alternating");
        let before = scene.world().await;
        let mut value = scene.stack.value(&app.secret, "AWSCURRENT").unwrap();
        value["username"] = json!(format!("{user}_clone"));
        let token = put_pending(&scene.stack, &app.secret, &value.to_string()).await;
        let tested = scene.stack.step(&app.secret, &token, "testSecret").await;
        refused(tested, "USER_MISSING", &["There is no user", "aws secretsmanager rotate-secret"]);
        assert!(scene.world().await == before, "{user}");
    }
}
