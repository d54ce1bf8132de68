//! WS-Security with other people's stacks: live clients of npm `soap`, gSOAP and Apache CXF over WSS4J; WSS4J and xmlsec1 reading what
//! we write; and the multistep model with an authentication service in spyne and a second installation.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;
use vestibule_saml::Version as SamlVersion;
use vestibule_wss::{Assertion, AssertionReference, KeyReference, Password, Token};

use crate::support::{Gateway, Scratch};
use crate::ws_security::{
    ADA, CLIENT, HOUSE, ORDER, PARTNER, add, alone, conceding, corpus, cut, envelope, files, house, house_of, named, pem, post, reason,
    signed, skipped, written,
};

fn here(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

fn key(name: &str) -> PathBuf {
    corpus().join("recorded/keys").join(name)
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}\n{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a client makes of the service's answer, or of a fault: `ok ready`, or the code.
type Call<'a> = &'a dyn Fn(&Gateway, &str, (&str, &str)) -> String;

/// A client calls: with what holds it gets the service's answer, and with what does not, a fault.
fn calls(gateway: &Gateway, kinds: &[&str], call: Call<'_>) {
    let body = envelope("<o:Order xmlns:o=\"urn:example:orders\"><o:state>ready</o:state></o:Order>");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    gateway.application.answer_raw(head + &body);
    for kind in kinds {
        let who = match *kind {
            "text" => ADA,
            "digest" => PARTNER,
            _ => (CLIENT, "never typed by anybody"),
        };
        let said = call(gateway, kind, who);
        assert!(said.contains("ready"), "{kind}: {said} {}", gateway.log());
        let seen = gateway.application.last();
        assert_eq!(seen.header("x-vestibule-user"), Some(who.0), "{kind}");
        assert!(!String::from_utf8(seen.body).unwrap().contains("Security"), "{kind}");
    }
    gateway.application.forget();
    for (kind, who) in [("none", ADA), ("text", (ADA.0, "wrong")), ("digest", (PARTNER.0, "wrong"))] {
        let said = call(gateway, kind, who);
        assert!(!said.contains("ready"), "{kind}: {said}");
    }
    assert!(gateway.application.received().is_empty());
}

#[test]
fn npm_soap_calls_through_the_gateway() {
    let there = Command::new("node").args(["-e", "require('soap')"]).output().is_ok_and(|output| output.status.success());
    if !there {
        return skipped("npm soap");
    }
    let gateway = house();
    let call = |gateway: &Gateway, kind: &str, (name, password): (&str, &str)| {
        let mut node = Command::new("node");
        node.arg(here("peers/soap_call.cjs")).arg(here("data/orders.wsdl")).arg(format!("http://{}/orders", gateway.address));
        node.arg(format!("app.north.localhost:{}", gateway.public)).args([kind, name, password]);
        run(node.args(["client-rsa2048.key", "client-rsa2048.crt"].map(key)))
    };
    calls(&gateway, &["text", "digest", "signed"], &call);
    // Its own default is an `Id` without namespace, which is conceded or refused.
    assert!(!call(&gateway, "signed-plain-id", ADA).contains("ready"));
    let gateway = house_of(&conceding(&[("wss_plain_id", "signed")]));
    calls(&gateway, &["signed-plain-id"], &call);
}

#[test]
fn gsoap_calls_through_the_gateway() {
    let plugin = Path::new("/usr/share/gsoap/plugin");
    if !plugin.exists() || Command::new("soapcpp2").arg("-V").output().is_err() {
        return skipped("gSOAP");
    }
    let made = Scratch::new();
    let imports = ["-I/usr/share/gsoap/import", "-I/usr/share/gsoap"];
    run(Command::new("soapcpp2").args(["-c", "-C", "-L"]).args(imports).arg(here("peers/gsoap_orders.h")).current_dir(made.path()));
    let mut compile = Command::new("cc");
    compile.current_dir(made.path()).args(["-w", "-DWITH_OPENSSL", "-DWITH_DOM", "-DWITH_GZIP", "-I.", "-I/usr/share/gsoap"]);
    compile.arg("-I").arg(plugin).arg(here("peers/gsoap_call.c")).args(["soapC.c", "soapClient.c"]);
    compile.args(["wsseapi.c", "smdevp.c", "mecevp.c", "threads.c"].map(|name| plugin.join(name)));
    compile.args(["/usr/share/gsoap/custom/struct_timeval.c", "-lgsoapssl", "-lssl", "-lcrypto", "-lz", "-lpthread", "-o", "call"]);
    run(&mut compile);
    let gateway = house();
    calls(&gateway, &["text", "digest", "signed"], &|gateway, kind, (name, password)| {
        let mut client = Command::new(made.path().join("call"));
        client.arg(format!("http://{}/orders", gateway.address)).arg(format!("app.north.localhost:{}", gateway.public));
        run(client.args([kind, name, password]).args(["client-rsa2048.key", "client-rsa2048.crt"].map(key)))
    });
}

/// Java programs, compiled: the path of their classes, and a folder with their stores of keys.
type Compiled = (String, Scratch);

/// Over the jars of a folder, which `.ci/run` fetches from Maven Central. The client's key is in a store.
fn compiled(jars: &str, sources: &[&str]) -> Option<Compiled> {
    let jars = PathBuf::from(std::env::var_os("VESTIBULE_PEERS_BIN")?).join("../..").join(jars);
    if !jars.is_dir() || Command::new("javac").arg("-version").output().is_err() {
        return None;
    }
    let made = Scratch::new();
    let path = format!("{}/*:{}", jars.display(), made.path().display());
    let sources = sources.iter().map(|source| here(source));
    run(Command::new("javac").args(["-nowarn", "-cp", &path, "-d"]).arg(made.path()).args(sources));
    store(&made, "client", "client", "client-rsa2048");
    Some((path, made))
}

const STORED: &str = "never typed by anybody";
const CALL: &str = "../../../examples/ws-security/CxfCall.java";
const MULTISTEP: &str = "../../../examples/ws-security/CxfMultistep.java";

/// A store, PKCS#12, of a key and its certificate.
fn store(made: &Scratch, store: &str, alias: &str, name: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args(["pkcs12", "-export", "-name", alias, "-passout", &format!("pass:{STORED}"), "-out"]);
    openssl.arg(made.path().join(store).with_extension("p12"));
    run(openssl.arg("-inkey").arg(key(&format!("{name}.key"))).arg("-in").arg(key(&format!("{name}.crt"))));
}

/// Apache CXF that calls the gateway, and says the host that it is told, not the one of the address.
fn java(path: &str, arguments: &[&str]) -> Command {
    let mut java = Command::new("java");
    java.args(["-Dsun.net.http.allowRestrictedHeaders=true", "-Dorg.apache.cxf.transport.http.forceURLConnection=true"]);
    java.args(["-cp", path]).args(arguments);
    java
}

/// The same, to whom orders are to be sent.
fn orders(path: &str, arguments: &[&str], gateway: &Gateway) -> Command {
    let mut java = java(path, arguments);
    java.arg(format!("http://{}/orders", gateway.address)).arg(format!("app.north.localhost:{}", gateway.public));
    java
}

/// Without OpenSAML, so that it is the client of those who have no assertions.
#[test]
fn apache_cxf_calls_through_the_gateway() {
    let Some((path, made)) = compiled("cxf", &[CALL]) else { return skipped("Apache CXF") };
    let gateway = house();
    // WSS4J has two ways to write a message: over a tree, and while it streams.
    calls(&gateway, &["text", "digest", "signed", "signed-streaming"], &|gateway, kind, (name, password)| {
        run(orders(&path, &["CxfCall"], gateway).args([kind, name, password]).arg(made.path().join("client.p12")))
    });
}

/// Apache CXF over WSS4J 3 with OpenSAML, compiled, and a folder with its stores.
fn cxf_saml() -> Option<&'static Compiled> {
    static BUILT: OnceLock<Option<Compiled>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let (path, made) = compiled("cxf-saml", &[CALL, MULTISTEP, "peers/CxfSaml.java"])?;
        store(&made, "issuer", "issuer", "idp-rsa2048");
        store(&made, "other", "issuer", "other-rsa2048");
        let mut keytool = Command::new("keytool");
        keytool.args(["-importcert", "-noprompt", "-alias", "issuer", "-storetype", "PKCS12", "-storepass", STORED]);
        run(keytool.arg("-keystore").arg(made.path().join("trust.p12")).arg("-file").arg(key("idp-rsa2048.crt")));
        Some((path, made))
    });
    if built.is_none() {
        skipped("Apache CXF with OpenSAML");
    }
    built.as_ref()
}

