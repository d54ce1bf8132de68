//! The portal as a SAML service provider: where visitors are led, and what becomes of answers.
//!
//! What an attacker tries: to have a victim's browser bring the attacker's answer (login CSRF), to bring a victim's own twice,
//! to bring one that nobody asked for, to learn from our answer which check failed. A refused answer says one thing to the
//! client, and everything to the audit.

mod arrival;
mod inspect;

use std::sync::Arc;

use bytes::Bytes;
use http::header::ORIGIN;
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Event, Reason, Ruling, SamlFault};
use vestibule_engine::identity::{Identity, SchemeName};
use vestibule_engine::realm::PASSWORD;
use vestibule_engine::request::{Body, CheckRequest, form_values};
use vestibule_engine::scheme::{Proof, Start, Unavailable, Who};

pub(super) use self::arrival::Brought;
use self::arrival::text_of;
pub use self::inspect::PATH as INSPECT;
use super::journey::{self, Journey, Journeys};
use super::login::{Vouched, Wish, depart};
use super::logout::forget_partner;
use super::single_logout::{Known, Party, Role};
use super::view::{ChoicePage, SwitchPage};
use super::words::Words;
use super::{Portal, Visit, cookie, reply};
use crate::schemes::partners::{Clues, Partner, choose};
use crate::schemes::saml::{Answer, CONSUMER, IdentityProvider, Refusal, ServiceProvider, is_passive};
use crate::serve::return_to::ReturnTo;

/// XML above this many octets is not read on the threads that answer (architecture §1).
const LONG: usize = 64 * 1024;

/// Whether a request is an answer that costs no more than a decision about a signed message does: then it is judged on the thread
/// that read it.
pub fn is_brief(request: &CheckRequest) -> bool {
    let short = matches!(&request.body, Body::Whole(octets) if octets.len() <= LONG);
    short && request.method == Method::POST && request.target.path() == CONSUMER
}

const ANSWERED: &str = "vestibule answered cookie v1";
const REMEMBERED: &str = "vestibule idp cookie v1";
const SWITCH: &str = "saml switch";

/// How an answer came.
pub(super) struct Arrival<'a> {
    /// What it belongs to; `None` if this browser did not ask.
    pub journey: Option<&'a Journey>,
    /// What came with it, and is believed to be an address of ours only after a look at it.
    pub relay_state: Option<&'a str>,
    /// The message.
    pub message: &'a [u8],
    /// The form.
    pub body: &'a str,
    /// The token of [`SwitchPage`], where somebody confirmed it.
    pub token: &'a str,
    /// Where such answers are brought, and the name of their relay state.
    pub at: (&'a str, &'static str),
}

impl Portal {
    /// The service provider of this tenant.
    pub(super) fn service_provider(&self, visit: &Visit<'_>) -> Option<&Arc<ServiceProvider>> {
        self.service_providers.get(&visit.tenant.id)
    }

    /// GET `/saml/sp/metadata`.
    pub(super) fn sp_metadata(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(sp) = self.service_provider(visit) else { return Ok(visit.missing()) };
        let text = sp.metadata().map_err(|why| Unavailable::new("metadata", why))?;
        Ok(reply::metadata(text))
    }

    /// GET and POST `/saml/sp/slo`: an identity provider ends a login, or answers that it did. Without a key of ours to sign with
    /// nothing is answered, and the address does not stand in our metadata.
    pub(super) async fn sp_logout(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        match self.service_provider(visit).and_then(|sp| sp.signing()) {
            Some(_) => self.take_logout(visit, Role::Sp).await,
            None => Ok(visit.missing()),
        }
    }

