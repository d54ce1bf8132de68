//! Envoy's `envoy.service.ext_proc.v3.ExternalProcessor/Process`: Envoy is the agent, we are the policy server.
//!
//! One stream is one request: its head, its buffered body, then the head of the application's answer. We answer each with what
//! Envoy must change, the message of a SOAP request included. The agent has no key and no directory, and it sends what the
//! client sent, never what it thinks of it.
//!
//! What an attacker tries: a body of which we see the beginning only, a body that follows a head that was let through without
//! it. And what must never happen to us: Envoy takes a stream that ends without an error for consent ("if the server closes the
//! gRPC stream cleanly, the data plane proceeds"). So [`Status::Ok`] ends a stream only after Envoy ended it, and only if the
//! request had been let through.

mod words;

use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use http_body::Frame;
use hyper::body::Incoming;
use prost::Message as _;
use vestibule_engine::request::{Channel, Malformed, RequestId};

use crate::serve::body::Reply;
use crate::serve::ext_authz::envoy::{Field, header_map};
use crate::serve::ext_authz::{Allowed, Answer, Dialect, Met, describe, judge, meet};
use crate::serve::grpc::{self, Messages, Status};
use crate::serve::integration::program::is_session;
use crate::serve::listen::Peer;
use crate::serve::proxy::{Passage, Running, Shared, is_our_cookie, is_ours};
use crate::serve::read::{Head, Origin};
use words::{Awaits, Common, Edit, ProcessingRequest, ProcessingResponse};

const PROCESS: &str = "/envoy.service.ext_proc.v3.ExternalProcessor/Process";
const DIALECT: Dialect = Dialect::EnvoyExtProc;

/// Answers one stream.
pub(super) fn answer(passage: &Passage<'_>, head: &Parts, body: Incoming) -> Response<Reply> {
    if let Err(status) = grpc::calls(head, PROCESS) {
        return grpc::failed(status);
    }
    let limits = &passage.door().limits;
    let exchange = Exchange {
        shared: passage.shared.clone(),
        running: passage.running.clone(),
        peer: passage.peer.clone(),
        id: passage.id,
        messages: Messages::new(body, passage.shared.budget().clone()),
        idle: limits.body_idle,
        total: limits.body_total,
        stage: Stage::Head,
    };
    grpc::answer(Reply::conversation(stream::unfold(exchange, Exchange::next).boxed()))
}

/// One request, from its head to the head of its answer.
struct Exchange {
    shared: Arc<Shared>,
    running: Arc<Running>,
    peer: Arc<Peer>,
    id: RequestId,
    messages: Messages,
    /// Between two pieces of a message.
    idle: Duration,
    /// Until the body is there.
    total: Duration,
    stage: Stage,
}

/// What was said so far.
enum Stage {
    /// Nothing.
    Head,
    /// The head; the body is still to come.
    Body(Box<Met>),
    /// The request was let through.
    Answer(Beside),
    /// It was refused; there is nothing more to say.
    Told,
    /// And that has been said.
    Ended,
}

/// What goes with the application's answer.
struct Beside {
    headers: HeaderMap,
    protected: bool,
    /// See [`Allowed::program`].
    program: bool,
}

impl Exchange {
    async fn next(mut self) -> Option<(Frame<Bytes>, Self)> {
        let stage = std::mem::replace(&mut self.stage, Stage::Ended);
        let status = match stage {
            Stage::Ended => return None,
            stage @ (Stage::Head | Stage::Body(_) | Stage::Answer(_) | Stage::Told) => {
                // A defect in one decision costs that one request.
                let said = AssertUnwindSafe(self.hear(stage)).catch_unwind().await;
                let said = said.unwrap_or_else(|_| {
                    tracing::error!(request_id = %self.id, "a request handler panicked");
                    Err(Status::Internal)
                });
                match said {
                    Ok((response, stage)) => {
                        self.stage = stage;
                        return Some((Frame::data(grpc::framed(&response)), self));
                    }
                    Err(status) => status,
                }
            }
        };
        Some((Frame::trailers(grpc::trailers(status)), self))
    }

