//! The one table *decision × kind of client* → HTTP response. Nothing else writes a refusal.
//!
//! `authentication-chain.md` §6, `policy-server-and-ws-security.md` §7. A refusal says the same of an unknown
//! user and a wrong password, and never names a reason: the request id leads to it in the audit.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{
    ACCEPT_LANGUAGE, ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use vestibule_engine::audit::{OidcFault, Reason, SecurityFault};
use vestibule_engine::decision::{Challenges, Decision, Denial, Shed};
use vestibule_engine::engine::Judgement;
use vestibule_engine::identity::TenantId;
use vestibule_engine::request::{CheckRequest, ClientKind, Malformed, RequestId};
use vestibule_engine::route::{Destination, Found};
use vestibule_engine::scheme::{Challenge, Place};
use vestibule_engine::tenant::Tenant;
use vestibule_wss::FaultCode;

use crate::schemes::integration::Integration;
use crate::serve::fault::{self, Party};
use crate::serve::integration::Integrations;

/// Redirects to the login within [`BOUNCE_SECONDS`] after which we stop and show a page instead.
const MAX_BOUNCES: u32 = 10;
const BOUNCE_SECONDS: u32 = 30;
/// What the login page calls the least strength of the proof that is wanted.
pub const LEVEL: &str = "level";
/// Counts them. Tells nobody anything, so it needs no protection.
pub const BOUNCE_COOKIE: &str = "vestibule-bounces";
/// `authentication-chain.md` §6.1: when to try again after an outage.
const RETRY_SECONDS: u32 = 30;
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");

/// How refusals are worded.
#[derive(Clone)]
pub struct Answers {
    /// Tenants whose API clients and scripts hear 403 without a challenge where they proved nothing, as the product does
    /// (`authentication-chain.md` §6.3, `compat`).
    pub compat: HashSet<TenantId>,
    /// Tenants whose old clients of integration services know faults of their own.
    pub integrations: Integrations,
    /// Draws the page a person sees.
    pub page: PageWriter,
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answers").field("compat", &self.compat).finish_non_exhaustive()
    }
}

/// Draws the page for a refusal.
pub type PageWriter = Arc<dyn Fn(&Notice<'_>) -> Page + Send + Sync>;

/// What a refusal's page tells.
#[derive(Debug)]
pub struct Notice<'a> {
    /// The status.
    pub status: StatusCode,
    /// One short sentence, safe for anybody.
    pub sentence: &'static str,
    /// What to do, ending where the number may follow.
    pub advice: &'static str,
    /// The number to quote.
    pub id: RequestId,
    /// Whose brand to wear, if known.
    pub tenant: Option<&'a Tenant>,
    /// On which of its hosts.
    pub host: Option<&'a str>,
    /// Where to sign in, if that would help.
    pub sign_in: Option<&'a str>,
    /// The languages that its reader understands, as they came (RFC 9110 §12.5.4).
    pub accept_language: Option<&'a str>,
}

/// Who reads a page: what is known of them where something fails.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reader<'a> {
    /// Whose application they came to.
    pub tenant: Option<&'a Tenant>,
    /// On which host.
    pub host: Option<&'a str>,
    /// What they understand, as it came (RFC 9110 §12.5.4).
    pub accept_language: Option<&'a str>,
}

impl<'a> Reader<'a> {
    /// The sender of a request.
    pub fn of(request: &'a CheckRequest, found: Option<&'a Found>) -> Self {
        Self { tenant: found.map(|found| &*found.tenant), host: Some(request.host.name()), accept_language: accepted(request) }
    }
}

/// A page as drawn.
#[derive(Debug, Clone)]
pub struct Page {
    /// The document.
    pub html: String,
    /// What it may load.
    pub content_security_policy: HeaderValue,
}

/// What goes wrong behind or inside us after the decision, or instead of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The upstream could not be reached or its answer not be read.
    Upstream,
    /// The upstream took too long.
    UpstreamTimeout,
    /// The client's body broke off or stopped coming.
    Upload,
    /// A defect of ours.
    Internal,
}

