//! Closing: a person is done.

use crate::BreakGlass;
use crate::answer::Http;
use crate::caller::Caller;
use crate::codes::Code;
use crate::document::DatabaseName;
use crate::login::{LoginName, Record, State, Why};
use crate::systems::Closed;
use crate::telemetry::audit;
use keyturn::{Deadline, Error, Result};

impl BreakGlass {
    /// Closes one login of the caller, or all of them in this database.
    pub(crate) async fn close(
        &self,
        caller: &Caller,
        database: &DatabaseName,
        login: Option<&LoginName>,
        deadline: Deadline,
    ) -> Result<Http> {
        let document = self.document_for(caller, database, deadline).await?;
        let (records, admin) = tokio::join!(self.store.records_of(database, deadline), self.admin(&document, deadline));
        let is_meant = |record: &Record| {
            record.state == State::Open && caller.is(&record.person) && login.is_none_or(|login| *login == record.login)
        };
        let theirs: Vec<Record> = records?.good.into_iter().filter(is_meant).collect();
        if theirs.is_empty() {
            return Err(Error::of(
                Code::NothingOpen,
                format!("{} has no such login open in {database}.", caller.person),
            ));
        }
        let connected = Box::pin(self.systems.connect(&document, &admin?, deadline)).await?;
        let (mut gone, mut failed) = (Vec::new(), None);
        for mut record in theirs {
            // If this invocation stops here, the next sweep closes the login. Safe to repeat: the same record again.
            record.closing = true;
            self.store.put(&record, deadline).await.unwrap_or_else(|error| audit::error(&error));
            match self.end(&connected, &document, &record, deadline).await {
                // Of one that is being opened right now the sweep takes care.
                Ok(Closed::Absent) if self.may_still_come(&record) => {}
                Ok(Closed::Gone | Closed::Absent) => gone.push((record, Why::Closed)),
                Ok(Closed::Disabled(error)) | Err(error) => failed = Some(error),
            }
        }
        connected.leave().await;
        let closed: Vec<LoginName> = gone.iter().map(|(record, _)| record.login.clone()).collect();
        self.forget(gone, deadline).await;
        failed.map_or_else(|| Ok(Http::closed(&closed)), Err)
    }
}
