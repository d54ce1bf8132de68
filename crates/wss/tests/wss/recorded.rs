//! Every recorded message has the verdict of its settings, and that of no settings at all.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vestibule_wss::{Accepted, CertificateStore, Concession, Concessions, TokenKind, TrustedIssuer};
use vestibule_xmlsec::{DecryptionKeys, TrustedKeys};

use crate::common::{World, corpus, der};

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|all| all.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

fn key_file(entry: &Value, name: &str) -> Option<Vec<u8>> {
    entry[name].as_str().map(|path| der(path.strip_prefix("keys/").unwrap()))
}

fn world(entry: &Value, users: &Value, settings: &[&str]) -> World {
    let mut certificates = CertificateStore::new();
    let mut attesters = CertificateStore::new();
    let mut keys = TrustedKeys::new();
    if let Some(trusted) = key_file(entry, "trust_cert") {
        certificates.know(&trusted).unwrap();
        attesters.know(&trusted).unwrap();
        keys.add_certificate(&trusted).unwrap();
    }
    if let Some(ca) = key_file(entry, "trust_ca") {
        certificates.trust_anchor(&ca).unwrap();
    }
    let concession = |word: &&str| Concession::ALL.iter().copied().find(|one| one.word() == *word).unwrap();
    let token = |word: &str| match word {
        "username" => TokenKind::Username,
        "x509" => TokenKind::X509,
        "saml" => TokenKind::Saml,
        other => panic!("{other}"),
    };
    let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
    World {
        tokens: words(&entry["tokens"]).into_iter().map(token).collect(),
        concessions: settings.iter().map(concession).collect::<Concessions>(),
        certificates,
        issuers: vec![TrustedIssuer { entity_id: text("idp_entity_id"), keys, attesters }],
        audience: text("sp_entity_id"),
        recipients: vec![text("acs_url")],
        decryption: key_file(entry, "decrypt_key").map(|key| {
            let mut keys = DecryptionKeys::new();
            keys.add_pkcs8("ws-security-decryption", &key).unwrap();
            keys
        }),
        users: users.as_object().unwrap().iter().map(|(name, word)| (name.clone(), word.as_str().unwrap().to_owned())).collect(),
        now: entry["clock"].as_str().unwrap().parse().unwrap(),
        ..World::default()
    }
}

/// What an accepted message did not yield.
fn missing(entry: &Value, accepted: &Accepted) -> Vec<String> {
    let mut missing = Vec::new();
    let Some(read) = entry["read"].as_object() else { return missing };
    for (name, expected) in read {
        let assertion = accepted.assertion.as_ref().map(|assertion| assertion.assertion.value());
        let name_id = assertion.and_then(|assertion| assertion.name_id());
        let found = match name.as_str() {
            "username" => accepted.username.as_ref().is_some_and(|token| token.username() == expected),
            "signer" => {
                let wanted = der(expected.as_str().unwrap().strip_prefix("keys/").unwrap());
                accepted.signatures.iter().any(|one| one.certificate().is_some_and(|certificate| certificate.der() == wanted))
            }
            "covered" => accepted.covered == words(expected),
            "name_id" => name_id.is_some_and(|name| name.value == *expected),
            "name_id_format" => name_id.is_some_and(|name| name.format.as_deref() == expected.as_str()),
            "attributes" => expected
                .as_object()
                .unwrap()
                .iter()
                .all(|(name, values)| assertion.is_some_and(|assertion| assertion.values(name).collect::<Vec<_>>() == words(values))),
            other => panic!("{other}"),
        };
        if !found {
            missing.push(format!("{name}: {expected}, covered {:?}", accepted.covered));
        }
    }
    missing
}

#[test]
fn recorded_messages_have_their_verdicts() {
    let manifest: Value = serde_json::from_slice(&std::fs::read(corpus().join("recorded/manifest.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let entries = manifest["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "soap");
    for entry in entries {
        let file = entry["file"].as_str().unwrap();
        let octets = std::fs::read(corpus().join("recorded").join(file)).unwrap();
        let settings = words(&entry["settings"]);
        for (mode, settings, reason) in [("expect", settings.as_slice(), "reason"), ("default", &[], "default_reason")] {
            let judged = world(entry, &manifest["soap_users"], settings).judge(&octets);
            let expected = entry[mode].as_str().unwrap();
            *seen.entry(if mode == "expect" { expected } else { "by default" }).or_default() += 1;
            match judged {
                Ok(accepted) if expected == "accept" => {
                    wrong.extend(missing(entry, &accepted).into_iter().map(|what| format!("{file} {mode}: did not yield {what}")));
                }
                Ok(_) => wrong.push(format!("{file} {mode}: accepted")),
                Err(refusal) => {
                    // Where a message is bad and not enabled, either is right.
                    let mut reasons: Vec<&str> = words(&entry["also"]);
                    reasons.extend(entry[reason].as_str());
                    reasons.extend(entry["reason"].as_str());
                    if expected == "accept" || !reasons.contains(&refusal.reason.word()) {
                        wrong.push(format!("{file} {mode}: {} instead of {expected} {reasons:?}\n{}", refusal.reason, refusal.trace));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen["accept"] >= 38 && seen["reject"] >= 28 && seen["by default"] >= 68, "{seen:?}");
}

#[test]
fn the_same_message_has_the_same_condition_and_another_has_another() {
    let manifest: Value = serde_json::from_slice(&std::fs::read(corpus().join("recorded/manifest.json")).unwrap()).unwrap();
    let mut keys = BTreeSet::new();
    for entry in manifest["entries"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "soap" && entry["expect"] == "accept") {
        let file = entry["file"].as_str().unwrap();
        let octets = std::fs::read(corpus().join("recorded").join(file)).unwrap();
        let world = world(entry, &manifest["soap_users"], &words(&entry["settings"]));
        let (first, again) = (world.judge(&octets).unwrap().replay, world.judge(&octets).unwrap().replay);
        assert_eq!(first, again, "{file}");
        keys.extend(first.iter().map(|condition| format!("{condition:?}")));
    }
    // Two recorded messages sign the same content in the same second, and are one message.
    assert!(keys.len() > 30, "{}", keys.len());
}
