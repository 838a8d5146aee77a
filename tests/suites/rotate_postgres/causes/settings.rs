//! Settings of the base that its clone is to have too.

use crate::rotate_postgres::scene::Scene;

#[tokio::test]
async fn a_setting_that_only_a_superuser_may_make_stays_out_and_the_others_are_copied() {
    let scene = Scene::start(16).await;
    scene.login("tuned", "").await;
    scene
        .sql(
            "ALTER ROLE tuned SET work_mem = '7MB'; ALTER ROLE tuned SET log_statement = 'none';
            ALTER ROLE tuned IN DATABASE postgres SET search_path = \"$user\", public, \"A, \"\"b\"\"\"",
        )
        .await;
    let secret = scene.secret_of("tuned");
    assert_eq!(scene.rotates(&secret).await, "tuned_clone");
    let settings =
        "SELECT string_agg(array_to_string(setconfig, '; '), '; ' ORDER BY setdatabase) FROM pg_db_role_setting
        WHERE setrole = 'tuned_clone'::regrole";
    let copied: String = scene.ask(settings).await;
    assert_eq!(copied, "role=tuned; work_mem=7MB; search_path=\"$user\", public, \"A, \"\"b\"\"\"");
    let logs = scene.lambda.logs().unwrap();
    let warning = logs.lines().find(|line| line.contains("SETTING_NOT_COPIED")).expect("no warning");
    assert!(warning.contains("log_statement") && warning.contains("set it as a superuser"), "{warning}");
    scene.ends();
}
