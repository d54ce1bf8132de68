//! Public keys as JSON Web Keys: read, written, named by thumbprint (RFC 7517, 7518 §6, 8037, 7638).
//!
//! An attacker offers a weak key, a key of another kind under a known name, a shared secret where a public
//! key belongs, or a set too large to search. A [`PublicKey`] is fixed to one algorithm when it is read.

use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256,
};
use serde_json::{Map, Value, json};

use crate::jose::{Algorithm, Error};
use crate::json;

/// Longest key set we read, in octets.
pub const MAX_SET: usize = 256 * 1024;
/// Most keys of a set we read.
pub const MAX_KEYS: usize = 64;
/// Longest key id we accept, in octets.
pub const MAX_KEY_ID: usize = 256;
/// Modulus lengths of RSA keys we accept, in bits.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Longest RSA exponent we accept, in octets; longer ones only make verifying slow.
const MAX_EXPONENT: usize = 4;

/// A key that verifies, for one algorithm only.
#[derive(Clone)]
pub struct PublicKey {
    id: String,
    algorithm: Algorithm,
    material: Material,
    parsed: ParsedPublicKey,
}

/// The public numbers.
#[derive(Clone, PartialEq, Eq)]
enum Material {
    /// An uncompressed point: 4, x, y.
    Ec(Vec<u8>),
    Okp(Vec<u8>),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

impl PublicKey {
    /// Reads a JWK. Where it names no algorithm, its kind does: RSA is RS256 (OpenID Connect Core §2).
    /// Where it names no id, its thumbprint is the id.
    ///
    /// # Errors
    /// [`Error::Json`], [`Error::Encoding`], or [`Error::Key`] for a key we cannot or must not use.
    pub fn from_jwk(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_SET {
            return Err(Error::TooLong);
        }
        Self::from_members(&json::object(text.as_bytes())?)
    }

    fn from_members(jwk: &Map<String, Value>) -> Result<Self, Error> {
        // A set that tells its private keys is not one to trust.
        if ["d", "p", "q", "dp", "dq", "qi", "oth", "k"].iter().any(|name| jwk.contains_key(*name)) {
            return Err(Error::Key("it holds private or secret parts"));
        }
        if jwk.get("use").is_some_and(|used| used != "sig") {
            return Err(Error::Key("it is not for signatures"));
        }
        if let Some(operations) = jwk.get("key_ops") {
            let verifies = operations.as_array().is_some_and(|list| list.iter().any(|operation| operation == "verify"));
            if !verifies {
                return Err(Error::Key("it is not for verifying"));
            }
        }
        let text = |name: &'static str| jwk.get(name).and_then(Value::as_str);
        let octets = |name: &'static str| json::decode(text(name).ok_or(Error::Key("a member is missing"))?);
        let (default, material) = match (text("kty"), text("crv")) {
            (Some("EC"), Some(curve @ ("P-256" | "P-384"))) => {
                let (algorithm, size) = if curve == "P-256" { (Algorithm::Es256, 32) } else { (Algorithm::Es384, 48) };
                let (x, y) = (octets("x")?, octets("y")?);
                // RFC 7518 §6.2.1.2: the full size of a coordinate, leading zeros included.
                if x.len() != size || y.len() != size {
                    return Err(Error::Key("a coordinate has the wrong length"));
                }
                (algorithm, Material::Ec([&[4], x.as_slice(), y.as_slice()].concat()))
            }
            (Some("OKP"), Some("Ed25519")) => (Algorithm::EdDsa, Material::Okp(octets("x")?)),
            (Some("RSA"), None) => (Algorithm::Rs256, Material::Rsa { n: octets("n")?, e: octets("e")? }),
            _ => return Err(Error::Key("its type is not supported")),
        };
        let algorithm = match jwk.get("alg") {
            None => default,
            Some(name) => name.as_str().and_then(Algorithm::from_name).ok_or(Error::Key("its algorithm is not supported"))?,
        };
        let id = match jwk.get("kid") {
            None => None,
            Some(Value::String(id)) if !id.is_empty() && id.len() <= MAX_KEY_ID => Some(id.clone()),
            Some(_) => return Err(Error::Key("its id is not text or too long")),
        };
        Self::new(id, algorithm, material)
    }

    /// The key of a P-256 or P-384 point in uncompressed form.
    pub(crate) fn ec(algorithm: Algorithm, point: &[u8]) -> Result<Self, Error> {
        Self::new(None, algorithm, Material::Ec(point.to_vec()))
    }

