//! Our own pages: login, logout, change password, who you are; on application hosts the landing of a hand-over.
//!
//! Architecture §3 "Own endpoints": they live on the tenant's portal host, where no route forwards, because a page on an
//! application's origin could read and submit them. An attacker tries to make a browser sign in as him (login CSRF), to
//! borrow our name for a redirect (attack 95), to run a script in a page of ours (attack 117), and to find the session of
//! whoever used the browser before (attack 123).

mod assets;
mod brand;
mod cookie;
mod front_door;
mod guard;
mod history;
mod home;
mod journey;
mod kept;
pub mod key;
mod landing;
mod login;
mod login_state;
mod logout;
mod oidc_rp;
mod password;
mod reply;
mod saml11;
mod saml_idp;
mod saml_message;
mod saml_sp;
mod single_logout;
#[cfg(test)]
pub(super) mod tests;
mod ticket;
mod view;
mod way_out;
mod ways_in;
pub mod words;

pub use saml_sp::is_brief;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Event, Reason, Ruling, Trail};
use vestibule_engine::engine::{Ended, Engine};
use vestibule_engine::identity::{Identity, SchemeName, TenantId};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::route::Found;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{DurableStore, ExpiringStore};
use vestibule_engine::tenant::Tenant;

pub use brand::{Brand, Brands};
pub use cookie::COOKIES;
pub use front_door::tenant as front_door_tenant;
pub use guard::is_cross_site;
pub use key::PageKey;
pub use password::{Change, ChangePassword, Changed, OwnPasswords};
pub use reply::refusal;
pub use saml_idp::{Idps, MAX_BODY as MAX_SAML, PREFIX as IDP_PREFIX, metadata as idp_metadata};
pub use saml_sp::INSPECT;
pub use ticket::{Service as TicketService, TicketDesk};
pub use ways_in::{FrontDoor, WaysIn};

use crate::schemes::known_device::KnownDevices;
use crate::schemes::oidc::{self, RelyingParty};
use crate::schemes::saml::{CONSUMER, LOGOUT, METADATA, ServiceProvider, TARGET};
use crate::serve::integration::Integrations;
use crate::serve::kept::{KeptPosts, PATH as KEPT};
use crate::serve::return_to::ReturnTo;
use guard::Form;
use view::{Display, Dress, Shell};
use words::Words;

/// Longest form we read, in octets: the route's `BodyNeed::Whole` limit.
pub const MAX_FORM: usize = 16 * 1024;

/// The JWKS as it stands now.
pub type Jwks = Arc<dyn Fn() -> Bytes + Send + Sync>;

/// Our own pages.
pub struct Portal {
    engine: Arc<Engine>,
    store: Arc<dyn ExpiringStore>,
    key: PageKey,
    brands: HashMap<TenantId, Arc<Brands>>,
    devices: Arc<KnownDevices>,
    passwords: Option<Arc<dyn ChangePassword>>,
    jwks: Jwks,
    idps: Idps,
    service_providers: HashMap<TenantId, Arc<ServiceProvider>>,
    relying_parties: HashMap<TenantId, Arc<RelyingParty>>,
    integrations: Integrations,
    ways_in: Arc<WaysIn>,
    durable: Option<Arc<dyn DurableStore>>,
    desk: Option<TicketDesk>,
    kept: Option<KeptPosts>,
}

impl fmt::Debug for Portal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Portal").finish_non_exhaustive()
    }
}

