//! Pages of other origins: what their browser asks beforehand, and what it is told with each answer (Fetch §3.2).
//!
//! A question beforehand carries no credentials, so it never enters the chain. What it is told with an answer stands on refusals,
//! too: otherwise the page sees a network error where it should sign in. Our own pages are for nobody else to read.

use std::sync::Arc;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method};
use vestibule_engine::request::CheckRequest;
use vestibule_engine::route::{Destination, Found, Routes};
use vestibule_engine::tenant::Tenant;

/// What only we say where a tenant lists origins.
const OURS: [http::HeaderName; 6] = [
    ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_ALLOW_CREDENTIALS,
    ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_HEADERS,
    ACCESS_CONTROL_EXPOSE_HEADERS,
    ACCESS_CONTROL_MAX_AGE,
];

/// A request that a page of another origin makes of an application.
pub struct Crossing {
    /// Where it would land, and the tenant whose list counts.
    pub found: Found,
    origin: HeaderValue,
    tenant: Option<Arc<Tenant>>,
    preflight: bool,
}

impl Crossing {
    /// `None` for requests that cross nothing, or lead where no tenant lists origins.
    pub fn of(routes: &Routes, request: &CheckRequest) -> Option<Self> {
        let mut origins = request.headers.get_all(ORIGIN).iter();
        let (origin, None) = (origins.next()?, origins.next()) else { return None };
        let text = origin.to_str().ok()?;
        if text == request.origin() {
            return None;
        }
        let asked = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD).filter(|_| request.method == Method::OPTIONS);
        let found = match asked {
            None => routes.find(request),
            Some(method) => routes.find_as(request, &Method::from_bytes(method.as_bytes()).ok()?),
        };
        let found = found.ok().filter(|found| found.route.destination != Destination::Own)?;
        let admits = |tenant: &&Arc<Tenant>| tenant.cors.admits(text);
        let tenant = if asked.is_some() && !routes.knows_host(request.host.name()) {
            // The browser does not say yet which tenant it will name, so what one of them admits may be sent; the answer is held
            // against its own.
            if routes.tenants().all(|tenant| tenant.cors.is_empty()) {
                return None;
            }
            routes.tenants().find(admits)
        } else if found.tenant.cors.is_empty() {
            return None;
        } else {
            Some(&found.tenant).filter(admits)
        };
        Some(Self { origin: origin.clone(), tenant: tenant.cloned(), preflight: asked.is_some(), found })
    }

    /// Whether the browser asks beforehand.
    pub fn is_preflight(&self) -> bool {
        self.preflight
    }

    /// Whether the page may send it.
    pub fn admits(&self, request: &CheckRequest) -> bool {
        let asked = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD).and_then(|method| Method::from_bytes(method.as_bytes()).ok());
        self.tenant.as_ref().zip(asked).is_some_and(|(tenant, method)| tenant.cors.permits(&method))
    }

    /// Whether a listed page sends what its list does not say. Browsers ask beforehand for some methods only (Fetch §2.2.1), and
    /// send the others with the visitor's cookies at once.
    pub fn exceeds(&self, request: &CheckRequest) -> bool {
        let Some(tenant) = self.tenant.as_ref().filter(|_| !self.preflight) else { return false };
        let own = tenant.origins.iter().any(|own| self.origin == *own);
        let reads = request.method == Method::HEAD && tenant.cors.permits(&Method::GET);
        !own && !reads && request.method != Method::OPTIONS && !tenant.cors.permits(&request.method)
    }

    /// Tells the browser with an answer whether the page may read it. What the application says of it does not count.
    pub fn tell(&self, headers: &mut HeaderMap) {
        for name in OURS {
            headers.remove(name);
        }
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(tenant) = &self.tenant else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        if self.preflight {
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, tenant.cors.allow_methods.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, tenant.cors.allow_headers.clone());
            headers.insert(ACCESS_CONTROL_MAX_AGE, tenant.cors.max_age.clone());
            for name in [ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS] {
                headers.append(VARY, HeaderValue::from(name));
            }
        } else {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, tenant.cors.expose_headers.clone());
        }
    }
}
