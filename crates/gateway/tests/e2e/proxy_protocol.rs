//! The PROXY protocol: raw octets, and a real HAProxy in front.

use std::io::{BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::lifecycle::wait_for;
use crate::support::{Answer, CONFIG, Gateway, PATIENCE, Scratch, exchange, free_port, get, read_answer};

/// The standard house behind a proxy on this address.
fn behind(proxy: &str) -> Gateway {
    let listen = format!("trusted_proxies = [\"{proxy}\"]\nproxy_protocol = true\n\n[listen.limits]");
    Gateway::with(&CONFIG.replacen("[listen.limits]", &listen, 1))
}

fn open_page(gateway: &Gateway) -> Vec<u8> {
    get("/public/x").header("X-Forwarded-For", "198.51.100.66").octets(&format!("app.north.localhost:{}", gateway.address.port()))
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, family], &length, rest].concat()
}

fn announced(gateway: &Gateway, header: &[u8]) -> Answer {
    exchange(gateway.address, &[header, &open_page(gateway)].concat())
}

/// Whether the connection ends without a word.
fn ends(address: SocketAddr, octets: &[u8]) -> bool {
    use std::io::Read as _;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let _ = stream.write_all(octets);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer.is_empty()
}

fn unreadable(gateway: &Gateway, reason: &str) -> usize {
    gateway.audit().iter().filter(|record| record["event"] == "request.unreadable" && record["reason"] == reason).count()
}

#[test]
fn the_address_a_named_proxy_states_is_the_clients() {
    let gateway = behind("127.0.0.1");
    let inet = [203, 0, 113, 5, 192, 0, 2, 1, 0, 9, 1, 187];
    let mut inet6 = [0; 36];
    inet6[..4].copy_from_slice(&[0x20, 0x01, 0x0d, 0xb8]);
    for (header, address) in [
        (b"PROXY TCP4 203.0.113.5 192.0.2.1 56324 443\r\n".to_vec(), "203.0.113.5"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 1 443\r\n".to_vec(), "2001:db8::7"),
        (v2(0x21, 0x11, &inet), "203.0.113.5"),
        (v2(0x21, 0x21, &inet6), "2001:db8::"),
        // Nobody is named: the connection's own address, and its headers count for nothing.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(0x21, 0x00, &[]), "127.0.0.1"),
        // The proxy's own connection.
        (v2(0x20, 0x00, &[]), "198.51.100.66"),
    ] {
        let answer = announced(&gateway, &header);
        assert_eq!(answer.status, 200, "{header:?} {answer:?}");
        assert_eq!(gateway.application.last().header("x-forwarded-for"), Some(address), "{header:?}");
        let decided = gateway.audit_of(&answer);
        assert_eq!(decided[0]["client"], address, "{decided:?}");
    }
}

#[test]
fn a_header_that_comes_octet_by_octet_is_read_to_its_end_and_no_further() {
    let gateway = behind("127.0.0.1");
    for header in
        [b"PROXY TCP4 203.0.113.5 192.0.2.1 56324 443\r\n".to_vec(), v2(0x21, 0x11, &[203, 0, 113, 5, 192, 0, 2, 1, 0, 9, 1, 187])]
    {
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        for octet in header {
            stream.write_all(&[octet]).unwrap();
            std::thread::sleep(Duration::from_millis(1));
        }
        stream.write_all(&open_page(&gateway)).unwrap();
        assert_eq!(read_answer(&mut BufReader::new(stream)).status, 200);
        assert_eq!(gateway.application.last().header("x-forwarded-for"), Some("203.0.113.5"));
    }
}

#[test]
fn what_is_not_the_protocol_ends_the_connection() {
    let gateway = behind("127.0.0.1");
    let page = open_page(&gateway);
    let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200], b"\r\n".to_vec()].concat();
    let hostile = [
        Vec::new(),
        b"PROXY TCP4 203.0.113.5 192.0.2.1 56324 443\n".to_vec(),
        b"PROXY TCP4 203.0.113.5\r\n".to_vec(),
        b"PROXY  TCP4 203.0.113.5 192.0.2.1 1 2\r\n".to_vec(),
        long,
        v2(0x31, 0x11, &[0; 12]),
        v2(0x21, 0x11, &[0; 11]),
        v2(0x21, 0x51, &[0; 12]),
        v2(0x21, 0x11, &[0; 4096]),
    ];
    for header in &hostile {
        assert!(ends(gateway.address, &[header, &page[..]].concat()), "{header:?}");
    }
    wait_for(|| unreadable(&gateway, "unannounced") == hostile.len());
    assert!(gateway.application.received().is_empty());
    // One that says nothing at all is a health check.
    drop(TcpStream::connect(gateway.address).unwrap());
    assert_eq!(announced(&gateway, b"PROXY UNKNOWN\r\n").status, 200);
    assert_eq!(unreadable(&gateway, "unannounced"), hostile.len());
}

#[test]
fn a_stranger_is_not_listened_to() {
    let gateway = behind("192.0.2.1");
    let header = b"PROXY TCP4 203.0.113.5 192.0.2.1 56324 443\r\n";
    assert!(ends(gateway.address, &[&header[..], &open_page(&gateway)].concat()));
    assert!(ends(gateway.address, &open_page(&gateway)));
    wait_for(|| unreadable(&gateway, "stranger") == 2);
    assert!(gateway.application.received().is_empty());
}

struct Haproxy {
    child: Child,
    address: SocketAddr,
    _scratch: Scratch,
}

impl Haproxy {
    /// HAProxy that carries octets to the gateway, or `None` (and a word) if it is not installed.
    fn start(gateway: &Gateway, send: &str) -> Option<Self> {
        let Some(program) =
            ["/usr/sbin/haproxy", "/usr/local/sbin/haproxy", "/usr/bin/haproxy"].iter().find(|path| std::path::Path::new(path).exists())
        else {
            assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "haproxy is missing");
            println!("SKIPPED: haproxy is not installed");
            return None;
        };
        let (scratch, port) = (Scratch::new(), free_port());
        let config = format!(
            "defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             listen front\n  bind 127.0.0.1:{port}\n  server gateway {} {send} check inter 100ms\n",
            gateway.address
        );
        let path = scratch.write("haproxy.cfg", &config);
        let child = Command::new(program).args(["-db", "-f"]).arg(path).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        wait_for(|| TcpStream::connect(address).is_ok());
        Some(Self { child, address, _scratch: scratch })
    }
}

impl Drop for Haproxy {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn haproxy_tells_who_its_client_is() {
    for send in ["send-proxy", "send-proxy-v2", "send-proxy-v2-ssl"] {
        let gateway = behind("127.0.0.1");
        let Some(haproxy) = Haproxy::start(&gateway, send) else { return };
        let host = format!("Host: app.north.localhost:{}", gateway.address.port());
        let page = format!("http://{}/public/x", haproxy.address);
        let answer = Command::new("curl").args(["-sS", "--interface", "127.0.0.7", "-H", &host, &page]).output().unwrap();
        assert!(answer.status.success(), "{send}: {}", String::from_utf8_lossy(&answer.stderr));
        assert_eq!(gateway.application.last().header("x-forwarded-for"), Some("127.0.0.7"), "{send}");
    }
}
