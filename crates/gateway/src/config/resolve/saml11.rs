//! Identity providers of SAML 1.1. Where a browser is sent and whom we ask for assertions is said here and never by a message.

use std::sync::Arc;

use vestibule_saml::binding::{Artifact, is_endpoint};
use vestibule_saml::metadata::Entity;
use vestibule_saml::names::binding;

use super::Resolve;
use super::directory::is_loopback;
use crate::config::checked::{Conceded, IdentityProvider, Origin, SourceSite, Weakness};
use crate::config::file;
use crate::config::values::At;

/// What stands for the page of ours in the address of an inter-site transfer service.
const TARGET: &str = "${TARGET}";

impl Resolve<'_> {
    pub(super) fn source_site(&mut self, provider: &At<String>, written: &At<file::SourceSite>, entity: &Entity) -> Option<SourceSite> {
        let At { value: written, span } = written;
        if !self.is_conceded(&Conceded::Saml(Weakness::Saml11, provider.value.as_str().into())) {
            let at = At { value: (), span: span.clone() };
            self.error(&at, "SAML 1.1 knows no requests, so that nobody can tell whether an answer was asked for").help =
                Some(format!("concede it: [[concession]] what = \"saml11\", partner = \"{}\"", provider.value));
        }
        let transfer = self.transfer(&written.transfer);
        let source_id = match &written.source_id {
            None => Some(Artifact::source_id_of(&entity.entity_id)),
            Some(at) => {
                let octets = twenty(&at.value);
                if octets.is_none() {
                    self.error(at, format!("`{}` is not twenty octets in hexadecimal", at.value));
                }
                octets
            }
        };
        let endpoints = entity.idp.iter().flat_map(|role| &role.artifact_resolution);
        let endpoint = endpoints.clone().find(|endpoint| endpoint.binding == binding::SAML11_SOAP);
        let responder = endpoint.and_then(|endpoint| {
            let found = responder(&endpoint.location);
            if found.is_none() {
                let what = format!("artifacts would be resolved at `{}`, which is not reached by TLS", endpoint.location);
                self.error(&written.transfer, what).help = Some("whoever can read there signs in as anybody".to_owned());
            }
            found
        });
        if responder.is_none() {
            for at in written.responder_certificate.iter().chain(&written.ca) {
                self.warn(at, "the metadata name no responder: artifacts are refused");
            }
        }
        let ca = written.ca.as_ref().and_then(|at| self.certificates_of(at)).unwrap_or_default();
        let pinned = written.responder_certificate.as_ref().and_then(|at| self.certificates_of(at)?.into_iter().next());
        let client = written.client.as_ref().and_then(|at| self.pair(&at.value));
        let max_authn_age = self.positive(&written.max_authn_age);
        Some(SourceSite {
            transfer: transfer?,
            source_id: source_id?,
            responder,
            ca,
            pinned: pinned.map(|certificate| certificate.to_vec()),
            client,
            max_authn_age,
        })
    }

    fn transfer(&mut self, at: &At<String>) -> Option<(String, String)> {
        let parts = at.value.split_once(TARGET).filter(|(before, behind)| {
            let whole = format!("{before}x{behind}");
            let secure = whole.starts_with("https://") || responder(&whole).is_some();
            before.contains('?') && !behind.contains(TARGET) && is_endpoint(&whole) && secure
        });
        if parts.is_none() {
            self.error(at, format!("`{}` is no address of an inter-site transfer service", at.value)).help =
                Some("write it with TLS and the place of the target, as in \"https://idp.example.com/its?TARGET=${TARGET}\"".to_owned());
        }
        parts.map(|(before, behind)| (before.to_owned(), behind.to_owned()))
    }
}

/// Two source sites that name themselves alike.
pub(super) fn source_twins(providers: &[Arc<IdentityProvider>]) -> Option<(&str, &str)> {
    let sites = || providers.iter().filter_map(|provider| Some((&*provider.name, provider.saml11.as_ref()?.source_id)));
    sites().enumerate().find_map(|(place, (name, id))| sites().take(place).find(|(_, other)| *other == id).map(|(other, _)| (other, name)))
}

/// Where and what, if nobody on the way can listen.
fn responder(location: &str) -> Option<(Origin, String)> {
    let url = url::Url::parse(location).ok()?;
    let host = url.host_str()?;
    let tls = url.scheme() == "https";
    let near = is_loopback(host) || host.ends_with(".localhost");
    let path = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    (tls || near).then_some((Origin { tls, host: host.to_owned(), port: url.port_or_known_default()? }, path))
}

fn twenty(text: &str) -> Option<[u8; 20]> {
    let mut octets = [0; 20];
    if text.len() != 40 || !text.bytes().all(|octet| octet.is_ascii_hexdigit()) {
        return None;
    }
    for (place, octet) in octets.iter_mut().enumerate() {
        *octet = u8::from_str_radix(text.get(2 * place..2 * place + 2)?, 16).ok()?;
    }
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responders_are_reached_by_tls_or_near() {
        for (location, near) in [
            ("https://idp.example.com/responder", true),
            ("http://127.0.0.1:9180/responder?x=1", true),
            ("http://idp.localhost:1/r", true),
            ("http://idp.example.com/responder", false),
            ("ftp://idp.example.com/responder", false),
        ] {
            assert_eq!(responder(location).is_some(), near, "{location}");
        }
        assert_eq!(responder("http://127.0.0.1:9180/r?x=1").unwrap().1, "/r?x=1");
    }

    #[test]
    fn source_ids_are_twenty_octets() {
        assert_eq!(twenty("f465a7007968d106649b9ad96998de94f68324ec"), Some(Artifact::source_id_of("https://idp.example.org/saml11")));
        for bad in ["", "f4", "f465a7007968d106649b9ad96998de94f68324eg", "+465a7007968d106649b9ad96998de94f68324ec"] {
            assert_eq!(twenty(bad), None, "{bad}");
        }
    }
}