    /// Sends a visitor to an identity provider, or lets them choose one.
    pub(super) async fn lead_away(&self, visit: &mut Visit<'_>, wish: Wish, anew: bool) -> Result<Response<Full<Bytes>>, Unavailable> {
        let mut partners = self.partners(visit);
        let (request, target) = (visit.request, &visit.request.target);
        let remembered = request.cookies(cookie::provider_name(request)).next();
        let remembered = remembered
            .and_then(|sealed| self.key.open(REMEMBERED, request.host.name(), sealed))
            .and_then(|text| String::from_utf8(text).ok());
        // Not here any more. One that is too weak for this page is.
        let gone = !partners.iter().any(|partner| remembered.as_deref() == Some(partner.name));
        partners.retain(|partner| partner.strongest >= wish.level);
        if partners.is_empty() {
            return Ok(too_weak(visit, None));
        }
        let first = |name: &str| target.query_values(name).into_iter().next();
        let (named, hint) = (first("idp"), first("login_hint"));
        let host = wish.return_to.as_ref().and_then(ReturnTo::host);
        let clues = Clues { named: named.as_deref(), hint: hint.as_deref(), host: host.as_deref(), remembered: remembered.as_deref() };
        let Some(partner) = choose(&partners, &clues) else {
            let mut response = if is_passive(request) { unasked(&wish) } else { self.choice(visit, &partners, &wish, hint.as_deref()) };
            if gone {
                forget_partner(visit, &mut response);
            }
            return Ok(response);
        };
        let chain = &visit.found.tenant.chain;
        let scheme = chain.links().iter().map(|link| &link.scheme).find(|scheme| scheme.name() == partner.scheme);
        let Some(flow) = scheme.and_then(|scheme| scheme.login_flow()) else { return Ok(visit.missing()) };
        let journeys = Journeys::of(request, &self.key, visit.now);
        let return_to = wish.return_to.as_ref().map(ToString::to_string);
        if journeys.goes_round(return_to.as_deref(), visit.now) {
            return Ok(going_round(visit, partner.title));
        }
        let (journey, cookies) = journeys.begin(request, &self.key, |id| Journey {
            id,
            started: visit.now.as_second(),
            provider: partner.name.to_owned(),
            return_to,
            bind: wish.bind,
            anew,
            passive: is_passive(request),
            level: wish.level,
            arrived: None,
        })?;
        let start = Start {
            request,
            tenant: &visit.tenant.id,
            login: &journey.id,
            seed: &self.seed(&journey.id),
            return_to: journey.return_to.clone(),
            idp: Some(journey.provider.clone()),
            level: Some(journey.level),
            anew,
            now: visit.now,
        };
        let departure = flow.begin(&start).await?;
        let mut response = depart(visit, departure);
        for cookie in &cookies {
            reply::set_cookie(&mut response, cookie);
        }
        if gone {
            forget_partner(visit, &mut response);
        }
        Ok(response)
    }

    /// Who may sign visitors in, in the order of the chain.
    fn partners<'a>(&'a self, visit: &Visit<'a>) -> Vec<Partner<'a>> {
        let (sp, rp) = (self.service_providers.get(&visit.tenant.id), self.relying_parties.get(&visit.tenant.id));
        let mut partners = Vec::new();
        for name in visit.tenant.chain.links().iter().map(|link| link.scheme.name()) {
            if let Some(sp) = sp.filter(|sp| sp.name() == name) {
                partners.extend(sp.providers().iter().map(|provider| provider.partner(sp.name())));
            }
            if let Some(rp) = rp.filter(|rp| rp.name() == name) {
                partners.extend(rp.providers().iter().map(|provider| provider.partner(rp.name())));
            }
        }
        partners
    }

