//! The one canonical request that is both judged and forwarded.
//!
//! Attackers live in the difference between the request that was judged and the one that was
//! forwarded: dot segments, encoded slashes, doubled encodings, two hosts (attacks 77–83, 87). So a
//! [`Target`] is normalised once, ambiguity is refused rather than resolved, and the raw form is dropped.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, Method};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::audit::Reason;
use crate::clock::Timestamp;

const SOAP_ACTION: HeaderName = HeaderName::from_static("soapaction");
const REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

/// Longest path we accept, in octets.
pub const MAX_PATH: usize = 8 * 1024;
/// Longest query we accept, in octets.
pub const MAX_QUERY: usize = 32 * 1024;
/// Most path segments we accept.
pub const MAX_SEGMENTS: usize = 128;
/// Where an envelope says its namespace, in octets from the beginning.
const ENVELOPE_WITHIN: usize = 1024;
const SOAP11: &[u8] = b"http://schemas.xmlsoap.org/soap/envelope/";
/// Longest host name, RFC 1035 §2.3.4.
pub const MAX_HOST: usize = 253;

/// The number on every answer, log line and audit record of one request: a UUID of version 7.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestId(pub Uuid);

impl RequestId {
    /// A new number; they sort by time.
    pub fn new(now: Timestamp) -> Result<Self, crate::scheme::Unavailable> {
        let random = crate::clock::random::<10>()?;
        let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
        Ok(Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What every door makes of what it received. Plain owned data.
pub struct CheckRequest {
    /// The number of this request.
    pub id: RequestId,
    /// When its head was complete.
    pub received: Timestamp,
    /// Who sent it, as far as the network tells.
    pub client: Client,
    /// The method.
    pub method: Method,
    /// The authority it was sent to.
    pub host: Host,
    /// Path and query, normalised.
    pub target: Target,
    /// The client's header fields, as received save for hop-by-hop fields.
    pub headers: HeaderMap,
    /// The body, if a scheme or the policy needs it.
    pub body: Body,
    /// What a SOAP body asks for: the local name of its first element. Set by the door that held the body, where the
    /// route's policies ask for it; never from a header.
    pub operation: Option<Box<str>>,
}

impl CheckRequest {
    /// What kind of client this looks like, which decides how a refusal is worded, never whether.
    pub fn kind(&self) -> ClientKind {
        match ClientKind::of(&self.method, &self.headers, &self.target) {
            // Not every client of SOAP 1.1 sends the header that says so.
            ClientKind::Api if self.is_envelope() => ClientKind::Soap11,
            kind => kind,
        }
    }

    /// Whether the body, as far as it was read, begins like an envelope of SOAP 1.1.
    fn is_envelope(&self) -> bool {
        let Body::Whole(body) = &self.body else { return false };
        let is_xml = self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/xml"));
        let begin = body.get(..body.len().min(ENVELOPE_WITHIN)).unwrap_or_default();
        is_xml && self.method == Method::POST && begin.windows(SOAP11.len()).any(|part| part == SOAP11)
    }

    /// The values of all cookies called `name`, in order. Quotes around a value are not part of it.
    pub fn cookies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        cookies(&self.headers).filter(move |(found, _)| *found == name).map(|(_, value)| value)
    }

    /// The origin of this request as seen by the browser, e.g. `https://app.example.com`.
    pub fn origin(&self) -> String {
        let scheme = match self.client.channel {
            Channel::Tls => "https",
            Channel::Plain => "http",
        };
        format!("{scheme}://{}", self.host)
    }
}

impl fmt::Debug for CheckRequest {
    /// Method, host and path only: header values, query and body may carry secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CheckRequest")
            .field("id", &self.id)
            .field("method", &self.method)
            .field("host", &self.host)
            .field("path", &self.target.shown_path())
            .finish_non_exhaustive()
    }
}

/// What follows this in a path is a secret.
pub const SECRET_PATHS: &str = "/.vestibule/delegate/";

/// All cookies of a header map, in order (RFC 6265 §4.2.1). Malformed pairs are skipped.
pub fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(http::header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .map(|(name, value)| (name.trim_end(), value.trim_start().trim_matches('"')))
}

/// The sender of a request, as far as the network tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Its address; that of a forwarding proxy only if no trusted one named another.
    pub address: IpAddr,
    /// How the request reached us.
    pub channel: Channel,
    /// The server name of the TLS handshake.
    pub sni: Option<String>,
    /// The certificate it showed.
    pub certificate: Shown,
}

