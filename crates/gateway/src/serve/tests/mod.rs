//! The data path over real sockets: a scripted chain in the middle, upstreams of our own behind it.

mod answers;
mod connections;
mod forwarding;
mod hostile;

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tower::util::BoxCloneSyncService;
use vestibule_engine::admission::{Admission, IssuerRules};
use vestibule_engine::audit::{Recorded, Sink, Trail};
use vestibule_engine::chain::{Chain, Link, OnReject};
use vestibule_engine::clock::SystemClock;
use vestibule_engine::csrf::CsrfKey;
use vestibule_engine::engine::Engine;
use vestibule_engine::identity::{AccountState, Identity, Issuer, Level, SchemeName, TenantId, User, UserId, Username};
use vestibule_engine::inject::{Granted, Injection, Injector, Strip, Uninjected};
use vestibule_engine::request::{CheckRequest, Host};
use vestibule_engine::route::{Access, BodyNeed, Csrf, Destination, Pattern, Route, Routes, Scope};
use vestibule_engine::scheme::{
    Asked, Callback, Challenge, Departure, Login, LoginFlow, Outcome, Place, Resumed, Scheme, Start, Unavailable,
};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::{Sessions, Settings as SessionSettings};
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;

use crate::forward::{self, Address, HostHeader, HttpVersion, Transport, Upstream};
use crate::serve::answer::{Answers, Page};
use crate::serve::control::{OnControl, OwnPages};
use crate::serve::listen::{Capacity, Doors, Listener, ListenerTls};
use crate::serve::load::Terms;
use crate::serve::proxy::{Door, Limits, Running, Shared};

const USER: HeaderName = HeaderName::from_static("x-user");
const TOKEN: HeaderName = HeaderName::from_static("x-token");

/// A gateway under test.
pub struct House {
    pub doors: Doors,
    pub shared: Arc<Shared>,
    pub address: SocketAddr,
}

/// What a test changes.
pub struct Plan {
    pub upstreams: Vec<(&'static str, forward::Settings)>,
    pub limits: Limits,
    pub tls: Option<ListenerTls>,
    pub login: bool,
    pub http: bool,
    pub compat: bool,
    pub budget: usize,
    pub over: Arc<tokio::sync::Notify>,
    pub connections: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            upstreams: Vec::new(),
            limits: Limits::default(),
            tls: None,
            login: false,
            http: true,
            compat: false,
            budget: 1 << 20,
            over: Arc::default(),
            connections: 100,
        }
    }
}

impl Plan {
    pub fn to(address: SocketAddr) -> Self {
        Self { upstreams: vec![("app", plain(address))], ..Self::default() }
    }

    pub fn open(self) -> House {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let (tls, connections, budget) = (self.tls.clone(), self.connections, self.budget);
        let shared = Shared::new(self.running(), budget);
        let listener = Listener { socket, tls };
        let doors = Doors::open(vec![listener], shared.clone(), Capacity { threads: 2, connections }).unwrap();
        House { doors, shared, address }
    }

    pub fn running(self) -> Running {
        let upstreams = self.upstreams.iter();
        let upstreams =
            upstreams.map(|(name, settings)| (Arc::from(*name), Arc::new(Upstream::new(settings.clone(), 2).unwrap()))).collect();
        let over = self.over.clone();
        Running {
            engine: Arc::new(engine(self.login, self.http)),
            passwords: None,
            upstreams,
            pages: OnControl::new(tokio::runtime::Handle::current(), own_pages()),
            answers: Answers {
                compat: self.compat.then(|| TenantId::from("north")).into_iter().collect(),
                integrations: Default::default(),
                page: Arc::new(|notice| Page {
                    html: format!("<p>{} {}</p>", notice.sentence, notice.id),
                    content_security_policy: HeaderValue::from_static("default-src 'none'"),
                }),
            },
            doors: vec![Door { limits: self.limits, ..Door::default() }],
            terms: Terms::default(),
            session_cookie: |_, opened| opened.token.clone(),
            kept: None,
            until_over: Arc::new(move |_, _| {
                let over = over.clone();
                Box::pin(async move { over.notified().await })
            }),
        }
    }
}

pub fn plain(address: SocketAddr) -> forward::Settings {
    forward::Settings {
        addresses: vec![Address { host: address.ip().to_string(), port: address.port() }],
        transport: Transport::Plain(HttpVersion::Http1),
        host: HostHeader::Preserve,
        limits: forward::Limits { head: Duration::from_secs(5), ..forward::Limits::default() },
    }
}

