//! The corpus of attacks on the doors (`corpus/attacks/doors`): every request through the proxy and through every
//! real front proxy, with an application that records what reaches it.
//!
//! What may never happen holds for every line. What is answered, and the audit's reason where the request got as far as us,
//! stands per door in `answers.json`, so that a change of either is a visible diff (`VESTIBULE_WRITE_CORPUS=1` writes it).

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use vestibule_engine::secret::Secret;

use crate::doors::{FRONTS, Front, House};
use crate::support::{CONFIG, Gateway, Received, USERS, exchange, get};

#[path = "../../src/cli/attack/corpus.rs"]
#[expect(dead_code, reason = "the command needs more of it")]
mod corpus;
#[path = "../../src/cli/attack/wire.rs"]
#[expect(dead_code, reason = "the command needs more of it")]
mod wire;

use corpus::{Attack, Place};
use wire::Came;

/// Bodies in malformed chunks. Traefik answers 500 by itself when the head of such a request, which was allowed, has reached the
/// application without the end of its body. So they do not hold there: no answer of theirs is known.
const UNFINISHED_AT_TRAEFIK: [&str; 6] = ["bad-size", "ext", "huge", "lf", "negative", "no-crlf"];

/// Whether that is one of them.
fn is_unfinished(name: &str) -> bool {
    name.strip_prefix("smuggle-chunk-").is_some_and(|chunk| UNFINISHED_AT_TRAEFIK.contains(&chunk))
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/doors")
}

fn attacks(port: u16) -> Vec<Attack> {
    use base64::Engine as _;
    let pair = format!("{}:{}", USERS[1].0, USERS[1].1);
    let place = Place {
        authority: format!("app.north.localhost:{port}"),
        name: "app.north.localhost".to_owned(),
        port,
        portal: Some(format!("login.north.localhost:{port}")),
        page: "page".to_owned(),
        open: Some(("public".to_owned(), "x".to_owned())),
        credential: Some(Secret::new(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))),
    };
    let corpus = corpus::read(corpus::REQUESTS, &place).unwrap();
    assert!(corpus.left_out.is_empty());
    corpus.attacks
}

fn send(address: SocketAddr, octets: &[u8]) -> Came {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(wire::GLANCE)).unwrap();
    wire::exchange(stream, octets)
}

/// What may never happen.
fn held(attack: &Attack, received: &[Received], answer: &[u8], door: &str) -> Result<(), String> {
    let at = |what: String| Err(format!("{door}: {}: {what}", attack.name));
    for received in received {
        let mut words = received.line.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let path = target.split('?').next().unwrap_or_default();
        let lower = path.to_ascii_lowercase();
        let user = received.header("x-vestibule-user").unwrap_or_default();
        let open = path.starts_with("/public/")
            && !["/..", "%2e", "%2f", "%5c", "\\", ";", "//", "%00", "/%20.."].iter().any(|bad| lower.contains(bad));
        let read_by_bob = attack.known && user == "bob" && matches!(method, "GET" | "HEAD");
        if !open && !read_by_bob {
            return at(format!("reached the application: {} as {user:?}", received.line));
        }
        if open && !attack.known && !user.is_empty() {
            return at(format!("anonymous became {user:?}"));
        }
        if received.line.contains("smuggled") {
            return at("a request within a request".to_owned());
        }
        for (name, value) in &received.headers {
            if value == "root" || (name.to_ascii_lowercase().replace('_', "-").starts_with("x-vestibule") && value.contains("root")) {
                return at(format!("the client's own {name}: {value}"));
            }
            let cookie = name.eq_ignore_ascii_case("cookie") && value.to_ascii_lowercase().contains("vestibule");
            if cookie || (name.eq_ignore_ascii_case("authorization") && !value.is_empty() && value.starts_with("Basic")) {
                return at(format!("a credential of ours reached the application: {name}"));
            }
        }
    }
    let text = String::from_utf8_lossy(answer);
    for line in text.lines().filter(|line| line.to_ascii_lowercase().starts_with("location:")) {
        let to = line["location:".len()..].trim();
        let ours = ["/", "http://login.north.localhost:", "http://app.north.localhost:"].iter().any(|own| to.starts_with(own));
        if !ours || to.starts_with("//") || to.starts_with("/\\") {
            return at(format!("sent away by {line}"));
        }
    }
    if attack.name.starts_with("redirect-portal") && text.contains("evil") {
        return at("the page names where the attacker wants to go".to_owned());
    }
    Ok(())
}