    /// An Ed25519 key.
    pub(crate) fn ed25519(point: &[u8]) -> Result<Self, Error> {
        Self::new(None, Algorithm::EdDsa, Material::Okp(point.to_vec()))
    }

    /// The key of a DER `RSAPublicKey` (RFC 8017 §A.1.1).
    pub(crate) fn rsa(algorithm: Algorithm, der: &[u8]) -> Result<Self, Error> {
        let malformed = Error::Key("its DER form is malformed");
        let (sequence, rest) = der_element(0x30, der).ok_or(malformed.clone())?;
        let (n, sequence) = der_element(0x02, sequence).ok_or(malformed.clone())?;
        let (e, sequence) = der_element(0x02, sequence).ok_or(malformed.clone())?;
        if !rest.is_empty() || !sequence.is_empty() {
            return Err(malformed);
        }
        let unsigned = |number: &[u8]| number.strip_prefix(&[0]).unwrap_or(number).to_vec();
        Self::new(None, algorithm, Material::Rsa { n: unsigned(n), e: unsigned(e) })
    }

    /// Every key is made here: the material must fit the algorithm.
    fn new(id: Option<String>, algorithm: Algorithm, material: Material) -> Result<Self, Error> {
        let rejected = |_| Error::Key("its numbers are not those of a key");
        let parsed = match (&material, algorithm) {
            (Material::Ec(point), Algorithm::Es256) => ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).map_err(rejected)?,
            (Material::Ec(point), Algorithm::Es384) => ParsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).map_err(rejected)?,
            (Material::Okp(point), Algorithm::EdDsa) if point.len() == 32 => ParsedPublicKey::new(&ED25519, point).map_err(rejected)?,
            (Material::Rsa { n, e }, Algorithm::Rs256 | Algorithm::Ps256) => {
                rsa_is_strong(n, e)?;
                let parameters = if algorithm == Algorithm::Rs256 { &RSA_PKCS1_2048_8192_SHA256 } else { &RSA_PSS_2048_8192_SHA256 };
                signature::RsaPublicKeyComponents { n, e }.to_parsed_public_key(parameters).map_err(rejected)?
            }
            (Material::Ec(_) | Material::Okp(_) | Material::Rsa { .. }, _) => {
                return Err(Error::Key("its algorithm is not one of its type"));
            }
        };
        let id = id.unwrap_or_else(|| material.thumbprint());
        Ok(Self { id, algorithm, material, parsed })
    }

    /// The id by which tokens name it.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The one algorithm it verifies.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The RFC 7638 thumbprint, SHA-256 in base64url.
    pub fn thumbprint(&self) -> String {
        self.material.thumbprint()
    }

    /// The key as a JWK.
    pub fn to_jwk(&self) -> Value {
        let mut jwk = self.material.members();
        jwk.insert("kid".into(), self.id.clone().into());
        jwk.insert("alg".into(), self.algorithm.as_str().into());
        jwk.insert("use".into(), "sig".into());
        Value::Object(jwk)
    }

    /// Whether `signature` is this key's over `message`.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        self.parsed.verify_sig(message, signature).map_err(|_| Error::Signature)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        (&self.id, self.algorithm, &self.material) == (&other.id, other.algorithm, &other.material)
    }
}

impl Eq for PublicKey {}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublicKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Material {
    /// The required members, and no others (RFC 7638 §3.2).
    fn members(&self) -> Map<String, Value> {
        let members = match self {
            Self::Ec(point) => {
                let (x, y) = point.get(1..).unwrap_or_default().split_at(point.len() / 2);
                let curve = if x.len() == 32 { "P-256" } else { "P-384" };
                vec![("crv", curve.to_owned()), ("kty", "EC".to_owned()), ("x", json::encode(x)), ("y", json::encode(y))]
            }
            Self::Okp(x) => vec![("crv", "Ed25519".to_owned()), ("kty", "OKP".to_owned()), ("x", json::encode(x))],
            Self::Rsa { n, e } => vec![("e", json::encode(e)), ("kty", "RSA".to_owned()), ("n", json::encode(n))],
        };
        members.into_iter().map(|(name, value)| (name.to_owned(), Value::String(value))).collect()
    }

