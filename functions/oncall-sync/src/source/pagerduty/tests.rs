//! What is read from PagerDuty's answers, and above all what is refused; and its secret.

use super::*;
use crate::source::shift::{Email, Part, Shift, Who};
use chrono::{DateTime, Utc};
use keyturn::clock::Clock;
use keyturn::http::{Base, client};
use oncalls::{Filter, Reading};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::json;

fn at(time: &str) -> DateTime<Utc> {
    format!("2026-06-01T{time}:00Z").parse().unwrap()
}

fn id<T: TryFrom<&'static str, Error: std::fmt::Debug>>(text: &'static str) -> T {
    T::try_from(text).unwrap()
}

fn person(user: &'static str, name: Option<&str>, email: Email) -> Who {
    Who::Person { id: id(user), name: name.map(str::to_owned), email }
}

/// The answer with the value at `place` replaced, or, for `None`, its last key removed.
fn changed(mut answer: Value, place: &str, value: Option<Value>) -> Value {
    let (parent, key) = place.rsplit_once('/').unwrap();
    let parent = answer.pointer_mut(parent).unwrap();
    match value {
        Some(value) => parent[key] = value,
        None => drop(parent.as_object_mut().unwrap().remove(key)),
    }
    answer
}

fn layers() -> Value {
    json!({"schedule": {
        "id": "PSCHED1", "type": "schedule", "name": "Databases", "users": [{"id": "PNOTHIM", "type": "user_reference"}],
        "final_schedule": {
            "name": "Final Schedule",
            "rendered_schedule_entries": [{
                "start": "2026-06-01T10:00:00+02:00", "end": "2026-06-01T18:00:00+02:00",
                "user": {"id": "PANA001", "type": "user_reference", "summary": "Ana"},
            }],
            "rendered_coverage_percentage": 33.3,
        },
    }})
}

const ENTRIES: &str = "/schedule/final_schedule/rendered_schedule_entries";

fn read(version: Version, answer: Value) -> std::result::Result<Option<Vec<Shift>>, String> {
    match version.read(answer, &id("PSCHED1"))? {
        Found::Here(parts) => Ok(Some(parts.shifts.into_iter().map(|(_, shift)| shift).collect())),
        Found::Upgraded | Found::Nowhere | Found::Forbidden(_) | Found::Unsaid => Ok(None),
    }
}

#[test]
fn a_layer_based_schedule_is_read_with_its_offsets() {
    let ana = person("PANA001", Some("Ana"), Email::NotSaid);
    let shift = Shift { who: ana, start: Some(at("08:00")), end: Some(at("16:00")) };
    assert_eq!(read(Version::Layers, layers()), Ok(Some(vec![shift])));
}

#[test]
fn a_layer_based_schedule_without_anybody_is_known_to_be_a_gap() {
    let empty = changed(layers(), ENTRIES, Some(json!([])));
    let empty = changed(empty, "/schedule/final_schedule/rendered_coverage_percentage", Some(json!(0.0)));
    assert_eq!(read(Version::Layers, empty), Ok(Some(Vec::new())));
}

#[test]
fn a_layer_based_schedule_that_says_nothing_of_its_coverage_is_known_where_it_names_somebody() {
    const COVERAGE: &str = "/schedule/final_schedule/rendered_coverage_percentage";
    for coverage in [None, Some(json!(null))] {
        let answer = changed(layers(), COVERAGE, coverage);
        assert_eq!(read(Version::Layers, answer.clone()), read(Version::Layers, layers()));
        let empty = Version::Layers.read(changed(answer, ENTRIES, Some(json!([]))), &id("PSCHED1"));
        assert!(matches!(empty, Ok(Found::Unsaid)));
    }
}

#[test]
fn an_entry_of_a_layer_whose_end_is_null_does_not_end() {
    let endless = changed(layers(), &format!("{ENTRIES}/0/end"), Some(json!(null)));
    let shifts = read(Version::Layers, endless).unwrap().unwrap();
    assert_eq!((shifts[0].start, shifts[0].end), (Some(at("08:00")), None));
}

#[test]
fn whoever_is_null_or_deleted_is_nobody() {
    for user in [
        json!(null),
        json!({"id": "PANA001", "type": "user_reference", "summary": "Ana", "deleted_at": "2026-05-01T00:00:00Z"}),
    ] {
        let answer = changed(layers(), &format!("{ENTRIES}/0/user"), Some(user));
        let shifts = read(Version::Layers, answer).unwrap().unwrap();
        assert_eq!(shifts[0].who, Who::Nobody);
    }
}

