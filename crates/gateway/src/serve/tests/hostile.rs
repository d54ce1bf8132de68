//! Malformed and smuggled requests, slow clients, hostile upstreams (attacks 77–87, 108–110).

use super::*;

async fn refused(octets: &[u8]) -> String {
    let house = Plan::to(echo().await).open();
    raw(house.address, octets).await
}

#[tokio::test]
async fn smuggled_framing_gets_400_and_the_connection_ends() {
    for head in [
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nxGET /x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: +1\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip\r\n\r\nx",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test@b\r\n\r\n",
        "GET /../x HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /a%2fb HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET /a#b HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET * HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nX\0Y: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nExpect: tea\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: (\r\n\r\n",
    ] {
        let answer = refused(head.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{head:?} {answer:?}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{head:?} {answer:?}");
        if let [id] = field(&answer, "x-vestibule-id")[..] {
            assert!(body(&answer).contains(id), "{answer}");
        }
    }
}

#[tokio::test]
async fn what_we_refuse_ourselves_carries_the_request_id() {
    let answer = refused(b"POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n").await;
    assert!(body(&answer).contains(field(&answer, "x-vestibule-id")[0]));
    assert_eq!(field(&answer, "connection"), ["close"]);
}

#[tokio::test]
async fn too_much_of_a_head_is_refused_and_the_client_sees_why() {
    let long = format!("GET / HTTP/1.1\r\nHost: a.test\r\nX: {}\r\n\r\n", "x".repeat(1 << 20));
    assert_eq!(status(&refused(long.as_bytes()).await), 431);
    let many = format!("GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n", "X: y\r\n".repeat(200));
    assert_eq!(status(&refused(many.as_bytes()).await), 431);
    let path = format!("GET /{} HTTP/1.1\r\nHost: a.test\r\n\r\n", "x".repeat(9000));
    assert_eq!(status(&refused(path.as_bytes()).await), 414);
}

#[tokio::test]
async fn trace_and_connect_are_not_available() {
    for head in [
        "TRACE / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n",
        "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nConnection: close\r\n\r\n",
    ] {
        let answer = refused(head.as_bytes()).await;
        assert_eq!((status(&answer), field(&answer, "allow").len()), (405, 1), "{head} {answer}");
    }
}

#[tokio::test]
async fn nobody_tells_the_application_who_they_are() {
    let house = Plan::to(echo().await).open();
    let fields = "Connection: x-user, X-Forwarded-For, Authorization\r\nX-User: root\r\nX_User: root\r\nX.user: root\r\n\
        X-Forwarded-For: 203.0.113.1\r\nX-Vestibule-Id: 1\r\nX-Vestibule_Groups: admin\r\nForwarded: for=1.2.3.4\r\nX-Token: ada\r\n\
        Proxy: http://evil\r\nProxy-Authorization: Basic x\r\nCookie: a=1; vestibule-bounces=2; __Host-vestibule=x; b=2\r\n";
    let answer = get(house.address, "/x?token=1&y=2", fields).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let mut told: Vec<&str> = body(&answer).lines().take_while(|line| !line.is_empty()).collect();
    told.sort_unstable();
    told.retain(|line| !line.starts_with("x-vestibule-id: 0"));
    assert_eq!(
        told,
        [
            "GET /x?y=2",
            "cookie: a=1; b=2",
            "host: a.test",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: a.test",
            "x-forwarded-proto: http",
            "x-user: ada"
        ]
    );
    assert_eq!(field(&answer, "x-vestibule-auth"), ["token"]);
}

#[tokio::test]
async fn a_trailer_is_no_way_around_the_strip_list() {
    let house = Plan::to(echo().await).open();
    let head = "POST / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nTrailer: X-User\r\nTransfer-Encoding: chunked\r\n\r\n";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let watched = Plan::to(listener.local_addr().unwrap()).open();
    let octets = format!("{head}1\r\nx\r\n0\r\nX-User: root\r\n\r\n");
    assert_eq!(status(&raw(house.address, octets.as_bytes()).await), 200);
    let client = tokio::spawn(async move { raw(watched.address, octets.as_bytes()).await });
    let (mut upstream, _) = listener.accept().await.unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"0\r\n\r\n") {
        assert_ne!(tokio::time::timeout(Duration::from_secs(5), upstream.read_buf(&mut got)).await.unwrap().unwrap(), 0);
    }
    let got = String::from_utf8(got).unwrap().to_ascii_lowercase();
    assert!(!got.contains("root") && !got.contains("trailer"), "{got}");
    drop(upstream);
    client.await.unwrap();
}

