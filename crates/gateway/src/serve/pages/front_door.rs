//! The host of no tenant: whoever signs in here is found by the user name, and their login is handed to their tenant's portal.
//!
//! ```text
//! front door /login ─▶ portal /.vestibule/landing?door=1 ─▶ front door /login?tenant&bind ─▶ portal /.vestibule/landing?code&seal
//! ```
//!
//! The hand-over is that of `landing.rs`, with this host in the portal's place: the code works once, for 60 s, on one host, and only in
//! the browser to which that host gave a nonce. An attacker tries names to learn which tenants and users exist: a name of nobody
//! is therefore checked like any other, against a realm that does not know it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::{Ending, Event, Reason};
use vestibule_engine::identity::{Identity, TenantId, Username};
use vestibule_engine::route::Found;
use vestibule_engine::scheme::{Callback, Login, LoginFlow, Unavailable};
use vestibule_engine::secret::Secret;
use vestibule_engine::tenant::Tenant;

use super::guard::{Form, is_cross_site};
use super::login::Wish;
use super::login_state::LoginStates;
use super::view::Display;
use super::ways_in::FrontDoor;
use super::{Portal, Visit, assets, cookie, landing, reply};
use crate::schemes::known_device;
use crate::schemes::login_form::{PASSWORD, USERNAME};
use crate::serve::return_to::{MAX_RETURN_TO, ReturnTo};

const REMEMBERED: &str = "vestibule front door cookie v1";
/// What a name of nobody ends in when it is checked: a suffix that no user name of a realm has.
const NOBODY: &str = "@-";

impl Portal {
    /// A page of the front door.
    pub(super) async fn front(&self, visit: &mut Visit<'_>, front: &FrontDoor) -> Result<Response<Full<Bytes>>, Unavailable> {
        let read = matches!(visit.request.method, http::Method::GET | http::Method::HEAD);
        match visit.request.target.path() {
            "/" if read => Ok(reply::redirect(&Wish::default().address("/login", visit.chosen()))),
            "/login" if read => self.show_front(visit, front).await,
            "/login" if visit.request.method == http::Method::POST => self.sign_in_at_front(visit, front).await,
            "/" => Ok(visit.not_allowed("GET, HEAD")),
            "/login" => Ok(visit.not_allowed("GET, HEAD, POST")),
            _ => {
                let asset = if read { assets::serve(visit.request, visit.tenant.id.as_str(), &visit.brands) } else { None };
                Ok(asset.unwrap_or_else(|| visit.missing()))
            }
        }
    }

    /// GET `/login`: the form, or on the way back from a portal the code for it.
    async fn show_front(&self, visit: &mut Visit<'_>, front: &FrontDoor) -> Result<Response<Full<Bytes>>, Unavailable> {
        let target = &visit.request.target;
        if target.query_pairs().any(|(name, _)| matches!(name.as_str(), "password" | "pw")) {
            return Ok(visit.password_in_address());
        }
        let first = |name: &str| target.query_values(name).into_iter().next();
        let prompted = first("prompt").as_deref() == Some("login");
        let wanted = first("return_to").or_else(|| first("startURL")).filter(|raw| raw.len() <= MAX_RETURN_TO);
        let asked = first("tenant");
        let known = asked.clone().or_else(|| self.remembered(visit));
        let tenant = known.and_then(|id| front.tenants.iter().find(|tenant| tenant.id.as_str() == id));
        if let Some(tenant) = tenant
            && !prompted
            && let Some(identity) = self.session_in(visit, tenant).await?
        {
            let origin = tenant.portal_origin.as_deref().unwrap_or_default();
            let return_to = return_to(wanted.as_deref(), tenant);
            return match first("bind").filter(|bind| asked.is_some() && landing::is_bind(bind)) {
                Some(bind) => {
                    let again = first("round").as_deref() == Some("2");
                    let address = self.landing_with_code(visit, tenant, &identity, origin, &return_to, &bind, again).await?;
                    Ok(reply::redirect(&address))
                }
                None => Ok(reply::redirect(&to_portal(visit, tenant, &return_to))),
            };
        }
        let typed = first("un").or_else(|| first("login_hint")).unwrap_or_default();
        let held = self.session(visit).await?;
        // Parsed when the tenant is known, whose applications it may lead to.
        self.form(visit, StatusCode::OK, held.as_ref(), Wish::default(), wanted, &typed, None)
    }

