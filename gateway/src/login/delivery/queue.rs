//! The queue before the providers: whoever asks for a message never waits for it, and a provider
//! that fails, throttles or does not answer changes only what the metrics show.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{Stream, StreamExt, stream};
use prometheus::IntGauge;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::{Mailer, SendError, Sender};
use crate::clock::SharedClock;
use crate::directory::PhoneNumber;
use crate::metrics::Metrics;
use crate::principal::EmailAddress;
use crate::secret::Secret;

/// Messages that are with a provider at once.
const AT_ONCE: usize = 16;

/// Mails that may wait for the mail server.
const MAILS: usize = 1_000;

/// The way out for messages.
#[derive(Clone, Debug)]
pub(in crate::login) struct Delivery {
    queue: mpsc::Sender<Outgoing>,
    desk: Arc<Desk>,
}

/// How much waits, and how long.
#[derive(Clone, Copy, Debug)]
pub(in crate::login) struct Patience {
    /// Messages that may wait; further ones are dropped.
    pub(in crate::login) queue: usize,
    /// How long a message is worth anything: a code's life.
    pub(in crate::login) lifetime: Duration,
}

struct Desk {
    providers: Vec<Provider>,
    patience: Patience,
    clock: SharedClock,
    metrics: Metrics,
}

struct Outgoing {
    to: PhoneNumber,
    text: Secret,
    expires: Instant,
    _place: Place,
}

/// A place in the queue: counted while it is held.
struct Place(IntGauge);

