//! Two nodes as one, seen through the load balancer that everybody else sees them through: nginx, and Envoy.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::balancer::{Balancer, Kind};
use crate::cluster::{FILES, over};
use crate::lifecycle::wait_for;
use crate::load::{ENDED, Load, OPEN, PASSWORD, SESSION, STRANGER, ended_session, usual};
use crate::peers::{Postgres, Redis};
use crate::support::{Answer, Ask, Gateway, USERS, exchange, free_port, get, hidden_fields};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const BOB: (&str, &str) = (USERS[1].0, USERS[1].1);
const APP: &str = "app.north.localhost";
const PORTAL: &str = "login.north.localhost";

/// Two nodes behind a balancer, and what they share.
struct Pair {
    one: Gateway,
    other: Gateway,
    balancer: Balancer,
    _redis: Option<Redis>,
    _postgres: Postgres,
}

impl Pair {
    /// `None` (and a word) if something is not installed.
    fn start(kind: Kind, with_redis: bool) -> Option<Self> {
        if !Balancer::is_there(kind) {
            return None;
        }
        let postgres = Postgres::start()?;
        let redis = if with_redis { Some(Redis::start(&[])?) } else { None };
        let configuration = over(postgres.port, redis.as_ref().map(|redis| redis.port));
        let public = free_port();
        let one = Gateway::at(public, &configuration, &FILES).with_users();
        let other = Gateway::at(public, &configuration, &FILES);
        let balancer = Balancer::start(kind, public, [&one, &other]);
        let pair = Self { one, other, balancer, _redis: redis, _postgres: postgres };
        wait_for(|| {
            pair.send(&get("/public/x"));
            pair.nodes().iter().all(|node| !node.application.received().is_empty())
        });
        pair.forget();
        Some(pair)
    }

    fn nodes(&self) -> [&Gateway; 2] {
        [&self.one, &self.other]
    }

    fn send(&self, ask: &Ask) -> Answer {
        self.send_to(APP, ask)
    }

    fn send_to(&self, host: &str, ask: &Ask) -> Answer {
        exchange(self.balancer.address, &ask.octets(&format!("{host}:{}", self.one.public)))
    }

    fn forget(&self) {
        for node in self.nodes() {
            node.application.forget();
        }
    }

    /// A session of ada, opened through whichever node.
    fn sign_in(&self, (name, password): (&str, &str)) -> String {
        let mut browser = self.one.browser_through(self.balancer.address);
        let page = browser.sign_in(name, password, APP);
        assert_eq!(page.status, 200, "{page:?}");
        browser.cookie(APP, "vestibule").unwrap()
    }

    fn visit(&self, session: &str) -> u16 {
        self.send(&get("/api/orders").cookie("vestibule", session)).status
    }

    /// How often an event with this reason is in the audit of each node.
    fn audited(&self, event: &str, reason: &str) -> [usize; 2] {
        self.nodes().map(|node| node.audit().iter().filter(|record| record["event"] == event && record["reason"] == reason).count())
    }

    /// A tunnel, once it carries.
    fn tunnel(&self, session: &str) -> TcpStream {
        let host = format!("{APP}:{}", self.one.public);
        crate::tunnels::tunnel(self.balancer.address, &host, &format!("Cookie: vestibule={session}"))
    }
}

#[test]
fn two_nodes_on_postgres_behind_nginx_are_one() {
    if let Some(pair) = Pair::start(Kind::Nginx, false) {
        are_one(&pair);
    }
}

#[test]
fn two_nodes_on_postgres_and_redis_behind_envoy_are_one() {
    if let Some(pair) = Pair::start(Kind::Envoy, true) {
        are_one(&pair);
    }
}

fn are_one(pair: &Pair) {
    // A login through one is valid on both.
    let session = pair.sign_in(ADA);
    pair.forget();
    for _ in 0..6 {
        assert_eq!(pair.visit(&session), 200);
    }
    for node in pair.nodes() {
        assert!(node.application.received().iter().any(|received| received.header("x-vestibule-user") == Some("ada")));
    }

    a_form_and_a_code_work_once(pair);
    a_log_out_ends_sessions_and_tunnels_everywhere(pair);
    guesses_are_counted_together(pair);
}

