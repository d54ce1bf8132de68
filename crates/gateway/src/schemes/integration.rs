//! The scheme `integration`: old clients of integration services, which log in by an address, keep `JSESSIONID`, or send a name and
//! a password in the head of each message (`oracle-stateful-sessions.md` §1, §3, §4, §9).
//!
//! Which of a client's credentials opens a session, and which is good for one request, is the table of §3.1; the client is never
//! asked. What an attacker tries: a planted or guessed session id (fixation, attack 54), an id in an address that others read,
//! somebody else's session beside a name of his own, a session where the service class knows none. So an id that a client
//! brings is found or refused and never adopted, and one refusal ends the chain: nothing after it could mean the same client.

pub mod allotment;
pub mod token;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderName;
use http::header::USER_AGENT;
use ipnet::IpNet;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Ending, Event, Reason, SecurityFault, Trail};
use vestibule_engine::clock::random;
use vestibule_engine::identity::{GroupName, Identity, Issuer, SchemeName, TenantId, User, Username, password};
use vestibule_engine::realm::{Accounts, Answer, Offered};
use vestibule_engine::request::{Channel, CheckRequest};
use vestibule_engine::scheme::{Asked, KeepAlive, Opening, Outcome, Place, Proof, Rejection, Resumed, Scheme, Unavailable, Verdict, Who};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::{KEPT, Opened, Place as SessionPlace, Sessions};
use vestibule_engine::store::digest;
use vestibule_engine::tenant::Tenant;
use vestibule_wss::integration::{Heading, Lack, Security};

use super::basic::from_a_page;
use super::family::{Family, Offer, PlainHttp};
use super::verified::{Fingerprint, Success, Verified};
use super::ws_security::message;
use allotment::Allotment;
use token::{Bind, Presenter, Tokens};

/// The session's cookie; clients compare it in this spelling.
pub const COOKIE: &str = "JSESSIONID";
/// The same in a path.
const PARAMETER: &str = "jsessionid";
/// The token in an address, and the one-time token of a login that came from elsewhere.
pub const TOKEN: &str = "odSsoToken";
/// See [`TOKEN`].
pub const INTERNAL_TOKEN: &str = "odSsoTokenG";
/// Who vouches for the subject of a token: we, at an earlier time.
pub const ISSUER: &str = "sso-token";
/// What the client called itself when it logged in.
const CLIENT_NAME: &str = "client-name";
/// Characters of a client's name (§3.4).
const LONGEST_CLIENT_NAME: usize = 256;
/// Octets that a data thread reads by itself; more would keep everybody on its core waiting.
const AT_ONCE: usize = 64 * 1024;

/// What old clients of a tenant see.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where commands and data go.
    pub path: String,
    /// Where it is asked whose a token is.
    pub validate_path: String,
    /// Where tokens are issued to programs.
    pub token_path: String,
    /// The company's sign-in id, before the slash of a user's.
    pub company: Option<String>,
    /// The company's external identifier for single sign-on.
    pub ssoid: Option<String>,
    /// Where its identity provider is entered; `${TARGET}` stands for the address to come back to.
    pub its_url: Option<String>,
    /// Whether passwords count.
    pub passwords: Passwords,
    /// Whose members may come; everybody if empty.
    pub groups: Vec<GroupName>,
    /// Whether every user name opens a session (§3.1, "R16").
    pub compatibility: bool,
    /// Whether a plus is a space in what is encoded.
    pub plus_is_space: bool,
    /// Paths of the service class that knows no sessions.
    pub administrative: Vec<String>,
    /// Whether a session id may stand in a path.
    pub url_sessions: UrlSessions,
    /// Who may ask whose a token is; everybody if empty.
    pub validators: Vec<IpNet>,
    /// Third parties that are handed a token, by the name of the link.
    pub links: BTreeMap<String, Link>,
}

/// Whether passwords count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Passwords {
    /// They do, beside single sign-on.
    Count,
    /// The company signs in by single sign-on only.
    DoNot,
}

/// Whether a session id may stand in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UrlSessions {
    /// It is not looked at.
    Refused,
    /// The operator conceded it.
    Conceded,
}

/// A third party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its address.
    pub url: url::Url,
    /// The query parameter that the token is put into.
    pub parameter: String,
}

/// What a tenant's old clients are answered with: shared by the scheme and by the commands.
#[derive(Debug)]
pub struct Integration {
    name: SchemeName,
    tenant: TenantId,
    settings: Settings,
    sessions: Arc<Sessions>,
    tokens: Tokens,
    allotment: Option<Allotment>,
    family: Family,
    verified: Verified,
    plain: PlainHttp,
}

