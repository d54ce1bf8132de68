//! The configuration as running: makes the engine of what was checked.
//!
//! Called at start and at every reload, and by `explain` for one judgement over a store whose writes are
//! discarded. What outlives a reload is in [`House`].

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use vestibule_engine::admission::{Admission, IssuerRules};
use vestibule_engine::audit::Sink;
use vestibule_engine::chain::{Chain, Link, OnReject};
use vestibule_engine::clock::Clock;
use vestibule_engine::csrf::CsrfKey;
use vestibule_engine::engine::Engine;
use vestibule_engine::identity::{Issuer, RealmName, ResponseName, SchemeName, TenantId};
use vestibule_engine::inject::{Injector, Strip};
use vestibule_engine::policy::{Decisions, Policy, PolicyProblem};
use vestibule_engine::profile::Profiles;
use vestibule_engine::realm::{Passwords, Realm, RealmStep, Then};
use vestibule_engine::route::{Access, BodyNeed, Csrf, Destination, Pattern, Route, Routes, Scope};
use vestibule_engine::scheme::Scheme;
use vestibule_engine::session::Sessions;
use vestibule_engine::store::{DurableStore, ExpiringStore};
use vestibule_engine::tenant::Tenant;
use vestibule_engine::users::Users;
use vestibule_oidc::jose::{Algorithm, InjectedJwt};

use crate::call::{self, Caller};
use crate::certificate;
use crate::config::checked::{self, ApiLogin, Checked, Conceded, LoginHost};
use crate::config::problem::{Problem, Source};
use crate::forward::{HttpVersion, client_tls};
use crate::inject::headers::HeadersInjector;
use crate::inject::jwt::{self, JwtInjector};
use crate::inject::response::ResponseInjector;
use crate::inject::session_ticket::SessionTicketInjector;
use crate::keys::{self, KeyRing};
use crate::realms::delegated::call::Endpoint;
use crate::realms::delegated::{self, DelegatedRealm};
use crate::realms::hashing::HashingPool;
use crate::realms::ldap::pool::ServiceAccount;
use crate::realms::ldap::wire::{Protection, Server, Tls};
use crate::realms::ldap::{self, LdapRealm};
use crate::realms::local::LocalRealm;
use crate::realms::shared_secrets::SharedSecretsRealm;
use crate::schemes::basic::{Basic, BasicSettings, Browsers};
use crate::schemes::client_certificate::ClientCertificateScheme;
use crate::schemes::family::{Family, PlainHttp};
use crate::schemes::identity_url::{self, IdentityUrlScheme};
use crate::schemes::integration::token::TokenKey;
use crate::schemes::integration::{self as programs, IntegrationScheme};
use crate::schemes::introspection::{self, IntrospectionScheme};
use crate::schemes::known_device::KnownDevices;
use crate::schemes::login_form::LoginForm;
use crate::schemes::oidc::{OpSessions, Refresher, RelyingParty};
use crate::schemes::owners::Owners;
use crate::schemes::saml::ServiceProvider;
use crate::schemes::session::SessionScheme;
use crate::schemes::session_ticket::SessionTicketScheme;
use crate::serve::api_login;
use crate::serve::delegate::Delegate;
use crate::serve::integration::Integrations;
use crate::serve::kept::{LONGEST as MAX_KEPT, PATH as KEPT};
use crate::serve::pages::{IDP_PREFIX, INSPECT, MAX_FORM, MAX_SAML, PageKey, front_door_tenant};
use crate::ticket::SessionTickets;

mod integration;
mod ws_security;

/// For how long an answer to a password is of use.
const PASSWORD_TIME: Duration = Duration::from_secs(10);
/// For the store, and all else that a decision takes.
const REST: Duration = Duration::from_secs(1);
/// How long and how much a service is asked about a foreign session (`authentication-chain.md` §2.5).
const FOREIGN_SERVICE: call::Limits = call::Limits { connect: Duration::from_secs(2), whole: Duration::from_secs(5), octets: 64 * 1024 };
/// Our own endpoints on the hosts of applications: all of it, so that no application can put a page there.
const ON_APPLICATIONS: &str = "/.vestibule/**";
/// Where others ask whether a password is right.
const DELEGATES: &str = "/.vestibule/delegate/*";
/// Where programs log in as older interfaces do.
const SOAP_LOGIN: [&str; 2] = ["/services/Soap/u/*", "/services/Soap/c/*"];
/// Our own endpoints where the login page is on the application's host, by concession.
const LOGIN_PAGES: [&str; 5] = ["/login", "/logout", "/password", "/assets/**", "/.well-known/jwks.json"];

/// Where messages of identity providers arrive, on the portal.
const SAML_MESSAGES: &str = "/saml/sp/**";

