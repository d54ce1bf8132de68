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

use http::{HeaderName, Method};

use crate::basic;
use crate::decision::Denial;
use crate::identity::{RouteName, TenantId, Username};
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
        let tenant = self.tenant_of(request)?;
        let host = request.host.name();
        let own = self.by_host.get(host);
        // On the portal only what was put there by host is served: no route forwards there.
        let portal = tenant.portal.as_ref().is_some_and(|portal| portal.name() == host);
        let nodes = if portal { [own, None, None] } else { [own, self.by_tenant.get(&tenant.id), Some(&self.everywhere)] };
        let path = request.target.path();
        let route = find(nodes, Some(path.strip_prefix('/').unwrap_or(path)), &request.method).ok_or(Denial::NoRoute)?;
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
