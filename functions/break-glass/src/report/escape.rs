//! Text in HTML and SVG.

use keyturn::alert::is_unseen;

/// Text for HTML and SVG, in elements and in quoted attributes. Characters that could hide others, or turn their order round,
/// are shown as such.
pub(super) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c if is_unseen(c) => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
