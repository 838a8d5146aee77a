//! Plans for grants and revokes by hand.

use super::duty::Duty;
use super::{Facts, Grant, Plan, Presence, Revoke, is_never_seen, settled};
use crate::okta::User;
use chrono::{DateTime, Utc};
use keyturn::ledger::{Change, Granted, HandClaim, Hold, Ledger, Person, Reason, Remembered, State};

/// Adds a person until a set time. A shift that goes on keeps its own claim.
pub(crate) fn grant(facts: Facts<'_>, ledger: &Ledger, user: &User, until: DateTime<Utc>, reason: &str) -> Plan {
    let mut next = ledger.clone();
    let settled = settled(ledger, &user.id, Presence::of(&user.id, facts.members));
    let why = format!("by hand: {reason}");
    let (since, on_call) = match ledger.state(&user.id) {
        Some(State::Granted(granted)) => (granted.since, granted.on_call.clone()),
        _ => (facts.now, None),
    };
    let by_hand = Some(HandClaim { until, reason: reason.to_owned() });
    let never_left = settled.is_none() && ledger.people.get(&user.id).is_some_and(is_to_leave);
    let person = named(next.put(&user.id, State::Granted(Granted { since, on_call, by_hand, shown: false })), user);
    if never_left {
        person.forget_removal();
    }
    person.tell(Change::Granted { why: why.clone(), until: Some(until) });
    let grant = Grant { okta: user.id.clone(), person: None, until: Some(until), why };
    let settled = settled.into_iter().collect();
    Plan { grants: vec![grant], settled, ..Plan::quiet(Remembered::Known(next)) }
}

/// Removes a person, and says until when they are held out: to the end of their shift, as the source says now, else as the
/// ledger has it; `None`: until they are not on call any more. Without a ledger nobody is held.
pub(crate) fn revoke(facts: Facts<'_>, user: &User, reason: &str) -> (Plan, Option<DateTime<Utc>>) {
    let revoke = Revoke { okta: user.id.clone(), reason: Reason::Manual, due: None, since: facts.now };
    let mut plan = Plan { revokes: vec![revoke], ..Plan::quiet(facts.ledger.clone()) };
    let Some(ledger) = plan.intent.known_mut() else { return (plan, None) };
    plan.settled = settled(ledger, &user.id, Presence::of(&user.id, facts.members)).into_iter().collect();
    let (remembered, known) = match ledger.state(&user.id) {
        Some(State::Granted(Granted { on_call: Some(claim), .. })) => (claim.shift_end, Some(claim.person.clone())),
        Some(State::Held(hold)) => (hold.until, hold.person.clone()),
        _ => (None, None),
    };
    let (until, person) = match Duty::of(facts.binding, facts.reading, facts.now).people.get(&user.id) {
        Some(on_call) => (on_call.end, Some(on_call.person.clone())),
        None => (remembered.filter(|end| *end > facts.now), known),
    };
    let hold = Hold { since: facts.now, until, person, out: false, reason: reason.to_owned() };
    let never_seen = is_never_seen(ledger.state(&user.id), Presence::of(&user.id, facts.members));
    let person = named(ledger.put(&user.id, State::Held(hold)), user);
    if never_seen {
        person.forget_grant();
    }
    person.tell(Change::Revoked { reason: Reason::Manual, due: None });
    (plan, until)
}

fn is_to_leave(person: &Person) -> bool {
    match &person.state {
        State::Leaving(_) => true,
        State::Held(hold) => !hold.out,
        _ => false,
    }
}

/// Notes the login and address of somebody who is named by hand.
fn named<'a>(person: &'a mut Person, user: &User) -> &'a mut Person {
    person.login.clone_from(&user.login);
    person.email.clone_from(&user.email);
    person
}
