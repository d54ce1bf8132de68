//! What a test's client holds secret is written down nowhere: each gateway's log (every level on), audit, store, metrics, environment
//! and command line are searched for it when the gateway goes (attacks 107 and 127).
//!
//! The harness registers what it sends and is given: passwords, cookies, one-shot codes, foreign session ids, bearer tokens. The
//! log of a directory or the file that a test writes a password to is the test's own.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;

use crate::support::{Answer, PATIENCE, get};

/// Shorter texts occur by chance.
const SHORTEST: usize = 8;

thread_local! { static SECRETS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) }; }

/// Registers a secret of this test.
pub fn secret(text: &str) {
    if text.len() >= SHORTEST {
        SECRETS.with_borrow_mut(|secrets| secrets.insert(text.to_owned()));
    }
}

/// Registers a field of a form that is one.
pub fn field(name: &str, value: &str) {
    if ["password", "pw", "old", "new", "repeat", "SAMLResponse"].contains(&name) {
        secret(value);
    }
}

/// Registers a header that is one.
pub fn header(name: &str, value: &str) {
    match name.to_ascii_lowercase().as_str() {
        "authorization" => secret(value.split_once(' ').map_or(value, |(_, token)| token)),
        "ssid" => secret(value),
        _ => {}
    }
}

/// Registers what an answer hands out.
pub fn answer(answer: &Answer) {
    for (name, value) in answer.cookies() {
        // Of a count of bounces nobody makes a session.
        if !name.contains("bounce") {
            secret(&value);
        }
    }
    for location in answer.all("location") {
        let Some((_, query)) = location.split_once('?') else { continue };
        for pair in query.split('&') {
            if let Some(code) = pair.strip_prefix("code=") {
                secret(code);
            }
        }
    }
}

/// Searches everything a gateway wrote, and what everybody on its machine may see of it.
pub fn search(scratch: &Path, pid: u32, health: SocketAddr) {
    let mut places: Vec<(String, Vec<u8>)> = Vec::new();
    let mut read = |path: &Path| places.extend(std::fs::read(path).ok().map(|octets| (path.display().to_string(), octets)));
    for name in ["stderr", "audit.jsonl"] {
        read(&scratch.join(name));
    }
    for entry in std::fs::read_dir(scratch.join("data")).into_iter().flatten().flatten() {
        read(&entry.path());
    }
    for name in ["cmdline", "environ"] {
        read(Path::new(&format!("/proc/{pid}/{name}")));
    }
    places.extend(metrics(health).map(|octets| ("metrics".to_owned(), octets)));
    SECRETS.with_borrow(|secrets| {
        for secret in secrets {
            for (place, octets) in &places {
                assert!(!has(octets, secret.as_bytes()), "{secret:?} is in {place}");
            }
        }
    });
}

/// The metrics, unless the gateway has ended or is just ending.
fn metrics(health: SocketAddr) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(health).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(&get("/metrics").octets("localhost")).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(answer)
}

fn has(octets: &[u8], text: &[u8]) -> bool {
    let Some(first) = text.first() else { return false };
    let mut rest = octets;
    while let Some(at) = rest.iter().position(|octet| octet == first) {
        rest = &rest[at..];
        if rest.starts_with(text) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[test]
#[should_panic(expected = "is in")]
fn a_leak_is_found() {
    let scratch = crate::support::Scratch::new();
    scratch.write("stderr", "somebody came with the word open-sesame-now and went");
    secret("open-sesame-now");
    search(scratch.path(), u32::MAX, ([127, 0, 0, 1], 9).into());
}
