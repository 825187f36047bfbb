//! Normalise: one host, one framing, one target, one client; or a refusal.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{HeaderMap, Method, Request, Version};
use ipnet::IpNet;

use super::observe::Seen;
use super::{Hold, Peer, Refusal, Shared};
use crate::body::Body;
use crate::client::{self, Client, RequestId};
use crate::config::{self, Config, PublicUrl};
use crate::cookie;
use crate::target::{self, Leniency, Target, TargetError};

/// The method of a request that stands for one that was refused before HTTP was read: its path says
/// why. A client that sends it itself gets the refusal that it asks for.
pub const REFUSED: &str = "~REFUSED";

/// A request of which there is only one reading.
#[derive(Debug)]
pub(super) struct Normalised {
    pub(super) request: Request<Body>,
    pub(super) target: Target,
    pub(super) client: Client,
    /// The authority as the client named it, lower case, with its port if it gave one.
    pub(super) authority: Authority,
    /// `https` or `http`, as the client used it.
    pub(super) scheme: &'static str,
    pub(super) upgrade: bool,
    /// The W3C trace context that goes on.
    pub(super) traceparent: Option<HeaderValue>,
    pub(super) hold: Hold,
}

/// A host with an optional port, as one string.
#[derive(Debug)]
pub(super) struct Authority {
    text: String,
    host_end: usize,
}

impl Normalised {
    /// What is judged and forwarded.
    pub(super) const fn target(&self) -> &Target {
        &self.target
    }

    /// The host name, lower case, without trailing dot and port.
    pub(super) fn host(&self) -> &str {
        self.authority.host()
    }

    /// Whether the target is one of the gateway's own pages.
    pub(super) fn is_own(&self, prefix: &str) -> bool {
        self.target
            .path()
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The request for the gateway's own pages, at its normalised target.
    pub(super) fn into_own(mut self, seen: &mut Seen) -> Request<Body> {
        seen.own = true;
        *self.request.uri_mut() = self.target.path_and_query().clone().into();
        self.request.extensions_mut().insert(self.client);
        self.request
    }

    /// Takes the query fields out that carry credentials of the application's own; whether there
    /// was one.
    pub(super) fn strip_query(&mut self, upstream: Option<&config::Upstream>) -> bool {
        let names = upstream.map_or(&[][..], |upstream| &upstream.strip_query);
        if names.is_empty() {
            return false;
        }
        match self.target.without_fields(names) {
            Some(stripped) => {
                self.target = stripped;
                true
            }
            None => false,
        }
    }

    /// Another site's page may neither change anything nor open a socket; `overridden` if the request
    /// may be taken for one that changes something.
    pub(super) fn refuse_cross_site(
        &self,
        config: &Config,
        overridden: bool,
    ) -> Result<(), Refusal> {
        let matters = overridden || self.upgrade || !self.target.is_safe();
        let own = config.public_url.origin();
        if matters && client::is_cross_site(self.request.headers(), &own, &config.allowed_origins) {
            return Err(Refusal::CrossSite);
        }
        Ok(())
    }
}

impl Authority {
    /// Reads `host` or `host:port` (RFC 9110, section 7.2).
    fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let parsed: http::uri::Authority = text.parse().ok()?;
        if text.contains('@') || text.ends_with(':') {
            return None;
        }
        let host_end = parsed.host().len();
        let fits = match parsed.port() {
            Some(port) => port.as_u16() > 0 && text.len() == host_end + 1 + port.as_str().len(),
            None => text.len() == host_end,
        };
        (fits && host_end > 0).then_some(Self { text, host_end })
    }

    /// The host, without a trailing dot.
    fn host(&self) -> &str {
        let host = self.text.get(..self.host_end).unwrap_or_default();
        host.strip_suffix('.').unwrap_or(host)
    }

    /// The origin by which the client knows us: the port is that of the public URL, and not the
    /// client's to choose.
    pub(super) fn origin(&self, public: &PublicUrl) -> String {
        let (scheme, host) = (&public.scheme, self.host());
        match public.port {
            Some(port) => format!("{scheme}://{host}:{port}"),
            None => format!("{scheme}://{host}"),
        }
    }

