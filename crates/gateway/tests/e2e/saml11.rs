//! SAML 1.1 at the running gateway: as destination site, and as the source site against itself.
//!
//! The messages that each break one rule are those of `corpus/attacks/saml11`; the rules of HTTP and of memory (A1, A7, A8, P1, P14)
//! are held here. Peers have their own file.

pub mod hostile;
mod mutual_tls;
mod old_clients;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::cluster;
use crate::peers::Postgres;
use crate::saml_idp::{PASSWORD, posted, recorded, sign_in};
use crate::support::{Answer, Browser, CONFIG, Gateway, ask, free_port, get};

const PORTAL: &str = "login.north.localhost";
const APP: &str = "app.north.localhost";
const CONSUMER: &str = "/fed/sp/samlv11sso";

pub fn corpus(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(below)
}

pub fn string<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_default()
}

pub fn list<'a>(entry: &'a Value, name: &str) -> Vec<&'a str> {
    entry[name].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The entries of a manifest of these kinds, each with the folder of its file.
pub fn entries(kinds: &[&str]) -> Vec<(PathBuf, Value)> {
    let read = |file: &str| serde_json::from_str::<Value>(&std::fs::read_to_string(corpus(file)).unwrap()).unwrap();
    let (recorded, hostile) = (read("recorded/manifest.json"), read("attacks/saml11/manifest.json"));
    let of = |entries: &Value, folder: &str| -> Vec<(PathBuf, Value)> {
        let fitting = entries.as_array().unwrap().iter().filter(|entry| kinds.contains(&string(entry, "kind")));
        fitting.map(|entry| (corpus(folder).join(string(entry, "file")), entry.clone())).collect()
    };
    let mut all = of(&recorded["entries"], "recorded");
    all.extend(of(&hostile, "attacks/saml11"));
    all
}

/// What a manifest says: `None` for accepted, or the reasons that will do.
pub fn verdict(entry: &Value, with_settings: bool) -> Option<Vec<&str>> {
    if entry["expect"].is_null() {
        let reason = string(entry, "reason");
        return (reason != "accept").then(|| vec![reason]);
    }
    let (verdict, reason) = if with_settings { ("expect", "reason") } else { ("default", "default_reason") };
    let mut reasons = list(entry, "also");
    reasons.extend([string(entry, "reason"), string(entry, reason)]);
    (string(entry, verdict) != "accept").then_some(reasons)
}

