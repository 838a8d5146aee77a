//! Servers of one's own: users are read and changed over the wire, by an admin or by the user itself.

mod answers;

use crate::codes::Code;
use crate::settings::Setting;
use crate::user::{Created, Directory, Progress, Set, User};
use answers::{known_user, role_documents};
use keyturn::codes::Code as Core;
use keyturn::credential::Credential;
use keyturn::failure::{self, Attempt, Failure, RETRY_FOR};
use keyturn::{Deadline, Error, Result};
use keyturn_mongo::login::{Connector, Login, Servers, Session, majority};
use keyturn_mongo::shell::{grant, make_role, privilege, run_in};
use keyturn_mongo::{CommandFailure, Role, WRITE_CONCERN_FAILED};
use mongodb::bson::{Document, Timestamp, doc};
use secrecy::{ExposeSecret as _, SecretString};
use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

/// How long a majority may take to come up with what the primary has written.
const MAJORITY_WITHIN: Duration = Duration::from_secs(5);

/// How long a command may take: a majority is waited for half as long. An answer that never comes must leave time to look what
/// is in force, and to put it right.
const COMMAND: Duration = Duration::from_secs(10);

/// What came of a command.
type Answered = std::result::Result<Document, CommandFailure>;

/// Whose power changes the users.
pub(crate) enum Power<'p> {
    /// An admin's, whose credential is in this secret (its ARN or name, for messages).
    Admin(String),
    /// The user's own.
    Own(Holders<'p>),
}

/// The credentials of a user that changes itself: the first that works is used.
pub(crate) struct Holders<'p> {
    pub(crate) connector: &'p Connector,
    pub(crate) servers: &'p [Servers],
    pub(crate) credentials: [&'p Credential; 2],
}

impl Holders<'_> {
    /// A session, as a user of `database`.
    ///
    /// # Errors
    /// [`Login::Refused`] in its words where every credential is refused, or the first failure to come to a verdict.
    pub(crate) async fn log_in(&self, database: &str, deadline: Deadline) -> Attempt<Login> {
        let (mut refused, mut failed) = (String::new(), None);
        for (holder, servers) in
            self.credentials.iter().flat_map(|holder| self.servers.iter().map(move |s| (holder, s)))
        {
            let login = self.connector.log_in(servers, holder.username(), database, holder.password(), deadline);
            match login.await {
                Ok(Login::Accepted(session)) => return Ok(Login::Accepted(session)),
                Ok(Login::Refused(why)) => refused = format!("{servers}: {why}"),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        failed.map_or(Ok(Login::Refused(refused)), Err)
    }
}

/// One cluster's users, as one session may read and change them.
pub(crate) struct Server<'p> {
    session: RefCell<Rc<Session>>,
    power: Power<'p>,
    /// The database that keeps the users.
    database: String,
}

impl<'p> Server<'p> {
    pub(crate) fn new(session: Session, power: Power<'p>, database: &str) -> Self {
        Self { session: RefCell::new(Rc::new(session)), power, database: database.to_owned() }
    }

    fn session(&self) -> Rc<Session> {
        Rc::clone(&self.session.borrow())
    }

    /// Ends the session.
    pub(crate) async fn leave(self) {
        self.session().close().await;
    }

    /// Only what is safe to repeat may be run by this: a command is tried again that a failover or a lost connection kept from
    /// being answered.
    async fn run(&self, command: Document, doing: &str, deadline: Deadline) -> Answered {
        let passes =
            |failed: &CommandFailure| failed.is_transient() && failed.server_code() != Some(WRITE_CONCERN_FAILED);
        failure::retry(deadline, RETRY_FOR, passes, async |_| {
            let answered = self.run_once(command.clone(), doing, deadline.at_most(COMMAND)).await;
            if answered.as_ref().is_err_and(|failed| failed.answer.is_none()) && self.logs_in_again(deadline).await {
                return self.run_once(command.clone(), doing, deadline.at_most(COMMAND)).await;
            }
            answered
        })
        .await
    }

