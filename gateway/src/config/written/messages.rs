//! `[sms]` and `[mail]` as written.

use schemars::JsonSchema;
use serde::Deserialize;

use super::{At, Hidden, SECRET};

/// How codes travel: a provider, and those that take over where it fails.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sms {
    /// `twilio`; `webhook`: any other provider, through a service of your own; or `outbox`: prints
    /// and keeps messages, only for a public URL on this machine.
    #[schemars(required, extend("enum" = ["outbox", "twilio", "webhook"]))]
    pub kind: Option<At<String>>,
    /// `twilio`: the account, `AC` and 32 hexadecimal digits.
    pub account_sid: Option<At<String>>,
    /// `twilio`: an API key's SID (`SK` and 32 hexadecimal digits), by reference; with `api_secret`.
    #[schemars(extend("pattern" = SECRET))]
    pub api_key: Option<Hidden>,
    /// `twilio`: the API key's secret, by reference.
    #[schemars(extend("pattern" = SECRET))]
    pub api_secret: Option<Hidden>,
    /// `twilio`: the account's token, by reference. Without an API key it is what messages are sent
    /// with; receipts are verified by it in any case.
    #[schemars(extend("pattern" = SECRET))]
    pub auth_token: Option<Hidden>,
    /// `twilio`: the number, short code or name that messages come from; or
    /// `messaging_service_sid`.
    pub from: Option<At<String>>,
    /// `twilio`: the messaging service that chooses the number, `MG` and 32 hexadecimal digits.
    pub messaging_service_sid: Option<At<String>>,
    /// `twilio`: where its API is. Default: `https://api.twilio.com`.
    pub base_url: Option<At<String>>,
    /// `twilio`: whether it tells us what became of a message, at `/.portvakt/sms/status`; needs
    /// `auth_token`. Default: `true`.
    pub status_callback: Option<At<bool>>,
    /// `webhook`: where messages are posted to.
    pub url: Option<At<String>>,
    /// `webhook`: what messages are signed with, by reference; 16 bytes or more.
    #[schemars(extend("pattern" = SECRET))]
    pub secret: Option<Hidden>,
    /// `webhook`: PEM file of the authority behind its certificate. Default: those that this
    /// machine trusts.
    pub ca: Option<At<String>>,
    /// Messages that may wait for a provider, 1 to 100000; further ones are dropped. Default: 1000.
    pub queue: Option<At<u64>>,
    /// Further providers, tried in this order when those before certainly did not send; each has
    /// the keys of `sms` but `queue` and `fallback`.
    #[serde(default)]
    pub fallback: Vec<Sms>,
}

/// The mail server.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mail {
    /// Its name or address.
    #[schemars(required)]
    pub host: Option<At<String>>,
    /// Its port. Default: 587 for `starttls`, 465 for `tls`, 25 for `none`.
    pub port: Option<At<u64>>,
    /// `starttls`; `tls`: from the first byte; or `none`, for a server on this machine only.
    /// Default: `starttls`.
    #[schemars(extend("enum" = ["none", "starttls", "tls"]))]
    pub tls: Option<At<String>>,
    /// The address that mails come from.
    #[schemars(required)]
    pub from: Option<At<String>>,
    /// Whom we log in as, with `password`. Default: nobody.
    pub user: Option<At<String>>,
    /// The password, by reference.
    #[schemars(extend("pattern" = SECRET))]
    pub password: Option<Hidden>,
    /// PEM file of the authority behind its certificate. Default: those that this machine trusts.
    pub ca: Option<At<String>>,
}
