//! Records as syslog messages (RFC 5424), over TLS (RFC 5425), over TCP to this machine, or to a Unix socket.
//!
//! Syslog acknowledges nothing: what was written may be lost in a connection that breaks. So what was sent in the last seconds
//! is kept, and a new connection begins with it: a collector may hear a record twice, with the same `sequenceId`, and misses
//! one only if it took it from the network and lost it itself. A connection whose collector stops reading is given up after
//! [`WRITE`]; records wait meanwhile, and the house closes ([`super::log`]).

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, ClientConnection};
use serde::Deserialize;

use vestibule_engine::clock::{Clock, Timestamp};

use super::log::{LIMITS, Log, Medium};
use crate::forward::{HttpVersion, client_tls};

/// For a connection to come about, and for a handshake.
const CONNECT: Duration = Duration::from_secs(3);
/// For octets to be taken.
const WRITE: Duration = Duration::from_secs(2);
/// How long octets may stay unacknowledged before the connection is over.
const STUCK: Duration = Duration::from_secs(10);
/// How long what was sent is kept, to be sent again.
const KEPT: Duration = Duration::from_secs(15);
/// How much of it, in octets.
const KEPT_OCTETS: usize = 16 << 20;
/// Octets handed to a connection at once.
const PIECE: usize = 64 << 10;
/// RFC 5424 §7.3.1: after it, 1 follows.
const LAST_SEQUENCE: u32 = 2_147_483_647;

/// Where the collector is and how it is spoken to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where.
    pub target: Target,
    /// Roots its certificate must descend from; empty means the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// The certificate we show it.
    pub identity: Option<Arc<CertifiedKey>>,
    /// RFC 5424 §6.2.1.
    pub facility: u8,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        let shown = |settings: &Self| settings.identity.as_ref().map(|identity| identity.cert.clone());
        (&self.target, &self.ca, self.facility, shown(self)) == (&other.target, &other.ca, other.facility, shown(other))
    }
}

impl Eq for Settings {}

/// Where a collector is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A host and port, by TLS.
    Tls(String, u16),
    /// A host and port of this machine, in the clear.
    Tcp(String, u16),
    /// A socket that takes datagrams.
    Unix(PathBuf),
}

impl Log {
    /// Sends to a syslog collector. It need not be there yet; until it is, nothing is judged.
    ///
    /// # Errors
    /// A sentence: certificates cannot be used, or no thread can be started.
    pub fn syslog(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let medium = Syslog::new(settings, clock.clone())?;
        Self::start("syslog", medium, LIMITS, clock).map_err(|error| error.to_string())
    }
}

struct Syslog {
    target: Target,
    tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
    facility: u8,
    host: String,
    process: u32,
    sequence: u32,
    clock: Arc<dyn Clock>,
    link: Option<Link>,
    /// What was sent lately, and when.
    sent: VecDeque<(Duration, Vec<u8>)>,
    sent_octets: usize,
}

