//! The corpus of attacks on the doors (`corpus/attacks/doors`): every request through the proxy and through every
//! real front proxy, with an application that records what reaches it.
//!
//! What may never happen holds for every line. What is answered, and the audit's reason where the request got as far as us,
//! stands per door in `answers.json`, so that a change of either is a visible diff (`VESTIBULE_WRITE_CORPUS=1` writes it).

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::doors::{FRONTS, Front, House};
use crate::support::{CONFIG, Gateway, Received};

/// How long an answer may take. A request that is not complete for a reader is cut off by its time limit.
const PATIENCE: Duration = Duration::from_secs(15);

/// After which nothing is expected to come: most such requests are not complete, and the reader waits for the rest.
const SILENCE: Duration = Duration::from_secs(6);

struct Attack {
    name: String,
    octets: Vec<u8>,
    /// Bob's own credential is in it, so it may reach the application as bob.
    known: bool,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/doors")
}

fn attacks(port: u16) -> Vec<Attack> {
    let text = std::fs::read_to_string(folder().join("requests.jsonl")).unwrap();
    let octets = |text: &str| text.replace("{port}", &port.to_string()).chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect();
    let one = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let name = line["name"].as_str().unwrap().to_owned();
        Attack { name, octets: octets(line["octets"].as_str().unwrap()), known: line["known"] == true }
    };
    text.lines().map(one).collect()
}

#[expect(clippy::disallowed_methods, reason = "a test waits for another process")]
fn now() -> Instant {
    Instant::now()
}

/// Sends octets and returns the status of the first answer, the answers' number, and all that came.
fn send(address: SocketAddr, octets: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let _ = stream.write_all(octets);
    let _ = stream.flush();
    let (mut answer, mut buffer, began) = (Vec::new(), [0; 65536], now());
    while began.elapsed() < PATIENCE {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => {
                answer.extend_from_slice(&buffer[..read]);
                if ended(&answer) {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                // Whoever keeps the connection open after a whole answer waits for the next request; there is none.
                if whole(&answer) || answer.is_empty() && began.elapsed() > SILENCE {
                    break;
                }
            }
            Err(_) => break,
        }
    }
    let status = answer.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()).and_then(|digits| digits.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// Whether the answer says how long it is, and is; some keep the connection open for a while after `Connection: close`.
fn ended(answer: &[u8]) -> bool {
    let Some(head) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let text = String::from_utf8_lossy(&answer[..head]).to_ascii_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")).and_then(|length| length.trim().parse::<usize>().ok());
    text.contains("\r\nconnection: close") && length.is_some_and(|length| answer.len() >= head + 4 + length)
}

fn whole(answer: &[u8]) -> bool {
    answer.windows(4).any(|window| window == b"\r\n\r\n")
}

/// What may never happen.
fn held(attack: &Attack, received: &[Received], answer: &[u8], door: &str) -> Result<(), String> {
    let at = |what: String| Err(format!("{door}: {}: {what}", attack.name));
    for received in received {
        let mut words = received.line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let lower = path.to_ascii_lowercase();
        let user = received.header("x-vestibule-user").unwrap_or_default();
        let open = path.starts_with("/public/")
            && !["/..", "%2e", "%2f", "%5c", "\\", ";", "//", "%00", "/%20.."].iter().any(|bad| lower.contains(bad));
        let read_by_bob = attack.known && user == "bob" && matches!(method, "GET" | "HEAD");
        if !open && !read_by_bob {
            return at(format!("reached the application: {} as {user:?}", received.line));
        }
        if open && !attack.known && !user.is_empty() {
            return at(format!("anonymous became {user:?}"));
        }
        if received.line.contains("smuggled") {
            return at("a request within a request".to_owned());
        }
        for (name, value) in &received.headers {
            if value == "root" || (name.to_ascii_lowercase().replace('_', "-").starts_with("x-vestibule") && value.contains("root")) {
                return at(format!("the client's own {name}: {value}"));
            }
            let cookie = name.eq_ignore_ascii_case("cookie") && value.to_ascii_lowercase().contains("vestibule");
            if cookie || (name.eq_ignore_ascii_case("authorization") && !value.is_empty() && value.starts_with("Basic")) {
                return at(format!("a credential of ours reached the application: {name}"));
            }
        }
    }
    let text = String::from_utf8_lossy(answer);
    for line in text.lines().filter(|line| line.to_ascii_lowercase().starts_with("location:")) {
        let to = line["location:".len()..].trim();
        let ours = ["/", "http://login.north.localhost:", "http://app.north.localhost:"].iter().any(|own| to.starts_with(own));
        if !ours || to.starts_with("//") || to.starts_with("/\\") {
            return at(format!("sent away by {line}"));
        }
    }
    if attack.name.starts_with("redirect-portal") && text.contains("evil") {
        return at("the page names where the attacker wants to go".to_owned());
    }
    Ok(())
}

/// Runs the corpus through one door: status by name, and what may not happen but did.
fn run(door: &str, address: SocketAddr, gateway: &Gateway) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut answers, mut broken, mut ids) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
    gateway.application.forget();
    for attack in attacks(address.port()) {
        let (status, answer) = send(address, &attack.octets);
        let received = gateway.application.received();
        gateway.application.forget();
        if let Err(what) = held(&attack, &received, &answer, door) {
            broken.push(what);
        }
        let text = String::from_utf8_lossy(&answer).into_owned();
        let id = text.lines().find_map(|line| line.strip_prefix("x-vestibule-id: ").or_else(|| line.strip_prefix("X-Vestibule-Id: ")));
        if let Some(id) = id {
            ids.insert(id.trim().to_owned(), attack.name.clone());
        }
        answers.insert(attack.name, status.to_string());
    }
    // The reasons, once the audit is written.
    std::thread::sleep(Duration::from_millis(500));
    for record in gateway.audit() {
        let Some(name) = record["request_id"].as_str().and_then(|id| ids.get(id)) else { continue };
        let reason = &record["reason"];
        if let (Some(status), false) = (answers.get_mut(name), reason.is_null())
            && !status.contains(' ')
        {
            *status = format!("{status} {}", reason.to_string().trim_matches('"').replace(['"', '{', '}'], ""));
        }
    }
    (answers, broken)
}

