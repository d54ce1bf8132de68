//! A parsed document, which shows nothing by itself.
//!
//! Either a signature is verified and what it covers is read ([`Document::verify`]), or somebody asks by name for what
//! the sender merely says ([`Document::claim`]). There is no third way in.

use std::sync::Arc;

use crate::element::{ElementView, Place, Unsigned};
use crate::error::Error;
use crate::limits::Limits;
use crate::tree::{NodeId, Tree};

/// A well-formed document within its limits. It has no accessors.
#[derive(Debug, Clone)]
pub struct Document {
    pub(crate) tree: Arc<Tree>,
    pub(crate) limits: Limits,
}

impl Document {
    /// Reads a document and keeps a copy of it.
    ///
    /// # Errors
    /// [`Error::Malformed`] with the octet where it went wrong.
    pub fn parse(octets: &[u8], limits: &Limits) -> Result<Self, Error> {
        Ok(Self { tree: Arc::new(crate::parse::parse(octets, limits)?), limits: *limits })
    }

    /// Reads a document that nobody else needs: large ones are not copied.
    ///
    /// # Errors
    /// As [`Document::parse`].
    pub fn parse_owned(octets: Vec<u8>, limits: &Limits) -> Result<Self, Error> {
        Ok(Self { tree: Arc::new(crate::parse::parse_owned(octets, limits)?), limits: *limits })
    }

    /// Reads what the sender says, from the root element on, without any proof.
    ///
    /// # Errors
    /// Whatever the reader of `M` refuses.
    pub fn claim<M: FromClaimed>(&self) -> Result<Claimed<M>, Error> {
        M::from_claimed(self.root()?).map(Claimed)
    }

    pub(crate) fn root(&self) -> Result<ElementView<'_, Unsigned>, Error> {
        self.view(self.tree.root)
    }

    pub(crate) fn view(&self, id: NodeId) -> Result<ElementView<'_, Unsigned>, Error> {
        ElementView::new(&self.tree, id, None).ok_or_else(|| Error::ElementMissing("element".to_owned()))
    }

    /// The element that has to be signed.
    pub(crate) fn locate(&self, what: SignedElement<'_>) -> Result<ElementView<'_, Unsigned>, Error> {
        match what {
            SignedElement::At(place) if Arc::ptr_eq(&place.tree, &self.tree) => self.view(place.id),
            SignedElement::At(_) => Err(Error::ElementMissing("element of this document".to_owned())),
            SignedElement::Path(path) => {
                let missing = |local: &str| Error::ElementMissing(local.to_owned());
                let mut steps = path.iter();
                let mut here = self.root()?;
                match steps.next() {
                    Some((namespace, local)) if here.is(namespace, local) => {}
                    Some((_, local)) => return Err(missing(local)),
                    None => return Err(missing("element named by an empty path")),
                }
                for (namespace, local) in steps {
                    here = here.child(namespace, local)?.ok_or_else(|| missing(local))?;
                }
                Ok(here)
            }
        }
    }
}

/// Which element has to be signed. Its position is part of the demand.
#[derive(Debug, Clone, Copy)]
pub enum SignedElement<'a> {
    /// The path from the root element, by namespace and local name; each step must be the only one of its name.
    Path(&'a [(&'a str, &'a str)]),
    /// An element that was found while reading claims.
    At(&'a Place),
}

/// Something without authority of its own: issuer hints, requests, credentials that prove themselves.
///
/// An assertion never implements this.
pub trait FromClaimed: Sized {
    /// Reads it from the root element.
    ///
    /// # Errors
    /// [`Error::Unreadable`] and what the view refuses.
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error>;
}

/// What the sender says.
#[derive(Debug, Clone)]
pub struct Claimed<M>(M);

impl<M> Claimed<M> {
    /// What the sender says. Nobody vouches for it; reviewers search for this word.
    pub fn sender_says(&self) -> &M {
        &self.0
    }

    /// The same, to be kept.
    pub fn into_sender_says(self) -> M {
        self.0
    }
}
