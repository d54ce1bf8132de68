//! Artifacts (SAML bindings §3.6.4; SAML 1.1 bindings §4.1.1.8): short references that are exchanged for the message.
//!
//! Type 0x0002 of SAML 1.1 carries the address to call: the browser would choose where we connect. It does not exist here.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Parameters, RelayState, base64_of_query};
use crate::error::{BindingFault, Error};

/// Artifacts in one query.
pub const MOST_ARTIFACTS: usize = 4;

/// A reference to a message. The handle is a credential: whoever has it can fetch the message once.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum Artifact {
    /// Type 0x0004.
    Saml20 {
        /// Which of the issuer's resolution endpoints.
        endpoint_index: u16,
        /// Whose: SHA-1 of the issuer's entity id.
        source_id: [u8; 20],
        /// Which message.
        handle: [u8; 20],
    },
    /// Type 0x0001.
    Saml11 {
        /// Whose: agreed 20 octets, as a rule SHA-1 of the entity id.
        source_id: [u8; 20],
        /// Which assertion.
        handle: [u8; 20],
    },
}

impl std::fmt::Debug for Artifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Saml20 { .. } => "Artifact(0x0004)",
            Self::Saml11 { .. } => "Artifact(0x0001)",
        })
    }
}

impl Artifact {
    /// Reads the value of a parameter `SAMLart`, percent-encoded as it came.
    ///
    /// # Errors
    /// [`Error::Binding`].
    pub fn parse(value: &str) -> Result<Self, Error> {
        Self::from_octets(&base64_of_query(value)?)
    }

    fn from_octets(octets: &[u8]) -> Result<Self, Error> {
        let wrong_length = Error::Binding(BindingFault::Artifact);
        let (kind, rest) = octets.split_at_checked(2).ok_or(wrong_length.clone())?;
        let two = |rest: &[u8]| -> Option<([u8; 20], [u8; 20])> {
            let (source, handle) = rest.split_at_checked(20)?;
            Some((source.try_into().ok()?, handle.try_into().ok()?))
        };
        match *kind {
            [0, 1] => {
                let (source_id, handle) = two(rest).ok_or(wrong_length)?;
                Ok(Self::Saml11 { source_id, handle })
            }
            [0, 4] => {
                let (index, rest) = rest.split_at_checked(2).ok_or(wrong_length.clone())?;
                let (source_id, handle) = two(rest).ok_or(wrong_length)?;
                let endpoint_index = index.iter().fold(0, |sum, octet| (sum << 8) | u16::from(*octet));
                Ok(Self::Saml20 { endpoint_index, source_id, handle })
            }
            _ => Err(Error::Binding(BindingFault::ArtifactType)),
        }
    }

    /// The value, base64; percent-encode it in a query.
    pub fn to_base64(&self) -> String {
        let mut octets = Vec::with_capacity(44);
        match self {
            Self::Saml20 { endpoint_index, source_id, handle } => {
                octets.extend([0, 4]);
                octets.extend(endpoint_index.to_be_bytes());
                octets.extend(source_id);
                octets.extend(handle);
            }
            Self::Saml11 { source_id, handle } => {
                octets.extend([0, 1]);
                octets.extend(source_id);
                octets.extend(handle);
            }
        }
        STANDARD.encode(octets)
    }

    /// The usual source id of an entity. SHA-1 is a way to write a name here, not a protection.
    pub fn source_id_of(entity_id: &str) -> [u8; 20] {
        let mut id = [0; 20];
        let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, entity_id.as_bytes());
        id.iter_mut().zip(sha1.as_ref()).for_each(|(to, from)| *to = *from);
        id
    }

    /// Whose it is.
    pub fn source_id(&self) -> &[u8; 20] {
        match self {
            Self::Saml20 { source_id, .. } | Self::Saml11 { source_id, .. } => source_id,
        }
    }

    /// A key for the cache that refuses artifacts seen before.
    pub fn digest(&self) -> [u8; 32] {
        let mut key = [0; 32];
        let sha256 = digest::digest(&digest::SHA256, self.to_base64().as_bytes());
        key.iter_mut().zip(sha256.as_ref()).for_each(|(to, from)| *to = *from);
        key
    }
}