/// What was used through one node is used up for the other: a login form, and the code that hands a login over.
fn a_form_and_a_code_work_once(pair: &Pair) {
    let mut browser = pair.one.browser_through(pair.balancer.address);
    let mut page = browser.load(&format!("http://{APP}/page"));
    while page.status == 303 {
        page = browser.load(page.header("location").unwrap());
    }
    let hidden = hidden_fields(&page.body);
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("username", ADA.0), ("password", ADA.1)]);
    let form = browser.cookie(PORTAL, "vestibule-login").unwrap();
    let answer = browser.post(PORTAL, "/login", &fields);
    assert_eq!(answer.status, 303, "{answer:?}");
    let origin = format!("http://{PORTAL}:{}", pair.one.public);
    let again = crate::support::ask("POST", "/login").browser().header("Origin", &origin).header("Sec-Fetch-Site", "same-origin");
    let again = again.cookie("vestibule-login", &form).form(&fields);
    // As often as it takes to reach both nodes.
    for _ in 0..4 {
        let refused = pair.send_to(PORTAL, &again);
        assert_eq!(refused.status, 403, "{refused:?}");
        assert!(!refused.cookies().contains_key("vestibule"));
    }
    wait_for(|| pair.audited("login.rejected", "stale_form").iter().all(|times| *times > 0));

    // The application's host first gives this browser a mark, then the code is made.
    let mut location = answer.header("location").unwrap().to_owned();
    while !location.contains("code=") {
        location = browser.load(&location).header("location").unwrap().to_owned();
    }
    let landing = url::Url::parse(&location).unwrap();
    let target = landing[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
    let nonce = browser.cookie(APP, "vestibule-landing").unwrap();
    let land = get(&target).browser().cookie("vestibule-landing", &nonce);
    let landings: Vec<Answer> = (0..5).map(|_| pair.send(&land)).collect();
    let opened = landings.iter().filter(|answer| answer.cookies().contains_key("vestibule")).count();
    assert_eq!(opened, 1, "{landings:?}");
    assert!(landings[0].cookies().contains_key("vestibule"));
    wait_for(|| pair.audited("login.rejected", "bad_code").iter().all(|times| *times > 0));
}

fn a_log_out_ends_sessions_and_tunnels_everywhere(pair: &Pair) {
    let mut browser = pair.one.browser_through(pair.balancer.address);
    assert_eq!(browser.sign_in(ADA.0, ADA.1, APP).status, 200);
    let session = browser.cookie(APP, "vestibule").unwrap();
    pair.forget();
    let mut tunnels: Vec<TcpStream> = (0..4).map(|_| pair.tunnel(&session)).collect();
    let upgraded = |node: &Gateway| node.application.received().iter().any(|received| received.header("upgrade").is_some());
    assert!(pair.nodes().into_iter().all(upgraded), "a tunnel through each");
    let page = browser.load(&format!("http://{PORTAL}/logout"));
    let fields = hidden_fields(&page.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(matches!(browser.post(PORTAL, "/logout", &fields).status, 200 | 303));
    for node in pair.nodes() {
        wait_for(|| node.send(&get("/api/orders").cookie("vestibule", &session)).status == 401);
    }
    for tunnel in &mut tunnels {
        assert!(matches!(tunnel.read(&mut [0; 16]), Ok(0) | Err(_)), "a tunnel outlived its session");
    }
}

fn guesses_are_counted_together(pair: &Pair) {
    for guess in 0..5 {
        assert_eq!(pair.send(&get("/api/orders").basic(BOB.0, &format!("guess {guess}"))).status, 401);
    }
    // No node saw five of them, and the gate closed.
    let seen = |event: &str| pair.nodes().map(|node| node.audit().iter().filter(|record| record["event"] == event).count());
    wait_for(|| seen("gate.closed").iter().sum::<usize>() > 0);
    let guesses = pair.nodes().map(|node| node.audit().iter().filter(|record| record.to_string().contains("wrong_password")).count());
    assert!(guesses.iter().all(|guesses| *guesses > 0), "{guesses:?}");
}

#[test]
fn keys_rotate_on_two_nodes_and_no_verifier_refuses_a_token() {
    let Some(pair) = Pair::start(Kind::Nginx, false) else { return };
    let ask = get("/api/orders").basic(ADA.0, ADA.1);
    let mut seen: Vec<String> = Vec::new();
    for round in 0..3 {
        // A verifier fetched the keys just before, through whichever node.
        let before = verifier(&pair);
        pair.forget();
        let node = pair.nodes()[round % 2];
        assert!(node.command(&["key", "rotate", "jwt"]).status.success());
        let tokens = || -> Vec<String> {
            let received = pair.nodes().map(|node| node.application.received()).concat();
            received.iter().map(|received| received.header("x-vestibule-token").unwrap().to_owned()).collect()
        };
        let kid = |node: &Gateway| node.application.received().last().and_then(|last| last.header("x-vestibule-token").map(key_id));
        wait_for(|| {
            assert_eq!(pair.send(&ask).status, 200);
            let kids = pair.nodes().map(kid);
            kids[0].is_some() && kids[0] == kids[1] && !seen.iter().any(|token| Some(key_id(token)) == kids[0])
        });
        let after = verifier(&pair);
        for token in tokens() {
            assert!(verifies(&before, &token) && verifies(&after, &token), "a token was refused");
            seen.push(token);
        }
    }
}

type Verifier = BTreeMap<String, Vec<u8>>;

/// The published keys, as points in the way they are written on the wire.
fn verifier(pair: &Pair) -> Verifier {
    let set: Value = serde_json::from_str(&pair.send_to(PORTAL, &get("/.well-known/jwks.json")).body).unwrap();
    let part = |key: &Value, name: &str| URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap();
    let point = |key: &Value| [vec![4], part(key, "x"), part(key, "y")].concat();
    set["keys"].as_array().unwrap().iter().map(|key| (key["kid"].as_str().unwrap().to_owned(), point(key))).collect()
}

fn key_id(token: &str) -> String {
    let head: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap()).unwrap();
    head["kid"].as_str().unwrap().to_owned()
}

