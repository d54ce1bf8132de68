//! Delegated authentication as its caller (`login-saml-delegated.md` §3, §11): the real binary, services made with other
//! people's stacks, and endpoints that lie, stall and babble.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use vestibule_soap::delegated::{AnswerRoot, write_answer, wsdl};

use crate::lifecycle::wait_for;
use crate::support::{Answer, Gateway, Scratch, free_port, get};

/// Nothing else in the world is called so: it is searched for in everything that was written.
pub const PASSWORD: &str = "s3cret&<x> \"q\" 'a' \u{1f511} marker-7f3a";
pub const LOCAL: &str = "an old local password";

/// What an endpoint does with a question.
#[derive(Clone)]
pub enum Behaviour {
    /// Answers with these octets and closes.
    Says(Vec<u8>),
    /// Says true to the right password, else false.
    Checks(AnswerRoot),
    /// Reads, and says nothing.
    Hangs,
    /// Says a good head, then nothing.
    HangsAfterHead,
    /// An octet now and then, for ever.
    Drips,
}

/// An endpoint of our own, which remembers what it was asked.
pub struct Endpoint {
    port: u16,
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<Mutex<Vec<(String, String)>>>,
}

trait Wire: Read + Write + Send {}
impl<S: Read + Write + Send> Wire for S {}

impl Endpoint {
    pub fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = Self {
            port: listener.local_addr().unwrap().port(),
            behaviour: Arc::new(Mutex::new(Behaviour::Checks(AnswerRoot::Result))),
            asked: Arc::default(),
        };
        let (behaviour, asked) = (endpoint.behaviour.clone(), endpoint.asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (behaviour, asked, tls) = (behaviour.clone(), asked.clone(), tls.clone());
                std::thread::spawn(move || {
                    let stream: Box<dyn Wire> = match tls {
                        None => Box::new(stream),
                        Some(config) => Box::new(rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), stream)),
                    };
                    serve(stream, &behaviour, &asked);
                });
            }
        });
        endpoint
    }

    pub fn does(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub fn says(&self, answer: impl Into<Vec<u8>>) {
        self.does(Behaviour::Says(answer.into()));
    }

    fn asked(&self) -> Vec<(String, String)> {
        self.asked.lock().unwrap().clone()
    }

    pub fn plain(&self) -> String {
        format!("url = \"http://127.0.0.1:{}/da/7c1e/authenticate\"", self.port)
    }
}

fn serve(stream: Box<dyn Wire>, behaviour: &Mutex<Behaviour>, asked: &Mutex<Vec<(String, String)>>) {
    let mut reader = BufReader::new(stream);
    let Some((head, body)) = read_request(&mut reader) else { return };
    asked.lock().unwrap().push((head, body.clone()));
    let mut stream = reader.into_inner();
    let doing = behaviour.lock().unwrap().clone();
    let answer = match doing {
        Behaviour::Says(octets) => octets,
        Behaviour::Checks(root) => {
            let escaped = PASSWORD.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
            http(200, &write_answer(body.contains(&format!("<password>{escaped}</password>")), root))
        }
        Behaviour::Hangs => {
            let _ = stream.read(&mut [0; 1]);
            return;
        }
        Behaviour::HangsAfterHead => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 300\r\n\r\n<?xml");
            let _ = stream.flush();
            let _ = stream.read(&mut [0; 1]);
            return;
        }
        Behaviour::Drips => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 60000\r\n\r\n");
            while stream.write_all(b" ").is_ok() && stream.flush().is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
            return;
        }
    };
    let _ = stream.write_all(&answer);
    let _ = stream.flush();
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, String)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let length = head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.trim().parse().ok())?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((head, String::from_utf8(body).unwrap()))
}

pub fn http(status: u16, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nContent-Type: text/xml; charset=UTF-8\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into()
}

/// A gateway whose realm `sso` has these lines; `sara` and `olga` are delegated, `bob` is not, `root` may help in need.
fn gateway(realm: &str) -> Gateway {
    gateway_with(realm, &[])
}

pub fn gateway_with(realm: &str, files: &[(&str, &str)]) -> Gateway {
    let gateway = Gateway::with_files(&include_str!("delegated.toml").replace("{{realm}}", realm), files);
    add(&gateway, "root", &["--break-glass"]);
    add(&gateway, "sara", &["--profile", "sales", "--must-change"]);
    add(&gateway, "olga", &["--profile", "office"]);
    add(&gateway, "bob", &[]);
    gateway
}

