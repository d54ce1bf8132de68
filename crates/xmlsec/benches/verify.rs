//! What verifying costs beside the cryptography it cannot do without. Prints `verify/bare: N`.
//!
//! Both sides are measured in turns, so that a machine that slows down slows both; the medians are compared.
#![expect(clippy::expect_used, reason = "a benchmark without its inputs measures nothing")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_xmlsec::{
    Canonicalization, Document, IdentityProvider, Limits, Placement, Profile, SignedElement, SigningKey, TrustedKeys, canonicalize,
};

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const PATH: [(&str, &str); 2] = [(SAMLP, "Response"), (SAML, "Assertion")];
const ROUNDS: usize = 400;

fn pem(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name);
    let text = std::fs::read_to_string(path).expect("the corpus holds the key");
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).expect("base64")
}

/// A response of the size that identity providers send: twelve attributes, a certificate in `KeyInfo`, a prefix list.
fn response() -> String {
    let attributes: String = (0..12)
        .map(|n| format!(r#"<saml:Attribute Name="urn:oid:2.5.4.{n}" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri" FriendlyName="attribute{n}"><saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">value {n} of alice@example.org</saml:AttributeValue></saml:Attribute>"#))
        .collect();
    format!(
        r#"<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_r" Version="2.0" IssueInstant="2026-03-01T12:00:00Z" Destination="https://gw.example.com/saml/acs" InResponseTo="_q"><saml:Issuer>https://idp.example.org/saml/metadata</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion ID="_a" Version="2.0" IssueInstant="2026-03-01T12:00:00Z"><saml:Issuer>https://idp.example.org/saml/metadata</saml:Issuer><saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">alice@example.org</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="2026-03-01T12:05:00Z" Recipient="https://gw.example.com/saml/acs" InResponseTo="_q"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="2026-03-01T11:59:30Z" NotOnOrAfter="2026-03-01T12:05:00Z"><saml:AudienceRestriction><saml:Audience>https://gw.example.com/saml/sp</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="2026-03-01T12:00:00Z" SessionIndex="_s"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion></samlp:Response>"#
    )
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the time that passes")]
fn timed(work: impl Fn()) -> Duration {
    let begin = std::time::Instant::now();
    (0..8).for_each(|_| work());
    begin.elapsed() / 8
}

/// Medians of several pieces of work, done in turns.
fn medians<const N: usize>(rounds: usize, work: [&dyn Fn(); N]) -> [f64; N] {
    let mut times = work.map(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (work, times) in work.iter().zip(times.iter_mut()) {
            times.push(timed(work));
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times.get(rounds / 2).map_or(0.0, |median| median.as_secs_f64() * 1e6)
    })
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let certificate = pem("idp-rsa2048.crt");
    let mut keys = TrustedKeys::new();
    let id = keys.add_certificate(&certificate).expect("a certificate");
    let key = SigningKey::<IdentityProvider>::from_pkcs8("idp", &pem("idp-rsa2048.key"), Some(&certificate)).expect("a key");
    assert_eq!(key.id(), id);
    let unsigned = Document::parse(response().as_bytes(), &Limits::MESSAGE).expect("well-formed");
    let signed = unsigned.sign_enveloped(SignedElement::Path(&PATH), Placement::After(SAML, "Issuer"), &["xs"], &key).expect("signed");

    let verify = || {
        let document = Document::parse(black_box(&signed), &Limits::MESSAGE).expect("well-formed");
        document.verify(SignedElement::Path(&PATH), &keys, &Profile::SAML).expect("verified")
    };
    let covered = verify().canonical().expect("canonical");

    // The bare operations: one RSA verification with a parsed key over the octets of SignedInfo, SHA-256 of what is covered.
    let text = String::from_utf8_lossy(&signed).into_owned();
    let part = |from: &str, to: &str| text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(part, _)| part.to_owned());
    let info = part("<ds:SignedInfo>", "</ds:SignedInfo>").expect("signed info");
    let info = format!("<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{info}</ds:SignedInfo>");
    let value = STANDARD.decode(part("<ds:SignatureValue>", "</ds:SignatureValue>").expect("value")).expect("base64");
    let (_, spki) = x509_parser::parse_x509_certificate(&certificate)
        .map(|(rest, c)| (rest, c.tbs_certificate.subject_pki.raw.to_vec()))
        .expect("spki");
    let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &spki).expect("public key");
    parsed.verify_sig(info.as_bytes(), &value).expect("the bare signature is good");

    let read = Document::parse(&signed, &Limits::MESSAGE).expect("well-formed");
    let verified = verify();
    let [bare, all, parse, rest, write] = medians(
        ROUNDS,
        [
            &|| {
                black_box(digest::digest(&digest::SHA256, black_box(&covered)));
                parsed.verify_sig(black_box(info.as_bytes()), black_box(&value)).expect("good");
            },
            &|| drop(black_box(verify())),
            &|| drop(black_box(Document::parse(black_box(&signed), &Limits::MESSAGE))),
            &|| drop(black_box(read.verify(SignedElement::Path(&PATH), &keys, &Profile::SAML))),
            &|| drop(black_box(verified.canonical())),
        ],
    );
    println!("response: {} octets, {} covered", signed.len(), covered.len());
    println!("bare {bare:.1} us, parse {parse:.1} us, parse and verify {all:.1} us; verify alone {rest:.1} us, canonicalize {write:.1} us");
    println!("verify/bare: {:.2}", all / bare);

    // `cargo bench -p vestibule-xmlsec -- response` stops here.
    if std::env::args().any(|argument| argument == "response") {
        return;
    }
    let list = || STANDARD.encode(&covered);
    for size in [10_000, 100_000, 1_000_000, 10_000_000] {
        let item = format!("<o:item xmlns:o=\"urn:orders\" n=\"7\"><o:name>{}</o:name></o:item>", &list()[..200]);
        let body = format!("<s:Body xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\">{}</s:Body>", item.repeat(size / item.len()));
        let octets = canonicalize(body.as_bytes(), &Limits::SOAP, &Canonicalization::EXCLUSIVE).expect("canonical");
        let [hash, both, parse] = medians(
            (20_000_000 / size).clamp(3, 100),
            [
                &|| {
                    black_box(digest::digest(&digest::SHA256, black_box(&octets)));
                },
                &|| drop(black_box(canonicalize(black_box(body.as_bytes()), &Limits::SOAP, &Canonicalization::EXCLUSIVE))),
                &|| drop(black_box(Document::parse(black_box(body.as_bytes()), &Limits::SOAP))),
            ],
        );
        println!(
            "{size} octets: SHA-256 {hash:.0} us, parse {parse:.0} us ({:.2} ns an octet), canonicalize {:.0} us, canonicalize/hash: {:.2}",
            parse * 1e3 / body.len() as f64,
            both - parse,
            (both - parse) / hash
        );
    }
}
