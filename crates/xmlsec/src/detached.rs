//! Signatures over octets that are no XML: the SAML Redirect binding (SAML bindings §3.4.4.1).
//!
//! What an attacker tries: to have one spelling of the query verified and another one read (attack 38). The signature covers
//! the octets as they were received, and the message is decoded from those very octets: by a function without captures, so
//! that nothing else can flow in.

use aws_lc_rs::digest;

use crate::document::Document;
use crate::error::{Error, Role};
use crate::keys::{Keys, TrustedKeys};
use crate::limits::Limits;
use crate::profile::{Profile, SignatureAlgorithm};
use crate::signature::shortened;
use crate::verified::{Element, Signer, Verified};

/// Octets that a signature covers.
#[derive(Clone, PartialEq, Eq)]
pub struct Octets(Vec<u8>);

impl std::fmt::Debug for Octets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // They may carry a token.
        write!(f, "Octets({})", self.0.len())
    }
}

/// Verifies a signature over `octets`: for the Redirect binding the part of the query string that the binding names,
/// spelled as received. `algorithm` is the decoded `SigAlg`, `signature` the decoded `Signature`.
///
/// # Errors
/// [`Error::AlgorithmRefused`], [`Error::KeyRefused`] or [`Error::SignatureInvalid`].
pub fn verify_detached(
    octets: &[u8],
    algorithm: &str,
    signature: &[u8],
    keys: &TrustedKeys,
    profile: &Profile,
) -> Result<Verified<Octets>, Error> {
    let known = SignatureAlgorithm::from_uri(algorithm).filter(|known| profile.admits(*known));
    let known = known.ok_or_else(|| Error::AlgorithmRefused { role: Role::Signature, uri: shortened(algorithm) })?;
    let digest = digest::digest(known.hash().algorithm(), octets);
    let mut tried = false;
    for key in keys.strong_enough(profile) {
        match key.verifies(known, &digest, signature) {
            Some(true) => return Ok(Verified::proven(Octets(octets.to_vec()), Signer::Key(key.id))),
            Some(false) => tried = true,
            None => {}
        }
    }
    let trusted = Keys::from(keys).ids();
    if tried { Err(Error::SignatureInvalid { trusted }) } else { Err(Error::KeyRefused { uri: known.uri(), trusted }) }
}

impl Verified<Octets> {
    /// The octets.
    pub fn octets(&self) -> &[u8] {
        &self.value().0
    }

    /// The document inside the octets, as `decode` takes it out of them.
    ///
    /// # Errors
    /// [`Error::DetachedContent`] if `decode` finds none, [`Error::Malformed`] if it is not readable.
    pub fn document(&self, decode: fn(&[u8]) -> Option<Vec<u8>>, limits: &Limits) -> Result<Verified<Element>, Error> {
        let decoded = decode(self.octets()).ok_or(Error::DetachedContent)?;
        let element = Element::whole(Document::parse(&decoded, limits)?);
        Ok(Verified::proven(element, self.signer().clone()))
    }
}
