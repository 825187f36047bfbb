//! An HTTP/1 head, read as strictly as RFC 9112 lets one.

/// How much of a head is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// Bytes, with the empty line that ends it.
    pub(super) bytes: usize,
    /// Fields.
    pub(super) fields: usize,
}

/// What a head says of what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its own bytes, with the empty line that ends it.
    pub(super) bytes: usize,
    /// How long its body is.
    pub(super) length: Length,
    /// Whether it asks for an upgrade.
    pub(super) upgrade: bool,
}

/// How a body's end is found (RFC 9112, section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Length {
    /// There is none.
    None,
    /// By `Content-Length`.
    Bytes(u64),
    /// By the last chunk.
    Chunked,
}

/// Why a head does not pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Lines, names, values, lengths or codings that are malformed or ambiguous.
    Framing,
    /// No host, or several.
    Host,
    /// A target with a character that may not stand there.
    Target,
    /// More bytes or fields than the limits allow.
    TooLarge,
}

impl Fault {
    /// The word by which the refusal is asked for.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Framing => "framing",
            Self::Host => "host",
            Self::Target => "target",
            Self::TooLarge => "size",
        }
    }
}

/// Reads the head that `bytes` begin with; `None` while its end has not come.
pub(super) fn read(bytes: &[u8], limits: HeadLimits) -> Result<Option<Head>, Fault> {
    // One empty line before a request is passed over (RFC 9112, section 2.2).
    let skipped = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
    let mut lines = Lines { bytes, at: skipped };
    let Some(request) = lines.next(limits)? else {
        return Ok(None);
    };
    let http11 = request_line(request)?;
    let mut seen = Seen::default();
    while let Some(line) = lines.next(limits)? {
        if line.is_empty() {
            let length = seen.length(http11)?;
            return Ok(Some(Head {
                bytes: lines.at,
                length,
                upgrade: seen.upgrade,
            }));
        }
        seen.field(line)?;
        if seen.fields > limits.fields {
            return Err(Fault::TooLarge);
        }
    }
    Ok(None)
}

/// A trailer section with its last empty line: fields like any other (RFC 9112, section 7.1.2).
pub(super) fn check_trailers(section: &[u8]) -> Result<(), Fault> {
    let mut lines = Lines {
        bytes: section,
        at: 0,
    };
    while let Some(line) = lines.cut()? {
        if !line.is_empty() {
            field(line)?;
        }
    }
    Ok(())
}

/// Lines that end with CR LF, and with nothing else.
struct Lines<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next whole line within the limits.
    fn next(&mut self, limits: HeadLimits) -> Result<Option<&'a [u8]>, Fault> {
        let line = self.cut()?;
        let read = if line.is_some() {
            self.at
        } else {
            self.bytes.len()
        };
        if read > limits.bytes {
            Err(Fault::TooLarge)
        } else {
            Ok(line)
        }
    }

    fn cut(&mut self) -> Result<Option<&'a [u8]>, Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let Some(end) = rest.iter().position(|&b| b == b'\n') else {
            return Ok(None);
        };
        self.at += end + 1;
        let line = rest.get(..end).and_then(|line| line.strip_suffix(b"\r"));
        line.map(Some).ok_or(Fault::Framing)
    }
}

/// `METHOD SP target SP HTTP/1.x` (section 3): whether it is HTTP/1.1.
fn request_line(line: &[u8]) -> Result<bool, Fault> {
    let mut parts = line.split(|&b| b == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Fault::Framing);
    };
    let http11 = match version {
        b"HTTP/1.1" => true,
        b"HTTP/1.0" => false,
        _ => return Err(Fault::Framing),
    };
    if method.is_empty() || !method.iter().all(|&b| is_token(b)) {
        return Err(Fault::Framing);
    }
    let fits = !target.is_empty() && target.iter().all(|&b| b.is_ascii_graphic() && b != b'#');
    if fits { Ok(http11) } else { Err(Fault::Target) }
}

/// What the fields said so far.
#[derive(Default)]
struct Seen {
    fields: usize,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
}

impl Seen {
    fn field(&mut self, line: &[u8]) -> Result<(), Fault> {
        let (name, value) = field(line)?;
        self.fields += 1;
        let is = |known: &[u8]| name.eq_ignore_ascii_case(known);
        match name.len() {
            4 if is(b"host") => self.hosts += 1,
            7 if is(b"upgrade") => self.upgrade = true,
            14 if is(b"content-length") => {
                let length = digits(value).filter(|_| self.length.is_none());
                self.length = Some(length.ok_or(Fault::Framing)?);
            }
            17 if is(b"transfer-encoding") => {
                if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Fault::Framing);
                }
                self.chunked = true;
            }
            _ => {}
        }
        Ok(())
    }

    /// One host, and one way to find the body's end.
    const fn length(&self, http11: bool) -> Result<Length, Fault> {
        match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Fault::Framing),
            (true, None) if !http11 => return Err(Fault::Framing),
            _ => {}
        }
        if self.hosts != 1 {
            return Err(Fault::Host);
        }
        Ok(match (self.chunked, self.length) {
            (true, _) => Length::Chunked,
            (false, Some(bytes)) => Length::Bytes(bytes),
            (false, None) => Length::None,
        })
    }
}

