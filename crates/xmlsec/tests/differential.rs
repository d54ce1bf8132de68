//! Signatures of other implementations over random documents, in both directions.
//!
//! What they digest we have to digest: a signature over a subtree that one side makes and the other accepts means the same
//! canonical octets, inherited namespaces and `xml:` attributes included. The peers are the xmlsec library (libxml2) and
//! signxml, each in one process for all documents.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::print_stderr, reason = "a test says what it expects by unwrapping it")]

mod random;

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use random::{PREFIXES, Python, Random, element};
use serde_json::json;
use vestibule_xmlsec::{
    Concession, Document, Error, Hash, KeyInfo, Keys, Limits, Part, Placement, Profile, SharedKey, SignatureAlgorithm, SignedElement,
    Signing, SigningKey, TrustedKeys, WebServices,
};

const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const INCLUSIVE: &str = "http://www.w3.org/TR/2001/REC-xml-c14n-20010315";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";
const SECRET: &[u8; 32] = b"a secret of two and thirty octet";
const ROOT: [(&str, &str); 1] = [("", "root")];
const SIGNATURE: [(&str, &str); 2] = [("", "root"), (DS, "Signature")];

/// Signs or verifies with the xmlsec library; the answer is base64, `good` or what went wrong.
const XMLSEC: &str = r#"
import sys, json, base64, xmlsec
from lxml import etree
parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_blank_text=False)
for line in sys.stdin:
    job = json.loads(line)
    root = etree.fromstring(base64.b64decode(job["document"]), parser)
    xmlsec.tree.add_ids(root, ["Id"])
    signature = root.find("{http://www.w3.org/2000/09/xmldsig#}Signature")
    context = xmlsec.SignatureContext()
    context.key = xmlsec.Key.from_binary_data(xmlsec.constants.KeyDataHmac, base64.b64decode(job["secret"]))
    try:
        if job["sign"]:
            context.sign(signature)
            print(base64.b64encode(etree.tostring(root, encoding="UTF-8")).decode(), flush=True)
        else:
            context.verify(signature)
            print("good", flush=True)
    except xmlsec.Error as error:
        print(repr(error), flush=True)
"#;

/// The same with signxml and certificates.
const SIGNXML: &str = r#"
import sys, json, base64, signxml
from lxml import etree
for line in sys.stdin:
    job = json.loads(line)
    root = etree.fromstring(base64.b64decode(job["document"]))
    uri = job["uri"] or None
    if job["sign"]:
        method = signxml.SignatureMethod(job["method"])
        digest = getattr(signxml.DigestAlgorithm, job["digest"])
        signer = signxml.XMLSigner(signature_algorithm=method, digest_algorithm=digest, c14n_algorithm=signxml.CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0)
        made = signer.sign(root, key=job["key"], cert=job["certificate"], reference_uri=uri, id_attribute="ID")
        print(base64.b64encode(etree.tostring(made, encoding="UTF-8")).decode(), flush=True)
    else:
        try:
            signxml.XMLVerifier().verify(root, x509_cert=job["certificate"], id_attribute="ID")
            print("good", flush=True)
        except Exception as error:
            print(repr(error), flush=True)
"#;

/// A document whose root inherits things to its elements, one of which, or the root, is to be signed.
fn document(random: &mut Random) -> String {
    let language = random.of(&["", " xml:lang='en'", " xml:lang=\"\" xml:space='preserve'", " xml:base='http://example.org/'"]);
    let declared = random.of(&["", " xmlns:p='urn:a'", " xmlns:q='urn:b' xmlns:r='urn:a'"]);
    let scope: Vec<(&'static str, String)> = match declared.len() {
        0 => Vec::new(),
        16 => vec![("p", "urn:a".to_owned())],
        _ => vec![("q", "urn:b".to_owned()), ("r", "urn:a".to_owned())],
    };
    let mut inside = String::new();
    for _ in 0..=random.below(2) {
        element(random, 4, &scope, &mut inside);
    }
    let text = format!("<root xmlns:u='{WSU}'{language}{declared}>{inside}</root>");
    // A start tag is `<` and a letter; comments, CDATA sections and instructions of the generator have none.
    let tags: Vec<usize> = text
        .match_indices('<')
        .filter(|(at, _)| text[at + 1..].starts_with(char::is_alphabetic))
        .map(|(at, _)| at + text[at..].find([' ', '>', '/']).unwrap())
        .collect();
    let at = tags[usize::try_from(random.below(tags.len() as u64)).unwrap()];
    format!("{} u:Id='target'{}", &text[..at], &text[at..])
}

