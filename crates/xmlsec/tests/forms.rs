//! Every form of signature within one document, every algorithm, tokens by reference, detached octets, pinned channels.
#![expect(clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::path::PathBuf;

use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_xmlsec::{
    Authority, Check, Demand, Document, Element, ElementView, Error, FromClaimed, FromSigned, Hash, KeyFault, KeyId, KeyInfo, Keys, Limits,
    Part, PinnedPeer, Place, Placement, Profile, Question, ReferenceFault, ServiceProvider, SharedKey, SignatureAlgorithm, Signed,
    SignedElement, Signer, Signing, SigningKey, Signs, Token, TrustedKeys, Unsigned, Verified, WebServices, diagnose, verify_detached,
};

const S: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAML1: &str = "urn:oasis:names:tc:SAML:1.0:assertion";
const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const SAML1P: &str = "urn:oasis:names:tc:SAML:1.0:protocol";

const SECURITY: [(&str, &str); 3] = [(S, "Envelope"), (S, "Header"), (WSSE, "Security")];
const SIGNATURE: [(&str, &str); 4] = [(S, "Envelope"), (S, "Header"), (WSSE, "Security"), (DS, "Signature")];
const STR: [(&str, &str); 4] = [(S, "Envelope"), (S, "Header"), (WSSE, "Security"), (WSSE, "SecurityTokenReference")];
const TOKEN: [(&str, &str); 4] = [(S, "Envelope"), (S, "Header"), (WSSE, "Security"), (SAML, "Assertion")];
const TIMESTAMP: [(&str, &str); 4] = [(S, "Envelope"), (S, "Header"), (WSSE, "Security"), (WSU, "Timestamp")];
const BODY: [(&str, &str); 2] = [(S, "Envelope"), (S, "Body")];

fn corpus(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded").join(below)
}

fn pem(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(corpus("keys").join(name)).unwrap();
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

fn rsa() -> (SigningKey<WebServices>, TrustedKeys) {
    let mut keys = TrustedKeys::new();
    keys.add_certificate(&pem("idp-rsa2048.crt")).unwrap();
    (SigningKey::from_pkcs8("ws-security", &pem("idp-rsa2048.key"), Some(&pem("idp-rsa2048.crt"))).unwrap(), keys)
}

fn parse(text: &str) -> Document {
    Document::parse(text.as_bytes(), &Limits::MESSAGE).unwrap()
}

fn envelope(security: &str) -> String {
    format!(
        r#"<s:Envelope xmlns:s="{S}"><s:Header><w:Security xmlns:w="{WSSE}" xmlns:u="{WSU}"><u:Timestamp u:Id="t"><u:Created>2026-01-01T00:00:00Z</u:Created></u:Timestamp>{security}</w:Security></s:Header><s:Body xmlns:u="{WSU}" u:Id="b"><o:Order xmlns:o="urn:o">17</o:Order></s:Body></s:Envelope>"#
    )
}

fn assertion() -> String {
    format!(r#"<a:Assertion xmlns:a="{SAML}" ID="_a"><a:Issuer>i</a:Issuer></a:Assertion>"#)
}

fn reference() -> &'static str {
    r#"<w:SecurityTokenReference u:Id="str"><w:KeyIdentifier ValueType="urn:saml-id">_a</w:KeyIdentifier></w:SecurityTokenReference>"#
}

/// The place of an element found by its local name.
struct Named(Vec<(String, Place)>);

impl FromClaimed for Named {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        fn visit(element: ElementView<'_, Unsigned>, found: &mut Vec<(String, Place)>) {
            found.push((element.local().to_owned(), element.place()));
            element.children().for_each(|child| visit(child, found));
        }
        let mut found = Vec::new();
        visit(root, &mut found);
        Ok(Self(found))
    }
}

fn place(document: &Document, local: &str) -> Place {
    let named = document.claim::<Named>().unwrap();
    named.sender_says().0.iter().find(|(name, _)| name == local).map(|(_, place)| place.clone()).unwrap()
}

struct Text(String);

impl FromSigned for Text {
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, Error> {
        fn visit(element: ElementView<'_, Signed>) -> Result<String, Error> {
            match element.children().next() {
                None => Ok(element.text()?.into_owned()),
                Some(_) => element.children().map(visit).collect(),
            }
        }
        visit(element).map(Self)
    }
}

