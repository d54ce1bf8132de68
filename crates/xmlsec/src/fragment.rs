//! An element that stands by itself, and what limits count of it.
//!
//! What an attacker tries: content that ends the element it is put into, or that takes another meaning from the prefixes
//! around it. A fragment was read where no prefix was known, or written by a [`Writer`](crate::Writer), which knows its own
//! namespaces only; so it can be put anywhere, and what it adds to a document is known without reading it again.

use std::ops::Deref;

use aws_lc_rs::digest::digest;
use zeroize::Zeroize;

use crate::c14n::{Canonicalization, canonicalize};
use crate::error::Error;
use crate::limits::Limits;
use crate::sign;
use crate::signing_key::{Purpose, SigningKey, Signs as _};
use crate::tree::{Kind, Node, Tree};

/// One element with all the namespaces it uses. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Fragment {
    pub(crate) xml: String,
    pub(crate) extent: Extent,
    /// The octets are their own exclusive canonical form.
    pub(crate) canonical: bool,
    pub(crate) signature: Option<SignaturePlace>,
}

/// What limits count of a document, or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    /// All nodes.
    pub(crate) nodes: usize,
    /// Elements inside each other.
    pub(crate) depth: usize,
    /// The most attributes of one element.
    pub(crate) attributes: usize,
    /// The most declarations in scope at once.
    pub(crate) namespaces: usize,
    /// Octets of the longest name.
    pub(crate) name: usize,
}

/// Where a signature belongs, and how many declarations are in scope there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignaturePlace {
    pub(crate) at: usize,
    pub(crate) namespaces: usize,
}

impl std::fmt::Debug for Fragment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Fragment({} octets)", self.xml.len())
    }
}

/// Its octets.
impl Deref for Fragment {
    type Target = str;

    fn deref(&self) -> &str {
        &self.xml
    }
}

impl From<Fragment> for String {
    fn from(fragment: Fragment) -> Self {
        fragment.xml
    }
}

impl Zeroize for Fragment {
    fn zeroize(&mut self) {
        self.xml.zeroize();
    }
}

impl Fragment {
    /// Reads somebody else's element.
    ///
    /// # Errors
    /// [`Error::Malformed`], and [`Error::Unreadable`] if it is not one element that says its namespace.
    pub fn parse(xml: &str, limits: &Limits) -> Result<Self, Error> {
        let tree = crate::parse::parse(xml.as_bytes(), limits)?;
        let whole = tree.node(tree.root).map(|node| (node.span.0 as usize, node.span.1 as usize));
        // In no namespace only by saying so: a default namespace of the place would take it in.
        let is_named = |node: &Node| match node.kind {
            Kind::Element(data) => data.name.prefix != 0 || tree.resolve(data.scope, b"").is_some(),
            Kind::Text(_) | Kind::Comment(_) | Kind::ProcessingInstruction { .. } => true,
        };
        if whole != Some((0, xml.len())) || !tree.nodes.iter().all(is_named) {
            return Err(Error::Unreadable { what: "not one element with its namespace", at: 0 });
        }
        let extent = Extent::of(&tree);
        Ok(Self { xml: tree.source, extent, canonical: false, signature: None })
    }

    /// The element with a signature over all of it where its [`Writer`](crate::Writer) left a place for one. `id` is the
    /// value of its attribute that is an id.
    ///
    /// What a writer wrote is canonical already: its octets are digested as they stand, and nothing is read. If that were ever
    /// wrong, the signature would not verify.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if there is no place for a signature, or one is there, or the id cannot be referred to;
    /// [`Error::Key`] if the provider cannot sign.
    pub fn signed<P: Purpose>(&self, id: &str, key: &SigningKey<P>) -> Result<Self, Error> {
        let place = self.signature.ok_or(Error::Unreadable { what: "no place for a signature", at: 0 })?;
        let hash = key.method().hash().algorithm();
        let digest = if self.canonical {
            digest(hash, self.xml.as_bytes())
        } else {
            digest(hash, &canonicalize(self.xml.as_bytes(), &Limits::MESSAGE, &Canonicalization::EXCLUSIVE)?)
        };
        let signature = sign::over_its_parent(id, digest, key)?;
        let missing = Error::Unreadable { what: "no place for a signature", at: place.at };
        let (before, after) = self.xml.split_at_checked(place.at).ok_or(missing)?;
        Ok(Self {
            xml: [before, &signature.xml, after].concat(),
            extent: self.extent.with(&signature.extent, 1, place.namespaces),
            canonical: false,
            signature: None,
        })
    }
}

impl Extent {
    /// Counts what was read.
    pub(crate) fn of(tree: &Tree) -> Self {
        let mut extent = Self { nodes: 0, namespaces: most_in_scope(tree), ..Self::default() };
        let mut depths: Vec<usize> = Vec::with_capacity(tree.nodes.len());
        for node in &tree.nodes {
            let around = node.parent().and_then(|parent| depths.get(parent.0 as usize)).copied().unwrap_or(0);
            depths.push(around + 1);
            match &node.kind {
                Kind::Element(element) => {
                    let attributes = tree.attributes(element);
                    extent.element(around + 1, attributes.len(), 0, usize::from(element.name.length));
                    let longest = attributes.iter().map(|attribute| usize::from(attribute.name.length)).max();
                    extent.name = extent.name.max(longest.unwrap_or(0));
                }
                Kind::ProcessingInstruction { target, .. } => {
                    extent.nodes += 1;
                    extent.name = extent.name.max(usize::from(target.length));
                }
                Kind::Text(_) | Kind::Comment(_) => extent.nodes += 1,
            }
        }
        let declared = |declaration: &crate::tree::Declaration| (declaration.prefix.1 - declaration.prefix.0) as usize + "xmlns:".len();
        extent.name = extent.name.max(tree.declarations.iter().map(declared).max().unwrap_or(0));
        extent
    }

    /// Counts an element at this depth, with so many attributes and declarations in scope, under a name of this length.
    pub(crate) fn element(&mut self, depth: usize, attributes: usize, namespaces: usize, name: usize) {
        self.nodes += 1;
        self.depth = self.depth.max(depth);
        self.attributes = self.attributes.max(attributes);
        self.namespaces = self.namespaces.max(namespaces);
        self.name = self.name.max(name);
    }

    /// With another put into it at this depth, where so many declarations are in scope.
    pub(crate) fn with(&self, other: &Self, depth: usize, namespaces: usize) -> Self {
        Self {
            nodes: self.nodes + other.nodes,
            depth: self.depth.max(depth + other.depth),
            attributes: self.attributes.max(other.attributes),
            namespaces: self.namespaces.max(namespaces + other.namespaces),
            name: self.name.max(other.name),
        }
    }
}

/// The most declarations that are in scope at once anywhere.
pub(crate) fn most_in_scope(tree: &Tree) -> usize {
    let mut counts: Vec<usize> = Vec::with_capacity(tree.declarations.len());
    for declaration in &tree.declarations {
        let outer = declaration.outer.get().and_then(|outer| counts.get(outer as usize)).copied().unwrap_or(0);
        counts.push(outer + 1);
    }
    counts.into_iter().max().unwrap_or(0)
}
