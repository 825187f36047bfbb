//! The queue against providers that say whatever the test wants; its time is the test's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::*;
use crate::clock::{ManualClock, Timestamp};
use crate::metrics::Metrics;
use crate::principal::EmailAddress;
use crate::secret::Secret;

/// A provider that follows a script, and then takes everything.
#[derive(Debug)]
struct Scripted {
    name: &'static str,
    script: Mutex<VecDeque<Result<(), SendError>>>,
    asked: Mutex<Vec<(Duration, String)>>,
    started: Instant,
    takes: Duration,
}

impl Scripted {
    fn new(name: &'static str, script: impl Into<VecDeque<Result<(), SendError>>>) -> Arc<Self> {
        Self::slow(name, script, Duration::ZERO)
    }

    fn slow(
        name: &'static str,
        script: impl Into<VecDeque<Result<(), SendError>>>,
        takes: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            name,
            script: Mutex::new(script.into()),
            asked: Mutex::default(),
            started: Instant::now(),
            takes,
        })
    }

    /// When it was asked, in whole seconds since the start, and for what.
    fn asked(&self) -> Vec<(u64, String)> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .map(|(at, text)| (at.as_secs(), text.clone()))
            .collect()
    }
}

#[async_trait]
impl Sender for Scripted {
    fn name(&self) -> &str {
        self.name
    }

    async fn send(&self, _: &PhoneNumber, text: &str) -> Result<(), SendError> {
        let at = self.started.elapsed();
        self.asked.lock().unwrap().push((at, text.to_owned()));
        tokio::time::sleep(self.takes).await;
        self.script.lock().unwrap().pop_front().unwrap_or(Ok(()))
    }
}

fn failed() -> Result<(), SendError> {
    Err(SendError::Unsent {
        reason: "down".to_owned(),
        pause: None,
    })
}

fn throttled(seconds: u64) -> Result<(), SendError> {
    Err(SendError::Unsent {
        reason: "too many".to_owned(),
        pause: Some(Duration::from_secs(seconds)),
    })
}

/// A queue before some providers.
struct Bench {
    delivery: Delivery,
    metrics: Metrics,
}

impl Bench {
    fn new(providers: &[&Arc<Scripted>], queue: usize) -> Self {
        let senders = providers.iter().map(|it| Arc::clone(it) as _).collect();
        let metrics = Metrics::new().unwrap();
        let clock = ManualClock::at(Timestamp::from_millis(1_795_515_607_123));
        let patience = Patience {
            queue,
            lifetime: Duration::from_secs(300),
        };
        Self {
            delivery: Delivery::start(senders, patience, Arc::new(clock), metrics.clone()),
            metrics,
        }
    }

    fn post(&self, text: &str) {
        let to = PhoneNumber::parse("+4790000001").unwrap();
        self.delivery.post(to, Secret::new(text));
    }

