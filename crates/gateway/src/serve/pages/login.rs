//! Signing in: the form, what becomes of it, and where the browser goes then.
//!
//! A refused login is answered 403: 401 would have to carry a challenge (RFC 9110 §15.5.2), and browsers answer one with their own
//! password dialogue; 200 would tell password managers to keep a wrong password.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Ending, Event, Reason};
use vestibule_engine::identity::{Identity, Level, Username};
use vestibule_engine::realm::{self, hashed_name};
use vestibule_engine::scheme::{Callback, Departure, Leads, Login, LoginFlow, Proof, Unavailable, Who};
use vestibule_engine::session::{Opened, SessionRef};
use vestibule_engine::store::{Insert, Key, Kind};
use vestibule_engine::tenant::Tenant;

use super::guard::{Form, is_cross_site};
use super::login_state::{LoginState, LoginStates, MAX_AGE_SECONDS};
use super::logout::forget_partner;
use super::single_logout::Known;
use super::view::{Display, LeavingPage, LoginPage, Problem};
use super::ways_in::FrontDoor;
use super::{Portal, Visit, cookie, landing, reply};
use crate::schemes::accounts::Account;
use crate::schemes::known_device;
use crate::schemes::login_form::{PASSWORD, USERNAME};
use crate::serve::answer::LEVEL;
use crate::serve::return_to::ReturnTo;

/// Longest user name shown again, in characters.
const MAX_SHOWN: usize = 256;

impl Portal {
    /// GET `/login`.
    pub(super) async fn show_login(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let target = &visit.request.target;
        if target.query_pairs().any(|(name, _)| matches!(name.as_str(), "password" | "pw")) {
            return Ok(visit.password_in_address());
        }
        let first = |name: &str| target.query_values(name).into_iter().next();
        let session = self.session(visit).await?;
        let prompted = target.query_values("prompt").iter().any(|prompt| prompt == "login");
        let wish = Wish {
            // The name that older login pages have for it (`login-saml-delegated.md` §8.1).
            return_to: first("return_to").or_else(|| first("startURL")).and_then(|raw| ReturnTo::parse(&raw, &visit.origin, visit.tenant)),
            bind: first("bind").filter(|bind| landing::is_bind(bind)),
            level: first(LEVEL).and_then(|level| level.parse().ok()).map(Level).unwrap_or_default(),
            again: target.query_values("round").iter().any(|round| round == "2"),
        };
        if let Some(identity) = &session
            && !prompted
            && identity.level >= wish.level
        {
            return self.onward(visit, identity, &wish).await;
        }
        let asks = |name: &str| target.query_pairs().any(|(found, _)| found == name);
        // `?login` opens our own form, however somebody else would sign people in: the emergency door, if the tenant says so.
        let opens = asks("login") && self.ways_in.opens(&visit.tenant.id, visit.request.client.address);
        let scheme = match visit.found.tenant.chain.form_scheme() {
            Some(form) if opens => Some(form),
            Some(_) | None => visit.found.tenant.chain.login_scheme(),
        };
        let Some(scheme) = scheme else { return Ok(visit.missing()) };
        // Our own form asks for a password, and for nothing stronger.
        let away = wish.level > realm::PASSWORD || scheme.login_flow().is_some_and(|flow| flow.leads() == Leads::Away);
        if away {
            return self.lead_away(visit, wish, prompted).await;
        }
        let typed = first("un").or_else(|| first("login_hint")).unwrap_or_default();
        let typed: String = typed.chars().filter(|c| !c.is_control()).take(MAX_SHOWN).collect();
        let mut response = self.form(visit, StatusCode::OK, session.as_ref(), wish, None, &typed, None)?;
        if asks("login") {
            forget_partner(visit, &mut response);
        }
        Ok(response)
    }

