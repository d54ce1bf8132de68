//! `vestibule xml`: recorded documents, and documents that independent tools made a moment ago.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::support::Scratch;

const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";

fn recorded(name: &str) -> String {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded").join(name).to_str().unwrap().to_owned()
}

fn xml(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_vestibule")).arg("xml").args(arguments).env("NO_COLOR", "1").output().unwrap();
    // Whatever happens, no line of a private key is shown.
    let shown = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    for key in
        std::fs::read_dir(recorded("keys")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.extension().unwrap() == "key")
    {
        let pem = std::fs::read_to_string(key).unwrap();
        let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----")).collect();
        // The first lines of an RSA key are its modulus, which a certificate shows, too.
        let secret = if lines.len() > 8 { &lines[8..] } else { &lines[..1] };
        assert!(secret.iter().all(|line| line.len() < 32 || !shown.contains(line)), "{arguments:?} shows a secret");
    }
    output
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn skipped(what: &str) {
    assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{what} is missing");
    println!("SKIPPED: {what} is not installed");
}

fn has(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
fn a_recorded_document_is_verified_and_every_step_named() {
    let (file, cert) = (recorded("saml/n01_signed_assertion.xml"), recorded("keys/idp-rsa2048.crt"));
    let output = xml(&["verify", &file, "--cert", &cert, "--json"]);
    let said = json(&output);
    assert_eq!(code(&output), Some(0), "{said}");
    let names: Vec<&str> = said.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = ["verdict", "reason", "checks", "signer", "covered"];
    expected.sort_unstable();
    assert_eq!(names.iter().copied().collect::<std::collections::BTreeSet<_>>(), expected.into_iter().collect());
    assert_eq!((said["verdict"].as_str(), said["reason"].is_null()), (Some("accepted"), true));
    let steps: Vec<&str> = said["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert_eq!(steps, ["well-formed", "element", "ids", "signature", "key", "signed-info", "reference", "digest"]);
    assert!(said["checks"].as_array().unwrap().iter().all(|check| check["ok"] == true && check["detail"].is_string()));
    assert_eq!(said["signer"].as_str().unwrap().len(), 64);
    assert!(said["covered"][0]["path"].as_str().unwrap().ends_with("Assertion"), "{said}");
    let text = xml(&["verify", &file, "--cert", &cert]);
    assert_eq!(code(&text), Some(0));
    assert!(String::from_utf8_lossy(&text.stdout).contains("accepted"));
}

#[test]
fn every_recorded_signature_has_the_verdict_of_its_manifest() {
    let manifest: Value = serde_json::from_str(&std::fs::read_to_string(recorded("manifest.json")).unwrap()).unwrap();
    let mut seen = 0;
    let word = |entry: &Value, name: &str| entry[name].as_str().map(str::to_owned);
    for entry in manifest["entries"].as_array().unwrap() {
        let (Some(file), Some(cert)) = (word(entry, "file"), word(entry, "trust_cert")) else { continue };
        // What fails for its content, or has its signature under encryption, is judged by other doors.
        let decided =
            ["digest_mismatch", "signature_invalid", "duplicate_id"].iter().any(|reason| word(entry, "reason").as_deref() == Some(reason));
        let accepted = entry["expect"] == "accept" && entry["settings"].as_array().is_some_and(Vec::is_empty);
        if !file.starts_with("saml/") || !file.ends_with(".xml") || !(decided || accepted) {
            continue;
        }
        let text = std::fs::read_to_string(recorded(&file)).unwrap();
        if text.contains("EncryptedData") {
            continue;
        }
        let said = json(&xml(&["verify", &recorded(&file), "--cert", &recorded(&cert), "--json"]));
        assert_eq!(said["verdict"] == "accepted", accepted, "{file}: {said}");
        if decided {
            assert_eq!(said["reason"].as_str().map(str::to_owned), word(entry, "reason"), "{file}");
        }
        seen += 1;
    }
    assert!(seen >= 15, "{seen}");
}

#[test]
fn a_refusal_names_its_reason_and_what_was_seen() {
    let (file, cert) = (recorded("saml/n01_signed_assertion.xml"), recorded("keys/idp-rsa2048.crt"));
    let wrong = recorded("keys/other-rsa2048.crt");
    let output = xml(&["verify", &file, "--cert", &wrong, "--json"]);
    assert_eq!(code(&output), Some(1));
    let said = json(&output);
    assert_eq!((said["verdict"].as_str(), said["reason"].as_str()), (Some("rejected"), Some("unknown_key")));
    assert!(said["signer"].is_null() && said["covered"] == serde_json::json!([]));
    let failed = said["checks"].as_array().unwrap().last().unwrap().clone();
    let signer = json(&xml(&["verify", &file, "--cert", &cert, "--json"]))["signer"].as_str().unwrap().to_owned();
    let detail = failed["detail"].as_str().unwrap();
    let (seen, trusted) = detail.split_once("trusted: ").unwrap();
    assert!(failed["name"] == "key" && failed["ok"] == false && seen.contains(&signer) && !trusted.contains(&signer), "{detail}");

    let scratch = Scratch::new();
    let digested = scratch.path().join("digested");
    let output = xml(&["verify", &recorded("saml/d01_tampered_nameid.xml"), "--cert", &cert, "--digested", digested.to_str().unwrap()]);
    assert_eq!(code(&output), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("rejected: digest_mismatch"));
    assert!(std::fs::read_to_string(digested).unwrap().contains("NameID"), "what was digested, for the operator");

    let old = recorded("saml/p06_sha1.xml");
    assert_eq!(json(&xml(&["verify", &old, "--cert", &cert, "--json"]))["reason"], "algorithm_refused");
    assert_eq!(code(&xml(&["verify", &old, "--cert", &cert, "--legacy"])), Some(0));
    assert_eq!(json(&xml(&["verify", &recorded("saml/p07_unsigned.xml"), "--cert", &cert, "--json"]))["reason"], "signature_missing");
    assert_eq!(json(&xml(&["verify", &file, "--json"]))["reason"], "unknown_key", "nobody is trusted by default");
}

#[test]
fn what_cannot_be_tried_is_told_apart_from_a_refusal() {
    let (file, key) = (recorded("saml/n01_signed_assertion.xml"), recorded("keys/idp-rsa2048.key"));
    let nothing = recorded("saml/there-is-no-such-file.xml");
    for arguments in [
        &["verify", &nothing][..],
        &["verify", &file, "--cert", &nothing],
        // A private key is no key to trust.
        &["verify", &file, "--key", &key],
        &["verify", &file, "--id-attr", "no attribute"],
        &["canonicalize", &nothing],
        &["canonicalize", &file, "--prefix-list", "a"],
        &["sign", &file, "--key", &file],
        &["sign", &file, "--key", &key, "--element", "a:b"],
        &["sign", &file, "--key", &key, "--cert", &recorded("keys/other-rsa2048.crt")],
        &["decrypt", &file, "--key", &recorded("keys/idp-ec256.key")],
        &["decrypt", &file],
    ] {
        assert_eq!(code(&xml(arguments)), Some(2), "{arguments:?}");
    }
    assert_eq!(code(&xml(&["canonicalize", &recorded("saml/d20_dtd.xml")])), Some(1));
    assert_eq!(code(&xml(&["decrypt", &file, "--key", &recorded("keys/sp-rsa2048.key")])), Some(1));
}

#[test]
fn canonical_octets_are_those_of_lxml() {
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !has(&python, &["-c", "import lxml"]) {
        return skipped("lxml");
    }
    let scratch = Scratch::new();
    let text = "<?xml version='1.0'?>\n<!-- a --><p:a xmlns:p='urn:p' xmlns:q='urn:q' xmlns='urn:d' b='&#9;\"' a='1'><c/><!-- b -->&#13;é<![CDATA[<]]></p:a><?pi  x?>";
    let file = scratch.write("a.xml", text);
    let file = file.to_str().unwrap();
    let theirs = |options: &str| {
        let script = format!(
            "import sys\nfrom lxml import etree\nsys.stdout.buffer.write(etree.tostring(etree.parse(sys.argv[1]), method='c14n', {options}))"
        );
        Command::new(&python).args(["-c", &script, file]).output().unwrap().stdout
    };
    let ours = |options: &[&str]| xml(&[&["canonicalize", file], options].concat()).stdout;
    assert_eq!(ours(&[]), theirs("with_comments=False"));
    assert_eq!(ours(&["--with-comments"]), theirs("with_comments=True"));
    assert_eq!(ours(&["--exclusive"]), theirs("exclusive=True, with_comments=False"));
    let listed = ours(&["--exclusive", "--with-comments", "--prefix-list", "q"]);
    assert_eq!(listed, theirs("exclusive=True, with_comments=True, inclusive_ns_prefixes=['q']"));
    assert!(!listed.is_empty());
}

#[test]
fn xmlsec1_and_we_read_what_the_other_made_a_moment_ago() {
    if !has("xmlsec1", &["--version"]) {
        return skipped("xmlsec1");
    }
    let scratch = Scratch::new();
    let path = |name: &str| scratch.path().join(name).to_str().unwrap().to_owned();
    let run = |arguments: &[&str]| {
        let output = Command::new("xmlsec1").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?} {}", String::from_utf8_lossy(&output.stderr));
    };
    let (key, cert) = (recorded("keys/idp-rsa2048.key"), recorded("keys/idp-rsa2048.crt"));

    // Theirs.
    let template = format!(
        r##"<o:Order xmlns:o="urn:orders" Id="o1"><o:item>7</o:item><Signature xmlns="{DS}"><SignedInfo><CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/><SignatureMethod Algorithm="http://www.w3.org/2001/04/xmldsig-more#rsa-sha256"/><Reference URI="#o1"><Transforms><Transform Algorithm="{DS}enveloped-signature"/><Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></Transforms><DigestMethod Algorithm="{XENC}sha256"/><DigestValue/></Reference></SignedInfo><SignatureValue/><KeyInfo><X509Data/></KeyInfo></Signature></o:Order>"##
    );
    let template = scratch.write("template.xml", &template);
    let both = format!("{key},{cert}");
    let signed = path("signed.xml");
    run(&["--sign", "--id-attr:Id", "urn:orders:Order", "--privkey-pem", &both, "--output", &signed, template.to_str().unwrap()]);
    let attribute = ["--id-attr", "{urn:orders}Order@Id"];
    let said = json(&xml(&["verify", &signed, "--cert", &cert, attribute[0], attribute[1], "--json"]));
    assert_eq!((said["verdict"].as_str(), said["covered"][0]["path"].as_str()), (Some("accepted"), Some("/o:Order")), "{said}");
    assert_eq!(json(&xml(&["verify", &signed, "--cert", &cert, "--json"]))["reason"], "reference_refused", "no id without a word");
    let changed = std::fs::read_to_string(&signed).unwrap().replace(">7<", ">8<");
    let changed = scratch.write("changed.xml", &changed);
    let said = json(&xml(&["verify", changed.to_str().unwrap(), "--cert", &cert, attribute[0], attribute[1], "--json"]));
    assert_eq!(said["reason"], "digest_mismatch");

    // Ours: with an id, and the whole document.
    let order = scratch.write("order.xml", r#"<o:Order xmlns:o="urn:orders" Id="o1"><o:item>7</o:item></o:Order>"#);
    let order = order.to_str().unwrap();
    let ours = path("ours.xml");
    for (key, cert) in [("idp-rsa2048.key", "idp-rsa2048.crt"), ("idp-ec256.key", "idp-ec256.crt")] {
        let (key, cert) = (recorded(&format!("keys/{key}")), recorded(&format!("keys/{cert}")));
        for ids in [&attribute[..], &[]] {
            let output = xml(&[&["sign", order, "--key", &key, "--cert", &cert], ids].concat());
            assert_eq!(code(&output), Some(0), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stdout).contains("URI=\"#o1\""), !ids.is_empty());
            std::fs::write(&ours, &output.stdout).unwrap();
            run(&["--verify", "--id-attr:Id", "urn:orders:Order", "--pubkey-cert-pem", &cert, &ours]);
            assert_eq!(code(&xml(&[&["verify", &ours, "--cert", &cert], ids].concat())), Some(0));
        }
    }

    // Encrypted to us.
    let template = format!(
        r##"<EncryptedData xmlns="{XENC}" Type="{XENC}Element"><EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes256-gcm"/><KeyInfo xmlns="{DS}"><EncryptedKey xmlns="{XENC}"><EncryptionMethod Algorithm="{XENC}rsa-oaep-mgf1p"/><KeyInfo xmlns="{DS}"><KeyName/></KeyInfo><CipherData><CipherValue/></CipherData></EncryptedKey></KeyInfo><CipherData><CipherValue/></CipherData></EncryptedData>"##
    );
    let template = scratch.write("encryption.xml", &template);
    let (sealed, recipient) = (path("sealed.xml"), recorded("keys/sp-rsa2048.crt"));
    let data = ["--xml-data", order, "--node-name", "urn:orders:item"];
    let options = ["--encrypt", "--pubkey-cert-pem", &recipient, "--session-key", "aes-256"];
    run(&[&options[..], &data, &["--output", &sealed, template.to_str().unwrap()]].concat());
    assert!(!std::fs::read_to_string(&sealed).unwrap().contains(">7<"));
    let output = xml(&["decrypt", &sealed, "--key", &recorded("keys/sp-rsa2048.key")]);
    assert_eq!(code(&output), Some(0), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains(">7</o:item>"), "{output:?}");
    let output = xml(&["decrypt", &sealed, "--key", &recorded("keys/other-rsa2048.key")]);
    assert_eq!(code(&output), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("decryption_failed") && output.stdout.is_empty());
}

#[test]
fn a_document_signed_by_signxml_a_moment_ago_is_verified() {
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !has(&python, &["-c", "import signxml"]) {
        return skipped("signxml");
    }
    let script = r#"
import sys
from lxml import etree
from signxml import XMLSigner
key, cert, out = sys.argv[1:]
signer = XMLSigner(c14n_algorithm="http://www.w3.org/2001/10/xml-exc-c14n#")
root = etree.fromstring('<o:Order xmlns:o="urn:orders"><o:item>7</o:item></o:Order>')
signed = signer.sign(root, key=open(key).read(), cert=open(cert).read())
open(out, "wb").write(etree.tostring(signed))
"#;
    let scratch = Scratch::new();
    let out = scratch.path().join("signed.xml");
    let (key, cert) = (recorded("keys/idp-rsa2048.key"), recorded("keys/idp-rsa2048.crt"));
    let made = Command::new(&python).args(["-c", script, &key, &cert, out.to_str().unwrap()]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let said = json(&xml(&["verify", out.to_str().unwrap(), "--cert", &cert, "--json"]));
    assert_eq!((said["verdict"].as_str(), said["covered"][0]["path"].as_str()), (Some("accepted"), Some("/o:Order")), "{said}");
}
