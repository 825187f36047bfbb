//! How messages travel: `[sms]` and `[mail]`.

use std::ops::Range;
use std::path::PathBuf;

use super::super::PublicUrl;
use super::super::messages::{
    HttpUrl, Mail, MailTls, Sms, SmsProvider, Twilio, TwilioFrom, Webhook,
};
use super::super::secret_ref::SecretRef;
use super::super::values::{self, is_loopback_host, nearest};
use super::super::written::{self, At, Hidden};
use super::Resolver;
use crate::principal::EmailAddress;
use crate::secret::Secret;

const KINDS: [&str; 3] = ["outbox", "twilio", "webhook"];

impl Resolver<'_> {
    pub(super) fn sms(&mut self, written: Option<&written::Sms>, url: &PublicUrl) -> Sms {
        let Some(sms) = written else {
            return Sms {
                providers: Vec::new(),
                queue: 1,
            };
        };
        for nested in &sms.fallback {
            let stray = nested.queue.as_ref().map(At::span);
            let deeper = nested.fallback.first().and_then(|it| it.kind.as_ref());
            if let Some(span) = stray.or(deeper.map(At::span)) {
                self.fault(
                    span,
                    "a fallback has no `queue` and no `fallback` of its own",
                    "one list, `sms.fallback`, has them all in their order",
                );
            }
        }
        let first = self.sms_provider("sms", sms, url);
        let mut providers: Vec<_> = first.into_iter().collect();
        for fallback in &sms.fallback {
            providers.extend(self.sms_provider("sms.fallback", fallback, url));
        }
        Sms {
            providers,
            queue: self.count("sms.queue", sms.queue.as_ref(), 1..=100_000, 1_000),
        }
    }

    fn sms_provider(
        &mut self,
        table: &str,
        sms: &written::Sms,
        url: &PublicUrl,
    ) -> Option<SmsProvider> {
        let at = sms.kind.as_ref()?;
        self.keys_of_another_kind(table, at, sms);
        match at.get().as_str() {
            "outbox" => {
                if !is_loopback_host(&url.host) {
                    self.fault(
                        at.span(),
                        format!(
                            "`{table}.kind` is `outbox`, but `public_url` is `{}`: anyone at the admin listener could read codes",
                            url.origin()
                        ),
                        "the outbox is for development: make `public_url` a `localhost` one, or send with `twilio` or `webhook`",
                    );
                }
                Some(SmsProvider::Outbox)
            }
            "twilio" => self.twilio(table, at, sms).map(SmsProvider::Twilio),
            "webhook" => self.webhook(table, at, sms).map(SmsProvider::Webhook),
            text => {
                let help = match nearest(text, KINDS) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("one of `{}`", KINDS.join("`, `")),
                };
                self.fault(
                    at.span(),
                    format!("`{table}.kind` is `{text}`, which is unknown"),
                    help,
                );
                None
            }
        }
    }

    /// A key that means nothing to the kind was meant for something.
    fn keys_of_another_kind(&mut self, table: &str, kind: &At<String>, sms: &written::Sms) {
        let keys: [(&str, &str, Option<Range<usize>>); 11] = [
            ("twilio", "account_sid", at(sms.account_sid.as_ref())),
            ("twilio", "api_key", hidden(sms.api_key.as_ref())),
            ("twilio", "api_secret", hidden(sms.api_secret.as_ref())),
            ("twilio", "auth_token", hidden(sms.auth_token.as_ref())),
            ("twilio", "from", at(sms.from.as_ref())),
            (
                "twilio",
                "messaging_service_sid",
                at(sms.messaging_service_sid.as_ref()),
            ),
            ("twilio", "base_url", at(sms.base_url.as_ref())),
            (
                "twilio",
                "status_callback",
                sms.status_callback.as_ref().map(At::span),
            ),
            ("webhook", "url", at(sms.url.as_ref())),
            ("webhook", "secret", hidden(sms.secret.as_ref())),
            ("webhook", "ca", at(sms.ca.as_ref())),
        ];
        for (of, key, span) in keys {
            if let Some(span) = span
                && KINDS.contains(&kind.get().as_str())
                && kind.get() != of
            {
                self.fault(
                    span,
                    format!("`{table}.{key}` means nothing to `{}`", kind.get()),
                    format!("it is a key of `kind = \"{of}\"`"),
                );
            }
        }
    }

    fn twilio(&mut self, table: &str, kind: &At<String>, sms: &written::Sms) -> Option<Twilio> {
        let account_sid = match &sms.account_sid {
            Some(at) => self.sid(&format!("{table}.account_sid"), at, "AC"),
            None => self.needed(table, kind, "account_sid"),
        };
        let auth_token = self.secret(&format!("{table}.auth_token"), sms.auth_token.as_ref());
        let api_key = self.secret(&format!("{table}.api_key"), sms.api_key.as_ref());
        let api_secret = self.secret(&format!("{table}.api_secret"), sms.api_secret.as_ref());
        let login = match (&sms.api_key, &sms.api_secret, &sms.auth_token) {
            (Some(_), Some(_), _) => api_key.zip(api_secret),
            (None, None, Some(_)) => account_sid
                .as_deref()
                .map(Secret::new)
                .zip(auth_token.clone()),
            (None, None, None) => {
                self.needed::<String>(table, kind, "api_key` and `api_secret`, or `auth_token");
                None
            }
            (Some(_), None, _) => self.needed(table, kind, "api_secret"),
            (None, Some(_), _) => self.needed(table, kind, "api_key"),
        };
        let status_callback = sms.status_callback.as_ref().is_none_or(|at| *at.get());
        if status_callback && sms.auth_token.is_none() {
            self.fault(
                sms.status_callback.as_ref().map_or(kind.span(), At::span),
                format!("`{table}` takes receipts, but has no `auth_token` to verify them by"),
                "give the account's `auth_token` by reference, or set `status_callback = false`",
            );
        }
        let from = self.twilio_from(table, kind, sms);
        let base_url = match &sms.base_url {
            Some(at) => self.http_url(&format!("{table}.base_url"), at),
            None => Some(HttpUrl {
                origin: PublicUrl {
                    scheme: "https".to_owned(),
                    host: "api.twilio.com".to_owned(),
                    port: None,
                },
                path: String::new(),
            }),
        };
        let (user, password) = login?;
        Some(Twilio {
            account_sid: account_sid?,
            user,
            password,
            auth_token,
            from: from?,
            base_url: base_url?,
            status_callback,
        })
    }

    fn twilio_from(
        &mut self,
        table: &str,
        kind: &At<String>,
        sms: &written::Sms,
    ) -> Option<TwilioFrom> {
        match (&sms.from, &sms.messaging_service_sid) {
            (None, None) => self.needed(table, kind, "from` or `messaging_service_sid"),
            (Some(_), Some(at)) => {
                self.fault(
                    at.span(),
                    format!("`{table}` has both `from` and `messaging_service_sid`"),
                    "a messaging service chooses the number itself: leave one out",
                );
                None
            }
            (None, Some(at)) => self
                .sid(&format!("{table}.messaging_service_sid"), at, "MG")
                .map(TwilioFrom::Service),
            (Some(at), None) if is_sender(at.get()) => {
                Some(TwilioFrom::Sender(at.get().to_owned()))
            }
            (Some(at), None) => {
                self.fault(
                    at.span(),
                    format!("`{table}.from` is `{}`, which nobody can send from", at.get()),
                    "a number such as `+4790000001`, a short code, or a name of at most 11 letters and digits",
                );
                None
            }
        }
    }

    fn webhook(&mut self, table: &str, kind: &At<String>, sms: &written::Sms) -> Option<Webhook> {
        let url = match &sms.url {
            Some(at) => self.http_url(&format!("{table}.url"), at),
            None => self.needed(table, kind, "url"),
        };
        let secret = match &sms.secret {
            Some(at) => self.secret(&format!("{table}.secret"), Some(at)),
            None => self.needed(table, kind, "secret"),
        };
        if let (Some(at), Some(secret)) = (&sms.secret, &secret)
            && secret.expose().len() < 16
        {
            self.fault(
                at.span(),
                format!("`{table}.secret` has less than 16 bytes: it can be guessed"),
                "`openssl rand -hex 32` makes one",
            );
        }
        Some(Webhook {
            ca: self.ca(&format!("{table}.ca"), sms.ca.as_ref()),
            url: url?,
            secret: secret?,
        })
    }

    pub(super) fn mail(&mut self, written: Option<&written::Mail>) -> Option<Mail> {
        let mail = written?;
        let tls = match mail.tls.as_ref().map(|at| (at, at.get().as_str())) {
            None | Some((_, "starttls")) => MailTls::StartTls,
            Some((_, "tls")) => MailTls::Tls,
            Some((_, "none")) => MailTls::None,
            Some((at, text)) => {
                self.fault(
                    at.span(),
                    format!("`mail.tls` is `{text}`, which is unknown"),
                    "one of `starttls`, `tls` and `none`",
                );
                MailTls::StartTls
            }
        };
        let host = mail.host.as_ref().and_then(|at| self.mail_host(at, tls));
        let port = match tls {
            MailTls::None => 25,
            MailTls::StartTls => 587,
            MailTls::Tls => 465,
        };
        let from = mail.from.as_ref().and_then(|at| {
            let parsed = EmailAddress::parse(at.get());
            if let Err(error) = &parsed {
                self.fault(
                    at.span(),
                    format!("`mail.from` is `{}`: {error}", at.get()),
                    "an address such as `no-reply@example.com`",
                );
            }
            parsed.ok()
        });
        let password = self.secret("mail.password", mail.password.as_ref());
        let login = match (&mail.user, &mail.password) {
            (Some(user), Some(_)) => password.map(|password| (user.get().to_owned(), password)),
            (None, None) => None,
            (user, password) => {
                let span = at(user.as_ref()).or(hidden(password.as_ref()));
                self.fault(
                    span.unwrap_or(0..0),
                    "`mail` has one of `user` and `password` without the other",
                    "give both, or neither where the server wants no login",
                );
                None
            }
        };
        Some(Mail {
            port: self.count("mail.port", mail.port.as_ref(), 1..=65_535, port),
            ca: self.ca("mail.ca", mail.ca.as_ref()),
            host: host?,
            tls,
            from: from?,
            login,
        })
    }

    fn mail_host(&mut self, at: &At<String>, tls: MailTls) -> Option<String> {
        let Some(host) = values::host_name(at.get()) else {
            self.fault(
                at.span(),
                format!("`mail.host` is `{}`, which is no host name", at.get()),
                "a host name or address, without scheme and port",
            );
            return None;
        };
        if tls == MailTls::None && !is_loopback_host(&host) {
            self.fault(
                at.span(),
                format!("`mail.tls` is `none`, but `{host}` is not this machine"),
                "`starttls` or `tls`: whoever reads such a mail can log in",
            );
        }
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        Some(bare.to_owned())
    }

    fn needed<T>(&mut self, table: &str, kind: &At<String>, keys: &str) -> Option<T> {
        self.fault(
            kind.span(),
            format!("`{table}` is missing `{keys}`"),
            format!("`kind = \"{}\"` needs it", kind.get()),
        );
        None
    }

    /// A Twilio identifier: two letters and 32 hexadecimal digits.
    fn sid(&mut self, key: &str, at: &At<String>, letters: &str) -> Option<String> {
        let digits = at.get().strip_prefix(letters);
        let fits = digits.is_some_and(|digits| {
            digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit())
        });
        if !fits {
            self.fault(
                at.span(),
                format!("`{key}` is `{}`, which is no such identifier", at.get()),
                format!("`{letters}` and 32 hexadecimal digits, as Twilio's console shows it"),
            );
        }
        fits.then(|| at.get().to_owned())
    }

    /// A URL to send messages to: in the clear to this machine only.
    fn http_url(&mut self, key: &str, at: &At<String>) -> Option<HttpUrl> {
        let url = match values::http_url(at.get()) {
            Ok(url) => url,
            Err(error) => {
                // The text as shown: a password in it is starred out.
                let shown = self.source.text().get(at.span()).unwrap_or_default();
                let message = format!("`{key}` has {shown}, which cannot be used: {error}");
                self.fault(at.span(), message, "such as `https://sms.example.com/send`");
                return None;
            }
        };
        if url.origin.scheme == "http" && !is_loopback_host(&url.origin.host) {
            self.fault(
                at.span(),
                format!(
                    "`{key}` is `{}`: without TLS anyone on the way could read codes",
                    at.get()
                ),
                "write `https://…`; plain `http` is for `localhost` only",
            );
            return None;
        }
        Some(url)
    }

    fn ca(&mut self, key: &str, written: Option<&At<String>>) -> Option<PathBuf> {
        let at = written?;
        let path = self.path(key, Some(at), "");
        if !(self.around.is_file)(&path) {
            self.fault(
                at.span(),
                format!("`{key}` is `{}`, which is no file", at.get()),
                "a PEM file with the authority's certificate",
            );
        }
        Some(path)
    }

    /// Fetches a secret that is given by reference.
    pub(super) fn secret(&mut self, key: &str, written: Option<&Hidden>) -> Option<Secret> {
        let at = written?;
        let reference = match SecretRef::parse(at.expose()) {
            Ok(reference) => reference,
            Err(literal) => {
                self.fault(
                    at.span(),
                    format!("`{key}`: {literal}"),
                    "put it into a file or variable that only the gateway may read, and make a new one: this one was written down",
                );
                return None;
            }
        };
        match reference.read(self.around.env) {
            Ok(secret) => Some(secret),
            Err(error) => {
                self.fault(
                    at.span(),
                    format!("`{key}`: {error}"),
                    "set the variable, or write the file, before the gateway starts",
                );
                None
            }
        }
    }
}

fn at(written: Option<&At<String>>) -> Option<Range<usize>> {
    written.map(At::span)
}

fn hidden(written: Option<&Hidden>) -> Option<Range<usize>> {
    written.map(Hidden::span)
}

/// Whether messages can come from this: a number (E.164), a short code, or a name of at most 11
/// letters, digits and blanks with a letter among them, as Twilio has it.
fn is_sender(text: &str) -> bool {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if let Some(number) = text.strip_prefix('+') {
        return (8..=15).contains(&number.len()) && digits(number) && !number.starts_with('0');
    }
    if digits(text) {
        return (3..=8).contains(&text.len());
    }
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b' ';
    text.len() <= 11 && text.bytes().all(fits) && text.bytes().any(|b| b.is_ascii_alphabetic())
}
