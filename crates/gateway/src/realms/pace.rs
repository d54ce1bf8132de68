//! How long attempts take of late, for the floor: a name that is unknown is answered without asking anybody.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest that an attempt can make failures elsewhere wait.
const SLOWEST: Duration = Duration::from_secs(2);

/// The slowest attempt of late.
#[derive(Debug, Default)]
pub(super) struct Pace(AtomicU64);

impl Pace {
    /// A slower attempt counts at once, a faster one lets it sink slowly.
    pub(super) fn note(&self, took: Duration) {
        let took = u64::try_from(took.min(SLOWEST).as_micros()).unwrap_or(u64::MAX);
        let sink = |slowest: u64| Some(took.max(slowest - slowest / 64));
        // INVARIANT: `sink` always gives a value.
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sink);
    }

    pub(super) fn slowest(&self) -> Duration {
        Duration::from_micros(self.0.load(Ordering::Relaxed))
    }
}
