//! Enveloped signatures (XML Signature 1.1 §6.6.4) with keys that sign one kind of thing each.
//!
//! A key that signs assertions and requests alike lets one be taken for the other; the purpose is part of the key's type
//! and of its stored record. The signature is put into the received octets; nothing else of them changes.

use std::marker::PhantomData;

use aws_lc_rs::digest::Context;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self as lc, EcdsaKeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::c14n::{self, Apex, Canonicalization};
use crate::document::{Document, SignedElement};
use crate::element::{ElementView, Unsigned};
use crate::error::{Error, KeyFault};
use crate::keys::KeyId;
use crate::profile::{ENVELOPED, Hash, Profile, SignatureAlgorithm};
use crate::signature::DS;
use crate::verify::id_of;

/// What a key signs.
pub trait Purpose {
    /// The word in the stored record.
    const NAME: &'static str;
}

/// Responses and assertions of the identity provider.
#[derive(Debug, Clone, Copy)]
pub enum IdentityProvider {}
/// Requests of the service provider.
#[derive(Debug, Clone, Copy)]
pub enum ServiceProvider {}
/// Tokens of the token service.
#[derive(Debug, Clone, Copy)]
pub enum TokenService {}
/// SOAP messages.
#[derive(Debug, Clone, Copy)]
pub enum WebServices {}

impl Purpose for IdentityProvider {
    const NAME: &'static str = "idp";
}
impl Purpose for ServiceProvider {
    const NAME: &'static str = "sp";
}
impl Purpose for TokenService {
    const NAME: &'static str = "sts";
}
impl Purpose for WebServices {
    const NAME: &'static str = "ws-security";
}

/// A private key for one purpose.
pub struct SigningKey<P> {
    pair: Pair,
    algorithm: SignatureAlgorithm,
    id: KeyId,
    certificate: Option<Vec<u8>>,
    purpose: PhantomData<P>,
}

enum Pair {
    Rsa(Box<RsaKeyPair>),
    Ecdsa(Box<EcdsaKeyPair>),
}

impl<P: Purpose> std::fmt::Debug for SigningKey<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey<{}>({}, {:?})", P::NAME, self.id, self.algorithm)
    }
}

impl<P: Purpose> SigningKey<P> {
    /// Reads a private key from PKCS#8 in DER. `purpose` is what its record says, `certificate` (DER) goes into `KeyInfo`.
    /// RSA signs PKCS#1 v1.5 with SHA-256, elliptic curves the hash of their size.
    ///
    /// # Errors
    /// [`Error::Key`] if the record names another purpose, the key is unreadable or too weak, or the certificate is not its.
    pub fn from_pkcs8(purpose: &str, pkcs8: &[u8], certificate: Option<&[u8]>) -> Result<Self, Error> {
        if purpose != P::NAME {
            return Err(Error::Key(KeyFault::Purpose));
        }
        let unusable = |_| Error::Key(KeyFault::Unusable);
        let (pair, algorithm, id) = if let Ok(pair) = RsaKeyPair::from_pkcs8(pkcs8) {
            let bits = pair.public_modulus_len() * 8;
            if bits < 2048 {
                return Err(Error::Key(KeyFault::Size { bits }));
            }
            let id = KeyId::of(pair.public_key().as_der().map_err(unusable)?.as_ref());
            (Pair::Rsa(Box::new(pair)), SignatureAlgorithm::RsaPkcs1(Hash::Sha256), id)
        } else {
            let curves = [
                (&lc::ECDSA_P256_SHA256_FIXED_SIGNING, Hash::Sha256),
                (&lc::ECDSA_P384_SHA384_FIXED_SIGNING, Hash::Sha384),
                (&lc::ECDSA_P521_SHA512_FIXED_SIGNING, Hash::Sha512),
            ];
            let found = curves.into_iter().find_map(|(curve, hash)| Some((EcdsaKeyPair::from_pkcs8(curve, pkcs8).ok()?, hash)));
            let (pair, hash) = found.ok_or(Error::Key(KeyFault::Encoding))?;
            let id = KeyId::of(pair.public_key().as_der().map_err(unusable)?.as_ref());
            (Pair::Ecdsa(Box::new(pair)), SignatureAlgorithm::Ecdsa(hash), id)
        };
        if let Some(der) = certificate
            && KeyId::of_certificate(der)? != id
        {
            return Err(Error::Key(KeyFault::Encoding));
        }
        Ok(Self { pair, algorithm, id, certificate: certificate.map(<[u8]>::to_vec), purpose: PhantomData })
    }