    /// POST `/login`.
    async fn sign_in_at_front(&self, visit: &mut Visit<'_>, front: &FrontDoor) -> Result<Response<Full<Bytes>>, Unavailable> {
        let form = match Form::read(visit.request) {
            Ok(form) => form,
            Err(status) => return Ok(visit.form_unread(status)),
        };
        visit.display = Display::parse(form.text("display")).unwrap_or(visit.display);
        let mut states = LoginStates::of(visit.request, &self.key, visit.now);
        let state = states.find(form.text("state")).cloned();
        let Some(state) = state.filter(|_| !is_cross_site(visit.request, &visit.origin)) else {
            return self.stale(visit, &form).await;
        };
        let typed = form.text(USERNAME).trim().to_owned();
        let found = self.tenant_of(front, &typed).await?;
        let is_elsewhere = |tenant: &Tenant| self.ways_in.emergency.contains(&tenant.id);
        if let Some(tenant) = found.filter(|tenant| is_elsewhere(tenant)) {
            // The name ends as its users' do, whoever they are. They sign in elsewhere, and their portal knows where: neither name nor
            // password was looked at.
            let origin = tenant.portal_origin.as_deref().unwrap_or_default();
            return Ok(reply::redirect(&format!("{origin}{}", Wish::default().address("/login", visit.chosen()))));
        }
        let anybody = || front.tenants.iter().find(|tenant| !is_elsewhere(tenant)).or(front.tenants.first());
        let Some(tenant) = found.or_else(anybody) else { return Ok(visit.missing()) };
        let name = if found.is_some() { typed } else { format!("{typed}{NOBODY}") };
        let password = form.secret(PASSWORD).cloned().unwrap_or_else(|| Secret::new(String::new()));
        let fields = [(USERNAME.to_owned(), Secret::new(name)), (PASSWORD.to_owned(), password)];
        let accounts = self.ways_in.accounts(&tenant.id);
        // A name of nobody is tried at one tenant's realms: whose it could be must not show by how slow the others' are.
        let flows = front.tenants.iter().filter_map(|tenant| tenant.chain.form_scheme()?.login_flow());
        let floor = flows.map(LoginFlow::dearest).fold(Duration::ZERO, Duration::max);
        let callback = Callback { request: visit.request, tenant: &tenant.id, form: &fields, accounts, floor, now: visit.now };
        let scheme = tenant.chain.form_scheme().filter(|_| found.is_some());
        let Some(flow) = tenant.chain.form_scheme().and_then(|scheme| scheme.login_flow()) else { return Ok(visit.missing()) };
        if let Some(tenant) = found {
            visit.acted_for = Some(tenant.clone());
        }
        let proof = match flow.finish(&callback, &mut visit.trail).await {
            Ok(Login::Accepted { proof, return_to: _ }) if scheme.is_some() => proof,
            Ok(Login::Accepted { .. } | Login::Continue(_)) => return self.refuse(visit, &form, &state, Reason::UnknownUser),
            Ok(Login::Rejected(rejection)) => return self.refuse(visit, &form, &state, rejection.reason),
            // One tenant's realms may be down and another's not, and a name of nobody is asked about somewhere: 503 would tell whose it is.
            Err(down) => {
                tracing::warn!(request_id = %visit.id, tenant = %tenant.id, error = %down, "a password could not be checked at the front door");
                return self.refuse(visit, &form, &state, Reason::Unavailable);
            }
        };
        let realm = proof.issuer.to_string();
        let client = visit.request.client.address;
        let admitted = self.engine.admission.admit_from(*proof, tenant, client, visit.now, &mut visit.trail).await?;
        let mut identity = match admitted {
            Ok(identity) => identity,
            Err(rejection) => return self.refuse(visit, &form, &state, rejection.reason),
        };
        if !self.spend(visit, &state).await? {
            return self.stale(visit, &form).await;
        }
        states.forget(&state.id);
        self.end_former(visit, front, &identity).await?;
        let opened = self.engine.sessions.open(&identity, visit.request.host.name(), visit.now, &mut visit.trail).await?;
        identity.session = Some(opened.session.clone());
        let subject = identity.user.name.to_string();
        visit.trail.events.push(Event::LoginSucceeded { scheme: identity.scheme.clone(), realm, subject });
        let return_to = return_to(state.return_to.as_deref(), tenant);
        let mut response = reply::redirect(&to_portal(visit, tenant, &return_to));
        reply::set_cookie(&mut response, cookie::set_session(visit.request, &opened).reveal());
        reply::set_cookie(&mut response, &states.set_cookie(visit.request, &self.key)?);
        let sealed = self.key.seal(REMEMBERED, visit.request.host.name(), tenant.id.as_str().as_bytes().to_vec())?;
        reply::set_cookie(&mut response, &cookie::set_provider(visit.request, &sealed));
        if !self.devices.owners(visit.request, &tenant.id, visit.now).contains(&identity.user.id) {
            let device = self.devices.issue(&tenant.id, identity.user.id, visit.now)?;
            reply::set_cookie(&mut response, &known_device::set_cookie(visit.request, &device));
        }
        Ok(response)
    }

