//! SAML as meant: keys that fit, metadata that were read.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use vestibule_engine::identity::{GroupName, Level, ProfileName};
use vestibule_engine::secret::Secret;
use vestibule_saml::metadata::Entity;
use vestibule_saml::sp::Demand;
use vestibule_xmlsec::{Concession, KeyId, Profile};

use super::Origin;
pub use crate::config::file::{Logout, RequestBinding};
use crate::schemes::partners::Contexts;

/// A service provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saml {
    /// Its entity id, if not the address of its metadata.
    pub entity_id: Option<String>,
    /// Further addresses of its consumer.
    pub aliases: Vec<url::Url>,
    /// The path of its consumer for SAML 1.1; `None` where nobody speaks that.
    pub saml11_consumer: Option<String>,
    /// Signs its requests.
    pub signing: Option<Pair>,
    /// Decrypt what is sent to it; the first is published.
    pub decryption: Vec<Pair>,
    /// Who may vouch for users, in order; at least one, with entity ids of their own.
    pub providers: Vec<Arc<IdentityProvider>>,
}

/// A key with its certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The certificate, DER.
    pub certificate: Vec<u8>,
    /// The private key, PKCS#8, DER.
    pub key: Secret<Vec<u8>>,
}

/// An identity provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityProvider {
    /// Its name here.
    pub name: Arc<str>,
    /// The name to show.
    pub title: String,
    /// Its metadata; it has a key to sign with, and takes requests by `binding`.
    pub entity: Entity,
    /// Where newer metadata come from.
    pub refresh: Option<Arc<Refresh>>,
    /// How requests travel.
    pub binding: RequestBinding,
    /// Where its artifacts are resolved, if it answers by artifact.
    pub resolution: Option<Resolution>,
    /// Hosts whose visitors are led to it, lower case.
    pub hosts: Vec<String>,
    /// Domains of mail addresses whose owners are led to it, lower case.
    pub domains: Vec<String>,
    /// What has to be signed.
    pub demand: Demand,
    /// How far its clock may be off.
    pub skew: Duration,
    /// How old an assertion may be.
    pub max_age: Duration,
    /// Origins from which it may begin a login; empty for nowhere.
    pub unsolicited_from: Vec<String>,
    /// The attribute that names the subject; `None` for the NameID.
    pub subject: Option<String>,
    /// How users are found by it.
    pub users: FoundBy,
    /// The profile of accounts that are made; `None` makes none.
    pub provision: Option<ProfileName>,
    /// The attribute that chooses another profile, and which its values stand for.
    pub profiles: Option<(String, BTreeMap<String, ProfileName>)>,
    /// The attribute with the login name of an account that is made; `None` for the subject.
    pub user_name: Option<String>,
    /// The attribute with the name to show.
    pub display_name: Option<String>,
    /// The attribute with the mail address.
    pub email: Option<String>,
    /// The attribute with groups, and what its values mean here; `None` leaves groups alone.
    pub groups: Option<(String, BTreeMap<String, GroupName>)>,
    /// Attributes that are kept, and their names here.
    pub attributes: Vec<(String, String)>,
    /// The kind of name that is asked for.
    pub name_id_format: Option<String>,
    /// Authentication contexts, one of which is demanded; empty for any.
    pub contexts: Vec<String>,
    /// How strong a login counts, by its context.
    pub levels: BTreeMap<String, Level>,
    /// Whether users have to sign in there each time.
    pub force_authn: bool,
    /// What it is as a source site of SAML 1.1, if it speaks that and nothing else.
    pub saml11: Option<SourceSite>,
    /// Whether a logout here is one there.
    pub logout: Logout,
    /// What was conceded to it.
    pub weaknesses: Vec<Weakness>,
}

impl IdentityProvider {
    /// How users sign in there.
    pub fn contexts(&self) -> Contexts<'_> {
        Contexts { demanded: &self.contexts, levels: &self.levels }
    }
}

