//! Ledgers as they are stored: this format, the first one, and what a later version of Keyturn may write.

use super::*;
use serde_json::json;

fn okta(id: &str) -> OktaId {
    id.try_into().unwrap()
}

fn noon() -> DateTime<Utc> {
    "2031-05-06T12:00:00Z".parse().unwrap()
}

#[test]
fn the_first_format_is_read_as_one_state_a_person() {
    let row = |who: &str, source: &str, more: Value| {
        let mut row = json!({
            "okta_id": who, "source": source, "granted_at": noon(), "expires_at": noon() + TimeDelta::hours(2),
        });
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let text = json!({
        "group": "00g1", "confirmed_at": noon(), "gap": {"readings": 1, "last": noon()},
        "rows": [
            row("ann", "oncall", json!({"pagerduty_id": "P1", "shift_end": noon()})),
            row("ann", "manual", json!({"reason": "INC-42", "intended": true})),
            row("bob", "oncall", json!({"pagerduty_id": "P2", "intended": true})),
            row("cid", "adopted", json!({})),
            row("dan", "oncall", json!({"pagerduty_id": "P4"})),
        ],
        "holds": {"dan": {"until": noon()}, "fay": {}},
        "tolerated": ["eve"], "leaving": ["fay", "gus"], "told": {"bob": "grant"},
    });
    let ledger = Ledger::parse(&text.to_string()).unwrap();
    let until = noon() + TimeDelta::hours(2);
    let claim = |person: &str, shift_end| ShiftClaim { person: person.try_into().unwrap(), shift_end, until };
    let by_hand = Some(HandClaim { until, reason: "INC-42".to_owned() });
    let granted =
        |on_call, by_hand, shown| State::Granted(Granted { since: noon(), on_call: Some(on_call), by_hand, shown });
    let held = |until, out| State::Held(Hold { since: noon(), until, person: None, out, reason: String::new() });
    let leaving = Leaving { reason: Reason::OutOfBand, since: noon(), due: None };
    for (who, state) in [
        ("ann", granted(claim("P1", Some(noon())), by_hand, true)),
        ("bob", granted(claim("P2", None), None, false)),
        ("cid", State::Adopted { until }),
        ("dan", held(Some(noon()), true)),
        ("eve", State::Tolerated),
        ("fay", held(None, false)),
        ("gus", State::Leaving(leaving)),
    ] {
        assert_eq!(ledger.state(&okta(who)), Some(&state), "{who}");
    }
    assert_eq!((ledger.people.len(), ledger.serial, ledger.confirmed_at), (7, 0, Some(noon())));
}

#[test]
fn what_a_later_version_wrote_is_read_and_written_back() {
    let claim = json!({"person": "P1", "until": noon(), "team": "dba"});
    let text = json!({
        "format": 3, "group": "00g1", "serial": 7, "version": 4, "region": "eu",
        "gap": {"readings": 1, "last": noon(), "since": noon()},
        "people": {
            "ann": {"login": "ann", "state": "tolerated", "device": {"id": 1}},
            "bob": {"state": {"granted": {"since": noon(), "shown": true, "on_call": claim, "by": "rule"}}},
            "cid": {"state": {"borrowed": {"until": noon()}}},
            "dan": {"state": "sleeping"},
            "eve": {"state": "tolerated", "untold": [{"change": {"renamed": {"to": "eva"}}, "channels": ["slack"]}]},
        },
    });
    let mut ledger = Ledger::parse(&text.to_string()).unwrap();
    let written = |ledger: &Ledger| serde_json::from_str::<Value>(&ledger.text().unwrap()).unwrap();
    assert_eq!(written(&ledger), text);
    // The unknown keys of ann's record and of bob's state leave with them.
    ledger.people.remove(&okta("ann"));
    ledger.put(&okta("bob"), State::Tolerated);
    let mut rest = text.clone();
    rest["people"].as_object_mut().unwrap().remove("ann");
    rest["people"]["bob"] = json!({"state": "tolerated"});
    assert_eq!(written(&ledger), rest);
}

#[test]
fn a_reason_or_a_channel_of_a_later_version_makes_no_ledger_unreadable() {
    let leaving = json!({"leaving": {"reason": "bored", "since": noon()}});
    let untold = json!([{"change": {"revoked": {"reason": "bored"}}, "channels": ["pager", "slack"]}]);
    let text =
        json!({"format": 3, "group": "00g1", "serial": 7, "people": {"ann": {"state": leaving, "untold": untold}}});
    let ledger = Ledger::parse(&text.to_string()).unwrap();
    let leaving = Leaving { reason: Reason::Other, since: noon(), due: None };
    assert_eq!(ledger.state(&okta("ann")), Some(&State::Leaving(leaving)));
    assert!(ledger.people[&okta("ann")].untold[0].channels.contains(&Channel::Slack));
}

#[test]
fn what_is_no_ledger_is_refused() {
    for text in [
        "",
        "[]",
        "{}",
        r#"{"format": 2}"#,
        r#"{"format": 2, "group": "../x", "serial": 1}"#,
        r#"{"rows": []}"#,
        r#"{"format": 2, "group": "00g1", "serial": 1, "people": {"ann": {"state": "sleeping"}}}"#,
    ] {
        assert!(Ledger::parse(text).is_err(), "{text}");
    }
}

#[test]
fn somebody_who_left_is_forgotten_once_every_channel_was_told() {
    let mut ledger = Ledger::new("00g1".try_into().unwrap());
    let change = Change::Revoked { reason: Reason::Manual, due: None };
    let leaving = Leaving { reason: Reason::Manual, since: noon(), due: None };
    ledger.put(&okta("ann"), State::Leaving(leaving)).tell(change.clone());
    ledger.has_left(&okta("ann"), noon());
    assert_eq!(ledger.state(&okta("ann")), Some(&State::Left { at: noon() }));
    ledger.was_told(&okta("ann"), &change, &BTreeSet::from([Channel::Slack]));
    assert_eq!(ledger.people[&okta("ann")].untold[0].channels, BTreeSet::from([Channel::Slack]));
    ledger.was_told(&okta("ann"), &change, &BTreeSet::new());
    assert_eq!(ledger.state(&okta("ann")), None);
}

/// A parameter holds 8,192 bytes.
#[test]
fn a_group_may_have_150_members_from_before_and_20_who_leave_at_once() {
    let user = |n: usize| okta(&format!("00u{n:017}"));
    let size = |ledger: &Ledger| serde_json::to_string(ledger).unwrap().len();
    let mut ledger = Ledger::new("00g00000000000000001".try_into().unwrap());
    (0..150).for_each(|n| _ = ledger.put(&user(n), State::Tolerated));
    assert!(size(&ledger) < 8_192, "{}", size(&ledger));
    let mut ledger = Ledger::new("00g00000000000000001".try_into().unwrap());
    for n in 0..20 {
        let due = Some(noon());
        let person = ledger.put(&user(n), State::Leaving(Leaving { reason: Reason::OutOfBand, since: noon(), due }));
        person.login = format!("somebody.with.a.long.name{n}@example.com");
        person.email.clone_from(&person.login);
        person.tell(Change::Revoked { reason: Reason::OutOfBand, due });
    }
    assert!(size(&ledger) < 8_192, "{}", size(&ledger));
}

#[test]
fn a_channel_that_takes_nothing_does_not_fill_the_parameter() {
    let mut person = Person::new(State::Tolerated);
    for minute in 0..20 {
        person.tell(Change::Granted { why: "on call".to_owned(), until: Some(noon() + TimeDelta::minutes(minute)) });
    }
    assert_eq!(person.untold.len(), MOST_UNTOLD);
}

#[test]
fn a_grant_that_another_change_follows_is_told_although_the_last_one_is_not_done() {
    let mut ledger = Ledger::new("00g1".try_into().unwrap());
    let until = noon() + TimeDelta::hours(1);
    let by_hand = Some(HandClaim { until, reason: "INC-42".to_owned() });
    let granted = State::Granted(Granted { since: noon(), on_call: None, by_hand, shown: false });
    let change = |why: &str| Change::Granted { why: why.to_owned(), until: None };
    let person = ledger.put(&okta("ann"), granted);
    person.tell(change("on call"));
    person.tell(change("by hand"));
    let news: Vec<Change> = ledger.news(|_| false).into_iter().map(|(_, untold)| untold.change).collect();
    assert_eq!(news, [change("on call")]);
}

#[test]
fn a_ledger_that_only_confirms_what_it_said_is_told_from_one_that_says_something_new() {
    type New = fn(&mut Ledger);
    let mut old = Ledger::new("00g1".try_into().unwrap());
    (old.version, old.confirmed_at) = (1, Some(noon()));
    let claim = |until| ShiftClaim { person: "P1".try_into().unwrap(), shift_end: None, until };
    let granted =
        |until| State::Granted(Granted { since: noon(), on_call: Some(claim(until)), by_hand: None, shown: true });
    old.put(&okta("ann"), granted(noon() + TimeDelta::hours(2)));
    let mut next = old.clone();
    (next.serial, next.version, next.confirmed_at) = (7, 2, Some(noon() + TimeDelta::hours(1)));
    next.put(&okta("ann"), granted(noon() + TimeDelta::hours(3)));
    assert!(old.is_outdated_by(&next, TimeDelta::minutes(30)) && !old.is_outdated_by(&next, TimeDelta::MAX));
    let news: [(&str, New); 5] = [
        ("a gap", |next| next.gap = Some(Gap { readings: 1, last: noon() })),
        ("another name", |next| next.moved_to = Some("shop".try_into().unwrap())),
        ("an earlier version", |next| next.restored = true),
        ("a hold", |next| {
            let hold = Hold { since: noon(), until: None, person: None, out: true, reason: String::new() };
            next.put(&okta("bob"), State::Held(hold));
        }),
        ("an alert", |next| {
            let change = Change::Revoked { reason: Reason::Gap, due: None };
            next.put(&okta("cid"), State::Left { at: noon() }).tell(change);
        }),
    ];
    for (what, add) in news {
        let mut next = next.clone();
        add(&mut next);
        assert!(old.is_outdated_by(&next, TimeDelta::MAX), "{what}");
    }
    // The first format says no version: it is written anew in any case.
    old.version = 0;
    assert!(old.is_outdated_by(&old.clone(), TimeDelta::MAX));
}
