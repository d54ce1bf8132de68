//! For how long a store must not forget what was used.

use std::time::Duration;

use jiff::SignedDuration;
use vestibule_wss::Window;

use super::{Checked, Scheme};

/// Codes, tokens of ours and answers of providers, whatever is configured.
const SHORTEST: Duration = Duration::from_secs(600);
/// For how long a service provider's request may wait for its answer, while its user signs in.
pub const LONGEST_SAML_REQUEST: Duration = Duration::from_secs(3600);

impl Checked {
    /// The longest that something may be used which may be used once: for so long nobody serves whose store forgot what was.
    /// Assertions in messages end when their issuers say; they are refused by when they were made.
    pub fn once_for(&self) -> Duration {
        let seconds = |length: SignedDuration| Duration::try_from(length).unwrap_or_default();
        let within = |window: &Window| seconds(window.max_age) + seconds(window.future) + 2 * seconds(window.skew);
        let schemes = self.schemes.values().map(|scheme| match scheme {
            Scheme::WsSecurity(security) => within(&security.window),
            Scheme::SessionTicket(ticket) => ticket.settings.signed.as_ref().map_or(Duration::ZERO, |(_, window)| within(window)),
            Scheme::Saml(saml) => saml.providers.iter().map(|provider| provider.max_age + 2 * provider.skew).max().unwrap_or_default(),
            Scheme::Session
            | Scheme::Basic { .. }
            | Scheme::ClientCertificate(_)
            | Scheme::IdentityUrl(_)
            | Scheme::LoginForm { .. }
            | Scheme::Oidc(_)
            | Scheme::Introspection(_)
            | Scheme::Integration { .. } => Duration::ZERO,
        });
        let asked = if self.service_providers.is_empty() { Duration::ZERO } else { LONGEST_SAML_REQUEST };
        schemes.chain([asked]).fold(SHORTEST, Duration::max)
    }
}