/// What it takes to check passwords.
#[derive(Debug)]
pub struct Checks {
    /// Who is asked.
    pub family: Family,
    /// What they said.
    pub verified: Verified,
    /// Whether over an unprotected channel.
    pub plain: PlainHttp,
}

/// What a password was sent for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// To log in: it is checked, and a login for the history.
    Login,
    /// For the one request that it came with, as it comes with the next one: a success is remembered as Basic's is.
    Request,
}

/// A name and a password, however they came.
#[derive(Debug)]
pub struct Typed<'a> {
    /// The name.
    pub username: &'a str,
    /// The password.
    pub password: &'a Secret<String>,
    /// What the client calls itself.
    pub client_name: Option<&'a str>,
    /// What for.
    pub purpose: Purpose,
}

impl Integration {
    /// What the clients of this tenant are answered with.
    pub fn new(name: SchemeName, tenant: TenantId, settings: Settings, sessions: Arc<Sessions>, tokens: Tokens, checks: Checks) -> Self {
        let Checks { family, verified, plain } = checks;
        Self { name, tenant, settings, sessions, tokens, allotment: None, family, verified, plain }
    }

    /// The same for clients that may make so many requests in a day.
    pub fn with_allotment(self, allotment: Option<Allotment>) -> Self {
        Self { allotment, ..self }
    }

    /// The scheme's name.
    pub fn name(&self) -> &SchemeName {
        &self.name
    }

