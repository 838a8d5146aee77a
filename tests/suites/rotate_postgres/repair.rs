//! `repair-ownership`: what the two users own goes to the role that both act as.

use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::ADMIN;
use serde_json::{Value, json};

async fn asked(scene: &Scene, secret: &str, apply: bool) -> Value {
    let event = json!({"action": "repair-ownership", "secret": secret, "apply": apply});
    scene.lambda.invoke(event).await.result.unwrap()
}

/// A clone that AWS's function made has tables in two databases, default privileges, and a foreign server's mapping.
async fn scene(major: u32) -> (Scene, String) {
    let scene = Scene::start(major).await;
    scene.login("shop", "").await;
    scene.login("shop_clone", "IN ROLE shop").await;
    scene.sql("CREATE DATABASE archive; ").await;
    scene.sql("CREATE SCHEMA own AUTHORIZATION shop_clone").await;
    scene.sql("SET ROLE shop_clone; CREATE TABLE own.orders (n int); RESET ROLE; CREATE ROLE reader NOLOGIN").await;
    scene.sql("ALTER DEFAULT PRIVILEGES FOR ROLE shop_clone IN SCHEMA own GRANT SELECT ON TABLES TO reader").await;
    let of_clone = "ALTER DEFAULT PRIVILEGES FOR ROLE shop_clone";
    scene.sql(&format!("{of_clone} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")).await;
    scene.sql(&format!("{of_clone} GRANT USAGE ON TYPES TO reader")).await;
    let archive = scene.postgres.client("postgres", scene.postgres.superuser_password(), "archive").await.unwrap();
    let objects =
        "CREATE TABLE public.old (); ALTER TABLE old OWNER TO shop_clone; GRANT CREATE ON SCHEMA public TO shop";
    archive.batch_execute(objects).await.unwrap();
    let secret = scene.secret_of("shop");
    (scene, secret)
}

#[tokio::test]
async fn what_a_clone_owns_goes_to_its_base_in_every_database_after_a_plan() {
    for major in [13, 18] {
        let (scene, secret) = scene(major).await;
        let memberships = "SELECT string_agg(m::text, ';' ORDER BY m::text) FROM pg_auth_members m";
        let before: String = scene.ask(memberships).await;
        let plan = asked(&scene, &secret, false).await;
        assert_eq!((&plan["from"], &plan["to"]), (&json!(["shop_clone"]), &json!("shop")), "{plan}");
        let of = |n: usize| {
            let one = &plan["databases"][n];
            json!([one["database"], one["objects"], one["default_privileges"], one["state"]])
        };
        assert_eq!([of(0), of(1)], [json!(["archive", 1, 0, "planned"]), json!(["postgres", 2, 3, "planned"])]);
        let owner = "SELECT tableowner::text FROM pg_tables WHERE tablename = 'orders'";
        assert_eq!(scene.ask::<String>(owner).await, "shop_clone", "a plan changes nothing");
        // Somebody holds a table: that database stays as it was, and is asked for again.
        let archive = scene.postgres.client("postgres", scene.postgres.superuser_password(), "archive").await.unwrap();
        archive.batch_execute("BEGIN; LOCK TABLE old").await.unwrap();
        let half = asked(&scene, &secret, true).await;
        assert!(half["databases"][0]["state"]["left"].as_str().unwrap().contains("DATABASE_BUSY"), "{half}");
        let left = half["databases"][1]["state"]["left"].as_str().unwrap();
        assert!(left.contains("GRANT CREATE ON DATABASE \"postgres\" TO \"shop\""), "{half}");
        scene.sql("GRANT CREATE ON DATABASE postgres TO shop").await;
        let half = asked(&scene, &secret, true).await;
        assert_eq!((&half["databases"][1]["state"], &half["next"]["apply"]), (&json!("moved"), &json!(true)), "{half}");
        archive.batch_execute("ROLLBACK").await.unwrap();
        let done = asked(&scene, &secret, true).await;
        assert_eq!((&done["databases"][0]["state"], &done["next"]), (&json!("moved"), &Value::Null), "{done}");
        assert_eq!(scene.ask::<String>(owner).await, "shop");
        let privileges = "SELECT string_agg(entry, ' ' ORDER BY entry) FROM pg_default_acl, LATERAL
            (SELECT pg_get_userbyid(defaclrole) || ':' || defaclobjtype::text || ':' || array_to_string(defaclacl, ',') AS entry) e";
        // PUBLIC uses types as it did, and executes nothing.
        let expected = "shop:T:=U/shop,shop=U/shop,reader=U/shop shop:f:shop=X/shop shop:r:reader=r/shop";
        assert_eq!(scene.ask::<String>(privileges).await, expected);
        assert_eq!(scene.ask::<String>(memberships).await, before, "the admin keeps no right that it borrowed");
        // And then the clone acts as its base.
        assert_eq!(asked(&scene, &secret, false).await["says"], json!(["shop_clone own nothing."]));
        assert_eq!(scene.rotates(&secret).await, "shop_clone");
        let acts_as = scene.client_of(&secret).await.query_one("SELECT current_user::text", &[]).await.unwrap();
        assert_eq!(acts_as.get::<_, &str>(0), "shop");
        scene.ends();
    }
}

#[tokio::test]
async fn a_membership_that_the_admin_had_is_not_taken_away_from_it() {
    let (scene, secret) = scene(14).await;
    scene.sql(&format!("GRANT shop_clone TO \"{ADMIN}\"; ALTER ROLE \"{ADMIN}\" NOINHERIT")).await;
    let answer = asked(&scene, &secret, true).await;
    let left = answer["databases"][0]["state"]["left"].as_str().unwrap();
    assert!(left.contains("is a member of \"shop_clone\" without its rights"), "{answer}");
    let is_member: bool = scene.ask(&format!("SELECT pg_has_role('{ADMIN}', 'shop_clone', 'MEMBER')")).await;
    assert!(is_member);
    scene.ends();
}

#[tokio::test]
async fn users_without_an_owner_have_nobody_to_give_anything_to() {
    let scene = Scene::start(16).await;
    for user in ["red", "blue"] {
        scene.login(user, "").await;
    }
    let secret = scene.pair_secret("pair", "red", ["red", "blue"]);
    let event = json!({"action": "repair-ownership", "secret": secret});
    Refusal("LAYOUT_WITHOUT_OWNER", &["keyturn:owner"]).is(scene.lambda.invoke(event).await.result, "pair");
    scene.ends();
}
