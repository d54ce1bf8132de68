//! Sessions of old web-service clients (`oracle-stateful-sessions.md` §3): they have a quota for each tenant, keep a distance
//! between requests, and never fit where a browser's session is asked for.
//!
//! Attackers fill the quota, so that only who has proved who they are takes a place, and a full house refuses newcomers
//! instead of ending the sessions of others. They also play a browser's token as a program's and the other way round: the two
//! have different digests.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::record::Record;
use super::{Held, Opened, Sessions, Settings, login_group, parse_token, too_long, user_group};
use crate::audit::{Ending, Event, Reason, Trail};
use crate::clock::{Timestamp, random};
use crate::identity::{Identity, TenantId, User};
use crate::scheme::Unavailable;
use crate::secret::Secret;
use crate::store::{ExpiringStore, Group, Insert, Key, Kind, digest};
use crate::users::Users;

/// The use of a session is written down again after this part of its idle time: what a process that dies forgets of it.
const UNWRITTEN: u32 = 20;

/// What holds for sessions of programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Programs {
    /// The most sessions of a tenant that [`Place::Counted`] are.
    pub quota: u32,
    /// The least distance between two requests of a session.
    pub spacing: Duration,
}

/// Said of a session, as an attribute, that [`Place::Kept`] holds.
pub const KEPT: &str = "kept";

/// Whether a session takes a place of the tenant's quota.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// It does: a login that lasts until it is ended.
    Counted,
    /// It does not: a stateless request that asked to be remembered for the next one. A user has as many as browsers may.
    Kept,
}

impl Sessions {
    /// Sessions of programs in this store.
    pub fn of_programs(store: Arc<dyn ExpiringStore>, users: Arc<Users>, settings: Settings, programs: Programs) -> Self {
        Self { programs: Some(programs), ..Self::new(store, users, settings) }
    }

    /// Opens a session for an admitted identity if there is a place: [`Reason::SessionQuota`] if there is none, and nobody
    /// else's session ends for it.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub async fn open_place(
        &self,
        identity: &Identity,
        host: &str,
        place: Place,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Opened, Reason>, Unavailable> {
        let mut record = self.record_of(identity, host, now).await?;
        if place == Place::Kept {
            Arc::make_mut(&mut record.attributes).insert(KEPT.to_owned(), vec!["true".to_owned()]);
        }
        self.take_place(&identity.user, &record, place, now, trail).await
    }

    async fn take_place(
        &self,
        user: &User,
        record: &Record,
        place: Place,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Opened, Reason>, Unavailable> {
        let quota = match (place, &self.programs) {
            (Place::Counted, Some(programs)) => programs.quota,
            (Place::Kept, _) | (_, None) => return self.insert(user, record, now, trail).await.map(Ok),
        };
        let tenant = &user.tenant;
        let octets = random::<32>()?;
        let key = Key::from_digest(tenant, Kind::Session, &self.digest(tenant, &octets));
        let value = record.encode().ok_or_else(too_long)?;
        let groups = [quota_group(tenant), user_group(tenant, user.id), login_group(tenant, record.login)];
        let limit = Some((&groups[0], quota));
        match self.store.insert(&key, &value, self.time_to_live(record, user, now), &groups, limit).await? {
            Insert::Inserted => Ok(Ok(self.opened(user, key, &octets, record, trail))),
            Insert::Full => Ok(Err(Reason::SessionQuota)),
            Insert::Exists => Err(Unavailable::new("store", "a new session was refused")),
        }
    }

    /// Ends the session this token opens on `host`, and says whose it was; `None` if there is none. Its distance to the last
    /// request does not matter.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn close(
        &self,
        tenant: &TenantId,
        host: &str,
        token: &str,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Option<Arc<User>>, Unavailable> {
        let Some(octets) = parse_token(token) else { return Ok(None) };
        let Some(held) = self.held(tenant, &self.digest(tenant, &octets), now).await? else { return Ok(None) };
        if *held.record.host != *host || self.store.remove_group(&login_group(tenant, held.record.login)).await? == 0 {
            return Ok(None);
        }
        let user = self.users.by_id(held.record.user, now).await?;
        let subject = user.as_ref().map_or_else(|| held.record.user.to_string(), |user| user.name.to_string());
        trail.events.push(Event::SessionEnded { session: Some(held.key.to_string()), subject, reason: Ending::Logout });
        Ok(user)
    }

    /// A one-shot code that opens a session on `host` for somebody who was admitted elsewhere, and has none yet. It is good for
    /// `lasts`, and only together with what it is bound to.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub async fn promise(
        &self,
        identity: &Identity,
        host: &str,
        bound: &[&[u8]],
        lasts: Duration,
        now: Timestamp,
    ) -> Result<Secret<String>, Unavailable> {
        let octets = random::<32>()?;
        let value = self.record_of(identity, host, now).await?.encode().ok_or_else(too_long)?;
        match self.store.insert(&promise_key(identity.tenant(), host, bound, &octets), &value, lasts, &[], None).await? {
            Insert::Inserted => Ok(Secret::new(URL_SAFE_NO_PAD.encode(octets))),
            Insert::Exists | Insert::Full => Err(Unavailable::new("store", "a new one-shot code was refused")),
        }
    }