    /// What they see.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Their sessions.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.sessions
    }

    /// Their tokens.
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    /// Whether a password may have come this way.
    pub fn admits(&self, request: &CheckRequest) -> bool {
        self.plain.admits(request)
    }

    /// Whether a path is of these services.
    pub fn serves(&self, path: &str) -> bool {
        is_at_or_below(path, &self.settings.path) || path == self.settings.token_path
    }

    fn is_administrative(&self, path: &str) -> bool {
        path == self.settings.token_path || self.settings.administrative.iter().any(|class| is_at_or_below(path, class))
    }

    /// The user name in what somebody signs in as: `COMPANY/user`, or the name alone. `None` for another company's, and for what
    /// would be another line of a head.
    fn local_name<'t>(&self, tenant: &'t Tenant, typed: &'t str) -> Option<&'t str> {
        if typed.chars().any(char::is_control) {
            return None;
        }
        let typed = typed.trim();
        let name = match (&self.settings.company, typed.split_once('/')) {
            (Some(company), Some((before, name))) if before.eq_ignore_ascii_case(company) => name,
            (Some(_), Some(_)) => return None,
            (_, None) | (None, _) => typed,
        };
        Some(tenant.local_name(name))
    }

    /// What somebody signs in as.
    pub fn sign_in_id(&self, user: &User) -> String {
        match &self.settings.company {
            Some(company) => format!("{company}/{}", user.name),
            None => user.name.to_string(),
        }
    }

    /// Whose password this is. Every attempt is a login, for the history, unless it only says again what was just found.
    ///
    /// # Errors
    /// [`Unavailable`] if nobody could say.
    pub async fn log_in(&self, typed: &Typed<'_>, asked: &Asked<'_>, trail: &mut Trail) -> Result<Result<Proof, Rejection>, Unavailable> {
        let refused = |reason| Ok(Err(Rejection::chain(reason)));
        if !self.plain.admits(asked.request) {
            tracing::warn!(request = %asked.request.id, scheme = %self.name, "a password came over an unprotected channel");
            return refused(Reason::InsecureChannel);
        }
        if self.settings.passwords == Passwords::DoNot {
            return refused(Reason::NotForPrograms);
        }
        let (tenant, since) = (&asked.found.tenant, self.family.clock.monotonic());
        let name = self.local_name(tenant, typed.username).and_then(Username::parse);
        let secret = password(typed.password.reveal()).filter(|password| !password.reveal().chars().any(char::is_control));
        let (Some(username), Some(secret)) = (name, secret) else {
            trail.refused(&self.name, None, Reason::MalformedCredential);
            return refused(Reason::MalformedCredential);
        };
        let fingerprint = match typed.purpose {
            Purpose::Login => None,
            Purpose::Request => Some(self.verified.fingerprint(&tenant.id, &self.family.steps, &username, &secret)),
        };
        if let Some(fingerprint) = &fingerprint
            && let Some(proof) = self.recall(fingerprint, asked, trail).await?
        {
            return self.groups_admit(proof, &username, typed, asked, since, trail).await;
        }
        let offer = Offer {
            request: asked.request,
            tenant: &tenant.id,
            username: &username,
            secret: Offered::Password(&secret),
            accounts: Accounts::All,
            floor: Duration::ZERO,
            now: asked.now,
        };
        let answer = match self.family.verify(&offer, false, trail).await {
            Ok(answer) => answer,
            Err(down) => {
                trail.refused(&self.name, Some(&username), Reason::Unavailable);
                return Err(down);
            }
        };
        match answer {
            Answer::Rejected(rejection) => {
                trail.refused(&self.name, Some(&username), rejection.reason);
                refused(rejection.reason)
            }
            Answer::Accepted { account, realm } => {
                if let Some(fingerprint) = fingerprint
                    && let Some(success) = Success::of(&account, &realm, &self.family.users, asked.now).await
                {
                    self.verified.remember(fingerprint, success, self.family.clock.monotonic());
                }
                let proof = self.family.proof(&self.name, &tenant.id, account, &realm, asked.now);
                let admitted = self.groups_admit(proof, &username, typed, asked, since, trail).await?;
                if admitted.is_ok() {
                    let (realm, subject) = (realm.to_string(), username.to_string());
                    trail.events.push(Event::LoginSucceeded { scheme: self.name.clone(), realm, subject });
                }
                Ok(admitted)
            }
        }
    }

    /// The proof of a password that was checked less than a minute ago, if its user is still the one it was.
    async fn recall(&self, fingerprint: &Fingerprint, asked: &Asked<'_>, trail: &mut Trail) -> Result<Option<Proof>, Unavailable> {
        let since = trail.mark();
        let admits = |user: &User| self.family.admits(user, asked.request, asked.now);
        let found = self.verified.recall(fingerprint, &self.family.users, admits, asked.now, self.family.clock.monotonic()).await?;
        let Some(Success { account, realm, at, .. }) = found else { return Ok(None) };
        let step = self.family.steps.iter().find(|step| *step.realm.name() == realm);
        trail.step(step.map_or(&self.name, |step| &step.scheme), Verdict::Authenticated, None, since);
        Ok(Some(self.family.proof(&self.name, &asked.found.tenant.id, account, &realm, at)))
    }

    /// The proof, if it is of somebody who may come, with what the client calls itself. Who may not is answered no sooner than a
    /// wrong password that came at `since`.
    async fn groups_admit(
        &self,
        mut proof: Proof,
        username: &Username,
        typed: &Typed<'_>,
        asked: &Asked<'_>,
        since: Duration,
        trail: &mut Trail,
    ) -> Result<Result<Proof, Rejection>, Unavailable> {
        if let Some(reason) = self.keeps_out(&proof.who, asked.now).await? {
            let held = self.family.passwords.withhold(&self.family.steps, &asked.request.client, since).await;
            let reason = held.err().unwrap_or(reason);
            trail.refused(&self.name, Some(username), reason);
            return Ok(Err(Rejection::chain(reason)));
        }
        note_client(&mut proof, typed.client_name);
        Ok(Ok(proof))
    }

    /// Whose token this is. It is spent.
    ///
    /// # Errors
    /// [`Unavailable`] if the store does not say.
    pub async fn redeem(
        &self,
        token: &str,
        by: Presenter,
        client_name: Option<&str>,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<Proof, Rejection>, Unavailable> {
        // §6.3: a plus that was not encoded arrives as a space.
        let spent = match self.tokens.consume(&token.trim().replace(' ', "+"), by, now).await? {
            Ok(spent) => spent,
            Err(reason) => {
                trail.refused(&self.name, None, reason);
                return Ok(Err(Rejection::chain(reason)));
            }
        };
        let mut proof = Proof {
            tenant: self.tenant.clone(),
            who: Who::User(spent.user.id),
            scheme: self.name.clone(),
            issuer: Issuer::from(ISSUER),
            level: spent.level,
            authenticated_at: spent.authenticated_at,
            replay: Vec::new(),
            attributes: Default::default(),
            ambient: false,
        };
        if let Some(reason) = self.keeps_out(&proof.who, now).await? {
            trail.refused(&self.name, Some(&spent.user.name), reason);
            return Ok(Err(Rejection::chain(reason)));
        }
        note_client(&mut proof, client_name);
        let subject = spent.user.name.to_string();
        trail.events.push(Event::LoginSucceeded { scheme: self.name.clone(), realm: ISSUER.to_owned(), subject });
        Ok(Ok(proof))
    }

    /// Counts a request whose client is known; why it is one too many, if it is.
    async fn exceeds(&self, now: Timestamp) -> Result<Option<Reason>, Unavailable> {
        match &self.allotment {
            Some(allotment) => allotment.take(now).await,
            None => Ok(None),
        }
    }

    async fn keeps_out(&self, who: &Who, now: Timestamp) -> Result<Option<Reason>, Unavailable> {
        let groups = &self.settings.groups;
        if groups.is_empty() {
            return Ok(None);
        }
        let user = match who {
            Who::User(id) => self.family.users.by_id(*id, now).await?,
            Who::External(id) => self.family.users.by_external_id(&self.tenant, id).await?,
        };
        let member = user.is_some_and(|user| user.groups.iter().any(|group| groups.contains(group)));
        Ok((!member).then_some(Reason::NotForPrograms))
    }

    /// The session id of a request, if it says one.
    ///
    /// # Errors
    /// [`Reason::DuplicateCredential`]: two that differ, or two cookies.
    pub fn session_id<'r>(&self, request: &'r CheckRequest) -> Result<Option<&'r str>, Reason> {
        let mut cookies = request.cookies(COOKIE);
        let cookie = cookies.next();
        if cookies.next().is_some() {
            return Err(Reason::DuplicateCredential);
        }
        let mut written = request.target.parameters().iter().filter_map(|parameter| {
            let (name, value) = parameter.trim().split_once('=')?;
            (name == PARAMETER && self.settings.url_sessions == UrlSessions::Conceded).then_some(value)
        });
        let path = written.next();
        match (cookie, path, written.next()) {
            (_, _, Some(_)) => Err(Reason::DuplicateCredential),
            (Some(cookie), Some(path), None) if cookie != path => Err(Reason::DuplicateCredential),
            (cookie, path, None) => Ok(cookie.or(path)),
        }
    }

    /// The `Set-Cookie` value that gives a client its session, in the one form that all of them can cut up (§1.2).
    pub fn set_cookie(request: &CheckRequest, path: &str, opened: &Opened) -> Secret<String> {
        Secret::new(format!("{COOKIE}={}; {}", opened.token.reveal(), attributes(request, path)))
    }

    /// The `Set-Cookie` value that takes it away (§2).
    pub fn clear_cookie(&self, request: &CheckRequest) -> String {
        format!("{COOKIE}=; Max-Age=0; {}", attributes(request, &self.settings.path))
    }

    /// Where somebody is sent who was signed in elsewhere: the address that opens their session, once, within half a minute, with
    /// a token in it. In a browser only for this browser, which has to be given the cookie; so the address it comes from has to
    /// be on the same host.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn onward(&self, request: &CheckRequest, identity: &Identity, now: Timestamp) -> Result<Onward, Unavailable> {
        let ssoid = self.settings.ssoid.as_deref().unwrap_or_default();
        let (bind, cookie) = match presenter(request) {
            Presenter::Program => (None, None),
            Presenter::Browser(_) => {
                let (bind, cookie) = bound(request)?;
                (Some(bind), Some(cookie))
            }
        };
        let parts = internal(ssoid, bind.as_ref());
        let host = request.host.name();
        let code = self.sessions.promise(identity, host, &parts, INTERNAL_LIFETIME, now).await?;
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("command", "ssologin").append_pair("ssoid", ssoid).append_pair(INTERNAL_TOKEN, code.reveal());
        let location = Secret::new(format!("{}{}?{}", request.origin(), self.settings.path, query.finish()));
        Ok(Onward { location, cookie })
    }

    /// Redeems the token of such an address.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn arrive(
        &self,
        request: &CheckRequest,
        ssoid: &str,
        token: &str,
        now: Timestamp,
        trail: &mut Trail,
    ) -> Result<Result<(Opened, Arc<User>), Reason>, Unavailable> {
        let bind = match presenter(request) {
            Presenter::Program => None,
            Presenter::Browser(None) => return Ok(Err(Reason::OtherBrowser)),
            Presenter::Browser(held) => held,
        };
        let parts = internal(ssoid, bind.as_ref());
        self.sessions.redeem_promise(&self.tenant, request.host.name(), &parts, token, now, trail).await
    }
}

