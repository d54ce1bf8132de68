//! Identity URLs: which are worth a call, and whom they name.
//!
//! The URL is chosen by the caller and a live secret goes to the host in it, so it is taken apart by the parser that browsers
//! use, held against a closed list of hosts and an exact path, and the call is made of the parts, never of the text.

use url::{Host, Url};

use crate::config::checked::Origin;

/// Longest identity URL, in octets.
const MAX_URL: usize = 512;
/// Characters of an id that count; a checksum of three may follow.
const ID: usize = 15;
/// The hosts of the service where the configuration names none.
const USUAL: [&str; 3] = ["login.salesforce.com", "test.salesforce.com", "*.my.salesforce.com"];
/// Where the service may send us on to: the instance on which the organisation lives.
const INSTANCES: &str = "*.salesforce.com";

/// The hosts a session id may be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hosts(Vec<Pattern>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Pattern {
    /// This one, at this port.
    Exactly(String, u16),
    /// Any below this one, at 443. Begins with a period.
    Below(String),
}

impl Default for Hosts {
    fn default() -> Self {
        Self(USUAL.iter().filter_map(|text| Pattern::parse(text).ok()).collect())
    }
}

impl Hosts {
    /// These hosts: `name`, `name:port` or `*.name`.
    ///
    /// # Errors
    /// A sentence about the first that is none.
    pub fn parse<'a>(texts: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        texts.into_iter().map(Pattern::parse).collect::<Result<_, _>>().map(Self)
    }

    fn admit(&self, host: &str, port: u16) -> bool {
        self.0.iter().any(|pattern| pattern.admits(host, port))
    }
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a host as in \"north.my.salesforce.com\" or \"*.my.salesforce.com\"");
        if let Some(below) = text.strip_prefix("*.") {
            // A whole top-level domain is everybody.
            return if is_name(below) && below.contains('.') { Ok(Self::Below(format!(".{below}"))) } else { Err(wrong()) };
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, port.parse().map_err(|_| wrong())?),
            None => (text, 443),
        };
        if is_name(name) { Ok(Self::Exactly(name.to_owned(), port)) } else { Err(wrong()) }
    }

    fn admits(&self, host: &str, port: u16) -> bool {
        match self {
            Self::Exactly(name, at) => host == name && port == *at,
            Self::Below(suffix) => port == 443 && host.len() > suffix.len() && host.ends_with(suffix),
        }
    }
}

/// Whether it is a DNS name as it stands after parsing: lower case, no `xn--` label that looks like another's.
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
            && !label.starts_with("xn--")
    };
    text.len() <= 253 && text.split('.').all(label)
}

/// The name of an organisation or a user: fifteen characters, compared octet by octet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Id([u8; ID]);

impl Id {
    /// Reads an id of 15 characters, or of 18 with its checksum, whose kind is told by its first three.
    pub fn parse(text: &str, kind: &str) -> Option<Self> {
        let fits = matches!(text.len(), 15 | 18) && text.starts_with(kind) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        fits.then(|| text.as_bytes().first_chunk().copied().map(Self)).flatten()
    }

    /// The fifteen characters, as octets.
    pub fn octets(&self) -> [u8; ID] {
        self.0
    }

    /// The fifteen characters.
    pub fn as_str(&self) -> &str {
        // INVARIANT: they are ASCII letters and digits.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The kind of an organisation's id.
pub const ORGANIZATION: &str = "00D";
/// The kind of a user's.
pub const USER: &str = "005";

/// An identity URL that may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityUrl {
    /// Where to call.
    pub origin: Origin,
    /// The path, as it was checked.
    pub path: String,
    /// The organisation it names.
    pub organization: Id,
    /// The user it names.
    pub user: Id,
}

/// What is wrong with an identity URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is no identity URL.
    Malformed,
    /// Its host is not one that we send session ids to.
    Host,
}

