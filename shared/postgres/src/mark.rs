//! The mark of a secret on the users whose passwords it holds: a piece of the role's comment, which only an admin can write.

const BEGIN: &str = "[keyturn ";
const END: char = ']';

/// The secret that a comment marks its role with.
#[must_use]
pub fn secret_in(comment: &str) -> Option<&str> {
    parts(comment).map(|(_, secret, _)| secret)
}

/// A comment with the mark of this secret, and of no other.
#[must_use]
pub fn with(comment: Option<&str>, secret: &str) -> String {
    let comment = comment.unwrap_or_default();
    let mark = format!("{BEGIN}{secret}{END}");
    match parts(comment) {
        Some((before, _, after)) => format!("{before}{mark}{after}"),
        None if comment.is_empty() => mark,
        None => format!("{comment} {mark}"),
    }
}

/// What stands before a mark, the secret it names, and what stands after it.
fn parts(comment: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = comment.rsplit_once(BEGIN)?;
    let (secret, after) = rest.split_once(END)?;
    Some((before, secret, after))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_mark_takes_the_place_of_the_one_before() {
        let first = with(Some("the shop's, ask ann"), "arn:1");
        assert_eq!(first, "the shop's, ask ann [keyturn arn:1]");
        assert_eq!(with(Some(&first), "arn:2"), "the shop's, ask ann [keyturn arn:2]");
        assert_eq!(with(None, "arn:1"), "[keyturn arn:1]");
    }

    proptest! {
        #[test]
        fn a_comment_keeps_everything_but_its_mark(comment in "[a-z \\[\\]]{0,12}(\\[keyturn [a-z]{0,3}\\]?[a-z]{0,3})?") {
            let marked = with(Some(&comment), "arn:1");
            prop_assert_eq!(secret_in(&marked), Some("arn:1"));
            prop_assert_eq!(with(Some(&marked), "arn:1"), marked.clone());
            let rest = |comment: &str| parts(comment).map_or(comment.to_owned(), |(before, _, after)| format!("{before}{after}"));
            prop_assert_eq!(rest(&marked).trim_end().to_owned(), rest(&comment).trim_end().to_owned());
        }
    }
}