/// How long the token of a login that came from elsewhere is good for.
const INTERNAL_LIFETIME: Duration = Duration::from_secs(30);

/// Where somebody is sent who was signed in elsewhere.
#[derive(Debug)]
pub struct Onward {
    /// The address.
    pub location: Secret<String>,
    /// `Set-Cookie` of the browser's binding.
    pub cookie: Option<String>,
}

fn internal<'a>(ssoid: &'a str, bind: Option<&'a Bind>) -> [&'a [u8]; 2] {
    [ssoid.as_bytes(), bind.map(|bind| &bind[..]).unwrap_or_default()]
}

/// Who presents a token: a browser says where it is led from, or that it is one. Of the old clients one runtime calls itself
/// after the browser it was made from.
pub fn presenter(request: &CheckRequest) -> Presenter {
    let agent = request.headers.get(USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let browses = request.headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
        || (agent.starts_with("Mozilla/") && !agent.contains("AdobeAIR/"));
    if !browses {
        return Presenter::Program;
    }
    let mut held = request.cookies(binding_name(request));
    match (held.next(), held.next()) {
        (Some(nonce), None) => Presenter::Browser(Some(digest(&[b"sso browser", nonce.as_bytes()]))),
        (_, _) => Presenter::Browser(None),
    }
}

/// What a token for this browser is bound to, and the cookie that says so.
///
/// # Errors
/// [`Unavailable`] when there is no randomness.
pub fn bound(request: &CheckRequest) -> Result<(Bind, String), Unavailable> {
    use base64::Engine as _;
    let nonce = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(random::<32>()?);
    let guard = if is_plain_loopback(request) { "SameSite=Lax" } else { "Secure; SameSite=Lax" };
    let cookie = format!("{}={nonce}; Path=/; HttpOnly; {guard}", binding_name(request));
    Ok((digest(&[b"sso browser", nonce.as_bytes()]), cookie))
}

fn binding_name(request: &CheckRequest) -> &'static str {
    if is_plain_loopback(request) { "vestibule-sso" } else { "__Host-vestibule-sso" }
}

