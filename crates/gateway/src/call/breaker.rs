//! A circuit breaker: who did not answer several times in a row is left alone for a while.
//!
//! Without it each login waits out the whole limit of a service that is down, and the service is asked hardest when it can
//! bear it least.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Failures in a row that open it.
const FAILURES: u32 = 5;
/// For how long it stays open; then one call tries.
const PAUSE: Duration = Duration::from_secs(30);

/// The breaker of one service. Times are of the monotonic clock.
#[derive(Debug, Default)]
pub struct Breaker {
    failures: AtomicU32,
    /// Milliseconds until which nobody asks.
    open_until: AtomicU64,
}

impl Breaker {
    /// Whether to ask now. After the pause one call is admitted; it decides for the next.
    pub fn admits(&self, now: Duration) -> bool {
        if self.failures.load(Ordering::Acquire) < FAILURES {
            return true;
        }
        let (now, until) = (millis(now), self.open_until.load(Ordering::Acquire));
        let next = now.saturating_add(millis(PAUSE));
        now >= until && self.open_until.compare_exchange(until, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// It answered, whatever the answer.
    pub fn succeeded(&self) {
        self.failures.store(0, Ordering::Release);
    }

    /// It did not.
    pub fn failed(&self, now: Duration) {
        if self.failures.fetch_add(1, Ordering::AcqRel).saturating_add(1) >= FAILURES {
            self.open_until.store(millis(now.saturating_add(PAUSE)), Ordering::Release);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it_and_one_call_tries_again() {
        let (breaker, mut now) = (Breaker::default(), Duration::from_secs(100));
        for _ in 0..4 {
            breaker.failed(now);
        }
        breaker.succeeded();
        for _ in 0..4 {
            breaker.failed(now);
        }
        assert!(breaker.admits(now), "not in a row");
        breaker.failed(now);
        assert!(!breaker.admits(now));
        now += PAUSE;
        assert!(breaker.admits(now) && !breaker.admits(now), "one tries, the others wait for what it finds");
        breaker.failed(now);
        assert!(!breaker.admits(now + PAUSE / 2));
        now += PAUSE;
        assert!(breaker.admits(now));
        breaker.succeeded();
        assert!(breaker.admits(now) && breaker.admits(now));
    }
}
