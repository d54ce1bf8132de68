//! Hostile messages, made here and kept in `corpus/attacks/soap/`, each with what the transport says about it.
//!
//! `VESTIBULE_WRITE_CORPUS=1` writes them in a first run.

use std::path::PathBuf;

use serde_json::{Value, json};
use vestibule_soap::{Declared, Envelope, Error, MediaType, Multipart, Target, Version};
use vestibule_xmlsec::{Document, Limits};

const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const XOP: &str = "http://www.w3.org/2004/08/xop/include";
const ADDRESSING: &str = "http://www.w3.org/2005/08/addressing";
const PACKAGE: &str = r#"multipart/related; boundary="b"; type="application/xop+xml"; start="<root@x>"; start-info="text/xml""#;
const XML: &str = "text/xml; charset=utf-8";

struct Case {
    name: &'static str,
    /// The attack's line in the list, by number.
    source: &'static str,
    content_type: &'static str,
    soap_action: Option<&'static str>,
    expect: &'static str,
    message: String,
}

/// The operation that policy would be asked about, and how many security headers are for us.
fn judge(content_type: &str, soap_action: Option<&str>, message: &[u8]) -> Result<(String, usize), Error> {
    let media_type = MediaType::parse(content_type)?;
    let (media_type, document) = if media_type.essence() == "multipart/related" {
        let parts = Multipart::parse(&media_type, message)?;
        (parts.envelope_type()?, parts.envelope(&Limits::MESSAGE)?.1)
    } else {
        (media_type, Document::parse(message, &Limits::MESSAGE)?)
    };
    let envelope = Envelope::read(&document)?;
    let envelope = envelope.sender_says();
    Declared::read(envelope, soap_action, Some(&media_type))?;
    let headers = envelope.blocks_for(WSSE, "Security", &Target::Ultimate).count();
    Ok((envelope.operation().map(|operation| operation.local.clone()).unwrap_or_default(), headers))
}

