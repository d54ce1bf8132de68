//! Every recorded message with ciphertext gives the verdict of its manifest, for its settings and without them; what we
//! encrypt comes back; xmlsec1 reads what we encrypt, and we read what it encrypts.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it expects by unwrapping it")]

mod attacks;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use serde_json::Value;
use vestibule_xmlsec::{
    AesSize, Assertions, Canonicalization, Concession, ContentKey, DecryptionKeys, Document, Element, ElementView, EncryptedForm,
    EncryptedKeyInfo, EncryptedPart, Encryption, Error, FromClaimed, FromSigned, IdentityProvider, KeyFault, Limits, OaepHash, Place,
    Placement, Profile, Recipient, Signed, SignedElement, SigningKey, TrustedKeys, Unsigned, Verified, canonicalize,
};

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
const HASHES: [OaepHash; 5] = [OaepHash::Sha1, OaepHash::Sha224, OaepHash::Sha256, OaepHash::Sha384, OaepHash::Sha512];

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded")
}

fn pem(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(corpus().join(name)).unwrap();
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

fn keys(name: &str) -> DecryptionKeys<Assertions> {
    let mut keys = DecryptionKeys::new();
    keys.add_pkcs8("sp-decryption", &pem(name)).unwrap();
    keys
}

fn parse(octets: &[u8]) -> Result<Document, Error> {
    Document::parse(octets, &Limits::MESSAGE)
}

/// The first element anywhere that the closure wants.
fn find<'t, A: vestibule_xmlsec::Authority>(
    element: ElementView<'t, A>,
    wanted: &dyn Fn(&ElementView<'t, A>) -> bool,
) -> Option<ElementView<'t, A>> {
    if wanted(&element) { Some(element) } else { element.children().find_map(|child| find(child, wanted)) }
}

#[derive(Clone)]
struct Layout {
    data: Option<Place>,
    key: Option<Place>,
    signed: bool,
    assertions: Vec<Place>,
    /// Ciphertexts where an assertion has to be.
    holders: Vec<Place>,
    signature: Option<Place>,
    shown: String,
}

impl FromClaimed for Layout {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        let first = |namespace: &str, local: &str| find(root, &|e| e.is(namespace, local)).map(|e| e.place());
        let held = || root.children().filter(|c| c.is(SAML, "EncryptedAssertion")).flat_map(|h| h.children());
        let assertions = root.children().chain(held()).filter(|c| c.is(SAML, "Assertion"));
        Ok(Self {
            data: first(XENC, "EncryptedData"),
            key: first(XENC, "EncryptedKey"),
            signed: root.children().any(|c| c.is(DS, "Signature")),
            assertions: assertions.map(|a| a.place()).collect(),
            holders: held().filter(|c| c.is(XENC, "EncryptedData")).map(|c| c.place()).collect(),
            signature: first(DS, "Signature"),
            shown: show(root),
        })
    }
}

fn layout(document: &Document) -> Layout {
    document.claim::<Layout>().unwrap().sender_says().clone()
}

/// Names and texts, whatever the prefixes.
fn show<A: vestibule_xmlsec::Authority>(element: ElementView<'_, A>) -> String {
    let attributes: String = element.attributes().map(|(ns, name, value)| format!(" {{{ns}}}{name}={value:?}")).collect();
    let inside: String = element.children().map(show).collect();
    let text = if inside.is_empty() { element.text().map(|t| t.into_owned()).unwrap_or_default() } else { String::new() };
    format!("<{{{}}}{}{attributes}>{text}{inside}</>", element.namespace(), element.local())
}

struct Shown {
    name: Option<String>,
    encrypted: Option<Place>,
    shown: String,
}

impl FromSigned for Shown {
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, Error> {
        let name = find(element, &|e| e.is(SAML, "NameID")).map(|e| e.text().map(|t| t.into_owned())).transpose()?;
        let encrypted = find(element, &|e| e.is(XENC, "EncryptedData")).map(|e| e.place());
        Ok(Self { name, encrypted, shown: show(element) })
    }
}

/// Decrypts what is inside signed content, as often as there is something.
fn name_in(mut verified: Verified<Element>, keys: &DecryptionKeys<Assertions>, profile: &Profile) -> Result<Option<String>, Error> {
    loop {
        let read = verified.read::<Shown>()?.into_value();
        match read.encrypted {
            Some(data) => verified = verified.decrypt(&EncryptedPart::at(&data), keys, profile)?,
            None => return Ok(read.name),
        }
    }
}

