//! An OpenID provider as we call it: its metadata and keys, its token endpoint, its UserInfo.
//!
//! What an attacker tries: to have us call an address within our walls, which its metadata name (SSRF); to have us fetch keys for
//! every forged token; to answer never, slowly, endlessly, or with a redirect. So only hosts that the operator named may have
//! private addresses, nothing is followed, keys are fetched anew at most once a minute, and whoever does not answer is left alone
//! for a while. What was good stays good for a day while the provider is away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Request, Response, StatusCode};
use tokio::runtime::Handle;
use url::Url;
use vestibule_engine::Timestamp;
use vestibule_engine::clock::{Clock, random};
use vestibule_engine::identity::{Issuer, Level, SchemeName};
use vestibule_engine::scheme::Unavailable;
use vestibule_oidc::client::{Authentication, Client};
use vestibule_oidc::discovery::Metadata;
use vestibule_oidc::jose::{ClientAssertion, IssuerKeys, Purpose as _, SigningKey};
use vestibule_oidc::jwks::{Jwks, MAX_SET, PublicKey};
use vestibule_oidc::reason::{Reason, Rejection};
use vestibule_oidc::rp::{Refreshed, Tokens, of_tokens, revocation};
use vestibule_oidc::userinfo::{self, UserInfo};
use zeroize::Zeroizing;

use super::Failure;
use crate::call::breaker::Breaker;
use crate::call::{CallError, Caller, Limits, Reach};
use crate::config::checked::{self, ClientAuthentication, OpLogout, Origin};
use crate::forward::{HttpVersion, client_tls};
use crate::schemes::partners::Partner;
use crate::schemes::verified::Flights;

/// How long and how much a provider is asked.
const LIMITS: Limits = Limits { connect: Duration::from_secs(3), whole: Duration::from_secs(8), octets: MAX_SET };
/// For how long metadata and keys are used without a look at whether they changed.
const FRESH: Duration = Duration::from_secs(3600);
/// For how long they are used while the provider is away: then a key that was withdrawn must not count any more.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// How often keys are fetched anew because a token names one that is not there.
const ANEW: Duration = Duration::from_secs(60);
/// How often it is tried again to look while the provider is away.
const AGAIN: Duration = Duration::from_secs(30);

/// An OpenID provider.
#[derive(Debug)]
pub struct OpenidProvider {
    settings: Arc<checked::OpenidProvider>,
    issuer: Issuer,
    client: Client,
    /// For hosts that the operator named.
    near: Caller,
    /// For all others.
    far: Caller,
    clock: Arc<dyn Clock>,
    control: Handle,
    breaker: Breaker,
    known: ArcSwapOption<Known>,
    flights: Flights<(), Result<Arc<Known>, Unavailable>>,
    /// Somebody is looking whether anything changed.
    looking: AtomicBool,
    /// When it was last tried, in milliseconds of the monotonic clock.
    tried: AtomicU64,
    /// Until when keys are not fetched anew for a token's sake.
    settled: AtomicU64,
}

/// What a provider said of itself.
#[derive(Debug)]
pub struct Known {
    /// Its metadata.
    pub metadata: Metadata,
    /// Its keys.
    pub keys: IssuerKeys,
    /// When, on the monotonic clock.
    fetched: Duration,
}

impl OpenidProvider {
    /// Called on the control runtime.
    pub(super) fn new(settings: Arc<checked::OpenidProvider>, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let control = Handle::try_current().map_err(|error| error.to_string())?;
        let caller =
            |reach| Ok::<_, String>(Caller::new(client_tls(&settings.ca, None, HttpVersion::Http1)?, reach, LIMITS, control.clone()));
        Ok(Self {
            issuer: issuer_of(&settings.issuer, &settings.subject),
            client: client(&settings.client_id, &settings.authentication)?,
            near: caller(Reach::Any)?,
            far: caller(Reach::Public)?,
            clock,
            control: control.clone(),
            breaker: Breaker::default(),
            known: ArcSwapOption::empty(),
            flights: Flights::default(),
            looking: AtomicBool::new(false),
            tried: AtomicU64::new(0),
            settled: AtomicU64::new(0),
            settings,
        })
    }

    /// What is configured of it.
    pub fn settings(&self) -> &checked::OpenidProvider {
        &self.settings
    }

    /// Its name here.
    pub fn name(&self) -> &str {
        &self.settings.name
    }

    /// The name to show.
    pub fn title(&self) -> &str {
        &self.settings.title
    }