fn sign(document: &Document, parts: &[Part<'_>], key: &impl Signs) -> Result<Vec<u8>, Error> {
    let key_info = KeyInfo::Markup("<x xmlns=\"urn:x\"/>");
    let into = SignedElement::Path(&SECURITY);
    document.sign(&Signing { parts, into, placement: Placement::Last, key_info, profile: &Profile::WS_SECURITY }, key)
}

fn verify<'k>(octets: &[u8], keys: impl Into<Keys<'k>>, profile: &Profile) -> Result<Vec<Verified<Element>>, Error> {
    Document::parse(octets, &Limits::MESSAGE)?.verify_parts(SignedElement::Path(&SIGNATURE), keys, profile)
}

#[test]
fn one_signature_covers_several_siblings_and_each_is_told_apart() {
    let (key, keys) = rsa();
    let document = parse(&envelope(""));
    let parts = [Part::Element(SignedElement::Path(&TIMESTAMP), &[]), Part::Element(SignedElement::Path(&BODY), &[])];
    let signed = sign(&document, &parts, &key).unwrap();
    let verified = verify(&signed, &keys, &Profile::WS_SECURITY).unwrap();
    assert_eq!(verified.len(), 2);
    assert!(verified[0].stands_at(&TIMESTAMP) && verified[1].stands_at(&BODY));
    assert_eq!(verified[1].read::<Text>().unwrap().value().0, "17");
    assert_eq!(verified[1].signer(), &Signer::Key(key.id()));
    // Each reference is held against its own element.
    for changed in ["2027-01-01", "18"] {
        let text = String::from_utf8(signed.clone()).unwrap();
        let text = if changed == "18" { text.replace(">17<", ">18<") } else { text.replace("2026-01-01", changed) };
        assert!(matches!(verify(text.as_bytes(), &keys, &Profile::WS_SECURITY), Err(Error::DigestMismatch { .. })));
    }
    // A profile of one reference refuses two.
    assert!(matches!(verify(&signed, &keys, &Profile::SAML), Err(Error::SignatureMalformed { .. })));
}

#[test]
fn a_signature_around_its_content() {
    let (key, keys) = rsa();
    let octets =
        parse("<?xml version='1.0'?><o:Order xmlns:o='urn:o'>17</o:Order>").sign_enveloping("o", KeyInfo::Certificate, &key).unwrap();
    let document = Document::parse(&octets, &Limits::MESSAGE).unwrap();
    let path = [(DS, "Signature")];
    let parts = document.verify_parts(SignedElement::Path(&path), &keys, &Profile::ANY_FORM).unwrap();
    assert!(parts[0].stands_at(&[(DS, "Signature"), (DS, "Object")]));
    assert_eq!(parts[0].read::<Text>().unwrap().value().0, "17");
    let changed = String::from_utf8(octets).unwrap().replace("17", "18");
    let changed = parse(&changed).verify_parts(SignedElement::Path(&path), &keys, &Profile::ANY_FORM);
    assert!(matches!(changed, Err(Error::DigestMismatch { .. })));
    // Where nothing may be inside a signature, nothing is.
    assert!(document.verify_parts(SignedElement::Path(&path), &keys, &Profile::DOCUMENT).is_err());
    assert!(parse("<a/>").sign_enveloping("a b", KeyInfo::Nothing, &key).is_err());
}

#[test]
fn a_signature_over_the_whole_document() {
    let (key, keys) = rsa();
    let document = parse("<!-- c --><?p?><o:Order xmlns:o='urn:o'>17</o:Order>");
    let path = [("urn:o", "Order")];
    let (into, profile) = (SignedElement::Path(&path), Profile::DOCUMENT);
    for placement in [Placement::First, Placement::Last] {
        let signing = Signing { parts: &[Part::Document(&[])], into, placement, key_info: KeyInfo::Nothing, profile: &profile };
        let octets = document.sign(&signing, &key).unwrap();
        let signed = Document::parse(&octets, &Limits::MESSAGE).unwrap();
        let verified = signed.verify(into, &keys, &profile).unwrap();
        assert_eq!(verified.read::<Text>().unwrap().value().0, "17");
        assert_eq!(verified.canonical().unwrap(), b"<?p?>\n<o:Order xmlns:o=\"urn:o\">17</o:Order>");
        assert!(matches!(signed.verify(into, &keys, &Profile::SAML), Err(Error::ReferenceRefused { .. })));
    }
}

