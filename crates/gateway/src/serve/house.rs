//! The open house: stores, keys, listeners and sockets of one running gateway, and its reload.
//!
//! A reload builds a second engine and swaps one pointer, or changes nothing. Listeners, threads and stores
//! are those of the start.

mod federation;
mod owners;
mod secrets;
mod signals;
mod stores;
mod tunnels;
mod upstreams;

use std::collections::HashMap;
use std::fmt;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::{HeaderName, Request, Response};
use tokio::runtime::Handle;
use tower::util::BoxCloneSyncService;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::{Event, Recorded, Sink, Trail, VERSION};
use vestibule_engine::clock::Clock;
use vestibule_engine::csrf::CsrfKey;
use vestibule_engine::engine::{Engine, Judgement};
use vestibule_engine::identity::{TenantId, Username};
use vestibule_engine::request::{CheckRequest, ClientKind, SECRET_PATHS};
use vestibule_engine::route::Found;
use vestibule_engine::scheme::Unavailable;
use vestibule_engine::secret::Secret;
use vestibule_engine::store::{DurableStore, ExpiringStore, Key, Kind};
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;

use crate::audit::chain::SealingKey;
use crate::audit::decisions::DecisionLog;
use crate::audit::log::Log;
use crate::audit::meter::{self, Meter};
use crate::audit::{Audit, FanOut};
use crate::config::build::{self, Built, House};
use crate::config::checked::{AnonymousDenied, Checked, Emergency};
use crate::config::problem::{Colour, Problem};
use crate::config::reload::{self, Cause, Watch};
use crate::config::{self, Instead, Purpose};
use crate::forward::Upstream;
use crate::keys::KeyRing;
use crate::realms::hashing::{HashingPool, wrapping};
use crate::realms::operators::{Operators, operators};
use crate::schemes::integration::token::TokenKey;
use crate::schemes::known_device::KnownDevices;
use crate::schemes::session::set_cookie;
use crate::serve::admin::protocol::Refusal;
use crate::serve::admin::socket::AdminSocket;
use crate::serve::admin::{Admin, Running as Administered};
use crate::serve::answer::{Answers, Notice};
use crate::serve::api_login::{ApiLogin, is_mounted};
use crate::serve::control::{OnControl, OwnPages};
use crate::serve::delegate::Delegates;
use crate::serve::hand_over::{Inherited, Successor};
use crate::serve::health::{self, Health};
use crate::serve::integration::{self, Commands, Integrations};
use crate::serve::kept::KeptPosts;
use crate::serve::listen::{Capacity, Doors, Drained, Listener, ListenerTls};
use crate::serve::load::Terms;
use crate::serve::notify;
use crate::serve::pages::{self, Brand, Brands, FrontDoor, PageKey, Portal, TicketDesk, TicketService, WaysIn};
use crate::serve::proxy::{self, Shared};
use crate::serve::read::TrustedProxies;
use crate::serve::tickets::Tickets;
use crate::store::embedded::EmbeddedStore;
use crate::ticket::SessionTickets;

use owners::{Hashes, InForce, Keys, Owners};
use secrets::{Secrets, sealing_key};
pub use secrets::{held_sealing_key, opens, sealing_file};
use signals::Signals;
pub use signals::Told;
use stores::Stores;
pub use stores::{NOT_BEFORE, database};
use tunnels::until_over;

/// How long a start waits until all users are read.
const SURVEY: Duration = Duration::from_secs(2);
/// Jobs that may wait to be hashed, per lane.
const HASHING_QUEUE: usize = 256;

/// Why the house could not be opened.
#[derive(Debug)]
pub enum Refused {
    /// The configuration is wrong.
    Configuration(Vec<Problem>),
    /// Something else; a sentence.
    System(String),
}

impl From<String> for Refused {
    fn from(why: String) -> Self {
        Self::System(why)
    }
}

/// The runtime of everything that is not a request on its way: pages, hashing, stores, administration.
///
/// # Errors
/// When the system gives no threads.
pub fn control_runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("control").build()
}

/// A house that is open.
pub struct Open {
    server: Arc<Server>,
    signals: Signals,
    doors: Doors,
    /// The doors' own sockets once more, for a successor.
    sockets: Vec<TcpListener>,
    drain: Duration,
    log: Arc<Audit>,
    decisions: Arc<DecisionLog>,
    /// Its file goes when the house closes.
    admin: tokio::task::JoinHandle<()>,
    health: tokio::task::JoinHandle<()>,
    reloads: tokio::task::JoinHandle<()>,
}

