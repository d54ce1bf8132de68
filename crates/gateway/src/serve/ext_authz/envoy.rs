//! Envoy's `envoy.service.auth.v3.Authorization/Check` over gRPC.
//!
//! Whatever is not a readable question is answered with a gRPC error, at which Envoy denies (`failure_mode_allow` is false
//! unless an operator says otherwise).

use std::collections::HashMap;
use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, SET_COOKIE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use prost::Message as _;
use vestibule_engine::request::{Channel, Malformed};

use crate::serve::body::Reply;
use crate::serve::ext_authz::{Answer, Described, describe};
use crate::serve::grpc::{self, Status};
use crate::serve::read::Origin;

/// Header fields of one question.
const MAX_FIELDS: usize = 256;
/// The one call we answer.
pub const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Reads the question out of a call's octets.
pub fn described(call: &[u8]) -> Result<Described, Malformed> {
    let message = grpc::only_message(call).ok_or(Malformed::Undescribed)?;
    let question = CheckRequest::decode(message).map_err(|_| Malformed::Undescribed)?;
    let attributes = question.attributes.ok_or(Malformed::Undescribed)?;
    let http = attributes.request.and_then(|request| request.http).ok_or(Malformed::Undescribed)?;
    let address = attributes.source.and_then(|source| source.address).and_then(|address| address.socket_address);
    let address: IpAddr = address.and_then(|socket| socket.address.parse().ok()).ok_or(Malformed::Undescribed)?;
    let channel = if http.scheme == "https" { Channel::Tls } else { Channel::Plain };
    let sni = attributes.tls_session.map(|tls| tls.sni).filter(|sni| !sni.is_empty());
    let method = Method::from_bytes(http.method.as_bytes()).map_err(|_| Malformed::Undescribed)?;
    let headers = fields(&http)?;
    let partial = headers.get(describe::PARTIAL).is_some_and(|value| value == "true");
    let body = if http.raw_body.is_empty() { http.body.into_bytes() } else { http.raw_body };
    let absent = body.is_empty() && !partial && !is_bodiless(&method, &headers);
    let head = describe::head(method, &http.host, &http.path, headers)?;
    Ok(Described { head, origin: Origin::new(address, channel, sni), body: (!absent).then(|| body.into()) })
}

/// Whether an empty body is all there was. Without `with_request_body` none comes, and over HTTP/2 nothing else has to say that
/// there is one (RFC 9113 §8.1.1): so what usually has one has to say that it has none.
fn is_bodiless(method: &Method, headers: &HeaderMap) -> bool {
    match headers.get(CONTENT_LENGTH) {
        Some(length) => length == "0" && !headers.contains_key(TRANSFER_ENCODING),
        None => {
            matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
                && !headers.contains_key(TRANSFER_ENCODING)
                && !headers.contains_key(CONTENT_TYPE)
        }
    }
}

fn fields(http: &HttpRequest) -> Result<HeaderMap, Malformed> {
    let raw = http.header_map.iter().flat_map(|map| &map.headers).map(Field::octets);
    // Without `encode_raw_headers` doubled fields come joined by a comma, which no credential of ours may contain.
    let joined = http.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    header_map(raw.chain(joined))
}

/// Fields as Envoy names them, less those of HTTP/2 itself.
pub(in crate::serve) fn header_map<'a>(fields: impl Iterator<Item = (&'a str, &'a [u8])>) -> Result<HeaderMap, Malformed> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields.filter(|(name, _)| !name.starts_with(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Malformed::Header)?;
        headers.append(name, HeaderValue::from_bytes(value).map_err(|_| Malformed::Header)?);
        if headers.len() > MAX_FIELDS {
            return Err(Malformed::Header);
        }
    }
    Ok(headers)
}

