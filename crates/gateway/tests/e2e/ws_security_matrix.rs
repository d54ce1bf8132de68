//! The table of `policy-server-and-ws-security.md` §3.6: which scheme can feed which header. `check` refuses what can never be fed
//! and says why; what can is lived: whoever is recognised as a row says gets the header of a column, or nothing is forwarded.

use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_saml::ConfirmationMethod::HolderOfKey;
use vestibule_wss::{KeyReference, Lifetime, Part, Password, Token};

use crate::support::{Ask, Gateway, POLICY, Scratch, ask};
use crate::ws_security::{
    ADA, CLIENT, HOUSE, ORDER, PARTNER, add, asserted, der, envelope, files, named, pem, presenting, reason, signed, told, written_at,
};

/// What the house does not have: a signature beside a name, tickets, sessions, and certificates that a proxy saw.
const MORE: &str = r#"
[scheme.proven]
type = "ws-security"
token = "username"
realm = "local"
certificates = ["client-rsa2048.crt"]
require = ["body", "timestamp", "token"]

[scheme.ticket]
type = "session-ticket"
signed = false

[scheme.bound]
type = "session-ticket"
header = "Bound-Ticket"
cookie = "bound"

[scheme.session]
type = "session"

[scheme.card]
type = "client-certificate"
map = "common-name"

[response.ticket]
type = "session-ticket"
to = "header"

[response.bound]
type = "session-ticket"
to = "header"
name = "Bound-Ticket"
holder = "message"

[response.tls]
type = "ws-security"
token = "saml"
certificate = "idp-rsa2048.crt"
key = { file = "idp-rsa2048.key" }
assertion = { issuer = "https://gateway.north.example", audience = "urn:north:orders", confirm = "holder-of-key", holder = "client-certificate" }
"#;

/// The chain's one scheme, and those beside it.
fn house(chain: &[&str]) -> String {
    let listen = "address = \"127.0.0.1:{{port}}\"";
    let proxied =
        format!("{listen}\ntrusted_proxies = [\"127.0.0.0/8\"]\nforwarded_certificate = {{ header = \"Client-Cert\", ca = [\"ca.crt\"] }}");
    let config =
        HOUSE.replacen(listen, &proxied, 1).replacen("[\"signed\", \"asserted\", \"named\", \"basic\"]", &format!("{chain:?}"), 1) + MORE;
    let opens = chain.contains(&"session") && chain.contains(&"basic");
    let remember = if opens { "realm = \"local\"\nremember = true\n\n[realm" } else { "realm = \"local\"\n\n[realm" };
    config.replacen("realm = \"local\"\n\n[realm", remember, 1)
}

fn all_files(told: &str) -> Vec<(String, String)> {
    let mut files = files(told);
    files.push(("ca.crt".to_owned(), pem("ca.crt")));
    files
}

fn rule(response: &str) -> String {
    format!(
        "@id(\"{response}\") @response(\"{response}\") permit(principal, action, resource) when {{ resource.path == \"/told/{response}\" }};\n"
    )
}

