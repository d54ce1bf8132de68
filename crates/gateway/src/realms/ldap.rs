//! A directory that checks passwords: search as a service account, then bind as who was found
//! (`authentication-chain.md` §3.4; RFC 4511, 4513, 4515).
//!
//! An attacker sends names that are filters, empty passwords that many servers take for an anonymous success
//! (RFC 4513 §5.1.2, attack 98), and waits for a fault of the directory to count as a yes. So names are escaped, an
//! empty password or name is never bound, only result 0 without a word against it is a yes, and every answer
//! we do not know is an outage.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ldap3::controls::RawControl;
use ldap3::{DerefAliases, Ldap, LdapError, LdapResult, ResultEntry, Scope, SearchEntry, SearchOptions};
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use tokio::time::timeout;
use vestibule_engine::Timestamp;
use vestibule_engine::admission::barred;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{
    AccountState, Attributes, ExternalId, GroupName, Issuer, ProfileName, RealmName, TenantId, User, UserId, Username,
};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{Account, Accounts, Attempt, Check, Offered, Realm, Terms};
use vestibule_engine::request::RequestId;
use vestibule_engine::scheme::{Unavailable, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::users::Users;

use self::entry::{Entry, Name};
use self::filter::Template;
use self::pool::{Pool, Searcher, ServiceAccount};
use self::result::{PASSWORD_POLICY, Policy, Verdict, judge};
use self::wire::Server;
use super::pace::Pace;

pub mod entry;
pub mod filter;
pub mod pool;
mod result;
pub mod wire;

/// How long the directory may search, in seconds.
const SEARCH_SECONDS: i32 = 3;
/// Entries asked for: a second one makes the name ambiguous, more say nothing more.
const ENTRIES: i32 = 2;
/// Most items of one search; Active Directory adds a few continuation references, which are not followed.
const MAX_ITEMS: usize = 64;
/// Longest distinguished name, in octets.
const MAX_DN: usize = 8192;
/// How often a change is tried again when others change the same user.
const TRIES: usize = 4;
/// People of whom it is remembered when they were read.
const REMEMBERED: usize = 100_000;
/// After which somebody is read again who could not be read.
const RETRY: Duration = Duration::from_secs(30);

/// How a directory spells what the standards leave open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenLDAP with the overlay `ppolicy`.
    OpenLdap,
    /// Active Directory.
    ActiveDirectory,
    /// 389 Directory Server.
    Ds389,
}

/// Which entries below the base are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// All.
    Subtree,
    /// Those directly below it.
    OneLevel,
}

/// Which attribute says what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapping {
    /// The id that never changes.
    pub id: String,
    /// The login name of an account that is made.
    pub name: String,
    /// The name to show.
    pub display_name: String,
    /// The mail address.
    pub email: String,
}

/// Where groups come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Groups {
    /// From the account here; the directory is not asked.
    Ours,
    /// Listed names of groups in the directory, each with its name here.
    Table {
        /// The attribute that holds them.
        attribute: String,
        /// The names.
        names: HashMap<Name, String>,
    },
    /// All groups below a base, by the value their own name begins with.
    Below {
        /// The attribute that holds them.
        attribute: String,
        /// The base.
        base: Name,
    },
}

/// What happens to somebody the directory knows and we do not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Newcomers {
    /// They are refused.
    Refused,
    /// They get an account without a password, of this profile.
    Provisioned(ProfileName),
}

/// What a realm is made of.
#[derive(Debug)]
pub struct Settings {
    /// Its name; the issuer of its ids.
    pub name: RealmName,
    /// Servers with the same content, in the order in which they are tried.
    pub servers: Vec<Server>,
    /// Who searches.
    pub account: ServiceAccount,
    /// Attempts at one time.
    pub connections: usize,
    /// Below which entry people are.
    pub base: String,
    /// How far below.
    pub reach: Reach,
    /// Which of them has the name.
    pub filter: Template,
    /// How the directory speaks.
    pub dialect: Dialect,
    /// Which attribute says what.
    pub mapping: Mapping,
    /// Where groups come from.
    pub groups: Groups,
    /// What happens to newcomers.
    pub newcomers: Newcomers,
    /// How long one attempt may take.
    pub time_limit: Duration,
    /// How long what was read of somebody holds while their session goes on.
    pub refresh: Duration,
}

