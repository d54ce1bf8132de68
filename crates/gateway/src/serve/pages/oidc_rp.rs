//! The portal as an OpenID Connect relying party: what becomes of answers, and of sessions that are over elsewhere.
//!
//! What an attacker tries: to have a victim's browser bring the attacker's code (login CSRF), to bring a caught one, to bring it
//! twice, to learn from our answer which check failed, to sign others out. A refused answer says one thing to the client, and
//! everything to the audit.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Event, Reason};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::store::{Insert, Key, Kind};
use vestibule_oidc::logout::FRESH;
use vestibule_oidc::reason::{self, Rejection};
use vestibule_oidc::rp::{Answer, Login};

use super::guard::Form;
use super::journey::{self, Journeys};
use super::login::{Vouched, Wish};
use super::saml_sp::{sorry, too_weak, wish_of};
use super::{Portal, Visit, reply};
use crate::schemes::oidc::{Failure, JWKS, OpSession, OpenidProvider, RelyingParty, SESSION, fault};

impl Portal {
    /// The relying party of this tenant.
    pub(super) fn relying_party(&self, visit: &Visit<'_>) -> Option<&Arc<RelyingParty>> {
        self.relying_parties.get(&visit.tenant.id)
    }

    /// What else of a login must be secret is derived from its name.
    pub(super) fn seed(&self, login: &str) -> [u8; 32] {
        self.key.derive(&format!("login {login}"))
    }

    /// Everything below `/oidc/rp/`.
    pub(super) async fn oidc(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(rp) = self.relying_party(visit).cloned() else { return Ok(visit.missing()) };
        let (path, method) = (visit.request.target.path(), &visit.request.method);
        if path == JWKS {
            let read = matches!(*method, Method::GET | Method::HEAD);
            return Ok(if read { reply::jwks(rp.keys().into()) } else { visit.not_allowed("GET, HEAD") });
        }
        if let Some(provider) = rp.answered_by(path) {
            // Not HEAD: an answer is spent by reading it.
            let provider = provider.clone();
            return if *method == Method::GET { self.answered(visit, &rp, &provider).await } else { Ok(visit.not_allowed("GET")) };
        }
        if let Some(provider) = rp.ended_by(path) {
            let provider = provider.clone();
            return if *method == Method::POST { self.ended(visit, &rp, &provider).await } else { Ok(visit.not_allowed("POST")) };
        }
        Ok(visit.missing())
    }

