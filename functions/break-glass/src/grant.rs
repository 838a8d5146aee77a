//! Whether somebody is on call now: what `oncall-sync`'s ledgers say. No vendor is asked.

use crate::codes::Code;
use crate::document::Opener;
use chrono::{DateTime, Utc};
use keyturn::ledger::{Granted, Ledger, Person, State};
use keyturn::parameters::Parameter;
use keyturn::{Error, Result};

/// The remedy for whoever was revoked by hand.
const HELD: &str = "An override does not end that, nor does another shift that follows on this one. Have somebody grant it by hand: {\"action\": \"grant\"} of oncall-sync.";

/// What one ledger says of a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Granted, until then unless a later tick confirms it.
    Granted { until: DateTime<Utc> },
    /// Revoked by hand: not before the next shift.
    Held,
    /// Was granted, and is not any more.
    Over,
    /// The ledger does not know the person.
    Stranger,
    /// The ledger cannot be read, for this reason: nobody knows.
    Unknown(&'static str),
}

impl Standing {
    /// Reads the ledger of one opener. A text that `oncall-sync` did not write itself is not believed.
    pub(crate) fn of(
        opener: &Opener,
        ledger: std::result::Result<Option<&Parameter>, &'static str>,
        person: &str,
        now: DateTime<Utc>,
    ) -> Self {
        let parameter = match ledger {
            Ok(Some(parameter)) => parameter,
            Ok(None) => return Self::Unknown("it does not exist"),
            Err(why) => return Self::Unknown(why),
        };
        let ledger = match Ledger::parse(&parameter.value) {
            Ok(ledger) if ledger.group != opener.group => return Self::Unknown("it is the ledger of another group"),
            Ok(ledger) if !ledger.is_of_version(parameter.version) => {
                return Self::Unknown("somebody else than oncall-sync wrote it last");
            }
            Ok(ledger) if ledger.moved_to.is_some() => return Self::Unknown("its binding has another name by now"),
            Ok(ledger) => ledger,
            Err(why) => return Self::Unknown(why),
        };
        let theirs = ledger.people.values().filter(|known| known.login.eq_ignore_ascii_case(person));
        // A login is one user's at Okta. Where a ledger has two, whoever is held is held.
        theirs.map(|known| Self::of_person(known, now)).min_by_key(Self::strictness).unwrap_or(Self::Stranger)
    }

    fn of_person(person: &Person, now: DateTime<Utc>) -> Self {
        match &person.state {
            State::Granted(granted) => match end_of(granted) {
                Some(until) if until > now => Self::Granted { until },
                _ => Self::Over,
            },
            State::Held(_) => Self::Held,
            State::Other(_) => Self::Unknown("a later version of Keyturn wrote the person's state"),
            State::Adopted { .. } | State::Tolerated | State::Leaving(_) | State::Left { .. } => Self::Over,
        }
    }

    fn strictness(&self) -> u8 {
        match self {
            Self::Held => 0,
            Self::Unknown(_) => 1,
            Self::Over => 2,
            Self::Stranger => 3,
            Self::Granted { .. } => 4,
        }
    }
}

/// When the last claim ends.
fn end_of(granted: &Granted) -> Option<DateTime<Utc>> {
    let on_call = granted.on_call.as_ref().map(|claim| claim.until);
    on_call.max(granted.by_hand.as_ref().map(|claim| claim.until))
}

