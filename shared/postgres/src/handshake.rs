//! What the server may ask of us before it lets us in.
//!
//! tokio-postgres answers whatever a server asks, even "send me the password as it is". The stream below reads along until
//! the login is over and ends the connection first. Message formats: PostgreSQL documentation, "Message Formats".

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsStream};

/// Why a server's way of authentication is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It asked for the password as it is.
    Cleartext,
    /// It asked for an MD5 answer where only SCRAM is allowed.
    Md5,
    /// It let us in without asking for the password, so that a login proves nothing.
    Nothing,
    /// It asked for Kerberos, SSPI or something unknown.
    Other(u32),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cleartext => f.write_str("it asks for the password in clear text"),
            Self::Md5 => f.write_str("it asks for an MD5 answer"),
            Self::Nothing => f.write_str("it lets this user in without asking for the password (pg_hba.conf \"trust\" or \"cert\"), so that a login proves nothing"),
            Self::Other(code) => write!(f, "it asks for authentication method {code}, not for SCRAM-SHA-256"),
        }
    }
}

impl std::error::Error for Refusal {}

/// What may be given away besides SCRAM's proof.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowed {
    pub(crate) md5: bool,
    /// The password as it is: for a token of RDS alone, and over verified TLS.
    pub(crate) cleartext: bool,
}

/// The server's answers to this login so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    by_md5: AtomicBool,
    accepted: AtomicBool,
}

impl Progress {
    /// It asked for an MD5 answer: the hash that it has of the password is MD5.
    pub(crate) fn by_md5(&self) -> bool {
        self.by_md5.load(Relaxed)
    }

    /// It accepted the proof. What it refuses after that is not the password.
    pub(crate) fn accepted(&self) -> bool {
        self.accepted.load(Relaxed)
    }
}

/// Reads authentication requests out of the server's bytes, however they are cut up.
#[derive(Debug)]
struct Watch {
    allowed: Allowed,
    password_asked: bool,
    progress: Arc<Progress>,
    head: Vec<u8>,
    skip: usize,
}

impl Watch {
    fn read(&mut self, mut bytes: &[u8]) -> Result<(), Refusal> {
        while !self.progress.accepted() && !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let Some((&first, rest)) = bytes.split_first() else { return Ok(()) };
            self.head.push(first);
            bytes = rest;
            if self.message_known() {
                self.judge()?;
            }
        }
        Ok(())
    }

    /// A kind and a length; for an authentication request its code too.
    fn message_known(&self) -> bool {
        self.head.len() >= if self.head[0] == b'R' { 9 } else { 5 }
    }

    fn judge(&mut self) -> Result<(), Refusal> {
        let head = std::mem::take(&mut self.head);
        let number = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let length = number(1) as usize;
        self.skip = (length + 1).saturating_sub(head.len());
        if head[0] != b'R' {
            return Ok(());
        }
        match number(5) {
            0 if self.password_asked => self.progress.accepted.store(true, Relaxed),
            0 => return Err(Refusal::Nothing),
            3 if self.allowed.cleartext => self.password_asked = true,
            3 => return Err(Refusal::Cleartext),
            5 if self.allowed.md5 => {
                self.password_asked = true;
                self.progress.by_md5.store(true, Relaxed);
            }
            5 => return Err(Refusal::Md5),
            // SASL, its continuation and its end, where tokio-postgres has checked the server's own proof.
            10 | 11 => {}
            12 => self.password_asked = true,
            other => return Err(Refusal::Other(other)),
        }
        Ok(())
    }
}

/// A TLS stream on which only a password proof is given away.
pub(crate) struct Guarded<S> {
    inner: S,
    watch: Watch,
}

impl<S> Guarded<S> {
    /// Notes in `progress` how far the login comes.
    pub(crate) fn new(inner: S, allowed: Allowed, progress: Arc<Progress>) -> Self {
        let watch = Watch { allowed, password_asked: false, progress, head: Vec::new(), skip: 0 };
        Self { inner, watch }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if let Err(refusal) = self.watch.read(&buf.filled()[before..]) {
            buf.set_filled(before);
            return Poll::Ready(Err(io::Error::other(refusal)));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

impl<S: TlsStream + Unpin> TlsStream for Guarded<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.inner.channel_binding()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn request(code: u32, rest: &[u8]) -> Vec<u8> {
        let length = u32::try_from(8 + rest.len()).unwrap();
        [b"R".as_slice(), &length.to_be_bytes(), &code.to_be_bytes(), rest].concat()
    }

    fn watch(md5_allowed: bool) -> Watch {
        Guarded::new((), Allowed { md5: md5_allowed, cleartext: false }, Arc::default()).watch
    }

    #[test]
    fn only_a_password_proof_is_let_through() {
        let scram =
            [request(10, b"SCRAM-SHA-256\0\0"), request(11, b"r=x"), request(12, b"v=x"), request(0, b"")].concat();
        let md5 = [request(5, b"salt"), request(0, b"")].concat();
        for (bytes, md5_allowed, expected) in [
            (scram.clone(), false, Ok(())),
            (md5.clone(), true, Ok(())),
            (md5, false, Err(Refusal::Md5)),
            (request(3, b""), true, Err(Refusal::Cleartext)),
            (request(0, b""), true, Err(Refusal::Nothing)),
            (request(7, b""), true, Err(Refusal::Other(7))),
            // A server that breaks off SCRAM and claims success has proven nothing.
            ([request(10, b"SCRAM-SHA-256\0\0"), request(0, b"")].concat(), true, Err(Refusal::Nothing)),
            // A notice first does not hide the request.
            ([b"N\0\0\0\x05\0".as_slice(), &request(3, b"")].concat(), true, Err(Refusal::Cleartext)),
        ] {
            let mut watch = watch(md5_allowed);
            assert_eq!(watch.read(&bytes), expected);
            let by_md5 = md5_allowed && bytes.starts_with(&request(5, b"salt"));
            assert_eq!((watch.progress.by_md5(), watch.progress.accepted()), (by_md5, expected.is_ok()));
        }
        let mut over = watch(false);
        over.read(&scram).unwrap();
        assert_eq!(over.read(&request(3, b"")), Ok(()), "after the login rows may look like anything");
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_verdict_is_the_same(cuts in proptest::collection::vec(1_usize..9, 0..40)) {
            let mut bytes = [b"N\0\0\0\x09hello".as_slice(), &request(10, b"SCRAM-SHA-256\0\0"), &request(3, b"")].concat();
            let mut watch = watch(true);
            let mut verdict = Ok(());
            for cut in cuts.into_iter().chain([usize::MAX]) {
                let rest = bytes.split_off(cut.min(bytes.len()));
                verdict = verdict.and_then(|()| watch.read(&bytes));
                bytes = rest;
            }
            prop_assert_eq!(verdict, Err(Refusal::Cleartext));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = watch(false).read(&bytes);
        }
    }
}
