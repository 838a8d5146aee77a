//! A server that answers as each test says, one thread a connection.

use keyturn::Deadline;
use keyturn::http::Base;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(super) const GROUP: &str = "64b1c0ffee64b1c0ffee64b1";
pub(super) const ROOT: &str = "/api/atlas/v2/groups/64b1c0ffee64b1c0ffee64b1";
pub(super) const ACCOUNT: &str = r#"{"client_id":"mdb_sa_id_1","client_secret":"mdb_sa_sk_1"}"#;
pub(super) const TOKEN: &str = r#"{"access_token":"tok-1","expires_in":3600,"token_type":"Bearer"}"#;

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// `GET /path?query`
    pub(super) call: String,
    headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// An answer: status, further headers, body.
pub(super) struct Reply(pub(super) u16, pub(super) &'static str, pub(super) String);

#[expect(clippy::needless_pass_by_value, reason = "most are made for the call")]
pub(super) fn json_reply(status: u16, body: impl ToString) -> Reply {
    Reply(status, "content-type: application/vnd.atlas.2023-01-01+json\r\n", body.to_string())
}

pub(super) fn failure(status: u16, code: &str, parameters: &Value) -> Reply {
    let body =
        json!({"error": status, "errorCode": code, "detail": "It failed.", "reason": "x", "parameters": parameters});
    json_reply(status, body)
}

pub(super) struct Server {
    pub(super) base: Base,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Server {
    pub(super) fn start(answer: impl Fn(&Seen, usize) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = Base::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (record, answer) = (Arc::clone(&seen), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (record, answer) = (Arc::clone(&record), Arc::clone(&answer));
                std::thread::spawn(move || serve(stream.unwrap(), &record, &*answer));
            }
        });
        Self { base, seen }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub(super) fn calls(&self) -> Vec<String> {
        self.seen().into_iter().map(|seen| seen.call).collect()
    }
}

fn serve(mut stream: TcpStream, record: &Mutex<Vec<Seen>>, answer: &impl Fn(&Seen, usize) -> Reply) {
    let seen = read(&mut stream);
    let nth = {
        let mut record = record.lock().unwrap();
        record.push(seen.clone());
        record.len()
    };
    let Reply(status, headers, body) = answer(&seen, nth);
    let head = format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).unwrap();
}

fn read(stream: &mut TcpStream) -> Seen {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let (first, rest) = head.split_once("\r\n").unwrap();
    let header = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
    let headers: Vec<_> = rest.lines().filter_map(header).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, n)| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    let call = first.trim_end_matches(" HTTP/1.1").to_owned();
    Seen { call, headers, body: String::from_utf8(body).unwrap() }
}

pub(super) fn soon() -> Deadline {
    Deadline::after(Duration::from_secs(5))
}

/// A server with tokens, which answers API calls as told.
pub(super) fn with_tokens(answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) -> Server {
    Server::start(move |seen, _| match seen.call.as_str() {
        "POST /api/oauth/token" => json_reply(200, TOKEN),
        "POST /api/oauth/revoke" => Reply(200, "", String::new()),
        _ => answer(seen),
    })
}
