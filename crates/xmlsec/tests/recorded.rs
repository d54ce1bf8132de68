//! Every recorded message gives, for its signature part, the verdict its manifest states.
//!
//! What fails for another reason (times, audiences, passwords) has to have its signature accepted. Messages whose content
//! is encrypted are counted apart: `decryption.rs` judges them.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test says what it expects by unwrapping it")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use vestibule_xmlsec::{
    Concession, Document, Element, ElementView, Error, FromClaimed, FromSigned, Limits, Place, Profile, Signed, SignedElement, TrustedKeys,
    Unsigned, Verified,
};

const SAML2: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAML1: &str = "urn:oasis:names:tc:SAML:1.0:assertion";
const SAML2P: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const SAML1P: &str = "urn:oasis:names:tc:SAML:1.0:protocol";
const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";

/// Reasons that are this crate's to give. All others need a signature that was accepted.
const OURS: [&str; 13] = [
    "encoding",
    "dtd",
    "malformed",
    "forbidden_markup",
    "limits",
    "ambiguous",
    "duplicate_id",
    "algorithm_refused",
    "reference_refused",
    "signature_missing",
    "signature_invalid",
    "digest_mismatch",
    "unknown_key",
];

/// Reasons that structure decides, here or above.
const STRUCTURE: [&str; 3] = ["wrapped", "part_not_signed", "assertion_missing"];

fn corpus() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded")
}

/// What the judge of a message would find out.
#[derive(Debug)]
enum Found {
    /// Signatures are there and good; the name read from signed content.
    Accepted { name_id: Option<String>, covered: Vec<&'static str> },
    /// Nothing is signed and nothing had to be.
    Unsigned,
    /// Encrypted before anything can be said.
    Encrypted,
}

/// Where things stand, as the sender says.
struct Layout {
    root_signed: bool,
    assertions: Vec<(Place, bool)>,
    encrypted: bool,
    soap: Option<Soap>,
}

struct Soap {
    signatures: Vec<Place>,
    security: usize,
    body: Option<Place>,
    timestamps: Vec<Place>,
    tokens: Vec<Place>,
}

impl FromClaimed for Layout {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        let is_assertion = |e: &ElementView<'_, Unsigned>| e.is(SAML2, "Assertion") || e.is(SAML1, "Assertion");
        let signed = |e: &ElementView<'_, Unsigned>| e.children().any(|c| c.is(DS, "Signature"));
        let mut holder = root;
        let mut soap = None;
        if root.local() == "Envelope" {
            let ns = root.namespace();
            let header = root.child(ns, "Header")?.ok_or(root.unreadable("no Header"))?;
            let security: Vec<_> = header.children().filter(|c| c.is(WSSE, "Security")).collect();
            let all =
                |ns: &str, local: &str| security.iter().flat_map(|s| s.children()).filter(|c| c.is(ns, local)).map(|c| c.place()).collect();
            soap = Some(Soap {
                signatures: all(DS, "Signature"),
                security: security.len(),
                body: root.child(ns, "Body")?.map(|b| b.place()),
                timestamps: all(WSU, "Timestamp"),
                tokens: security
                    .iter()
                    .flat_map(|s| s.children())
                    .filter(is_assertion)
                    .chain(security.iter().flat_map(|s| s.children()).filter(|c| c.is(WSSE, "UsernameToken")))
                    .map(|c| c.place())
                    .collect(),
            });
            if let Some(first) = security.first() {
                holder = *first;
            }
        }
        let encrypted = any_inside(root, &|e| e.local() == "EncryptedAssertion" || e.local() == "EncryptedData");
        Ok(Self {
            root_signed: signed(&root),
            assertions: if is_assertion(&root) {
                Vec::new()
            } else {
                holder.children().filter(is_assertion).map(|a| (a.place(), signed(&a))).collect()
            },
            encrypted,
            soap,
        })
    }
}

fn any_inside(e: ElementView<'_, Unsigned>, wanted: &dyn Fn(&ElementView<'_, Unsigned>) -> bool) -> bool {
    wanted(&e) || e.children().any(|c| any_inside(c, wanted))
}

/// The subject of an assertion, or of the one assertion of a response, with every other value read, too.
struct Subject(Option<String>);

