//! Pages that say no, and what to do instead.

use std::time::Duration;

use askama::Template;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use super::{Frame, assets, page};
use crate::body::Body;

/// A page of a heading and a text.
#[derive(Clone, Copy, Debug)]
pub struct Notice<'a> {
    /// Heading.
    pub heading: &'a str,
    /// A sentence or two.
    pub text: &'a str,
    /// Where to go on: path on this site, and what the link says.
    pub back: Option<(&'a str, &'a str)>,
}

/// The offer to copy what only its owner may change.
#[derive(Clone, Copy, Debug)]
pub struct CopyFirst<'a> {
    /// Whose it is, where that is known.
    pub owner_name: Option<&'a str>,
    /// Path on this site that makes a copy when posted to.
    pub post: &'a str,
    /// Path on this site where it can be looked at.
    pub look: &'a str,
}

/// A notice in the frame's language, written by the caller.
#[must_use]
pub fn notice(frame: &Frame<'_>, status: StatusCode, notice: &Notice<'_>) -> Response<Body> {
    let wait = None;
    page(
        frame,
        status,
        &NoticePage {
            frame,
            notice,
            wait,
            follows: None,
            style: None,
        },
    )
}

/// The page of a refusal by its status; with a time to wait it says so, and sets `Retry-After`
/// in whole seconds, rounded up and at least one.
#[must_use]
pub fn refusal(
    frame: &Frame<'_>,
    status: StatusCode,
    retry_after: Option<Duration>,
) -> Response<Body> {
    let texts = &frame.texts().refusals;
    let refusal = texts.of(status);
    let elsewhere = matches!(
        status,
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
    );
    let notice = Notice {
        heading: refusal.heading,
        text: refusal.text,
        back: elsewhere.then_some(("/", texts.start)),
    };
    // Only a limit's waiting time is worth a sentence; a fault's is a guess for programs.
    let wait = retry_after
        .filter(|_| status == StatusCode::TOO_MANY_REQUESTS)
        .map(texts.wait);
    // Of a host that is not ours, nothing else can be had.
    let alone = status == StatusCode::MISDIRECTED_REQUEST;
    let notice = &notice;
    let mut response = page(
        frame,
        status,
        &NoticePage {
            frame,
            notice,
            wait,
            follows: None,
            style: alone.then_some(assets::STYLE),
        },
    );
    if let Some(wait) = retry_after {
        set_retry_after(&mut response, wait);
    }
    response
}

/// Sets `Retry-After` in whole seconds, rounded up and at least one.
pub fn set_retry_after(response: &mut Response<Body>, wait: Duration) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    let value = HeaderValue::from(seconds.max(1));
    response.headers_mut().insert(header::RETRY_AFTER, value);
}

/// The page for a form whose token does not fit its cookie.
#[must_use]
pub fn form_out_of_date(frame: &Frame<'_>) -> Response<Body> {
    let texts = &frame.texts().refusals;
    let login = format!("{}/login", frame.prefix);
    let form = Notice {
        heading: texts.form.heading,
        text: texts.form.text,
        back: Some((&login, texts.login)),
    };
    notice(frame, StatusCode::FORBIDDEN, &form)
}

/// The `403` page that says whose it is and offers a copy.
#[must_use]
pub fn copy_first(frame: &Frame<'_>, copy: &CopyFirst<'_>) -> Response<Body> {
    let texts = &frame.texts().copy;
    let template = CopyPage {
        frame,
        title: (texts.title)(copy.owner_name),
        lead: texts.lead,
        submit: texts.submit,
        post: copy.post,
        back: texts.back,
        look: copy.look,
    };
    page(frame, StatusCode::FORBIDDEN, &template)
}

#[derive(Template)]
#[template(path = "notice.html")]
pub(super) struct NoticePage<'a> {
    pub(super) frame: &'a Frame<'a>,
    pub(super) notice: &'a Notice<'a>,
    pub(super) wait: Option<String>,
    pub(super) follows: Option<&'a str>,
    /// The style sheet, where the page cannot refer to it.
    pub(super) style: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "copy.html")]
struct CopyPage<'a> {
    frame: &'a Frame<'a>,
    title: String,
    lead: &'a str,
    submit: &'a str,
    post: &'a str,
    back: &'a str,
    look: &'a str,
}