    /// As the client named it.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

pub(super) fn normalise(
    shared: &Shared,
    peer: Peer,
    mut request: Request<Body>,
    seen: &mut Seen,
) -> Result<Normalised, Refusal> {
    let config = &shared.config;
    check_refused(&request)?;
    check_size(&request, config)?;
    check_framing(&request)?;
    let authority = authority(&request)?;
    let known = authority.host() == config.public_url.host
        || config.hosts.iter().any(|host| host == authority.host());
    if !known {
        return Err(Refusal::UnknownHost);
    }
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Refusal::Method);
    }
    let received = request
        .uri()
        .path_and_query()
        .ok_or(Refusal::Target(target::TargetError::Form))?;
    let leniency = Leniency {
        merge_slashes: config
            .upstreams
            .iter()
            .all(|upstream| upstream.merge_slashes),
        encoded_slash: false,
    };
    let target = parse_target(shared, request.method(), received, leniency)?;
    let told = Told::read(&peer, request.headers(), &config.public_url)?;
    if told.scheme != config.public_url.scheme {
        return Err(Refusal::Unencrypted);
    }
    let client = Client {
        address: told.address,
        request_id: told.request_id.unwrap_or(seen.request_id),
    };
    seen.client(&client, &target);
    cookie::join_crumbs(request.headers_mut());
    let upgrade = wants_websocket(&request);
    Ok(Normalised {
        target,
        client,
        authority,
        scheme: told.scheme,
        upgrade,
        traceparent: seen.trace(&shared.traces, told.traceparent),
        hold: peer.hold,
        request,
    })
}

/// The target in its one form. Where some resource's identifiers may hold an encoded slash, it may
/// stand; the route that the target matches tells whether it stands in such a one.
fn parse_target(
    shared: &Shared,
    method: &Method,
    received: &PathAndQuery,
    leniency: Leniency,
) -> Result<Target, TargetError> {
    let strict = Target::parse(method.clone(), received, leniency);
    if strict != Err(TargetError::Separator) || !shared.policy.load().encoded_slashes() {
        return strict;
    }
    let lenient = Leniency {
        encoded_slash: true,
        ..leniency
    };
    let target = Target::parse(method.clone(), received, lenient)?;
    if target.path().starts_with(&shared.config.prefix) {
        return strict;
    }
    Ok(target)
}

/// What the connection's other end, if it is trusted, tells of the client behind it.
struct Told {
    address: IpAddr,
    scheme: &'static str,
    request_id: Option<RequestId>,
    traceparent: Option<HeaderValue>,
}

impl Told {
    fn read(peer: &Peer, headers: &HeaderMap, public: &PublicUrl) -> Result<Self, Refusal> {
        let Some(proxies) = &peer.believed else {
            return Ok(Self {
                address: peer.address,
                scheme: peer.scheme(public),
                request_id: None,
                traceparent: None,
            });
        };
        let proto = single(headers, &HeaderName::from_static("x-forwarded-proto"))?;
        let scheme = match proto.map(HeaderValue::as_bytes) {
            // A router that says nothing of it passes on what it is there to pass on.
            None if public.scheme == "http" => "http",
            None => "https",
            Some(b"https") => "https",
            Some(b"http") => "http",
            Some(_) => return Err(Refusal::Forwarded),
        };
        let id = single(headers, &HeaderName::from_static("x-request-id"))?;
        Ok(Self {
            address: forwarded_for(headers, proxies)?.unwrap_or(peer.address),
            scheme,
            request_id: id
                .and_then(|id| id.to_str().ok())
                .and_then(RequestId::parse),
            traceparent: single(headers, &HeaderName::from_static("traceparent"))?.cloned(),
        })
    }
}