fn envelope(version: Version, inside: &str) -> String {
    format!(r#"<s:Envelope xmlns:s="{}">{inside}</s:Envelope>"#, version.namespace())
}

fn parts(parts: &[(&str, &str)]) -> String {
    let parts: String = parts.iter().map(|(head, body)| format!("--b\r\n{head}\r\n\r\n{body}\r\n")).collect();
    format!("{parts}--b--\r\n")
}

fn cases() -> Vec<Case> {
    let (old, new) = (Version::Soap11, Version::Soap12);
    let read = r#"<s:Body><m:read xmlns:m="urn:m"/></s:Body>"#;
    let erase = r#"<s:Body><m:erase xmlns:m="urn:m"/></s:Body>"#;
    let header = |inside: &str| envelope(old, &format!("<s:Header>{inside}</s:Header>{read}"));
    let security = |attributes: &str| format!(r#"<w:Security xmlns:w="{WSSE}"{attributes}/>"#);
    let action = |action: &str| format!(r#"<a:Action xmlns:a="{ADDRESSING}">{action}</a:Action>"#);
    let mut cases = Vec::new();
    let mut add = |name, source, content_type, soap_action, expect, message| {
        cases.push(Case { name, source, content_type, soap_action, expect, message });
    };
    add("good", "-", XML, Some("\"urn:m:read\""), "accept", header(&security("")));
    add("good-soap12", "-", "application/soap+xml", None, "accept", envelope(new, read));

    // 57, 68: what stands where.
    add("two-bodies", "57", XML, None, "malformed", envelope(old, &format!("{read}{erase}")));
    add("element-behind-the-body", "57", XML, None, "malformed", envelope(old, &format!("{read}<m:erase xmlns:m=\"urn:m\"/>")));
    add("body-before-the-header", "57", XML, None, "malformed", envelope(old, &format!("{read}<s:Header/>")));
    add("two-headers", "57, 68", XML, None, "malformed", envelope(old, &format!("<s:Header/><s:Header/>{read}")));
    add("body-in-a-foreign-namespace", "57", XML, None, "malformed", envelope(old, r#"<Body xmlns="urn:x"/>"#));
    let nested = envelope(old, &format!("<s:Header><x:hidden xmlns:x=\"urn:x\">{erase}</x:hidden></s:Header>{read}"));
    add("body-hidden-in-a-header-is-not-the-body", "57", XML, None, "accept", nested);
    let foreign = format!(r#"<s:Header>{}</s:Header>{read}"#, security(r#" s:actor="urn:another""#));
    add("security-header-for-somebody-else-is-not-ours", "68", XML, None, "accept", envelope(old, &foreign));
    add("must-understand-of-neither-value", "68", XML, None, "malformed", header(&security(r#" s:mustUnderstand="maybe""#)));
    add("header-block-without-namespace", "68", XML, None, "malformed", header("<Security/>"));
    add("many-header-blocks", "35, 68", XML, None, "malformed", header(&security("").repeat(65)));

    // 67: actions.
    add("header-and-addressing-differ", "67", XML, Some("\"urn:m:read\""), "malformed", header(&action("urn:m:erase")));
    add("two-addressed-actions", "67", XML, None, "ambiguous", header(&action("urn:m:read").repeat(2)));
    add("comment-in-the-addressed-action", "67, 13", XML, None, "forbidden_markup", header(&action("urn:m:<!-- -->read")));
    add("open-quotation-mark", "67", XML, Some("\"urn:m:read"), "malformed", header(""));
    add("two-actions-in-one-header", "67", XML, Some("\"urn:m:read\" \"urn:m:erase\""), "malformed", header(""));
    let typed = "application/soap+xml; action=\"urn:m:read\"";
    add("header-and-parameter-differ", "67", typed, Some("\"urn:m:erase\""), "malformed", envelope(new, read));
    add("action-parameter-twice", "67", "application/soap+xml; action=a; action=b", None, "malformed", envelope(new, read));

    // 71: versions and encodings.
    add("soap12-as-soap11", "71", XML, None, "wrong_version", envelope(new, read));
    add("soap11-as-soap12", "71", "application/soap+xml", None, "wrong_version", envelope(old, read));
    let mixed = security(&format!(r#" xmlns:n="{}" n:mustUnderstand="1""#, new.namespace()));
    add("attributes-of-the-other-version", "71", XML, None, "malformed", header(&mixed));
    add("body-of-the-other-version", "71", XML, None, "malformed", envelope(old, &format!(r#"<n:Body xmlns:n="{}"/>"#, new.namespace())));
    let draft = envelope(old, read).replace(old.namespace(), "http://www.w3.org/2001/12/soap-envelope");
    add("envelope-of-a-draft", "71", XML, None, "wrong_version", draft);
    add("no-envelope", "71", XML, None, "malformed", "<html/>".to_owned());
    add("announced-as-utf16", "71", "text/xml; charset=utf-16", None, "malformed", envelope(old, read));
    add("announced-as-json", "71", "application/json", None, "malformed", envelope(old, read));
    add("doctype", "30", XML, None, "dtd", format!("<!DOCTYPE x>{}", envelope(old, read)));

    // 70, 71: parts.
    let root = "Content-Type: application/xop+xml; type=\"text/xml\"\r\nContent-ID: <root@x>";
    let including = |href: &str| {
        envelope(old, &format!(r#"<s:Body><m:read xmlns:m="urn:m"><x:Include xmlns:x="{XOP}" href="{href}"/></m:read></s:Body>"#))
    };
    let part = ("Content-ID: <a@x>", "octets");
    add("good-package", "-", PACKAGE, None, "accept", parts(&[(root, &including("cid:a@x")), part]));
    for (name, href) in [
        ("include-http", "http://169.254.169.254/latest/meta-data/"),
        ("include-file", "file:///etc/hostname"),
        ("include-nothing", "cid:b@x"),
        ("include-itself", "cid:root@x"),
        ("include-without-scheme", "a@x"),
    ] {
        add(name, "70", PACKAGE, None, "reference_refused", parts(&[(root, &including(href)), part]));
    }
    let plain = envelope(old, read);
    let other = ("Content-Type: text/xml\r\nContent-ID: <a@x>", plain.as_str());
    add("another-root-first", "71", PACKAGE, None, "malformed", parts(&[other, (root, &including("cid:a@x"))]));
    add(
        "one-content-id-twice",
        "70",
        PACKAGE,
        None,
        "malformed",
        parts(&[(root, &including("cid:a@x")), part, ("Content-ID: <a@x>", "others")]),
    );
    add("part-that-nothing-refers-to", "71", PACKAGE, None, "malformed", parts(&[(root, &plain), part]));
    add("preamble", "71", PACKAGE, None, "malformed", format!("{plain}\r\n{}", parts(&[(root, &including("cid:a@x")), part])));
    add("epilogue", "71", PACKAGE, None, "malformed", format!("{}{plain}", parts(&[(root, &including("cid:a@x")), part])));
    add("many-parts", "35", PACKAGE, None, "limits", parts(&[&[(root, plain.as_str())][..], &[("X: y", "x"); 64]].concat()));
    let again = format!(
        "<s:Body><m:read xmlns:m=\"urn:m\">{}</m:read></s:Body>",
        format!(r#"<d><x:Include xmlns:x="{XOP}" href="cid:a@x"/></d>"#).repeat(250)
    );
    let large = "x".repeat(4000);
    add("one-part-again-and-again", "34", PACKAGE, None, "limits", parts(&[(root, &envelope(old, &again)), ("Content-ID: <a@x>", &large)]));
    cases
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/soap")
}

fn manifest_of(cases: &[Case]) -> String {
    let line = |case: &Case| {
        json!({
            "file": format!("{}.txt", case.name), "attack": case.source, "content_type": case.content_type,
            "soap_action": case.soap_action, "reason": case.expect,
        })
    };
    let lines: Vec<String> = cases.iter().map(|case| format!("  {}", line(case))).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

#[test]
fn the_corpus_is_what_this_test_makes_and_every_message_has_its_reason() {
    let (cases, folder) = (cases(), folder());
    if std::env::var_os("VESTIBULE_WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for case in &cases {
            std::fs::write(folder.join(format!("{}.txt", case.name)), &case.message).unwrap();
        }
        std::fs::write(folder.join("manifest.json"), manifest_of(&cases)).unwrap();
    }
    for case in &cases {
        let kept = std::fs::read_to_string(folder.join(format!("{}.txt", case.name))).unwrap();
        assert!(kept == case.message, "{} differs", case.name);
    }
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let manifest = value(&std::fs::read_to_string(folder.join("manifest.json")).unwrap());
    assert_eq!(manifest, value(&manifest_of(&cases)));

    let mut wrong = Vec::new();
    for entry in manifest.as_array().unwrap() {
        let word = |name: &str| entry[name].as_str().unwrap();
        let message = std::fs::read(folder.join(word("file"))).unwrap();
        let found = judge(word("content_type"), entry["soap_action"].as_str(), &message);
        let fine = match &found {
            // What somebody else's header holds is not counted as ours.
            Ok((operation, headers)) => {
                word("reason") == "accept" && operation == "read" && *headers == usize::from(word("file") == "good.txt")
            }
            Err(error) => error.reason() == word("reason"),
        };
        if !fine {
            wrong.push(format!("{}: {found:?}, expected {}", word("file"), word("reason")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
