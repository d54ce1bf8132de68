//! Every recorded message and every attack on WS-Security and on SOAP (`corpus/recorded`, `corpus/attacks/wss`,
//! `corpus/attacks/soap`), at the time it was made for, through every door that sees a body: the proxy, Envoy's `ext_authz`
//! with the body, and its `ext_proc`. The verdict and the audit's reason are those of the manifests, at each of them.

use std::path::Path;

use serde_json::Value;

use crate::doors::{Front, House, bringing};
use crate::support::{FAKETIME, Gateway, ask};
use crate::ws_security::{ADA, CLIENT, HOUSE, add, corpus, cut, pem, reason, skipped};

/// The doors that see a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Proxy,
    ExtAuthz,
    ExtProc,
}

/// A gateway behind a door.
pub enum Place {
    Own(Gateway),
    Behind(House),
}

impl Place {
    pub fn gateway(&self) -> &Gateway {
        match self {
            Self::Own(gateway) => gateway,
            Self::Behind(house) => &house.gateway,
        }
    }
}

impl Door {
    pub const ALL: [Self; 3] = [Self::Proxy, Self::ExtAuthz, Self::ExtProc];

    /// A gateway of this configuration, whose tenants' hosts have the port `{{public}}`; `None` where there is no Envoy.
    /// Envoy has no client on the same machine, so what comes in the clear there is conceded where `protected` says so.
    pub fn open(self, config: &str, files: &[(&str, &str)], protected: bool) -> Option<Place> {
        let (asks, bringing) = bringing(8 << 20);
        let (front, change, listener) = match self {
            Self::Proxy => return Some(Place::Own(Gateway::with_files(&config.replace("{{public}}", "{{port}}"), files))),
            Self::ExtAuthz => (Front::Envoy, (asks, bringing.as_str()), "address = \"127.0.0.1:9003\"\nspeaks = \"envoy\""),
            Self::ExtProc => (Front::EnvoyExtProc, ("", ""), "address = \"127.0.0.1:9005\"\nspeaks = \"envoy-ext-proc\""),
        };
        let conceded = if protected {
            "\n[[concession]]\nwhat = \"plain-http\"\npartner = \"127.0.0.1:{{port}}\"\nreason = \"a test\"\nexpires = \"2099-01-01\"\n"
        } else {
            ""
        };
        let house = House::open_before(front, change, |put, _| {
            let listener = put(&format!("\n[[listen]]\n{listener}\ntrusted_proxies = [\"127.0.0.1/32\"]\n"));
            Gateway::at(put("8080").parse().unwrap(), &format!("{config}{conceded}{listener}"), files)
        });
        house.map(Place::Behind)
    }

    /// What a route says where the header that was read would have to be taken out, and this door cannot.
    pub fn header(self) -> &'static str {
        if self == Self::ExtAuthz { "security_header = \"keep\"\n" } else { "" }
    }
}

/// One recorded message or attack, and the scheme it is for.
#[derive(Clone)]
struct Case {
    name: String,
    octets: Vec<u8>,
    token: String,
    settings: Vec<String>,
    require: Vec<String>,
    trust: String,
    decrypt: bool,
    /// Issuer, audience, recipient.
    parties: [String; 3],
    accepted: bool,
    reasons: Vec<String>,
    /// Whether it came by TLS, or as good as that.
    protected: bool,
}

/// What a door made of a case.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// The audit's reason; empty where it was let through.
    word: String,
    /// The message that reached the service.
    forwarded: Option<Vec<u8>>,
    /// Whether a fault was the answer.
    fault: bool,
}

pub fn words(value: &Value) -> Vec<String> {
    value.as_array().map(|all| all.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect()).unwrap_or_default()
}

