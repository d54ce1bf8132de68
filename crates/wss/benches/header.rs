//! What a header costs beside the cryptography it cannot do without. Prints `verify/bare: N` and its like. With
//! `VESTIBULE_BENCH_MESSAGES=FOLDER` it writes the messages there, for `bench/wss`. The figures count for what is shipped:
//! `cargo bench --profile dist -p vestibule-wss --bench header`.
//!
//! Both sides are measured in turns, so that a machine that slows down slows both; the medians are compared.
#![expect(clippy::expect_used, reason = "a benchmark without its inputs measures nothing")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use vestibule_saml::{AssertionContent, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, NameId, Subject, Version};
use vestibule_soap::Target;
use vestibule_wss::{
    Assertion, AssertionReference, CertificateStore, Channel, Concessions, Consumed, Demand, Header, KeyReference, Lifetime, Message,
    MustUnderstand, Part, Randomness, Rules, SignWith, Token, TokenKind, Window,
};
use vestibule_xmlsec::{Fragment, Limits, SigningKey, WebServices};

fn der(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name);
    let text = std::fs::read_to_string(path).expect("the corpus holds the key");
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).expect("base64")
}

/// A message whose Body has about so many octets.
fn message(octets: usize) -> String {
    let item = "<o:item><o:sku>4711</o:sku><o:count>7</o:count></o:item>";
    let items = item.repeat(octets / item.len() + 1);
    format!(
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><o:Order xmlns:o=\"urn:orders\">{items}</o:Order></s:Body></s:Envelope>"
    )
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the time that passes")]
fn timed(work: &dyn Fn()) -> Duration {
    let begin = std::time::Instant::now();
    work();
    begin.elapsed()
}

/// Others, too, read what is written here, and they look at their clocks.
#[expect(clippy::disallowed_methods, reason = "a benchmark is run now")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The median of each in microseconds, measured in turns.
fn medians<const N: usize>(rounds: usize, works: [&dyn Fn(); N]) -> [f64; N] {
    let mut times: [Vec<Duration>; N] = std::array::from_fn(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (times, work) in times.iter_mut().zip(works) {
            times.push(timed(work));
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        times.get(times.len() / 2).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    })
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let now = now();
    let messages = std::env::var_os("VESTIBULE_BENCH_MESSAGES").map(PathBuf::from);
    let certificate = der("client-rsa2048.crt");
    let key = SigningKey::<WebServices>::from_pkcs8("ws-security", &der("client-rsa2048.key"), Some(&certificate)).expect("a key");
    let pair = RsaKeyPair::from_pkcs8(&der("client-rsa2048.key")).expect("a key");
    let random = SystemRandom::new();
    // What a SignedInfo over two parts has.
    let info = vec![b'x'; 900];
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &random, &info, &mut signature).expect("signed");
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref().to_vec());
    let mut certificates = CertificateStore::new();
    certificates.know(&certificate).expect("a certificate");
    let rules = Rules {
        role: &Target::Ultimate,
        demand: Demand { tokens: &[TokenKind::X509], parts: &[] },
        window: Window::default(),
        concessions: Concessions::NONE,
        channel: Channel::Protected { client: None, certificate: None },
        certificates: &certificates,
        issuers: &[],
        audience: "",
        recipients: &[],
        decryption: None,
    };
    for size in [4_000, 100_000, 1_000_000] {
        let plain = message(size);
        let limits = Limits { size: 4 << 20, ..Limits::SOAP };
        let read = Message::read(plain.as_bytes(), &limits).expect("a message");
        let sign =
            SignWith { key: &key, certificate: &certificate, parts: &[Part::Body, Part::Timestamp], reference: KeyReference::Direct };
        let sealed = header(Token::Nothing, Some(sign)).write(&read, &limits, now, &Randomness([7; 32])).expect("signed");
        if let Some(folder) = &messages {
            std::fs::write(folder.join(format!("{size}.xml")), &sealed).expect("written");
        }
        let [bare, ours] = medians(
            (40_000_000 / size).clamp(20, 1000),
            [
                &|| {
                    black_box(digest(&SHA256, black_box(plain.as_bytes())));
                    black_box(digest(&SHA256, black_box(&info)));
                    public.verify(black_box(&info), &signature).expect("good");
                },
                &|| {
                    let message = Message::read(black_box(&sealed), &limits).expect("a message");
                    drop(black_box(message.verify(&rules, now).expect("good")));
                },
            ],
        );
        let rate = size as f64 / ours;
        println!("{size} octets: verify {ours:.0} us ({rate:.0} MB/s), bare {bare:.0} us; verify/bare: {:.2}", ours / bare);
    }

    let ec = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &der("idp-ec256.key")).expect("a key");
    let signing = SigningKey::<WebServices>::from_pkcs8("ws-security", &der("idp-ec256.key"), None).expect("a key");
    let content = AssertionContent {
        version: Version::Saml20,
        id: "_a".to_owned(),
        issuer: "https://gateway.example".to_owned(),
        issuer_format: None,
        issue_instant: now,
        subject: Some(Subject {
            name_id: Some(NameId::new("alice", "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified")),
            confirmations: vec![Confirmation {
                holder_certificates: vec![certificate.clone()],
                ..Confirmation::of(ConfirmationMethod::HolderOfKey)
            }],
        }),
        conditions: Some(Conditions { audiences: vec![vec!["urn:b".to_owned()]], ..Conditions::default() }),
        authn: vec![AuthnStatement::new(now, "urn:oasis:names:tc:SAML:2.0:ac:classes:X509")],
        attributes: Vec::new(),
    };
    let unsigned = content.to_xml().expect("written");
    let plain = message(4_000);
    let read = Message::read(plain.as_bytes(), &Limits::SOAP).expect("a message");
    let kept = content.signed(&signing).expect("signed");
    let token = |xml: &Fragment| {
        let assertion = Assertion { xml, id: "_a", version: Version::Saml20, reference: AssertionReference::Direct };
        drop(black_box(header(Token::Saml(assertion), None).write(&read, &Limits::SOAP, now, &Randomness([7; 32])).expect("written")));
    };
    let [bare, ours, again] = medians(
        1000,
        [
            &|| {
                black_box(digest(&SHA256, black_box(unsigned.as_bytes())));
                black_box(ec.sign(&random, black_box(&info)).expect("signed"));
            },
            &|| token(&content.signed(&signing).expect("signed")),
            &|| token(&kept),
        ],
    );
    println!("assertion of a holder: produce {ours:.0} us, kept {again:.0} us, bare {bare:.0} us; produce/bare: {:.2}", ours / bare);
}

fn header<'a>(token: Token<'a>, sign: Option<SignWith<'a>>) -> Header<'a> {
    Header {
        role: &Target::Ultimate,
        must_understand: MustUnderstand::Omitted,
        consumed: Consumed::Kept,
        lifetime: Lifetime::For(SignedDuration::from_secs(300)),
        token,
        sign,
        encrypt: None,
    }
}
