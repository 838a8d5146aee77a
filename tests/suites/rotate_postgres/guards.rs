//! What the function refuses, so that whoever can write a secret never gets more power than they have: on every version of
//! PostgreSQL, in every step that could use the admin's power, with nothing written.

mod admins;
mod names;
mod places;
mod twins;

use crate::rotate_postgres::scene::Scene;

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
