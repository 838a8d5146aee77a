//! The wire protocol of mongod as far as a proxy needs it: where a message ends, and the document that it carries.

use anyhow::{Context, Result, bail};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use mongodb::bson::{Array, Document};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const LONGEST: usize = 48_000_000; // what servers take
const HEADER: usize = 16; // length, id, id of the message answered, operation
const OP_REPLY: u32 = 1; // answers OP_QUERY
const OP_QUERY: u32 = 2004; // the first hello of a connection
const OP_MSG: u32 = 2013; // everything else
const CHECKSUM_PRESENT: u32 = 1;
const MORE_TO_COME: u32 = 2;

/// A connection read message by message. Every read may be dropped halfway without losing bytes.
pub(super) struct Wire<S> {
    stream: S,
    buffer: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next message, or `None` when the other side is done.
    pub(super) async fn message(&mut self) -> Result<Option<Message>> {
        loop {
            if let Some(mut length) = self.buffer.get(..4) {
                let length = length.get_u32_le() as usize;
                if !(HEADER..=LONGEST).contains(&length) {
                    bail!("a message of {length} bytes");
                }
                if self.buffer.len() >= length {
                    return Ok(Some(Message(self.buffer.split_to(length).freeze())));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await?;
        self.stream.flush().await.map_err(Into::into)
    }
}

pub(super) struct Message(Bytes);

impl Message {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The command or the reply. What was sent beside a command (the documents of an `insert`) is in it, as an array.
    pub(super) fn document(&self) -> Result<Document> {
        match self.operation() {
            OP_MSG => self.sections(),
            OP_QUERY => {
                let mut rest = &self.0[HEADER..];
                take(&mut rest, 4)?; // flags
                text(&mut rest)?; // the collection, always admin.$cmd
                take(&mut rest, 8)?; // how many to skip and to return
                document(&mut rest)
            }
            OP_REPLY => {
                let mut rest = &self.0[HEADER..];
                take(&mut rest, 20)?; // flags, cursor, position and count
                document(&mut rest)
            }
            other => bail!("a message of operation {other}, which the proxy does not know"),
        }
    }

    /// Whether its sender waits for an answer.
    pub(super) fn wants_an_answer(&self) -> bool {
        self.operation() != OP_MSG || self.flags() & MORE_TO_COME == 0
    }

    /// The same message with another document.
    pub(super) fn with(&self, document: &Document) -> Result<BytesMut> {
        let flags = if self.operation() == OP_MSG { self.flags() & !CHECKSUM_PRESENT } else { 0 };
        pack(self.operation(), self.number(1), self.number(2), flags, document)
    }

    /// An answer to this message.
    pub(super) fn answer(&self, document: &Document) -> Result<BytesMut> {
        let operation = if self.operation() == OP_QUERY { OP_REPLY } else { OP_MSG };
        pack(operation, 0, self.number(1), 0, document)
    }

    fn sections(&self) -> Result<Document> {
        let mut rest = &self.0[HEADER..];
        let flags = take(&mut rest, 4)?.get_u32_le();
        if flags & CHECKSUM_PRESENT != 0 {
            rest = rest.get(..rest.len().saturating_sub(4)).unwrap_or_default();
        }
        let (mut body, mut beside) = (Document::new(), Document::new());
        while !rest.is_empty() {
            match take(&mut rest, 1)?.get_u8() {
                0 => body = document(&mut rest)?,
                1 => {
                    let length = take(&mut rest, 4)?.get_u32_le() as usize;
                    let mut sequence = take(&mut rest, length.saturating_sub(4))?;
                    let name = text(&mut sequence)?;
                    let mut documents = Array::new();
                    while !sequence.is_empty() {
                        documents.push(document(&mut sequence)?.into());
                    }
                    beside.insert(name, documents);
                }
                other => bail!("a section of kind {other}"),
            }
        }
        body.extend(beside);
        Ok(body)
    }

    fn flags(&self) -> u32 {
        self.number(4)
    }

    fn operation(&self) -> u32 {
        self.number(3)
    }

    /// The `at`-th number of four bytes.
    fn number(&self, at: usize) -> u32 {
        self.0.get(at * 4..at * 4 + 4).map_or(0, |mut bytes| bytes.get_u32_le())
    }
}

fn pack(operation: u32, id: u32, answers: u32, flags: u32, document: &Document) -> Result<BytesMut> {
    let document = document.to_vec()?;
    let mut rest = BytesMut::new();
    rest.put_u32_le(id);
    rest.put_u32_le(answers);
    rest.put_u32_le(operation);
    rest.put_u32_le(flags);
    if operation == OP_REPLY {
        rest.put_u64_le(0); // no cursor
        rest.put_u32_le(0); // from the first
        rest.put_u32_le(1); // one document
    } else {
        rest.put_u8(0); // the body
    }
    rest.put_slice(&document);
    let mut message = BytesMut::new();
    message.put_u32_le(u32::try_from(rest.len() + 4).context("a message too long")?);
    message.put_slice(&rest);
    Ok(message)
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length).context("a message that ends too early")?;
    *rest = left;
    Ok(taken)
}

fn text(rest: &mut &[u8]) -> Result<String> {
    let length = rest.iter().position(|byte| *byte == 0).context("a text without an end")?;
    let text = take(rest, length + 1)?;
    Ok(String::from_utf8_lossy(&text[..length]).into_owned())
}

fn document(rest: &mut &[u8]) -> Result<Document> {
    let mut length = rest.get(..4).context("a document without a length")?;
    let length = length.get_u32_le() as usize;
    Document::from_reader(take(rest, length)?).context("no document")
}