#[test]
fn every_message_is_inspected_as_its_manifest_says() {
    let (mut wrong, mut judged) = (Vec::new(), 0);
    for (file, entry) in entries(&["saml11-response", "saml11-answer"]) {
        let recorded = !entry["expect"].is_null();
        for with in if recorded { &[true, false][..] } else { &[true] } {
            let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
            command.args(["saml", "inspect", "--json"]).arg(&file);
            command.args(["--idp-entity-id", string(&entry, "idp_entity_id"), "--idp-cert"]);
            command.arg(corpus("recorded").join(string(&entry, "trust_cert")));
            command.args(["--sp-entity-id", string(&entry, "sp_entity_id"), "--acs-url", string(&entry, "acs_url")]);
            command.args(["--now", string(&entry, "clock")]);
            if string(&entry, "kind") == "saml11-answer" {
                command.args(["--resolved", "_fetch"]);
            }
            for setting in list(&entry, "settings").into_iter().filter(|_| *with) {
                match setting {
                    "saml11" => command.arg("--allow-saml11"),
                    "saml11_without_audience" => command.arg("--saml11-without-audience"),
                    "saml11_channel" => command.arg("--responder-cert").arg(corpus("recorded/keys/server-rsa2048.crt")),
                    other => panic!("{other}"),
                };
            }
            let output = command.output().unwrap();
            let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{file:?}: {output:?}"));
            let (expected, found) = (verdict(&entry, *with), said["reason"].as_str());
            let fine = match (&expected, found) {
                (None, None) => {
                    let name = entry["read"]["name_id"].as_str().unwrap_or("alice@example.org");
                    said["subject"] == name && output.status.code() == Some(0)
                }
                (Some(reasons), Some(found)) => reasons.contains(&found) && output.status.code() == Some(1),
                (_, _) => false,
            };
            if !fine {
                wrong.push(format!("{}: expected {expected:?}, found {found:?}", file.display()));
            }
            judged += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(judged > 100, "{judged}");
}

const SP: &str = "https://destination.example.com/saml11";

/// The metadata of a destination site at this port, with the addresses in this order.
fn destination_metadata(port: u16, bindings: &[&str]) -> String {
    metadata_at(PORTAL, port, bindings)
}

fn metadata_at(host: &str, port: u16, bindings: &[&str]) -> String {
    metadata_naming(&recorded("sp-rsa2048.crt"), host, port, bindings)
}

/// The same, known by this certificate.
fn metadata_naming(certificate: &str, host: &str, port: u16, bindings: &[&str]) -> String {
    let certificate: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
    let acs: String = bindings
        .iter()
        .enumerate()
        .map(|(index, binding)| {
            format!(
                r#"<AssertionConsumerService Binding="urn:oasis:names:tc:SAML:1.0:profiles:{binding}" Location="http://{host}:{port}{CONSUMER}" index="{index}"/>"#
            )
        })
        .collect();
    format!(
        r#"<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{SP}"><SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:1.1:protocol"><KeyDescriptor use="signing"><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{certificate}</X509Certificate></X509Data></KeyInfo></KeyDescriptor>{acs}</SPSSODescriptor></EntityDescriptor>"#
    )
}

/// A source site: the house, whose one service provider is described by these metadata.
pub fn source(template: &str, metadata: &str, more: &str, files: &[(&str, &str)]) -> Gateway {
    let (certificate, key) = (recorded("idp-rsa2048.crt"), recorded("idp-rsa2048.key"));
    let mut all = vec![("idp.crt", certificate.as_str()), ("idp.key", key.as_str()), ("peer.xml", metadata)];
    all.extend(files);
    Gateway::with_files(&source_config(template, more), &all).with_users()
}

fn source_config(template: &str, more: &str) -> String {
    format!(
        "{template}\n[tenant.north.idp]\ncertificate = \"idp.crt\"\nkey = {{ file = \"idp.key\" }}\n\n[service_provider.peer]\ntenant = \"north\"\n\
         metadata = \"peer.xml\"\ntitle = \"The peer\"\nname_id = [\"username\"]\nrelease = {{ uid = \"user\", groups = \"groups\" }}\n\n\
         [[concession]]\nwhat = \"saml11-issued\"\npartner = \"peer\"\nreason = \"a test\"\nexpires = \"2099-01-01\"\n{more}"
    )
}

/// A source site and a destination site that know each other; the profile is the one whose address comes first.
struct Two {
    source: Gateway,
    destination: Gateway,
}

impl Two {
    fn start(bindings: &[&str], more: &str) -> Self {
        let public = free_port();
        let source = source(CONFIG, &destination_metadata(public, bindings), "", &[]);
        let metadata = source.send_to(PORTAL, &get("/saml/idp/metadata")).body;
        assert!(metadata.contains("urn:oasis:names:tc:SAML:1.1:protocol urn:mace:shibboleth:1.0"), "{metadata}");
        let port = source.public;
        let template = include_str!("saml11/destination.toml")
            .replace("{{transfer}}", &format!("http://{PORTAL}:{port}/saml/idp/transfer?providerId={SP}&TARGET=${{TARGET}}"))
            .replace("identity_provider = \"old\"", &format!("identity_provider = \"old\"\nentity_id = \"{SP}\"\nsigning = {{ certificate = \"sp.crt\", key = {{ file = \"sp.key\" }} }}"))
            .replace("{{more}}", more)
            .replace("{{site}}", "");
        let (certificate, key) = (recorded("sp-rsa2048.crt"), recorded("sp-rsa2048.key"));
        let files = [("old.xml", metadata.as_str()), ("sp.crt", &certificate), ("sp.key", &key)];
        Self { destination: Gateway::at(public, &template, &files), source }
    }

    fn page(&self, path: &str) -> String {
        format!("http://{APP}:{}{path}", self.destination.public)
    }

    /// From a page of the application to the source site: the address there.
    fn depart(&self, browser: &mut Browser<'_>, page: &str) -> String {
        let mut answer = browser.load(page);
        for _ in 0..6 {
            let location = answer.header("location").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
            if location.contains("/saml/idp/transfer") {
                return location;
            }
            answer = browser.load(&location);
        }
        panic!("{answer:?}");
    }

    /// Where the source site sends the browser with an artifact, signed in as `user`.
    fn artifact(&self, there: &mut Browser<'_>, transfer: &str, user: &str) -> String {
        let page = sign_in(there, transfer, user, PASSWORD);
        leads_to(&page)
    }

    fn origin(&self) -> String {
        format!("http://{PORTAL}:{}", self.source.public)
    }
}

/// Where a page leads by itself.
pub fn leads_to(page: &Answer) -> String {
    let refresh = page.header("refresh").unwrap_or_else(|| panic!("{page:?}"));
    refresh.split_once("url=").unwrap().1.to_owned()
}

fn fields(page: &BTreeMap<String, String>) -> Vec<(&str, &str)> {
    page.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Why a login was refused, as the audit says.
pub fn reason(gateway: &Gateway, answer: &Answer) -> Value {
    let records = gateway.audit_of(answer);
    let of = |event: &str| records.iter().find(|record| record["event"] == event).map(|record| record["reason"].clone());
    let reason = of("login.rejected").or_else(|| of("request.decided")).filter(|reason| !reason.is_null());
    reason.unwrap_or_else(|| panic!("{records:?}"))
}

#[test]
fn somebody_signs_in_by_post_and_is_at_the_page_they_asked_for() {
    let two = Two::start(&["browser-post", "artifact-01"], "attributes = { uid = \"uid\" }");
    let (mut here, mut there) = (two.destination.browser(), two.source.browser());
    let transfer = two.depart(&mut here, &two.page("/page?x=1"));
    let form = posted(&sign_in(&mut there, &transfer, "ada", PASSWORD));
    assert_eq!(form.keys().collect::<Vec<_>>(), ["SAMLResponse", "TARGET"]);
    let arrived = here.post_from(&two.origin(), PORTAL, CONSUMER, &fields(&form));
    assert_eq!(arrived.status, 303, "{arrived:?} {:?}", two.destination.audit_of(&arrived));
    assert_eq!(here.visit(arrived.header("location").unwrap()).status, 200);
    let received = two.destination.application.last();
    assert_eq!((received.line.as_str(), received.header("x-vestibule-user")), ("GET /page?x=1 HTTP/1.1", Some("ada")));
    // Never twice (P14): in this browser it leads to the page, in another nowhere.
    let again = here.post_from(&two.origin(), PORTAL, CONSUMER, &fields(&form));
    assert_eq!(again.status, 303, "{again:?}");
    let mut other = two.destination.browser();
    let stolen = other.post_from(&two.origin(), PORTAL, CONSUMER, &fields(&form));
    assert_eq!((stolen.status, reason(&two.destination, &stolen)), (403, serde_json::json!({"saml": "wrong_in_response_to"})));
    assert!(!stolen.cookies().contains_key("vestibule"));
}

#[test]
fn somebody_signs_in_by_artifact_and_the_artifact_is_spent() {
    let two = Two::start(&["artifact-01"], "");
    let (mut here, mut there) = (two.destination.browser(), two.source.browser());
    let transfer = two.depart(&mut here, &two.page("/page?x=2"));
    let location = two.artifact(&mut there, &transfer, "ada");
    assert!(location.starts_with(&format!("http://{PORTAL}:{}{CONSUMER}?TARGET=", two.destination.public)), "{location}");
    let (_, artifact) = location.split_once("SAMLart=").unwrap();
    assert!(artifact.starts_with("AA") && location.len() < 2000, "{location}");
    // Another browser, where nobody set out: nothing is resolved, nothing is spent.
    let stolen = two.destination.browser().load(&location);
    assert_eq!((stolen.status, reason(&two.destination, &stolen)), (403, serde_json::json!({"saml": "wrong_in_response_to"})));
    let arrived = here.load(&location);
    assert_eq!(arrived.status, 303, "{arrived:?} {:?} {}", two.destination.audit_of(&arrived), two.source.log());
    assert_eq!(here.visit(arrived.header("location").unwrap()).status, 200);
    assert_eq!(two.destination.application.last().line, "GET /page?x=2 HTTP/1.1");
    // The back button.
    assert_eq!(here.visit(&location).status, 200);
    // Neither log holds what is worth something.
    for gateway in [&two.source, &two.destination] {
        let audit = serde_json::to_string(&gateway.audit()).unwrap();
        assert!(!audit.contains(artifact) && !gateway.log().contains(artifact), "an artifact stands in a log");
    }
}

#[test]
fn an_artifact_that_nobody_set_out_for_leads_to_a_login_that_somebody_did() {
    let two = Two::start(&["artifact-01"], "");
    let (mut here, mut there) = (two.destination.browser(), two.source.browser());
    // The user begins at the source site, at a link with a TARGET of its own.
    let target = percent_encoding::utf8_percent_encode(&two.page("/page?from=there"), percent_encoding::NON_ALPHANUMERIC).to_string();
    let begun = format!("{}/saml/idp/transfer?providerId={SP}&TARGET={target}", two.origin());
    let location = two.artifact(&mut there, &begun, "ada");
    let again = here.load(&location);
    let transfer = again.header("location").unwrap_or_else(|| panic!("{again:?}")).to_owned();
    assert!(transfer.starts_with(&two.origin()), "{transfer}");
    let location = leads_to(&there.visit(&transfer));
    let arrived = here.load(&location);
    assert_eq!(here.visit(arrived.header("location").unwrap()).status, 200);
    assert_eq!(two.destination.application.last().line, "GET /page?from=there HTTP/1.1");
    // A source site that forgets TARGET leads nobody round for ever.
    let mut lost = two.destination.browser();
    let location = leads_to(&there.visit(&begun));
    assert_eq!(lost.load(&location).status, 303);
    let stuck = lost.load(&location);
    assert_eq!(stuck.status, 409, "{stuck:?}");
}

#[test]
fn an_answer_that_nobody_asked_for_comes_from_a_page_of_its_source_site() {
    let origins = |port: u16| format!("unsolicited = true\norigins = [\"http://{PORTAL}:{port}\"]");
    // The port is known once the source site runs; its own default is what everybody gets.
    let strict = Two::start(&["browser-post"], "");
    let open = Two::start(&["browser-post"], &origins(4711));
    for (two, origin, expected) in
        [(&strict, strict.origin(), 403), (&open, open.origin(), 403), (&open, format!("http://{PORTAL}:4711"), 303)]
    {
        let mut there = two.source.browser();
        let begun = format!("{}/saml/idp/transfer?providerId={SP}&TARGET=https%3A%2F%2Fevil.example.net%2F", two.origin());
        let form = posted(&sign_in(&mut there, &begun, "ada", PASSWORD));
        let mut here = two.destination.browser();
        let arrived = here.post_from(&origin, PORTAL, CONSUMER, &fields(&form));
        assert_eq!(arrived.status, expected, "{origin} {arrived:?}");
        if expected == 403 {
            assert_eq!(reason(&two.destination, &arrived), serde_json::json!({"saml": "unsolicited"}));
        } else {
            // TARGET is nobody's address: the start page.
            assert_eq!(arrived.header("location"), Some("/"));
            // P14, where no login is looked for: the same answer again, in another browser.
            let replayed = two.destination.browser().post_from(&origin, PORTAL, CONSUMER, &fields(&form));
            assert_eq!((replayed.status, reason(&two.destination, &replayed)), (403, serde_json::json!("replayed")));
        }
    }
}

/// A1, P1: what is no GET and no POST of a form is no business of the consumer.
#[test]
fn only_forms_and_queries_are_consumed() {
    let two = Two::start(&["browser-post", "artifact-01"], "");
    let send = |ask| two.destination.send_to(PORTAL, &ask);
    for method in ["PUT", "DELETE", "HEAD", "OPTIONS"] {
        assert_eq!(send(ask(method, CONSUMER)).status, 405, "{method}");
    }
    let text = ask("POST", CONSUMER).header("Content-Type", "text/xml").body("<a/>");
    assert_eq!(send(text).status, 415);
    let long = ask("POST", CONSUMER).header("Content-Type", "application/x-www-form-urlencoded").body(vec![b'x'; 600 * 1024]);
    assert_eq!(send(long).status, 413);
    assert_eq!(send(get(CONSUMER)).status, 400);
    // What TARGET names, without a message.
    assert_eq!(send(get("/saml/sp/target?login=x")).status, 303);
}

/// A8: a responder that is not there, and one that is none.
#[test]
fn a_responder_that_does_not_answer_is_an_outage_and_no_login() {
    let mut two = Two::start(&["artifact-01"], "");
    let (mut here, mut there) = (two.destination.browser(), two.source.browser());
    let transfer = two.depart(&mut here, &two.page("/page"));
    let location = two.artifact(&mut there, &transfer, "ada");
    drop(there);
    two.source.kill();
    let arrived = here.load(&location);
    assert_eq!(arrived.status, 503, "{arrived:?}");
    assert!(!arrived.cookies().contains_key("vestibule"));
}

/// What an artifact stands for is given once, whoever asks how often on which node.
#[test]
fn of_a_hundred_requests_for_one_artifact_on_two_nodes_one_is_answered() {
    let Some(postgres) = Postgres::start() else { return };
    let template = cluster::over(postgres.port, None);
    let metadata = destination_metadata(free_port(), &["artifact-01"]);
    let unproven =
        "\n[[concession]]\nwhat = \"saml11-unproven-artifacts\"\npartner = \"peer\"\nreason = \"a test\"\nexpires = \"2099-01-01\"\n";
    let one = source(&template, &metadata, unproven, &cluster::FILES);
    let (certificate, key) = (recorded("idp-rsa2048.crt"), recorded("idp-rsa2048.key"));
    let mut files = vec![("idp.crt", certificate.as_str()), ("idp.key", key.as_str()), ("peer.xml", metadata.as_str())];
    files.extend(cluster::FILES);
    let other = one.beside(&source_config(&template, unproven), &files);
    let mut browser = one.browser();
    let begun = format!("http://{PORTAL}:{}/saml/idp/transfer?providerId={SP}&TARGET=https%3A%2F%2Fa.example.com%2F", one.public);
    let location = leads_to(&sign_in(&mut browser, &begun, "ada", PASSWORD));
    let artifact = url::Url::parse(&location).unwrap().query_pairs().find(|(name, _)| name == "SAMLart").unwrap().1.into_owned();
    #[expect(clippy::disallowed_methods, reason = "the gateway knows no other time than the present")]
    let now = jiff::Timestamp::now();
    let envelope = format!(
        r#"<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><samlp:Request xmlns:samlp="urn:oasis:names:tc:SAML:1.0:protocol" MajorVersion="1" MinorVersion="1" RequestID="_fetch" IssueInstant="{now}"><samlp:AssertionArtifact>{artifact}</samlp:AssertionArtifact></samlp:Request></S:Body></S:Envelope>"#
    );
    let question = ask("POST", "/saml/idp/responder").header("Content-Type", "text/xml").body(envelope);
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..100)
            .map(|count| {
                let (node, question) = (if count % 2 == 0 { &one } else { &other }, &question);
                scope.spawn(move || node.send_to(PORTAL, question))
            })
            .collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| answer.status == 200 && answer.body.contains("InResponseTo=\"_fetch\"")), "{answers:?}");
    let won = answers.iter().filter(|answer| answer.body.contains("<saml:Assertion ")).count();
    assert_eq!(won, 1);
}

