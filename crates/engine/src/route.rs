//! Which tenant a request belongs to and which route it takes.
//!
//! The longest match wins, read from the left: at each segment a literal comes before `*`, and `*` before the
//! rest of a `**`, so that whoever guards `/admin/**` guards all of it, whatever `/*/*` says. Where two patterns are equal,
//! a host's own routes come before its tenant's before everybody's, then a route for some methods before one
//! for all. The cost does not depend on how many routes there are.
//!
//! What an attacker looks for is a second way in: another method (`HEAD` takes the routes of `GET`), another
//! address (a route that is not for this client is not skipped for a wider one), another host or tenant.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method};

use crate::basic;
use crate::decision::Denial;
use crate::identity::{Level, RouteName, TenantId, Username};
use crate::inject::{Injector, Strip};
use crate::policy::Policy;
use crate::request::{CheckRequest, Host, Malformed, Target};
use crate::tenant::Tenant;

/// Where a request landed.
#[derive(Debug, Clone)]
pub struct Found {
    /// Whose request it is.
    pub tenant: Arc<Tenant>,
    /// Which way it takes.
    pub route: Arc<Route>,
}

/// One way through the gateway.
#[derive(Debug)]
pub struct Route {
    /// Its name.
    pub name: RouteName,
    /// Whether anonymous may pass.
    pub access: Access,
    /// The least strength of a proof that will do; nothing of who is anonymous on an open route.
    pub level: Level,
    /// What guards it.
    pub policy: Policy,
    /// What the application is told, in order.
    pub injectors: Vec<Arc<dyn Injector>>,
    /// What is removed from the client's request, by tenant chain and injectors.
    pub strip: HashMap<TenantId, Strip>,
    /// How foreign pages are kept from using a browser's session.
    pub csrf: Csrf,
    /// Whether the body is read before the chain.
    pub body: BodyNeed,
    /// Addresses that may use it at all; everybody if empty.
    pub clients: Vec<ipnet::IpNet>,
    /// Where it leads.
    pub destination: Destination,
}

/// Whether anonymous may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Access {
    /// Anonymous may pass; the chain still runs.
    Open,
    /// Only somebody we know may pass, if the policy permits.
    Protected,
}

/// How foreign pages are kept from using a browser's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Csrf {
    /// `Origin` and `Sec-Fetch-Site` must not be foreign.
    Origin,
    /// A token in a header.
    Token,
    /// The application does it itself.
    Off,
}

/// Whether the body is read whole before the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BodyNeed {
    /// It streams.
    Never,
    /// Up to `limit` octets of one of these media types.
    Whole {
        /// Octets; 413 beyond.
        limit: usize,
        /// Media types; 415 for others.
        types: Vec<String>,
    },
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// To the application of this name.
    Upstream(Arc<str>),
    /// To one of our own endpoints.
    Own,
    /// Wherever the proxy in front takes it; we only answer whether it may.
    Elsewhere,
}

/// Whose requests a route takes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Those to one host; its port does not matter.
    Host(Host),
    /// All hosts of one tenant.
    Tenant(TenantId),
    /// All.
    Everywhere,
}

/// A route pattern: `/a/b`, `/a/*/b`, `/a/**`, by method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    segments: Vec<Box<str>>,
    below: bool,
    methods: Vec<Method>,
}

impl Pattern {
    /// Reads a pattern. An empty list of methods means all.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str, methods: Vec<Method>) -> Result<Self, String> {
        let rest = text.strip_prefix('/').ok_or("a pattern begins with a slash")?;
        let (rest, below) = match rest.strip_suffix("**") {
            Some("") => ("", true),
            Some(rest) => (rest.strip_suffix('/').ok_or("`**` stands alone in the last segment, as in `/api/**`")?, true),
            None => (rest, false),
        };
        let segments: Vec<Box<str>> = if below && rest.is_empty() { Vec::new() } else { rest.split('/').map(Into::into).collect() };
        for (index, segment) in segments.iter().enumerate() {
            let trailing = index + 1 == segments.len() && !below;
            if &**segment != "*" && segment.contains('*') {
                return Err("`*` stands for a whole segment".to_owned());
            }
            if segment.is_empty() && !trailing {
                return Err("a pattern has no empty segments".to_owned());
            }
            // A request's path is canonical, so what is not would never match, and guard nothing.
            let own = format!("/{segment}");
            if &**segment != "*" && Target::parse(&own).map_or(true, |target| !target.is_canonical() || target.path() != own) {
                return Err(format!("`{segment}` is not in canonical form and would never match"));
            }
        }
        Ok(Self { segments, below, methods })
    }
}

