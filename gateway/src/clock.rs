//! Time, passed in: every window, lifetime and lock is counted on a [`Clock`].
//!
//! A clock never goes backwards, and a change of the system's clock while we run moves nothing:
//! [`SystemClock`] reads the wall once, at start, and counts on with the monotonic clock. At a
//! restart it starts no earlier than the last moment that the store remembers. So a changed
//! system clock neither revives an expired code nor lifts a lock.

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
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .ok()
            .and_then(|moment| moment.format(&Rfc3339).ok())
            .unwrap_or_else(|| format!("{}ms", self.0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
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
