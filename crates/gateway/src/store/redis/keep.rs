//! The connections to Redis: which server is the primary, in which era it is, and making them anew when they break.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::StreamExt;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisConnectionInfo, RedisError,
    RedisResult, ScriptInvocation, ServerErrorKind, TlsCertificates, Value,
};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use vestibule_engine::store::{Group, Key, digest};

use super::{Settings, Topology};
use crate::store::telling::Telling;

/// Between two questions whether the connection lives and the era lasts.
const BEAT: Duration = Duration::from_millis(300);
/// An answer later than this makes caches unbelievable.
const LATE: Duration = Duration::from_millis(500);
/// An answer later than this gives the connection up.
const LOST: Duration = Duration::from_secs(5);
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_millis(300);
/// Where changes are told.
const CHANGES: &str = "v:changes";
/// How many octets of a digest mark an era.
const MARK: usize = 9;

/// Keeps connections.
pub(super) struct Keeper {
    settings: Settings,
    current: ArcSwapOption<Link>,
    doubted: Notify,
}

/// A connection, and the era it is in.
pub(super) struct Link {
    wire: Wire,
    /// Begins every key of this era.
    entries: String,
}

#[derive(Clone)]
enum Wire {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub fn entries(&self) -> &str {
        &self.entries
    }

    pub fn entry(&self, key: &Key) -> String {
        format!("{}{key}", self.entries)
    }

    /// Keys begin with a brace, so that no entry has the name of a group.
    pub fn group(&self, group: &Group) -> String {
        format!("{}g:{}", self.entries, group.as_str())
    }

    pub async fn run<T: FromRedisValue>(&self, script: &ScriptInvocation<'_>) -> RedisResult<T> {
        match self.wire.clone() {
            Wire::One(mut wire) => script.invoke_async(&mut wire).await,
            Wire::Cluster(mut wire) => script.invoke_async(&mut wire).await,
        }
    }

    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self.wire.clone() {
            Wire::One(mut wire) => command.query_async(&mut wire).await,
            Wire::Cluster(mut wire) => command.query_async(&mut wire).await,
        }
    }
}

impl Wire {
    /// The mark of the era: made of the `run_id` of every primary.
    async fn era(&self) -> RedisResult<String> {
        let mut info = redis::cmd("INFO");
        info.arg("server");
        let answers: Vec<String> = match self.clone() {
            Self::One(mut wire) => vec![info.query_async(&mut wire).await?],
            Self::Cluster(mut wire) => {
                let everyone = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
                let answers: HashMap<String, Value> = redis::from_redis_value(wire.route_command(info, everyone).await?)?;
                answers.into_values().map(redis::from_redis_value).collect::<Result<_, _>>()?
            }
        };
        let run_id = |answer: &String| answer.lines().find_map(|line| line.trim_end().strip_prefix("run_id:")).map(str::to_owned);
        let ids: Option<BTreeSet<String>> = answers.iter().map(run_id).collect();
        let ids = ids.filter(|ids| !ids.is_empty()).ok_or_else(|| refused("the server does not say its run_id"))?;
        let parts: Vec<&[u8]> = ids.iter().map(String::as_bytes).collect();
        let octets = digest(&parts);
        Ok(URL_SAFE_NO_PAD.encode(octets.get(..MARK).unwrap_or_default()))
    }
}

impl Keeper {
    pub fn new(settings: Settings) -> Self {
        Self { settings, current: ArcSwapOption::empty(), doubted: Notify::new() }
    }

    pub fn link(&self) -> Option<Arc<Link>> {
        self.current.load_full()
    }

    pub fn put(&self, link: Link) {
        self.current.store(Some(Arc::new(link)));
    }

