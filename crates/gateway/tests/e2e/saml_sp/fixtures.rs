//! Every recorded SAML 2.0 response, through `vestibule saml inspect` and through the assertion consumer of a running gateway
//! at the time for which it was recorded (libfaketime).
//!
//! A recorded response answers a request that was sent then. The browser that brings it holds a cookie of that journey, sealed
//! as the gateway would have sealed it: the test knows the installation's key-encryption key.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use vestibule_engine::store::digest;
use vestibule_saml::binding::Artifact;

use super::{corpus, text};
use crate::support::{Answer, Ask, Gateway, ask};

const HOST: &str = "gw.example.com";
const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const ORIGIN: &str = "https://idp.example.org";
/// The installation's key-encryption key.
const KEK: [u8; 32] = *b"0123456789abcdef0123456789abcdef";
/// The time of all recorded responses.
const CLOCK: &str = "2026-03-01 12:01:00";
const LIBRARY: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

fn responses() -> Vec<Value> {
    let manifest: Value = serde_json::from_str(&text("manifest.json")).unwrap();
    let entries = manifest["entries"].as_array().unwrap();
    entries.iter().filter(|entry| entry["kind"] == "saml20-response").cloned().collect()
}

fn string<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_default()
}

fn settings(entry: &Value) -> Vec<String> {
    entry["settings"].as_array().into_iter().flatten().map(|name| name.as_str().unwrap().to_owned()).collect()
}

