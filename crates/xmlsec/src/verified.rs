//! What only a verification can make: content that a signature covers, seen as it was digested.

use std::sync::Arc;

use crate::c14n::{self, Apex, Canonicalization, Sink};
use crate::channel::PinnedPeer;
use crate::document::Document;
use crate::element::{ElementView, Place, Signed};
use crate::error::Error;
use crate::keys::KeyId;
use crate::limits::Limits;
use crate::tree::{Kind, NodeId, Tree};

/// Who vouches for verified content.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Signer {
    /// The holder of a key that the caller trusts.
    Key(KeyId),
    /// Nobody signed: a named partner sent it over a channel that was authenticated.
    Channel(PinnedPeer),
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
    /// The one way from no proof to proof. Its callers are the verifications, and the channel that an operator pinned;
    /// [`Verified::read`] and [`Verified::decrypted`] pass a proof on.
    pub(crate) fn proven(value: T, signer: Signer) -> Self {
        Self { value, signer }
    }

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
    pub(crate) tree: Arc<Tree>,
    pub(crate) limits: Limits,
    pub(crate) id: NodeId,
    pub(crate) apex: Apex,
    pub(crate) omit: Option<NodeId>,
    pub(crate) form: Canonicalization,
}

impl Element {
    /// All of a document, where something else than a signature in it vouches for it.
    pub(crate) fn whole(document: Document) -> Self {
        let Document { tree, limits } = document;
        let id = tree.root;
        Self { tree, limits, id, apex: Apex::Document, omit: None, form: Canonicalization::EXCLUSIVE }
    }

    /// Writes what is digested.
    pub(crate) fn write(&self, sink: &mut impl Sink) -> Result<(), Error> {
        c14n::write(&self.tree, self.apex, self.omit, &self.form, &self.limits, sink)
    }

    pub(crate) fn octets(&self) -> Result<Vec<u8>, Error> {
        let mut octets = Vec::new();
        self.write(&mut octets)?;
        Ok(octets)
    }
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
        Ok(Verified { value: M::from_signed(self.element()?)?, signer: self.signer.clone() })
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
            here = node.parent();
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
        Ok(Self { value, signer: self.signer.clone() })
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
        self.value.octets()
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
