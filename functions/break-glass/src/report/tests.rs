use super::Findings;
use super::holding::{Begin, End, GroupLedger, Holding, Period, Source, What, holdings};
use super::line::{Line, Said};
use super::power::{Holders, Known, Power, Tie};
use crate::login::{Record, State, Why};
use crate::systems::Holder;
use chrono::{DateTime, TimeDelta, Utc};
use keyturn::ledger::Ledger;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

const ANN: &str = "bg_ann_corp.example_202611101200_abcdef";

/// Hours after the beginning of the period, which lasts a hundred.
fn hour(hours: i64) -> DateTime<Utc> {
    "2026-11-10T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hours)
}

fn period() -> Period {
    Period { since: hour(0), until: hour(100), now: hour(100) }
}

fn group() -> What {
    What::Group { binding: "shop".to_owned(), group: "00g1".to_owned() }
}

fn line(hours: i64, said: Said) -> Line {
    Line { at: hour(hours), said }
}

fn intended(hours: i64, until: i64, why: &str) -> Line {
    let [binding, group, user] = ["shop", "00g1", "00u1"].map(str::to_owned);
    line(hours, Said::GrantIntended { binding, group, user, until: hour(until).to_rfc3339(), why: why.to_owned() })
}

fn granted(hours: i64) -> Line {
    let [binding, group, user, login] = ["shop", "00g1", "00u1", "ann@corp.example"].map(str::to_owned);
    line(hours, Said::Granted { binding, group, user, login })
}

fn revoked(hours: i64, reason: &str) -> Line {
    let [binding, group, user, reason] = ["shop", "00g1", "00u1", reason].map(str::to_owned);
    line(hours, Said::Revoked { binding, group, user, login: String::new(), reason, overstay_s: 0 })
}

fn opened(hours: i64) -> Line {
    let [database, login, person, reason] = ["orders", ANN, "ann@corp.example", "INC-42"].map(str::to_owned);
    line(hours, Said::Opened { database, login, person, reason, until: hour(hours + 1) })
}

fn closed(hours: i64, opened: i64) -> Line {
    let [database, login, person, reason, why] =
        ["orders", ANN, "ann@corp.example", "INC-42", "closed"].map(str::to_owned);
    let [opened_at, until, closed_at] = [opened, opened + 1, hours].map(hour);
    line(hours, Said::Closed { database, login, person, reason, why, opened_at, until, closed_at })
}

/// A ledger of the group in which Ann is in this state.
fn ledger(state: &Value) -> BTreeMap<String, GroupLedger> {
    let ann = json!({"login": "ann@corp.example", "state": state});
    let text = json!({"format": 2, "group": "00g1", "serial": 3, "version": 7, "people": {"00u1": ann}}).to_string();
    let ledger = GroupLedger { binding: "shop".to_owned(), ledger: Ledger::parse(&text).unwrap() };
    BTreeMap::from([("00g1".to_owned(), ledger)])
}

fn ledger_granted() -> BTreeMap<String, GroupLedger> {
    ledger(&json!({"granted": {"since": hour(10), "shown": true, "on_call": {"person": "P1", "until": hour(120)}}}))
}

fn record(opened: i64) -> Record {
    let text = json!({
        "format": 1, "database": "orders", "login": ANN, "person": "ann@corp.example", "reason": "INC-42",
        "opened_at": hour(opened), "until": hour(opened + 1), "place": "postgres db:5432",
    });
    Record::parse(&text.to_string(), &format!("/logins/orders/{ANN}")).unwrap()
}

fn held(lines: &[Line], ledgers: &BTreeMap<String, GroupLedger>, records: &[Record]) -> Vec<Holding> {
    holdings(lines.to_vec(), ledgers, records, period())
}

fn ends(holdings: &[Holding]) -> Vec<(Begin, End)> {
    holdings.iter().map(|holding| (holding.begin, holding.end)).collect()
}

