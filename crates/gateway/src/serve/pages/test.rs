//! What the tests of our pages share.

use bytes::Bytes;
use http::{HeaderMap, Method};
use vestibule_engine::Timestamp;
use vestibule_engine::request::{Body, Channel, CheckRequest, Client, Host, RequestId, Target};

/// A request as a browser's first one.
pub fn request(method: &str, host: &str, target: &str) -> CheckRequest {
    CheckRequest {
        id: RequestId::new(Timestamp::UNIX_EPOCH).unwrap(),
        received: Timestamp::UNIX_EPOCH,
        client: Client { address: [192, 0, 2, 1].into(), channel: Channel::Tls, sni: None },
        method: Method::from_bytes(method.as_bytes()).unwrap(),
        host: Host::parse(host).unwrap(),
        target: Target::parse(target).unwrap(),
        headers: HeaderMap::new(),
        body: Body::Whole(Bytes::new()),
    }
}
