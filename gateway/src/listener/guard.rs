//! The guard below hyper: it reads every HTTP/1 head first, as strictly as RFC 9112 lets one, so
//! that hyper never sees a message of which there could be two readings.
//!
//! A head that does not pass is exchanged for a request that asks for its own refusal
//! ([`REFUSED`]): the refusal is then answered, logged and counted like any other, in its turn
//! behind the requests before it, and the connection closes. What comes after is not read.
//!
//! Bodies pass untouched; they are followed only to know where the next head begins.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::{self, Fault, HeadLimits, Length};
use crate::pipeline::REFUSED;

/// Longest line of a chunk's size with its extensions, in bytes.
const MAX_CHUNK_LINE: usize = 256;
/// Longest trailer section, in bytes.
const MAX_TRAILERS: usize = 16 * 1024;
/// How much is read at once while a head is incomplete.
const STEP: usize = 4096;

/// A connection whose heads are read before hyper reads them.
#[derive(Debug)]
pub(super) struct Guard<S> {
    inner: S,
    limits: HeadLimits,
    place: Place,
    /// The beginning of a head that is not complete.
    held: Vec<u8>,
    /// Bytes that passed and wait to be read, from `taken` on.
    passed: Vec<u8>,
    taken: usize,
}

/// Where in the stream of messages we are.
#[derive(Debug)]
enum Place {
    /// Before or in a head.
    Head,
    /// In a body of known length, with so many bytes to come.
    Counted(u64),
    /// In a chunked body.
    Chunked(Chunked),
    /// The client asked for an upgrade: what follows is not HTTP/1, or the connection closes.
    Upgraded,
    /// A head was refused: nothing more is read.
    Refused,
}

/// Where in a chunked body (RFC 9112, section 7.1) we are.
#[derive(Debug)]
enum Chunked {
    /// In the line of a chunk's size: the bytes of it so far.
    Size(Vec<u8>),
    /// In a chunk's bytes, with so many to come, the line end included.
    Data(u64),
    /// In the trailer section: the bytes of it so far.
    Trailers(Vec<u8>),
}

impl<S> Guard<S> {
    pub(super) const fn new(inner: S, limits: HeadLimits) -> Self {
        Self {
            inner,
            limits,
            place: Place::Head,
            held: Vec::new(),
            passed: Vec::new(),
            taken: 0,
        }
    }

    /// Follows bytes as far as they pass: how many do. The rest is the beginning of a head that is
    /// not complete, or a head that does not pass, which `place` then says.
    fn follow(&mut self, bytes: &[u8]) -> io::Result<(usize, Option<Fault>)> {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match &mut self.place {
                Place::Head => match head::read(rest, self.limits) {
                    Ok(None) => return Ok((at, None)),
                    Ok(Some(head)) => {
                        at += head.bytes;
                        self.place = Place::after(&head);
                    }
                    Err(fault) => return Ok((at, Some(fault))),
                },
                Place::Counted(left) => {
                    let here = (rest.len() as u64).min(*left);
                    *left -= here;
                    at += usize::try_from(here).unwrap_or(rest.len());
                    if *left == 0 {
                        self.place = Place::Head;
                    }
                }
                Place::Chunked(chunked) => {
                    let (used, ended) = chunked.follow(rest)?;
                    at += used;
                    if ended {
                        self.place = Place::Head;
                    }
                }
                Place::Upgraded | Place::Refused => at = bytes.len(),
            }
        }
        Ok((at, None))
    }

    /// Exchanges what is held for the request that asks for its refusal.
    fn refuse(&mut self, fault: Fault) {
        self.held = Vec::new();
        self.place = Place::Refused;
        let request = format!(
            "{REFUSED} /{} HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n",
            fault.word()
        );
        self.passed.extend_from_slice(request.as_bytes());
    }

    /// Hands on what has passed; `false` if there is nothing.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let waiting = self.passed.get(self.taken..).unwrap_or_default();
        if waiting.is_empty() {
            return false;
        }
        let here = waiting.len().min(buffer.remaining());
        buffer.put_slice(waiting.get(..here).unwrap_or_default());
        self.taken += here;
        if self.taken == self.passed.len() {
            self.passed = Vec::new();
            self.taken = 0;
        }
        true
    }

    /// Follows what is held with what came to it.
    fn follow_held(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        let (pass, fault) = self.follow(&held)?;
        let (passed, rest) = held.split_at_checked(pass).unwrap_or((&held, &[]));
        self.passed.extend_from_slice(passed);
        match fault {
            Some(fault) => self.refuse(fault),
            None => self.held = rest.to_vec(),
        }
        Ok(())
    }
}

impl Place {
    const fn after(head: &head::Head) -> Self {
        match head.length {
            _ if head.upgrade => Self::Upgraded,
            Length::None | Length::Bytes(0) => Self::Head,
            Length::Bytes(bytes) => Self::Counted(bytes),
            Length::Chunked => Self::Chunked(Chunked::Size(Vec::new())),
        }
    }
}

impl Chunked {
    /// How many of the bytes belong to this body, and whether it has ended.
    fn follow(&mut self, bytes: &[u8]) -> io::Result<(usize, bool)> {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            match self {
                Self::Data(left) => {
                    let rest = bytes.len() - at;
                    let here = (rest as u64).min(*left);
                    *left -= here;
                    at += usize::try_from(here).unwrap_or(rest);
                    if *left == 0 {
                        *self = Self::Size(Vec::new());
                    }
                }
                Self::Size(line) => {
                    at += 1;
                    line.push(byte);
                    if byte == b'\n' {
                        *self = match chunk_size(line)? {
                            0 => Self::Trailers(Vec::new()),
                            size => Self::Data(size.saturating_add(2)),
                        };
                    } else if line.len() > MAX_CHUNK_LINE {
                        return Err(malformed("a chunk's size line is too long"));
                    }
                }
                Self::Trailers(section) => {
                    at += 1;
                    section.push(byte);
                    if section == b"\r\n" || section.ends_with(b"\r\n\r\n") {
                        head::check_trailers(section)
                            .map_err(|_| malformed("malformed trailers"))?;
                        return Ok((at, true));
                    }
                    if section.len() > MAX_TRAILERS {
                        return Err(malformed("the trailer section is too long"));
                    }
                }
            }
        }
        Ok((at, false))
    }
}

