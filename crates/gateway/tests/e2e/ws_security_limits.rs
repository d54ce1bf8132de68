//! The borders of the scheme `ws-security` at the live door: one second before and after each time, one more and one less of
//! each count and size.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_saml::ConfirmationMethod::HolderOfKey;
use vestibule_wss::{KeyReference, Lifetime, Part, Password, Token};
use vestibule_xmlsec::{
    AesSize, ContentKey, Document, ElementView, EncryptedForm, EncryptedKeyInfo, Encryption, Error, FromClaimed, Limits, Place, Recipient,
    SignedElement, Unsigned,
};

use crate::support::{Answer, FAKETIME, Gateway, Launch, ask};
use crate::ws_security::{
    CLIENT, HOUSE, ORDER, PARTNER, add, asserted, corpus, cut, der, envelope, files, post, presenting, reason, skipped, told, written_at,
};
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
struct Filled {
    who: (String, String),
    blocks: String,
    children: String,
    nonce: Option<usize>,
    body: String,
}

impl Default for Filled {
    fn default() -> Self {
        let who = (PARTNER.0.to_owned(), PARTNER.1.to_owned());
        Self { who, blocks: String::new(), children: String::new(), nonce: None, body: String::new() }
    }
}

impl Filled {
    fn message(&self) -> Vec<u8> {
        let Self { who: (name, password), blocks, children, nonce, body } = self;
        let nonce = nonce.map(|octets| format!("<w:Nonce EncodingType=\"{BASE64}\">{}</w:Nonce>", STANDARD.encode(vec![7; octets])));
        let nonce = nonce.unwrap_or_default();
        let token = format!("<w:UsernameToken><w:Username>{name}</w:Username><w:Password>{password}</w:Password>{nonce}</w:UsernameToken>");
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

/// One more transform in the first reference of a message.
fn transformed(message: Vec<u8>) -> Vec<u8> {
    let text = String::from_utf8(message).unwrap();
    let one = "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>";
    text.replacen("</ds:Transforms>", &format!("{one}</ds:Transforms>"), 1).into_bytes()
}

/// A message of a holder, with an assertion of its own.
fn held(id: &str) -> Vec<u8> {
    presenting(id, &asserted(id, PARTNER.0, HolderOfKey, SystemClock::default().now(), false), &HolderOfKey, ORDER)
}

/// A signed message whose certificate comes with a path of so many (X.509 §8.5: the end entity last).
fn along(certificates: usize) -> Vec<u8> {
    let text = String::from_utf8(referring(2)).unwrap();
    let path = [der("ca.crt").repeat(certificates - 1), der("client-rsa2048.crt")].concat();
    let path = [&[0x30, 0x82], u16::try_from(path.len()).unwrap().to_be_bytes().as_slice(), &path].concat();
    let token = cut(&text, "<wsse:BinarySecurityToken", "</wsse:BinarySecurityToken>");
    let (opened, _) = token.split_once('>').unwrap();
    let new = format!("{}>{}</wsse:BinarySecurityToken>", opened.replace("#X509v3", "#X509PKIPathv1"), STANDARD.encode(path));
    text.replace(token, &new).into_bytes()
}

/// The first element of the namespace `urn:e`.
struct First(Option<Place>);

impl FromClaimed for First {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        let mut rest = vec![root];
        while let Some(element) = rest.pop() {
            if element.namespace() == "urn:e" {
                return Ok(Self(Some(element.place())));
            }
            rest.extend(element.children());
        }
        Ok(Self(None))
    }
}

/// A message with so many ciphertexts, each of its own element of the Body, that one key opens.
fn sealed(ciphertexts: usize) -> Vec<u8> {
    let body = many(ciphertexts, |number| format!("<e:E xmlns:e=\"urn:e\">{number}</e:E>"));
    let mut octets = Filled { body, ..Filled::default() }.message();
    let key = ContentKey::generate(AesSize::Aes256).unwrap();
    let ids: Vec<String> = (0..ciphertexts).map(|number| format!("e{number}")).collect();
    for id in &ids {
        let document = Document::parse(&octets, &Limits::SOAP).unwrap();
        let place = document.claim::<First>().unwrap().sender_says().0.clone().unwrap();
        let encryption = Encryption { part: EncryptedForm::Element, key: &key, key_info: EncryptedKeyInfo::Absent, id: Some(id) };
        octets = document.encrypt(SignedElement::At(&place), &encryption).unwrap();
    }
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let recipient = Recipient::from_certificate(&der("server-rsa2048.crt")).unwrap();
    let key = recipient.encrypted_key(&key, Some("key"), None, &ids).unwrap();
    String::from_utf8(octets).unwrap().replacen("<w:UsernameToken>", &format!("{key}<w:UsernameToken>"), 1).into_bytes()
}

const XOP: &str = "http://www.w3.org/2004/08/xop/include";

/// A message in several parts: how long their boundary and the head of the second are, and how many there are.
struct Package {
    boundary: usize,
    head: usize,
    parts: usize,
}

impl Package {
    fn whole(&self, kind: &str, root: &str, message: &[u8]) -> (String, Vec<u8>) {
        let boundary = "b".repeat(self.boundary);
        let begin = "Content-ID: <p0>\r\nX-Filled: ";
        let mut head = format!("{begin}{}", "7".repeat(self.head - begin.len()));
        let mut octets = format!("--{boundary}\r\nContent-Type: {root}\r\nContent-ID: <root>\r\n\r\n").into_bytes();
        octets.extend_from_slice(message);
        for number in 1..self.parts {
            octets.extend_from_slice(format!("\r\n--{boundary}\r\n{head}\r\n\r\nattached").as_bytes());
            head = format!("Content-ID: <p{number}>");
        }
        octets.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
        (format!("multipart/related; boundary={boundary}; type=\"{kind}\""), octets)
    }

