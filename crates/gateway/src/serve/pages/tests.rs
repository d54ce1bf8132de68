//! The pages as a browser meets them: a portal and two application hosts of one tenant, over stores in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, COOKIE, LOCATION, ORIGIN, SET_COOKIE};
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt;
use vestibule_engine::admission::{Admission, IssuerRules};
use vestibule_engine::audit::{Decided, Ending, Recorded, Sink};
use vestibule_engine::chain::{Chain, Link, OnReject};
use vestibule_engine::clock::{Clock, ManualClock};
use vestibule_engine::csrf::CsrfKey;
use vestibule_engine::identity::{Issuer, Level, PasswordHash, SchemeName, User, Username};
use vestibule_engine::policy::Policy;
use vestibule_engine::request::{Body, Channel, Client, Host, RequestId, Target};
use vestibule_engine::route::{Access, BodyNeed, Csrf, Destination, Route, Routes};
use vestibule_engine::scheme::{Asked, Callback, Departure, Login, LoginFlow, Outcome, Place, Proof, Rejection, Scheme, Start, Who};
use vestibule_engine::session::{Sessions, Settings};
use vestibule_engine::store::DurableStore;
use vestibule_engine::store::conformance;
use vestibule_engine::store::memory::{MemoryDurableStore, MemoryStore};
use vestibule_engine::users::Users;

use super::*;
use crate::config::checked::PasswordHelp;

mod tokens;

/// A request as a browser's first one.
pub fn request(method: &str, host: &str, target: &str) -> CheckRequest {
    let host = Host::parse(host).unwrap();
    let channel = if host.is_localhost() { Channel::Plain } else { Channel::Tls };
    CheckRequest {
        id: RequestId::new(Timestamp::UNIX_EPOCH).unwrap(),
        received: Timestamp::UNIX_EPOCH,
        client: Client { address: [192, 0, 2, 1].into(), channel, sni: None, certificate: Default::default() },
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        host,
        target: Target::parse(target).unwrap(),
        headers: HeaderMap::new(),
        body: Body::Whole(Bytes::new()),
        operation: None,
    }
}

/// A login form over users whose "hash" is the password itself.
#[derive(Debug)]
struct PlainForm {
    name: SchemeName,
    durable: Arc<MemoryDurableStore>,
    down: Arc<Mutex<Option<Rejection>>>,
}

#[async_trait::async_trait]
impl Scheme for PlainForm {
    fn name(&self) -> &SchemeName {
        &self.name
    }
    fn presents(&self, _: &CheckRequest) -> bool {
        false
    }
    fn consumes(&self) -> &[Place] {
        &[]
    }
    async fn authenticate(&self, _: &Asked<'_>, _: &mut Trail) -> Result<Outcome, Unavailable> {
        Ok(Outcome::NotApplicable)
    }
    fn login_flow(&self) -> Option<&dyn LoginFlow> {
        Some(self)
    }
}

#[async_trait::async_trait]
impl LoginFlow for PlainForm {
    async fn begin(&self, _: &Start<'_>) -> Result<Departure, Unavailable> {
        Ok(Departure::Page)
    }
    async fn finish(&self, callback: &Callback<'_>, _: &mut Trail) -> Result<Login, Unavailable> {
        if let Some(rejection) = *self.down.lock().unwrap() {
            return if rejection.reason == Reason::Unavailable {
                Err(Unavailable::new("realm", "down"))
            } else {
                Ok(Login::Rejected(rejection))
            };
        }
        let field = |name: &str| callback.form.iter().find(|(held, _)| held == name).map(|(_, value)| value.reveal().clone());
        let name = field("username").and_then(|name| Username::parse(&name));
        let user = match name {
            Some(name) => self.durable.user_by_name(callback.tenant, &name).await?,
            None => None,
        };
        let Some(user) = user else { return Ok(Login::Rejected(Rejection::next(Reason::UnknownUser))) };
        if user.password != field("password").map(PasswordHash) {
            return Ok(Login::Rejected(Rejection::next(Reason::WrongPassword)));
        }
        let proof = Proof {
            tenant: callback.tenant.clone(),
            who: Who::User(user.id),
            scheme: self.name.clone(),
            issuer: "local".into(),
            level: Level(10),
            authenticated_at: callback.now,
            replay: Vec::new(),
            attributes: BTreeMap::new(),
            ambient: false,
        };
        Ok(Login::Accepted { proof: Box::new(proof), return_to: None })
    }
}

#[derive(Debug)]
struct PlainChange(Arc<MemoryDurableStore>);

#[async_trait::async_trait]
impl ChangePassword for PlainChange {
    fn minimum_length(&self, _: &TenantId) -> usize {
        8
    }