    /// It, as one among those who may sign visitors in.
    pub fn partner<'a>(&'a self, scheme: &'a SchemeName) -> Partner<'a> {
        let settings = &*self.settings;
        let strongest = settings.contexts().strongest();
        Partner { name: &settings.name, title: &settings.title, hosts: &settings.hosts, domains: &settings.domains, strongest, scheme }
    }

    /// How the users it vouches for are linked.
    pub fn issuer(&self) -> &Issuer {
        &self.issuer
    }

    /// The public part of the key by which it knows us.
    pub(super) fn client_key(&self) -> Option<&PublicKey> {
        match &self.client.authentication {
            Authentication::PrivateKeyJwt(key) => Some(key.public()),
            Authentication::Basic(_) | Authentication::Post(_) => None,
        }
    }

    /// Whether signing out here leads there.
    pub(super) fn leads_out(&self) -> bool {
        match self.settings.logout {
            OpLogout::Provider => true,
            OpLogout::Here => false,
        }
    }

    pub(super) fn level(&self, context: Option<&str>) -> Level {
        self.settings.contexts().level(context)
    }

    /// What is known of it without asking.
    pub fn held(&self) -> Option<Arc<Known>> {
        self.known.load_full()
    }

    /// What it says of itself: what was fetched within the hour; what was fetched within the day, while somebody looks whether it
    /// changed; or what it says now.
    ///
    /// # Errors
    /// [`Unavailable`] when nothing is known of it and it does not answer, or not for itself.
    pub async fn known(self: &Arc<Self>) -> Result<Arc<Known>, Unavailable> {
        let now = self.clock.monotonic();
        match self.held() {
            Some(known) if now.saturating_sub(known.fetched) < FRESH => Ok(known),
            Some(known) if now.saturating_sub(known.fetched) < STALE => {
                let due = millis(now) >= self.tried.load(Ordering::Acquire).saturating_add(millis(AGAIN));
                if due && !self.looking.swap(true, Ordering::AcqRel) {
                    let provider = self.clone();
                    self.control.spawn(async move {
                        if let Err(down) = provider.fetch().await {
                            tracing::warn!(openid_provider = provider.name(), error = %down, "what it said before is used");
                        }
                        provider.looking.store(false, Ordering::Release);
                    });
                }
                Ok(known)
            }
            Some(_) | None => self.fetch().await,
        }
    }

    /// Reads a token by the keys that are known, and if one of them is missing, by those it publishes now: at most once a minute.
    pub(super) async fn with_newest_keys<T>(
        self: &Arc<Self>,
        known: Arc<Known>,
        read: impl Fn(&Known) -> Result<T, Rejection>,
    ) -> Result<(T, Arc<Known>), Failure> {
        let refused = match read(&known) {
            Ok(token) => return Ok((token, known)),
            Err(rejection) if rejection.reason == Reason::UnknownKey => rejection,
            Err(rejection) => return Err(rejection.into()),
        };
        let now = self.clock.monotonic();
        let newer = self.held().filter(|held| held.fetched > known.fetched);
        let known = match newer {
            Some(newer) => newer,
            None if millis(now) < self.settled.load(Ordering::Acquire) => return Err(refused.into()),
            None => {
                self.settled.store(millis(now.saturating_add(ANEW)), Ordering::Release);
                // Whether the key is there cannot be told where this fails: an outage, and nobody's forgery.
                self.fetch().await?
            }
        };
        Ok((read(&known)?, known))
    }

    async fn fetch(&self) -> Result<Arc<Known>, Unavailable> {
        let flight = self.flights.once((), self.ask()).await;
        flight.map_or_else(|| Err(self.down(&"too many wait for it")), |(answer, _)| answer)
    }

    async fn ask(&self) -> Result<Arc<Known>, Unavailable> {
        let now = self.clock.monotonic();
        self.tried.store(millis(now), Ordering::Release);
        let unusable = |why: &dyn std::fmt::Display| {
            tracing::error!(openid_provider = self.name(), why = %why, "what it says of itself cannot be used");
            self.down(why)
        };
        let response = self.get(&self.settings.metadata).await?;
        let metadata = Metadata::parse(response.body(), &self.settings.issuer).map_err(|why| unusable(&why))?;
        let response = self.get(&metadata.jwks_uri).await?;
        let text = std::str::from_utf8(response.body()).map_err(|why| unusable(&why))?;
        let set = Jwks::parse(text).map_err(|why| unusable(&why))?;
        for refused in &set.refused {
            tracing::debug!(openid_provider = self.name(), why = %refused, "one of its keys is left out");
        }
        if set.keys.is_empty() {
            return Err(unusable(&"it publishes no key that could verify anything"));
        }
        let known = Arc::new(Known { metadata, keys: IssuerKeys::new(set), fetched: now });
        self.known.store(Some(known.clone()));
        Ok(known)
    }

