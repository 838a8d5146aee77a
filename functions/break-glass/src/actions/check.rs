//! The check: proves, before the night, that every database can be opened. Nothing is made.

use super::AT_ONCE;
use crate::BreakGlass;
use crate::answer::{Check, Checked};
use crate::codes::Code;
use crate::document::{Document, Opener, Who};
use crate::grant::Standing;
use crate::telemetry::audit;
use futures_util::stream::{self, StreamExt as _};
use keyturn::{Deadline, Error, Result};

impl BreakGlass {
    /// # Errors
    /// Only where Parameter Store itself cannot be read; everything else is a check that failed.
    pub(crate) async fn check(&self, deadline: Deadline) -> Result<Checked> {
        let documents = self.store.documents(deadline).await?;
        let ledgers = self.store.ledgers(documents.good.iter().flat_map(openers), deadline).await;
        let refused =
            documents.bad.iter().map(|(name, error)| Check::of(format!("document {name}"), Err(error.clone()), ""));
        let mut checks: Vec<Check> = refused.collect();
        if checks.is_empty() && documents.good.is_empty() {
            let none = Error::new(
                Code::DocumentInvalid,
                format!("There is no document below {}.", self.settings.config_path),
                format!(
                    "Store one for each database: aws ssm put-parameter --type String --name {}/shop --value file://shop.json",
                    self.settings.config_path
                ),
            );
            checks.push(Check::of("documents".to_owned(), Err(none), ""));
        }
        for document in &documents.good {
            if !self.settings.permission_sets.iter().any(|set| document.admits(&set.name)) {
                let nobody = Error::new(
                    Code::DocumentInvalid,
                    format!(
                        "None of the \"permission_sets\" of {} is in PERMISSION_SETS, so nobody may open it.",
                        document.name
                    ),
                    "Correct \"permission_sets\" in the document.",
                );
                checks.push(Check::of(format!("{}: permission sets", document.name), Err(nobody), ""));
            }
            for opener in openers(document) {
                // No Okta login is empty, so this asks only whether the ledger can be read.
                let standing = Standing::of(opener, ledgers.of(opener), "", self.clock.now());
                let readable = match standing {
                    Standing::Unknown(why) => Err(Error::of(
                        Code::LedgerUnknown,
                        format!("The ledger {}.{}: {why}.", opener.binding, opener.group),
                    )),
                    _ => Ok(()),
                };
                checks.push(Check::of(
                    format!("{}: ledger {}.{}", document.name, opener.binding, opener.group),
                    readable,
                    "readable",
                ));
            }
        }
        let visit = async |document: &Document| {
            let visited = Box::pin(self.prove(document, deadline)).await;
            Check::of(
                format!("{}: a login can be made, and ended", document.name),
                visited,
                "proven as far as that goes without making one",
            )
        };
        checks.extend(stream::iter(&documents.good).map(visit).buffered(AT_ONCE).collect::<Vec<_>>().await);
        let healthy = checks.iter().all(|check| check.ok);
        audit::answered("check");
        Ok(Checked { healthy, checks })
    }

    async fn prove(&self, document: &Document, deadline: Deadline) -> Result<()> {
        let admin = self.admin(document, deadline).await?;
        let connected = self.systems.connect(document, &admin, deadline).await?;
        let proven = connected.vet(deadline).await;
        connected.leave().await;
        proven
    }
}

fn openers(document: &Document) -> &[Opener] {
    match &document.who {
        Who::OnCall(openers) => openers,
        Who::Anybody => &[],
    }
}
