//! Single logout (profiles §4.4): a login ends here and at every application that took part in it.
//!
//! Our own sessions end first: whatever an application does or does not do, nothing of ours lives on. Then the browser goes
//! from one to the next and comes back with a signed answer each time; who did not answer is named at the end. Who took part
//! and how far a logout has come stands in the store, where only a finished login can put it.

use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use vestibule_engine::Timestamp;
use vestibule_engine::audit::Ending;
use vestibule_engine::clock::random;
use vestibule_engine::identity::Identity;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::session::LoginId;
use vestibule_engine::store::{Group, Insert, Key, Kind as StoreKind, digest};
use vestibule_saml::binding::{Kind, PostForm, RelayState, signed_redirect_url};
use vestibule_saml::idp::Login;
use vestibule_saml::names::{binding, status};
use vestibule_saml::protocol::{Header, LogoutRequest, LogoutResponse, SessionIndex, Status, message_id};
use vestibule_saml::{NameId, Sendable as _};
use vestibule_xmlsec::DecryptionKeys;

use super::answer::{go, post};
use super::{Federation, PREFIX, unwritten};
use crate::config::checked::ServiceProvider;
use crate::serve::pages::view::{Participant as Shown, SignedOutPage};
use crate::serve::pages::{Portal, Visit, cookie, reply};

/// Most applications that one login leads through at its end.
const MOST: usize = 32;
/// How long an application may take to answer.
const WAIT: Duration = Duration::from_secs(600);

/// An application that took part in a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Participant {
    /// Its configured name.
    partner: String,
    /// The name it knows the user by.
    name: String,
    format: Option<String>,
    qualifier: Option<String>,
    sp_qualifier: Option<String>,
    /// Its index of the session.
    index: String,
    /// The login, as a hexadecimal number.
    login: String,
    /// Our name of the user.
    user: String,
}

impl Participant {
    fn name_id(&self) -> NameId {
        NameId {
            value: self.name.clone(),
            format: self.format.clone(),
            name_qualifier: self.qualifier.clone(),
            sp_name_qualifier: self.sp_qualifier.clone(),
            sp_provided_id: None,
        }
    }

    fn login(&self) -> Option<LoginId> {
        u128::from_str_radix(&self.login, 16).ok().map(|number| LoginId(number.to_be_bytes()))
    }
}

/// A logout on its way.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Run {
    /// Who asked for it, if an application did.
    asked_by: Option<AskedBy>,
    /// Who is to be told.
    waiting: Vec<Participant>,
    /// Who is being told.
    current: Option<String>,
    /// Who was told: titles, and whether they answered that it is done.
    told: Vec<(String, Told)>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct AskedBy {
    partner: String,
    request: String,
    relay_state: Option<String>,
    binding: String,
}

/// What came of it at one application.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    Done,
    Refused,
    Unasked,
}

impl Portal {
    /// Remembers that an application took part in a login.
    pub(super) async fn take_part(
        &self,
        visit: &Visit<'_>,
        partner: &ServiceProvider,
        identity: &Identity,
        login: &Login,
    ) -> Result<(), Unavailable> {
        let (Some(session), Some(index)) = (&identity.session, &login.authn.session_index) else { return Ok(()) };
        let participant = Participant {
            partner: partner.name.to_string(),
            name: login.name_id.value.clone(),
            format: login.name_id.format.clone(),
            qualifier: login.name_id.name_qualifier.clone(),
            sp_qualifier: login.name_id.sp_name_qualifier.clone(),
            index: index.clone(),
            login: format!("{:032x}", u128::from_be_bytes(session.login.0)),
            user: identity.user.name.to_string(),
        };
        let value = serde_json::to_vec(&participant).map_err(|why| Unavailable::new("participant", why))?;
        let left = Duration::try_from(session.until.duration_since(visit.now)).unwrap_or(Duration::ZERO);
        let groups = [login_group(visit, session.login), name_group(visit, partner, &participant.name)];
        // Once more in the same login, a transient name is another one: both must be found.
        let key = participant_key(visit, partner, index, &participant.name);
        match self.store.insert(&key, &value, left.max(Duration::from_secs(1)), &groups, None).await? {
            Insert::Inserted | Insert::Exists => Ok(()),
            Insert::Full => Err(Unavailable::new("store", "no room for participants of a login")),
        }
    }

