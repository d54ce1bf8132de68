//! What old clients of integration services command by address: to log in, to log off, to use a token; and where tokens are
//! issued and asked about (`oracle-stateful-sessions.md` §1, §2, §6–§8, §10).
//!
//! ```text
//! /Services/Integration?command=login | logoff | ssologin | ssoitsurl      /Services/SSOTokenValidate?odSsoToken=…
//! /Services/SSOToken (SOAP)                                                 /.vestibule/sso/NAME (a link of the configuration)
//! ```
//!
//! An attacker guesses passwords here as anywhere, so the same gates count; hides a second command or name behind the first, so
//! each stands there once; leads somebody's browser to an address with his own token, so that a browser uses only what it was given;
//! and reads tokens from addresses, so they are shown nowhere.

pub mod fault;
pub mod program;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE};
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::{Event, Reason, Ruling, Trail};
use vestibule_engine::chain::Standing;
use vestibule_engine::decision::{Decision, Denial};
use vestibule_engine::engine::{Ended, Engine};
use vestibule_engine::identity::{Identity, SchemeName, TenantId, User};
use vestibule_engine::request::{Body, CheckRequest, form_pairs};
use vestibule_engine::route::Found;
use vestibule_engine::scheme::{Asked, Rejection, Unavailable};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::{Opened, Place};
use vestibule_engine::store::{ExpiringStore, Key, Kind};

use crate::schemes::basic::from_a_page;
use crate::schemes::integration::{INTERNAL_TOKEN, Integration, Purpose, TOKEN, Typed, bound, presenter};
use crate::serve::pages::is_cross_site;
use fault::FormA;

/// Begins the names of the routes that lead here.
pub const ROUTES: &str = "own:integration";
/// Below this stand the links to third parties.
pub const LINKS: &str = "/.vestibule/sso/";

const ITS_URL: HeaderName = HeaderName::from_static("x-ssoitsurl");
const CLIENT_NAME: HeaderName = HeaderName::from_static("x-clientname");
const USERNAME: HeaderName = HeaderName::from_static("username");
const PASSWORD: HeaderName = HeaderName::from_static("password");
/// Unknown companies that one address may ask for in a minute.
const UNKNOWN_COMPANIES: u64 = 30;
const MINUTE: Duration = Duration::from_secs(60);

/// What tenants' old clients are answered with, by tenant.
pub type Integrations = HashMap<TenantId, Arc<Integration>>;

/// Answers commands.
#[derive(Debug)]
pub struct Commands {
    engine: Arc<Engine>,
    store: Arc<dyn ExpiringStore>,
    integrations: Integrations,
}

/// What became of a request.
struct Done {
    response: Response<Bytes>,
    ruling: Ruling,
    reason: Option<Reason>,
    caller: Option<(SchemeName, String)>,
}

/// One request and what it is about.
struct Visit<'a> {
    request: &'a CheckRequest,
    found: &'a Found,
    of: &'a Arc<Integration>,
    asked: Asked<'a>,
    trail: Trail,
}

/// Whether a route that was found leads here.
pub fn is_mounted(found: &Found) -> bool {
    found.route.name.as_str().starts_with(ROUTES)
}

impl Commands {
    /// Over this engine.
    pub fn new(engine: Arc<Engine>, store: Arc<dyn ExpiringStore>, integrations: Integrations) -> Self {
        Self { engine, store, integrations }
    }

    /// Answers a request for one of the paths above.
    pub async fn handle(&self, request: CheckRequest, found: Found) -> Response<Full<Bytes>> {
        let now = self.engine.clock.now();
        let trail = Trail::new(self.engine.clock.clone());
        let Some(of) = self.integrations.get(&found.tenant.id) else {
            let ended = Ended { ruling: Ruling::Deny, reason: Some(Reason::NoRoute), caller: None };
            self.engine.record_page(&request, &found, ended, trail);
            return plain(StatusCode::NOT_FOUND, Bytes::new()).map(Full::new);
        };
        let asked = Asked { request: &request, found: &found, now };
        let mut visit = Visit { request: &request, found: &found, of, asked, trail };
        let done = match self.engine.sink.ready() {
            Ok(()) => self.answer(&mut visit).await,
            Err(down) => Err(down),
        };
        let mut done = done.unwrap_or_else(|down| {
            tracing::warn!(request_id = %request.id, error = %down, "a command could not be carried out");
            let response = fault::later(fault::OUTAGE.answer(StatusCode::SERVICE_UNAVAILABLE), "30");
            Done { response, ruling: Ruling::Fail, reason: Some(Reason::Unavailable), caller: None }
        });
        // §6.3: what stands in the address of this page is told to no other.
        done.response.headers_mut().insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        done.response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let ended = Ended { ruling: done.ruling, reason: done.reason, caller: done.caller };
        self.engine.record_page(&request, &found, ended, visit.trail);
        done.response.map(Full::new)
    }

