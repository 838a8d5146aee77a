//! A day of break-glass as a story: what happens when, and who may be in the group because of it.
//!
//! [`RIGHTS`] is written down by hand beside the story. It knows nothing of shifts, ledgers or the function, so that it
//! can judge them.

/// A time of the day, in seconds since its midnight.
pub(super) type Time = i64;

pub(super) const BEGINS: Time = at(9, 0, 0);
/// When the last tick is due.
pub(super) const ENDS: Time = at(20, 5, 0);

pub(super) const PEOPLE: [&str; 5] = ["ann", "bob", "cem", "dan", "eve"];

/// Who is on the schedule from the beginning.
pub(super) const SHIFTS: [(&str, Time, Time); 4] = [
    ("ann", at(9, 0, 0), at(12, 0, 0)),
    ("bob", at(12, 0, 0), at(16, 0, 0)),
    ("cem", at(16, 0, 0), at(20, 0, 0)),
    ("ann", at(20, 0, 0), at(24, 0, 0)),
];

pub(super) enum Act {
    /// Time passes: the schedule says the rest.
    Passes,
    /// Somebody takes over on the schedule from now on.
    TakesOver {
        who: &'static str,
        until: Time,
    },
    /// PagerDuty answers nothing but errors.
    PagerDutyFails,
    PagerDutyAnswers,
    /// Somebody puts a person into the group at Okta.
    AddedAtOkta(&'static str),
    /// A grant by hand, for this many minutes.
    Grant(&'static str, u32),
    Revoke(&'static str),
}

/// One scene of the day.
pub(super) struct Scene {
    pub at: Time,
    pub title: &'static str,
    pub act: Act,
    pub note: &'static str,
}

pub(super) const STORY: [Scene; 13] = [
    scene(at(9, 0, 0), "the first tick", Act::Passes, "whoever is on call comes in"),
    scene(at(12, 0, 0), "shift change", Act::Passes, ""),
    scene(at(13, 30, 0), "override", Act::TakesOver { who: "cem", until: at(14, 30, 0) }, "cem takes an hour"),
    scene(at(14, 30, 0), "override is over", Act::Passes, ""),
    scene(at(15, 40, 0), "PagerDuty fails", Act::PagerDutyFails, "bob's shift is in the ledger: he stays"),
    scene(at(16, 0, 0), "shift end, unread", Act::Passes, "nobody new comes in without a word from PagerDuty"),
    scene(at(16, 40, 0), "PagerDuty is back", Act::PagerDutyAnswers, ""),
    scene(at(17, 10, 25), "added at Okta", Act::AddedAtOkta("eve"), "an admin's click; nobody is on call as eve"),
    scene(at(17, 30, 0), "grant by hand", Act::Grant("dan", 60), "60 minutes, \"INC-42\""),
    scene(at(18, 30, 0), "its end", Act::Passes, ""),
    scene(at(19, 0, 0), "revoke by hand", Act::Revoke("cem"), "held out, though the schedule names cem"),
    scene(at(19, 59, 0), "still held", Act::Passes, "59 ticks did not put cem back"),
    scene(at(20, 0, 0), "shift change", Act::Passes, ""),
];

/// Somebody has to be in the group in this time.
pub(super) struct Right {
    pub who: &'static str,
    pub from: Time,
    /// And from this moment on not any more.
    pub until: Time,
}

/// All there are. Whoever is in without one has to leave.
pub(super) const RIGHTS: [Right; 7] = [
    right("ann", at(9, 0, 0), at(12, 0, 0)),
    right("bob", at(12, 0, 0), at(13, 30, 0)),
    right("cem", at(13, 30, 0), at(14, 30, 0)),
    right("bob", at(14, 30, 0), at(16, 0, 0)),
    right("cem", at(16, 40, 0), at(19, 0, 0)), // not at 16:00: PagerDuty cannot say so
    right("dan", at(17, 30, 0), at(18, 30, 0)),
    right("ann", at(20, 0, 0), at(24, 0, 0)),
];

/// A time of the day.
pub(super) const fn at(hours: i64, minutes: i64, seconds: i64) -> Time {
    (hours * 60 + minutes) * 60 + seconds
}

/// `17:10`
pub(super) fn shown(time: Time) -> String {
    format!("{:02}:{:02}", time / 3600, time / 60 % 60)
}

const fn scene(at: Time, title: &'static str, act: Act, note: &'static str) -> Scene {
    Scene { at, title, act, note }
}

const fn right(who: &'static str, from: Time, until: Time) -> Right {
    Right { who, from, until }
}
