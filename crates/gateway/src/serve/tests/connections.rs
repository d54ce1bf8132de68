//! TLS, reload, limits on connections, stopping.

use std::sync::atomic::{AtomicUsize, Ordering};

use http_body_util::Empty;
use hyper::client::conn::{http1, http2};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::checked::Certificate;
use crate::config::pem;
use crate::serve::listen::Drained;

/// A certificate of its own making for these names, as the configuration hands it over.
fn certificate(names: &[&str]) -> (Certificate, CertificateDer<'static>) {
    let key = KeyPair::generate().unwrap();
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let der = CertificateParams::new(names).unwrap().self_signed(&key).unwrap().der().clone();
    let names = pem::about(&der).unwrap().names;
    let certified = pem::certified(vec![der.clone()], &Secret::new(key.serialize_pem()), None).unwrap();
    (Certificate { names, certified }, der)
}

async fn connect(
    address: SocketAddr,
    roots: &[CertificateDer<'static>],
    sni: &str,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut store = rustls::RootCertStore::empty();
    for root in roots {
        store.add(root.clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    tokio_rustls::TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(sni.to_owned()).unwrap(), stream).await
}

async fn ask_tls(stream: TlsStream<TcpStream>, host: &str) -> u16 {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("/").header("host", host).body(Empty::<Bytes>::new()).unwrap();
    sender.send_request(request).await.unwrap().status().as_u16()
}

#[tokio::test]
async fn certificates_follow_the_server_name_and_the_host_must_agree() {
    let (first, first_der) = certificate(&["a.test", "elsewhere.test"]);
    let (second, second_der) = certificate(&["b.test", "*.b.test"]);
    let house = Plan { tls: Some(ListenerTls::new(&[first, second], None).unwrap()), ..Plan::to(echo().await) }.open();
    let roots = [first_der, second_der];
    for (sni, host, want) in [
        ("a.test", "a.test", 200),
        ("A.test", "a.TEST.", 200),
        ("b.test", "b.test", 200),
        // Another certificate, another tenant's name, nobody's name.
        ("a.test", "b.test", 421),
        ("elsewhere.test", "a.test", 421),
        ("x.b.test", "b.test", 421),
    ] {
        let stream = connect(house.address, &roots, sni, &[]).await.unwrap();
        assert_eq!(ask_tls(stream, host).await, want, "{sni} {host}");
    }
    for unknown in ["c.test", "x.y.b.test"] {
        assert!(connect(house.address, &roots, unknown, &[]).await.is_err(), "{unknown}");
    }
}

/// Passes octets on as they are, but each TLS record of the client's in many: RFC 8446 §5.1 allows it, and whoever looks for
/// the server name in the first record alone sees none.
async fn through_pieces(to: SocketAddr) -> SocketAddr {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let mut server = TcpStream::connect(to).await.unwrap();
        let mut head = [0; 5];
        client.read_exact(&mut head).await.unwrap();
        let mut hello = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        client.read_exact(&mut hello).await.unwrap();
        assert_eq!((head[0], hello[0]), (22, 1), "a ClientHello");
        for piece in hello.chunks(7) {
            server.write_all(&[&head[..3], &u16::try_from(piece.len()).unwrap().to_be_bytes(), piece].concat()).await.unwrap();
            server.flush().await.unwrap();
        }
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    address
}

#[tokio::test]
async fn a_hello_in_pieces_names_the_same_host() {
    let (first, first_der) = certificate(&["a.test"]);
    let (second, second_der) = certificate(&["b.test"]);
    let house = Plan { tls: Some(ListenerTls::new(&[first, second], None).unwrap()), ..Plan::to(echo().await) }.open();
    let roots = [first_der, second_der];
    for (host, want) in [("b.test", 200), ("a.test", 421)] {
        let stream = connect(through_pieces(house.address).await, &roots, "b.test", &[]).await.unwrap();
        assert_eq!(ask_tls(stream, host).await, want, "{host}");
    }
}

#[tokio::test]
async fn protocols_before_tls_1_2_get_no_handshake_and_nothing_is_read_early() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (only, der) = certificate(&["a.test"]);
    let house = Plan { tls: Some(ListenerTls::new(&[only], None).unwrap()), ..Plan::to(echo().await) }.open();
    for version in [0_u8, 1, 2] {
        // SSL 3, TLS 1.0 and 1.1: a hello with one old cipher suite and no extensions.
        let hello = [&[3, version][..], &[7; 32], &[0, 0, 2, 0, 0x2f, 1, 0]].concat();
        let length = u8::try_from(hello.len()).unwrap();
        let record = [&[22, 3, version, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(&record).await.unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    }
    let stream = connect(house.address, &[der], "a.test", &[]).await.unwrap();
    let config = stream.get_ref().1;
    assert_eq!(config.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    assert!(!config.is_early_data_accepted());
}

#[tokio::test]
async fn http2_is_agreed_on_by_alpn_and_misdirection_is_seen_per_request() {
    let (files, der) = certificate(&["a.test", "b.test"]);
    let (other, _) = certificate(&["portal.test"]);
    let house = Plan { tls: Some(ListenerTls::new(&[files, other], None).unwrap()), ..Plan::to(echo().await) }.open();
    let stream = connect(house.address, &[der], "a.test", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // Browsers reuse a connection for every host its certificate speaks for.
    for (host, want) in [("a.test", 200), ("b.test", 200), ("portal.test", 421)] {
        let request = Request::get(format!("https://{host}/")).body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), want, "{host}");
        if want == 200 {
            let text = response.into_body().collect().await.unwrap().to_bytes();
            assert!(String::from_utf8_lossy(&text).contains("x-forwarded-proto: https"));
        }
    }
}

#[tokio::test]
async fn replaced_certificates_serve_new_handshakes() {
    let (first, _) = certificate(&["a.test"]);
    let tls = ListenerTls::new(&[first], None).unwrap();
    let house = Plan { tls: Some(tls.clone()), ..Plan::to(echo().await) }.open();
    let (second, renewed) = certificate(&["a.test"]);
    assert!(connect(house.address, std::slice::from_ref(&renewed), "a.test", &[]).await.is_err());
    tls.replace(&[second], None).unwrap();
    assert!(connect(house.address, &[renewed], "a.test", &[]).await.is_ok());
}

#[tokio::test]
async fn a_handshake_that_names_no_host_gets_the_first_certificate_and_no_more_than_it() {
    let (first, der) = certificate(&["a.test", "127.0.0.1"]);
    let (second, _) = certificate(&["b.test"]);
    let house = Plan { tls: Some(ListenerTls::new(&[first, second], None).unwrap()), ..Plan::to(echo().await) }.open();
    for (host, want) in [("a.test", 200), ("b.test", 421)] {
        // rustls names no host where it is told an address (RFC 6066 §3).
        let stream = connect(house.address, std::slice::from_ref(&der), "127.0.0.1", &[]).await.unwrap();
        assert_eq!(ask_tls(stream, host).await, want, "{host}");
    }
}

/// A client that keeps its connection and honours `Connection: close`. Returns answers and losses.
async fn client(address: SocketAddr, answers: Arc<AtomicUsize>) -> usize {
    let mut lost = 0;
    while let Ok(stream) = TcpStream::connect(address).await {
        let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(stream)).await else { continue };
        tokio::spawn(connection);
        loop {
            if sender.ready().await.is_err() {
                break;
            }
            let request = Request::get("/").header("host", "a.test").body(Empty::<Bytes>::new()).unwrap();
            let Ok(response) = sender.send_request(request).await else {
                // The listener may have been closed over a connection that was never accepted.
                if TcpStream::connect(address).await.is_ok() {
                    lost += 1;
                }
                break;
            };
            let last = response.headers().get("connection").is_some_and(|value| value == "close");
            assert_eq!(response.status(), 200);
            lost += usize::from(response.into_body().collect().await.is_err());
            answers.fetch_add(1, Ordering::Relaxed);
            if last {
                break;
            }
        }
    }
    lost
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_under_load_loses_no_request() {
    let slow = upstream(|_| async {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Response::new(Full::new(Bytes::from("x")))
    })
    .await;
    let house = Plan::to(slow).open();
    let answers = Arc::new(AtomicUsize::new(0));
    let clients: Vec<_> = (0..16).map(|_| tokio::spawn(client(house.address, answers.clone()))).collect();
    let mut http2 = {
        let stream = TcpStream::connect(house.address).await.unwrap();
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    };
    while answers.load(Ordering::Relaxed) < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let request = Request::get("http://a.test/").body(Empty::<Bytes>::new()).unwrap();
    let under_way = tokio::spawn(http2.send_request(request));
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(house.doors.close(Duration::from_secs(20)).await, Drained::Completely);
    assert_eq!(under_way.await.unwrap().unwrap().status(), 200);
    for client in clients {
        assert_eq!(client.await.unwrap(), 0);
    }
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_at_the_deadline() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let house = Plan::to(silent.local_addr().unwrap()).open();
    let mut stuck = TcpStream::connect(house.address).await.unwrap();
    stuck.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await.unwrap();
    let (_kept, _) = silent.accept().await.unwrap();
    assert_eq!(house.doors.close(Duration::from_millis(100)).await, Drained::CutOff(1));
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_a_seat() {
    let house = Plan { connections: 2, ..Plan::to(echo().await) }.open();
    // Each data thread holds a seat while it waits to accept.
    let first = TcpStream::connect(house.address).await.unwrap();
    let second = TcpStream::connect(house.address).await.unwrap();
    let third = tokio::spawn(async move { get(house.address, "/", "").await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!third.is_finished());
    drop((first, second));
    assert_eq!(status(&third.await.unwrap()), 200);
}

#[tokio::test]
async fn a_new_configuration_is_in_force_for_the_next_request() {
    let house = Plan::to(echo().await).open();
    let mut stream = TcpStream::connect(house.address).await.unwrap();
    let ask = b"GET /nothing HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let mut buffer = [0; 4096];
    stream.write_all(ask).await.unwrap();
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
    house.shared.replace(Plan::default().running());
    stream.write_all(ask).await.unwrap();
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 500"), "the route leads to an upstream that is gone");
}

#[tokio::test]
async fn health_tells_of_the_store_and_of_stopping() {
    use crate::serve::health::{Health, serve};
    let house = Plan::default().open();
    let up = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let asked = up.clone();
    let health = Health {
        shared: house.shared.clone(),
        stores: Arc::new(move || {
            let up = asked.load(Ordering::Relaxed);
            Box::pin(async move { if up { Ok(()) } else { Err(Unavailable::new("store", "test")) } })
        }),
        metrics: metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder().handle(),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(serve(listener, health));
    assert_eq!(status(&get(address, "/healthz", "").await), 200);
    assert_eq!(status(&get(address, "/readyz", "").await), 200);
    assert_eq!(status(&get(address, "/metrics", "").await), 200);
    up.store(false, Ordering::Relaxed);
    assert_eq!(status(&get(address, "/readyz", "").await), 503);
    up.store(true, Ordering::Relaxed);
    house.shared.drain();
    assert_eq!(status(&get(address, "/readyz", "").await), 503);
    assert_eq!(status(&get(address, "/healthz", "").await), 200);
}