#[derive(Debug, Default)]
struct Node {
    literal: HashMap<Box<str>, Node>,
    any: Option<Box<Node>>,
    here: Vec<Leaf>,
    below: Vec<Leaf>,
}

/// The address at which old clients of a tenant send commands as well as data (`oracle-stateful-sessions.md` §0).
#[derive(Debug)]
struct Commands {
    path: String,
    route: Arc<Route>,
}

impl Commands {
    /// Whether a request is a command. What is read there is one or nothing; what is written is one if it says so, or is a form:
    /// all else is data, and takes the route of its path.
    fn take(&self, request: &CheckRequest, method: &Method) -> bool {
        request.target.path() == self.path
            && (matches!(*method, Method::GET | Method::HEAD)
                || request.target.query_pairs().any(|(name, _)| name == COMMAND)
                || is_form(&request.headers))
    }
}

/// The query parameter that makes a request a command.
const COMMAND: &str = "command";

fn is_form(headers: &HeaderMap) -> bool {
    let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    media_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

#[derive(Debug, Clone)]
struct Leaf {
    methods: Vec<Method>,
    route: Arc<Route>,
}

/// All tenants and all routes.
#[derive(Debug, Default)]
pub struct Routes {
    tenants: HashMap<TenantId, Arc<Tenant>>,
    hosts: HashMap<String, Arc<Tenant>>,
    domains: HashMap<String, Arc<Tenant>>,
    fallback: Option<Arc<Tenant>>,
    hint: Option<HeaderName>,
    by_host: HashMap<String, Node>,
    by_tenant: HashMap<TenantId, Node>,
    everywhere: Node,
    commands: HashMap<TenantId, Commands>,
    count: usize,
}

impl Routes {
    /// Adds a tenant, its hosts, its portal, and the user-name suffix that means it.
    ///
    /// # Errors
    /// A sentence that says which name is taken, or that the suffix has a period: it could then not be told from a
    /// mail address (`authentication-chain.md` §3.2). Nothing is added then.
    pub fn add_tenant(&mut self, tenant: Arc<Tenant>, domain: Option<&str>) -> Result<(), String> {
        if self.tenants.contains_key(&tenant.id) {
            return Err(format!("there are two tenants `{}`", tenant.id));
        }
        for host in tenant.hosts.iter().chain(&tenant.portal) {
            if let Some(other) = self.hosts.get(host.name()) {
                return Err(format!("`{}` is a host of tenant `{}` already", host.name(), other.id));
            }
        }
        if let Some(domain) = domain {
            let normal = Username::parse(domain).filter(|_| !domain.contains(['.', '@']));
            let Some(normal) = normal else { return Err(format!("`{domain}` cannot be a user-name suffix")) };
            if let Some(other) = self.domains.get(normal.as_str()) {
                return Err(format!("`{domain}` is the user-name suffix of tenant `{}` already", other.id));
            }
            self.domains.insert(normal.as_str().to_owned(), tenant.clone());
        }
        for host in tenant.hosts.iter().chain(&tenant.portal) {
            self.hosts.insert(host.name().to_owned(), tenant.clone());
        }
        self.tenants.insert(tenant.id.clone(), tenant);
        Ok(())
    }

    /// The tenant of requests that name none.
    pub fn set_fallback(&mut self, tenant: Arc<Tenant>) {
        self.fallback = Some(tenant);
    }

    /// The header by which a client may say its tenant where the host does not.
    pub fn set_hint(&mut self, header: HeaderName) {
        self.hint = Some(header);
    }

    /// Adds a route.
    ///
    /// # Errors
    /// The name of a route that already takes exactly these requests.
    pub fn add(&mut self, scope: Scope, pattern: &Pattern, route: Arc<Route>) -> Result<(), RouteName> {
        let mut node = match scope {
            Scope::Host(host) => self.by_host.entry(host.name().to_owned()).or_default(),
            Scope::Tenant(tenant) => self.by_tenant.entry(tenant).or_default(),
            Scope::Everywhere => &mut self.everywhere,
        };
        for segment in &pattern.segments {
            node = if &**segment == "*" { node.any.get_or_insert_default() } else { node.literal.entry(segment.clone()).or_default() };
        }
        let leaves = if pattern.below { &mut node.below } else { &mut node.here };
        let overlaps = |leaf: &&Leaf| {
            (leaf.methods.is_empty() && pattern.methods.is_empty()) || leaf.methods.iter().any(|method| pattern.methods.contains(method))
        };
        if let Some(taken) = leaves.iter().find(overlaps) {
            return Err(taken.route.name.clone());
        }
        leaves.push(Leaf { methods: pattern.methods.clone(), route });
        self.count += 1;
        Ok(())
    }

    /// Makes `route` take the commands that are sent to this path of a tenant's applications.
    pub fn add_commands(&mut self, tenant: TenantId, path: &str, route: Arc<Route>) {
        self.commands.insert(tenant, Commands { path: path.to_owned(), route });
        self.count += 1;
    }

    /// How many routes there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The tenant of this name.
    pub fn tenant(&self, id: &TenantId) -> Option<&Arc<Tenant>> {
        self.tenants.get(id)
    }

    /// All tenants.
    pub fn tenants(&self) -> impl Iterator<Item = &Arc<Tenant>> {
        self.tenants.values()
    }

    /// Whether some tenant answers to this host name.
    pub fn knows_host(&self, name: &str) -> bool {
        self.hosts.contains_key(name)
    }

    /// Tenant and route of a request.
    ///
    /// # Errors
    /// [`Denial::NoRoute`], or [`Malformed::TenantsDisagree`] if the request names two tenants.
    pub fn find(&self, request: &CheckRequest) -> Result<Found, Denial> {
        self.find_as(request, &request.method)
    }

    /// The same for another method than the request's own: a browser asks beforehand whether a page may send it.
    ///
    /// # Errors
    /// As [`Routes::find`].
    pub fn find_as(&self, request: &CheckRequest, method: &Method) -> Result<Found, Denial> {
        let tenant = self.tenant_of(request)?;
        let host = request.host.name();
        let own = self.by_host.get(host);
        // On the portal only what was put there by host is served: no route forwards there.
        let portal = tenant.portal.as_ref().is_some_and(|portal| portal.name() == host);
        let nodes = if portal { [own, None, None] } else { [own, self.by_tenant.get(&tenant.id), Some(&self.everywhere)] };
        if let Some(commands) = self.commands.get(&tenant.id).filter(|commands| !portal && commands.take(request, method)) {
            return Ok(Found { tenant: tenant.clone(), route: commands.route.clone() });
        }
        let path = request.target.path();
        let route = find(nodes, Some(path.strip_prefix('/').unwrap_or(path)), method).ok_or(Denial::NoRoute)?;
        let client = request.client.address.to_canonical();
        // Not the next best: a wider route is not meant for those whom the narrower one keeps out.
        if !route.clients.is_empty() && !route.clients.iter().any(|net| net.contains(&client)) {
            return Err(Denial::NoRoute);
        }
        Ok(Found { tenant: tenant.clone(), route: route.clone() })
    }

    /// `authentication-chain.md` §3.2: host, then the client's hint, then the user name's suffix.
    fn tenant_of(&self, request: &CheckRequest) -> Result<&Arc<Tenant>, Denial> {
        const DISAGREE: Denial = Denial::Malformed(Malformed::TenantsDisagree);
        let host = self.hosts.get(request.host.name());
        let hint = match (host, &self.hint) {
            (None, Some(header)) => {
                let mut values = request.headers.get_all(header).iter();
                let first = values.next();
                if values.next().is_some() {
                    return Err(DISAGREE);
                }
                first.and_then(|value| value.to_str().ok()).and_then(|id| self.tenants.get(id))
            }
            (Some(_), _) | (None, None) => None,
        };
        match (host.or(hint), self.suffix(request)) {
            (Some(tenant), Some(suffix)) if tenant.id != suffix.id => Err(DISAGREE),
            (Some(tenant), _) | (None, Some(tenant)) => Ok(tenant),
            (None, None) => self.fallback.as_ref().ok_or(Denial::NoRoute),
        }
    }

    /// The tenant that the user name of a Basic credential ends in, after its last `@`.
    fn suffix(&self, request: &CheckRequest) -> Option<&Arc<Tenant>> {
        if self.domains.is_empty() {
            return None;
        }
        let typed = basic::credentials(&request.headers).ok()??.name;
        // In the one spelling in which the name will be looked up.
        let name = Username::parse(&typed)?;
        let (_, domain) = name.as_str().rsplit_once('@')?;
        self.domains.get(domain)
    }
}

/// The best route below these nodes, which stand at the same pattern in the tries of host, tenant and everybody.
/// `rest` is what is left of the path; `None` is its end.
fn find<'n>(nodes: [Option<&'n Node>; 3], rest: Option<&str>, method: &Method) -> Option<&'n Arc<Route>> {
    if nodes.iter().all(Option::is_none) {
        return None;
    }
    let here = match rest {
        None => best(nodes, |node| &node.here, method),
        Some(rest) => {
            let (segment, tail) = match rest.split_once('/') {
                Some((segment, tail)) => (segment, Some(tail)),
                None => (rest, None),
            };
            find(nodes.map(|node| node?.literal.get(segment)), tail, method).or_else(|| {
                // `*` is a segment, and the one after a trailing slash is none.
                if segment.is_empty() { None } else { find(nodes.map(|node| node?.any.as_deref()), tail, method) }
            })
        }
    };
    here.or_else(|| best(nodes, |node| &node.below, method))
}

