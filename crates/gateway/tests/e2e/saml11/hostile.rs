//! Every recorded and hostile message of SAML 1.1 at the consumer of a running gateway, at the time for which it was made (libfaketime).
//! What stands for an artifact is answered by a responder of the test, as the manifest's file says.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use vestibule_saml::binding::Artifact;

use super::old_clients::with_services;
use super::{corpus, entries, list, string, verdict};
use crate::support::{Answer, Ask, Gateway, Scratch, ask, get};

const HOST: &str = "gw.example.com";
const ORIGIN: &str = "https://idp.example.org";
const IDP: &str = "https://idp.example.org/saml11";
const CLOCK: &str = "2026-03-01 12:01:00";
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// Where an old client is on its way to.
const SERVICES: &str = "/Services/Integration?command=ssologin&ssoid=north-sso";

/// Messages in which nobody says who they are.
const NAMELESS: [&str; 2] = ["x24_response11_status.xml", "post-no-issuer.xml"];

/// Answers every question with the same octets.
struct Responder {
    address: SocketAddr,
    says: Arc<Mutex<Vec<u8>>>,
    /// Its certificate for `localhost`, and its authority's.
    certificates: Scratch,
}

impl Responder {
    fn start(tls: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let responder = Self { address: listener.local_addr().unwrap(), says: Arc::default(), certificates: Scratch::new() };
        crate::peers::certificates(responder.certificates.path());
        let says = responder.says.clone();
        let config = tls.then(|| server_tls(&responder));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let octets = says.lock().unwrap().clone();
                let answer = |question: &str| {
                    assert!(question.contains("<samlp:AssertionArtifact>AAH0"), "{question}");
                    octets
                };
                match &config {
                    None => drop(serve(stream, answer)),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config.clone()).unwrap();
                        drop(serve(rustls::StreamOwned::new(connection, stream), answer));
                    }
                }
            }
        });
        responder
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.certificates.path().join(name)).unwrap()
    }

    fn location(&self, tls: bool) -> String {
        let scheme = if tls { "https://localhost" } else { "http://127.0.0.1" };
        format!("{scheme}:{}/responder", self.address.port())
    }
}

