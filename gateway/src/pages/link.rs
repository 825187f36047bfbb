//! The pages, and the mail, of the link that a raised shield asks for.

use askama::Template;
use http::{Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::texts::LinkTexts;
use super::{Frame, Language, Notice, notice, page};
use crate::body::Body;

/// The page that says to look for the mail.
#[derive(Clone, Copy, Debug)]
pub struct LinkSent<'a> {
    /// The site that is logged in to.
    pub site: &'a str,
    /// Where the link was sent, if there is such an account.
    pub email: &'a str,
    /// Path on this site to land on.
    pub next: &'a str,
    /// Minutes that a link works.
    pub minutes: u64,
}

impl LinkSent<'_> {
    /// The page.
    #[must_use]
    pub fn page(&self, frame: &Frame<'_>) -> Response<Body> {
        let texts = &frame.texts().link;
        let template = LinkSentPage {
            frame,
            site: self.site,
            texts,
            lead: (texts.sent_lead)(self.email),
            hint: (texts.sent_hint)(self.minutes),
            restart: format!(
                "{}/login?next={}",
                frame.prefix,
                utf8_percent_encode(self.next, NON_ALPHANUMERIC)
            ),
        };
        page(frame, StatusCode::OK, &template)
    }
}

/// The page that a link opens: nothing happens before its button is pressed.
#[derive(Clone, Copy, Debug)]
pub struct LinkForm<'a> {
    /// The site that is logged in to.
    pub site: &'a str,
    /// Token of the form.
    pub csrf: &'a str,
    /// What the link carried.
    pub token: &'a str,
}

impl LinkForm<'_> {
    /// The page.
    #[must_use]
    pub fn page(&self, frame: &Frame<'_>) -> Response<Body> {
        let texts = &frame.texts().link;
        let template = LinkPage {
            frame,
            form: self,
            texts,
        };
        page(frame, StatusCode::OK, &template)
    }
}

/// The page of a link that was opened in a browser that did not ask for it.
#[must_use]
pub fn other_browser(frame: &Frame<'_>, status: StatusCode) -> Response<Body> {
    let texts = &frame.texts().link;
    let login = format!("{}/login", frame.prefix);
    let there = Notice {
        heading: texts.title,
        text: texts.other_browser,
        back: Some((&login, frame.texts().refusals.login)),
    };
    notice(frame, status, &there)
}

/// The page for a device that is not known, while there is no way past the shield.
#[must_use]
pub fn new_device_refused(frame: &Frame<'_>) -> Response<Body> {
    let texts = &frame.texts().link;
    let refused = Notice {
        heading: texts.refused,
        text: texts.refused_lead,
        back: None,
    };
    notice(frame, StatusCode::SERVICE_UNAVAILABLE, &refused)
}

/// Subject and text of the mail that carries a link.
#[must_use]
pub fn mail(language: Language, host: &str, url: &str) -> (String, String) {
    let texts = &language.texts().link;
    ((texts.mail_subject)(host), (texts.mail)(host, url))
}

#[derive(Template)]
#[template(path = "link_sent.html")]
struct LinkSentPage<'a> {
    frame: &'a Frame<'a>,
    site: &'a str,
    texts: &'a LinkTexts,
    lead: String,
    hint: String,
    restart: String,
}

#[derive(Template)]
#[template(path = "link.html")]
struct LinkPage<'a> {
    frame: &'a Frame<'a>,
    form: &'a LinkForm<'a>,
    texts: &'a LinkTexts,
}