/// A refusal before it is put into somebody's format.
struct Refusal {
    status: StatusCode,
    /// `authentication-chain.md` §6.4.
    code: u8,
    sentence: &'static str,
    party: Party,
    challenges: Vec<Challenge>,
    /// When to try again, in seconds; 0 says nothing.
    retry: u32,
    sign_in: Option<String>,
}

impl Refusal {
    fn new(status: StatusCode, code: u8, sentence: &'static str) -> Self {
        let party = if status.is_server_error() { Party::Server } else { Party::Client };
        Self { status, code, sentence, party, challenges: Vec::new(), retry: 0, sign_in: None }
    }

    fn later(self, seconds: u32) -> Self {
        Self { retry: seconds, ..self }
    }
}

impl Answers {
    /// The answer to a decision that does not forward.
    pub fn refuse(&self, request: &CheckRequest, judgement: &Judgement) -> Response<Bytes> {
        self.refuse_as(request, judgement, request.kind())
    }

    fn refuse_as(&self, request: &CheckRequest, judgement: &Judgement, kind: ClientKind) -> Response<Bytes> {
        let found = judgement.found.as_ref();
        if found.is_some_and(|found| self.integration(request, found).is_some())
            && let Some(mut response) = crate::serve::integration::fault::refuse(request, &judgement.decision)
        {
            dress(response.headers_mut());
            return response;
        }
        let refusal = match &judgement.decision {
            Decision::Challenge(challenges) => return self.challenge(request, found, challenges, kind),
            Decision::Fail(_) => Refusal::new(StatusCode::SERVICE_UNAVAILABLE, 4, "Service unavailable").later(RETRY_SECONDS),
            Decision::Deny(Denial::WeakProof) if let Some(response) = raise(request, judgement, kind) => return response,
            Decision::Deny(denial) => match self.denied(request, found, denial, kind) {
                Ok(refusal) => refusal,
                Err(redirect) => return *redirect,
            },
            // INVARIANT: the proxy forwards what is allowed; asked about it here, we refuse.
            Decision::Allow(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 4, "Internal error"),
        };
        self.write(refusal, kind, request.id, Reader::of(request, found), &request.method)
    }

    /// What the client of this request is answered with, if it is an old client of integration services.
    pub fn integration(&self, request: &CheckRequest, found: &Found) -> Option<&Arc<Integration>> {
        self.integrations.get(&found.tenant.id).filter(|of| of.serves(request.target.path()))
    }