/// Opens the house of a configuration. Must be called on the control runtime.
///
/// # Errors
/// [`Refused`], and nothing is left open.
pub async fn open(path: PathBuf, purpose: Purpose, clock: Arc<dyn Clock>, inherited: Inherited) -> Result<Open, Refused> {
    federation::fetch_missing(&path, clock.now(), &Handle::current()).await;
    let (checked, warnings) = config::load(&path, purpose, clock.now(), build::policy_problems).map_err(Refused::Configuration)?;
    // The demo's configuration is not for its user to mend.
    if purpose != Purpose::Demo {
        warn(&warnings);
    }
    let control = Handle::current();
    let metrics = meter::install(&control).map_err(|error| error.to_string())?;
    meter::certificates(&checked.certificates);
    let stores = Stores::open(&checked, purpose, &clock).await?;
    refuse_lockout(&checked, &*stores.durable).await?;
    let sealing = Arc::new(sealing_key(&checked)?);
    let secrets = Secrets::load(&stores.durable, &sealing).await?;
    let audit_key = Arc::new(SealingKey::new(&secrets.audit)?);
    let log = Arc::new(audit(&checked, &audit_key, &clock).map_err(|error| format!("the audit cannot be written: {error}"))?);
    let decisions = Arc::new(DecisionLog::start(stores.durable.clone(), &control));
    let told: [Arc<dyn Sink>; 3] = [log.clone(), decisions.clone(), Arc::new(Meter::default())];
    let sink: Arc<dyn Sink> = Arc::new(FanOut::new(told));

    let keys = KeyRing::load_or_create(stores.durable.clone(), sealing.clone(), build::key_settings(&checked), clock.clone(), sink.clone())
        .await
        .map_err(|error| format!("signing keys: {error}"))?;
    control.spawn(keys.clone().run());
    let users = Arc::new(Users::new(stores.durable.clone(), checked.session.revocation_lag));
    let hashing = checked.hashing.threads.unwrap_or_else(HashingPool::threads);
    let pool = HashingPool::new(hashing, HASHING_QUEUE, checked.hashing.cost, sealing, clock.clone())
        .map_err(|error| format!("no threads to hash passwords: {error}"))?;
    let pool = Arc::new(pool);
    control.spawn(wrapping::run(stores.durable.clone(), pool.clone()));
    let house = House {
        clock: clock.clone(),
        durable: stores.durable.clone(),
        expiring: stores.expiring.clone(),
        knows_since: stores.knows_since,
        users: users.clone(),
        pool,
        keys,
        sink,
        devices: Arc::new(KnownDevices::new(&secrets.devices)),
        csrf: CsrfKey::new(&secrets.csrf),
        tokens: TokenKey::new(&secrets.tokens),
        pages: PageKey::new(&secrets.pages),
        tickets: SessionTickets::new(&secrets.pages, users.clone()),
        generations: AtomicU64::new(0),
    };
    let threads = checked.server.workers.unwrap_or_else(|| Capacity::default().threads);
    let listeners = bind(&checked, inherited)?;
    let tls = listeners.iter().map(|listener| listener.tls.clone()).collect();
    let built = build::build(&checked, &house, &house.expiring)?;
    survey(&built, &checked).await;
    let server = Arc::new(Server {
        path,
        purpose,
        house,
        embedded: stores.embedded.clone(),
        page_secret: secrets.pages,
        threads,
        control: control.clone(),
        tls,
        checked: Mutex::new(Arc::new(checked.clone())),
        shared: Arc::default(),
        started: clock.now(),
        log: log.clone(),
        audit_key: checked.audit.file.is_some().then(|| audit_key.public()),
        reloading: tokio::sync::Mutex::new(()),
    });
    let running = server.running(&checked, built)?;
    let shared = Shared::new(running, checked.server.body_memory);
    // INVARIANT: set once, here, before anybody else holds the server.
    let _ = server.shared.set(shared.clone());

    let admin = AdminSocket::bind(&checked.server.control_socket)
        .map_err(|error| format!("the control socket {} cannot be made: {error}", checked.server.control_socket.display()))?;
    let health = tokio::net::TcpListener::bind(checked.server.health)
        .await
        .map_err(|error| format!("the health listener {}: {error}", checked.server.health))?;
    let capacity = Capacity { threads, connections: checked.listeners.iter().map(|listener| listener.limits.connections).sum() };
    let sockets = listeners.iter().map(|listener| listener.socket.try_clone()).collect::<std::io::Result<_>>();
    let sockets = sockets.map_err(|error| format!("the sockets cannot be kept: {error}"))?;
    let signals = Signals::catch()?;
    let doors = Doors::open(listeners, shared.clone(), capacity).map_err(|error| format!("no threads to serve: {error}"))?;
    for address in doors.addresses() {
        tracing::info!(%address, tenants = checked.tenants.len(), routes = checked.routes.len(), "open");
    }
    let watch = Watch::new(checked.watched())?;
    let administered = server.clone();
    let admin = control.spawn(async move {
        let admin_state = Arc::new(administered.admin());
        admin.serve(admin_state).await;
    });
    let probe = health::Health { shared, stores: server.probe(), metrics };
    let health = control.spawn(serve_health(health, probe));
    let reloads = control.spawn(follow(server.clone(), watch));
    control.spawn(federation::run(server.clone(), clock.clone(), server.house.sink.clone(), control.clone()));
    Ok(Open { server, signals, doors, sockets, drain: checked.server.drain, log, decisions, admin, health, reloads })
}

