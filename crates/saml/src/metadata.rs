//! Metadata (SAML metadata §2): who a partner is, which keys it uses, and where it listens. Read, and written for ourselves.
//!
//! What an attacker tries: to have a key or an address of his own registered. Metadata are believed because an operator
//! named the file or because a pinned key signed them, never because a message brought them; every address is checked to be
//! one; and what has expired is refused, so that an old key cannot be brought back.

mod read;
mod write;

use jiff::{SignedDuration, Timestamp};
use vestibule_xmlsec::{Limits, Profile, Recipient, TrustedKeys};

use crate::error::{Error, MetadataFault};
use crate::names::{SAMLP, SUPPORTS_SAML11};
use crate::protocol::Consumer;
use crate::sp::TrustedIdp;

/// Limits of a file of metadata, which may describe a whole federation.
pub const METADATA_LIMITS: Limits = Limits { size: 32 << 20, nodes: 2_000_000, text: 1 << 20, canonical: 128 << 20, ..Limits::MESSAGE };

/// Why metadata may be believed.
#[derive(Debug, Clone, Copy)]
pub enum Trust<'a> {
    /// An operator named this very file. A signature in it is not looked at.
    Named,
    /// One of these keys signed all of it.
    Signed {
        /// Keys that an operator pinned.
        keys: &'a TrustedKeys,
        /// Algorithms that are admitted.
        profile: &'a Profile,
    },
}

/// What a file describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// Its entities; expired ones left out by [`Metadata::read`].
    pub entities: Vec<Entity>,
    /// Entities of a list that could not be used, by entity id where they have one, and why.
    pub skipped: Vec<(String, String)>,
    /// Until when all of it holds.
    pub valid_until: Option<Timestamp>,
    /// After which time it should be fetched again.
    pub cache_duration: Option<SignedDuration>,
}

impl Metadata {
    /// Reads an `EntityDescriptor`, or an `EntitiesDescriptor` of any depth.
    ///
    /// # Errors
    /// [`Error::Xml`] if it is unreadable or the signature is not good, [`Error::Metadata`] if it has expired.
    pub fn read(octets: &[u8], trust: Trust<'_>, now: Timestamp) -> Result<Self, Error> {
        read::read(octets, trust, Some(now))
    }

    /// The same with what has expired: whoever believes an entity of it asks [`Entity::has_ended`] each time.
    ///
    /// # Errors
    /// [`Error::Xml`] if it is unreadable or the signature is not good.
    pub fn read_with_ended(octets: &[u8], trust: Trust<'_>) -> Result<Self, Error> {
        read::read(octets, trust, None)
    }

    /// The entity of this id.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is not there.
    pub fn entity(&self, entity_id: &str) -> Result<&Entity, Error> {
        let found = self.entities.iter().find(|entity| entity.entity_id == entity_id);
        found.ok_or(Error::Metadata(MetadataFault::Missing("entity of this id")))
    }
}

/// One partner, or ourselves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entity {
    /// Its id.
    pub entity_id: String,
    /// Until when this holds; no later than what is around it.
    pub valid_until: Option<Timestamp>,
    /// After which time it should be fetched again.
    pub cache_duration: Option<SignedDuration>,
    /// Its name for people.
    pub display_name: Option<String>,
    /// What it is as an identity provider.
    pub idp: Option<IdpRole>,
    /// What it is as a service provider.
    pub sp: Option<SpRole>,
}

impl Entity {
    /// Whether this holds no more (metadata §2.3.2).
    pub fn has_ended(&self, now: Timestamp) -> bool {
        self.valid_until.is_some_and(|end| end <= now)
    }
}

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct IdpRole {
    /// Versions it speaks.
    pub protocols: Protocols,
    /// Its keys.
    pub keys: Vec<KeyDescriptor>,
    /// Whether it takes signed requests only.
    pub want_authn_requests_signed: bool,
    /// Scopes of scoped attributes that are its own.
    pub scopes: Vec<Scope>,
    /// Where requests go.
    pub sso: Vec<Endpoint>,
    /// Where logouts go.
    pub slo: Vec<Endpoint>,
    /// Where artifacts are resolved.
    pub artifact_resolution: Vec<IndexedEndpoint>,
    /// Formats of names it offers.
    pub name_id_formats: Vec<String>,
}

/// A service provider.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpRole {
    /// Versions it speaks.
    pub protocols: Protocols,
    /// Its keys.
    pub keys: Vec<KeyDescriptor>,
    /// Whether it signs its requests; if it says so, an unsigned one is not its.
    pub authn_requests_signed: bool,
    /// Whether it wants the assertion itself signed.
    pub want_assertions_signed: bool,
    /// Where responses go.
    pub acs: Vec<IndexedEndpoint>,
    /// Where logouts go.
    pub slo: Vec<Endpoint>,
    /// Formats of names it takes.
    pub name_id_formats: Vec<String>,
    /// Attributes it asks for.
    pub requested_attributes: Vec<RequestedAttribute>,
}

/// Versions that a role speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Protocols {
    /// SAML 2.0.
    pub saml20: bool,
    /// SAML 1.1.
    pub saml11: bool,
}

impl Protocols {
    fn read(enumeration: &str) -> Self {
        let supports = |protocol| enumeration.split_ascii_whitespace().any(|one| one == protocol);
        Self { saml20: supports(SAMLP), saml11: supports(SUPPORTS_SAML11) }
    }