/// What outlives a reload.
#[derive(Debug)]
pub struct House {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Users and keys.
    pub durable: Arc<dyn DurableStore>,
    /// Sessions and counters.
    pub expiring: Arc<dyn ExpiringStore>,
    /// The users, cached.
    pub users: Arc<Users>,
    /// What hashes passwords.
    pub pool: Arc<HashingPool>,
    /// The keys that sign what the application is told.
    pub keys: Arc<KeyRing<InjectedJwt>>,
    /// Where events go.
    pub sink: Arc<dyn Sink>,
    /// The cookies of known devices.
    pub devices: Arc<KnownDevices>,
    /// What tokens against foreign pages are made with.
    pub csrf: CsrfKey,
    /// What tokens for single sign-on are made with.
    pub tokens: TokenKey,
    /// What our own pages seal.
    pub pages: PageKey,
    /// SessionTickets for services.
    pub tickets: SessionTickets,
    /// Since when the store knows what was used, if it was restored without that. Until then nobody served.
    pub knows_since: Option<vestibule_engine::Timestamp>,
    /// How many engines were made.
    pub generations: AtomicU64,
}

/// An engine, and what our own endpoints need beside it.
#[derive(Debug)]
pub struct Built {
    /// The engine.
    pub engine: Engine,
    /// The only caller of realms.
    pub passwords: Arc<Passwords>,
    /// The realms that hold our own users.
    pub local: HashMap<RealmName, Arc<LocalRealm>>,
    /// Where others ask whether a password is right.
    pub delegates: Vec<Delegate>,
    /// The tenants that are service providers.
    pub saml: HashMap<TenantId, Arc<ServiceProvider>>,
    /// The tenants that are relying parties.
    pub oidc: HashMap<TenantId, Arc<RelyingParty>>,
    /// What tenants' old clients are answered with.
    pub integrations: Integrations,
    /// The tenants, in file order.
    pub tenants: Vec<Arc<Tenant>>,
}

/// The longest that it takes to say who asks, where everything that a tenant's chain may ask for one request is as slow as it may be.
/// A proxy that asks us and waits less takes a wrong password, which waits for a floor, for an outage.
pub fn longest(checked: &Checked) -> Duration {
    let step = |name: &SchemeName| match checked.schemes.get(name) {
        // One family, whatever the number of steps; a message has its own password beside.
        Some(checked::Scheme::Basic { .. }) | None => Duration::ZERO,
        Some(checked::Scheme::WsSecurity(_) | checked::Scheme::Integration { .. }) => PASSWORD_TIME,
        // Whose the session is, and who owns it; the first may lead to another host.
        Some(checked::Scheme::IdentityUrl(_)) => FOREIGN_SERVICE.whole * 3,
        Some(checked::Scheme::Introspection(_)) => introspection::LIMITS.whole,
        Some(
            checked::Scheme::Session
            | checked::Scheme::ClientCertificate(_)
            | checked::Scheme::LoginForm { .. }
            | checked::Scheme::Saml(_)
            | checked::Scheme::Oidc(_)
            | checked::Scheme::SessionTicket(_),
        ) => Duration::ZERO,
    };
    let of = |tenant: &checked::Tenant| {
        let basic = tenant.chain.iter().any(|name| matches!(checked.schemes.get(name), Some(checked::Scheme::Basic { .. })));
        tenant.chain.iter().map(step).sum::<Duration>() + if basic { PASSWORD_TIME } else { Duration::ZERO }
    };
    checked.tenants.iter().map(of).max().unwrap_or_default() + REST
}

