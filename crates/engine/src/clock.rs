//! Time and chance, as arguments. `clippy.toml` bans the ambient ones everywhere else.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// A point in time, UTC.
pub type Timestamp = jiff::Timestamp;

/// Where the time comes from.
pub trait Clock: Debug + Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;
    /// Time since some fixed point; never goes back.
    fn monotonic(&self) -> Duration;
}

/// The machine's own clock.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock(Instant);

impl Default for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where ambient time enters")]
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is where ambient time enters")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A clock that stands until it is moved. For tests.
#[derive(Debug)]
pub struct ManualClock(Mutex<(Timestamp, Duration)>);

impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(Mutex::new((now, Duration::ZERO)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut state = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        state.0 += by;
        state.1 += by;
    }

    /// Sets the time of day back, as somebody who corrects a clock does.
    pub fn set_back(&self, by: Duration) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0 -= by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).0
    }

    fn monotonic(&self) -> Duration {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).1
    }
}

/// `N` random octets from the operating system's generator.
///
/// # Errors
/// When the operating system refuses; the caller must fail closed.
pub fn random<const N: usize>() -> Result<[u8; N], crate::scheme::Unavailable> {
    let mut octets = [0; N];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|_| crate::scheme::Unavailable::new("random", "the operating system gave no random numbers"))?;
    Ok(octets)
}