    async fn change_password(&self, change: &Change<'_>, _: &mut Trail) -> Result<Changed, Unavailable> {
        let Change { user, old, new, .. } = *change;
        if user.password.as_ref().is_none_or(|held| held.0 != *old.reveal()) {
            return Ok(Changed::Rejected(Reason::WrongPassword));
        }
        if new.reveal().len() < 8 {
            return Ok(Changed::Unsuitable(super::password::Unsuitable::Weak(crate::realms::local::Weakness::Short(8))));
        }
        let password = Some(PasswordHash(new.reveal().clone()));
        let fresh = User { password, must_change_password: false, epoch: user.epoch + 1, ..user.clone() };
        assert!(self.0.update_user(&fresh, user.epoch).await?);
        Ok(Changed::Done)
    }

    fn elsewhere(&self, user: &User) -> Option<PasswordHelp> {
        (user.profile.as_str() == "elsewhere").then(PasswordHelp::default)
    }
}

/// What was recorded, and whether nothing more can be.
#[derive(Debug, Default)]
struct Records(Mutex<Vec<Event>>, AtomicBool);

impl Sink for Records {
    fn record(&self, event: &Recorded) {
        self.0.lock().unwrap().push(event.event.clone());
    }

    fn ready(&self) -> Result<(), Unavailable> {
        if self.1.load(Ordering::Relaxed) { Err(Unavailable::new("audit", "full")) } else { Ok(()) }
    }
}

struct World {
    portal: Portal,
    found: Found,
    clock: Arc<ManualClock>,
    records: Arc<Records>,
    down: Arc<Mutex<Option<Rejection>>>,
}

const PORT: u16 = 8080;
const LOGIN: &str = "login.north.localhost";
const APP: &str = "app.north.localhost";
const SHOP: &str = "shop.north.localhost";

impl World {
    async fn new() -> Self {
        let clock = Arc::new(ManualClock::at(Timestamp::from_second(1_800_000_000).unwrap()));
        let durable = Arc::new(MemoryDurableStore::default());
        for (name, must) in [("ada", false), ("bob", false), ("fresh", true)] {
            let user = conformance::user(&"north".into(), name).unwrap();
            let password = Some(PasswordHash(format!("{name}-password")));
            assert!(durable.insert_user(&User { password, must_change_password: must, ..user }).await.unwrap());
        }
        let down = Arc::new(Mutex::new(None));
        let form = PlainForm { name: "login".into(), durable: durable.clone(), down: down.clone() };
        let link = Link { scheme: Arc::new(form), on_reject: OnReject::Continue, remember: true };
        let host = |name: &str| Host::parse(&format!("{name}:{PORT}")).unwrap();
        let origin = |name: &str| format!("http://{name}:{PORT}");
        let tenant = Arc::new(Tenant {
            id: "north".into(),
            title: "North Wind".into(),
            hosts: vec![host(APP), host(SHOP)],
            portal: Some(host(LOGIN)),
            portal_origin: Some(origin(LOGIN)),
            domain: None,
            origins: vec![origin(APP), origin(SHOP)],
            cors: Default::default(),
            chain: Arc::new(Chain::new(vec![link])),
            realm_text: "North".into(),
            brand: None,
        });
        let store: Arc<dyn ExpiringStore> = Arc::new(MemoryStore::new(clock.clone()));
        let users = Arc::new(Users::new(durable.clone(), Duration::from_secs(1)));
        let rules = [("local", true), ("idp", false)].map(|(issuer, local)| (Issuer::from(issuer), IssuerRules { local }));
        let rules = HashMap::from(rules);
        let records = Arc::new(Records::default());
        let engine = Engine {
            routes: Routes::default(),
            admission: Admission::new(users.clone(), store.clone(), rules, Vec::new()),
            sessions: Arc::new(Sessions::new(store.clone(), users, Settings::default())),
            csrf: CsrfKey::new(&Secret::new([7; 32])),
            sink: records.clone(),
            clock: clock.clone(),
        };
        let route = Route {
            name: "own".into(),
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
        let jwks: Jwks = Arc::new(|| Bytes::from_static(b"{\"keys\":[]}"));
        let passwords: Arc<dyn ChangePassword> = Arc::new(PlainChange(durable));
        let devices = Arc::new(KnownDevices::new(&Secret::new([8; 32])));
        let portal = Portal::new(Arc::new(engine), store, &Secret::new([7; 32]), HashMap::new(), devices, Some(passwords), jwks);
        Self { portal, found: Found { tenant, route: Arc::new(route) }, clock, records, down }
    }

    /// What happened since the last look, beside the decisions.
    fn events(&self) -> Vec<Event> {
        let all = std::mem::take(&mut *self.records.0.lock().unwrap());
        all.into_iter().filter(|event| !matches!(event, Event::RequestDecided(_))).collect()
    }

    /// The one decision since the last look.
    fn decision(&self) -> Decided {
        let all = std::mem::take(&mut *self.records.0.lock().unwrap());
        let mut decided = all.into_iter().filter_map(|event| match event {
            Event::RequestDecided(decided) => Some(decided),
            _ => None,
        });
        match (decided.next(), decided.next()) {
            (Some(one), None) => one,
            (one, more) => panic!("not one decision: {one:?} {more:?}"),
        }
    }
}

/// What a browser remembers: cookies per host.
#[derive(Default)]
struct Browser(HashMap<String, BTreeMap<String, String>>);

/// What it sees.
#[derive(Debug)]
struct Seen {
    url: String,
    status: u16,
    headers: HeaderMap,
    html: String,
}

impl Seen {
    fn location(&self) -> &str {
        self.headers.get(LOCATION).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }

    /// The value of a hidden field.
    fn hidden(&self, name: &str) -> String {
        let field = format!("name=\"{name}\" value=\"");
        let rest = self.html.split_once(&field).unwrap_or_else(|| panic!("no {name} at {}: {}", self.url, self.html)).1;
        rest.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&")
    }
}

impl Browser {
    async fn send(&mut self, world: &World, mut request: CheckRequest) -> Seen {
        let host = request.host.name().to_owned();
        let held: Vec<String> = self.0.entry(host.clone()).or_default().iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !held.is_empty() {
            request.headers.insert(COOKIE, HeaderValue::from_str(&held.join("; ")).unwrap());
        }
        let url = format!("{}{}", request.origin(), request.target);
        let response = world.portal.handle(request, world.found.clone()).await;
        self.keep(&host, response.headers());
        let (parts, body) = response.into_parts();
        let html = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Seen { url, status: parts.status.as_u16(), headers: parts.headers, html }
    }

    fn keep(&mut self, host: &str, headers: &HeaderMap) {
        for value in headers.get_all(SET_COOKIE) {
            let text = value.to_str().unwrap();
            let (name, rest) = text.split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            let jar = self.0.entry(host.to_owned()).or_default();
            if text.contains("Max-Age=0") {
                jar.remove(name)
            } else {
                jar.insert(name.to_owned(), value.to_owned())
            };
        }
    }

    fn cookie(&self, host: &str, name: &str) -> Option<&String> {
        self.0.get(host).and_then(|jar| jar.get(name))
    }

    async fn get(&mut self, world: &World, host: &str, target: &str) -> Seen {
        self.send(world, request("GET", &format!("{host}:{PORT}"), target)).await
    }

    async fn post(&mut self, world: &World, host: &str, target: &str, fields: &[(&str, &str)]) -> Seen {
        self.send(world, post(&format!("{host}:{PORT}"), target, fields)).await
    }

    /// Follows redirects that stay with us; stops at an application's page.
    async fn follow(&mut self, world: &World, mut seen: Seen) -> Seen {
        for _ in 0..8 {
            if seen.status != 303 {
                return seen;
            }
            let url = url::Url::parse(&seen.url).unwrap().join(seen.location()).unwrap();
            let host = url.host_str().unwrap().to_owned();
            let target = match url.query() {
                Some(query) => format!("{}?{query}", url.path()),
                None => url.path().to_owned(),
            };
            if host != LOGIN && !target.starts_with("/.vestibule/") {
                seen.url = url.to_string();
                return seen;
            }
            seen = self.get(world, &host, &target).await;
        }
        panic!("redirected in circles: {}", seen.url)
    }

    /// An application's page that nobody may see without a session.
    async fn open(&mut self, world: &World, host: &str, target: &str) -> Seen {
        let seen = self.get(world, host, &landing(target)).await;
        self.follow(world, seen).await
    }

    async fn sign_in(&mut self, world: &World, form: &Seen, name: &str, password: &str) -> Seen {
        let state = form.hidden("state");
        let seen = self.post(world, LOGIN, "/login", &[("state", &state), ("username", name), ("password", password)]).await;
        self.follow(world, seen).await
    }
}

/// Where an application sends whoever it does not know: the landing without a code.
fn landing(return_to: &str) -> String {
    format!("/.vestibule/landing?{}", url::form_urlencoded::Serializer::new(String::new()).append_pair("return_to", return_to).finish())
}

fn post(host: &str, target: &str, fields: &[(&str, &str)]) -> CheckRequest {
    let mut request = request("POST", host, target);
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    request.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    request.headers.insert(ORIGIN, HeaderValue::from_str(&request.origin()).unwrap());
    request.body = Body::Whole(body.into());
    request
}

async fn signed_in(world: &World, name: &str) -> Browser {
    let mut browser = Browser::default();
    let form = browser.get(world, LOGIN, "/login").await;
    let home = browser.sign_in(world, &form, name, &format!("{name}-password")).await;
    assert_eq!(home.status, 200, "{}", home.html);
    assert!(browser.cookie(LOGIN, "vestibule").is_some());
    browser
}

#[tokio::test]
async fn a_login_returns_to_the_page_and_serves_two_hosts() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.open(&world, APP, "/a/b?c=%2Fd").await;
    assert!(form.url.starts_with("http://login.north.localhost:8080/login?"), "{}", form.url);
    assert!(form.html.contains("app.north.localhost:8080"));
    let page = browser.sign_in(&world, &form, "ada", "ada-password").await;
    assert_eq!(page.url, "http://app.north.localhost:8080/a/b?c=%2Fd");
    let page = browser.open(&world, SHOP, "/").await;
    assert_eq!(page.url, "http://shop.north.localhost:8080/");
    let tokens: Vec<_> = [LOGIN, APP, SHOP].map(|host| browser.cookie(host, "vestibule").unwrap()).into();
    assert!(tokens[0] != tokens[1] && tokens[1] != tokens[2], "each host has a session of its own");
    let names: Vec<&str> = world
        .events()
        .iter()
        .map(|event| match event {
            Event::LoginSucceeded { subject, .. } if subject == "ada" => "login",
            Event::SessionOpened { .. } => "session",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["session", "login", "session", "session"]);
}

#[tokio::test]
async fn a_login_without_binding_fetches_it_at_the_landing() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.get(&world, LOGIN, "/login?return_to=http%3A%2F%2Fapp.north.localhost%3A8080%2Fx").await;
    let page = browser.sign_in(&world, &form, "ada", "ada-password").await;
    assert_eq!(page.url, "http://app.north.localhost:8080/x");
    assert!(browser.cookie(APP, "vestibule").is_some());
}