    async fn settle(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn counted(&self, provider: &str, result: &str) -> u64 {
        self.metrics
            .codes_sent
            .with_label_values(&[provider, result])
            .get()
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_is_tried_only_after_a_definite_failure() {
    let never = || Err(SendError::Never("no such number".to_owned()));
    let unknown = || Err(SendError::Unknown("no answer".to_owned()));
    for (said, result, next) in [
        (Ok(()), "sent", 0),
        (failed(), "failed", 1),
        (throttled(60), "throttled", 1),
        (never(), "refused", 0),
        (unknown(), "unknown", 0),
    ] {
        let (first, second) = (Scripted::new("a", [said]), Scripted::new("b", []));
        let bench = Bench::new(&[&first, &second], 10);
        bench.post("1234");
        bench.settle(200).await;
        assert_eq!(first.asked().len(), 1, "{result}");
        assert_eq!(second.asked().len(), next, "{result}");
        assert_eq!(bench.counted("a", result), 1, "{result}");
        assert_eq!(bench.counted("b", "sent"), next as u64, "{result}");
        assert_eq!(bench.metrics.sms_queue.get(), 0, "{result}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_provider_is_asked_twice_for_what_it_failed_at() {
    let (first, second) = (
        Scripted::new("a", [throttled(10)]),
        Scripted::new("b", [failed()]),
    );
    let bench = Bench::new(&[&first, &second], 10);
    bench.post("1234");
    bench.settle(200).await;
    let text = "1234".to_owned();
    assert_eq!(first.asked(), [(0, text.clone()), (10, text.clone())]);
    assert_eq!(second.asked(), [(0, text)]);
    assert_eq!(bench.counted("a", "sent"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_says_not_now_is_left_alone_until_then() {
    let only = Scripted::new("a", [throttled(30)]);
    let bench = Bench::new(&[&only], 10);
    bench.post("first");
    bench.settle(1).await;
    bench.post("second");
    bench.settle(1).await;
    assert_eq!(only.asked().len(), 1);
    assert_eq!(bench.metrics.sms_queue.get(), 2);
    assert_eq!(
        bench
            .metrics
            .sms_paused_until
            .with_label_values(&["a"])
            .get(),
        1_795_515_637
    );
    bench.settle(30).await;
    let mut later = only.asked().split_off(1);
    later.sort();
    assert_eq!(later, [(30, "first".to_owned()), (30, "second".to_owned())]);
    assert_eq!(bench.metrics.sms_queue.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_waits_longer_than_its_code_lives_is_given_up() {
    let only = Scripted::new("a", [throttled(299), throttled(299)]);
    let bench = Bench::new(&[&only], 10);
    bench.post("1234");
    bench.settle(1_000).await;
    assert_eq!(only.asked().len(), 2);
    assert_eq!(bench.counted("a", "expired"), 1);
    assert_eq!(bench.metrics.sms_queue.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stuck_provider_holds_nobody_up_and_what_is_too_much_is_counted() {
    let stuck = Scripted::slow("a", [], Duration::from_secs(100));
    let bench = Bench::new(&[&stuck], 1_000);
    for n in 0..1_010 {
        bench.post(&n.to_string());
    }
    assert_eq!(stuck.started.elapsed(), Duration::ZERO);
    assert_eq!(bench.counted("a", "dropped"), 10);
    assert_eq!(bench.metrics.sms_queue.get(), 1_000);
    // What waits longer than its code lives is not sent any more.
    bench.settle(10_000).await;
    let sent = bench.counted("a", "sent");
    assert_eq!(sent, 48, "16 at once, three times in five minutes");
    assert_eq!(bench.counted("a", "expired"), 1_000 - sent);
    assert_eq!(stuck.asked().len(), 48);
}

/// A mail server that does not answer.
#[derive(Debug)]
struct Stuck;

#[async_trait]
impl Mailer for Stuck {
    async fn send(&self, _: &EmailAddress, _: &str, _: &str) -> Result<(), SendError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_stuck_mail_server_holds_nobody_up() {
    let metrics = Metrics::new().unwrap();
    let mailer = QueuedMailer::start(Arc::new(Stuck), metrics.clone());
    let to = EmailAddress::parse("kari@fjord.example").unwrap();
    let started = Instant::now();
    for n in 0..1_001 {
        let sent = mailer.send(&to, "Log in", "the link").await;
        assert_eq!(sent.is_err(), n >= 1_000, "{n}");
    }
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(metrics.mails_sent.with_label_values(&["dropped"]).get(), 1);
}

#[test]
fn providers_of_one_kind_have_names_of_their_own() {
    let mut carriers = Carriers {
        senders: vec![Scripted::new("twilio", []), Scripted::new("webhook", [])],
        mailer: None,
        outbox: None,
    };
    assert_eq!(carriers.name("twilio"), "twilio-2");
    carriers.senders.push(Scripted::new("twilio-2", []));
    assert_eq!(carriers.name("twilio"), "twilio-3");
    assert_eq!(carriers.name("webhook"), "webhook-2");
    carriers.senders.clear();
    assert_eq!(carriers.name("twilio"), "twilio");
}
