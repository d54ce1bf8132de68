//! What comes back for an artifact, from a scripted responder behind TLS: held to every check, and, by concession, believed unsigned
//! where the channel shows the pinned key.

use std::io::Write as _;
use std::sync::{Arc, Mutex};

use serde_json::json;
use vestibule_saml::binding::{Artifact, Redirect};
use vestibule_saml::protocol::AuthnRequest;

use super::{CONFIG, ORIGIN, PORTAL, depart, page, reason, text};
use crate::support::{Answer, Gateway};

const IDP: &str = "https://idp.example.org/channel";

/// Says what a test wants said, to whoever asks.
struct Responder {
    port: u16,
    certificate: String,
    script: Arc<Mutex<Script>>,
}

/// What is said, with a status; the id of the question stands for `{{question}}`.
#[derive(Clone)]
struct Script {
    status: u16,
    body: String,
}

impl Responder {
    fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = Arc::new(config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = Arc::new(Mutex::new(Script { status: 200, body: String::new() }));
        let said = script.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (Ok(mut stream), Ok(mut connection)) = (stream, rustls::ServerConnection::new(config.clone())) else { continue };
                let mut tls = rustls::Stream::new(&mut connection, &mut stream);
                let question = whole(&mut tls);
                let Script { status, body } = said.lock().unwrap().clone();
                let id = question.split("ID=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
                let body = body.replace("{{question}}", id);
                let head =
                    format!("HTTP/1.1 {status} x\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                // Whoever hangs up has heard enough.
                let _ = tls.write_all(head.as_bytes()).and_then(|()| tls.write_all(body.as_bytes())).and_then(|()| tls.flush());
                connection.send_close_notify();
                let _ = connection.write_tls(&mut stream);
            }
        });
        Self { port, certificate: made.cert.pem(), script }
    }

    fn says(&self, status: u16, body: String) {
        *self.script.lock().unwrap() = Script { status, body };
    }

    fn metadata(&self) -> String {
        let body: String = text("keys/idp-rsa2048.crt").lines().filter(|line| !line.starts_with("-----")).collect();
        format!(
            r#"<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{IDP}"><IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{body}</X509Certificate></X509Data></KeyInfo></KeyDescriptor><ArtifactResolutionService index="0" Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="https://localhost:{}/resolve"/><SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="{ORIGIN}/channel/sso"/></IDPSSODescriptor></EntityDescriptor>"#,
            self.port
        )
    }
}

/// A request with all its body.
fn whole(stream: &mut impl std::io::Read) -> String {
    let mut octets = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        let text = String::from_utf8_lossy(&octets).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length =
                head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok()).unwrap_or(0);
            if body.len() >= length {
                return text;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return text,
            Ok(read) => octets.extend_from_slice(&buffer[..read]),
        }
    }
}

