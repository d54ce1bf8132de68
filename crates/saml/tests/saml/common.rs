//! What the tests share: the corpus, its keys, and a service provider set up as an entry says.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use vestibule_saml::sp::{Expectations, Requests, Saml11, TrustedIdp, Unsolicited};
use vestibule_saml::{Accepted, Rejection, Sp};
use vestibule_xmlsec::{Concession, DecryptionKeys, Purpose, SigningKey, TrustedKeys};

pub fn corpus(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(below)
}

pub fn octets(file: &str) -> Vec<u8> {
    std::fs::read(corpus("recorded").join(file)).unwrap()
}

pub fn manifest() -> Vec<Value> {
    let manifest: Value = serde_json::from_slice(&octets("manifest.json")).unwrap();
    manifest["entries"].as_array().unwrap().clone()
}

pub fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap_or_default()
}

pub fn list(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The DER inside a PEM file of the corpus.
pub fn der(file: &str) -> Vec<u8> {
    let pem = String::from_utf8(octets(file)).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

pub fn signing<P: Purpose>(name: &str) -> SigningKey<P> {
    SigningKey::from_pkcs8(P::NAME, &der(&format!("keys/{name}.key")), Some(&der(&format!("keys/{name}.crt")))).unwrap()
}

pub fn trusted(names: &[&str]) -> TrustedKeys {
    let mut keys = TrustedKeys::new();
    for name in names {
        keys.add_certificate(&der(&format!("keys/{name}.crt"))).unwrap();
    }
    keys
}

/// Both sides of a login, as an entry of a manifest sets them up.
pub struct Harness {
    pub sp: Sp,
    pub idp: TrustedIdp,
    requests: Vec<String>,
}

impl Harness {
    pub fn of(entry: &Value, settings: &[&str]) -> Self {
        let mut keys = TrustedKeys::new();
        if let Some(certificate) = entry["trust_cert"].as_str() {
            keys.add_certificate(&der(certificate)).unwrap();
        }
        let mut idp = TrustedIdp::new(text(entry, "idp_entity_id"), keys);
        for setting in settings {
            match *setting {
                "legacy_sha1" => idp.profile = idp.profile.admit(Concession::Sha1),
                "legacy_rsa1024" => idp.profile = idp.profile.admit(Concession::Rsa1024),
                "legacy_cbc" => idp.profile = idp.profile.admit(Concession::Cbc),
                "legacy_3des" => idp.profile = idp.profile.admit(Concession::TripleDes),
                "legacy_rsa15" => idp.profile = idp.profile.admit(Concession::Rsa15),
                "allow_unsolicited" => idp.unsolicited = Unsolicited::Allowed,
                "saml11" => idp.saml11 = Saml11::Allowed,
                other => panic!("{other}"),
            }
        }
        let mut decryption = DecryptionKeys::new();
        if let Some(key) = entry["decrypt_key"].as_str() {
            decryption.add_pkcs8("sp-decryption", &der(key)).unwrap();
        }
        Self {
            sp: Sp { entity_id: text(entry, "sp_entity_id").to_owned(), acs_urls: vec![text(entry, "acs_url").to_owned()], decryption },
            idp,
            requests: entry["in_response_to"].as_str().map(str::to_owned).into_iter().collect(),
        }
    }

    pub fn consume(&self, octets: &[u8], now: Timestamp) -> Result<Accepted, Rejection> {
        let requests: Vec<_> = self.requests.iter().map(String::as_str).collect();
        self.sp.consume(octets, &Expectations { idp: &self.idp, requests: Requests::Open(&requests), resolved: None }, now)
    }
}