impl FromSigned for Subject {
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, Error> {
        let mut name = None;
        visit(element, &mut |e| {
            if e.children().next().is_none() {
                let text = e.text()?;
                if (e.is(SAML2, "NameID") || e.is(SAML1, "NameIdentifier")) && name.is_none() {
                    name = Some(text.into_owned());
                }
            }
            Ok(())
        })?;
        Ok(Self(name))
    }
}

fn visit(e: ElementView<'_, Signed>, seen: &mut dyn FnMut(ElementView<'_, Signed>) -> Result<(), Error>) -> Result<(), Error> {
    seen(e)?;
    e.children().try_for_each(|c| visit(c, seen))
}

/// What a refusal above this crate would be called.
#[derive(Debug)]
struct Refused(&'static str);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self(error.reason())
    }
}

fn judge(octets: &[u8], entry: &Value, keys: &TrustedKeys, settings: &[&str]) -> Result<Found, Refused> {
    let kind = entry["kind"].as_str().unwrap();
    let mut saml = Profile::SAML;
    let mut wss = Profile::WS_SECURITY;
    if settings.contains(&"legacy_sha1") {
        saml = saml.admit(Concession::Sha1);
        wss = wss.admit(Concession::Sha1);
    }
    if settings.contains(&"wss_plain_id") {
        wss = wss.admit(Concession::PlainId);
    }
    let document = Document::parse(octets, &Limits::MESSAGE)?;
    let claimed = document.claim::<Layout>()?;
    let layout = claimed.sender_says();
    let subject = |verified: &Verified<Element>| verified.read::<Subject>().map(|s| s.value().0.clone());
    if let Some(soap) = &layout.soap {
        return judge_soap(&document, layout, soap, keys, &saml, &wss);
    }
    let roots: &[(&str, &str)] = match kind {
        "saml20-response" => &[(SAML2P, "Response")],
        "saml11-response" => &[(SAML1P, "Response")],
        "saml20-assertion" => &[(SAML2, "Assertion")],
        "other" => &[(SAML1, "Assertion")],
        "saml20-request" => &[(SAML2P, "AuthnRequest")],
        "saml20-logout-request" => &[(SAML2P, "LogoutRequest")],
        "metadata" if !layout.root_signed => return Ok(Found::Unsigned),
        "metadata" => &[("urn:oasis:names:tc:SAML:2.0:metadata", "EntityDescriptor")],
        other => panic!("{other}"),
    };
    let mut name_id = None;
    if layout.assertions.len() > 1 {
        return Err(Refused("ambiguous"));
    }
    if layout.root_signed || kind == "saml11-response" || !kind.ends_with("-response") {
        let verified = document.verify(SignedElement::Path(roots), keys, &saml)?;
        assert!(verified.stands_at(roots));
        name_id = subject(&verified)?;
    }
    if layout.encrypted {
        return Ok(Found::Encrypted);
    }
    if layout.assertions.is_empty() && kind.ends_with("-response") {
        return Err(Refused("assertion_missing"));
    }
    for (place, signed) in &layout.assertions {
        if *signed || !layout.root_signed {
            let verified = document.verify(SignedElement::At(place), keys, &saml)?;
            assert_eq!(verified.place(), *place);
            name_id = subject(&verified)?;
        }
    }
    Ok(Found::Accepted { name_id, covered: Vec::new() })
}

fn judge_soap(
    document: &Document,
    layout: &Layout,
    soap: &Soap,
    keys: &TrustedKeys,
    saml: &Profile,
    wss: &Profile,
) -> Result<Found, Refused> {
    if soap.security > 1 || soap.timestamps.len() > 1 || soap.signatures.len() > 1 || layout.assertions.len() > 1 {
        // The reader above refuses these; ids are this crate's, and come first where both are wrong.
        if let [one, ..] = soap.signatures.as_slice() {
            document.verify_parts(SignedElement::At(one), keys, wss)?;
        }
        return Err(Refused("ambiguous"));
    }
    if layout.encrypted {
        return Ok(Found::Encrypted);
    }
    let mut name_id = None;
    let mut covered = Vec::new();
    if let Some(signature) = soap.signatures.first() {
        let parts = document.verify_parts(SignedElement::At(signature), keys, wss)?;
        for part in &parts {
            let place = Some(part.place());
            if place == soap.body {
                covered.push("body");
            } else if place.as_ref() == soap.timestamps.first() {
                covered.push("timestamp");
            } else if soap.tokens.iter().any(|token| Some(token) == place.as_ref()) {
                covered.push("token");
                name_id = part.read::<Subject>()?.value().0.clone();
            } else if part.element()?.local() == "Body" || part.element()?.local() == "Timestamp" {
                return Err(Refused("wrapped"));
            }
        }
        covered.sort_unstable();
    } else {
        for (place, _) in &layout.assertions {
            name_id = document.verify(SignedElement::At(place), keys, saml)?.read::<Subject>()?.value().0.clone();
        }
        if layout.assertions.is_empty() {
            return Ok(Found::Unsigned);
        }
    }
    Ok(Found::Accepted { name_id, covered })
}

