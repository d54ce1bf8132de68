//! What must hold for any octets. Run by libFuzzer in `fuzz/`, and over the seeds by `cargo test`.
use std::sync::OnceLock;

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::key_wrap::{AES_128, AesKek, KeyWrap as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use vestibule_xmlsec::{
    Assertions, Authority, Canonicalization, Concession, DecryptionKeys, Demand, Document, Edit, Element, ElementView, EncryptedPart,
    Error, Fragment, FromClaimed, FromSigned, Insertion, KeyInfo, Keys, Limits, Part, Place, Placement, Profile, Question, SharedKey,
    Signed, SignedElement, Signing, TrustedKeys, Unsigned, Verified, canonicalize, diagnose,
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

/// Ciphertexts are read or refused, and plaintext stays where its ciphertext stood.
pub fn decrypt(octets: &[u8]) {
    let keys = decryption_keys();
    let profile = [Concession::Cbc, Concession::TripleDes, Concession::Rsa15].into_iter().fold(Profile::SAML, Profile::admit);
    if let Ok(document) = Document::parse(octets, &Limits::MESSAGE) {
        let places = places(&document);
        for place in places.iter().take(200) {
            // Nothing of it was encrypted to these keys but what a fuzzer copied from a seed.
            let _ = document.decrypt(&EncryptedPart::at(place), keys, &profile);
        }
    }
    for kind in ["Element", "Content"] {
        let (before, after) = ("<root xmlns:p='urn:p' xmlns='urn:d'><a/>", "<b/></root>");
        let text = format!("{before}{}{after}", sealed(octets, kind));
        let document = Document::parse(text.as_bytes(), &Limits::MESSAGE).expect("is well-formed");
        let place = places(&document).into_iter().nth(2).expect("is the third element");
        let Ok(plain) = document.decrypt(&EncryptedPart::at(&place), keys, &profile) else { continue };
        let whole = plain.edit(&[]).expect("can be written");
        let inside =
            whole.strip_prefix(before.as_bytes()).and_then(|rest| rest.strip_suffix(after.as_bytes())).expect("nothing else moved");
        let blank = |octet: &u8| b" \t\r\n".contains(octet);
        let same = if kind == "Element" { inside == octets.trim_ascii() || inside == trimmed(octets, blank) } else { inside == octets };
        assert!(same, "another plaintext");
        let Ends(first, last, children) = plain.claim::<Ends>().expect("can be looked at").sender_says().clone();
        assert_eq!((first.as_str(), last.as_str()), ("a", "b"), "the plaintext left its place");
        assert!(kind == "Content" || children == 3);
    }
}

fn trimmed(octets: &[u8], blank: impl Fn(&u8) -> bool) -> &[u8] {
    let start = octets.iter().position(|octet| !blank(octet)).unwrap_or(octets.len());
    let end = octets.iter().rposition(|octet| !blank(octet)).map_or(start, |last| last + 1);
    octets.get(start..end).unwrap_or_default()
}

/// What is inserted stands in its place and changes nothing else; removed, it leaves what was there.
pub fn edit(octets: &[u8]) {
    const NEW: &str = "<v:new xmlns:v='urn:vestibule'/>";
    let Some(((choice, how), octets)) = octets
        .split_first()
        .and_then(|(choice, rest)| Some((choice, rest.split_first()?)))
        .map(|(choice, (how, octets))| ((usize::from(*choice), how % 4), octets))
    else {
        return;
    };
    let Ok(document) = Document::parse(octets, &Limits::MESSAGE) else { return };
    let all = places(&document);
    // Each is taken away once below.
    if all.len() > 64 {
        return;
    }
    let place = all.get(choice % all.len()).expect("there is a root");
    let insertion = match how {
        0 => Insertion::FirstIn(place),
        1 => Insertion::LastIn(place),
        2 => Insertion::Before(place),
        _ => Insertion::After(place),
    };
    let new = Fragment::parse(NEW, &Limits::MESSAGE).expect("an element by itself");
    let Ok(changed) = document.edit(&[Edit::Insert(insertion, &new)]) else { return };
    let changed = Document::parse(&changed, &Limits::MESSAGE).expect("an edited document can be read");
    let now = places(&changed);
    assert_eq!(now.len(), all.len() + 1, "one element more");
    let new = now.iter().find(|place| changed.edit(&[Edit::Remove(place)]).is_ok_and(|octets| same(&octets, &document)));
    assert!(new.is_some(), "what was inserted cannot be taken away again");
}

fn same(octets: &[u8], document: &Document) -> bool {
    let shown = |document: &Document| document.claim::<Shown>().expect("can be looked at").sender_says().0.clone();
    Document::parse(octets, &Limits::MESSAGE).is_ok_and(|other| shown(&other) == shown(document))
}

/// Any octets as AES-GCM ciphertext under a wrapped key.
fn sealed(octets: &[u8], kind: &str) -> String {
    const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
    let content = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &[2; 16]).expect("a key"));
    let mut sealed = octets.to_vec();
    content.seal_in_place_append_tag(Nonce::assume_unique_for_key([3; 12]), Aad::empty(), &mut sealed).expect("can be sealed");
    let mut wrapped = [0; 24];
    AesKek::new(&AES_128, &[1; 16]).expect("a key").wrap(&[2; 16], &mut wrapped).expect("can be wrapped");
    let (wrapped, sealed) = (STANDARD.encode(wrapped), STANDARD.encode([&[3; 12][..], &sealed].concat()));
    format!(
        "<e:EncryptedData xmlns:e='{XENC}' Type='{XENC}{kind}'><e:EncryptionMethod Algorithm='http://www.w3.org/2009/xmlenc11#aes128-gcm'/>\
         <d:KeyInfo xmlns:d='http://www.w3.org/2000/09/xmldsig#'><e:EncryptedKey><e:EncryptionMethod Algorithm='{XENC}kw-aes128'/>\
         <e:CipherData><e:CipherValue>{wrapped}</e:CipherValue></e:CipherData></e:EncryptedKey></d:KeyInfo>\
         <e:CipherData><e:CipherValue>{sealed}</e:CipherValue></e:CipherData></e:EncryptedData>"
    )
}

fn decryption_keys() -> &'static DecryptionKeys<Assertions> {
    static KEYS: OnceLock<DecryptionKeys<Assertions>> = OnceLock::new();
    KEYS.get_or_init(|| {
        let pem = include_str!("../../corpus/recorded/keys/sp-rsa2048.key");
        let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).expect("is base64");
        let mut keys = DecryptionKeys::new();
        keys.add_pkcs8("sp-decryption", &der).expect("a key");
        keys.add_shared("sp-decryption", "kek", &[1; 16]).expect("a key");
        keys
    })
}

/// Every element, in document order.
struct Places(Vec<Place>);

impl FromClaimed for Places {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        fn visit(element: ElementView<'_, Unsigned>, found: &mut Vec<Place>) {
            found.push(element.place());
            element.children().for_each(|child| visit(child, found));
        }
        let mut found = Vec::new();
        visit(root, &mut found);
        Ok(Self(found))
    }
}

fn places(document: &Document) -> Vec<Place> {
    document.claim::<Places>().expect("can be looked at").sender_says().0.clone()
}

/// The names of the first and the last child of the root, and how many there are.
#[derive(Clone)]
struct Ends(String, String, usize);

impl FromClaimed for Ends {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        let names: Vec<String> = root.children().map(|child| child.local().to_owned()).collect();
        let end = |name: Option<&String>| name.cloned().unwrap_or_default();
        Ok(Self(end(names.first()), end(names.last()), names.len()))
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
