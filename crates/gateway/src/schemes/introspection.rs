//! The scheme `introspection`: a bearer token (RFC 6750) about which its authorization server is asked (RFC 7662).
//!
//! The token is a password: it goes to the server of the configuration and nowhere else, and what is remembered of it is an HMAC
//! under a key that dies with the process. An attacker presents a token that was made for another resource, one that was
//! withdrawn a while ago, or so many that the server cannot answer. So audiences are named, an answer is believed for a minute at
//! most and never beyond the token's end, many who present one token ask once, and few questions are under way at a time. What
//! the server cannot answer lets nobody in.

mod refusals;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use http::StatusCode;
use http::header::AUTHORIZATION;
use quick_cache::sync::Cache;
use tokio::sync::Semaphore;
use vestibule_engine::audit::{Event, OidcFault, Reason, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{Attributes, ExternalId, Issuer, Level, SchemeName, TenantId, UserId, Username};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::{Asked, Challenge, Outcome, Place, Proof, Rejection, Scheme, Unavailable, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;
use vestibule_oidc::client::Client;
use vestibule_oidc::introspection::{self as rfc7662, Active, MAX_ANSWER};
use vestibule_oidc::reason;

use self::refusals::{Closed, Refusals};
use super::oidc::{client, fault, form, issuer_of, media_type, origin};
use super::verified::Flights;
use crate::call::breaker::Breaker;
use crate::call::{CallError, Caller, Limits, Reach};
use crate::config::checked::{FoundBy, Introspection};
use crate::forward::{HttpVersion, client_tls};

/// How long and how much the server is asked.
pub const LIMITS: Limits = Limits { connect: Duration::from_secs(2), whole: Duration::from_secs(5), octets: MAX_ANSWER };
/// Questions under way at one time; more are turned away.
const QUESTIONS: usize = 64;
/// For how long a no is remembered.
const NO: Duration = Duration::from_secs(10);
/// Answers and owners remembered.
const REMEMBERED: usize = 10_000;
/// As strong as the password that opened the way to the token, at best.
const FOREIGN: Level = Level(10);

/// The scheme.
#[derive(Debug)]
pub struct IntrospectionScheme {
    name: SchemeName,
    settings: Introspection,
    issuer: Issuer,
    realm: String,
    client: Client,
    caller: Caller,
    users: Arc<Users>,
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    /// What the server said, and until when on the monotonic clock it holds.
    answers: Cache<Fingerprint, (Answer, Duration)>,
    flights: Flights<Fingerprint, Result<Answer, Unavailable>>,
    owners: Cache<(TenantId, String), UserId>,
    questions: Semaphore,
    refusals: Refusals,
    breaker: Breaker,
}

type Fingerprint = [u8; 32];

/// What the server said of a token: whose it is, or why it does not do.
#[derive(Debug, Clone)]
enum Answer {
    Yes(Arc<Active>),
    No(reason::Rejection),
    /// It does not know the token.
    Inactive,
    /// It was not asked: too many questions are under way.
    Busy,
    /// It was not asked: too many tokens from this address were refused of late.
    Closed,
}

/// Who names users by tokens, as links name it. Where tokens name `sub` and say who issued them, it is the OpenID provider of this
/// issuer, so that one link serves both doors.
pub fn issuer(settings: &Introspection) -> Issuer {
    let url = settings.url.as_str();
    issuer_of(settings.issuer.as_deref().unwrap_or(url), &settings.subject)
}

impl IntrospectionScheme {
    /// The scheme. Called on the control runtime, where its calls are made. `realm` is shown to clients.
    ///
    /// # Errors
    /// A sentence, where an authority cannot be used, or without random numbers.
    pub fn new(name: SchemeName, settings: Introspection, realm: String, users: Arc<Users>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let control = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Self {
            issuer: issuer(&settings),
            client: client(&settings.client_id, &settings.authentication)?,
            caller: Caller::new(client_tls(&settings.ca, None, HttpVersion::Http1)?, Reach::Any, LIMITS, control),
            name,
            settings,
            realm,
            users,
            clock,
            key: key.map_err(|_| "the operating system gave no random numbers".to_owned())?,
            answers: Cache::new(REMEMBERED),
            flights: Flights::default(),
            owners: Cache::new(REMEMBERED),
            questions: Semaphore::new(QUESTIONS),
            refusals: Refusals::default(),
            breaker: Breaker::default(),
        })
    }

    fn fingerprint(&self, tenant: &TenantId, token: &Secret<String>) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [tenant.as_str(), token.reveal()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut octets = [0; 32];
        octets.copy_from_slice(context.sign().as_ref());
        octets
    }

    async fn answer(&self, asked: &Asked<'_>, token: &Secret<String>) -> Result<Answer, Unavailable> {
        let key = self.fingerprint(&asked.found.tenant.id, token);
        if let Some((answer, until)) = self.answers.get(&key)
            && self.clock.monotonic() < until
            && !is_over(&answer, asked.now.as_second())
        {
            return Ok(answer);
        }
        let flight = self.flights.once(key, self.ask(key, token, asked)).await;
        flight.map_or(Ok(Answer::Busy), |(answer, _)| answer)
    }

    async fn ask(&self, key: Fingerprint, token: &Secret<String>, asked: &Asked<'_>) -> Result<Answer, Unavailable> {
        let turn = match self.refusals.admit(asked.request.client.address, self.clock.monotonic()) {
            Ok(turn) => turn,
            Err(Closed::Busy) => return Ok(Answer::Busy),
            Err(Closed::Refused) => return Ok(Answer::Closed),
        };
        let Ok(_place) = self.questions.try_acquire() else { return Ok(Answer::Busy) };
        if !self.breaker.admits(self.clock.monotonic()) {
            return Err(self.down(&"it did not answer several times in a row and is left alone for a while"));
        }
        let answer = self.call(token, asked).await;
        let now = self.clock.monotonic();
        match &answer {
            Ok(answer) => {
                self.breaker.succeeded();
                let lasts = match answer {
                    Answer::Yes(_) => self.settings.remember,
                    Answer::No(_) | Answer::Inactive => NO.min(self.settings.remember),
                    Answer::Busy | Answer::Closed => Duration::ZERO,
                };
                match answer {
                    Answer::Inactive => turn.refused(now),
                    // Its server vouches for it: it is nobody's guess.
                    Answer::No(rejection) if rejection.reason != reason::Reason::MissingScope => turn.refused(now),
                    Answer::No(_) | Answer::Yes(_) | Answer::Busy | Answer::Closed => {}
                }
                self.answers.insert(key, (answer.clone(), now.saturating_add(lasts)));
            }
            Err(_) => self.breaker.failed(now),
        }
        answer
    }

    async fn call(&self, token: &Secret<String>, asked: &Asked<'_>) -> Result<Answer, Unavailable> {
        let url = &self.settings.url;
        let request = form(&self.client, url, &rfc7662::question(token.reveal()), url.as_str(), asked.now)?;
        let response = match self.caller.call(&origin(url), request.map_err(|why| self.down(&why))?).await {
            Ok(response) => response,
            Err(why @ CallError::TooLong(_)) => return Ok(Answer::No(self.unusable(reason::Reason::Limits, &why))),
            Err(why) => return Err(self.down(&why)),
        };
        match response.status() {
            StatusCode::OK => {}
            // It does not know us. Nobody's token is to blame, and nobody comes in.
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => {
                tracing::error!(scheme = %self.name, status = status.as_u16(), "the server that is asked about tokens does not know our id or secret");
                return Err(self.down(&format!("it answered {status}")));
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                return Err(self.down(&format!("it answered {status}")));
            }
            status => return Ok(Answer::No(self.unusable(reason::Reason::Malformed, &format!("it answered {status}")))),
        }
        let settings = &self.settings;
        let expected = rfc7662::Expected {
            issuer: settings.issuer.as_deref(),
            audiences: &settings.audiences,
            scopes: &settings.scopes,
            skew: settings.skew,
        };
        Ok(match rfc7662::read(media_type(&response), response.body(), &expected, asked.now.as_second()) {
            Ok(Some(active)) => Answer::Yes(Arc::new(active)),
            Ok(None) => Answer::Inactive,
            Err(rejection) => Answer::No(rejection),
        })
    }

    fn unusable(&self, reason: reason::Reason, why: &dyn std::fmt::Display) -> reason::Rejection {
        tracing::warn!(scheme = %self.name, why = %why, "the server that is asked about tokens cannot be understood");
        reason::Rejection { check: "introspection", reason, detail: why.to_string() }
    }

    fn down(&self, why: &dyn std::fmt::Display) -> Unavailable {
        Unavailable::new(self.name.to_string(), why)
    }

    /// Whose token it is here.
    async fn owner(&self, tenant: &Tenant, active: &Active, asked: &Asked<'_>) -> Result<Result<Who, Reason>, Unavailable> {
        // A mail address names somebody only where the server has seen it to be theirs (OpenID Connect Core 1.0 §5.1): anybody may write
        // anybody's into their own account.
        let seen = self.settings.subject != "email" || active.is_true("email_verified");
        let Some(subject) = active.name(&self.settings.subject).filter(|_| seen) else { return Ok(Err(Reason::NoAccount)) };
        match &self.settings.users {
            FoundBy::Name { suffix } => {
                let name = Username::parse(&subject).and_then(|name| Username::parse(name.as_str().strip_suffix(suffix.as_str())?));
                let Some(name) = name else { return Ok(Err(Reason::SubjectNotAllowed)) };
                let found = self.users.by_name(&tenant.id, &name).await?;
                Ok(found.map(|user| Who::User(user.id)).ok_or(Reason::UnknownUser))
            }
            FoundBy::Link => {
                let id = ExternalId { issuer: self.issuer.clone(), id: subject };
                let key = (tenant.id.clone(), id.id.clone());
                if let Some(held) = self.owners.get(&key)
                    && let Some(user) = self.users.by_id(held, asked.now).await?
                    && user.external_ids.contains(&id)
                {
                    return Ok(Ok(Who::User(held)));
                }
                let Some(user) = self.users.by_external_id(&tenant.id, &id).await? else { return Ok(Err(Reason::NoAccount)) };
                self.owners.insert(key, user.id);
                Ok(Ok(Who::User(user.id)))
            }
        }
    }

    fn refused(&self, rejection: &reason::Rejection, trail: &mut Trail) -> Reason {
        let reason = fault(rejection.reason);
        trail.events.push(Event::AnswerRefused {
            scheme: self.name.clone(),
            partner: None,
            check: rejection.check.to_owned(),
            reason,
            detail: rejection.detail.clone(),
        });
        Reason::Oidc(reason)
    }
}

/// Whether the token's own end has come since.
fn is_over(answer: &Answer, now: i64) -> bool {
    matches!(answer, Answer::Yes(active) if active.expires.is_some_and(|end| end <= now))
}

/// The token of a request, if it has one (RFC 6750 §2.1). Those in forms and addresses are not read: they stand in logs.
fn bearer(request: &CheckRequest) -> Option<&str> {
    let value = request.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_matches(' '))
}

