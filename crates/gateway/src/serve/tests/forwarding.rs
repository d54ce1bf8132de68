//! What passes through: bodies, HTTP/2, tunnels, upstream connections.

use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{SinkExt, StreamExt};
use http_body_util::Empty;
use hyper::client::conn::http2;
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

use super::*;

/// Reads until `end` has come.
async fn until(stream: &mut TcpStream, end: &str) -> String {
    let mut got = String::new();
    let mut piece = [0; 1024];
    while !got.contains(end) {
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut piece)).await;
        match read {
            Ok(Ok(length @ 1..)) => got.push_str(&String::from_utf8_lossy(&piece[..length])),
            other => panic!("wanted {end:?}, got {got:?} and {other:?}"),
        }
    }
    got
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = Plan::to(listener.local_addr().unwrap()).open();
    let mut client = TcpStream::connect(house.address).await.unwrap();
    client.write_all(b"POST /x HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n").await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    // The first piece is there before the second was sent.
    until(&mut upstream, "one").await;
    client.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    until(&mut upstream, "two").await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nthree\r\n").await.unwrap();
    until(&mut client, "three").await;
    upstream.write_all(b"4\r\nfour\r\n0\r\n\r\n").await.unwrap();
    until(&mut client, "four\r\n0\r\n\r\n").await;
}

#[tokio::test]
async fn a_slow_reader_slows_its_own_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = Plan::to(listener.local_addr().unwrap()).open();
    let mut client = TcpStream::connect(house.address).await.unwrap();
    client.write_all(b"GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let (mut upstream, _) = listener.accept().await.unwrap();
    until(&mut upstream, "\r\n\r\n").await;
    upstream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();
    let piece = vec![0; 1 << 20];
    let mut sent = 0;
    while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(300), upstream.write_all(&piece)).await {
        sent += piece.len();
        assert!(sent < 200 << 20, "the gateway buffers without bound");
    }
}

#[tokio::test]
async fn an_expectation_is_answered_only_when_the_body_is_wanted() {
    let house = Plan::to(echo().await).open();
    let head = |path: &str| {
        format!("POST {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n")
    };
    let mut client = TcpStream::connect(house.address).await.unwrap();
    client.write_all(head("/x").as_bytes()).await.unwrap();
    until(&mut client, "HTTP/1.1 100 Continue\r\n\r\n").await;
    client.write_all(b"body").await.unwrap();
    assert!(until(&mut client, "\n\nbody").await.starts_with("HTTP/1.1 200"));
    let refused = raw(house.address, head("/protected/x").as_bytes()).await;
    assert_eq!(status(&refused), 401);
}

#[tokio::test]
async fn a_connection_found_dead_is_replaced_but_nothing_is_done_twice() {
    let seen = Arc::new(AtomicUsize::new(0));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let count = seen.clone();
    // Every connection answers one request and hangs up upon the second.
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let count = count.clone();
            tokio::spawn(async move {
                until(&mut stream, "\r\n\r\n").await;
                count.fetch_add(1, Ordering::SeqCst);
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await.unwrap();
                until(&mut stream, "\r\n\r\n").await;
                count.fetch_add(1, Ordering::SeqCst);
            });
        }
    });
    let house = Plan::to(address).open();
    let mut client = TcpStream::connect(house.address).await.unwrap();
    for (method, want, total) in [("GET", "200", 1), ("GET", "200", 3), ("POST", "502", 4), ("POST", "200", 5)] {
        client.write_all(format!("{method} / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
        let answer = until(&mut client, "\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {want}")), "{method} {answer}");
        if want == "502" && !answer.ends_with('}') {
            until(&mut client, "}").await;
        }
        assert_eq!(seen.load(Ordering::SeqCst), total);
    }
}

#[tokio::test]
async fn an_address_that_refuses_is_passed_over() {
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = plain(echo().await);
    settings.addresses.insert(0, Address { host: "127.0.0.1".into(), port: dead.port() });
    let house = Plan { upstreams: vec![("app", settings)], ..Plan::default() }.open();
    for _ in 0..6 {
        assert_eq!(status(&get(house.address, "/", "").await), 200);
    }
}