    /// The page on which a visitor chooses.
    fn choice(&self, visit: &Visit<'_>, partners: &[Partner<'_>], wish: &Wish, hint: Option<&str>) -> Response<Full<Bytes>> {
        let address = |partner: &Partner<'_>| {
            let address = wish.address("/login", visit.chosen());
            let joint = if address.contains('?') { '&' } else { '?' };
            (partner.title.to_owned(), format!("{address}{joint}idp={}", partner.name))
        };
        let providers: Vec<(String, String)> = partners.iter().map(address).collect();
        let by_mail = partners.iter().any(|partner| !partner.domains.is_empty());
        // Nobody is led to the emergency door.
        let form = visit
            .tenant
            .chain
            .form_scheme()
            .filter(|_| !self.ways_in.emergency.contains(&visit.tenant.id) && wish.level <= PASSWORD)
            .map(|_| wish.local_form(visit.chosen()));
        let return_to = wish.return_to.as_ref().map(ToString::to_string).unwrap_or_default();
        let page = ChoicePage {
            shell: visit.shell(),
            providers: &providers,
            by_mail,
            hint: hint.unwrap_or_default(),
            return_to: &return_to,
            bind: wish.bind.as_deref().unwrap_or_default(),
            level: wish.level.0,
            form: form.as_deref(),
        };
        reply::page_away(visit, StatusCode::OK, &page)
    }

    /// POST `/saml/sp/acs`: an identity provider's answer.
    pub(super) async fn consume(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(sp) = self.service_provider(visit).cloned() else { return Ok(visit.missing()) };
        let body = text_of(visit);
        let journeys = Journeys::of(visit.request, &self.key, visit.now);
        let brought = match self.brought(visit, &sp, body, &journeys).await? {
            Ok(brought) => brought,
            Err(response) => return Ok(*response),
        };
        let token = field(body, "token");
        let judged = judge(sp.clone(), &brought, journeys.open(), visit).await?;
        let former = self.former(visit).await?;
        let answer = match judged {
            Ok(answer) => answer,
            Err(refusal) => return self.refused(visit, &sp, *refusal, &journeys, former).await,
        };
        let arrival = Arrival {
            journey: answer.login().and_then(|id| journeys.find(id)),
            relay_state: brought.relay_state.as_deref(),
            message: &brought.message,
            body,
            token: &token,
            at: (CONSUMER, "RelayState"),
        };
        self.settle(visit, &sp, answer, arrival, &journeys, former).await
    }

    /// An answer that may be believed: signs its subject in, where this browser asked for that or may bring it unasked.
    pub(super) async fn settle(
        &self,
        visit: &mut Visit<'_>,
        sp: &Arc<ServiceProvider>,
        answer: Answer,
        arrival: Arrival<'_>,
        journeys: &Journeys,
        former: Option<Identity>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Arrival { journey, relay_state, message, body, token, at: (action, state_field) } = arrival;
        let Some(provider) = answer.provider(sp) else { return Ok(visit.missing()) };
        let origin = visit.request.headers.get(ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
        let confirmed = former.as_ref().is_some_and(|former| origin == visit.origin && self.may_switch(former, token, message));
        // An answer that nobody asked for comes from a page of its identity provider, or anybody's page could bring it.
        if journey.is_none() && !confirmed && !provider.may_begin_from(origin) {
            let detail = format!("expected an origin of {}, found {origin:?}", provider.name());
            let refusal = Refusal {
                provider: Some(provider.settings().name.clone()),
                check: "origin",
                reason: vestibule_saml::Reason::Unsolicited,
                detail,
                claimed_request: None,
            };
            return self.refused(visit, sp, refusal, journeys, former).await;
        }
        let wish = match journey {
            Some(journey) => wish_of(visit, journey),
            None => {
                let return_to = relay_state.and_then(|raw| ReturnTo::parse(raw, &visit.origin, visit.tenant));
                Wish { return_to, ..Wish::default() }
            }
        };
        visit.wear(wish.return_to.as_ref().map(ToString::to_string).as_deref());
        let (proof, account) = match sp.proof(&answer, &visit.tenant.id, visit.now).await? {
            Ok(found) => found,
            Err(reason) => return Ok(turned_away(visit, sp, provider, reason, &wish)),
        };
        if journey.is_none()
            && !confirmed
            && let Some(former) = &former
            && !self.is_about(&proof, former)
        {
            let (token, name) = (self.switch_token(former, message), former.user.name.to_string());
            let fields = [("SAMLResponse", field(body, "SAMLResponse")), (state_field, field(body, state_field))];
            let shell = visit.shell();
            let page = SwitchPage { shell, signed_in_as: &name, provider: provider.title(), action, fields: &fields, token: &token };
            return Ok(reply::page(visit, StatusCode::OK, &page));
        }
        let realm = provider.name().to_owned();
        let identity = match self.admit_vouched(visit, proof, account).await? {
            Ok(identity) => identity,
            // The same answer twice, and the first has signed somebody in: nothing is wrong.
            Err(Reason::Replayed) if former.is_some() => return self.welcome_back(visit, former, &wish).await,
            Err(reason) => return Ok(turned_away(visit, sp, provider, reason, &wish)),
        };
        if journey.is_some_and(|journey| identity.level < journey.level) {
            return Ok(too_weak(visit, Some((sp.name(), &wish))));
        }
        let (name, indexes) = answer.session();
        let known = name.filter(|_| provider.settings().saml11.is_none()).map(|name| Known {
            party: Party::IdentityProvider(realm.clone()),
            name: name.clone(),
            indexes,
        });
        let vouched = Vouched { ends: answer.ends(), known };
        let mut response = match former {
            // Ten tabs make one login.
            Some(former)
                if journey.is_some_and(|journey| !journey.anew)
                    && self.is_same_login(&former, &identity)
                    && covers(&former, &identity, vouched.ends) =>
            {
                if let (Some(session), Some(known)) = (&former.session, &vouched.known) {
                    self.take_part(&visit.tenant.id, session, former.user.name.as_str(), known, visit.now).await?;
                }
                self.onward(visit, &former, &wish).await?
            }
            former => self.sign_in_as(visit, identity, realm, former, vouched, &wish).await?,
        };
        match journey {
            Some(journey) => reply::set_cookie(&mut response, &journey::arrived(journey, visit.request, &self.key, visit.now)?),
            None => {
                let name = answer.provider(sp).map(|provider| provider.name().as_bytes().to_vec()).unwrap_or_default();
                let sealed = self.key.seal(REMEMBERED, visit.request.host.name(), name)?;
                reply::set_cookie(&mut response, &cookie::set_provider(visit.request, &sealed));
            }
        }
        Ok(response)
    }

    /// Whose session this browser has, also where an answer from elsewhere does not bring its cookie.
    pub(super) async fn former(&self, visit: &mut Visit<'_>) -> Result<Option<Identity>, Unavailable> {
        if let Some(identity) = self.session(visit).await? {
            return Ok(Some(identity));
        }
        let (request, host) = (visit.request, visit.request.host.name());
        let sealed = request.cookies(cookie::answered_name(request)).next();
        let token = sealed.and_then(|sealed| self.key.open(ANSWERED, host, sealed)).and_then(|token| String::from_utf8(token).ok());
        let Some(token) = token else { return Ok(None) };
        Ok(self.engine.sessions.find(&visit.tenant.id, host, &token, visit.now).await?.ok())
    }

    /// The cookie by which [`Portal::former`] finds this session; none where neither an answer nor a login comes from elsewhere.
    pub(super) fn answered_cookie(&self, visit: &Visit<'_>, token: &str) -> Result<Option<String>, Unavailable> {
        if self.service_provider(visit).is_none() && !self.ways_in.is_posted_to(&visit.tenant.id) {
            return Ok(None);
        }
        let sealed = self.key.seal(ANSWERED, visit.request.host.name(), token.as_bytes().to_vec())?;
        Ok(Some(cookie::set_answered(visit.request, &sealed)))
    }

    pub(super) fn is_same_login(&self, former: &Identity, identity: &Identity) -> bool {
        former.user.id == identity.user.id && former.issuer == identity.issuer && former.user.epoch == identity.user.epoch
    }

    /// Whether a proof is about somebody who has a session here already. Nothing is spent by asking.
    fn is_about(&self, proof: &Proof, former: &Identity) -> bool {
        match &proof.who {
            Who::User(id) => *id == former.user.id,
            Who::External(id) => former.user.external_ids.contains(id),
        }
    }

    fn switch_token(&self, former: &Identity, message: &[u8]) -> String {
        let session = former.session.as_ref().map(|session| session.key.as_str()).unwrap_or_default();
        self.key.tag("form", &[SWITCH.as_bytes(), session.as_bytes(), message])
    }

    fn may_switch(&self, former: &Identity, token: &str, message: &[u8]) -> bool {
        let session = former.session.as_ref().map(|session| session.key.as_str()).unwrap_or_default();
        !session.is_empty() && self.key.checks(token, "form", &[SWITCH.as_bytes(), session.as_bytes(), message])
    }

    /// An answer that came before: the page that was asked for.
    pub(super) async fn welcome_back(
        &self,
        visit: &mut Visit<'_>,
        former: Option<Identity>,
        wish: &Wish,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        match former {
            Some(identity) => self.onward(visit, &identity, wish).await,
            None => Ok(reply::redirect(&wish.address("/login", visit.chosen()))),
        }
    }

    pub(super) async fn refused(
        &self,
        visit: &mut Visit<'_>,
        sp: &ServiceProvider,
        refusal: Refusal,
        journeys: &Journeys,
        former: Option<Identity>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let claimed = refusal.claimed_request.as_deref().and_then(|id| id.strip_prefix('_')).and_then(|id| journeys.find(id));
        // The back button, or a form sent twice: the browser has been where this leads.
        if former.is_some()
            && refusal.reason == vestibule_saml::Reason::WrongInResponseTo
            && let Some(journey) = claimed.filter(|journey| journey.arrived.is_some())
        {
            let wish = wish_of(visit, journey);
            return self.welcome_back(visit, former, &wish).await;
        }
        let wish = claimed.map(|journey| wish_of(visit, journey)).unwrap_or_default();
        // Core §3.4.1: nobody was to be asked, and nobody is there. No refusal; the page shows itself to whoever comes.
        if refusal.reason == vestibule_saml::Reason::StatusNotSuccess && claimed.is_some_and(|journey| journey.passive) {
            return Ok(unasked(&wish));
        }
        let reason = match (&refusal.provider, refusal.reason) {
            (None, vestibule_saml::Reason::WrongIssuer) => Reason::UnknownPartner,
            (_, _) => Reason::Saml(refusal.fault()),
        };
        note(visit, sp, &refusal);
        visit.rejected_by(sp.name(), None, reason);
        Ok(sorry(visit, &wish))
    }
}

