//! The admin protocol over a real socket, against fakes of the stores.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use tokio::io::BufReader;
use tokio::net::UnixStream;

use vestibule_engine::admission::Admission;
use vestibule_engine::audit::{Reason, Ruling};
use vestibule_engine::chain::{Chain, Link, OnReject};
use vestibule_engine::clock::SystemClock;
use vestibule_engine::csrf::CsrfKey;
use vestibule_engine::identity::{ExternalId, PolicyId, SchemeName};
use vestibule_engine::inject::{Granted, Injection, Injector, Strip, Uninjected};
use vestibule_engine::policy::Policy;
use vestibule_engine::request::Host;
use vestibule_engine::route::{Access, BodyNeed, Csrf, Destination, Pattern, Route, Routes, Scope};
use vestibule_engine::scheme::{Asked, Outcome, Place, Rejection, Scheme, Unavailable};
use vestibule_engine::secret::Secret;
use vestibule_engine::session::{Sessions, Settings};
use vestibule_engine::store::{ChangeStream, Changes, DurableStore, History, Key, KeyState, Kind};
use vestibule_engine::tenant::Tenant;

use super::protocol::{BATCH, Fate, ImportedUser, MAX_REPLY, Synthetic, Value, receive, send};
use super::socket::AdminSocket;
use super::*;
use crate::audit::tests::{Heard, decided};
use crate::cli::tests::TempDir;
use crate::store::overlay::tests::Plain;

/// A durable store in memory, as far as these tests need one.
#[derive(Debug, Default)]
pub(crate) struct Durable {
    pub(crate) users: Mutex<Vec<User>>,
    pub(crate) log: Mutex<Vec<Recorded>>,
    pub(crate) down: bool,
    pub(crate) changes: Changes,
}

#[async_trait]
impl DurableStore for Durable {
    async fn user(&self, id: UserId) -> Result<Option<User>, Unavailable> {
        Ok(self.users.lock().unwrap().iter().find(|user| user.id == id).cloned())
    }
    async fn user_by_name(&self, tenant: &TenantId, name: &Username) -> Result<Option<User>, Unavailable> {
        Ok(self.users.lock().unwrap().iter().find(|user| user.tenant == *tenant && user.name == *name).cloned())
    }
    async fn user_by_external_id(&self, _: &TenantId, _: &ExternalId) -> Result<Option<User>, Unavailable> {
        Ok(None)
    }
    async fn insert_user(&self, user: &User) -> Result<bool, Unavailable> {
        let mut users = self.users.lock().unwrap();
        let taken = users.iter().any(|held| held.tenant == user.tenant && held.name == user.name);
        if !taken {
            users.push(user.clone());
            users.sort_by(|a, b| a.name.cmp(&b.name));
        }
        Ok(!taken)
    }
    async fn update_user(&self, user: &User, expected_epoch: u64) -> Result<bool, Unavailable> {
        let mut users = self.users.lock().unwrap();
        match users.iter_mut().find(|held| held.id == user.id && held.epoch == expected_epoch) {
            Some(held) => {
                *held = user.clone();
                Ok(true)
            }
            None => Ok(false),
        }
    }
    async fn users_with_sealed_hash(&self, _: usize) -> Result<Vec<User>, Unavailable> {
        Ok(Vec::new())
    }

    async fn remove_user(&self, id: UserId) -> Result<bool, Unavailable> {
        let mut users = self.users.lock().unwrap();
        let before = users.len();
        users.retain(|user| user.id != id);
        Ok(users.len() < before)
    }
    async fn users(
        &self,
        tenant: &TenantId,
        group: Option<&GroupName>,
        after: Option<&Username>,
        most: usize,
    ) -> Result<Vec<User>, Unavailable> {
        let users = self.users.lock().unwrap();
        let wanted = |user: &&User| {
            user.tenant == *tenant && group.is_none_or(|group| user.groups.contains(group)) && after.is_none_or(|after| user.name > *after)
        };
        Ok(users.iter().filter(wanted).take(most).cloned().collect())
    }
    async fn put_key(&self, _: &KeyRecord) -> Result<(), Unavailable> {
        Ok(())
    }
    async fn keys(&self, _: &str) -> Result<Vec<KeyRecord>, Unavailable> {
        Ok(Vec::new())
    }
    async fn record(&self, entries: &[Recorded]) -> Result<(), Unavailable> {
        if self.down {
            return Err(Unavailable::new("store", "down"));
        }
        self.log.lock().unwrap().extend_from_slice(entries);
        Ok(())
    }
    async fn recorded(&self, id: RequestId) -> Result<Option<Recorded>, Unavailable> {
        Ok(self.log.lock().unwrap().iter().find(|entry| entry.request_id == Some(id)).cloned())
    }

