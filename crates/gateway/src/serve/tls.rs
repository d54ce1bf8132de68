//! TLS towards clients: certificates by server name, reloadable, no early data.
//!
//! An attacker names one host in the handshake and another in the request, to be judged by the laxer of two
//! policies (attack 108): so a name nobody configured gets no certificate at all, names are compared without
//! case and trailing dot, and [`Certificates::may_speak_for`] decides whether both names stand under one
//! certificate. Early data is never accepted: it can be replayed (attack 109).

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::checked::Certificate;
use crate::serve::client_certificates::ClientTrust;

/// The certificates of one listener. Replaced as a whole.
#[derive(Debug)]
pub struct Certificates {
    table: ArcSwap<Table>,
}

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// By the part after `*.`; such a certificate speaks for one label more (RFC 6125 §6.4.3).
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    first: Option<Arc<CertifiedKey>>,
}

impl Certificates {
    /// These certificates, of which each name is spoken for by the first.
    pub fn new(certificates: &[Certificate]) -> Arc<Self> {
        Arc::new(Self { table: ArcSwap::from_pointee(Table::of(certificates)) })
    }

    /// Puts others in their place; new handshakes see them.
    pub fn replace(&self, certificates: &[Certificate]) {
        self.table.store(Arc::new(Table::of(certificates)));
    }

    /// A rustls configuration that offers HTTP/2 and HTTP/1.1 over TLS 1.2 and 1.3, and asks clients for certificates if told to.
    ///
    /// # Errors
    /// If the cryptography provider lacks something.
    pub fn server_config(self: &Arc<Self>, clients: Option<&ClientTrust>) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = match clients {
            None => {
                let mut config = builder.with_no_client_auth().with_cert_resolver(self.clone());
                config.ticketer = aws_lc_rs::Ticketer::new()?;
                config
            }
            Some(clients) => {
                let mut config = builder.with_client_cert_verifier(clients.verifier().clone()).with_cert_resolver(self.clone());
                // A resumed session brings its certificate along, and nobody asks whether it was revoked since.
                config.session_storage = Arc::new(NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
                config
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.max_early_data_size = 0;
        Ok(config)
    }

    /// Whether a connection whose handshake named `sni` may carry requests for `host`.
    pub fn may_speak_for(&self, sni: Option<&str>, host: &str) -> bool {
        if sni == Some(host) {
            return true;
        }
        let table = self.table.load();
        let Some(served) = table.served(sni) else { return false };
        table.find(host).is_some_and(|key| Arc::ptr_eq(key, served))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().map(normalised);
        self.table.load().served(name.as_deref()).cloned()
    }
}

/// A server name as we compare it: lower case, no trailing dot.
pub fn normalised(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

impl Table {
    fn of(certificates: &[Certificate]) -> Self {
        let mut table = Self::default();
        for Certificate { names, certified } in certificates {
            table.first.get_or_insert_with(|| certified.clone());
            for name in names {
                let (map, bare) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wildcard, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                map.entry(bare.to_owned()).or_insert_with(|| certified.clone());
            }
        }
        table
    }

    /// What a handshake is shown. A name that nobody configured gets nothing; old clients that name none get the first.
    fn served(&self, sni: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        match sni {
            Some(name) => self.find(name),
            None => self.first.as_ref(),
        }
    }

    fn find(&self, name: &str) -> Option<&Arc<CertifiedKey>> {
        self.exact.get(name).or_else(|| name.split_once('.').and_then(|(_, parent)| self.wildcard.get(parent)))
    }
}