/// What a client showed of certificates (RFC 8446 §4.4.2, or a named proxy's word for it).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Shown {
    /// Nothing, or nobody asked.
    #[default]
    Nothing,
    /// One whose path holds, and whose key the client has.
    Certificate(Arc<ClientCertificate>),
    /// One that does not hold.
    Refused(Reason),
}

/// A client's certificate as it reads. All of it is public.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Its octets.
    pub der: Arc<[u8]>,
    /// SHA-256 of its octets, lower-case hexadecimal.
    pub thumbprint: String,
    /// Whose it is, as RFC 4514 writes it.
    pub subject: String,
    /// The subject's common name, if it has exactly one.
    pub common_name: Option<String>,
    /// The subject's other names.
    pub names: Vec<AlternativeName>,
    /// Who issued it, as RFC 4514 writes it.
    pub issuer: String,
    /// Its number among the issuer's, lower-case hexadecimal.
    pub serial: String,
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} {}>", self.subject, self.thumbprint)
    }
}

/// A subject's alternative name (RFC 5280 §4.2.1.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlternativeName {
    /// A mail address.
    Mail(String),
    /// A user principal name, as Active Directory issues it.
    Principal(String),
    /// A URI.
    Uri(String),
    /// A host, lower case.
    Dns(String),
}

/// Whether the request was protected on its way to us.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Unprotected.
    Plain,
    /// TLS, ended by us or by a named proxy in front of us.
    Tls,
}

/// The body as far as it was read before the chain.
#[derive(Clone)]
pub enum Body {
    /// Still streaming; nobody needed it.
    Unread,
    /// Read whole, within the route's limit.
    Whole(Bytes),
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unread => f.write_str("Unread"),
            Self::Whole(bytes) => write!(f, "Whole({} octets)", bytes.len()),
        }
    }
}

/// Why a request could not be read at all. Each is answered 400 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Malformed {
    /// The target is not in origin form.
    #[error("the request target does not begin with a slash")]
    TargetForm,
    /// The path is longer than [`MAX_PATH`], the query than [`MAX_QUERY`], or there are too many segments. 414.
    #[error("the request target is too long")]
    TargetTooLong,
    /// A character that no URI may contain, or a fragment.
    #[error("the request target contains a character that is not allowed there")]
    TargetCharacter,
    /// `%` without two hexadecimal digits, or octets that are not UTF-8.
    #[error("the request target contains an invalid percent escape")]
    TargetEscape,
    /// A segment of dots and spaces only, an empty one, or an encoded slash, backslash, NUL or percent sign.
    #[error("the request target is ambiguous")]
    TargetAmbiguous,
    /// No host, two hosts, or a host that is no name or address.
    #[error("the host is missing, doubled or malformed")]
    Host,
    /// A framing or routing header occurs twice or contradicts itself.
    #[error("a framing or routing header is doubled or contradictory")]
    Framing,
    /// A header field is malformed or there are too many of them. 431.
    #[error("a header field is malformed or too long")]
    Header,
    /// The body is longer than the route admits. 413.
    #[error("the body is too long")]
    BodyTooLong,
    /// The body's media type is not one the route can read. 415.
    #[error("the media type of the body is not supported here")]
    MediaType,
    /// The route's policies ask for the operation, and the body is no SOAP message that names exactly one.
    #[error("the body is not a SOAP message with one operation")]
    Soap,
    /// A declared action names another operation than the body (attack 67).
    #[error("the declared action and the body name different operations")]
    SoapAction,
    /// The host asked for is not one the TLS handshake was made for. 421.
    #[error("this connection was made for another host")]
    Misdirected,
    /// The request contradicts itself about the tenant it belongs to.
    #[error("the request names two different tenants")]
    TenantsDisagree,
    /// The target is readable but not in the one form that is judged, and somebody else forwards it as it is.
    #[error("the request target is not in canonical form, and this door cannot rewrite it")]
    TargetNotCanonical,
    /// A header that only we may set, and somebody else forwards it as it is.
    #[error("the request carries a reserved header, and this door cannot remove it")]
    ReservedHeader,
    /// The proxy in front did not say what was asked of it.
    #[error("the proxy in front did not state the method, the target or the host exactly once")]
    Undescribed,
    /// Another proxy asks, and it is not one of those named. 403.
    #[error("the sender is not one of the proxies this listener answers")]
    Stranger,
    /// The listener expects the PROXY protocol, and the connection did not begin with it. Never answered.
    #[error("the connection did not begin with a PROXY protocol header")]
    Unannounced,
}

