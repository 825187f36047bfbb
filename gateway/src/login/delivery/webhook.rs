//! Any other provider, through a service of one's own that takes signed JSON. The format is
//! described in `docs/sms-webhook.md`.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use data_encoding::HEXLOWER;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;

use super::wire::Wire;
use super::{CarrierError, SendError, Sender, answer};
use crate::clock::{SharedClock, Timestamp};
use crate::config;
use crate::directory::PhoneNumber;
use crate::secret::{self, Secret};

const SIGNATURE: HeaderName = HeaderName::from_static("portvakt-signature");

/// A service that takes signed JSON.
pub struct Webhook {
    name: String,
    wire: Wire,
    secret: Secret,
    clock: SharedClock,
}

impl Webhook {
    /// The service as configured; `name` is for metrics.
    ///
    /// # Errors
    ///
    /// [`CarrierError`] if no connection can be had by these settings.
    pub fn new(
        name: String,
        settings: &config::Webhook,
        clock: SharedClock,
    ) -> Result<Self, CarrierError> {
        Ok(Self {
            wire: Wire::new(&settings.url, settings.ca.as_deref())?,
            secret: settings.secret.clone(),
            clock,
            name,
        })
    }

    /// `t=SECONDS,v1=HEX`: HMAC-SHA-256 over the seconds, a full stop and the body.
    fn signature(&self, now: Timestamp, body: &[u8]) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.secret.expose());
        let mut context = hmac::Context::with_key(&key);
        context.update(now.as_secs().to_string().as_bytes());
        context.update(b".");
        context.update(body);
        let tag = HEXLOWER.encode(context.sign().as_ref());
        format!("t={},v1={tag}", now.as_secs())
    }
}

#[derive(Serialize)]
struct Post<'a> {
    to: &'a str,
    text: &'a str,
    id: String,
}

#[async_trait]
impl Sender for Webhook {
    fn name(&self) -> &str {
        &self.name
    }

    async fn send(&self, to: &PhoneNumber, text: &str) -> Result<(), SendError> {
        let post = Post {
            to: to.as_e164(),
            text,
            id: HEXLOWER.encode(&secret::random::<16>()),
        };
        let unfit = |reason: String| SendError::Unsent {
            reason,
            pause: None,
        };
        let body = serde_json::to_vec(&post).map_err(|error| unfit(error.to_string()))?;
        let signature = self.signature(self.clock.now(), &body);
        let signature =
            HeaderValue::try_from(signature).map_err(|error| unfit(error.to_string()))?;
        let headers = HeaderMap::from_iter([
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/json"),
            ),
            (SIGNATURE, signature),
        ]);
        let answer = self.wire.post("", headers, body.into()).await?;
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::UNPROCESSABLE_ENTITY => Err(SendError::Never(
                "the webhook refused it for good".to_owned(),
            )),
            status => {
                let now = self.clock.now();
                Err(answer::failure(status, &answer.headers, now, ""))
            }
        }
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("name", &self.name)
            .field("wire", &self.wire)
            .finish_non_exhaustive()
    }
}
