//! Calls of our own: one request to a service, its whole answer, every wait and length bounded.
//!
//! A hostile or broken service answers never, slowly, endlessly, or sends us elsewhere: it costs a bounded time and a bounded
//! number of octets, and no redirect is followed here. Where the name came from a caller, an attacker lets it stand for an
//! address behind our walls (SSRF), and for another one the second time we ask (DNS rebinding). So a name is resolved once,
//! each address is held against [`Reach`], and the connection goes to the address that was looked at.

pub mod breaker;

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::checked::Origin;

/// Octets of an answer's head.
const HEAD: usize = 32 * 1024;

/// Which addresses a name may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Public ones only: the name came from outside.
    Public,
    /// Any: the configuration names it.
    Any,
}

/// How long, how much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// For one connection, TLS included.
    pub connect: Duration,
    /// From the look-up of the name to the last octet of the answer.
    pub whole: Duration,
    /// Octets of an answer's body.
    pub octets: usize,
}

/// The certificate that the service showed (DER), in an answer's extensions, where it came by TLS.
#[derive(Debug, Clone)]
pub struct Shown(pub Vec<u8>);

/// Why there is no answer. Names no secret.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The name could not be resolved.
    #[error("{host} cannot be resolved: {why}")]
    Resolve {
        /// The name.
        host: String,
        /// Why.
        why: io::Error,
    },
    /// The name stands for no address that we call.
    #[error("{host} stands for {address}, which is not public")]
    Private {
        /// The name.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// No connection came about.
    #[error("no connection to {host}: {why}")]
    Connect {
        /// The name.
        host: String,
        /// Why.
        why: io::Error,
    },
    /// It took too long.
    #[error("{0} did not answer in time")]
    Timeout(String),
    /// The body is longer than the limit.
    #[error("the answer of {0} is too long")]
    TooLong(String),
    /// What came is not HTTP, or it hung up.
    #[error("the answer of {host} cannot be read: {why}")]
    Answer {
        /// The name.
        host: String,
        /// Why.
        why: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Whoever calls.
pub struct Caller {
    tls: Arc<ClientConfig>,
    reach: Reach,
    limits: Limits,
    /// Sockets belong to the control runtime, whichever core asks.
    control: Handle,
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("reach", &self.reach).field("limits", &self.limits).finish_non_exhaustive()
    }
}

impl Caller {
    /// Calls on the runtime `control`; `tls` from [`crate::forward::client_tls`] for HTTP/1.1.
    pub fn new(tls: ClientConfig, reach: Reach, limits: Limits, control: Handle) -> Self {
        Self { tls: Arc::new(tls), reach, limits, control }
    }

    /// Sends a request, its target in origin form, to a host and gives the whole answer.
    ///
    /// # Errors
    /// A [`CallError`].
    pub async fn call(&self, to: &Origin, mut request: Request<Bytes>) -> Result<Response<Bytes>, CallError> {
        let authority = if to.port == if to.tls { 443 } else { 80 } { to.host.clone() } else { format!("{}:{}", to.host, to.port) };
        if let Ok(host) = HeaderValue::try_from(authority) {
            request.headers_mut().insert(HOST, host);
        }
        let (tls, reach, limits, to) = (self.tls.clone(), self.reach, self.limits.clone(), to.clone());
        let host = to.host.clone();
        let task = self.control.spawn(async move {
            let whole = limits.whole;
            match timeout(whole, one(tls, reach, &limits, &to, request)).await {
                Ok(answer) => answer,
                Err(_) => Err(CallError::Timeout(to.host)),
            }
        });
        match task.await {
            Ok(answer) => answer,
            Err(error) => Err(CallError::Answer { host, why: error.into() }),
        }
    }
}

async fn one(
    tls: Arc<ClientConfig>,
    reach: Reach,
    limits: &Limits,
    to: &Origin,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, CallError> {
    let bare = to.host.trim_start_matches('[').trim_end_matches(']');
    let addresses = resolve(bare, to.port, reach).await?;
    let refused = |why: io::Error| CallError::Connect { host: to.host.clone(), why };
    let mut last = refused(io::ErrorKind::AddrNotAvailable.into());
    for address in addresses {
        let stream = match timeout(limits.connect, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(why)) => {
                last = refused(why);
                continue;
            }
            Err(_) => {
                last = refused(io::ErrorKind::TimedOut.into());
                continue;
            }
        };
        if !to.tls {
            return exchange(to, stream, limits, request).await;
        }
        let name = ServerName::try_from(bare.to_owned()).map_err(|_| refused(io::ErrorKind::InvalidInput.into()))?;
        return match timeout(limits.connect, TlsConnector::from(tls).connect(name, stream)).await {
            Ok(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|certificate| Shown(certificate.to_vec()));
                let mut answer = exchange(to, stream, limits, request).await?;
                if let Some(shown) = shown {
                    answer.extensions_mut().insert(shown);
                }
                Ok(answer)
            }
            // Another address would show the same certificate, or another's: neither is worth a second try.
            Ok(Err(why)) => Err(refused(why)),
            Err(_) => Err(refused(io::ErrorKind::TimedOut.into())),
        };
    }
    Err(last)
}

