//! Tunnels outlive the decision that opened them, and end when it would not be made again.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::lifecycle::wait_for;
use crate::support::{CONFIG, Gateway};

/// A WebSocket to an application that echoes, opened with these header fields, once it carries.
pub fn tunnel(through: SocketAddr, host: &str, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(through).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "GET /socket HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\n{fields}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut octet = [0];
        stream.read_exact(&mut octet).unwrap();
        answer.extend(octet);
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
    assert!(carries(&mut stream));
    stream
}

/// Whether what is sent comes back; otherwise the tunnel has ended.
fn carries(stream: &mut TcpStream) -> bool {
    let mut echo = [0; 4];
    stream.write_all(b"echo").is_ok() && stream.read_exact(&mut echo).is_ok() && &echo == b"echo"
}

#[test]
fn a_tunnel_ends_where_its_user_would_not_be_let_in_any_more() {
    let profile = "hours = [\"mon-sun 00:00-24:00\"]\ntime_zone = \"UTC\"\nfrom = [\"127.0.0.0/8\"]";
    let template = format!("{CONFIG}\n[administrators]\nfrom = [\"127.0.0.1/32\"]\n\n[profile.staff]\n{profile}\n");
    for (from, to, ended, stays) in [
        ("[\"mon-sun 00:00-24:00\"]", "[]", "rita", "root"),
        ("from = [\"127.0.0.0/8\"]", "from = [\"10.0.0.0/8\"]", "rita", "root"),
        ("from = [\"127.0.0.1/32\"]", "from = [\"10.0.0.1/32\"]", "root", "rita"),
    ] {
        let gateway = Gateway::with(&template).with_users();
        let file = gateway.scratch.write("password", "held to the rules");
        for (name, more) in [("rita", &["--profile", "staff"][..]), ("root", &["--break-glass"])] {
            let arguments = ["user", "add", name, "--tenant", "north", "--group", "staff", "--password-file", file.to_str().unwrap()];
            let added = gateway.command(&[&arguments[..], more].concat());
            assert!(added.status.success(), "{added:?}");
        }
        let open = |name: &str| {
            let (cookie, session) = gateway.sign_in(name, "held to the rules");
            tunnel(gateway.address, &format!("app.north.localhost:{}", gateway.public), &format!("Cookie: {cookie}={session}"))
        };
        let (mut over, mut other) = (open(ended), open(stays));
        let config = std::fs::read_to_string(gateway.scratch.path().join("vestibule.toml")).unwrap();
        assert_eq!(config.matches(from).count(), 1, "{from}");
        gateway.scratch.write("vestibule.toml", &config.replace(from, to));
        gateway.signal("HUP");
        wait_for(|| !carries(&mut over));
        assert!(carries(&mut other), "{to}: {ended}'s alone");
    }
}