    /// Whose user this is: by the suffix of the name, else the only tenant with a user of this name; none of those whose users sign in
    /// elsewhere, since where to would tell that there is one. Every name costs the same questions to the store.
    async fn tenant_of<'f>(&self, front: &'f FrontDoor, typed: &str) -> Result<Option<&'f Arc<Tenant>>, Unavailable> {
        let mut owners = Vec::new();
        if let Some(name) = Username::parse(typed) {
            for tenant in front.tenants.iter().filter(|tenant| !self.ways_in.emergency.contains(&tenant.id)) {
                if self.engine.admission.knows(&tenant.id, &name).await? {
                    owners.push(tenant);
                }
            }
        }
        let suffixed = front.tenants.iter().find(|tenant| tenant.local_name(typed) != typed);
        let only = match owners.as_slice() {
            [only] => Some(*only),
            // Of several nobody can say which is meant.
            _ => None,
        };
        Ok(suffixed.or(only))
    }

    /// Attack 123: whoever used this browser before is signed out of it, whichever tenant is theirs, in all applications.
    async fn end_former(&self, visit: &mut Visit<'_>, front: &FrontDoor, identity: &Identity) -> Result<(), Unavailable> {
        let host = visit.request.host.name();
        // Of two nobody can tell which is ours.
        for token in visit.request.cookies(cookie::session_name(visit.request)).take(2) {
            for tenant in &front.tenants {
                if let Ok(former) = self.engine.sessions.find(&tenant.id, host, token, visit.now).await? {
                    let ending = if former.user.id == identity.user.id { Ending::Renewed } else { Ending::Switched };
                    self.engine.sessions.end(&former, ending, &mut visit.trail).await?;
                }
            }
        }
        Ok(())
    }

    /// Whose session the browser has at this host, whichever tenant is theirs.
    pub(super) async fn held(&self, visit: &Visit<'_>, front: &FrontDoor, token: &str) -> Result<Option<Identity>, Unavailable> {
        let request = visit.request;
        for tenant in &front.tenants {
            let found = self.engine.resume(tenant, request.host.name(), token, request.client.address, visit.now).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Whose session of this tenant the browser has at this host.
    async fn session_in(&self, visit: &Visit<'_>, tenant: &Tenant) -> Result<Option<Identity>, Unavailable> {
        let request = visit.request;
        let mut tokens = request.cookies(cookie::session_name(request));
        let (Some(token), None) = (tokens.next(), tokens.next()) else { return Ok(None) };
        self.engine.resume(tenant, request.host.name(), token, request.client.address, visit.now).await
    }

    /// The tenant of whoever signed in here last.
    fn remembered(&self, visit: &Visit<'_>) -> Option<String> {
        let request = visit.request;
        let sealed = request.cookies(cookie::provider_name(request)).next()?;
        String::from_utf8(self.key.open(REMEMBERED, request.host.name(), sealed)?).ok()
    }
}

/// What the record is of: the tenant whose user acted, where that is known.
pub(super) fn acted(found: &Found, acted_for: Option<Arc<Tenant>>) -> Found {
    Found { tenant: acted_for.unwrap_or_else(|| found.tenant.clone()), route: found.route.clone() }
}

/// The tenant that stands for this host in the engine: no chain, no users.
pub fn tenant(host: vestibule_engine::request::Host, origin: &str, title: &str) -> Tenant {
    Tenant {
        id: TenantId::from(FrontDoor::TENANT),
        title: title.to_owned(),
        hosts: Vec::new(),
        portal: Some(host),
        portal_origin: Some(origin.to_owned()),
        domain: None,
        origins: Vec::new(),
        cors: Default::default(),
        chain: Arc::default(),
        realm_text: title.to_owned(),
        brand: None,
    }
}

/// Where somebody goes who wanted to go there: to their tenant's portal, or by it to an application.
fn return_to(raw: Option<&str>, tenant: &Tenant) -> ReturnTo {
    let origin = tenant.portal_origin.as_deref().unwrap_or_default();
    raw.and_then(|raw| ReturnTo::parse(raw, origin, tenant)).unwrap_or_else(|| ReturnTo::Here("/".to_owned()))
}

fn to_portal(visit: &Visit<'_>, tenant: &Tenant, return_to: &ReturnTo) -> String {
    let origin = tenant.portal_origin.as_deref().unwrap_or_default();
    format!("{}&door=1", landing::address(origin, return_to, visit.chosen()))
}
