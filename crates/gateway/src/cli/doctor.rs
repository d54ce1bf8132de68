//! `vestibule doctor --from URL`: whether the proxy in front asks as it should.
//!
//! Sends probes through the proxy as a stranger would, and looks up in the running server what arrived of each: a
//! proxy that drops a header or lets a client write one shows in the difference. No probe carries a credential.

use std::net::{IpAddr, TcpStream, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use rustls::pki_types::ServerName;
use serde_json::json;

use vestibule_engine::audit::{Decided, Event, Reason, Recorded, Ruling};
use vestibule_engine::decision::Uncarried;
use vestibule_engine::request::{Malformed, RequestId};

use super::client::Connection;
use super::output::{Cell, Output, Tone};
use super::{Answer, Common, Failure};
use crate::forward::{self, HttpVersion};
use crate::serve::admin::protocol::{AdminReply, AdminRequest};

/// For the proxy to answer one probe.
const PATIENCE: Duration = Duration::from_secs(15);
/// For a decision to be written down after its answer.
const WRITTEN: Duration = Duration::from_secs(10);
/// Octets of an answer that are read.
const MAX_ANSWER: usize = 64 * 1024;

/// Ask through the proxy in front whether it describes requests as it should
#[derive(Debug, Args)]
#[command(
    after_help = "doctor --from http://app.example.com/ sends requests without credentials and says what to add to the proxy's configuration."
)]
pub struct Doctor {
    /// A protected page of an application, as browsers reach it
    #[arg(long, value_name = "URL")]
    from: String,
    /// Whose configuration to write the advice for [default: as the answers tell]
    #[arg(long, value_name = "NAME")]
    proxy: Option<Front>,
}

/// The proxies we know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Front {
    /// nginx, `auth_request`
    Nginx,
    /// Caddy, `forward_auth`
    Caddy,
    /// Traefik, `ForwardAuth`
    Traefik,
    /// HAProxy with our Lua action
    Haproxy,
    /// Envoy, `ext_authz`
    Envoy,
}

/// What is asked of the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Topic {
    Asks,
    Id,
    Described,
    Method,
    Target,
    Host,
    Client,
    Login,
    Challenge,
    Body,
    Spoof,
    Ambiguous,
}

/// One finding.
#[derive(Debug)]
struct Finding {
    topic: Topic,
    ok: bool,
    detail: String,
}

/// Where probes go.
struct Address {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

/// What came back.
struct Came {
    status: u16,
    head: String,
    own: Option<IpAddr>,
}

impl Came {
    fn header(&self, name: &str) -> Option<&str> {
        let matches = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().find(matches).and_then(|line| line.split_once(':')).map(|(_, value)| value.trim())
    }
}

/// What the server saw of a probe.
struct Seen {
    method: String,
    host: String,
    path: String,
    client: Option<IpAddr>,
    ruling: Ruling,
    reason: Option<Reason>,
}

impl Doctor {
    /// Sends the probes. Yes, if nothing is wrong.
    pub fn run(self, common: &Common, output: &mut Output) -> Result<Answer, Failure> {
        let address = Address::parse(&self.from)?;
        let mut server = Connection::open(common)?;
        let plain = address.send("GET", &address.path, &[])?;
        let front = self.proxy.or_else(|| guess(&plain));
        let findings = examine(&address, &mut server, &plain)?;
        let bad: Vec<&Finding> = findings.iter().filter(|finding| !finding.ok).collect();
        if output.is_json() {
            let checks: Vec<_> = findings
                .iter()
                .map(|finding| {
                    let lines = (!finding.ok).then(|| lines(front, finding.topic)).flatten();
                    json!({ "name": name(finding.topic), "ok": finding.ok, "detail": finding.detail, "add": lines })
                })
                .collect();
            output.json(&json!({ "verdict": if bad.is_empty() { "accepted" } else { "rejected" }, "checks": checks }));
        } else {
            let row = |finding: &Finding| {
                let (word, tone) = if finding.ok { ("ok", Tone::Good) } else { ("wrong", Tone::Bad) };
                vec![Cell::new(word, tone), name(finding.topic).into(), finding.detail.as_str().into()]
            };
            output.table(&[], findings.iter().map(row).collect());
            for finding in &bad {
                if let Some(lines) = lines(front, finding.topic) {
                    output.gap();
                    output.line(Cell::new(format!("{}: add to the proxy's configuration", name(finding.topic)), Tone::Strong));
                    for line in lines.lines() {
                        output.line(format!("    {line}"));
                    }
                }
            }
        }
        Ok(if bad.is_empty() { Answer::Yes } else { Answer::No })
    }
}

fn examine(address: &Address, server: &mut Connection, plain: &Came) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let mut found = |topic, ok: bool, detail: String| findings.push(Finding { topic, ok, detail });
    if plain.header("x-vestibule-id").is_none() {
        if (200..300).contains(&plain.status) {
            found(
                Topic::Asks,
                false,
                format!("{} was answered {} without asking us, or the page is not protected", address.path, plain.status),
            );
        } else {
            found(Topic::Id, false, format!("the answer ({}) carries no X-Vestibule-Id, so nobody can look it up", plain.status));
        }
        return Ok(findings);
    }
    found(Topic::Asks, true, format!("the proxy asked, and answered {}", plain.status));
    let Some(seen) = look_up(server, plain)? else {
        found(Topic::Described, false, "the decision is not known to this server: does the proxy ask another one?".to_owned());
        return Ok(findings);
    };
    if let Some(Reason::Malformed(malformed @ (Malformed::Undescribed | Malformed::Stranger))) = seen.reason {
        found(Topic::Described, false, malformed.to_string());
        return Ok(findings);
    }
    let host = seen.host.split(':').next().unwrap_or_default().to_owned();
    found(Topic::Host, host.eq_ignore_ascii_case(&address.host), format!("asked for {}, we were asked about {host}", address.host));
    let known = seen.client.zip(plain.own);
    let same = known.is_none_or(|(client, own)| client == own || client.is_loopback() == own.is_loopback());
    found(
        Topic::Client,
        same,
        format!("we take the client for {}", seen.client.map_or_else(|| "nobody".to_owned(), |client| client.to_string())),
    );
    match seen.ruling {
        Ruling::Challenge if plain.status == 401 => {
            let challenge = plain.header("www-authenticate").is_some();
            found(Topic::Challenge, challenge, "401 with WWW-Authenticate for clients that are no browsers".to_owned());
        }
        Ruling::Challenge | Ruling::Allow | Ruling::Deny | Ruling::Fail => {}
    }