/// The recorded messages, with their settings and with none. A message with two tokens is read by two schemes.
fn recorded() -> Vec<Case> {
    let manifest: Value = serde_json::from_slice(&std::fs::read(corpus().join("recorded/manifest.json")).unwrap()).unwrap();
    let mut cases = Vec::new();
    for entry in manifest["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "soap") {
        let file = entry["file"].as_str().unwrap();
        let octets = std::fs::read(corpus().join("recorded").join(file)).unwrap();
        let tokens = words(&entry["tokens"]);
        for (mode, settings, reason) in [("expect", words(&entry["settings"]), "reason"), ("default", Vec::new(), "default_reason")] {
            let mut reasons = words(&entry["also"]);
            reasons.extend([reason, "reason"].iter().filter_map(|name| entry[*name].as_str().map(str::to_owned)));
            let trust = entry["trust_cert"].as_str().map(|path| format!("certificates = [\"{}\"]", path.trim_start_matches("keys/")));
            let trust = trust.or_else(|| entry["trust_ca"].as_str().map(|path| format!("ca = [\"{}\"]", path.trim_start_matches("keys/"))));
            for token in &tokens {
                // One of two tokens may be good where the other is not.
                let accepted = entry[mode] == "accept";
                if tokens.len() > 1 && !accepted {
                    continue;
                }
                cases.push(Case {
                    name: format!("{file} {mode} {token}"),
                    octets: octets.clone(),
                    token: token.clone(),
                    settings: settings.clone(),
                    require: Vec::new(),
                    trust: trust.clone().unwrap_or_default(),
                    decrypt: entry["decrypt_key"].is_string(),
                    parties: ["idp_entity_id", "sp_entity_id", "acs_url"].map(|name| entry[name].as_str().unwrap_or("urn:none").to_owned()),
                    accepted,
                    reasons: reasons.clone(),
                    protected: true,
                });
            }
        }
    }
    cases
}

fn attacks() -> Vec<Case> {
    let manifest: Value = serde_json::from_slice(&std::fs::read(corpus().join("attacks/wss/manifest.json")).unwrap()).unwrap();
    let mut cases = Vec::new();
    for entry in manifest.as_array().unwrap() {
        let tokens = words(&entry["tokens"]);
        let [token] = tokens.as_slice() else { panic!("{entry} is for two schemes") };
        let file = entry["file"].as_str().unwrap();
        let trust = if token == "saml" { "idp-rsa2048.crt" } else { "client-rsa2048.crt" };
        cases.push(Case {
            name: format!("attacks/{file} {:?}", words(&entry["settings"])),
            octets: std::fs::read(corpus().join("attacks/wss").join(file)).unwrap(),
            token: token.clone(),
            settings: words(&entry["settings"]),
            require: words(&entry["require"]),
            trust: format!("certificates = [\"{trust}\"]"),
            decrypt: entry["decrypt_key"].is_string(),
            parties: ["https://idp.example.org/saml/metadata", "https://gw.example.com/saml/sp", "https://gw.example.com/saml/acs"]
                .map(str::to_owned),
            accepted: entry["reason"] == "accept",
            // The clock goes on while the messages are sent: what was an instant too early is then refused for what it is.
            reasons: vec![
                entry["reason"].as_str().unwrap().to_owned(),
                if file == "created-in-the-future.xml" { "wrong_password" } else { "" }.to_owned(),
            ],
            protected: entry["channel"] == "tls",
        });
    }
    cases
}