    fn thumbprint(&self) -> String {
        // `serde_json::Map` keeps names sorted, but a feature of another crate could change that.
        let mut members: Vec<_> = self.members().into_iter().collect();
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        let text: Vec<String> = members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
        json::encode(digest::digest(&digest::SHA256, format!("{{{}}}", text.join(",")).as_bytes()))
    }
}

fn rsa_is_strong(n: &[u8], e: &[u8]) -> Result<(), Error> {
    let (Some(first), Some(last)) = (n.first(), n.last()) else { return Err(Error::Key("its modulus is empty")) };
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if *first == 0 || last % 2 == 0 || !RSA_BITS.contains(&bits) {
        return Err(Error::Key("its modulus is too short, too long or even"));
    }
    // With e = 1 every text is its own signature.
    let fits =
        e.len() <= MAX_EXPONENT && e.first().is_some_and(|first| *first != 0) && e.last().is_some_and(|last| last % 2 == 1) && e != [1];
    if fits { Ok(()) } else { Err(Error::Key("its exponent is unsuitable")) }
}

/// The content of a DER element with this tag, and what follows it.
fn der_element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*length) {
        short @ 0..=0x7f => (short, rest),
        long @ 0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(long - 0x80)?;
            (octets.iter().fold(0, |length, octet| length << 8 | usize::from(*octet)), rest)
        }
        _ => return None,
    };
    (*found == tag).then_some(())?;
    rest.split_at_checked(length)
}

/// A set of public keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Jwks {
    /// The keys we can use.
    pub keys: Vec<PublicKey>,
    /// Why others were left out (RFC 7517 §5: unknown kinds are ignored).
    pub refused: Vec<Error>,
}

impl Jwks {
    /// Reads a key set.
    ///
    /// # Errors
    /// [`Error::TooLong`], [`Error::Json`], or [`Error::Key`] if there are too many keys or two of one id and algorithm.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > MAX_SET {
            return Err(Error::TooLong);
        }
        let set = json::object(text.as_bytes())?;
        let members = set.get("keys").and_then(Value::as_array).ok_or(Error::Json)?;
        if members.len() > MAX_KEYS {
            return Err(Error::Key("there are too many in the set"));
        }
        let mut jwks = Self::default();
        for jwk in members {
            match PublicKey::from_members(jwk.as_object().ok_or(Error::Json)?) {
                Ok(key) => jwks.keys.push(key),
                Err(why) => jwks.refused.push(why),
            }
        }
        unambiguous(&jwks.keys)?;
        Ok(jwks)
    }

    /// Writes a key set.
    pub fn write<'a>(keys: impl IntoIterator<Item = &'a PublicKey>) -> String {
        let keys: Vec<Value> = keys.into_iter().map(PublicKey::to_jwk).collect();
        json!({ "keys": keys }).to_string()
    }
}

