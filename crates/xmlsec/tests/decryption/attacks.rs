//! Hostile ciphertext, made here and kept in `corpus/attacks/xml-encryption/`.
//!
//! Where an attack is about structure, the content key is wrapped with a shared key and the nonce is fixed, so that the files
//! are the same in every run and only the rule in question can refuse them. Blocks of PKCS#1 v1.5 are encrypted by bare
//! arithmetic, to have every wrong padding. `VESTIBULE_WRITE_CORPUS=1` writes the files in a first run.
#![expect(clippy::indexing_slicing, reason = "octets of blocks that this file made")]

use std::path::PathBuf;

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{self, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::iv::FixedLength;
use aws_lc_rs::key_wrap::{self, AesKek, KeyWrap as _};
use serde_json::{Value, json};
use x509_parser::public_key::PublicKey;

use super::*;

const KEK: [u8; 32] = [0x4b; 32];
const CONTENT: [u8; 32] = [0x63; 32];
const AES256_GCM: &str = "http://www.w3.org/2009/xmlenc11#aes256-gcm";
const AES128_CBC: &str = "http://www.w3.org/2001/04/xmlenc#aes128-cbc";
const KW: &str = "http://www.w3.org/2001/04/xmlenc#kw-aes256";
const RSA15: &str = "http://www.w3.org/2001/04/xmlenc#rsa-1_5";
const OAEP: &str = "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p";

fn gcm(plaintext: &str) -> Vec<u8> {
    seal(&AES_256_GCM, &CONTENT, plaintext.as_bytes())
}

fn seal(algorithm: &'static aws_lc_rs::aead::Algorithm, key: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut sealed = plaintext.to_vec();
    let key = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key([0x6e; 12]), Aad::empty(), &mut sealed).unwrap();
    [&[0x6e; 12][..], &sealed].concat()
}

/// AES-128-CBC of octets that are padded already.
fn cbc(key: &[u8], padded: &[u8]) -> Vec<u8> {
    let key = EncryptingKey::cbc(UnboundCipherKey::new(&cipher::AES_128, key).unwrap()).unwrap();
    let mut blocks = padded.to_vec();
    key.less_safe_encrypt(&mut blocks, EncryptionContext::Iv128(FixedLength::from([0x76; 16]))).unwrap();
    [&[0x76; 16][..], &blocks].concat()
}

fn padded(plaintext: &str) -> Vec<u8> {
    let count = 16 - plaintext.len() % 16;
    let mut octets = plaintext.as_bytes().to_vec();
    octets.resize(plaintext.len() + count, 0x7a);
    *octets.last_mut().unwrap() = u8::try_from(count).unwrap();
    octets
}

fn wrapped(content: &[u8]) -> Vec<u8> {
    let mut out = vec![0; content.len() + 8];
    AesKek::new(&key_wrap::AES_256, &KEK).unwrap().wrap(content, &mut out).unwrap();
    out
}

/// The block to the power of 65537, by the recipient's modulus.
fn textbook(block: &[u8]) -> Vec<u8> {
    let der = pem("keys/sp-rsa2048.crt");
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).unwrap();
    let Ok(PublicKey::RSA(public)) = certificate.public_key().parsed() else { unreachable!("an RSA certificate") };
    let modulus = public.modulus.strip_prefix(&[0]).unwrap();
    let subtract = |a: &mut [u8], b: &[u8]| {
        let mut borrow = 0i16;
        for (to, from) in a.iter_mut().zip(b).rev() {
            let value = i16::from(*to) - i16::from(*from) - borrow;
            borrow = i16::from(value < 0);
            *to = u8::try_from(value.rem_euclid(256)).unwrap();
        }
    };
    let add = |a: &mut Vec<u8>, b: &[u8]| {
        let mut carry = 0u16;
        for (to, from) in a.iter_mut().zip(b).rev() {
            let value = u16::from(*to) + u16::from(*from) + carry;
            (*to, carry) = (u8::try_from(value & 255).unwrap(), value >> 8);
        }
        if carry == 1 || a.as_slice() >= modulus {
            subtract(a, modulus);
        }
    };
    let multiply = |a: &[u8], b: &[u8]| {
        let mut product = vec![0; 256];
        for bit in (0..2048).rev() {
            let double = product.clone();
            add(&mut product, &double);
            if b[255 - bit / 8] >> (bit % 8) & 1 == 1 {
                add(&mut product, a);
            }
        }
        product
    };
    let mut power = block.to_vec();
    for _ in 0..16 {
        power = multiply(&power, &power);
    }
    multiply(&power, block)
}

