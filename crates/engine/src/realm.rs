//! Realms check passwords; [`Passwords`] is their only caller.
//!
//! It keeps the gates, the order, the decoy and the floor, and counts one guess once, however many realms
//! saw it and however it arrived (`authentication-chain.md` §9–§10).

use std::fmt::Debug;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::audit::{Event, Gate, Reason, Trail};
use crate::clock::{Clock, Timestamp, random};
use crate::identity::{Attributes, Level, ProfileName, RealmName, SchemeName, TenantId, User, UserId, Username};
use crate::profile::Profiles;
use crate::realm::gates::{Entry, Gates, Rule};
use crate::realm::repeats::{Fingerprint, Repeats};
use crate::realm::seats::Seats;
use crate::request::{Channel, Client};
use crate::scheme::{Rejection, Unavailable, Verdict, Who};
use crate::secret::Secret;
use crate::store::{ExpiringStore, Key, Kind, digest};

mod gates;
mod repeats;
mod seats;

/// A store that checks passwords.
#[async_trait]
pub trait Realm: Debug + Send + Sync {
    /// The name the configuration gave it.
    fn name(&self) -> &RealmName;

    /// Checks one attempt. What else is worth a record goes into the trail; its line there is its caller's.
    ///
    /// # Errors
    /// [`Unavailable`] if it cannot be asked; never for a wrong password.
    async fn verify(&self, attempt: &Attempt<'_>, trail: &mut Trail) -> Result<Check, Unavailable>;

    /// The longest that checking one password takes, whoever's it is. A failure is not answered before that,
    /// or the accounts with dearer hashes would show.
    fn dearest(&self) -> Duration {
        Duration::ZERO
    }

    /// Costs what checking a wrong password costs, and checks nothing. Of a failure in which a realm was not asked, because an
    /// earlier one knew the name, nobody must tell that by the time: a floor hides it only while nothing waits for a processor.
    async fn pretend(&self, _attempt: &Attempt<'_>) {}

    /// Whether an account on which a live session rests should be read again: what was changed at the realm since the
    /// login must not hold for as long as the session does (attack 94). Whoever is told so once calls [`Realm::renew`].
    fn is_due(&self, _user: UserId) -> bool {
        false
    }

    /// Reads it again. What changed is in the store afterwards; an outage changes nothing.
    async fn renew(&self, _user: &User) {}
}

/// One attempt at a password.
#[derive(Debug, Clone, Copy)]
pub struct Attempt<'a> {
    /// The tenant.
    pub tenant: &'a TenantId,
    /// The name, normalised.
    pub username: &'a Username,
    /// What was offered.
    pub secret: Offered<'a>,
    /// From where.
    pub client: &'a Client,
    /// How it came to us.
    pub channel: Channel,
    /// When an answer is of no use any more, on [`Clock::monotonic`].
    pub deadline: Duration,
    /// A known device: its owner signed in from it before (a signed cookie, not an address).
    pub known_device: bool,
    /// Which accounts may be accepted; [`Passwords`] narrows it during an outage.
    pub accounts: Accounts,
    /// From where the user comes, if anybody says so.
    pub source: Option<IpAddr>,
    /// How strong the proof will be.
    pub level: Level,
    /// A failure is not answered before so long, however quick these realms are.
    pub floor: Duration,
    /// The time.
    pub now: Timestamp,
}

impl Attempt<'_> {
    /// What accounts are held to.
    pub fn terms(&self) -> Terms {
        Terms { accounts: self.accounts, source: self.source, level: self.level, now: self.now }
    }
}

/// How strong a proof a password is.
pub const PASSWORD: Level = Level(10);

/// What an account is held to before its password is compared. A realm that compared first would tell who has the right one:
/// only what it refuses waits for the floor, and counts as a guess (attack 103).
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    /// Which may be accepted.
    pub accounts: Accounts,
    /// From where the user comes, if anybody says so.
    pub source: Option<IpAddr>,
    /// How strong the proof will be.
    pub level: Level,
    /// The time.
    pub now: Timestamp,
}

