//! Unsigned messages that a partner sent over a channel it authenticated: artifact resolution only (SAML 1.1, 2.0 by
//! concession).
//!
//! What an attacker tries: to be taken for the partner. The operator pins the partner's TLS key; the certificate is the one of
//! the very handshake that brought the octets; and whoever reads the message holds its issuer against [`PinnedPeer::partner`].

use std::sync::Arc;

use crate::document::Document;
use crate::error::Error;
use crate::keys::KeyId;
use crate::verified::{Element, Signer, Verified};

/// A partner whose TLS key was pinned by an operator and shown in a handshake.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PinnedPeer {
    partner: Arc<str>,
    key: KeyId,
}

impl PinnedPeer {
    /// The partner of this name (its entity id), if the certificate of the handshake (DER) carries one of the pinned keys.
    ///
    /// # Errors
    /// [`Error::UnknownKey`] if it does not, [`Error::Key`] if it is no certificate.
    pub fn confirm(partner: &str, pinned: &[KeyId], presented: &[u8]) -> Result<Self, Error> {
        let key = KeyId::of_certificate(presented)?;
        if pinned.contains(&key) {
            Ok(Self { partner: partner.into(), key })
        } else {
            Err(Error::UnknownKey { seen: vec![key], trusted: pinned.to_vec() })
        }
    }

    /// Whom the operator named. Has to be the issuer of what is read.
    pub fn partner(&self) -> &str {
        &self.partner
    }

    /// The key it showed.
    pub fn key(&self) -> KeyId {
        self.key
    }
}

impl Document {
    /// Takes the whole document for said by the peer, without a signature. Reviewers search for this word.
    pub fn vouched_by_channel(self, peer: PinnedPeer) -> Verified<Element> {
        Verified::proven(Element::whole(self), Signer::Channel(peer))
    }
}