#[test]
fn apache_cxf_calls_with_assertions_of_opensaml() {
    let Some((path, made)) = cxf_saml() else { return };
    let body = envelope("<o:Order xmlns:o=\"urn:example:orders\"><o:state>ready</o:state></o:Order>");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let answer = head + &body;
    let call = |gateway: &Gateway, kind: &str, issuer: &str| {
        let mut java = orders(path, &["CxfSaml", "call"], gateway);
        run(java.args([kind, ADA.0]).arg(made.path().join("client.p12")).arg(made.path().join(issuer)))
    };
    let passes = |gateway: &Gateway, kind: &str| {
        gateway.application.answer_raw(answer.clone());
        let said = call(gateway, kind, "issuer.p12");
        assert!(said.contains("ok ready"), "{kind}: {said} {:?}", gateway.audit().last());
        let seen = gateway.application.last();
        assert_eq!(seen.header("x-vestibule-user"), Some(ADA.0), "{kind}");
        assert!(!String::from_utf8(seen.body).unwrap().contains("Security"), "{kind}");
    };
    let fails = |gateway: &Gateway, kind: &str, issuer: &str, why: &str| {
        gateway.application.forget();
        let said = call(gateway, kind, issuer);
        assert!(said.starts_with("fault") && gateway.application.received().is_empty(), "{kind}: {said}");
        assert_eq!(gateway.audit().last().unwrap()["reason"], serde_json::json!({ "security": why }), "{kind}");
    };
    let gateway = house_of(&conceding(&[("wss_bearer", "asserted")]));
    for kind in ["20-holder", "11-holder", "20-vouches", "11-vouches", "20-bearer", "11-bearer"] {
        passes(&gateway, kind);
    }
    // Whoever signs for himself is no issuer.
    for kind in ["20-holder", "11-vouches", "20-bearer"] {
        fails(&gateway, kind, "other.p12", "unknown_key");
    }
    // WSS4J signs a bearer assertion over SHA-1, whatever digest it is told, where it is not signed beforehand.
    fails(&gateway, "20-bearer-sha1", "issuer.p12", "algorithm_refused");
    passes(&house_of(&conceding(&[("wss_bearer", "asserted"), ("legacy_sha1", "asserted")])), "20-bearer-sha1");
    crate::interop::passed(
        "Apache CXF over WSS4J 3.0.3 and OpenSAML 4.0.1",
        "4.0.5",
        "client",
        &[
            "calls with an assertion of SAML 2.0: holder-of-key, sender-vouches (conceded), bearer (conceded)",
            "calls with an assertion of SAML 1.1 (conceded): holder-of-key, sender-vouches, bearer",
        ],
    );
}

