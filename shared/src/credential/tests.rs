//! What is read from a secret, what is refused, and which copies follow a change.

use super::*;

const WHAT: &str = "the current value (AWSCURRENT) of secret arn:aws:secretsmanager:eu-west-1:1:secret:app";

fn parse(text: &str) -> Result<Credential> {
    Credential::parse(text.into(), WHAT)
}

/// A secret with `members` after the two keys every secret must have.
fn secret(members: &str) -> String {
    format!(r#"{{"username":"app","password":"s3cr3t+Value",{members}}}"#)
}

fn code(text: &str) -> &'static str {
    let error = parse(text).unwrap_err();
    assert!(error.message().contains(WHAT), "{error}");
    assert!(!error.to_string().contains("s3cr3t"), "{error}");
    error.code()
}

/// The text after the user becomes `app_twin` with the password `n/ew "p@ss`.
fn turned(text: &str) -> String {
    let new = parse(text).unwrap().with("app_twin", &"n/ew \"p@ss".into()).unwrap();
    new.text().expose_secret().to_owned()
}

#[test]
fn reads_every_known_key() {
    let credential = parse(
        r#"{"engine":"postgres","host":"db.internal","port":"6432","username":"ap\u0070","password":"a\"b\\c","dbname":"sales",
            "ssl":"TRUE","masterarn":"arn:admin","dbInstanceIdentifier":"i","dbClusterIdentifier":null,
            "testQueries":["SELECT 1\n", "SELECT 2"],"extra":{"a":[1]}}"#,
    )
    .unwrap();
    assert_eq!(credential.engine(), Some("postgres"));
    assert_eq!(credential.host(), Some("db.internal"));
    assert_eq!(credential.port(), Some(6432));
    assert_eq!(credential.username(), "app");
    assert_eq!(credential.password().expose_secret(), "a\"b\\c");
    assert_eq!(credential.dbname(), Some("sales"));
    assert_eq!(credential.master_arn(), Some("arn:admin"));
    assert_eq!(credential.test_queries(), ["SELECT 1\n", "SELECT 2"]);
}