#[test]
fn every_attack_through_every_door_gets_nowhere() {
    assert!(CONFIG.contains("/public/**"));
    let through_proxy = || {
        let gateway = Gateway::start().with_users();
        let found = run("proxy", gateway.address, &gateway);
        assert!(TcpStream::connect(gateway.health).is_ok(), "the gateway is gone");
        Some(("proxy".to_owned(), found))
    };
    let through = |front: Front| {
        let house = House::open(front)?;
        let door = format!("{front:?}").to_ascii_lowercase();
        let found = run(&door, house.address, &house.gateway);
        Some((door, found))
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let mut threads = vec![scope.spawn(through_proxy)];
        threads.extend(FRONTS.map(|front| scope.spawn(move || through(front))));
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    let (mut doors, mut broken) = (BTreeMap::new(), Vec::new());
    for (door, (answers, more)) in found {
        doors.insert(door, answers);
        broken.extend(more);
    }
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
    compare(&doors);
}

/// Holds the answers to those that were looked at.
fn compare(doors: &BTreeMap<String, BTreeMap<String, String>>) {
    let path = folder().join("answers.json");
    if std::env::var_os("VESTIBULE_WRITE_CORPUS").is_some() {
        let mut names: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for (door, answers) in doors {
            for (name, answer) in answers {
                names.entry(name).or_default().insert(door, answer);
            }
        }
        let lines: Vec<String> =
            names.iter().map(|(name, answers)| format!("{}: {}", serde_json::json!(name), serde_json::json!(answers))).collect();
        std::fs::write(&path, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
        return;
    }
    let known: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    let mut different = Vec::new();
    for (door, answers) in doors {
        for (name, answer) in answers {
            let expected = known.get(name).and_then(|answers| answers.get(door));
            if expected != Some(answer) {
                different.push(format!("{door}: {name}: {answer}, not {}", expected.map_or("known", String::as_str)));
            }
        }
    }
    assert!(different.is_empty(), "{} answers changed:\n{}", different.len(), different.join("\n"));
}
