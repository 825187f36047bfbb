//! The account page: where someone is logged in, and from what.

use askama::Template;
use http::{Response, StatusCode};
use time::OffsetDateTime;
use time::macros::format_description;

use super::texts::AccountTexts;
use super::{Frame, page};
use crate::body::Body;
use crate::clock::Timestamp;

/// A person's own page.
#[derive(Clone, Debug)]
pub struct AccountPage<'a> {
    /// Token of the forms.
    pub csrf: &'a str,
    /// Name for people.
    pub name: &'a str,
    /// E-mail address.
    pub email: &'a str,
    /// Name of the company.
    pub company: &'a str,
    /// Failed attempts before their latest login, of which they were not told here yet.
    pub failures: u32,
    /// The person's sessions.
    pub sessions: Vec<SessionRow<'a>>,
    /// The person's devices.
    pub devices: Vec<DeviceRow<'a>>,
}

/// One session.
#[derive(Clone, Copy, Debug)]
pub struct SessionRow<'a> {
    /// Public handle.
    pub handle: &'a str,
    /// Login.
    pub created: Timestamp,
    /// Last request that was recorded.
    pub last_seen: Timestamp,
    /// Browser and system in a few words; empty if unknown.
    pub client: &'a str,
    /// Whether it is the one that asks.
    pub current: bool,
}

/// One device.
#[derive(Clone, Copy, Debug)]
pub struct DeviceRow<'a> {
    /// Public handle.
    pub handle: &'a str,
    /// First login.
    pub created: Timestamp,
    /// Latest login.
    pub last_seen: Timestamp,
    /// Browser and system in a few words; empty if unknown.
    pub client: &'a str,
    /// Whether it is the one that asks.
    pub current: bool,
}

impl AccountPage<'_> {
    /// The page.
    #[must_use]
    pub fn page(&self, frame: &Frame<'_>) -> Response<Body> {
        let texts = &frame.texts().account;
        let template = Account {
            frame,
            account: self,
            texts,
            failures: (self.failures > 0).then(|| (texts.failures)(self.failures)),
            others: self.sessions.iter().any(|session| !session.current),
        };
        page(frame, StatusCode::OK, &template)
    }
}

#[derive(Template)]
#[template(path = "account.html")]
struct Account<'a> {
    frame: &'a Frame<'a>,
    account: &'a AccountPage<'a>,
    texts: &'a AccountTexts,
    failures: Option<String>,
    others: bool,
}

impl Account<'_> {
    fn client<'c>(&'c self, client: &'c str) -> &'c str {
        if client.is_empty() {
            self.texts.unknown_client
        } else {
            client
        }
    }

    /// A moment for people, to the minute, in UTC: without a script a page does not know the
    /// reader's time zone, and says so.
    fn moment(at: &Timestamp) -> String {
        let format = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
        i64::try_from(at.as_secs())
            .ok()
            .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
            .and_then(|moment| moment.format(&format).ok())
            .unwrap_or_else(|| at.rfc3339())
    }
}
