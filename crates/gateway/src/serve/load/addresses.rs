//! What is counted of each address, for a bounded number of them.
//!
//! An attacker of IPv6 has 2^64 addresses in his own network, so a network of that size counts as one. Whoever has more networks
//! than are remembered pushes out those that have been quiet for longest; counts of requests under way are never forgotten.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use vestibule_engine::decision::Shed;

use super::{BUSY, Settings, seconds};

/// Addresses are kept in so many places, so that threads seldom wait for each other.
const SHARDS: usize = 64;
/// How many are looked at to find one that has been quiet.
const SAMPLE: usize = 16;
/// The one that counts for all who find no room.
const REST: u64 = u64::MAX;

#[derive(Debug)]
pub(super) struct Addresses([Mutex<HashMap<u64, Count>>; SHARDS]);

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    under_way: u32,
    /// When its bucket is full again, in nanoseconds.
    full: u64,
    /// When it was last heard of.
    seen: u64,
}

/// A counted request.
#[derive(Debug)]
pub(super) struct Seat {
    shard: usize,
    key: u64,
}

impl Default for Addresses {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::default()))
    }
}

impl Addresses {
    pub(super) fn enter(&self, address: IpAddr, settings: &Settings, now: u64) -> Result<Seat, (Shed, u32)> {
        let key = network(address);
        let shard = shard(key);
        let Some(counts) = self.0.get(shard) else { return Err((Shed::AddressRequests, BUSY)) };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let key = match counts.contains_key(&key) || make_room(&mut counts, (settings.addresses / SHARDS).max(1)) {
            true => key,
            false => REST,
        };
        let count = counts.entry(key).or_default();
        count.seen = now;
        if settings.address_requests.is_some_and(|most| count.under_way >= most) {
            return Err((Shed::AddressRequests, BUSY));
        }
        if let Some(rate) = settings.address_rate {
            rate.take(&mut count.full, now).map_err(|wait| (Shed::AddressRate, seconds(wait)))?;
        }
        count.under_way = count.under_way.saturating_add(1);
        Ok(Seat { shard, key })
    }

    pub(super) fn leave(&self, seat: Seat) {
        let Some(counts) = self.0.get(seat.shard) else { return };
        let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&seat.key) {
            count.under_way = count.under_way.saturating_sub(1);
        }
    }
}

/// Whether there is room for one more. Forgets one that has nothing under way, if there must be.
fn make_room(counts: &mut HashMap<u64, Count>, most: usize) -> bool {
    if counts.len() < most {
        return true;
    }
    let idle = counts.iter().filter(|(_, count)| count.under_way == 0).take(SAMPLE);
    let Some(quietest) = idle.min_by_key(|(_, count)| count.seen).map(|(key, _)| *key) else { return false };
    counts.remove(&quietest);
    true
}

/// An IPv4 address, or the network of 64 bits that an IPv6 address lies in. The first are where the IPv6 networks `::/32` would
/// be, which nobody has (RFC 4291 §2.5.5).
fn network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => u64::try_from(address.to_bits() >> 64).unwrap_or(REST),
    }
}

fn shard(key: u64) -> usize {
    // The neighbours of an address go elsewhere (Fibonacci hashing).
    let spread = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
    usize::try_from(spread).unwrap_or(0) % SHARDS
}

#[cfg(test)]
mod tests {
    use super::super::Rate;
    use super::*;

    fn settings(addresses: usize) -> Settings {
        let address_rate = Some(Rate { per_second: 1, burst: 1 });
        Settings { addresses, address_requests: Some(1), address_rate, ..Settings::default() }
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address_and_a_mapped_one_as_its_own() {
        let same = |one: &str, other: &str| network(one.parse().unwrap()) == network(other.parse().unwrap());
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:192.0.2.1", "192.0.2.1"));
        assert!(!same("192.0.2.2", "192.0.2.1"));
    }

    #[test]
    fn memory_is_bounded_and_who_is_inside_is_not_forgotten() {
        let addresses = Addresses::default();
        let settings = settings(SHARDS * 4);
        let inside: Vec<Seat> = (0..64).filter_map(|n| addresses.enter(IpAddr::from([10, 0, 0, n]), &settings, 1).ok()).collect();
        for n in 0..100_000_u32 {
            if let Ok(seat) = addresses.enter(IpAddr::from((n + (172 << 24)).to_be_bytes()), &settings, u64::from(n)) {
                addresses.leave(seat);
            }
        }
        let kept: usize = addresses.0.iter().map(|shard| shard.lock().unwrap().len()).sum();
        assert!(kept <= SHARDS * 5, "{kept}");
        for n in 0..64 {
            assert!(addresses.enter(IpAddr::from([10, 0, 0, n]), &settings, u64::MAX / 2).is_err(), "{n} is still inside");
        }
        inside.into_iter().for_each(|seat| addresses.leave(seat));
        let inside: u32 =
            addresses.0.iter().flat_map(|shard| shard.lock().unwrap().values().map(|count| count.under_way).collect::<Vec<_>>()).sum();
        assert_eq!(inside, 0);
    }

    #[test]
    fn shards_fill_evenly() {
        let mut filled = [0; SHARDS];
        for n in 0..64_000_u32 {
            filled[shard(network(IpAddr::from((n + (10 << 24)).to_be_bytes())))] += 1;
        }
        assert!(filled.iter().all(|count| (500..2000).contains(count)), "{filled:?}");
    }
}
