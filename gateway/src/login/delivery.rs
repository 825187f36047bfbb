//! How a code travels: one trait for every provider, and a queue before it, so that a page's time
//! and text never depend on the provider's.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::clock::SharedClock;
use crate::directory::PhoneNumber;
use crate::metrics::Metrics;
use crate::secret::Secret;

/// Messages that may wait for the provider; further ones are dropped and counted.
const QUEUE: usize = 1_000;

/// Messages that are with the provider at once.
const AT_ONCE: usize = 16;

/// Messages that the outbox keeps: the oldest goes.
const KEPT: usize = 1_000;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
#[error("the message was not sent: {0}")]
pub struct SendError(pub String);

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

/// A message that was "sent".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The number, in E.164.
    pub to: String,
    /// The text.
    pub text: String,
    /// When, as RFC 3339.
    pub at: String,
}

/// A provider for development, that prints messages and keeps the last 1,000.
#[derive(Debug)]
pub struct Outbox {
    clock: SharedClock,
    kept: Mutex<VecDeque<Message>>,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub fn new(clock: SharedClock) -> Self {
        Self {
            clock,
            kept: Mutex::default(),
        }
    }

    /// What was sent, the newest last.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().cloned().collect()
    }
}

#[async_trait]
impl Sender for Outbox {
    fn name(&self) -> &'static str {
        "outbox"
    }

    async fn send(&self, to: &PhoneNumber, text: &str) -> Result<(), SendError> {
        let message = Message {
            to: to.as_e164().to_owned(),
            text: text.to_owned(),
            at: self.clock.now().rfc3339(),
        };
        // Nobody may be reading; the message is kept all the same.
        let _ = writeln!(io::stdout(), "SMS to {}:\n{}\n", message.to, message.text);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(message);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, Timestamp};

    fn outbox() -> Arc<Outbox> {
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(1_795_515_607_123)));
        Arc::new(Outbox::new(clock))
    }

    #[tokio::test]
    async fn the_outbox_keeps_the_newest_last_and_forgets_the_oldest() {
        let outbox = outbox();
        let to = PhoneNumber::parse("+4790000001").unwrap();
        for n in 0..=KEPT {
            outbox.send(&to, &n.to_string()).await.unwrap();
        }
        let messages = outbox.messages();
        assert_eq!(messages.len(), KEPT);
        assert_eq!(messages[0].text, "1");
        assert_eq!(
            serde_json::to_value(messages.last().unwrap()).unwrap(),
            serde_json::json!({
                "to": "+4790000001", "text": "1000", "at": "2026-11-24T10:20:07.123Z"
            })
        );
    }

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