    /// Takes the next message and answers it.
    async fn hear(&mut self, stage: Stage) -> Result<(ProcessingResponse, Stage), Status> {
        // The application may take as long as Envoy lets it.
        let patience = match &stage {
            Stage::Answer(_) => None,
            Stage::Head | Stage::Body(_) | Stage::Told | Stage::Ended => Some(self.idle),
        };
        let awaited = self.messages.next(patience, self.idle);
        let message = match &stage {
            Stage::Answer(_) => awaited.await?,
            Stage::Head | Stage::Body(_) | Stage::Told | Stage::Ended => {
                tokio::time::timeout(self.total, awaited).await.map_err(|_| Status::Unavailable)??
            }
        };
        let Some(message) = message else {
            return Err(if matches!(stage, Stage::Answer(_)) { Status::Ok } else { Status::InvalidArgument });
        };
        let message = ProcessingRequest::decode(message).map_err(|_| Status::InvalidArgument)?;
        // An observer is not asked: what we say is not done (`observability_mode`).
        if message.observability_mode {
            return Err(Status::InvalidArgument);
        }
        let passage = Passage { shared: &self.shared, running: &self.running, peer: &self.peer, id: self.id };
        match stage {
            // An answer of Envoy's own, to what it never asked about. One that is no refusal would be an application's.
            Stage::Head if message.request_headers.is_none() => {
                let fields = message.response_headers.and_then(|head| head.headers).unwrap_or_default();
                let status = fields.headers.iter().find(|field| field.key == ":status").map(|field| field.octets().1);
                if !status.is_some_and(|status| matches!(status.first(), Some(b'4' | b'5'))) {
                    return Err(Status::InvalidArgument);
                }
                Ok((ProcessingResponse::answer_head(Common::default()), Stage::Told))
            }
            Stage::Head => heard_head(&passage, message).await,
            Stage::Body(met) => {
                let body = message.request_body.ok_or(Status::InvalidArgument)?;
                // Not the last piece, or a trailer follows: what was not seen is not judged.
                let whole = body.end_of_stream.then(|| Bytes::from(body.body));
                let answer = judge(&passage, DIALECT, *met, whole).await;
                self.messages.forget();
                Ok(told(answer, Place::Body))
            }
            // Judged without it, and Envoy was told not to bring it (`allow_mode_override`).
            Stage::Answer(beside) if message.request_body.is_some() => {
                Ok((ProcessingResponse::request_body(Common::default()), Stage::Answer(beside)))
            }
            Stage::Answer(beside) => {
                let head = message.response_headers.ok_or(Status::InvalidArgument)?;
                let fields = head.headers.unwrap_or_default();
                let headers = header_map(fields.headers.iter().map(Field::octets)).map_err(|_| Status::InvalidArgument)?;
                let response = ProcessingResponse::answer_head(Common { edit: Some(beside.edit(&headers)), ..Common::default() });
                Ok((response, Stage::Answer(Beside { headers: HeaderMap::new(), ..beside })))
            }
            Stage::Told | Stage::Ended => Err(Status::InvalidArgument),
        }
    }
}

async fn heard_head(passage: &Passage<'_>, message: ProcessingRequest) -> Result<(ProcessingResponse, Stage), Status> {
    // Only a body that is buffered whole is followed by no other piece.
    let buffered = message.protocol_config.as_ref().is_some_and(words::ProtocolConfiguration::buffers_requests);
    let asked = message.request_headers.ok_or(Status::InvalidArgument)?;
    let fields = asked.headers.unwrap_or_default();
    let attribute = |name: &str| message.attributes.values().find_map(|all| all.text(name)).filter(|text| !text.is_empty());
    let met = match described(&fields.headers, attribute) {
        Ok((head, origin)) => meet(passage, DIALECT, head, &origin),
        Err(malformed) => Err(passage.unread(malformed)),
    };
    let met = match met {
        Ok(met) => met,
        Err(answer) => return Ok(told(answer, Place::Head)),
    };
    if met.needs_body() && buffered && !asked.end_of_stream {
        return Ok((ProcessingResponse::request_head(Common::default(), Awaits::Body), Stage::Body(Box::new(met))));
    }
    let body = asked.end_of_stream.then(Bytes::new);
    Ok(told(judge(passage, DIALECT, met, body).await, Place::Head))
}