/// The first check of a password is the slowest, and all doors come to it at one time.
fn warm(door: &str, address: SocketAddr) {
    let known = exchange(address, &get("/page").basic(USERS[1].0, USERS[1].1).octets(&format!("app.north.localhost:{}", address.port())));
    assert_eq!(known.status, 200, "{door}: {known:?}");
}

/// Runs the corpus through one door: status by name, and what may not happen but did.
fn run(door: &str, address: SocketAddr, gateway: &Gateway) -> (BTreeMap<String, String>, Vec<String>) {
    let (mut answers, mut broken, mut ids, mut forwarded) = (BTreeMap::new(), Vec::new(), BTreeMap::new(), Vec::new());
    warm(door, address);
    gateway.application.forget();
    for attack in attacks(address.port()) {
        let came = send(address, &attack.octets);
        if came.first == 0 {
            // What was cut off may arrive late.
            std::thread::sleep(Duration::from_millis(50));
        }
        let received = gateway.application.received();
        gateway.application.forget();
        if let Err(what) = held(&attack, &received, &came.octets, door) {
            broken.push(what);
        }
        if let Some(id) = came.id {
            ids.insert(id, attack.name.clone());
        }
        // Whether the answer is the application's is a part of it.
        if !received.is_empty() && (200..300).contains(&came.first) {
            forwarded.push(attack.name.clone());
        }
        answers.insert(attack.name, came.first.to_string());
    }
    // The reasons, once the audit is written.
    std::thread::sleep(Duration::from_millis(500));
    for record in gateway.audit() {
        let Some(name) = record["request_id"].as_str().and_then(|id| ids.get(id)) else { continue };
        let reason = &record["reason"];
        if let (Some(status), false) = (answers.get_mut(name), reason.is_null())
            && !status.contains(' ')
        {
            *status = format!("{status} {}", reason.to_string().trim_matches('"').replace(['"', '{', '}'], ""));
        }
    }
    for name in forwarded {
        if let Some(status) = answers.get_mut(&name) {
            status.push_str(" forwarded");
        }
    }
    (answers, broken)
}

#[test]
fn every_attack_through_every_door_gets_nowhere() {
    assert!(CONFIG.contains("/public/**"));
    let through_proxy = || {
        let gateway = Gateway::start().with_users();
        let found = run("proxy", gateway.address, &gateway);
        assert!(TcpStream::connect(gateway.health).is_ok(), "the gateway is gone");
        Some(("proxy".to_owned(), found))
    };
    let through = |front: Front| {
        let house = House::open(front)?;
        let door = format!("{front:?}").to_ascii_lowercase();
        let found = run(&door, house.address, &house.gateway);
        Some((door, found))
    };
    let found: Vec<_> = std::thread::scope(|scope| {
        let mut threads = vec![scope.spawn(through_proxy)];
        threads.extend(FRONTS.map(|front| scope.spawn(move || through(front))));
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });
    let (mut doors, mut broken) = (BTreeMap::new(), Vec::new());
    for (door, (mut answers, more)) in found {
        if door == "traefik" {
            answers.retain(|name, _| !is_unfinished(name));
        }
        doors.insert(door, answers);
        broken.extend(more);
    }
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
    compare(&doors);
}

