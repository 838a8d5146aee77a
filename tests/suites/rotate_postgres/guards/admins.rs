//! The admin: which secret it comes from, and what it must be allowed to do.

use crate::polling::eventually;
use crate::refusal::Refusal;
use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::ADMIN;
use serde_json::{Value, json};

pub(super) async fn stories(scene: &Scene) {
    an_admin_secret_that_is_none_is_refused(scene).await;
    a_secret_that_names_itself_as_its_admin_is_refused(scene).await;
    only_the_admins_an_operator_lists_are_used(scene).await;
    an_admin_that_cannot_log_in_is_reported_as_such(scene).await;
    an_admin_without_createrole_is_refused(scene).await;
    an_admin_without_admin_option_is_refused_where_it_is_needed(scene).await;
    an_rds_superuser_is_let_try(scene).await;
    restricted_password_commands_need_rds_password(scene).await;
    an_admin_is_judged_by_the_role_it_acts_as(scene).await;
    an_admin_secret_without_a_database_needs_no_rights_of_the_public(scene).await;
    a_user_with_every_connection_taken_is_rotated(scene).await;
    an_alias_is_for_test_secret_alone(scene).await;
}

/// By each of the ways in which PostgreSQL keeps a setting.
async fn an_admin_is_judged_by_the_role_it_acts_as(scene: &Scene) {
    scene.sql("CREATE ROLE dba NOLOGIN CREATEROLE").await;
    scene.sql("CREATE DATABASE desk").await;
    for (n, setting) in [
        "ALTER ROLE clerk0 SET role = 'dba'",
        "ALTER ROLE clerk1 IN DATABASE desk SET role = 'dba'; ALTER ROLE clerk1 SET role = 'postgres'",
        // One that has no effect does not hide the next.
        "ALTER ROLE clerk2 IN DATABASE desk SET role = 'postgres'; ALTER ROLE clerk2 SET role = 'dba'",
        "ALTER DATABASE desk SET role = 'dba'",
    ]
    .into_iter()
    .enumerate()
    {
        let (user, admin) = (format!("ward{n}"), format!("clerk{n}"));
        let arn = scene.admin(&admin, "IN ROLE dba").await;
        let mut credential = scene.value(&arn, "AWSCURRENT").unwrap();
        credential["dbname"] = json!("desk");
        let arn = scene.aws.secrets.create(&format!("{admin}-at-its-desk"), &credential.to_string()).unwrap();
        scene.sql(setting).await;
        scene.stranger(&user, "").await;
        scene.admit("dba", &user).await;
        let secret = scene.secret(&user, &under(scene, &arn, &user)).unwrap();
        assert_eq!(scene.rotates(&secret).await, format!("{user}_clone"));
        assert_eq!(scene.rotates(&secret).await, user);
    }
    // Nor is a role rotated that the admin is in effect.
    scene.login("dba_login", "").await;
    let arn = scene.admin("page", "CREATEROLE IN ROLE dba_login").await;
    scene.sql("ALTER ROLE page SET role = 'dba_login'").await;
    let secret = scene.secret("dba_login", &under(scene, &arn, "dba_login")).unwrap();
    scene.refuses(&secret, "dba_login_clone", Refusal("ADMIN_IS_TARGET", &["is, or acts as, one of the users"])).await;
}

/// PUBLIC may have lost CONNECT on `postgres`, as guides to harden a server say.
async fn an_admin_secret_without_a_database_needs_no_rights_of_the_public(scene: &Scene) {
    scene.sql("CREATE DATABASE walled").await;
    scene.sql("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC").await;
    let mut admin = scene.value(&scene.admin_arn, "AWSCURRENT").unwrap();
    admin.as_object_mut().unwrap().remove("dbname");
    let admin = scene.aws.secrets.create("admin-of-no-database", &admin.to_string()).unwrap();
    scene.login("inmate", "").await;
    let mut value = under(scene, &admin, "inmate");
    value["dbname"] = json!("walled");
    let secret = scene.secret("inmate", &value).unwrap();
    assert_eq!(scene.rotates(&secret).await, "inmate_clone");
    assert_eq!(scene.rotates(&secret).await, "inmate");
    scene.sql("GRANT CONNECT ON DATABASE postgres TO PUBLIC").await;
}

