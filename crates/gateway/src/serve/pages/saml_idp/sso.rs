//! A request in progress: taken, carried over the login page, answered (profiles §4.1).
//!
//! It travels sealed in the address, not in a store: anonymous visitors cannot fill one, several tabs do not disturb each
//! other, and any node goes on with it. What it holds was judged before it was sealed.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use vestibule_engine::audit::{Reason, Ruling, SamlFault};
use vestibule_engine::identity::Identity;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Insert, Key, Kind as StoreKind};
use vestibule_saml::binding::{Kind, RelayState};
use vestibule_saml::idp::SsoRequest;
use vestibule_saml::names::status;
use vestibule_saml::protocol::{Consumer, NameIdPolicy, Status};

use super::super::words::Words;
use super::answer::{self, accepted};
use super::{Federation, PREFIX, admits, holds};
use crate::config::checked::ServiceProvider;
use crate::schemes::saml::fault;
use crate::serve::pages::saml_message::{Arrived, unwritten};
use crate::serve::pages::single_logout::{Known, Party};
use crate::serve::pages::{Portal, Visit, reply};

/// How long somebody may take to sign in; service providers wait no longer either.
const LONGEST: i64 = crate::config::checked::once::LONGEST_SAML_REQUEST.as_secs().cast_signed();
/// Longest relay state that is carried, in octets. The standard allows 80 (bindings §3.4.3); some send whole addresses.
pub(super) const LONGEST_RELAY_STATE: usize = 1000;
/// Longest id of a request, in octets.
const LONGEST_ID: usize = 256;

const PURPOSE: &str = "vestibule saml request v1";

/// A request that may be answered.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Pending {
    /// Whose, by its configured name.
    #[serde(rename = "p")]
    pub partner: String,
    /// Its id; none if the login begins here.
    #[serde(rename = "i", skip_serializing_if = "Option::is_none", default)]
    pub id: Option<String>,
    /// Where the answer goes: the index in the metadata.
    #[serde(rename = "c")]
    pub consumer: u16,
    /// When it came, in seconds since 1970.
    #[serde(rename = "s")]
    pub started: i64,
    /// A session from before is not enough.
    #[serde(rename = "f", default)]
    pub force: bool,
    /// Nothing may be shown.
    #[serde(rename = "v", default)]
    pub passive: bool,
    /// Which kind of name is wanted.
    #[serde(rename = "n", skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Which of our ways to sign in will do, by their place in the table; none where it does not say.
    #[serde(rename = "a", skip_serializing_if = "Option::is_none", default)]
    pub accepted: Option<Vec<usize>>,
    /// What goes back unchanged.
    #[serde(rename = "r", skip_serializing_if = "Option::is_none", default)]
    pub relay_state: Option<String>,
}

impl Pending {
    pub(super) fn of(partner: &ServiceProvider, request: &SsoRequest, relay_state: Option<&RelayState>, now: i64) -> Self {
        Self {
            partner: partner.name.to_string(),
            id: request.id.clone(),
            consumer: request.acs.index,
            started: now,
            force: request.force_authn,
            passive: request.is_passive,
            name: request.name_id_policy.as_ref().and_then(|policy| policy.format.clone()),
            accepted: request.requested_context.as_ref().map(accepted),
            relay_state: relay_state.map(|state| state.as_str().to_owned()),
        }
    }

    /// The request again, if its address is still in the metadata.
    fn request(&self, partner: &ServiceProvider) -> Option<SsoRequest> {
        let acs = partner.registered.role.acs.iter().find(|acs| acs.index == self.consumer)?;
        Some(SsoRequest {
            id: self.id.clone(),
            acs: acs.clone(),
            force_authn: self.force,
            is_passive: self.passive,
            name_id_policy: self.name.clone().map(|format| NameIdPolicy { format: Some(format), ..NameIdPolicy::default() }),
            requested_context: None,
            subject: None,
            signed: false,
            checks: Vec::new(),
        })
    }
}

impl Portal {
    /// GET and POST `sso`: judged here, answered by [`Portal::go_on`]. A foreign page's POST brings no cookie of ours along.
    pub(super) async fn take_request(&self, visit: &mut Visit<'_>, federation: &Federation) -> Result<Response<Full<Bytes>>, Unavailable> {
        let arrived = match Arrived::of(visit) {
            Ok(arrived) if arrived.kind() == Kind::Request => arrived,
            Ok(_) => return Ok(visit.unreadable(SamlFault::Unsupported, "expected SAMLRequest, found SAMLResponse")),
            Err(why) => return Ok(visit.unreadable(fault(why.reason()), &why.to_string())),
        };
        let Some(partner) = Self::requester(visit, federation, arrived.incoming()) else {
            return Ok(visit.unreadable(SamlFault::WrongIssuer, "no registered service provider sent it"));
        };
        let request = match federation.role.idp.validate(arrived.incoming(), &partner.registered, visit.now) {
            Ok(request) => request,
            Err(rejection) => return Ok(visit.refused(partner, &rejection)),
        };
        let too_long = arrived.relay_state().is_some_and(|state| state.as_str().len() > LONGEST_RELAY_STATE)
            || request.id.as_ref().is_some_and(|id| id.len() > LONGEST_ID);
        if too_long {
            return Ok(visit.unreadable(SamlFault::Limits, "its relay state or its id is longer than we carry"));
        }
        let pending = Pending::of(partner, &request, arrived.relay_state(), visit.now.as_second());
        Ok(reply::redirect(&self.address_of(visit, &pending)?))
    }

