//! Listeners, the program, tenants and their chains.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use vestibule_engine::cors::Cors;
use vestibule_engine::identity::{RealmName, SchemeName, TenantId};
use vestibule_engine::request::Host;

use super::Resolve;
use crate::config::checked::{
    Brand, Certificate, ClientLimits, Conceded, Emergency, FrontDoor, Listener, LoginHost, Logo, Scheme, Server, Tenant,
};
use crate::config::file;
use crate::config::pem::{self, Opening};
use crate::config::problem::{Problem, suggest};
use crate::config::secrets::reason;
use crate::config::values::{At, OneOrMore};
use crate::serve::client_certificates::Demand;
use crate::serve::ext_authz::Dialect;
use crate::serve::pages::words::Language;
use crate::serve::proxy::Speaks;
use crate::serve::proxy_protocol::ProxyProtocol;

/// Longest logo, in octets: it is sent with a page.
const MAX_LOGO: u64 = 256 * 1024;
/// Longest head of a request that may be configured, in octets.
const MAX_HEADER_SIZE: u64 = 1 << 20;

impl Server {
    pub(super) fn with_control_socket(self, control_socket: PathBuf) -> Self {
        Self { control_socket, ..self }
    }
}

impl Resolve<'_> {
    pub(super) fn listeners(&mut self) -> Vec<Listener> {
        let file = self.file;
        if file.listen.is_empty() {
            let problem = Problem::of_file(&self.source.path, "nothing listens");
            self.note(problem.help("add [[listen]] with address = \"127.0.0.1:8080\""));
        }
        let mut taken: BTreeSet<SocketAddr> = BTreeSet::new();
        let mut listeners = Vec::new();
        for At { value: written, .. } in &file.listen {
            let address = written.address.value;
            if address.port() != 0 && !taken.insert(address) {
                self.error(&written.address, format!("two listeners have the address {address}"));
            }
            if address == file.server.health.value && address.port() != 0 {
                self.error(&written.address, format!("health checks are served on {address} already"));
            }
            let speaks = self.speaks(&written.speaks);
            let certificates = match &written.tls {
                Some(tls) => self.certificates(&tls.certificates),
                None => Vec::new(),
            };
            match &written.tls {
                Some(tls) if tls.certificates.is_empty() => {
                    self.error(&written.address, "this listener has TLS but no certificate").help =
                        Some("add tls.certificates = [{ certificate = \"cert.pem\", key = { file = \"key.pem\" } }]".to_owned());
                }
                None if !address.ip().is_loopback() && !self.is_conceded(&Conceded::PlainHttp(address)) => {
                    let help = format!(
                        "add tls.certificates = [{{ certificate = \"cert.pem\", key = {{ file = \"key.pem\" }} }}],\nlisten on 127.0.0.1, \
                         or add a [[concession]] with what = \"plain-http\" and partner = \"{address}\""
                    );
                    self.error(&written.address, format!("passwords would cross the network in the clear on {address}")).help = Some(help);
                }
                Some(_) | None => {}
            }
            let trusted_proxies =
                self.closed_networks(&written.trusted_proxies, "everybody could claim any address if all of this were trusted");
            let limits = self.client_limits(&written.limits);
            let clients = written.tls.as_ref().and_then(|tls| self.clients(tls));
            let forwarded = self.forwarded(written);
            // A certificate that is demanded names the proxy as well as an address does.
            let certified = clients.as_ref().is_some_and(|clients| clients.demand() == Demand::Required);
            if let (Speaks::Questions(_), true, false) = (speaks, trusted_proxies.is_empty(), certified) {
                self.error(&written.speaks, "whoever reaches this listener could describe a request of his own to it").help =
                    Some("name the proxy that asks: trusted_proxies = [\"127.0.0.1\"],\nor demand its certificate: tls.client_certificates = \"required\"".to_owned());
            }
            let proxy_protocol = match (written.proxy_protocol.value, speaks) {
                (false, _) => ProxyProtocol::Absent,
                (true, Speaks::Questions(_)) => {
                    self.error(&written.proxy_protocol, "a proxy that asks says in its question who the client is").help =
                        Some("remove proxy_protocol".to_owned());
                    ProxyProtocol::Absent
                }
                (true, Speaks::Proxy) => {
                    if trusted_proxies.is_empty() {
                        self.error(&written.proxy_protocol, "everybody could claim any address in such a header").help =
                            Some("name the proxy in front: trusted_proxies = [\"10.1.0.5\"]".to_owned());
                    }
                    ProxyProtocol::Required
                }
            };
            listeners.push(Listener { address, speaks, certificates, clients, forwarded, trusted_proxies, proxy_protocol, limits });
        }
        listeners
    }

    fn speaks(&mut self, at: &At<String>) -> Speaks {
        if at.value == "proxy" {
            return Speaks::Proxy;
        }
        let Some(dialect) = Dialect::ALL.into_iter().find(|dialect| dialect.name() == at.value) else {
            let known = Dialect::ALL.map(Dialect::name).into_iter().chain(["proxy"]);
            self.error(at, format!("no listener speaks `{}`", at.value)).help = suggest(&at.value, known);
            return Speaks::Proxy;
        };
        Speaks::Questions(dialect)
    }

    /// The certificates of a listener. A handshake that names a host is shown one certificate, and which one must
    /// not be decided by the order of the file.
    fn certificates(&mut self, written: &[At<file::Certificate>]) -> Vec<Certificate> {
        let mut taken = BTreeSet::new();
        let mut certificates = Vec::new();
        for At { value: written, .. } in written {
            let Some(certificate) = self.certificate(written) else { continue };
            if certificate.names.is_empty() {
                self.error(&written.certificate, "this certificate is made for no host, so nobody would be shown it");
            }
            if let Some(name) = certificate.names.iter().find(|name| taken.contains(*name)) {
                self.error(&written.certificate, format!("an earlier certificate of this listener is made for `{name}` already"));
            }
            taken.extend(certificate.names.iter().cloned());
            certificates.push(certificate);
        }
        certificates
    }

    fn certificate(&mut self, written: &file::Certificate) -> Option<Certificate> {
        let path = self.named_file(&written.certificate);
        let key = written.key.as_ref().map(|at| (at, self.secret(at)));
        let password = match &written.password {
            Some(at) => Some(self.secret(at)?),
            None => None,
        };
        let alias = written.alias.as_ref().map(|at| at.value.as_str());
        let opening = Opening { password: password.as_ref(), alias };
        let (chain, stored) = match &key {
            Some(_) => (self.or_error(&written.certificate, pem::certificates(&path))?, None),
            None => {
                let certified = self.or_error(&written.certificate, pem::stored(&path, opening))?;
                (certified.cert.clone(), Some(certified))
            }
        };
        let own = chain.first()?;
        self.dated(&written.certificate, std::slice::from_ref(own));
        let about = self.or_error(&written.certificate, pem::about(own))?;
        if about.from > self.now {
            self.warn(&written.certificate, format!("this certificate is valid from {} on only", about.from));
        }
        let certified = match (key, stored) {
            (Some((at, key)), _) => self.or_error(at, pem::certified(chain, &key?, password.as_ref()))?,
            (None, stored) => stored?,
        };
        Some(Certificate { names: about.names, certified })
    }

    fn client_limits(&mut self, written: &file::Limits) -> ClientLimits {
        let size = written.header_size.value.0;
        if !(1024..=MAX_HEADER_SIZE).contains(&size) {
            self.error(&written.header_size, "headers may have between 1KiB and 1MiB");
        }
        ClientLimits {
            connections: usize::try_from(written.connections.max(1)).unwrap_or(usize::MAX),
            streams: written.streams.max(1),
            header_size: usize::try_from(size).unwrap_or(usize::MAX),
            header_count: usize::from(written.header_count.max(8)),
            header_timeout: self.positive(&written.header_timeout),
            idle_timeout: self.positive(&written.idle_timeout),
        }
    }

    pub(super) fn server(&mut self) -> Server {
        let written = &self.file.server;
        let tenant_header = written.tenant_header.as_ref().and_then(|at| {
            let name = self.settable_header(at)?;
            if name.as_str().starts_with("x-vestibule-") {
                self.error(at, format!("the header `{}` is the gateway's to set, so that no client may say it", at.value));
                return None;
            }
            Some(name)
        });
        let fallback_tenant = written.fallback_tenant.as_ref().and_then(|at| {
            if self.file.tenant.find(&at.value).is_none() {
                self.unknown(at, "tenant", self.file.tenant.names());
                return None;
            }
            Some(TenantId::from(at.value.as_str()))
        });
        if written.drain.value.0 > Duration::from_secs(3600) {
            self.error(&written.drain, "a server that is told to stop should do so within an hour");
        }
        Server {
            workers: (written.workers > 0).then(|| usize::from(written.workers)),
            health: written.health.value,
            control_socket: PathBuf::new(),
            drain: written.drain.value.0,
            body_memory: usize::try_from(written.body_memory.value.0).unwrap_or(usize::MAX),
            tenant_header,
            fallback_tenant,
        }
    }

    pub(super) fn tenants(&mut self, listeners: &[Listener]) -> Vec<Tenant> {
        let file = self.file;
        if file.tenant.0.is_empty() {
            let problem = Problem::of_file(&self.source.path, "there is no tenant");
            self.note(problem.help("add [tenant.NAME] with hosts and a chain"));
        }
        let mut hosts: BTreeMap<String, (bool, &str)> = BTreeMap::new();
        let mut domains: BTreeMap<String, &str> = BTreeMap::new();
        let mut tenants = Vec::new();
        for (name, At { value: written, .. }) in &file.tenant.0 {
            let id = TenantId::from(name.value.as_str());
            let mut own = Vec::new();
            for at in &written.hosts {
                own.extend(self.host(at, false, &name.value, &mut hosts));
            }
            let portal = written.portal.as_ref().and_then(|at| self.host(at, true, &name.value, &mut hosts));
            let domain = written.domain.as_ref().and_then(|at| self.domain(at, &name.value, &mut domains));
            let named_otherwise = file.server.tenant_header.is_some()
                || domain.is_some()
                || file.server.fallback_tenant.as_ref().is_some_and(|at| at.value == name.value);
            if written.hosts.is_empty() && !named_otherwise {
                self.error(name, format!("no request leads to the tenant `{}`", name.value)).help =
                    Some("give it hosts, or make it [server] fallback_tenant".to_owned());
            }
            let chain = self.chain(name, written);
            let forms = |name: &SchemeName| matches!(self.schemes.get(name), Some(Scheme::LoginForm { .. }));
            if let Some(at) = written.api_login.first().filter(|_| !chain.iter().any(forms)) {
                self.error(at, "nobody would check the passwords of programs").help =
                    Some("add a scheme of type login-form to the chain".to_owned());
            }
            if written.login.value == LoginHost::Application {
                self.login_on_application_host(&written.login, &id, written);
            }
            for (at, host) in written.hosts.iter().chain(&written.portal).filter_map(|at| Some((at, Host::parse(&at.value).ok()?))) {
                self.certificate_for(at, &host, listeners);
                self.cookies_on(at, &host, &chain, listeners);
            }
            let login_host = match written.login.value {
                LoginHost::Portal => portal.as_ref(),
                LoginHost::Application => own.first(),
            };
            let origins: BTreeSet<String> = own.iter().flat_map(|host| listeners.iter().map(|listener| origin(host, listener))).collect();
            let title = written.title.clone().unwrap_or_else(|| name.value.clone());
            let portal_origin = login_host.zip(listeners.first()).map(|(host, listener)| origin(host, listener));
            let idp = written.idp.as_ref().and_then(|at| self.idp(at, portal.as_ref().and(portal_origin.as_deref())));
            let integration = self.integration(name, written, &chain);
            self.emergency(&written.emergency, &chain);
            let login_from = self.login_from(&written.login_from, &chain);
            tenants.push(Tenant {
                emergency: written.emergency.value,
                login_from,
                portal_origin,
                idp,
                integration,
                origins: origins.into_iter().collect(),
                brand: self.brand(&written.brand, &title, &written.languages),
                host_brands: self.host_brands(written, &title),
                cors: self.cors(written.cors.as_ref(), listeners),
                id,
                title,
                hosts: own,
                portal,
                chain,
                domain,
                anonymous_denied: written.anonymous_denied,
                login: written.login.value,
                api_login: written.api_login.iter().map(|at| at.value).collect(),
            });
        }
        tenants
    }

    fn cors(&mut self, written: Option<&file::Cors>, listeners: &[Listener]) -> Cors {
        let Some(written) = written else { return Cors::default() };
        if listeners.iter().all(|listener| listener.speaks != Speaks::Proxy)
            && let Some(first) = written.origins.value.first()
        {
            self.warn(first, "the proxy that asks answers what browsers ask beforehand; nothing here reaches them").help =
                Some("write these origins into its configuration".to_owned());
        }
        let methods = written.methods.value.iter().filter_map(|at| {
            let method = http::Method::from_bytes(at.value.as_bytes()).map_err(|_| format!("`{}` is not a method", at.value));
            self.or_error(at, method)
        });
        let methods = methods.collect();
        let mut names = |texts: &[At<String>]| -> Vec<http::HeaderName> {
            let name = |at: &At<String>| {
                let name = at.value.parse().map_err(|_| format!("`{}` is not the name of a header", at.value));
                self.or_error(at, name)
            };
            texts.iter().filter_map(name).collect()
        };
        let (headers, exposed) = (names(&written.headers.value), names(&written.exposed.value));
        let origins: Vec<&str> = written.origins.value.iter().map(|at| at.value.as_str()).collect();
        match Cors::new(&origins, methods, &headers, &exposed, written.max_age.value.0) {
            Ok(cors) => cors,
            Err((place, why)) => {
                if let Some(at) = written.origins.value.get(place) {
                    self.error(at, why);
                }
                Cors::default()
            }
        }
    }

    /// A host belongs to one tenant and is either its portal or an application's.
    fn host<'f>(&mut self, at: &At<String>, portal: bool, tenant: &'f str, taken: &mut BTreeMap<String, (bool, &'f str)>) -> Option<Host> {
        let Ok(host) = Host::parse(&at.value) else {
            self.error(at, format!("`{}` is not a host", at.value)).help =
                Some("write it as a browser shows it, without https:// and without wildcards".to_owned());
            return None;
        };
        match taken.get(host.name()) {
            Some((other_portal, other)) if other_portal != &portal && *other == tenant => {
                self.error(at, format!("`{}` is an application's host and the portal at once", host.name())).help =
                    Some("give the portal a host of its own: a page of the application could read a login page beside it".to_owned());
                None
            }
            Some((_, other)) => {
                self.error(at, format!("the host `{}` belongs to the tenant `{other}` already", host.name()));
                None
            }
            None => {
                taken.insert(host.name().to_owned(), (portal, tenant));
                Some(host)
            }
        }
    }

    /// A host that no certificate is made for would greet people with a warning page.
    fn certificate_for(&mut self, at: &At<String>, host: &Host, listeners: &[Listener]) {
        // Other proxies call their policy server by its own name.
        let with_tls = || listeners.iter().filter(|listener| listener.speaks == Speaks::Proxy && !listener.certificates.is_empty());
        let covered = |listener: &Listener| listener.certificates.iter().any(|certificate| pem::covers(&certificate.names, host.name()));
        if with_tls().next().is_some() && !with_tls().any(covered) {
            self.warn(at, format!("no certificate is made for `{}`", host.name()));
        }
    }

    /// Session cookies are `Secure`, save on `localhost`; from plain HTTP a browser does not keep them.
    fn cookies_on(&mut self, at: &At<String>, host: &Host, chain: &[SchemeName], listeners: &[Listener]) {
        let sessions = chain.iter().any(|name| self.schemes.get(name) == Some(&Scheme::Session));
        if sessions && !host.is_localhost() && listeners.iter().all(|listener| origin(host, listener).starts_with("http:")) {
            self.warn(at, format!("browsers keep no session on `{}` without TLS", host.name())).help =
                Some("add certificates to a listener, or name the proxy that ends TLS in its trusted_proxies".to_owned());
        }
    }

    fn domain<'f>(&mut self, at: &At<String>, tenant: &'f str, taken: &mut BTreeMap<String, &'f str>) -> Option<String> {
        let domain = at.value.to_lowercase();
        if domain.is_empty() || domain.contains(['.', '@']) || domain.chars().any(char::is_whitespace) {
            self.error(at, format!("`{}` cannot be a domain", at.value)).help =
                Some("a domain has no period, so that no mail address ends in it".to_owned());
            return None;
        }
        if let Some(other) = taken.insert(domain.clone(), tenant) {
            self.error(at, format!("the domain `{domain}` belongs to the tenant `{other}` already"));
        }
        Some(domain)
    }

    fn chain(&mut self, tenant: &At<String>, written: &file::Tenant) -> Vec<SchemeName> {
        let file = self.file;
        let known = || file.scheme.names().chain(["session"]);
        let mut chain = Vec::new();
        let [mut form, mut saml, mut oidc] = [None::<&At<String>>; 3];
        let mut integration: Option<&At<String>> = None;
        let (mut session, mut remembers) = (false, None);
        for (place, at) in written.chain.value.iter().enumerate() {
            let name = SchemeName::from(at.value.as_str());
            if chain.contains(&name) {
                self.error(at, format!("`{name}` stands in the chain twice"));
                continue;
            }
            let Some(scheme) = self.scheme(at) else {
                // What is there and wrong has been said already.
                if file.scheme.find(&at.value).is_none() {
                    self.unknown(at, "scheme", known());
                }
                continue;
            };
            match &scheme {
                Scheme::Session => {
                    if place > 0 {
                        self.error(at, "a session is asked first").help = Some(format!("move `{name}` to the beginning of the chain"));
                    }
                    session = true;
                }
                Scheme::Basic { remember, .. } => remembers = remembers.or(remember.then_some(at)),
                Scheme::WsSecurity(_) | Scheme::SessionTicket(_) => {}
                Scheme::Integration { .. } => {
                    if let Some(first) = integration {
                        self.error(at, format!("the chain has a scheme of this type already: `{}`", first.value)).help =
                            Some("one scheme may ask several realms: realm = [\"a\", \"b\"]".to_owned());
                    }
                    integration = Some(at);
                }
                Scheme::ClientCertificate(certificate) => remembers = remembers.or(certificate.remember.then_some(at)),
                Scheme::IdentityUrl(foreign) => remembers = remembers.or(foreign.remember.then_some(at)),
                Scheme::LoginForm { .. } => {
                    if let Some(first) = form {
                        self.error(at, format!("the chain has a login form already: `{}`", first.value)).help =
                            Some("one form may ask several realms: realm = [\"a\", \"b\"]".to_owned());
                    }
                    form = Some(at);
                }
                Scheme::Saml(_) => {
                    if let Some(first) = saml {
                        self.error(at, format!("the chain has a scheme of this type already: `{}`", first.value)).help =
                            Some("one scheme may name several: identity_provider = [\"a\", \"b\"]".to_owned());
                    }
                    saml = Some(at);
                }
                Scheme::Oidc(_) => {
                    if let Some(first) = oidc {
                        self.error(at, format!("the chain has a scheme of this type already: `{}`", first.value)).help =
                            Some("one scheme may name several: openid_provider = [\"a\", \"b\"]".to_owned());
                    }
                    oidc = Some(at);
                }
                Scheme::Introspection(_) => {}
            }
            self.schemes.insert(name.clone(), scheme);
            chain.push(name);
        }
        if let (Some(saml), Some(oidc)) = (saml, oidc) {
            self.name_different_users(saml, oidc);
        }
        if let Some(at) = form.or(saml).or(oidc).or(remembers).filter(|_| !session) {
            self.error(at, format!("`{}` opens sessions, but the chain does not ask for them", at.value)).help =
                Some("begin the chain with \"session\"".to_owned());
        }
        if let Some(at) = form.filter(|_| written.portal.is_none() && written.login.value == LoginHost::Portal) {
            self.error(at, format!("the tenant `{}` has a login form but no portal to show it on", tenant.value)).help = Some(format!(
                "add a host for it, as in portal = \"login.{}\"",
                written.hosts.first().map_or("example.com", |host| &host.value)
            ));
        }
        if let Some(at) = saml.or(oidc).filter(|_| written.portal.is_none()) {
            self.error(at, format!("the tenant `{}` has no portal for answers to come to", tenant.value)).help = Some(format!(
                "add a host for it, as in portal = \"login.{}\"",
                written.hosts.first().map_or("example.com", |host| &host.value)
            ));
        }
        chain
    }

    fn scheme(&mut self, at: &At<String>) -> Option<Scheme> {
        let name = SchemeName::from(at.value.as_str());
        if let Some(scheme) = self.schemes.get(&name) {
            return Some(scheme.clone());
        }
        let file = self.file;
        match file.scheme.find(&at.value) {
            Some(At { value: file::Scheme::Session(_), .. }) => Some(Scheme::Session),
            Some(At { value: file::Scheme::Basic(basic), .. }) => Some(Scheme::Basic {
                realms: self.scheme_realms(&basic.realm),
                on_reject: match basic.on_reject {
                    file::OnReject::Continue => vestibule_engine::chain::OnReject::Continue,
                    file::OnReject::Stop => vestibule_engine::chain::OnReject::Stop,
                },
                remember: basic.remember,
            }),
            Some(At { value: file::Scheme::LoginForm(form), .. }) => Some(Scheme::LoginForm { realms: self.scheme_realms(&form.realm) }),
            Some(At { value: file::Scheme::ClientCertificate(written), .. }) => {
                Some(Scheme::ClientCertificate(self.client_certificate_scheme(at, written)))
            }
            Some(At { value: file::Scheme::WsSecurity(written), .. }) => {
                Some(Scheme::WsSecurity(Box::new(self.ws_security_scheme(at, written))))
            }
            Some(At { value: file::Scheme::SessionTicket(written), .. }) => {
                Some(Scheme::SessionTicket(self.session_ticket_scheme(written)))
            }
            Some(At { value: file::Scheme::IdentityUrl(written), .. }) => {
                Some(Scheme::IdentityUrl(self.identity_url_scheme(&name, written)))
            }
            Some(At { value: file::Scheme::Integration(written), .. }) => {
                Some(Scheme::Integration { realms: self.scheme_realms(&written.realm) })
            }
            Some(At { value: file::Scheme::Saml(written), .. }) => Some(Scheme::Saml(Box::new(self.saml_scheme(written)))),
            Some(At { value: file::Scheme::Oidc(written), .. }) => Some(Scheme::Oidc(self.oidc_scheme(written))),
            Some(At { value: file::Scheme::Introspection(written), .. }) => {
                self.introspection_scheme(written).map(|scheme| Scheme::Introspection(Box::new(scheme)))
            }
            None if at.value == "session" => Some(Scheme::Session),
            None => None,
        }
    }

    pub(super) fn scheme_realms(&mut self, written: &At<OneOrMore>) -> Vec<RealmName> {
        if written.value.0.is_empty() {
            self.error(written, "nobody would check the password").help = Some("name a realm, as in realm = \"local\"".to_owned());
        }
        let mut realms = Vec::new();
        for at in &written.value.0 {
            let name = RealmName::from(at.value.as_str());
            if self.file.realm.find(&at.value).is_none() && at.value != "local" {
                self.unknown(at, "realm", self.file.realm.names().chain(["local"]));
            } else if realms.contains(&name) {
                self.error(at, format!("the realm `{name}` is asked twice"));
            } else {
                self.used_realms.insert(name.clone());
                realms.push(name);
            }
        }
        realms
    }

    fn login_on_application_host(&mut self, at: &At<LoginHost>, id: &TenantId, written: &file::Tenant) {
        if !self.is_conceded(&Conceded::LoginOnApplicationHost(id.clone())) {
            self.error(at, "a page of the application could read what people type into a login page beside it").help = Some(format!(
                "give the tenant a portal, or add a [[concession]] with what = \"login-on-application-host\" and partner = \"{id}\""
            ));
        }
        if written.hosts.is_empty() {
            self.error(at, "there is no application's host to put the login page on");
        }
    }

    /// The emergency door beside another way in, or it would be the only one.
    fn emergency(&mut self, at: &At<Emergency>, chain: &[SchemeName]) {
        if at.value == Emergency::Form {
            return;
        }
        let form = chain.iter().position(|name| matches!(self.schemes.get(name), Some(Scheme::LoginForm { .. })));
        let other = chain.iter().position(|name| self.schemes.get(name).is_some_and(leads_away));
        match (form, other) {
            (None, _) => {
                self.error(at, "there is no form for emergency accounts").help =
                    Some("add a scheme of type login-form, behind the identity provider's, to the chain".to_owned());
            }
            (Some(form), Some(other)) if other < form => {}
            (Some(_), _) => {
                self.error(at, "only emergency accounts could sign in").help =
                    Some("put the scheme of an identity provider before the form in the chain, or remove this".to_owned());
            }
        }
        if self.file.administrators.from.is_empty() {
            self.error(at, "emergency accounts could come from nowhere").help = Some("say in [administrators] from where".to_owned());
        }
    }

    fn login_from(&mut self, written: &[At<String>], chain: &[SchemeName]) -> Vec<String> {
        let forms = |name: &SchemeName| matches!(self.schemes.get(name), Some(Scheme::LoginForm { .. }));
        if let Some(at) = written.first().filter(|_| !chain.iter().any(forms)) {
            self.error(at, "there is no form to post to").help = Some("add a scheme of type login-form to the chain".to_owned());
        }
        for at in written {
            let parsed = url::Url::parse(&at.value).ok();
            let local = |url: &url::Url| {
                url.scheme() == "http" && url.host_str().is_some_and(|host| host == "localhost" || host.ends_with(".localhost"))
            };
            let whole = parsed
                .filter(|url| url.scheme() == "https" || local(url))
                .is_some_and(|url| url.origin().ascii_serialization() == at.value);
            if !whole {
                self.error(at, format!("`{}` is not an origin with TLS", at.value)).help =
                    Some("write it as a browser does: \"https://intranet.example.com\"".to_owned());
            }
        }
        written.iter().map(|at| at.value.clone()).collect()
    }

    /// The host of no tenant.
    pub(super) fn front_door(&mut self, tenants: &[Tenant], listeners: &[Listener]) -> Option<FrontDoor> {
        let file = self.file;
        let written = &file.front_door;
        let at = written.host.as_ref()?;
        let Ok(host) = Host::parse(&at.value) else {
            self.error(at, format!("`{}` is not a host", at.value)).help =
                Some("write it as a browser shows it, without https://".to_owned());
            return None;
        };
        let owner = tenants.iter().find(|tenant| tenant.hosts.iter().chain(&tenant.portal).any(|own| own.name() == host.name()));
        if let Some(owner) = owner {
            self.error(at, format!("the host `{}` belongs to the tenant `{}`", host.name(), owner.id)).help =
                Some("people who come there need no other door".to_owned());
        }
        let forms = |tenant: &&Tenant| {
            tenant.portal.is_some() && tenant.chain.iter().any(|name| matches!(self.schemes.get(name), Some(Scheme::LoginForm { .. })))
        };
        if !tenants.iter().any(|tenant| forms(&tenant)) {
            self.error(at, "nobody could sign in there").help = Some("give a tenant a login form and a portal".to_owned());
        }
        self.certificate_for(at, &host, listeners);
        let origin = listeners.first().map(|listener| origin(&host, listener))?;
        let brand = self.brand(&written.brand, "Vestibule", &written.languages);
        Some(FrontDoor { host, origin, brand })
    }

    /// The brands of single hosts; what they leave out is the tenant's.
    fn host_brands(&mut self, written: &file::Tenant, title: &str) -> Vec<(Arc<str>, Brand)> {
        let own: Vec<Host> = written.hosts.iter().chain(&written.portal).filter_map(|at| Host::parse(&at.value).ok()).collect();
        let mut brands: Vec<(Arc<str>, Brand)> = Vec::new();
        for (at, special) in &written.host_brand.0 {
            let host = Host::parse(&at.value).ok().filter(|host| host.port().is_none() && own.iter().any(|own| own.name() == host.name()));
            let Some(host) = host else {
                self.error(at, format!("`{}` is none of this tenant's hosts", at.value)).help =
                    suggest(&at.value, own.iter().map(Host::name)).or_else(|| Some("write it as in hosts, without a port".to_owned()));
                continue;
            };
            let (special, usual) = (special.clone(), written.brand.clone());
            let both = file::Brand {
                name: special.name.or(usual.name),
                logo: special.logo.or(usual.logo),
                accent: special.accent.or(usual.accent),
                heading: special.heading.or(usual.heading),
                aside: special.aside.or(usual.aside),
                support: special.support.or(usual.support),
            };
            brands.push((host.name().into(), self.brand(&both, title, &written.languages)));
        }
        brands
    }

    fn brand(&mut self, written: &file::Brand, title: &str, languages: &At<Vec<Language>>) -> Brand {
        if languages.value.is_empty() {
            self.error(languages, "its pages would say nothing").help = Some("write languages = [\"en\"]".to_owned());
        }
        let accent = written.accent.as_ref().and_then(|at| {
            let colour = parse_colour(&at.value);
            if colour.is_none() {
                self.error(at, format!("`{}` is not a colour", at.value)).help = Some("write it as \"#0b5fff\"".to_owned());
            }
            colour
        });
        let name = written.name.clone().unwrap_or_else(|| title.to_owned());
        Brand {
            name,
            logo: written.logo.as_ref().and_then(|at| self.logo(at)),
            accent,
            heading: written.heading.clone(),
            aside: written.aside.clone(),
            support: written.support.clone(),
            languages: languages.value.clone(),
        }
    }

    fn logo(&mut self, at: &At<PathBuf>) -> Option<Logo> {
        let path = self.named_file(at);
        let media_type = match path.extension().and_then(|extension| extension.to_str()) {
            Some("svg") => "image/svg+xml",
            Some("png") => "image/png",
            Some(_) | None => {
                self.error(at, "a logo is an SVG or PNG file, named .svg or .png");
                return None;
            }
        };
        let read = std::fs::metadata(&path).and_then(|about| match about.len() > MAX_LOGO {
            true => Err(std::io::Error::other(format!("it is longer than {MAX_LOGO} octets"))),
            false => std::fs::read(&path),
        });
        match read {
            Ok(octets) => Some(Logo { media_type, octets: Arc::from(octets) }),
            Err(why) => {
                self.error(at, format!("the logo `{}` cannot be read: {}", at.value.display(), reason(&why)));
                None
            }
        }
    }
}

