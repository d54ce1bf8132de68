//! Single logout (profiles §4.4): a login ends here and with everybody who took part in it, the service providers that we
//! told of it and the identity provider that told us.
//!
//! Our own sessions end first: whatever a partner does or does not do, nothing of ours lives on. Then the browser goes from
//! one to the next and comes back with a signed answer each time; who did not answer is named at the end. Who took part and
//! how far a logout has come stands in the store, where only a finished login can put it.
//!
//! What an attacker tries: to sign others out (attack 120), with a message of his own, with one of another partner, with an
//! old one. Messages are signed both ways, whatever metadata say; a partner ends only logins in which it took part, by the name
//! it knows; and each of its requests counts once. It is spent when all it asks for is done, or whoever brings it again after a
//! failure of the store would be told that it was.

mod partner;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use serde::{Deserialize, Serialize};
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Ending, Event, Reason, Ruling, SamlFault};
use vestibule_engine::clock::random;
use vestibule_engine::identity::TenantId;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::session::{LoginId, SessionRef};
use vestibule_engine::store::{Group, Insert, Key, Kind as StoreKind, digest};
use vestibule_saml::binding::{Kind, RelayState};
use vestibule_saml::names::status;
use vestibule_saml::protocol::{LogoutRequest, LogoutResponse, SessionIndex, Status, message_id};
use vestibule_saml::sp::TrustedIdp;
use vestibule_saml::{NameId, Rejection};

use self::partner::Correspondent;
use super::logout::{forget_partner, going};
use super::saml_message::Arrived;
use super::view::{Participant as Shown, SignedOutPage};
use super::way_out::WayOut;
use super::words::Words;
use super::{Portal, Visit, cookie, reply};
use crate::schemes::saml::fault;

/// Most partners that one logout leads through.
const MOST: usize = 32;
/// How long a partner may take to answer.
const WAIT: Duration = Duration::from_secs(600);
/// Keys asked of the store at once.
const PAGE: usize = 256;
/// Longest index of a session that is remembered, in octets.
const LONGEST_INDEX: usize = 1024;

/// Which of our two roles speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// To service providers.
    Idp,
    /// To identity providers.
    Sp,
}

/// Somebody who took part in a login, by its configured name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Party {
    /// It was told of the login.
    #[serde(rename = "sp")]
    ServiceProvider(String),
    /// It told us.
    #[serde(rename = "idp")]
    IdentityProvider(String),
}

impl Party {
    fn parts(&self) -> [&[u8]; 2] {
        match self {
            Self::ServiceProvider(name) => [b"sp", name.as_bytes()],
            Self::IdentityProvider(name) => [b"idp", name.as_bytes()],
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::ServiceProvider(name) | Self::IdentityProvider(name) => name,
        }
    }
}

/// What a partner calls a login: what it, or we, will say to end it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// Who.
    pub party: Party,
    /// How it calls the user.
    pub name: NameId,
    /// How it calls the session; may be several.
    pub indexes: Vec<String>,
}

/// A partner that took part in a login.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Participant {
    party: Party,
    /// The name it knows the user by.
    name: String,
    format: Option<String>,
    qualifier: Option<String>,
    sp_qualifier: Option<String>,
    /// Its indexes of the session.
    indexes: Vec<String>,
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

    /// Core §3.7.1: a request without indexes means all sessions of that name.
    fn is_meant(&self, party: &Party, request: &LogoutRequest) -> bool {
        self.party == *party
            && self.name == request.name_id.value
            && (request.session_indexes.is_empty() || request.session_indexes.iter().any(|index| self.indexes.contains(&index.0)))
    }
}

/// A logout on its way.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Run {
    /// Who asked for it, if a partner did.
    asked_by: Option<AskedBy>,
    /// Who is to be told, the last first.
    waiting: Vec<Participant>,
    /// Who is being told.
    current: Option<Party>,
    /// Who was told: titles, and whether they answered that it is done.
    told: Vec<(String, Told)>,
    /// Where it leads when all were told: to the OpenID provider, whose answer comes to no address of ours. Sealed.
    #[serde(default)]
    way_out: Option<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct AskedBy {
    party: Party,
    request: String,
    relay_state: Option<String>,
    binding: String,
}

