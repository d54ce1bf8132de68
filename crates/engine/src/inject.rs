//! What the application is told: headers stripped, then set.
//!
//! An attacker sends our identity headers himself, in a spelling that some server downstream takes for
//! the same one: `X_Forwarded_User`, `x.forwarded.user`, twice, or named in `Connection` (attacks 84–86).
//! So every header an injector could ever set is removed from the client's copy in every spelling first.

use std::collections::HashSet;
use std::fmt::Debug;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::clock::Timestamp;
use crate::decision::Permits;
use crate::identity::Principal;
use crate::request::{Body, CheckRequest, Malformed, Target};
use crate::route::Found;
use crate::scheme::Place;
use crate::session::may_hold_token;

/// Tells the application something about the caller.
#[async_trait]
pub trait Injector: Debug + Send + Sync {
    /// The name the configuration gave it.
    fn name(&self) -> &str;

    /// Every request header it could ever set.
    fn headers(&self) -> &[HeaderName];

    /// What to tell. May be asked for anonymous, too.
    ///
    /// # Errors
    /// [`Uninjected`]; nothing is forwarded then.
    async fn inject(&self, asked: &Granted<'_>) -> Result<Injection, Uninjected>;
}

/// Why the application cannot be told.
#[derive(Debug, PartialEq, Eq)]
pub enum Uninjected {
    /// It cannot be made. A sentence for the log.
    Unmade(String),
    /// The request, into which it would be written, cannot be read.
    Malformed(Malformed),
}

impl From<String> for Uninjected {
    fn from(why: String) -> Self {
        Self::Unmade(why)
    }
}

impl From<&str> for Uninjected {
    fn from(why: &str) -> Self {
        Self::Unmade(why.to_owned())
    }
}

/// The grant an injector speaks about.
#[derive(Debug, Clone, Copy)]
pub struct Granted<'a> {
    /// The request.
    pub request: &'a CheckRequest,
    /// Its tenant and route.
    pub found: &'a Found,
    /// Who is asking.
    pub principal: &'a Principal,
    /// What permitted it.
    pub permits: &'a Permits,
    /// The time of this decision.
    pub now: Timestamp,
}

/// What to change before forwarding.
#[derive(Debug, Clone, Default)]
pub struct Injection {
    /// Request headers to set.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// A new body.
    pub body: Option<Bytes>,
    /// Response headers to set.
    pub response: Vec<(HeaderName, HeaderValue)>,
}

/// Which parts of a client's request never reach the application.
#[derive(Debug, Clone, Default)]
pub struct Strip {
    headers: HashSet<String>,
    /// Headers schemes read credentials from.
    consumed: Vec<HeaderName>,
    /// These, those the injectors could set and the cookies, each once.
    named: Vec<HeaderName>,
    cookies: Vec<String>,
    /// Names that applications have, too, and the paths where they are ours.
    shared: Vec<(String, Vec<String>)>,
    query: Vec<String>,
}

/// Headers of ours and of the proxies in front of us: an application must never see a client's own.
const ALWAYS: [&str; 12] = [
    "x-vestibule-id",
    "x-vestibule-auth",
    "forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
];

/// All headers of this kind are ours.
const OURS: &str = "x-vestibule-";

