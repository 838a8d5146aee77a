//! What people read of a plan, and what is read of foreign text.

use super::*;
use crate::event::Event;
use proptest::prelude::*;

#[test]
fn a_handover_reads_like_this() {
    let mut world = World::new().on_call("ann", 60).shift("P-bob", "bob", Some(60), Some(120));
    world.tick();
    let lines = [
        "shop: group break-glass (00g1)",
        "  source: known, on call: P-bob",
        "  members: ann@example.com (ann)",
        "  revoke ann@example.com (ann): shift_ended since 2031-05-06T13:00:00Z",
        "  grant bob: on call as P-bob until 2031-05-06T14:00:00Z",
    ];
    assert_eq!(world.at(61).shown(), lines);
}

#[test]
fn an_outage_without_a_ledger_reads_like_this() {
    let lines = [
        "shop: group break-glass (00g1)",
        "  source: unknown: The other side does not answer. (PAGERDUTY_UNREACHABLE)",
        "  members: ann@example.com (ann)",
        "  note: there is no ledger yet, or it was lost; who is in the group is judged by \"adoption\"",
        "  nothing to change",
    ];
    assert_eq!(World::new().member("ann").no_ledger().outage().shown(), lines);
}

#[test]
fn a_shift_that_ends_while_nothing_can_be_read_reads_like_this() {
    let mut world = World::new().on_call("ann", 60);
    world.tick();
    let lines = [
        "shop: group break-glass (00g1)",
        "  source: unknown: The other side does not answer. (PAGERDUTY_UNREACHABLE)",
        "  members: unknown: The other side does not answer. (PAGERDUTY_UNREACHABLE)",
        "  revoke ann: shift_ended since 2031-05-06T13:00:00Z",
    ];
    assert_eq!(world.members_unknown().outage().at(60).shown(), lines);
}

#[test]
fn everything_that_does_not_mend_itself_reads_like_this() {
    let world = World::new().with(|b| b.out_of_band = Outsiders::Report).eligible(&["ann", "bob"]).member("eve");
    let world = world.on_call("ann", None).on_call("bob", 60).on_call("cid", 60).unresolved("dan");
    let lines = [
        "shop: group break-glass (00g1)",
        "  source: known, on call: P-ann, P-bob, P-cid, P-dan",
        "  members: eve@example.com (eve)",
        "  note: 3 on call and 2 to be granted is more than max_members or max_new_per_run allows; nobody is granted",
        "  note: P-cid is on call and gets nothing: not in the group of eligible people",
        "  note: P-dan is on call and gets nothing: no such user at Okta",
        "  note: eve is in the group without being on call, and stays",
        "  nothing to change",
    ];
    assert_eq!(world.shown(), lines);
}

#[test]
fn an_empty_group_reads_like_this() {
    let lines = [
        "shop: group break-glass (00g1)",
        "  source: known, nobody is on call",
        "  members: nobody",
        "  nothing to change",
    ];
    assert_eq!(World::new().shown(), lines);
}

/// Pieces of good documents in any order: nearly right is what breaks a parser.
fn json() -> impl Strategy<Value = String> {
    let piece = proptest::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "-1e400",
        "18446744073709551616",
        "\"\"",
        "\"\\ud800\"",
        "\"group\"",
        "\"00g1\"",
        "\"rows\"",
        "\"format\"",
        "\"people\"",
        "\"state\"",
        "\"granted\"",
        "\"okta_id\"",
        "\"source\"",
        "\"manual\"",
        "\"expires_at\"",
        "\"+262143-12-31T23:59:59Z\"",
        "\"holds\"",
        "\"until\"",
        "\"schedules\"",
        "\"okta_group\"",
        "\"group_name\"",
        "\"max_stale\"",
        "\"99999999999999years\"",
        "\"identities\"",
        "\"levels\"",
        "\"action\"",
        "\"grant\"",
        "\"minutes\"",
    ]);
    let pieces = proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat());
    prop_oneof![3 => pieces, 1 => any::<String>()]
}

/// A document of which one value was replaced by something else.
fn nearly(document: &'static str) -> impl Strategy<Value = String> {
    let keys = document.matches(": ").count();
    (0..keys, json()).prop_map(move |(key, foreign)| {
        let parts: Vec<&str> = document.split(": ").collect();
        let (before, after) = (parts[..=key].join(": "), parts[key + 1..].join(": "));
        let rest = after.find(", \"").map_or("}", |comma| &after[comma..]);
        format!("{before}: {foreign}{rest}")
    })
}

const LEDGER: &str =
    r#"{"format": 2, "group": "00g1", "serial": 7, "confirmed_at": "2031-05-06T12:00:00Z", "gap": null, "people": {}}"#;
const FIRST_LEDGER: &str =
    r#"{"group": "00g1", "confirmed_at": "2031-05-06T12:00:00Z", "gap": null, "tolerated": [], "leaving": []}"#;
const BINDING: &str = r#"{"schedules": ["S1"], "okta_group": "00g1", "group_name": "x", "max_stale": "2h", "post_shift": "1m", "keep": []}"#;
const EVENT: &str = r#"{"action": "grant", "binding": "shop", "user": "ann", "minutes": 60, "reason": "INC-42"}"#;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_text_is_read_or_refused(text in prop_oneof![json(), nearly(LEDGER), nearly(FIRST_LEDGER), nearly(BINDING), nearly(EVENT)]) {
        let _ = Ledger::parse(&text);
        let _ = Binding::parse("/keyturn/prod/oncall/shop", &text);
        let _ = Binding::parse(&text, BINDING);
        if let Ok(event) = serde_json::from_str(&text) {
            let _ = Event::parse(&event);
        }
    }
}

#[test]
fn the_documents_that_are_made_wrong_are_right_before() {
    Ledger::parse(LEDGER).unwrap();
    Ledger::parse(FIRST_LEDGER).unwrap();
    Binding::parse("shop", BINDING).unwrap();
    Event::parse(&serde_json::from_str(EVENT).unwrap()).unwrap();
}
