//! Connections: what every session is told at its start, TLS over rustls, and the runtime they belong to.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use deadpool_postgres::Connect;
use pin_project_lite::pin_project;
use rustls::ClientConfig;
use rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{Client, Config, Error, Socket};
use tokio_rustls::TlsConnector;
use x509_parser::oid_registry::{
    OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519,
};

use super::{Host, Settings};
use crate::forward::{HttpVersion, client_tls};

/// An idle connection is probed after so long, and given up when probes are not answered.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// What every session begins with.
pub(super) fn config(settings: &Settings) -> Config {
    let mut config = Config::new();
    for host in &settings.hosts {
        match host {
            Host::Network(host, port) => config.host(host).port(*port),
            Host::Socket(path, port) => config.host_path(path).port(*port),
        };
    }
    config.dbname(&settings.database).user(&settings.user);
    if let Some(password) = &settings.password {
        config.password(password.reveal());
    }
    config
        .application_name("vestibule")
        .connect_timeout(settings.timeout)
        .tcp_user_timeout(settings.timeout)
        .keepalives_idle(KEEP_ALIVE)
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .ssl_mode(if settings.tls { SslMode::Require } else { SslMode::Disable })
        .options(options(settings.timeout));
    config
}

/// What the database's own settings shall not change: where names are looked up, that a commit is on the disk before it is
/// acknowledged, that statements see what was committed before them, and that none waits for ever.
fn options(longest: Duration) -> String {
    let longest = longest.as_millis();
    format!(
        "-c search_path=vestibule,pg_temp -c synchronous_commit=on -c default_transaction_isolation=read\\ committed \
         -c statement_timeout={longest} -c lock_timeout={longest} -c idle_in_transaction_session_timeout={longest}"
    )
}

/// Opens the pool's connections on the control runtime, whichever core asks: sockets belong to one runtime.
pub(super) struct OnControl {
    pub control: Handle,
    pub tls: Tls,
}

type Opening<'a> = Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), Error>> + Send + 'a>>;

impl Connect for OnControl {
    fn connect(&self, config: &Config) -> Opening<'_> {
        let (config, tls) = (config.clone(), self.tls.clone());
        let inner = async move {
            let (client, connection) = config.connect(tls).await?;
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::warn!(error = super::why(&error), "a connection to PostgreSQL broke");
                }
            });
            Ok((client, task))
        };
        Box::pin(Within { control: self.control.clone(), inner })
    }
}

pin_project! {
    /// A future that is at home in another runtime than the one that polls it.
    struct Within<F> {
        control: Handle,
        #[pin]
        inner: F,
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _home = this.control.enter();
        this.inner.poll(context)
    }
}

/// TLS towards the server, or none.
#[derive(Clone)]
pub(super) struct Tls(Option<Arc<ClientConfig>>);

impl Tls {
    pub fn of(settings: &Settings) -> Result<Self, String> {
        if !settings.tls {
            return Ok(Self(None));
        }
        let mut config = client_tls(&settings.ca, None, HttpVersion::Http1)?;
        // There is no protocol to choose on a database's port.
        config.alpn_protocols.clear();
        Ok(Self(Some(Arc::new(config))))
    }
}

impl MakeTlsConnect<Socket> for Tls {
    type Stream = Encrypted;
    type TlsConnect = Handshake;
    type Error = InvalidDnsNameError;

    fn make_tls_connect(&mut self, domain: &str) -> Result<Handshake, InvalidDnsNameError> {
        Ok(Handshake { config: self.0.clone(), name: ServerName::try_from(domain)?.to_owned() })
    }
}

/// A handshake about to be made with a server of this name.
pub(super) struct Handshake {
    config: Option<Arc<ClientConfig>>,
    name: ServerName<'static>,
}

impl TlsConnect<Socket> for Handshake {
    type Stream = Encrypted;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Encrypted>> + Send>>;

    fn connect(self, stream: Socket) -> Self::Future {
        Box::pin(async move {
            let config = self.config.ok_or_else(|| io::Error::other("TLS was not asked for"))?;
            Ok(Encrypted(TlsConnector::from(config).connect(self.name, stream).await?))
        })
    }
}

/// A stream over TLS.
pub(super) struct Encrypted(tokio_rustls::client::TlsStream<Socket>);

impl AsyncRead for Encrypted {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Encrypted {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

impl TlsStream for Encrypted {
    /// SCRAM binds the password's proof to this server's certificate: somebody in between cannot pass it on.
    fn channel_binding(&self) -> ChannelBinding {
        let certificates = self.0.get_ref().1.peer_certificates();
        match certificates.and_then(|chain| end_point(chain.first()?)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash),
            None => ChannelBinding::none(),
        }
    }
}

/// `tls-server-end-point` (RFC 5929 §4.1): the certificate, hashed as its signature is, with SHA-256 at least.
fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    use aws_lc_rs::digest;
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let signed_with = &parsed.signature_algorithm.algorithm;
    // Undefined where the signature has no hash of its own.
    if *signed_with == OID_SIG_ED25519 {
        return None;
    }
    let algorithm = if [OID_PKCS1_SHA384WITHRSA, OID_SIG_ECDSA_WITH_SHA384].contains(signed_with) {
        &digest::SHA384
    } else if [OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA512].contains(signed_with) {
        &digest::SHA512
    } else {
        &digest::SHA256
    };
    Some(digest::digest(algorithm, certificate).as_ref().to_vec())
}
