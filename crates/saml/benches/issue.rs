//! What issuing costs beside the signature it cannot do without. Prints `issue/bare: N` and its like, and the ratio.
//!
//! Both sides are measured in turns, so that a machine that slows down slows both; the medians are compared.
#![expect(clippy::expect_used, reason = "a benchmark without its inputs measures nothing")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use vestibule_saml::idp::{Idp, Login, RegisteredSp, Sign, persistent_name};
use vestibule_saml::metadata::{Entity, IndexedEndpoint, Protocols, SpRole};
use vestibule_saml::names::{attribute, authn_context, binding};
use vestibule_saml::protocol::Consumer;
use vestibule_saml::{Attribute, AuthnStatement};
use vestibule_xmlsec::{IdentityProvider, SigningKey};

const ROUNDS: usize = 400;

fn pem(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name);
    let text = std::fs::read_to_string(path).expect("the corpus holds the key");
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).expect("base64")
}

fn registered(sign: Sign) -> RegisteredSp {
    let acs = IndexedEndpoint {
        index: 0,
        is_default: Some(true),
        binding: binding::POST.to_owned(),
        location: "https://wiki.example.org/acs".to_owned(),
    };
    let role = SpRole { protocols: Protocols { saml20: true, saml11: false }, acs: vec![acs], ..SpRole::default() };
    let entity = Entity { entity_id: "https://wiki.example.org/saml".to_owned(), sp: Some(role), ..Entity::default() };
    RegisteredSp { sign, ..RegisteredSp::from_metadata(&entity).expect("a service provider") }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the time that passes")]
fn timed(work: &dyn Fn()) -> Duration {
    let begin = std::time::Instant::now();
    work();
    begin.elapsed()
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let now: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
    let key = SigningKey::<IdentityProvider>::from_pkcs8("idp", &pem("idp-rsa2048.key"), Some(&pem("idp-rsa2048.crt"))).expect("a key");
    let idp = Idp { entity_id: "https://idp.example.org/saml".to_owned(), sso_urls: vec!["https://idp.example.org/sso".to_owned()], key };
    let pair = RsaKeyPair::from_pkcs8(&pem("idp-rsa2048.key")).expect("a key");
    let random = SystemRandom::new();
    let login = Login {
        name_id: persistent_name(&[7; 32], &idp.entity_id, "https://wiki.example.org/saml", "ada"),
        authn: AuthnStatement::new(now, authn_context::PASSWORD_PROTECTED_TRANSPORT),
        attributes: ["mail", "cn", "groups"].map(|name| Attribute::of_texts(name, attribute::BASIC, ["ada@example.org", "staff"])).into(),
        lifetime: Login::LIFETIME,
        response_id: [1; 16],
        assertion_id: [2; 16],
    };
    for (name, sign, signatures) in [("assertion", Sign::Assertion, 1), ("both", Sign::Both, 2)] {
        let sp = registered(sign);
        let request = idp.unsolicited(&sp, &Consumer::Default).expect("an address");
        let (mut bare, mut ours) = (Vec::with_capacity(ROUNDS), Vec::with_capacity(ROUNDS));
        for _ in 0..ROUNDS {
            bare.push(timed(&|| {
                for _ in 0..signatures {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    pair.sign(&RSA_PKCS1_SHA256, &random, black_box(b"SignedInfo"), &mut signature).expect("signed");
                    black_box(signature);
                }
            }));
            ours.push(timed(&|| drop(black_box(idp.respond(&sp, &request, black_box(&login), now).expect("issued")))));
        }
        let median = |mut times: Vec<Duration>| {
            times.sort_unstable();
            times.get(ROUNDS / 2).map_or(0.0, |median| median.as_secs_f64() * 1e6)
        };
        let (bare, ours) = (median(bare), median(ours));
        println!("issue/{name}/bare: {bare:.1} µs\nissue/{name}: {ours:.1} µs\nissue/{name}/ratio: {:.2}", ours / bare);
    }
}