/// Verdict and reasons with an entry's settings, or without.
fn expected(entry: &Value, with: bool) -> (&str, Vec<&str>) {
    let mut reasons: Vec<&str> = entry["also"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    reasons.extend(entry["reason"].as_str());
    if !with {
        reasons.extend(entry["default_reason"].as_str());
    }
    (string(entry, if with { "expect" } else { "default" }), reasons)
}

fn compare(file: &str, (verdict, reasons): &(&str, Vec<&str>), found: Option<&str>) -> Option<String> {
    match (*verdict, found) {
        ("accept", None) => None,
        ("reject", Some(reason)) if reasons.contains(&reason) => None,
        (verdict, found) => Some(format!("{file}: expected {verdict} {reasons:?}, found {found:?}")),
    }
}

#[test]
fn every_recorded_response_is_inspected_as_its_manifest_says() {
    let mut wrong = Vec::new();
    let entries = responses();
    for entry in &entries {
        for with in [true, false] {
            let all = settings(entry);
            if !with && all.is_empty() {
                continue;
            }
            let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
            command.args(["saml", "inspect", "--json"]).arg(corpus(string(entry, "file")));
            command.args(["--idp-entity-id", string(entry, "idp_entity_id"), "--idp-cert"]).arg(corpus(string(entry, "trust_cert")));
            command.args(["--sp-entity-id", string(entry, "sp_entity_id"), "--acs-url", string(entry, "acs_url")]);
            command.args(["--now", string(entry, "clock")]);
            if let Some(id) = entry["in_response_to"].as_str() {
                command.args(["--request-id", id]);
            }
            if let Some(key) = entry["decrypt_key"].as_str() {
                command.arg("--decrypt-key").arg(corpus(key));
            }
            if with && all.iter().any(|setting| setting == "allow_unsolicited") {
                command.arg("--allow-unsolicited");
            }
            if with && all.iter().any(|setting| setting.starts_with("legacy_")) {
                command.arg("--legacy");
            }
            let output = command.output().unwrap();
            let file = string(entry, "file");
            let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{file}: {output:?}"));
            let found = said["reason"].as_str();
            wrong.extend(compare(file, &expected(entry, with), found));
            assert_eq!(output.status.code(), Some(i32::from(found.is_some())), "{file}");
            if let (None, Some(name)) = (found, entry["read"]["name_id"].as_str()) {
                assert_eq!(said["subject"], name, "{file}");
                for (attribute, values) in entry["read"]["attributes"].as_object().into_iter().flatten() {
                    assert_eq!(&said["attributes"][attribute], values, "{file}");
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(entries.len(), 88);
}

/// What one gateway is asked: entries whose settings and key are alike, and no assertion twice.
type Round<'a> = Vec<&'a Value>;

#[test]
fn every_recorded_response_is_consumed_as_its_manifest_says() {
    if !Path::new(LIBRARY).exists() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "libfaketime is missing");
        println!("SKIPPED: libfaketime is not installed");
        return;
    }
    let entries = responses();
    let mut rounds: BTreeMap<(Vec<String>, String, usize), Round<'_>> = BTreeMap::new();
    let mut seen: BTreeMap<(Vec<String>, String), BTreeMap<String, usize>> = BTreeMap::new();
    for entry in &entries {
        let mut cases = vec![settings(entry)];
        if !cases[0].is_empty() {
            cases.push(Vec::new());
        }
        for case in cases {
            let key = (case.clone(), string(entry, "trust_cert").to_owned());
            let (verdict, _) = expected(entry, case == settings(entry));
            // Only what is accepted is spent; the same assertion again needs a gateway that has not seen it.
            let round = match verdict {
                "accept" => {
                    let assertion = entry["read"]["assertion_id"].as_str().map_or_else(|| family(entry), str::to_owned);
                    let count = seen.entry(key.clone()).or_default().entry(assertion).or_default();
                    *count += 1;
                    *count - 1
                }
                _ => 0,
            };
            rounds.entry((key.0, key.1, round)).or_default().push(entry);
        }
    }
    let mut wrong = Vec::new();
    for ((case, certificate, _), round) in &rounds {
        let house = House::start(case, certificate);
        for entry in round {
            // The same assertion again needs a gateway that has not seen it.
            let found = house.consume(entry);
            let found = if found.as_deref() == Some("replayed") { House::start(case, certificate).consume(entry) } else { found };
            wrong.extend(compare(string(entry, "file"), &expected(entry, *case == settings(entry)), found.as_deref()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The attack list's messages (D1), at the consumer of a running gateway.
#[test]
fn every_hostile_response_is_refused_by_the_running_gateway() {
    if !Path::new(LIBRARY).exists() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "libfaketime is missing");
        println!("SKIPPED: libfaketime is not installed");
        return;
    }
    let (folder, manifest) = attacks("saml");
    let kinds = ["saml20-response", "saml11-response", "form"];
    let entries: Vec<&Value> = manifest.iter().filter(|entry| kinds.contains(&string(entry, "kind"))).collect();
    let mut houses: BTreeMap<(Vec<String>, String), House> = BTreeMap::new();
    let (mut wrong, mut refused) = (Vec::new(), 0);
    for entry in &entries {
        let house = || House::start(&settings(entry), string(entry, "trust_cert"));
        let octets = std::fs::read(folder.join(string(entry, "file"))).unwrap();
        let fill = |post: Ask| match string(entry, "kind") {
            "form" => post.header("Content-Type", "application/x-www-form-urlencoded").body(octets.clone()),
            _ => post.form(&[("SAMLResponse", &STANDARD.encode(&octets))]),
        };
        let (file, reason) = (string(entry, "file"), string(entry, "reason"));
        // What is accepted is spent, and its like with it.
        let found = match reason {
            "accept" => house().bring(entry, fill),
            // A second before its time, by the manifest's clock, which runs here.
            "not_yet_valid" => House::at("2026-03-01 12:00:30", &settings(entry), string(entry, "trust_cert")).bring(entry, fill),
            _ => houses.entry((settings(entry), string(entry, "trust_cert").to_owned())).or_insert_with(house).bring(entry, fill),
        };
        match (reason, found.as_deref()) {
            ("accept", None) => {}
            // It names no request, and nobody conceded that. The inspection of the crate takes it.
            ("accept", Some("unsolicited")) if string(entry, "kind") == "saml11-response" => {}
            ("accept", found) => wrong.push(format!("{file}: {found:?}, expected acceptance")),
            (reason, Some(found)) if reason == found => refused += 1,
            (reason, found) => wrong.push(format!("{file}: {found:?}, expected {reason}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(refused > 100, "{refused}");
}

/// Attacks D1 in what stands behind an artifact: a responder of the test says it when it is asked, each under the question's id, signed
/// anew where the file is signed, or nothing but the id would be refused.
#[test]
fn every_hostile_answer_to_an_artifact_is_refused_by_the_running_gateway_for_what_it_is() {
    if !Path::new(LIBRARY).exists() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "libfaketime is missing");
        println!("SKIPPED: libfaketime is not installed");
        return;
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://127.0.0.1:{}/artifact", listener.local_addr().unwrap().port());
    let says: Arc<Mutex<String>> = Arc::default();
    let said = says.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let envelope = said.lock().unwrap().clone();
            drop(crate::saml11::hostile::serve(stream, |question| addressed(&envelope, question)));
        }
    });
    let (folder, manifest) = attacks("saml");
    let entries: Vec<&Value> = manifest.iter().filter(|entry| entry["kind"] == "saml20-artifact").collect();
    let (issuer, certificate) = (string(entries[0], "idp_entity_id"), string(entries[0], "trust_cert"));
    let house = House::answered(issuer, CLOCK, &[], certificate, Some(&address));
    let mut wrong = Vec::new();
    for (number, entry) in entries.iter().enumerate() {
        *says.lock().unwrap() = std::fs::read_to_string(folder.join(string(entry, "file"))).unwrap();
        let handle = [u8::try_from(number).unwrap(); 20];
        let artifact = Artifact::Saml20 { endpoint_index: 0, source_id: Artifact::source_id_of(issuer), handle };
        let state = string(entry, "in_response_to").strip_prefix('_').unwrap();
        let link = format!("/saml/sp/acs?SAMLart={}&RelayState={state}", artifact.to_base64().replace('+', "%2B"));
        let found = house.carry(entry, ask("GET", &link));
        let expected = Some(string(entry, "reason")).filter(|reason| *reason != "accept");
        if found.as_deref() != expected {
            wrong.push(format!("{}: {found:?}, expected {expected:?}", string(entry, "file")));
        }
    }
    assert!(wrong.is_empty() && entries.len() == 7, "{}\n{}", entries.len(), wrong.join("\n"));
}

/// What a file says in answer to this question.
fn addressed(envelope: &str, question: &str) -> Vec<u8> {
    use vestibule_xmlsec::{Document, IdentityProvider, Limits, Placement, SignedElement, SigningKey};
    const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
    let id = question.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
    let answer = envelope.replace("InResponseTo=\"_resolve\"", &format!("InResponseTo=\"{id}\""));
    // The first signature behind the answer's head is the answer's.
    let (before, head) = answer.split_at(answer.find("<samlp:ArtifactResponse").unwrap());
    let (Some(begin), Some(end)) = (head.find("<ds:Signature "), head.find("</ds:Signature>")) else { return answer.into_bytes() };
    let unsigned = format!("{before}{}{}", &head[..begin], &head[end + "</ds:Signature>".len()..]);
    let key = SigningKey::<IdentityProvider>::from_pkcs8("idp", &text_of("keys/idp-rsa2048.key"), None).unwrap();
    let document = Document::parse(unsigned.as_bytes(), &Limits::MESSAGE).unwrap();
    let path = [(SOAP, "Envelope"), (SOAP, "Body"), (SAMLP, "ArtifactResponse")];
    let placement = Placement::After("urn:oasis:names:tc:SAML:2.0:assertion", "Issuer");
    document.sign_enveloped(SignedElement::Path(&path), placement, &[], &key).unwrap_or_else(|_| answer.into_bytes())
}

/// Attacks D1 against single logout: whatever is brought to its address, in either role of a message, ends nobody's session.
#[test]
fn hostile_messages_sign_nobody_out() {
    if !Path::new(LIBRARY).exists() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "libfaketime is missing");
        println!("SKIPPED: libfaketime is not installed");
        return;
    }
    let (folder, manifest) = attacks("saml");
    let good = manifest.iter().find(|entry| entry["file"] == "good-assertion.xml").unwrap();
    let house = House::start(&settings(good), string(good, "trust_cert"));
    let octets = std::fs::read(folder.join("good-assertion.xml")).unwrap();
    assert_eq!(house.bring(good, |post| post.form(&[("SAMLResponse", &STANDARD.encode(&octets))])), None, "somebody is signed in");
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for entry in manifest.iter().filter(|entry| entry["kind"] != "metadata") {
        let octets = std::fs::read(folder.join(string(entry, "file"))).unwrap();
        let post = || {
            ask("POST", "/saml/sp/slo")
                .browser()
                .header("Origin", ORIGIN)
                .header("X-Forwarded-Proto", "https")
                .header("X-Forwarded-For", "192.0.2.7")
        };
        let asks = match string(entry, "kind") {
            "form" => vec![post().header("Content-Type", "application/x-www-form-urlencoded").body(octets.clone())],
            _ => ["SAMLRequest", "SAMLResponse"].map(|field| post().form(&[(field, &STANDARD.encode(&octets))])).into(),
        };
        for (role, ask) in asks.iter().enumerate() {
            let answer = house.gateway.send_to(HOST, ask);
            // The answer to a logout that nobody knows of, or knows of any more, leads to the page that says so.
            let nothing = answer.status == 200 && answer.body.contains("You are signed out") && (role == 1 || entry["kind"] == "form");
            if !(nothing || (400..500).contains(&answer.status))
                || answer.header("location").is_some()
                || answer.body.contains("SAMLResponse")
            {
                wrong.push(format!("{} {role}: {answer:?}", string(entry, "file")));
            }
            if role == 0 && entry["kind"] == "saml20-logout-request" && string(entry, "trust_cert") == string(good, "trust_cert") {
                let refused =
                    house.gateway.audit_of(&answer).into_iter().find(|record| record["event"] == "message.refused").unwrap_or_default();
                // They were recorded for another address of ours, which is noticed before that they are too old.
                let expected = match string(entry, "reason") {
                    "accept" | "expired" | "stale" | "not_yet_valid" => "wrong_destination",
                    reason => reason,
                };
                if refused["reason"] != expected {
                    wrong.push(format!("{}: {refused}, expected {expected}", string(entry, "file")));
                }
            }
            seen += 1;
        }
    }
    assert!(wrong.is_empty() && seen > 300, "{seen}\n{}", wrong.join("\n"));
    let endings: Vec<Value> = house.gateway.audit().into_iter().filter(|record| record["event"] == "session.ended").collect();
    assert!(endings.is_empty(), "{endings:?}");
}

/// Attacks 21, 24, 27, 34 and 38: signatures over addresses, brought as browsers bring them.
#[test]
fn hostile_addresses_sign_nobody_out() {
    if !Path::new(LIBRARY).exists() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "libfaketime is missing");
        println!("SKIPPED: libfaketime is not installed");
        return;
    }
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let (folder, manifest) = attacks("saml");
    let house = House::of("https://gw.example.com/saml/sp", CLOCK, &[], "keys/sp-rsa2048.crt");
    for entry in manifest.iter().filter(|entry| entry["binding"] == "redirect") {
        let query = std::fs::read_to_string(folder.join(string(entry, "file"))).unwrap();
        let get = ask("GET", &format!("/saml/sp/slo?{}", query.trim())).browser();
        let get = get.header("X-Forwarded-Proto", "https").header("X-Forwarded-For", "192.0.2.7");
        let answer = house.gateway.send_to(HOST, &get);
        // They were recorded for another address of ours.
        let expected = match string(entry, "reason") {
            "accept" => "wrong_destination",
            reason => reason,
        };
        let records = house.gateway.audit_of(&answer);
        let refused = records.iter().find(|record| record["event"] == "message.refused").map(|record| &record["reason"]);
        if !matches!(answer.status, 400 | 403) || refused.is_none_or(|reason| reason != expected) {
            wrong.push(format!("{}: {} {refused:?}, expected {expected}", string(entry, "file"), answer.status));
        }
        seen += 1;
    }
    assert!(wrong.is_empty() && seen > 14, "{seen}\n{}", wrong.join("\n"));
}

/// The attacks on signatures and on encryption, each on its assertion in the response that a browser brings. What these files
/// leave out of an assertion is missed after its signature was checked, so that none signs anybody in.
#[test]
fn every_attack_on_xml_security_is_refused_by_the_running_gateway_for_what_it_is() {
    if !Path::new(LIBRARY).exists() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "libfaketime is missing");
        println!("SKIPPED: libfaketime is not installed");
        return;
    }
    let mut houses: BTreeMap<Vec<String>, House> = BTreeMap::new();
    let (mut wrong, mut met) = (Vec::new(), 0);
    for family in ["xml-signature", "xml-encryption"] {
        let (folder, manifest) = attacks(family);
        for entry in &manifest {
            if !matches!(entry["profile"].as_str(), None | Some("saml")) || !matches!(entry["signed"].as_str(), None | Some("assertion")) {
                continue;
            }
            let house = houses
                .entry(settings(entry))
                .or_insert_with(|| House::of("https://idp.example.org", CLOCK, &settings(entry), string(entry, "trust_cert")));
            let octets = std::fs::read(folder.join(string(entry, "file"))).unwrap();
            // Its head is signed, and nothing can be added to it.
            if octets.windows(9).any(|part| part == b"URI=\"#_r\"") {
                continue;
            }
            let octets = rewrapped(framed(&octets));
            let form = json!({"file": entry["file"], "in_response_to": "_req-0001-5f2b"});
            let found = house.bring(&form, |post| post.form(&[("SAMLResponse", &STANDARD.encode(&octets))]));
            let expected = match (string(entry, "file"), string(entry, "reason")) {
                // What the head or the assertion of a response may not be is noticed before.
                ("xsw-moved-up-assertion.xml", _) => "wrapped",
                ("original-in-status-detail.xml" | "many-ciphertexts.xml", _) => "ambiguous",
                // What is inside a ciphertext has to be an assertion, not another ciphertext.
                ("good-twice-inside.xml" | "three-times-inside.xml", _) => "assertion_missing",
                ("processing-instruction-in-name.xml", _) | (_, "accept") => "malformed",
                (_, reason) => reason,
            };
            match found.as_deref() {
                Some(found) if found == expected => met += 1,
                found => wrong.push(format!("{family}/{}: {found:?}, expected {expected}", string(entry, "file"))),
            }
        }
    }
    assert!(wrong.is_empty() && met > 200, "{met}\n{}", wrong.join("\n"));
}