    fn enumeration(self) -> String {
        let both = [self.saml20.then_some(SAMLP), self.saml11.then_some(SUPPORTS_SAML11)];
        both.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

/// Keys for a use, as certificates; their dates mean nothing here (metadata interoperability profile §2.6.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescriptor {
    /// What they are for.
    pub usage: Usage,
    /// Certificates in DER.
    pub certificates: Vec<Vec<u8>>,
    /// Algorithms it can decrypt, most wanted first; none means it does not say.
    pub encryption_methods: Vec<String>,
}

/// What a key is for. A descriptor that does not say is for both: validation stays on (attack 26).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Usage {
    /// It signs, and speaks TLS.
    Signing,
    /// Things are encrypted to it.
    Encryption,
    /// Both.
    Both,
}

/// The scope of attributes such as `name@scope`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The scope, or an expression for it.
    pub value: String,
    /// Whether it is an expression. Those are not interpreted here.
    pub regexp: bool,
}

/// Where something listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// By which binding.
    pub binding: String,
    /// Where.
    pub location: String,
    /// Where answers go, if elsewhere.
    pub response_location: Option<String>,
}

impl Endpoint {
    /// An endpoint whose answers come to the same place.
    pub fn new(binding: &str, location: &str) -> Self {
        Self { binding: binding.to_owned(), location: location.to_owned(), response_location: None }
    }
}

/// Where something listens, by number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedEndpoint {
    /// Its number.
    pub index: u16,
    /// Whether it is the one to take where nothing is said.
    pub is_default: Option<bool>,
    /// By which binding.
    pub binding: String,
    /// Where.
    pub location: String,
}

/// An attribute that a service provider asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedAttribute {
    /// Its name.
    pub name: String,
    /// How the name is meant.
    pub format: Option<String>,
    /// A name for people.
    pub friendly_name: Option<String>,
    /// Whether it cannot do without.
    pub required: bool,
}

/// The keys that a role signs with. Unusable ones are left out; if none is left, nothing verifies.
pub fn signing_keys(descriptors: &[KeyDescriptor]) -> TrustedKeys {
    let mut keys = TrustedKeys::new();
    for certificate in certificates(descriptors, Usage::Signing) {
        // A key of an unknown kind beside a good one is usual in metadata; it only must not be trusted.
        drop(keys.add_certificate(certificate));
    }
    keys
}

/// To whom things for a role are encrypted: its first key that can be encrypted to.
pub fn encryption_recipient(descriptors: &[KeyDescriptor]) -> Option<Recipient> {
    certificates(descriptors, Usage::Encryption).find_map(|certificate| Recipient::from_certificate(certificate).ok())
}

fn certificates(descriptors: &[KeyDescriptor], usage: Usage) -> impl Iterator<Item = &[u8]> {
    let wanted = descriptors.iter().filter(move |descriptor| descriptor.usage == usage || descriptor.usage == Usage::Both);
    wanted.flat_map(|descriptor| descriptor.certificates.iter().map(Vec::as_slice))
}

impl IdpRole {
    /// Where requests go by a binding.
    pub fn sso_by(&self, binding: &str) -> Option<&Endpoint> {
        self.sso.iter().find(|endpoint| endpoint.binding == binding)
    }

    /// Where artifacts of this index are resolved by SOAP. The index comes from a browser; the address never does.
    pub fn artifact_resolution_at(&self, index: u16) -> Option<&IndexedEndpoint> {
        self.artifact_resolution.iter().find(|endpoint| endpoint.index == index)
    }
}

impl SpRole {
    /// Where a response goes: the endpoint a request names, if it is one of these (attack 51), for the binding it wants.
    pub fn acs_for(&self, consumer: &Consumer, binding: Option<&str>) -> Option<&IndexedEndpoint> {
        let mut fitting = self.acs.iter().filter(|endpoint| binding.is_none_or(|binding| endpoint.binding == binding));
        match consumer {
            // Octet by octet: what is registered is what is answered.
            Consumer::Url(url) => fitting.find(|endpoint| endpoint.location == *url),
            Consumer::Index(index) => fitting.find(|endpoint| endpoint.index == *index),
            Consumer::Default => {
                // Metadata §2.2.3: one that says so, else the first that does not say it is none, else the first.
                let fitting: Vec<_> = fitting.collect();
                let marked = fitting.iter().find(|endpoint| endpoint.is_default == Some(true));
                marked.or_else(|| fitting.iter().find(|endpoint| endpoint.is_default.is_none())).or(fitting.first()).copied()
            }
        }
    }
}

impl TrustedIdp {
    /// An identity provider as its metadata describe it, without any concession.
    ///
    /// # Errors
    /// [`Error::Metadata`] if it is none, or has no usable key to sign with.
    pub fn from_metadata(entity: &Entity) -> Result<Self, Error> {
        let role = entity.idp.as_ref().ok_or(Error::Metadata(MetadataFault::Missing("IDPSSODescriptor")))?;
        let keys = signing_keys(&role.keys);
        if keys.ids().is_empty() {
            return Err(Error::Metadata(MetadataFault::Missing("usable signing key")));
        }
        Ok(Self::new(&entity.entity_id, keys))
    }
}