    /// GET and POST `slo`: an application asks, or answers.
    pub(super) async fn take_logout(&self, visit: &mut Visit<'_>, federation: &Federation) -> Result<Response<Full<Bytes>>, Unavailable> {
        let arrived = match Self::arrived(visit) {
            Ok(arrived) => arrived,
            Err(why) => return Ok(visit.unreadable(&why.to_string())),
        };
        let Some(partner) = Self::sender(visit, federation, arrived.incoming()) else {
            return Ok(visit.unreadable("no registered service provider sent it"));
        };
        let own = federation.at("slo");
        let sender = partner.registered.partner();
        match arrived.kind() {
            Kind::Request => {
                let request = match sender.logout_request(arrived.incoming(), &[&own], &DecryptionKeys::new(), visit.now) {
                    Ok(admitted) => admitted.message,
                    Err(rejection) => return Ok(visit.refused(partner, &rejection)),
                };
                let asked_by = AskedBy {
                    partner: partner.name.to_string(),
                    request: request.header.id.clone(),
                    relay_state: arrived.relay_state().map(|state| state.as_str().to_owned()),
                    binding: arrived.binding().to_owned(),
                };
                self.log_out(visit, federation, partner, &request, asked_by).await
            }
            Kind::Response => {
                let Ok(Some(request)) = arrived.incoming().claimed_in_response_to() else {
                    return Ok(visit.unreadable("an answer that does not say to what"));
                };
                let Some(mut run) = self.taken(visit, &request).await? else { return Ok(over(visit, &[])) };
                let known = run.current.as_deref() == Some(&*partner.name);
                let answer = sender.logout_response(arrived.incoming(), &[&own], &request, visit.now);
                let told = match answer {
                    Ok(admitted) if known && admitted.message.status.is_success() && admitted.message.status.subcode.is_none() => {
                        Told::Done
                    }
                    Ok(_) => Told::Refused,
                    Err(rejection) => {
                        // The run goes on: an answer that cannot be believed is none.
                        drop(visit.refused(partner, &rejection));
                        Told::Refused
                    }
                };
                let title = run.current.take().and_then(|name| federation.partner(&name)).map_or_else(String::new, |one| one.title.clone());
                run.told.push((title, told));
                self.next(visit, federation, run).await
            }
        }
    }

    /// Ends what an application asks to end: logins in which it took part, under the name it gives.
    async fn log_out(
        &self,
        visit: &mut Visit<'_>,
        federation: &Federation,
        partner: &ServiceProvider,
        request: &LogoutRequest,
        asked_by: AskedBy,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let named = self.members(&name_group(visit, partner, &request.name_id.value)).await?;
        let meant = |one: &Participant| {
            *one.partner == *partner.name
                && one.name == request.name_id.value
                && (request.session_indexes.is_empty() || request.session_indexes.iter().any(|index| index.0 == one.index))
        };
        let mut run = Run { asked_by: Some(asked_by), ..Run::default() };
        for participant in named.into_iter().filter(meant).take(MOST) {
            let Some(login) = participant.login() else { continue };
            self.engine.sessions.end_login(&visit.tenant.id, login, &participant.user, Ending::SingleLogout, &mut visit.trail).await?;
            let others = self.leave(visit, login).await?;
            run.waiting.extend(others.into_iter().filter(|other| *other.partner != *partner.name));
        }
        run.waiting.truncate(MOST);
        self.next(visit, federation, run).await
    }

    /// Prepares to tell the applications of a login that has just ended; the address that goes on with it, if there are any.
    pub(in crate::serve::pages) async fn tell_participants(
        &self,
        visit: &Visit<'_>,
        login: LoginId,
    ) -> Result<Option<String>, Unavailable> {
        let Some(federation) = self.idps.of(&visit.tenant.id) else { return Ok(None) };
        let mut waiting = self.leave(visit, login).await?;
        if waiting.is_empty() {
            return Ok(None);
        }
        waiting.truncate(MOST);
        let id = message_id(random()?);
        self.keep_run(visit, &id, &Run { waiting, ..Run::default() }).await?;
        Ok(Some(format!("{}{PREFIX}logout?run={id}", federation.portal)))
    }

