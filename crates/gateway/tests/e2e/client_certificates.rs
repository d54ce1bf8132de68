//! Client certificates: authorities and lists made by openssl, handshakes by curl, users by the command line.

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;

use crate::lifecycle::wait_for;
use crate::support::{Answer, Ask, CONFIG, Gateway, Scratch, get};

/// Two authorities, a server and some people.
struct Office(Scratch);

impl Office {
    /// The office, or `None` (and a word) without openssl and curl.
    fn open() -> Option<Self> {
        for program in ["openssl", "curl"] {
            if Command::new(program).arg(if program == "curl" { "--version" } else { "version" }).output().is_err() {
                assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{program} is missing");
                println!("SKIPPED: {program} is not installed");
                return None;
            }
        }
        let office = Self(Scratch::new());
        for name in ["north", "south"] {
            office.authority(name);
        }
        office.issue("north", "server", "/CN=server", "subjectAltName=DNS:app.north.localhost,DNS:login.north.localhost", &[]);
        let client = "extendedKeyUsage=clientAuth";
        let upn = |name: &str| format!("{client}\nsubjectAltName=otherName:1.3.6.1.4.1.311.20.2.3;UTF8:{name}@corp.example");
        office.issue("north", "ada", "/O=North/CN=Ada L.", &upn("ADA"), &[]);
        office.issue("north", "bob", "/O=North/CN=bob", client, &[]);
        office.issue("north", "revoked", "/O=North/CN=ada", &upn("ada"), &[]);
        office.issue("north", "expired", "/O=North/CN=ada", &upn("ada"), &["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"]);
        office.issue("south", "stranger", "/O=South/CN=ada", &upn("ada"), &[]);
        office.ca("north", &["-revoke", office.file("revoked.pem").to_str().unwrap()]);
        office.list("north");
        Some(office)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl").args(arguments).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn authority(&self, name: &str) {
        let config = format!(
            "[ca]\ndefault_ca=d\n[d]\ndatabase={name}.index\nserial={name}.serial\ncrlnumber={name}.crlnumber\nnew_certs_dir=.\n\
             certificate={name}.pem\nprivate_key={name}.key\ndefault_md=sha256\ndefault_days=30\ndefault_crl_days=30\npolicy=p\n\
             unique_subject=no\n[p]\norganizationName=optional\ncommonName=supplied\n"
        );
        self.0.write(&format!("{name}.cnf"), &config);
        self.0.write(&format!("{name}.index"), "");
        self.0.write(&format!("{name}.serial"), "1001");
        self.0.write(&format!("{name}.crlnumber"), "01");
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN=Authority {name}");
        let usage = "keyUsage=critical,keyCertSign,cRLSign";
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        let rest = ["-keyout", &key, "-out", &certificate, "-days", "30", "-subj", &subject, "-addext", usage];
        self.openssl(&[&["req", "-x509"][..], &curve, &rest].concat());
    }

    fn ca(&self, authority: &str, arguments: &[&str]) {
        self.openssl(&[&["ca", "-batch", "-config", &format!("{authority}.cnf")], arguments].concat());
    }

    fn issue(&self, by: &str, name: &str, subject: &str, extensions: &str, more: &[&str]) {
        let (key, request, certificate) = (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        let extensions = self.0.write(&format!("{name}.ext"), extensions);
        let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
        self.openssl(&[&["req", "-new"][..], &curve, &["-keyout", &key, "-out", &request, "-subj", subject]].concat());
        let made = ["-in", &request, "-out", &certificate, "-notext", "-extfile", extensions.to_str().unwrap()];
        self.ca(by, &[&made[..], more].concat());
    }

    fn list(&self, authority: &str) {
        self.ca(authority, &["-gencrl", "-out", &format!("{authority}.crl")]);
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.file(name)).unwrap()
    }

    /// The standard house with TLS that asks for certificates, and a chain that knows them.
    fn house(&self, tls: &str, listen: &str, scheme: &str) -> Gateway {
        let listen = format!(
            "{listen}\n\n[listen.tls]\ncertificates = [{{ certificate = \"server.pem\", key = {{ file = \"server.key\" }} }}]\n{tls}\n\n[listen.limits]"
        );
        let config = CONFIG
            .replacen("[listen.limits]", &listen, 1)
            .replace("chain = [\"session\", \"basic\", \"form\"]", "chain = [\"session\", \"card\", \"basic\", \"form\"]");
        let config = format!("{config}\n[scheme.card]\ntype = \"client-certificate\"\n{scheme}\n");
        let files: Vec<(&str, String)> =
            ["server.pem", "server.key", "north.pem", "north.crl"].map(|name| (name, self.read(name))).into_iter().collect();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        Gateway::with_files(&config, &files).with_users()
    }