/// The name in a response, or the first thing wrong with it, as a SAML reader would find it.
fn judge(octets: &[u8], trusted: &TrustedKeys, keys: &DecryptionKeys<Assertions>, profile: &Profile) -> Result<Option<String>, Error> {
    let mut document = parse(octets)?;
    if layout(&document).signed {
        return name_in(document.verify(SignedElement::Path(&[(SAMLP, "Response")]), trusted, profile)?, keys, profile);
    }
    while let Some(data) = layout(&document).holders.first() {
        document = document.decrypt(&EncryptedPart::at(data), keys, profile)?;
    }
    let after = layout(&document);
    match after.assertions.as_slice() {
        [] => Err(Error::ElementMissing("Assertion".to_owned())),
        [assertion] => name_in(document.verify(SignedElement::At(assertion), trusted, profile)?, keys, profile),
        [..] => Err(Error::Ambiguous("Assertion".to_owned())),
    }
}

fn judge_soap(octets: &[u8], trusted: &TrustedKeys, keys: &DecryptionKeys<Assertions>, profile: &Profile) -> Result<Vec<String>, Error> {
    let document = parse(octets)?;
    let before = layout(&document);
    let (data, key) = (before.data.unwrap(), before.key.unwrap());
    let document = document.decrypt(&EncryptedPart::at(&data).with_key(&key), keys, profile)?;
    let signature = layout(&document).signature.unwrap();
    let parts = document.verify_parts(SignedElement::At(&signature), trusted, profile)?;
    let mut covered = Vec::new();
    for part in parts {
        covered.push(part.element()?.local().to_lowercase());
    }
    covered.sort_unstable();
    Ok(covered)
}

fn profile<'a>(base: Profile, settings: impl Iterator<Item = &'a str>) -> Profile {
    settings.fold(base, |profile, setting| {
        profile.admit(match setting {
            "legacy_cbc" => Concession::Cbc,
            "legacy_3des" => Concession::TripleDes,
            "legacy_rsa15" => Concession::Rsa15,
            "wss_cbc_unsigned" => Concession::UnsignedCbc,
            other => unreachable!("{other}"),
        })
    })
}