/// Makes the engine of a configuration over an expiring store.
///
/// # Errors
/// A sentence. What `check` finds has been found before; this is for the system refusing something.
pub fn build(checked: &Checked, house: &House, expiring: &Arc<dyn ExpiringStore>) -> Result<Built, String> {
    let sessions = Sessions::new(expiring.clone(), house.users.clone(), checked.session.clone()).with_profiles(checked.profiles.clone());
    let sessions = Arc::new(sessions);
    let passwords = Arc::new(Passwords::new(expiring.clone(), house.clock.clone(), checked.limits.clone()));
    let mut local = HashMap::new();
    let mut realms: HashMap<RealmName, Arc<dyn Realm>> = HashMap::new();
    for (name, realm) in &checked.realms {
        match realm {
            checked::Realm::Local { minimum_length } => {
                let (users, pool, operators_from) = (house.users.clone(), house.pool.clone(), checked.administrators.clone());
                let realm = LocalRealm::new(name.clone(), users, pool, operators_from, *minimum_length, checked.profiles.clone());
                let realm = Arc::new(realm.map_err(|down| down.to_string())?);
                realms.insert(name.clone(), realm.clone());
                local.insert(name.clone(), realm);
            }
            checked::Realm::SharedSecrets(secrets) => {
                let realm = SharedSecretsRealm::new(name.clone(), house.users.clone(), secrets.clone(), checked.profiles.clone());
                realms.insert(name.clone(), Arc::new(realm.map_err(|down| down.to_string())?));
            }
            checked::Realm::Ldap(ldap) => {
                realms.insert(name.clone(), Arc::new(directory(name, ldap, &checked.profiles, house)?));
            }
            checked::Realm::Delegated(asked) => drop(realms.insert(name.clone(), Arc::new(service(name, asked, checked, house)?))),
        }
    }
    let schemes = Schemes {
        checked,
        house,
        sessions: &sessions,
        passwords: &passwords,
        realms: &realms,
        generation: house.generations.fetch_add(1, Ordering::Relaxed),
        saml: RefCell::default(),
        oidc: RefCell::default(),
        integrations: RefCell::default(),
        expiring,
    };
    let endpoint = |asked: &checked::Delegate| {
        let steps = schemes.steps(&asked.settings.name, &asked.realms)?;
        Ok::<_, String>(Delegate::new(asked.settings.clone(), steps, passwords.clone(), house.users.clone(), checked.profiles.clone()))
    };
    let delegates = checked.delegates.iter().map(endpoint).collect::<Result<_, _>>()?;
    let mut routes = Routes::default();
    let mut tenants = Vec::new();
    for tenant in &checked.tenants {
        let built = Arc::new(schemes.tenant(tenant)?);
        routes.add_tenant(built.clone(), tenant.domain.as_deref())?;
        if checked.server.fallback_tenant.as_ref() == Some(&tenant.id) {
            routes.set_fallback(built.clone());
        }
        tenants.push(built);
    }
    if let Some(header) = &checked.server.tenant_header {
        routes.set_hint(header.clone());
    }
    add_routes(&mut routes, checked, house, &tenants)?;
    if let Some(front) = &checked.front_door {
        routes.add_tenant(Arc::new(front_door_tenant(front.host.clone(), &front.origin, &front.brand.name)), None)?;
        let pattern = Pattern::parse("/**", Vec::new())?;
        routes
            .add(Scope::Host(front.host.clone()), &pattern, Arc::new(own("/**")))
            .map_err(|taken| format!("route {taken} is at the front door"))?;
    }
    let rule = |(name, realm): (&RealmName, &checked::Realm)| {
        let local = match realm {
            checked::Realm::Local { .. } => true,
            checked::Realm::Ldap(_) | checked::Realm::Delegated(_) | checked::Realm::SharedSecrets(_) => false,
        };
        (Issuer::from(name.as_str()), IssuerRules { local })
    };
    // Those whose word is a password's alone are not found by a certificate.
    let certificates = (Issuer::from(certificate::ISSUER), IssuerRules { local: false });
    let asserted = checked.schemes.values().filter_map(|scheme| match scheme {
        checked::Scheme::WsSecurity(scheme) => Some(&scheme.issuers),
        checked::Scheme::Session
        | checked::Scheme::Basic { .. }
        | checked::Scheme::ClientCertificate(_)
        | checked::Scheme::IdentityUrl(_)
        | checked::Scheme::Saml(_)
        | checked::Scheme::Oidc(_)
        | checked::Scheme::Introspection(_)
        | checked::Scheme::Integration { .. }
        | checked::Scheme::SessionTicket(_)
        | checked::Scheme::LoginForm { .. } => None,
    });
    let asserted = asserted.flatten().map(|issuer| (Issuer::from(issuer.entity_id.as_str()), IssuerRules { local: false }));
    let foreign = (Issuer::from(identity_url::ISSUER), IssuerRules { local: false });
    // Nor are operators by a token that we issued to them earlier.
    let tokens = (Issuer::from(programs::ISSUER), IssuerRules { local: false });
    let integrations = schemes.integrations.into_inner();
    let (saml, oidc) = (schemes.saml.into_inner(), schemes.oidc.into_inner());
    let providers = saml
        .values()
        .flat_map(|sp| sp.providers().iter().map(|provider| provider.issuer().clone()))
        .chain(oidc.values().flat_map(|rp| rp.providers().iter().map(|provider| provider.issuer().clone())))
        .chain(introspected(checked))
        .map(|issuer| (issuer, IssuerRules { local: false }));
    // A realm that is called like an issuer keeps its own rules.
    let rules = asserted.chain(providers).chain(checked.realms.iter().map(rule)).chain([certificates, foreign, tokens]).collect();
    let engine = Engine {
        routes,
        admission: Admission::new(house.users.clone(), expiring.clone(), rules, checked.administrators.clone())
            .with_profiles(checked.profiles.clone()),
        sessions,
        csrf: house.csrf.clone(),
        sink: house.sink.clone(),
        clock: house.clock.clone(),
    };
    Ok(Built { engine, passwords, local, delegates, saml, oidc, integrations, tenants })
}

/// Who says what bearer tokens are worth.
fn introspected(checked: &Checked) -> impl Iterator<Item = Issuer> {
    checked.schemes.values().filter_map(|scheme| match scheme {
        checked::Scheme::Introspection(scheme) => Some(introspection::issuer(scheme)),
        checked::Scheme::Session
        | checked::Scheme::Basic { .. }
        | checked::Scheme::ClientCertificate(_)
        | checked::Scheme::WsSecurity(_)
        | checked::Scheme::IdentityUrl(_)
        | checked::Scheme::Saml(_)
        | checked::Scheme::Oidc(_)
        | checked::Scheme::Integration { .. }
        | checked::Scheme::SessionTicket(_)
        | checked::Scheme::LoginForm { .. } => None,
    })
}

/// How signing keys are kept: published for as long as the longest token lives.
pub fn key_settings(checked: &Checked) -> keys::Settings {
    let lives = checked.injectors.values().filter_map(|injector| match injector {
        checked::Injector::Headers { .. } => None,
        checked::Injector::Jwt { lifetime, .. } => Some(*lifetime),
    });
    let default = keys::Settings::default();
    let algorithm = match checked.keys.algorithm {
        checked::Algorithm::ES256 => Algorithm::Es256,
        checked::Algorithm::EdDSA => Algorithm::EdDsa,
        checked::Algorithm::RS256 => Algorithm::Rs256,
    };
    keys::Settings { algorithm, max_age: checked.keys.rotation_age, token_life: lives.max().unwrap_or(default.token_life) }
}

