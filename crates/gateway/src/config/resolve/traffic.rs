//! Routes, where they lead, and what the application is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use vestibule_engine::identity::{Level, ResponseName, RouteName, TenantId};
use vestibule_engine::request::Host;
use vestibule_engine::route::{Access, BodyNeed, Csrf, Pattern, Scope};

use super::Resolve;
use crate::config::checked::{Fact, Injector, Listener, Origin, Response, Route, Scheme, Tenant, Upstream};
use crate::config::file::{self, Http2, UpstreamHost};
use crate::config::pem;
use crate::config::problem::suggest;
use crate::config::routes::{Taken, overlaps};
use crate::config::secrets::SecretRef;
use crate::config::values::{At, Period};
use crate::schemes::integration::is_at_or_below;
use crate::serve::ext_authz::Dialect;
use crate::serve::proxy::Speaks;

/// The first segment of our own endpoints on every host.
const OWN: &str = ".vestibule";
/// Longest time an injected token may be valid: it cannot be called back.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// The metadata service of a cloud that has it outside of link-local addresses.
const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
/// What is known of a caller, by the words of the configuration.
const FACTS: [(&str, Fact); 11] = [
    ("user", Fact::User),
    ("user-id", Fact::UserId),
    ("display-name", Fact::DisplayName),
    ("email", Fact::Email),
    ("groups", Fact::Groups),
    ("profile", Fact::Profile),
    ("tenant", Fact::Tenant),
    ("scheme", Fact::Scheme),
    ("method", Fact::Method),
    ("level", Fact::Level),
    ("request-id", Fact::RequestId),
];

/// Where a host leads, as far as its name says (attack 112). What a name resolves to later is not asked here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// This machine, whichever of its addresses.
    Loopback,
    /// An address of the local segment, such as the metadata service of a cloud.
    LinkLocal,
    /// Another address.
    Address(IpAddr),
    /// A name.
    Name,
}

impl Target {
    fn of(host: &str) -> Self {
        let name = host.trim_end_matches('.');
        // RFC 6761 §6.3.
        if name == "localhost" || name.ends_with(".localhost") {
            return Self::Loopback;
        }
        let Ok(ip) = host.trim_matches(['[', ']']).parse::<IpAddr>() else { return Self::Name };
        match ip.to_canonical() {
            // The unspecified address as a destination is this machine, too.
            ip if ip.is_unspecified() => Self::Loopback,
            IpAddr::V4(ip) if ip.is_link_local() => Self::LinkLocal,
            IpAddr::V6(ip) if ip.is_unicast_link_local() || ip == METADATA => Self::LinkLocal,
            ip => Self::Address(ip),
        }
    }

    /// Whether a connection there ends at what listens on `own`.
    fn reaches(self, own: IpAddr) -> bool {
        match self {
            Self::Loopback => own.is_loopback() || own.is_unspecified(),
            Self::Address(ip) => ip == own.to_canonical() || (ip.is_loopback() && own.is_unspecified()),
            Self::LinkLocal | Self::Name => false,
        }
    }
}

