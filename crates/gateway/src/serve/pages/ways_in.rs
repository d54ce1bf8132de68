//! What the configuration says of the ways in, beside the chain: who may use a tenant's own form, which pages may post to it,
//! and where people sign in who do not know their tenant's address.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use http::header::ORIGIN;
use ipnet::IpNet;
use vestibule_engine::audit::{Event, Reason, Trail};
use vestibule_engine::identity::TenantId;
use vestibule_engine::realm::Accounts;
use vestibule_engine::request::CheckRequest;
use vestibule_engine::tenant::Tenant;

use super::Brands;

/// The ways in.
#[derive(Debug, Default)]
pub struct WaysIn {
    /// Tenants whose own form is for emergency accounts only.
    pub emergency: HashSet<TenantId>,
    /// Where those may come from.
    pub operators_from: Vec<IpNet>,
    /// Origins of pages that may post a name and a password to a tenant's login, such as an intranet's.
    pub posts_from: HashMap<TenantId, Vec<String>>,
    /// The host of no tenant.
    pub front: Option<FrontDoor>,
}

/// A host of no tenant, where users of all of them may sign in.
#[derive(Debug, Clone)]
pub struct FrontDoor {
    /// Its origin as browsers see it.
    pub origin: String,
    /// How it looks.
    pub brands: Arc<Brands>,
    /// Those whose users may: each has a form, and a portal to which the login is handed over.
    pub tenants: Vec<Arc<Tenant>>,
}

impl FrontDoor {
    /// By this name the host stands in the records. No tenant is called so.
    pub const TENANT: &str = "-";
}

impl WaysIn {
    /// Whose accounts may sign in by a tenant's own form.
    pub fn accounts(&self, tenant: &TenantId) -> Accounts {
        if self.emergency.contains(tenant) { Accounts::BreakGlass } else { Accounts::All }
    }

    /// Whether a tenant's own form may be opened from there.
    pub fn opens(&self, tenant: &TenantId, client: IpAddr) -> bool {
        let client = client.to_canonical();
        !self.emergency.contains(tenant) || self.operators_from.iter().any(|net| net.contains(&client))
    }

    /// Notes that somebody tried the emergency door; `reason` is why in vain.
    pub fn alarm(&self, request: &CheckRequest, tenant: &TenantId, subject: Option<String>, reason: Option<Reason>, trail: &mut Trail) {
        if !self.emergency.contains(tenant) {
            return;
        }
        let address = request.client.address;
        let listed = self.opens(tenant, address);
        tracing::warn!(request_id = %request.id, %tenant, %address, listed, "the emergency door is tried");
        trail.events.push(Event::EmergencyAttempted { subject, listed, reason });
    }

    /// Whether some page that we do not serve may post logins here.
    pub fn is_posted_to(&self, tenant: &TenantId) -> bool {
        self.posts_from.get(tenant).is_some_and(|listed| !listed.is_empty())
    }

    /// Whether a page that we do not serve may post this login. Whatever it posts, it can only sign in whom its password proves;
    /// that a victim is signed in as somebody else is what its operator answers for.
    pub fn admits_post(&self, tenant: &TenantId, request: &CheckRequest) -> bool {
        let mut origins = request.headers.get_all(ORIGIN).iter();
        let (Some(origin), None) = (origins.next(), origins.next()) else { return false };
        self.posts_from.get(tenant).is_some_and(|listed| listed.iter().any(|listed| listed.as_bytes() == origin.as_bytes()))
    }
}