    /// A call failed: the connection may be gone, or the server no primary any more.
    pub fn doubt(&self, error: &RedisError) {
        let kind = error.kind();
        let no_primary = matches!(kind, ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown));
        if no_primary || error.is_io_error() || error.is_connection_dropped() || error.is_unrecoverable_error() {
            self.doubted.notify_one();
        }
    }

    /// A connection to the primary, or to the Cluster.
    pub async fn connect(&self) -> RedisResult<Link> {
        let wire = match &self.settings.topology {
            Topology::Single | Topology::Sentinel(_) => Wire::One(self.primary().await?.1),
            Topology::Cluster => Wire::Cluster(self.cluster()?.get_async_connection().await?),
        };
        let era = wire.era().await?;
        Ok(Link { wire, entries: format!("v:{era}:") })
    }

    /// Keeps a connection until the task is ended.
    pub async fn keep(self: Arc<Self>) {
        loop {
            match self.link() {
                Some(link) => {
                    let why = self.watch(&link).await;
                    self.current.store(None);
                    tracing::warn!(why, "the connection to Redis is given up");
                }
                None => sleep(RETRY).await,
            }
            match timeout(LOST, self.connect()).await {
                Ok(Ok(link)) => {
                    tracing::info!(era = link.entries(), "Redis is connected");
                    self.put(link);
                }
                Ok(Err(error)) => tracing::debug!(%error, "Redis cannot be connected"),
                Err(_) => tracing::debug!("Redis cannot be connected: no answer"),
            }
        }
    }

    /// Watches a connection until it is to be replaced, and says why.
    async fn watch(&self, link: &Link) -> String {
        loop {
            tokio::select! {
                () = sleep(BEAT) => {}
                () = self.doubted.notified() => {}
            }
            match timeout(LOST, link.wire.era()).await {
                Ok(Ok(era)) if link.entries() == format!("v:{era}:") => {}
                Ok(Ok(_)) => return "another server took its place".to_owned(),
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "it does not answer".to_owned(),
            }
        }
    }

    /// A connection on which changes arrive from now on.
    pub async fn listen(&self, telling: &Telling) -> RedisResult<PubSub> {
        let client = match &self.settings.topology {
            Topology::Single | Topology::Sentinel(_) => self.primary().await?.0,
            // Every node of a Cluster tells what any of them is told.
            Topology::Cluster => self.first_that_answers().await?,
        };
        let mut ear = client.get_async_pubsub().await?;
        ear.subscribe(CHANGES).await?;
        telling.hears();
        Ok(ear)
    }

    /// Hears changes until the task is ended.
    pub async fn hear(self: Arc<Self>, telling: Arc<Telling>, first: PubSub) {
        let mut current = Some(first);
        loop {
            if let Some(ear) = current.take() {
                let why = listen_to(ear, &telling).await;
                telling.set_live(false);
                tracing::warn!(why, "changes in Redis are no longer heard; caches are not used");
            }
            sleep(RETRY).await;
            match timeout(LOST, self.listen(&telling)).await {
                Ok(Ok(ear)) => {
                    tracing::info!("changes in Redis are heard again");
                    current = Some(ear);
                }
                Ok(Err(error)) => tracing::debug!(%error, "Redis cannot be listened to"),
                Err(_) => tracing::debug!("Redis cannot be listened to: no answer"),
            }
        }
    }

    /// The primary, and a connection to it.
    async fn primary(&self) -> RedisResult<(Client, MultiplexedConnection)> {
        let client = match &self.settings.topology {
            Topology::Sentinel(name) => {
                let (host, port) = self.ask_sentinels(name).await?;
                self.client(&host, port, self.account())?
            }
            Topology::Single | Topology::Cluster => {
                let (host, port) = self.settings.hosts.first().ok_or_else(|| refused("no server is named"))?;
                self.client(host, *port, self.account())?
            }
        };
        let mut connection = self.connection(&client).await?;
        // A Sentinel may be behind; a replica would answer reads that are old.
        let role: Vec<Value> = redis::cmd("ROLE").query_async(&mut connection).await?;
        match role.into_iter().next().map(redis::from_redis_value::<String>).transpose()?.as_deref() {
            Some("master") => Ok((client, connection)),
            Some(_) | None => Err(refused("the server is not the primary")),
        }
    }

    /// Where the Sentinels see the primary.
    async fn ask_sentinels(&self, name: &str) -> RedisResult<(String, u16)> {
        let mut last = refused("no Sentinel is named");
        for (host, port) in &self.settings.hosts {
            let account = match &self.settings.sentinel_password {
                Some(password) => RedisConnectionInfo::default().set_password(password.reveal()),
                None => RedisConnectionInfo::default(),
            };
            let asked = async {
                let mut connection = self.connection(&self.client(host, *port, account)?).await?;
                let mut command = redis::cmd("SENTINEL");
                command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
                let found: Option<(String, u16)> = command.query_async(&mut connection).await?;
                found.ok_or_else(|| refused("the Sentinels know no primary of this name"))
            };
            match asked.await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn first_that_answers(&self) -> RedisResult<Client> {
        let mut last = refused("no server is named");
        for (host, port) in &self.settings.hosts {
            let client = self.client(host, *port, self.account())?;
            match self.connection(&client).await {
                Ok(_) => return Ok(client),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn connection(&self, client: &Client) -> RedisResult<MultiplexedConnection> {
        let limits = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.timeout))
            .set_response_timeout(Some(self.settings.timeout));
        client.get_multiplexed_async_connection_with_config(&limits).await
    }

    fn cluster(&self) -> RedisResult<ClusterClient> {
        let nodes: Vec<ConnectionAddr> = self.settings.hosts.iter().map(|(host, port)| self.address(host, *port)).collect();
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(self.settings.timeout)
            .response_timeout(self.settings.timeout)
            .overall_response_timeout(Some(self.settings.timeout));
        if let Some(user) = &self.settings.user {
            builder = builder.username(user);
        }
        if let Some(password) = &self.settings.password {
            builder = builder.password(password.reveal());
        }
        if self.settings.tls {
            builder = builder.certs(self.certificates());
        }
        builder.build()
    }

    fn client(&self, host: &str, port: u16, account: RedisConnectionInfo) -> RedisResult<Client> {
        let target = self.address(host, port).into_connection_info()?.set_redis_settings(account);
        match self.settings.tls {
            true => Client::build_with_tls(target, self.certificates()),
            false => Client::open(target),
        }
    }

    fn account(&self) -> RedisConnectionInfo {
        let mut account = RedisConnectionInfo::default().set_db(self.settings.database);
        if let Some(user) = &self.settings.user {
            account = account.set_username(user);
        }
        if let Some(password) = &self.settings.password {
            account = account.set_password(password.reveal());
        }
        account
    }

    fn address(&self, host: &str, port: u16) -> ConnectionAddr {
        match self.settings.tls {
            true => ConnectionAddr::TcpTls { host: host.to_owned(), port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host.to_owned(), port),
        }
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: self.settings.ca.clone() }
    }
}

/// Hears until the connection is gone, and says why it is.
async fn listen_to(ear: PubSub, telling: &Telling) -> String {
    let (mut sink, mut messages) = ear.split();
    let hearing = async {
        while let Some(message) = messages.next().await {
            // A message that is not text is not ours.
            telling.heard(&message.get_payload::<String>().unwrap_or_default());
        }
        "the connection was closed".to_owned()
    };
    let beats = async {
        loop {
            sleep(BEAT).await;
            let mut answer = std::pin::pin!(sink.ping::<Value>());
            let in_time = timeout(LATE, &mut answer).await;
            let late = in_time.is_err();
            let answered = match in_time {
                Ok(answered) => answered,
                Err(_) => {
                    telling.set_live(false);
                    let Ok(answered) = timeout(LOST, answer).await else { break "it does not answer".to_owned() };
                    answered
                }
            };
            if let Err(error) = answered {
                break error.to_string();
            }
            // What was told before this answer has arrived before it; but a late one speaks of what was long ago.
            if !late {
                telling.set_live(true);
            }
        }
    };
    tokio::select! {
        why = hearing => why,
        why = beats => why,
    }
}

fn refused(why: &'static str) -> RedisError {
    RedisError::from((ErrorKind::Client, why))
}