/// The realm over a directory.
#[derive(Debug)]
pub struct LdapRealm {
    inner: Arc<Inner>,
    /// Sockets belong to the control runtime, whichever core asks.
    control: Handle,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    pool: Pool,
    profiles: Arc<Profiles>,
    users: Arc<Users>,
    clock: Arc<dyn Clock>,
    pace: Pace,
    /// When, on the monotonic clock, who is next to be read again. Somebody not in it is due: the process is new, or the
    /// other node's.
    due: Cache<UserId, Duration>,
}

impl LdapRealm {
    /// A realm over a directory whose people are these users, of these profiles. Speaks to it on the runtime `control`.
    pub fn new(settings: Settings, profiles: Arc<Profiles>, users: Arc<Users>, clock: Arc<dyn Clock>, control: Handle) -> Self {
        let pool = Pool::new(&settings, clock.clone());
        Self {
            inner: Arc::new(Inner { settings, pool, profiles, users, clock, pace: Pace::default(), due: Cache::new(REMEMBERED) }),
            control,
        }
    }
}

#[async_trait]
impl Realm for LdapRealm {
    fn name(&self) -> &RealmName {
        &self.inner.settings.name
    }

    async fn verify(&self, attempt: &Attempt<'_>, _: &mut Trail) -> Result<Check, Unavailable> {
        // A directory compares passwords, not digests of them.
        let Offered::Password(password) = attempt.secret else { return Ok(Check::Rejected(Reason::NoPassword)) };
        // `Passwords` refuses it before; whoever forgets that must not find a directory that says yes.
        if password.reveal().is_empty() {
            return Ok(Check::Rejected(Reason::EmptyPassword));
        }
        match attempt.accounts {
            Accounts::All | Accounts::Elsewhere => {}
            // `rulings.md`: break-glass accounts are in the local realm only.
            Accounts::BreakGlass => return Ok(Check::Rejected(Reason::UnknownUser)),
        }
        let inner = self.inner.clone();
        let started = inner.clock.monotonic();
        let limit = inner.settings.time_limit.min(attempt.deadline.saturating_sub(started));
        let (tenant, username, password, terms) = (attempt.tenant.clone(), attempt.username.clone(), password.clone(), attempt.terms());
        // A task of its own: a directory whose answer breaks `ldap3` breaks that task, and somebody who hangs up
        // does not stop half-way what is then not counted.
        let task = self.control.spawn(async move {
            match timeout(limit, inner.check(&tenant, &username, &password, &terms)).await {
                Ok(answer) => answer,
                Err(_) => Err(inner.pool.down(format!("no answer within {limit:?}"))),
            }
        });
        match task.await {
            Ok(answer) => answer,
            Err(_) => Err(self.inner.pool.down("the directory sent what cannot be read")),
        }
    }

    fn dearest(&self) -> Duration {
        self.inner.pace.slowest()
    }

    fn is_due(&self, user: UserId) -> bool {
        self.inner.due.get(&user).is_none_or(|due| self.inner.clock.monotonic() >= due)
    }

