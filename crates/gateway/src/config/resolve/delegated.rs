//! Delegated authentication: realms of type `delegated`, profiles that name them, and endpoints.

use std::collections::BTreeMap;

use rustls::pki_types::ServerName;
use url::Url;

use super::Resolve;
use super::directory::is_loopback;
use crate::config::checked::{Conceded, Delegate, Delegated, PasswordHelp, Realm, Scheme, Tenant};
use crate::config::file::{self, DelegatedUsername};
use crate::config::pem;
use crate::config::problem::{Severity, suggest};
use crate::config::values::{At, Period};
use crate::realms::delegated::UsernameSource;
use crate::serve::delegate;

use vestibule_engine::identity::{Issuer, Level, ProfileName, RealmName, SchemeName, User};
use vestibule_engine::profile::{Hours, Lock, Profile};
use vestibule_engine::secret::Secret;
use vestibule_soap::delegated::{AnswerRoot, Tolerance};

/// Calls at one time, at most.
const MOST_CALLS: u16 = 1000;
/// Waiting logins, at most: each keeps a connection open.
const MOST_WAITING: u32 = 100_000;
/// The schemes give up after ten seconds, as the service's other callers do.
const LONGEST: Period = Period::seconds(10);
/// Shortest path of an endpoint: 128 bits in base64url.
const SHORTEST_PATH: usize = 22;
/// Ports below are other services'.
const LOWEST_PORT: u16 = 1024;

