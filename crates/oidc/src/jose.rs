//! JSON Web Signature in compact form (RFC 7515, 8725).
//!
//! An attacker lets the token choose how it is verified: `alg: none`, a public key used as an HMAC secret, a
//! key of his own in `jwk` or behind `jku`, a `kid` that is a path, a signature of zeros, a token made for
//! something else (attack 101). Here the key fixes the algorithm, the header only names one of the keys we
//! trust, and the purpose is part of the type.
//!
//! ```
//! # use vestibule_oidc::claims::{Claims, Expected};
//! # use vestibule_oidc::jose::{Algorithm, InjectedJwt, SigningKey, TrustedKeys};
//! let key = SigningKey::<InjectedJwt>::generate(Algorithm::Es256)?;
//! let claims = Claims::new("https://login.example.com", "app", "ada", 1_000_300);
//! let token = key.sign(&claims)?;
//! let trusted = TrustedKeys::<InjectedJwt>::new(vec![key.public().clone()])?;
//! let expected = Expected { issuer: "https://login.example.com", audience: "app", skew: 60 };
//! assert_eq!(trusted.verify(&token, &expected, 1_000_000)?.claims().subject, "ada");
//! # Ok::<(), vestibule_oidc::jose::Error>(())
//! ```
//!
//! Nothing but a successful verification makes a [`Verified`]:
//!
//! ```compile_fail
//! # use vestibule_oidc::{claims::Claims, jose::Verified};
//! let claims = Claims::new("https://login.example.com", "app", "mallory", 1_000_300);
//! let forged = Verified { value: claims, key: "any".to_owned() };
//! ```
//!
//! and a key of one purpose is not trusted for another:
//!
//! ```compile_fail
//! # use vestibule_oidc::claims::Claims;
//! # use vestibule_oidc::jose::{Error, InjectedJwt, SigningKey, SsoToken};
//! fn sso(key: &SigningKey<SsoToken>, claims: &Claims) -> Result<String, Error> { key.sign(claims) }
//! fn other(key: &SigningKey<InjectedJwt>, claims: &Claims) -> Result<String, Error> { sso(key, claims) }
//! ```

use std::fmt;
use std::marker::PhantomData;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding,
};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::claims::{Claims, Expected};
use crate::json;
use crate::jwks::{Jwks, MAX_KEY_ID, MAX_KEYS, PublicKey, unambiguous};

/// Longest token we read or write, in octets.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Longest header of a token, in octets of base64url.
pub const MAX_HEADER: usize = 2 * 1024;

/// What a key signs with. `none` and HMAC have no place here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// Ed25519 (RFC 8037).
    EdDsa,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256.
    Ps256,
}