    async fn renew(&self, user: &User) {
        let inner = self.inner.clone();
        // One of many requests at once reads, the others go on as before.
        inner.put_off(user.id, inner.settings.time_limit);
        let (user, limit) = (user.clone(), inner.settings.time_limit);
        let task = self.control.spawn(async move {
            let read = timeout(limit, inner.read_again(&user)).await;
            let next = match read.unwrap_or_else(|_| Err(inner.pool.down(format!("no answer within {limit:?}")))) {
                Ok(()) => inner.settings.refresh,
                Err(down) => {
                    tracing::warn!(realm = %inner.settings.name, user = %user.id, %down, "somebody's session goes on with what was read before");
                    inner.settings.refresh.min(RETRY)
                }
            };
            inner.put_off(user.id, next);
        });
        if task.await.is_err() {
            tracing::warn!(realm = %self.inner.settings.name, "the directory sent what cannot be read");
        }
    }
}

async fn bind_as(ldap: &mut Ldap, entry: &Entry, password: &Secret<String>) -> Result<LdapResult, LdapError> {
    // Not critical: a server that does not know it answers without.
    let control = RawControl { ctype: PASSWORD_POLICY.to_owned(), crit: false, val: None };
    ldap.with_controls(control).simple_bind(&entry.dn, password.reveal()).await
}

/// What a search came to.
enum Found {
    Nobody,
    One(Entry),
    Several,
}

impl Inner {
    async fn check(&self, tenant: &TenantId, username: &Username, password: &Secret<String>, terms: &Terms) -> Result<Check, Unavailable> {
        let _seat = self.pool.seat().await?;
        // Waiting for a seat is not the directory's time.
        let started = self.clock.monotonic();
        let entry = match self.find(&self.settings.filter.fill(username)).await? {
            Found::Nobody => return Ok(Check::Rejected(Reason::UnknownUser)),
            Found::Several => {
                tracing::error!(realm = %self.settings.name, "the directory has several entries for one name; none of them can sign in");
                return Ok(Check::Rejected(Reason::AmbiguousUser));
            }
            Found::One(entry) => entry,
        };
        if let Some(reason) = entry.barred(self.settings.dialect) {
            return Ok(Check::Rejected(reason));
        }
        // RFC 4513 §5.1.1: a bind without a name is anonymous.
        if entry.dn.trim().is_empty() || entry.dn.len() > MAX_DN {
            tracing::error!(realm = %self.settings.name, "the directory found an entry whose name cannot be bound");
            return Ok(Check::Rejected(Reason::DirectoryRefused));
        }
        let Some(id) = entry.id(&self.settings.mapping) else {
            tracing::error!(realm = %self.settings.name, dn = %entry.dn, attribute = %self.settings.mapping.id, "an entry has no single id");
            return Ok(Check::Rejected(Reason::NoAccount));
        };
        let id = ExternalId { issuer: Issuer::from(self.settings.name.as_str()), id };
        // Read before the password is checked: a success counts only for the epoch it began under.
        let held = self.users.by_external_id(tenant, &id).await?;
        if let Some(reason) = self.keeps_out(held.as_deref(), terms) {
            return Ok(Check::Rejected(reason));
        }
        let policy = match self.bind(&entry, password).await? {
            Ok(policy) => policy,
            Err(reason) => {
                self.pace.note(self.clock.monotonic().saturating_sub(started));
                return Ok(Check::Rejected(reason));
            }
        };
        self.pace.note(self.clock.monotonic().saturating_sub(started));
        if terms.accounts == Accounts::Elsewhere {
            let who = held.map_or(Who::External(id), |user| Who::User(user.id));
            return Ok(Check::Accepted(Account { who, attributes: stated(policy), epoch: None }));
        }
        let groups = entry.groups(&self.settings.groups).map_err(|why| self.pool.down(why))?;
        let admitted = match held {
            Some(user) => self.refresh(user.id, user.epoch, &entry, groups).await?,
            None => self.welcome(tenant, username, id, &entry, groups, terms.now).await?,
        };
        if let Ok((user, _)) = &admitted {
            self.put_off(*user, self.settings.refresh);
        }
        Ok(match admitted {
            Ok((user, epoch)) => Check::Accepted(Account { who: Who::User(user), attributes: stated(policy), epoch }),
            Err(reason) => Check::Rejected(reason),
        })
    }