    async fn history(&self, of: History, tenant: &TenantId, subject: Option<&str>, most: usize) -> Result<Vec<Recorded>, Unavailable> {
        let log = self.log.lock().unwrap();
        let theirs = |entry: &&Recorded| {
            let found = History::of(&entry.event).filter(|(kind, _)| *kind == of && entry.tenant.as_ref() == Some(tenant));
            found.is_some_and(|(_, whose)| subject.is_none() || whose == subject)
        };
        Ok(log.iter().rev().filter(theirs).take(most).cloned().collect())
    }
    async fn epoch(&self) -> Result<u64, Unavailable> {
        Ok(0)
    }
    async fn setting(&self, _: &str) -> Result<Option<Vec<u8>>, Unavailable> {
        Ok(None)
    }
    async fn setting_or_insert(&self, _: &str, value: &[u8]) -> Result<Vec<u8>, Unavailable> {
        Ok(value.to_vec())
    }
    fn changes(&self) -> ChangeStream {
        self.changes.subscribe()
    }
}

/// Refuses whatever presents `x-guess`, counting and closing a gate at the second.
#[derive(Debug)]
struct Guessing(SchemeName, Arc<dyn ExpiringStore>, [Place; 1]);

#[async_trait]
impl Scheme for Guessing {
    fn name(&self) -> &SchemeName {
        &self.0
    }
    fn presents(&self, request: &CheckRequest) -> bool {
        request.headers.contains_key("x-guess")
    }
    fn consumes(&self) -> &[Place] {
        &self.2
    }
    async fn authenticate(&self, asked: &Asked<'_>, trail: &mut Trail) -> Result<Outcome, Unavailable> {
        let counter = Key::of(&asked.found.tenant.id, Kind::Throttle, &[b"guess"]);
        if self.1.increment(&counter, Duration::from_secs(60)).await? == 2 {
            let gate = vestibule_engine::audit::Gate::Account;
            trail.events.push(Event::GateClosed { gate, subject: "hash".into(), seconds: 60 });
        }
        let spent = Key::of(&asked.found.tenant.id, Kind::Replay, &[b"spent"]);
        self.1.insert(&spent, b"", Duration::from_secs(60), &[], None).await?;
        let session = Event::SessionOpened { session: "never".into(), subject: "x".into(), scheme: self.0.clone() };
        trail.events.push(session);
        Ok(Outcome::Rejected(Rejection::next(Reason::WrongPassword)))
    }
}

#[derive(Debug)]
struct Tells([HeaderName; 2]);

#[async_trait]
impl Injector for Tells {
    fn name(&self) -> &str {
        "tells"
    }
    fn headers(&self) -> &[HeaderName] {
        &self.0
    }
    async fn inject(&self, _: &Granted<'_>) -> Result<Injection, Uninjected> {
        let [user, authorization] = &self.0;
        // {"alg":"none"}.{"sub":"ada"}.signature
        let token = HeaderValue::from_static("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.c2VjcmV0");
        let set = vec![(user.clone(), HeaderValue::from_static("anonymous")), (authorization.clone(), token)];
        Ok(Injection { set, ..Injection::default() })
    }
}

#[derive(Debug)]
struct Fake {
    durable: Arc<Durable>,
    expiring: Arc<Plain>,
    sink: Arc<Heard>,
}

