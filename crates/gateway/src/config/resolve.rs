//! From what was typed to what it means: names are resolved, files are read, impossible combinations refused.
//!
//! A configuration that half works is an open door nobody sees, so this refuses at start what could only fail,
//! or silently protect nothing, at run time.

mod accounts;
mod audit;
mod clients;
mod delegated;
mod directory;
mod foreign;
mod integration;
mod limits;
mod metadata;
mod oidc;
mod parts;
mod saml;
mod saml11;
mod service_providers;
mod store;
mod tenants;
mod traffic;
mod ws_security;

pub use ws_security::{DECRYPTION, SIGNING};

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderName;
use ipnet::IpNet;

use vestibule_engine::Timestamp;
use vestibule_engine::identity::{RealmName, SchemeName};
use vestibule_engine::secret::Secret;

use crate::config::checked::{
    Checked, Conceded, Concession, Dated, PolicyFile, SAML11_ISSUED, SAML11_UNPROVEN_ARTIFACTS, Scheme, Upstream, Weakness,
};
use crate::config::file::{self, File};
use crate::config::pem;
use crate::config::problem::{Problem, Severity, Source, suggest};
use crate::config::secrets::{SecretRef, reason};
use crate::config::values::{At, Net, Period};
use crate::config::{Instead, Purpose};
use crate::serve::proxy::Speaks;

/// How long before its end a concession or a certificate is warned of, in days.
const SOON: i64 = 14;
/// Longest policy file, in octets.
const MAX_POLICY: u64 = 1 << 20;

/// Checks a configuration. The second value of a success holds warnings.
///
/// # Errors
/// All problems, errors and warnings.
pub fn resolve(
    source: &Source,
    file: &File,
    purpose: Purpose,
    now: Timestamp,
    instead: Option<Instead<'_>>,
) -> Result<(Checked, Vec<Problem>), Vec<Problem>> {
    let mut resolve = Resolve::of(source, file, purpose, now);
    resolve.instead = instead;
    resolve.section_names();
    resolve.conceded = resolve.concessions();
    let listeners = resolve.listeners();
    let server = resolve.server();
    // Browsers meet our pages through the listeners that serve them; the others only answer a proxy.
    let (serving, answering): (Vec<_>, Vec<_>) = listeners.iter().cloned().partition(|listener| listener.speaks == Speaks::Proxy);
    let tenants = resolve.tenants(if serving.is_empty() { &answering } else { &serving });
    let front_door = resolve.front_door(&tenants, if serving.is_empty() { &answering } else { &serving });
    resolve.declared_upstreams(&listeners);
    let injectors = resolve.injectors();
    let routes = resolve.routes(&tenants, &injectors, &listeners);
    resolve.integration_routes(&tenants, &routes);
    // Before the realms: what an endpoint asks is used.
    let delegates = resolve.delegates(&tenants);
    let service_providers = resolve.service_providers(&tenants);
    let realms = resolve.realms();
    let (profiles, password_helps) = resolve.profiles(&realms);
    let responses = resolve.responses(&injectors);
    let session = resolve.session();
    let limits = resolve.limits();
    let hashing = resolve.hashing();
    let basic_cache = resolve.basic_cache();
    let store = resolve.store();
    let keys = resolve.keys();
    let audit = resolve.audit();
    let load = resolve.load();
    let administrators = resolve.closed_networks(&file.administrators.from, "administrators may not come from everywhere");
    let control_socket = file.server.control_socket.as_ref().map(|path| resolve.path(path));
    let server = server.with_control_socket(control_socket.unwrap_or_else(|| store.path.join("control.sock")));
    // What refers to something misspelt would be reported twice.
    if resolve.problems.iter().all(|problem| problem.severity == Severity::Warning) {
        resolve.unused(&routes);
    }

    let Resolve { problems, files, upstreams, schemes, conceded, mut certificates, .. } = resolve;
    if problems.iter().any(|problem| problem.severity == Severity::Error) {
        return Err(problems);
    }
    certificates.sort();
    certificates.dedup();
    let concessions = conceded.into_iter().map(|granted| granted.concession).collect();
    let named: BTreeSet<&Arc<str>> = routes.iter().flat_map(|route| &route.inject).collect();
    let injectors = injectors.into_iter().filter(|(name, _)| named.contains(name)).collect();
    let checked = Checked {
        path: source.path.clone(),
        files: files.into_iter().collect(),
        listeners,
        server,
        tenants,
        front_door,
        routes,
        upstreams,
        schemes,
        realms,
        profiles: Arc::new(profiles.into_iter().collect()),
        password_helps,
        delegates,
        injectors,
        responses,
        service_providers,
        session,
        limits,
        hashing,
        basic_cache,
        store,
        keys,
        audit,
        administrators,
        load,
        concessions,
        certificates,
    };
    Ok((checked, problems))
}