    /// The answer when the upstream, or we, failed.
    pub fn failed(&self, failure: Failure, kind: ClientKind, id: RequestId, reader: Reader<'_>, method: &Method) -> Response<Bytes> {
        let refusal = match failure {
            Failure::Upstream => Refusal::new(StatusCode::BAD_GATEWAY, 4, "The application did not answer"),
            Failure::UpstreamTimeout => Refusal::new(StatusCode::GATEWAY_TIMEOUT, 4, "The application did not answer in time"),
            Failure::Upload => Refusal::new(StatusCode::REQUEST_TIMEOUT, 2, "The request ended early"),
            Failure::Internal => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 4, "Internal error"),
        };
        self.write(refusal, kind, id, reader, method)
    }

    /// The same to an old client of integration services; `None` where they have no form for it.
    pub fn failed_program(&self, failure: Failure, kind: ClientKind) -> Option<Response<Bytes>> {
        let status = match failure {
            Failure::Upstream => StatusCode::BAD_GATEWAY,
            Failure::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            Failure::Upload | Failure::Internal => return None,
        };
        let mut response = crate::serve::integration::fault::outage(kind, status)?;
        dress(response.headers_mut());
        Some(response)
    }

    /// The answer to a request that could not be read: nothing in it is believed, not even who sent it.
    pub fn unreadable(&self, malformed: Malformed, id: RequestId, method: &Method) -> Response<Bytes> {
        let (status, sentence) = unreadable(malformed);
        let text = format!("{sentence}. Request {id}\n");
        let mut response = Response::new(if method == Method::HEAD { Bytes::new() } else { text.into() });
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        dress(response.headers_mut());
        response
    }

    /// The answer to a method that no proxy should carry (RFC 9110 §9.3.6, §9.3.8).
    pub fn method_refused(&self, id: RequestId, method: &Method) -> Response<Bytes> {
        let mut response = self.unreadable(Malformed::TargetForm, id, method);
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        *response.body_mut() = format!("This method is not available. Request {id}\n").into();
        response.headers_mut().insert(ALLOW, METHODS);
        response
    }

    fn challenge(&self, request: &CheckRequest, found: Option<&Found>, challenges: &Challenges, kind: ClientKind) -> Response<Bytes> {
        let mut refusal = Refusal::new(StatusCode::UNAUTHORIZED, 20, "Access denied");
        refusal.challenges.clone_from(&challenges.http);
        match kind {
            ClientKind::Browser if challenges.login => {
                if let Some(login) = found.and_then(|found| login_url(request, found)) {
                    if let Some(response) = bounce(request, &login) {
                        return response;
                    }
                    refusal.sentence = "Signing in did not last. Check that cookies are allowed";
                    refusal.sign_in = Some(login);
                }
            }
            ClientKind::Script | ClientKind::Api if self.is_compat(found) => {
                refusal.status = StatusCode::FORBIDDEN;
            }
            // Not every SOAP stack knows 401; it is for those that can answer it with HTTP credentials.
            ClientKind::Soap11 | ClientKind::Soap12 if challenges.http.is_empty() => refusal.status = fault_status(kind),
            ClientKind::Browser | ClientKind::Script | ClientKind::Api | ClientKind::Soap11 | ClientKind::Soap12 => {}
        }
        refusal.party = Party::Caller;
        if !challenges.attempted && found.is_some_and(reads_headers) && matches!(kind, ClientKind::Soap11 | ClientKind::Soap12) {
            refusal.party = Party::Header(FaultCode::InvalidSecurity);
            refusal.sentence = "A security header is required";
        }
        self.write(refusal, kind, request.id, Reader::of(request, found), &request.method)
    }

    fn is_compat(&self, found: Option<&Found>) -> bool {
        found.is_some_and(|found| self.compat.contains(&found.tenant.id))
    }

    /// The answer that a kind of client would see, in a line, e.g. `401, WWW-Authenticate: Basic`.
    pub fn preview(&self, request: &CheckRequest, judgement: &Judgement, kind: ClientKind) -> String {
        if let Decision::Allow(grant) = &judgement.decision {
            return match &grant.found.route.destination {
                Destination::Upstream(name) => format!("forwarded to {name}"),
                Destination::Own => "a page of ours".to_owned(),
                Destination::Elsewhere => "allowed".to_owned(),
            };
        }
        let response = self.refuse_as(request, judgement, kind);
        let said = |name: HeaderName| {
            let values = response.headers().get_all(&name).iter().filter_map(|value| value.to_str().ok());
            values.map(|value| format!(", {name}: {value}")).collect::<String>()
        };
        format!("{}{}{}{}", response.status().as_u16(), said(WWW_AUTHENTICATE), said(LOCATION), said(RETRY_AFTER))
    }

    fn denied(
        &self,
        request: &CheckRequest,
        found: Option<&Found>,
        denial: &Denial,
        kind: ClientKind,
    ) -> Result<Refusal, Box<Response<Bytes>>> {
        let soap = matches!(kind, ClientKind::Soap11 | ClientKind::Soap12);
        let refusal = match denial {
            Denial::Malformed(malformed) => {
                let (status, sentence) = unreadable(*malformed);
                Refusal::new(status, 2, sentence)
            }
            Denial::NoRoute => Refusal::new(StatusCode::NOT_FOUND, 6, "Not found"),
            Denial::Rejected(rejection) if rejection.reason == Reason::TooManyWaiting => {
                Refusal::new(StatusCode::TOO_MANY_REQUESTS, 20, "Too many attempts").later(RETRY_SECONDS)
            }
            Denial::Rejected(rejection) if rejection.reason == Reason::Oidc(OidcFault::MissingScope) => {
                let mut challenges = found.map(|found| found.tenant.chain.challenges(request, true).http).unwrap_or_default();
                challenges.retain(|challenge| !challenge.scope.is_empty());
                for challenge in &mut challenges {
                    challenge.error = Some("insufficient_scope");
                }
                let sentence = "The token is not good for this";
                Refusal { challenges, party: Party::Denied, ..Refusal::new(StatusCode::FORBIDDEN, 5, sentence) }
            }
            Denial::Rejected(rejection) if soap && security_fault(rejection.reason).is_some() => {
                let (party, sentence) = security_fault(rejection.reason).unwrap_or((Party::Caller, "Access denied"));
                Refusal { party, ..Refusal::new(fault_status(kind), 20, sentence) }
            }
            Denial::Rejected(_) => {
                let http = found.map(|found| found.tenant.chain.challenges(request, true).http).unwrap_or_default();
                let status = match kind {
                    ClientKind::Script | ClientKind::Api if self.is_compat(found) => StatusCode::FORBIDDEN,
                    _ if soap && http.is_empty() => fault_status(kind),
                    _ => StatusCode::UNAUTHORIZED,
                };
                Refusal { challenges: http, party: Party::Caller, ..Refusal::new(status, 20, "Access denied") }
            }
            Denial::Policy(_) | Denial::PolicyError(_) => {
                Refusal { party: Party::Denied, ..Refusal::new(StatusCode::FORBIDDEN, 5, "You may not do this") }
            }
            Denial::Csrf => Refusal::new(StatusCode::FORBIDDEN, 5, "Missing or invalid Csrf token"),
            Denial::CrossOrigin => Refusal::new(StatusCode::FORBIDDEN, 5, "Pages of that origin may not use this application"),
            Denial::MustChangePassword => {
                let portal = found.and_then(|found| found.tenant.portal_origin.as_deref());
                if let (ClientKind::Browser, Some(portal)) = (kind, portal) {
                    return Err(Box::new(redirect(&format!("{portal}/password"))));
                }
                Refusal::new(StatusCode::FORBIDDEN, 5, "The password must be changed")
            }
            Denial::WeakProof => Refusal { party: Party::Denied, ..Refusal::new(StatusCode::FORBIDDEN, 5, "A stronger sign-in is needed") },
            Denial::Uncarried(_) => Refusal::new(StatusCode::NOT_IMPLEMENTED, 4, "This request cannot be carried this way"),
            Denial::Injection(_) => Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, 4, "Internal error"),
            // RFC 6585 §4: a client that asks too much; else we, or the application, are asked too much.
            Denial::Shed(Shed::AddressRate | Shed::AddressRequests | Shed::RouteRate, seconds) => {
                Refusal::new(StatusCode::TOO_MANY_REQUESTS, 4, "Too many requests").later(*seconds)
            }
            Denial::Shed(Shed::RouteRequests | Shed::Requests, seconds) => {
                Refusal::new(StatusCode::SERVICE_UNAVAILABLE, 4, "Service unavailable").later(*seconds)
            }
        };
        Ok(refusal)
    }

    fn write(&self, refusal: Refusal, kind: ClientKind, id: RequestId, reader: Reader<'_>, method: &Method) -> Response<Bytes> {
        let Reader { tenant, host, accept_language } = reader;
        let Refusal { mut status, code, sentence, party, challenges, retry, sign_in } = refusal;
        let (body, media_type, policy) = match kind {
            ClientKind::Browser => {
                let page = (self.page)(&Notice {
                    status,
                    sentence,
                    advice: advice(status),
                    id,
                    tenant,
                    host,
                    sign_in: sign_in.as_deref(),
                    accept_language,
                });
                (page.html, "text/html; charset=utf-8", Some(page.content_security_policy))
            }
            ClientKind::Script | ClientKind::Api => {
                (serde_json::json!({ "statusCode": code, "statusMessage": sentence }).to_string(), "application/json", None)
            }
            ClientKind::Soap11 => (fault::soap11(party, sentence, id), "text/xml; charset=utf-8", None),
            ClientKind::Soap12 => (fault::soap12(party, sentence, id), "application/soap+xml; charset=utf-8", None),
        };
        if status == StatusCode::FORBIDDEN && matches!(kind, ClientKind::Soap11 | ClientKind::Soap12) {
            status = fault_status(kind);
        }
        let mut response = Response::new(if method == Method::HEAD { Bytes::new() } else { body.into() });
        *response.status_mut() = status;
        // A token that is not good enough is answered 403, and told what would be (RFC 6750 §3.1).
        let lacks_scope = |challenge: &Challenge| challenge.error == Some("insufficient_scope");
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        if let Some(policy) = policy {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        for challenge in challenges.iter().filter(|challenge| status == StatusCode::UNAUTHORIZED || lacks_scope(challenge)) {
            headers.append(WWW_AUTHENTICATE, challenge_text(challenge, kind));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 9110 §15.5.2: a 401 carries at least one challenge; browsers ignore schemes they do not know.
            if challenges.is_empty() {
                let realm = tenant.map_or("vestibule", |tenant| &tenant.realm_text);
                let ours = Challenge { scheme: "Vestibule", realm: realm.to_owned(), error: None, scope: String::new() };
                headers.append(WWW_AUTHENTICATE, challenge_text(&ours, ClientKind::Api));
            }
        }
        if retry > 0 {
            headers.insert(RETRY_AFTER, HeaderValue::from(retry));
        }
        dress(headers);
        response
    }
}

