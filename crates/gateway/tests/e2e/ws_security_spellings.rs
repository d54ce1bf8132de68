//! A forged security header in every spelling that the service may know and a search for its namespace does not find: it is taken
//! out or refused, whoever was recognised by what, through every door.

use crate::doors::Front;
use crate::integration;
use crate::support::{Ask, ask};
use crate::ws_security::{ADA, HOUSE, ORDER, behind_envoy, house_of, reason};

const OASIS: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";

/// A message with a UsernameToken of that name.
fn forged(namespace: &str, name: &str, body: &str) -> String {
    format!(
        "<s:Envelope xmlns:s=\"{SOAP11}\"><s:Header><w:Security xmlns:w=\"{namespace}\"><w:UsernameToken><w:Username>{name}</w:Username>\
         <w:Password>x</w:Password></w:UsernameToken></w:Security></s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
}

/// Spelled in characters, all of which our reader understands: the media type and the body.
fn referred(name: &str, body: &str) -> Vec<(String, Vec<u8>)> {
    ["&#101;", "&#x65;", "&#0000101;", "&#x00000065;"]
        .map(|letter| {
            let text = forged(&OASIS.replace("secext", &format!("s{letter}cext")), name, body);
            (format!("text/xml; charset=utf-8; spelled=\"{letter}\""), text.into_bytes())
        })
        .into()
}

/// EBCDIC, code page 037, of the characters that a message here has.
fn ebcdic(text: &str) -> Vec<u8> {
    let of = |character: u8| match character {
        b'a'..=b'i' => character - b'a' + 0x81,
        b'j'..=b'r' => character - b'j' + 0x91,
        b's'..=b'z' => character - b's' + 0xa2,
        b'A'..=b'I' => character - b'A' + 0xc1,
        b'J'..=b'R' => character - b'J' + 0xd1,
        b'S'..=b'Z' => character - b'S' + 0xe2,
        b'0'..=b'9' => character - b'0' + 0xf0,
        b' ' => 0x40,
        b'.' => 0x4b,
        b'<' => 0x4c,
        b'/' => 0x61,
        b'>' => 0x6e,
        b'?' => 0x6f,
        b':' => 0x7a,
        b'=' => 0x7e,
        b'"' => 0x7f,
        b'-' => 0x60,
        b'_' => 0x6d,
        other => panic!("{other}"),
    };
    text.bytes().map(of).collect()
}

/// Spelled so that nobody here reads it.
fn unreadable(name: &str, body: &str) -> Vec<(String, Vec<u8>)> {
    let text = forged(OASIS, name, body);
    let wide = |mark: bool, octets: fn(u16) -> [u8; 2]| -> Vec<u8> {
        let mark = mark.then_some(0xfeff);
        mark.into_iter().chain(text.encode_utf16()).flat_map(octets).collect()
    };
    let plain = "text/xml";
    let declared = |encoding: &str| format!("<?xml version=\"1.0\" encoding=\"{encoding}\"?>");
    let seven = forged(&OASIS.replace("secext", "s+AGU-cext"), name, body);
    let entity = forged(&OASIS.replace("secext", "s&e;cext"), name, body);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        (plain, wide(true, u16::to_le_bytes)),
        (plain, wide(true, u16::to_be_bytes)),
        (plain, wide(false, u16::to_le_bytes)),
        (plain, wide(false, u16::to_be_bytes)),
        ("text/xml; charset=utf-16", wide(true, u16::to_be_bytes)),
        ("application/xml", wide(false, u16::to_le_bytes)),
        (plain, ebcdic(&format!("{}{text}", declared("ibm037")))),
        (plain, format!("{}{seven}", declared("utf-7")).into_bytes()),
        ("text/xml; charset=utf-7", seven.clone().into_bytes()),
        ("application/xml; charset=utf-7", seven.into_bytes()),
        (plain, format!("<!DOCTYPE s:Envelope [<!ENTITY e \"e\">]>{entity}").into_bytes()),
    ];
    cases.into_iter().map(|(media_type, octets)| (media_type.to_owned(), octets)).collect()
}

fn post(path: &str, (media_type, body): &(String, Vec<u8>)) -> Ask {
    ask("POST", path).header("Content-Type", media_type).body(body.clone())
}

/// Refused, or forwarded without the header.
fn nobody_hears(application: &crate::support::Application, what: &str) {
    for seen in application.received() {
        let text = String::from_utf8(seen.body).unwrap();
        assert!(!text.contains("Security") && !text.contains("root") && text.contains(ORDER), "{what}: {text}");
    }
    application.forget();
}

