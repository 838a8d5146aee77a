//! What one secret asks for, by its tags: whoever may write the value alone decides none of this.

use crate::codes::Code;
use crate::layout::Layout;
use crate::settings::{Settings, StaleSessions, Tag};
use keyturn::credential::Credential;
use keyturn::rotation::Job;
use keyturn::{Error, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    /// The ARN of the secret, which the two users are marked with.
    pub(crate) secret: String,
    pub(crate) layout: Layout,
    /// Logins act as the base or owner (`SET role`), so that it owns what they make.
    pub(crate) acts_as_base: bool,
    /// Roles, and ARNs of secrets whose users this secret takes over, that the operator vouches for.
    pub(crate) adopted: Vec<String>,
    /// Every how many days the secret is rotated, where its schedule says so.
    pub(crate) period_days: Option<i64>,
    pub(crate) stale_sessions: StaleSessions,
    pub(crate) valid_days: Option<u16>,
    /// `valid_days` from now, as VALID UNTIL takes it.
    pub(crate) new_valid_until: Option<String>,
}

impl Case {
    /// Errors: `TAG_INVALID`, `LAYOUT_IN_VALUE`.
    pub(crate) fn of(credential: &Credential, job: &Job) -> Result<Self> {
        // An `owner` by itself is a note of the team's own: secrets made for AWS's function may hold any key.
        if credential.has("usernames")? {
            return Err(Error::new(
                Code::LayoutInValue,
                format!(
                    "The value of {} has the key \"usernames\": who may write the value must not choose whose password changes.",
                    job.secret_arn
                ),
                format!(
                    "Take \"usernames\" and \"owner\" out of the value, and tag the secret: aws secretsmanager tag-resource --secret-id {} --tags 'Key=keyturn:usernames,Value=app_a app_b' Key=keyturn:owner,Value=app",
                    job.secret_arn
                ),
            ));
        }
        let acts_as_base = match job.tag(Tag::ActsAs) {
            None | Some("owner") => true,
            Some("self") => false,
            Some(_) => return Err(job.bad_tag(Tag::ActsAs, "neither owner nor self")),
        };
        let adopted = job.tag(Tag::Adopt).unwrap_or_default().split([' ', ',']);
        Ok(Self {
            secret: job.secret_arn.clone(),
            layout: Layout::of(job)?,
            acts_as_base,
            adopted: adopted.filter(|name| !name.is_empty()).map(str::to_owned).collect(),
            period_days: job.period_days,
            stale_sessions: StaleSessions::default(),
            valid_days: None,
            new_valid_until: None,
        })
    }

    /// With what the deployment asks for.
    pub(crate) fn under(self, settings: &Settings) -> Self {
        let Settings { stale_sessions, valid_days, .. } = *settings;
        Self { stale_sessions, valid_days, new_valid_until: settings.new_valid_until(), ..self }
    }

    /// The password of the user that is not in use has to last for two periods: one until its turn is over, and one until the
    /// next turn replaces it.
    ///
    /// Errors: `PASSWORD_VALID_TOO_SHORT`.
    pub(crate) fn check_valid_days(&self) -> Result<()> {
        match (self.valid_days, self.period_days) {
            (Some(valid), Some(period)) if i64::from(valid) <= 2 * period => Err(Error::new(
                Code::PasswordValidTooShort,
                format!(
                    "PASSWORD_VALID_DAYS is {valid}, and {} is rotated every {period} days: a password would die before it is replaced, two periods later.",
                    self.secret
                ),
                format!("Set it to {} or more, or rotate more often.", 2 * period + 1),
            )),
            _ => Ok(()),
        }
    }

    /// Whether the operator vouches for this role, or for taking over the users of this secret.
    pub(crate) fn adopts(&self, role_or_secret: &str) -> bool {
        self.adopted.iter().any(|name| name == role_or_secret)
    }
}

#[cfg(test)]
impl Case {
    pub(crate) fn with(layout: Layout) -> Self {
        Self {
            secret: "arn:app".to_owned(),
            layout,
            acts_as_base: true,
            adopted: Vec::new(),
            period_days: None,
            stale_sessions: StaleSessions::default(),
            valid_days: None,
            new_valid_until: None,
        }
    }

    pub(crate) fn adopting(self, role_or_secret: &str) -> Self {
        Self { adopted: vec![role_or_secret.to_owned()], ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::Deadline;
    use std::time::Duration;

    fn case(value: &str, tags: &[(&str, &str)]) -> Result<Case> {
        let text = format!(r#"{{"username": "app", "password": "x"{value}}}"#);
        let tags = tags.iter().map(|(name, value)| (format!("keyturn:{name}"), (*value).to_owned()));
        let job = Job::of("arn:app", tags, Deadline::after(Duration::from_secs(1)));
        Case::of(&Credential::parse(text.into(), "it").unwrap(), &job)
    }

    #[test]
    fn tags_choose_the_layout() {
        let users = ["app_a".to_owned(), "app_b".to_owned()];
        for (tags, layout) in [
            (&[][..], Layout::Clone { base: None }),
            (&[("username", "app")], Layout::Clone { base: Some("app".to_owned()) }),
            (&[("usernames", "app_a app_b")], Layout::Pair { users: users.clone() }),
            (&[("usernames", " app_a, app_b"), ("owner", "app")], Layout::Owner { users, owner: "app".to_owned() }),
        ] {
            assert_eq!(case("", tags), Ok(Case::with(layout)));
        }
        assert!(!case("", &[("acts-as", "self")]).unwrap().acts_as_base);
        assert!(case("", &[("adopt", "app_clone arn:old")]).unwrap().adopts("arn:old"));
    }

    #[test]
    fn the_value_never_does() {
        for value in [r#", "usernames": ["app", "victim"]"#, r#", "usernames": 1, "owner": "app""#] {
            let refused = case(value, &[]).unwrap_err();
            assert_eq!(refused.code(), "LAYOUT_IN_VALUE");
            assert!(!refused.to_string().contains("victim"), "{refused}");
        }
        assert_eq!(case(r#", "owner": "team-shop""#, &[]), Ok(Case::with(Layout::Clone { base: None })));
        assert_eq!(case(r#", "usernames": null"#, &[]), Ok(Case::with(Layout::Clone { base: None })));
    }

    #[test]
    fn tags_that_contradict_each_other_are_refused() {
        for (tags, says) in [
            (&[("owner", "app")][..], "keyturn:usernames of arn:app is not set, though keyturn:owner is"),
            (&[("usernames", "app_a")], "is not two names"),
            (&[("usernames", "app_a app_b app_c")], "is not two names"),
            (&[("usernames", "app_a app_a")], "is not two users"),
            (&[("usernames", "app_a app_b"), ("owner", "app_b")], "is not two users"),
            (&[("usernames", "app_a app_b"), ("username", "app")], "keyturn:username of arn:app is set beside"),
            (&[("acts-as", "admin")], "neither owner nor self"),
        ] {
            let refused = case("", tags).unwrap_err();
            assert_eq!(refused.code(), "TAG_INVALID");
            assert!(refused.to_string().contains(says), "{refused}");
        }
    }
}
