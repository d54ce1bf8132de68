//! Whose signature counts: authorities and their lists of what they took back, and two who are trusted for themselves alone.

use std::path::Path;
use std::process::Command;

use vestibule_wss::{KeyReference, Token};

use crate::support::{Gateway, Scratch};
use crate::ws_security::{CLIENT, HOUSE, ORDER, add, corpus, cut, files, pem, post, reason, signed, skipped, told, written};

/// The list of the corpus' authority: with its leaf, or empty.
fn list(revoked: bool) -> Option<String> {
    let made = Scratch::new();
    let key = |name: &str| corpus().join("recorded/keys").join(name);
    made.write("index", "");
    made.write("number", "01");
    let folder = made.path().display();
    let config = format!(
        "[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/index\ncrlnumber={folder}/number\ndefault_md=sha256\ndefault_crl_days=30\n\
         certificate={}\nprivate_key={}\n",
        key("ca.crt").display(),
        key("ca.key").display()
    );
    let config = made.write("openssl.cnf", &config);
    let run = |arguments: &[&Path]| {
        let mut openssl = Command::new("openssl");
        openssl.args(["ca", "-config"]).arg(&config).args(arguments).output()
    };
    if revoked {
        let output = run(&[Path::new("-revoke"), &key("leaf-valid.crt")]).ok()?;
        assert!(output.status.success(), "{output:?}");
    }
    let file = made.path().join("ca.crl");
    let output = run(&[Path::new("-gencrl"), Path::new("-out"), &file]).ok()?;
    assert!(output.status.success(), "{output:?}");
    Some(std::fs::read_to_string(file).unwrap())
}

#[test]
fn an_authority_takes_back_what_it_issued() {
    let leaf = "leaf-valid.example.com";
    let known = "certificates = [\"client-rsa2048.crt\"]\nmap";
    let config = HOUSE.replacen(known, "ca = [\"ca.crt\"]\ncrl = [\"ca.crl\"]\nmap", 1);
    assert_ne!(config, HOUSE);
    for revoked in [false, true] {
        let Some(list) = list(revoked) else { return skipped("openssl") };
        let mut files = files(&told());
        files.extend([("ca.crt".to_owned(), pem("ca.crt")), ("ca.crl".to_owned(), list)]);
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        let gateway = Gateway::with_files(&config, &files);
        for name in [leaf, CLIENT] {
            add(&gateway, "north", name, "never typed by anybody");
        }
        let unknown = serde_json::json!({ "security": "unknown_key" });
        let answer = post(&gateway, "/orders", &written(Token::Nothing, Some(("leaf-valid", KeyReference::Direct)), ORDER));
        if revoked {
            assert_eq!(reason(&gateway, &answer), unknown, "{answer:?}");
        } else {
            assert_eq!(answer.status, 200, "{answer:?} {:?}", gateway.audit_of(&answer));
            assert_eq!(gateway.application.last().header("x-vestibule-user"), Some(leaf));
        }
        gateway.application.forget();
        let old = post(&gateway, "/orders", &written(Token::Nothing, Some(("leaf-expired", KeyReference::Direct)), ORDER));
        assert_eq!(reason(&gateway, &old), serde_json::json!({ "security": "certificate_expired" }), "{old:?}");
        // Nobody's, or one that signed for himself.
        assert_eq!(reason(&gateway, &post(&gateway, "/orders", &signed())), unknown);
        assert!(gateway.application.received().is_empty());
    }
}

/// Attack 57 among those who are trusted: a message that somebody else signed once, beside the sender's own.
#[test]
fn nobody_speaks_for_another_whose_message_he_has() {
    let config =
        HOUSE.replacen("certificates = [\"client-rsa2048.crt\"]", "certificates = [\"client-rsa2048.crt\", \"other-rsa2048.crt\"]", 1);
    let mut files = files(&told());
    files.push(("other-rsa2048.crt".to_owned(), pem("other-rsa2048.crt")));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let gateway = Gateway::with_files(&config, &files);
    let other = "attacker.example.net";
    for name in [CLIENT, other] {
        add(&gateway, "north", name, "never typed by anybody");
    }
    let seen = String::from_utf8(signed()).unwrap();
    let own =
        String::from_utf8(written(Token::Nothing, Some(("other-rsa2048", KeyReference::Direct)), "<o:Cancel xmlns:o=\"urn:o\"/>")).unwrap();
    let proof =
        cut(&seen, "<wsse:BinarySecurityToken", "</wsse:BinarySecurityToken>").to_owned() + cut(&seen, "<ds:Signature", "</ds:Signature>");
    let signed = cut(&seen, "<wsu:Timestamp", "</wsu:Timestamp>").to_owned() + cut(&seen, "<s:Body", "</s:Body>");
    let beside = own.replacen("</env:Header>", &format!("<w xmlns=\"urn:w\">{signed}</w></env:Header>"), 1);
    let message = beside.replacen("<wsse:BinarySecurityToken", &format!("{proof}<wsse:BinarySecurityToken"), 1);
    let answer = post(&gateway, "/orders", message.as_bytes());
    assert_eq!(answer.status, 200, "{answer:?} {:?}", gateway.audit_of(&answer));
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some(other));
    gateway.application.forget();
    let stolen = beside.replacen(cut(&own, "<ds:Signature", "</ds:Signature>"), &proof, 1);
    assert_eq!(reason(&gateway, &post(&gateway, "/orders", stolen.as_bytes())), serde_json::json!({ "security": "wrapped" }));
    assert!(gateway.application.received().is_empty());
}
