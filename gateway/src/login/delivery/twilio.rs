//! Twilio, by its Messages API (<https://www.twilio.com/docs/messaging/api/message-resource>).

use std::fmt;

use async_trait::async_trait;
use data_encoding::BASE64;
use form_urlencoded::Serializer;
use http::header::{self, HeaderMap, HeaderValue};
use serde::Deserialize;

use super::wire::{Answer, Wire};
use super::{CarrierError, SendError, Sender, answer};
use crate::clock::SharedClock;
use crate::config::{self, TwilioFrom};
use crate::directory::PhoneNumber;

/// Error codes that are about the number or its owner, so that no other provider may try: no valid
/// number, a country that the account does not send to, an owner who said stop, no mobile number;
/// unreachable, blocked, unknown or land-line handsets, messages filtered or failed for good.
const NEVER: [u32; 10] = [
    21211, 21408, 21610, 21614, 30003, 30004, 30005, 30006, 30007, 30008,
];

/// An account at Twilio.
pub struct Twilio {
    name: String,
    wire: Wire,
    path: String,
    authorization: HeaderValue,
    from: TwilioFrom,
    status_callback: Option<String>,
    clock: SharedClock,
}

impl Twilio {
    /// The account as configured. `name` is for metrics, `callback` the URL that receipts come to.
    ///
    /// # Errors
    ///
    /// [`CarrierError`] if no connection can be had by these settings.
    pub fn new(
        name: String,
        settings: &config::Twilio,
        callback: &str,
        clock: SharedClock,
    ) -> Result<Self, CarrierError> {
        Ok(Self {
            wire: Wire::new(&settings.base_url, None)?,
            path: format!(
                "/2010-04-01/Accounts/{}/Messages.json",
                settings.account_sid
            ),
            authorization: basic(settings)?,
            from: settings.from.clone(),
            status_callback: settings.status_callback.then(|| callback.to_owned()),
            clock,
            name,
        })
    }

    fn form(&self, to: &PhoneNumber, text: &str) -> String {
        let mut form = Serializer::new(String::new());
        form.append_pair("To", to.as_e164());
        match &self.from {
            TwilioFrom::Sender(sender) => form.append_pair("From", sender),
            TwilioFrom::Service(sid) => form.append_pair("MessagingServiceSid", sid),
        };
        form.append_pair("Body", text);
        if let Some(url) = &self.status_callback {
            form.append_pair("StatusCallback", url);
        }
        form.finish()
    }

    fn judge(&self, answer: &Answer) -> Result<(), SendError> {
        if answer.status.is_success() {
            return created(&answer.body);
        }
        // Its `message` may hold the number: only the code goes into the log.
        let code = serde_json::from_slice::<Problem>(&answer.body)
            .ok()
            .and_then(|problem| problem.code);
        if let Some(code) = code.filter(|code| NEVER.contains(code)) {
            return Err(SendError::Never(format!("Twilio's code {code}")));
        }
        let detail = code.map_or_else(String::new, |code| format!(", Twilio's code {code}"));
        let now = self.clock.now();
        Err(answer::failure(
            answer.status,
            &answer.headers,
            now,
            &detail,
        ))
    }
}

#[async_trait]
impl Sender for Twilio {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, to: &PhoneNumber, text: &str) -> Result<(), SendError> {
        let fields = [
            (header::AUTHORIZATION, self.authorization.clone()),
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/x-www-form-urlencoded"),
            ),
            (header::ACCEPT, HeaderValue::from_static("application/json")),
        ];
        let headers = HeaderMap::from_iter(fields);
        let form = self.form(to, text).into();
        self.judge(&self.wire.post(&self.path, headers, form).await?)
    }
}

impl fmt::Debug for Twilio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Twilio")
            .field("name", &self.name)
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}

/// What a message looks like once Twilio has it.
#[derive(Deserialize)]
struct Created {
    sid: String,
    status: String,
    error_code: Option<u32>,
}

/// What an error looks like.
#[derive(Deserialize)]
struct Problem {
    code: Option<u32>,
}

fn created(body: &[u8]) -> Result<(), SendError> {
    let Ok(message) = serde_json::from_slice::<Created>(body) else {
        return Err(SendError::Unknown(
            "a success without a message in it".to_owned(),
        ));
    };
    let failed = matches!(
        message.status.as_str(),
        "failed" | "undelivered" | "canceled"
    );
    match message.error_code {
        Some(code) if failed && NEVER.contains(&code) => {
            Err(SendError::Never(format!("Twilio's code {code}")))
        }
        _ if failed => Err(SendError::Unsent {
            reason: format!(
                "the message {} failed at once, Twilio's code {:?}",
                message.sid, message.error_code
            ),
            pause: None,
        }),
        _ => Ok(()),
    }
}

/// Basic authentication (RFC 7617).
fn basic(settings: &config::Twilio) -> Result<HeaderValue, CarrierError> {
    let mut pair = settings.user.expose().to_vec();
    pair.push(b':');
    pair.extend_from_slice(settings.password.expose());
    let text = format!("Basic {}", BASE64.encode(&pair));
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| CarrierError::Url(settings.base_url.origin.origin()))?;
    value.set_sensitive(true);
    Ok(value)
}
