//! A real gateway process, an application behind it that records what reaches it, and a client that
//! sends exactly the octets it is told to.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::leaks;

/// How a test's requests for applications reach the engine, and under which policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum World {
    /// Through our own proxy.
    Proxy,
    /// A proxy in front asks, as Envoy does over HTTP, and forwards: [`Gateway::send_to`] is that proxy.
    ExtAuthz,
    /// Through our own proxy, under a policy that permits everything to everybody.
    CatchAll,
}

thread_local! { static WORLD: Cell<World> = const { Cell::new(World::Proxy) }; }

/// The world of this test.
pub fn world() -> World {
    WORLD.get()
}

/// Runs a test in every world.
pub fn in_every_world(test: impl Fn()) {
    for world in [World::Proxy, World::ExtAuthz, World::CatchAll] {
        println!("{world:?}");
        WORLD.set(world);
        test();
    }
    WORLD.set(World::Proxy);
}

/// Permits everything: what it does not let in, no policy does.
const CATCH_ALL: &str = "\n@id(\"everything\")\npermit(principal, action, resource);\n";

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A directory that disappears with the test.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn new() -> Self {
        let name = format!("vestibule-e2e-{}-{:x}", std::process::id(), rand());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn rand() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// A port of the loopback interface that was free a moment ago. Below those that the system gives to clients, and no port
/// twice: many houses are opened at once, and each of their connections takes a port, too.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    const FIRST: u16 = 12_000;
    const PORTS: u16 = 20_000;
    let _ = NEXT.compare_exchange(0, u16::try_from(rand() % u64::from(PORTS)).unwrap(), Ordering::Relaxed, Ordering::Relaxed);
    loop {
        let port = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % PORTS;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// One request as the application received it.
#[derive(Debug, Clone)]
pub struct Received {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Received {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// An application that records every request and answers 200 with what it received as text, or with the
/// raw answer of a script. Who asks for a WebSocket gets one that echoes.
#[derive(Debug)]
pub struct Application {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    script: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Application {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Mutex<Option<Vec<u8>>>> = Arc::default();
        let (log, answers) = (received.clone(), script.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, answers) = (log.clone(), answers.clone());
                std::thread::spawn(move || serve(stream, &log, &answers));
            }
        });
        Self { address, received, script }
    }

    pub fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    pub fn last(&self) -> Received {
        self.received().last().expect("the application received nothing").clone()
    }

    pub fn forget(&self) {
        self.received.lock().unwrap().clear();
    }

    /// From now on every request is answered with these octets, and the connection closed.
    pub fn answer_raw(&self, octets: impl Into<Vec<u8>>) {
        *self.script.lock().unwrap() = Some(octets.into());
    }

    pub fn answer_normally(&self) {
        *self.script.lock().unwrap() = None;
    }
}

fn serve(stream: TcpStream, log: &Mutex<Vec<Received>>, answers: &Mutex<Option<Vec<u8>>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut stream = stream;
    loop {
        let Some((line, headers)) = read_head(&mut reader) else { return };
        let body = read_body(&mut reader, &headers);
        let mut text = line.clone();
        for (name, value) in &headers {
            write!(text, "\n{name}: {value}").unwrap();
        }
        let upgrade = headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("upgrade") && value == "websocket");
        log.lock().unwrap().push(Received { line, headers, body });
        if upgrade {
            let _ = stream.write_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
            let _ = std::io::copy(&mut reader, &mut stream);
            return;
        }
        let script = answers.lock().unwrap().clone();
        if let Some(octets) = script {
            let _ = stream.write_all(&octets);
            return;
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{text}", text.len());
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn read_head(reader: &mut impl BufRead) -> Option<(String, Vec<(String, String)>)> {
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).ok()? == 0 {
            return None;
        }
        let header = header.trim_end();
        if header.is_empty() {
            return Some((line.trim_end().to_owned(), headers));
        }
        let (name, value) = header.split_once(':')?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
}

fn read_body(reader: &mut impl BufRead, headers: &[(String, String)]) -> Vec<u8> {
    let header = |name: &str| headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.clone());
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|value| value.to_ascii_lowercase().contains("chunked")) {
        loop {
            let mut size = String::new();
            if reader.read_line(&mut size).unwrap_or(0) == 0 {
                return body;
            }
            let size = usize::from_str_radix(size.trim().split(';').next().unwrap(), 16).unwrap_or(0);
            if size == 0 {
                let mut trailer = String::new();
                while reader.read_line(&mut trailer).is_ok_and(|read| read > 2) {
                    trailer.clear();
                }
                return body;
            }
            let mut chunk = vec![0; size + 2];
            if reader.read_exact(&mut chunk).is_err() {
                return body;
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }
    let length = header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    body.resize(length, 0);
    let _ = reader.read_exact(&mut body);
    body
}

/// An answer of the gateway.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The cookies this answer sets, by name.
    pub fn cookies(&self) -> BTreeMap<String, String> {
        let pair = |value: &&str| value.split(';').next().and_then(|pair| pair.split_once('=')).map(|(n, v)| (n.to_owned(), v.to_owned()));
        self.all("set-cookie").iter().filter_map(pair).collect()
    }
}

/// A request, written as octets.
#[derive(Debug, Clone)]
pub struct Ask {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// `GET target` with nothing else.
pub fn get(target: &str) -> Ask {
    ask("GET", target)
}

/// `method target` with nothing else.
pub fn ask(method: &str, target: &str) -> Ask {
    Ask { method: method.into(), target: target.into(), headers: Vec::new(), body: Vec::new() }
}

impl Ask {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        leaks::header(name, value);
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn basic(self, name: &str, password: &str) -> Self {
        use base64::Engine as _;
        leaks::secret(password);
        let token = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        self.header("Authorization", &format!("Basic {token}"))
    }

    pub fn cookie(self, name: &str, value: &str) -> Self {
        self.header("Cookie", &format!("{name}={value}"))
    }

    /// A script in a page of the same origin.
    pub fn script(self) -> Self {
        self.header("X-Requested-With", "XMLHttpRequest").header("Sec-Fetch-Mode", "cors").header("Sec-Fetch-Site", "same-origin")
    }

    /// A person's browser loading a page.
    pub fn browser(self) -> Self {
        self.header("Accept", "text/html").header("Sec-Fetch-Mode", "navigate").header("Sec-Fetch-Dest", "document")
    }

    pub fn form(mut self, fields: &[(&str, &str)]) -> Self {
        fields.iter().for_each(|(name, value)| leaks::field(name, value));
        let encode = |text: &str| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        self.body = body.join("&").into_bytes();
        self.header("Content-Type", "application/x-www-form-urlencoded")
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    pub fn octets(&self, host: &str) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
            write!(text, "Host: {host}\r\n").unwrap();
        }
        for (name, value) in &self.headers {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        if !self.body.is_empty() || self.method == "POST" {
            write!(text, "Content-Length: {}\r\n", self.body.len()).unwrap();
        }
        text.push_str("Connection: close\r\n\r\n");
        let mut octets = text.into_bytes();
        octets.extend_from_slice(&self.body);
        octets
    }
}

/// Sends octets and reads the answer to the end of the connection.
pub fn exchange(address: SocketAddr, octets: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The gateway may answer and close before it has read everything.
    let _ = stream.write_all(octets);
    let answer = read_answer(&mut BufReader::new(stream));
    leaks::answer(&answer);
    answer
}

pub fn read_answer(reader: &mut impl BufRead) -> Answer {
    let (line, headers) = read_head(reader).expect("no answer");
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no status in {line:?}"));
    let framed =
        headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length") || name.eq_ignore_ascii_case("transfer-encoding"));
    let body = if framed {
        read_body(reader, &headers)
    } else {
        let mut rest = Vec::new();
        let _ = reader.read_to_end(&mut rest);
        rest
    };
    Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() }
}

/// A running `vestibule serve`.
#[derive(Debug)]
pub struct Gateway {
    child: Child,
    launch: Launch,
    pub address: SocketAddr,
    pub health: SocketAddr,
    /// Where a proxy in front asks, in that world.
    door: Option<SocketAddr>,
    /// The port that its public names have: its own, or that of the node it stands beside.
    pub public: u16,
    pub scratch: Scratch,
    pub application: Application,
}

/// What a gateway is started by, and its environment.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// A program that becomes the gateway, with its arguments.
    pub by: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Where it listens; on loopback, if nothing else is said.
    pub host: Option<std::net::Ipv4Addr>,
}

