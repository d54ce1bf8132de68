//! From an HTTP head to the one canonical [`CheckRequest`] (RFC 9110 §7, RFC 9112 §3).
//!
//! Attackers send two hosts, a target in another form than the one judged, addresses that only a trusted
//! proxy may state (attacks 83, 87, 100), and `Connection` fields that delete what we add (attacks 85, 110).

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use vestibule_engine::Timestamp;
use vestibule_engine::request::{Body, Channel, CheckRequest, Client, Host, Malformed, RequestId, Shown, Target};

use crate::serve::client_certificates::{ForwardedCertificate, is_forwarding};

/// Most field names one request may list in `Connection`.
const MAX_NAMED: usize = 32;
/// Most hops of a forwarding header that are looked at.
const MAX_HOPS: usize = 32;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHORIZATION: HeaderName = HeaderName::from_static("proxy-authorization");
/// CGI servers turn it into `HTTP_PROXY`, which many libraries obey.
const PROXY: HeaderName = HeaderName::from_static("proxy");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What a request says to the next hop only.
static CONNECTION_ONLY: [HeaderName; 7] = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TE, TRANSFER_ENCODING, EXPECT, HTTP2_SETTINGS];
/// What is judged, and not for the application.
static NOT_FORWARDED: [HeaderName; 5] = [UPGRADE, PROXY_AUTHORIZATION, PROXY, CONTENT_LENGTH, TRAILER];

/// A request that could be read.
#[derive(Debug)]
pub struct Arrived {
    /// What is judged. Boxed: each future that hands it on would keep it twice.
    pub request: Box<CheckRequest>,
    /// What the client asked of this connection only.
    pub hop: Hop,
}

/// Fields that concern this connection only. Judged they are, forwarded they are not.
#[derive(Debug, Default)]
pub struct Hop {
    named: Vec<HeaderName>,
    /// The protocol to switch to.
    pub upgrade: Option<HeaderValue>,
    trailers: bool,
}

/// The network's side of a connection.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The other end's address.
    pub address: IpAddr,
    /// Whether TLS ends here.
    pub channel: Channel,
    /// The server name of the handshake.
    pub sni: Option<String>,
    /// Whether it may speak for others.
    pub word: Word,
}

/// Whether what a connection's requests say of their client counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// As that of its address does.
    Address,
    /// It counts: a proxy that has shown the certificate its listener demands.
    Proxy,
    /// It counts for nothing: a proxy brings somebody it cannot name.
    Nobody,
}

impl Origin {
    /// A connection from this address.
    pub fn new(address: IpAddr, channel: Channel, sni: Option<String>) -> Self {
        Self { address, channel, sni, word: Word::Address }
    }
}

/// Proxies in front of us whose word on the client's address counts.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    /// Where they are; nobody if empty. They write `X-Forwarded-For` and `X-Forwarded-Proto`, the one pair that is read:
    /// of two headers that say it a client could smuggle the other (`Forwarded`, RFC 7239, counts for nothing).
    pub networks: Vec<ipnet::IpNet>,
    /// How they forward certificates, if they do.
    pub certificates: Option<Arc<ForwardedCertificate>>,
    /// The headers in which any proxy of any listener does. They reach nobody.
    pub forwarding: Vec<HeaderName>,
}

/// A head whose host and target have been read.
#[derive(Debug)]
pub struct Head {
    /// The method.
    pub method: Method,
    /// Whom it is for.
    pub host: Host,
    /// What is asked for.
    pub target: Target,
    /// The protocol it came by.
    pub version: Version,
    /// Its fields.
    pub headers: HeaderMap,
}

/// Reads a head; its headers are moved out of it.
///
/// # Errors
/// A [`Malformed`] that says what is wrong with it.
pub fn read(
    head: &mut Parts,
    origin: &Origin,
    shown: Shown,
    trusted: &TrustedProxies,
    id: RequestId,
    now: Timestamp,
) -> Result<Arrived, Malformed> {
    let host = host(head)?;
    let target = Target::parse(head.uri.path_and_query().map_or("", |both| both.as_str()))?;
    let method = std::mem::replace(&mut head.method, Method::GET);
    let headers = std::mem::take(&mut head.headers);
    Head { method, host, target, version: head.version, headers }.arrive(origin, shown, trusted, id, now)
}