fn none() -> BTreeMap<String, GroupLedger> {
    BTreeMap::new()
}

#[test]
fn a_grant_and_its_end_are_one_holding_with_both_reasons() {
    let found = held(&[intended(9, 20, "on call"), granted(10), revoked(20, "shift_ended")], &none(), &[]);
    let expected = Holding {
        what: group(),
        person: "ann@corp.example".to_owned(),
        account: "00u1".to_owned(),
        begin: Begin::At(hour(10)),
        planned: Some(hour(20)),
        end: End::At(hour(20)),
        why_begun: "on call".to_owned(),
        why_ended: "shift_ended".to_owned(),
        sources: BTreeSet::from([Source::Log]),
    };
    assert_eq!(found, [expected]);
}

#[test]
fn a_grant_goes_on_only_where_the_ledger_says_so() {
    let lines = [intended(9, 120, "on call"), granted(10)];
    let still = held(&lines, &ledger_granted(), &[]);
    assert_eq!(ends(&still), [(Begin::At(hour(10)), End::Still)]);
    assert_eq!(still[0].planned, Some(hour(120)));
    let unknown = [(Begin::At(hour(10)), End::Unknown(hour(100)))];
    assert_eq!(ends(&held(&lines, &none(), &[])), unknown, "no ledger could be read");
    for state in [json!({"left": {"at": hour(20)}}), json!({"held": {"since": hour(20), "out": true}})] {
        assert_eq!(ends(&held(&lines, &ledger(&state), &[])), unknown, "{state}");
    }
    let leaving = json!({"leaving": {"reason": "shift_ended", "since": hour(20)}});
    assert_eq!(ends(&held(&lines, &ledger(&leaving), &[])), [(Begin::At(hour(10)), End::Still)]);
}

#[test]
fn whoever_is_in_the_group_by_its_ledger_alone_is_shown() {
    let of_ledger = held(&[], &ledger_granted(), &[]);
    assert_eq!(ends(&of_ledger), [(Begin::At(hour(10)), End::Still)]);
    assert_eq!(
        (of_ledger[0].person.as_str(), &of_ledger[0].sources),
        ("ann@corp.example", &BTreeSet::from([Source::Ledger]))
    );
    let tolerated = held(&[], &ledger(&json!("tolerated")), &[]);
    assert_eq!(ends(&tolerated), [(Begin::Unknown(hour(0)), End::Still)]);
    let again = held(&[granted(1), revoked(5, "shift_ended")], &ledger_granted(), &[]);
    assert_eq!(ends(&again), [(Begin::At(hour(1)), End::At(hour(5))), (Begin::At(hour(10)), End::Still)]);
}

#[test]
fn what_began_before_the_period_is_shown_as_that() {
    assert_eq!(ends(&held(&[revoked(5, "shift_ended")], &none(), &[])), [(Begin::Before, End::At(hour(5)))]);
    assert_eq!(ends(&held(&[closed(1, -3)], &none(), &[])), [(Begin::At(hour(-3)), End::At(hour(1)))]);
}

#[test]
fn nobody_says_since_when_somebody_was_in_whom_a_person_at_okta_put_there() {
    let lines = [granted(1), revoked(5, "shift_ended"), revoked(30, "out_of_band")];
    let expected = [(Begin::At(hour(1)), End::At(hour(5))), (Begin::Unknown(hour(5)), End::At(hour(30)))];
    assert_eq!(ends(&held(&lines, &none(), &[])), expected);
    assert_eq!(ends(&held(&lines[2..], &none(), &[])), [(Begin::Unknown(hour(0)), End::At(hour(30)))]);
}

#[test]
fn a_grant_whose_line_is_missing_begins_when_it_was_intended() {
    let lines = [intended(9, 20, "on call"), revoked(20, "shift_ended")];
    assert_eq!(ends(&held(&lines, &none(), &[])), [(Begin::At(hour(9)), End::At(hour(20)))]);
    let unseen = held(&lines[..1], &none(), &[]);
    assert_eq!(ends(&unseen), [(Begin::Unknown(hour(9)), End::Unknown(hour(100)))], "no ledger says how it went");
    assert_eq!(ends(&held(&lines[..1], &ledger(&json!({"left": {"at": hour(9)}})), &[])), []);
}

