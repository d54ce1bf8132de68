//! Hostile tokens (`corpus/attacks/jose`): each is refused for the reason that its line says, and the good ones are not.

use std::path::PathBuf;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use vestibule_oidc::id_token::{self, IdToken};
use vestibule_oidc::jose::{Algorithm, IssuerKeys};
use vestibule_oidc::jwks::Jwks;
use vestibule_oidc::logout::{self, LogoutToken};

const ISSUER: &str = "https://op.example.com";
const ALGORITHMS: [Algorithm; 5] = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256];

#[test]
fn every_token_of_the_corpus_is_judged_as_its_line_says() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/jose");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let keys = IssuerKeys::new(Jwks::parse(&read("keys.json")).unwrap());
    let manifest: Vec<Value> = serde_json::from_str(&read("manifest.json")).unwrap();
    let files =
        std::fs::read_dir(&folder).unwrap().filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|end| end == "jwt"));
    assert_eq!(files.count(), manifest.len(), "a file without a line");
    for line in &manifest {
        let of = |name: &str| line[name].as_str();
        let (file, now) = (of("file").unwrap(), line["clock"].as_i64().unwrap());
        let token = read(file);
        let judged = match of("kind") {
            Some("id-token") => {
                let expected = id_token::Expected {
                    issuer: ISSUER,
                    client_id: "vestibule",
                    answers: id_token::Answers::Login { nonce: "n-0S6_WzA2Mj" },
                    access_token: "an access token",
                    algorithms: &ALGORITHMS,
                    skew: 60,
                    max_age: None,
                    not_before: None,
                    contexts: &[],
                };
                IdToken::verify(token.trim_end(), &keys, &expected, now).map(drop)
            }
            Some("logout-token") => {
                let expected = logout::Expected { issuer: ISSUER, client_id: "vestibule", algorithms: &ALGORITHMS, skew: 60 };
                LogoutToken::verify(token.trim_end(), &keys, &expected, now).map(drop)
            }
            other => panic!("{file}: there is no kind {other:?}"),
        };
        let reason = judged.err().map(|rejection| snake(&format!("{:?}", rejection.reason)));
        assert_eq!(reason.as_deref(), of("reason"), "{file}");
    }
}

/// What is fuzzed in `fuzz/`.
#[path = "../../../fuzz/src/jose.rs"]
#[expect(clippy::expect_used, reason = "it stops at what must not be")]
mod fuzzed;

/// The fuzz target, over everything hostile there is.
#[test]
fn what_is_fuzzed_holds_for_the_corpus() {
    let mut seen = 0;
    for file in std::fs::read_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/jose")).unwrap() {
        let octets = std::fs::read(file.unwrap().path()).unwrap();
        fuzzed::consume(&octets);
        for at in [octets.len() / 4, octets.len() / 2, octets.len() * 9 / 10] {
            fuzzed::consume(&[&octets[..at], &octets[at + 1..]].concat());
        }
        seen += 1;
    }
    assert!(seen > 48, "{seen}");
}

/// Its list of what was signed holds every token of the corpus with a good signature, and no other.
#[test]
fn what_is_fuzzed_knows_what_was_signed() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/jose");
    let set: Value = serde_json::from_str(&std::fs::read_to_string(folder.join("keys.json")).unwrap()).unwrap();
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).unwrap_or_default();
    let part = |key: &Value, name: &str| decode(key[name].as_str().unwrap());
    let signed_by = |key: &Value, content: &[u8], signature: &[u8]| match key["kty"].as_str() {
        Some("EC") => {
            let point = [&[4][..], &part(key, "x"), &part(key, "y")].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(content, signature).is_ok()
        }
        Some("RSA") => {
            let key = RsaPublicKeyComponents { n: part(key, "n"), e: part(key, "e") };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, content, signature).is_ok()
        }
        other => panic!("{other:?}"),
    };
    let mut found = Vec::new();
    for file in std::fs::read_dir(&folder).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let parts: Vec<&str> = text.trim_end().split('.').collect();
        let [header, payload, signature, ..] = parts[..] else { continue };
        let (content, signature) = (format!("{header}.{payload}"), decode(signature));
        if set["keys"].as_array().unwrap().iter().any(|key| signed_by(key, content.as_bytes(), &signature)) {
            found.push((path.file_stem().unwrap().to_str().unwrap().to_owned(), text));
        }
    }
    found.sort();
    let listed: Vec<(String, String)> = fuzzed::SIGNED.iter().map(|(name, token)| ((*name).to_owned(), (*token).to_owned())).collect();
    assert!(found == listed, "{:?}", found.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

/// `WrongNonce` as `wrong_nonce`.
fn snake(name: &str) -> String {
    let mut text = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !text.is_empty() {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
    }
    text
}
