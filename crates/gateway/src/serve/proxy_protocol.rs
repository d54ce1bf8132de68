//! The PROXY protocol, versions 1 and 2 (HAProxy, `proxy-protocol.txt`): a named proxy that carries octets says,
//! before the first of them, who is at the other end.
//!
//! An attacker who reaches such a listener himself would choose the address he is judged by, so nobody but named
//! peers is listened to, and everything else ends the connection: a header that is missing, too long, or not exactly
//! as written down. What follows the header is never read here.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use vestibule_engine::request::Channel;

/// Longest header of version 1, its line end included (§2.1).
const MAX_LINE: usize = 107;
/// Longest addresses and extensions of version 2. The field could announce 64 KiB.
const MAX_REST: usize = 2048;
/// What version 2 begins with (§2.2); version 1 is at least as long.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The rest of version 2's fixed part: version and command, family, length.
const FIXED: usize = 4;
/// The extension that tells of TLS towards the client (§2.2.5), and its bit for it.
const TLV_SSL: u8 = 0x20;
const CLIENT_SSL: u8 = 0x01;

/// Whether a listener expects the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ProxyProtocol {
    /// Connections come from clients, or from proxies that speak HTTP.
    #[default]
    Absent,
    /// Each connection begins with it.
    Required,
}

/// What a header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stated {
    /// The connection is this client's, and reached the proxy so.
    Client(IpAddr, Channel),
    /// The connection is the proxy's own, as for its health checks: version 2, `LOCAL`.
    Local,
    /// It is somebody's whom the proxy cannot name: `UNKNOWN`, or a family that is not IP.
    Unknown,
}

/// Why there is no header to believe.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// The peer hung up without a word, as simple health checks do.
    #[error("the connection ended before it began")]
    Silent,
    /// It is not the protocol, or not as it is written down.
    #[error("{0}")]
    Malformed(&'static str),
    /// The connection broke.
    #[error("the connection broke")]
    Broken(#[from] io::Error),
}

/// Reads the header from the very beginning of a connection, and nothing after it.
///
/// # Errors
/// [`Refused`]; the connection is of no use then.
pub async fn read(stream: &mut TcpStream) -> Result<Stated, Refused> {
    let mut start = [0; SIGNATURE.len()];
    if stream.peek(&mut start).await? == 0 {
        return Err(Refused::Silent);
    }
    stream.read_exact(&mut start).await.map_err(cut_off)?;
    if start == SIGNATURE {
        let mut fixed = [0; FIXED];
        stream.read_exact(&mut fixed).await.map_err(cut_off)?;
        let [command, family, high, low] = fixed;
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_REST {
            return Err(Refused::Malformed("the header is too long"));
        }
        let mut rest = vec![0; length];
        stream.read_exact(&mut rest).await.map_err(cut_off)?;
        return binary(command, family, &rest);
    }
    if !start.starts_with(b"PROXY ") {
        return Err(Refused::Malformed("the connection does not begin with the header"));
    }
    let mut line = start.to_vec();
    while line.last() != Some(&b'\n') {
        let mut seen = vec![0; MAX_LINE.saturating_sub(line.len())];
        if seen.is_empty() {
            return Err(Refused::Malformed("the header is too long"));
        }
        // Looked at before it is taken: what follows the line is the client's.
        let count = stream.peek(&mut seen).await?;
        seen.truncate(seen.iter().take(count).position(|octet| *octet == b'\n').map_or(count, |end| end + 1));
        if seen.is_empty() {
            return Err(Refused::Malformed("the header breaks off"));
        }
        stream.read_exact(&mut seen).await?;
        line.append(&mut seen);
    }
    text(&line)
}

fn cut_off(error: io::Error) -> Refused {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Refused::Malformed("the header breaks off"),
        _ => Refused::Broken(error),
    }
}