fn is_plain_loopback(request: &CheckRequest) -> bool {
    request.client.channel == Channel::Plain && request.host.is_localhost()
}

fn attributes(request: &CheckRequest, path: &str) -> String {
    let secure = if is_plain_loopback(request) { "" } else { "Secure; " };
    format!("Path={}; {secure}HttpOnly; SameSite=Lax", cookie_path(path))
}

/// What of the host the cookie is sent to: the folder that the services are in, since clients send it to their own idea of it.
pub fn cookie_path(path: &str) -> &str {
    match path.rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((folder, _)) => folder,
    }
}

/// Whether a path is this one or below it.
pub fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn note_client(proof: &mut Proof, name: Option<&str>) {
    let name = name.map(|name| name.chars().filter(|c| !c.is_control()).take(LONGEST_CLIENT_NAME).collect::<String>());
    if let Some(name) = name.filter(|name| !name.is_empty()) {
        proof.attributes.insert(CLIENT_NAME.to_owned(), vec![name]);
    }
}

/// The head of the message in a request, if it may have one of ours. `Err` if it cannot be read.
pub async fn heading(request: &CheckRequest) -> Option<Result<Heading, ()>> {
    let body = message::body(request)?;
    // What has none of these words has none of these blocks; most messages of a session have not.
    let has = |word: &[u8]| memchr::memmem::find(body, word).is_some();
    if !(message::may_be_secured(&request.headers, body) || has(b"SessionKeepAlive")) {
        return None;
    }
    let (headers, body) = (request.headers.clone(), body.clone());
    let large = body.len() > AT_ONCE;
    let read = move || {
        let unreadable = |error: vestibule_wss::Error| tracing::debug!(%error, "the head of a message cannot be read");
        // As the service will read it: its media type, its encoding, its first part.
        let received = message::Received::read(&headers, &body).map_err(unreadable)?;
        Heading::of(received.message.document()).map_err(unreadable)
    };
    Some(if large { tokio::task::spawn_blocking(read).await.unwrap_or(Err(())) } else { read() })
}

/// The scheme.
#[derive(Debug)]
pub struct IntegrationScheme {
    of: Arc<Integration>,
    consumes: Vec<Place>,
}

impl IntegrationScheme {
    /// The scheme over this.
    pub fn new(of: Arc<Integration>) -> Self {
        let consumes = places(&of.settings);
        Self { of, consumes }
    }

    async fn by_password(
        &self,
        heading: &Heading,
        era: vestibule_wss::Era,
        mut typed: Typed<'_>,
        asked: &Asked<'_>,
        trail: &mut Trail,
    ) -> Result<Outcome, Unavailable> {
        let administrative = self.of.is_administrative(asked.request.target.path());
        let draft = era != vestibule_wss::Era::Standard;
        if draft && administrative {
            return Ok(refused(Reason::SessionNotHere));
        }
        let place = if administrative {
            None
        } else if draft || self.of.settings.compatibility {
            Some(SessionPlace::Counted)
        } else {
            heading.keep_alive.then_some(SessionPlace::Kept)
        };
        if place.is_none() {
            typed.purpose = Purpose::Request;
        }
        match self.of.log_in(&typed, asked, trail).await? {
            Ok(proof) => self.proven(proof, place, asked.now).await,
            Err(rejection) => Ok(Outcome::Rejected(rejection)),
        }
    }