    /// POST `/login`.
    pub(super) async fn sign_in(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let mut form = match Form::read(visit.request) {
            Ok(form) => form,
            Err(status) => return Ok(visit.form_unread(status)),
        };
        // Other pages' names for the same fields; both at once are two readings of one form.
        if !(form.rename("un", USERNAME) && form.rename("pw", PASSWORD)) {
            return Ok(visit.form_unread(StatusCode::BAD_REQUEST));
        }
        visit.display = Display::parse(form.text("display")).unwrap_or(visit.display);
        visit.wear(Some(form.text("return_to")));
        let mut states = LoginStates::of(visit.request, &self.key, visit.now);
        let state = states.find(form.text("state")).cloned().filter(|_| !is_cross_site(visit.request, &visit.origin));
        let state = match state {
            Some(state) => state,
            None if form.secret("state").is_none() && self.ways_in.admits_post(&visit.tenant.id, visit.request) => {
                let wanted = ReturnTo::parse(form.text("startURL"), &visit.origin, visit.tenant);
                states.begin(wanted.as_ref().map(ToString::to_string), None, visit.now)?
            }
            None => return self.stale(visit, &form).await,
        };
        let Some(flow) = flow(visit) else { return Ok(visit.missing()) };
        if !self.ways_in.opens(&visit.tenant.id, visit.request.client.address) {
            return self.refuse(visit, &form, &state, Reason::AddressNotListed);
        }
        let accounts = self.ways_in.accounts(&visit.tenant.id);
        let (request, tenant, now) = (visit.request, &visit.tenant.id, visit.now);
        let callback = Callback { request, tenant, form: &form.0, accounts, floor: Duration::ZERO, now };
        let finished = flow.finish(&callback, &mut visit.trail).await;
        if finished.is_err() {
            let name = Username::parse(visit.tenant.local_name(form.text("username")));
            visit.trail.refused(&visit.scheme(), name.as_ref(), Reason::Unavailable);
            self.alarm(visit, name.as_ref().map(hashed_name), Some(Reason::Unavailable));
        }
        let proof = match finished? {
            Login::Accepted { proof, return_to: _ } => proof,
            Login::Continue(departure) => return Ok(depart(visit, departure)),
            Login::Rejected(rejection) => return self.refuse(visit, &form, &state, rejection.reason),
        };
        let realm = proof.issuer.to_string();
        let identity = match self.admit(visit, *proof).await? {
            Ok(identity) => identity,
            Err(reason) => return self.refuse(visit, &form, &state, reason),
        };
        if !self.spend(visit, &state).await? {
            return self.stale(visit, &form).await;
        }
        states.forget(&state.id);
        let wish = Wish {
            return_to: state.return_to.and_then(|raw| ReturnTo::parse(&raw, &visit.origin, visit.tenant)),
            bind: state.bind,
            ..Wish::default()
        };
        self.alarm(visit, Some(identity.user.name.to_string()), None);
        // A page of another origin posts without the session's cookie.
        let former = self.former(visit).await?;
        let user = identity.user.id;
        let mut response = self.sign_in_as(visit, identity, realm, former, Vouched::default(), &wish).await?;
        reply::set_cookie(&mut response, &states.set_cookie(visit.request, &self.key)?);
        if !self.devices.owners(visit.request, &visit.tenant.id, visit.now).contains(&user) {
            let device = self.devices.issue(&visit.tenant.id, user, visit.now)?;
            reply::set_cookie(&mut response, &known_device::set_cookie(visit.request, &device));
        }
        Ok(response)
    }

    /// Opens a session for somebody who was admitted, and sends the browser on.
    pub(super) async fn sign_in_as(
        &self,
        visit: &mut Visit<'_>,
        mut identity: Identity,
        realm: String,
        former: Option<Identity>,
        vouched: Vouched,
        wish: &Wish,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        // Attack 123: whoever used this browser before is signed out of it, in all applications.
        if let Some(former) = former {
            let ending = if former.user.id == identity.user.id { Ending::Renewed } else { Ending::Switched };
            self.engine.sessions.end(&former, ending, &mut visit.trail).await?;
        }
        let subject = identity.user.name.to_string();
        let (tenant, now, known) = (&visit.tenant.id, visit.now, vouched.known.as_ref());
        let beside = |session: SessionRef| {
            let subject = &subject;
            async move {
                match known {
                    Some(known) => self.take_part(tenant, &session, subject, known, now).await,
                    None => Ok(()),
                }
            }
        };
        let host = visit.request.host.name();
        let opened = self.engine.sessions.open_beside(&identity, host, vouched.ends, now, &mut visit.trail, beside).await?;
        identity.session = Some(opened.session.clone());
        visit.trail.events.push(Event::LoginSucceeded { scheme: identity.scheme.clone(), realm, subject });
        let mut response = self.onward(visit, &identity, wish).await?;
        self.give(visit, &mut response, &opened)?;
        Ok(response)
    }

