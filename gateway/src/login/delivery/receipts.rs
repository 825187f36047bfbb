//! What became of a message: receipts from Twilio, verified, each counted once
//! (<https://www.twilio.com/docs/usage/security#validating-requests>).

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::fmt;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::hmac;
use data_encoding::BASE64;

use crate::config::{Config, SmsProvider};
use crate::metrics::Metrics;
use crate::secret::Secret;

/// Receipts that are remembered, so that none counts twice: the oldest goes.
const REMEMBERED: usize = 10_000;

/// The path below the prefix at which receipts arrive.
pub(in crate::login) const PATH: &str = "/sms/status";

/// The states of a message, as Twilio names them.
const STATES: [&str; 12] = [
    "accepted",
    "canceled",
    "delivered",
    "failed",
    "queued",
    "read",
    "received",
    "receiving",
    "scheduled",
    "sending",
    "sent",
    "undelivered",
];

/// Who takes receipts.
pub(in crate::login) struct Receipts {
    /// Accounts and their tokens.
    accounts: Vec<(String, Secret)>,
    /// The URL that receipts are sent to, as whoever signs them may write it.
    urls: Vec<String>,
    seen: Mutex<Seen>,
    metrics: Metrics,
}

/// What a receipt was worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::login) enum Receipt {
    /// It was news.
    News,
    /// It had been here before, and had no effect.
    Duplicate,
    /// Nobody whom we know signed it; it had no effect.
    Forged,
}

impl Receipts {
    /// For the accounts that were configured to send receipts; `None` if none was.
    pub(in crate::login) fn of(config: &Config, metrics: Metrics) -> Option<Self> {
        let accounts: Vec<_> = config
            .sms
            .providers
            .iter()
            .filter_map(|provider| match provider {
                SmsProvider::Twilio(twilio) if twilio.status_callback => {
                    Some((twilio.account_sid.clone(), twilio.auth_token.clone()?))
                }
                _ => None,
            })
            .collect();
        (!accounts.is_empty()).then(|| Self {
            accounts,
            urls: spellings(config),
            seen: Mutex::default(),
            metrics,
        })
    }

    /// Takes a receipt: the value of `X-Twilio-Signature`, and the form.
    pub(in crate::login) fn take(&self, signature: Option<&[u8]>, form: &[u8]) -> Receipt {
        let fields: BTreeSet<(String, String)> = form_urlencoded::parse(form)
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect();
        let field = |name: &str| {
            let found = fields.iter().find(|(own, _)| own == name);
            found.map_or("", |(_, value)| value)
        };
        if !self.is_signed(field("AccountSid"), signature, &fields) {
            tracing::warn!("a forged receipt was refused");
            self.count("forged");
            return Receipt::Forged;
        }
        let (sid, state) = (field("MessageSid"), field("MessageStatus"));
        let state = STATES.into_iter().find(|known| *known == state);
        let state = state.unwrap_or("other");
        if !self.is_news(sid, state) {
            self.count("duplicate");
            return Receipt::Duplicate;
        }
        if matches!(state, "failed" | "undelivered") {
            let code = field("ErrorCode");
            tracing::warn!(message = ?sid, state, ?code, "a message did not arrive");
        }
        self.count(state);
        Receipt::News
    }

    fn is_signed(
        &self,
        account: &str,
        signature: Option<&[u8]>,
        fields: &BTreeSet<(String, String)>,
    ) -> bool {
        let Some(shown) = signature.and_then(|text| BASE64.decode(text).ok()) else {
            return false;
        };
        let mut tokens = self.accounts.iter().filter(|(own, _)| own == account);
        tokens.any(|(_, token)| {
            let mut urls = self.urls.iter();
            urls.any(|url| fits(token, url, fields, &shown))
        })
    }

    fn is_news(&self, sid: &str, state: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.note(format!("{sid} {state}"))
    }

    fn count(&self, result: &str) {
        self.metrics.sms_receipts.with_label_values(&[result]).inc();
    }
}

/// Whether this is HMAC-SHA-1 by the account's token over the URL and all fields, sorted, names
/// and values one after the other.
fn fits(token: &Secret, url: &str, fields: &BTreeSet<(String, String)>, shown: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, token.expose());
    let mut signed = url.to_owned();
    for (name, value) in fields {
        signed.push_str(name);
        signed.push_str(value);
    }
    hmac::verify(&key, signed.as_bytes(), shown).is_ok()
}

impl fmt::Debug for Receipts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipts")
            .field("urls", &self.urls)
            .finish_non_exhaustive()
    }
}

/// The URL that receipts are sent to.
pub(super) fn url(config: &Config) -> String {
    format!("{}{}{PATH}", config.public_url.origin(), config.prefix)
}

/// Twilio signs the URL with or without its port, whatever it was told.
fn spellings(config: &Config) -> Vec<String> {
    let public = &config.public_url;
    let own_port = if public.scheme == "https" { 443 } else { 80 };
    let port = public.port.unwrap_or(own_port);
    let path = format!("{}{PATH}", config.prefix);
    vec![
        format!("{}://{}:{port}{path}", public.scheme, public.host),
        format!("{}://{}{path}", public.scheme, public.host),
    ]
}

#[derive(Default)]
struct Seen {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Seen {
    /// Whether this was not here before.
    fn note(&mut self, receipt: String) -> bool {
        if !self.known.insert(receipt.clone()) {
            return false;
        }
        self.order.push_back(receipt);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_twilio_makes() {
        // The example in the tests of Twilio's own helper library for Python.
        let fields = [
            ("CallSid", "CA1234567890ABCDE"),
            ("Caller", "+14158675309"),
            ("Digits", "1234"),
            ("From", "+14158675309"),
            ("To", "+18005551212"),
        ];
        let fields: BTreeSet<_> = fields
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let url = "https://mycompany.com/myapp.php?foo=1&bar=2";
        let shown = BASE64.decode(b"RSOYDt4T1cUTdK1PDd93/VVr8B8=").unwrap();
        assert!(fits(&Secret::new("12345"), url, &fields, &shown));
        assert!(!fits(&Secret::new("12346"), url, &fields, &shown));
        assert!(!fits(&Secret::new("12345"), &url[..40], &fields, &shown));
    }

    #[test]
    fn what_was_seen_is_remembered_up_to_a_bound() {
        let mut seen = Seen::default();
        assert!(seen.note("first".to_owned()));
        assert!(!seen.note("first".to_owned()));
        for n in 0..REMEMBERED {
            assert!(seen.note(n.to_string()));
        }
        assert_eq!(seen.known.len(), REMEMBERED);
        assert!(seen.note("first".to_owned()));
    }
}
