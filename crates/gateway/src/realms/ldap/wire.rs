//! Connections to a directory: TCP, LDAPS or StartTLS (RFC 4511 §4.14, RFC 4513 §3), and a watch over what comes back.
//!
//! The protocol itself is spoken by the `ldap3` crate. It bounds neither the length nor the depth of what it reads, so
//! a directory, or whoever took its place, could exhaust memory or stack (attack 105). So it never sees the network:
//! it gets one end of a socket pair, and what passes to it are whole messages that were measured here.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, StdStream};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// Most octets a directory may send in answer to one request. We ask for a handful of attributes of two entries;
/// somebody in thousands of groups has some hundred KiB of them.
const MAX_ANSWER: usize = 4 << 20;
/// How deep elements may nest; an entry has five levels.
const MAX_DEPTH: usize = 16;
/// Octets of requests that are passed on at once.
const CHUNK: usize = 4096;
/// The extended request StartTLS, as the first message of a connection.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// A directory server.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How what is said there is protected.
    pub protection: Protection,
}

/// How a connection is protected.
#[derive(Debug, Clone)]
pub enum Protection {
    /// TLS from the first octet.
    Ldaps(Tls),
    /// TLS before anything else is said.
    StartTls(Tls),
    /// Not at all.
    Plain,
}

/// Whom to trust, and the name to be proved.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Trust.
    pub config: Arc<ClientConfig>,
    /// The name.
    pub name: ServerName<'static>,
}

/// Opens a connection on which nothing was said yet. It closes when the last handle is dropped.
///
/// # Errors
/// The network, TLS, or a server that refuses StartTLS.
pub async fn open(server: &Server) -> io::Result<Ldap> {
    let mut stream = match server.host.parse::<IpAddr>() {
        Ok(address) => TcpStream::connect((address, server.port)).await?,
        Err(_) => TcpStream::connect((server.host.as_str(), server.port)).await?,
    };
    stream.set_nodelay(true)?;
    match &server.protection {
        Protection::Plain => attach(stream).await,
        Protection::Ldaps(tls) => attach(secure(tls, stream).await?).await,
        Protection::StartTls(tls) => {
            start_tls(&mut stream).await?;
            attach(secure(tls, stream).await?).await
        }
    }
}

async fn secure(tls: &Tls, stream: TcpStream) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    TlsConnector::from(tls.config.clone()).connect(tls.name.clone(), stream).await
}

/// Reads not one octet beyond the answer: whatever somebody in between sends after it in the clear becomes a part of
/// the TLS handshake, which then fails, and is never taken for an answer.
async fn start_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(START_TLS).await?;
    let budget = AtomicUsize::new(CHUNK);
    let message = read_message(stream, &budget).await?;
    let answer = strip(&message, 0x30).and_then(|content| content.strip_prefix(&[0x02, 0x01, 0x01]));
    let result = answer.and_then(|operation| strip(operation, 0x78));
    match result {
        Some([0x0a, 0x01, 0, ..]) => Ok(()),
        Some([0x0a, 0x01, code, ..]) => Err(io::Error::other(format!("StartTLS was refused with result {code}"))),
        Some(_) | None => Err(invalid("the answer to StartTLS cannot be read")),
    }
}

/// Lets `ldap3` speak over a stream.
async fn attach<S>(stream: S) -> io::Result<Ldap>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let (near, far) = std::os::unix::net::UnixStream::pair()?;
    far.set_nonblocking(true)?;
    let far = UnixStream::from_std(far)?;
    let settings = LdapConnSettings::new().set_std_stream(StdStream::Unix(near));
    let (connection, ldap) = LdapConnAsync::with_settings(settings, "ldapi:///").await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = relay(stream, far).await {
            tracing::debug!(%error, "the connection to the directory ended");
        }
    });
    // Its errors reach whoever waits for an answer.
    tokio::spawn(async move { connection.drive().await.is_ok() });
    Ok(ldap)
}

async fn relay<S>(server: S, client: UnixStream) -> io::Result<()>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut from_client, mut to_client) = client.into_split();
    let budget = AtomicUsize::new(0);
    let requests = async {
        let mut octets = Zeroizing::new([0_u8; CHUNK]);
        loop {
            let length = from_client.read(octets.as_mut()).await?;
            if length == 0 {
                return to_server.shutdown().await;
            }
            budget.store(MAX_ANSWER, Ordering::Relaxed);
            to_server.write_all(octets.get(..length).unwrap_or_default()).await?;
            to_server.flush().await?;
        }
    };
    let answers = async {
        loop {
            let message = read_message(&mut from_server, &budget).await?;
            to_client.write_all(&message).await?;
        }
    };
    tokio::select! {
        ended = requests => ended,
        ended = answers => ended,
    }
}

