//! Tokens as their sender wrote them: user names, certificates, and what refers to them.
//!
//! Nothing here is proven. A user name is proven by its password, a certificate by a signature and a path, an assertion by its
//! issuer.

mod reference;
mod username;

pub(crate) use reference::{BinaryKind, BinaryToken, KeyInfo, Reference};
pub(crate) use username::Offered as UsernameOffer;
pub(crate) use username::password_digest;
pub use username::{Secret, UsernameToken};

use vestibule_xmlsec::{ElementView, Error as XmlError, Unsigned, decode_base64};

pub(crate) type View<'t> = ElementView<'t, Unsigned>;

/// Base64 with white space between the digits and nothing else.
pub(crate) fn base64(element: View<'_>, most: usize) -> Result<Vec<u8>, XmlError> {
    let text = element.text()?;
    // Four digits are three octets; lines add an end of two at most each 60.
    if text.len() > most.saturating_mul(3) / 2 + 64 {
        return Err(element.unreadable("a value longer than the limit"));
    }
    let octets = decode_base64(&text).ok_or_else(|| element.unreadable("a value that is not base64"))?;
    if octets.is_empty() || octets.len() > most {
        return Err(element.unreadable("a value that is empty or longer than the limit"));
    }
    Ok(octets)
}
