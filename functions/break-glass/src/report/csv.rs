//! The report as CSV (RFC 4180): one file of what was held, one of who holds power now.

use super::holding::{Begin, End, Holding, Period, What};
use super::power::{Holders, Power, Tie};
use super::sources;
use keyturn::clock::instant;

/// What was held.
pub(super) fn of_holdings(holdings: &[Holding], period: Period) -> String {
    let mut text = String::new();
    row(
        &mut text,
        &[
            "kind",
            "what",
            "binding",
            "person",
            "account",
            "from",
            "from_is",
            "planned_until",
            "to",
            "to_is",
            "minutes",
            "why_begun",
            "why_ended",
            "source",
        ],
    );
    for holding in holdings {
        let (kind, what, binding) = match &holding.what {
            What::Database(name) => ("database", name.as_str(), ""),
            What::Group { binding, group } => ("group", group.as_str(), binding.as_str()),
        };
        let (from, from_is) = match holding.begin {
            Begin::At(at) => (instant(at), "known"),
            Begin::Before => (String::new(), "before the period"),
            Begin::Unknown(_) => (String::new(), "unknown"),
        };
        let (to, to_is) = match holding.end {
            End::At(at) => (instant(at), "known"),
            End::Still => (String::new(), "still"),
            End::Unknown(_) => (String::new(), "unknown"),
        };
        let minutes = minutes(holding, period).map(|minutes| minutes.to_string()).unwrap_or_default();
        let planned = holding.planned.map(instant).unwrap_or_default();
        let source = sources(holding);
        let Holding { person, account, why_begun, why_ended, .. } = holding;
        row(
            &mut text,
            &[
                kind, what, binding, person, account, &from, from_is, &planned, &to, to_is, &minutes, why_begun,
                why_ended, &source,
            ],
        );
    }
    text
}

/// For how long, where both ends are known or it goes on.
fn minutes(holding: &Holding, period: Period) -> Option<i64> {
    match (holding.begin, holding.end) {
        (Begin::At(from), End::At(to)) => Some((to - from).num_minutes()),
        (Begin::At(from), End::Still) => Some((period.now - from).num_minutes()),
        _ => None,
    }
}

/// Who holds power now. A database that could not be read has a row that says so.
pub(super) fn of_powers(databases: &[Holders]) -> String {
    let mut text = String::new();
    row(&mut text, &["database", "engine", "login", "powers", "until", "tied_to", "tie"]);
    for Holders { database, engine, powers } in databases {
        match powers {
            Ok(powers) => {
                for Power { login, powers, until, tie } in powers {
                    let (kind, of) = match tie {
                        Tie::Nothing => ("nothing", ""),
                        Tie::Person(person) => ("person", person.as_str()),
                        Tie::Account(words) => ("account", words.as_str()),
                        Tie::AdminSecret(arn) => ("admin secret", arn.as_str()),
                        Tie::Secret(arn) => ("secret", arn.as_str()),
                    };
                    let until = until.map(instant).unwrap_or_default();
                    row(&mut text, &[database, engine, login, &powers.join("; "), &until, kind, of]);
                }
            }
            Err(why) => row(&mut text, &[database, engine, "", "", "", "unknown", why]),
        }
    }
    text
}

fn row(text: &mut String, cells: &[&str]) {
    let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
    text.push_str(&cells.join(","));
    text.push_str("\r\n");
}

/// Always quoted. A cell that a spreadsheet would run as a formula begins with an apostrophe, which makes it text.
fn quoted(cell: &str) -> String {
    let is_formula = |c: char| matches!(c, '=' | '+' | '-' | '@' | '\t' | '\r' | '\n' | '＝' | '＋' | '－' | '＠');
    let begins = |text: &str| text.starts_with(is_formula);
    let mark = if begins(cell) || begins(cell.trim_start()) { "'" } else { "" };
    format!("\"{mark}{}\"", cell.replace('"', "\"\""))
}
