//! Another service checks the password: delegated authentication as its caller.
//!
//! Only for users of a profile that delegates here, and only after what can be refused without it. An attacker sends names to
//! learn which exist, guesses to lock out accounts of the directory behind, and enough of both to make everybody wait. So unknown
//! names are never asked about, [`Passwords`](vestibule_engine::realm::Passwords) counts before anybody is asked, and calls, waiting logins and
//! time are bounded. The password is dropped when the call is over: no success is cached.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use vestibule_engine::admission::barred;
use vestibule_engine::audit::callout::Outcome;
use vestibule_engine::audit::{Callout, Event, Reason, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{Attributes, Issuer, RealmName, User};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{Account, Accounts, Attempt, Check, Offered, Realm};
use vestibule_engine::scheme::{Unavailable, Who};
use vestibule_engine::users::Users;
use vestibule_soap::delegated::{Question, Tolerance};
use zeroize::Zeroizing;

use self::breaker::Breaker;
use self::call::{Endpoint, Progress};
use super::pace::Pace;

mod breaker;
pub mod call;

/// What a realm is made of.
#[derive(Debug)]
pub struct Settings {
    /// Its name.
    pub name: RealmName,
    /// Who is asked.
    pub endpoint: Endpoint,
    /// What the endpoint calls a user.
    pub username: UsernameSource,
    /// Calls at one time.
    pub calls: usize,
    /// Logins that may wait for one.
    pub waiting: usize,
    /// For one login, waiting included.
    pub time_limit: Duration,
    /// How much of an answer may be off.
    pub tolerance: Tolerance,
    /// The endpoint is asked about logins, too, that are refused for where they come from, so that it can count them.
    pub force_callout: bool,
}

/// What an endpoint calls a user. Never what was typed, which has many spellings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsernameSource {
    /// The login name, as it is stored.
    Name,
    /// The address for mail.
    Email,
    /// The id that this issuer gave.
    ExternalId(Issuer),
}

/// The realm that asks.
#[derive(Debug)]
pub struct DelegatedRealm {
    inner: Arc<Inner>,
    /// Sockets belong to the control runtime, whichever core asks.
    control: Handle,
}

#[derive(Debug)]
struct Inner {
    settings: Settings,
    profiles: Arc<Profiles>,
    users: Arc<Users>,
    clock: Arc<dyn Clock>,
    seats: Arc<Semaphore>,
    waiting: AtomicUsize,
    breaker: Breaker,
    pace: Pace,
}

impl DelegatedRealm {
    /// A realm for users of these profiles. Asks from the runtime `control`.
    pub fn new(settings: Settings, profiles: Arc<Profiles>, users: Arc<Users>, clock: Arc<dyn Clock>, control: Handle) -> Self {
        let seats = Arc::new(Semaphore::new(settings.calls));
        let (waiting, breaker, pace) = (AtomicUsize::new(0), Breaker::default(), Pace::default());
        Self { inner: Arc::new(Inner { settings, profiles, users, clock, seats, waiting, breaker, pace }), control }
    }

    /// Asks, once there is a place; beside the outcome, what is recorded of it.
    async fn ask(&self, user: &User, question: Question, limit: Duration) -> Callout {
        let inner = &self.inner;
        let (started, deadline) = (inner.clock.monotonic(), Instant::now() + limit);
        let mut progress = Progress::default();
        let outcome = match inner.seat(deadline).await {
            Err(outcome) => outcome,
            Ok(seat) => {
                let asking = inner.clone();
                // A task of its own: somebody who hangs up does not stop half-way what the endpoint counts.
                let task = self.control.spawn(async move {
                    let mut progress = Progress::default();
                    let outcome = asking.call(&question, deadline, &mut progress).await;
                    drop((question, seat));
                    (outcome, progress)
                });
                match task.await {
                    Ok((outcome, seen)) => {
                        progress = seen;
                        outcome
                    }
                    Err(_) => Outcome::Unreachable,
                }
            }
        };
        let took = inner.clock.monotonic().saturating_sub(started);
        let Progress { phase, resolved, status, tls, certificate_until, fault } = progress;
        Callout {
            realm: inner.settings.name.clone(),
            subject: user.name.to_string(),
            user: user.id,
            endpoint: inner.settings.endpoint.authority(),
            resolved,
            phase,
            outcome,
            status,
            ms: took.as_secs_f64() * 1000.0,
            tls,
            certificate_until,
            fault,
        }
    }
}

