//! The scheme `identity-url`: a foreign session id, and the URL at which its service says whose it is.
//!
//! `authentication-chain.md` §2. The session id is a password: it goes to a host of the configuration and nowhere else, and
//! what is remembered of it is an HMAC under a key that dies with the process. An attacker sends his own session id with
//! his victim's URL, makes an organisation of his own in which somebody is called like the victim, or has us call a host of his.
//! So organisations are listed and held before any call, whose session it is is asked separately, and a name that matches
//! links an account once: from then on the ids count.

mod address;
mod failures;
mod salesforce;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use http::HeaderName;
use quick_cache::sync::Cache;
use vestibule_engine::audit::{Event, Reason, Trail};
use vestibule_engine::clock::Clock;
use vestibule_engine::identity::{Attributes, ExternalId, Issuer, Level, SchemeName, TenantId, User, UserId, Username};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::scheme::{Asked, Outcome, Place, Proof, Rejection, Scheme, Unavailable, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;

pub use address::{Hosts, Id, ORGANIZATION};
use address::{IdentityUrl, Unfit};
use failures::Failures;
use salesforce::Subject;

use super::verified::Flights;
use crate::call::Caller;
use crate::call::breaker::Breaker;

/// Who calls a user by an identity URL. With colons, so that no realm has this name. The id is `ORGANISATION/USER`, fifteen
/// characters each.
pub const ISSUER: &str = "urn:vestibule:salesforce";

/// The header of the session id.
const SESSION: HeaderName = HeaderName::from_static("ssid");
/// The header of the identity URL.
const URL: HeaderName = HeaderName::from_static("surl");
/// As strong as the password that opened the foreign session, at best.
const FOREIGN: Level = Level(10);
/// Octets of a session id.
const SESSION_ID: std::ops::RangeInclusive<usize> = 20..=4096;
/// For how long a yes is remembered.
const YES: Duration = Duration::from_secs(120);
/// For how long a no is.
const NO: Duration = Duration::from_secs(10);
/// Answers and owners remembered.
const REMEMBERED: usize = 10_000;
/// Hosts of which it is remembered that they do not answer.
const HOSTS: usize = 256;
/// Tries to write a link while others change the account.
const TRIES: usize = 3;
/// Most names of issuers for one user, as in `user link`.
const MAX_IDS: usize = 64;

/// Whether it is asked who owns a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// It is.
    Checked,
    /// It is believed that whoever may read an identity is that user: a concession.
    Unchecked,
}

/// How somebody who was not linked yet is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkBy {
    /// Not at all: an administrator links accounts.
    Nothing,
    /// Their name there is their name here.
    Username,
    /// Their verified mail address there is their name here.
    Email,
}

/// What the scheme is made of.
#[derive(Debug)]
pub struct Settings {
    /// Its name.
    pub name: SchemeName,
    /// Organisations whose users may come.
    pub organizations: Vec<Id>,
    /// Hosts that session ids may be sent to.
    pub hosts: Hosts,
    /// Whether it is asked who owns a session.
    pub owner: Owner,
    /// How newcomers are found.
    pub link_by: LinkBy,
}

/// The scheme.
#[derive(Debug)]
pub struct IdentityUrlScheme {
    settings: Settings,
    caller: Caller,
    users: Arc<Users>,
    clock: Arc<dyn Clock>,
    key: hmac::Key,
    /// What the service said, and until when on the monotonic clock it holds.
    answers: Cache<Fingerprint, (Answer, Duration)>,
    flights: Flights<Fingerprint, Result<Answer, Unavailable>>,
    owners: Cache<(TenantId, String), UserId>,
    /// One for each host: a caller who names hosts that do not exist must not close the others.
    breakers: Cache<String, Arc<Breaker>>,
    failures: Failures,
}

type Fingerprint = [u8; 32];
type Answer = Result<Arc<Subject>, Reason>;

