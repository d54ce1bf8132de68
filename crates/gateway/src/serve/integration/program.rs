//! What the answer to an old client carries beside the service's own: its session's cookie before all others, since clients take
//! the first and cut it at the semicolon (`oracle-stateful-sessions.md` §1.2); and never a session of that name that is the service's.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use vestibule_engine::request::{Body, CheckRequest};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::{Keeper, Opened};
use vestibule_soap::Version;
use vestibule_wss::integration::Heading;
use vestibule_xmlsec::Limits;

use super::fault;
use crate::schemes::integration::{COOKIE, Integration, Settings};

/// An answer to an old client.
#[derive(Debug)]
pub struct Program {
    cookie: Option<Secret<String>>,
    /// The message logged in and asked for nothing.
    login_only: bool,
}

impl Program {
    /// To this request, which may have opened a session.
    pub fn of(request: &CheckRequest, settings: &Settings, opened: Option<&Opened>) -> Self {
        let opened = opened.filter(|opened| opened.keeper == Keeper::Program);
        let cookie = opened.map(|opened| Integration::set_cookie(request, &settings.path, opened));
        let login_only = cookie.is_some() && asks_nothing(request);
        Self { cookie, login_only }
    }

    /// The whole answer, where the service need not be asked (§4).
    pub fn answer(&self) -> Option<Response<Bytes>> {
        let envelope = Version::Soap11.namespace();
        let text =
            || format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"{envelope}\"><soap:Body/></soap:Envelope>");
        self.login_only.then(|| fault::xml(StatusCode::OK, text()))
    }

    /// Puts the cookie where clients look for it.
    pub fn tell(self, headers: &mut HeaderMap) {
        let theirs: Vec<HeaderValue> = match headers.entry(SET_COOKIE) {
            http::header::Entry::Occupied(held) => held.remove_entry_mult().1.filter(|value| !is_session(value)).collect(),
            http::header::Entry::Vacant(_) => Vec::new(),
        };
        if let Some(value) = self.cookie.and_then(|cookie| HeaderValue::from_str(cookie.reveal()).ok()) {
            headers.append(SET_COOKIE, value);
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        for value in theirs {
            headers.append(SET_COOKIE, value);
        }
    }
}

/// Whether a cookie has the name of the session's, in whatever spelling clients take for it.
pub fn is_session(cookie: &HeaderValue) -> bool {
    let name = cookie.as_bytes().split(|octet| *octet == b'=').next().unwrap_or_default();
    name.trim_ascii().eq_ignore_ascii_case(COOKIE.as_bytes())
}

fn asks_nothing(request: &CheckRequest) -> bool {
    let Body::Whole(body) = &request.body else { return false };
    Heading::read(body, &Limits::MESSAGE).is_ok_and(|heading| heading.empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_the_first_cookie_and_the_only_one_of_its_name() {
        let mut headers = HeaderMap::new();
        for value in ["theme=dark", "JSESSIONID=theirs; Path=/", "jsessionid=theirs", "other=JSESSIONID=x"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(value));
        }
        let program = Program { cookie: Some(Secret::from("JSESSIONID=ours; Path=/Services")), login_only: false };
        program.tell(&mut headers);
        let told: Vec<_> = headers.get_all(SET_COOKIE).iter().collect();
        assert_eq!(told, ["JSESSIONID=ours; Path=/Services", "theme=dark", "other=JSESSIONID=x"]);
    }
}
