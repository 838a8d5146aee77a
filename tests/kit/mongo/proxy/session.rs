//! One connection through the proxy: what passes, what is answered here, and where faults strike.

use anyhow::Result;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Bson, Document};
use tokio::net::TcpStream;
use tokio_rustls::{client, server};

use super::Shared;
use super::wire::{Message, Wire};
use crate::faults::Moment;
use crate::mongo::AUTHENTICATION_FAILED;
use crate::tcp::strike;

type Client = Wire<server::TlsStream<TcpStream>>;
type Server = Wire<client::TlsStream<TcpStream>>;

/// A client's connection, and the one to the server that was made for it.
pub(super) struct Session<'a> {
    client: Client,
    server: Server,
    shared: &'a Shared,
    login: Option<Login>,
}

/// A login that the server has not judged yet.
struct Login {
    user: String,
    call: String,
}

impl<'a> Session<'a> {
    pub(super) fn new(client: Client, server: Server, shared: &'a Shared) -> Self {
        Self { client, server, shared, login: None }
    }

    /// Carries messages both ways until one side is done, or a fault cuts the connection.
    pub(super) async fn run(&mut self) -> Result<()> {
        loop {
            tokio::select! {
                message = self.client.message() => match message? {
                    Some(request) => {
                        if !self.take(&request).await? {
                            return Ok(());
                        }
                    }
                    None => return Ok(()),
                },
                message = self.server.message() => match message? {
                    // To what was passed on without waiting, and what a monitor has subscribed to.
                    Some(reply) => {
                        let document = reply.document()?;
                        if document.contains_key("maxWireVersion") {
                            self.client.send(&reply.with(&self.shared.greeting(document))?).await?;
                        } else {
                            self.client.send(reply.bytes()).await?;
                        }
                    }
                    None => return Ok(()),
                },
            }
        }
    }

    /// Deals with one message of the client. False: the connection is to be cut.
    async fn take(&mut self, request: &Message) -> Result<bool> {
        let command = request.document()?;
        let name = command.keys().next().map(String::as_str).unwrap_or_default();
        if let Some(user) = user(&command)
            && self.login.is_none()
        {
            let call = self.shared.faults.begin(&format!("mongo login {user}"));
            if self.strikes(&call, Moment::Before).await? {
                return Ok(false);
            }
            self.login = Some(Login { user, call });
        }
        match name {
            "hello" | "isMaster" | "ismaster" | "endSessions" => {
                self.server.send(request.bytes()).await?;
                Ok(true)
            }
            "saslStart" | "saslContinue" => self.log_in(request, name == "saslContinue").await,
            name => self.carry_out(request, name, &command).await,
        }
    }

    /// One message of a login and its answer. The client's second message carries its proof: the answer is the verdict.
    async fn log_in(&mut self, request: &Message, proof: bool) -> Result<bool> {
        let held = |login: &Login| proof && self.shared.tricks().held.contains(&login.user);
        let answer = if self.login.as_ref().is_some_and(held) {
            request.answer(&self.shared.refusal())?
        } else {
            self.server.send(request.bytes()).await?;
            let Some(reply) = self.server.message().await? else { return Ok(false) };
            let document = reply.document()?;
            if succeeded(&document) && !proof {
                self.client.send(reply.bytes()).await?;
                return Ok(true);
            }
            if document.get_i32("code").is_ok_and(|code| code == AUTHENTICATION_FAILED) {
                reply.with(&self.shared.refusal())?
            } else {
                reply.bytes().into()
            }
        };
        // Without a login there has been a verdict already: the rest is politeness.
        if let Some(login) = self.login.take()
            && self.strikes(&login.call, Moment::After).await?
        {
            return Ok(false);
        }
        self.client.send(&answer).await?;
        Ok(true)
    }

    async fn carry_out(&mut self, request: &Message, name: &str, command: &Document) -> Result<bool> {
        if name != "ping" {
            self.shared.tricks().commands.push(command.clone());
        }
        let call = self.shared.faults.begin(&format!("mongo {name}"));
        if self.strikes(&call, Moment::Before).await? {
            return Ok(false);
        }
        let answer = if let Some(prepared) = self.shared.prepared_answer(name) {
            Some(request.answer(&prepared)?)
        } else {
            self.server.send(request.bytes()).await?;
            if request.wants_an_answer() {
                let Some(reply) = self.server.message().await? else { return Ok(false) };
                Some(reply.bytes().into())
            } else {
                None
            }
        };
        if self.strikes(&call, Moment::After).await? {
            return Ok(false);
        }
        if let Some(answer) = answer {
            self.client.send(&answer).await?;
        }
        Ok(true)
    }

    async fn strikes(&mut self, call: &str, moment: Moment) -> Result<bool> {
        let Some(last) = strike(&self.shared.faults, call, moment).await else { return Ok(false) };
        self.client.send(last).await?;
        Ok(true)
    }
}

fn succeeded(reply: &Document) -> bool {
    !matches!(reply.get("ok"), Some(Bson::Double(0.0) | Bson::Int32(0) | Bson::Int64(0)) | None)
}

/// The user that a command begins a login of. SCRAM's first message is `n,,n=user,r=nonce`.
pub(super) fn user(command: &Document) -> Option<String> {
    let start = command.get_document("speculativeAuthenticate").unwrap_or(command);
    if !start.contains_key("saslStart") {
        return None;
    }
    let payload = match start.get("payload")? {
        Bson::Binary(payload) if payload.subtype == BinarySubtype::Generic => &payload.bytes,
        _ => return None,
    };
    let text = String::from_utf8_lossy(payload);
    let name = text.split(',').find_map(|part| part.strip_prefix("n="))?;
    Some(name.replace("=2C", ",").replace("=3D", "="))
}
