//! Messages and assertions by the writer of the XML core, which cannot be injected (attack 50).

pub(crate) use vestibule_xmlsec::Writer;
use vestibule_xmlsec::{Error as XmlError, Fragment, Malformed};

use crate::error::Error;

/// Writes a document of one root element.
pub(crate) fn document(name: &'static str, content: impl FnOnce(&mut Writer)) -> Result<String, Error> {
    Writer::document(name, content).map_err(unwritable)
}

/// Writes an element that can be put anywhere.
pub(crate) fn fragment(name: &'static str, content: impl FnOnce(&mut Writer)) -> Result<Fragment, Error> {
    Writer::fragment(name, content).map_err(unwritable)
}

fn unwritable(error: XmlError) -> Error {
    match error {
        XmlError::Malformed { why: Malformed::Character, .. } => Error::Character,
        other => Error::Xml(other),
    }
}