#[test]
fn an_upgraded_schedule_is_left_to_the_other_api() {
    let upgraded = changed(layers(), "/schedule/type", Some(json!("schedule_v3")));
    assert_eq!(read(Version::Layers, changed(upgraded, "/schedule/final_schedule", None)), Ok(None));
}

#[test]
fn a_layer_based_schedule_of_another_shape_is_strange() {
    let entry = |rest: &str| format!("{ENTRIES}/0/{rest}");
    for (place, value) in [
        ("/schedule".to_owned(), None),
        ("/schedule/id".to_owned(), Some(json!("POTHER1"))),
        ("/schedule/type".to_owned(), Some(json!("escalation_policy"))),
        ("/schedule/final_schedule".to_owned(), None),
        ("/schedule/final_schedule".to_owned(), Some(json!(null))),
        ("/schedule/final_schedule/rendered_coverage_percentage".to_owned(), Some(json!("all"))),
        (ENTRIES.to_owned(), None),
        (ENTRIES.to_owned(), Some(json!(null))),
        (ENTRIES.to_owned(), Some(json!([]))),
        (entry("user"), None),
        (entry("user"), Some(json!({"type": "user_reference"}))),
        (entry("user"), Some(json!({"id": "../users", "type": "user_reference"}))),
        (entry("user/type"), Some(json!("team_reference"))),
        (entry("user/type"), None),
        (entry("start"), None),
        (entry("start"), Some(json!("2026-06-01T10:00:00"))),
        (entry("end"), None),
        (entry("end"), Some(json!("soon"))),
        (entry("end"), Some(json!("2026-06-01T09:59:59+02:00"))),
    ] {
        let why =
            read(Version::Layers, changed(layers(), &place, value.clone())).expect_err(&format!("{place} {value:?}"));
        assert!(!why.contains("soon") && !why.contains("../"), "it quotes the answer: {why}");
    }
}

fn shifts() -> Value {
    json!({"schedule": {
        "id": "PSCHED1", "type": "schedule_v3", "rotations": [],
        "final_schedule": {
            "type": "final_schedule",
            "rendered_coverage_percentage": 50,
            "computed_shift_assignments": [
                {
                    "type": "computed_shift_assignment", "member": {"type": "user_member", "user_id": "PANA001"},
                    "start_time": "2026-06-01T08:00:00Z", "end_time": "2026-06-01T16:00:00Z",
                    "source": {"type": "schedule_rotation", "rotation_id": "R"},
                },
                {
                    "type": "computed_shift_assignment", "member": {"type": "empty_member"},
                    "start_time": "2026-06-01T16:00:00Z", "end_time": "2026-06-02T08:00:00Z",
                },
            ],
        },
    }})
}

#[test]
fn a_shift_based_schedule_is_read_with_its_empty_shifts() {
    let read = read(Version::Shifts, shifts()).unwrap().unwrap();
    assert_eq!(read[0].who, person("PANA001", None, Email::NotSaid));
    assert_eq!((read[0].start, read[0].end), (Some(at("08:00")), Some(at("16:00"))));
    assert_eq!(read[1].who, Who::Nobody);
    assert_eq!(read.len(), 2);
}

#[test]
fn a_shift_based_schedule_of_another_shape_is_strange() {
    let list = "/schedule/final_schedule/computed_shift_assignments";
    let first = |rest: &str| format!("{list}/0/{rest}");
    for (place, value) in [
        ("/schedule/id".to_owned(), None),
        ("/schedule/type".to_owned(), Some(json!("schedule_v4"))),
        ("/schedule/final_schedule".to_owned(), None),
        ("/schedule/final_schedule/rendered_coverage_percentage".to_owned(), None),
        ("/schedule/final_schedule/rendered_coverage_percentage".to_owned(), Some(json!(null))),
        (list.to_owned(), None),
        (list.to_owned(), Some(json!([]))),
        (first("member"), None),
        (first("member"), Some(json!(null))),
        (first("member/type"), Some(json!("team_member"))),
        (first("member/user_id"), None),
        (first("member/user_id"), Some(json!(null))),
        (first("start_time"), None),
        (first("end_time"), Some(json!("2026-06-01T07:00:00Z"))),
    ] {
        assert!(read(Version::Shifts, changed(shifts(), &place, value.clone())).is_err(), "{place} {value:?}");
    }
}