/// Whether a session says no less than a new login would, nothing else, and for no longer than that one might last.
fn covers(former: &Identity, identity: &Identity, ends: Option<Timestamp>) -> bool {
    let in_time = |ends| former.session.as_ref().is_some_and(|session| session.until <= ends);
    former.level >= identity.level && former.attributes == identity.attributes && ends.is_none_or(in_time)
}

/// Judges on the threads for long work what is long, or has to be opened with a private key: that takes as long.
pub(super) async fn judge(
    sp: Arc<ServiceProvider>,
    brought: &Brought,
    open: Vec<(String, String)>,
    visit: &Visit<'_>,
) -> Result<Result<Answer, Box<Refusal>>, Unavailable> {
    let now = visit.now;
    let encrypted = memchr::memmem::find(&brought.message, b"EncryptedData").is_some();
    if brought.message.len() <= LONG && !encrypted {
        return Ok(sp.judge(&brought.message, &open, brought.fetched.as_deref(), now));
    }
    let (message, fetched) = (brought.message.clone(), brought.fetched.clone());
    let judged = tokio::task::spawn_blocking(move || sp.judge(&message, &open, fetched.as_deref(), now)).await;
    judged.map_err(|why| Unavailable::new("reading a message", why))
}

/// What the audit learns of a refused message.
fn note(visit: &mut Visit<'_>, sp: &ServiceProvider, refusal: &Refusal) {
    visit.trail.events.push(Event::MessageRefused {
        scheme: sp.name().clone(),
        partner: refusal.provider.as_ref().map(ToString::to_string),
        check: refusal.check.to_owned(),
        reason: refusal.fault(),
        detail: refusal.detail.clone(),
    });
}

