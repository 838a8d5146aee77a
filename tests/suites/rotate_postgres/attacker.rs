//! An application that knows one valid login of the server, may write any value into its secret, and owns a database.

use crate::rotate_postgres::scene::Scene;
use keyturn_tests::stacks::postgres::{ADMIN, Builder, Stack};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

/// The attacker's login is the first.
const NAMES: [&str; 9] =
    ["rogue", "rogue_clone", "victim", "victim_clone", "rogue_b", "house", "house_a", "postgres", ADMIN];

/// Tags of a secret, each with its value.
type Tags = &'static [(&'static str, &'static str)];

/// The tags of a secret as operators set them, rightly or not, and the users that it may then change.
const TAGS: [(Tags, &[&str]); 9] = [
    (&[], &["rogue", "rogue_clone"]),
    (&[("keyturn:username", "rogue")], &["rogue", "rogue_clone"]),
    (&[("keyturn:usernames", "rogue rogue_b")], &["rogue", "rogue_b"]),
    (&[("keyturn:usernames", "rogue rogue_c"), ("keyturn:owner", "rogue_home")], &["rogue", "rogue_c"]),
    (&[("keyturn:acts-as", "self")], &["rogue", "rogue_clone"]),
    (&[("keyturn:usernames", "rogue rogue_b"), ("keyturn:acts-as", "self")], &["rogue", "rogue_b"]),
    (&[("keyturn:adopt", "rogue_clone")], &["rogue", "rogue_clone"]),
    (&[("keyturn:owner", "rogue_home")], &[]),
    (&[("keyturn:usernames", "rogue"), ("keyturn:owner", "rogue_home")], &[]),
];

/// What the attacker changes in a value that would be right.
fn edits() -> impl Strategy<Value = Edits> {
    let name = || proptest::sample::select(&NAMES[..]).prop_map(|name| json!(name));
    let names = proptest::collection::vec(name(), 0..3).prop_map(Value::Array);
    let odd = proptest::sample::select(vec![json!(null), json!(1), json!({"username": "victim"}), json!("")]);
    let edit = prop_oneof![
        (Just("username"), name()),
        (Just("usernames"), prop_oneof![names, name(), odd.clone()]),
        (Just("owner"), prop_oneof![name(), odd]),
        (Just("dbname"), proptest::sample::select(vec![json!("den"), json!("postgres"), json!("nowhere")])),
        (Just("password"), Just(json!("guessed"))),
        (Just("masterarn"), proptest::sample::select(vec![json!("chief"), json!("rogues-own"), json!(null), json!(7)])),
        (Just("host"), proptest::sample::select(vec![json!("127.0.0.1"), json!("LOCALHOST."), json!("victim")])),
        (Just("port"), proptest::sample::select(vec![json!(1), json!("0"), json!(null), json!([5432])])),
        (Just("engine"), proptest::sample::select(vec![json!("mysql"), json!("aurora-postgresql"), json!(null)])),
        (Just("testQueries"), Just(json!(["ALTER ROLE victim PASSWORD 'x'", "COMMIT; ALTER ROLE victim SUPERUSER"]))),
        (Just("url"), name().prop_map(|name| json!(format!("postgres://{}:x@victim/x", name.as_str().unwrap())))),
        (Just("adopt"), name()),
        (Just("role"), name()),
    ];
    let somebody = (Just("username"), name()).prop_map(|edit| vec![edit]);
    prop_oneof![Just(Vec::new()), somebody, proptest::collection::vec(edit, 1..4)]
}

type Edits = Vec<(&'static str, Value)>;

/// An attack: changes of the current value, and of a pending value that the attacker puts; without the latter, the function
/// makes it.
type Attack = (Edits, Option<Edits>);

/// Everybody's name in every place, and then whatever else comes to mind.
fn attacks(random: usize) -> Vec<Attack> {
    // Other ones in each run: what fails tells the whole attack.
    let mut runner = TestRunner::new(Config { failure_persistence: None, ..Config::default() });
    let mut drawn = || edits().new_tree(&mut runner).unwrap().current();
    let named = |name: &str| vec![("username", json!(name))];
    let everybody = NAMES.iter().flat_map(|name| [(Vec::new(), Some(named(name))), (named(name), None)]);
    let mut attacks: Vec<Attack> = everybody.collect();
    for n in 0..random {
        let (current, pending) = (drawn(), drawn());
        attacks.push((current, (n % 2 == 0).then_some(pending)));
    }
    attacks
}

/// Everything about the roles that are nobody's business here, as the server keeps it.
async fn others(scene: &Scene, own: &[&str]) -> String {
    let own = own.iter().chain([&"nobody"]).map(|name| format!("'{name}'")).collect::<Vec<_>>().join(", ");
    let everything = format!(
        "SELECT string_agg(line, E'\\n' ORDER BY line) FROM (
            SELECT 'role ' || to_jsonb(a)::text FROM pg_authid a WHERE rolname NOT IN ({own})
            UNION ALL SELECT 'member ' || r.rolname || ' ' || m.rolname || ' ' || p.admin_option
                FROM pg_auth_members p JOIN pg_roles r ON r.oid = p.roleid JOIN pg_roles m ON m.oid = p.member
                WHERE m.rolname NOT IN ({own}, '{ADMIN}') OR r.rolname NOT IN ({own}, 'rogue_home')
            UNION ALL SELECT 'setting ' || coalesce(r.rolname, '') || ' ' || s.setconfig::text
                FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole WHERE coalesce(r.rolname, '') NOT IN ({own})
            UNION ALL SELECT 'comment ' || r.rolname || ' ' || d.description
                FROM pg_shdescription d JOIN pg_roles r ON r.oid = d.objoid WHERE r.rolname NOT IN ({own})
        ) AS everything (line)"
    );
    scene.ask(&everything).await
}