impl Terms {
    /// Why this user may not enter, even with the right password.
    pub fn bar(&self, user: &User, profiles: &Profiles) -> Option<Reason> {
        if self.accounts == Accounts::Elsewhere {
            if user.is_operator() {
                return Some(Reason::SubjectNotAllowed);
            }
            if user.must_change_password && profiles.delegate(user).is_none() {
                return Some(Reason::MustChangePassword);
            }
        }
        self.bar_all(&user.profile, profiles)
    }

    /// Why nobody of this profile may.
    pub fn bar_all(&self, profile: &ProfileName, profiles: &Profiles) -> Option<Reason> {
        profiles.restricts(profile, self.source, self.level, self.now).err()
    }
}

/// Which accounts a realm may accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accounts {
    /// All it has.
    All,
    /// Those for whom we answer when another service asks: no operators, who sign in here and nowhere else, and nobody who must
    /// change their password first. Who has no account here needs none, and gets none.
    Elsewhere,
    /// Break-glass accounts only: a realm before it, which alone knows whose names are whose, is down.
    BreakGlass,
}

/// What was offered as a secret.
#[derive(Debug, Clone, Copy)]
pub enum Offered<'a> {
    /// The password itself.
    Password(&'a Secret<String>),
    /// A WS-Security digest; only realms that hold the password can check it.
    Digest {
        /// The digest.
        digest: &'a [u8],
        /// What was digested before the password.
        prefix: &'a [u8],
    },
}

/// What a realm says.
#[derive(Debug, Clone)]
pub enum Check {
    /// It is theirs.
    Accepted(Account),
    /// It is not, and why. A reason of [`Reason::UnknownUser`] or [`Reason::NoPassword`] means no hash was compared.
    Rejected(Reason),
}

/// An account a realm accepted.
#[derive(Debug, Clone)]
pub struct Account {
    /// Who.
    pub who: Who,
    /// What the realm states of it.
    pub attributes: Attributes,
    /// The user's epoch, read before the password was checked; none if the realm does not know it. Without it
    /// the success is not cached: a password changed meanwhile must not live on.
    pub epoch: Option<u64>,
}

/// What [`Passwords`] says.
#[derive(Debug, Clone)]
pub enum Answer {
    /// Accepted, by this realm.
    Accepted {
        /// The account.
        account: Account,
        /// By whom.
        realm: RealmName,
    },
    /// Refused.
    Rejected(Rejection),
}

/// The limits of guessing: `authentication-chain.md` §9.5.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Failures of one account before its gate closes.
    pub account_failures: u32,
    /// Within this time.
    pub account_window: Duration,
    /// How long it stays closed at first; doubles up to `account_longest`.
    pub account_closed: Duration,
    /// How long at most.
    pub account_longest: Duration,
    /// Failures of one address (IPv4 /32, IPv6 /64) before its gate closes.
    pub address_failures: u32,
    /// Within this time.
    pub address_window: Duration,
    /// How long it stays closed.
    pub address_closed: Duration,
    /// Attempts a day that a known device may make at a closed account gate.
    pub device_attempts: u32,
    /// A failure is not answered before this, plus up to 50 ms.
    pub floor: Duration,
    /// How many attempts of one address may be under way, most of them waiting for the floor.
    pub waiters: u32,
    /// The addresses that operator and break-glass accounts are admitted from. Guesses from there have gates of
    /// their own, so that nobody elsewhere can close an operator's.
    pub operators_from: Vec<ipnet::IpNet>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            account_failures: 5,
            account_window: Duration::from_secs(15 * 60),
            account_closed: Duration::from_secs(15 * 60),
            account_longest: Duration::from_secs(4 * 3600),
            address_failures: 30,
            address_window: Duration::from_secs(5 * 60),
            address_closed: Duration::from_secs(5 * 60),
            device_attempts: 10,
            floor: Duration::from_millis(400),
            waiters: 32,
            operators_from: Vec::new(),
        }
    }
}