async fn a_user_with_every_connection_taken_is_rotated(scene: &Scene) {
    scene.login("crowded", "CONNECTION LIMIT 1").await;
    let first = scene.postgres.client("crowded", &scene.password, "postgres").await.unwrap();
    let secret = scene.secret_of("crowded");
    let rotates_to = async |user: &str| {
        let outcome = scene.rotate(&secret).await.unwrap();
        assert!(outcome.succeeded(), "{outcome}");
        let current = scene.value(&secret, "AWSCURRENT").unwrap();
        assert_eq!(current["username"], user);
        has_left(scene, user).await;
        scene.postgres.client(user, current["password"].as_str().unwrap(), "postgres").await.unwrap()
    };
    let second = rotates_to("crowded_clone").await;
    drop(first);
    has_left(scene, "crowded").await;
    drop(rotates_to("crowded").await);
    drop(second);
}

/// The server has noticed that each of the user's sessions is over.
async fn has_left(scene: &Scene, user: &str) {
    let query = "SELECT count(*) FROM pg_stat_activity WHERE usename = $1";
    let sessions = async || scene.superuser.query_one(query, &[&user]).await.unwrap().get::<_, i64>(0);
    eventually("the sessions are over", async || sessions().await == 0).await;
}

/// A replica may lag behind, and a pooler may not know the pending user.
async fn an_alias_is_for_test_secret_alone(scene: &Scene) {
    scene.login("reader", "").await;
    let aliases = format!("localhost:1=localhost:{}", scene.database_port());
    let function = scene.function("with-an-alias", &[("HOST_ALIASES", &aliases)]).await;
    let mut value = scene.of_user("reader");
    value["port"] = json!(1);
    let secret = scene.secret("reader", &value).unwrap();
    let token = scene.stage(&secret).unwrap();
    let step = async |step: &str| {
        function.invoke(json!({"Step": step, "SecretId": secret, "ClientRequestToken": token})).await.result
    };
    step("createSecret").await.unwrap();
    step("setSecret").await.unwrap();
    Refusal("DATABASE_UNREACHABLE", &["localhost:1 cannot be reached"]).is(step("testSecret").await, "testSecret");
}

/// A secret of `user` that another admin is to rotate.
fn under(scene: &Scene, admin: &str, user: &str) -> Value {
    let mut value = scene.of_user(user);
    value["masterarn"] = json!(admin);
    value
}

async fn an_admin_secret_that_is_none_is_refused(scene: &Scene) {
    scene.login("alone", "").await;
    let mut value = scene.of_user("alone");
    value.as_object_mut().unwrap().remove("masterarn");
    let secret = scene.secret("alone", &value).unwrap();
    let says = ["has no key \"masterarn\"", "{\"masterarn\": \"arn:aws:secretsmanager:...\"}"];
    scene.refuses(&secret, "alone_clone", Refusal("SECRET_KEY_MISSING", &says)).await;

    let secret = scene.secret("alone-2", &under(scene, "no-such-secret", "alone")).unwrap();
    let says = ["no-such-secret", "Correct masterarn, or store the admin's credential there"];
    scene.refuses(&secret, "alone_clone", Refusal("ADMIN_SECRET_MISSING", &says)).await;
}

async fn a_secret_that_names_itself_as_its_admin_is_refused(scene: &Scene) {
    scene.login("narcissus", "CREATEROLE").await;
    // The name finds the secret as well as the ARN does, and so does the ARN without its last seven characters.
    let of = |arn: &str| [arn.to_owned(), arn[..arn.len() - 7].to_owned(), "narcissus".to_owned()];
    let secret = scene.secret("narcissus", &under(scene, "narcissus", "narcissus")).unwrap();
    for itself in of(&secret) {
        let client = keyturn_tests::aws::secrets_client(&scene.aws.client_url());
        let text = under(scene, &itself, "narcissus").to_string();
        client.put_secret_value().secret_id(&secret).secret_string(text).send().await.unwrap();
        let says = ["names that secret itself", "the secret of an admin user"];
        scene.refuses(&secret, "narcissus_clone", Refusal("ADMIN_IS_ROTATED_SECRET", &says)).await;
    }
}