impl Resolve<'_> {
    pub(super) fn declared_upstreams(&mut self, listeners: &[Listener]) {
        let file = self.file;
        for (name, At { value: written, .. }) in &file.upstream.0 {
            if written.url.value.0.is_empty() {
                self.error(&written.url, format!("the upstream `{}` has no url", name.value));
            }
            let urls: Vec<Origin> = written.url.value.0.iter().filter_map(|at| self.origin(at, listeners)).collect();
            let ca = written.ca.as_ref().and_then(|at| self.certificates_of(at));
            let client_certificate = match (&written.client_certificate, &written.client_key) {
                (Some(certificate), Some(key)) => self.client_certificate(certificate, key),
                (Some(certificate), None) => {
                    self.error(certificate, "a client certificate needs its key").help =
                        Some("add client_key = { file = \"…\" }".to_owned());
                    None
                }
                (None, Some(key)) => {
                    self.error(key, "this key belongs to no certificate").help = Some("add client_certificate = \"…\"".to_owned());
                    None
                }
                (None, None) => None,
            };
            if let Some(at) = written.ca.as_ref().or(written.client_certificate.as_ref()).filter(|_| urls.iter().all(|url| !url.tls)) {
                self.error(at, "certificates mean nothing without TLS").help = Some("write the url with https://".to_owned());
            }
            let upstream = Upstream {
                urls,
                ca: ca.unwrap_or_default(),
                client_certificate,
                host: written.host,
                http2: written.http2,
                connect_timeout: self.positive(&written.connect_timeout),
                response_timeout: self.positive(&written.response_timeout),
                idle_timeout: self.positive(&written.idle_timeout),
            };
            self.upstreams.insert(name.value.as_str().into(), upstream);
        }
    }

    pub(super) fn client_certificate(
        &mut self,
        certificate: &At<std::path::PathBuf>,
        key: &At<SecretRef>,
    ) -> Option<Arc<rustls::sign::CertifiedKey>> {
        let secret = self.secret(key);
        let chain = self.certificates_of(certificate)?;
        self.or_error(key, pem::certified(chain, &secret?, None))
    }

    /// An upstream's URL. It has no path: what was judged is what is forwarded.
    fn origin(&mut self, at: &At<String>, listeners: &[Listener]) -> Option<Origin> {
        let help = "write scheme, host and port, as in \"http://127.0.0.1:8080\"";
        let refused = |resolve: &mut Self, why: String, help: &str| {
            resolve.error(at, why).help = Some(help.to_owned());
            None
        };
        let Ok(url) = url::Url::parse(&at.value) else {
            return refused(self, format!("`{}` is not a URL", at.value), help);
        };
        let tls = match url.scheme() {
            "http" => false,
            "https" => true,
            other => return refused(self, format!("requests cannot be forwarded by `{other}`"), help),
        };
        if !url.username().is_empty() || url.password().is_some() {
            let problem = self.source.problem_with_secret(&at.span, "credentials do not stand in a URL");
            self.note(problem);
            return None;
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return refused(self, "a route forwards the path that was judged, so an upstream has none".to_owned(), help);
        }
        let (Some(host), Some(port)) = (url.host_str().filter(|host| !host.is_empty()), url.port_or_known_default()) else {
            return refused(self, format!("`{}` has no host", at.value), help);
        };
        let target = Target::of(host);
        if target == Target::LinkLocal {
            let why = format!("`{host}` is an address of this machine's own network segment, where clouds keep their secrets");
            return refused(self, why, "name the application's own address");
        }
        let health = self.file.server.health.value;
        let own = listeners.iter().map(|listener| (listener.address, "listener")).chain([(health, "health checks")]);
        if let Some((address, what)) = own.into_iter().find(|(address, _)| address.port() == port && target.reaches(address.ip())) {
            let why = format!("requests would come back to the {what} on {address}");
            return refused(self, why, "name the application's own address");
        }
        Some(Origin { tls, host: host.to_owned(), port })
    }

    pub(super) fn injectors(&mut self) -> BTreeMap<Arc<str>, Injector> {
        let file = self.file;
        let mut injectors = BTreeMap::new();
        for (name, At { value: written, .. }) in &file.inject.0 {
            let injector = match written {
                file::Inject::Headers(headers) => Injector::Headers { map: self.header_map(&headers.map.0) },
                file::Inject::Jwt(jwt) => self.jwt(jwt),
            };
            injectors.insert(Arc::from(name.value.as_str()), injector);
        }
        if !injectors.contains_key("headers") {
            let map = self.header_map(&file::HeadersInjector::default().map.0);
            injectors.insert("headers".into(), Injector::Headers { map });
        }
        injectors
    }

    fn header_map(&mut self, written: &[(At<String>, At<String>)]) -> Vec<(HeaderName, Fact)> {
        let mut map: Vec<(HeaderName, Fact)> = Vec::new();
        for (header, fact) in written {
            let (name, fact) = (self.settable_header(header), self.fact(fact));
            let Some((name, fact)) = name.zip(fact) else { continue };
            if map.iter().any(|(other, _)| *other == name) {
                self.error(header, format!("the header `{name}` is mapped twice"));
                continue;
            }
            map.push((name, fact));
        }
        map
    }

    fn jwt(&mut self, written: &file::JwtInjector) -> Injector {
        if written.audience.value.trim().is_empty() {
            self.error(&written.audience, "a token for everybody is a token for thieves").help =
                Some("name the application, as in audience = \"orders\"".to_owned());
        }
        let lifetime = written.lifetime.value.0;
        if !(Duration::from_secs(10)..=MAX_LIFETIME).contains(&lifetime) {
            self.error(&written.lifetime, format!("a token is valid for 10s to {}", Period(MAX_LIFETIME))).help =
                Some("it cannot be called back once it was sent".to_owned());
        }
        // The fallback is never used: a refused header is an error.
        let header = self.settable_header(&written.header).unwrap_or(http::header::AUTHORIZATION);
        Injector::Jwt { audience: written.audience.value.clone(), header, lifetime }
    }

    pub(super) fn fact(&mut self, at: &At<String>) -> Option<Fact> {
        if let Some(name) = at.value.strip_prefix("attribute:").filter(|name| !name.is_empty()) {
            return Some(Fact::Attribute(name.to_owned()));
        }
        if let Some((_, fact)) = FACTS.iter().find(|(word, _)| *word == at.value) {
            return Some(fact.clone());
        }
        let help = suggest(&at.value, FACTS.iter().map(|(word, _)| *word).chain(["attribute:NAME"]));
        self.error(at, format!("`{}` is nothing that is known of a caller", at.value)).help = help;
        None
    }

    pub(super) fn responses(&mut self, injectors: &BTreeMap<Arc<str>, Injector>) -> BTreeMap<ResponseName, Response> {
        let file = self.file;
        let mut responses = BTreeMap::new();
        for (name, At { value: written, .. }) in &file.response.0 {
            let written = match written {
                file::Response::Headers(written) => written,
                file::Response::SessionTicket(written) => {
                    let response = self.session_ticket_response(written).map(Response::SessionTicket);
                    responses.extend(response.map(|response| (ResponseName::from(name.value.as_str()), response)));
                    continue;
                }
                file::Response::WsSecurity(written) => {
                    let response = self.ws_security_response(name, written).map(|response| Response::WsSecurity(Box::new(response)));
                    responses.extend(response.map(|response| (ResponseName::from(name.value.as_str()), response)));
                    continue;
                }
            };
            let mut headers: Vec<(HeaderName, HeaderValue)> = Vec::new();
            for (header, value) in &written.set.value.0 {
                let Some(name) = self.settable_header(header) else { continue };
                let clash = injectors.iter().find(|(_, injector)| injector.headers().contains(&&name));
                if let Some((injector, _)) = clash {
                    self.error(header, format!("the injector `{injector}` sets `{name}` already"));
                }
                if headers.iter().any(|(other, _)| *other == name) {
                    self.error(header, format!("the header `{name}` is set twice"));
                }
                match HeaderValue::from_str(&value.value) {
                    Ok(value) => headers.push((name, value)),
                    Err(_) => {
                        self.error(value, "this cannot be the value of a header");
                    }
                }
            }
            if written.set.value.0.is_empty() {
                self.error(&written.set, "this response adds nothing");
            }
            responses.insert(ResponseName::from(name.value.as_str()), Response::Headers(headers));
        }
        responses
    }

    pub(super) fn routes(&mut self, tenants: &[Tenant], injectors: &BTreeMap<Arc<str>, Injector>, listeners: &[Listener]) -> Vec<Route> {
        let file = self.file;
        let hosts: HashMap<&str, &Tenant> =
            tenants.iter().flat_map(|tenant| tenant.hosts.iter().map(move |host| (host.name(), tenant))).collect();
        let mut names: BTreeSet<RouteName> = BTreeSet::new();
        let mut routes: Vec<(Route, &At<String>)> = Vec::new();
        for (index, At { value: written, .. }) in file.route.iter().enumerate() {
            let name = written.name.as_ref().map_or_else(|| format!("route-{}", index + 1), |at| at.value.clone());
            let name = RouteName::from(name.as_str());
            if !names.insert(name.clone()) {
                self.error(written.name.as_ref().unwrap_or(&written.pattern), format!("two routes are called `{name}`"));
            }
            let scope = self.scope(written, tenants, &hosts);
            let methods = self.methods(&written.methods);
            let pattern = self.pattern(&written.pattern, &methods);
            let access = self.access(written, scope.as_ref(), tenants, &hosts);
            let level = self.level(written, scope.as_ref(), tenants, &hosts);
            let policies = written.policies.iter().filter_map(|at| self.policy(at)).collect();
            let inject = self.route_injectors(&written.inject, injectors);
            let upstream = match &written.forward {
                Some(forward) => self.forward(forward, listeners).map(Some),
                None => Some(None),
            };
            let body = self.body(written.body.as_ref());
            let limits = self.route_limits(&written.limits);
            let (Some(scope), Some(pattern), Some(upstream)) = (scope, pattern, upstream) else { continue };
            let csrf = match written.csrf {
                file::Csrf::Origin => Csrf::Origin,
                file::Csrf::Token => Csrf::Token,
                file::Csrf::Off => Csrf::Off,
            };
            let route = Route {
                name,
                scope,
                pattern_text: written.pattern.value.clone(),
                pattern,
                methods,
                access,
                level,
                policies,
                inject,
                upstream,
                csrf,
                clients: written.clients.iter().map(|net| net.0).collect(),
                body,
                limits,
                security_header: written.security_header,
            };
            self.carried(&route, &written.pattern, listeners, tenants);
            routes.push((route, &written.pattern));
        }
        self.overlapping(&routes);
        if routes.is_empty() && file.route.is_empty() {
            let problem = crate::config::problem::Problem::of_file(&self.source.path, "there is no route");
            self.note(problem.help("add [[route]] with match = \"/**\" and forward = \"http://127.0.0.1:8080\""));
        }
        routes.into_iter().map(|(route, _)| route).collect()
    }

    /// Whether the doors can carry what the route needs (architecture §3).
    fn carried(&mut self, route: &Route, at: &At<String>, listeners: &[Listener], tenants: &[Tenant]) {
        let dialects: Vec<Dialect> = listeners
            .iter()
            .filter_map(|listener| match listener.speaks {
                Speaks::Questions(dialect) => Some(dialect),
                Speaks::Proxy => None,
            })
            .collect();
        if route.upstream.is_none() && dialects.is_empty() {
            self.error(at, "this route leads nowhere").help = Some("add forward = \"http://127.0.0.1:8080\"".to_owned());
            return;
        }
        let serves_old_clients = tenants.iter().filter(|tenant| tenant.is_in(&route.scope)).any(|tenant| {
            let path = tenant.integration.as_ref().map(|of| &of.settings.path);
            path.is_some_and(|path| is_at_or_below(&route.pattern_text, path))
        });
        let lacks = |dialect: &Dialect| {
            let carries = dialect.carries();
            let needs = [
                (route.body != BodyNeed::Never && !carries.body, "bring the body it reads"),
                (route.csrf == Csrf::Token && !carries.beside, "tell the client the token it must send"),
                (serves_old_clients && !carries.answer, "keep the service's own session from its old clients"),
            ];
            needs.into_iter().find_map(|(is_missing, what)| is_missing.then_some(what))
        };
        let served = route.upstream.is_some() || dialects.iter().any(|dialect| lacks(dialect).is_none());
        for (dialect, lack) in dialects.iter().filter_map(|dialect| Some((dialect, lacks(dialect)?))) {
            let what = format!("a listener that speaks `{}` cannot {lack}", dialect.name());
            if served {
                self.warn(at, format!("{what}: this route is refused there"));
            } else {
                self.error(at, format!("{what}, and no other listener serves this route"));
            }
        }
    }

    fn overlapping(&mut self, routes: &[(Route, &At<String>)]) {
        let taken: Vec<Taken<'_>> =
            routes.iter().map(|(route, _)| Taken { scope: &route.scope, pattern: &route.pattern_text, methods: &route.methods }).collect();
        for (later, earlier) in overlaps(&taken) {
            let (Some((later, at)), Some((earlier, _))) = (routes.get(later), routes.get(earlier)) else { continue };
            let same = later.pattern_text == earlier.pattern_text;
            let message = match same {
                true => format!("the route `{}` takes the same requests", earlier.name),
                false => {
                    format!("the route `{}` (`{}`) takes some of the same requests with equal right", earlier.name, earlier.pattern_text)
                }
            };
            let help = match same {
                true => "give them different hosts, paths or methods",
                false => "write one of them more precisely: literal segments win over `*`",
            };
            self.error(*at, message).help = Some(help.to_owned());
        }
    }

    fn scope(&mut self, written: &file::Route, tenants: &[Tenant], hosts: &HashMap<&str, &Tenant>) -> Option<Scope> {
        match (&written.host, &written.tenant) {
            (Some(host), Some(_)) => {
                self.error(host, "a route has a host or a tenant, not both").help =
                    Some("the host says the tenant: remove `tenant`".to_owned());
                None
            }
            (Some(at), None) => {
                let host = Host::parse(&at.value).ok();
                let name = host.as_ref().map_or(at.value.as_str(), Host::name);
                if let Some(host) = host.as_ref().filter(|host| hosts.contains_key(host.name())) {
                    return Some(Scope::Host(host.clone()));
                }
                if let Some(tenant) = tenants.iter().find(|tenant| tenant.portal.as_ref().is_some_and(|portal| portal.name() == name)) {
                    self.error(at, format!("`{name}` is the portal of `{}`, and no route forwards there", tenant.id));
                } else {
                    let help = suggest(name, hosts.keys().copied());
                    self.error(at, format!("no tenant has the host `{}`", at.value)).help = help;
                }
                None
            }
            (None, Some(at)) => {
                let id = TenantId::from(at.value.as_str());
                if tenants.iter().any(|tenant| tenant.id == id) {
                    return Some(Scope::Tenant(id));
                }
                self.unknown(at, "tenant", self.file.tenant.names());
                None
            }
            (None, None) => Some(Scope::Everywhere),
        }
    }

    fn methods(&mut self, written: &[At<String>]) -> Vec<Method> {
        let mut methods = Vec::new();
        for at in written {
            let upper = at.value.to_ascii_uppercase();
            match Method::from_str(&at.value) {
                Ok(Method::CONNECT) => {
                    self.error(at, "CONNECT makes tunnels, not requests, and is never forwarded");
                }
                Ok(method) if methods.contains(&method) => {
                    self.error(at, format!("`{method}` is listed twice"));
                }
                // RFC 9110 §9.1: methods are case-sensitive, and the standard ones are upper case.
                Ok(_) if at.value != upper => {
                    self.error(at, format!("methods are written in capitals: `{}` is none", at.value)).help =
                        Some(format!("did you mean `{upper}`?"));
                }
                Ok(method) => methods.push(method),
                Err(_) => {
                    self.error(at, format!("`{}` is not a method", at.value));
                }
            }
        }
        methods
    }

    fn pattern(&mut self, at: &At<String>, methods: &[Method]) -> Option<Pattern> {
        if at.value.split('/').nth(1) == Some(OWN) {
            self.error(at, format!("`/{OWN}` belongs to the gateway on every host"));
            return None;
        }
        match Pattern::parse(&at.value, methods.to_vec()) {
            Ok(pattern) => Some(pattern),
            Err(why) => {
                self.error(at, why).help = Some("as in \"/api/**\", \"/orders/*/lines\" or \"/status\"".to_owned());
                None
            }
        }
    }

    fn access(&mut self, written: &file::Route, scope: Option<&Scope>, tenants: &[Tenant], hosts: &HashMap<&str, &Tenant>) -> Access {
        match written.access.value {
            file::Access::Open => {
                if let Some(at) = written.policies.first() {
                    self.error(at, "an open route asks no policy, so this one would guard nothing").help =
                        Some("remove `policies`, or write access = \"protected\"".to_owned());
                }
                Access::Open
            }
            file::Access::Protected => {
                if written.policies.is_empty() {
                    self.error(&written.pattern, "no policy permits anybody on this protected route").help =
                        Some("add policies = [\"policies/app.cedar\"], or write access = \"open\" to let anonymous pass".to_owned());
                }
                let mut reached = tenants.iter().filter(|tenant| reaches(scope, tenant, hosts));
                if let Some(tenant) = reached.find(|tenant| tenant.chain.is_empty()) {
                    let written_chain = self.file.tenant.find(tenant.id.as_str()).map(|at| at.value.chain.value.is_empty());
                    // A chain whose entries were refused has been reported at its own place.
                    if written_chain == Some(true) {
                        self.error(
                            &written.pattern,
                            format!("this route is protected, but the chain of `{}` recognises nobody", tenant.id),
                        )
                        .help = Some("put a scheme into the chain, or write access = \"open\"".to_owned());
                    }
                }
                Access::Protected
            }
        }
    }

    /// The least strength of a proof, if everybody whose route it is can bring one.
    fn level(&mut self, written: &file::Route, scope: Option<&Scope>, tenants: &[Tenant], hosts: &HashMap<&str, &Tenant>) -> Level {
        let Some(at) = &written.level else { return Level::default() };
        let least = Level(at.value);
        if written.access.value == file::Access::Open {
            self.error(at, "an open route lets anonymous pass, so a least strength would keep nobody out").help =
                Some("remove `level`, or write access = \"protected\"".to_owned());
        }
        let strongest = |tenant: &Tenant| tenant.chain.iter().filter_map(|name| self.schemes.get(name)).map(Scheme::strongest).max();
        let weak = |tenant: &&Tenant| reaches(scope, tenant, hosts) && strongest(tenant).is_some_and(|strongest| strongest < least);
        if let Some(tenant) = tenants.iter().find(weak) {
            self.error(at, format!("nobody of `{}` could prove themselves so strongly", tenant.id)).help = Some(
                "a password is 10, a key 20; give an identity provider's contexts their worth in its `levels`, or narrow the route"
                    .to_owned(),
            );
        }
        least
    }

    fn route_injectors(&mut self, written: &[At<String>], injectors: &BTreeMap<Arc<str>, Injector>) -> Vec<Arc<str>> {
        let mut headers: HashMap<&HeaderName, &Arc<str>> = HashMap::new();
        let mut inject: Vec<Arc<str>> = Vec::new();
        for at in written {
            let Some((name, injector)) = injectors.get_key_value(at.value.as_str()) else {
                self.unknown(at, "injector", injectors.keys().map(|name| &**name));
                continue;
            };
            if inject.contains(name) {
                self.error(at, format!("`{name}` is named twice"));
                continue;
            }
            for header in injector.headers() {
                if let Some(other) = headers.insert(header, name) {
                    self.error(at, format!("`{other}` and `{name}` both set the header `{header}`"));
                }
            }
            inject.push(name.clone());
        }
        inject
    }

    /// A URL, or the name of an upstream.
    fn forward(&mut self, at: &At<String>, listeners: &[Listener]) -> Option<Arc<str>> {
        if !at.value.contains("://") {
            return match self.upstreams.get_key_value(at.value.as_str()) {
                Some((name, _)) => Some(name.clone()),
                None => {
                    self.unknown(at, "upstream", self.file.upstream.names());
                    None
                }
            };
        }
        let origin = self.origin(at, listeners)?;
        let name: Arc<str> = origin.to_string().into();
        let minute = Duration::from_secs(60);
        self.upstreams.entry(name.clone()).or_insert_with(|| Upstream {
            urls: vec![origin],
            ca: Vec::new(),
            client_certificate: None,
            host: UpstreamHost::default(),
            http2: Http2::default(),
            connect_timeout: Duration::from_secs(5),
            response_timeout: minute,
            idle_timeout: minute,
        });
        Some(name)
    }

    fn body(&mut self, written: Option<&file::BodyNeed>) -> BodyNeed {
        let Some(written) = written else { return BodyNeed::Never };
        let (limit, all) = (written.limit.value, self.file.server.body_memory.value);
        if limit.0 == 0 || limit > all {
            self.error(&written.limit, format!("a body is at least one octet and at most [server] body_memory ({all})"));
        }
        if written.types.value.is_empty() {
            self.error(&written.types, "every body would be refused").help =
                Some("name media types, as in [\"application/json\"]".to_owned());
        }
        for at in &written.types.value {
            let token = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&^_.+-".contains(&b));
            if !at.value.split_once('/').is_some_and(|(kind, subtype)| token(kind) && token(subtype)) {
                self.error(at, format!("`{}` is not a media type", at.value)).help =
                    Some("write it as \"application/json\", without parameters".to_owned());
            }
        }
        BodyNeed::Whole {
            limit: usize::try_from(limit.0).unwrap_or(usize::MAX),
            types: written.types.value.iter().map(|at| at.value.to_ascii_lowercase()).collect(),
        }
    }
}

/// Whether a route takes requests of a tenant.
fn reaches(scope: Option<&Scope>, tenant: &Tenant, hosts: &HashMap<&str, &Tenant>) -> bool {
    match scope {
        Some(Scope::Host(host)) => hosts.get(host.name()).is_some_and(|owner| owner.id == tenant.id),
        Some(Scope::Tenant(id)) => tenant.id == *id,
        Some(Scope::Everywhere) => true,
        None => false,
    }
}