/// What came of it at one partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Told {
    Done,
    Refused,
    Unasked,
}

impl Portal {
    /// Remembers that a partner took part in the login of `session`.
    pub(super) async fn take_part(
        &self,
        tenant: &TenantId,
        session: &SessionRef,
        user: &str,
        known: &Known,
        now: Timestamp,
    ) -> Result<(), Unavailable> {
        let participant = Participant {
            party: known.party.clone(),
            name: known.name.value.clone(),
            format: known.name.format.clone(),
            qualifier: known.name.name_qualifier.clone(),
            sp_qualifier: known.name.sp_name_qualifier.clone(),
            indexes: known.indexes.iter().filter(|index| index.len() <= LONGEST_INDEX).take(MOST).cloned().collect(),
            login: format!("{:032x}", u128::from_be_bytes(session.login.0)),
            user: user.to_owned(),
        };
        let value = serde_json::to_vec(&participant).map_err(|why| Unavailable::new("participant", why))?;
        let left = Duration::try_from(session.until.duration_since(now)).unwrap_or(Duration::ZERO);
        let groups = [login_group(tenant, session.login), name_group(tenant, &participant.party, &participant.name)];
        // Once more in the same login, a transient name is another one, and so may the index be: all must be found.
        let key = Key::of(tenant, StoreKind::Session, &[b"saml participant", &value]);
        match self.store.insert(&key, &value, left.max(Duration::from_secs(1)), &groups, None).await? {
            Insert::Inserted | Insert::Exists => Ok(()),
            Insert::Full => Err(Unavailable::new("store", "no room for participants of a login")),
        }
    }

    /// GET and POST `slo` of either role: a partner asks, or answers.
    pub(super) async fn take_logout(&self, visit: &mut Visit<'_>, role: Role) -> Result<Response<Full<Bytes>>, Unavailable> {
        let arrived = match Arrived::of(visit) {
            Ok(arrived) => arrived,
            Err(why) => return Ok(unreadable(visit, role, fault(why.reason()), &why.to_string())),
        };
        let Some(sender) = self.sender(visit, role, arrived.incoming()) else {
            return Ok(unreadable(visit, role, SamlFault::WrongIssuer, "no registered partner sent it"));
        };
        match arrived.kind() {
            Kind::Request => match sender.request(arrived.incoming(), visit.now) {
                Ok(request) => self.log_out(visit, &sender, &request, &arrived).await,
                Err(rejection) => Ok(refused(visit, &sender, &rejection)),
            },
            Kind::Response => {
                let Ok(Some(request)) = arrived.incoming().claimed_in_response_to() else {
                    return Ok(unreadable(visit, role, SamlFault::WrongInResponseTo, "an answer that does not say to what"));
                };
                let Some(mut run) = self.taken(visit, &request).await? else { return self.over(visit, &[]).await };
                let known = run.current.as_ref() == Some(&sender.party);
                let told = match sender.answer(arrived.incoming(), &request, visit.now) {
                    Ok(status) if known && status.is_success() && status.subcode.is_none() => Told::Done,
                    Ok(_) => Told::Refused,
                    Err(rejection) => {
                        // The run goes on: an answer that cannot be believed is none.
                        drop(refused(visit, &sender, &rejection));
                        Told::Refused
                    }
                };
                let title = run.current.take().and_then(|party| self.title(visit, &party)).unwrap_or_default();
                run.told.push((title, told));
                self.next(visit, run).await
            }
        }
    }

