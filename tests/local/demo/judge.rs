//! Who was in the group with a right to it, and who was not: judged at every look, from a list of rights alone.

use std::collections::{BTreeMap, BTreeSet};

use super::day::{Right, Time, shown};

/// The longest that anybody may be in without a right, or out with one, in seconds.
pub(super) const LIMIT: Time = 60;

/// Looks at the group again and again.
pub(super) struct Judge<'a> {
    rights: &'a [Right],
    /// Who was there at the last look, and since when.
    present: BTreeMap<String, Time>,
    pub arrivals: usize,
    pub departures: usize,
    /// The longest that anybody was in without a right.
    pub longest_overstay: Time,
    /// The longest that anybody was out with one.
    pub longest_wait: Time,
    /// Promises that were not kept, each once.
    pub broken: BTreeSet<String>,
}

/// Who came and left since the last look.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changes {
    pub came: Vec<String>,
    pub left: Vec<String>,
}

impl<'a> Judge<'a> {
    /// Nobody has been seen yet.
    pub(super) fn new(rights: &'a [Right]) -> Self {
        Self {
            rights,
            present: BTreeMap::new(),
            arrivals: 0,
            departures: 0,
            longest_overstay: 0,
            longest_wait: 0,
            broken: BTreeSet::new(),
        }
    }

    /// Looks, at this time. `outsider` was put in by somebody else just now, which is nobody's fault yet.
    pub(super) fn look(&mut self, now: Time, members: &[String], outsider: Option<&str>) -> Changes {
        let came: Vec<String> = members.iter().filter(|who| !self.present.contains_key(*who)).cloned().collect();
        for who in &came {
            if !self.may_be_in(who, now) && outsider != Some(who.as_str()) {
                self.broken.insert(format!("{who} came in without a right at {}", shown(now)));
            }
            self.present.insert(who.clone(), now);
        }
        let left: Vec<String> = self.present.keys().filter(|who| !members.contains(who)).cloned().collect();
        self.time_the_present(now);
        for who in &left {
            if self.may_be_in(who, now) {
                self.broken.insert(format!("{who} lost a right at {}", shown(now)));
            }
            self.present.remove(who);
        }
        self.time_the_awaited(now);
        self.arrivals += came.iter().filter(|who| outsider != Some(who.as_str())).count();
        self.departures += left.len();
        Changes { came, left }
    }

    fn may_be_in(&self, who: &str, now: Time) -> bool {
        self.rights.iter().any(|right| right.who == who && right.from <= now && now < right.until)
    }

    /// Whoever leaves just now is among them: until now they were there.
    fn time_the_present(&mut self, now: Time) {
        for (who, since) in &self.present {
            if self.may_be_in(who, now) {
                continue;
            }
            let ended = self.rights.iter().filter(|right| right.who == who && right.until <= now);
            let overstay = now - ended.map(|right| right.until).max().unwrap_or(*since).max(*since);
            self.longest_overstay = self.longest_overstay.max(overstay);
            if overstay > LIMIT {
                self.broken.insert(format!("{who} was in without a right for more than {LIMIT} s"));
            }
        }
    }

    /// Whoever came just now is among them: until now they were not there.
    fn time_the_awaited(&mut self, now: Time) {
        let current = self.rights.iter().filter(|right| right.from <= now && now < right.until);
        for right in current.filter(|right| self.present.get(right.who).is_none_or(|since| *since == now)) {
            let wait = now - right.from;
            self.longest_wait = self.longest_wait.max(wait);
            if wait > LIMIT {
                let from = shown(right.from);
                self.broken.insert(format!("{} had a right from {from} on, and waited more than {LIMIT} s", right.who));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RIGHTS: [Right; 1] = [Right { who: "ann", from: 100, until: 200 }];

    fn judged(looks: &[(Time, &[&str])]) -> Vec<String> {
        let mut judge = Judge::new(&RIGHTS);
        for (now, members) in looks {
            let members: Vec<String> = members.iter().map(|&who| who.to_owned()).collect();
            judge.look(*now, &members, None);
        }
        judge.broken.into_iter().collect()
    }

    #[test]
    fn whoever_is_in_and_out_in_time_is_not_accused() {
        assert_eq!(judged(&[(99, &[]), (150, &["ann"]), (199, &["ann"]), (260, &[])]), Vec::<String>::new());
    }

    #[test]
    fn whoever_is_in_or_out_at_the_wrong_time_is() {
        for (looks, accusation) in [
            (&[(99, &["ann"][..])][..], "ann came in without a right at 00:01"),
            (&[(100, &["ann"]), (150, &[])], "ann lost a right at 00:02"),
            (&[(100, &["ann"]), (261, &[])], "ann was in without a right for more than 60 s"),
            (&[(100, &["ann"]), (261, &["ann"])], "ann was in without a right for more than 60 s"),
            (&[(161, &[])], "ann had a right from 00:01 on, and waited more than 60 s"),
            (&[(150, &["bob"]), (160, &["ann"])], "bob came in without a right at 00:02"),
        ] {
            assert_eq!(judged(looks), [accusation]);
        }
    }

    #[test]
    fn an_outsider_is_no_fault_until_the_time_is_up() {
        let mut judge = Judge::new(&RIGHTS);
        judge.look(10, &["eve".to_owned()], Some("eve"));
        judge.look(70, &["eve".to_owned()], None);
        assert!(judge.broken.is_empty());
        judge.look(71, &["eve".to_owned()], None);
        assert_eq!(judge.longest_overstay, 61);
        assert_eq!(judge.broken.len(), 1);
    }
}