#[test]
fn a_grant_by_hand_during_a_shift_is_the_same_holding_with_both_reasons() {
    let lines = [
        intended(9, 20, "on call"),
        granted(10),
        intended(15, 30, "by hand: INC-7"),
        granted(15),
        revoked(30, "manual"),
    ];
    let found = held(&lines, &none(), &[]);
    assert_eq!(ends(&found), [(Begin::At(hour(10)), End::At(hour(30)))]);
    assert_eq!((found[0].why_begun.as_str(), found[0].planned), ("on call; by hand: INC-7", Some(hour(30))));
}

#[test]
fn a_revoke_by_hand_says_why_and_a_late_one_by_how_much() {
    let [binding, user, reason] = ["shop", "00u1", "left the team"].map(str::to_owned);
    let asked = line(19, Said::RevokeAsked { binding, user, reason });
    let found = held(&[granted(10), asked, revoked(20, "manual")], &none(), &[]);
    assert_eq!(found[0].why_ended, "manual: left the team");
    let mut late = revoked(20, "shift_ended");
    if let Said::Revoked { overstay_s, .. } = &mut late.said {
        *overstay_s = 400;
    }
    assert_eq!(held(&[granted(10), late], &none(), &[])[0].why_ended, "shift_ended (400 s late)");
}

#[test]
fn a_login_ends_by_its_line_or_its_record_and_is_unknown_without_either() {
    let at = Begin::At(hour(10));
    assert_eq!(ends(&held(&[opened(10), closed(11, 10)], &none(), &[])), [(at, End::At(hour(11)))]);
    assert_eq!(ends(&held(&[opened(10)], &none(), &[record(10)])), [(at, End::Still)]);
    assert_eq!(ends(&held(&[], &none(), &[record(10)])), [(at, End::Still)]);
    assert_eq!(ends(&held(&[opened(10)], &none(), &[])), [(at, End::Unknown(hour(100)))]);
    let mut kept = record(10);
    kept.state = State::Closed { why: Why::TimeOver, at: hour(12), untold: BTreeSet::new() };
    assert_eq!(ends(&held(&[opened(10)], &none(), &[kept])), [(at, End::At(hour(12)))]);
    let twice = [opened(10), closed(11, 10), closed(12, 10)];
    assert_eq!(ends(&held(&twice, &none(), &[])), [(at, End::At(hour(11)))], "said again by the next sweep");
}

#[test]
fn only_what_was_held_in_the_period_is_shown_with_its_real_end() {
    let earlier = Period { until: hour(50), ..period() };
    let lines = vec![granted(10), revoked(60, "shift_ended"), opened(55), closed(56, 55)];
    assert_eq!(ends(&holdings(lines, &none(), &[], earlier)), [(Begin::At(hour(10)), End::At(hour(60)))]);
    assert_eq!(held(&[closed(-1, -2)], &none(), &[]), []);
}

/// What really happened to one person in one group, and which lines of it are left.
fn histories() -> impl Strategy<Value = Vec<Line>> {
    let one = (0..100i64, prop_oneof![Just(0u8), Just(1), Just(2), Just(3)], "00u[1-3]", "00g[12]");
    prop::collection::vec(one, 0..40).prop_map(|events| {
        events
            .into_iter()
            .map(|(hours, kind, person, of)| {
                let mut line = match kind {
                    0 => intended(hours, hours + 5, "on call"),
                    1 => granted(hours),
                    2 => revoked(hours, "shift_ended"),
                    _ => revoked(hours, "out_of_band"),
                };
                if let Said::GrantIntended { user, group, .. }
                | Said::Granted { user, group, .. }
                | Said::Revoked { user, group, .. } = &mut line.said
                {
                    (*user, *group) = (person, of);
                }
                line
            })
            .collect()
    })
}