impl Head {
    /// Takes from a head what concerned its connection, and who sent it. `shown` is the connection's certificate.
    ///
    /// # Errors
    /// A [`Malformed`] that says what is wrong with it.
    pub fn arrive(
        self,
        origin: &Origin,
        shown: Shown,
        trusted: &TrustedProxies,
        id: RequestId,
        now: Timestamp,
    ) -> Result<Arrived, Malformed> {
        let Self { method, host, target, version, mut headers } = self;
        if headers.get_all(EXPECT).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(Malformed::Framing);
        }
        let client = trusted.client(origin, shown, &headers, now);
        trusted.forget_certificates(&mut headers);
        let hop = Hop::take(&mut headers, version)?;
        join_cookies(&mut headers)?;
        let request = CheckRequest { id, received: now, client, method, host, target, headers, body: Body::Unread, operation: None };
        Ok(Arrived { request: Box::new(request), hop })
    }
}

/// RFC 9112 §3.2: exactly one `Host`; an absolute target or `:authority` must agree with it.
fn host(head: &Parts) -> Result<Host, Malformed> {
    let mut fields = head.headers.get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(Malformed::Host);
    }
    let field = field.map(|value| value.to_str().map_err(|_| Malformed::Host).and_then(Host::parse)).transpose()?;
    if head.uri.scheme_str().is_some_and(|scheme| scheme != "http" && scheme != "https") {
        return Err(Malformed::TargetForm);
    }
    let authority = head.uri.authority().map(|authority| Host::parse(authority.as_str())).transpose()?;
    match (field, authority) {
        (Some(field), Some(authority)) if field != authority => Err(Malformed::Host),
        (Some(host), _) => Ok(host),
        // HTTP/1.1 demands the field even beside an absolute target; HTTP/1.0 does not know it.
        (None, Some(host)) if head.version != Version::HTTP_11 => Ok(host),
        // RFC 9112 §3.3 lets us guess for a client of HTTP/1.0 that says nothing; a guess would choose its tenant.
        (None, _) => Err(Malformed::Host),
    }
}

impl Hop {
    fn take(headers: &mut HeaderMap, version: Version) -> Result<Self, Malformed> {
        let mut hop = Self::default();
        let mut wants_upgrade = false;
        for value in headers.get_all(CONNECTION) {
            for token in value.to_str().map_err(|_| Malformed::Framing)?.split(',').map(str::trim).filter(|token| !token.is_empty()) {
                if token.eq_ignore_ascii_case("upgrade") {
                    wants_upgrade = true;
                } else if !token.eq_ignore_ascii_case("close") && !token.eq_ignore_ascii_case("keep-alive") {
                    hop.named.push(token.parse().map_err(|_| Malformed::Framing)?);
                }
            }
        }
        if hop.named.len() > MAX_NAMED {
            return Err(Malformed::Framing);
        }
        hop.trailers = headers.get_all(TE).iter().any(|value| value.as_bytes().eq_ignore_ascii_case(b"trailers"));
        remove_all(headers, &CONNECTION_ONLY);
        let upgrades = headers.get_all(UPGRADE).iter().count();
        if wants_upgrade && version == Version::HTTP_11 && upgrades > 0 {
            if upgrades > 1 {
                return Err(Malformed::Framing);
            }
            // Stays in the judged request: an upgrade is a GET that acts.
            hop.upgrade = headers.get(UPGRADE).filter(|value| may_switch_to(value)).cloned();
        }
        if hop.upgrade.is_none() {
            headers.remove(UPGRADE);
        }
        Ok(hop)
    }

    /// Removes from a judged request what concerned the client's connection only. Called before anything is
    /// injected, so a field named in `Connection` can take away only what the client itself sent, and the
    /// decision saw all of it (attacks 85, 110).
    pub fn forget(&self, headers: &mut HeaderMap) {
        for name in &self.named {
            if *name != HOST && *name != http::header::CONTENT_TYPE && *name != COOKIE {
                headers.remove(name);
            }
        }
        remove_all(headers, &NOT_FORWARDED);
        if self.trailers {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
    }
}

/// Removes those of these fields that are there: few are, so that it is cheaper to look at what came than for each.
pub fn remove_all(headers: &mut HeaderMap, names: &[HeaderName]) {
    let doomed: Vec<HeaderName> = headers.keys().filter(|name| names.contains(name)).cloned().collect();
    for name in doomed {
        headers.remove(name);
    }
}

/// Whether a tunnel of this protocol may pass. Not HTTP itself: inside an `h2c` tunnel a client would send the
/// application further requests that nobody judges. RFC 9110 §7.8: an offer may be ignored.
fn may_switch_to(protocol: &HeaderValue) -> bool {
    let token = |token: &str| {
        let name = token.split('/').next().unwrap_or_default().trim();
        !name.is_empty() && !["h2c", "h2", "h3", "http", "https", "tls"].iter().any(|known| name.eq_ignore_ascii_case(known))
    };
    protocol.to_str().is_ok_and(|list| list.split(',').all(token))
}

/// RFC 9113 §8.2.3: HTTP/2 clients may split the cookie line; everybody behind us expects one.
fn join_cookies(headers: &mut HeaderMap) -> Result<(), Malformed> {
    let mut lines = headers.get_all(COOKIE).iter();
    if lines.next().is_none() || lines.next().is_none() {
        return Ok(());
    }
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    let mut joined = HeaderValue::from_bytes(&lines.join(&b"; "[..])).map_err(|_| Malformed::Framing)?;
    joined.set_sensitive(true);
    headers.insert(COOKIE, joined);
    Ok(())
}

impl TrustedProxies {
    /// Whether an address is one of theirs.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether what this connection says of its clients counts.
    pub fn believes(&self, origin: &Origin) -> bool {
        match origin.word {
            Word::Address => self.trusts(origin.address.to_canonical()),
            Word::Proxy => true,
            Word::Nobody => false,
        }
    }

