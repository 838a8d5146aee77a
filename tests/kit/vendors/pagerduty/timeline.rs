//! Who is on a schedule when: shifts, the overrides that cut them, and what is left of both.

use chrono::{DateTime, Utc};

/// A stretch of a schedule, `start <= t < end`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) start: DateTime<Utc>,
    pub(super) end: DateTime<Utc>,
    /// The user's id; `None` is a slot left unassigned on purpose.
    pub(super) user: Option<String>,
    /// Whether an override put it there.
    pub(super) overriding: bool,
    /// The user whose place this override takes; `None`: everybody's in its rotation.
    pub(super) in_place_of: Option<String>,
    /// The number of the rotation that it is of, in a shift-based schedule; `None` is a custom shift.
    pub(super) rotation: Option<usize>,
}

impl Slot {
    /// A shift of somebody, or of nobody.
    pub(super) fn new(start: DateTime<Utc>, end: DateTime<Utc>, user: Option<&str>) -> Self {
        assert!(start < end, "the test's shift ends before it starts");
        Self { start, end, user: user.map(str::to_owned), overriding: false, in_place_of: None, rotation: Some(0) }
    }
}

/// The time a request asks about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) since: DateTime<Utc>,
    pub(super) until: DateTime<Utc>,
}

impl Window {
    /// Whether the slot has a moment in the window; a window of no length is that one moment.
    pub(super) fn meets(&self, slot: &Slot) -> bool {
        slot.end > self.since && (slot.start < self.until || slot.start <= self.since)
    }

    /// The slots that meet the window: whole ones with `overflow`, else cut at its ends.
    pub(super) fn shown(self, slots: &[Slot], overflow: bool) -> impl Iterator<Item = Slot> {
        let met = slots.iter().filter(move |slot| self.meets(slot)).cloned();
        met.map(move |slot| if overflow { slot } else { self.clip(slot) })
    }

    /// The part of the slot that lies in the window.
    fn clip(&self, slot: Slot) -> Slot {
        Slot { start: slot.start.max(self.since), end: slot.end.min(self.until), ..slot }
    }
}

/// A layer-based schedule has one person at a time: every layer covers those before it.
pub(super) fn stacked(shifts: &[Slot], overrides: &[Slot]) -> Vec<Slot> {
    let slots = shifts.iter().chain(overrides).fold(Vec::new(), cover);
    sorted(slots)
}

/// A shift-based schedule may have several people at a time; only an override takes somebody's place, in its own rotation.
pub(super) fn side_by_side(shifts: &[Slot], overrides: &[Slot]) -> Vec<Slot> {
    let cover_own = |slots: Vec<Slot>, over: &Slot| {
        let is_meant = |slot: &Slot| over.in_place_of.is_none() || over.in_place_of == slot.user;
        let (own, mut others): (Vec<Slot>, Vec<Slot>) =
            slots.into_iter().partition(|slot| slot.rotation == over.rotation && is_meant(slot));
        others.extend(cover(own, over));
        others
    };
    sorted(overrides.iter().fold(shifts.to_vec(), cover_own))
}

/// How much of the window has a person, in percent with one decimal.
pub(super) fn coverage(slots: &[Slot], window: Window) -> f64 {
    let mut covered = 0;
    let mut reached = window.since;
    for slot in slots.iter().filter(|slot| slot.user.is_some() && window.meets(slot)) {
        let (start, end) = (slot.start.max(reached), slot.end.min(window.until));
        covered += (end - start).num_seconds().max(0);
        reached = reached.max(end);
    }
    let permille = covered * 1000 / (window.until - window.since).num_seconds().max(1);
    f64::from(i32::try_from(permille).unwrap_or(1000)) / 10.0
}

/// Lays a slot over the others: what it covers of them is gone.
fn cover(slots: Vec<Slot>, over: &Slot) -> Vec<Slot> {
    let mut left: Vec<Slot> = slots.into_iter().flat_map(|slot| pieces(slot, over)).collect();
    left.push(over.clone());
    left
}

/// What is left of a slot before and after another.
fn pieces(slot: Slot, over: &Slot) -> impl Iterator<Item = Slot> {
    let before = Slot { end: slot.end.min(over.start), ..slot.clone() };
    let after = Slot { start: slot.start.max(over.end), ..slot };
    [before, after].into_iter().filter(|piece| piece.start < piece.end)
}

fn sorted(mut slots: Vec<Slot>) -> Vec<Slot> {
    slots.sort_by_key(|slot| (slot.start, slot.end));
    slots
}
