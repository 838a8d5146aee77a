//! The codes of oncall-sync. Those of AWS, of events and of the channels are the core's.

use keyturn::codes::DeclaredCode;
use keyturn::vendor::Proof;
use keyturn::{Error, Result};
use strum::{EnumIter, EnumMessage, EnumString, IntoStaticStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, EnumString, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    // Asked for by hand
    /// The schedule is off, so nobody would take the person out again, and perhaps nobody would be told.
    #[strum(
        message = "Switch the schedule on first (the stack's OncallSchedule), or put the person into the group at Okta by hand."
    )]
    NotScheduled,
    /// There is no such binding.
    #[strum(message = "List them: aws ssm get-parameters-by-path --path <CONFIG_PATH>")]
    BindingUnknown,
    /// Okta has no such user, or several: it is not certain who is meant.
    #[strum(message = "Name the user by full login, or by Okta id (00u...).")]
    UserUnknown,
    /// The Okta user does not exist, is not ACTIVE, or has another email address by now.
    #[strum(message = "Activate the user at Okta, or correct \"identities\" in the binding's document.")]
    UserNotActive,
    /// The Okta user is not known to be in the binding's `eligible_group`.
    #[strum(message = "Let the owner of that group add the user; then ask again.")]
    UserNotEligible,
    /// The Okta user is in the binding's "keep": never granted, never revoked by this function.
    #[strum(message = "Take the user out of \"keep\" first, if that is what is meant.")]
    UserIsKept,
    /// A change was not made, or the group does not show it yet.
    #[strum(message = "The log line says why. The next tick goes on with a revoke; ask for a grant by hand again.")]
    ChangeUnfinished,
    /// The ledger could not be written, so the next tick may put a person back who was revoked by hand.
    #[strum(message = "Ask again after the next tick; until then, take the person off the schedule.")]
    RevokeNotHeld,

    // Configuration
    /// There is no binding's document below `CONFIG_PATH`.
    #[strum(
        message = "Store one: aws ssm put-parameter --type String --name <CONFIG_PATH>/shop --value file://binding.json"
    )]
    NoBindings,
    /// A binding's document is refused; the message names the parameter and the path of the key.
    #[strum(
        message = "Correct the document. Until then nobody is granted, and people leave when their recorded shift ends."
    )]
    BindingInvalid,
    /// A ledger has no document any more, but people are still in its group.
    #[strum(message = "Nothing: each of them leaves when the shift ends, or max_stale after it was last confirmed.")]
    BindingGone,
    /// PagerDuty's secret is not of the form it should have; the message names the key, never a value.
    #[strum(
        message = "Store {\"token\":\"...\"} (\"region\":\"eu\" where the account is in the EU) or {\"client_id\":\"...\",\"client_secret\":\"...\",\"subdomain\":\"...\",\"region\":\"us\"}: aws secretsmanager put-secret-value --secret-id <PAGERDUTY_SECRET_ID> --secret-string file://pagerduty.json"
    )]
    PagerdutySecretInvalid,
    /// Okta's secret is not of the form it should have; the message names the key, never a value.
    #[strum(
        message = "Store {\"org_url\":\"https://<organization>.okta.com\",\"client_id\":\"0oa...\",\"private_key\":<JWK or PEM>} or {\"org_url\":\"...\",\"token\":\"...\"}: aws secretsmanager put-secret-value --secret-id <OKTA_SECRET_ID> --secret-string file://okta.json"
    )]
    OktaSecretInvalid,
    /// Okta has no group of the id in the document, or shows none to this role.
    #[strum(
        message = "Correct okta_group or eligible_group in the binding's document; else see the role's resource sets (infra/okta)."
    )]
    GroupNotFound,
    /// The group has another name than the document says.
    #[strum(message = "Correct okta_group or group_name in the binding's document, whichever is wrong.")]
    GroupNameDiffers,
    /// The group's members come from elsewhere: it is not of type `OKTA_GROUP`.
    #[strum(message = "Make a group at Okta itself for this binding.")]
    GroupTypeRefused,
    /// The group's description names another deployment: the two would undo each other's changes.
    #[strum(
        message = "Take the binding's document out of one of the two; or correct the word that begins with keyturn: in the group's description at Okta."
    )]
    GroupOfAnother,
    /// An active group rule fills the group: it would put back everybody who is taken out.
    #[strum(message = "Deactivate the rule, or make a group for this binding alone.")]
    GroupFilledByRule,
    /// A warning: the org's group rules, or some of them, cannot be read, so a rule that fills a group may not be noticed. What was read of them last counts.
    #[strum(message = "See to it by hand that no group rule fills a binding's group.")]
    GroupRulesUnreadable,

    // PagerDuty
    /// PagerDuty gave no answer, so the source is unknown for now.
    #[strum(
        message = "Nothing for some minutes: the next tick tries again. People in mid-shift leave from three quarters of max_stale on. In a VPC, the function needs a NAT gateway and a security group that allows HTTPS out."
    )]
    PagerdutyUnreachable,
    /// PagerDuty's limit of requests is used up, so the source is unknown for now.
    #[strum(
        message = "Nothing now: the next tick tries again. If it goes on, see what else uses this key or app: it has 960 requests a minute."
    )]
    PagerdutyThrottled,
    /// PagerDuty answered with an error, so the source is unknown for now.
    #[strum(message = "The next tick tries again; if it goes on, see https://status.pagerduty.com.")]
    PagerdutyCallFailed,
    /// The answer is not what PagerDuty documents, so the source is unknown for now.
    #[strum(
        message = "If it goes on, look for a proxy that answers in PagerDuty's place, and at PAGERDUTY_API_URL; else report it at Keyturn's repository."
    )]
    PagerdutyAnswerStrange,
    /// PagerDuty refused the credential: it is wrong, was revoked, or is for the other service region.
    #[strum(
        message = "Correct \"token\", or \"client_id\", \"client_secret\" and \"subdomain\", or \"region\" (us or eu), in PagerDuty's secret."
    )]
    PagerdutyCredentialRefused,
    /// PagerDuty's app was not granted every scope; the message names those that are missing.
    #[strum(
        message = "Under Integrations, App Registration, give the app the scopes schedules.read oncalls.read users.read."
    )]
    PagerdutyScopeMissing,
    /// PagerDuty's credential may not read this.
    #[strum(
        message = "Use a read-only REST API key, or an app with the scopes schedules.read oncalls.read users.read."
    )]
    PagerdutyForbidden,
    /// PagerDuty has nothing of the id in the binding's document.
    #[strum(message = "Correct the id: it is wrong, of another account, or was deleted.")]
    PagerdutyNotFound,
    /// PagerDuty names nobody at any level of the escalation policy: it does not exist, is empty, or may not be seen.
    #[strum(
        message = "Compare escalation_policy with the address of the policy's page at PagerDuty; put somebody on its first level."
    )]
    PagerdutyPolicyEmpty,
    /// A rotation that a document names is in none of its schedules, or a schedule has none that it names. The source is unknown.
    #[strum(
        message = "Compare \"rotations\" in the document with the ids that GET /v3/schedules/<id> shows. Do not only delete the key: without it every rotation counts, and shadows are granted. A schedule made of layers has no rotations: give it a binding and an Okta group of its own."
    )]
    RotationUnknown,

    // Okta
    /// Okta gave no answer, so the group is unknown or unchanged for now.
    #[strum(
        message = "Nothing now: the next tick tries again. If it goes on, see https://status.okta.com, and whether the function reaches the Internet (in a VPC, a NAT gateway)."
    )]
    OktaUnreachable,
    /// Okta's rate limit is used up, so the group is unknown or unchanged for now.
    #[strum(
        message = "Nothing now: the next tick tries again. If it goes on, see Reports > Rate Limits, or give this credential a higher share."
    )]
    OktaThrottled,
    /// Okta answered with an error; its code and its error id are in the message.
    #[strum(
        message = "Look the code up at https://developer.okta.com/docs/reference/error-codes/; Okta's support finds the call by its error id. After a 5xx the next tick tries again."
    )]
    OktaCallFailed,
    /// The answer is not what Okta documents.
    #[strum(
        message = "Check that org_url in Okta's secret (or OKTA_ORG_URL) is the organization's own address, and that no proxy answers in its place."
    )]
    OktaAnswerStrange,
    /// A list's pages cannot be followed to the end, so the list is not used.
    #[strum(
        message = "Check that org_url (or OKTA_ORG_URL) is the address that Okta names itself by, and that the group has fewer than 10,000 members."
    )]
    OktaPagingStrange,
    /// Okta is still busy with that person.
    #[strum(message = "Nothing: the next tick tries again.")]
    OktaConflict,
    /// Okta refused the credential.
    #[strum(
        message = "Store a valid one: aws secretsmanager put-secret-value --secret-id <OKTA_SECRET_ID> --secret-string file://okta.json. An API token ends with its owner's account and after 30 days without use; a service app needs its public key and its client id as they are in Okta."
    )]
    OktaCredentialRefused,
    /// Okta's service app was not granted every scope; the message names those that are missing.
    #[strum(message = "Grant them: Applications > the service app > Okta API Scopes.")]
    OktaScopeMissing,
    /// Okta's credential lacks a permission for this call; the message names it.
    #[strum(
        message = "Give the service app (or the token's owner) a custom admin role with that permission, on a resource set that holds the group and the people who may be added to it; infra/okta has the calls."
    )]
    OktaForbidden,

    // Conditions that need a person
    /// More people are on call, or would be granted at once, than the binding allows: nobody is granted.
    #[strum(
        message = "If an override puts somebody on call by mistake, remove it. If shadows are on call, name the rotations that count (\"rotations\" in the binding's document; schedules made of shifts have them). Raise max_members or max_new_per_run only if all of these people shall be granted. A grant by hand works meanwhile."
    )]
    BrakePulled,
    /// A person is on call and gets no grant; the message says why.
    #[strum(
        message = "The next tick grants, once the cause is mended. Not eligible: the owner of eligible_group adds the person. Not ACTIVE: activate or unlock the Okta user. No certain Okta user: set \"identities\" in the document; meanwhile, grant by hand to the Okta login. In \"keep\": take the person out of \"keep\". A grant by hand is refused for whoever is not eligible, not ACTIVE, or in \"keep\"."
    )]
    OnCallNotGranted,
    /// A forecast finds a time in which nobody is on call.
    #[strum(
        message = "Fill it at the on-call source. If you cannot, grant by hand when the gap begins, not before: such a grant begins at once and lasts 8 h at most."
    )]
    GapAhead,
    /// A forecast finds a time in which more people are on call than the binding allows, so that nobody would be granted.
    #[strum(
        message = "Before that time, as for BRAKE_PULLED: remove an override made by mistake, or name the rotations that count. Raise max_members or max_new_per_run only if all of these people shall be granted."
    )]
    BrakeAhead,
    /// A forecast finds a person who will be on call and would get no grant; the message says why.
    #[strum(message = "Mend the cause before that time, as for ON_CALL_NOT_GRANTED.")]
    NoGrantAhead,
    /// A person is to leave a group and could not be removed; the message says why.
    #[strum(
        message = "Mend what the message names, or remove the person at Okta; the function tries again with each tick."
    )]
    NotRevoked,
    /// A person is in the group without being on call, and stays.
    #[strum(message = "Take the person out, or set out_of_band or adoption to \"revoke\" in the binding's document.")]
    OutsiderReported,
    /// A later version of Keyturn put a person into a state that this one does not know. The person is neither granted nor removed by a tick.
    #[strum(message = "Deploy the later version again, or revoke or grant the person by hand.")]
    StateUnknown,
    /// There is no ledger yet (the first run), or it was lost; "adoption" decides about the people in the group.
    #[strum(
        message = "Nothing at the first run; for a change by hand, let one tick pass. Later: see who may write below LEDGER_PATH."
    )]
    LedgerLost,
    /// A ledger cannot be read, or somebody else wrote it. The last version that the function wrote counts. If none can be read, a tick grants nobody in its binding; it revokes nobody for 24 hours, and then whoever is not on call.
    #[strum(
        message = "See who else writes below LEDGER_PATH. Only if no version can be read: take whoever was revoked by hand off the schedule first, who would come in again, then aws ssm delete-parameter --name <the ledger>; \"adoption\" judges who is in the group."
    )]
    LedgerUnreadable,
    /// A ledger could not be stored, so the grants of its binding wait; revokes go on.
    #[strum(message = "The next tick tries again. If it goes on, the log has the reason that Parameter Store gave.")]
    LedgerNotStored,
    /// A parameter below `LEDGER_PATH` is not named like a ledger; it is left alone.
    #[strum(message = "Delete it, and see who may write below LEDGER_PATH.")]
    LedgerNameUnknown,

    // Audit lines
    /// A person is about to be removed from a group.
    RevokeIntended,
    /// A person is about to be added to a group.
    GrantIntended,
    /// The group no longer has the person.
    Revoked,
    /// The group has the person.
    Granted,
    /// A caller asked for a revoke by hand.
    RevokeAsked,
    /// A tick is over.
    TickDone,
    /// A forecast is over.
    ForecastDone,

    // Defects
    /// A call to Okta could not be signed; never seen.
    #[strum(message = "Report it as an issue of Keyturn's repository.")]
    OktaSigningFailed,
}