    /// Ends what a partner asks to end: logins in which it took part, under the name it gives.
    async fn log_out(
        &self,
        visit: &mut Visit<'_>,
        sender: &Correspondent<'_>,
        request: &LogoutRequest,
        arrived: &Arrived,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let once = request_key(visit, sender, &request.header.id);
        // An old one would end a login that began after it.
        if self.store.get(&once).await?.is_some() {
            let detail = format!("expected a request that did not come before, found {:?} again", request.header.id);
            note(visit, sender.role(), Some(sender.party.name()), "replay", SamlFault::Replayed, &detail);
            visit.refusal = Some((Ruling::Deny, Reason::Replayed));
            return Ok(visit.problem(
                StatusCode::CONFLICT,
                visit.words.out_already_done,
                visit.words.out_used_once,
                Some((visit.words.go_to_applications, "/")),
            ));
        }
        let asked_by = AskedBy {
            party: sender.party.clone(),
            request: request.header.id.clone(),
            relay_state: arrived.relay_state().map(|state| state.as_str().to_owned()),
            binding: arrived.binding().to_owned(),
        };
        let mut run = Run { asked_by: Some(asked_by), ..Run::default() };
        let mut ended = HashSet::new();
        for participant in self.members(&name_group(&visit.tenant.id, &sender.party, &request.name_id.value)).await? {
            let Some(login) = participant.login().filter(|_| participant.is_meant(&sender.party, request)) else { continue };
            if !ended.insert(login) {
                continue;
            }
            self.engine.sessions.end_login(&visit.tenant.id, login, &participant.user, Ending::SingleLogout, &mut visit.trail).await?;
            let others = self.participants(visit, login).await?;
            run.waiting.extend(others.into_iter().filter(|other| other.party != sender.party));
        }
        self.order(visit, &mut run.waiting);
        let response = self.next(visit, run).await?;
        // Last: what a store that fails kept from being done is done when the request comes again.
        for login in ended {
            self.store.remove_group(&login_group(&visit.tenant.id, login)).await?;
        }
        match self.store.insert(&once, &[], sender.remembered(), &[], None).await? {
            // The same one beside this did the same.
            Insert::Inserted | Insert::Exists => Ok(response),
            Insert::Full => Err(Unavailable::new("store", "no room for used requests")),
        }
    }

    /// Prepares to tell the partners of a login that has just ended, and then its OpenID provider; the address that goes on with
    /// it, if there are partners.
    pub(super) async fn tell_participants(
        &self,
        visit: &Visit<'_>,
        login: LoginId,
        out: Option<&WayOut>,
    ) -> Result<Option<String>, Unavailable> {
        let Some(portal) = &visit.tenant.portal_origin else { return Ok(None) };
        if self.idps.of(&visit.tenant.id).is_none() && self.service_provider(visit).is_none() {
            return Ok(None);
        }
        let mut waiting = self.leave(visit, login).await?;
        self.order(visit, &mut waiting);
        if waiting.is_empty() {
            return Ok(None);
        }
        let id = message_id(random()?);
        let way_out = out.map(|out| self.sealed_way_out(&visit.tenant.id, out)).transpose()?;
        self.keep_run(visit, &id, &Run { waiting, way_out, ..Run::default() }).await?;
        Ok(Some(format!("{portal}/logout?run={id}")))
    }

    /// GET `/logout?run=ID`: goes on with a logout that began with us.
    pub(super) async fn resume_logout(&self, visit: &mut Visit<'_>, id: &str) -> Result<Response<Full<Bytes>>, Unavailable> {
        match self.taken(visit, id).await? {
            // One that waits for an answer is gone on with by that answer only.
            Some(run) if run.current.is_none() => self.next(visit, run).await,
            Some(_) | None => self.over(visit, &[]).await,
        }
    }

    /// Tells the next one, or says how it went.
    async fn next(&self, visit: &mut Visit<'_>, mut run: Run) -> Result<Response<Full<Bytes>>, Unavailable> {
        while let Some(participant) = run.waiting.pop() {
            let Some(title) = self.title(visit, &participant.party) else { continue };
            let to = self.correspondent(visit, &participant.party);
            let Some((to, endpoint)) = to.as_ref().and_then(|to| Some((to, to.endpoint(None)?))) else {
                run.told.push((title, Told::Unasked));
                continue;
            };
            let id = message_id(random()?);
            let request = LogoutRequest {
                header: to.header(id.clone(), &endpoint.location, visit.now),
                name_id: participant.name_id(),
                session_indexes: participant.indexes.iter().cloned().map(SessionIndex).collect(),
                not_on_or_after: visit.now.checked_add(TrustedIdp::MAX_AGE).ok(),
                reason: None,
            };
            run.current = Some(participant.party.clone());
            self.keep_run(visit, &id, &run).await?;
            let mut response = to.send_request(visit, endpoint, &request)?;
            self.forget_ended(visit, &mut response).await?;
            return Ok(response);
        }
        match run.asked_by.take() {
            Some(asked_by) => self.answer_logout(visit, &asked_by, &run.told).await,
            None => self.last_stop(visit, &run).await,
        }
    }

