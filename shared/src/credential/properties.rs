//! Laws of [`Credential`], on documents made up at random: a document is a form with blanks for the credential, so what
//! `with` must give is the same form filled in with the new one.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::*;

/// A piece of a document: fixed text, or a blank.
#[derive(Clone, Debug)]
enum Piece {
    Fixed(String),
    Json(Blank),
    Escaped(Blank),
}

#[derive(Clone, Copy, Debug)]
enum Blank {
    Username,
    Password,
}

fn fill(form: &[Piece], username: &str, password: &str) -> String {
    let value = |blank: &Blank| match blank {
        Blank::Username => username,
        Blank::Password => password,
    };
    form.iter()
        .map(|piece| match piece {
            Piece::Fixed(text) => text.clone(),
            Piece::Json(blank) => serde_json::to_string(value(blank)).unwrap(),
            Piece::Escaped(blank) => {
                let escaped = utf8_percent_encode(value(blank), NON_ALPHANUMERIC).to_string();
                escaped.replace("%2D", "-").replace("%5F", "_").replace("%2E", ".").replace("%7E", "~")
            }
        })
        .collect()
}

fn fixed(text: impl Into<String>) -> Piece {
    Piece::Fixed(text.into())
}

/// A value that has nothing to do with the credential, in the forms people and programs write them.
fn foreign() -> BoxedStrategy<Vec<Piece>> {
    let atoms = select(vec![
        "5432",
        "5432.0",
        "1e3",
        "-0.0",
        "123456789012345678901234567890",
        "1E-400",
        "true",
        "null",
        "[ ]",
        "{\t}",
        r#""\u00fc\/\ud83d\ude00""#,
        r#""\ud800""#,
        r#""a=b c""#,
        r#""http://example.org/?q=@""#,
        r#""postgres://other:pw@h/d""#,
    ])
    .prop_map(|atom| vec![fixed(atom)]);
    let noise =
        "[^\u{0}-\u{1f}]{0,12}".prop_map(|text| vec![fixed(serde_json::to_string(&format!("noise {text}")).unwrap())]);
    prop_oneof![atoms, noise].boxed()
}

