//! The doors for other proxies, asked by the real ones over the very files of `examples/behind-a-proxy`.

use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{Application, Ask, Browser, Gateway, POLICY, Scratch, USERS, ask, exchange, free_port, get, read_answer};

/// Those that are run; Envoy speaks three dialects.
pub const FRONTS: [Front; 7] =
    [Front::Nginx, Front::Caddy, Front::Haproxy, Front::Envoy, Front::EnvoyHttp, Front::EnvoyExtProc, Front::Traefik];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    Nginx,
    Caddy,
    Haproxy,
    Envoy,
    EnvoyHttp,
    EnvoyExtProc,
    /// Run where `peers/traefik.sh` could build it: it is no package here. What it asks is replayed in any case, see below.
    Traefik,
}

/// The gateway of the example behind one real proxy.
pub struct House {
    pub gateway: Gateway,
    proxy: Child,
    front: Front,
    pub address: SocketAddr,
    scratch: Scratch,
}

/// The example's ports, in whose place free ones are put.
const PORTS: [u16; 8] = [8080, 8081, 9000, 9001, 9002, 9003, 9004, 9005];

/// The example's chain.
const CHAIN: &str = "chain  = [\"session\", \"basic\", \"form\"]";

/// Puts other ports in their place; in two steps, or 8081 could become 39001 and that another port again.
fn with_ports(text: &str, ports: [u16; 8]) -> String {
    let marked = PORTS.iter().fold(text.to_owned(), |text, from| text.replace(&from.to_string(), &format!("<port {}>", from - 8000)));
    PORTS.iter().zip(ports).fold(marked, |text, (from, to)| text.replace(&format!("<port {}>", from - 8000), &to.to_string()))
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/behind-a-proxy")
}

/// Our side of the example.
fn example() -> String {
    std::fs::read_to_string(examples().join("vestibule.toml")).unwrap().replace("policies/app.cedar", "policy.cedar")
}

/// What the example leaves to its defaults.
const PLACES: &str = "\n[server]\nhealth = \"127.0.0.1:{{health}}\"\ncontrol_socket = \"{{dir}}/admin.sock\"\n\n\
                      [store]\npath = \"{{dir}}/data\"\n\n[audit]\nto = \"file\"\npath = \"{{dir}}/audit.jsonl\"\n";

/// The gateway of the example without a proxy, which answers these networks, and its ports.
fn alone(trusted: &str) -> (Gateway, [u16; 8]) {
    let ports = PORTS.map(|_| free_port());
    let config = with_ports(&example(), ports).replace("127.0.0.1/32", trusted);
    (Gateway::with_files(&format!("{config}{PLACES}"), &[("policy.cedar", POLICY)]).with_users(), ports)
}

pub fn program(name: &str) -> Option<PathBuf> {
    let own = std::env::var_os("VESTIBULE_PEERS_BIN").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let sbin = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let folders = std::env::split_paths(&path).chain(own).chain(sbin);
    folders.map(|folder| folder.join(name)).find(|path| path.exists())
}