#[tokio::test]
async fn unknown_user_and_wrong_password_look_alike_and_are_told_apart_in_the_audit() {
    let world = World::new().await;
    let mut pages = Vec::new();
    for (name, reason) in [("ada", Reason::WrongPassword), ("eve", Reason::UnknownUser)] {
        let mut browser = Browser::default();
        let form = browser.get(&world, LOGIN, "/login").await;
        let refused = browser.sign_in(&world, &form, name, "wrong").await;
        assert_eq!(refused.status, 403);
        assert!(refused.html.contains(&format!("value=\"{name}\"")), "the name is kept");
        assert!(!refused.html.contains("wrong\""), "the password is not");
        assert_eq!(refused.hidden("state"), form.hidden("state"), "the form can be used again");
        let Some(Event::LoginRejected { subject: Some(subject), reason: told, .. }) = world.events().pop() else { panic!("no event") };
        assert_eq!(told, reason);
        assert_eq!(subject == name, name == "ada", "{subject}");
        let id = refused.html.split("<code id=\"number\">").nth(1).unwrap().split('<').next().unwrap().to_owned();
        pages.push(refused.html.replace(&id, "").replace(&form.hidden("state"), "").replace(name, ""));
        let home = browser.sign_in(&world, &refused, "ada", "ada-password").await;
        assert_eq!(home.status, 200);
    }
    assert_eq!(pages[0], pages[1]);
}

#[tokio::test]
async fn a_form_of_another_browser_signs_nobody_in() {
    let world = World::new().await;
    let form = Browser::default().get(&world, LOGIN, "/login").await;
    for mut victim in [Browser::default(), {
        let mut browser = Browser::default();
        browser.get(&world, LOGIN, "/login").await;
        browser
    }] {
        let seen = victim.sign_in(&world, &form, "ada", "ada-password").await;
        assert_eq!(seen.status, 403);
        assert_eq!(victim.cookie(LOGIN, "vestibule"), None);
        assert!(matches!(world.events()[..], [Event::LoginRejected { subject: None, reason: Reason::StaleForm, .. }]));
    }
}

#[tokio::test]
async fn a_form_sent_by_a_foreign_page_signs_nobody_in() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.get(&world, LOGIN, "/login").await;
    let fields = [("state", &*form.hidden("state")), ("username", "ada"), ("password", "ada-password")];
    let mut sent = post("login.north.localhost:8080", "/login", &fields);
    sent.headers.insert(ORIGIN, HeaderValue::from_static("http://app.north.localhost:8080"));
    assert_eq!(browser.send(&world, sent).await.status, 403);
    assert_eq!(browser.cookie(LOGIN, "vestibule"), None);
}

#[tokio::test]
async fn a_form_works_once_and_not_after_a_working_day() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.get(&world, LOGIN, "/login").await;
    let before = browser.cookie(LOGIN, "vestibule-login").unwrap().clone();
    assert_eq!(browser.sign_in(&world, &form, "ada", "ada-password").await.status, 200);
    let jar = browser.0.get_mut(LOGIN).unwrap();
    jar.insert("vestibule-login".into(), before);
    jar.remove("vestibule");
    assert_eq!(browser.sign_in(&world, &form, "ada", "ada-password").await.status, 403);

    let mut browser = Browser::default();
    let form = browser.open(&world, APP, "/x").await;
    world.clock.advance(Duration::from_secs(8 * 3600));
    let fields = [("state", form.hidden("state")), ("return_to", form.hidden("return_to")), ("username", "ada".into())];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    let again = browser.post(&world, LOGIN, "/login", &fields).await;
    assert_eq!(again.status, 403);
    let page = browser.sign_in(&world, &again, "ada", "ada-password").await;
    assert_eq!(page.url, "http://app.north.localhost:8080/x", "but it still knows where the user wanted to go");
}

