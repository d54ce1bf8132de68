//! Session tickets: made for one service, used at the next, in a header, a cookie and a SOAP message.

use serde_json::Value;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_saml::ConfirmationMethod::HolderOfKey;
use vestibule_saml::{Attribute, Version as SamlVersion};
use vestibule_wss::{Assertion, AssertionReference, KeyReference, Password, Token};

use crate::shown::Shown;
use crate::support::{Answer, Ask, Gateway, ask, exchange};
use crate::ws_security::{
    ADA, CLIENT, HOUSE, ORDER, PARTNER, add, alone, cut, envelope, files, named, post, presenting, reason, saying, signed, written,
};

/// The house of the security headers, in which services pass tickets on.
pub const TICKETS: &str = r#"
[scheme.ticket]
type = "session-ticket"
signed = false

[scheme.bound]
type = "session-ticket"
header = "Bound-Ticket"
cookie = "bound"

[scheme.enveloped]
type = "ws-security"
token = "saml"
audience = "urn:north:next"
subject = "ticket"
issuers = [{ entity_id = "https://gateway.north.example", certificates = ["idp-rsa2048.crt"] }]

[response.header]
type = "session-ticket"
to = "header"

[response.cookie]
type = "session-ticket"
to = "cookie"

[response.bound]
type = "session-ticket"
to = "header"
name = "Bound-Ticket"
holder = "message"

[response.brief]
type = "session-ticket"
to = "header"
lifetime = "10s"

[response.envelope]
type = "ws-security"
token = "saml"
certificate = "idp-rsa2048.crt"
key = { file = "idp-rsa2048.key" }
assertion = { issuer = "https://gateway.north.example", audience = "urn:north:next", confirm = "holder-of-key", holder = "message", ticket = true }
"#;

const NAMES: [&str; 5] = ["header", "cookie", "bound", "brief", "envelope"];

/// A house in which services pass tickets on, without its own responses.
pub fn ticketed(house: &str) -> String {
    let config: Vec<&str> = house.split("\n\n").filter(|part| !part.contains("[response.")).collect();
    config.join("\n\n").replacen(
        "chain = [\"signed\", \"asserted\", \"named\", \"basic\"]",
        "chain = [\"ticket\", \"bound\", \"enveloped\", \"signed\", \"asserted\", \"named\", \"basic\"]",
        1,
    )
}

pub fn house() -> Gateway {
    let rule = |name: &&str| {
        format!("@id(\"{name}\") @response(\"{name}\") permit(principal, action, resource) when {{ resource.path == \"/told/{name}\" }};\n")
    };
    let told: String = NAMES.iter().map(rule).collect();
    let files = files(&told);
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let gateway = Gateway::with_files(&format!("{}{TICKETS}", ticketed(HOUSE)), &files);
    for (name, password) in [PARTNER, ADA, (CLIENT, "never typed by anybody")] {
        add(&gateway, "north", name, password);
    }
    gateway
}

pub fn order(message: &[u8]) -> Ask {
    ask("POST", "/orders").header("Content-Type", "text/xml").body(message)
}

fn first(gateway: &Gateway, name: &str, message: &[u8]) -> Answer {
    let answer = post(gateway, &format!("/told/{name}"), message);
    assert_eq!(answer.status, 200, "{name}: {answer:?} {:?} {}", gateway.audit_of(&answer), gateway.log());
    answer
}

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let gateway = house();
    first(&gateway, "header", &named(ADA.0, Password::Text(ADA.1)));
    let mut shown = Shown::on("session-ticket.md");
    shown.know("host", &format!("app.north.localhost:{}", gateway.public));
    shown.know("ticket", gateway.application.last().header("tmsamlsessionticket").unwrap().strip_prefix("v1.").unwrap());
    shown.next(|octets| exchange(gateway.address, octets));
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some(ADA.0));
    shown.end();
}

