//! The page that a spent budget leads to, and how it finds its way on.
//!
//! What it needs to know stands in its address, sealed, so that nobody can send people a waiting
//! time or a place to go on to that is not ours.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use data_encoding::BASE64URL_NOPAD;
use http::{Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::refused::Refused;
use super::visit::Visit;
use super::{Desk, landing};
use crate::body::Body;
use crate::clock::Timestamp;
use crate::pages::{self, AwaitedStep, Waiting};
use crate::secret;

/// The `429` for someone in a browser who has to wait, and then goes on to `onward`.
pub(super) fn page(
    desk: &Desk,
    visit: &Visit,
    wait: Duration,
    what: AwaitedStep,
    onward: &str,
) -> Response<Body> {
    // A whole second, rounded up, and not the moment that a budget was charged at.
    let until = desk.clock.now().plus(wait).plus(Duration::from_millis(999));
    let status = StatusCode::TOO_MANY_REQUESTS;
    render(desk, visit, status, until.as_secs(), wait, what, onward)
}

/// `GET wait`: the time that is left, or on to where it leads.
pub(super) async fn show(State(desk): State<Arc<Desk>>, visit: Visit) -> Response<Body> {
    let told = |name| visit.query.text(name).unwrap_or_default();
    let (until, what, onward, shown) = (told("until"), told("for"), told("to"), told("seal"));
    let genuine = secret::same(
        seal(&desk, until, what, onward).as_bytes(),
        shown.as_bytes(),
    );
    let (true, Ok(until)) = (genuine, until.parse::<u64>()) else {
        return Refused::Missing.answer(&desk, &visit);
    };
    let moment = Timestamp::from_millis(until.saturating_mul(1_000));
    let wait = moment.since(desk.clock.now());
    if wait.is_zero() {
        return pages::see_other(onward);
    }
    let what = if what == RESEND {
        AwaitedStep::Resend
    } else {
        AwaitedStep::Login
    };
    // The moment was rounded up to a second; what is said is rounded down again, to be the same.
    let wait = Duration::from_secs(wait.as_secs().max(1));
    render(&desk, &visit, StatusCode::OK, until, wait, what, onward)
}

/// The first form, which leads on to `next`.
pub(super) fn login(next: &str, prefix: &str) -> String {
    let next = landing::landing(Some(next), prefix);
    let next = utf8_percent_encode(&next, NON_ALPHANUMERIC);
    format!("{prefix}/login?next={next}")
}

/// The form for the code.
pub(super) fn code(prefix: &str) -> String {
    format!("{prefix}/code")
}

const LOGIN: &str = "login";
const RESEND: &str = "resend";

fn render(
    desk: &Desk,
    visit: &Visit,
    status: StatusCode,
    until: u64,
    wait: Duration,
    what: AwaitedStep,
    onward: &str,
) -> Response<Body> {
    let name = match what {
        AwaitedStep::Login => LOGIN,
        AwaitedStep::Resend => RESEND,
    };
    let until = until.to_string();
    let seal = seal(desk, &until, name, onward);
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("until", &until)
        .append_pair("for", name)
        .append_pair("to", onward)
        .append_pair("seal", &seal)
        .finish();
    let waiting = Waiting {
        what,
        wait,
        again: &format!("{}/wait?{query}", desk.prefix),
        onward,
    };
    pages::waiting(&visit.frame(desk), status, &waiting)
}

fn seal(desk: &Desk, until: &str, what: &str, onward: &str) -> String {
    let parts = ["wait", until, what, onward].map(str::as_bytes);
    BASE64URL_NOPAD.encode(&desk.form_key.mac(&parts))
}