/// Version 1, with its line end (§2.1).
fn text(line: &[u8]) -> Result<Stated, Refused> {
    let malformed = || Refused::Malformed("the header is not as version 1 has it");
    let line = line.strip_suffix(b"\r\n").and_then(|line| std::str::from_utf8(line).ok()).ok_or_else(malformed)?;
    let mut words = line.split(' ');
    let (_, family) = (words.next(), words.next());
    // Whatever follows `UNKNOWN` is to be ignored.
    if family == Some("UNKNOWN") {
        return Ok(Stated::Unknown);
    }
    let (source, destination, ports) = (words.next(), words.next(), [words.next(), words.next()]);
    if words.next().is_some() || !ports.iter().all(|port| port.is_some_and(is_port)) {
        return Err(malformed());
    }
    let (source, destination) = source.zip(destination).ok_or_else(malformed)?;
    let address = match family {
        Some("TCP4") => pair::<Ipv4Addr>(source, destination).map(IpAddr::from),
        Some("TCP6") => pair::<Ipv6Addr>(source, destination).map(IpAddr::from),
        Some(_) | None => None,
    };
    address.map(|address| Stated::Client(address, Channel::Plain)).ok_or_else(malformed)
}

fn pair<T: std::str::FromStr>(source: &str, destination: &str) -> Option<T> {
    destination.parse::<T>().ok()?;
    source.parse().ok()
}

/// Decimal without leading zeros, at most 65535.
fn is_port(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_digit()) && (text == "0" || !text.starts_with('0')) && text.parse::<u16>().is_ok()
}

/// Version 2, after its signature (§2.2). Values it does not define end the connection.
fn binary(command: u8, family: u8, rest: &[u8]) -> Result<Stated, Refused> {
    let proxied = match command {
        0x20 => false,
        0x21 => true,
        _ => return Err(Refused::Malformed("the version or command is not one of version 2")),
    };
    let (addresses, transport) = (family >> 4, family & 0x0f);
    let length = match addresses {
        0x0 => 0,
        0x1 => 12,
        0x2 => 36,
        0x3 => 216,
        _ => return Err(Refused::Malformed("the address family is not one of version 2")),
    };
    if transport > 0x2 {
        return Err(Refused::Malformed("the transport is not one of version 2"));
    }
    // `LOCAL` is the proxy's own connection, whatever addresses stand there.
    if !proxied {
        return Ok(Stated::Local);
    }
    let short = || Refused::Malformed("the addresses break off");
    let (told, extensions) = rest.split_at_checked(length).ok_or_else(short)?;
    let address = match addresses {
        0x1 => told.first_chunk::<4>().map(|octets| IpAddr::from(*octets)),
        0x2 => told.first_chunk::<16>().map(|octets| IpAddr::from(*octets)),
        _ => return Ok(Stated::Unknown),
    };
    // A datagram is no connection.
    if transport != 0x1 {
        return Ok(Stated::Unknown);
    }
    let channel = if over_tls(extensions)? { Channel::Tls } else { Channel::Plain };
    Ok(Stated::Client(address.ok_or_else(short)?, channel))
}