impl Fake {
    fn build(&self, expiring: Arc<dyn ExpiringStore>) -> Engine {
        let users = Arc::new(Users::new(self.durable.clone(), Duration::from_secs(1)));
        let mut routes = Routes::default();
        for name in ["north", "south"] {
            let id = TenantId::from(name);
            let place = Place::Header(HeaderName::from_static("x-guess"));
            let scheme = Arc::new(Guessing("guessing".into(), expiring.clone(), [place]));
            let chain = Chain::new(vec![Link { scheme, on_reject: OnReject::Continue, remember: false }]);
            let tells = Tells([HeaderName::from_static("x-user"), http::header::AUTHORIZATION]);
            let strip = HashMap::from([(id.clone(), Strip::new(&tells.0, chain.consumes()))]);
            let host = Host::parse(&format!("{name}.localhost")).unwrap();
            let tenant = Tenant {
                id: id.clone(),
                title: name.into(),
                hosts: vec![host],
                portal: None,
                portal_origin: None,
                domain: None,
                origins: vec![],
                cors: Default::default(),
                chain: Arc::new(chain),
                realm_text: name.into(),
                brand: None,
            };
            routes.add_tenant(Arc::new(tenant), None).unwrap();
            let injector: Arc<dyn Injector> = Arc::new(tells);
            for (pattern, access) in [("/open/**", Access::Open), ("/**", Access::Protected)] {
                let route = Route {
                    name: format!("{name}{pattern}").as_str().into(),
                    access,
                    level: Default::default(),
                    policy: Policy::default(),
                    injectors: vec![injector.clone()],
                    strip: strip.clone(),
                    csrf: Csrf::Origin,
                    body: BodyNeed::Never,
                    clients: vec![],
                    destination: Destination::Upstream("app".into()),
                };
                routes.add(Scope::Tenant(id.clone()), &Pattern::parse(pattern, vec![]).unwrap(), Arc::new(route)).unwrap();
            }
        }
        Engine {
            routes,
            admission: Admission::new(users.clone(), expiring.clone(), HashMap::new(), vec![]),
            sessions: Arc::new(Sessions::new(expiring, users, Settings::default())),
            csrf: CsrfKey::new(&Secret::new([7; 32])),
            sink: self.sink.clone(),
            clock: Arc::new(SystemClock::default()),
        }
    }
}

#[async_trait]
impl Running for Fake {
    fn engine(&self) -> Arc<Engine> {
        Arc::new(self.build(self.expiring.clone()))
    }
    async fn forgive(&self, _: &TenantId, _: &Username, _: &mut Trail) {}
    fn rehearse(&self, expiring: Arc<dyn ExpiringStore>) -> Result<Engine, String> {
        Ok(self.build(expiring))
    }
    fn preview(&self, _: &CheckRequest, _: &Judgement, kind: ClientKind) -> String {
        format!("{kind:?}")
    }
    fn audit_key(&self) -> Option<String> {
        Some("key".into())
    }

    fn audit_lost(&self) -> u64 {
        7
    }
    async fn copy(&self) -> Result<PathBuf, Refusal> {
        Err(Refusal::Invalid("there is no file".into()))
    }
    async fn reload(&self) -> Result<(), String> {
        Err("line 3: no".into())
    }
}

#[async_trait]
impl KeyAdmin for Fake {
    async fn list(&self) -> Result<Vec<KeyRecord>, Refusal> {
        let sealed = Secret::new(b"private".to_vec());
        let (created, changed) = (Timestamp::UNIX_EPOCH, Timestamp::UNIX_EPOCH);
        let (id, purpose, algorithm, public) = ("k1".into(), "jwt".into(), "ES256".into(), "{}".into());
        Ok(vec![KeyRecord { id, purpose, algorithm, state: KeyState::Current, public, sealed, created, changed }])
    }
    async fn rotate(&self, purpose: &str) -> Result<Vec<KeyRecord>, Refusal> {
        if purpose == "jwt" { self.list().await } else { Err(Refusal::NotFound(format!("no keys are for `{purpose}`"))) }
    }
    async fn import(&self, purpose: &str, _: &Secret<Vec<u8>>) -> Result<Vec<KeyRecord>, Refusal> {
        self.rotate(purpose).await
    }
    async fn revoke(&self, _: &str) -> Result<Vec<KeyRecord>, Refusal> {
        self.list().await
    }
}