/// Reads a head as Envoy has it after its own checks, and who sent it.
fn described<'a>(fields: &[Field], attribute: impl Fn(&str) -> Option<&'a str>) -> Result<(Head, Origin), Malformed> {
    let pseudo = |name: &str| {
        let mut values = fields.iter().filter(|field| field.key == name).map(|field| field.octets().1);
        match (values.next(), values.next()) {
            (Some(value), None) => std::str::from_utf8(value).map_err(|_| Malformed::Undescribed),
            _ => Err(Malformed::Undescribed),
        }
    };
    let method = Method::from_bytes(pseudo(":method")?.as_bytes()).map_err(|_| Malformed::Undescribed)?;
    let headers = header_map(fields.iter().map(Field::octets))?;
    let head = describe::head(method, pseudo(":authority")?, pseudo(":path")?, headers)?;
    let source = attribute("source.address").ok_or(Malformed::Undescribed)?;
    let address = source.parse::<SocketAddr>().map(|both| both.ip()).or_else(|_| source.parse::<IpAddr>());
    let address = address.map_err(|_| Malformed::Undescribed)?;
    // What Envoy's own TLS says, not a field that a client may have written.
    let channel = if attribute("connection.tls_version").is_some() { Channel::Tls } else { Channel::Plain };
    let sni = attribute("connection.requested_server_name").map(str::to_owned);
    Ok((head, Origin::new(address, channel, sni)))
}

/// What an answer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Head,
    Body,
}

/// Puts an answer into Envoy's words.
fn told(answer: Answer, place: Place) -> (ProcessingResponse, Stage) {
    match answer {
        Answer::Allow(allowed) => {
            let Allowed { changes, beside, protected, program } = *allowed;
            let mut edit = Edit::default();
            for (name, value) in &changes.set {
                edit.set(name.as_str(), value);
            }
            if let Some(path) = changes.target.and_then(|target| HeaderValue::try_from(target.to_string()).ok()) {
                edit.set(":path", &path);
            }
            edit.remove = changes.remove.iter().map(|name| name.as_str().to_owned()).collect();
            let common = Common { edit: Some(edit), body: changes.body.map(words::BodyMutation::replace), ..Common::default() };
            let response = match place {
                Place::Head => ProcessingResponse::request_head(common, Awaits::Answer),
                Place::Body => ProcessingResponse::request_body(common),
            };
            (response, Stage::Answer(Beside { headers: beside, protected, program }))
        }
        Answer::Refuse(response) => {
            let (parts, body) = response.into_parts();
            let mut edit = Edit::default();
            edit.set_all(&parts.headers);
            (ProcessingResponse::immediate(parts.status, edit, body), Stage::Told)
        }
    }
}

