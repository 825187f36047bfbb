//! What the pages say: one file per language, each filling the same form. A text that is missing
//! does not compile.

pub(super) mod en;
pub(super) mod nb;
mod safety;

use std::time::Duration;

use http::StatusCode;

pub(super) use safety::{SafetyTexts, minute};

/// Every text of one language.
pub(super) struct Texts {
    /// Primary BCP 47 subtags that this language answers to, its own first.
    pub(super) tags: &'static [&'static str],
    /// Before the request's identifier in small print.
    pub(super) request: &'static str,
    pub(super) login: LoginTexts,
    pub(super) code: CodeTexts,
    pub(super) link: LinkTexts,
    pub(super) account: AccountTexts,
    pub(super) copy: CopyTexts,
    pub(super) refusals: RefusalTexts,
    pub(super) safety: SafetyTexts,
}

/// The form that asks for an e-mail address.
pub(super) struct LoginTexts {
    pub(super) title: &'static str,
    pub(super) lead: &'static str,
    pub(super) email: &'static str,
    pub(super) submit: &'static str,
    pub(super) malformed: &'static str,
    pub(super) over: &'static str,
    pub(super) last_wrong: &'static str,
    /// Of someone's name.
    pub(super) already: fn(&str) -> String,
}

/// The form that asks for the code.
pub(super) struct CodeTexts {
    pub(super) title: &'static str,
    /// Of an e-mail address.
    pub(super) lead: fn(&str) -> String,
    pub(super) label: &'static str,
    /// Of the minutes that a code lives.
    pub(super) hint: fn(u64) -> String,
    pub(super) submit: &'static str,
    pub(super) resend: &'static str,
    /// Of the seconds until another code can be asked for: what stands before and after them.
    pub(super) resend_in: (&'static str, &'static str),
    pub(super) resent: &'static str,
    pub(super) restart: &'static str,
    /// Of the number of tries left.
    pub(super) wrong: fn(u32) -> String,
    pub(super) malformed: &'static str,
    /// The message to the telephone, of a host and the code: one line, for a person.
    pub(super) message: fn(&str, &str) -> String,
}

/// The link that a raised shield asks for: its pages and its mail.
pub(super) struct LinkTexts {
    pub(super) sent_title: &'static str,
    /// Of an e-mail address.
    pub(super) sent_lead: fn(&str) -> String,
    /// Of the minutes that a link works.
    pub(super) sent_hint: fn(u64) -> String,
    pub(super) restart: &'static str,
    pub(super) title: &'static str,
    pub(super) lead: &'static str,
    pub(super) submit: &'static str,
    pub(super) other_browser: &'static str,
    pub(super) over: &'static str,
    pub(super) refused: &'static str,
    pub(super) refused_lead: &'static str,
    /// Of a host.
    pub(super) mail_subject: fn(&str) -> String,
    /// Of a host and the link.
    pub(super) mail: fn(&str, &str) -> String,
}

/// The account page.
pub(super) struct AccountTexts {
    pub(super) title: &'static str,
    pub(super) sessions: &'static str,
    pub(super) sessions_lead: &'static str,
    pub(super) devices: &'static str,
    pub(super) devices_lead: &'static str,
    pub(super) no_devices: &'static str,
    pub(super) this_one: &'static str,
    pub(super) unknown_client: &'static str,
    pub(super) since: &'static str,
    pub(super) last_seen: &'static str,
    pub(super) end: &'static str,
    pub(super) end_others: &'static str,
    pub(super) forget: &'static str,
    pub(super) logout: &'static str,
    pub(super) start: &'static str,
    /// Of the number of failed attempts before the latest login.
    pub(super) failures: fn(u32) -> String,
    /// The message to the telephone that says the same, of a host and the number: one line.
    pub(super) failures_message: fn(&str, u32) -> String,
    /// Of a host: the subject where it is a mail that says it.
    pub(super) failures_subject: fn(&str) -> String,
}

/// The page that offers a copy.
pub(super) struct CopyTexts {
    /// Of the owner's name, where it is known.
    pub(super) title: fn(Option<&str>) -> String,
    pub(super) lead: &'static str,
    pub(super) submit: &'static str,
    pub(super) back: &'static str,
}

/// Why a request was refused.
pub(super) struct RefusalTexts {
    pub(super) malformed: Refusal,
    pub(super) forbidden: Refusal,
    pub(super) form: Refusal,
    pub(super) missing: Refusal,
    pub(super) method: Refusal,
    pub(super) too_large: Refusal,
    pub(super) misdirected: Refusal,
    pub(super) too_many: Refusal,
    /// Another code was asked for too soon.
    pub(super) too_soon: Refusal,
    pub(super) gateway: Refusal,
    pub(super) unavailable: Refusal,
    pub(super) slow: Refusal,
    pub(super) failed: Refusal,
    /// Of the time to wait.
    pub(super) wait: fn(Duration) -> String,
    pub(super) start: &'static str,
    pub(super) login: &'static str,
    /// To the form for the code.
    pub(super) code: &'static str,
    /// That a page with a waiting time follows it.
    pub(super) follows: &'static str,
}