#[async_trait]
impl HashPassword for Fake {
    fn minimum_length(&self, _: &TenantId) -> usize {
        8
    }

    async fn import(&self, text: &Secret<String>) -> Result<PasswordHash, Refusal> {
        Ok(PasswordHash(format!("wrapped {}", text.reveal())))
    }

    fn seal(&self, text: &Secret<String>) -> Result<PasswordHash, Refusal> {
        match text.reveal().strip_prefix('{') {
            Some(_) => Ok(PasswordHash(format!("sealed {}", text.reveal()))),
            None => Err(Refusal::Invalid("that is no hash".into())),
        }
    }

    fn reveal(&self, stored: &PasswordHash) -> Option<Secret<String>> {
        stored.0.strip_prefix("sealed ").map(Secret::from)
    }

    async fn hash(&self, _: &TenantId, _: &Username, password: &Secret<String>) -> Result<PasswordHash, Refusal> {
        if password.reveal().len() < 8 {
            return Err(Refusal::Invalid("a password has at least eight characters".into()));
        }
        Ok(PasswordHash(format!("hash of {} octets", password.reveal().len())))
    }
}

/// What the fakes remember.
pub(crate) struct Beneath {
    pub(crate) durable: Arc<Durable>,
    pub(crate) expiring: Arc<Plain>,
    pub(crate) sink: Arc<Heard>,
}

pub(crate) fn admin() -> (Arc<Admin>, Beneath) {
    admin_recording(Arc::default())
}

fn admin_recording(sink: Arc<Heard>) -> (Arc<Admin>, Beneath) {
    let (durable, expiring) = (Arc::new(Durable::default()), Arc::new(Plain::default()));
    let fake = Arc::new(Fake { durable: durable.clone(), expiring: expiring.clone(), sink: sink.clone() });
    let users = Arc::new(Users::new(durable.clone(), Duration::from_secs(1)));
    let running: Arc<dyn Running> = fake.clone();
    let keys: Arc<dyn KeyAdmin> = fake.clone();
    let admin = Admin { running, users, expiring: expiring.clone(), keys, passwords: fake, started: Timestamp::UNIX_EPOCH };
    (Arc::new(admin), Beneath { durable, expiring, sink })
}

pub(crate) struct Server {
    pub(crate) dir: TempDir,
    pub(crate) path: PathBuf,
    pub(crate) beneath: Beneath,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_recording(Arc::default())
    }

    fn start_recording(sink: Arc<Heard>) -> Self {
        let dir = TempDir::new();
        let path = dir.path().join("admin.sock");
        let (admin, beneath) = admin_recording(sink);
        let socket = AdminSocket::bind(&path).unwrap();
        tokio::spawn(async move { socket.serve(admin).await });
        Self { dir, path, beneath }
    }

    async fn ask(&self, request: AdminRequest) -> AdminReply {
        let mut stream = BufReader::new(UnixStream::connect(&self.path).await.unwrap());
        send(&mut stream, request).await.unwrap();
        receive(&mut stream, MAX_REPLY).await.unwrap().unwrap()
    }

    fn actions(&self) -> Vec<(String, String)> {
        let heard = self.beneath.sink.0.lock().unwrap();
        let actions = heard.iter().filter_map(|record| match &record.event {
            Event::AdminChanged { by, action, subject } => {
                assert!(by.contains("uid "), "{by}");
                Some((action.clone(), subject.clone()))
            }
            _ => None,
        });
        actions.collect()
    }
}

fn whom(name: &str) -> Whom {
    Whom { tenant: Some("north".into()), name: name.into() }
}

fn new_user(name: &str, password: NewPassword) -> NewUser {
    NewUser {
        user: whom(name),
        display_name: Some("Ada".into()),
        email: None,
        groups: vec!["b".into(), "a".into(), "b".into()],
        profile: "user".into(),
        must_change_password: true,
        break_glass: false,
        password,
    }
}

