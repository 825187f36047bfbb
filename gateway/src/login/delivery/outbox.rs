//! The provider for development: it prints what is sent, and keeps it to be looked at.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use serde::Serialize;

use super::{Mailer, SendError, Sender};
use crate::clock::SharedClock;
use crate::directory::PhoneNumber;
use crate::principal::EmailAddress;

/// Messages that the outbox keeps: the oldest goes.
const KEPT: usize = 1_000;

/// A message that was "sent".
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// The number, in E.164, or the e-mail address.
    pub to: String,
    /// A mail's subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
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

    fn keep(&self, kind: &str, to: &str, subject: Option<&str>, text: &str) {
        let message = Message {
            to: to.to_owned(),
            subject: subject.map(str::to_owned),
            text: text.to_owned(),
            at: self.clock.now().rfc3339(),
        };
        // Nobody may be reading; the message is kept all the same.
        let _ = writeln!(io::stdout(), "{kind} to {to}:\n{text}\n");
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(message);
    }
}

#[async_trait]
impl Sender for Outbox {
    fn name(&self) -> &str {
        "outbox"
    }

    async fn send(&self, to: &PhoneNumber, text: &str) -> Result<(), SendError> {
        self.keep("SMS", to.as_e164(), None, text);
        Ok(())
    }
}

/// Mails for development: they lie in the outbox beside the text messages.
#[derive(Debug)]
pub struct OutboxMailer(Arc<Outbox>);

impl OutboxMailer {
    /// Puts mails into this outbox.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>) -> Self {
        Self(outbox)
    }
}

#[async_trait]
impl Mailer for OutboxMailer {
    async fn send(&self, to: &EmailAddress, subject: &str, text: &str) -> Result<(), SendError> {
        self.0.keep("Mail", to.as_str(), Some(subject), text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

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
            json!({ "to": "+4790000001", "text": "1000", "at": "2026-11-24T10:20:07.123Z" })
        );
    }

    #[tokio::test]
    async fn mails_lie_beside_text_messages() {
        let outbox = outbox();
        let mailer = OutboxMailer::new(Arc::clone(&outbox));
        let to = EmailAddress::parse("kari@fjord.example").unwrap();
        mailer.send(&to, "Log in", "the link").await.unwrap();
        assert_eq!(
            serde_json::to_value(outbox.messages()).unwrap(),
            json!([{
                "to": "kari@fjord.example", "subject": "Log in", "text": "the link",
                "at": "2026-11-24T10:20:07.123Z"
            }])
        );
    }
}