/// The same response with the head that these files do without.
fn framed(octets: &[u8]) -> Vec<u8> {
    const HEAD: &str = " IssueInstant=\"2026-03-01T12:00:40Z\" Destination=\"https://gw.example.com/saml/acs\" InResponseTo=\"_req-0001-5f2b\">\
        <i:Issuer xmlns:i=\"urn:oasis:names:tc:SAML:2.0:assertion\">https://idp.example.org</i:Issuer>\
        <samlp:Status><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"/></samlp:Status>";
    let find = |part: &[u8], from: usize| octets[from..].windows(part.len()).position(|octets| octets == part).map(|at| from + at);
    match find(b"<samlp:Response ", 0).and_then(|at| find(b">", at)) {
        Some(end) if octets[end - 1] != b'/' => [&octets[..end], HEAD.as_bytes(), &octets[end + 1..]].concat(),
        Some(_) | None => octets.to_vec(),
    }
}

/// The same with the content's key for us, where a shared key of the corpus wraps it, which no gateway has.
fn rewrapped(octets: Vec<u8>) -> Vec<u8> {
    use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PrivateDecryptingKey};
    const WRAPPED: &str = "/MQ0NiuyJykkA8PvZauLzGhzR+O5gcLz6GH9J0zMG+p0QpqtGQu/pQ==";
    let Ok(text) = String::from_utf8(octets.clone()) else { return octets };
    if !text.contains(WRAPPED) {
        return octets;
    }
    let pem = text_of("keys/sp-rsa2048.key");
    let key = PrivateDecryptingKey::from_pkcs8(&pem).unwrap().public_key();
    let key = OaepPublicEncryptingKey::new(key).unwrap();
    let mut sealed = vec![0; key.ciphertext_size()];
    let sealed = key.encrypt(&OAEP_SHA1_MGF1SHA1, &[0x63; 32], &mut sealed, None).unwrap();
    let text = text.replace("http://www.w3.org/2001/04/xmlenc#kw-aes256", "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p");
    text.replace(WRAPPED, &STANDARD.encode(sealed)).into_bytes()
}