    async fn answer(&self, visit: &mut Visit<'_>) -> Result<Done, Unavailable> {
        let path = visit.request.target.path();
        let settings = visit.of.settings();
        if path == settings.validate_path {
            return self.validate(visit).await;
        }
        if path == settings.token_path {
            return self.issue(visit).await;
        }
        if let Some(name) = path.strip_prefix(LINKS) {
            return self.lead(visit, name).await;
        }
        if !matches!(visit.request.method, Method::GET | Method::POST) {
            return Ok(visit.malformed());
        }
        let Some(words) = Words::read(visit.request) else { return Ok(visit.malformed()) };
        // The words are case sensitive (§1.1, §2).
        match words.single("command") {
            Some("login") => self.log_in(visit, &words).await,
            Some("logoff") => self.log_off(visit).await,
            Some("ssologin") => self.use_token(visit, &words).await,
            Some("ssoitsurl") => self.tell_its_url(visit, &words).await,
            Some(_) | None => Ok(visit.malformed()),
        }
    }

    /// §1.
    async fn log_in(&self, visit: &mut Visit<'_>, words: &Words) -> Result<Done, Unavailable> {
        let encoding = match words.get("isEncoded") {
            Ok(None) | Ok(Some("N" | "n")) => Encoding::Raw,
            Ok(Some("Y" | "y")) => Encoding::Url { plus_is_space: visit.of.settings().plus_is_space },
            Ok(Some(_)) | Err(()) => return Ok(visit.malformed()),
        };
        // No page has a reason to log a browser in here; and the answer to a password in the clear is no address to send it to.
        if is_cross_site(visit.request, &visit.request.origin()) || !visit.of.admits(visit.request) {
            return Ok(visit.malformed());
        }
        let (Some(username), Some(password)) = (single(visit.request, &USERNAME), single(visit.request, &PASSWORD)) else {
            return Ok(visit.malformed());
        };
        let (Some(username), Some(password)) = (encoding.decode(username), encoding.decode(password)) else {
            visit.trail.refused(visit.of.name(), None, Reason::MalformedCredential);
            return Ok(visit.refuse(StatusCode::UNAUTHORIZED, &fault::CREDENTIALS, Reason::MalformedCredential));
        };
        let password = Secret::new(password);
        let client_name = single(visit.request, &CLIENT_NAME).and_then(|name| std::str::from_utf8(name).ok());
        let typed = Typed { username: &username, password: &password, client_name, purpose: Purpose::Login };
        let of = visit.of.clone();
        match of.log_in(&typed, &visit.asked, &mut visit.trail).await? {
            Ok(proof) => self.open(visit, proof).await,
            Err(Rejection { reason: Reason::TooManyWaiting, .. }) => Ok(visit.later(&fault::OUTAGE, Reason::TooManyWaiting)),
            Err(rejection) => Ok(visit.refuse(StatusCode::UNAUTHORIZED, &fault::CREDENTIALS, rejection.reason)),
        }
    }

