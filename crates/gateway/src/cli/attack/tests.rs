use super::*;

fn place() -> Place {
    Place {
        authority: "app.example:8443".to_owned(),
        name: "app.example".to_owned(),
        port: 8443,
        portal: Some("login.example".to_owned()),
        page: "api/orders".to_owned(),
        open: Some(("static".to_owned(), "logo.png".to_owned())),
        credential: None,
    }
}

fn came(octets: &[u8]) -> Came {
    struct Fixed<'a>(&'a [u8]);
    impl std::io::Read for Fixed<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0.read(into)
        }
    }
    impl std::io::Write for Fixed<'_> {
        fn write(&mut self, from: &[u8]) -> std::io::Result<usize> {
            Ok(from.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    wire::exchange(Fixed(octets), b"")
}

fn judged(known: bool, harmless: &[u16], octets: &str) -> Verdict {
    let harmless = Harmless { statuses: harmless.iter().copied().collect(), forwarded: harmless.contains(&200) };
    let attack = Attack { name: "x".to_owned(), row: 77, octets: Vec::new(), known, guess: false };
    let sends_to = ["app.example", "login.example"].map(str::to_owned).into();
    judge(&attack, &came(octets.as_bytes()), &Baseline { protected: 401, sends_to }, Some(&harmless), &place())
}

#[test]
fn the_corpus_fits_every_house_and_says_what_it_lacks() {
    let lines = corpus::REQUESTS.lines().count();
    let corpus = corpus::read(corpus::REQUESTS, &place()).unwrap();
    assert_eq!(corpus.left_out.keys().collect::<Vec<_>>(), [&Lacking::Credential]);
    assert_eq!(corpus.attacks.len() + corpus.left_out[&Lacking::Credential], lines);
    let up = corpus.attacks.iter().find(|attack| attack.name == "target-up0-slash3").unwrap();
    assert!(up.octets.starts_with(b"GET /static%2f..%2fapi/orders HTTP/1.1\r\nHost: app.example:8443\r\n"));
    for attack in &corpus.attacks {
        let text = String::from_utf8_lossy(&attack.octets);
        for word in ["{host}", "{page}", "{open}", "{leaf}", "{second", "{basic}", "{name}"] {
            assert!(!text.contains(word), "{}: {text}", attack.name);
        }
        assert!(ROWS.iter().any(|(row, _)| *row == attack.row) || (112..=128).contains(&attack.row), "row {} has no title", attack.row);
    }
    let bare = Place { open: None, portal: None, ..place() };
    let corpus = corpus::read(corpus::REQUESTS, &bare).unwrap();
    assert_eq!(corpus.left_out.len(), 3);
    assert!(corpus.attacks.len() > 500);
    assert!(corpus::read("{}", &bare).is_err() && corpus::read("x", &bare).is_err());
}

#[test]
fn lengths_are_those_of_what_was_filled_in() {
    let corpus = corpus::read(corpus::REQUESTS, &place()).unwrap();
    let attack = corpus.attacks.iter().find(|attack| attack.name == "smuggle-cl-te-plain").unwrap();
    let text = String::from_utf8(attack.octets.clone()).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{text}");
}

#[test]
fn what_a_stranger_sees_is_judged() {
    assert_eq!(judged(false, &[401], "HTTP/1.1 401 No\r\n\r\n"), Verdict::Held);
    assert_eq!(judged(false, &[401], "HTTP/1.1 404 Other\r\n\r\n"), Verdict::Held);
    assert!(matches!(judged(false, &[401], "HTTP/1.1 200 OK\r\n\r\n"), Verdict::Broken(_)));
    assert_eq!(judged(false, &[200, 400], "HTTP/1.1 200 OK\r\n\r\n"), Verdict::Unseen);
    assert_eq!(judged(true, &[400], "HTTP/1.1 200 OK\r\n\r\n"), Verdict::Unseen);
    assert!(matches!(judged(false, &[400], "HTTP/1.1 502 Bad\r\n\r\n"), Verdict::Broken(_)));
    assert_eq!(judged(false, &[501], "HTTP/1.1 501 Odd\r\n\r\n"), Verdict::Held);
    assert!(matches!(judged(false, &[400], ""), Verdict::Broken(_)));
    assert_eq!(judged(false, &[400, 0], ""), Verdict::Held);
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    assert!(matches!(judged(false, &[200], twice), Verdict::Broken(_)));
}

#[test]
fn nobody_is_sent_away() {
    let sent = |to: &str| judged(false, &[303], &format!("HTTP/1.1 303 See\r\nLocation: {to}\r\n\r\n"));
    for to in ["/x", "https://login.example/login?return_to=https%3A%2F%2Fevil.example", "//app.example/x", "x/y"] {
        assert_eq!(sent(to), Verdict::Held, "{to}");
    }
    for to in [
        "//evil.example",
        "/\\evil.example",
        "https:evil.example",
        "http://app.example.evil.example/",
        "javascript:alert(1)",
        "http://app.example@evil.example/",
        "https://evil.example",
    ] {
        assert!(matches!(sent(to), Verdict::Broken(_)), "{to}");
    }
}