/// A host name or address with an optional port, normalised: lower case, no trailing dot.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host {
    name: Box<str>,
    port: Option<u16>,
}

impl Host {
    /// Reads an authority without userinfo (RFC 9110 §7.2).
    ///
    /// # Errors
    /// [`Malformed::Host`] for anything that is not a plain DNS name, IPv4 or bracketed IPv6 address.
    pub fn parse(authority: &str) -> Result<Self, Malformed> {
        let (name, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) = rest.split_once(']').ok_or(Malformed::Host)?;
                let address: std::net::Ipv6Addr = address.parse().map_err(|_| Malformed::Host)?;
                let port = match rest {
                    "" => None,
                    rest => Some(rest.strip_prefix(':').ok_or(Malformed::Host)?),
                };
                (format!("[{address}]"), port)
            }
            None => {
                let (name, port) = match authority.split_once(':') {
                    Some((name, port)) => (name, Some(port)),
                    None => (authority, None),
                };
                // A trailing dot makes a name absolute, not different (attack 108).
                let name = name.strip_suffix('.').unwrap_or(name);
                if name.is_empty() || name.len() > MAX_HOST || !name.split('.').all(is_label) {
                    return Err(Malformed::Host);
                }
                (name.to_ascii_lowercase(), port)
            }
        };
        let port = match port {
            None => None,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| Malformed::Host)?)
            }
            Some(_) => return Err(Malformed::Host),
        };
        Ok(Self { name: name.into(), port })
    }

    /// The name without the port.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port, if one was written.
    pub fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether this is how it is written.
    pub fn is_spelled(&self, authority: &[u8]) -> bool {
        match (authority.strip_prefix(self.name.as_bytes()), self.port) {
            (Some(b""), None) => true,
            (Some([b':', digits @ ..]), Some(port)) => {
                let number = digits.iter().try_fold(0_u32, |number, digit| {
                    digit.is_ascii_digit().then(|| number.saturating_mul(10).saturating_add(u32::from(digit - b'0')))
                });
                number == Some(u32::from(port)) && (digits.len() == 1 || !digits.starts_with(b"0"))
            }
            (Some(_) | None, _) => false,
        }
    }

    /// Whether this is `localhost` or below it (RFC 6761 §6.3).
    pub fn is_localhost(&self) -> bool {
        &*self.name == "localhost" || self.name.ends_with(".localhost")
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        match self.port {
            Some(port) => write!(f, ":{port}"),
            None => Ok(()),
        }
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= 63
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Path and query of a request, normalised once (RFC 3986 §6.2.2), ambiguity refused.
///
/// Unreserved characters are decoded, other escapes are written in upper case, path parameters
/// (`;name=value`) are split off. What is judged is what is forwarded.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    path: String,
    parameters: Vec<String>,
    query: Option<String>,
    canonical: bool,
}

impl Target {
    /// Reads a request target in origin form (RFC 9112 §3.2.1).
    ///
    /// # Errors
    /// A [`Malformed`] that says what is wrong with it.
    pub fn parse(raw: &str) -> Result<Self, Malformed> {
        if !raw.starts_with('/') {
            return Err(Malformed::TargetForm);
        }
        let (raw_path, query) = match raw.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (raw, None),
        };
        if raw_path.len() > MAX_PATH || query.is_some_and(|query| query.len() > MAX_QUERY) {
            return Err(Malformed::TargetTooLong);
        }
        if query.is_some_and(|query| !query.bytes().all(|b| b.is_ascii_graphic() && b != b'#')) {
            return Err(Malformed::TargetCharacter);
        }

