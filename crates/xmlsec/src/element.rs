//! The only way to look at an element, and what kind of looking it is.
//!
//! A view carries in its type whether a signature covers what it shows. Readers of assertions take a view of [`Signed`]
//! content; nothing turns an [`Unsigned`] view into one.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::error::Error;
use crate::tree::{Attribute, Element as Data, Kind, Node, NodeId, Text, Tree};

/// Covered by a signature that was verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {}

/// What a sender merely says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsigned {}

/// Whether a value can be trusted to be whole.
pub trait Authority: sealed::Sealed {
    /// Comments and CDATA sections inside a value: invisible where a signature fixes what surrounds them, refused where
    /// anybody could have put them there to make two readers see two values (attack 13).
    #[doc(hidden)]
    const MARKUP_IN_VALUES: bool;
}

impl Authority for Signed {
    const MARKUP_IN_VALUES: bool = true;
}

impl Authority for Unsigned {
    const MARKUP_IN_VALUES: bool = false;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Signed {}
    impl Sealed for super::Unsigned {}
}

/// One element and what is in it; no parents, no siblings, no prefixes.
///
/// Prefixes are not shown because exclusive canonicalization does not cover what a prefix in a value means.
pub struct ElementView<'t, A> {
    tree: &'t Arc<Tree>,
    id: NodeId,
    node: &'t Node,
    data: &'t Data,
    /// The subtree that the canonicaliser left out, too.
    omit: Option<NodeId>,
    authority: PhantomData<A>,
}

impl<A> Clone for ElementView<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<A> Copy for ElementView<'_, A> {}

impl<A> std::fmt::Debug for ElementView<'_, A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The content may be a credential.
        write!(f, "ElementView({})", self.tree.qualified(self.data.name))
    }
}

impl<'t, A: Authority> ElementView<'t, A> {
    pub(crate) fn new(tree: &'t Arc<Tree>, id: NodeId, omit: Option<NodeId>) -> Option<Self> {
        let node = tree.node(id)?;
        match &node.kind {
            Kind::Element(data) => Some(Self { tree, id, node, data, omit, authority: PhantomData }),
            Kind::Text(_) | Kind::Comment(_) | Kind::ProcessingInstruction { .. } => None,
        }
    }

