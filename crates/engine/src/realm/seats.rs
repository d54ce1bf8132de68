//! The attempts under way per address, so that waiting for the floor cannot fill our memory.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

/// Who has a seat.
#[derive(Debug, Default)]
pub(super) struct Seats(Mutex<HashMap<IpAddr, u32>>);

impl Seats {
    /// A seat for an address, unless it has as many as it may.
    pub(super) fn take(&self, range: IpAddr, most: u32) -> Option<Seat<'_>> {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = seats.entry(range).or_default();
        if *taken >= most {
            return None;
        }
        *taken += 1;
        Some(Seat { seats: self, range })
    }
}

/// Given back when dropped.
pub(super) struct Seat<'a> {
    seats: &'a Seats,
    range: IpAddr,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut seats = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(taken) = seats.get_mut(&self.range) {
            *taken = taken.saturating_sub(1);
            if *taken == 0 {
                seats.remove(&self.range);
            }
        }
    }
}
