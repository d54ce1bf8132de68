//! Envoy as the agent of policy servers on other machines, over the very files of `examples/policy-server`: the decision, the
//! new message, and what happens when a server is cut off.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use vestibule_soap::Target;
use vestibule_wss::{Concession, TokenKind};

use crate::doors::program;
use crate::support::{Answer, Application, Ask, Gateway, Launch, Scratch, ask, exchange, free_port, get};
use crate::ws_security::{CLIENT, GATEWAY, ORDER, add, corpus, envelope, pem, service, signed};

fn example(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/policy-server").join(name)).unwrap()
}

/// Who vouches for agents and for policy servers.
struct Authority {
    pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = rcgen::KeyPair::generate().unwrap();
        Self { pem: ca.self_signed(&key).unwrap().pem(), issuer: rcgen::Issuer::new(ca, key) }
    }

    /// A certificate and its key.
    fn issue(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

/// The policy servers' side.
struct Servers {
    authority: Authority,
    agents: Authority,
}

const FOOT: &str = "\n[server]\nworkers = 1\nhealth = \"{{host}}:{{health}}\"\ncontrol_socket = \"{{dir}}/admin.sock\"\n\n[store]\n\
                    path = \"{{dir}}/data\"\n\n[audit]\nto = \"file\"\npath = \"{{dir}}/audit.jsonl\"\n";

impl Servers {
    fn new() -> Self {
        Self { authority: Authority::new("policy servers"), agents: Authority::new("agents") }
    }

    /// A policy server, over the example.
    fn open(&self, launch: &Launch, more: &str) -> Gateway {
        self.open_changed(launch, |config| format!("{config}{more}"), |policy| policy)
    }

    /// The same, with another configuration and other policies.
    fn open_changed(&self, launch: &Launch, change: impl Fn(String) -> String, policy: impl Fn(String) -> String) -> Gateway {
        let host = launch.host.unwrap_or(Ipv4Addr::LOCALHOST).to_string();
        let config = example("vestibule.toml")
            .replace("10.0.0.1:9005", "{{host}}:{{port}}")
            .replace("{ env = \"POLICY_SERVER_KEY\" }", "{ file = \"server.key\" }")
            .replace("{ env = \"ISSUER_KEY\" }", "{ file = \"idp-rsa2048.key\" }")
            .replace("tls/issuer.pem", "idp-rsa2048.crt")
            .replace("ca    = [\"tls/partners-ca.pem\"]", "certificates = [\"client-rsa2048.crt\"]")
            .replace("https://policy.example.com", GATEWAY)
            .replace("audience = \"urn:example:orders\"", "audience = \"urn:north:orders\"")
            .replace("policies/orders.cedar", "orders.cedar")
            .replace("tls/", "");
        let (certificate, key) = self.authority.issue("policy.example.com");
        let (issuer, issuer_key, client) = (pem("idp-rsa2048.crt"), pem("idp-rsa2048.key"), pem("client-rsa2048.crt"));
        let policy = policy(example("policies/orders.cedar"));
        let files = [
            ("policy-server.pem", certificate.as_str()),
            ("server.key", &key),
            ("agents-ca.pem", &self.agents.pem),
            ("idp-rsa2048.crt", &issuer),
            ("idp-rsa2048.key", &issuer_key),
            ("client-rsa2048.crt", &client),
            ("orders.cedar", &policy),
        ];
        let gateway = Gateway::launched(launch, &format!("{}{FOOT}", change(config)).replace("{{host}}", &host), &files, None);
        add(&gateway, "main", CLIENT, "never typed by anybody");
        gateway
    }
}

/// Envoy before a service.
struct Agent {
    service: Application,
    envoy: Child,
    address: SocketAddr,
    scratch: Scratch,
}

impl Agent {
    /// An agent of these servers; `None` (and a word) where there is no Envoy.
    fn start(servers: &Servers, certificate: (String, String), at: [SocketAddr; 2], change: impl Fn(String) -> String) -> Option<Self> {
        let envoy = envoy()?;
        let (service, port) = (Application::start(), free_port());
        let config = example("envoy.yaml")
            .replace("port_value: 8080", &format!("port_value: {port}"))
            .replace("port_value: 8081", &format!("port_value: {}", service.address.port()))
            .replace("address: 10.0.0.1, port_value: 9005", &format!("address: {}, port_value: {}", at[0].ip(), at[0].port()))
            .replace("address: 10.0.0.2, port_value: 9005", &format!("address: {}, port_value: {}", at[1].ip(), at[1].port()));
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path().join("tls")).unwrap();
        scratch.write("tls/agent.pem", &certificate.0);
        scratch.write("tls/agent.key", &certificate.1);
        scratch.write("tls/policy-servers-ca.pem", &servers.authority.pem);
        scratch.write("envoy.yaml", &change(config));
        let log = std::fs::File::create(scratch.path().join("log")).unwrap();
        let mut command = Command::new(envoy);
        command.args(["-c", "envoy.yaml", "--concurrency", "1", "--use-dynamic-base-id", "-l", "warn"]).current_dir(scratch.path());
        let envoy = command.stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let agent = Self { service, envoy, address: SocketAddr::from(([127, 0, 0, 1], port)), scratch };
        for _ in 0..1500 {
            if TcpStream::connect(agent.address).is_ok() {
                return Some(agent);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("Envoy does not answer\n{}", agent.log());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    fn send(&self, ask: &Ask) -> Answer {
        exchange(self.address, &ask.octets("orders.example.com"))
    }

    fn order(&self, message: &[u8]) -> Answer {
        self.send(&ask("POST", "/orders").header("Content-Type", "text/xml").body(message))
    }

    /// Sends one message until the servers, which Envoy has just met, answer.
    fn wait_for_servers(&self) {
        for _ in 0..600 {
            if self.order(envelope(ORDER).as_bytes()).status == 500 {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no policy server answers\n{}", self.log());
    }

    /// Sends one message until a server, and not Envoy alone, refuses it.
    fn wait_until_refused(&self) {
        for _ in 0..200 {
            if self.order(envelope(ORDER).as_bytes()).header("x-vestibule-id").is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no policy server answers\n{}", self.log());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.envoy.id().to_string()).status();
        let _ = self.envoy.wait();
        if std::thread::panicking() {
            eprintln!("--- Envoy\n{}", self.log());
        }
    }
}

fn envoy() -> Option<PathBuf> {
    let found = program("envoy");
    if found.is_none() {
        crate::ws_security::skipped("envoy");
    }
    found
}

#[test]
fn an_agent_forwards_the_message_that_the_policy_server_made() {
    if envoy().is_none() {
        return;
    }
    let servers = Servers::new();
    let server = servers.open(&Launch::default(), "");
    let Some(agent) = Agent::start(&servers, servers.agents.issue("agent"), [server.address; 2], |config| config) else { return };
    agent.wait_for_servers();
    // The service says what is ours to say; its client never hears it.
    let said = "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 2\r\nX-Vestibule-User: root\r\nX-Theirs: 1\r\n\
                Set-Cookie: __Host-vestibule=stolen\r\nSet-Cookie: theirs=1\r\nConnection: close\r\n\r\nok";
    agent.service.answer_raw(said);
    let message = signed();
    let answer = agent.order(&message);
    assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{answer:?} {} {}", server.log(), agent.log());
    assert_eq!((answer.header("x-theirs"), answer.header("x-vestibule-user")), (Some("1"), None));
    assert_eq!(answer.all("set-cookie"), ["theirs=1"]);
    assert_eq!((answer.header("cache-control"), answer.header("x-vestibule-auth")), (Some("no-store"), Some("partners")));
    assert_eq!(server.audit_of(&answer).iter().filter(|record| record["decision"] == "allow").count(), 1);
    agent.service.answer_normally();

    // The header that was read is gone, ours is there and holds, and of the rest every octet is as it was sent.
    let seen = agent.service.last();
    assert_eq!(seen.header("x-vestibule-user"), Some(CLIENT));
    let (sent, got) = (String::from_utf8(message.clone()).unwrap(), String::from_utf8(seen.body.clone()).unwrap());
    assert!(!got.contains(cut(&sent, "<wsse:BinarySecurityToken", "</wsse:BinarySecurityToken>")), "{got}");
    let body = cut(&sent, "<s:Body", "</s:Body>");
    assert!(got.contains(body) && got.ends_with("</s:Envelope>"), "{got}");
    let vouched = service(&[TokenKind::Saml], &Target::Ultimate, &[Concession::SenderVouches], &seen.body, false);
    assert_eq!(vouched.assertion.unwrap().assertion.value().name_id().unwrap().value, CLIENT);
    agent.service.forget();

    // What does not hold gets the faults that we write, and nothing is forwarded.
    let wrapped = std::fs::read(corpus().join("attacks/wss/body-in-a-header-block.xml")).unwrap();
    let changed = String::from_utf8(signed()).unwrap().replace(">7<", ">8<").into_bytes();
    let other = crate::ws_security::cancelled();
    let long = crate::ws_security::padded(1 << 20);
    for (message, status, word) in [
        (message, 500, "wsse:MessageExpired"),
        (changed, 500, "wsse:FailedAuthentication"),
        (wrapped, 500, "wsse:"),
        (envelope(ORDER).into_bytes(), 500, "wsse:InvalidSecurity"),
        (other, 500, "soap:Client"),
        (long, 413, ""),
        (b"<x/>".to_vec(), 400, ""),
    ] {
        let answer = agent.order(&message);
        assert!(answer.status == status && answer.body.contains(word), "{status} {word}: {answer:?}");
        assert!(answer.header("x-vestibule-id").is_some(), "{answer:?}");
    }
    for ask in [
        get("/orders"),
        get("/elsewhere"),
        ask("POST", "/orders/../orders").header("Content-Type", "text/xml").body(signed()),
        ask("POST", "//orders").header("Content-Type", "text/xml").body(signed()),
        ask("POST", "/orders").header("Content-Type", "application/json").body(signed()),
        ask("POST", "/orders").header("Content-Type", "text/xml").header("X-Vestibule-Groups", "root").body(envelope(ORDER)),
        ask("POST", "/orders").header("Content-Type", "text/xml").header("SOAPAction", "\"urn:example:orders/Cancel\"").body(signed()),
    ] {
        let answer = agent.send(&ask);
        assert!(answer.status >= 400, "{answer:?}");
    }
    assert!(agent.service.received().is_empty(), "{:?}", agent.service.received());
}

/// Between two texts, inclusive.
fn cut<'a>(text: &'a str, begin: &str, end: &str) -> &'a str {
    let from = text.find(begin).unwrap();
    &text[from..from + text[from..].find(end).unwrap() + end.len()]
}

#[test]
fn an_agent_that_does_not_bring_the_whole_body_is_told_no() {
    if envoy().is_none() {
        return;
    }
    let servers = Servers::new();
    let server = servers.open(&Launch::default(), "");
    for mode in ["NONE", "STREAMED", "BUFFERED_PARTIAL"] {
        let change = |config: String| config.replace("request_body_mode: BUFFERED", &format!("request_body_mode: {mode}"));
        let Some(agent) = Agent::start(&servers, servers.agents.issue("agent"), [server.address; 2], change) else { return };
        let answer = agent.order(&signed());
        assert!(answer.status >= 500, "{mode}: {answer:?}");
        assert!(agent.service.received().is_empty(), "{mode}");
    }
    let uncarried = server.audit().into_iter().filter(|record| record["reason"] == serde_json::json!({ "uncarried": "body" }));
    assert!(uncarried.count() >= 3, "{:?}", server.audit());
    // Nor is one that shows no certificate of ours, or that was cut off.
    let stranger = Authority::new("agents").issue("agent");
    let Some(agent) = Agent::start(&servers, stranger, [server.address; 2], |config| config) else { return };
    for _ in 0..3 {
        assert_eq!(agent.order(&signed()).status, 503);
    }
    drop(server);
    assert_eq!(agent.order(&signed()).status, 503);
    assert!(agent.service.received().is_empty());
}

/// The same agent by `ext_authz`: it brings the body, and forwards the message as it came.
#[test]
fn an_agent_asks_by_ext_authz_over_mutual_tls() {
    if envoy().is_none() {
        return;
    }
    let servers = Servers::new();
    let ours = |config: String| {
        let config = config.split("# What the service gets in place").next().unwrap().to_owned();
        let config = config.replace("\"envoy-ext-proc\"", "\"envoy\"");
        config.replace("inject   = [\"headers\"]", "inject   = [\"headers\"]\nsecurity_header = \"keep\"")
    };
    let open = || servers.open_changed(&Launch::default(), ours, |policy| policy.replace(" @response(\"for-orders\")", ""));
    let gateways = [open(), open()];
    let addresses = [gateways[0].address, gateways[1].address];
    let asking = |body: &'static str| {
        move |config: String| {
            let (before, rest) = config.split_once("                  - name: envoy.filters.http.ext_proc\n").unwrap();
            let (_, after) = rest.split_once("                  - name: envoy.filters.http.router\n").unwrap();
            format!(
                "{before}                  - name: envoy.filters.http.ext_authz
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      failure_mode_allow: false
                      status_on_error: {{ code: ServiceUnavailable }}
                      encode_raw_headers: true
                      {body}
                      grpc_service: {{ envoy_grpc: {{ cluster_name: policy-servers }}, timeout: 15s }}
                  - name: envoy.filters.http.router
{after}"
            )
        }
    };
    let whole = asking("with_request_body: { max_request_bytes: 1048576, pack_as_bytes: true }");
    let Some(agent) = Agent::start(&servers, servers.agents.issue("agent"), addresses, whole) else { return };
    agent.wait_for_servers();
    agent.service.forget();
    let message = signed();
    let answer = agent.order(&message);
    assert_eq!(answer.status, 200, "{answer:?} {} {}", gateways[0].log(), agent.log());
    let seen = agent.service.last();
    assert_eq!((seen.header("x-vestibule-user"), &seen.body), (Some(CLIENT), &message));
    agent.service.forget();
    let changed = String::from_utf8(signed()).unwrap().replace(">7<", ">8<").into_bytes();
    for (message, word) in [(changed, "wsse:FailedAuthentication"), (envelope(ORDER).into_bytes(), "wsse:InvalidSecurity")] {
        let answer = agent.order(&message);
        assert!(answer.status == 500 && answer.body.contains(word), "{answer:?}");
    }

    // Half a body, none, or one of which nobody says that it is whole, and an agent that is none of ours.
    for body in ["with_request_body: { max_request_bytes: 1000, allow_partial_message: true, pack_as_bytes: true }", ""] {
        let Some(agent) = Agent::start(&servers, servers.agents.issue("agent"), addresses, asking(body)) else { return };
        agent.wait_until_refused();
        let answer = agent.order(&signed());
        assert!(answer.status >= 400, "{body}: {answer:?}");
        assert!(agent.service.received().is_empty(), "{body}");
    }
    let stranger = Authority::new("agents").issue("agent");
    let Some(foreign) = Agent::start(&servers, stranger, addresses, whole) else { return };
    assert_eq!(foreign.order(&signed()).status, 503);
    // One server is gone: the other one decides. Both: nothing passes.
    let [first, second] = gateways;
    drop(first);
    let goes_on = (0..200).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        agent.order(&signed()).status == 200
    });
    assert!(goes_on, "{}", agent.log());
    drop(second);
    agent.service.forget();
    for _ in 0..3 {
        assert_eq!(agent.order(&signed()).status, 503);
    }
    assert!(agent.service.received().is_empty() && foreign.service.received().is_empty());
}

/// A machine of its own: a network namespace, joined to this one by a cable.
struct Machine {
    name: String,
    address: Ipv4Addr,
}

impl Machine {
    /// The `number`th, or `None` where nobody may make one.
    fn new(number: u8) -> Option<Self> {
        let name = format!("v{:x}{number}", std::process::id() % 0xfffff);
        let net = 2 + u8::try_from(std::process::id() % 240).unwrap();
        let [here, there] = [1, 2].map(|host| Ipv4Addr::new(10, 213, net, number * 4 + host));
        let machine = Self { name: name.clone(), address: there };
        let inside = format!("{name}i");
        for line in [
            format!("netns add {name}"),
            format!("link add {name} type veth peer name {inside} netns {name}"),
            format!("addr add {here}/30 dev {name}"),
            format!("link set {name} up"),
            format!("-n {name} addr add {there}/30 dev {inside}"),
            format!("-n {name} link set {inside} up"),
            format!("-n {name} link set lo up"),
        ] {
            if !ip(&line) {
                return None;
            }
        }
        Some(machine)
    }

    /// Pulls the cable, or puts it back: packets vanish, nobody is told.
    fn connect(&self, there: bool) {
        assert!(ip(&format!("-n {0} link set {0}i {1}", self.name, if there { "up" } else { "down" })));
    }

    fn launch(&self) -> Launch {
        let by = ["ip", "netns", "exec", &self.name].map(str::to_owned).to_vec();
        Launch { by, host: Some(self.address), ..Launch::default() }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.name));
    }
}