    /// Gives the browser its session, in the cookies by which that is found again.
    pub(super) fn give(&self, visit: &Visit<'_>, response: &mut Response<Full<Bytes>>, opened: &Opened) -> Result<(), Unavailable> {
        reply::set_cookie(response, cookie::set_session(visit.request, opened).reveal());
        if let Some(answered) = self.answered_cookie(visit, opened.token.reveal())? {
            reply::set_cookie(response, &answered);
        }
        Ok(())
    }

    /// The only way from a proof to an identity.
    pub(super) async fn admit(&self, visit: &mut Visit<'_>, proof: Proof) -> Result<Result<Identity, Reason>, Unavailable> {
        let client = visit.request.client.address;
        let admitted = self.engine.admission.admit_from(proof, visit.tenant, client, visit.now, &mut visit.trail).await?;
        Ok(admitted.map_err(|rejection| rejection.reason))
    }

    /// The same for somebody whom a partner vouches for. Its word is spent before it changes their account: a second use has no
    /// effect (attack 43).
    pub(super) async fn admit_vouched(
        &self,
        visit: &mut Visit<'_>,
        proof: Proof,
        account: Account<'_>,
    ) -> Result<Result<Identity, Reason>, Unavailable> {
        let mut rest = Proof { replay: Vec::new(), ..proof.clone() };
        let admitted = if account.is_new() {
            if let Err(reason) = account.may_be_made(&proof.who, &visit.tenant.id).await? {
                return Ok(Err(reason));
            }
            match self.engine.admission.spend(&proof, visit.tenant, visit.now).await? {
                Ok(()) => None,
                Err(rejection) => return Ok(Err(rejection.reason)),
            }
        } else {
            match self.admit(visit, proof).await? {
                Ok(identity) => Some(identity),
                Err(reason) => return Ok(Err(reason)),
            }
        };
        match (account.keep(&rest.who, &visit.tenant.id, visit.now, &mut visit.trail).await?, admitted) {
            (Ok(None), Some(identity)) => return Ok(Ok(identity)),
            (Ok(changed), _) => rest.who = changed.map_or(rest.who, Who::User),
            (Err(reason), _) => return Ok(Err(reason)),
        }
        // As the account stands now.
        self.admit(visit, rest).await
    }

    /// Where somebody who is signed in goes.
    pub(super) async fn onward(&self, visit: &Visit<'_>, identity: &Identity, wish: &Wish) -> Result<Response<Full<Bytes>>, Unavailable> {
        if self.engine.admission.must_change_password(&identity.user) {
            return Ok(reply::redirect(&wish.address("/password", visit.chosen())));
        }
        let location = match &wish.return_to {
            None if visit.display == Display::Popup => "/?display=popup".to_owned(),
            None => "/".to_owned(),
            Some(here @ ReturnTo::Here(_)) => here.to_string(),
            Some(there @ ReturnTo::Application { origin, .. }) => match &wish.bind {
                Some(bind) => self.landing_with_code(visit, visit.tenant, identity, origin, there, bind, wish.again).await?,
                None => landing::address(origin, there, visit.chosen()),
            },
        };
        Ok(reply::redirect(&location))
    }

    /// The form, with a new token. `raw` is where the user wanted to go, where nobody can tell yet whether they may.
    #[expect(clippy::too_many_arguments, reason = "all that a form shows")]
    pub(super) fn form(
        &self,
        visit: &Visit<'_>,
        status: StatusCode,
        session: Option<&Identity>,
        wish: Wish,
        raw: Option<String>,
        username: &str,
        problem: Option<Problem<'_>>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let mut states = LoginStates::of(visit.request, &self.key, visit.now);
        let state = states.begin(wish.return_to.as_ref().map(ToString::to_string).or(raw), wish.bind, visit.now)?;
        let mut response = self.form_page(visit, status, &state, session, username, problem);
        reply::set_cookie(&mut response, &states.set_cookie(visit.request, &self.key)?);
        if session.is_none() && visit.request.cookies(cookie::session_name(visit.request)).next().is_some() {
            // Attack 123: a session that is over leaves nothing behind on the sign-in page.
            reply::set_cookie(&mut response, &cookie::clear_session(visit.request));
        }
        Ok(response)
    }