/// A house with a tenant for each kind of case, and a service for each case, at which nothing was seen before.
/// `None` where the door is not installed.
fn replayed(door: Door, cases: &[&Case], protected: bool) -> Option<Vec<Seen>> {
    let domain = if protected { "localhost" } else { "example.com" };
    let mut config = HOUSE.split("[tenant.north]").next().unwrap().to_owned();
    let (mut kinds, mut schemes, mut placed): (Vec<String>, String, Vec<usize>) = (Vec::new(), String::new(), Vec::new());
    for case in cases {
        let list = |words: &[String]| words.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(", ");
        let mut scheme = format!("type = \"ws-security\"\ntoken = \"{}\"\nrequire = [{}]\n", case.token, list(&case.require));
        match case.token.as_str() {
            "username" => scheme += &format!("realm = \"partners\"\n{}\n", case.trust),
            "x509" => scheme += &format!("map = \"common-name\"\n{}\n", case.trust),
            _ => {
                let attesters = if case.name.starts_with("attacks/") { ", attesters = [\"client-rsa2048.crt\"]" } else { "" };
                let [issuer, audience, recipient] = &case.parties;
                scheme += &format!(
                    "audience = {audience:?}\nrecipients = [{recipient:?}]\nissuers = [{{ entity_id = {issuer:?}, {}{attesters} }}]\n",
                    case.trust
                );
            }
        }
        if case.decrypt {
            scheme += "decryption_keys = [{ file = \"server-rsa2048.key\" }]\n";
        }
        let kind = format!("{scheme}#{:?}", case.settings);
        let at = kinds.iter().position(|known| *known == kind).unwrap_or_else(|| {
            kinds.push(kind);
            let at = kinds.len() - 1;
            schemes += &format!("\n[scheme.s{at}]\n{scheme}");
            for setting in &case.settings {
                schemes += &format!(
                    "\n[[concession]]\nwhat = \"{setting}\"\npartner = \"s{at}\"\nreason = \"this test\"\nexpires = \"2099-01-01\"\n"
                );
            }
            at
        });
        placed.push(at);
    }
    for at in 0..kinds.len() {
        config += &format!("\n[tenant.t{at}]\nhosts = [\"t{at}.{domain}:{{{{public}}}}\"]\nchain = [\"s{at}\"]\n");
    }
    config += &schemes;
    config += "\n[realm.partners]\ntype = \"shared-secrets\"\nusers = { file = \"partners\" }\n";
    for (number, at) in placed.iter().enumerate() {
        config += &format!(
            "\n[upstream.u{number}]\nurl = \"http://{{{{app}}}}\"\n\n[[route]]\nhost = \"t{at}.{domain}:{{{{public}}}}\"\nmatch = \
             \"/{number}\"\npolicies = [\"policy.cedar\"]\ninject = [\"headers\"]\nbody = {{ limit = \"8MiB\", types = [\"text/xml\", \
             \"application/soap+xml\"] }}\n{}forward = \"u{number}\"\n",
            door.header()
        );
    }
    config += "\n[store]\npath = \"{{dir}}/data\"\n\n[audit]\nto = \"file\"\npath = \"{{dir}}/audit.jsonl\"\n";
    config += "\n[passwords]\naddress_failures = 1000\naccount_failures = 1000\nfloor = \"0s\"\n";
    let mut files = vec![
        ("clock".to_owned(), "2026-03-01 12:01:00 x0.1".to_owned()),
        ("partners".to_owned(), "alice:wonderland\njürgen:päss & <wörd>\n".to_owned()),
    ];
    for entry in std::fs::read_dir(corpus().join("recorded/keys")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        files.push((name.clone(), pem(&name)));
    }
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let place = door.open(&config, &files, protected)?;
    let gateway = place.gateway();
    for (at, kind) in kinds.iter().enumerate() {
        let users: &[&str] = match () {
            () if kind.contains("\"username\"") => &["alice", "jürgen"],
            () if kind.contains("\"x509\"") => &[CLIENT, "leaf-valid.example.com"],
            () => &["alice@example.org", "alice", "bob@example.org"],
        };
        for user in users {
            add(gateway, &format!("t{at}"), user, "never typed by anybody");
        }
    }
    let mut seen = Vec::new();
    for (number, (case, at)) in cases.iter().zip(&placed).enumerate() {
        gateway.application.forget();
        let twelve = case.octets.windows(38).any(|part| part == b"http://www.w3.org/2003/05/soap-envelope".get(..38).unwrap());
        let media_type = if twelve { "application/soap+xml; charset=utf-8" } else { "text/xml; charset=utf-8" };
        let request = ask("POST", &format!("/{number}")).header("Content-Type", media_type).body(case.octets.clone());
        let answer = gateway.send_to(&format!("t{at}.{domain}"), &request);
        let found = if answer.status == 200 { Value::Null } else { reason(gateway, &answer) };
        let word = match found["security"].as_str().or(found.as_str()).unwrap_or_default() {
            // A header for somebody else is none for us; a wrong password is remembered.
            "nobody" => "no_credentials",
            "repeated_wrong_password" => "wrong_password",
            other => other,
        }
        .to_owned();
        let mut received = gateway.application.received();
        assert!(answer.status == 200 || !word.is_empty(), "{door:?} {}: {answer:?} {found}", case.name);
        assert_eq!(received.len(), usize::from(answer.status == 200), "{door:?} {}: {answer:?}", case.name);
        let forwarded = received.pop().map(|received| received.body);
        seen.push(Seen { word, forwarded, fault: answer.body.contains("Fault>") });
    }
    Some(seen)
}