/// An identity provider of SAML 1.1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSite {
    /// Before and behind the value of TARGET in the address of its inter-site transfer service.
    pub transfer: (String, String),
    /// By what artifacts name it.
    pub source_id: [u8; 20],
    /// Where artifacts are resolved, by TLS or on loopback; `None` refuses artifacts.
    pub responder: Option<(Origin, String)>,
    /// Authorities of its certificate; none means those of the system.
    pub ca: Vec<CertificateDer<'static>>,
    /// The certificate it shows, DER, if its word counts unsigned.
    pub pinned: Option<Vec<u8>>,
    /// The certificate we show.
    pub client: Option<Pair>,
    /// How long ago users may have signed in.
    pub max_authn_age: Duration,
}

/// Where artifacts are resolved, and what is believed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolution {
    /// By their index; at least one.
    pub endpoints: Vec<ResolutionEndpoint>,
    /// Authorities of its certificate; empty for the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// Keys that vouch for what comes over a channel that shows them; empty where signatures do.
    pub channel: Vec<KeyId>,
}

/// Where newer metadata come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// Who is called.
    pub origin: Origin,
    /// Path and query.
    pub target: String,
    /// Certificates, DER, one of whose keys has to have signed them; empty by concession.
    pub keys: Vec<Vec<u8>>,
    /// Authorities of the certificate shown there; empty for the system's.
    pub authorities: Vec<CertificateDer<'static>>,
    /// How often.
    pub every: Duration,
    /// The file that they replace.
    pub file: PathBuf,
}

impl IdentityProvider {
    /// The algorithms it may use.
    pub fn profile(&self) -> Profile {
        self.weaknesses.iter().filter_map(|weakness| weakness.concession()).fold(Profile::SAML, Profile::admit)
    }
}

/// One address for artifacts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionEndpoint {
    /// Its index.
    pub index: u16,
    /// The address as the metadata write it.
    pub location: String,
    /// Who is called.
    pub origin: Origin,
    /// Path and query.
    pub target: String,
}

/// How users are found by a subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FoundBy {
    /// By a link.
    Link,
    /// By their user name, which is what is left of the subject without this end.
    Name {
        /// The end; may be empty where only one identity provider can name anybody.
        suffix: String,
    },
}

/// What can be conceded to an identity provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Weakness {
    /// SHA-1 in signatures.
    Sha1,
    /// RSA keys from 1024 bits.
    Rsa1024,
    /// AES-CBC.
    Cbc,
    /// 3DES.
    TripleDes,
    /// RSA key transport of PKCS#1 v1.5.
    Rsa15,
    /// SAML 1.1.
    Saml11,
    /// SAML 1.1 assertions that name no audience.
    Saml11WithoutAudience,
    /// Artifacts whose answer nobody signed, over a channel with a pinned key.
    Channel,
    /// Metadata that nobody signed, by their address.
    UnsignedMetadata,
}

impl Weakness {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Sha1,
        Self::Rsa1024,
        Self::Cbc,
        Self::TripleDes,
        Self::Rsa15,
        Self::Saml11,
        Self::Saml11WithoutAudience,
        Self::Channel,
        Self::UnsignedMetadata,
    ];

    /// The word of the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Self::Sha1 => "saml-sha1",
            Self::Rsa1024 => "saml-rsa1024",
            Self::Cbc => "saml-cbc",
            Self::TripleDes => "saml-3des",
            Self::Rsa15 => "saml-rsa15",
            Self::Saml11 => "saml11",
            Self::Saml11WithoutAudience => "saml11-without-audience",
            Self::Channel => "saml-channel",
            Self::UnsignedMetadata => "saml-unsigned-metadata",
        }
    }

    /// The algorithm that it admits, if it is one.
    pub fn concession(self) -> Option<Concession> {
        match self {
            Self::Sha1 => Some(Concession::Sha1),
            Self::Rsa1024 => Some(Concession::Rsa1024),
            Self::Cbc => Some(Concession::Cbc),
            Self::TripleDes => Some(Concession::TripleDes),
            Self::Rsa15 => Some(Concession::Rsa15),
            Self::Saml11 | Self::Saml11WithoutAudience | Self::Channel | Self::UnsignedMetadata => None,
        }
    }
}