/// Who asks has to be whom it was made for.
#[test]
fn an_artifact_is_resolved_for_its_service_provider_only() {
    let two = Two::start(&["artifact-01"], "");
    let (mut here, mut there) = (two.destination.browser(), two.source.browser());
    let transfer = two.depart(&mut here, &two.page("/page"));
    let location = two.artifact(&mut there, &transfer, "ada");
    let artifact = url::Url::parse(&location).unwrap().query_pairs().find(|(name, _)| name == "SAMLart").unwrap().1.into_owned();
    #[expect(clippy::disallowed_methods, reason = "the gateway knows no other time than the present")]
    let now = jiff::Timestamp::now();
    let question = |artifact: &str| {
        let envelope = format!(
            r#"<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><samlp:Request xmlns:samlp="urn:oasis:names:tc:SAML:1.0:protocol" MajorVersion="1" MinorVersion="1" RequestID="_fetch" IssueInstant="{now}"><samlp:AssertionArtifact>{artifact}</samlp:AssertionArtifact></samlp:Request></S:Body></S:Envelope>"#
        );
        two.source.send_to(PORTAL, &ask("POST", "/saml/idp/responder").header("Content-Type", "text/xml").body(envelope))
    };
    let unsigned = question(&artifact);
    assert_eq!(unsigned.status, 403, "{unsigned:?}");
    assert!(unsigned.body.contains("Fault") && !unsigned.body.contains("Assertion "), "{unsigned:?}");
    // One that was never made is answered with nothing.
    let unknown = question("AAH0ZacAeWjRBmSbmtlpmN6U9oMk7BAREhMUFRYXGBkaGxwdHh8gISIj");
    assert!(unknown.status == 200 && unknown.body.contains("samlp:Success") && !unknown.body.contains("Assertion "), "{unknown:?}");
    // Asking wrongly spent nothing.
    let arrived = here.load(&location);
    assert_eq!(arrived.status, 303, "{arrived:?}");
}