    /// Opens the session of a proof: the one gate first, a new id always (fixation, attack 54).
    async fn open(&self, visit: &mut Visit<'_>, proof: vestibule_engine::scheme::Proof) -> Result<Done, Unavailable> {
        let Asked { request, now, .. } = visit.asked;
        let admitted = self.engine.admission.admit(proof, &visit.asked, &mut visit.trail).await?;
        let identity = match admitted {
            Ok(identity) if self.engine.admission.must_change_password(&identity.user) => {
                return Ok(visit.refuse(StatusCode::UNAUTHORIZED, &fault::CREDENTIALS, Reason::MustChangePassword));
            }
            Ok(identity) => identity,
            Err(rejection) => return Ok(visit.refuse(StatusCode::UNAUTHORIZED, &fault::CREDENTIALS, rejection.reason)),
        };
        let host = request.host.name();
        match visit.of.sessions().open_place(&identity, host, Place::Counted, now, &mut visit.trail).await? {
            Ok(opened) => Ok(visit.welcome(&opened, &identity.user)),
            Err(reason) => Ok(visit.later(&fault::QUOTA, reason)),
        }
    }

    /// §2: 200 whatever is there to end, so that nobody learns whether something was.
    async fn log_off(&self, visit: &mut Visit<'_>) -> Result<Done, Unavailable> {
        let mut done = visit.done(empty(StatusCode::OK));
        // A page that leads a browser here ends nothing.
        if !is_cross_site(visit.request, &visit.request.origin())
            && let Ok(Some(id)) = visit.of.session_id(visit.request)
        {
            let Asked { request, found, now } = visit.asked;
            let user = visit.of.sessions().close(&found.tenant.id, request.host.name(), id, now, &mut visit.trail).await?;
            done.caller = user.map(|user| (visit.of.name().clone(), user.name.to_string()));
        }
        set_cookie(&mut done.response, &visit.of.clear_cookie(visit.request));
        Ok(done)
    }

    /// §6, and the end of §8.
    async fn use_token(&self, visit: &mut Visit<'_>, words: &Words) -> Result<Done, Unavailable> {
        let refused = |visit: &Visit<'_>, reason| Ok(visit.refuse(StatusCode::UNAUTHORIZED, &fault::TOKEN, reason));
        match (words.get(TOKEN), words.get(INTERNAL_TOKEN)) {
            (Ok(Some(token)), Ok(None)) if !token.is_empty() => {
                let client_name = single(visit.request, &CLIENT_NAME).and_then(|name| std::str::from_utf8(name).ok());
                let (of, by, now) = (visit.of.clone(), presenter(visit.request), visit.asked.now);
                match of.redeem(token, by, client_name, now, &mut visit.trail).await? {
                    Ok(proof) => self.open(visit, proof).await,
                    Err(rejection) => refused(visit, rejection.reason),
                }
            }
            (Ok(None), Ok(Some(token))) if !token.is_empty() => {
                let of = visit.of.clone();
                let ssoid = words.single("ssoid").unwrap_or_default();
                match of.arrive(visit.request, ssoid, token, visit.asked.now, &mut visit.trail).await? {
                    Ok((opened, user)) => Ok(visit.welcome(&opened, &user)),
                    Err(Reason::SessionQuota) => Ok(visit.later(&fault::QUOTA, Reason::SessionQuota)),
                    Err(reason) => refused(visit, reason),
                }
            }
            _ => Ok(visit.malformed()),
        }
    }

