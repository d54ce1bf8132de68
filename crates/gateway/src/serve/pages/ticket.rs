//! GET `/ticket/NAME`: signs somebody who is signed in here in at a service that asks our delegate endpoint, by a ticket in
//! place of the password.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::Full;
use vestibule_engine::audit::{Reason, Ruling};
use vestibule_engine::identity::{Identity, SchemeName, TenantId};
use vestibule_engine::scheme::Unavailable;

use super::view::LeavingPage;
use super::{Portal, Visit, reply};
use crate::serve::tickets::{Holder, Tickets};

/// Where tickets are made.
pub(super) const PATH: &str = "/ticket/";

/// The services that take tickets.
#[derive(Debug)]
pub struct TicketDesk {
    /// Makes them.
    pub tickets: Tickets,
    /// For whom.
    pub services: Vec<Service>,
}

/// A service that asks one of our endpoints.
#[derive(Debug, Clone)]
pub struct Service {
    /// The endpoint.
    pub endpoint: SchemeName,
    /// Whose users it asks about.
    pub tenant: TenantId,
    /// Its login page.
    pub login: url::Url,
    /// What a name ends with there, and what it ends with here instead.
    pub suffixes: Vec<(String, String)>,
}

impl Service {
    fn title(&self) -> &str {
        self.login.host_str().unwrap_or(self.endpoint.as_str())
    }

    /// The name as it is there.
    fn name_of(&self, name: &str) -> String {
        let ended = self.suffixes.iter().find_map(|(there, here)| Some((name.strip_suffix(here.as_str())?, there)));
        ended.map_or_else(|| name.to_owned(), |(stem, there)| format!("{stem}{there}"))
    }
}

impl Portal {
    /// Links for a user's own page.
    pub(super) fn ticket_links(&self, tenant: &TenantId, identity: &Identity) -> Vec<(String, String)> {
        // Operators sign in here and nowhere else.
        let services = self.desk.iter().flat_map(|desk| &desk.services);
        let open = services.filter(|service| service.tenant == *tenant && !identity.user.is_operator());
        open.map(|service| (service.title().to_owned(), format!("{PATH}{}", service.endpoint))).collect()
    }

    /// GET `/ticket/NAME`.
    pub(super) async fn ticket(&self, visit: &mut Visit<'_>, endpoint: &str) -> Result<Response<Full<Bytes>>, Unavailable> {
        let Some(desk) = &self.desk else { return Ok(visit.missing()) };
        let found = desk.services.iter().find(|service| service.endpoint.as_str() == endpoint && service.tenant == visit.tenant.id);
        let Some(service) = found else { return Ok(visit.missing()) };
        let Some(identity) = self.session(visit).await? else {
            visit.challenged();
            return Ok(reply::redirect(&format!("/login?return_to=%2Fticket%2F{endpoint}")));
        };
        if self.engine.admission.must_change_password(&identity.user) {
            visit.refusal = Some((Ruling::Deny, Reason::MustChangePassword));
            return Ok(reply::redirect("/password"));
        }
        if identity.user.is_operator() {
            visit.refusal = Some((Ruling::Deny, Reason::SubjectNotAllowed));
            let sentence = super::words::Words::fill(visit.words.may_not_use, service.title());
            let way = Some((visit.words.go_to_applications, "/"));
            return Ok(visit.problem(StatusCode::FORBIDDEN, &sentence, visit.words.think_you_should, way));
        }
        let holder = Holder { user: identity.user.id, epoch: identity.user.epoch };
        let ticket = desk.tickets.issue(&visit.tenant.id, &service.endpoint, &identity.user.name, &holder, visit.now)?;
        let name = service.name_of(identity.user.name.as_str());
        let fields = [("un".to_owned(), name), ("pw".to_owned(), ticket.reveal().clone())];
        let action = service.login.as_str();
        let page = LeavingPage { shell: visit.shell(), host: service.title(), action, fields: &fields, lead: visit.words.taken_there };
        Ok(reply::page_to(visit, &page, action))
    }
}
