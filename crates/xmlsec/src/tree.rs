//! The owned arena tree, private to this crate.
//!
//! Nodes stand in document order, so that a subtree is a range of indices and a walk is a loop. Texts are spans of the
//! received octets wherever decoding changes nothing; the rest lives in one heap beside them.

use std::cmp::Ordering;

/// The index of a node. The root element is not necessarily the first: comments may precede it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeId(pub(crate) u32);

/// A text: octets of the source or of the heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// In the heap, because references or line ends had to be decoded.
    pub(crate) decoded: bool,
    /// Holds nothing that canonicalization would escape, in text or in attribute values.
    pub(crate) plain: bool,
}

/// A name as written: `prefix:local`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) start: u32,
    /// Octets of the prefix, 0 if there is none.
    pub(crate) prefix: u16,
    pub(crate) length: u16,
}

impl Name {
    pub(crate) fn end(self) -> u32 {
        self.start + u32::from(self.length)
    }

    pub(crate) fn local_length(self) -> u32 {
        self.end() - self.local_start()
    }

    fn local_start(self) -> u32 {
        self.start + if self.prefix == 0 { 0 } else { u32::from(self.prefix) + 1 }
    }
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Element(Element),
    Text(Text),
    Comment(Text),
    ProcessingInstruction { target: Name, data: Text },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Element {
    pub(crate) name: Name,
    /// The namespace it is in.
    pub(crate) namespace: NamespaceId,
    /// Its attributes: a range of `Tree::attributes`, in document order.
    pub(crate) attributes: (u32, u32),
    /// Its own declarations: a range of `Tree::declarations`.
    pub(crate) declarations: (u32, u32),
    /// The innermost declaration in scope here, its own included.
    pub(crate) scope: Link,
    /// One past its start tag.
    pub(crate) content: u32,
    /// The start tag is written as canonicalization writes it, if the declarations that it has to have are its own.
    pub(crate) verbatim: bool,
    /// There is an end tag, and no white space in it.
    pub(crate) plain_end: bool,
    /// An attribute has a prefix.
    pub(crate) prefixed: bool,
    /// All that is in it, and its end tag, is written as canonicalization writes it, and uses no other prefix than its own.
    pub(crate) plain_content: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) above: Link,
    /// One past the last node of its subtree.
    pub(crate) end: u32,
    /// Its octets in the source.
    pub(crate) span: (u32, u32),
}

impl Node {
    pub(crate) fn parent(&self) -> Option<NodeId> {
        self.above.get().map(NodeId)
    }
}

/// An index or none, in four octets: a document of a megabyte has ten thousand of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link(u32);

impl Link {
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) fn to(index: u32) -> Self {
        Self(index)
    }

    pub(crate) fn get(self) -> Option<u32> {
        (self != Self::NONE).then_some(self.0)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attribute {
    pub(crate) name: Name,
    pub(crate) namespace: NamespaceId,
    pub(crate) value: Text,
}

/// A namespace declaration, linked to the next outer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Declaration {
    /// The declared prefix; empty for the default namespace.
    pub(crate) prefix: (u32, u32),
    /// The [`key`] of the prefix.
    pub(crate) key: u32,
    pub(crate) namespace: NamespaceId,
    pub(crate) outer: Link,
}

/// A number that equal names have in common: their length, their first and last two octets. Where sixty namespaces are in
/// scope, comparing numbers keeps the search for one of them cheap.
pub(crate) fn key(name: &[u8]) -> u32 {
    // INVARIANT: what is cut off of a length is compared with the names.
    let length = (name.len() & 0xff) as u32;
    match name {
        [] => 0,
        [first] => length | u32::from(*first) << 8,
        [first, .., before, last] => length | u32::from(*first) << 8 | u32::from(*before) << 16 | u32::from(*last) << 24,
        [first, last] => length | u32::from(*first) << 8 | u32::from(*last) << 24,
    }
}

/// An interned namespace name. Equal ids are equal names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct NamespaceId(pub(crate) u32);

impl NamespaceId {
    /// No namespace.
    pub(crate) const NONE: Self = Self(0);
    /// `http://www.w3.org/XML/1998/namespace`.
    pub(crate) const XML: Self = Self(1);
}

/// The namespace of `xml:`.
pub(crate) const XML_NAMESPACE: &str = "http://www.w3.org/XML/1998/namespace";
/// The namespace of `xmlns:`, which nobody may declare.
pub(crate) const XMLNS_NAMESPACE: &str = "http://www.w3.org/2000/xmlns/";

/// A parsed document. While it is read its source is borrowed.
#[derive(Debug)]
pub(crate) struct Tree<S = String> {
    pub(crate) source: S,
    pub(crate) heap: String,
    pub(crate) nodes: Vec<Node>,
    pub(crate) attributes: Vec<Attribute>,
    pub(crate) declarations: Vec<Declaration>,
    pub(crate) namespaces: Vec<(Text, u32)>,
    pub(crate) root: NodeId,
    /// Attributes whose names end as the ids of all standards do, and their elements.
    pub(crate) likely_ids: Vec<(NodeId, u32)>,
    /// What of the source stood there encrypted.
    pub(crate) plaintexts: Vec<Plaintext>,
}

