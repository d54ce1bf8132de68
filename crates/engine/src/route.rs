//! Which tenant a request belongs to and which route it takes.
//!
//! The longest match wins: literal segments before `*` before `**`, a host's own routes before its
//! tenant's before everybody's, a route for some methods before one for all. The cost does not depend on
//! how many routes there are.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderName, Method};

use crate::basic;
use crate::decision::Denial;
use crate::identity::{RouteName, TenantId};
use crate::inject::{Injector, Strip};
use crate::policy::Policy;
use crate::request::{CheckRequest, Malformed};
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

/// What a route's pattern is tried against before its path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// One host.
    Host(String),
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
            if &**segment != "*" && crate::request::Target::parse(&format!("/{segment}")).is_ok_and(|t| !t.is_canonical()) {
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

/// How specific a match is; greater wins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    depth: usize,
    exact: bool,
    literals: usize,
    scope: u8,
    by_method: bool,
}

/// All tenants and all routes.
#[derive(Debug, Default)]
pub struct Routes {
    tenants: HashMap<TenantId, Arc<Tenant>>,
    hosts: HashMap<String, Arc<Tenant>>,
    domains: HashMap<String, TenantId>,
    fallback: Option<Arc<Tenant>>,
    hint: Option<HeaderName>,
    scopes: HashMap<Scope, Node>,
    count: usize,
}

impl Routes {
    /// Adds a tenant, its hosts, its portal, and the user-name suffix that means it.
    pub fn add_tenant(&mut self, tenant: Arc<Tenant>, domain: Option<&str>) {
        for host in tenant.hosts.iter().chain(&tenant.portal) {
            self.hosts.insert(host.name().to_owned(), tenant.clone());
        }
        if let Some(domain) = domain {
            self.domains.insert(domain.to_lowercase(), tenant.id.clone());
        }
        self.tenants.insert(tenant.id.clone(), tenant);
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
        let mut node = self.scopes.entry(scope).or_default();
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
        let scopes = [(3, Scope::Host(request.host.name().to_owned())), (2, Scope::Tenant(tenant.id.clone())), (1, Scope::Everywhere)];
        let path = request.target.path();
        let mut best: Option<(Rank, &Arc<Route>)> = None;
        for (scope, key) in scopes {
            // On the portal only what was put there by host is served: no route forwards there.
            let portal = tenant.portal.as_ref().is_some_and(|portal| portal.name() == request.host.name());
            if portal && scope != 3 {
                continue;
            }
            let Some(node) = self.scopes.get(&key) else { continue };
            let segments = path.strip_prefix('/').unwrap_or_default();
            node.find(segments, &Step { method: &request.method, client: request.client.address, scope, depth: 0, literals: 0 }, &mut best);
        }
        match best {
            Some((_, route)) => Ok(Found { tenant: tenant.clone(), route: route.clone() }),
            None => Err(Denial::NoRoute),
        }
    }

    /// `authentication-chain.md` §3.2: host, then the client's hint, then the user name's suffix.
    fn tenant_of(&self, request: &CheckRequest) -> Result<&Arc<Tenant>, Denial> {
        let disagree = Denial::Malformed(Malformed::TenantsDisagree);
        let host = self.hosts.get(request.host.name());
        let hint = match (host, &self.hint) {
            (None, Some(header)) => {
                let mut values = request.headers.get_all(header).iter();
                let first = values.next();
                if values.next().is_some() {
                    return Err(disagree);
                }
                first.and_then(|value| value.to_str().ok()).and_then(|id| self.tenants.get(&TenantId::from(id)))
            }
            _ => None,
        };
        let suffix = if self.domains.is_empty() {
            None
        } else {
            let typed = basic::credentials(&request.headers).ok().flatten().map(|credentials| credentials.name);
            let domain = typed.as_deref().and_then(|name| name.rsplit_once('@')).map(|(_, domain)| domain.to_lowercase());
            domain.and_then(|domain| self.domains.get(&domain)).and_then(|id| self.tenants.get(id))
        };
        match (host.or(hint), suffix) {
            (Some(tenant), Some(suffix)) if tenant.id != suffix.id => Err(disagree),
            (Some(tenant), _) | (None, Some(tenant)) => Ok(tenant),
            (None, None) => self.fallback.as_ref().ok_or(Denial::NoRoute),
        }
    }
}

struct Step<'a> {
    method: &'a Method,
    client: IpAddr,
    scope: u8,
    depth: usize,
    literals: usize,
}

impl Node {
    fn find<'n>(&'n self, rest: &str, at: &Step<'_>, best: &mut Option<(Rank, &'n Arc<Route>)>) {
        self.offer(&self.below, false, at, best);
        let (segment, tail) = match rest.split_once('/') {
            Some((segment, tail)) => (segment, Some(tail)),
            None => (rest, None),
        };
        let mut step = |node: &'n Node, literals: usize| {
            let next = Step { depth: at.depth + 1, literals, ..*at };
            match tail {
                Some(tail) => node.find(tail, &next, best),
                None => {
                    node.offer(&node.here, true, &next, best);
                    node.offer(&node.below, false, &next, best);
                }
            }
        };
        if let Some(node) = self.literal.get(segment) {
            step(node, at.literals + 1);
        }
        if let Some(node) = &self.any
            && !segment.is_empty()
        {
            step(node, at.literals);
        }
    }

    fn offer<'n>(&'n self, leaves: &'n [Leaf], exact: bool, at: &Step<'_>, best: &mut Option<(Rank, &'n Arc<Route>)>) {
        for leaf in leaves {
            let by_method = leaf.methods.contains(at.method);
            let admits = leaf.route.clients.is_empty() || leaf.route.clients.iter().any(|net| net.contains(&at.client));
            if !(by_method || leaf.methods.is_empty()) || !admits {
                continue;
            }
            let rank = Rank { depth: at.depth, exact, literals: at.literals, scope: at.scope, by_method };
            if best.as_ref().is_none_or(|(held, _)| rank > *held) {
                *best = Some((rank, &leaf.route));
            }
        }
    }
}
