//! The access report: who held what, when, and who holds what now. What was read goes in, texts come out; nothing here reads or
//! writes anything.

mod csv;
mod escape;
pub(crate) mod holding;
pub(crate) mod line;
mod page;
pub(crate) mod power;
#[cfg(test)]
mod tests;
mod timeline;

use holding::{End, Holding, Period};
use power::{Holders, Tie};

/// Everything that was found, as it is shown.
pub(crate) struct Findings {
    pub(crate) period: Period,
    pub(crate) holdings: Vec<Holding>,
    pub(crate) databases: Vec<Holders>,
    /// What could not be read, and what that hides; one sentence or two each.
    pub(crate) unknown: Vec<String>,
}

impl Findings {
    /// One CSV file of what was held.
    pub(crate) fn csv(&self) -> String {
        csv::of_holdings(&self.holdings, self.period)
    }

    /// One CSV file of who holds power now.
    pub(crate) fn powers_csv(&self) -> String {
        csv::of_powers(&self.databases)
    }

    /// One HTML page of both.
    pub(crate) fn html(&self) -> String {
        page::of(self)
    }

    /// Holdings that go on.
    pub(crate) fn still(&self) -> usize {
        self.holdings.iter().filter(|holding| holding.end == End::Still).count()
    }

    /// Logins with power that nothing answers for.
    pub(crate) fn untied(&self) -> usize {
        let powers = self.databases.iter().filter_map(|holders| holders.powers.as_ref().ok()).flatten();
        powers.filter(|power| power.tie == Tie::Nothing).count()
    }
}

fn sources(holding: &Holding) -> String {
    let names: Vec<&str> = holding.sources.iter().map(|source| (*source).into()).collect();
    names.join(" and ")
}