impl fmt::Debug for Open {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl Open {
    /// Waits for SIGTERM or SIGINT.
    pub async fn until_told_to_stop(&mut self) {
        self.signals.stop().await;
    }

    /// Waits for SIGTERM or SIGINT, or for SIGUSR2 while the successor accepts the configuration.
    pub async fn until_told(&mut self, successor: &Successor) -> Told {
        while self.signals.any().await == Told::HandOver {
            match tokio::task::block_in_place(|| successor.check(&self.server.path)) {
                Ok(()) => return Told::HandOver,
                Err(why) => tracing::error!("no successor takes over:\n{why}"),
            }
        }
        Told::Stop
    }

    /// What administrators act on.
    pub fn admin(&self) -> Admin {
        self.server.admin()
    }

    /// Tells the service manager that we serve, and its watchdog, if there is one, that we live.
    pub fn announce(&self) {
        notify::tell(notify::State::Ready);
        if let Some(period) = notify::watchdog() {
            self.server.control.spawn(notify::watch(period, self.doors.beats()));
        }
    }

    /// Closes, but for the listening sockets: connections wait in them for a successor.
    pub async fn hand_over(mut self) -> Vec<TcpListener> {
        let sockets = std::mem::take(&mut self.sockets);
        self.close().await;
        tracing::info!("a successor takes over");
        sockets
    }

