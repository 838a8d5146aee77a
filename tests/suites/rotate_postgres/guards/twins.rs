//! The twin: a role that exists already is taken over only when it is this application's, and no stronger.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::ADMIN;
use serde_json::{Value, json};

pub(super) async fn stories(scene: &Scene) {
    for role in ["rds_superuser", "rds_password", "rds_iam"] {
        scene.sql(&format!("CREATE ROLE {role} NOLOGIN")).await;
    }
    a_twin_with_more_power_is_refused(scene).await;
    power_that_the_base_has_too_is_no_obstacle(scene).await;
    somebody_elses_user_of_the_clones_name_is_refused(scene).await;
    a_fresh_role_of_the_clones_name_becomes_the_clone(scene).await;
    a_clone_without_its_bases_rights_is_put_right(scene).await;
    an_owner_must_be_there_and_be_shared(scene).await;
    an_owners_second_user_must_be_its_own(scene).await;
    what_the_user_in_use_owns_itself_would_be_lost_to_the_next_one(scene).await;
    a_pair_is_two_equal_users_or_refused(scene).await;
    a_user_of_iam_tokens_is_refused(scene).await;
    a_user_that_somebody_locked_stays_locked(scene).await;
}

/// NOLOGIN is what an incident's first minute leaves behind.
async fn a_user_that_somebody_locked_stays_locked(scene: &Scene) {
    scene.login("shut", "").await;
    let secret = scene.secret_of("shut");
    assert_eq!(scene.rotates(&secret).await, "shut_clone");
    for locked in ["shut", "shut_clone"] {
        scene.sql(&format!("ALTER ROLE {locked} NOLOGIN")).await;
        let unlock = format!("ALTER ROLE \"{locked}\" LOGIN");
        let refusal = Refusal("ROLE_CANNOT_LOG_IN", &["may not log in (NOLOGIN)", &unlock]);
        scene.refuses(&secret, locked, refusal).await;
        // Once it is lifted on purpose, the rotation goes on where it stood.
        scene.sql(&unlock).await;
        assert_eq!(scene.rotates(&secret).await, locked);
    }
}

async fn a_twin_with_more_power_is_refused(scene: &Scene) {
    scene.sql("CREATE ROLE detour NOLOGIN; GRANT pg_monitor TO detour").await;
    scene.sql(&format!("CREATE ROLE admin_group NOLOGIN; GRANT {ADMIN} TO admin_group")).await;
    for (n, (power, says)) in [
        ("ALTER ROLE twin SUPERUSER", "SUPERUSER"),
        ("ALTER ROLE twin REPLICATION", "REPLICATION"),
        ("ALTER ROLE twin BYPASSRLS", "BYPASSRLS"),
        ("ALTER ROLE twin CREATEROLE", "CREATEROLE"),
        ("ALTER ROLE twin CREATEDB", "CREATEDB"),
        ("GRANT rds_superuser TO twin", "membership in rds_superuser"),
        ("GRANT rds_password TO twin", "membership in rds_password"),
        ("GRANT pg_monitor TO twin", "membership in pg_monitor"),
        ("GRANT detour TO twin", "membership in pg_monitor"),
        ("GRANT admin_group TO twin", "CREATEROLE, membership in rotation_admin"),
    ]
    .into_iter()
    .enumerate()
    {
        let (base, twin) = (format!("weak{n}"), format!("weak{n}_clone"));
        // Without the admin's ADMIN OPTION on the base: with it the admin would be a member of its own target's base.
        scene.stranger(&base, "").await;
        scene.stranger(&twin, &format!("IN ROLE {base}")).await;
        scene.sql(&power.replace("twin", &twin)).await;
        let secret = scene.secret_of(&base);
        let says = format!("{twin:?} has what {base:?} has not: {says}");
        scene
            .refuses(
                &secret,
                &twin,
                Refusal("TWIN_TOO_POWERFUL", &[&says, &format!("ALTER ROLE \"{twin}\" NO<attribute>")]),
            )
            .await;
    }
}

async fn power_that_the_base_has_too_is_no_obstacle(scene: &Scene) {
    scene.login("watch", "IN ROLE pg_monitor").await;
    scene.login("watch_clone", "IN ROLE watch, pg_monitor").await;
    let secret = scene.secret_of("watch");
    assert_eq!(scene.rotates(&secret).await, "watch_clone");
    assert_eq!(scene.rotates(&secret).await, "watch");
}

