//! Patterns that names of users and databases must follow.

use std::collections::BTreeMap;

/// What placeholders stood for in a name.
pub(crate) type Captured = BTreeMap<String, String>;

/// How a name has to look: `{service...}_{env}_{role}`. `{x}` is one segment (letters, digits, dashes), `{x...}` one or more
/// of them with underscores between, everything else is itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Segment(String),
    Segments(String),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, placeholder) =
                rest.split_once('{').map_or((rest, None), |(literal, rest)| (literal, Some(rest)));
            if literal.contains('}') {
                return Err(format!("{text:?} has a '}}' without a '{{'"));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            let Some(placeholder) = placeholder else { break };
            let (name, after) =
                placeholder.split_once('}').ok_or_else(|| format!("{text:?} has a '{{' without a '}}'"))?;
            parts.push(part(name).ok_or_else(|| format!("{text:?} has a placeholder that is no name"))?);
            rest = after;
        }
        if parts.is_empty() {
            return Err("an empty pattern".to_owned());
        }
        Ok(Self { text: text.to_owned(), parts })
    }

    /// What the placeholders stand for in `name`; `None` if it does not follow the pattern. Placeholders in `known` must stand
    /// for that, and one that appears twice for the same.
    pub(crate) fn read(&self, name: &str, known: &Captured) -> Option<Captured> {
        read(&self.parts, name, known.clone())
    }

    /// Whether a placeholder of this name is in it.
    pub(crate) fn has(&self, placeholder: &str) -> bool {
        self.parts.iter().any(|part| match part {
            Part::Literal(_) => false,
            Part::Segment(name) | Part::Segments(name) => name == placeholder,
        })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn part(placeholder: &str) -> Option<Part> {
    let (name, many) = placeholder.strip_suffix("...").map_or((placeholder, false), |name| (name, true));
    let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase());
    let name = is_name.then(|| name.to_owned())?;
    Some(if many { Part::Segments(name) } else { Part::Segment(name) })
}

fn read(parts: &[Part], rest: &str, captured: Captured) -> Option<Captured> {
    let Some((part, parts)) = parts.split_first() else { return rest.is_empty().then_some(captured) };
    let (placeholder, fits): (_, fn(&str) -> bool) = match part {
        Part::Literal(literal) => return read(parts, rest.strip_prefix(literal.as_str())?, captured),
        Part::Segment(placeholder) => (placeholder, is_segment),
        Part::Segments(placeholder) => (placeholder, |text| text.split('_').all(is_segment)),
    };
    // Every length that is possible is tried: names are short.
    let ends = rest.char_indices().map(|(start, character)| start + character.len_utf8());
    ends.filter(|&end| fits(&rest[..end])).find_map(|end| {
        let (value, rest) = rest.split_at(end);
        let mut captured = captured.clone();
        let before = captured.insert(placeholder.clone(), value.to_owned());
        before.is_none_or(|before| before == value).then(|| read(parts, rest, captured))?
    })
}

fn is_segment(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn captured(pattern: &str, name: &str, known: &[(&str, &str)]) -> Option<String> {
        let known = known.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let captured = Pattern::parse(pattern).unwrap().read(name, &known)?;
        Some(captured.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn a_name_says_its_environment_in_the_segment_before_the_last() {
        const USUAL: &str = "{service...}_{env}_{role}";
        let prod = [("env", "prod")];
        for (name, expected) in [
            ("connectors_prod_rw", Some("env=prod role=rw service=connectors")),
            ("user_api_prod_ro", Some("env=prod role=ro service=user_api")),
            ("connectors_staging_rw", None),
            // Neither of these is prod's, though "prod" stands in them.
            ("connectors_prod_staging_rw", None),
            ("prod_staging_rw", None),
            ("connectors_prod", None),
            ("_prod_rw", None),
            ("connectors_prod_", None),
            ("connectors_prod_r w", None),
            ("", None),
        ] {
            assert_eq!(captured(USUAL, name, &prod).as_deref(), expected, "{name}");
        }
    }

    #[test]
    fn a_placeholder_stands_for_one_thing_in_user_and_database() {
        assert_eq!(captured("syrf_pr_{n}_app", "syrf_pr_12_app", &[]).as_deref(), Some("n=12"));
        assert_eq!(captured("syrf_pr_{n}", "syrf_pr_12", &[("n", "12")]).as_deref(), Some("n=12"));
        assert_eq!(captured("syrf_pr_{n}", "syrf_pr_13", &[("n", "12")]), None);
        assert_eq!(captured("{a}_{a}", "x_y", &[]), None);
        assert_eq!(captured("{a}_{a}", "x_x", &[]).as_deref(), Some("a=x"));
    }

    #[test]
    fn a_broken_pattern_is_refused() {
        for text in ["", "{", "a}", "{}", "{...}", "{Env}", "{a b}"] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_a_pattern_reads_puts_the_name_together_again(
            service in "[a-z0-9-]{1,6}(_[a-z0-9-]{1,6}){0,3}", env in "[a-z]{1,6}", role in "[a-z0-9-]{1,4}"
        ) {
            let name = format!("{service}_{env}_{role}");
            let known = Captured::from([("env".to_owned(), env.clone())]);
            let captured = Pattern::parse("{service...}_{env}_{role}").unwrap().read(&name, &known).unwrap();
            prop_assert_eq!(&captured["service"], &service);
            prop_assert_eq!(&captured["role"], &role);
        }
    }
}
