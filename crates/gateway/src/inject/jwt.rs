//! A signed token that tells the application who is asking, so that it need not trust the network between
//! us and it (RFC 7519, OpenID Connect Core §5.1 for the names of the claims).
//!
//! An attacker wants a token of somebody else, or of what he was before: the previous user of a session, a
//! lower level, a group he has lost, a key that was revoked (attack 93). Tokens are signed once and reused, so
//! everything a token says, and the key it is signed with, is in the name under which it is kept.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use serde_json::Map;
use vestibule_engine::clock::random;
use vestibule_engine::identity::Identity;
use vestibule_engine::inject::{Granted, Injection, Injector, Uninjected};
use vestibule_engine::store;
use vestibule_engine::tenant::Tenant;
use vestibule_oidc::claims::Claims;
use vestibule_oidc::jose::{InjectedJwt, SigningKey};

use crate::inject::injectable;
use crate::keys::KeyRing;

/// Tokens kept for reuse; about a kilobyte each.
const CACHED: usize = 32_768;
/// A token is replaced when it has only this long to live, or a fifth of its life if that is less.
const MARGIN: i64 = 60;
/// Shortest life of a token we sign.
const MIN_LIFE: Duration = Duration::from_secs(10);

/// How tokens are made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The header that carries it.
    pub header: HeaderName,
    /// How it stands there.
    pub form: Form,
    /// `aud`: the application.
    pub audience: String,
    /// `iss`; where `None`, the origin of the tenant's portal.
    pub issuer: Option<String>,
    /// How long a token lives.
    pub life: Duration,
}

impl Settings {
    /// A bare token in `X-Vestibule-Token` that lives five minutes.
    pub fn new(audience: &str) -> Self {
        Self {
            header: HeaderName::from_static("x-vestibule-token"),
            form: Form::Bare,
            audience: audience.to_owned(),
            issuer: None,
            life: Duration::from_secs(300),
        }
    }
}

/// How a token stands in its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    /// The token alone.
    Bare,
    /// `Bearer` and the token (RFC 6750 §2.1).
    Bearer,
}

/// Sets a header to a signed token. Anonymous gets none.
#[derive(Debug)]
pub struct JwtInjector {
    name: String,
    header: [HeaderName; 1],
    settings: Settings,
    life: i64,
    keys: Arc<KeyRing<InjectedJwt>>,
    cache: Cache<Box<[u8]>, Kept>,
}

/// A token that may be sent again until `until`, seconds since 1970.
#[derive(Debug, Clone)]
struct Kept {
    value: HeaderValue,
    until: i64,
}

impl JwtInjector {
    /// An injector of this name that signs with these keys.
    ///
    /// # Errors
    /// A sentence: no audience, a header that may not be injected, or a life that the keys do not cover.
    pub fn new(name: &str, settings: Settings, keys: Arc<KeyRing<InjectedJwt>>) -> Result<Self, String> {
        injectable(&settings.header)?;
        if settings.header == AUTHORIZATION && settings.form == Form::Bare {
            return Err("in Authorization a token must stand as Bearer".to_owned());
        }
        if settings.audience.is_empty() || settings.issuer.as_deref() == Some("") {
            return Err("audience and issuer must not be empty".to_owned());
        }
        // A token must not outlive the publication of the key that signed it.
        let longest = keys.settings().token_life;
        if settings.life < MIN_LIFE || settings.life > longest {
            return Err(format!("a token must live between {} and {} seconds", MIN_LIFE.as_secs(), longest.as_secs()));
        }
        let life = i64::try_from(settings.life.as_secs()).map_err(|_| "a token cannot live so long".to_owned())?;
        Ok(Self { name: name.to_owned(), header: [settings.header.clone()], settings, life, keys, cache: Cache::new(CACHED) })
    }

    fn token(&self, identity: &Identity, tenant: &Tenant, now: i64) -> Result<HeaderValue, String> {
        let key = self.keys.current();
        let issuer = self.issuer(tenant);
        let name = kept_name(identity, &issuer, key.id());
        if let Some(kept) = self.cache.get(&*name)
            && now < kept.until
        {
            return Ok(kept.value);
        }
        let kept = self.sign(identity, issuer, &key, now)?;
        self.cache.insert(name.into(), kept.clone());
        Ok(kept.value)
    }

