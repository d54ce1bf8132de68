//! The scheme and the response `ws-security`: live clients through the doors, headers for services, both models of a policy
//! server, and every recorded message and attack at the time it was made for.

use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_saml::{
    AssertionContent, Attribute, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, NameId, Subject, Version as SamlVersion,
};
use vestibule_soap::Target;
use vestibule_wss::{
    Assertion, AssertionReference, CertificateStore, Channel, Concession, Concessions, Consumed, Demand, Header, KeyReference, Lifetime,
    Message, MustUnderstand, Part, Password, Randomness, Rules, SignWith, Token, TokenKind, TrustedIssuer, Window,
};
use vestibule_xmlsec::{DecryptionKeys, Fragment, Limits, SigningKey, TrustedKeys, WebServices};

use crate::doors::{Front, House, bringing};
use crate::support::{Answer, Gateway, ask};
use crate::ws_security_corpus::words;

const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
pub const ORDER: &str = "<o:GetOrder xmlns:o=\"urn:example:orders\"><o:id>7</o:id></o:GetOrder>";
pub const GATEWAY: &str = "https://gateway.north.example";

pub fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus")
}

pub fn pem(name: &str) -> String {
    std::fs::read_to_string(corpus().join("recorded/keys").join(name)).unwrap()
}

pub fn der(name: &str) -> Vec<u8> {
    STANDARD.decode(pem(name).lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

/// One tenant whose chain reads all three tokens, then Basic.
pub const HOUSE: &str = r#"
[[listen]]
address = "127.0.0.1:{{port}}"

[server]
workers = 1
health = "127.0.0.1:{{health}}"
control_socket = "{{dir}}/admin.sock"

[tenant.north]
hosts = ["app.north.localhost:{{port}}", "127.0.0.1:{{port}}"]
chain = ["signed", "asserted", "named", "basic"]

[scheme.named]
type = "ws-security"
token = "username"
realm = ["partners", "local"]

[scheme.signed]
type = "ws-security"
token = "x509"
certificates = ["client-rsa2048.crt"]
map = "common-name"

[scheme.asserted]
type = "ws-security"
token = "saml"
audience = "urn:north:orders"
issuers = [{ entity_id = "https://gateway.north.example", certificates = ["idp-rsa2048.crt"] }]

[scheme.basic]
type = "basic"
realm = "local"

[realm.partners]
type = "shared-secrets"
users = { file = "partners" }

[upstream.orders]
url = "http://{{app}}"

[upstream.ledger]
url = "http://{{app}}"

[[route]]
match = "/orders"
policies = ["policy.cedar"]
inject = ["headers"]
body = { limit = "1MiB", types = ["text/xml", "application/soap+xml", "multipart/related"] }
forward = "orders"

[[route]]
match = "/kept"
policies = ["policy.cedar"]
inject = ["headers"]
body = { limit = "1MiB", types = ["text/xml", "application/soap+xml"] }
security_header = "keep"
forward = "orders"

[[route]]
match = "/ledger"
policies = ["policy.cedar"]
body = { limit = "1MiB", types = ["text/xml", "application/soap+xml"] }
forward = "ledger"

[[route]]
match = "/told/*"
policies = ["told.cedar"]
inject = ["headers"]
body = { limit = "1MiB", types = ["text/xml", "application/soap+xml", "application/json"] }
forward = "orders"

[response.digest]
type = "ws-security"
token = "password-digest"
password = "received"
role = "urn:service"

[response.text]
type = "ws-security"
token = "password-text"
shared_password = { file = "service-password" }
timestamp = false
must_understand = false

[response.x509]
type = "ws-security"
token = "x509"
certificate = "idp-rsa2048.crt"
key = { file = "idp-rsa2048.key" }

[response.vouched]
type = "ws-security"
token = "saml"
certificate = "idp-rsa2048.crt"
key = { file = "idp-rsa2048.key" }
assertion = { issuer = "https://gateway.north.example", audience = "urn:north:orders", confirm = "sender-vouches", attributes = { groups = "groups" } }

[response.vouched11]
type = "ws-security"
token = "saml"
certificate = "idp-rsa2048.crt"
key = { file = "idp-rsa2048.key" }
assertion = { version = "1.1", issuer = "https://gateway.north.example", audience = "urn:north:orders", confirm = "sender-vouches-signed" }

[response.holder]
type = "ws-security"
token = "saml"
certificate = "idp-rsa2048.crt"
key = { file = "idp-rsa2048.key" }
assertion = { issuer = "https://gateway.north.example", audience = "urn:north:orders", confirm = "holder-of-key", holder = "message" }

[response.encrypted]
type = "ws-security"
token = "x509"
role = "urn:sealed"
certificate = "idp-rsa2048.crt"
key = { file = "idp-rsa2048.key" }
encrypt_for = "server-rsa2048.crt"
encrypt_parts = ["body"]

[[concession]]
what = "wss_sender_vouches"
partner = "asserted"
reason = "this test"
expires = "2099-01-01"

[[concession]]
what = "saml11"
partner = "asserted"
reason = "this test"
expires = "2099-01-01"

[store]
path = "{{dir}}/data"

[audit]
to = "file"
path = "{{dir}}/audit.jsonl"
"#;

/// One response a path: `/told/NAME`.
pub fn told() -> String {
    let rule = |name: &str| {
        format!("@id(\"{name}\") @response(\"{name}\") permit(principal, action, resource) when {{ resource.path == \"/told/{name}\" }};\n")
    };
    let both = "@id(\"both\") @response(\"digest x509\") permit(principal, action, resource) when { resource.path == \"/told/both\" };\n";
    let clash = both.replace("both", "clash").replace("digest x509", "x509 vouched");
    let names = ["digest", "text", "x509", "vouched", "vouched11", "holder", "encrypted"];
    names.map(rule).concat() + both + &clash
}

pub const CLIENT: &str = "soap-client.example.com";
pub const PARTNER: (&str, &str) = ("acme", "shared with acme");
pub const ADA: (&str, &str) = ("ada", "correct horse battery");

pub fn add(gateway: &Gateway, tenant: &str, name: &str, password: &str) {
    let file = gateway.scratch.write("password", password);
    let output =
        gateway.command(&["user", "add", name, "--tenant", tenant, "--group", "admins", "--password-file", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub fn files(told: &str) -> Vec<(String, String)> {
    let mut files = vec![
        ("partners".to_owned(), format!("{}:{}\n", PARTNER.0, PARTNER.1)),
        ("service-password".to_owned(), "what the service asks".to_owned()),
        ("told.cedar".to_owned(), told.to_owned()),
    ];
    for name in ["client-rsa2048.crt", "idp-rsa2048.crt", "idp-rsa2048.key", "server-rsa2048.crt", "server-rsa2048.key"] {
        files.push((name.to_owned(), pem(name)));
    }
    files
}

pub fn house() -> Gateway {
    house_of(HOUSE)
}

/// The same with another configuration.
pub fn house_of(config: &str) -> Gateway {
    let files = files(&told());
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let gateway = Gateway::with_files(config, &files);
    for (name, password) in [PARTNER, ADA, (CLIENT, "never typed by anybody")] {
        add(&gateway, "north", name, password);
    }
    gateway
}

pub fn envelope(inside: &str) -> String {
    format!("<s:Envelope xmlns:s=\"{SOAP11}\"><s:Body>{inside}</s:Body></s:Envelope>")
}

pub fn post(gateway: &Gateway, path: &str, body: &[u8]) -> Answer {
    gateway.send(&ask("POST", path).header("Content-Type", "text/xml; charset=utf-8").body(body))
}

pub fn reason(gateway: &Gateway, answer: &Answer) -> Value {
    gateway.audit_of(answer)[0]["reason"].clone()
}

fn random() -> Randomness {
    use std::hash::{BuildHasher, Hasher};
    let mut octets = [0; 32];
    for part in octets.chunks_mut(8) {
        part.copy_from_slice(&std::hash::RandomState::new().build_hasher().finish().to_be_bytes());
    }
    Randomness(octets)
}

fn key(name: &str) -> SigningKey<WebServices> {
    SigningKey::from_pkcs8("ws-security", &der(&format!("{name}.key")), Some(&der(&format!("{name}.crt")))).unwrap()
}

/// A message of a consumer of our own.
pub fn written(token: Token<'_>, signer: Option<(&str, KeyReference)>, inside: &str) -> Vec<u8> {
    let lifetime = Lifetime::For(jiff::SignedDuration::from_secs(300));
    written_at(SystemClock::default().now(), lifetime, token, signer, (&envelope(inside), &[Part::Body, Part::Timestamp]))
}

/// One of another time, over an envelope of which other parts are signed.
pub fn written_at(
    now: jiff::Timestamp,
    lifetime: Lifetime,
    token: Token<'_>,
    signer: Option<(&str, KeyReference)>,
    (envelope, parts): (&str, &[Part]),
) -> Vec<u8> {
    let message = Message::read(envelope.as_bytes(), &Limits::SOAP).unwrap();
    let signing = signer.map(|(name, reference)| (key(name), der(&format!("{name}.crt")), reference));
    let header = Header {
        role: &Target::Ultimate,
        must_understand: MustUnderstand::Omitted,
        consumed: Consumed::Kept,
        lifetime,
        token,
        sign: signing.as_ref().map(|(key, certificate, reference)| SignWith { key, certificate, parts, reference: *reference }),
        encrypt: None,
    };
    header.write(&message, &Limits::SOAP, now, &random()).unwrap()
}

/// An assertion about a user as the issuer of this house makes it, for five minutes.
pub fn asserted(id: &str, name: &str, method: ConfirmationMethod, issued: jiff::Timestamp, one_time_use: bool) -> String {
    saying(id, name, method, (issued, one_time_use), Vec::new())
}

/// The same with attributes.
pub fn saying(
    id: &str,
    name: &str,
    method: ConfirmationMethod,
    (issued, one_time_use): (jiff::Timestamp, bool),
    attributes: Vec<Attribute>,
) -> String {
    let holder = (method == ConfirmationMethod::HolderOfKey).then(|| der("client-rsa2048.crt"));
    let confirmation = Confirmation { holder_certificates: holder.into_iter().collect(), ..Confirmation::of(method) };
    let content = AssertionContent {
        version: SamlVersion::Saml20,
        id: id.to_owned(),
        issuer: GATEWAY.to_owned(),
        issuer_format: None,
        issue_instant: issued,
        subject: Some(Subject {
            name_id: Some(NameId::new(name, "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified")),
            confirmations: vec![confirmation],
        }),
        conditions: Some(Conditions {
            not_before: Some(issued),
            not_on_or_after: Some(issued + jiff::SignedDuration::from_secs(300)),
            audiences: vec![vec!["urn:north:orders".to_owned()]],
            one_time_use,
            ..Conditions::default()
        }),
        authn: vec![AuthnStatement::new(issued, "urn:oasis:names:tc:SAML:2.0:ac:classes:Password")],
        attributes,
    };
    content.signed(&key("idp-rsa2048")).unwrap().into()
}

/// An element as somebody takes it from one message to another.
pub fn alone(xml: &str) -> Fragment {
    Fragment::parse(xml, &Limits::MESSAGE).unwrap()
}

/// A message with such an assertion, and whatever signature its method asks for.
pub fn presenting(id: &str, xml: &str, method: &ConfirmationMethod, inside: &str) -> Vec<u8> {
    let xml = &alone(xml);
    let token = Token::Saml(Assertion { xml, id, version: SamlVersion::Saml20, reference: AssertionReference::Direct });
    let (signer, parts): (_, &[Part]) = match method {
        ConfirmationMethod::HolderOfKey => (Some(("client-rsa2048", KeyReference::Assertion)), &[Part::Body, Part::Timestamp]),
        ConfirmationMethod::SenderVouches => (Some(("idp-rsa2048", KeyReference::Direct)), &[Part::Body, Part::Timestamp, Part::Token]),
        _ => (None, &[]),
    };
    let lifetime = Lifetime::For(jiff::SignedDuration::from_secs(300));
    written_at(SystemClock::default().now(), lifetime, token, signer, (&envelope(inside), parts))
}

/// The house with something more conceded to schemes.
pub fn conceding(conceded: &[(&str, &str)]) -> String {
    let one = |(what, scheme): &(&str, &str)| {
        format!("\n[[concession]]\nwhat = \"{what}\"\npartner = \"{scheme}\"\nreason = \"this test\"\nexpires = \"2099-01-01\"\n")
    };
    HOUSE.to_owned() + &conceded.iter().map(one).collect::<String>()
}

pub fn named(name: &str, password: Password<'_>) -> Vec<u8> {
    written(Token::Username { name, password }, None, ORDER)
}

pub fn signed() -> Vec<u8> {
    written(Token::Nothing, Some(("client-rsa2048", KeyReference::Direct)), ORDER)
}

pub fn skipped(what: &str) {
    assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{what} is missing");
    println!("SKIPPED: {what} is not installed");
}

#[test]
fn a_header_is_read_and_goes_no_further_unless_the_service_needs_it() {
    let gateway = house();
    let text = named(ADA.0, Password::Text(ADA.1));
    for (message, user) in [
        (text.clone(), ADA.0),
        (named(PARTNER.0, Password::Digest(PARTNER.1)), PARTNER.0),
        (named(PARTNER.0, Password::Text(PARTNER.1)), PARTNER.0),
        (signed(), CLIENT),
    ] {
        let answer = post(&gateway, "/orders", &message);
        assert_eq!(answer.status, 200, "{user}: {answer:?} {:?}", gateway.audit_of(&answer));
        let seen = gateway.application.last();
        assert_eq!(seen.header("x-vestibule-user"), Some(user));
        let body = String::from_utf8(seen.body).unwrap();
        assert!(!body.contains("Security") && body.contains(ORDER), "{body}");
        // All that is not the header stands there octet by octet.
        let sent = String::from_utf8(message).unwrap();
        assert!(sent.ends_with(body.split_once("Header>").unwrap().1), "{body}");
    }
    // Where the service needs it, it gets what was sent.
    assert_eq!(post(&gateway, "/kept", &text).status, 200);
    assert_eq!(gateway.application.last().body, text);
    // Somebody else may be recognised by something else: the header goes all the same.
    let beside = ask("POST", "/orders").basic(ADA.0, ADA.1).header("Content-Type", "text/xml").header("Digest", "sha-256=x");
    let answer = gateway.send(&beside.body(named("nobody", Password::Text("x"))));
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = gateway.application.last();
    assert!(!String::from_utf8(seen.body.clone()).unwrap().contains("Security") && seen.header("digest").is_none());
    let length = seen.header("content-length").unwrap().parse::<usize>().unwrap();
    assert_eq!(length, seen.body.len());
}

#[test]
fn what_does_not_hold_is_a_fault_and_never_forwarded() {
    let gateway = house();
    let sign = signed();
    assert_eq!(post(&gateway, "/orders", &sign).status, 200);
    let digest = named(PARTNER.0, Password::Digest(PARTNER.1));
    assert_eq!(post(&gateway, "/orders", &digest).status, 200);
    gateway.application.forget();
    let tampered = String::from_utf8(signed()).unwrap().replace(">7<", ">8<").into_bytes();
    let security = |word: &str| serde_json::json!({ "security": word });
    let cases = [
        (envelope(ORDER).into_bytes(), Value::from("nobody"), "InvalidSecurity"),
        (tampered, security("digest_mismatch"), "FailedAuthentication"),
        (written(Token::Nothing, Some(("other-rsa2048", KeyReference::Direct)), ORDER), security("unknown_key"), "FailedAuthentication"),
        (sign.clone(), Value::from("replayed"), "MessageExpired"),
        (digest.clone(), Value::from("replayed"), "MessageExpired"),
        (named(ADA.0, Password::Text("a wrong guess of it")), Value::from("wrong_password"), "FailedAuthentication"),
        (named("nobody", Password::Text("a wrong guess of it")), Value::from("unknown_user"), "FailedAuthentication"),
        // A realm that keeps hashes can check no digest.
        (named(ADA.0, Password::Digest(ADA.1)), Value::from("no_password"), "FailedAuthentication"),
    ];
    for (message, wanted, code) in &cases {
        let answer = post(&gateway, "/orders", message);
        assert!(answer.body.contains(&format!("wsse:{code}")) || answer.status == 401, "{wanted}: {answer:?}");
        assert!(answer.body.contains("Fault"), "{answer:?}");
        assert_eq!(reason(&gateway, &answer), *wanted, "{answer:?}");
    }
    assert!(gateway.application.received().is_empty());
    // The next service is another receiver; for it the message is new, once (the chain model).
    assert_eq!(post(&gateway, "/ledger", &sign).status, 200);
    assert_eq!(reason(&gateway, &post(&gateway, "/ledger", &sign)), Value::from("replayed"));
}

#[test]
fn zeep_calls_through_the_gateway() {
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let there = Command::new(&python).args(["-c", "import zeep, xmlsec"]).output().is_ok_and(|output| output.status.success());
    if !there {
        return skipped("zeep");
    }
    let gateway = house();
    let order = "<o:Order xmlns:o=\"urn:example:orders\"><o:state>ready</o:state></o:Order>";
    let body = envelope(order);
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    gateway.application.answer_raw(head + &body);
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let call = |kind: &str, name: &str, password: &str| -> Value {
        let output = Command::new(&python)
            .arg(here.join("peers/zeep_call.py"))
            .arg(here.join("data/orders.wsdl"))
            .arg(format!("http://{}/orders", gateway.address))
            .arg(format!("app.north.localhost:{}", gateway.public))
            .args([kind, name, password])
            .args(["client-rsa2048.key", "client-rsa2048.crt"].map(|name| corpus().join("recorded/keys").join(name)))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    for (kind, name, password) in
        [("text", ADA.0, ADA.1), ("digest", PARTNER.0, PARTNER.1), ("text", PARTNER.0, PARTNER.1), ("signed", "", "")]
    {
        assert_eq!(call(kind, name, password), serde_json::json!({ "ok": "ready" }), "{kind} {name}");
        assert!(!String::from_utf8(gateway.application.last().body).unwrap().contains("Security"));
    }
    gateway.application.forget();
    for (kind, name, password) in [("none", "", ""), ("text", ADA.0, "wrong"), ("digest", PARTNER.0, "wrong")] {
        assert!(call(kind, name, password).get("ok").is_none(), "{kind} {name}");
    }
    assert!(gateway.application.received().is_empty());
}

/// What the service makes of what it got.
pub fn service<'a>(
    tokens: &'a [TokenKind],
    role: &'a Target,
    concessions: &[Concession],
    octets: &[u8],
    decrypt: bool,
) -> vestibule_wss::Accepted {
    let (mut certificates, mut attesters, mut keys) = (CertificateStore::new(), CertificateStore::new(), TrustedKeys::new());
    certificates.know(&der("idp-rsa2048.crt")).unwrap();
    certificates.know(&der("client-rsa2048.crt")).unwrap();
    attesters.know(&der("idp-rsa2048.crt")).unwrap();
    keys.add_certificate(&der("idp-rsa2048.crt")).unwrap();
    let mut decryption = DecryptionKeys::new();
    decryption.add_pkcs8("ws-security-decryption", &der("server-rsa2048.key")).unwrap();
    let rules = Rules {
        role,
        demand: Demand { tokens, parts: &[] },
        window: Window::default(),
        concessions: concessions.iter().copied().collect::<Concessions>(),
        channel: Channel::Protected { client: None, certificate: None },
        certificates: &certificates,
        issuers: &[TrustedIssuer { entity_id: GATEWAY.to_owned(), keys, attesters }],
        audience: "urn:north:orders",
        recipients: &[],
        decryption: decrypt.then_some(&decryption),
    };
    let message = Message::read(octets, &Limits::SOAP).unwrap();
    message
        .verify(&rules, SystemClock::default().now())
        .unwrap_or_else(|rejection| panic!("{rejection:?}\n{}", String::from_utf8_lossy(octets)))
}

#[test]
fn permits_write_the_header_that_the_service_asks_for() {
    let gateway = house();
    let text = || named(ADA.0, Password::Text(ADA.1));
    let told = |name: &str, message: &[u8]| {
        let answer = post(&gateway, &format!("/told/{name}"), message);
        assert_eq!(answer.status, 200, "{name}: {answer:?} {}", gateway.log());
        gateway.application.last().body
    };
    let partner = Target::Role("urn:service".to_owned());
    let digest = service(&[TokenKind::Username], &partner, &[], &told("digest", &text()), false);
    assert!(digest.username.as_ref().is_some_and(|token| token.username() == ADA.0 && token.matches(ADA.1.as_bytes())));
    let octets = told("text", &text());
    assert!(!String::from_utf8_lossy(&octets).contains("mustUnderstand"));
    let shared = service(&[TokenKind::Username], &Target::Ultimate, &[], &octets, false);
    assert!(shared.username.is_some_and(|token| token.matches(b"what the service asks")));
    let x509 = service(&[TokenKind::X509], &Target::Ultimate, &[], &told("x509", &text()), false);
    assert!(x509.covered.contains(&"body".to_owned()) && x509.covered.contains(&"timestamp".to_owned()), "{:?}", x509.covered);
    let vouches = [Concession::SenderVouches, Concession::Saml11];
    for name in ["vouched", "vouched11"] {
        let vouched = service(&[TokenKind::Saml], &Target::Ultimate, &vouches, &told(name, &text()), false);
        assert_eq!(vouched.assertion.unwrap().assertion.value().name_id().unwrap().value, ADA.0, "{name}");
    }
    let sealed = told("encrypted", &text());
    assert!(!String::from_utf8_lossy(&sealed).contains("GetOrder"));
    let opened = service(&[TokenKind::X509], &Target::Role("urn:sealed".to_owned()), &[], &sealed, true);
    assert_eq!(opened.message.envelope().operation().unwrap().local, "GetOrder");
    // Two responses of one permit, for two receivers.
    let both = told("both", &text());
    service(&[TokenKind::Username], &partner, &[], &both, false);
    service(&[TokenKind::X509], &Target::Ultimate, &[], &both, false);
    // What is missing is never left out: two that would stand in each other's way, no password came, no message was signed, nothing is a message.
    gateway.application.forget();
    for (name, message) in [("clash", text()), ("digest", signed()), ("holder", text())] {
        let answer = post(&gateway, &format!("/told/{name}"), &message);
        assert_eq!((answer.status, reason(&gateway, &answer)), (500, Value::from("injection")), "{name}: {answer:?}");
    }
    let json = ask("POST", "/told/x509").basic(ADA.0, ADA.1).header("Content-Type", "application/json").body("{}");
    assert_eq!(gateway.send(&json).status, 500);
    assert!(gateway.application.received().is_empty());
}

/// The table of `policy-server-and-ws-security.md` §3.6, lived: whoever is recognised by what a row says gets the header of a
/// column, or nothing is forwarded.
#[test]
fn every_scheme_feeds_the_headers_that_the_table_says() {
    let gateway = house();
    let told = |name: &str, message: &[u8], basic: bool| {
        let ask = ask("POST", &format!("/told/{name}")).header("Content-Type", "text/xml");
        let ask = if basic { ask.basic(ADA.0, ADA.1) } else { ask };
        let answer = gateway.send(&ask.body(message));
        let written = (answer.status == 200).then(|| String::from_utf8(gateway.application.last().body).unwrap());
        assert!(written.is_some() || reason(&gateway, &answer) == "injection", "{name}: {answer:?} {:?}", gateway.audit_of(&answer));
        written
    };
    let first = told("holder", &signed(), false).unwrap();
    let assertion = cut(&first, "<saml:Assertion", "</saml:Assertion>").to_owned();
    let id = assertion.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let holding = || {
        let xml = &alone(&assertion);
        let token = Assertion { xml, id: &id, version: SamlVersion::Saml20, reference: AssertionReference::Direct };
        written(Token::Saml(token), Some(("client-rsa2048", KeyReference::Assertion)), ORDER)
    };
    type Message<'a> = &'a dyn Fn() -> Vec<u8>;
    let rows: [(&str, bool, Message<'_>, [bool; 2]); 5] = [
        // Whether the caller's password comes along, and whether a key signed the message.
        ("basic", true, &|| envelope(ORDER).into_bytes(), [true, false]),
        ("a password", false, &|| named(ADA.0, Password::Text(ADA.1)), [true, false]),
        ("a digest", false, &|| named(PARTNER.0, Password::Digest(PARTNER.1)), [false, false]),
        ("a signature", false, &signed, [false, true]),
        ("an assertion", false, &holding, [false, true]),
    ];
    for (row, basic, message, [password, key]) in rows {
        for (column, possible, holds) in [
            ("digest", password, "#PasswordDigest"),
            ("text", true, "#PasswordText"),
            ("x509", true, "BinarySecurityToken"),
            ("vouched", true, "sender-vouches"),
            ("vouched11", true, "sender-vouches"),
            ("holder", key, "holder-of-key"),
        ] {
            gateway.application.forget();
            match told(column, &message(), basic) {
                Some(written) => assert!(possible && written.contains(holds), "{row}, {column}: {written}"),
                None => assert!(!possible && gateway.application.received().is_empty(), "{row}, {column}"),
            }
        }
    }
}

/// Between two tags, inclusive.
pub fn cut<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let from = text.find(begin).unwrap();
    let to = text.find(end).unwrap() + end.len();
    &text[from..to]
}

/// An installation of its own that knows the certificate of [`GATEWAY`] and nothing else of it.
pub fn federated() -> Gateway {
    let config = HOUSE.replace("\"signed\", \"asserted\", \"named\", \"basic\"", "\"asserted\"");
    let config: Vec<&str> = config.split("\n\n").filter(|part| !part.contains("[response.") && !part.contains("/told/")).collect();
    let files = files("");
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let b = Gateway::with_files(&config.join("\n\n"), &files);
    add(&b, "north", CLIENT, "never typed by anybody");
    b
}

/// The multistep model: the header that A wrote is used at B by whoever holds the key, with another document; B is another
/// installation that knows nothing but A's certificate.
#[test]
fn a_holder_takes_its_assertion_to_a_federated_service() {
    let a = house();
    let b = federated();
    assert_eq!(post(&a, "/told/holder", &signed()).status, 200);
    let first = String::from_utf8(a.application.last().body).unwrap();
    let assertion = cut(&first, "<saml:Assertion", "</saml:Assertion>");
    let id = assertion.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
    // The same session gets the same assertion: nothing was signed anew.
    assert_eq!(post(&a, "/told/holder", &written(Token::Nothing, Some(("client-rsa2048", KeyReference::Thumbprint)), ORDER)).status, 200);
    assert!(String::from_utf8(a.application.last().body).unwrap().contains(assertion));

    let xml = &alone(assertion);
    let token = || Token::Saml(Assertion { xml, id, version: SamlVersion::Saml20, reference: AssertionReference::Direct });
    let other = "<o:Cancel xmlns:o=\"urn:example:orders\"/>";
    let holder = written(token(), Some(("client-rsa2048", KeyReference::Assertion)), other);
    let answer = post(&b, "/orders", &holder);
    assert_eq!(answer.status, 200, "{answer:?} {:?}", b.audit_of(&answer));
    assert_eq!(b.application.last().header("x-vestibule-user"), Some(CLIENT));
    b.application.forget();
    assert_eq!(reason(&b, &post(&b, "/orders", &holder)), Value::from("replayed"));
    // A thief has the assertion and not the key.
    for thief in [written(token(), None, other), written(token(), Some(("other-rsa2048", KeyReference::Direct)), other)] {
        let answer = post(&b, "/orders", &thief);
        assert!(answer.status >= 400 && answer.body.contains("wsse:"), "{answer:?}");
    }
    let tampered = String::from_utf8(holder).unwrap().replace(CLIENT, "ada");
    assert!(post(&b, "/orders", tampered.as_bytes()).status >= 400);
    assert!(b.application.received().is_empty());
}

/// The chain model: service 1 passes on the document that was vouched for; with another document the assertion is nothing.
#[test]
fn a_vouched_document_is_passed_on_and_no_other() {
    let gateway = house();
    assert_eq!(post(&gateway, "/told/vouched", &named(ADA.0, Password::Text(ADA.1))).status, 200);
    let vouched = gateway.application.last().body;
    let answer = post(&gateway, "/orders", &vouched);
    assert_eq!(answer.status, 200, "{:?}", gateway.audit_of(&answer));
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some(ADA.0));
    assert_eq!(post(&gateway, "/ledger", &vouched).status, 200);
    gateway.application.forget();
    assert_eq!(reason(&gateway, &post(&gateway, "/orders", &vouched)), Value::from("replayed"));
    let changed = String::from_utf8(vouched).unwrap().replace(">7<", ">8<");
    assert_eq!(reason(&gateway, &post(&gateway, "/orders", changed.as_bytes())), serde_json::json!({ "security": "digest_mismatch" }));
    assert!(gateway.application.received().is_empty());
}

/// The message of the scheme's page is one that is accepted, and its table of concessions has them all.
#[test]
fn the_page_of_the_scheme_is_true() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemes/ws-security.md")).unwrap();
    let message = page.split("```xml\n").nth(1).unwrap().split("```").next().unwrap();
    let gateway = house();
    let answer = post(&gateway, "/orders", message.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?} {:?}", gateway.audit_of(&answer));
    let seen = gateway.application.last();
    assert_eq!(seen.header("x-vestibule-user"), Some(PARTNER.0));
    let body = String::from_utf8(seen.body).unwrap();
    assert!(body.contains(ORDER) && !body.contains("UsernameToken"), "{body}");
    for concession in Concession::ALL {
        let suffix = concession.word().strip_prefix("wss_draft_2002");
        assert!(
            page.contains(concession.word()) || suffix.is_some_and(|suffix| page.contains(&format!("`…{suffix}`"))),
            "{}",
            concession.word()
        );
    }
}

fn inspect(arguments: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule")).args(["wss", "inspect", "--json"]).args(arguments).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code(), said)
}

#[test]
fn inspect_has_the_verdicts_of_the_recorded_messages() {
    let manifest: Value = serde_json::from_slice(&std::fs::read(corpus().join("recorded/manifest.json")).unwrap()).unwrap();
    let scratch = crate::support::Scratch::new();
    let users: String =
        manifest["soap_users"].as_object().unwrap().iter().map(|(name, word)| format!("{name}:{}\n", word.as_str().unwrap())).collect();
    let users = scratch.write("users", &users);
    let recorded = |name: &str| corpus().join("recorded").join(name).to_str().unwrap().to_owned();
    let mut wrong = Vec::new();
    for entry in manifest["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "soap") {
        let file = entry["file"].as_str().unwrap();
        for (mode, settings, reason) in [("expect", words(&entry["settings"]), "reason"), ("default", Vec::new(), "default_reason")] {
            let mut arguments = vec![recorded(file), "--users".to_owned(), users.to_str().unwrap().to_owned(), "--now".to_owned()];
            arguments.push(entry["clock"].as_str().unwrap().to_owned());
            let mut add =
                |name: &str, value: Option<&str>| arguments.extend(value.iter().flat_map(|value| [name.to_owned(), (*value).to_owned()]));
            let path = |name: &str| entry[name].as_str().map(&recorded);
            add("--trust", path("trust_cert").or_else(|| path("trust_ca")).as_deref());
            add("--decrypt-key", path("decrypt_key").as_deref());
            for (name, key) in [("--issuer", "idp_entity_id"), ("--audience", "sp_entity_id"), ("--recipient", "acs_url")] {
                add(name, entry[key].as_str());
            }
            for token in words(&entry["tokens"]) {
                add("--token", Some(&token));
            }
            for setting in &settings {
                add("--concede", Some(setting));
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let (code, said) = inspect(&arguments);
            let mut reasons = words(&entry["also"]);
            reasons.extend([reason, "reason"].iter().filter_map(|name| entry[*name].as_str().map(str::to_owned)));
            let right = match entry[mode].as_str().unwrap() {
                "accept" => code == Some(0) && said["verdict"] == "accepted" && said["identity"].is_string(),
                _ => code == Some(1) && said["verdict"] == "rejected" && reasons.iter().any(|reason| said["reason"] == reason.as_str()),
            };
            if !right {
                wrong.push(format!("{file} {mode}: {code:?} {} instead of {} {reasons:?}", said["reason"], entry[mode]));
            }
            // More of the weaker admitted changes no verdict of what is accepted with less.
            if mode == "expect" && right && code == Some(0) && !settings.is_empty() {
                let old = settings.iter().all(|setting| setting.starts_with("legacy_"));
                for more in [&["--concede", "all"][..], &["--legacy"][..]].iter().take(if old { 2 } else { 1 }) {
                    let kept: Vec<&str> = arguments
                        .iter()
                        .filter(|word| **word != "--concede" && !settings.contains(&(**word).to_owned()))
                        .copied()
                        .collect();
                    assert_eq!(inspect(&[kept.as_slice(), more].concat()).0, Some(0), "{file} {more:?}");
                }
            }
            if mode == "expect" && right && code == Some(0) {
                let covered = words(&entry["read"]["covered"]);
                if !covered.is_empty() && words(&said["covered"]) != covered {
                    wrong.push(format!("{file}: covers {} instead of {covered:?}", said["covered"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(inspect(&["/nowhere"]).0, Some(2));
    assert_eq!(inspect(&[&recorded("soap/z01_ut_text.xml"), "--concede", "nothing"]).0, Some(2));
}

/// What has to be signed, whose header is read, and where the message comes from.
#[test]
fn inspect_does_as_it_is_told() {
    let attack = |name: &str| corpus().join("attacks/wss").join(name).to_str().unwrap().to_owned();
    let scratch = crate::support::Scratch::new();
    let users = scratch.write("users", "alice:wonderland\n");
    let trust = corpus().join("recorded/keys/client-rsa2048.crt");
    let options = ["--now", "2026-03-01T12:01:00Z", "--users", users.to_str().unwrap(), "--trust", trust.to_str().unwrap()];
    let said = |file: &str, more: &[&str]| inspect(&[&[file], options.as_slice(), more].concat());
    let (signed, elsewhere) = (attack("good-signed.xml"), attack("header-for-another-role.xml"));
    for (parts, verdict) in [("body,timestamp", Some(0)), ("body", Some(0)), ("token", Some(1)), ("{urn:x}B", Some(1)), ("soul", Some(2))] {
        let (code, said) = said(&signed, &["--token", "x509", "--require", parts]);
        assert_eq!(code, verdict, "{parts}: {said}");
        assert!(code != Some(1) || said["reason"] == "part_not_signed", "{parts}: {said}");
    }
    let (code, none) = said(&elsewhere, &[]);
    assert_eq!((code, none["reason"].as_str()), (Some(1), Some("no_credentials")), "{none}");
    let (code, found) = said(&elsewhere, &["--role", "urn:other"]);
    assert_eq!((code, found["identity"].as_str()), (Some(0), Some("alice")), "{found}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    command.args(["wss", "inspect", "--json", "-", "--token", "x509"]).args(options).stdin(std::fs::File::open(&signed).unwrap());
    let output = command.output().unwrap();
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), said["verdict"].as_str()), (Some(0), Some("accepted")), "{said}");
}

/// What its consumer signed still holds at a service that gets a header of ours beside it, and not an octet of it has moved.
#[test]
fn what_a_consumer_signed_still_holds_at_the_service() {
    let kept = "match = \"/kept\"\npolicies = [\"policy.cedar\"]";
    assert!(HOUSE.contains(kept));
    let config = HOUSE.replace(kept, "match = \"/kept\"\npolicies = [\"beside.cedar\"]");
    let mut files = files(&told());
    let beside = "@id(\"beside\") @response(\"text\") permit(principal, action, resource);";
    files.push(("beside.cedar".to_owned(), beside.to_owned()));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let gateway = Gateway::with_files(&config, &files);
    add(&gateway, "north", CLIENT, "never typed by anybody");
    let sent = String::from_utf8(signed()).unwrap();
    let answer = post(&gateway, "/kept", sent.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?} {}", gateway.log());
    let got = String::from_utf8(gateway.application.last().body).unwrap();
    assert!(got.contains("what the service asks"), "{got}");
    let token = cut(&got, "<wsse:UsernameToken", "</wsse:UsernameToken>");
    assert_eq!(got.replacen(token, "", 1), sent);
    let accepted = service(&[TokenKind::X509, TokenKind::Username], &Target::Ultimate, &[], got.as_bytes(), false);
    assert_eq!(accepted.certificate.unwrap().der(), der("client-rsa2048.crt"));
    assert!(accepted.username.is_some_and(|token| token.matches(b"what the service asks")));
}

/// Envoy that brings bodies, before a chain that reads signatures, and two routes: one keeps the header, one would take it out.
pub fn behind_envoy(front: Front) -> Option<House> {
    let ours = r#"
[scheme.signed]
type = "ws-security"
token = "x509"
certificates = ["client-rsa2048.crt"]
map = "common-name"

[[route]]
match = "/kept"
policies = ["policy.cedar"]
body = { limit = "64KiB", types = ["text/xml"] }
inject = ["headers"]
security_header = "keep"

[[route]]
match = "/removed"
policies = ["policy.cedar"]
body = { limit = "64KiB", types = ["text/xml", "application/xml"] }
"#;
    let (asks, bringing) = bringing(1 << 20);
    let change = if front == Front::Envoy { (asks, bringing.as_str()) } else { ("", "") };
    let chain = "chain  = [\"session\", \"signed\", \"basic\", \"form\"]";
    let house = House::open_chained(front, change, chain, ours, &[("client-rsa2048.crt", &pem("client-rsa2048.crt"))])?;
    add(&house.gateway, "north", CLIENT, "never typed by anybody");
    Some(house)
}

/// Envoy brings the body, and forwards the message itself: a route that keeps the header is judged as by us, and one that
/// would have to take it out is refused.
#[test]
fn envoy_asks_with_the_body_and_gets_the_same_verdicts() {
    for front in [Front::Envoy, Front::EnvoyExtProc] {
        let Some(house) = behind_envoy(front) else { return };
        let post = |path: &str, body: &[u8]| house.send(&ask("POST", path).header("Content-Type", "text/xml").body(body));
        let message = signed();
        let answer = post("/kept", &message);
        assert_eq!(answer.status, 200, "{front:?} {answer:?} {}", house.gateway.log());
        let seen = house.gateway.application.last();
        assert_eq!((seen.header("x-vestibule-user"), &seen.body), (Some(CLIENT), &message));
        let removed = post("/removed", &signed());
        if front == Front::EnvoyExtProc {
            let seen = house.gateway.application.last();
            let body = String::from_utf8(seen.body.clone()).unwrap();
            assert!(removed.status == 200 && !body.contains("Security") && body.contains(ORDER), "{removed:?} {body}");
            assert_eq!(seen.header("content-length"), Some(seen.body.len().to_string().as_str()));
        } else {
            assert!(removed.status >= 400, "{removed:?}");
        }
        house.gateway.application.forget();
        assert!(post("/kept", &message).status >= 400, "{front:?}: again");
        for (name, message) in attacked() {
            let answer = post("/kept", &message);
            assert!(answer.status >= 400, "{front:?} {name}: {answer:?}");
        }
        assert!(house.gateway.application.received().is_empty());
    }
}

/// Attacks on a message that is good here and now: what is signed stands elsewhere, what is read is not signed.
fn attacked() -> Vec<(&'static str, Vec<u8>)> {
    let message = || String::from_utf8(signed()).unwrap();
    let part = |text: &str, begin: &str, end: &str| cut(text, begin, end).to_owned();
    let body = |text: &str| part(text, "<s:Body", "</s:Body>");
    let timestamp = |text: &str| part(text, "<wsu:Timestamp", "</wsu:Timestamp>");
    let evil = format!("<s:Body>{}</s:Body>", ORDER.replace(">7<", ">8<"));
    let mut made = Vec::new();
    let mut attack = |name, text: String| made.push((name, text.into_bytes()));
    let text = message();
    attack("another order", text.replace(">7<", ">8<"));
    let text = message();
    let signed = body(&text);
    let (before, after) = text.split_once(&signed).unwrap();
    attack(
        "the body in a header block",
        format!("{}<w xmlns=\"urn:w\">{signed}</w></env:Header>{evil}{after}", before.strip_suffix("</env:Header>").unwrap()),
    );
    let text = message();
    let signed = body(&text);
    attack(
        "the body in the security header",
        text.replace(&signed, &evil).replace("</wsse:Security>", &format!("<w xmlns=\"urn:w\">{signed}</w></wsse:Security>")),
    );
    let text = message();
    let signed = body(&text);
    attack("a second body before", text.replace(&signed, &format!("{evil}{signed}")));
    let text = message();
    let signed = body(&text);
    attack("a second body behind", text.replace(&signed, &format!("{signed}{evil}")));
    let text = message();
    let signed = body(&text);
    attack(
        "the envelope in the body",
        text.replace(&signed, &format!("<s:Body>{}<w xmlns=\"urn:w\">{signed}</w></s:Body>", ORDER.replace(">7<", ">8<"))),
    );
    let text = message();
    let id = part(&body(&text), "wsu:Id=\"", ">");
    let id = id.trim_end_matches('>');
    let namespace = "xmlns:wsu=\"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd\"";
    attack("one id twice", text.replace("</wsse:Security>", &format!("<w xmlns=\"urn:w\" {namespace} {id}/></wsse:Security>")));
    let text = message();
    attack("no timestamp", text.replace(&timestamp(&text), ""));
    let text = message();
    let moved = timestamp(&text);
    attack(
        "the timestamp in another block",
        text.replace(&moved, "").replace("</env:Header>", &format!("<w xmlns=\"urn:w\">{moved}</w></env:Header>")),
    );
    let text = message();
    let header = part(&text, "<wsse:Security", "</wsse:Security>");
    attack("two security headers", text.replace(&header, &format!("{header}{header}")));
    let text = message();
    attack("a doctype", format!("<!DOCTYPE s:Envelope>{text}"));
    let text = message();
    attack("another role", text.replacen("<wsse:Security ", "<wsse:Security s:actor=\"urn:other\" ", 1));
    let text = message();
    attack("no signature", text.replace(&part(&text, "<ds:Signature", "</ds:Signature>"), ""));
    attack("somebody else's", String::from_utf8(written(Token::Nothing, Some(("other-rsa2048", KeyReference::Direct)), ORDER)).unwrap());
    attack("nothing", envelope(ORDER));
    assert!(made.iter().all(|(name, octets)| *name == "nothing" || octets.len() > 500), "{made:?}");
    made
}

#[test]
fn a_good_message_under_attack_is_refused_by_the_proxy() {
    let gateway = house();
    assert_eq!(post(&gateway, "/kept", &signed()).status, 200);
    gateway.application.forget();
    for (name, message) in attacked() {
        for path in ["/kept", "/orders"] {
            let answer = post(&gateway, path, &message);
            assert!(answer.status >= 400, "{name}: {answer:?}");
        }
    }
    // What is not a POST of a message goes the same way (attack 66), and so does another encoding (71).
    let text = String::from_utf8(signed()).unwrap();
    let wide: Vec<u8> = std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    for ask in [
        ask("GET", "/orders"),
        ask("PUT", "/orders").header("Content-Type", "text/xml").body(signed()),
        ask("POST", "/orders").header("Content-Type", "application/soap+xml").body(signed()),
        ask("POST", "/orders").header("Content-Type", "text/plain").body(signed()),
        ask("POST", "/orders").header("Content-Type", "text/xml; charset=utf-16").body(wide),
    ] {
        let answer = gateway.send(&ask);
        assert!(answer.status >= 400, "{answer:?}");
    }
    assert!(gateway.application.received().is_empty());
}

#[test]
fn a_response_that_no_scheme_can_feed_is_refused_with_the_table() {
    let scratch = crate::support::Scratch::new();
    let check = |config: &str, told: &str| {
        for (name, text) in files(told) {
            scratch.write(&name, &text);
        }
        scratch.write("policy.cedar", crate::support::POLICY);
        let config = config.replace("{{app}}", "127.0.0.1:9").replace("{{port}}", "8080").replace("{{health}}", "9180");
        let path = scratch.write("vestibule.toml", &config.replace("{{dir}}", &scratch.path().display().to_string()));
        let output =
            Command::new(env!("CARGO_BIN_EXE_vestibule")).args(["check", "--config", path.to_str().unwrap()]).env("NO_COLOR", "1").output();
        let output = output.unwrap();
        (output.status.code(), format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
    };
    assert_eq!(check(HOUSE, &told()).0, Some(0), "{}", check(HOUSE, &told()).1);
    // What each cell of the table says, for a chain of one scheme.
    let rule = |name: &str| format!("@id(\"only\") @response(\"{name}\") permit(principal, action, resource);");
    for (chain, response, possible) in [
        ("basic", "digest", true),
        ("basic", "x509", true),
        ("basic", "vouched", true),
        ("basic", "holder", false),
        ("named", "digest", true),
        ("named", "vouched11", true),
        ("named", "holder", false),
        ("signed", "text", true),
        ("signed", "digest", false),
        ("signed", "holder", true),
        ("asserted", "holder", true),
        ("asserted", "digest", false),
    ] {
        let config = HOUSE.replace("\"signed\", \"asserted\", \"named\", \"basic\"", &format!("{chain:?}"));
        let (code, said) = check(&config, &rule(response));
        assert_eq!(code, Some(i32::from(!possible)), "{chain} {response}: {said}");
        assert!(possible || said.contains(&format!("  {chain}: yes, ")), "{said}");
    }
    let unread = HOUSE.replace(
        "inject = [\"headers\"]\nbody = { limit = \"1MiB\", types = [\"text/xml\", \"application/soap+xml\", \"application/json\"] }",
        "# no body",
    );
    let (code, said) = check(&unread, &told());
    assert!(code == Some(1) && said.contains("the body of route `/told/*` is not read"), "{said}");
}

/// A signed message of another operation.
pub fn cancelled() -> Vec<u8> {
    written(Token::Nothing, Some(("client-rsa2048", KeyReference::Direct)), "<o:Cancel xmlns:o=\"urn:example:orders\"/>")
}

/// A signed message that is longer than so many octets.
pub fn padded(octets: usize) -> Vec<u8> {
    let order = format!("<o:GetOrder xmlns:o=\"urn:example:orders\"><o:id>{}</o:id></o:GetOrder>", "7".repeat(octets));
    written(Token::Nothing, Some(("client-rsa2048", KeyReference::Direct)), &order)
}