#[tokio::test]
async fn many_tabs_keep_their_own_destinations() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let one = browser.open(&world, APP, "/one").await;
    let two = browser.open(&world, SHOP, "/two").await;
    for _ in 0..6 {
        browser.open(&world, APP, &format!("/{}", "x".repeat(100))).await;
    }
    assert!(browser.cookie(LOGIN, "vestibule-login").unwrap().len() < 4096);
    assert_eq!(browser.sign_in(&world, &two, "ada", "ada-password").await.url, "http://shop.north.localhost:8080/two");
    assert_eq!(browser.sign_in(&world, &one, "ada", "ada-password").await.url, "http://app.north.localhost:8080/one");
}

#[tokio::test]
async fn somebody_elses_hand_over_signs_nobody_in() {
    let world = World::new().await;
    let mut attacker = Browser::default();
    let form = attacker.open(&world, APP, "/").await;
    let fields = [("state", &*form.hidden("state")), ("username", "bob"), ("password", "bob-password")];
    let seen = attacker.post(&world, LOGIN, "/login", &fields).await;
    let landing = seen.location().strip_prefix("http://app.north.localhost:8080").unwrap().to_owned();
    assert!(landing.contains("code="), "{landing}");
    let mut victim = Browser::default();
    victim.open(&world, APP, "/").await;
    let seen = victim.get(&world, APP, &landing).await;
    let seen = victim.follow(&world, seen).await;
    assert_eq!(url::Url::parse(&seen.url).unwrap().path(), "/login");
    assert_eq!(victim.cookie(APP, "vestibule"), None);
    // The code was not spent by trying.
    let seen = attacker.get(&world, APP, &landing).await;
    assert_eq!((seen.status, seen.location()), (303, "/"));
    assert!(attacker.cookie(APP, "vestibule").is_some());
}

#[tokio::test]
async fn a_code_works_once() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.open(&world, APP, "/").await;
    let fields = [("state", &*form.hidden("state")), ("username", "ada"), ("password", "ada-password")];
    let landing = browser.post(&world, LOGIN, "/login", &fields).await.location().replace("http://app.north.localhost:8080", "");
    browser.get(&world, APP, &landing).await;
    let token = browser.cookie(APP, "vestibule").unwrap().clone();
    browser.get(&world, APP, &landing).await;
    assert_eq!(browser.cookie(APP, "vestibule"), Some(&token), "loading the landing again changes nothing");
    browser.0.get_mut(APP).unwrap().remove("vestibule");
    let seen = browser.get(&world, APP, &landing).await;
    assert!(seen.location().contains("round=2"), "{}", seen.location());
}

#[tokio::test]
async fn a_browser_that_keeps_no_cookies_is_told_and_not_sent_in_circles() {
    let world = World::new().await;
    let mut browser = signed_in(&world, "ada").await;
    let mut seen = browser.get(&world, APP, "/.vestibule/landing?return_to=%2Fx").await;
    for _ in 0..6 {
        browser.0.remove(APP);
        if seen.status != 303 {
            break;
        }
        let url = url::Url::parse(&seen.url).unwrap().join(seen.location()).unwrap();
        let target = format!("{}?{}", url.path(), url.query().unwrap_or_default());
        seen = browser.get(&world, url.host_str().unwrap(), &target).await;
    }
    assert_eq!(seen.status, 400);
    assert!(seen.html.contains("Allow cookies"));
}

#[tokio::test]
async fn logout_needs_its_own_token_and_ends_every_host() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.open(&world, APP, "/").await;
    browser.sign_in(&world, &form, "ada", "ada-password").await;
    let page = browser.get(&world, APP, "/.vestibule/logout").await;
    let token = page.hidden("token");
    let portal_token = browser.get(&world, LOGIN, "/logout").await.hidden("token");
    let password_token = browser.get(&world, LOGIN, "/password").await.hidden("token");
    for wrong in ["", "x", &portal_token, &password_token] {
        assert_eq!(browser.post(&world, APP, "/.vestibule/logout", &[("token", wrong)]).await.status, 403, "{wrong}");
    }
    world.events();
    let seen = browser.post(&world, APP, "/.vestibule/logout", &[("token", &token)]).await;
    let seen = browser.follow(&world, seen).await;
    assert!(seen.url.ends_with("/logout") && seen.html.contains("You are signed out"), "{}", seen.url);
    assert!(matches!(world.events()[..], [Event::SessionEnded { reason: Ending::Logout, .. }]));
    assert_eq!(browser.get(&world, LOGIN, "/").await.location(), "/login");
    assert_eq!(browser.cookie(APP, "vestibule"), None);
    assert_eq!(browser.cookie(LOGIN, "vestibule"), None, "the dead cookie is cleared");
}

