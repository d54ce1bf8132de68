//! The reverse proxy: one request from its head to the upstream's answer (architecture §3).
//!
//! What is judged is what is forwarded; what an upstream sends is cleaned of everything that is ours to say.

use std::collections::HashMap;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::header::{
    ACCEPT_LANGUAGE, CACHE_CONTROL, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, PROXY_AUTHENTICATE, SET_COOKIE,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::upgrade::OnUpgrade;
use tokio::sync::OwnedSemaphorePermit;
use vestibule_engine::audit::{Ruling, Trail};
use vestibule_engine::csrf;
use vestibule_engine::decision::{Decision, Denial, Grant};
use vestibule_engine::engine::{Ended, Engine, Judgement};
use vestibule_engine::identity::Identity;
use vestibule_engine::inject::{Prepared, prepare};
use vestibule_engine::realm::Passwords;
use vestibule_engine::request::{Body, Channel, CheckRequest, ClientKind, Host, Malformed, RequestId, Shown};
use vestibule_engine::route::{Access, BodyNeed, Destination, Found};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::session::{Keeper, Opened};

use crate::forward::{Download, ForwardError, HYPER_MAX_FIELDS, Patient, Upload, Upstream};
use crate::serve::answer::{Answers, Failure, ID, Reader, mark};
use crate::serve::body::{BodyBudget, Held, Reply, Unfit};
use crate::serve::control::{OnControl, OwnPages};
use crate::serve::cors::Crossing;
use crate::serve::ext_authz::{self, Dialect};
use crate::serve::framing::Verdict;
use crate::serve::integration::program::Program;
use crate::serve::kept::{self, KeptPosts};
use crate::serve::listen::Peer;
use crate::serve::load::{Load, Terms};
use crate::serve::operation;
use crate::serve::pages;
use crate::serve::proxy_protocol::ProxyProtocol;
use crate::serve::read::{Arrived, Hop, TrustedProxies, read, remove_all};
use crate::serve::upgrade;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const OURS: &str = "x-vestibule-";
/// What an answer says to the next hop only.
static CONNECTION_ONLY: [HeaderName; 6] = [CONNECTION, TRANSFER_ENCODING, UPGRADE, PROXY_AUTHENTICATE, KEEP_ALIVE, PROXY_CONNECTION];

/// What all data threads share.
#[derive(Debug)]
pub struct Shared {
    running: ArcSwap<Running>,
    budget: BodyBudget,
    load: Arc<Load>,
    draining: AtomicBool,
}

/// A configuration as it runs. Replaced as a whole; requests under way keep the one they began with.
pub struct Running {
    /// Who is asking, may they.
    pub engine: Arc<Engine>,
    /// What counts guesses, where it is one of ours: an administrator may make it forget somebody's.
    pub passwords: Option<Arc<Passwords>>,
    /// The applications, by the name routes lead to.
    pub upstreams: HashMap<Arc<str>, Arc<Upstream>>,
    /// Our own endpoints.
    pub pages: OnControl<OwnPages>,
    /// How refusals are worded.
    pub answers: Answers,
    /// How much may be under way.
    pub terms: Terms,
    /// What each listener grants its clients, in the order of the listeners.
    pub doors: Vec<Door>,
    /// The text of the session cookie.
    pub session_cookie: fn(&CheckRequest, &Opened) -> Secret<String>,
    /// Ends when an identity no longer holds: its tunnels end with it.
    pub until_over: UntilOver,
    /// Where forms wait whose session ran out, if they may.
    pub kept: Option<KeptPosts>,
}

/// Waits until an identity no longer holds for a client at this address.
pub type UntilOver = Arc<dyn Fn(Arc<Identity>, IpAddr) -> BoxFuture<'static, ()> + Send + Sync>;

impl std::fmt::Debug for Running {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Running").field("engine", &self.engine).field("doors", &self.doors).finish_non_exhaustive()
    }
}

/// What is spoken at a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Speaks {
    /// Requests to be judged and forwarded.
    #[default]
    Proxy,
    /// Questions of another proxy, which forwards by itself.
    Questions(Dialect),
}

