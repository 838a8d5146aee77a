//! PostgreSQL's wire protocol as far as a proxy and a fake server need it: where one message ends and the next begins.

use std::io::{Error, ErrorKind, Result};

use anyhow::ensure;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

const SSL_REQUEST: u32 = 80_877_103;
const CANCEL_REQUEST: u32 = 80_877_102;
const GSSENC_REQUEST: u32 = 80_877_104;
const LONGEST: usize = 64 << 20;

/// A connection read message by message. Every read may be dropped halfway without losing bytes.
pub(crate) struct Wire<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next message, or `None` when the other side is done.
    pub(crate) async fn message(&mut self) -> Result<Option<Message>> {
        Ok(self.frame(1).await?.map(Message))
    }

    /// The next packet of the kind that comes first on a connection: it has no type.
    pub(crate) async fn first_packet(&mut self) -> Result<Option<FirstPacket>> {
        self.frame(0).await?.map(FirstPacket::new).transpose()
    }

    pub(crate) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await
    }

    /// A length of four bytes, which counts itself, after `before` bytes that it does not count.
    async fn frame(&mut self, before: usize) -> Result<Option<Bytes>> {
        loop {
            if let Some(mut length) = self.buffer.get(before..before + 4) {
                let length = length.get_u32() as usize;
                if !(4..=LONGEST).contains(&length) {
                    return Err(Error::new(ErrorKind::InvalidData, format!("a message of {length} bytes")));
                }
                if self.buffer.len() >= before + length {
                    return Ok(Some(self.buffer.split_to(before + length).freeze()));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

/// A message with its type and length.
pub(crate) struct Message(Bytes);

impl Message {
    pub(crate) fn kind(&self) -> u8 {
        self.0[0]
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.0[5..]
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The body's zero-terminated texts from its beginning.
    pub(crate) fn texts(&self) -> impl Iterator<Item = String> {
        texts(self.body())
    }

    /// Whether the server has accepted or refused the password with it.
    pub(crate) fn ends_authentication(&self) -> bool {
        self.kind() == b'E' || (self.kind() == b'R' && self.body() == [0; 4])
    }
}

/// What a client says first.
pub(crate) enum FirstPacket {
    Tls,
    Gss,
    /// It wants a statement of another connection cancelled.
    Cancel(Bytes),
    /// It wants a session as this user.
    Startup(String, Bytes),
}

impl FirstPacket {
    fn new(packet: Bytes) -> Result<Self> {
        let code = packet.get(4..8).map(|mut code| code.get_u32());
        match code {
            Some(SSL_REQUEST) => Ok(Self::Tls),
            Some(GSSENC_REQUEST) => Ok(Self::Gss),
            Some(CANCEL_REQUEST) => Ok(Self::Cancel(packet)),
            Some(version) if version >> 16 == 3 => {
                let words: Vec<_> = texts(&packet[8..]).collect();
                let user = words.chunks(2).find(|pair| pair[0] == "user").and_then(|pair| pair.get(1)).cloned();
                Ok(Self::Startup(user.unwrap_or_default(), packet))
            }
            _ => Err(Error::new(ErrorKind::InvalidData, "no PostgreSQL client")),
        }
    }
}

fn texts(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned())
}

pub(crate) fn message(kind: u8, body: &[u8]) -> BytesMut {
    let mut message = BytesMut::new();
    message.put_u8(kind);
    message.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    message.put_slice(body);
    message
}

/// The same first packet for another user.
pub(crate) fn renamed(startup: &[u8], from: &str, to: &str) -> Bytes {
    let (from, to) = (format!("user\0{from}\0"), format!("user\0{to}\0"));
    let at = startup.windows(from.len()).position(|part| part == from.as_bytes()).unwrap_or(startup.len());
    let rest = startup.get(at + from.len()..).unwrap_or_default();
    let body = [&startup[4..at], to.as_bytes(), rest].concat();
    let mut packet = BytesMut::new();
    packet.put_u32(u32::try_from(body.len() + 4).unwrap_or(u32::MAX));
    packet.put_slice(&body);
    packet.freeze()
}

pub(crate) fn refusal(state: &str, says: &str) -> BytesMut {
    message(b'E', format!("SFATAL\0VFATAL\0C{state}\0M{says}\0\0").as_bytes())
}

/// Answers a client's wish for TLS and shakes hands; an error when it begins without TLS.
pub(crate) async fn accept_tls(
    stream: TcpStream,
    acceptor: &TlsAcceptor,
) -> anyhow::Result<Wire<TlsStream<TcpStream>>> {
    stream.set_nodelay(true)?;
    let mut plain = Wire::new(stream);
    loop {
        match plain.first_packet().await? {
            Some(FirstPacket::Tls) => break,
            Some(FirstPacket::Gss) => plain.send(b"N").await?,
            Some(_) => anyhow::bail!("a client began without TLS"),
            None => anyhow::bail!("a client left before TLS"),
        }
    }
    ensure!(plain.buffer.is_empty(), "a client sent more than its wish for TLS");
    plain.send(b"S").await?;
    Ok(Wire::new(acceptor.accept(plain.stream).await?))
}