/// Where an answer goes is what is registered; what a link says is looked up, not followed.
#[test]
fn the_transfer_service_sends_nobody_elsewhere() {
    let two = Two::start(&["browser-post"], "");
    let send = |query: &str| two.source.send_to(PORTAL, &get(&format!("/saml/idp/transfer?{query}")));
    for query in [
        "TARGET=x".to_owned(),
        format!("providerId={SP}"),
        format!("providerId={SP}&TARGET="),
        format!("providerId={SP}&TARGET=x&target=y"),
        format!("providerId={SP}&providerId={SP}&TARGET=x"),
        "providerId=https://other.example.com&TARGET=x".to_owned(),
        format!("providerId={SP}&TARGET=x&shire=https://evil.example.net/acs"),
        format!("providerId={SP}&TARGET={}", "x".repeat(1001)),
        format!("providerId={SP}&TARGET=x%0D%0Ay"),
    ] {
        let answer = send(&query);
        assert_eq!(answer.status, 400, "{query} {answer:?}");
    }
    assert_eq!(two.source.send_to(PORTAL, &ask("POST", "/saml/idp/transfer").form(&[("TARGET", "x")])).status, 405);
    assert_eq!(two.source.send_to(PORTAL, &get("/saml/idp/responder")).status, 405);
}
