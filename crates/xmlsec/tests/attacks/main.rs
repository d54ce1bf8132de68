//! Hostile documents, made here and kept in `corpus/attacks/xml-signature/`.
//!
//! Where an attack is about structure, `SignedInfo` is signed with the trusted key all the same, so that only the rule in
//! question can refuse it. PKCS#1 v1.5 is deterministic: the test holds the files against what it makes;
//! `VESTIBULE_WRITE_CORPUS=1` writes them in a first run.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what it expects by unwrapping it")]

use std::path::PathBuf;

use aws_lc_rs::digest;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use vestibule_xmlsec::{
    Canonicalization, Document, ElementView, Error, FromSigned, Limits, Profile, Signed, SignedElement, TrustedKeys, canonicalize,
};

mod others;

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
const SHA256: &str = "http://www.w3.org/2001/04/xmlenc#sha256";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

fn corpus(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus").join(below)
}

fn key(name: &str) -> RsaKeyPair {
    let pem = std::fs::read_to_string(corpus("recorded/keys").join(name)).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    RsaKeyPair::from_pkcs8(&STANDARD.decode(body).unwrap()).unwrap()
}

fn certificate(name: &str) -> String {
    let pem = std::fs::read_to_string(corpus("recorded/keys").join(name)).unwrap();
    pem.lines().filter(|line| !line.starts_with("-----")).collect()
}

/// An assertion that declares all it uses, so that it is the same octets wherever it stands.
fn assertion(id: &str, name: &str, inside: &str) -> String {
    format!(
        r#"<saml:Assertion xmlns:saml="{SAML}" ID="{id}" Version="2.0"><saml:Issuer>https://idp.example.org</saml:Issuer>{inside}<saml:Subject><saml:NameID>{name}</saml:NameID></saml:Subject></saml:Assertion>"#
    )
}