impl DeclaredCode for Code {}

/// The kinds of errors that [`Code::proof`] and the predicates of [`Code`] tell apart.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The credential: the vendor takes it for nothing.
    Refused,
    /// The credential, too: it was not given every scope.
    ScopeMissing,
    /// A right that is missing, which does not come by itself.
    Forbidden,
    /// The vendor's host, which may be the wrong one for the credential.
    Unreachable,
    Throttled,
    /// One call: it says nothing of the others.
    OneCall,
    /// A group that is not the one that was meant.
    WrongGroup,
    /// One schedule, person or list that does not mend itself: the author of a document has something to correct, one user may
    /// not come in, a list is too long.
    OneThing,
    Other,
}

impl Code {
    fn kind(error: &Error) -> Kind {
        let Ok(code) = error.code().parse() else { return Kind::Other };
        match code {
            Self::PagerdutyCredentialRefused | Self::OktaCredentialRefused => Kind::Refused,
            Self::PagerdutyScopeMissing | Self::OktaScopeMissing => Kind::ScopeMissing,
            Self::PagerdutyForbidden | Self::OktaForbidden => Kind::Forbidden,
            Self::PagerdutyUnreachable | Self::OktaUnreachable => Kind::Unreachable,
            Self::PagerdutyThrottled | Self::OktaThrottled => Kind::Throttled,
            Self::PagerdutyCallFailed
            | Self::PagerdutyAnswerStrange
            | Self::OktaCallFailed
            | Self::OktaAnswerStrange
            | Self::OktaConflict => Kind::OneCall,
            Self::GroupNotFound
            | Self::GroupNameDiffers
            | Self::GroupTypeRefused
            | Self::GroupOfAnother
            | Self::GroupFilledByRule => Kind::WrongGroup,
            Self::PagerdutyNotFound
            | Self::PagerdutyPolicyEmpty
            | Self::RotationUnknown
            | Self::UserNotActive
            | Self::OktaPagingStrange => Kind::OneThing,
            _ => Kind::Other,
        }
    }

