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
#[derive(Clone)]
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
fn is_safe(method: &Method) -> bool {
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
            let tenant = &asked.found.tenant;
            // A page elsewhere is as good as ours for what it may send; browsers ask beforehand for some of that only.
            let admitted = || tenant.cors.admits(origin) && tenant.cors.permits(&request.method);
            let own = origin == request.origin() || tenant.origins.iter().any(|own| own == origin) || admitted();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures::{self, ada, found, identity, request, session};
    use crate::identity::{User, UserId};
    use crate::route::{Found, Route};

    fn key() -> CsrfKey {
        CsrfKey::new(&Secret::new([7; 32]))
    }

    fn by_session(name: &str) -> Identity {
        Identity { ambient: true, session: Some(session(name)), ..identity(ada()) }
    }

    fn foreign(csrf: Csrf, identity: &Identity, method: &str, headers: &[(&str, &str)]) -> bool {
        let found = Found { route: Route { csrf, ..fixtures::route("app") }.into(), ..found() };
        let request = request(method, "north.example.com/x", headers);
        key().is_foreign(identity, &Asked { request: &request, found: &found, now: fixtures::now() })
    }

    const SITE: &str = "sec-fetch-site";
    const OWN: &str = "https://north.example.com";
    const PORTAL: &str = "https://login.north.example.com";

    #[test]
    fn a_browser_must_say_that_the_page_is_ours() {
        for (headers, refused) in [
            (&[(SITE, "same-origin")][..], false),
            (&[(SITE, "none")], false),
            (&[(SITE, "same-origin"), ("origin", OWN)], false),
            (&[("origin", OWN)], false),
            (&[("origin", PORTAL)], false),
            (&[(SITE, "same-site"), ("origin", PORTAL)], false),
            (&[(SITE, "cross-site"), ("origin", PORTAL)], false),
            (&[(SITE, "cross-site")], true),
            (&[(SITE, "same-site")], true),
            (&[(SITE, "SAME-ORIGIN")], true),
            (&[(SITE, "")], true),
            (&[(SITE, "cross-site"), ("origin", "https://evil.example")], true),
            (&[(SITE, "same-site"), ("origin", "https://evil.north.example.com")], true),
            (&[("origin", "null")], true),
            (&[(SITE, "cross-site"), ("origin", "null")], true),
            (&[("origin", "http://north.example.com")], true),
            (&[("origin", "https://north.example.com:444")], true),
            (&[("origin", "https://north.example.com.evil.example")], true),
            (&[("origin", "https://NORTH.example.com/")], true),
            (&[("origin", "")], true),
            (&[("origin", "\u{e9}")], true),
            (&[("origin", OWN), ("origin", OWN)], true),
            (&[(SITE, "same-origin"), (SITE, "cross-site")], true),
            (&[(SITE, "same-origin"), ("origin", OWN), ("origin", "https://evil.example")], true),
            (&[("referer", "https://north.example.com/")], true),
            (&[], true),
        ] {
            assert_eq!(foreign(Csrf::Origin, &by_session("s"), "POST", headers), refused, "{headers:?}");
        }
    }

    #[test]
    fn a_listed_page_may_send_what_its_list_says() {
        let mut found = found();
        let mut tenant = fixtures::tenant("north", crate::chain::Chain::default());
        tenant.cors = crate::cors::Cors::new(&["https://crm.example.com"], vec![Method::PUT], &[], &[], std::time::Duration::ZERO).unwrap();
        found.tenant = tenant.into();
        for (method, refused) in [("PUT", false), ("POST", true), ("DELETE", true)] {
            let request = request(method, "north.example.com/x", &[("origin", "https://crm.example.com"), (SITE, "same-site")]);
            let asked = Asked { request: &request, found: &found, now: fixtures::now() };
            assert_eq!(key().is_foreign(&by_session("s"), &asked), refused, "{method}");
        }
    }

    #[test]
    fn null_is_nobodys_origin_even_if_it_is_configured() {
        let mut found = found();
        let mut tenant = fixtures::tenant("north", crate::chain::Chain::default());
        tenant.origins.push("null".into());
        found.tenant = tenant.into();
        let request = request("POST", "north.example.com/x", &[("origin", "null")]);
        assert!(key().is_foreign(&by_session("s"), &Asked { request: &request, found: &found, now: fixtures::now() }));
    }

    #[test]
    fn every_method_that_acts_is_asked_and_none_that_reads() {
        for csrf in [Csrf::Origin, Csrf::Token] {
            for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "PROPFIND", "get"] {
                assert!(foreign(csrf, &by_session("s"), method, &[(SITE, "cross-site")]), "{method}");
            }
            for method in ["GET", "HEAD", "OPTIONS", "TRACE"] {
                assert!(!foreign(csrf, &by_session("s"), method, &[(SITE, "cross-site")]), "{method}");
            }
        }
        assert!(!foreign(Csrf::Off, &by_session("s"), "POST", &[(SITE, "cross-site")]));
    }

    #[test]
    fn an_upgrade_acts_and_is_asked_for_its_origin_in_both_modes() {
        for csrf in [Csrf::Origin, Csrf::Token] {
            let upgrade =
                |headers: &[(&str, &str)]| foreign(csrf, &by_session("s"), "GET", &[headers, &[("upgrade", "websocket")]].concat());
            assert!(upgrade(&[("origin", "https://evil.example")]));
            assert!(upgrade(&[]));
            assert!(!upgrade(&[("origin", OWN)]));
        }
        assert!(!foreign(Csrf::Off, &by_session("s"), "GET", &[("upgrade", "websocket")]));
    }

    #[test]
    fn a_credential_that_a_page_must_know_is_exempt() {
        for csrf in [Csrf::Origin, Csrf::Token] {
            assert!(!foreign(csrf, &identity(ada()), "POST", &[(SITE, "cross-site"), ("origin", "https://evil.example")]));
        }
    }

    #[test]
    fn a_token_holds_for_its_session_and_for_no_other() {
        let one = by_session("one");
        let token = key().token(&one, one.session.as_ref());
        assert_eq!(token.reveal().len(), 43);
        let post = |identity: &Identity, headers: &[(&str, &str)]| foreign(Csrf::Token, identity, "POST", headers);
        let told = ("x-csrf-token", token.reveal().as_str());
        assert!(!post(&one, &[told]));
        assert!(!post(&one, &[told, (SITE, "same-origin"), ("origin", OWN)]));
        assert!(post(&by_session("two"), &[told]));
        assert!(post(&Identity { session: None, ..one.clone() }, &[told]));
        assert!(post(&one, &[]));
        assert!(post(&one, &[(SITE, "same-origin"), ("origin", OWN)]));
        assert!(post(&one, &[told, told]));
        assert!(post(&one, &[("x-csrf-token", "")]));
        assert!(post(&one, &[("x-csrf-token", "\u{e9}")]));
        let short = &token.reveal()[..42];
        assert!(post(&one, &[("x-csrf-token", short)]));
        let other = CsrfKey::new(&Secret::new([8; 32])).token(&one, one.session.as_ref());
        assert!(post(&one, &[("x-csrf-token", other.reveal())]));
        // §11: refused even with a token.
        assert!(post(&one, &[told, (SITE, "cross-site")]));
        assert!(post(&one, &[told, ("origin", "https://evil.example")]));
    }

    #[test]
    fn without_a_session_a_token_holds_for_the_user_until_their_epoch_is_raised() {
        let ambient = |user| Identity { ambient: true, ..identity(user) };
        let ada = ambient(ada());
        let token = key().token(&ada, None);
        let post = |identity: &Identity| foreign(Csrf::Token, identity, "POST", &[("x-csrf-token", token.reveal())]);
        assert!(!post(&ada));
        assert!(post(&by_session("s")));
        assert!(post(&ambient(User { epoch: 2, ..fixtures::ada() })));
        assert!(post(&ambient(User { id: UserId(uuid::Uuid::from_u128(2)), ..fixtures::ada() })));
        assert!(post(&ambient(User { tenant: "south".into(), ..fixtures::ada() })));
    }

    #[test]
    fn debug_shows_no_key() {
        assert_eq!(format!("{:?}", key()), "<csrf key>");
    }
}