    async fn proven(&self, proof: Proof, place: Option<SessionPlace>, now: Timestamp) -> Result<Outcome, Unavailable> {
        if let Some(reason) = self.of.exceeds(now).await? {
            return Ok(refused(reason));
        }
        Ok(match place {
            Some(place) => Outcome::Opening(Box::new(proof), Opening { sessions: self.of.sessions.clone(), place }),
            None => Outcome::Authenticated(Box::new(proof)),
        })
    }

    /// Whether the session beside a credential is that of whom it names.
    fn is_of(&self, identity: &Identity, security: &Security, tenant: &Tenant) -> bool {
        match security {
            Security::Username { username, .. } => {
                let named = self.of.local_name(tenant, username).and_then(Username::parse);
                named.is_some_and(|named| named == identity.user.name)
            }
            Security::SsoToken(token) => self.of.tokens.user(token) == Some(identity.user.id),
            Security::Absent | Security::Unusable { lack: Lack::Token, .. } => true,
            Security::Unusable { lack: Lack::Username | Lack::Password | Lack::Unsupported | Lack::Malformed, .. } => false,
        }
    }
}

/// Every place of a request that is read here. Applications elsewhere on the host have a cookie of the same name.
pub fn places(settings: &Settings) -> Vec<Place> {
    let paths = vec![settings.path.clone(), settings.token_path.clone()];
    vec![
        Place::SharedCookie { name: COOKIE.to_owned(), paths },
        Place::PathParameter(PARAMETER.to_owned()),
        Place::Query(TOKEN.to_owned()),
        Place::Query(INTERNAL_TOKEN.to_owned()),
        Place::Header(HeaderName::from_static("username")),
        Place::Header(HeaderName::from_static("password")),
        Place::SoapToken,
    ]
}

fn refused(reason: Reason) -> Outcome {
    Outcome::Rejected(Rejection::chain(reason))
}

/// §3.5: a client that sends an assertion asks to be remembered, so that it need not fetch one for each request.
#[async_trait]
impl KeepAlive for IntegrationScheme {
    async fn wanted(&self, asked: &Asked<'_>, identity: &Identity) -> Option<Opening> {
        let (of, request) = (&self.of, asked.request);
        let path = request.target.path();
        // Who brings an id has one, and is not given another each time.
        if !of.serves(path) || of.is_administrative(path) || !matches!(of.session_id(request), Ok(None)) {
            return None;
        }
        let may = of.settings.groups.is_empty() || identity.user.groups.iter().any(|group| of.settings.groups.contains(group));
        let heading = heading(request).await?.ok()?;
        // What is not in the message, such as a password or a certificate beside it, has not asked.
        let wanted = may && !identity.ambient && heading.keep_alive && !matches!(heading.security, Security::Absent);
        wanted.then(|| Opening { sessions: of.sessions.clone(), place: SessionPlace::Kept })
    }
}

#[async_trait]
impl Scheme for IntegrationScheme {
    fn name(&self) -> &SchemeName {
        &self.of.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        self.of.serves(request.target.path())
            && (!matches!(self.of.session_id(request), Ok(None))
                || message::body(request).is_some_and(|body| message::may_be_secured(&request.headers, body)))
    }

    fn consumes(&self) -> &[Place] {
        &self.consumes
    }

    fn keep_alive(&self) -> Option<&dyn KeepAlive> {
        Some(self)
    }

