//! The portal's own page: who you are, and where you can go.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use jiff::fmt::strtime;
use vestibule_engine::audit::{Reason, Ruling};
use vestibule_engine::scheme::Unavailable;

use super::view::{Display, DonePage, HomePage};
use super::{INSPECT, Portal, Visit, history, logout, reply};

impl Portal {
    /// GET `/`.
    pub(super) async fn home(&self, visit: &mut Visit<'_>) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(identity) = self.session(visit).await? else {
            visit.challenged();
            return Ok(reply::redirect("/login"));
        };
        if self.engine.admission.must_change_password(&identity.user) {
            visit.refusal = Some((Ruling::Deny, Reason::MustChangePassword));
            return Ok(reply::redirect("/password"));
        }
        if visit.display == Display::Popup {
            return Ok(reply::page(visit, StatusCode::OK, &DonePage { shell: visit.shell(), onward: "/" }));
        }
        let portal = visit.tenant.portal_origin.as_ref();
        let mut applications: Vec<(String, String)> = visit
            .tenant
            .origins
            .iter()
            .filter(|origin| Some(*origin) != portal)
            .map(|origin| (origin.split_once("://").map_or(&**origin, |(_, host)| host).to_owned(), format!("{origin}/")))
            .collect();
        applications.extend(self.idps.links(&visit.tenant.id, &identity));
        applications.extend(self.ticket_links(&visit.tenant.id, &identity));
        let operator = self.durable.is_some() && identity.user.is_operator();
        let [(logins, _), (delegated, _)] = history::PATHS;
        let mut administration = vec![(visit.words.login_history, logins), (visit.words.delegated_errors, delegated)];
        if self.service_provider(visit).is_some() {
            administration.push((visit.words.inspect_saml, INSPECT));
        }
        let since = identity.authenticated_at;
        let shown = strtime::format("%-d %B %Y, %H:%M UTC", &since.to_zoned(jiff::tz::TimeZone::UTC)).unwrap_or_default();
        let changed = visit.request.target.query_values("notice").iter().any(|notice| notice == "password");
        let page = HomePage {
            shell: visit.shell(),
            name: identity.user.display_name.as_deref().unwrap_or(identity.user.name.as_str()),
            username: identity.user.name.as_str(),
            since: (&since.to_string(), &shown),
            applications: &applications,
            administration: if operator { &administration } else { &[] },
            token: &self.token(&identity, logout::PURPOSE),
            password: self.passwords.is_some() && identity.user.password.is_some(),
            notice: changed.then_some(visit.words.password_changed),
        };
        Ok(reply::page(visit, StatusCode::OK, &page))
    }
}
