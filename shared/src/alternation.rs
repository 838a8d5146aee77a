//! The names of two users that take turns: a base and its twin.

/// What is appended to the base's name to name its twin; AWS's own functions do the same.
const TWIN_SUFFIX: &str = "_clone";

/// The name of the base's twin.
#[must_use]
pub fn twin_of(base: &str) -> String {
    format!("{base}{TWIN_SUFFIX}")
}

/// The base that a twin's name is made from; `None` for a name that is no twin's.
#[must_use]
pub fn base_of(name: &str) -> Option<&str> {
    name.strip_suffix(TWIN_SUFFIX).filter(|base| !base.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_twin_has_a_base() {
        assert_eq!(base_of(&twin_of("app")), Some("app"));
        assert_eq!(base_of(&twin_of("app_clone")), Some("app_clone"));
        assert_eq!((base_of("app"), base_of("_clone")), (None, None));
    }
}
