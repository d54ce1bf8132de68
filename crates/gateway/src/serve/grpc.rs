//! gRPC over HTTP/2, as far as other proxies ask us by it (gRPC over HTTP/2, §Requests and §Responses).
//!
//! Each message has a flag and a length before it, and a status comes in the trailers. Only the fields we read or write are
//! declared; a protobuf reader skips what it does not know, so no generated code and no `protoc` are needed. What an attacker
//! tries: a length that no memory holds, messages that never end.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;

use crate::serve::body::{BodyBudget, Reply, Unfit};

/// Octets of one message, the body in it included.
pub const MAX_MESSAGE: usize = 4 << 20;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// Flag and length before each message.
const PREFIX: usize = 5;

/// How a call ended (gRPC status codes).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Ok = 0,
    InvalidArgument = 3,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

/// Whether a request is a call of this method.
pub fn calls(head: &Parts, method: &str) -> Result<(), Status> {
    let media_type = head.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let grpc = media_type == "application/grpc" || media_type == "application/grpc+proto";
    (grpc && head.method == Method::POST && head.uri.path() == method).then_some(()).ok_or(Status::Unimplemented)
}

/// The one message of these octets.
pub fn only_message(octets: &[u8]) -> Option<&[u8]> {
    let (prefix, message) = octets.split_first_chunk::<PREFIX>()?;
    (length(*prefix)? == message.len()).then_some(message)
}

/// The length that a prefix says. No `grpc-accept-encoding` of ours offers compression.
fn length(prefix: [u8; PREFIX]) -> Option<usize> {
    let [compressed, length @ ..] = prefix;
    (compressed == 0).then(|| u32::from_be_bytes(length) as usize)
}

/// A message as it is sent.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut octets = BytesMut::with_capacity(PREFIX + length);
    octets.put_u8(0);
    octets.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    octets.extend_from_slice(&message.encode_to_vec());
    octets.freeze()
}

/// What follows the last message.
pub fn trailers(status: Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from(status as u16));
    trailers
}

/// An answer to a call.
pub fn answer(reply: Reply) -> Response<Reply> {
    let mut response = Response::new(reply);
    response.headers_mut().insert(CONTENT_TYPE, GRPC);
    response
}

/// A call that has no answer.
pub fn failed(status: Status) -> Response<Reply> {
    let mut response = answer(Reply::whole(Bytes::new()));
    response.headers_mut().insert(GRPC_STATUS, HeaderValue::from(status as u16));
    response
}

/// The messages of a call, one after the other, within the budget for bodies.
#[derive(Debug)]
pub struct Messages {
    body: Incoming,
    budget: BodyBudget,
    share: Option<OwnedSemaphorePermit>,
    unread: BytesMut,
}

impl Messages {
    /// Those in this body.
    pub fn new(body: Incoming, budget: BodyBudget) -> Self {
        Self { body, budget, share: None, unread: BytesMut::new() }
    }

    /// The next one, or `None` after the last. Once it has begun, each piece has to come within `idle`; `patience` is for its beginning.
    pub async fn next(&mut self, patience: Option<Duration>, idle: Duration) -> Result<Option<Bytes>, Status> {
        let mut wait = patience;
        loop {
            if let Some((prefix, rest)) = self.unread.split_first_chunk::<PREFIX>() {
                let length = length(*prefix).filter(|length| *length <= MAX_MESSAGE).ok_or(Status::InvalidArgument)?;
                if rest.len() >= length {
                    self.unread.advance(PREFIX);
                    return Ok(Some(self.unread.split_to(length).freeze()));
                }
            }
            if !self.unread.is_empty() {
                wait = Some(idle);
            }
            let frame = match wait {
                Some(wait) => tokio::time::timeout(wait, self.body.frame()).await.map_err(|_| Status::Unavailable)?,
                None => self.body.frame().await,
            };
            let Some(frame) = frame else {
                return if self.unread.is_empty() { Ok(None) } else { Err(Status::InvalidArgument) };
            };
            let Ok(data) = frame.map_err(|_| Status::Unavailable)?.into_data() else { continue };
            // The shares of earlier messages are kept: what was read of them is judged until the call ends.
            self.budget.count(data.len(), &mut self.share).map_err(|unfit| match unfit {
                Unfit::NoMemory => Status::ResourceExhausted,
                Unfit::TooLong | Unfit::MediaType | Unfit::Broken => Status::InvalidArgument,
            })?;
            self.unread.extend_from_slice(&data);
        }
    }

    /// Gives back the memory of what was read.
    pub fn forget(&mut self) {
        self.share = None;
    }
}
