//! The messages of `envoy.service.ext_proc.v3`, as far as they are read or written.

use std::collections::HashMap;

use bytes::Bytes;
use http::header::{SET_COOKIE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::serve::ext_authz::envoy::{ADD, Field, Fields, HeaderValueOption, HttpStatus, OVERWRITE};

/// `ProcessingMode.BodySendMode.NONE` and `BUFFERED`.
const NONE: i32 = 0;
const BUFFERED: i32 = 2;
/// `ProcessingMode.HeaderSendMode.SEND`.
const SEND: i32 = 1;

/// What Envoy says. Of the alternatives of its `oneof`, those that are never asked for are not declared.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessingRequest {
    #[prost(message, optional, tag = "2")]
    pub request_headers: Option<HttpHeaders>,
    #[prost(message, optional, tag = "3")]
    pub response_headers: Option<HttpHeaders>,
    #[prost(message, optional, tag = "4")]
    pub request_body: Option<HttpBody>,
    #[prost(map = "string, message", tag = "9")]
    pub attributes: HashMap<String, Attributes>,
    #[prost(bool, tag = "10")]
    pub observability_mode: bool,
    #[prost(message, optional, tag = "11")]
    pub protocol_config: Option<ProtocolConfiguration>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct HttpHeaders {
    #[prost(message, optional, tag = "1")]
    pub headers: Option<Fields>,
    #[prost(bool, tag = "3")]
    pub end_of_stream: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct HttpBody {
    #[prost(bytes = "vec", tag = "1")]
    pub body: Vec<u8>,
    #[prost(bool, tag = "2")]
    pub end_of_stream: bool,
}

impl std::fmt::Debug for HttpBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // It may hold credentials.
        write!(f, "{} octets", self.body.len())
    }
}

/// What Envoy was told to do with bodies.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProtocolConfiguration {
    #[prost(int32, tag = "1")]
    pub request_body_mode: i32,
}

impl ProtocolConfiguration {
    /// Whether it brings the whole body in one message. `BUFFERED_PARTIAL` brings what it likes.
    pub fn buffers_requests(&self) -> bool {
        self.request_body_mode == BUFFERED
    }
}

/// `google.protobuf.Struct`, of which only texts are read.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Attributes {
    #[prost(map = "string, message", tag = "1")]
    pub fields: HashMap<String, Value>,
}

impl Attributes {
    /// A text of this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name).and_then(|value| value.text.as_deref())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Value {
    #[prost(string, optional, tag = "3")]
    pub text: Option<String>,
}

/// What we say. Exactly one of the first four is there.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ProcessingResponse {
    #[prost(message, optional, tag = "1")]
    request_headers: Option<Commonly>,
    #[prost(message, optional, tag = "2")]
    response_headers: Option<Commonly>,
    #[prost(message, optional, tag = "3")]
    request_body: Option<Commonly>,
    #[prost(message, optional, tag = "7")]
    immediate: Option<ImmediateResponse>,
    #[prost(message, optional, tag = "9")]
    mode: Option<ProcessingMode>,
}

impl ProcessingResponse {
    /// Answers the head of a request, and says what is still to come: the head of the answer, and the body if it is awaited. Envoy's
    /// own answers to what it refuses to read never come here (`response_header_mode: SKIP`), or they would be late.
    pub fn request_head(common: Common, awaits: Awaits) -> Self {
        let request_body_mode = match awaits {
            Awaits::Body => BUFFERED,
            Awaits::Answer => NONE,
        };
        let mode = ProcessingMode { request_header_mode: SEND, response_header_mode: SEND, request_body_mode };
        Self { request_headers: Some(Commonly { response: Some(common) }), mode: Some(mode), ..Self::default() }
    }

    /// Answers its body.
    pub fn request_body(common: Common) -> Self {
        Self { request_body: Some(Commonly { response: Some(common) }), ..Self::default() }
    }

    /// Answers the head of the application's answer.
    pub fn answer_head(common: Common) -> Self {
        Self { response_headers: Some(Commonly { response: Some(common) }), ..Self::default() }
    }

    /// Answers the client in the application's place.
    pub fn immediate(status: StatusCode, edit: Edit, body: Bytes) -> Self {
        let status = HttpStatus { code: i32::from(status.as_u16()) };
        Self { immediate: Some(ImmediateResponse { status: Some(status), edit: Some(edit), body: body.into() }), ..Self::default() }
    }
}

/// What is to come after the head of a request (`allow_mode_override`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaits {
    /// The whole body.
    Body,
    /// The answer; the body streams by.
    Answer,
}

/// `HeadersResponse` and `BodyResponse`, which are alike.
#[derive(Clone, PartialEq, prost::Message)]
struct Commonly {
    #[prost(message, optional, tag = "1")]
    response: Option<Common>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Common {
    /// `CONTINUE` or `CONTINUE_AND_REPLACE`.
    #[prost(int32, tag = "1")]
    pub status: i32,
    #[prost(message, optional, tag = "2")]
    pub edit: Option<Edit>,
    #[prost(message, optional, tag = "3")]
    pub body: Option<BodyMutation>,
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
pub struct BodyMutation {
    /// Absent, there is no body any more.
    #[prost(bytes = "vec", optional, tag = "1")]
    body: Option<Vec<u8>>,
}

impl BodyMutation {
    /// This one in place of the client's.
    pub fn replace(body: Bytes) -> Self {
        Self { body: Some(body.into()) }
    }
}

impl std::fmt::Debug for BodyMutation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} octets", self.body.as_ref().map_or(0, Vec::len))
    }
}

#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct ImmediateResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<HttpStatus>,
    #[prost(message, optional, tag = "2")]
    edit: Option<Edit>,
    #[prost(bytes = "vec", tag = "3")]
    body: Vec<u8>,
}

impl std::fmt::Debug for ImmediateResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}, {} octets", self.status, self.body.len())
    }
}

/// `HeaderMutation`: what is removed goes first.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Edit {
    #[prost(message, repeated, tag = "1")]
    pub set: Vec<HeaderValueOption>,
    #[prost(string, repeated, tag = "2")]
    pub remove: Vec<String>,
}

impl Edit {
    /// Sets a header in place of all of that name.
    pub fn set(&mut self, name: &str, value: &HeaderValue) {
        self.push(name, value, (false, OVERWRITE));
    }

    /// Adds one more of that name.
    pub fn add(&mut self, name: &str, value: &HeaderValue) {
        self.push(name, value, (true, ADD));
    }

    /// Sets these, or adds them where there may be several.
    pub fn set_all(&mut self, headers: &HeaderMap) {
        for (name, value) in headers {
            if *name == SET_COOKIE || *name == WWW_AUTHENTICATE { self.add(name.as_str(), value) } else { self.set(name.as_str(), value) }
        }
    }

    fn push(&mut self, name: &str, value: &HeaderValue, (append, append_action): (bool, i32)) {
        let header = Field { key: name.to_owned(), value: String::new(), raw_value: value.as_bytes().to_vec() };
        // The older `append` is asked where the newer `append_action` is nought.
        self.set.push(HeaderValueOption { header: Some(header), append: Some(append), append_action });
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct ProcessingMode {
    #[prost(int32, tag = "1")]
    request_header_mode: i32,
    #[prost(int32, tag = "2")]
    response_header_mode: i32,
    #[prost(int32, tag = "3")]
    request_body_mode: i32,
}