    /// The name of its public key.
    pub fn id(&self) -> KeyId {
        self.id
    }

    fn sign(&self, octets: &[u8]) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        let unusable = |_| Error::Key(KeyFault::Unusable);
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&lc::RSA_PKCS1_SHA256, &random, octets, &mut signature).map_err(unusable)?;
                Ok(signature)
            }
            Pair::Ecdsa(pair) => Ok(pair.sign(&random, octets).map_err(unusable)?.as_ref().to_vec()),
        }
    }
}

/// Where in the signed element its signature is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement<'a> {
    /// Before everything else.
    First,
    /// Behind the one child of this namespace and name, as SAML demands behind `Issuer`.
    After(&'a str, &'a str),
}

impl Document {
    /// The document's octets with an enveloped signature over `what`, which must carry an id and must not be signed.
    /// `prefixes` are those used in values only (`xsi:type="xs:string"`): they become the `PrefixList`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the element has no usable id or no content, [`Error::Ambiguous`] if it is signed already.
    pub fn sign_enveloped<P: Purpose>(
        &self,
        what: SignedElement<'_>,
        placement: Placement<'_>,
        prefixes: &[&str],
        key: &SigningKey<P>,
    ) -> Result<Vec<u8>, Error> {
        let target = self.locate(what)?;
        if target.children().any(|child| child.is(DS, "Signature")) {
            return Err(Error::Ambiguous("Signature".to_owned()));
        }
        let id = id_of(target, &Profile::SAML).filter(|id| is_plain_id(id)).ok_or_else(|| target.unreadable("no id to refer to"))?;
        if prefixes.iter().any(|prefix| !is_plain_id(prefix)) {
            return Err(target.unreadable("a prefix that is no name"));
        }
        let form =
            Canonicalization { prefix_list: prefixes.iter().map(|prefix| (*prefix).to_owned()).collect(), ..Canonicalization::EXCLUSIVE };
        let hash = key.algorithm.hash();
        let mut context = Context::new(hash.algorithm());
        c14n::write(&self.tree, Apex::Element(target.id()), None, &form, &self.limits, &mut context)?;
        let digest = STANDARD.encode(context.finish().as_ref());

        let list = if prefixes.is_empty() {
            String::new()
        } else {
            format!(r#"<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="{}"></ec:InclusiveNamespaces>"#, prefixes.join(" "))
        };
        // Written in its own exclusive canonical form, but for the declaration that stands on `ds:Signature`.
        let info = format!(
            concat!(
                r#"<ds:CanonicalizationMethod Algorithm="{c14n}"></ds:CanonicalizationMethod>"#,
                r#"<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>"#,
                r##"<ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="{enveloped}"></ds:Transform>"##,
                r#"<ds:Transform Algorithm="{c14n}">{list}</ds:Transform></ds:Transforms>"#,
                r#"<ds:DigestMethod Algorithm="{hash}"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"#,
            ),
            c14n = EXCLUSIVE,
            method = key.algorithm.uri(),
            id = id,
            enveloped = ENVELOPED,
            list = list,
            hash = hash.uri(),
            digest = digest,
        );
        let value = key.sign(format!(r#"<ds:SignedInfo xmlns:ds="{DS}">{info}</ds:SignedInfo>"#).as_bytes())?;
        let key_info = key.certificate.as_deref().map(|der| {
            let der = STANDARD.encode(der);
            format!("<ds:KeyInfo><ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>")
        });
        let signature = format!(
            r#"<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>{info}</ds:SignedInfo><ds:SignatureValue>{}</ds:SignatureValue>{}</ds:Signature>"#,
            STANDARD.encode(value),
            key_info.unwrap_or_default(),
        );
        let at = insertion(target, placement)?;
        let (before, after) = self.tree.source.split_at_checked(at).ok_or_else(|| target.unreadable("no place for a signature"))?;
        Ok([before.as_bytes(), signature.as_bytes(), after.as_bytes()].concat())
    }
}

const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

fn insertion(target: ElementView<'_, Unsigned>, placement: Placement<'_>) -> Result<usize, Error> {
    match placement {
        Placement::First => {
            let first = target.nodes().next().map(|(_, node)| node.span.0 as usize);
            first.ok_or_else(|| target.unreadable("an element without content"))
        }
        Placement::After(namespace, local) => {
            let child = target.child(namespace, local)?.ok_or_else(|| Error::ElementMissing(local.to_owned()))?;
            Ok(child.span().1)
        }
    }
}

/// Letters, digits, `_`, `-` and `.`: nothing that a URI or an attribute would have to escape.
fn is_plain_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.'))
}