/// The octets of a file in PEM form.
fn text_of(name: &str) -> Vec<u8> {
    let body: String = text(name).lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

/// A family of the attack corpus: its folder and its entries.
fn attacks(family: &str) -> (std::path::PathBuf, Vec<Value>) {
    let folder = corpus("../attacks").join(family);
    let manifest = serde_json::from_str(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()).unwrap();
    (folder, manifest)
}

/// Fixtures derived from one another carry one assertion.
fn family(entry: &Value) -> String {
    let body = text(string(entry, "file"));
    let id = body.split("Assertion ").find_map(|rest| rest.split_once("ID=\"")?.1.split('"').next().map(str::to_owned));
    entry["derived_from"].as_str().map(str::to_owned).or(id).unwrap_or_else(|| string(entry, "file").to_owned())
}

struct House {
    gateway: Gateway,
    pages: [u8; 32],
}

impl House {
    fn start(case: &[String], certificate: &str) -> Self {
        Self::at(CLOCK, case, certificate)
    }

    fn at(clock: &str, case: &[String], certificate: &str) -> Self {
        Self::of("https://idp.example.org/saml/metadata", clock, case, certificate)
    }

    /// One that believes whoever is called so.
    fn of(issuer: &str, clock: &str, case: &[String], certificate: &str) -> Self {
        Self::answered(issuer, clock, case, certificate, None)
    }

    /// One that is answered by artifacts, which are resolved at this address.
    fn answered(issuer: &str, clock: &str, case: &[String], certificate: &str, resolved_at: Option<&str>) -> Self {
        let unsolicited = if case.iter().any(|setting| setting == "allow_unsolicited") { "unsolicited = true" } else { "" };
        let answers = resolved_at.map_or("", |_| "\nanswers = \"artifact\"");
        let mut config = include_str!("fixtures.toml").replace("{{unsolicited}}", &format!("{unsolicited}{answers}"));
        let words = case.iter().filter_map(|setting| match setting.strip_prefix("legacy_") {
            Some(weakness) => Some(format!("saml-{weakness}")),
            None => Some(setting.clone()).filter(|setting| setting == "saml11"),
        });
        for word in words {
            config.push_str(&format!(
                "\n[[concession]]\nwhat = \"{word}\"\npartner = \"recorded\"\nreason = \"recorded so\"\nexpires = \"2026-12-31\"\n"
            ));
        }
        let pem = text(certificate);
        let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        let resolution = resolved_at.map_or_else(String::new, |at| {
            format!(r#"<ArtifactResolutionService Binding="urn:oasis:names:tc:SAML:2.0:bindings:SOAP" Location="{at}" index="0"/>"#)
        });
        let metadata = format!(
            r#"<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{issuer}"><IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><KeyDescriptor><KeyInfo xmlns="http://www.w3.org/2000/09/xmldsig#"><X509Data><X509Certificate>{body}</X509Certificate></X509Data></KeyInfo></KeyDescriptor>{resolution}<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example.org/saml/sso"/></IDPSSODescriptor></EntityDescriptor>"#
        );
        let (sp_certificate, sp_key) = (text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"));
        let sealing = STANDARD.encode(KEK);
        let files = [("sealing", sealing.as_str()), ("recorded.xml", metadata.as_str()), ("sp.crt", &sp_certificate), ("sp.key", &sp_key)];
        let clock = [
            ("LD_PRELOAD", LIBRARY.to_owned()),
            ("FAKETIME", format!("@{clock}")),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("TZ", "UTC".to_owned()),
        ];
        let gateway = Gateway::at_time(&config, &files, &clock);
        let pages = page_secret(&gateway);
        Self { gateway, pages }
    }

    /// Brings a response as a browser would, and gives the reason of the refusal, if it is refused.
    fn consume(&self, entry: &Value) -> Option<String> {
        let octets = std::fs::read(corpus(string(entry, "file"))).unwrap();
        let value = STANDARD.encode(octets);
        self.bring(entry, |post| post.form(&[("SAMLResponse", &value)]))
    }

    fn bring(&self, entry: &Value, fill: impl FnOnce(Ask) -> Ask) -> Option<String> {
        self.carry(entry, fill(ask("POST", "/saml/acs").header("Origin", ORIGIN).header("Sec-Fetch-Site", "cross-site")))
    }

    /// Sends as the browser that began the login of the entry.
    fn carry(&self, entry: &Value, ask: Ask) -> Option<String> {
        let mut ask = ask.browser().header("X-Forwarded-Proto", "https").header("X-Forwarded-For", "192.0.2.7");
        if let Some(id) = entry["in_response_to"].as_str() {
            let journey = id.strip_prefix('_').unwrap();
            ask = ask.cookie(&format!("__Host-vestibule-login.{journey}"), &self.journey(journey));
        }
        let answer = self.gateway.send_to(HOST, &ask);
        let file = string(entry, "file");
        match answer.status {
            303 => {
                assert!(answer.cookies().contains_key("__Host-vestibule"), "{file}: {answer:?}");
                None
            }
            403 | 400 => self.reason(file, &answer),
            _ => panic!("{file}: {answer:?}"),
        }
    }

    fn reason(&self, file: &str, answer: &Answer) -> Option<String> {
        assert!(!answer.cookies().contains_key("__Host-vestibule"), "{file}: {answer:?}");
        let records = self.gateway.audit_of(answer);
        let rejected = records.iter().find(|record| record["event"] == "login.rejected").unwrap_or_else(|| panic!("{file}: {records:?}"));
        match &rejected["reason"] {
            Value::Object(saml) => Some(saml["saml"].as_str().unwrap().to_owned()),
            // A message that holds, about somebody for whom no account can be: its name is good for one login only.
            reason if reason == "no_account" || reason == "unknown_user" => None,
            // The claimed issuer chooses whom it is held against.
            reason if reason == "unknown_partner" => Some("wrong_issuer".to_owned()),
            reason if reason == "replayed" => Some("replayed".to_owned()),
            reason => panic!("{file}: {reason}"),
        }
    }

    /// A cookie of a journey that began a minute ago.
    fn journey(&self, id: &str) -> String {
        let started = "2026-03-01T12:00:30Z".parse::<jiff::Timestamp>().unwrap().as_second();
        let mut sealed = json!({"i": id, "s": started, "p": "recorded"}).to_string().into_bytes();
        let salt = [7; 24];
        let mac = |parts: &[&[u8]]| {
            let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &self.pages));
            for part in parts {
                context.update(&(part.len() as u64).to_be_bytes());
                context.update(part);
            }
            context.sign()
        };
        let key = mac(&[b"vestibule journey cookie v1", b"cipher", &salt]);
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.as_ref()).unwrap());
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::from(HOST.as_bytes()), &mut sealed).unwrap();
        URL_SAFE_NO_PAD.encode([salt.as_slice(), &sealed].concat())
    }
}

/// The secret by which the gateway seals what browsers hold, from its store.
fn page_secret(gateway: &Gateway) -> [u8; 32] {
    // Written at the start, before anything is served.
    let store = rusqlite::Connection::open(gateway.store()).unwrap();
    let sealed: Vec<u8> = store.query_row("SELECT value FROM setting WHERE name = 'secret:pages'", [], |row| row.get(0)).unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &KEK).unwrap());
    let (nonce, mut rest) = (sealed[1..13].try_into().unwrap(), sealed[13..].to_vec());
    let aad = Aad::from(digest(&[b"secret", b"pages"]));
    key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut rest).unwrap()[..32].try_into().unwrap()
}

#[test]
fn the_words_of_the_manifest_are_those_of_the_audit() {
    let known: BTreeSet<String> = responses().iter().filter_map(|entry| entry["reason"].as_str().map(str::to_owned)).collect();
    for word in known {
        let fault = serde_json::from_value::<vestibule_engine::audit::SamlFault>(Value::String(word.clone()));
        assert!(fault.is_ok(), "{word}");
    }
}