fn given(text: &str) -> NewPassword {
    NewPassword::Given(Confidential(Secret::from(text)))
}

fn refusal(reply: AdminReply) -> Refusal {
    match reply {
        AdminReply::Refused(refusal) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn users_are_added_shown_and_listed_and_each_change_is_recorded() {
    let server = Server::start();
    let AdminReply::User { user, password } = server.ask(AdminRequest::UserAdd(new_user("ADA", given("correct horse")))).await else {
        panic!("not added")
    };
    assert_eq!((user.name.as_str(), password), ("ada", None));
    assert_eq!(user.groups, [GroupName::from("a"), GroupName::from("b")]);
    assert!(user.must_change_password);
    assert_eq!(server.beneath.durable.users.lock().unwrap()[0].password, Some(PasswordHash("hash of 13 octets".into())));

    let again = server.ask(AdminRequest::UserAdd(new_user("ada", NewPassword::None))).await;
    assert!(matches!(refusal(again), Refusal::Invalid(_)));
    let weak = server.ask(AdminRequest::UserAdd(new_user("bob", given("short")))).await;
    assert!(matches!(refusal(weak), Refusal::Invalid(_)));
    let nameless = server.ask(AdminRequest::UserAdd(new_user("anonymous", NewPassword::None))).await;
    assert!(matches!(refusal(nameless), Refusal::Invalid(_)));

    let AdminReply::User { password: Some(Confidential(made)), .. } =
        server.ask(AdminRequest::UserAdd(new_user("bob", NewPassword::Generate))).await
    else {
        panic!("no password made")
    };
    assert_eq!(made.reveal().len(), 20);

    let AdminReply::Users { users, more: false } =
        server.ask(AdminRequest::UserList { tenant: Some("north".into()), group: None, after: Some("ada".into()) }).await
    else {
        panic!("not listed")
    };
    assert_eq!(users.iter().map(|user| user.name.as_str()).collect::<Vec<_>>(), ["bob"]);
    assert_eq!(server.actions(), [("user.add".into(), "north/ada".into()), ("user.add".into(), "north/bob".into())]);
    let heard = format!("{:?}", server.beneath.sink.0.lock().unwrap());
    assert!(!heard.contains(made.reveal()) && !heard.contains("correct horse"));
}

#[tokio::test]
async fn the_tenant_may_be_left_out_only_where_there_is_one() {
    let server = Server::start();
    let unsaid = server.ask(AdminRequest::UserList { tenant: None, group: None, after: None }).await;
    assert!(refusal(unsaid).to_string().contains("north, south"));
    let unknown = server.ask(AdminRequest::UserList { tenant: Some("west".into()), group: None, after: None }).await;
    assert!(matches!(refusal(unknown), Refusal::NotFound(_)));
    let nobody = server.ask(AdminRequest::UserShow(whom("nobody"))).await;
    assert!(matches!(refusal(nobody), Refusal::NotFound(_)));
}

#[tokio::test]
async fn disabling_and_a_new_password_raise_the_epoch_and_enabling_does_not() {
    let server = Server::start();
    server.ask(AdminRequest::UserAdd(new_user("ada", NewPassword::None))).await;
    let AdminReply::User { user, .. } = server.ask(AdminRequest::UserDisable(whom("ada"))).await else { panic!("not disabled") };
    assert_eq!((user.state, user.epoch), (AccountState::Disabled, 1));
    let AdminReply::User { user, .. } = server.ask(AdminRequest::UserEnable(whom("ada"))).await else { panic!("not enabled") };
    assert_eq!((user.state, user.epoch), (AccountState::Active, 1));
    let request = AdminRequest::UserPasswd { user: whom("ada"), password: given("battery staple"), must_change: false };
    let AdminReply::User { user, password: None } = server.ask(request).await else { panic!("not changed") };
    assert_eq!((user.epoch, user.must_change_password), (2, false));
    let actions: Vec<String> = server.actions().into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["user.add", "user.disable", "user.enable", "user.passwd"]);
}

#[tokio::test]
async fn a_deleted_user_is_gone_and_the_name_is_free() {
    let server = Server::start();
    server.ask(AdminRequest::UserAdd(new_user("ada", NewPassword::None))).await;
    let AdminReply::User { user, .. } = server.ask(AdminRequest::UserDelete(whom("ada"))).await else { panic!("not deleted") };
    assert_eq!((user.state, user.epoch), (AccountState::Disabled, 1), "nobody was let in meanwhile");
    for request in [AdminRequest::UserShow(whom("ada")), AdminRequest::UserDelete(whom("ada"))] {
        assert!(matches!(refusal(server.ask(request).await), Refusal::NotFound(_)));
    }
    let AdminReply::User { user: another, .. } = server.ask(AdminRequest::UserAdd(new_user("ada", NewPassword::None))).await else {
        panic!("not added")
    };
    assert_ne!(another.id, user.id);
    let actions: Vec<String> = server.actions().into_iter().map(|(action, _)| action).collect();
    assert_eq!(actions, ["user.add", "user.delete", "user.add"]);
}

#[tokio::test]
async fn ending_what_is_not_there_is_told() {
    let server = Server::start();
    server.ask(AdminRequest::UserAdd(new_user("ada", NewPassword::None))).await;
    assert_eq!(server.ask(AdminRequest::SessionList(whom("ada"))).await, AdminReply::Sessions(vec![]));
    let one = server.ask(AdminRequest::SessionEnd { user: whom("ada"), session: Some("4f".into()) }).await;
    assert!(matches!(refusal(one), Refusal::NotFound(_)));
    let all = server.ask(AdminRequest::SessionEnd { user: whom("ada"), session: None }).await;
    assert_eq!(all, AdminReply::Ended { sessions: 0 });
}

#[tokio::test]
async fn what_cannot_be_recorded_is_not_done() {
    let server = Server::start_recording(Arc::new(Heard(Mutex::default(), true)));
    for request in [
        AdminRequest::UserAdd(new_user("ada", NewPassword::None)),
        AdminRequest::UserEnable(whom("ada")),
        AdminRequest::KeyRotate { purpose: "jwt".into() },
        AdminRequest::Reload,
    ] {
        assert!(matches!(refusal(server.ask(request).await), Refusal::Unavailable(_)));
    }
    assert!(server.beneath.durable.users.lock().unwrap().is_empty());
    let AdminReply::Status(status) = server.ask(AdminRequest::Status).await else { panic!("no status") };
    assert_eq!(status.audit_lost, 7);
    assert!(status.stopped.is_some(), "status still answers, and says why");
}

#[tokio::test]
async fn while_nothing_can_be_recorded_nothing_is_judged() {
    let sink = Arc::new(Heard(Mutex::default(), true));
    let (admin, _) = admin_recording(sink.clone());
    let url = "http://north.localhost/open/a".to_owned();
    let synthetic = Synthetic { method: "GET".into(), url, headers: vec![], from: None };
    let request = explain::read(&synthetic, Timestamp::UNIX_EPOCH).unwrap();
    let judgement = admin.running.engine().decide(&request).await;
    assert!(matches!(judgement.decision, vestibule_engine::decision::Decision::Fail(_)), "even on an open route");
    assert!(sink.0.lock().unwrap().is_empty());
}

#[tokio::test]
async fn keys_are_shown_without_their_private_part() {
    let server = Server::start();
    let AdminReply::Keys(keys) = server.ask(AdminRequest::KeyList).await else { panic!("no keys") };
    assert_eq!(keys[0].id, "k1");
    assert!(matches!(refusal(server.ask(AdminRequest::KeyRotate { purpose: "x".into() }).await), Refusal::NotFound(_)));
    server.ask(AdminRequest::KeyRotate { purpose: "jwt".into() }).await;
    server.ask(AdminRequest::KeyRevoke { id: "k1".into() }).await;
    assert_eq!(server.actions(), [("key.rotate".into(), "jwt".into()), ("key.revoke".into(), "k1".into())]);
    assert_eq!(refusal(server.ask(AdminRequest::Reload).await), Refusal::Invalid("line 3: no".into()));
}

#[tokio::test]
async fn a_logged_decision_is_found_by_its_id() {
    let server = Server::start();
    let record = decided("/x");
    server.beneath.durable.log.lock().unwrap().push(record.clone());
    let id = record.request_id.unwrap();
    assert_eq!(server.ask(AdminRequest::ExplainId { id }).await, AdminReply::Decision(Box::new(record)));
    let other = RequestId::new(Timestamp::UNIX_EPOCH).unwrap();
    assert!(matches!(refusal(server.ask(AdminRequest::ExplainId { id: other }).await), Refusal::NotFound(_)));
}

async fn explain(server: &Server, url: &str, headers: &[(&str, &str)]) -> AdminReply {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), Confidential(Secret::from(*value)))).collect();
    server.ask(AdminRequest::Explain(Synthetic { method: "GET".into(), url: url.into(), headers, from: None })).await
}