/// A gateway that resolves artifacts there; `pinned` is the certificate whose key vouches for what nobody signed.
fn house(responder: &Responder, pinned: Option<&str>) -> Gateway {
    let mut config = CONFIG.replace("{{names}}", "\"corp\"");
    config.push_str("\n[identity_provider.corp]\nmetadata = \"corp.xml\"\nanswers = \"artifact\"\nca = \"ca.pem\"\n");
    if pinned.is_some() {
        config.push_str("channel = \"channel.pem\"\n\n[[concession]]\nwhat = \"saml-channel\"\npartner = \"corp\"\nreason = \"it signs nothing\"\nexpires = \"9999-12-31\"\n");
    }
    let (certificate, key, metadata) = (text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"), responder.metadata());
    let files = [
        ("corp.xml", metadata.as_str()),
        ("ca.pem", &responder.certificate),
        ("channel.pem", pinned.unwrap_or_default()),
        ("sp.crt", &certificate),
        ("sp.key", &key),
    ];
    let gateway = Gateway::with_files(&config, &files).with_users();
    let linked = gateway.command(&["user", "link", "ada", "--tenant", "north", "--issuer", &format!("saml:{IDP}"), "--id", "ada-there"]);
    assert!(linked.status.success(), "{linked:?}");
    gateway
}

/// An answer that nobody signed.
fn answer(gateway: &Gateway, request: &str) -> String {
    let portal = format!("http://{PORTAL}:{}", gateway.public);
    let now = crate::saml_idp::now();
    let instant = |seconds: i64| (now + jiff::SignedDuration::from_secs(seconds)).strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (now, end) = (instant(0), instant(120));
    let success = "<samlp:Status><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/></samlp:Status>";
    format!(
        r#"<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><samlp:ArtifactResponse xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_a" Version="2.0" IssueInstant="{now}" InResponseTo="{{{{question}}}}"><saml:Issuer>{IDP}</saml:Issuer>{success}<samlp:Response ID="_r" Version="2.0" IssueInstant="{now}" Destination="{portal}/saml/sp/acs" InResponseTo="{request}"><saml:Issuer>{IDP}</saml:Issuer>{success}<saml:Assertion ID="_s{request}" Version="2.0" IssueInstant="{now}"><saml:Issuer>{IDP}</saml:Issuer><saml:Subject><saml:NameID>ada-there</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="{end}" Recipient="{portal}/saml/sp/acs" InResponseTo="{request}"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{now}" NotOnOrAfter="{end}"><saml:AudienceRestriction><saml:Audience>{portal}/saml/sp/metadata</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="{now}"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement></saml:Assertion></samlp:Response></samlp:ArtifactResponse></S:Body></S:Envelope>"#
    )
}

/// Begins a login, has `change` of the answer said for its artifact, and brings that.
fn bring(gateway: &Gateway, responder: &Responder, status: u16, change: impl FnOnce(String) -> String) -> Answer {
    let mut browser = gateway.browser();
    let away = depart(&mut browser, &page(gateway, "/page"));
    let query = Redirect::read(away.split_once('?').unwrap().1).unwrap();
    let request = query.claim::<AuthnRequest>().unwrap().sender_says().header.id.clone();
    responder.says(status, change(answer(gateway, &request)));
    let artifact = Artifact::Saml20 { endpoint_index: 0, source_id: Artifact::source_id_of(IDP), handle: [9; 20] };
    let artifact = artifact.to_base64().replace('+', "%2B");
    let state = query.relay_state.as_ref().unwrap().as_str().to_owned();
    browser.load(&format!("http://{PORTAL}:{}/saml/sp/acs?SAMLart={artifact}&RelayState={state}", gateway.public))
}

#[test]
fn an_answer_that_nobody_signed_counts_over_the_pinned_channel_only() {
    let responder = Responder::start();
    let pinned = house(&responder, Some(&responder.certificate));
    assert_eq!(bring(&pinned, &responder, 200, |answer| answer).status, 303);
    for (from, to, expected) in [
        ("{{question}}", "_of-another", "wrong_in_response_to"),
        (
            "<saml:Issuer>https://idp.example.org/channel</saml:Issuer><samlp:Status",
            "<saml:Issuer>https://idp.example.org/other</saml:Issuer><samlp:Status",
            "wrong_issuer",
        ),
        ("/saml/sp/metadata</saml:Audience>", "/saml/sp/other</saml:Audience>", "wrong_audience"),
        ("/saml/sp/acs\" InResponseTo", "/saml/sp/elsewhere\" InResponseTo", "wrong_destination"),
        ("<saml:NameID>", "<!DOCTYPE x><saml:NameID>", "dtd"),
        ("status:Success", "status:Responder", "status_not_success"),
    ] {
        let refused = bring(&pinned, &responder, 200, |answer| answer.replacen(from, to, 1));
        assert_eq!((refused.status, reason(&pinned, &refused).0), (403, json!({"saml": expected})), "{from}");
    }
    // What no partner would say costs a bounded time, and is nobody's fault who sits before the browser.
    for (status, body) in [(500, "<fault/>".to_owned()), (200, "A".repeat(2 << 20))] {
        let down = bring(&pinned, &responder, status, |_| body);
        assert_eq!(down.status, 503, "{down:?}");
        assert!(down.body.contains("Signing in is not possible right now"));
    }

    let unpinned = house(&responder, None);
    let refused = bring(&unpinned, &responder, 200, |answer| answer);
    assert_eq!((refused.status, reason(&unpinned, &refused).0), (403, json!({"saml": "signature_missing"})));
    // Another key than the pinned one: the authority vouches for the host, and for nothing else.
    let other = house(&responder, Some(&text("keys/idp-rsa4096.crt")));
    let refused = bring(&other, &responder, 200, |answer| answer);
    assert_eq!((refused.status, reason(&other, &refused).0), (403, json!({"saml": "signature_missing"})));
}

/// The artifacts of the corpus, which were recorded for another question: whoever signed them, they are no answer to ours.
#[test]
fn recorded_and_hostile_resolutions_open_nothing() {
    let responder = Responder::start();
    let gateway = house(&responder, Some(&responder.certificate));
    let folder = super::corpus("../attacks/saml");
    let manifest: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap();
    let mut seen = 0;
    for entry in manifest.iter().filter(|entry| entry["kind"] != "form" && entry["kind"] != "metadata") {
        let octets = std::fs::read(folder.join(entry["file"].as_str().unwrap())).unwrap();
        let Ok(body) = String::from_utf8(octets) else { continue };
        let refused = bring(&gateway, &responder, 200, |_| body);
        assert!(matches!(refused.status, 403 | 503), "{}: {refused:?}", entry["file"]);
        assert!(!refused.cookies().contains_key("vestibule"), "{}", entry["file"]);
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
}