fn own_pages() -> OwnPages {
    BoxCloneSyncService::new(tower::service_fn(|request: Request<axum::body::Body>| async move {
        let judged = request.extensions().get::<Arc<CheckRequest>>().unwrap().clone();
        let body = request.into_body().collect().await.unwrap().to_bytes();
        assert_ne!(judged.target.path(), "/panic", "this page panics");
        let text = format!("own {} {} {}", judged.method, judged.target, body.len());
        Ok::<_, Infallible>(Response::new(axum::body::Body::from(text)))
    }))
}

fn engine(login: bool, http: bool) -> Engine {
    let tenant_id = TenantId::from("north");
    let token: Arc<dyn Scheme> =
        Arc::new(Token { name: "token".into(), consumes: vec![Place::Header(TOKEN), Place::Query("token".into())], login, http });
    let chain = Arc::new(Chain::new(vec![Link { scheme: token, on_reject: OnReject::Continue, remember: false }]));
    let tenant = Arc::new(Tenant {
        id: tenant_id.clone(),
        title: "North".into(),
        hosts: ["a.test", "b.test"].map(|host| Host::parse(host).unwrap()).into(),
        portal: Some(Host::parse("portal.test").unwrap()),
        portal_origin: Some("https://portal.test".into()),
        domain: None,
        origins: vec!["https://a.test".into()],
        cors: Default::default(),
        chain: chain.clone(),
        realm_text: "North \"wing\"".into(),
        brand: None,
    });
    let injector: Arc<dyn Injector> = Arc::new(TellUser(vec![USER]));
    let strip = Strip::new([&USER], chain.consumes());
    let route = |name: &str, access, body, destination| {
        Arc::new(Route {
            name: name.into(),
            access,
            level: Default::default(),
            policy: Default::default(),
            injectors: vec![injector.clone()],
            strip: HashMap::from([(tenant_id.clone(), strip.clone())]),
            csrf: Csrf::Origin,
            body,
            clients: Vec::new(),
            destination,
        })
    };
    let app = Destination::Upstream("app".into());
    let whole = BodyNeed::Whole { limit: 4096, types: vec!["text/xml".into()] };
    let mut routes = Routes::default();
    let pattern = |text| Pattern::parse(text, Vec::new()).unwrap();
    let everywhere = || Scope::Tenant(tenant_id.clone());
    routes.add(everywhere(), &pattern("/**"), route("open", Access::Open, BodyNeed::Never, app.clone())).unwrap();
    routes.add(everywhere(), &pattern("/protected/**"), route("protected", Access::Protected, BodyNeed::Never, app.clone())).unwrap();
    routes.add(everywhere(), &pattern("/whole"), route("whole", Access::Open, whole, app)).unwrap();
    let other = Destination::Upstream("nowhere".into());
    routes.add(everywhere(), &pattern("/nowhere"), route("nowhere", Access::Open, BodyNeed::Never, other)).unwrap();
    let portal = route("portal", Access::Open, BodyNeed::Never, Destination::Own);
    routes.add(Scope::Host(Host::parse("portal.test").unwrap()), &pattern("/**"), portal).unwrap();
    routes.add_tenant(tenant, None).unwrap();
    let store = Arc::new(NoStore);
    let users = Arc::new(Users::new(store.clone(), Duration::from_secs(1)));
    Engine {
        routes,
        admission: Admission::new(
            users.clone(),
            store.clone(),
            HashMap::from([(Issuer::from("test"), IssuerRules { local: true })]),
            Vec::new(),
        ),
        sessions: Arc::new(Sessions::new(store, users, SessionSettings::default())),
        csrf: CsrfKey::new(&Secret::new([7; 32])),
        sink: Arc::new(NoSink),
        clock: Arc::new(SystemClock::default()),
    }
}

/// `X-Token: NAME` is NAME; `down` cannot be asked, `forged` ends the chain, `panic` panics.
#[derive(Debug)]
struct Token {
    name: SchemeName,
    consumes: Vec<Place>,
    login: bool,
    http: bool,
}

#[async_trait]
impl Scheme for Token {
    fn name(&self) -> &SchemeName {
        &self.name
    }

    fn presents(&self, request: &CheckRequest) -> bool {
        request.headers.contains_key(TOKEN)
    }

    fn consumes(&self) -> &[Place] {
        &self.consumes
    }

