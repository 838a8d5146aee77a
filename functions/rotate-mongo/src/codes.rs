//! The codes of this function; those that every rotation has are in [`keyturn::codes`], those of logins and Atlas in
//! [`keyturn_mongo::codes`].

use keyturn::codes::DeclaredCode;
use strum::{EnumIter, EnumMessage, IntoStaticStr};

/// The doc comment of a variant is its meaning, its message the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    // The secret and its tags
    /// The secret's user is not the user of its tag `keyturn:username`, nor that user's twin.
    #[strum(message = "Correct the secret's value, or its tag.")]
    UsernameMismatch,
    /// The secret is to alternate between two users, but its value names none: clients could not know which.
    #[strum(
        message = "Add \"username\" to the secret's JSON and let clients read it, or set the tag keyturn:strategy=fixed."
    )]
    UsernameNotInSecret,
    /// Nothing says in which Atlas project the user is.
    #[strum(message = "Set the tag keyturn:atlas-project to the project's id.")]
    ProjectUnknown,
    /// The secret is for an Atlas project that is not among `ATLAS_PROJECT_IDS`.
    #[strum(
        message = "Correct the tag keyturn:atlas-project, or add the project to ATLAS_PROJECT_IDS (or set ALLOW_ANY_PROJECT=true)."
    )]
    ProjectNotAllowed,
    /// The secret's `groupId` is not the Atlas project that its tag or the settings name.
    #[strum(message = "Correct the value, or the tag keyturn:atlas-project.")]
    ProjectMismatch,
    /// There is no cluster that the user may log in to, or none that is up; or a scope or the tag `keyturn:atlas-clusters` names one
    /// that Atlas does not list.
    #[strum(
        message = "Correct the user's scopes or the tag keyturn:atlas-clusters; name hosts that Atlas does not list by the tag keyturn:hosts; start a cluster that is paused."
    )]
    ClusterNotFound,
    /// A cluster has no address in the network that `ATLAS_NETWORK` names, or one that cannot be used.
    #[strum(
        message = "Correct ATLAS_NETWORK, or wait until the cluster is up; the tag keyturn:hosts names hosts by hand."
    )]
    ClusterHasNoAddress,
    /// The tag `keyturn:auth-db` names another database than admin, where Atlas keeps users with a password.
    #[strum(
        message = "Take the tag off: aws secretsmanager untag-resource --secret-id <arn> --tag-keys keyturn:auth-db"
    )]
    AuthDatabaseNotAdmin,
    /// No admin is named where one is needed, or `ADMIN_SECRET_ARNS` names several and the secret none of them.
    #[strum(message = "Set ADMIN_SECRET_ARNS, and masterarn in the secret.")]
    AdminNotNamed,

    // Guards
    /// A setting that overrides a guard has ended by itself: the guard refuses rotations that begin from now on. A warning.
    #[strum(
        message = "Do what the refusal says, or set ALLOW_UNTIL to a later date; take the override out where it is done with."
    )]
    OverrideEnded,
    /// The user's name is not one of this deployment's.
    #[strum(
        message = "Attach the function of that environment, or correct USERNAME_PATTERNS or KEYTURN_ENV (or set ALLOW_ANY_USERNAME=true)."
    )]
    UsernameNotAllowed,
    /// The user is protected: people or emergencies depend on it.
    #[strum(message = "Rotate an application's user, or allow this one: ALLOW_PROTECTED_USERS=name")]
    UserProtected,
    /// The user has a role with power over users, the cluster or every database.
    #[strum(message = "Give it roles on its own databases only, or allow it: ALLOW_ROLES=role@database")]
    RoleForbidden,
    /// The user has a role on a database that is no application's.
    #[strum(message = "Take the role away, or allow it: ALLOW_ROLES=role@database or ALLOW_DATABASES=name")]
    DatabaseForbidden,
    /// The user has a role on a database that `DATABASE_PATTERNS` keeps it from.
    #[strum(message = "Take the role away, or correct DATABASE_PATTERNS.")]
    DatabaseNotOfUser,
    /// The two users that take turns do not have the same rights, or the pending one logs in without a role of the one in
    /// use.
    #[strum(message = "Make them the same, or let each rotation make the twin like its base: SYNC_ROLES=true")]
    RolesDiffer,
    /// The user has no password to rotate: it proves itself by X.509, LDAP, OIDC or AWS IAM.
    #[strum(message = "aws secretsmanager cancel-rotate-secret, or make a user with a password.")]
    UserHasNoPassword,
    /// The user is temporary: Atlas deletes it.
    #[strum(message = "Make a user that stays, and store that one in the secret.")]
    UserEnds,
    /// The user has no roles: it is no application's, or somebody is taking it out of use.
    #[strum(message = "Give it the roles its application needs, or cancel the rotation of this secret.")]
    UserHasNoRoles,

    // The change
    /// The time was up while Atlas still applied the new password. With one user, the message says where clients are refused
    /// meanwhile.
    #[strum(
        message = "Rotate again, or wait for the next try: it takes the change up. If it keeps happening, give the function a longer timeout (5 minutes)."
    )]
    ChangePending,
    /// The time was up before every place accepted the new password. With one user, the message says whether the current one is
    /// back.
    #[strum(
        message = "Secrets Manager tries again by itself. If it goes on, look which place is late; the function needs a timeout of 5 minutes, which the stack gives it."
    )]
    ChangeNotProven,
    /// The new password is said to be applied, and servers still refuse it; the message says whether the old one is back.
    #[strum(message = "Look at the user where the message says. Then let Secrets Manager rotate again.")]
    PasswordNotTaken,
    /// Something else has set the old password again.
    #[strum(
        message = "Find who else writes it (Terraform, an operator, a sync job; at Atlas, the project's activity feed) and stop that; the message has the command with which clients work again."
    )]
    RevertedByOtherWriter,
    /// setSecret waits until every server accepts the new password.
    Waiting,

    // Atlas
    /// `ATLAS_SECRET_ID` is not set, or its secret does not exist or has no AWSCURRENT value.
    #[strum(
        message = "Store a service account's {\"client_id\",\"client_secret\"} in a secret of its own, and set ATLAS_SECRET_ID to its ARN."
    )]
    AtlasSecretMissing,
    /// Atlas does not list flex clusters to this credential: they are not asked whether they accept the password.
    #[strum(
        message = "If the user logs in to a flex cluster, give the credential the role Project Read Only beside its own. Else nothing."
    )]
    FlexClustersUnknown,
    /// A cluster that is paused, being made or being deleted is not asked whether it accepts the password.
    ClusterLeftOut,
    /// Atlas does not tell this credential whether a change is applied: logins alone will show it.
    AtlasProgressUnknown,

    // The server
    /// The twin cannot be given a role that does not exist.
    #[strum(message = "Make the role, or take it from the user the twin is copied from.")]
    RoleMissing,
    /// No admin is named, and the user may not change its own password.
    #[strum(message = "Run the createRole and the grant in the message, or name an admin.")]
    ChangeOwnPasswordMissing,
    /// The server, or Atlas, does not take such a password.
    #[strum(
        message = "Let PASSWORD_LENGTH be from 8 to 100, and leave / \" @ out with EXCLUDE_CHARACTERS (DocumentDB's rules). Where setSecret says so, a value with such a password is stored: drop it, as the message says, and rotate again."
    )]
    PasswordNotAllowed,
}

impl DeclaredCode for Code {}
