//! Sessions: what is remembered of a login.
//!
//! The token is 256 random bits that only the client holds; the store knows its SHA-256. A session is live
//! only while it is neither idle nor too old, and while its user's epoch and the store's epoch are those it
//! was opened under. It is valid on the host it was opened for and nowhere else.
//!
//! Attackers plant tokens (fixation, attack 54), send garbage (90), hope for rights that were withdrawn (94)
//! and redeem one code many times (114).

mod programs;
mod record;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use quick_cache::sync::Cache;

use crate::admission::barred;
use crate::audit::{Ending, Event, Reason, Trail};
use crate::clock::{Timestamp, random};
use crate::identity::{Attributes, Identity, Issuer, SchemeName, TenantId, User, UserId};
use crate::profile::Profiles;
use crate::scheme::Unavailable;
use crate::secret::Secret;
use crate::store::{Change, ExpiringStore, Group, Insert, Key, Kind, Version};
use crate::users::{Users, Watch};
pub use programs::{KEPT, Place, Programs};
pub use record::LoginId;
use record::{Names, Record};

/// Sessions kept in the cache.
const CACHED: usize = 100_000;
/// How long a one-shot code lives.
const HAND_OVER: Duration = Duration::from_secs(60);
/// Sessions ended to make room for one login, at most; others may be logging the same user in.
const MOST_EVICTED: usize = 8;
/// Attempts to write a session that others are writing.
const MOST_REWRITTEN: usize = 8;
/// Keys asked of the store at once.
const PAGE: usize = 256;

/// How long sessions live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// A session unused for so long is over.
    pub idle: Duration,
    /// A session so old is over.
    pub absolute: Duration,
    /// How long a cached session may be used while the store's changes do not arrive.
    pub revocation_lag: Duration,
    /// The most sessions one user may hold; beyond it the next login ends the one unused for longest. To refuse the
    /// login instead would let anybody who fills the places shut the user out of their own account.
    pub per_user: u32,
    /// For how long a session that ran out still tells whose it was, to [`Sessions::ran_out`] and nobody else. Until then the
    /// store keeps it, and it counts among the sessions of its user. Zero: not at all.
    pub remembered: Duration,
}

impl Default for Settings {
    /// `rulings.md`: idle 30 min, absolute 12 h.
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(30 * 60),
            absolute: Duration::from_secs(12 * 3600),
            revocation_lag: Duration::from_secs(1),
            per_user: 100,
            remembered: Duration::ZERO,
        }
    }
}

/// A session as those who hold an identity know it: enough to end it, not to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRef {
    /// Its key in the store.
    pub key: Key,
    /// The login it descends from; sessions of several hosts share one.
    pub login: LoginId,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it ends at the latest.
    pub until: Timestamp,
}

/// A session just opened.
#[derive(Debug, Clone)]
pub struct Opened {
    /// What the client must present: 43 characters of base64url.
    pub token: Secret<String>,
    /// How to end it.
    pub session: SessionRef,
    /// Who keeps the token.
    pub keeper: Keeper,
}

/// Who keeps the tokens of sessions: neither's is a session of the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Keeper {
    /// Browsers.
    Browser,
    /// Old clients of web services.
    Program,
}

/// All sessions.
#[derive(Debug)]
pub struct Sessions {
    store: Arc<dyn ExpiringStore>,
    users: Arc<Users>,
    settings: Settings,
    profiles: Arc<Profiles>,
    cache: Cache<[u8; 32], Arc<Held>>,
    names: Names,
    changes: Watch,
    scheme: SchemeName,
    programs: Option<Programs>,
}

/// A session as the cache holds it.
#[derive(Debug)]
struct Held {
    key: Key,
    version: Version,
    record: Record,
    read: Timestamp,
    /// Somebody is writing down its use.
    touching: AtomicBool,
    /// The last request of a program that came with it, in microseconds; [`NEVER`] if none.
    asked: AtomicI64,
    /// The last of them that was a use.
    seen: AtomicI64,
}

/// None was seen yet.
const NEVER: i64 = i64::MIN;