#[test]
fn a_header_in_another_spelling_goes_no_further() {
    let open = "\n[[route]]\nmatch = \"/open\"\naccess = \"open\"\n\
                body = { limit = \"1MiB\", types = [\"text/xml\", \"application/xml\", \"application/json\"] }\nforward = \"orders\"\n";
    let gateway = house_of(&format!("{}{open}", HOUSE.replace("\"multipart/related\"", "\"multipart/related\", \"application/xml\"")));
    let both = |path: &str, message: &(String, Vec<u8>)| [post(path, message).basic(ADA.0, ADA.1), post(path, message)];
    for message in referred("root", ORDER) {
        for ask in [both("/orders", &message), both("/open", &message)].concat() {
            let answer = gateway.send(&ask);
            nobody_hears(&gateway.application, &format!("{message:?} {answer:?}"));
        }
        // Whoever says nothing else is asked for the password that the header has.
        let answer = gateway.send(&post("/orders", &message));
        let why = reason(&gateway, &answer);
        assert!(why == "unknown_user" || why == "repeated_wrong_password", "{why} {answer:?}");
        // The header goes, and the rest arrives.
        let answer = gateway.send(&post("/open", &message));
        assert_eq!((answer.status, gateway.application.received().len()), (200, 1), "{answer:?}");
        nobody_hears(&gateway.application, "open");
        let put = ask("PUT", "/open").header("Content-Type", &message.0).body(message.1.clone());
        assert_eq!((gateway.send(&put).status, gateway.application.received().len()), (200, 1));
        nobody_hears(&gateway.application, "by PUT");
        let two = ask("POST", "/open").header("Content-Type", "application/json").header("Content-Type", "text/xml");
        let answer = gateway.send(&two.body(message.1.clone()));
        assert!((400..500).contains(&answer.status) && gateway.application.received().is_empty(), "{answer:?}");
    }
    for message in unreadable("root", ORDER) {
        for ask in [both("/orders", &message), both("/open", &message)].concat() {
            let answer = gateway.send(&ask);
            assert!(answer.status >= 400, "{message:?} {answer:?}");
            assert!(gateway.application.received().is_empty(), "{message:?}");
        }
        // Where nobody read it, because it is no POST, it is the sender's fault all the same.
        let put = gateway.send(&ask("PUT", "/open").header("Content-Type", &message.0).body(message.1.clone()));
        assert!((400..500).contains(&put.status) && gateway.application.received().is_empty(), "{message:?} {put:?}");
        assert_eq!(reason(&gateway, &put), serde_json::json!({ "malformed": "soap" }), "{put:?}");
    }
    // What is no message may be spelled as it likes.
    for (media_type, body) in [("text/xml", "<order note=\"one&#10;two\"/>"), ("application/json", "{\"a\": \"&#101;\"}")] {
        assert_eq!(gateway.send(&post("/open", &(media_type.to_owned(), body.into()))).status, 200);
        assert_eq!(gateway.application.last().body, body.as_bytes());
    }
}

#[test]
fn nor_through_envoy() {
    for front in [Front::Envoy, Front::EnvoyExtProc] {
        let Some(house) = behind_envoy(front) else { return };
        let plain = (String::from("text/xml"), forged("urn:other", "me", ORDER).into_bytes());
        let passes = house.send(&post("/removed", &plain).basic("ada", ADA.1));
        assert_eq!(passes.status, 200, "{front:?} {passes:?}");
        house.gateway.application.forget();
        for message in referred("root", ORDER) {
            let answer = house.send(&post("/removed", &message).basic("ada", ADA.1));
            let forwarded = house.gateway.application.received().len();
            assert_eq!(forwarded, usize::from(front == Front::EnvoyExtProc), "{front:?} {answer:?}");
            nobody_hears(&house.gateway.application, &format!("{front:?} {message:?}"));
        }
        for message in unreadable("root", ORDER) {
            let answer = house.send(&post("/removed", &message).basic("ada", ADA.1));
            assert!(answer.status >= 400 && house.gateway.application.received().is_empty(), "{front:?} {message:?} {answer:?}");
        }
    }
}

#[test]
fn nor_beside_the_session_of_an_integration_client() {
    let gateway = integration::gateway();
    let bob = ask("GET", "/Services/Integration?command=login").header("UserName", "bob").header("Password", crate::support::USERS[1].1);
    let session = gateway.send(&bob).cookies()["JSESSIONID"].clone();
    let data = |message: &(String, Vec<u8>)| gateway.send(&post("/Services/Integration/Contact", message).cookie("JSESSIONID", &session));
    let query = "<ContactQueryPage_Input xmlns=\"urn:crmondemand/ws/ecbs/contact/\"/>";
    let plain = ("text/xml".to_owned(), format!("<s:Envelope xmlns:s=\"{SOAP11}\"><s:Body>{query}</s:Body></s:Envelope>").into_bytes());
    assert_eq!(data(&plain).status, 200);
    gateway.application.forget();
    for message in referred("ada", query) {
        let answer = data(&message);
        assert_eq!(reason(&gateway, &answer), "duplicate_credential", "{message:?} {answer:?}");
    }
    for message in unreadable("ada", query) {
        assert!(data(&message).status >= 400, "{message:?}");
    }
    assert!(gateway.application.received().is_empty());
    // One's own name in whatever spelling is one's own, and goes no further.
    for message in referred("bob", query) {
        assert_eq!(data(&message).status, 200, "{message:?}");
        assert!(!String::from_utf8(gateway.application.last().body).unwrap().contains("Security"));
    }
}
