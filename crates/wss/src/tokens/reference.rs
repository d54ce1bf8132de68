//! `wsse:BinarySecurityToken` and `wsse:SecurityTokenReference` (SOAP Message Security §6.3, §7; X.509 Token Profile §3).
//!
//! What an attacker tries: a reference that leads out of the message, to another reference or to two tokens; a key that comes
//! along as a value, so that a message vouches for itself (attack 14). A reference has one form, and one meaning.

use vestibule_xmlsec::{Error as XmlError, Place};

use super::{View, base64};
use crate::namespaces::{
    BASE64, DS, PKI_PATH, SAML11_KEY_IDENTIFIER, SAML11_TOKEN, SAML20_KEY_IDENTIFIER, SAML20_TOKEN, SUBJECT_KEY_IDENTIFIER, THUMBPRINT,
    WSSE, WSSE11, WSU, X509_V3,
};

/// Octets of one certificate or path.
const LONGEST_CERTIFICATE: usize = 64 << 10;

/// A certificate, or a path of them, in the header.
#[derive(Debug, Clone)]
pub(crate) struct BinaryToken {
    pub(crate) id: Option<String>,
    pub(crate) place: Place,
    pub(crate) kind: BinaryKind,
    pub(crate) octets: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BinaryKind {
    Certificate,
    /// In DER, the end entity last.
    Path,
    /// Of a kind that is not read here.
    Other,
}

impl BinaryToken {
    pub(crate) fn read(element: View<'_>) -> Result<Self, XmlError> {
        let kind = match element.attribute("", "ValueType") {
            Some(X509_V3) => BinaryKind::Certificate,
            Some(PKI_PATH) => BinaryKind::Path,
            Some(_) => BinaryKind::Other,
            // BSP R3031.
            None => return Err(element.unreadable("a BinarySecurityToken without ValueType")),
        };
        encoded(element)?;
        Ok(Self {
            id: element.attribute(WSU, "Id").map(str::to_owned),
            place: element.place(),
            kind,
            octets: base64(element, LONGEST_CERTIFICATE)?,
        })
    }
}

/// BSP R3029, R3030: absent it means the same, and nothing else is written.
fn encoded(element: View<'_>) -> Result<(), XmlError> {
    match element.attribute("", "EncodingType") {
        None | Some(BASE64) => Ok(()),
        Some(_) => Err(element.unreadable("a token of another encoding")),
    }
}

/// What a reference says.
#[derive(Debug, Clone)]
pub(crate) enum Reference {
    /// An element of this document.
    Id(String),
    /// A certificate by the octets of its SubjectKeyIdentifier extension.
    SubjectKeyIdentifier(Vec<u8>),
    /// A certificate by its SHA-1.
    Thumbprint(Vec<u8>),
    /// A certificate by its issuer's name, as text, and its serial number, in decimal digits.
    IssuerSerial { issuer: String, serial: String },
    /// A certificate that stands in the reference.
    Certificate(Vec<u8>),
    /// A token that stands in the reference.
    Embedded(BinaryToken),
    /// An assertion by its id.
    Assertion(String),
    /// It cannot be followed.
    Refused(&'static str),
}

impl Reference {
    /// Of a `SecurityTokenReference`, which has one child (BSP R3061).
    pub(crate) fn read(element: View<'_>) -> Result<Self, XmlError> {
        let kind = element.attribute(WSSE11, "TokenType");
        let mut children = element.children();
        let (Some(child), None) = (children.next(), children.next()) else {
            return Ok(Self::Refused("a SecurityTokenReference of not one reference"));
        };
        Ok(match (child.namespace(), child.local()) {
            (WSSE, "Reference") => match child.attribute("", "URI").map(|uri| (uri, uri.strip_prefix('#'))) {
                None => Self::Refused("a Reference without URI"),
                // BSP R3001, R5204.
                Some((_, None | Some(""))) => Self::Refused("a Reference that leads out of the message"),
                Some((_, Some(id))) => Self::Id(id.to_owned()),
            },
            (WSSE, "KeyIdentifier") => return Self::identifier(child, kind),
            (WSSE, "Embedded") => {
                let mut inside = child.children();
                match (inside.next(), inside.next()) {
                    (Some(token), None) if token.is(WSSE, "BinarySecurityToken") => Self::Embedded(BinaryToken::read(token)?),
                    _ => Self::Refused("an Embedded reference of not one certificate"),
                }
            }
            (DS, "X509Data") => return Self::x509_data(child),
            // BSP R3027, R5402, R5417; a key that vouches for itself is never one.
            _ => Self::Refused("a reference of another form"),
        })
    }