fn accepted(request: &CheckRequest) -> Option<&str> {
    request.headers.get(ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok())
}

/// Whether some scheme of the chain reads the security header.
fn reads_headers(found: &Found) -> bool {
    found.tenant.chain.consumes().any(|place| *place == Place::SoapToken)
}

/// What a message's sender is told of its header: the code of WSS §12, where all that depends on a key, a password or a user is
/// one and the same.
fn security_fault(reason: Reason) -> Option<(Party, &'static str)> {
    if reason == Reason::Security(SecurityFault::NotUnderstood) {
        return Some((Party::NotUnderstood, "A header block is not understood"));
    }
    let code = crate::schemes::ws_security::verifier::reason_of(reason)?.fault(false);
    Some((Party::Header(code), code.sentence()))
}

/// What every answer of ours carries.
fn dress(headers: &mut HeaderMap) {
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VARY, HeaderValue::from_static("Origin, Authorization, Cookie"));
    headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(http::header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}

/// What a person may do about it. Blames nobody, promises nothing.
fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "Sign in and try again. If that does not help, give your administrator this number:",
        StatusCode::FORBIDDEN => "If you need to, ask your administrator for access and give them this number:",
        StatusCode::NOT_FOUND => "Check the address. If a link led here, whoever maintains it needs this number:",
        StatusCode::TOO_MANY_REQUESTS => "Wait a minute, then try again. If it lasts, give your administrator this number:",
        status if status.is_server_error() => "Try again in a minute. If it lasts, give your administrator this number:",
        _ => "Go back and follow the link again. If that does not help, give your administrator this number:",
    }
}

