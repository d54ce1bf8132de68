//! The endpoint that others ask whether a password is right (`login-saml-delegated.md` §4).
//!
//! Its callers hand us what people typed elsewhere, so an attacker who finds it has a place to guess at, and one who makes our
//! directory fail hopes that we say yes, or that people are told their password is wrong until they lock themselves out. So a caller is
//! known by address or certificate beside a path that nobody can guess, guesses are counted as everywhere, and an outage
//! is a fault and never `false`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use ipnet::IpNet;
use subtle::ConstantTimeEq as _;
use vestibule_engine::admission::barred;
use vestibule_engine::audit::{Event, Reason, Ruling, Trail};
use vestibule_engine::engine::{Ended, Engine};
use vestibule_engine::identity::{Level, SchemeName, TenantId, Username, password};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{Accounts, Answer, Attempt, Offered, PASSWORD, Passwords, RealmStep, Terms};
use vestibule_engine::request::{Body, CheckRequest, Client, SECRET_PATHS, Shown};
use vestibule_engine::route::Found;
use vestibule_engine::scheme::{Unavailable, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::store::digest;
use vestibule_engine::users::Users;
use vestibule_soap::delegated::{AnswerRoot, Question, write_answer, wsdl};
use vestibule_soap::{Code, Fault, Version};

use crate::serve::tickets::{self, Tickets};

/// So long at most for an answer: callers give up after ten seconds.
const DEADLINE: Duration = Duration::from_secs(7);

/// What an endpoint is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Its name; records show it as the scheme.
    pub name: SchemeName,
    /// Whose passwords it checks.
    pub tenant: TenantId,
    /// The last segment of its path, and former ones that still hold.
    pub secrets: Vec<Secret<String>>,
    /// Who may ask, by address.
    pub callers: Vec<IpNet>,
    /// Who may ask, by the SHA-256 of a certificate, lower-case hexadecimal.
    pub certificates: Vec<String>,
    /// What a name may end with there, and what it ends with here instead.
    pub suffixes: Vec<(String, String)>,
    /// From where people may sign in, as a caller says; everywhere if empty.
    pub sources: Vec<IpNet>,
    /// The name of the root of an answer.
    pub root: AnswerRoot,
    /// What is answered while the realm is down.
    pub on_outage: OnOutage,
    /// Whether the description is served.
    pub described: bool,
    /// The login page of the service that asks, if its users may bring tickets there in place of passwords.
    pub tickets: Option<url::Url>,
}

/// What is answered while nobody can check a password.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum OnOutage {
    /// A SOAP fault.
    #[default]
    Fault,
    /// `false`, for callers that know no fault.
    False,
}

/// An endpoint.
#[derive(Debug)]
pub struct Delegate {
    settings: Settings,
    secrets: Vec<[u8; 32]>,
    steps: Vec<RealmStep>,
    passwords: Arc<Passwords>,
    users: Arc<Users>,
    profiles: Arc<Profiles>,
}

/// All endpoints, and what they record to.
#[derive(Debug)]
pub struct Delegates {
    engine: Arc<Engine>,
    endpoints: Vec<Delegate>,
    tickets: Tickets,
}

/// What an endpoint made of a question, for the record.
struct Outcome {
    response: Response<Full<Bytes>>,
    ruling: Ruling,
    reason: Option<Reason>,
}

impl Delegate {
    /// An endpoint over these realms.
    pub fn new(settings: Settings, steps: Vec<RealmStep>, passwords: Arc<Passwords>, users: Arc<Users>, profiles: Arc<Profiles>) -> Self {
        let secrets = settings.secrets.iter().map(|secret| digest(&[secret.reveal().as_bytes()])).collect();
        Self { settings, secrets, steps, passwords, users, profiles }
    }

    /// Whether this path is its own. All secrets are compared, in constant time.
    fn is_at(&self, tenant: &TenantId, segment: &str) -> bool {
        let given = digest(&[segment.as_bytes()]);
        let found = self.secrets.iter().fold(subtle::Choice::from(0), |found, secret| found | secret.ct_eq(&given));
        *tenant == self.settings.tenant && found.into()
    }

    fn knows(&self, client: &Client) -> bool {
        let address = client.address.to_canonical();
        let by_certificate = match &client.certificate {
            Shown::Certificate(shown) => self.settings.certificates.contains(&shown.thumbprint),
            Shown::Nothing | Shown::Refused(_) => false,
        };
        by_certificate || self.settings.callers.iter().any(|net| net.contains(&address))
    }

