//! Names: which two users belong together.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::ADMIN;
use serde_json::json;

pub(super) async fn stories(scene: &Scene) {
    a_name_whose_clone_the_server_would_cut_off_is_refused(scene).await;
    the_longest_name_that_leaves_room_rotates_to_its_clone_and_back(scene).await;
    the_admin_is_never_one_of_the_two(scene).await;
    a_login_that_merely_ends_like_a_clone_is_a_base_of_its_own(scene).await;
    a_login_named_like_a_clone_of_nobody_is_a_base_of_its_own(scene).await;
    a_user_outside_the_pair_is_refused(scene).await;
    the_user_in_use_is_never_the_pending_one(scene).await;
    the_value_does_not_choose_the_users(scene).await;
    a_pinned_secret_stays_with_its_base(scene).await;
}

/// Who may write a value knows one login, and has no business with another.
async fn the_value_does_not_choose_the_users(scene: &Scene) {
    scene.login("thief", "").await;
    scene.login("bystander", "").await;
    scene.login("keeper", "").await;
    for (n, (users, owner)) in
        [(json!(["thief", "bystander"]), json!(null)), (json!(["x", "bystander"]), json!("thief"))]
            .into_iter()
            .enumerate()
    {
        let mut value = scene.of_user("thief");
        (value["usernames"], value["owner"]) = (users, owner);
        let secret = scene.secret(&format!("thief-{n}"), &value).unwrap();
        let tags = format!("aws secretsmanager tag-resource --secret-id {secret} --tags 'Key=keyturn:usernames");
        scene.refuses(&secret, "bystander", Refusal("LAYOUT_IN_VALUE", &[&tags])).await;
        // Nor does saving a schedule go well.
        let token = scene.pending(&secret, "thief").await;
        scene.refuses_step(&secret, &token, "testSecret", &Refusal("LAYOUT_IN_VALUE", &[&tags])).await;
    }
    // A note of the team's own is no layout.
    let mut value = scene.of_user("keeper");
    value["owner"] = json!("team-shop");
    let secret = scene.secret("keeper", &value).unwrap();
    assert_eq!(scene.rotates(&secret).await, "keeper_clone");
    assert_eq!(scene.value(&secret, "AWSCURRENT").unwrap()["owner"], "team-shop");
}

async fn a_pinned_secret_stays_with_its_base(scene: &Scene) {
    scene.login("fixed_clone", "").await;
    let secret = scene.secret_of("fixed_clone");
    scene.aws.secrets.tag(&secret, "keyturn:username", "fixed_clone").unwrap();
    assert_eq!(scene.rotates(&secret).await, "fixed_clone_clone");
    assert_eq!(scene.rotates(&secret).await, "fixed_clone");
    scene.login("another", "").await;
    let secret = scene.secret_of("another");
    scene.aws.secrets.tag(&secret, "keyturn:username", "fixed").unwrap();
    let says = ["keyturn:username pins it to \"fixed\" and its clone"];
    scene.refuses_to_create(&secret, &Refusal("USER_NOT_IN_PAIR", &says)).await;
    scene.refuses_to_set(&secret, "another_clone", &Refusal("PENDING_MISMATCH", &says)).await;
}

async fn a_name_whose_clone_the_server_would_cut_off_is_refused(scene: &Scene) {
    // Bytes, not characters: 29 of these have 58 bytes. The clone of a name of 63 bytes would be that name itself.
    for (n, name) in ["ü".repeat(29), "x".repeat(58), "y".repeat(63)].into_iter().enumerate() {
        scene.login(&name, "").await;
        let secret = scene.secret(&format!("long-{n}"), &scene.of_user(&name)).unwrap();
        let clone = format!("{name}_clone");
        let bytes = format!("has {} bytes", clone.len());
        scene.refuses_to_create(&secret, &Refusal("NAME_TOO_LONG", &[&bytes, "keyturn:usernames = app_a app_b"])).await;
        scene.refuses_to_set(&secret, &clone, &Refusal("PENDING_MISMATCH", &[&bytes])).await;
    }
    let name = "z".repeat(64);
    let secret = scene.secret("longer", &scene.of_user(&name)).unwrap();
    scene.refuses_to_create(&secret, &Refusal("NAME_TOO_LONG", &["keyturn:owner = app"])).await;
}

async fn the_longest_name_that_leaves_room_rotates_to_its_clone_and_back(scene: &Scene) {
    let name = format!("{}x", "ü".repeat(28));
    assert_eq!(name.len(), 57);
    scene.login(&name, "").await;
    let secret = scene.secret("longest", &scene.of_user(&name)).unwrap();
    assert_eq!(scene.rotates(&secret).await, format!("{name}_clone"));
    assert_eq!(scene.rotates(&secret).await, name);
}

