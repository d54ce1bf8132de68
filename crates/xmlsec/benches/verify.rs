//! What verifying costs beside the cryptography it cannot do without. Prints `verify/bare: N`.
//!
//! Both sides are measured in turns, so that a machine that slows down slows both; the medians are compared. On a busy machine
//! our own code loses more to its neighbours than the multiplications do: there the fastest rounds say more.
#![expect(clippy::expect_used, reason = "a benchmark without its inputs measures nothing")]

use std::hint::black_box;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_xmlsec::{
    Canonicalization, Document, IdentityProvider, KeyInfo, Limits, Part, Placement, Profile, SignedElement, Signing, SigningKey,
    TrustedKeys, canonicalize,
};

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const PATH: [(&str, &str); 2] = [(SAMLP, "Response"), (SAML, "Assertion")];
const ROUNDS: usize = 400;

fn pem(name: &str) -> Vec<u8> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name);
    let text = std::fs::read_to_string(path).expect("the corpus holds the key");
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).expect("base64")
}

/// A response of the size that identity providers send: twelve attributes, a certificate in `KeyInfo`, a prefix list.
fn response() -> String {
    let attributes: String = (0..12)
        .map(|n| format!(r#"<saml:Attribute Name="urn:oid:2.5.4.{n}" NameFormat="urn:oasis:names:tc:SAML:2.0:attrname-format:uri" FriendlyName="attribute{n}"><saml:AttributeValue xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="xs:string">value {n} of alice@example.org</saml:AttributeValue></saml:Attribute>"#))
        .collect();
    format!(
        r#"<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="_r" Version="2.0" IssueInstant="2026-03-01T12:00:00Z" Destination="https://gw.example.com/saml/acs" InResponseTo="_q"><saml:Issuer>https://idp.example.org/saml/metadata</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion ID="_a" Version="2.0" IssueInstant="2026-03-01T12:00:00Z"><saml:Issuer>https://idp.example.org/saml/metadata</saml:Issuer><saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">alice@example.org</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="2026-03-01T12:05:00Z" Recipient="https://gw.example.com/saml/acs" InResponseTo="_q"/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="2026-03-01T11:59:30Z" NotOnOrAfter="2026-03-01T12:05:00Z"><saml:AudienceRestriction><saml:Audience>https://gw.example.com/saml/sp</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="2026-03-01T12:00:00Z" SessionIndex="_s"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement>{attributes}</saml:AttributeStatement></saml:Assertion></samlp:Response>"#
    )
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures the time that passes")]
fn timed(work: impl Fn()) -> Duration {
    let begin = std::time::Instant::now();
    (0..8).for_each(|_| work());
    begin.elapsed() / 8
}

/// Several pieces of work, done in turns: the median and the fastest round of each.
fn rounds<const N: usize>(rounds: usize, work: [&dyn Fn(); N]) -> [(f64, f64); N] {
    let mut times = work.map(|_| Vec::with_capacity(rounds));
    for _ in 0..rounds {
        for (work, times) in work.iter().zip(times.iter_mut()) {
            times.push(timed(work));
        }
    }
    times.map(|mut times| {
        times.sort_unstable();
        let at = |place: usize| times.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e6);
        (at(rounds / 2), at(0))
    })
}

fn medians<const N: usize>(count: usize, work: [&dyn Fn(); N]) -> [f64; N] {
    rounds(count, work).map(|(median, _)| median)
}

#[expect(clippy::print_stdout, reason = "the result")]
fn main() {
    let certificate = pem("idp-rsa2048.crt");
    let mut keys = TrustedKeys::new();
    let id = keys.add_certificate(&certificate).expect("a certificate");
    let key = SigningKey::<IdentityProvider>::from_pkcs8("idp", &pem("idp-rsa2048.key"), Some(&certificate)).expect("a key");
    assert_eq!(key.id(), id);
    let asked: Vec<String> = std::env::args().collect();
    let asked = |word: &str| asked.iter().any(|argument| argument == word);
    if asked("memory") {
        return memory(&key, &keys);
    }
    if asked("growth") {
        return growth();
    }
    if asked("large") {
        return large(&key, &keys);
    }
    let unsigned = Document::parse(response().as_bytes(), &Limits::MESSAGE).expect("well-formed");
    let signed = unsigned.sign_enveloped(SignedElement::Path(&PATH), Placement::After(SAML, "Issuer"), &["xs"], &key).expect("signed");

    let verify = || {
        let document = Document::parse(black_box(&signed), &Limits::MESSAGE).expect("well-formed");
        document.verify(SignedElement::Path(&PATH), &keys, &Profile::SAML).expect("verified")
    };
    let covered = verify().canonical().expect("canonical");

    // The bare operations: one RSA verification with a parsed key over the octets of SignedInfo, SHA-256 of what is covered.
    let text = String::from_utf8_lossy(&signed).into_owned();
    let part = |from: &str, to: &str| text.split_once(from).and_then(|(_, rest)| rest.split_once(to)).map(|(part, _)| part.to_owned());
    let info = part("<ds:SignedInfo>", "</ds:SignedInfo>").expect("signed info");
    let info = format!("<ds:SignedInfo xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">{info}</ds:SignedInfo>");
    let value = STANDARD.decode(part("<ds:SignatureValue>", "</ds:SignatureValue>").expect("value")).expect("base64");
    let (_, spki) = x509_parser::parse_x509_certificate(&certificate)
        .map(|(rest, c)| (rest, c.tbs_certificate.subject_pki.raw.to_vec()))
        .expect("spki");
    let parsed = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, &spki).expect("public key");
    parsed.verify_sig(info.as_bytes(), &value).expect("the bare signature is good");

    let read = Document::parse(&signed, &Limits::MESSAGE).expect("well-formed");
    let verified = verify();
    let measured = rounds(
        ROUNDS,
        [
            &|| {
                black_box(digest::digest(&digest::SHA256, black_box(&covered)));
                parsed.verify_sig(black_box(info.as_bytes()), black_box(&value)).expect("good");
            },
            &|| drop(black_box(verify())),
            &|| drop(black_box(Document::parse(black_box(&signed), &Limits::MESSAGE))),
            &|| drop(black_box(read.verify(SignedElement::Path(&PATH), &keys, &Profile::SAML))),
            &|| drop(black_box(verified.canonical())),
        ],
    );
    let [bare, all, parse, rest, write] = measured.map(|(median, _)| median);
    let [least_bare, least, least_parse, least_rest, least_write] = measured.map(|(_, fastest)| fastest);
    println!("response: {} octets, {} covered", signed.len(), covered.len());
    println!("bare {bare:.1} us, parse {parse:.1} us, parse and verify {all:.1} us; verify alone {rest:.1} us, canonicalize {write:.1} us");
    println!("fastest: {least_bare:.1}, {least_parse:.1}, {least:.1}; {least_rest:.1}, {least_write:.1} us");
    println!("verify/bare: {:.2} (fastest rounds: {:.2})", all / bare, least / least_bare);

    let [bare_sign, sign] = medians(
        ROUNDS / 10,
        [
            &|| {
                black_box(digest::digest(&digest::SHA256, black_box(&covered)));
                drop(black_box(key.sign_detached(black_box(info.as_bytes()))));
            },
            &|| {
                let document = Document::parse(black_box(response().as_bytes()), &Limits::MESSAGE).expect("well-formed");
                drop(black_box(document.sign_enveloped(SignedElement::Path(&PATH), Placement::After(SAML, "Issuer"), &["xs"], &key)));
            },
        ],
    );
    println!("sign/bare: {:.2} ({sign:.0} us, {bare_sign:.0} us; reading the document and hashing included)", sign / bare_sign);
    // `cargo bench -p vestibule-xmlsec -- response` stops here.
    if asked("response") {
        return;
    }
    peers(&signed, all);
    large(&key, &keys);
    growth();
}

const SOAP: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const BODY: [(&str, &str); 2] = [(SOAP, "Envelope"), (SOAP, "Body")];
const SIGNATURE: [(&str, &str); 3] = [(SOAP, "Envelope"), (SOAP, "Header"), ("http://www.w3.org/2000/09/xmldsig#", "Signature")];

/// A signed envelope with so many octets of orders, three nodes and 280 octets each.
fn envelope(size: usize, key: &SigningKey<IdentityProvider>) -> Vec<u8> {
    let item = format!("<o:item xmlns:o=\"urn:orders\" n=\"7\"><o:name>{}</o:name></o:item>", "orders of alice ".repeat(13));
    let items = item.repeat(size / item.len());
    let text = format!(
        r#"<s:Envelope xmlns:s="{SOAP}"><s:Header></s:Header><s:Body xmlns:u="http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd" u:Id="b">{items}</s:Body></s:Envelope>"#
    );
    let document = Document::parse(text.as_bytes(), &Limits::SOAP).expect("well-formed");
    let parts = [Part::Element(SignedElement::Path(&BODY), &[])];
    let into = SignedElement::Path(&[(SOAP, "Envelope"), (SOAP, "Header")]);
    let signing = Signing { parts: &parts, into, placement: Placement::First, key_info: KeyInfo::Nothing, profile: &Profile::ANY_FORM };
    document.sign(&signing, key).expect("signed")
}

/// Signed bodies: what canonicalizing into the hash costs beside the hash alone.
#[expect(clippy::print_stdout, reason = "the result")]
fn large(key: &SigningKey<IdentityProvider>, keys: &TrustedKeys) {
    for size in [1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        let signed = envelope(size, key);
        let document = Document::parse(&signed, &Limits::SOAP).expect("well-formed");
        let verify = || document.verify_parts(SignedElement::Path(&SIGNATURE), keys, &Profile::ANY_FORM).expect("verified");
        let covered = verify().first().map(|part| part.canonical().expect("canonical")).expect("a part");
        // The same signature over a body of nothing: what does not grow.
        let small = Document::parse(&envelope(0, key), &Limits::SOAP).expect("well-formed");
        let measured = rounds(
            (40_000_000 / size).clamp(6, 400),
            [
                &|| {
                    black_box(digest::digest(&digest::SHA256, black_box(&covered)));
                },
                &|| drop(black_box(verify())),
                &|| drop(black_box(small.verify_parts(SignedElement::Path(&SIGNATURE), keys, &Profile::ANY_FORM))),
                &|| drop(black_box(Document::parse(black_box(&signed), &Limits::SOAP))),
            ],
        );
        let [hash, all, fixed, parse] = measured.map(|(median, _)| median);
        let [least_hash, least, least_fixed, least_parse] = measured.map(|(_, fastest)| fastest);
        println!(
            "body of {size}, fastest rounds: {:.2} of the hash, verify {:.2} and parse {:.2} ns an octet",
            (least - least_fixed) / least_hash,
            (least - least_fixed) * 1e3 / signed.len() as f64,
            least_parse * 1e3 / signed.len() as f64
        );
        println!(
            "body of {size}: SHA-256 {hash:.0} us, canonicalize and hash {:.0} us ({:.2} of the hash), parse {:.2} ns an octet",
            all - fixed,
            (all - fixed) / hash,
            parse * 1e3 / signed.len() as f64
        );
    }
}

/// Documents that grow in one direction: the cost of an octet has to stay what it is.
#[expect(clippy::print_stdout, reason = "the result")]
fn growth() {
    let limits =
        Limits { size: usize::MAX, depth: usize::MAX, nodes: usize::MAX, text: usize::MAX, canonical: usize::MAX, ..Limits::MESSAGE };
    let attributes: String = (0..60).map(|n| format!(" attribute{n}='{n}'")).collect();
    let namespaces: String = (0..60).map(|n| format!(" xmlns:p{n}='urn:{n}'")).collect();
    let used: String = (0..60).map(|n| format!(" p{n}:a='{n}'")).collect();
    let shapes: [(&str, &dyn Fn(usize) -> String); 6] = [
        ("deep", &|size| format!("{}{}", "<a>".repeat(size / 7), "</a>".repeat(size / 7))),
        ("wide", &|size| format!("<a>{}</a>", "<b/>".repeat(size / 4))),
        ("attributes", &|size| format!("<a>{}</a>", format!("<b{attributes}/>").repeat(size / (attributes.len() + 4)))),
        ("namespaces", &|size| format!("<a>{}</a>", format!("<b{namespaces}{used}/>").repeat(size / (namespaces.len() + used.len() + 4)))),
        ("names", &|size| format!("<a>{}</a>", (0..size / 24).map(|n| format!("<b xmlns='urn:{n:08}'/>")).collect::<String>())),
        ("text", &|size| format!("<a>{}</a>", "text &amp; ".repeat(size / 11))),
    ];
    for (name, shape) in shapes {
        let costs = [1_000, 10_000, 100_000, 1_000_000, 10_000_000].map(|size| {
            let text = shape(size);
            let [parse, both] = rounds(
                (1_000_000 / size).clamp(4, 100),
                [&|| drop(black_box(Document::parse(black_box(text.as_bytes()), &limits))), &|| {
                    drop(black_box(canonicalize(black_box(text.as_bytes()), &limits, &Canonicalization::EXCLUSIVE)))
                }],
            )
            .map(|(_, fastest)| fastest);
            let each = |cost: f64| cost * 1e3 / text.len() as f64;
            format!("{:.1}+{:.1}", each(parse), each(both - parse))
        });
        println!("{name}, fastest rounds: parse + canonicalize in ns an octet at 1 KB … 10 MB: {}", costs.join("  "));
    }
}

/// How much a document of 1 MB takes at most while it is read and verified, its received octets included. Another process
/// makes it, so that nothing is left over here.
#[expect(clippy::print_stdout, reason = "the result")]
fn memory(key: &SigningKey<IdentityProvider>, keys: &TrustedKeys) {
    let path = std::env::temp_dir().join("vestibule-bench-memory.xml");
    if std::env::args().any(|argument| argument == "make") {
        return std::fs::write(&path, envelope(1_000_000, key)).expect("a folder for temporary files");
    }
    let this = std::env::current_exe().expect("a path");
    assert!(std::process::Command::new(this).args(["--bench", "memory", "make"]).status().expect("runs").success());
    let before = peak();
    let octets = std::fs::read(&path).expect("was written");
    let length = octets.len();
    let document = Document::parse_owned(octets, &Limits::SOAP).expect("well-formed");
    drop(document.verify_parts(SignedElement::Path(&SIGNATURE), keys, &Profile::ANY_FORM).expect("verified"));
    let most = peak() - before;
    println!("memory/document: {:.2} ({most} KiB for {} KiB)", most as f64 * 1024.0 / length as f64, length / 1024);
    drop(std::fs::remove_file(&path));
}

/// The most memory this process had, in KiB; 0 where nobody says so.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok()).unwrap_or(0)
}

/// The same document verified again and again by others, where they are installed: the xmlsec library and signxml, through
/// `VESTIBULE_PYTHON`. Reading the document is included everywhere, trusted keys are read once.
#[expect(clippy::print_stdout, reason = "the result")]
fn peers(signed: &[u8], ours: f64) {
    const PROGRAM: &str = r#"
import sys, time
document, certificate = open(sys.argv[1], "rb").read(), open(sys.argv[2], "rb").read()
def measure(name, once, rounds):
    once()
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        once()
        times.append(time.perf_counter() - begin)
    print(name, sorted(times)[rounds // 2] * 1e6)
try:
    import xmlsec
    from lxml import etree
    key = xmlsec.Key.from_memory(certificate, xmlsec.KeyFormat.CERT_PEM)
    def library():
        root = etree.fromstring(document)
        xmlsec.tree.add_ids(root, ["ID"])
        context = xmlsec.SignatureContext()
        context.key = key
        context.verify(root.find(".//{http://www.w3.org/2000/09/xmldsig#}Signature"))
    measure("xmlsec", library, 400)
except ImportError:
    pass
try:
    import signxml
    text = certificate.decode()
    measure("signxml", lambda: signxml.XMLVerifier().verify(document, x509_cert=text, id_attribute="ID"), 20)
except ImportError:
    pass
"#;
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let path = std::env::temp_dir().join("vestibule-bench-response.xml");
    std::fs::write(&path, signed).expect("a folder for temporary files");
    let certificate = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys/idp-rsa2048.crt");
    let output = std::process::Command::new(python).args(["-c", PROGRAM]).args([&path, &certificate]).output();
    let answer = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    for line in answer.lines() {
        if let Some((name, Ok(theirs))) = line.split_once(' ').map(|(name, cost)| (name, cost.parse::<f64>())) {
            println!("{name}: {theirs:.0} us, {:.1} times ours", theirs / ours);
        }
    }
    drop(std::fs::remove_file(&path));
}
