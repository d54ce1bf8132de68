//! Which pages of other origins may read what applications answer (Fetch §3.2, `authentication-chain.md` §12).
//!
//! Whoever may read may use the session of whoever looks at the page, so an attacker wants to be matched by a pattern that was
//! written too wide: by the bare domain, by a name that only ends alike, by `null`, by a page that came without TLS.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

/// What pages of other origins may do. Nothing by default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    origins: Vec<Pattern>,
    methods: Vec<Method>,
    /// `Access-Control-Allow-Methods`.
    pub allow_methods: HeaderValue,
    /// `Access-Control-Allow-Headers`.
    pub allow_headers: HeaderValue,
    /// `Access-Control-Expose-Headers`.
    pub expose_headers: HeaderValue,
    /// `Access-Control-Max-Age`.
    pub max_age: HeaderValue,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    Exactly(String),
    /// `https://` and any labels before this, which begins with a period.
    Below(String),
}

impl Cors {
    /// Pages of these origins: `https://name`, `https://name:port`, or `https://*.name` for all below it.
    ///
    /// # Errors
    /// The place of the first origin that is none, and a sentence.
    pub fn new(
        origins: &[&str],
        methods: Vec<Method>,
        headers: &[HeaderName],
        exposed: &[HeaderName],
        max_age: Duration,
    ) -> Result<Self, (usize, String)> {
        let origins =
            origins.iter().enumerate().map(|(place, text)| Pattern::parse(text).map_err(|why| (place, why))).collect::<Result<_, _>>()?;
        let list = |names: &mut dyn Iterator<Item = &str>| {
            // INVARIANT: names of methods and headers are tokens.
            HeaderValue::try_from(names.collect::<Vec<_>>().join(", ")).unwrap_or(HeaderValue::from_static(""))
        };
        Ok(Self {
            origins,
            allow_methods: list(&mut methods.iter().map(Method::as_str)),
            allow_headers: list(&mut headers.iter().map(HeaderName::as_str)),
            expose_headers: list(&mut exposed.iter().map(HeaderName::as_str)),
            max_age: HeaderValue::from(max_age.as_secs()),
            methods,
        })
    }

    /// Whether no page may do anything.
    pub fn is_empty(&self) -> bool {
        self.origins.is_empty()
    }

    /// Whether a page of this origin, as its browser states it, may read answers.
    pub fn admits(&self, origin: &str) -> bool {
        self.origins.iter().any(|pattern| pattern.matches(origin))
    }

    /// Whether such a page may send this.
    pub fn permits(&self, method: &Method) -> bool {
        self.methods.contains(method)
    }
}

impl Default for Cors {
    fn default() -> Self {
        let none = HeaderValue::from_static("");
        Self {
            origins: Vec::new(),
            methods: Vec::new(),
            allow_methods: none.clone(),
            allow_headers: none.clone(),
            expose_headers: none.clone(),
            max_age: none,
        }
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not an origin as in \"https://crm.example.com\" or \"https://*.example.com\"");
        let (secure, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (None, Some(rest)) => (false, rest),
            (None, None) => return Err(wrong()),
        };
        let (below, authority) = rest.strip_prefix("*.").map_or((false, rest), |rest| (true, rest));
        let (name, port) = authority.split_once(':').map_or((authority, None), |(name, port)| (name, Some(port)));
        let label = |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        let usual = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0 && port != if secure { 443 } else { 80 }));
        if name.is_empty() || !name.split('.').all(label) || !usual {
            return Err(wrong());
        }
        let loopback = name == "localhost" || name.ends_with(".localhost") || name == "127.0.0.1";
        if !secure && (below || !loopback) {
            return Err(format!("whoever is on the way could put a page of his own at `{text}`: write it with https"));
        }
        if below && !name.contains('.') {
            return Err(format!("`{text}` is everybody"));
        }
        Ok(if below { Self::Below(format!(".{authority}")) } else { Self::Exactly(text.to_owned()) })
    }

    fn matches(&self, origin: &str) -> bool {
        match self {
            Self::Exactly(text) => origin == text,
            Self::Below(suffix) => {
                let before = origin.strip_prefix("https://").and_then(|rest| rest.strip_suffix(suffix.as_str()));
                // Labels only: no port, no user name, nothing that ends alike by chance.
                before.is_some_and(|labels| {
                    labels.split('.').all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Result<Cors, (usize, String)> {
        Cors::new(origins, vec![Method::GET], &[], &[], Duration::from_secs(120))
    }

    #[test]
    fn origins_match_as_they_stand_and_patterns_by_whole_labels() {
        let cors = cors(&["https://crm.example.com", "https://*.force.test", "http://localhost:3000", "https://*.odd.test:8443"]).unwrap();
        for origin in [
            "https://crm.example.com",
            "https://a.force.test",
            "https://a.b.force.test",
            "http://localhost:3000",
            "https://x.odd.test:8443",
        ] {
            assert!(cors.admits(origin), "{origin}");
        }
        for origin in [
            "",
            "null",
            "*",
            "https://example.com",
            "https://x.crm.example.com",
            "http://crm.example.com",
            "https://crm.example.com:8443",
            "https://force.test",
            "https://.force.test",
            "https://evilforce.test",
            "http://a.force.test",
            "https://a.force.test:8443",
            "https://a.force.test.evil.test",
            "https://evil.test/.force.test",
            "https://evil.test:1.force.test",
            "https://a@b.force.test",
            "https://x.odd.test",
            "HTTPS://crm.example.com",
            "https://a..force.test",
        ] {
            assert!(!cors.admits(origin), "{origin}");
        }
        assert!(Cors::default().is_empty() && !Cors::default().admits("https://crm.example.com"));
    }

    #[test]
    fn patterns_that_are_everybody_or_without_tls_are_refused() {
        for text in [
            "*",
            "http://*",
            "https://*",
            "https://*.com",
            "http://*.example.com",
            "http://crm.example.com",
            "null",
            "",
            "crm.example.com",
            "https://crm.example.com/",
            "https://CRM.example.com",
            "https://crm.example.com:443",
            "https://a.*.example.com",
            "https://a@b.test",
            "https://*.localhost:0",
        ] {
            assert!(cors(&[text]).is_err(), "{text}");
        }
        assert_eq!(cors(&["https://a.test", "*"]).unwrap_err().0, 1);
    }
}
