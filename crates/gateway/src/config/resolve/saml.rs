//! Which identity providers may vouch for whom. What would let one of them name users of another is refused here.

use std::sync::Arc;
use std::time::Duration;

use vestibule_engine::identity::{Level, ProfileName};
use vestibule_saml::metadata::{Entity, IndexedEndpoint};
use vestibule_saml::names::binding;
use vestibule_saml::sp::{Demand, TrustedIdp};
use vestibule_xmlsec::KeyId;

use super::directory::is_loopback;
use super::saml11::source_twins;
use super::{Purpose, Resolve};
use crate::config::checked::{Conceded, FoundBy, IdentityProvider, Origin, Pair, Refresh, Resolution, ResolutionEndpoint, Saml, Weakness};
use crate::config::file::{self, Answers, RequestBinding, SignedPart};
use crate::config::pem;
use crate::config::values::{At, Pairs, Period};

/// Clocks may not differ by more (reference: login-saml-delegated, 6.4).
const MOST_SKEW: Duration = Duration::from_secs(300);
/// The oldest assertion that may be accepted at all: whoever records one can use it for so long where the store forgets.
const MOST_AGE: Period = Period::seconds(3600);

impl Resolve<'_> {
    pub(super) fn saml_scheme(&mut self, written: &file::SamlScheme) -> Saml {
        let names = &written.identity_provider;
        if names.value.0.is_empty() {
            self.error(names, "nobody would vouch for anybody").help = Some("name an [identity_provider.NAME]".to_owned());
        }
        let mut providers: Vec<Arc<IdentityProvider>> = Vec::new();
        for at in &names.value.0 {
            let file = self.file;
            let Some(found) = file.identity_provider.find(&at.value) else {
                self.unknown(at, "identity provider", file.identity_provider.names());
                continue;
            };
            self.used_providers.insert(at.value.clone());
            let Some(provider) = self.identity_provider(at, &found.value, names.value.0.len() > 1) else { continue };
            if let Some(same) = providers.iter().find(|other| other.entity.entity_id == provider.entity.entity_id) {
                self.error(at, format!("`{}` and `{}` have the same entity id", same.name, provider.name)).help =
                    Some("whose message it is could not be told".to_owned());
                continue;
            }
            let twin = |own: &str, theirs: &str| own == theirs || own.ends_with(theirs) || theirs.ends_with(own);
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
        let saml11 = providers.iter().any(|provider| provider.saml11.is_some());
        if let Some((one, other)) = source_twins(&providers) {
            self.error(names, format!("artifacts of `{one}` and `{other}` begin alike")).help =
                Some("whose they are could not be told; give one of them its own source_id".to_owned());
        }
        Saml {
            saml11_consumer: self.saml11_consumer(&written.saml11_consumer).filter(|_| saml11),
            entity_id: written.entity_id.as_ref().map(|at| at.value.clone()),
            aliases: written.consumer_aliases.iter().filter_map(|at| self.alias(at)).collect(),
            signing: written.signing.as_ref().and_then(|at| self.pair(&at.value)),
            decryption: written.decryption.iter().filter_map(|at| self.pair(&at.value)).collect(),
            providers,
        }
    }

    fn saml11_consumer(&mut self, at: &At<String>) -> Option<String> {
        let plain = at.value.starts_with('/')
            && at.value.len() > 1
            && at.value.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"/-._~".contains(&octet))
            && !at.value.contains("//")
            && !at.value.split('/').any(|segment| segment == "." || segment == "..");
        let taken = OWN.iter().any(|page| at.value.starts_with(page)) && at.value != "/saml11/acs";
        if !plain || taken {
            self.error(at, format!("`{}` cannot be the path of the consumer", at.value)).help =
                Some("write a path on the portal that no other page of ours has, as in \"/fed/sp/samlv11sso\"".to_owned());
            return None;
        }
        Some(at.value.clone())
    }

    fn alias(&mut self, at: &At<String>) -> Option<url::Url> {
        let plain =
            |url: &url::Url| url.query().is_none() && url.fragment().is_none() && url.path().len() > 1 && !url.path().contains(['*', '%']);
        let taken = |path: &str| OWN.iter().any(|page| path.starts_with(page)) && path != "/saml/acs";
        let alias = url::Url::parse(&at.value).ok().filter(|url| plain(url) && !taken(url.path()));
        if alias.is_none() {
            self.error(at, format!("`{}` cannot be an address of the assertion consumer", at.value)).help =
                Some("write a whole address on the portal that no other page of ours has".to_owned());
        }
        alias
    }

    pub(super) fn pair(&mut self, written: &file::KeyPair) -> Option<Pair> {
        let path = self.named_file(&written.certificate);
        let certificate = self.or_error(&written.certificate, pem::certificates(&path));
        let key = self.secret(&written.key)?;
        let certificate = certificate?.into_iter().next()?;
        // Held against each other: a partner would encrypt to what we cannot decrypt.
        self.or_error(&written.key, pem::certified(vec![certificate.clone()], &key, None))?;
        let key = self.or_error(&written.key, pem::pkcs8(&key))?;
        Some(Pair { certificate: certificate.to_vec(), key })
    }

    fn identity_provider(&mut self, at: &At<String>, written: &file::IdentityProvider, one_of_many: bool) -> Option<IdentityProvider> {
        if self.awaits_metadata(&at.value, written) {
            return None;
        }
        let entity = self.metadata(written)?;
        let saml11 = written.saml11.as_ref().map(|site| self.source_site(at, site, &entity));
        let wanted = match written.binding.value {
            RequestBinding::Redirect => binding::REDIRECT,
            RequestBinding::Post => binding::POST,
        };
        if written.saml11.is_none() && entity.idp.as_ref().is_none_or(|role| role.sso_by(wanted).is_none()) {
            self.error(&written.binding, format!("`{}` takes no requests by this binding", entity.entity_id)).help =
                Some("its metadata say by which it does".to_owned());
        }
        if written.skew.value.0 > MOST_SKEW {
            self.error(&written.skew, "clocks may differ by five minutes at most");
        }
        if written.max_age.value > MOST_AGE {
            self.error(&written.max_age, format!("a recorded assertion could be used for longer than {MOST_AGE}"));
        }
        if written.unsolicited.value && written.origins.is_empty() {
            self.error(&written.unsolicited, "anybody's page could begin a login with an answer of this identity provider").help =
                Some("name the origins of its pages: origins = [\"https://idp.example.com\"]".to_owned());
        }
        for origin in &written.origins {
            let parsed = url::Url::parse(&origin.value).ok().map(|url| url.origin().ascii_serialization());
            if parsed.as_deref() != Some(&origin.value) {
                self.error(origin, format!("`{}` is not an origin", origin.value)).help =
                    Some("write it as \"https://idp.example.com\"".to_owned());
            }
        }
        let users = self.found_by(&written.users, &written.suffix, one_of_many, Some(&written.provision));
        self.profile_of_made(&written.profile);
        let profiles = self.profiles_there(written.profile_attribute.as_ref(), written.profiles.as_ref(), &written.provision);
        let groups = self.groups_there(written.group_attribute.as_ref(), written.groups.as_ref(), ("attribute", "group_attribute"));
        let name: Arc<str> = at.value.as_str().into();
        let resolution = self.resolution(&name, written, &entity);
        let refresh = self.refresh(&name, written).map(Arc::new);
        let weaknesses = Weakness::ALL.into_iter().filter(|weakness| self.is_conceded(&Conceded::Saml(*weakness, name.clone()))).collect();
        let lower = |all: &[At<String>]| all.iter().map(|at| at.value.to_lowercase()).collect();
        Some(IdentityProvider {
            title: written.title.clone().or_else(|| entity.display_name.clone()).unwrap_or_else(|| at.value.clone()),
            name,
            entity,
            refresh,
            resolution,
            binding: written.binding.value,
            hosts: lower(&written.hosts),
            domains: lower(&written.domains),
            demand: match written.signed {
                SignedPart::Either => Demand::Either,
                SignedPart::Assertion => Demand::Assertion,
                SignedPart::Response => Demand::Response,
                SignedPart::Both => Demand::Both,
            },
            skew: written.skew.value.0,
            max_age: self.positive(&written.max_age),
            unsolicited_from: match written.unsolicited.value {
                true => written.origins.iter().map(|at| at.value.clone()).collect(),
                false => Vec::new(),
            },
            subject: written.subject.clone(),
            users,
            provision: written.provision.value.then(|| ProfileName::from(written.profile.value.as_str())),
            profiles,
            user_name: written.name.clone(),
            display_name: written.display_name.clone(),
            email: written.email.clone(),
            groups,
            attributes: written.attributes.as_ref().map(|at| texts(&at.value)).unwrap_or_default(),
            name_id_format: written.name_id_format.clone(),
            contexts: written.authn_context.clone(),
            levels: written.levels.iter().map(|(class, level)| (class.clone(), Level(*level))).collect(),
            force_authn: written.force_authn,
            saml11: saml11.flatten(),
            logout: written.logout,
            weaknesses,
        })
    }

    /// Where its artifacts are resolved. The addresses are its metadata's; nothing that a browser brings chooses one.
    fn resolution(&mut self, name: &Arc<str>, written: &file::IdentityProvider, entity: &Entity) -> Option<Resolution> {
        let [authorities, channel] = [&written.ca, &written.channel].map(|at| {
            let found = at.as_ref().and_then(|at| {
                let path = self.named_file(at);
                self.or_error(at, pem::certificates(&path))
            });
            found.unwrap_or_default()
        });
        if written.answers.value == Answers::Post {
            let idle = written.ca.as_ref().filter(|_| written.refresh.is_none());
            if let Some(at) = idle.or(written.channel.as_ref()) {
                self.error(at, "nobody is called where answers come in forms").help = Some("add answers = \"artifact\"".to_owned());
            }
            return None;
        }
        let offered = entity.idp.iter().flat_map(|role| &role.artifact_resolution).filter(|one| one.binding == binding::SOAP);
        let endpoints: Vec<ResolutionEndpoint> = offered.filter_map(resolution_endpoint).collect();
        if endpoints.is_empty() {
            self.error(&written.answers, format!("the metadata of `{}` do not say where artifacts are resolved", entity.entity_id));
        }
        let conceded = self.is_conceded(&Conceded::Saml(Weakness::Channel, name.clone()));
        match &written.channel {
            Some(at) if !conceded => {
                self.error(at, "what nobody signed would be believed").help = Some("concede `saml-channel` to it".to_owned());
            }
            Some(at) if endpoints.iter().any(|endpoint| !endpoint.origin.tls) => {
                self.error(at, "a channel without TLS shows no key");
            }
            Some(_) => {}
            None if conceded => {
                self.error(&written.answers, "nothing says which key the channel shows").help =
                    Some("add channel = \"FILE.pem\"".to_owned());
            }
            None => {}
        }
        let channel = channel.iter().filter_map(|certificate| KeyId::of_certificate(certificate).ok()).collect();
        Some(Resolution { endpoints, authorities, channel })
    }

    /// Where newer metadata come from, and who has to have signed them.
    pub(super) fn refresh(&mut self, name: &Arc<str>, written: &file::IdentityProvider) -> Option<Refresh> {
        let conceded = self.is_conceded(&Conceded::Saml(Weakness::UnsignedMetadata, name.clone()));
        let at = written.refresh.as_ref()?;
        let asked = &at.value;
        let pinned = asked.key.as_ref().map(|key| {
            let path = self.named_file(key);
            self.or_error(key, pem::certificates(&path)).unwrap_or_default()
        });
        let authorities = written.ca.as_ref().and_then(|ca| {
            let path = self.named_file(ca);
            self.or_error(ca, pem::certificates(&path))
        });
        let every = self.positive(&asked.every);
        let plain = |url: &url::Url| url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
        let Some(url) = url::Url::parse(&asked.url.value).ok().filter(|url| matches!(url.scheme(), "http" | "https") && plain(url)) else {
            self.error(&asked.url, format!("`{}` is not an address of metadata", asked.url.value)).help =
                Some("write it as \"https://idp.example.com/metadata\"".to_owned());
            return None;
        };
        match &pinned {
            Some(_) => {}
            None if !conceded => {
                self.error(&asked.url, "whoever answers there could have his own keys believed").help =
                    Some("pin the key that signs them: key = \"FILE.pem\", or concede `saml-unsigned-metadata`".to_owned());
            }
            None if url.scheme() == "http" && !is_loopback(url.host_str().unwrap_or_default()) => {
                self.error(&asked.url, "anybody on the way could have his own keys believed").help = Some("write https://".to_owned());
            }
            None => {}
        }
        let origin = Origin { tls: url.scheme() == "https", host: url.host_str()?.to_owned(), port: url.port_or_known_default()? };
        Some(Refresh {
            origin,
            target: url[url::Position::BeforePath..url::Position::AfterQuery].to_owned(),
            keys: pinned.unwrap_or_default().iter().map(|certificate| certificate.to_vec()).collect(),
            authorities: authorities.unwrap_or_default(),
            every,
            file: self.path(&written.metadata.value),
        })
    }

    /// Whether the metadata are still to be fetched, by a start that knows who has to have signed them. What else is said of this
    /// identity provider cannot be held against them yet.
    fn awaits_metadata(&mut self, name: &str, written: &file::IdentityProvider) -> bool {
        let at = &written.metadata;
        let (Purpose::Check, Some(asked), false) = (self.purpose, &written.refresh, self.path(&at.value).exists()) else { return false };
        let name: Arc<str> = name.into();
        if self.refresh(&name, written).is_none_or(|refresh| refresh.keys.is_empty()) {
            return false;
        }
        for weakness in Weakness::ALL {
            self.is_conceded(&Conceded::Saml(weakness, name.clone()));
        }
        self.warn(at, format!("the metadata `{}` are not there yet", at.value.display())).help = Some(format!(
            "the next start fetches them from {}, if the pinned key has signed them; check again then",
            asked.value.url.value
        ));
        true
    }

    fn metadata(&mut self, written: &file::IdentityProvider) -> Option<Entity> {
        let at = &written.metadata;
        let metadata = self.metadata_of(at)?;
        let wanted = written.entity_id.as_ref();
        let meant = self.meant(&metadata, |entity| match wanted {
            Some(id) => entity.entity_id == id.value,
            None => entity.idp.is_some(),
        });
        let entity = match meant.as_slice() {
            [entity] => (*entity).clone(),
            [_, ..] => {
                self.error(at, "this file describes several identity providers").help =
                    Some("say which: entity_id = \"https://idp.example.com/metadata\"".to_owned());
                return None;
            }
            [] => {
                let why = metadata.skipped.first().map(|(_, why)| format!(": {why}")).unwrap_or_default();
                self.error(at, format!("this file does not describe the identity provider{why}"));
                return None;
            }
        };
        let unusable = |why: vestibule_saml::Error| format!("the metadata `{}` cannot be used: {why}", at.value.display());
        self.or_error(at, TrustedIdp::from_metadata(&entity).map_err(unusable))?;
        self.warn_of_end(at, &entity, "nobody is signed in by it");
        Some(entity)
    }
}

fn resolution_endpoint(endpoint: &IndexedEndpoint) -> Option<ResolutionEndpoint> {
    let url = url::Url::parse(&endpoint.location).ok()?;
    let origin = Origin { tls: url.scheme() == "https", host: url.host_str()?.to_owned(), port: url.port_or_known_default()? };
    let target = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
    Some(ResolutionEndpoint { index: endpoint.index, location: endpoint.location.clone(), origin, target })
}

/// Pages of ours, below which nothing else is.
const OWN: [&str; 7] = ["/login", "/logout", "/password", "/assets", "/saml/", "/.well-known", "/.vestibule"];

fn texts(pairs: &Pairs) -> Vec<(String, String)> {
    pairs.0.iter().map(|(there, here)| (there.value.clone(), here.value.clone())).collect()
}