/// One whole LDAPMessage: definite lengths, within the budget, not too deep.
async fn read_message(stream: &mut (impl AsyncRead + Unpin), budget: &AtomicUsize) -> io::Result<Vec<u8>> {
    let mut message = vec![0; 2];
    stream.read_exact(&mut message).await?;
    let [0x30, form] = message.as_slice() else { return Err(invalid("this is not LDAP")) };
    let length = match *form {
        short @ 0..=0x7f => usize::from(short),
        long @ 0x81..=0x84 => {
            let mut octets = [0; 4];
            let octets = octets.get_mut(..usize::from(long & 0x7f)).unwrap_or_default();
            stream.read_exact(octets).await?;
            message.extend_from_slice(octets);
            number(octets)
        }
        _ => return Err(invalid("a message has no definite length")),
    };
    let left = budget.load(Ordering::Relaxed);
    if length > left {
        return Err(invalid("the directory sends more than it was asked for"));
    }
    budget.fetch_sub(length, Ordering::Relaxed);
    let begin = message.len();
    // What is announced is not reserved before it arrives.
    let arrived = stream.take(u64::try_from(length).unwrap_or(u64::MAX)).read_to_end(&mut message).await?;
    if arrived < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if !well_formed(message.get(begin..).unwrap_or_default()) {
        return Err(invalid("a message is not well-formed"));
    }
    Ok(message)
}

/// Whether elements fill their parents exactly, and do not nest too deep.
fn well_formed(octets: &[u8]) -> bool {
    let mut ends = vec![octets.len()];
    let mut at = 0;
    while let Some(end) = ends.last().copied() {
        if at == end {
            ends.pop();
            continue;
        }
        let Some((tag, content, header)) = octets.get(at..end).and_then(element) else { return false };
        at += header;
        let constructed = tag & 0x20 != 0;
        match (constructed, ends.len() < MAX_DEPTH) {
            (true, true) => ends.push(at + content.len()),
            (true, false) => return false,
            (false, _) => at += content.len(),
        }
    }
    true
}

/// The content of an element with this tag that stands first.
fn strip(octets: &[u8], expected: u8) -> Option<&[u8]> {
    element(octets).filter(|(tag, _, _)| *tag == expected).map(|(_, content, _)| content)
}

/// Tag, content and length of the header of the first element. LDAP knows no tags of several octets.
fn element(octets: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (&tag, rest) = octets.split_first()?;
    let (&form, rest) = rest.split_first()?;
    if tag & 0x1f == 0x1f {
        return None;
    }
    let (length, header) = match form {
        short @ 0..=0x7f => (usize::from(short), 2),
        long @ 0x81..=0x84 => {
            let more = usize::from(long & 0x7f);
            (number(rest.get(..more)?), 2 + more)
        }
        _ => return None,
    };
    let content = octets.get(header..)?.get(..length)?;
    Some((tag, content, header))
}

fn number(octets: &[u8]) -> usize {
    octets.iter().fold(0, |value, octet| value << 8 | usize::from(*octet))
}

fn invalid(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(octets: &[u8], budget: usize) -> io::Result<Vec<u8>> {
        let mut octets = octets;
        read_message(&mut octets, &AtomicUsize::new(budget)).await
    }

    fn nested(levels: usize) -> Vec<u8> {
        let mut octets = vec![0x04, 0x00];
        for _ in 0..levels {
            let mut outer = vec![0x30, 0x84];
            outer.extend_from_slice(&u32::try_from(octets.len()).unwrap().to_be_bytes());
            outer.extend_from_slice(&octets);
            octets = outer;
        }
        octets
    }

    #[tokio::test]
    async fn a_message_is_read_whole_and_no_octet_more() {
        let message = b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00";
        let mut stream = &[message.as_slice(), b"after"].concat()[..];
        assert_eq!(read_message(&mut stream, &AtomicUsize::new(100)).await.unwrap(), message);
        assert_eq!(stream, b"after");
    }

    #[tokio::test]
    async fn what_is_too_long_too_deep_or_broken_goes_no_further() {
        assert!(read(&nested(MAX_DEPTH), 1000).await.is_ok());
        assert!(read(&nested(MAX_DEPTH + 1), 1000).await.is_err());
        assert!(read(&nested(2_000), MAX_ANSWER).await.is_err());
        assert!(read(&nested(3), 10).await.is_err());
        for broken in [
            &b"HTTP/1.1 200 OK\r\n\r\n"[..],
            b"\x30\x80\x00\x00",
            b"\x30\x85\x00\x00\x00\x00\x00",
            b"\x30\x84\xff\xff\xff\xff",
            b"\x30\x03\x02\x05\x01",
            b"\x30\x03\x02\x01",
            b"\x30\x04\x30\x05\x02\x01",
            b"\x30\x03\x1f\x81\x01",
        ] {
            assert!(read(broken, 1 << 20).await.is_err(), "{broken:?}");
        }
    }

    #[tokio::test]
    async fn start_tls_must_be_answered_with_success() {
        for (answer, accepted) in [
            (&b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"[..], true),
            (b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00", false),
            (b"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00", false),
            (b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", false),
            (b"\x30\x03\x02\x01\x01", false),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (connected, accept) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
            let (mut ours, mut theirs) = (connected.unwrap(), accept.unwrap().0);
            theirs.write_all(answer).await.unwrap();
            assert_eq!(start_tls(&mut ours).await.is_ok(), accepted, "{answer:?}");
            let mut asked = vec![0; START_TLS.len()];
            theirs.read_exact(&mut asked).await.unwrap();
            assert!(well_formed(&asked), "what we send is LDAP too");
        }
    }
}