#[tokio::test]
async fn a_browser_becomes_a_known_device_of_whoever_signs_in() {
    let world = World::new().await;
    let mut browser = signed_in(&world, "ada").await;
    let device = browser.cookie(LOGIN, "vestibule-device").unwrap().clone();
    let form = browser.get(&world, LOGIN, "/login?prompt=login").await;
    browser.sign_in(&world, &form, "ada", "ada-password").await;
    assert_eq!(browser.cookie(LOGIN, "vestibule-device"), Some(&device), "it has one already");
    let form = browser.get(&world, LOGIN, "/login?prompt=login").await;
    browser.sign_in(&world, &form, "bob", "bob-password").await;
    assert_ne!(browser.cookie(LOGIN, "vestibule-device"), Some(&device));
}

#[tokio::test]
async fn logout_everywhere_ends_the_other_browser() {
    let world = World::new().await;
    let (mut one, mut two, mut other) = (signed_in(&world, "ada").await, signed_in(&world, "ada").await, signed_in(&world, "bob").await);
    let token = one.get(&world, LOGIN, "/logout").await.hidden("token");
    one.post(&world, LOGIN, "/logout", &[("token", &token), ("everywhere", "yes")]).await;
    assert_eq!(two.get(&world, LOGIN, "/").await.location(), "/login");
    assert_eq!(other.get(&world, LOGIN, "/").await.status, 200);
}

/// Attack 123.
#[tokio::test]
async fn the_next_user_of_a_shared_computer_finds_nothing_of_the_former() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.open(&world, APP, "/").await;
    browser.sign_in(&world, &form, "ada", "ada-password").await;
    let (portal, app) = (browser.cookie(LOGIN, "vestibule").unwrap().clone(), browser.cookie(APP, "vestibule").unwrap().clone());
    let form = browser.get(&world, LOGIN, "/login?prompt=login").await;
    assert!(form.html.contains("You are signed in as"));
    world.events();
    browser.sign_in(&world, &form, "bob", "bob-password").await;
    assert!(world.events().iter().any(|event| matches!(event, Event::SessionEnded { reason: Ending::Switched, .. })));
    let now = world.portal.engine.clock.now();
    for (host, token) in [(LOGIN, portal), (APP, app)] {
        assert!(world.portal.engine.sessions.find(&"north".into(), host, &token, now).await.unwrap().is_err(), "{host}");
    }
    world.clock.advance(Duration::from_secs(31 * 60));
    browser.get(&world, LOGIN, "/login").await;
    assert_eq!(browser.cookie(LOGIN, "vestibule"), None, "the sign-in page clears a session that is over");
}

#[tokio::test]
async fn a_password_that_must_be_changed_is_changed_before_anything_else() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.open(&world, APP, "/x").await;
    let page = browser.sign_in(&world, &form, "fresh", "fresh-password").await;
    assert_eq!(url::Url::parse(&page.url).unwrap().path(), "/password");
    for target in ["/", "/login", "/login?return_to=http%3A%2F%2Fapp.north.localhost%3A8080%2F"] {
        assert!(browser.get(&world, LOGIN, target).await.location().starts_with("/password"), "{target}");
    }
    let hidden: Vec<(&str, String)> = ["token", "return_to", "bind"].map(|name| (name, page.hidden(name))).into();
    let change = |old: &str, new: &str, repeat: &str| {
        let given = [("old", old), ("new", new), ("repeat", repeat)].map(|(name, value)| (name, value.to_owned()));
        hidden.iter().cloned().chain(given).collect::<Vec<_>>()
    };
    let before = browser.cookie(LOGIN, "vestibule").unwrap().clone();
    for (old, new, repeat, sentence) in [
        ("fresh-password", "a new password", "another one here", "The two new passwords differ."),
        ("fresh-password", "short", "short", "The new password needs at least 8 characters."),
        ("wrong", "a new password", "a new password", "The current password is not right."),
    ] {
        let fields = change(old, new, repeat);
        let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
        let seen = browser.post(&world, LOGIN, "/password", &fields).await;
        assert_eq!(seen.status, 403);
        assert!(seen.html.contains(sentence), "{sentence}");
    }
    let fields = change("fresh-password", "a new password", "a new password");
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    let forged: Vec<(&str, &str)> = fields.iter().filter(|(name, _)| *name != "token").copied().collect();
    assert_eq!(browser.post(&world, LOGIN, "/password", &forged).await.status, 403);
    let seen = browser.post(&world, LOGIN, "/password", &fields).await;
    let page = browser.follow(&world, seen).await;
    assert_eq!(page.url, "http://app.north.localhost:8080/x");
    assert_ne!(browser.cookie(LOGIN, "vestibule"), Some(&before), "a new token");
}

#[tokio::test]
async fn a_changed_password_ends_the_other_sessions() {
    let world = World::new().await;
    let (mut browser, mut other) = (signed_in(&world, "ada").await, signed_in(&world, "ada").await);
    let token = browser.get(&world, LOGIN, "/password").await.hidden("token");
    let new = "correct horse battery";
    let fields = [("token", &*token), ("old", "ada-password"), ("new", new), ("repeat", new)];
    let seen = browser.post(&world, LOGIN, "/password", &fields).await;
    let home = browser.follow(&world, seen).await;
    assert!(home.html.contains("Your password is changed."), "{}", home.html);
    assert_eq!(other.get(&world, LOGIN, "/").await.location(), "/login");
}