fn key(line: &Line) -> Option<(String, String)> {
    match &line.said {
        Said::Granted { user, group, .. } | Said::Revoked { user, group, .. } => Some((user.clone(), group.clone())),
        _ => None,
    }
}

proptest! {
    #[test]
    fn lines_in_another_order_or_twice_change_nothing(lines in histories(), seed in any::<u64>()) {
        let in_order = holdings(lines.clone(), &ledger_granted(), &[], period());
        let mut shuffled = [lines.clone(), lines[..lines.len() / 2].to_vec()].concat();
        let length = shuffled.len().max(1) as u64;
        for place in 0..shuffled.len() {
            let other = seed.wrapping_mul(place as u64 + 1).wrapping_add(seed >> 7) % length;
            shuffled.swap(place, usize::try_from(other).unwrap());
        }
        prop_assert_eq!(holdings(shuffled, &ledger_granted(), &[], period()), in_order);
    }

    #[test]
    fn every_grant_is_in_a_holding_and_every_end_is_the_end_of_one(lines in histories()) {
        let found = holdings(lines.clone(), &none(), &[], period());
        let of = |line: &Line| {
            let (user, of) = key(line).unwrap();
            let is_its = move |holding: &&Holding| {
                holding.account == user && matches!(&holding.what, What::Group { group, .. } if *group == of)
            };
            found.iter().filter(is_its).collect::<Vec<_>>()
        };
        let distinct: BTreeSet<&Line> = lines.iter().collect();
        for line in distinct {
            match &line.said {
                Said::Granted { .. } => {
                    let covers = |holding: &&Holding| holding.from(period()) <= line.at && line.at <= holding.to(period());
                    prop_assert!(of(line).iter().any(covers), "{line:?} in {found:?}");
                }
                Said::Revoked { .. } => {
                    prop_assert!(of(line).iter().any(|holding| holding.end == End::At(line.at)), "{line:?} in {found:?}");
                }
                _ => {}
            }
        }
    }

    #[test]
    fn nothing_goes_on_without_a_ledger_and_nothing_is_held_twice_at_a_time(lines in histories()) {
        let found = holdings(lines, &none(), &[], period());
        prop_assert!(found.iter().all(|holding| holding.end != End::Still));
        let mut of_each: BTreeMap<_, Vec<&Holding>> = BTreeMap::new();
        for holding in &found {
            prop_assert!(holding.from(period()) <= holding.to(period()), "{holding:?}");
            of_each.entry((&holding.account, &holding.what)).or_default().push(holding);
        }
        for held in of_each.into_values() {
            for pair in held.windows(2) {
                prop_assert!(pair[0].to(period()) <= pair[1].from(period()), "{pair:?}");
            }
        }
    }

    #[test]
    fn whatever_people_write_the_csv_is_read_back_and_no_cell_is_a_formula(reason in "\\PC{0,40}|[=+@\t-]{1,3}.{0,9}|[,\"\r\n]{0,5}") {
        let mut holding = held(&[opened(10), closed(11, 10)], &none(), &[]).remove(0);
        holding.why_begun.clone_from(&reason);
        let text = findings(vec![holding]).csv();
        let rows = read_csv(&text);
        prop_assert_eq!(rows.len(), 2);
        prop_assert!(rows.iter().all(|row| row.len() == rows[0].len()));
        let cell = &rows[1][11];
        prop_assert!(*cell == reason || *cell == format!("'{reason}"), "{cell}");
        prop_assert!(!cell.trim_start().starts_with(['=', '+', '-', '@', '\t']), "{cell}");
    }
}