        let mut path = String::with_capacity(raw_path.len());
        let mut parameters = Vec::new();
        let segments = raw_path.strip_prefix('/').unwrap_or_default();
        let count = segments.split('/').count();
        if count > MAX_SEGMENTS {
            return Err(Malformed::TargetTooLong);
        }
        for (index, segment) in segments.split('/').enumerate() {
            let mut parts = segment.split(';');
            let name = parts.next().unwrap_or_default();
            parameters.extend(parts.map(str::to_owned));
            path.push('/');
            let start = path.len();
            normalise_segment(name, &mut path)?;
            let written = path.get(start..).unwrap_or_default();
            // An empty segment is fine only as the trailing slash; `/;x/` would otherwise become `//`.
            let last = index + 1 == count;
            // Some servers drop trailing dots and spaces of a name: `..%20` and `...` would be `..` to them.
            let bare = !written.is_empty() && written.replace("%20", ".").bytes().all(|b| b == b'.');
            if bare || (written.is_empty() && (!last || segment.contains(';')) && count > 1) {
                return Err(Malformed::TargetAmbiguous);
            }
        }
        let canonical = path == raw_path;
        Ok(Self { path, parameters, query: query.map(str::to_owned), canonical })
    }

    /// The normalised path; begins with a slash, carries no parameters.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// The path as records and logs show it: below [`SECRET_PATHS`] nothing of it.
    pub fn shown_path(&self) -> &str {
        if self.path.starts_with(SECRET_PATHS) { SECRET_PATHS } else { &self.path }
    }

    /// The path parameters that were split off, undecoded, in order.
    pub fn parameters(&self) -> &[String] {
        &self.parameters
    }

    /// The query without its question mark, as received.
    pub fn query(&self) -> Option<&str> {
        self.query.as_deref()
    }

    /// Whether the path as received was already in canonical form. Doors that cannot rewrite refuse others.
    pub fn is_canonical(&self) -> bool {
        self.canonical
    }

    /// The decoded values of every query parameter called `name`.
    pub fn query_values(&self, name: &str) -> Vec<String> {
        form_values(self.query.as_deref().unwrap_or_default(), name).collect()
    }

    /// All query parameters, decoded as a form.
    pub fn query_pairs(&self) -> impl Iterator<Item = (String, String)> + '_ {
        form_pairs(self.query.as_deref().unwrap_or_default())
    }

    /// Removes every query parameter whose decoded name is in `names`.
    pub fn remove_query(&mut self, names: &[&str]) {
        let Some(query) = &self.query else { return };
        let decoded = |pair: &str| form_decode(pair.split_once('=').map_or(pair, |(name, _)| name)).into_owned();
        if !query.split('&').any(|pair| names.contains(&decoded(pair).as_str())) {
            return;
        }
        let kept: Vec<&str> = query.split('&').filter(|pair| !names.contains(&decoded(pair).as_str())).collect();
        self.query = (!kept.is_empty()).then(|| kept.join("&"));
    }
}

impl fmt::Display for Target {
    /// The form that is forwarded.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        match &self.query {
            Some(query) => write!(f, "?{query}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({:?})", self.path)
    }
}

/// The pairs of an `application/x-www-form-urlencoded` text, decoded.
pub fn form_pairs(text: &str) -> impl Iterator<Item = (String, String)> + '_ {
    spelled_pairs(text).map(|(name, value)| (form_decode(name).into_owned(), form_decode(value).into_owned()))
}

/// The decoded values of one field of such a text. The values of the others, which may be long, are not decoded.
pub fn form_values<'a>(text: &'a str, name: &'a str) -> impl Iterator<Item = String> + 'a {
    spelled_pairs(text).filter(move |(found, _)| form_decode(found) == name).map(|(_, value)| form_decode(value).into_owned())
}

/// The pairs as they are spelled.
fn spelled_pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut rest = Some(text);
    let pairs = std::iter::from_fn(move || {
        let text = rest?;
        let (pair, after) = split_once(text, b'&').map_or((text, None), |(pair, after)| (pair, Some(after)));
        rest = after;
        Some(pair)
    });
    pairs.filter(|pair| !pair.is_empty()).map(|pair| split_once(pair, b'=').unwrap_or((pair, "")))
}

