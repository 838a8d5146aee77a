//! New passwords: which characters they may and must hold, drawn from the operating system's randomness.

use rand::TryRng;
use rand::rngs::SysRng;
use secrecy::SecretString;
use zeroize::Zeroizing;

use crate::codes::Code;
use crate::settings::{DeclaredSetting, Vars};
use crate::{Error, Result};
use strum::{EnumIter, EnumMessage, EnumProperty, IntoStaticStr};

/// What Secrets Manager's `GetRandomPassword` calls punctuation (its API reference).
const AWS_PUNCTUATION: &str = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";
const UPPERCASE: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const LOWERCASE: &str = "abcdefghijklmnopqrstuvwxyz";
const NUMBERS: &str = "0123456789";

/// The API's own limit.
const MAX_LENGTH: usize = 4096;

/// The settings of a new password: those that AWS's own rotation functions have, so that a function can be swapped under an
/// existing secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, EnumProperty, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Setting {
    /// 1 to 4096 characters
    #[strum(props(default = "32; rotate-mongo: 40", example = "32"))]
    PasswordLength,
    /// not set: passwords are of `A-Za-z0-9-_.~` (rotate-mongo: `A-Za-z0-9`), safe in URLs, shells, YAML and JDBC; set, even
    /// to nothing: of all printable ASCII but these characters (and no space)
    #[strum(props(default = "not set", example = ":/@\"'\\"))]
    ExcludeCharacters,
    /// leave digits out
    #[strum(props(default = "false", example = "true"))]
    ExcludeNumbers,
    /// leave punctuation out
    #[strum(props(default = "false", example = "true"))]
    ExcludePunctuation,
    /// leave capital letters out
    #[strum(props(default = "false", example = "true"))]
    ExcludeUppercase,
    /// leave small letters out
    #[strum(props(default = "false", example = "true"))]
    ExcludeLowercase,
    /// at least one character of each kind that is not left out
    #[strum(props(default = "true"))]
    RequireEachIncludedType,
}

impl DeclaredSetting for Setting {}

/// What passwords look like where the settings say nothing.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    length: usize,
    punctuation: &'static str,
}

impl Preset {
    /// 32 characters of `A-Za-z0-9-_.~`: safe unescaped in URLs, shells, YAML and JDBC strings.
    pub const SAFE: Self = Self { length: 32, punctuation: "-_.~" };
    /// 40 characters of `A-Za-z0-9`: for systems that forbid some punctuation.
    pub const ALPHANUMERIC: Self = Self { length: 40, punctuation: "" };
}

/// What a new password looks like. Read from the settings that AWS's own rotation functions have, so that a function can
/// be swapped under an existing secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    length: usize,
    /// The characters allowed, by type; no type is empty.
    classes: Vec<String>,
    require_each: bool,
}

impl From<Preset> for PasswordPolicy {
    /// The preset as it is, with at least one character of each type.
    fn from(preset: Preset) -> Self {
        Self { length: preset.length, classes: classes([false; 4], None, &preset), require_each: true }
    }
}

impl PasswordPolicy {
    /// Reads the policy; mistakes are noted in `vars`, which then does not [`finish`](Vars::finish).
    ///
    /// Apart from `EXCLUDE_CHARACTERS`, a setting that is empty counts as not set. For true AWS's functions accept `true`,
    /// `1`, `y`, `yes` in any letter case.
    pub fn read(preset: Preset, vars: &mut Vars) -> Self {
        let mut flag = |setting, default| vars.parsed(setting, boolean).unwrap_or(default);
        let left_out = [
            flag(Setting::ExcludeUppercase, false),
            flag(Setting::ExcludeLowercase, false),
            flag(Setting::ExcludeNumbers, false),
            flag(Setting::ExcludePunctuation, false),
        ];
        let require_each = flag(Setting::RequireEachIncludedType, true);
        let length = vars.parsed(Setting::PasswordLength, length).unwrap_or(preset.length);
        let classes = classes(left_out, vars.raw(Setting::ExcludeCharacters), &preset);
        if classes.is_empty() {
            vars.mistake(
                Setting::ExcludeCharacters,
                "with the other EXCLUDE_ settings, no character is left for a password",
            );
        } else if require_each && length < classes.len() {
            let types = classes.len();
            let problem = format!("{length} is too short for one character of each of {types} types");
            vars.mistake(Setting::PasswordLength, &problem);
        } else {
            return Self { length, classes, require_each };
        }
        preset.into()
    }