    /// What the outcome of a call says of the credential.
    pub(crate) fn proof<R>(outcome: &Result<R>) -> Proof {
        let Err(why) = outcome else { return Proof::Works };
        match Self::kind(why) {
            Kind::Refused => Proof::Refused(why.clone()),
            Kind::ScopeMissing | Kind::Forbidden | Kind::Unreachable => Proof::Fault(why.clone()),
            _ => Proof::None,
        }
    }

    /// Whether a right is missing.
    pub(crate) fn is_forbidden(error: &Error) -> bool {
        Self::kind(error) == Kind::Forbidden
    }

    /// Whether a call to a vendor failed for another reason than the credential.
    pub(crate) fn is_about_one_call(error: &Error) -> bool {
        !matches!(Self::kind(error), Kind::Refused | Kind::ScopeMissing | Kind::WrongGroup | Kind::Other)
    }

    /// Whether a group is not the one that was meant, and not only that Okta could not be asked.
    pub(crate) fn is_about_the_group(error: &Error) -> bool {
        Self::kind(error) == Kind::WrongGroup
    }

    /// Whether it does not pass by itself.
    pub(crate) fn needs_a_person(error: &Error) -> bool {
        matches!(Self::kind(error), Kind::Forbidden | Kind::WrongGroup | Kind::OneThing)
    }

