//! Why a request stops, and the one place that turns it into an answer.
//!
//! The public text never says more than the person may know: the full reason goes to the record.

use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::Shared;
use super::observe::Seen;
use crate::body::Body;
use crate::pages::{self, CopyFirst, Frame, Problem};
use crate::policy::{CopyOffer, Unreadable};
use crate::principal::UserId;
use crate::target::TargetError;

/// Why a request stops.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    // The caller's fault.
    /// No host, several, a malformed one, or two that contradict each other.
    #[error("the request does not name exactly one host")]
    Host,
    /// Lengths or codings that two readers could read differently.
    #[error("the request's framing is ambiguous")]
    Framing,
    /// A target of which there is more than one reading.
    #[error("{0}")]
    Target(#[from] TargetError),
    /// A trusted peer's forwarding headers cannot be read.
    #[error("the forwarding headers of a trusted peer cannot be read")]
    Forwarded,
    /// It came in clear text.
    #[error("the request did not come over TLS, or not through a trusted proxy")]
    Unencrypted,
    /// `CONNECT` or `TRACE`.
    #[error("the method is not served")]
    Method,
    /// Too many or too large header fields.
    #[error("the header section is too large")]
    HeadTooLarge,
    /// A body beyond its limit.
    #[error("the body is too large")]
    BodyTooLarge,
    /// A body that broke off, or is malformed.
    #[error("the request's body broke off")]
    BodyBroken,
    /// A body that stood still for too long.
    #[error("the request's body stood still")]
    BodyStalled,
    /// What it names beyond its path is missing, malformed, or could be read in two ways.
    #[error("{0}")]
    Unreadable(#[from] Unreadable),
    /// A host that is not ours.
    #[error("the host is not served here")]
    UnknownHost,
    /// An unsafe request, or a WebSocket, from another site's page.
    #[error("the request comes from another site's page")]
    CrossSite,
    /// No session.
    #[error("not logged in")]
    NotLoggedIn,
    /// No route matches, or nothing that the caller may know of stands there.
    #[error("nothing is there for this caller: {reason}")]
    NotFound {
        /// For the record.
        reason: &'static str,
    },
    /// Readable for the caller, but this is not allowed.
    #[error("reading is allowed, this is not")]
    ReadOnly {
        /// Who owns it.
        owner: Option<UserId>,
        /// Where a copy is made.
        copy: Option<CopyOffer>,
    },

    // The upstream's fault.
    /// Unreachable or broken off.
    #[error("{0}")]
    BadGateway(String),
    /// Too slow.
    #[error("{0}")]
    GatewayTimeout(String),

    // Ours.
    /// Facts or state cannot be had.
    #[error("{0}")]
    Unavailable(String),
}

/// How long a client should wait for what is unavailable.
const RETRY_AFTER: Duration = Duration::from_secs(5);

impl Refusal {
    /// The status that the caller sees.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Host | Self::Framing | Self::Target(_) | Self::Forwarded | Self::Unencrypted => {
                StatusCode::BAD_REQUEST
            }
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyBroken => StatusCode::BAD_REQUEST,
            Self::BodyStalled => StatusCode::REQUEST_TIMEOUT,
            Self::Unreadable(why) => why.status(),
            Self::UnknownHost => StatusCode::MISDIRECTED_REQUEST,
            Self::CrossSite | Self::ReadOnly { .. } => StatusCode::FORBIDDEN,
            Self::NotLoggedIn => StatusCode::UNAUTHORIZED,
            Self::NotFound { .. } => StatusCode::NOT_FOUND,
            Self::BadGateway(_) => StatusCode::BAD_GATEWAY,
            Self::GatewayTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The problem's type and title (RFC 9457, section 3.1).
    const fn public(&self) -> (&'static str, &'static str) {
        match self {
            Self::Host => (
                "ambiguous_host",
                "The request does not name exactly one host",
            ),
            Self::Framing => ("ambiguous_framing", "The request's framing is ambiguous"),
            Self::Target(_) => (
                "ambiguous_target",
                "The request's target is ambiguous or malformed",
            ),
            Self::Forwarded => (
                "malformed_forwarding",
                "The forwarding headers cannot be read",
            ),
            Self::Unencrypted => ("unencrypted", "This is served over https only"),
            Self::Method => ("method_not_allowed", "This method is not served"),
            Self::HeadTooLarge => ("header_too_large", "The header section is too large"),
            Self::BodyTooLarge => ("body_too_large", "The body is too large"),
            Self::BodyBroken => ("body_broken", "The request's body broke off"),
            Self::BodyStalled => (
                "body_stalled",
                "The request\'s body stood still for too long",
            ),
            Self::Unreadable(Unreadable::Malformed(_)) => (
                "ambiguous_request",
                "What the request names is missing, malformed or ambiguous",
            ),
            Self::Unreadable(Unreadable::Type(_)) => (
                "unsupported_type",
                "A body of this type or encoding is not read here",
            ),
            Self::Unreadable(Unreadable::TooMany) => (
                "too_many_resources",
                "The request names too many resources at once",
            ),
            Self::UnknownHost => ("unknown_host", "This host is not served here"),
            Self::CrossSite => ("cross_site", "The request comes from another site's page"),
            Self::NotLoggedIn => ("not_logged_in", "Log in first"),
            Self::NotFound { .. } => ("not_found", "Nothing is here"),
            Self::ReadOnly { copy: Some(_), .. } => (
                "copy_first",
                "Only its owner may change this; copy it first",
            ),
            Self::ReadOnly { copy: None, .. } => ("read_only", "Only its owner may change this"),
            Self::BadGateway(_) => ("upstream_unreachable", "The application cannot be reached"),
            Self::GatewayTimeout(_) => {
                ("upstream_timeout", "The application did not answer in time")
            }
            Self::Unavailable(_) => ("unavailable", "Unavailable for the moment"),
        }
    }

    /// The answer for a person in a browser or for a program.
    pub(super) fn into_answer(self, shared: &Shared, seen: &mut Seen) -> Response<Body> {
        seen.refused(&self);
        let mut answer = if seen.wants_page {
            self.page(shared, seen)
        } else {
            self.problem(seen)
        };
        let headers = answer.headers_mut();
        match &self {
            Self::NotLoggedIn => {
                let challenge = format!("Portvakt login=\"{}/login\"", shared.config.prefix);
                insert(headers, header::WWW_AUTHENTICATE, &challenge);
            }
            Self::Unavailable(_) => {
                headers.insert(
                    header::RETRY_AFTER,
                    HeaderValue::from(RETRY_AFTER.as_secs()),
                );
            }
            Self::Method => {
                insert(
                    headers,
                    header::ALLOW,
                    "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
                );
            }
            _ => {}
        }
        let closes = matches!(
            self,
            Self::Host
                | Self::Framing
                | Self::Target(_)
                | Self::Forwarded
                | Self::Unencrypted
                | Self::Method
                | Self::HeadTooLarge
                | Self::BodyTooLarge
                | Self::BodyBroken
                | Self::Unreadable(_)
                | Self::BodyStalled
        );
        if closes && seen.http1 {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    fn page(&self, shared: &Shared, seen: &Seen) -> Response<Body> {
        let prefix = &shared.config.prefix;
        let frame = Frame {
            language: seen.language,
            prefix,
            request_id: seen.request_id,
        };
        match self {
            Self::NotLoggedIn if seen.navigation => {
                pages::see_other(&login_path(prefix, &seen.next))
            }
            Self::Unencrypted if seen.navigation => to_https(shared, seen),
            Self::ReadOnly {
                owner,
                copy: Some(offer),
            } => {
                let name = owner.as_ref().and_then(|owner| seen.name_of(owner));
                pages::copy_first(
                    &frame,
                    &CopyFirst {
                        owner_name: name.as_deref(),
                        post: &offer.post,
                        look: &offer.look,
                    },
                )
            }
            _ => pages::refusal(&frame, self.status(), self.wait()),
        }
    }

    fn problem(&self, seen: &Seen) -> Response<Body> {
        let (kind, title) = self.public();
        let mut more = serde_json::Map::new();
        if let Self::ReadOnly {
            copy: Some(offer), ..
        } = self
        {
            more.insert("copy".to_owned(), offer.post.as_str().into());
        }
        let problem = Problem {
            kind,
            title,
            detail: None,
            request_id: &seen.request_id,
            more,
        };
        pages::problem(self.status(), &problem)
    }

    const fn wait(&self) -> Option<Duration> {
        match self {
            Self::Unavailable(_) => Some(RETRY_AFTER),
            _ => None,
        }
    }
}

/// A browser goes to the login page, and comes back to where it was going.
fn login_path(prefix: &str, next: &str) -> String {
    let next = percent_encoding::utf8_percent_encode(next, percent_encoding::NON_ALPHANUMERIC);
    format!("{prefix}/login?next={next}")
}

/// A browser that came in clear text is sent to where it belongs.
fn to_https(shared: &Shared, seen: &Seen) -> Response<Body> {
    let mut answer = pages::bare(StatusCode::PERMANENT_REDIRECT);
    let location = format!("{}{}", shared.config.public_url.origin(), seen.next);
    insert(answer.headers_mut(), header::LOCATION, &location);
    answer
}

fn insert(headers: &mut http::HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(name, value);
    }
}
