//! From a document and trusted keys to content that a signature covers.
//!
//! The order is the defence: find the element that must be signed by its position, refuse double ids, read its one
//! signature strictly, check the signature over `SignedInfo`, and only then follow references and digest. The result sees exactly
//! the nodes that were digested.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use aws_lc_rs::digest::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::c14n::{self, Apex, Canonicalization};
use crate::document::{Document, SignedElement};
use crate::element::{ElementView, Place, Signed, Unsigned};
use crate::error::{Error, ReferenceFault};
use crate::keys::{KeyId, TrustedKey, TrustedKeys};
use crate::limits::Limits;
use crate::profile::Profile;
use crate::signature::{self, DS, Reference, Signature, Target};
use crate::tree::{Kind, NamespaceId, NodeId, Tree};

impl Document {
    /// Verifies the one signature that `what` carries as a child and that covers `what` itself.
    ///
    /// # Errors
    /// The first step that failed, for an operator's eyes.
    pub fn verify(&self, what: SignedElement<'_>, keys: &TrustedKeys, profile: &Profile) -> Result<Verified<Element>, Error> {
        let target = self.locate(what)?;
        let signature = target.child(DS, "Signature")?.ok_or(Error::SignatureMissing)?;
        let ids = Ids::of(&self.tree, profile)?;
        let read = signature::read(signature, profile)?;
        let signer = self.check(&read, keys, profile)?;
        // SAML core §5.4.2: one reference, to the signature's own parent.
        let [reference] = read.references.as_slice() else {
            return Err(Error::ReferenceRefused { uri: None, why: ReferenceFault::NoReference });
        };
        let node = self.resolve(reference.target, &ids)?;
        if node != target.id() {
            return Err(Error::Wrapped { covered: reference.target.uri() });
        }
        let element = self.digest(reference, node, signature)?;
        Ok(Verified { value: element, signer: Signer::Key(signer) })
    }

    /// Verifies a signature that stands apart from what it covers; gives each covered element by itself, in the order of
    /// the references. Where they stand is the caller's to demand: see [`Verified::place`].
    ///
    /// # Errors
    /// The first step that failed; nothing is verified unless everything is.
    pub fn verify_parts(
        &self,
        signature: SignedElement<'_>,
        keys: &TrustedKeys,
        profile: &Profile,
    ) -> Result<Vec<Verified<Element>>, Error> {
        let signature = self.locate(signature)?;
        if !signature.is(DS, "Signature") {
            return Err(Error::SignatureMissing);
        }
        let ids = Ids::of(&self.tree, profile)?;
        let read = signature::read(signature, profile)?;
        let signer = self.check(&read, keys, profile)?;
        let parts = read.references.iter().map(|reference| {
            let node = self.resolve(reference.target, &ids)?;
            let value = self.digest(reference, node, signature)?;
            Ok(Verified { value, signer: Signer::Key(signer) })
        });
        parts.collect()
    }

    /// The signature over `SignedInfo`, nothing else.
    fn check(&self, signature: &Signature<'_>, keys: &TrustedKeys, profile: &Profile) -> Result<KeyId, Error> {
        let mut context = Context::new(signature.algorithm.hash().algorithm());
        c14n::write(&self.tree, Apex::Element(signature.info), None, &signature.form, &self.limits, &mut context)?;
        let digest = context.finish();

        let mut candidates: Vec<&TrustedKey> = keys.iter().filter(|key| key.is_strong_enough(profile)).collect();
        let mut seen = None;
        if candidates.len() > 1 {
            // A hint only orders the attempts.
            let hints = seen.insert(certificates(signature.key_info));
            candidates.sort_by_key(|key| !hints.contains(&key.id));
        }
        let mut tried = false;
        for key in candidates {
            match key.verifies(signature.algorithm, &digest, &signature.value) {
                Some(true) => return Ok(key.id),
                Some(false) => tried = true,
                None => {}
            }
        }
        let trusted = keys.ids();
        let seen = seen.unwrap_or_else(|| certificates(signature.key_info));
        if trusted.is_empty() || (!seen.is_empty() && seen.iter().all(|id| !trusted.contains(id))) {
            return Err(Error::UnknownKey { seen, trusted });
        }
        if tried { Err(Error::SignatureInvalid { trusted }) } else { Err(Error::KeyRefused { uri: signature.algorithm.uri(), trusted }) }
    }

