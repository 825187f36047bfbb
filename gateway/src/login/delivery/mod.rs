//! How codes and links travel: one trait for every provider, and a queue before it, so that a
//! page's time and text never depend on the provider's.

mod answer;
mod mailer;
mod outbox;
mod queue;
mod receipts;
mod smtp;
#[cfg(test)]
mod tests;
mod twilio;
mod webhook;
mod wire;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::clock::SharedClock;
use crate::config::{Config, SmsProvider};
use crate::directory::PhoneNumber;

pub use mailer::Mailer;
pub use outbox::{Message, Outbox, OutboxMailer};
pub use smtp::SmtpMailer;
pub use twilio::Twilio;
pub use webhook::Webhook;

pub(super) use queue::{Delivery, Patience, QueuedMailer};
pub(super) use receipts::{PATH as RECEIPTS, Receipt, Receipts};

/// Why a message was not sent, and what that allows. The texts hold nothing of the message and no
/// credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// It certainly was not sent: another provider may try.
    #[error("the message was not sent: {reason}")]
    Unsent {
        /// What happened.
        reason: String,
        /// How long the provider wants to be left alone.
        pause: Option<Duration>,
    },
    /// It was not sent and must not be tried again: the number is at fault, or its owner said no.
    #[error("the message is not to be sent: {0}")]
    Never(String),
    /// It may have been sent: nobody may try again.
    #[error("the message may have been sent: {0}")]
    Unknown(String),
}

/// Someone who takes messages to telephones.
#[async_trait]
pub trait Sender: Send + Sync + fmt::Debug {
    /// The provider's name, for metrics.
    fn name(&self) -> &str;

    /// Sends a text. `Ok` means that the provider has taken it over.
    ///
    /// # Errors
    ///
    /// [`SendError`], whose text holds nothing of the message.
    async fn send(&self, to: &PhoneNumber, text: &str) -> Result<(), SendError>;
}

/// Why a provider or mail server cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// No connection can be made to what the URL names.
    #[error("`{0}` is nothing to connect to")]
    Url(String),
    /// No mail comes from such an address.
    #[error("`{0}` is no address for mails to come from")]
    From(String),
    /// This machine trusts nobody.
    #[error(
        "this machine has no certificates of authorities to know a provider by; install `ca-certificates`, or name a file with `ca`"
    )]
    NoAuthorities,
    /// The file with the authority's certificate cannot be used.
    #[error("cannot use the authority in `{0}`: {1}")]
    Authority(PathBuf, String),
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// Who takes messages and mails, as configured.
#[derive(Clone, Debug)]
pub struct Carriers {
    /// Who takes messages, in the order in which they are tried; at least one.
    pub senders: Vec<Arc<dyn Sender>>,
    /// Who takes mails: the mail server, or the outbox where there is one.
    pub mailer: Option<Arc<dyn Mailer>>,
    /// The outbox, if it is one of them.
    pub outbox: Option<Arc<Outbox>>,
}

impl Carriers {
    /// What `[sms]` and `[mail]` ask for; connects to nothing yet.
    ///
    /// # Errors
    ///
    /// [`CarrierError`] for the first that cannot be used.
    pub fn new(config: &Config, clock: &SharedClock) -> Result<Self, CarrierError> {
        let mut carriers = Self {
            senders: Vec::new(),
            mailer: None,
            outbox: None,
        };
        let callback = receipts::url(config);
        for provider in &config.sms.providers {
            let clock = Arc::clone(clock);
            let sender: Arc<dyn Sender> = match provider {
                SmsProvider::Outbox => {
                    let outbox = carriers
                        .outbox
                        .get_or_insert_with(|| Arc::new(Outbox::new(clock)));
                    Arc::clone(outbox) as _
                }
                SmsProvider::Twilio(settings) => {
                    let name = carriers.name("twilio");
                    Arc::new(Twilio::new(name, settings, &callback, clock)?)
                }
                SmsProvider::Webhook(settings) => {
                    let name = carriers.name("webhook");
                    Arc::new(Webhook::new(name, settings, clock)?)
                }
            };
            carriers.senders.push(sender);
        }
        carriers.mailer = match (&config.mail, &carriers.outbox) {
            (Some(mail), _) => Some(Arc::new(SmtpMailer::new(mail)?)),
            (None, Some(outbox)) => Some(Arc::new(OutboxMailer::new(Arc::clone(outbox)))),
            (None, None) => None,
        };
        Ok(carriers)
    }

    /// A name for the next provider of a kind: `twilio`, `twilio-2` …
    fn name(&self, kind: &str) -> String {
        let same = |sender: &&Arc<dyn Sender>| {
            let name = sender.name();
            name.strip_prefix(kind)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        match self.senders.iter().filter(same).count() {
            0 => kind.to_owned(),
            before => format!("{kind}-{}", before + 1),
        }
    }
}