/// Reads `1A;name=value` and a line end. hyper checks that the chunk's own line end is one.
fn chunk_size(line: &[u8]) -> io::Result<u64> {
    let line = line
        .strip_suffix(b"\r\n")
        .ok_or_else(|| malformed("a bare line feed"))?;
    let end = line.iter().position(|&b| b == b';').unwrap_or(line.len());
    let (digits, extension) = line.split_at_checked(end).unwrap_or((line, &[]));
    let fits = (1..=15).contains(&digits.len())
        && digits.iter().all(u8::is_ascii_hexdigit)
        && extension
            .iter()
            .all(|&b| b == b'\t' || (0x20..0x7f).contains(&b));
    let text = std::str::from_utf8(digits).ok().filter(|_| fits);
    text.and_then(|text| u64::from_str_radix(text, 16).ok())
        .ok_or_else(|| malformed("a malformed chunk size"))
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.hand_on(buffer) {
                return Poll::Ready(Ok(()));
            }
            if matches!(this.place, Place::Refused) {
                // The refusal is the last answer; hyper closes when it has written it.
                return Poll::Pending;
            }
            if !this.held.is_empty() {
                let mut step = [0; STEP];
                let mut more = ReadBuf::new(&mut step);
                ready!(Pin::new(&mut this.inner).poll_read(cx, &mut more))?;
                if more.filled().is_empty() {
                    return Poll::Ready(Ok(()));
                }
                this.held.extend_from_slice(more.filled());
                this.follow_held()?;
                continue;
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
            let came = buffer.filled().get(before..).unwrap_or_default();
            if came.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let (pass, fault) = this.follow(came)?;
            if pass < came.len() {
                this.held = came.get(pass..).unwrap_or_default().to_vec();
                buffer.set_filled(before + pass);
            }
            if let Some(fault) = fault {
                this.refuse(fault);
            }
            if pass > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    const REFUSAL: &str =
        "~REFUSED /framing HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

    /// What hyper would read, when the bytes arrive in pieces of a size.
    fn through(bytes: &[u8], piece: usize) -> String {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let mut mock = tokio_test_pieces(bytes, piece);
            let mut guard = Guard::new(
                &mut mock,
                HeadLimits {
                    bytes: 4096,
                    fields: 10,
                },
            );
            let mut out = Vec::new();
            let mut buffer = [0; 1024];
            loop {
                let read = guard.read(&mut buffer);
                match tokio::time::timeout(std::time::Duration::from_millis(20), read).await {
                    Ok(Ok(n)) if n > 0 => out.extend_from_slice(&buffer[..n]),
                    Ok(Err(error)) => {
                        out.extend_from_slice(format!("[{error}]").as_bytes());
                        break;
                    }
                    _ => break,
                }
            }
            String::from_utf8(out).unwrap()
        })
    }

    struct Pieces(std::collections::VecDeque<Vec<u8>>);

    fn tokio_test_pieces(bytes: &[u8], piece: usize) -> Pieces {
        Pieces(bytes.chunks(piece).map(<[u8]>::to_vec).collect())
    }

    impl AsyncRead for Pieces {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if let Some(piece) = self.0.pop_front() {
                let here = piece.len().min(buffer.remaining());
                buffer.put_slice(&piece[..here]);
                if here < piece.len() {
                    self.0.push_front(piece[here..].to_vec());
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    const GOOD: &str = "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabcGET /b HTTP/1.1\r\nHost: x\r\n\r\n\
        PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n\
        GET /d HTTP/1.1\r\nHost: x\r\n\r\n";

    #[test]
    fn what_has_one_reading_passes_byte_for_byte_in_pieces_of_any_size() {
        for piece in [1, 2, 3, 7, 64, 4096] {
            assert_eq!(
                through(GOOD.as_bytes(), piece),
                GOOD,
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_bad_head_is_exchanged_for_its_refusal_and_nothing_after_it_is_read() {
        let bad = "GET /e HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        for piece in [1, 5, 4096] {
            let sent = format!("{GOOD}{bad}GET /f HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(
                through(sent.as_bytes(), piece),
                format!("{GOOD}{REFUSAL}"),
                "in pieces of {piece}"
            );
        }
    }

    #[test]
    fn a_malformed_chunk_ends_the_connection() {
        let head = "PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
        for chunk in [
            "3\nabc\r\n0\r\n\r\n",
            "+3\r\nabc",
            "0x3\r\nabc",
            "\r\n",
            " 3\r\nabc",
            "3 \r\nabc",
            "g\r\n",
            "0\r\nX : y\r\n\r\n",
        ] {
            let out = through(format!("{head}{chunk}").as_bytes(), 4096);
            assert!(out.ends_with(']'), "{chunk:?}: {out}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_pieces_make_no_difference(bytes in "[ -~\r\n:]{0,200}", piece in 1_usize..50) {
            let sent = format!("GET / HTTP/1.1\r\nHost: x\r\n{bytes}\r\n\r\n");
            prop_assert_eq!(through(sent.as_bytes(), piece), through(sent.as_bytes(), 4096));
        }
    }
}
