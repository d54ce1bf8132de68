//! The borders of the scheme `ws-security` at the live door: one second before and after each time, one more and one less of
//! each count and size.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_wss::{KeyReference, Lifetime, Part, Password, Token};

use crate::support::{Answer, FAKETIME, Gateway, Launch, ask};
use crate::ws_security::{CLIENT, HOUSE, ORDER, PARTNER, add, corpus, cut, envelope, files, post, reason, skipped, told, written_at};
use crate::ws_security_corpus::Door;

const NOON: &str = "2026-03-01T12:00:00Z";

/// So many seconds after noon.
fn noon(seconds: i64) -> Timestamp {
    NOON.parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

/// A gateway whose clock stands still, and is set by hand.
struct Clockwork(Gateway);

impl Clockwork {
    fn open(config: &str, files: &[(&str, &str)], seconds: i64) -> Self {
        let environment = [
            ("LD_PRELOAD", FAKETIME),
            ("FAKETIME_TIMESTAMP_FILE", "{dir}/hands"),
            ("FAKETIME_NO_CACHE", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("TZ", "UTC"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let hands = Self::hands(seconds);
        let files = [files, &[("hands", hands.as_str())]].concat();
        Self(Gateway::launched(&Launch { environment, ..Launch::default() }, config, &files, None))
    }

    fn hands(seconds: i64) -> String {
        noon(seconds).strftime("%Y-%m-%d %H:%M:%S").to_string()
    }

    fn set(&self, seconds: i64) {
        let scratch = &self.0.scratch;
        let new = scratch.write("hands.new", &Self::hands(seconds));
        std::fs::rename(new, scratch.path().join("hands")).unwrap();
        for _ in 0..1500 {
            let answer = post(&self.0, "/orders", envelope(ORDER).as_bytes());
            let shown: Timestamp = self.0.audit_of(&answer)[0]["time"].as_str().unwrap().parse().unwrap();
            if shown.as_second() == noon(seconds).as_second() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("the clock does not go to {seconds}");
    }
}

/// The audit's word; empty where it was let through.
fn word(gateway: &Gateway, answer: &Answer) -> String {
    let found = if answer.status == 200 { Value::Null } else { reason(gateway, answer) };
    let security = found["security"].as_str().or(found["malformed"].as_str()).or(found.as_str());
    security.unwrap_or_default().to_owned()
}

#[test]
fn every_time_has_its_border_at_the_second() {
    if !Path::new(FAKETIME).exists() {
        return skipped("faketime");
    }
    let bearer =
        "[[concession]]\nwhat = \"wss_bearer\"\npartner = \"asserted\"\nreason = \"this test\"\nexpires = \"2099-01-01\"\n\n[store]";
    let config = HOUSE
        .replacen("urn:north:orders", "https://gw.example.com/saml/sp", 1)
        .replacen("https://gateway.north.example", "https://idp.example.org/saml/metadata", 1)
        .replacen("[store]", bearer, 1);
    let files = files(&told());
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let clock = Clockwork::open(&config, &files, -61);
    let gateway = &clock.0;
    for (name, password) in [PARTNER, (CLIENT, "never typed by anybody"), ("alice@example.org", "never typed by anybody")] {
        add(gateway, "north", name, password);
    }

    // Made at noon, each time anew. What the default window and the message's own end say.
    let message = |token, signer, seconds| {
        let lifetime = Lifetime::For(SignedDuration::from_secs(seconds));
        written_at(noon(0), lifetime, token, signer, (&envelope(ORDER), &[Part::Body, Part::Timestamp]))
    };
    let key = Some(("client-rsa2048", KeyReference::Direct));
    let signed = |seconds| message(Token::Nothing, key, seconds);
    let digest = || message(Token::Username { name: PARTNER.0, password: Password::Digest(PARTNER.1) }, None, 3600);
    let text = |seconds| message(Token::Username { name: PARTNER.0, password: Password::Text(PARTNER.1) }, None, seconds);
    // From 12:01 to 12:05, and made at 12:01.
    let asserted = || std::fs::read(corpus().join("attacks/wss/good-bearer.xml")).unwrap();
    type Make<'a> = &'a dyn Fn() -> Vec<u8>;
    type Instants = &'static [(i64, &'static str)];
    let borders: [(&str, Make<'_>, Instants); 6] = [
        ("Created, signed", &|| signed(3600), &[(-61, "not_yet_valid"), (-60, ""), (300, ""), (301, "stale")]),
        ("Expires, signed", &|| signed(120), &[(149, ""), (150, "expired")]),
        ("Created of a digest", &digest, &[(-61, "not_yet_valid"), (-60, ""), (300, ""), (301, "stale")]),
        ("Created beside a password", &|| text(3600), &[(-61, "not_yet_valid"), (-60, ""), (300, ""), (301, "stale")]),
        ("Expires beside a password", &|| text(120), &[(149, ""), (150, "expired")]),
        ("NotBefore and NotOnOrAfter", &asserted, &[(29, "not_yet_valid"), (30, ""), (330, "expired")]),
    ];
    /// What it is, where it goes, its octets, and what becomes of it.
    type Step = (&'static str, &'static str, Vec<u8>, &'static str);
    let mut steps: BTreeMap<i64, Vec<Step>> = BTreeMap::new();
    for (what, make, instants) in borders {
        for (second, expected) in instants {
            steps.entry(*second).or_default().push((what, "/orders", make(), expected));
        }
    }
    // The last second of an assertion, at a service that has not seen it.
    steps.entry(329).or_default().push(("NotOnOrAfter", "/ledger", asserted(), ""));
    // What is accepted at the first second that accepts it is remembered until the last one that would.
    for (what, octets) in [("a signed message again", signed(3600)), ("a digest again", digest())] {
        for (second, expected) in [(-60, ""), (299, "replayed"), (300, "replayed"), (301, "stale")] {
            steps.entry(second).or_default().push((what, "/orders", octets.clone(), expected));
        }
    }
    for (second, expected) in [(328, "replayed"), (329, "replayed")] {
        steps.entry(second).or_default().push(("an assertion again", "/orders", asserted(), expected));
    }
    let mut wrong = Vec::new();
    for (second, messages) in &steps {
        clock.set(*second);
        for (what, path, octets, expected) in messages {
            let found = word(gateway, &post(gateway, path, octets));
            if found != *expected {
                wrong.push(format!("{what} at {second}: {found:?} instead of {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const BASE64: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";

/// What is around and in a message that a password proves.
#[derive(Default)]
struct Filled {
    blocks: String,
    children: String,
    nonce: Option<usize>,
    body: String,
}

impl Filled {
    fn message(&self) -> Vec<u8> {
        let Self { blocks, children, nonce, body } = self;
        let nonce = nonce.map(|octets| format!("<w:Nonce EncodingType=\"{BASE64}\">{}</w:Nonce>", STANDARD.encode(vec![7; octets])));
        let nonce = nonce.unwrap_or_default();
        let token = format!(
            "<w:UsernameToken><w:Username>{}</w:Username><w:Password>{}</w:Password>{nonce}</w:UsernameToken>",
            PARTNER.0, PARTNER.1
        );
        let soap = "http://schemas.xmlsoap.org/soap/envelope/";
        let header = format!("<s:Header>{blocks}<w:Security xmlns:w=\"{WSSE}\">{token}{children}</w:Security></s:Header>");
        format!("<s:Envelope xmlns:s=\"{soap}\">{header}<s:Body><o:GetOrder xmlns:o=\"urn:o\">{body}</o:GetOrder></s:Body></s:Envelope>")
            .into_bytes()
    }

    fn to_size(size: usize) -> Vec<u8> {
        let empty = Self::default().message().len();
        Self { body: "7".repeat(size - empty), ..Self::default() }.message()
    }
}

/// Elements inside each other.
fn nested(depth: usize) -> String {
    format!("{}{}", "<a>".repeat(depth), "</a>".repeat(depth))
}

fn many(count: usize, one: impl Fn(usize) -> String) -> String {
    (0..count).map(one).collect()
}

/// One signature over so many parts: Body, Timestamp and blocks of the header.
fn referring(references: usize) -> Vec<u8> {
    let blocks = many(references - 2, |number| format!("<b:B{number} xmlns:b=\"urn:b\"/>"));
    let mut parts = vec![Part::Body, Part::Timestamp];
    parts.extend((0..references - 2).map(|number| Part::parse(&format!("{{urn:b}}B{number}")).unwrap()));
    let envelope = envelope(ORDER).replace("<s:Body>", &format!("<s:Header>{blocks}</s:Header><s:Body>"));
    let now = SystemClock::default().now();
    let lifetime = Lifetime::For(SignedDuration::from_secs(300));
    written_at(now, lifetime, Token::Nothing, Some(("client-rsa2048", KeyReference::Direct)), (&envelope, &parts))
}

/// A signed message with so many of an element of its header.
fn repeated(begin: &str, end: &str, count: usize) -> Vec<u8> {
    let text = String::from_utf8(referring(2)).unwrap();
    let one = cut(&text, begin, end).to_owned();
    // An id stands once.
    let more = many(count - 1, |number| one.replace(" wsu:Id=\"", &format!(" wsu:Id=\"n{number}")));
    text.replace("</wsse:Security>", &format!("{more}</wsse:Security>")).into_bytes()
}

#[test]
fn every_limit_has_its_border_at_every_door() {
    let of = |name: &'static str, last: Vec<u8>, first: Vec<u8>, expected: &'static str| (name, last, first, expected);
    let block = |number: usize| format!("<b:B xmlns:b=\"urn:b{number}\"/>");
    let filled = |with: Filled| with.message();
    let blocks = |count| filled(Filled { blocks: many(count, block), ..Filled::default() });
    let children = |count| filled(Filled { children: many(count, block), ..Filled::default() });
    let nonce = |octets| filled(Filled { nonce: Some(octets), ..Filled::default() });
    let body = |body: String| filled(Filled { body, ..Filled::default() });
    let attributes = |count| body(format!("<a{}/>", many(count, |number| format!(" a{number}=\"\""))));
    let namespaces = |count| body(format!("<a{}/>", many(count, |number| format!(" xmlns:n{number}=\"urn:n{number}\""))));
    let signatures = |count| repeated("<ds:Signature ", "</ds:Signature>", count);
    let tokens = |count| repeated("<wsse:BinarySecurityToken", "</wsse:BinarySecurityToken>", count);
    // The last that is let through, the first that is not, and why it is not.
    let table = [
        of("header blocks", blocks(63), blocks(64), "malformed"),
        of("elements of a security header", children(63), children(64), "malformed"),
        of("a short nonce", nonce(8), nonce(7), "malformed"),
        of("a long nonce", nonce(64), nonce(65), "malformed"),
        // Envelope, Body and the operation are three.
        of("depth", body(nested(125)), body(nested(126)), "limits"),
        of("attributes", attributes(64), attributes(65), "limits"),
        // Those of the envelope and of the operation are two.
        of("namespaces", namespaces(62), namespaces(63), "limits"),
        of("references", referring(8), referring(9), "malformed"),
        of("signatures", signatures(2), signatures(3), "limits"),
        of("certificates", tokens(8), tokens(9), "limits"),
        of("octets of a message", Filled::to_size(64 * 1024), Filled::to_size(64 * 1024 + 1), "body_too_long"),
    ];
    let apart = ["[response.", "/told/", "/kept", "/ledger"];
    let parts: Vec<&str> = HOUSE.split("\n\n").filter(|part| !apart.iter().any(|other| part.contains(other))).collect();
    let config = parts.join("\n\n").replace("localhost:{{port}}\", \"127.0.0.1:{{port}}", "localhost:{{public}}").replace("1MiB", "64KiB");
    let table = &table;
    let mut wrong: Vec<String> = std::thread::scope(|scope| {
        let doors = Door::ALL.map(|door| {
            let config = config.replace("inject = [\"headers\"]\n", &format!("inject = [\"headers\"]\n{}", door.header()));
            scope.spawn(move || at(door, &config, table))
        });
        doors.into_iter().flat_map(|door| door.join().unwrap()).collect()
    });
    wrong.sort();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

type Border = (&'static str, Vec<u8>, Vec<u8>, &'static str);

fn at(door: Door, config: &str, table: &[Border]) -> Vec<String> {
    let files = files("");
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let Some(place) = door.open(config, &files, true) else { return Vec::new() };
    let gateway = place.gateway();
    for (name, password) in [PARTNER, (CLIENT, "never typed by anybody")] {
        add(gateway, "north", name, password);
    }
    let mut wrong = Vec::new();
    for (what, last, first, expected) in table {
        for (octets, expected) in [(last, ""), (first, *expected)] {
            gateway.application.forget();
            let answer = gateway.send(&ask("POST", "/orders").header("Content-Type", "text/xml; charset=utf-8").body(octets.as_slice()));
            let found = word(gateway, &answer);
            let reached = gateway.application.received().len();
            if found != expected || reached != usize::from(expected.is_empty()) {
                wrong.push(format!("{door:?} {what}: {found:?} instead of {expected:?}, {}", answer.status));
            }
        }
    }
    wrong
}