    async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let request = asked.request;
        let tenant = &asked.found.tenant;
        let administrative = self.of.is_administrative(request.target.path());
        let heading = match heading(request).await {
            Some(Ok(heading)) => Some(heading),
            Some(Err(())) => return Ok(refused(Reason::Security(SecurityFault::Malformed))),
            None => None,
        };
        let absent = Security::Absent;
        let security = heading.as_ref().map_or(&absent, |heading| &heading.security);
        let credential = matches!(security, Security::Username { .. } | Security::SsoToken(_));
        let id = match self.of.session_id(request) {
            Ok(id) => id,
            Err(reason) => return Ok(refused(reason)),
        };
        match id {
            Some(_) if administrative && !credential => return Ok(refused(Reason::SessionNotHere)),
            // The session is none here, and says nothing against the credential.
            Some(_) if administrative => {}
            Some(id) => match self.of.sessions.find(&tenant.id, request.host.name(), id, asked.now).await? {
                Ok(mut identity) => {
                    if !self.is_of(&identity, security, tenant) {
                        return Ok(refused(Reason::DuplicateCredential));
                    }
                    if let Some(reason) = self.of.exceeds(asked.now).await? {
                        return Ok(refused(reason));
                    }
                    // §3.5: what asked to be remembered once is remembered for as long as it asks.
                    let goes_on = heading.as_ref().is_some_and(|heading| heading.keep_alive);
                    let ends = identity.attributes.contains_key(KEPT) && !goes_on;
                    if ends {
                        self.of.sessions.end(&identity, Ending::Logout, trail).await?;
                    }
                    identity.scheme = self.of.name.clone();
                    // What says that a page sent it is held to the rules for cookies; a program says nothing.
                    identity.ambient = from_a_page(request);
                    let sessions = (!ends).then(|| self.of.sessions.clone());
                    return Ok(Outcome::Resumed(Box::new(Resumed { identity, sessions })));
                }
                Err(reason @ Reason::RequestRate(_)) => return Ok(refused(reason)),
                // Its credential may open another.
                Err(_) if credential => {}
                Err(reason) => return Ok(refused(reason)),
            },
            None => {}
        }
        let Some(heading) = &heading else { return Ok(Outcome::NotApplicable) };
        match security {
            Security::Absent => Ok(Outcome::NotApplicable),
            Security::Username { era, username, password } => {
                let secret = Secret::from(password.as_str());
                let client_name = heading.client_name.as_deref();
                let typed = Typed { username, password: &secret, client_name, purpose: Purpose::Login };
                self.by_password(heading, *era, typed, asked, trail).await
            }
            Security::SsoToken(token) => {
                let place = (heading.keep_alive && !administrative).then_some(SessionPlace::Kept);
                let client = heading.client_name.as_deref();
                match self.of.redeem(token, Presenter::Program, client, asked.now, trail).await? {
                    Ok(proof) => self.proven(proof, place, asked.now).await,
                    Err(rejection) => Ok(Outcome::Rejected(rejection)),
                }
            }
            Security::Unusable { lack, .. } => Ok(refused(Reason::Security(match lack {
                Lack::Token | Lack::Username | Lack::Password => SecurityFault::NoCredentials,
                Lack::Unsupported => SecurityFault::NotEnabled,
                Lack::Malformed => SecurityFault::Malformed,
            }))),
        }
    }
}

#[cfg(test)]
mod tests {
    use vestibule_engine::identity::Level;
    use vestibule_engine::session::Programs;
    use vestibule_engine::store::memory::MemoryStore;

    use super::super::house::{House, request};
    use super::token::TokenKey;
    use super::*;

    fn integration(house: &House) -> Integration {
        let settings = Settings {
            path: "/Services/Integration".into(),
            validate_path: "/Services/SSOTokenValidate".into(),
            token_path: "/Services/SSOToken".into(),
            company: None,
            ssoid: Some("acme".into()),
            its_url: None,
            passwords: Passwords::Count,
            groups: Vec::new(),
            compatibility: false,
            plus_is_space: true,
            administrative: Vec::new(),
            url_sessions: UrlSessions::Refused,
            validators: Vec::new(),
            links: BTreeMap::new(),
        };
        let store = Arc::new(MemoryStore::new(house.clock.clone()));
        let users = house.family.users.clone();
        let programs = Programs { quota: 10, spacing: Duration::ZERO };
        let sessions = Sessions::of_programs(store.clone(), users.clone(), Default::default(), programs);
        let lifetime = Duration::from_secs(60);
        let key = TokenKey::new(&Secret::new([7; 32]));
        let tokens = Tokens::new("north".into(), key, token::Settings { lifetime, strict: false }, store, users);
        let verified = Verified::new(1, Duration::from_secs(3600)).unwrap();
        let checks = Checks { family: house.family.clone(), verified, plain: PlainHttp::Refused };
        Integration::new("crm".into(), "north".into(), settings, Arc::new(sessions), tokens, checks)
    }

    async fn identity(house: &House) -> Identity {
        let id = house.shelf.add("ada", None, |_| {});
        let now = house.family.clock.now();
        Identity {
            user: house.family.users.by_id(id, now).await.unwrap().unwrap(),
            scheme: "saml11".into(),
            method: "saml11".into(),
            issuer: Issuer::from("https://idp.example.com"),
            level: Level(10),
            authenticated_at: now,
            attributes: Arc::default(),
            session: None,
            ambient: false,
            from: None,
        }
    }

    fn token(onward: &Onward) -> String {
        let begin = "https://app.example.com/Services/Integration?command=ssologin&ssoid=acme&odSsoTokenG=";
        onward.location.reveal().strip_prefix(begin).unwrap().to_owned()
    }

