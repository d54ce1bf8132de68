//! The scheme `session`: the cookie that a login left in the browser (RFC 6265, and 6265bis §4.1.3 for `__Host-`).
//!
//! Attackers plant cookies from sibling hosts, send two, or send garbage (attacks 54, 90). The prefix makes browsers
//! refuse a planted one, two are no session, and every cookie of ours is kept from the application.

use std::sync::Arc;

use async_trait::async_trait;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Reason, Trail};
use vestibule_engine::identity::{SchemeName, TenantId};
use vestibule_engine::realm::Realm;
use vestibule_engine::request::{Channel, CheckRequest};
use vestibule_engine::scheme::{Asked, Outcome, Place, Rejection, Resumed, Scheme, Unavailable};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::{Opened, Sessions};

use crate::schemes::oidc::{Refresher, Standing};
use crate::serve::pages::COOKIES as PAGES;

/// The session's cookie.
const COOKIE: &str = "__Host-vestibule";
/// The same on plain loopback, where browsers refuse the prefix.
const LOOPBACK_COOKIE: &str = "vestibule";
/// Every cookie of ours beside those of [`PAGES`], wherever it was set; none is forwarded.
const OURS: [&str; 6] = [COOKIE, LOOPBACK_COOKIE, "__Host-vestibule-idp", "vestibule-idp", "__Host-vestibule-device", "vestibule-device"];

/// Recognises callers by the session cookie.
#[derive(Debug)]
pub struct SessionScheme {
    name: SchemeName,
    sessions: Arc<Sessions>,
    directories: Vec<Arc<dyn Realm>>,
    providers: Option<Arc<Refresher>>,
    consumes: Vec<Place>,
}

impl SessionScheme {
    /// The scheme of this name over these sessions; `directories` are asked again about those who came by them.
    pub fn new(name: SchemeName, sessions: Arc<Sessions>, directories: Vec<Arc<dyn Realm>>) -> Self {
        let consumes = OURS.iter().chain(&PAGES).map(|name| Place::Cookie((*name).to_owned())).collect();
        Self { name, sessions, directories, providers: None, consumes }
    }

    /// The same, where OpenID providers are asked again about those who came by them.
    #[must_use]
    pub fn with_providers(self, providers: Option<Arc<Refresher>>) -> Self {
        Self { providers, ..self }
    }
}

#[async_trait]
impl Scheme for SessionScheme {
    fn name(&self) -> &SchemeName {
        &self.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        request.cookies(cookie_name(request)).next().is_some()
    }

    fn explicit(&self) -> bool {
        false
    }

    fn consumes(&self) -> &[Place] {
        &self.consumes
    }

    async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let resume = || self.resume(asked.request, &asked.found.tenant.id, asked.now);
        let outcome = resume().await?;
        let (Outcome::Resumed(resumed), Some(providers)) = (&outcome, &self.providers) else { return Ok(outcome) };
        match providers.check(&resumed.identity, trail).await? {
            Standing::AsBefore => Ok(outcome),
            Standing::Renewed => resume().await,
            Standing::Over(reason) => Ok(Outcome::Rejected(Rejection::next(reason))),
        }
    }
}

impl SessionScheme {
    async fn resume(&self, request: &CheckRequest, tenant: &TenantId, now: Timestamp) -> Result<Outcome, Unavailable> {
        let mut tokens = request.cookies(cookie_name(request));
        let Some(token) = tokens.next() else { return Ok(Outcome::NotApplicable) };
        // Which of two is ours cannot be told, and trying both would let a planted one win.
        if tokens.next().is_some() {
            return Ok(Outcome::Rejected(Rejection::next(Reason::DuplicateCredential)));
        }
        let mut found = self.sessions.find(tenant, request.host.name(), token, now).await?;
        if let Ok(identity) = &found
            && let Some(directory) = self.directories.iter().find(|realm| realm.name().as_str() == identity.issuer.as_str())
            && directory.is_due(identity.user.id)
        {
            directory.renew(&identity.user).await;
            found = self.sessions.find(tenant, request.host.name(), token, now).await?;
        }
        Ok(match found {
            Ok(mut identity) => {
                identity.scheme = self.name.clone();
                Outcome::Resumed(Box::new(Resumed { identity, sessions: Some(self.sessions.clone()) }))
            }
            Err(reason) => Outcome::Rejected(Rejection::next(reason)),
        })
    }
}

