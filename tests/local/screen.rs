//! What people read in a terminal: columns, and a little colour where it is wanted.

use std::io::IsTerminal as _;
use std::time::Duration;

/// Where to print. Colour only on a terminal, and not where `NO_COLOR` is set.
#[derive(Clone, Copy)]
pub(crate) struct Screen {
    colour: bool,
}

impl Screen {
    pub(crate) fn stdout() -> Self {
        Self {
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty()),
        }
    }

    pub(crate) fn title(self, text: &str) {
        println!("\n{}", self.painted("1", text));
    }

    pub(crate) fn note(self, text: &str) {
        println!("{}", self.dim(text));
    }

    pub(crate) fn dim(self, text: &str) -> String {
        self.painted("2", text)
    }

    pub(crate) fn good(self, text: &str) -> String {
        self.painted("32", text)
    }

    /// Not as it should be.
    pub(crate) fn bad(self, text: &str) -> String {
        self.painted("1;31", text)
    }

    pub(crate) fn name(self, text: &str) -> String {
        self.painted("36", text)
    }

    /// A number that has to be zero.
    pub(crate) fn zero(self, number: u64, width: usize) -> String {
        let text = format!("{number:>width$}");
        if number == 0 { self.good(&text) } else { self.bad(&text) }
    }

    /// A measurement beside its budget.
    pub(crate) fn budget(self, kept: bool) -> String {
        if kept { self.good("within") } else { self.bad("OVER") }
    }

    fn painted(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `1,234,567`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits.as_bytes().rchunks(3).rev().filter_map(|group| str::from_utf8(group).ok()).collect();
    groups.join(",")
}

/// `8.1 ms`, `147 ms`
pub(crate) fn milliseconds(duration: Duration) -> String {
    let milliseconds = duration.as_secs_f64() * 1000.0;
    if milliseconds < 9.95 { format!("{milliseconds:.1} ms") } else { format!("{milliseconds:.0} ms") }
}

/// `11.2 MB`, in megabytes of a million bytes: as strict as it gets.
#[expect(clippy::cast_precision_loss, reason = "one decimal of a few megabytes")]
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_easy_to_read() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!(milliseconds(Duration::from_micros(8_123)), "8.1 ms");
        assert_eq!(milliseconds(Duration::from_micros(147_400)), "147 ms");
        assert_eq!(megabytes(11_240_000), "11.2 MB");
    }
}