impl Algorithm {
    /// The name in `alg`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// The algorithm of this name, if it is one of ours.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Es256, Self::Es384, Self::EdDsa, Self::Rs256, Self::Ps256].into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a token or a key is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Longer than [`MAX_TOKEN`], [`MAX_HEADER`] or [`crate::jwks::MAX_SET`].
    #[error("too long")]
    TooLong,
    /// Not three parts.
    #[error("not a compact JWS")]
    Serialization,
    /// Not base64url in its one spelling.
    #[error("malformed base64url")]
    Encoding,
    /// Not one JSON object, nested too deep, or a name occurs twice.
    #[error("malformed JSON")]
    Json,
    /// A header parameter that we refuse to obey, or one of the wrong type.
    #[error("the header parameter `{0}` is not acceptable")]
    Header(&'static str),
    /// `alg` is none, unknown, or not that of the key.
    #[error("the algorithm is not that of the key")]
    Algorithm,
    /// `typ` is that of another kind of token.
    #[error("this is another kind of token")]
    Type,
    /// A stored key is for another purpose.
    #[error("this key is for another purpose")]
    Purpose,
    /// No trusted key has this id.
    #[error("no trusted key has this id")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("the signature does not verify")]
    Signature,
    /// A claim is missing or malformed.
    #[error("the claim `{0}` is missing or malformed")]
    Claim(&'static str),
    /// Somebody else issued it.
    #[error("the issuer is not the expected one")]
    Issuer,
    /// It is meant for somebody else.
    #[error("the audience is not the expected one")]
    Audience,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// Its time has not come.
    #[error("not valid yet")]
    NotYetValid,
    /// A key cannot or must not be used.
    #[error("the key is unacceptable: {0}")]
    Key(&'static str),
    /// The cryptographic library refused to generate, export or sign.
    #[error("the cryptographic library failed")]
    Cryptography,
}

/// The one thing a key signs. Sealed: a new purpose is written in this file, with a `typ` nobody else has.
pub trait Purpose: sealed::Sealed + fmt::Debug + Send + Sync + 'static {
    /// The name in stored key records.
    const NAME: &'static str;
    /// The `typ` of its tokens (RFC 8725 §3.11).
    const TYP: &'static str;
}

/// The token that tells an application who is asking.
#[derive(Debug, Clone, Copy)]
pub enum InjectedJwt {}

impl Purpose for InjectedJwt {
    const NAME: &'static str = "jwt";
    const TYP: &'static str = "JWT";
}

/// The token that opens another system on a user's behalf.
#[derive(Debug, Clone, Copy)]
pub enum SsoToken {}

impl Purpose for SsoToken {
    const NAME: &'static str = "sso";
    const TYP: &'static str = "vestibule-sso+jwt";
}

/// The assertion by which a client says who it is at an OP's own endpoints (RFC 7523 §2.2, OpenID Connect Core §9).
#[derive(Debug, Clone, Copy)]
pub enum ClientAssertion {}

impl Purpose for ClientAssertion {
    const NAME: &'static str = "client-assertion";
    const TYP: &'static str = "client-authentication+jwt";
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::InjectedJwt {}
    impl Sealed for super::SsoToken {}
    impl Sealed for super::ClientAssertion {}
}

/// What a key of ours, or of an issuer we trust, has signed. Made by [`TrustedKeys::verify`] only.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified<T> {
    value: T,
    key: String,
}

impl Verified<Claims> {
    /// The claims.
    pub fn claims(&self) -> &Claims {
        &self.value
    }

    /// The claims, owned. They leave the protection of this type.
    pub fn into_claims(self) -> Claims {
        self.value
    }
}

impl<T> Verified<T> {
    /// The id of the key that signed.
    pub fn key(&self) -> &str {
        &self.key
    }

    pub(crate) fn value(&self) -> &T {
        &self.value
    }

    /// The same signature over what `read` makes of the content.
    pub(crate) fn read<U, E>(self, read: impl FnOnce(T) -> Result<U, E>) -> Result<Verified<U>, E> {
        Ok(Verified { value: read(self.value)?, key: self.key })
    }
}

/// The keys of an issuer elsewhere, as it publishes them. It signs several kinds of tokens with one key, so that whoever reads
/// one says which kinds of token it may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IssuerKeys(Vec<PublicKey>);

impl IssuerKeys {
    /// The keys of a set that was fetched from where the issuer says it is.
    pub fn new(set: Jwks) -> Self {
        Self(set.keys)
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.0
    }

    /// Verifies a signature and gives what was signed. `types` are the kinds of token it may be; a token that does not say its
    /// kind is taken for any of them. `algorithms` are those expected of this issuer; the key fixes which one it is.
    ///
    /// # Errors
    /// An [`Error`]. [`Error::UnknownKey`] may mean that the issuer has changed its keys.
    pub(crate) fn verify(&self, token: &str, types: &[&str], algorithms: &[Algorithm]) -> Result<Verified<Map<String, Value>>, Error> {
        let parts = Parts::split(token)?;
        let header = Header::read(parts.header)?;
        // RFC 7515 §4.1.9: a media type, without regard to case, and without `application/` in front of it.
        let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
        let typ = typ.as_deref().map(|typ| typ.strip_prefix("application/").unwrap_or(typ));
        if typ.is_some_and(|typ| !types.iter().any(|known| known.eq_ignore_ascii_case(typ))) {
            return Err(Error::Type);
        }
        if !algorithms.iter().any(|algorithm| algorithm.as_str() == header.alg) {
            return Err(Error::Algorithm);
        }
        let key = find(&self.0, &header)?;
        key.verify(parts.signed.as_bytes(), &json::decode(parts.signature)?)?;
        Ok(Verified { value: json::object(&json::decode(parts.payload)?)?, key: key.id().to_owned() })
    }
}

/// The keys that may sign tokens of one purpose. They come from our store or from configured metadata,
/// never from a token.
pub struct TrustedKeys<P> {
    keys: Vec<PublicKey>,
    purpose: PhantomData<fn() -> P>,
}

impl<P: Purpose> TrustedKeys<P> {
    /// Trusts these keys for tokens of this purpose.
    ///
    /// # Errors
    /// [`Error::Key`] for more than [`MAX_KEYS`], or two of the same id and algorithm.
    pub fn new(keys: Vec<PublicKey>) -> Result<Self, Error> {
        if keys.len() > MAX_KEYS {
            return Err(Error::Key("there are too many"));
        }
        unambiguous(&keys)?;
        Ok(Self { keys, purpose: PhantomData })
    }

