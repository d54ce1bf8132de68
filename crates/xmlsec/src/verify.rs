//! From a document and trusted keys to content that a signature covers.
//!
//! The order is the defence: find the element that must be signed by its position, refuse double ids, read its one
//! signature strictly, check the signature over `SignedInfo`, and only then follow references and digest. The result sees exactly
//! the nodes that were digested.

use std::sync::Arc;

use aws_lc_rs::digest::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::c14n::{self, Apex, Canonicalization, Sink};
use crate::diagnose::{Check, Unwatched, Watch};
use crate::document::{Document, SignedElement};
use crate::element::{ElementView, Unsigned};
use crate::error::{Error, ReferenceFault};
use crate::ids::Ids;
use crate::keys::{KeyId, Keys, TrustedKey, TrustedKeys};
use crate::profile::Profile;
use crate::shared::{self, SharedKey};
use crate::signature::{self, DS, Reference, Signature, Target, Via};
use crate::tokens::{self, Resolver};
use crate::tree::NodeId;
use crate::verified::{Element, Signer, Verified};

impl Document {
    /// Verifies the one signature that `what` carries as a child and that covers `what` itself.
    ///
    /// # Errors
    /// The first step that failed, for an operator's eyes.
    pub fn verify<'k>(&self, what: SignedElement<'_>, keys: impl Into<Keys<'k>>, profile: &Profile) -> Result<Verified<Element>, Error> {
        self.verify_watched(what, keys.into(), profile, &mut Unwatched)
    }

    /// Verifies a signature that stands apart from what it covers, or around it; gives each covered element by itself, in
    /// the order of the references. Where they stand is the caller's to demand: see [`Verified::place`].
    ///
    /// # Errors
    /// The first step that failed; nothing is verified unless everything is.
    pub fn verify_parts<'k>(
        &self,
        signature: SignedElement<'_>,
        keys: impl Into<Keys<'k>>,
        profile: &Profile,
    ) -> Result<Vec<Verified<Element>>, Error> {
        self.parts_watched(self.locate(signature)?, keys.into(), profile, &tokens::nothing, &mut Unwatched)
    }

    /// The same where references may lead to tokens by way of a `wsse:SecurityTokenReference`; such a part is the token, at the
    /// token's place.
    ///
    /// # Errors
    /// As [`Document::verify_parts`].
    pub fn verify_parts_and_tokens<'k>(
        &self,
        signature: SignedElement<'_>,
        keys: impl Into<Keys<'k>>,
        profile: &Profile,
        tokens: Resolver<'_>,
    ) -> Result<Vec<Verified<Element>>, Error> {
        self.parts_watched(self.locate(signature)?, keys.into(), profile, tokens, &mut Unwatched)
    }

    pub(crate) fn verify_watched(
        &self,
        what: SignedElement<'_>,
        keys: Keys<'_>,
        profile: &Profile,
        watch: &mut impl Watch,
    ) -> Result<Verified<Element>, Error> {
        watch.begin(Check::Element);
        let target = self.locate(what)?;
        let signature = target.child(DS, "Signature")?.ok_or(Error::SignatureMissing)?;
        watch.pass(|| format!("the element at octet {} carries one signature, at octet {}", target.at(), signature.at()));
        let ids = self.ids(profile, watch)?;
        let (read, key) = self.read_and_check(signature, keys, profile, watch)?;
        watch.begin(Check::Reference);
        // SAML core §5.4.2: one reference, to the signature's own parent.
        let [reference] = read.references.as_slice() else {
            return Err(Error::ReferenceRefused { uri: None, why: ReferenceFault::NoReference });
        };
        let node = self.resolve(reference, &ids)?;
        if node != target.id() || reference.via == Via::Token {
            return Err(Error::Wrapped { covered: reference.target.uri() });
        }
        watch.pass(|| format!("{:?} is the signature's own parent", reference.target.uri()));
        let element = self.digest(reference, node, signature, &tokens::nothing, watch)?;
        Ok(Verified::proven(element, Signer::Key(key)))
    }

    pub(crate) fn parts_watched(
        &self,
        signature: ElementView<'_, Unsigned>,
        keys: Keys<'_>,
        profile: &Profile,
        tokens: Resolver<'_>,
        watch: &mut impl Watch,
    ) -> Result<Vec<Verified<Element>>, Error> {
        watch.begin(Check::Element);
        if !signature.is(DS, "Signature") {
            return Err(Error::SignatureMissing);
        }
        watch.pass(|| format!("a signature at octet {}", signature.at()));
        let ids = self.ids(profile, watch)?;
        let (read, key) = self.read_and_check(signature, keys, profile, watch)?;
        let mut parts = Vec::with_capacity(read.references.len());
        for reference in &read.references {
            watch.begin(Check::Reference);
            let node = self.resolve(reference, &ids)?;
            watch.pass(|| format!("{:?} leads to the element at octet {}", reference.target.uri(), self.octet(node)));
            let element = self.digest(reference, node, signature, tokens, watch)?;
            parts.push(Verified::proven(element, Signer::Key(key)));
        }
        Ok(parts)
    }

    fn ids(&self, profile: &Profile, watch: &mut impl Watch) -> Result<Ids<'_>, Error> {
        watch.begin(Check::Ids);
        let ids = Ids::of(&self.tree, profile)?;
        watch.pass(|| format!("{} ids, each once", ids.len()));
        Ok(ids)
    }

    fn read_and_check<'t>(
        &'t self,
        signature: ElementView<'t, Unsigned>,
        keys: Keys<'_>,
        profile: &Profile,
        watch: &mut impl Watch,
    ) -> Result<(Signature<'t>, KeyId), Error> {
        watch.begin(Check::Signature);
        let read = signature::read(signature, profile)?;
        watch.pass(|| format!("{}, references: {}", read.algorithm.uri(), read.references.len()));
        let key = self.check(&read, keys, profile, watch)?;
        Ok((read, key))
    }

    /// The signature over `SignedInfo`, nothing else.
    fn check(&self, signature: &Signature<'_>, keys: Keys<'_>, profile: &Profile, watch: &mut impl Watch) -> Result<KeyId, Error> {
        watch.begin(Check::Key);
        let Tried { key, seen } = match keys {
            Keys::Public(keys) => self.check_public(signature, keys, profile)?,
            Keys::Shared(key) => self.check_shared(signature, key)?,
        };
        if let Ok(key) = key {
            watch.pass(|| format!("made with the trusted key {key}"));
            watch.begin(Check::SignedInfo);
            watch.pass(|| "the signature over SignedInfo is good".to_owned());
            return Ok(key);
        }
        let trusted = keys.ids();
        let seen = seen.unwrap_or_else(|| certificates(signature.key_info));
        if trusted.is_empty() || (!seen.is_empty() && seen.iter().all(|id| !trusted.contains(id))) {
            return Err(Error::UnknownKey { seen, trusted });
        }
        match key {
            Err(Unverified::Wrong) => {
                watch.pass(|| "a trusted key fits the algorithm".to_owned());
                watch.begin(Check::SignedInfo);
                Err(Error::SignatureInvalid { trusted })
            }
            Ok(_) | Err(Unverified::Unusable) => Err(Error::KeyRefused { uri: signature.algorithm.uri(), trusted }),
        }
    }

    /// Tries the keys in turn.
    fn check_public(&self, signature: &Signature<'_>, keys: &TrustedKeys, profile: &Profile) -> Result<Tried, Error> {
        let mut context = Context::new(signature.algorithm.hash().algorithm());
        self.write_info(signature, &mut context)?;
        let digest = context.finish();
        let mut candidates: Vec<&TrustedKey> = keys.strong_enough(profile).collect();
        let mut seen = None;
        if candidates.len() > 1 {
            // A hint only orders the attempts.
            let hints = seen.insert(certificates(signature.key_info));
            candidates.sort_by_key(|key| !hints.contains(&key.id));
        }
        let mut found = Err(Unverified::Unusable);
        for key in candidates {
            match key.verifies(signature.algorithm, &digest, &signature.value) {
                Some(true) => return Ok(Tried { key: Ok(key.id), seen }),
                Some(false) => found = Err(Unverified::Wrong),
                None => {}
            }
        }
        Ok(Tried { key: found, seen })
    }

    fn check_shared(&self, signature: &Signature<'_>, key: &SharedKey) -> Result<Tried, Error> {
        let Some(mut context) = key.context(signature.algorithm) else {
            return Ok(Tried { key: Err(Unverified::Unusable), seen: None });
        };
        self.write_info(signature, &mut context)?;
        let good = shared::is_tag(context, &signature.value);
        Ok(Tried { key: if good { Ok(key.id()) } else { Err(Unverified::Wrong) }, seen: None })
    }

    fn write_info(&self, signature: &Signature<'_>, sink: &mut impl Sink) -> Result<(), Error> {
        c14n::write(&self.tree, Apex::Element(signature.info), None, &signature.form, &self.limits, sink)
    }

    fn resolve(&self, reference: &Reference<'_>, ids: &Ids<'_>) -> Result<NodeId, Error> {
        match reference.target {
            Target::Document => Ok(self.tree.root),
            Target::Id(id) => ids.find(id).ok_or_else(|| refused(reference, ReferenceFault::Nothing)),
        }
    }

    fn digest(
        &self,
        reference: &Reference<'_>,
        node: NodeId,
        signature: ElementView<'_, Unsigned>,
        tokens: Resolver<'_>,
        watch: &mut impl Watch,
    ) -> Result<Element, Error> {
        watch.begin(Check::Digest);
        let mut element = Element {
            tree: Arc::clone(&self.tree),
            limits: self.limits,
            id: node,
            apex: match reference.target {
                Target::Document => Apex::Document,
                Target::Id(_) => Apex::Element(node),
            },
            omit: None,
            // XML Signature §4.4.3.3: `""` and `#id` select no comments, whatever the transform says.
            form: Canonicalization { with_comments: false, ..reference.form.clone() },
        };
        match reference.via {
            Via::Whole => {}
            // §6.6.4: only the signature that holds the transform is removed, by identity; elsewhere nothing (attack 19). A
            // signature that removes all it refers to would cover nothing (attack 4).
            Via::Enveloped if node == signature.id() => return Err(refused(reference, ReferenceFault::Void)),
            Via::Enveloped => element.omit = self.view(node)?.contains(signature.id()).then(|| signature.id()),
            Via::Token => {
                (element.tree, element.id) = tokens::dereference(self.view(node)?, &self.tree, tokens)?;
                element.apex = Apex::Token(element.id);
            }
        }
        let mut context = Context::new(reference.hash.algorithm());
        element.write(&mut context)?;
        let computed = context.finish();
        if computed.as_ref() != reference.digest.as_slice() {
            watch.differs(|| element.octets());
            return Err(Error::DigestMismatch {
                uri: reference.target.uri(),
                signed: STANDARD.encode(&reference.digest),
                computed: STANDARD.encode(computed.as_ref()),
            });
        }
        watch.pass(|| format!("{:?} is what was signed", reference.target.uri()));
        watch.covers(&element);
        Ok(element)
    }

    pub(crate) fn octet(&self, node: NodeId) -> u32 {
        self.tree.node(node).map_or(0, |node| node.span.0)
    }
}