#[test]
fn a_signature_that_removes_all_it_refers_to_is_void() {
    let (key, keys) = rsa();
    // The signature is the root, and `URI=""` without the signature is nothing.
    let void = STANDARD.encode(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, b""));
    for (uri, attribute) in [("", ""), ("#s", " Id=\"s\"")] {
        let info = format!(
            r#"<ds:SignedInfo xmlns:ds="{DS}"><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:CanonicalizationMethod><ds:SignatureMethod Algorithm="{}"></ds:SignatureMethod><ds:Reference URI="{uri}"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"></ds:Transform><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"></ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"></ds:DigestMethod><ds:DigestValue>{void}</ds:DigestValue></ds:Reference></ds:SignedInfo>"#,
            key.algorithm().uri()
        );
        let value = STANDARD.encode(key.sign_detached(info.as_bytes()).unwrap());
        let document = parse(&format!(
            r#"<ds:Signature xmlns:ds="{DS}"{attribute}>{info}<ds:SignatureValue>{value}</ds:SignatureValue></ds:Signature>"#
        ));
        let error = document.verify_parts(SignedElement::Path(&[(DS, "Signature")]), &keys, &Profile::ANY_FORM).unwrap_err();
        assert!(matches!(error, Error::ReferenceRefused { why: ReferenceFault::Void, .. }), "{error}");
    }
}

#[test]
fn every_algorithm_signs_and_verifies_and_is_bound_to_its_key() {
    let certificate = pem("idp-rsa2048.crt");
    let fresh = || SigningKey::<WebServices>::from_pkcs8("ws-security", &pem("idp-rsa2048.key"), None).unwrap();
    let mut keys = TrustedKeys::new();
    keys.add_certificate(&certificate).unwrap();
    let mut signers = Vec::new();
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        signers.push(fresh().with_algorithm(SignatureAlgorithm::RsaPkcs1(hash)).unwrap());
        signers.push(fresh().with_algorithm(SignatureAlgorithm::RsaPss(hash)).unwrap());
    }
    for curve in [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P384_SHA384_FIXED_SIGNING, &ECDSA_P521_SHA512_FIXED_SIGNING] {
        let pair = EcdsaKeyPair::generate(curve).unwrap();
        keys.add_spki(AsDer::as_der(pair.public_key()).unwrap().as_ref()).unwrap();
        signers.push(SigningKey::from_pkcs8("ws-security", pair.to_pkcs8v1().unwrap().as_ref(), None).unwrap());
    }
    let document = parse(&envelope(""));
    let parts = [Part::Element(SignedElement::Path(&BODY), &[])];
    let mut seen = Vec::new();
    for key in &signers {
        let signed = String::from_utf8(sign(&document, &parts, key).unwrap()).unwrap();
        assert_eq!(verify(signed.as_bytes(), &keys, &Profile::WS_SECURITY).unwrap().len(), 1, "{key:?}");
        seen.push(key.algorithm().uri());
        // The same value under another name is refused.
        for other in &signers {
            if other.algorithm() != key.algorithm() {
                let changed = signed.replace(key.algorithm().uri(), other.algorithm().uri());
                assert!(verify(changed.as_bytes(), &keys, &Profile::WS_SECURITY).is_err());
            }
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 9);
    for wrong in [SignatureAlgorithm::Ecdsa(Hash::Sha256), SignatureAlgorithm::RsaPkcs1(Hash::Sha1), SignatureAlgorithm::Hmac(Hash::Sha256)]
    {
        assert!(matches!(fresh().with_algorithm(wrong), Err(Error::Key(KeyFault::Kind))), "{wrong:?}");
    }
}