    /// The keys.
    pub fn keys(&self) -> &[PublicKey] {
        &self.keys
    }

    /// Verifies a token and what it claims. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// An [`Error`] that says what is wrong with it; its text is for the log, not for the sender.
    pub fn verify(&self, token: &str, expected: &Expected<'_>, now: i64) -> Result<Verified<Claims>, Error> {
        let parts = Parts::split(token)?;
        let header = Header::read(parts.header)?;
        if header.typ.as_deref() != Some(P::TYP) {
            return Err(Error::Type);
        }
        let key = find(&self.keys, &header)?;
        key.verify(parts.signed.as_bytes(), &json::decode(parts.signature)?)?;
        // Only now is the payload worth reading.
        let claims = Claims::read(json::object(&json::decode(parts.payload)?)?)?;
        claims.check(expected, now)?;
        Ok(Verified { value: claims, key: key.id().to_owned() })
    }
}

impl<P: Purpose> fmt::Debug for TrustedKeys<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustedKeys").field("purpose", &P::NAME).field("keys", &self.keys).finish()
    }
}

/// The key the header names. Without a name there must be no choice (OpenID Connect Core §10.1).
fn find<'k>(keys: &'k [PublicKey], header: &Header) -> Result<&'k PublicKey, Error> {
    let mut named = match (&header.kid, keys) {
        (Some(id), keys) => keys.iter().filter(|key| key.id() == id).collect::<Vec<_>>(),
        (None, [only]) => vec![only],
        (None, _) => Vec::new(),
    };
    if named.is_empty() {
        return Err(Error::UnknownKey);
    }
    named.retain(|key| key.algorithm().as_str() == header.alg);
    named.first().copied().ok_or(Error::Algorithm)
}

/// The three parts of a compact JWS (RFC 7515 §7.1).
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, Error> {
        if token.len() > MAX_TOKEN {
            return Err(Error::TooLong);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Error::Serialization)?;
        let (header, payload) = signed.split_once('.').ok_or(Error::Serialization)?;
        if payload.contains('.') {
            return Err(Error::Serialization);
        }
        if header.len() > MAX_HEADER {
            return Err(Error::TooLong);
        }
        Ok(Self { header, payload, signature, signed })
    }
}

/// What we read of a header.
struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
}

impl Header {
    fn read(encoded: &str) -> Result<Self, Error> {
        let mut object = json::object(&json::decode(encoded)?)?;
        // RFC 7515 §4.1.11: we understand no extension. The others offer keys, and keys never come from a token.
        if let Some(name) = ["crit", "jku", "jwk", "x5u", "x5c", "b64"].into_iter().find(|name| object.contains_key(*name)) {
            return Err(Error::Header(name));
        }
        let mut text = |name: &'static str| match object.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.len() <= MAX_KEY_ID => Ok(Some(text)),
            Some(_) => Err(Error::Header(name)),
        };
        Ok(Self { alg: text("alg")?.ok_or(Error::Algorithm)?, typ: text("typ")?, kid: text("kid")? })
    }
}

