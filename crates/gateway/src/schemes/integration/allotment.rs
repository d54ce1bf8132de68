//! How many requests a tenant's old clients may make in 24 hours (`oracle-stateful-sessions.md` §3.3, `SBL-SBL-70172`).
//!
//! They are counted by the hour and in the store, so that all nodes count together: never more than the allotment in any 24 hours,
//! and each is forgotten after 25 at the latest. An attacker wants to use up what is not theirs, so that only a request whose
//! client is known is counted; and a client that goes on asking does not put off the end of its wait: what is refused is not
//! counted, but for a few that meet the end at several nodes at once.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use vestibule_engine::Timestamp;
use vestibule_engine::audit::Reason;
use vestibule_engine::identity::TenantId;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{ExpiringStore, Key, Kind};

/// Seconds of an hour.
const HOUR: i64 = 3600;
/// Hours before this one that count with it, so that 24 are covered whatever the minute.
const BEFORE: i64 = 24;
/// How long an hour's number is kept: while it counts, and one more for clocks that differ.
const KEPT: Duration = Duration::from_secs(26 * 3600);
/// Seconds of an hour after which no other node still counts in the one before.
const SETTLED: i64 = 60;

/// The allotment of a tenant.
#[derive(Debug)]
pub struct Allotment {
    tenant: TenantId,
    most: u64,
    store: Arc<dyn ExpiringStore>,
    /// What was found in the store; hours that are over change no more.
    window: Mutex<Option<Window>>,
}

/// The hours that count.
#[derive(Debug, Clone, Copy)]
struct Window {
    hour: i64,
    settled: bool,
    /// Requests of the hours before.
    before: u64,
    /// The first hour that has any.
    first: i64,
    /// Nothing is left, and will not be while these hours count.
    used_up: bool,
}

impl Allotment {
    /// So many requests in 24 hours.
    pub fn new(tenant: TenantId, most: u32, store: Arc<dyn ExpiringStore>) -> Self {
        Self { tenant, most: most.into(), store, window: Mutex::default() }
    }

    /// Counts a request; [`Reason::Allotment`] if none is left.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn take(&self, now: Timestamp) -> Result<Option<Reason>, Unavailable> {
        let mut window = self.window(now).await?;
        if !window.used_up {
            let counted = window.before.saturating_add(self.store.increment(&self.slot(window.hour), KEPT).await?);
            // The last one says so, lest the next be counted too.
            window.used_up = counted >= self.most;
            if window.used_up {
                self.remember(window);
            }
            if counted <= self.most {
                return Ok(None);
            }
        }
        let free = window.first.saturating_add(BEFORE + 1).saturating_mul(HOUR);
        let wait = u32::try_from(free.saturating_sub(now.as_second())).unwrap_or(0).max(1);
        Ok(Some(Reason::Allotment(wait)))
    }

    async fn window(&self, now: Timestamp) -> Result<Window, Unavailable> {
        let (hour, second) = (now.as_second().div_euclid(HOUR), now.as_second().rem_euclid(HOUR));
        let settled = second >= SETTLED;
        let held = *self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = held.filter(|held| held.hour == hour && held.settled == settled) {
            return Ok(held);
        }
        let mut window = Window { hour, settled, before: 0, first: hour, used_up: false };
        for earlier in (hour.saturating_sub(BEFORE)..hour).rev() {
            let counted = self.counted(earlier).await?;
            if counted > 0 {
                window.before = window.before.saturating_add(counted);
                window.first = earlier;
            }
        }
        window.used_up = window.before.saturating_add(self.counted(hour).await?) >= self.most;
        self.remember(window);
        Ok(window)
    }

    async fn counted(&self, hour: i64) -> Result<u64, Unavailable> {
        let found = self.store.get(&self.slot(hour)).await?;
        Ok(found.and_then(|(value, _)| value.try_into().ok()).map_or(0, u64::from_be_bytes))
    }

    fn remember(&self, window: Window) {
        *self.window.lock().unwrap_or_else(PoisonError::into_inner) = Some(window);
    }

    fn slot(&self, hour: i64) -> Key {
        Key::of(&self.tenant, Kind::Quota, &[b"allotment", &hour.to_be_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use vestibule_engine::clock::{Clock, ManualClock};
    use vestibule_engine::store::memory::MemoryStore;

    use super::*;

    /// Half past an hour.
    const START: i64 = 1_800_000_000 - 1_800_000_000 % HOUR + HOUR / 2;

    struct House {
        clock: Arc<ManualClock>,
        store: Arc<MemoryStore>,
    }

    impl House {
        fn new() -> Self {
            let clock = Arc::new(ManualClock::at(Timestamp::from_second(START).unwrap()));
            Self { store: Arc::new(MemoryStore::new(clock.clone())), clock }
        }

        fn node(&self, tenant: &str, most: u32) -> Allotment {
            Allotment::new(tenant.into(), most, self.store.clone())
        }

        async fn take(&self, node: &Allotment) -> Option<Reason> {
            node.take(self.clock.now()).await.unwrap()
        }

        fn hours(&self, hours: i64) {
            self.clock.advance(Duration::from_secs(u64::try_from(hours * HOUR).unwrap()));
        }
    }

    #[tokio::test]
    async fn allotment_operations_per_rolling_24_hours() {
        let house = House::new();
        let node = house.node("north", 3);
        assert_eq!(house.take(&node).await, None);
        house.hours(10);
        assert_eq!(house.take(&node).await, None);
        assert_eq!(house.take(&node).await, None);
        // Half past an hour: the first one is forgotten 24 hours and a half after it.
        let wait = |hours: i64| Some(Reason::Allotment(u32::try_from(hours * HOUR + HOUR / 2).unwrap()));
        assert_eq!(house.take(&node).await, wait(14));
        house.hours(14);
        assert_eq!(house.take(&node).await, wait(0), "24 hours after the first");
        house.hours(1);
        assert_eq!(house.take(&node).await, None, "what was refused was not counted");
        assert_eq!(house.take(&node).await, wait(9));
        house.hours(10);
        assert_eq!(house.take(&node).await, None);
        assert_eq!(house.take(&node).await, None);
        assert!(house.take(&node).await.is_some());
    }

    #[tokio::test]
    async fn nodes_count_together_and_tenants_apart() {
        let house = House::new();
        let nodes = [house.node("north", 50), house.node("north", 50)];
        let taken = join_all((0..200).map(|number| house.take(&nodes[number % 2]))).await;
        assert_eq!(taken.iter().filter(|refused| refused.is_none()).count(), 50);
        assert!(house.take(&house.node("north", 50)).await.is_some(), "nor does a restart give any back");
        assert_eq!(house.take(&house.node("south", 50)).await, None);
        assert_eq!(house.take(&house.node("north", 1000)).await, None, "more were allotted");
    }

    #[tokio::test]
    async fn what_a_slow_clock_counts_late_counts() {
        let house = House::new();
        let (quick, slow) = (house.node("north", 2), house.node("north", 2));
        house.clock.advance(Duration::from_secs(1800));
        let late = house.clock.now().checked_sub(jiff::SignedDuration::from_secs(5)).unwrap();
        assert_eq!(house.take(&quick).await, None);
        assert_eq!(slow.take(late).await.unwrap(), None);
        house.clock.advance(Duration::from_secs(60));
        assert!(house.take(&quick).await.is_some());
    }
}