/// What a service gets from us, assertions included, is read by WSS4J 3 with OpenSAML.
#[test]
fn wss4j_reads_the_assertions_that_a_service_gets() {
    let Some((path, made)) = cxf_saml() else { return };
    let gateway = house();
    let got = |name: &str, message: &[u8]| {
        assert_eq!(post(&gateway, &format!("/told/{name}"), message).status, 200, "{}", gateway.log());
        String::from_utf8(gateway.application.last().body).unwrap()
    };
    let check = |name: &str, message: &str| {
        let mut java = Command::new("java");
        java.args(["-cp", path, "CxfSaml", "check"]).arg(made.path().join("trust.p12"));
        run(java.arg(made.write(&format!("{name}.xml"), message)))
    };
    let text = named(ADA.0, Password::Text(ADA.1));
    for name in ["vouched", "vouched11"] {
        let message = got(name, &text);
        let said = check(name, &message);
        assert!(!said.contains("refused") && ["Body", "Timestamp", "Assertion"].iter().all(|part| said.contains(part)), "{said}");
        let said = check("changed", &message.replace(">7<", ">8<"));
        assert!(said.contains("refused"), "{said}");
    }
    // What names a holder is nothing until its holder signs: to WSS4J, too.
    let first = got("holder", &signed());
    assert!(check("unsigned", &first).contains("refused"));
    let assertion = cut(&first, "<saml:Assertion", "</saml:Assertion>");
    let id = assertion.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
    let xml = &alone(assertion);
    let holding = |key| {
        let token = Assertion { xml, id, version: SamlVersion::Saml20, reference: AssertionReference::Direct };
        String::from_utf8(written(Token::Saml(token), Some((key, KeyReference::Assertion)), ORDER)).unwrap()
    };
    let said = check("holder", &holding("client-rsa2048"));
    assert!(!said.contains("refused") && ["Body", "Timestamp", "Assertion"].iter().all(|part| said.contains(part)), "{said}");
    for thief in [holding("other-rsa2048"), holding("client-rsa2048").replace(">7<", ">8<")] {
        assert!(check("thief", &thief).contains("refused"));
    }
    crate::interop::passed(
        "Apache CXF over WSS4J 3.0.3 and OpenSAML 4.0.1",
        "4.0.5",
        "service",
        &["reads the assertions that a response writes: SAML 2.0 and 1.1, sender-vouches; SAML 2.0, holder-of-key"],
    );
}

