//! HTTP Basic (RFC 7617) over a family of realms.
//!
//! An attacker guesses, sends two credentials and hopes that we and the application read different ones (attack 86),
//! or lets a victim's browser send the password it remembers. A browser that has asked for a password once sends it
//! by itself ever after, so what comes from a page is held to the rules for cookies.

use std::net::IpAddr;
use std::time::Duration;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, ORIGIN};
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Event, Reason, Trail};
use vestibule_engine::basic::{Credentials, credentials, presents};
use vestibule_engine::identity::{RealmName, SchemeName, User, Username};
use vestibule_engine::realm::{Account, Accounts, Answer, Offered};
use vestibule_engine::request::{CheckRequest, ClientKind};
use vestibule_engine::scheme::{Asked, Challenge, Outcome, Place, Rejection, Scheme, Unavailable, Verdict};

use super::family::{Family, Offer, PlainHttp};
use super::known_device;
use super::verified::{Fingerprint, Flights, Role, Success, Verified};

/// What the configuration says of a Basic scheme.
#[derive(Debug, Clone)]
pub struct BasicSettings {
    /// The family's name.
    pub name: SchemeName,
    /// The protection space in challenges; constant per tenant.
    pub realm_text: String,
    /// Whether passwords may come unprotected.
    pub plain: PlainHttp,
    /// How people sign in.
    pub browsers: Browsers,
    /// The number of the engine this scheme belongs to.
    pub generation: u64,
    /// How long a success is remembered; zero for never, 60 s at most.
    pub remembered: Duration,
}

/// How people with a browser sign in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Browsers {
    /// By a login form or an identity provider: a browser is not challenged here.
    OwnPages,
    /// By the browser's own password dialogue.
    Dialogue,
}

/// The scheme.
#[derive(Debug)]
pub struct Basic {
    settings: BasicSettings,
    family: Family,
    verified: Verified,
    /// Attempts under way, by the credential and whether the device is known, with the address that asked.
    flights: Flights<(Fingerprint, bool), (Result<Answer, Unavailable>, IpAddr)>,
    consumes: Vec<Place>,
}

impl Basic {
    /// Basic over these realms.
    ///
    /// # Errors
    /// [`Unavailable`] without random numbers.
    pub fn new(settings: BasicSettings, family: Family) -> Result<Self, Unavailable> {
        let verified = Verified::new(settings.generation, settings.remembered)?;
        let consumes = std::iter::once(Place::Header(AUTHORIZATION)).chain(known_device::places()).collect();
        Ok(Self { settings, family, verified, flights: Flights::default(), consumes })
    }

    /// Whether an answer found for one address holds for another: a success that may be remembered does, of somebody who may come from there.
    async fn serves_others(&self, answer: &Result<Answer, Unavailable>, asked: &Asked<'_>) -> bool {
        match answer {
            Ok(Answer::Accepted { account, realm }) => {
                let Some(success) = Success::of(account, realm, &self.family.users, asked.now).await else { return false };
                let user = self.family.users.by_id(success.user, asked.now).await.ok().flatten();
                user.is_some_and(|user| self.family.admits(&user, asked.request, asked.now))
            }
            Ok(Answer::Rejected(_)) | Err(_) => false,
        }
    }

    fn authenticated(&self, account: &Account, realm: &RealmName, at: Timestamp, asked: &Asked<'_>) -> Outcome {
        let mut proof = self.family.proof(&self.settings.name, &asked.found.tenant.id, account.clone(), realm, at);
        proof.ambient = from_a_page(asked.request);
        Outcome::Authenticated(Box::new(proof))
    }

    /// The line of a step whose answer was not sought in this request.
    fn line(&self, answer: &Result<Answer, Unavailable>, since: Duration, trail: &mut Trail) {
        let (realm, verdict, reason) = match answer {
            Ok(Answer::Accepted { realm, .. }) => (Some(realm), Verdict::Authenticated, None),
            Ok(Answer::Rejected(rejection)) => (None, Verdict::Rejected, Some(rejection.reason)),
            Err(_) => (None, Verdict::Unavailable, Some(Reason::Unavailable)),
        };
        let step = self.family.steps.iter().find(|step| realm.is_none_or(|realm| step.realm.name() == realm));
        trail.step(step.map_or(&self.settings.name, |step| &step.scheme), verdict, reason, since);
    }

    /// Every password that was really checked is a login, for the history.
    fn note(&self, answer: &Result<Answer, Unavailable>, username: &Username, trail: &mut Trail) {
        let scheme = &self.settings.name;
        match answer {
            Ok(Answer::Accepted { realm, .. }) => {
                let (realm, subject) = (realm.to_string(), username.to_string());
                trail.events.push(Event::LoginSucceeded { scheme: scheme.clone(), realm, subject });
            }
            Ok(Answer::Rejected(rejection)) => trail.refused(scheme, Some(username), rejection.reason),
            Err(_) => trail.refused(scheme, Some(username), Reason::Unavailable),
        }
    }