/// What a listener grants its clients.
#[derive(Debug, Clone, Default)]
pub struct Door {
    /// What is spoken there.
    pub speaks: Speaks,
    /// How much and how long.
    pub limits: Limits,
    /// Whose word on the client's address counts.
    pub trusted: TrustedProxies,
    /// Whether connections begin with the PROXY protocol.
    pub proxy_protocol: ProxyProtocol,
}

impl Running {
    /// What the listener of this number grants. One that a reload forgot grants what any does and trusts nobody.
    pub fn door(&self, number: usize) -> &Door {
        static FORGOTTEN: LazyLock<Door> = LazyLock::new(Door::default);
        self.doors.get(number).unwrap_or(&FORGOTTEN)
    }
}

/// How much of our time and memory clients get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Octets of a request head.
    pub head_octets: usize,
    /// Fields of a request head.
    pub head_fields: usize,
    /// From the first octet of a head to its last; also for the first request of a connection to begin.
    pub head_time: Duration,
    /// For a TLS handshake.
    pub handshake_time: Duration,
    /// For which a connection may be idle between requests.
    pub keep_alive: Duration,
    /// Between two pieces of a request's body.
    pub body_idle: Duration,
    /// For a body that is read before the decision.
    pub body_total: Duration,
    /// For the client to take octets of an answer.
    pub write_time: Duration,
    /// Octets of a body for our own pages whose route does not say.
    pub own_body: usize,
    /// Streams of one HTTP/2 connection at a time.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head_octets: 64 * 1024,
            head_fields: HYPER_MAX_FIELDS,
            head_time: Duration::from_secs(10),
            handshake_time: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            body_idle: Duration::from_secs(60),
            body_total: Duration::from_secs(60),
            write_time: Duration::from_secs(60),
            own_body: 64 * 1024,
            streams: 128,
        }
    }
}

impl Shared {
    /// Shares a configuration; bodies held whole use at most `body_budget` octets.
    pub fn new(running: Running, body_budget: usize) -> Arc<Self> {
        Arc::new(Self {
            running: ArcSwap::from_pointee(running),
            budget: BodyBudget::new(body_budget),
            load: Arc::default(),
            draining: AtomicBool::new(false),
        })
    }

    /// The configuration in force.
    pub fn running(&self) -> Arc<Running> {
        self.running.load_full()
    }

    /// Puts another configuration in force.
    pub fn replace(&self, running: Running) {
        self.running.store(Arc::new(running));
    }

    /// The memory for bodies.
    pub fn budget(&self) -> &BodyBudget {
        &self.budget
    }

    /// What is under way.
    pub fn load(&self) -> &Arc<Load> {
        &self.load
    }

    /// Whether we are about to stop.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Makes HTTP/1 connections end with their next answer.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}

/// Answers one request.
pub async fn handle(shared: &Arc<Shared>, peer: &Arc<Peer>, request: Request<Incoming>) -> Response<Reply> {
    let running = shared.running();
    let now = running.engine.clock.now();
    let method = request.method().clone();
    let version = request.version();
    let in_flight = peer.begin(version);
    let Ok(id) = RequestId::new(now) else {
        let mut response = Response::new(Reply::whole(Bytes::new()).holding(in_flight));
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        return response;
    };
    let passage = Passage { shared, running: &running, peer, id };
    // A defect in one decision costs that one request.
    let answered = AssertUnwindSafe(passage.answer(request)).catch_unwind().await;
    let mut response = answered.unwrap_or_else(|_| {
        tracing::error!(request_id = %id, "a request handler panicked");
        passage.own(running.answers.failed(Failure::Internal, ClientKind::Api, id, Reader::default(), &method))
    });
    if !response.headers().contains_key(ID) {
        mark(response.headers_mut(), id, None);
    }
    if version < Version::HTTP_2 && shared.is_draining() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response.map(|body| body.holding(in_flight))
}

/// One request on its way.
pub(super) struct Passage<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) running: &'a Arc<Running>,
    pub(super) peer: &'a Arc<Peer>,
    pub(super) id: RequestId,
}

