//! What a message is held against. Everything here comes from the operator, nothing from a message.

use std::net::IpAddr;

use jiff::SignedDuration;
use vestibule_soap::Target;
use vestibule_xmlsec::{Concession as XmlConcession, DecryptionKeys, Messages, Profile, TrustedKeys};

use crate::certificates::CertificateStore;

/// The rules of one scheme.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// Whose header is read. With [`Target::Ultimate`] the one without role.
    pub role: &'a Target,
    /// What has to be shown.
    pub demand: Demand<'a>,
    /// How old messages may be.
    pub window: Window,
    /// What of the weaker is admitted.
    pub concessions: Concessions,
    /// How the message came.
    pub channel: Channel<'a>,
    /// Whose signatures count for [`TokenKind::X509`], and for the required parts beside a user name.
    pub certificates: &'a CertificateStore,
    /// Whose assertions count.
    pub issuers: &'a [TrustedIssuer],
    /// Who we are in an assertion's audiences.
    pub audience: &'a str,
    /// Our addresses, for assertions that name one.
    pub recipients: &'a [&'a str],
    /// Keys that decrypt what is encrypted to us. `None`: ciphertext is left alone, for the service behind.
    pub decryption: Option<&'a DecryptionKeys<Messages>>,
}

/// What a message has to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Demand<'a> {
    /// The tokens; all of them have to hold.
    pub tokens: &'a [TokenKind],
    /// Parts that have to be signed, beside those that a token always needs: Body and Timestamp for X.509 and
    /// holder-of-key; Body, Timestamp and token for sender-vouches.
    pub parts: &'a [Part],
}

/// A kind of credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TokenKind {
    /// A `UsernameToken` with a password or its digest.
    Username,
    /// A certificate whose key signed the message.
    X509,
    /// An assertion of SAML 1.1 or 2.0.
    Saml,
}

/// A part that a signature has to cover, by its position.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Part {
    /// The Body.
    Body,
    /// The Timestamp in the header for us.
    Timestamp,
    /// Each token that was demanded; for X.509 the `BinarySecurityToken` if there is one.
    Token,
    /// Every header block of WS-Addressing.
    Addressing,
    /// Every header block but security headers.
    Headers,
    /// All header blocks, the Body, and in our header the Timestamp and the tokens.
    Envelope,
    /// The one header block of this namespace and name.
    Header(String, String),
}

impl Part {
    /// Its name for programs.
    pub fn name(&self) -> String {
        match self {
            Self::Body => "body".to_owned(),
            Self::Timestamp => "timestamp".to_owned(),
            Self::Token => "token".to_owned(),
            Self::Addressing => "wsa".to_owned(),
            Self::Headers => "headers".to_owned(),
            Self::Envelope => "envelope".to_owned(),
            Self::Header(namespace, local) => format!("{{{namespace}}}{local}"),
        }
    }

    /// A part by its name: those of [`Part::name`].
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "body" => Self::Body,
            "timestamp" => Self::Timestamp,
            "token" => Self::Token,
            "wsa" => Self::Addressing,
            "headers" => Self::Headers,
            "envelope" => Self::Envelope,
            other => {
                let (namespace, local) = other.strip_prefix('{')?.split_once('}')?;
                if namespace.is_empty() || local.is_empty() {
                    return None;
                }
                Self::Header(namespace.to_owned(), local.to_owned())
            }
        })
    }
}

/// How the message came.
#[derive(Debug, Clone, Copy)]
pub enum Channel<'a> {
    /// In the clear: no password as text, no bearer token.
    Plain {
        /// From where.
        client: Option<IpAddr>,
    },
    /// Over TLS.
    Protected {
        /// From where.
        client: Option<IpAddr>,
        /// The certificate (DER) of the client, if the handshake verified one.
        certificate: Option<&'a [u8]>,
    },
}

impl Channel<'_> {
    pub(crate) fn client(&self) -> Option<IpAddr> {
        match self {
            Self::Plain { client } | Self::Protected { client, .. } => *client,
        }
    }

    pub(crate) fn is_protected(&self) -> bool {
        matches!(self, Self::Protected { .. })
    }

    pub(crate) fn certificate(&self) -> Option<&[u8]> {
        match self {
            Self::Plain { .. } => None,
            Self::Protected { certificate, .. } => *certificate,
        }
    }
}

/// How old messages may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The age of a Timestamp or of a password's digest.
    pub max_age: SignedDuration,
    /// How far ahead of our clock something may have been made.
    pub future: SignedDuration,
    /// How far clocks may differ where an end is given.
    pub skew: SignedDuration,
}

impl Default for Window {
    /// 300 s, 60 s and 30 s.
    fn default() -> Self {
        Self { max_age: SignedDuration::from_secs(300), future: SignedDuration::from_secs(60), skew: SignedDuration::from_secs(30) }
    }
}

impl Window {
    /// The first full second in which nothing made then is accepted.
    pub(crate) fn end_of(&self, created: jiff::Timestamp) -> jiff::Timestamp {
        let second = SignedDuration::from_secs(1);
        created.checked_add(self.max_age.saturating_add(second)).unwrap_or(jiff::Timestamp::MAX)
    }
}