    /// §8, step 1 and 2.
    async fn tell_its_url(&self, visit: &mut Visit<'_>, words: &Words) -> Result<Done, Unavailable> {
        let settings = visit.of.settings();
        let known = words.single("ssoid").zip(settings.ssoid.as_deref()).filter(|(asked, own)| asked == own);
        let told = known.zip(settings.its_url.as_deref()).map(|((ssoid, _), template)| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("command", "ssologin").append_pair("ssoid", ssoid);
            let target = format!("{}{}?{}", visit.request.origin(), settings.path, query.finish());
            let target = percent_encoding::utf8_percent_encode(&target, percent_encoding::NON_ALPHANUMERIC).to_string();
            template.replace("${TARGET}", &target)
        });
        if let Some(value) = told.and_then(|url| HeaderValue::try_from(url).ok()) {
            let mut done = visit.done(empty(StatusCode::OK));
            done.response.headers_mut().insert(ITS_URL, value);
            return Ok(done);
        }
        let address = visit.request.client.address.to_canonical().to_string();
        let key = Key::of(&visit.found.tenant.id, Kind::Throttle, &[b"ssoitsurl", address.as_bytes()]);
        let tried = self.store.increment(&key, MINUTE).await?;
        let status = if tried > UNKNOWN_COMPANIES { StatusCode::TOO_MANY_REQUESTS } else { StatusCode::NOT_FOUND };
        let reason = if tried > UNKNOWN_COMPANIES { Reason::AddressGateClosed } else { Reason::UnknownPartner };
        Ok(Done { ruling: Ruling::Deny, reason: Some(reason), ..visit.done(empty(status)) })
    }

    /// §7: whoever holds a token learns whose it is, once.
    async fn validate(&self, visit: &mut Visit<'_>) -> Result<Done, Unavailable> {
        let deny = |visit: &Visit<'_>, status, reason| Ok(Done { ruling: Ruling::Deny, reason: Some(reason), ..visit.done(empty(status)) });
        if !matches!(visit.request.method, Method::GET | Method::POST) {
            return deny(visit, StatusCode::METHOD_NOT_ALLOWED, Reason::NoRoute);
        }
        let validators = &visit.of.settings().validators;
        let address = visit.request.client.address.to_canonical();
        if !validators.is_empty() && !validators.iter().any(|net| net.contains(&address)) {
            return deny(visit, StatusCode::UNAUTHORIZED, Reason::AddressNotListed);
        }
        // In the address in both methods.
        let mut given = visit.request.target.query_values(TOKEN).into_iter();
        let (Some(token), None) = (given.next().filter(|token| !token.is_empty()), given.next()) else {
            return deny(visit, StatusCode::BAD_REQUEST, Reason::MalformedCredential);
        };
        match visit.of.tokens().validate(&token.trim().replace(' ', "+"), visit.asked.now).await? {
            Ok(user) => {
                let mut done = visit.done(plain(StatusCode::OK, format!("{}\n", visit.of.sign_in_id(&user)).into()));
                done.caller = Some((visit.of.name().clone(), user.name.to_string()));
                Ok(done)
            }
            Err(reason) => deny(visit, StatusCode::UNAUTHORIZED, reason),
        }
    }

    /// §6.1: a token for whoever the message proves, as an operation of the services that know no sessions. What a browser sends
    /// by itself proves nobody here: a page on the application's host would read the token and be signed in elsewhere, for longer
    /// than its victim is (architecture §3).
    async fn issue(&self, visit: &mut Visit<'_>) -> Result<Done, Unavailable> {
        let Body::Whole(body) = &visit.request.body else { return Ok(visit.malformed()) };
        let asks = visit.request.method == Method::POST && vestibule_soap::sso_token::is_question(body);
        if !asks {
            return Ok(Done {
                ruling: Ruling::Deny,
                reason: Some(Reason::MalformedCredential),
                ..visit.done(fault::MALFORMED.answer(StatusCode::INTERNAL_SERVER_ERROR))
            });
        }
        let nobody = || Err(Decision::Deny(Rejection::chain(Reason::SessionNotHere).into()));
        let known = if from_a_page(visit.request) { nobody() } else { self.known(visit).await? };
        match known.and_then(|identity| if identity.ambient { nobody() } else { Ok(identity) }) {
            Ok(identity) => {
                let token = visit.of.tokens().issue(&identity, None, visit.asked.now).await?;
                let text = vestibule_soap::sso_token::write_answer(token.reveal());
                Ok(visit.issued(&identity, fault::xml(StatusCode::OK, text)))
            }
            Err(decision) => {
                let response = fault::refuse(visit.request, &decision);
                let reason = match &decision {
                    Decision::Deny(denial) => denial.reason(),
                    _ => Reason::Nobody,
                };
                let response = response.unwrap_or_else(|| fault::SESSION.answer(StatusCode::INTERNAL_SERVER_ERROR));
                Ok(Done { ruling: Ruling::Deny, reason: Some(reason), ..visit.done(response) })
            }
        }
    }

    /// §10: the browser of somebody who is signed in is led to a third party of the configuration, with a token.
    async fn lead(&self, visit: &mut Visit<'_>, name: &str) -> Result<Done, Unavailable> {
        let Some(link) = visit.of.settings().links.get(name).filter(|_| visit.request.method == Method::GET) else {
            return Ok(Done { ruling: Ruling::Deny, reason: Some(Reason::NoRoute), ..visit.done(empty(StatusCode::NOT_FOUND)) });
        };
        // What a page elsewhere would get by leading somebody here is a token that the third party alone sees; it gets none.
        if is_cross_site(visit.request, &visit.request.origin()) {
            return Ok(Done { ruling: Ruling::Deny, reason: Some(Reason::Csrf), ..visit.done(empty(StatusCode::FORBIDDEN)) });
        }
        let Ok(identity) = self.known(visit).await? else {
            return Ok(Done { ruling: Ruling::Challenge, reason: Some(Reason::Nobody), ..visit.done(self.to_login(visit)) });
        };
        let (bind, cookie) = bound(visit.request)?;
        let token = visit.of.tokens().issue(&identity, Some(bind), visit.asked.now).await?;
        let mut url = link.url.clone();
        url.query_pairs_mut().append_pair(&link.parameter, token.reveal());
        let mut response = empty(StatusCode::SEE_OTHER);
        if let Ok(location) = HeaderValue::from_str(url.as_str()) {
            response.headers_mut().insert(LOCATION, location);
        }
        set_cookie(&mut response, &cookie);
        Ok(visit.issued(&identity, response))
    }

    /// Whom the chain knows, if anybody; else what would have been decided.
    async fn known(&self, visit: &mut Visit<'_>) -> Result<Result<Arc<Identity>, Decision>, Unavailable> {
        let chain = &visit.found.tenant.chain;
        Ok(match chain.run(&visit.asked, &self.engine.admission, &mut visit.trail).await {
            Standing::Known { identity, .. } if self.engine.admission.must_change_password(&identity.user) => {
                Err(Decision::Deny(Denial::MustChangePassword))
            }
            Standing::Known { identity, .. } => Ok(identity),
            Standing::Undecided(down) => return Err(down),
            Standing::Nobody { attempted } => Err(Decision::Challenge(chain.challenges(visit.request, attempted))),
            Standing::TurnedAway(rejection) | Standing::Refused(rejection) => Err(Decision::Deny(rejection.into())),
        })
    }

    fn to_login(&self, visit: &Visit<'_>) -> Response<Bytes> {
        let here = format!("{}{}", visit.request.origin(), visit.request.target.path());
        let Some(portal) = visit.found.tenant.portal_origin.as_deref() else { return empty(StatusCode::UNAUTHORIZED) };
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", &here).finish();
        let mut response = empty(StatusCode::SEE_OTHER);
        if let Ok(location) = HeaderValue::try_from(format!("{portal}/login?{query}")) {
            response.headers_mut().insert(LOCATION, location);
        }
        response
    }
}