impl IdentityUrl {
    /// Reads the URL that a caller sent.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn parse(text: &str, hosts: &Hosts) -> Result<Self, Unfit> {
        let url = plain(text)?;
        if url.query().is_some() {
            return Err(Unfit::Malformed);
        }
        Self::of(&url, hosts)
    }

    /// Reads where the service sends us on to. It may lead to an instance, and to the same user only; a query is dropped.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn follow(&self, location: &str, hosts: &Hosts) -> Result<Self, Unfit> {
        let url = plain(location)?;
        let mut hosts = hosts.clone();
        hosts.0.extend(Pattern::parse(INSTANCES));
        let next = Self::of(&url, &hosts)?;
        let same = next.organization == self.organization && next.user == self.user;
        if same { Ok(next) } else { Err(Unfit::Malformed) }
    }

    /// Whether a URL that the service states names the same organisation and user.
    pub fn names_the_same(&self, stated: &str) -> bool {
        let ids = Url::parse(stated).ok().and_then(|url| ids(url.path()));
        ids == Some((self.organization, self.user))
    }

    fn of(url: &Url, hosts: &Hosts) -> Result<Self, Unfit> {
        let Some(Host::Domain(host)) = url.host() else { return Err(Unfit::Malformed) };
        let port = url.port().unwrap_or(443);
        let (organization, user) = ids(url.path()).ok_or(Unfit::Malformed)?;
        if !is_name(host) || !hosts.admit(host, port) {
            return Err(Unfit::Host);
        }
        let origin = Origin { tls: true, host: host.to_owned(), port };
        Ok(Self { origin, path: url.path().to_owned(), organization, user })
    }
}

/// An `https` URL of a host and a path. What a lenient parser would mend is refused.
fn plain(text: &str) -> Result<Url, Unfit> {
    let usual =
        text.len() <= MAX_URL && text.starts_with("https://") && text.bytes().all(|b| matches!(b, 0x21..=0x7e) && b != b'\\' && b != b'%');
    let url = if usual { Url::parse(text).ok() } else { None };
    let url = url.filter(|url| url.username().is_empty() && url.password().is_none() && url.fragment().is_none());
    // `https:///host` and a dropped `@` or `:` are mended by the parser; then the text is not what is called.
    url.filter(|url| text.strip_prefix("https://").is_some_and(|rest| mends_nothing(rest, url))).ok_or(Unfit::Malformed)
}

fn mends_nothing(rest: &str, url: &Url) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let Some(host) = url.host_str() else { return false };
    let port = url.port().unwrap_or(443);
    authority.eq_ignore_ascii_case(host) || authority.eq_ignore_ascii_case(&format!("{host}:{port}"))
}

