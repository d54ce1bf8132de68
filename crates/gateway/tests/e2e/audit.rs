//! The audit as those see it who answer for it: files that show what was done to them, and a real collector of syslog.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::peers::{certificates, is_there, wait_for};
use crate::support::{Answer, CONFIG, Gateway, Scratch, exchange, free_port, get};

fn verify(file: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vestibule")).args(["audit", "verify", file.to_str().unwrap(), "--json"]).args(more).output().unwrap()
}

fn said(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

#[test]
fn a_file_holds_over_restarts_and_kills_and_shows_what_was_changed() {
    let mut gateway = Gateway::start().with_users();
    let file = gateway.scratch.path().join("audit.jsonl");
    let key = String::from_utf8(gateway.command(&["status", "--json"]).stdout).unwrap();
    let key = serde_json::from_str::<serde_json::Value>(&key).unwrap()["audit_key"].as_str().unwrap().to_owned();
    for _ in 0..3 {
        let answer = gateway.send(&get("/public/x"));
        wait_for("its record", || std::fs::read_to_string(&file).unwrap().contains(answer.header("x-vestibule-id").unwrap()));
        gateway.kill();
        // What a process that dies in the middle of a line leaves behind.
        let mut end = std::fs::OpenOptions::new().append(true).open(&file).unwrap();
        end.write_all(br#"{"v":1,"time":"20"#).unwrap();
        gateway.restart();
    }
    let old = gateway.scratch.path().join("audit.jsonl.1");
    std::fs::rename(&file, &old).unwrap();
    let answer = gateway.send(&get("/public/after"));
    wait_for("the next file", || std::fs::read_to_string(&file).is_ok_and(|text| text.contains(answer.header("x-vestibule-id").unwrap())));
    gateway.signal("TERM");
    wait_for("the end", || TcpStream::connect(gateway.address).is_err() && std::fs::read_to_string(&file).unwrap().ends_with("\"}\n"));
    let both = verify(&old, &[file.to_str().unwrap(), "--key", &key]);
    assert_eq!(both.status.code(), Some(0), "{both:?}");
    assert_eq!(said(&both)["found"]["torn"], 3, "{both:?}");

    let whole = std::fs::read_to_string(&old).unwrap();
    std::fs::write(&old, whole.replacen("/public/x", "/public/y", 1)).unwrap();
    let line = whole.lines().position(|line| line.contains("/public/x")).unwrap() + 1;
    let broken = verify(&old, &[file.to_str().unwrap()]);
    assert_eq!((broken.status.code(), said(&broken)["line"].as_u64()), (Some(1), Some(line as u64)), "{broken:?}");
    assert_eq!(verify(Path::new("/nowhere/audit.jsonl"), &[]).status.code(), Some(2));
}

/// An rsyslogd that speaks TLS and writes down what it was told.
struct Collector {
    child: Option<Child>,
    port: u16,
    scratch: Scratch,
}

impl Collector {
    fn start() -> Option<Self> {
        if !is_there(Path::new("/usr/sbin/rsyslogd").exists() && Path::new(GTLS).exists(), "rsyslog with TLS") {
            return None;
        }
        let scratch = Scratch::new();
        certificates(scratch.path());
        let port = free_port();
        let dir = scratch.path().display();
        scratch.write(
            "rsyslog.conf",
            &format!(
                r#"
global(workDirectory="{dir}" maxMessageSize="64k" defaultNetstreamDriver="gtls" defaultNetstreamDriverCAFile="{dir}/ca.pem"
       defaultNetstreamDriverCertFile="{dir}/server.pem" defaultNetstreamDriverKeyFile="{dir}/server.key")
module(load="imtcp" StreamDriver.Name="gtls" StreamDriver.Mode="1" StreamDriver.Authmode="anon")
input(type="imtcp" port="{port}" address="127.0.0.1")
template(name="told" type="string" string="%pri%|%app-name%|%msgid%|%structured-data%|%msg%\n")
action(type="omfile" file="{dir}/received" template="told")
"#
            ),
        );
        let mut collector = Self { child: None, port, scratch };
        collector.resume();
        Some(collector)
    }

    fn resume(&mut self) {
        let at = |name: &str| self.scratch.path().join(name).display().to_string();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(at("log")).unwrap();
        let mut command = Command::new("/usr/sbin/rsyslogd");
        command.args(["-n", "-f", &at("rsyslog.conf"), "-i", &at("pid")]).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap());
        wait_for("rsyslogd's start", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
            child.wait().unwrap();
        }
    }

    /// Each message: priority, program, id, structured data, text.
    fn received(&self) -> Vec<Vec<String>> {
        let text = std::fs::read_to_string(self.scratch.path().join("received")).unwrap_or_default();
        text.lines().map(|line| line.splitn(5, '|').map(str::to_owned).collect()).collect()
    }
}

const GTLS: &str = "/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so";

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- rsyslogd's log\n{}", std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default());
        }
    }
}

fn with_syslog(server: &str, ca: Option<&Path>) -> String {
    let ca = ca.map(|ca| format!("ca = \"{}\"\n", ca.display())).unwrap_or_default();
    CONFIG.replace("to = \"file\"", "to = [\"file\", \"syslog\"]") + &format!("\n[audit.syslog]\nserver = \"{server}\"\n{ca}")
}

fn id(answer: &Answer) -> String {
    answer.header("x-vestibule-id").unwrap().to_owned()
}

/// Ids of the requests that messages tell of.
fn requests<'a>(messages: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    let records = messages.into_iter().filter_map(|text| serde_json::from_str::<serde_json::Value>(text.trim()).ok());
    records.filter_map(|record| record["request_id"].as_str().map(str::to_owned)).collect()
}

