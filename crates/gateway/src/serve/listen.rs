//! Listeners, connections and the threads they live on.
//!
//! One `current_thread` runtime per core, all accepting from the same sockets; a connection never leaves the
//! thread that accepted it. Stopping loses no request: what was accepted by the kernel is served, HTTP/1
//! connections end with their next answer, HTTP/2 ones with a GOAWAY.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use arc_swap::ArcSwap;
use http::{HeaderValue, Version};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use vestibule_engine::Timestamp;
use vestibule_engine::request::{Channel, Malformed, RequestId, Shown};
use vestibule_engine::route::Found;

use crate::config::checked::Certificate;
use crate::forward::HYPER_MAX_FIELDS;
use crate::serve::client_certificates::{ClientTrust, Demand, Presented};
use crate::serve::framing::{Framing, Verdict};
use crate::serve::notify::BEAT;
use crate::serve::proxy::{self, Limits, Running, Shared};
use crate::serve::proxy_protocol::{self, ProxyProtocol, Refused, Stated};
use crate::serve::read::{Origin, Word};
use crate::serve::tls::{self, Certificates};
use crate::serve::wire::{Patience, Wire};

/// HTTP/2: streams a client may reset before we took them (rapid reset, CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// HTTP/2: streams we may have to reset for a client's errors before the connection ends.
const LOCAL_RESETS: usize = 256;
/// HTTP/2: octets kept per stream for a client that does not read.
const SEND_BUFFER: usize = 256 * 1024;
/// HTTP/2: how often a silent connection is asked whether it is alive.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// For how long an idle HTTP/1 connection is kept while stopping: its next request may be on its way.
const FAREWELL: Duration = Duration::from_secs(2);
/// For how long a connection may take to end after it was told to.
const CLOSING: Duration = Duration::from_secs(5);
/// How long a thread that has more connections than another lets the other accept first.
const DEFERENCE: Duration = Duration::from_millis(1);
/// How long to wait after the kernel refused to accept, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening socket and what is spoken on it.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// TLS, unless it is plain.
    pub tls: Option<ListenerTls>,
}

/// TLS of a listener.
#[derive(Debug, Clone)]
pub struct ListenerTls {
    certificates: Arc<Certificates>,
    /// Replaced by a reload; new handshakes see it.
    terms: Arc<ArcSwap<Terms>>,
}

/// What a handshake is made of.
#[derive(Debug)]
struct Terms {
    config: Arc<ServerConfig>,
    clients: Option<Arc<ClientTrust>>,
}

impl Terms {
    fn new(certificates: &Arc<Certificates>, clients: Option<&ClientTrust>) -> Result<Self, rustls::Error> {
        let config = Arc::new(certificates.server_config(clients)?);
        Ok(Self { config, clients: clients.cloned().map(Arc::new) })
    }
}

impl ListenerTls {
    /// TLS with these certificates; clients are asked for theirs if there is somebody to vouch for them.
    ///
    /// # Errors
    /// If the cryptography provider lacks something.
    pub fn new(certificates: &[Certificate], clients: Option<&ClientTrust>) -> Result<Self, rustls::Error> {
        let certificates = Certificates::new(certificates);
        let terms = Terms::new(&certificates, clients)?;
        Ok(Self { certificates, terms: Arc::new(ArcSwap::from_pointee(terms)) })
    }

    /// Puts others in their place.
    ///
    /// # Errors
    /// If the cryptography provider lacks something; nothing has changed then.
    pub fn replace(&self, certificates: &[Certificate], clients: Option<&ClientTrust>) -> Result<(), rustls::Error> {
        let before = self.terms.load();
        if before.clients.is_some() || clients.is_some() {
            self.terms.store(Arc::new(Terms::new(&self.certificates, clients)?));
        }
        self.certificates.replace(certificates);
        Ok(())
    }
}

/// How many threads and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Data threads.
    pub threads: usize,
    /// Connections and tunnels at a time, over all threads.
    pub connections: usize,
}

impl Default for Capacity {
    fn default() -> Self {
        Self { threads: std::thread::available_parallelism().map_or(1, usize::from), connections: 20_000 }
    }
}

/// Where a door is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Draining,
    Ended,
}

/// Open doors.
#[derive(Debug)]
pub struct Doors {
    shared: Arc<Shared>,
    addresses: Vec<SocketAddr>,
    phase: watch::Sender<Phase>,
    /// Accept loops that have not ended.
    accepting: watch::Sender<usize>,
    seats: Arc<Semaphore>,
    capacity: Capacity,
    threads: Vec<JoinHandle<()>>,
    beats: Arc<[AtomicU64]>,
}