#[tokio::test]
async fn an_explanation_shows_what_is_told_and_stripped_without_credentials() {
    let server = Server::start();
    let headers = [("x-user", "forged"), ("X-Guess", "1"), ("accept", "text/html"), ("authorization", "Bearer hunter2")];
    let AdminReply::Explanation(explanation) = explain(&server, "http://north.localhost/open/a?b=c", &headers).await else {
        panic!("no explanation")
    };
    assert_eq!(explanation.decided.decision, Ruling::Allow);
    assert_eq!(
        (explanation.tenant.as_deref(), explanation.open, explanation.destination.as_deref()),
        (Some("north"), Some(true), Some("app"))
    );
    assert_eq!(explanation.stripped, ["header authorization", "header x-guess", "header x-user"]);
    let told: Vec<_> = explanation.injected.iter().map(|told| (told.header.as_str(), told.value.clone())).collect();
    let claims = Value::Claims(serde_json::json!({ "sub": "ada" }));
    assert_eq!(told, [("x-user", Value::Text("anonymous".into())), ("authorization", claims)]);
    let text = serde_json::to_string(&explanation).unwrap();
    assert!(!text.contains("hunter2") && !text.contains("c2VjcmV0"), "{text}");
    assert_eq!(server.actions(), [("explain".into(), "GET north.localhost/open/a".into())]);
}