/// A realm as one step of a family: the name of its line in the trail.
#[derive(Debug, Clone)]
pub struct RealmStep {
    /// The step's name.
    pub scheme: SchemeName,
    /// The realm.
    pub realm: Arc<dyn Realm>,
    /// What follows when it does not accept.
    pub then: Then,
}

/// What follows when a realm does not accept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Then {
    /// The next realm is asked.
    Next,
    /// The next realm is asked only about names this one does not know (`exclusive`): a second password kept there
    /// must not survive a revocation here. While this one is down, later ones accept break-glass accounts only.
    NextIfUnknown,
}

/// The only caller of realms. One instance serves all schemes of the installation.
#[derive(Debug)]
pub struct Passwords {
    clock: Arc<dyn Clock>,
    limits: Limits,
    gates: Gates,
    repeats: Repeats,
    seats: Seats,
}

/// The most that is added at random to the floor.
const JITTER: Duration = Duration::from_millis(50);
/// How long somebody waits at a full gate, and how long between two looks at it.
const PATIENCE: Duration = Duration::from_secs(2);
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(320);
/// For how long the attempts of known devices are counted.
const DAY: Duration = Duration::from_secs(24 * 3600);

impl Passwords {
    /// Checks passwords under these limits.
    pub fn new(store: Arc<dyn ExpiringStore>, clock: Arc<dyn Clock>, limits: Limits) -> Self {
        Self { clock, limits, gates: Gates::new(store), repeats: Repeats::new(), seats: Seats::default() }
    }

    /// Asks the realms in order. Writes one line per step into the trail.
    ///
    /// Whatever is not accepted is answered after the same time, so that no reason shows.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody accepted and some realm could not be asked.
    pub async fn verify(&self, steps: &[RealmStep], attempt: &Attempt<'_>, trail: &mut Trail) -> Result<Answer, Unavailable> {
        let started = self.clock.monotonic();
        let Some(_seat) = self.seats.take(address_range(attempt.client.address), self.limits.waiters) else {
            return Ok(refuse(steps, Reason::TooManyWaiting, trail));
        };
        let answer = self.judge(steps, attempt, trail).await;
        match answer {
            Ok(Answer::Accepted { .. }) => {}
            Ok(Answer::Rejected(_)) | Err(_) => self.wait(attempt.floor.max(dearest(steps)), started).await,
        }
        answer
    }

    /// Waits as long as a failure that began at `since` is kept waiting: for whoever refuses somebody although the password is
    /// right, which must not show (attack 103).
    ///
    /// # Errors
    /// [`Reason::TooManyWaiting`] where too many of this address wait.
    pub async fn withhold(&self, steps: &[RealmStep], client: &Client, since: Duration) -> Result<(), Reason> {
        let seat = self.seats.take(address_range(client.address), self.limits.waiters).ok_or(Reason::TooManyWaiting)?;
        self.wait(dearest(steps), since).await;
        drop(seat);
        Ok(())
    }

    /// Forgets which passwords of an account were wrong: call it when the password was changed.
    pub fn forget(&self, tenant: &TenantId, username: &Username) {
        self.repeats.forget(tenant.as_str(), username.as_str());
    }

    /// Opens the gates of an account before their time, for an administrator.
    pub async fn open(&self, tenant: &TenantId, username: &Username, trail: &mut Trail) {
        let now = self.clock.now();
        let mut was_closed = false;
        for origin in [Origin::Anywhere, Origin::Listed] {
            was_closed |= self.gates.clear(&account_key(tenant, username, origin), &self.account_rule(), now).await;
        }
        self.forget(tenant, username);
        if was_closed {
            trail.events.push(Event::GateOpened { gate: Gate::Account, subject: hashed_name(username) });
        }
    }