/// A server with the attacker and with others, who have their users, owners and groups.
async fn server(builder: Builder) -> Scene {
    let scene = Scene::of(builder).await;
    // An admin that the operator does not list, and a secret that the attacker made and tagged like one.
    scene.admin("chief", "SUPERUSER").await;
    scene.aws.secrets.create("rogues-own", &scene.of_user("chief").to_string()).unwrap();
    for name in ["rogue", "rogue_b", "victim"] {
        scene.login(name, "").await;
    }
    scene.login("victim_clone", "IN ROLE victim").await;
    scene.sql("CREATE ROLE house NOLOGIN; CREATE ROLE rogue_home NOLOGIN").await;
    scene.admit(ADMIN, "house").await;
    scene.admit(ADMIN, "rogue_home").await;
    scene.login("house_a", "IN ROLE house").await;
    scene.sql("ALTER ROLE house_a SET role = 'house'; ALTER ROLE victim SET work_mem = '5MB'").await;
    scene.sql("GRANT rogue_home TO rogue; ALTER ROLE rogue SET role = 'rogue_home'").await;
    scene.sql("CREATE DATABASE den OWNER rogue").await;
    // The attacker knows one password.
    for name in ["rogue_b", "victim", "victim_clone", "house_a"] {
        scene.sql(&format!("ALTER ROLE {name} PASSWORD 'of {name} alone'")).await;
    }
    if scene.postgres.major() < 15 {
        // What a login may do there by itself.
        let rogue = scene.postgres.client("rogue", &scene.password, "postgres").await.unwrap();
        rogue.batch_execute("RESET role; SET ROLE NONE; GRANT rogue TO victim, victim_clone, house_a").await.unwrap();
    }
    scene
}