fn template(document: &str, random: &mut Random) -> String {
    let exclusive = random.below(2) == 0;
    let prefixes: Vec<&str> = PREFIXES[1..].iter().filter(|_| random.below(2) == 0).copied().collect();
    let list = match (exclusive, random.below(4)) {
        (true, 0) => format!(r#"<e:InclusiveNamespaces xmlns:e="{EXCLUSIVE}" PrefixList="{}"/>"#, prefixes.join(" ")),
        (true, 1) => format!(r#"<e:InclusiveNamespaces xmlns:e="{EXCLUSIVE}" PrefixList="{} #default"/>"#, prefixes.join("  ")),
        _ => String::new(),
    };
    let form = if exclusive { EXCLUSIVE } else { INCLUSIVE };
    let info = random.of(&[EXCLUSIVE, INCLUSIVE]);
    let (hmac, digest) = (
        random.of(&["256", "384", "512"]),
        random.of(&["http://www.w3.org/2001/04/xmlenc#sha256", "http://www.w3.org/2001/04/xmlenc#sha512"]),
    );
    let signature = format!(
        r##"<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{info}"/><ds:SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#hmac-sha{hmac}"/><ds:Reference URI="#target"><ds:Transforms><ds:Transform Algorithm="{ENVELOPED}"/><ds:Transform Algorithm="{form}">{list}</ds:Transform></ds:Transforms><ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference></ds:SignedInfo><ds:SignatureValue/></ds:Signature>"##
    );
    let end = document.rfind("</root>").unwrap();
    format!("{}{signature}</root>", &document[..end])
}

fn verify<'k>(octets: &[u8], keys: impl Into<Keys<'k>>, profile: &Profile) -> Result<(), Error> {
    Document::parse(octets, &Limits::MESSAGE)?.verify_parts(SignedElement::Path(&SIGNATURE), keys, profile).map(drop)
}

#[test]
fn the_xmlsec_library_and_we_digest_the_same_subtrees() {
    let Some(mut peer) = Python::start("xmlsec, lxml.etree", XMLSEC) else { return };
    let mut random = Random(0x7e57);
    let profile = Profile::ANY_FORM.with_shared_keys().admit(Concession::InclusiveCanonicalization);
    let key = SharedKey::new("peer", SECRET).unwrap();
    let secret = STANDARD.encode(SECRET);
    for number in 0..3000 {
        let text = document(&mut random);
        let job = json!({"sign": true, "document": STANDARD.encode(template(&text, &mut random)), "secret": secret});
        let answer = peer.ask(&job);
        let theirs = STANDARD.decode(&answer).unwrap_or_else(|_| panic!("{number} {text}: {answer}"));
        let verdict = verify(&theirs, &key, &profile);
        assert_eq!(verdict, Ok(()), "document {number}: {}", String::from_utf8_lossy(&theirs));

        // What we sign over the same element.
        let ours = Document::parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        let key = SharedKey::new("peer", SECRET).unwrap().with_hash([Hash::Sha256, Hash::Sha384, Hash::Sha512][number % 3]).unwrap();
        let target = random::place_of_id(&ours, "target");
        let parts = [Part::Element(SignedElement::At(&target), &[])];
        let into = SignedElement::Path(&ROOT);
        let signing = Signing { parts: &parts, into, placement: Placement::Last, key_info: KeyInfo::Nothing, profile: &profile };
        let ours = ours.sign(&signing, &key).unwrap();
        let answer = peer.ask(&json!({"sign": false, "document": STANDARD.encode(&ours), "secret": secret}));
        assert_eq!(answer, "good", "document {number}: {}", String::from_utf8_lossy(&ours));
    }
    // It does refuse.
    let signed = random_signed(&key, &profile);
    let answer = peer.ask(&json!({"sign": false, "document": STANDARD.encode(signed.replace(">text<", ">other<")), "secret": secret}));
    assert_ne!(answer, "good");
    eprintln!("6000 signatures over random subtrees: the same octets");
}

fn random_signed(key: &SharedKey, profile: &Profile) -> String {
    let document = Document::parse(format!("<root xmlns:u='{WSU}' u:Id='target'>text<a/></root>").as_bytes(), &Limits::MESSAGE).unwrap();
    let into = SignedElement::Path(&ROOT);
    let parts = [Part::Element(into, &[])];
    let signing = Signing { parts: &parts, into, placement: Placement::Last, key_info: KeyInfo::Nothing, profile };
    String::from_utf8(document.sign(&signing, key).unwrap()).unwrap()
}

fn corpus(name: &str) -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name)).unwrap()
}