fn response(id: &str, inside: &str) -> String {
    format!(r#"<samlp:Response xmlns:samlp="{SAMLP}" ID="{id}" Version="2.0">{inside}</samlp:Response>"#)
}

fn extensions(inside: &str) -> String {
    format!("<samlp:Extensions>{inside}</samlp:Extensions>")
}

fn digest_of(xml: &str) -> String {
    let octets = canonicalize(xml.as_bytes(), &Limits::MESSAGE, &Canonicalization::EXCLUSIVE).unwrap();
    STANDARD.encode(digest::digest(&digest::SHA256, &octets))
}

fn transforms(uris: &[&str]) -> String {
    let each: String = uris.iter().map(|uri| format!(r#"<ds:Transform Algorithm="{uri}"/>"#)).collect();
    if uris.is_empty() { each } else { format!("<ds:Transforms>{each}</ds:Transforms>") }
}

fn reference(uri: &str, transforms: &str, hash: &str, digest: &str) -> String {
    format!(
        r#"<ds:Reference{uri}>{transforms}<ds:DigestMethod Algorithm="{hash}"/><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"#
    )
}

fn info(c14n: &str, method: &str, references: &str) -> String {
    format!(
        r#"<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{c14n}"/><ds:SignatureMethod Algorithm="{method}"/>{references}</ds:SignedInfo>"#
    )
}

/// The value of a signature over this `SignedInfo` as it stands inside `ds:Signature`.
fn value(key: &RsaKeyPair, info: &str) -> String {
    let standing = info.replacen("<ds:SignedInfo", &format!(r#"<ds:SignedInfo xmlns:ds="{DS}""#), 1);
    let octets = canonicalize(standing.as_bytes(), &Limits::MESSAGE, &Canonicalization::EXCLUSIVE).unwrap();
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), &octets, &mut signature).unwrap();
    STANDARD.encode(signature)
}

fn signature(info: &str, value: &str, rest: &str) -> String {
    format!(r#"<ds:Signature xmlns:ds="{DS}">{info}<ds:SignatureValue>{value}</ds:SignatureValue>{rest}</ds:Signature>"#)
}

struct Case {
    name: &'static str,
    /// The attack's line in the list, by number.
    source: &'static str,
    target: &'static str,
    /// `saml` where nothing is said.
    profile: &'static str,
    expect: &'static str,
    document: Vec<u8>,
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn cases() -> Vec<Case> {
    let idp = key("idp-rsa2048.key");
    let other = key("other-rsa2048.key");
    let clean = assertion("_a", "alice@example.org", "");
    let digest = digest_of(&clean);
    let usual = transforms(&[ENVELOPED, EXCLUSIVE]);
    let good_reference = reference(r##" URI="#_a""##, &usual, SHA256, &digest);
    let good_info = info(EXCLUSIVE, RSA_SHA256, &good_reference);
    let good_value = value(&idp, &good_info);
    let good = signature(&good_info, &good_value, "");
    let signed = assertion("_a", "alice@example.org", &good);
    let evil = assertion("_evil", "admin@example.org", "");
    let carrying = |sig: &str| assertion("_evil", "admin@example.org", sig);

    // The same for a response that is signed as a whole.
    let whole = response("_r", &clean);
    let whole_reference = reference(r##" URI="#_r""##, &usual, SHA256, &digest_of(&whole));
    let whole_info = info(EXCLUSIVE, RSA_SHA256, &whole_reference);
    let whole_value = value(&idp, &whole_info);
    let whole_signature = signature(&whole_info, &whole_value, "");

    let mut cases = Vec::new();
    let mut add = |name, source, target, expect, document: String| {
        cases.push(Case { name, source, target, profile: "saml", expect, document: document.into_bytes() });
    };
    let in_response = |inside: &str| response("_r", inside);
    // Validly signed by the trusted key, whatever it says.
    let with_info = |info: &str| response("_r", &assertion("_a", "alice@example.org", &signature(info, &value(&idp, info), "")));
    let with_reference = |reference: &str| with_info(&info(EXCLUSIVE, RSA_SHA256, reference));
    let with_signature = |sig: &str| response("_r", &assertion("_a", "alice@example.org", sig));

    add("good-assertion", "-", "assertion", "accept", in_response(&signed));
    add("good-response", "-", "response", "accept", response("_r", &format!("{whole_signature}{clean}")));

    // 1: signature wrapping.
    add(
        "xsw1",
        "1",
        "response",
        "malformed",
        response("_evil-response", &format!("{}{evil}", signature(&whole_info, &whole_value, &whole))),
    );
    add("xsw2", "1", "response", "wrapped", response("_evil-response", &format!("{whole}{whole_signature}{evil}")));
    add("xsw3-before", "1, 9, 11", "assertion", "ambiguous", in_response(&format!("{evil}{signed}")));
    add("xsw3-after", "1, 9, 11", "assertion", "ambiguous", in_response(&format!("{signed}{evil}")));
    add("xsw4", "1", "assertion", "signature_missing", in_response(&carrying(&signed)));
    add("xsw5-sibling", "1", "assertion", "ambiguous", in_response(&format!("{}{clean}", carrying(&good))));
    add("xsw5-extensions", "1", "assertion", "wrapped", in_response(&format!("{}{}", extensions(&clean), carrying(&good))));
    add("xsw6", "1", "assertion", "malformed", in_response(&carrying(&signature(&good_info, &good_value, &clean))));
    let same_id = assertion("_a", "admin@example.org", "");
    add("xsw7-same-id", "1, 33", "assertion", "duplicate_id", in_response(&format!("{}{signed}", extensions(&same_id))));
    add("xsw7-other-id", "1, 2", "assertion", "accept", in_response(&format!("{}{signed}", extensions(&evil))));
    let object = format!("<ds:Object>{clean}</ds:Object>");
    add("xsw8", "1", "assertion", "malformed", in_response(&carrying(&signature(&good_info, &good_value, &object))));
    add(
        "xsw-inner-response",
        "1, 20",
        "response",
        "signature_missing",
        response("_evil", &response("_r", &format!("{whole_signature}{clean}"))),
    );
    add("xsw-moved-up", "14", "response", "wrapped", in_response(&format!("{good}{clean}{}", extensions(""))));
    add("xsw-moved-up-assertion", "14", "assertion", "signature_missing", in_response(&format!("{good}{clean}")));
    add("signature-of-the-response-in-the-assertion", "14, 17", "assertion", "wrapped", with_signature(&whole_signature));
    add("two-signatures", "17", "assertion", "ambiguous", with_signature(&format!("{good}{good}")));
    add("unsigned", "24", "assertion", "signature_missing", in_response(&clean));

    // 5, 33: ids.
    let namespaced = clean.replace(r#"ID="_a""#, r#"xmlns:x="urn:x" x:ID="_a" ID="_evil""#).replace("alice@", "admin@");
    let pollute =
        |evil: &str| in_response(&format!("{}{}", extensions(&clean), evil.replace("</saml:Issuer>", &format!("</saml:Issuer>{good}"))));
    add("id-in-a-foreign-namespace", "5", "assertion", "wrapped", pollute(&namespaced));
    add("id-in-small-letters", "5", "assertion", "wrapped", pollute(&namespaced.replace("x:ID", "id")));
    let only_small = clean.replace("ID=", "id=").replace("</saml:Issuer>", &format!("</saml:Issuer>{good}"));
    add("no-id-but-small-letters", "5", "assertion", "reference_refused", in_response(&only_small));
    add("duplicate-response", "33", "assertion", "duplicate_id", response("_a", &signed));
    let utility = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
    let wsu = format!(r#"<x xmlns:wsu="{utility}" wsu:Id="_a"/>"#);
    add("duplicate-wsu-id", "33", "assertion", "duplicate_id", in_response(&format!("{}{signed}", extensions(&wsu))));
    let assertion11 = r#"<Assertion xmlns="urn:oasis:names:tc:SAML:1.0:assertion" AssertionID="_a"/>"#;
    add("duplicate-assertion-id", "33", "assertion", "duplicate_id", in_response(&format!("{}{signed}", extensions(assertion11))));
    let signature_id = good.replacen("<ds:Signature ", r#"<ds:Signature Id="_a" "#, 1);
    add("duplicate-signature-id", "33", "assertion", "duplicate_id", with_signature(&signature_id));

    // 6: namespaces.
    add(
        "signature-in-a-foreign-namespace",
        "6",
        "assertion",
        "signature_missing",
        with_signature(&good.replace(DS, "http://www.w3.org/2000/09/xmldsig")),
    );
    let foreign_info = good.replace("<ds:SignedInfo>", r#"<e:SignedInfo xmlns:e="urn:e">"#).replace("</ds:SignedInfo>", "</e:SignedInfo>");
    add("signed-info-in-a-foreign-namespace", "6", "assertion", "malformed", with_signature(&foreign_info));
    let no_namespace = format!("<Signature>{}</Signature>", "fake");
    add("decoy-signature", "6, 19", "assertion", "digest_mismatch", with_signature(&format!("{no_namespace}{good}")));

    // 7, 8: what is verified is not what is digested.
    let forged = digest_of(&assertion("_a", "admin@example.org", ""));
    let comment = good
        .replace("<ds:DigestValue>", &format!("<ds:DigestValue><!--{digest}-->"))
        .replace(&format!("-->{digest}"), &format!("-->{forged}"));
    add("comment-in-digest", "7", "assertion", "malformed", in_response(&assertion("_a", "admin@example.org", &comment)));
    let split = good.replace(&digest, &format!("{}<!-- -->{}", &digest[..9], &digest[9..]));
    add("comment-splits-digest", "7", "assertion", "malformed", with_signature(&split));
    add(
        "processing-instruction-in-digest",
        "7",
        "assertion",
        "malformed",
        with_signature(&good.replace(&digest, &format!("<?x?>{digest}"))),
    );
    add("cdata-in-digest", "7", "assertion", "malformed", with_signature(&good.replace(&digest, &format!("<![CDATA[{digest}]]>"))));
    add(
        "comment-in-signature-value",
        "7",
        "assertion",
        "malformed",
        with_signature(&good.replace("<ds:SignatureValue>", "<ds:SignatureValue><!---->")),
    );
    let two_values = good.replace("<ds:DigestValue>", &format!("<ds:DigestValue>{forged}</ds:DigestValue><ds:DigestValue>"));
    add("two-digest-values", "2", "assertion", "malformed", with_signature(&two_values));
    let forged_info = good_info.replace(&digest, &forged);
    add(
        "two-signed-infos",
        "8",
        "assertion",
        "malformed",
        with_signature(&signature(&format!("{forged_info}{good_info}"), &good_value, "")),
    );
    let behind = good.replace("</ds:SignatureValue>", &format!("</ds:SignatureValue>{forged_info}"));
    add("second-signed-info-behind", "8", "assertion", "malformed", with_signature(&behind));
    add("text-in-signed-info", "8", "assertion", "malformed", with_signature(&good.replace("<ds:Reference", "x<ds:Reference")));

    // 4: void canonicalization.
    let void = STANDARD.encode(digest::digest(&digest::SHA256, b""));
    add("digest-of-nothing", "4", "assertion", "digest_mismatch", with_reference(&reference(r##" URI="#_a""##, &usual, SHA256, &void)));
    add("digest-of-another-length", "4", "assertion", "malformed", with_reference(&reference(r##" URI="#_a""##, &usual, SHA256, "AAAA")));
    add("empty-digest", "4", "assertion", "malformed", with_reference(&reference(r##" URI="#_a""##, &usual, SHA256, "")));

    // 10, 13: content.
    add("tampered", "10", "assertion", "digest_mismatch", in_response(&signed.replace("alice@", "admin@")));
    add("changed-outside", "10", "assertion", "accept", response("_evil", &signed));
    add("comment-in-name", "13", "assertion", "accept", in_response(&signed.replace("alice@", "al<!-- -->ice@")));
    add("cdata-in-name", "13", "assertion", "accept", in_response(&signed.replace("alice@", "al<![CDATA[ice]]>@")));
    let instructed = assertion("_a", "alice@example.org<?x?>.evil", "");
    let instructed_info = info(EXCLUSIVE, RSA_SHA256, &reference(r##" URI="#_a""##, &usual, SHA256, &digest_of(&instructed)));
    let instructed_signature = signature(&instructed_info, &value(&idp, &instructed_info), "");
    let document = in_response(&assertion("_a", "alice@example.org<?x?>.evil", &instructed_signature));
    add("processing-instruction-in-name", "13", "assertion", "forbidden_markup", document);

    // 12, 30, 48: other documents.
    add("two-roots", "12", "assertion", "malformed", format!("{0}{0}", in_response(&signed)));
    add("trailing-text", "12", "assertion", "malformed", format!("{}x", in_response(&signed)));
    add("doctype", "30", "assertion", "dtd", format!("<!DOCTYPE x>{}", in_response(&signed)));
    add("doctype-with-id-entity", "48", "assertion", "dtd", format!("<!DOCTYPE x [<!ENTITY i '_a'>]>{}", in_response(&signed)));
    add("entity", "30", "assertion", "malformed", in_response(&signed.replace("alice@", "&a;@")));

    // 15: references.
    let two = format!("{good_reference}{}", reference(r##" URI="#_r""##, &usual, SHA256, &void));
    add("second-reference-wrong", "15", "assertion", "malformed", with_reference(&two));
    let two = format!("{}{good_reference}", reference(r##" URI="#_r""##, &usual, SHA256, &void));
    add("first-reference-wrong", "15", "assertion", "malformed", with_reference(&two));
    add("no-reference", "15", "assertion", "reference_refused", with_reference(""));

    // 21, 22, 27: algorithms.
    let method = |uri: &str| with_info(&info(EXCLUSIVE, uri, &good_reference));
    add("hmac-sha256", "21", "assertion", "algorithm_refused", method("http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"));
    add("hmac-sha1", "21", "assertion", "algorithm_refused", method("http://www.w3.org/2000/09/xmldsig#hmac-sha1"));
    let truncated = with_info(&good_info.replace(
        &format!(r#"<ds:SignatureMethod Algorithm="{RSA_SHA256}"/>"#),
        &format!(r#"<ds:SignatureMethod Algorithm="{RSA_SHA256}"><ds:HMACOutputLength>8</ds:HMACOutputLength></ds:SignatureMethod>"#),
    ));
    add("hmac-output-length", "22", "assertion", "malformed", truncated);
    add("rsa-sha1", "27", "assertion", "algorithm_refused", method("http://www.w3.org/2000/09/xmldsig#rsa-sha1"));
    add("rsa-md5", "27", "assertion", "algorithm_refused", method("http://www.w3.org/2001/04/xmldsig-more#rsa-md5"));
    add("dsa-sha1", "27", "assertion", "algorithm_refused", method("http://www.w3.org/2000/09/xmldsig#dsa-sha1"));
    add("ecdsa-with-an-rsa-key", "21", "assertion", "algorithm_refused", method("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256"));
    add("another-hash", "21", "assertion", "signature_invalid", method("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512"));
    let hash = |uri: &str| with_reference(&reference(r##" URI="#_a""##, &usual, uri, &digest));
    add("digest-sha1", "27", "assertion", "algorithm_refused", hash("http://www.w3.org/2000/09/xmldsig#sha1"));
    add("digest-md5", "27", "assertion", "algorithm_refused", hash("http://www.w3.org/2001/04/xmldsig-more#md5"));

    // 23 to 25: keys and values.
    let strange = value(&other, &good_info);
    let data = format!(
        "<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>",
        certificate("other-rsa2048.crt")
    );
    add("key-of-the-message", "23", "assertion", "unknown_key", with_signature(&signature(&good_info, &strange, &data)));
    add("other-key-unnamed", "23", "assertion", "signature_invalid", with_signature(&signature(&good_info, &strange, "")));
    let trusted = data.replace(&certificate("other-rsa2048.crt"), &certificate("idp-rsa2048.crt"));
    add(
        "other-key-under-a-trusted-name",
        "23",
        "assertion",
        "signature_invalid",
        with_signature(&signature(&good_info, &strange, &trusted)),
    );
    let key_value = "<ds:KeyInfo><ds:KeyValue><ds:RSAKeyValue><ds:Modulus>AQAB</ds:Modulus><ds:Exponent>AQ==</ds:Exponent></ds:RSAKeyValue></ds:KeyValue></ds:KeyInfo>";
    add("key-value", "23", "assertion", "signature_invalid", with_signature(&signature(&good_info, &strange, key_value)));
    let retrieval = r#"<ds:KeyInfo><ds:RetrievalMethod URI="http://127.0.0.1/key"/></ds:KeyInfo>"#;
    add(
        "retrieval-method-is-not-followed",
        "31",
        "assertion",
        "signature_invalid",
        with_signature(&signature(&good_info, &strange, retrieval)),
    );
    add("empty-signature-value", "24", "assertion", "malformed", with_signature(&signature(&good_info, "", "")));
    add(
        "no-signature-value",
        "24",
        "assertion",
        "malformed",
        with_signature(&good.replace(&format!("<ds:SignatureValue>{good_value}</ds:SignatureValue>"), "")),
    );
    add(
        "signature-value-of-zeros",
        "25",
        "assertion",
        "signature_invalid",
        with_signature(&signature(&good_info, &STANDARD.encode([0; 256]), "")),
    );
    add("short-signature-value", "25", "assertion", "signature_invalid", with_signature(&signature(&good_info, "AAAA", "")));
    add("loose-base64", "25", "assertion", "malformed", with_signature(&good.replace("==</ds:SignatureValue>", "</ds:SignatureValue>")));
    add("empty-signature", "36", "assertion", "malformed", with_signature(&format!(r#"<ds:Signature xmlns:ds="{DS}"/>"#)));
    add("empty-signed-info", "36", "assertion", "malformed", with_signature(&signature("<ds:SignedInfo/>", &good_value, "")));

    // 28, 29: transforms and canonicalization.
    let transformed = |uris: &[&str]| with_reference(&reference(r##" URI="#_a""##, &transforms(uris), SHA256, &digest));
    add("xslt", "28", "assertion", "algorithm_refused", transformed(&[ENVELOPED, "http://www.w3.org/TR/1999/REC-xslt-19991116"]));
    add("xpath", "28", "assertion", "algorithm_refused", transformed(&["http://www.w3.org/TR/1999/REC-xpath-19991116", EXCLUSIVE]));
    add("xpath-filter", "28", "assertion", "algorithm_refused", transformed(&["http://www.w3.org/2002/06/xmldsig-filter2", EXCLUSIVE]));
    add("base64-transform", "28", "assertion", "algorithm_refused", transformed(&["http://www.w3.org/2000/09/xmldsig#base64"]));
    add("decryption-transform", "28", "assertion", "algorithm_refused", transformed(&["http://www.w3.org/2002/07/decrypt#XML", EXCLUSIVE]));
    add("three-transforms", "28", "assertion", "malformed", transformed(&[ENVELOPED, EXCLUSIVE, EXCLUSIVE]));
    add("canonicalized-before-enveloped", "28", "assertion", "malformed", transformed(&[EXCLUSIVE, ENVELOPED]));
    add("enveloped-twice", "28", "assertion", "malformed", transformed(&[ENVELOPED, ENVELOPED]));
    add(
        "inclusive-transform",
        "29",
        "assertion",
        "algorithm_refused",
        transformed(&[ENVELOPED, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"]),
    );
    add("implied-inclusive", "29", "assertion", "algorithm_refused", transformed(&[ENVELOPED]));
    add("not-enveloped", "29", "assertion", "digest_mismatch", transformed(&[EXCLUSIVE]));
    add("unknown-canonicalization", "29", "assertion", "algorithm_refused", with_info(&info("urn:none", RSA_SHA256, &good_reference)));
    add(
        "canonicalization-1.1",
        "29",
        "assertion",
        "algorithm_refused",
        with_info(&info("http://www.w3.org/2006/12/xml-c14n11", RSA_SHA256, &good_reference)),
    );
    let list = "p ".repeat(33);
    let listed = good_reference.replace(
        &format!(r#"<ds:Transform Algorithm="{EXCLUSIVE}"/>"#),
        &format!(
            r#"<ds:Transform Algorithm="{EXCLUSIVE}"><e:InclusiveNamespaces xmlns:e="{EXCLUSIVE}" PrefixList="{list}"/></ds:Transform>"#
        ),
    );
    add("long-prefix-list", "35", "assertion", "malformed", with_reference(&listed));

    // 31, 32: where references lead.
    for (name, uri) in [
        ("uri-http", r#" URI="http://127.0.0.1/x""#),
        ("uri-file", r#" URI="file:///etc/passwd""#),
        ("uri-relative", r#" URI="x.xml#_a""#),
        ("uri-xpointer-id", r##" URI="#xpointer(id('_a'))""##),
        ("uri-xpointer-root", r##" URI="#xpointer(/)""##),
        ("uri-empty", r#" URI="""#),
        ("uri-fragment-empty", r##" URI="#""##),
        ("uri-missing", ""),
        ("uri-of-nothing", r##" URI="#_nothing""##),
        ("uri-encoded", r##" URI="#%5Fa""##),
        ("uri-with-space", r##" URI=" #_a""##),
    ] {
        add(name, "31, 32", "assertion", "reference_refused", with_reference(&reference(uri, &usual, SHA256, &digest)));
    }

    // 35: size.
    add(
        "deep",
        "35",
        "assertion",
        "limits",
        in_response(&format!("{}{}", extensions(&format!("{}{}", "<a>".repeat(100), "</a>".repeat(100))), signed)),
    );
    let wide: String = (0..100).map(|n| format!(" a{n}=''")).collect();
    add("many-attributes", "35", "assertion", "limits", in_response(&format!("{}{signed}", extensions(&format!("<a{wide}/>")))));
    let declared: String = (0..100).map(|n| format!(" xmlns:a{n}='urn:{n}'")).collect();
    add("many-namespaces", "35", "assertion", "limits", in_response(&format!("{}{signed}", extensions(&format!("<a{declared}/>")))));
    cases.extend(others::cases());
    cases
}

/// Every name in an element that was signed.
struct Names(Vec<String>);

impl FromSigned for Names {
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, Error> {
        let mut names = Vec::new();
        collect(element, &mut names)?;
        Ok(Self(names))
    }
}

fn collect(element: ElementView<'_, Signed>, names: &mut Vec<String>) -> Result<(), Error> {
    if element.is(SAML, "NameID") {
        names.push(element.text()?.into_owned());
    }
    element.children().try_for_each(|child| collect(child, names))
}

fn profile(name: &str) -> Profile {
    match name {
        "saml" => Profile::SAML,
        "document" => Profile::DOCUMENT,
        "any-form" => Profile::ANY_FORM,
        "shared" => Profile::SAML.with_shared_keys(),
        "legacy" => Profile::SAML.legacy(),
        other => panic!("{other}"),
    }
}

fn verdict(octets: &[u8], target: &str, keys: &TrustedKeys, profile: &Profile) -> Result<Vec<String>, Error> {
    let document = Document::parse(octets, &Limits::MESSAGE)?;
    let path: &[(&str, &str)] = match target {
        "response" => &[(SAMLP, "Response")],
        "assertion" => &[(SAMLP, "Response"), (SAML, "Assertion")],
        "logout" => &[(SAMLP, "LogoutRequest")],
        "request" => &[(SAMLP, "AuthnRequest")],
        "parts" => {
            let parts = document.verify_parts(SignedElement::Path(&[(DS, "Signature")]), keys, profile)?;
            return parts.iter().try_fold(Vec::new(), |mut names, part| {
                names.extend(part.read::<Names>()?.into_value().0);
                Ok(names)
            });
        }
        other => panic!("{other}"),
    };
    let verified = document.verify(SignedElement::Path(path), keys, profile)?;
    assert!(verified.stands_at(path));
    Ok(verified.read::<Names>()?.into_value().0)
}

fn manifest_of(cases: &[Case]) -> String {
    let entries: Vec<Value> = cases
        .iter()
        .map(|case| json!({"file": format!("{}.xml", case.name), "attack": case.source, "signed": case.target, "profile": case.profile, "trust_cert": "keys/idp-rsa2048.crt", "reason": case.expect}))
        .collect();
    let lines: Vec<String> = entries.iter().map(|entry| format!("  {entry}")).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

#[test]
fn the_corpus_is_what_is_made_here() {
    let cases = cases();
    let folder = corpus("attacks/xml-signature");
    if std::env::var_os("VESTIBULE_WRITE_CORPUS").is_some() {
        for case in &cases {
            std::fs::write(folder.join(format!("{}.xml", case.name)), &case.document).unwrap();
        }
        std::fs::write(folder.join("manifest.json"), manifest_of(&cases)).unwrap();
    }
    for case in &cases {
        let kept = std::fs::read(folder.join(format!("{}.xml", case.name))).unwrap();
        assert!(kept == case.document, "{} differs", case.name);
    }
    // As values: the order of keys depends on what else is compiled into serde_json.
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(value(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()), value(&manifest_of(&cases)));
}

#[test]
fn every_attack_is_refused_for_its_reason() {
    let folder = corpus("attacks/xml-signature");
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let entries = manifest.as_array().unwrap();
    let mut wrong = Vec::new();
    for entry in entries {
        let word = |name: &str| entry[name].as_str().unwrap();
        let octets = std::fs::read(folder.join(word("file"))).unwrap();
        let mut keys = TrustedKeys::new();
        keys.add_pem(&std::fs::read_to_string(corpus("recorded").join(word("trust_cert"))).unwrap()).unwrap();
        let found = verdict(&octets, word("signed"), &keys, &profile(word("profile")));
        let fine = match &found {
            Ok(names) => word("reason") == "accept" && *names == ["alice@example.org"],
            Err(error) => error.reason() == word("reason"),
        };
        if !fine {
            wrong.push(format!("{}: {found:?}, expected {}", word("file"), word("reason")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(entries.len() >= 150, "{}", entries.len());
}

#[test]
fn a_whole_document_is_referenced_only_where_the_profile_says_so() {
    let inside = assertion("_a", "alice@example.org", "");
    let whole = reference(r#" URI="""#, &transforms(&[ENVELOPED, EXCLUSIVE]), SHA256, &digest_of(&response("_r", &inside)));
    let info = info(EXCLUSIVE, RSA_SHA256, &whole);
    let signature = signature(&info, &value(&key("idp-rsa2048.key"), &info), "");
    let document = format!("<!-- no part of it -->{}", response("_r", &format!("{signature}{inside}")));
    let mut keys = TrustedKeys::new();
    keys.add_certificate(&STANDARD.decode(certificate("idp-rsa2048.crt")).unwrap()).unwrap();
    let verify = |document: &str, profile: &Profile| {
        let path = [(SAMLP, "Response")];
        let verified = Document::parse(document.as_bytes(), &Limits::MESSAGE)?.verify(SignedElement::Path(&path), &keys, profile)?;
        verified.read::<Names>().map(|names| names.into_value().0)
    };
    assert_eq!(verify(&document, &Profile::DOCUMENT).unwrap(), ["alice@example.org"]);
    assert_eq!(verify(&document, &Profile::SAML).unwrap_err().reason(), "reference_refused");
    assert_eq!(verify(&document.replace("alice@", "admin@"), &Profile::DOCUMENT).unwrap_err().reason(), "digest_mismatch");
    // A processing instruction beside the root element is part of the document.
    assert_eq!(verify(&format!("{document}<?x?>"), &Profile::DOCUMENT).unwrap_err().reason(), "digest_mismatch");
    // Nor does such a signature bless an element inside.
    let moved = document.replace(&signature, "").replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1);
    let path = [(SAMLP, "Response"), (SAML, "Assertion")];
    let inner = Document::parse(moved.as_bytes(), &Limits::MESSAGE).unwrap();
    assert_eq!(inner.verify(SignedElement::Path(&path), &keys, &Profile::DOCUMENT).unwrap_err().reason(), "wrapped");
}

#[test]
fn what_is_not_signed_is_refused_under_every_profile() {
    let folder = corpus("attacks/xml-signature");
    let mut keys = TrustedKeys::new();
    keys.add_certificate(&STANDARD.decode(certificate("idp-rsa2048.crt")).unwrap()).unwrap();
    for profile in ["saml", "document", "any-form", "shared", "legacy"].map(profile) {
        for name in
            ["unsigned", "no-signature-value", "empty-signature-value", "empty-signature", "signature-value-of-zeros", "no-reference"]
        {
            let octets = std::fs::read(folder.join(format!("{name}.xml"))).unwrap();
            assert!(verdict(&octets, "assertion", &keys, &profile).is_err(), "{name} under {profile:?}");
            // Nor with no keys at all.
            assert!(verdict(&octets, "assertion", &TrustedKeys::new(), &profile).is_err(), "{name} under {profile:?}");
        }
    }
}

#[test]
fn no_end_of_a_signed_document_is_read_beyond() {
    let whole = std::fs::read(corpus("attacks/xml-signature/good-assertion.xml")).unwrap();
    let mut keys = TrustedKeys::new();
    keys.add_pem(&std::fs::read_to_string(corpus("recorded/keys/idp-rsa2048.crt")).unwrap()).unwrap();
    let end = whole.trim_ascii_end().len();
    for length in 0..end {
        // Its own allocation, so that a sanitizer or Miri sees what is read behind it.
        let cut = whole.get(..length).unwrap().to_vec().into_boxed_slice();
        assert!(verdict(&cut, "assertion", &keys, &Profile::SAML).is_err(), "{length}");
    }
    assert!(verdict(&whole, "assertion", &keys, &Profile::SAML).is_ok());
}
