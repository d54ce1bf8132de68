//! How much may be under way at one time, and who is turned away when more is asked.
//!
//! A request is counted after its head was read and before anything else is done for it: its client's address, which is the
//! true one and not that of a proxy in front of us, then its route, then all of us. What is too much is refused at once (429 or 503,
//! `Retry-After`), so that what was let in is served as quickly as ever.
//!
//! A part of all places is for clients whose session was verified here lately ([`familiar`]), so that who works stays
//! at work when strangers come in crowds. A cookie that merely looks like one gets no such place.

mod addresses;
mod familiar;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use metrics::Counter;
use tokio::time::Instant;
use vestibule_engine::decision::{Denial, Shed};
use vestibule_engine::engine::Judgement;
use vestibule_engine::identity::RouteName;
use vestibule_engine::request::CheckRequest;
use vestibule_engine::route::Found;

use addresses::{Addresses, Seat};
use familiar::Familiar;

use crate::schemes::session::cookie_name;

/// When somebody who found no place may try again, in seconds.
const BUSY: u32 = 5;

/// How much is let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Requests at one time.
    pub requests: usize,
    /// How many per cent of places, of a route's too, are for clients whose session is known.
    pub reserved: usize,
    /// Requests at one time from one address; none is no limit.
    pub address_requests: Option<u32>,
    /// Requests a second from one address.
    pub address_rate: Option<Rate>,
    /// How many addresses are remembered.
    pub addresses: usize,
    /// Addresses of which nothing is counted.
    pub exempt: Vec<IpNet>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { requests: 10_000, reserved: 25, address_requests: Some(1000), address_rate: None, addresses: 65_536, exempt: Vec::new() }
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Requests a second, on average; not 0.
    pub per_second: u32,
    /// Requests at once; not 0.
    pub burst: u32,
}

