//! The upstream client: pooled connections per thread, own trust per upstream, every wait and length bounded.
//!
//! A hostile or broken upstream sends endless headers, never answers, or closes a pooled connection just as
//! we use it. It harms its own requests only, and no request is sent twice unless nothing of it was read or
//! doing it twice is the same as doing it once (RFC 9110 §9.2.2).

mod body;
mod connect;
mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::header::{HOST, TE};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};

pub use self::body::{Beat, BodyError, Patient, Upload};
pub use self::connect::{HYPER_MAX_FIELDS, HttpVersion, Transport, client_tls};
pub use self::pool::Download;

use self::pool::{Pool, Sender};

/// Stale pooled connections tried before a fresh one is opened.
const STALE_TRIES: usize = 3;

/// One application and how to speak to it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it runs; several share the load.
    pub addresses: Vec<Address>,
    /// How connections are made.
    pub transport: Transport,
    /// The `Host` it sees.
    pub host: HostHeader,
    /// How long, how much.
    pub limits: Limits,
}

/// One place where an application runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// A name or an IP address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// The `Host` an application sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HostHeader {
    /// The client's.
    Preserve,
    /// This one.
    Fixed(HeaderValue),
}

/// What an upstream may take of our time and memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From the request to the last octet of the response's head.
    pub head: Duration,
    /// Between two pieces of a body.
    pub body_idle: Duration,
    /// For how long an unused connection is kept.
    pub keep_idle: Duration,
    /// Unused connections kept per address and thread.
    pub keep: usize,
    /// Octets of a response's head.
    pub head_octets: usize,
    /// Fields of a response's head.
    pub head_fields: usize,
    /// For how long an address that refused a connection is avoided.
    pub avoid: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            head: Duration::from_secs(60),
            body_idle: Duration::from_secs(300),
            keep_idle: Duration::from_secs(55),
            keep: 256,
            head_octets: 64 * 1024,
            head_fields: HYPER_MAX_FIELDS,
            avoid: Duration::from_secs(10),
        }
    }
}