fn ip(line: &str) -> bool {
    Command::new("ip").args(line.split(' ')).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test waits as long as agents do")]
fn a_policy_server_is_cut_off_under_load_and_nothing_passes_unjudged() {
    if envoy().is_none() {
        return;
    }
    let (Some(first), Some(second)) = (Machine::new(1), Machine::new(2)) else { return crate::ws_security::skipped("ip netns") };
    let servers = Servers::new();
    let gateways = [&first, &second].map(|machine| servers.open(&machine.launch(), ""));
    let addresses = [gateways[0].address, gateways[1].address];
    let Some(agent) = Agent::start(&servers, servers.agents.issue("agent"), addresses, |config| config) else { return };
    agent.wait_for_servers();
    agent.service.forget();

    let (over, answers) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let since = Instant::now();
    let cut = std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let (began, answer) = (since.elapsed(), agent.order(&signed()));
                    answers.lock().unwrap().push((
                        began,
                        since.elapsed(),
                        answer.status,
                        answer.header("x-vestibule-id").map(str::to_owned),
                    ));
                }
            });
        }
        std::thread::sleep(Duration::from_secs(2));
        first.connect(false);
        let cut = since.elapsed();
        std::thread::sleep(Duration::from_secs(6));
        over.store(true, Ordering::Relaxed);
        cut
    });
    let answers = answers.into_inner().unwrap();
    let good = |answers: &[&(Duration, Duration, u16, Option<String>)]| answers.iter().all(|(_, _, status, _)| *status == 200);
    let before: Vec<_> = answers.iter().filter(|(_, ended, ..)| *ended < cut).collect();
    // What `docs/behind-a-proxy.md` says: a health check of one second, twice at most, and then the other server has it all.
    let after: Vec<_> = answers.iter().filter(|(began, ..)| *began > cut + Duration::from_secs(3)).collect();
    assert!(before.len() > 10 && good(&before), "{} before, {:?}", before.len(), answers);
    assert!(after.len() > 10 && good(&after), "{} after, {:?}", after.len(), after);
    assert!(answers.iter().all(|(_, _, status, _)| matches!(status, 200 | 503)), "{answers:?}");
    let lost = answers.iter().filter(|(_, _, status, _)| *status != 200).count();
    // Each thread waits for one answer at a time.
    assert!(lost <= 4 * 20, "{lost} of {}", answers.len());

    // Every request that reached the service was allowed by one of them, and reached it once; every answer was of one that did.
    let mut reached: Vec<String> =
        agent.service.received().iter().map(|received| received.header("x-vestibule-id").unwrap().to_owned()).collect();
    reached.sort();
    let all = reached.len();
    reached.dedup();
    assert_eq!(reached.len(), all, "a message came twice");
    let audits: Vec<serde_json::Value> = gateways.iter().flat_map(Gateway::audit).collect();
    for id in &reached {
        let decided = audits.iter().filter(|record| record["request_id"] == id.as_str() && record["event"] == "request.decided");
        assert_eq!(decided.map(|record| record["decision"].clone()).collect::<Vec<_>>(), ["allow"], "{id}");
    }
    for (_, _, status, id) in &answers {
        assert!(*status != 200 || id.as_ref().is_some_and(|id| reached.binary_search(id).is_ok()), "{status} {id:?}");
    }

    // With both gone nothing passes; when one is back, it does again.
    agent.service.forget();
    second.connect(false);
    std::thread::sleep(Duration::from_secs(3));
    for _ in 0..5 {
        assert_eq!(agent.order(&signed()).status, 503);
    }
    assert!(agent.service.received().is_empty());
    first.connect(true);
    let back = (0..600).any(|_| {
        std::thread::sleep(Duration::from_millis(50));
        agent.order(&signed()).status == 200
    });
    assert!(back, "{}", agent.log());
}