    /// GET `logout`: goes on with a logout that began with us.
    pub(super) async fn resume_logout(&self, visit: &mut Visit<'_>, federation: &Federation) -> Result<Response<Full<Bytes>>, Unavailable> {
        let id = visit.request.target.query_values("run").into_iter().next().unwrap_or_default();
        match self.taken(visit, &id).await? {
            // One that waits for an answer is gone on with by that answer only.
            Some(run) if run.current.is_none() => self.next(visit, federation, run).await,
            Some(_) | None => Ok(over(visit, &[])),
        }
    }

    /// Tells the next one, or says how it went.
    async fn next(&self, visit: &mut Visit<'_>, federation: &Federation, mut run: Run) -> Result<Response<Full<Bytes>>, Unavailable> {
        while let Some(participant) = run.waiting.pop() {
            let Some(partner) = federation.partner(&participant.partner) else { continue };
            let endpoints = &partner.registered.role.slo;
            let by = |wanted: &str| endpoints.iter().find(|endpoint| endpoint.binding == wanted);
            let Some(endpoint) = by(binding::REDIRECT).or_else(|| by(binding::POST)) else {
                run.told.push((partner.title.clone(), Told::Unasked));
                continue;
            };
            let id = message_id(random()?);
            let request = LogoutRequest {
                header: header(federation, id.clone(), endpoint.location.clone(), visit.now),
                name_id: participant.name_id(),
                session_indexes: vec![SessionIndex(participant.index.clone())],
                not_on_or_after: visit.now.checked_add(jiff::SignedDuration::from_mins(5)).ok(),
                reason: None,
            };
            run.current = Some(participant.partner.clone());
            self.keep_run(visit, &id, &run).await?;
            let key = &federation.role.idp.key;
            let mut response = if endpoint.binding == binding::REDIRECT {
                let url = signed_redirect_url(&endpoint.location, Kind::Request, &request.unsigned().map_err(unwritten)?, None, key);
                go(visit, &url.map_err(unwritten)?, &partner.title, LEAVING)
            } else {
                let signed = request.signed(key).map_err(unwritten)?;
                post(visit, PostForm::new(&endpoint.location, Kind::Request, &signed, None).map_err(unwritten)?, &partner.title, LEAVING)
            };
            reply::set_cookie(&mut response, &cookie::clear_session(visit.request));
            return Ok(response);
        }
        match run.asked_by.take() {
            Some(asked_by) => Self::answer_logout(visit, federation, &asked_by, &run.told),
            None => Ok(over(visit, &run.told)),
        }
    }

    /// The answer to the application that asked.
    fn answer_logout(
        visit: &Visit<'_>,
        federation: &Federation,
        asked_by: &AskedBy,
        told: &[(String, Told)],
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(partner) = federation.partner(&asked_by.partner) else { return Ok(over(visit, told)) };
        let endpoints = &partner.registered.role.slo;
        let by = |wanted: &str| endpoints.iter().find(|endpoint| endpoint.binding == wanted);
        let Some(endpoint) = by(&asked_by.binding).or_else(|| by(binding::REDIRECT)).or_else(|| by(binding::POST)) else {
            return Ok(over(visit, told));
        };
        let location = endpoint.response_location.as_ref().unwrap_or(&endpoint.location);
        let all = told.iter().all(|(_, told)| *told == Told::Done);
        let answer = LogoutResponse {
            header: header(federation, message_id(random()?), location.clone(), visit.now),
            in_response_to: Some(asked_by.request.clone()),
            status: Status { subcode: (!all).then(|| status::PARTIAL_LOGOUT.to_owned()), ..Status::success() },
        };
        let relay_state = asked_by.relay_state.as_deref().and_then(|state| RelayState::received(state).ok());
        let key = &federation.role.idp.key;
        let mut response = if endpoint.binding == binding::REDIRECT {
            let url = signed_redirect_url(location, Kind::Response, &answer.unsigned().map_err(unwritten)?, relay_state.as_ref(), key);
            reply::redirect(&url.map_err(unwritten)?)
        } else {
            let signed = answer.signed(key).map_err(unwritten)?;
            post(visit, PostForm::new(location, Kind::Response, &signed, relay_state).map_err(unwritten)?, &partner.title, BACK)
        };
        reply::set_cookie(&mut response, &cookie::clear_session(visit.request));
        Ok(response)
    }

