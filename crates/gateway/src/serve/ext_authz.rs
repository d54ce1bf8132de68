//! The doors for other proxies: they ask, we answer, they forward (architecture §3).
//!
//! A dialect can neither rewrite nor strip on its own, so what would have to be rewritten is refused: a target in
//! another form than the one judged, a reserved header in any spelling, a request that the proxy did not describe
//! exactly once. What an attacker tries here is to describe his own request: to reach the listener himself, or to
//! send the very headers by which the proxy describes it (attacks 84, 86, 87, 101).

pub(in crate::serve) mod describe;
pub(in crate::serve) mod envoy;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use vestibule_engine::decision::{Decision, Denial, Grant, Uncarried};
use vestibule_engine::engine::Judgement;
use vestibule_engine::inject::Changes;
use vestibule_engine::request::{Body, CheckRequest, Malformed, Shown};
use vestibule_engine::route::{Access, BodyNeed, Destination, Found};
use vestibule_engine::session::Keeper;

use crate::schemes::integration::Integration;
use crate::serve::answer::mark;
use crate::serve::body::Reply;
use crate::serve::load::Place;
use crate::serve::proxy::{Passage, tell_token, without_our_cookies};
use crate::serve::read::{Arrived, Head, Origin, TrustedProxies, Word, remove_all};
use crate::serve::{ext_proc, grpc, operation};

/// How the proxy in front asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// nginx `auth_request`: 2xx, 401 or 403, no body.
    AuthRequest,
    /// Traefik `ForwardAuth`, Caddy `forward_auth`, HAProxy: whatever is not 2xx goes to the client as it is.
    ForwardAuth,
    /// Envoy's `ext_authz` over gRPC.
    Envoy,
    /// Envoy's `ext_authz` over HTTP: the request itself, without its body.
    EnvoyHttp,
    /// Envoy's `ext_proc` over gRPC: the request goes through us, and so does the head of its answer.
    EnvoyExtProc,
}

/// What a dialect can carry. `check` warns of routes that need more, and the door refuses them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Carries {
    /// The client's body, to be judged.
    pub body: bool,
    /// Status, headers and body of a refusal as we wrote them.
    pub refusal: bool,
    /// A cookie or header for the client beside the application's answer.
    pub beside: bool,
    /// A query without the credentials in it.
    pub query: bool,
    /// Removal of headers, so that reserved ones need not be refused.
    pub removal: bool,
    /// Another body in place of the client's.
    pub new_body: bool,
    /// The application's answer without cookies that are not for its client.
    pub answer: bool,
}

impl Dialect {
    /// Its name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::AuthRequest => "auth-request",
            Self::ForwardAuth => "forward-auth",
            Self::Envoy => "envoy",
            Self::EnvoyHttp => "envoy-http",
            Self::EnvoyExtProc => "envoy-ext-proc",
        }
    }

    /// All of them.
    pub const ALL: [Self; 5] = [Self::AuthRequest, Self::ForwardAuth, Self::Envoy, Self::EnvoyHttp, Self::EnvoyExtProc];

    /// The capability table.
    pub fn carries(self) -> Carries {
        let nothing = Carries { body: false, refusal: false, beside: false, query: false, removal: false, new_body: false, answer: false };
        match self {
            Self::AuthRequest => Carries { beside: true, ..nothing },
            Self::ForwardAuth => Carries { refusal: true, ..nothing },
            Self::Envoy => Carries { body: true, refusal: true, beside: true, removal: true, ..nothing },
            Self::EnvoyHttp => Carries { refusal: true, beside: true, ..nothing },
            Self::EnvoyExtProc => {
                Carries { body: true, refusal: true, beside: true, query: true, removal: true, new_body: true, answer: true }
            }
        }
    }

    /// Whether the question itself says who the client is, so that no forwarding header counts.
    fn names_client(self) -> bool {
        match self {
            Self::Envoy | Self::EnvoyExtProc => true,
            Self::AuthRequest | Self::ForwardAuth | Self::EnvoyHttp => false,
        }
    }

    /// Headers that the proxy writes for us and nobody judges.
    fn own_headers(self) -> &'static [HeaderName] {
        match self {
            Self::AuthRequest => &OF_AUTH_REQUEST,
            Self::ForwardAuth => &OF_FORWARD_AUTH,
            Self::Envoy | Self::EnvoyHttp | Self::EnvoyExtProc => &OF_ENVOY,
        }
    }
}