#[tokio::test]
async fn a_changed_password_makes_nobody_a_login_that_they_did_not_have() {
    let new = "correct horse battery";
    // By an identity provider; by our own form, before that became the emergency door; and as usual.
    for (issuer, emergency, after) in [("idp", false, "/login"), ("local", true, "/login"), ("local", false, "/?notice=password")] {
        let mut world = World::new().await;
        let mut browser = signed_in(&world, "ada").await;
        let (sessions, now) = (&world.portal.engine.sessions, world.clock.now());
        let held = sessions.find(&"north".into(), LOGIN, browser.cookie(LOGIN, "vestibule").unwrap(), now).await.unwrap().unwrap();
        let vouched = Identity { issuer: issuer.into(), session: None, ..held };
        let opened = sessions.open(&vouched, LOGIN, now, &mut Trail::new(world.clock.clone())).await.unwrap();
        browser.0.get_mut(LOGIN).unwrap().insert("vestibule".to_owned(), opened.token.reveal().clone());
        let emergency = emergency.then(|| "north".into()).into_iter().collect();
        let ways = WaysIn { emergency, operators_from: vec!["192.0.2.0/24".parse().unwrap()], ..WaysIn::default() };
        world.portal = world.portal.with_ways_in(Arc::new(ways));
        let token = browser.get(&world, LOGIN, "/password").await.hidden("token");
        let fields = [("token", &*token), ("old", "ada-password"), ("new", new), ("repeat", new)];
        world.events();
        assert_eq!(browser.post(&world, LOGIN, "/password", &fields).await.location(), after, "{issuer}");
        let opened = world.events().iter().any(|event| matches!(event, Event::SessionOpened { .. }));
        assert_eq!(opened, after != "/login", "{issuer}");
    }
}

#[tokio::test]
async fn an_outage_is_no_refusal_and_a_crowd_is_told_to_wait() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.get(&world, LOGIN, "/login").await;
    for (reason, status, retry) in [(Reason::Unavailable, 503, "30"), (Reason::TooManyWaiting, 429, "60")] {
        *world.down.lock().unwrap() = Some(Rejection::next(reason));
        let seen = browser.sign_in(&world, &form, "ada", "ada-password").await;
        assert_eq!((seen.status, seen.headers["retry-after"].to_str().unwrap()), (status, retry));
    }
}

