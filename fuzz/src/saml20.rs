//! What must hold for any octets that a browser or a partner brings with SAML 2.0, in a form, a query, an envelope or as metadata. Run by
//! libFuzzer in `fuzz/`, and over the corpus by `cargo test`.

use std::sync::OnceLock;

use vestibule_saml::binding::{Artifact, ArtifactQuery, Post, Redirect};
use vestibule_saml::metadata::{Metadata, Trust};
use vestibule_saml::protocol::{AuthnRequest, LogoutRequest};
use vestibule_saml::sp::{Expectations, Requests, TrustedIdp, Unsolicited};
use vestibule_saml::{Incoming, Signature, Sp};
use vestibule_xmlsec::DecryptionKeys;

const SLO: &str = "https://gw.example.com/saml/slo";

/// Whoever is believed has signed it, and for us: nobody else has the key.
pub fn consume(octets: &[u8]) {
    let (sp, idp) = parties();
    let now = "2026-03-01T12:01:00Z".parse().expect("a time");
    respond(octets);
    let partner = idp.partner();
    let own = [SLO];
    drop(partner.logout_request(Incoming::Document(octets), &own, &sp.decryption, now));
    drop(partner.logout_response(Incoming::Document(octets), &own, "_request", now));
    drop(partner.artifact_resolve(octets, &own, Signature::Required, now));
    if let Ok(metadata) = Metadata::read(octets, Trust::Named, now) {
        for entity in &metadata.entities {
            assert!(!entity.entity_id.is_empty());
            drop(TrustedIdp::from_metadata(entity));
        }
    }
    drop(Metadata::read(octets, Trust::Signed { keys: &idp.keys, profile: &idp.profile }, now));
    let Ok(text) = std::str::from_utf8(octets) else { return };
    if let Ok(post) = Post::read(text) {
        respond(&post.message);
    }
    if let Ok(query) = Redirect::read(text) {
        drop(query.claim::<AuthnRequest>());
        drop(query.claim::<LogoutRequest>());
        assert!(query.is_signed() || query.verify::<LogoutRequest>(&idp.keys, &idp.profile).is_err());
    }
    if let Ok(query) = ArtifactQuery::read(text) {
        for artifact in &query.artifacts {
            let again = Artifact::parse(&artifact.to_base64().replace('+', "%2B")).expect("was read");
            assert_eq!(again, *artifact);
        }
    }
}

fn respond(octets: &[u8]) {
    let (sp, idp) = parties();
    let now = "2026-03-01T12:01:00Z".parse().expect("a time");
    for resolved in [None, Some("_fetch")] {
        let expected = Expectations { idp, requests: Requests::Unknown, resolved };
        if let Ok(accepted) = sp.consume(octets, &expected, now) {
            let assertion = accepted.assertion.value();
            assert_eq!(assertion.issuer, idp.entity_id);
            assert!(assertion.name_id().is_some_and(|name| !name.value.is_empty()));
            assert!(accepted.checks.iter().all(vestibule_saml::Check::ok));
        }
    }
}

fn parties() -> &'static (Sp, TrustedIdp) {
    static PARTIES: OnceLock<(Sp, TrustedIdp)> = OnceLock::new();
    PARTIES.get_or_init(|| {
        let idp = TrustedIdp {
            unsolicited: Unsolicited::Allowed,
            ..TrustedIdp::new("https://idp.example.org/saml/metadata", crate::fuzz_keys::trusted())
        };
        let sp = Sp {
            entity_id: "https://gw.example.com/saml/sp".to_owned(),
            acs_urls: vec!["https://gw.example.com/saml/acs".to_owned()],
            decryption: DecryptionKeys::new(),
        };
        (sp, idp)
    })
}
