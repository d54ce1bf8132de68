//! How much may be under way.

use super::Resolve;
use crate::config::file;
use crate::config::values::At;
use crate::serve::load::{Rate, RouteLimits, Settings};

/// Most requests a second that a limit may name: a token is then a microsecond.
const MAX_RATE: u32 = 1_000_000;
/// Fewest addresses worth remembering.
const FEW: u32 = 1024;
/// Most addresses: some hundred MiB.
const MANY: u32 = 4_000_000;

impl Resolve<'_> {
    pub(super) fn load(&mut self) -> Settings {
        let written = &self.file.limits;
        if written.reserved.value > 90 {
            self.error(&written.reserved, "this leaves nobody a place to sign in").help = Some("reserve 90 per cent at most".to_owned());
        }
        if !(FEW..=MANY).contains(&written.addresses.value) {
            self.error(&written.addresses, format!("{FEW} to {MANY} addresses can be remembered"));
        }
        Settings {
            requests: self.some(&written.requests) as usize,
            reserved: usize::from(written.reserved.value),
            address_requests: Some(written.address_requests).filter(|most| *most > 0),
            address_rate: written.address_rate.as_ref().map(|rate| self.rate(rate)),
            addresses: written.addresses.value as usize,
            exempt: written.exempt.iter().map(|net| net.0).collect(),
        }
    }

    pub(super) fn route_limits(&mut self, written: &file::RouteLimits) -> RouteLimits {
        RouteLimits { requests: written.requests.as_ref().map(|at| self.some(at)), rate: written.rate.as_ref().map(|rate| self.rate(rate)) }
    }

    fn rate(&mut self, written: &file::Rate) -> Rate {
        let per_second = self.some(&written.per_second);
        if per_second > MAX_RATE {
            self.error(&written.per_second, format!("a rate is at most {MAX_RATE} a second"));
        }
        let burst = written.burst.as_ref().map_or(per_second.saturating_mul(2), |at| self.some(at));
        Rate { per_second, burst }
    }

    fn some(&mut self, at: &At<u32>) -> u32 {
        if at.value == 0 {
            self.error(at, "this would let nobody in");
        }
        at.value
    }
}