    fn now(&self) -> Duration {
        self.family.clock.monotonic()
    }
}

#[async_trait]
impl Scheme for Basic {
    fn name(&self) -> &SchemeName {
        &self.settings.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        presents(&request.headers)
    }

    fn consumes(&self) -> &[Place] {
        &self.consumes
    }

    async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let since = trail.mark();
        let request = asked.request;
        if !self.settings.plain.admits(request) {
            tracing::warn!(request = %request.id, scheme = %self.settings.name, "a password came over an unprotected channel");
            trail.step(&self.settings.name, Verdict::NotApplicable, Some(Reason::InsecureChannel), since);
            return Ok(Outcome::NotApplicable);
        }
        let Credentials { name, password } = match credentials(&request.headers) {
            Ok(Some(credentials)) => credentials,
            Ok(None) => return Ok(Outcome::NotApplicable),
            Err(reason) => return Ok(Outcome::Rejected(Rejection::next(reason))),
        };
        let tenant = &asked.found.tenant;
        let Some(username) = Username::parse(tenant.local_name(&name)) else {
            return Ok(Outcome::Rejected(Rejection::next(Reason::MalformedCredential)));
        };
        let fingerprint = self.verified.fingerprint(&tenant.id, &self.family.steps, &username, &password);
        let admits = |user: &User| self.family.admits(user, request, asked.now);
        if let Some(success) = self.verified.recall(&fingerprint, &self.family.users, admits, asked.now, self.now()).await? {
            let answer = Ok(Answer::Accepted { account: success.account.clone(), realm: success.realm.clone() });
            self.line(&answer, since, trail);
            return Ok(self.authenticated(&success.account, &success.realm, success.at, asked));
        }
        let offer = Offer {
            request,
            tenant: &tenant.id,
            username: &username,
            secret: Offered::Password(&password),
            accounts: Accounts::All,
            floor: Duration::ZERO,
            now: asked.now,
        };
        let address = request.client.address.to_canonical();
        let known_device = self.family.knows_device(&offer).await;
        // Boxed, or it would be kept twice: as it came to the flight, and as it is waited for there.
        let ask = Box::pin(async { (self.family.verify(&offer, known_device, trail).await, address) });
        let Some(((mut answer, asked_from), role)) = self.flights.once((fingerprint, known_device), ask).await else {
            return Ok(Outcome::Rejected(Rejection::next(Reason::TooManyWaiting)));
        };
        match role {
            Role::Leader => self.note(&answer, &username, trail),
            Role::Follower if asked_from == address || self.serves_others(&answer, asked).await => self.line(&answer, since, trail),
            // A refusal may be about that address, not about the password.
            Role::Follower => answer = self.family.verify(&offer, known_device, trail).await,
        }
        match &answer? {
            Answer::Rejected(rejection) => Ok(Outcome::Rejected(*rejection)),
            Answer::Accepted { account, realm } => {
                if role == Role::Leader
                    && let Some(success) = Success::of(account, realm, &self.family.users, asked.now).await
                {
                    self.verified.remember(fingerprint, success, self.now());
                }
                Ok(self.authenticated(account, realm, asked.now, asked))
            }
        }
    }

    /// `authentication-chain.md` §6.3: an unknown scheme keeps the browser's dialogue shut where a page asks, and yet
    /// satisfies the rule that a 401 carries a challenge.
    fn challenge(&self, request: &CheckRequest) -> Option<Challenge> {
        if !self.settings.plain.admits(request) {
            return None;
        }
        let quiet =
            request.headers.keys().any(|name| name == ORIGIN || name == "x-requested-with" || name.as_str().starts_with("sec-fetch-"));
        let scheme = match (request.kind(), self.settings.browsers) {
            (ClientKind::Browser, Browsers::OwnPages) => return None,
            (ClientKind::Browser, Browsers::Dialogue) => "Basic",
            (ClientKind::Script, _) => "XBasic",
            (ClientKind::Api | ClientKind::Soap11 | ClientKind::Soap12, _) => {
                if quiet {
                    "XBasic"
                } else {
                    "Basic"
                }
            }
        };
        Some(Challenge { scheme, realm: self.settings.realm_text.clone(), error: None, scope: String::new() })
    }
}

/// Whether a page made a browser send this: then the credential may be one that it sends by itself.
pub fn from_a_page(request: &CheckRequest) -> bool {
    request.headers.contains_key(ORIGIN) || request.headers.contains_key("sec-fetch-site")
}

#[cfg(test)]
mod tests;