    async fn answer(&self, request: &CheckRequest, found: &Found, desk: &Delegates, trail: &mut Trail) -> Outcome {
        if request.method == Method::GET {
            let asks = request.target.query_pairs().any(|(name, _)| name.eq_ignore_ascii_case("wsdl"));
            if !asks || !self.settings.described {
                return refused(StatusCode::NOT_FOUND, Reason::NoRoute);
            }
            let address = format!("{}{}", request.origin(), request.target.path());
            return Outcome { response: message(StatusCode::OK, wsdl(&address)), ruling: Ruling::Allow, reason: None };
        }
        if request.method != Method::POST {
            let mut outcome = refused(StatusCode::METHOD_NOT_ALLOWED, Reason::NoRoute);
            outcome.response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
            return outcome;
        }
        let octets = match &request.body {
            Body::Whole(octets) => octets,
            Body::Unread => return fault(Code::Sender, "there is no message", Ruling::Deny, Reason::MalformedCredential),
        };
        let question = match Question::read(octets) {
            Ok(question) => question,
            Err(error) => {
                tracing::debug!(request_id = %request.id, reason = error.reason(), "a question cannot be read");
                return fault(Code::Sender, "the message cannot be read", Ruling::Deny, Reason::MalformedCredential);
            }
        };
        let judged = tokio::time::timeout(DEADLINE, self.judge(&question, request, found, desk, trail)).await;
        let judged = judged.unwrap_or_else(|_| Err(Unavailable::new("delegate", format!("no answer within {DEADLINE:?}"))));
        match judged {
            Ok(Ok(())) => {
                Outcome { response: message(StatusCode::OK, write_answer(true, self.settings.root)), ruling: Ruling::Allow, reason: None }
            }
            Ok(Err(Reason::TooManyWaiting)) => {
                fault(Code::Receiver, "too many questions are waiting", Ruling::Fail, Reason::TooManyWaiting)
            }
            Ok(Err(reason)) => Outcome {
                response: message(StatusCode::OK, write_answer(false, self.settings.root)),
                ruling: Ruling::Deny,
                reason: Some(reason),
            },
            Err(down) => {
                tracing::warn!(request_id = %request.id, error = %down, "a password cannot be checked for another service");
                match self.settings.on_outage {
                    OnOutage::Fault => {
                        let text = format!("backend unavailable ({})", request.id);
                        fault(Code::Receiver, &text, Ruling::Fail, Reason::Unavailable)
                    }
                    OnOutage::False => {
                        let response = message(StatusCode::OK, write_answer(false, self.settings.root));
                        Outcome { response, ruling: Ruling::Fail, reason: Some(Reason::Unavailable) }
                    }
                }
            }
        }
    }

    async fn judge(
        &self,
        question: &Question,
        request: &CheckRequest,
        found: &Found,
        desk: &Delegates,
        trail: &mut Trail,
    ) -> Result<Result<(), Reason>, Unavailable> {
        let engine = &desk.engine;
        let typed = self.local(&question.username);
        let (Some(username), Some(password)) = (Username::parse(found.tenant.local_name(&typed)), password(&question.password)) else {
            return Ok(Err(Reason::MalformedCredential));
        };
        // Whoever may ask is believed about it; nobody else gets here.
        let source: Option<IpAddr> = question.source_ip.parse().ok();
        let judged = if self.admits(source) {
            let client =
                Client { address: source.unwrap_or(request.client.address), certificate: Shown::Nothing, ..request.client.clone() };
            let attempt = Attempt {
                tenant: &self.settings.tenant,
                username: &username,
                secret: Offered::Password(&password),
                client: &client,
                channel: client.channel,
                deadline: engine.clock.monotonic().saturating_add(DEADLINE),
                known_device: false,
                accounts: Accounts::Elsewhere,
                source,
                level: PASSWORD,
                floor: Duration::ZERO,
                now: engine.clock.now(),
            };
            match self.settings.tickets.is_some() && password.reveal().starts_with(tickets::PREFIX) {
                // Nobody guesses a ticket, so that a bad one counts as no guess at the password.
                true => self.take(&attempt, password.reveal(), &desk.tickets).await?,
                false => self.verify(&attempt, trail).await?,
            }
        } else {
            Err(Reason::AddressNotListed)
        };
        let scheme = self.settings.name.clone();
        match &judged {
            Ok(realm) => trail.events.push(Event::LoginSucceeded { scheme, realm: realm.clone(), subject: username.to_string() }),
            Err(reason) => trail.refused(&scheme, Some(&username), *reason),
        }
        Ok(judged.map(drop))
    }