/// The route for this method: the first scope that has one, its own method before `GET` for `HEAD` before all.
fn best<'n>(nodes: [Option<&'n Node>; 3], leaves: impl Fn(&'n Node) -> &'n [Leaf], method: &Method) -> Option<&'n Arc<Route>> {
    nodes.into_iter().flatten().find_map(|node| {
        let fit = |leaf: &Leaf| match &leaf.methods {
            methods if methods.contains(method) => 0,
            // RFC 9110 §9.3.2: HEAD is GET without the content; what guards the one guards the other.
            methods if *method == Method::HEAD && methods.contains(&Method::GET) => 1,
            methods if methods.is_empty() => 2,
            _ => 3,
        };
        leaves(node).iter().filter(|leaf| fit(leaf) < 3).min_by_key(|leaf| fit(leaf)).map(|leaf| &leaf.route)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::chain::Chain;
    use crate::fixtures::{self, from, host, request, tenant};

    fn add(routes: &mut Routes, scope: Scope, pattern: &str, methods: &[Method], name: &str) {
        routes.add(scope, &Pattern::parse(pattern, methods.to_vec()).unwrap(), Arc::new(fixtures::route(name))).unwrap();
    }

    /// Routes for everybody, named like their patterns.
    fn routes(patterns: &[&str]) -> Routes {
        let mut routes = Routes::default();
        routes.add_tenant(Arc::new(tenant("north", Chain::default())), None).unwrap();
        for pattern in patterns {
            add(&mut routes, Scope::Everywhere, pattern, &[], pattern);
        }
        routes
    }

    fn take(routes: &Routes, method: &str, url: &str) -> Option<String> {
        match routes.find(&request(method, url, &[])) {
            Ok(found) => Some(found.route.name.to_string()),
            Err(Denial::NoRoute) => None,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn get(routes: &Routes, path: &str) -> Option<String> {
        take(routes, "GET", &format!("north.example.com{path}"))
    }

    #[test]
    fn a_pattern_that_would_never_match_is_refused() {
        for pattern in [
            "", "a", "//", "/a//b", "/a**", "/**/b", "/***", "/a*", "/*a", "/a/***", "/a//**", "/..", "/a/./b", "/%61", "/a%2fb", "/%zz",
            "/a;b", "/a?b", "/a#b", "/ä", "/a b", "/%20", "/...",
        ] {
            assert!(Pattern::parse(pattern, Vec::new()).is_err(), "{pattern}");
        }
        for pattern in ["/", "/a", "/a/", "/**", "/a/**", "/*", "/a/*/b", "/*/", "/*/**", "/a%20b", "/a.b-c_d~e", "/a:b@c"] {
            assert!(Pattern::parse(pattern, Vec::new()).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn a_pattern_takes_these_paths_and_no_others() {
        for (pattern, takes, leaves) in [
            ("/", &["/"][..], &["/a"][..]),
            ("/a", &["/a"], &["/", "/a/", "/a/b", "/A", "/ab"]),
            ("/a/", &["/a/"], &["/a", "/a/b"]),
            ("/**", &["/", "/a", "/a/", "/a/b"], &[]),
            ("/a/**", &["/a", "/a/", "/a/b", "/a/b/"], &["/", "/ab", "/b/a"]),
            ("/*", &["/a", "/*"], &["/", "/a/", "/a/b"]),
            ("/*/", &["/a/"], &["/", "/a", "/a/b"]),
            ("/a/*", &["/a/b"], &["/a", "/a/", "/a/b/", "/a/b/c"]),
            ("/*/c", &["/a/c"], &["/c", "/a/b/c", "/a/c/"]),
            ("/*/**", &["/a", "/a/", "/a/b"], &["/"]),
        ] {
            let routes = routes(&[pattern]);
            for path in takes {
                assert_eq!(get(&routes, path).as_deref(), Some(pattern), "{path}");
            }
            for path in leaves {
                assert_eq!(get(&routes, path), None, "{pattern} took {path}");
            }
        }
    }

    #[test]
    fn patterns_are_ranked_from_the_left() {
        for (patterns, path, taken) in [
            (&["/**", "/a/**", "/a/b/**"][..], "/a/b/c", "/a/b/**"),
            (&["/**", "/a/**", "/a"], "/a", "/a"),
            (&["/*", "/a/**"], "/a", "/a/**"),
            (&["/*/*", "/a/**"], "/a/b", "/a/**"),
            (&["/*/b", "/a/**"], "/a/b", "/a/**"),
            (&["/*/b/**", "/a/*"], "/a/b", "/a/*"),
            (&["/a/*/c", "/a/b/**"], "/a/b/c", "/a/b/**"),
            (&["/a/*", "/a/**"], "/a/b", "/a/*"),
            (&["/a/*", "/a/**"], "/a/", "/a/**"),
            // Where the narrower one does not lead to the end, the wider one is taken.
            (&["/a/b/c", "/a/*/d", "/**"], "/a/b/d", "/a/*/d"),
            (&["/a/b/c", "/a/*/d", "/**"], "/a/b/e", "/**"),
        ] {
            assert_eq!(get(&routes(patterns), path).as_deref(), Some(taken), "{patterns:?} {path}");
        }
    }

    /// Whoever configures `/*/logout` must not take over our own endpoints.
    #[test]
    fn what_is_below_a_literal_segment_is_taken_by_no_wildcard() {
        let mut routes = routes(&["/**", "/*/logout", "/*/*", "/*/*/deep"]);
        add(&mut routes, Scope::Tenant("north".into()), "/*/logout", &[Method::GET], "tenant");
        add(&mut routes, Scope::Host(host("north.example.com")), "/*/logout", &[Method::GET], "host");
        add(&mut routes, Scope::Host(host("north.example.com")), "/.vestibule/**", &[], "own");
        for path in
            ["/.vestibule", "/.vestibule/", "/.vestibule/logout", "/.vestibule/landing", "/.vestibule/a/deep", "/%2evestibule/logout"]
        {
            assert_eq!(get(&routes, path).as_deref(), Some("own"), "{path}");
        }
        assert_eq!(get(&routes, "/vestibule/logout").as_deref(), Some("host"));
    }

    #[test]
    fn equal_patterns_go_to_the_host_then_the_tenant_then_everybody() {
        let mut routes = routes(&["/**", "/deep/er"]);
        routes.add_tenant(Arc::new(tenant("south", Chain::default())), None).unwrap();
        let mut second = tenant("west", Chain::default());
        second.hosts.push(host("two.example.com:8443"));
        routes.add_tenant(Arc::new(second), None).unwrap();
        add(&mut routes, Scope::Tenant("west".into()), "/**", &[], "tenant");
        add(&mut routes, Scope::Host(host("TWO.example.com:1234")), "/**", &[], "host");
        assert_eq!(take(&routes, "GET", "two.example.com/a").as_deref(), Some("host"));
        assert_eq!(take(&routes, "GET", "two.example.com:99/a").as_deref(), Some("host"));
        assert_eq!(take(&routes, "GET", "west.example.com/a").as_deref(), Some("tenant"));
        assert_eq!(take(&routes, "GET", "south.example.com/a").as_deref(), Some("/**"));
        // The pattern comes before the scope.
        assert_eq!(take(&routes, "GET", "two.example.com/deep/er").as_deref(), Some("/deep/er"));
        assert_eq!(routes.len(), 4);
    }

    #[test]
    fn a_method_of_its_own_comes_before_all_methods() {
        let mut routes = routes(&["/a", "/**"]);
        add(&mut routes, Scope::Everywhere, "/a", &[Method::GET, Method::PUT], "some");
        add(&mut routes, Scope::Everywhere, "/b", &[Method::POST], "post");
        assert_eq!(take(&routes, "GET", "north.example.com/a").as_deref(), Some("some"));
        assert_eq!(take(&routes, "POST", "north.example.com/a").as_deref(), Some("/a"));
        assert_eq!(take(&routes, "POST", "north.example.com/b").as_deref(), Some("post"));
        assert_eq!(take(&routes, "GET", "north.example.com/b").as_deref(), Some("/**"));
        let scoped = Pattern::parse("/a", Vec::new()).unwrap();
        routes.add(Scope::Tenant("north".into()), &scoped, Arc::new(fixtures::route("north"))).unwrap();
        assert_eq!(take(&routes, "GET", "north.example.com/a").as_deref(), Some("north"));
    }

    #[test]
    fn head_takes_the_route_of_get() {
        let mut routes = routes(&["/**"]);
        add(&mut routes, Scope::Everywhere, "/a", &[Method::GET], "get");
        assert_eq!(take(&routes, "HEAD", "north.example.com/a").as_deref(), Some("get"));
        add(&mut routes, Scope::Everywhere, "/a", &[], "all");
        assert_eq!(take(&routes, "HEAD", "north.example.com/a").as_deref(), Some("get"));
        add(&mut routes, Scope::Everywhere, "/a", &[Method::HEAD], "head");
        assert_eq!(take(&routes, "HEAD", "north.example.com/a").as_deref(), Some("head"));
    }

    #[test]
    fn two_routes_for_the_same_requests_are_refused() {
        let mut routes = routes(&["/a/*"]);
        add(&mut routes, Scope::Everywhere, "/a/*", &[Method::GET], "get");
        let mut again = |scope, methods: &[Method]| {
            routes.add(scope, &Pattern::parse("/a/*", methods.to_vec()).unwrap(), Arc::new(fixtures::route("x")))
        };
        assert_eq!(again(Scope::Everywhere, &[]), Err("/a/*".into()));
        assert_eq!(again(Scope::Everywhere, &[Method::PUT, Method::GET]), Err("get".into()));
        assert_eq!(again(Scope::Everywhere, &[Method::PUT]), Ok(()));
        assert_eq!(again(Scope::Tenant("north".into()), &[]), Ok(()));
    }

    #[test]
    fn a_route_that_is_not_for_this_client_is_not_skipped_for_a_wider_one() {
        let mut routes = routes(&["/**"]);
        let inside = Route { clients: vec!["10.0.0.0/8".parse().unwrap()], ..fixtures::route("inside") };
        routes.add(Scope::Everywhere, &Pattern::parse("/admin/**", Vec::new()).unwrap(), Arc::new(inside)).unwrap();
        let ask = |address| {
            routes.find(&from(address, request("GET", "north.example.com/admin/x", &[]))).map(|found| found.route.name.to_string())
        };
        assert_eq!(ask("10.1.2.3"), Ok("inside".into()));
        assert_eq!(ask("::ffff:10.1.2.3"), Ok("inside".into()));
        assert_eq!(ask("192.0.2.1"), Err(Denial::NoRoute));
    }

    #[test]
    fn on_the_portal_only_routes_of_that_host_are_served() {
        let mut routes = routes(&["/**"]);
        add(&mut routes, Scope::Tenant("north".into()), "/a", &[], "tenant");
        add(&mut routes, Scope::Host(host("login.north.example.com")), "/login", &[], "login");
        assert_eq!(take(&routes, "GET", "login.north.example.com/login").as_deref(), Some("login"));
        assert_eq!(take(&routes, "GET", "login.north.example.com/"), None);
        assert_eq!(take(&routes, "GET", "login.north.example.com/a"), None);
        assert_eq!(take(&routes, "GET", "north.example.com/login").as_deref(), Some("/**"));
    }

    #[test]
    fn commands_and_data_are_told_apart_at_one_address() {
        let mut routes = routes(&["/**", "/S/I/**"]);
        routes.add_commands("north".into(), "/S/I", Arc::new(fixtures::route("commands")));
        let form = ("content-type", "application/x-www-form-urlencoded; charset=utf-8");
        for (method, target, headers, taken) in [
            ("GET", "/S/I?command=login", vec![], "commands"),
            ("GET", "/S/I", vec![], "commands"),
            ("HEAD", "/S/I", vec![], "commands"),
            ("POST", "/S/I?command=anything", vec![], "commands"),
            ("POST", "/S/I?a=b&%63ommand=", vec![], "commands"),
            ("POST", "/S/I;jsessionid=x?command=logoff", vec![], "commands"),
            ("POST", "/S/I", vec![form], "commands"),
            ("POST", "/S/I", vec![], "/S/I/**"),
            ("POST", "/S/I", vec![("content-type", "text/xml")], "/S/I/**"),
            ("POST", "/S/I?Command=login", vec![], "/S/I/**"),
            ("GET", "/S/I/Contact?command=login", vec![], "/S/I/**"),
            ("GET", "/S/I/", vec![], "/S/I/**"),
            ("GET", "/S/Ix?command=login", vec![], "/**"),
        ] {
            let found = routes.find(&request(method, &format!("north.example.com{target}"), &headers)).unwrap();
            assert_eq!(found.route.name.as_str(), taken, "{method} {target}");
        }
        // Nothing of it is on the portal, nor another tenant's.
        assert_eq!(take(&routes, "GET", "login.north.example.com/S/I?command=login"), None);
    }

    #[test]
    fn names_of_tenants_are_not_given_twice() {
        let mut routes = routes(&[]);
        let same_host = Tenant { hosts: vec![host("x.example.com"), host("LOGIN.north.example.com")], ..tenant("south", Chain::default()) };
        assert!(routes.add_tenant(Arc::new(same_host), None).is_err());
        assert!(!routes.knows_host("x.example.com"));
        assert!(routes.add_tenant(Arc::new(tenant("north", Chain::default())), None).is_err());
        assert!(routes.add_tenant(Arc::new(tenant("south", Chain::default())), Some("Corp")).is_ok());
        for domain in ["corp", "CORP", "a.b", "", "a@b"] {
            assert!(routes.add_tenant(Arc::new(tenant("west", Chain::default())), Some(domain)).is_err(), "{domain}");
        }
        assert!(routes.tenant(&"west".into()).is_none());
        assert!(!routes.knows_host("west.example.com"));
    }

    /// `north` and `south` with the suffixes of the same names; hosts of others are bound to nobody.
    fn two_tenants() -> Routes {
        let mut routes = Routes::default();
        for name in ["north", "south"] {
            routes.add_tenant(Arc::new(tenant(name, Chain::default())), Some(name)).unwrap();
        }
        routes.set_hint(HeaderName::from_static("contactcenterid"));
        add(&mut routes, Scope::Everywhere, "/**", &[], "all");
        routes
    }

    fn basic(name: &str) -> String {
        use base64::Engine as _;
        format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{name}:x")))
    }

    #[test]
    fn the_tenant_is_the_hosts_then_the_hints_then_the_suffixs_and_two_that_disagree_are_refused() {
        const ANY: &str = "any.example.com/";
        const NORTH: &str = "north.example.com/";
        let mut routes = two_tenants();
        let disagree = Err(Denial::Malformed(Malformed::TenantsDisagree));
        let (north, south) = (basic("ada@north"), basic("ada@south"));
        let tenant = |id: &str| Ok(TenantId::from(id));
        let mut cases: Vec<Case<'_>> = vec![
            (NORTH, vec![], tenant("north")),
            // The header is anybody's; where the host speaks, it is not heard.
            (NORTH, vec![("ContactCenterId", "south")], tenant("north")),
            (NORTH, vec![("ContactCenterId", "south"), ("ContactCenterId", "north")], tenant("north")),
            (NORTH, vec![("authorization", &north)], tenant("north")),
            (NORTH, vec![("authorization", &south)], disagree.clone()),
            (ANY, vec![("ContactCenterId", "south")], tenant("south")),
            (ANY, vec![("ContactCenterId", "south"), ("authorization", &south)], tenant("south")),
            (ANY, vec![("ContactCenterId", "south"), ("authorization", &north)], disagree.clone()),
            (ANY, vec![("ContactCenterId", "south"), ("ContactCenterId", "south")], disagree),
            (ANY, vec![("authorization", &north)], tenant("north")),
            (ANY, vec![("ContactCenterId", "unknown"), ("authorization", &north)], tenant("north")),
        ];
        let spellings = ["ADA@NORTH", "a@south@north", "ada@\u{ff4e}orth", " ada@north "].map(basic);
        cases.extend(spellings.iter().map(|value| (ANY, vec![("authorization", value.as_str())], tenant("north"))));
        let strangers = ["ada", "ada@north.example.com", "north@ada", "@"].map(basic);
        let nobody: Vec<Vec<(&str, &str)>> =
            [vec![], vec![("ContactCenterId", "unknown")], vec![("ContactCenterId", "n\u{f6}rth")], vec![("ContactCenterId", "")]]
                .into_iter()
                .chain(strangers.iter().map(|value| vec![("authorization", value.as_str())]))
                .chain([vec![("authorization", "Basic !!")], vec![("authorization", north.as_str()), ("authorization", north.as_str())]])
                .collect();
        for (url, headers, expected) in cases {
            assert_eq!(routes.find(&request("GET", url, &headers)).map(|found| found.tenant.id.clone()), expected, "{url} {headers:?}");
        }
        for headers in &nobody {
            assert_eq!(
                routes.find(&request("GET", ANY, headers)).map(|found| found.tenant.id.clone()),
                Err(Denial::NoRoute),
                "{headers:?}"
            );
        }
        let fallback = routes.tenant(&"south".into()).unwrap().clone();
        routes.set_fallback(fallback);
        for headers in &nobody {
            assert_eq!(routes.find(&request("GET", ANY, headers)).map(|found| found.tenant.id.clone()), tenant("south"), "{headers:?}");
        }
    }

    /// URL, headers, and the tenant they mean.
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Result<TenantId, Denial>);

    /// One route as the reference sees it: pattern, scope (0 host, 1 tenant, 2 everybody), methods.
    type Plain = (String, usize, Vec<Method>);

    /// The definition, without a trie: every segment is ranked, and the least list of ranks wins.
    fn reference(routes: &[Plain], path: &str, method: &Method) -> Option<usize> {
        let key = |(pattern, scope, methods): &Plain| {
            let by_method = match methods {
                methods if methods.contains(method) => 0,
                methods if *method == Method::HEAD && methods.contains(&Method::GET) => 1,
                methods if methods.is_empty() => 2,
                _ => return None,
            };
            let (head, below) = match pattern.strip_suffix("/**") {
                Some(head) => (head, true),
                None => (pattern.as_str(), false),
            };
            let wanted: Vec<&str> = head.split('/').skip(1).collect();
            let given: Vec<&str> = path.split('/').skip(1).collect();
            if given.len() < wanted.len() || (given.len() > wanted.len() && !below) {
                return None;
            }
            let mut ranks = Vec::new();
            for (wanted, given) in wanted.iter().zip(&given) {
                match *wanted {
                    "*" if !given.is_empty() => ranks.push(1),
                    wanted if wanted == *given => ranks.push(0),
                    _ => return None,
                }
            }
            ranks.push(if below { 2 } else { 0 });
            Some((ranks, *scope, by_method))
        };
        let matching = routes.iter().enumerate().filter_map(|(number, route)| key(route).map(|key| (key, number)));
        matching.min().map(|(_, number)| number)
    }

    fn plain() -> impl Strategy<Value = Plain> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("*")];
        let pattern = (prop::collection::vec(segment, 0..4), prop_oneof![Just(""), Just("/"), Just("/**")])
            .prop_map(|(segments, end)| segments.iter().map(|segment| format!("/{segment}")).collect::<String>() + end)
            .prop_map(|pattern| if pattern.is_empty() { "/".to_owned() } else { pattern });
        let methods = prop_oneof![Just(vec![]), Just(vec![Method::GET]), Just(vec![Method::POST, Method::HEAD]), Just(vec![Method::POST])];
        (pattern, 0..3usize, methods)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_trie_agrees_with_the_definition(
            plains in prop::collection::vec(plain(), 1..12),
            segments in prop::collection::vec(prop_oneof![Just("a"), Just("b"), Just("c")], 0..5),
            slash in any::<bool>(),
            method in prop_oneof![Just(Method::GET), Just(Method::HEAD), Just(Method::POST), Just(Method::PUT)],
        ) {
            let mut routes = routes(&[]);
            let mut added = Vec::new();
            for plain in plains {
                let (pattern, scope, methods) = &plain;
                let scope = match scope {
                    0 => Scope::Host(host("north.example.com")),
                    1 => Scope::Tenant("north".into()),
                    _ => Scope::Everywhere,
                };
                let name = added.len().to_string();
                if routes.add(scope, &Pattern::parse(pattern, methods.clone()).unwrap(), Arc::new(fixtures::route(&name))).is_ok() {
                    added.push(plain);
                }
            }
            let mut path: String = segments.iter().map(|segment| format!("/{segment}")).collect();
            if slash || path.is_empty() {
                path.push('/');
            }
            let taken = take(&routes, method.as_str(), &format!("north.example.com{path}"));
            prop_assert_eq!(taken, reference(&added, &path, &method).map(|number| number.to_string()));
        }
    }
}