/// How stopping went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Everybody got their answer.
    Completely,
    /// So many connections were still open at the deadline.
    CutOff(usize),
}

impl Doors {
    /// Opens the doors: from here on, requests are answered.
    ///
    /// # Errors
    /// When a socket cannot be shared or a thread not be started.
    pub fn open(listeners: Vec<Listener>, shared: Arc<Shared>, capacity: Capacity) -> io::Result<Self> {
        let (phase, _) = watch::channel(Phase::Open);
        let seats = Arc::new(Semaphore::new(capacity.connections.min(Semaphore::MAX_PERMITS)));
        let addresses = listeners.iter().map(|listener| listener.socket.local_addr()).collect::<io::Result<_>>()?;
        let capacity = Capacity { threads: capacity.threads.max(1), ..capacity };
        let (accepting, _) = watch::channel(capacity.threads * listeners.len());
        let loads: Arc<[AtomicUsize]> = (0..capacity.threads).map(|_| AtomicUsize::new(0)).collect();
        let beats: Arc<[AtomicU64]> = (0..capacity.threads).map(|_| AtomicU64::new(0)).collect();
        let mut threads = Vec::new();
        for number in 0..capacity.threads {
            let mut own = Vec::new();
            for listener in &listeners {
                let socket = listener.socket.try_clone()?;
                socket.set_nonblocking(true)?;
                own.push(Listener { socket, tls: listener.tls.clone() });
            }
            let house = House {
                shared: shared.clone(),
                seats: seats.clone(),
                phase: phase.subscribe(),
                accepting: accepting.clone(),
                loads: loads.clone(),
                thread: number,
                door: 0,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let name = format!("data-{number}");
            let beats = beats.clone();
            threads.push(std::thread::Builder::new().name(name).spawn(move || runtime.block_on(live(own, house, beats)))?);
        }
        Ok(Self { shared, addresses, phase, accepting, seats, capacity, threads, beats })
    }

    /// A number for each data thread that grows while it lives.
    pub fn beats(&self) -> Arc<[AtomicU64]> {
        self.beats.clone()
    }

    /// Where the doors are.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Stops: no new connections, every request under way is answered, at `deadline` the rest is cut off.
    pub async fn close(self, deadline: Duration) -> Drained {
        self.shared.drain();
        self.phase.send_replace(Phase::Draining);
        let all = u32::try_from(self.capacity.connections.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        let empty = tokio::time::timeout(deadline, async {
            // Accepting ends first, or the seats could fill again.
            let _ = self.accepting.subscribe().wait_for(|loops| *loops == 0).await;
            drop(self.seats.acquire_many(all).await);
        });
        let drained = match empty.await {
            Ok(()) => Drained::Completely,
            Err(_) => Drained::CutOff(self.capacity.connections.saturating_sub(self.seats.available_permits())),
        };
        self.phase.send_replace(Phase::Ended);
        for thread in self.threads {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
        drained
    }
}

/// What a data thread needs to know.
#[derive(Debug, Clone)]
struct House {
    shared: Arc<Shared>,
    seats: Arc<Semaphore>,
    phase: watch::Receiver<Phase>,
    accepting: watch::Sender<usize>,
    /// Connections of each thread.
    loads: Arc<[AtomicUsize]>,
    thread: usize,
    /// The number of the listener.
    door: usize,
}

impl House {
    /// Whether this thread has more to do than another.
    fn is_ahead(&self) -> bool {
        let own = self.loads.get(self.thread).map_or(0, |load| load.load(Ordering::Relaxed));
        self.loads.iter().any(|load| load.load(Ordering::Relaxed) < own)
    }
}

/// The life of a data thread.
async fn live(listeners: Vec<Listener>, mut house: House, beats: Arc<[AtomicU64]>) {
    let thread = house.thread;
    tokio::spawn(async move {
        while let Some(beat) = beats.get(thread) {
            beat.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(BEAT).await;
        }
    });
    for (door, listener) in listeners.into_iter().enumerate() {
        let house = House { door, ..house.clone() };
        tokio::spawn(async move {
            let accepting = house.accepting.clone();
            if let Err(error) = accept(listener, house).await {
                tracing::error!(%error, "a listener ended");
            }
            accepting.send_modify(|loops| *loops = loops.saturating_sub(1));
        });
    }
    // Whatever still runs afterwards ends with the runtime.
    let _ = house.phase.wait_for(|phase| *phase == Phase::Ended).await;
}

async fn accept(listener: Listener, house: House) -> io::Result<()> {
    let Listener { socket, tls } = listener;
    let socket = tokio::net::TcpListener::from_std(socket)?;
    let mut phase = house.phase.clone();
    loop {
        let next = async {
            // A connection stays where it was accepted, so the time to share the load is now.
            if house.is_ahead() {
                tokio::time::sleep(DEFERENCE).await;
            }
            // No seat, no accept: the kernel's queue holds them, and time limits free seats.
            let seat = house.seats.clone().acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((seat, socket.accept().await))
        };
        let (seat, accepted) = tokio::select! {
            next = next => next?,
            _ = phase.wait_for(|phase| *phase != Phase::Open) => break,
        };
        match accepted {
            Ok((stream, address)) => drop(tokio::spawn(welcome(stream, address, tls.clone(), seat, house.clone()))),
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        // The other threads accept from the same socket: let them have their share.
        tokio::task::yield_now().await;
    }
    // What the kernel accepted in our name is served; closing the socket over it would reset it.
    let socket = socket.into_std()?;
    while let Ok((stream, address)) = socket.accept() {
        stream.set_nonblocking(true)?;
        let seat = house.seats.clone().acquire_owned().await.map_err(io::Error::other)?;
        tokio::spawn(welcome(TcpStream::from_std(stream)?, address, tls.clone(), seat, house.clone()));
    }
    Ok(())
}

/// Greets a connection: the PROXY protocol first, then TLS, where they are spoken.
async fn welcome(mut stream: TcpStream, address: SocketAddr, tls: Option<ListenerTls>, seat: OwnedSemaphorePermit, house: House) {
    let running = house.shared.running();
    let limits = running.door(house.door).limits.clone();
    let deadline = Instant::now() + limits.handshake_time;
    let _ = stream.set_nodelay(true);
    // A tunnel's peer may vanish without a word.
    let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(PING_INTERVAL));
    let Some(origin) = announced(&mut stream, address, &running, house.door, deadline).await else { return };
    drop(running);
    let Some(tls) = tls else {
        let peer = Peer::new(origin, None, None, Framing::default(), seat, &house);
        return converse(stream, peer, &house, limits).await;
    };
    // Several times what a plain connection keeps.
    Box::pin(shake(stream, origin, tls, deadline, seat, house, limits)).await;
}

/// Goes on after a TLS handshake.
async fn shake(
    stream: TcpStream,
    mut origin: Origin,
    tls: ListenerTls,
    deadline: Instant,
    seat: OwnedSemaphorePermit,
    house: House,
    limits: Limits,
) {
    let address = origin.address;
    let shaken = tokio::time::timeout_at(deadline, TlsAcceptor::from(tls.terms.load().config.clone()).accept(stream)).await;
    let stream = match shaken {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            metrics::counter!("vestibule_handshakes_failed_total").increment(1);
            return tracing::debug!(client = %address, %error, "TLS handshake failed");
        }
        Err(_) => return tracing::debug!(client = %address, "TLS handshake took too long"),
    };
    let session = stream.get_ref().1;
    origin.channel = Channel::Tls;
    origin.sni = session.server_name().map(tls::normalised);
    let framing = if session.alpn_protocol() == Some(b"h2") { Framing::blind() } else { Framing::default() };
    let presented = Presented::of(session.peer_certificates());
    let peer = Peer::new(origin, Some(tls), presented, framing, seat, &house);
    converse(stream, peer, &house, limits).await;
}

/// Who is at the other end: whoever connected, or whom a named proxy names before anything else. `None` ends the connection.
async fn announced(stream: &mut TcpStream, address: SocketAddr, running: &Running, door: usize, deadline: Instant) -> Option<Origin> {
    let door = running.door(door);
    let peer = Origin::new(address.ip(), Channel::Plain, None);
    match door.proxy_protocol {
        ProxyProtocol::Absent => return Some(peer),
        ProxyProtocol::Required => {}
    }
    let (malformed, why) = if !door.trusted.believes(&peer) {
        (Malformed::Stranger, "a stranger".to_owned())
    } else {
        match tokio::time::timeout_at(deadline, proxy_protocol::read(stream)).await {
            Ok(Ok(Stated::Client(address, channel))) => return Some(Origin::new(address, channel, None)),
            Ok(Ok(Stated::Local)) => return Some(peer),
            Ok(Ok(Stated::Unknown)) => return Some(Origin { word: Word::Nobody, ..peer }),
            Ok(Err(Refused::Silent)) => return None,
            Ok(Err(refused)) => (Malformed::Unannounced, refused.to_string()),
            Err(_) => (Malformed::Unannounced, "the header took too long".to_owned()),
        }
    };
    tracing::debug!(peer = %address, why, "no PROXY protocol header to believe");
    metrics::counter!("vestibule_proxy_headers_refused_total").increment(1);
    let engine = &running.engine;
    if let Ok(id) = RequestId::new(engine.clock.now()) {
        engine.unreadable(id, address.ip().to_canonical(), malformed);
    }
    None
}

/// Serves a connection until it ends, is idle too long, or we stop.
async fn converse<S>(stream: S, peer: Arc<Peer>, house: &House, limits: Limits)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let patience = Patience { head: limits.head_time, write: limits.write_time };
    let wire = TokioIo::new(Wire::new(stream, peer.framing.clone(), patience));
    let builder = builder(&limits);
    let service = service_fn(|request| {
        let (shared, peer) = (house.shared.clone(), peer.clone());
        async move { Ok::<_, std::convert::Infallible>(proxy::handle(&shared, &peer, request).await) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(wire, service));
    let mut timer = std::pin::pin!(tokio::time::sleep(limits.head_time));
    let mut phase = house.phase.clone();
    let mut stage = Stage::Open;
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(client = %peer.origin.address, %error, "connection ended");
                }
                return;
            }
            () = timer.as_mut() => {
                let allowed = match (stage, peer.requests.load(Ordering::Relaxed)) {
                    (Stage::Closing, _) => CLOSING,
                    (Stage::Leaving, _) => FAREWELL,
                    (Stage::Open, 0) => limits.head_time,
                    (Stage::Open, _) => limits.keep_alive,
                };
                match (peer.idle_for(), stage) {
                    (Some(idle), Stage::Closing) if idle >= allowed => return,
                    (Some(idle), Stage::Open | Stage::Leaving) if idle >= allowed => {
                        connection.as_mut().graceful_shutdown();
                        stage = Stage::Closing;
                        timer.as_mut().reset(Instant::now() + CLOSING);
                    }
                    (idle, _) => {
                        timer.as_mut().reset(Instant::now() + allowed.saturating_sub(idle.unwrap_or_default()));
                    }
                }
            }
            _ = phase.wait_for(|phase| *phase != Phase::Open), if stage == Stage::Open => {
                if peer.http2.load(Ordering::Relaxed) {
                    connection.as_mut().graceful_shutdown();
                    stage = Stage::Closing;
                } else {
                    // Its next answer says `Connection: close`; only one that stays silent is closed unasked.
                    stage = Stage::Leaving;
                }
                timer.as_mut().reset(Instant::now() + FAREWELL);
            }
        }
    }
}