/// Octets of the source that were decrypted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plaintext {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// 1 for ciphertext that stood in the received document.
    pub(crate) depth: usize,
}

impl Tree<&str> {
    /// The tree with another source, which has to be the same octets.
    pub(crate) fn over<S>(self, source: S) -> Tree<S> {
        let Self { source: _, heap, nodes, attributes, declarations, namespaces, root, likely_ids, plaintexts } = self;
        Tree { source, heap, nodes, attributes, declarations, namespaces, root, likely_ids, plaintexts }
    }
}

impl<S: AsRef<str>> Tree<S> {
    /// Octets of the source as text.
    pub(crate) fn source(&self, start: u32, end: u32) -> &str {
        // INVARIANT: the parser cuts at ASCII delimiters only, so that every span is a text.
        self.source.as_ref().get(start as usize..end as usize).unwrap_or_default()
    }

    /// Octets of the source.
    pub(crate) fn octets(&self, start: u32, end: u32) -> &[u8] {
        self.source.as_ref().as_bytes().get(start as usize..end as usize).unwrap_or_default()
    }

    pub(crate) fn text(&self, text: Text) -> &str {
        if text.decoded {
            self.heap.get(text.start as usize..text.end as usize).unwrap_or_default()
        } else {
            self.source(text.start, text.end)
        }
    }

    /// The name as written.
    pub(crate) fn qualified(&self, name: Name) -> &str {
        self.source(name.start, name.end())
    }

    pub(crate) fn prefix(&self, name: Name) -> &str {
        self.source(name.start, name.start + u32::from(name.prefix))
    }

    pub(crate) fn local(&self, name: Name) -> &str {
        self.source(name.local_start(), name.end())
    }

    // Comparing octets saves the question whether a span is cut between characters.

    pub(crate) fn local_octets(&self, name: Name) -> &[u8] {
        self.octets(name.local_start(), name.end())
    }

    pub(crate) fn prefix_octets(&self, name: Name) -> &[u8] {
        self.octets(name.start, name.start + u32::from(name.prefix))
    }

    pub(crate) fn text_octets(&self, text: Text) -> &[u8] {
        if text.decoded {
            self.heap.as_bytes().get(text.start as usize..text.end as usize).unwrap_or_default()
        } else {
            self.octets(text.start, text.end)
        }
    }

    pub(crate) fn namespace(&self, id: NamespaceId) -> &str {
        match id {
            NamespaceId::NONE => "",
            NamespaceId::XML => XML_NAMESPACE,
            NamespaceId(index) => self.namespaces.get(index as usize - 2).map_or("", |(text, _)| self.text(*text)),
        }
    }

    pub(crate) fn namespace_octets(&self, id: NamespaceId) -> &[u8] {
        match id {
            NamespaceId::NONE => b"",
            NamespaceId::XML => XML_NAMESPACE.as_bytes(),
            NamespaceId(index) => self.namespaces.get(index as usize - 2).map_or(b"", |(text, _)| self.text_octets(*text)),
        }
    }

    /// Canonical XML §2.3: by namespace name, then local name; unprefixed attributes first.
    pub(crate) fn canonical_order(&self, one: &Attribute, other: &Attribute) -> Ordering {
        let by_namespace = if one.namespace == other.namespace {
            Ordering::Equal
        } else {
            self.namespace_octets(one.namespace).cmp(self.namespace_octets(other.namespace))
        };
        by_namespace.then_with(|| self.local_octets(one.name).cmp(self.local_octets(other.name)))
    }

    pub(crate) fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(id.0 as usize)
    }

    pub(crate) fn attributes(&self, element: &Element) -> &[Attribute] {
        self.attributes.get(element.attributes.0 as usize..element.attributes.1 as usize).unwrap_or_default()
    }

    pub(crate) fn declarations(&self, element: &Element) -> &[Declaration] {
        self.declarations.get(element.declarations.0 as usize..element.declarations.1 as usize).unwrap_or_default()
    }

    /// The declarations in scope, innermost first; a prefix may occur more than once.
    pub(crate) fn scope(&self, from: Link) -> impl Iterator<Item = &Declaration> {
        let mut next = from;
        std::iter::from_fn(move || {
            let declaration = self.declarations.get(next.get()? as usize)?;
            next = declaration.outer;
            Some(declaration)
        })
    }

    /// The prefix that a declaration declares.
    pub(crate) fn declared(&self, declaration: &Declaration) -> &[u8] {
        self.octets(declaration.prefix.0, declaration.prefix.1)
    }

    /// The [`key`] of a namespace's name.
    pub(crate) fn namespace_key(&self, id: NamespaceId) -> u32 {
        match id {
            NamespaceId::NONE | NamespaceId::XML => 0,
            NamespaceId(index) => self.namespaces.get(index as usize - 2).map_or(0, |(_, key)| *key),
        }
    }

    /// What a prefix means inside an element; the empty prefix is the default namespace.
    pub(crate) fn resolve(&self, scope: Link, prefix: &[u8]) -> Option<NamespaceId> {
        if prefix == b"xml" {
            return Some(NamespaceId::XML);
        }
        let key = key(prefix);
        let found = self.scope(scope).find(|declaration| declaration.key == key && self.declared(declaration) == prefix);
        found.map(|declaration| declaration.namespace)
    }
}