/// A key that signs tokens of one purpose.
pub struct SigningKey<P> {
    pair: Pair,
    public: PublicKey,
    /// The header is the same in every token of a key.
    header: String,
    purpose: PhantomData<fn() -> P>,
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(rsa::KeyPair, &'static dyn RsaEncoding),
}

impl<P: Purpose> SigningKey<P> {
    /// A fresh key; RSA keys have 3072 bits. An RSA key takes up to a second: not on a thread that serves.
    ///
    /// # Errors
    /// [`Error::Cryptography`].
    pub fn generate(algorithm: Algorithm) -> Result<Self, Error> {
        let failed = |_| Error::Cryptography;
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?),
            Algorithm::Es384 => Pair::Ecdsa(EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(failed)?),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::generate().map_err(failed)?),
            Algorithm::Rs256 => Pair::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa3072).map_err(failed)?, &RSA_PKCS1_SHA256),
            Algorithm::Ps256 => Pair::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa3072).map_err(failed)?, &RSA_PSS_SHA256),
        };
        Self::new(algorithm, pair)
    }

    /// The key of a stored record, which names its purpose and algorithm. The purpose must be this one's.
    ///
    /// # Errors
    /// [`Error::Purpose`], or [`Error::Key`] if it is not a private key of this algorithm.
    pub fn from_pkcs8(purpose: &str, algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, Error> {
        if purpose != P::NAME {
            return Err(Error::Purpose);
        }
        let rejected = |_| Error::Key("it is not a private key of this algorithm");
        let pair = match algorithm {
            Algorithm::Es256 => Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map_err(rejected)?),
            Algorithm::Es384 => Pair::Ecdsa(EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, pkcs8).map_err(rejected)?),
            Algorithm::EdDsa => Pair::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8).map_err(rejected)?),
            Algorithm::Rs256 => Pair::Rsa(rsa::KeyPair::from_pkcs8(pkcs8).map_err(rejected)?, &RSA_PKCS1_SHA256),
            Algorithm::Ps256 => Pair::Rsa(rsa::KeyPair::from_pkcs8(pkcs8).map_err(rejected)?, &RSA_PSS_SHA256),
        };
        Self::new(algorithm, pair)
    }

    fn new(algorithm: Algorithm, pair: Pair) -> Result<Self, Error> {
        let public = match &pair {
            Pair::Ecdsa(pair) => PublicKey::ec(algorithm, pair.public_key().as_ref())?,
            Pair::Ed25519(pair) => PublicKey::ed25519(pair.public_key().as_ref())?,
            Pair::Rsa(pair, _) => PublicKey::rsa(algorithm, pair.public_key().as_ref())?,
        };
        let header = json!({ "alg": algorithm.as_str(), "kid": public.id(), "typ": P::TYP });
        Ok(Self { pair, header: json::encode(header.to_string()), public, purpose: PhantomData })
    }

    /// The private part in PKCS#8, to be sealed and stored.
    ///
    /// # Errors
    /// [`Error::Cryptography`].
    pub fn to_pkcs8(&self) -> Result<Zeroizing<Vec<u8>>, Error> {
        let failed = |_| Error::Cryptography;
        Ok(Zeroizing::new(match &self.pair {
            Pair::Ecdsa(pair) => pair.to_pkcs8v1().map_err(failed)?.as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.to_pkcs8().map_err(failed)?.as_ref().to_vec(),
            Pair::Rsa(pair, _) => AsDer::<Pkcs8V1Der<'_>>::as_der(pair).map_err(failed)?.as_ref().to_vec(),
        }))
    }

    /// The key id that its tokens carry: the thumbprint of its public part.
    pub fn id(&self) -> &str {
        self.public.id()
    }

    /// Its algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.public.algorithm()
    }

    /// Its public part.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs.
    ///
    /// # Errors
    /// [`Error::Claim`] if a registered claim is among [`Claims::other`] or there is no audience,
    /// [`Error::TooLong`] if nobody could read the token, [`Error::Cryptography`].
    pub fn sign(&self, claims: &Claims) -> Result<String, Error> {
        let mut token = format!("{}.{}", self.header, json::encode(claims.write()?));
        let signature = self.signature(token.as_bytes())?;
        token.push('.');
        token.push_str(&json::encode(signature));
        if token.len() > MAX_TOKEN { Err(Error::TooLong) } else { Ok(token) }
    }

    fn signature(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature = match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
            Pair::Ed25519(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
            Pair::Rsa(pair, padding) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(*padding, &SystemRandom::new(), message, &mut signature).map(|()| signature)
            }
        };
        signature.map_err(|_| Error::Cryptography)
    }
}

#[cfg(test)]
impl<P> SigningKey<P> {
    /// A token of whatever header and payload, truly signed.
    pub(crate) fn sign_raw(&self, header: &str, payload: &str) -> String
    where
        P: Purpose,
    {
        let input = format!("{}.{}", json::encode(header), json::encode(payload));
        format!("{input}.{}", json::encode(self.signature(input.as_bytes()).unwrap_or_default()))
    }
}