#[test]
fn a_ticket_in_a_header_or_a_cookie_is_good_at_the_next_service() {
    let gateway = house();
    let named = named(ADA.0, Password::Text(ADA.1));
    first(&gateway, "header", &named);
    let header = gateway.application.last().header("tmsamlsessionticket").unwrap().to_owned();
    let answer = first(&gateway, "cookie", &named);
    assert_eq!(gateway.application.last().header("tmsamlsessionticket"), None);
    let set = answer.header("set-cookie").unwrap().to_owned();
    assert!(set.starts_with("tmsamlsession=v1.") && set.contains("Secure; HttpOnly") && set.len() <= 4096, "{set}");
    let cookie = set["tmsamlsession=".len()..].split(';').next().unwrap().to_owned();
    let (plain, origin) = (envelope(ORDER), format!("http://app.north.localhost:{}", gateway.public));
    // Browsers send a cookie by themselves, for whatever page asks them to.
    let foreign = order(plain.as_bytes()).header("Cookie", &format!("tmsamlsession={cookie}")).header("Origin", "http://evil.example");
    assert!(gateway.send(&foreign).status >= 400);
    for ask in [
        order(plain.as_bytes()).header("tmsamlsessionticket", &header),
        order(plain.as_bytes()).header("Cookie", &format!("theirs=1; tmsamlsession={cookie}")).header("Origin", &origin),
        // The cookie first; what does not open is not looked at any further.
        order(plain.as_bytes()).header("Cookie", "tmsamlsession=v1.AAAA").header("tmsamlsessionticket", &header).header("Origin", &origin),
    ] {
        let answer = gateway.send(&ask);
        assert_eq!(answer.status, 200, "{answer:?} {:?}", gateway.audit_of(&answer));
        let seen = gateway.application.last();
        assert_eq!((seen.header("x-vestibule-user"), seen.header("x-vestibule-scheme")), (Some(ADA.0), Some("ticket")));
        // It goes no further by itself: the service gets one of its own if a permit says so.
        assert!(
            seen.header("tmsamlsessionticket").is_none() && seen.header("cookie").is_none_or(|cookie| cookie == "theirs=1"),
            "{seen:?}"
        );
    }
    gateway.application.forget();
    let tampered = format!("{}x", &header[..header.len() - 1]);
    for (ticket, why) in [(tampered.as_str(), "unknown_session"), ("v1.", "unknown_session"), ("", "unknown_session")] {
        let answer = gateway.send(&order(plain.as_bytes()).header("tmsamlsessionticket", ticket));
        assert!(answer.status >= 400, "{answer:?}");
        assert!(gateway.audit_of(&answer).iter().any(|record| record.to_string().contains(why)), "{:?}", gateway.audit_of(&answer));
    }
    // Whoever may not enter any more does not by a ticket, either; and no ticket shows up in a log.
    assert!(gateway.command(&["user", "disable", ADA.0, "--tenant", "north"]).status.success());
    let answer = gateway.send(&order(plain.as_bytes()).header("tmsamlsessionticket", &header));
    assert!(answer.status >= 400, "{answer:?}");
    assert!(gateway.application.received().is_empty());
    let written = gateway.log() + &gateway.audit().iter().map(Value::to_string).collect::<String>();
    assert!(!written.contains(&header[3..40]) && !written.contains(&cookie[3..40]));
}

#[test]
fn a_ticket_that_names_a_key_is_its_holders_alone() {
    let gateway = house();
    first(&gateway, "bound", &signed());
    let ticket = gateway.application.last().header("bound-ticket").unwrap().to_owned();
    let with = |message: &[u8], ticket: &str| gateway.send(&order(message).header("Bound-Ticket", ticket));
    let message = signed();
    let answer = with(&message, &ticket);
    assert_eq!(answer.status, 200, "{answer:?} {:?}", gateway.audit_of(&answer));
    let seen = gateway.application.last();
    assert_eq!((seen.header("x-vestibule-user"), seen.header("x-vestibule-scheme")), (Some(CLIENT), Some("bound")));
    assert!(!String::from_utf8(seen.body).unwrap().contains("Security"));
    gateway.application.forget();
    assert_eq!(reason(&gateway, &with(&message, &ticket)), Value::from("replayed"));
    let thief = written(Token::Nothing, Some(("other-rsa2048", KeyReference::Direct)), ORDER);
    assert_eq!(reason(&gateway, &with(&thief, &ticket)), serde_json::json!({ "security": "unknown_key" }));
    assert!(with(envelope(ORDER).as_bytes(), &ticket).status >= 400, "nothing is signed");
    let changed = String::from_utf8(signed()).unwrap().replace(">7<", ">8<");
    assert_eq!(reason(&gateway, &with(changed.as_bytes(), &ticket)), serde_json::json!({ "security": "digest_mismatch" }));
    // Where no signature is asked for, it is nobody's.
    let answer = gateway.send(&order(envelope(ORDER).as_bytes()).header("tmsamlsessionticket", &ticket));
    assert!(answer.status >= 400 && gateway.audit_of(&answer)[0].to_string().contains("signature_missing"), "{answer:?}");
    assert!(gateway.application.received().is_empty());
    // A ticket that names no key is no use where one is asked for, and where none can be named, none is made.
    first(&gateway, "header", &named(ADA.0, Password::Text(ADA.1)));
    let anybodys = gateway.application.last().header("tmsamlsessionticket").unwrap().to_owned();
    gateway.application.forget();
    assert!(with(&thief, &anybodys).status >= 400);
    let answer = post(&gateway, "/told/bound", &named(ADA.0, Password::Text(ADA.1)));
    assert_eq!((answer.status, reason(&gateway, &answer)), (500, Value::from("injection")), "{answer:?}");
    assert!(gateway.application.received().is_empty());
}