/// The right-most address of `X-Forwarded-For` that is not itself a trusted proxy's; the left-most
/// one if all are.
fn forwarded_for(headers: &HeaderMap, proxies: &[IpNet]) -> Result<Option<IpAddr>, Refusal> {
    let mut client = None;
    for field in headers.get_all("x-forwarded-for").iter().rev() {
        let text = field.to_str().map_err(|_| Refusal::Forwarded)?;
        for hop in text.rsplit(',') {
            let hop: IpAddr = hop.trim().parse().map_err(|_| Refusal::Forwarded)?;
            let hop = hop.to_canonical();
            client = Some(hop);
            if !proxies.iter().any(|net| net.contains(&hop)) {
                return Ok(client);
            }
        }
    }
    Ok(client)
}

/// What was refused below hyper is answered here, in its turn.
fn check_refused(request: &Request<Body>) -> Result<(), Refusal> {
    if request.method().as_str() != REFUSED {
        return Ok(());
    }
    Err(match request.uri().path() {
        "/host" => Refusal::Host,
        "/target" => Refusal::Target(target::TargetError::Character),
        "/size" => Refusal::HeadTooLarge,
        _ => Refusal::Framing,
    })
}

fn check_size(request: &Request<Body>, config: &Config) -> Result<(), Refusal> {
    let headers = request.headers();
    let bytes: usize = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if headers.len() > config.limits.header_count || bytes > config.limits.header_bytes {
        return Err(Refusal::HeadTooLarge);
    }
    Ok(())
}

/// What hyper lets through of RFC 9112, section 6, and RFC 9113, section 8.2.2.
fn check_framing(request: &Request<Body>) -> Result<(), Refusal> {
    let headers = request.headers();
    let transfer = single(headers, &header::TRANSFER_ENCODING)?;
    let length = single(headers, &header::CONTENT_LENGTH)?;
    let http1 = request.version() < Version::HTTP_2;
    if let Some(coding) = transfer {
        let fits = http1
            && request.version() == Version::HTTP_11
            && coding.as_bytes().eq_ignore_ascii_case(b"chunked")
            && length.is_none();
        if !fits {
            return Err(Refusal::Framing);
        }
    }
    let digits =
        |value: &HeaderValue| !value.is_empty() && value.as_bytes().iter().all(u8::is_ascii_digit);
    if !length.is_none_or(digits) {
        return Err(Refusal::Framing);
    }
    if !http1
        && [header::CONNECTION, header::UPGRADE]
            .iter()
            .any(|name| headers.contains_key(name))
    {
        return Err(Refusal::Framing);
    }
    if headers.keys().any(|name| name.as_str().starts_with(':')) {
        return Err(Refusal::Framing);
    }
    Ok(())
}

/// The one host that the request names (RFC 9112, section 3.2; RFC 9113, section 8.3.1).
fn authority(request: &Request<Body>) -> Result<Authority, Refusal> {
    let host = single(request.headers(), &header::HOST)?;
    let named = host
        .map(|host| {
            host.to_str()
                .ok()
                .and_then(Authority::parse)
                .ok_or(Refusal::Host)
        })
        .transpose()?;
    let in_target = request
        .uri()
        .authority()
        .map(|authority| Authority::parse(authority.as_str()).ok_or(Refusal::Host))
        .transpose()?;
    match (named, in_target) {
        (Some(named), Some(target)) if named.text == target.text => Ok(target),
        (None, Some(target)) if request.version() >= Version::HTTP_2 => Ok(target),
        (Some(named), None) => Ok(named),
        _ => Err(Refusal::Host),
    }
}

/// The only value of a field that may stand once.
fn single<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a HeaderValue>, Refusal> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        None => Ok(first),
        Some(_) if *name == header::HOST => Err(Refusal::Host),
        Some(_) => Err(Refusal::Framing),
    }
}