    async fn get(&self, url: &Url) -> Result<Response<Bytes>, Unavailable> {
        let request = Request::get(target(url)).header(ACCEPT, "application/json").body(Bytes::new());
        let response = self.call(url, request).await?.map_err(|why| self.down(&why))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            status => Err(self.down(&format!("{} answered {status}", url.path()))),
        }
    }

    /// Exchanges a code (OpenID Connect Core §3.1.3).
    pub(super) async fn exchange(&self, metadata: &Metadata, fields: &[(&str, &str)], now: Timestamp) -> Result<Tokens, Failure> {
        let (success, response) = self.tokens(metadata, fields, now).await?;
        Ok(Tokens::parse(success, media_type(&response), response.body())?)
    }

    /// Exchanges a refresh token (§12). What is refused is over; what else an OP reports is nobody's end.
    pub(super) async fn refresh(&self, metadata: &Metadata, fields: &[(&str, &str)], now: Timestamp) -> Result<Refreshed, Failure> {
        let (success, response) = self.tokens(metadata, fields, now).await?;
        Refreshed::parse(success, media_type(&response), response.body())?.map_err(|error| {
            let rejection = of_tokens(&error);
            if error.is_over() { Failure::Refused(rejection) } else { Failure::Unavailable(self.down(&rejection)) }
        })
    }

    /// What its token endpoint answers, and whether with what was asked for.
    async fn tokens(&self, metadata: &Metadata, fields: &[(&str, &str)], now: Timestamp) -> Result<(bool, Response<Bytes>), Failure> {
        let request = form(&self.client, &metadata.token_endpoint, fields, &metadata.issuer, now)?;
        let response = self.call(&metadata.token_endpoint, request).await?.map_err(too_long("token response"))?;
        let status = response.status();
        match status {
            StatusCode::OK | StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED => {}
            other => return Err(unexpected("token response", other).into()),
        }
        Ok((status == StatusCode::OK, response))
    }

    /// Gives a refresh token back, where it takes that (RFC 7009). Nobody waits for it, and it is tried once: what cannot be told now
    /// is told by the end of the session there, or ends by itself.
    pub(super) fn take_back(self: &Arc<Self>, token: Zeroizing<String>, now: Timestamp) {
        let provider = self.clone();
        self.control.spawn(async move {
            if let Err(down) = provider.revoke(&token, now).await {
                tracing::warn!(openid_provider = provider.name(), error = %down, "a refresh token could not be taken back");
            }
        });
    }

    async fn revoke(self: &Arc<Self>, token: &str, now: Timestamp) -> Result<(), Unavailable> {
        let Metadata { revocation_endpoint, issuer, .. } = &self.known().await?.metadata;
        let Some(endpoint) = revocation_endpoint else { return Ok(()) };
        let request = form(&self.client, endpoint, &revocation(token), issuer, now)?;
        match self.call(endpoint, request).await?.map_err(|why| self.down(&why))?.status() {
            // §2.2: also for a token that it does not know.
            StatusCode::OK => Ok(()),
            status => Err(self.down(&format!("{} answered {status}", endpoint.path()))),
        }
    }

    /// What it says of the user beside the ID token (§5.3); nothing where it has no such endpoint.
    pub(super) async fn userinfo(&self, known: &Known, access_token: &str, subject: &str) -> Result<Option<UserInfo>, Failure> {
        let Some(endpoint) = &known.metadata.userinfo_endpoint else { return Ok(None) };
        let bearer = Zeroizing::new(format!("Bearer {}", access_token));
        let request = Request::get(target(endpoint)).header(ACCEPT, "application/json").header(AUTHORIZATION, sensitive(&bearer)?);
        let response = self.call(endpoint, request.body(Bytes::new())).await?.map_err(too_long("userinfo"))?;
        if response.status() != StatusCode::OK {
            return Err(unexpected("userinfo", response.status()).into());
        }
        let expected = userinfo::Expected {
            issuer: &self.settings.issuer,
            client_id: &self.settings.client_id,
            subject,
            algorithms: &self.settings.algorithms,
        };
        Ok(Some(UserInfo::read(media_type(&response), response.body(), &known.keys, &expected)?))
    }

    /// One call. What it cannot answer now is an outage; what is too long is not.
    async fn call(&self, url: &Url, request: http::Result<Request<Bytes>>) -> Result<Result<Response<Bytes>, CallError>, Unavailable> {
        let request = request.map_err(|why| self.down(&why))?;
        let now = self.clock.monotonic();
        if !self.breaker.admits(now) {
            return Err(self.down(&"it did not answer several times in a row and is left alone for a while"));
        }
        let near = url.host_str().is_some_and(|host| self.settings.near.iter().any(|own| own == host));
        let caller = if near { &self.near } else { &self.far };
        let answer = match caller.call(&origin(url), request).await {
            Ok(response) if response.status().is_server_error() || response.status() == StatusCode::TOO_MANY_REQUESTS => {
                Err(self.down(&format!("{} answered {}", url.path(), response.status())))
            }
            Ok(response) => Ok(Ok(response)),
            Err(long @ CallError::TooLong(_)) => Ok(Err(long)),
            Err(error) => Err(self.down(&error)),
        };
        match &answer {
            Ok(_) => self.breaker.succeeded(),
            Err(_) => self.breaker.failed(self.clock.monotonic()),
        }
        answer
    }

    pub(super) fn down(&self, why: &dyn std::fmt::Display) -> Unavailable {
        Unavailable::new(format!("the OpenID provider {}", self.name()), why)
    }
}