    /// Answers what is under way, writes what is to be written, and ends.
    pub async fn close(self) {
        tracing::info!("stopping");
        drop(self.sockets);
        self.reloads.abort();
        self.admin.abort();
        let drained = self.doors.close(self.drain).await;
        if let Drained::CutOff(connections) = drained {
            tracing::warn!(connections, "some connections were cut off");
        }
        self.health.abort();
        self.decisions.flush().await;
        let log = self.log.clone();
        let _ = tokio::task::spawn_blocking(move || log.close()).await;
    }
}

/// The places of the audit. The file stands last: it tells the others of its seals.
fn audit(checked: &Checked, key: &Arc<SealingKey>, clock: &Arc<dyn Clock>) -> Result<Audit, String> {
    let mut logs = Vec::new();
    if checked.audit.stdout {
        logs.push(Arc::new(Log::stdout(clock.clone()).map_err(|error| error.to_string())?));
    }
    if let Some(syslog) = &checked.audit.syslog {
        logs.push(Arc::new(Log::syslog(syslog, clock.clone())?));
    }
    if let Some(path) = &checked.audit.file {
        let file = Log::file(path, key.clone(), logs.clone(), clock.clone());
        logs.push(Arc::new(file.map_err(|error| format!("{}: {error}", path.display()))?));
    }
    Ok(Audit::new(logs))
}

async fn serve_health(listener: tokio::net::TcpListener, state: Health) {
    if let Err(error) = health::serve(listener, state).await {
        tracing::error!(%error, "the health listener ended");
    }
}

async fn follow(server: Arc<Server>, watch: Watch) {
    reload::run(watch, |cause| {
        let server = server.clone();
        Box::pin(async move {
            if cause == Cause::Signal {
                server.log.reopen();
            }
            notify::tell(notify::State::Reloading);
            let outcome = server.reload().await;
            notify::tell(notify::State::Ready);
            // What is wrong has been logged and recorded.
            outcome.ok().map(|()| server.checked().watched().map(Path::to_owned).collect())
        })
    })
    .await;
}

fn render(problems: Vec<Problem>) -> String {
    problems.iter().map(|problem| problem.render(Colour::Off)).collect::<Vec<_>>().join("\n")
}

fn warn(warnings: &[Problem]) {
    for warning in warnings {
        tracing::warn!("{}", warning.render(Colour::Off));
    }
}

/// Refuses a configuration under which an outage elsewhere would lock out everybody.
async fn refuse_lockout(checked: &Checked, store: &dyn DurableStore) -> Result<(), String> {
    if !checked.profiles.delegates() {
        return Ok(());
    }
    let tenants: Vec<TenantId> = checked.tenants.iter().map(|tenant| tenant.id.clone()).collect();
    match operators(store, &tenants, None).await.map_err(|down| down.to_string())? {
        Operators::Present | Operators::NobodyYet => Ok(()),
        Operators::Missing => {
            Err("a profile delegates its passwords, and no administrator or emergency account could sign in while that service is down; \
            add one first: vestibule user add NAME --break-glass"
                .to_owned())
        }
    }
}

/// Learns what the dearest stored hash costs, so that the floor covers it before it is first met. A million users take longer than
/// a start may; then it goes on beside the first requests.
async fn survey(built: &Built, checked: &Checked) {
    let realms: Vec<_> = built.local.values().cloned().collect();
    let tenants: Vec<TenantId> = checked.tenants.iter().map(|tenant| tenant.id.clone()).collect();
    let surveying = tokio::spawn(async move {
        for realm in realms {
            for tenant in &tenants {
                if let Err(down) = realm.survey(tenant).await {
                    tracing::warn!(error = %down, "the users could not be read");
                }
            }
        }
    });
    if tokio::time::timeout(SURVEY, surveying).await.is_err() {
        tracing::info!("the users are many: what their dearest hash costs is learnt while we serve");
    }
}

fn bind(checked: &Checked, mut inherited: Inherited) -> Result<Vec<Listener>, String> {
    let mut one = |listener: &config::checked::Listener| {
        let socket = inherited.listen(listener.address).map_err(|error| format!("{} cannot be listened on: {error}", listener.address))?;
        if listener.certificates.is_empty() {
            return Ok(Listener { socket, tls: None });
        }
        let tls = ListenerTls::new(&listener.certificates, listener.clients.as_ref()).map_err(|error| error.to_string())?;
        Ok(Listener { socket, tls: Some(tls) })
    };
    let bound = checked.listeners.iter().map(&mut one).collect();
    for address in inherited.rest() {
        tracing::warn!(%address, "a socket was handed over that no [[listen]] names; it is closed");
    }
    bound
}

/// What a reload acts on.
struct Server {
    path: PathBuf,
    purpose: Purpose,
    house: House,
    embedded: Option<Arc<EmbeddedStore>>,
    page_secret: Secret<[u8; 32]>,
    threads: usize,
    control: Handle,
    tls: Vec<Option<ListenerTls>>,
    checked: Mutex<Arc<Checked>>,
    shared: Arc<OnceLock<Arc<Shared>>>,
    started: Timestamp,
    log: Arc<Audit>,
    /// What seals the audit's file, if there is one.
    audit_key: Option<String>,
    reloading: tokio::sync::Mutex<()>,
}

impl InForce for Server {
    fn checked(&self) -> Arc<Checked> {
        Self::checked(self)
    }

