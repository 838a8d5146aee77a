//! The two search expressions that find one person, out of the language that Okta's `search` parameter takes.

/// `profile.email eq "..."` or `profile.login eq "..."`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Search {
    Email(String),
    Login(String),
}

impl Search {
    /// Reads an expression; `None` for any other one.
    pub(super) fn parse(expression: &str) -> Option<Self> {
        let (attribute, rest) = expression.split_once(" eq \"")?;
        let text = quoted(rest)?;
        match attribute {
            "profile.email" => Some(Self::Email(text)),
            "profile.login" => Some(Self::Login(text)),
            _ => None,
        }
    }
}

/// The text up to the closing quote, which must be the last character.
fn quoted(rest: &str) -> Option<String> {
    let mut text = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next()? {
            '"' => return characters.next().is_none().then_some(text),
            '\\' => text.push(characters.next().filter(|next| "\"\\".contains(*next))?),
            other => text.push(other),
        }
    }
}
