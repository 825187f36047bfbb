//! The PROXY protocol, versions 1 and 2, as HAProxy's `proxy-protocol.txt` has it; the sections
//! named here are that text's.
//!
//! Read strictly: a header that does not say exactly one thing ends the connection, since section 2
//! forbids to guess whether there is one. Nothing behind the header is read.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Longest line of version 1, with its end (section 2.1).
const LONGEST_LINE: usize = 107;
/// Longest header of version 2: it fits into one TCP segment of any host (section 2).
const LONGEST: usize = 536;
/// What version 2 begins with (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with (section 2.1).
const WORD: &[u8; 6] = b"PROXY ";
/// With version, family and length (section 2.2).
const FIXED: usize = 16;
/// A TLV on the client's TLS (section 2.2.6), and the bit of its first byte that says that there is.
const TLS: u8 = 0x20;
const OVER_TLS: u8 = 0x01;

/// What a header tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The client's address; `None` where the peer speaks for itself (`LOCAL`) or does not say
    /// (`UNKNOWN`, `AF_UNSPEC`): then it is the peer's own.
    pub(super) client: Option<IpAddr>,
    /// Whether the client came over TLS, if that is said.
    pub(super) over_tls: Option<bool>,
}

/// Why a header is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it begins with no PROXY protocol header")]
    None,
    #[error("its PROXY protocol header is longer than one may be")]
    TooLong,
    #[error("its PROXY protocol line is malformed")]
    Line,
    #[error("its PROXY protocol header has a command or version that is not known")]
    Command,
    #[error("its PROXY protocol header is of no TCP connection over IP")]
    Family,
    #[error("its PROXY protocol header has a wrong length")]
    Length,
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::new(io::ErrorKind::InvalidData, fault)
    }
}

/// Reads the header that a connection begins with, and no byte more. The caller sets the deadline.
pub(super) async fn read(stream: &mut TcpStream) -> io::Result<Header> {
    let mut held = [0; LONGEST];
    let mut have = 0;
    loop {
        let room = held.get_mut(have..).unwrap_or_default();
        // What is behind the header is not ours to take: look first.
        let came = stream.peek(room).await?;
        if came == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let parsed = parse(held.get(..have + came).unwrap_or_default())?;
        let take = parsed.map_or(have + came, |(_, length)| length) - have;
        let own = held.get_mut(have..have + take).unwrap_or_default();
        stream.read_exact(own).await?;
        have += take;
        if let Some((header, _)) = parsed {
            return Ok(header);
        }
    }
}

/// The header that `bytes` begin with, and its length; `None` while its end has not come.
fn parse(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    if begins(bytes, SIGNATURE) {
        binary(bytes)
    } else if begins(bytes, WORD) {
        line(bytes)
    } else {
        Err(Fault::None)
    }
}

/// Whether `bytes` begin as `word` does, as far as they go.
fn begins(bytes: &[u8], word: &[u8]) -> bool {
    bytes.iter().zip(word).all(|(a, b)| a == b)
}

/// Version 1 (section 2.1): `PROXY TCP4 SOURCE DESTINATION PORT PORT` and a line end.
fn line(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let within = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = within.windows(2).position(|two| two == b"\r\n") else {
        return if bytes.len() >= LONGEST_LINE {
            Err(Fault::TooLong)
        } else {
            Ok(None)
        };
    };
    let text = within.get(WORD.len()..end).unwrap_or_default();
    let text = std::str::from_utf8(text).map_err(|_| Fault::Line)?;
    let header = |client| Header {
        client,
        over_tls: None,
    };
    // Whatever follows is to be ignored.
    if text == "UNKNOWN" || text.starts_with("UNKNOWN ") {
        return Ok(Some((header(None), end + 2)));
    }
    let words: Vec<&str> = text.split(' ').collect();
    let client = match words.as_slice() {
        ["TCP4", source, destination, ports @ ..] if ports_are(ports) => {
            let ends = (source.parse(), destination.parse());
            both::<Ipv4Addr>(ends).map(IpAddr::V4)
        }
        ["TCP6", source, destination, ports @ ..] if ports_are(ports) => {
            let ends = (source.parse(), destination.parse());
            both::<Ipv6Addr>(ends).map(IpAddr::V6)
        }
        _ => None,
    };
    let client = client.ok_or(Fault::Line)?.to_canonical();
    Ok(Some((header(Some(client)), end + 2)))
}

fn both<A>(
    ends: (
        Result<A, std::net::AddrParseError>,
        Result<A, std::net::AddrParseError>,
    ),
) -> Option<A> {
    ends.1.ok().and(ends.0.ok())
}

/// Two decimal numbers without leading zeroes.
fn ports_are(words: &[&str]) -> bool {
    let is_port = |word: &&str| {
        let plain = word.bytes().all(|byte| byte.is_ascii_digit());
        plain && (*word == "0" || !word.starts_with('0')) && word.parse::<u16>().is_ok()
    };
    words.len() == 2 && words.iter().all(is_port)
}

/// Version 2 (section 2.2).
fn binary(bytes: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
    let Some((fixed, _)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., command, family, high, low] = *fixed;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    if !matches!(command, 0x20 | 0x21) {
        return Err(Fault::Command);
    }
    if length > LONGEST {
        return Err(Fault::TooLong);
    }
    let Some(rest) = bytes.get(FIXED..length) else {
        return Ok(None);
    };
    let nothing = Header {
        client: None,
        over_tls: None,
    };
    // `LOCAL`: the connection is the peer's own, and the rest is discarded, family and all.
    if command == 0x20 || family == 0x00 {
        return Ok(Some((nothing, length)));
    }
    let (client, tlvs) = match family {
        0x11 => {
            let (ends, tlvs) = rest.split_first_chunk::<12>().ok_or(Fault::Length)?;
            let [a, b, c, d, ..] = *ends;
            (IpAddr::from([a, b, c, d]), tlvs)
        }
        0x21 => {
            let (ends, tlvs) = rest.split_first_chunk::<36>().ok_or(Fault::Length)?;
            let source = ends.first_chunk::<16>().ok_or(Fault::Length)?;
            (IpAddr::from(*source).to_canonical(), tlvs)
        }
        _ => return Err(Fault::Family),
    };
    let header = Header {
        client: Some(client),
        over_tls: over_tls(tlvs)?,
    };
    Ok(Some((header, length)))
}

/// Type, length, value, again and again (section 2.2.1), until nothing is left.
fn over_tls(mut tlvs: &[u8]) -> Result<Option<bool>, Fault> {
    let mut said = None;
    while let Some(([kind, high, low], rest)) = tlvs.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let (value, later) = rest.split_at_checked(length).ok_or(Fault::Length)?;
        if *kind == TLS {
            let flags = value.first().ok_or(Fault::Length)?;
            // Said twice, it might be said in two ways.
            if said.replace(flags & OVER_TLS != 0).is_some() {
                return Err(Fault::Length);
            }
        }
        tlvs = later;
    }
    if tlvs.is_empty() {
        Ok(said)
    } else {
        Err(Fault::Length)
    }
}

#[cfg(test)]
mod tests;