/// The name of the session cookie on the host of this request.
pub fn cookie_name(request: &CheckRequest) -> &'static str {
    if is_plain_loopback(request) { LOOPBACK_COOKIE } else { COOKIE }
}

/// The `Set-Cookie` value that gives the browser a session. Without `Max-Age`: it goes with the browser, and the
/// store decides when it is over.
pub fn set_cookie(request: &CheckRequest, opened: &Opened) -> Secret<String> {
    Secret::new(format!("{}={}; {}", cookie_name(request), opened.token.reveal(), attributes(request)))
}

/// The `Set-Cookie` value that takes it away.
pub fn clear_cookie(request: &CheckRequest) -> String {
    format!("{}=; Max-Age=0; {}", cookie_name(request), attributes(request))
}

fn attributes(request: &CheckRequest) -> &'static str {
    if is_plain_loopback(request) { "Path=/; HttpOnly; SameSite=Lax" } else { "Path=/; Secure; HttpOnly; SameSite=Lax" }
}

/// RFC 6761 §6.3: such a name never leaves the machine.
fn is_plain_loopback(request: &CheckRequest) -> bool {
    match request.client.channel {
        Channel::Plain => request.host.is_localhost(),
        Channel::Tls => false,
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use http::{HeaderMap, HeaderValue, Method};
    use uuid::Uuid;
    use vestibule_engine::clock::{Clock, ManualClock};
    use vestibule_engine::identity::{Identity, Issuer, Level};
    use vestibule_engine::request::{Body, Client, Host, RequestId, Target};
    use vestibule_engine::session::Settings;
    use vestibule_engine::store::memory::{MemoryDurableStore, MemoryStore};
    use vestibule_engine::store::{DurableStore, conformance};
    use vestibule_engine::users::Users;

    use super::*;

    const LAG: Duration = Duration::from_secs(1);

    fn request(host: &str, channel: Channel, cookies: &[&str]) -> CheckRequest {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(http::header::COOKIE, HeaderValue::from_str(cookie).unwrap());
        }
        CheckRequest {
            id: RequestId(Uuid::nil()),
            received: Timestamp::UNIX_EPOCH,
            client: Client { address: Ipv4Addr::LOCALHOST.into(), channel, sni: None, certificate: Default::default() },
            method: Method::GET,
            host: Host::parse(host).unwrap(),
            target: Target::parse("/").unwrap(),
            headers,
            body: Body::Unread,
            operation: None,
        }
    }

    /// The scheme, and a session it knows on `app.example`.
    async fn scheme() -> (SessionScheme, Opened, Timestamp) {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
        let durable = Arc::new(MemoryDurableStore::default());
        let user = conformance::user(&"north".into(), "ada").unwrap();
        durable.insert_user(&user).await.unwrap();
        let users = Arc::new(Users::new(durable, LAG));
        let sessions = Arc::new(Sessions::new(Arc::new(MemoryStore::new(clock.clone())), users, Settings::default()));
        let identity = Identity {
            user: Arc::new(user),
            scheme: "form".into(),
            method: "form".into(),
            issuer: Issuer::from("local"),
            level: Level(10),
            authenticated_at: clock.now(),
            attributes: Arc::default(),
            session: None,
            ambient: false,
            from: None,
        };
        let opened = sessions.open(&identity, "app.example", clock.now(), &mut Trail::new(clock.clone())).await.unwrap();
        (SessionScheme::new("cookie".into(), sessions, Vec::new()), opened, clock.now())
    }

    async fn resume(scheme: &SessionScheme, now: Timestamp, cookies: &[&str]) -> Result<Box<Identity>, Option<Reason>> {
        let request = request("app.example:8443", Channel::Tls, cookies);
        match scheme.resume(&request, &"north".into(), now).await.unwrap() {
            Outcome::Resumed(resumed) => Ok(Box::new(resumed.identity)),
            Outcome::Rejected(rejection) => Err(Some(rejection.reason)),
            Outcome::NotApplicable => Err(None),
            Outcome::Authenticated(_) | Outcome::Opening(..) => panic!("a session proves nothing anew"),
        }
    }

    #[tokio::test]
    async fn a_cookie_resumes_its_session() {
        let (scheme, opened, now) = scheme().await;
        let cookie = format!("theme=dark; __Host-vestibule={}", opened.token.reveal());
        let identity = resume(&scheme, now, &[&cookie]).await.unwrap();
        assert_eq!((identity.scheme.as_str(), identity.method.as_str()), ("cookie", "form"));
        assert_eq!(identity.session.map(|session| session.key), Some(opened.session.key));
    }

    #[tokio::test]
    async fn two_session_cookies_are_none() {
        let (scheme, opened, now) = scheme().await;
        let (good, planted) = (format!("__Host-vestibule={}", opened.token.reveal()), "__Host-vestibule=planted".to_owned());
        let one_line = format!("{good}; {planted}");
        let cases: [&[&str]; 4] = [&[&good, &planted], &[&planted, &good], &[&one_line], &[&good, &good]];
        for cookies in cases {
            assert_eq!(resume(&scheme, now, cookies).await.unwrap_err(), Some(Reason::DuplicateCredential));
        }
    }

    #[tokio::test]
    async fn garbage_and_foreign_cookies_are_no_session() {
        let (scheme, opened, now) = scheme().await;
        let huge = format!("__Host-vestibule={}", "x".repeat(100_000));
        for cookie in ["__Host-vestibule=", "__Host-vestibule=%00", huge.as_str()] {
            assert_eq!(resume(&scheme, now, &[cookie]).await.unwrap_err(), Some(Reason::UnknownSession));
        }
        // A sibling host can plant the unprefixed name; on TLS it means nothing.
        let planted = format!("vestibule={}", opened.token.reveal());
        assert_eq!(resume(&scheme, now, &[&planted]).await.unwrap_err(), None);
        assert!(!scheme.presents(&request("app.example", Channel::Tls, &[&planted])));
    }

    #[tokio::test]
    async fn cookies_carry_what_browsers_need_to_guard_them() {
        let (scheme, opened, _) = scheme().await;
        let token = opened.token.reveal();
        for (host, channel, set, clear) in [
            (
                "app.example",
                Channel::Tls,
                format!("__Host-vestibule={token}; Path=/; Secure; HttpOnly; SameSite=Lax"),
                "__Host-vestibule=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax",
            ),
            (
                "app.localhost:8080",
                Channel::Plain,
                format!("vestibule={token}; Path=/; HttpOnly; SameSite=Lax"),
                "vestibule=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax",
            ),
            (
                "app.localhost:8443",
                Channel::Tls,
                format!("__Host-vestibule={token}; Path=/; Secure; HttpOnly; SameSite=Lax"),
                "__Host-vestibule=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax",
            ),
            (
                "app.example",
                Channel::Plain,
                format!("__Host-vestibule={token}; Path=/; Secure; HttpOnly; SameSite=Lax"),
                "__Host-vestibule=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=Lax",
            ),
        ] {
            let request = request(host, channel, &[]);
            assert_eq!(set_cookie(&request, &opened).reveal(), &set);
            assert_eq!(clear_cookie(&request), clear);
        }
        assert!(!scheme.explicit());
        assert_eq!(scheme.consumes().len(), OURS.len() + PAGES.len());
    }
}