    /// GET `/oidc/rp/callback/NAME`: a provider's answer.
    async fn answered(
        &self,
        visit: &mut Visit<'_>,
        rp: &Arc<RelyingParty>,
        provider: &Arc<OpenidProvider>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let pairs: Vec<(String, String)> = visit.request.target.query_pairs().collect();
        let journeys = Journeys::of(visit.request, &self.key, visit.now);
        let former = self.session(visit).await?;
        let answer = match Answer::read(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str()))) {
            Ok(answer) => answer,
            Err(rejection) => return Ok(refused(visit, rp, provider, rejection, &Wish::default())),
        };
        // Of the browser that began it, with the provider at whose address this is (RFC 9700 §4.4).
        let journey = journeys.find(&answer.state).filter(|journey| journey.provider == provider.name());
        let Some(journey) = journey else {
            let rejection = state("no login of this browser with this provider is under way");
            return Ok(refused(visit, rp, provider, rejection, &Wish::default()));
        };
        let wish = wish_of(visit, journey);
        visit.wear(journey.return_to.as_deref());
        if journey.arrived.is_some() {
            // The back button, or an address loaded twice: the browser has been where this leads.
            return match former {
                Some(identity) => self.onward(visit, &identity, &wish).await,
                None => Ok(refused(visit, rp, provider, state("this login was finished before"), &wish)),
            };
        }
        let login = Login::new(&journey.id, &self.seed(&journey.id));
        let began = Timestamp::from_second(journey.started).unwrap_or(visit.now);
        let vouched = match rp.finish(provider, answer, &login, began, journey.anew, visit.now).await {
            Ok(vouched) => vouched,
            Err(Failure::Unavailable(down)) => return Err(down),
            Err(Failure::Refused(rejection)) => return Ok(refused(visit, rp, provider, rejection, &wish)),
        };
        let session = OpSession::name()?;
        let (proof, account) = match rp.proof(provider, &vouched, &session, &visit.tenant.id, visit.now).await? {
            Ok(found) => found,
            Err(reason) => return Ok(turned_away(visit, rp, provider, reason, &wish)),
        };
        let identity = match self.admit_vouched(visit, proof, account).await? {
            Ok(identity) => identity,
            // The same answer twice, and the first has signed somebody in: nothing is wrong.
            Err(Reason::Replayed) if let Some(former) = &former => return self.onward(visit, former, &wish).await,
            Err(reason) => return Ok(turned_away(visit, rp, provider, reason, &wish)),
        };
        if identity.level < journey.level {
            return Ok(too_weak(visit, Some((rp.name(), &wish))));
        }
        let mut response = match former {
            // Ten tabs make one login.
            Some(former) if self.is_same_login(&former, &identity) && former.level >= identity.level && !journey.anew => {
                self.onward(visit, &former, &wish).await?
            }
            former => {
                let user = identity.user.id;
                // Before our session opens: whatever ends the one there from now on finds it.
                let (tenant, life) = (&visit.tenant.id, self.engine.sessions.settings().absolute);
                rp.sessions().keep(tenant, &OpSession::new(&session, provider, &vouched, user), life).await?;
                let response = self.sign_in_as(visit, identity, provider.name().to_owned(), former, Vouched::default(), &wish).await?;
                if !rp.sessions().is_kept(&visit.tenant.id, &session).await? {
                    let stated = (SESSION, session.as_str());
                    self.engine.sessions.end_vouched(&visit.tenant.id, user, provider.issuer(), stated, &mut visit.trail).await?;
                    return Ok(refused(visit, rp, provider, state("the session there ended meanwhile"), &wish));
                }
                response
            }
        };
        reply::set_cookie(&mut response, &journey::arrived(journey, visit.request, &self.key, visit.now)?);
        Ok(response)
    }

    /// POST `/oidc/rp/logout/NAME`: a provider says that a session is over (Back-Channel Logout 1.0 §2.5).
    async fn ended(
        &self,
        visit: &mut Visit<'_>,
        rp: &Arc<RelyingParty>,
        provider: &Arc<OpenidProvider>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let malformed = || Rejection { check: "form", reason: reason::Reason::Malformed, detail: "`logout_token` is missing".to_owned() };
        let form = Form::read(visit.request).unwrap_or_default();
        let Some(token) = form.secret("logout_token") else {
            note(visit, rp, provider, malformed());
            return Ok(told(StatusCode::BAD_REQUEST));
        };
        let token = match rp.over(provider, token.reveal(), visit.now).await {
            Ok(token) => token,
            Err(Failure::Unavailable(down)) => return Err(down),
            Err(Failure::Refused(rejection)) => {
                note(visit, rp, provider, rejection);
                return Ok(told(StatusCode::BAD_REQUEST));
            }
        };
        let token = token.token();
        let issuer = provider.settings().issuer.as_bytes();
        let once = Key::of(&visit.tenant.id, Kind::Replay, &[b"logout token", issuer, token.id.as_bytes()]);
        let life = u64::try_from(FRESH).unwrap_or_default() + 2 * u64::from(provider.settings().skew) + 1;
        match self.store.insert(&once, &[], Duration::from_secs(life), &[], None).await? {
            Insert::Inserted => {}
            Insert::Exists => {
                visit.rejected_by(rp.name(), None, Reason::Replayed);
                return Ok(told(StatusCode::BAD_REQUEST));
            }
            Insert::Full => return Err(Unavailable::new("store", "no room for used logout tokens")),
        }
        let ended = rp.sessions().end(&visit.tenant.id, provider, token, &self.engine.sessions, &mut visit.trail).await;
        if let Err(down) = ended {
            // The provider may say it again.
            self.store.take(&once).await?;
            return Err(down);
        }
        Ok(told(StatusCode::OK))
    }
}

fn state(detail: &str) -> Rejection {
    Rejection { check: "state", reason: reason::Reason::WrongState, detail: detail.to_owned() }
}

/// What the audit learns of a refused answer.
fn note(visit: &mut Visit<'_>, rp: &RelyingParty, provider: &OpenidProvider, rejection: Rejection) {
    let reason = fault(rejection.reason);
    visit.trail.events.push(Event::AnswerRefused {
        scheme: rp.name().clone(),
        partner: Some(provider.name().to_owned()),
        check: rejection.check.to_owned(),
        reason,
        detail: rejection.detail,
    });
    visit.rejected_by(rp.name(), None, Reason::Oidc(reason));
}

fn refused(
    visit: &mut Visit<'_>,
    rp: &RelyingParty,
    provider: &OpenidProvider,
    rejection: Rejection,
    wish: &Wish,
) -> Response<Full<Bytes>> {
    note(visit, rp, provider, rejection);
    sorry(visit, wish)
}

/// Somebody a provider vouches for, and who may not enter here.
fn turned_away(visit: &mut Visit<'_>, rp: &RelyingParty, provider: &OpenidProvider, reason: Reason, wish: &Wish) -> Response<Full<Bytes>> {
    tracing::info!(request_id = %visit.id, openid_provider = provider.name(), ?reason, "somebody an OpenID provider vouches for may not enter");
    visit.rejected_by(rp.name(), None, reason);
    sorry(visit, wish)
}

/// The answer to a provider (Back-Channel Logout 1.0 §2.8).
fn told(status: StatusCode) -> Response<Full<Bytes>> {
    let text = if status.is_success() { &b""[..] } else { br#"{"error":"invalid_request"}"# };
    let mut response = Response::new(Full::new(Bytes::from_static(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if !text.is_empty() {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    response
}