    /// GET `start/NAME`: the login begins here.
    pub(super) fn start(&self, visit: &mut Visit<'_>, federation: &Federation, name: &str) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(partner) = federation.partner(name).filter(|partner| partner.start && holds(partner, visit)) else {
            return Ok(visit.missing());
        };
        let request = federation.role.idp.unsolicited(&partner.registered, &Consumer::Default).map_err(unwritten)?;
        // Only what the operator wrote: a link must not choose what the application does after the login.
        let pending = Pending::of(partner, &request, partner.relay_state.as_ref(), visit.now.as_second());
        Ok(reply::redirect(&self.address_of(visit, &pending)?))
    }

    /// GET `continue`: signed in or not, what now?
    pub(super) async fn go_on(&self, visit: &mut Visit<'_>, federation: &Federation) -> Result<Response<Full<Bytes>>, Unavailable> {
        let sealed = visit.request.target.query_values("request").into_iter().next().unwrap_or_default();
        let found = self.pending(visit, &sealed).and_then(|pending| {
            let partner = federation.partner(&pending.partner).filter(|partner| holds(partner, visit))?;
            let request = pending.request(partner)?;
            Some((pending, partner, request))
        });
        let Some((pending, partner, request)) = found else {
            visit.refusal = Some((Ruling::Deny, Reason::StaleForm));
            return Ok(visit.problem(
                StatusCode::BAD_REQUEST,
                visit.words.sign_in_expired,
                visit.words.open_application,
                Some((visit.words.go_to_applications, "/")),
            ));
        };
        let identity = match self.session(visit).await? {
            Some(identity) => identity,
            None if pending.passive => {
                return self.refuse_request(visit, federation, partner, &request, &pending, status::NO_PASSIVE).await;
            }
            None => return Ok(login_first(visit, &sealed, false)),
        };
        if self.engine.admission.must_change_password(&identity.user) {
            if pending.passive {
                return self.refuse_request(visit, federation, partner, &request, &pending, status::NO_PASSIVE).await;
            }
            visit.refusal = Some((Ruling::Deny, Reason::MustChangePassword));
            return Ok(reply::redirect(&format!("/password?{}", return_to(&sealed))));
        }
        if pending.force && identity.authenticated_at.as_second() < pending.started {
            let opened_since = identity.session.as_ref().is_some_and(|session| session.opened.as_second() >= pending.started);
            return match (pending.passive, opened_since) {
                (true, _) => self.refuse_request(visit, federation, partner, &request, &pending, status::NO_PASSIVE).await,
                // Whoever vouches for them did not ask them again: asking once more would go round for ever.
                (false, true) => self.refuse_request(visit, federation, partner, &request, &pending, status::AUTHN_FAILED).await,
                (false, false) => Ok(login_first(visit, &sealed, true)),
            };
        }
        if !admits(&partner.groups, &identity) {
            visit.refusal = Some((Ruling::Deny, Reason::Policy));
            if pending.passive {
                return self.refuse_request(visit, federation, partner, &request, &pending, status::REQUEST_DENIED).await;
            }
            return Ok(visit.problem(
                StatusCode::FORBIDDEN,
                &Words::fill(visit.words.may_not_use, &partner.title),
                visit.words.think_you_should,
                Some((visit.words.go_to_applications, "/")),
            ));
        }
        self.answer_request(visit, federation, partner, &request, &pending, &identity).await
    }

    async fn answer_request(
        &self,
        visit: &mut Visit<'_>,
        federation: &Federation,
        partner: &ServiceProvider,
        request: &SsoRequest,
        pending: &Pending,
        identity: &Identity,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(class) = answer::class(&self.idps.realms, identity, pending.accepted.as_deref()) else {
            return self.refuse_request(visit, federation, partner, request, pending, status::NO_AUTHN_CONTEXT).await;
        };
        let key = self.key.derive("saml persistent names");
        let idp = &federation.role.idp;
        let Some(name_id) = answer::name(&key, &idp.entity_id, partner, pending.name.as_deref(), identity)? else {
            return self.refuse_request(visit, federation, partner, request, pending, status::INVALID_NAME_ID_POLICY).await;
        };
        if !self.first_answer(visit, partner, pending).await? {
            visit.refusal = Some((Ruling::Deny, Reason::Replayed));
            let again = format!("{PREFIX}start/{}", partner.name);
            return Ok(visit.problem(
                StatusCode::CONFLICT,
                &Words::fill(visit.words.already_done, &partner.title),
                visit.words.used_once,
                Some(if partner.start { (visit.words.open_it_again, again.as_str()) } else { (visit.words.go_to_applications, "/") }),
            ));
        }
        let login = self.login(visit, partner, identity, name_id, class)?;
        if super::saml11::is_saml11(&request.acs) {
            return self.answer_saml11(visit, federation, partner, request, pending, identity, login).await;
        }
        let issued = idp.respond(&partner.registered, request, &login, visit.now).map_err(unwritten)?;
        if let (Some(session), Some(index)) = (&identity.session, &login.authn.session_index) {
            let party = Party::ServiceProvider(partner.name.to_string());
            let known = Known { party, name: login.name_id.clone(), indexes: vec![index.clone()] };
            self.take_part(&visit.tenant.id, session, identity.user.name.as_str(), &known, visit.now).await?;
        }
        self.issued(visit, partner, identity, &login);
        self.deliver(visit, federation, partner, &request.acs, &issued, pending.relay_state.as_deref()).await
    }

    /// Of any number of answers to one request exactly one is given.
    async fn first_answer(&self, visit: &Visit<'_>, partner: &ServiceProvider, pending: &Pending) -> Result<bool, Unavailable> {
        let Some(id) = &pending.id else { return Ok(true) };
        let key = Key::of(&visit.tenant.id, StoreKind::Replay, &[b"saml request", partner.name.as_bytes(), id.as_bytes()]);
        let left = LONGEST.saturating_sub(visit.now.as_second().saturating_sub(pending.started));
        let ttl = Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)).saturating_add(Duration::from_secs(600));
        match self.store.insert(&key, &[], ttl, &[], None).await? {
            Insert::Inserted => Ok(true),
            Insert::Exists => Ok(false),
            Insert::Full => Err(Unavailable::new("store", "no room for answered requests")),
        }
    }

    /// The answer that says why nobody is named.
    async fn refuse_request(
        &self,
        visit: &mut Visit<'_>,
        federation: &Federation,
        partner: &ServiceProvider,
        request: &SsoRequest,
        pending: &Pending,
        why: &str,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        tracing::info!(request_id = %visit.id, tenant = %visit.tenant.id, partner = %partner.name, why, "a service provider was told no");
        let refusal = if why == status::REQUEST_DENIED { Reason::Policy } else { Reason::Nobody };
        visit.refusal = Some((Ruling::Deny, refusal));
        if super::saml11::is_saml11(&request.acs) {
            // Nobody asked by a message that could be answered.
            return Ok(visit.problem(
                StatusCode::FORBIDDEN,
                &Words::fill(visit.words.cannot_be_signed_in, &partner.title),
                visit.words.account_has_not,
                Some((visit.words.go_to_applications, "/")),
            ));
        }
        let code = if why == status::INVALID_NAME_ID_POLICY { status::REQUESTER } else { status::RESPONDER };
        let id = vestibule_engine::clock::random()?;
        let issued = federation.role.idp.refuse(request, Status::failure(code, why), id, visit.now).map_err(unwritten)?;
        self.deliver(visit, federation, partner, &request.acs, &issued, pending.relay_state.as_deref()).await
    }

    pub(super) fn address_of(&self, visit: &Visit<'_>, pending: &Pending) -> Result<String, Unavailable> {
        let text = serde_json::to_vec(pending).map_err(|why| Unavailable::new("request in progress", why))?;
        Ok(format!("{PREFIX}continue?request={}", self.key.seal(PURPOSE, &place(visit), text)?))
    }

    fn pending(&self, visit: &Visit<'_>, sealed: &str) -> Option<Pending> {
        let pending: Pending = serde_json::from_slice(&self.key.open(PURPOSE, &place(visit), sealed)?).ok()?;
        (0..LONGEST).contains(&visit.now.as_second().saturating_sub(pending.started)).then_some(pending)
    }

    /// The application that waits behind the login page, if it is one of these.
    pub(in crate::serve::pages) fn waiting_partner(&self, visit: &Visit<'_>, return_to: &str) -> Option<String> {
        let federation = self.idps.of(&visit.tenant.id)?;
        let sealed = return_to.strip_prefix(PREFIX)?.strip_prefix("continue?request=")?;
        Some(federation.partner(&self.pending(visit, sealed)?.partner)?.title.clone())
    }
}

/// Sealed for one tenant's portal.
fn place(visit: &Visit<'_>) -> String {
    format!("{} {}", visit.tenant.id, visit.request.host.name())
}

fn login_first(visit: &mut Visit<'_>, sealed: &str, again: bool) -> Response<Full<Bytes>> {
    visit.challenged();
    let prompt = if again { "prompt=login&" } else { "" };
    reply::redirect(&format!("/login?{prompt}{}", return_to(sealed)))
}

fn return_to(sealed: &str) -> String {
    let address = format!("{PREFIX}continue?request={sealed}");
    url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", &address).finish()
}
