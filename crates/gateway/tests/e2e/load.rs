//! Callers that do not stop asking while something breaks, and what they were told.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::{Ask, Gateway, PATIENCE, get};

/// Between two requests of one caller: the machine has other things to do, too.
const PAUSE: Duration = Duration::from_millis(5);
/// The name of the cookie that opens a session.
const COOKIE: &str = "vestibule=";

/// Somebody who asks the same again and again, each time on a connection of its own: nothing may be tried again.
#[derive(Clone)]
pub struct Caller {
    who: &'static str,
    address: SocketAddr,
    octets: Vec<u8>,
    pause: Duration,
}

/// A caller of the application.
pub fn caller(who: &'static str, address: SocketAddr, public: u16, ask: &Ask) -> Caller {
    Caller { who, address, octets: ask.octets(&format!("app.north.localhost:{public}")), pause: PAUSE }
}

impl Caller {
    /// The same, less often.
    pub fn every(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }
}

/// The usual callers: one with a session, one whose session was ended, one who never had one, one without anything on an open
/// page, and one who signs in by password each time.
pub fn usual(address: SocketAddr, public: u16, live: &str, ended: &str, (name, password): (&str, &str)) -> Vec<Caller> {
    let session = |value: &str| get("/api/orders").cookie("vestibule", value);
    vec![
        caller(SESSION, address, public, &session(live)),
        caller(ENDED, address, public, &session(ended)),
        caller(STRANGER, address, public, &session(&"A".repeat(43))),
        caller(OPEN, address, public, &get("/public/page")),
        caller(PASSWORD, address, public, &get("/api/orders").basic(name, password)).every(Duration::from_millis(50)),
    ]
}

pub const SESSION: &str = "session";
pub const ENDED: &str = "ended";
pub const STRANGER: &str = "stranger";
pub const OPEN: &str = "open";
pub const PASSWORD: &str = "password";

/// How often each caller was told what. No status stands for a connection that broke.
#[derive(Debug, Default, Clone)]
pub struct Tally(BTreeMap<(&'static str, Option<u16>), usize>);

impl Tally {
    /// Asserts that this caller was answered, and in these ways only.
    #[track_caller]
    pub fn only(&self, who: &str, allowed: &[u16]) -> &Self {
        let mut found = self.0.keys().filter(|(caller, _)| *caller == who).peekable();
        assert!(found.peek().is_some(), "{who} was told nothing: {self:?}");
        assert!(found.all(|(_, status)| status.is_some_and(|status| allowed.contains(&status))), "{who}: {self:?}");
        self
    }

    /// Asserts that no door was ever open: who has no session, or no longer, got nothing of the application.
    #[track_caller]
    pub fn closed(&self) -> &Self {
        for who in [STRANGER, ENDED] {
            assert!(!self.0.keys().any(|(caller, status)| *caller == who && *status == Some(200)), "an open door: {self:?}");
        }
        self
    }

    /// How often this caller was told this.
    pub fn times(&self, who: &'static str, status: u16) -> usize {
        self.0.get(&(who, Some(status))).copied().unwrap_or(0)
    }
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// The number of the phase; a request counts in the phase in which all of it was.
    phase: AtomicUsize,
    told: Mutex<Told>,
}

#[derive(Default)]
struct Told {
    now: Tally,
    ever: Tally,
    sessions: Vec<String>,
}

/// Callers at work.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    pub fn start(callers: Vec<Caller>) -> Self {
        let shared = Arc::new(Shared::default());
        let threads = callers
            .into_iter()
            .map(|caller| {
                let shared = shared.clone();
                std::thread::spawn(move || shared.work(&caller))
            })
            .collect();
        Self { shared, threads }
    }

    /// Ends a phase and returns what was told in it.
    pub fn phase(&self) -> Tally {
        let mut told = self.shared.told.lock().unwrap();
        self.shared.phase.fetch_add(1, Ordering::SeqCst);
        std::mem::take(&mut told.now)
    }

    /// Waits until this caller was told this in the present phase, so many times.
    pub fn until(&self, who: &'static str, status: u16, times: usize) {
        for _ in 0..3000 {
            if self.shared.told.lock().unwrap().now.times(who, status) >= times {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{who} was not told {status}: {:?}", self.shared.told.lock().unwrap().now);
    }

    /// Every session that was acknowledged.
    pub fn sessions(&self) -> Vec<String> {
        self.shared.told.lock().unwrap().sessions.clone()
    }

    /// Ends it and returns all that was ever told.
    pub fn end(mut self) -> Tally {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().unwrap();
        }
        std::mem::take(&mut self.shared.told.lock().unwrap().ever)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn work(&self, caller: &Caller) {
        while !self.stop.load(Ordering::Relaxed) {
            let phase = self.phase.load(Ordering::SeqCst);
            let answer = ask(caller.address, &caller.octets);
            let place = (caller.who, answer.as_ref().map(|(status, _)| *status));
            let mut told = self.told.lock().unwrap();
            *told.ever.0.entry(place).or_default() += 1;
            if self.phase.load(Ordering::SeqCst) == phase {
                *told.now.0.entry(place).or_default() += 1;
            }
            told.sessions.extend(answer.and_then(|(status, session)| session.filter(|_| status == 200)));
            drop(told);
            std::thread::sleep(caller.pause);
        }
    }
}

/// The status of a whole answer and the session it opened, or nothing where the connection broke before its end.
fn ask(address: SocketAddr, octets: &[u8]) -> Option<(u16, Option<String>)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(octets).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let field = |name: &str| head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix(name).map(|_| line[name.len()..].trim()));
    let length: Option<usize> = field("content-length:").and_then(|value| value.parse().ok());
    if length.is_some_and(|length| body.len() < length) || (length.is_none() && !text.contains("\r\n0\r\n")) {
        return None;
    }
    let session = field("set-cookie:").and_then(|value| value.strip_prefix(COOKIE)).and_then(|value| value.split(';').next());
    Some((head.get(9..12)?.parse().ok()?, session.map(str::to_owned)))
}

/// Signs somebody in and out again; what is left is a session that must never live again.
pub fn ended_session(gateway: &Gateway, through: SocketAddr, name: &str, password: &str) -> String {
    use crate::support::hidden_fields;
    let mut browser = gateway.browser_through(through);
    assert_eq!(browser.sign_in(name, password, "app.north.localhost").status, 200);
    let session = browser.cookie("app.north.localhost", "vestibule").unwrap();
    let page = browser.load("http://login.north.localhost/logout");
    let fields = hidden_fields(&page.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(matches!(browser.post("login.north.localhost", "/logout", &fields).status, 200 | 303));
    session
}