/// What is wrong with the policies of a configuration.
pub fn policy_problems(checked: &Checked) -> Vec<Problem> {
    let responses: Vec<ResponseName> = checked.responses.keys().cloned().collect();
    let decisions = Decisions::new(1);
    let mut found: Vec<PolicyProblem> = Vec::new();
    let mut unread: Vec<Problem> = Vec::new();
    for route in checked.routes.iter().filter(|route| !route.policies.is_empty()) {
        match Policy::compile(&texts(route), &responses, &decisions) {
            // A `forbid` of an operation that nobody reads would forbid nothing.
            Ok(policy) if policy.reads_operation() && route.body == BodyNeed::Never => {
                let files = route.policies.iter().map(|file| file.path.as_path()).take(1);
                let what = format!("the policies of route `{}` ask for the operation, but its body is not read", route.pattern_text);
                let help = "add body = { limit = \"1MiB\", types = [\"text/xml\", \"application/soap+xml\"] } to the route";
                unread.extend(files.map(|file| Problem::of_file(file, what.clone()).help(help)));
            }
            Ok(policy) => unread.extend(ws_security::problems(checked, route, &policy)),
            // Routes often share files; say each thing once.
            Err(problems) => found.extend(problems.into_iter().filter(|problem| !found.contains(problem)).collect::<Vec<_>>()),
        }
    }
    let text_of = |label: &str| {
        let mut files = checked.routes.iter().flat_map(|route| &route.policies);
        files.find(|file| file.path.display().to_string() == label).map(|file| file.text.clone()).unwrap_or_default()
    };
    found
        .into_iter()
        .map(|problem| {
            let source = Source::new(problem.file.as_str().into(), text_of(&problem.file));
            let at = offset(&text_of(&problem.file), problem.line, problem.column);
            let found = source.problem(&(at..at), problem.message);
            match problem.help {
                Some(help) => found.help(help),
                None => found,
            }
        })
        .chain(unread)
        .collect()
}

/// The octet at which a line and column, both from 1, stand.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(before..).unwrap_or_default();
    before + rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum::<usize>()
}

fn texts(route: &checked::Route) -> Vec<(String, String)> {
    route.policies.iter().map(|file| (file.path.display().to_string(), file.text.clone())).collect()
}

/// The realm over a directory. Called on the control runtime, where its connections live.
fn directory(name: &RealmName, checked: &checked::Ldap, profiles: &Arc<Profiles>, house: &House) -> Result<LdapRealm, String> {
    let control = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
    let mut servers = Vec::new();
    for server in &checked.servers {
        let tls = || {
            let mut config = client_tls(&checked.ca, None, HttpVersion::Http1)?;
            // There is no protocol to choose on a directory's port.
            config.alpn_protocols.clear();
            let name = ServerName::try_from(server.host.clone()).map_err(|_| format!("`{}` is no name for TLS", server.host))?;
            Ok::<Tls, String>(Tls { config: Arc::new(config), name })
        };
        let protection = match server.protection {
            checked::LdapProtection::Ldaps => Protection::Ldaps(tls()?),
            checked::LdapProtection::StartTls => Protection::StartTls(tls()?),
            checked::LdapProtection::Plain => Protection::Plain,
        };
        servers.push(Server { host: server.host.clone(), port: server.port, protection });
    }
    let settings = ldap::Settings {
        name: name.clone(),
        servers,
        account: ServiceAccount { dn: checked.bind_dn.clone(), password: checked.bind_password.clone() },
        connections: checked.connections,
        base: checked.base.clone(),
        reach: checked.reach,
        filter: checked.filter.clone(),
        dialect: checked.dialect,
        mapping: checked.mapping.clone(),
        groups: checked.groups.clone(),
        newcomers: checked.newcomers.clone(),
        time_limit: checked.time_limit,
        refresh: checked.refresh,
    };
    Ok(LdapRealm::new(settings, profiles.clone(), house.users.clone(), house.clock.clone(), control))
}

/// The realm that asks another service. Called on the control runtime, where its connections live.
fn service(name: &RealmName, asked: &checked::Delegated, checked: &Checked, house: &House) -> Result<DelegatedRealm, String> {
    let control = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
    let settings = delegated::Settings {
        name: name.clone(),
        endpoint: endpoint(asked)?,
        username: asked.username.clone(),
        calls: asked.calls,
        waiting: asked.waiting,
        time_limit: asked.time_limit,
        tolerance: asked.tolerance,
        force_callout: asked.force_callout,
    };
    Ok(DelegatedRealm::new(settings, checked.profiles.clone(), house.users.clone(), house.clock.clone(), control))
}

