//! The page with a waiting time, which keeps itself up to date without a script.

use std::time::Duration;

use http::header::{HeaderValue, REFRESH};
use http::{Response, StatusCode};

use super::refusal::{Notice, NoticePage, set_retry_after};
use super::texts::step;
use super::{Frame, page};
use crate::body::Body;

/// What someone waits for.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// What it is.
    pub what: AwaitedStep,
    /// How long still.
    pub wait: Duration,
    /// Path on this site whose `GET` shows this page again, with the time that is left by then,
    /// and goes on when there is none.
    pub again: &'a str,
    /// Path on this site to go on to.
    pub onward: &'a str,
}

/// What someone waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwaitedStep {
    /// Another attempt to log in.
    Login,
    /// Another code for the challenge that lives.
    Resend,
}

/// The page. A `Refresh` field, which is a `GET` whatever was posted before, renews it whenever
/// what it says is no longer so; nothing on it is typed that could be lost. Where it refuses a
/// request, by a `429`, programs read `Retry-After`.
#[must_use]
pub fn waiting(frame: &Frame<'_>, status: StatusCode, waiting: &Waiting<'_>) -> Response<Body> {
    let texts = &frame.texts().refusals;
    let (refusal, says) = match waiting.what {
        AwaitedStep::Login => (&texts.too_many, texts.login),
        AwaitedStep::Resend => (&texts.too_soon, texts.code),
    };
    let notice = Notice {
        heading: refusal.heading,
        text: refusal.text,
        back: Some((waiting.onward, says)),
    };
    let template = NoticePage {
        style: None,
        frame,
        notice: &notice,
        wait: Some((texts.wait)(waiting.wait)),
        follows: Some(texts.follows),
    };
    let mut response = page(frame, status, &template);
    let seconds = step(waiting.wait);
    if let Ok(value) = HeaderValue::try_from(format!("{seconds};url={}", waiting.again)) {
        response.headers_mut().insert(REFRESH, value);
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        set_retry_after(&mut response, waiting.wait);
    }
    response
}