/// `name: value` (section 5): a token directly before the colon, no folded line, and no control
/// character but a tab in the value.
fn field(line: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let colon = line.iter().position(|&b| b == b':').ok_or(Fault::Framing)?;
    let (name, rest) = line.split_at_checked(colon).ok_or(Fault::Framing)?;
    let value = trim_blanks(rest.get(1..).unwrap_or_default());
    let fits = !name.is_empty()
        && name.iter().all(|&b| is_token(b))
        && value
            .iter()
            .all(|&b| b == b'\t' || (b >= 0x20 && b != 0x7f));
    if fits {
        Ok((name, value))
    } else {
        Err(Fault::Framing)
    }
}

/// Without the blanks and tabs around it, and only those.
fn trim_blanks(text: &[u8]) -> &[u8] {
    let blank = |b: &u8| matches!(b, b' ' | b'\t');
    let start = text.iter().position(|b| !blank(b)).unwrap_or(text.len());
    let end = text
        .iter()
        .rposition(|b| !blank(b))
        .map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// Only digits, and no more than a 64-bit number has room for.
fn digits(text: &[u8]) -> Option<u64> {
    let fits = (1..=18).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text)
        .ok()
        .filter(|_| fits)?
        .parse()
        .ok()
}

/// RFC 9110, section 5.6.2.
const fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits {
        bytes: 1000,
        fields: 10,
    };

    fn judged(head: &str) -> Result<Option<Length>, Fault> {
        read(head.as_bytes(), LIMITS).map(|read| {
            read.map(|read| {
                assert_eq!(read.bytes, head.len());
                read.length
            })
        })
    }

    #[test]
    fn what_has_one_reading_passes() {
        for (head, length) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Length::None),
            ("\r\nGET / HTTP/1.1\r\nhost:x\r\n\r\n", Length::None),
            ("GET / HTTP/1.0\r\nHost: x\r\n\r\n", Length::None),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 007\r\n\r\n",
                Length::Bytes(7),
            ),
            (
                "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:  Chunked \r\n\r\n",
                Length::Chunked,
            ),
            (
                "GET / HTTP/1.1\r\nHost: x\r\nX:\r\nY: \u{e5}\tb\r\n\r\n",
                Length::None,
            ),
        ] {
            assert_eq!(judged(head), Ok(Some(length)), "{head:?}");
        }
    }

    #[test]
    fn what_has_two_readings_does_not() {
        for (fields, fault) in [
            (
                "Host: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n",
                Fault::Framing,
            ),
            (
                "Host: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
                Fault::Framing,
            ),
            (
                "Host: x\r\nTransfer-Encoding: cow, chunked\r\n",
                Fault::Framing,
            ),
            (
                "Host: x\r\nTransfer-Encoding: chunked, identity\r\n",
                Fault::Framing,
            ),
            (
                "Host: x\r\nTransfer-Encoding: \x0bchunked\r\n",
                Fault::Framing,
            ),
            (
                "Host: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n",
                Fault::Framing,
            ),
            ("Host: x\r\nContent-Length: +1\r\n", Fault::Framing),
            ("Host: x\r\nContent-Length: 1,1\r\n", Fault::Framing),
            ("Host: x\r\nContent-Length:\r\n", Fault::Framing),
            ("Host: x\r\nContent-Length: 0x1\r\n", Fault::Framing),
            (
                "Host: x\r\nContent-Length: 99999999999999999999\r\n",
                Fault::Framing,
            ),
            ("Host: x\r\nContent-Length : 1\r\n", Fault::Framing),
            ("Host: x\r\nA: b\r\n c\r\n", Fault::Framing),
            ("Host: x\r\n\tc: d\r\n", Fault::Framing),
            ("Host: x\r\nA: b\nC: d\r\n", Fault::Framing),
            ("Host: x\r\nA: b\rc\r\n", Fault::Framing),
            ("Host: x\r\nA: b\0c\r\n", Fault::Framing),
            ("Host: x\r\nA\r\n", Fault::Framing),
            ("Host: x\r\n: b\r\n", Fault::Framing),
            ("Host: x\r\nA b: c\r\n", Fault::Framing),
            ("", Fault::Host),
            ("Host: x\r\nhost: x\r\n", Fault::Host),
        ] {
            let head = format!("GET / HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(judged(&head), Err(fault), "{fields:?}");
        }
        for (line, fault) in [
            ("GET /", Fault::Framing),
            ("GET  / HTTP/1.1", Fault::Framing),
            ("GET / HTTP/1.1 ", Fault::Framing),
            ("GET / http/1.1", Fault::Framing),
            ("GET / HTTP/2.0", Fault::Framing),
            (" GET / HTTP/1.1", Fault::Framing),
            ("G T / HTTP/1.1", Fault::Framing),
            ("GET /a#b HTTP/1.1", Fault::Target),
            ("GET /\u{e5} HTTP/1.1", Fault::Target),
            ("GET /a\tb HTTP/1.1", Fault::Target),
        ] {
            assert_eq!(
                judged(&format!("{line}\r\nHost: x\r\n\r\n")),
                Err(fault),
                "{line:?}"
            );
        }
        assert_eq!(
            judged("GET / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(Fault::Framing)
        );
        assert_eq!(judged("GET / HTTP/1.1\nHost: x\n\n"), Err(Fault::Framing));
    }

    #[test]
    fn a_head_is_limited_while_it_is_still_coming() {
        assert_eq!(judged("GET / HTTP/1.1\r\nHost: x\r\n"), Ok(None));
        assert_eq!(
            judged(&format!("GET /{}", "a".repeat(1000))),
            Err(Fault::TooLarge)
        );
        let many = "A: b\r\n".repeat(11);
        assert_eq!(
            judged(&format!("GET / HTTP/1.1\r\nHost: x\r\n{many}")),
            Err(Fault::TooLarge)
        );
    }
}