async fn only_the_admins_an_operator_lists_are_used(scene: &Scene) {
    scene.login("listed", "").await;
    let other = scene.admin("other_admin", "CREATEROLE").await;
    scene.admit("other_admin", "listed").await;
    let with_list = scene.function("with-list", &[("ADMIN_SECRET_ARNS", &scene.admin_arn)]).await;
    let step = async |secret: &str, token: &str, step: &str| {
        with_list.invoke(json!({"Step": step, "SecretId": secret, "ClientRequestToken": token})).await.result
    };
    let secret = scene.secret("listed", &under(scene, &other, "listed")).unwrap();
    let refusal = Refusal("ADMIN_NOT_ALLOWED", &[&other, "not among ADMIN_SECRET_ARNS", "add the ARN"]);
    let before = scene.roles().await;
    let token = scene.stage(&secret).unwrap();
    refusal.is(step(&secret, &token, "createSecret").await, "createSecret listed");
    assert_eq!(scene.aws.secrets.value(&secret, "AWSPENDING").unwrap(), None);
    let token = scene.pending(&secret, "listed_clone").await;
    refusal.is(step(&secret, &token, "setSecret").await, "setSecret listed");
    assert_eq!(scene.roles().await, before);
    assert_eq!(scene.logins_of("other_admin"), 0);

    // Without a list there is none: the value's writer would choose whose power is used.
    let function = scene.function("without-list", &[("ADMIN_SECRET_ARNS", "")]).await;
    let token = scene.stage(&secret).unwrap();
    let create = json!({"Step": "createSecret", "SecretId": secret, "ClientRequestToken": token});
    refusal.is(function.invoke(create).await.result, "createSecret without a list");

    let secret = scene.secret("listed-2", &scene.of_user("listed")).unwrap();
    scene.aws.secrets.set_rotation(&secret, &with_list.invoke_url()).unwrap();
    assert_eq!(scene.rotates(&secret).await, "listed_clone");
}

async fn an_admin_that_cannot_log_in_is_reported_as_such(scene: &Scene) {
    scene.login("served", "").await;
    let mut admin = scene.of_user(ADMIN);
    admin["password"] = json!("outdated");
    let admin = scene.aws.secrets.create("outdated-admin", &admin.to_string()).unwrap();
    let secret = scene.secret("served", &under(scene, &admin, "served")).unwrap();
    let says = ["\"rotation_admin\"", &admin, "does not log in"];
    scene.refuses_to_set(&secret, "served_clone", &Refusal("ADMIN_PASSWORD_REFUSED", &says)).await;

    let admin = scene.admin("not_there", "").await;
    scene.sql("DROP ROLE not_there").await;
    let secret = scene.secret("served-2", &under(scene, &admin, "served")).unwrap();
    let says = ["knows no role \"not_there\"", "Correct the admin secret"];
    scene.refuses_to_create(&secret, &Refusal("ADMIN_MISSING", &says)).await;
}

async fn an_admin_without_createrole_is_refused(scene: &Scene) {
    let admin = scene.admin("powerless", "").await;
    scene.login("subject", "").await;
    scene.admit("powerless", "subject").await;
    let secret = scene.secret("subject", &under(scene, &admin, "subject")).unwrap();
    let says = ["\"powerless\" has no CREATEROLE", "ALTER ROLE \"powerless\" CREATEROLE"];
    scene.refuses(&secret, "subject_clone", Refusal("ADMIN_LACKS_CREATEROLE", &says)).await;
    // What the message says helps.
    scene.sql(says[1]).await;
    let secret = scene.secret("subject-after", &under(scene, &admin, "subject")).unwrap();
    assert_eq!(scene.rotates(&secret).await, "subject_clone");
    assert_eq!(scene.rotates(&secret).await, "subject");
}