    async fn judge(&self, steps: &[RealmStep], attempt: &Attempt<'_>, trail: &mut Trail) -> Result<Answer, Unavailable> {
        // RFC 4513 §5.1.2: a directory may take a name with an empty password for an anonymous bind and say yes (attack 98).
        if let Offered::Password(password) = attempt.secret
            && password.reveal().is_empty()
        {
            return Ok(refuse(steps, Reason::EmptyPassword, trail));
        }
        let fingerprint = self.repeats.fingerprint(steps, attempt);
        if let Some(fingerprint) = &fingerprint
            && self.repeats.contains(fingerprint, self.clock.monotonic())
        {
            return Ok(refuse(steps, Reason::RepeatedWrongPassword, trail));
        }
        let passage = match self.enter(attempt).await {
            Ok(passage) => passage,
            Err(reason) => return Ok(refuse(steps, reason, trail)),
        };
        let asked = ask(steps, attempt, trail).await;
        self.settle(asked, passage, attempt, fingerprint, trail).await
    }

    /// Counts the attempt at its gates, or says which is closed. Nobody is asked behind a closed gate (§9.4).
    async fn enter(&self, attempt: &Attempt<'_>) -> Result<Passage, Reason> {
        let now = self.clock.now();
        let address = address_key(attempt.client.address);
        let address_rule = self.address_rule();
        let Entry::Open(address_window) = self.gates.enter(&address, &address_rule, now).await else {
            return Err(Reason::AddressGateClosed);
        };
        let account = account_key(attempt.tenant, attempt.username, self.origin(attempt.client.address));
        let account_window = match self.enter_account(&account, attempt).await {
            Entry::Open(window) => Some(window),
            // `rulings.md`: its owner passes from a device they signed in from before, never by address.
            Entry::Full | Entry::Closed if attempt.known_device && self.device_may_try(attempt, now).await => None,
            Entry::Full | Entry::Closed => {
                self.gates.give_back(&address, &address_rule, address_window, now).await;
                return Err(Reason::AccountGateClosed);
            }
        };
        Ok(Passage { address, address_window, account, account_window })
    }

    /// Many programs may use one account, and all ask at once after a restart. So whoever finds the gate full waits
    /// for those inside: their success lets everybody in, their failure closes the gate.
    async fn enter_account(&self, account: &Key, attempt: &Attempt<'_>) -> Entry {
        let until = self.clock.monotonic().saturating_add(PATIENCE).min(attempt.deadline);
        let mut pause = SHORTEST_PAUSE;
        loop {
            let entry = self.gates.enter(account, &self.account_rule(), self.clock.now()).await;
            if entry != Entry::Full || self.clock.monotonic() >= until {
                return entry;
            }
            tokio::time::sleep(pause).await;
            // A gate that abandoned guesses keep full must not make us hammer the store.
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
        }
    }

    async fn device_may_try(&self, attempt: &Attempt<'_>, now: Timestamp) -> bool {
        let parts: [&[u8]; 2] = [b"device", attempt.username.as_str().as_bytes()];
        let key = Key::of(attempt.tenant, Kind::Throttle, &parts);
        let rule = Rule { failures: self.limits.device_attempts, window: DAY, closed: DAY, longest: DAY };
        matches!(self.gates.enter(&key, &rule, now).await, Entry::Open(_))
    }