impl Portal {
    /// Pages over this engine. `store` remembers which login forms were used, `secret` seals what browsers hold between
    /// two requests and is the same on all nodes, `devices` marks the browsers from which somebody signed in, `passwords` is absent where nobody can change theirs here.
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<dyn ExpiringStore>,
        secret: &Secret<[u8; 32]>,
        brands: HashMap<TenantId, Arc<Brands>>,
        devices: Arc<KnownDevices>,
        passwords: Option<Arc<dyn ChangePassword>>,
        jwks: Jwks,
    ) -> Self {
        Self {
            engine,
            store,
            key: PageKey::new(secret),
            brands,
            devices,
            passwords,
            jwks,
            idps: Idps::default(),
            service_providers: HashMap::new(),
            relying_parties: HashMap::new(),
            integrations: Integrations::new(),
            ways_in: Arc::default(),
            durable: None,
            desk: None,
            kept: None,
        }
    }

    /// The same with histories for administrators to look up.
    #[must_use]
    pub fn with_histories(self, durable: Arc<dyn DurableStore>) -> Self {
        Self { durable: Some(durable), ..self }
    }

    /// The same with forms that wait for a login.
    #[must_use]
    pub fn with_kept(self, kept: Option<KeptPosts>) -> Self {
        Self { kept, ..self }
    }

    /// The same with services that take tickets.
    #[must_use]
    pub fn with_tickets(self, desk: TicketDesk) -> Self {
        Self { desk: Some(desk), ..self }
    }

    /// The same with other ways in.
    #[must_use]
    pub fn with_ways_in(self, ways_in: Arc<WaysIn>) -> Self {
        Self { ways_in, ..self }
    }

    /// The same with tenants that are service providers.
    #[must_use]
    pub fn with_service_providers(self, service_providers: HashMap<TenantId, Arc<ServiceProvider>>) -> Self {
        Self { service_providers, ..self }
    }

    /// The same with tenants that are relying parties.
    #[must_use]
    pub fn with_relying_parties(self, relying_parties: HashMap<TenantId, Arc<RelyingParty>>) -> Self {
        Self { relying_parties, ..self }
    }

    /// The same with old clients of integration services, whose logins by SAML 1.1 end here.
    #[must_use]
    pub fn with_integrations(self, integrations: Integrations) -> Self {
        Self { integrations, ..self }
    }

    /// The same with these tenants as identity providers.
    #[must_use]
    pub fn with_idps(self, idps: Idps) -> Self {
        Self { idps, ..self }
    }

    /// Answers a request that a route led to us. The body of a POST must have been read whole.
    pub async fn handle(&self, request: CheckRequest, found: Found) -> Response<Full<Bytes>> {
        let mut visit = self.visit(&request, &found);
        // As everywhere: while nothing can be recorded, nothing is done. The stylesheet will not be there either.
        if let Err(down) = self.engine.sink.ready() {
            visit.dress = Dress::Inline;
            return visit.down(&down);
        }
        let response = match self.answer(&mut visit).await {
            Ok(response) => response,
            Err(down) => visit.down(&down),
        };
        let ended = visit.ended(response.status());
        self.engine.record_page(&request, &front_door::acted(&found, visit.acted_for), ended, visit.trail);
        response
    }

    async fn answer(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let request = visit.request;
        let read = matches!(request.method, Method::GET | Method::HEAD);
        let write = request.method == Method::POST;
        let path = request.target.path();
        // The route table decides what is mounted where; this decides again, because a mistake there would be a hole.
        if visit.dress == Dress::Inline
            && let Some(integration) = self.integrations.get(&visit.tenant.id).cloned()
            && self.service_provider(visit).is_some_and(|sp| sp.consumes_saml11(path))
        {
            return self.consume_for_program(visit, &integration).await;
        }
        if visit.dress == Dress::Inline && !path.starts_with("/.vestibule/") {
            return Ok(visit.missing());
        }
        if let Some(front) = self.ways_in.front.as_ref().filter(|_| visit.tenant.id.as_str() == FrontDoor::TENANT) {
            return self.front(visit, front).await;
        }
        if let Some(page) = path.strip_prefix(saml_idp::PREFIX) {
            return self.idp(visit, page).await;
        }
        if path.starts_with(oidc::PREFIX) {
            return self.oidc(visit).await;
        }
        if self.service_provider(visit).is_some_and(|sp| sp.consumes_saml11(path)) {
            return self.consume_saml11(visit).await;
        }
        if write && self.service_provider(visit).is_some_and(|sp| sp.consumes(path)) {
            return self.consume(visit).await;
        }
        if let Some((_, of)) = history::PATHS.into_iter().find(|(own, _)| *own == path && read) {
            return self.history(visit, of).await;
        }
        if let Some(endpoint) = path.strip_prefix(ticket::PATH).filter(|_| read) {
            return self.ticket(visit, endpoint).await;
        }
        match path {
            "/" if read => self.home(visit).await,
            "/login" if read => self.show_login(visit).await,
            "/login" if write => self.sign_in(visit).await,
            "/logout" | "/.vestibule/logout" if read => self.show_logout(visit).await,
            "/logout" | "/.vestibule/logout" if write => self.sign_out(visit).await,
            "/password" if read => self.show_password(visit).await,
            "/password" if write => self.change_password(visit).await,
            "/.vestibule/landing" if read => self.land(visit).await,
            KEPT if read => self.show_kept(visit).await,
            KEPT if write => self.send_kept(visit).await,
            "/.well-known/jwks.json" if read => Ok(reply::jwks((self.jwks)())),
            METADATA if read => self.sp_metadata(visit),
            // An answer leads here only with its message; without one there is nothing to do.
            TARGET if read => Ok(reply::redirect("/")),
            LOGOUT if read || write => self.sp_logout(visit).await,
            LOGOUT => Ok(visit.not_allowed("GET, POST")),
            INSPECT if read || write => self.inspect(visit, write).await,
            CONSUMER if read && Self::is_artifact(visit) => self.consume(visit).await,
            CONSUMER => Ok(visit.not_allowed("POST")),
            METADATA | TARGET | "/" | "/.vestibule/landing" | "/.well-known/jwks.json" => Ok(visit.not_allowed("GET, HEAD")),
            "/login" | "/logout" | "/.vestibule/logout" | "/password" => Ok(visit.not_allowed("GET, HEAD, POST")),
            _ => {
                let asset = if read { assets::serve(request, visit.tenant.id.as_str(), &visit.brands) } else { None };
                Ok(asset.unwrap_or_else(|| visit.missing()))
            }
        }
    }

    fn visit<'a>(&self, request: &'a CheckRequest, found: &'a Found) -> Visit<'a> {
        let tenant = &*found.tenant;
        let portal = tenant.portal.as_ref().is_none_or(|portal| portal.name() == request.host.name());
        let front = self.ways_in.front.as_ref().filter(|_| tenant.id.as_str() == FrontDoor::TENANT);
        let brands = match front {
            Some(front) => Some(&front.brands),
            None => self.brands.get(&tenant.id),
        };
        let brands = brands.cloned().unwrap_or_else(|| Arc::new(Brands::new(Brand::new(tenant.title.clone()), Vec::new())));
        let brand = brands.of(request.host.name()).clone();
        let accepted = request.headers.get(http::header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
        let words = brand.words(accepted);
        let mut visit = Visit {
            request,
            found,
            tenant,
            brands,
            brand,
            now: self.engine.clock.now(),
            id: request.id.to_string(),
            origin: request.origin(),
            display: request
                .target
                .query_values("display")
                .first()
                .and_then(|text| Display::parse(text))
                .unwrap_or_else(|| Display::usual(request)),
            words,
            dress: if portal { Dress::Linked } else { Dress::Inline },
            trail: Trail::new(self.engine.clock.clone()),
            caller: None,
            refusal: None,
            acted_for: None,
        };
        let wanted = ["return_to", "startURL"].iter().find_map(|name| request.target.query_values(name).into_iter().next());
        visit.wear(wanted.as_deref());
        visit
    }

    /// Whose session this browser has at this host.
    async fn session(&self, visit: &mut Visit<'_>) -> Result<Option<Identity>, Unavailable> {
        let mut tokens = visit.request.cookies(cookie::session_name(visit.request));
        // Two are no session: which is ours cannot be told, and trying both would let a planted one win.
        let (Some(token), None) = (tokens.next(), tokens.next()) else { return Ok(None) };
        let (host, client) = (visit.request.host.name(), visit.request.client.address);
        // As for an application: hours, addresses and the lock to an address hold here, too.
        let found = match &self.ways_in.front {
            Some(front) if visit.tenant.id.as_str() == FrontDoor::TENANT => self.held(visit, front, token).await?,
            Some(_) | None => self.engine.resume(visit.tenant, host, token, client, visit.now).await?,
        };
        visit.caller = found.as_ref().map(|identity| (identity.scheme.clone(), identity.user.name.to_string()));
        Ok(found)
    }

    /// The token of a form that acts on a session: bound to it, so that it dies with it.
    fn token(&self, identity: &Identity, purpose: &str) -> String {
        let session = identity.session.as_ref().map(|session| session.key.as_str()).unwrap_or_default();
        self.key.tag("form", &[purpose.as_bytes(), session.as_bytes()])
    }

    /// Whether a form may act on this session.
    fn allows(&self, visit: &Visit<'_>, form: &Form, identity: &Identity, purpose: &str) -> bool {
        !guard::is_cross_site(visit.request, &visit.origin) && identity.session.is_some() && {
            let session = identity.session.as_ref().map(|session| session.key.as_str()).unwrap_or_default();
            self.key.checks(form.text("token"), "form", &[purpose.as_bytes(), session.as_bytes()])
        }
    }
}