    let posted = address.send("POST", &address.path, &[("Content-Type", "text/xml")])?;
    let posted = look_up(server, &posted)?;
    if let Some(Seen { reason: Some(Reason::Uncarried(Uncarried::Body)), .. }) = posted {
        found(Topic::Body, false, "this page's requests are judged by their body, and it was not brought".to_owned());
    }
    let method = posted.map(|seen| seen.method);
    found(
        Topic::Method,
        method.as_deref() == Some("POST"),
        format!("sent POST, we were asked about {}", method.as_deref().unwrap_or("nothing")),
    );

    let below = format!("{}/vestibule-doctor", address.path.trim_end_matches('/'));
    let asked = address.send("GET", &format!("{below}?probe=1"), &[])?;
    let path = look_up(server, &asked)?.map(|seen| seen.path);
    found(
        Topic::Target,
        path.as_deref() == Some(&below),
        format!("sent {below}, we were asked about {}", path.as_deref().unwrap_or("nothing")),
    );

    let browser = [("Accept", "text/html"), ("Sec-Fetch-Mode", "navigate"), ("Sec-Fetch-Dest", "document")];
    let shown = address.send("GET", &address.path, &browser)?;
    if let Some(Seen { ruling: Ruling::Challenge, .. }) = look_up(server, &shown)? {
        let leads = matches!(shown.status, 302 | 303) && shown.header("location").is_some();
        found(Topic::Login, leads, format!("a browser that nobody knows is answered {}", shown.status));
    }

    for (name, value) in [
        ("X-Original-URI", "/vestibule-doctor-spoof"),
        ("X-Original-Method", "OPTIONS"),
        ("X-Forwarded-Uri", "/vestibule-doctor-spoof"),
        ("X-Forwarded-Method", "OPTIONS"),
        ("X-Forwarded-Host", "vestibule-doctor.invalid"),
        ("X-Forwarded-For", "192.0.2.77"),
    ] {
        let lied = address.send("GET", &address.path, &[(name, value)])?;
        let believed = look_up(server, &lied)?.is_some_and(|seen| {
            let client = seen.client.map(|client| client.to_string()).unwrap_or_default();
            seen.path == value || seen.method == value || seen.host == value || client == value
        });
        if believed {
            found(Topic::Spoof, false, format!("a client's own {name} is believed"));
        }
    }
    let claimed = address.send("GET", &address.path, &[("X-Vestibule-User", "vestibule-doctor")])?;
    found(Topic::Spoof, claimed.status >= 300, format!("a client's own X-Vestibule-User is answered {}", claimed.status));

    let upward = address.send("GET", &format!("{}/%2e%2e/vestibule-doctor", address.path.trim_end_matches('/')), &[])?;
    found(Topic::Ambiguous, upward.status >= 400, format!("a target with /%2e%2e/ is answered {}", upward.status));
    Ok(findings)
}