impl Beside {
    /// What must change of an answer, so that a client hears from the application nothing that is ours to say.
    fn edit(&self, headers: &HeaderMap) -> Edit {
        let mut edit = Edit::default();
        let ours = headers.keys().filter(|name| is_ours(name.as_str())).map(HeaderName::as_str);
        edit.remove = ours.map(str::to_owned).collect();
        // Ours first: of two sessions old clients take the first cookie's, and never one of that name that is the service's.
        let is_ours = |cookie: &HeaderValue| is_our_cookie(cookie.as_bytes()) || (self.program && is_session(cookie));
        let theirs = headers.get_all(SET_COOKIE);
        if theirs.iter().any(is_ours) || (self.program && headers.contains_key(SET_COOKIE)) {
            edit.remove.push(SET_COOKIE.as_str().to_owned());
            for cookie in self.headers.get_all(SET_COOKIE).iter().chain(theirs.iter().filter(|cookie| !is_ours(cookie))) {
                edit.add(SET_COOKIE.as_str(), cookie);
            }
            let mut others = self.headers.clone();
            others.remove(SET_COOKIE);
            edit.set_all(&others);
        } else {
            edit.set_all(&self.headers);
        }
        // `authentication-chain.md` §6.3: what was protected must not be kept for others.
        if self.protected && !headers.contains_key(CACHE_CONTROL) {
            edit.set(CACHE_CONTROL.as_str(), &HeaderValue::from_static("no-store"));
        }
        edit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(key: &str, value: &str) -> Field {
        Field { key: key.into(), value: String::new(), raw_value: value.into() }
    }

    fn head() -> Vec<Field> {
        [(":method", "POST"), (":authority", "north.example.com"), (":path", "/a?b=c"), (":scheme", "https"), ("x-a", "1")]
            .map(|(key, value)| field(key, value))
            .into()
    }

    #[test]
    fn a_head_is_read_once_and_who_sent_it_is_what_envoy_saw() {
        let known = |name: &str| match name {
            "source.address" => Some("192.0.2.7:4711"),
            _ => None,
        };
        let (read, origin) = described(&head(), known).unwrap();
        assert_eq!((read.method, read.target.to_string().as_str(), read.host.name()), (Method::POST, "/a?b=c", "north.example.com"));
        assert_eq!((origin.address, origin.channel), (IpAddr::from([192, 0, 2, 7]), Channel::Plain), "a client writes `:scheme`");
        let tls = |name: &str| if name == "connection.tls_version" { Some("TLSv1.3") } else { known(name) };
        assert_eq!(described(&head(), tls).unwrap().1.channel, Channel::Tls);
        assert!(described(&head(), |_| None).is_err(), "nobody sent it");
        for missing in 0..3 {
            let mut fields = head();
            fields.remove(missing);
            assert!(described(&fields, known).is_err(), "{missing}");
            let mut fields = head();
            fields.push(fields[missing].clone());
            assert!(described(&fields, known).is_err(), "{missing} twice");
        }
    }

    #[test]
    fn the_application_says_nothing_that_is_ours_to_say() {
        let mut headers = HeaderMap::new();
        for cookie in ["theirs=1", "__Host-vestibule=stolen"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        headers.append("x_vestibule_user", HeaderValue::from_static("root"));
        let mut told = HeaderMap::new();
        told.append("x-vestibule-id", HeaderValue::from_static("7"));
        let edit = Beside { headers: told, protected: true, program: false }.edit(&headers);
        assert_eq!(edit.remove, ["x_vestibule_user", "set-cookie"]);
        let set: Vec<(String, Vec<u8>)> =
            edit.set.iter().filter_map(|one| one.header.clone()).map(|field| (field.key, field.raw_value)).collect();
        let expected = [("set-cookie", "theirs=1"), ("x-vestibule-id", "7"), ("cache-control", "no-store")];
        assert_eq!(set, expected.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        let quiet = Beside { headers: HeaderMap::new(), protected: true, program: false }.edit(&headers);
        assert!(quiet.set.iter().all(|one| one.header.as_ref().is_some_and(|field| field.key != "cache-control")));
    }

    #[test]
    fn an_old_client_finds_its_session_first_and_no_other_of_that_name() {
        let mut headers = HeaderMap::new();
        for cookie in ["theme=dark", "JSESSIONID=theirs; Path=/", "jsessionid=theirs"] {
            headers.append(SET_COOKIE, HeaderValue::from_static(cookie));
        }
        let cookies = |told: HeaderMap, program: bool| -> (Vec<String>, Vec<String>) {
            let edit = Beside { headers: told, protected: false, program }.edit(&headers);
            let set = edit.set.into_iter().filter_map(|one| one.header).filter(|field| field.key == "set-cookie");
            (edit.remove, set.map(|field| String::from_utf8(field.raw_value).unwrap()).collect())
        };
        let ours = HeaderMap::from_iter([(SET_COOKIE, HeaderValue::from_static("JSESSIONID=ours; Path=/Services"))]);
        let removed = vec!["set-cookie".to_owned()];
        assert_eq!(cookies(ours, true), (removed.clone(), vec!["JSESSIONID=ours; Path=/Services".to_owned(), "theme=dark".to_owned()]));
        assert_eq!(cookies(HeaderMap::new(), true), (removed, vec!["theme=dark".to_owned()]));
        // Elsewhere it is the application's own.
        assert_eq!(cookies(HeaderMap::new(), false), (Vec::new(), Vec::new()));
    }
}