/// A form that carries no message.
pub(super) fn refuse_form(visit: &mut Visit<'_>, sp: &ServiceProvider, reason: SamlFault, detail: &str) -> Response<Full<Bytes>> {
    visit.trail.events.push(Event::MessageRefused {
        scheme: sp.name().clone(),
        partner: None,
        check: "binding".to_owned(),
        reason,
        detail: detail.to_owned(),
    });
    visit.rejected_by(sp.name(), None, Reason::Saml(reason));
    visit.problem(StatusCode::BAD_REQUEST, visit.words.no_answer, visit.words.begin_here, Some((visit.words.sign_in, "/login")))
}

/// Somebody an identity provider vouches for, and who may not enter here.
pub(super) fn turned_away(
    visit: &mut Visit<'_>,
    sp: &ServiceProvider,
    provider: &IdentityProvider,
    reason: Reason,
    wish: &Wish,
) -> Response<Full<Bytes>> {
    tracing::info!(request_id = %visit.id, identity_provider = provider.name(), ?reason, "somebody an identity provider vouches for may not enter");
    visit.rejected_by(sp.name(), None, reason);
    sorry(visit, wish)
}

/// One page for every refusal, so that nobody learns from it which check failed.
pub(super) fn sorry(visit: &Visit<'_>, wish: &Wish) -> Response<Full<Bytes>> {
    let again = wish.address("/login", visit.chosen());
    visit.problem(StatusCode::FORBIDDEN, visit.words.not_signed_in, visit.words.begin_again, Some((visit.words.sign_in_again, &again)))
}