    /// Its namespace name; empty for none.
    pub fn namespace(&self) -> &'t str {
        self.tree.namespace(self.data.namespace)
    }

    /// Its local name.
    pub fn local(&self) -> &'t str {
        self.tree.local(self.data.name)
    }

    /// Whether it is called so.
    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.tree.local_octets(self.data.name) == local.as_bytes()
            && self.tree.namespace_octets(self.data.namespace) == namespace.as_bytes()
    }

    /// Where it begins, in octets of the received document.
    pub fn at(&self) -> usize {
        self.node.span.0 as usize
    }

    /// Its place, to be compared with the place of something verified.
    pub fn place(&self) -> Place {
        Place { tree: Arc::clone(self.tree), id: self.id }
    }

    /// An attribute's value. The namespace is empty for an attribute without prefix.
    pub fn attribute(&self, namespace: &str, local: &str) -> Option<&'t str> {
        let tree = self.tree;
        let is_meant = |own: &&Attribute| {
            tree.local_octets(own.name) == local.as_bytes() && tree.namespace_octets(own.namespace) == namespace.as_bytes()
        };
        tree.attributes(self.data).iter().find(is_meant).map(|own| tree.text(own.value))
    }

    /// Its attributes as namespace name, local name and value. Namespace declarations are not among them.
    pub fn attributes(&self) -> impl Iterator<Item = (&'t str, &'t str, &'t str)> + use<'t, A> {
        let tree = self.tree;
        let attributes = tree.attributes(self.data).iter();
        attributes.map(move |own| (tree.namespace(own.namespace), tree.local(own.name), tree.text(own.value)))
    }

    /// Whether anything in its document may be in this namespace: nothing is in one that is declared nowhere.
    pub fn knows(&self, namespace: &str) -> bool {
        self.tree.namespaces.iter().any(|(name, _)| self.tree.text_octets(*name) == namespace.as_bytes())
    }

    /// The elements directly in it.
    pub fn children(&self) -> impl Iterator<Item = Self> + use<'t, A> {
        let (tree, omit) = (self.tree, self.omit);
        self.nodes().filter_map(move |(id, _)| Self::new(tree, id, omit))
    }

    /// The one child of this name; `None` if there is none.
    ///
    /// # Errors
    /// [`Error::Ambiguous`] if there are several: picking one is what wrapping attacks hope for.
    pub fn child(&self, namespace: &str, local: &str) -> Result<Option<Self>, Error> {
        let mut found = self.children().filter(|child| child.is(namespace, local));
        match (found.next(), found.next()) {
            (one, None) => Ok(one),
            (_, Some(_)) => Err(Error::Ambiguous(local.to_owned())),
        }
    }

    /// The whole text of an element that holds only text, however it was written.
    ///
    /// # Errors
    /// [`Error::ForbiddenMarkup`] for a processing instruction inside, and in unsigned content for a comment or CDATA
    /// section; [`Error::Unreadable`] for an element inside.
    pub fn text(&self) -> Result<Cow<'t, str>, Error> {
        let mut whole = Cow::Borrowed("");
        for (_, node) in self.nodes() {
            let at = node.span.0 as usize;
            match &node.kind {
                Kind::Text(text) => {
                    // `<` in the source of a text can only begin a CDATA section.
                    if !A::MARKUP_IN_VALUES && text.decoded && self.tree.source(node.span.0, node.span.1).contains('<') {
                        return Err(Error::ForbiddenMarkup { at });
                    }
                    let part = self.tree.text(*text);
                    if whole.is_empty() {
                        whole = Cow::Borrowed(part);
                    } else {
                        whole.to_mut().push_str(part);
                    }
                }
                Kind::Comment(_) if A::MARKUP_IN_VALUES => {}
                Kind::Comment(_) | Kind::ProcessingInstruction { .. } => return Err(Error::ForbiddenMarkup { at }),
                Kind::Element(_) => return Err(Error::Unreadable { what: "an element inside a value", at }),
            }
        }
        Ok(whole)
    }

    /// An error that points here.
    pub fn unreadable(&self, what: &'static str) -> Error {
        Error::Unreadable { what, at: self.at() }
    }

    pub(crate) fn prefix(&self) -> &'t str {
        self.tree.prefix(self.data.name)
    }

    /// Where its content begins; `None` for an empty-element tag.
    pub(crate) fn content(&self) -> Option<usize> {
        (self.data.content != self.node.span.1).then_some(self.data.content as usize)
    }

    /// Whether another element of the same tree is this one or inside it.
    pub(crate) fn contains(&self, other: NodeId) -> bool {
        self.id <= other && other.0 < self.node.end
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    /// A view of the same kind on another element of the same tree.
    pub(crate) fn at_node(&self, id: NodeId) -> Option<Self> {
        Self::new(self.tree, id, self.omit)
    }

    pub(crate) fn span(&self) -> (usize, usize) {
        (self.node.span.0 as usize, self.node.span.1 as usize)
    }

    pub(crate) fn is_blank(&self, text: Text) -> bool {
        self.tree.text(text).bytes().all(|octet| matches!(octet, b' ' | b'\t' | b'\r' | b'\n'))
    }

    /// The nodes directly in it, without the omitted one.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = (NodeId, &'t Node)> + use<'t, A> {
        let (tree, omit) = (self.tree, self.omit);
        let mut next = self.id.0 + 1;
        let end = self.node.end;
        std::iter::from_fn(move || {
            while next < end {
                let id = NodeId(next);
                let node = tree.node(id)?;
                next = node.end;
                if omit != Some(id) {
                    return Some((id, node));
                }
            }
            None
        })
    }
}

/// One element of one document, to compare. Two documents have no place in common.
#[derive(Clone)]
pub struct Place {
    pub(crate) tree: Arc<Tree>,
    pub(crate) id: NodeId,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.tree, &other.tree) && self.id == other.id
    }
}

impl Eq for Place {}

impl std::fmt::Debug for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Place(octet {})", self.tree.node(self.id).map_or(0, |node| node.span.0))
    }
}