/// `examples/ws-security` as it stands, but for its addresses: ten lines of zeep.
#[test]
fn the_example_of_ten_lines_calls_the_service() {
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    if !Command::new(&python).args(["-c", "import zeep"]).output().is_ok_and(|output| output.status.success()) {
        return skipped("zeep");
    }
    let example = |name: &str| std::fs::read_to_string(here("../../../examples/ws-security").join(name)).unwrap();
    let script = example("call.py");
    assert!(script.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')).count() <= 10, "{script}");
    let config = example("vestibule.toml")
        .replace("127.0.0.1:8080", "127.0.0.1:{{port}}")
        .replace("orders.localhost", "localhost:{{port}}")
        .replace("{ env = \"PARTNERS\" }", "{ file = \"partners\" }")
        .replace("policies/orders.cedar", "orders.cedar")
        .replace("127.0.0.1:9000", "{{app}}");
    let more = "\n[server]\nhealth = \"127.0.0.1:{{health}}\"\ncontrol_socket = \"{{dir}}/admin.sock\"\n\n[store]\npath = \"{{dir}}/data\"\n\n\
                [audit]\nto = \"file\"\npath = \"{{dir}}/audit.jsonl\"\n";
    let partners = format!("{}:{}\n", PARTNER.0, PARTNER.1);
    let policy = example("policies/orders.cedar");
    let gateway = Gateway::with_files(&format!("{config}{more}"), &[("partners", &partners), ("orders.cedar", &policy)]);
    let password = gateway.scratch.write("password", PARTNER.1);
    let output = gateway.command(&[
        "user",
        "add",
        PARTNER.0,
        "--tenant",
        "main",
        "--group",
        "partners",
        "--password-file",
        password.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{output:?}");
    let body = envelope("<o:Order xmlns:o=\"urn:example:orders\"><o:state>ready</o:state></o:Order>");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    gateway.application.answer_raw(head + &body);
    let script = gateway.scratch.write("call.py", &script.replace("orders.localhost:8080", &format!("localhost:{}", gateway.public)));
    let call =
        |password: &str, kind: &[&str]| Command::new(&python).arg(&script).arg(here("data/orders.wsdl")).arg(password).args(kind).output();
    for kind in [&[][..], &["digest"]] {
        let output = call(PARTNER.1, kind).unwrap();
        assert!(String::from_utf8_lossy(&output.stdout).contains("ready"), "{kind:?}: {output:?} {}", gateway.log());
    }
    gateway.application.forget();
    assert!(!call("a wrong guess of it", &[]).unwrap().status.success());
    assert!(gateway.application.received().is_empty());
}

/// WSS4J 1.6, Debian's, compiled.
fn wss4j() -> Option<&'static (String, Scratch)> {
    static BUILT: OnceLock<Option<(String, Scratch)>> = OnceLock::new();
    let built = BUILT.get_or_init(|| {
        let java = Path::new("/usr/share/java");
        if !java.join("wss4j.jar").exists() || Command::new("javac").arg("-version").output().is_err() {
            return None;
        }
        let made = Scratch::new();
        let jars = ["wss4j.jar", "xmlsec.jar", "commons-logging.jar", "slf4j-api.jar", "slf4j-nop.jar"];
        let mut path: Vec<String> = jars.iter().map(|jar| java.join(jar).display().to_string()).collect();
        path.push(made.path().display().to_string());
        let path = path.join(":");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../wss/tests/peers/Wss4jPeer.java");
        run(Command::new("javac").args(["-nowarn", "-cp", &path, "-d"]).arg(made.path()).arg(source));
        Some((path, made))
    });
    if built.is_none() {
        skipped("WSS4J");
    }
    built.as_ref()
}

/// Whatever WSS4J 1.6 signs, by each form of reference to its key, is let in, once; changed it is not.
#[test]
fn wss4j_messages_are_let_in_at_the_live_door() {
    let Some((path, _)) = wss4j() else { return };
    let made = Scratch::new();
    run(Command::new("java").args(["-cp", path, "Wss4jPeer", "make"]).arg(key("")).arg(made.path()));
    let gateway = house();
    let mut signed = 0;
    for entry in std::fs::read_dir(made.path()).unwrap() {
        let file = entry.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap();
        if !name.starts_with("signed-") {
            continue;
        }
        let octets = std::fs::read(&file).unwrap();
        gateway.application.forget();
        let changed = String::from_utf8(octets.clone()).unwrap().replace("<o:id>7", "<o:id>8");
        let refused = post(&gateway, "/orders", changed.as_bytes());
        assert_eq!(reason(&gateway, &refused), serde_json::json!({ "security": "digest_mismatch" }), "{name}");
        assert!(gateway.application.received().is_empty());
        let answer = post(&gateway, "/orders", &octets);
        assert_eq!(answer.status, 200, "{name}: {answer:?} {:?}", gateway.audit_of(&answer));
        let seen = gateway.application.last();
        assert_eq!(seen.header("x-vestibule-user"), Some(CLIENT), "{name}");
        assert!(!String::from_utf8(seen.body).unwrap().contains("Security"), "{name}");
        assert_eq!(reason(&gateway, &post(&gateway, "/orders", &octets)), Value::from("replayed"), "{name}");
        signed += 1;
    }
    assert!(signed >= 5, "{signed}");
}

/// What a service gets from us is read by WSS4J 1.6, and its signature verified by xmlsec1.
#[test]
fn wss4j_and_xmlsec1_verify_what_a_service_gets() {
    let config = HOUSE.replace(
        "token = \"x509\"\ncertificate = \"idp-rsa2048.crt\"\nkey = { file = \"idp-rsa2048.key\" }\n\n[response.vouched]",
        "token = \"x509\"\ncertificate = \"client-rsa2048.crt\"\nkey = { file = \"client-rsa2048.key\" }\n\n[response.vouched]",
    );
    assert_ne!(config, HOUSE);
    let mut files = files(&crate::ws_security::told());
    files.push(("client-rsa2048.key".to_owned(), pem("client-rsa2048.key")));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let gateway = Gateway::with_files(&config, &files);
    add(&gateway, "north", ADA.0, ADA.1);
    let made = Scratch::new();
    let written: Vec<PathBuf> = ["x509", "vouched11", "vouched"]
        .iter()
        .map(|name| {
            assert_eq!(post(&gateway, &format!("/told/{name}"), &named(ADA.0, Password::Text(ADA.1))).status, 200, "{}", gateway.log());
            made.write(&format!("{name}.xml"), &String::from_utf8(gateway.application.last().body).unwrap())
        })
        .collect();

    if let Some((path, _)) = wss4j() {
        let check = |file: &Path| run(Command::new("java").args(["-cp", path, "Wss4jPeer", "check"]).arg(key("")).arg(file));
        let verdict = check(&written[0]);
        assert!(verdict.contains("\taccept "), "{verdict}");
        let text = std::fs::read_to_string(&written[0]).unwrap();
        let verdict = check(&made.write("changed.xml", &text.replace(">7<", ">8<")));
        assert!(verdict.contains("\treject"), "{verdict}");
    }

    if Command::new("xmlsec1").arg("--version").output().is_err() {
        return skipped("xmlsec1");
    }
    let verify = |file: &Path, certificate: &str| {
        let mut xmlsec1 = Command::new("xmlsec1");
        xmlsec1.args(["--verify", "--pubkey-cert-pem"]).arg(key(certificate));
        for name in ["Body", "Timestamp", "BinarySecurityToken", "SecurityTokenReference"] {
            xmlsec1.args(["--id-attr:Id", name]);
        }
        xmlsec1.args(["--id-attr:ID", "Assertion", "--node-xpath", "/*/*[1]/*[last()]/*[local-name()='Signature']"]);
        xmlsec1.arg(file).output().unwrap()
    };
    // SAML 1.1 is covered by way of its reference, a transform that xmlsec1 does not have.
    for (file, certificate) in [(&written[0], "client-rsa2048.crt"), (&written[2], "idp-rsa2048.crt")] {
        let output = verify(file, certificate);
        assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
        let changed = std::fs::read_to_string(file).unwrap().replace(">7<", ">8<");
        assert!(!verify(&made.write("changed.xml", &changed), certificate).status.success());
    }
}

/// The authentication service of the multistep model: it gives its consumer the header that it was called with.
struct AuthenticationService(Child, u16);

impl AuthenticationService {
    fn start() -> Option<Self> {
        let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        if !Command::new(&python).args(["-c", "import spyne"]).output().is_ok_and(|output| output.status.success()) {
            skipped("spyne");
            return None;
        }
        let mut child = Command::new(python).arg(here("peers/authentication_service.py")).stdout(Stdio::piped()).spawn().unwrap();
        let mut port = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut port).unwrap();
        Some(Self(child, port.trim().parse().unwrap()))
    }
}

impl Drop for AuthenticationService {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The house before an authentication service, also under its address, by which programs find it.
fn before(service: &AuthenticationService) -> Gateway {
    let orders = format!("[upstream.orders]\nurl = \"http://127.0.0.1:{}\"", service.1);
    let config = HOUSE.replacen("[upstream.orders]\nurl = \"http://{{app}}\"", &orders, 1);
    assert_ne!(config, HOUSE);
    let all = files(&crate::ws_security::told());
    let all: Vec<(&str, &str)> = all.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let a = Gateway::with_files(&config, &all);
    add(&a, "north", CLIENT, "never typed by anybody");
    a
}

/// `examples/ws-security/multistep.py`, as it stands, between A and B.
#[test]
fn the_example_takes_a_header_from_one_installation_to_another() {
    let Some(service) = AuthenticationService::start() else { return };
    let (a, b) = (before(&service), crate::ws_security::federated());
    let body = envelope("<o:Order xmlns:o=\"urn:example:orders\"><o:state>ready at B</o:state></o:Order>");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    b.application.answer_raw(head + &body);
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut script = Command::new(python);
    script.arg(here("../../../examples/ws-security/multistep.py")).arg(here("data/orders.wsdl"));
    script.args(["client-rsa2048.key", "client-rsa2048.crt"].map(key));
    script.arg(format!("http://127.0.0.1:{}/told/holder", a.address.port())).arg(format!("http://127.0.0.1:{}/orders", b.address.port()));
    assert_eq!(run(&mut script).trim(), format!("order 7 of {CLIENT}\nready at B"));
    assert_eq!(b.application.last().header("x-vestibule-user"), Some(CLIENT));
}

/// `examples/ws-security/CxfMultistep.java`, as it stands, between A and B.
#[test]
fn the_example_of_apache_cxf_takes_a_header_from_one_installation_to_another() {
    let Some((path, made)) = cxf_saml() else { return };
    let Some(service) = AuthenticationService::start() else { return };
    let (a, b) = (before(&service), crate::ws_security::federated());
    let body = envelope("<o:Order xmlns:o=\"urn:example:orders\"><o:state>ready at B</o:state></o:Order>");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    b.application.answer_raw(head + &body);
    let host = |gateway: &Gateway| format!("app.north.localhost:{}", gateway.public);
    let mut java = java(path, &["CxfMultistep"]);
    java.arg(format!("http://{}/told/holder", a.address)).arg(host(&a)).arg(format!("http://{}/orders", b.address)).arg(host(&b));
    let said = run(java.arg(STORED).arg(made.path().join("client.p12")));
    let said: Vec<&str> = said.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(said, [format!("ok order 7 of {CLIENT}").as_str(), "ok ready at B", "fault FailedAuthentication"], "{}", b.log());
    assert_eq!(b.application.received().len(), 1, "the changed one goes no further");
    assert_eq!(b.application.last().header("x-vestibule-user"), Some(CLIENT));
}

/// Gateway A stands before the authentication service, gateway B before another one in an installation of its own, which knows
/// A's certificate and nothing else of A.
#[test]
fn a_header_from_an_authentication_service_is_used_at_a_federated_one() {
    let Some(service) = AuthenticationService::start() else { return };
    let a = before(&service);
    let b = crate::ws_security::federated();

    // The answer of the service, written by spyne, holds the header; the consumer takes it from there.
    let header_from = |name: &str, document: &[u8]| {
        let answer = post(&a, &format!("/told/{name}"), document);
        assert_eq!(answer.status, 200, "{name}: {answer:?} {}", a.log());
        assert!(answer.body.contains(&format!("order 7 of {CLIENT}")), "{answer:?}");
        assert!(!answer.body.contains("mustUnderstand"), "{answer:?}");
        cut(&answer.body, "<wsse:Security", "</wsse:Security>").to_owned()
    };
    let put_in = |document: &[u8], header: &str| {
        let document = String::from_utf8(document.to_vec()).unwrap();
        let own = cut(&document, "<wsse:Security", "</wsse:Security>");
        document.replace(own, header).into_bytes()
    };

    // Holder-of-key: the original document and a new one, each signed by the holder; nobody else.
    let original = signed();
    let header = header_from("holder", &original);
    let assertion = cut(&header, "<saml:Assertion", "</saml:Assertion>");
    let id = assertion.split(" ID=\"").nth(1).unwrap().split('"').next().unwrap();
    let xml = &alone(assertion);
    let token = || Token::Saml(Assertion { xml, id, version: SamlVersion::Saml20, reference: AssertionReference::Direct });
    for document in [ORDER, "<o:Cancel xmlns:o=\"urn:example:orders\"/>"] {
        let answer = post(&b, "/orders", &written(token(), Some(("client-rsa2048", KeyReference::Assertion)), document));
        assert_eq!(answer.status, 200, "{document}: {answer:?} {:?}", b.audit_of(&answer));
        assert_eq!(b.application.last().header("x-vestibule-user"), Some(CLIENT));
    }
    b.application.forget();
    for thief in
        [written(token(), None, ORDER), written(token(), Some(("other-rsa2048", KeyReference::Direct)), ORDER), put_in(&original, &header)]
    {
        assert!(post(&b, "/orders", &thief).status >= 400);
    }

    // Sender-vouches: the original document as it was vouched for, and no other.
    let original = signed();
    let vouched = header_from("vouched", &original);
    let another = put_in(&signed(), &vouched);
    assert!(post(&b, "/orders", &another).status >= 400, "another document");
    let changed = String::from_utf8(put_in(&original, &vouched)).unwrap().replace(">7<", ">8<");
    assert_eq!(reason(&b, &post(&b, "/orders", changed.as_bytes())), serde_json::json!({ "security": "digest_mismatch" }));
    assert!(b.application.received().is_empty());
    let answer = post(&b, "/orders", &put_in(&original, &vouched));
    assert_eq!(answer.status, 200, "{answer:?} {:?}", b.audit_of(&answer));
    assert_eq!(reason(&b, &post(&b, "/orders", &put_in(&original, &vouched))), Value::from("replayed"));
}