static OF_AUTH_REQUEST: [HeaderName; 7] = [
    HeaderName::from_static(describe::ORIGINAL_METHOD),
    HeaderName::from_static(describe::ORIGINAL_URI),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];
static OF_FORWARD_AUTH: [HeaderName; 8] = [
    HeaderName::from_static(describe::FORWARDED_METHOD),
    HeaderName::from_static(describe::FORWARDED_URI),
    HeaderName::from_static(describe::FORWARDED_HOST),
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-forwarded-server"),
    HeaderName::from_static("x-real-ip"),
];
static OF_ENVOY: [HeaderName; 4] = [
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-port"),
];

/// A request as another proxy describes it.
pub(in crate::serve) struct Described {
    head: Head,
    origin: Origin,
    /// The body, where the proxy brought it whole.
    body: Option<Bytes>,
}

/// A request that was met at the door, and not yet judged.
#[derive(Debug)]
pub(in crate::serve) struct Met {
    request: CheckRequest,
    found: Result<Found, Denial>,
    _place: Place,
}

impl Met {
    /// Whether it cannot be judged without its body.
    pub fn needs_body(&self) -> bool {
        self.found.as_ref().is_ok_and(|found| found.route.body != BodyNeed::Never)
    }
}

/// The real status of a refusal, where the dialect knows 401 and 403 only.
const STATUS: HeaderName = HeaderName::from_static("x-vestibule-status");

/// Answers one question of another proxy.
pub(super) async fn answer(passage: &Passage<'_>, dialect: Dialect, request: Request<Incoming>) -> Response<Reply> {
    let mut origin = passage.peer.origin().clone();
    // Where proxies are named, the certificate that the handshake demanded does not name another.
    if passage.door().trusted.networks.is_empty() && passage.peer.is_certified(passage.running.engine.clock.now()) {
        origin.word = Word::Proxy;
    }
    if !passage.door().trusted.believes(&origin) {
        return passage.unreadable(Malformed::Stranger, request.method(), request.version());
    }
    let (head, body) = request.into_parts();
    if dialect == Dialect::EnvoyExtProc {
        return ext_proc::answer(passage, &head, body);
    }
    if dialect == Dialect::Envoy {
        let call = match passage.call(&head, body).await {
            Ok(call) => call,
            Err(status) => return grpc::failed(status),
        };
        let described = match envoy::described(&call) {
            Ok(described) => described,
            Err(malformed) => return envoy::reply(passage.unread(malformed)),
        };
        return envoy::reply(consider(passage, dialect, described).await);
    }
    let (version, method) = (head.version, head.method.clone());
    let described = match describe::described(dialect, head, &origin) {
        Ok(described) => described,
        Err(malformed) => return passage.unread(malformed).for_http(dialect),
    };
    let mut response = consider(passage, dialect, described).await.for_http(dialect);
    if method == Method::HEAD && version < Version::HTTP_2 {
        *response.body_mut() = Reply::whole(Bytes::new());
    }
    response
}

/// An answer, before it is put into a dialect.
pub(in crate::serve) enum Answer {
    /// Forward.
    Allow(Box<Allowed>),
    /// Say this to the client instead.
    Refuse(Box<Response<Bytes>>),
}

/// What goes with a request that may pass.
pub(in crate::serve) struct Allowed {
    /// What must change of it.
    pub changes: Changes,
    /// Headers for the client.
    pub beside: HeaderMap,
    /// Whether the application's answer is for this client only.
    pub protected: bool,
    /// Whether the client is an old one, that takes the first cookie for its session.
    pub program: bool,
}

async fn consider(passage: &Passage<'_>, dialect: Dialect, described: Described) -> Answer {
    let Described { head, origin, body } = described;
    match meet(passage, dialect, head, &origin) {
        Ok(met) => judge(passage, dialect, met, body).await,
        Err(answer) => answer,
    }
}

