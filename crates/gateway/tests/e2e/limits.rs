//! Limits and overload: who asks too much is turned away at once, in the right form, and others are served as ever.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

use crate::peers::wait_for;
use crate::support::{Answer, Ask, CONFIG, Gateway, USERS, exchange, free_port, get};

/// The standard house behind a proxy on this machine, with these limits.
fn house(limits: &str) -> Gateway {
    let trusted =
        CONFIG.replacen("address = \"127.0.0.1:{{port}}\"", "address = \"127.0.0.1:{{port}}\"\ntrusted_proxies = [\"127.0.0.0/8\"]", 1);
    Gateway::with(&(trusted + limits)).with_users()
}

fn from(address: &str, ask: Ask) -> Ask {
    ask.header("X-Forwarded-For", address)
}

fn reason(gateway: &Gateway, answer: &Answer) -> serde_json::Value {
    gateway.audit_of(answer)[0]["reason"].clone()
}

#[test]
fn an_address_that_asks_too_much_is_told_so_in_its_own_form_and_nobody_else_is() {
    let gateway = house("\n[limits]\naddress_rate = { per_second = 1, burst = 3 }\nexempt = [\"198.51.100.0/24\", \"127.0.0.1\"]\n");
    let until_refused = |ask: &dyn Fn() -> Ask| {
        let answers = (0..200).map(|_| gateway.send(&ask()));
        answers.into_iter().find(|answer| answer.status != 200).expect("never refused")
    };
    let api = until_refused(&|| from("203.0.113.1", get("/public/x")));
    assert_eq!((api.status, api.header("content-type")), (429, Some("application/json")), "{api:?}");
    let wait: u32 = api.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait), "{api:?}");
    assert_eq!(reason(&gateway, &api), serde_json::json!({ "shed": "address_rate" }));
    let browser = until_refused(&|| from("203.0.113.2", get("/public/x").browser()));
    assert_eq!(browser.status, 429);
    assert!(browser.header("content-type").unwrap().starts_with("text/html") && browser.body.contains("Too many requests"), "{browser:?}");
    let soap = until_refused(&|| from("203.0.113.3", get("/public/x").header("Content-Type", "text/xml").header("SOAPAction", "\"a\"")));
    assert!(soap.status == 429 && soap.body.contains("faultcode"), "{soap:?}");
    // Not the address of the proxy in front is counted, but each client's own; a network of IPv6 is one client.
    for n in 10..40 {
        assert_eq!(gateway.send(&from(&format!("203.0.113.{n}"), get("/public/x"))).status, 200);
    }
    let mut host = 0;
    until_refused_by(&mut || {
        host += 1;
        gateway.send(&from(&format!("2001:db8::{host:x}"), get("/public/x"))).status
    });
    for _ in 0..30 {
        assert_eq!(gateway.send(&from("198.51.100.7", get("/public/x"))).status, 200, "an exempt address");
    }
    let metrics = exchange(gateway.health, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").body;
    assert!(metrics.contains(r#"vestibule_requests_shed_total{limit="address_rate"} "#), "{metrics}");
}

fn until_refused_by(ask: &mut dyn FnMut() -> u16) {
    assert!((0..200).any(|_| ask() == 429), "never refused");
}

/// An application that answers nobody until it is told to answer everybody.
struct Slow {
    port: u16,
    asked: Arc<Mutex<usize>>,
    open: Arc<(Mutex<bool>, Condvar)>,
}

impl Slow {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let slow = Self { port: listener.local_addr().unwrap().port(), asked: Arc::default(), open: Arc::default() };
        let (asked, open) = (slow.asked.clone(), slow.open.clone());
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let (asked, open) = (asked.clone(), open.clone());
                std::thread::spawn(move || {
                    let mut head = Vec::new();
                    let mut octet = [0];
                    while !head.ends_with(b"\r\n\r\n") {
                        let Ok(1) = stream.read(&mut octet) else { return };
                        head.push(octet[0]);
                    }
                    *asked.lock().unwrap() += 1;
                    drop(open.1.wait_while(open.0.lock().unwrap(), |open| !*open).unwrap());
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
                });
            }
        });
        slow
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }

    fn answer(&self) {
        *self.open.0.lock().unwrap() = true;
        self.open.1.notify_all();
    }
}