impl Inner {
    /// A place for one call. Waiting for it counts against the time of the login.
    async fn seat(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, Outcome> {
        if let Ok(seat) = self.seats.clone().try_acquire_owned() {
            return Ok(seat);
        }
        let _waiting = Waiting::new(&self.waiting, self.settings.waiting).ok_or(Outcome::TooManyWaiting)?;
        match timeout_at(deadline, self.seats.clone().acquire_owned()).await {
            Ok(Ok(seat)) => Ok(seat),
            // INVARIANT: the semaphore is not closed.
            Ok(Err(_)) | Err(_) => Err(Outcome::Timeout),
        }
    }

    async fn call(&self, question: &Question, deadline: Instant, progress: &mut Progress) -> Outcome {
        // Asked here and not before the wait: what was found meanwhile spares those who waited.
        if !self.breaker.admits(self.clock.monotonic()) {
            return Outcome::BreakerOpen;
        }
        let started = self.clock.monotonic();
        let outcome = call::ask(&self.settings.endpoint, question, self.settings.tolerance, deadline, progress).await;
        let now = self.clock.monotonic();
        match outcome {
            Outcome::Ok | Outcome::Denied => {
                self.pace.note(now.saturating_sub(started));
                self.breaker.answered();
            }
            // It is there, and says so.
            Outcome::SoapFault => self.breaker.answered(),
            Outcome::Timeout
            | Outcome::Unreachable
            | Outcome::TlsUntrusted
            | Outcome::TlsExpired
            | Outcome::HttpStatus
            | Outcome::BadResponse
            | Outcome::BreakerOpen
            | Outcome::TooManyWaiting => self.breaker.failed(now),
        }
        outcome
    }

    /// What the endpoint calls this user.
    fn name_of(&self, user: &User) -> Option<String> {
        match &self.settings.username {
            UsernameSource::Name => Some(user.name.to_string()),
            UsernameSource::Email => user.email.clone(),
            UsernameSource::ExternalId(issuer) => user.external_ids.iter().find(|id| id.issuer == *issuer).map(|id| id.id.clone()),
        }
    }
}

/// Somebody who waits for a place.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize, most: usize) -> Option<Self> {
        let waiting = Self(count);
        // Taken first and given back by the drop: of two at the last place only one stays.
        (count.fetch_add(1, Ordering::AcqRel) < most).then_some(waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

#[async_trait]
impl Realm for DelegatedRealm {
    fn name(&self) -> &RealmName {
        &self.inner.settings.name
    }

    async fn verify(&self, attempt: &Attempt<'_>, trail: &mut Trail) -> Result<Check, Unavailable> {
        let Inner { settings, profiles, users, clock, .. } = &*self.inner;
        // The endpoint compares passwords, not digests of them.
        let Offered::Password(password) = attempt.secret else { return Ok(Check::Rejected(Reason::NoPassword)) };
        // `Passwords` refuses it before; an endpoint over LDAP may take it for an anonymous success.
        if password.reveal().is_empty() {
            return Ok(Check::Rejected(Reason::EmptyPassword));
        }
        match attempt.accounts {
            Accounts::All | Accounts::Elsewhere => {}
            Accounts::BreakGlass => return Ok(Check::Rejected(Reason::UnknownUser)),
        }
        let user = users.by_name(attempt.tenant, attempt.username).await?;
        // Somebody else's to check, or nobody.
        let Some(user) = user.filter(|user| profiles.delegate(user) == Some(&settings.name)) else {
            return Ok(Check::Rejected(Reason::UnknownUser));
        };
        if let Some(reason) = barred(&user) {
            return Ok(Check::Rejected(reason));
        }
        let restricted = attempt.terms().bar(&user, profiles);
        if let Some(reason) = restricted.filter(|_| !settings.force_callout) {
            return Ok(Check::Rejected(reason));
        }
        let Some(username) = self.inner.name_of(&user) else {
            tracing::warn!(realm = %settings.name, user = %user.id, "a user has no name by which the endpoint knows them");
            return Ok(Check::Rejected(Reason::NoAccount));
        };
        let question = Question {
            username,
            password: Zeroizing::new(password.reveal().clone()),
            source_ip: attempt.client.address.to_canonical().to_string(),
        };
        let limit = settings.time_limit.min(attempt.deadline.saturating_sub(clock.monotonic()));
        let callout = self.ask(&user, question, limit).await;
        let (outcome, phase) = (callout.outcome, callout.phase);
        trail.events.push(Event::DelegatedCalled(Box::new(callout)));
        match outcome {
            // Its result is for the endpoint's own count only.
            Outcome::Ok | Outcome::Denied if let Some(reason) = restricted => Ok(Check::Rejected(reason)),
            // Without an epoch nobody remembers the success.
            Outcome::Ok => Ok(Check::Accepted(Account { who: Who::User(user.id), attributes: Attributes::new(), epoch: None })),
            Outcome::Denied => Ok(Check::Rejected(Reason::WrongPassword)),
            Outcome::Timeout
            | Outcome::Unreachable
            | Outcome::TlsUntrusted
            | Outcome::TlsExpired
            | Outcome::HttpStatus
            | Outcome::SoapFault
            | Outcome::BadResponse
            | Outcome::BreakerOpen
            | Outcome::TooManyWaiting => {
                Err(Unavailable::new(settings.name.as_str(), format!("the endpoint was asked: {outcome:?} at {phase:?}")))
            }
        }
    }

    fn dearest(&self) -> Duration {
        self.inner.pace.slowest()
    }
}
