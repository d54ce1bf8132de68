//! A breaker: an endpoint that does not answer is left alone for a while, and whoever waits learns so at once.

use std::sync::Mutex;
use std::time::Duration;

/// Failures in a row before nobody asks any more.
const FAILURES: u32 = 5;
/// For how long nobody asks; then one does.
const OPEN: Duration = Duration::from_secs(15);

/// The state of one endpoint.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Until when nobody asks, on the monotonic clock.
    open_until: Option<Duration>,
}

impl Breaker {
    /// Whether the endpoint may be asked. After the rest one caller may, and the others wait for what it finds.
    pub(super) fn admits(&self, now: Duration) -> bool {
        let mut state = self.state();
        match state.open_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                state.open_until = Some(now.saturating_add(OPEN));
                true
            }
        }
    }

    /// The endpoint answered, whatever it said.
    pub(super) fn answered(&self) {
        *self.state() = State::default();
    }

    /// It did not.
    pub(super) fn failed(&self, now: Duration) {
        let mut state = self.state();
        state.failures = state.failures.saturating_add(1);
        if state.failures >= FAILURES {
            state.open_until = Some(now.saturating_add(OPEN));
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_failures_in_a_row_open_it_and_one_probe_closes_it() {
        let (breaker, second) = (Breaker::default(), Duration::from_secs(1));
        for _ in 0..4 {
            breaker.failed(second);
        }
        breaker.answered();
        for _ in 0..5 {
            assert!(breaker.admits(second), "not five in a row");
            breaker.failed(second);
        }
        assert!(!breaker.admits(second * 2) && !breaker.admits(second * 15));
        assert!(breaker.admits(second * 16), "one may probe");
        assert!(!breaker.admits(second * 16), "and only one");
        breaker.failed(second * 17);
        assert!(!breaker.admits(second * 31) && breaker.admits(second * 32));
        breaker.answered();
        assert!(breaker.admits(second * 32) && breaker.admits(second * 32));
    }
}