#[test]
fn a_secret_signs_where_the_profile_names_it_and_whole_only() {
    let shared = Profile::WS_SECURITY.with_shared_keys();
    let secret = [7; 32];
    let document = parse(&envelope(""));
    let parts = [Part::Element(SignedElement::Path(&BODY), &[])];
    for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let key = SharedKey::new("partner", &secret).unwrap().with_hash(hash).unwrap();
        let signed = String::from_utf8(sign(&document, &parts, &key).unwrap()).unwrap();
        let verified = verify(signed.as_bytes(), &key, &shared).unwrap();
        assert_eq!(verified[0].signer(), &Signer::Key(key.id()));
        assert!(matches!(verify(signed.as_bytes(), &key, &Profile::WS_SECURITY), Err(Error::AlgorithmRefused { .. })));
        let other = SharedKey::new("partner", &[8; 32]).unwrap();
        assert!(matches!(verify(signed.as_bytes(), &other, &shared), Err(Error::SignatureInvalid { .. })));
        // Attack 22: half a tag, and a length that is asked for.
        let (before, rest) = signed.split_once("<ds:SignatureValue>").unwrap();
        let (value, after) = rest.split_once('<').unwrap();
        let tag = STANDARD.decode(value).unwrap();
        for length in [1, 8, tag.len() / 2, tag.len() - 1] {
            let cut = format!("{before}<ds:SignatureValue>{}<{after}", STANDARD.encode(&tag[..length]));
            assert!(matches!(verify(cut.as_bytes(), &key, &shared), Err(Error::SignatureInvalid { .. })), "{length}");
        }
        let asked = signed.replace("</ds:SignatureMethod>", "<ds:HMACOutputLength>8</ds:HMACOutputLength></ds:SignatureMethod>");
        assert!(matches!(verify(asked.as_bytes(), &key, &shared), Err(Error::SignatureMalformed { .. })));
        // Attack 21: the octets of a public key as secret are not what public keys are used for.
        let (_, public) = rsa();
        assert!(matches!(verify(signed.as_bytes(), &public, &shared), Err(Error::KeyRefused { .. })));
    }
    let (key, _) = rsa();
    let signed = sign(&document, &parts, &key).unwrap();
    assert!(matches!(verify(&signed, &SharedKey::new("partner", &secret).unwrap(), &shared), Err(Error::KeyRefused { .. })));
    assert!(matches!(SharedKey::new("partner", &[7; 15]), Err(Error::Key(KeyFault::Size { bits: 120 }))));
    assert!(SharedKey::new("partner", &secret).unwrap().with_hash(Hash::Sha1).is_err());
    assert!(!format!("{:?}", SharedKey::new("partner", b"secret secret secret").unwrap()).contains("secret"));
}

#[test]
fn a_token_reference_covers_the_token_and_not_its_own_place() {
    let (key, keys) = rsa();
    let document = parse(&envelope(&format!("{}{}", assertion(), reference())));
    let token = Token::Element(place(&document, "Assertion"));
    let parts = [Part::Token(SignedElement::Path(&STR), &token), Part::Element(SignedElement::Path(&BODY), &[])];
    let signed = sign(&document, &parts, &key).unwrap();
    let text = String::from_utf8(signed).unwrap();
    let verify = |text: &str, local: Option<&str>| {
        let document = Document::parse(text.as_bytes(), &Limits::MESSAGE)?;
        let resolver = |element: ElementView<'_, Unsigned>| {
            assert!(element.is(WSSE, "SecurityTokenReference"));
            local.map(|local| Token::Element(place(&document, local)))
        };
        document.verify_parts_and_tokens(SignedElement::Path(&SIGNATURE), &keys, &Profile::WS_SECURITY, &resolver)
    };
    let verified = verify(&text, Some("Assertion")).unwrap();
    assert!(verified[0].stands_at(&TOKEN) && !verified[0].stands_at(&STR));
    assert!(String::from_utf8(verified[0].canonical().unwrap()).unwrap().starts_with("<a:Assertion xmlns=\"\" xmlns:a="));
    assert_eq!(verified[0].read::<Text>().unwrap().value().0, "i");
    assert!(matches!(verify(&text.replace(">i<", ">j<"), Some("Assertion")), Err(Error::DigestMismatch { .. })));
    assert!(matches!(verify(&text, Some("Body")), Err(Error::DigestMismatch { .. })));
    let no_token = |error: &Error| matches!(error, Error::ReferenceRefused { why: ReferenceFault::NoToken, .. });
    assert!(no_token(&verify(&text, None).unwrap_err()));
    // Without a resolver, and with a token of another document.
    assert!(no_token(&parse(&text).verify_parts(SignedElement::Path(&SIGNATURE), &keys, &Profile::WS_SECURITY).unwrap_err()));
    let other = parse(&text);
    let foreign = |_: ElementView<'_, Unsigned>| Some(Token::Element(place(&other, "Assertion")));
    let found = parse(&text).verify_parts_and_tokens(SignedElement::Path(&SIGNATURE), &keys, &Profile::WS_SECURITY, &foreign);
    assert!(no_token(&found.unwrap_err()));
    // The transform exists in no other profile, needs its parameter, and stands alone.
    let other = parse(&text).verify_parts(SignedElement::Path(&SIGNATURE), &keys, &Profile::ANY_FORM);
    assert!(matches!(other, Err(Error::AlgorithmRefused { .. })));
    let (before, rest) = text.split_once("<wsse:TransformationParameters").unwrap();
    let (_, after) = rest.split_once("</wsse:TransformationParameters>").unwrap();
    assert!(matches!(verify(&format!("{before}{after}"), Some("Assertion")), Err(Error::SignatureMalformed { .. })));
    let (end, exclusive) =
        ("</wsse:TransformationParameters></ds:Transform>", "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/>");
    assert!(matches!(verify(&text.replace(end, &format!("{end}{exclusive}")), Some("Assertion")), Err(Error::SignatureMalformed { .. })));
    // A reference to something else by the same transform.
    let moved = text.replace("URI=\"#str\"", "URI=\"#t\"");
    assert!(matches!(verify(&moved, Some("Assertion")), Err(Error::SignatureInvalid { .. })));
    let token = Token::Element(place(&document, "Assertion"));
    let wrong = sign(&document, &[Part::Token(SignedElement::Path(&BODY), &token)], &key).unwrap_err();
    assert!(matches!(wrong, Error::ReferenceRefused { why: ReferenceFault::NoTokenReference, .. }));
}