/// A connection on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Leaving,
    Closing,
}

fn builder(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    // The wire times heads itself: hyper's timer would also limit how long a connection may be idle.
    builder.http1().timer(TokioTimer::new()).header_read_timeout(None).max_buf_size(limits.head_octets.max(8192));
    if limits.head_fields != HYPER_MAX_FIELDS {
        builder.http1().max_headers(limits.head_fields);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_octets).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(LOCAL_RESETS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_INTERVAL);
    builder
}

/// The client's side of a connection, as its requests need to know it.
#[derive(Debug)]
pub struct Peer {
    origin: Origin,
    /// Its address as applications are told it; most requests come from there.
    address: Option<HeaderValue>,
    tls: Option<ListenerTls>,
    /// The certificate it showed.
    presented: Option<Presented>,
    thread: usize,
    door: usize,
    framing: Arc<Mutex<Framing>>,
    phase: watch::Receiver<Phase>,
    began: Instant,
    /// Milliseconds after `began` at which the last request ended.
    quiet_since: AtomicU64,
    requests: AtomicUsize,
    in_flight: AtomicUsize,
    http2: AtomicBool,
    loads: Arc<[AtomicUsize]>,
    _seat: OwnedSemaphorePermit,
}

impl Peer {
    fn new(
        origin: Origin,
        tls: Option<ListenerTls>,
        presented: Option<Presented>,
        framing: Framing,
        seat: OwnedSemaphorePermit,
        house: &House,
    ) -> Arc<Self> {
        metrics::gauge!("vestibule_connections").increment(1);
        if let Some(load) = house.loads.get(house.thread) {
            load.fetch_add(1, Ordering::Relaxed);
        }
        Arc::new(Self {
            address: HeaderValue::try_from(origin.address.to_canonical().to_string()).ok(),
            origin,
            tls,
            presented,
            thread: house.thread,
            door: house.door,
            framing: Arc::new(Mutex::new(framing)),
            phase: house.phase.clone(),
            began: Instant::now(),
            quiet_since: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            in_flight: AtomicUsize::new(0),
            http2: AtomicBool::new(false),
            loads: house.loads.clone(),
            _seat: seat,
        })
    }

