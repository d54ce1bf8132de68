//! The hand-over of a login from the portal to an application's host, so that several hosts share one login.
//!
//! ```text
//! application ─▶ portal /login?return_to&bind ─▶ application /.vestibule/landing?code&seal&return_to ─▶ return_to
//! ```
//!
//! The code works once, for 60 s, on one host. That does not keep an attacker from sending his own code to a victim, who then
//! works in his account (login CSRF). So the browser first gets a nonce from the application's host in a cookie; its hash
//! travels through the login as `bind`, and the portal seals code, host and `bind` together. A landing without the matching
//! cookie is no error but the first half of the journey: it sends the browser to the portal, once.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::Ending;
use vestibule_engine::clock::random;
use vestibule_engine::identity::Identity;
use vestibule_engine::request::{CheckRequest, Host};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::tenant::Tenant;

use super::view::{Display, DonePage, Dress};
use super::{Portal, Visit, cookie, reply};
use crate::serve::return_to::ReturnTo;

const PATH: &str = "/.vestibule/landing";

/// Characters of a nonce (256 bits) and of its hash.
const BIND: usize = 43;

impl Portal {
    /// GET `/.vestibule/landing`.
    pub(super) async fn land(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let request = visit.request;
        let first = |name: &str| request.target.query_values(name).into_iter().next();
        let return_to = first("return_to").and_then(|raw| ReturnTo::parse(&raw, &visit.origin, visit.tenant));
        // Only to this very host: the code was for it. The portal leads on.
        let portal = visit.dress == Dress::Linked;
        let return_to = return_to.filter(|to| portal || matches!(to, ReturnTo::Here(_))).unwrap_or(ReturnTo::Here("/".to_owned()));
        let onward = match &return_to {
            ReturnTo::Here(path) => path.clone(),
            ReturnTo::Application { origin, .. } => address(origin, &return_to, visit.chosen()),
        };
        let door = first("door").is_some_and(|door| door == "1");
        let again = first("round").is_some_and(|round| round == "2");

        if let (Some(code), Some(seal)) = (first("code"), first("seal"))
            && let Some(nonce) = request.cookies(cookie::landing_name(request)).find(|nonce| is_bind(nonce))
            && self.key.checks(&seal, "landing", &parts(visit.tenant, request.host.name(), &code, &hash(nonce)))
        {
            let host = request.host.name();
            let former = self.session(visit).await?;
            match self.engine.sessions.redeem(&visit.tenant.id, host, &code, visit.now, &mut visit.trail).await? {
                Ok(opened) => {
                    let stale = former.filter(|former| former.session.as_ref().is_none_or(|held| held.login != opened.session.login));
                    if let Some(former) = stale {
                        self.engine.sessions.end(&former, Ending::Switched, &mut visit.trail).await?;
                    }
                    let mut response = match visit.display {
                        Display::Popup => reply::page(visit, StatusCode::OK, &DonePage { shell: visit.shell(), onward: &onward }),
                        Display::Page | Display::Touch => reply::redirect(&onward),
                    };
                    // Answers and logins from elsewhere come to the portal only.
                    match visit.dress {
                        Dress::Linked => self.give(visit, &mut response, &opened)?,
                        Dress::Inline => reply::set_cookie(&mut response, cookie::set_session(request, &opened).reveal()),
                    }
                    return Ok(response);
                }
                // The same landing loaded twice: the first one worked.
                Err(_) if former.is_some() => return Ok(reply::redirect(&onward)),
                Err(reason) => visit.rejected(None, reason),
            }
        }
        if again {
            return Ok(visit.problem(
                StatusCode::BAD_REQUEST,
                visit.words.not_brought,
                visit.words.allow_and_open,
                Some((visit.words.open_again, return_to.path())),
            ));
        }
        visit.challenged();
        let front = self.ways_in.front.as_ref().filter(|_| portal && door).map(|front| front.origin.as_str());
        depart(front, request, visit.tenant, &return_to, visit.chosen(), if first("code").is_some() { 2 } else { 1 })
    }

    /// The landing of an application, with a code for it.
    #[expect(clippy::too_many_arguments, reason = "each is part of what is sealed")]
    pub(super) async fn landing_with_code(
        &self,
        visit: &Visit<'_>,
        tenant: &Tenant,
        identity: &Identity,
        origin: &str,
        return_to: &ReturnTo,
        bind: &str,
        again: bool,
    ) -> Result<String, Unavailable> {
        let authority = origin.split_once("://").map(|(_, authority)| authority).unwrap_or_default();
        let host = Host::parse(authority).map_err(|error| Unavailable::new("configuration", error))?;
        let code = self.engine.sessions.hand_over(identity, host.name(), visit.now).await?;
        let seal = self.key.tag("landing", &parts(tenant, host.name(), code.reveal(), bind));
        let mut address = address(origin, return_to, visit.chosen());
        if visit.tenant.id != tenant.id {
            address.push_str("&door=1");
        }
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.append_pair("code", code.reveal()).append_pair("seal", &seal);
        if again {
            query.append_pair("round", "2");
        }
        address.push('&');
        address.push_str(&query.finish());
        Ok(address)
    }
}

/// The landing of an application, which fetches its code itself.
pub(super) fn address(origin: &str, return_to: &ReturnTo, display: Option<Display>) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    match return_to {
        ReturnTo::Application { origin: other, .. } if other != origin => query.append_pair("return_to", &return_to.to_string()),
        ReturnTo::Here(rest) | ReturnTo::Application { rest, .. } => query.append_pair("return_to", rest),
    };
    if let Some(display) = display {
        query.append_pair("display", display.as_str());
    }
    format!("{origin}{PATH}?{}", query.finish())
}

/// Whether this can be a nonce or the hash of one.
pub(super) fn is_bind(text: &str) -> bool {
    text.len() == BIND && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

/// Sends the browser for its code: to the portal, or from there to the front door.
fn depart(
    front: Option<&str>,
    request: &CheckRequest,
    tenant: &Tenant,
    return_to: &ReturnTo,
    display: Option<Display>,
    round: u8,
) -> Result<Response<Full<Bytes>>, Unavailable> {
    // Kept where it is there already: another tab may be on its way with it.
    let held = request.cookies(cookie::landing_name(request)).find(|nonce| is_bind(nonce)).map(str::to_owned);
    let nonce = match held {
        Some(nonce) => nonce,
        None => URL_SAFE_NO_PAD.encode(random::<32>()?),
    };
    let from = front.or(tenant.portal_origin.as_deref()).unwrap_or_default();
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    match return_to {
        ReturnTo::Here(path) => query.append_pair("return_to", &format!("{}{path}", request.origin())),
        ReturnTo::Application { .. } => query.append_pair("return_to", &return_to.to_string()),
    };
    if front.is_some() {
        query.append_pair("tenant", tenant.id.as_str());
    }
    query.append_pair("bind", &hash(&nonce));
    if round > 1 {
        query.append_pair("round", "2");
    }
    if let Some(display) = display {
        query.append_pair("display", display.as_str());
    }
    let mut response = reply::redirect(&format!("{from}/login?{}", query.finish()));
    reply::set_cookie(&mut response, &cookie::set_landing(request, &nonce));
    Ok(response)
}

fn hash(nonce: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, nonce.as_bytes()))
}

fn parts<'a>(tenant: &'a Tenant, host: &'a str, code: &'a str, bind: &'a str) -> [&'a [u8]; 4] {
    [tenant.id.as_str().as_bytes(), host.as_bytes(), code.as_bytes(), bind.as_bytes()]
}