async fn an_admin_without_admin_option_is_refused_where_it_is_needed(scene: &Scene) {
    scene.stranger("made", "").await;
    if !scene.is_16_or_later() {
        let secret = scene.secret_of("made");
        assert_eq!(scene.rotates(&secret).await, "made_clone");
        return;
    }
    let secret = scene.secret_of("made");
    let on_base = format!("GRANT \"made\" TO \"{ADMIN}\" WITH ADMIN OPTION");
    scene.refuses(&secret, "made_clone", Refusal("ADMIN_LACKS_ADMIN_OPTION", &["on made, which", &on_base])).await;

    // The clone was made by another admin, too.
    scene.stranger("made_clone", "IN ROLE made").await;
    let on_twin = format!("GRANT \"made_clone\" TO \"{ADMIN}\" WITH ADMIN OPTION");
    scene
        .refuses(
            &secret,
            "made_clone",
            Refusal("ADMIN_LACKS_ADMIN_OPTION", &["made and made_clone", &on_base, &on_twin]),
        )
        .await;
    scene.sql(&on_base).await;
    scene
        .refuses(&secret, "made_clone", Refusal("ADMIN_LACKS_ADMIN_OPTION", &["on made_clone, which", &on_twin]))
        .await;

    // Through a group is as good.
    scene
        .sql(&format!(
            "CREATE ROLE admins NOLOGIN; GRANT made_clone TO admins WITH ADMIN OPTION; GRANT admins TO {ADMIN}"
        ))
        .await;
    let secret = scene.secret("made-after", &scene.of_user("made")).unwrap();
    assert_eq!(scene.rotates(&secret).await, "made_clone");
    assert_eq!(scene.rotates(&secret).await, "made");
}

/// RDS may allow it what a plain PostgreSQL does not: the statement itself decides.
async fn an_rds_superuser_is_let_try(scene: &Scene) {
    let admin = scene.admin("rds_admin", "IN ROLE rds_superuser").await;
    scene.login("hosted", "").await;
    let secret = scene.secret("hosted", &under(scene, &admin, "hosted")).unwrap();
    let token = scene.stage(&secret).unwrap();
    scene.step(&secret, &token, "createSecret").await.unwrap();
    let says = ["taking the rotation's lock", "(SQLSTATE 42501)", "CREATEROLE, and from PostgreSQL 16 on ADMIN OPTION"];
    scene.refuses_step(&secret, &token, "setSecret", &Refusal("ADMIN_LACKS_PRIVILEGE", &says)).await;
    let warned = scene.lambda.logs().unwrap().contains("GRANT \\\"hosted\\\" TO \\\"rds_admin\\\" WITH ADMIN OPTION");
    assert_eq!(warned, scene.is_16_or_later());
}

async fn restricted_password_commands_need_rds_password(scene: &Scene) {
    scene.login("bound", "").await;
    // On RDS the whole server has this setting. Here one database, which the admin works in too.
    scene.sql("CREATE DATABASE restricted").await;
    scene.sql("ALTER DATABASE restricted SET rds.restrict_password_commands = 'on'").await;
    let mut admin: Value = scene.value(&scene.admin_arn, "AWSCURRENT").unwrap();
    admin["dbname"] = json!("restricted");
    let admin = scene.aws.secrets.create("admin-restricted", &admin.to_string()).unwrap();
    let mut value = under(scene, &admin, "bound");
    value["dbname"] = json!("restricted");
    let secret = scene.secret("bound", &value).unwrap();
    let grant = format!("GRANT rds_password TO \"{ADMIN}\"");
    let says = ["rds.restrict_password_commands is on", &grant];
    scene.refuses(&secret, "bound_clone", Refusal("ADMIN_LACKS_RDS_PASSWORD", &says)).await;

    scene.sql(&grant).await;
    let secret = scene.secret("bound-after", &value).unwrap();
    assert_eq!(scene.rotates(&secret).await, "bound_clone");
    scene.sql(&format!("REVOKE rds_password FROM {ADMIN}")).await;
}
