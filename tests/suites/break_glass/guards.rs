//! What an admin lacks, and an access that could lengthen its own life: refused by name before anything is made, and named by
//! the check in advance.

use keyturn_tests::aws::parameters_client;
use keyturn_tests::stacks::break_glass::{ADMIN, CONFIG_PATH, Stack};
use serde_json::{Value, json};

/// What is wrong (`{admin}` and `{access}` stand for the roles), the code, a piece of the remedy, and the versions.
const CASES: [(&str, &str, &str, std::ops::RangeInclusive<u32>); 14] = [
    ("ALTER ROLE {admin} NOCREATEROLE", "ADMIN_LACKS_PRIVILEGE", "CREATEROLE", 13..=18),
    ("REVOKE {access} FROM {admin}", "ADMIN_LACKS_PRIVILEGE", "GRANT \"shop_admin\" TO", 13..=18),
    ("REVOKE ADMIN OPTION FOR {access} FROM {admin}", "ADMIN_LACKS_PRIVILEGE", "ADMIN TRUE", 16..=18),
    ("REVOKE SET OPTION FOR {access} FROM {admin}", "ADMIN_LACKS_PRIVILEGE", "As this admin", 16..=18),
    ("ALTER DATABASE shop RENAME TO elsewhere", "DATABASE_NOT_FOUND", "dbname", 13..=18),
    ("REVOKE CONNECT ON DATABASE shop FROM PUBLIC, {access}", "ADMIN_LACKS_PRIVILEGE", "GRANT CONNECT", 13..=18),
    ("ALTER ROLE {access} RENAME TO elsewhere", "ACCESS_MISSING", "CREATE ROLE", 13..=18),
    ("ALTER ROLE {access} CREATEROLE", "ACCESS_TOO_POWERFUL", "allow_power", 13..=18),
    ("CREATE ROLE boss NOLOGIN SUPERUSER; GRANT boss TO {access}", "ACCESS_TOO_POWERFUL", "allow_power", 13..=18),
    ("ALTER ROLE {access} LOGIN", "ACCESS_TOO_POWERFUL", "LOGIN", 13..=18),
    ("GRANT pg_signal_backend TO {access}", "ACCESS_TOO_POWERFUL", "allow_power", 13..=18),
    (
        "GRANT pg_write_server_files TO {access} WITH INHERIT TRUE, SET FALSE",
        "ACCESS_TOO_POWERFUL",
        "allow_power",
        16..=18,
    ),
    ("REVOKE pg_signal_backend FROM {admin}", "ADMIN_LACKS_PRIVILEGE", "GRANT pg_signal_backend", 13..=15),
    ("GRANT pg_execute_server_program TO {access}", "ACCESS_TOO_POWERFUL", "allow_power", 13..=18),
];

#[tokio::test]
async fn what_the_admin_lacks_is_named_before_anything_is_made() {
    for major in [13, 15, 16, 18] {
        for (sql, code, remedy, majors) in CASES {
            if !majors.contains(&major) {
                continue;
            }
            let stack = Stack::start(major).await.unwrap();
            // The admin still gets in where PUBLIC does not.
            stack.postgres().execute(&format!("GRANT CONNECT ON DATABASE shop TO {ADMIN}")).await.unwrap();
            stack.grant("ann", 60);
            let sql = sql.replace("{admin}", ADMIN).replace("{access}", "shop_admin");
            stack.postgres().execute(&sql).await.unwrap();
            let answer = stack.open("ann", "shop", 5).await.unwrap();
            assert_eq!((answer.status, answer.code()), (503, code), "{major}: {sql}: {answer:?}");
            assert!(answer.text("remedy").contains(remedy), "{major}: {sql}: {answer:?}");
            assert_eq!((stack.roles().await.unwrap(), stack.records()), (vec![], vec![]), "{major}: {sql}");
            let checked = stack.event("ops", &json!({"action": "check"})).await.unwrap();
            assert!(checked["healthy"] == false && checked.to_string().contains(code), "{major}: {sql}: {checked}");
        }
    }
}

#[tokio::test]
async fn a_document_may_allow_power_and_its_logins_end_all_the_same() {
    for major in [13, 18] {
        let stack = Stack::builder(major).start().await.unwrap();
        stack.database("shop", &json!({"allow_power": true})).await.unwrap();
        stack.postgres().execute("ALTER ROLE shop_admin CREATEROLE").await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 5).await.unwrap();
        assert_eq!(answer.status, 200, "{major}: {answer:?}");
        let session = stack.log_in(&answer).await.unwrap();
        let login = answer.text("username");
        let lengthened = session.batch_execute(&format!("ALTER ROLE \"{login}\" VALID UNTIL 'infinity'")).await.is_ok();
        assert_eq!(lengthened, major < 16, "{major}: from 16 on it takes ADMIN OPTION as well");
        let _ = session.batch_execute(&format!("COMMENT ON ROLE \"{login}\" IS NULL")).await;
        stack.minutes_later(6);
        assert_eq!(stack.sweep().await.unwrap()["closed"], json!([login]), "{major}");
    }
}