/// One reason, in a heading and a sentence or two of what to do.
pub(super) struct Refusal {
    pub(super) heading: &'static str,
    pub(super) text: &'static str,
}

impl RefusalTexts {
    pub(super) fn of(&self, status: StatusCode) -> &Refusal {
        match status {
            StatusCode::FORBIDDEN => &self.forbidden,
            StatusCode::NOT_FOUND => &self.missing,
            StatusCode::METHOD_NOT_ALLOWED => &self.method,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
                &self.too_large
            }
            StatusCode::MISDIRECTED_REQUEST => &self.misdirected,
            StatusCode::TOO_MANY_REQUESTS => &self.too_many,
            StatusCode::BAD_GATEWAY => &self.gateway,
            StatusCode::SERVICE_UNAVAILABLE => &self.unavailable,
            StatusCode::GATEWAY_TIMEOUT => &self.slow,
            status if status.is_client_error() => &self.malformed,
            _ => &self.failed,
        }
    }
}

/// A time to wait in the largest unit that says it well, rounded up: `(number, unit)`.
pub(super) fn rounded(wait: Duration) -> (u64, Unit) {
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    match seconds.max(1) {
        seconds @ ..=90 => (seconds, Unit::Second),
        seconds @ ..=5_400 => (seconds.div_ceil(60), Unit::Minute),
        seconds @ ..=129_600 => (seconds.div_ceil(3_600), Unit::Hour),
        seconds => (seconds.div_ceil(86_400), Unit::Day),
    }
}

/// Seconds after which what a page says of a time to wait is no longer so: it counts down in the
/// steps of the unit that it is said in, and in the last seconds by a quarter of a minute, so that
/// whoever has it read to them is not interrupted all the time.
pub(super) fn step(wait: Duration) -> u64 {
    let seconds = (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1);
    let unit = match rounded(wait).1 {
        Unit::Second => return seconds.min(15),
        Unit::Minute => 60,
        Unit::Hour => 3_600,
        Unit::Day => 86_400,
    };
    seconds - (seconds.div_ceil(unit) - 1) * unit
}

/// A unit of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Second,
    Minute,
    Hour,
    Day,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pages::Language;

    #[test]
    fn waiting_times_are_rounded_up_to_a_unit_that_says_them_well() {
        let seconds = Duration::from_secs;
        for (wait, said) in [
            (Duration::ZERO, (1, Unit::Second)),
            (Duration::from_millis(1_001), (2, Unit::Second)),
            (seconds(90), (90, Unit::Second)),
            (seconds(91), (2, Unit::Minute)),
            (seconds(5_400), (90, Unit::Minute)),
            (seconds(5_401), (2, Unit::Hour)),
            (seconds(86_400), (24, Unit::Hour)),
            (seconds(30 * 86_400), (30, Unit::Day)),
        ] {
            assert_eq!(rounded(wait), said, "{wait:?}");
        }
    }

    #[test]
    fn a_waiting_page_is_renewed_when_it_is_no_longer_true() {
        for (wait, next) in [
            (0, 1),
            (7, 7),
            (90, 15),
            (91, 31),
            (120, 60),
            (5_401, 1_801),
        ] {
            let wait = Duration::from_secs(wait);
            assert_eq!(step(wait), next, "{wait:?}");
            let after = wait.saturating_sub(Duration::from_secs(next));
            assert!(
                after.is_zero() || rounded(after) != rounded(wait),
                "{wait:?}"
            );
        }
    }

    #[test]
    fn one_and_many_are_told_apart() {
        let wait =
            |language: Language, secs| (language.texts().refusals.wait)(Duration::from_secs(secs));
        assert_eq!(wait(Language::English, 1), "You can try again in 1 second.");
        assert_eq!(
            wait(Language::English, 7_200),
            "You can try again in 2 hours."
        );
        assert_eq!(
            wait(Language::Norwegian, 7_200),
            "Du kan prøve igjen om 2 timer."
        );
        assert_eq!(
            wait(Language::Norwegian, 1),
            "Du kan prøve igjen om 1 sekund."
        );
        assert_eq!(
            (Language::English.texts().code.wrong)(1),
            "That is not the code. You have 1 try left."
        );
    }

    #[test]
    fn a_message_is_one_line_that_names_site_and_code() {
        for language in Language::ALL {
            let line = (language.texts().code.message)("projects.example.com", "0042");
            assert!(!line.contains('\n'));
            assert!(line.contains("projects.example.com") && line.contains("0042"));
            let line = (language.texts().account.failures_message)("projects.example.com", 7);
            assert!(!line.contains('\n') && line.len() <= 160, "{line}");
            assert!(line.contains("projects.example.com") && line.contains('7'));
        }
    }
}