/// A member that repeats the credential.
fn copy() -> impl Strategy<Value = Vec<Piece>> {
    use Blank::{Password, Username};
    let url = |before: &str, middle: &str, after: &str| {
        vec![fixed(before), Piece::Escaped(Username), fixed(middle), Piece::Escaped(Password), fixed(after)]
    };
    select(vec![
        vec![fixed(r#""DB_USER" : "#), Piece::Json(Username)],
        vec![fixed("\"loginPassword\":\n"), Piece::Json(Password)],
        vec![fixed(r#""user":"postgres://"#), Piece::Escaped(Username), fixed(r#"@h/d""#)],
        url(r#""url":"postgresql://"#, ":", r#"@DB.Example.org:5432/a%20b?sslmode=require#x""#),
        url(r#""MONGODB_URI":"mongodb+srv://"#, ":", r#"@h1.example.org,h2/?w=majority""#),
        url(r#""uri":"mongodb://"#, ":", r#"@[::1]:27017,h2:27018/db@1""#),
        url(r#""j":"jdbc:postgresql://h:5432/d?ssl=true&user="#, "&password=", r#"&x=%41""#),
        url(r#""k":"jdbc:postgresql:d?user="#, "&password=", "\""),
    ])
}

/// One value or a nest of them, with copies among them.
fn value() -> BoxedStrategy<Vec<Piece>> {
    foreign()
        .prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                vec(inner.clone(), 0..4).prop_map(|values| enclose("[", values, "]")),
                (vec((key(), inner), 0..3), vec(copy(), 0..3)).prop_map(|(members, copies)| {
                    let members =
                        members.into_iter().map(|(key, value)| [vec![fixed(format!("{key}: "))], value].concat());
                    enclose("{", members.chain(copies).collect(), "\n}")
                }),
            ]
        })
        .boxed()
}

fn key() -> impl Strategy<Value = String> {
    "[a-zäé\"\\\\ .-]{0,6}".prop_map(|name| serde_json::to_string(&format!("k{name}")).unwrap())
}

fn enclose(open: &str, parts: Vec<Vec<Piece>>, close: &str) -> Vec<Piece> {
    let mut form = vec![fixed(open)];
    for (index, part) in parts.into_iter().enumerate() {
        form.push(fixed(if index == 0 { " " } else { " ,\n" }));
        form.extend(part);
    }
    form.push(fixed(close));
    form
}

/// A whole secret: the two keys somewhere among the others.
fn secret() -> impl Strategy<Value = Vec<Piece>> {
    let members = vec(value(), 0..6).prop_map(|values| {
        let numbered = values.into_iter().enumerate();
        numbered.map(|(n, value)| [vec![fixed(format!("\"x{n}\":"))], value].concat()).collect::<Vec<_>>()
    });
    let own = Just(vec![
        vec![fixed(r#""username":"#), Piece::Json(Blank::Username)],
        vec![fixed("\"password\" :\t"), Piece::Json(Blank::Password)],
        vec![fixed(r#""port":5432.0"#)],
    ]);
    (members, own)
        .prop_map(|(members, own)| [members, own].concat())
        .prop_shuffle()
        .prop_map(|all| enclose(" {", all, "} "))
}

/// Names as databases allow them, up to 64 bytes.
fn username() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9_]{0,62}",
        "[A-Za-z ü\"'%@:/?#&=+.~]{1,20}",
        Just("üser \"x' %41".to_owned()),
        Just("ab".repeat(32)),
        "[^\\p{C}]{1,12}",
    ]
}

fn password() -> impl Strategy<Value = String> {
    prop_oneof!["[A-Za-z0-9_.~-]{32}", "[ -~]{1,40}", "[^\u{0}]{1,12}"]
}

fn parse(text: &str) -> Credential {
    Credential::parse(text.into(), "the value").unwrap()
}

/// The document without the values that may change.
fn skeleton(value: &Value) -> Value {
    match value {
        Value::Object(members) => members.iter().map(|(key, value)| (key.clone(), skeleton(value))).collect(),
        Value::Array(values) => values.iter().map(skeleton).collect(),
        Value::String(_) => Value::String(String::new()),
        other => other.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_change_fills_the_blanks_and_changes_nothing_else(
        form in secret(), old in (username(), password()), new in (username(), password()),
    ) {
        let before = fill(&form, &old.0, &old.1);
        let turned = parse(&before).with(&new.0, &new.1.as_str().into()).unwrap();
        prop_assert_eq!(turned.text().expose_secret(), &fill(&form, &new.0, &new.1));
        prop_assert_eq!(turned.username(), &new.0);
        prop_assert_eq!(turned.password().expose_secret(), &new.1);
        prop_assert_eq!(turned.port(), Some(5432));
        if let (Ok(one), Ok(other)) = (serde_json::from_str(&before), serde_json::from_str(turned.text().expose_secret())) {
            prop_assert_eq!(skeleton(&one), skeleton(&other));
        }

        let back = turned.with(&old.0, &old.1.as_str().into()).unwrap();
        prop_assert_eq!(back.text().expose_secret(), &before);
    }

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        let _ = Credential::parse(text.into(), "the value");
    }

    #[test]
    fn any_damage_to_a_secret_is_read_or_refused_without_a_word_of_it(
        form in secret(), at in any::<prop::sample::Index>(), damage in "[\\[\\]{}\",:\\\\ue0-9-]{0,3}",
    ) {
        let mut text = fill(&form, "someone", "s3cr3t-of-someone");
        let at = text.floor_char_boundary(at.index(text.len()));
        text.insert_str(at, &damage);
        match Credential::parse(text.into(), "the value") {
            Ok(credential) => { let _ = credential.with("another", &"new".into()); }
            Err(error) => prop_assert!(!error.to_string().contains("s3cr3t"), "{}", error),
        }
    }

    #[test]
    fn any_string_survives_the_search_for_copies(
        text in prop_oneof![
            "(jdbc:)?[a-z+]{0,4}(://)?(app|b|ü)?[app:@/?#%&=,\\[\\]0-9u ]{0,24}(user=app&password=)?.{0,4}",
            "((user|password|host) ?= ?['\\\\a-p ü]{0,8} ?){0,4}",
        ],
    ) {
        let secret = serde_json::json!({"username": "app", "password": "p@:/", "x": text}).to_string();
        let turned = parse(&secret).with("ü b", &"n?w".into()).unwrap();
        let back = turned.with("app", &"p@:/".into()).unwrap();
        prop_assert_eq!(back.username(), "app");
    }
}