/// Whether the proxy says that its client spoke TLS with it (§2.2.5).
fn over_tls(mut extensions: &[u8]) -> Result<bool, Refused> {
    let malformed = || Refused::Malformed("an extension breaks off");
    let mut tls = false;
    while let Some((head, rest)) = extensions.split_first_chunk::<3>() {
        let [kind, high, low] = *head;
        let (value, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes([high, low]))).ok_or_else(malformed)?;
        if kind == TLV_SSL {
            tls = value.first().ok_or_else(malformed)? & CLIENT_SSL != 0;
        }
        extensions = rest;
    }
    if extensions.is_empty() { Ok(tls) } else { Err(malformed()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn client(address: &str) -> Stated {
        Stated::Client(address.parse().unwrap(), Channel::Plain)
    }

    fn line(text: &str) -> Option<Stated> {
        super::text(text.as_bytes()).ok()
    }

    #[test]
    fn version_1_names_the_client_exactly() {
        assert_eq!(line("PROXY TCP4 203.0.113.5 192.0.2.1 56324 443\r\n"), Some(client("203.0.113.5")));
        assert_eq!(line("PROXY TCP6 2001:db8::1 2001:db8::2 0 65535\r\n"), Some(client("2001:db8::1")));
        assert_eq!(line("PROXY UNKNOWN\r\n"), Some(Stated::Unknown));
        assert_eq!(line("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n"), Some(Stated::Unknown));
        for wrong in [
            "PROXY TCP4 203.0.113.5 192.0.2.1 56324 443\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 56324\r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 56324 443 \r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 056324 443\r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 +1 443\r\n",
            "PROXY TCP4 203.0.113.5 192.0.2.1 1 65536\r\n",
            "PROXY TCP4 203.0.113.05 192.0.2.1 1 2\r\n",
            "PROXY TCP4 203.0.113.5  192.0.2.1 1 2\r\n",
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            "PROXY TCP6 203.0.113.5 192.0.2.1 1 2\r\n",
            "PROXY TCP4 203.0.113.5 app.example.com 1 2\r\n",
            "PROXY tcp4 203.0.113.5 192.0.2.1 1 2\r\n",
            "PROXY UDP4 203.0.113.5 192.0.2.1 1 2\r\n",
            "PROXY TCP4 \r\n",
            "PROXY \r\n",
        ] {
            assert_eq!(line(wrong), None, "{wrong:?}");
        }
    }

    /// 203.0.113.5:1 to 192.0.2.1:443.
    const INET: [u8; 12] = [203, 0, 113, 5, 192, 0, 2, 1, 0, 1, 1, 187];

    fn with(extensions: &[u8]) -> Vec<u8> {
        [&INET[..], extensions].concat()
    }

    #[test]
    fn version_2_names_the_client_exactly() {
        assert_eq!(binary(0x21, 0x11, &INET).ok(), Some(client("203.0.113.5")));
        let mut inet6 = [0; 36];
        inet6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
        assert_eq!(binary(0x21, 0x21, &inet6).ok(), Some(client("2001:db8::")));
        let tls = Stated::Client("203.0.113.5".parse().unwrap(), Channel::Tls);
        assert_eq!(binary(0x21, 0x11, &with(&[4, 0, 1, 9, 0x20, 0, 5, 1, 0, 0, 0, 0])).ok(), Some(tls));
        assert_eq!(binary(0x21, 0x11, &with(&[0x20, 0, 5, 4, 0, 0, 0, 0])).ok(), Some(client("203.0.113.5")));
        for (command, family, rest) in [(0x20, 0x00, Vec::new()), (0x20, 0x11, INET.to_vec()), (0x20, 0x00, vec![1, 2, 3])] {
            assert_eq!(binary(command, family, &rest).ok(), Some(Stated::Local));
        }
        for (family, length) in [(0x00, 0), (0x00, 9), (0x31, 216), (0x12, 12), (0x10, 12)] {
            assert_eq!(binary(0x21, family, &vec![0; length]).ok(), Some(Stated::Unknown), "{family:x}");
        }
    }

    #[test]
    fn what_version_2_does_not_define_is_refused() {
        for (command, family, rest) in [
            (0x11, 0x11, INET.to_vec()),
            (0x22, 0x11, INET.to_vec()),
            (0x01, 0x11, INET.to_vec()),
            (0x21, 0x41, INET.to_vec()),
            (0x20, 0x41, INET.to_vec()),
            (0x21, 0x13, INET.to_vec()),
            (0x21, 0x11, INET[..11].to_vec()),
            (0x21, 0x21, INET.to_vec()),
            (0x21, 0x31, INET.to_vec()),
            (0x21, 0x11, with(&[4])),
            (0x21, 0x11, with(&[4, 0, 2, 1])),
            (0x21, 0x11, with(&[0x20, 0, 0])),
        ] {
            assert!(matches!(binary(command, family, &rest), Err(Refused::Malformed(_))), "{command:x} {family:x} {rest:?}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_survived(command: u8, family: u8, octets in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = (binary(command, family, &octets), text(&octets));
        }
    }
}