/// Where a service is that checks passwords, with the trust that is put in it.
///
/// # Errors
/// A sentence: nobody vouches for it, or its host is no name for TLS.
pub fn endpoint(asked: &checked::Delegated) -> Result<Endpoint, String> {
    let tls = match asked.tls {
        false => None,
        true => {
            let config = client_tls(&asked.ca, asked.client_certificate.as_ref(), HttpVersion::Http1)?;
            let name = ServerName::try_from(asked.host.clone()).map_err(|_| format!("`{}` is no name for TLS", asked.host))?;
            Some((Arc::new(config), name))
        }
    };
    Ok(Endpoint { host: asked.host.clone(), port: asked.port, path: asked.path.clone(), tls })
}

/// Makes the chains.
struct Schemes<'a> {
    checked: &'a Checked,
    house: &'a House,
    sessions: &'a Arc<Sessions>,
    passwords: &'a Arc<Passwords>,
    realms: &'a HashMap<RealmName, Arc<dyn Realm>>,
    generation: u64,
    saml: RefCell<HashMap<TenantId, Arc<ServiceProvider>>>,
    oidc: RefCell<HashMap<TenantId, Arc<RelyingParty>>>,
    integrations: RefCell<Integrations>,
    expiring: &'a Arc<dyn ExpiringStore>,
}