    /// One count for the whole family (§9.1–§9.3).
    async fn settle(
        &self,
        asked: Asked,
        passage: Passage,
        attempt: &Attempt<'_>,
        fingerprint: Option<Fingerprint>,
        trail: &mut Trail,
    ) -> Result<Answer, Unavailable> {
        let now = self.clock.now();
        let (account_rule, address_rule) = (self.account_rule(), self.address_rule());
        if let Some(accepted) = asked.accepted {
            let account = async {
                // A known device that passes a closed gate leaves it closed: the guessing behind it has not ended.
                if passage.account_window.is_some() {
                    self.gates.clear(&passage.account, &account_rule, now).await;
                }
            };
            tokio::join!(account, self.gates.give_back(&passage.address, &address_rule, passage.address_window, now));
            self.forget(attempt.tenant, attempt.username);
            return Ok(accepted);
        }
        // An outage of the directory must not lock out its users: then only a compared hash counts.
        let counts = asked.unavailable.is_none() || asked.compared;
        let account = async {
            let window = passage.account_window?;
            if counts {
                return self.gates.failed(&passage.account, &account_rule, now).await;
            }
            self.gates.give_back(&passage.account, &account_rule, window, now).await;
            None
        };
        let (account, address) = tokio::join!(account, self.gates.failed(&passage.address, &address_rule, now));
        if let Some(closed) = address {
            let subject = address_range(attempt.client.address).to_string();
            trail.events.push(Event::GateClosed { gate: Gate::Address, subject, seconds: closed.as_secs() });
        }
        if let Some(closed) = account {
            let subject = hashed_name(attempt.username);
            trail.events.push(Event::GateClosed { gate: Gate::Account, subject, seconds: closed.as_secs() });
        }
        if let Some(down) = asked.unavailable {
            return Err(down);
        }
        let rejection = asked.rejection.unwrap_or(Rejection::next(Reason::UnknownUser));
        if let Some(fingerprint) = &fingerprint
            && matches!(rejection.reason, Reason::WrongPassword | Reason::UnknownUser | Reason::NoPassword)
        {
            self.repeats.remember(fingerprint, self.clock.monotonic());
        }
        Ok(Answer::Rejected(rejection))
    }

    /// Waits until the floor after `started`, or what the dearest hash in store takes if that is longer, and a little at random
    /// (attack 103). A floor of zero, for tests and for realms that are all alike, waits for nothing.
    async fn wait(&self, dearest: Duration, started: Duration) {
        let floor = self.limits.floor.max(dearest);
        if floor.is_zero() {
            return;
        }
        let share = random::<2>().map_or(u16::MAX, u16::from_be_bytes);
        let jitter = JITTER.mul_f64(f64::from(share) / f64::from(u16::MAX));
        let until = started.saturating_add(floor).saturating_add(jitter);
        tokio::time::sleep(until.saturating_sub(self.clock.monotonic())).await;
    }

    fn origin(&self, address: IpAddr) -> Origin {
        let address = address.to_canonical();
        if self.limits.operators_from.iter().any(|net| net.contains(&address)) { Origin::Listed } else { Origin::Anywhere }
    }

    fn account_rule(&self) -> Rule {
        let Limits { account_failures, account_window, account_closed, account_longest, .. } = self.limits;
        Rule { failures: account_failures, window: account_window, closed: account_closed, longest: account_longest }
    }

    fn address_rule(&self) -> Rule {
        let Limits { address_failures, address_window, address_closed, .. } = self.limits;
        Rule { failures: address_failures, window: address_window, closed: address_closed, longest: address_closed }
    }
}

/// The range of addresses that counts as one client: IPv4 /32, IPv6 /64, since one household has all of a /64.
pub fn address_range(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64))),
    }
}

/// The longest that one of these realms takes for one password.
pub fn dearest(steps: &[RealmStep]) -> Duration {
    steps.iter().map(|step| step.realm.dearest()).fold(Duration::ZERO, Duration::max)
}

/// Where a guess comes from. Each origin has its own gate per account, so that guessing from elsewhere locks out
/// no operator, without anybody having to know which names are operators'.
#[derive(Debug, Clone, Copy)]
enum Origin {
    Listed,
    Anywhere,
}

/// An attempt that passed its gates and is counted there.
struct Passage {
    address: Key,
    address_window: gates::Window,
    account: Key,
    /// None for a known device that passed a closed gate.
    account_window: Option<gates::Window>,
}

/// What the realms of a family made of an attempt.
#[derive(Default)]
struct Asked {
    accepted: Option<Answer>,
    rejection: Option<Rejection>,
    unavailable: Option<Unavailable>,
    /// Some realm compared a password, and it was wrong.
    compared: bool,
}