/// What came back with artifacts.
#[derive(Debug, Clone)]
pub struct ArtifactQuery {
    /// One; in SAML 1.1 up to [`MOST_ARTIFACTS`], all of one source.
    pub artifacts: Vec<Artifact>,
    /// `RelayState`, or in SAML 1.1 `TARGET`.
    pub relay_state: Option<RelayState>,
}

impl ArtifactQuery {
    /// Reads a query, or a form.
    ///
    /// # Errors
    /// [`Error::Binding`]: also for artifacts of two sources or two versions, several of SAML 2.0, or SAML 1.1 without `TARGET`.
    pub fn read(query: &str) -> Result<Self, Error> {
        let parameters = Parameters::read(query)?;
        let artifacts: Vec<_> = parameters.all("SAMLart").map(Artifact::parse).collect::<Result<_, _>>()?;
        let twice = || Error::Binding(BindingFault::Twice("SAMLart"));
        let relay_field = match artifacts.as_slice() {
            [] => return Err(Error::Binding(BindingFault::MessageMissing)),
            [Artifact::Saml20 { .. }] => "RelayState",
            [Artifact::Saml11 { source_id, .. }, rest @ ..] if rest.len() < MOST_ARTIFACTS => {
                if rest.iter().any(|other| !matches!(other, Artifact::Saml11 { source_id: same, .. } if same == source_id)) {
                    return Err(twice());
                }
                if parameters.one("TARGET")?.is_none() {
                    return Err(Error::Binding(BindingFault::TargetMissing));
                }
                "TARGET"
            }
            [_, ..] => return Err(twice()),
        };
        Ok(Self { artifacts, relay_state: parameters.relay_state(relay_field)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAML11: &str = "AAH0ZacAeWjRBmSbmtlpmN6U9oMk7BAREhMUFRYXGBkaGxwdHh8gISIj";

    #[test]
    fn artifacts_of_both_types_are_read_and_written() {
        let artifact = Artifact::parse(SAML11).unwrap();
        assert_eq!(artifact.source_id(), &Artifact::source_id_of("https://idp.example.org/saml11"));
        assert_eq!(artifact.to_base64(), SAML11);
        let artifact = Artifact::Saml20 { endpoint_index: 258, source_id: [1; 20], handle: [255; 20] };
        assert_eq!(Artifact::parse(&artifact.to_base64().replace('+', "%2B").replace('/', "%2F")).unwrap(), artifact);
        assert_eq!(Artifact::parse(&artifact.to_base64().replace('+', " ")).unwrap(), artifact);
    }

    #[test]
    fn other_types_and_lengths_are_refused() {
        let with = |octets: &[u8]| Artifact::parse(&STANDARD.encode(octets));
        for length in [0, 1, 2, 41, 43, 44, 100] {
            let mut octets = vec![0; length];
            if let Some(kind) = octets.get_mut(1) {
                *kind = 1;
            }
            assert_eq!(with(&octets), Err(Error::Binding(BindingFault::Artifact)), "{length}");
        }
        assert_eq!(with(&[0, 2, 3]), Err(Error::Binding(BindingFault::ArtifactType)));
        assert_eq!(Artifact::parse("!"), Err(Error::Binding(BindingFault::Base64)));
    }

    #[test]
    fn several_artifacts_must_be_of_one_source() {
        let other = Artifact::Saml11 { source_id: [7; 20], handle: [1; 20] }.to_base64().replace('+', "%2B");
        let two = Artifact::Saml20 { endpoint_index: 0, source_id: [7; 20], handle: [1; 20] }.to_base64();
        assert_eq!(ArtifactQuery::read(&format!("TARGET=a&SAMLart={SAML11}&SAMLart={SAML11}")).unwrap().artifacts.len(), 2);
        for bad in [
            format!("SAMLart={SAML11}"),
            format!("TARGET=a&SAMLart={SAML11}&SAMLart={other}"),
            format!("TARGET=a&SAMLart={SAML11}&SAMLart={two}"),
            format!("SAMLart={two}&SAMLart={two}"),
            format!("TARGET=a{}", format!("&SAMLart={SAML11}").repeat(5)),
            format!("TARGET=a&TARGET=b&SAMLart={SAML11}"),
            "TARGET=a".to_owned(),
        ] {
            assert!(ArtifactQuery::read(&bad).is_err(), "{bad}");
        }
    }
}
