//! The codes of logins and of Atlas.

use keyturn::codes::DeclaredCode;
use strum::{EnumIter, EnumMessage, IntoStaticStr};

/// The doc comment of a variant is its meaning, its message the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    // Atlas
    /// The secret with Atlas's credential (`ATLAS_SECRET_ID`, a document's `admin_secret`) is not of the form it should have.
    #[strum(
        message = "Store {\"client_id\",\"client_secret\"} of a service account, or {\"public_key\",\"private_key\"} of an API key."
    )]
    AtlasSecretInvalid,
    /// Atlas refuses the credential in that secret (`ATLAS_SECRET_ID`, a document's `admin_secret`).
    #[strum(message = "Store a valid one: a service account's secret ends on the day that Atlas shows beside it.")]
    AtlasCredentialRefused,
    /// Too many access tokens of the service account are alive.
    #[strum(message = "Wait: each ends within the hour. Give each function a service account of its own.")]
    AtlasTokenLimit,
    /// The function's address, which the message names, is not on the credential's API access list.
    #[strum(message = "Add it to that list; in a VPC it is the address of the NAT gateway.")]
    AtlasIpNotAllowed,
    /// The credential's roles do not allow this call.
    #[strum(message = "Give it the role in the message (Project Database Access Admin) on this very project.")]
    AtlasPermissionMissing,
    /// There is no such project, or not in the credential's organization.
    #[strum(
        message = "Give the project's id, not its name: it stands in the address of its pages, cloud.mongodb.com/v2/<id>."
    )]
    AtlasProjectNotFound,
    /// The project takes no further database user, and a twin or a login is to be made.
    #[strum(
        message = "Delete users that nobody needs, raise the project's limit (rotate-mongo: and set ATLAS_USER_LIMIT to it, or use the strategy fixed)."
    )]
    AtlasUserQuota,
    /// Atlas does not answer any more for the revision of this resource that the function speaks, or never had it here (Atlas for
    /// Government).
    #[strum(message = "Deploy a newer version of this function.")]
    AtlasApiVersionGone,
    /// Atlas gave no answer.
    #[strum(
        message = "Nothing now: it is tried again by itself. If it goes on, check the function's way to the Internet (in a VPC, a NAT gateway)."
    )]
    AtlasUnreachable,
    /// Atlas takes no more calls for the moment.
    #[strum(
        message = "Nothing now: it is tried again by itself. If it goes on, find what else calls the API for this project so often."
    )]
    AtlasThrottled,
    /// The answer is not what Atlas sends: a proxy's page, a redirect, something of another shape.
    #[strum(message = "Check ATLAS_API_URL, and that no proxy answers in Atlas's place.")]
    AtlasAnswerStrange,
    /// Atlas refused or failed in another way.
    #[strum(
        message = "Look the error code in the message up in Atlas's documentation; a failure of Atlas's own is tried again by itself."
    )]
    AtlasCallFailed,
    /// An access token of Atlas was not given back: it ends by itself within the hour.
    AtlasTokenNotRevoked,

    // The server
    /// The secret's host, its tag `keyturn:hosts`, or a document's `hosts` cannot be read, or names the servers of two replica
    /// sets that are your own.
    #[strum(
        message = "Name the servers of one cluster as host:port, host:port or mongodb://host:port,host:port/?replicaSet=name, without a credential."
    )]
    HostsInvalid,
    /// A server of Atlas's is to be changed over the wire, where Atlas takes a password back.
    #[strum(message = "Set the tag keyturn:engine=mongodb-atlas, and ATLAS_SECRET_ID.")]
    AtlasNeedsItsApi,
    /// The server belongs to another replica set than the one that is named, or to none.
    #[strum(message = "Correct the replica set's name, or leave it out.")]
    ReplicaSetNameWrong,
    /// The server is older than the function's driver allows.
    #[strum(message = "Upgrade to MongoDB 4.4 or later (DocumentDB: to 5.0 or later).")]
    ServerTooOld,
    /// The server is newer than the function's driver knows.
    #[strum(message = "Deploy a newer version of this function.")]
    ServerTooNew,
    /// The server breaks the TLS handshake off as Atlas does with addresses that are not on the project's IP access list.
    #[strum(
        message = "In Atlas, add the function's address (in a VPC, that of its NAT gateway) to the project's IP access list, or use peering or a private endpoint (ATLAS_NETWORK)."
    )]
    AddressNotAllowed,
    /// The TLS handshake failed for another reason than the certificate.
    #[strum(message = "The server must offer TLS 1.2 or 1.3, and not demand a certificate of its clients.")]
    TlsFailed,
    /// The server refused a command; its code is in the message.
    #[strum(message = "Look the code up in MongoDB's list of error codes; the server's log says more.")]
    CommandFailed,
}

impl DeclaredCode for Code {}