/// Who names users, as links name it: by the issuer, which stays the same when the configuration is renamed, and by the claim, if it
/// is another than `sub`: two claims of one issuer name different people alike.
pub fn issuer_of(issuer: &str, claim: &str) -> Issuer {
    let name = if claim == "sub" { format!("oidc:{issuer}") } else { format!("oidc:{issuer}#{claim}") };
    Issuer::from(name.as_str())
}

/// Us, as a client.
pub fn client(id: &str, authentication: &ClientAuthentication) -> Result<Client, String> {
    let authentication = match authentication {
        ClientAuthentication::Basic(secret) => Authentication::Basic(Zeroizing::new(secret.reveal().clone())),
        ClientAuthentication::Post(secret) => Authentication::Post(Zeroizing::new(secret.reveal().clone())),
        ClientAuthentication::PrivateKeyJwt(algorithm, key) => {
            let key = SigningKey::from_pkcs8(ClientAssertion::NAME, *algorithm, key.reveal());
            Authentication::PrivateKeyJwt(Box::new(key.map_err(|why| why.to_string())?))
        }
    };
    Ok(Client { id: id.to_owned(), authentication })
}

/// A form to post at a server that we prove ourselves to.
///
/// # Errors
/// [`Unavailable`] without randomness, or if it cannot be signed.
pub fn form(
    client: &Client,
    url: &Url,
    fields: &[(&str, &str)],
    audience: &str,
    now: Timestamp,
) -> Result<http::Result<Request<Bytes>>, Unavailable> {
    let id = URL_SAFE_NO_PAD.encode(random::<16>()?);
    let posted = client.post(fields, audience, &id, now.as_second()).map_err(|why| Unavailable::new("signing", why))?;
    let mut request =
        Request::post(target(url)).header(ACCEPT, "application/json").header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    if let Some(authorization) = &posted.authorization {
        request = request.header(AUTHORIZATION, sensitive(authorization)?);
    }
    Ok(request.body(Bytes::copy_from_slice(posted.body.as_bytes())))
}

fn sensitive(text: &str) -> Result<HeaderValue, Unavailable> {
    let mut value = HeaderValue::try_from(text).map_err(|_| Unavailable::new("header", "a secret is no value of a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The host and port behind an address.
pub fn origin(url: &Url) -> Origin {
    let tls = url.scheme() == "https";
    let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
    Origin { tls, host: url.host_str().unwrap_or_default().to_owned(), port }
}

fn target(url: &Url) -> String {
    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
}

/// The `Content-Type` of an answer.
pub fn media_type(response: &Response<Bytes>) -> &str {
    response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn too_long(check: &'static str) -> impl Fn(CallError) -> Failure {
    move |why| Failure::Refused(Rejection { check, reason: Reason::Limits, detail: why.to_string() })
}

fn unexpected(check: &'static str, status: StatusCode) -> Rejection {
    Rejection { check, reason: Reason::Malformed, detail: format!("expected an answer, found status {}", status.as_u16()) }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
