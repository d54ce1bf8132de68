//! What is read from signed content only cannot be claimed.
use vestibule_xmlsec::{Document, ElementView, Error, FromSigned, Signed};

struct Assertion;

impl FromSigned for Assertion {
    fn from_signed(_: ElementView<'_, Signed>) -> Result<Self, Error> {
        Ok(Self)
    }
}

fn shortcut(document: &Document) {
    let _ = document.claim::<Assertion>();
}

fn main() {}
