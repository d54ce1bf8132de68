//! The same octets and the same verdicts as independent implementations.
//!
//! lxml (libxml2) canonicalizes ten thousand random documents in one process; xmlsec1 verifies what we sign, and we verify
//! what it signs. Without them the tests say SKIPPED, or fail where `VESTIBULE_PEERS=required`.
#![expect(clippy::unwrap_used, clippy::print_stderr, reason = "a test says what it expects by unwrapping it")]

use std::path::PathBuf;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_xmlsec::{
    Canonicalization, Document, IdentityProvider, Limits, Placement, Profile, SignedElement, SigningKey, TrustedKeys, canonicalize,
};

mod random;

use random::{PREFIXES, Python, Random, document, skipped};

const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const DOCUMENTS: usize = 10_000;

/// Python with lxml, one line in (JSON), one line out (base64).
const CANONICALIZE: &str = r#"
import sys, json, base64
from lxml import etree
for line in sys.stdin:
    job = json.loads(line)
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=False)
    tree = etree.ElementTree(etree.fromstring(base64.b64decode(job["document"]), parser))
    octets = etree.tostring(tree, method="c14n", exclusive=job["exclusive"], with_comments=job["comments"],
                            inclusive_ns_prefixes=job["prefixes"] or None)
    print(base64.b64encode(octets).decode(), flush=True)
"#;

#[test]
fn lxml_writes_the_same_canonical_octets() {
    let Some(mut peer) = Python::start("lxml.etree", CANONICALIZE) else { return };
    let mut random = Random(0x5eed);
    let mut longest = 0;
    for number in 0..DOCUMENTS {
        let text = document(&mut random);
        longest = longest.max(text.len());
        let exclusive = random.below(3) != 0;
        let comments = random.below(2) == 0;
        let prefixes: Vec<&str> = PREFIXES[1..].iter().filter(|_| exclusive && random.below(3) == 0).copied().collect();
        let job =
            serde_json::json!({"document": STANDARD.encode(&text), "exclusive": exclusive, "comments": comments, "prefixes": prefixes});
        let answer = peer.ask(&job);
        let theirs = String::from_utf8(STANDARD.decode(answer).unwrap()).unwrap();
        let form = Canonicalization { exclusive, with_comments: comments, prefix_list: prefixes.iter().map(|p| (*p).to_owned()).collect() };
        let ours = canonicalize(text.as_bytes(), &Limits::MESSAGE, &form);
        let ours = ours.map(|octets| String::from_utf8(octets).unwrap());
        assert_eq!(ours.as_ref(), Ok(&theirs), "document {number}, {form:?}:\n{text:?}");
    }
    // Documents that are all small would prove little.
    assert!(longest > 2000, "{longest}");
    eprintln!("{DOCUMENTS} documents, the longest of {longest} octets: the same octets");
}

fn keys() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys")
}

fn der(name: &str) -> Vec<u8> {
    let text = std::fs::read_to_string(keys().join(name)).unwrap();
    STANDARD.decode(text.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

const UNSIGNED: &str = r#"<s:Assertion xmlns:s="urn:oasis:names:tc:SAML:2.0:assertion" xmlns:xs="urn:xs" ID="_1"><s:Issuer>i</s:Issuer><s:A xmlns:xsi="urn:xsi" xsi:type="xs:string">é &amp; <!-- c --></s:A></s:Assertion>"#;

#[test]
fn xmlsec1_and_we_verify_each_other() {
    let there = Command::new("xmlsec1").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        return skipped("xmlsec1");
    }
    let folder = std::env::temp_dir().join(format!("vestibule-xmlsec-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let path = [(SAML, "Assertion")];
    for kind in ["idp-rsa2048", "idp-ec256"] {
        let (private, certificate) = (keys().join(format!("{kind}.key")), keys().join(format!("{kind}.crt")));
        let (private, certificate) = (private.to_str().unwrap(), certificate.to_str().unwrap());
        let key = SigningKey::<IdentityProvider>::from_pkcs8("idp", &der(&format!("{kind}.key")), None).unwrap();
        let signed = Document::parse(UNSIGNED.as_bytes(), &Limits::MESSAGE).unwrap();
        let signed = signed.sign_enveloped(SignedElement::Path(&path), Placement::After(SAML, "Issuer"), &["xs"], &key).unwrap();
        std::fs::write(file("ours.xml"), &signed).unwrap();
        let id = format!("--id-attr:ID {SAML}:Assertion");
        let id: Vec<&str> = id.split(' ').collect();
        let run = |arguments: &[&str]| Command::new("xmlsec1").args(arguments).output().unwrap();
        let verified = run(&["--verify", id[0], id[1], "--pubkey-cert-pem", certificate, &file("ours.xml")]);
        assert!(verified.status.success(), "{kind}: {}", String::from_utf8_lossy(&verified.stderr));
        std::fs::write(file("changed.xml"), String::from_utf8(signed.clone()).unwrap().replace(">i<", ">j<")).unwrap();
        let changed = run(&["--verify", id[0], id[1], "--pubkey-cert-pem", certificate, &file("changed.xml")]);
        assert!(!changed.status.success(), "xmlsec1 accepts anything");

        // The other way: our document with empty values as xmlsec1's template.
        let text = String::from_utf8(signed).unwrap();
        let emptied = |text: &str, from: &str, to: &str| {
            let (before, rest) = text.split_once(from).unwrap();
            format!("{before}{from}{to}{}", rest.split_once(to).unwrap().1)
        };
        let template = emptied(&emptied(&text, "<ds:DigestValue>", "</ds:DigestValue>"), "<ds:SignatureValue>", "</ds:SignatureValue>");
        std::fs::write(file("template.xml"), template).unwrap();
        let made = run(&["--sign", id[0], id[1], "--privkey-pem", private, "--output", &file("theirs.xml"), &file("template.xml")]);
        assert!(made.status.success(), "{kind}: {}", String::from_utf8_lossy(&made.stderr));
        let mut trusted = TrustedKeys::new();
        trusted.add_certificate(&der(&format!("{kind}.crt"))).unwrap();
        let theirs = Document::parse(&std::fs::read(file("theirs.xml")).unwrap(), &Limits::MESSAGE).unwrap();
        theirs.verify(SignedElement::Path(&path), &trusted, &Profile::SAML).unwrap();
    }
    std::fs::remove_dir_all(folder).unwrap();
}
