//! Which refused logins were to be expected, and how long they went on: judged from what the clients saw alone.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// Reads AWSCURRENT and logs in for every request.
    Visitor,
    /// Keeps its connections, and reads AWSCURRENT again when it is refused.
    Pool,
}

/// A kind of client at a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seat {
    pub kind: Kind,
    /// The number of its cluster.
    pub cluster: usize,
}

/// A login that a cluster refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub seat: Seat,
    /// The version of the secret that it was tried with: AWSCURRENT, when it was read.
    pub version: String,
    pub at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Turn<'a> {
    pub old: &'a str,
    pub new: &'a str,
    /// Whether another user takes over, so that nobody is to be refused at all.
    pub alternates: bool,
}

impl Turn<'_> {
    /// The promises that these refusals break, all of them from during this rotation.
    pub(super) fn broken(&self, refusals: &[Refusal]) -> Vec<String> {
        if self.alternates {
            let what = format!("{} logins refused though two users alternate", refusals.len());
            return if refusals.is_empty() { Vec::new() } else { vec![what] };
        }
        let with = |version: &str| refusals.iter().filter(|refusal| refusal.version == version).count();
        let (old, new) = (with(self.old), with(self.new));
        let others = refusals.len() - old - new;
        let mut broken = Vec::new();
        if new > 0 {
            broken.push(format!("{new} logins refused with an AWSCURRENT that was not in effect yet"));
        }
        if others > 0 {
            broken.push(format!("{others} logins refused with a value that this rotation does not know"));
        }
        if old == 0 {
            broken.push("no login refused: the password of the only user cannot have changed".to_owned());
        }
        broken
    }
}

/// For each seat, the time from its first refused login to the last.
pub(super) fn windows(refusals: &[Refusal]) -> BTreeMap<Seat, Duration> {
    let mut spans: BTreeMap<Seat, (Instant, Instant)> = BTreeMap::new();
    for Refusal { seat, at, .. } in refusals {
        let (first, last) = spans.entry(*seat).or_insert((*at, *at));
        (*first, *last) = ((*first).min(*at), (*last).max(*at));
    }
    spans.into_iter().map(|(seat, (first, last))| (seat, last - first)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEAT: Seat = Seat { kind: Kind::Visitor, cluster: 0 };

    fn refused_with(version: &str) -> Refusal {
        Refusal { seat: SEAT, version: version.to_owned(), at: Instant::now() }
    }

    #[test]
    fn with_one_user_only_the_old_value_may_be_refused() {
        let turn = Turn { old: "v1", new: "v2", alternates: false };
        assert_eq!(turn.broken(&[refused_with("v1")]), Vec::<String>::new());
        for (refusals, accusation) in [
            (vec!["v1", "v2"], "1 logins refused with an AWSCURRENT that was not in effect yet"),
            (vec!["v1", "v0", "v0"], "2 logins refused with a value that this rotation does not know"),
            (vec![], "no login refused: the password of the only user cannot have changed"),
        ] {
            let refusals: Vec<Refusal> = refusals.into_iter().map(refused_with).collect();
            assert_eq!(turn.broken(&refusals), [accusation]);
        }
    }

    #[test]
    fn with_two_users_none_may_be() {
        let turn = Turn { old: "v1", new: "v2", alternates: true };
        assert_eq!(turn.broken(&[]), Vec::<String>::new());
        assert_eq!(turn.broken(&[refused_with("v1")]), ["1 logins refused though two users alternate"]);
    }

    #[test]
    fn a_window_lasts_from_the_first_refusal_to_the_last_of_its_kind() {
        let first = refused_with("v1");
        let pool = Refusal { seat: Seat { kind: Kind::Pool, cluster: 1 }, ..first.clone() };
        let later = Refusal { at: first.at + Duration::from_millis(300), ..first.clone() };
        let last = Refusal { at: first.at + Duration::from_millis(700), ..first.clone() };
        let windows = windows(&[later, first, pool.clone(), last]);
        assert_eq!(windows[&SEAT], Duration::from_millis(700));
        assert_eq!(windows[&pool.seat], Duration::ZERO);
    }
}