    /// A new password. Every password the policy allows is equally likely.
    ///
    /// Errors: `RANDOMNESS_UNAVAILABLE` when the operating system has none to give.
    pub fn generate(&self) -> Result<SecretString> {
        let alphabet = self.classes.concat().into_bytes();
        loop {
            let password = self.draw(&alphabet)?;
            // Dropping a whole draw, unlike mending it, keeps every position unbiased.
            if !self.require_each || self.classes.iter().all(|class| password.contains(|c| class.contains(c))) {
                return Ok(SecretString::from(password.as_str()));
            }
        }
    }

    fn draw(&self, alphabet: &[u8]) -> Result<Zeroizing<String>> {
        // Bytes cut to the fewest bits that can number the alphabet; a number beyond it is dropped, so none is favoured.
        let mask = u8::try_from(alphabet.len().next_power_of_two() - 1).unwrap_or(u8::MAX);
        let mut password = Zeroizing::new(String::with_capacity(self.length));
        let mut random = Zeroizing::new([0_u8; 64]);
        while password.len() < self.length {
            SysRng.try_fill_bytes(random.as_mut()).map_err(|error| {
                Error::new(
                    Code::RandomnessUnavailable,
                    format!("The operating system gave no randomness for a new password: {error}."),
                    "Run the rotation again.",
                )
            })?;
            let missing = self.length - password.len();
            let drawn = random.iter().filter_map(|byte| alphabet.get(usize::from(byte & mask)));
            password.extend(drawn.take(missing).map(|&byte| char::from(byte)));
        }
        Ok(password)
    }
}

/// The characters of each type that is not left out. A type whose characters are all excluded counts as left out.
fn classes(left_out: [bool; 4], excluded: Option<String>, preset: &Preset) -> Vec<String> {
    let punctuation = if excluded.is_some() { AWS_PUNCTUATION } else { preset.punctuation };
    let excluded = excluded.unwrap_or_default();
    [UPPERCASE, LOWERCASE, NUMBERS, punctuation]
        .iter()
        .zip(left_out)
        .filter(|(_, left_out)| !left_out)
        .map(|(class, _)| class.chars().filter(|&character| !excluded.contains(character)).collect())
        .filter(|class: &String| !class.is_empty())
        .collect()
}

fn length(value: &str) -> std::result::Result<usize, String> {
    match value.trim().parse() {
        Ok(length) if (1..=MAX_LENGTH).contains(&length) => Ok(length),
        _ => Err(format!("not a whole number from 1 to {MAX_LENGTH}")),
    }
}