    /// Everybody who took part in a login; from now on nobody does.
    async fn leave(&self, visit: &Visit<'_>, login: LoginId) -> Result<Vec<Participant>, Unavailable> {
        let group = login_group(visit, login);
        let mut found = self.members(&group).await?;
        self.store.remove_group(&group).await?;
        // Told once each: of several names in one login the last.
        found.reverse();
        let mut told = std::collections::HashSet::new();
        found.retain(|participant| told.insert(participant.partner.clone()));
        Ok(found)
    }

    async fn members(&self, group: &Group) -> Result<Vec<Participant>, Unavailable> {
        let mut found = Vec::new();
        for key in self.store.list(group, None, MOST).await? {
            if let Some((value, _)) = self.store.get(&key).await? {
                found.extend(serde_json::from_slice::<Participant>(&value));
            }
        }
        Ok(found)
    }

    async fn keep_run(&self, visit: &Visit<'_>, id: &str, run: &Run) -> Result<(), Unavailable> {
        let value = serde_json::to_vec(run).map_err(|why| Unavailable::new("logout", why))?;
        match self.store.insert(&run_key(visit, id), &value, WAIT, &[], None).await? {
            Insert::Inserted => Ok(()),
            Insert::Exists | Insert::Full => Err(Unavailable::new("store", "no room for logouts")),
        }
    }

    async fn taken(&self, visit: &Visit<'_>, id: &str) -> Result<Option<Run>, Unavailable> {
        let value = self.store.take(&run_key(visit, id)).await?;
        Ok(value.and_then(|value| serde_json::from_slice(&value).ok()))
    }
}

/// What the page says on the way to an application that is told.
const LEAVING: &str = "You are signed out here. Your browser goes there to sign you out, too.";
/// What the page says on the way back to the application that asked.
const BACK: &str = "You are signed out. Your browser goes back there.";

fn header(federation: &Federation, id: String, destination: String, now: Timestamp) -> Header {
    Header { id, issue_instant: now, destination: Some(destination), issuer: federation.role.idp.entity_id.clone() }
}

/// The end: where one is signed out, and where that could not be made sure.
fn over(visit: &Visit<'_>, told: &[(String, Told)]) -> Response<Full<Bytes>> {
    let participants: Vec<Shown<'_>> =
        told.iter().map(|(title, told)| Shown { title, is_out: *told == Told::Done, cannot_be_asked: *told == Told::Unasked }).collect();
    let page = SignedOutPage { shell: visit.shell(), participants: &participants };
    let mut response = reply::page(visit, StatusCode::OK, &page);
    reply::set_cookie(&mut response, &cookie::clear_session(visit.request));
    response
}

fn participant_key(visit: &Visit<'_>, partner: &ServiceProvider, index: &str, name: &str) -> Key {
    let parts: [&[u8]; 4] = [b"saml participant", partner.name.as_bytes(), index.as_bytes(), name.as_bytes()];
    Key::of(&visit.tenant.id, StoreKind::Session, &parts)
}

fn login_group(visit: &Visit<'_>, login: LoginId) -> Group {
    Group::of(&visit.tenant.id, StoreKind::Session, format_args!("saml:{login}"))
}

fn name_group(visit: &Visit<'_>, partner: &ServiceProvider, name: &str) -> Group {
    let octets = digest(&[partner.name.as_bytes(), name.as_bytes()]);
    let text: String = octets.iter().map(|octet| format!("{octet:02x}")).collect();
    Group::of(&visit.tenant.id, StoreKind::Session, format_args!("saml-name:{text}"))
}

fn run_key(visit: &Visit<'_>, id: &str) -> Key {
    Key::of(&visit.tenant.id, StoreKind::Handoff, &[b"saml logout", id.as_bytes()])
}