/// Puts an answer into Envoy's words.
pub(super) fn reply(answer: Answer) -> Response<Reply> {
    let answer = match answer {
        Answer::Allow(allowed) => CheckResponse {
            status: Some(RpcStatus { code: 0 }),
            denied: None,
            ok: Some(OkHttpResponse {
                headers: allowed.changes.set.iter().map(|(name, value)| option(name, value, Append::Replace)).collect(),
                headers_to_remove: allowed.changes.remove.iter().map(|name| name.as_str().to_owned()).collect(),
                response_headers_to_add: for_client(&allowed.beside),
            }),
        },
        Answer::Refuse(response) => {
            let (parts, body) = response.into_parts();
            // PERMISSION_DENIED or UNAUTHENTICATED; Envoy looks only whether it is OK.
            let code = if parts.status == StatusCode::UNAUTHORIZED { 16 } else { 7 };
            CheckResponse {
                status: Some(RpcStatus { code }),
                denied: Some(DeniedHttpResponse {
                    status: Some(HttpStatus { code: i32::from(parts.status.as_u16()) }),
                    headers: for_client(&parts.headers),
                    body: String::from_utf8_lossy(&body).into_owned(),
                }),
                ok: None,
            }
        }
    };
    grpc::answer(Reply::call(grpc::framed(&answer), grpc::trailers(Status::Ok)))
}

/// `APPEND_IF_EXISTS_OR_ADD` and `OVERWRITE_IF_EXISTS_OR_ADD`.
pub(in crate::serve) const ADD: i32 = 0;
pub(in crate::serve) const OVERWRITE: i32 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Append {
    Replace,
    Add,
}

fn option(name: &HeaderName, value: &HeaderValue, append: Append) -> HeaderValueOption {
    let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
    // The older `append` is asked first, and where it is true a header that is not there yet is not added to a refusal.
    let (append, append_action) = if append == Append::Add { (None, ADD) } else { (Some(false), OVERWRITE) };
    HeaderValueOption { header: Some(Field { key: name.as_str().to_owned(), value, raw_value: Vec::new() }), append, append_action }
}