impl Visit<'_> {
    fn done(&self, response: Response<Bytes>) -> Done {
        Done { response, ruling: Ruling::Allow, reason: None, caller: None }
    }

    fn refuse(&self, status: StatusCode, form: &FormA, reason: Reason) -> Done {
        Done { response: form.answer(status), ruling: Ruling::Deny, reason: Some(reason), caller: None }
    }

    fn malformed(&self) -> Done {
        self.refuse(StatusCode::BAD_REQUEST, &fault::MALFORMED, Reason::MalformedCredential)
    }

    fn later(&self, form: &FormA, reason: Reason) -> Done {
        let done = self.refuse(StatusCode::SERVICE_UNAVAILABLE, form, reason);
        Done { response: fault::later(done.response, "30"), ..done }
    }

    /// §1.2: nothing but the cookie.
    fn welcome(&self, opened: &Opened, user: &User) -> Done {
        let mut done = self.done(empty(StatusCode::OK));
        let cookie = Integration::set_cookie(self.request, &self.of.settings().path, opened);
        set_cookie(&mut done.response, cookie.reveal());
        done.caller = Some((self.of.name().clone(), user.name.to_string()));
        done
    }

    fn issued(&mut self, identity: &Identity, response: Response<Bytes>) -> Done {
        let subject = identity.user.name.to_string();
        self.trail.events.push(Event::TokenIssued { scheme: self.of.name().clone(), subject: subject.clone() });
        Done { caller: Some((identity.scheme.clone(), subject)), ..self.done(response) }
    }
}

