//! How a code travels: one trait for every provider, and a queue before it, so that a page's time
//! and text never depend on the provider's.

mod mailer;
mod outbox;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use tokio::sync::mpsc;

use crate::directory::PhoneNumber;
use crate::metrics::Metrics;
use crate::secret::Secret;

pub use mailer::Mailer;
pub use outbox::{Message, Outbox, OutboxMailer};

/// Messages that may wait for the provider; further ones are dropped and counted.
const QUEUE: usize = 1_000;

/// Messages that are with the provider at once.
const AT_ONCE: usize = 16;

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
    fn name(&self) -> &'static str;

    /// Sends a text. `Ok` means that the provider has taken it over.
    ///
    /// # Errors
    ///
    /// [`SendError`], whose text holds nothing of the message.
    async fn send(&self, to: &PhoneNumber, text: &str) -> Result<(), SendError>;
}

/// The way out for messages.
#[derive(Clone, Debug)]
pub(super) struct Delivery {
    queue: mpsc::Sender<Outgoing>,
    provider: &'static str,
    metrics: Metrics,
}

struct Outgoing {
    to: PhoneNumber,
    text: Secret,
}

impl Delivery {
    /// Starts the task that hands messages to the provider, on the runtime that this is called in.
    pub(super) fn start(sender: Arc<dyn Sender>, metrics: Metrics) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let delivery = Self {
            queue,
            provider: sender.name(),
            metrics: metrics.clone(),
        };
        tokio::spawn(deliver_all(waiting, sender, metrics));
        delivery
    }

    /// Queues a message, and never waits: the one who asked for it must not learn whether there
    /// was one.
    pub(super) fn post(&self, to: PhoneNumber, text: Secret) {
        if self.queue.try_send(Outgoing { to, text }).is_err() {
            tracing::error!("a code was dropped: too many messages wait for the provider");
            count(&self.metrics, self.provider, "dropped");
        }
    }
}

async fn deliver_all(waiting: mpsc::Receiver<Outgoing>, sender: Arc<dyn Sender>, metrics: Metrics) {
    let messages = stream::unfold(waiting, async |mut waiting| {
        waiting.recv().await.map(|message| (message, waiting))
    });
    let deliver = async |message: Outgoing| {
        let text = message.text.expose_text().unwrap_or_default();
        match sender.send(&message.to, text).await {
            Ok(()) => count(&metrics, sender.name(), "sent"),
            Err(error) => {
                tracing::error!(%error, provider = sender.name(), "a code was not sent");
                count(&metrics, sender.name(), "failed");
            }
        }
    };
    messages.for_each_concurrent(AT_ONCE, deliver).await;
}

fn count(metrics: &Metrics, provider: &str, result: &str) {
    metrics
        .codes_sent
        .with_label_values(&[provider, result])
        .inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A provider that takes for ever.
    #[derive(Debug)]
    struct Stuck;

    #[async_trait]
    impl Sender for Stuck {
        fn name(&self) -> &'static str {
            "stuck"
        }

        async fn send(&self, _: &PhoneNumber, _: &str) -> Result<(), SendError> {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_stuck_provider_holds_nobody_up_and_what_is_too_much_is_counted() {
        let metrics = Metrics::new().unwrap();
        let delivery = Delivery::start(Arc::new(Stuck), metrics.clone());
        let to = PhoneNumber::parse("+4790000001").unwrap();
        for _ in 0..QUEUE + 10 {
            delivery.post(to.clone(), Secret::new("1234"));
        }
        let dropped = metrics.codes_sent.with_label_values(&["stuck", "dropped"]);
        assert_eq!(dropped.get(), 10);
    }
}