/// What stands before and after the first `mark`. A form may hold one long value, so octets are looked at many at a time.
fn split_once(text: &str, mark: u8) -> Option<(&str, &str)> {
    let at = memchr::memchr(mark, text.as_bytes())?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

fn form_decode(text: &str) -> Cow<'_, str> {
    if !text.bytes().any(|octet| matches!(octet, b'+' | b'%')) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// Appends `segment` to `path` with unreserved characters decoded and other escapes in upper case.
fn normalise_segment(segment: &str, path: &mut String) -> Result<(), Malformed> {
    let mut bytes = segment.bytes();
    let mut decoded_octets = Vec::new();
    while let Some(byte) = bytes.next() {
        match byte {
            b'%' => {
                let hex = |b: Option<u8>| b.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
                let (Some(high), Some(low)) = (hex(bytes.next()), hex(bytes.next())) else {
                    return Err(Malformed::TargetEscape);
                };
                let octet = high * 16 + low;
                match octet {
                    // Attack 78: an encoded separator, NUL, control or escape means different things to different readers.
                    b'/' | b'\\' | b'%' | b';' | b'#' | b'?' | 0..=0x1f | 0x7f => return Err(Malformed::TargetAmbiguous),
                    b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(octet)),
                    _ => {
                        path.push('%');
                        path.push(hex_digit(high));
                        path.push(hex_digit(low));
                    }
                }
                decoded_octets.push(octet);
            }
            // RFC 3986 §3.3 pchar, less `;` (split off above) and less `%`.
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b'!'
            | b'$'
            | b'&'
            | b'\''
            | b'('
            | b')'
            | b'*'
            | b'+'
            | b','
            | b'='
            | b':'
            | b'@' => {
                path.push(char::from(byte));
                decoded_octets.push(byte);
            }
            _ => return Err(Malformed::TargetCharacter),
        }
    }
    match std::str::from_utf8(&decoded_octets) {
        Ok(_) => Ok(()),
        Err(_) => Err(Malformed::TargetEscape),
    }
}

fn hex_digit(value: u8) -> char {
    char::from_digit(u32::from(value), 16).unwrap_or('0').to_ascii_uppercase()
}

/// How a client wants its refusals: `authentication-chain.md` §6.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// A person's browser loading a page: may be redirected.
    Browser,
    /// A script in a page: never redirected, never shown the browser's password dialogue.
    Script,
    /// Any other HTTP client.
    Api,
    /// A SOAP 1.1 client.
    Soap11,
    /// A SOAP 1.2 client.
    Soap12,
}