pub fn add(gateway: &Gateway, name: &str, more: &[&str]) {
    let file = gateway.scratch.write("password", LOCAL);
    let arguments = ["user", "add", name, "--tenant", "north", "--group", "staff", "--password-file", file.to_str().unwrap()];
    let output = gateway.command(&[&arguments[..], more].concat());
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

pub fn try_it(gateway: &Gateway, name: &str, password: &str) -> Answer {
    gateway.send(&get("/api/orders").basic(name, password))
}

/// What was recorded of the call that a request made.
pub fn called(gateway: &Gateway, answer: &Answer) -> Option<Value> {
    let mut found = None;
    // Written after the decision.
    wait_for(|| {
        found = gateway.audit_of(answer).into_iter().find(|record| record["event"] == "delegated.called");
        found.is_some()
    });
    found
}

#[test]
fn a_delegated_profile_is_checked_elsewhere_and_everybody_else_here() {
    let endpoint = Endpoint::start(None);
    let gateway = gateway(&endpoint.plain());
    // Whose password must be changed here has nothing to change here.
    let answer = try_it(&gateway, "Sara", PASSWORD);
    assert_eq!(answer.status, 200, "{answer:?} {}", gateway.log());
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("sara"));
    let (head, body) = endpoint.asked().pop().unwrap();
    assert!(head.starts_with("POST /da/7c1e/authenticate HTTP/1.1\r\n"), "{head}");
    let lower = head.to_ascii_lowercase();
    for line in [
        format!("host: 127.0.0.1:{}", endpoint.port),
        "content-type: text/xml; charset=utf-8".to_owned(),
        "soapaction: \"\"".to_owned(),
        "accept: text/xml".to_owned(),
        format!("content-length: {}", body.len()),
        "connection: close".to_owned(),
    ] {
        assert!(lower.contains(&format!("\r\n{line}\r\n")), "{line}: {head}");
    }
    assert!(!lower.contains("transfer-encoding") && !lower.contains("expect"), "{head}");
    let expected = concat!(
        r#"<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/">"#,
        r#"<soapenv:Body><Authenticate xmlns="urn:authentication.soap.sforce.com"><username>sara</username>"#,
        "<password>s3cret&amp;&lt;x&gt; \"q\" 'a' \u{1f511} marker-7f3a</password><sourceIp>127.0.0.1</sourceIp></Authenticate>",
        "</soapenv:Body></soapenv:Envelope>"
    );
    assert_eq!(body, expected);
    let record = called(&gateway, &answer).unwrap();
    assert_eq!((&record["outcome"], &record["phase"], &record["subject"]), (&"ok".into(), &"verdict".into(), &"sara".into()));

    // Others are not asked about, whether they exist or not; nor is an empty password.
    for (name, password, status) in [("bob", LOCAL, 200), ("bob", "wrong", 401), ("nobody", PASSWORD, 401), ("sara", "", 401)] {
        assert_eq!(try_it(&gateway, name, password).status, status, "{name} {password}");
        assert_eq!(endpoint.asked().len(), 1, "{name}");
    }
    // The password that was once set here opens nothing, and a success is not remembered.
    assert_eq!(try_it(&gateway, "sara", LOCAL).status, 401);
    let before = endpoint.asked().len();
    assert_eq!(try_it(&gateway, "sara", PASSWORD).status, 200);
    assert_eq!(try_it(&gateway, "sara", PASSWORD).status, 200);
    assert_eq!(endpoint.asked().len(), before + 2);
    // A wrong one twice is sent once: the directory behind counts.
    assert_eq!(try_it(&gateway, "sara", "wrong once").status, 401);
    assert_eq!(try_it(&gateway, "sara", "wrong once").status, 401);
    assert_eq!(endpoint.asked().len(), before + 3);

    // Both roots are in the field.
    endpoint.does(Behaviour::Checks(AnswerRoot::Response));
    assert_eq!(try_it(&gateway, "sara", PASSWORD).status, 200);

    // Where a profile may come from is judged before anybody is asked.
    let before = endpoint.asked().len();
    let answer = try_it(&gateway, "olga", PASSWORD);
    assert_eq!((answer.status, endpoint.asked().len()), (401, before));
}