    /// The driver would log a user that changes itself in with the password of before, which may just have been replaced.
    async fn logs_in_again(&self, deadline: Deadline) -> bool {
        let Power::Own(holders) = &self.power else { return false };
        let Ok(Login::Accepted(session)) = holders.log_in(&self.database, deadline).await else { return false };
        self.session.replace(Rc::new(session)).close().await;
        true
    }

    async fn run_once(&self, command: Document, doing: &str, deadline: Deadline) -> Answered {
        let session = self.session();
        session.run(&self.database, command, doing, deadline).await
    }

    /// Runs a command that sets a password, for the mechanisms that `user` has: left out, the server adds SCRAM-SHA-1 to a user
    /// that has only SCRAM-SHA-256. A server takes a list only where it does all of it, and a user's may be longer: those that
    /// it does are tried one by one then.
    async fn run_for(&self, user: &User, command: Document, doing: &str, deadline: Deadline) -> Answered {
        let with = |mechanisms: Option<&[String]>| {
            let mut command = command.clone();
            if let Some(mechanisms) = mechanisms {
                command.insert("mechanisms", mechanisms);
            }
            command.insert("writeConcern", majority());
            command
        };
        let mechanisms = user.mechanisms.as_deref();
        let mut answered = self.run(with(mechanisms), doing, deadline).await;
        for mechanism in mechanisms.filter(|all| all.len() > 1).into_iter().flatten() {
            if !answered.as_ref().is_err_and(mechanism_refused) {
                break;
            }
            answered = self.run(with(Some(std::slice::from_ref(mechanism))), doing, deadline).await;
        }
        answered
    }

    fn no_majority(&self) -> CommandFailure {
        let session = self.session();
        let servers = session.servers();
        Failure::transient(
            Core::DatabaseUnavailable,
            format!("{servers} has a primary that no majority of the replica set follows."),
            "A majority of the members that hold data must be up: see rs.status(). Secrets Manager tries again.",
        )
        .into()
    }

    /// DocumentDB and others know no restrictions, and then not the question for them either.
    async fn users_info(&self, name: &str, deadline: Deadline) -> Answered {
        let doing = "reading the user";
        let plain = doc! { "usersInfo": { "user": name, "db": &self.database } };
        let mut full = plain.clone();
        full.insert("showAuthenticationRestrictions", true);
        match self.run(full, doing, deadline).await {
            Err(failed) if question_unknown(&failed) => self.run(plain, doing, deadline).await,
            result => result,
        }
    }

    /// What the failure means for this user, this session and what it was about to do.
    fn explain(&self, failed: CommandFailure, name: &str, actions: &[&str], roles: &BTreeSet<Role>) -> Error {
        let Some(answer) = &failed.answer else { return failed.into() };
        let session = self.session();
        let servers = session.servers();
        let words = &answer.words;
        let user = format!("{name}@{}", self.database);
        match answer.code {
            13 => self.explain_unauthorized(name, words, actions, roles),
            11 => Error::new(
                Core::UserMissing,
                format!("There is no user {user} at {servers} any more."),
                "Make the user again (createUser), or delete the secret if nobody needs it.",
            ),
            31 => Error::of(
                Code::RoleMissing,
                format!("{user} at {servers} cannot be given a role that does not exist: {words}."),
            ),
            // DocumentDB wants 8 to 100 printable characters without / \" @; its code for that is not documented.
            _ if actions.contains(&"changePassword") && words.to_ascii_lowercase().contains("password") => Error::new(
                Code::PasswordNotAllowed,
                format!("{servers} does not take the new password of {user}: {words} (code {}).", answer.code),
                "Let PASSWORD_LENGTH be from 8 to 100 and leave / \" @ out (DocumentDB's rules). The value that is stored keeps its password: drop it, then rotate again: aws secretsmanager update-secret-version-stage --secret-id <secret> --version-stage AWSPENDING --remove-from-version-id <version>",
            ),
            _ => failed.into(),
        }
    }