/// PKCS#1 v1.5: 00 02, padding, 00, key.
fn rsa15_block(key: &[u8]) -> Vec<u8> {
    [&[0, 2][..], &vec![0x70; 253 - key.len()], &[0], key].concat()
}

fn method(uri: &str, inside: &str) -> String {
    format!(r#"<xenc:EncryptionMethod Algorithm="{uri}">{inside}</xenc:EncryptionMethod>"#)
}

fn value(octets: &[u8]) -> String {
    format!("<xenc:CipherData><xenc:CipherValue>{}</xenc:CipherValue></xenc:CipherData>", STANDARD.encode(octets))
}

fn key_info(inside: &str) -> String {
    format!(r#"<ds:KeyInfo xmlns:ds="{DS}">{inside}</ds:KeyInfo>"#)
}

fn encrypted_key(attributes: &str, inside: &str) -> String {
    format!(r#"<xenc:EncryptedKey xmlns:xenc="{XENC}"{attributes}>{inside}</xenc:EncryptedKey>"#)
}

fn encrypted_data(attributes: &str, inside: &str) -> String {
    format!(r#"<xenc:EncryptedData xmlns:xenc="{XENC}"{attributes}>{inside}</xenc:EncryptedData>"#)
}

fn response(inside: &str) -> String {
    format!(r#"<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_r" Version="2.0">{inside}</samlp:Response>"#)
}

fn held(inside: &str) -> String {
    format!("<saml:EncryptedAssertion>{inside}</saml:EncryptedAssertion>")
}

fn assertion(id: &str, name: &str, inside: &str) -> String {
    format!(
        r#"<saml:Assertion xmlns:saml="{SAML}" ID="{id}" Version="2.0"><saml:Issuer>https://idp.example.org</saml:Issuer>{inside}<saml:Subject>{name}</saml:Subject></saml:Assertion>"#
    )
}

fn name(name: &str) -> String {
    format!("<saml:NameID>{name}</saml:NameID>")
}

fn signed(document: &str, path: &[(&str, &str)]) -> String {
    let key = SigningKey::<IdentityProvider>::from_pkcs8("idp", &pem("keys/idp-rsa2048.key"), None).unwrap();
    let octets = parse(document.as_bytes()).unwrap().sign_enveloped(SignedElement::Path(path), Placement::First, &[], &key);
    String::from_utf8(octets.unwrap()).unwrap()
}

struct Case {
    name: &'static str,
    /// The attack's line in the list, by number.
    source: &'static str,
    settings: &'static [&'static str],
    expect: &'static str,
    document: String,
}

#[expect(clippy::too_many_lines, reason = "a list")]
fn cases() -> Vec<Case> {
    let clean = assertion("_a", &name("alice@example.org"), "");
    let good = signed(&clean, &[(SAML, "Assertion")]);
    let evil = assertion("_evil", &name("admin@example.org"), "");
    let usual_key = encrypted_key("", &format!("{}{}", method(KW, ""), value(&wrapped(&CONTENT))));
    let element = format!(r#" Type="{XENC}Element""#);
    let data_of = |plaintext: &str| format!("{}{}{}", method(AES256_GCM, ""), key_info(&usual_key), value(&gcm(plaintext)));
    let of = |plaintext: &str| response(&held(&encrypted_data(&element, &data_of(plaintext))));
    let inside = |inside: &str| response(&held(&encrypted_data(&element, inside)));
    let with_info = |info: &str| format!("{}{}{}", method(AES256_GCM, ""), key_info(info), value(&gcm(&good)));
    let with_key = |key: &str| inside(&with_info(key));
    let key_of = |algorithm: &str, octets: &[u8]| with_key(&encrypted_key("", &format!("{}{}", method(algorithm, ""), value(octets))));
    let legacy = |transport: &str, key: &[u8], octets: &[u8]| {
        let key = encrypted_key("", &format!("{}{}", method(transport, ""), value(key)));
        inside(&format!("{}{}{}", method(AES128_CBC, ""), key_info(&key), value(octets)))
    };
    let sealed = cbc(&CONTENT[..16], &padded(&good));
    let rsa15 = |block: &[u8]| legacy(RSA15, &textbook(block), &sealed);
    let good_block = rsa15_block(&CONTENT[..16]);
    let changed = |place: usize, octet: u8| {
        let mut block = good_block.clone();
        block[place] = octet;
        rsa15(&block)
    };
    const OLD: &[&str] = &["legacy_cbc", "legacy_rsa15"];

    let mut cases = Vec::new();
    let mut add = |name, source, settings, expect, document| cases.push(Case { name, source, settings, expect, document });
    add("good", "-", &[][..], "accept", of(&good));
    add("good-cbc-rsa15", "-", OLD, "accept", rsa15(&good_block));
    let id_key = usual_key.replacen("<xenc:EncryptedKey", r#"<xenc:EncryptedKey Id="_k""#, 1);
    let retrieved = |uri: &str, rest: &str, inside: &str| format!(r#"<ds:RetrievalMethod{uri}{rest}>{inside}</ds:RetrievalMethod>"#);
    let beside = |info: &str, key: &str| response(&held(&format!("{}{key}", encrypted_data(&element, &with_info(info)))));
    add("good-key-beside", "-", &[], "accept", beside("", &usual_key));
    let carried = usual_key.replacen("</xenc:EncryptedKey>", "<xenc:CarriedKeyName>n</xenc:CarriedKeyName></xenc:EncryptedKey>", 1);
    add("good-key-by-name", "-", &[], "accept", beside("<ds:KeyName>n</ds:KeyName>", &carried));
    add("good-key-retrieved", "-", &[], "accept", beside(&retrieved(r##" URI="#_k""##, "", ""), &id_key));
    add("key-of-another-name", "46", &[], "reference_refused", beside("<ds:KeyName>other</ds:KeyName>", &carried));

    // 45: encryption is not authentication.
    add("unsigned", "45", &[], "signature_missing", of(&clean));
    add(
        "beside-a-signed-assertion",
        "45",
        &[],
        "ambiguous",
        response(&format!("{good}{}", held(&encrypted_data(&element, &data_of(&evil))))),
    );
    let before = held(&encrypted_data(&element, &data_of(&evil)));
    add("before-a-signed-assertion", "45", &[], "ambiguous", response(&format!("{before}{good}")));
    let advice = assertion("_evil", &name("admin@example.org"), &format!("<saml:Advice>{good}</saml:Advice>"));
    add("signed-one-inside-the-plaintext", "45, 1", &[], "signature_missing", of(&advice));
    let borrowed = good.split_once("<ds:Signature").unwrap().1.split_once("</ds:Signature>").unwrap().0;
    let borrowed = format!("<ds:Signature{borrowed}</ds:Signature>");
    let wrapping = assertion("_evil", &name("admin@example.org"), &borrowed);
    let extension = format!("<samlp:Extensions>{clean}</samlp:Extensions>");
    let around = format!("{extension}{}", held(&encrypted_data(&element, &data_of(&wrapping))));
    add("borrowed-signature", "45, 1", &[], "wrapped", response(&around));
    let whole = signed(&of(&clean), &[(SAMLP, "Response")]);
    add("good-signed-around-the-ciphertext", "45", &[], "accept", whole.clone());
    let (ours, theirs) = (STANDARD.encode(gcm(&clean)), STANDARD.encode(gcm(&evil)));
    add("another-ciphertext-under-the-signature", "45", &[], "digest_mismatch", whole.replace(&ours, &theirs));
    add(
        "id-of-the-plaintext-occurs-outside",
        "45, 33",
        &[],
        "duplicate_id",
        of(&signed(&assertion("_r", &name("admin@example.org"), ""), &[(SAML, "Assertion")])),
    );
    let repeated = signed(&of(&clean.replace("_a", "_r")), &[(SAMLP, "Response")]);
    add("id-of-signed-plaintext-occurs-outside", "45, 33", &[], "duplicate_id", repeated);
    // The content key stands outside what is signed: another key gives another name.
    let id_data = |algorithm: &str, octets: &[u8]| {
        let info = key_info(&retrieved(r##" URI="#_k""##, "", ""));
        let data = encrypted_data(&element, &format!("{}{info}{}", method(algorithm, ""), value(octets)));
        signed(&assertion("_a", &format!("<saml:EncryptedID>{data}</saml:EncryptedID>"), ""), &[(SAML, "Assertion")])
    };
    let outside = |algorithm: &str, octets: &[u8]| format!("{}<samlp:Extensions>{id_key}</samlp:Extensions>", id_data(algorithm, octets));
    let declared = |inside: &str| response(inside);
    let id_name = format!(r#"<saml:NameID xmlns:saml="{SAML}">alice@example.org</saml:NameID>"#);
    add("good-key-outside-the-signature", "45", &[], "accept", declared(&outside(AES256_GCM, &gcm(&id_name))));
    let id_sealed = cbc(&CONTENT[..16], &padded(&id_name));
    add("cbc-key-outside-the-signature", "45", &["legacy_cbc"], "reference_refused", declared(&outside(AES128_CBC, &id_sealed)));
    let swapped =
        declared(&outside(AES256_GCM, &gcm(&id_name))).replace(&STANDARD.encode(wrapped(&CONTENT)), &STANDARD.encode(wrapped(&[1; 32])));
    add("swapped-key-under-signed-ciphertext", "45", &[], "decryption_failed", swapped);

    // 46: nothing is fetched, nothing is transformed.
    for (name, uri) in [
        ("retrieval-http", r#" URI="http://127.0.0.1/key""#),
        ("retrieval-file", r#" URI="file:///etc/hostname""#),
        ("retrieval-relative", r#" URI="key.xml""#),
        ("retrieval-whole-document", r#" URI="""#),
        ("retrieval-without-uri", ""),
        ("retrieval-of-nothing", r##" URI="#_x""##),
        ("retrieval-of-another-element", r##" URI="#_r""##),
        ("retrieval-by-xpointer", r##" URI="#xpointer(id('_k'))""##),
    ] {
        add(name, "46, 31", &[], "reference_refused", beside(&retrieved(uri, "", ""), &id_key));
    }
    let typed = retrieved(r##" URI="#_k""##, r#" Type="http://www.w3.org/2000/09/xmldsig#X509Data""#, "");
    add("retrieval-of-another-type", "46", &[], "reference_refused", beside(&typed, &id_key));
    for (name, uri) in [
        ("retrieval-with-xslt", "http://www.w3.org/TR/1999/REC-xslt-19991116"),
        ("retrieval-with-base64", "http://www.w3.org/2000/09/xmldsig#base64"),
    ] {
        let transforms = format!(r#"<ds:Transforms><ds:Transform Algorithm="{uri}"/></ds:Transforms>"#);
        add(name, "46", &[], "algorithm_refused", beside(&retrieved(r##" URI="#_k""##, "", &transforms), &id_key));
    }
    for (name, uri) in [
        ("cipher-reference-http", "http://127.0.0.1/data"),
        ("cipher-reference-file", "file:///etc/hostname"),
        ("cipher-reference-same-document", "#_r"),
    ] {
        let reference = format!(r#"<xenc:CipherData><xenc:CipherReference URI="{uri}"/></xenc:CipherData>"#);
        add(name, "46, 31", &[], "reference_refused", inside(&format!("{}{}{reference}", method(AES256_GCM, ""), key_info(&usual_key))));
    }
    let key_reference = r#"<dsig11:KeyInfoReference xmlns:dsig11="http://www.w3.org/2009/xmldsig11#" URI="http://127.0.0.1/key"/>"#;
    add("key-info-reference", "46, 31", &[], "reference_refused", with_key(key_reference));
    let agreement = r#"<xenc:AgreementMethod Algorithm="http://www.w3.org/2009/xmlenc11#ECDH-ES"/>"#;
    add("key-agreement", "46", &[], "reference_refused", with_key(agreement));
    add("no-key", "46", &[], "reference_refused", with_key(""));
    let itself = encrypted_key(
        r#" Id="_k""#,
        &format!("{}{}{}", method(KW, ""), key_info(&retrieved(r##" URI="#_k""##, "", "")), value(&wrapped(&CONTENT))),
    );
    add("key-that-refers-to-itself-is-not-followed", "46, 35", &[], "accept", with_key(&itself));
    let foreign = usual_key.replace(XENC, "http://www.w3.org/2001/04/xmlenc");
    add("key-in-a-foreign-namespace", "46, 6", &[], "reference_refused", with_key(&foreign));

    // 47: what is weak needs its concession, and tells nothing.
    add("cbc", "47", &[], "algorithm_refused", rsa15(&good_block));
    add("cbc-without-rsa15", "47", &["legacy_cbc"], "algorithm_refused", rsa15(&good_block));
    add("rsa15-without-cbc", "47", &["legacy_rsa15"], "algorithm_refused", rsa15(&good_block));
    let triple = inside(&format!("{}{}{}", method(&format!("{XENC}tripledes-cbc"), ""), key_info(&usual_key), value(&[0; 64])));
    add("triple-des", "47", &[], "algorithm_refused", triple.clone());
    add("triple-des-of-another-key", "47", &["legacy_3des"], "decryption_failed", triple);
    for (name, uri) in [
        ("unknown-cipher", "http://www.w3.org/2001/04/xmlenc#aes512-cbc"),
        ("cipher-of-another-kind", KW),
        ("cipher-that-is-none", "http://www.w3.org/2001/04/xmlenc#"),
    ] {
        let octets = format!("{}{}{}", method(uri, ""), key_info(&usual_key), value(&gcm(&good)));
        add(name, "47, 27", &[], "algorithm_refused", inside(&octets));
    }
    add("key-wrap-with-triple-des", "47, 27", OLD, "algorithm_refused", key_of(&format!("{XENC}kw-tripledes"), &[0; 40]));
    add("key-transport-that-is-none", "47, 27", OLD, "algorithm_refused", key_of(AES256_GCM, &[0; 40]));
    for (name, inside) in [
        (
            "oaep-with-md5",
            r#"<ds:DigestMethod xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Algorithm="http://www.w3.org/2001/04/xmldsig-more#md5"/>"#,
        ),
        (
            "oaep-with-another-mask",
            r#"<e:MGF xmlns:e="http://www.w3.org/2009/xmlenc11#" Algorithm="http://www.w3.org/2009/xmlenc11#mgf1sha256"/>"#,
        ),
    ] {
        let key = encrypted_key("", &format!("{}{}", method(OAEP, inside), value(&[1; 256])));
        add(name, "47, 27", &[], "algorithm_refused", with_key(&key));
    }
    add("oaep-of-a-wrong-padding", "47", &[], "decryption_failed", key_of(OAEP, &[1; 256]));
    add("oaep-of-another-length", "47", &[], "decryption_failed", key_of(OAEP, &[1; 255]));
    add("oaep-beyond-the-modulus", "47", &[], "decryption_failed", key_of(OAEP, &[0xff; 256]));
    for (name, place, octet) in [
        ("rsa15-first-octet", 0, 1),
        ("rsa15-second-octet", 1, 1),
        ("rsa15-zero-in-padding", 9, 0),
        ("rsa15-zero-later", 200, 0),
        ("rsa15-no-separator", 239, 1),
        ("rsa15-another-key", 255, 1),
    ] {
        add(name, "47", OLD, "decryption_failed", changed(place, octet));
    }
    add("rsa15-shorter-key", "47", OLD, "decryption_failed", rsa15(&rsa15_block(&CONTENT[..15])));
    add("rsa15-longer-key", "47", OLD, "decryption_failed", rsa15(&rsa15_block(&CONTENT[..24])));
    add("rsa15-no-key", "47", OLD, "decryption_failed", rsa15(&rsa15_block(&[])));
    add("rsa15-of-another-length", "47", OLD, "decryption_failed", legacy(RSA15, &[1; 128], &sealed));
    add("rsa15-beyond-the-modulus", "47", OLD, "decryption_failed", legacy(RSA15, &[0xff; 256], &sealed));
    let of_cbc = |blocks: &[u8]| legacy(RSA15, &textbook(&good_block), blocks);
    let last = |octet: u8| {
        let mut octets = padded(&good);
        *octets.last_mut().unwrap() = octet;
        of_cbc(&cbc(&CONTENT[..16], &octets))
    };
    add("cbc-padding-of-0", "47", OLD, "decryption_failed", last(0));
    add("cbc-padding-of-17", "47", OLD, "decryption_failed", last(17));
    add("cbc-padding-of-255", "47", OLD, "decryption_failed", last(255));
    add("cbc-no-xml", "47", OLD, "decryption_failed", of_cbc(&cbc(&CONTENT[..16], &padded("no element at all"))));
    add("cbc-nothing", "47, 36", OLD, "decryption_failed", of_cbc(&cbc(&CONTENT[..16], &[16; 16])));
    add("cbc-only-a-vector", "47, 36", OLD, "malformed", of_cbc(&[0; 16]));
    add("cbc-half-a-block", "47, 36", OLD, "malformed", of_cbc(&sealed[..sealed.len() - 8]));
    let mut tag = gcm(&good);
    *tag.last_mut().unwrap() ^= 1;
    let octets = |octets: &[u8]| inside(&format!("{}{}{}", method(AES256_GCM, ""), key_info(&usual_key), value(octets)));
    add("gcm-wrong-tag", "47", &[], "decryption_failed", octets(&tag));
    add("gcm-short-tag", "47", &[], "decryption_failed", octets(&tag[..tag.len() - 4]));
    add("gcm-too-short", "47, 36", &[], "malformed", octets(&tag[..27]));
    add("wrong-wrap", "47", &[], "decryption_failed", key_of(KW, &[7; 40]));
    add("wrapped-key-of-another-length", "47", &[], "decryption_failed", key_of(KW, &wrapped(&CONTENT[..16])));
    add("wrapped-key-too-short", "47, 36", &[], "decryption_failed", key_of(KW, &[7; 8]));
    let smaller = format!(
        "{}{}{}",
        method("http://www.w3.org/2009/xmlenc11#aes128-gcm", ""),
        key_info(&usual_key),
        value(&seal(&AES_128_GCM, &CONTENT[..16], good.as_bytes()))
    );
    add("key-longer-than-the-cipher-s", "47", &[], "decryption_failed", inside(&smaller));

    // What is inside may not be more than one element, and may not get out.
    for (name, source, plaintext) in [
        ("plaintext-breaks-out", "45, 9", format!("{good}</saml:EncryptedAssertion>{evil}<saml:EncryptedAssertion>")),
        ("plaintext-closes-the-holder", "45", "</saml:EncryptedAssertion>".to_owned()),
        ("plaintext-closes-the-wrapper", "45", format!("</x>{good}<x>")),
        ("plaintext-leaves-one-open", "45", format!("{good}<saml:Assertion>")),
        ("plaintext-opens-a-comment", "45", format!("{good}<!--")),
        ("plaintext-opens-cdata", "45", format!("{good}<![CDATA[")),
        ("plaintext-of-two-elements", "45, 9", format!("{good}{evil}")),
        ("plaintext-with-text", "45", format!("{good}text")),
        ("plaintext-with-comment", "45", format!("<!-- -->{good}")),
        ("plaintext-with-processing-instruction", "45", format!("<?x?>{good}")),
        ("plaintext-without-element", "45", "text".to_owned()),
        ("plaintext-empty", "36", String::new()),
        ("plaintext-declares-xml", "30", format!("<?xml version=\"1.0\"?>{good}")),
        ("plaintext-doctype", "30", format!("<!DOCTYPE x [<!ENTITY a 'b'>]>{good}")),
        ("plaintext-entity", "30", good.replace("alice@", "&a;@")),
        ("plaintext-undeclared-prefix", "36", "<u:Assertion/>".to_owned()),
        ("plaintext-deep", "35", format!("{}{}", "<a>".repeat(100), "</a>".repeat(100))),
        ("plaintext-compressed", "34", "\u{1f}\u{8b}\u{8}".to_owned()),
    ] {
        add(name, source, &[], "decryption_failed", of(&plaintext));
    }
    add("plaintext-not-utf8", "30", &[], "decryption_failed", octets(&seal(&AES_256_GCM, &CONTENT, &[b'<', 0xff, b'/', b'>'])));
    for (name, kind, expect) in [
        ("type-of-something-else", " Type=\"http://www.w3.org/2009/xmlenc11#EXI\"", "algorithm_refused"),
        ("type-of-a-key", " Type=\"http://www.w3.org/2001/04/xmlenc#EncryptedKey\"", "algorithm_refused"),
        ("type-absent-is-an-element", "", "accept"),
        ("attribute-unknown", " type=\"x\"", "malformed"),
    ] {
        add(name, "46", &[], expect, response(&held(&encrypted_data(kind, &data_of(&good)))));
    }

    // 34, 35: amounts.
    let deeper = |plaintext: &str| encrypted_data(&element, &data_of(plaintext));
    add("good-twice-inside", "-", &[], "accept", response(&held(&deeper(&deeper(&good)))));
    add("three-times-inside", "34, 35", &[], "limits", response(&held(&deeper(&deeper(&deeper(&good))))));
    add("many-keys", "35", &[], "limits", with_key(&usual_key.repeat(5)));
    add("many-ciphertexts", "35", &[], "limits", response(&held(&deeper(&clean)).repeat(17)));

    // 36: markup.
    let (method_, info, data) = (method(AES256_GCM, ""), key_info(&usual_key), value(&gcm(&good)));
    for (name, content) in [
        ("no-method", format!("{info}{data}")),
        ("no-cipher-data", format!("{method_}{info}")),
        ("empty-data", String::new()),
        ("empty-cipher-data", format!("{method_}{info}<xenc:CipherData/>")),
        ("empty-cipher-value", format!("{method_}{info}{}", value(&[]))),
        ("two-cipher-data", format!("{method_}{info}{data}{data}")),
        ("two-methods", format!("{method_}{method_}{info}{data}")),
        ("two-key-infos", format!("{method_}{info}{info}{data}")),
        ("method-without-algorithm", format!("<xenc:EncryptionMethod/>{info}{data}")),
        ("method-with-content", format!("{}{info}{data}", method(AES256_GCM, "<x/>"))),
        ("text-between", format!("{method_}{info}text{data}")),
        ("comment-in-cipher-value", format!("{method_}{info}{}", data.replacen("<xenc:CipherValue>", "<xenc:CipherValue><!-- -->", 1))),
        ("element-in-cipher-value", format!("{method_}{info}{}", data.replacen("<xenc:CipherValue>", "<xenc:CipherValue><x/>", 1))),
        ("no-base64", format!("{method_}{info}{}", data.replacen("<xenc:CipherValue>", "<xenc:CipherValue>*", 1))),
        ("foreign-attribute", format!("{method_}{info}{}", data.replacen("<xenc:CipherData>", "<xenc:CipherData x=\"\">", 1))),
    ] {
        add(name, "36", &[], "malformed", inside(&content));
    }
    let twice = encrypted_key("", &format!("{}{}{}", method(KW, ""), value(&wrapped(&CONTENT)), value(&wrapped(&CONTENT))));
    add("key-of-two-values", "36", &[], "malformed", with_key(&twice));
    add("key-without-content", "36", &[], "malformed", with_key(&encrypted_key("", "")));
    cases
}

fn folder() -> PathBuf {
    corpus().join("../attacks/xml-encryption")
}

fn manifest_of(cases: &[Case]) -> String {
    let line = |case: &Case| {
        json!({
            "file": format!("{}.xml", case.name), "attack": case.source, "settings": case.settings, "reason": case.expect,
            "trust_cert": "keys/idp-rsa2048.crt", "decrypt_key": "keys/sp-rsa2048.key",
        })
    };
    let lines: Vec<String> = cases.iter().map(|case| format!("  {}", line(case))).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

#[test]
fn the_corpus_is_what_this_test_makes() {
    let (cases, folder) = (cases(), folder());
    if std::env::var_os("VESTIBULE_WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for case in &cases {
            std::fs::write(folder.join(format!("{}.xml", case.name)), &case.document).unwrap();
        }
        std::fs::write(folder.join("manifest.json"), manifest_of(&cases)).unwrap();
    }
    for case in &cases {
        let kept = std::fs::read_to_string(folder.join(format!("{}.xml", case.name))).unwrap();
        assert!(kept == case.document, "{} differs", case.name);
    }
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    assert_eq!(value(&std::fs::read_to_string(folder.join("manifest.json")).unwrap()), value(&manifest_of(&cases)));
}

#[test]
fn every_attack_is_refused_for_its_reason() {
    let folder = folder();
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let entries = manifest.as_array().unwrap();
    let mut wrong = Vec::new();
    for entry in entries {
        let word = |name: &str| entry[name].as_str().unwrap();
        let octets = std::fs::read(folder.join(word("file"))).unwrap();
        let mut trusted = TrustedKeys::new();
        trusted.add_certificate(&pem(word("trust_cert"))).unwrap();
        let mut keys = keys(word("decrypt_key"));
        keys.add_shared("sp-decryption", "kek", &KEK).unwrap();
        let profile = profile(Profile::SAML, entry["settings"].as_array().unwrap().iter().filter_map(Value::as_str));
        let found = judge(&octets, &trusted, &keys, &profile);
        let fine = match &found {
            Ok(name) => word("reason") == "accept" && name.as_deref() == Some("alice@example.org"),
            // Every failure behind a key is this one value, which holds nothing.
            Err(error) if word("reason") == "decryption_failed" => *error == Error::DecryptionFailed,
            Err(error) => error.reason() == word("reason"),
        };
        if !fine {
            wrong.push(format!("{}: {found:?}, expected {}", word("file"), word("reason")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(entries.len() >= 100, "{}", entries.len());
}

#[test]
fn no_changed_octet_gives_another_name() {
    let mut trusted = TrustedKeys::new();
    trusted.add_certificate(&pem("keys/idp-rsa2048.crt")).unwrap();
    let mut keys = DecryptionKeys::new();
    keys.add_shared("sp-decryption", "kek", &KEK).unwrap();
    let (mut refused, mut accepted) = (0, 0);
    for name in ["good", "good-key-beside", "good-signed-around-the-ciphertext", "good-key-outside-the-signature"] {
        let octets = std::fs::read(folder().join(format!("{name}.xml"))).unwrap();
        for place in 0..octets.len() {
            let mut changed = octets.clone();
            changed[place] ^= 1;
            match judge(&changed, &trusted, &keys, &Profile::SAML) {
                Ok(name) => {
                    assert_eq!(name.as_deref(), Some("alice@example.org"), "octet {place}");
                    accepted += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    // What neither a signature nor a tag covers may change: names around it, a recipient's hints.
    assert!(refused > 5 * accepted, "{refused} refused, {accepted} accepted");
}
