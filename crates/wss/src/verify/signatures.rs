//! The signatures of a header: whose key each names, whether that key counts, and what it covers.
//!
//! The key comes from the message only as a candidate: it counts because the operator knows its certificate, because a path
//! leads to an anchor, or because a verified assertion names it (attacks 14, 15). Coverage is a list of verified elements;
//! nothing makes one but the core's verification.

use vestibule_xmlsec::{Element, KeyId, Place, Profile, SignedElement, Token, TrustedKeys, Verified};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Contents, Message, of_digest, saml};
use crate::certificates::{Certificate, CertificateFault, MOST_CERTIFICATES};
use crate::header::ClaimedSignature;
use crate::reason::{Reason, Refused, Trace};
use crate::replay::{self, Replay};
use crate::rules::{Concession, Rules, TokenKind};
use crate::tokens::{BinaryKind, BinaryToken, KeyInfo, Reference};

/// What one good signature covers. Only a verification makes one.
///
/// ```compile_fail
/// # use vestibule_wss::SignedParts;
/// fn forge() -> SignedParts {
///     SignedParts { parts: Vec::new() }
/// }
/// ```
#[derive(Debug)]
pub struct SignedParts {
    parts: Vec<Verified<Element>>,
    digests: Vec<String>,
    pub(super) key: KeyId,
    /// The certificate that the signature names; `None` where it names an assertion.
    pub(super) certificate: Option<Certificate>,
    /// Whether the operator trusts the certificate.
    pub(super) trusted: bool,
    /// Whether the certificate vouches for the assertion's issuer.
    pub(super) attester: bool,
    /// Whether it is the key that the assertion names.
    pub(super) holder: bool,
}

impl SignedParts {
    /// The key that signed.
    pub fn key(&self) -> KeyId {
        self.key
    }

    /// The certificate of the key, where the signature names one.
    pub fn certificate(&self) -> Option<&Certificate> {
        self.certificate.as_ref()
    }

    /// Whether an element is covered, at this very place.
    pub fn covers(&self, place: &Place) -> bool {
        self.part(place).is_some()
    }

    /// The element at this place, as it was digested.
    pub fn part(&self, place: &Place) -> Option<&Verified<Element>> {
        self.parts.iter().find(|part| part.place() == *place)
    }

    /// All that it covers.
    pub fn parts(&self) -> &[Verified<Element>] {
        &self.parts
    }

    /// The digest of what stands at a place, as the signature fixes it.
    pub(super) fn digest(&self, place: &Place) -> Option<[u8; 32]> {
        let at = self.parts.iter().position(|part| part.place() == *place)?;
        self.digests.get(at).map(|digest| of_digest(digest))
    }

    /// The signed message itself: the key and what it signed. Not the value of the signature, of which there may be twins.
    pub(super) fn once(&self, until: jiff::Timestamp) -> Replay {
        let digests = self.digests.iter().map(String::as_bytes);
        let key = replay::hash("wss message", [self.key.octets().as_slice()].into_iter().chain(digests));
        Replay::Once { key, until }
    }
}

/// Verifies every signature that stands in the header. One that is wrong refuses the message.
pub(super) fn verify(
    message: &Message,
    contents: &Contents<'_>,
    rules: &Rules<'_>,
    own: Option<&saml::Own<'_>>,
    now: jiff::Timestamp,
    trace: &mut Trace,
) -> Result<Vec<SignedParts>, Refused> {
    let only_a_name = rules.demand.tokens == [TokenKind::Username] && rules.demand.parts.is_empty();
    if only_a_name && !contents.signatures.is_empty() {
        trace.skipped("signature", "nothing is read from it");
        return Ok(Vec::new());
    }
    let keys = Keyring { message, contents, rules, own, now };
    contents.signatures.iter().map(|signature| keys.verify(signature, trace)).collect()
}

struct Keyring<'a> {
    message: &'a Message,
    contents: &'a Contents<'a>,
    rules: &'a Rules<'a>,
    own: Option<&'a saml::Own<'a>>,
    now: jiff::Timestamp,
}