/// Holds what every door made of the cases against the manifest, and against each other.
fn everywhere(cases: &[Case]) {
    if !Path::new(FAKETIME).exists() {
        return skipped("faketime");
    }
    for protected in [true, false] {
        let cases: Vec<&Case> = cases.iter().filter(|case| case.protected == protected).collect();
        if cases.is_empty() {
            continue;
        }
        let cases = cases.as_slice();
        let found: Vec<(Door, Vec<Seen>)> = std::thread::scope(|scope| {
            let doors = Door::ALL.map(|door| scope.spawn(move || replayed(door, cases, protected).map(|seen| (door, seen))));
            doors.into_iter().filter_map(|door| door.join().unwrap()).collect()
        });
        let mut wrong = Vec::new();
        for (door, seen) in &found {
            for ((case, seen), at_proxy) in cases.iter().zip(seen).zip(&found[0].1) {
                let right = if case.accepted {
                    // Whom the message proves may be no user here; that it is proven is what is asked.
                    matches!(seen.word.as_str(), "" | "unknown_user" | "unknown_certificate")
                } else {
                    seen.forwarded.is_none() && case.reasons.contains(&seen.word)
                };
                // Where the header stays, nothing was touched; where it goes, both doors take out the same octets.
                let whole = match door {
                    Door::ExtAuthz => seen.forwarded.as_ref().is_none_or(|body| *body == case.octets),
                    Door::Proxy | Door::ExtProc => seen.forwarded == at_proxy.forwarded,
                };
                if !(right && whole && seen.fault == seen.forwarded.is_none() && seen.forwarded.is_some() == at_proxy.forwarded.is_some()) {
                    let expected = if case.accepted { "accepted".to_owned() } else { format!("{:?}", case.reasons) };
                    wrong.push(format!("{door:?} {}: {:?} instead of {expected}", case.name, seen.word));
                }
            }
        }
        assert!(wrong.is_empty(), "{} of {}\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    }
}

#[test]
fn recorded_messages_have_their_verdicts_at_every_door() {
    let cases = recorded();
    assert!(cases.iter().filter(|case| case.accepted).count() > 60 && cases.len() > 120, "{}", cases.len());
    everywhere(&cases);
}

#[test]
fn attacks_have_their_verdicts_at_every_door() {
    let cases = attacks();
    assert!(cases.len() > 180, "{}", cases.len());
    everywhere(&cases);
}

/// One tenant that reads a security header or HTTP credentials, and whose policy asks for the operation.
const SOAP_HOUSE: &str = r#"
[tenant.north]
hosts = ["app.north.localhost:{{public}}"]
chain = ["named", "basic"]

[scheme.named]
type = "ws-security"
token = "username"
realm = "local"

[scheme.basic]
type = "basic"
realm = "local"

[[route]]
match = "/read"
policies = ["read.cedar"]
inject = ["headers"]
body = { limit = "1MiB", types = ["text/xml", "application/soap+xml", "multipart/related", "application/json"] }
security_header = "keep"
forward = "http://{{app}}"

[store]
path = "{{dir}}/data"

[audit]
to = "file"
path = "{{dir}}/audit.jsonl"
"#;

const READ: &str = r#"@id("read") permit(principal, action, resource) when { resource has operation && resource.operation == "read" };"#;

/// The transport's attacks (57, 67, 68, 70, 71), by somebody who is known: what is refused is the message.
#[test]
fn attacks_on_soap_have_their_verdicts_at_every_door() {
    let folder = corpus().join("attacks/soap");
    let manifest: Vec<Value> = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert!(manifest.len() > 40, "{}", manifest.len());
    let config = HOUSE.split("[tenant.north]").next().unwrap().to_owned() + SOAP_HOUSE;
    let mut wrong = Vec::new();
    for door in Door::ALL {
        let Some(place) = door.open(&config, &[("read.cedar", READ)], true) else { continue };
        let gateway = place.gateway();
        add(gateway, "north", ADA.0, ADA.1);
        for entry in &manifest {
            gateway.application.forget();
            let word = |name: &str| entry[name].as_str().unwrap();
            let octets = std::fs::read(folder.join(word("file"))).unwrap();
            let mut request = ask("POST", "/read").basic(ADA.0, ADA.1).header("Content-Type", word("content_type")).body(octets.clone());
            if let Some(action) = entry["soap_action"].as_str() {
                request = request.header("SOAPAction", action);
            }
            let answer = gateway.send(&request);
            let received: Vec<Vec<u8>> = gateway.application.received().into_iter().map(|received| received.body).collect();
            let found = if answer.status == 200 { Value::Null } else { reason(gateway, &answer) };
            let (malformed, security) = (found["malformed"].as_str(), found["security"].as_str());
            let right = match word("reason") {
                "accept" => received == [octets],
                // A door says of a message that it is none; a scheme that reads it says why.
                reason => {
                    received.is_empty()
                        && answer.status >= 400
                        && (matches!(malformed, Some("soap" | "soap_action")) || security == Some(reason))
                }
            };
            if !right {
                wrong.push(format!("{door:?} {}: {} {found} instead of {}", word("file"), answer.status, word("reason")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
}

/// What was made to deceive a reader of signatures, of ciphertext or of single sign-on is no message, and no assertion in one
/// either: as the body, and in the place of the assertion of a good header. Nothing is forwarded, and the gateway lives on.
#[test]
fn documents_of_other_families_get_nobody_in_at_any_door() {
    if !Path::new(FAKETIME).exists() {
        return skipped("faketime");
    }
    let bearer = attacks().into_iter().find(|case| case.name.contains("/good-bearer.xml ") && case.protected && case.accepted).unwrap();
    let text = String::from_utf8(bearer.octets.clone()).unwrap();
    let good = cut(&text, "<saml:Assertion", "</saml:Assertion>");
    let (before, after) = text.split_once(good).unwrap();
    let mut documents = Vec::new();
    for family in ["xml-signature", "xml-encryption", "saml", "saml11"] {
        let folder = corpus().join("attacks").join(family);
        let manifest: Vec<Value> = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
        for entry in manifest {
            let file = entry["file"].as_str().unwrap();
            let octets = std::fs::read(folder.join(file)).unwrap();
            // What is wrong with those of single sign-on may be the answer around the assertion.
            if family.starts_with("xml-")
                && let Some((_, rest)) = split(&octets, b"Response ")
                && let Some((_, inside)) = split(rest, b">")
                && let Some(end) = inside.windows(2).rposition(|two| two == b"</")
            {
                let message = [before.as_bytes(), inside.get(..end).unwrap(), after.as_bytes()].concat();
                documents.push((format!("{family}/{file} in a header"), message));
            }
            documents.push((format!("{family}/{file}"), octets));
        }
    }
    assert!(documents.len() > 800, "{}", documents.len());
    let hostile = |(name, octets)| Case { name, octets, accepted: false, reasons: Vec::new(), ..bearer.clone() };
    let cases: Vec<Case> = [bearer.clone()].into_iter().chain(documents.into_iter().map(hostile)).collect();
    let cases: Vec<&Case> = cases.iter().collect();
    let cases = cases.as_slice();
    std::thread::scope(|scope| {
        for door in Door::ALL {
            scope.spawn(move || {
                let Some(seen) = replayed(door, cases, true) else { return };
                assert!(seen[0].forwarded.is_some(), "{door:?}: the header that they are put into is good: {:?}", seen[0]);
                for (case, seen) in cases.iter().zip(&seen).skip(1) {
                    assert!(seen.forwarded.is_none(), "{door:?} {}", case.name);
                }
            });
        }
    });
}

/// Around the first occurrence.
fn split<'a>(octets: &'a [u8], at: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let found = octets.windows(at.len()).position(|part| part == at)?;
    Some((octets.get(..found)?, octets.get(found + at.len()..)?))
}
