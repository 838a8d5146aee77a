//! A replica set of several members, which can be stopped one by one.

use std::ops::Deref;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use mongodb::bson::doc;

use super::server::{self, Choices, REPLICA_SET};
use super::{Users, connect};
use crate::certificates::Certificates;
use crate::daemon::Instance;

/// A running replica set. Dropped, its members are stopped and removed.
pub struct ReplicaSet {
    users: Users,
    /// `None` where a member was stopped.
    members: Vec<Option<Instance>>,
    hosts: Vec<String>,
}

impl Deref for ReplicaSet {
    type Target = Users;

    fn deref(&self) -> &Users {
        &self.users
    }
}

impl ReplicaSet {
    /// Starts a set of `data` members, of which the first one is the primary, and of as many arbiters.
    pub async fn start(certificates: &Certificates, data: usize, arbiters: usize) -> Result<Self> {
        let started = (0..data + arbiters).map(|nth| {
            // An arbiter keeps no data: that of a copy would keep it from joining.
            let choices = Choices { empty: nth >= data, ..Choices::default() };
            let certificates = certificates.clone();
            async move { tokio::task::spawn_blocking(move || server::start(&choices, &certificates)).await? }
        });
        let started = try_join_all(started).await?;
        let password = started.first().context("a replica set without members")?.1.clone();
        let members: Vec<Instance> = started.into_iter().map(|(member, _)| member).collect();
        let ports: Vec<u16> = members.iter().map(|member| member.port).collect();
        let hosts: Vec<String> = ports.iter().map(|port| format!("localhost:{port}")).collect();
        let first = connect(certificates, members[0].port, "admin", server::ROOT, &password)?;
        server::configure(&first, &hosts, arbiters).await?;
        first.shutdown().immediate(true).await;
        let users = Users::new(certificates.clone(), ports, Some(REPLICA_SET), password);
        let set = Self { users, members: members.into_iter().map(Some).collect(), hosts };
        // All have heard of it once a majority confirms a write.
        let concern = doc! { "w": i32::try_from(data)?, "wtimeout": 30_000 };
        let first = doc! { "insert": "first", "documents": [{ "_id": 1 }], "writeConcern": concern };
        set.as_root("kit", first).await?;
        Ok(set)
    }

    /// `rs0/localhost:PORT,localhost:PORT`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("{REPLICA_SET}/{}", self.hosts.join(","))
    }

    /// `localhost:PORT` of each member.
    #[must_use]
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }

    /// Kills a member.
    pub fn stop(&mut self, member: usize) {
        self.members[member] = None;
    }

    /// Makes the primary step down, for a few seconds: another member takes over.
    pub async fn step_down(&self) -> Result<()> {
        self.as_root("admin", doc! { "replSetStepDown": 5, "secondaryCatchUpPeriodSecs": 4 }).await.map(drop)
    }
}
