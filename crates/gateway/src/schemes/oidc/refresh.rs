//! Sessions that go on only while their provider stands by them: what it said is asked for again by a refresh token
//! (OpenID Connect Core §12, RFC 6749 §6).
//!
//! A provider may give a new refresh token for each old one, and take an old one that comes twice for a theft (RFC 9700 §4.14.2):
//! it would end the session of whoever is honest. So of all requests on all nodes one asks, which is decided by who first writes
//! so into the store; it asks in a task of its own, so that a browser that hangs up loses no token; and a new token is
//! written down before anything else is done.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::sync::Cache;
use tokio::runtime::Handle;
use vestibule_engine::audit::{Ending, Event, Reason, Trail};
use vestibule_engine::clock::{Clock, random};
use vestibule_engine::identity::{Attributes, Identity};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::session::Sessions;
use vestibule_oidc::id_token::{self, Answers, IdToken};
use vestibule_oidc::jose::Verified;
use vestibule_oidc::reason::{self, Rejection};
use vestibule_oidc::rp::{self, Refreshed};
use vestibule_oidc::userinfo::UserInfo;
use zeroize::Zeroizing;

use super::op_session::{Asking, OpSession};
use super::{Failure, OpenidProvider, RelyingParty, SESSION, account, fault, provider};
use crate::config::checked::OnProviderOutage;
use crate::schemes::accounts::Stated;

/// Sessions of which it is remembered when they are due.
const REMEMBERED: usize = 100_000;
/// For how long others on this node go on while one asks.
const PATIENCE: Duration = Duration::from_secs(30);
/// After how many seconds somebody who is asking is given up: their node has ended.
const GIVEN_UP: i64 = 60;
/// After which a provider that did not answer is asked again.
const RETRY: Duration = Duration::from_secs(30);
/// After which it is looked again whether another node is done.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Attempts to write what others are writing.
const ATTEMPTS: usize = 8;

/// Asks providers again about those who came by them.
pub struct Refresher {
    rp: Arc<RelyingParty>,
    sessions: Arc<Sessions>,
    clock: Arc<dyn Clock>,
    control: Handle,
    /// By the name of a session there. One that is not in it is due: the process is new, or the other node's.
    due: Cache<String, Due>,
}

impl fmt::Debug for Refresher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresher").finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
struct Due {
    /// On the monotonic clock.
    at: Duration,
    /// The provider did not answer the last time.
    failing: bool,
}

/// What becomes of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It goes on as it is.
    AsBefore,
    /// It goes on, and who it is may have changed.
    Renewed,
    /// It has ended.
    Over(Reason),
}

/// The same, before it is written down.
enum Answer {
    AsBefore,
    Renewed,
    Over(Rejection),
    /// The account here is not theirs any more.
    Barred(Reason),
    Down(Unavailable),
}

/// What a provider states now.
struct Now {
    id_token: Option<Verified<IdToken>>,
    userinfo: Option<UserInfo>,
}

impl Stated for Now {
    fn values(&self, name: &str) -> Vec<String> {
        account::values(self.id_token.as_ref().map(Verified::<IdToken>::token), self.userinfo.as_ref(), name)
    }
}

impl Now {
    /// Whether the absence of a claim says that there is none. Without a new ID token it may have stood in the former one.
    fn speaks_of(&self, name: &str) -> bool {
        self.id_token.is_some() || !self.values(name).is_empty()
    }
}

impl Refresher {
    /// Asks the providers of `rp` about these sessions, on the runtime `control`. `None` if none of them is to be asked.
    pub fn new(rp: Arc<RelyingParty>, sessions: Arc<Sessions>, clock: Arc<dyn Clock>, control: Handle) -> Option<Arc<Self>> {
        let asks = rp.providers.iter().any(|provider| provider.settings().refresh.is_some());
        asks.then(|| Arc::new(Self { rp, sessions, clock, control, due: Cache::new(REMEMBERED) }))
    }