    /// Where the connection comes from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// An address as a field; that of the connection is written once.
    pub fn address_field(&self, address: IpAddr) -> Option<HeaderValue> {
        if address == self.origin.address.to_canonical() {
            return self.address.clone();
        }
        HeaderValue::try_from(address.to_string()).ok()
    }

    /// The data thread it lives on.
    pub fn thread(&self) -> usize {
        self.thread
    }

    /// The number of the listener it came in by.
    pub fn door(&self) -> usize {
        self.door
    }

    /// The certificate it showed, if it still holds.
    pub fn shown(&self, now: Timestamp) -> Shown {
        let Some(presented) = &self.presented else { return Shown::Nothing };
        let terms = self.tls.as_ref().map(|tls| tls.terms.load());
        // A reload that asks nobody for certificates knows nothing of those that were shown before.
        let Some(clients) = terms.as_ref().and_then(|terms| terms.clients.as_ref()) else { return Shown::Nothing };
        match presented.holds(clients, now) {
            Ok(certificate) => Shown::Certificate(certificate.clone()),
            Err(reason) => Shown::Refused(reason),
        }
    }

    /// Whether it showed a certificate that this listener demands.
    pub fn is_certified(&self, now: Timestamp) -> bool {
        let demand = self.tls.as_ref().and_then(|tls| tls.terms.load().clients.as_ref().map(|clients| clients.demand()));
        demand == Some(Demand::Required) && matches!(self.shown(now), Shown::Certificate(_))
    }

