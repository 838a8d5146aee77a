//! The codes of this function beside those of the core and of `keyturn-postgres`.

use keyturn::codes::DeclaredCode;
use strum::{EnumIter, EnumMessage, IntoStaticStr};

#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumIter, EnumMessage, IntoStaticStr)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    // The two users
    /// The secret's value has the key `usernames`: who may write the value must not choose whose password changes.
    #[strum(
        message = "Take `usernames` and `owner` out of the value, and tag the secret: keyturn:usernames = app_a app_b, keyturn:owner = app."
    )]
    LayoutInValue,
    /// A user's name, or its clone's, is longer than PostgreSQL's 63 bytes: the server would cut it off.
    #[strum(message = "Name both users with the tags keyturn:usernames and keyturn:owner.")]
    NameTooLong,
    /// The user in use, or the pending one, is not one of the secret's two users.
    #[strum(message = "Correct the user in the value, or the tags keyturn:usernames and keyturn:username.")]
    UserNotInPair,
    /// One of the two users is marked (`COMMENT ON ROLE`) as another secret's: two secrets would break each other.
    #[strum(
        message = "Delete one of the two secrets. If this one takes the other's place (a restored database, a secret made anew): the tag keyturn:adopt = <the other's ARN>."
    )]
    PairOfAnotherSecret,
    /// The user in use is not a member of its base or owner, so nothing says that the two belong together.
    #[strum(message = "If they do: GRANT base TO user; the message has the statement.")]
    CurrentNotMember,
    /// The second user exists, and nothing in the catalog says that it is this application's.
    #[strum(
        message = "If it is this application's: GRANT base TO user as an admin or, in owner layout, ALTER ROLE user SET role = owner; or the tag keyturn:adopt = user. Otherwise name two other users with the tag keyturn:usernames."
    )]
    TwinIsSomebodyElse,
    /// The second user has a power or a membership that the first one does not have.
    #[strum(
        message = "Take it from the second user: REVOKE <role> FROM user, or ALTER ROLE user NO<attribute>. If the application is to have it, give it to the first user as well."
    )]
    TwinTooPowerful,
    /// The user in use may log in for replication, the second one may not, and the admin cannot give it that: clients would
    /// be refused after every second rotation.
    #[strum(message = "As a superuser: ALTER ROLE user REPLICATION; the message has the statement.")]
    TwinLacksReplication,
    /// The two users are not members of the same roles, or one lacks an attribute of the other: clients would lose that at every
    /// second rotation, and in pair layout nothing says that the two are one application.
    #[strum(message = "Make both alike; the message has the statement.")]
    PairRightsDiffer,
    /// A user owns objects, or will own what it makes, and the other user has no rights on them. An error in owner layout; a
    /// warning about a clone that AWS's function made, which goes on acting as itself until it owns nothing.
    #[strum(
        message = "In each database of the application: REASSIGN OWNED BY app_a TO app. Once: ALTER ROLE app_a SET role = app."
    )]
    ObjectsNotShared,
    /// A user has rights by name (GRANT, policies) on objects on which the other one has none: clients would lose them. A warning:
    /// the other may have them through a group, or through PUBLIC.
    #[strum(
        message = "In each database of the application, give the other user the same rights; the message has the queries that list them."
    )]
    GrantsNotShared,
    /// The user whose password comes next has open sessions: their clients have not read the secret since the turn before, and will
    /// be refused. A warning, or an error with `STALE_SESSIONS=fail`.
    #[strum(message = "Let these clients read the secret again; the message has the query that lists them.")]
    StaleSessions,
    /// A user has a VALID UNTIL before its password is replaced, two periods from now, and no rotation moves it on. A warning.
    #[strum(
        message = "Move the date on for both users: ALTER ROLE user VALID UNTIL 'infinity'; the message has the statements."
    )]
    PasswordExpiresSoon,
    /// `PASSWORD_VALID_DAYS` is not more than two periods of the secret's schedule: a password would die before it is replaced.
    #[strum(message = "Set PASSWORD_VALID_DAYS to more than two periods, or rotate more often.")]
    PasswordValidTooShort,
    /// The secret names an RDS Proxy, which cannot serve two users from one secret, or one of its users has a mirror and the other
    /// has none.
    #[strum(message = "Make a mirror for each of the two users, and tag the secret: keyturn:mirror.app_a = <its ARN>.")]
    MirrorMissing,
    /// A mirror is not the ARN of another secret, or is for another user.
    #[strum(message = "Correct the tag keyturn:mirror.<user>.")]
    MirrorInvalid,
    /// The role that the two users share does not exist.
    #[strum(message = "Create it, or correct the secret: CREATE ROLE app NOLOGIN.")]
    OwnerMissing,
    /// The pending user is gone, though the transaction has just made or changed it.
    #[strum(message = "Find out who drops roles there, then rotate again.")]
    RoleVanished,
    /// A user is a member of its base or owner, but does not have its rights, or could not SET ROLE to it.
    #[strum(message = "GRANT base TO user; the message has the statement.")]
    MembershipHasNoEffect,
    /// The login does not act as its base or owner, so that what it makes would belong to the wrong role. A warning for a
    /// clone that AWS's function made; its next rotation mends that.
    #[strum(message = "GRANT base TO user; the message has the statement.")]
    RoleNotAssumed,
    /// The server runs 17.1, 16.5, 15.9, 14.14 or 13.17. These releases ignore `ALTER ROLE ... SET role`.
    #[strum(
        message = "Upgrade to the next minor release. Or let each user own what it creates: the tag keyturn:acts-as = self; the message has the command."
    )]
    RoleSettingsIgnored,
    /// The base has a setting that only a superuser may give to its twin: clients would meet another setting after every
    /// second rotation.
    #[strum(message = "As a superuser: ALTER ROLE twin SET ...; the message has the statement.")]
    SettingNotCopied,

    // The admin
    /// RDS knows no endpoint of the instance or cluster that a managed admin secret belongs to.
    #[strum(
        message = "For one of another account or region, or one that is gone, name another admin secret, with \"host\". Else see whether it is there, and available: aws rds describe-db-instances, aws rds describe-db-clusters."
    )]
    RdsEndpointUnknown,
    /// The server knows no role of the name that the admin secret gives.
    #[strum(message = "Correct the admin secret.")]
    AdminMissing,
    /// The admin is to log in by an IAM token (`adminauth`), and RDS did not take it, or none could be made.
    #[strum(
        message = "Switch IAM database authentication on; GRANT rds_iam TO admin; allow the function's role rds-db:connect for this user (parameter PostgresIamAdmins); the message has the statement."
    )]
    AdminTokenRefused,
    /// The admin has no CREATEROLE.
    #[strum(message = "As a superuser: ALTER ROLE admin CREATEROLE.")]
    AdminLacksCreaterole,
    /// From PostgreSQL 16 on, the admin needs ADMIN OPTION on the base and on the second user. A warning where it is a member
    /// of `rds_superuser`: there the server decides.
    #[strum(
        message = "As whoever made the role, or a superuser: GRANT base TO admin WITH ADMIN OPTION; the message has the statements."
    )]
    AdminLacksAdminOption,
    /// `rds.restrict_password_commands` is on, and the admin is not a member of `rds_password`.
    #[strum(message = "GRANT rds_password TO admin.")]
    AdminLacksRdsPassword,

    // Logging in
    /// The user's VALID UNTIL is in the past: no password of it is accepted. It may be somebody's lock; a rotation never lifts it.
    #[strum(
        message = "If the date was moved on for one user only, give the other the same: ALTER ROLE user VALID UNTIL '<date>'. If it is a lock, find out why. The message has the statement."
    )]
    PasswordExpired,
    /// One of the secret's `testQueries` failed as the new user.
    #[strum(message = "Run it as that user to see why, and grant what is missing or correct the query.")]
    TestQueryFailed,

    // Actions
    /// An action was answered; `check` and `explain` change nothing.
    Answered,
    /// `revoke`: a leaked password is refused by the server now; the line says since when.
    CredentialRevoked,
    /// `repair-ownership` was asked for a secret in pair layout, whose users share no role.
    #[strum(message = "Use owner layout: tag the secret with keyturn:owner as well.")]
    LayoutWithoutOwner,
    /// `revoke` was asked for a version that is for another server than the secret is now.
    #[strum(message = "There, as an admin: ALTER ROLE user PASSWORD NULL, and end its sessions.")]
    LeakedElsewhere,
    /// `check` or `explain` was asked of a replica of a secret in another region, which cannot be changed here.
    #[strum(message = "Rotate the primary, where it is; or promote the replica, if that region is lost.")]
    SecretIsReplica,
    /// `revoke` was asked for a version that the secret does not have.
    #[strum(
        message = "Name one of these: aws secretsmanager list-secret-version-ids --include-deprecated --secret-id <arn>"
    )]
    VersionUnknown,

    // The server
    /// Another rotation of the same users holds the lock.
    #[strum(message = "It ends by itself; the message has the query that shows who holds the lock.")]
    RotationLocked,
}

impl DeclaredCode for Code {}

#[cfg(test)]
mod tests {
    use super::*;
    use keyturn::codes::{Code as Core, entries};
    use keyturn_postgres::codes::Code as PostgresCode;

    #[test]
    fn no_code_is_declared_here_and_in_the_core_or_the_library() {
        let others = [entries::<Core>(), entries::<PostgresCode>()].concat();
        for entry in entries::<Code>() {
            assert!(others.iter().all(|other| other.name != entry.name), "{}", entry.name);
            assert!(!entry.meaning.is_empty(), "{}", entry.name);
        }
    }
}