/// Nobody here can prove themselves so strongly; or somebody did not, by this scheme, and may try again.
pub(super) fn too_weak(visit: &mut Visit<'_>, again: Option<(&SchemeName, &Wish)>) -> Response<Full<Bytes>> {
    let words = visit.words;
    match again {
        None => visit.refusal = Some((Ruling::Deny, Reason::WeakProof)),
        Some((scheme, _)) => visit.rejected_by(scheme, None, Reason::WeakProof),
    }
    let again = again.map(|(_, wish)| wish.address("/login", visit.chosen()));
    let way = again.as_deref().map(|address| (words.sign_in_again, address));
    visit.problem(StatusCode::FORBIDDEN, words.too_weak, words.second_factor, way)
}

pub(super) fn going_round(visit: &mut Visit<'_>, title: &str) -> Response<Full<Bytes>> {
    visit.refusal = Some((Ruling::Deny, Reason::Loop));
    let advice = Words::fill(visit.words.round_advice, title);
    let mut response = visit.problem(StatusCode::CONFLICT, visit.words.round, &advice, None);
    response.headers_mut().insert(http::header::RETRY_AFTER, HeaderValue::from_static("60"));
    response
}

/// The page that was asked for, without a login.
fn unasked(wish: &Wish) -> Response<Full<Bytes>> {
    reply::redirect(&wish.return_to.as_ref().map_or_else(|| "/login".to_owned(), ToString::to_string))
}

pub(super) fn wish_of(visit: &Visit<'_>, journey: &Journey) -> Wish {
    Wish {
        return_to: journey.return_to.as_deref().and_then(|raw| ReturnTo::parse(raw, &visit.origin, visit.tenant)),
        bind: journey.bind.clone(),
        level: journey.level,
        again: false,
    }
}

/// A field of a form as it came.
pub(super) fn field(body: &str, name: &str) -> String {
    form_values(body, name).next().unwrap_or_default()
}
