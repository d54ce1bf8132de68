//! A tenant: whose request this is. It brings the chain, the portal, the brand.

use std::sync::Arc;

use crate::chain::Chain;
use crate::identity::TenantId;
use crate::request::Host;

/// One organisation behind the gateway.
#[derive(Debug)]
pub struct Tenant {
    /// Its name.
    pub id: TenantId,
    /// The name to show.
    pub title: String,
    /// The hosts of its applications.
    pub hosts: Vec<Host>,
    /// The host of its own pages, on which no route forwards.
    pub portal: Option<Host>,
    /// The origin of the portal as browsers see it, e.g. `https://login.example.com`.
    pub portal_origin: Option<String>,
    /// The origins a browser may be sent back to after login.
    pub origins: Vec<String>,
    /// The ordered schemes.
    pub chain: Arc<Chain>,
    /// The protection space in challenges; constant, says nothing of users.
    pub realm_text: String,
    /// The brand its pages wear.
    pub brand: Option<String>,
}
