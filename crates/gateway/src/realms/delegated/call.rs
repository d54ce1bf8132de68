//! One question to an endpoint, over a connection of its own.
//!
//! An attacker on the way, or in place of the endpoint, wants any answer to count as a yes, or to keep us waiting and reading for
//! ever (attack 75). So TLS is verified, no redirect is followed, nothing but status 200 is read as an answer, and what is
//! read and how long is bounded. What may have been asked is never asked again: the directory behind counts failures.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, HeaderName};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::CertificateError;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use vestibule_engine::Timestamp;
use vestibule_engine::audit::callout::{Outcome, Phase};
use vestibule_engine::secret::Secret;
use vestibule_soap::delegated::{Answer, LIMITS, Question, Tolerance};

use crate::certificate;

/// For a connection to open and TLS to be agreed.
const CONNECT_TIME: Duration = Duration::from_secs(3);
/// What must be left of the time for a second try.
const RETRY_TIME: Duration = Duration::from_secs(4);
/// The longest head of an answer, in octets; hyper wants this much at least.
const MAX_HEAD: usize = 8192;
/// The longest text of an endpoint that is recorded, in characters.
const MAX_FAULT: usize = 200;

/// Where an endpoint is.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Its host, without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The path, with a query if there is one. It may be what keeps strangers away.
    pub path: Secret<String>,
    /// Trust, and our certificate; none without TLS.
    pub tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

impl Endpoint {
    /// Host and port, as records show it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{host}:{}", self.port)
    }
}

/// How far a call came, and what was seen on the way.
#[derive(Debug)]
pub struct Progress {
    pub phase: Phase,
    pub resolved: Option<IpAddr>,
    pub status: Option<u16>,
    pub tls: Option<String>,
    pub certificate_until: Option<Timestamp>,
    pub fault: Option<String>,
}

impl Default for Progress {
    fn default() -> Self {
        Self { phase: Phase::Queue, resolved: None, status: None, tls: None, certificate_until: None, fault: None }
    }
}

/// Asks, and says how it ended by `deadline`.
pub async fn ask(endpoint: &Endpoint, question: &Question, tolerance: Tolerance, deadline: Instant, progress: &mut Progress) -> Outcome {
    match timeout_at(deadline, exchange(endpoint, question, tolerance, deadline, progress)).await {
        Ok(Ok(outcome) | Err(outcome)) => outcome,
        Err(_) => Outcome::Timeout,
    }
}

async fn exchange(
    endpoint: &Endpoint,
    question: &Question,
    tolerance: Tolerance,
    deadline: Instant,
    progress: &mut Progress,
) -> Result<Outcome, Outcome> {
    // What XML cannot say is nobody's password.
    let Some(message) = question.write() else { return Ok(Outcome::Denied) };
    let stream = match connect(endpoint, progress).await {
        Ok(stream) => stream,
        // Nothing was asked yet.
        Err(Outcome::Unreachable | Outcome::Timeout) if deadline.saturating_duration_since(Instant::now()) >= RETRY_TIME => {
            connect(endpoint, progress).await?
        }
        Err(outcome) => return Err(outcome),
    };
    let request = head(endpoint, Method::POST, endpoint.path.reveal())
        .header(CONTENT_TYPE, "text/xml; charset=UTF-8")
        .header(HeaderName::from_static("soapaction"), "\"\"")
        .body(Full::new(Bytes::from_owner(message)))
        .map_err(|_| Outcome::Unreachable)?;
    let (status, body) = send(stream, request, progress).await?;
    match (status, Answer::read(&body, tolerance)) {
        (StatusCode::OK, Ok(Answer::Verdict(verdict))) => {
            progress.phase = Phase::Verdict;
            Ok(if verdict { Outcome::Ok } else { Outcome::Denied })
        }
        (StatusCode::OK | StatusCode::INTERNAL_SERVER_ERROR, Ok(Answer::Fault(fault))) => {
            progress.fault = Some(tame(&format!("{}: {}", fault.code, fault.reason)));
            Err(Outcome::SoapFault)
        }
        (StatusCode::OK, Err(error)) => {
            progress.fault = Some(tame(&error.to_string()));
            Err(Outcome::BadResponse)
        }
        (_, Ok(_) | Err(_)) => Err(Outcome::HttpStatus),
    }
}

/// The description that an endpoint serves, if it does.
pub async fn description(endpoint: &Endpoint, deadline: Instant) -> Option<Bytes> {
    let fetch = async {
        let mut progress = Progress::default();
        let stream = connect(endpoint, &mut progress).await.ok()?;
        let path = endpoint.path.reveal();
        let path = if path.contains('?') { format!("{path}&wsdl") } else { format!("{path}?wsdl") };
        let request = head(endpoint, Method::GET, &path).body(Full::default()).ok()?;
        let (status, body) = send(stream, request, &mut progress).await.ok()?;
        (status == StatusCode::OK).then_some(body)
    };
    timeout_at(deadline, fetch).await.ok().flatten()
}

fn head(endpoint: &Endpoint, method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(HOST, host_header(endpoint)).header(ACCEPT, "text/xml").header(CONNECTION, "close")
}