impl Resolve<'_> {
    pub(super) fn delegated_realm(&mut self, name: &At<String>, written: &file::DelegatedRealm) -> Option<Delegated> {
        let before = self.problems.len();
        let ca = written.ca.as_ref().and_then(|at| {
            let path = self.named_file(at);
            self.or_error(at, pem::certificates(&path))
        });
        let client_certificate = match (&written.client_certificate, &written.client_key) {
            (Some(certificate), Some(key)) => self.client_certificate(certificate, key),
            (Some(certificate), None) => {
                self.error(certificate, "a client certificate needs its key").help = Some("add client_key = { file = \"…\" }".to_owned());
                None
            }
            (None, Some(key)) => {
                self.error(key, "this key belongs to no certificate").help = Some("add client_certificate = \"…\"".to_owned());
                None
            }
            (None, None) => None,
        };
        let username = match (written.username, &written.username_issuer) {
            (DelegatedUsername::Name, None) => UsernameSource::Name,
            (DelegatedUsername::Email, None) => UsernameSource::Email,
            (DelegatedUsername::ExternalId, Some(issuer)) => UsernameSource::ExternalId(Issuer::from(issuer.value.as_str())),
            (DelegatedUsername::ExternalId, None) => {
                self.error(&written.url, "whose ids the service knows is not said").help = Some("add username_issuer".to_owned());
                return None;
            }
            (DelegatedUsername::Name | DelegatedUsername::Email, Some(issuer)) => {
                self.error(issuer, "an issuer means nothing here").help = Some("add username = \"external-id\"".to_owned());
                return None;
            }
        };
        if !(1..=MOST_CALLS).contains(&written.calls.value) {
            self.error(&written.calls, format!("this is between 1 and {MOST_CALLS}"));
        }
        if written.waiting.value > MOST_WAITING {
            self.error(&written.waiting, format!("at most {MOST_WAITING} logins may wait"));
        }
        let time_limit = self.positive(&written.timeout);
        if written.timeout.value > LONGEST {
            self.error(&written.timeout, format!("one login may take {LONGEST} at most"));
        }
        let address = self.service_address(name, written)?;
        let mut path = address.path().to_owned();
        if let Some(at) = &written.secret_path {
            let secret = self.secret(at)?;
            let rest = secret.reveal().trim_start_matches('/');
            if !rest.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-._~/".contains(&octet)) {
                self.error(at, "the path has characters that do not stand in a path");
            }
            path = format!("{}/{rest}", path.trim_end_matches('/'));
        }
        if let Some(query) = address.query() {
            path = format!("{path}?{query}");
        }
        let host = address.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = address.scheme() == "https";
        if tls && ServerName::try_from(host.clone()).is_err() {
            self.error(&written.url, format!("`{host}` is no name for TLS"));
        }
        if let Some(at) = written.ca.as_ref().or(written.client_certificate.as_ref()).filter(|_| !tls) {
            self.error(at, "certificates mean nothing without TLS").help = Some("write the url with https://".to_owned());
        }
        let refused = self.problems.iter().skip(before).any(|problem| problem.severity == Severity::Error);
        (!refused).then(|| Delegated {
            host,
            port: address.port_or_known_default().unwrap_or(443),
            path: Secret::new(path),
            tls,
            ca: ca.unwrap_or_default(),
            client_certificate,
            username,
            calls: usize::from(written.calls.value),
            waiting: usize::try_from(written.waiting.value).unwrap_or(usize::MAX),
            time_limit,
            tolerance: if written.lenient { Tolerance::Lenient } else { Tolerance::Strict },
            force_callout: written.force_callout,
        })
    }

    fn service_address(&mut self, name: &At<String>, written: &file::DelegatedRealm) -> Option<Url> {
        let at = &written.url;
        let help = "write it as \"https://sso.example.com/delegated\"";
        let parsed = Url::parse(&at.value).ok();
        let Some(url) = parsed.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host() && url.fragment().is_none()) else {
            self.error(at, format!("`{}` is not the address of a service", at.value)).help = Some(help.to_owned());
            return None;
        };
        if !url.username().is_empty() || url.password().is_some() {
            let problem = self.source.problem_with_secret(&at.span, "credentials do not stand in a URL");
            self.note(problem).help = Some("write what keeps strangers away as secret_path".to_owned());
            return None;
        }
        let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let port = url.port_or_known_default().unwrap_or_default();
        let usual = if url.scheme() == "https" { 443 } else { 80 };
        if port != usual && port < LOWEST_PORT {
            self.error(at, format!("port {port} belongs to another service")).help = Some(format!("use {usual}, or {LOWEST_PORT} and up"));
        }
        let realm = RealmName::from(name.value.as_str());
        // These are never looked up (RFC 6761 §6.3).
        let local = is_loopback(host) || host.ends_with(".localhost");
        if url.scheme() == "http" && !local && !self.is_conceded(&Conceded::PlainDelegated(realm)) {
            self.error(at, "passwords would go to the service in the clear").help =
                Some("write https://, or concede `plain-delegated`".to_owned());
        }
        Some(url)
    }

    /// Profiles, and what is to be told users whose passwords are checked elsewhere.
    pub(super) fn profiles(
        &mut self,
        realms: &BTreeMap<RealmName, Realm>,
    ) -> (Vec<(ProfileName, Profile)>, BTreeMap<ProfileName, PasswordHelp>) {
        let file = self.file;
        let (mut profiles, mut helps) = (Vec::new(), BTreeMap::new());
        for (name, At { value: written, .. }) in &file.profile.0 {
            let profile = ProfileName::from(name.value.as_str());
            let delegated = written.delegated.as_ref().and_then(|at| self.delegate(&profile, at, realms));
            let addresses = written.from.iter().map(|at| at.value.0).collect();
            if let Some(at) = written.password_help.as_ref().or(written.password_url.as_ref()).filter(|_| written.delegated.is_none()) {
                self.error(at, "these users change their passwords here").help =
                    Some("add delegated = \"REALM\", or remove this".to_owned());
            }
            let url = written.password_url.as_ref().and_then(|at| {
                let url = Url::parse(&at.value).ok().filter(|url| url.scheme() == "https" && url.has_host());
                if url.is_none() {
                    self.error(at, format!("`{}` is not an https address", at.value));
                }
                url.map(String::from)
            });
            helps.insert(profile.clone(), PasswordHelp { text: written.password_help.as_ref().map(|at| at.value.clone()), url });
            let hours = self.hours(written);
            let idle = written.idle.as_ref().map(|at| {
                if at.value > self.file.session.absolute.value {
                    self.error(at, format!("a session cannot be idle for longer than it lives ({})", self.file.session.absolute.value));
                }
                self.positive(at)
            });
            let lock = match written.lock {
                file::Lock::Off => Lock::Off,
                file::Lock::Network => Lock::Network,
                file::Lock::Exact => Lock::Exact,
            };
            profiles.push((profile, Profile { delegated, addresses, hours, idle, lock, level: written.level.map(Level) }));
        }
        (profiles, helps)
    }

    fn hours(&mut self, written: &file::Profile) -> Option<Hours> {
        let Some(spans) = &written.hours else {
            if let Some(at) = &written.time_zone {
                self.error(at, "no hours are written of which this is the zone").help =
                    Some("add hours = [\"mon-fri 08:00-18:00\"]".to_owned());
            }
            return None;
        };
        let Some(zone) = &written.time_zone else {
            self.error(spans, "whose clock these hours are is not said").help = Some("add time_zone = \"Europe/Berlin\"".to_owned());
            return None;
        };
        if let Err(why) = Hours::parse(&[], &zone.value) {
            self.error(zone, why);
            return None;
        }
        // One by one, so that the one at fault is shown.
        for at in &spans.value {
            if let Err(why) = Hours::parse(&[&at.value], &zone.value) {
                self.error(at, why);
            }
        }
        let texts: Vec<&str> = spans.value.iter().map(|at| at.value.as_str()).collect();
        Hours::parse(&texts, &zone.value).ok()
    }

    /// Where a ticket is posted to.
    fn login_page(&mut self, at: &At<String>, tenant: &Tenant) -> Option<Url> {
        if tenant.portal.is_none() {
            self.error(at, "nobody signs in at a portal to be given tickets").help = Some("give the tenant a portal".to_owned());
        }
        let local =
            |url: &Url| url.scheme() == "http" && url.host_str().is_some_and(|host| is_loopback(host) || host.ends_with(".localhost"));
        let url = Url::parse(&at.value).ok().filter(|url| (url.scheme() == "https" || local(url)) && url.has_host());
        if url.is_none() {
            self.error(at, format!("`{}` is not an https address", at.value));
        }
        url
    }

    fn delegate(&mut self, profile: &ProfileName, at: &At<String>, realms: &BTreeMap<RealmName, Realm>) -> Option<RealmName> {
        if profile.as_str() == User::ADMINISTRATOR {
            self.error(at, "administrators sign in here, or an outage elsewhere would lock out those who could help").help =
                Some("give the others a profile of their own".to_owned());
            return None;
        }
        let delegates = |realm: &file::Realm| matches!(realm, file::Realm::Delegated(_));
        if !self.file.realm.find(&at.value).is_some_and(|found| delegates(&found.value)) {
            let known = self.file.realm.0.iter().filter(|(_, realm)| delegates(&realm.value)).map(|(name, _)| name.value.as_str());
            let help = suggest(&at.value, known);
            self.error(at, format!("no realm of type `delegated` is called `{}`", at.value)).help = help;
            return None;
        }
        let realm = RealmName::from(at.value.as_str());
        if !self.used_realms.contains(&realm) {
            self.error(at, format!("no scheme asks the realm `{realm}`, so that nobody of this profile could sign in")).help =
                Some(format!("add it to a scheme: realm = [\"{realm}\", \"local\"]"));
        }
        // While the service is down, somebody must still be able to change this.
        let local = |name: &SchemeName| match self.schemes.get(name) {
            Some(Scheme::Basic { realms: asked, .. } | Scheme::LoginForm { realms: asked } | Scheme::Integration { realms: asked }) => {
                asked.iter().any(|realm| matches!(realms.get(realm), Some(Realm::Local { .. })))
            }
            Some(
                Scheme::Session
                | Scheme::ClientCertificate(_)
                | Scheme::IdentityUrl(_)
                | Scheme::WsSecurity(_)
                | Scheme::Saml(_)
                | Scheme::Oidc(_)
                | Scheme::Introspection(_)
                | Scheme::SessionTicket(_),
            )
            | None => false,
        };
        let reachable = self.schemes.keys().any(local);
        if !reachable || self.file.administrators.from.is_empty() {
            self.error(at, "no administrator could sign in while the service is down").help =
                Some("let a scheme ask the realm `local`, too, and say in [administrators] from where they may come".to_owned());
        }
        Some(realm)
    }

    /// Endpoints that others ask.
    pub(super) fn delegates(&mut self, tenants: &[Tenant]) -> Vec<Delegate> {
        let file = self.file;
        let mut delegates: Vec<Delegate> = Vec::new();
        for (name, At { value: written, .. }) in &file.delegate.0 {
            let Some(tenant) = tenants.iter().find(|tenant| tenant.id.as_str() == written.tenant.value) else {
                self.unknown(&written.tenant, "tenant", file.tenant.names());
                continue;
            };
            if tenant.portal.is_none() && tenant.hosts.is_empty() {
                self.error(&written.tenant, "the endpoint would be at no host").help = Some("give the tenant a portal".to_owned());
            }
            let realms = self.scheme_realms(&written.realm);
            for at in &written.realm.value.0 {
                if file.realm.find(&at.value).is_some_and(|found| matches!(found.value, file::Realm::Delegated(_))) {
                    self.error(at, "what was delegated to us is not delegated further");
                }
            }
            let mut secrets: Vec<Secret<String>> = Vec::new();
            for at in [Some(&written.path), written.previous_path.as_ref()].into_iter().flatten() {
                let Some(secret) = self.secret(at) else { continue };
                let fits = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
                if secret.reveal().len() < SHORTEST_PATH || !secret.reveal().bytes().all(fits) {
                    self.error(at, format!("the path has at least {SHORTEST_PATH} letters, digits, `-` and `_`")).help =
                        Some("make one with `openssl rand -hex 16`".to_owned());
                }
                if delegates.iter().any(|other| other.settings.secrets.contains(&secret)) || secrets.contains(&secret) {
                    self.error(at, "another endpoint has this path");
                }
                secrets.push(secret);
            }
            if written.callers.is_empty() && written.certificates.is_empty() {
                self.error(&written.path, "everybody who learns the path could guess passwords").help =
                    Some("name who may ask: callers = [\"203.0.113.0/24\"], or certificates = [\"SHA-256\"]".to_owned());
            }
            let mut certificates = Vec::new();
            for at in &written.certificates {
                let plain = at.value.replace(':', "").to_ascii_lowercase();
                if plain.len() != 64 || !plain.bytes().all(|octet| octet.is_ascii_hexdigit()) {
                    self.error(at, "this is not the SHA-256 of a certificate").help =
                        Some("`openssl x509 -noout -fingerprint -sha256` prints it".to_owned());
                }
                certificates.push(plain);
            }
            let pairs = written.suffixes.iter().flat_map(|at| &at.value.0);
            let callers = self.closed_networks(&written.callers, "callers may not come from everywhere");
            let settings = delegate::Settings {
                name: SchemeName::from(name.value.as_str()),
                tenant: tenant.id.clone(),
                secrets,
                callers,
                certificates,
                suffixes: pairs.map(|(there, here)| (there.value.clone(), here.value.clone())).collect(),
                sources: written.from.iter().map(|at| at.value.0).collect(),
                root: match written.response_root {
                    file::ResponseRoot::Result => AnswerRoot::Result,
                    file::ResponseRoot::Response => AnswerRoot::Response,
                },
                on_outage: match written.on_outage {
                    file::OnOutage::Fault => delegate::OnOutage::Fault,
                    file::OnOutage::False => delegate::OnOutage::False,
                },
                described: written.wsdl,
                tickets: written.tickets.as_ref().and_then(|at| self.login_page(at, tenant)),
            };
            delegates.push(Delegate { settings, realms });
        }
        delegates
    }
}
