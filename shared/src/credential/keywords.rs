//! Keyword strings, such as `host=db user=app password='a b'`, as libpq's manual describes them under "Keyword/Value
//! Connection Strings": a value is bare or in single quotes, and a backslash escapes the next character in both.

use std::ops::Range;

use zeroize::Zeroizing;

use super::change::Change;
use super::document::{span, splice};

/// A value as it is written, quotes included, and what it stands for.
struct Setting<'s> {
    name: &'s str,
    written: &'s str,
    value: Zeroizing<String>,
}

/// The string with the new credential; nothing if it is no keyword string, or names no user or another one.
pub(super) fn rewrite(text: &str, change: &Change<'_>) -> Option<Zeroizing<String>> {
    let settings = settings(text)?;
    let mut users = settings.iter().filter(|setting| setting.name == "user").map(|setting| setting.value.as_str());
    if !users.next().is_some_and(|user| change.is_user(user)) || users.any(|user| !change.is_user(user)) {
        return None;
    }
    // As in URLs: a user of this name elsewhere, with a password and a host of its own, is somebody else.
    let of = |name| {
        settings.iter().find(|setting: &&Setting<'_>| setting.name == name).map(|setting| setting.value.as_str())
    };
    let is_ours = of("password").is_none_or(|password| password.is_empty() || password == change.old_password);
    if !is_ours && (change.host.is_none() || of("host") != change.host) {
        return None;
    }
    let replacements: Vec<(Range<usize>, Zeroizing<String>)> = settings
        .iter()
        .filter(|setting| !setting.value.is_empty())
        .filter_map(|setting| match setting.name {
            "user" => Some((span(text, setting.written), quote(change.username, setting.written))),
            "password" => Some((span(text, setting.written), quote(change.password, setting.written))),
            _ => None,
        })
        .collect();
    Some(splice(text, &replacements))
}

fn settings(text: &str) -> Option<Vec<Setting<'_>>> {
    let mut settings = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_end();
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
            return None;
        }
        let (written, value) = value(after.trim_start())?;
        settings.push(Setting { name, written, value });
        rest = rest.get(span(rest, written).end..)?;
        if !rest.is_empty() && !rest.starts_with(char::is_whitespace) {
            return None;
        }
        rest = rest.trim_start();
    }
    Some(settings)
}

/// The value at the start of `text`; nothing if its quotes do not close.
fn value(text: &str) -> Option<(&str, Zeroizing<String>)> {
    let mut value = Zeroizing::new(String::with_capacity(text.len()));
    let mut characters = text.char_indices();
    let quoted = text.starts_with('\'');
    if quoted {
        characters.next();
    }
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.push(characters.next()?.1),
            '\'' if quoted => return Some((&text[..=at], value)),
            _ if !quoted && character.is_whitespace() => return Some((&text[..at], value)),
            _ => value.push(character),
        }
    }
    (!quoted).then_some((text, value))
}

/// The value in quotes where it was in quotes or needs them.
fn quote(value: &str, written: &str) -> Zeroizing<String> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.~".contains(c);
    let mut quoted = Zeroizing::new(String::with_capacity(2 * value.len() + 2));
    if !written.starts_with('\'') && value.chars().all(is_plain) {
        quoted.push_str(value);
        return quoted;
    }
    quoted.push('\'');
    for character in value.chars() {
        if matches!(character, '\'' | '\\') {
            quoted.push('\\');
        }
        quoted.push(character);
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANGE: Change<'_> =
        Change { old_username: "app", old_password: "old", username: "twin", password: r"n'e\w", host: Some("h") };

    fn rewritten(text: &str) -> Option<String> {
        rewrite(text, &CHANGE).map(|new| new.to_string())
    }

    #[test]
    fn rewrites_user_and_password() {
        for (before, after) in [
            ("host=h user=app password=old dbname=d", r"host=h user=twin password='n\'e\\w' dbname=d"),
            ("host=h password = 'o\\'l d'  user\t= 'app'", r"host=h password = 'n\'e\\w'  user	= 'twin'"),
            ("user=a\\pp", "user=twin"),
            ("user=twin password='' host=''", "user=twin password='' host=''"),
        ] {
            assert_eq!(rewritten(before).as_deref(), Some(after), "{before}");
        }
    }

    #[test]
    fn leaves_alone_what_it_does_not_understand_or_own() {
        for text in [
            "",
            "user",
            "user=other password=old",
            "user=app password='old",
            "user=app x",
            "user='app'x=1",
            "user=app \\",
            "Host=h;User=app",
            "a b=c user=app",
            "host=reporting user=app password=other",
            "user=app password=other",
        ] {
            assert_eq!(rewritten(text), None, "{text}");
        }
    }
}
