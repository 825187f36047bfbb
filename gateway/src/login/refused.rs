//! Why a step stops, and the one place that turns it into an answer.

use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::Desk;
use super::visit::Visit;
use super::waiting;
use crate::audit::AuditError;
use crate::body::Body;
use crate::directory::DirectoryError;
use crate::pages::{self, AwaitedStep, Problem};
use crate::session::SessionError;
use crate::store::StoreError;

/// After how long it is worth trying again when a part of us does not answer.
const UNAVAILABLE_FOR: Duration = Duration::from_secs(5);

/// Why a step stops.
#[derive(Debug)]
pub(super) enum Refused {
    /// The body cannot be read.
    Malformed,
    /// Only for those who are logged in.
    NotLoggedIn,
    /// The request comes from another site's page.
    CrossSite,
    /// The form's token does not fit its cookie.
    Form,
    /// No such page, session or device.
    Missing,
    /// The page is not for this method.
    Method,
    /// The body took too long.
    Slow,
    /// The body is too large.
    TooLarge,
    /// The body is neither JSON nor a form, or not what the caller asked an answer in.
    MediaType,
    /// No e-mail address.
    Email,
    /// No four ASCII digits; nothing was compared.
    Code,
    /// Not the code.
    Wrong {
        /// Comparisons left.
        left: u32,
    },
    /// No live challenge of this browser.
    Over,
    /// No link that the browser's challenge waits for.
    Link,
    /// The shield is raised, and there is no way past it for a device that is not known.
    NewDevice,
    /// A budget is spent.
    Spent {
        /// Until it has room again.
        wait: Duration,
    },
    /// A part of us does not answer; what it said is for the log.
    Unavailable(String),
}

impl Refused {
    /// The kind, for problems, metrics and records.
    pub(super) const fn kind(&self) -> &'static str {
        self.parts().1
    }

    /// The answer for whoever asked: a page for a browser, a problem for a program.
    pub(super) fn answer(&self, desk: &Desk, visit: &Visit) -> Response<Body> {
        if let Self::Unavailable(reason) = self {
            tracing::error!(request_id = %visit.client.request_id, %reason, "the login is unavailable");
        }
        let mut response = if visit.html {
            self.page(desk, visit)
        } else {
            self.problem(visit)
        };
        self.finish(desk, &mut response);
        response
    }

    /// The answer as a problem.
    pub(super) fn problem(&self, visit: &Visit) -> Response<Body> {
        let (status, kind, title) = self.parts();
        let mut more = Map::from_iter([("error".to_owned(), Value::from(kind))]);
        if let Self::Wrong { left } = self {
            more.insert("attempts_left".to_owned(), (*left).into());
        }
        let problem = Problem {
            kind,
            title,
            detail: None,
            request_id: &visit.client.request_id,
            more,
        };
        pages::problem(status, &problem)
    }

    /// The fields that go with the status, whatever the body is.
    pub(super) fn finish(&self, desk: &Desk, response: &mut Response<Body>) {
        match self {
            Self::Spent { wait } => pages::set_retry_after(response, *wait),
            Self::Unavailable(_) => pages::set_retry_after(response, UNAVAILABLE_FOR),
            _ => {}
        }
        if response.status() == StatusCode::UNAUTHORIZED {
            // RFC 9110, section 15.5.2: a 401 says how to authenticate.
            let challenge = format!("Portvakt login=\"{}/login\"", desk.prefix);
            if let Ok(value) = HeaderValue::try_from(challenge) {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, value);
            }
        }
    }

    fn page(&self, desk: &Desk, visit: &Visit) -> Response<Body> {
        let frame = visit.frame(desk);
        match self {
            // Only the account's pages ask for a login here.
            Self::NotLoggedIn => {
                let prefix = &desk.prefix;
                pages::see_other(&format!("{prefix}/login?next={prefix}/account"))
            }
            Self::Form => pages::form_out_of_date(&frame),
            Self::NewDevice => pages::new_device_refused(&frame),
            Self::Spent { wait } => {
                let onward = waiting::login("/", &desk.prefix);
                waiting::page(desk, visit, *wait, AwaitedStep::Login, &onward)
            }
            _ => pages::refusal(&frame, self.parts().0, None),
        }
    }

    const fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "malformed",
                "The request cannot be understood",
            ),
            Self::NotLoggedIn => (
                StatusCode::UNAUTHORIZED,
                "not_logged_in",
                "Nobody is logged in",
            ),
            Self::CrossSite => (
                StatusCode::FORBIDDEN,
                "cross_site",
                "The request comes from another site",
            ),
            Self::Form => (
                StatusCode::FORBIDDEN,
                "form_token",
                "The form's token does not fit its cookie",
            ),
            Self::Missing => (StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::Method => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The method is not allowed here",
            ),
            Self::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "too_slow",
                "The body took too long",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The body is too large",
            ),
            Self::MediaType => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported_media_type",
                "The content type is not taken here",
            ),
            Self::Email => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "malformed_email",
                "This is not an e-mail address",
            ),
            Self::Code => (
                StatusCode::UNAUTHORIZED,
                "malformed_code",
                "A code is a string of four digits",
            ),
            Self::Wrong { .. } => (
                StatusCode::UNAUTHORIZED,
                "wrong_code",
                "This is not the code",
            ),
            Self::Over => (
                StatusCode::UNAUTHORIZED,
                "challenge_over",
                "The code can no longer be used",
            ),
            Self::Link => (
                StatusCode::UNAUTHORIZED,
                "link_over",
                "The link can no longer be used",
            ),
            Self::NewDevice => (
                StatusCode::SERVICE_UNAVAILABLE,
                "new_device_refused",
                "Devices that are not known cannot log in just now",
            ),
            Self::Spent { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_attempts",
                "Too many attempts",
            ),
            Self::Unavailable(_) => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "Not available just now",
            ),
        }
    }
}

macro_rules! unavailable {
    ($($error:ty),*) => {$(
        impl From<$error> for Refused {
            fn from(error: $error) -> Self {
                Self::Unavailable(error.to_string())
            }
        }
    )*};
}

unavailable!(StoreError, DirectoryError, SessionError, AuditError);