impl ClientKind {
    fn of(method: &Method, headers: &HeaderMap, target: &Target) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let media_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let essence = media_type.split(';').next().unwrap_or_default().trim();
        if essence.eq_ignore_ascii_case("application/soap+xml") {
            return Self::Soap12;
        }
        if essence.eq_ignore_ascii_case("multipart/related")
            && let Some(kind) = Self::packed(media_type)
        {
            return kind;
        }
        if headers.contains_key(&SOAP_ACTION) {
            return Self::Soap11;
        }
        let from_page = text(&REQUESTED_WITH).is_some();
        let readable = method == Method::GET || method == Method::HEAD;
        if let Some(mode) = text(&FETCH_MODE) {
            let page = matches!(text(&FETCH_DEST), Some("document" | "iframe" | "frame"));
            let prefetch = text(&PURPOSE).is_some_and(|purpose| purpose.contains("prefetch"));
            return if readable && mode == "navigate" && page && !from_page && !prefetch { Self::Browser } else { Self::Script };
        }
        if from_page || headers.contains_key(http::header::ORIGIN) {
            return Self::Script;
        }
        let wants_html = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|range| range.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/html"));
        let api_path = target.path() == "/api" || target.path().starts_with("/api/");
        if readable && wants_html && !headers.contains_key(AUTHORIZATION) && !api_path { Self::Browser } else { Self::Api }
    }

    /// Which envelope a package says it has for a root: in `type` (RFC 2387 §3.1), or in `start-info` where that says XOP (XOP §5).
    fn packed(media_type: &str) -> Option<Self> {
        media_type.split(';').skip(1).find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            let value = value.trim().trim_matches('"').trim();
            match name.trim().to_ascii_lowercase().as_str() {
                "type" | "start-info" if value.eq_ignore_ascii_case("application/soap+xml") => Some(Self::Soap12),
                "type" | "start-info" if value.eq_ignore_ascii_case("text/xml") => Some(Self::Soap11),
                _ => None,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures;

    #[test]
    fn unreserved_characters_are_decoded_and_escapes_upper_cased() {
        let target = Target::parse("/%61b/%c5%82?x=%2F").unwrap();
        assert_eq!(target.to_string(), "/ab/%C5%82?x=%2F");
        assert!(!target.is_canonical());
        assert!(Target::parse("/ab/%C5%82?x=1").unwrap().is_canonical());
    }

    #[test]
    fn a_package_is_of_the_kind_of_its_envelope() {
        for (media_type, kind) in [
            ("multipart/related; boundary=b; type=\"text/xml\"", ClientKind::Soap11),
            ("Multipart/Related; TYPE=application/soap+xml; boundary=b", ClientKind::Soap12),
            ("multipart/related; type=\"application/xop+xml\"; start-info=\"text/xml\"", ClientKind::Soap11),
            (r#"multipart/related; start-info="application/soap+xml; action=\"a\""; type="application/xop+xml""#, ClientKind::Soap12),
            ("multipart/related; type=\"image/png\"; boundary=\"text/xml\"", ClientKind::Api),
            ("multipart/mixed; type=\"text/xml\"", ClientKind::Api),
        ] {
            assert_eq!(fixtures::request("POST", "north.example.com/", &[("content-type", media_type)]).kind(), kind, "{media_type}");
        }
    }

    #[test]
    fn ambiguity_is_refused() {
        for raw in [
            "/..",
            "/../admin",
            "/a/../b",
            "/a/./b",
            "//",
            "//admin",
            "/a//b",
            "/%2e%2e/admin",
            "/%2E/admin",
            "/a%2fb",
            "/a%5cb",
            "/a%00",
            "/a%252e",
            "/;x/admin",
            "/a/;x",
            "/..;/admin",
            "/.;a/b",
            "/a%3bx",
            "/a%23",
            "/a%0a",
        ] {
            assert_eq!(Target::parse(raw), Err(Malformed::TargetAmbiguous), "{raw}");
        }
        for raw in ["/a\\b", "/a b", "/a#b", "/a?b#c", "/\u{e9}", "/a\"", "/<"] {
            assert_eq!(Target::parse(raw), Err(Malformed::TargetCharacter), "{raw}");
        }
        for raw in ["/%", "/%2", "/%zz", "/%ff", "/%c3"] {
            assert_eq!(Target::parse(raw), Err(Malformed::TargetEscape), "{raw}");
        }
        for raw in ["", "*", "admin", "http://a/b"] {
            assert_eq!(Target::parse(raw), Err(Malformed::TargetForm), "{raw}");
        }
    }

    #[test]
    fn path_parameters_are_split_off() {
        let target = Target::parse("/a;jsessionid=1;b/c").unwrap();
        assert_eq!(target.path(), "/a/c");
        assert_eq!(target.parameters(), ["jsessionid=1", "b"]);
        assert_eq!(Target::parse("/").unwrap().path(), "/");
        assert_eq!(Target::parse("/a/").unwrap().path(), "/a/");
    }

    #[test]
    fn query_parameters_are_removed_by_decoded_name() {
        let mut target = Target::parse("/a?%74oken=1&x=2&token=3&token").unwrap();
        target.remove_query(&["token"]);
        assert_eq!(target.to_string(), "/a?x=2");
        target.remove_query(&["x"]);
        assert_eq!(target.to_string(), "/a");
    }

    #[test]
    fn hosts_are_normalised() {
        for (raw, want) in [
            ("A.Example.", "a.example"),
            ("a.example:8443", "a.example:8443"),
            ("a.example:080", "a.example:80"),
            ("a.example:0", "a.example:0"),
            ("[::1]:80", "[::1]:80"),
            ("[0:0::1]", "[::1]"),
            ("127.0.0.1", "127.0.0.1"),
        ] {
            let host = Host::parse(raw).unwrap();
            assert_eq!(host.to_string(), want);
            assert!(host.is_spelled(want.as_bytes()) && (raw == want || !host.is_spelled(raw.as_bytes())), "{raw}");
        }
        for raw in ["", ".", "a..b", "a:", "a:x", "a:70000", "u@a", "a/b", "-a", "a b", "[::1", "[::1]x", "a,b", "\u{e9}.example"] {
            assert_eq!(Host::parse(raw), Err(Malformed::Host), "{raw}");
        }
    }

    proptest! {
        #[test]
        fn normalisation_is_idempotent(raw in "/[a-zA-Z0-9%./;_~-]{0,40}") {
            if let Ok(target) = Target::parse(&raw) {
                let again = Target::parse(&target.to_string()).unwrap();
                prop_assert!(again.is_canonical());
                prop_assert_eq!(again.path(), target.path());
                prop_assert!(!target.path().contains("//") && !target.path().contains("/../"));
            }
        }

        #[test]
        fn any_text_is_read_or_refused(raw in ".{0,60}") {
            let _ = Target::parse(&raw);
            let _ = Host::parse(&raw);
        }
    }
}