impl Sessions {
    /// Sessions in this store.
    pub fn new(store: Arc<dyn ExpiringStore>, users: Arc<Users>, settings: Settings) -> Self {
        let changes = Watch::new(store.changes(), settings.revocation_lag);
        let (cache, scheme) = (Cache::new(CACHED), SchemeName::from("session"));
        let profiles = Arc::default();
        Self { store, users, settings, profiles, cache, names: Names::default(), changes, scheme, programs: None }
    }

    /// The same for users of these profiles.
    pub fn with_profiles(self, profiles: Arc<Profiles>) -> Self {
        Self { profiles, ..self }
    }

    /// How long they live.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Opens a session for an admitted identity on `host`: always a new token and a new login, so that nothing
    /// planted before survives it (attack 54). A session that already carried the identity ends.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer, or the issuer stated more than a session can hold.
    pub async fn open(&self, identity: &Identity, host: &str, now: Timestamp, trail: &mut Trail) -> Result<Opened, Unavailable> {
        self.open_until(identity, host, None, now, trail).await
    }

    /// The same for a login that its issuer limits: the session and all that descend from it end then at the latest.
    ///
    /// # Errors
    /// As [`Sessions::open`].
    pub async fn open_until(
        &self,
        identity: &Identity,
        host: &str,
        ends: Option<Timestamp>,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Opened, Unavailable> {
        self.open_beside(identity, host, ends, now, trail, |_| std::future::ready(Ok(()))).await
    }

    /// The same, and writes at the same time what belongs to the session: a store that commits together what waits together has one
    /// commit of both.
    ///
    /// # Errors
    /// As [`Sessions::open`], and those of `beside`.
    pub async fn open_beside<F: Future<Output = Result<(), Unavailable>> + Send>(
        &self,
        identity: &Identity,
        host: &str,
        ends: Option<Timestamp>,
        now: Timestamp,
        trail: &mut Trail,
        beside: impl FnOnce(SessionRef) -> F + Send,
    ) -> Result<Opened, Unavailable> {
        // The limit is kept as an earlier beginning, so that one rule ends every session.
        let latest = ends.and_then(|ends| ends.checked_sub(signed(self.settings.absolute)).ok());
        let began = latest.map_or(now, |latest| latest.min(now));
        let record = Record { began, ..self.record_of(identity, host, now).await? };
        let opened = self.insert_beside(&identity.user, &record, now, trail, beside).await?;
        self.end(identity, Ending::Renewed, trail).await?;
        Ok(opened)
    }

    /// What is remembered of a login that begins now.
    async fn record_of(&self, identity: &Identity, host: &str, now: Timestamp) -> Result<Record, Unavailable> {
        Ok(Record {
            user: identity.user.id,
            epoch: identity.user.epoch,
            store_epoch: self.users.store_epoch(now).await?,
            login: LoginId(random()?),
            host: host.into(),
            method: identity.method.clone(),
            issuer: identity.issuer.clone(),
            level: identity.level,
            authenticated_at: identity.authenticated_at,
            began: now,
            opened: now,
            used: now,
            attributes: identity.attributes.clone(),
            from: identity.from,
        })
    }

    /// The identity of the session this token opens on `host`, or why there is none. Its `scheme` is `session`; the
    /// scheme that asks puts its own name there. To be found is no use: [`Sessions::used`] is for those who readmitted it.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn find(&self, tenant: &TenantId, host: &str, token: &str, now: Timestamp) -> Result<Result<Identity, Reason>, Unavailable> {
        // Attack 90: what cannot be a token costs neither a hash nor a question to the store.
        let Some(octets) = parse_token(token) else { return Ok(Err(Reason::UnknownSession)) };
        let digest = self.digest(tenant, &octets);
        let Some(held) = self.held(tenant, &digest, now).await? else { return Ok(Err(Reason::UnknownSession)) };
        if *held.record.host != *host {
            return Ok(Err(Reason::UnknownSession));
        }
        let user = match self.live(&held.record, held.used(), tenant, now).await? {
            Ok(user) => user,
            Err(reason) => return Ok(Err(reason)),
        };
        if let Err(reason) = self.pace(&held, now) {
            return Ok(Err(reason));
        }
        Ok(Ok(self.identity(&held, user)))
    }

