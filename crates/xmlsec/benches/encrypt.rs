//! What encrypting costs beside the cryptography it cannot do without. Prints `encrypt/bare: N` and its like.
//!
//! Both sides are measured in turns, so that a machine that slows down slows both; the medians are compared.
#![expect(clippy::expect_used, reason = "a benchmark without its inputs measures nothing")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{OAEP_SHA1_MGF1SHA1, OaepPrivateDecryptingKey, OaepPublicEncryptingKey, PrivateDecryptingKey};
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use aws_lc_rs::{digest, rand};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_xmlsec::{
    AesSize, Assertions, Canonicalization, Claimed, ContentKey, DecryptionKeys, Document, ElementView, EncryptedForm, EncryptedKeyInfo,
    EncryptedPart, Encryption, Error, FromClaimed, IdentityProvider, Limits, Place, Placement, Profile, Recipient, SignedElement,
    SigningKey, Unsigned, canonicalize,
};

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
const PATH: [(&str, &str); 2] = [("urn:r", "Response"), (SAML, "Assertion")];

fn pem(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name);
    let text = std::fs::read_to_string(path).expect("the corpus holds the key");
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).expect("base64")
}

/// A response whose one assertion has about so many octets.
fn response(octets: usize) -> String {
    let attribute = r#"<saml:Attribute Name="urn:oid:2.5.4.1" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri"><saml:AttributeValue>value of alice@example.org, somewhere</saml:AttributeValue></saml:Attribute>"#;
    let attributes = attribute.repeat(octets / attribute.len() + 1);
    format!(
        r#"<r:Response xmlns:r="urn:r" ID="_r"><saml:Assertion xmlns:saml="{SAML}" ID="_a" Version="2.0"><saml:Issuer>https://idp.example.org</saml:Issuer>{attributes}</saml:Assertion></r:Response>"#
    )
}

fn to<'a>(key: &'a ContentKey, recipients: &'a [Recipient]) -> Encryption<'a> {
    Encryption { part: EncryptedForm::Element, key, key_info: EncryptedKeyInfo::Recipients(recipients), id: None }
}

struct Data(Place);

impl FromClaimed for Data {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        let data = root.child(XENC, "EncryptedData")?;
        data.map(|data| Self(data.place())).ok_or_else(|| root.unreadable("no ciphertext"))
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the time that passes")]
fn timed(work: &dyn Fn()) -> Duration {
    let begin = std::time::Instant::now();
    work();
    begin.elapsed()
}

/// Medians of several pieces of work, done in turns.
fn medians<const N: usize>(rounds: usize, work: [&dyn Fn(); N]) -> [f64; N] {
    let mut times = work.map(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (work, times) in work.iter().zip(times.iter_mut()) {
            times.push(timed(*work));
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times.get(rounds / 2).map_or(0.0, |median| median.as_secs_f64() * 1e6)
    })
}

/// A fresh key, AES-256-GCM, base64 of it, RSA-OAEP of the key: what no encryption of XML can do without.
fn bare_encrypt(octets: &[u8], public: &OaepPublicEncryptingKey) -> (String, Vec<u8>) {
    let (mut key, mut nonce) = ([0; 32], [0; 12]);
    rand::fill(&mut key).expect("random");
    rand::fill(&mut nonce).expect("random");
    let mut sealed = octets.to_vec();
    let sealing = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).expect("a key"));
    sealing.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::empty(), &mut sealed).expect("sealed");
    let mut locked = vec![0; public.ciphertext_size()];
    public.encrypt(&OAEP_SHA1_MGF1SHA1, &key, &mut locked, None).expect("locked");
    (STANDARD.encode(sealed), locked)
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let recipient = [Recipient::from_certificate(&pem("sp-rsa2048.crt")).expect("a certificate")];
    let signing = SigningKey::<IdentityProvider>::from_pkcs8("idp", &pem("idp-rsa2048.key"), None).expect("a key");
    let pair = RsaKeyPair::from_pkcs8(&pem("idp-rsa2048.key")).expect("a key");
    let private = PrivateDecryptingKey::from_pkcs8(&pem("sp-rsa2048.key")).expect("a key");
    let public = OaepPublicEncryptingKey::new(private.public_key()).expect("a key");
    let private = OaepPrivateDecryptingKey::new(private).expect("a key");
    let mut keys = DecryptionKeys::<Assertions>::new();
    keys.add_pkcs8("sp-decryption", &pem("sp-rsa2048.key")).expect("a key");
    let random = SystemRandom::new();

    for size in [1_000, 6_000, 100_000, 1_000_000, 10_000_000] {
        let text = response(size);
        let octets = text.as_bytes();
        let whole = SignedElement::Path(&PATH);
        let document = Document::parse(octets, &Limits::SOAP).expect("well-formed");
        let encrypt = |document: &Document| {
            let key = ContentKey::generate(AesSize::Aes256).expect("random");
            document.encrypt(whole, &to(&key, &recipient)).expect("encrypted")
        };
        let sealed = encrypt(&document);
        let parsed = Document::parse(&sealed, &Limits::SOAP).expect("well-formed");
        let place: Claimed<Data> = parsed.claim().expect("ciphertext");
        let part = EncryptedPart::at(&place.sender_says().0);
        let canonical = canonicalize(octets, &Limits::SOAP, &Canonicalization::EXCLUSIVE).expect("canonical");
        let (value, locked) = bare_encrypt(octets, &public);
        let rounds = (100_000_000 / size).clamp(5, 300);
        let [bare, ours, bare_both, both, bare_back, back] = medians(
            rounds,
            [
                &|| drop(black_box(bare_encrypt(black_box(octets), &public))),
                &|| drop(black_box(encrypt(black_box(&document)))),
                &|| {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    black_box(digest::digest(&digest::SHA256, black_box(&canonical)));
                    pair.sign(&RSA_PKCS1_SHA256, &random, b"SignedInfo", &mut signature).expect("signed");
                    drop(black_box(bare_encrypt(black_box(octets), &public)));
                },
                &|| {
                    let key = ContentKey::generate(AesSize::Aes256).expect("random");
                    let placement = Placement::After(SAML, "Issuer");
                    drop(black_box(document.sign_and_encrypt(whole, placement, &[], &signing, &to(&key, &recipient)).expect("done")));
                },
                &|| {
                    let mut key = vec![0; private.min_output_size()];
                    private.decrypt(&OAEP_SHA1_MGF1SHA1, &locked, &mut key, None).expect("unlocked");
                    black_box(STANDARD.decode(black_box(&value)).expect("base64"));
                    let mut sealed = octets.to_vec();
                    let opening = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.get(..32).unwrap_or_default()).expect("a key"));
                    // Sealing costs what opening does.
                    let nonce = Nonce::assume_unique_for_key([0; 12]);
                    opening.seal_in_place_append_tag(nonce, Aad::empty(), black_box(&mut sealed)).expect("sealed");
                },
                &|| drop(black_box(parsed.decrypt(&part, &keys, &Profile::SAML).expect("decrypted"))),
            ],
        );
        println!(
            "{size} octets: encrypt {ours:.0} us ({:.2} ns an octet), sign and encrypt {both:.0} us, decrypt {back:.0} us",
            ours * 1e3 / text.len() as f64
        );
        println!(
            "{size} octets: encrypt/bare: {:.2}, sign-and-encrypt/bare: {:.2}, decrypt/bare: {:.2}",
            ours / bare,
            both / bare_both,
            back / bare_back
        );
    }
}