fn unreadable(malformed: Malformed) -> (StatusCode, &'static str) {
    match malformed {
        Malformed::TargetTooLong => (StatusCode::URI_TOO_LONG, "The address is too long"),
        Malformed::Header => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "A header field is malformed or too long"),
        Malformed::BodyTooLong => (StatusCode::PAYLOAD_TOO_LARGE, "The body is too long"),
        Malformed::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "The media type is not supported"),
        Malformed::Stranger => (StatusCode::FORBIDDEN, "This listener answers the proxies it names, and nobody else"),
        Malformed::Misdirected => (StatusCode::MISDIRECTED_REQUEST, "This connection was made for another host"),
        Malformed::TargetForm
        | Malformed::TargetCharacter
        | Malformed::TargetEscape
        | Malformed::TargetAmbiguous
        | Malformed::Host
        | Malformed::Framing
        | Malformed::TargetNotCanonical
        | Malformed::ReservedHeader
        | Malformed::Undescribed
        | Malformed::Unannounced
        | Malformed::Soap
        | Malformed::SoapAction
        | Malformed::TenantsDisagree => (StatusCode::BAD_REQUEST, "The request could not be read"),
    }
}

/// SOAP 1.1 §6.2: a fault is a 500. SOAP 1.2 part 2 §7.5.2.2: a fault of the sender is a 400.
fn fault_status(kind: ClientKind) -> StatusCode {
    if kind == ClientKind::Soap12 { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR }
}