fn oncall(user: &Value, policy: &str, level: u32) -> Value {
    json!({
        "user": user, "escalation_policy": {"id": policy, "type": "escalation_policy_reference"},
        "escalation_level": level, "schedule": null, "start": null, "end": null,
    })
}

/// The same through a schedule.
fn scheduled(user: &Value, schedule: &str, level: u32) -> Value {
    let schedule = json!({"id": schedule, "type": "schedule_v3_reference"});
    changed(oncall(user, "PPOL001", level), "/schedule", Some(schedule))
}

fn ana() -> Value {
    json!({"id": "PANA001", "type": "user", "summary": "Ana", "email": "ana@example.com"})
}

fn page(oncalls: &[Value], offset: usize, more: bool) -> Value {
    json!({"oncalls": oncalls, "limit": 100, "offset": offset, "more": more, "total": null})
}

#[test]
fn a_policy_is_read_to_its_last_page_with_all_its_levels() {
    let ben = json!({"id": "PBEN001", "type": "user", "summary": "Ben", "email": null});
    let mut reading = Reading::new(Filter::Policies);
    reading.take(page(&[oncall(&ana(), "PPOL001", 1), oncall(&ana(), "POTHER1", 1)], 0, true)).unwrap();
    assert_eq!(reading.next_offset, Some(2));
    reading.take(page(&[oncall(&ben, "PPOL001", 2), oncall(&ana(), "PPOL001", 3)], 2, false)).unwrap();
    assert_eq!(reading.next_offset, None);
    let whole = |who| Shift { who, start: None, end: None };
    let ana = person("PANA001", Some("Ana"), Email::Known("ana@example.com".to_owned()));
    assert_eq!(
        reading.entries("PPOL001").unwrap(),
        [(1, whole(ana.clone())), (2, whole(person("PBEN001", Some("Ben"), Email::Without))), (3, whole(ana)),]
    );
    assert_eq!(reading.entries("PNOBODY"), Ok(Vec::new()));
}

#[test]
fn a_page_that_leads_nowhere_is_strange() {
    let reading = || Reading::new(Filter::Policies);
    let one = || vec![oncall(&ana(), "PPOL001", 1)];
    assert!(reading().take(page(&[], 0, true)).is_err(), "an empty page with more to come");
    let mut again = reading();
    again.take(page(&one(), 0, true)).unwrap();
    assert!(again.take(page(&one(), 0, true)).is_err(), "the first page again");
    for (is_last, whether) in [(true, Ok(())), (false, Err("too many pages".to_owned()))] {
        let mut long = reading();
        for offset in 0..9 {
            long.take(page(&one(), offset, true)).unwrap();
        }
        assert_eq!(
            long.take(page(&one(), 9, !is_last)),
            whether,
            "the tenth page, and whether it is the last: {is_last}"
        );
    }
}

#[test]
fn a_page_of_another_shape_is_strange() {
    for (place, value) in [
        ("/oncalls", None),
        ("/oncalls", Some(json!(null))),
        ("/more", None),
        ("/offset", None),
        ("/oncalls/0/schedule", None),
        ("/oncalls/0/schedule", Some(json!({"type": "schedule_reference"}))),
        ("/oncalls/0/escalation_policy", None),
        ("/oncalls/0/escalation_policy", Some(json!(null))),
    ] {
        let answer = changed(page(&[oncall(&ana(), "PPOL001", 1)], 0, false), place, value.clone());
        for (filter, needless) in [(Filter::Policies, "schedule"), (Filter::Schedules, "escalation_policy")] {
            let is_strange = Reading::new(filter).take(answer.clone()).is_err();
            assert_eq!(is_strange, !place.ends_with(needless), "{filter:?} {place} {value:?}");
        }
    }
}