    /// Why nobody with this account, or with the one they would get, may enter. Found before the password is tried: afterwards it
    /// would show that it was right.
    fn keeps_out(&self, held: Option<&User>, terms: &Terms) -> Option<Reason> {
        // A password here must not survive a revocation where it is checked now; that service may be us, and this realm who it asks.
        let elsewhere = |delegate: Option<&RealmName>| delegate.filter(|_| terms.accounts == Accounts::All).map(|_| Reason::NoPassword);
        match (held, &self.settings.newcomers) {
            (Some(user), _) => barred(user).or_else(|| elsewhere(self.profiles.delegate(user))).or_else(|| terms.bar(user, &self.profiles)),
            (None, Newcomers::Provisioned(profile)) if terms.accounts == Accounts::All => {
                elsewhere(self.profiles.delegate_of(profile)).or_else(|| terms.bar_all(profile, &self.profiles))
            }
            (None, Newcomers::Provisioned(_) | Newcomers::Refused) => None,
        }
    }

    fn put_off(&self, user: UserId, by: Duration) {
        self.due.insert(user, self.clock.monotonic().saturating_add(by));
    }

    /// Brings somebody up to date whose session goes on. Who is not there any more, or may not enter, loses it.
    async fn read_again(&self, user: &User) -> Result<(), Unavailable> {
        let issuer = Issuer::from(self.settings.name.as_str());
        let Some(known) = user.external_ids.iter().find(|known| known.issuer == issuer) else { return Ok(()) };
        let _seat = self.pool.seat().await?;
        let filter = self.settings.filter.fill_id(&self.settings.mapping.id, &known.id);
        let gone = match self.find(&filter).await? {
            Found::One(entry) if entry.id(&self.settings.mapping).as_ref() == Some(&known.id) => {
                match entry.barred(self.settings.dialect) {
                    None => {
                        let groups = entry.groups(&self.settings.groups).map_err(|why| self.pool.down(why))?;
                        return self.refresh(user.id, user.epoch, &entry, groups).await.map(drop);
                    }
                    Some(reason) => reason,
                }
            }
            Found::One(_) | Found::Nobody => Reason::UnknownUser,
            Found::Several => Reason::AmbiguousUser,
        };
        tracing::info!(realm = %self.settings.name, user = %user.id, ?gone, "the directory does not vouch for somebody any more; their sessions end");
        let store = self.users.store();
        for _ in 0..TRIES {
            let Some(user) = store.user(user.id).await? else { return Ok(()) };
            let ended = User { epoch: user.epoch.saturating_add(1), ..user.clone() };
            if store.update_user(&ended, user.epoch).await? {
                return Ok(());
            }
        }
        Err(Unavailable::new("store", "the user is being changed all the time"))
    }

    /// Searches on a kept connection, and once more on a new one if that was closed meanwhile.
    async fn find(&self, filter: &str) -> Result<Found, Unavailable> {
        let mut searcher = self.pool.searcher().await?;
        let mut found = self.search(&mut searcher, filter).await;
        if found.is_err() && searcher.reused {
            searcher = self.pool.fresh().await?;
            found = self.search(&mut searcher, filter).await;
        }
        let found = found?;
        self.pool.keep(searcher);
        Ok(found)
    }

