//! Forms whose session ran out while they were filled in: kept until their sender has signed in again.
//!
//! What an attacker tries: to have a form of his sent in somebody else's name after the login (cross-site request forgery that
//! waits), to read what somebody sent, to send it twice, to fill our store. So only a navigation from a page of the same origin is
//! kept, and only if its session, which ran out and was not ended, names the user; the store holds ciphertext that is bound to
//! that user; whoever signs in as somebody else sees nothing; it is shown before it goes, goes once, and a few wait per user.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, ORIGIN};
use vestibule_engine::Timestamp;
use vestibule_engine::clock::random;
use vestibule_engine::identity::{TenantId, UserId};
use vestibule_engine::request::{CheckRequest, Target, form_pairs};
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::session::Sessions;
use vestibule_engine::store::{ExpiringStore, Group, Insert, Key, Kind};
use vestibule_engine::tenant::Tenant;

use crate::schemes::session::cookie_name;
use crate::serve::pages::PageKey;

/// Where a kept form is offered again, on the host it was sent to.
pub const PATH: &str = "/.vestibule/kept";
/// The query parameter that names it.
pub const NAME: &str = "form";
/// Octets of a form that is kept, as it was sent.
pub const LONGEST: usize = 64 * 1024;
/// Fields of a form that is kept.
const MOST_FIELDS: usize = 1024;
/// Forms that wait for one user.
const MOST: u32 = 8;
const PURPOSE: &str = "vestibule kept form v1";
/// Octets of a user's id before what is sealed.
const ID: usize = 16;

/// The forms that wait.
#[derive(Debug, Clone)]
pub struct KeptPosts {
    key: PageKey,
    store: Arc<dyn ExpiringStore>,
    lasts: Duration,
}

/// A form that waits.
#[derive(Clone, PartialEq, Eq)]
pub struct KeptPost {
    /// Where it was sent: path and query.
    pub target: String,
    /// Its fields, in order.
    pub fields: Vec<(String, String)>,
}

impl std::fmt::Debug for KeptPost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What people typed.
        write!(f, "KeptPost({} fields)", self.fields.len())
    }
}

/// What is found under a name.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// What this user sent.
    Theirs(KeptPost),
    /// What somebody else sent.
    AnotherUsers,
    /// Nothing, or no longer.
    Nothing,
}

/// Whether a request is a form that a page of its own origin sent, in a browser that says so: an unknown sender is a foreign one.
pub fn may_be_kept(request: &CheckRequest) -> bool {
    let text = |name: &str| {
        let mut values = request.headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let media_type = text(CONTENT_TYPE.as_str()).unwrap_or_default().split(';').next().unwrap_or_default().trim();
    request.method == Method::POST
        && media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
        && text(ORIGIN.as_str()) == Some(&request.origin())
        && text("sec-fetch-site") == Some("same-origin")
        && text("sec-fetch-mode") == Some("navigate")
        && text("sec-fetch-dest") == Some("document")
}

impl KeptPosts {
    /// Forms in this store, each for so long. `secret` is that of our pages.
    pub fn new(secret: &Secret<[u8; 32]>, store: Arc<dyn ExpiringStore>, lasts: Duration) -> Self {
        Self { key: PageKey::new(secret), store, lasts }
    }

    /// Keeps a form that [may be kept](may_be_kept) for the user whose session ran out. Gives the address at which it is offered
    /// again; `None` if it is not kept.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn keep(
        &self,
        sessions: &Sessions,
        tenant: &Tenant,
        request: &CheckRequest,
        body: &Bytes,
        now: Timestamp,
    ) -> Result<Option<Target>, Unavailable> {
        let host = request.host.name();
        let Some(text) = std::str::from_utf8(body).ok().filter(|text| is_plain(text)) else { return Ok(None) };
        let mut tokens = request.cookies(cookie_name(request));
        let (Some(token), None) = (tokens.next(), tokens.next()) else { return Ok(None) };
        let Some(user) = sessions.ran_out(&tenant.id, host, token, now).await? else { return Ok(None) };
        let name = URL_SAFE_NO_PAD.encode(random::<16>()?);
        let sealed = self.key.seal(PURPOSE, &place(host, user), format!("{}\n{text}", request.target).into_bytes())?;
        let value = [user.0.as_bytes(), sealed.as_bytes()].concat();
        let group = Group::of(&tenant.id, Kind::Handoff, format_args!("kept:{user}"));
        let limit = Some((&group, MOST));
        match self.store.insert(&key(&tenant.id, host, &name), &value, self.lasts, std::slice::from_ref(&group), limit).await? {
            Insert::Inserted => Ok(Target::parse(&format!("{PATH}?{NAME}={name}")).ok()),
            Insert::Exists | Insert::Full => Ok(None),
        }
    }

    /// What waits under this name on this host, if this user sent it. It stays there.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn look(&self, tenant: &TenantId, host: &str, user: UserId, name: &str) -> Result<Found, Unavailable> {
        let Some((value, _)) = self.store.get(&key(tenant, host, name)).await? else { return Ok(Found::Nothing) };
        let Some((owner, sealed)) = value.split_at_checked(ID) else { return Ok(Found::Nothing) };
        if owner != user.0.as_bytes() {
            return Ok(Found::AnotherUsers);
        }
        let opened = std::str::from_utf8(sealed).ok().and_then(|sealed| self.key.open(PURPOSE, &place(host, user), sealed));
        let text = opened.and_then(|octets| String::from_utf8(octets).ok());
        let Some((target, body)) = text.as_deref().and_then(|text| text.split_once('\n')) else { return Ok(Found::Nothing) };
        Ok(Found::Theirs(KeptPost { target: target.to_owned(), fields: form_pairs(body).collect() }))
    }

    /// The same, and takes it away: of any number of callers, one gets it.
    ///
    /// # Errors
    /// [`Unavailable`] when the store does not answer.
    pub async fn take(&self, tenant: &TenantId, host: &str, user: UserId, name: &str) -> Result<Found, Unavailable> {
        // Whoever may not have it does not take it away from its sender, either.
        let found = self.look(tenant, host, user, name).await?;
        if matches!(found, Found::Theirs(_)) && self.store.take(&key(tenant, host, name)).await?.is_none() {
            return Ok(Found::Nothing);
        }
        Ok(found)
    }
}