    fn explain_unauthorized(&self, name: &str, words: &str, actions: &[&str], roles: &BTreeSet<Role>) -> Error {
        let session = self.session();
        let Session { user: who, auth_db, .. } = &*session;
        let (servers, database) = (session.servers(), &self.database);
        let Power::Admin(secret) = &self.power else {
            // Everybody may look at themselves, and needs no right for it.
            let needed = actions.iter().filter(|action| **action != "viewUser" || actions.len() == 1);
            let own: Vec<&str> = needed.map(|action| own_action(action)).collect();
            let role = format!("{}_{database}", own.join("_"));
            return Error::new(
                Code::ChangeOwnPasswordMissing,
                format!("{name}@{database} lacks {} on {database:?} at {servers}: {words}.", own.join(", ")),
                format!(
                    "As an admin: {}; {}. Then allow users to have this role, which is in admin: {}={role}@admin in the function's environment.",
                    run_in("admin", &make_role(&role, &[privilege(database, &own)])),
                    run_in(database, &grant(name, &role, "admin")),
                    Setting::AllowRoles,
                ),
            );
        };
        // Just that much, and never userAdmin on admin: who has that can make itself root.
        let of_roles = ["grantRole", "revokeRole"];
        let databases: BTreeSet<&String> = roles.iter().map(|role| &role.database).collect();
        let mut rights = vec![privilege(database, actions)];
        rights.extend(databases.into_iter().map(|database| privilege(database, &of_roles)));
        Error::new(
            Core::AdminLacksPrivilege,
            format!("{who}@{auth_db}, the admin in {secret}, may not do this at {servers}: {words}."),
            format!(
                "Give it a role with what that takes: {}; {}",
                run_in("admin", &make_role("keyturn_rotation_added", &rights)),
                run_in(auth_db, &grant(who, "keyturn_rotation_added", "admin")),
            ),
        )
    }
}