    /// The same form again, since the name or the password was wrong.
    pub(super) fn refuse(
        &self,
        visit: &mut Visit<'_>,
        form: &Form,
        state: &LoginState,
        reason: Reason,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let typed = form.text("username");
        let subject = subject(visit, typed, reason);
        self.alarm(visit, subject.clone(), Some(reason));
        visit.rejected(subject, reason);
        let words = visit.words;
        let (status, sentence, advice) = if reason == Reason::TooManyWaiting {
            (StatusCode::TOO_MANY_REQUESTS, words.many_waiting, words.minute)
        } else if reason == Reason::InsecureChannel {
            (StatusCode::FORBIDDEN, words.unprotected, words.use_https)
        } else {
            // The same for every reason that concerns the account (`authentication-chain.md` §10). Where the name decides who is asked,
            // an outage concerns it, too: it would tell whose the name is.
            let of_anybody = visit.tenant.id.as_str() == FrontDoor::TENANT;
            (StatusCode::FORBIDDEN, if of_anybody { words.mismatch_or_outage } else { words.mismatch }, words.give_number)
        };
        let problem = Problem { sentence, advice, id: Some(&visit.id) };
        let shown: String = typed.chars().take(MAX_SHOWN).collect();
        let mut response = self.form_page(visit, status, state, None, &shown, Some(problem));
        if status == StatusCode::TOO_MANY_REQUESTS {
            response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        Ok(response)
    }

    /// A form that stood open too long, was used before, or came from elsewhere: nothing was checked.
    pub(super) async fn stale(&self, visit: &mut Visit<'_>, form: &Form) -> Result<Response<Full<Bytes>>, Unavailable> {
        visit.rejected(None, Reason::StaleForm);
        let session = self.session(visit).await?;
        let (sentence, advice) = if visit.request.headers.contains_key(http::header::COOKIE) {
            (visit.words.page_expired, visit.words.sign_in_anew)
        } else {
            (visit.words.no_cookie, visit.words.allow_cookies)
        };
        let shown: String = form.text("username").chars().take(MAX_SHOWN).collect();
        let problem = Problem { sentence, advice, id: Some(&visit.id) };
        // The cookie that knew where the user wanted to go is gone; the form only says it, so it is parsed like any other.
        let wish = Wish { return_to: ReturnTo::parse(form.text("return_to"), &visit.origin, visit.tenant), ..Wish::default() };
        self.form(visit, StatusCode::FORBIDDEN, session.as_ref(), wish, None, &shown, Some(problem))
    }

    fn form_page(
        &self,
        visit: &Visit<'_>,
        status: StatusCode,
        state: &LoginState,
        session: Option<&Identity>,
        username: &str,
        problem: Option<Problem<'_>>,
    ) -> Response<Full<Bytes>> {
        let return_to = state.return_to.as_deref().unwrap_or_default();
        let partner = self.waiting_partner(visit, return_to);
        let found = partner.or_else(|| self.waiting_host(visit, return_to));
        let waiting = found.as_deref();
        let signed_in_as = session.map(|identity| identity.user.name.as_str());
        let of_anybody = visit.tenant.id.as_str() == FrontDoor::TENANT;
        let page = LoginPage { shell: visit.shell(), state: &state.id, username, signed_in_as, return_to, waiting, of_anybody, problem };
        if of_anybody { reply::page_away(visit, status, &page) } else { reply::page(visit, status, &page) }
    }

    /// The application that somebody comes from, if it is one: what else an address says is a stranger's text, and none for our page.
    fn waiting_host(&self, visit: &Visit<'_>, return_to: &str) -> Option<String> {
        match &self.ways_in.front {
            Some(front) if visit.tenant.id.as_str() == FrontDoor::TENANT => {
                let there = |tenant: &Arc<Tenant>| ReturnTo::parse(return_to, tenant.portal_origin.as_deref()?, tenant)?.application();
                front.tenants.iter().find_map(there)
            }
            Some(_) | None => ReturnTo::parse(return_to, &visit.origin, visit.tenant)?.application(),
        }
    }

    /// Notes that somebody tried the emergency door.
    fn alarm(&self, visit: &mut Visit<'_>, subject: Option<String>, reason: Option<Reason>) {
        self.ways_in.alarm(visit.request, &visit.tenant.id, subject, reason, &mut visit.trail);
    }

    /// Uses up a form: of any number of submissions exactly one goes on.
    pub(super) async fn spend(&self, visit: &Visit<'_>, state: &LoginState) -> Result<bool, Unavailable> {
        let key = Key::of(&visit.tenant.id, Kind::Replay, &[b"login form", state.id.as_bytes()]);
        let left = MAX_AGE_SECONDS - (visit.now.as_second() - state.started);
        let ttl = Duration::from_secs(u64::try_from(left).unwrap_or(0) + 1);
        match self.store.insert(&key, &[], ttl, &[], None).await? {
            Insert::Inserted => Ok(true),
            Insert::Exists => Ok(false),
            Insert::Full => Err(Unavailable::new("store", "no room for used forms")),
        }
    }
}

/// What a partner that vouches for a login says of it beside.
#[derive(Debug, Default)]
pub(super) struct Vouched {
    /// When sessions have to end at the latest.
    pub ends: Option<Timestamp>,
    /// What a logout will say.
    pub known: Option<Known>,
}

/// What a login is for.
#[derive(Debug, Default)]
pub(super) struct Wish {
    /// Where the user wanted to go.
    pub return_to: Option<ReturnTo>,
    /// The browser the hand-over is bound to.
    pub bind: Option<String>,
    /// The least strength of the proof that is wanted.
    pub level: Level,
    /// The landing has already sent the browser back once.
    pub again: bool,
}

impl Wish {
    /// This wish as parameters of a page of ours.
    pub(super) fn address(&self, page: &str, display: Option<Display>) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        if let Some(return_to) = &self.return_to {
            query.append_pair("return_to", &return_to.to_string());
        }
        if let Some(bind) = &self.bind {
            query.append_pair("bind", bind);
        }
        if self.level > Level::default() {
            query.append_pair(LEVEL, &self.level.0.to_string());
        }
        if let Some(display) = display {
            query.append_pair("display", display.as_str());
        }
        match query.finish() {
            query if query.is_empty() => page.to_owned(),
            query => format!("{page}?{query}"),
        }
    }