#[test]
fn a_strange_entry_spoils_what_is_known_of_its_own_id_only() {
    for (place, value) in [
        ("/oncalls/0/user", None),
        ("/oncalls/0/user/type", Some(json!("schedule"))),
        ("/oncalls/0/escalation_level", None),
        ("/oncalls/0/escalation_level", Some(json!(-1))),
        ("/oncalls/0/start", None),
        ("/oncalls/0/end", None),
        ("/oncalls/0/end", Some(json!("never"))),
    ] {
        let entries =
            [scheduled(&ana(), "PSCHED1", 1), scheduled(&ana(), "PSCHED1", 2), scheduled(&ana(), "POTHER1", 1)];
        let mut reading = Reading::new(Filter::Schedules);
        reading.take(changed(page(&entries, 0, false), place, value.clone())).unwrap();
        assert!(reading.entries("PSCHED1").is_err(), "{place} {value:?}");
        assert_eq!(reading.entries("POTHER1").unwrap().len(), 1, "{place} {value:?}");
    }
}

#[test]
fn who_is_on_a_policy_directly_is_on_no_schedule() {
    let mut reading = Reading::new(Filter::Schedules);
    reading.take(page(&[oncall(&ana(), "PPOL001", 1), scheduled(&ana(), "PSCHED1", 2)], 0, false)).unwrap();
    assert_eq!(reading.next_offset, None);
    assert_eq!(reading.entries("PSCHED1").unwrap().len(), 1);
    assert_eq!(reading.entries("PPOL001"), Ok(Vec::new()));
}

#[test]
fn a_shift_counts_once_however_many_policies_call_its_schedule() {
    let shift = |end| Shift { who: person("PANA001", None, Email::Without), start: None, end: Some(at(end)) };
    let levels = vec![(1, shift("09:00")), (2, shift("09:00")), (1, shift("10:00")), (3, shift("09:00"))];
    let shifts = ["09:00", "10:00"].map(|end| (Part::NotSaid, shift(end)));
    assert_eq!(batch::each_once(levels).shifts, shifts);
}

#[test]
fn many_ids_are_asked_for_in_urls_below_two_kilobytes() {
    for filter in [Filter::Schedules, Filter::Policies] {
        for (length, least) in [(7, 25), (14, 25), (64, 15)] {
            let all: Vec<String> = (0..200).map(|n| format!("{n:P>length$}")).collect();
            let ids: Vec<&str> = all.iter().map(String::as_str).collect();
            let chunks: Vec<_> = filter.chunks(&ids).collect();
            assert_eq!(chunks.concat(), ids);
            assert!(chunks[0].len() >= least, "{filter:?} {length}: {}", chunks[0].len());
            for chunk in chunks {
                let asked = format!("{:?}", filter.call(chunk, at("08:00"), at("09:00"), 1900).request);
                assert!(asked.len() < 2048, "{}", asked.len());
            }
        }
    }
}

#[test]
fn an_email_address_is_that_of_the_asked_user() {
    let read = |user: Value| shape::read_email(json!({"user": user}), &id("PANA001"));
    assert_eq!(read(ana()), Ok(Some("ana@example.com".to_owned())));
    for (place, value, expected) in [
        ("/email", Some(json!(null)), Ok(None)),
        ("/email", Some(json!(" ")), Ok(None)),
        ("/deleted_at", Some(json!("2026-05-01T00:00:00Z")), Ok(None)),
        ("/email", None, Err(())),
        ("/id", Some(json!("PBEN001")), Err(())),
        ("/email", Some(json!(["ana@example.com"])), Err(())),
    ] {
        assert_eq!(read(changed(ana(), place, value.clone())).map_err(|_| ()), expected, "{place} {value:?}");
    }
}

#[test]
fn requests_ask_for_whole_shifts_in_a_window() {
    let (now, until) = (at("08:00"), at("09:00"));
    let asked = |call: Call| format!("{:?}", call.request);
    let schedule = id("PSCHED1");
    assert_eq!(
        asked(Version::Layers.call(&schedule, now, until)),
        "Request(GET, \"/schedules/PSCHED1?since=2026-06-01T08%3A00%3A00Z&until=2026-06-01T09%3A00%3A00Z&overflow=true&include%5B%5D=final_schedule\")"
    );
    assert_eq!(
        asked(Version::Shifts.call(&schedule, now, until)),
        "Request(GET, \"/v3/schedules/PSCHED1?since=2026-06-01T08%3A00%3A00Z&until=2026-06-01T09%3A00%3A00Z&overflow=true&include%5B%5D=final_schedule\")"
    );
}