/// The words of a command: those of the address, and of a form that is posted to it.
struct Words(Vec<(String, String)>);

impl Words {
    /// `None` for a form that cannot be read.
    fn read(request: &CheckRequest) -> Option<Self> {
        // Some clients end the address with a semicolon (§2).
        let query = request.target.query().unwrap_or_default().trim_end_matches(';');
        let mut words: Vec<(String, String)> = form_pairs(query).collect();
        let media_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_form = media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded");
        if let Body::Whole(octets) = &request.body
            && request.method == Method::POST
            && is_form
        {
            words.extend(form_pairs(std::str::from_utf8(octets).ok()?));
        }
        Some(Self(words))
    }

    /// The one value of a word; `Err` if it stands there twice with two meanings.
    fn get(&self, name: &str) -> Result<Option<&str>, ()> {
        let mut values = self.0.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (first, None) => Ok(first),
            (_, Some(_)) => Err(()),
        }
    }

    fn single(&self, name: &str) -> Option<&str> {
        self.get(name).ok().flatten()
    }
}

/// How the two credential headers are written (§1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Raw,
    Url { plus_is_space: bool },
}

impl Encoding {
    /// The text; `None` for what cannot be read, which is then a wrong password like any other.
    fn decode(self, octets: &[u8]) -> Option<String> {
        let plus_is_space = match self {
            // What is not ASCII has to be encoded.
            Self::Raw => return std::str::from_utf8(octets).ok().filter(|text| text.is_ascii()).map(str::to_owned),
            Self::Url { plus_is_space } => plus_is_space,
        };
        let mut decoded = Vec::with_capacity(octets.len());
        let mut rest = octets.iter();
        while let Some(octet) = rest.next() {
            decoded.push(match octet {
                b'%' => {
                    let hex = |digit: Option<&u8>| char::from(*digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
                    let (high, low) = (hex(rest.next())?, hex(rest.next())?);
                    high * 16 + low
                }
                b'+' if plus_is_space => b' ',
                octet if octet.is_ascii() => *octet,
                _ => return None,
            });
        }
        String::from_utf8(decoded).ok()
    }
}

/// The one value of a header, not empty.
fn single<'r>(request: &'r CheckRequest, name: &HeaderName) -> Option<&'r [u8]> {
    let mut values = request.headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) if !value.is_empty() => Some(value.as_bytes()),
        (_, _) => None,
    }
}

fn set_cookie(response: &mut Response<Bytes>, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}

fn empty(status: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

fn plain(status: StatusCode, text: Bytes) -> Response<Bytes> {
    let mut response = Response::new(text);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: Encoding = Encoding::Url { plus_is_space: true };

    #[test]
    fn encoding_percent_escapes_slash_plus_and_bad_escapes() {
        let cases: [(Encoding, &[u8], Option<&str>); 14] = [
            (URL, b"ACME%2Fj%C3%B6rg", Some("ACME/j\u{f6}rg")),
            (URL, b"ACME/j%c3%b6rg", Some("ACME/j\u{f6}rg")),
            // `encodeURI` leaves these as they are.
            (URL, b"a/b@c:d$e&f,g;h=i?j", Some("a/b@c:d$e&f,g;h=i?j")),
            (URL, b"a+b", Some("a b")),
            (Encoding::Url { plus_is_space: false }, b"a+b", Some("a+b")),
            (URL, b"a%2Bb", Some("a+b")),
            (URL, b"%zz", None),
            (URL, b"a%4", None),
            (URL, b"a%", None),
            (URL, b"%C3", None),
            (URL, b"\xC3\xB6", None),
            // Decoded once.
            (URL, b"%2541", Some("%41")),
            (Encoding::Raw, b"a%41+b", Some("a%41+b")),
            (Encoding::Raw, b"j\xC3\xB6rg", None),
        ];
        for (encoding, written, read) in cases {
            assert_eq!(encoding.decode(written).as_deref(), read, "{}", String::from_utf8_lossy(written));
        }
    }
}
