//! Verified credentials: so that a client that sends its password with every call costs one hash a minute, and a
//! burst of the same credentials one hash in all.
//!
//! An attacker looks for two credentials that share an entry, and signs in as somebody else (attack 102: `a:b:c` read
//! as `a` and `b:c` by one, `a:b` and `c` by the other). The key is an HMAC over length-prefixed parts under a key that
//! dies with the process; nothing of it is ever stored.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use quick_cache::sync::Cache;
use vestibule_engine::Timestamp;
use vestibule_engine::admission::barred;
use vestibule_engine::identity::{RealmName, TenantId, User, UserId, Username};
use vestibule_engine::realm::{Account, RealmStep};
use vestibule_engine::scheme::{Unavailable, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::users::Users;

/// The longest that a success is remembered (architecture §6).
pub const LONGEST: Duration = Duration::from_secs(60);
/// Successes remembered; the least recently used are forgotten.
const ENTRIES: usize = 10_000;
/// How many may wait for one and the same answer.
const FOLLOWERS: usize = 4096;

/// What identifies a credential: tell it apart from every other, without revealing it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A success, as it was found.
#[derive(Debug, Clone)]
pub struct Success {
    /// The account.
    pub account: Account,
    /// Whose it is.
    pub user: UserId,
    /// The user's epoch before the password was checked.
    pub epoch: u64,
    /// Who checked it.
    pub realm: RealmName,
    /// When.
    pub at: Timestamp,
}

/// The successes of the last minute, in this process.
pub struct Verified {
    key: hmac::Key,
    generation: u64,
    lasts: Duration,
    /// Each until when it may be used, on the monotonic clock.
    successes: Cache<Fingerprint, (Success, Duration)>,
}

impl Verified {
    /// Remembers successes for `lasts`, at most [`LONGEST`]; not at all if zero. `generation` is the engine's.
    ///
    /// # Errors
    /// [`Unavailable`] without random numbers.
    pub fn new(generation: u64, lasts: Duration) -> Result<Self, Unavailable> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Unavailable::new("random", "the operating system gave no random numbers"))?;
        Ok(Self { key, generation, lasts: lasts.min(LONGEST), successes: Cache::new(ENTRIES) })
    }

    /// The fingerprint of a credential offered to these realms.
    pub fn fingerprint(&self, tenant: &TenantId, steps: &[RealmStep], username: &Username, password: &Secret<String>) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        let mut add = |part: &[u8]| {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        };
        add(&self.generation.to_be_bytes());
        add(tenant.as_str().as_bytes());
        // How many realms there are, or a realm's name could pass for a user's.
        add(&(steps.len() as u64).to_be_bytes());
        for step in steps {
            add(step.realm.name().as_str().as_bytes());
        }
        add(username.as_str().as_bytes());
        add(password.reveal().as_bytes());
        let mut octets = [0; 32];
        octets.copy_from_slice(context.sign().as_ref());
        Fingerprint(octets)
    }

    /// A success that is not too old, if its user is still the one it was and `admits` lets them in. A refusal is for the realms, which
    /// make it look like any other.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody says who the user is now.
    pub async fn recall(
        &self,
        fingerprint: &Fingerprint,
        users: &Users,
        admits: impl Fn(&User) -> bool,
        at: Timestamp,
        now: Duration,
    ) -> Result<Option<Success>, Unavailable> {
        let Some(success) = self.find(fingerprint, now) else { return Ok(None) };
        let user = users.by_id(success.user, at).await?;
        match user.filter(|user| user.epoch == success.epoch && may_be_remembered(user)) {
            Some(user) => Ok(admits(&user).then_some(success)),
            None => {
                self.forget(fingerprint);
                Ok(None)
            }
        }
    }

    fn find(&self, fingerprint: &Fingerprint, now: Duration) -> Option<Success> {
        let (success, until) = self.successes.get(fingerprint)?;
        if until <= now {
            self.forget(fingerprint);
            return None;
        }
        Some(success)
    }

    /// Remembers a success.
    pub fn remember(&self, fingerprint: Fingerprint, success: Success, now: Duration) {
        if !self.lasts.is_zero() {
            self.successes.insert(fingerprint, (success, now.saturating_add(self.lasts)));
        }
    }

    fn forget(&self, fingerprint: &Fingerprint) {
        self.successes.remove(fingerprint);
    }
}

