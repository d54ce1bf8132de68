//! Signed messages of several parts (XOP, SOAP with attachments): what was signed is what stands in line, and what is forwarded is the
//! package as it came.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::{Answer, Gateway, ask};
use crate::ws_security::{CLIENT, house, reason, written};
use vestibule_wss::{KeyReference, Token};

const PICTURE: &[u8] = b"\x89PNG\r\n\x1a\n--b not the end \0\xff";

fn signed() -> String {
    let order = format!("<o:GetOrder xmlns:o=\"urn:example:orders\"><o:picture>{}</o:picture></o:GetOrder>", STANDARD.encode(PICTURE));
    String::from_utf8(written(Token::Nothing, Some(("client-rsa2048", KeyReference::Direct)), &order)).unwrap()
}

/// The message with the picture in a part of its own, of these octets; and what refers to it.
fn packed(message: &str, href: &str, parts: &[(&str, &[u8])]) -> Vec<u8> {
    let include = format!("<x:Include xmlns:x=\"http://www.w3.org/2004/08/xop/include\" href=\"{href}\"/>");
    let root = message.replace(&STANDARD.encode(PICTURE), &include);
    assert_ne!(root, message);
    let head = "--b\r\nContent-Type: application/xop+xml; charset=utf-8; type=\"text/xml\"\r\nContent-ID: <root>\r\n\r\n";
    let mut octets = [head.as_bytes(), root.as_bytes()].concat();
    for (id, part) in parts {
        octets.extend_from_slice(format!("\r\n--b\r\nContent-Type: image/png\r\nContent-ID: <{id}>\r\n\r\n").as_bytes());
        octets.extend_from_slice(part);
    }
    octets.extend_from_slice(b"\r\n--b--\r\n");
    octets
}

fn post(gateway: &Gateway, path: &str, body: &[u8]) -> Answer {
    let kind = "multipart/related; boundary=b; type=\"application/xop+xml\"; start=\"<root>\"; start-info=\"text/xml\"";
    gateway.send(&ask("POST", path).header("Content-Type", kind).body(body))
}

/// Row 24 of the verifier's list, and attack 70.
#[test]
fn a_package_is_verified_in_line_and_forwarded_as_it_came() {
    let gateway = house();
    let message = signed();
    let package = packed(&message, "cid:picture", &[("picture", PICTURE)]);
    let answer = post(&gateway, "/orders", &package);
    assert_eq!(answer.status, 200, "{answer:?} {:?}", gateway.audit_of(&answer));
    let seen = gateway.application.last();
    assert_eq!(seen.header("x-vestibule-user"), Some(CLIENT));
    let begin = package.windows(11).position(|part| part == b"<env:Header").unwrap();
    let behind = package.windows(13).position(|part| part == b"</env:Header>").unwrap();
    let tail = package.get(behind..).unwrap();
    assert!(seen.body.starts_with(package.get(..begin).unwrap()) && seen.body.ends_with(tail), "{}", String::from_utf8_lossy(&seen.body));
    assert!(!String::from_utf8_lossy(&seen.body).contains("Security"));
    // The same message in line is the same message.
    gateway.application.forget();
    let line = gateway.send(&ask("POST", "/orders").header("Content-Type", "text/xml").body(message.as_str()));
    assert_eq!(reason(&gateway, &line), "replayed", "{line:?}");

    let other: &[u8] = b"another picture";
    let swapped = PICTURE.iter().rev().copied().collect::<Vec<u8>>();
    for (what, href, parts, why) in [
        ("the part exchanged", "cid:picture", vec![("picture", swapped.as_slice())], "digest_mismatch"),
        ("another part meant", "cid:other", vec![("other", other)], "digest_mismatch"),
        ("two parts of one name", "cid:picture", vec![("picture", PICTURE), ("picture", other)], "malformed"),
        ("a part that nobody means", "cid:picture", vec![("picture", PICTURE), ("other", other)], "malformed"),
        ("a part that is not there", "cid:nothing", vec![("picture", PICTURE)], "reference_refused"),
        ("a part elsewhere", "http://169.254.169.254/latest", vec![("picture", PICTURE)], "reference_refused"),
    ] {
        let answer = post(&gateway, "/orders", &packed(&signed(), href, &parts));
        assert_eq!(reason(&gateway, &answer), serde_json::json!({ "security": why }), "{what}: {answer:?}");
        assert!(answer.status >= 400 && answer.body.contains(":Fault>"), "{what}: {answer:?}");
    }
    assert!(gateway.application.received().is_empty());
}
