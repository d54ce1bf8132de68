//! A view of what a sender says is no view of signed content, and nothing turns it into one.
use vestibule_xmlsec::{ElementView, Error, FromClaimed, FromSigned, Signed, Unsigned};

struct Assertion;

impl FromSigned for Assertion {
    fn from_signed(_: ElementView<'_, Signed>) -> Result<Self, Error> {
        Ok(Self)
    }
}

impl FromClaimed for Assertion {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
        Self::from_signed(root)
    }
}

fn main() {}
