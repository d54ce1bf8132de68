//! Malformed, oversized and smuggled input; hostile applications. Everything gets a clear answer, nothing gets through.

use std::io::{BufReader, Write};
use std::net::TcpStream;

use crate::support::{Gateway, PATIENCE, USERS, ask, exchange, get, read_answer};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);

/// Octets sent as they are, the status they get.
const RAW: &[(&str, &str, u16)] = &[
    ("two hosts", "GET /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nHost: app.north.localhost\r\n\r\n", 400),
    ("no host", "GET /public/ HTTP/1.1\r\n\r\n", 400),
    ("malformed host", "GET /public/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("userinfo in host", "GET /public/ HTTP/1.1\r\nHost: u@app.north.localhost\r\n\r\n", 400),
    ("unknown host", "GET /public/ HTTP/1.1\r\nHost: elsewhere.example\r\n\r\n", 404),
    (
        "length and chunked",
        "POST /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("two lengths", "POST /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400),
    ("length list", "POST /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nContent-Length: 4, 5\r\n\r\nabcd", 400),
    ("signed length", "POST /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nContent-Length: +4\r\n\r\nabcd", 400),
    ("unknown coding", "POST /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
    ("disguised chunked", "POST /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nTransfer-Encoding: xchunked\r\n\r\n", 400),
    ("folded header", "GET /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nX-A: a\r\n b\r\n\r\n", 400),
    ("space before colon", "GET /public/ HTTP/1.1\r\nHost : app.north.localhost\r\n\r\n", 400),
    ("bare CR in value", "GET /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nX-A: a\rb\r\n\r\n", 400),
    ("NUL in value", "GET /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nX-A: a\0b\r\n\r\n", 400),
    ("absolute form, other host", "GET http://app.south.localhost/public/ HTTP/1.1\r\nHost: app.north.localhost\r\n\r\n", 400),
    ("no such method form", "G@T /public/ HTTP/1.1\r\nHost: app.north.localhost\r\n\r\n", 400),
    ("garbage", "\u{1}\u{2}\u{3}\r\n\r\n", 400),
];

#[test]
fn malformed_requests_are_refused_and_reach_nobody() {
    let gateway = Gateway::start();
    for (name, octets, status) in RAW {
        let answer = exchange(gateway.address, octets.as_bytes());
        assert_eq!(answer.status, *status, "{name}: {answer:?}");
    }
    assert!(gateway.application.received().is_empty(), "{:?}", gateway.application.received());
    assert_eq!(gateway.send(&get("/public/")).status, 200, "and the gateway lives");
}

#[test]
fn oversized_requests_are_refused() {
    let gateway = Gateway::start();
    let long = "x".repeat(1024 * 1024);
    assert_eq!(gateway.send(&get("/public/").header("X-Long", &long)).status, 431);
    assert!(matches!(gateway.send(&get(&format!("/public/{}", "a".repeat(9000)))).status, 414 | 431));
    let mut many = get("/public/");
    for index in 0..500 {
        many = many.header(&format!("X-{index}"), "1");
    }
    assert_eq!(gateway.send(&many).status, 431);
    let deep = format!("/public{}", "/a".repeat(200));
    assert_eq!(gateway.send(&get(&deep)).status, 414);
    assert!(gateway.application.received().is_empty());
}

#[test]
fn hostile_cookies_are_nobody() {
    let gateway = Gateway::start().with_users();
    for value in ["", "x", "=", "\"", &"A".repeat(43), &"A".repeat(5000), "%00", "../../etc/passwd", "a=b=c"] {
        let answer = gateway.send(&get("/api/orders").cookie("vestibule", value));
        assert_eq!(answer.status, 401, "{value}");
    }
    let (name, value) = gateway.sign_in(ADA.0, ADA.1);
    let doubled = get("/api/orders").header("Cookie", &format!("{name}={value}; {name}={value}"));
    assert_eq!(gateway.send(&doubled).status, 401, "a doubled session cookie is a malformed step");
}

#[test]
fn every_spelling_of_an_identity_header_is_stripped() {
    let gateway = Gateway::start().with_users();
    for name in [
        "X-Vestibule-User",
        "x-vestibule-user",
        "X_Vestibule_User",
        "x_vestibule-user",
        "X.Vestibule.User",
        "X-Vestibule_User",
        "X-VESTIBULE-USER",
        "X-Vestibule-Groups",
        "X_Vestibule_Groups",
        "X-Vestibule-Token",
        "X-Vestibule-Anything-At-All",
    ] {
        gateway.application.forget();
        let answer = gateway.send(&get("/public/").header(name, "root").header(name, "admin"));
        assert_eq!(answer.status, 200, "{name}");
        let received = gateway.application.last();
        assert!(!received.headers.iter().any(|(_, value)| value == "root" || value == "admin"), "{name}: {received:?}");
    }
    // Naming an identity header in Connection must not delete it (attack 85).
    let answer = gateway
        .send(&get("/api/orders").basic(ADA.0, ADA.1).header("Connection", "close, X-Vestibule-User, x-vestibule-token, X-Forwarded-For"));
    assert_eq!(answer.status, 200);
    let received = gateway.application.last();
    assert_eq!(received.header("x-vestibule-user"), Some("ada"));
    assert!(received.header("x-forwarded-for").is_some());
}

#[test]
fn forwarded_headers_of_strangers_are_not_believed() {
    let gateway = Gateway::start();
    let answer = gateway.send(
        &get("/public/")
            .header("X-Forwarded-For", "203.0.113.9")
            .header("X-Forwarded-Host", "evil.example")
            .header("Forwarded", "for=203.0.113.9")
            .header("X-Forwarded-Proto", "https")
            .header("X-Real-IP", "203.0.113.9")
            .header("X-Rewrite-URL", "/api/orders"),
    );
    assert_eq!(answer.status, 200);
    let received = gateway.application.last();
    assert!(!received.headers.iter().any(|(_, value)| value.contains("203.0.113.9") || value.contains("evil.example")), "{received:?}");
    assert_eq!(received.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(received.header("x-forwarded-proto"), Some("http"));
}

#[test]
fn a_hostile_application_harms_nobody() {
    let gateway = Gateway::start();
    gateway.application.answer_raw(
        "HTTP/1.1 200 OK\r\nSet-Cookie: vestibule=stolen; Path=/\r\nSet-Cookie: __Host-vestibule=stolen; Path=/; Secure\r\nset-cookie: VESTIBULE=x\r\n\
         Set-Cookie: mine=1\r\nX-Vestibule-Auth: basic\r\nX-Vestibule-Id: forged\r\nContent-Length: 2\r\n\r\nok",
    );
    let answer = gateway.send(&get("/public/"));
    assert_eq!(answer.status, 200);
    assert_eq!(answer.all("set-cookie"), ["mine=1"]);
    assert_eq!(answer.all("x-vestibule-auth"), ["anonymous"]);
    assert_ne!(answer.header("x-vestibule-id"), Some("forged"));

    // Redirects are the application's own business: passed on, not followed.
    gateway.application.answer_raw("HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n");
    let answer = gateway.send(&get("/public/"));
    assert_eq!((answer.status, answer.header("location")), (302, Some("http://169.254.169.254/")));

    let endless = format!("HTTP/1.1 200 OK\r\n{}", "X-Endless: x\r\n".repeat(200_000));
    for hostile in [endless.as_str(), "garbage\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", ""] {
        gateway.application.answer_raw(hostile);
        let answer = gateway.send(&get("/public/"));
        assert_eq!(answer.status, 502, "{:.40}", hostile);
        assert!(answer.header("x-vestibule-id").is_some());
    }
    gateway.application.answer_normally();
    assert_eq!(gateway.send(&get("/public/")).status, 200);
}

#[test]
fn an_application_that_is_down_is_a_502_with_an_id() {
    let gateway = Gateway::start().with_users();
    let answer = gateway.send(&get("/nowhere/page").basic(ADA.0, ADA.1));
    assert_eq!(answer.status, 502, "{answer:?}");
    assert!(answer.header("x-vestibule-id").is_some());
}

#[test]
fn a_slow_head_is_cut_off_and_others_are_served() {
    let gateway = Gateway::start();
    let mut slow = TcpStream::connect(gateway.address).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(b"GET /public/ HTTP/1.1\r\nHost: app.north.localhost\r\nX-Slow: ").unwrap();
    assert_eq!(gateway.send(&get("/public/")).status, 200);
    // The house of these tests waits two seconds for a head.
    let mut rest = Vec::new();
    use std::io::Read as _;
    let _ = slow.read_to_end(&mut rest);
    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
}

#[test]
fn requests_on_one_connection_are_judged_one_by_one() {
    let gateway = Gateway::start();
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let host = format!("app.north.localhost:{}", gateway.address.port());
    let both = format!("GET /public/ HTTP/1.1\r\nHost: {host}\r\n\r\nGET /api/orders HTTP/1.1\r\nHost: {host}\r\n\r\n");
    stream.write_all(both.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    assert_eq!(read_answer(&mut reader).status, 200);
    assert_eq!(read_answer(&mut reader).status, 401);
}

#[test]
fn soap_clients_get_faults_of_their_version() {
    let gateway = Gateway::start().with_users();
    let envelope = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body/></s:Envelope>";
    let eleven =
        ask("POST", "/api/orders").header("Content-Type", "text/xml; charset=utf-8").header("SOAPAction", "\"urn:list\"").body(envelope);
    let answer = gateway.send(&eleven);
    assert_eq!(answer.status, 401);
    assert!(answer.header("content-type").unwrap().starts_with("text/xml"));
    assert!(answer.body.contains("http://schemas.xmlsoap.org/soap/envelope/") && answer.body.contains("faultcode"), "{}", answer.body);
    assert!(answer.header("www-authenticate").is_some());

    let twelve = ask("POST", "/api/orders").header("Content-Type", "application/soap+xml; charset=utf-8").body(envelope);
    let answer = gateway.send(&twelve);
    assert!(answer.header("content-type").unwrap().starts_with("application/soap+xml"));
    assert!(answer.body.contains("http://www.w3.org/2003/05/soap-envelope"), "{}", answer.body);

    let allowed = eleven.basic(ADA.0, ADA.1);
    assert_eq!(gateway.send(&allowed).status, 200);
    assert_eq!(gateway.application.last().body, envelope.as_bytes());
}