/// The users of the standard house: name, password, groups.
pub const USERS: [(&str, &str, &str); 3] =
    [("ada", "correct horse battery", "staff,admins"), ("bob", "staple of the north", "staff"), ("eve", "new on the first day", "staff")];

impl Gateway {
    /// The standard house of these tests: one tenant `north` with users ada, bob and eve; see [`CONFIG`].
    pub fn start() -> Self {
        Self::with(CONFIG)
    }

    /// A gateway of this configuration, in which `{{…}}` stand for addresses and paths.
    pub fn with(template: &str) -> Self {
        Self::with_files(template, &[])
    }

    /// A gateway of this configuration, with more files beside it that only it may read.
    pub fn with_files(template: &str, files: &[(&str, &str)]) -> Self {
        Self::launched(&Launch::default(), template, files, None)
    }

    /// The same in another environment, such as that of a library that tells another time.
    pub fn at_time(template: &str, files: &[(&str, &str)], environment: &[(&str, String)]) -> Self {
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self::launched(&Launch { environment, ..Launch::default() }, template, files, None)
    }

    /// Another node under the same public names, which `{{public}}` is the port of.
    pub fn beside(&self, template: &str, files: &[(&str, &str)]) -> Self {
        Self::at(self.public, template, files)
    }

    /// A node whose public names have this port, that of whatever stands before it.
    pub fn at(public: u16, template: &str, files: &[(&str, &str)]) -> Self {
        Self::launched(&Launch::default(), template, files, Some(public))
    }