    /// Asks the gateway over TLS as whoever holds this certificate. `None`: there was no answer.
    fn ask_as(&self, gateway: &Gateway, who: Option<&str>, target: &str, more: &[&str]) -> Option<Answer> {
        let port = gateway.address.port();
        let mut curl = Command::new("curl");
        curl.args(["-sS", "-i", "--max-time", "20", "--cacert", self.file("north.pem").to_str().unwrap()]);
        curl.args(["--resolve", &format!("app.north.localhost:{port}:127.0.0.1")]);
        if let Some(who) = who {
            curl.arg("--cert").arg(self.file(&format!("{who}.pem"))).arg("--key").arg(self.file(&format!("{who}.key")));
        }
        let output = curl.args(["--http1.1", &format!("https://app.north.localhost:{port}{target}")]).args(more).output().unwrap();
        output.status.success().then(|| crate::support::read_answer(&mut output.stdout.as_slice()))
    }
}

const OPTIONAL: &str = "client_ca = [\"north.pem\"]\nclient_crl = [\"north.crl\"]";

#[test]
fn whoever_holds_the_key_is_the_user_the_certificate_belongs_to() {
    let Some(office) = Office::open() else { return };
    let gateway = office.house(OPTIONAL, "", "map = [\"thumbprint\", \"issuer-serial\", \"upn\"]\nsuffix = \"@corp.example\"");
    let answer = office.ask_as(&gateway, Some("ada"), "/api/orders", &[]).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
    let record = gateway.audit_of(&answer);
    assert!(record.iter().any(|record| record["event"] == "request.decided" && record["scheme"] == "card" && record["subject"] == "ada"));

    // Bob's has no name that counts, until an administrator links it.
    let unknown = office.ask_as(&gateway, Some("bob"), "/api/orders", &[]).unwrap();
    assert_eq!(unknown.status, 401);
    let decided = gateway.audit_of(&unknown);
    assert!(format!("{decided:?}").contains("unknown_certificate"), "{decided:?}");
    let certificate = office.file("bob.pem");
    for (command, by, status) in
        [("link", "thumbprint", 200), ("unlink", "thumbprint", 401), ("link", "issuer-serial", 200), ("unlink", "issuer-serial", 401)]
    {
        let output =
            gateway.command(&["user", command, "bob", "--tenant", "north", "--certificate", certificate.to_str().unwrap(), "--by", by]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(office.ask_as(&gateway, Some("bob"), "/api/orders", &[]).unwrap().status, status, "{command} {by}");
    }
    gateway.command(&["user", "link", "bob", "--tenant", "north", "--certificate", certificate.to_str().unwrap()]);
    let taken = gateway.command(&["user", "link", "eve", "--tenant", "north", "--certificate", certificate.to_str().unwrap()]);
    assert!(!taken.status.success() && String::from_utf8_lossy(&taken.stderr).contains("bob"), "{taken:?}");

    // Without a certificate, the chain goes on; with one, a password still decides.
    assert_eq!(office.ask_as(&gateway, None, "/api/orders", &[]).unwrap().status, 401);
    assert_eq!(office.ask_as(&gateway, None, "/api/orders", &["-u", "bob:staple of the north"]).unwrap().status, 200);
    assert_eq!(office.ask_as(&gateway, Some("ada"), "/api/orders", &["-u", "bob:staple of the north"]).unwrap().status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("bob"));
    assert_eq!(office.ask_as(&gateway, Some("ada"), "/api/orders", &["-u", "bob:wrong"]).unwrap().status, 401);

    // A foreign page cannot use it.
    let foreign = ["-X", "POST", "-H", "Origin: https://evil.example", "-H", "Sec-Fetch-Site: cross-site"];
    assert_eq!(office.ask_as(&gateway, Some("ada"), "/api/orders", &foreign).unwrap().status, 403);

    gateway.command(&["user", "disable", "ada", "--tenant", "north"]);
    let barred = office.ask_as(&gateway, Some("ada"), "/api/orders", &[]).unwrap();
    assert_eq!(barred.status, 401);
    assert!(format!("{:?}", gateway.audit_of(&barred)).contains("disabled"));
}

#[test]
fn a_certificate_that_does_not_hold_gets_no_handshake() {
    let Some(office) = Office::open() else { return };
    let optional = office.house(OPTIONAL, "", "map = \"upn\"\nsuffix = \"@corp.example\"");
    for who in ["revoked", "expired", "stranger"] {
        assert!(office.ask_as(&optional, Some(who), "/public/x", &[]).is_none(), "{who}");
    }
    assert_eq!(office.ask_as(&optional, None, "/public/x", &[]).unwrap().status, 200);
    assert!(optional.application.received().len() == 1);

    let required =
        office.house(&format!("{OPTIONAL}\nclient_certificates = \"required\""), "", "map = \"upn\"\nsuffix = \"@corp.example\"");
    assert!(office.ask_as(&required, None, "/public/x", &[]).is_none());
    assert_eq!(office.ask_as(&required, Some("ada"), "/public/x", &[]).unwrap().status, 200);

    // A list that is brought by a reload counts for whoever comes after it.
    office.ca("north", &["-revoke", office.file("ada.pem").to_str().unwrap()]);
    office.list("north");
    required.scratch.write("north.crl", &office.read("north.crl"));
    required.signal("HUP");
    wait_for(|| office.ask_as(&required, Some("ada"), "/public/x", &[]).is_none());
    assert_eq!(office.ask_as(&required, Some("bob"), "/public/x", &[]).unwrap().status, 200);
}

#[test]
fn our_expired_certificate_is_refused_by_clients_until_it_is_replaced_without_a_restart() {
    let Some(office) = Office::open() else { return };
    let good = ["server.pem", "server.key"].map(|name| (name, office.read(name)));
    let names = "subjectAltName=DNS:app.north.localhost,DNS:login.north.localhost";
    office.issue("north", "server", "/CN=server", names, &["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"]);
    let gateway = office.house(OPTIONAL, "", "map = \"upn\"\nsuffix = \"@corp.example\"");
    assert!(office.ask_as(&gateway, None, "/public/x", &[]).is_none(), "a client believed it");
    assert!(gateway.application.received().is_empty());
    for (name, text) in good {
        gateway.scratch.write(name, &text);
    }
    gateway.signal("HUP");
    wait_for(|| office.ask_as(&gateway, None, "/public/x", &[]).is_some_and(|answer| answer.status == 200));
}

#[test]
fn an_applications_expired_certificate_is_a_bad_gateway_until_it_is_renewed() {
    let Some(office) = Office::open() else { return };
    office.issue("north", "new", "/CN=new", "subjectAltName=DNS:localhost", &[]);
    office.issue(
        "north",
        "old",
        "/CN=old",
        "subjectAltName=DNS:localhost",
        &["-startdate", "20200101000000Z", "-enddate", "20200201000000Z"],
    );
    let port = crate::support::free_port();
    let serve = |name: &str| {
        let (certificate, key) = (office.file(&format!("{name}.pem")), office.file(&format!("{name}.key")));
        let mut command = Command::new("openssl");
        command
            .args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}"), "-cert"])
            .arg(certificate)
            .arg("-key")
            .arg(key);
        let quiet = std::process::Stdio::null;
        let child = command.stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn().unwrap();
        wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        child
    };
    let config =
        CONFIG.replace("http://{{app}}", "app") + &format!("\n[upstream.app]\nurl = \"https://localhost:{port}\"\nca = \"north.pem\"\n");
    let authority = office.read("north.pem");
    let gateway = Gateway::with_files(&config, &[("north.pem", &authority)]).with_users();
    let ask = get("/api/orders").basic("bob", "staple of the north");
    for (name, status) in [("new", 200), ("old", 502), ("new", 200)] {
        let mut server = serve(name);
        wait_for(|| gateway.send(&ask).status == status);
        let answer = gateway.send(&ask);
        assert_eq!(answer.status, status, "{name}");
        assert!(answer.header("x-vestibule-id").is_some() && (status == 200 || !answer.body.contains("ertificate")), "{answer:?}");
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

/// A certificate as proxies forward it.
fn forwarded(office: &Office, who: &str) -> [(&'static str, String); 1] {
    let pem = office.read(&format!("{who}.pem"));
    let base64: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    assert!(base64::engine::general_purpose::STANDARD.decode(&base64).is_ok());
    [("Client-Cert", format!(":{base64}:"))]
}

#[test]
fn a_forwarded_certificate_counts_from_named_proxies_only_and_reaches_nobody() {
    let Some(office) = Office::open() else { return };
    let house = |proxy: &str| {
        let listen = format!(
            "trusted_proxies = [\"{proxy}\"]\nforwarded_certificate = {{ header = \"Client-Cert\", ca = [\"north.pem\"], crl = [\"north.crl\"] }}\n\n[listen.limits]"
        );
        let config = CONFIG
            .replacen("[listen.limits]", &listen, 1)
            .replace("chain = [\"session\", \"basic\", \"form\"]", "chain = [\"session\", \"card\", \"basic\", \"form\"]");
        let config = format!("{config}\n[scheme.card]\ntype = \"client-certificate\"\nmap = \"upn\"\nsuffix = \"@corp.example\"\n");
        let files = [("north.pem", office.read("north.pem")), ("north.crl", office.read("north.crl"))];
        Gateway::with_files(&config, &files.each_ref().map(|(name, text)| (*name, text.as_str()))).with_users()
    };
    let with =
        |who: &str, target: &str| -> Ask { forwarded(&office, who).iter().fold(get(target), |ask, (name, value)| ask.header(name, value)) };
    let named = house("127.0.0.1");
    let answer = named.send(&with("ada", "/api/orders"));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(named.application.last().header("x-vestibule-user"), Some("ada"));
    assert_eq!(named.application.last().header("client-cert"), None);
    for (who, reason) in [("revoked", "certificate_revoked"), ("expired", "certificate_expired"), ("stranger", "certificate_untrusted")] {
        let answer = named.send(&with(who, "/api/orders"));
        assert_eq!(answer.status, 401, "{who}");
        let decided = named.audit_of(&answer);
        assert!(format!("{decided:?}").contains(reason), "{who}: {decided:?}");
    }
    assert_eq!(named.send(&get("/api/orders").header("Client-Cert", "")).status, 401);
    let twice = with("ada", "/api/orders").header("Client-Cert", ":AA==:");
    assert_eq!(named.send(&twice).status, 401);

    let stranger = house("192.0.2.1");
    assert_eq!(stranger.send(&with("ada", "/api/orders")).status, 401);
    let spelt = with("ada", "/public/x").header("Client_Cert", "x").header("Client-Cert-Chain", "x");
    assert_eq!(stranger.send(&spelt).status, 200);
    let received = stranger.application.last();
    assert!(received.headers.iter().all(|(name, _)| !name.to_lowercase().starts_with("client")), "{received:?}");
}

#[test]
fn a_proxy_that_shows_its_certificate_may_ask_without_being_named() {
    let Some(office) = Office::open() else { return };
    let questions = "speaks = \"auth-request\"";
    let demand = format!("{OPTIONAL}\nclient_certificates = \"required\"");
    let unnamed = "speaks = \"auth-request\"\ntrusted_proxies = [\"192.0.2.1\"]";
    // The standard house has our own pages on a listener that forwards, so a second one asks.
    let second = |questions: &str| {
        format!(
            "\n[[listen]]\naddress = \"127.0.0.1:{{{{port}}}}\"\n{questions}\n\n[listen.tls]\ncertificates = [{{ certificate = \"server.pem\", key = {{ file = \"server.key\" }} }}]\n{demand}\n"
        )
    };
    let config = CONFIG.replacen("127.0.0.1:{{port}}", "127.0.0.1:0", 1);
    let houses = [questions, unnamed].map(|questions| format!("{config}{}", second(questions)));
    let names = ["server.pem", "server.key", "north.pem", "north.crl"];
    let files: Vec<(&str, String)> = names.iter().map(|name| (*name, office.read(name))).collect();
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let [gateway, closed] = houses.map(|config| Gateway::with_files(&config, &files).with_users());
    let question = ["-H", "X-Original-Method: GET", "-H", "X-Original-URI: /public/x", "-H", "X-Forwarded-For: 203.0.113.5"];
    assert!(office.ask_as(&gateway, None, "/", &question).is_none());
    assert!(office.ask_as(&gateway, Some("stranger"), "/", &question).is_none());
    assert_eq!(office.ask_as(&closed, Some("bob"), "/", &question).unwrap().status, 403, "others are named");
    let answer = office.ask_as(&gateway, Some("bob"), "/", &question).unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let decided = gateway.audit_of(&answer);
    assert!(decided.iter().all(|record| record["client"] == "203.0.113.5"), "its word on the client counts: {decided:?}");
}
