//! Mails by SMTP, to the mail server of the configuration.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use data_encoding::HEXLOWER;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};

use super::{CarrierError, Mailer, SendError};
use crate::config::{self, MailTls};
use crate::principal::EmailAddress;
use crate::secret;

/// For each answer of the server.
const ANSWER: Duration = Duration::from_secs(10);

/// For all of it.
const WHOLE: Duration = Duration::from_secs(30);

/// A mail server.
pub struct SmtpMailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
}

impl SmtpMailer {
    /// The server as configured; each mail goes over a connection of its own.
    ///
    /// # Errors
    ///
    /// [`CarrierError`] if no connection can be had by these settings.
    pub fn new(settings: &config::Mail) -> Result<Self, CarrierError> {
        let tls = match settings.tls {
            MailTls::None => Tls::None,
            MailTls::StartTls => Tls::Required(tls_parameters(settings)?),
            MailTls::Tls => Tls::Wrapper(tls_parameters(settings)?),
        };
        let mut builder =
            AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(settings.host.as_str())
                .port(settings.port)
                .tls(tls)
                .timeout(Some(ANSWER));
        if let Some((user, password)) = &settings.login {
            let password = password.expose_text().unwrap_or_default().to_owned();
            builder = builder.credentials(Credentials::new(user.clone(), password));
        }
        let from = settings.from.as_str().parse();
        Ok(Self {
            transport: builder.build(),
            from: from.map_err(|_| CarrierError::From(settings.from.to_string()))?,
        })
    }

    fn message(&self, to: &EmailAddress, subject: &str, text: &str) -> Result<Message, SendError> {
        let to: Address = to
            .as_str()
            .parse()
            .map_err(|_| SendError::Never("no mail server takes such an address".to_owned()))?;
        let id = HEXLOWER.encode(&secret::random::<16>());
        Message::builder()
            .from(Mailbox::new(None, self.from.clone()))
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(format!("<{id}@{}>", self.from.domain())))
            // So that no holiday answer comes back (RFC 3834, section 5).
            .raw_header(HeaderValue::new(
                HeaderName::new_from_ascii_str("Auto-Submitted"),
                "auto-generated".to_owned(),
            ))
            .header(ContentType::TEXT_PLAIN)
            .body(text.to_owned())
            .map_err(|_| SendError::Never("the mail cannot be written".to_owned()))
    }
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, to: &EmailAddress, subject: &str, text: &str) -> Result<(), SendError> {
        let message = self.message(to, subject, text)?;
        match tokio::time::timeout(WHOLE, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(judged(&error)),
            Err(_) => Err(SendError::Unknown("no answer within 30 s".to_owned())),
        }
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailer").finish_non_exhaustive()
    }
}

/// The server's own words may hold the address: only its code goes into the log.
fn judged(error: &lettre::transport::smtp::Error) -> SendError {
    let reason = match (error.status(), error.is_tls()) {
        (Some(code), _) => format!("the mail server answered {code}"),
        (None, true) => "no TLS with the mail server".to_owned(),
        (None, false) => "the mail server cannot be reached, or broke off".to_owned(),
    };
    if error.is_timeout() {
        return SendError::Unknown("the mail server took too long".to_owned());
    }
    SendError::Unsent {
        reason,
        pause: None,
    }
}

fn tls_parameters(settings: &config::Mail) -> Result<TlsParameters, CarrierError> {
    let tls = |error: lettre::transport::smtp::Error| CarrierError::Tls(error.to_string());
    let builder = TlsParameters::builder(settings.host.clone());
    let Some(path) = &settings.ca else {
        return builder.build_rustls().map_err(tls);
    };
    let unfit = |reason: String| CarrierError::Authority(path.clone(), reason);
    let pem = std::fs::read(path).map_err(|error| unfit(error.to_string()))?;
    let authority = Certificate::from_pem(&pem).map_err(|error| unfit(error.to_string()))?;
    builder
        .certificate_store(lettre::transport::smtp::client::CertificateStore::None)
        .add_root_certificate(authority)
        .build_rustls()
        .map_err(tls)
}
