//! Verifies our signatures with bergshamra and its signatures with ours, then both in turns against the clock.

use std::hint::black_box;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bergshamra::{DsigContext, KeysManager};
use vestibule_xmlsec::{Document, IdentityProvider, Limits, Placement, Profile, SignedElement, SigningKey, TrustedKeys};

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const PATH: [(&str, &str); 1] = [(SAML, "Assertion")];
const KEY: &str = include_str!("../../../corpus/recorded/keys/idp-rsa2048.key");
const CERTIFICATE: &str = include_str!("../../../corpus/recorded/keys/idp-rsa2048.crt");

fn der(pem: &str) -> Vec<u8> {
    STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).expect("base64")
}

fn assertion(attributes: usize) -> String {
    let attributes: String = (0..attributes)
        .map(|n| format!(r#"<saml:Attribute Name="urn:oid:2.5.4.{n}" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri" FriendlyName="attribute{n}"><saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">value {n} of é &amp; alice@example.org<!-- c --></saml:AttributeValue></saml:Attribute>"#))
        .collect();
    format!(
        r#"<saml:Assertion xmlns:saml="{SAML}" ID="_a" Version="2.0"><saml:Issuer>https://idp.example.org</saml:Issuer><saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion>"#
    )
}

fn context(private: bool) -> DsigContext {
    let mut keys = KeysManager::new();
    let pem = if private { KEY } else { CERTIFICATE }.as_bytes();
    let load = if private { bergshamra::keys::loader::load_pem_auto(pem, None) } else { bergshamra::keys::loader::load_x509_cert_pem(pem) };
    keys.add_key(load.expect("a key"));
    DsigContext::new(keys).with_trusted_keys_only(true)
}

fn emptied(text: &str, from: &str, to: &str) -> String {
    let (before, rest) = text.split_once(from).expect("a signature");
    format!("{before}{from}{to}{}", rest.split_once(to).expect("a signature").1)
}

fn main() {
    let mut keys = TrustedKeys::new();
    keys.add_pem(CERTIFICATE).expect("a certificate");
    let key = SigningKey::<IdentityProvider>::from_pkcs8("idp", &der(KEY), Some(&der(CERTIFICATE))).expect("a key");
    let (theirs, signing) = (context(false), context(true));
    let sign = |text: &str, prefixes: &[&str]| {
        let document = Document::parse(text.as_bytes(), &Limits::MESSAGE).expect("well-formed");
        let signed = document.sign_enveloped(SignedElement::Path(&PATH), Placement::After(SAML, "Issuer"), prefixes, &key);
        String::from_utf8(signed.expect("signed")).expect("UTF-8")
    };
    let ours = |text: &str| Document::parse(text.as_bytes(), &Limits::MESSAGE)?.verify(SignedElement::Path(&PATH), &keys, &Profile::SAML);
    for number in 0..100 {
        let signed = sign(&assertion(number % 20), if number % 2 == 0 { &["xs"] } else { &[] });
        let verdict = bergshamra::verify(&theirs, &signed).expect("a verdict");
        assert!(verdict.is_valid(), "{number}: {verdict:?}");
        let changed = bergshamra::verify(&theirs, &signed.replace("idp.example.org", "evil.example.org"));
        assert!(!changed.is_ok_and(|verdict| verdict.is_valid()), "it accepts anything");
        let template = emptied(&emptied(&signed, "<ds:DigestValue>", "</ds:DigestValue>"), "<ds:SignatureValue>", "</ds:SignatureValue>");
        let made = bergshamra::sign(&signing, &template).expect("signed");
        ours(&made).expect("verified here");
    }
    println!("100 signatures of ours verified there, 100 of theirs here");
    let signed = sign(&assertion(12), &["xs"]);
    let timed = |work: &dyn Fn()| {
        let begin = Instant::now();
        (0..8).for_each(|_| work());
        begin.elapsed().as_secs_f64() * 1e6 / 8.0
    };
    let (mut one, mut other) = (Vec::new(), Vec::new());
    for _ in 0..200 {
        one.push(timed(&|| drop(black_box(ours(black_box(&signed)).expect("verified")))));
        other.push(timed(&|| drop(black_box(bergshamra::verify(&theirs, black_box(&signed)).expect("verified")))));
    }
    one.sort_by(f64::total_cmp);
    other.sort_by(f64::total_cmp);
    println!("{} octets: ours {:.0} us, bergshamra {:.0} us, {:.1} times ours", signed.len(), one[100], other[100], other[100] / one[100]);
}