fn words(value: &Value) -> Vec<&str> {
    value.as_array().map(|list| list.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

#[test]
fn every_recorded_message_gives_its_verdict() {
    let manifest: Value = serde_json::from_slice(&std::fs::read(corpus().join("manifest.json")).unwrap()).unwrap();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut wrong = Vec::new();
    for entry in manifest["entries"].as_array().unwrap() {
        let file = entry["file"].as_str().unwrap();
        if entry["binding"].as_str() == Some("redirect") {
            *counts.entry("not XML").or_default() += 1;
            continue;
        }
        let octets = std::fs::read(corpus().join(file)).unwrap();
        let mut keys = TrustedKeys::new();
        // A chain to a CA is the caller's to build; here the leaf is given.
        let signer = entry["trust_cert"].as_str().map(str::to_owned).or_else(|| match file {
            "soap/z27_sig_ca_leaf.xml" => Some("keys/leaf-valid.crt".to_owned()),
            "soap/z28_sig_ca_leaf_expired.xml" => Some("keys/leaf-expired.crt".to_owned()),
            _ => None,
        });
        if let Some(signer) = &signer {
            keys.add_pem(&std::fs::read_to_string(corpus().join(signer)).unwrap()).unwrap();
        }
        let settings = words(&entry["settings"]);
        for (settings, verdict, reason) in [(settings.as_slice(), "expect", "reason"), (&[], "default", "default_reason")] {
            let found = judge(&octets, entry, &keys, settings);
            let accepted = entry[verdict].as_str() == Some("accept");
            let reason = entry[reason].as_str().unwrap_or_default();
            let mut reasons = vec![reason];
            reasons.extend(words(&entry["also"]));
            reasons.extend(entry["reason"].as_str());
            // Which certificate a SecurityTokenReference names is read above this crate.
            if reasons.contains(&"unknown_key") && entry["kind"] == "soap" {
                reasons.push("signature_invalid");
            }
            let fine = match &found {
                Ok(Found::Unsigned) => !OURS.contains(&reason) || matches!(entry["kind"].as_str(), Some("soap" | "metadata")),
                Ok(Found::Encrypted) => entry["decrypt_key"].is_string() || reasons.contains(&"signature_missing"),
                Ok(Found::Accepted { name_id, covered }) => {
                    let read = &entry["read"];
                    let name = !accepted || !read["name_id"].is_string() || read["name_id"].as_str() == name_id.as_deref();
                    let evil = entry["evil_name_id"].is_string() && entry["evil_name_id"].as_str() == name_id.as_deref();
                    let cover = !accepted || words(&read["covered"]) == *covered;
                    name && !evil
                        && cover
                        && (accepted || (!OURS.contains(&reason) && !STRUCTURE.contains(&reason)) || part_missing(reason, covered))
                }
                Err(Refused(why)) => !accepted && reasons.contains(why),
            };
            let name = match &found {
                Ok(Found::Accepted { .. }) => "signature accepted",
                Ok(Found::Unsigned) => "unsigned",
                Ok(Found::Encrypted) => "encrypted",
                Err(_) => "refused",
            };
            *counts.entry(name).or_default() += 1;
            if !fine {
                wrong.push(format!("{file} {settings:?}: {found:?}, expected {} {reasons:?}", entry[verdict]));
            }
        }
    }
    assert!(wrong.is_empty(), "{counts:?}\n{}", wrong.join("\n"));
    // A manifest that lost its entries proves nothing.
    assert!(counts["signature accepted"] > 80 && counts["refused"] > 100, "{counts:?}");
}

/// A part that has to be covered and is not shows in the list of what is.
fn part_missing(reason: &str, covered: &[&str]) -> bool {
    matches!(reason, "part_not_signed" | "wrapped") && !(covered.contains(&"body") && covered.contains(&"timestamp"))
}