    async fn search(&self, searcher: &mut Searcher, filter: &str) -> Result<Found, Unavailable> {
        let down = |error: LdapError| self.pool.down(error);
        let scope = match self.settings.reach {
            Reach::Subtree => Scope::Subtree,
            Reach::OneLevel => Scope::OneLevel,
        };
        let options = SearchOptions::new().deref(DerefAliases::Never).sizelimit(ENTRIES).timelimit(SEARCH_SECONDS);
        let ldap = searcher.ldap.with_search_options(options);
        let mut stream = ldap.streaming_search(&self.settings.base, scope, filter, self.attributes()).await.map_err(down)?;
        let (mut entries, mut items) = (Vec::new(), 0_usize);
        while let Some(item) = stream.next().await.map_err(down)? {
            items += 1;
            if entries.len() > 2 || items > MAX_ITEMS {
                return Err(self.pool.down("the directory sends more than it was asked for"));
            }
            // A continuation reference leads to another server, which we did not choose: not followed.
            if is_entry(&item) {
                entries.push(item);
            }
        }
        let result = stream.finish().await;
        match (result.rc, entries.len()) {
            (0, 0) => Ok(Found::Nobody),
            (0, 1) => Ok(entries.pop().map_or(Found::Nobody, |entry| Found::One(Entry::new(SearchEntry::construct(entry))))),
            // 4 is sizeLimitExceeded: there are more than we asked for.
            (0 | 4, 2..) => Ok(Found::Several),
            (code, _) => {
                tracing::error!(realm = %self.settings.name, result = code, "the directory cannot search; is `base` right, and may the service account read it?");
                Err(self.pool.down(format!("the search ended with result {code}")))
            }
        }
    }

    fn attributes(&self) -> Vec<&str> {
        let Mapping { id, name, display_name, email } = &self.settings.mapping;
        let mut attributes = vec![id.as_str(), name, display_name, email];
        match &self.settings.groups {
            Groups::Ours => {}
            Groups::Table { attribute, .. } | Groups::Below { attribute, .. } => attributes.push(attribute),
        }
        attributes.push(match self.settings.dialect {
            Dialect::OpenLdap => "pwdAccountLockedTime",
            Dialect::ActiveDirectory => "userAccountControl",
            Dialect::Ds389 => "nsAccountLock",
        });
        attributes
    }

    /// Tries the password on a kept connection, and once more on a new one if that was closed meanwhile.
    async fn bind(&self, entry: &Entry, password: &Secret<String>) -> Result<Result<Policy, Reason>, Unavailable> {
        let mut binder = self.pool.binder().await?;
        let bound = match bind_as(&mut binder.ldap, entry, password).await {
            Err(error) if binder.reused => {
                tracing::debug!(realm = %self.settings.name, %error, "a kept connection to the directory was closed");
                binder = self.pool.fresh_binder().await?;
                bind_as(&mut binder.ldap, entry, password).await
            }
            bound => bound,
        };
        let result = bound.map_err(|error| self.pool.down(error))?;
        let said = result.ctrls.iter().find(|control| control.1.ctype == PASSWORD_POLICY).and_then(|control| control.1.val.as_deref());
        let policy = said.map(Policy::parse).unwrap_or_default();
        let verdict = judge(result.rc, &result.text, policy, self.settings.dialect);
        // What answered oddly is not asked again.
        if matches!(verdict, Verdict::Accepted | Verdict::Refused(_)) {
            self.pool.keep_binder(binder);
        }
        match verdict {
            Verdict::Accepted => Ok(Ok(policy)),
            Verdict::Refused(Reason::WrongPassword) if entry.may_be_locked(self.settings.dialect) => Ok(Err(Reason::Locked)),
            Verdict::Refused(reason) => Ok(Err(reason)),
            Verdict::Odd(code) => {
                tracing::warn!(realm = %self.settings.name, dn = %entry.dn, result = code, "the directory refuses a bind");
                Ok(Err(Reason::DirectoryRefused))
            }
            Verdict::Unavailable(code) => Err(self.pool.down(format!("the bind ended with result {code}"))),
        }
    }