/// A form that a browser would send again as it was: text of a length that we keep.
fn is_plain(body: &str) -> bool {
    let within = body.len() <= LONGEST && body.split('&').count() <= MOST_FIELDS;
    let text = |value: &str| !value.chars().any(|c| c == '\u{fffd}' || (c.is_control() && !matches!(c, '\t' | '\r' | '\n')));
    within && form_pairs(body).all(|(name, value)| text(&name) && text(&value))
}

fn place(host: &str, user: UserId) -> String {
    format!("{host} {user}")
}

fn key(tenant: &TenantId, host: &str, name: &str) -> Key {
    Key::of(tenant, Kind::Handoff, &[b"kept form", host.as_bytes(), name.as_bytes()])
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::pages::tests::request;
    use super::*;

    #[test]
    fn only_a_form_of_the_same_origin_may_be_kept() {
        let kept = |change: &[(&'static str, &str)]| {
            let mut request = request("POST", "app.example.com", "/order?n=1");
            let usual = [
                ("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                ("origin", "https://app.example.com"),
                ("sec-fetch-site", "same-origin"),
                ("sec-fetch-mode", "navigate"),
                ("sec-fetch-dest", "document"),
            ];
            for (name, value) in usual.iter().chain(change) {
                match *value {
                    "" => drop(request.headers.remove(*name)),
                    value => drop(request.headers.insert(*name, HeaderValue::from_str(value).unwrap())),
                }
            }
            may_be_kept(&request)
        };
        assert!(kept(&[]));
        for change in [
            ("origin", "https://evil.example.net"),
            ("origin", "http://app.example.com"),
            ("origin", "https://app.example.com:8443"),
            ("origin", "null"),
            ("origin", ""),
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "none"),
            ("sec-fetch-site", ""),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-mode", ""),
            ("sec-fetch-dest", "iframe"),
            ("sec-fetch-dest", "empty"),
            ("content-type", "multipart/form-data"),
            ("content-type", "text/plain"),
            ("content-type", ""),
        ] {
            assert!(!kept(&[change]), "{change:?}");
        }
    }

    #[test]
    fn only_text_is_kept_and_not_too_much_of_it() {
        for good in ["", "a=1", "a=%C3%A4&a=b+c&d=%0D%0A", &format!("a={}", "x".repeat(LONGEST - 2))] {
            assert!(is_plain(good), "{:.40}", good);
        }
        for bad in ["a=%00", "a=%FF", "%1b=1", &format!("a={}", "x".repeat(LONGEST - 1)), &"a=1&".repeat(MOST_FIELDS)] {
            assert!(!is_plain(bad), "{:.40}", bad);
        }
    }
}