impl Schemes<'_> {
    fn tenant(&self, tenant: &checked::Tenant) -> Result<Tenant, String> {
        Ok(Tenant {
            id: tenant.id.clone(),
            title: tenant.title.clone(),
            domain: tenant.domain.clone(),
            hosts: tenant.hosts.clone(),
            portal: tenant.portal.clone(),
            portal_origin: tenant.portal_origin.clone(),
            origins: tenant.origins.clone(),
            cors: tenant.cors.clone(),
            chain: Arc::new(Chain::new(self.links(tenant)?)),
            realm_text: tenant.title.clone(),
            brand: Some(tenant.brand.name.clone()),
        })
    }

    /// Realms that change without us.
    fn directories(&self) -> Vec<Arc<dyn Realm>> {
        let is_directory = |name: &RealmName| matches!(self.checked.realms.get(name), Some(checked::Realm::Ldap(_)));
        self.realms.iter().filter(|(name, _)| is_directory(name)).map(|(_, realm)| realm.clone()).collect()
    }

    /// The chain's links; consecutive steps over the same material become one (architecture §4).
    fn links(&self, tenant: &checked::Tenant) -> Result<Vec<Link>, String> {
        let mut links = Vec::new();
        let mut chain = tenant.chain.iter().peekable();
        while let Some(name) = chain.next() {
            let scheme = self.scheme(name)?;
            let link = match scheme {
                checked::Scheme::Session => {
                    let scheme = SessionScheme::new(name.clone(), self.sessions.clone(), self.directories());
                    let scheme = scheme.with_providers(self.refresher(tenant)?);
                    Link { scheme: Arc::new(scheme), on_reject: OnReject::Continue, remember: false }
                }
                checked::Scheme::Basic { realms, on_reject, remember } => {
                    let mut steps = self.steps(name, realms)?;
                    let (mut on_reject, mut remember) = (*on_reject, *remember);
                    while let Some(next) = chain.peek() {
                        let checked::Scheme::Basic { realms, on_reject: also_rejects, remember: also_remembers } = self.scheme(next)?
                        else {
                            break;
                        };
                        steps.extend(self.steps(next, realms)?);
                        on_reject = if *also_rejects == OnReject::Stop { OnReject::Stop } else { on_reject };
                        remember |= also_remembers;
                        chain.next();
                    }
                    Link { scheme: self.basic(name, tenant, steps)?, on_reject, remember }
                }
                checked::Scheme::ClientCertificate(certificate) => {
                    let checked::ClientCertificate { mapping, suffix, on_reject, remember } = certificate.clone();
                    let owners = Owners::new(mapping, suffix, self.house.users.clone());
                    let scheme = ClientCertificateScheme::new(name.clone(), owners);
                    Link { scheme: Arc::new(scheme), on_reject, remember }
                }
                checked::Scheme::WsSecurity(security) => {
                    let rest: Vec<&SchemeName> = chain.clone().collect();
                    Link { scheme: self.ws_security(name, security, &rest)?, on_reject: security.on_reject, remember: false }
                }
                checked::Scheme::Saml(saml) => {
                    let origin = tenant.portal_origin.as_deref().unwrap_or_default();
                    let control = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
                    let sp = ServiceProvider::new(name.clone(), saml, origin, self.house.users.clone(), &control)?;
                    let programs = if tenant.integration.is_some() { &tenant.origins[..] } else { &[] };
                    let sp = Arc::new(sp.with_programs(programs));
                    let scheme = Arc::new(sp.scheme());
                    self.saml.borrow_mut().insert(tenant.id.clone(), sp);
                    Link { scheme, on_reject: OnReject::Continue, remember: false }
                }
                checked::Scheme::Oidc(oidc) => {
                    let scheme = Arc::new(self.relying_party(name, oidc, tenant)?.scheme());
                    Link { scheme, on_reject: OnReject::Continue, remember: false }
                }
                checked::Scheme::Introspection(settings) => {
                    let (users, clock) = (self.house.users.clone(), self.house.clock.clone());
                    let scheme = IntrospectionScheme::new(name.clone(), (**settings).clone(), tenant.title.clone(), users, clock)?;
                    Link { scheme: Arc::new(scheme), on_reject: settings.on_reject, remember: false }
                }
                checked::Scheme::Integration { realms } => {
                    let made = self.integration(name, realms, tenant, self.expiring)?;
                    self.integrations.borrow_mut().insert(tenant.id.clone(), made.clone());
                    Link { scheme: Arc::new(IntegrationScheme::new(made)), on_reject: OnReject::Continue, remember: false }
                }
                checked::Scheme::SessionTicket(ticket) => {
                    let tickets = self.house.tickets.clone();
                    let scheme = SessionTicketScheme::new(name.clone(), ticket.settings.clone(), tickets, self.plain());
                    Link { scheme: Arc::new(scheme), on_reject: ticket.on_reject, remember: false }
                }
                checked::Scheme::IdentityUrl(foreign) => {
                    Link { scheme: self.identity_url(name, foreign)?, on_reject: foreign.on_reject, remember: foreign.remember }
                }
                checked::Scheme::LoginForm { realms } => {
                    let domains =
                        self.checked.tenants.iter().filter_map(|tenant| Some((tenant.id.clone(), tenant.domain.clone()?))).collect();
                    let form = LoginForm::new(name.clone(), self.family(self.steps(name, realms)?), domains, self.plain());
                    Link { scheme: Arc::new(form), on_reject: OnReject::Continue, remember: false }
                }
            };
            links.push(link);
        }
        Ok(links)
    }

    /// The tenant as a relying party; made once.
    fn relying_party(&self, name: &SchemeName, oidc: &checked::Oidc, tenant: &checked::Tenant) -> Result<Arc<RelyingParty>, String> {
        if let Some(rp) = self.oidc.borrow().get(&tenant.id) {
            return Ok(rp.clone());
        }
        let origin = tenant.portal_origin.as_deref().unwrap_or_default();
        let sessions = OpSessions::new(self.house.pages.clone(), self.expiring.clone());
        let rp = RelyingParty::new(name.clone(), oidc, origin, self.house.users.clone(), sessions, &self.house.clock)?;
        let rp = Arc::new(rp);
        self.oidc.borrow_mut().insert(tenant.id.clone(), rp.clone());
        Ok(rp)
    }

    /// What asks the tenant's OpenID providers about sessions.
    fn refresher(&self, tenant: &checked::Tenant) -> Result<Option<Arc<Refresher>>, String> {
        // A rehearsal must not spend a refresh token: the new one would be forgotten with its store.
        if !Arc::ptr_eq(self.expiring, &self.house.expiring) {
            return Ok(None);
        }
        for name in &tenant.chain {
            if let checked::Scheme::Oidc(oidc) = self.scheme(name)? {
                let rp = self.relying_party(name, oidc, tenant)?;
                let control = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
                return Ok(Refresher::new(rp, self.sessions.clone(), self.house.clock.clone(), control));
            }
        }
        Ok(None)
    }

    fn scheme(&self, name: &SchemeName) -> Result<&checked::Scheme, String> {
        // INVARIANT: `checked` resolved every name; the text is for the type only.
        self.checked.schemes.get(name).ok_or_else(|| format!("there is no scheme {name}"))
    }

    fn basic(&self, name: &SchemeName, tenant: &checked::Tenant, steps: Vec<RealmStep>) -> Result<Arc<dyn Scheme>, String> {
        let forms = |name| matches!(self.checked.schemes.get(name), Some(checked::Scheme::LoginForm { .. }));
        let settings = BasicSettings {
            name: name.clone(),
            realm_text: tenant.title.clone(),
            plain: self.plain(),
            browsers: if tenant.chain.iter().any(forms) { Browsers::OwnPages } else { Browsers::Dialogue },
            generation: self.generation,
            remembered: self.checked.basic_cache,
        };
        Ok(Arc::new(Basic::new(settings, self.family(steps)).map_err(|down| down.to_string())?))
    }

    fn identity_url(&self, name: &SchemeName, foreign: &checked::IdentityUrl) -> Result<Arc<dyn Scheme>, String> {
        let control = tokio::runtime::Handle::try_current().map_err(|error| error.to_string())?;
        let tls = client_tls(&foreign.ca, None, HttpVersion::Http1)?;
        let settings = identity_url::Settings {
            name: name.clone(),
            organizations: foreign.organizations.clone(),
            hosts: foreign.hosts.clone(),
            owner: foreign.owner,
            link_by: foreign.link_by,
        };
        let caller = Caller::new(tls, foreign.reach, FOREIGN_SERVICE, control);
        let scheme = IdentityUrlScheme::new(settings, caller, self.house.users.clone(), self.house.clock.clone());
        Ok(Arc::new(scheme.map_err(|down| down.to_string())?))
    }

    fn steps(&self, name: &SchemeName, realms: &[RealmName]) -> Result<Vec<RealmStep>, String> {
        let step = |realm: &RealmName| {
            let found = self.realms.get(realm).ok_or_else(|| format!("there is no realm {realm}"))?;
            // A scheme over several realms has a line for each in the trail.
            let line = if realms.len() == 1 { name.clone() } else { SchemeName::from(format!("{name}/{realm}").as_str()) };
            let then = self.checked.realms.get(realm).map_or(Then::Next, checked::Realm::then);
            Ok(RealmStep { scheme: line, realm: found.clone(), then })
        };
        realms.iter().map(step).collect()
    }

    fn family(&self, steps: Vec<RealmStep>) -> Family {
        Family {
            steps,
            passwords: self.passwords.clone(),
            users: self.house.users.clone(),
            profiles: self.checked.profiles.clone(),
            devices: self.house.devices.clone(),
            clock: self.house.clock.clone(),
            time_limit: PASSWORD_TIME,
        }
    }

    /// Listeners beyond loopback have TLS or a concession, so that a request in the clear came through a conceded one.
    fn plain(&self) -> PlainHttp {
        let conceded = self.checked.concessions.iter().any(|concession| matches!(concession.what, Conceded::PlainHttp(_)));
        if conceded { PlainHttp::Conceded } else { PlainHttp::Refused }
    }
}