fn for_client(headers: &HeaderMap) -> Vec<HeaderValueOption> {
    let more = |name: &HeaderName| *name == SET_COOKIE || *name == http::header::WWW_AUTHENTICATE;
    headers.iter().map(|(name, value)| option(name, value, if more(name) { Append::Add } else { Append::Replace })).collect()
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<AttributeContext>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AttributeContext {
    #[prost(message, optional, tag = "1")]
    source: Option<Source>,
    #[prost(message, optional, tag = "4")]
    request: Option<Asked>,
    #[prost(message, optional, tag = "12")]
    tls_session: Option<TlsSession>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Source {
    #[prost(message, optional, tag = "1")]
    address: Option<Address>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Address {
    #[prost(message, optional, tag = "1")]
    socket_address: Option<SocketAddress>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SocketAddress {
    #[prost(string, tag = "2")]
    address: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Asked {
    #[prost(message, optional, tag = "2")]
    http: Option<HttpRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct HttpRequest {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
    #[prost(string, tag = "6")]
    scheme: String,
    #[prost(string, tag = "11")]
    body: String,
    #[prost(bytes = "vec", tag = "12")]
    raw_body: Vec<u8>,
    #[prost(message, optional, tag = "13")]
    header_map: Option<Fields>,
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Its headers hold credentials.
        f.debug_struct("HttpRequest").field("method", &self.method).field("host", &self.host).finish_non_exhaustive()
    }
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(in crate::serve) struct Fields {
    #[prost(message, repeated, tag = "1")]
    pub headers: Vec<Field>,
}

impl std::fmt::Debug for Fields {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} fields", self.headers.len())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(in crate::serve) struct Field {
    #[prost(string, tag = "1")]
    pub key: String,
    #[prost(string, tag = "2")]
    pub value: String,
    #[prost(bytes = "vec", tag = "3")]
    pub raw_value: Vec<u8>,
}

impl Field {
    /// Its name and the octets of its value.
    pub fn octets(&self) -> (&str, &[u8]) {
        (&self.key, if self.raw_value.is_empty() { self.value.as_bytes() } else { &self.raw_value })
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: …", self.key)
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct TlsSession {
    #[prost(string, tag = "1")]
    sni: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<RpcStatus>,
    #[prost(message, optional, tag = "2")]
    denied: Option<DeniedHttpResponse>,
    #[prost(message, optional, tag = "3")]
    ok: Option<OkHttpResponse>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeniedHttpResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderValueOption>,
    #[prost(string, tag = "3")]
    body: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::serve) struct HttpStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OkHttpResponse {
    #[prost(message, repeated, tag = "2")]
    headers: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "5")]
    headers_to_remove: Vec<String>,
    #[prost(message, repeated, tag = "6")]
    response_headers_to_add: Vec<HeaderValueOption>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(in crate::serve) struct HeaderValueOption {
    #[prost(message, optional, tag = "1")]
    pub header: Option<Field>,
    #[prost(message, optional, tag = "2")]
    pub append: Option<bool>,
    #[prost(int32, tag = "3")]
    pub append_action: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(http: HttpRequest) -> Vec<u8> {
        let address = Address { socket_address: Some(SocketAddress { address: "192.0.2.7".into() }) };
        let attributes = AttributeContext {
            source: Some(Source { address: Some(address) }),
            request: Some(Asked { http: Some(http) }),
            tls_session: None,
        };
        let message = CheckRequest { attributes: Some(attributes) }.encode_to_vec();
        let mut octets = vec![0];
        octets.extend(u32::try_from(message.len()).unwrap().to_be_bytes());
        octets.extend(message);
        octets
    }

    fn get(path: &str) -> HttpRequest {
        HttpRequest {
            method: "GET".into(),
            path: path.into(),
            host: "north.example.com".into(),
            scheme: "https".into(),
            ..Default::default()
        }
    }

    #[test]
    fn the_question_is_read_and_the_source_is_the_client() {
        let question = HttpRequest { headers: HashMap::from([("x-a".into(), "1".into()), (":path".into(), "/b".into())]), ..get("/a?b=c") };
        let described = described(&call(question)).unwrap();
        assert_eq!(described.head.target.to_string(), "/a?b=c");
        assert_eq!(described.head.headers.get("x-a").unwrap(), "1");
        assert_eq!(described.origin.address, IpAddr::from([192, 0, 2, 7]));
        assert_eq!(described.origin.channel, Channel::Tls);
    }

    #[test]
    fn a_body_that_was_not_sent_is_not_an_empty_one() {
        let long = HashMap::from([("content-length".to_owned(), "5".to_owned())]);
        assert!(described(&call(HttpRequest { headers: long.clone(), ..get("/") })).unwrap().body.is_none());
        let sent = HttpRequest { headers: long, body: "hello".into(), ..get("/") };
        assert_eq!(described(&call(sent)).unwrap().body.unwrap(), "hello");
        assert_eq!(described(&call(get("/"))).unwrap().body.unwrap(), "");
        // Over HTTP/2 nothing but the method may say that there is one.
        let asked = |method: &str, headers: &[(&str, &str)]| {
            let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            described(&call(HttpRequest { method: method.into(), headers, ..get("/") })).unwrap().body.is_some()
        };
        for (method, headers, known) in [
            ("POST", &[][..], false),
            ("PUT", &[("content-type", "text/xml")], false),
            ("GET", &[("content-type", "text/xml")], false),
            ("GET", &[("transfer-encoding", "chunked")], false),
            ("POST", &[("content-length", "0"), ("transfer-encoding", "chunked")], false),
            ("POST", &[("content-length", "0")], true),
            ("GET", &[("content-length", "0"), ("content-type", "text/xml")], true),
            ("HEAD", &[], true),
        ] {
            assert_eq!(asked(method, headers), known, "{method} {headers:?}");
        }
    }

    #[test]
    fn octets_that_are_no_question_are_refused() {
        let whole = call(get("/"));
        for cut in 0..whole.len() {
            assert!(described(&whole[..cut]).is_err());
        }
        let mut compressed = whole.clone();
        compressed[0] = 1;
        assert!(described(&compressed).is_err());
        let many = (0..300).map(|number| (format!("x-{number}"), String::new())).collect();
        assert!(matches!(described(&call(HttpRequest { headers: many, ..get("/") })), Err(Malformed::Header)));
        assert!(described(&call(HttpRequest { host: String::new(), ..get("/") })).is_err());
    }
}