fn der(name: &str) -> Vec<u8> {
    STANDARD.decode(corpus(name).lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
}

#[test]
fn signxml_and_we_verify_each_other() {
    let Some(mut peer) = Python::start("signxml, lxml.etree", SIGNXML) else { return };
    let mut random = Random(0x51a);
    let profile = Profile::ANY_FORM.with_id("", "root", "ID");
    let root = SignedElement::Path(&ROOT);
    let methods = [
        ("idp-rsa2048", SignatureAlgorithm::RsaPkcs1(Hash::Sha256), "SHA256"),
        ("idp-rsa2048", SignatureAlgorithm::RsaPkcs1(Hash::Sha512), "SHA384"),
        ("idp-rsa2048", SignatureAlgorithm::RsaPss(Hash::Sha256), "SHA512"),
        ("idp-rsa2048", SignatureAlgorithm::RsaPss(Hash::Sha384), "SHA256"),
        ("idp-rsa4096", SignatureAlgorithm::RsaPkcs1(Hash::Sha384), "SHA256"),
        ("idp-ec256", SignatureAlgorithm::Ecdsa(Hash::Sha256), "SHA256"),
    ];
    let mut counts = [0; 2];
    for number in 0..60 {
        let (name, algorithm, digest) = methods[number % methods.len()];
        let mut keys = TrustedKeys::new();
        keys.add_pem(&corpus(&format!("{name}.crt"))).unwrap();
        let text = document(&mut random).replace("u:Id='target'", "").replacen("<root", "<root ID='whole'", 1);
        // It serialises to ASCII within, where names cannot be written.
        let text = text.replace("élan", "elan").replace("é=", "e=");
        let uri = random.of(&["", "whole"]);
        // It digests with a prefix list that it does not write down; only ours have one.
        let prefixes: Vec<&str> = PREFIXES[1..].iter().filter(|_| random.below(3) == 0).copied().collect();
        let job = json!({
            "sign": true, "document": STANDARD.encode(&text), "uri": uri, "method": algorithm.uri(), "digest": digest,
            "key": corpus(&format!("{name}.key")), "certificate": corpus(&format!("{name}.crt")),
        });
        let theirs = STANDARD.decode(peer.ask(&job)).unwrap();
        let verified = Document::parse(&theirs, &Limits::MESSAGE).unwrap().verify(root, &keys, &profile);
        assert!(verified.is_ok(), "document {number}: {:?}\n{}", verified.err(), String::from_utf8_lossy(&theirs));
        counts[0] += 1;

        let key = SigningKey::<WebServices>::from_pkcs8("ws-security", &der(&format!("{name}.key")), Some(&der(&format!("{name}.crt"))));
        let key = key.unwrap().with_algorithm(algorithm).unwrap();
        let parts = [if uri.is_empty() { Part::Document(&prefixes) } else { Part::Element(root, &prefixes) }];
        let signing = Signing { parts: &parts, into: root, placement: Placement::First, key_info: KeyInfo::Certificate, profile: &profile };
        let ours = Document::parse(text.as_bytes(), &Limits::MESSAGE).unwrap().sign(&signing, &key).unwrap();
        let job = json!({"sign": false, "document": STANDARD.encode(&ours), "uri": uri, "certificate": corpus(&format!("{name}.crt"))});
        let answer = peer.ask(&job);
        assert_eq!(answer, "good", "document {number}: {}", String::from_utf8_lossy(&ours));
        counts[1] += 1;
    }
    let signed = random_signed(&SharedKey::new("peer", SECRET).unwrap(), &Profile::ANY_FORM.with_shared_keys());
    let job = json!({"sign": false, "document": STANDARD.encode(signed), "uri": "", "certificate": corpus("idp-rsa2048.crt")});
    assert_ne!(peer.ask(&job), "good");
    eprintln!("signxml: {} of its signatures verified here, {} of ours there", counts[0], counts[1]);
}
