//! How often foreign sessions were refused: for one address, and for one identity (`authentication-chain.md` §9.10).
//!
//! Counted in this process and for a minute: a session id cannot be guessed, so this spares the service, and us its
//! displeasure. Counters of passwords are not touched.

use std::net::IpAddr;
use std::time::Duration;

use quick_cache::sync::Cache;
use vestibule_engine::audit::Reason;
use vestibule_engine::realm::address_range;

use super::address::IdentityUrl;

/// Refusals in a minute after which nobody is asked.
const MOST: u32 = 20;
/// The minute.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses and identities counted at one time.
const COUNTED: usize = 10_000;

/// The counters.
#[derive(Debug)]
pub struct Failures(Cache<Counted, (u32, Duration)>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Counted {
    Address(IpAddr),
    Identity([u8; 15], [u8; 15]),
}

impl Default for Failures {
    fn default() -> Self {
        Self(Cache::new(COUNTED))
    }
}

impl Failures {
    /// Why nobody is asked now, if so.
    pub fn closed(&self, address: IpAddr, url: &IdentityUrl, now: Duration) -> Option<Reason> {
        let over = |key: &Counted| self.0.get(key).is_some_and(|(count, until)| count >= MOST && now < until);
        let [address, identity] = keys(address, url);
        if over(&address) {
            return Some(Reason::AddressGateClosed);
        }
        over(&identity).then_some(Reason::AccountGateClosed)
    }

    /// Counts a refusal.
    pub fn count(&self, address: IpAddr, url: &IdentityUrl, now: Duration) {
        for key in keys(address, url) {
            // Two at once may count as one, which costs the service a question.
            let next = match self.0.get(&key) {
                Some((count, until)) if now < until => (count.saturating_add(1), until),
                Some(_) | None => (1, now.saturating_add(WINDOW)),
            };
            self.0.insert(key, next);
        }
    }
}

fn keys(address: IpAddr, url: &IdentityUrl) -> [Counted; 2] {
    [Counted::Address(address_range(address)), Counted::Identity(url.organization.octets(), url.user.octets())]
}