    /// A gateway started otherwise. `{dir}` in what it is launched with is its directory.
    pub fn launched(launch: &Launch, template: &str, files: &[(&str, &str)], public: Option<u16>) -> Self {
        let scratch = Scratch::new();
        let dir = scratch.path().display().to_string();
        let launch = Launch {
            by: launch.by.iter().map(|word| word.replace("{dir}", &dir)).collect(),
            environment: launch.environment.iter().map(|(name, value)| (name.clone(), value.replace("{dir}", &dir))).collect(),
            host: launch.host,
        };
        let host = launch.host.unwrap_or(std::net::Ipv4Addr::LOCALHOST);
        let application = Application::start();
        let (port, health) = (free_port(), free_port());
        let public = public.unwrap_or(port);
        for (name, text) in files {
            use std::os::unix::fs::PermissionsExt;
            let path = scratch.write(name, &text.replace("{{port}}", &port.to_string()));
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let policy = if world() == World::CatchAll { format!("{POLICY}{CATCH_ALL}") } else { POLICY.to_owned() };
        scratch.write("policy.cedar", &policy);
        scratch.write("kek", "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef");
        let config = template
            .replace("{{port}}", &port.to_string())
            .replace("{{public}}", &public.to_string())
            .replace("{{health}}", &health.to_string())
            .replace("{{app}}", &application.address.to_string())
            .replace("{{dir}}", &scratch.path().display().to_string());
        let door = (world() == World::ExtAuthz).then(|| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let config = match door {
            Some(door) => {
                format!("{config}\n[[listen]]\naddress = \"{door}\"\nspeaks = \"envoy-http\"\ntrusted_proxies = [\"127.0.0.1\"]\n")
            }
            None => config,
        };
        let path = scratch.write("vestibule.toml", &config);
        let child = spawn(&path, &scratch, &launch);
        let gateway = Self {
            child,
            launch,
            address: SocketAddr::from((host, port)),
            health: SocketAddr::from((host, health)),
            door,
            public,
            scratch,
            application,
        };
        gateway.wait_until_ready();
        gateway
    }

    /// Adds the standard users; `eve` must change her password first.
    pub fn with_users(self) -> Self {
        for (name, password, groups) in USERS {
            let file = self.scratch.write("password", password);
            let mut arguments = vec!["user", "add", name, "--tenant", "north", "--password-file", file.to_str().unwrap()];
            for group in groups.split(',') {
                arguments.extend(["--group", group]);
            }
            if name == "eve" {
                arguments.push("--must-change");
            }
            let mut output = self.command(&arguments);
            // A database that has just begun, on a machine that is busy, may be slower than a gateway waits for.
            for _ in 0..3 {
                if output.status.success() || !String::from_utf8_lossy(&output.stderr).contains("did not answer in time") {
                    break;
                }
                if self.command(&["user", "show", name, "--tenant", "north"]).status.success() {
                    break;
                }
                output = self.command(&arguments);
            }
            let there = output.status.success() || self.command(&["user", "show", name, "--tenant", "north"]).status.success();
            assert!(there, "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        }
        self
    }

    /// Runs another command of the program against this gateway.
    pub fn command(&self, arguments: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .args(arguments)
            .args(["--socket", self.scratch.path().join("admin.sock").to_str().unwrap()])
            .env("NO_COLOR", "1")
            .output()
            .unwrap()
    }

    /// Sends to the application's host.
    pub fn send(&self, ask: &Ask) -> Answer {
        self.send_to("app.north.localhost", ask)
    }

    /// Sends to a host.
    pub fn send_to(&self, host: &str, ask: &Ask) -> Answer {
        // Our own pages are served by our own listener, whoever carries the rest.
        if let Some(door) = self.door.filter(|_| !host.starts_with("login.") && !ask.target.starts_with("/.vestibule")) {
            return self.carry(door, &format!("{host}:{}", self.public), ask);
        }
        exchange(self.address, &ask.octets(&format!("{host}:{}", self.public)))
    }

    /// What a proxy in front does: it asks with the head of the request, and what is allowed it forwards as it is told.
    fn carry(&self, door: SocketAddr, host: &str, ask: &Ask) -> Answer {
        let question = Ask { body: Vec::new(), ..ask.clone() };
        let question = question.header("X-Forwarded-For", "127.0.0.1").header("X-Forwarded-Proto", "http");
        let said = exchange(door, &question.octets(host));
        if said.status != 200 {
            return said;
        }
        let for_client = |name: &str| {
            let beside = ["set-cookie", "vary", "x-vestibule-id", "x-vestibule-auth"];
            beside.contains(&name) || name.starts_with("access-control-") || name.starts_with("x-csrf-")
        };
        let of_connection = |name: &str| matches!(name, "content-length" | "date" | "connection" | "cache-control");
        let mut onward = Ask { headers: Vec::new(), ..ask.clone() };
        let told: Vec<(String, String)> = said.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
        let is_told = |name: &str| told.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
        onward.headers.extend(ask.headers.iter().filter(|(name, _)| !is_told(name)).cloned());
        let set = told
            .iter()
            .filter(|(name, value)| !value.is_empty() && !of_connection(name) && (name.starts_with("x-vestibule-") || !for_client(name)));
        onward.headers.extend(set.cloned());
        let mut answer = exchange(self.application.address, &onward.octets(host));
        // Echoed by the application; what the client sees comes from the door alone.
        answer.headers.retain(|(name, _)| !for_client(&name.to_ascii_lowercase()));
        answer.headers.extend(told.into_iter().filter(|(name, _)| for_client(name)));
        answer
    }

    /// Everything the gateway wrote into its audit file, line by line; without the line that it is just writing.
    pub fn audit(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.scratch.path().join("audit.jsonl")).unwrap_or_default();
        let lines = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        lines.map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The audit records of one request, once its decision is among them.
    pub fn audit_of(&self, answer: &Answer) -> Vec<serde_json::Value> {
        self.audit_about(answer.header("x-vestibule-id").expect("no decision id"))
    }

    /// The same, by the id that the application was told.
    pub fn audit_about(&self, id: &str) -> Vec<serde_json::Value> {
        let mut settled = false;
        for _ in 0..1500 {
            let found: Vec<_> = self.audit().into_iter().filter(|record| record["request_id"] == id).collect();
            match found.iter().position(|record| record["event"] == "request.decided") {
                // What belongs to a decision is written behind it: if nothing is yet, it may be on its way.
                Some(last) if last + 1 == found.len() && !settled => settled = true,
                Some(_) => return found,
                None => {}
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("no record of {id}");
    }

    /// A browser of its own cookies.
    pub fn browser(&self) -> Browser<'_> {
        self.browser_through(self.address)
    }

    /// A browser that reaches it by another address, a load balancer's.
    pub fn browser_through(&self, through: SocketAddr) -> Browser<'_> {
        Browser { of: PhantomData, ..Browser::at(through, self.public) }
    }

    /// Signs in as a browser does and returns the session cookie of the application's host.
    pub fn sign_in(&self, name: &str, password: &str) -> (String, String) {
        let mut browser = self.browser();
        let page = browser.sign_in(name, password, "app.north.localhost");
        assert_eq!(page.status, 200, "{page:?}");
        ("vestibule".to_owned(), browser.cookie("app.north.localhost", "vestibule").expect("no session cookie"))
    }

    /// Signs in at the portal with nowhere to go, and returns its answer.
    pub fn sign_in_at_portal(&self, name: &str, password: &str) -> Answer {
        self.browser().submit_login("http://login.north.localhost/login", name, password)
    }

    fn wait_until_ready(&self) {
        for _ in 0..600 {
            if let Ok(mut stream) = TcpStream::connect(self.health) {
                let _ = stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
                let mut text = String::new();
                let _ = stream.read_to_string(&mut text);
                if text.starts_with("HTTP/1.1 200") {
                    return;
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the gateway was not ready in time: {}", self.log());
    }

    /// The file of its store.
    pub fn store(&self) -> PathBuf {
        self.scratch.path().join("data").join("vestibule.db")
    }

    /// What the gateway wrote to its standard error.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("stderr")).unwrap_or_default()
    }

    /// Kills the process as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it as a service manager does, and waits until it has ended.
    pub fn stop(&mut self) {
        self.signal("TERM");
        self.child.wait().unwrap();
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Starts it again over the same store.
    pub fn restart(&mut self) {
        self.child = spawn(&self.scratch.path().join("vestibule.toml"), &self.scratch, &self.launch);
        self.wait_until_ready();
    }

    /// Goes on with another process over the same store.
    pub fn adopt(&mut self, child: Child) {
        self.child = child;
    }

    /// Sends a signal, e.g. `HUP`.
    pub fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap().success());
    }
}

/// A person's browser: cookies by host, redirects followed. A clone has the cookies of that moment.
#[derive(Debug, Clone)]
pub struct Browser<'a> {
    of: PhantomData<&'a Gateway>,
    through: SocketAddr,
    public: u16,
    jar: BTreeMap<String, BTreeMap<String, String>>,
    /// Where it is: redirects may be relative.
    at: Option<url::Url>,
}

impl Browser<'_> {
    /// A browser of whatever has this address and whose public names have this port.
    pub fn at(through: SocketAddr, public: u16) -> Self {
        Self { of: PhantomData, through, public, jar: BTreeMap::new(), at: None }
    }

    /// The same browser, led to another node from now on.
    pub fn through<'o>(self, node: &'o Gateway) -> Browser<'o> {
        Browser { of: PhantomData, through: node.browser().through, public: self.public, jar: self.jar, at: self.at }
    }

    /// Loads a page without following redirects. Ports in URLs do not matter: there is one gateway.
    pub fn load(&mut self, url: &str) -> Answer {
        let url = match &self.at {
            Some(at) => at.join(url).unwrap(),
            None => url::Url::parse(url).unwrap(),
        };
        self.at = Some(url.clone());
        let target = url[url::Position::BeforePath..url::Position::AfterQuery].to_owned();
        self.ask(url.host_str().unwrap(), get(&target).browser())
    }

    /// Loads a page and follows redirects to the end.
    pub fn visit(&mut self, url: &str) -> Answer {
        let mut answer = self.load(url);
        for _ in 0..12 {
            let Some(location) = answer.header("location").map(str::to_owned).filter(|_| answer.status == 303) else { return answer };
            answer = self.load(&location);
        }
        panic!("redirected for ever: {answer:?}");
    }

    /// Asks for a page of a host, signs in where that leads, and returns the page it ends at.
    pub fn sign_in(&mut self, name: &str, password: &str, host: &str) -> Answer {
        let mut answer = self.load(&format!("http://{host}/page"));
        while answer.status == 303 {
            let location = answer.header("location").unwrap().to_owned();
            if location.contains("/login?") {
                let shown = self.load(&location);
                answer = if shown.status == 200 { self.submit(&shown, name, password) } else { shown };
            } else {
                answer = self.load(&location);
            }
        }
        answer
    }

    /// Loads the login page and submits its form.
    pub fn submit_login(&mut self, url: &str, name: &str, password: &str) -> Answer {
        let form = self.visit(url);
        assert_eq!(form.status, 200, "{form:?}");
        self.submit(&form, name, password)
    }

    fn submit(&mut self, form: &Answer, name: &str, password: &str) -> Answer {
        let hidden = hidden_fields(&form.body);
        let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields.extend([("username", name), ("password", password)]);
        self.post("login.north.localhost", "/login", &fields)
    }

    /// Submits a form of the same origin.
    pub fn post(&mut self, host: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("http://{host}:{}", self.public);
        self.ask(host, ask("POST", target).browser().header("Origin", &origin).header("Sec-Fetch-Site", "same-origin").form(fields))
    }

    /// Submits a form that a page of another site shows.
    pub fn post_from(&mut self, origin: &str, host: &str, target: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask(host, ask("POST", target).browser().header("Origin", origin).header("Sec-Fetch-Site", "cross-site").form(fields))
    }

    /// Loses a cookie of all hosts.
    pub fn forget(&mut self, name: &str) {
        self.jar.values_mut().for_each(|cookies| drop(cookies.remove(name)));
    }

    /// A cookie this browser holds.
    pub fn cookie(&self, host: &str, name: &str) -> Option<String> {
        self.jar.get(host)?.get(name).cloned()
    }

    fn ask(&mut self, host: &str, mut request: Ask) -> Answer {
        let cookies = self.jar.entry(host.to_owned()).or_default();
        if !cookies.is_empty() {
            let text: Vec<String> = cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
            request = request.header("Cookie", &text.join("; "));
        }
        let answer = exchange(self.through, &request.octets(&format!("{host}:{}", self.public)));
        for (name, value) in answer.cookies() {
            if value.is_empty() {
                cookies.remove(&name)
            } else {
                cookies.insert(name, value)
            };
        }
        answer
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // Before it ends: afterwards nobody can see its environment, and another may have its number.
        let searched = (!std::thread::panicking()).then(|| {
            let search = || leaks::search(self.scratch.path(), self.child.id(), self.health);
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(search))
        });
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(Err(leak)) = searched {
            std::panic::resume_unwind(leak);
        }
        if std::thread::panicking() {
            eprintln!("--- the gateway's log\n{}", self.log());
        }
    }
}

