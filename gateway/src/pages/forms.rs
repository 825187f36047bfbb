//! The two forms of the login.

use std::time::Duration;

use askama::Template;
use http::{Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::texts::{CodeTexts, LoginTexts};
use super::{Frame, Language, page};
use crate::body::Body;

/// The form that asks for an e-mail address.
#[derive(Clone, Copy, Debug)]
pub struct EmailForm<'a> {
    /// The site that is logged in to, such as `projects.example.com`.
    pub site: &'a str,
    /// Token of the form.
    pub csrf: &'a str,
    /// Path on this site to land on.
    pub next: &'a str,
    /// What the field holds already.
    pub email: &'a str,
    /// What to say above the form.
    pub note: Option<EmailNote>,
    /// Who is logged in already.
    pub logged_in: Option<LoggedIn<'a>>,
}

/// What the e-mail form has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailNote {
    /// What was typed is no e-mail address.
    Malformed,
    /// The challenge is spent, expired or another browser's.
    Over,
    /// The last comparison of a challenge failed.
    LastWrong,
    /// The link is used up, expired or another browser's.
    LinkOver,
}

/// Who is logged in already.
#[derive(Clone, Copy, Debug)]
pub struct LoggedIn<'a> {
    /// Name for people.
    pub name: &'a str,
}

impl EmailForm<'_> {
    /// The page.
    #[must_use]
    pub fn page(&self, frame: &Frame<'_>, status: StatusCode) -> Response<Body> {
        let texts = &frame.texts().login;
        let template = EmailPage {
            frame,
            form: self,
            texts,
            error: match self.note {
                Some(EmailNote::Malformed) => Some(texts.malformed),
                _ => None,
            },
            alert: match self.note {
                Some(EmailNote::Over) => Some(texts.over),
                Some(EmailNote::LastWrong) => Some(texts.last_wrong),
                Some(EmailNote::LinkOver) => Some(frame.texts().link.over),
                _ => None,
            },
            already: self.logged_in.map(|who| (texts.already)(who.name)),
            logout: frame.texts().account.logout,
        };
        page(frame, status, &template)
    }
}

/// The form that asks for the code.
#[derive(Clone, Copy, Debug)]
pub struct CodeForm<'a> {
    /// The site that is logged in to.
    pub site: &'a str,
    /// Token of the form.
    pub csrf: &'a str,
    /// Where the code was sent, if there is such an account.
    pub email: &'a str,
    /// Path on this site to land on.
    pub next: &'a str,
    /// Minutes that a code lives.
    pub minutes: u64,
    /// How long until another code can be asked for; zero if it can be now.
    pub resend_in: Duration,
    /// What to say.
    pub note: Option<CodeNote>,
}

/// What the code form has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeNote {
    /// It was not the code.
    Wrong {
        /// Comparisons left.
        left: u32,
    },
    /// It was no code, and nothing was compared.
    Malformed,
    /// A new code is on its way.
    Resent,
}

impl CodeForm<'_> {
    /// The page.
    #[must_use]
    pub fn page(&self, frame: &Frame<'_>, status: StatusCode) -> Response<Body> {
        let texts = &frame.texts().code;
        let template = CodePage {
            frame,
            form: self,
            texts,
            lead: (texts.lead)(self.email),
            hint: (texts.hint)(self.minutes),
            error: match self.note {
                Some(CodeNote::Wrong { left }) => Some((texts.wrong)(left)),
                Some(CodeNote::Malformed) => Some(texts.malformed.to_owned()),
                _ => None,
            },
            resent: self.note == Some(CodeNote::Resent),
            later: later(self.resend_in),
            restart: format!(
                "{}/login?next={}",
                frame.prefix,
                utf8_percent_encode(self.next, NON_ALPHANUMERIC)
            ),
        };
        page(frame, status, &template)
    }
}

/// Seconds until another code can be asked for, rounded up to a number that the style sheet has a
/// class for (`in-5` to `in-60`); a longer wait than that is told as the longest.
fn later(wait: Duration) -> Option<u64> {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    (seconds > 0).then(|| seconds.next_multiple_of(5).min(60))
}

/// The line of a message to the telephone that a person reads.
#[must_use]
pub fn message(language: Language, host: &str, code: &str) -> String {
    (language.texts().code.message)(host, code)
}

/// The message to the telephone that tells of failed attempts before a login.
#[must_use]
pub fn failures_message(language: Language, host: &str, count: u32) -> String {
    (language.texts().account.failures_message)(host, count)
}

/// Subject and text of the mail that tells the same.
#[must_use]
pub fn failures_mail(language: Language, host: &str, count: u32) -> (String, String) {
    let texts = &language.texts().account;
    let text = format!("{}\n", (texts.failures_message)(host, count));
    ((texts.failures_subject)(host), text)
}

#[derive(Template)]
#[template(path = "email.html")]
struct EmailPage<'a> {
    frame: &'a Frame<'a>,
    form: &'a EmailForm<'a>,
    texts: &'a LoginTexts,
    error: Option<&'a str>,
    alert: Option<&'a str>,
    already: Option<String>,
    logout: &'a str,
}

#[derive(Template)]
#[template(path = "code.html")]
struct CodePage<'a> {
    frame: &'a Frame<'a>,
    form: &'a CodeForm<'a>,
    texts: &'a CodeTexts,
    lead: String,
    hint: String,
    error: Option<String>,
    resent: bool,
    later: Option<u64>,
    restart: String,
}