/// Meets a request at the door: who sent it, and where it leads.
pub(in crate::serve) fn meet(passage: &Passage<'_>, dialect: Dialect, head: Head, origin: &Origin) -> Result<Met, Answer> {
    let engine = &passage.running.engine;
    let method = head.method.clone();
    if matches!(method, Method::TRACE | Method::CONNECT) {
        return Err(Answer::Refuse(Box::new(passage.running.answers.method_refused(passage.id, &method))));
    }
    // Over gRPC Envoy says itself who the client is; its forwarding headers are the client's own where it was told to keep them.
    let nobody = TrustedProxies::default();
    let trusted = if dialect.names_client() { &nobody } else { &passage.door().trusted };
    let arrived = head.arrive(origin, Shown::Nothing, trusted, passage.id, engine.clock.now());
    let Arrived { mut request, .. } = arrived.map_err(|malformed| passage.unread(malformed))?;
    remove_all(&mut request.headers, dialect.own_headers());
    // What this proxy wrote for us; of any other spelling, and of other proxies' headers, its client is the author.
    if let Some(forwarded) = &trusted.certificates {
        remove_all(&mut request.headers, &forwarded.headers().collect::<Vec<_>>());
    }
    let found = engine.routes.find(&request);
    match passage.shared.load().enter(&passage.running.terms, &request, found.as_ref().ok()) {
        Ok(place) => Ok(Met { request: *request, found, _place: place }),
        Err(denial) => Err(passage.refused(&request, &engine.turn_away(&request, found.ok(), denial))),
    }
}

/// Judges it, with its body where the proxy brought that whole.
pub(in crate::serve) async fn judge(passage: &Passage<'_>, dialect: Dialect, met: Met, body: Option<Bytes>) -> Answer {
    let engine = &passage.running.engine;
    let Met { mut request, found, _place } = met;
    let old = |request: &CheckRequest, found: &Found| passage.running.answers.integration(request, found).is_some();
    let carried = found.and_then(|found| match old(&request, &found) && !dialect.carries().answer {
        // Old clients take the first cookie of that name for their session, and a service has sessions of its own.
        true => Err(Denial::Uncarried(Uncarried::Answer)),
        false => Ok(found),
    });
    let admitted = match carried.and_then(|found| admit(dialect, &mut request, found, body)) {
        Ok(found) => operation::note(&mut request, &found).await.map(|()| found).map_err(Denial::Malformed),
        Err(denial) => Err(denial),
    };
    let found = match admitted {
        Ok(found) => found,
        Err(denial) => return passage.refused(&request, &engine.decide_found(&request, Err(denial)).await),
    };
    let protected = found.route.access == Access::Protected;
    let judgement = engine.decide_found(&request, Ok(found)).await;
    passage.shared.load().recognise(&request, &judgement);
    let Judgement { decision: Decision::Allow(grant), .. } = &judgement else {
        return passage.refused(&request, &judgement);
    };
    let mut beside = HeaderMap::new();
    let old = judgement.found.as_ref().and_then(|found| passage.running.answers.integration(&request, found));
    let program = old.is_some();
    if let Some(opened) = &judgement.opened {
        let cookie = match old.filter(|_| opened.keeper == Keeper::Program) {
            Some(of) => {
                beside.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Integration::set_cookie(&request, &of.settings().path, opened)
            }
            None => (passage.running.session_cookie)(&request, opened),
        };
        if let Ok(cookie) = HeaderValue::from_str(cookie.reveal()) {
            beside.append(SET_COOKIE, cookie);
        }
    }
    for (name, value) in &grant.injection.response {
        beside.append(name, value.clone());
    }
    tell_token(&mut beside, judgement.csrf_token.as_ref());
    let recognised = judgement.recognised.as_ref().map(|scheme| scheme.as_str());
    mark(&mut beside, passage.id, recognised);
    without_our_cookies(&mut request.headers);
    match changes(dialect, &request, grant) {
        Ok(changes) => Answer::Allow(Box::new(Allowed { changes, beside, protected, program })),
        Err(uncarried) => {
            tracing::warn!(request_id = %passage.id, dialect = dialect.name(), ?uncarried, "the door cannot carry what the route needs");
            let denied = Judgement { decision: Decision::Deny(Denial::Uncarried(uncarried)), ..judgement };
            passage.refused(&request, &denied)
        }
    }
}