/// Whose key a signature names.
enum Named {
    /// A certificate, and others that may lead to an anchor.
    Chain(Vec<Vec<u8>>),
    /// The holders of the assertion.
    Holders,
}

/// What a signature that counts is verified with.
enum Standing {
    Certificate(Certificate),
    Holders(TrustedKeys),
}

impl Keyring<'_> {
    fn verify(&self, signature: &ClaimedSignature, trace: &mut Trace) -> Result<SignedParts, Refused> {
        let reference = match &signature.key_info {
            KeyInfo::Token(reference) => reference,
            KeyInfo::Bare(reference) if self.rules.concessions.admit(Concession::BareKeyInfo) => reference,
            KeyInfo::Bare(_) => return Err(trace.refuse("key", Reason::NotEnabled, "a KeyInfo without SecurityTokenReference")),
            KeyInfo::Refused(why) => return Err(trace.refuse("key", Reason::ReferenceRefused, *why)),
        };
        let named = self.named(reference).map_err(|(reason, why)| trace.refuse("key", reason, why))?;
        let (standing, mut found) = self.standing(named, trace)?;
        let keys = match &standing {
            Standing::Certificate(certificate) => certificate.keys(),
            Standing::Holders(keys) => Some(keys),
        };
        let keys = keys.ok_or_else(|| trace.refuse("key", Reason::UnknownKey, CertificateFault::Unreadable.to_string()))?;

        let profile = self.rules.concessions.applied_to(Profile::WS_SECURITY);
        let resolver = |reference: vestibule_xmlsec::ElementView<'_, vestibule_xmlsec::Unsigned>| self.token(reference);
        let place = SignedElement::At(&signature.place);
        let parts = self.message.document().verify_parts_and_tokens(place, keys, &profile, &resolver);
        found.parts = parts.map_err(|error| trace.refuse_xml("signature", &error))?;
        found.digests.clone_from(&signature.digests);
        if let Some(vestibule_xmlsec::Signer::Key(key)) = found.parts.first().map(Verified::signer) {
            found.key = *key;
        }
        let names: Vec<&str> = found.parts.iter().filter_map(|part| part.element().ok().map(|element| element.local())).collect();
        trace.passed("signature", format!("good, over {}", names.join(", ")));
        Ok(found)
    }

    /// Whether the named key counts, and as what.
    fn standing(&self, named: Named, trace: &mut Trace) -> Result<(Standing, SignedParts), Refused> {
        let name = "key";
        let holders = self.own.map(saml::Own::holders).unwrap_or_default();
        let chain = match named {
            Named::Holders => {
                let mut keys = TrustedKeys::new();
                let ids: Vec<KeyId> = holders.iter().filter_map(|der| keys.add_certificate(der).ok()).collect();
                let Some(key) = ids.first().copied() else {
                    return Err(trace.refuse(name, Reason::UnknownKey, "the assertion names no holder's key"));
                };
                trace.passed(name, "the holder's, as the assertion names it");
                return Ok((Standing::Holders(keys), SignedParts::begun(key, None)));
            }
            Named::Chain(chain) => chain,
        };
        let judged = self.rules.demand.tokens.iter().any(|token| *token != TokenKind::Saml);
        let trusted = judged.then(|| self.rules.certificates.judge(&chain, self.now));
        let vouching = self.own.map(|own| (own, own.issuer.attesters.judge(&chain, self.now)));
        // Whoever counts was read before.
        let known =
            [trusted.as_ref(), vouching.as_ref().map(|(_, judged)| judged)].into_iter().flatten().find_map(|judged| judged.as_ref().ok());
        let leaf = match (known, chain.first()) {
            (Some(certificate), _) => Ok(certificate.clone()),
            (None, Some(der)) => Certificate::from_der(der).map_err(|_| CertificateFault::Unreadable.to_string()),
            (None, None) => Err("no certificate".to_owned()),
        };
        let leaf = leaf.map_err(|why| trace.refuse(name, Reason::UnknownKey, why))?;
        if leaf.keys().is_none() {
            return Err(trace.refuse(name, Reason::UnknownKey, CertificateFault::Unreadable.to_string()));
        }
        let mut found = SignedParts::begun(leaf.key(), Some(leaf.clone()));
        found.holder = holders.iter().any(|der| KeyId::of_certificate(der).is_ok_and(|key| key == leaf.key()));
        let mut fault = None;
        let mut vouching_is_off = false;
        if let Some((own, judged)) = vouching {
            match judged {
                Ok(_) if self.rules.concessions.admit(Concession::SenderVouches) => found.attester = true,
                Ok(_) => vouching_is_off = own.may_be_vouched_for(),
                Err(why) => fault = Some(why),
            }
        }
        match trusted {
            Some(Ok(_)) => found.trusted = true,
            Some(Err(why)) => fault = Some(why),
            None => {}
        }
        if found.holder || found.attester || found.trusted {
            trace.passed(name, format!("{:?}, serial {}", leaf.subject(), leaf.serial()));
            return Ok((Standing::Certificate(leaf), found));
        }
        let fault = fault.unwrap_or(CertificateFault::Unknown);
        let reason = match fault {
            CertificateFault::Expired => Reason::CertificateExpired,
            CertificateFault::TooLong => Reason::Limits,
            CertificateFault::Unknown | CertificateFault::Revoked | CertificateFault::Usage | CertificateFault::Unreadable => {
                Reason::UnknownKey
            }
        };
        if vouching_is_off {
            return Err(trace.refuse(name, Reason::NotEnabled, "an attester's, where sender-vouches is not enabled"));
        }
        Err(trace.refuse(name, reason, format!("{:?}, serial {}: {fault}", leaf.subject(), leaf.serial())))
    }

    fn named(&self, reference: &Reference) -> Result<Named, (Reason, String)> {
        let refused = |why: &str| (Reason::ReferenceRefused, why.to_owned());
        match reference {
            Reference::Refused(why) => Err(refused(why)),
            Reference::Certificate(der) => Ok(Named::Chain(vec![der.clone()])),
            Reference::Embedded(token) => chain(token).map(Named::Chain),
            Reference::Assertion(id) => self.assertion(id).map(|_| Named::Holders).ok_or_else(|| refused("no such assertion")),
            Reference::Id(id) => match (self.binary(id), self.assertion(id)) {
                (Some(token), None) => chain(token).map(Named::Chain),
                (None, Some(_)) => Ok(Named::Holders),
                (Some(_), Some(_)) => Err(refused("two tokens of one id")),
                (None, None) => Err(refused("no token of this header has the id")),
            },
            Reference::SubjectKeyIdentifier(_) | Reference::Thumbprint(_) | Reference::IssuerSerial { .. } => {
                let found = self.meant(reference)?;
                found.map(|der| Named::Chain(vec![der])).ok_or_else(|| (Reason::UnknownKey, "a certificate that is not known".to_owned()))
            }
        }
    }

    /// The one certificate that a reference means: among those known here, then among those of the header.
    fn meant(&self, reference: &Reference) -> Result<Option<Vec<u8>>, (Reason, String)> {
        let attesters = self.own.map(|own| &own.issuer.attesters);
        let holders = self.own.map(saml::Own::holders).unwrap_or_default();
        let known = self.rules.certificates.known().chain(attesters.into_iter().flat_map(|store| store.known()));
        let mut found: Vec<Vec<u8>> = known.filter(|one| one.is_meant(reference)).map(|one| one.der().to_vec()).collect();
        if found.is_empty() {
            let sent = self.contents.binaries.iter().filter(|token| token.kind == BinaryKind::Certificate).map(|token| &token.octets);
            let read = sent.chain(&holders).filter_map(|der| Certificate::from_der(der).ok());
            found = read.filter(|one| one.is_meant(reference)).map(|one| one.der().to_vec()).collect();
        }
        found.sort();
        found.dedup();
        match found.len() {
            0 | 1 => Ok(found.pop()),
            _ => Err((Reason::Ambiguous, "a reference that means several certificates".to_owned())),
        }
    }

    fn binary(&self, id: &str) -> Option<&BinaryToken> {
        self.contents.binaries.iter().find(|token| token.id.as_deref() == Some(id)).copied()
    }

    fn assertion(&self, id: &str) -> Option<&Place> {
        self.contents.assertions.iter().find(|assertion| assertion.id == id).map(|assertion| &assertion.place)
    }

    /// What a token reference inside a signature's references names: a token of this header, or a certificate known here.
    fn token(&self, reference: vestibule_xmlsec::ElementView<'_, vestibule_xmlsec::Unsigned>) -> Option<Token> {
        match Reference::read(reference).ok()? {
            Reference::Id(id) => {
                let place = self.binary(&id).map(|token| &token.place).or_else(|| self.assertion(&id))?;
                Some(Token::Element(place.clone()))
            }
            Reference::Assertion(id) => self.assertion(&id).map(|place| Token::Element(place.clone())),
            Reference::Embedded(token) => Some(Token::Element(token.place)),
            meant @ (Reference::SubjectKeyIdentifier(_) | Reference::Thumbprint(_) | Reference::IssuerSerial { .. }) => {
                self.meant(&meant).ok().flatten().map(Token::Certificate)
            }
            Reference::Certificate(der) => Some(Token::Certificate(der)),
            Reference::Refused(_) => None,
        }
    }
}