/// `/id/ORGANIZATION/USER`.
fn ids(path: &str) -> Option<(Id, Id)> {
    let mut parts = path.strip_prefix("/id/")?.split('/');
    let (organization, user) = (parts.next()?, parts.next()?);
    let only = parts.next().is_none();
    Some((Id::parse(organization, ORGANIZATION)?, Id::parse(user, USER)?)).filter(|_| only)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV";

    fn parse(text: &str) -> Result<IdentityUrl, Unfit> {
        IdentityUrl::parse(text, &Hosts::default())
    }

    #[test]
    fn identity_urls_of_the_service_are_taken_apart() {
        for host in [
            "login.salesforce.com",
            "test.salesforce.com",
            "north.my.salesforce.com",
            "north.develop.my.salesforce.com",
            "LOGIN.salesforce.com",
        ] {
            let url = parse(&format!("https://{host}{PATH}")).unwrap();
            assert_eq!((url.origin.host, url.origin.port, url.origin.tls), (host.to_ascii_lowercase(), 443, true));
            assert_eq!((url.organization.as_str(), url.user.as_str(), url.path.as_str()), ("00D8k00000QwErT", "0058k00000ZxCvB", PATH));
        }
        assert!(parse("https://login.salesforce.com:443/id/00D8k00000QwErT/0058k00000ZxCvB").is_ok(), "15 characters, and the usual port");
    }

    #[test]
    fn other_hosts_are_sent_nothing() {
        for host in [
            "login.salesforce.com.",
            "login.salesforce.com:8443",
            "evil.test",
            "evilmy.salesforce.com.example.net",
            "my.salesforce.com",
            "evilmy.salesforce.com",
            "x.force.com",
            "x.my.salesforce.com.evil.test",
            "na1.salesforce.com",
            "xn--lgin-5qa.my.salesforce.com",
            "-.my.salesforce.com",
            "login.salesforce.com:80",
        ] {
            let unfit = parse(&format!("https://{host}{PATH}"));
            assert!(matches!(unfit, Err(Unfit::Host | Unfit::Malformed)), "{host}: {unfit:?}");
        }
    }

    #[test]
    fn what_a_parser_would_mend_is_malformed() {
        for text in [
            "",
            "login.salesforce.com",
            "http://login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "HTTPS://login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https:\\\\login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https:///login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://my.salesforce.com@example.net/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://@login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://a:b@login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://login.salesforce.com:/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://login%2esalesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV?format=xml",
            "https://login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV#x",
            "https://login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV/",
            "https://login.salesforce.com/id/../id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV/x",
            "https://login.salesforce.com/id/00D8k00000QwErTEA/0058k00000ZxCvBAAV",
            "https://login.salesforce.com/id/0018k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://login.salesforce.com/services/oauth2/userinfo",
            "https://127.0.0.1/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://[::1]/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://2130706433/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            " https://login.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
        ] {
            assert_eq!(parse(text).map_err(|_| ()), Err(()), "{text}");
        }
        assert_eq!(parse(&format!("https://login.salesforce.com{PATH}{}", "0".repeat(MAX_URL))), Err(Unfit::Malformed));
    }

    #[test]
    fn a_redirect_leads_to_an_instance_and_to_the_same_user() {
        let (url, hosts) = (parse(&format!("https://login.salesforce.com{PATH}")).unwrap(), Hosts::default());
        let next = url.follow(&format!("https://na1.salesforce.com{PATH}?token=x"), &hosts).unwrap();
        assert_eq!((next.origin.host.as_str(), next.path.as_str()), ("na1.salesforce.com", PATH));
        for location in [
            "https://evil.test/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "http://na1.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://na1.salesforce.com/id/00D8k00000QwErTEAV/0058k00000ZxCvCAAV",
            "/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
            "https://na1.salesforce.com:8443/id/00D8k00000QwErTEAV/0058k00000ZxCvBAAV",
        ] {
            assert!(url.follow(location, &hosts).is_err(), "{location}");
        }
    }

    #[test]
    fn only_the_hosts_of_the_configuration_count_and_those_may_have_a_port() {
        let hosts = Hosts::parse(["id.north.test:8443", "*.id.south.test"]).unwrap();
        for (text, fits) in [
            ("https://id.north.test:8443", true),
            ("https://id.north.test", false),
            ("https://x.id.north.test:8443", false),
            ("https://a.id.south.test", true),
            ("https://a.b.id.south.test", true),
            ("https://a.id.south.test:8443", false),
            ("https://id.south.test", false),
            ("https://login.salesforce.com", false),
        ] {
            assert_eq!(IdentityUrl::parse(&format!("{text}{PATH}"), &hosts).is_ok(), fits, "{text}");
        }
        for text in
            ["", "*", "*.com", "*.*.test", "https://a.test", "a.test/", "a.test:99999", "A.test", "1.2.3.4:x", "a..test", "xn--e1a.test"]
        {
            assert!(Hosts::parse([text]).is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_compared_by_their_first_fifteen_characters_and_case() {
        let id = |text| Id::parse(text, ORGANIZATION);
        assert_eq!(id("00D8k00000QwErTEAV"), id("00D8k00000QwErTAAA"));
        assert_ne!(id("00D8k00000QwErTEAV"), id("00D8k00000qwErTEAV"));
        for text in ["00D8k00000QwEr", "00D8k00000QwErTE", "00D8k00000QwErTEAVX", "0058k00000QwErT", "00D8k00000QwEr!", ""] {
            assert_eq!(id(text), None, "{text}");
        }
        assert!(parse(&format!("https://login.salesforce.com{PATH}")).unwrap().names_the_same(&format!("https://x.test{PATH}")));
    }
}