fn spawn(config: &Path, scratch: &Scratch, launch: &Launch) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(scratch.path().join("stderr")).unwrap();
    let mut words = launch.by.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_vestibule")]);
    let mut command = Command::new(words.next().unwrap());
    // A house with a file `clock` lives at that time, from its start on; with `x0.1` behind, ten times as slowly.
    if let Ok(clock) = std::fs::read_to_string(scratch.path().join("clock")) {
        command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", format!("@{clock}")).env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("TZ", "UTC");
    }
    command
        .args(words)
        .args(["serve", "--config", config.to_str().unwrap()])
        // Every level on: what is said at the lowest is searched like the rest, see `leaks.rs`.
        .env("VESTIBULE_LOG", "trace")
        .envs(launch.environment.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// What makes a process live at another time (Debian's `faketime`).
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The `Cookie` header that answers an answer's `Set-Cookie`.
pub fn cookie_header(answer: &Answer) -> String {
    answer.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
}

/// The hidden fields of a page's form.
pub fn hidden_fields(page: &str) -> Vec<(String, String)> {
    let attribute = |tag: &str, name: &str| {
        let (_, rest) = tag.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.replace("&#38;", "&").replace("&amp;", "&"))
    };
    page.split("<input")
        .skip(1)
        .filter_map(|rest| rest.split_once('>').map(|(tag, _)| tag))
        .filter(|tag| tag.contains("type=\"hidden\""))
        .filter_map(|tag| Some((attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default())))
        .collect()
}

/// The policies of the standard house.
pub const POLICY: &str = r#"
@id("staff-may-read")
permit(principal in Group::"staff", action in Action::"read", resource);

@id("admins-may-write")
permit(principal in Group::"admins", action in Action::"write", resource);
"#;

/// The configuration of the standard house.
pub const CONFIG: &str = include_str!("house.toml");