    fn resolve(&self, target: Target<'_>, ids: &Ids<'_>) -> Result<NodeId, Error> {
        match target {
            Target::Document => Ok(self.tree.root),
            Target::Id(id) => {
                let nothing = || Error::ReferenceRefused { uri: Some(target.uri()), why: ReferenceFault::Nothing };
                ids.0.get(id).copied().ok_or_else(nothing)
            }
        }
    }

    fn digest(&self, reference: &Reference<'_>, node: NodeId, signature: ElementView<'_, Unsigned>) -> Result<Element, Error> {
        let apex = match reference.target {
            Target::Document => Apex::Document,
            Target::Id(_) => Apex::Element(node),
        };
        // XML Signature §4.4.3.3: `""` and `#id` select no comments, whatever the transform says.
        let form = Canonicalization { with_comments: false, ..reference.form.clone() };
        // §6.6.4: only the signature that holds the transform is removed, by identity; elsewhere nothing (attack 19).
        let inside = self.tree.node(node).is_some_and(|target| node <= signature.id() && signature.id().0 < target.end);
        let omit = (reference.enveloped && inside).then(|| signature.id());
        let mut context = Context::new(reference.hash.algorithm());
        c14n::write(&self.tree, apex, omit, &form, &self.limits, &mut context)?;
        let computed = context.finish();
        if computed.as_ref() != reference.digest.as_slice() {
            return Err(Error::DigestMismatch {
                uri: reference.target.uri(),
                signed: STANDARD.encode(&reference.digest),
                computed: STANDARD.encode(computed.as_ref()),
            });
        }
        Ok(Element { tree: Arc::clone(&self.tree), limits: self.limits, id: node, apex, omit, form })
    }
}

/// Who vouches for verified content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signer {
    /// The holder of a key that the caller trusts.
    Key(KeyId),
}

/// Content that a signature covers. Only a verification makes one.
///
/// ```compile_fail
/// # use vestibule_xmlsec::{Element, KeyId, Signer, Verified};
/// fn forge(value: Element, signer: Signer) -> Verified<Element> {
///     Verified { value, signer }
/// }
/// ```
///
/// An assertion that is read [from signed content only](FromSigned) cannot be claimed:
///
/// ```compile_fail
/// # use vestibule_xmlsec::{Document, ElementView, Error, FromSigned, Signed};
/// struct Assertion;
/// impl FromSigned for Assertion {
///     fn from_signed(_: ElementView<'_, Signed>) -> Result<Self, Error> {
///         Ok(Self)
///     }
/// }
/// fn shortcut(document: &Document) {
///     let _ = document.claim::<Assertion>();
/// }
/// ```
///
/// Nor can its reader be called with what a sender merely says:
///
/// ```compile_fail
/// # use vestibule_xmlsec::{ElementView, Error, FromClaimed, FromSigned, Signed, Unsigned};
/// struct Assertion;
/// impl FromSigned for Assertion {
///     fn from_signed(_: ElementView<'_, Signed>) -> Result<Self, Error> {
///         Ok(Self)
///     }
/// }
/// impl FromClaimed for Assertion {
///     fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
///         Self::from_signed(root)
///     }
/// }
/// ```
///
/// The same reader compiles where a signature was verified:
///
/// ```
/// # use vestibule_xmlsec::{Element, ElementView, Error, FromSigned, Signed, Verified};
/// struct Assertion;
/// impl FromSigned for Assertion {
///     fn from_signed(_: ElementView<'_, Signed>) -> Result<Self, Error> {
///         Ok(Self)
///     }
/// }
/// fn read(element: &Verified<Element>) -> Result<Verified<Assertion>, Error> {
///     element.read::<Assertion>()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Verified<T> {
    value: T,
    signer: Signer,
}

impl<T> Verified<T> {
    /// What was verified.
    pub fn value(&self) -> &T {
        &self.value
    }

    /// Gives up the proof.
    pub fn into_value(self) -> T {
        self.value
    }

    /// Who vouches for it.
    pub fn signer(&self) -> &Signer {
        &self.signer
    }
}

