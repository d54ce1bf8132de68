//! Judging a request that nobody sent, to show what would come of it.
//!
//! `explain` must change nothing and must not be a way round the limits of guessing: it runs a second engine
//! over an [`Overlay`], whose writes are forgotten save for the throttle's. A gate it closes is closed, and
//! recorded. What it shows holds no credential: of a signed token the claims, of the rest what is no secret.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{AUTHORIZATION, COOKIE, HOST, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use vestibule_engine::audit::{Event, Recorded, VERSION};
use vestibule_engine::clock::Timestamp;
use vestibule_engine::decision::{Decision, Denial};
use vestibule_engine::engine::Judgement;
use vestibule_engine::request::{Body, Channel, CheckRequest, Client, ClientKind, Host, RequestId, Target, cookies};
use vestibule_engine::route::{Access, Destination, Found};

use super::Desk;
use super::protocol::{AdminReply, Confidential, Explanation, Refusal, Synthetic, Told, Value};
use crate::store::overlay::Overlay;

/// Most header fields of a synthetic request.
const MAX_HEADERS: usize = 128;

impl Desk<'_> {
    /// What would be decided about this request, and what would come of it.
    pub(super) async fn explain(&self, synthetic: &Synthetic) -> Result<AdminReply, Refusal> {
        self.may_change()?;
        let request = read(synthetic, self.engine.clock.now())?;
        self.changed(None, "explain", format!("{} {}{}", request.method, request.host, request.target.path()));
        let overlay = Overlay::new(self.admin.expiring.clone(), self.engine.clock.clone());
        let rehearsal = self.admin.running.rehearse(Arc::new(overlay)).map_err(Refusal::Unavailable)?;
        let (judgement, decided, events) = rehearsal.judge_quietly(&request, rehearsal.routes.find(&request)).await;
        let found = judgement.found.as_ref();
        for event in events.into_iter().filter(is_real) {
            self.engine.sink.record(&Recorded {
                v: VERSION,
                time: self.engine.clock.now(),
                request_id: Some(request.id),
                client: Some(request.client.address),
                tenant: found.map(|found| found.tenant.id.clone()),
                event,
            });
        }
        let (injected, destination) = match &judgement.decision {
            Decision::Allow(grant) => {
                let told = grant.injection.set.iter().map(|(name, value)| told(name, value)).collect();
                (told, Some(destination(&grant.found)))
            }
            Decision::Challenge(_) | Decision::Deny(_) | Decision::Fail(_) => (Vec::new(), None),
        };
        Ok(AdminReply::Explanation(Box::new(Explanation {
            tenant: found.map(|found| found.tenant.id.to_string()),
            decided,
            open: found.map(|found| match found.route.access {
                Access::Open => true,
                Access::Protected => false,
            }),
            detail: detail(&judgement.decision),
            destination,
            injected,
            stripped: found.map(|found| stripped(&request, found)).unwrap_or_default(),
            opens_session: judgement.opened.is_some(),
            answers: self.answers(&request, &judgement),
        })))
    }

    fn answers(&self, request: &CheckRequest, judgement: &Judgement) -> Vec<(ClientKind, String)> {
        if matches!(judgement.decision, Decision::Allow(_)) {
            return Vec::new();
        }
        let own = request.kind();
        let mut kinds = [ClientKind::Browser, ClientKind::Script, ClientKind::Api, ClientKind::Soap11, ClientKind::Soap12];
        kinds.sort_by_key(|kind| *kind != own);
        kinds.map(|kind| (kind, self.admin.running.preview(request, judgement, kind))).into()
    }
}

/// Whether an event of a rehearsal happened: failures are counted, the rest is forgotten.
fn is_real(event: &Event) -> bool {
    match event {
        Event::GateClosed { .. } | Event::GateOpened { .. } | Event::LoginRejected { .. } | Event::DelegatedCalled(_) => true,
        Event::RequestDecided(_)
        | Event::RequestUnreadable { .. }
        | Event::LoginSucceeded { .. }
        | Event::LoginFellThrough { .. }
        | Event::EmergencyAttempted { .. }
        | Event::SessionOpened { .. }
        | Event::SessionEnded { .. }
        | Event::AnswerRefused { .. }
        | Event::MessageRefused { .. }
        | Event::AssertionIssued { .. }
        | Event::TokenIssued { .. }
        | Event::KeyRotated { .. }
        | Event::ConfigReloaded { .. }
        | Event::AuditOpened { .. }
        | Event::AuditSealed { .. }
        | Event::AdminChanged { .. } => false,
    }
}

