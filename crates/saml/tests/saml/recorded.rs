//! Every recorded message gives the verdict its manifest states, with its settings and without.

use crate::common::{self, Harness, text};
use jiff::Timestamp;
use serde_json::Value;
use vestibule_saml::binding::Redirect;
use vestibule_saml::protocol::{AuthnRequest, LogoutRequest};
use vestibule_saml::sp::AssertionRules;
use vestibule_saml::{Accepted, Assertion, AssertionContent, Reason, Rejection, names};
use vestibule_xmlsec::{Document, FromSigned, Limits, SignedElement, Verified};

/// A judged message: what it yields, or why it is refused.
enum Verdict {
    Response(Box<Accepted>),
    Assertion(Box<Verified<Assertion>>),
    Refused(Rejection),
}

fn judge(entry: &Value, settings: &[&str]) -> Verdict {
    let harness = Harness::of(entry, settings);
    let octets = common::octets(text(entry, "file"));
    let now: Timestamp = text(entry, "clock").parse().unwrap();
    match text(entry, "kind") {
        "saml20-response" | "saml11-response" => match harness.consume(&octets, now) {
            Ok(accepted) => Verdict::Response(Box::new(accepted)),
            Err(rejection) => Verdict::Refused(rejection),
        },
        "saml20-assertion" | "other" => {
            let idp = &harness.idp;
            let assertion = Assertion::verify(&octets, &idp.keys, &idp.profile).unwrap();
            let rules = AssertionRules {
                issuer: &idp.entity_id,
                audience: &harness.sp.entity_id,
                skew: idp.skew,
                max_age: Some(idp.max_age),
                saml11: idp.saml11,
                audiences: idp.audiences,
            };
            match rules.judge(&assertion, now) {
                Ok(_) => Verdict::Assertion(Box::new(assertion)),
                Err(rejection) => Verdict::Refused(rejection),
            }
        }
        other => panic!("{other}"),
    }
}

fn compare(file: &str, entry: &Value, expected: &str, reasons: &[&str], verdict: Verdict) -> Result<(), String> {
    let content: &AssertionContent = match &verdict {
        Verdict::Refused(rejection) => {
            return match expected {
                "reject" if reasons.contains(&rejection.reason.word()) => Ok(()),
                "reject" => Err(format!("{file}: refused as {rejection}, expected {reasons:?}")),
                _ => Err(format!("{file}: refused as {rejection}, expected acceptance")),
            };
        }
        Verdict::Response(accepted) => accepted.assertion.value(),
        Verdict::Assertion(assertion) => assertion.value(),
    };
    if expected != "accept" {
        return Err(format!("{file}: accepted, expected {reasons:?}"));
    }
    let read = &entry["read"];
    let name = content.name_id().unwrap();
    assert_eq!(name.value, text(read, "name_id"), "{file}");
    if let Some(format) = read["name_id_format"].as_str() {
        assert_eq!(name.format.as_deref(), Some(format), "{file}");
    }
    if let Some(index) = read["session_index"].as_str() {
        assert_eq!(content.authn.first().unwrap().session_index.as_deref(), Some(index), "{file}");
    }
    if let (Some(end), Verdict::Response(accepted)) = (read["session_not_on_or_after"].as_str(), &verdict) {
        assert_eq!(accepted.session_not_on_or_after, Some(end.parse().unwrap()), "{file}");
    }
    for (name, values) in read["attributes"].as_object().into_iter().flatten() {
        let values: Vec<_> = values.as_array().unwrap().iter().map(|value| value.as_str().unwrap()).collect();
        assert_eq!(content.values(name).collect::<Vec<_>>(), values, "{file} {name}");
    }
    if let Some(evil) = entry["evil_name_id"].as_str() {
        assert_ne!(name.value, evil, "{file}");
    }
    Ok(())
}

#[test]
fn every_recorded_message_gives_its_verdict() {
    let mut wrong = Vec::new();
    let mut judged = 0;
    for entry in common::manifest() {
        if !matches!(text(&entry, "kind"), "saml20-response" | "saml11-response" | "saml20-assertion" | "other") {
            continue;
        }
        let file = text(&entry, "file");
        let settings = common::list(&entry["settings"]);
        let mut reasons = common::list(&entry["also"]);
        reasons.extend(entry["reason"].as_str());
        wrong.extend(compare(file, &entry, text(&entry, "expect"), &reasons, judge(&entry, &settings)).err());
        reasons.extend(entry["default_reason"].as_str());
        wrong.extend(compare(file, &entry, text(&entry, "default"), &reasons, judge(&entry, &[])).err());
        judged += 1;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(judged, 97);
}

fn verified<M: FromSigned>(entry: &Value, name: &str) -> Verified<M> {
    let harness = Harness::of(entry, &[]);
    let octets = common::octets(text(entry, "file"));
    if entry["binding"] == "redirect" {
        let url = String::from_utf8(octets).unwrap();
        let (_, query) = url.trim_end().split_once('?').unwrap();
        let query = Redirect::read(query).unwrap();
        assert_eq!(query.relay_state.as_ref().map(|state| state.as_str()), entry["read"]["relay_state"].as_str());
        return query.verify(&harness.idp.keys, &harness.idp.profile).unwrap();
    }
    let document = Document::parse(&octets, &Limits::MESSAGE).unwrap();
    let path = [(names::SAMLP, name)];
    document.verify(SignedElement::Path(&path), &harness.idp.keys, &harness.idp.profile).unwrap().read().unwrap()
}

#[test]
fn recorded_requests_are_verified_and_read() {
    let mut judged = 0;
    for entry in common::manifest() {
        let read = &entry["read"];
        match text(&entry, "kind") {
            "saml20-request" => {
                let request = verified::<AuthnRequest>(&entry, "AuthnRequest").into_value();
                assert_eq!((request.header.issuer.as_str(), request.header.id.as_str()), (text(read, "issuer"), text(read, "id")));
                if let Some(url) = read["acs_url"].as_str() {
                    assert_eq!(request.consumer, vestibule_saml::protocol::Consumer::Url(url.to_owned()));
                }
            }
            "saml20-logout-request" => {
                let request = verified::<LogoutRequest>(&entry, "LogoutRequest").into_value();
                assert_eq!(request.name_id.value, text(read, "name_id"));
                assert_eq!(request.session_indexes.first().unwrap().0, text(read, "session_index"));
            }
            _ => continue,
        }
        judged += 1;
    }
    assert_eq!(judged, 3);
}

#[test]
fn every_reason_of_the_corpus_has_its_word_here() {
    for entry in common::manifest() {
        if !text(&entry, "kind").starts_with("saml") {
            continue;
        }
        for reason in [&entry["reason"], &entry["default_reason"]] {
            if let Some(word) = reason.as_str() {
                assert!(Reason::ALL.iter().any(|known| known.word() == word), "{word}");
            }
        }
    }
}

#[test]
fn a_refusal_lists_every_check() {
    let entry = common::manifest().into_iter().find(|entry| entry["file"] == "saml/n10_expired.xml").unwrap();
    let Verdict::Refused(rejection) = judge(&entry, &[]) else { panic!("accepted") };
    let failed: Vec<_> = rejection.checks.iter().filter(|check| !check.ok()).map(|check| check.name).collect();
    assert_eq!(failed, ["not on or after", "confirmation time"]);
    assert!(rejection.checks.iter().any(|check| check.name == "audience" && check.ok()));
    assert!(rejection.detail.contains("now 2026-03-01T12:01:00Z"), "{}", rejection.detail);
}