async fn exchange<S>(to: &Origin, stream: S, limits: &Limits, request: Request<Bytes>) -> Result<Response<Bytes>, CallError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |why: hyper::Error| CallError::Answer { host: to.host.clone(), why: why.into() };
    let (mut sender, connection) = http1::Builder::new().max_buf_size(HEAD).handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let exchange = async {
        let response: Response<Incoming> = sender.send_request(request.map(Full::new)).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        match Limited::new(body, limits.octets).collect().await {
            Ok(whole) => Ok(Response::from_parts(head, whole.to_bytes())),
            Err(why) if why.is::<LengthLimitError>() => Err(CallError::TooLong(to.host.clone())),
            Err(why) => Err(CallError::Answer { host: to.host.clone(), why }),
        }
    };
    let (mut exchange, mut connection) = (std::pin::pin!(exchange), std::pin::pin!(connection));
    // The connection ends with the answer; whichever ends first, the answer has the last word.
    tokio::select! {
        biased;
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

/// The addresses that a name stands for. All of them must be within reach: one that is not is an attempt.
async fn resolve(host: &str, port: u16, reach: Reach) -> Result<Vec<SocketAddr>, CallError> {
    // RFC 6761 §6.3: these names are loopback, whatever a resolver says.
    let addresses = if host == "localhost" || host.ends_with(".localhost") {
        vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))]
    } else {
        let found = tokio::net::lookup_host((host, port)).await;
        found.map_err(|why| CallError::Resolve { host: host.to_owned(), why })?.collect()
    };
    match addresses.iter().find(|address| reach == Reach::Public && !is_public(address.ip())) {
        Some(address) => Err(CallError::Private { host: host.to_owned(), address: address.ip() }),
        None => Ok(addresses),
    }
}

/// Whether an address belongs to the public internet (IANA special-purpose address registries, RFC 6890).
pub fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            !PRIVATE_V4.iter().any(|(net, bits)| within(u128::from(ip.to_bits()) << 96, u128::from(net.to_bits()) << 96, *bits))
        }
        IpAddr::V6(ip) => {
            let inside = |(net, bits): &(Ipv6Addr, u32)| within(ip.to_bits(), net.to_bits(), *bits);
            inside(&UNICAST_V6) && !PRIVATE_V6.iter().any(inside)
        }
    }
}

fn within(address: u128, net: u128, bits: u32) -> bool {
    (address ^ net).checked_shr(128 - bits).unwrap_or(0) == 0
}

/// All that is given out of IPv6; what carries an IPv4 address within lies outside or below.
const UNICAST_V6: (Ipv6Addr, u32) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
const PRIVATE_V6: [(Ipv6Addr, u32); 4] = [
    // IETF protocol assignments, Teredo and ORCHID among them.
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    // 6to4: an IPv4 address of anybody's choice within.
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];
const PRIVATE_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::new(0, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::forward::{HttpVersion, client_tls};

    fn caller(reach: Reach, whole: Duration) -> Caller {
        let authority = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap().cert.der().clone();
        let tls = client_tls(&[authority], None, HttpVersion::Http1).unwrap();
        Caller::new(tls, reach, Limits { connect: Duration::from_secs(5), whole, octets: 100 }, Handle::current())
    }

    /// A service that answers every connection with this and hangs up, or says nothing if there is nothing to say.
    async fn service(answer: &'static [u8]) -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1024];
                let _ = stream.read(&mut head).await;
                if answer.is_empty() {
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                }
                let _ = stream.write_all(answer).await;
            }
        });
        Origin { tls: false, host: "service.localhost".to_owned(), port }
    }

    async fn ask(answer: &'static [u8], whole: Duration) -> Result<Response<Bytes>, CallError> {
        caller(Reach::Any, whole).call(&service(answer).await, Request::get("/id").body(Bytes::new()).unwrap()).await
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn a_whole_answer_comes_back_and_redirects_are_the_callers_business() {
        let answer = ask(b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Length: 2\r\n\r\nok", LONG).await.unwrap();
        assert_eq!((answer.status().as_u16(), &**answer.body()), (302, &b"ok"[..]));
        let answer = ask(b"HTTP/1.1 200 OK\r\n\r\nuntil the end", LONG).await.unwrap();
        assert_eq!(&**answer.body(), b"until the end");
    }

    #[tokio::test]
    async fn what_is_too_long_too_slow_or_no_http_is_an_error() {
        let long = ask(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n....................................................................................................................", LONG);
        assert!(matches!(long.await, Err(CallError::TooLong(_))));
        assert!(matches!(ask(b"", Duration::from_millis(50)).await, Err(CallError::Timeout(_))));
        assert!(matches!(ask(b"SSH-2.0-x\r\n", LONG).await, Err(CallError::Answer { .. })));
        assert!(matches!(ask(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort", LONG).await, Err(CallError::Answer { .. })));
    }

    #[tokio::test]
    async fn a_name_from_outside_must_not_stand_for_an_address_behind_our_walls() {
        let to = service(b"HTTP/1.1 200 OK\r\n\r\n").await;
        let refused = caller(Reach::Public, LONG).call(&to, Request::get("/").body(Bytes::new()).unwrap()).await;
        assert!(matches!(refused, Err(CallError::Private { address, .. }) if address.is_loopback()));
    }

    #[test]
    fn addresses_of_special_purpose_are_not_public() {
        for text in [
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "172.31.255.255",
            "192.168.1.1",
            "198.19.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:10.0.0.1",
            "::ffff:127.0.0.1",
            "64:ff9b::7f00:1",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
            "ff02::1",
            "2001::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "::10.0.0.1",
            "3fff::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in
            ["1.1.1.1", "172.32.0.1", "100.128.0.1", "198.20.0.1", "::ffff:1.1.1.1", "2606:4700::1111", "2a00:1450::1", "2001:4860::8888"]
        {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