    /// The address of our own form, where another way comes first.
    pub(super) fn local_form(&self, display: Option<Display>) -> String {
        let address = self.address("/login", display);
        let joint = if address.contains('?') { '&' } else { '?' };
        format!("{address}{joint}login=true")
    }
}

/// The form by which this tenant's browsers sign in.
pub(super) fn flow<'a>(visit: &Visit<'a>) -> Option<&'a dyn LoginFlow> {
    visit.found.tenant.chain.form_scheme().and_then(|scheme| scheme.login_flow())
}

pub(super) fn depart(visit: &mut Visit<'_>, departure: Departure) -> Response<Full<Bytes>> {
    match departure {
        Departure::Redirect(location) => reply::redirect(&location),
        Departure::PostForm { action, fields } => {
            let Ok(url) = url::Url::parse(&action) else { return visit.unavailable() };
            let host = url.host_str().unwrap_or_default();
            let lead = visit.words.sign_in_there;
            let page = LeavingPage { shell: visit.shell(), host, action: &action, fields: &fields, lead };
            reply::page_to(visit, &page, &action)
        }
        // INVARIANT: a finished form asks for no page; begin() is matched before.
        Departure::Page => visit.missing(),
    }
}

/// The name for the audit: as it is where it is a user's, else hashed, since people type passwords into the name field.
fn subject(visit: &Visit<'_>, typed: &str, reason: Reason) -> Option<String> {
    let name = Username::parse(visit.tenant.local_name(typed))?;
    if reason.names_a_user() {
        return Some(name.to_string());
    }
    Some(hashed_name(&name))
}