#[test]
fn the_form_asks_the_same_service_and_the_password_page_steps_aside() {
    let endpoint = Endpoint::start(None);
    let gateway = gateway(&endpoint.plain());
    assert_eq!(gateway.sign_in_at_portal("sara", LOCAL).status, 403);
    let mut browser = gateway.browser();
    let page = browser.submit_login("http://login.north.localhost/login", "sara", PASSWORD);
    assert!(matches!(page.status, 200 | 303), "{page:?}");
    let page = browser.visit("http://login.north.localhost/password");
    assert!(page.status == 200 && page.body.contains("Your password is the one of your computer at work."), "{page:?}");
    assert!(page.body.contains(r#"href="https://password.example.com/""#), "{page:?}");
    let file = gateway.scratch.write("another", "correct horse battery staple");
    let output = gateway.command(&["user", "passwd", "sara", "--tenant", "north", "--password-file", file.to_str().unwrap()]);
    assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("another service"), "{output:?}");

    // An outage is told apart from a wrong password, here and in the record.
    endpoint.says(http(503, "down"));
    let answer = gateway.sign_in_at_portal("sara", "whatever else");
    assert_eq!(answer.status, 503, "{answer:?}");
    // Who is not delegated signs in all the same.
    assert_eq!(try_it(&gateway, "bob", LOCAL).status, 200);
}

#[test]
fn attack_075_what_is_no_answer_lets_nobody_in() {
    let endpoint = Endpoint::start(None);
    let elsewhere = Endpoint::start(None);
    let gateway = gateway(&endpoint.plain());
    let yes = write_answer(true, AnswerRoot::Result);
    let no = write_answer(false, AnswerRoot::Result);
    let twice =
        yes.replace("<Authenticated>true</Authenticated>", "<Authenticated>true</Authenticated><Authenticated>true</Authenticated>");
    let roots = {
        let (from, to) = (yes.find("<AuthenticateResult").unwrap(), yes.find("</soapenv:Body>").unwrap());
        yes.replace(&yes[from..to], &yes[from..to].repeat(2))
    };
    let fault = concat!(
        r#"<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><e:Fault><faultcode>e:Server</faultcode>"#,
        "<faultstring>backend\nunavailable</faultstring></e:Fault></e:Body></e:Envelope>"
    );
    let redirect =
        format!("HTTP/1.1 302 X\r\nLocation: http://127.0.0.1:{}/da/7c1e/authenticate\r\nContent-Length: 0\r\n\r\n", elsewhere.port);
    for (name, answer, outcome) in [
        ("html", http(200, "<html><body>Authenticated>true</body></html>"), "bad_response"),
        ("nothing", http(200, ""), "bad_response"),
        ("two answers", http(200, &twice), "bad_response"),
        ("two roots", http(200, &roots), "bad_response"),
        ("TRUE", http(200, &yes.replace(">true<", ">TRUE<")), "bad_response"),
        ("a doctype", http(200, &yes.replace("?>", "?><!DOCTYPE a>")), "bad_response"),
        ("huge", http(200, &format!("{yes}{}", " ".repeat(1 << 20))), "bad_response"),
        ("huge head", format!("HTTP/1.1 200 X\r\nX: {}\r\n\r\n{yes}", "x".repeat(1 << 20)).into_bytes(), "bad_response"),
        ("no http", b"SSH-2.0-OpenSSH\r\n".to_vec(), "bad_response"),
        ("500 and false", http(500, &no), "http_status"),
        ("500 and true", http(500, &yes), "http_status"),
        ("404 and true", http(404, &yes), "http_status"),
        ("redirect", redirect.into_bytes(), "http_status"),
        ("fault", http(500, fault), "soap_fault"),
        ("fault with 200", http(200, fault), "soap_fault"),
        ("hung up", Vec::new(), "unreachable"),
    ] {
        endpoint.says(answer);
        let refused = try_it(&gateway, "sara", &format!("{PASSWORD} {name}"));
        let record = called(&gateway, &refused).unwrap();
        assert_eq!((refused.status, record["outcome"].as_str()), (503, Some(outcome)), "{name}: {record}");
        // Not five failures in a row.
        endpoint.does(Behaviour::Checks(AnswerRoot::Result));
        assert_eq!(try_it(&gateway, "sara", PASSWORD).status, 200, "{name}");
    }
    assert!(elsewhere.asked().is_empty(), "a redirect was followed");

    // After five failures in a row the service is left alone, and who waits learns so at once.
    endpoint.says(http(503, ""));
    for _ in 0..5 {
        assert_eq!(try_it(&gateway, "sara", PASSWORD).status, 503);
    }
    let before = endpoint.asked().len();
    let refused = try_it(&gateway, "sara", PASSWORD);
    assert_eq!((refused.status, called(&gateway, &refused).unwrap()["outcome"].as_str()), (503, Some("breaker_open")));
    assert_eq!(endpoint.asked().len(), before);

    // None of it was a guess, and the password is nowhere.
    assert_eq!(try_it(&gateway, "bob", LOCAL).status, 200);
    silent(&gateway);
}

#[test]
fn who_stalls_is_not_waited_for() {
    let endpoint = Endpoint::start(None);
    let gateway = gateway(&format!("{}\ntimeout = \"1s\"\ncalls = 1\nwaiting = 1", endpoint.plain()));
    for behaviour in [Behaviour::Hangs, Behaviour::HangsAfterHead, Behaviour::Drips] {
        endpoint.does(behaviour);
        let refused = try_it(&gateway, "sara", PASSWORD);
        assert_eq!((refused.status, called(&gateway, &refused).unwrap()["outcome"].as_str()), (503, Some("timeout")));
    }
    // One is asked about, one waits, and nobody else.
    endpoint.does(Behaviour::Hangs);
    let outcomes: Vec<String> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let gateway = &gateway;
                scope.spawn(move || {
                    let refused = try_it(gateway, "sara", &format!("{PASSWORD}{number}"));
                    assert_eq!(refused.status, 503);
                    called(gateway, &refused).unwrap()["outcome"].as_str().unwrap().to_owned()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(outcomes.iter().any(|outcome| outcome == "timeout"), "{outcomes:?}");
    silent(&gateway);
}

/// The password is in nothing that the gateway has written.
fn silent(gateway: &Gateway) {
    let mut files = vec![gateway.scratch.path().join("audit.jsonl"), gateway.scratch.path().join("stderr")];
    files.extend(std::fs::read_dir(gateway.scratch.path().join("data")).unwrap().flatten().map(|entry| entry.path()));
    for file in files.iter().filter(|file| file.is_file()) {
        let octets = std::fs::read(file).unwrap();
        assert!(!octets.windows(11).any(|window| window == b"marker-7f3a"), "the password is in {}", file.display());
    }
}

struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    pem: String,
    der: rustls::pki_types::CertificateDer<'static>,
}

impl Authority {
    fn new() -> Self {
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = ca.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().clone(), issuer: rcgen::Issuer::new(ca, key) }
    }

    fn certify(&self, name: &str, expired: bool) -> (rcgen::Certificate, rcgen::KeyPair) {
        let mut params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        if expired {
            params.not_after = rcgen::date_time_ymd(2020, 1, 1);
        }
        let key = rcgen::KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    fn endpoint(&self, name: &str, expired: bool, clients: bool) -> Endpoint {
        let (certificate, key) = self.certify(name, expired);
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let builder = if clients {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.der.clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        Endpoint::start(Some(Arc::new(builder.with_single_cert(vec![certificate.der().clone()], key).unwrap())))
    }
}

#[test]
fn tls_is_verified_and_a_client_certificate_is_shown() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    for (endpoint, outcome) in [
        (ours.endpoint("localhost", false, false), "ok"),
        (ours.endpoint("elsewhere.example", false, false), "tls_untrusted"),
        (theirs.endpoint("localhost", false, false), "tls_untrusted"),
        (ours.endpoint("localhost", true, false), "tls_expired"),
    ] {
        let realm = format!("url = \"https://localhost:{}/da\"\nca = \"ca.pem\"", endpoint.port);
        let gateway = gateway_with(&realm, &[("ca.pem", &ours.pem)]);
        let answer = try_it(&gateway, "sara", PASSWORD);
        let record = called(&gateway, &answer).unwrap();
        let status = if outcome == "ok" { 200 } else { 503 };
        assert_eq!((answer.status, record["outcome"].as_str()), (status, Some(outcome)), "{record}");
        assert_eq!(endpoint.asked().is_empty(), outcome != "ok", "a password was sent to a stranger");
        if outcome == "ok" {
            assert_eq!(record["tls"], "TLSv1_3");
            assert!(record["certificate_until"].is_string(), "{record}");
        }
    }
    let endpoint = ours.endpoint("localhost", false, true);
    let (certificate, key) = ours.certify("gateway.example", false);
    let files = [("ca.pem", ours.pem.as_str()), ("gw.pem", &certificate.pem()), ("gw.key", &key.serialize_pem())];
    let realm = format!("url = \"https://localhost:{}/da\"\nca = \"ca.pem\"", endpoint.port);
    let with = format!("{realm}\nclient_certificate = \"gw.pem\"\nclient_key = {{ file = \"gw.key\" }}");
    assert_eq!(try_it(&gateway_with(&with, &files), "sara", PASSWORD).status, 200);
    assert_eq!(try_it(&gateway_with(&realm, &files), "sara", PASSWORD).status, 503);
}

/// A service of somebody else's, which ends with the test.
struct Peer(Child);

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn missing(what: &str) {
    assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{what} is missing");
    println!("SKIPPED: {what} is not installed");
}

pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn peer(mut command: Command, port: u16) -> Peer {
    let peer = Peer(command.stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap());
    wait_for(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
    peer
}

#[test]
fn services_made_with_spyne_and_node_are_understood() {
    let scratch = Scratch::new();
    let description = scratch.write("AuthenticationService.wsdl", &wsdl("http://127.0.0.1/da"));
    let mut services = Vec::new();
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if Command::new(&python).args(["-c", "import spyne"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        let port = free_port();
        let mut command = Command::new(&python);
        command.arg("-W").arg("ignore").arg(data("delegated_spyne.py")).args([&port.to_string(), PASSWORD]);
        services.push((peer(command, port), port, "/"));
    } else {
        missing("spyne");
    }
    if Command::new("node").args(["-e", "require('soap')"]).stderr(Stdio::null()).status().is_ok_and(|status| status.success()) {
        let port = free_port();
        let mut command = Command::new("node");
        command.arg(data("delegated_node.js")).args([&port.to_string(), PASSWORD]).arg(&description);
        services.push((peer(command, port), port, "/da"));
    } else {
        missing("node's soap");
    }
    for (_peer, port, path) in &services {
        let gateway = gateway(&format!("url = \"http://127.0.0.1:{port}{path}\""));
        let answer = try_it(&gateway, "sara", PASSWORD);
        assert_eq!(answer.status, 200, "{path}: {:?}", called(&gateway, &answer));
        let answer = try_it(&gateway, "sara", "wrong");
        assert_eq!((answer.status, called(&gateway, &answer).unwrap()["outcome"].as_str()), (401, Some("denied")));
    }
}

#[test]
fn nobody_delegates_away_the_last_administrator() {
    let endpoint = Endpoint::start(None);
    let gateway = gateway(&endpoint.plain());
    for action in ["disable", "delete"] {
        let output = gateway.command(&["user", action, "root", "--tenant", "north"]);
        assert!(!output.status.success() && String::from_utf8_lossy(&output.stderr).contains("last account"), "{output:?}");
    }
    add(&gateway, "spare", &["--break-glass"]);
    assert!(gateway.command(&["user", "delete", "root", "--tenant", "north"]).status.success());
    // The emergency account stays local while the service is down.
    endpoint.says(http(503, ""));
    assert_eq!(try_it(&gateway, "spare", LOCAL).status, 200);
    assert!(endpoint.asked().is_empty());
}

#[test]
fn what_cannot_be_said_in_xml_or_is_too_long_is_not_asked() {
    let endpoint = Endpoint::start(None);
    let gateway = gateway(&endpoint.plain());
    for password in ["nul \0 inside", "bell \u{7} inside", &"x".repeat(4096)] {
        let refused = try_it(&gateway, "sara", password);
        assert_eq!(refused.status, 401, "{password:.20?}");
    }
    assert!(endpoint.asked().is_empty());
}