impl SignedParts {
    fn begun(key: KeyId, certificate: Option<Certificate>) -> Self {
        let holder = certificate.is_none();
        Self { parts: Vec::new(), digests: Vec::new(), key, certificate, trusted: false, attester: false, holder }
    }
}

/// The certificates of a token, the end entity first.
fn chain(token: &BinaryToken) -> Result<Vec<Vec<u8>>, (Reason, String)> {
    match token.kind {
        BinaryKind::Certificate => Ok(vec![token.octets.clone()]),
        BinaryKind::Path => path(&token.octets).ok_or_else(|| (Reason::Malformed, "a path that is no list of certificates".to_owned())),
        BinaryKind::Other => Err((Reason::NotEnabled, "a token of another kind than X.509".to_owned())),
    }
}

/// PkiPath (X.509 §8.5): a SEQUENCE of certificates, the end entity last.
fn path(der: &[u8]) -> Option<Vec<Vec<u8>>> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let octets = usize::from(first & 0x7f);
    let (length, mut rest) = if first & 0x80 == 0 {
        (octets, rest)
    } else {
        let (digits, rest) = rest.split_at_checked(octets)?;
        if octets > 4 {
            return None;
        }
        (digits.iter().fold(0usize, |length, digit| length << 8 | usize::from(*digit)), rest)
    };
    if *tag != 0x30 || length != rest.len() {
        return None;
    }
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (after, _) = X509Certificate::from_der(rest).ok()?;
        found.push(rest.get(..rest.len() - after.len())?.to_vec());
        rest = after;
        if found.len() > MOST_CERTIFICATES {
            return None;
        }
    }
    found.reverse();
    if found.is_empty() { None } else { Some(found) }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn der(pem: &str) -> Vec<u8> {
        STANDARD.decode(pem.lines().filter(|line| !line.starts_with("-----")).collect::<String>()).unwrap()
    }

    #[test]
    fn a_path_is_read_whole_or_not() {
        let leaf = der(include_str!("../../../../corpus/recorded/keys/leaf-valid.crt"));
        let ca = der(include_str!("../../../../corpus/recorded/keys/ca.crt"));
        let both = [ca.as_slice(), leaf.as_slice()].concat();
        let wrapped = |inside: &[u8]| {
            let length = u16::try_from(inside.len()).unwrap().to_be_bytes();
            [&[0x30, 0x82], length.as_slice(), inside].concat()
        };
        assert_eq!(path(&wrapped(&both)), Some(vec![leaf.clone(), ca]));
        for wrong in [
            Vec::new(),
            vec![0x30, 0],
            wrapped(&both[1..]),
            wrapped(&both)[..100].to_vec(),
            [wrapped(&both), vec![0]].concat(),
            wrapped(&leaf.repeat(MOST_CERTIFICATES + 1)),
            [&[0x30, 0x85, 0, 0, 0, 0, 1], leaf.as_slice()].concat(),
        ] {
            assert_eq!(path(&wrong), None);
        }
    }
}