/// An element as it was digested: without the removed signature, blind to comments.
#[derive(Clone)]
pub struct Element {
    tree: Arc<Tree>,
    limits: Limits,
    id: NodeId,
    apex: Apex,
    omit: Option<NodeId>,
    form: Canonicalization,
}

impl std::fmt::Debug for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Element(octet {})", self.tree.node(self.id).map_or(0, |node| node.span.0))
    }
}

impl Verified<Element> {
    /// Reads a message from what was signed.
    ///
    /// # Errors
    /// Whatever the reader of `M` refuses.
    pub fn read<M: FromSigned>(&self) -> Result<Verified<M>, Error> {
        Ok(Verified { value: M::from_signed(self.element()?)?, signer: self.signer })
    }

    /// The element, seen exactly as it was digested.
    ///
    /// # Errors
    /// None in practice: a verified node is an element.
    pub fn element(&self) -> Result<ElementView<'_, Signed>, Error> {
        let Element { tree, id, omit, .. } = &self.value;
        ElementView::new(tree, *id, *omit).ok_or_else(|| Error::ElementMissing("element".to_owned()))
    }

    /// Where it stands, to be compared with where the caller will read.
    pub fn place(&self) -> Place {
        Place { tree: Arc::clone(&self.value.tree), id: self.value.id }
    }

    /// Whether it stands at this path from the root element. Says nothing about siblings of the same name.
    pub fn stands_at(&self, path: &[(&str, &str)]) -> bool {
        let tree = &self.value.tree;
        let mut here = Some(self.value.id);
        for (namespace, local) in path.iter().rev() {
            let Some(node) = here.and_then(|id| tree.node(id)) else { return false };
            match &node.kind {
                Kind::Element(data) if tree.local(data.name) == *local && tree.namespace(data.namespace) == *namespace => {}
                Kind::Element(_) | Kind::Text(_) | Kind::Comment(_) | Kind::ProcessingInstruction { .. } => return false,
            }
            here = node.parent;
        }
        here.is_none()
    }

    /// The element as it stands in a document that was decrypted: the same one, since the signature covers the ciphertext
    /// from which the plaintext follows. `replaced` is where the ciphertext stood.
    pub(crate) fn decrypted(&self, document: Document, replaced: NodeId) -> Result<Self, Error> {
        let Element { tree, id, apex, omit, form, .. } = &self.value;
        let after = document.tree.nodes.len();
        // Nodes before the ciphertext keep their numbers, nodes behind it their distance from the end.
        let omit = omit.map(|omit| match usize::try_from(omit.0) {
            Ok(place) if omit > replaced => u32::try_from(after + place - tree.nodes.len()).map_or(omit, NodeId),
            Ok(_) | Err(_) => omit,
        });
        // A signed ciphertext gives a signed element only if it is one, not several.
        let (start, end) = document.view(*id)?.span();
        if *id == replaced && document.tree.plaintexts.last().is_none_or(|plaintext| (plaintext.start, plaintext.end) != (start, end)) {
            return Err(Error::ElementMissing("one element in a signed ciphertext".to_owned()));
        }
        let value = Element { tree: document.tree, limits: document.limits, id: *id, apex: *apex, omit, form: form.clone() };
        Ok(Self { value, signer: self.signer })
    }

    /// The document it stands in, without proof, and whether a node of it is among what was digested.
    pub(crate) fn standing(&self) -> (Document, impl Fn(NodeId) -> bool + use<>) {
        let Element { tree, limits, id, omit, .. } = &self.value;
        let range = |id: NodeId| tree.node(id).map_or(id.0..id.0, |node| id.0..node.end);
        let (inside, outside) = (range(*id), omit.map(range));
        let covered = move |node: NodeId| inside.contains(&node.0) && !outside.as_ref().is_some_and(|range| range.contains(&node.0));
        (Document { tree: Arc::clone(tree), limits: *limits }, covered)
    }

    /// The digested octets, for a tool that explains; never for the network. After [`Verified::decrypt`], what they
    /// would be with the plaintext in its place.
    ///
    /// # Errors
    /// [`Error::CanonicalTooLong`], which the verification would have met first.
    pub fn canonical(&self) -> Result<Vec<u8>, Error> {
        let Element { tree, limits, apex, omit, form, .. } = &self.value;
        let mut octets = Vec::new();
        c14n::write(tree, *apex, *omit, form, limits, &mut octets)?;
        Ok(octets)
    }
}