#[async_trait]
impl Scheme for IntrospectionScheme {
    fn name(&self) -> &SchemeName {
        &self.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        request.headers.get_all(AUTHORIZATION).iter().any(|value| {
            let scheme = value.as_bytes().split(|octet| *octet == b' ').next();
            scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(b"bearer"))
        })
    }

    fn consumes(&self) -> &[Place] {
        static PLACES: [Place; 1] = [Place::Header(AUTHORIZATION)];
        &PLACES
    }

    async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let rejected = |reason| Ok(Outcome::Rejected(Rejection::next(reason)));
        if asked.request.headers.get_all(AUTHORIZATION).iter().count() > 1 {
            return rejected(Reason::DuplicateCredential);
        }
        let Some(token) = bearer(asked.request).filter(|token| rfc7662::is_bearer(token)) else {
            return rejected(Reason::MalformedCredential);
        };
        let active = match self.answer(asked, &Secret::new(token.to_owned())).await? {
            Answer::Yes(active) => active,
            Answer::No(rejection) => return rejected(self.refused(&rejection, trail)),
            Answer::Inactive => return rejected(Reason::Oidc(OidcFault::Inactive)),
            Answer::Busy => return rejected(Reason::TooManyWaiting),
            Answer::Closed => return rejected(Reason::AddressGateClosed),
        };
        let tenant = &asked.found.tenant;
        let who = match self.owner(tenant, &active, asked).await? {
            Ok(who) => who,
            Err(reason) => return rejected(reason),
        };
        let mut attributes = Attributes::new();
        for (there, here) in &self.settings.attributes {
            let values = active.texts(there);
            if !values.is_empty() {
                attributes.insert(here.clone(), values);
            }
        }
        Ok(Outcome::Authenticated(Box::new(Proof {
            tenant: tenant.id.clone(),
            who,
            scheme: self.name.clone(),
            issuer: self.issuer.clone(),
            level: FOREIGN,
            authenticated_at: asked.now,
            replay: Vec::new(),
            attributes,
            ambient: false,
        })))
    }

    /// RFC 6750 §3: whoever showed a token learns that it does not do, and nobody else learns anything.
    fn challenge(&self, request: &CheckRequest) -> Option<Challenge> {
        let error = self.presents(request).then_some("invalid_token");
        Some(Challenge { scheme: "Bearer", realm: self.realm.clone(), error, scope: self.settings.scopes.join(" ") })
    }
}