    /// Whether it says nothing of the vendor as a whole: one schedule, group or person. Whatever shows that, it must not look as
    /// if the function had stopped.
    pub(crate) fn is_of_one_alone(error: &Error) -> bool {
        Self::kind(error) == Kind::OneCall || Self::needs_a_person(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::codes::entries;
    use strum::IntoEnumIterator as _;

    #[test]
    fn codes_are_spelled_as_logs_and_alarms_know_them_and_say_what_they_mean() {
        let entries = entries::<Code>();
        let known = |name| entries.iter().any(|entry| entry.name == name);
        for name in ["PAGERDUTY_SECRET_INVALID", "ON_CALL_NOT_GRANTED", "OKTA_CREDENTIAL_REFUSED", "TICK_DONE"] {
            assert!(known(name), "{name}");
        }
        assert!(entries.iter().all(|entry| !entry.meaning.is_empty()), "{entries:?}");
    }

    /// The predicates that are true of a code, each as a letter.
    fn said_of(code: Code) -> String {
        let error = Error::new(code, "", "");
        let proof = match Code::proof(&Err::<(), _>(error.clone())) {
            Proof::Refused(_) => 'r',
            Proof::Fault(_) => 'f',
            Proof::Works | Proof::None => '-',
        };
        let letter = |letter, says: fn(&Error) -> bool| if says(&error) { letter } else { '-' };
        String::from_iter([
            proof,
            letter('F', Code::is_forbidden),
            letter('c', Code::is_about_one_call),
            letter('g', Code::is_about_the_group),
            letter('p', Code::needs_a_person),
            letter('a', Code::is_of_one_alone),
        ])
    }

    #[test]
    fn a_group_that_cannot_be_listed_is_no_wrong_group() {
        let about = |code: Code| Code::is_about_the_group(&Error::new(code, "", ""));
        assert!(about(Code::GroupNameDiffers) && about(Code::GroupNotFound) && about(Code::GroupFilledByRule));
        assert!(!about(Code::OktaUnreachable) && !about(Code::GroupRulesUnreadable));
    }

    #[test]
    fn every_code_is_told_apart_by_what_it_is_about() {
        use Code::*;
        let special: &[(&str, &[Code])] = &[
            ("r-----", &[PagerdutyCredentialRefused, OktaCredentialRefused]),
            ("f-----", &[PagerdutyScopeMissing, OktaScopeMissing]),
            ("f-c---", &[PagerdutyUnreachable, OktaUnreachable]),
            ("--c---", &[PagerdutyThrottled, OktaThrottled]),
            ("fFc-pa", &[PagerdutyForbidden, OktaForbidden]),
            ("--c--a", &[PagerdutyCallFailed, PagerdutyAnswerStrange, OktaCallFailed, OktaAnswerStrange, OktaConflict]),
            ("---gpa", &[GroupNotFound, GroupNameDiffers, GroupTypeRefused, GroupOfAnother, GroupFilledByRule]),
            ("--c-pa", &[PagerdutyNotFound, PagerdutyPolicyEmpty, RotationUnknown]),
            ("--c-pa", &[UserNotActive, OktaPagingStrange]),
        ];
        for code in Code::iter() {
            let row = special.iter().find(|(_, codes)| codes.contains(&code));
            assert_eq!(said_of(code), row.map_or("------", |(said, _)| said), "{code:?}");
        }
    }
}