impl IdentityUrlScheme {
    /// The scheme over these users; `caller` reaches the service.
    ///
    /// # Errors
    /// [`Unavailable`] without random numbers.
    pub fn new(settings: Settings, caller: Caller, users: Arc<Users>, clock: Arc<dyn Clock>) -> Result<Self, Unavailable> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| Unavailable::new("random", "the operating system gave no random numbers"))?;
        Ok(Self {
            settings,
            caller,
            users,
            clock,
            key,
            answers: Cache::new(REMEMBERED),
            flights: Flights::default(),
            owners: Cache::new(REMEMBERED),
            breakers: Cache::new(HOSTS),
            failures: Failures::default(),
        })
    }

    /// The pair as it came, before anybody is asked.
    fn read(&self, request: &CheckRequest) -> Result<(Secret<String>, IdentityUrl), Reason> {
        let only = |name: &HeaderName| {
            let mut values = request.headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (Some(only), None) => only.to_str().map(str::to_owned).map_err(|_| Reason::MalformedCredential),
                (_, _) => Err(Reason::DuplicateCredential),
            }
        };
        let (session, url) = (Secret::new(only(&SESSION)?), only(&URL)?);
        let usual = |b: u8| matches!(b, 0x21..=0x7e) && b != b',';
        if !SESSION_ID.contains(&session.reveal().len()) || !session.reveal().bytes().all(usual) {
            return Err(Reason::MalformedCredential);
        }
        let url = IdentityUrl::parse(&url, &self.settings.hosts).map_err(|unfit| match unfit {
            Unfit::Malformed => Reason::MalformedCredential,
            Unfit::Host => Reason::ForeignHostNotListed,
        })?;
        if !self.settings.organizations.contains(&url.organization) {
            return Err(Reason::ForeignOrganizationNotListed);
        }
        // A session id of the older form begins with its organisation.
        let of = session.reveal().split_once('!').map(|(organization, _)| organization);
        if of.is_some_and(|of| Id::parse(of, ORGANIZATION) != Some(url.organization)) {
            return Err(Reason::ForeignSessionOfAnother);
        }
        Ok((session, url))
    }

    fn fingerprint(&self, tenant: &TenantId, session: &Secret<String>, url: &IdentityUrl) -> Fingerprint {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [tenant.as_str(), session.reveal(), &url.origin.to_string(), url.organization.as_str(), url.user.as_str()] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        let mut octets = [0; 32];
        octets.copy_from_slice(context.sign().as_ref());
        octets
    }

    async fn answer(&self, asked: &Asked<'_>, session: &Secret<String>, url: &IdentityUrl) -> Result<Answer, Unavailable> {
        let key = self.fingerprint(&asked.found.tenant.id, session, url);
        if let Some((answer, until)) = self.answers.get(&key)
            && self.clock.monotonic() < until
        {
            return Ok(answer);
        }
        let (address, now) = (asked.request.client.address, self.clock.monotonic());
        if let Some(reason) = self.failures.closed(address, url, now) {
            return Ok(Err(reason));
        }
        let flight = self.flights.once(key, self.ask(key, session, url)).await;
        let answer = flight.map_or(Ok(Err(Reason::TooManyWaiting)), |(answer, _)| answer);
        if let Ok(Err(_)) = &answer {
            self.failures.count(address, url, now);
        }
        answer
    }

    async fn ask(&self, key: Fingerprint, session: &Secret<String>, url: &IdentityUrl) -> Result<Answer, Unavailable> {
        let host = &url.origin.host;
        let breaker = self.breakers.get_or_insert_with(host, || Ok::<_, Unavailable>(Arc::new(Breaker::default())))?;
        if !breaker.admits(self.clock.monotonic()) {
            return Err(Unavailable::new(host.as_str(), "it did not answer several times in a row and is left alone for a while"));
        }
        let asked = salesforce::ask(&self.caller, &self.settings.hosts, self.settings.owner, url, session).await;
        let now = self.clock.monotonic();
        let answer = match asked {
            Ok(answer) => answer.map(Arc::new),
            Err(down) => {
                breaker.failed(now);
                return Err(down);
            }
        };
        breaker.succeeded();
        self.answers.insert(key, (answer.clone(), now.saturating_add(if answer.is_ok() { YES } else { NO })));
        Ok(answer)
    }

    /// Whose account it is here.
    async fn owner(
        &self,
        asked: &Asked<'_>,
        url: &IdentityUrl,
        subject: &Subject,
        trail: &mut Trail,
    ) -> Result<Result<UserId, Reason>, Unavailable> {
        let tenant = &asked.found.tenant;
        let id = ExternalId { issuer: Issuer::from(ISSUER), id: format!("{}/{}", url.organization.as_str(), url.user.as_str()) };
        let key = (tenant.id.clone(), id.id.clone());
        if let Some(held) = self.owners.get(&key)
            && let Some(user) = self.users.by_id(held, asked.now).await?
            && user.external_ids.contains(&id)
        {
            return Ok(Ok(held));
        }
        let user = match self.users.by_external_id(&tenant.id, &id).await? {
            Some(user) => user.id,
            None => match self.link(tenant, id, subject, trail).await? {
                Ok(user) => user,
                Err(reason) => return Ok(Err(reason)),
            },
        };
        self.owners.insert(key, user);
        Ok(Ok(user))
    }

    /// Finds somebody by their name and writes down what they are called there.
    async fn link(
        &self,
        tenant: &Tenant,
        id: ExternalId,
        subject: &Subject,
        trail: &mut Trail,
    ) -> Result<Result<UserId, Reason>, Unavailable> {
        let name = match self.settings.link_by {
            LinkBy::Nothing => None,
            LinkBy::Username => subject.username.as_deref(),
            LinkBy::Email => subject.email.as_deref(),
        };
        let Some(name) = name.and_then(|name| Username::parse(tenant.local_name(name))) else { return Ok(Err(Reason::NoAccount)) };
        for _ in 0..TRIES {
            let Some(user) = self.users.by_name(&tenant.id, &name).await? else { return Ok(Err(Reason::NoAccount)) };
            // The ids of a link bind. Somebody else's account there that is called the same is an attack, or a mistake.
            if user.external_ids.iter().any(|known| known.issuer == id.issuer && *known != id) || user.external_ids.len() >= MAX_IDS {
                return Ok(Err(Reason::LinkedToAnother));
            }
            // Never federated, so not worth a link either.
            if user.is_operator() {
                return Ok(Err(Reason::SubjectNotAllowed));
            }
            let mut linked = User::clone(&user);
            linked.external_ids.push(id.clone());
            if self.users.store().update_user(&linked, user.epoch).await? {
                let subject = format!("{} is {} at {ISSUER}", user.name, id.id);
                trail.events.push(Event::AdminChanged { by: self.settings.name.to_string(), action: "user.link".to_owned(), subject });
                return Ok(Ok(user.id));
            }
        }
        Err(Unavailable::new("store", "others keep changing this account"))
    }
}

