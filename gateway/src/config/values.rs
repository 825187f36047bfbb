//! Small values: durations, sizes, origins and host names.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::{HttpUrl, PublicUrl};

/// The longest duration that means anything here: ten years.
const LONGEST: Duration = Duration::from_secs(3650 * 86_400);

/// Reads a whole number and a unit: `250ms`, `90s`, `5m`, `1h`, `30d`; at most 3650 days.
pub fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = number_and_unit(text)?;
    let factor = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let duration = Duration::from_millis(number.checked_mul(factor)?);
    (duration <= LONGEST).then_some(duration)
}

/// Reads a whole number and a unit, in bytes: `512B`, `64KiB`, `8MiB`, `2GiB`.
pub(super) fn size(text: &str) -> Option<u64> {
    let (number, unit) = number_and_unit(text)?;
    let shift = match unit {
        "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    number.checked_mul(1 << shift)
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit))
}

/// Why a text is no origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum OriginError {
    #[error("it does not begin with `http://` or `https://`")]
    Scheme,
    #[error("it holds a user name or password")]
    UserInfo,
    #[error("it has a path, query or fragment")]
    Path,
    #[error("it has a query or fragment, or a character that no URL may hold")]
    Query,
    #[error("its host is no host name or address")]
    Host,
    #[error("its port is no number from 1 to 65535")]
    Port,
}

/// Reads scheme, host and perhaps a port (RFC 6454, section 6.1); one `/` may follow.
pub(super) fn origin(text: &str) -> Result<PublicUrl, OriginError> {
    let (scheme, rest) = text.split_once("://").ok_or(OriginError::Scheme)?;
    let scheme = scheme.to_ascii_lowercase();
    let own_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        _ => return Err(OriginError::Scheme),
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    if rest.contains(['/', '?', '#', '\\']) {
        return Err(OriginError::Path);
    }
    if rest.contains('@') {
        return Err(OriginError::UserInfo);
    }
    let (host, port) = host_and_port(rest)?;
    Ok(PublicUrl {
        scheme,
        host: host_name(host).ok_or(OriginError::Host)?,
        port: port.filter(|port| *port != own_port),
    })
}

/// Reads a URL of `http` or `https` that may have a path, but no query: what stands in a query is
/// often a secret, and this is shown.
pub(super) fn http_url(text: &str) -> Result<HttpUrl, OriginError> {
    let after_scheme = text.find("://").ok_or(OriginError::Scheme)? + 3;
    let path = text
        .get(after_scheme..)
        .and_then(|rest| rest.find('/'))
        .map_or(text.len(), |at| at + after_scheme);
    let (origin_text, path) = text.split_at_checked(path).ok_or(OriginError::Host)?;
    let printable = |b: u8| b.is_ascii_graphic() && !matches!(b, b'?' | b'#' | b'\\' | b'"');
    if !path.bytes().all(printable) || origin_text.contains(['?', '#']) {
        return Err(OriginError::Query);
    }
    Ok(HttpUrl {
        origin: origin(origin_text)?,
        path: path.to_owned(),
    })
}

/// Splits `host:port`, `[v6]:port` or either without a port; brackets stay.
pub(super) fn host_and_port(text: &str) -> Result<(&str, Option<u16>), OriginError> {
    let after_bracket = text.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = text
        .get(after_bracket..)
        .and_then(|rest| rest.find(':'))
        .map(|at| at + after_bracket)
    else {
        return Ok((text, None));
    };
    let host = text.get(..colon).ok_or(OriginError::Host)?;
    let digits = text.get(colon + 1..).ok_or(OriginError::Port)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(OriginError::Port);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(OriginError::Port),
        Ok(port) => Ok((host, Some(port))),
    }
}

