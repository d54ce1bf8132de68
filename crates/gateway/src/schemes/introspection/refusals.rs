//! Questions about bearer tokens by the address they came from: how many are under way, and how many were refused of late.
//!
//! An attacker sends junk as fast as it can, so that every place at the server is taken and nobody else comes in. One address
//! takes half of the places at most, and after some refusals in a minute none. Counted in this process.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quick_cache::sync::Cache;
use vestibule_engine::realm::address_range;

/// Refusals in a minute after which nobody is asked.
const MOST: u32 = 20;
/// The minute.
const WINDOW: Duration = Duration::from_secs(60);
/// Questions of one address under way at one time.
const UNDER_WAY: u32 = 32;
/// Addresses counted at one time.
const COUNTED: usize = 10_000;

/// The counters.
#[derive(Debug)]
pub struct Refusals(Cache<IpAddr, Arc<Mutex<Count>>>);

/// What is counted of one address.
#[derive(Debug, Default)]
struct Count {
    under_way: u32,
    refused: u32,
    /// When the refusals are forgotten, on the monotonic clock.
    until: Duration,
}

/// Why nothing may be asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// Too many questions of this address are under way.
    Busy,
    /// Too many of its tokens were refused.
    Refused,
}

/// A question under way, until it is dropped.
#[derive(Debug)]
pub struct Turn(Arc<Mutex<Count>>);

impl Default for Refusals {
    fn default() -> Self {
        Self(Cache::new(COUNTED))
    }
}

impl Refusals {
    /// Lets a question of this address be asked.
    ///
    /// # Errors
    /// [`Closed`], if it has asked too much.
    pub fn admit(&self, address: IpAddr, now: Duration) -> Result<Turn, Closed> {
        let fresh = || Ok::<_, Closed>(Arc::default());
        let count = self.0.get_or_insert_with(&address_range(address), fresh)?;
        let mut held = count.lock().unwrap_or_else(PoisonError::into_inner);
        if held.refused >= MOST && now < held.until {
            return Err(Closed::Refused);
        }
        if held.under_way >= UNDER_WAY {
            return Err(Closed::Busy);
        }
        held.under_way += 1;
        drop(held);
        Ok(Turn(count))
    }
}

impl Turn {
    /// Counts a refusal.
    pub fn refused(&self, now: Duration) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= held.until {
            (held.refused, held.until) = (0, now.saturating_add(WINDOW));
        }
        held.refused = held.refused.saturating_add(1);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.under_way = held.under_way.saturating_sub(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn an_address_takes_half_of_the_places_at_most() {
        let refusals = Refusals::default();
        let turns: Vec<Turn> = (0..UNDER_WAY).map(|_| refusals.admit(HERE, WINDOW).unwrap()).collect();
        assert!(turns.len() < super::super::QUESTIONS);
        assert_eq!(refusals.admit(HERE, WINDOW).unwrap_err(), Closed::Busy);
        assert!(refusals.admit(THERE, WINDOW).is_ok());
        drop(turns);
        assert!(refusals.admit(HERE, WINDOW).is_ok());
    }

    #[test]
    fn refusals_close_an_address_for_a_minute_and_no_other() {
        let refusals = Refusals::default();
        let began = Duration::from_secs(1000);
        for _ in 0..MOST {
            refusals.admit(HERE, began).unwrap().refused(began);
        }
        assert_eq!(refusals.admit(HERE, began).unwrap_err(), Closed::Refused);
        assert!(refusals.admit(THERE, began).is_ok());
        let later = began + WINDOW;
        refusals.admit(HERE, later).unwrap().refused(later);
        assert!(refusals.admit(HERE, later).is_ok(), "what was refused before is forgotten");
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_address() {
        let refusals = Refusals::default();
        let [one, two]: [IpAddr; 2] = ["2001:db8::1", "2001:db8::ffff:2"].map(|text| text.parse().unwrap());
        for _ in 0..MOST {
            refusals.admit(one, WINDOW).unwrap().refused(WINDOW);
        }
        assert_eq!(refusals.admit(two, WINDOW).unwrap_err(), Closed::Refused);
    }
}