/// A challenge as a header value. Scripts get a scheme no browser knows, so that it opens no dialogue.
fn challenge_text(challenge: &Challenge, kind: ClientKind) -> HeaderValue {
    let Challenge { scheme, realm, error, scope } = challenge;
    // Basic masks itself where it knows better than the kind of client does.
    let mask = if kind == ClientKind::Script && !scheme.starts_with('X') { "X" } else { "" };
    let realm: String = realm.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
    let charset = if *scheme == "Basic" { ", charset=\"UTF-8\"" } else { "" };
    // What would do is told to whom it is of use only.
    let scope = if *error == Some("insufficient_scope") { format!(", scope=\"{scope}\"") } else { String::new() };
    let error = error.map(|word| format!(", error=\"{word}\"")).unwrap_or_default();
    HeaderValue::try_from(format!("{mask}{scheme} realm=\"{realm}\"{charset}{error}{scope}"))
        .unwrap_or(HeaderValue::from_static("Vestibule"))
}

/// The portal's login page, which returns to what was asked for, less the credentials in it.
fn login_url(request: &CheckRequest, found: &Found) -> Option<String> {
    let portal = found.tenant.portal_origin.as_deref()?;
    let mut target = request.target.clone();
    found.route.strip.get(&found.tenant.id)?.apply(&mut HeaderMap::new(), &mut target);
    let asked = format!("{}{target}", request.origin());
    let return_to = percent_encoding::utf8_percent_encode(&asked, percent_encoding::NON_ALPHANUMERIC);
    Some(format!("{portal}/login?return_to={return_to}"))
}

/// Sends a browser whose session is too weak to a login that is strong enough. Who brings anything else would bring it again.
fn raise(request: &CheckRequest, judgement: &Judgement, kind: ClientKind) -> Option<Response<Bytes>> {
    let found = judgement.found.as_ref()?;
    let in_session = judgement.identity.as_ref().is_some_and(|identity| identity.session.is_some());
    if kind != ClientKind::Browser || !in_session || found.tenant.chain.login_scheme().is_none() {
        return None;
    }
    bounce(request, &format!("{}&{LEVEL}={}", login_url(request, found)?, found.route.level.0))
}

fn redirect(location: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = StatusCode::SEE_OTHER;
    // INVARIANT: origins come from the configuration and targets are percent-encoded; if not, the root is harmless.
    let location = HeaderValue::try_from(location).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(LOCATION, location);
    dress(response.headers_mut());
    response
}

/// Sends a browser to the login, unless it was sent there too often of late.
fn bounce(request: &CheckRequest, login: &str) -> Option<Response<Bytes>> {
    let bounces = request.cookies(BOUNCE_COOKIE).next().and_then(|count| count.parse().ok()).unwrap_or(0_u32);
    if bounces >= MAX_BOUNCES {
        return None;
    }
    let mut response = redirect(login);
    let cookie = format!("{BOUNCE_COOKIE}={}; Path=/; Max-Age={BOUNCE_SECONDS}; HttpOnly; SameSite=Lax", bounces + 1);
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Some(response)
}

/// The decision id on every answer.
pub const ID: HeaderName = HeaderName::from_static("x-vestibule-id");
/// How the caller was recognised, on every answer.
pub const AUTH: HeaderName = HeaderName::from_static("x-vestibule-auth");

/// Marks an answer with its number and how the caller was recognised; never the reason of anything.
pub fn mark(headers: &mut HeaderMap, id: RequestId, recognised: Option<&str>) {
    let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
    if let Ok(id) = HeaderValue::from_str(id.0.hyphenated().encode_lower(&mut text)) {
        headers.insert(ID, id);
    }
    let recognised = recognised.and_then(|scheme| HeaderValue::from_str(scheme).ok());
    headers.insert(AUTH, recognised.unwrap_or(HeaderValue::from_static("anonymous")));
}