    /// The answer to the partner that asked.
    async fn answer_logout(
        &self,
        visit: &mut Visit<'_>,
        asked_by: &AskedBy,
        told: &[(String, Told)],
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let to = self.correspondent(visit, &asked_by.party);
        let Some((to, endpoint)) = to.as_ref().and_then(|to| Some((to, to.endpoint(Some(&asked_by.binding))?))) else {
            return self.over(visit, told).await;
        };
        let location = endpoint.response_location.as_ref().unwrap_or(&endpoint.location);
        let all = told.iter().all(|(_, told)| *told == Told::Done);
        let answer = LogoutResponse {
            header: to.header(message_id(random()?), location, visit.now),
            in_response_to: Some(asked_by.request.clone()),
            status: Status { subcode: (!all).then(|| status::PARTIAL_LOGOUT.to_owned()), ..Status::success() },
        };
        let relay_state = asked_by.relay_state.as_deref().and_then(|state| RelayState::received(state).ok());
        let mut response = to.send_answer(visit, endpoint, location, &answer, relay_state)?;
        self.forget_ended(visit, &mut response).await?;
        Ok(response)
    }

    /// All were told: on to the OpenID provider, if there is one. Whoever has to read that somebody did not confirm is led there
    /// by a link, not at once.
    async fn last_stop(&self, visit: &mut Visit<'_>, run: &Run) -> Result<Response<Full<Bytes>>, Unavailable> {
        let out = run.way_out.as_ref().and_then(|sealed| self.opened_way_out(&visit.tenant.id, sealed));
        match out {
            Some(out) if run.told.iter().all(|(_, told)| *told == Told::Done) => {
                let mut response = going(visit, &out);
                self.forget_ended(visit, &mut response).await?;
                Ok(response)
            }
            out => self.shown(visit, &run.told, out.as_ref()).await,
        }
    }

    async fn over(&self, visit: &mut Visit<'_>, told: &[(String, Told)]) -> Result<Response<Full<Bytes>>, Unavailable> {
        self.shown(visit, told, None).await
    }

    /// The end: where one is signed out, where that could not be made sure, and where it is still to be done.
    async fn shown(
        &self,
        visit: &mut Visit<'_>,
        told: &[(String, Told)],
        out: Option<&WayOut>,
    ) -> Result<Response<Full<Bytes>>, Unavailable> {
        let participants: Vec<Shown<'_>> = told
            .iter()
            .map(|(title, told)| Shown { title, is_out: *told == Told::Done, cannot_be_asked: *told == Told::Unasked })
            .collect();
        let page = SignedOutPage {
            shell: visit.shell(),
            participants: &participants,
            onward: out.map(|out| (out.to.as_str(), out.location.as_str())),
        };
        let mut response = reply::page(visit, StatusCode::OK, &page);
        self.forget_ended(visit, &mut response).await?;
        Ok(response)
    }

    /// Takes the cookies of a session that is over. One that lives is not what the partner meant.
    async fn forget_ended(&self, visit: &mut Visit<'_>, response: &mut Response<Full<Bytes>>) -> Result<(), Unavailable> {
        if self.session(visit).await?.is_none() {
            reply::set_cookie(response, &cookie::clear_session(visit.request));
            forget_partner(visit, response);
        }
        Ok(())
    }

    /// In which order partners are told: service providers first, since the identity provider's answer may lead elsewhere.
    fn order(&self, visit: &Visit<'_>, waiting: &mut Vec<Participant>) {
        waiting.retain(|participant| self.wants_logouts(visit, &participant.party));
        waiting.sort_by_key(|participant| matches!(participant.party, Party::ServiceProvider(_)));
        waiting.truncate(MOST);
    }

    /// Everybody who took part in a login; from now on nobody does.
    async fn leave(&self, visit: &Visit<'_>, login: LoginId) -> Result<Vec<Participant>, Unavailable> {
        let found = self.participants(visit, login).await?;
        self.store.remove_group(&login_group(&visit.tenant.id, login)).await?;
        Ok(found)
    }