impl Seen {
    fn of(recorded: Recorded) -> Option<Self> {
        let client = recorded.client;
        if let Event::RequestUnreadable { reason } = recorded.event {
            let (method, host, path) = (String::new(), String::new(), String::new());
            return Some(Self { method, host, path, client, ruling: Ruling::Deny, reason: Some(Reason::Malformed(reason)) });
        }
        let Event::RequestDecided(Decided { method, host, path, decision, reason, .. }) = recorded.event else { return None };
        Some(Self { method, host, path, client, ruling: decision, reason })
    }
}

/// Finds what became of a probe; its record is written a moment after its answer.
fn look_up(server: &mut Connection, came: &Came) -> Result<Option<Seen>, Failure> {
    let Some(id) = came.header("x-vestibule-id") else { return Ok(None) };
    let Ok(id) = serde_json::from_value::<RequestId>(json!(id)) else { return Ok(None) };
    #[expect(clippy::disallowed_methods, reason = "a command waits for a server, whatever its clock says")]
    let began = Instant::now();
    loop {
        match server.ask(AdminRequest::ExplainId { id }) {
            Ok(AdminReply::Decision(recorded)) => {
                return Ok(Seen::of(*recorded));
            }
            Ok(_) | Err(Failure { kind: super::FailureKind::Refused, .. }) if began.elapsed() < WRITTEN => {
                std::thread::sleep(Duration::from_millis(50));
            }
            Ok(_) | Err(Failure { kind: super::FailureKind::Refused, .. }) => return Ok(None),
            Err(failure) => return Err(failure),
        }
    }
}

impl Address {
    fn parse(text: &str) -> Result<Self, Failure> {
        let wrong = || Failure::not_tried(format!("`{text}` is no URL")).fix("write it as a browser does: http://app.example.com/page");
        let url = url::Url::parse(text).map_err(|_| wrong())?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(wrong()),
        };
        let host = url.host_str().ok_or_else(wrong)?.to_owned();
        let port = url.port_or_known_default().ok_or_else(wrong)?;
        let authority = url.port().map_or_else(|| host.clone(), |port| format!("{host}:{port}"));
        Ok(Self { tls, port, authority, path: url.path().to_owned(), host })
    }

    fn send(&self, method: &str, target: &str, fields: &[(&str, &str)]) -> Result<Came, Failure> {
        let failed = |error: std::io::Error| {
            Failure::not_tried(format!("{}:{} does not answer: {error}", self.host, self.port))
                .fix("start the proxy, or name another URL with --from")
        };
        // `*.localhost` is this machine, whatever its resolver says (RFC 6761 §6.3).
        let name = if self.host.ends_with(".localhost") { "localhost" } else { &self.host };
        let mut addresses = (name, self.port).to_socket_addrs().map_err(failed)?.collect::<Vec<_>>();
        addresses.sort_by_key(|address| address.is_ipv6());
        let connected = addresses.iter().map(|address| TcpStream::connect_timeout(address, PATIENCE)).reduce(|first, next| first.or(next));
        let stream = connected.unwrap_or_else(|| Err(std::io::Error::other("no address"))).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let own = stream.local_addr().ok().map(|address| address.ip());
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nHost: {}\r\nUser-Agent: vestibule-doctor\r\nConnection: close\r\n", self.authority);
        for (name, value) in fields {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let body = if method == "POST" { "<doctor/>" } else { "" };
        if !body.is_empty() {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        request.push_str(body);
        let answer = if self.tls {
            let config = forward::client_tls(&[], None, HttpVersion::Http1).map_err(|error| Failure::not_tried(error.to_string()))?;
            let name = ServerName::try_from(self.host.clone()).map_err(|error| Failure::not_tried(error.to_string()))?;
            let session = rustls::ClientConnection::new(Arc::new(config), name).map_err(|error| Failure::not_tried(error.to_string()))?;
            exchange(rustls::StreamOwned::new(session, stream), &request).map_err(failed)?
        } else {
            exchange(stream, &request).map_err(failed)?
        };
        let head = answer.split("\r\n\r\n").next().unwrap_or_default().to_owned();
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| Failure::not_tried(format!("{}:{} does not answer in HTTP", self.host, self.port)))?;
        Ok(Came { status, head, own })
    }
}

fn exchange(mut stream: impl std::io::Read + std::io::Write, request: &str) -> std::io::Result<String> {
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 8192];
    while answer.len() < MAX_ANSWER && !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(buffer.get(..read).unwrap_or_default()),
            Err(error) if answer.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn guess(came: &Came) -> Option<Front> {
    let server = came.header("server").unwrap_or_default().to_ascii_lowercase();
    [("nginx", Front::Nginx), ("caddy", Front::Caddy), ("envoy", Front::Envoy)]
        .into_iter()
        .find(|(name, _)| server.contains(name))
        .map(|(_, front)| front)
}