#[tokio::test]
async fn every_page_forbids_what_it_does_not_need() {
    let world = World::new().await;
    let mut browser = signed_in(&world, "ada").await;
    for (host, target) in [
        (LOGIN, "/"),
        (LOGIN, "/login?prompt=login"),
        (LOGIN, "/logout"),
        (LOGIN, "/password"),
        (LOGIN, "/nothing"),
        (LOGIN, "/.vestibule/nothing"),
        (APP, "/.vestibule/nothing"),
        (APP, "/login"),
        (APP, "/password"),
        (APP, "/assets/vestibule.css"),
    ] {
        let seen = browser.get(&world, host, target).await;
        let policy = seen.headers[CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe") && !policy.contains('*'), "{policy}");
        assert!(policy.contains("form-action 'self' http://app.north.localhost:8080 http://shop.north.localhost:8080"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'none'; base-uri 'none'"), "{policy}");
        assert_eq!(policy.contains("'sha256-"), host == APP, "{policy}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "same-origin"),
            ("cross-origin-opener-policy", "same-origin"),
        ] {
            assert_eq!(seen.headers[name], value, "{target}");
        }
        assert_eq!(seen.status == 404, host == APP || target.ends_with("nothing"), "{host}{target}");
    }
}

#[tokio::test]
async fn methods_and_addresses_that_are_not_ours_are_refused() {
    let world = World::new().await;
    let mut browser = Browser::default();
    for (method, target, status) in [
        ("PUT", "/login", 405),
        ("POST", "/", 405),
        ("DELETE", "/logout", 405),
        ("POST", "/.vestibule/landing", 405),
        ("POST", "/nothing", 404),
        ("GET", "/login?password=secret", 400),
        ("GET", "/.well-known/jwks.json", 200),
        ("HEAD", "/login", 200),
    ] {
        let seen = browser.send(&world, request(method, "login.north.localhost:8080", target)).await;
        assert_eq!(seen.status, status, "{method} {target}");
        assert_eq!(seen.headers.contains_key("allow"), status == 405);
    }
}

#[tokio::test]
async fn assets_may_be_kept_for_good_under_their_own_version_only() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let page = browser.get(&world, LOGIN, "/login").await;
    let url = page.html.split("href=\"/assets/").nth(1).unwrap().split('"').next().unwrap();
    let seen = browser.get(&world, LOGIN, &format!("/assets/{url}")).await;
    assert_eq!((seen.status, seen.headers["cache-control"].to_str().unwrap()), (200, "public, max-age=31536000, immutable"));
    let other = browser.get(&world, LOGIN, "/assets/vestibule.css?old").await;
    assert_eq!(other.headers["cache-control"], "no-cache");
    let mut again = request("GET", "login.north.localhost:8080", "/assets/vestibule.css");
    again.headers.insert("if-none-match", other.headers["etag"].clone());
    assert_eq!(browser.send(&world, again).await.status, 304);
}

#[tokio::test]
async fn cookies_are_locked_down_on_tls() {
    let world = World::new().await;
    let response = world.portal.handle(request("GET", "login.north.example.com", "/login"), world.found.clone()).await;
    // Not the portal's host, so nothing is served; the names are what is tested.
    assert_eq!(response.status(), 404);
    let tls = request("GET", "login.north.example.com", "/login");
    assert_eq!(cookie::set_login(&tls, "x"), "__Host-vestibule-login=x; Path=/; HttpOnly; Secure; SameSite=None");
    assert_eq!(cookie::set_landing(&tls, "x"), "__Host-vestibule-landing=x; Path=/; HttpOnly; Secure; SameSite=Lax");
    assert_eq!(cookie::session_name(&tls), "__Host-vestibule");
    let mut plain = request("GET", "login.north.example.com", "/login");
    plain.client.channel = Channel::Plain;
    assert!(cookie::set_login(&plain, "x").starts_with("__Host-"), "only loopback loses the prefix");
}

#[tokio::test]
async fn every_request_to_a_page_leaves_one_decision() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let seen = |decided: Decided| (decided.decision, decided.reason, decided.subject);
    let nobody = |ruling, reason| (ruling, reason, None);
    let ada = |ruling, reason| (ruling, reason, Some("ada".to_owned()));

    let form = browser.get(&world, LOGIN, "/login").await;
    let decided = world.decision();
    assert_eq!((decided.method.as_str(), decided.path.as_str(), decided.route.as_ref().unwrap().as_str()), ("GET", "/login", "own"));
    assert_eq!(seen(decided), nobody(Ruling::Allow, None));
    browser.get(&world, LOGIN, "/").await;
    assert_eq!(seen(world.decision()), nobody(Ruling::Challenge, Some(Reason::Nobody)));
    browser.get(&world, APP, &landing("/page")).await;
    assert_eq!(seen(world.decision()), nobody(Ruling::Challenge, Some(Reason::Nobody)));
    browser.get(&world, LOGIN, "/nothing").await;
    assert_eq!(seen(world.decision()), nobody(Ruling::Deny, Some(Reason::NoRoute)));
    browser.get(&world, LOGIN, "/login?password=x").await;
    assert_eq!(seen(world.decision()), nobody(Ruling::Deny, Some(Reason::MalformedCredential)));

    let state = form.hidden("state");
    let fields = |password| [("state", state.as_str()), ("username", "ada"), ("password", password)];
    browser.post(&world, LOGIN, "/login", &fields("wrong")).await;
    assert_eq!(seen(world.decision()), nobody(Ruling::Deny, Some(Reason::WrongPassword)));
    browser.post(&world, LOGIN, "/login", &fields("ada-password")).await;
    assert_eq!(seen(world.decision()), ada(Ruling::Allow, None));
    browser.get(&world, LOGIN, "/").await;
    let decided = world.decision();
    assert_eq!(decided.scheme, Some("session".into()));
    assert_eq!(seen(decided), ada(Ruling::Allow, None));
    browser.post(&world, LOGIN, "/logout", &[("token", "guessed")]).await;
    assert_eq!(seen(world.decision()), ada(Ruling::Deny, Some(Reason::Csrf)));
    browser.get(&world, LOGIN, "/logout").await;
    assert_eq!(seen(world.decision()), ada(Ruling::Allow, None));
    *world.down.lock().unwrap() = Some(Rejection::next(Reason::Unavailable));
    let form = browser.get(&world, LOGIN, "/login?prompt=login").await;
    world.decision();
    let state = form.hidden("state");
    browser.post(&world, LOGIN, "/login", &[("state", &state), ("username", "ada"), ("password", "x")]).await;
    assert_eq!(seen(world.decision()).0, Ruling::Fail);
}

#[tokio::test]
async fn nothing_is_done_that_cannot_be_recorded() {
    let world = World::new().await;
    let mut browser = Browser::default();
    let form = browser.get(&world, LOGIN, "/login").await;
    world.records.1.store(true, Ordering::Relaxed);
    let state = form.hidden("state");
    let fields = [("state", state.as_str()), ("username", "ada"), ("password", "ada-password")];
    let refused = browser.post(&world, LOGIN, "/login", &fields).await;
    assert_eq!(refused.status, 503);
    assert_eq!(browser.cookie(LOGIN, "vestibule"), None);
    world.records.1.store(false, Ordering::Relaxed);
    assert_eq!(browser.post(&world, LOGIN, "/login", &fields).await.status, 303, "the form was not spent");
}