#[test]
fn every_recorded_ciphertext_gives_its_verdict() {
    let manifest: Value = serde_json::from_slice(&std::fs::read(corpus().join("manifest.json")).unwrap()).unwrap();
    let (mut accepted, mut refused, mut wrong) = (0, 0, Vec::new());
    for entry in manifest["entries"].as_array().unwrap() {
        let Some(key) = entry["decrypt_key"].as_str() else { continue };
        let file = entry["file"].as_str().unwrap();
        let octets = std::fs::read(corpus().join(file)).unwrap();
        let mut trusted = TrustedKeys::new();
        if let Some(certificate) = entry["trust_cert"].as_str() {
            trusted.add_certificate(&pem(certificate)).unwrap();
        }
        let keys = keys(key);
        let soap = entry["kind"] == "soap";
        let settings: Vec<&str> = entry["settings"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        for (settings, verdict, reason) in [(settings.as_slice(), "expect", "reason"), (&[], "default", "default_reason")] {
            let base = if soap { Profile::WS_SECURITY } else { Profile::SAML };
            let profile = profile(base, settings.iter().copied());
            let found = if soap {
                judge_soap(&octets, &trusted, &keys, &profile).map(|covered| {
                    let expected: Vec<&str> = entry["read"]["covered"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
                    covered == expected
                })
            } else {
                judge(&octets, &trusted, &keys, &profile).map(|name| name.as_deref() == entry["read"]["name_id"].as_str())
            };
            let fine = match (&found, entry[verdict].as_str().unwrap()) {
                (Ok(right), "accept") => *right,
                (Err(error), "reject") => entry[reason].as_str() == Some(error.reason()),
                (Ok(_) | Err(_), _) => false,
            };
            *(if found.is_ok() { &mut accepted } else { &mut refused }) += 1;
            if !fine {
                wrong.push(format!("{file} {settings:?}: {found:?}, expected {} {}", entry[verdict], entry[reason]));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((accepted, refused), (16, 14));
}

const DOCUMENT: &str = r#"<r:Response xmlns:r="urn:r" xmlns="urn:default" xmlns:a="urn:a&amp;b"><before/>text<a:Assertion xmlns:o="urn:o" ID="1"><o:x a:y="1">é &amp; &#13;</o:x></a:Assertion>more<r:end/></r:Response>"#;
const ASSERTION: [(&str, &str); 2] = [("urn:r", "Response"), ("urn:a&b", "Assertion")];

fn recipient() -> Recipient {
    Recipient::from_certificate(&pem("keys/sp-rsa2048.crt")).unwrap()
}

fn to<'a>(part: EncryptedForm<'a>, key: &'a ContentKey, recipients: &'a [Recipient]) -> Encryption<'a> {
    Encryption { part, key, key_info: EncryptedKeyInfo::Recipients(recipients), id: Some("_ed") }
}

fn encrypted(part: EncryptedForm<'_>, size: AesSize, recipients: &[Recipient]) -> Vec<u8> {
    let key = ContentKey::generate(size).unwrap();
    parse(DOCUMENT.as_bytes()).unwrap().encrypt(SignedElement::Path(&ASSERTION), &to(part, &key, recipients)).unwrap()
}

fn decrypted(octets: &[u8], keys: &DecryptionKeys<Assertions>) -> Result<Document, Error> {
    let document = parse(octets)?;
    let data = layout(&document).data.unwrap();
    document.decrypt(&EncryptedPart::at(&data), keys, &Profile::SAML)
}

#[test]
fn what_is_encrypted_comes_back_where_it_stood() {
    let expected = layout(&parse(DOCUMENT.as_bytes()).unwrap()).shown;
    let keys = keys("keys/sp-rsa2048.key");
    for size in [AesSize::Aes128, AesSize::Aes192, AesSize::Aes256] {
        for digest in HASHES {
            for mask in HASHES {
                for part in [EncryptedForm::Element, EncryptedForm::Content] {
                    let octets = encrypted(part, size, &[recipient().hashes(digest, mask)]);
                    assert!(!String::from_utf8_lossy(&octets).contains("a:y"), "the plaintext is still there");
                    assert_eq!(layout(&decrypted(&octets, &keys).unwrap()).shown, expected);
                }
            }
        }
    }
    let wrapped = encrypted(EncryptedForm::ElementIn(SAML, "EncryptedAssertion"), AesSize::Aes256, &[recipient()]);
    let shown = layout(&decrypted(&wrapped, &keys).unwrap()).shown;
    assert!(shown.contains(&format!("<{{{SAML}}}EncryptedAssertion><{{urn:a&b}}Assertion {{}}ID=\"1\">")), "{shown}");
}

#[test]
fn a_shared_key_opens_what_it_wrapped() {
    let expected = layout(&parse(DOCUMENT.as_bytes()).unwrap()).shown;
    for octets in [16, 24, 32] {
        let kek = vec![7; octets];
        let sealed = encrypted(EncryptedForm::Element, AesSize::Aes256, &[Recipient::from_shared("kek", &kek).unwrap()]);
        let mut keys = DecryptionKeys::<Assertions>::new();
        keys.add_shared("sp-decryption", "other", &vec![8; octets]).unwrap();
        assert_eq!(decrypted(&sealed, &keys).unwrap_err(), Error::DecryptionFailed);
        keys.add_shared("sp-decryption", "kek", &kek).unwrap();
        assert_eq!(layout(&decrypted(&sealed, &keys).unwrap()).shown, expected);
    }
}

#[test]
fn one_of_several_recipients_reads_it_and_a_stranger_does_not() {
    let other = || Recipient::from_certificate(&pem("keys/other-rsa2048.crt")).unwrap().addressed_as("urn:other");
    let octets = encrypted(EncryptedForm::Element, AesSize::Aes256, &[other(), recipient().addressed_as("urn:sp")]);
    assert!(decrypted(&octets, &keys("keys/sp-rsa2048.key")).is_ok());
    assert!(decrypted(&octets, &keys("keys/sp-rsa2048.key").addressed_as("urn:sp")).is_ok());
    assert!(decrypted(&octets, &keys("keys/sp-rsa2048.key").addressed_as("urn:nobody")).is_err());
    assert_eq!(decrypted(&octets, &keys("keys/idp-rsa2048.key")).unwrap_err(), Error::DecryptionFailed);
    assert_eq!(decrypted(&octets, &DecryptionKeys::new()).unwrap_err(), Error::DecryptionFailed);
}

#[test]
fn a_key_decrypts_for_its_purpose_only_and_shows_nothing() {
    let mut keys = DecryptionKeys::<Assertions>::new();
    let private = pem("keys/sp-rsa2048.key");
    assert_eq!(keys.add_pkcs8("sp", &private).unwrap_err(), Error::Key(KeyFault::Purpose));
    assert_eq!(keys.add_shared("ws-security-decryption", "n", &[0; 16]).unwrap_err(), Error::Key(KeyFault::Purpose));
    assert_eq!(keys.add_shared("sp-decryption", "n", &[0; 17]).unwrap_err(), Error::Key(KeyFault::Size { bits: 136 }));
    assert!(keys.add_pkcs8("sp-decryption", &pem("keys/idp-ec256.key")).is_err());
    let id = keys.add_pkcs8("sp-decryption", &private).unwrap();
    assert_eq!(format!("{keys:?}"), format!("DecryptionKeys<sp-decryption>([{id:?}], 0 shared)"));
    assert_eq!(recipient().id(), Some(id));
    assert_eq!(format!("{:?}", ContentKey::generate(AesSize::Aes128).unwrap()), "ContentKey(Aes128)");
    for _ in 1..DecryptionKeys::<Assertions>::LIMIT {
        keys.add_pkcs8("sp-decryption", &private).unwrap();
    }
    assert_eq!(keys.add_pkcs8("sp-decryption", &private).unwrap_err(), Error::Key(KeyFault::TooMany));
}

fn nested(times: usize) -> Vec<u8> {
    let mut octets = DOCUMENT.as_bytes().to_vec();
    let (mut inner, data) = (ASSERTION, (XENC, "EncryptedData"));
    for _ in 0..times {
        let key = ContentKey::generate(AesSize::Aes128).unwrap();
        octets = parse(&octets).unwrap().encrypt(SignedElement::Path(&inner), &to(EncryptedForm::Element, &key, &[recipient()])).unwrap();
        inner[1] = data;
    }
    octets
}

#[test]
fn ciphertext_in_ciphertext_and_side_by_side_has_its_limits() {
    let keys = keys("keys/sp-rsa2048.key");
    let mut document = parse(&nested(3)).unwrap();
    for round in 1..=3 {
        let data = layout(&document).data.unwrap();
        match document.decrypt(&EncryptedPart::at(&data), &keys, &Profile::SAML) {
            Ok(plain) if round < 3 => document = plain,
            Ok(_) => unreachable!("deeper than the limit"),
            Err(error) => assert_eq!((round, error.reason()), (3, "limits")),
        }
    }
    let once = parse(&nested(1)).unwrap();
    let data = layout(&once).data.unwrap();
    let small = Limits { plaintext: 40, ..Limits::MESSAGE };
    let strict = Document::parse(&nested(1), &small).unwrap();
    let place = layout(&strict).data.unwrap();
    assert_eq!(strict.decrypt(&EncryptedPart::at(&place), &keys, &Profile::SAML).unwrap_err(), Error::DecryptionFailed);
    let none = Document::parse(&nested(1), &Limits { decryptions: 0, ..Limits::MESSAGE }).unwrap();
    let place = layout(&none).data.unwrap();
    assert_eq!(none.decrypt(&EncryptedPart::at(&place), &keys, &Profile::SAML).unwrap_err().reason(), "limits");
    // A place of another document is nothing here.
    assert!(none.decrypt(&EncryptedPart::at(&data), &keys, &Profile::SAML).is_err());
}

/// An assertion whose signature covers the ciphertext in it, the signature last or first.
fn signed_around(inside: &str, last: bool) -> (Verified<Element>, TrustedKeys) {
    let document = format!(r#"<s:Assertion xmlns:s="{SAML}" ID="_1"><s:Issuer>i</s:Issuer><s:Subject>{inside}</s:Subject></s:Assertion>"#);
    let path = [(SAML, "Assertion")];
    let key = ContentKey::generate(AesSize::Aes256).unwrap();
    let name = [(SAML, "Assertion"), (SAML, "Subject")];
    let sealed =
        parse(document.as_bytes()).unwrap().encrypt(SignedElement::Path(&name), &to(EncryptedForm::Content, &key, &[recipient()])).unwrap();
    let signing = SigningKey::<IdentityProvider>::from_pkcs8("idp", &pem("keys/idp-rsa2048.key"), None).unwrap();
    let placement = if last { Placement::After(SAML, "Subject") } else { Placement::First };
    let signed = parse(&sealed).unwrap().sign_enveloped(SignedElement::Path(&path), placement, &[], &signing).unwrap();
    let mut trusted = TrustedKeys::new();
    trusted.add_certificate(&pem("keys/idp-rsa2048.crt")).unwrap();
    (parse(&signed).unwrap().verify(SignedElement::Path(&path), &trusted, &Profile::SAML).unwrap(), trusted)
}

#[test]
fn signed_ciphertext_stays_verified_and_the_signature_stays_invisible() {
    let keys = keys("keys/sp-rsa2048.key");
    for last in [false, true] {
        for inside in ["<s:NameID>alice</s:NameID>", "a <s:NameID>alice</s:NameID> b<x/><y/>", "<x/>", ""] {
            let (verified, trusted) = signed_around(inside, last);
            let data = verified.read::<Shown>().unwrap().into_value().encrypted.unwrap();
            let plain = verified.decrypt(&EncryptedPart::at(&data), &keys, &Profile::SAML).unwrap();
            assert_eq!(plain.signer(), verified.signer());
            let read = plain.read::<Shown>().unwrap().into_value();
            assert!(read.encrypted.is_none() && !read.shown.contains(DS), "{}", read.shown);
            assert_eq!(read.name.is_some(), inside.contains("alice"));
            drop(trusted);
        }
    }
}

#[test]
fn ciphertext_that_the_signature_does_not_cover_is_not_decrypted_as_verified() {
    let (verified, _) = signed_around("<s:NameID>alice</s:NameID>", false);
    let (other, _) = signed_around("<s:NameID>mallory</s:NameID>", false);
    let data = other.read::<Shown>().unwrap().into_value().encrypted.unwrap();
    assert!(verified.decrypt(&EncryptedPart::at(&data), &keys("keys/sp-rsa2048.key"), &Profile::SAML).is_err());
    // Within one document, but outside the signed element.
    let signing = SigningKey::<IdentityProvider>::from_pkcs8("idp", &pem("keys/idp-rsa2048.key"), None).unwrap();
    let outside = String::from_utf8(encrypted(EncryptedForm::Element, AesSize::Aes128, &[recipient()])).unwrap();
    let response = format!(r#"<R>{outside}<s:Assertion xmlns:s="{SAML}" ID="_1"><s:Issuer>i</s:Issuer></s:Assertion></R>"#);
    let path = [("", "R"), (SAML, "Assertion")];
    let signed = parse(response.as_bytes()).unwrap().sign_enveloped(SignedElement::Path(&path), Placement::First, &[], &signing).unwrap();
    let document = parse(&signed).unwrap();
    let mut trusted = TrustedKeys::new();
    trusted.add_certificate(&pem("keys/idp-rsa2048.crt")).unwrap();
    let verified = document.verify(SignedElement::Path(&path), &trusted, &Profile::SAML).unwrap();
    let data = layout(&document).data.unwrap();
    let error = verified.decrypt(&EncryptedPart::at(&data), &keys("keys/sp-rsa2048.key"), &Profile::SAML).unwrap_err();
    assert!(matches!(error, Error::ElementMissing(_)), "{error}");
}

/// A signature beside a ciphertext that refers to it by its `Id`, and the ciphertext verified.
fn signed_itself(part: EncryptedForm<'_>, document: &str) -> Verified<Element> {
    let key = ContentKey::generate(AesSize::Aes256).unwrap();
    let sealed = parse(document.as_bytes()).unwrap().encrypt(SignedElement::Path(&ASSERTION), &to(part, &key, &[recipient()])).unwrap();
    let text = String::from_utf8(sealed).unwrap();
    let begin = text.find("<xenc:EncryptedData").unwrap();
    let end = text.find("</xenc:EncryptedData>").unwrap() + "</xenc:EncryptedData>".len();
    let canonical = |text: &str| canonicalize(text.as_bytes(), &Limits::MESSAGE, &Canonicalization::EXCLUSIVE).unwrap();
    let digest = STANDARD.encode(digest::digest(&digest::SHA256, &canonical(&text[begin..end])));
    let exclusive = "http://www.w3.org/2001/10/xml-exc-c14n#";
    let info = format!(
        r##"<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="{exclusive}"/><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/><ds:Reference URI="#_ed"><ds:Transforms><ds:Transform Algorithm="{exclusive}"/></ds:Transforms><ds:DigestMethod Algorithm="{XENC}sha256"/><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference></ds:SignedInfo>"##
    );
    let pair = RsaKeyPair::from_pkcs8(&pem("keys/idp-rsa2048.key")).unwrap();
    let mut value = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &canonical(&info), &mut value).unwrap();
    let value = STANDARD.encode(value);
    let signature = format!(r#"<ds:Signature xmlns:ds="{DS}">{info}<ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature>"#);
    let document = parse(text.replacen("<before/>", &signature, 1).as_bytes()).unwrap();
    let mut trusted = TrustedKeys::new();
    trusted.add_certificate(&pem("keys/idp-rsa2048.crt")).unwrap();
    let place = layout(&document).signature.unwrap();
    document.verify_parts(SignedElement::At(&place), &trusted, &Profile::SAML).unwrap().remove(0)
}

#[test]
fn a_ciphertext_that_is_signed_itself_gives_one_verified_element_or_none() {
    let keys = keys("keys/sp-rsa2048.key");
    let decrypt = |verified: Verified<Element>| {
        let data = verified.place();
        verified.decrypt(&EncryptedPart::at(&data), &keys, &Profile::SAML)
    };
    let plain = decrypt(signed_itself(EncryptedForm::Element, DOCUMENT)).unwrap();
    assert!(plain.element().unwrap().is("urn:a&b", "Assertion"));
    assert!(plain.stands_at(&ASSERTION));
    // The content of this element is one element; of the other, it is more.
    let content = |document: &str| decrypt(signed_itself(EncryptedForm::Content, document));
    let open = DOCUMENT.replace(" xmlns:o=\"urn:o\"", "").replace("<r:Response", "<r:Response xmlns:o=\"urn:o\"");
    assert!(content(&open).unwrap().element().unwrap().is("urn:o", "x"));
    for more in ["text<o:x/>", "<o:x/>text", "<o:x/><o:x/>", "text", ""] {
        let (before, rest) = open.split_once("<o:x").unwrap();
        let error = content(&format!("{before}{more}{}", rest.split_once("</o:x>").unwrap().1)).unwrap_err();
        assert!(matches!(error, Error::ElementMissing(_)), "{more}: {error}");
    }
}

#[test]
fn what_is_signed_and_encrypted_at_once_decrypts_and_verifies() {
    let keys = keys("keys/sp-rsa2048.key");
    let signing = SigningKey::<IdentityProvider>::from_pkcs8("idp", &pem("keys/idp-rsa2048.key"), None).unwrap();
    let mut trusted = TrustedKeys::new();
    trusted.add_certificate(&pem("keys/idp-rsa2048.crt")).unwrap();
    let text = format!(
        r#"<r:Response xmlns:r="urn:r" xmlns:s="{SAML}"><r:before/><s:Assertion ID="_1"><s:Issuer>i</s:Issuer><s:Subject><s:NameID>alice</s:NameID></s:Subject></s:Assertion ><r:end/></r:Response>"#
    );
    let path = [("urn:r", "Response"), (SAML, "Assertion")];
    let document = parse(text.as_bytes()).unwrap();
    for (part, inside) in
        [(EncryptedForm::Element, false), (EncryptedForm::Content, false), (EncryptedForm::ElementIn(SAML, "EncryptedAssertion"), true)]
    {
        for placement in [Placement::First, Placement::After(SAML, "Issuer"), Placement::After(SAML, "Subject")] {
            let key = ContentKey::generate(AesSize::Aes256).unwrap();
            let recipients = [recipient()];
            let what = SignedElement::Path(&path);
            let sealed = document.sign_and_encrypt(what, placement, &[], &signing, &to(part, &key, &recipients)).unwrap();
            let plain = decrypted(&sealed, &keys).unwrap();
            let held = [path[0], (SAML, "EncryptedAssertion"), path[1]];
            let what = SignedElement::Path(if inside { &held } else { &path });
            let verified = plain.verify(what, &trusted, &Profile::SAML).unwrap();
            assert_eq!(verified.read::<Shown>().unwrap().value().name.as_deref(), Some("alice"));
        }
    }
}

#[test]
fn a_ciphertext_that_is_the_document_is_decrypted() {
    let key = ContentKey::generate(AesSize::Aes128).unwrap();
    let root = [("urn:r", "Response")];
    let whole = parse(DOCUMENT.as_bytes()).unwrap();
    let sealed = whole.encrypt(SignedElement::Path(&root), &to(EncryptedForm::Element, &key, &[recipient()])).unwrap();
    let shown = layout(&decrypted(&sealed, &keys("keys/sp-rsa2048.key")).unwrap()).shown;
    assert_eq!(shown, layout(&whole).shown);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_changed_octet_of_a_ciphertext_is_told_apart(place in 0usize..4096, bit in 0u8..8) {
        let octets = encrypted(EncryptedForm::Element, AesSize::Aes128, &[recipient()]);
        let text = String::from_utf8(octets).unwrap();
        let begin = text.rfind("<xenc:CipherValue>").unwrap() + 18;
        let end = begin + text[begin..].find('<').unwrap();
        let mut sealed = STANDARD.decode(&text[begin..end]).unwrap();
        let place = place % sealed.len();
        sealed[place] ^= 1 << bit;
        let changed = format!("{}{}{}", &text[..begin], STANDARD.encode(sealed), &text[end..]);
        prop_assert_eq!(decrypted(changed.as_bytes(), &keys("keys/sp-rsa2048.key")).unwrap_err(), Error::DecryptionFailed);
    }

    #[test]
    fn any_document_is_answered(octets in "[<>/a&;\"= ]{0,60}") {
        if let Ok(document) = parse(format!("<x:EncryptedData xmlns:x='{XENC}'>{octets}</x:EncryptedData>").as_bytes()) {
            let data = layout(&document).data.unwrap();
            prop_assert!(document.decrypt(&EncryptedPart::at(&data), &DecryptionKeys::<Assertions>::new(), &Profile::SAML).is_err());
        }
    }
}

fn skipped(what: &str) {
    assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{what} is required here");
    eprintln!("SKIPPED: {what} is not installed");
}

fn xmlsec1(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("xmlsec1").args(arguments).output().unwrap();
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn xmlsec1_and_we_read_each_other() {
    let there = Command::new("xmlsec1").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return skipped("xmlsec1");
    }
    let folder = std::env::temp_dir().join(format!("vestibule-xmlenc-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let private = corpus().join("keys/sp-rsa2048.key").to_str().unwrap().to_owned();
    let certificate = corpus().join("keys/sp-rsa2048.crt").to_str().unwrap().to_owned();
    let expected = layout(&parse(DOCUMENT.as_bytes()).unwrap()).shown;
    std::fs::write(file("kek"), [7; 24]).unwrap();

    // Ours to them: xmlsec1 1.2 knows OAEP with SHA-1, and the key wrap.
    let mut read = 0;
    for size in [AesSize::Aes128, AesSize::Aes192, AesSize::Aes256] {
        for part in [EncryptedForm::Element, EncryptedForm::Content] {
            let wrapped = Recipient::from_shared("kek", &[7; 24]).unwrap();
            for (recipient, shared) in [(recipient(), false), (wrapped, true)] {
                std::fs::write(file("ours.xml"), encrypted(part, size, &[recipient])).unwrap();
                let (plain, kek) = (file("plain.xml"), file("kek"));
                let key: [&str; 2] = if shared { ["--aeskey:kek", &kek] } else { ["--privkey-pem", &private] };
                xmlsec1(&["--decrypt", key[0], key[1], "--output", &plain, &file("ours.xml")]).unwrap();
                assert_eq!(layout(&parse(&std::fs::read(&plain).unwrap()).unwrap()).shown, expected);
                read += 1;
            }
        }
    }

    // Theirs to us, with everything that is admitted, by concession or not.
    let content = ["2009/xmlenc11#aes128-gcm", "2009/xmlenc11#aes192-gcm", "2009/xmlenc11#aes256-gcm"];
    let legacy = ["2001/04/xmlenc#aes128-cbc", "2001/04/xmlenc#aes192-cbc", "2001/04/xmlenc#aes256-cbc", "2001/04/xmlenc#tripledes-cbc"];
    let digest = format!(r#"<ds:DigestMethod xmlns:ds="{DS}" Algorithm="{DS}sha1"/>"#);
    let transports = [
        ("rsa-oaep-mgf1p", String::new()),
        ("rsa-oaep-mgf1p", format!("<OAEPparams>bGFiZWw=</OAEPparams>{digest}")),
        ("rsa-1_5", String::new()),
        ("kw-aes192", String::new()),
    ];
    let old = Profile::SAML.admit(Concession::Cbc).admit(Concession::TripleDes).admit(Concession::Rsa15);
    let mut keys = keys("keys/sp-rsa2048.key");
    keys.add_shared("sp-decryption", "kek", &[7; 24]).unwrap();
    // xmlsec1 does not find an element whose namespace name has an ampersand.
    let plain = DOCUMENT.replace("urn:a&amp;b", "urn:ab");
    let expected = layout(&parse(plain.as_bytes()).unwrap()).shown;
    std::fs::write(file("plain.xml"), plain).unwrap();
    for cipher in content.iter().chain(&legacy) {
        for (transport, inside) in &transports {
            for kind in ["Element", "Content"] {
                let template = format!(
                    r#"<EncryptedData xmlns="{XENC}" Type="{XENC}{kind}"><EncryptionMethod Algorithm="http://www.w3.org/{cipher}"/><KeyInfo xmlns="{DS}"><EncryptedKey xmlns="{XENC}"><EncryptionMethod Algorithm="{XENC}{transport}">{inside}</EncryptionMethod><KeyInfo xmlns="{DS}"><KeyName/></KeyInfo><CipherData><CipherValue/></CipherData></EncryptedKey></KeyInfo><CipherData><CipherValue/></CipherData></EncryptedData>"#
                );
                std::fs::write(file("template.xml"), template).unwrap();
                let session = match *cipher {
                    "2001/04/xmlenc#tripledes-cbc" => "des-192".to_owned(),
                    aes => format!("aes-{}", aes.split_once("aes").unwrap().1.split_once('-').unwrap().0),
                };
                let kek = file("kek");
                let key: [&str; 2] = if transport.starts_with("kw") { ["--aeskey:kek", &kek] } else { ["--pubkey-cert-pem", &certificate] };
                let (plain, theirs, template) = (file("plain.xml"), file("theirs.xml"), file("template.xml"));
                let node = ["--node-name", "urn:ab:Assertion"];
                let all = ["--encrypt", key[0], key[1], "--session-key", &session, "--xml-data", &plain, node[0], node[1]];
                let outcome = xmlsec1(&[&all[..], &["--output", &theirs, &template]].concat());
                assert_eq!(outcome, Ok(()), "{cipher} {transport} {kind}");
                let document = parse(&std::fs::read(&theirs).unwrap()).unwrap();
                let data = layout(&document).data.unwrap();
                let plain = document.decrypt(&EncryptedPart::at(&data), &keys, &old);
                assert_eq!(plain.map(|plain| layout(&plain).shown).as_ref(), Ok(&expected), "{cipher} {transport} {kind}");
                let modern = document.decrypt(&EncryptedPart::at(&data), &keys, &Profile::SAML);
                let weak = legacy.contains(cipher) || *transport == "rsa-1_5";
                assert_eq!(modern.map(drop).map_err(|error| error.reason()), if weak { Err("algorithm_refused") } else { Ok(()) });
                read += 1;
            }
        }
    }
    eprintln!("{read} documents read, 12 of them by xmlsec1");
    assert_eq!(read, 12 + 56);
    std::fs::remove_dir_all(folder).unwrap();
}

/// xmlsec1 1.2 has OAEP with SHA-1 only; OpenSSL has every pair of hashes.
#[test]
fn openssl_and_we_read_every_pair_of_oaep_hashes() {
    let there = Command::new("openssl").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return skipped("openssl");
    }
    let folder = std::env::temp_dir().join(format!("vestibule-oaep-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let private = corpus().join("keys/sp-rsa2048.key").to_str().unwrap().to_owned();
    let keys = keys("keys/sp-rsa2048.key");
    let run = |operation: &str, hashes: [&str; 2], from: &str, to: &str| {
        let [digest, mask] = [format!("rsa_oaep_md:{}", hashes[0]), format!("rsa_mgf1_md:{}", hashes[1])];
        let options = ["-pkeyopt", "rsa_padding_mode:oaep", "-pkeyopt", &digest, "-pkeyopt", &mask];
        let done = Command::new("openssl").args(["pkeyutl", operation, "-inkey", &private, "-in", from, "-out", to]).args(options).output();
        assert!(done.unwrap().status.success(), "{operation} {hashes:?}");
    };
    let name = |hash: OaepHash| format!("{hash:?}").to_lowercase();
    for digest in HASHES {
        for mask in HASHES {
            let text = String::from_utf8(encrypted(EncryptedForm::Element, AesSize::Aes128, &[recipient().hashes(digest, mask)])).unwrap();
            let begin = text.find("<xenc:CipherValue>").unwrap() + 18;
            let end = begin + text[begin..].find('<').unwrap();
            std::fs::write(file("ours"), STANDARD.decode(&text[begin..end]).unwrap()).unwrap();
            let hashes = [name(digest), name(mask)];
            let hashes = [hashes[0].as_str(), &hashes[1]];
            run("-decrypt", hashes, &file("ours"), &file("key"));
            assert_eq!(std::fs::read(file("key")).unwrap().len(), 16);
            run("-encrypt", hashes, &file("key"), &file("theirs"));
            let theirs = STANDARD.encode(std::fs::read(file("theirs")).unwrap());
            let replaced = format!("{}{theirs}{}", &text[..begin], &text[end..]);
            assert_ne!(replaced, text);
            decrypted(replaced.as_bytes(), &keys).unwrap();
        }
    }
    std::fs::remove_dir_all(folder).unwrap();
}