#[tokio::test]
async fn an_upstream_cannot_speak_for_us() {
    let hostile = scripted(|_| {
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere.test/\r\nContent-Length: 0\r\nX-Vestibule-Id: 1\r\nX_Vestibule_Auth: root\r\n\
        Set-Cookie: __Host-vestibule=x; Path=/; Secure\r\nSet-Cookie: VESTIBULE=x\r\nSet-Cookie: =vestibule=x\r\nSet-Cookie:  \t__host-Vestibule-idp=x\r\n\
        Set-Cookie: __Secure-vestibule=x\r\nSet-Cookie: app=1\r\nConnection: close, x-drop\r\nX-Drop: 1\r\nKeep-Alive: 5\r\n\r\n"
            .to_vec()
    })
    .await;
    let house = Plan::to(hostile).open();
    let answer = get(house.address, "/", "").await;
    assert_eq!((status(&answer), field(&answer, "location")), (302, vec!["http://elsewhere.test/"]));
    assert_eq!(field(&answer, "set-cookie"), ["app=1"]);
    assert_eq!(field(&answer, "x-vestibule-id")[0].len(), 36);
    assert_eq!(field(&answer, "x-vestibule-auth"), ["anonymous"]);
    for gone in ["x_vestibule_auth", "x-drop", "keep-alive"] {
        assert!(field(&answer, gone).is_empty(), "{gone}");
    }
}

#[tokio::test]
async fn an_upstream_that_babbles_is_answered_for() {
    let endless = || [&b"HTTP/1.1 200 OK\r\n"[..], &b"X: yyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n".repeat(100_000)].concat();
    let huge = || [&b"HTTP/1.1 200 OK\r\nX: "[..], &b"y".repeat(1 << 20), b"\r\nContent-Length: 0\r\n\r\n"].concat();
    for script in [
        endless(),
        huge(),
        b"SSH-2.0-x\r\n".to_vec(),
        Vec::new(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx".to_vec(),
    ] {
        let address = scripted(move |_| script.clone()).await;
        let answer = get(Plan::to(address).open().address, "/", "").await;
        assert_eq!(status(&answer), 502, "{answer}");
        assert!(body(&answer).contains("\"statusCode\":4"));
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut settings = plain(address);
    settings.limits.head = Duration::from_millis(100);
    let house = Plan { upstreams: vec![("app", settings)], ..Plan::default() }.open();
    assert_eq!(status(&get(house.address, "/", "").await), 504);
    let nobody = { std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap() };
    assert_eq!(status(&get(Plan::to(nobody).open().address, "/", "").await), 502);
}

#[tokio::test]
async fn a_slow_head_ends_the_connection() {
    let limits = Limits { head_time: Duration::from_millis(150), ..Limits::default() };
    let house = Plan { limits, ..Plan::to(echo().await) }.open();
    for begin in ["GET / HTTP/1.1\r\nHost: a", "", "PRI * HT"] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(begin.as_bytes()).await.unwrap();
        let mut sink = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut sink)).await;
        assert!(ended.is_ok(), "{begin:?}");
    }
}

#[tokio::test]
async fn bodies_read_before_the_decision_are_bounded() {
    let house = Plan { budget: 2048, ..Plan::to(echo().await) }.open();
    let post = |media_type: &str, length: usize| {
        format!(
            "POST /whole HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        )
    };
    for (head, want) in [
        (post("text/xml; charset=utf-8", 1000), 200),
        (post("text/plain", 10), 415),
        (post("text/xml", 5000), 413),
        (post("text/xml", 4000), 503),
    ] {
        let answer = raw(house.address, head.as_bytes()).await;
        assert_eq!(status(&answer), want, "{answer}");
    }
    let chunked = format!(
        "POST /whole HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Type: text/xml\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(6)
    );
    assert!(matches!(status(&raw(house.address, chunked.as_bytes()).await), 413 | 503));
    // What was refused gave its share of the budget back.
    assert_eq!(status(&raw(house.address, post("text/xml", 2000).as_bytes()).await), 200);
}

#[tokio::test]
async fn a_protocol_nobody_asked_for_is_no_tunnel() {
    let switching = scripted(|_| b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\nraw".to_vec()).await;
    let house = Plan::to(switching).open();
    assert_eq!(status(&get(house.address, "/", "").await), 502);
    let fields = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let answer = raw(house.address, fields.as_bytes()).await;
    assert_eq!(status(&answer), 502, "{answer}");
}
