//! The actions that an event can ask for, one file each.

mod by_hand;
mod doctor;
mod forecast;
mod plan;
mod sync;

use crate::OncallSync;
use crate::event::Event;
use crate::report::Report;
use keyturn::{Deadline, Result};

impl OncallSync {
    pub(crate) async fn answer(&self, event: &Event, deadline: Deadline) -> Result<Report> {
        match event {
            Event::Sync {} => Box::pin(self.sync(deadline)).await,
            Event::Plan {} => Box::pin(self.plan(deadline)).await,
            Event::Forecast {} => Box::pin(self.forecast(deadline)).await,
            Event::Grant { binding, user, lasts, reason } => {
                Box::pin(self.grant_by_hand(binding, &user.0, *lasts, &reason.0, deadline)).await
            }
            Event::Revoke { binding, user, reason } => {
                Box::pin(self.revoke_by_hand(binding, &user.0, &reason.0, deadline)).await
            }
            Event::Doctor {} => Box::pin(self.examine(deadline)).await,
        }
    }
}