    /// A ticket in place of the password.
    async fn take(&self, attempt: &Attempt<'_>, ticket: &str, tickets: &Tickets) -> Result<Result<String, Reason>, Unavailable> {
        let taken = tickets.take(attempt.tenant, &self.settings.name, attempt.username, ticket, attempt.now).await?;
        let holder = match taken {
            Ok(holder) => holder,
            Err(reason) => return Ok(Err(reason)),
        };
        let user = self.users.by_id(holder.user, attempt.now).await?;
        Ok(match user.filter(|user| user.tenant == *attempt.tenant) {
            None => Err(Reason::UnknownUser),
            Some(user) if user.epoch != holder.epoch => Err(Reason::StaleEpoch),
            Some(user) => {
                // Whoever made it was signed in here as strongly as their profile demands.
                let terms = Terms { level: Level(u8::MAX), ..attempt.terms() };
                barred(&user).or_else(|| terms.bar(&user, &self.profiles)).map_or(Ok("ticket".to_owned()), Err)
            }
        })
    }

    async fn verify(&self, attempt: &Attempt<'_>, trail: &mut Trail) -> Result<Result<String, Reason>, Unavailable> {
        let (account, realm) = match self.passwords.verify(&self.steps, attempt, trail).await? {
            Answer::Accepted { account, realm } => (account, realm),
            Answer::Rejected(rejection) => return Ok(Err(rejection.reason)),
        };
        if let Who::User(id) = account.who {
            let user = self.users.by_id(id, attempt.now).await?;
            // `rulings.md`: operators sign in here, from where they may come, and nowhere else.
            if user.is_none_or(|user| user.is_operator()) {
                return Ok(Err(Reason::SubjectNotAllowed));
            }
        }
        Ok(Ok(realm.to_string()))
    }

    /// The name as it is here.
    fn local(&self, name: &str) -> String {
        let ended = self.settings.suffixes.iter().find_map(|(there, here)| Some((name.strip_suffix(there.as_str())?, here)));
        ended.map_or_else(|| name.to_owned(), |(stem, here)| format!("{stem}{here}"))
    }

    /// A place that nobody named is none of those listed.
    fn admits(&self, source: Option<IpAddr>) -> bool {
        let sources = &self.settings.sources;
        sources.is_empty() || source.is_some_and(|source| sources.iter().any(|net| net.contains(&source.to_canonical())))
    }
}

impl Delegates {
    /// These endpoints.
    pub fn new(engine: Arc<Engine>, endpoints: Vec<Delegate>, tickets: Tickets) -> Self {
        Self { engine, endpoints, tickets }
    }

    /// Answers a request below [`SECRET_PATHS`]. A wrong path and an unknown caller look alike.
    pub async fn handle(&self, request: CheckRequest, found: Found) -> Response<Full<Bytes>> {
        let mut trail = Trail::new(self.engine.clock.clone());
        let segment = request.target.path().strip_prefix(SECRET_PATHS).unwrap_or_default();
        let endpoint = self.endpoints.iter().find(|endpoint| endpoint.is_at(&found.tenant.id, segment));
        let outcome = match (self.engine.sink.ready(), endpoint) {
            (Err(down), _) => {
                tracing::warn!(request_id = %request.id, error = %down, "nothing can be recorded, so nothing is answered");
                fault(Code::Receiver, "backend unavailable", Ruling::Fail, Reason::Unavailable)
            }
            (Ok(()), Some(endpoint)) if endpoint.knows(&request.client) => endpoint.answer(&request, &found, self, &mut trail).await,
            (Ok(()), Some(endpoint)) => {
                tracing::warn!(request_id = %request.id, endpoint = %endpoint.settings.name, address = %request.client.address, "a caller is neither listed nor shows a listed certificate");
                refused(StatusCode::NOT_FOUND, Reason::AddressNotListed)
            }
            (Ok(()), None) => refused(StatusCode::NOT_FOUND, Reason::NoRoute),
        };
        let Outcome { response, ruling, reason } = outcome;
        self.engine.record_page(&request, &found, Ended { ruling, reason, caller: None }, trail);
        response
    }
}

fn message(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml; charset=UTF-8"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn fault(code: Code, text: &str, ruling: Ruling, reason: Reason) -> Outcome {
    let text = Fault::new(code, text).write(Version::Soap11);
    Outcome { response: message(StatusCode::INTERNAL_SERVER_ERROR, text), ruling, reason: Some(reason) }
}

fn refused(status: StatusCode, reason: Reason) -> Outcome {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    Outcome { response, ruling: Ruling::Deny, reason: Some(reason) }
}