    /// Asks, if it is time. What ended is in the trail.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer; or the provider, where sessions stop with it.
    pub async fn check(self: &Arc<Self>, identity: &Identity, trail: &mut Trail) -> Result<Standing, Unavailable> {
        let mut providers = self.rp.providers.iter().filter(|provider| *provider.issuer() == identity.issuer);
        let Some((provider, every)) = providers.find_map(|provider| Some((provider, provider.settings().refresh?))) else {
            return Ok(Standing::AsBefore);
        };
        let Some(name) = identity.attributes.get(SESSION).and_then(|names| names.first()) else { return Ok(Standing::AsBefore) };
        let now = self.clock.monotonic();
        let failing = match self.due.get(name) {
            Some(due) if now < due.at => return self.while_waiting(provider, due.failing),
            due => due.is_some_and(|due| due.failing),
        };
        // One of many requests at once asks, the others go on as before.
        self.due.insert(name.clone(), Due { at: now.saturating_add(PATIENCE), failing });
        let (refresher, provider, identity, name) = (self.clone(), provider.clone(), identity.clone(), name.clone());
        let task = async move {
            let answer = refresher.ask(&provider, every, &identity, &name).await;
            if answer.is_err() {
                refresher.due.remove(&name);
            }
            (answer, provider, identity)
        };
        let (answer, provider, identity) =
            self.control.spawn(task).await.map_err(|_| Unavailable::new("OpenID provider", "a task was broken off"))?;
        let reason = match answer? {
            Answer::AsBefore => return Ok(Standing::AsBefore),
            Answer::Renewed => return Ok(Standing::Renewed),
            Answer::Down(down) => {
                tracing::warn!(openid_provider = provider.name(), user = %identity.user.id, %down, "it could not be asked about a session");
                return self.while_waiting(&provider, true);
            }
            Answer::Barred(reason) => reason,
            Answer::Over(Rejection { check, reason, detail }) => {
                let reason = fault(reason);
                let (scheme, partner) = (self.rp.name().clone(), Some(provider.name().to_owned()));
                trail.events.push(Event::AnswerRefused { scheme, partner, check: check.to_owned(), reason, detail });
                Reason::Oidc(reason)
            }
        };
        self.sessions.end(&identity, Ending::Withdrawn, trail).await?;
        Ok(Standing::Over(reason))
    }

    /// What holds until it is asked again.
    fn while_waiting(&self, provider: &OpenidProvider, failing: bool) -> Result<Standing, Unavailable> {
        match provider.settings().on_outage {
            OnProviderOutage::Stop if failing => Err(provider.down(&"it could not be asked whether a session goes on")),
            OnProviderOutage::Stop | OnProviderOutage::Continue => Ok(Standing::AsBefore),
        }
    }

    fn put_off(&self, name: &str, wait: Duration, failing: bool) {
        self.due.insert(name.to_owned(), Due { at: self.clock.monotonic().saturating_add(wait), failing });
    }

    /// `Err` is the store's.
    async fn ask(&self, provider: &Arc<OpenidProvider>, every: Duration, identity: &Identity, name: &str) -> Result<Answer, Unavailable> {
        let (tenant, there) = (identity.tenant(), self.rp.sessions());
        let Some((mut session, version)) = there.read(tenant, name).await? else {
            return Ok(Answer::Over(ended("the session there was ended")));
        };
        let Some(token) = session.refresh_token.clone().map(Zeroizing::new) else {
            self.put_off(name, every, false);
            return Ok(Answer::AsBefore);
        };
        let now = self.clock.now().as_second();
        let age = Duration::from_secs(u64::try_from(now.saturating_sub(session.asked_at)).unwrap_or(0));
        if age < every {
            // Asked by another node, or at the login.
            self.put_off(name, every.saturating_sub(age), false);
            return Ok(Answer::Renewed);
        }
        let busy = session.asking.as_ref().is_some_and(|asking| now.saturating_sub(asking.since) < GIVEN_UP);
        let asking = Asking { by: URL_SAFE_NO_PAD.encode(random::<16>()?), since: now };
        session.asking = Some(asking.clone());
        if busy || !there.write(tenant, &session, version).await? {
            self.put_off(name, LOOK_AGAIN, false);
            return Ok(Answer::AsBefore);
        }
        match self.answered(provider, identity, &session, &asking, &token).await {
            Ok(None) => {
                self.finish(identity, name, &asking, |session| session.asked_at = now).await?;
                self.put_off(name, every, false);
                Ok(Answer::Renewed)
            }
            Ok(Some(reason)) => self.over(identity, name, Answer::Barred(reason)).await,
            Err(Failure::Refused(rejection)) if is_final(rejection.reason) => self.over(identity, name, Answer::Over(rejection)).await,
            Err(failure) => {
                let down = match failure {
                    Failure::Unavailable(down) => down,
                    Failure::Refused(rejection) => provider.down(&rejection),
                };
                self.put_off(name, every.min(RETRY), true);
                self.finish(identity, name, &asking, |_| ()).await?;
                Ok(Answer::Down(down))
            }
        }
    }

    /// Nobody asks with it again.
    async fn over(&self, identity: &Identity, name: &str, answer: Answer) -> Result<Answer, Unavailable> {
        self.rp.sessions().take(identity.tenant(), name).await?;
        self.due.remove(name);
        Ok(answer)
    }

