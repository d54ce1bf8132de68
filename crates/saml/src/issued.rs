//! A message that this crate wrote, signed or not, on its way to a binding.

use vestibule_xmlsec::{Document, Placement, Purpose, SignedElement, SigningKey};

use crate::binding::MESSAGE_LIMITS;
use crate::error::Error;
use crate::names::{SAML, SAMLP, SAMLP1};
use crate::protocol::{ArtifactRequest11, ArtifactResolve, ArtifactResponse, AuthnRequest, LogoutRequest, LogoutResponse};

/// A whole document. Nothing else can be embedded in other messages. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Issued(String);

impl std::fmt::Debug for Issued {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Issued({} octets)", self.0.len())
    }
}

impl Issued {
    /// The document.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A message that was made here before and kept, octet by octet, where nobody else could write: behind an artifact.
    pub fn restored(kept: String) -> Self {
        Self(kept)
    }

    pub(crate) fn unsigned(xml: String) -> Self {
        Self(xml)
    }

    /// With an enveloped signature over the root element, where the schema puts it.
    ///
    /// # Errors
    /// [`Error::Xml`] if it is signed already.
    pub(crate) fn signed<P: Purpose>(xml: &str, root: (&str, &str), placement: Placement<'_>, key: &SigningKey<P>) -> Result<Self, Error> {
        let document = Document::parse(xml.as_bytes(), &MESSAGE_LIMITS)?;
        let octets = document.sign_enveloped(SignedElement::Path(&[root]), placement, &[], key)?;
        // INVARIANT: a signature put into UTF-8 at an element's border leaves UTF-8.
        String::from_utf8(octets).map(Self).map_err(|_| Error::Unwritable("the signed document is not UTF-8"))
    }
}

/// A message that can be sent by itself.
pub trait Sendable {
    /// Unsigned: for Redirect, whose signature covers the query, and for partners that want none.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    fn unsigned(&self) -> Result<Issued, Error>;

    /// With an enveloped signature, for POST and SOAP.
    ///
    /// # Errors
    /// As [`Sendable::unsigned`], and [`Error::Xml`] if the key cannot sign.
    fn signed<P: Purpose>(&self, key: &SigningKey<P>) -> Result<Issued, Error>;
}

macro_rules! sendable {
    ($($message:ty: $namespace:expr, $name:literal, $placement:expr);+) => {$(
        impl Sendable for $message {
            fn unsigned(&self) -> Result<Issued, Error> {
                self.to_xml().map(Issued::unsigned)
            }

            fn signed<P: Purpose>(&self, key: &SigningKey<P>) -> Result<Issued, Error> {
                Issued::signed(&self.to_xml()?, ($namespace, $name), $placement, key)
            }
        }
    )+};
}

// Core §3.2.1, §3.2.2: the signature follows the issuer; SAML 1.1 §3.2.1: it comes first but for what is asked.
sendable!(
    AuthnRequest: SAMLP, "AuthnRequest", Placement::After(SAML, "Issuer");
    LogoutRequest: SAMLP, "LogoutRequest", Placement::After(SAML, "Issuer");
    LogoutResponse: SAMLP, "LogoutResponse", Placement::After(SAML, "Issuer");
    ArtifactResolve: SAMLP, "ArtifactResolve", Placement::After(SAML, "Issuer");
    ArtifactRequest11: SAMLP1, "Request", Placement::First
);

impl ArtifactResponse {
    /// The answer with the message inside, `None` where there is none, with an enveloped signature over all of it.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`], [`Error::Xml`].
    pub fn signed<P: Purpose>(&self, message: Option<&Issued>, key: &SigningKey<P>) -> Result<Issued, Error> {
        Issued::signed(&self.to_xml(message)?, (SAMLP, "ArtifactResponse"), Placement::After(SAML, "Issuer"), key)
    }

    /// The answer unsigned, for partners that trust the channel.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    pub fn unsigned(&self, message: Option<&Issued>) -> Result<Issued, Error> {
        self.to_xml(message).map(Issued::unsigned)
    }
}