    /// Brings the account up to date. Somebody who lost a group loses their sessions (attack 94): the epoch rises.
    /// Whoever only gained one keeps them.
    async fn refresh(
        &self,
        id: UserId,
        began: u64,
        entry: &Entry,
        groups: Option<Vec<GroupName>>,
    ) -> Result<Result<(UserId, Option<u64>), Reason>, Unavailable> {
        let store = self.users.store();
        for _ in 0..TRIES {
            let Some(user) = store.user(id).await? else { return Ok(Err(Reason::NoAccount)) };
            if let Some(reason) = barred(&user) {
                return Ok(Err(reason));
            }
            // `rulings.md`: operators and emergency accounts are never federated.
            if user.is_operator() {
                tracing::warn!(realm = %self.settings.name, user = %user.id, "a directory must not vouch for an operator account");
                return Ok(Err(Reason::SubjectNotAllowed));
            }
            let groups = groups.clone().unwrap_or_else(|| user.groups.clone());
            let lost = user.groups.iter().any(|group| !groups.contains(group));
            let renewed = User {
                display_name: entry.text(&self.settings.mapping.display_name).or_else(|| user.display_name.clone()),
                email: entry.text(&self.settings.mapping.email).or_else(|| user.email.clone()),
                groups,
                epoch: if lost { user.epoch.saturating_add(1) } else { user.epoch },
                ..user.clone()
            };
            // Somebody raised it while the password was on its way: this success is not to be remembered.
            let epoch = (user.epoch == began).then_some(renewed.epoch);
            if renewed == user || store.update_user(&renewed, user.epoch).await? {
                return Ok(Ok((id, epoch)));
            }
        }
        Err(Unavailable::new("store", "the user is being changed all the time"))
    }

    /// Makes an account for somebody new, if that is wanted. An account of the same name is never taken for theirs:
    /// whoever can choose a name in the directory could choose an account here.
    async fn welcome(
        &self,
        tenant: &TenantId,
        typed: &Username,
        id: ExternalId,
        entry: &Entry,
        groups: Option<Vec<GroupName>>,
        now: Timestamp,
    ) -> Result<Result<(UserId, Option<u64>), Reason>, Unavailable> {
        let profile = match &self.settings.newcomers {
            Newcomers::Refused => return Ok(Err(Reason::NoAccount)),
            Newcomers::Provisioned(profile) => profile.clone(),
        };
        let name = entry.text(&self.settings.mapping.name).map_or_else(|| Some(typed.clone()), |name| Username::parse(&name));
        let Some(name) = name else {
            tracing::error!(realm = %self.settings.name, dn = %entry.dn, "an entry's login name cannot be one here");
            return Ok(Err(Reason::NoAccount));
        };
        let user = User {
            id: UserId(RequestId::new(now)?.0),
            tenant: tenant.clone(),
            name,
            display_name: entry.text(&self.settings.mapping.display_name),
            email: entry.text(&self.settings.mapping.email),
            groups: groups.unwrap_or_default(),
            profile,
            state: AccountState::Active,
            must_change_password: false,
            break_glass: false,
            epoch: 0,
            password: None,
            external_ids: vec![id.clone()],
            created: now,
        };
        if self.users.store().insert_user(&user).await? {
            tracing::info!(realm = %self.settings.name, user = %user.id, "an account was made for somebody of the directory");
            return Ok(Ok((user.id, Some(user.epoch))));
        }
        // Two first logins at once: the other one made it.
        if let Some(user) = self.users.by_external_id(tenant, &id).await? {
            return self.refresh(user.id, user.epoch, entry, Some(user.groups.clone())).await;
        }
        tracing::error!(realm = %self.settings.name, name = %user.name, "somebody of the directory has the name of another account here");
        Ok(Err(Reason::NoAccount))
    }
}

fn is_entry(item: &ResultEntry) -> bool {
    !item.is_ref() && !item.is_intermediate()
}

/// What the directory warned of, passed on to the session.
fn stated(policy: Policy) -> Attributes {
    let warnings = [("password_expires_in", policy.expires_in), ("password_grace_logins", policy.grace_logins)];
    warnings.into_iter().filter_map(|(name, value)| Some((name.to_owned(), vec![value?.to_string()]))).collect()
}
