//! Time, passed in: every window, lifetime and lock is counted on a [`Clock`].
//!
//! A clock never goes backwards, and a change of the system's clock while we run moves nothing:
//! [`SystemClock`] reads the wall once, at start, and counts on with the monotonic clock. At a
//! restart it starts no earlier than the last moment that the store remembers. So a changed
//! system clock neither revives an expired code nor lifts a lock.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A clock that everyone shares.
pub type SharedClock = Arc<dyn Clock>;

/// Where "now" comes from.
pub trait Clock: Send + Sync + fmt::Debug {
    /// The present moment; never earlier than an answer given before.
    fn now(&self) -> Timestamp;
}

/// A moment: milliseconds since the Unix epoch, in UTC.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The moment `millis` milliseconds after the Unix epoch.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the Unix epoch, as a JWT's `NumericDate` (RFC 7519, section 2).
    #[must_use]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1000
    }

    /// The moment `duration` later; the end of time instead of an overflow.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// The moment `duration` earlier; the epoch instead of an underflow.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(millis))
    }

    /// How long after `earlier` this is; zero if it is not after.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment as RFC 3339 text in UTC, such as `2026-11-24T10:20:07.123Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        self.to_string()
    }
}

impl Timestamp {
    /// Reads a moment of RFC 3339, to the millisecond; `None` if it is none, or before 1970.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        let millis = moment.unix_timestamp_nanos() / 1_000_000;
        u64::try_from(millis).ok().map(Self)
    }
}

/// The text of the second that a thread wrote last: most moments are in the same one.
type LastSecond = Option<(u64, String)>;

thread_local! {
    static LAST_SECOND: RefCell<LastSecond> = const { RefCell::new(None) };
}

/// A whole second, without its `Z`; `None` beyond the years that the format has.
fn second(seconds: u64) -> Option<String> {
    let moment = OffsetDateTime::from_unix_timestamp(i64::try_from(seconds).ok()?).ok()?;
    let mut text = moment.format(&Rfc3339).ok()?;
    text.pop();
    Some(text)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0 / 1000, self.0 % 1000);
        LAST_SECOND.with_borrow_mut(|last| {
            if last.as_ref().is_none_or(|(known, _)| *known != seconds) {
                *last = second(seconds).map(|text| (seconds, text));
            }
            let Some((_, text)) = last else {
                return write!(f, "{}ms", self.0);
            };
            f.write_str(text)?;
            match millis {
                0 => f.write_str("Z"),
                tenths if tenths % 100 == 0 => write!(f, ".{}Z", tenths / 100),
                hundredths if hundredths % 10 == 0 => write!(f, ".{:02}Z", hundredths / 10),
                _ => write!(f, ".{millis:03}Z"),
            }
        })
    }
}

/// The machine's clock, guarded.
#[derive(Debug)]
pub struct SystemClock {
    wall: Timestamp,
    anchor: Instant,
}

impl SystemClock {
    /// A clock that starts at the system's time, or at `floor` if the system's is earlier.
    #[must_use]
    pub fn starting_at(floor: Timestamp) -> Self {
        Self {
            wall: system_wall().max(floor),
            anchor: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.wall.plus(self.anchor.elapsed())
    }
}

/// A clock that stands still until it is told: for tests and the attack bench.
#[derive(Debug)]
pub struct ManualClock(AtomicU64);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub const fn at(start: Timestamp) -> Self {
        Self(AtomicU64::new(start.0))
    }

    /// Moves the clock forward.
    pub fn advance(&self, duration: Duration) {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.0.fetch_add(millis, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::SeqCst))
    }
}

/// What the system's clock says; the epoch if it stands before it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where the wall is read"
)]
fn system_wall() -> Timestamp {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restart_under_an_earlier_system_clock_does_not_go_back() {
        let floor = system_wall().plus(Duration::from_secs(3600));
        assert!(SystemClock::starting_at(floor).now() >= floor);
    }

    #[test]
    fn moments_print_as_utc() {
        assert_eq!(
            Timestamp::from_millis(1_795_515_607_123).rfc3339(),
            "2026-11-24T10:20:07.123Z"
        );
    }

    #[test]
    fn every_moment_prints_as_the_format_says() {
        let moments = (0..2_000_u64).map(|number| number * 86_399_123 + number % 10 * 100);
        for millis in moments.chain([1_000, 999, 1_010, 1_100, 253_402_300_799_999]) {
            let nanos = i128::from(millis) * 1_000_000;
            let moment = OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap();
            let expected = moment.format(&Rfc3339).unwrap();
            assert_eq!(Timestamp::from_millis(millis).rfc3339(), expected);
            assert_eq!(
                Timestamp::parse(&expected),
                Some(Timestamp::from_millis(millis))
            );
        }
        let beyond = Timestamp::from_millis(u64::MAX).rfc3339();
        assert_eq!(beyond, format!("{}ms", u64::MAX));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_millis(u64::MAX);
        assert_eq!(end.plus(Duration::from_secs(1)), end);
        assert_eq!(
            Timestamp::default().minus(Duration::from_secs(1)),
            Timestamp::default()
        );
        assert_eq!(Timestamp::default().since(end), Duration::ZERO);
    }
}