fn add_routes(routes: &mut Routes, checked: &Checked, house: &House, tenants: &[Arc<Tenant>]) -> Result<(), String> {
    let decisions = Decisions::new(Decisions::DEFAULT);
    let responses: Vec<ResponseName> = checked.responses.keys().cloned().collect();
    let injectors = injectors(checked, house)?;
    let granted: Option<Arc<dyn Injector>> =
        if checked.responses.is_empty() { None } else { Some(Arc::new(ResponseInjector::new(&checked.responses))) };
    let tickets = SessionTicketInjector::new(&checked.responses, house.tickets.clone());
    let tickets = tickets.map(|injector| Arc::new(injector) as Arc<dyn Injector>);
    let forwarding = checked.forwarding();
    let mut compiled: HashMap<Vec<&Path>, Policy> = HashMap::new();
    for route in &checked.routes {
        let files: Vec<&Path> = route.policies.iter().map(|file| file.path.as_path()).collect();
        let policy = match compiled.get(&files) {
            Some(policy) => policy.clone(),
            None if files.is_empty() => Policy::default(),
            None => {
                let policy = Policy::compile(&texts(route), &responses, &decisions).map_err(|problems| join(&problems))?;
                compiled.insert(files, policy.clone());
                policy
            }
        };
        let mut told: Vec<Arc<dyn Injector>> = Vec::new();
        for name in &route.inject {
            told.push(injectors.get(name).ok_or_else(|| format!("there is no injector {name}"))?.clone());
        }
        told.extend(granted.clone().filter(|_| !route.policies.is_empty()));
        told.extend(tickets.clone().filter(|_| !route.policies.is_empty()));
        told.extend(ws_security::injector(checked, route, house.tickets.clone())?);
        let strip = tenants.iter().filter(|tenant| serves(&route.scope, tenant)).map(|tenant| {
            // Proxies that ask forward by themselves, so they are told what may not arrive.
            let headers = told.iter().flat_map(|injector| injector.headers()).chain(&forwarding);
            let written = checked.tenants.iter().find(|written| written.id == tenant.id);
            let consumed = written.map(|written| integration::consumed(tenant, written, &route.pattern_text)).unwrap_or_default();
            (tenant.id.clone(), Strip::new(headers, consumed))
        });
        let built = Route {
            name: route.name.clone(),
            access: route.access,
            level: route.level,
            policy,
            strip: strip.collect(),
            injectors: told,
            csrf: route.csrf,
            body: route.body.clone(),
            clients: route.clients.clone(),
            destination: route.upstream.clone().map_or(Destination::Elsewhere, Destination::Upstream),
        };
        routes
            .add(route.scope.clone(), &route.pattern, Arc::new(built))
            .map_err(|taken| format!("route {taken} takes the same requests"))?;
    }
    for tenant in &checked.tenants {
        own_endpoints(routes, checked, tenant)?;
        integration::mount(routes, tenant)?;
    }
    Ok(())
}