    /// Redeems such a code: exactly one caller gets the session (attack 114), and whose it is.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn redeem_promise(
        &self,
        tenant: &TenantId,
        host: &str,
        bound: &[&[u8]],
        code: &str,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<(Opened, Arc<User>), Reason>, Unavailable> {
        let Some(octets) = parse_token(code) else { return Ok(Err(Reason::BadCode)) };
        // All it is bound to is in the key: with anything else the code does not exist, and is not spent by trying.
        let Some(value) = self.store.take(&promise_key(tenant, host, bound, &octets)).await? else { return Ok(Err(Reason::BadCode)) };
        let Some(promised) = Record::decode(&value, &self.names) else { return Ok(Err(Reason::BadCode)) };
        let user = match self.live(&promised, promised.used, tenant, now).await? {
            Ok(user) => user,
            Err(reason) => return Ok(Err(reason)),
        };
        let record = Record { began: now, opened: now, used: now, ..promised };
        let opened = self.take_place(&user, &record, Place::Counted, now, trail).await?;
        Ok(opened.map(|opened| (opened, user)))
    }

    /// Notes a request with a program's session, or says for how many milliseconds it comes too soon.
    pub(super) fn pace(&self, held: &Held, now: Timestamp) -> Result<(), Reason> {
        let Some(programs) = &self.programs else { return Ok(()) };
        let spacing = i64::try_from(programs.spacing.as_micros()).unwrap_or(i64::MAX);
        let now = now.as_microsecond();
        let mut last = held.asked.load(Ordering::Acquire);
        loop {
            let since = now.saturating_sub(last);
            // A clock that was set back makes nobody wait.
            if (0..spacing).contains(&since) {
                let wait = spacing.saturating_sub(since).saturating_add(999) / 1000;
                return Err(Reason::RequestRate(u32::try_from(wait).unwrap_or(u32::MAX)));
            }
            match held.asked.compare_exchange_weak(last, now, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Ok(()),
                Err(other) => last = other,
            }
        }
    }

    /// For how long uses are not written down: half the idle time of a browser's session, less of a program's, whose idle time
    /// is short and stated to the minute.
    pub(super) fn unwritten(&self, idle: Duration) -> Duration {
        if self.programs.is_some() { idle / UNWRITTEN } else { idle / 2 }
    }

    /// How much longer than idle the store keeps a session: its last use may not be written down.
    pub(super) fn slack(&self, idle: Duration) -> Duration {
        if self.programs.is_some() { self.unwritten(idle) } else { Duration::ZERO }
    }

    /// The tenant is hashed too: the cache is asked by digest alone, and must not know a token in another tenant. Of programs
    /// one part more is hashed, so that no token is both.
    pub(super) fn digest(&self, tenant: &TenantId, token: &[u8; 32]) -> [u8; 32] {
        match self.programs {
            Some(_) => digest(&[b"program", tenant.as_str().as_bytes(), token]),
            None => digest(&[tenant.as_str().as_bytes(), token]),
        }
    }
}

fn promise_key(tenant: &TenantId, host: &str, bound: &[&[u8]], code: &[u8; 32]) -> Key {
    let parts: Vec<&[u8]> = [b"promise", host.as_bytes(), code].into_iter().chain(bound.iter().copied()).collect();
    Key::of(tenant, Kind::Handoff, &parts)
}

/// All counted sessions of a tenant.
fn quota_group(tenant: &TenantId) -> Group {
    Group::of(tenant, Kind::Session, format_args!("programs"))
}

#[cfg(test)]
mod tests;