impl Directory for Server<'_> {
    async fn user(&self, name: &str, deadline: Deadline) -> Result<Option<User>> {
        let answer = self
            .users_info(name, deadline)
            .await
            .map_err(|failed| self.explain(failed, name, &["viewUser"], &BTreeSet::new()))?;
        Ok(known_user(&answer, name, &self.database))
    }

    /// A primary that a majority does not follow takes a change all the same, and refuses the old password from then on. Once
    /// every ten seconds it writes something by itself: what it wrote last must have come to a majority.
    async fn is_ready(&self, deadline: Deadline) -> Result<()> {
        let within = deadline.at_most(MAJORITY_WITHIN);
        let first = Cell::new(None);
        let confirmed = async |deadline| {
            let hello =
                self.session().run("admin", doc! { "hello": 1 }, "asking how far a majority is", deadline).await?;
            let (Some(last), Some(confirmed)) = (written(&hello, "opTime"), written(&hello, "majorityOpTime")) else {
                return Ok(());
            };
            let wanted = first.get().unwrap_or(last);
            first.set(Some(wanted));
            if confirmed >= wanted { Ok(()) } else { Err(self.no_majority()) }
        };
        failure::retry(within, MAJORITY_WITHIN, CommandFailure::is_transient, confirmed).await?;
        Ok(())
    }

    async fn set_password(&self, user: &User, password: &SecretString, deadline: Deadline) -> Result<Set> {
        let command = doc! { "updateUser": &user.name, "pwd": password.expose_secret() };
        let set = self.run_for(user, command, "setting the password", deadline).await;
        let Err(failed) = set else { return Ok(Set::Confirmed) };
        let explained = self.explain(failed.clone(), &user.name, &["viewUser", "changePassword"], &BTreeSet::new());
        match failed.server_code() {
            Some(WRITE_CONCERN_FAILED) => Ok(Set::WithoutMajority(explained)),
            Some(_) if !failed.is_transient() => Err(explained),
            _ => Ok(Set::Unanswered(explained)),
        }
    }

    async fn create(&self, name: &str, model: &User, password: &SecretString, deadline: Deadline) -> Result<Created> {
        let mut command =
            doc! { "createUser": name, "pwd": password.expose_secret(), "roles": role_documents(&model.roles) };
        if !model.restrictions.is_empty() {
            command.insert("authenticationRestrictions", &model.restrictions);
        }
        match self.run_for(model, command, "making the user", deadline).await {
            Ok(_) => Ok(Created::Made),
            // "User already exists"; DuplicateKey from versions that leave it to the index.
            Err(failed) if matches!(failed.server_code(), Some(51_003 | 11_000)) => Ok(Created::Taken),
            Err(failed) => {
                let actions = ["viewUser", "changePassword", "createUser", "setAuthenticationRestriction"];
                Err(self.explain(failed, name, &actions, &model.roles))
            }
        }
    }

    /// By the difference: whoever replaces all roles at once has to be allowed to revoke any role there is.
    async fn set_rights(&self, user: &User, model: &User, deadline: Deadline) -> Result<()> {
        let difference = |from: &User, to: &User| to.roles.difference(&from.roles).cloned().collect::<BTreeSet<_>>();
        let (lacking, excess) = (difference(user, model), difference(model, user));
        let mut commands = Vec::new();
        // Granted first: a try that is cut off in between leaves a user that works.
        if !lacking.is_empty() {
            commands.push(doc! { "grantRolesToUser": &user.name, "roles": role_documents(&lacking) });
        }
        if !excess.is_empty() {
            commands.push(doc! { "revokeRolesFromUser": &user.name, "roles": role_documents(&excess) });
        }
        // An empty list takes restrictions away; servers that know none do not know the field.
        if user.restrictions != model.restrictions {
            commands.push(doc! { "updateUser": &user.name, "authenticationRestrictions": &model.restrictions });
        }
        let (roles, actions) = (&lacking | &excess, ["viewUser", "setAuthenticationRestriction"]);
        for mut command in commands {
            command.insert("writeConcern", majority());
            self.run(command, "giving the user its rights", deadline)
                .await
                .map_err(|failed| self.explain(failed, &user.name, &actions, &roles))?;
        }
        Ok(())
    }

    async fn has_room(&self, _deadline: Deadline) -> Result<()> {
        Ok(())
    }

    /// A login does not tell whether a majority of the replica set has the password: set again, the server does.
    fn is_lasting(&self, _progress: Progress) -> bool {
        false
    }

    async fn progress(&self, _deadline: Deadline) -> Progress {
        // The server answers when a majority has the change.
        Progress::Applied
    }

    fn whereabouts(&self) -> String {
        format!(
            "at {} as an admin: {}",
            self.session().servers(),
            run_in(&self.database, &doc! { "usersInfo": "<name>" })
        )
    }
}

/// Codes with which servers refuse a field that they do not know: `FailedToParse`, `InvalidOptions`, `CommandNotSupported`,
/// `NotImplemented`, DocumentDB's own 303, and the command parser's of newer servers.
fn question_unknown(failed: &CommandFailure) -> bool {
    matches!(failed.server_code(), Some(9 | 72 | 115 | 238 | 303 | 40_415))
        || failed.answer.as_ref().is_some_and(|answer| answer.words.to_ascii_lowercase().contains("unrecognized field"))
}

/// The server does not do one of the mechanisms (`BadValue`).
fn mechanism_refused(failed: &CommandFailure) -> bool {
    failed
        .answer
        .as_ref()
        .is_some_and(|answer| answer.code == 2 && answer.words.to_ascii_lowercase().contains("mechanism"))
}

/// When a member of a replica set wrote last (`opTime`), or a majority confirmed (`majorityOpTime`). Other servers do not say.
fn written(hello: &Document, key: &str) -> Option<Timestamp> {
    hello.get_document("lastWrite").ok()?.get_document(key).ok()?.get_timestamp("ts").ok()
}

/// The action by which a user does to itself what an admin does by `action`.
fn own_action(action: &str) -> &str {
    if action == "changePassword" { "changeOwnPassword" } else { action }
}