async fn the_admin_is_never_one_of_the_two(scene: &Scene) {
    let refusal = || Refusal("ADMIN_IS_TARGET", &["CREATE ROLE rotation_admin LOGIN CREATEROLE"]);

    // As the second user of an owner.
    scene.sql("CREATE ROLE lure NOLOGIN").await;
    scene.login("lure_a", "IN ROLE lure").await;
    let secret = scene.owner_secret("lure", "lure_a", ["lure_a", ADMIN], "lure");
    scene.refuses(&secret, ADMIN, refusal()).await;

    // As the clone of a user, made to be named so.
    let admin = scene.admin("ruler_clone", "CREATEROLE").await;
    scene.login("ruler", "").await;
    let mut ruler = scene.of_user("ruler");
    ruler["masterarn"] = json!(admin);
    let secret = scene.secret("ruler", &ruler).unwrap();
    scene.refuses(&secret, "ruler_clone", refusal()).await;

    // As the user in use.
    let mut itself = scene.of_user(ADMIN);
    itself["password"] = json!(scene.admin_password);
    let secret = scene.secret("admin-itself", &itself).unwrap();
    scene.refuses(&secret, &format!("{ADMIN}_clone"), refusal()).await;
}

/// AWS's function takes `till` for its base here, and resets a stranger's password.
async fn a_login_that_merely_ends_like_a_clone_is_a_base_of_its_own(scene: &Scene) {
    scene.login("till", "").await;
    scene.login("till_clone", "").await;
    let secret = scene.secret_of("till_clone");
    let grant = "GRANT \"till\" TO \"till_clone\"";
    scene
        .refuses_to_set(
            &secret,
            "till",
            &Refusal("CURRENT_NOT_MEMBER", &["\"till_clone\" is not a member of \"till\"", grant]),
        )
        .await;

    let secret = scene.secret("till_clone-again", &scene.of_user("till_clone")).unwrap();
    let till = "SELECT rolpassword FROM pg_authid WHERE rolname = 'till'";
    let before: String = scene.ask(till).await;
    assert_eq!(scene.rotates(&secret).await, "till_clone_clone");
    assert_eq!(scene.rotates(&secret).await, "till_clone");
    assert_eq!(scene.ask::<String>(till).await, before);
}

async fn a_login_named_like_a_clone_of_nobody_is_a_base_of_its_own(scene: &Scene) {
    scene.login("orphan_clone", "").await;
    let secret = scene.secret_of("orphan_clone");
    scene.refuses_to_set(&secret, "orphan", &Refusal("OWNER_MISSING", &["no role \"orphan\""])).await;
    let secret = scene.secret("orphan_clone-again", &scene.of_user("orphan_clone")).unwrap();
    assert_eq!(scene.rotates(&secret).await, "orphan_clone_clone");
}

async fn a_user_outside_the_pair_is_refused(scene: &Scene) {
    scene.login("victim", "").await;
    scene.login("mine", "").await;
    let secret = scene.secret_of("mine");
    scene
        .refuses_to_set(
            &secret,
            "victim",
            &Refusal("PENDING_MISMATCH", &["\"victim\" is neither its clone nor its base"]),
        )
        .await;

    let secret = scene.pair_secret("mine-pair", "mine", ["mine_a", "mine_b"]);
    let says = ["\"mine\" does not belong", "keyturn:usernames does not name it"];
    scene.refuses_to_create(&secret, &Refusal("USER_NOT_IN_PAIR", &says)).await;
    let secret = scene.pair_secret("mine-other-pair", "mine", ["mine", "mine_b"]);
    scene
        .refuses_to_set(
            &secret,
            "victim",
            &Refusal("PENDING_MISMATCH", &["\"victim\"", "not the other one of keyturn:usernames"]),
        )
        .await;
}

/// Labels that were rolled back by hand, or a copied value: its password would cut off every client.
async fn the_user_in_use_is_never_the_pending_one(scene: &Scene) {
    scene.login("busy", "").await;
    let secret = scene.secret_of("busy");
    let token = scene.pending(&secret, "busy").await;
    let clear = clear_pending(&secret, &token);
    for step in ["createSecret", "setSecret"] {
        scene.refuses_step(&secret, &token, step, &Refusal("PENDING_IS_CURRENT_USER", &["\"busy\"", &clear])).await;
    }
}

/// The command that an operator is told to run.
pub(super) fn clear_pending(secret: &str, token: &str) -> String {
    format!(
        "aws secretsmanager update-secret-version-stage --secret-id {secret} --version-stage AWSPENDING --remove-from-version-id {token}"
    )
}