impl Front {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Haproxy => "haproxy",
            Self::Envoy | Self::EnvoyHttp | Self::EnvoyExtProc => "envoy",
            Self::Traefik => "traefik",
        }
    }

    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Nginx => &["nginx.conf"],
            Self::Caddy => &["Caddyfile"],
            Self::Haproxy => &["haproxy.cfg", "vestibule.lua"],
            Self::Envoy | Self::EnvoyHttp => &["envoy.yaml"],
            Self::EnvoyExtProc => &["envoy-ext-proc.yaml"],
            Self::Traefik => &["traefik.yml", "traefik-dynamic.yml"],
        }
    }

    /// What the example leaves to the package's own configuration.
    fn adapt(self, text: &str, dir: &Path) -> String {
        let dir = dir.display();
        match self {
            Self::Nginx => {
                let user =
                    if Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n") { "user root;" } else { "" };
                let own = format!(
                    "http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;"
                );
                format!("{user} daemon off; pid {dir}/pid; error_log {dir}/error.log;\n{}", text.replacen("http {", &own, 1))
            }
            // The same listener in its other dialect: the request itself is the question.
            Self::EnvoyHttp => {
                let start = text.find("                      grpc_service:").unwrap();
                let end = start + text[start..].find("                  - name: envoy.filters.http.router").unwrap();
                let http = "                      http_service:
                        server_uri: { uri: http://127.0.0.1:9004, cluster: vestibule, timeout: 15s }
                        authorization_request:
                          allowed_headers: { patterns: [{ safe_regex: { regex: \".*\" } }] }
                        authorization_response:
                          allowed_upstream_headers:
                            patterns: [{ prefix: x-vestibule- }, { exact: authorization }, { exact: cookie }]
                          allowed_client_headers_on_success: { patterns: [{ exact: set-cookie }, { exact: x-vestibule-id }] }
";
                let text = format!("{}{http}{}", &text[..start], &text[end..]);
                text.replace("explicit_http_config: { http2_protocol_options: {} }", "explicit_http_config: { http_protocol_options: {} }")
                    .replace("port_value: 9003", "port_value: 9004")
                    .replace("                      encode_raw_headers: true\n", "")
            }
            Self::Caddy | Self::Haproxy | Self::Envoy | Self::EnvoyExtProc | Self::Traefik => text.to_owned(),
        }
    }

    fn command(self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(dir);
        match self {
            Self::Nginx => command.args(["-c", dir.join("nginx.conf").to_str().unwrap()]),
            Self::Caddy => command.args(["run", "--adapter", "caddyfile", "--config", "Caddyfile"]).env("HOME", dir),
            Self::Haproxy => command.args(["-f", "haproxy.cfg", "-db"]),
            Self::Envoy | Self::EnvoyHttp | Self::EnvoyExtProc => {
                command.args(["-c", self.files()[0], "--concurrency", "1", "--use-dynamic-base-id", "-l", "warn"])
            }
            Self::Traefik => command.arg("--configFile=traefik.yml"),
        };
        command
    }
}

/// What of Envoy's example has something else in its place where Envoy is to bring bodies of so many octets, and that.
pub fn bringing(octets: usize) -> (&'static str, String) {
    let asks = "                      encode_raw_headers: true\n";
    let more = format!("{asks}                      with_request_body: {{ max_request_bytes: {octets}, pack_as_bytes: true }}\n");
    (asks, more)
}

impl House {
    /// The house behind `front`, or `None` (and a word) if that proxy is not installed.
    pub fn open(front: Front) -> Option<Self> {
        Self::open_changed(front, ("", ""), "", &[])
    }

    /// The same, with some text of the proxy's example in the place of another, and more in ours.
    fn open_changed(front: Front, change: (&str, &str), ours: &str, files: &[(&str, &str)]) -> Option<Self> {
        Self::open_chained(front, change, CHAIN, ours, files)
    }

    /// The same, with another chain.
    pub fn open_chained(front: Front, change: (&str, &str), chain: &str, ours: &str, files: &[(&str, &str)]) -> Option<Self> {
        Self::open_before(front, change, |put, port| {
            let config = put(&example()).replace(CHAIN, chain);
            // Envoy names its own address as that of a client on the same machine, so a password in the clear is not a local one.
            let conceded = match front {
                Front::Envoy | Front::EnvoyHttp | Front::EnvoyExtProc => format!(
                    "\n[[concession]]\nwhat = \"plain-http\"\npartner = \"127.0.0.1:{port}\"\nreason = \"a test\"\nexpires = \"2099-01-01\"\n"
                ),
                Front::Nginx | Front::Caddy | Front::Haproxy | Front::Traefik => String::new(),
            };
            let policy = [("policy.cedar", POLICY)];
            Gateway::with_files(&format!("{config}{ours}{PLACES}{conceded}"), &[files, &policy].concat()).with_users()
        })
    }

    /// The example's `front` before a gateway of one's own, which `gateway` makes of what puts this house's ports in the place of
    /// the example's, and of the port of our own pages in this house.
    pub fn open_before(
        front: Front,
        (omitted, instead): (&str, &str),
        gateway: impl FnOnce(&dyn Fn(&str) -> String, u16) -> Gateway,
    ) -> Option<Self> {
        let Some(program) = program(front.program()) else {
            let required = std::env::var("VESTIBULE_PEERS").as_deref() == Ok("required");
            assert!(!required || front == Front::Traefik, "{} is missing", front.program());
            println!("SKIPPED: {} is not installed", front.program());
            return None;
        };
        let application = Application::start();
        let ports = PORTS.map(|port| if port == 8081 { application.address.port() } else { free_port() });
        let put = |text: &str| with_ports(text, ports);
        let mut gateway = gateway(&put, ports[2]);
        gateway.application = application;
        let scratch = Scratch::new();
        let mut found = false;
        for name in front.files() {
            let text = std::fs::read_to_string(examples().join(name)).unwrap();
            found |= text.contains(omitted);
            let text = if omitted.is_empty() { text } else { text.replace(omitted, instead) };
            // The folder's name comes last: a number in it may look like a port.
            let text = put(&front.adapt(&text, Path::new("<folder>"))).replace("<folder>", &scratch.path().display().to_string());
            scratch.write(name, &text);
        }
        assert!(found, "the example has no {omitted:?}");
        let log = std::fs::File::create(scratch.path().join("log")).unwrap();
        let proxy = front.command(&program, scratch.path()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], ports[0]));
        gateway.address = address;
        gateway.public = ports[0];
        let mut house = Self { gateway, proxy, front, address, scratch };
        for _ in 0..1500 {
            // Traefik listens before it has read its routes.
            let routed = || front != Front::Traefik || exchange(address, &get("/login").octets("login.north.localhost")).status != 404;
            if TcpStream::connect(address).is_ok() && routed() {
                return Some(house);
            }
            if let Ok(Some(status)) = house.proxy.try_wait() {
                panic!("{front:?} ended: {status}\n{}", house.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{front:?} does not answer\n{}", house.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    pub fn send(&self, ask: &Ask) -> crate::support::Answer {
        exchange(self.address, &ask.octets(&format!("app.north.localhost:{}", self.address.port())))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.proxy.id().to_string()).status();
        let _ = self.proxy.wait();
        if std::thread::panicking() {
            eprintln!("--- {:?}\n{}", self.front, self.log());
        }
    }
}

fn everywhere(test: impl Fn(&House)) {
    for front in FRONTS {
        if let Some(house) = House::open(front) {
            println!("through {front:?}");
            test(&house);
        }
    }
}

#[test]
fn whoever_proves_it_passes_and_the_application_is_told_who() {
    everywhere(|house| {
        let answer = house.send(&get("/page?x=1").basic(USERS[1].0, USERS[1].1).header("Cookie", "theirs=1; vestibule=forged"));
        assert_eq!(answer.status, 200, "{:?} {answer:?}", house.front);
        let told = house.gateway.application.last();
        assert_eq!(told.line, "GET /page?x=1 HTTP/1.1");
        assert_eq!(told.header("x-vestibule-user"), Some("bob"), "{:?}", house.front);
        assert_eq!(told.header("x-vestibule-tenant"), Some("north"));
        assert!(told.header("authorization").is_none_or(str::is_empty), "{told:?}");
        assert!(told.header("cookie").is_none_or(|cookie| cookie == "theirs=1"), "{told:?}");
        assert!(told.header("x-vestibule-id").is_some_and(|id| id.len() == 36), "{told:?}");
        house.gateway.application.forget();
    });
}

#[test]
fn nobody_is_refused_in_the_words_of_the_client() {
    everywhere(|house| {
        let api = house.send(&get("/page"));
        assert_eq!(api.status, 401, "{:?} {api:?}", house.front);
        assert!(api.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Basic")), "{:?} {api:?}", house.front);
        let wrong = house.send(&get("/page").basic(USERS[1].0, "wrong"));
        assert_eq!(wrong.status, 401, "{:?}", house.front);
        let browser = house.send(&get("/page").browser());
        assert_eq!(browser.status, 303, "{:?} {browser:?}", house.front);
        assert!(browser.header("location").is_some_and(|to| to.starts_with("http://login.north.localhost")), "{browser:?}");
        let forbidden = house.send(&ask("POST", "/page").basic(USERS[1].0, USERS[1].1));
        assert_eq!(forbidden.status, 403, "{:?} {forbidden:?}", house.front);
        let open = house.send(&get("/public/x"));
        assert_eq!(open.status, 200, "{:?}", house.front);
        assert_eq!(house.gateway.application.received().len(), 1, "only the open page reached the application");
        house.gateway.application.forget();
    });
}

#[test]
fn a_person_signs_in_through_the_proxy_and_out_again() {
    everywhere(|house| {
        let mut browser: Browser<'_> = house.gateway.browser();
        let page = browser.sign_in(USERS[0].0, USERS[0].1, "app.north.localhost");
        assert_eq!(page.status, 200, "{:?} {page:?}", house.front);
        assert!(!house.gateway.application.received().is_empty(), "{:?} {page:?}", house.front);
        assert_eq!(house.gateway.application.last().header("x-vestibule-user"), Some("ada"), "{:?}", house.front);
        assert!(house.gateway.application.last().header("cookie").is_none_or(|cookie| !cookie.contains("vestibule")));
        house.gateway.application.forget();
    });
}

#[test]
fn what_only_we_may_say_no_client_says() {
    everywhere(|house| {
        for name in ["X-Vestibule-User", "x-vestibule-groups", "X_Vestibule_User", "X-Vestibule_User", "x.vestibule.user"] {
            for (ask, who) in
                [(get("/public/x").header(name, "root"), None), (get("/page").basic("bob", USERS[1].1).header(name, "root"), Some("bob"))]
            {
                let answer = house.send(&ask);
                // Refused or removed: either way the application never hears it.
                for received in house.gateway.application.received() {
                    for (header, value) in &received.headers {
                        assert_ne!(value, "root", "{:?}: {name} arrived as {header} ({})", house.front, answer.status);
                    }
                    assert_eq!(received.header("x-vestibule-user").filter(|user| !user.is_empty()), who, "{:?} {name}", house.front);
                }
                house.gateway.application.forget();
            }
        }
    });
}

#[test]
fn a_client_cannot_describe_another_request_than_its_own() {
    everywhere(|house| {
        for (name, value) in [
            ("X-Original-URI", "/public/x"),
            ("X-Original-Method", "GET"),
            ("X-Forwarded-Uri", "/public/x"),
            ("X-Forwarded-Method", "GET"),
            ("X-Forwarded-Host", "app.south.localhost"),
        ] {
            let answer = house.send(&get("/page").header(name, value));
            assert!((400..500).contains(&answer.status), "{:?} let {name} through: {answer:?}", house.front);
            let write = house.send(&ask("DELETE", "/page").basic("bob", USERS[1].1).header(name, value));
            assert!((400..500).contains(&write.status), "{:?} let {name} through: {write:?}", house.front);
        }
        assert!(house.gateway.application.received().is_empty(), "{:?} {:?}", house.front, house.gateway.application.received());
    });
}

#[test]
fn an_ambiguous_target_reaches_nobody() {
    everywhere(|house| {
        for target in [
            "/public/../page",
            "/public/%2e%2e/page",
            "/public//../page",
            "/public/..%2fpage",
            "/public/%2E%2E%2Fpage",
            "/public/;x/../page",
        ] {
            let answer = house.send(&get(target));
            let reached: Vec<String> = house.gateway.application.received().into_iter().map(|received| received.line).collect();
            assert!(
                reached.iter().all(|line| line.starts_with("GET /public") && !line.contains("page")),
                "{:?}: {target} reached the application as {reached:?} ({})",
                house.front,
                answer.status
            );
            house.gateway.application.forget();
        }
    });
}

/// Left to its default, Traefik cleans a path before it asks.
#[test]
fn what_traefik_cleans_is_judged_as_it_is_forwarded() {
    let Some(house) = House::open_changed(Front::Traefik, ("sanitizePath: false", "sanitizePath: true"), "", &[]) else { return };
    for (target, status, judged) in [
        ("/public/../page", 401, "/page"),
        ("/public/%2e%2e/page", 401, "/page"),
        ("/public//../page", 401, "/page"),
        ("/public/;x/../page", 200, "/public/page"),
        ("/public/y/.././/x", 200, "/public/x"),
    ] {
        let answer = house.send(&get(target));
        assert_eq!(answer.status, status, "{target}: {answer:?}");
        let received = house.gateway.application.received();
        // Whoever gets the answer is told the id, or the application is.
        let id = answer.header("x-vestibule-id").or_else(|| received.first()?.header("x-vestibule-id")).expect("no decision id");
        let records = house.gateway.audit_about(id);
        let record = records.iter().find(|record| record["event"] == "request.decided").unwrap();
        assert_eq!(record["path"].as_str(), Some(judged), "{target}: {record}");
        let reached: Vec<&str> = received.iter().map(|received| received.line.as_str()).collect();
        let forwarded = format!("GET {judged} HTTP/1.1");
        assert_eq!(reached, if status == 200 { vec![forwarded.as_str()] } else { vec![] }, "{target}");
        house.gateway.application.forget();
    }
}

const ORDERS: &str = r#"
[[route]]
match = "/orders"
policies = ["orders.cedar"]
body = { limit = "64KiB", types = ["text/xml"] }
inject = ["headers"]
"#;

#[test]
fn a_body_is_judged_where_the_proxy_brings_it_and_refused_where_it_cannot() {
    let policy = r#"@id("orders") permit(principal, action, resource) when { resource has operation && resource.operation == "Order" };"#;
    let files = [("orders.cedar", policy)];
    let soap = |operation: &str, filler: usize| {
        let filler = " ".repeat(filler);
        format!(
            "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><o:{operation} xmlns:o=\"urn:o\">{filler}</o:{operation}></s:Body></s:Envelope>"
        )
    };
    let post = |body: &str| ask("POST", "/orders").basic(USERS[0].0, USERS[0].1).header("Content-Type", "text/xml").body(body);
    let (asks, bringing) = bringing(1 << 20);
    for (front, change) in [(Front::Envoy, (asks, bringing.as_str())), (Front::EnvoyExtProc, ("", ""))] {
        let Some(house) = House::open_changed(front, change, ORDERS, &files) else { continue };
        let order = soap("Order", 10);
        let answer = house.send(&post(&order));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(house.gateway.application.last().body, order.as_bytes());
        house.gateway.application.forget();
        for (refused, what) in [
            (post(&soap("Cancel", 10)), "another operation"),
            (post(&order).header("SOAPAction", "\"urn:o/Cancel\""), "an action that says otherwise"),
            (post(&soap("Order", 70_000)), "a body beyond the route's limit"),
            (post("<x/>"), "no envelope"),
            (post(""), "no body"),
            (
                ask("POST", "/orders").basic(USERS[0].0, USERS[0].1).header("Content-Type", "text/plain").body(order.as_str()),
                "another type",
            ),
        ] {
            let answer = house.send(&refused);
            assert!(answer.status >= 400, "{what}: {answer:?}");
        }
        assert!(house.gateway.application.received().is_empty(), "{:?}", house.gateway.application.received());
    }
    // The others bring no body, and Envoy only if it is told to: what needs one is refused.
    for front in FRONTS.into_iter().filter(|front| *front != Front::EnvoyExtProc) {
        let Some(house) = House::open_changed(front, ("", ""), ORDERS, &files) else { continue };
        let answer = house.send(&post(&soap("Order", 10)));
        assert!(answer.status >= 400, "{front:?} {answer:?}");
        assert!(house.gateway.application.received().is_empty(), "{front:?}");
    }
}

/// A door that carries another query and another body: what reaches the application is what was judged, with the credentials
/// taken out of it; a door that cannot do so refuses.
#[test]
fn what_was_judged_is_what_envoy_forwards() {
    let ours = format!(
        "{ORDERS}\n{}\n[tenant.north.integration]\n\n[scheme.crm]\ntype = \"integration\"\nrealm = \"local\"\n",
        ORDERS.replace("/orders\"", "/Services/Integration/**\"")
    );
    let files = [("orders.cedar", r#"@id("orders") permit(principal, action, resource);"#)];
    let chain = "chain  = [\"session\", \"crm\", \"basic\", \"form\"]";
    let ada = |method: &str, target: &str| ask(method, target).basic(USERS[0].0, USERS[0].1);
    let rewritten = [
        ("GET", "/page?x=1&odSsoToken=secret&y=2", "/page?x=1&y=2"),
        ("GET", "/page?odSsoToken=secret&x=1", "/page?x=1"),
        ("PUT", "/page?x=1&od%53soToken=secret", "/page?x=1"),
        ("DELETE", "/page?odSsoToken=secret&odSsoToken=another", "/page"),
        ("PATCH", "/page?x=%20&odSsoTokenG=secret", "/page?x=%20"),
        ("POST", "/Services/Integration/Order?x=1&odSsoTokenG=secret", "/Services/Integration/Order?x=1"),
    ];
    let soap = "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><o/></s:Body></s:Envelope>";
    let send = |house: &House, method: &str, target: &str| match ada(method, target) {
        ask if method == "POST" => house.send(&ask.header("Content-Type", "text/xml").body(soap)),
        ask => house.send(&ask),
    };
    for front in [Front::EnvoyExtProc, Front::Envoy] {
        let Some(house) = House::open_chained(front, ("", ""), chain, &ours, &files) else { return };
        for (method, target, forwarded) in rewritten {
            house.gateway.application.forget();
            let answer = send(&house, method, target);
            if front == Front::Envoy {
                assert!(answer.status >= 400 && house.gateway.application.received().is_empty(), "{target}: {answer:?}");
                continue;
            }
            assert_eq!(answer.status, 200, "{target}: {answer:?} {:?}", house.gateway.audit_of(&answer));
            let told = house.gateway.application.last();
            assert_eq!(told.line, format!("{method} {forwarded} HTTP/1.1"));
            assert_eq!(told.body, if method == "POST" { soap.as_bytes() } else { b"" });
            let record = &house.gateway.audit_of(&answer)[0];
            let path = forwarded.split('?').next().unwrap();
            assert_eq!((record["method"].as_str(), record["path"].as_str()), (Some(method), Some(path)), "{record}");
        }
        // Where there is nothing to take out, the line is the client's, and no header makes another of it.
        for (method, target) in [("GET", "/page"), ("GET", "/page?a=b&c=%2F..%2F"), ("PATCH", "/page/x%20y"), ("DELETE", "/page?x=1")] {
            house.gateway.application.forget();
            let ask = ada(method, target).header("X-Original-URL", "/public/x").header("X-Rewrite-URL", "/public/x");
            let answer = house.send(&ask.header("X-Envoy-Original-Path", "/public/x").header("X-Envoy-Original-Method", "GET"));
            assert_eq!(answer.status, 200, "{front:?} {target}: {answer:?}");
            let told = house.gateway.application.last();
            assert_eq!(told.line, format!("{method} {target} HTTP/1.1"));
            assert!(told.headers.iter().all(|(_, value)| !value.contains("/public")), "{front:?} {told:?}");
        }
        // Judged by its own method and path, whatever a header says.
        for (ask, status) in [
            (ask("DELETE", "/page").basic(USERS[1].0, USERS[1].1).header("X-Envoy-Original-Method", "GET"), 403),
            (get("/page").header("X-Envoy-Original-Path", "/public/x"), 401),
        ] {
            house.gateway.application.forget();
            let answer = house.send(&ask);
            assert!(answer.status == status && house.gateway.application.received().is_empty(), "{front:?} {answer:?}");
        }
    }
}

/// nginx keeps a connection only if no body is left in it.
#[test]
fn nginx_is_answered_without_a_body_and_keeps_its_connection() {
    let (_gateway, ports) = alone("127.0.0.1/32");
    let authority = format!("app.north.localhost:{}", ports[0]);
    let mut stream = std::io::BufReader::new(TcpStream::connect(("127.0.0.1", ports[3])).unwrap());
    let bob = |ask: Ask| ask.basic(USERS[1].0, USERS[1].1);
    for (question, method, uri, status) in [
        (get("/"), "GET", "/page", 401),
        (bob(get("/")), "GET", "/page", 200),
        (get("/").browser(), "GET", "/page", 401),
        (bob(get("/")), "DELETE", "/page", 403),
        (get("/"), "GET", "/public/%2e%2e/page", 403),
        (get("/").header("Accept", "text/xml"), "POST", "/page", 401),
        (get("/"), "GET", "/public/x", 200),
    ] {
        let question = question.header("X-Original-Method", method).header("X-Original-URI", uri);
        let text = String::from_utf8(question.octets(&authority)).unwrap().replace("Connection: close\r\n", "");
        std::io::Write::write_all(stream.get_mut(), text.as_bytes()).unwrap();
        let answer = read_answer(&mut stream);
        assert_eq!((answer.status, answer.body.as_str()), (status, ""), "{method} {uri}: {answer:?}");
        assert!(answer.header("content-length").is_none_or(|length| length == "0") && answer.header("connection").is_none(), "{answer:?}");
    }
}

/// Traefik's `ForwardAuth` as its documentation and its code describe it: always GET, the client's headers without those of the
/// hop, and five of its own about the request.
#[test]
fn what_traefik_asks_is_answered_as_it_needs() {
    let (_gateway, ports) = alone("127.0.0.1/32");
    let authority = format!("app.north.localhost:{}", ports[0]);
    let question = |method: &str, uri: &str| {
        get("/")
            .header("X-Forwarded-Method", method)
            .header("X-Forwarded-Proto", "http")
            .header("X-Forwarded-Host", &authority)
            .header("X-Forwarded-Uri", uri)
            .header("X-Forwarded-For", "127.0.0.1")
            .header("X-Forwarded-Port", &ports[0].to_string())
            .header("X-Forwarded-Server", "traefik-0")
            .header("X-Real-Ip", "127.0.0.1")
            .header("Accept-Encoding", "gzip")
            .header("User-Agent", "curl/8.0")
    };
    let send = |ask: &Ask| exchange(SocketAddr::from(([127, 0, 0, 1], ports[4])), &ask.octets(&format!("127.0.0.1:{}", ports[4])));
    let allowed = send(&question("GET", "/page?x=1").basic(USERS[1].0, USERS[1].1));
    assert_eq!((allowed.status, allowed.header("x-vestibule-user")), (200, Some("bob")), "{allowed:?}");
    // Traefik deletes what `authResponseHeaders` names from the request and copies what the answer has: empty is nothing.
    let example = std::fs::read_to_string(examples().join("traefik-dynamic.yml")).unwrap();
    for name in example.lines().filter_map(|line| line.trim().strip_prefix("- ")).filter(|name| !name.contains(':')) {
        assert!(allowed.header(name).is_some(), "the answer says nothing of {name}");
    }
    assert_eq!((allowed.header("authorization"), allowed.header("cookie")), (Some(""), Some("")));
    assert_eq!(send(&question("DELETE", "/page").basic(USERS[1].0, USERS[1].1)).status, 403);
    let nobody = send(&question("GET", "/page"));
    assert!(nobody.status == 401 && nobody.header("www-authenticate").is_some() && !nobody.body.is_empty(), "{nobody:?}");
    assert_eq!(send(&question("GET", "/page").browser()).status, 303);
    assert_eq!(send(&question("GET", "/public/x")).status, 200);
    // CVE-2026-40912: it forwards the raw path, whatever it matched.
    for uri in
        ["/public/../page", "/public/%2e%2e/page", "/public%2f..%2fpage", "/public/;x/../page", "http://app.south.localhost/public/x", ""]
    {
        assert_eq!(send(&question("GET", uri)).status, 400, "{uri}");
    }
    let twice = question("GET", "/public/x").header("X-Forwarded-Uri", "/page");
    assert_eq!(send(&twice).status, 400);
    for name in ["X-Vestibule-User", "x_vestibule_user"] {
        assert_eq!(send(&question("GET", "/public/x").header(name, "root")).status, 400, "{name}");
    }
}

impl House {
    /// What `vestibule doctor` finds through this proxy: its exit status, and what is wrong.
    fn doctor(&self, path: &str) -> (Option<i32>, Vec<(String, String)>) {
        let url = format!("http://app.north.localhost:{}{path}", self.address.port());
        let output = self.gateway.command(&["doctor", "--from", &url, "--proxy", self.front.program(), "--json"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let report: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{output:?}"));
        let wrong = report["checks"].as_array().unwrap_or_else(|| panic!("{report}")).iter().filter(|check| check["ok"] == false);
        let word = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        (
            output.status.code(),
            wrong.map(|check| (format!("{}: {}", word(&check["name"]), word(&check["detail"])), word(&check["add"]))).collect(),
        )
    }
}

#[test]
fn the_doctor_finds_nothing_wrong_with_the_examples() {
    everywhere(|house| {
        let (status, mut wrong) = house.doctor("/page");
        // On one machine Envoy adds its own address, which is not the loopback one, for a client on loopback.
        let local = house.front == Front::EnvoyHttp;
        wrong.retain(|(what, _)| !(local && what.starts_with("client address")));
        assert!(wrong.is_empty() && (local || status == Some(0)), "{:?}: {status:?} {wrong:?}", house.front);
    });
}

#[test]
fn the_doctor_names_what_is_missing_and_the_line_to_add() {
    let caddy = std::fs::read_to_string(examples().join("Caddyfile")).unwrap();
    let asks = &caddy[caddy.find("\t\tforward_auth").unwrap()..caddy.find("\t\treverse_proxy 127.0.0.1:8081").unwrap()];
    for (front, broken, instead, topic, line) in [
        (Front::Nginx, "            proxy_set_header X-Original-URI    $request_uri;\n", "", "description", "X-Original-URI"),
        (Front::Nginx, "            proxy_set_header X-Original-Method $request_method;\n", "", "description", "X-Original-Method"),
        (Front::Nginx, "            error_page 401 = @nobody;\n", "", "login page", "@nobody"),
        (Front::Nginx, "            auth_request /.vestibule-question;\n", "", "asks", "auth_request"),
        (Front::Nginx, "X-Original-Method $request_method", "X-Original-Method GET", "method", "$request_method"),
        (Front::Nginx, "X-Original-URI    $request_uri", "X-Original-URI    /page", "target", "$request_uri"),
        (Front::Caddy, asks, "", "asks", "forward_auth"),
        (Front::Haproxy, "    http-request lua.vestibule unless pages\n", "", "asks", "lua.vestibule"),
        (Front::Haproxy, "X-Forwarded-For %[src]", "X-Forwarded-For 203.0.113.9", "client address", "%[src]"),
        (Front::Envoy, "path_with_escaped_slashes_action: REJECT_REQUEST", "path_with_escaped_slashes_action: KEEP_UNCHANGED", "", ""),
        (Front::Traefik, "      middlewares: [vestibule]\n", "", "asks", "forwardAuth"),
    ] {
        let Some(house) = House::open_changed(front, (broken, instead), "", &[]) else { continue };
        let (status, wrong) = house.doctor("/page");
        if topic.is_empty() {
            // We refuse by ourselves what the proxy no longer does.
            assert!(status == Some(0) && wrong.is_empty(), "{front:?} {broken} {wrong:?}");
            continue;
        }
        assert_eq!(status, Some(1), "{front:?} {broken} {wrong:?}");
        assert!(wrong.iter().any(|(what, add)| what.starts_with(topic) && add.contains(line)), "{front:?} {broken} {wrong:?}");
    }
}

#[test]
fn the_doctor_says_where_a_body_is_missing() {
    let files = [("orders.cedar", "@id(\"orders\") permit(principal, action, resource);")];
    let asks = "                      encode_raw_headers: true\n";
    let bringing = format!("{asks}                      with_request_body: {{ max_request_bytes: 1048576, pack_as_bytes: true }}\n");
    for (front, change, line) in [
        (Front::Nginx, ("", ""), Some("Envoy")),
        (Front::Envoy, ("", ""), Some("with_request_body")),
        (Front::Envoy, (asks, bringing.as_str()), None),
        (Front::EnvoyExtProc, ("request_body_mode: BUFFERED", "request_body_mode: NONE"), Some("BUFFERED")),
        (Front::EnvoyExtProc, ("", ""), None),
    ] {
        let Some(house) = House::open_changed(front, change, ORDERS, &files) else { continue };
        let (_, wrong) = house.doctor("/orders");
        let body = wrong.iter().find(|(what, _)| what.starts_with("body"));
        match line {
            Some(line) => assert!(body.is_some_and(|(_, add)| add.contains(line)), "{front:?} {wrong:?}"),
            None => assert!(body.is_none(), "{front:?} {wrong:?}"),
        }
    }
}

#[test]
fn a_stranger_gets_no_answer() {
    let (gateway, ports) = alone("192.0.2.1/32");
    for port in [ports[3], ports[4], ports[6]] {
        let question = get("/").header("X-Original-Method", "GET").header("X-Original-URI", "/public/x");
        let question = question
            .header("X-Forwarded-Method", "GET")
            .header("X-Forwarded-Uri", "/public/x")
            .header("X-Forwarded-Host", "app.north.localhost");
        let answer = exchange(SocketAddr::from(([127, 0, 0, 1], port)), &question.octets("app.north.localhost"));
        assert_eq!(answer.status, 403, "{answer:?}");
    }
    std::thread::sleep(Duration::from_millis(300));
    let strangers = gateway.audit().into_iter().filter(|record| record["event"] == "request.unreadable" && record["reason"] == "stranger");
    assert_eq!(strangers.count(), 3);
}

/// Over HTTP/2 nothing has to say that there is a body, so one that Envoy did not bring is not taken for an empty one.
#[test]
fn a_body_that_envoy_did_not_bring_is_not_an_empty_one() {
    let ours = "\n[[route]]\nmatch = \"/ledger\"\npolicies = [\"ledger.cedar\"]\nbody = { limit = \"64KiB\", types = [\"text/xml\"] }\n";
    let ledger = "@id(\"ledger\") permit(principal, action, resource);\n\
                  @id(\"no-cancel\") forbid(principal, action, resource) when { resource has operation && resource.operation == \"Cancel\" };";
    let (asks, bringing) = bringing(1 << 20);
    for brought in [false, true] {
        let change = if brought { (asks, bringing.as_str()) } else { ("", "") };
        let Some(house) = House::open_changed(Front::Envoy, change, ours, &[("ledger.cedar", ledger)]) else { return };
        let send = |operation: &str, method: &str| {
            let port = house.address.port();
            let envelope = format!(
                "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><o:{operation} xmlns:o=\"urn:o\"/></s:Body></s:Envelope>"
            );
            let mut curl = Command::new("curl");
            curl.args(["-sS", "-o", "/dev/null", "-w", "%{http_version} %{http_code}", "--http2-prior-knowledge", "--max-time", "20"]);
            curl.args(["-X", method, "-T", "-", "-H", "Content-Type: text/xml", "-u", &format!("{}:{}", USERS[1].0, USERS[1].1)]);
            curl.args(["--resolve", &format!("app.north.localhost:{port}:127.0.0.1")]);
            curl.arg(format!("http://app.north.localhost:{port}/ledger")).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = curl.spawn().unwrap();
            std::io::Write::write_all(&mut child.stdin.take().unwrap(), envelope.as_bytes()).unwrap();
            String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
        };
        for method in ["POST", "PUT", "GET"] {
            let cancelled = send("Cancel", method);
            assert!(cancelled.starts_with("2 4") || cancelled.starts_with("2 5"), "{brought} {method}: {cancelled}");
            assert!(house.gateway.application.received().is_empty(), "{brought} {method}");
        }
        assert_eq!(send("Read", "POST") == "2 200", brought);
        house.gateway.application.forget();
    }
}

#[test]
fn a_header_in_which_another_proxy_forwards_certificates_reaches_nobody() {
    let certificate = crate::ws_security::pem("ca.crt");
    for front in FRONTS {
        let other = format!(
            "\n[[listen]]\naddress = \"127.0.0.1:{}\"\ntrusted_proxies = [\"192.0.2.1/32\"]\n\
             forwarded_certificate = {{ header = \"X-SSL-Cert\", ca = [\"ca.crt\"] }}\n",
            free_port()
        );
        let Some(house) = House::open_changed(front, ("", ""), &other, &[("ca.crt", &certificate)]) else { continue };
        assert_eq!(house.send(&get("/public/x")).status, 200, "{front:?}");
        house.gateway.application.forget();
        for name in ["X-SSL-Cert", "x_ssl_cert", "X-SSL_Cert"] {
            let answer = house.send(&get("/public/x").header(name, "forged"));
            for received in house.gateway.application.received() {
                assert!(received.headers.iter().all(|(_, value)| value != "forged"), "{front:?} {name}: {received:?} {}", answer.status);
            }
            house.gateway.application.forget();
        }
    }
}