    fn would_accept(&self, file: &Path, octets: &[u8]) -> Result<(), String> {
        let instead = Some(Instead { file, octets });
        let loaded = config::load_with(&self.path, self.purpose, self.house.clock.now(), build::policy_problems, instead);
        loaded.map(drop).map_err(render)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Server {
    fn checked(&self) -> Arc<Checked> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A configuration as it will run.
    fn running(&self, checked: &Checked, built: Built) -> Result<proxy::Running, String> {
        let Built { engine, passwords, local, delegates, saml, oidc, integrations, tenants } = built;
        let engine = Arc::new(engine);
        let brands = brands(checked)?;
        let ways_in = Arc::new(ways_in(checked, &tenants)?);
        let changes = Owners::new(checked, &self.house.clock, &passwords, &local);
        let keys = self.house.keys.clone();
        let jwks: pages::Jwks = Arc::new(move || keys.published().body.clone());
        let portal = Portal::new(
            engine.clone(),
            self.house.expiring.clone(),
            &self.page_secret,
            brands.clone(),
            self.house.devices.clone(),
            Some(Arc::new(changes)),
            jwks,
        )
        .with_service_providers(saml)
        .with_relying_parties(oidc)
        .with_integrations(integrations.clone())
        .with_ways_in(ways_in.clone())
        .with_idps(pages::Idps::new(checked));
        let remembered = checked.session.remembered;
        let kept = (!remembered.is_zero()).then(|| KeptPosts::new(&self.page_secret, self.house.expiring.clone(), remembered));
        let portal = portal.with_kept(kept.clone());
        let tickets = Tickets::new(&self.page_secret, self.house.expiring.clone());
        let desk = TicketDesk { tickets: tickets.clone(), services: services(checked) };
        let portal = portal.with_histories(self.house.durable.clone()).with_tickets(desk);
        let delegates = Delegates::new(engine.clone(), delegates, tickets);
        let commands = Commands::new(engine.clone(), self.house.expiring.clone(), integrations.clone());
        let programs = ApiLogin::new(engine.clone(), ways_in);
        let mut upstreams = HashMap::new();
        for (name, upstream) in &checked.upstreams {
            let settings = upstreams::settings(upstream)?;
            let made = Upstream::new(settings, self.threads).ok_or_else(|| format!("the upstream {name} has no address"))?;
            upstreams.insert(name.clone(), Arc::new(made));
        }
        // An application may stand behind several listeners: what one reads, none lets through.
        let forwarding = checked.forwarding();
        Ok(proxy::Running {
            until_over: until_over(&self.shared),
            engine: engine.clone(),
            passwords: Some(passwords),
            upstreams,
            pages: OnControl::new(self.control.clone(), service(portal, delegates, programs, commands)),
            answers: Answers { integrations, ..answers(checked, brands) },
            terms: Terms::new(checked.load.clone(), checked.routes.iter().map(|route| (route.name.clone(), route.limits))),
            doors: checked.listeners.iter().map(|listener| door(listener, &forwarding)).collect(),
            session_cookie: set_cookie,
            kept,
        })
    }

    async fn reload(&self) -> Result<(), String> {
        let _turn = self.reloading.lock().await;
        let outcome = self.try_reload().await;
        let problem = outcome.as_ref().err().cloned();
        match &problem {
            None => tracing::info!("the configuration was read again and is in force"),
            Some(problem) => tracing::error!("the configuration was not changed:\n{problem}"),
        }
        self.house.sink.record(&Recorded {
            v: VERSION,
            time: self.house.clock.now(),
            request_id: None,
            client: None,
            tenant: None,
            event: Event::ConfigReloaded { accepted: problem.is_none(), problem },
        });
        outcome
    }

    async fn try_reload(&self) -> Result<(), String> {
        federation::fetch_missing(&self.path, self.house.clock.now(), &self.control).await;
        let (checked, warnings) = config::load(&self.path, self.purpose, self.house.clock.now(), build::policy_problems).map_err(render)?;
        warn(&warnings);
        let before = self.checked();
        for what in needs_restart(&before, &checked) {
            tracing::warn!("{what} has changed, which takes effect at the next start");
        }
        refuse_lockout(&checked, &*self.house.durable).await?;
        let built = build::build(&checked, &self.house, &self.house.expiring)?;
        let running = self.running(&checked, built)?;
        // What fails here would have failed at the first listener: nothing has changed then.
        for (tls, listener) in self.tls.iter().zip(&checked.listeners) {
            if let Some(tls) = tls.as_ref().filter(|_| !listener.certificates.is_empty()) {
                tls.replace(&listener.certificates, listener.clients.as_ref()).map_err(|error| error.to_string())?;
            }
        }
        self.shared.wait().replace(running);
        meter::certificates(&checked.certificates);
        *self.checked.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(checked);
        Ok(())
    }

    fn probe(&self) -> health::Probe {
        let (durable, expiring, log) = (self.house.durable.clone(), self.house.expiring.clone(), self.log.clone());
        Arc::new(move || {
            let (durable, expiring, log) = (durable.clone(), expiring.clone(), log.clone());
            Box::pin(async move {
                durable.epoch().await?;
                let key = Key::of(&TenantId::from("-"), Kind::Quota, &[b"ready"]);
                expiring.get(&key).await?;
                match log.failing() {
                    Some(why) => Err(Unavailable::new("audit", why)),
                    None => Ok(()),
                }
            })
        })
    }

    fn admin(self: &Arc<Self>) -> Admin {
        Admin {
            running: Arc::new(Administration(self.clone())),
            users: self.house.users.clone(),
            expiring: self.house.expiring.clone(),
            keys: Arc::new(Keys(self.house.keys.clone(), self.house.durable.clone())),
            passwords: Arc::new(Hashes { pool: self.house.pool.clone(), checked: self.clone() }),
            started: self.started,
        }
    }
}

/// The running server, for those who administer it.
#[derive(Debug)]
struct Administration(Arc<Server>);

#[async_trait]
impl Administered for Administration {
    fn engine(&self) -> Arc<Engine> {
        self.0.shared.wait().running().engine.clone()
    }

    async fn forgive(&self, tenant: &TenantId, name: &Username, trail: &mut Trail) {
        let passwords = self.0.shared.wait().running().passwords.clone();
        if let Some(passwords) = passwords {
            passwords.open(tenant, name, trail).await;
        }
    }

    fn rehearse(&self, expiring: Arc<dyn ExpiringStore>) -> Result<Engine, String> {
        build::build(&self.0.checked(), &self.0.house, &expiring).map(|built| built.engine)
    }

    fn preview(&self, request: &CheckRequest, judgement: &Judgement, kind: ClientKind) -> String {
        self.0.shared.wait().running().answers.preview(request, judgement, kind)
    }

    fn audit_lost(&self) -> u64 {
        self.0.log.lost()
    }

    fn audit_key(&self) -> Option<String> {
        self.0.audit_key.clone()
    }

    async fn copy(&self) -> Result<PathBuf, Refusal> {
        let Some(store) = self.0.embedded.clone() else {
            return Err(Refusal::Invalid("users are not in a file of ours; with PostgreSQL, use pg_dump".to_owned()));
        };
        let copied = tokio::task::spawn_blocking(move || store.copy()).await;
        let copied = copied.map_err(|died| Refusal::Unavailable(died.to_string()))?;
        copied.map_err(|error| Refusal::Unavailable(error.to_string()))
    }

    async fn reload(&self) -> Result<(), String> {
        self.0.reload().await
    }
}

/// Our own pages as the proxy asks them.
fn service(portal: Portal, delegates: Delegates, programs: ApiLogin, commands: Commands) -> OwnPages {
    let own = Arc::new((portal, delegates, programs, commands));
    BoxCloneSyncService::new(tower::service_fn(move |mut asked: Request<axum::body::Body>| {
        let own = own.clone();
        async move {
            let request = asked.extensions_mut().remove::<Arc<CheckRequest>>().and_then(Arc::into_inner);
            let (Some(request), Some(found)) = (request, asked.extensions_mut().remove::<Found>()) else {
                let mut response = Response::new(axum::body::Body::empty());
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                return Ok(response);
            };
            let (portal, delegates, programs, commands) = &*own;
            let response = if request.target.path().starts_with(SECRET_PATHS) {
                delegates.handle(request, found).await
            } else if integration::is_mounted(&found) {
                commands.handle(request, found).await
            } else if is_mounted(&found) {
                programs.handle(request, found).await
            } else {
                portal.handle(request, found).await
            };
            Ok(response.map(axum::body::Body::new))
        }
    }))
}

fn answers(checked: &Checked, brands: HashMap<TenantId, Arc<Brands>>) -> Answers {
    let plain = checked.front_door.as_ref().and_then(|front| dressed(&front.brand).ok()).unwrap_or_else(|| Brand::new("Vestibule"));
    let plain = Arc::new(Brands::new(plain, Vec::new()));
    let page = move |notice: &Notice<'_>| {
        let of = notice.tenant.and_then(|tenant| brands.get(&tenant.id)).unwrap_or(&plain);
        pages::refusal(of.of(notice.host.unwrap_or_default()), notice)
    };
    let compat = |tenant: &&config::checked::Tenant| tenant.anonymous_denied == AnonymousDenied::Compat;
    let compat = checked.tenants.iter().filter(compat).map(|tenant| tenant.id.clone()).collect();
    Answers { compat, integrations: Integrations::new(), page: Arc::new(page) }
}

fn brands(checked: &Checked) -> Result<HashMap<TenantId, Arc<Brands>>, String> {
    let of = |tenant: &config::checked::Tenant| {
        let hosts = tenant.host_brands.iter().map(|(host, brand)| Ok((host.clone(), dressed(brand)?)));
        Ok::<_, String>(Brands::new(dressed(&tenant.brand)?, hosts.collect::<Result<_, String>>()?))
    };
    checked.tenants.iter().map(|tenant| Ok((tenant.id.clone(), Arc::new(of(tenant)?)))).collect()
}

fn dressed(checked: &config::checked::Brand) -> Result<Brand, String> {
    let mut brand = Brand::new(checked.name.clone());
    if let Some([red, green, blue]) = checked.accent {
        brand = brand.with_accent(&format!("#{red:02x}{green:02x}{blue:02x}"))?;
    }
    if let Some(logo) = &checked.logo {
        brand = brand.with_logo(logo.media_type, &logo.octets)?;
    }
    brand.heading.clone_from(&checked.heading);
    brand.aside.clone_from(&checked.aside);
    brand.support.clone_from(&checked.support);
    brand.languages.clone_from(&checked.languages);
    Ok(brand)
}

/// The services whose users may bring tickets.
fn services(checked: &Checked) -> Vec<TicketService> {
    let one = |delegate: &config::checked::Delegate| {
        let settings = &delegate.settings;
        let login = settings.tickets.clone()?;
        Some(TicketService { endpoint: settings.name.clone(), tenant: settings.tenant.clone(), login, suffixes: settings.suffixes.clone() })
    };
    checked.delegates.iter().filter_map(one).collect()
}

/// The ways in, beside the chains.
fn ways_in(checked: &Checked, tenants: &[Arc<Tenant>]) -> Result<WaysIn, String> {
    let local = checked.tenants.iter().filter(|tenant| tenant.emergency == Emergency::Local).map(|tenant| tenant.id.clone());
    let front = |front: &config::checked::FrontDoor| {
        let hosted = |tenant: &&Arc<Tenant>| tenant.portal.is_some() && tenant.chain.form_scheme().is_some();
        let tenants = tenants.iter().filter(hosted).cloned().collect();
        Ok::<_, String>(FrontDoor {
            origin: front.origin.clone(),
            brands: Arc::new(Brands::new(dressed(&front.brand)?, Vec::new())),
            tenants,
        })
    };
    Ok(WaysIn {
        emergency: local.collect(),
        operators_from: checked.administrators.clone(),
        posts_from: checked.tenants.iter().map(|tenant| (tenant.id.clone(), tenant.login_from.clone())).collect(),
        front: checked.front_door.as_ref().map(front).transpose()?,
    })
}

fn door(listener: &config::checked::Listener, forwarding: &[HeaderName]) -> proxy::Door {
    let limits = &listener.limits;
    proxy::Door {
        speaks: listener.speaks,
        trusted: TrustedProxies {
            networks: listener.trusted_proxies.clone(),
            certificates: listener.forwarded.clone(),
            // A proxy that asks has to hear which of them its client sent.
            forwarding: if listener.speaks == proxy::Speaks::Proxy { forwarding.to_vec() } else { Vec::new() },
        },
        proxy_protocol: listener.proxy_protocol,
        limits: proxy::Limits {
            head_octets: limits.header_size,
            head_fields: limits.header_count,
            head_time: limits.header_timeout,
            keep_alive: limits.idle_timeout,
            streams: limits.streams,
            ..proxy::Limits::default()
        },
    }
}

/// What a reload cannot change.
fn needs_restart(before: &Checked, after: &Checked) -> Vec<&'static str> {
    let addresses = |checked: &Checked| -> Vec<_> {
        checked.listeners.iter().map(|listener| (listener.address, listener.certificates.is_empty(), listener.limits.connections)).collect()
    };
    let mut changed = Vec::new();
    for (what, differs) in [
        ("[[listen]]", addresses(before) != addresses(after)),
        ("[server] workers, health or control_socket", {
            let fixed = |checked: &Checked| (checked.server.workers, checked.server.health, checked.server.control_socket.clone());
            fixed(before) != fixed(after)
        }),
        ("[store]", before.store != after.store),
        ("[audit]", before.audit != after.audit),
        ("[keys]", before.keys != after.keys),
        ("[passwords] memory, passes, lanes or hashing_threads", before.hashing != after.hashing),
    ] {
        if differs {
            changed.push(what);
        }
    }
    changed
}