/// One request to one of our pages.
struct Visit<'a> {
    request: &'a CheckRequest,
    found: &'a Found,
    tenant: &'a Tenant,
    brands: Arc<Brands>,
    brand: Arc<Brand>,
    now: Timestamp,
    id: String,
    origin: String,
    display: Display,
    words: &'static Words,
    dress: Dress,
    trail: Trail,
    /// Who is known to ask, and by which scheme.
    caller: Option<(SchemeName, String)>,
    /// What was decided, if not to do what was asked.
    refusal: Option<(Ruling, Reason)>,
    /// At the host of no tenant: whose user this turned out to be.
    acted_for: Option<Arc<Tenant>>,
}

impl Visit<'_> {
    /// What the record says of this visit.
    fn ended(&self, status: StatusCode) -> Ended {
        let (ruling, reason) = match self.refusal {
            Some((ruling, reason)) => (ruling, Some(reason)),
            // What is left to refuse is a form or an address that cannot be used as it is.
            None if status.is_client_error() => (Ruling::Deny, Some(Reason::MalformedCredential)),
            None if status.is_server_error() => (Ruling::Fail, Some(Reason::Unavailable)),
            None => (Ruling::Allow, None),
        };
        let signed_in = self.trail.events.iter().rev().find_map(|event| {
            let Event::SessionOpened { subject, scheme, .. } = event else { return None };
            Some((scheme.clone(), subject.clone()))
        });
        Ended { ruling, reason, caller: signed_in.or_else(|| self.caller.clone()) }
    }

    /// Nobody is known here who could be shown this: they are sent to sign in.
    fn challenged(&mut self) {
        let reason = self.refusal.map_or(Reason::Nobody, |(_, reason)| reason);
        self.refusal = Some((Ruling::Challenge, reason));
    }

    /// The layout, where it is not what this browser would be shown anyhow.
    fn chosen(&self) -> Option<Display> {
        (self.display != Display::usual(self.request)).then_some(self.display)
    }

    /// Puts on the brand of the application that somebody is on the way to.
    fn wear(&mut self, return_to: Option<&str>) {
        let wanted = return_to.and_then(|raw| ReturnTo::parse(raw, &self.origin, self.tenant));
        if let Some(host) = wanted.and_then(|wanted| wanted.host()) {
            self.brand = self.brands.of(&host).clone();
        }
    }

    fn shell(&self) -> Shell<'_> {
        Shell { brand: &self.brand, words: self.words, tenant: self.tenant.id.as_str(), display: self.display, dress: self.dress }
    }

    /// The scheme by which people sign in here.
    fn scheme(&self) -> SchemeName {
        self.tenant.chain.form_scheme().map_or_else(|| "login".into(), |scheme| scheme.name().clone())
    }

    fn rejected(&mut self, subject: Option<String>, reason: Reason) {
        let scheme = self.scheme();
        self.rejected_by(&scheme, subject, reason);
    }

    fn rejected_by(&mut self, scheme: &SchemeName, subject: Option<String>, reason: Reason) {
        self.trail.events.push(Event::LoginRejected { scheme: scheme.clone(), subject, reason });
        self.refusal = Some((Ruling::Deny, reason));
    }

    fn down(&mut self, why: &Unavailable) -> Response<Full<Bytes>> {
        tracing::warn!(request_id = %self.id, error = %why, "a page could not be made");
        self.refusal = Some((Ruling::Fail, Reason::Unavailable));
        self.unavailable()
    }

    /// A page that says what is wrong.
    fn problem(&self, status: StatusCode, sentence: &str, advice: &str, way: Option<(&str, &str)>) -> Response<Full<Bytes>> {
        let problem = view::Problem { sentence, advice, id: Some(&self.id) };
        reply::page(self, status, &view::ErrorPage { shell: self.shell(), status, problem, way })
    }

    fn unavailable(&self) -> Response<Full<Bytes>> {
        let mut response = self.problem(StatusCode::SERVICE_UNAVAILABLE, self.words.not_possible, self.words.depend, None);
        response.headers_mut().insert(http::header::RETRY_AFTER, http::HeaderValue::from_static("30"));
        response
    }

    /// A password where it is kept and shown.
    fn password_in_address(&self) -> Response<Full<Bytes>> {
        let way = Some((self.words.sign_in, "/login"));
        self.problem(StatusCode::BAD_REQUEST, self.words.password_in_address, self.words.change_that_password, way)
    }

    fn form_unread(&self, status: StatusCode) -> Response<Full<Bytes>> {
        self.problem(status, self.words.form_unread, self.words.open_sign_in, Some((self.words.sign_in, "/login")))
    }

    fn missing(&mut self) -> Response<Full<Bytes>> {
        self.refusal = Some((Ruling::Deny, Reason::NoRoute));
        let way = (self.dress == Dress::Linked).then_some((self.words.go_to_applications, "/"));
        self.problem(StatusCode::NOT_FOUND, self.words.no_page, self.words.check_address, way)
    }

    fn not_allowed(&mut self, allow: &'static str) -> Response<Full<Bytes>> {
        self.refusal = Some((Ruling::Deny, Reason::NoRoute));
        let mut response = self.problem(StatusCode::METHOD_NOT_ALLOWED, self.words.not_that_way, self.words.use_link, None);
        response.headers_mut().insert(http::header::ALLOW, http::HeaderValue::from_static(allow));
        response
    }

    /// A form that was not ours, or not this browser's, or of a session that is over.
    fn forged(&mut self) -> Response<Full<Bytes>> {
        self.refusal = Some((Ruling::Deny, Reason::Csrf));
        self.problem(
            StatusCode::FORBIDDEN,
            self.words.form_invalid,
            self.words.nothing_changed,
            Some((self.words.open_again, self.request.target.path())),
        )
    }
}
