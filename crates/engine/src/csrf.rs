//! Keeping foreign pages from using what a browser sends by itself (`authentication-chain.md` §11, `rulings.md`).
//!
//! An attacker's page makes the victim's browser send a request with the victim's cookie. It cannot set
//! `Sec-Fetch-Site` or `Origin` (Fetch §2.2.2, forbidden request headers), and it cannot read a token from our
//! answers. Credentials that a page must know to send are not its to abuse, and are exempt.

use std::fmt;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::{ORIGIN, UPGRADE};
use http::{HeaderMap, HeaderName, Method};

use crate::identity::Identity;
use crate::route::Csrf;
use crate::scheme::Asked;
use crate::secret::Secret;
use crate::session::SessionRef;

/// The header a client sends the token in, and learns it from.
pub const TOKEN: HeaderName = HeaderName::from_static("x-csrf-token");
/// The header that names the header to send, as old clients expect it.
pub const NAME: HeaderName = HeaderName::from_static("x-csrf-header");

/// The installation's key for tokens. The same on every node, or a token holds on one of them only.
pub struct CsrfKey(hmac::Key);

impl fmt::Debug for CsrfKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<csrf key>")
    }
}

impl CsrfKey {
    /// A key of 256 random bits that are used for nothing else.
    pub fn new(octets: &Secret<[u8; 32]>) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, octets.reveal()))
    }

    /// The token of this identity: 43 characters of base64url. Bound to `session` where there is one, so that each login
    /// has its own; else to the user and their epoch, for credentials a browser sends without a session.
    pub fn token(&self, identity: &Identity, session: Option<&SessionRef>) -> Secret<String> {
        Secret::new(URL_SAFE_NO_PAD.encode(hmac::sign(&self.0, &bound(identity, session))))
    }

    fn holds(&self, identity: &Identity, token: &str) -> bool {
        let Ok(tag) = URL_SAFE_NO_PAD.decode(token) else { return false };
        // In constant time.
        hmac::verify(&self.0, &bound(identity, identity.session.as_ref()), &tag).is_ok()
    }

    /// Whether a foreign page may have made a browser send this request, as far as the route wants to know.
    pub(crate) fn is_foreign(&self, identity: &Identity, asked: &Asked<'_>) -> bool {
        let request = asked.request;
        // An upgrade is a GET that acts, and that a page cannot give a header of its own.
        let upgrade = request.headers.contains_key(UPGRADE);
        if !identity.ambient || (is_safe(&request.method) && !upgrade) {
            return false;
        }
        match asked.found.route.csrf {
            Csrf::Off => false,
            Csrf::Origin => sender(asked) != Sender::Own,
            Csrf::Token if upgrade => sender(asked) != Sender::Own,
            Csrf::Token => {
                let token = match single(&request.headers, &TOKEN) {
                    Field::One(token) => token,
                    Field::None | Field::Unusable => return true,
                };
                // §11: a foreign page is refused even with a token; a client that says nothing is no browser of today.
                sender(asked) == Sender::Foreign || !self.holds(identity, token)
            }
        }
    }
}

/// RFC 9110 §9.2.1.
pub(crate) fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE)
}

/// What a token is made from: every part with its length, and first what the token is.
fn bound(identity: &Identity, session: Option<&SessionRef>) -> [u8; 32] {
    let tenant = identity.tenant().as_str().as_bytes();
    match session {
        Some(session) => crate::store::digest(&[b"csrf of a session", tenant, session.key.as_str().as_bytes()]),
        None => crate::store::digest(&[b"csrf of a user", tenant, identity.user.id.0.as_bytes(), &identity.user.epoch.to_be_bytes()]),
    }
}

/// Who made the browser send a request, by its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sender {
    /// A page of ours, or the user.
    Own,
    /// A page of others.
    Foreign,
    /// It does not say. Every browser of today says it with what acts, so [`Csrf::Origin`] takes silence for foreign.
    Unknown,
}

fn sender(asked: &Asked<'_>) -> Sender {
    let request = asked.request;
    match (single(&request.headers, &HeaderName::from_static("sec-fetch-site")), single(&request.headers, &ORIGIN)) {
        (Field::Unusable, _) | (_, Field::Unusable) => Sender::Foreign,
        // `none`: the user did it, not a page.
        (Field::One("same-origin" | "none"), _) => Sender::Own,
        // `null` is what every page without an origin of its own says: sandboxed frames, data URLs.
        (_, Field::One("null")) => Sender::Foreign,
        (_, Field::One(origin)) => {
            let own = origin == request.origin() || asked.found.tenant.origins.iter().any(|own| own == origin);
            if own { Sender::Own } else { Sender::Foreign }
        }
        (Field::One(_), Field::None) => Sender::Foreign,
        (Field::None, Field::None) => Sender::Unknown,
    }
}

enum Field<'a> {
    None,
    One(&'a str),
    /// Twice, or not text: no browser sends it so.
    Unusable,
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Field<'a> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Field::None,
        (Some(value), None) => value.to_str().map_or(Field::Unusable, Field::One),
        (Some(_), Some(_)) => Field::Unusable,
    }
}