async fn no_value_changes_anybody_else_on(major: u32) {
    let scene = server(Stack::builder(major).as_deployed()).await;
    let hash: String = scene.ask("SELECT rolpassword FROM pg_authid WHERE rolname = 'rogue'").await;
    let (mut tried, mut went_through) = (0, 0);
    let attacks = attacks(12);
    for (n, ((current, pending), (tags, own))) in attacks.iter().flat_map(|a| TAGS.map(|tags| (a, tags))).enumerate() {
        let before = others(&scene, own).await;
        let edited = |mut value: Value, edits: &[(&'static str, Value)]| {
            for (key, edit) in edits {
                value[*key] = edit.clone();
            }
            value
        };
        let secret = scene.secret(&format!("attack-{n}"), &edited(scene.of_user("rogue"), current)).unwrap();
        for (name, value) in tags {
            scene.aws.secrets.tag(&secret, name, value).unwrap();
        }
        let token = scene.stage(&secret).unwrap();
        if let Some(pending) = pending {
            let mut value = edited(edited(scene.of_user("rogue_clone"), current), pending);
            value["password"] = json!("known to the attacker");
            scene.put_pending(&secret, &token, &value).await;
        }
        let mut done = 0;
        for step in ["createSecret", "setSecret", "testSecret", "finishSecret"] {
            done += usize::from(scene.step(&secret, &token, step).await.is_ok());
            // Steps wait for a value that never comes.
            if scene.aws.secrets.value(&secret, "AWSPENDING").unwrap().is_none() {
                break;
            }
        }
        tried += 1;
        went_through += usize::from(done == 4);
        let after = others(&scene, own).await;
        let changed = before.lines().zip(after.lines()).find(|(before, after)| before != after);
        assert!(before == after, "tags {tags:?}, value {current:?}, pending {pending:?} changed {changed:?}");
        // As it was, for the next one.
        scene.sql(&format!("ALTER ROLE rogue PASSWORD '{hash}'; COMMENT ON ROLE rogue IS NULL")).await;
        scene
            .sql("COMMENT ON ROLE rogue_b IS NULL; DROP ROLE IF EXISTS rogue_clone; DROP ROLE IF EXISTS rogue_c")
            .await;
    }
    assert!(went_through > 0, "every attack was refused: nothing was tried");
    println!(
        "{tried} attacks on {major}: {went_through} were rotations of the attacker's own users, the rest was refused"
    );
    scene.ends();
}

#[tokio::test]
async fn no_value_of_a_secret_changes_any_other_role_on_14() {
    no_value_changes_anybody_else_on(14).await;
}

#[tokio::test]
async fn no_value_of_a_secret_changes_any_other_role_on_18() {
    no_value_changes_anybody_else_on(18).await;
}

/// The owner of a database may put functions, operators, casts, views and settings into it, and wait for the admin.
#[tokio::test]
async fn code_that_a_databases_owner_plants_there_is_never_run_by_the_admin() {
    for major in [13, 18] {
        let scene = server(Stack::builder(major)).await;
        let owner = scene.postgres.client("rogue", &scene.password, "den").await.unwrap();
        owner.batch_execute("SET ROLE NONE; CREATE SCHEMA trap; GRANT USAGE ON SCHEMA trap TO PUBLIC; CREATE TABLE trap.seen (who text)").await.unwrap();
        owner.batch_execute("GRANT INSERT ON trap.seen TO PUBLIC").await.unwrap();
        let tell = "INSERT INTO trap.seen VALUES (current_user)";
        let mut planted = Vec::new();
        for (name, arguments, gives, body) in [
            ("current_setting", "text", "text", "''"),
            ("current_setting", "text, boolean", "text", "''"),
            ("pg_is_in_recovery", "", "boolean", "false"),
            ("pg_has_role", "oid, oid, text", "boolean", "true"),
            ("shobj_description", "oid, name", "text", "''"),
            ("to_jsonb", "anyelement", "jsonb", "'{}'::jsonb"),
            ("rtrim", "text, text", "text", "''"),
            ("unnest", "text[]", "text", "''"),
            ("now", "", "timestamptz", "'2000-01-01'::timestamptz"),
            ("same", "name, text", "boolean", "true"),
            ("same", "text, text", "boolean", "true"),
            ("same", "oid, oid", "boolean", "true"),
        ] {
            planted.push(format!(
                "CREATE FUNCTION trap.{name}({arguments}) RETURNS {gives} LANGUAGE plpgsql AS $$ BEGIN {tell}; RETURN {body}; END $$"
            ));
        }
        for (left, right) in [("name", "text"), ("text", "text"), ("oid", "oid")] {
            planted
                .push(format!("CREATE OPERATOR trap.= (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = trap.same)"));
        }
        planted.push("CREATE VIEW trap.pg_roles AS SELECT 1 AS oid, trap.now()::text AS rolname".to_owned());
        planted.push("ALTER DATABASE den SET search_path = trap, pg_catalog".to_owned());
        planted.push("ALTER DATABASE den SET password_encryption = 'md5'".to_owned());
        if major >= 16 {
            // With this setting PostgreSQL makes the admin a member of each role that it creates, with SET and INHERIT.
            planted.push("ALTER DATABASE den SET createrole_self_grant = 'set, inherit'".to_owned());
        }
        for sql in &planted {
            owner.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e:?}"));
        }
        // The trap works.
        let tried = scene.postgres.client("victim", "of victim alone", "den").await.unwrap();
        tried.batch_execute("SELECT 'a'::text = 'b'::text").await.unwrap();
        let seen = async || -> Option<String> {
            let client = scene.postgres.client("rogue", &scene.password, "den").await.unwrap();
            client.batch_execute("SET ROLE NONE; SET search_path = pg_catalog").await.unwrap();
            let sql = "SELECT string_agg(DISTINCT who, ' ') FROM trap.seen";
            client.query_one(sql, &[]).await.unwrap().get(0)
        };
        assert_eq!(seen().await.as_deref(), Some("victim"));
        owner.batch_execute("DELETE FROM trap.seen").await.unwrap();

        // The admin works in that very database.
        let mut admin = scene.value(&scene.admin_arn, "AWSCURRENT").unwrap();
        admin["dbname"] = json!("den");
        let admin = scene.aws.secrets.create("admin-in-the-den", &admin.to_string()).unwrap();
        let mut value = scene.of_user("rogue");
        (value["dbname"], value["masterarn"]) = (json!("den"), json!(admin));
        let secret = scene.secret("den", &value).unwrap();
        let check = scene.lambda.invoke(json!({"action": "check", "secret": secret})).await.result.unwrap();
        assert_eq!(check["ready"], json!(true), "{check}");
        assert!(scene.rotate(&secret).await.unwrap().succeeded(), "{}", scene.lambda.logs().unwrap());
        assert_eq!(seen().await, None, "{major}: the owner's code has run");
        let hash: String = scene.ask("SELECT rolpassword FROM pg_authid WHERE rolname = 'rogue_clone'").await;
        assert!(hash.starts_with("SCRAM-SHA-256$"), "{major}: the owner has chosen the kind of hash");
        let is_member = format!("SELECT pg_has_role('{ADMIN}', 'rogue_clone', 'USAGE')");
        assert!(!scene.ask::<bool>(&is_member).await, "{major}: the owner has made the admin a member");
        scene.ends();
    }
}
