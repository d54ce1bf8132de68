//! Connections to an upstream: TCP, TLS with the upstream's own trust, HTTP/1.1 or HTTP/2.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::forward::pool::{Pool, Sender};
use crate::forward::{Limits, Settings};

/// Most streams we ask an HTTP/2 upstream to hold ready before it told us its own limit.
const INITIAL_STREAMS: usize = 100;

/// Header fields hyper admits when it is told nothing.
pub const HYPER_MAX_FIELDS: usize = 100;

/// How connections to an upstream are made.
#[derive(Debug, Clone)]
pub enum Transport {
    /// Unprotected, HTTP/1.1 or (by prior knowledge) HTTP/2.
    Plain(HttpVersion),
    /// TLS, the protocol agreed by ALPN.
    Tls {
        /// Trust and client certificate, from [`client_tls`]; its ALPN list decides the protocol.
        config: Arc<ClientConfig>,
        /// The name the upstream must prove.
        name: ServerName<'static>,
    },
}

/// Which protocol an upstream speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HttpVersion {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Whichever ALPN agrees on; without TLS the same as [`HttpVersion::Http1`].
    Either,
}

/// Why trust or identity for an upstream could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    /// A file could not be read as PEM.
    #[error("{path}: {why}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is no authority to trust.
    #[error("no certificate authority to trust")]
    NoAuthority,
    /// rustls does not take it.
    #[error(transparent)]
    Tls(#[from] rustls::Error),
}

/// Trust for an upstream: its own authorities (the system's if none are named), our client certificate, the protocols offered.
///
/// # Errors
/// A [`ClientTlsError`] that names the file.
pub fn client_tls(
    authorities: Option<&Path>,
    identity: Option<(&Path, &Path)>,
    version: HttpVersion,
) -> Result<ClientConfig, ClientTlsError> {
    let mut roots = RootCertStore::empty();
    match authorities {
        Some(path) => {
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    if roots.is_empty() {
        return Err(ClientTlsError::NoAuthority);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let wrong = |error: rustls::pki_types::pem::Error| ClientTlsError::File { path: key.into(), why: error.to_string() };
            builder.with_client_auth_cert(certificates(chain)?, PrivateKeyDer::from_pem_file(key).map_err(wrong)?)?
        }
    };
    config.alpn_protocols = match version {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
        HttpVersion::Either => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let wrong = |why: String| ClientTlsError::File { path: path.into(), why };
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?.collect();
    let found = found.map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(found) }
}

/// Opens a connection to the pool's address.
pub async fn connect(pool: &Arc<Pool>, settings: &Settings) -> io::Result<Sender> {
    let address = pool.address();
    let stream = match address.host.parse::<IpAddr>() {
        Ok(ip) => TcpStream::connect((ip, address.port)).await?,
        Err(_) => TcpStream::connect((address.host.as_str(), address.port)).await?,
    };
    stream.set_nodelay(true)?;
    match &settings.transport {
        Transport::Plain(version) => handshake(pool, stream, *version == HttpVersion::Http2, &settings.limits).await,
        Transport::Tls { config, name } => {
            let stream = TlsConnector::from(config.clone()).connect(name.clone(), stream).await?;
            let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            pool.set_tls(true);
            handshake(pool, stream, http2, &settings.limits).await
        }
    }
}

async fn handshake<S>(pool: &Arc<Pool>, stream: S, http2: bool, limits: &Limits) -> io::Result<Sender>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let address = pool.address().clone();
    if http2 {
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_max_send_streams(INITIAL_STREAMS)
            .max_header_list_size(u32::try_from(limits.head_octets).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.keep_idle)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        pool.share(sender.clone());
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "upstream connection ended");
            }
        });
        return Ok(Sender::Http2(sender));
    }
    let mut builder = http1::Builder::new();
    builder.max_buf_size(limits.head_octets.max(8192));
    // hyper's own default is the same number without the cost of clearing a table for each response.
    if limits.head_fields != HYPER_MAX_FIELDS {
        builder.max_headers(limits.head_fields);
    }
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%address, %error, "upstream connection ended");
        }
    });
    Ok(Sender::Http1(sender))
}