/// Refuses two different keys of one name: which one verifies must not depend on their order.
pub(crate) fn unambiguous(keys: &[PublicKey]) -> Result<(), Error> {
    let names: std::collections::HashSet<_> = keys.iter().map(|key| (key.id(), key.algorithm())).collect();
    if names.len() == keys.len() { Ok(()) } else { Err(Error::Key("two have the same id and algorithm")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The point of RFC 7515 §A.3.1.
    const P256: &str =
        r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    /// The key of RFC 8037 §A.2.
    const OKP: &str = r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
    /// The modulus of RFC 7638 §3.1.
    const N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

    fn rsa(n: &str, e: &str, more: &str) -> String {
        format!(r#"{{"kty":"RSA","n":"{n}","e":"{e}"{more}}}"#)
    }

    #[test]
    fn thumbprints_are_those_of_the_standards() {
        assert_eq!(PublicKey::from_jwk(&rsa(N, "AQAB", "")).unwrap().thumbprint(), "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
        assert_eq!(PublicKey::from_jwk(OKP).unwrap().thumbprint(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_without_an_id_is_named_by_its_thumbprint() {
        let key = PublicKey::from_jwk(P256).unwrap();
        assert_eq!(key.id(), key.thumbprint());
        let named = PublicKey::from_jwk(&P256.replace("{\"kty\"", "{\"kid\":\"a\",\"kty\"")).unwrap();
        assert_eq!((named.id(), named.thumbprint()), ("a", key.thumbprint()));
    }

    #[test]
    fn what_is_written_is_read_back() {
        for text in [P256, OKP, &rsa(N, "AQAB", ""), &rsa(N, "AQAB", r#","alg":"PS256","use":"sig","key_ops":["verify"]"#)] {
            let key = PublicKey::from_jwk(text).unwrap();
            assert_eq!(PublicKey::from_jwk(&key.to_jwk().to_string()).unwrap(), key);
            assert_eq!(Jwks::parse(&Jwks::write([&key])).unwrap().keys, [key]);
        }
    }

    #[test]
    fn the_algorithm_is_fixed_by_the_key() {
        assert_eq!(PublicKey::from_jwk(P256).unwrap().algorithm(), Algorithm::Es256);
        assert_eq!(PublicKey::from_jwk(&rsa(N, "AQAB", "")).unwrap().algorithm(), Algorithm::Rs256);
        for alg in ["ES384", "EdDSA", "RS256", "HS256", "none", "RS1", "RSA-OAEP"] {
            let text = P256.replace("{\"kty\"", &format!("{{\"alg\":\"{alg}\",\"kty\""));
            assert!(matches!(PublicKey::from_jwk(&text), Err(Error::Key(_))), "{alg}");
        }
    }

    #[test]
    fn weak_and_foreign_keys_are_refused() {
        let short = json::encode([&[0xc1; 127][..], &[1]].concat());
        let even = json::encode([&[0xc1; 255][..], &[2]].concat());
        let hostile = [
            rsa(&short, "AQAB", ""),
            rsa(&even, "AQAB", ""),
            rsa(&json::encode([&[0][..], &[0xc1; 256]].concat()), "AQAB", ""),
            rsa(&json::encode([0xc1; 1025]), "AQAB", ""),
            rsa(N, "AQ", ""),
            rsa(N, "Ag", ""),
            rsa(N, "", ""),
            rsa("", "AQAB", ""),
            rsa(N, "AQAAAAE", ""),
            rsa(N, "AQAB", r#","d":"AQAB""#),
            rsa(N, "AQAB", r#","use":"enc""#),
            rsa(N, "AQAB", r#","key_ops":["encrypt"]"#),
            rsa(N, "AQAB", r#","kid":7"#),
            rsa(N, "AQAB", &format!(r#","kid":"{}""#, "x".repeat(MAX_KEY_ID + 1))),
            r#"{"kty":"oct","k":"c2VjcmV0"}"#.to_owned(),
            r#"{"kty":"oct"}"#.to_owned(),
            OKP.replace("Ed25519", "X25519"),
            OKP.replace("11qY", ""),
            // Not on the curve, then the wrong length.
            P256.replace("f83O", "f83P"),
            P256.replace("f83O", ""),
            P256.replace("P-256", "P-384"),
            P256.replace("P-256", "secp256k1"),
        ];
        for text in hostile {
            assert!(matches!(PublicKey::from_jwk(&text), Err(Error::Key(_))), "{text}");
        }
        assert_eq!(PublicKey::from_jwk(&rsa(N, "AQAB", r#","e":"AQAB""#)), Err(Error::Json));
        assert_eq!(PublicKey::from_jwk(&rsa(N, "AQAB=", "")), Err(Error::Encoding));
    }

    #[test]
    fn a_set_keeps_what_it_understands_and_says_what_not() {
        let set = Jwks::parse(&format!(r#"{{"keys":[{P256},{{"kty":"oct","k":"eA"}},{OKP}]}}"#)).unwrap();
        assert_eq!((set.keys.len(), set.refused.len()), (2, 1));
    }

    #[test]
    fn a_set_is_bounded_and_unambiguous() {
        let set = |count: usize| {
            let keys: Vec<String> = (0..count).map(|n| P256.replace("{\"kty\"", &format!("{{\"kid\":\"{n}\",\"kty\""))).collect();
            format!(r#"{{"keys":[{}]}}"#, keys.join(","))
        };
        assert_eq!(Jwks::parse(&set(MAX_KEYS)).unwrap().keys.len(), MAX_KEYS);
        assert!(matches!(Jwks::parse(&set(MAX_KEYS + 1)), Err(Error::Key(_))));
        assert!(matches!(Jwks::parse(&format!(r#"{{"keys":[{P256},{P256}]}}"#)), Err(Error::Key(_))));
        assert_eq!(Jwks::parse(&" ".repeat(MAX_SET + 1)), Err(Error::TooLong));
        assert_eq!(Jwks::parse(r#"{"keys":[1]}"#), Err(Error::Json));
        assert_eq!(Jwks::parse("{}"), Err(Error::Json));
    }
}