impl Passage<'_> {
    /// What the listener it came in by grants.
    pub(super) fn door(&self) -> &Door {
        self.running.door(self.peer.door())
    }

    async fn answer(&self, mut request: Request<Incoming>) -> Response<Reply> {
        let version = request.version();
        if version < Version::HTTP_2 && self.peer.verdict() != Some(Verdict::Clear) {
            return self.unreadable(Malformed::Framing, request.method(), version);
        }
        let now = self.running.engine.clock.now();
        let shown = self.peer.shown(now);
        // Revoked or run out since the handshake. A new connection would not come about.
        if matches!(shown, Shown::Refused(_)) {
            return self.unreadable(Malformed::Stranger, request.method(), version);
        }
        if let Speaks::Questions(dialect) = self.door().speaks {
            return Box::pin(ext_authz::answer(self, dialect, request)).await;
        }
        // TRACE reflects credentials to whoever reads the answer; CONNECT makes a relay of us.
        if matches!(*request.method(), Method::TRACE | Method::CONNECT) {
            self.record_unreadable(Malformed::TargetForm);
            return self.own(self.running.answers.method_refused(self.id, request.method()));
        }
        let upgrade = request.headers().contains_key(UPGRADE).then(|| hyper::upgrade::on(&mut request));
        let (mut head, body) = request.into_parts();
        let method = head.method.clone();
        let arrived = match read(&mut head, self.peer.origin(), shown, &self.door().trusted, self.id, now) {
            Ok(arrived) => arrived,
            Err(malformed) => return self.unreadable(malformed, &method, version),
        };
        match Crossing::of(&self.running.engine.routes, &arrived.request) {
            None => self.pass(arrived, body, upgrade).await,
            Some(crossing) => Box::pin(self.cross(crossing, arrived, body, upgrade)).await,
        }
    }

    /// Answers a page of another origin.
    async fn cross(&self, crossing: Crossing, arrived: Arrived, body: Incoming, upgrade: Option<OnUpgrade>) -> Response<Reply> {
        let mut response = if !crossing.is_preflight() && !crossing.exceeds(&arrived.request) {
            self.pass(arrived, body, upgrade).await
        } else if crossing.admits(&arrived.request) {
            let engine = &self.running.engine;
            let ended = Ended { ruling: Ruling::Allow, reason: None, caller: None };
            engine.record_page(&arrived.request, &crossing.found, ended, Trail::new(engine.clock.clone()));
            let mut response = Response::new(Reply::whole(Bytes::new()));
            *response.status_mut() = StatusCode::NO_CONTENT;
            mark(response.headers_mut(), self.id, None);
            response
        } else {
            let request = &arrived.request;
            self.refuse(request, self.running.engine.decide_found(request, Err(Denial::CrossOrigin)).await)
        };
        crossing.tell(response.headers_mut());
        response
    }

    async fn pass(&self, arrived: Arrived, body: Incoming, upgrade: Option<OnUpgrade>) -> Response<Reply> {
        let Arrived { request, hop } = arrived;
        let engine = &self.running.engine;
        let found = match engine.routes.find(&request) {
            Ok(found) if !self.peer.may_ask(request.host.name(), &found) => Err(Denial::Malformed(Malformed::Misdirected)),
            // Somebody else takes these requests to the application; through here none leads there.
            Ok(found) if found.route.destination == Destination::Elsewhere => Err(Denial::NoRoute),
            other => other,
        };
        let place = match self.shared.load.enter(&self.running.terms, &request, found.as_ref().ok()) {
            Ok(place) => place,
            Err(denial) => return self.refuse(&request, engine.turn_away(&request, found.ok(), denial)),
        };
        self.let_in(Arrived { request, hop }, found, body, upgrade).await.map(|reply| reply.keeping(place))
    }

    async fn let_in(&self, arrived: Arrived, found: Result<Found, Denial>, body: Incoming, upgrade: Option<OnUpgrade>) -> Response<Reply> {
        let Arrived { mut request, hop } = arrived;
        let engine = &self.running.engine;
        let found = match found {
            Ok(found) => found,
            Err(denial) => return self.refuse(&request, engine.decide_found(&request, Err(denial)).await),
        };
        let own = found.route.destination == Destination::Own;
        let (upload, share) = match self.body(&mut request, &found, body, own).await {
            Ok(both) => both,
            Err(unfit) => {
                let Some(malformed) = unfit.malformed() else {
                    let want = Unavailable::new("memory", "the budget for bodies is spent");
                    return self.refuse(&request, engine.give_up(&request, found, want));
                };
                return self.refuse(&request, engine.decide_found(&request, Err(Denial::Malformed(malformed))).await);
            }
        };
        if own {
            return Box::pin(self.own_page(*request, found)).await;
        }
        if let Err(malformed) = operation::note(&mut request, &found).await {
            return self.refuse(&request, engine.decide_found(&request, Err(Denial::Malformed(malformed))).await);
        }
        let judgement = engine.decide_found(&request, Ok(found)).await;
        self.shared.load.recognise(&request, &judgement);
        let Judgement { decision: Decision::Allow(grant), opened, recognised, csrf_token, .. } = judgement else {
            self.keep(&mut request, &judgement, upload).await;
            return self.refuse(&request, judgement);
        };
        let old = self.running.answers.integration(&request, &grant.found);
        let program = old.map(|of| Program::of(&request, of.settings(), opened.as_ref()));
        let cookie =
            opened.filter(|opened| opened.keeper == Keeper::Browser).map(|opened| (self.running.session_cookie)(&request, &opened));
        let recognised = recognised.as_ref().map(|scheme| scheme.as_str());
        let mut response = match program.as_ref().and_then(Program::answer) {
            Some(answer) => self.own(answer),
            // Two thirds of all that a request keeps, which it need not keep while somebody checks its password.
            None => Box::pin(self.forward(request, hop, *grant, upload, share, upgrade)).await,
        };
        if let Some(value) = cookie.and_then(|cookie| HeaderValue::from_str(cookie.reveal()).ok()) {
            response.headers_mut().append(SET_COOKIE, value);
        }
        if let Some(program) = program {
            program.tell(response.headers_mut());
        }
        tell_token(response.headers_mut(), csrf_token.as_ref());
        mark(response.headers_mut(), self.id, recognised);
        response
    }

    /// Keeps a form that is refused because its session ran out. The login then leads to where it is offered again.
    async fn keep(&self, request: &mut CheckRequest, judgement: &Judgement, upload: Upload) {
        let (Some(kept), Decision::Challenge(challenges), Some(found)) = (&self.running.kept, &judgement.decision, &judgement.found) else {
            return;
        };
        if !challenges.login || !kept::may_be_kept(request) {
            return;
        }
        let limits = &self.door().limits;
        let body = match (&request.body, upload) {
            (Body::Whole(bytes), _) => Held { bytes: bytes.clone(), share: None },
            (Body::Unread, Upload::Stream(body)) => match self.shared.budget.hold_patient(body, kept::LONGEST, limits.body_total).await {
                Ok(held) => held,
                Err(_) => return,
            },
            (Body::Unread, Upload::Empty | Upload::Whole(..)) => return,
        };
        let engine = &self.running.engine;
        match kept.keep(&engine.sessions, &found.tenant, request, &body.bytes, engine.clock.now()).await {
            Ok(Some(target)) => {
                // What the browser is to come back for.
                request.target = target;
                request.method = Method::GET;
            }
            Ok(None) => {}
            Err(down) => tracing::warn!(request_id = %self.id, error = %down, "a form could not be kept"),
        }
    }

    /// Reads the body if the route needs it whole.
    async fn body(
        &self,
        request: &mut CheckRequest,
        found: &Found,
        body: Incoming,
        own: bool,
    ) -> Result<(Upload, Option<OwnedSemaphorePermit>), Unfit> {
        let limits = &self.door().limits;
        let limit = match &found.route.body {
            BodyNeed::Never if !own && body.is_end_stream() => return Ok((Upload::Empty, None)),
            BodyNeed::Never if !own => return Ok((Upload::Stream(Patient::new(body, limits.body_idle)), None)),
            BodyNeed::Never => limits.own_body,
            BodyNeed::Whole { limit, types } => {
                let media_type = request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
                let essence = media_type.split(';').next().unwrap_or_default().trim();
                if !body.is_end_stream() && !types.iter().any(|known| known.eq_ignore_ascii_case(essence)) {
                    return Err(Unfit::MediaType);
                }
                *limit
            }
        };
        let held = Box::pin(self.shared.budget.hold(body, limit, limits.body_idle, limits.body_total)).await;
        let Held { bytes, share } = held?;
        request.body = Body::Whole(bytes);
        Ok((Upload::Empty, share))
    }

    async fn own_page(&self, request: CheckRequest, found: Found) -> Response<Reply> {
        let bytes = match &request.body {
            Body::Whole(bytes) => bytes.clone(),
            Body::Unread => Bytes::new(),
        };
        let kind = request.kind();
        let mut page = Request::new(axum::body::Body::from(bytes));
        *page.method_mut() = request.method.clone();
        *page.headers_mut() = request.headers.clone();
        let Ok(uri) = Uri::try_from(request.target.to_string()) else {
            return self.failed(Failure::Internal, kind, Reader::of(&request, Some(&found)), &request.method);
        };
        *page.uri_mut() = uri;
        let (method, visitor) = (request.method.clone(), Visitor::of(&request));
        let brief = pages::is_brief(&request);
        page.extensions_mut().insert(Arc::new(request));
        page.extensions_mut().insert(found.clone());
        match self.running.pages.call(page, brief).await {
            Ok(response) => response.map(Reply::page),
            Err(down) => {
                tracing::error!(request_id = %self.id, error = %down, "a page failed");
                self.failed(Failure::Internal, kind, visitor.reader(&found), &method)
            }
        }
    }

    async fn forward(
        &self,
        mut request: Box<CheckRequest>,
        hop: Hop,
        grant: Grant,
        upload: Upload,
        share: Option<OwnedSemaphorePermit>,
        upgrade: Option<OnUpgrade>,
    ) -> Response<Reply> {
        let Grant { principal, injection, found, .. } = grant;
        let kind = request.kind();
        let (method, visitor) = (request.method.clone(), Visitor::of(&request));
        let client = request.client.address;
        let is_program = self.running.answers.integration(&request, &found).is_some();
        let Destination::Upstream(name) = &found.route.destination else {
            return self.failed(Failure::Internal, kind, visitor.reader(&found), &method);
        };
        // Without its strip list a route must not forward: nobody would remove the client's identity headers.
        let (Some(upstream), Some(strip)) = (self.running.upstreams.get(name), found.route.strip.get(&found.tenant.id)) else {
            tracing::error!(request_id = %self.id, route = %found.route.name, "the route has no upstream or no strip list");
            return self.failed(Failure::Internal, kind, visitor.reader(&found), &method);
        };
        hop.forget(&mut request.headers);
        let told = Told::of(&request, self.peer);
        let Prepared { target, mut headers, body } = prepare(*request, strip, &injection);
        without_our_cookies(&mut headers);
        told.write(&mut headers, self.id);
        let upgrade = hop.upgrade.zip(upgrade);
        if let Some((protocol, _)) = &upgrade {
            headers.insert(UPGRADE, protocol.clone());
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        let upload = match body {
            Some(bytes) => Upload::Whole(Some(bytes), share),
            None => upload,
        };
        let mut onward = Request::new(upload);
        let Ok(uri) = Uri::from_maybe_shared(Bytes::from(target.to_string())) else {
            return self.failed(Failure::Internal, kind, visitor.reader(&found), &method);
        };
        *onward.uri_mut() = uri;
        *onward.method_mut() = method.clone();
        *onward.headers_mut() = headers;

        let mut response = match upstream.send(self.peer.thread(), onward).await {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!(request_id = %self.id, upstream = %name, error = %error, cause = ?std::error::Error::source(&error), "not forwarded");
                metrics::counter!("vestibule_upstream_failures_total", "upstream" => name.to_string()).increment(1);
                let failure = match error {
                    ForwardError::Timeout => Failure::UpstreamTimeout,
                    ForwardError::Upload(_) => Failure::Upload,
                    ForwardError::Connect { .. } | ForwardError::Answer(_) | ForwardError::Upgrade | ForwardError::Request => {
                        Failure::Upstream
                    }
                };
                let program = if is_program { self.running.answers.failed_program(failure, kind) } else { None };
                return program.map_or_else(|| self.failed(failure, kind, visitor.reader(&found), &method), |response| self.own(response));
            }
        };
        let protocol = response.headers().get(UPGRADE).cloned();
        clean(response.headers_mut());
        for (name, value) in &injection.response {
            if *name == SET_COOKIE {
                response.headers_mut().append(name, value.clone());
            } else {
                response.headers_mut().insert(name, value.clone());
            }
        }
        // `authentication-chain.md` §6.3: what was protected must not be kept for others.
        if found.route.access == Access::Protected && !response.headers().contains_key(CACHE_CONTROL) {
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let over = principal.identity().map(|identity| (self.running.until_over)(identity.clone(), client));
            return self.switch(response, protocol, upgrade, over);
        }
        response.map(Reply::upstream)
    }

    /// Both sides agreed to speak another protocol: from here on we carry octets.
    fn switch(
        &self,
        mut response: Response<Download>,
        protocol: Option<HeaderValue>,
        upgrade: Option<(HeaderValue, OnUpgrade)>,
        over: Option<BoxFuture<'static, ()>>,
    ) -> Response<Reply> {
        let (Some((_, client)), Some(protocol)) = (upgrade, protocol) else {
            return self.failed(Failure::Upstream, ClientKind::Api, Reader::default(), &Method::GET);
        };
        let upstream = hyper::upgrade::on(&mut response);
        tokio::spawn(upgrade::carry(client, upstream, over, self.peer.clone(), self.id));
        response.headers_mut().insert(UPGRADE, protocol);
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.map(|_| Reply::whole(Bytes::new()))
    }

    fn refuse(&self, request: &CheckRequest, judgement: Judgement) -> Response<Reply> {
        let recognised = judgement.recognised.as_ref().map(|scheme| scheme.as_str());
        let mut response = self.own(self.running.answers.refuse(request, &judgement));
        mark(response.headers_mut(), self.id, recognised);
        response
    }

    fn failed(&self, failure: Failure, kind: ClientKind, reader: Reader<'_>, method: &Method) -> Response<Reply> {
        self.own(self.running.answers.failed(failure, kind, self.id, reader, method))
    }

    /// After a request that two readers may frame differently, nothing more of this connection is believed.
    pub(super) fn unreadable(&self, malformed: Malformed, method: &Method, version: Version) -> Response<Reply> {
        self.record_unreadable(malformed);
        let mut response = self.own(self.running.answers.unreadable(malformed, self.id, method));
        if version < Version::HTTP_2 {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    pub(super) fn record_unreadable(&self, malformed: Malformed) {
        self.running.engine.unreadable(self.id, self.peer.origin().address, malformed);
    }

    fn own(&self, response: Response<Bytes>) -> Response<Reply> {
        response.map(Reply::whole)
    }
}

/// Tells a client the token it must send with what acts. The application cannot: it would say its own.
pub(super) fn tell_token(headers: &mut HeaderMap, token: Option<&Secret<String>>) {
    let Some(value) = token.and_then(|token| HeaderValue::from_str(token.reveal()).ok()) else { return };
    headers.insert(csrf::TOKEN, value);
    headers.insert(csrf::NAME, HeaderValue::from_static("X-CSRF-TOKEN"));
}

/// Who would read a page of ours after their request has gone on: people only.
struct Visitor(Option<(Host, Option<HeaderValue>)>);

impl Visitor {
    fn of(request: &CheckRequest) -> Self {
        let reads = request.kind() == ClientKind::Browser;
        Self(reads.then(|| (request.host.clone(), request.headers.get(ACCEPT_LANGUAGE).cloned())))
    }

    fn reader<'a>(&'a self, found: &'a Found) -> Reader<'a> {
        let known = self.0.as_ref();
        Reader {
            tenant: Some(&found.tenant),
            host: known.map(|(host, _)| host.name()),
            accept_language: known.and_then(|(_, accepted)| accepted.as_ref()?.to_str().ok()),
        }
    }
}

/// What we say of the client to the upstream.
struct Told {
    host: Option<HeaderValue>,
    address: Option<HeaderValue>,
    proto: HeaderValue,
}

impl Told {
    fn of(request: &CheckRequest, peer: &Peer) -> Self {
        Self {
            host: host_field(request),
            address: peer.address_field(request.client.address),
            proto: match request.client.channel {
                Channel::Tls => HeaderValue::from_static("https"),
                Channel::Plain => HeaderValue::from_static("http"),
            },
        }
    }

    fn write(self, headers: &mut HeaderMap, id: RequestId) {
        if let Some(host) = self.host {
            headers.insert(FORWARDED_HOST, host.clone());
            headers.insert(HOST, host);
        }
        if let Some(address) = self.address {
            headers.insert(FORWARDED_FOR, address);
        }
        headers.insert(FORWARDED_PROTO, self.proto);
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        if let Ok(id) = HeaderValue::from_str(id.0.hyphenated().encode_lower(&mut text)) {
            headers.insert(ID, id);
        }
    }
}

/// The host as it was judged: the client's own field, which is shared, if it is spelled so.
fn host_field(request: &CheckRequest) -> Option<HeaderValue> {
    let field = request.headers.get(HOST).filter(|field| request.host.is_spelled(field.as_bytes()));
    field.cloned().or_else(|| HeaderValue::try_from(request.host.to_string()).ok())
}

/// Removes from an upstream's answer what concerned its connection only, and what is ours to say.
fn clean(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    if let Some(named) = headers.get(CONNECTION).and_then(|value| value.to_str().ok()).map(str::to_owned) {
        for token in named.split(',').map(str::trim).filter(|token| !token.eq_ignore_ascii_case("content-length")) {
            headers.remove(token);
        }
    }
    remove_all(headers, &CONNECTION_ONLY);
    let ours: Vec<HeaderName> = headers.keys().filter(|name| is_ours(name.as_str())).cloned().collect();
    for name in ours {
        headers.remove(name);
    }
    if headers.contains_key(SET_COOKIE) {
        let kept: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().filter(|value| !is_our_cookie(value.as_bytes())).cloned().collect();
        headers.remove(SET_COOKIE);
        for value in kept {
            headers.append(SET_COOKIE, value);
        }
    }
}

/// Whether a header is one of ours in any spelling.
pub(super) fn is_ours(name: &str) -> bool {
    let mut octets = name.bytes();
    OURS.bytes().all(|ours| octets.next().is_some_and(|octet| octet == ours || (ours == b'-' && !octet.is_ascii_alphanumeric())))
}

/// Whether a cookie is one of ours in any spelling. A nameless cookie (`=vestibule=x`) is sent back by
/// browsers as if the part after the first `=` were its name (RFC 6265bis §5.4), so leading signs do not count.
pub(super) fn is_our_cookie(cookie: &[u8]) -> bool {
    let start = cookie.iter().position(|octet| octet.is_ascii_alphanumeric() || *octet == b'_').unwrap_or(cookie.len());
    let cookie = cookie.get(start..).unwrap_or_default();
    let begins = |prefix: &[u8]| cookie.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    begins(b"vestibule") || begins(b"__Host-vestibule") || begins(b"__Secure-vestibule")
}

/// The upstream sees none of our cookies, not even those no scheme consumes.
pub(super) fn without_our_cookies(headers: &mut HeaderMap) {
    let Some(value) = headers.get(COOKIE) else { return };
    if !value.as_bytes().split(|octet| *octet == b';').any(is_our_cookie) {
        return;
    }
    let kept: Vec<&[u8]> = value
        .as_bytes()
        .split(|octet| *octet == b';')
        .map(<[u8]>::trim_ascii)
        .filter(|pair| !pair.is_empty() && !is_our_cookie(pair))
        .collect();
    let kept = HeaderValue::from_bytes(&kept.join(&b"; "[..]));
    match kept {
        Ok(kept) if !kept.is_empty() => drop(headers.insert(COOKIE, kept)),
        _ => drop(headers.remove(COOKIE)),
    }
}