pub(super) fn read(synthetic: &Synthetic, now: Timestamp) -> Result<CheckRequest, Refusal> {
    let invalid = |why: String| Refusal::Invalid(why);
    let method = Method::from_bytes(synthetic.method.as_bytes()).map_err(|_| invalid("that is no HTTP method".to_owned()))?;
    // Split by hand: a URL library would resolve the dot segments that a listener refuses.
    let (scheme, rest) = synthetic.url.split_once("://").unwrap_or_default();
    let channel = match scheme {
        "https" => Channel::Tls,
        "http" => Channel::Plain,
        _ => return Err(invalid("a URL begins with https:// or http://".to_owned())),
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at_checked(end).unwrap_or_default();
    let refuse = |why: vestibule_engine::request::Malformed| invalid(format!("a listener would refuse this URL: {why}"));
    let host = Host::parse(authority).map_err(refuse)?;
    let target = match target {
        "" => Target::parse("/"),
        target if target.starts_with('?') => Target::parse(&format!("/{target}")),
        target => Target::parse(target),
    };
    let target = target.map_err(refuse)?;
    if synthetic.headers.len() > MAX_HEADERS {
        return Err(invalid(format!("a request has at most {MAX_HEADERS} header fields")));
    }
    let mut headers = HeaderMap::new();
    for (name, Confidential(value)) in &synthetic.headers {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid(format!("`{}` is no header name", name.escape_debug())))?;
        if name == HOST {
            return Err(invalid("the host comes from the URL".to_owned()));
        }
        let mut value =
            HeaderValue::from_bytes(value.reveal().as_bytes()).map_err(|_| invalid(format!("the value of `{name}` is no header value")))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    let sni = (channel == Channel::Tls).then(|| host.name().to_owned());
    let address = synthetic.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let client = Client { address, channel, sni, certificate: Default::default() };
    Ok(CheckRequest { id: RequestId::new(now)?, received: now, client, method, host, target, headers, body: Body::Unread, operation: None })
}

fn destination(found: &Found) -> String {
    match &found.route.destination {
        Destination::Upstream(name) => name.to_string(),
        Destination::Own => "the gateway's own pages".to_owned(),
        Destination::Elsewhere => "wherever the proxy in front takes it".to_owned(),
    }
}

/// What the decision does not say by itself.
fn detail(decision: &Decision) -> Option<String> {
    match decision {
        Decision::Allow(_) | Decision::Challenge(_) => None,
        Decision::Fail(down) => Some(down.to_string()),
        Decision::Deny(denial) => match denial {
            Denial::Malformed(malformed) => Some(malformed.to_string()),
            Denial::NoRoute => Some("no tenant and route take this host, method and path".to_owned()),
            Denial::Rejected(_) => Some("a step ended the chain".to_owned()),
            Denial::Policy(policies) if policies.is_empty() => Some("no permit applies".to_owned()),
            Denial::Policy(policies) => {
                Some(format!("forbidden by {}", policies.iter().map(|policy| policy.as_str()).collect::<Vec<_>>().join(", ")))
            }
            Denial::PolicyError(policies) => {
                Some(format!("could not be evaluated: {}", policies.iter().map(|policy| policy.as_str()).collect::<Vec<_>>().join(", ")))
            }
            Denial::CrossOrigin => Some("a page of an origin that is not listed asks what it may send".to_owned()),
            Denial::Csrf => Some("a foreign page may have made the browser send this".to_owned()),
            Denial::MustChangePassword => Some("the password must be changed first".to_owned()),
            Denial::WeakProof => Some("the route asks for a stronger proof".to_owned()),
            Denial::Injection(why) => Some(why.clone()),
            Denial::Uncarried(_) => Some("the door it came by cannot carry what the route needs".to_owned()),
            Denial::Shed(what, _) => Some(format!("more is asked than `{}` allows", what.word())),
        },
    }
}

/// A header the application would be told, without what would open a door.
fn told(name: &HeaderName, value: &HeaderValue) -> Told {
    let secret = value.is_sensitive() || [AUTHORIZATION, PROXY_AUTHORIZATION, COOKIE].contains(name);
    let value = match value.to_str() {
        Ok(text) => match claims(text) {
            Some(claims) => Value::Claims(claims),
            None if secret => Value::Withheld,
            None => Value::Text(text.to_owned()),
        },
        Err(_) if secret => Value::Withheld,
        Err(_) => Value::Text(String::from_utf8_lossy(value.as_bytes()).into_owned()),
    };
    Told { header: name.to_string(), value }
}

/// The claims of a JWS in compact form (RFC 7515 §7.1), whatever it is prefixed with.
fn claims(text: &str) -> Option<serde_json::Value> {
    let token = text.rsplit(' ').next()?;
    let mut parts = token.split('.');
    let (header, payload, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    let json = |part: &str| serde_json::from_slice::<serde_json::Value>(&URL_SAFE_NO_PAD.decode(part).ok()?).ok();
    json(header)?.get("alg")?;
    json(payload)
}

/// Which parts of this request would never reach the application; names only.
fn stripped(request: &CheckRequest, found: &Found) -> Vec<String> {
    let Some(strip) = found.route.strip.get(&found.tenant.id) else { return Vec::new() };
    let mut headers = request.headers.clone();
    let mut target = request.target.clone();
    strip.apply(&mut headers, &mut target);
    let lost = |before: BTreeSet<String>, after: BTreeSet<String>| before.difference(&after).cloned().collect::<Vec<_>>();
    let names = |headers: &HeaderMap| headers.keys().filter(|name| *name != COOKIE).map(|name| format!("header {name}")).collect();
    let jar = |headers: &HeaderMap| cookies(headers).map(|(name, _)| format!("cookie {name}")).collect();
    let query = |target: &Target| target.query_pairs().map(|(name, _)| format!("query parameter {name}")).collect();
    let mut all = lost(names(&request.headers), names(&headers));
    all.extend(lost(jar(&request.headers), jar(&headers)));
    all.extend(lost(query(&request.target), query(&target)));
    all
}
