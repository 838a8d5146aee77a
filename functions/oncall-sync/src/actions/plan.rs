//! The plan: the lines that say what a tick would do now.

use crate::OncallSync;
use crate::observe::Observed;
use crate::planner;
use crate::report::Report;
use keyturn::{Deadline, Result};

impl OncallSync {
    /// Says what a tick would do now. Nothing is written anywhere.
    ///
    /// # Errors
    /// As [`OncallSync::sync`].
    pub(crate) async fn plan(&self, deadline: Deadline) -> Result<Report> {
        let now = self.clock.now();
        let Observed { mut views, bad, .. } = self.observer.observe(None, now, deadline).await?;
        views.sort_by(|one, other| {
            (&one.binding.id, &one.binding.group).cmp(&(&other.binding.id, &other.binding.group))
        });
        let mut lines = Vec::new();
        for view in &views {
            lines.extend(planner::lines(&view.facts(now), &view.plan(now)));
        }
        lines.extend(bad.values().map(|error| format!("refused: {error}")));
        Ok(Report::Planned { plan: lines })
    }
}
