//! What the identity service says of a session id (`authentication-chain.md` §2.3 to §2.5).
//!
//! A session may read the identity of a colleague, so that an answer alone proves nothing about the caller: an attacker sends his
//! own session id with the identity URL of his victim. Who owns the session is asked of an address that names nobody.

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION};
use http::{HeaderValue, Request, Response, StatusCode};
use serde::Deserialize;
use vestibule_engine::audit::Reason;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;

use super::Owner;
use super::address::{Hosts, Id, IdentityUrl, ORGANIZATION, USER};
use crate::call::{CallError, Caller};

/// Describes whoever owns the session, and nobody else.
const USERINFO: &str = "/services/oauth2/userinfo";

/// Somebody the service vouches for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The name they sign in with there.
    pub username: Option<String>,
    /// Their mail address, if the service has seen it to be theirs.
    pub email: Option<String>,
    /// The name to show.
    pub display_name: Option<String>,
}

/// The document behind an identity URL. Members come and go; those that count are read.
#[derive(Deserialize)]
struct Document {
    id: String,
    asserted_user: bool,
    user_id: String,
    organization_id: String,
    username: Option<String>,
    display_name: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    active: Option<bool>,
}

/// Who owns a session.
#[derive(Deserialize)]
struct UserInfo {
    user_id: String,
    organization_id: String,
}

/// Asks whose session it is.
///
/// # Errors
/// [`Unavailable`] if the service does not answer, or not for itself.
pub async fn ask(
    caller: &Caller,
    hosts: &Hosts,
    owner: Owner,
    url: &IdentityUrl,
    session: &Secret<String>,
) -> Result<Result<Subject, Reason>, Unavailable> {
    let mut at = url.clone();
    let mut answer = get(caller, &at, &at.path, session).await?;
    if let Ok(response) = &answer
        && response.status() == StatusCode::FOUND
    {
        let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok()).unwrap_or_default();
        let Ok(next) = url.follow(location, hosts) else {
            tracing::warn!(host = %at.origin.host, "the identity service sends session ids where they must not go");
            return Ok(Err(Reason::ForeignAnswerUnusable));
        };
        answer = get(caller, &next, &next.path, session).await?;
        at = next;
    }
    let document: Document = match answer.and_then(|response| read(&response, &at)) {
        Ok(document) => document,
        Err(reason) => return Ok(Err(reason)),
    };
    if !names(url, &document.organization_id, &document.user_id) || !url.names_the_same(&document.id) {
        return Ok(Err(Reason::ForeignAnswerUnusable));
    }
    if !document.asserted_user {
        return Ok(Err(Reason::ForeignSessionOfAnother));
    }
    if document.active == Some(false) {
        return Ok(Err(Reason::Disabled));
    }
    match owner {
        Owner::Unchecked => {}
        Owner::Checked => {
            let info: UserInfo = match get(caller, &at, USERINFO, session).await?.and_then(|response| read(&response, &at)) {
                Ok(info) => info,
                Err(reason) => return Ok(Err(reason)),
            };
            if !names(url, &info.organization_id, &info.user_id) {
                return Ok(Err(Reason::ForeignSessionOfAnother));
            }
        }
    }
    let email = document.email.filter(|_| document.email_verified == Some(true));
    Ok(Ok(Subject { username: document.username, email, display_name: document.display_name }))
}

fn names(url: &IdentityUrl, organization: &str, user: &str) -> bool {
    Id::parse(organization, ORGANIZATION) == Some(url.organization) && Id::parse(user, USER) == Some(url.user)
}

/// One call. A refusal of the service is a reason; what it cannot answer now is not.
async fn get(
    caller: &Caller,
    at: &IdentityUrl,
    path: &str,
    session: &Secret<String>,
) -> Result<Result<Response<Bytes>, Reason>, Unavailable> {
    let down = |why: &dyn std::fmt::Display| Unavailable::new(at.origin.host.as_str(), why);
    let mut bearer = HeaderValue::try_from(format!("Bearer {}", session.reveal())).map_err(|_| down(&"the session id is no header"))?;
    bearer.set_sensitive(true);
    let request = Request::get(path).header(ACCEPT, "application/json").header(AUTHORIZATION, bearer).body(Bytes::new());
    let response = match caller.call(&at.origin, request.map_err(|_| down(&"the path is no target"))?).await {
        Ok(response) => response,
        Err(CallError::TooLong(_)) => return Ok(Err(unusable(at, "its answer is too long"))),
        Err(error) => return Err(down(&error)),
    };
    Ok(match response.status() {
        StatusCode::OK | StatusCode::FOUND => Ok(response),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Err(Reason::ForeignSessionRefused),
        status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            return Err(down(&format!("it answered {status}")));
        }
        status => Err(unusable(at, &format!("it answered {status}"))),
    })
}

fn read<T: for<'de> Deserialize<'de>>(response: &Response<Bytes>, at: &IdentityUrl) -> Result<T, Reason> {
    if response.status() != StatusCode::OK {
        return Err(unusable(at, "it sends us on once more"));
    }
    // What serde says may quote the document.
    serde_json::from_slice(response.body()).map_err(|_| unusable(at, "its answer is not the document of an identity"))
}

/// A misconfiguration or an attack: somebody should look.
fn unusable(at: &IdentityUrl, why: &str) -> Reason {
    tracing::warn!(host = %at.origin.host, why, "the identity service cannot be understood");
    Reason::ForeignAnswerUnusable
}