    /// Notes that the session of an identity was used; `false` if it has ended meanwhile. A request that is refused is no use, or
    /// whoever may not use a session could keep it alive.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn used(&self, identity: &Identity, now: Timestamp) -> Result<bool, Unavailable> {
        let Some(digest) = identity.session.as_ref().and_then(|session| session.key.digest()) else { return Ok(true) };
        let held = match self.cache.get(&digest) {
            Some(held) => held,
            None => match self.held(identity.tenant(), &digest, now).await? {
                Some(held) => held,
                None => return Ok(false),
            },
        };
        if self.programs.is_some() {
            held.seen.fetch_max(now.as_microsecond(), Ordering::AcqRel);
        }
        self.touch(&held, &identity.user, now).await
    }

    /// The user of an identity, as it stands now, while that holds: no right was withdrawn, the session is live. Being asked is no
    /// use of a session.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn holder(&self, identity: &Identity, now: Timestamp) -> Result<Option<Arc<User>>, Unavailable> {
        let user = self.users.by_id(identity.user.id, now).await?;
        let unchanged = user.filter(|user| user.epoch == identity.user.epoch && barred(user).is_none());
        let Some(user) = unchanged else { return Ok(None) };
        let live = match &identity.session {
            Some(session) if now < session.until => {
                let stored = self.store.get(&session.key).await?;
                let record = stored.and_then(|(value, _)| readable(&session.key, &value, &self.names));
                let idle = self.idle(&user);
                let kept = signed(idle.saturating_add(self.slack(idle)));
                record.is_some_and(|record| now.duration_since(record.used) < kept)
            }
            Some(_) => false,
            None => true,
        };
        Ok(live.then_some(user))
    }

    /// Whose session this token opened on `host`, where it ran out within [`Settings::remembered`]. Nobody is let in by that: it
    /// tells for whom something may be kept until they have signed in again. A session that was ended tells nothing.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn ran_out(&self, tenant: &TenantId, host: &str, token: &str, now: Timestamp) -> Result<Option<UserId>, Unavailable> {
        let Some(octets) = parse_token(token).filter(|_| !self.settings.remembered.is_zero()) else { return Ok(None) };
        let Some(held) = self.held(tenant, &self.digest(tenant, &octets), now).await? else { return Ok(None) };
        if *held.record.host != *host {
            return Ok(None);
        }
        if !matches!(self.live(&held.record, held.used(), tenant, now).await?, Err(Reason::IdleSession | Reason::AbsoluteTimeout)) {
            return Ok(None);
        }
        let Some(user) = self.users.by_id(held.record.user, now).await?.filter(|user| user.tenant == *tenant) else { return Ok(None) };
        // The cache may hold it for longer than the store.
        let idle = held.used().checked_add(signed(self.idle(&user))).unwrap_or(Timestamp::MAX);
        let over = self.until(&held.record).min(idle);
        Ok((now.duration_since(over) < signed(self.settings.remembered)).then_some(user.id))
    }

    /// Ends a session and all that descend from the same login. An identity without a session has none to end.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn end(&self, identity: &Identity, ending: Ending, trail: &mut Trail) -> Result<(), Unavailable> {
        let Some(session) = &identity.session else { return Ok(()) };
        self.store.remove_group(&login_group(identity.tenant(), session.login)).await?;
        trail.events.push(ended(Some(&session.key), &identity.user, ending));
        Ok(())
    }

    /// Ends a login of a user by its name, with all its sessions: a partner said so, which holds none of them.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn end_login(
        &self,
        tenant: &TenantId,
        login: LoginId,
        subject: &str,
        ending: Ending,
        trail: &mut Trail,
    ) -> Result<(), Unavailable> {
        self.store.remove_group(&login_group(tenant, login)).await?;
        trail.events.push(Event::SessionEnded { session: None, subject: subject.to_owned(), reason: ending });
        Ok(())
    }

    /// Ends all sessions of a user. A login that is under way may still open one: whoever must shut a user out also
    /// raises the user's epoch.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn end_all(&self, tenant: &TenantId, user: UserId, ending: Ending, trail: &mut Trail) -> Result<u64, Unavailable> {
        let count = self.store.remove_group(&user_group(tenant, user)).await?;
        let name = self.users.store().user(user).await?.map_or_else(|| user.to_string(), |user| user.name.to_string());
        trail.events.push(Event::SessionEnded { session: None, subject: name, reason: ending });
        Ok(count)
    }

    /// Ends those logins of a user for which this issuer stated `value` as its `attribute`: it says so, and holds none of our sessions.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn end_vouched(
        &self,
        tenant: &TenantId,
        user: UserId,
        issuer: &Issuer,
        (attribute, value): (&str, &str),
        trail: &mut Trail,
    ) -> Result<u64, Unavailable> {
        let states = |record: &Record| record.attributes.get(attribute).is_some_and(|values| values.iter().any(|found| found == value));
        let found = self.records(tenant, user).await?;
        let mut logins: Vec<LoginId> = Vec::new();
        for record in found.into_iter().filter_map(|(_, record)| record).filter(|record| record.issuer == *issuer && states(record)) {
            if !logins.contains(&record.login) {
                logins.push(record.login);
            }
        }
        if logins.is_empty() {
            return Ok(0);
        }
        let name = self.users.store().user(user).await?.map_or_else(|| user.to_string(), |user| user.name.to_string());
        let mut count = 0;
        for login in logins {
            count += self.store.remove_group(&login_group(tenant, login)).await?;
            trail.events.push(Event::SessionEnded { session: None, subject: name.clone(), reason: Ending::SingleLogout });
        }
        Ok(count)
    }

    /// Puts what an issuer states now in the place of what it stated at a login, in all sessions of that login.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer, or this is more than a session can hold.
    pub async fn restate(&self, tenant: &TenantId, login: LoginId, attributes: &Arc<Attributes>) -> Result<(), Unavailable> {
        let group = login_group(tenant, login);
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.list(&group, after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for key in page {
                self.restate_one(&key, attributes).await?;
            }
            after = Some(last);
        }
    }

    async fn restate_one(&self, key: &Key, attributes: &Arc<Attributes>) -> Result<(), Unavailable> {
        for _ in 0..MOST_REWRITTEN {
            let Some((value, version)) = self.store.get(key).await? else { return Ok(()) };
            let Some(record) = readable(key, &value, &self.names) else { return Ok(()) };
            if record.attributes == *attributes {
                return Ok(());
            }
            let value = Record { attributes: attributes.clone(), ..record }.encode().ok_or_else(too_long)?;
            if self.store.replace(key, version, &value).await? {
                if let Some(digest) = key.digest() {
                    self.cache.remove(&digest);
                }
                return Ok(());
            }
        }
        Err(Unavailable::new("store", "a session is being written all the time"))
    }

    /// The sessions of a user that the store holds, in key order.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn list(&self, tenant: &TenantId, user: UserId) -> Result<Vec<SessionRef>, Unavailable> {
        let found = self.records(tenant, user).await?;
        Ok(found.into_iter().filter_map(|(key, record)| Some(self.reference(key, &record?))).collect())
    }

    /// A one-shot code that opens a session of the same login on another host of the tenant. Lives 60 s.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer or the identity is not carried by a live session.
    pub async fn hand_over(&self, identity: &Identity, to_host: &str, now: Timestamp) -> Result<Secret<String>, Unavailable> {
        let gone = || Unavailable::new("session", "only a live session can be handed over");
        let session = identity.session.as_ref().ok_or_else(gone)?;
        let (stored, _) = self.store.get(&session.key).await?.ok_or_else(gone)?;
        let record = readable(&session.key, &stored, &self.names).ok_or_else(gone)?;
        let derived = Record { host: to_host.into(), opened: now, used: now, ..record };
        let value = HandOver { parent: session.key.clone(), derived }.encode().ok_or_else(too_long)?;
        let octets = random::<32>()?;
        let key = hand_over_key(identity.tenant(), to_host, &octets);
        match self.store.insert(&key, &value, HAND_OVER, &[], None).await? {
            Insert::Inserted => Ok(Secret::new(URL_SAFE_NO_PAD.encode(octets))),
            Insert::Exists | Insert::Full => Err(Unavailable::new("store", "a new one-shot code was refused")),
        }
    }

    /// Redeems such a code on the host it was made for: exactly one caller gets the session (attack 114).
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn redeem(
        &self,
        tenant: &TenantId,
        host: &str,
        code: &str,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Opened, Reason>, Unavailable> {
        let Some(octets) = parse_token(code) else { return Ok(Err(Reason::BadCode)) };
        // Host and tenant are in the key: elsewhere the code does not exist, and is not spent by trying.
        let Some(value) = self.store.take(&hand_over_key(tenant, host, &octets)).await? else { return Ok(Err(Reason::BadCode)) };
        let Some(HandOver { parent, derived }) = HandOver::decode(&value, &self.names) else { return Ok(Err(Reason::BadCode)) };
        let record = Record { opened: now, used: now, ..derived };
        let user = match self.live(&record, record.used, tenant, now).await? {
            Ok(user) => user,
            Err(reason) => return Ok(Err(reason)),
        };
        if self.store.get(&parent).await?.is_none() {
            return Ok(Err(Reason::BadCode));
        }
        let lines = trail.events.len();
        let opened = self.insert(&user, &record, now, trail).await?;
        // The login may have been ended after we looked and before the new session was in its group. From here on
        // whoever ends it ends this session too.
        if self.store.get(&parent).await?.is_none() {
            self.store.take(&opened.session.key).await?;
            trail.events.truncate(lines);
            return Ok(Err(Reason::BadCode));
        }
        Ok(Ok(opened))
    }

    /// Why the login behind a record that was last used then no longer holds, or whose it is.
    async fn live(
        &self,
        record: &Record,
        used: Timestamp,
        tenant: &TenantId,
        now: Timestamp,
    ) -> Result<Result<Arc<User>, Reason>, Unavailable> {
        if now.duration_since(record.began) >= signed(self.settings.absolute) {
            return Ok(Err(Reason::AbsoluteTimeout));
        }
        if self.users.store_epoch(now).await? != record.store_epoch {
            return Ok(Err(Reason::StaleEpoch));
        }
        let Some(user) = self.users.by_id(record.user, now).await? else { return Ok(Err(Reason::UnknownSession)) };
        if now.duration_since(used) >= signed(self.idle(&user)) {
            return Ok(Err(Reason::IdleSession));
        }
        if user.tenant != *tenant {
            return Ok(Err(Reason::OtherTenant));
        }
        if let Some(reason) = barred(&user) {
            return Ok(Err(reason));
        }
        if user.epoch != record.epoch {
            return Ok(Err(Reason::StaleEpoch));
        }
        Ok(Ok(user))
    }

    /// The session of this digest, from the cache where the cache may be trusted. What is not there is not remembered:
    /// it may be opened in the next moment.
    async fn held(&self, tenant: &TenantId, digest: &[u8; 32], now: Timestamp) -> Result<Option<Arc<Held>>, Unavailable> {
        self.changes.apply(|change| match change {
            Change::Key(key) => drop(key.digest().and_then(|digest| self.cache.remove(&digest))),
            Change::All => self.cache.clear(),
            Change::User(_) | Change::Keys => {}
        });
        if let Some(held) = self.cache.get(digest)
            && self.changes.trusts(held.read, now)
        {
            return Ok(Some(held));
        }
        let generation = self.changes.generation();
        let key = Key::from_digest(tenant, Kind::Session, digest);
        let Some((value, version)) = self.store.get(&key).await? else {
            self.cache.remove(digest);
            return Ok(None);
        };
        let Some(record) = readable(&key, &value, &self.names) else { return Ok(None) };
        let (asked, seen) = (AtomicI64::new(NEVER), AtomicI64::new(NEVER));
        let held = Arc::new(Held { key, version, record, read: now, touching: AtomicBool::new(false), asked, seen });
        self.cache.insert(*digest, held.clone());
        if self.changes.generation() != generation {
            self.cache.remove(digest);
        }
        Ok(Some(held))
    }

    /// Writes down that a session was used: only in the second half of its idle time (of a program's: see
    /// [`Sessions::unwritten`]), and one caller at a time. `false` if it has ended meanwhile.
    async fn touch(&self, held: &Held, user: &User, now: Timestamp) -> Result<bool, Unavailable> {
        if now.duration_since(held.record.used) < signed(self.unwritten(self.idle(user))) || held.touching.swap(true, Ordering::AcqRel) {
            return Ok(true);
        }
        let record = Record { used: now, ..held.record.clone() };
        let value = record.encode().ok_or_else(too_long)?;
        let written = match self.store.replace(&held.key, held.version, &value).await {
            Ok(true) => self.store.extend(&held.key, self.time_to_live(&record, user, now)).await,
            // Another process wrote it down before us, or it is gone.
            Ok(false) => self.store.get(&held.key).await.map(|found| found.is_some()),
            Err(down) => Err(down),
        };
        // The copy is no longer what the store has; or the write failed and the next request tries again.
        held.touching.store(false, Ordering::Release);
        if let Some(digest) = held.key.digest() {
            self.cache.remove(&digest);
        }
        written
    }

    async fn insert(&self, user: &User, record: &Record, now: Timestamp, trail: &mut Trail) -> Result<Opened, Unavailable> {
        self.insert_beside(user, record, now, trail, |_| std::future::ready(Ok(()))).await
    }

    async fn insert_beside<F: Future<Output = Result<(), Unavailable>> + Send>(
        &self,
        user: &User,
        record: &Record,
        now: Timestamp,
        trail: &mut Trail,
        beside: impl FnOnce(SessionRef) -> F + Send,
    ) -> Result<Opened, Unavailable> {
        let tenant = &user.tenant;
        let octets = random::<32>()?;
        let key = Key::from_digest(tenant, Kind::Session, &self.digest(tenant, &octets));
        let value = record.encode().ok_or_else(too_long)?;
        let groups = [user_group(tenant, user.id), login_group(tenant, record.login)];
        let limit = Some((&groups[0], self.settings.per_user.max(1)));
        let first = self.store.insert(&key, &value, self.time_to_live(record, user, now), &groups, limit);
        let (mut inserted, written) = tokio::join!(first, beside(self.reference(key.clone(), record)));
        written?;
        for _ in 0..MOST_EVICTED {
            match inserted? {
                Insert::Inserted => {
                    return Ok(self.opened(user, key, &octets, record, trail));
                }
                Insert::Full => self.make_room(user, trail).await?,
                Insert::Exists => break,
            }
            inserted = self.store.insert(&key, &value, self.time_to_live(record, user, now), &groups, limit).await;
        }
        Err(Unavailable::new("store", "a new session was refused"))
    }

    fn opened(&self, user: &User, key: Key, octets: &[u8; 32], record: &Record, trail: &mut Trail) -> Opened {
        let subject = user.name.to_string();
        trail.events.push(Event::SessionOpened { session: key.to_string(), subject, scheme: record.method.clone() });
        let keeper = if self.programs.is_some() { Keeper::Program } else { Keeper::Browser };
        Opened { token: Secret::new(URL_SAFE_NO_PAD.encode(octets)), session: self.reference(key, record), keeper }
    }

    /// Ends the session of this user that was not used for longest.
    async fn make_room(&self, user: &User, trail: &mut Trail) -> Result<(), Unavailable> {
        let found = self.records(&user.tenant, user.id).await?;
        // Those that cannot be read go first: `None` is least.
        let unused = found.into_iter().min_by_key(|(_, record)| record.as_ref().map(|record| (record.used, record.opened)));
        let Some((key, _)) = unused else { return Ok(()) };
        if self.store.take(&key).await?.is_some() {
            trail.events.push(ended(Some(&key), user, Ending::Renewed));
        }
        Ok(())
    }

    async fn records(&self, tenant: &TenantId, user: UserId) -> Result<Vec<(Key, Option<Record>)>, Unavailable> {
        let group = user_group(tenant, user);
        let mut found = Vec::new();
        let mut after: Option<Key> = None;
        loop {
            let page = self.store.list(&group, after.as_ref(), PAGE).await?;
            let Some(last) = page.last().cloned() else { return Ok(found) };
            for key in page {
                if let Some((value, _)) = self.store.get(&key).await? {
                    let record = readable(&key, &value, &self.names);
                    found.push((key, record));
                }
            }
            after = Some(last);
        }
    }

    fn identity(&self, held: &Held, user: Arc<User>) -> Identity {
        let record = &held.record;
        Identity {
            user,
            scheme: self.scheme.clone(),
            method: record.method.clone(),
            issuer: record.issuer.clone(),
            level: record.level,
            authenticated_at: record.authenticated_at,
            attributes: record.attributes.clone(),
            session: Some(SessionRef { key: held.key.clone(), login: record.login, opened: record.opened, until: self.until(record) }),
            ambient: true,
            from: record.from,
        }
    }

    fn reference(&self, key: Key, record: &Record) -> SessionRef {
        SessionRef { key, login: record.login, opened: record.opened, until: self.until(record) }
    }

    fn until(&self, record: &Record) -> Timestamp {
        record.began.checked_add(signed(self.settings.absolute)).unwrap_or(Timestamp::MAX)
    }

    /// The store forgets a session when it is idle or too old, whichever is first, and nobody wants to know whose it was.
    fn time_to_live(&self, record: &Record, user: &User, now: Timestamp) -> Duration {
        let left = Duration::try_from(self.until(record).duration_since(now)).unwrap_or(Duration::ZERO);
        let idle = self.idle(user);
        left.min(idle.saturating_add(self.slack(idle))).saturating_add(self.settings.remembered)
    }

    /// After how long unused a session of this user is over.
    fn idle(&self, user: &User) -> Duration {
        self.profiles.idle(user).unwrap_or(self.settings.idle)
    }
}