/// Holds the answers to those that were looked at.
fn compare(doors: &BTreeMap<String, BTreeMap<String, String>>) {
    let path = folder().join("answers.json");
    let known: BTreeMap<String, BTreeMap<String, String>> = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    if std::env::var_os("VESTIBULE_WRITE_CORPUS").is_some() {
        let mut names: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        // What a door answered that is not installed here stands.
        for (name, answers) in known.iter().filter(|(name, _)| doors.values().any(|door| door.contains_key(*name))) {
            names.insert(name, answers.iter().map(|(door, answer)| (door.as_str(), answer.as_str())).collect());
        }
        for (door, answers) in doors {
            for (name, answer) in answers {
                let stands = names.entry(name).or_default().entry(door).or_insert(answer);
                if !stands.split(" or ").any(|one| one == answer) {
                    *stands = answer;
                }
            }
        }
        let lines: Vec<String> =
            names.iter().map(|(name, answers)| format!("{}: {}", serde_json::json!(name), serde_json::json!(answers))).collect();
        std::fs::write(&path, format!("{{\n{}\n}}\n", lines.join(",\n"))).unwrap();
        return;
    }
    let mut different = Vec::new();
    for (door, answers) in doors {
        for (name, answer) in answers {
            let expected = known.get(name).and_then(|answers| answers.get(door));
            // Which of our two limits a long target meets first hangs on how the other proxy cuts the head.
            if !expected.is_some_and(|expected| expected.split(" or ").any(|one| one == answer)) {
                different.push(format!("{door}: {name}: {answer}, not {}", expected.map_or("known", String::as_str)));
            }
        }
    }
    assert!(different.is_empty(), "{} answers changed:\n{}", different.len(), different.join("\n"));
}

/// Numbers and ranges of numbers in a table's first column.
fn numbers(line: &str) -> Vec<u32> {
    let column = line.trim_start_matches('|').split('|').next().unwrap_or_default();
    let number = |text: &str| text.trim().parse::<u32>().ok();
    let range = |part: &str| match part.split_once('–') {
        Some((from, to)) => number(from).zip(number(to)).map(|(from, to)| (from..=to).collect()).unwrap_or_default(),
        None => number(part).into_iter().collect::<Vec<_>>(),
    };
    column.split(',').flat_map(range).collect()
}

#[test]
fn every_published_attack_of_these_groups_has_a_row_and_every_row_its_attacks() {
    let model = std::fs::read_to_string(folder().join("../../../docs/threat-model.md")).unwrap();
    // The summary row names no mechanism.
    let rows = || model.lines().filter(|line| line.starts_with('|') && !line.starts_with("| 77–113"));
    let known: std::collections::BTreeSet<u32> = rows().flat_map(numbers).collect();
    // Groups D3, D4 and D5.
    let missing: Vec<u32> = (77..=130).filter(|row| !known.contains(row)).collect();
    assert!(missing.is_empty(), "docs/threat-model.md has no row for {missing:?}");
    let attacks = attacks(8080);
    for attack in &attacks {
        assert!(known.contains(&attack.row), "{} is of row {}", attack.name, attack.row);
    }
    // What the issue counts.
    let count = |start: &str| attacks.iter().filter(|attack| attack.name.starts_with(start)).count();
    assert!(count("target-") >= 300 && count("redirect-") >= 200 && count("header-") >= 200, "too few");
    assert!(count("smuggle-") + count("h2-") + count("head-") >= 100 && count("hop-") >= 12 && count("credential-") >= 60, "too few");
    for pattern in model
        .split('`')
        .filter(|word| word.ends_with('*') && attacks.iter().any(|attack| word.starts_with(attack.name.split('-').next().unwrap())))
    {
        let start = pattern.trim_end_matches('*').split('*').next().unwrap();
        assert!(count(start) > 0, "nothing in the corpus is called {pattern}");
    }
}