fn server_tls(responder: &Responder) -> Arc<rustls::ServerConfig> {
    use rustls::pki_types::pem::PemObject as _;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let chain = CertificateDer::pem_slice_iter(responder.text("server.pem").as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(responder.text("server.key").as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// Answers one question over SOAP.
pub fn serve(stream: impl std::io::Read + Write, answer: impl FnOnce(&str) -> Vec<u8>) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let says = answer(&String::from_utf8(body).unwrap());
    let status = if says.windows(7).any(|part| part == b"S:Fault") { "500 Internal Server Error" } else { "200 OK" };
    let stream = reader.get_mut();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", says.len())?;
    stream.write_all(&says)?;
    stream.flush()
}

struct House {
    gateway: Gateway,
    responder: Responder,
    consumer: String,
    fetched: std::cell::Cell<u8>,
}

impl House {
    fn start(settings: &[&str], consumer: &str, certificate: &str) -> Self {
        Self::with(str::to_owned, settings, consumer, certificate)
    }

    fn with(more: impl Fn(&str) -> String, settings: &[&str], consumer: &str, certificate: &str) -> Self {
        let tls = settings.contains(&"saml11_channel");
        let responder = Responder::start(tls);
        let mut site = String::new();
        if settings.contains(&"saml11") {
            site.push_str("[identity_provider.recorded.saml11]\ntransfer = \"https://idp.example.org/its?TARGET=${TARGET}\"\n");
            if tls {
                site.push_str("ca = \"ca.crt\"\nresponder_certificate = \"server.crt\"\n");
            }
            let words = [Some("saml11"), settings.contains(&"saml11_without_audience").then_some("saml11-without-audience")];
            for word in words.into_iter().flatten() {
                site.push_str(&format!(
                    "[[concession]]\nwhat = \"{word}\"\npartner = \"recorded\"\nreason = \"recorded so\"\nexpires = \"2026-12-31\"\n"
                ));
            }
        }
        // Without SAML 1.1 there is no consumer for it: what comes, comes to the other one.
        let consumer = if settings.is_empty() { "/saml/sp/acs" } else { consumer };
        let config = include_str!("recorded.toml")
            .replace("{{site}}", &site)
            .replace("{{consumer}}", if settings.is_empty() { "/fed/sp/samlv11sso" } else { consumer })
            .replace("{{aliases}}", "");
        let pem = std::fs::read_to_string(corpus("recorded").join(certificate)).unwrap();
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let metadata = format!(
            r#"<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{IDP}"><IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:1.1:protocol"><KeyDescriptor><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{body}</X509Certificate></X509Data></KeyInfo></KeyDescriptor><ArtifactResolutionService Binding="urn:oasis:names:tc:SAML:1.0:bindings:SOAP-binding" Location="{}" index="0"/><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example.org/saml/sso"/></IDPSSODescriptor></EntityDescriptor>"#,
            responder.location(tls)
        );
        let (ca, server) = (responder.text("ca.pem"), responder.text("server.pem"));
        let files = [("recorded.xml", metadata.as_str()), ("ca.crt", ca.as_str()), ("server.crt", server.as_str())];
        let clock = [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("FAKETIME", format!("@{CLOCK}")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        let gateway = Gateway::at_time(&more(&config), &files, &clock);
        Self { gateway, responder, consumer: consumer.to_owned(), fetched: std::cell::Cell::new(0) }
    }

    fn send(&self, ask: Ask) -> Answer {
        let ask = ask.browser().header("X-Forwarded-Proto", "https").header("X-Forwarded-For", "192.0.2.7");
        self.gateway.send_to(HOST, &ask)
    }

    /// Brings a message as a browser would. Gives the reason of the refusal, if it is refused.
    fn bring(&self, file: &Path, entry: &Value) -> Option<String> {
        let octets = std::fs::read(file).unwrap();
        let post = || ask("POST", &self.consumer).header("Origin", ORIGIN).header("Sec-Fetch-Site", "cross-site");
        let name = file.display().to_string();
        let answer = match string(entry, "kind") {
            "saml11-response" => {
                self.send(post().form(&[("SAMLResponse", &STANDARD.encode(&octets)), ("TARGET", "https://app.example.com/page")]))
            }
            "saml11-form" => self.send(post().header("Content-Type", "application/x-www-form-urlencoded").body(octets)),
            "saml11-query" => {
                let answer = self.send(get(&format!("{}?{}", self.consumer, String::from_utf8(octets).unwrap())));
                // A good one that nobody set out for leads to the source site, and is not resolved.
                if answer
                    .header("location")
                    .is_some_and(|location| location.starts_with("https://idp.example.org/its?TARGET=https%3A%2F%2Fgw"))
                {
                    return None;
                }
                answer
            }
            "saml11-answer" => self.fetch(octets),
            other => panic!("{other}"),
        };
        match answer.status {
            303 => {
                assert!(answer.cookies().contains_key("__Host-vestibule"), "{name}: {answer:?}");
                // P15: elsewhere is nowhere.
                let location = answer.header("location").unwrap();
                assert!(location.starts_with('/') || location.starts_with("https://app.example.com/"), "{name}: {answer:?}");
                None
            }
            400 | 403 => Some(self.reason(&name, &answer)),
            _ => panic!("{name}: {answer:?} {}", self.gateway.log()),
        }
    }

    /// Brings a message as a program of old would, on its way to the services.
    fn bring_as_program(&self, file: &Path, entry: &Value) -> Option<String> {
        const PAGE: &str = "https%3A%2F%2Fapp.example.com%2Fpage";
        let octets = std::fs::read(file).unwrap();
        let services = percent_encoding::utf8_percent_encode(SERVICES, percent_encoding::NON_ALPHANUMERIC).to_string();
        let onward = |octets: Vec<u8>| String::from_utf8(octets).unwrap().replacen(PAGE, &services, 1);
        let ask = match string(entry, "kind") {
            "saml11-response" => ask("POST", &self.consumer).form(&[("SAMLResponse", &STANDARD.encode(&octets)), ("TARGET", SERVICES)]),
            "saml11-form" => ask("POST", &self.consumer).header("Content-Type", "application/x-www-form-urlencoded").body(onward(octets)),
            "saml11-query" => get(&format!("{}?{}", self.consumer, onward(octets))),
            "saml11-answer" => {
                *self.responder.says.lock().unwrap() = octets;
                get(&format!("{}?TARGET={services}&SAMLart={}", self.consumer, self.artifact()))
            }
            other => panic!("{other}"),
        };
        let ask = ask.header("X-Forwarded-Proto", "https").header("X-Forwarded-For", "192.0.2.7");
        let (name, answer) = (file.display().to_string(), self.gateway.send_to("app.example.com", &ask));
        match answer.status {
            302 => {
                let location = answer.header("location").unwrap();
                assert!(location.contains("odSsoTokenG=") && location.contains("/Services/Integration?"), "{name}: {location}");
                None
            }
            400 | 403 => {
                assert!(answer.header("location").is_none() && !answer.body.contains("odSsoToken"), "{name}: {answer:?}");
                Some(self.reason(&name, &answer))
            }
            _ => panic!("{name}: {answer:?} {}", self.gateway.log()),
        }
    }

    /// An artifact that nobody has seen.
    fn artifact(&self) -> String {
        self.fetched.set(self.fetched.get() + 1);
        let artifact = Artifact::Saml11 { source_id: Artifact::source_id_of(IDP), handle: [self.fetched.get(); 20] };
        artifact.to_base64().replace('+', "%2B")
    }

    /// Sets out, comes back with an artifact that nobody has seen, and has the responder say this.
    fn fetch(&self, says: Vec<u8>) -> Answer {
        *self.responder.says.lock().unwrap() = says;
        let leaving = self.send(get("/login"));
        let location = leaving.header("location").unwrap_or_else(|| panic!("{leaving:?} {}", self.gateway.log()));
        let (_, target) = location.split_once("TARGET=").unwrap();
        let (name, cookie) = leaving.cookies().into_iter().find(|(name, _)| name.starts_with("__Host-vestibule-login")).unwrap();
        self.send(get(&format!("{}?TARGET={target}&SAMLart={}", self.consumer, self.artifact())).cookie(&name, &cookie))
    }

    fn reason(&self, name: &str, answer: &Answer) -> String {
        assert!(!answer.cookies().contains_key("__Host-vestibule"), "{name}: {answer:?}");
        match super::reason(&self.gateway, answer) {
            Value::Object(saml) => saml["saml"].as_str().unwrap().to_owned(),
            // The claimed issuer, or the artifact, chooses whom it is held against.
            reason if reason == "unknown_partner" => "wrong_issuer".to_owned(),
            reason => reason.as_str().unwrap().to_owned(),
        }
    }
}

#[test]
fn every_message_meets_the_running_gateway_as_its_manifest_says() {
    if !Path::new(LIBRARY).exists() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "libfaketime is missing");
        println!("SKIPPED: libfaketime is not installed");
        return;
    }
    let mut houses: BTreeMap<String, House> = BTreeMap::new();
    let (mut wrong, mut accepted, mut refused) = (Vec::new(), 0, 0);
    for (file, entry) in entries(&["saml11-response", "saml11-form", "saml11-query", "saml11-answer"]) {
        let recorded = !entry["expect"].is_null();
        for with in if recorded { &[true, false][..] } else { &[true] } {
            let settings = if *with { list(&entry, "settings") } else { Vec::new() };
            let consumer = string(&entry, "acs_url").strip_prefix("https://gw.example.com").unwrap();
            let start = || House::start(&settings, consumer, string(&entry, "trust_cert"));
            let expected = verdict(&entry, *with);
            let found = match &expected {
                // What is accepted is spent, and its like with it.
                None => start().bring(&file, &entry),
                Some(_) => houses
                    .entry(format!("{settings:?} {consumer} {}", string(&entry, "trust_cert")))
                    .or_insert_with(start)
                    .bring(&file, &entry),
            };
            match (&expected, &found) {
                (None, None) => accepted += 1,
                // These name no issuer at all: nobody is there to hold them against.
                (Some(_), Some(found)) if found == "wrong_issuer" && NAMELESS.iter().any(|name| file.ends_with(name)) => refused += 1,
                (Some(reasons), Some(found)) if reasons.contains(&found.as_str()) => refused += 1,
                (_, _) => wrong.push(format!("{} {settings:?}: expected {expected:?}, found {found:?}", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted >= 15 && refused >= 100, "{accepted} {refused}");
}

/// The same at the door of programs, on the application's host: no browser, no login that was begun, and the way on to the services.
#[test]
fn every_message_meets_the_door_of_programs_as_its_manifest_says() {
    if !Path::new(LIBRARY).exists() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "libfaketime is missing");
        println!("SKIPPED: libfaketime is not installed");
        return;
    }
    let mut houses: BTreeMap<String, House> = BTreeMap::new();
    let (mut wrong, mut accepted, mut refused) = (Vec::new(), 0, 0);
    for (file, entry) in entries(&["saml11-response", "saml11-form", "saml11-query", "saml11-answer"]) {
        let (settings, certificate) = (list(&entry, "settings"), string(&entry, "trust_cert"));
        // Without SAML 1.1 this is no address of ours.
        if settings.is_empty() {
            continue;
        }
        let consumer = string(&entry, "acs_url").strip_prefix("https://gw.example.com").unwrap();
        let services = |template: &str| with_services(template, "https://idp.example.org/its?TARGET=${TARGET}");
        let start = || House::with(services, &settings, consumer, certificate);
        let name = file.file_name().unwrap().to_str().unwrap();
        let expected = match name {
            // What a browser is let in without, is elsewhere to a program; and an artifact of SAML 2.0 has no TARGET at all.
            "form-target-elsewhere.form" | "form-target-script.form" | "query-type-4.query" => Some(vec!["unsupported"]),
            _ => verdict(&entry, true),
        };
        let found = match &expected {
            None => {
                let house = start();
                *house.responder.says.lock().unwrap() = std::fs::read(corpus("attacks/saml11/answer-good.xml")).unwrap();
                house.bring_as_program(&file, &entry)
            }
            Some(_) => houses.entry(format!("{settings:?} {consumer} {certificate}")).or_insert_with(start).bring_as_program(&file, &entry),
        };
        match (&expected, &found) {
            (None, None) => accepted += 1,
            (Some(_), Some(found)) if found == "wrong_issuer" && NAMELESS.contains(&name) => refused += 1,
            (Some(reasons), Some(found)) if reasons.contains(&found.as_str()) => refused += 1,
            (_, _) => wrong.push(format!("{name} {settings:?}: expected {expected:?}, found {found:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(accepted >= 10 && refused >= 100, "{accepted} {refused}");
}

/// Every hostile file of both corpora at the doors of the source site: the responder is no oracle, the transfer service leads nowhere.
#[test]
fn hostile_messages_get_nothing_from_the_source_site() {
    let source = super::source(crate::support::CONFIG, &super::destination_metadata(super::free_port(), &["artifact-01"]), "", &[]);
    let mut browser = source.browser();
    let begun = format!("http://{}:{}/saml/idp/transfer?providerId={}&TARGET=x", super::PORTAL, source.public, super::SP);
    let location = super::leads_to(&super::sign_in(&mut browser, &begun, "ada", super::PASSWORD));
    assert!(location.contains("SAMLart="), "{location}");
    let session = browser.cookie(super::PORTAL, "vestibule").unwrap();
    let encode = |octets: &[u8]| percent_encoding::percent_encode(octets, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut seen = 0;
    for family in ["saml", "saml11"] {
        for entry in std::fs::read_dir(corpus("attacks").join(family)).unwrap() {
            let path = entry.unwrap().path();
            let octets = std::fs::read(&path).unwrap();
            let responder = |body: Vec<u8>| ask("POST", "/saml/idp/responder").header("Content-Type", "text/xml").body(body);
            let envelope =
                [&b"<S:Envelope xmlns:S=\"http://schemas.xmlsoap.org/soap/envelope/\"><S:Body>"[..], &octets, b"</S:Body></S:Envelope>"];
            let mut asks = vec![responder(octets.clone()), responder(envelope.concat())];
            let transfer = |query: String| get(&format!("/saml/idp/transfer?{query}")).browser().cookie("vestibule", &session);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("form" | "query") => asks.push(transfer(String::from_utf8(octets.clone()).unwrap().trim().to_owned())),
                Some("xml") => {
                    asks.push(transfer(format!("providerId={}&TARGET={}", super::SP, encode(octets.get(..4096).unwrap_or(&octets)))));
                    asks.push(transfer(format!("providerId={}&TARGET=x", encode(octets.get(..4096).unwrap_or(&octets)))));
                }
                Some(_) | None => continue,
            }
            for (door, ask) in asks.iter().enumerate() {
                let answer = source.send_to(super::PORTAL, ask);
                let fault = door < 2 && answer.status == 500 && answer.body.contains("Fault>");
                // TARGET is the destination's own affair: a short one is carried, to the registered address.
                let carried = door == 2 && answer.header("location").is_some_and(|location| location.starts_with("/saml/idp/continue?"));
                let refused = (400..500).contains(&answer.status) && answer.header("location").is_none();
                assert!(fault || carried || refused, "{} at door {door}: {answer:?}", path.display());
                assert!(!answer.body.contains("Assertion "), "{}: {answer:?}", path.display());
                if !carried && answer.header("x-vestibule-id").is_some() {
                    let records = source.audit_of(&answer);
                    let decided = records.iter().find(|record| record["event"] == "request.decided").unwrap();
                    assert!(!decided["reason"].is_null(), "{}: {records:?}", path.display());
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 900, "only {seen} messages");
    // And whoever is signed in is signed in still.
    let again = super::leads_to(&browser.visit(&begun));
    assert!(again.contains("SAMLart="), "{again}");
}

/// One artifact, brought a hundred times at once by the browser it belongs to: resolved once, and one session.
#[test]
fn of_a_hundred_deliveries_of_one_artifact_one_signs_in() {
    if !Path::new(LIBRARY).exists() {
        return;
    }
    let house = House::start(&["saml11"], "/fed/sp/samlv11sso", "keys/idp-rsa2048.crt");
    *house.responder.says.lock().unwrap() = std::fs::read(corpus("attacks/saml11/answer-good.xml")).unwrap();
    let leaving = house.send(get("/login"));
    let (_, target) = leaving.header("location").unwrap().split_once("TARGET=").unwrap();
    let (name, cookie) = leaving.cookies().into_iter().find(|(name, _)| name.starts_with("__Host-vestibule-login")).unwrap();
    let artifact = Artifact::Saml11 { source_id: Artifact::source_id_of(IDP), handle: [9; 20] }.to_base64().replace('+', "%2B");
    let path = format!("/fed/sp/samlv11sso?TARGET={target}&SAMLart={artifact}");
    let (gateway, name, cookie, path) = (&house.gateway, &name, &cookie, &path);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let one = || {
            let bring =
                get(path).browser().header("X-Forwarded-Proto", "https").header("X-Forwarded-For", "192.0.2.7").cookie(name, cookie);
            gateway.send_to(HOST, &bring)
        };
        let all: Vec<_> = (0..100).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|one| one.join().unwrap()).collect()
    });
    let entered: Vec<&Answer> = answers.iter().filter(|answer| answer.cookies().contains_key("__Host-vestibule")).collect();
    assert_eq!(entered.len(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 403).count(), 99);
    let stream = TcpStream::connect(house.responder.address);
    assert!(stream.is_ok(), "the responder is there still");
}