    fn identifier(element: View<'_>, token: Option<&str>) -> Result<Self, XmlError> {
        encoded(element)?;
        Ok(match element.attribute("", "ValueType") {
            Some(SUBJECT_KEY_IDENTIFIER) => Self::SubjectKeyIdentifier(base64(element, 256)?),
            Some(THUMBPRINT) => Self::Thumbprint(base64(element, 20)?),
            // Not of the profile, but a real client's: the certificate itself.
            Some(X509_V3) => Self::Certificate(base64(element, LONGEST_CERTIFICATE)?),
            Some(kind @ (SAML11_KEY_IDENTIFIER | SAML20_KEY_IDENTIFIER)) => {
                let expected = if kind == SAML11_KEY_IDENTIFIER { SAML11_TOKEN } else { SAML20_TOKEN };
                if token.is_some_and(|token| token != expected) {
                    return Ok(Self::Refused("a TokenType of another kind than the identifier"));
                }
                Self::Assertion(element.text()?.trim_matches([' ', '\t', '\r', '\n']).to_owned())
            }
            Some(_) | None => Self::Refused("a KeyIdentifier of another kind"),
        })
    }

    fn x509_data(element: View<'_>) -> Result<Self, XmlError> {
        if let Some(certificate) = element.child(DS, "X509Certificate")? {
            return base64(certificate, LONGEST_CERTIFICATE).map(Self::Certificate);
        }
        let Some(pair) = element.child(DS, "X509IssuerSerial")? else {
            return Ok(Self::Refused("X509Data without certificate or serial number"));
        };
        let text = |name: &str| {
            let child = pair.child(DS, name)?.ok_or_else(|| pair.unreadable("an X509IssuerSerial without issuer or number"))?;
            Ok::<_, XmlError>(child.text()?.trim_matches([' ', '\t', '\r', '\n']).to_owned())
        };
        let (issuer, serial) = (text("X509IssuerName")?, text("X509SerialNumber")?);
        let digits = !serial.is_empty() && serial.len() <= 80 && serial.bytes().all(|octet| octet.is_ascii_digit());
        if !digits || issuer.len() > 2048 {
            return Err(pair.unreadable("an X509IssuerSerial that names nothing"));
        }
        Ok(Self::IssuerSerial { issuer, serial: serial.trim_start_matches('0').to_owned() })
    }
}

/// What a signature says of its key.
#[derive(Debug, Clone)]
pub(crate) enum KeyInfo {
    /// A `SecurityTokenReference`.
    Token(Reference),
    /// Something that needs a concession.
    Bare(Reference),
    /// Nothing that can be followed.
    Refused(&'static str),
}

impl KeyInfo {
    /// Of the one `ds:KeyInfo`, which has one child (BSP R5402).
    pub(crate) fn read(signature: View<'_>) -> Result<Self, XmlError> {
        let Some(info) = signature.child(DS, "KeyInfo")? else {
            return Ok(Self::Refused("a signature without KeyInfo"));
        };
        let mut children = info.children();
        let (Some(child), None) = (children.next(), children.next()) else {
            return Ok(Self::Refused("a KeyInfo of not one reference"));
        };
        if child.is(WSSE, "SecurityTokenReference") {
            return Reference::read(child).map(Self::Token);
        }
        if child.is(DS, "X509Data") {
            return Reference::x509_data(child).map(Self::Bare);
        }
        // KeyName, KeyValue and RetrievalMethod name nobody that is known.
        Ok(Self::Refused("a KeyInfo without token reference or certificate"))
    }
}