impl Syslog {
    fn new(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self, String> {
        let tls = match &settings.target {
            Target::Tls(host, _) => {
                let mut config = client_tls(&settings.ca, settings.identity.as_ref(), HttpVersion::Http1)?;
                // RFC 5425 names no protocol, so none is offered.
                config.alpn_protocols.clear();
                let name = ServerName::try_from(host.clone()).map_err(|_| format!("`{host}` is not a name that certificates know"))?;
                Some((Arc::new(config), name))
            }
            Target::Tcp(..) | Target::Unix(_) => None,
        };
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Ok(Self {
            target: settings.target.clone(),
            tls,
            facility: settings.facility,
            host: name(host.trim(), 255),
            process: std::process::id(),
            sequence: 0,
            clock,
            link: None,
            sent: VecDeque::new(),
            sent_octets: 0,
        })
    }

    /// A connection that lives: what was sent lately goes first over a new one.
    fn connected(&mut self) -> io::Result<&mut Link> {
        if self.link.as_mut().is_some_and(|link| link.is_over()) {
            tracing::info!("the syslog collector ended the connection");
            self.link = None;
        }
        let link = match self.link.take() {
            Some(link) => link,
            None => {
                let mut link = Link::open(&self.target, self.tls.as_ref())?;
                self.forget();
                metrics::counter!("vestibule_audit_syslog_connections_total").increment(1);
                for (_, frame) in &self.sent {
                    link.send(frame)?;
                }
                link
            }
        };
        Ok(self.link.insert(link))
    }

    /// What is old enough to have arrived is not sent again.
    fn forget(&mut self) {
        let now = self.clock.monotonic();
        while let Some((when, frame)) = self.sent.front() {
            if now.saturating_sub(*when) <= KEPT && self.sent_octets <= KEPT_OCTETS {
                break;
            }
            self.sent_octets = self.sent_octets.saturating_sub(frame.len());
            self.sent.pop_front();
        }
    }

    /// A line as a message; over a stream with its length before it (RFC 5425 §4.3).
    fn message(&mut self, line: &[u8]) -> Vec<u8> {
        self.sequence = if self.sequence >= LAST_SEQUENCE { 1 } else { self.sequence + 1 };
        let glance: Glance<'_> = serde_json::from_slice(line).unwrap_or_default();
        let priority = u32::from(self.facility) * 8 + glance.severity();
        let time = glance.time.parse::<Timestamp>().map_or_else(|_| "-".to_owned(), |time| format!("{time:.6}"));
        let head = format!(
            "<{priority}>1 {time} {} vestibule {} {} [meta sequenceId=\"{}\"] ",
            self.host,
            self.process,
            name(glance.event, 32),
            self.sequence
        );
        let length = head.len().saturating_add(line.len());
        let mut message = match self.target {
            Target::Tls(..) | Target::Tcp(..) => format!("{length} ").into_bytes(),
            Target::Unix(_) => Vec::new(),
        };
        message.extend_from_slice(head.as_bytes());
        message.extend_from_slice(line);
        message
    }
}

impl Medium for Syslog {
    fn write(&mut self, batch: &[u8], done: &mut usize) -> io::Result<()> {
        while *done < batch.len() {
            let at_once = match self.target {
                Target::Tls(..) | Target::Tcp(..) => PIECE,
                Target::Unix(_) => 1,
            };
            let sequence = self.sequence;
            let (mut end, mut piece) = (*done, Vec::new());
            for line in batch.get(*done..).unwrap_or_default().split_inclusive(|octet| *octet == b'\n') {
                piece.extend(self.message(line.strip_suffix(b"\n").unwrap_or(line)));
                end = end.saturating_add(line.len());
                if piece.len() >= at_once {
                    break;
                }
            }
            let outcome = self.connected().and_then(|link| link.send(&piece));
            if let Err(error) = outcome {
                // Whatever of it arrived arrives once more, under the same numbers.
                self.sequence = sequence;
                self.link = None;
                return Err(error);
            }
            *done = end;
            self.sent_octets = self.sent_octets.saturating_add(piece.len());
            self.sent.push_back((self.clock.monotonic(), piece));
            self.forget();
        }
        Ok(())
    }

    fn rest(&mut self, ending: bool) -> io::Result<()> {
        let outcome = self.connected().map(drop);
        if outcome.is_err() {
            self.link = None;
        }
        self.forget();
        if ending && let Some(link) = self.link.take() {
            link.close();
        }
        outcome
    }

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What of a record a message's head says.
#[derive(Debug, Default, Deserialize)]
struct Glance<'a> {
    #[serde(borrow, default)]
    time: &'a str,
    #[serde(borrow, default)]
    event: &'a str,
    #[serde(borrow, default)]
    decision: Option<&'a str>,
    #[serde(default)]
    accepted: Option<bool>,
}

impl Glance<'_> {
    /// RFC 5424 §6.2.1. A refusal is what people look for; what was allowed is for the record.
    fn severity(&self) -> u32 {
        const ERROR: u32 = 3;
        const WARNING: u32 = 4;
        const NOTICE: u32 = 5;
        const INFORMATIONAL: u32 = 6;
        match (self.event, self.decision) {
            ("request.decided", Some("fail")) => ERROR,
            ("request.decided", Some("deny")) | ("request.unreadable" | "login.rejected" | "gate.closed", _) => WARNING,
            ("config.reloaded", _) if self.accepted == Some(false) => WARNING,
            ("request.decided" | "session.opened" | "audit.sealed", _) => INFORMATIONAL,
            _ => NOTICE,
        }
    }
}