/// A reader of RFC 4180, strict: every cell quoted, every row ended by CR LF.
fn read_csv(text: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row) = (Vec::new(), Vec::new());
    let mut rest = text;
    while !rest.is_empty() {
        rest = rest.strip_prefix('"').expect("a quote before a cell");
        let mut cell = String::new();
        loop {
            let (part, after) = rest.split_once('"').expect("a quote after a cell");
            cell.push_str(part);
            rest = after;
            match rest.strip_prefix('"') {
                Some(after) => {
                    cell.push('"');
                    rest = after;
                }
                None => break,
            }
        }
        row.push(cell);
        if let Some(after) = rest.strip_prefix("\r\n") {
            rows.push(std::mem::take(&mut row));
            rest = after;
        } else {
            rest = rest.strip_prefix(',').expect("a comma between cells");
        }
    }
    rows
}

fn findings(holdings: Vec<Holding>) -> Findings {
    Findings { period: period(), holdings, databases: Vec::new(), unknown: Vec::new() }
}

fn holder(login: &str, secret: Option<&str>) -> Holder {
    Holder {
        login: login.to_owned(),
        powers: vec!["superuser".to_owned()],
        secret: secret.map(str::to_owned),
        until: None,
    }
}

#[test]
fn each_login_with_power_is_tied_to_what_answers_for_it_and_the_others_come_first() {
    let accounts = BTreeMap::from([("reporting".to_owned(), "the warehouse's loader".to_owned())]);
    let (admin_secret, records) = ("arn:aws:secretsmanager:eu-west-1:1:secret:admin", [record(10)]);
    let admins = BTreeMap::from([("keyturn_admin".to_owned(), admin_secret.to_owned())]);
    let known = Known { place: &records[0].place, admins: &admins, accounts: &accounts, records: &records };
    let names = ["shop", "keyturn_admin", ANN, "reporting", "old_dba", "bg_bob_202611101200_abcdef"];
    let tied = known.tied(names.map(|name| holder(name, (name == "shop").then_some("arn:shop"))).to_vec());
    let tied: Vec<(&str, String)> = tied.iter().map(|power| (power.login.as_str(), power.tie.to_string())).collect();
    let expected = [
        ("bg_bob_202611101200_abcdef", "nothing".to_owned()),
        ("old_dba", "nothing".to_owned()),
        (ANN, "person ann@corp.example".to_owned()),
        ("reporting", "account: the warehouse's loader".to_owned()),
        ("keyturn_admin", format!("admin secret {admin_secret}")),
        ("shop", "secret arn:shop".to_owned()),
    ];
    assert_eq!(tied, expected);
    let elsewhere = Known { place: "postgres billing.example.com:5432", records: &records, ..known };
    assert_eq!(elsewhere.tied(vec![holder(ANN, None)])[0].tie, Tie::Nothing, "a login of another server's record");
}

#[test]
fn the_page_says_what_is_unknown_and_marks_what_nothing_answers_for() {
    let power =
        Power { login: "old_dba".to_owned(), powers: vec!["superuser".to_owned()], until: None, tie: Tie::Nothing };
    let orders = Holders { database: "orders".to_owned(), engine: "postgres", powers: Ok(vec![power]) };
    let billing =
        Holders { database: "billing".to_owned(), engine: "atlas", powers: Err("ATLAS_REFUSED: no".to_owned()) };
    let unknown = vec!["The audit lines of oncall-sync's log: ONCALL_LOG_GROUP is not set.".to_owned()];
    let holdings = held(&[granted(10), opened(10)], &none(), &[]);
    let page = Findings { period: period(), holdings, databases: vec![orders, billing], unknown }.html();
    for text in [
        "ONCALL_LOG_GROUP is not set.",
        "<strong>nothing</strong>",
        "could not be read: ATLAS_REFUSED: no",
        "1 or more",
        "<strong>unknown</strong>",
        "database orders",
        "group shop (00g1)",
        "INC-42",
    ] {
        assert!(page.contains(text), "{text}");
    }
    let empty = findings(Vec::new()).html();
    assert!(empty.contains("Nobody held anything in this period.") && empty.contains("could be read"));
    let gaps = Findings { unknown: vec!["The records.".to_owned()], ..findings(Vec::new()) }.html();
    assert!(!gaps.contains("Nobody held anything"), "a gap is never shown as nobody");
}