#[test]
fn reads_a_secret_of_username_and_password_alone() {
    let credential =
        parse(r#" { "password" : "p", "username" : "u", "host": null, "port": null, "dbname": "" } "#).unwrap();
    assert_eq!((credential.host(), credential.port(), credential.dbname()), (None, None, None));
    assert!(credential.test_queries().is_empty());
    assert!(credential.has("username").unwrap() && !credential.has("host").unwrap());
}

#[test]
fn ssl_is_nobodys_business_here_and_stays_as_it_is() {
    for value in ["true", "\"TRUE\"", "1", "\"verify-full\"", "{}", "[1.0]", "null", "\"app\"", "\"a\\nb\""] {
        let with_ssl = secret(&format!("\"ssl\": {value}"));
        assert!(turned(&with_ssl).contains(&format!("\"ssl\": {value}")), "{with_ssl}");
    }
}

#[test]
fn reads_a_port_in_any_number_form() {
    for (written, port) in [
        ("5432", 5432),
        ("5432.0", 5432),
        ("1e3", 1000),
        ("5.4320e+3", 5432),
        (r#""5432""#, 5432),
        (r#"" 1 ""#, 1),
        ("65535", 65535),
    ] {
        assert_eq!(parse(&secret(&format!(r#""port":{written}"#))).unwrap().port(), Some(port), "{written}");
    }
    for refused in
        ["0", "65536", "-1", "5432.5", "1e400", r#""""#, r#""5432.0""#, r#""db""#, "123456789012345678901234567890"]
    {
        assert_eq!(code(&secret(&format!(r#""port":{refused}"#))), "SECRET_KEY_INVALID", "{refused}");
    }
}

#[test]
fn refuses_what_is_not_one_json_object() {
    for text in [
        "",
        "s3cr3t",
        "{",
        r#"{"username":"u" "password":"s3cr3t"}"#,
        r#"{"password":"s3cr3t"} x"#,
        "\u{feff}{}",
        "{'a':1}",
    ] {
        assert_eq!(code(text), "SECRET_NOT_JSON", "{text}");
    }
    for text in [r#""s3cr3t""#, "[1]", "12", "true", "null"] {
        assert_eq!(code(text), "SECRET_NOT_OBJECT", "{text}");
    }
    let error = parse("{\n  \"username\": s3cr3t}").unwrap_err();
    assert!(error.message().ends_with("line 2, column 15."), "{error}");
}

#[test]
fn refuses_nesting_that_could_exhaust_the_stack() {
    let deep = |levels: usize| secret(&format!(r#""x":{}{}"#, "[".repeat(levels), "]".repeat(levels)));
    assert!(parse(&deep(100)).is_ok());
    assert_eq!(code(&deep(200)), "SECRET_NOT_JSON");
    assert_eq!(code(&deep(30_000)), "SECRET_NOT_JSON");
}

#[test]
fn refuses_a_key_that_is_there_twice() {
    assert_eq!(code(&secret(r#""host":"a","\u0068ost":"b""#)), "SECRET_KEY_DUPLICATE");
    let error = parse(&secret("\n\"s3cr3t\":1,\n\"s3cr3t\":2")).unwrap_err();
    assert!(error.message().ends_with("a key appears a second time, with a value at line 3, column 10."), "{error}");
    assert!(parse(&secret(r#""x":{"a":1,"a":2}"#)).is_ok(), "only the top object decides who logs in");
}

#[test]
fn refuses_known_keys_that_are_missing_or_of_another_type() {
    assert_eq!(code(r#"{"username":"u"}"#), "SECRET_KEY_MISSING");
    assert_eq!(code(r#"{"Username":"u","password":"s3cr3t"}"#), "SECRET_KEY_MISSING");
    for text in [
        r#"{"username":null,"password":"s3cr3t"}"#.to_owned(),
        r#"{"username":"u","password":["s3cr3t"]}"#.to_owned(),
        secret(r#""host":5"#),
        secret(r#""port":{}"#),
        secret(r#""port":true"#),
        secret(r#""dbname":false"#),
        secret(r#""masterarn":[]"#),
        secret(r#""testQueries":"SELECT 1""#),
    ] {
        assert_eq!(code(&text), "SECRET_KEY_WRONG_TYPE", "{text}");
    }
    let error = parse(&secret(r#""testQueries":["SELECT 1", null]"#)).unwrap_err();
    assert!(
        error.message().ends_with(r#"key "testQueries" must be an array of strings but is an array that holds null."#),
        "{error}"
    );
}

#[test]
fn refuses_values_no_database_or_log_can_take() {
    for text in [
        r#"{"username":"","password":"s3cr3t"}"#.to_owned(),
        r#"{"username":"u","password":""}"#.to_owned(),
        r#"{"username":"a\nb","password":"s3cr3t"}"#.to_owned(),
        r#"{"username":"u\ud800","password":"s3cr3t"}"#.to_owned(),
        r#"{"username":"u","password":"s3cr3t\u0000"}"#.to_owned(),
        secret(r#""host":"""#),
        secret(r#""host":"db\u0000""#),
        secret(r#""engine":"postgres\n""#),
        secret(r#""dbname":"a\u007f""#),
        secret(r#""masterarn":"a\u009b""#),
    ] {
        assert_eq!(code(&text), "SECRET_KEY_INVALID", "{text}");
    }
    assert!(parse(r#"{"username":"u","password":"tab\tand ü are fine"}"#).is_ok());
}

#[test]
fn debug_shows_no_secret() {
    let shown = format!("{:?}", parse(&secret(r#""host":"db","x":"hidden""#)).unwrap());
    assert!(shown.contains("\"db\"") && shown.contains("\"app\""), "{shown}");
    assert!(!shown.contains("s3cr3t") && !shown.contains("hidden"), "{shown}");
}

#[test]
fn changes_the_two_keys_and_no_other_byte() {
    let text = "\n{ \"port\" : 5432.0,\t\"n\":[1e3, 123456789012345678901234567890, -0.0, \"\\u00fc\\/\"],\n \
                \"password\":\t\"s3cr3t\" , \"username\":\"\\u0061pp\",\"a\":{\"z\":null,\"a\":true},\"half\":\"\\ud800\"}\n";
    let expected = text.replace("\"s3cr3t\"", r#""n/ew \"p@ss""#).replace("\"\\u0061pp\"", "\"app_twin\"");
    assert_eq!(turned(text), expected);
}

#[test]
fn changes_copies_under_keys_that_say_what_they_are() {
    for (before, after) in [
        (r#""PGUSER":"app","PGPASSWORD":"s3cr3t+Value""#, r#""PGUSER":"app_twin","PGPASSWORD":"n/ew \"p@ss""#),
        (
            r#""db":[{"user_name":"app","db-passwd":"s3cr3t+Value"}]"#,
            r#""db":[{"user_name":"app_twin","db-passwd":"n/ew \"p@ss"}]"#,
        ),
        (
            r#""spring.datasource.login":"app","pwd":"s3cr3t+Value""#,
            r#""spring.datasource.login":"app_twin","pwd":"n/ew \"p@ss""#,
        ),
        (
            r#""x":{"url":"postgres://app:s3cr3t%2BValue@h/d"}"#,
            r#""x":{"url":"postgres://app_twin:n%2Few%20%22p%40ss@h/d"}"#,
        ),
        (r#""urls":["postgres://app@h/d"]"#, r#""urls":["postgres://app_twin@h/d"]"#),
        (r#""dsn":"host=h user=app password=s3cr3t+Value""#, r#""dsn":"host=h user=app_twin password='n/ew \"p@ss'""#),
        (r#""u":"postgres:\/\/app:s3cr3t+Value@h\/d""#, r#""u":"postgres://app_twin:n%2Few%20%22p%40ss@h/d""#),
    ] {
        assert_eq!(
            turned(&secret(before)),
            secret(after)
                .replace("\"app\",\"password\":\"s3cr3t+Value\"", "\"app_twin\",\"password\":\"n/ew \\\"p@ss\"")
        );
    }
}

#[test]
fn leaves_everything_else_alone() {
    for kept in [
        r#""host":"app","dbname":"app","engine":"app","owner":"app","masterarn":"app","usernames":["app","app_twin"]"#,
        r#""testQueries":["user=app"],"dbInstanceIdentifier":"app""#,
        r#""smtp_user":"app","smtp_password":"theirs","redis":{"username":"app","password":"theirs"}"#,
        r#""user":"other","password2":"s3cr3t+Value","passwords":["s3cr3t+Value"],"users":["app"]"#,
        r#""user":"s3cr3t+Value","pwd":"app","note":"app","hint":"s3cr3t+Value""#,
        r#""url":"postgres://admin:s3cr3t+Value@h/d","dsn":"user=admin password=s3cr3t+Value""#,
        r#""user":["app"],"password_file":"s3cr3t+Value","user\u0000":1"#,
    ] {
        let after = turned(&secret(kept));
        assert!(after.ends_with(&format!(",{kept}}}")), "{after}");
    }
}

#[test]
fn keeps_the_text_when_nothing_changes() {
    let text = secret(r#""url":"postgres://app:s3cr3t%2BValue@h/d" , "pw":"""#);
    let credential = parse(&text).unwrap();
    let same = credential.with("app", credential.password()).unwrap();
    assert_eq!(same.text().expose_secret(), text);
}

#[test]
fn refuses_to_write_what_it_would_not_read() {
    let credential = parse(&secret(r#""host":"db""#)).unwrap();
    for (username, password) in [("", "p"), ("a\nb", "p"), ("a", ""), ("a", "s3cr3t\0")] {
        let error = credential.with(username, &password.into()).unwrap_err();
        assert_eq!(error.code(), "SECRET_KEY_INVALID");
        assert!(error.message().contains("the new value made from the current value"), "{error}");
    }
}

/// What MongoDB's secrets look like in the field.
fn mongo(username: Option<&str>) -> Shape {
    Shape {
        usernames: &["username", "mongoUser"],
        passwords: &["password", "mongoPassword"],
        hosts: &["host", "mongoHostname", "clusterUrl"],
        username: username.map(str::to_owned),
    }
}

#[test]
fn a_secret_of_another_shape_comes_back_key_for_key() {
    for (before, after) in [
        (r#"{"password":"old"}"#, r#"{"password":"new"}"#),
        (
            r#"{ "mongoHostname" : "h", "mongoUser":"app" , "mongoPassword":"old","n":1.0}"#,
            r#"{ "mongoHostname" : "h", "mongoUser":"app" , "mongoPassword":"new","n":1.0}"#,
        ),
        (
            r#"{"username":"app","password":"old","clusterUrl":"mongodb+srv://c0.ab.mongodb.net/","databaseName":"app","groupId":"1"}"#,
            r#"{"username":"app","password":"new","clusterUrl":"mongodb+srv://c0.ab.mongodb.net/","databaseName":"app","groupId":"1"}"#,
        ),
        (
            r#"{"username":"app","password":"old","clusterUrl":"mongodb+srv://app:stale@c0.ab.mongodb.net/x?w=1","MONGODB_URI":"mongodb://app:stale@c0.ab.mongodb.net:27017/"}"#,
            r#"{"username":"app","password":"new","clusterUrl":"mongodb+srv://app:new@c0.ab.mongodb.net/x?w=1","MONGODB_URI":"mongodb://app:new@c0.ab.mongodb.net:27017/"}"#,
        ),
    ] {
        let credential = Credential::parse_as(mongo(Some("app")), before.into(), "it").unwrap();
        assert_eq!(credential.username(), "app");
        assert_eq!(credential.with("app", &"new".into()).unwrap().text().expose_secret(), after);
    }
}

#[test]
fn the_user_may_change_only_where_the_secret_names_it() {
    let named =
        Credential::parse_as(mongo(Some("tagged")), r#"{"mongoUser":"app","mongoPassword":"old"}"#.into(), "it")
            .unwrap();
    assert!(named.holds_username());
    let turned = named.with("app_clone", &"new".into()).unwrap();
    assert_eq!(turned.text().expose_secret(), r#"{"mongoUser":"app_clone","mongoPassword":"new"}"#);
    let bare = Credential::parse_as(mongo(Some("tagged")), r#"{"password":"old"}"#.into(), "it").unwrap();
    assert_eq!((bare.username(), bare.holds_username()), ("tagged", false));
    let nameless = Credential::parse_as(mongo(None), r#"{"password":"old"}"#.into(), "it").unwrap_err();
    assert_eq!(nameless.code(), "SECRET_KEY_MISSING");
    assert!(nameless.message().contains("\"username\""), "{nameless}");
}

#[test]
fn a_name_of_the_teams_own_is_read_strictly() {
    let credential = parse(&secret(r#""groupId":"abc","port2":1,"bad":"a\nb""#)).unwrap();
    assert_eq!(credential.name("groupId").unwrap().as_deref(), Some("abc"));
    assert_eq!(credential.name("none").unwrap(), None);
    assert_eq!(credential.name("port2").unwrap_err().code(), "SECRET_KEY_WRONG_TYPE");
    assert_eq!(credential.name("bad").unwrap_err().code(), "SECRET_KEY_INVALID");
}

#[test]
fn the_host_of_an_address_is_found_however_it_is_written() {
    for (address, host) in [
        ("h", "h"),
        ("h:1", "h"),
        ("mongodb+srv://c0.ab.mongodb.net", "c0.ab.mongodb.net"),
        ("mongodb://app:p@h1:1,h2:2/d?x=1", "h1"),
        ("::1", "::1"),
        ("[::1]:27017", "::1"),
    ] {
        assert_eq!(url::bare_host(address), host, "{address}");
    }
}

#[test]
fn an_edit_since_the_pending_value_was_made_is_found() {
    let current = r#"{"username":"app","password":"old","host":"db","n":1.50,"url":"postgres://app:old@db/d","a":[{"pwd":"old"}],"masterarn":"arn:1"}"#;
    let edited = |pending: &str| {
        let current = parse(current).unwrap();
        current.edited_since(&parse(pending).unwrap()).unwrap()
    };
    let made = parse(current).unwrap().with("app_twin", &"new".into()).unwrap();
    assert_eq!(edited(made.text().expose_secret()), None);
    // As AWS's function writes it: another order and spacing, other forms of numbers, copies left alone.
    let rewritten = r#"{"masterarn": "arn:1", "a": [{"pwd": "old"}], "url": "postgres://app:old@db/d", "n": 1.5, "host": "db", "password": "new", "username": "app_twin"}"#;
    assert_eq!(edited(rewritten), None);
    for (change, says) in [
        (("arn:1", "arn:2"), "key \"masterarn\" differs"),
        (("\"db\"", "\"other\""), "key \"host\" differs"),
        (("1.5", "2"), "another key than the credential's differs"),
        (("app:old@db", "app:old@elsewhere"), "another key"),
        (("\"n\": 1.5, ", ""), "another key"),
        (("\"n\": 1.5", "\"n\": 1.5, \"s3cr3t\": 1"), "another key"),
        (("\"host\": \"db\", ", ""), "key \"host\" differs"),
        (("[{\"pwd\": \"old\"}]", "[]"), "another key"),
    ] {
        let found = edited(&rewritten.replace(change.0, change.1)).unwrap_or_default();
        assert!(found.starts_with(says) && !found.contains("s3cr3t"), "{change:?}: {found}");
    }
}