/// Whether the client asks to change to WebSocket (RFC 6455, section 4.1).
fn wants_websocket(request: &Request<Body>) -> bool {
    let headers = request.headers();
    let token = |name: &HeaderName, wanted: &str| {
        headers.get_all(name).iter().any(|value| {
            value.to_str().is_ok_and(|text| {
                text.split(',')
                    .any(|token| token.trim().eq_ignore_ascii_case(wanted))
            })
        })
    };
    *request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && token(&header::CONNECTION, "upgrade")
        && token(&header::UPGRADE, "websocket")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_read_in_one_way() {
        for (text, host) in [
            ("localhost", "localhost"),
            ("LOCALHOST:8443", "localhost"),
            ("localhost.:8443", "localhost"),
            ("127.0.0.1:80", "127.0.0.1"),
            ("[::1]:8443", "[::1]"),
        ] {
            assert_eq!(Authority::parse(text).unwrap().host(), host, "{text}");
        }
        for text in [
            "", ":80", "a:", "a:0", "a:b", "u@a", "a b", "a:99999", "a/b", "a:80:90",
        ] {
            assert!(Authority::parse(text).is_none(), "{text:?}");
        }
    }

    fn request(fields: &[(&'static str, &'static str)]) -> Request<Body> {
        let mut request = Request::new(Body::Empty);
        for (name, value) in fields {
            request.headers_mut().append(*name, value.parse().unwrap());
        }
        request
    }

    #[test]
    fn framing_that_two_readers_could_read_differently_is_refused() {
        for fields in [
            &[("transfer-encoding", "cow, chunked")][..],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            &[("transfer-encoding", "chunked"), ("content-length", "3")],
            &[("transfer-encoding", "gzip")],
            &[("content-length", "3"), ("content-length", "3")],
            &[("content-length", "+3")],
            &[("content-length", "3, 3")],
        ] {
            assert!(check_framing(&request(fields)).is_err(), "{fields:?}");
        }
        assert!(check_framing(&request(&[("transfer-encoding", "Chunked")])).is_ok());
        assert!(check_framing(&request(&[("content-length", "3")])).is_ok());
    }

    #[test]
    fn there_is_exactly_one_host() {
        assert!(authority(&request(&[])).is_err());
        assert!(authority(&request(&[("host", "a"), ("host", "a")])).is_err());
        assert!(authority(&request(&[("host", "a")])).is_ok());
        let mut absolute = request(&[("host", "a")]);
        *absolute.uri_mut() = "http://b/".parse().unwrap();
        assert!(authority(&absolute).is_err());
        *absolute.uri_mut() = "http://A/".parse().unwrap();
        assert!(authority(&absolute).is_ok());
    }

    #[test]
    fn only_a_trusted_peer_tells_of_a_client() {
        let stranger = Peer {
            address: [127, 0, 0, 1].into(),
            encrypted: Some(false),
            believed: None,
            hold: Hold::default(),
        };
        let proxies = [
            "127.0.0.0/8".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ];
        let proxy = Peer {
            believed: Some(proxies.into()),
            ..stranger.clone()
        };
        let public = PublicUrl {
            scheme: "https".to_owned(),
            host: "localhost".to_owned(),
            port: None,
        };
        let read = |peer, text| {
            let fields = [("x-forwarded-for", text), ("x-forwarded-proto", "https")];
            Told::read(peer, request(&fields).headers(), &public)
                .ok()
                .map(|told| (told.address, told.scheme))
        };
        for (text, client) in [
            ("1.2.3.4, 5.6.7.8", [5, 6, 7, 8]),
            ("1.2.3.4, 10.0.0.9", [1, 2, 3, 4]),
            ("10.0.0.8, 10.0.0.9", [10, 0, 0, 8]),
        ] {
            assert_eq!(read(&proxy, text), Some((client.into(), "https")), "{text}");
            assert_eq!(
                read(&stranger, text),
                Some((stranger.address, "http")),
                "{text}"
            );
        }
        for bad in ["nonsense", "1.2.3.4, ", "1.2.3.4:80", "nonsense, 10.0.0.9"] {
            assert_eq!(read(&proxy, bad), None, "{bad}");
            assert_eq!(
                read(&stranger, bad),
                Some((stranger.address, "http")),
                "{bad}"
            );
        }
    }
}
