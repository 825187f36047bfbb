//! How mails travel: one trait, whatever takes them.

use std::fmt;

use async_trait::async_trait;

use super::SendError;
use crate::principal::EmailAddress;

/// Someone who takes mails to people.
#[async_trait]
pub trait Mailer: Send + Sync + fmt::Debug {
    /// Sends a mail of plain text. `Ok` means that the mail server has taken it over.
    ///
    /// # Errors
    ///
    /// [`SendError`], whose text holds nothing of the mail.
    async fn send(&self, to: &EmailAddress, subject: &str, text: &str) -> Result<(), SendError>;
}