    fn sign(&self, identity: &Identity, issuer: String, key: &SigningKey<InjectedJwt>, now: i64) -> Result<Kept, String> {
        // No token outlives the session it speaks of.
        let end = identity.session.as_ref().map_or(i64::MAX, |session| session.until.as_second());
        let expires = now.saturating_add(self.life).min(end);
        if expires <= now {
            return Err("the session is over".to_owned());
        }
        let id = random::<16>().map_err(|unavailable| unavailable.to_string())?;
        let claims = Claims {
            issuer,
            audience: vec![self.settings.audience.clone()],
            subject: identity.user.id.to_string(),
            expires,
            not_before: None,
            issued_at: Some(now),
            id: Some(URL_SAFE_NO_PAD.encode(id)),
            other: about(identity),
        };
        let token = key.sign(&claims).map_err(|error| format!("the token could not be signed: {error}"))?;
        let text = match self.settings.form {
            Form::Bare => token,
            Form::Bearer => format!("Bearer {token}"),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| "the token is not a header value".to_owned())?;
        value.set_sensitive(true);
        Ok(Kept { value, until: expires - MARGIN.min((expires - now) / 5) })
    }

    /// One name per tenant, whatever host was asked: an application trusts one issuer.
    fn issuer(&self, tenant: &Tenant) -> String {
        let named = self.settings.issuer.as_ref().or(tenant.portal_origin.as_ref()).or(tenant.origins.first());
        named.cloned().unwrap_or_else(|| format!("urn:vestibule:tenant:{}", tenant.id))
    }
}

#[async_trait]
impl Injector for JwtInjector {
    fn name(&self) -> &str {
        &self.name
    }

    fn headers(&self) -> &[HeaderName] {
        &self.header
    }

    async fn inject(&self, asked: &Granted<'_>) -> Result<Injection, Uninjected> {
        let Some(identity) = asked.principal.identity() else { return Ok(Injection::default()) };
        let value = self.token(identity, &asked.found.tenant, asked.now.as_second())?;
        Ok(Injection { set: vec![(self.settings.header.clone(), value)], ..Injection::default() })
    }
}

/// The claims about the caller. Whatever is added here must be added to [`kept_name`].
fn about(identity: &Identity) -> Map<String, serde_json::Value> {
    let user = &identity.user;
    let groups: Vec<&str> = user.groups.iter().map(|group| group.as_str()).collect();
    let mut claims = Map::new();
    let mut tell = |name: &str, value: serde_json::Value| drop(claims.insert(name.to_owned(), value));
    tell("preferred_username", user.name.as_str().into());
    if let Some(name) = &user.display_name {
        tell("name", name.as_str().into());
    }
    if let Some(email) = &user.email {
        tell("email", email.as_str().into());
    }
    tell("groups", groups.into());
    tell("profile", user.profile.as_str().into());
    tell("tenant", user.tenant.as_str().into());
    tell("amr", vec![identity.method.as_str()].into());
    tell("acr", format!("urn:vestibule:level:{}", identity.level.0).into());
    tell("auth_time", identity.authenticated_at.as_second().into());
    claims
}