impl<P: Purpose> fmt::Debug for SigningKey<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("purpose", &P::NAME).field("public", &self.public).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;
    use crate::claims::REGISTERED;

    const NOW: i64 = 1_800_000_000;
    const EXPECTED: Expected<'_> = Expected { issuer: "https://login.example.com", audience: "app", skew: 60 };
    const ALL: [Algorithm; 5] = [Algorithm::Es256, Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256];

    /// One key of each algorithm; an RSA key takes long to make.
    static KEYS: LazyLock<Vec<SigningKey<InjectedJwt>>> =
        LazyLock::new(|| ALL.into_iter().map(|algorithm| SigningKey::generate(algorithm).unwrap()).collect());

    fn key(algorithm: Algorithm) -> &'static SigningKey<InjectedJwt> {
        KEYS.iter().find(|key| key.algorithm() == algorithm).unwrap()
    }

    fn trusted(key: &SigningKey<InjectedJwt>) -> TrustedKeys<InjectedJwt> {
        TrustedKeys::new(vec![key.public().clone()]).unwrap()
    }

    fn claims() -> Claims {
        Claims { issued_at: Some(NOW), id: Some("1".into()), ..Claims::new(EXPECTED.issuer, EXPECTED.audience, "ada", NOW + 300) }
    }

    fn signed(key: &SigningKey<InjectedJwt>, header: &str, payload: &str) -> String {
        key.sign_raw(header, payload)
    }

    fn payload() -> String {
        String::from_utf8(claims().write().unwrap()).unwrap()
    }

    fn header(key: &SigningKey<InjectedJwt>) -> Map<String, Value> {
        json::object(&json::decode(&key.header).unwrap()).unwrap()
    }

    #[test]
    fn what_is_signed_verifies_with_every_algorithm() {
        for key in KEYS.iter() {
            let token = key.sign(&claims()).unwrap();
            let verified = trusted(key).verify(&token, &EXPECTED, NOW).unwrap();
            assert_eq!((verified.claims(), verified.key()), (&claims(), key.id()));
        }
    }

    #[test]
    fn a_key_survives_storage_but_not_under_another_purpose_or_algorithm() {
        for key in KEYS.iter() {
            let pkcs8 = key.to_pkcs8().unwrap();
            let stored = SigningKey::<InjectedJwt>::from_pkcs8("jwt", key.algorithm(), &pkcs8).unwrap();
            assert_eq!(stored.public(), key.public());
            assert!(trusted(key).verify(&stored.sign(&claims()).unwrap(), &EXPECTED, NOW).is_ok());
            assert_eq!(SigningKey::<SsoToken>::from_pkcs8("jwt", key.algorithm(), &pkcs8).unwrap_err(), Error::Purpose);
        }
        let pkcs8 = key(Algorithm::Es256).to_pkcs8().unwrap();
        for algorithm in [Algorithm::Es384, Algorithm::EdDsa, Algorithm::Rs256, Algorithm::Ps256] {
            assert!(matches!(SigningKey::<InjectedJwt>::from_pkcs8("jwt", algorithm, &pkcs8), Err(Error::Key(_))), "{algorithm}");
        }
        assert!(SigningKey::<InjectedJwt>::from_pkcs8("jwt", Algorithm::Es256, b"").is_err());
    }

    #[test]
    fn a_token_of_one_purpose_is_never_one_of_another() {
        let key = key(Algorithm::Es256);
        let token = key.sign(&claims()).unwrap();
        // Even the same key, trusted for another purpose by mistake.
        let sso = TrustedKeys::<SsoToken>::new(vec![key.public().clone()]).unwrap();
        assert_eq!(sso.verify(&token, &EXPECTED, NOW), Err(Error::Type));
        for typ in [r#""typ":"jwt","#, r#""typ":"at+jwt","#, r#""typ":"vestibule-sso+jwt","#, ""] {
            let token = signed(key, &format!(r#"{{{typ}"alg":"ES256","kid":"{}"}}"#, key.id()), &payload());
            assert_eq!(trusted(key).verify(&token, &EXPECTED, NOW), Err(Error::Type), "{typ}");
        }
    }

    #[test]
    fn the_header_cannot_choose_the_algorithm() {
        let (es256, rs256) = (key(Algorithm::Es256), key(Algorithm::Rs256));
        let body = json::encode(payload());
        for alg in ["none", "None", "NONE", "", "HS256", "HS512", "ES384", "ES256K", "es256", "RS256", "PS256", "EdDSA", "ES256 "] {
            let header = json::encode(json!({ "alg": alg, "typ": "JWT", "kid": es256.id() }).to_string());
            for signature in ["", "AA", es256.sign(&claims()).unwrap().rsplit_once('.').unwrap().1] {
                let token = format!("{header}.{body}.{signature}");
                assert_eq!(trusted(es256).verify(&token, &EXPECTED, NOW), Err(Error::Algorithm), "{alg}");
            }
        }
        // The public key as an HMAC secret.
        let header = json::encode(json!({ "alg": "HS256", "typ": "JWT", "kid": rs256.id() }).to_string());
        let input = format!("{header}.{body}");
        let secret = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, rs256.public().to_jwk().to_string().as_bytes());
        let token = format!("{input}.{}", json::encode(aws_lc_rs::hmac::sign(&secret, input.as_bytes())));
        assert_eq!(trusted(rs256).verify(&token, &EXPECTED, NOW), Err(Error::Algorithm));
        // The padding is part of the algorithm.
        let ps256 = SigningKey::<InjectedJwt>::from_pkcs8("jwt", Algorithm::Ps256, &rs256.to_pkcs8().unwrap()).unwrap();
        assert_eq!(trusted(rs256).verify(&ps256.sign(&claims()).unwrap(), &EXPECTED, NOW), Err(Error::Algorithm));
    }

    #[test]
    fn the_header_cannot_bring_a_key_or_an_extension() {
        let key = key(Algorithm::Es256);
        let hostile = [
            ("jku", json!("https://evil.example/jwks")),
            ("x5u", json!("https://evil.example/cert")),
            ("x5c", json!(["MIIB"])),
            ("jwk", key.public().to_jwk()),
            ("crit", json!(["exp"])),
            ("crit", json!([])),
            ("b64", json!(false)),
        ];
        for (name, value) in hostile {
            let mut header = header(key);
            header.insert(name.to_owned(), value);
            let token = signed(key, &Value::Object(header).to_string(), &payload());
            assert_eq!(trusted(key).verify(&token, &EXPECTED, NOW), Err(Error::Header(name)));
        }
    }

    #[test]
    fn kid_only_names_a_trusted_key() {
        let (one, two) = (key(Algorithm::Es256), key(Algorithm::EdDsa));
        let both = TrustedKeys::<InjectedJwt>::new(vec![one.public().clone(), two.public().clone()]).unwrap();
        for kid in ["../../../../dev/null", "x' UNION SELECT 'key", "", "\u{0}", &one.id().to_lowercase(), &"x".repeat(MAX_KEY_ID)] {
            let token = signed(one, &json!({ "alg": "ES256", "typ": "JWT", "kid": kid }).to_string(), &payload());
            assert_eq!(both.verify(&token, &EXPECTED, NOW), Err(Error::UnknownKey), "{kid}");
        }
        for kid in [json!(1), json!(["a"]), json!(null), json!("x".repeat(MAX_KEY_ID + 1))] {
            let token = signed(one, &json!({ "alg": "ES256", "typ": "JWT", "kid": kid }).to_string(), &payload());
            assert_eq!(both.verify(&token, &EXPECTED, NOW), Err(Error::Header("kid")), "{kid}");
        }
        let other = signed(one, &json!({ "alg": "ES256", "typ": "JWT", "kid": two.id() }).to_string(), &payload());
        assert_eq!(both.verify(&other, &EXPECTED, NOW), Err(Error::Algorithm));
        let nameless = signed(one, r#"{"alg":"ES256","typ":"JWT"}"#, &payload());
        assert!(trusted(one).verify(&nameless, &EXPECTED, NOW).is_ok());
        assert_eq!(both.verify(&nameless, &EXPECTED, NOW), Err(Error::UnknownKey));
    }

    #[test]
    fn foreign_and_degenerate_signatures_are_refused() {
        for key in KEYS.iter() {
            let token = key.sign(&claims()).unwrap();
            let (input, signature) = token.rsplit_once('.').unwrap();
            let size = json::decode(signature).unwrap().len();
            // CVE-2022-21449: r = s = 0; then r = s = n, all ones, cut, lengthened, none.
            let order = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa, 0xad];
            let order = [&order[..], &[0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51]].concat();
            let other = SigningKey::<InjectedJwt>::generate(Algorithm::Es256).unwrap().sign(&claims()).unwrap();
            let hostile = [
                vec![0; size],
                vec![0xff; size],
                [order.clone(), order].concat(),
                json::decode(signature).unwrap()[1..].to_vec(),
                [json::decode(signature).unwrap(), vec![0]].concat(),
                json::decode(other.rsplit_once('.').unwrap().1).unwrap(),
                Vec::new(),
            ];
            for bytes in hostile {
                let token = format!("{input}.{}", json::encode(bytes));
                assert_eq!(trusted(key).verify(&token, &EXPECTED, NOW), Err(Error::Signature), "{}", key.algorithm());
            }
        }
    }

    #[test]
    fn a_name_that_occurs_twice_is_refused() {
        let key = key(Algorithm::Es256);
        let twice = format!(r#"{{"alg":"ES256","typ":"JWT","kid":"{0}","kid":"{0}"}}"#, key.id());
        assert_eq!(trusted(key).verify(&signed(key, &twice, &payload()), &EXPECTED, NOW), Err(Error::Json));
        let header = Value::Object(header(key)).to_string();
        let twice = payload().replacen('{', r#"{"sub":"mallory","#, 1);
        assert_eq!(trusted(key).verify(&signed(key, &header, &twice), &EXPECTED, NOW), Err(Error::Json));
    }

    #[test]
    fn only_a_compact_token_of_bounded_length_is_read() {
        let key = key(Algorithm::Es256);
        let token = key.sign(&claims()).unwrap();
        let read = |token: &str| trusted(key).verify(token, &EXPECTED, NOW);
        for text in ["", ".", "a", "a.b", &format!("{token}.x"), &format!("x.{token}")] {
            assert!(matches!(read(text), Err(Error::Serialization)), "{text}");
        }
        for text in [format!("{token}="), format!("{token} "), format!(" {token}"), token.replace('.', "=.")] {
            assert_eq!(read(&text), Err(Error::Encoding), "{text}");
        }
        assert_eq!(read(".."), Err(Error::Json));
        assert_eq!(read(&"a".repeat(MAX_TOKEN + 1)), Err(Error::TooLong));
        assert_eq!(read(&format!("{}.a.a", "a".repeat(MAX_HEADER + 1))), Err(Error::TooLong));
        let mut long = claims();
        long.other.insert("groups".into(), "x".repeat(MAX_TOKEN).into());
        assert_eq!(key.sign(&long), Err(Error::TooLong));
    }

    #[test]
    fn times_are_checked_with_skew_and_to_the_second() {
        let key = key(Algorithm::Es256);
        let check = |claims: &Claims, now: i64| trusted(key).verify(&key.sign(claims).unwrap(), &EXPECTED, now).map(drop);
        assert_eq!(check(&claims(), NOW + 359), Ok(()));
        assert_eq!(check(&claims(), NOW + 360), Err(Error::Expired));
        assert_eq!(check(&claims(), NOW - 60), Ok(()));
        assert_eq!(check(&claims(), NOW - 61), Err(Error::NotYetValid));
        let later = Claims { not_before: Some(NOW + 100), ..claims() };
        assert_eq!(check(&later, NOW + 39), Err(Error::NotYetValid));
        assert_eq!(check(&later, NOW + 40), Ok(()));
        let extreme = Claims { expires: i64::MAX, not_before: Some(i64::MIN), ..claims() };
        assert_eq!(check(&extreme, NOW), Ok(()));
        assert_eq!(check(&Claims { expires: i64::MIN, ..claims() }, NOW), Err(Error::Expired));
    }

    #[test]
    fn issuer_and_audience_are_compared_whole() {
        let key = key(Algorithm::Es256);
        let check = |claims: Claims| trusted(key).verify(&key.sign(&claims).unwrap(), &EXPECTED, NOW).map(drop);
        assert_eq!(check(Claims { issuer: format!("{}/", EXPECTED.issuer), ..claims() }), Err(Error::Issuer));
        assert_eq!(check(Claims { audience: vec!["other".into()], ..claims() }), Err(Error::Audience));
        assert_eq!(check(Claims { audience: vec!["app2".into(), "ap".into()], ..claims() }), Err(Error::Audience));
        assert_eq!(check(Claims { audience: vec!["other".into(), "app".into()], ..claims() }), Ok(()));
    }

    #[test]
    fn claims_of_the_wrong_type_are_refused() {
        let key = key(Algorithm::Es256);
        let base = json::object(payload().as_bytes()).unwrap();
        let hostile = [
            ("exp", json!("1800000300")),
            ("exp", json!(1e300)),
            ("exp", json!(9_300_000_000_000_000_000_u64)),
            ("exp", json!(null)),
            ("nbf", json!(true)),
            ("iat", json!([])),
            ("iss", json!(1)),
            ("sub", json!("")),
            ("sub", json!({})),
            ("aud", json!([])),
            ("aud", json!(["app", 1])),
            ("aud", json!({ "app": 1 })),
            ("jti", json!(7)),
        ];
        let header = Value::Object(header(key)).to_string();
        for (name, value) in hostile {
            let mut object = base.clone();
            object.insert(name.to_owned(), value.clone());
            let token = signed(key, &header, &Value::Object(object).to_string());
            assert_eq!(trusted(key).verify(&token, &EXPECTED, NOW), Err(Error::Claim(name)), "{name} {value}");
        }
        for name in ["exp", "iss", "aud", "sub"] {
            let mut object = base.clone();
            object.remove(name);
            let token = signed(key, &header, &Value::Object(object).to_string());
            assert_eq!(trusted(key).verify(&token, &EXPECTED, NOW), Err(Error::Claim(name)));
        }
        let mut object = base;
        object.insert("exp".into(), json!(1_800_000_300.9));
        let token = signed(key, &header, &Value::Object(object).to_string());
        assert_eq!(trusted(key).verify(&token, &EXPECTED, NOW).unwrap().claims().expires, NOW + 300);
    }

    #[test]
    fn a_registered_claim_cannot_be_smuggled_through_the_others() {
        for name in REGISTERED {
            let mut claims = claims();
            claims.other.insert(name.to_owned(), "mallory".into());
            assert_eq!(key(Algorithm::Es256).sign(&claims), Err(Error::Claim(name)));
        }
    }

    /// RFC 7515 §A.3 (ES256) and RFC 8037 §A.4 (EdDSA): keys and signatures of the standards verify here.
    #[test]
    fn figures_of_the_standards_verify() {
        let es256 = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
        let claims = "{\"iss\":\"joe\",\r\n \"exp\":1300819380,\r\n \"http://example.com/is_root\":true}";
        let eddsa = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
        let figures = [
            (es256, r#"{"alg":"ES256"}"#, claims, "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"),
            (
                eddsa,
                r#"{"alg":"EdDSA"}"#,
                "Example of Ed25519 signing",
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
            ),
        ];
        for (jwk, header, payload, signature) in figures {
            let key = PublicKey::from_jwk(jwk).unwrap();
            let input = format!("{}.{}", json::encode(header), json::encode(payload));
            let signature = json::decode(signature).unwrap();
            assert_eq!(key.verify(input.as_bytes(), &signature), Ok(()));
            assert_eq!(key.verify(&input.as_bytes()[1..], &signature), Err(Error::Signature));
        }
    }

    #[test]
    fn debug_shows_no_private_part() {
        let key = key(Algorithm::Es256);
        let shown = format!("{key:?}");
        assert!(shown.contains(key.id()) && !shown.contains("pair"), "{shown}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn no_octet_of_a_token_can_be_changed(which in 0..ALL.len(), at in any::<prop::sample::Index>(), to in 0x20_u8..0x7f) {
            let key = &KEYS[which];
            let token = key.sign(&claims()).unwrap();
            let mut bytes = token.clone().into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            prop_assert!(trusted(key).verify(&String::from_utf8(bytes).unwrap(), &EXPECTED, NOW).is_err());
        }

        #[test]
        fn no_text_is_read_as_a_token(text in "[A-Za-z0-9_.-]{0,200}|.{0,100}") {
            prop_assert!(trusted(key(Algorithm::Es256)).verify(&text, &EXPECTED, NOW).is_err());
        }
    }
}