/// What came of trying keys.
struct Tried {
    key: Result<KeyId, Unverified>,
    /// The keys that the message names, where it was asked for them.
    seen: Option<Vec<KeyId>>,
}

/// Why no key made a signature.
#[derive(Debug, Clone, Copy)]
enum Unverified {
    /// No key is of the type and size the algorithm needs.
    Unusable,
    /// Such a key was tried.
    Wrong,
}

fn refused(reference: &Reference<'_>, why: ReferenceFault) -> Error {
    Error::ReferenceRefused { uri: Some(reference.target.uri()), why }
}

/// The keys of the certificates in a `KeyInfo`. Unreadable ones are nothing: they are hints.
pub(crate) fn certificates(key_info: Option<ElementView<'_, Unsigned>>) -> Vec<KeyId> {
    let mut found = Vec::new();
    let data = key_info.into_iter().flat_map(|info| info.children().filter(|child| child.is(DS, "X509Data")));
    for certificate in data.flat_map(|data| data.children().filter(|child| child.is(DS, "X509Certificate"))).take(MOST_CERTIFICATES) {
        let der = certificate.text().ok().and_then(|text| crate::base64::decode(&text));
        found.extend(der.and_then(|der| KeyId::of_certificate(&der).ok()));
    }
    found
}

/// Certificates of one message that are looked at.
const MOST_CERTIFICATES: usize = 8;