/// A host as a client's `Host` has it: lower case, ASCII, no trailing dot; an IPv6 address in
/// brackets.
pub(crate) fn host_name(text: &str) -> Option<String> {
    if let Some(inner) = text.strip_prefix('[') {
        let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let text = text.strip_suffix('.').unwrap_or(text);
    let host = idna::domain_to_ascii_strict(text).ok()?;
    // What ends in a number is an address to every browser (WHATWG URL, "ends in a number").
    let last = host.rsplit('.').next().unwrap_or_default();
    let like_address = last.bytes().all(|b| b.is_ascii_digit());
    let fits = !host.is_empty() && (!like_address || host.parse::<IpAddr>().is_ok());
    fits.then_some(host)
}

/// Whether a host name or address (IPv6 in brackets) is this machine and no other (RFC 6761,
/// section 6.3; RFC 1122, section 3.2.1.3).
#[must_use]
pub fn is_loopback_host(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host);
    match bare.parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The word among `known` that was probably meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    known
        .into_iter()
        .map(|known| (strsim::osa_distance(&word, known), known))
        .filter(|(distance, known)| *distance <= (known.len() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_a_number_and_a_unit() {
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(duration("90s"), Some(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Some(Duration::from_secs(300)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(duration("30d"), Some(Duration::from_secs(2_592_000)));
        assert_eq!(size("512B"), Some(512));
        assert_eq!(size("64KiB"), Some(65_536));
        assert_eq!(size("2GiB"), Some(2_147_483_648));
        for text in [
            "",
            "1",
            "h",
            "-1s",
            "1 h",
            "1.5h",
            "1H",
            "1h30m",
            "99999999999999999999s",
            "3651d",
        ] {
            assert_eq!(duration(text), None, "{text:?}");
        }
        for text in ["", "1", "1KB", "1kib", "64 KiB", "99999999999999GiB"] {
            assert_eq!(size(text), None, "{text:?}");
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        for (text, expected) in [
            (
                "https://Projects.Example.com",
                "https://projects.example.com",
            ),
            ("https://localhost:8443/", "https://localhost:8443"),
            ("https://example.com:443", "https://example.com"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://blåbær.example.", "https://xn--blbr-roah.example"),
        ] {
            assert_eq!(origin(text).unwrap().origin(), expected);
        }
        for (text, expected) in [
            ("projects.example.com", OriginError::Scheme),
            ("ftp://projects.example.com", OriginError::Scheme),
            ("https://a.example/path", OriginError::Path),
            ("https://a.example?x", OriginError::Path),
            ("https://a.example#x", OriginError::Path),
            ("https://kari:pw@a.example", OriginError::UserInfo),
            ("https://", OriginError::Host),
            ("https://a b", OriginError::Host),
            ("https://1.2.3.4.5", OriginError::Host),
            ("https://a.example:", OriginError::Port),
            ("https://a.example:0", OriginError::Port),
            ("https://a.example:70000", OriginError::Port),
            ("https://a.example:+1", OriginError::Port),
        ] {
            assert_eq!(origin(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn urls_to_send_to_have_a_path_and_no_query() {
        let url = http_url("https://SMS.example.com:8443/v1/send").unwrap();
        assert_eq!(url.origin.origin(), "https://sms.example.com:8443");
        assert_eq!(url.path, "/v1/send");
        assert_eq!(http_url("http://[::1]:80").unwrap().path, "");
        for (text, expected) in [
            ("sms.example.com/send", OriginError::Scheme),
            ("ftp://sms.example.com/send", OriginError::Scheme),
            ("https://sms.example.com/send?key=1", OriginError::Query),
            ("https://sms.example.com?key=1", OriginError::Query),
            ("https://sms.example.com/send#x", OriginError::Query),
            ("https://sms.example.com/a b", OriginError::Query),
            (
                "https://kari:pw@sms.example.com/send",
                OriginError::UserInfo,
            ),
            ("https:///send", OriginError::Host),
        ] {
            assert_eq!(http_url(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn loopback_is_this_machine_only() {
        for host in [
            "localhost",
            "app.localhost",
            "127.0.0.1",
            "127.9.9.9",
            "[::1]",
        ] {
            assert!(is_loopback_host(host), "{host}");
        }
        for host in ["localhost.example.com", "10.0.0.1", "[::2]", "notlocalhost"] {
            assert!(!is_loopback_host(host), "{host}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_recognised() {
        let known = ["addresses", "name", "hosts"];
        assert_eq!(nearest("adresses", known), Some("addresses"));
        assert_eq!(nearest("adress", known), Some("addresses"));
        assert_eq!(nearest("Names", known), Some("name"));
        assert_eq!(nearest("colour", known), None);
    }
}