impl Held {
    /// When it was last used, as far as anybody knows.
    fn used(&self) -> Timestamp {
        let seen = Timestamp::from_microsecond(self.seen.load(Ordering::Acquire)).unwrap_or(Timestamp::MIN);
        seen.max(self.record.used)
    }
}

/// What a one-shot code stands for.
struct HandOver {
    /// The session it was made from: while that is gone, the login is over.
    parent: Key,
    derived: Record,
}

impl HandOver {
    fn encode(&self) -> Option<Vec<u8>> {
        let parent = self.parent.as_str().as_bytes();
        let record = self.derived.encode()?;
        Some([&(parent.len() as u64).to_be_bytes(), parent, &record].concat())
    }

    fn decode(octets: &[u8], names: &Names) -> Option<Self> {
        let (length, rest) = octets.split_first_chunk::<8>()?;
        let (parent, record) = rest.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)?;
        Some(Self { parent: Key::from_stored(std::str::from_utf8(parent).ok()?), derived: Record::decode(record, names)? })
    }
}

/// Whether a text could be a session id of ours, or have one in it: 43 characters of base64url with none beside them, as where a
/// load balancer adds its node. Longer ids of applications are none, nor are the shorter ones that they mostly have.
pub fn may_hold_token(text: &str) -> bool {
    let foreign = |octet: &u8| !(octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'));
    text.as_bytes().split(foreign).any(|run| run.len() == TOKEN_LENGTH)
}

/// 32 octets in base64url.
const TOKEN_LENGTH: usize = 43;

/// The 256 bits of a token or code; `None` for anything else, without looking at more than its length.
fn parse_token(text: &str) -> Option<[u8; 32]> {
    // The decoder estimates 33 octets for 43 characters.
    let mut octets = [0; 33];
    if text.len() != TOKEN_LENGTH || URL_SAFE_NO_PAD.decode_slice(text, &mut octets).ok()? != 32 {
        return None;
    }
    octets.first_chunk().copied()
}

fn hand_over_key(tenant: &TenantId, host: &str, code: &[u8; 32]) -> Key {
    Key::of(tenant, Kind::Handoff, &[host.as_bytes(), code])
}

fn user_group(tenant: &TenantId, user: UserId) -> Group {
    Group::of(tenant, Kind::Session, format_args!("user:{user}"))
}

fn login_group(tenant: &TenantId, login: LoginId) -> Group {
    Group::of(tenant, Kind::Session, format_args!("login:{login}"))
}

fn ended(session: Option<&Key>, user: &User, reason: Ending) -> Event {
    Event::SessionEnded { session: session.map(Key::to_string), subject: user.name.to_string(), reason }
}

/// A record that cannot be read, e.g. one of a newer version after going back to an older program, is no session:
/// its user logs in again, where an error would shut them out until it expires.
fn readable(key: &Key, value: &[u8], names: &Names) -> Option<Record> {
    let record = Record::decode(value, names);
    if record.is_none() {
        tracing::warn!(session = %key, "a stored session is unreadable and ignored");
    }
    record
}

fn too_long() -> Unavailable {
    Unavailable::new("session", "the issuer stated more than a session can hold")
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