    #[tokio::test]
    async fn who_was_signed_in_elsewhere_arrives_once() {
        let house = House::new();
        let (of, ada, now) = (integration(&house), identity(&house).await, house.family.clock.now());
        let program = request(&[]);
        let onward = of.onward(&program, &ada, now).await.unwrap();
        assert!(onward.cookie.is_none());
        let arrive = async |request: &CheckRequest, ssoid: &str, token: &str| {
            of.arrive(request, ssoid, token, now, &mut house.trail()).await.unwrap().map(|(_, user)| user.name.to_string())
        };
        assert_eq!(arrive(&program, "other", &token(&onward)).await, Err(Reason::BadCode));
        assert_eq!(arrive(&program, "acme", &token(&onward)).await.as_deref(), Ok("ada"));
        assert_eq!(arrive(&program, "acme", &token(&onward)).await, Err(Reason::BadCode));
    }

    #[tokio::test]
    async fn a_browser_arrives_only_where_it_set_out() {
        let house = House::new();
        let (of, ada, now) = (integration(&house), identity(&house).await, house.family.clock.now());
        let browser = request(&[("sec-fetch-site", "cross-site")]);
        let onward = of.onward(&browser, &ada, now).await.unwrap();
        let cookie = onward.cookie.clone().unwrap();
        let held = cookie.split(';').next().unwrap();
        let arrive = async |fields: &[(&'static str, &str)]| {
            of.arrive(&request(fields), "acme", &token(&onward), now, &mut house.trail()).await.unwrap().map(drop)
        };
        assert_eq!(arrive(&[("sec-fetch-site", "none")]).await, Err(Reason::OtherBrowser));
        assert_eq!(arrive(&[("sec-fetch-site", "none"), ("cookie", "__Host-vestibule-sso=x")]).await, Err(Reason::BadCode));
        assert_eq!(arrive(&[]).await, Err(Reason::BadCode), "nor a program in its place");
        assert_eq!(arrive(&[("sec-fetch-site", "none"), ("cookie", held)]).await, Ok(()));
    }

    fn message(namespace: &str, name: &str, password: &str) -> CheckRequest {
        let text = format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Header><w:Security xmlns:w=\"{namespace}\"><w:UsernameToken>\
             <w:Username>{name}</w:Username><w:Password>{password}</w:Password></w:UsernameToken></w:Security></s:Header>\
             <s:Body><ContactQueryPage_Input/></s:Body></s:Envelope>"
        );
        let mut request = request(&[("content-type", "text/xml")]);
        request.method = http::Method::POST;
        request.target = vestibule_engine::request::Target::parse("/Services/Integration/Contact").unwrap();
        request.body = vestibule_engine::request::Body::Whole(text.into());
        request
    }

    #[tokio::test]
    async fn a_password_that_comes_with_every_request_is_checked_once_a_minute_and_one_that_logs_in_always() {
        use vestibule_wss::Era;
        let house = House::new();
        let ada = house.shelf.add("ada", None, |_| {});
        let scheme = IntegrationScheme::new(Arc::new(integration(&house)));
        // Whether the name and password hold, and how often the realm was asked until then.
        let ask = async |era: Era, name: &str, password: &str| {
            let request = message(era.extension(), name, password);
            let asked = Asked { request: &request, found: &house.found, now: house.family.clock.now() };
            let mut trail = house.trail();
            let outcome = scheme.authenticate(&asked, &mut trail).await.unwrap();
            let logins = trail.events.iter().filter(|event| matches!(event, Event::LoginSucceeded { .. })).count();
            (matches!(outcome, Outcome::Authenticated(_) | Outcome::Opening(..)), logins, house.asked())
        };
        assert_eq!(ask(Era::Standard, "ada", "right:ada").await, (true, 1, 1));
        assert_eq!(ask(Era::Standard, "ada", "right:ada").await, (true, 0, 1), "known");
        assert_eq!(ask(Era::Standard, "ada", "right:ad").await, (false, 0, 2));
        assert_eq!(ask(Era::Standard, "ada", "right:a").await, (false, 0, 3));
        assert_eq!(ask(Era::Draft200204, "ada", "right:ada").await, (true, 1, 4), "a session is opened by a password that was checked");
        assert_eq!(ask(Era::Standard, "ada", "right:ada").await, (true, 0, 4));
        house.shelf.change(ada, |user| user.epoch += 1);
        house.clock.advance(Duration::from_secs(2));
        assert_eq!(ask(Era::Standard, "ada", "right:ada").await, (true, 1, 5), "the user changed");
        assert_eq!(ask(Era::Standard, "ada", "right:ada").await, (true, 0, 5));
        house.clock.advance(Duration::from_secs(61));
        assert_eq!(ask(Era::Standard, "ada", "right:ada").await, (true, 1, 6), "a minute is over, whatever the configuration says");
    }
}