/// Sends one request and reads its answer, as much as may be read.
async fn send(stream: Box<dyn Stream>, request: Request<Full<Bytes>>, progress: &mut Progress) -> Result<(StatusCode, Bytes), Outcome> {
    progress.phase = Phase::Send;
    let mut builder = http1::Builder::new();
    // No copy of the body in a buffer that nobody zeroes.
    builder.writev(true).max_buf_size(MAX_HEAD).title_case_headers(true);
    let (mut sender, connection) = builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.map_err(|_| Outcome::Unreachable)?;
    let connection = tokio::spawn(connection);
    let _hang_up = HangUp(connection.abort_handle());
    let sent = sender.send_request(request);
    progress.phase = Phase::Wait;
    let response = sent.await.map_err(|error| {
        progress.fault = Some(tame(&error.to_string()));
        if error.is_parse() || error.is_parse_too_large() { Outcome::BadResponse } else { Outcome::Unreachable }
    })?;
    let status = response.status();
    progress.status = Some(status.as_u16());
    progress.phase = Phase::Parse;
    let body = Limited::new(response.into_body(), LIMITS.size).collect().await;
    let body = body.map_err(|error| {
        progress.fault = Some(tame(&error.to_string()));
        if error.is::<http_body_util::LengthLimitError>() { Outcome::BadResponse } else { Outcome::Unreachable }
    })?;
    Ok((status, body.to_bytes()))
}

/// Ends the connection when nobody reads from it any more.
struct HangUp(tokio::task::AbortHandle);

impl Drop for HangUp {
    fn drop(&mut self) {
        self.0.abort();
    }
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection to the first address that answers; TLS where the endpoint has it.
async fn connect(endpoint: &Endpoint, progress: &mut Progress) -> Result<Box<dyn Stream>, Outcome> {
    match timeout(CONNECT_TIME, open(endpoint, progress)).await {
        Ok(opened) => opened,
        Err(_) => Err(Outcome::Timeout),
    }
}

async fn open(endpoint: &Endpoint, progress: &mut Progress) -> Result<Box<dyn Stream>, Outcome> {
    progress.phase = Phase::Dns;
    let found = resolve(&endpoint.host, endpoint.port).await.map_err(|error| {
        progress.fault = Some(tame(&error.to_string()));
        Outcome::Unreachable
    })?;
    // Resolved once; who rebinds the name afterwards changes nothing.
    let addresses: Vec<SocketAddr> = found.into_iter().filter(|address| may_be_asked(address.ip())).collect();
    progress.phase = Phase::Connect;
    let mut last = io::Error::other("the name has no address that may be asked");
    let mut opened = None;
    for address in addresses {
        progress.resolved = Some(address.ip());
        match TcpStream::connect(address).await {
            Ok(stream) => {
                opened = Some(stream);
                break;
            }
            Err(error) => last = error,
        }
    }
    let Some(stream) = opened else {
        progress.fault = Some(tame(&last.to_string()));
        return Err(Outcome::Unreachable);
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a socket option was refused");
    }
    let Some((config, name)) = &endpoint.tls else { return Ok(Box::new(stream)) };
    progress.phase = Phase::Tls;
    let stream = TlsConnector::from(config.clone()).connect(name.clone(), stream).await.map_err(|error| {
        progress.fault = Some(tame(&error.to_string()));
        untrusted(&error)
    })?;
    let (_, session) = stream.get_ref();
    progress.tls = session.protocol_version().map(|version| format!("{version:?}"));
    progress.certificate_until = session.peer_certificates().and_then(|chain| chain.first()).and_then(certificate::not_after);
    Ok(Box::new(stream))
}

async fn resolve(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    // RFC 6761 §6.3: these names are this machine's, whatever a name server says.
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![(Ipv4Addr::LOCALHOST, port).into(), (Ipv6Addr::LOCALHOST, port).into()]);
    }
    Ok(tokio::net::lookup_host((host, port)).await?.collect())
}

/// An address of this machine's own segment is where clouds keep their secrets.
fn may_be_asked(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => !(address.is_link_local() || address.is_unspecified() || address.is_broadcast() || address.is_multicast()),
        IpAddr::V6(address) => !(address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast()),
    }
}

fn untrusted(error: &io::Error) -> Outcome {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) => Outcome::TlsExpired,
        Some(_) => Outcome::TlsUntrusted,
        None => Outcome::Unreachable,
    }
}

fn host_header(endpoint: &Endpoint) -> String {
    let usual = if endpoint.tls.is_some() { 443 } else { 80 };
    let authority = endpoint.authority();
    if endpoint.port == usual { authority.trim_end_matches(&format!(":{usual}")).to_owned() } else { authority }
}

/// What somebody else wrote, fit for a record.
fn tame(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(MAX_FAULT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_asked_where_clouds_keep_their_secrets() {
        for (address, asked) in [
            ("192.0.2.1", true),
            ("127.0.0.1", true),
            ("2001:db8::1", true),
            ("169.254.169.254", false),
            ("::ffff:169.254.169.254", false),
            ("fe80::1", false),
            ("0.0.0.0", false),
            ("::", false),
            ("224.0.0.1", false),
        ] {
            assert_eq!(may_be_asked(address.parse().unwrap()), asked, "{address}");
        }
    }

    #[test]
    fn what_is_recorded_has_no_control_characters_and_an_end() {
        assert_eq!(tame("a\r\nb"), "a  b");
        assert_eq!(tame(&"x".repeat(1000)).len(), MAX_FAULT);
    }

    #[test]
    fn the_usual_port_is_not_written() {
        let endpoint = |host: &str, port| Endpoint { host: host.into(), port, path: Secret::from("/"), tls: None };
        assert_eq!(host_header(&endpoint("sso.example.net", 80)), "sso.example.net");
        assert_eq!(host_header(&endpoint("sso.example.net", 8080)), "sso.example.net:8080");
        assert_eq!(host_header(&endpoint("::1", 8080)), "[::1]:8080");
    }
}