#[tokio::test]
async fn the_application_may_be_told_another_host() {
    let mut settings = plain(echo().await);
    settings.host = HostHeader::Fixed(HeaderValue::from_static("inner.test"));
    let house = Plan { upstreams: vec![("app", settings)], ..Plan::default() }.open();
    let answer = get(house.address, "/", "").await;
    assert!(answer.contains("\nhost: inner.test\n") && answer.contains("\nx-forwarded-host: a.test\n"), "{answer}");
}

async fn http2_client<B>(stream: TcpStream) -> http2::SendRequest<B>
where
    B: http_body::Body + Send + Unpin + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

#[tokio::test]
async fn http2_on_both_sides() {
    for version in [HttpVersion::Http1, HttpVersion::Http2] {
        let settings = forward::Settings { transport: Transport::Plain(version), ..plain(echo().await) };
        let house = Plan { upstreams: vec![("app", settings)], ..Plan::default() }.open();
        let mut client = http2_client(TcpStream::connect(house.address).await.unwrap()).await;
        for _ in 0..3 {
            let request = Request::post("http://a.test/x?y=1").header("cookie", "a=1").header("cookie", "b=2").header("x-user", "root");
            let response = client.send_request(request.body(Full::new(Bytes::from("body"))).unwrap()).await.unwrap();
            assert_eq!(response.status(), 200);
            assert_eq!(response.headers()["x-vestibule-auth"], "anonymous");
            let text = response.into_body().collect().await.unwrap().to_bytes();
            let text = String::from_utf8_lossy(&text);
            for line in ["/x?y=1\n", "\ncookie: a=1; b=2\n", "\nx-user: anonymous\n", "\n\nbody"] {
                assert!(text.contains(line), "{version:?} {line:?} {text}");
            }
        }
        let two_hosts = Request::get("http://a.test/").header("host", "b.test").body(Full::default()).unwrap();
        assert_eq!(client.send_request(two_hosts).await.unwrap().status(), 400);
        let huge = Request::get("http://a.test/").header("x", "y".repeat(100_000)).body(Full::default()).unwrap();
        assert_eq!(client.send_request(huge).await.unwrap().status(), 431);
    }
}

#[tokio::test]
async fn trailers_pass() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = forward::Settings { transport: Transport::Plain(HttpVersion::Http2), ..plain(listener.local_addr().unwrap()) };
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let service = service_fn(|request: Request<Incoming>| async move {
            assert_eq!(request.headers()["te"], "trailers");
            let trailers = http::HeaderMap::from_iter([(HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
            let frames = [Ok::<_, Infallible>(http_body::Frame::data(Bytes::from("x"))), Ok(http_body::Frame::trailers(trailers))];
            Ok::<_, Infallible>(Response::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames))))
        });
        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
    });
    let house = Plan { upstreams: vec![("app", settings)], ..Plan::default() }.open();
    let mut client = http2_client(TcpStream::connect(house.address).await.unwrap()).await;
    let request = Request::post("http://a.test/").header("te", "trailers").body(Empty::<Bytes>::new()).unwrap();
    let response = client.send_request(request).await.unwrap();
    let trailers = response.into_body().collect().await.unwrap().trailers().cloned().unwrap();
    assert_eq!(trailers["grpc-status"], "0");
}

async fn websocket_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                while let Some(Ok(message)) = socket.next().await {
                    if message.is_text() {
                        socket.send(message).await.unwrap();
                    }
                }
            });
        }
    });
    address
}

async fn websocket(house: &House, token: &str) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let mut request = "ws://a.test/socket".into_client_request().unwrap();
    request.headers_mut().insert(TOKEN, HeaderValue::try_from(token).unwrap());
    let stream = TcpStream::connect(house.address).await.unwrap();
    let (mut socket, response) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["x-vestibule-auth"], "token");
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
    socket
}

async fn ends(socket: &mut tokio_tungstenite::WebSocketStream<TcpStream>) {
    let ended = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.expect("the tunnel stayed open");
    assert!(!matches!(ended, Some(Ok(Message::Text(_)))), "{ended:?}");
}

#[tokio::test]
async fn a_tunnel_ends_with_the_identity_it_was_opened_for() {
    let over = Arc::new(Notify::new());
    let house = Plan { over: over.clone(), ..Plan::to(websocket_echo().await) }.open();
    let mut socket = websocket(&house, "ada").await;
    over.notify_waiters();
    ends(&mut socket).await;
}