#[test]
fn a_ticket_in_a_message_is_read_from_its_assertion() {
    let gateway = house();
    first(&gateway, "envelope", &signed());
    let first = String::from_utf8(gateway.application.last().body).unwrap();
    let assertion = cut(&first, "<saml:Assertion", "</saml:Assertion>");
    assert!(assertion.contains("urn:vestibule:session-ticket"), "{assertion}");
    let id = assertion.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
    let forged = alone(&assertion.replace("v1.", "v1.A"));
    let assertion = &alone(assertion);
    let token = |xml| Token::Saml(Assertion { xml, id, version: SamlVersion::Saml20, reference: AssertionReference::Direct });
    let holder = written(token(assertion), Some(("client-rsa2048", KeyReference::Assertion)), ORDER);
    let answer = post(&gateway, "/orders", &holder);
    assert_eq!(answer.status, 200, "{answer:?} {:?}", gateway.audit_of(&answer));
    let seen = gateway.application.last();
    assert_eq!((seen.header("x-vestibule-user"), seen.header("x-vestibule-scheme")), (Some(CLIENT), Some("enveloped")));
    gateway.application.forget();
    for thief in [
        written(token(assertion), None, ORDER),
        written(token(assertion), Some(("other-rsa2048", KeyReference::Direct)), ORDER),
        written(token(&forged), Some(("client-rsa2048", KeyReference::Assertion)), ORDER),
    ] {
        assert!(post(&gateway, "/orders", &thief).status >= 400);
    }
    assert!(gateway.application.received().is_empty());
}

#[test]
fn a_ticket_ends_and_does_not_renew_itself() {
    let gateway = house();
    first(&gateway, "brief", &named(ADA.0, Password::Text(ADA.1)));
    let brief = gateway.application.last().header("tmsamlsessionticket").unwrap().to_owned();
    // Passed on at once, a service may have another one made for it; that one ends when the first does.
    let told = ask("POST", "/told/header").header("Content-Type", "text/xml").header("tmsamlsessionticket", &brief);
    assert_eq!(gateway.send(&told.body(envelope(ORDER))).status, 200);
    let second = gateway.application.last().header("tmsamlsessionticket").unwrap().to_owned();
    assert_ne!(second, brief);
    std::thread::sleep(std::time::Duration::from_secs(11));
    for ticket in [brief, second] {
        let answer = gateway.send(&order(envelope(ORDER).as_bytes()).header("tmsamlsessionticket", &ticket));
        assert!(answer.status >= 400, "{answer:?}");
    }
}

/// Browsers cut off a cookie beyond 4096 octets, or drop it: then nothing is forwarded. A header has room.
#[test]
fn a_ticket_too_long_for_a_cookie_is_none() {
    let gateway = house();
    let now = || SystemClock::default().now();
    for (octets, cookie) in [(100, 200), (4000, 500)] {
        let long = Attribute::of_texts("note", "urn:oasis:names:tc:SAML:2.0:attrname-format:basic", vec!["7".repeat(octets)]);
        for (name, expected) in [("header", 200), ("cookie", cookie)] {
            let id = format!("_{name}-{octets}");
            let xml = saying(&id, ADA.0, HolderOfKey, (now(), false), vec![long.clone()]);
            gateway.application.forget();
            let answer = post(&gateway, &format!("/told/{name}"), &presenting(&id, &xml, &HolderOfKey, ORDER));
            assert_eq!(answer.status, expected, "{id}: {answer:?} {:?}", gateway.audit_of(&answer));
            assert_eq!(gateway.application.received().len(), usize::from(expected == 200), "{id}");
            assert_eq!(answer.header("set-cookie").is_some(), name == "cookie" && expected == 200, "{id}");
        }
    }
}