#[test]
fn a_real_collector_hears_everything_that_was_decided_and_without_it_nothing_is() {
    let Some(mut collector) = Collector::start() else { return };
    let ca = collector.scratch.path().join("ca.pem");
    let gateway = Gateway::with(&with_syslog(&format!("tls://localhost:{}", collector.port), Some(&ca)));
    let mut decided = BTreeSet::new();
    let ask = |decided: &mut BTreeSet<String>| {
        let answer = gateway.send(&get("/public/x"));
        if answer.status == 200 {
            decided.insert(id(&answer));
        }
        answer.status
    };
    wait_for("the first decision", || ask(&mut decided) == 200);
    for _ in 0..50 {
        assert_eq!(ask(&mut decided), 200);
    }
    collector.stop();
    wait_for("the house to close", || ask(&mut decided) == 503);
    assert!(gateway.send(&get("/public/x")).header("retry-after").is_some());
    collector.resume();
    wait_for("the house to open", || ask(&mut decided) == 200);
    let texts = |collector: &Collector| collector.received().into_iter().filter_map(|parts| parts.into_iter().nth(4)).collect::<Vec<_>>();
    wait_for("everything to arrive", || requests(texts(&collector).iter().map(String::as_str)).is_superset(&decided));

    let received = collector.received();
    let one = received.iter().find(|parts| parts[2] == "request.decided").unwrap();
    assert_eq!((one[0].as_str(), one[1].as_str()), ("86", "vestibule"), "authpriv.info: {one:?}");
    assert!(one[3].starts_with("[meta sequenceId=\""), "{one:?}");
    // A record noted there holds the file, even against somebody who cuts off its end.
    let seal = |collector: &Collector| {
        let mut seals = collector.received().into_iter().filter(|parts| parts[2] == "audit.sealed");
        let seal: Option<serde_json::Value> = seals.next_back().map(|parts| serde_json::from_str(parts[4].trim()).unwrap());
        seal.filter(|seal| seal["sealed"].as_u64().unwrap() > 2)
    };
    wait_for("a seal", || seal(&collector).is_some());
    let seal = seal(&collector).unwrap();
    let anchor = format!("{}:{}", seal["sealed"], seal["sealed_hash"].as_str().unwrap());
    let file = gateway.scratch.path().join("audit.jsonl");
    assert_eq!(verify(&file, &["--anchor", &anchor]).status.code(), Some(0));
    let cut = gateway.scratch.path().join("cut.jsonl");
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&cut, text.lines().take(2).map(|line| format!("{line}\n")).collect::<String>()).unwrap();
    let broken = verify(&cut, &["--anchor", &anchor]);
    assert!(said(&broken)["reason"].as_str().unwrap().contains("the end is missing"), "{broken:?}");
}

/// A collector that reads only while it is told to; messages by their length (RFC 6587 §3.4.1).
fn lazy_collector() -> (u16, Arc<AtomicBool>, Arc<Mutex<Vec<String>>>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    socket.listen(16).unwrap();
    let listener = TcpListener::from(socket);
    let port = listener.local_addr().unwrap().port();
    let (reading, messages) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
    let (told, kept) = (reading.clone(), messages.clone());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (told, kept) = (told.clone(), kept.clone());
            std::thread::spawn(move || {
                let mut reader = BufReader::new(stream);
                loop {
                    while !told.load(Ordering::Relaxed) {
                        std::thread::sleep(std::time::Duration::from_millis(10));
                    }
                    let mut length = Vec::new();
                    let Ok(1..) = reader.read_until(b' ', &mut length) else { return };
                    let length = String::from_utf8(length).unwrap().trim().parse().unwrap();
                    let mut message = vec![0; length];
                    // A connection that was given up ends within a message; the whole one comes over the next.
                    let Ok(()) = reader.read_exact(&mut message) else { return };
                    let message = String::from_utf8(message).unwrap();
                    kept.lock().unwrap().push(message.split_once("] ").unwrap().1.to_owned());
                }
            });
        }
    });
    (port, reading, messages)
}

#[test]
fn a_collector_that_stops_reading_closes_the_house_and_misses_nothing() {
    let (port, reading, messages) = lazy_collector();
    let gateway = Gateway::with(&with_syslog(&format!("tcp://127.0.0.1:{port}"), None));
    let mut decided = BTreeSet::new();
    let long = format!("/public/{}", "x".repeat(6000));
    let ask = |decided: &mut BTreeSet<String>| {
        let answer = gateway.send(&get(&long));
        if answer.status == 200 {
            decided.insert(id(&answer));
        }
        answer.status
    };
    wait_for("the first decision", || ask(&mut decided) == 200);
    reading.store(false, Ordering::Relaxed);
    let mut last = 200;
    for _ in 0..20_000 {
        last = ask(&mut decided);
        if last == 503 {
            break;
        }
    }
    assert_eq!(last, 503, "nothing is judged that could not be recorded");
    let metrics = exchange(gateway.health, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").body;
    assert!(metrics.contains(r#"vestibule_audit_failing{sink="syslog"} 1"#), "{metrics}");
    assert!(metrics.contains(r#"vestibule_audit_failing{sink="file"} 0"#), "the file is well");
    reading.store(true, Ordering::Relaxed);
    wait_for("the house to open", || ask(&mut decided) == 200);
    wait_for("everything to arrive", || {
        let messages = messages.lock().unwrap();
        requests(messages.iter().map(String::as_str)).is_superset(&decided)
    });
    let status = String::from_utf8(gateway.command(&["status", "--json"]).stdout).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&status).unwrap()["audit_lost"], 0);
}