/// Login, logout and the like, on the portal; the landing and logout on application hosts.
fn own_endpoints(routes: &mut Routes, checked: &Checked, tenant: &checked::Tenant) -> Result<(), String> {
    let mut mount = |scope: Scope, text: &str, route: Route| {
        let pattern = Pattern::parse(text, Vec::new())?;
        routes.add(scope, &pattern, Arc::new(route)).map_err(|taken| format!("route {taken} takes {text}, which is ours"))
    };
    if let Some(portal) = &tenant.portal {
        mount(Scope::Host(portal.clone()), "/**", own("/**"))?;
        if tenant.idp.is_some() {
            let text = format!("{IDP_PREFIX}**");
            let types = vec!["application/x-www-form-urlencoded".to_owned(), "text/xml".to_owned()];
            let route = Route { body: BodyNeed::Whole { limit: MAX_SAML, types }, ..own(&text) };
            mount(Scope::Host(portal.clone()), &text, route)?;
        }
        let inspection = saml_of(checked, tenant).map(|_| INSPECT.to_owned());
        for text in messages(checked, tenant).into_iter().chain(inspection) {
            let types = vec!["application/x-www-form-urlencoded".to_owned()];
            let route = Route { body: BodyNeed::Whole { limit: MAX_SAML, types }, ..own(&text) };
            mount(Scope::Host(portal.clone()), &text, route)?;
        }
    }
    if checked.delegates.iter().any(|delegate| delegate.settings.tenant == tenant.id) {
        let hosts = tenant.portal.as_ref().map_or(&tenant.hosts[..], std::slice::from_ref);
        for host in hosts {
            mount(Scope::Host(host.clone()), DELEGATES, own_messages(DELEGATES, "text/xml"))?;
        }
    }
    for host in tenant.hosts.iter().chain(&tenant.portal) {
        for dialect in &tenant.api_login {
            let (paths, media_type) = match dialect {
                ApiLogin::Json => (&[api_login::JSON_PATH][..], "application/json"),
                ApiLogin::Soap => (&SOAP_LOGIN[..], "text/xml"),
            };
            for path in paths {
                mount(Scope::Host(host.clone()), path, own_messages(path, media_type))?;
            }
        }
    }
    // Where old clients end a login by SAML 1.1.
    let programs = saml_of(checked, tenant).filter(|_| tenant.integration.is_some()).and_then(|saml| saml.saml11_consumer.as_deref());
    for host in &tenant.hosts {
        let scope = Scope::Host(host.clone());
        mount(scope.clone(), ON_APPLICATIONS, own(ON_APPLICATIONS))?;
        if !checked.session.remembered.is_zero() {
            let types = vec!["application/x-www-form-urlencoded".to_owned()];
            let route = Route { body: BodyNeed::Whole { limit: MAX_KEPT, types }, ..own(KEPT) };
            mount(scope.clone(), KEPT, route)?;
        }
        if let Some(text) = programs {
            let types = vec!["application/x-www-form-urlencoded".to_owned()];
            let route = Route { body: BodyNeed::Whole { limit: MAX_SAML, types }, ..own(text) };
            mount(scope.clone(), text, route)?;
        }
        if tenant.login == LoginHost::Application {
            for text in LOGIN_PAGES {
                mount(scope.clone(), text, own(text))?;
            }
        }
    }
    Ok(())
}

/// Where messages of identity providers come to.
fn messages(checked: &Checked, tenant: &checked::Tenant) -> Vec<String> {
    let further = |saml: &checked::Saml| {
        let aliases = saml.aliases.iter().map(|alias| alias.path().to_owned());
        aliases.chain(saml.saml11_consumer.clone()).collect::<Vec<_>>()
    };
    let saml = saml_of(checked, tenant);
    saml.map(|saml| std::iter::once(SAML_MESSAGES.to_owned()).chain(further(saml)).collect()).unwrap_or_default()
}

/// The tenant as a service provider.
fn saml_of<'c>(checked: &'c Checked, tenant: &checked::Tenant) -> Option<&'c checked::Saml> {
    tenant.chain.iter().find_map(|name| match checked.schemes.get(name)? {
        checked::Scheme::Saml(saml) => Some(&**saml),
        checked::Scheme::Session
        | checked::Scheme::Basic { .. }
        | checked::Scheme::ClientCertificate(_)
        | checked::Scheme::IdentityUrl(_)
        | checked::Scheme::WsSecurity(_)
        | checked::Scheme::Oidc(_)
        | checked::Scheme::Introspection(_)
        | checked::Scheme::Integration { .. }
        | checked::Scheme::SessionTicket(_)
        | checked::Scheme::LoginForm { .. } => None,
    })
}

fn own(text: &str) -> Route {
    Route {
        name: format!("own:{text}").as_str().into(),
        access: Access::Open,
        level: Default::default(),
        policy: Policy::default(),
        injectors: Vec::new(),
        strip: HashMap::new(),
        csrf: Csrf::Off,
        body: BodyNeed::Whole { limit: MAX_FORM, types: vec!["application/x-www-form-urlencoded".to_owned()] },
        clients: Vec::new(),
        destination: Destination::Own,
    }
}

/// An endpoint of ours that reads messages, not forms.
fn own_messages(text: &str, media_type: &str) -> Route {
    let body = BodyNeed::Whole { limit: vestibule_soap::delegated::LIMITS.size, types: vec![media_type.to_owned()] };
    Route { body, ..own(text) }
}

/// Whether a route of this scope can take requests of this tenant.
fn serves(scope: &Scope, tenant: &Tenant) -> bool {
    match scope {
        Scope::Host(host) => tenant.hosts.iter().any(|own| own.name() == host.name()),
        Scope::Tenant(id) => *id == tenant.id,
        Scope::Everywhere => true,
    }
}

fn injectors(checked: &Checked, house: &House) -> Result<HashMap<Arc<str>, Arc<dyn Injector>>, String> {
    let mut made: HashMap<Arc<str>, Arc<dyn Injector>> = HashMap::new();
    for (name, injector) in &checked.injectors {
        let injector: Arc<dyn Injector> = match injector {
            checked::Injector::Headers { map } => Arc::new(HeadersInjector::new(name, map.clone())?),
            checked::Injector::Jwt { audience, header, lifetime } => {
                let form = if *header == http::header::AUTHORIZATION { jwt::Form::Bearer } else { jwt::Form::Bare };
                let settings = jwt::Settings { header: header.clone(), form, life: *lifetime, ..jwt::Settings::new(audience) };
                Arc::new(JwtInjector::new(name, settings, house.keys.clone())?)
            }
        };
        made.insert(name.clone(), injector);
    }
    Ok(made)
}

fn join(problems: &[PolicyProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
