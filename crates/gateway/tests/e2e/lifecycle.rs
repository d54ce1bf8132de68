//! Start, reload, stop, crash: what a running gateway keeps and what it refuses.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::support::{Gateway, PATIENCE, USERS, get, read_answer};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);

#[test]
fn sessions_users_and_keys_survive_a_kill() {
    let mut gateway = Gateway::start().with_users();
    let (name, value) = gateway.sign_in(ADA.0, ADA.1);
    let keys = gateway.send_to("login.north.localhost", &get("/.well-known/jwks.json")).body;
    gateway.kill();
    gateway.restart();
    assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &value)).status, 200);
    assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 200);
    assert_eq!(gateway.send_to("login.north.localhost", &get("/.well-known/jwks.json")).body, keys);
}

#[test]
fn a_broken_configuration_changes_nothing_and_says_why() {
    let gateway = Gateway::start();
    let path = gateway.scratch.path().join("vestibule.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("access = \"open\"", "acess = \"open\"")).unwrap();
    gateway.signal("HUP");
    wait_for(|| gateway.audit().iter().any(|record| record["event"] == "config.reloaded" && record["accepted"] == false));
    assert_eq!(gateway.send(&get("/public/")).status, 200);
    let record = gateway.audit().into_iter().find(|record| record["event"] == "config.reloaded").unwrap();
    assert!(record["problem"].as_str().unwrap().contains("acess"), "{record}");

    std::fs::write(&path, good.replace("/public/**", "/published/**")).unwrap();
    gateway.signal("HUP");
    wait_for(|| gateway.send(&get("/published/")).status == 200);
    assert_ne!(gateway.send(&get("/public/")).status, 200);
}

#[test]
fn a_shutdown_finishes_what_was_begun() {
    let gateway = Gateway::start();
    let (stop, done, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (address, host) = (gateway.address, format!("app.north.localhost:{}", gateway.address.port()));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (stop, done, failed, host) = (stop.clone(), done.clone(), failed.clone(), host.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let Ok(mut stream) = TcpStream::connect(address) else { return };
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    let mut reader = BufReader::new(stream.try_clone().unwrap());
                    loop {
                        if stream.write_all(format!("GET /public/ HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).is_err() {
                            break;
                        }
                        // A connection closed before the first octet of an answer is one the client may retry.
                        use std::io::BufRead as _;
                        if reader.fill_buf().map_or(true, <[u8]>::is_empty) {
                            break;
                        }
                        let answer = read_answer(&mut reader);
                        if answer.status == 200 {
                            done.fetch_add(1, Ordering::Relaxed)
                        } else {
                            failed.fetch_add(1, Ordering::Relaxed)
                        };
                        if answer.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                            break;
                        }
                    }
                }
            })
        })
        .collect();
    std::thread::sleep(Duration::from_millis(500));
    gateway.signal("TERM");
    std::thread::sleep(Duration::from_secs(1));
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        worker.join().unwrap();
    }
    assert!(done.load(Ordering::Relaxed) > 10);
    assert_eq!(failed.load(Ordering::Relaxed), 0, "no request got anything but its answer");
    wait_for(|| TcpStream::connect(gateway.address).is_err());
}

#[test]
fn health_and_metrics_are_on_a_listener_of_their_own() {
    let gateway = Gateway::start();
    gateway.send(&get("/public/"));
    let ask = |path: &str| {
        let mut stream = TcpStream::connect(gateway.health).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        read_answer(&mut BufReader::new(stream))
    };
    assert_eq!(ask("/healthz").status, 200);
    assert_eq!(ask("/readyz").status, 200);
    let metrics = ask("/metrics").body;
    assert!(metrics.contains("vestibule_decisions_total"), "{metrics}");
    assert!(gateway.send(&get("/metrics").browser()).status != 200, "never on a public listener");
}

#[test]
fn no_secret_is_in_any_log() {
    let gateway = Gateway::start().with_users();
    let (_, session) = gateway.sign_in(ADA.0, ADA.1);
    gateway.send(&get("/api/orders?token=abc-query-secret").basic(ADA.0, "wrong-secret-guess"));
    gateway.send(&get("/api/orders").cookie("vestibule", &session));
    std::thread::sleep(Duration::from_millis(300));
    let everything = format!("{}{}", gateway.log(), std::fs::read_to_string(gateway.scratch.path().join("audit.jsonl")).unwrap());
    for secret in [ADA.1, "wrong-secret-guess", "abc-query-secret", &session, "Basic "] {
        assert!(!everything.contains(secret), "{secret}");
    }
}

/// A start takes its time on a machine that has much to do.
pub fn wait_for(mut condition: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("it did not happen in time");
}