#[tokio::test]
async fn explaining_counts_guesses_and_forgets_everything_else() {
    let server = Server::start();
    for _ in 0..2 {
        let AdminReply::Explanation(explanation) = explain(&server, "https://south.localhost/", &[("x-guess", "1")]).await else {
            panic!("no explanation")
        };
        assert_eq!(explanation.decided.decision, Ruling::Challenge);
        assert_eq!(explanation.decided.reason, Some(Reason::WrongPassword));
        assert_eq!(explanation.answers[0], (ClientKind::Api, "Api".into()), "the kind it looks like comes first");
        assert_eq!(explanation.answers.len(), 5);
    }
    let counter = Key::of(&TenantId::from("south"), Kind::Throttle, &[b"guess"]);
    assert_eq!(server.beneath.expiring.increment(&counter, Duration::from_secs(60)).await.unwrap(), 3, "no guessing oracle");
    let spent = Key::of(&TenantId::from("south"), Kind::Replay, &[b"spent"]);
    assert!(server.beneath.expiring.get(&spent).await.unwrap().is_none());
    let heard = server.beneath.sink.0.lock().unwrap();
    let count = |wanted: fn(&Event) -> bool| heard.iter().filter(|record| wanted(&record.event)).count();
    assert_eq!(count(|event| matches!(event, Event::GateClosed { .. })), 1, "a gate it closes is closed");
    assert_eq!(count(|event| matches!(event, Event::RequestDecided(_) | Event::SessionOpened { .. })), 0);
}