/// The opener that grants a person the longest, and until when.
///
/// # Errors
/// `NOT_GRANTED`, `LEDGER_UNKNOWN`.
pub(crate) fn find<'o>(
    standings: &[(&'o Opener, Standing)],
    person: &str,
    now: DateTime<Utc>,
) -> Result<(&'o Opener, DateTime<Utc>)> {
    let granted = standings.iter().filter_map(|(opener, standing)| match standing {
        Standing::Granted { until } => Some((*opener, *until)),
        _ => None,
    });
    if let Some(longest) = granted.max_by_key(|(_, until)| *until) {
        return Ok(longest);
    }
    let unknown = standings.iter().find_map(|(opener, standing)| match standing {
        Standing::Unknown(why) => Some((opener, why)),
        _ => None,
    });
    if let Some((opener, why)) = unknown {
        return Err(Error::of(
            Code::LedgerUnknown,
            format!("Whether {person} is on call is not known: the ledger {}.{}: {why}.", opener.binding, opener.group),
        ));
    }
    let is_held = standings.iter().any(|(_, standing)| *standing == Standing::Held);
    let bindings: Vec<&str> = standings.iter().map(|(opener, _)| opener.binding.as_str()).collect();
    let what = if is_held { "was revoked by hand, and is held out until the shift ends" } else { "is not granted" };
    let refused = Error::of(
        Code::NotGranted,
        format!("{person} {what} ({}, at {}).", bindings.join(", "), now.format("%H:%M UTC")),
    );
    Err(if is_held { refused.with_remedy(HELD) } else { refused })
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::parameters::Kind;
    use serde_json::{Value, json};

    fn now() -> DateTime<Utc> {
        "2026-11-29T12:00:00Z".parse().unwrap()
    }

    fn opener(group: &str) -> Opener {
        Opener { binding: "shop".try_into().unwrap(), group: group.try_into().unwrap() }
    }

    fn parameter(text: String) -> Parameter {
        Parameter { name: "/ledger/shop.00g1".to_owned(), value: text, version: 7, modified: None, kind: Kind::Text }
    }

    fn ledger(state: &Value) -> Parameter {
        let ann = json!({"login": "ann@corp.example", "state": state});
        parameter(json!({"format": 2, "group": "00g1", "serial": 3, "version": 7, "people": {"00u1": ann}}).to_string())
    }

    fn granted(on_call: Option<&str>, by_hand: Option<&str>) -> Value {
        let mut granted = json!({"since": "2026-11-29T08:00:00Z", "shown": true});
        if let Some(until) = on_call {
            granted["on_call"] = json!({"person": "PANN", "until": until});
        }
        if let Some(until) = by_hand {
            granted["by_hand"] = json!({"until": until, "reason": "INC-42"});
        }
        json!({"granted": granted})
    }

    fn standing(ledger: &Parameter) -> Standing {
        Standing::of(&opener("00g1"), Ok(Some(ledger)), "Ann@Corp.example", now())
    }

    #[test]
    fn whoever_is_granted_may_ask_until_the_last_claim_ends() {
        let until = |text: &str| Standing::Granted { until: text.parse().unwrap() };
        let (one, two) = ("2026-11-29T13:00:00Z", "2026-11-29T14:00:00Z");
        assert_eq!(standing(&ledger(&granted(Some(one), None))), until(one));
        assert_eq!(standing(&ledger(&granted(Some(two), Some(one)))), until(two));
        assert_eq!(standing(&ledger(&granted(Some("2026-11-29T11:00:00Z"), Some(one)))), until(one));
    }

    #[test]
    fn whoever_is_not_granted_now_may_not() {
        let at = "2026-11-29T11:00:00Z";
        for (state, expected) in [
            (granted(Some(at), None), Standing::Over),
            (granted(Some("2026-11-29T12:00:00Z"), None), Standing::Over),
            (granted(None, None), Standing::Over),
            (json!({"adopted": {"until": "2026-11-29T14:00:00Z"}}), Standing::Over),
            (json!("tolerated"), Standing::Over),
            (json!({"leaving": {"reason": "shift_ended", "since": at}}), Standing::Over),
            (json!({"held": {"since": at, "out": true}}), Standing::Held),
            (json!({"left": {"at": at}}), Standing::Over),
        ] {
            assert_eq!(standing(&ledger(&state)), expected, "{state}");
        }
        let stranger = Standing::of(&opener("00g1"), Ok(Some(&ledger(&json!("tolerated")))), "bob@corp.example", now());
        assert_eq!(stranger, Standing::Stranger);
    }

    #[test]
    fn a_ledger_that_cannot_be_believed_grants_nobody() {
        let good = ledger(&granted(Some("2026-11-29T13:00:00Z"), None));
        let unknown = |ledger: Option<&Parameter>, group: &str| {
            matches!(Standing::of(&opener(group), Ok(ledger), "ann@corp.example", now()), Standing::Unknown(_))
        };
        assert!(!unknown(Some(&good), "00g1"));
        assert!(unknown(None, "00g1"), "there is none");
        let unread = Standing::of(&opener("00g1"), Err("Parameter Store did not give it"), "ann@corp.example", now());
        assert_eq!(unread, Standing::Unknown("Parameter Store did not give it"));
        assert!(unknown(Some(&good), "00g2"), "of another group");
        assert!(unknown(Some(&parameter("{".to_owned())), "00g1"), "broken");
        assert!(unknown(Some(&Parameter { version: 8, ..good.clone() }), "00g1"), "put back by somebody");
        let first_format = json!({"group": "00g1", "rows": [], "tolerated": []}).to_string();
        assert!(unknown(Some(&parameter(first_format)), "00g1"), "of a version that does not say who wrote it");
        let moved = good.value.replace("\"serial\"", "\"moved_to\":\"orders\",\"serial\"");
        assert!(unknown(Some(&parameter(moved)), "00g1"), "of a binding that was renamed");
        let later = good.value.replace("\"format\":2", "\"format\":3").replace("granted", "lent");
        assert!(unknown(Some(&Parameter { value: later, ..good }), "00g1"), "a state of a later version");
    }

    #[test]
    fn one_ledger_that_grants_is_enough_and_a_hold_elsewhere_does_not_count() {
        let (one, two) = (opener("00g1"), opener("00g2"));
        let until = "2026-11-29T13:00:00Z".parse().unwrap();
        let found = |standings: &[(&Opener, Standing)]| {
            find(standings, "ann@corp.example", now()).map(|(o, _)| o.group.clone())
        };
        let granted = Standing::Granted { until };
        assert_eq!(found(&[(&one, Standing::Unknown("x")), (&two, granted)]).unwrap(), two.group);
        let code = |standings: &[(&Opener, Standing)]| found(standings).unwrap_err().code();
        assert_eq!(code(&[(&one, Standing::Stranger), (&two, Standing::Unknown("x"))]), "LEDGER_UNKNOWN");
        assert_eq!(code(&[(&one, Standing::Over), (&two, Standing::Held)]), "NOT_GRANTED");
    }
}