async fn somebody_elses_user_of_the_clones_name_is_refused(scene: &Scene) {
    scene.sql("CREATE ROLE another_team NOLOGIN").await;
    for (n, (life, sql)) in [
        ("owns a table", "CREATE TABLE theirs (); ALTER TABLE theirs OWNER TO twin"),
        ("owns a schema", "CREATE SCHEMA AUTHORIZATION twin"),
        ("has rights on a table", "CREATE TABLE lent (); GRANT SELECT ON lent TO twin"),
        ("is in a group", "GRANT another_team TO twin"),
    ]
    .into_iter()
    .enumerate()
    {
        let (base, twin) = (format!("seized{n}"), format!("seized{n}_clone"));
        scene.login(&base, "").await;
        scene.login(&twin, "").await;
        scene.sql(&sql.replace("twin", &twin)).await;
        let secret = scene.secret_of(&base);
        let (who, grant) = (format!("{twin:?} exists"), format!("GRANT \"{base}\" TO \"{twin}\""));
        println!("{twin} {life}");
        scene.refuses(&secret, &twin, Refusal("TWIN_IS_SOMEBODY_ELSE", &[&who, &grant, "\"usernames\""])).await;
        // What the message says helps.
        scene.sql(&grant).await;
        assert_eq!(scene.rotates(&scene.secret(&format!("{base}-after"), &scene.of_user(&base)).unwrap()).await, twin);
    }
}

async fn a_fresh_role_of_the_clones_name_becomes_the_clone(scene: &Scene) {
    scene.login("spare", "").await;
    scene.login("spare_clone", "").await;
    // Not while somebody else is a member of it: the base's rights would be theirs too.
    scene.login("mallory", "").await;
    scene.sql("GRANT spare_clone TO mallory").await;
    let held = scene.secret_of("spare");
    scene.refuses(&held, "spare_clone", Refusal("TWIN_IS_SOMEBODY_ELSE", &["\"spare_clone\" exists"])).await;
    scene.sql("REVOKE spare_clone FROM mallory").await;
    let secret = scene.secret("spare-after", &scene.of_user("spare")).unwrap();
    assert_eq!(scene.rotates(&secret).await, "spare_clone");
    assert!(scene.ask::<bool>("SELECT pg_has_role('spare_clone', 'spare', 'USAGE')").await);
}

async fn a_clone_without_its_bases_rights_is_put_right(scene: &Scene) {
    scene.login("numb", "").await;
    scene.login("numb_clone", "NOINHERIT").await;
    let without = if scene.is_16_or_later() { " WITH INHERIT FALSE, SET FALSE" } else { "" };
    scene.sql(&format!("GRANT numb TO numb_clone{without}")).await;
    let secret = scene.secret_of("numb");
    assert_eq!(scene.rotates(&secret).await, "numb_clone");
    assert!(scene.ask::<bool>("SELECT pg_has_role('numb_clone', 'numb', 'USAGE')").await);
}

fn owned(scene: &Scene, user: &str, users: [&str; 2], owner: &str) -> Value {
    let mut value = scene.of_user(user);
    value["usernames"] = json!(users);
    value["owner"] = json!(owner);
    value
}

async fn an_owner_must_be_there_and_be_shared(scene: &Scene) {
    scene.login("tenant_a", "").await;
    let value = owned(scene, "tenant_a", ["tenant_a", "tenant_b"], "house");
    let secret = scene.secret("house", &value).unwrap();
    scene
        .refuses(&secret, "tenant_b", Refusal("OWNER_MISSING", &["no role \"house\"", "CREATE ROLE \"house\" NOLOGIN"]))
        .await;

    // Or anybody who can write a secret could put a login of their own into any role.
    scene.sql("CREATE ROLE house NOLOGIN").await;
    scene.admit(ADMIN, "house").await;
    let says = ["\"tenant_a\" is not a member of \"house\"", "GRANT \"house\" TO \"tenant_a\""];
    scene.refuses(&secret, "tenant_b", Refusal("CURRENT_NOT_MEMBER", &says)).await;
    scene.sql(says[1]).await;
    // And act as the owner from here on, or what it makes until its next turn would be its own.
    let secret = scene.secret("house-joined", &value).unwrap();
    let acting = "ALTER ROLE \"tenant_a\" SET role = 'house'";
    scene.refuses(&secret, "tenant_b", Refusal("OBJECTS_NOT_SHARED", &["\"tenant_a\" acts as itself", acting])).await;
    scene.sql(acting).await;
    let secret = scene.secret("house-after", &value).unwrap();
    assert_eq!(scene.rotates(&secret).await, "tenant_b");
    assert_eq!(scene.rotates(&secret).await, "tenant_a");
}