/// AWS's functions read every other word as false, even "on": better refused than guessed.
fn boolean(value: &str) -> std::result::Result<bool, String> {
    match value.to_lowercase().as_str() {
        "true" | "1" | "y" | "yes" => Ok(true),
        "false" | "0" | "n" | "no" => Ok(false),
        _ => Err("neither true nor false".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use secrecy::ExposeSecret;

    use super::*;

    fn policy(settings: &[(&str, &str)]) -> Result<PasswordPolicy> {
        let pairs = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut vars = Vars::from_pairs(pairs);
        let policy = PasswordPolicy::read(Preset::SAFE, &mut vars);
        vars.finish().map(|()| policy)
    }

    fn alphabet(settings: &[(&str, &str)]) -> BTreeSet<char> {
        policy(settings).unwrap().classes.concat().chars().collect()
    }

    fn printable_without(excluded: &str) -> BTreeSet<char> {
        ('!'..='~').filter(|&character| !excluded.contains(character)).collect()
    }

    #[test]
    fn defaults_to_32_safe_characters_of_each_type() {
        let policy = policy(&[]).unwrap();
        assert_eq!(policy, PasswordPolicy::from(Preset::SAFE));
        let password = policy.generate().unwrap();
        let password = password.expose_secret();
        assert_eq!(password.len(), 32);
        assert!(password.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c)));
        assert!(password.contains(|c: char| c.is_ascii_uppercase()));
        assert!(password.contains(|c: char| c.is_ascii_lowercase()));
        assert!(password.contains(|c: char| c.is_ascii_digit()));
        assert!(password.contains(|c: char| "-_.~".contains(c)));
    }

    #[test]
    fn excluded_characters_leave_the_rest_of_what_aws_draws_from() {
        assert_eq!(alphabet(&[("EXCLUDE_CHARACTERS", "")]), printable_without(""));
        assert_eq!(alphabet(&[("EXCLUDE_CHARACTERS", ":/@\"'\\")]), printable_without(":/@\"'\\"));
        assert_eq!(alphabet(&[("EXCLUDE_CHARACTERS", "é ")]), printable_without(""));
        assert_eq!(
            alphabet(&[("EXCLUDE_CHARACTERS", "aA0"), ("EXCLUDE_PUNCTUATION", "Yes"), ("EXCLUDE_NUMBERS", "1")]),
            printable_without("aA0").into_iter().filter(char::is_ascii_alphabetic).collect()
        );
    }

    #[test]
    fn types_are_left_out_of_the_safe_alphabet_too() {
        let safe: BTreeSet<char> = "-_.~".chars().collect();
        let all_but_punctuation = [
            ("EXCLUDE_UPPERCASE", "true"),
            ("EXCLUDE_LOWERCASE", "TRUE"),
            ("EXCLUDE_NUMBERS", "y"),
            ("EXCLUDE_PUNCTUATION", "no"),
        ];
        assert_eq!(alphabet(&all_but_punctuation), safe);
        assert!(alphabet(&[("EXCLUDE_PUNCTUATION", "true")]).is_disjoint(&safe));
        assert_eq!(alphabet(&[("EXCLUDE_NUMBERS", "")]), alphabet(&[]));
    }

    #[test]
    fn a_type_with_every_character_excluded_is_not_required() {
        let policy = policy(&[("EXCLUDE_CHARACTERS", "0123456789"), ("PASSWORD_LENGTH", "3")]).unwrap();
        assert_eq!((policy.length, policy.classes.len()), (3, 3));
    }

    #[test]
    fn short_passwords_are_possible_where_no_type_is_required() {
        let settings = [("PASSWORD_LENGTH", " 1 "), ("REQUIRE_EACH_INCLUDED_TYPE", "False")];
        assert_eq!(policy(&settings).unwrap().generate().unwrap().expose_secret().len(), 1);
    }

    #[test]
    fn reports_every_mistake_with_an_example() {
        let refused = |settings: &[(&str, &str)]| policy(settings).unwrap_err().message().to_owned();
        let mistakes = refused(&[
            ("PASSWORD_LENGTH", "4097"),
            ("EXCLUDE_NUMBERS", "on"),
            ("REQUIRE_EACH_INCLUDED_TYPE", "t"),
            ("EXCLUDE_CHARACTERS", "x"),
        ]);
        for mistake in [
            "EXCLUDE_NUMBERS: neither true nor false, for example EXCLUDE_NUMBERS=true",
            "REQUIRE_EACH_INCLUDED_TYPE: neither true nor false, for example REQUIRE_EACH_INCLUDED_TYPE=true",
            "PASSWORD_LENGTH: not a whole number from 1 to 4096, for example PASSWORD_LENGTH=32",
        ] {
            assert!(mistakes.contains(mistake), "{mistakes}");
        }
        for length in ["0", "3", "-1", "32.0", "x"] {
            let mistakes = refused(&[("PASSWORD_LENGTH", length)]);
            assert!(mistakes.contains("has 1 bad setting(s): PASSWORD_LENGTH: "), "{mistakes}");
        }
        let everything: String = printable_without("").into_iter().collect();
        let mistakes = refused(&[("EXCLUDE_CHARACTERS", &everything)]);
        assert!(mistakes.contains("has 1 bad setting(s): EXCLUDE_CHARACTERS: with the other"), "{mistakes}");
    }

    #[test]
    fn every_character_is_as_likely_at_every_position() {
        // 94 characters, 94 * 400 passwords of 8: each count is about binomial, mean 400, standard deviation 20. Ten of
        // them away happens by chance less than once in 10^15 runs, while favouring low numbers (256 modulo 94) would be far beyond.
        let policy =
            policy(&[("EXCLUDE_CHARACTERS", ""), ("PASSWORD_LENGTH", "8"), ("REQUIRE_EACH_INCLUDED_TYPE", "false")])
                .unwrap();
        let mut counts = vec![[0_u32; 8]; 128];
        for _ in 0..94 * 400 {
            for (position, byte) in policy.generate().unwrap().expose_secret().bytes().enumerate() {
                counts[usize::from(byte)][position] += 1;
            }
        }
        for character in b'!'..=b'~' {
            for count in counts[usize::from(character)] {
                assert!((200..=600).contains(&count), "{:?} came {count} times", char::from(character));
            }
        }
    }

    #[test]
    fn required_types_favour_no_position() {
        // One digit among letters: where it is must be uniform over 4 positions. Mean 1000, standard deviation below 28.
        let policy = PasswordPolicy { length: 4, classes: vec!["abc".to_owned(), "1".to_owned()], require_each: true };
        let mut counts = [0_u32; 4];
        let mut seen = 0;
        while seen < 4000 {
            let password = policy.generate().unwrap();
            if password.expose_secret().matches('1').count() == 1 {
                counts[password.expose_secret().find('1').unwrap()] += 1;
                seen += 1;
            }
        }
        assert!(counts.iter().all(|count| (700..=1300).contains(count)), "{counts:?}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn every_password_obeys_its_policy(
            excluded in proptest::option::of("[ -~]{0,60}"), length in 1_usize..200, left_out in any::<[bool; 4]>(), require in any::<bool>(),
        ) {
            let names = ["EXCLUDE_UPPERCASE", "EXCLUDE_LOWERCASE", "EXCLUDE_NUMBERS", "EXCLUDE_PUNCTUATION"];
            let length_text = length.to_string();
            let mut settings = vec![("PASSWORD_LENGTH", length_text.as_str()), ("REQUIRE_EACH_INCLUDED_TYPE", if require { "true" } else { "false" })];
            settings.extend(excluded.as_deref().map(|excluded| ("EXCLUDE_CHARACTERS", excluded)));
            settings.extend(names.into_iter().zip(left_out).map(|(name, out)| (name, if out { "true" } else { "false" })));
            let Ok(policy) = policy(&settings) else { return Ok(()) };
            let password = policy.generate().unwrap();
            let password = password.expose_secret();
            prop_assert_eq!(password.len(), length);
            let is: [fn(&char) -> bool; 4] =
                [char::is_ascii_uppercase, char::is_ascii_lowercase, char::is_ascii_digit, char::is_ascii_punctuation];
            let allowed = |c: &char| match &excluded {
                Some(excluded) => c.is_ascii_graphic() && !excluded.contains(*c),
                None => c.is_ascii_alphanumeric() || "-_.~".contains(*c),
            };
            prop_assert!(password.chars().all(|c| allowed(&c)));
            for (is, left_out) in is.iter().zip(left_out) {
                let there = password.chars().any(|c| is(&c));
                if left_out {
                    prop_assert!(!there);
                } else if require && ('!'..='~').any(|c| is(&c) && allowed(&c)) {
                    prop_assert!(there);
                }
            }
        }
    }
}
