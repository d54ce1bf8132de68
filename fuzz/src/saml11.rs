//! What must hold for any octets that a browser or a responder brings with SAML 1.1. Run by libFuzzer in `fuzz/`, and over the corpus
//! by `cargo test`.

use std::sync::OnceLock;

use vestibule_saml::binding::{Artifact, ArtifactQuery, Post};
use vestibule_saml::protocol::ArtifactRequest11;
use vestibule_saml::sp::{Expectations, Requests, Saml11, TrustedIdp};
use vestibule_saml::{Signature, Sp};
use vestibule_xmlsec::DecryptionKeys;

/// Whoever is believed is whom the corpus has signed: nobody else has the key.
pub fn consume(octets: &[u8]) {
    let (sp, idp) = parties();
    let now = "2026-03-01T12:01:00Z".parse().expect("a time");
    for resolved in [None, Some("_fetch")] {
        let expected = Expectations { idp, requests: Requests::Open(&[]), resolved };
        if let Ok(accepted) = sp.consume(octets, &expected, now) {
            let assertion = accepted.assertion.value();
            assert_eq!(assertion.name_id().map(|name| name.value.as_str()), Some("alice@example.org"));
            assert_eq!(assertion.issuer, idp.entity_id);
        }
    }
    if let Ok(admitted) = idp.partner().artifact_request(octets, Signature::IfPresent, now) {
        assert_eq!(ArtifactRequest11::claimed(octets).expect("was read"), admitted.message);
    }
    let Ok(text) = std::str::from_utf8(octets) else { return };
    drop(Post::read_saml11(text));
    if let Ok(query) = ArtifactQuery::read(text) {
        for artifact in &query.artifacts {
            let again = Artifact::parse(&artifact.to_base64().replace('+', "%2B")).expect("was read");
            assert_eq!(again, *artifact);
        }
    }
}

fn parties() -> &'static (Sp, TrustedIdp) {
    static PARTIES: OnceLock<(Sp, TrustedIdp)> = OnceLock::new();
    PARTIES.get_or_init(|| {
        let idp = TrustedIdp { saml11: Saml11::Allowed, ..TrustedIdp::new("https://idp.example.org/saml11", crate::fuzz_keys::trusted()) };
        let sp = Sp {
            entity_id: "https://gw.example.com/saml11/sp".to_owned(),
            acs_urls: vec!["https://gw.example.com/fed/sp/samlv11sso".to_owned()],
            decryption: DecryptionKeys::new(),
        };
        (sp, idp)
    })
}
