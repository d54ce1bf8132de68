//! Connections to an upstream: TCP, TLS with the upstream's own trust, HTTP/1.1 or HTTP/2.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
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

/// Trust for an upstream: its own authorities (the system's if there are none), our client certificate, the protocols offered.
///
/// # Errors
/// A sentence: there is nobody to trust, or rustls does not take it.
pub fn client_tls(
    authorities: &[CertificateDer<'static>],
    identity: Option<&Arc<CertifiedKey>>,
    version: HttpVersion,
) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority.clone()).map_err(|error| error.to_string())?;
    }
    if authorities.is_empty() {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    if roots.is_empty() {
        return Err("there is no certificate authority to trust; name one with `ca`".to_owned());
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    let builder = builder.with_root_certificates(roots);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some(certified) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified.clone()))),
    };
    config.alpn_protocols = match version {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
        HttpVersion::Either => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(config)
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
