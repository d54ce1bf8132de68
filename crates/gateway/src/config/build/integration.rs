//! Old clients of integration services as running: their scheme, their sessions, their addresses.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use vestibule_engine::identity::{RealmName, SchemeName};
use vestibule_engine::route::{BodyNeed, Pattern, Route, Routes, Scope};
use vestibule_engine::scheme::Place;
use vestibule_engine::session::{Sessions, Settings};
use vestibule_engine::store::ExpiringStore;
use vestibule_engine::tenant::Tenant;

use super::{Schemes, own};
use crate::config::checked;
use crate::schemes::integration::allotment::Allotment;
use crate::schemes::integration::token::Tokens;
use crate::schemes::integration::{Checks, Integration, cookie_path, places};
use crate::schemes::verified::Verified;
use crate::serve::integration::{LINKS, ROUTES};

impl Schemes<'_> {
    /// What the clients of a tenant are answered with.
    pub(super) fn integration(
        &self,
        name: &SchemeName,
        realms: &[RealmName],
        tenant: &checked::Tenant,
        store: &Arc<dyn ExpiringStore>,
    ) -> Result<Arc<Integration>, String> {
        // INVARIANT: a chain with this scheme has settings; the text is for the type only.
        let checked::Integration { settings, idle, absolute, programs, allotment, tokens } =
            tenant.integration.clone().ok_or_else(|| format!("{} has no settings for old clients", tenant.id))?;
        let users = self.house.users.clone();
        let lives = Settings { idle, absolute, remembered: Duration::ZERO, ..self.checked.session.clone() };
        let sessions = Sessions::of_programs(store.clone(), users.clone(), lives, programs).with_profiles(self.checked.profiles.clone());
        let sessions = Arc::new(sessions);
        let tokens = Tokens::new(tenant.id.clone(), self.house.tokens.clone(), tokens, store.clone(), users);
        let family = self.family(self.steps(name, realms)?);
        let verified = Verified::new(self.generation, self.checked.basic_cache).map_err(|down| down.to_string())?;
        let checks = Checks { family, verified, plain: self.plain() };
        let allotment = allotment.map(|most| Allotment::new(tenant.id.clone(), most, store.clone()));
        let made = Integration::new(name.clone(), tenant.id.clone(), settings, sessions, tokens, checks).with_allotment(allotment);
        Ok(Arc::new(made))
    }
}

/// The addresses of commands and tokens.
pub(super) fn mount(routes: &mut Routes, tenant: &checked::Tenant) -> Result<(), String> {
    let Some(checked::Integration { settings, .. }) = &tenant.integration else { return Ok(()) };
    // Whatever the body is, it is read only where it is a form or a message.
    let route = |path: &str| Arc::new(Route { body: BodyNeed::Never, name: format!("{ROUTES}:{path}").as_str().into(), ..own(path) });
    routes.add_commands(tenant.id.clone(), &settings.path, route(&settings.path));
    let links = format!("{LINKS}*");
    for host in &tenant.hosts {
        for (path, methods) in [(&settings.validate_path, vec![]), (&settings.token_path, vec![]), (&links, vec![Method::GET])] {
            let pattern = Pattern::parse(path, methods)?;
            let scope = Scope::Host(host.clone());
            routes.add(scope, &pattern, route(path)).map_err(|taken| format!("route {taken} takes {path}, which is ours"))?;
        }
    }
    Ok(())
}

/// What a route takes out of requests of a tenant: what its chain reads. An application elsewhere on the host may have header
/// fields and words in its addresses of the same names as its old clients', and keeps them; a session of ours it never sees.
pub(super) fn consumed<'t>(tenant: &'t Tenant, checked: &checked::Tenant, pattern: &str) -> Vec<&'t Place> {
    let theirs = checked.integration.as_ref().map(|written| places(&written.settings)).unwrap_or_default();
    let meets = checked.integration.as_ref().is_none_or(|settings| may_meet(pattern, cookie_path(&settings.settings.path)));
    let everywhere = |place: &Place| matches!(place, Place::SharedCookie { .. });
    tenant.chain.consumes().filter(|place| meets || everywhere(place) || !theirs.contains(place)).collect()
}

/// Whether a pattern may take a path that is this one or below it.
fn may_meet(pattern: &str, path: &str) -> bool {
    for (wanted, given) in pattern.split('/').zip(path.trim_end_matches('/').split('/')) {
        match wanted {
            "**" => return true,
            "*" => {}
            wanted if wanted != given => return false,
            _ => {}
        }
    }
    // What is shorter than the path and does not go on stands above it.
    pattern.split('/').count() >= path.trim_end_matches('/').split('/').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_that_may_see_what_old_clients_send_take_it_out() {
        for (pattern, meets) in [
            ("/**", true),
            ("/Services/**", true),
            ("/Services", true),
            ("/Services/Integration/**", true),
            ("/Services/Other", true),
            ("/*/**", true),
            ("/*", true),
            ("/shop/**", false),
            ("/", false),
            ("/services/**", false),
        ] {
            assert_eq!(may_meet(pattern, "/Services"), meets, "{pattern}");
        }
        assert!(may_meet("/anything", "/"));
    }
}