async fn ask(steps: &[RealmStep], attempt: &Attempt<'_>, trail: &mut Trail) -> Asked {
    let mut asked = Asked::default();
    let mut attempt = *attempt;
    let mut refused_by = None;
    let mut over = false;
    for step in steps {
        let since = trail.mark();
        if over {
            trail.step(&step.scheme, Verdict::Skipped, None, since);
            if asked.accepted.is_none() {
                step.realm.pretend(&attempt).await;
            }
            continue;
        }
        match step.realm.verify(&attempt, trail).await {
            Ok(Check::Accepted(account)) => {
                trail.step(&step.scheme, Verdict::Authenticated, None, since);
                // Faithful to the documented chain, and a weakness worth an event (§9): the second password survives
                // a revocation of the first.
                if let Some(refused_by) = refused_by.take() {
                    let (scheme, realm) = (step.scheme.clone(), step.realm.name().clone());
                    let subject = attempt.username.to_string();
                    trail.events.push(Event::LoginFellThrough { scheme, refused_by, realm, subject });
                }
                asked.accepted = Some(Answer::Accepted { account, realm: step.realm.name().clone() });
                over = true;
            }
            Ok(Check::Rejected(reason)) => {
                trail.step(&step.scheme, Verdict::Rejected, Some(reason), since);
                let rejection = match reason {
                    // `authentication-chain.md` §1.1, Barred: a second password elsewhere must not survive a lock.
                    Reason::Disabled
                    | Reason::Locked
                    | Reason::Expired
                    | Reason::OutsideHours
                    | Reason::PasswordExpired
                    | Reason::MustChangePassword
                    | Reason::AddressNotListed
                    | Reason::WeakProof => Rejection::family(reason),
                    other => Rejection::next(other),
                };
                let wrong = reason == Reason::WrongPassword;
                asked.compared |= wrong;
                if wrong {
                    refused_by = refused_by.or_else(|| Some(step.realm.name().clone()));
                }
                over = rejection != Rejection::next(reason) || (step.then == Then::NextIfUnknown && reason != Reason::UnknownUser);
                // The audit gets the most telling reason: barred before wrong before unknown.
                if over || wrong || asked.rejection.is_none() {
                    asked.rejection = Some(rejection);
                }
            }
            Err(down) => {
                trail.step(&step.scheme, Verdict::Unavailable, Some(Reason::Unavailable), since);
                tracing::warn!(realm = %step.realm.name(), error = %down, "a realm could not be asked");
                asked.unavailable = asked.unavailable.or(Some(down));
                if step.then == Then::NextIfUnknown {
                    // We answer for no emergency account elsewhere, so that nobody is left.
                    over |= attempt.accounts == Accounts::Elsewhere;
                    attempt.accounts = Accounts::BreakGlass;
                }
            }
        }
    }
    asked
}

/// Refuses without asking anybody; the first step says why.
fn refuse(steps: &[RealmStep], reason: Reason, trail: &mut Trail) -> Answer {
    let since = trail.mark();
    for (index, step) in steps.iter().enumerate() {
        match index {
            0 => trail.step(&step.scheme, Verdict::Rejected, Some(reason), since),
            _ => trail.step(&step.scheme, Verdict::Skipped, None, since),
        }
    }
    Answer::Rejected(Rejection::family(reason))
}

fn account_key(tenant: &TenantId, username: &Username, origin: Origin) -> Key {
    let origin: &[u8] = match origin {
        Origin::Listed => b"listed",
        Origin::Anywhere => b"anywhere",
    };
    Key::of(tenant, Kind::Throttle, &[b"account", username.as_str().as_bytes(), origin])
}

/// One gate for the whole installation: an address that guesses at one tenant guesses at all.
fn address_key(address: IpAddr) -> Key {
    Key::of(&TenantId::from("-"), Kind::Throttle, &[b"address", address_range(address).to_string().as_bytes()])
}

/// A name as events may show it: people type passwords into the name field.
pub fn hashed_name(username: &Username) -> String {
    let octets = digest(&[username.as_str().as_bytes()]);
    URL_SAFE_NO_PAD.encode(octets.get(..12).unwrap_or_default())
}

#[cfg(test)]
mod tests;