fn parse(secret: &str) -> keyturn::Result<Account> {
    let clock = Clock::of(|| "2026-06-01T08:00:00Z".parse().unwrap());
    let places = Places { api: Base::parse("http://127.0.0.1:4000").ok(), identity: None };
    Account::parse(&SecretString::from(secret), &places, &client().unwrap(), &clock)
}

#[test]
fn a_secret_is_a_key_or_an_app() {
    for secret in [
        r#"{"token":"hush"}"#,
        r#"{"token":"hush","region":"eu"}"#,
        r#"{"client_id":"c","client_secret":"hush","subdomain":"acme-1","region":"us"}"#,
    ] {
        assert!(parse(secret).is_ok(), "{secret}");
    }
}

#[test]
fn a_secret_of_another_shape_is_refused_by_its_key() {
    for (secret, names) in [
        ("hush", "no JSON object"),
        (r#"["hush"]"#, "no JSON object"),
        ("{}", "neither \"token\" nor"),
        (r#"{"token":""}"#, "\"token\" is no text, or empty"),
        (r#"{"token":7}"#, "\"token\" is no text"),
        (r#"{"token":"hush\n"}"#, "\"token\" holds"),
        (r#"{"token":"hush","region":"mars"}"#, "\"region\" is neither"),
        (r#"{"token":"hush","subdomain":"acme"}"#, "\"subdomain\" is not a key"),
        (r#"{"token":"hush","client_secret":"hush"}"#, "\"client_secret\" is not a key"),
        (r#"{"client_id":"c","client_secret":"hush","region":"us"}"#, "\"subdomain\" is missing"),
        (r#"{"client_id":"c","client_secret":"hush","subdomain":"acme"}"#, "nor \"region\""),
        (r#"{"client_id":"c","subdomain":"acme","region":"us"}"#, "\"client_secret\" is missing"),
        (
            r#"{"client_id":"c","client_secret":"hush","subdomain":"a users.write","region":"us"}"#,
            "\"subdomain\" holds",
        ),
    ] {
        let error = parse(secret).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), "PAGERDUTY_SECRET_INVALID");
        assert!(error.message().contains(names), "{secret}: {error}");
        assert!(!error.to_string().contains("hush") && !error.to_string().contains("mars"), "{error}");
    }
}

/// JSON of any kind, with PagerDuty's keys in it now and then.
fn any_json() -> impl Strategy<Value = Value> {
    let keys = "schedule|final_schedule|rendered_schedule_entries|computed_shift_assignments|oncalls|user|id|type|start|member|[a-z]{0,4}";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "schedule|schedule_v3|user|user_member|PSCHED1|2026-06-01T08:00:00Z|\\PC{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(keys, inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn read_as_everything(answer: &Value) {
    drop(read(Version::Layers, answer.clone()));
    drop(read(Version::Shifts, answer.clone()));
    for filter in [Filter::Policies, Filter::Schedules] {
        let mut reading = Reading::new(filter);
        drop(reading.take(answer.clone()));
        drop(["PPOL001", "PSCHED1"].map(|id| reading.entries(id)));
    }
    drop(shape::read_email(answer.clone(), &id("PANA001")));
    drop(shape::check_users(answer.clone()));
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(answer in any_json()) {
        read_as_everything(&answer);
    }

    #[test]
    fn no_change_of_a_good_answer_makes_it_panic(place in 0_usize..64, value in any_json()) {
        for good in [layers(), shifts(), page(&[oncall(&ana(), "PPOL001", 1)], 0, false), json!({"user": ana()})] {
            let mut answer = good;
            let mut left = place;
            replace_nth(&mut answer, &mut left, &value);
            read_as_everything(&answer);
        }
    }

    #[test]
    fn no_secret_makes_it_panic(secret in "\\PC{0,60}|[{\"}:a-z,]{0,40}") {
        drop(parse(&secret));
    }
}

/// Replaces the n-th value of a document, counted from the outside.
fn replace_nth(document: &mut Value, left: &mut usize, value: &Value) {
    if *left == 0 {
        document.clone_from(value);
        *left = usize::MAX;
        return;
    }
    *left -= 1;
    match document {
        Value::Array(items) => items.iter_mut().for_each(|item| replace_nth(item, left, value)),
        Value::Object(fields) => fields.values_mut().for_each(|field| replace_nth(field, left, value)),
        _ => {}
    }
}