    /// What the scanner says of the HTTP/1 head just read. None means it lost its way: nothing is believed then.
    pub fn verdict(&self) -> Option<Verdict> {
        self.framing.lock().unwrap_or_else(PoisonError::into_inner).next_verdict()
    }

    /// Whether this connection may carry requests for a host of this tenant (RFC 9110 §15.5.20, attack 108).
    pub fn may_ask(&self, host: &str, found: &Found) -> bool {
        let Some(tls) = &self.tls else { return true };
        let sni = self.origin.sni.as_deref();
        if sni == Some(host) {
            return true;
        }
        let tenant = &found.tenant;
        let same_tenant = sni.is_none_or(|sni| tenant.hosts.iter().chain(&tenant.portal).any(|own| own.name() == sni));
        same_tenant && tls.certificates.may_speak_for(sni, host)
    }

    /// A request began.
    pub fn begin(self: &Arc<Self>, version: Version) -> InFlight {
        if version == Version::HTTP_2 {
            self.http2.store(true, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(self.clone())
    }

    /// Ends when we stop.
    pub async fn stopping(&self) {
        let _ = self.phase.clone().wait_for(|phase| *phase != Phase::Open).await;
    }

    fn idle_for(&self) -> Option<Duration> {
        let quiet = Duration::from_millis(self.quiet_since.load(Ordering::Relaxed));
        (self.in_flight.load(Ordering::Relaxed) == 0).then(|| self.began.elapsed().saturating_sub(quiet))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        metrics::gauge!("vestibule_connections").decrement(1);
        if let Some(load) = self.loads.get(self.thread) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// A request that has not been answered in full.
#[derive(Debug)]
pub struct InFlight(Arc<Peer>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.quiet_since.store(now, Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use hyper::body::Incoming;

    use super::*;

    fn of_connection<S, A, T, P, H, F>(_: impl FnOnce(S, A, T, P, H) -> F) -> usize {
        size_of::<F>()
    }

    fn of_request<'a, F>(_: impl FnOnce(&'a Arc<Shared>, &'a Arc<Peer>, http::Request<Incoming>) -> F) -> usize {
        size_of::<F>()
    }

    /// Thousands of logins may wait for a slow service: what each keeps is counted in octets.
    #[test]
    fn who_waits_keeps_little() {
        let (connection, request) = (of_connection(welcome), of_request(proxy::handle));
        assert!(connection <= 3072 && request <= 5632, "{connection} octets a connection, {request} a request");
    }
}