#[tokio::test]
async fn what_a_listener_would_refuse_is_told() {
    let server = Server::start();
    for url in [
        "north.localhost/",
        "ftp://north.localhost/",
        "http://north.localhost/a/../b",
        "http://u@north.localhost/",
        "http:///x",
        "http://a/#f",
    ] {
        assert!(matches!(refusal(explain(&server, url, &[]).await), Refusal::Invalid(_)), "{url}");
    }
    assert!(matches!(refusal(explain(&server, "http://north.localhost/", &[("host", "x")]).await), Refusal::Invalid(_)));
    let AdminReply::Explanation(nowhere) = explain(&server, "http://west.localhost", &[]).await else { panic!("no explanation") };
    assert_eq!((nowhere.decided.decision, nowhere.decided.reason), (Ruling::Deny, Some(Reason::NoRoute)));
    assert_eq!(nowhere.decided.policy, Vec::<PolicyId>::new());
}

fn imported(name: &str) -> ImportedUser {
    ImportedUser {
        name: name.into(),
        display_name: None,
        email: Some(format!("{name}@north.example")),
        groups: vec!["staff".into()],
        profile: "user".into(),
        state: AccountState::Active,
        must_change_password: false,
        break_glass: false,
        external_ids: vec![],
        created: None,
        password_hash: Some(Confidential(Secret::from("{SSHA}x"))),
    }
}

#[tokio::test]
async fn an_import_adds_each_user_once_and_says_why_not() {
    let server = Server::start();
    let import = async |users: &[ImportedUser], dry_run| {
        let request = AdminRequest::UserImport { tenant: Some("north".into()), users: users.to_vec(), dry_run };
        match server.ask(request).await {
            AdminReply::Imported(fates) => fates,
            other => panic!("{other:?}"),
        }
    };
    let bare = ImportedUser { password_hash: Some(Confidential(Secret::from("hunter2"))), ..imported("cleo") };
    let nameless = ImportedUser { groups: vec!["a\nb".into()], ..imported("dora") };
    let users = [imported("ada"), imported("ADA"), bare, nameless, imported("anonymous"), imported("bob")];
    for dry_run in [true, false] {
        let fates = import(&users, dry_run).await;
        assert_eq!(fates[0], Fate::Added);
        assert_eq!(fates[5], Fate::Added);
        for (place, why) in [(1, "before"), (2, "no hash"), (3, "control"), (4, "no user name")] {
            assert!(matches!(&fates[place], Fate::Refused(said) if said.contains(why) && !said.contains("hunter2")), "{:?}", fates[place]);
        }
        assert_eq!(server.beneath.durable.users.lock().unwrap().len(), if dry_run { 0 } else { 2 });
    }
    assert_eq!(server.beneath.durable.users.lock().unwrap()[0].password, Some(PasswordHash("sealed {SSHA}x".into())));
    // Again: nothing twice, and who differs is not overwritten.
    let other = ImportedUser { email: None, state: AccountState::Disabled, ..imported("bob") };
    assert_eq!(import(&[imported("ada")], false).await, [Fate::Present]);
    assert!(matches!(&import(&[other], false).await[..], [Fate::Refused(why)] if why.ends_with("mail address, state")));
    assert_eq!(server.beneath.durable.users.lock().unwrap().len(), 2);
    let many = AdminRequest::UserImport { tenant: Some("north".into()), users: vec![imported("x"); BATCH + 1], dry_run: false };
    assert!(matches!(server.ask(many).await, AdminReply::Refused(Refusal::Invalid(_))));

    // What leaves has a hash only if it is asked for.
    let export = async |hashes| {
        let request = AdminRequest::UserExport { tenant: Some("north".into()), group: None, after: None, hashes };
        match server.ask(request).await {
            AdminReply::Exported { users, more: false } => users,
            other => panic!("{other:?}"),
        }
    };
    assert!(export(false).await.iter().all(|user| user.password_hash.is_none()));
    assert_eq!(export(true).await[0].password_hash, Some(Confidential(Secret::from("{SSHA}x"))));
    let changes: Vec<String> = server
        .beneath
        .sink
        .0
        .lock()
        .unwrap()
        .iter()
        .filter_map(|record| match &record.event {
            Event::AdminChanged { action, subject, .. } => Some(format!("{action} {subject}")),
            _ => None,
        })
        .collect();
    assert_eq!(changes, ["user.import north: 2 users, from ada to bob", "user.export north: 2 hashes, from ada to bob"]);
}