/// The name under which a token is kept: all it says, who carries it, and the key that signs it. Its
/// parts are length-prefixed, so that no two callers share one name (attack 92).
///
/// A session-less caller proves itself with every request; its `auth_time` is that of the first of them.
fn kept_name(identity: &Identity, issuer: &str, key: &str) -> Vec<u8> {
    let user = &identity.user;
    let authenticated_at = identity.authenticated_at.as_second().to_be_bytes();
    let (carrier, until) = match &identity.session {
        Some(session) => (session.key.as_str().as_bytes(), session.until.as_second()),
        None => (identity.scheme.as_str().as_bytes(), 0),
    };
    let until = until.to_be_bytes();
    let (epoch, level, groups) = (user.epoch.to_be_bytes(), [identity.level.0], user.groups.len().to_be_bytes());
    // `None` and an empty text are different claims.
    let optional = |text: &Option<String>| text.as_ref().map_or_else(Vec::new, |text| [b"=", text.as_bytes()].concat());
    let (name, email) = (optional(&user.display_name), optional(&user.email));
    let mut parts: Vec<&[u8]> = vec![
        key.as_bytes(),
        issuer.as_bytes(),
        user.tenant.as_str().as_bytes(),
        user.id.0.as_bytes(),
        &epoch,
        &level,
        if identity.session.is_some() { b"session" } else { b"none" },
        carrier,
        &until,
        if identity.session.is_some() { &authenticated_at } else { b"" },
        identity.method.as_str().as_bytes(),
        user.name.as_str().as_bytes(),
        &name,
        &email,
        user.profile.as_str().as_bytes(),
        &groups,
    ];
    parts.extend(user.groups.iter().map(|group| group.as_str().as_bytes()));
    store::name(&parts)
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use vestibule_engine::clock::Clock;
    use vestibule_engine::identity::{Level, Principal, Username};
    use vestibule_engine::session::SessionRef;
    use vestibule_oidc::claims::Expected;

    use super::*;
    use crate::inject::tests::{identity, in_session, inject, known, user};
    use crate::keys::tests::{Node, node};

    const ISSUER: &str = "https://login.north.example.com";

    fn injector(node: &Node) -> JwtInjector {
        JwtInjector::new("jwt", Settings::new("app"), node.ring.clone()).unwrap()
    }

    async fn token(injector: &JwtInjector, node: &Node, identity: &Identity) -> String {
        let injection = inject(injector, &known(identity.clone()), node.clock.now()).await.unwrap();
        assert_eq!(injection.set.len(), 1);
        assert!(injection.set[0].1.is_sensitive());
        injection.set[0].1.to_str().unwrap().to_owned()
    }

    fn read(node: &Node, token: &str) -> Claims {
        let expected = Expected { issuer: ISSUER, audience: "app", skew: 0 };
        node.ring.trusted().verify(token, &expected, node.clock.now().as_second()).unwrap().into_claims()
    }

    #[tokio::test]
    async fn the_token_says_who_is_asking() {
        let node = node().await;
        let claims = read(&node, &token(&injector(&node), &node, &in_session(identity(user()), "s")).await);
        let now = node.clock.now().as_second();
        assert_eq!(claims.subject, user().id.to_string());
        assert_eq!((claims.issued_at, claims.expires), (Some(now), now + 300));
        assert_eq!(claims.id.unwrap().len(), 22);
        assert_eq!(
            serde_json::Value::Object(claims.other),
            json!({
                "preferred_username": "ada",
                "name": "Ada Lovelace",
                "email": "ada@example.com",
                "groups": ["staff", "engine room"],
                "profile": "agent",
                "tenant": "north",
                "amr": ["basic-corp"],
                "acr": "urn:vestibule:level:10",
                "auth_time": now,
            })
        );
    }

    #[tokio::test]
    async fn anonymous_gets_none_and_the_header_is_stripped_all_the_same() {
        let node = node().await;
        let injector = injector(&node);
        assert!(inject(&injector, &Principal::Anonymous, node.clock.now()).await.unwrap().set.is_empty());
        assert_eq!(injector.headers(), ["x-vestibule-token"]);
    }

    #[tokio::test]
    async fn a_token_is_signed_once_and_reused_until_near_its_end() {
        let node = node().await;
        let injector = injector(&node);
        let session = in_session(identity(user()), "s");
        let first = token(&injector, &node, &session).await;
        assert_eq!(token(&injector, &node, &session).await, first);
        node.clock.advance(Duration::from_secs(239));
        assert_eq!(token(&injector, &node, &session).await, first);
        node.clock.advance(Duration::from_secs(1));
        let second = token(&injector, &node, &session).await;
        assert_ne!(second, first);
        read(&node, &second);
    }

    #[tokio::test]
    async fn a_caller_without_a_session_reuses_its_token_too() {
        let node = node().await;
        let injector = injector(&node);
        let mut basic = identity(user());
        let first = token(&injector, &node, &basic).await;
        basic.authenticated_at = "2027-01-01T00:00:30Z".parse().unwrap();
        assert_eq!(token(&injector, &node, &basic).await, first);
        basic.scheme = "basic-local".into();
        assert_ne!(token(&injector, &node, &basic).await, first);
    }

    #[tokio::test]
    async fn whatever_a_token_says_a_change_makes_a_new_one() {
        let node = node().await;
        let injector = injector(&node);
        let base = in_session(identity(user()), "s");
        let mut seen = vec![token(&injector, &node, &base).await];
        type Change = fn(&mut Identity);
        let changes: [(&str, Change); 15] = [
            ("another session", |identity| *identity = in_session(identity.clone(), "t")),
            ("no session", |identity| identity.session = None),
            ("another end", |identity| {
                let session = identity.session.clone().unwrap();
                identity.session = Some(SessionRef { until: "2027-01-01T00:00:10Z".parse().unwrap(), ..session });
            }),
            ("level", |identity| identity.level = Level(20)),
            ("method", |identity| identity.method = "saml".into()),
            ("login", |identity| identity.authenticated_at = "2027-01-01T00:00:01Z".parse().unwrap()),
            ("epoch", |identity| edit(identity, |user| user.epoch += 1)),
            ("tenant", |identity| edit(identity, |user| user.tenant = "south".into())),
            ("user", |identity| edit(identity, |user| user.id.0 = uuid::Uuid::from_u128(8))),
            ("name", |identity| edit(identity, |user| user.name = Username::parse("eve").unwrap())),
            ("display name", |identity| edit(identity, |user| user.display_name = None)),
            ("empty display name", |identity| edit(identity, |user| user.display_name = Some(String::new()))),
            ("mail", |identity| edit(identity, |user| user.email = Some("eve@example.com".into()))),
            ("groups", |identity| edit(identity, |user| user.groups = vec!["staffengine room".into()])),
            ("profile", |identity| edit(identity, |user| user.profile = "admin".into())),
        ];
        for (what, change) in changes {
            let mut changed = base.clone();
            change(&mut changed);
            let token = token(&injector, &node, &changed).await;
            assert!(!seen.contains(&token), "{what}");
            seen.push(token);
        }
        assert_eq!(token(&injector, &node, &base).await, seen[0]);
    }

    fn edit(identity: &mut Identity, edit: impl FnOnce(&mut vestibule_engine::identity::User)) {
        edit(Arc::make_mut(&mut identity.user));
    }

    #[tokio::test]
    async fn no_token_of_a_replaced_or_revoked_key_is_sent() {
        let node = node().await;
        let injector = injector(&node);
        let session = in_session(identity(user()), "s");
        let first = token(&injector, &node, &session).await;
        node.ring.rotate().await.unwrap();
        let second = token(&injector, &node, &session).await;
        assert_ne!(second, first);
        // What is on its way still verifies after a rotation, not after a revocation.
        read(&node, &first);
        let key = node.ring.current().id().to_owned();
        node.ring.revoke(&key).await.unwrap();
        let third = token(&injector, &node, &session).await;
        assert_ne!(third, second);
        read(&node, &third);
        let expected = Expected { issuer: ISSUER, audience: "app", skew: 0 };
        assert!(node.ring.trusted().verify(&second, &expected, node.clock.now().as_second()).is_err());
    }

    #[tokio::test]
    async fn no_token_outlives_its_session() {
        let node = node().await;
        let injector = injector(&node);
        let mut ending = in_session(identity(user()), "s");
        let session = ending.session.clone().unwrap();
        ending.session = Some(SessionRef { until: "2027-01-01T00:00:20Z".parse().unwrap(), ..session });
        let first = token(&injector, &node, &ending).await;
        assert_eq!(read(&node, &first).expires, node.clock.now().as_second() + 20);
        node.clock.advance(Duration::from_secs(15));
        assert_eq!(token(&injector, &node, &ending).await, first);
        node.clock.advance(Duration::from_secs(1));
        assert_ne!(token(&injector, &node, &ending).await, first);
        node.clock.advance(Duration::from_secs(4));
        assert!(inject(&injector, &known(ending), node.clock.now()).await.is_err());
    }

    #[tokio::test]
    async fn hostile_names_stay_inside_their_claims() {
        let node = node().await;
        let mut hostile = user();
        hostile.name = Username::parse("ada\",\"sub\":\"root").unwrap();
        hostile.display_name = Some("\r\nX: y\u{0}\"}".into());
        hostile.groups = vec!["staff\",\"admin".into(), "a,b".into()];
        let claims = read(&node, &token(&injector(&node), &node, &identity(hostile)).await);
        assert_eq!(claims.subject, user().id.to_string());
        assert_eq!(claims.other["preferred_username"], "ada\",\"sub\":\"root");
        assert_eq!(claims.other["groups"], json!(["staff\",\"admin", "a,b"]));
    }

    #[tokio::test]
    async fn a_token_too_long_to_read_is_not_sent() {
        let node = node().await;
        let mut long = user();
        long.groups = (0..2000).map(|n| format!("group-{n}").as_str().into()).collect();
        assert!(inject(&injector(&node), &known(identity(long)), node.clock.now()).await.is_err());
    }

    #[tokio::test]
    async fn it_can_stand_in_authorization_as_bearer_only() {
        let node = node().await;
        let bearer = Settings { header: AUTHORIZATION, form: Form::Bearer, ..Settings::new("app") };
        let injector = JwtInjector::new("jwt", bearer.clone(), node.ring.clone()).unwrap();
        let sent = token(&injector, &node, &identity(user())).await;
        read(&node, sent.strip_prefix("Bearer ").unwrap());
        let refused = [
            Settings { form: Form::Bare, ..bearer },
            Settings { header: http::header::COOKIE, ..Settings::new("app") },
            Settings::new(""),
            Settings { issuer: Some(String::new()), ..Settings::new("app") },
            Settings { life: Duration::from_secs(9), ..Settings::new("app") },
            Settings { life: Duration::from_secs(301), ..Settings::new("app") },
        ];
        for settings in refused {
            assert!(JwtInjector::new("jwt", settings.clone(), node.ring.clone()).is_err(), "{settings:?}");
        }
    }
}
