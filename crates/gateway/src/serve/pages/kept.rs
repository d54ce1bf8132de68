//! The page that offers a kept form again, on the host of its application. It works without a script.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, LOCATION};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::{Reason, Ruling};
use vestibule_engine::scheme::Unavailable;

use super::view::KeptPage;
use super::{Portal, Visit, guard, landing, reply};
use crate::serve::kept::{Found, KeptPost, NAME};
use crate::serve::return_to::ReturnTo;

/// Letters of a value that are shown.
const SHOWN: usize = 200;

impl Portal {
    /// GET `/.vestibule/kept`: what was kept, for whoever sent it and nobody else.
    pub(super) async fn show_kept(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let (Some(kept), Some(name)) = (&self.kept, name(visit)) else { return Ok(visit.missing()) };
        let Some(identity) = self.session(visit).await? else {
            visit.challenged();
            let here = ReturnTo::Here(visit.request.target.to_string());
            return Ok(reply::redirect(&landing::address(&visit.origin, &here, visit.chosen())));
        };
        match kept.look(&visit.tenant.id, visit.request.host.name(), identity.user.id, &name).await? {
            Found::Theirs(post) => Ok(offer(visit, &post)),
            other => Ok(nothing(visit, &other)),
        }
    }

    /// POST `/.vestibule/kept`: takes it away, and has the browser send it where it was to go (RFC 9110 §15.4.8).
    pub(super) async fn send_kept(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let (Some(kept), Some(name)) = (&self.kept, name(visit)) else { return Ok(visit.missing()) };
        // The name is known to its sender only; this is for what else may have become of it.
        if guard::is_cross_site(visit.request, &visit.origin) {
            return Ok(visit.form_unread(StatusCode::FORBIDDEN));
        }
        let Some(identity) = self.session(visit).await? else {
            // The session ran out again: the page is there after the next login, too.
            visit.challenged();
            return Ok(reply::redirect(&visit.request.target.to_string()));
        };
        match kept.take(&visit.tenant.id, visit.request.host.name(), identity.user.id, &name).await? {
            Found::Theirs(post) => Ok(onward(&post.target)),
            other => Ok(nothing(visit, &other)),
        }
    }
}

/// What it is called, if this can be a name.
fn name(visit: &Visit<'_>) -> Option<String> {
    let mut names = visit.request.target.query_values(NAME).into_iter();
    names.next().filter(|name| name.len() <= 64 && names.next().is_none())
}

fn offer(visit: &Visit<'_>, post: &KeptPost) -> Response<Full<Bytes>> {
    let action = visit.request.target.to_string();
    let shown = |(name, value): &(String, String)| {
        // Somebody may look over a shoulder.
        let secret = ["pass", "pw", "secret", "token", "pin"].iter().any(|word| name.to_ascii_lowercase().contains(word));
        let value = match value.char_indices().nth(SHOWN) {
            _ if secret => "\u{2022}".repeat(8),
            Some((end, _)) => format!("{}\u{2026}", value.get(..end).unwrap_or_default()),
            None => value.clone(),
        };
        (name.clone(), value)
    };
    let rows: Vec<(String, String)> = post.fields.iter().map(shown).collect();
    let to = post.target.split('?').next().unwrap_or_default();
    let page = KeptPage { shell: visit.shell(), to, action: &action, rows: &rows, fields: &post.fields };
    reply::page(visit, StatusCode::OK, &page)
}

/// One page, whether it is gone or somebody else's: nobody learns which.
fn nothing(visit: &mut Visit<'_>, found: &Found) -> Response<Full<Bytes>> {
    let reason = if *found == Found::AnotherUsers { Reason::SubjectNotAllowed } else { Reason::BadCode };
    visit.refusal = Some((Ruling::Deny, reason));
    visit.problem(StatusCode::GONE, visit.words.not_kept, visit.words.fill_in_again, Some((visit.words.go_to_application, "/")))
}

fn onward(target: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    let Ok(location) = HeaderValue::from_str(target) else {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        return response;
    };
    *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
    response.headers_mut().insert(LOCATION, location);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
