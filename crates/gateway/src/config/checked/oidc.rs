//! OpenID Connect and token introspection as meant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use url::Url;
use vestibule_engine::chain::OnReject;
use vestibule_engine::identity::{GroupName, Level, ProfileName};
use vestibule_engine::secret::Secret;
use vestibule_oidc::jose::Algorithm;

use super::FoundBy;
pub use crate::config::file::{OnProviderOutage, OpLogout};
use crate::schemes::partners::Contexts;

/// A relying party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oidc {
    /// Who may vouch for users, in order; at least one, with issuers of their own.
    pub providers: Vec<Arc<OpenidProvider>>,
}

/// An OpenID provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenidProvider {
    /// Its name here.
    pub name: Arc<str>,
    /// The name to show.
    pub title: String,
    /// Its issuer.
    pub issuer: String,
    /// Where its metadata are.
    pub metadata: Url,
    /// Our id there.
    pub client_id: String,
    /// How we prove it.
    pub authentication: ClientAuthentication,
    /// What is asked for beside `openid`.
    pub scopes: Vec<String>,
    /// Hosts whose visitors are led to it, lower case.
    pub hosts: Vec<String>,
    /// Domains of mail addresses whose owners are led to it, lower case.
    pub domains: Vec<String>,
    /// What its tokens may be signed with; at least one.
    pub algorithms: Vec<Algorithm>,
    /// How far its clock may be off, seconds.
    pub skew: u32,
    /// How long ago users may have signed in there, seconds.
    pub max_age: Option<u32>,
    /// Authentication context classes, one of which is demanded; empty for any.
    pub contexts: Vec<String>,
    /// How strong a login counts, by its context.
    pub levels: BTreeMap<String, Level>,
    /// Whether UserInfo is asked.
    pub userinfo: bool,
    /// Further parameters of the request.
    pub parameters: Vec<(String, String)>,
    /// The claim that names the subject.
    pub subject: String,
    /// How users are found by it.
    pub users: FoundBy,
    /// The profile of accounts that are made; `None` makes none.
    pub provision: Option<ProfileName>,
    /// The claim with the login name of an account that is made; `None` for the subject.
    pub user_name: Option<String>,
    /// The claim with the name to show.
    pub display_name: Option<String>,
    /// The claim with the mail address.
    pub email: Option<String>,
    /// The claim with groups, and what its values mean here; `None` leaves groups alone.
    pub groups: Option<(String, BTreeMap<String, GroupName>)>,
    /// Claims that are kept, and their names here.
    pub attributes: Vec<(String, String)>,
    /// How long what it said holds while a session goes on; `None` for as long as that.
    pub refresh: Option<Duration>,
    /// What sessions do when it cannot be asked.
    pub on_outage: OnProviderOutage,
    /// What signing out does.
    pub logout: OpLogout,
    /// Hosts that may have addresses that are not public: the issuer's, and those listed.
    pub near: Vec<String>,
    /// Roots its certificates must descend from; empty means the system's.
    pub ca: Vec<CertificateDer<'static>>,
}

impl OpenidProvider {
    /// How users sign in there.
    pub fn contexts(&self) -> Contexts<'_> {
        Contexts { demanded: &self.contexts, levels: &self.levels }
    }
}

/// How a client says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientAuthentication {
    /// The secret in a header.
    Basic(Secret<String>),
    /// The secret in the form.
    Post(Secret<String>),
    /// A signature by this key, PKCS#8, DER.
    PrivateKeyJwt(Algorithm, Secret<Vec<u8>>),
}

/// Bearer tokens that a server is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Introspection {
    /// Where.
    pub url: Url,
    /// Our id there.
    pub client_id: String,
    /// How we prove it; a secret.
    pub authentication: ClientAuthentication,
    /// Who must have issued tokens.
    pub issuer: Option<String>,
    /// For whom tokens are; at least one.
    pub audiences: Vec<String>,
    /// Scopes, all of which are needed.
    pub scopes: Vec<String>,
    /// What names the user.
    pub subject: String,
    /// How users are found by it.
    pub users: FoundBy,
    /// What is kept, and its names here.
    pub attributes: Vec<(String, String)>,
    /// For how long an answer is believed.
    pub remember: Duration,
    /// How far its clock may be off, seconds.
    pub skew: u32,
    /// Roots its certificates must descend from; empty means the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// What a refusal does.
    pub on_reject: OnReject,
}