    /// Everybody who takes part in a login.
    async fn participants(&self, visit: &Visit<'_>, login: LoginId) -> Result<Vec<Participant>, Unavailable> {
        let found = self.members(&login_group(&visit.tenant.id, login)).await?;
        // Told once each: of several names in one login the last, with all its indexes.
        let mut participants: Vec<Participant> = Vec::new();
        for participant in found.into_iter().rev() {
            match participants.iter_mut().find(|known| known.party == participant.party) {
                Some(known) if known.name == participant.name => {
                    let new: Vec<_> = participant.indexes.into_iter().filter(|index| !known.indexes.contains(index)).collect();
                    known.indexes.extend(new);
                }
                Some(_) => {}
                None => participants.push(participant),
            }
        }
        Ok(participants)
    }

    async fn members(&self, group: &Group) -> Result<Vec<Participant>, Unavailable> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let keys = self.store.list(group, after.as_ref(), PAGE).await?;
            for key in &keys {
                if let Some((value, _)) = self.store.get(key).await? {
                    found.extend(serde_json::from_slice::<Participant>(&value));
                }
            }
            match keys.last() {
                Some(last) if keys.len() == PAGE => after = Some(last.clone()),
                Some(_) | None => return Ok(found),
            }
        }
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

/// What the audit learns of a refused message.
fn note(visit: &mut Visit<'_>, role: Role, partner: Option<&str>, check: &str, reason: SamlFault, detail: &str) {
    visit.trail.events.push(Event::MessageRefused {
        scheme: match role {
            Role::Idp => "idp".into(),
            Role::Sp => visit.found.tenant.chain.login_scheme().map_or_else(|| "saml".into(), |scheme| scheme.name().clone()),
        },
        partner: partner.map(str::to_owned),
        check: check.to_owned(),
        reason,
        detail: detail.to_owned(),
    });
}

/// A message that cannot be read, or is of nobody we know.
fn unreadable(visit: &mut Visit<'_>, role: Role, reason: SamlFault, why: &str) -> Response<Full<Bytes>> {
    note(visit, role, None, "binding", reason, why);
    visit.refusal = Some((Ruling::Deny, Reason::Saml(reason)));
    visit.problem(StatusCode::BAD_REQUEST, visit.words.out_unread, visit.words.out_not_done, Some((visit.words.sign_out_here, "/logout")))
}

/// A message that a check refused.
fn refused(visit: &mut Visit<'_>, sender: &Correspondent<'_>, rejection: &Rejection) -> Response<Full<Bytes>> {
    let check = rejection.checks.iter().find(|check| !check.ok()).map_or("document", |check| check.name);
    let reason = fault(rejection.reason);
    note(visit, sender.role(), Some(sender.party.name()), check, reason, &rejection.detail);
    visit.refusal = Some((Ruling::Deny, Reason::Saml(reason)));
    visit.problem(
        StatusCode::FORBIDDEN,
        &Words::fill(visit.words.out_refused, sender.title),
        visit.words.out_not_done,
        Some((visit.words.sign_out_here, "/logout")),
    )
}

fn login_group(tenant: &TenantId, login: LoginId) -> Group {
    Group::of(tenant, StoreKind::Session, format_args!("saml:{login}"))
}

fn name_group(tenant: &TenantId, party: &Party, name: &str) -> Group {
    let [role, partner] = party.parts();
    let octets = digest(&[role, partner, name.as_bytes()]);
    let (first, second) = octets.split_at(16);
    let [first, second] = [first, second].map(|half| half.iter().fold(0_u128, |number, octet| number << 8 | u128::from(*octet)));
    Group::of(tenant, StoreKind::Session, format_args!("saml-name:{first:032x}{second:032x}"))
}

/// What remembers that a request came.
fn request_key(visit: &Visit<'_>, sender: &Correspondent<'_>, id: &str) -> Key {
    let [role, name] = sender.party.parts();
    Key::of(&visit.tenant.id, StoreKind::Replay, &[b"saml logout request", role, name, id.as_bytes()])
}

fn run_key(visit: &Visit<'_>, id: &str) -> Key {
    Key::of(&visit.tenant.id, StoreKind::Handoff, &[b"saml logout", id.as_bytes()])
}