    /// Removes from everybody's requests the headers in which some proxy forwards certificates.
    fn forget_certificates(&self, headers: &mut HeaderMap) {
        if self.forwarding.is_empty() {
            return;
        }
        let doomed: Vec<HeaderName> = headers.keys().filter(|name| is_forwarding(name, &self.forwarding)).cloned().collect();
        for name in doomed {
            headers.remove(name);
        }
    }

    /// Who sent the request: the rightmost hop that is not one of the trusted proxies.
    fn client(&self, origin: &Origin, shown: Shown, headers: &HeaderMap, now: Timestamp) -> Client {
        let sni = origin.sni.clone();
        let mut client = Client { address: origin.address.to_canonical(), channel: origin.channel, sni, certificate: shown };
        if !self.believes(origin) {
            return client;
        }
        // What a proxy showed in its handshake is its own, not its client's.
        client.certificate = self.certificates.as_ref().map_or(Shown::Nothing, |forwarded| forwarded.shown(headers, now));
        let hops: Vec<&str> =
            headers.get_all(&X_FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).collect();
        for hop in hops.iter().rev().take(MAX_HOPS) {
            // What no trusted proxy would write ends the search: nothing left of it counts (attack 100).
            let Some(address) = address(hop) else { break };
            client.address = address;
            if !self.trusts(address) {
                break;
            }
        }
        let schemes = headers.get_all(&X_FORWARDED_PROTO).iter().next_back().and_then(|value| value.to_str().ok());
        let scheme = schemes.and_then(|schemes| schemes.rsplit(',').next());
        match scheme.map(str::trim) {
            Some(scheme) if scheme.eq_ignore_ascii_case("https") => client.channel = Channel::Tls,
            Some(_) => client.channel = Channel::Plain,
            None => {}
        }
        client
    }
}

/// An address with or without a port, IPv6 with or without brackets.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(text, |(address, _)| address);
    let parsed: Result<IpAddr, _> = plain.parse();
    let address = parsed.ok().or_else(|| text.parse::<std::net::SocketAddr>().ok().map(|both| both.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_head(version: Version, target: &str, fields: &[(&str, &str)]) -> Result<Arrived, Malformed> {
        read_from("192.0.2.9", version, target, fields)
    }

    fn read_from(peer: &str, version: Version, target: &str, fields: &[(&str, &str)]) -> Result<Arrived, Malformed> {
        let mut builder = http::Request::builder().uri(target).version(version);
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (mut head, ()) = builder.body(()).unwrap().into_parts();
        let origin = Origin::new(peer.parse().unwrap(), Channel::Plain, None);
        let trusted = trusted();
        let now = Timestamp::UNIX_EPOCH;
        read(&mut head, &origin, Shown::Nothing, &trusted, RequestId::new(now).unwrap(), now)
    }

    fn trusted() -> TrustedProxies {
        TrustedProxies { networks: vec!["10.0.0.0/8".parse().unwrap()], ..TrustedProxies::default() }
    }

    fn refused(version: Version, target: &str, fields: &[(&str, &str)]) -> Malformed {
        read_head(version, target, fields).unwrap_err()
    }

    #[test]
    fn there_is_one_host() {
        let v1 = Version::HTTP_11;
        assert_eq!(refused(v1, "/", &[]), Malformed::Host);
        assert_eq!(refused(v1, "/", &[("host", "a"), ("host", "a")]), Malformed::Host);
        assert_eq!(refused(v1, "http://b/", &[("host", "a")]), Malformed::Host);
        assert_eq!(refused(v1, "http://a/", &[]), Malformed::Host);
        assert_eq!(refused(Version::HTTP_2, "http://a/", &[("host", "b")]), Malformed::Host);
        assert_eq!(refused(v1, "ftp://a/", &[("host", "a")]), Malformed::TargetForm);
        assert_eq!(read_head(v1, "http://A/x", &[("host", "a.")]).unwrap().request.host.name(), "a");
        assert_eq!(read_head(Version::HTTP_2, "https://a/", &[]).unwrap().request.host.name(), "a");
        assert_eq!(read_head(Version::HTTP_10, "http://a/", &[]).unwrap().request.host.name(), "a");
        assert_eq!(read_head(Version::HTTP_10, "/", &[("host", "a")]).unwrap().request.host.name(), "a");
        assert_eq!(refused(Version::HTTP_10, "/", &[]), Malformed::Host);
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_hop() {
        let client = |peer: &str, list: &str| {
            read_from(peer, Version::HTTP_11, "/", &[("host", "a"), ("x-forwarded-for", list)]).unwrap().request.client.address.to_string()
        };
        assert_eq!(client("192.0.2.9", "198.51.100.1"), "192.0.2.9");
        assert_eq!(client("10.0.0.1", "198.51.100.1, 203.0.113.5, 10.0.0.2"), "203.0.113.5");
        assert_eq!(client("::ffff:10.0.0.1", "203.0.113.5:1234"), "203.0.113.5");
        assert_eq!(client("10.0.0.1", "[2001:db8::1]:9"), "2001:db8::1");
        assert_eq!(client("10.0.0.1", "198.51.100.1, <garbage>, 10.0.0.2"), "10.0.0.2");
        assert_eq!(client("10.0.0.1", ""), "10.0.0.1");
    }

    #[test]
    fn the_scheme_is_a_trusted_proxys_word_only() {
        let channel = |peer: &str| {
            read_from(peer, Version::HTTP_11, "/", &[("host", "a"), ("x-forwarded-proto", "https")]).unwrap().request.client.channel
        };
        assert_eq!(channel("10.0.0.1"), Channel::Tls);
        assert_eq!(channel("192.0.2.9"), Channel::Plain);
    }

    #[test]
    fn who_comes_by_a_proxy_that_cannot_name_them_speaks_for_nobody() {
        let trusted = trusted();
        let origin = Origin::new([10, 0, 0, 1].into(), Channel::Plain, None);
        assert!(trusted.believes(&origin));
        assert!(!trusted.believes(&Origin { word: Word::Nobody, ..origin }));
    }

    #[test]
    fn what_connection_names_is_judged_and_not_forwarded() {
        let fields =
            [("host", "a"), ("connection", "Origin, x-user,Host"), ("origin", "http://evil"), ("x-user", "me"), ("keep-alive", "1")];
        let Arrived { mut request, hop } = read_head(Version::HTTP_11, "/", &fields).unwrap();
        assert!(request.headers.contains_key("origin") && request.headers.contains_key("x-user"));
        hop.forget(&mut request.headers);
        assert_eq!(request.headers.keys().collect::<Vec<_>>(), ["host"]);
    }

    #[test]
    fn no_tunnel_carries_requests_that_nobody_judges() {
        let upgrade = |protocol: &str| {
            let fields =
                [("host", "a"), ("connection", "Upgrade, HTTP2-Settings"), ("upgrade", protocol), ("http2-settings", "AAMAAABkAARAAAAA")];
            let arrived = read_head(Version::HTTP_11, "/", &fields).unwrap();
            assert!(!arrived.request.headers.contains_key("http2-settings"));
            assert_eq!(arrived.request.headers.contains_key("upgrade"), arrived.hop.upgrade.is_some());
            arrived.hop.upgrade.is_some()
        };
        assert!(upgrade("websocket") && upgrade("IRC/6.9"));
        for protocol in ["h2c", "H2C", "websocket, h2c", "HTTP/2.0", "TLS/1.0", "", " /1"] {
            assert!(!upgrade(protocol), "{protocol}");
        }
    }

    #[test]
    fn cookie_lines_are_joined() {
        let arrived = read_head(Version::HTTP_2, "http://a/", &[("cookie", "a=1"), ("cookie", "b=2")]).unwrap();
        assert_eq!(arrived.request.headers.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn an_unknown_expectation_is_refused() {
        assert_eq!(refused(Version::HTTP_11, "/", &[("host", "a"), ("expect", "tea")]), Malformed::Framing);
    }
}