impl Strip {
    /// What must be stripped for these injectors and schemes.
    pub fn new<'a>(injected: impl IntoIterator<Item = &'a HeaderName>, consumed: impl IntoIterator<Item = &'a Place>) -> Self {
        let mut strip = Self::default();
        strip.headers.extend(ALWAYS.map(str::to_owned));
        strip.named.extend(injected.into_iter().cloned());
        strip.headers.extend(strip.named.iter().map(|name| fold(name.as_str())));
        for place in consumed {
            match place {
                Place::Header(name) => {
                    strip.headers.insert(fold(name.as_str()));
                    strip.consumed.push(name.clone());
                }
                Place::Cookie(name) => strip.cookies.push(name.clone()),
                Place::SharedCookie { name, paths } => strip.shared.push((name.clone(), paths.clone())),
                Place::Query(name) => strip.query.push(name.clone()),
                // Path parameters never reach anybody; SOAP tokens are removed by an injector, which edits the body.
                Place::PathParameter(_) | Place::SoapToken => {}
            }
        }
        strip.named.extend(strip.consumed.iter().cloned());
        strip.named.push(http::header::COOKIE);
        let mut seen = HashSet::new();
        strip.named.retain(|name| seen.insert(name.clone()));
        strip
    }

    /// Whether a header of this name, in whatever spelling, is stripped.
    pub fn covers(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        if name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            return name.starts_with(OURS) || self.headers.contains(name);
        }
        let folded = fold(name);
        folded.starts_with(OURS) || self.headers.contains(&folded)
    }

    /// Whether a client that sends this header claims what only we may say. A credential in its own spelling does not.
    pub fn reserves(&self, name: &HeaderName) -> bool {
        self.covers(name) && !self.consumed.contains(name)
    }

    /// Removes everything that is stripped.
    pub fn apply(&self, headers: &mut HeaderMap, target: &mut Target) {
        let doomed: Vec<HeaderName> = headers.keys().filter(|name| self.covers(name)).cloned().collect();
        for name in doomed {
            headers.remove(name);
        }
        self.strip_cookies(headers, target.path());
        if !self.query.is_empty() {
            let names: Vec<&str> = self.query.iter().map(String::as_str).collect();
            target.remove_query(&names);
        }
    }

    fn strip_cookies(&self, headers: &mut HeaderMap, path: &str) {
        if (self.cookies.is_empty() && self.shared.is_empty()) || !headers.contains_key(http::header::COOKIE) {
            return;
        }
        let ours = |pair: &str| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = name.trim().trim_matches('"');
            let shared = |(cookie, paths): &(String, Vec<String>)| {
                cookie == name && (may_hold_token(value) || paths.iter().any(|folder| is_at_or_below(path, folder)))
            };
            self.cookies.iter().any(|cookie| cookie == name) || self.shared.iter().any(shared)
        };
        let values: Vec<HeaderValue> = headers.get_all(http::header::COOKIE).iter().cloned().collect();
        headers.remove(http::header::COOKIE);
        for value in values {
            // A cookie line that is not text cannot be searched for our cookies, so it does not pass.
            let Ok(text) = value.to_str() else { continue };
            let kept: Vec<&str> = text.split(';').map(str::trim).filter(|pair| !pair.is_empty() && !ours(pair)).collect();
            if let Ok(value) = HeaderValue::from_str(&kept.join("; "))
                && !kept.is_empty()
            {
                headers.append(http::header::COOKIE, value);
            }
        }
    }
}

/// Whether a path is this one or below it.
fn is_at_or_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// One spelling for all: servers downstream take `_` and `.` for `-`.
fn fold(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect()
}

/// A request ready for the application: stripped, then told.
#[derive(Debug)]
pub struct Prepared {
    /// Path and query.
    pub target: Target,
    /// The headers.
    pub headers: HeaderMap,
    /// A body that replaces the client's.
    pub body: Option<Bytes>,
}

/// Applies a grant to the request it was given for. The only way from one to the other.
pub fn prepare(request: CheckRequest, strip: &Strip, injection: &Injection) -> Prepared {
    let CheckRequest { mut headers, mut target, body, .. } = request;
    tell(&mut headers, &mut target, strip, injection);
    let body = injection.body.clone().or(match body {
        Body::Unread => None,
        Body::Whole(bytes) => Some(bytes),
    });
    Prepared { target, headers, body }
}

fn tell(headers: &mut HeaderMap, target: &mut Target, strip: &Strip, injection: &Injection) {
    strip.apply(headers, target);
    for (name, value) in &injection.set {
        headers.insert(name, value.clone());
    }
}

/// What a proxy that forwards by itself must change for the application to see the same as from [`prepare`].
#[derive(Debug)]
pub struct Changes {
    /// Request headers to set, in place of any the client sent.
    pub set: Vec<(HeaderName, HeaderValue)>,
    /// Request headers to remove: those the client sent and all that we could have set.
    pub remove: Vec<HeaderName>,
    /// Another path and query, where they must change.
    pub target: Option<Target>,
    /// Another body, where it must change.
    pub body: Option<Bytes>,
}

impl Changes {
    /// The difference that a grant makes to the request it was given for. Every header that is ours is named, whether the
    /// client sent it or not: a proxy that copies what we say then has no gap to fill (attacks 84, 86).
    pub fn of(request: &CheckRequest, strip: &Strip, injection: &Injection) -> Self {
        let sent = request.headers.keys().filter(|name| strip.covers(name) && !strip.named.contains(name));
        let mut names: Vec<HeaderName> = strip.named.iter().chain(sent).cloned().collect();
        for (name, _) in &injection.set {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        let (mut headers, mut target) = (request.headers.clone(), request.target.clone());
        tell(&mut headers, &mut target, strip, injection);
        let (mut set, mut remove) = (Vec::with_capacity(names.len()), Vec::with_capacity(names.len()));
        for name in names {
            match headers.get(&name) {
                Some(value) => set.push((name, value.clone())),
                None => remove.push(name),
            }
        }
        Self { set, remove, target: (target != request.target).then_some(target), body: injection.body.clone() }
    }
}

#[cfg(test)]
mod tests {
    use http::header::COOKIE;

    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn every_spelling_of_a_reserved_header_is_stripped() {
        let user = HeaderName::from_static("x-user");
        let strip = Strip::new([&user], []);
        let mut headers = map(&[
            ("X-User", "a"),
            ("x_user", "b"),
            ("X.User", "c"),
            ("x-user", "d"),
            ("X_Vestibule_Anything", "e"),
            ("X-Forwarded-For", "f"),
            ("x!user", "g"),
            ("keep", "h"),
        ]);
        strip.apply(&mut headers, &mut Target::parse("/").unwrap());
        assert_eq!(headers, map(&[("keep", "h")]));
    }