/// Why an upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// No address accepts connections.
    #[error("no connection to {address}: {source}")]
    Connect {
        /// The address tried last.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long.
    #[error("the upstream did not answer in time")]
    Timeout,
    /// What it sent is not an acceptable response, or it hung up.
    #[error("the upstream's answer could not be read")]
    Answer(#[source] hyper::Error),
    /// The client's body broke off or stopped coming.
    #[error("the client's body ended early")]
    Upload(#[source] hyper::Error),
    /// It switched protocols unasked, or to another one.
    #[error("the upstream switched to a protocol nobody asked for")]
    Upgrade,
    /// The request cannot be written in the upstream's protocol.
    #[error("the request cannot be sent to this upstream")]
    Request,
}

/// An application and its connections.
#[derive(Debug)]
pub struct Upstream {
    settings: Settings,
    /// One set of pools per thread: sockets belong to the runtime that opened them.
    shards: Box<[Shard]>,
}

#[derive(Debug)]
struct Shard {
    pools: Box<[Arc<Pool>]>,
    turn: AtomicUsize,
}

impl Upstream {
    /// An upstream for `threads` data threads. `None` if it has no address or there are no threads.
    pub fn new(settings: Settings, threads: usize) -> Option<Self> {
        if settings.addresses.is_empty() || threads == 0 {
            return None;
        }
        let shard = |_| Shard {
            pools: settings.addresses.iter().map(|address| Arc::new(Pool::new(address.clone(), settings.limits.clone()))).collect(),
            turn: AtomicUsize::new(0),
        };
        Some(Self { shards: (0..threads).map(shard).collect(), settings })
    }

    /// Sends a request from a data thread. Its target is in origin form, its `Host` the client's.
    ///
    /// # Errors
    /// A [`ForwardError`]; nothing has been answered then.
    pub async fn send(&self, thread: usize, mut request: Request<Upload>) -> Result<Response<Download>, ForwardError> {
        let shard = self.shards.get(thread % self.shards.len().max(1)).ok_or(ForwardError::Request)?;
        if let HostHeader::Fixed(host) = &self.settings.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        let asked = request.headers().get(http::header::UPGRADE).cloned();
        let beat = match request.body_mut() {
            Upload::Stream(body) => Some(body.watch()),
            Upload::Empty | Upload::Whole(..) => None,
        };
        let response = self.in_time(beat, self.deliver(shard, request)).await?;
        // RFC 9110 §15.2.2: nobody switches to what was not offered; a tunnel nobody asked for smuggles requests.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let got = response.headers().get(http::header::UPGRADE);
            let same = |asked: &HeaderValue, got: &HeaderValue| asked.as_bytes().eq_ignore_ascii_case(got.as_bytes());
            if !asked.as_ref().zip(got).is_some_and(|(asked, got)| same(asked, got)) {
                return Err(ForwardError::Upgrade);
            }
        }
        Ok(response)
    }

    /// The time for an answer runs from the last piece of the request: a long upload is not a slow upstream.
    async fn in_time<T>(&self, beat: Option<Arc<Beat>>, answer: impl Future<Output = Result<T, ForwardError>>) -> Result<T, ForwardError> {
        let limit = self.settings.limits.head;
        let mut answer = std::pin::pin!(answer);
        let mut wait = limit;
        loop {
            if let Ok(answer) = tokio::time::timeout(wait, answer.as_mut()).await {
                return answer;
            }
            wait = beat.as_ref().map_or(Duration::ZERO, |beat| limit.saturating_sub(beat.silence()));
            if wait.is_zero() {
                return Err(ForwardError::Timeout);
            }
        }
    }

    async fn deliver(&self, shard: &Shard, mut request: Request<Upload>) -> Result<Response<Download>, ForwardError> {
        let start = shard.turn.fetch_add(1, Ordering::Relaxed);
        let count = shard.pools.len();
        let mut order: Vec<&Arc<Pool>> = Vec::new();
        // The usual case allocates nothing.
        let single = if count == 1 { shard.pools.first() } else { None };
        if single.is_none() {
            order.extend((0..count).filter_map(|step| shard.pools.get((start + step) % count)));
            // Stable: those that answer come first, in turn; avoided ones are the last resort.
            order.sort_by_key(|pool| pool.is_avoided());
        }
        let mut refused = None;
        for pool in single.into_iter().chain(order) {
            request = match self.deliver_to(pool, request).await {
                Attempt::Done(result) => return result,
                Attempt::Refused(request, error) => {
                    refused = Some(error);
                    *request
                }
            };
        }
        Err(refused.unwrap_or(ForwardError::Request))
    }

    async fn deliver_to(&self, pool: &Arc<Pool>, mut request: Request<Upload>) -> Attempt {
        for _ in 0..STALE_TRIES {
            let Some(sender) = pool.check_out() else { break };
            // What may be sent twice is kept until the connection proves alive.
            let spare = spare(&request);
            match dispatch(pool, sender, request).await {
                Ok(response) => return Attempt::Done(Ok(response)),
                Err(Failed { unsent: Some(unsent), .. }) => request = *unsent,
                Err(Failed { error, .. }) => match spare {
                    Some(spare) if hung_up(&error) => {
                        request = spare;
                        break;
                    }
                    _ => return Attempt::Done(Err(error)),
                },
            }
        }
        // Boxed because rare and large: every request's future would be moved about with room for it.
        let connected = tokio::time::timeout(self.settings.limits.connect, Box::pin(connect::connect(pool, &self.settings)));
        let error = match connected.await {
            Ok(Ok(sender)) => {
                pool.works();
                return Attempt::Done(dispatch(pool, sender, request).await.map_err(|failed| failed.error));
            }
            Ok(Err(source)) => ForwardError::Connect { address: pool.address().to_string(), source },
            Err(_) => ForwardError::Connect { address: pool.address().to_string(), source: std::io::ErrorKind::TimedOut.into() },
        };
        pool.avoid();
        Attempt::Refused(Box::new(request), error)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') { write!(f, "[{}]:{}", self.host, self.port) } else { write!(f, "{}:{}", self.host, self.port) }
    }
}

enum Attempt {
    Done(Result<Response<Download>, ForwardError>),
    /// No connection; nothing was sent, so another address may be tried.
    Refused(Box<Request<Upload>>, ForwardError),
}

struct Failed {
    error: ForwardError,
    unsent: Option<Box<Request<Upload>>>,
}

/// A copy of a request that may be sent twice: no body, and a method whose repetition changes nothing.
fn spare(request: &Request<Upload>) -> Option<Request<Upload>> {
    let repeatable = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let plain = matches!(request.body(), Upload::Empty) && !request.headers().contains_key(http::header::UPGRADE);
    (repeatable && plain).then(|| {
        let mut copy = Request::new(Upload::Empty);
        *copy.method_mut() = request.method().clone();
        *copy.uri_mut() = request.uri().clone();
        *copy.headers_mut() = request.headers().clone();
        copy
    })
}

fn hung_up(error: &ForwardError) -> bool {
    match error {
        ForwardError::Answer(error) => error.is_incomplete_message() || error.is_closed() || error.is_canceled() || is_reset(error),
        ForwardError::Connect { .. } | ForwardError::Upload(_) | ForwardError::Timeout | ForwardError::Upgrade | ForwardError::Request => {
            false
        }
    }
}

fn is_reset(error: &hyper::Error) -> bool {
    let io = std::error::Error::source(error).and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| matches!(io.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe))
}