/// The origin of `host` as a browser writes it when it reaches us through `listener`.
///
/// Behind a trusted proxy the client sees the proxy's port and, unless that proxy is on this machine without
/// TLS, its TLS; a port in the configured host says otherwise.
fn origin(host: &Host, listener: &Listener) -> String {
    let proxied = !listener.trusted_proxies.is_empty();
    let tls = !listener.certificates.is_empty() || (proxied && !host.is_localhost());
    let (scheme, usual) = if tls { ("https", 443) } else { ("http", 80) };
    let own = (!proxied).then(|| listener.address.port());
    match host.port().or(own).filter(|port| *port != usual && *port != 0) {
        Some(port) => format!("{scheme}://{}:{port}", host.name()),
        None => format!("{scheme}://{}", host.name()),
    }
}

/// Whether browsers are led to somebody else by this scheme.
fn leads_away(scheme: &Scheme) -> bool {
    match scheme {
        Scheme::Saml(_) | Scheme::Oidc(_) => true,
        Scheme::Session
        | Scheme::Introspection(_)
        | Scheme::Integration { .. }
        | Scheme::Basic { .. }
        | Scheme::LoginForm { .. }
        | Scheme::ClientCertificate(_)
        | Scheme::IdentityUrl(_)
        | Scheme::SessionTicket(_)
        | Scheme::WsSecurity(_) => false,
    }
}

fn parse_colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let number = u32::from_str_radix(digits, 16).ok()?;
    let [_, red, green, blue] = number.to_be_bytes();
    Some([red, green, blue])
}
