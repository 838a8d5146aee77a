//! The codes of break-glass. Those of AWS, of events, of servers and of the channels are the core's.

use keyturn::codes::DeclaredCode;
use strum::{EnumIter, EnumMessage, IntoStaticStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    // Who asks
    /// The event came on an alias that does not take it: a caller's identity is believed on the function URL's alias only.
    #[strum(
        message = "Ask by the function URL; operators invoke the alias OPS_ALIAS (infra/examples/policies/break-glass-operator.json)."
    )]
    AliasRefused,
    /// The caller is not the holder of a permission set that may ask.
    #[strum(message = "Sign in through IAM Identity Center with one of the permission sets in PERMISSION_SETS.")]
    CallerRefused,
    /// The person is not on call now, or was revoked by hand.
    #[strum(
        message = "Let an operator grant it, or take the shift at PagerDuty (an override takes it from whoever has it, and that person leaves): {\"action\":\"grant\"} of oncall-sync; ask again after the next tick, a minute later."
    )]
    NotGranted,
    /// Whether the person is on call is not known: the ledger is missing, broken, or written by somebody else.
    #[strum(
        message = "Compare \"bindings\" in the document with the names below LEDGER_PATH. Look at oncall-sync's log; its next tick writes its ledgers anew."
    )]
    LedgerUnknown,
    /// The schedule is off, so nobody would end the login's sessions.
    #[strum(message = "Switch the schedule on first: the stack's parameter SweepSchedule.")]
    NotScheduled,

    // What is asked for
    /// There is no document of that database, or the caller's permission set may not open it.
    #[strum(
        message = "GET / (`break-glass.sh list`) names the databases that you may open. An operator stores their documents below CONFIG_PATH."
    )]
    DatabaseUnknown,
    /// The document of a database is refused; the message names the parameter and the key.
    #[strum(
        message = "Correct the document. Until then nobody opens that database, and what is open there is not ended by the sweep."
    )]
    DocumentInvalid,
    /// More minutes are asked for than the document allows.
    #[strum(message = "Ask for less; ask again when the time is nearly over.")]
    TooLong,
    /// The person has as many logins open there as anybody may.
    #[strum(message = "Close one: DELETE /<database>?login=<login>, or all: DELETE /<database>")]
    TooManyOpen,
    /// The caller has no such login open.
    #[strum(message = "See what is open: GET /")]
    NothingOpen,

    // The database
    /// The document's access role does not exist.
    #[strum(message = "CREATE ROLE <access> NOLOGIN, and give it what people on call need; or correct the document.")]
    AccessMissing,
    /// Whoever has the access could change how long a login lasts.
    #[strum(
        message = "Take that power from the access; or write \"allow_power\": true into the document: the sweep alone ends such a login then."
    )]
    AccessTooPowerful,
    /// Sessions of a login did not end in time.
    #[strum(message = "Nothing: the next sweep ends them.")]
    SessionsRemain,
    /// A login cannot be used any more and has no sessions, but the server refuses to drop it: something depends on it.
    #[strum(message = "The message has the statements. Until it is dropped, each sweep tries again.")]
    LoginNotDropped,
    /// A login is to be ended, and its document names another server by now than the one where it was made.
    #[strum(
        message = "Let the document name that server again until the login is closed. If the server is gone, or has another name by now: see that the login is gone there, then aws ssm delete-parameter --name <STATE_PATH>/<database>/<login>"
    )]
    PlaceChanged,
    /// A user has the name of one of this function's logins, and was not made by it.
    #[strum(message = "Find out who made it. It is left alone.")]
    LoginOfAnother,
    /// A login begins like this function's and has no record: somebody made it by hand, or deleted the record.
    #[strum(
        message = "Find out who made it; drop it by hand. One that this function made takes no new session after its date (PostgreSQL, Atlas); one that was made by hand has none."
    )]
    StrayLogin,

    // Records
    /// The record of a login cannot be read.
    #[strum(
        message = "Look at the parameter that the message names. Drop the login in the database by hand, then delete the parameter: aws ssm delete-parameter --name <STATE_PATH>/<database>/<login>"
    )]
    RecordUnreadable,
    /// The admin secret does not exist, or has no value.
    #[strum(message = "Correct \"admin_secret\" in the document: aws secretsmanager describe-secret --secret-id <ARN>")]
    AdminSecretUnknown,

    // The report
    /// The report is larger than what Lambda answers with.
    #[strum(message = "Ask for a shorter period, and for the rest of it again.")]
    ReportTooLarge,

    // Audit
    /// A person got a login: who, where, until when, why.
    Opened,
    /// A login is gone, and why.
    Closed,
    /// An opening was refused; the message says why.
    OpenRefused,
    /// A login is past its end and could not be closed; the sweep goes on.
    LoginOverstays,
    /// A sweep is done.
    Swept,
    /// A report or a check was made; nothing was changed.
    Answered,
}

impl DeclaredCode for Code {}