    async fn authenticate(&self, asked: &Asked<'_>, _: &mut Trail) -> Result<Outcome, Unavailable> {
        use vestibule_engine::audit::Reason;
        use vestibule_engine::scheme::Rejection;
        let name = asked.request.headers.get(TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match name {
            "down" => return Err(Unavailable::new("directory", "test")),
            "forged" => return Ok(Outcome::Rejected(Rejection::chain(Reason::Forged))),
            "busy" => return Ok(Outcome::Rejected(Rejection::chain(Reason::TooManyWaiting))),
            "wrong" => return Ok(Outcome::Rejected(Rejection::next(Reason::WrongPassword))),
            "panic" => panic!("a scheme with a defect"),
            _ => {}
        }
        Ok(Outcome::Resumed(Box::new(Resumed { identity: identity(name, asked.now), sessions: None })))
    }

    fn challenge(&self, _: &CheckRequest) -> Option<Challenge> {
        self.http.then(|| Challenge { scheme: "Basic", realm: "North \"wing\"".into(), error: None, scope: String::new() })
    }

    fn login_flow(&self) -> Option<&dyn LoginFlow> {
        self.login.then_some(self as &dyn LoginFlow)
    }
}

#[async_trait]
impl LoginFlow for Token {
    async fn begin(&self, _: &Start<'_>) -> Result<Departure, Unavailable> {
        Ok(Departure::Page)
    }

    async fn finish(&self, _: &Callback<'_>, _: &mut Trail) -> Result<Login, Unavailable> {
        Ok(Login::Continue(Departure::Page))
    }
}

fn identity(name: &str, now: vestibule_engine::Timestamp) -> Identity {
    let user = User {
        id: UserId(uuid::Uuid::nil()),
        tenant: "north".into(),
        name: Username::parse(name).unwrap(),
        display_name: None,
        email: None,
        groups: Vec::new(),
        profile: "user".into(),
        state: AccountState::Active,
        must_change_password: name == "stale",
        break_glass: false,
        epoch: 0,
        password: None,
        external_ids: Vec::new(),
        created: now,
    };
    Identity {
        user: Arc::new(user),
        scheme: "token".into(),
        method: "token".into(),
        issuer: Issuer::from("test"),
        level: Level(10),
        authenticated_at: now,
        attributes: Arc::default(),
        session: None,
        ambient: false,
        from: None,
    }
}

#[derive(Debug)]
struct TellUser(Vec<HeaderName>);

#[async_trait]
impl Injector for TellUser {
    fn name(&self) -> &str {
        "tell-user"
    }

    fn headers(&self) -> &[HeaderName] {
        &self.0
    }

    async fn inject(&self, asked: &Granted<'_>) -> Result<Injection, Uninjected> {
        let name = asked.principal.identity().map_or("anonymous".to_owned(), |identity| identity.user.name.to_string());
        Ok(Injection { set: vec![(USER, HeaderValue::try_from(name).unwrap())], ..Injection::default() })
    }
}

#[derive(Debug)]
struct NoSink;

impl Sink for NoSink {
    fn record(&self, _: &Recorded) {}
}

/// Neither store is asked anything here.
#[derive(Debug)]
struct NoStore;

mod no_store {
    use std::time::Duration;

    use async_trait::async_trait;
    use vestibule_engine::audit::Recorded;
    use vestibule_engine::identity::{ExternalId, GroupName, TenantId, User, UserId, Username};
    use vestibule_engine::request::RequestId;
    use vestibule_engine::scheme::Unavailable;
    use vestibule_engine::store::{ChangeStream, Changes, DurableStore, ExpiringStore, Group, History, Insert, Key, KeyRecord, Version};

    use super::NoStore;

    fn down<T>() -> Result<T, Unavailable> {
        Err(Unavailable::new("store", "there is none in this test"))
    }

    #[async_trait]
    impl ExpiringStore for NoStore {
        async fn insert(&self, _: &Key, _: &[u8], _: Duration, _: &[Group], _: Option<(&Group, u32)>) -> Result<Insert, Unavailable> {
            down()
        }
        async fn get(&self, _: &Key) -> Result<Option<(Vec<u8>, Version)>, Unavailable> {
            down()
        }
        async fn replace(&self, _: &Key, _: Version, _: &[u8]) -> Result<bool, Unavailable> {
            down()
        }
        async fn take(&self, _: &Key) -> Result<Option<Vec<u8>>, Unavailable> {
            down()
        }
        async fn extend(&self, _: &Key, _: Duration) -> Result<bool, Unavailable> {
            down()
        }
        async fn increment(&self, _: &Key, _: Duration) -> Result<u64, Unavailable> {
            down()
        }
        async fn list(&self, _: &Group, _: Option<&Key>, _: usize) -> Result<Vec<Key>, Unavailable> {
            down()
        }
        async fn remove_group(&self, _: &Group) -> Result<u64, Unavailable> {
            down()
        }
        fn changes(&self) -> ChangeStream {
            Changes::default().subscribe()
        }
    }