impl Success {
    /// What was just found, as it may be remembered: its user is still the one whose password was checked.
    pub async fn of(account: &Account, realm: &RealmName, users: &Users, at: Timestamp) -> Option<Self> {
        let (Who::User(id), Some(epoch)) = (&account.who, account.epoch) else { return None };
        let user = users.by_id(*id, at).await.ok().flatten()?;
        let success = Self { account: account.clone(), user: *id, epoch, realm: realm.clone(), at };
        (user.epoch == epoch && may_be_remembered(&user)).then_some(success)
    }
}

/// Operators are asked for their password each time: where they come from is part of the answer.
fn may_be_remembered(user: &User) -> bool {
    barred(user).is_none() && !user.is_operator()
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<fingerprint>")
    }
}

/// Attempts under way, so that many of the same kind are made once.
#[derive(Debug)]
pub struct Flights<K, T>(Mutex<HashMap<K, Flight<T>>>);

type Flight<T> = Arc<tokio::sync::Mutex<Option<T>>>;

/// How an answer was come by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// By asking.
    Leader,
    /// By waiting for who asked.
    Follower,
}

impl<K, T> Default for Flights<K, T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Hash + Eq + Copy, T: Clone> Flights<K, T> {
    /// Asks, or waits for somebody who asks the same. If they go away half-way, the next one asks. None if too many wait.
    pub async fn once(&self, key: K, ask: impl Future<Output = T>) -> Option<(T, Role)> {
        let boarded = {
            let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let flight = flights.entry(key).or_default().clone();
            Boarded { flights: self, key, flight }
        };
        if Arc::strong_count(&boarded.flight) > FOLLOWERS {
            return None;
        }
        let mut answer = boarded.flight.lock().await;
        if let Some(answer) = &*answer {
            return Some((answer.clone(), Role::Follower));
        }
        let found = ask.await;
        *answer = Some(found.clone());
        // Who comes now asks anew: an answer serves those who came while it was sought.
        self.land(&key, &boarded.flight);
        drop(answer);
        Some((found, Role::Leader))
    }

    fn land(&self, key: &K, flight: &Flight<T>) {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if flights.get(key).is_some_and(|held| Arc::ptr_eq(held, flight)) {
            flights.remove(key);
        }
    }
}

/// A place on a flight; the last one to leave removes it.
struct Boarded<'a, K: Hash + Eq + Copy, T> {
    flights: &'a Flights<K, T>,
    key: K,
    flight: Flight<T>,
}

impl<K: Hash + Eq + Copy, T> Drop for Boarded<'_, K, T> {
    fn drop(&mut self) {
        let mut flights = self.flights.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = flights.get(&self.key).is_some_and(|held| Arc::ptr_eq(held, &self.flight));
        // Two hold it: the map and we. Under the lock nobody can join.
        if ours && Arc::strong_count(&self.flight) <= 2 {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_who_ask_the_same_ask_once_and_others_ask_themselves() {
        let flights = Flights::default();
        let asked = AtomicUsize::new(0);
        let ask = |key: u8| {
            flights.once(key, async {
                asked.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                tokio::task::yield_now().await;
                asked.load(Ordering::SeqCst)
            })
        };
        let ((first, other), rest) =
            tokio::join!(async { tokio::join!(ask(1), ask(2)) }, futures_util::future::join_all((0..50).map(|_| ask(1))));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!((first.unwrap().1, other.unwrap().1), (Role::Leader, Role::Leader));
        assert!(rest.iter().all(|answer| answer.unwrap().1 == Role::Follower));
        assert!(flights.0.lock().unwrap().is_empty());
        assert_eq!(ask(1).await.unwrap().1, Role::Leader, "an answer serves no latecomers");
    }

    #[tokio::test]
    async fn when_the_leader_goes_away_the_next_one_asks() {
        let flights = Flights::<u8, u8>::default();
        let mut leader = Box::pin(flights.once(1, std::future::pending()));
        assert!(tokio::time::timeout(Duration::ZERO, &mut leader).await.is_err());
        let follower = flights.once(1, async { 7 });
        let (follower, ()) = tokio::join!(follower, async { drop(leader) });
        assert_eq!(follower, Some((7, Role::Leader)));
        drop(Box::pin(flights.once(2, std::future::pending())));
        assert!(flights.0.lock().unwrap().is_empty());
    }
}
