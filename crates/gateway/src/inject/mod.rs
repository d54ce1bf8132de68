//! What the application is told.

use http::HeaderName;

pub mod headers;
pub mod jwt;
pub mod response;
pub mod session_ticket;
pub mod ws_security;

/// Headers that carry framing, routing or somebody else's state; no injector may write them.
const RESERVED: [&str; 13] = [
    "connection",
    "content-length",
    "cookie",
    "host",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Refuses a header that an injector must not write.
fn injectable(name: &HeaderName) -> Result<(), String> {
    if RESERVED.contains(&name.as_str()) { Err(format!("the header {name} cannot be injected")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use http::{HeaderMap, Method};
    use uuid::Uuid;
    use vestibule_engine::Timestamp;
    use vestibule_engine::chain::Chain;
    use vestibule_engine::decision::Permits;
    use vestibule_engine::identity::{AccountState, Attributes, Identity, Level, Principal, User, UserId, Username};
    use vestibule_engine::inject::{Granted, Injection, Injector, Uninjected};
    use vestibule_engine::policy::Policy;
    use vestibule_engine::request::{Body, Channel, CheckRequest, Client, Host, RequestId, Target};
    use vestibule_engine::route::{Access, BodyNeed, Csrf, Destination, Found, Route};
    use vestibule_engine::session::{LoginId, SessionRef};
    use vestibule_engine::store::{Key, Kind};
    use vestibule_engine::tenant::Tenant;

    use super::*;

    pub(super) fn user() -> User {
        User {
            id: UserId(Uuid::from_u128(7)),
            tenant: "north".into(),
            name: Username::parse("ada").unwrap(),
            display_name: Some("Ada Lovelace".into()),
            email: Some("ada@example.com".into()),
            groups: vec!["staff".into(), "engine room".into()],
            profile: "agent".into(),
            state: AccountState::Active,
            must_change_password: false,
            break_glass: false,
            epoch: 3,
            password: None,
            external_ids: Vec::new(),
            created: Timestamp::UNIX_EPOCH,
        }
    }

    pub(super) fn identity(user: User) -> Identity {
        Identity {
            user: Arc::new(user),
            scheme: "basic-corp".into(),
            method: "basic-corp".into(),
            issuer: "corp".into(),
            level: Level(10),
            authenticated_at: "2027-01-01T00:00:00Z".parse().unwrap(),
            attributes: Arc::new(Attributes::from([("department".to_owned(), vec!["r&d".to_owned(), "a,b".to_owned()])])),
            session: None,
            ambient: false,
            from: None,
        }
    }

    /// The identity as a session carries it.
    pub(super) fn in_session(identity: Identity, token: &str) -> Identity {
        let session = SessionRef {
            key: Key::of(identity.tenant(), Kind::Session, &[token.as_bytes()]),
            login: LoginId([7; 16]),
            opened: identity.authenticated_at,
            until: "2027-01-01T12:00:00Z".parse().unwrap(),
        };
        Identity { scheme: "session".into(), session: Some(session), ..identity }
    }

    pub(super) fn known(identity: Identity) -> Principal {
        Principal::Known(Arc::new(identity))
    }

    pub(super) async fn inject(injector: &dyn Injector, principal: &Principal, now: Timestamp) -> Result<Injection, String> {
        let request = CheckRequest {
            id: RequestId(Uuid::from_u128(9)),
            received: now,
            client: Client { address: "192.0.2.1".parse().unwrap(), channel: Channel::Tls, sni: None, certificate: Default::default() },
            method: Method::GET,
            host: Host::parse("app.example.com").unwrap(),
            target: Target::parse("/").unwrap(),
            headers: HeaderMap::new(),
            body: Body::Unread,
            operation: None,
        };
        let tenant = Tenant {
            id: "north".into(),
            title: "North".into(),
            hosts: Vec::new(),
            portal: None,
            portal_origin: Some("https://login.north.example.com".into()),
            domain: None,
            origins: Vec::new(),
            cors: Default::default(),
            chain: Arc::new(Chain::default()),
            realm_text: "north".into(),
            brand: None,
        };
        let route = Route {
            name: "app".into(),
            access: Access::Open,
            level: Default::default(),
            policy: Policy::default(),
            injectors: Vec::new(),
            strip: HashMap::new(),
            csrf: Csrf::Off,
            body: BodyNeed::Never,
            clients: Vec::new(),
            destination: Destination::Own,
        };
        let found = Found { tenant: Arc::new(tenant), route: Arc::new(route) };
        let permits = Permits::none();
        let asked = Granted { request: &request, found: &found, principal, permits: &permits, now };
        let injection = injector.inject(&asked).await.map_err(|why| match why {
            Uninjected::Unmade(why) => why,
            Uninjected::Malformed(malformed) => format!("{malformed:?}"),
        })?;
        for (name, _) in &injection.set {
            assert!(injector.headers().contains(name), "{name} is set but not listed, so a client's copy would pass");
        }
        Ok(injection)
    }

    #[test]
    fn framing_and_routing_headers_cannot_be_injected() {
        assert!(injectable(&HeaderName::from_static("x-user")).is_ok());
        for name in ["host", "content-length", "transfer-encoding", "connection", "cookie"] {
            assert!(injectable(&HeaderName::from_static(name)).is_err(), "{name}");
        }
    }
}
