//! Upstreams as the forwarding client wants them.

use http::HeaderValue;

use crate::config::checked::{Http2, Upstream, UpstreamHost};
use crate::forward::{Address, HostHeader, HttpVersion, Limits, Settings, Transport, client_tls};

/// How an upstream is spoken to.
///
/// # Errors
/// A sentence: names or certificates that TLS does not take.
pub fn settings(upstream: &Upstream) -> Result<Settings, String> {
    let first = upstream.urls.first().ok_or("an upstream has no address")?;
    let version = match upstream.http2 {
        Http2::Auto => HttpVersion::Either,
        Http2::Always => HttpVersion::Http2,
        Http2::Never => HttpVersion::Http1,
    };
    let bare = |host: &str| host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let transport = if first.tls {
        let config = client_tls(&upstream.ca, upstream.client_certificate.as_ref(), version)?;
        let name = rustls::pki_types::ServerName::try_from(bare(&first.host)).map_err(|error| format!("{}: {error}", first.host))?;
        Transport::Tls { config: config.into(), name }
    } else {
        Transport::Plain(version)
    };
    let host = match upstream.host {
        UpstreamHost::Preserve => HostHeader::Preserve,
        UpstreamHost::Upstream => {
            let authority = first.to_string();
            let authority = authority.split_once("://").map_or(authority.as_str(), |(_, authority)| authority);
            HostHeader::Fixed(HeaderValue::try_from(authority).map_err(|error| error.to_string())?)
        }
    };
    let limits = Limits {
        connect: upstream.connect_timeout,
        head: upstream.response_timeout,
        keep_idle: upstream.idle_timeout,
        ..Limits::default()
    };
    let addresses = upstream.urls.iter().map(|origin| Address { host: bare(&origin.host), port: origin.port }).collect();
    Ok(Settings { addresses, transport, host, limits })
}
