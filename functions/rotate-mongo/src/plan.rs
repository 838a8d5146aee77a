//! createSecret, second part: which user the pending value is for. Everything that can be refused is refused here, before a
//! value is put. Pure: facts in, verdict out.

use crate::guards;
use crate::settings::Settings;
use crate::survey::{Next, Survey};
use keyturn::Result;
use keyturn::rotation::Job;

/// The user that the pending value is for.
///
/// Errors: those of [`guards::user`] and [`guards::twin`], and what the survey met.
pub(crate) fn next_user(settings: &Settings, survey: &Survey, job: &Job) -> Result<String> {
    let Survey { case, user, login, next } = survey;
    match next {
        Next::Same => {}
        Next::Other(other) => {
            guards::twin(settings, case, other, user, settings.sync_roles, job)?;
        }
        Next::ToMake { room } => room.clone()?,
    }
    // Last: a guard's word holds whatever becomes of the login.
    login.as_ref().map_err(Clone::clone)?;
    Ok(case.next.clone())
}
