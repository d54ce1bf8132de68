//! What we sign verifies; what was changed does not; what is seen is what was digested.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::path::PathBuf;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use vestibule_xmlsec::{
    Authority, Document, Element, ElementView, Error, FromClaimed, FromSigned, IdentityProvider, KeyFault, KeyId, Limits, Placement,
    Profile, Signed, SignedElement, SigningKey, TrustedKeys, Unsigned, Verified, WebServices,
};

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const PATH: [(&str, &str); 1] = [(SAML, "Assertion")];

/// Everything a view shows, as one text.
struct Shown(String);

impl FromSigned for Shown {
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, Error> {
        Ok(Self(show(element)))
    }
}

impl FromClaimed for Shown {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        Ok(Self(show(root)))
    }
}

fn show<A: Authority>(element: ElementView<'_, A>) -> String {
    let mut attributes: Vec<_> = element.attributes().collect();
    attributes.sort_unstable();
    let children: String = element.children().map(show).collect();
    format!("{{{}}}{}{attributes:?}({:?})[{children}]", element.namespace(), element.local(), element.text().ok())
}

fn pem(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

fn rsa() -> (SigningKey<IdentityProvider>, TrustedKeys) {
    let certificate = pem("idp-rsa2048.crt");
    let mut keys = TrustedKeys::new();
    keys.add_certificate(&certificate).unwrap();
    (SigningKey::from_pkcs8("idp", &pem("idp-rsa2048.key"), Some(&certificate)).unwrap(), keys)
}

fn sign(document: &str, prefixes: &[&str], key: &SigningKey<IdentityProvider>) -> Result<Vec<u8>, Error> {
    let document = Document::parse(document.as_bytes(), &Limits::MESSAGE)?;
    document.sign_enveloped(SignedElement::Path(&PATH), Placement::After(SAML, "Issuer"), prefixes, key)
}

fn verify(octets: &[u8], keys: &TrustedKeys) -> Result<Verified<Element>, Error> {
    Document::parse(octets, &Limits::MESSAGE)?.verify(SignedElement::Path(&PATH), keys, &Profile::SAML)
}

/// The view of signed content equals a fresh reading of the octets that were digested.
fn assert_seen_is_digested(verified: &Verified<Element>) {
    let again = Document::parse(&verified.canonical().unwrap(), &Limits::MESSAGE).unwrap();
    assert_eq!(verified.read::<Shown>().unwrap().value().0, again.claim::<Shown>().unwrap().sender_says().0);
}

const ASSERTION: &str = r#"<?xml version="1.0"?>
<!-- outside --><s:Assertion xmlns:s="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xs="urn:xs" ID="_1"><s:Issuer>i</s:Issuer>
  <s:A xmlns:xsi="urn:xsi" xsi:type="xs:string" b='"x"'>v &lt; <![CDATA[w]]>&#13; é<!-- c --></s:A><o xmlns=""/></s:Assertion>"#;

#[test]
fn every_kind_of_key_signs_and_verifies() {
    let (key, keys) = rsa();
    let mut pairs = vec![(key, keys)];
    for curve in [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED_SIGNING] {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        let mut keys = TrustedKeys::new();
        keys.add_spki(AsDer::as_der(pair.public_key()).unwrap().as_ref()).unwrap();
        let document = pair.to_pkcs8v1().unwrap();
        pairs.push((SigningKey::from_pkcs8("idp", document.as_ref(), None).unwrap(), keys));
    }
    for (key, keys) in pairs {
        assert_eq!(keys.ids(), [key.id()]);
        let signed = sign(ASSERTION, &["xs"], &key).unwrap();
        let verified = verify(&signed, &keys).unwrap();
        assert!(String::from_utf8(verified.canonical().unwrap()).unwrap().contains("xmlns:xs"));
        assert_seen_is_digested(&verified);
        // Byte-preserving: without the signature the document is the one that was given.
        let text = String::from_utf8(signed).unwrap();
        let (before, rest) = text.split_once("<ds:Signature ").unwrap();
        let (_, after) = rest.split_once("</ds:Signature>").unwrap();
        assert_eq!(format!("{before}{after}"), ASSERTION);
    }
}

#[test]
fn a_key_serves_one_purpose() {
    let refused = |result: Result<SigningKey<WebServices>, Error>| matches!(result, Err(Error::Key(KeyFault::Purpose)));
    assert!(refused(SigningKey::from_pkcs8("idp", &pem("idp-rsa2048.key"), None)));
    let foreign = SigningKey::<WebServices>::from_pkcs8("ws-security", &pem("idp-rsa2048.key"), Some(&pem("sp-rsa2048.crt")));
    assert!(matches!(foreign, Err(Error::Key(KeyFault::Encoding))));
}

#[test]
fn what_cannot_be_referred_to_or_is_signed_already_is_not_signed() {
    let (key, _) = rsa();
    let unsigned = ASSERTION.replace(r#" ID="_1""#, "");
    assert!(matches!(sign(&unsigned, &[], &key), Err(Error::Unreadable { .. })));
    assert!(matches!(sign(&ASSERTION.replace("_1", "a&quot;b"), &[], &key), Err(Error::Unreadable { .. })));
    let signed = String::from_utf8(sign(ASSERTION, &[], &key).unwrap()).unwrap();
    assert!(matches!(sign(&signed, &[], &key), Err(Error::Ambiguous(_))));
}

#[test]
fn no_change_of_one_octet_changes_what_is_seen() {
    let (key, keys) = rsa();
    let signed = sign(ASSERTION, &["xs"], &key).unwrap();
    let original = verify(&signed, &keys).unwrap();
    let (canonical, shown) = (original.canonical().unwrap(), original.read::<Shown>().unwrap().into_value().0);
    let mut accepted = 0;
    for at in 0..signed.len() {
        for other in [b' ', b'<', b'x', b'"', b'&', b':', b'-', signed[at] ^ 1, signed[at] ^ 0x20, signed[at] ^ 0x80] {
            let mut changed = signed.clone();
            changed[at] = other;
            if let Ok(verified) = verify(&changed, &keys) {
                accepted += 1;
                assert_eq!(verified.canonical().unwrap(), canonical, "octet {at} as {other}");
                assert_eq!(verified.read::<Shown>().unwrap().value().0, shown, "octet {at} as {other}");
            }
        }
    }
    // Octets outside the assertion, in comments and in KeyInfo may change.
    assert!(accepted > 100, "{accepted}");
}

#[test]
fn a_changed_covered_octet_is_refused_for_its_digest() {
    let (key, keys) = rsa();
    let signed = String::from_utf8(sign(ASSERTION, &["xs"], &key).unwrap()).unwrap();
    for (from, to) in
        [(">i<", ">j<"), ("b='\"x\"'", "b='\"y\"'"), ("xs:string", "xs:other"), ("urn:xs\"", "urn:xt\""), ("<o xmlns=\"\"/>", "")]
    {
        let changed = signed.replacen(from, to, 1);
        assert_ne!(changed, signed);
        assert!(matches!(verify(changed.as_bytes(), &keys), Err(Error::DigestMismatch { .. })), "{from}");
    }
}

#[test]
fn an_operator_reads_which_keys_were_seen_and_trusted() {
    let (key, _) = rsa();
    let signed = sign(ASSERTION, &[], &key).unwrap();
    let mut others = TrustedKeys::new();
    others.add_certificate(&pem("other-rsa2048.crt")).unwrap();
    let error = verify(&signed, &others).unwrap_err();
    assert_eq!(error, Error::UnknownKey { seen: vec![key.id()], trusted: others.ids() });
    assert!(error.to_string().contains(&key.id().to_string()), "{error}");
    assert_eq!(KeyId::of_certificate(&pem("idp-rsa2048.crt")).unwrap(), key.id());
    // A second trusted key, as during a rollover, is tried as well.
    others.add_certificate(&pem("idp-rsa2048.crt")).unwrap();
    assert!(verify(&signed, &others).is_ok());
}

/// Elements with redeclared and undeclared namespaces, attributes, comments, CDATA sections and references.
fn content() -> impl Strategy<Value = String> {
    let value = "[a-c é&&[^<&\"]]{0,4}(&lt;|&#9;|&amp;|&quot;)?";
    let leaf = prop_oneof![
        "[a-z é\\n\r\\t>]{0,6}".prop_map(|text| text.replace("]]>", "")),
        Just("<!-- c -->".to_owned()),
        Just("<![CDATA[<&>]]>".to_owned()),
        Just("&#13;&gt;".to_owned()),
        Just("<?p d?>".to_owned()),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let names = prop_oneof![Just("p:e"), Just("q:e"), Just("f"), Just("s:g")];
        let declarations = prop_oneof![
            Just(""),
            Just(" xmlns:p='urn:other'"),
            Just(" xmlns=''"),
            Just(" xmlns='urn:d'"),
            Just(" xmlns:q='urn:p' xmlns:p='urn:q'"),
        ];
        let attributes = prop_oneof![
            Just(String::new()),
            value.prop_map(|v| format!(" a=\"{v}\" p:a=\"{v}\"")),
            value.prop_map(|v| format!(" xml:lang=\"{v}\" q:b=\"1\" b=\"2\"")),
        ];
        (names, declarations, attributes, proptest::collection::vec(inner, 0..5))
            .prop_map(|(name, declared, attributes, inside)| format!("<{name}{declared}{attributes}>{}</{name}>", inside.concat()))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_signed_verifies_and_is_seen_as_digested(inside in content(), listed in proptest::sample::subsequence(vec!["p", "q", "s"], 0..3)) {
        let (key, keys) = rsa();
        let document = format!("<s:Assertion xmlns:s='{SAML}' xmlns:p='urn:p' xmlns:q='urn:q' ID='_1'><s:Issuer>i</s:Issuer>{inside}</s:Assertion>");
        let signed = sign(&document, &listed, &key).unwrap();
        let verified = verify(&signed, &keys).unwrap();
        let again = Document::parse(&verified.canonical().unwrap(), &Limits::MESSAGE).unwrap();
        prop_assert_eq!(verified.read::<Shown>().unwrap().into_value().0, again.claim::<Shown>().unwrap().sender_says().0.clone());
    }
}
