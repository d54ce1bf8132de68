//! What must hold for any octets. Run by libFuzzer in `fuzz/`, and over the seeds by `cargo test`.
use std::sync::OnceLock;

use vestibule_xmlsec::{
    Authority, Canonicalization, Concession, Demand, Document, Element, ElementView, Error, FromClaimed, FromSigned, KeyInfo, Keys, Limits,
    Part, Placement, Profile, Question, SharedKey, Signed, SignedElement, Signing, TrustedKeys, Unsigned, Verified, canonicalize, diagnose,
};

/// A document is read or refused, and everything in it can be looked at.
pub fn parse(octets: &[u8]) {
    let narrow = Limits { depth: 3, nodes: 20, attributes: 2, namespaces: 2, text: 20, name: 5, ..Limits::MESSAGE };
    for limits in [Limits::MESSAGE, narrow] {
        if let Ok(document) = Document::parse(octets, &limits) {
            document.claim::<Shown>().expect("a root can be looked at");
        }
    }
}

/// A canonical form is its own canonical form, and is seen as what it was made of.
pub fn canonical(octets: &[u8]) {
    for form in [Canonicalization::EXCLUSIVE, Canonicalization::INCLUSIVE] {
        for form in [form.clone(), form.with_comments()] {
            let Ok(first) = canonicalize(octets, &Limits::MESSAGE, &form) else { continue };
            let second = canonicalize(&first, &Limits::MESSAGE, &form).expect("a canonical form can be read");
            assert_eq!(String::from_utf8_lossy(&first), String::from_utf8_lossy(&second), "{form:?}");
            let (before, after) = (Document::parse(octets, &Limits::MESSAGE), Document::parse(&first, &Limits::MESSAGE));
            let seen = |document: Result<Document, Error>| document.and_then(|document| document.claim::<Shape>()).expect("was read");
            assert_eq!(seen(before).sender_says().0, seen(after).sender_says().0, "{form:?}");
        }
    }
}

/// Whatever is accepted is seen as it was digested; whatever is signed verifies.
pub fn verify(octets: &[u8]) {
    let (public, shared) = keys();
    let profiles = [
        Profile::SAML,
        Profile::WS_SECURITY.admit(Concession::PlainId),
        Profile::ANY_FORM.with_shared_keys().legacy().with_id("", "root", "ID"),
    ];
    for profile in &profiles {
        for keys in [Keys::Public(public), Keys::Shared(shared)] {
            let question = Question { demand: Demand::Every, keys, profile, limits: &Limits::MESSAGE, tokens: None, keep_octets: true };
            let report = diagnose(octets, &question);
            assert_eq!(report.error.is_none(), !report.covered.is_empty());
            assert_eq!(report.checks.iter().filter(|check| !check.ok).count(), usize::from(report.error.is_some()));
            let Ok(document) = Document::parse(octets, &Limits::MESSAGE) else { continue };
            let root = [("", "root")];
            if let Ok(verified) = document.verify(SignedElement::Path(&root), keys, profile) {
                seen_as_digested(&verified);
            }
        }
    }
    sign(octets, shared);
}

/// The octets as content of a document that is signed here.
fn sign(octets: &[u8], key: &SharedKey) {
    let text = [b"<root ID='r' xmlns:p='urn:p' xml:lang='en'>", octets, b"</root>"].concat();
    let Ok(document) = Document::parse(&text, &Limits::MESSAGE) else { return };
    let root = [("", "root")];
    let into = SignedElement::Path(&root);
    let profile = Profile::ANY_FORM.with_shared_keys().with_id("", "root", "ID");
    for part in [Part::Element(into, &["p"]), Part::Document(&[])] {
        let signing = Signing { parts: &[part], into, placement: Placement::First, key_info: KeyInfo::Nothing, profile: &profile };
        let signed = document.sign(&signing, key).expect("can be signed");
        let Ok(signed) = Document::parse(&signed, &Limits::MESSAGE) else { return };
        match signed.verify(into, key, &profile) {
            Ok(verified) => seen_as_digested(&verified),
            // The content has an id or a signature of its own.
            Err(error) => assert!(matches!(error, Error::DuplicateId { .. } | Error::Ambiguous(_)), "{error}"),
        }
    }
}

fn seen_as_digested(verified: &Verified<Element>) {
    let digested = verified.canonical().expect("was digested");
    let again = Document::parse(&digested, &Limits::MESSAGE).expect("a canonical form can be read");
    let seen = verified.read::<Shown>().expect("can be looked at").into_value().0;
    assert_eq!(seen, again.claim::<Shown>().expect("can be looked at").sender_says().0);
}

fn keys() -> (&'static TrustedKeys, &'static SharedKey) {
    static KEYS: OnceLock<(TrustedKeys, SharedKey)> = OnceLock::new();
    let (public, shared) = KEYS.get_or_init(|| {
        let mut keys = TrustedKeys::new();
        keys.add_pem(include_str!("../../corpus/recorded/keys/idp-rsa2048.crt")).expect("a certificate");
        keys.add_pem(include_str!("../../corpus/recorded/keys/idp-ec256.crt")).expect("a certificate");
        (keys, SharedKey::new("fuzz", b"a secret of two and thirty octet").expect("a secret"))
    });
    (public, shared)
}

/// All that a view shows; values of unsigned content that hold markup are shown as refused.
struct Shown(String);

impl FromSigned for Shown {
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, Error> {
        Ok(Self(show(element, true)))
    }
}

impl FromClaimed for Shown {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        Ok(Self(show(root, true)))
    }
}

/// The elements and attributes without their values' text.
struct Shape(String);

impl FromClaimed for Shape {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        Ok(Self(show(root, false)))
    }
}

fn show<A: Authority>(element: ElementView<'_, A>, texts: bool) -> String {
    let mut attributes: Vec<_> = element.attributes().collect();
    attributes.sort_unstable();
    let text = element.text().ok().filter(|_| texts);
    let children: String = element.children().map(|child| show(child, texts)).collect();
    format!("{{{}}}{}{attributes:?}({text:?})[{children}]", element.namespace(), element.local())
}
