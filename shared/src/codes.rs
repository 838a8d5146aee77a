//! Codes: what errors, warnings and audit lines are called, each declared once with its meaning and its remedy.
//!
//! Every crate has one enum `Code`. The doc comment of a variant is its meaning, `#[strum(message = "...")]` its remedy; a
//! code that asks nothing of anybody has no remedy. `infra/runbooks/errors.md` is generated from these enums.

use strum::{EnumIter, EnumMessage, IntoEnumIterator, IntoStaticStr};

/// One of a crate's declared codes.
pub trait DeclaredCode: Copy + Into<&'static str> {
    /// The code as logs and Lambda's `errorType` have it: `UPPER_SNAKE_CASE`.
    fn name(self) -> &'static str {
        self.into()
    }
}

/// A code as the reference lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: &'static str,
    pub meaning: String,
    pub remedy: Option<&'static str>,
}

/// Every code of a crate, in the order of its declaration.
#[must_use]
pub fn entries<C: DeclaredCode + EnumMessage + IntoEnumIterator>() -> Vec<Entry> {
    let entry = |code: C| Entry { name: code.name(), meaning: meaning(&code), remedy: code.get_message() };
    C::iter().map(entry).collect()
}

/// A doc comment as one line.
pub(crate) fn meaning(declared: &impl EnumMessage) -> String {
    declared.get_documentation().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The codes of the core: the engine's, those of AWS, and those that every database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// The function panicked, or came to where it never should: a defect of Keyturn. The message of a panic names the place in the source, never what was at hand there.
    #[strum(
        message = "Report it as an issue of Keyturn's repository, with the log lines of that invocation. Secrets Manager tries a rotation again; the next tick of oncall-sync begins anew."
    )]
    InternalDefect,
    /// The function's environment has mistakes; the message names every one of them.
    #[strum(message = "Correct the settings; each mistake comes with an example.")]
    ConfigurationInvalid,
    /// The invocation's time was nearly up before a call could be made.
    #[strum(message = "Give the function a timeout of 30 s or more (rotate-mongo at Atlas: 5 minutes).")]
    OutOfTime,

    // The event and the labels
    /// The event is not one that this function takes.
    #[strum(message = "Let Secrets Manager (or the schedule) invoke it; events/ has an example of each.")]
    EventInvalid,
    /// The rotation event names a step that does not exist.
    #[strum(message = "Let Secrets Manager invoke the function; events/ has an example of each step.")]
    EventUnknownStep,
    /// Rotation is switched off for this secret.
    #[strum(message = "Switch it on with aws secretsmanager rotate-secret; the message has the whole command.")]
    RotationDisabled,
    /// The secret has no version with this token.
    #[strum(message = "Let Secrets Manager start the rotation: aws secretsmanager rotate-secret --secret-id <arn>")]
    TokenUnknown,
    /// The version is not labelled AWSPENDING: the rotation was abandoned, or another value was put meanwhile.
    #[strum(message = "Start a new one: aws secretsmanager rotate-secret --secret-id <arn>")]
    TokenNotPending,
    /// No version of the secret is labelled AWSCURRENT.
    #[strum(
        message = "Store a working credential first: aws secretsmanager put-secret-value --secret-id <arn> --secret-string file://secret.json"
    )]
    NoCurrentValue,
    /// The version labelled AWSPENDING holds no value: createSecret has not run for it.
    #[strum(message = "Let Secrets Manager run all four steps: aws secretsmanager rotate-secret --secret-id <arn>")]
    PendingHasNoValue,
    /// The AWSPENDING value cannot follow AWSCURRENT: another host, a foreign user, copied labels.
    #[strum(
        message = "The message says whether the pending version may be dropped, and by which command: its password may be the only one that works."
    )]
    PendingMismatch,
    /// The AWSPENDING value is for the user in use; setting it would cut off every client.
    #[strum(
        message = "The message says whether the pending version may be dropped, and by which command: its password may be the only one that works."
    )]
    PendingIsCurrentUser,
    /// The AWSPENDING value has the password that is in use: nothing would be rotated.
    #[strum(message = "The message has the command that drops the pending version; then rotate again.")]
    PendingIsCurrentPassword,
    /// Somebody else moved AWSCURRENT while the step was at work; their change stands.
    #[strum(message = "Nothing: the next try starts from it.")]
    CurrentMoved,

    // What steps say when they end well
    /// A new password is stored as AWSPENDING.
    PendingCreated,
    /// The AWSPENDING value of an earlier try is kept.
    PendingKept,
    /// The database accepts the pending password.
    PasswordSet,
    /// The pending credential logs in and has its rights.
    PendingProven,
    /// The pending credential is AWSCURRENT now.
    RotationFinished,
    /// The version is AWSCURRENT already; there is nothing to do.
    AlreadyCurrent,

    // The secret's value
    /// The value is binary (`SecretBinary`).
    #[strum(
        message = "Store the credential as a JSON text: aws secretsmanager put-secret-value --secret-id <arn> --secret-string file://secret.json"
    )]
    SecretIsBinary,
    /// The value is not JSON.
    #[strum(message = "Store a JSON object; the manual lists its keys.")]
    SecretNotJson,
    /// The value is JSON, but not an object.
    #[strum(message = "Store a JSON object; the manual lists its keys.")]
    SecretNotObject,
    /// A key stands twice in the value, so that readers may disagree about it.
    #[strum(message = "Keep one of the two.")]
    SecretKeyDuplicate,
    /// A key that is needed is missing.
    #[strum(message = "Add the key that the message names.")]
    SecretKeyMissing,
    /// A key holds something of another type.
    #[strum(message = "Correct the key that the message names.")]
    SecretKeyWrongType,
    /// A key holds something that cannot be used.
    #[strum(message = "Correct the key that the message names.")]
    SecretKeyInvalid,
    /// The secret's engine is not one that this function rotates, or nothing says which it is.
    #[strum(message = "Attach the function made for that engine; for rotate-mongo, set the tag keyturn:engine.")]
    EngineUnknown,

    /// A tag of the secret cannot be read.
    #[strum(message = "Correct the tag: the message has the command, with an example.")]
    TagInvalid,

    // AWS
    /// AWS refused a call for lack of permission; the message names the action and the resource.
    #[strum(
        message = "A secret that is rotated: attach the rotation to this function. Another one, or a parameter: list its ARN, or correct its path, in the stack's parameters; do not widen the role. A secret of another account has to allow the role in its own policy, too."
    )]
    AwsAccessDenied,
    /// The KMS key of the secret cannot be used.
    #[strum(
        message = "Add the key to the stack's SecretsKeyArns (kms:Decrypt and kms:GenerateDataKey); the key's policy has to allow the role as well, and the key has to be enabled."
    )]
    KmsDenied,
    /// A replica of the secret in another region does not have the value in use, and its clients read an older one. The
    /// rotation is finished all the same.
    #[strum(
        message = "InProgress: look again later. Failed: mend what Secrets Manager says, then aws secretsmanager replicate-secret-to-regions; the message has the whole command."
    )]
    ReplicaNotInSync,
    /// There is no such secret in this account and region.
    #[strum(message = "Check it: aws secretsmanager describe-secret --secret-id <arn>")]
    SecretNotFound,
    /// There is no such log group in this account and region.
    #[strum(message = "Correct the setting that names it: aws logs describe-log-groups --log-group-name-prefix <name>")]
    LogGroupNotFound,
    /// More log lines match than are read at a time, so that an answer would be made of a part of them.
    #[strum(message = "Ask for a shorter period, and for the rest of it again.")]
    TooManyLogLines,
    /// AWS gave no answer.
    #[strum(
        message = "In a VPC: an interface endpoint for the service, or a NAT gateway, and a security group that allows HTTPS. Behind a private CA: AWS_CA_BUNDLE."
    )]
    AwsUnreachable,
    /// AWS takes no more calls for the moment.
    #[strum(message = "Nothing now: it is tried again by itself. If it goes on, spread the schedules.")]
    AwsThrottled,
    /// AWS refused or failed in another way.
    #[strum(message = "The message has AWS's words; an internal error is tried again by itself.")]
    AwsCallFailed,
    /// The operating system gave no randomness for a new password.
    #[strum(message = "Nothing: the next try asks again. If it goes on, report it.")]
    RandomnessUnavailable,

    // The admin secret
    /// The admin secret does not exist, or has no AWSCURRENT value.
    #[strum(message = "Correct masterarn (or ADMIN_SECRET_ARNS), or store the admin's credential there.")]
    AdminSecretMissing,
    /// masterarn names the rotated secret itself.
    #[strum(message = "Let it name the secret of an admin user, which has a rotation of its own.")]
    AdminIsRotatedSecret,
    /// masterarn names a secret that is not among `ADMIN_SECRET_ARNS`.
    #[strum(message = "Correct masterarn, or add the ARN (with its six random characters) to ADMIN_SECRET_ARNS.")]
    AdminNotAllowed,
    /// The admin secret is for another server than the rotated secret.
    #[strum(
        message = "Correct masterarn or the host; for another name of the same server, HOST_ALIASES (PostgreSQL) or the tag keyturn:hosts (MongoDB)."
    )]
    AdminOfAnotherServer,
    /// The admin is one of the users whose password is rotated.
    #[strum(message = "Use an admin of its own.")]
    AdminIsTarget,
    /// The admin may not do what the rotation needs.
    #[strum(message = "Give it the grant in the message.")]
    AdminLacksPrivilege,
    /// The admin secret's credential does not log in.
    #[strum(
        message = "Put the admin's working credential into that secret, and see to it that its own rotation works."
    )]
    AdminPasswordRefused,

    // Logging in
    /// The AWSCURRENT credential does not log in; nothing was changed.
    #[strum(
        message = "The message says whether AWSPREVIOUS logs in, with the command that makes it current again. Else put the right password into the secret."
    )]
    CurrentPasswordRefused,
    /// The server refused the password. It does not tell a wrong password from a missing user, or from one that has ended.
    #[strum(message = "Look the user up in the database.")]
    PasswordRefused,
    /// The login became another user's session, or nobody's.
    #[strum(
        message = "Look at what is between: a proxy, pg_ident.conf, a member of the replica set that knows no users."
    )]
    LoggedInAsSomebodyElse,
    /// The server refused the login for a reason of its own.
    #[strum(message = "The message has the server's words; its log says more.")]
    LoginFailed,
    /// A user that the rotation needs does not exist.
    #[strum(message = "Create it, or correct the secret.")]
    UserMissing,

    // The database server
    /// The host's name has no address.
    #[strum(message = "Correct the host, or the VPC's DNS.")]
    DatabaseHostUnknown,
    /// There is no way to the server, or it does not answer; host, port and phase are in the message.
    #[strum(message = "Check the endpoint, the function's network and the security group.")]
    DatabaseUnreachable,
    /// The server answers, but takes no work now: it starts, stops or elects.
    #[strum(message = "Nothing: it is tried again by itself.")]
    DatabaseUnavailable,
    /// The server is read-only: a replica, or the old writer after a failover.
    #[strum(message = "Let the admin secret's host name the writer.")]
    DatabaseReadOnly,
    /// Somebody else changes the same users at the same time.
    #[strum(message = "Nothing: it is tried again by itself.")]
    DatabaseBusy,
    /// The server offers no TLS.
    #[strum(message = "Switch TLS on at the server: Keyturn never connects without it.")]
    TlsNotOffered,
    /// The server's certificate does not name this host, has expired, or comes from an authority that is not trusted.
    #[strum(message = "Use the endpoint's own name; for a private authority set DATABASE_CA_FILE to its PEM file.")]
    TlsUntrusted,
    /// The TLS library refused the root certificates.
    #[strum(message = "Check DATABASE_CA_FILE.")]
    TlsSetupFailed,

    // Vendors and alerts
    /// The secret with a vendor's credential does not exist, or has no AWSCURRENT value.
    #[strum(
        message = "If it was deleted: aws secretsmanager restore-secret --secret-id <id>. Else correct the setting that names it, or store it with infra/examples/secrets/create.sh, and name its ARN in the stack's parameters."
    )]
    CredentialMissing,
    /// A channel took an alert.
    AlertSent,
    /// Datadog or Slack did not take an alert.
    #[strum(message = "Look at the secret of the channel; oncall-sync tries it on {\"action\":\"doctor\"}.")]
    AlertFailed,
    /// Datadog's secret is not of the form it should have; the message names the key, never a value.
    #[strum(message = "Store it as the manual shows.")]
    DatadogSecretInvalid,
    /// Slack's secret is not of the form it should have; the message names the key, never a value.
    #[strum(message = "Store it as the manual shows.")]
    SlackSecretInvalid,
    /// One call to a vendor, at debug level: method, URL without query, outcome, time.
    HttpCall,
}

impl DeclaredCode for Code {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_spelled_as_logs_have_it_and_says_what_it_means() {
        let entries = entries::<Code>();
        let defect = &entries[0];
        assert_eq!(defect.name, "INTERNAL_DEFECT");
        assert!(defect.meaning.starts_with("The function panicked") && defect.remedy.is_some());
        assert!(entries.iter().all(|entry| !entry.meaning.is_empty()), "{entries:?}");
    }
}
