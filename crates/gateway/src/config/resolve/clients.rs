//! Whose client certificates hold at a listener, and by what their owners are found.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Resolve, SOON};
use crate::config::checked::ClientCertificate;
use crate::config::file;
use crate::config::pem;
use crate::config::problem::suggest;
use crate::config::values::{At, OneOrMore};
use crate::schemes::owners::Mapping;
use crate::serve::client_certificates::{ClientTrust, Demand, ForwardedCertificate};

/// By what owners are found, by the words of the configuration.
const MAPPINGS: [(&str, Mapping); 7] = [
    ("thumbprint", Mapping::Thumbprint),
    ("issuer-serial", Mapping::IssuerSerial),
    ("mail", Mapping::Mail),
    ("upn", Mapping::Principal),
    ("uri", Mapping::Uri),
    ("dns", Mapping::Dns),
    ("common-name", Mapping::CommonName),
];

impl Resolve<'_> {
    /// Who vouches for the clients of a listener.
    pub(super) fn clients(&mut self, written: &file::Tls) -> Option<ClientTrust> {
        let Some(first) = written.client_ca.first() else {
            let lonely = written.client_crl.first().map(|at| At { value: (), span: at.span.clone() });
            let lonely = lonely.or_else(|| written.client_certificates.as_ref().map(|at| At { value: (), span: at.span.clone() }));
            if let Some(at) = lonely {
                self.error(&at, "nobody vouches for the certificates of clients").help =
                    Some("name their authority: client_ca = [\"tls/staff-ca.pem\"]".to_owned());
            }
            return None;
        };
        let demand = match written.client_certificates.as_ref().map(|at| at.value) {
            Some(file::ClientCertificates::Required) => Demand::Required,
            Some(file::ClientCertificates::Optional) | None => Demand::Optional,
        };
        self.trust(first, &written.client_ca, &written.client_crl, demand)
    }

    fn trust(&mut self, at: &At<PathBuf>, authorities: &[At<PathBuf>], lists: &[At<PathBuf>], demand: Demand) -> Option<ClientTrust> {
        let (mut roots, mut revoked, mut whole) = (Vec::new(), Vec::new(), true);
        for at in authorities {
            match self.certificates_of(at) {
                Some(found) => roots.extend(found),
                None => whole = false,
            }
        }
        for at in lists {
            let path = self.named_file(at);
            let Some(found) = self.or_error(at, pem::revocation_lists(&path)) else {
                whole = false;
                continue;
            };
            for (list, until) in found {
                match until {
                    Some(until) if until < self.now => {
                        self.warn(at, format!("this list ended on {until}, so that no certificate it speaks of holds"));
                    }
                    Some(until) if until.duration_since(self.now).as_hours() < SOON => {
                        self.warn(at, format!("this list ends on {until}, and then no certificate it speaks of holds"));
                    }
                    Some(_) | None => {}
                }
                revoked.push(list);
            }
        }
        if !whole {
            return None;
        }
        self.or_error(at, ClientTrust::new(&roots, revoked, demand))
    }

    /// How the proxies of a listener forward certificates.
    pub(super) fn forwarded(&mut self, written: &file::Listen) -> Option<Arc<ForwardedCertificate>> {
        let forwarded = &written.forwarded_certificate.as_ref()?.value;
        if written.trusted_proxies.is_empty() {
            self.error(&forwarded.header, "everybody could write a certificate into this header").help =
                Some("name the proxy in front: trusted_proxies = [\"10.1.0.5\"]".to_owned());
        }
        let header = self.settable_header(&forwarded.header);
        let of_tls = written.tls.as_ref();
        let authorities = if forwarded.ca.is_empty() { of_tls.map_or(&[][..], |tls| &tls.client_ca) } else { &forwarded.ca };
        let lists = if forwarded.crl.is_empty() { of_tls.map_or(&[][..], |tls| &tls.client_crl) } else { &forwarded.crl };
        let Some(first) = authorities.first() else {
            self.error(&forwarded.header, "nobody vouches for the certificates in this header").help =
                Some("name their authority: ca = [\"tls/staff-ca.pem\"]".to_owned());
            return None;
        };
        let trust = self.trust(first, authorities, lists, Demand::Optional)?;
        Some(Arc::new(ForwardedCertificate::new(header?, trust)))
    }

    /// The scheme, and a word where no listener would ever show it anything.
    pub(super) fn client_certificate_scheme(&mut self, chained: &At<String>, written: &file::ClientCertificateScheme) -> ClientCertificate {
        let mapping = self.mapping(&written.map);
        let asks = |listen: &At<file::Listen>| {
            let listen = &listen.value;
            listen.forwarded_certificate.is_some() || listen.tls.as_ref().is_some_and(|tls| !tls.client_ca.is_empty())
        };
        if !self.file.listen.iter().any(asks) {
            self.warn(chained, "no listener asks clients for certificates").help =
                Some("add client_ca to its tls, or forwarded_certificate to the listener behind a proxy".to_owned());
        }
        ClientCertificate {
            mapping,
            suffix: written.suffix.clone(),
            on_reject: match written.on_reject {
                file::OnReject::Continue => vestibule_engine::chain::OnReject::Continue,
                file::OnReject::Stop => vestibule_engine::chain::OnReject::Stop,
            },
            remember: written.remember,
        }
    }

    /// By what owners of certificates are found.
    pub(super) fn mapping(&mut self, written: &At<OneOrMore>) -> Vec<Mapping> {
        let mut mapping = Vec::new();
        for at in &written.value.0 {
            match MAPPINGS.iter().find(|(word, _)| *word == at.value) {
                Some((_, found)) if mapping.contains(found) => {
                    self.error(at, format!("`{}` is listed twice", at.value));
                }
                Some((_, found)) => mapping.push(*found),
                None => {
                    let help = suggest(&at.value, MAPPINGS.iter().map(|(word, _)| *word));
                    self.error(at, format!("a certificate has no `{}` by which its owner could be found", at.value)).help = help;
                }
            }
        }
        if written.value.0.is_empty() {
            self.error(written, "nobody would be found by a certificate").help = Some("write map = \"thumbprint\"".to_owned());
        }
        mapping
    }
}