/// What `check` says of a configuration; whether it may be.
fn check(config: &str, told: &str) -> (bool, String) {
    let scratch = Scratch::new();
    for (name, text) in all_files(told) {
        scratch.write(&name, &text);
    }
    scratch.write("policy.cedar", POLICY);
    let config = config.replace("{{app}}", "127.0.0.1:9").replace("{{port}}", "8080").replace("{{health}}", "9180");
    let path = scratch.write("vestibule.toml", &config.replace("{{dir}}", &scratch.path().display().to_string()));
    let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
    let output = command.args(["check", "--config", path.to_str().unwrap()]).env("NO_COLOR", "1").output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
    (output.status.code() == Some(0), said)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cell {
    /// The header is written.
    Yes,
    /// The scheme may bring what it takes, and this message does not: nothing is forwarded.
    Missing,
    /// The scheme never brings it: refused by `check`.
    No,
}

use Cell::{Missing, No, Yes};

const COLUMNS: [(&str, &str); 7] = [
    ("digest", "#PasswordDigest"),
    ("text", "#PasswordText"),
    ("x509", "BinarySecurityToken"),
    ("vouched", "sender-vouches"),
    ("vouched11", "sender-vouches"),
    ("holder", "holder-of-key"),
    ("tls", "holder-of-key"),
];

/// How somebody presents himself to a scheme, given what he got before.
struct Row {
    what: &'static str,
    scheme: &'static str,
    /// What another scheme is for: to get a ticket or a session by.
    before: Option<(&'static str, &'static str)>,
    dress: fn(&Gateway, Ask) -> Ask,
    cells: [Cell; 7],
}

fn message(ask: Ask, octets: impl Into<Vec<u8>>) -> Ask {
    ask.header("Content-Type", "text/xml").body(octets)
}

fn proven() -> Vec<u8> {
    let token = Token::Username { name: ADA.0, password: Password::Text(ADA.1) };
    let parts = [Part::Body, Part::Timestamp, Part::Token];
    let (now, lifetime) = (SystemClock::default().now(), Lifetime::For(jiff::SignedDuration::from_secs(300)));
    written_at(now, lifetime, token, Some(("client-rsa2048", KeyReference::Direct)), (&envelope(ORDER), &parts))
}

/// The ticket that a response put into this header.
fn ticket(gateway: &Gateway, path: &str, header: &str, ask: Ask) -> String {
    let answer = gateway.send(&ask);
    assert_eq!(answer.status, 200, "{path}: {answer:?} {:?}", gateway.audit_of(&answer));
    gateway.application.last().header(header).unwrap().to_owned()
}

fn rows() -> [Row; 10] {
    let row = |what, scheme, dress, cells| Row { what, scheme, before: None, dress, cells };
    [
        row("basic", "basic", |_, ask| message(ask.basic(ADA.0, ADA.1), envelope(ORDER)), [Yes, Yes, Yes, Yes, Yes, No, Missing]),
        row("a password", "named", |_, ask| message(ask, named(ADA.0, Password::Text(ADA.1))), [Yes, Yes, Yes, Yes, Yes, No, Missing]),
        row(
            "a digest",
            "named",
            |_, ask| message(ask, named(PARTNER.0, Password::Digest(PARTNER.1))),
            [Missing, Yes, Yes, Yes, Yes, No, Missing],
        ),
        row("a password, signed", "proven", |_, ask| message(ask, proven()), [Yes, Yes, Yes, Yes, Yes, Yes, Missing]),
        row("a signature", "signed", |_, ask| message(ask, signed()), [No, Yes, Yes, Yes, Yes, Yes, Missing]),
        row(
            "an assertion",
            "asserted",
            |_, ask| {
                let xml = asserted("_held", ADA.0, HolderOfKey, SystemClock::default().now(), false);
                message(ask, presenting("_held", &xml, &HolderOfKey, ORDER))
            },
            [No, Yes, Yes, Yes, Yes, Yes, Missing],
        ),
        Row {
            what: "a ticket",
            scheme: "ticket",
            before: Some(("basic", "ticket")),
            dress: |gateway, ask| {
                let first = message(crate::support::ask("POST", "/told/ticket").basic(ADA.0, ADA.1), envelope(ORDER));
                message(ask.header("tmsamlsessionticket", &ticket(gateway, "ticket", "tmsamlsessionticket", first)), envelope(ORDER))
            },
            cells: [No, Yes, Yes, Yes, Yes, No, Missing],
        },
        Row {
            what: "a ticket of its key",
            scheme: "bound",
            before: Some(("signed", "bound")),
            dress: |gateway, ask| {
                let first = message(crate::support::ask("POST", "/told/bound"), signed());
                message(ask.header("Bound-Ticket", &ticket(gateway, "bound", "bound-ticket", first)), signed())
            },
            cells: [No, Yes, Yes, Yes, Yes, Yes, Missing],
        },
        Row {
            what: "a session",
            scheme: "session",
            before: Some(("basic", "ticket")),
            dress: |gateway, ask| {
                let answer = gateway.send(&message(crate::support::ask("POST", "/orders").basic(ADA.0, ADA.1), envelope(ORDER)));
                let cookies = answer.cookies();
                let origin = format!("http://app.north.localhost:{}", gateway.public);
                message(ask.cookie("vestibule", &cookies["vestibule"]).header("Origin", &origin), envelope(ORDER))
            },
            cells: [No, Yes, Yes, Yes, Yes, No, Missing],
        },
        row(
            "a certificate in TLS",
            "card",
            |_, ask| message(ask.header("Client-Cert", &format!(":{}:", STANDARD.encode(der("leaf-valid.crt")))), envelope(ORDER)),
            [No, Yes, Yes, Yes, Yes, No, Yes],
        ),
    ]
}

#[test]
fn every_cell_of_the_table_is_green_or_refused_with_the_reason() {
    let all = house(&["signed", "asserted", "named", "basic"]);
    let (fine, said) = check(&all, &told());
    assert!(fine, "{said}");
    let unread = HOUSE.replace(
        "inject = [\"headers\"]\nbody = { limit = \"1MiB\", types = [\"text/xml\", \"application/soap+xml\", \"application/json\"] }",
        "# no body",
    );
    let (fine, said) = check(&unread, &told());
    assert!(!fine && said.contains("the body of route `/told/*` is not read"), "{said}");

    let mut wrong = Vec::new();
    for row in rows() {
        let alone = house(&[row.scheme]);
        for ((response, _), cell) in COLUMNS.iter().zip(row.cells) {
            let (fine, said) = check(&alone, &rule(response));
            if fine != (cell != No) || !(fine || said.contains(&format!("  {}: yes, ", row.scheme))) {
                wrong.push(format!("{}, {response}, check: {cell:?} {said}", row.what));
            }
        }
    }
    wrong.extend(std::thread::scope(|scope| {
        let lived: Vec<_> = rows().map(|row| scope.spawn(move || lived(&row))).into();
        lived.into_iter().flat_map(|row| row.join().unwrap()).collect::<Vec<_>>()
    }));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn lived(row: &Row) -> Vec<String> {
    let columns = || COLUMNS.iter().zip(row.cells).filter(|(_, cell)| *cell != No);
    let chain: Vec<&str> = [Some(row.scheme), row.before.map(|(scheme, _)| scheme)].into_iter().flatten().collect();
    let told: String = columns().map(|((response, _), _)| rule(response)).chain(row.before.map(|(_, response)| rule(response))).collect();
    let files = all_files(&told);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let gateway = Gateway::with_files(&house(&chain), &files);
    for (name, password) in [PARTNER, ADA, (CLIENT, "never typed by anybody"), ("leaf-valid.example.com", "never typed by anybody")] {
        add(&gateway, "north", name, password);
    }
    let mut wrong = Vec::new();
    for ((response, holds), cell) in columns() {
        let asked = (row.dress)(&gateway, ask("POST", &format!("/told/{response}")));
        gateway.application.forget();
        let answer = gateway.send(&asked);
        let received = gateway.application.received();
        let fine = match cell {
            Yes => received.iter().any(|seen| {
                let scheme = seen.header("x-vestibule-scheme");
                scheme == Some(row.scheme) && String::from_utf8_lossy(&seen.body).contains(holds)
            }),
            Missing | No => received.is_empty() && answer.status == 500 && reason(&gateway, &answer) == "injection",
        };
        if !fine {
            wrong.push(format!("{}, {response}: {cell:?} {answer:?} {:?} {received:?}", row.what, gateway.audit_of(&answer)));
        }
    }
    wrong
}