fn verifies(verifier: &Verifier, token: &str) -> bool {
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let point = verifier.get(&key_id(token));
    point.is_some_and(|point| UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).is_ok())
}

#[test]
fn a_rolling_restart_behind_nginx_loses_no_login_and_no_request() {
    let Some(mut pair) = Pair::start(Kind::Nginx, true) else { return };
    pair.lose_nothing(People::SignIn, Pair::restart_each);
}

#[test]
fn a_rolling_restart_behind_envoy_loses_no_login_and_no_request() {
    let Some(mut pair) = Pair::start(Kind::Envoy, false) else { return };
    pair.lose_nothing(People::SignIn, Pair::restart_each);
}

#[test]
fn a_rolling_hand_over_loses_no_login_and_no_request() {
    let Some(mut pair) = Pair::start(Kind::Nginx, false) else { return };
    pair.lose_nothing(People::SignIn, |pair| {
        for node in pair.nodes() {
            node.signal("USR2");
            wait_for(|| node.log().contains("a successor takes over"));
            wait_for(|| node.send(&get("/public/x")).status == 200);
        }
    });
}

#[test]
fn a_killed_node_takes_no_acknowledged_login_with_it() {
    let Some(mut pair) = Pair::start(Kind::Nginx, false) else { return };
    // A form that was under way to it breaks, and people send it again; what may be asked twice nginx asks the other.
    pair.lose_nothing(People::Wait, |pair| {
        for second in [false, true] {
            let node = pair.node(second);
            node.kill();
            node.restart();
            pair.until_known(second);
        }
    });
}

/// Whether people fill in forms meanwhile.
enum People {
    SignIn,
    Wait,
}

impl Pair {
    fn node(&mut self, second: bool) -> &mut Gateway {
        if second { &mut self.other } else { &mut self.one }
    }

    fn restart_each(&mut self) {
        for second in [false, true] {
            let node = self.node(second);
            node.stop();
            node.restart();
            self.until_known(second);
        }
    }

    /// Waits until the balancer sends requests to a node again: only then may the next one go.
    fn until_known(&mut self, second: bool) {
        self.node(second).application.forget();
        wait_for(|| {
            self.send(&get("/public/x"));
            !self.node(second).application.received().is_empty()
        });
    }

    /// Does something to the nodes while everybody goes on, and asserts that nobody noticed.
    fn lose_nothing(&mut self, people: People, change: impl FnOnce(&mut Self)) {
        let (address, public) = (self.balancer.address, self.one.public);
        let live = self.sign_in(ADA);
        let ended = ended_session(&self.one, address, ADA.0, ADA.1);
        let load = Load::start(usual(address, public, &live, &ended, ADA));
        let stop = AtomicBool::new(false);
        let logins = std::thread::scope(|scope| {
            let logins = scope.spawn(|| match people {
                People::SignIn => people_sign_in(address, public, &stop),
                People::Wait => vec![live.clone()],
            });
            load.until(PASSWORD, 200, 3);
            change(self);
            load.phase();
            load.until(PASSWORD, 200, 2);
            stop.store(true, Ordering::Relaxed);
            logins.join().unwrap()
        });
        let sessions = load.sessions();
        let told = load.end();
        told.closed().only(SESSION, &[200]).only(OPEN, &[200]).only(PASSWORD, &[200]).only(ENDED, &[401]).only(STRANGER, &[401]);
        assert!(!logins.is_empty() && sessions.len() >= 4, "{} logins, {} sessions", logins.len(), sessions.len());
        for session in logins.iter().chain(&sessions).chain([&live]) {
            assert_eq!(self.visit(session), 200, "an acknowledged login was lost");
        }
    }
}

/// People who sign in at the portal, one after another. Returns their sessions.
fn people_sign_in(address: SocketAddr, public: u16, stop: &AtomicBool) -> Vec<String> {
    let mut sessions = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let mut browser = crate::support::Browser::at(address, public);
        let page = browser.sign_in(ADA.0, ADA.1, APP);
        assert_eq!(page.status, 200, "a login was lost: {page:?}");
        sessions.push(browser.cookie(APP, "vestibule").unwrap());
    }
    sessions
}