#[test]
fn a_certificate_outside_the_message_is_covered_as_a_token_of_no_place() {
    let (key, keys) = rsa();
    let document = parse(&envelope(reference()));
    let token = Token::Certificate(pem("client-rsa2048.crt"));
    let signed = sign(&document, &[Part::Token(SignedElement::Path(&STR), &token)], &key).unwrap();
    let verify = |name: &str| {
        let token = Token::Certificate(pem(name));
        let document = Document::parse(&signed, &Limits::MESSAGE)?;
        let parts =
            document.verify_parts_and_tokens(SignedElement::Path(&SIGNATURE), &keys, &Profile::WS_SECURITY, &|_| Some(token.clone()))?;
        assert_ne!(parts[0].place(), place(&document, "SecurityTokenReference"));
        assert!(parts[0].stands_at(&[(WSSE, "BinarySecurityToken")]));
        parts[0].read::<Text>().map(|text| text.into_value().0)
    };
    assert_eq!(STANDARD.decode(verify("client-rsa2048.crt").unwrap()).unwrap(), pem("client-rsa2048.crt"));
    assert!(matches!(verify("other-rsa2048.crt"), Err(Error::DigestMismatch { .. })));
}

#[test]
fn every_kind_of_id_can_be_referred_to_and_none_may_occur_twice() {
    let (key, keys) = rsa();
    let kinds = [
        format!(r#"<x:Assertion xmlns:x="{SAML}" ID="i"/>"#),
        format!(r#"<x:Response xmlns:x="{SAMLP}" ID="i"/>"#),
        format!(r#"<x:Assertion xmlns:x="{SAML1}" AssertionID="i"/>"#),
        format!(r#"<x:Response xmlns:x="{SAML1P}" ResponseID="i"/>"#),
        format!(r#"<x:Object xmlns:x="{DS}" Id="i"/>"#),
        format!(r#"<x xmlns:u="{WSU}" u:Id="i"/>"#),
    ];
    let root = [("", "r")];
    let sign = |text: &str| {
        let document = parse(text);
        let what = place(
            &document,
            if text.contains("Response") {
                "Response"
            } else if text.contains("Object") {
                "Object"
            } else if text.contains("Assertion") {
                "Assertion"
            } else {
                "x"
            },
        );
        let parts = [Part::Element(SignedElement::At(&what), &[])];
        let into = SignedElement::Path(&root);
        document.sign(
            &Signing { parts: &parts, into, placement: Placement::Last, key_info: KeyInfo::Nothing, profile: &Profile::ANY_FORM },
            &key,
        )
    };
    let path = [("", "r"), (DS, "Signature")];
    for (number, kind) in kinds.iter().enumerate() {
        let signed = String::from_utf8(sign(&format!("<r>{kind}</r>")).unwrap()).unwrap();
        let parts = parse(&signed).verify_parts(SignedElement::Path(&path), &keys, &Profile::ANY_FORM).unwrap();
        assert_eq!(parts.len(), 1, "{kind}");
        // Pairwise, before any cryptography.
        for other in &kinds {
            let twice = signed.replacen("<r>", &format!("<r>{other}"), 1);
            let at = twice.rfind(r#"="i""#).unwrap();
            match parse(&twice).verify_parts(SignedElement::Path(&path), &TrustedKeys::new(), &Profile::ANY_FORM) {
                Err(Error::DuplicateId { id, at: octet }) => assert!(id == "i" && octet < at && at - octet <= 12, "{number}: {octet} {at}"),
                found => panic!("{kind} {other}: {found:?}"),
            }
        }
        for near in [r#"<r ID="i"/>"#, r#"<r Id="i"/>"#, r#"<r id="i"/>"#, r#"<r xml:id="i"/>"#, r#"<r xmlns:z="urn:z" z:Id="i"/>"#] {
            let beside = signed.replacen("<r>", &format!("<r>{near}"), 1);
            parse(&beside).verify_parts(SignedElement::Path(&path), &keys, &Profile::ANY_FORM).unwrap();
        }
    }
    // An operator may name another kind; then it counts everywhere.
    let own = Profile::ANY_FORM.with_id("urn:o", "Order", "number");
    let document = parse("<Order xmlns='urn:o' number='n17'>17</Order>");
    let order = [("urn:o", "Order")];
    let into = SignedElement::Path(&order);
    let parts = [Part::Element(into, &[])];
    let signing = Signing { parts: &parts, into, placement: Placement::Last, key_info: KeyInfo::Nothing, profile: &own };
    let signed = Document::parse(&document.sign(&signing, &key).unwrap(), &Limits::MESSAGE).unwrap();
    assert!(signed.verify(into, &keys, &own).is_ok());
    assert!(matches!(signed.verify(into, &keys, &Profile::ANY_FORM), Err(Error::ReferenceRefused { .. })));
}

/// The parts of a query string that the Redirect binding signs, and the signature.
fn redirect() -> (String, String, Vec<u8>) {
    let url = std::fs::read_to_string(corpus("saml/q02_authnrequest_redirect_signed.url")).unwrap();
    let (_, query) = url.trim().split_once('?').unwrap();
    let decoded = |value: &str| {
        let mut octets = Vec::new();
        let mut rest = value.as_bytes();
        while let [first, after @ ..] = rest {
            rest = after;
            match (first, after) {
                (b'%', [high, low, after @ ..]) => {
                    octets.push(u8::from_str_radix(std::str::from_utf8(&[*high, *low]).unwrap(), 16).unwrap());
                    rest = after;
                }
                (other, _) => octets.push(*other),
            }
        }
        String::from_utf8(octets).unwrap()
    };
    let value = |name: &str| query.split('&').find_map(|pair| pair.strip_prefix(name)).unwrap();
    let signed: Vec<&str> =
        query.split('&').filter(|pair| ["SAMLRequest=", "RelayState=", "SigAlg="].iter().any(|name| pair.starts_with(name))).collect();
    (signed.join("&"), decoded(value("SigAlg=")), STANDARD.decode(decoded(value("Signature="))).unwrap())
}

#[test]
fn a_recorded_redirect_is_verified_over_its_octets() {
    let (octets, algorithm, signature) = redirect();
    let mut keys = TrustedKeys::new();
    keys.add_certificate(&pem("sp-rsa2048.crt")).unwrap();
    let verify =
        |octets: &str, algorithm: &str, signature: &[u8]| verify_detached(octets.as_bytes(), algorithm, signature, &keys, &Profile::SAML);
    assert_eq!(verify(&octets, &algorithm, &signature).unwrap().octets(), octets.as_bytes());
    // Another spelling of the same query is another text.
    assert!(matches!(
        verify(&octets.replace("%2B", "%2b"), &algorithm, &signature)
            .map(drop)
            .and(verify(&octets.replacen('%', "%25", 1), &algorithm, &signature).map(drop)),
        Err(Error::SignatureInvalid { .. })
    ));
    assert!(matches!(verify(&octets, "http://www.w3.org/2000/09/xmldsig#rsa-sha1", &signature), Err(Error::AlgorithmRefused { .. })));
    assert!(matches!(verify(&octets, "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", &signature), Err(Error::KeyRefused { .. })));
    assert!(matches!(verify(&octets, &algorithm, b""), Err(Error::SignatureInvalid { .. })));
    assert!(matches!(verify(&octets, &algorithm, &[0; 256]), Err(Error::SignatureInvalid { .. })));
}

#[test]
fn a_detached_message_is_read_from_the_signed_octets_only() {
    let key = SigningKey::<ServiceProvider>::from_pkcs8("sp", &pem("sp-rsa2048.key"), None).unwrap();
    let mut keys = TrustedKeys::new();
    keys.add_certificate(&pem("sp-rsa2048.crt")).unwrap();
    let octets = format!("SAMLRequest={}&SigAlg=x", STANDARD.encode("<r>said</r>"));
    let signature = key.sign_detached(octets.as_bytes()).unwrap();
    let verified = verify_detached(octets.as_bytes(), key.algorithm().uri(), &signature, &keys, &Profile::SAML).unwrap();
    fn decode(octets: &[u8]) -> Option<Vec<u8>> {
        let text = std::str::from_utf8(octets).ok()?;
        STANDARD.decode(text.strip_prefix("SAMLRequest=")?.split_once('&')?.0).ok()
    }
    let element = verified.document(decode, &Limits::MESSAGE).unwrap();
    assert_eq!(element.read::<Text>().unwrap().value().0, "said");
    assert_eq!(element.signer(), &Signer::Key(key.id()));
    assert!(matches!(verified.document(|_| None, &Limits::MESSAGE), Err(Error::DetachedContent)));
    assert!(!format!("{verified:?}").contains("SAMLRequest"));
}

#[test]
fn a_channel_vouches_for_the_partner_that_was_pinned_and_shown() {
    let presented = pem("server-rsa2048.crt");
    let pinned = [KeyId::of_certificate(&presented).unwrap()];
    let peer = PinnedPeer::confirm("https://idp.example.org", &pinned, &presented).unwrap();
    assert!(matches!(PinnedPeer::confirm("https://idp.example.org", &pinned, &pem("other-rsa2048.crt")), Err(Error::UnknownKey { .. })));
    assert!(matches!(PinnedPeer::confirm("https://idp.example.org", &[], &presented), Err(Error::UnknownKey { .. })));
    let verified = parse("<r>said</r>").vouched_by_channel(peer.clone());
    assert_eq!(verified.read::<Text>().unwrap().value().0, "said");
    match verified.signer() {
        Signer::Channel(seen) => assert!(*seen == peer && seen.partner() == "https://idp.example.org" && seen.key() == pinned[0]),
        Signer::Key(key) => panic!("{key}"),
    }
}

#[test]
fn a_diagnosis_says_what_was_checked_in_order_and_where_it_ended() {
    let (key, keys) = rsa();
    let parts = [Part::Element(SignedElement::Path(&TIMESTAMP), &[]), Part::Element(SignedElement::Path(&BODY), &[])];
    let signing = Signing {
        parts: &parts,
        into: SignedElement::Path(&SECURITY),
        placement: Placement::Last,
        key_info: KeyInfo::Certificate,
        profile: &Profile::WS_SECURITY,
    };
    let signed = String::from_utf8(parse(&envelope("")).sign(&signing, &key).unwrap()).unwrap();
    let ask = |text: &str, keys: &TrustedKeys, keep_octets: bool| {
        let demand = Demand::Every;
        diagnose(
            text.as_bytes(),
            &Question { demand, keys: keys.into(), profile: &Profile::WS_SECURITY, limits: &Limits::MESSAGE, tokens: None, keep_octets },
        )
    };
    let names = |report: &vestibule_xmlsec::Report| {
        report.checks.iter().map(|c| format!("{}{}", if c.ok { "" } else { "!" }, c.check.name())).collect::<Vec<_>>().join(" ")
    };

    let good = ask(&signed, &keys, true);
    assert_eq!(names(&good), "well-formed element ids signature key signed-info reference digest reference digest");
    assert_eq!((good.error, good.octets), (None, None));
    assert_eq!(good.signers, [Signer::Key(key.id())]);
    let paths: Vec<&str> = good.covered.iter().map(|covered| covered.path.as_str()).collect();
    assert_eq!(paths, ["/s:Envelope/s:Header/w:Security/u:Timestamp", "/s:Envelope/s:Body"]);

    let changed = signed.replace(">17<", ">18<");
    let report = ask(&changed, &keys, false);
    assert_eq!(names(&report), "well-formed element ids signature key signed-info reference digest reference !digest");
    assert!(report.octets.is_none() && report.covered.is_empty() && report.signers.is_empty());
    assert_eq!(report.error.as_ref().map(Error::reason), Some("digest_mismatch"));
    let octets = String::from_utf8(ask(&changed, &keys, true).octets.unwrap()).unwrap();
    assert!(octets.starts_with("<s:Body ") && octets.contains(">18<"));

    let mut others = TrustedKeys::new();
    others.add_certificate(&pem("other-rsa2048.crt")).unwrap();
    let report = ask(&signed, &others, false);
    assert_eq!(names(&report), "well-formed element ids signature !key");
    let detail = &report.checks.last().unwrap().detail;
    assert!(detail.contains(&key.id().to_string()) && detail.contains(&others.ids()[0].to_string()), "{detail}");

    let report = ask(&signed.replace("Id=\"t\"", "Id=\"b\""), &keys, false);
    assert_eq!(names(&report), "well-formed element !ids");
    assert!(report.checks.last().unwrap().detail.contains("octet"));
    assert_eq!(names(&ask("<a", &keys, false)), "!well-formed");
    assert_eq!(names(&ask("<a/>", &keys, false)), "well-formed !element");
    let value = signed.split_once("<ds:SignatureValue>").unwrap().1;
    let report = ask(&signed.replace(&value[..4], "AAAA"), &keys, false);
    assert_eq!(names(&report), "well-formed element ids signature key !signed-info");
    assert_eq!(report.checks.last().unwrap().check, Check::SignedInfo);
}

/// Everything a view shows, as one text.
struct Shown(String);

fn show<A: Authority>(element: ElementView<'_, A>) -> String {
    let mut attributes: Vec<_> = element.attributes().collect();
    attributes.sort_unstable();
    let children: String = element.children().map(show).collect();
    format!("{{{}}}{}{attributes:?}({:?})[{children}]", element.namespace(), element.local(), element.text().ok())
}

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

/// What the parts show, in their order; each has to equal a fresh reading of the octets that were digested.
fn shown(parts: &[Verified<Element>]) -> Vec<(Vec<u8>, String)> {
    let each = parts.iter().map(|part| {
        let octets = part.canonical().unwrap();
        let again = Document::parse(&octets, &Limits::MESSAGE).unwrap();
        let seen = part.read::<Shown>().unwrap().into_value().0;
        assert_eq!(seen, again.claim::<Shown>().unwrap().sender_says().0);
        (octets, seen)
    });
    each.collect()
}

#[test]
fn no_change_of_one_octet_changes_what_any_part_covers() {
    let (key, keys) = rsa();
    let text = envelope(&format!("{}{}", assertion().replace(">i<", "><!-- c -->i&lt;<![CDATA[&]]><"), reference()));
    let document = parse(&text);
    let token = Token::Element(place(&document, "Assertion"));
    let parts = [
        Part::Token(SignedElement::Path(&STR), &token),
        Part::Element(SignedElement::Path(&BODY), &["o"]),
        Part::Element(SignedElement::Path(&TIMESTAMP), &[]),
    ];
    let signed = sign(&document, &parts, &key).unwrap();
    let verify = |octets: &[u8]| {
        let document = Document::parse(octets, &Limits::MESSAGE)?;
        let resolver = |_: ElementView<'_, Unsigned>| Some(Token::Element(place(&document, "Assertion")));
        document.verify_parts_and_tokens(SignedElement::Path(&SIGNATURE), &keys, &Profile::WS_SECURITY, &resolver)
    };
    let original = shown(&verify(&signed).unwrap());
    let (mut tried, mut accepted) = (0, 0);
    let mut hold = |changed: &[u8], what: &str| {
        tried += 1;
        if let Ok(parts) = verify(changed) {
            accepted += 1;
            assert_eq!(shown(&parts), original, "{what}");
        }
    };
    for at in 0..signed.len() {
        let mut changed = signed.clone();
        for other in [b' ', b'<', b'x', b'/', signed[at] ^ 1, signed[at] ^ 0x20] {
            changed[at] = other;
            hold(&changed, &format!("octet {at} as {other}"));
        }
        changed.remove(at);
        hold(&changed, &format!("octet {at} removed"));
        for other in [b' ', b'<', b'x', b'"'] {
            let mut longer = signed.clone();
            longer.insert(at, other);
            hold(&longer, &format!("{other} before octet {at}"));
        }
    }
    // Prefixes of end tags and white space in tags may change, and a little beside the parts.
    assert!(accepted > 50 && accepted * 4 < tried, "{accepted} of {tried}");
}
