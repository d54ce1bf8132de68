//! Schemes over the sessions of other services.

use vestibule_engine::identity::SchemeName;

use super::Resolve;
use crate::call::Reach;
use crate::config::checked::{Conceded, IdentityUrl};
use crate::config::file::{self, SessionOwner};
use crate::schemes::identity_url::{Hosts, Id, LinkBy, ORGANIZATION, Owner};

impl Resolve<'_> {
    pub(super) fn identity_url_scheme(&mut self, name: &SchemeName, written: &file::IdentityUrlScheme) -> IdentityUrl {
        let mut organizations = Vec::new();
        for at in &written.organizations.value.0 {
            match Id::parse(&at.value, ORGANIZATION) {
                Some(id) => organizations.push(id),
                None => {
                    self.error(at, format!("`{}` is not the id of an organisation", at.value)).help = Some(format!(
                        "it has 15 or 18 letters and digits and begins with {ORGANIZATION}; Setup shows it under Company Information"
                    ));
                }
            }
        }
        if written.organizations.value.0.is_empty() {
            self.error(&written.organizations, "everybody can make an organisation, so those whose users may come are listed").help =
                Some("name yours: organizations = [\"00D8k00000QwErT\"]".to_owned());
        }
        let hosts =
            written.hosts.as_ref().and_then(|at| self.or_error(at, Hosts::parse(at.value.0.iter().map(|host| host.value.as_str()))));
        let ca = written.ca.as_ref().and_then(|at| self.certificates_of(at));
        let reach = if self.is_conceded(&Conceded::PrivateAddresses(name.clone())) { Reach::Any } else { Reach::Public };
        let owner = match written.owner.value {
            SessionOwner::Checked => Owner::Checked,
            SessionOwner::Unchecked => {
                if !self.is_conceded(&Conceded::SessionOwnerUnchecked(name.clone())) {
                    self.error(&written.owner, "whoever may read a colleague's identity could come as that colleague").help =
                        Some(format!(
                            "remove this line, or add a [[concession]] with what = \"session-owner-unchecked\" and partner = \"{name}\""
                        ));
                }
                Owner::Unchecked
            }
        };
        IdentityUrl {
            organizations,
            hosts: hosts.unwrap_or_default(),
            link_by: match written.link_by.value {
                file::LinkBy::Nothing => LinkBy::Nothing,
                file::LinkBy::Username => LinkBy::Username,
                file::LinkBy::Email => LinkBy::Email,
            },
            owner,
            reach,
            ca: ca.unwrap_or_default(),
            on_reject: match written.on_reject {
                file::OnReject::Continue => vestibule_engine::chain::OnReject::Continue,
                file::OnReject::Stop => vestibule_engine::chain::OnReject::Stop,
            },
            remember: written.remember,
        }
    }
}
