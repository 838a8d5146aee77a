//! The seam between the four steps and the system whose passwords are rotated.

use super::Job;
use crate::Result;
use crate::credential::Credential;
use secrecy::SecretString;

/// Whose password a rotation changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// Two users take turns: the one in use is never touched, and clients notice nothing.
    Alternating,
    /// One user: from the change on, clients that still have the old password are refused.
    Fixed,
}

/// The system whose password is rotated. createSecret is [`survey`](Target::survey) and [`plan`](Target::plan), setSecret
/// [`apply`](Target::apply), testSecret [`prove`](Target::prove), finishSecret [`still_accepted`](Target::still_accepted).
#[expect(async_fn_in_trait, reason = "used with concrete types on one thread; nobody needs these futures to be Send")]
pub trait Target {
    /// What `survey` found, and `plan` decides by.
    type Survey;

    /// Reads a value of the secret; `what` says in errors which one. Targets with secrets of another shape than AWS's say so here.
    fn read(&self, text: SecretString, what: &str, _job: &Job) -> Result<Credential> {
        Credential::parse(text, what)
    }

    fn strategy(&self, _job: &Job) -> Result<Strategy> {
        Ok(Strategy::Alternating)
    }

    /// The ARN of the admin secret, where the operator allows only one. It is read at the same time as the rotated secret, which
    /// spares a wait.
    fn only_admin(&self) -> Option<&str> {
        None
    }

    /// What an error of a later step than createSecret has to say of clients, where Secrets Manager kept it from looking at the
    /// target: an earlier try may have changed a password that they use.
    fn unseen(&self) -> Option<&'static str> {
        None
    }

    /// Reads everything that the plan takes, and proves that `current` logs in. Writes nothing.
    async fn survey(&self, current: &Credential, job: &Job) -> Result<Self::Survey>;

    /// Decides which user the pending value is for, without I/O. Every guard that can refuse refuses here: nothing has been
    /// written yet.
    fn plan(&self, survey: &Self::Survey, job: &Job) -> Result<String>;

    /// Refuses a new password that the system would never take, before it is stored.
    fn takes(&self, _password: &SecretString, _survey: &Self::Survey) -> Result<()> {
        Ok(())
    }

    /// Says in which way `pending` cannot be what follows `current` (another host, a foreign user); `None` when it can. What
    /// is wrong with the current value or a tag is no fault of the pending value, but an error.
    fn mismatch(&self, current: &Credential, pending: &Credential, job: &Job) -> Result<Option<String>>;

    /// Makes `pending` valid in the system and gives back what it changed, in words. Must be safe to repeat. Asks `still`
    /// last of all before the change takes effect: waiting may have taken so long that the rotation is not this one any more.
    async fn apply(
        &self,
        current: &Credential,
        pending: &Credential,
        job: &Job,
        still: impl AsyncFn() -> Result<()>,
    ) -> Result<Vec<String>>;

    /// Proves, on a fresh connection, that `pending` logs in as who it should and may do what it must.
    async fn prove(&self, pending: &Credential, job: &Job) -> Result<()>;

    /// Refuses, just before AWSCURRENT moves, a `pending` that no longer logs in: somebody may have set another password since
    /// it was proven, and every client would read a dead one.
    async fn still_accepted(&self, current: &Credential, pending: &Credential, job: &Job) -> Result<()>;
}
