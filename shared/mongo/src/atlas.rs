//! A client of Atlas's Admin API v2 (mongodb.com/docs/api/doc/atlas-admin-api-v2).

mod access;
mod call;
mod digest;
mod errors;
#[cfg(test)]
mod tests;

use access::{Access, Tokens};
pub use call::{Call, segment};
pub use errors::{Needs, Remedies, code};
use keyturn::clock::Clock;
use keyturn::http::{Answer, Base, Client, Http, RateLimit};
use keyturn::{Deadline, Result};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where Atlas is, unless `ATLAS_API_URL` says otherwise.
pub const ADDRESS: &str = "https://cloud.mongodb.com";
/// The database that users with a password authenticate at.
pub const ADMIN: &str = "admin";
/// The revision of the API that calls about users speak: the date is a part of the media type.
pub const USERS: &str = "2023-01-01";
const A_PAGE: usize = 100;
/// More pages than any project has: a list that is longer is none of Atlas's.
const MOST_PAGES: usize = 100;
/// Atlas's own advice where a 429 does not say how long to wait: 10 s, then 20, then 40.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// Atlas, and the access tokens that outlive an invocation.
pub struct Atlas {
    http: Http,
    tokens: Tokens,
    remedies: &'static Remedies,
}

impl Atlas {
    /// At this address; `client` may be shared.
    #[must_use]
    pub fn new(base: Base, client: &Client, remedies: &'static Remedies) -> Self {
        let limit = RateLimit::Doubling { first: FIRST_PAUSE };
        Self { http: Http::new(base, client, limit, Clock::system()), tokens: Tokens::default(), remedies }
    }

    /// One project, with the credential in this secret: `{"client_id","client_secret"}` of a service account, or
    /// `{"public_key","private_key"}`. Nothing is called yet.
    ///
    /// # Errors
    /// `ATLAS_SECRET_INVALID`, which quotes no value.
    pub fn project(&self, secret: &SecretString, group_id: &str) -> Result<Project<'_>> {
        let access = Access::parse(secret, &self.tokens).map_err(|why| errors::secret_invalid(&why, self.remedies))?;
        Ok(Project { atlas: self, access, group: group_id.to_owned() })
    }
}

/// A project, as the holder of one credential sees it.
pub struct Project<'a> {
    atlas: &'a Atlas,
    access: Access,
    group: String,
}

impl Project<'_> {
    /// The project's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.group
    }

    /// A GET of `path` (encoded, query and all) below the project.
    ///
    /// # Errors
    /// `ATLAS_CALL_FAILED`, where it cannot be made; so for the other methods.
    pub fn get(&self, path: &str, version: &str, needs: Needs) -> Result<Call<'_>> {
        Call::get(&self.group, path, version, needs, self.atlas.remedies)
    }

    /// A PATCH with this as JSON.
    pub fn patch(&self, path: &str, version: &str, body: &impl Serialize) -> Result<Call<'_>> {
        Call::patch(&self.group, path, version, body, self.atlas.remedies)
    }

    /// A POST of this as JSON.
    pub fn post(&self, path: &str, version: &str, body: &impl Serialize) -> Result<Call<'_>> {
        Call::post(&self.group, path, version, body, self.atlas.remedies)
    }

    /// A DELETE.
    pub fn delete(&self, path: &str, version: &str) -> Result<Call<'_>> {
        Call::delete(&self.group, path, version, self.atlas.remedies)
    }

    /// Makes a call. An answer that refuses it is an answer.
    ///
    /// # Errors
    /// The `ATLAS_*` codes.
    pub async fn send(&self, call: &Call<'_>, deadline: Deadline) -> Result<Answer> {
        self.access.send(&self.atlas.http, call, deadline).await
    }

    /// Makes a call whose answer holds nothing of interest.
    ///
    /// # Errors
    /// The `ATLAS_*` codes.
    pub async fn change(&self, call: &Call<'_>, deadline: Deadline) -> Result<()> {
        let answer = self.send(call, deadline).await?;
        if answer.status.is_success() { Ok(()) } else { Err(call.unexpected(&answer)) }
    }

    /// A list, from all of its pages.
    ///
    /// # Errors
    /// The `ATLAS_*` codes.
    pub async fn pages<T: DeserializeOwned>(
        &self,
        list: &str,
        version: &str,
        needs: Needs,
        deadline: Deadline,
    ) -> Result<Vec<T>> {
        let mut all = Vec::new();
        for number in 1..=MOST_PAGES {
            let path = format!("{list}?itemsPerPage={A_PAGE}&pageNum={number}&includeCount=true");
            let call = self.get(&path, version, needs)?;
            let page: Page<T> = call.read(&self.send(&call, deadline).await?)?;
            let read = page.results.len();
            all.extend(page.results);
            if all.len() >= page.total {
                return Ok(all);
            }
            if read == 0 || number == MOST_PAGES {
                let why = format!("page {number} leaves {} of {} out", page.total - all.len(), page.total);
                return Err(call.strange(&why));
            }
        }
        Ok(all)
    }

    /// Gives an access token back. Nothing depends on it: one that stays ends within the hour, but only a hundred may
    /// live at a time.
    pub async fn leave(&self) {
        self.access.leave(&self.atlas.http).await;
    }

    /// Where a person looks the project's users up, in words.
    #[must_use]
    pub fn whereabouts(&self) -> String {
        let page = self.atlas.http.base().address(&format!("/v2/{}#/security/database/users", self.group));
        format!("at Atlas, project {}, Database Access: {page}", self.group)
    }
}

/// A page of a list.
#[derive(Deserialize)]
pub struct Page<T> {
    pub results: Vec<T>,
    #[serde(rename = "totalCount")]
    pub total: usize,
}

/// The path of a user below the project.
///
/// # Errors
/// `ATLAS_CALL_FAILED`, for names that no path can hold.
pub fn user_path(database: &str, name: &str) -> Result<String> {
    Ok(format!("/databaseUsers/{}/{}", segment(database)?, segment(name)?))
}
