//! Hostile tokens (`corpus/attacks/jose`): each is refused for the reason that its line says, and the good ones are not.

use std::path::PathBuf;

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