fn name(topic: Topic) -> &'static str {
    match topic {
        Topic::Asks => "asks",
        Topic::Id => "decision id",
        Topic::Described => "description",
        Topic::Method => "method",
        Topic::Target => "target",
        Topic::Host => "host",
        Topic::Client => "client address",
        Topic::Login => "login page",
        Topic::Challenge => "challenge",
        Topic::Body => "body",
        Topic::Spoof => "own headers",
        Topic::Ambiguous => "ambiguous target",
    }
}

/// The lines that put it right, where we know the proxy.
fn lines(front: Option<Front>, topic: Topic) -> Option<&'static str> {
    let lines = match (front?, topic) {
        (Front::Nginx, Topic::Asks) => "location / {\n    auth_request /.vestibule-question;\n}",
        (Front::Nginx, Topic::Id) => {
            "auth_request_set $vestibule_id $upstream_http_x_vestibule_id;\nadd_header X-Vestibule-Id $vestibule_id always;"
        }
        (Front::Nginx, Topic::Described | Topic::Method | Topic::Target | Topic::Spoof) => {
            "proxy_set_header X-Original-Method $request_method;\nproxy_set_header X-Original-URI    $request_uri;"
        }
        (Front::Nginx, Topic::Host) => "proxy_set_header Host $http_host;",
        (Front::Nginx, Topic::Client) => "proxy_set_header X-Forwarded-For $remote_addr;",
        (Front::Nginx, Topic::Login | Topic::Challenge) => {
            "auth_request_set $vestibule_login $upstream_http_location;\nerror_page 401 = @nobody;\n\
             location @nobody {\n    if ($vestibule_login) {\n        return 303 $vestibule_login;\n    }\n    return 401;\n}"
        }
        (Front::Caddy, Topic::Asks | Topic::Described | Topic::Method | Topic::Target) => {
            "forward_auth 127.0.0.1:9002 {\n    uri /\n    copy_headers X-Vestibule-User X-Vestibule-Id Authorization Cookie\n}"
        }
        (Front::Traefik, Topic::Asks | Topic::Described | Topic::Method | Topic::Target) => {
            "forwardAuth:\n  address: http://127.0.0.1:9002/\n  authResponseHeaders: [X-Vestibule-User, X-Vestibule-Id, Authorization, Cookie]"
        }
        (Front::Traefik, Topic::Spoof | Topic::Client | Topic::Host) => "forwardAuth:\n  trustForwardHeader: false",
        (Front::Haproxy, Topic::Asks | Topic::Described | Topic::Method | Topic::Target | Topic::Host) => {
            "global\n    lua-load vestibule.lua\nfrontend doors\n    http-request lua.vestibule unless pages"
        }
        (Front::Haproxy, Topic::Client | Topic::Spoof) => {
            "http-request del-header X-Forwarded-For\nhttp-request set-header X-Forwarded-For %[src]"
        }
        (Front::Envoy, Topic::Client) => "use_remote_address: true",
        (Front::Envoy, Topic::Ambiguous) => "normalize_path: false\nmerge_slashes: false\npath_with_escaped_slashes_action: REJECT_REQUEST",
        (Front::Envoy, Topic::Asks) => {
            "http_filters:\n  - name: envoy.filters.http.ext_authz\n    typed_config:\n      failure_mode_allow: false\n      \
             grpc_service: { envoy_grpc: { cluster_name: vestibule } }"
        }
        (Front::Envoy, Topic::Body) => {
            "# ext_authz over gRPC:\nwith_request_body: { max_request_bytes: 1048576, pack_as_bytes: true }\n\
             # ext_proc:\nprocessing_mode: { request_header_mode: SEND, request_body_mode: BUFFERED }"
        }
        (_, Topic::Body) => "# This proxy brings no body: let Envoy ask, or let Vestibule forward this route itself.",
        (Front::Nginx | Front::Caddy | Front::Traefik | Front::Haproxy | Front::Envoy, _) => return None,
    };
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_probes_go() {
        let address = Address::parse("https://app.example.com/page?x").unwrap();
        assert_eq!((address.tls, address.port, address.authority.as_str(), address.path.as_str()), (true, 443, "app.example.com", "/page"));
        let address = Address::parse("http://app.north.localhost:8080").unwrap();
        assert_eq!((address.port, address.authority.as_str(), address.path.as_str()), (8080, "app.north.localhost:8080", "/"));
        assert!(Address::parse("ftp://x/").is_err() && Address::parse("app.example.com").is_err());
    }

    #[test]
    fn headers_are_found_in_any_case() {
        let came = Came { status: 401, head: "HTTP/1.1 401 x\r\nServer: nginx/1.22\r\nX-VESTIBULE-ID: 7".to_owned(), own: None };
        assert_eq!(came.header("x-vestibule-id"), Some("7"));
        assert_eq!(guess(&came), Some(Front::Nginx));
    }
}