struct Resolve<'a> {
    source: &'a Source,
    file: &'a File,
    base: PathBuf,
    purpose: Purpose,
    now: Timestamp,
    instead: Option<Instead<'a>>,
    problems: Vec<Problem>,
    files: BTreeSet<PathBuf>,
    policies: BTreeMap<PathBuf, Arc<PolicyFile>>,
    upstreams: BTreeMap<Arc<str>, Upstream>,
    schemes: BTreeMap<SchemeName, Scheme>,
    conceded: Vec<Granted>,
    used_realms: BTreeSet<RealmName>,
    certificates: Vec<Dated>,
    used_providers: BTreeSet<String>,
}

struct Granted {
    concession: Concession,
    span: std::ops::Range<usize>,
    used: bool,
}

impl<'a> Resolve<'a> {
    fn of(source: &'a Source, file: &'a File, purpose: Purpose, now: Timestamp) -> Self {
        Self {
            source,
            file,
            base: source.path.parent().map(Path::to_owned).unwrap_or_default(),
            purpose,
            now,
            instead: None,
            problems: Vec::new(),
            files: BTreeSet::new(),
            policies: BTreeMap::new(),
            upstreams: BTreeMap::new(),
            schemes: BTreeMap::new(),
            conceded: Vec::new(),
            used_realms: BTreeSet::new(),
            certificates: Vec::new(),
            used_providers: BTreeSet::new(),
        }
    }
}

/// Metadata that nobody has fetched yet.
#[derive(Debug)]
pub struct Unfetched {
    /// Whose, as the configuration calls it.
    pub name: Arc<str>,
    /// Which entity it is, where the configuration says so.
    pub entity_id: Option<String>,
    /// Where they are, who has to have signed them, and where they are to be put.
    pub refresh: crate::config::checked::Refresh,
}

/// The metadata files that are not there yet, where a pinned key can vouch for what is fetched.
pub fn unfetched(source: &Source, file: &File, now: Timestamp) -> Vec<Unfetched> {
    let mut resolve = Resolve::of(source, file, Purpose::Serve, now);
    let mut found = Vec::new();
    for name in file.identity_provider.names() {
        let Some(written) = file.identity_provider.find(name) else { continue };
        let written = &written.value;
        if written.refresh.is_none() || resolve.path(&written.metadata.value).exists() {
            continue;
        }
        let name: Arc<str> = name.into();
        let Some(refresh) = resolve.refresh(&name, written).filter(|refresh| !refresh.keys.is_empty()) else { continue };
        found.push(Unfetched { name, entity_id: written.entity_id.as_ref().map(|at| at.value.clone()), refresh });
    }
    found
}