macro_rules! concessions {
    ($($(#[$meta:meta])* $variant:ident = $word:literal),+ $(,)?) => {
        /// Something weaker that an operator admits for a named partner.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Concession { $($(#[$meta])* $variant),+ }

        impl Concession {
            /// Every concession.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Its name in configuration.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }
    };
}

concessions! {
    /// SHA-1 in signatures and references.
    Sha1 = "legacy_sha1",
    /// RSA keys of 1024 to 2047 bits.
    Rsa1024 = "legacy_rsa1024",
    /// AES in CBC mode, to decrypt.
    Cbc = "legacy_cbc",
    /// Triple-DES in CBC mode, to decrypt.
    TripleDes = "legacy_3des",
    /// PKCS#1 v1.5 key transport, to decrypt.
    Rsa15 = "legacy_rsa15",
    /// Inclusive canonicalization.
    InclusiveCanonicalization = "legacy_c14n",
    /// SAML 1.1.
    Saml11 = "saml11",
    /// Bearer assertions.
    Bearer = "wss_bearer",
    /// Sender-vouches assertions of the issuer's attesters.
    SenderVouches = "wss_sender_vouches",
    /// A client certificate of TLS proves possession of a holder's key.
    HolderOfKeyByTls = "wss_holder_of_key_tls",
    /// A client certificate of TLS makes the peer an attester.
    SenderVouchesByTls = "wss_sender_vouches_tls",
    /// An `Id` without namespace counts on Body and Timestamp.
    PlainId = "wss_plain_id",
    /// The Timestamp of a signed message may be unsigned or absent.
    UnsignedTimestamp = "wss_unsigned_timestamp",
    /// `KeyInfo` without a `SecurityTokenReference`.
    BareKeyInfo = "wss_bare_keyinfo",
    /// CBC ciphertext that no signature covers.
    CbcUnsigned = "wss_cbc_unsigned",
    /// The draft of April 2002.
    Draft200204 = "wss_draft_2002_04",
    /// The draft of July 2002.
    Draft200207 = "wss_draft_2002_07",
    /// The draft of December 2002.
    Draft200212 = "wss_draft_2002_12",
    /// The draft of June 2003.
    Draft200306 = "wss_draft_2003_06",
}

/// A set of concessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Concessions(u32);

impl Concessions {
    /// None.
    pub const NONE: Self = Self(0);

    /// The set with one more.
    #[must_use]
    pub fn with(self, concession: Concession) -> Self {
        Self(self.0 | Self::bit(concession))
    }

    /// Whether it is among them.
    pub fn admit(self, concession: Concession) -> bool {
        self.0 & Self::bit(concession) != 0
    }

    fn bit(concession: Concession) -> u32 {
        1 << concession as u32
    }

    /// A profile with those of the core.
    pub(crate) fn applied_to(self, profile: Profile) -> Profile {
        let below = [
            (Concession::Sha1, XmlConcession::Sha1),
            (Concession::Rsa1024, XmlConcession::Rsa1024),
            (Concession::Cbc, XmlConcession::Cbc),
            (Concession::TripleDes, XmlConcession::TripleDes),
            (Concession::Rsa15, XmlConcession::Rsa15),
            (Concession::InclusiveCanonicalization, XmlConcession::InclusiveCanonicalization),
            (Concession::PlainId, XmlConcession::PlainId),
            (Concession::CbcUnsigned, XmlConcession::UnsignedCbc),
        ];
        below.into_iter().filter(|(ours, _)| self.admit(*ours)).fold(profile, |profile, (_, theirs)| profile.admit(theirs))
    }
}

impl FromIterator<Concession> for Concessions {
    fn from_iter<I: IntoIterator<Item = Concession>>(concessions: I) -> Self {
        concessions.into_iter().fold(Self::NONE, Self::with)
    }
}

/// Whose assertions count.
#[derive(Debug)]
pub struct TrustedIssuer {
    /// Its entity id, as `Issuer` says it.
    pub entity_id: String,
    /// Keys that sign its assertions.
    pub keys: TrustedKeys,
    /// Whose signature over a message vouches for an assertion of this issuer.
    pub attesters: CertificateStore,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concessions_are_told_apart() {
        assert!(Concession::ALL.len() <= 32);
        for (place, one) in Concession::ALL.iter().enumerate() {
            let only = Concessions::NONE.with(*one);
            for (other_place, other) in Concession::ALL.iter().enumerate() {
                assert_eq!(only.admit(*other), place == other_place);
                assert_eq!(one.word() == other.word(), place == other_place);
            }
        }
        let all: Concessions = Concession::ALL.iter().copied().collect();
        assert!(Concession::ALL.iter().all(|one| all.admit(*one)));
    }

    #[test]
    fn parts_have_names() {
        let header = Part::Header("urn:h".to_owned(), "B".to_owned());
        for part in [Part::Body, Part::Timestamp, Part::Token, Part::Addressing, Part::Headers, Part::Envelope, header] {
            assert_eq!(Part::parse(&part.name()), Some(part));
        }
        for wrong in ["", "bodies", "{}x", "{urn:x}", "{urn:x"] {
            assert_eq!(Part::parse(wrong), None);
        }
    }
}