#[test]
fn when_all_places_are_taken_strangers_are_refused_early_and_those_who_are_signed_in_are_served() {
    let slow = Slow::start();
    let route = format!(
        "\n[limits]\nrequests = 12\nreserved = 50\n\n[[route]]\nname = \"slow\"\nmatch = \"/slow/**\"\naccess = \"open\"\nforward = \"http://127.0.0.1:{}\"\n\
         limits = {{ requests = 8 }}\n",
        slow.port
    );
    let gateway = house(&route);
    let (name, session) = gateway.sign_in(USERS[0].0, USERS[0].1);
    let host = format!("app.north.localhost:{}", gateway.public);
    let begin = |ask: Ask| {
        let mut stream = TcpStream::connect(gateway.address).unwrap();
        stream.write_all(&ask.octets(&host)).unwrap();
        stream
    };
    // Half of the route's places are common.
    let mut waiting: Vec<TcpStream> = (0..4).map(|_| begin(get("/slow/x"))).collect();
    wait_for("the application to be asked", || slow.asked() == 4);
    let refused = gateway.send(&get("/slow/x"));
    assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true), "{refused:?}");
    assert_eq!(reason(&gateway, &refused), serde_json::json!({ "shed": "route_requests" }));
    let forged = gateway.send(&get("/slow/x").cookie(&name, "bm90IGEgc2Vzc2lvbiBhdCBhbGwsIGp1c3Qgd29yZHM"));
    assert_eq!(forged.status, 503, "a cookie that is no session is no reason");
    waiting.extend((0..2).map(|_| begin(get("/slow/x").cookie(&name, &session))));
    wait_for("who is signed in to be let in", || slow.asked() == 6);
    // Six of twelve places are taken, and the other six are for those who are known.
    let page = gateway.send(&get("/public/x").browser());
    assert_eq!((page.status, page.header("content-type").unwrap().starts_with("text/html")), (503, true), "{page:?}");
    assert_eq!(reason(&gateway, &page), serde_json::json!({ "shed": "requests" }));
    assert_eq!(gateway.send(&get("/api/x").cookie(&name, &session)).status, 200);
    slow.answer();
    for mut stream in waiting {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    }
    wait_for("places to be given back", || gateway.send(&get("/public/x")).status == 200);
}

#[test]
fn other_proxies_are_told_for_whom_the_limit_is() {
    let port = free_port();
    let door = format!("\n[[listen]]\naddress = \"127.0.0.1:{port}\"\nspeaks = \"auth-request\"\ntrusted_proxies = [\"127.0.0.0/8\"]\n");
    let gateway = house(&(door + "\n[limits]\naddress_rate = { per_second = 1, burst = 2 }\nexempt = [\"127.0.0.1\"]\n"));
    let ask = |address: &str| {
        let question =
            get("/").header("X-Original-Method", "GET").header("X-Original-URI", "/public/x").header("X-Forwarded-Proto", "http");
        exchange(([127, 0, 0, 1], port).into(), &from(address, question).octets(&format!("app.north.localhost:{}", gateway.public)))
    };
    let refused = (0..200).map(|_| ask("203.0.113.1")).find(|answer| answer.status != 200).expect("never refused");
    assert_eq!((refused.status, refused.header("x-vestibule-status")), (403, Some("429")), "{refused:?}");
    assert!(refused.header("retry-after").is_some());
    assert_eq!(ask("203.0.113.2").status, 200);
    assert_eq!(reason(&gateway, &refused), serde_json::json!({ "shed": "address_rate" }));
}