/// A header field: printable, without spaces (RFC 5424 §6).
fn name(text: &str, most: usize) -> String {
    let name: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if name.is_empty() { "-".to_owned() } else { name }
}

/// A way to a collector.
enum Link {
    Tls(TcpStream, Box<ClientConnection>),
    Tcp(TcpStream),
    Unix(UnixDatagram),
}

impl Link {
    fn open(target: &Target, tls: Option<&(Arc<ClientConfig>, ServerName<'static>)>) -> io::Result<Self> {
        let (host, port) = match target {
            Target::Tls(host, port) | Target::Tcp(host, port) => (host.as_str(), *port),
            Target::Unix(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(WRITE))?;
                return Ok(Self::Unix(socket));
            }
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT).and_then(|stream| Self::greet(stream, tls)) {
                Ok(link) => return Ok(link),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn greet(mut stream: TcpStream, tls: Option<&(Arc<ClientConfig>, ServerName<'static>)>) -> io::Result<Self> {
        let socket = socket2::SockRef::from(&stream);
        socket.set_tcp_user_timeout(Some(STUCK))?;
        socket.set_tcp_keepalive(&socket2::TcpKeepalive::new().with_time(STUCK))?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE))?;
        stream.set_read_timeout(Some(CONNECT))?;
        let Some((config, name)) = tls else { return Ok(Self::Tcp(stream)) };
        let mut connection = ClientConnection::new(config.clone(), name.clone()).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(Self::Tls(stream, Box::new(connection)))
    }

    /// Writes all of it, or fails; then the link is of no more use.
    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        match self {
            Self::Tls(stream, connection) => {
                for piece in octets.chunks(PIECE) {
                    let mut rest = piece;
                    while !rest.is_empty() {
                        let taken = connection.writer().write(rest)?;
                        rest = rest.get(taken..).unwrap_or_default();
                        while connection.wants_write() {
                            connection.write_tls(stream)?;
                        }
                    }
                }
                Ok(())
            }
            Self::Tcp(stream) => stream.write_all(octets),
            Self::Unix(socket) => socket.send(octets).map(drop),
        }
    }

    /// Whether the other end has said goodbye.
    fn is_over(&mut self) -> bool {
        let quietly = |stream: &TcpStream, on: bool| stream.set_nonblocking(on).is_err();
        match self {
            Self::Tls(stream, connection) => {
                if quietly(stream, true) {
                    return true;
                }
                let over = loop {
                    match connection.read_tls(stream) {
                        Ok(0) => break true,
                        Ok(_) => match connection.process_new_packets() {
                            Ok(state) if state.peer_has_closed() => break true,
                            Ok(_) => {
                                // Collectors say nothing; what one says is not kept.
                                let _ = connection.reader().read(&mut [0; 1024]);
                            }
                            Err(_) => break true,
                        },
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(_) => break true,
                    }
                };
                quietly(stream, false) || over
            }
            Self::Tcp(stream) => {
                if quietly(stream, true) {
                    return true;
                }
                let over = match stream.read(&mut [0; 1024]) {
                    Ok(read) => read == 0,
                    Err(error) => error.kind() != io::ErrorKind::WouldBlock,
                };
                quietly(stream, false) || over
            }
            Self::Unix(_) => false,
        }
    }

    /// RFC 5425 §4.4: `close_notify`, then the end.
    fn close(self) {
        match self {
            Self::Tls(mut stream, mut connection) => {
                connection.send_close_notify();
                // Whoever is gone needs no goodbye.
                let _ = connection.write_tls(&mut stream);
                let _ = stream.shutdown(std::net::Shutdown::Write);
            }
            Self::Tcp(stream) => drop(stream.shutdown(std::net::Shutdown::Write)),
            Self::Unix(_) => {}
        }
    }
}