    /// Writes into a session that is being asked about by nobody else. It may have ended meanwhile.
    async fn change(&self, identity: &Identity, name: &str, asking: &Asking, change: impl Fn(&mut OpSession)) -> Result<bool, Unavailable> {
        for _ in 0..ATTEMPTS {
            let Some((mut session, version)) = self.rp.sessions().read(identity.tenant(), name).await? else { return Ok(false) };
            if session.asking.as_ref() != Some(asking) {
                return Ok(false);
            }
            change(&mut session);
            if self.rp.sessions().write(identity.tenant(), &session, version).await? {
                return Ok(true);
            }
        }
        Err(Unavailable::new("store", "a session of an OpenID provider is being written all the time"))
    }

    async fn finish(&self, identity: &Identity, name: &str, asking: &Asking, change: impl Fn(&mut OpSession)) -> Result<(), Unavailable> {
        let done = |session: &mut OpSession| {
            change(session);
            session.asking = None;
        };
        self.change(identity, name, asking, done).await.map(drop)
    }

    /// Asks, and puts what is said now in the place of what was said before. `Some` is why the account is not theirs any more.
    async fn answered(
        &self,
        provider: &Arc<OpenidProvider>,
        identity: &Identity,
        session: &OpSession,
        asking: &Asking,
        token: &str,
    ) -> Result<Option<Reason>, Failure> {
        let now = self.clock.now();
        let known = provider.known().await?;
        let given = provider.refresh(&known.metadata, &rp::refresh(token), now).await?;
        let Refreshed { id_token, access_token, refresh_token } = given;
        if let Some(token) = &refresh_token {
            let keep = |session: &mut OpSession| session.refresh_token = Some(token.to_string());
            if !self.change(identity, &session.name, asking, keep).await? {
                provider.take_back(token.clone(), now);
                return Err(Failure::Refused(ended("the session ended meanwhile")));
            }
        }
        let settings = provider.settings();
        let (id_token, known) = match &id_token {
            None => (None, known),
            Some(raw) => {
                let expected = id_token::Expected {
                    issuer: &settings.issuer,
                    client_id: &settings.client_id,
                    answers: Answers::Refresh { nonce: &session.nonce, subject: &session.subject },
                    access_token: &access_token,
                    algorithms: &settings.algorithms,
                    skew: settings.skew,
                    // How and when the user signed in was looked at when they did.
                    max_age: None,
                    not_before: None,
                    contexts: &[],
                };
                let verify = |known: &provider::Known| IdToken::verify(raw, &known.keys, &expected, now.as_second());
                let (token, known) = provider.with_newest_keys(known, verify).await?;
                let newest = |session: &mut OpSession| session.id_token = raw.to_string();
                self.change(identity, &session.name, asking, newest).await?;
                (Some(token), known)
            }
        };
        let userinfo = match settings.userinfo {
            true => provider.userinfo(&known, &access_token, &session.subject).await?,
            false => None,
        };
        self.state(provider, identity, session, &Now { id_token, userinfo }).await
    }

    async fn state(
        &self,
        provider: &OpenidProvider,
        identity: &Identity,
        session: &OpSession,
        stated: &Now,
    ) -> Result<Option<Reason>, Failure> {
        let mut mapping = account::mapping(provider);
        mapping.groups = mapping.groups.filter(|(claim, _)| stated.speaks_of(claim));
        if let Err(reason) = mapping.refresh(&self.rp.users, session.user, stated, self.clock.now()).await? {
            return Ok(Some(reason));
        }
        let Some(login) = identity.session.as_ref().map(|session| session.login) else { return Ok(None) };
        let mut attributes = Attributes::clone(&identity.attributes);
        let kept = mapping.kept(stated);
        for (there, here) in mapping.attributes {
            match kept.get(here) {
                Some(values) => drop(attributes.insert(here.clone(), values.clone())),
                None if stated.speaks_of(there) => drop(attributes.remove(here)),
                None => {}
            }
        }
        // Whatever an issuer states, this is ours.
        attributes.insert(SESSION.to_owned(), vec![session.name.clone()]);
        if attributes != *identity.attributes {
            self.sessions.restate(identity.tenant(), login, &Arc::new(attributes)).await?;
        }
        Ok(None)
    }
}

/// Whether an answer says that it is over. What nobody could read, or is signed by a key that cannot be had now, says nothing.
fn is_final(reason: reason::Reason) -> bool {
    use reason::Reason;
    !matches!(reason, Reason::Malformed | Reason::Limits | Reason::Ambiguous | Reason::UnknownKey)
}

fn ended(detail: &str) -> Rejection {
    Rejection { check: "refresh", reason: reason::Reason::WrongState, detail: detail.to_owned() }
}