#[async_trait]
impl Scheme for IdentityUrlScheme {
    fn name(&self) -> &SchemeName {
        &self.settings.name
    }

    /// Both halves; one of them alone says nothing.
    fn presents(&self, request: &CheckRequest) -> bool {
        let some = |name: &HeaderName| request.headers.get(name).is_some_and(|value| !value.is_empty());
        some(&SESSION) && some(&URL)
    }

    fn consumes(&self) -> &[Place] {
        static PLACES: [Place; 2] = [Place::Header(SESSION), Place::Header(URL)];
        &PLACES
    }

    async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let tenant = &asked.found.tenant.id;
        let rejected = |reason| Ok(Outcome::Rejected(Rejection::next(reason)));
        let (session, url) = match self.read(asked.request) {
            Ok(pair) => pair,
            Err(reason) => return rejected(reason),
        };
        let subject = match self.answer(asked, &session, &url).await? {
            Ok(subject) => subject,
            Err(reason) => return rejected(reason),
        };
        let user = match self.owner(asked, &url, &subject, trail).await? {
            Ok(user) => user,
            Err(reason) => return rejected(reason),
        };
        let mut attributes = Attributes::new();
        let stated = [("username", &subject.username), ("email", &subject.email), ("display-name", &subject.display_name)];
        for (name, value) in stated.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))) {
            attributes.insert(name.to_owned(), vec![value.clone()]);
        }
        attributes.insert("organization".to_owned(), vec![url.organization.as_str().to_owned()]);
        Ok(Outcome::Authenticated(Box::new(Proof {
            tenant: tenant.clone(),
            who: Who::User(user),
            scheme: self.settings.name.clone(),
            issuer: Issuer::from(ISSUER),
            level: FOREIGN,
            authenticated_at: asked.now,
            replay: Vec::new(),
            attributes,
            ambient: false,
        })))
    }
}