    #[async_trait]
    impl DurableStore for NoStore {
        async fn user(&self, _: UserId) -> Result<Option<User>, Unavailable> {
            down()
        }
        async fn user_by_name(&self, _: &TenantId, _: &Username) -> Result<Option<User>, Unavailable> {
            down()
        }
        async fn user_by_external_id(&self, _: &TenantId, _: &ExternalId) -> Result<Option<User>, Unavailable> {
            down()
        }
        async fn insert_user(&self, _: &User) -> Result<bool, Unavailable> {
            down()
        }
        async fn update_user(&self, _: &User, _: u64) -> Result<bool, Unavailable> {
            down()
        }
        async fn users_with_sealed_hash(&self, _: usize) -> Result<Vec<User>, Unavailable> {
            Ok(Vec::new())
        }

        async fn remove_user(&self, _: UserId) -> Result<bool, Unavailable> {
            down()
        }
        async fn users(&self, _: &TenantId, _: Option<&GroupName>, _: Option<&Username>, _: usize) -> Result<Vec<User>, Unavailable> {
            down()
        }
        async fn put_key(&self, _: &KeyRecord) -> Result<(), Unavailable> {
            down()
        }
        async fn keys(&self, _: &str) -> Result<Vec<KeyRecord>, Unavailable> {
            down()
        }
        async fn record(&self, _: &[Recorded]) -> Result<(), Unavailable> {
            down()
        }
        async fn recorded(&self, _: RequestId) -> Result<Option<Recorded>, Unavailable> {
            down()
        }
        async fn history(&self, _: History, _: &TenantId, _: Option<&str>, _: usize) -> Result<Vec<Recorded>, Unavailable> {
            down()
        }
        async fn epoch(&self) -> Result<u64, Unavailable> {
            down()
        }
        async fn setting(&self, _: &str) -> Result<Option<Vec<u8>>, Unavailable> {
            down()
        }
        async fn setting_or_insert(&self, _: &str, _: &[u8]) -> Result<Vec<u8>, Unavailable> {
            down()
        }
        fn changes(&self) -> ChangeStream {
            Changes::default().subscribe()
        }
    }
}

/// An upstream that answers with what it was sent: head lines, an empty line, the body.
pub async fn echo() -> SocketAddr {
    upstream(|request| async move {
        let (head, body) = request.into_parts();
        let mut lines = vec![format!("{} {}", head.method, head.uri)];
        lines.extend(head.headers.iter().map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))));
        let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        let text = format!("{}\n\n{}", lines.join("\n"), String::from_utf8_lossy(&body));
        Response::new(Full::new(Bytes::from(text)))
    })
    .await
}

pub async fn upstream<F, R>(answer: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, Infallible>(answered.await) }
            });
            tokio::spawn(async move {
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// An upstream that reads a head and then writes these octets, connection after connection.
pub async fn scripted(script: impl Fn(usize) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut count = 0;
        while let Ok((mut stream, _)) = listener.accept().await {
            let octets = script(count);
            count += 1;
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(&octets).await;
                let _ = stream.shutdown().await;
                while stream.read(&mut head).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

/// Writes octets and reads until the other side closes.
pub async fn raw(address: SocketAddr, octets: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let (mut read, mut write) = stream.split();
    let send = async {
        let _ = write.write_all(octets).await;
    };
    let mut got = Vec::new();
    let receive = async {
        let mut piece = [0; 4096];
        while let Ok(Ok(length @ 1..)) = tokio::time::timeout(Duration::from_secs(5), read.read(&mut piece)).await {
            got.extend_from_slice(&piece[..length]);
        }
    };
    tokio::join!(send, receive);
    String::from_utf8_lossy(&got).into_owned()
}

/// One request whose answer ends the connection.
pub async fn get(address: SocketAddr, path: &str, fields: &str) -> String {
    raw(address, format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n{fields}\r\n").as_bytes()).await
}

pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0)
}

pub fn field<'a>(answer: &'a str, name: &str) -> Vec<&'a str> {
    let head = answer.split("\r\n\r\n").next().unwrap_or_default();
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).collect()
}

pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default()
}