/// Whether this dialect can carry such a request at all, before anybody judges it.
fn admit(dialect: Dialect, request: &mut CheckRequest, found: Found, body: Option<Bytes>) -> Result<Found, Denial> {
    let carries = dialect.carries();
    if !request.target.is_canonical() {
        return Err(Denial::Malformed(Malformed::TargetNotCanonical));
    }
    // Our own endpoints are served by our own listener; a proxy that asks about them would forward them elsewhere.
    if found.route.destination == Destination::Own {
        return Err(Denial::NoRoute);
    }
    let strip = found.route.strip.get(&found.tenant.id).ok_or(Denial::NoRoute)?;
    if !carries.removal && request.headers.keys().any(|name| strip.reserves(name)) {
        return Err(Denial::Malformed(Malformed::ReservedHeader));
    }
    if let BodyNeed::Whole { limit, types } = &found.route.body {
        let body = body.filter(|_| carries.body).ok_or(Denial::Uncarried(Uncarried::Body))?;
        if body.len() > *limit || request.headers.get(describe::PARTIAL).is_some_and(|value| value == "true") {
            return Err(Denial::Malformed(Malformed::BodyTooLong));
        }
        // What is shorter than announced is a beginning, whatever the proxy says of it.
        let announced = request.headers.get(CONTENT_LENGTH).map(|length| length.to_str().ok().and_then(|length| length.parse().ok()));
        if announced.is_some_and(|length| length != Some(body.len())) {
            return Err(Denial::Malformed(Malformed::Framing));
        }
        let media_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if !body.is_empty() && !types.iter().any(|known| known.eq_ignore_ascii_case(essence)) {
            return Err(Denial::Malformed(Malformed::MediaType));
        }
        request.body = Body::Whole(body);
    }
    Ok(found)
}

fn changes(dialect: Dialect, request: &CheckRequest, grant: &Grant) -> Result<Changes, Uncarried> {
    let Grant { injection, found, .. } = grant;
    let strip = found.route.strip.get(&found.tenant.id).ok_or(Uncarried::Header)?;
    let mut changes = Changes::of(request, strip, injection);
    if changes.target.is_some() && !dialect.carries().query {
        return Err(Uncarried::Query);
    }
    if changes.body.is_some() && !dialect.carries().new_body {
        return Err(Uncarried::NewBody);
    }
    // Envoy takes no body of another length than its head says.
    if let Some(body) = changes.body.as_ref().filter(|_| request.headers.contains_key(CONTENT_LENGTH)) {
        changes.set.push((CONTENT_LENGTH, HeaderValue::from(body.len())));
    }
    if changes.set.iter().any(|(name, value)| *name != COOKIE && value.to_str().is_err()) {
        return Err(Uncarried::Header);
    }
    Ok(changes)
}

impl Passage<'_> {
    fn refused(&self, request: &CheckRequest, judgement: &Judgement) -> Answer {
        let recognised = judgement.recognised.as_ref().map(|scheme| scheme.as_str());
        let mut response = self.running.answers.refuse(request, judgement);
        mark(response.headers_mut(), self.id, recognised);
        Answer::Refuse(Box::new(response))
    }

    pub(in crate::serve) fn unread(&self, malformed: Malformed) -> Answer {
        self.record_unreadable(malformed);
        let mut response = self.running.answers.unreadable(malformed, self.id, &Method::GET);
        mark(response.headers_mut(), self.id, None);
        Answer::Refuse(Box::new(response))
    }

    /// Reads a gRPC call within the budget for bodies.
    async fn call(&self, head: &http::request::Parts, body: Incoming) -> Result<Bytes, grpc::Status> {
        grpc::calls(head, envoy::CHECK)?;
        let limits = &self.door().limits;
        let held = self.shared.budget().hold(body, grpc::MAX_MESSAGE, limits.body_idle, limits.body_total).await;
        held.map(|held| held.bytes).map_err(|unfit| match unfit.malformed() {
            Some(_) => grpc::Status::InvalidArgument,
            None => grpc::Status::Unavailable,
        })
    }
}

impl Answer {
    /// For the dialects in which the status is the answer.
    fn for_http(self, dialect: Dialect) -> Response<Reply> {
        match self {
            Self::Allow(allowed) => {
                let Allowed { changes, mut beside, .. } = *allowed;
                for (name, value) in changes.set {
                    beside.insert(name, value);
                }
                // An empty value: a proxy that copies it puts nothing in place of what the client sent.
                for name in changes.remove {
                    beside.insert(name, HeaderValue::from_static(""));
                }
                let mut response = Response::new(Reply::whole(Bytes::new()));
                *response.headers_mut() = beside;
                response
            }
            Self::Refuse(mut response) => {
                if !dialect.carries().refusal {
                    let status = response.status();
                    response.headers_mut().insert(STATUS, HeaderValue::from(status.as_u16()));
                    *response.status_mut() = match status {
                        // The location goes along: `error_page 401` leads there.
                        status if status.is_redirection() || status == StatusCode::UNAUTHORIZED => StatusCode::UNAUTHORIZED,
                        status if status.is_server_error() => status,
                        _ => StatusCode::FORBIDDEN,
                    };
                    response.headers_mut().remove(CONTENT_TYPE);
                    *response.body_mut() = Bytes::new();
                }
                response.map(Reply::whole)
            }
        }
    }
}
