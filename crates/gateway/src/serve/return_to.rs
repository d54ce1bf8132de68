//! Where a browser may be sent after login (attack 95: open redirects).
//!
//! An attacker wants a link on the login page's own host that ends at his: a scheme-relative `//`, a backslash
//! that browsers read as a slash, tabs that they drop, userinfo before the real host, an escape decoded later
//! than it was checked. So nothing is repaired here: the text begins with an origin we know, octet by octet,
//! or with one slash; the rest must be a [`Target`], which refuses ambiguity; and what is returned is that
//! target as the gateway itself will judge it.

use std::fmt;

use vestibule_engine::request::Target;
use vestibule_engine::tenant::Tenant;

use crate::serve::kept::PATH as KEPT;

/// Longest address to return to, in octets; it travels in a cookie.
pub const MAX_RETURN_TO: usize = 2048;

/// Our own pages on the host that carries the login: returning to one would loop, or sign out.
const PORTAL_PAGES: [&str; 7] = ["/login", "/logout", "/password", "/assets", "/saml/sp", "/oidc/rp", "/.well-known"];

/// Our own endpoints on every host.
const EVERYWHERE: &str = "/.vestibule";

/// An address that is safe to redirect to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ReturnTo {
    /// Path and query on the host that was asked.
    Here(String),
    /// An application of the tenant.
    Application {
        /// Its origin, as the tenant lists it.
        origin: String,
        /// Path and query.
        rest: String,
    },
}

impl ReturnTo {
    /// Reads what a client sent to the page at `own`, an origin of `tenant`. `None` if it leads anywhere else than to an
    /// application of the tenant or to a page of `own` that is not one of ours.
    pub fn parse(raw: &str, own: &str, tenant: &Tenant) -> Option<Self> {
        let clean = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'\\' | b'"' | b'<' | b'>' | b'#');
        if raw.len() > MAX_RETURN_TO || !raw.bytes().all(clean) {
            return None;
        }
        if raw.starts_with('/') {
            return target(raw, true).map(Self::Here);
        }
        let rest = |origin: &str| match raw.strip_prefix(origin)? {
            "" => Some("/".to_owned()),
            // `https://app.example.com.evil.example` also begins with the origin: only a path may follow.
            rest if rest.starts_with('/') => Some(rest.to_owned()),
            rest if rest.starts_with('?') => Some(format!("/{rest}")),
            _ => None,
        };
        if let Some(rest) = rest(own) {
            return target(&rest, true).map(Self::Here);
        }
        tenant.origins.iter().find_map(|origin| {
            let portal = tenant.portal_origin.as_ref() == Some(origin);
            let rest = target(&rest(origin)?, portal)?;
            Some(Self::Application { origin: origin.clone(), rest })
        })
    }

    /// The host of the application, if it is one.
    pub fn host(&self) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::Application { origin, .. } => url::Url::parse(origin).ok()?.host_str().map(str::to_owned),
        }
    }

    /// The application as it is shown: its host, and its port where that is not the scheme's own.
    pub fn application(&self) -> Option<String> {
        match self {
            Self::Here(_) => None,
            Self::Application { origin, .. } => origin.split_once("://").map(|(_, host)| host.to_owned()),
        }
    }

    /// The address without what precedes the path.
    pub fn path(&self) -> &str {
        match self {
            Self::Here(rest) | Self::Application { rest, .. } => rest,
        }
    }
}

impl fmt::Display for ReturnTo {
    /// The form for `Location`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(rest) => f.write_str(rest),
            Self::Application { origin, rest } => write!(f, "{origin}{rest}"),
        }
    }
}

/// The canonical target, unless it is one of our own endpoints. The one that offers a kept form again is what its sender asked for.
fn target(raw: &str, portal: bool) -> Option<String> {
    let target = Target::parse(raw).ok()?;
    let path = target.path().to_ascii_lowercase();
    let below = |page: &str| path.strip_prefix(page).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let own = (below(EVERYWHERE) && target.path() != KEPT) || (portal && PORTAL_PAGES.iter().any(|page| below(page)));
    (!own).then(|| target.to_string())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use vestibule_engine::chain::Chain;

    use super::*;

    const OWN: &str = "https://login.example.com";

    fn tenant() -> Tenant {
        Tenant {
            id: "north".into(),
            title: "North".into(),
            hosts: Vec::new(),
            portal: None,
            portal_origin: Some(OWN.into()),
            domain: None,
            origins: vec!["https://app.example.com".into(), "http://shop.localhost:8080".into()],
            cors: Default::default(),
            chain: Arc::new(Chain::default()),
            realm_text: "North".into(),
            brand: None,
        }
    }

    fn parse(raw: &str) -> Option<String> {
        ReturnTo::parse(raw, OWN, &tenant()).map(|return_to| return_to.to_string())
    }

    #[test]
    fn leads_to_applications_and_to_our_host() {
        for (raw, expected) in [
            ("https://app.example.com", "https://app.example.com/"),
            ("https://app.example.com/", "https://app.example.com/"),
            ("https://app.example.com?a=1", "https://app.example.com/?a=1"),
            ("https://app.example.com/a/b?next=https://evil.example/", "https://app.example.com/a/b?next=https://evil.example/"),
            ("https://app.example.com/login", "https://app.example.com/login"),
            ("https://app.example.com/%7ea", "https://app.example.com/~a"),
            ("http://shop.localhost:8080/x?y=%2F%2Fz", "http://shop.localhost:8080/x?y=%2F%2Fz"),
            ("https://login.example.com/", "/"),
            ("/", "/"),
            ("/a?b=c", "/a?b=c"),
            ("/logins", "/logins"),
        ] {
            assert_eq!(parse(raw).as_deref(), Some(expected), "{raw}");
        }
    }

    /// One JSON string per line, so that tabs, newlines and NUL can be written.
    #[test]
    fn refuses_every_entry_of_the_hostile_list() {
        let list: Vec<String> =
            include_str!("../../tests/data/hostile_return_to.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(list.len() >= 200, "{} entries", list.len());
        for raw in &list {
            assert_eq!(parse(raw), None, "{raw:?}");
        }
    }

    #[test]
    fn refuses_what_is_too_long() {
        assert!(parse(&format!("/{}", "a".repeat(MAX_RETURN_TO - 1))).is_some());
        assert_eq!(parse(&format!("/{}", "a".repeat(MAX_RETURN_TO))), None);
    }

    proptest! {
        /// The browser's own URL parser (WHATWG) is the judge of where an accepted address leads.
        #[test]
        fn a_browser_ends_where_we_think(raw in r"(https?:|/|\\|app\.example\.com|https://app\.example\.com|@|\.|:|%2f|%5c|;|\?|evil|\t|/\.\.|%){1,8}") {
            if let Some(safe) = parse(&raw) {
                let base = url::Url::parse(OWN).unwrap();
                let origin = base.join(&safe).unwrap().origin().ascii_serialization();
                prop_assert!(origin == OWN || tenant().origins.contains(&origin), "{raw:?} leads to {origin}");
            }
        }
    }
}
