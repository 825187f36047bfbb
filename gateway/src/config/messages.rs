//! `[sms]` and `[mail]` resolved: how codes and links travel.

use std::path::PathBuf;

use super::PublicUrl;
use crate::principal::EmailAddress;
use crate::secret::Secret;

/// How codes travel.
#[derive(Clone, Debug)]
pub struct Sms {
    /// At least one, in the order in which they are tried.
    pub providers: Vec<SmsProvider>,
    /// Messages that may wait for a provider; default 1,000.
    pub queue: usize,
}

/// Someone who takes messages to telephones.
#[derive(Clone, Debug)]
pub enum SmsProvider {
    /// Prints and keeps messages: for development on loopback only.
    Outbox,
    /// Twilio, by its Messages API.
    Twilio(Twilio),
    /// A service of one's own that takes signed JSON.
    Webhook(Webhook),
}

/// An account at Twilio.
#[derive(Clone, Debug)]
pub struct Twilio {
    /// `AC…`
    pub account_sid: String,
    /// Whom we authenticate as: the account or an API key.
    pub user: Secret,
    /// That one's token or secret.
    pub password: Secret,
    /// The account's token, which receipts are verified by.
    pub auth_token: Option<Secret>,
    /// Who messages come from.
    pub from: TwilioFrom,
    /// Where its API is.
    pub base_url: HttpUrl,
    /// Whether it tells us what became of a message.
    pub status_callback: bool,
}

/// Who Twilio's messages come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TwilioFrom {
    /// A number, short code or name.
    Sender(String),
    /// A messaging service, `MG…`.
    Service(String),
}

/// A service that takes signed JSON.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where to.
    pub url: HttpUrl,
    /// What messages are signed with.
    pub secret: Secret,
    /// The authority behind its certificate; `None` for those that this machine trusts.
    pub ca: Option<PathBuf>,
}

/// The mail server.
#[derive(Clone, Debug)]
pub struct Mail {
    /// Name or address; an IPv6 address without its brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// When TLS begins.
    pub tls: MailTls,
    /// Who mails come from.
    pub from: EmailAddress,
    /// User name and password, where the server wants them.
    pub login: Option<(String, Secret)>,
    /// The authority behind its certificate; `None` for those that this machine trusts.
    pub ca: Option<PathBuf>,
}

/// When a connection to a mail server becomes TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// Never: on this machine only.
    None,
    /// After a command in the clear, without which nothing is sent.
    StartTls,
    /// From the first byte.
    Tls,
}

/// A URL of `http` or `https` without user, query and fragment: nothing in it is secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    /// Scheme, host and port.
    pub origin: PublicUrl,
    /// Path, empty or beginning with `/`.
    pub path: String,
}