impl Place {
    fn take(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl Delivery {
    /// Starts the task that hands messages to the providers, in the order in which they are tried,
    /// on the runtime that this is called in.
    pub(in crate::login) fn start(
        senders: Vec<Arc<dyn Sender>>,
        patience: Patience,
        clock: SharedClock,
        metrics: Metrics,
    ) -> Self {
        let (queue, waiting) = mpsc::channel(patience.queue.max(1));
        let desk = Arc::new(Desk {
            providers: senders.into_iter().map(Provider::new).collect(),
            patience,
            clock,
            metrics,
        });
        let working = Arc::clone(&desk);
        tokio::spawn(async move {
            let deliver = async |message: Outgoing| working.deliver(&message).await;
            let at_once = patience.queue.clamp(1, AT_ONCE);
            received(waiting)
                .for_each_concurrent(at_once, deliver)
                .await;
        });
        Self { queue, desk }
    }

    /// Queues a message, and never waits: the one who asked for it must not learn whether there
    /// was one.
    pub(in crate::login) fn post(&self, to: PhoneNumber, text: Secret) {
        let message = Outgoing {
            to,
            text,
            expires: Instant::now() + self.desk.patience.lifetime,
            _place: Place::take(&self.desk.metrics.sms_queue),
        };
        if self.queue.try_send(message).is_err() {
            tracing::error!("a message was dropped: too many wait for the provider");
            self.desk.count_first("dropped");
        }
    }

    /// Messages that wait for a provider or are with one.
    pub(in crate::login) fn waiting(&self) -> u64 {
        u64::try_from(self.desk.metrics.sms_queue.get()).unwrap_or(0)
    }

    /// Counts messages that nobody will send any more.
    pub(in crate::login) fn give_up(&self, messages: u64) {
        for _ in 0..messages {
            self.desk.count_first("dropped");
        }
    }
}

impl Desk {
    /// Tries the providers in turn. Each gets the message once at most, except one that said "not
    /// now": it is asked again after the pause that it named, while the message is worth anything.
    async fn deliver(&self, message: &Outgoing) {
        let mut open: Vec<&Provider> = self.providers.iter().collect();
        loop {
            if Instant::now() >= message.expires {
                tracing::error!("a message was given up: its code has expired");
                self.count_first("expired");
                return;
            }
            let mut later = Vec::new();
            for provider in open {
                if provider.paused_until() > Some(Instant::now()) {
                    later.push(provider);
                    continue;
                }
                match self.hand_over(provider, message).await {
                    Handed::Done => return,
                    Handed::NotNow => later.push(provider),
                    Handed::Failed => {}
                }
            }
            let Some(next) = later.iter().filter_map(|it| it.paused_until()).min() else {
                return;
            };
            tokio::time::sleep_until(next.min(message.expires)).await;
            open = later;
        }
    }

    async fn hand_over(&self, provider: &Provider, message: &Outgoing) -> Handed {
        let text = message.text.expose_text().unwrap_or_default();
        let name = provider.sender.name();
        let (result, handed) = match provider.sender.send(&message.to, text).await {
            Ok(()) => ("sent", Handed::Done),
            Err(error) => {
                tracing::error!(%error, provider = name, "a message was not sent");
                match error {
                    SendError::Unsent {
                        pause: Some(pause), ..
                    } => {
                        self.pause(provider, pause);
                        ("throttled", Handed::NotNow)
                    }
                    SendError::Unsent { pause: None, .. } => ("failed", Handed::Failed),
                    SendError::Never(_) => ("refused", Handed::Done),
                    SendError::Unknown(_) => ("unknown", Handed::Done),
                }
            }
        };
        self.count(name, result);
        handed
    }

    fn pause(&self, provider: &Provider, pause: Duration) {
        let until = self.clock.now().plus(pause).as_secs();
        self.metrics
            .sms_paused_until
            .with_label_values(&[provider.sender.name()])
            .set(i64::try_from(until).unwrap_or(i64::MAX));
        provider.pause_until(Instant::now() + pause);
    }

    fn count(&self, provider: &str, result: &str) {
        self.metrics
            .codes_sent
            .with_label_values(&[provider, result])
            .inc();
    }

    /// Counts what no provider in particular is to blame for under the first.
    fn count_first(&self, result: &str) {
        let first = self.providers.first();
        self.count(first.map_or("none", |first| first.sender.name()), result);
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk")
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What became of a message at one provider.
enum Handed {
    /// It was sent, may have been, or must not be.
    Done,
    /// It certainly was not sent, and may be tried here again after a while.
    NotNow,
    /// It certainly was not sent.
    Failed,
}

struct Provider {
    sender: Arc<dyn Sender>,
    paused_until: Mutex<Option<Instant>>,
}

impl Provider {
    fn new(sender: Arc<dyn Sender>) -> Self {
        Self {
            sender,
            paused_until: Mutex::default(),
        }
    }

    fn paused_until(&self) -> Option<Instant> {
        *self
            .paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn pause_until(&self, until: Instant) {
        let mut own = self
            .paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *own = own.max(Some(until));
    }
}

/// What comes out of a queue, until nobody can put anything into it.
fn received<T>(waiting: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold(waiting, async |mut waiting| {
        waiting.recv().await.map(|message| (message, waiting))
    })
}

/// A queue before a mail server, for the same reasons: `Ok` means that the mail waits in it.
#[derive(Debug)]
pub(in crate::login) struct QueuedMailer {
    queue: mpsc::Sender<OutgoingMail>,
    /// One more than mails that wait for the server or are with it.
    waiting: Arc<()>,
    metrics: Metrics,
}

#[derive(Debug)]
struct OutgoingMail {
    to: EmailAddress,
    subject: String,
    text: Secret,
    _place: Arc<()>,
}

impl QueuedMailer {
    /// Starts the task that hands mails to the server, on the runtime that this is called in.
    pub(in crate::login) fn start(mailer: Arc<dyn Mailer>, metrics: Metrics) -> Self {
        let (queue, waiting) = mpsc::channel(MAILS);
        let own = Self {
            queue,
            waiting: Arc::new(()),
            metrics: metrics.clone(),
        };
        tokio::spawn(async move {
            let deliver = async |mail: OutgoingMail| {
                let text = mail.text.expose_text().unwrap_or_default();
                let result = match mailer.send(&mail.to, &mail.subject, text).await {
                    Ok(()) => "sent",
                    Err(error) => {
                        tracing::error!(%error, "a mail was not sent");
                        match error {
                            SendError::Unsent { .. } => "failed",
                            SendError::Never(_) => "refused",
                            SendError::Unknown(_) => "unknown",
                        }
                    }
                };
                metrics.mails_sent.with_label_values(&[result]).inc();
            };
            received(waiting)
                .for_each_concurrent(AT_ONCE, deliver)
                .await;
        });
        own
    }

    /// Mails that wait for the server or are with it.
    pub(in crate::login) fn waiting(&self) -> u64 {
        let held = Arc::strong_count(&self.waiting) - 1;
        u64::try_from(held).unwrap_or(u64::MAX)
    }

    /// Counts mails that nobody will send any more.
    pub(in crate::login) fn give_up(&self, mails: u64) {
        let dropped = self.metrics.mails_sent.with_label_values(&["dropped"]);
        dropped.inc_by(mails);
    }
}

#[async_trait]
impl Mailer for QueuedMailer {
    async fn send(&self, to: &EmailAddress, subject: &str, text: &str) -> Result<(), SendError> {
        let mail = OutgoingMail {
            to: to.clone(),
            subject: subject.to_owned(),
            text: Secret::new(text),
            _place: Arc::clone(&self.waiting),
        };
        self.queue.try_send(mail).map_err(|_| {
            self.give_up(1);
            SendError::Unsent {
                reason: "too many mails wait for the mail server".to_owned(),
                pause: None,
            }
        })
    }
}
