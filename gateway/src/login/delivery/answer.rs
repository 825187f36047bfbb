//! What a provider's answer says, as far as all providers' answers say the same.

use std::time::Duration;

use http::StatusCode;
use http::header::{self, HeaderMap};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::SendError;
use crate::clock::Timestamp;

/// How long a provider is left alone that says "too many" but not for how long.
const PAUSE: Duration = Duration::from_secs(5);

/// The longest that a provider may send us away for.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);

/// What an answer that is no success means; `detail` is for the log.
///
/// A gateway before the provider that gives up (502, 504) does not know whether the provider has
/// read the request, so neither do we. Any other answer is the provider's own word that it did not
/// take the message.
pub(super) fn failure(
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
    detail: &str,
) -> SendError {
    let reason = format!("the answer was {}{detail}", status.as_u16());
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => SendError::Unknown(reason),
        StatusCode::TOO_MANY_REQUESTS => SendError::Unsent {
            reason,
            pause: Some(retry_after(headers, now).unwrap_or(PAUSE)),
        },
        StatusCode::SERVICE_UNAVAILABLE => SendError::Unsent {
            reason,
            pause: retry_after(headers, now),
        },
        _ => SendError::Unsent {
            reason,
            pause: None,
        },
    }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date; at most an hour.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        // More digits than a number has are more than an hour.
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = OffsetDateTime::parse(text, &Rfc2822).ok()?;
        let until = u64::try_from(date.unix_timestamp()).ok()?;
        Duration::from_secs(until.saturating_sub(now.as_secs()))
    };
    Some(wait.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_515_607_000);

    fn judged(status: u16, after: Option<&str>) -> SendError {
        let fields = after.map(|text| (header::RETRY_AFTER, text.parse().unwrap()));
        let status = StatusCode::from_u16(status).unwrap();
        failure(status, &HeaderMap::from_iter(fields), NOW, "")
    }

    fn pause(status: u16, after: Option<&str>) -> Option<u64> {
        match judged(status, after) {
            SendError::Unsent { pause, .. } => pause.map(|pause| pause.as_secs()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_provider_is_left_alone_for_as_long_as_it_says() {
        assert_eq!(pause(429, Some("30")), Some(30));
        assert_eq!(pause(429, Some("Tue, 24 Nov 2026 10:21:07 GMT")), Some(60));
        assert_eq!(pause(429, Some("Tue, 24 Nov 2026 10:00:00 GMT")), Some(0));
        assert_eq!(pause(429, Some("soon")), Some(5));
        assert_eq!(pause(429, None), Some(5));
        assert_eq!(pause(429, Some("99999999999999999999999")), Some(3600));
        assert_eq!(pause(503, Some("7")), Some(7));
        assert_eq!(pause(503, None), None);
        assert_eq!(pause(500, Some("7")), None);
    }

    #[test]
    fn only_who_may_not_know_leaves_us_in_doubt() {
        for status in [502, 504] {
            assert!(matches!(judged(status, None), SendError::Unknown(_)));
        }
        for status in [301, 400, 401, 403, 404, 408, 429, 500, 501, 503] {
            let error = judged(status, None);
            assert!(matches!(error, SendError::Unsent { .. }), "{status}");
        }
    }
}