#[test]
fn nothing_that_somebody_wrote_becomes_part_of_the_page() {
    let evil = "\"><script>alert(1)</script><img src=x onerror='y'>&\u{202e}\u{1b}";
    let mut holding = held(&[opened(10)], &none(), &[]).remove(0);
    holding.what = What::Group { binding: evil.to_owned(), group: evil.to_owned() };
    for text in [&mut holding.person, &mut holding.account, &mut holding.why_begun, &mut holding.why_ended] {
        evil.clone_into(text);
    }
    let power = Power {
        login: evil.to_owned(),
        powers: vec![evil.to_owned()],
        until: None,
        tie: Tie::Account(evil.to_owned()),
    };
    let good = Holders { database: evil.to_owned(), engine: "postgres", powers: Ok(vec![power]) };
    let bad = Holders { database: evil.to_owned(), engine: "postgres", powers: Err(evil.to_owned()) };
    let all = Findings { databases: vec![good, bad], unknown: vec![evil.to_owned()], ..findings(vec![holding]) };
    let page = all.html();
    for text in ["<script", "<img", "\u{202e}", "\u{1b}", "onerror='", "src=\"", "href=", "http:", "https:", "@import"]
    {
        assert!(!page.contains(text), "{text}");
    }
    assert_eq!(page.matches("alert(1)").count(), page.matches("&lt;script&gt;alert(1)").count());
}

#[test]
fn every_tag_of_the_page_is_closed_in_its_order() {
    let tied = holder("a", None);
    let power = Power { login: tied.login, powers: tied.powers, until: Some(hour(1)), tie: Tie::Nothing };
    let databases = vec![Holders { database: "orders".to_owned(), engine: "postgres", powers: Ok(vec![power]) }];
    let holdings = held(&[granted(10), opened(12), closed(13, 12), revoked(3, "out_of_band")], &ledger_granted(), &[]);
    let page = Findings { period: period(), holdings, databases, unknown: vec!["x".to_owned()] }.html();
    let mut open: Vec<&str> = Vec::new();
    for tag in page.split('<').skip(1).map(|rest| rest.split('>').next().unwrap_or_default()) {
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap_or_default();
        if tag.starts_with('!') || tag.ends_with('/') || ["meta", "br"].contains(&name) {
            continue;
        }
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "{tag}");
        } else {
            open.push(name);
        }
    }
    assert_eq!(open, Vec::<&str>::new());
}

#[test]
fn a_crowd_is_drawn_in_parts_that_fit_on_a_page_each() {
    let holding = held(&[opened(10), closed(11, 10)], &none(), &[]).remove(0);
    let of = |number: usize| Holding { person: format!("person{number}@corp.example"), ..holding.clone() };
    let page = findings((0..40).map(of).collect()).html();
    assert_eq!(page.matches("<svg class=\"timeline\"").count(), 3);
    assert_eq!(page.matches("<g class=\"bar\">").count(), 40);
    let ids: Vec<&str> = page.split(" id=\"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "no id twice: {ids:?}");
}

#[test]
fn minutes_stay_visible_in_a_year() {
    let year = Period { since: hour(-8000), until: hour(100), now: hour(100) };
    let lines = vec![opened(10), closed(11, 10)];
    let page = Findings { holdings: holdings(lines, &none(), &[], year), period: year, ..findings(Vec::new()) }.html();
    let bar = page.split("<g class=\"bar\">").nth(1).unwrap().split("</g>").next().unwrap();
    let width = bar.split("width=\"").nth(1).unwrap().split('"').next().unwrap();
    assert!(width.parse::<f64>().unwrap() >= 4.0, "{bar}");
}