    #[test]
    fn our_cookies_are_stripped_and_others_kept() {
        let strip = Strip::new([], [&Place::Cookie("vestibule".into()), &Place::Query("token".into())]);
        let mut headers = map(&[("cookie", "a=1; vestibule=x;b=2"), ("cookie", "vestibule=y"), ("cookie", " \"vestibule\"=z; c=3")]);
        let mut target = Target::parse("/?token=1&q=2").unwrap();
        strip.apply(&mut headers, &mut target);
        let cookies: Vec<_> = headers.get_all(COOKIE).iter().collect();
        assert_eq!(cookies, ["a=1; b=2", "c=3"]);
        assert_eq!(target.to_string(), "/?q=2");
    }

    #[test]
    fn a_shared_cookie_is_stripped_at_its_paths_and_elsewhere_where_it_could_be_ours() {
        let paths = vec!["/Services/Integration".to_owned(), "/Services/SSOToken".to_owned()];
        let strip = Strip::new([], [&Place::SharedCookie { name: "JSESSIONID".into(), paths }]);
        let (id, long) = ("-_Az09".repeat(7) + "A", "x".repeat(52));
        let kept = |path: &str, cookie: &str| {
            let mut headers = map(&[("cookie", cookie)]);
            strip.apply(&mut headers, &mut Target::parse(path).unwrap());
            headers.get(COOKIE).map(|value| value.to_str().unwrap().to_owned())
        };
        for path in ["/Services/Integration", "/Services/Integration/Contact?x=1", "/Services/SSOToken"] {
            for value in ["0A1B2C", &id, "", &long] {
                assert_eq!(kept(path, &format!("JSESSIONID={value}; theme=dark")).as_deref(), Some("theme=dark"), "{path} {value}");
            }
        }
        for path in ["/", "/shop", "/Services", "/Services/IntegrationOther", "/services/integration"] {
            for ours in [id.clone(), format!("\"{id}\""), format!(" {id} "), format!("{id}.node1"), format!("{id}!-123")] {
                assert_eq!(kept(path, &format!("JSESSIONID={ours}; theme=dark")).as_deref(), Some("theme=dark"), "{path} {ours}");
            }
            // Tomcat, with a node; WebLogic; Jetty; and what only has another name.
            let tomcat = "0A1B2C3D4E5F60718293A4B5C6D7E8F9.node1";
            for theirs in ["", tomcat, &format!("{long}!-1203958"), "node01q2w3e4r5t6z7u8i9o0p1a2s3d0.node0"] {
                let cookie = format!("JSESSIONID={theirs}");
                assert_eq!(kept(path, &cookie).as_deref(), Some(&*cookie), "{path}");
            }
            let both = format!("JSESSIONID={id}; JSESSIONID={tomcat}; OTHER={id}");
            assert_eq!(kept(path, &both), Some(format!("JSESSIONID={tomcat}; OTHER={id}")), "{path}");
        }
    }

    #[test]
    fn changes_make_the_request_what_forwarding_would_have_made_it() {
        use crate::fixtures::request;
        let (user, id) = (HeaderName::from_static("x-user"), HeaderName::from_static("x-vestibule-id"));
        let strip = Strip::new([&user, &id], [&Place::Header(http::header::AUTHORIZATION), &Place::Cookie("vestibule".into())]);
        let injection = Injection { set: vec![(user.clone(), HeaderValue::from_static("ada"))], ..Injection::default() };
        let mut request = request(
            "GET",
            "app.north.example/",
            &[("authorization", "Basic x"), ("cookie", "a=1; vestibule=s"), ("x_user", "root"), ("keep", "1")],
        );
        let changes = Changes::of(&request, &strip, &injection);
        assert!(changes.target.is_none() && changes.body.is_none());
        assert!(changes.remove.contains(&id), "named though nobody sent it");
        for name in &changes.remove {
            request.headers.remove(name);
        }
        for (name, value) in &changes.set {
            request.headers.insert(name, value.clone());
        }
        let expected = map(&[("x-user", "ada"), ("cookie", "a=1"), ("keep", "1")]);
        for name in request.headers.keys().filter(|name| *name != http::header::HOST) {
            assert_eq!(request.headers.get(name), expected.get(name), "{name}");
        }
        assert!(strip.reserves(&HeaderName::from_static("x_user")) && !strip.reserves(&http::header::AUTHORIZATION));
    }
}
