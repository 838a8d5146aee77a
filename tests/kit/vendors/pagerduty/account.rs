//! What an account holds.

use std::collections::{BTreeMap, VecDeque};

use chrono::{DateTime, FixedOffset, SecondsFormat, Utc};
use serde_json::{Value, json};

use super::timeline::{Slot, side_by_side, stacked};
use crate::vendors::Reply;

/// The account's name in its URLs.
pub(super) const SUBDOMAIN: &str = "acme";

/// Schedules get these in turn. None of them knows summer time, so each is right in every month.
pub(super) const ZONES: [Zone; 4] = [
    Zone { name: "Africa/Johannesburg", seconds_east: 2 * 3600 },
    Zone { name: "America/Phoenix", seconds_east: -7 * 3600 },
    Zone { name: "Asia/Kolkata", seconds_east: 5 * 3600 + 1800 },
    Zone { name: "UTC", seconds_east: 0 },
];

#[derive(Clone, Copy)]
pub(super) struct Zone {
    pub(super) name: &'static str,
    seconds_east: i32,
}

impl Zone {
    /// This instant in RFC 3339, with the zone's offset.
    pub(super) fn show(self, at: DateTime<Utc>) -> String {
        let offset = FixedOffset::east_opt(self.seconds_east);
        let local = offset.map_or_else(|| at.fixed_offset(), |offset| at.with_timezone(&offset));
        local.to_rfc3339_opts(SecondsFormat::Secs, true)
    }
}

/// How entries show a user who was deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departed {
    /// `user: null`.
    Null,
    /// The reference is still there and carries `deleted_at`.
    DeletedAt,
}

pub(super) struct User {
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) departed: Option<(Departed, DateTime<Utc>)>,
}

/// The two kinds of schedules.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// v2: one person at a time, read at `/schedules/{id}`.
    Layers,
    /// v3: any number of people at a time, read at `/v3/schedules/{id}`.
    Shifts,
}

pub(super) struct Schedule {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) zone: Zone,
    pub(super) shifts: Vec<Slot>,
    pub(super) overrides: Vec<Slot>,
}

impl Schedule {
    pub(super) fn merged(&self) -> Vec<Slot> {
        match self.kind {
            Kind::Layers => stacked(&self.shifts, &self.overrides),
            Kind::Shifts => side_by_side(&self.shifts, &self.overrides),
        }
    }

    /// Where the API shows it.
    pub(super) fn path(&self, id: &str) -> String {
        match self.kind {
            Kind::Layers => format!("/schedules/{id}"),
            Kind::Shifts => format!("/v3/schedules/{id}"),
        }
    }
}

/// Who a level of an escalation policy calls.
#[derive(PartialEq, Eq)]
pub(super) enum Target {
    User(String),
    Schedule(String),
}

pub(super) struct Policy {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) levels: Vec<(u32, Target)>,
}

/// An app's client credentials, and what it may do.
pub(super) struct App {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) scopes: Vec<String>,
}

/// An access token's end and rights.
pub(super) struct Issued {
    pub(super) expires: DateTime<Utc>,
    pub(super) scopes: Vec<String>,
}

pub(super) struct Account {
    pub(super) token: Option<String>,
    pub(super) apps: Vec<App>,
    pub(super) issued: BTreeMap<String, Issued>,
    pub(super) abroad: bool,
    pub(super) users: BTreeMap<String, User>,
    pub(super) schedules: BTreeMap<String, Schedule>,
    pub(super) policies: Vec<Policy>,
    pub(super) page_size: usize,
    pub(super) endless: bool,
    /// What the next calls are turned away with.
    pub(super) limits: VecDeque<Reply>,
    ids: u64,
}

impl Account {
    pub(super) fn new(token: String) -> Self {
        Self {
            token: Some(token),
            apps: Vec::new(),
            issued: BTreeMap::new(),
            abroad: false,
            users: BTreeMap::new(),
            schedules: BTreeMap::new(),
            policies: Vec::new(),
            page_size: usize::MAX,
            endless: false,
            limits: VecDeque::new(),
            ids: 0,
        }
    }

    /// A new id: `P` and six letters or digits. The same in every run, so that calls can be named by their paths.
    pub(super) fn id(&mut self) -> String {
        const DIGITS: &[u8; 36] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
        self.ids += 1;
        // 36^6 ids, and a factor without a common divisor: no two numbers get the same one
        let mut rest = usize::try_from(self.ids * 1_291_603_337 % 2_176_782_336).unwrap_or_default();
        let mut id = "P".to_owned();
        for _ in 0..6 {
            id.push(char::from(DIGITS[rest % 36]));
            rest /= 36;
        }
        id
    }

    /// The region the account lives in, as OAuth scopes name it.
    pub(super) fn region(&self) -> &'static str {
        if self.abroad { "eu" } else { "us" }
    }

    /// A user as entries show them.
    pub(super) fn user_reference(&self, id: &str) -> Value {
        let Some(user) = self.users.get(id) else { return Value::Null };
        let mut shown = reference("user_reference", id, &user.name, &format!("/users/{id}"));
        match user.departed {
            Some((Departed::Null, _)) => return Value::Null,
            Some((Departed::DeletedAt, at)) => shown["deleted_at"] = json!(at),
            None => {}
        }
        shown
    }

    /// The whole user; as a reference once deleted.
    pub(super) fn user(&self, id: &str) -> Value {
        let mut shown = self.user_reference(id);
        if let Some(user) = self.users.get(id).filter(|user| user.departed.is_none()) {
            shown["type"] = json!("user");
            shown["name"] = json!(user.name);
            shown["email"] = json!(user.email);
            shown["time_zone"] = json!("UTC");
            shown["role"] = json!("limited_user");
            shown["job_title"] = Value::Null;
            shown["contact_methods"] = json!([]);
            shown["teams"] = json!([]);
        }
        shown
    }
}

/// How one thing names another.
pub(super) fn reference(kind: &str, id: &str, name: &str, path: &str) -> Value {
    let seen_at = path.trim_start_matches("/v3");
    json!({
        "id": id,
        "type": kind,
        "summary": name,
        "self": format!("https://api.pagerduty.com{path}"),
        "html_url": format!("https://{SUBDOMAIN}.pagerduty.com{seen_at}"),
    })
}
