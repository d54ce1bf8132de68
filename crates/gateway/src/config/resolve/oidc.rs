//! Which OpenID providers may vouch for whom, and which servers say what a token is worth.

use std::sync::Arc;
use std::time::Duration;

use vestibule_engine::identity::{Level, ProfileName};
use vestibule_oidc::discovery;
use vestibule_oidc::jose::{Algorithm, ClientAssertion, Purpose as _, SigningKey};
use vestibule_oidc::rp::OWN_PARAMETERS;

use super::Resolve;
use crate::config::checked::{ClientAuthentication, FoundBy, Introspection, Oidc, OpenidProvider, Scheme};
use crate::config::file::{self, KeyAlgorithm};
use crate::config::pem;
use crate::config::problem::suggest;
use crate::config::secrets::SecretRef;
use crate::config::values::{At, OneOrMore, Pairs, Period};

/// Clocks may not differ by more.
const MOST_SKEW: Duration = Duration::from_secs(300);
/// For how long an answer about a token is believed at most (architecture §6).
const MOST_REMEMBERED: Duration = Duration::from_secs(60);

impl Resolve<'_> {
    pub(super) fn oidc_scheme(&mut self, written: &file::OidcScheme) -> Oidc {
        let names = &written.openid_provider;
        if names.value.0.is_empty() {
            self.error(names, "nobody would vouch for anybody").help = Some("name an [openid_provider.NAME]".to_owned());
        }
        let mut providers: Vec<Arc<OpenidProvider>> = Vec::new();
        for at in &names.value.0 {
            let file = self.file;
            let Some(found) = file.openid_provider.find(&at.value) else {
                self.unknown(at, "OpenID provider", file.openid_provider.names());
                continue;
            };
            self.used_providers.insert(at.value.clone());
            let Some(provider) = self.openid_provider(at, &found.value, names.value.0.len() > 1) else { continue };
            if let Some(same) = providers.iter().find(|other| other.issuer == provider.issuer) {
                self.error(at, format!("`{}` and `{}` have the same issuer", same.name, provider.name)).help =
                    Some("users of one would be users of the other".to_owned());
                continue;
            }
            let twin = |own: &str, theirs: &str| own.ends_with(theirs) || theirs.ends_with(own);
            let clash = providers.iter().find(|other| match (&other.users, &provider.users) {
                (FoundBy::Name { suffix: one }, FoundBy::Name { suffix: other }) => twin(one, other),
                (FoundBy::Link, _) | (_, FoundBy::Link) => false,
            });
            if let Some(other) = clash {
                self.error(at, format!("`{}` and `{}` could name the same users", other.name, provider.name)).help =
                    Some("give each a suffix of its own".to_owned());
            }
            providers.push(Arc::new(provider));
        }
        Oidc { providers }
    }

    /// Identity providers and OpenID providers of one chain must not be able to name each other's users.
    pub(super) fn name_different_users(&mut self, saml: &At<String>, oidc: &At<String>) {
        let of = |at: &At<String>| self.schemes.get(at.value.as_str());
        let (Some(Scheme::Saml(saml)), Some(Scheme::Oidc(relying))) = (of(saml), of(oidc)) else { return };
        let suffix = |users: &FoundBy| match users {
            FoundBy::Name { suffix } => Some(suffix.clone()),
            FoundBy::Link => None,
        };
        let theirs: Vec<(Arc<str>, String)> =
            saml.providers.iter().filter_map(|provider| Some((provider.name.clone(), suffix(&provider.users)?))).collect();
        let ours: Vec<(Arc<str>, String)> =
            relying.providers.iter().filter_map(|provider| Some((provider.name.clone(), suffix(&provider.users)?))).collect();
        for (name, own) in &ours {
            if let Some((other, _)) = theirs.iter().find(|(_, other)| own.ends_with(other.as_str()) || other.ends_with(own.as_str())) {
                self.error(oidc, format!("`{other}` and `{name}` could name the same users")).help =
                    Some("give each a suffix of its own, or find users by link".to_owned());
            }
        }
    }

    fn openid_provider(&mut self, at: &At<String>, written: &file::OpenidProvider, one_of_many: bool) -> Option<OpenidProvider> {
        if self.file.identity_provider.find(&at.value).is_some() {
            self.error(at, format!("an identity provider is called `{}`, too", at.value)).help =
                Some("users choose among both by name; give one of them another".to_owned());
        }
        let metadata = self.or_error(&written.issuer, discovery::location(&written.issuer.value));
        let authentication = self.client_authentication(
            &written.client_authentication,
            written.client_secret.as_ref(),
            written.client_key.as_ref(),
            written.client_key_algorithm,
            &written.client_id,
        );
        let scopes = self.scopes(&written.scopes);
        self.not_empty(&written.client_id);
        let algorithms = self.algorithms(&written.algorithms);
        let skew = self.skew(&written.skew);
        let max_age = written.max_age.as_ref().map(|age| seconds(self.positive(age)));
        for (name, _) in written.parameters.iter().flat_map(|pairs| &pairs.value.0) {
            if OWN_PARAMETERS.contains(&name.value.as_str()) {
                self.error(name, format!("`{}` is written by the gateway itself", name.value));
            }
        }
        let users = self.found_by(&written.users, &written.suffix, one_of_many, Some(&written.provision));
        self.suffix_of_names(&written.suffix, &users, written.provision.value);
        self.profile_of_made(&written.profile);
        let groups = self.groups_there(written.group_claim.as_ref(), written.groups.as_ref(), ("claim", "group_claim"));
        let ca = written.ca.as_ref().and_then(|at| self.certificates_of(at)).unwrap_or_default();
        let lower = |all: &[At<String>]| -> Vec<String> { all.iter().map(|at| at.value.to_lowercase()).collect() };
        let metadata = metadata?;
        let mut near = lower(&written.private_hosts);
        near.extend(metadata.host_str().map(str::to_owned));
        Some(OpenidProvider {
            name: at.value.as_str().into(),
            title: written.title.clone().unwrap_or_else(|| at.value.clone()),
            issuer: written.issuer.value.clone(),
            metadata,
            client_id: written.client_id.value.clone(),
            authentication: authentication?,
            scopes,
            hosts: lower(&written.hosts),
            domains: lower(&written.domains),
            algorithms,
            skew,
            max_age,
            contexts: written.acr_values.clone(),
            levels: written.levels.iter().map(|(class, level)| (class.clone(), Level(*level))).collect(),
            userinfo: written.userinfo,
            parameters: written.parameters.as_ref().map(|at| texts(&at.value)).unwrap_or_default(),
            subject: written.subject.value.clone(),
            users,
            provision: written.provision.value.then(|| ProfileName::from(written.profile.value.as_str())),
            user_name: written.name.clone(),
            display_name: written.display_name.clone(),
            email: written.email.clone(),
            groups,
            attributes: written.attributes.as_ref().map(|at| texts(&at.value)).unwrap_or_default(),
            refresh: written.refresh.as_ref().map(|period| self.positive(period)),
            on_outage: written.on_outage,
            logout: written.logout,
            near,
            ca,
        })
    }

    pub(super) fn introspection_scheme(&mut self, written: &file::IntrospectionScheme) -> Option<Introspection> {
        let url = self.or_error(&written.url, discovery::endpoint(&written.url.value));
        if written.client_authentication.value == file::ClientAuthentication::PrivateKeyJwt {
            self.error(&written.client_authentication, "a server that is asked about tokens is shown a secret").help =
                Some("write \"basic\" or \"post\"".to_owned());
        }
        let authentication = self.client_authentication(
            &written.client_authentication,
            Some(&written.client_secret),
            None,
            KeyAlgorithm::default(),
            &written.client_id,
        );
        let scopes = self.scopes(&written.scopes);
        self.not_empty(&written.client_id);
        if written.audience.value.0.is_empty() {
            self.error(&written.audience, "a token that was made for somebody else would open this door, too").help =
                Some("say for whom tokens are: audience = \"https://north.example.com/api\"".to_owned());
        }
        if written.remember.value.0 > MOST_REMEMBERED {
            self.error(&written.remember, format!("an answer is believed for {} at most", Period(MOST_REMEMBERED))).help =
                Some("a token that is withdrawn must not live on here".to_owned());
        }
        let skew = self.skew(&written.skew);
        let ca = written.ca.as_ref().and_then(|at| self.certificates_of(at)).unwrap_or_default();
        let users = self.found_by(&written.users, &written.suffix, false, None);
        self.suffix_of_names(&written.suffix, &users, false);
        Some(Introspection {
            url: url?,
            client_id: written.client_id.value.clone(),
            authentication: authentication?,
            issuer: written.issuer.as_ref().map(|at| at.value.clone()),
            audiences: written.audience.value.0.iter().map(|at| at.value.clone()).collect(),
            scopes,
            subject: written.subject.value.clone(),
            users,
            attributes: written.attributes.as_ref().map(|at| texts(&at.value)).unwrap_or_default(),
            remember: written.remember.value.0,
            skew,
            ca,
            on_reject: match written.on_reject {
                file::OnReject::Continue => vestibule_engine::chain::OnReject::Continue,
                file::OnReject::Stop => vestibule_engine::chain::OnReject::Stop,
            },
        })
    }

    fn client_authentication(
        &mut self,
        how: &At<file::ClientAuthentication>,
        secret: Option<&At<SecretRef>>,
        key: Option<&At<SecretRef>>,
        algorithm: KeyAlgorithm,
        client_id: &At<String>,
    ) -> Option<ClientAuthentication> {
        use file::ClientAuthentication as How;
        // Where nothing is written of it, the id is what there is to show.
        let place = &At { value: (), span: if how.span.is_empty() { client_id.span.clone() } else { how.span.clone() } };
        let name = match how.value {
            How::Basic => "basic",
            How::Post => "post",
            How::PrivateKeyJwt => "private-key-jwt",
        };
        match (how.value, secret, key) {
            (How::Basic | How::Post, Some(at), None) => {
                let secret = self.secret(at)?;
                if secret.reveal().is_empty() {
                    self.error(at, "the secret is empty");
                }
                Some(if how.value == How::Basic { ClientAuthentication::Basic(secret) } else { ClientAuthentication::Post(secret) })
            }
            (How::PrivateKeyJwt, None, Some(at)) => {
                let pem = self.secret(at)?;
                let key = self.or_error(at, pem::pkcs8(&pem))?;
                let algorithm = match algorithm {
                    KeyAlgorithm::ES256 => Algorithm::Es256,
                    KeyAlgorithm::ES384 => Algorithm::Es384,
                    KeyAlgorithm::EdDSA => Algorithm::EdDsa,
                    KeyAlgorithm::RS256 => Algorithm::Rs256,
                    KeyAlgorithm::PS256 => Algorithm::Ps256,
                };
                let usable = SigningKey::<ClientAssertion>::from_pkcs8(ClientAssertion::NAME, algorithm, key.reveal());
                self.or_error(at, usable.map_err(|_| format!("this is no private key for {algorithm}")))?;
                Some(ClientAuthentication::PrivateKeyJwt(algorithm, key))
            }
            (How::PrivateKeyJwt, Some(at), _) => {
                self.error(at, "with `private-key-jwt` nobody asks for a secret").help = Some("leave it out".to_owned());
                None
            }
            (How::Basic | How::Post, _, Some(at)) => {
                self.error(at, format!("with `{name}` no key signs")).help =
                    Some("add client_authentication = \"private-key-jwt\"".to_owned());
                None
            }
            (How::Basic | How::Post, None, None) => {
                self.error(place, format!("`{name}` needs a secret")).help = Some("add client_secret = { file = \"…\" }".to_owned());
                None
            }
            (How::PrivateKeyJwt, None, None) => {
                self.error(place, "`private-key-jwt` needs a key").help = Some("add client_key = { file = \"…\" }".to_owned());
                None
            }
        }
    }

    fn suffix_of_names(&mut self, suffix: &At<String>, users: &FoundBy, provision: bool) {
        if matches!(users, FoundBy::Link) && !suffix.value.is_empty() && !provision {
            self.error(suffix, "users are found by link, so that no name ends in anything").help =
                Some("add users = \"name\", or leave it out".to_owned());
        }
    }

    fn algorithms(&mut self, written: &At<OneOrMore>) -> Vec<Algorithm> {
        const ALL: [&str; 5] = ["ES256", "ES384", "EdDSA", "RS256", "PS256"];
        if written.value.0.is_empty() {
            self.error(written, "no token could be verified").help = Some("name one, as in algorithms = \"RS256\"".to_owned());
        }
        let mut found = Vec::new();
        for at in &written.value.0 {
            match Algorithm::from_name(&at.value) {
                Some(algorithm) => found.push(algorithm),
                None => self.error(at, format!("`{}` is no signature that is verified here", at.value)).help = suggest(&at.value, ALL),
            }
        }
        found
    }

    /// Scopes are words (RFC 6749 §3.3).
    fn scopes(&mut self, written: &At<OneOrMore>) -> Vec<String> {
        for at in &written.value.0 {
            if at.value.is_empty() || !at.value.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
                self.error(at, format!("`{}` is not a scope", at.value)).help = Some("write a list of single words".to_owned());
            }
        }
        written.value.0.iter().map(|at| at.value.clone()).collect()
    }

    fn skew(&mut self, at: &At<Period>) -> u32 {
        if at.value.0 > MOST_SKEW {
            self.error(at, "clocks may differ by five minutes at most");
        }
        seconds(at.value.0)
    }

    fn not_empty(&mut self, at: &At<String>) {
        if at.value.trim().is_empty() {
            self.error(at, "this is empty");
        }
    }
}

fn seconds(period: Duration) -> u32 {
    u32::try_from(period.as_secs()).unwrap_or(u32::MAX)
}

fn texts(pairs: &Pairs) -> Vec<(String, String)> {
    pairs.0.iter().map(|(there, here)| (there.value.clone(), here.value.clone())).collect()
}