#[tokio::test]
async fn tunnels_end_when_we_stop() {
    let house = Plan::to(websocket_echo().await).open();
    let mut socket = websocket(&house, "ada").await;
    let drained = tokio::spawn(house.doors.close(Duration::from_secs(10)));
    ends(&mut socket).await;
    drop(socket);
    assert_eq!(drained.await.unwrap(), crate::serve::listen::Drained::Completely);
}

#[tokio::test]
async fn an_upstream_proves_itself_and_sees_our_certificate() {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use rustls::pki_types::PrivateKeyDer;

    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let signed = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        (certificate, key)
    };
    let (own, own_key) = signed("gateway.test");
    let own = crate::config::pem::certified(vec![own.der().clone()], &Secret::new(own_key.serialize_pem()), None).unwrap();

    let (certificate, server_key) = signed("app.inner");
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(server_key.serialize_der()).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = [0; 2048];
            let _ = stream.read(&mut head).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
        }
    });
    for (name, identity, want) in [("app.inner", Some(&own), 200), ("app.inner", None, 502), ("other.inner", Some(&own), 502)] {
        let config = Arc::new(forward::client_tls(&[authority.der().clone()], identity, HttpVersion::Either).unwrap());
        let transport = Transport::Tls { config, name: name.try_into().unwrap() };
        let settings = forward::Settings { transport, ..plain(address) };
        let house = Plan { upstreams: vec![("app", settings)], ..Plan::default() }.open();
        assert_eq!(status(&get(house.address, "/", "").await), want, "{name} {}", identity.is_some());
    }
}

/// An upstream that answers the first request of each connection and does `then` with it. Counts the heads it read.
async fn fickle(then: Then) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let counted = heads.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let heads = counted.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                    heads.fetch_add(1, Ordering::SeqCst);
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
                }
                match then {
                    Then::Close => {}
                    Then::Swallow => {
                        if stream.read(&mut head).await.is_ok_and(|read| read > 0) {
                            heads.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    (address, heads)
}

#[derive(Debug, Clone, Copy)]
enum Then {
    /// As for a connection that was idle too long.
    Close,
    /// Reads the next request and hangs up: whether it was acted upon nobody knows.
    Swallow,
}

/// Sends requests on one connection, so that they meet the same pool, and returns their statuses.
async fn in_turn(address: SocketAddr, requests: &[&str]) -> Vec<u16> {
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut statuses = Vec::new();
    for request in requests {
        client.write_all(request.as_bytes()).await.unwrap();
        let mut answer = until(&mut client, "\r\n\r\n").await;
        let length: usize = field(&answer, "content-length").first().and_then(|length| length.parse().ok()).unwrap_or(0);
        while body(&answer).len() < length {
            let mut piece = [0; 1024];
            let read = client.read(&mut piece).await.unwrap();
            answer.push_str(&String::from_utf8_lossy(&piece[..read]));
        }
        statuses.push(status(&answer));
        // Time for the upstream to do what it does.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    statuses
}

const GET: &str = "GET /x HTTP/1.1\r\nHost: a.test\r\n\r\n";
const POST: &str = "POST /x HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\n\r\nabc";

#[tokio::test]
async fn an_upstream_that_closed_an_idle_connection_costs_no_request() {
    let (address, heads) = fickle(Then::Close).await;
    let house = Plan::to(address).open();
    assert_eq!(in_turn(house.address, &[GET, GET, POST, POST, GET]).await, [200; 5]);
    assert_eq!(heads.load(Ordering::SeqCst), 5, "each was sent once");
}

#[tokio::test]
async fn what_an_upstream_may_have_acted_upon_is_repeated_only_where_that_changes_nothing() {
    let (address, heads) = fickle(Then::Swallow).await;
    let house = Plan::to(address).open();
    // The second is swallowed and sent again; its connection swallows nothing yet.
    assert_eq!(in_turn(house.address, &[GET, GET]).await, [200; 2]);
    assert_eq!(heads.load(Ordering::SeqCst), 3);
    let (address, heads) = fickle(Then::Swallow).await;
    let house = Plan::to(address).open();
    assert_eq!(in_turn(house.address, &[GET, POST]).await, [200, 502]);
    assert_eq!(heads.load(Ordering::SeqCst), 2, "a POST is not sent twice");
}
