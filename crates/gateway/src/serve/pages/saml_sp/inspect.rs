//! A response shown to an administrator check by check, as `vestibule saml inspect` does.
//!
//! Only operators see it, who sign in here and are never federated: to anybody else it would be an oracle. Nobody is signed in by
//! it, nothing is spent, stored or logged.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::scheme::Unavailable;

use super::super::view::InspectPage;
use super::super::{Portal, Visit, guard, reply};
use super::arrival::text_of;
use super::{LONG, field};
use crate::schemes::saml::Said;

/// Where it is, on the portal.
pub const PATH: &str = "/saml/inspect";
const PURPOSE: &str = "saml inspect";

impl Portal {
    /// GET and POST `/saml/inspect`.
    pub(in crate::serve::pages) async fn inspect(&self, visit: &mut Visit<'_>, write: bool) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(sp) = self.service_provider(visit).cloned() else { return Ok(visit.missing()) };
        let Some(identity) = self.session(visit).await? else {
            visit.challenged();
            return Ok(reply::redirect(&format!("/login?return_to={}", PATH.replace('/', "%2F"))));
        };
        if !identity.user.is_operator() {
            return Ok(visit.missing());
        }
        let token = self.token(&identity, PURPOSE);
        let mut said: Option<Said> = None;
        if write {
            let body = text_of(visit);
            let held = identity.session.as_ref().map(|session| session.key.as_str()).unwrap_or_default();
            let ours = self.key.checks(&field(body, "token"), "form", &[PURPOSE.as_bytes(), held.as_bytes()]);
            if guard::is_cross_site(visit.request, &visit.origin) || !ours {
                return Ok(visit.form_unread(StatusCode::FORBIDDEN));
            }
            let (message, now) = (field(body, "message").into_bytes(), visit.now);
            let found = if message.len() <= LONG {
                sp.inspect(&message, now)
            } else {
                let inspected = tokio::task::spawn_blocking(move || sp.inspect(&message, now)).await;
                inspected.map_err(|why| Unavailable::new("reading a message", why))?
            };
            said = Some(found);
        }
        let page = InspectPage { shell: visit.shell(), action: PATH, token: &token, said: said.as_ref() };
        Ok(reply::page(visit, StatusCode::OK, &page))
    }
}
