//! The way on for somebody who signed out here and has a session at an OpenID provider.

use serde::{Deserialize, Serialize};
use vestibule_engine::identity::{Identity, TenantId};
use vestibule_engine::scheme::Unavailable;

use super::{Portal, Visit};
use crate::schemes::oidc::SESSION;

const PURPOSE: &str = "vestibule way out v1";

/// Where somebody who signed out goes on to sign out at their provider. The address holds the ID token.
#[derive(Serialize, Deserialize)]
pub(super) struct WayOut {
    /// What the provider is called.
    pub to: String,
    /// The address.
    pub location: String,
}

impl Portal {
    /// Where somebody who signed out, here or `everywhere`, goes on to sign out at their provider.
    pub(super) async fn way_out(&self, visit: &Visit<'_>, identity: &Identity, everywhere: bool) -> Result<Option<WayOut>, Unavailable> {
        let Some(rp) = self.relying_party(visit) else { return Ok(None) };
        let Some(name) = identity.attributes.get(SESSION).and_then(|names| names.first()) else { return Ok(None) };
        let Some(mut session) = rp.sessions().take(&visit.tenant.id, name).await? else { return Ok(None) };
        rp.let_go(&visit.tenant.id, &mut session, everywhere, visit.now).await?;
        let Some(provider) = rp.provider(&session.provider) else { return Ok(None) };
        let location = rp.end_session_url(provider, &session.id_token);
        Ok(location.map(|location| WayOut { to: provider.title().to_owned(), location }))
    }

    /// As it rests while others are told first.
    pub(super) fn sealed_way_out(&self, tenant: &TenantId, out: &WayOut) -> Result<String, Unavailable> {
        let text = serde_json::to_vec(out).map_err(|why| Unavailable::new("OpenID provider's session", why))?;
        self.key.seal(PURPOSE, tenant.as_str(), text)
    }

    /// As it was sealed.
    pub(super) fn opened_way_out(&self, tenant: &TenantId, sealed: &str) -> Option<WayOut> {
        serde_json::from_slice(&self.key.open(PURPOSE, tenant.as_str(), sealed)?).ok()
    }
}