/// Something that is read from signed content only.
pub trait FromSigned: Sized {
    /// Reads it.
    ///
    /// # Errors
    /// [`Error::Unreadable`] and what the view refuses.
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, Error>;
}

/// Every id of a document, by the kinds that exist (attacks 5, 33): a value occurs once, whatever the kinds.
pub(crate) struct Ids<'t>(HashMap<&'t str, NodeId>);

impl<'t> Ids<'t> {
    pub(crate) fn of(tree: &'t Tree, profile: &Profile) -> Result<Self, Error> {
        let mut ids = HashMap::new();
        for (place, node) in tree.nodes.iter().enumerate() {
            let Kind::Element(element) = &node.kind else { continue };
            for attribute in tree.attributes(element) {
                let local = tree.local(attribute.name);
                if !matches!(local, "Id" | "ID" | "AssertionID" | "ResponseID") {
                    continue;
                }
                let counts = match attribute.namespace {
                    NamespaceId::NONE => is_id(tree.namespace(element.namespace), tree.local(element.name), local, profile),
                    other => local == "Id" && tree.namespace(other) == WSU,
                };
                if !counts {
                    continue;
                }
                let id = tree.text(attribute.value);
                // INVARIANT: a tree has at most `u32::MAX` nodes.
                let node = NodeId(u32::try_from(place).unwrap_or(u32::MAX));
                match ids.entry(id) {
                    Entry::Vacant(free) => drop(free.insert(node)),
                    Entry::Occupied(_) => {
                        return Err(Error::DuplicateId { id: signature::shortened(id), at: attribute.name.start as usize });
                    }
                }
            }
        }
        Ok(Self(ids))
    }

    pub(crate) fn find(&self, id: &str) -> Option<NodeId> {
        self.0.get(id).copied()
    }
}

/// The id of one element, as the verifier would count it.
pub(crate) fn id_of<'t>(element: ElementView<'t, Unsigned>, profile: &Profile) -> Option<&'t str> {
    let mut ids = element.attributes().filter(|(namespace, attribute, _)| match *namespace {
        "" => is_id(element.namespace(), element.local(), attribute, profile),
        other => *attribute == "Id" && other == WSU,
    });
    ids.next().map(|(_, _, id)| id)
}

/// Whether an attribute without namespace is an id on such an element.
fn is_id(namespace: &str, local: &str, attribute: &str, profile: &Profile) -> bool {
    match attribute {
        "ID" => matches!(namespace, SAML2 | SAML2P | SAML2MD),
        "AssertionID" => namespace == SAML1 && local == "Assertion",
        "ResponseID" => namespace == SAML1P && local == "Response",
        "Id" => match namespace {
            DS | XENC | XENC11 => true,
            SOAP11 | SOAP12 | WSU => profile.plain_id,
            _ => false,
        },
        _ => false,
    }
}

const SAML1: &str = "urn:oasis:names:tc:SAML:1.0:assertion";
const SAML1P: &str = "urn:oasis:names:tc:SAML:1.0:protocol";
const SAML2: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAML2P: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const SAML2MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const SOAP12: &str = "http://www.w3.org/2003/05/soap-envelope";
const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
pub(crate) const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub(crate) const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";

/// The keys of the certificates in a `KeyInfo`. Unreadable ones are nothing: they are hints.
pub(crate) fn certificates(key_info: Option<ElementView<'_, Unsigned>>) -> Vec<KeyId> {
    let mut found = Vec::new();
    let data = key_info.into_iter().flat_map(|info| info.children().filter(|child| child.is(DS, "X509Data")));
    for certificate in data.flat_map(|data| data.children().filter(|child| child.is(DS, "X509Certificate"))).take(MOST_CERTIFICATES) {
        let der = certificate.text().ok().and_then(|text| signature::decode(&text));
        found.extend(der.and_then(|der| KeyId::of_certificate(&der).ok()));
    }
    found
}

/// Certificates of one message that are looked at.
const MOST_CERTIFICATES: usize = 8;