impl Resolve<'_> {
    /// Notes an error; returns it so that help can be added.
    fn error<T>(&mut self, at: &At<T>, message: impl Into<String>) -> &mut Problem {
        self.note(self.source.problem(&at.span, message))
    }

    fn warn<T>(&mut self, at: &At<T>, message: impl Into<String>) -> &mut Problem {
        self.note(self.source.problem(&at.span, message).warning())
    }

    #[expect(clippy::indexing_slicing, reason = "the index of what was just pushed")]
    fn note(&mut self, problem: Problem) -> &mut Problem {
        self.problems.push(problem);
        let last = self.problems.len() - 1;
        // INVARIANT: the vector is not empty.
        &mut self.problems[last]
    }

    /// Notes why there is no value, if there is none.
    fn or_error<T, U>(&mut self, at: &At<U>, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => Some(value),
            Err(why) => {
                self.error(at, why);
                None
            }
        }
    }

    fn unknown<'n>(&mut self, at: &At<String>, what: &str, known: impl IntoIterator<Item = &'n str>) {
        let help = suggest(&at.value, known);
        let problem = self.error(at, format!("no {what} is called `{}`", at.value));
        problem.help = help;
    }

    fn path(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }

    /// A file that the configuration names: watched from now on.
    fn named_file(&mut self, at: &At<PathBuf>) -> PathBuf {
        let path = self.path(&at.value);
        self.files.insert(path.clone());
        path
    }

    fn secret(&mut self, at: &At<SecretRef>) -> Option<Secret<String>> {
        if let SecretRef::File(path) = &at.value {
            self.files.insert(self.path(path));
        }
        match at.value.fetch(&self.base) {
            Ok((secret, warning)) => {
                if let Some(warning) = warning {
                    self.warn(at, warning).help = Some("chmod 600 keeps it to its owner".to_owned());
                }
                Some(secret)
            }
            Err(why) => {
                self.error(at, why);
                None
            }
        }
    }

    /// The certificates of a file in PEM form.
    fn certificates_of(&mut self, at: &At<PathBuf>) -> Option<Vec<rustls::pki_types::CertificateDer<'static>>> {
        let path = self.named_file(at);
        let chain = self.or_error(at, pem::certificates(&path))?;
        self.dated(at, &chain);
        Some(chain)
    }

    /// Notes until when certificates are valid, and warns of those that soon are not.
    fn dated(&mut self, at: &At<PathBuf>, certificates: &[rustls::pki_types::CertificateDer<'static>]) {
        for certificate in certificates {
            let Some((until, subject)) = self.or_error(at, pem::until(certificate)) else { continue };
            if until < self.now {
                self.warn(at, format!("the certificate of `{subject}` ended on {until}"));
            } else if until.duration_since(self.now).as_hours() < SOON * 24 {
                self.warn(at, format!("the certificate of `{subject}` ends on {until}"));
            }
            let file = at.value.clone();
            self.certificates.push(Dated { file, subject, until });
        }
    }

    fn policy(&mut self, at: &At<PathBuf>) -> Option<Arc<PolicyFile>> {
        let path = self.named_file(at);
        if let Some(read) = self.policies.get(&path) {
            return Some(read.clone());
        }
        let read = std::fs::metadata(&path).and_then(|about| match about.len() > MAX_POLICY {
            true => Err(std::io::Error::other(format!("it is longer than {MAX_POLICY} octets"))),
            false => std::fs::read_to_string(&path),
        });
        match read {
            Ok(text) => {
                let policy = Arc::new(PolicyFile { path: path.clone(), text });
                self.policies.insert(path, policy.clone());
                Some(policy)
            }
            Err(why) => {
                self.error(at, format!("the policy `{}` cannot be read: {}", at.value.display(), reason(&why)));
                None
            }
        }
    }

    /// A header that we may set. The connection's own headers, and those that mean something to us, are not.
    fn settable_header(&mut self, at: &At<String>) -> Option<HeaderName> {
        let Ok(name) = HeaderName::from_bytes(at.value.as_bytes()) else {
            self.error(at, format!("`{}` is not the name of a header", at.value));
            return None;
        };
        let text = name.as_str();
        let unusual = |c: char| !c.is_ascii_alphanumeric() && c != '-';
        if text.contains(unusual) {
            let help = format!("write `{}`", at.value.replace(unusual, "-"));
            self.error(at, format!("`{}` is a name that servers confuse with another", at.value)).help = Some(help);
            return None;
        }
        if UNSETTABLE.contains(&text) || text.starts_with("sec-") || text.starts_with("proxy-") {
            self.error(at, format!("the header `{}` has a meaning of its own and cannot be set", at.value));
            return None;
        }
        Some(name)
    }

    fn positive(&mut self, at: &At<Period>) -> std::time::Duration {
        if at.value.0.is_zero() {
            self.error(at, "this must be longer than nothing");
        }
        at.value.0
    }

    /// Networks that must not be everybody.
    fn closed_networks(&mut self, networks: &[At<Net>], refusal: &str) -> Vec<IpNet> {
        for at in networks {
            let widest = match at.value.0 {
                IpNet::V4(_) => 8,
                IpNet::V6(_) => 7,
            };
            if at.value.0.prefix_len() < widest {
                self.error(at, refusal).help = Some("name the networks, as in [\"10.1.0.0/24\"]".to_owned());
            }
        }
        networks.iter().map(|at| at.value.0).collect()
    }

    /// Names stand in logs, policies and keys of the store; what means something there is refused.
    fn section_names(&mut self) {
        fn of<'f, T>(section: &'f crate::config::values::Named<At<T>>) -> impl Iterator<Item = &'f At<String>> + use<'f, T> {
            section.0.iter().map(|(name, _)| name)
        }
        let file = self.file;
        let names = of(&file.tenant)
            .chain(of(&file.upstream))
            .chain(of(&file.scheme))
            .chain(of(&file.identity_provider))
            .chain(of(&file.openid_provider))
            .chain(of(&file.realm))
            .chain(of(&file.profile))
            .chain(of(&file.delegate))
            .chain(of(&file.inject))
            .chain(of(&file.response))
            .chain(of(&file.service_provider))
            .chain(file.route.iter().filter_map(|route| route.value.name.as_ref()));
        for name in names {
            if !is_name(&name.value) {
                let help = "a name has letters, digits, `-` and `_`, and at most 64 of them";
                self.error(name, format!("`{}` cannot be a name", name.value)).help = Some(help.to_owned());
            }
        }
    }

    fn concessions(&mut self) -> Vec<Granted> {
        let mut granted: Vec<Granted> = Vec::new();
        let today = self.now.to_zoned(jiff::tz::TimeZone::UTC).date();
        for At { value: written, span } in &self.file.concession {
            let what = self.conceded(written);
            if written.reason.value.trim().is_empty() {
                self.error(&written.reason, "a concession has a reason").help = Some("say who needs it and why".to_owned());
            }
            let Ok(expires) = written.expires.value.parse::<jiff::civil::Date>() else {
                self.error(&written.expires, format!("`{}` is not a date", written.expires.value)).help =
                    Some("write it as \"2027-03-31\"".to_owned());
                continue;
            };
            if expires < today {
                self.error(&written.expires, format!("this concession ended on {expires}")).help =
                    Some("remove it with what needs it, or decide anew until when".to_owned());
            } else if (expires - today).get_days() < i32::try_from(SOON).unwrap_or(i32::MAX) {
                self.warn(&written.expires, format!("this concession ends on {expires}, and what needs it will be refused"));
            }
            let Some(what) = what else { continue };
            if granted.iter().any(|other| other.concession.what == what) {
                let at = At { value: (), span: span.clone() };
                self.error(&at, format!("`{}` is conceded to `{}` twice", what.word(), what.partner()));
                continue;
            }
            let concession = Concession { what, reason: written.reason.value.trim().to_owned(), expires };
            granted.push(Granted { concession, span: span.clone(), used: false });
        }
        granted
    }

    fn conceded(&mut self, written: &file::Concession) -> Option<Conceded> {
        match written.what.value.as_str() {
            "plain-http" => match self.file.listen.iter().find(|listen| listen.value.address.value.to_string() == written.partner.value) {
                Some(listen) => Some(Conceded::PlainHttp(listen.value.address.value)),
                None => {
                    let addresses: Vec<String> = self.file.listen.iter().map(|listen| listen.value.address.value.to_string()).collect();
                    let help = suggest(&written.partner.value, addresses.iter().map(String::as_str));
                    self.error(&written.partner, format!("nothing listens on `{}`", written.partner.value)).help = help;
                    None
                }
            },
            "plain-ldap" => match self.file.realm.find(&written.partner.value) {
                Some(_) => Some(Conceded::PlainLdap(written.partner.value.as_str().into())),
                None => {
                    self.unknown(&written.partner, "realm", self.file.realm.names());
                    None
                }
            },
            "plain-delegated" => match self.file.realm.find(&written.partner.value) {
                Some(_) => Some(Conceded::PlainDelegated(written.partner.value.as_str().into())),
                None => {
                    self.unknown(&written.partner, "realm", self.file.realm.names());
                    None
                }
            },
            "login-on-application-host" => match self.file.tenant.find(&written.partner.value) {
                Some(_) => Some(Conceded::LoginOnApplicationHost(written.partner.value.as_str().into())),
                None => {
                    self.unknown(&written.partner, "tenant", self.file.tenant.names());
                    None
                }
            },
            "session-id-in-url" => match self.file.tenant.find(&written.partner.value) {
                Some(_) => Some(Conceded::SessionIdInUrl(written.partner.value.as_str().into())),
                None => {
                    self.unknown(&written.partner, "tenant", self.file.tenant.names());
                    None
                }
            },
            "private-addresses" => self.conceded_scheme(&written.partner).map(Conceded::PrivateAddresses),
            "session-owner-unchecked" => self.conceded_scheme(&written.partner).map(Conceded::SessionOwnerUnchecked),
            // Both kinds of message know the word `saml11`; the partner says which is meant.
            word if Weakness::ALL.iter().any(|weakness| weakness.word() == word) && !self.reads_security(&written.partner) => {
                let weakness = Weakness::ALL.into_iter().find(|weakness| weakness.word() == word)?;
                match self.file.identity_provider.find(&written.partner.value) {
                    Some(_) => Some(Conceded::Saml(weakness, written.partner.value.as_str().into())),
                    None => {
                        self.unknown(&written.partner, "identity provider", self.file.identity_provider.names());
                        None
                    }
                }
            }
            SAML11_ISSUED | SAML11_UNPROVEN_ARTIFACTS => {
                let name = written.partner.value.as_str();
                if self.file.service_provider.find(name).is_none() {
                    self.unknown(&written.partner, "service provider", self.file.service_provider.names());
                    return None;
                }
                Some(match written.what.value.as_str() {
                    SAML11_ISSUED => Conceded::Saml11Issued(name.into()),
                    _ => Conceded::Saml11UnprovenArtifacts(name.into()),
                })
            }
            unknown => {
                if let Some(concession) = vestibule_wss::Concession::ALL.iter().find(|concession| concession.word() == unknown) {
                    if self.reads_security(&written.partner) {
                        return Some(Conceded::WsSecurity(written.partner.value.as_str().into(), *concession));
                    }
                    self.error(&written.partner, format!("no scheme of type `ws-security` is called `{}`", written.partner.value));
                    return None;
                }
                let words = vestibule_wss::Concession::ALL.iter().map(|concession| concession.word());
                let known = [
                    "plain-http",
                    "plain-ldap",
                    "plain-delegated",
                    "login-on-application-host",
                    "private-addresses",
                    "session-owner-unchecked",
                    SAML11_ISSUED,
                    SAML11_UNPROVEN_ARTIFACTS,
                    "session-id-in-url",
                ];
                let weaknesses = Weakness::ALL.iter().map(|weakness| weakness.word());
                let help = suggest(unknown, known.into_iter().chain(words).chain(weaknesses));
                self.error(&written.what, format!("`{unknown}` is nothing that can be conceded")).help = help;
                None
            }
        }
    }

    fn reads_security(&self, partner: &At<String>) -> bool {
        matches!(self.file.scheme.find(&partner.value), Some(At { value: file::Scheme::WsSecurity(_), .. }))
    }

    fn conceded_scheme(&mut self, partner: &At<String>) -> Option<SchemeName> {
        if self.file.scheme.find(&partner.value).is_none() {
            self.unknown(partner, "scheme", self.file.scheme.names());
            return None;
        }
        Some(SchemeName::from(partner.value.as_str()))
    }

    /// Whether this was conceded; an expired concession was refused on its own already.
    fn is_conceded(&mut self, what: &Conceded) -> bool {
        let found = self.conceded.iter_mut().find(|granted| granted.concession.what == *what);
        found.is_some_and(|granted| {
            granted.used = true;
            true
        })
    }

    /// What was written and has no effect.
    fn unused(&mut self, routes: &[crate::config::checked::Route]) {
        let unused: Vec<At<()>> =
            self.conceded.iter().filter(|granted| !granted.used).map(|granted| At { value: (), span: granted.span.clone() }).collect();
        for at in unused {
            self.warn(&at, "nothing needs this concession").help = Some("remove it".to_owned());
        }
        let file = self.file;
        for (name, _) in &file.scheme.0 {
            if !self.schemes.contains_key(&SchemeName::from(name.value.as_str())) {
                self.warn(name, format!("the scheme `{}` stands in no chain", name.value));
            }
        }
        for (name, _) in &file.identity_provider.0 {
            if !self.used_providers.contains(name.value.as_str()) {
                self.warn(name, format!("no scheme names the identity provider `{}`", name.value));
            }
        }
        for (name, _) in &file.openid_provider.0 {
            if !self.used_providers.contains(name.value.as_str()) {
                self.warn(name, format!("no scheme names the OpenID provider `{}`", name.value));
            }
        }
        for (name, _) in &file.realm.0 {
            if !self.used_realms.contains(&RealmName::from(name.value.as_str())) {
                self.warn(name, format!("no scheme asks the realm `{}`", name.value));
            }
        }
        let upstreams: BTreeSet<&str> = routes.iter().filter_map(|route| route.upstream.as_deref()).collect();
        let injectors: BTreeSet<&str> = routes.iter().flat_map(|route| &route.inject).map(|name| &**name).collect();
        for (name, _) in &file.upstream.0 {
            if !upstreams.contains(name.value.as_str()) {
                self.warn(name, format!("no route forwards to `{}`", name.value));
            }
        }
        for (name, _) in &file.inject.0 {
            if !injectors.contains(name.value.as_str()) {
                self.warn(name, format!("no route injects `{}`", name.value));
            }
        }
    }
}

/// Headers of the connection (RFC 9110 §7.6.1), of framing and routing, of the proxies before us, and the two that we
/// always set ourselves.
const UNSETTABLE: [&str; 22] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "origin",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-vestibule-auth",
    "x-vestibule-id",
];

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}