impl Rate {
    /// Takes a token at a time in nanoseconds, from a bucket that is full again at `full`; or says how long until there is one.
    fn take(self, full: &mut u64, now: u64) -> Result<(), u64> {
        const SECOND: u64 = 1_000_000_000;
        let token = SECOND / u64::from(self.per_second.max(1));
        let after = (*full).max(now).saturating_add(token);
        let most = token.saturating_mul(u64::from(self.burst.max(1)));
        match after.saturating_sub(now).checked_sub(most) {
            None | Some(0) => {
                *full = after;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

/// What a route takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteLimits {
    /// Requests at one time.
    pub requests: Option<u32>,
    /// Requests a second.
    pub rate: Option<Rate>,
}

/// The limits of a configuration, with the counts of its routes.
#[derive(Debug, Default)]
pub struct Terms {
    settings: Settings,
    routes: HashMap<RouteName, Arc<RouteLoad>>,
}

impl Terms {
    /// These; routes without limits may be left out.
    pub fn new(settings: Settings, routes: impl IntoIterator<Item = (RouteName, RouteLimits)>) -> Self {
        let limited = routes.into_iter().filter(|(_, limits)| *limits != RouteLimits::default());
        let routes = limited.map(|(name, limits)| (name, Arc::new(RouteLoad { limits, ..RouteLoad::default() }))).collect();
        Self { settings, routes }
    }
}

#[derive(Debug, Default)]
struct RouteLoad {
    limits: RouteLimits,
    under_way: AtomicUsize,
    full: std::sync::Mutex<u64>,
}

/// What is under way.
#[derive(Debug)]
pub struct Load {
    under_way: AtomicUsize,
    addresses: Addresses,
    familiar: Familiar,
    began: Instant,
    shed: [Counter; Shed::ALL.len()],
}

impl Default for Load {
    fn default() -> Self {
        Self {
            under_way: AtomicUsize::new(0),
            addresses: Addresses::default(),
            familiar: Familiar::default(),
            began: Instant::now(),
            shed: Shed::ALL.map(|what| metrics::counter!("vestibule_requests_shed_total", "limit" => what.word())),
        }
    }
}

/// A request's place, given back when dropped.
#[derive(Debug)]
pub struct Place {
    load: Arc<Load>,
    route: Option<Arc<RouteLoad>>,
    seat: Option<Seat>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.under_way.fetch_sub(1, Ordering::Relaxed);
        if let Some(route) = &self.route {
            route.under_way.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(seat) = self.seat.take() {
            self.load.addresses.leave(seat);
        }
    }
}

impl Load {
    /// Lets a request in, or says what there is too much of.
    ///
    /// # Errors
    /// The refusal.
    pub fn enter(self: &Arc<Self>, terms: &Terms, request: &CheckRequest, found: Option<&Found>) -> Result<Place, Denial> {
        let familiar = || {
            let mut tokens = request.cookies(cookie_name(request));
            tokens.next().is_some_and(|token| self.familiar.knows(token))
        };
        let route = found.filter(|_| !terms.routes.is_empty()).and_then(|found| terms.routes.get(&found.route.name));
        self.admit(&terms.settings, request.client.address, route, familiar).map_err(|(what, seconds)| {
            if let Some(counter) = Shed::ALL.iter().position(|other| *other == what).and_then(|place| self.shed.get(place)) {
                counter.increment(1);
            }
            Denial::Shed(what, seconds)
        })
    }

    /// Remembers whose session was just verified or opened.
    pub fn recognise(&self, request: &CheckRequest, judgement: &Judgement) {
        if let Some(opened) = &judgement.opened {
            self.familiar.note(opened.token.reveal());
        } else if judgement.identity.as_ref().is_some_and(|identity| identity.session.is_some())
            && let Some(token) = request.cookies(cookie_name(request)).next()
        {
            self.familiar.note(token);
        }
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Ordering::Relaxed)
    }

    fn admit(
        self: &Arc<Self>,
        settings: &Settings,
        address: IpAddr,
        route: Option<&Arc<RouteLoad>>,
        familiar: impl Fn() -> bool,
    ) -> Result<Place, (Shed, u32)> {
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let counted = settings.address_requests.is_some() || settings.address_rate.is_some();
        let seat = match counted && !settings.exempt.iter().any(|net| net.contains(&address)) {
            true => Some(self.addresses.enter(address, settings, now)?),
            false => None,
        };
        // From here on whatever is refused gives back what it took.
        self.under_way.fetch_add(1, Ordering::Relaxed);
        let mut place = Place { load: self.clone(), route: None, seat };
        if let Some(route) = route {
            if let Some(rate) = route.limits.rate {
                let mut full = route.full.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                rate.take(&mut full, now).map_err(|wait| (Shed::RouteRate, seconds(wait)))?;
            }
            if let Some(most) = route.limits.requests {
                let inside = route.under_way.fetch_add(1, Ordering::Relaxed);
                place.route = Some(route.clone());
                if !has_room(inside, most as usize, settings.reserved, &familiar) {
                    return Err((Shed::RouteRequests, BUSY));
                }
            }
        }
        let inside = self.under_way.load(Ordering::Relaxed).saturating_sub(1);
        if has_room(inside, settings.requests, settings.reserved, &familiar) { Ok(place) } else { Err((Shed::Requests, BUSY)) }
    }
}

/// Whether one more may come to those inside: whoever does not come first leaves the reserve alone.
fn has_room(inside: usize, most: usize, reserved: usize, familiar: impl Fn() -> bool) -> bool {
    let common = most.saturating_sub(most.saturating_mul(reserved) / 100);
    inside < common || (inside < most && familiar())
}

/// Nanoseconds as a client counts them.
fn seconds(nanoseconds: u64) -> u32 {
    let whole = Duration::from_nanos(nanoseconds).as_secs().saturating_add(1);
    u32::try_from(whole).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: fn() -> bool = || false;
    const ADA: fn() -> bool = || true;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    fn plain(requests: usize) -> Settings {
        Settings { requests, address_requests: None, ..Settings::default() }
    }

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let rate = Rate { per_second: 10, burst: 3 };
        let mut full = 0;
        let second = 1_000_000_000;
        for _ in 0..3 {
            rate.take(&mut full, second).unwrap();
        }
        assert_eq!(rate.take(&mut full, second), Err(second / 10));
        rate.take(&mut full, second + second / 10).unwrap();
        assert!(rate.take(&mut full, second + second / 10).is_err(), "one token a tenth of a second");
        for _ in 0..3 {
            rate.take(&mut full, 60 * second).unwrap();
        }
        assert!(rate.take(&mut full, 60 * second).is_err(), "it holds no more than its burst");
    }

    #[tokio::test]
    async fn a_part_of_the_places_is_for_who_is_known() {
        let load = Arc::new(Load::default());
        let settings = plain(8);
        let mut inside: Vec<Place> = (0..6).map(|_| load.admit(&settings, address(1), None, NOBODY).unwrap()).collect();
        assert_eq!(load.admit(&settings, address(1), None, NOBODY).unwrap_err(), (Shed::Requests, BUSY));
        inside.extend((0..2).map(|_| load.admit(&settings, address(1), None, ADA).unwrap()));
        assert_eq!(load.admit(&settings, address(1), None, ADA).unwrap_err(), (Shed::Requests, BUSY));
        assert_eq!(load.under_way(), 8, "who is refused takes nothing");
        inside.truncate(5);
        load.admit(&settings, address(1), None, NOBODY).unwrap();
        drop(inside);
        assert_eq!(load.under_way(), 0);
    }

    #[tokio::test]
    async fn a_route_has_places_and_a_rate_of_its_own() {
        let load = Arc::new(Load::default());
        let limits = RouteLimits { requests: Some(4), rate: Some(Rate { per_second: 1, burst: 5 }) };
        let route = Arc::new(RouteLoad { limits, ..RouteLoad::default() });
        let settings = plain(100);
        let inside: Vec<Place> = (0..3).map(|_| load.admit(&settings, address(1), Some(&route), NOBODY).unwrap()).collect();
        assert_eq!(load.admit(&settings, address(1), Some(&route), NOBODY).unwrap_err(), (Shed::RouteRequests, BUSY));
        load.admit(&settings, address(1), None, NOBODY).unwrap();
        drop(inside);
        assert_eq!((route.under_way.load(Ordering::Relaxed), load.under_way()), (0, 0));
        load.admit(&settings, address(1), Some(&route), NOBODY).unwrap();
        // The next token comes within two seconds, sooner the longer this test took.
        let hasty = load.admit(&settings, address(1), Some(&route), ADA).unwrap_err();
        assert!(matches!(hasty, (Shed::RouteRate, 1..=2)), "a session is no excuse for haste: {hasty:?}");
    }

    #[tokio::test]
    async fn an_address_has_places_and_a_rate_of_its_own_and_some_are_not_counted() {
        let load = Arc::new(Load::default());
        let settings = Settings {
            address_requests: Some(2),
            address_rate: Some(Rate { per_second: 1, burst: 4 }),
            exempt: vec!["192.0.2.9/32".parse().unwrap()],
            ..Settings::default()
        };
        let inside: Vec<Place> = (0..2).map(|_| load.admit(&settings, address(1), None, NOBODY).unwrap()).collect();
        assert_eq!(load.admit(&settings, address(1), None, ADA).unwrap_err(), (Shed::AddressRequests, BUSY));
        load.admit(&settings, address(2), None, NOBODY).unwrap();
        drop(inside);
        load.admit(&settings, address(1), None, NOBODY).unwrap();
        load.admit(&settings, address(1), None, NOBODY).unwrap();
        assert_eq!(load.admit(&settings, address(1), None, NOBODY).unwrap_err().0, Shed::AddressRate);
        for _ in 0..50 {
            load.admit(&settings, address(9), None, NOBODY).unwrap();
        }
        assert_eq!(load.under_way(), 0);
    }
}