#[tokio::test]
async fn the_check_finds_nothing_wrong_where_a_login_can_be_made_and_makes_none() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    let checked = stack.event("ops", &json!({"action": "check"})).await.unwrap();
    assert_eq!(checked["healthy"], true, "{checked}");
    assert_eq!(checked["checks"].as_array().unwrap().len(), 2, "{checked}");
    assert_eq!((stack.roles().await.unwrap(), stack.records()), (vec![], vec![Value::Null; 0]));
    stack.aws.parameters.put("/keyturn/test/databases/odd", "{}");
    let check = async || stack.event("ops", &json!({"action": "check"})).await.unwrap();
    let checked = check().await;
    assert!(checked["healthy"] == false && checked.to_string().contains("DOCUMENT_INVALID"), "{checked}");
    // What nobody may open, and nothing at all.
    let parameters = parameters_client(&stack.aws.client_url());
    let delete = async |name: &str| {
        parameters.delete_parameter().name(format!("{CONFIG_PATH}/{name}")).send().await.unwrap();
    };
    delete("odd").await;
    stack.database("store", &json!({"permission_sets": ["DBAs"]})).await.unwrap();
    let checked = check().await;
    assert!(checked["healthy"] == false && checked.to_string().contains("nobody may open it"), "{checked}");
    for name in ["shop", "store"] {
        delete(name).await;
    }
    let checked = check().await;
    assert!(checked["healthy"] == false && checked.to_string().contains("There is no document below"), "{checked}");
}

#[tokio::test]
async fn the_admin_secret_of_another_server_is_refused() {
    let stack = Stack::start(18).await.unwrap();
    stack.grant("ann", 60);
    let text = stack.aws.secrets.value(stack.admin_arn(), "AWSCURRENT").unwrap().unwrap();
    let mut admin: Value = serde_json::from_str(&text).unwrap();
    admin["host"] = "db.example.com".into();
    let arn = stack.aws.secrets.create("another", &admin.to_string()).unwrap();
    stack.database("store", &json!({"admin_secret": arn})).await.unwrap();
    assert_eq!(stack.open("ann", "store", 5).await.unwrap().code(), "ADMIN_OF_ANOTHER_SERVER");
}

#[tokio::test]
async fn what_is_said_to_read_only_cannot_write() {
    let stack = Stack::start(16).await.unwrap();
    stack.database("reports", &json!({"read_only": true, "bindings": null})).await.unwrap();
    let postgres = stack.postgres();
    postgres.execute_in("reports", "CREATE TABLE sales (id int)").await.unwrap();
    assert_eq!(stack.open("zoe", "reports", 5).await.unwrap().status, 200);
    let sql = "CREATE SEQUENCE numbers; CREATE ROLE writer; GRANT INSERT ON sales TO writer";
    postgres.execute_in("reports", sql).await.unwrap();
    let to_act_as = "writer TO reports_admin WITH INHERIT FALSE, SET TRUE";
    for (grant, revoke, what) in [
        ("UPDATE (id) ON sales TO reports_admin", "UPDATE (id) ON sales FROM reports_admin", "sales"),
        ("INSERT ON sales TO reports_admin", "INSERT ON sales FROM reports_admin", "sales"),
        ("TRIGGER ON sales TO reports_admin", "TRIGGER ON sales FROM reports_admin", "sales"),
        ("USAGE ON SEQUENCE numbers TO reports_admin", "USAGE ON SEQUENCE numbers FROM reports_admin", "numbers"),
        (to_act_as, "writer FROM reports_admin", "as \"writer\""),
    ] {
        postgres.execute_in("reports", &format!("GRANT {grant}")).await.unwrap();
        let refused = stack.open("zoe", "reports", 5).await.unwrap();
        assert_eq!(refused.code(), "ACCESS_TOO_POWERFUL", "{grant}: {refused:?}");
        assert!(refused.text("message").contains(what), "{grant}: {refused:?}");
        postgres.execute_in("reports", &format!("REVOKE {revoke}")).await.unwrap();
    }
    assert_eq!(stack.open("zoe", "reports", 5).await.unwrap().status, 200);
}

#[tokio::test]
async fn of_two_admins_that_act_as_one_role_each_ends_what_the_other_has_made() {
    for major in [13, 15, 16, 18] {
        let stack = Stack::builder(major).start().await.unwrap();
        let server = stack.postgres();
        server.execute("CREATE ROLE admins NOLOGIN CREATEROLE").await.unwrap();
        let mut secrets = Vec::new();
        for login in ["admin_blue", "admin_green"] {
            let password = server.make_login(login, "").await.unwrap();
            server.execute(&format!("GRANT admins TO {login}; ALTER ROLE {login} SET role = admins")).await.unwrap();
            let value = json!({"username": login, "password": password});
            secrets.push(stack.aws.secrets.create(login, &value.to_string()).unwrap());
        }
        stack.database("shop", &json!({"admin_secret": secrets[0]})).await.unwrap();
        let grants = if major >= 16 {
            "GRANT shop_admin TO admins WITH ADMIN TRUE, INHERIT TRUE, SET TRUE"
        } else {
            "GRANT shop_admin, pg_signal_backend TO admins"
        };
        server.execute(grants).await.unwrap();
        stack.grant("ann", 60);
        let answer = stack.open("ann", "shop", 5).await.unwrap();
        assert_eq!(answer.status, 200, "{major}: {answer:?}");
        let session = stack.log_in(&answer).await.unwrap();
        session.batch_execute("CREATE TABLE made_by_ann (id int)").await.unwrap();

        // The rotation turns.
        let documents = stack.aws.parameters.below(CONFIG_PATH);
        let (_, document) = documents.first().unwrap();
        let mut document: Value = serde_json::from_str(document).unwrap();
        document["admin_secret"] = secrets[1].as_str().into();
        stack.document("shop", &document);
        stack.minutes_later(6);
        let swept = stack.sweep().await.unwrap();
        assert_eq!(swept["closed"], json!([answer.text("username")]), "{major}: {swept}");
        assert_eq!(stack.roles().await.unwrap(), [""; 0], "{major}");
        assert!(session.batch_execute("SELECT 1").await.is_err(), "{major}: the session goes on");
    }
}