    /// With parts that nothing in the message refers to (SOAP Messages with Attachments).
    fn attached(&self) -> (String, Vec<u8>) {
        self.whole("text/xml", "text/xml; charset=utf-8", &Filled::default().message())
    }

    /// With so many inclusions of the second part (XOP §2.1).
    fn including(inclusions: usize) -> (String, Vec<u8>) {
        let body = many(inclusions, |_| format!("<d><x:Include xmlns:x=\"{XOP}\" href=\"cid:p0\"/></d>"));
        let message = Filled { body, ..Filled::default() }.message();
        let root = "application/xop+xml; charset=utf-8; type=\"text/xml\"";
        Self { boundary: 1, head: 100, parts: 2 }.whole("application/xop+xml", root, &message)
    }
}

fn plain(message: Vec<u8>) -> (String, Vec<u8>) {
    ("text/xml; charset=utf-8".to_owned(), message)
}

/// A media type of so many octets and parameters.
fn typed(octets: usize, parameters: usize) -> (String, Vec<u8>) {
    let head = many(parameters - 1, |number| format!("; p{number}=1"));
    let begin = format!("text/xml{head}; filled=");
    (format!("{begin}{}", "7".repeat(octets - begin.len())), Filled::default().message())
}

/// A name and a password of so many octets.
fn lengths(name: usize, password: usize) -> (String, Vec<u8>) {
    plain(Filled { who: ("n".repeat(name), "p".repeat(password)), ..Filled::default() }.message())
}

/// Octets of the longest name and password that a user can have.
const LONGEST: (usize, usize) = (256, 1024);

#[test]
fn every_limit_has_its_border_at_every_door() {
    let of = |what, last, first, expected| Border { what, last: plain(last), of_last: "", first: plain(first), of_first: expected };
    let among = |what, last, first, expected| Border { what, last, of_last: "", first, of_first: expected };
    let unread = |what, last, first| Border { what, last, of_last: "malformed_credential", first, of_first: "malformed" };
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
    let package = |boundary, head, parts| Package { boundary, head, parts }.attached();
    let (name, password) = LONGEST;
    // The last that is let through, or refused only for what it is; the first that is not; and why it is not.
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
        of("transforms of a part", referring(2), transformed(referring(2)), "malformed"),
        of("transforms of an assertion", held("_two"), transformed(held("_three")), "malformed"),
        of("signatures", signatures(2), signatures(3), "limits"),
        of("certificates", tokens(8), tokens(9), "limits"),
        of("certificates of a path", along(8), along(9), "malformed"),
        // What is sealed may be anybody's token: the first scheme of the chain, which has no key, says that it sees none of its own.
        Border { of_last: "no_credentials", ..of("ciphertexts", sealed(16), sealed(17), "malformed") },
        of("octets of a message", Filled::to_size(64 * 1024), Filled::to_size(64 * 1024 + 1), "body_too_long"),
        among("a user's name", lengths(name, password), lengths(name + 1, password), "malformed_credential"),
        among("a user's password", lengths(name, password), lengths(name, password + 1), "malformed_credential"),
        unread("a name", lengths(1024, password), lengths(1025, password)),
        unread("a password", lengths(name, 4096), lengths(name, 4097)),
        among("parts", package(1, 100, 64), package(1, 100, 65), "limits"),
        among("the head of a part", package(1, 8192, 2), package(1, 8193, 2), "limits"),
        among("a boundary", package(70, 100, 2), package(71, 100, 2), "malformed"),
        among("inclusions", Package::including(256), Package::including(257), "limits"),
        among("a media type", typed(1024, 2), typed(1025, 2), "malformed"),
        among("parameters of a media type", typed(200, 8), typed(200, 9), "malformed"),
    ];
    let apart = ["[response.", "/told/", "/kept", "/ledger"];
    let parts: Vec<&str> = HOUSE.split("\n\n").filter(|part| !apart.iter().any(|other| part.contains(other))).collect();
    let realms = "realm = [\"partners\", \"local\"]";
    let opened = format!("{realms}\ndecryption_keys = [{{ file = \"server-rsa2048.key\" }}]");
    let config = parts.join("\n\n").replace(realms, &opened);
    let config = config.replace("localhost:{{port}}\", \"127.0.0.1:{{port}}", "localhost:{{public}}").replace("1MiB", "64KiB");
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

/// Two messages, each with its media type and why it is refused; with no reason it is let through.
struct Border {
    what: &'static str,
    last: (String, Vec<u8>),
    of_last: &'static str,
    first: (String, Vec<u8>),
    of_first: &'static str,
}

fn at(door: Door, config: &str, table: &[Border]) -> Vec<String> {
    let mut files = files("");
    let (name, password) = ("n".repeat(LONGEST.0), "p".repeat(LONGEST.1));
    files[0].1 += &format!("{name}:{password}\n");
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let Some(place) = door.open(config, &files, true) else { return Vec::new() };
    let gateway = place.gateway();
    for (name, password) in [PARTNER, (CLIENT, "never typed by anybody"), (&name, "never typed by anybody")] {
        add(gateway, "north", name, password);
    }
    let mut wrong = Vec::new();
    for Border { what, last, of_last, first, of_first } in table {
        for ((media_type, octets), expected) in [(last, of_last), (first, of_first)] {
            gateway.application.forget();
            let answer = gateway.send(&ask("POST", "/orders").header("Content-Type", media_type).body(octets.as_slice()));
            let found = word(gateway, &answer);
            let reached = gateway.application.received().len();
            if found != *expected || reached != usize::from(expected.is_empty()) {
                wrong.push(format!("{door:?} {what}: {found:?} instead of {expected:?}, {}", answer.status));
            }
        }
    }
    wrong
}