/// Runs `vestibule attack`: its exit status and its report.
fn attack(gateway: &Gateway, arguments: &[&str]) -> (Option<i32>, Value) {
    let output = gateway.command(&[&["attack", "--json"], arguments].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{output:?}")))
}

#[test]
fn an_operator_attacks_the_gateway_and_everything_holds() {
    let gateway = Gateway::start().with_users();
    let target = format!("http://app.north.localhost:{}/page", gateway.public);
    let password = gateway.scratch.write("password-of-bob", USERS[1].1);
    let known = ["--user", USERS[1].0, "--password-file", password.to_str().unwrap()];
    let (status, report) = attack(&gateway, &[&["--target", &target, "--open", "/public/x"], &known[..]].concat());
    assert_eq!(status, Some(0), "{report:#}");
    assert_eq!((&report["verdict"], &report["answers_afterwards"]), (&"accepted".into(), &true.into()), "{report:#}");
    assert!(report["checks"].as_array().unwrap().len() > 20, "{report:#}");
    assert!(report["unseen"].as_u64().unwrap() > 0, "what was let in is not called held: {report:#}");
    let left_out = report["left_out"].as_array().unwrap();
    assert!(left_out.len() == 1 && left_out[0]["why"].as_str().unwrap().contains("--guesses"), "{report:#}");

    // Whoever names less tries less, and is told.
    let (status, report) = attack(&gateway, &["--target", &target, "--row", "85", "--row", "97"]);
    assert_eq!((status, &report["verdict"]), (Some(0), &"accepted".into()), "{report:#}");
    for wrong in [
        "http://app.north.localhost:1/page",
        "ftp://app.north.localhost/page",
        &target.replace("/page", "/public/x"),
        &target.replace("/page", ""),
    ] {
        let (status, report) = attack(&gateway, &["--target", wrong]);
        assert_eq!(status, Some(2), "{wrong} {report:#}");
        assert!(report["fix"].is_string() || report["error"].as_str().unwrap().contains("does not answer"), "{report:#}");
    }
}

#[test]
fn an_operators_attacks_hold_through_every_proxy() {
    let through = |front: Front| {
        let house = House::open(front)?;
        warm(&format!("{front:?}"), house.address);
        let target = format!("http://app.north.localhost:{}/page", house.address.port());
        let password = house.gateway.scratch.write("password-of-bob", USERS[1].1);
        let known = ["--user", USERS[1].0, "--password-file", password.to_str().unwrap()];
        let (status, report) = attack(&house.gateway, &[&["--target", &target, "--open", "/public/x"], &known[..]].concat());
        let broken: BTreeMap<_, _> = report["broken"]
            .as_array()
            .unwrap_or_else(|| panic!("{front:?} {report:#}"))
            .iter()
            .map(|broken| (broken["name"].as_str().unwrap(), &broken["status"]))
            .collect();
        if front == Front::Traefik {
            // `lf` others forward, so what became of it is not seen.
            assert_eq!((status, broken.len()), (Some(1), UNFINISHED_AT_TRAEFIK.len() - 1), "{report:#}");
            assert!(broken.iter().all(|(name, status)| is_unfinished(name) && **status == 500), "{report:#}");
        } else {
            assert_eq!((status, broken.len()), (Some(0), 0), "{front:?} {report:#}");
        }
        assert_eq!(report["answers_afterwards"], true, "{front:?} {report:#}");
        Some(())
    };
    std::thread::scope(|scope| {
        for thread in FRONTS.map(|front| scope.spawn(move || through(front))) {
            thread.join().unwrap();
        }
    });
}

#[test]
fn an_operator_is_shown_what_does_not_hold() {
    let gateway = Gateway::start();
    // A gateway that guards one spelling of its page, and follows whoever asks to be sent away.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut head = [0; 4096];
                let read = stream.read(&mut head).unwrap_or(0);
                let text = String::from_utf8_lossy(&head[..read]).into_owned();
                let target = text.split(' ').nth(1).unwrap_or_default().to_owned();
                let answer = match (target.as_str(), target.split_once("return_to=")) {
                    ("/page", _) => "401 No\r\n".to_owned(),
                    (_, Some((_, to))) => format!("303 See\r\nLocation: {to}\r\n"),
                    (_, None) => "200 OK\r\n".to_owned(),
                };
                let _ = stream.write_all(format!("HTTP/1.1 {answer}Content-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
            });
        }
    });
    let target = format!("http://app.north.localhost:{port}/page");
    let own = format!("app.north.localhost:{port}");
    let (status, report) =
        attack(&gateway, &["--target", &target, "--open", "/public/x", "--portal", &own, "--row", "77", "--row", "95", "--row", "97"]);
    assert_eq!((status, &report["verdict"]), (Some(1), &"rejected".into()), "{report:#}");
    let broken: Vec<_> = report["broken"].as_array().unwrap().iter().map(|broken| broken["name"].as_str().unwrap()).collect();
    assert!(broken.contains(&"target-up0-slash3") && broken.contains(&"redirect-portal-0"), "{broken:?}");
    assert!(!broken.iter().any(|name| name.starts_with("pre-auth-")), "{broken:?}");
    let people = gateway.command(&["attack", "--target", &target, "--row", "97"]);
    let text = String::from_utf8_lossy(&people.stdout).into_owned();
    assert!(people.status.success() && text.contains("held") && text.contains("Not tried") == text.contains("need"), "{text}");
}