async fn dispatch(pool: &Arc<Pool>, sender: Sender, mut request: Request<Upload>) -> Result<Response<Download>, Failed> {
    let failed = |mut failure: hyper::client::conn::TrySendError<Request<Upload>>| Failed {
        unsent: failure.take_message().map(Box::new),
        error: match failure.into_error() {
            error if error.is_user() => ForwardError::Upload(error),
            error => ForwardError::Answer(error),
        },
    };
    match sender {
        Sender::Http1(mut sender) => {
            // In HTTP/1.1 it would need a `Connection` field beside it, and only gRPC wants it.
            request.headers_mut().remove(TE);
            let response = sender.try_send_request(request).await.map_err(failed)?;
            let lease = (response.status() != StatusCode::SWITCHING_PROTOCOLS).then(|| pool.lease(sender));
            Ok(response.map(|body| Download::new(body, lease, pool.limits().body_idle)))
        }
        Sender::Http2(mut sender) => {
            let request = for_http2(request, pool).map_err(|error| Failed { error, unsent: None })?;
            let response = sender.try_send_request(request).await.map_err(failed)?;
            Ok(response.map(|body| Download::new(body, None, pool.limits().body_idle)))
        }
    }
}

/// RFC 9113 §8.3.1: the authority moves from `Host` to `:authority`, hop-by-hop fields do not exist.
fn for_http2(mut request: Request<Upload>, pool: &Pool) -> Result<Request<Upload>, ForwardError> {
    // A request that was handed back unsent has been through here before.
    if request.version() == Version::HTTP_2 {
        return Ok(request);
    }
    if request.headers().contains_key(http::header::UPGRADE) {
        return Err(ForwardError::Upgrade);
    }
    let host = request.headers_mut().remove(HOST).ok_or(ForwardError::Request)?;
    request.headers_mut().remove(http::header::CONNECTION);
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(if pool.speaks_tls() { http::uri::Scheme::HTTPS } else { http::uri::Scheme::HTTP });
    parts.authority = Some(http::uri::Authority::try_from(host.as_bytes()).map_err(|_| ForwardError::Request)?);
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| ForwardError::Request)?;
    *request.version_mut() = Version::HTTP_2;
    Ok(request)
}
