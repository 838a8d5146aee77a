//! What the function refuses, so that whoever can write a secret never gets more power than they have: on every version of
//! PostgreSQL, in every step that could use the admin's power, with nothing written.

mod admins;
mod names;
mod places;
mod twins;

use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::ADMIN;

async fn hold_on(major: u32) {
    let scene = Scene::start(major).await;
    names::stories(&scene).await;
    twins::stories(&scene).await;
    places::stories(&scene).await;
    admins::stories(&scene).await;
    scene.ends();
}

#[tokio::test]
async fn every_guard_holds_on_13() {
    hold_on(13).await;
}

#[tokio::test]
async fn every_guard_holds_on_14() {
    hold_on(14).await;
}

#[tokio::test]
async fn every_guard_holds_on_15() {
    hold_on(15).await;
}

#[tokio::test]
async fn every_guard_holds_on_16() {
    hold_on(16).await;
}

#[tokio::test]
async fn every_guard_holds_on_17() {
    hold_on(17).await;
}

#[tokio::test]
async fn every_guard_holds_on_18() {
    hold_on(18).await;
}

/// Hardened servers take from PUBLIC the right to read the catalog: the admin reads, and the new user proves what it can.
#[tokio::test]
async fn a_server_that_hides_its_catalog_from_everybody_is_no_obstacle() {
    for major in [13, 18] {
        let scene = Scene::start(major).await;
        let tables =
            "pg_roles, pg_auth_members, pg_db_role_setting, pg_shdepend, pg_shdescription, pg_settings, pg_database";
        scene.sql(&format!("REVOKE SELECT ON {tables} FROM PUBLIC; GRANT SELECT ON {tables} TO {ADMIN}")).await;
        scene.login("blind", "").await;
        let secret = scene.secret_of("blind");
        for user in ["blind_clone", "blind", "blind_clone"] {
            assert_eq!(scene.rotates(&secret).await, user);
        }
        let acts_as = scene.client_of(&secret).await.query_one("SELECT current_user::text", &[]).await.unwrap();
        assert_eq!(acts_as.get::<_, &str>(0), "blind");
        scene.ends();
    }
}

/// An admin that may have one connection at a time is enough, at the first rotation of two users as well.
#[tokio::test]
async fn an_admin_with_one_connection_is_enough() {
    let scene = Scene::start(16).await;
    scene.sql(&format!("ALTER ROLE {ADMIN} CONNECTION LIMIT 1")).await;
    scene.login("single", "").await;
    let secret = scene.secret_of("single");
    for user in ["single_clone", "single"] {
        assert_eq!(scene.rotates(&secret).await, user);
    }
    scene.ends();
}