async fn an_owners_second_user_must_be_its_own(scene: &Scene) {
    scene.sql("CREATE ROLE farm NOLOGIN; CREATE ROLE neighbour NOLOGIN").await;
    scene.admit(ADMIN, "farm").await;
    scene.login("farm_a", "IN ROLE farm").await;
    scene.sql("ALTER ROLE farm_a SET role = 'farm'").await;
    scene.login("theirs_b", "IN ROLE neighbour").await;
    let secret = scene.secret("farm", &owned(scene, "farm_a", ["farm_a", "theirs_b"], "farm")).unwrap();
    scene.refuses(&secret, "theirs_b", Refusal("TWIN_IS_SOMEBODY_ELSE", &["GRANT \"farm\" TO \"theirs_b\""])).await;
    // A colleague who shares the owner: nothing says yet that it is this application's second user.
    scene.login("farm_clerk", "IN ROLE farm").await;
    let value = owned(scene, "farm_a", ["farm_a", "farm_clerk"], "farm");
    let mark = "ALTER ROLE \"farm_clerk\" SET role = 'farm'";
    let secret = scene.secret("clerk", &value).unwrap();
    scene.refuses(&secret, "farm_clerk", Refusal("TWIN_IS_SOMEBODY_ELSE", &["does not act as it", mark])).await;
    scene.sql(mark).await;
    scene.sql("GRANT neighbour TO farm_clerk").await;
    let secret = scene.secret("clerk-marked", &value).unwrap();
    scene.refuses(&secret, "farm_clerk", Refusal("TWIN_TOO_POWERFUL", &["is a member of neighbour"])).await;
    scene.sql("REVOKE neighbour FROM farm_clerk").await;
    assert_eq!(scene.rotates(&scene.secret("clerk-after", &value).unwrap()).await, "farm_clerk");
    // The super-user, say.
    let secret = scene.secret("coup", &owned(scene, "farm_a", ["farm_a", "postgres"], "farm")).unwrap();
    scene
        .refuses(
            &secret,
            "postgres",
            Refusal(
                "TWIN_TOO_POWERFUL",
                &["\"postgres\" has what \"farm_a\" has not: BYPASSRLS, CREATEDB, CREATEROLE, REPLICATION, SUPERUSER"],
            ),
        )
        .await;
}

async fn what_the_user_in_use_owns_itself_would_be_lost_to_the_next_one(scene: &Scene) {
    scene.sql("CREATE ROLE manor NOLOGIN").await;
    scene.admit(ADMIN, "manor").await;
    scene.login("manor_a", "IN ROLE manor").await;
    scene.sql("ALTER ROLE manor_a SET role = 'manor'").await;
    scene.sql("CREATE TABLE hoard (); ALTER TABLE hoard OWNER TO manor_a").await;
    let value = owned(scene, "manor_a", ["manor_a", "manor_b"], "manor");
    let secret = scene.secret("manor", &value).unwrap();
    let reassign = "REASSIGN OWNED BY \"manor_a\" TO \"manor\"";
    scene.refuses(&secret, "manor_b", Refusal("OBJECTS_NOT_SHARED", &["\"manor_a\" owns objects", reassign])).await;
    // What the message says helps.
    scene.sql(reassign).await;
    let secret = scene.secret("manor-after", &value).unwrap();
    assert_eq!(scene.rotates(&secret).await, "manor_b");
}

async fn a_pair_is_two_equal_users_or_refused(scene: &Scene) {
    scene.sql("CREATE ROLE readers NOLOGIN").await;
    scene.login("castor", "IN ROLE readers").await;
    let mut value = scene.of_user("castor");
    value["usernames"] = json!(["castor", "pollux"]);
    let secret = scene.secret("castor", &value).unwrap();
    scene
        .refuses(
            &secret,
            "pollux",
            Refusal("USER_MISSING", &["no user \"pollux\"", "CREATE ROLE \"pollux\" LOGIN", "\"owner\""]),
        )
        .await;

    scene.login("pollux", "").await;
    let differ = Refusal(
        "PAIR_RIGHTS_DIFFER",
        &["\"castor\" is a member of [readers], \"pollux\" of []", "Make both members of the same roles"],
    );
    scene.refuses(&secret, "pollux", differ).await;

    scene.sql("GRANT readers TO pollux; ALTER ROLE pollux SUPERUSER").await;
    scene
        .refuses(
            &secret,
            "pollux",
            Refusal("TWIN_TOO_POWERFUL", &["\"pollux\" has what \"castor\" has not: SUPERUSER"]),
        )
        .await;

    scene.sql("ALTER ROLE pollux NOSUPERUSER").await;
    let secret = scene.secret("castor-after", &value).unwrap();
    assert_eq!(scene.rotates(&secret).await, "pollux");
    assert_eq!(scene.rotates(&secret).await, "castor");
    assert!(!scene.ask::<bool>("SELECT pg_has_role('pollux', 'castor', 'MEMBER')").await, "a pair was tied together");
}

async fn a_user_of_iam_tokens_is_refused(scene: &Scene) {
    let refusal = |user: &str| format!("REVOKE rds_iam FROM \"{user}\"");
    scene.login("token", "IN ROLE rds_iam").await;
    let secret = scene.secret_of("token");
    scene
        .refuses(
            &secret,
            "token_clone",
            Refusal("IAM_AUTH_ONLY", &["\"token\" is a member of rds_iam", &refusal("token")]),
        )
        .await;

    scene.sql("CREATE ROLE token_group NOLOGIN IN ROLE rds_iam").await;
    scene.login("twice", "").await;
    scene.login("twice_clone", "IN ROLE twice, token_group").await;
    let secret = scene.secret_of("twice");
    scene
        .refuses(&secret, "twice_clone", Refusal("IAM_AUTH_ONLY", &["\"twice_clone\"", &refusal("twice_clone")]))
        .await;
}
