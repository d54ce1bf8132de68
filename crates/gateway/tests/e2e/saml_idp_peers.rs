//! Other people's service providers against our identity provider: metadata exchanged as each writes them, logins and logouts.
//!
//! Without the peers the tests say SKIPPED, or fail where `VESTIBULE_PEERS=required`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use vestibule_saml::metadata::{Entity, Metadata, Trust};

use crate::interop::{debian, passed};
use crate::keycloak::{self, Keycloak};
use crate::saml_idp::{PASSWORD, PORTAL, now, posted, recorded, sign_in};
use crate::support::{CONFIG, Gateway, Scratch, exchange, free_port, get};

/// What the steps of `saml.cjs` do.
const IN_A_BROWSER: [&str; 2] =
    ["login begun at either side, in a browser, with and without JavaScript", "single logout begun at either side"];

const SP: &str = "https://sp.example.org/saml";
const ACS: &str = "https://sp.example.org/acs";
const SP_SLO: &str = "https://sp.example.org/slo";

/// The gateway with one service provider, which these metadata describe.
pub fn house_for(metadata: &str, more: &str) -> Gateway {
    let provider = format!(
        "\n[tenant.north.idp]\ncertificate = \"idp.crt\"\nkey = {{ file = \"idp.key\" }}\n\n[service_provider.peer]\ntenant = \"north\"\n\
         metadata = \"peer.xml\"\ntitle = \"The peer\"\nrelease = {{ groups = \"groups\", uid = \"user\" }}\n{more}"
    );
    let (certificate, key) = (recorded("idp-rsa2048.crt"), recorded("idp-rsa2048.key"));
    let files = [("idp.crt", certificate.as_str()), ("idp.key", key.as_str()), ("peer.xml", metadata)];
    Gateway::with_files(&format!("{CONFIG}{provider}"), &files).with_users()
}

fn metadata_of(gateway: &Gateway) -> (String, Entity) {
    let text = gateway.send_to(PORTAL, &get("/saml/idp/metadata")).body;
    let entity = Metadata::read(text.as_bytes(), Trust::Named, now()).unwrap().entities.remove(0);
    (text, entity)
}

pub fn is_there(found: bool, what: &str) -> bool {
    if !found {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{what} is required here");
        eprintln!("SKIPPED: {what} is not installed");
    }
    found
}

fn peers() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache/vestibule/peers")
}

/// What a peer in Python makes of a job.
fn python(peer: &str, mut job: Value, idp: Option<&(String, Entity)>) -> Value {
    let fixed = json!({"sp": SP, "sp_slo": SP_SLO, "acs": ACS, "keys": PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys"),
        "idp": "https://idp.example.org", "sso": "https://idp.example.org/sso", "slo": "https://idp.example.org/slo"});
    for (name, value) in fixed.as_object().unwrap() {
        job[name] = value.clone();
    }
    if let Some((text, entity)) = idp {
        let role = entity.idp.as_ref().unwrap();
        job["metadata"] = json!(text);
        job["idp"] = json!(entity.entity_id);
        job["sso"] = json!(role.sso[0].location);
        job["slo"] = json!(role.slo[0].location);
    }
    let interpreter = std::env::var_os("VESTIBULE_PYTHON_SAML").map_or_else(|| peers().join("py-saml/bin/python"), PathBuf::from);
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../saml/tests/peers").join(peer);
    let mut command = Command::new(interpreter);
    let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(json!([job]).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{peer}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap().remove(0)
}

#[test]
fn python_service_providers_accept_our_logins() {
    let interpreter = std::env::var_os("VESTIBULE_PYTHON_SAML").map_or_else(|| peers().join("py-saml/bin/python"), PathBuf::from);
    if !is_there(interpreter.exists(), "pysaml2 and python3-saml") {
        return;
    }
    for (peer, more, job) in [
        ("python3_saml_peer.py", "", json!({"want_assertions_signed": true, "want_messages_signed": true, "want_encrypted": true})),
        ("python3_saml_peer.py", "sign = \"assertion\"\nencrypt = \"never\"\n", json!({"want_assertions_signed": true})),
        ("pysaml2_peer.py", "", json!({"want_assertions_signed": true, "binding": "redirect"})),
        ("pysaml2_peer.py", "sign = \"response\"\nencrypt = \"never\"\n", json!({"binding": "post"})),
    ] {
        let doing = |what: &str, more: Value| {
            let mut job = job.clone();
            job["do"] = json!(what);
            more.as_object().unwrap().iter().for_each(|(name, value)| job[name] = value.clone());
            job
        };
        let own = python(peer, doing("metadata", json!({})), None)["sp"].as_str().unwrap().to_owned();
        let gateway = house_for(&own, more);
        let idp = metadata_of(&gateway);
        let made = python(peer, doing("make_request", json!({})), Some(&idp));
        let mut browser = gateway.browser();
        let page = match made["url"].as_str() {
            Some(url) => sign_in(&mut browser, url, "ada", PASSWORD),
            None => {
                let fields = crate::support::hidden_fields(made["form"].as_str().unwrap());
                let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                let taken = browser.post(PORTAL, "/saml/idp/sso", &fields);
                sign_in(&mut browser, &format!("http://{PORTAL}{}", taken.header("location").unwrap()), "ada", PASSWORD)
            }
        };
        let message = &posted(&page)["SAMLResponse"];
        let read = python(peer, doing("read_response", json!({"message": message, "request": made["id"]})), Some(&idp));
        assert_eq!(read["attributes"]["groups"], json!(["admins", "staff"]), "{peer}: {read}");
        assert_eq!(read["name"].as_str().unwrap().len(), 64, "{peer}: {read}");
        // It ends the login, and believes our answer.
        let job = doing("make_logout", json!({"name": read["name"], "index": read["index"]}));
        let over = python(peer, job, Some(&idp));
        let answered = browser.load(over["url"].as_str().unwrap());
        let location = answered.header("location").unwrap_or_else(|| panic!("{peer}: {:?}", gateway.audit_of(&answered)));
        assert!(location.starts_with(SP_SLO), "{peer}: {location}");
        let done = python(peer, doing("read_logout_answer", json!({"url": location, "request": over["id"]})), Some(&idp));
        assert_eq!(done["done"], true, "{peer}: {done}");
        assert!(browser.visit(&format!("http://{PORTAL}/")).body.contains("<h1>Sign in</h1>"), "{peer}");
        // Begun here.
        let page = sign_in(&mut browser, &format!("http://{PORTAL}/saml/idp/start/peer"), "ada", PASSWORD);
        let message = &posted(&page)["SAMLResponse"];
        let read = python(peer, doing("read_response", json!({"message": message})), Some(&idp));
        assert_eq!(read["attributes"]["uid"], json!(["ada"]), "{peer}: {read}");
        let (name, version) = if peer.starts_with("pysaml2") { ("pysaml2", "7.5.5") } else { ("python3-saml", "1.16.0") };
        let flows = ["login begun at either side, assertion and response signed in turn, encrypted", "logout begun there"];
        passed(name, version, "service provider", &flows);
    }
}

/// node-saml in a process of its own, which remembers its requests.
struct NodeSaml {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl NodeSaml {
    fn start() -> Option<Self> {
        let modules = std::env::var_os("NODE_PATH").map_or_else(|| peers().join("node_modules"), PathBuf::from);
        if !is_there(modules.join("@node-saml/node-saml").exists(), "@node-saml/node-saml") {
            return None;
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/node_saml.cjs");
        let mut child =
            Command::new("node").arg(script).env("NODE_PATH", modules).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        Some(Self { to: child.stdin.take().unwrap(), from: BufReader::new(child.stdout.take().unwrap()), child })
    }

    fn ask(&mut self, job: Value) -> Value {
        writeln!(self.to, "{job}").unwrap();
        let mut line = String::new();
        self.from.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap();
        assert!(answer["error"].is_null(), "{answer}");
        answer
    }
}

impl Drop for NodeSaml {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn node_saml_signs_in_and_out() {
    let Some(mut peer) = NodeSaml::start() else { return };
    let (key, cert) = (recorded("sp-rsa2048.key"), recorded("sp-rsa2048.crt"));
    let open = |idp: &str, sso: &str, slo: &str, unsolicited: bool| json!({"do": "open", "unsolicited": unsolicited, "sp": SP, "acs": ACS, "key": key, "cert": cert, "idp": idp, "sso": sso, "slo": slo, "idpCert": recorded("idp-rsa2048.crt")});
    let own = peer.ask(open("https://idp.example.org", "https://idp.example.org/sso", "https://idp.example.org/slo", false));
    // Its metadata name no address for logouts; its logout still works, and ends on our page.
    let gateway = house_for(own["metadata"].as_str().unwrap(), "");
    let (_, entity) = metadata_of(&gateway);
    let role = entity.idp.as_ref().unwrap();
    peer.ask(open(&entity.entity_id, &role.sso[0].location, &role.slo[0].location, false));
    let url = peer.ask(json!({"do": "request", "state": "here"}))["url"].as_str().unwrap().to_owned();
    let mut browser = gateway.browser();
    let page = sign_in(&mut browser, &url, "ada", PASSWORD);
    let fields = posted(&page);
    assert_eq!(fields["RelayState"], "here");
    let read = peer.ask(json!({"do": "response", "message": fields["SAMLResponse"]}));
    assert_eq!((read["profile"]["uid"].as_str(), &read["profile"]["groups"]), (Some("ada"), &json!(["admins", "staff"])), "{read}");
    let url = peer.ask(json!({"do": "logout", "profile": read["profile"], "state": "out"}))["url"].as_str().unwrap().to_owned();
    let out = browser.visit(&url);
    assert!(out.status == 200 && out.body.contains("You are signed out"), "{out:?}");
    assert!(browser.visit(&format!("http://{PORTAL}/")).body.contains("<h1>Sign in</h1>"));
    // Begun here, which it takes where it is told to.
    peer.ask(open(&entity.entity_id, &role.sso[0].location, &role.slo[0].location, true));
    let page = sign_in(&mut browser, &format!("http://{PORTAL}/saml/idp/start/peer"), "ada", PASSWORD);
    let read = peer.ask(json!({"do": "response", "message": posted(&page)["SAMLResponse"]}));
    assert_eq!(read["profile"]["uid"], "ada", "{read}");
    passed("@node-saml/node-saml", "5.1.0", "service provider", &["login begun at either side, encrypted", "logout begun there"]);
}

/// An Apache that protects `/secure`, on a free port of `sp.localhost`, with what it started beside it.
pub struct Apache {
    pub scratch: Scratch,
    pub port: u16,
    children: Vec<Child>,
}

impl Apache {
    pub fn new() -> Self {
        let scratch = Scratch::new();
        for folder in ["www/secure", "run"] {
            std::fs::create_dir_all(scratch.path().join(folder)).unwrap();
        }
        // It gives up its rights, and still has to write there.
        std::fs::set_permissions(scratch.path().join("run"), std::fs::Permissions::from_mode(0o777)).unwrap();
        scratch.write("www/secure/index.html", "<h1>inside the peer</h1>");
        scratch.write("www/index.html", "<h1>outside</h1>");
        scratch.write("sp.key", &recorded("sp-rsa2048.key"));
        scratch.write("sp.crt", &recorded("sp-rsa2048.crt"));
        Self { scratch, port: free_port(), children: Vec::new() }
    }

    pub fn origin(&self) -> String {
        format!("http://sp.localhost:{}", self.port)
    }

    fn run(&mut self, program: &str, arguments: &[&str]) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.scratch.path().join("log")).unwrap();
        let mut command = Command::new(program);
        // Apache ends its whole process group with itself.
        command.process_group(0);
        command.args(arguments).env("TZ", "UTC").stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.children.push(command.spawn().unwrap());
    }

    /// Starts Apache with a module and what it says about it, and waits until it answers.
    fn serve(&mut self, module: &str, more: &str) {
        let dir = self.scratch.path().display().to_string();
        let origin = self.origin();
        let config = format!(
            "ServerRoot {dir}\nListen 127.0.0.1:{}\nServerName {origin}\nUseCanonicalName On\nPidFile {dir}/run/httpd.pid\nErrorLog {dir}/log\n\
             LoadModule mpm_prefork_module /usr/lib/apache2/modules/mod_mpm_prefork.so\n\
             LoadModule authn_core_module /usr/lib/apache2/modules/mod_authn_core.so\n\
             LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so\n\
             LoadModule authz_user_module /usr/lib/apache2/modules/mod_authz_user.so\n\
             LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so\nLoadModule mime_module /usr/lib/apache2/modules/mod_mime.so\n\
             TypesConfig /etc/mime.types\n{module}\nUser www-data\nGroup www-data\nDirectoryIndex index.html\nDocumentRoot {dir}/www\n{more}\n",
            self.port
        );
        let path = self.scratch.write("httpd.conf", &config);
        self.run("apache2", &["-f", path.to_str().unwrap(), "-DFOREGROUND"]);
        for _ in 0..600 {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("Apache does not answer: {}", self.log());
    }

    pub fn stop(&mut self) {
        for mut child in self.children.drain(..).rev() {
            let _ = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
            let _ = child.wait();
        }
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    pub fn fetch(&self, target: &str) -> String {
        let octets = get(target).octets(&format!("sp.localhost:{}", self.port));
        let answer = exchange(SocketAddr::from(([127, 0, 0, 1], self.port)), &octets);
        assert_eq!(answer.status, 200, "{answer:?} {}", self.log());
        answer.body
    }

    /// All steps of the browser.
    fn is_used_with(&self, gateway: &Gateway, logout: &str) {
        let mut command = Command::new("node");
        command
            .arg("saml.cjs")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser"))
            .env("VESTIBULE_PORTAL", format!("http://{PORTAL}:{}", gateway.address.port()))
            .env("VESTIBULE_PAGE", format!("{}/secure/", self.origin()))
            .env("VESTIBULE_LOGOUT", format!("{}{logout}", self.origin()))
            .env("VESTIBULE_USER", "ada")
            .env("VESTIBULE_PASSWORD", PASSWORD);
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{said}");
        assert!(output.status.success() && said.matches("ok   ").count() == 5, "{said}\n{}\n{}", self.log(), gateway.log());
    }
}

impl Drop for Apache {
    fn drop(&mut self) {
        self.stop();
    }
}

fn modules(module: &str) -> bool {
    let there = |path: &str| std::path::Path::new(path).exists();
    is_there(there("/usr/sbin/apache2") && there(module), module) && !crate::browser::is_missing()
}

#[test]
fn shibboleth_signs_in_and_out_in_a_browser() {
    if !modules("/usr/lib/apache2/modules/mod_shib.so") {
        return;
    }
    let mut apache = Apache::new();
    let origin = apache.origin();
    let start = |apache: &mut Apache, idp: &str| {
        shibd(apache, &format!("<SSO entityID=\"{idp}\">SAML2</SSO><Logout>SAML2 Local</Logout>"));
    };
    // Its metadata are its own; it makes them before it knows us.
    apache.scratch.write("idp.xml", &house_metadata());
    start(&mut apache, "https://idp.example.org");
    let own = apache.fetch("/Shibboleth.sso/Metadata");
    apache.stop();
    let gateway = house_for(&own, &format!("relay_state = \"{origin}/secure/\"\n"));
    let (idp, entity) = metadata_of(&gateway);
    apache.scratch.write("idp.xml", &idp);
    start(&mut apache, &entity.entity_id);
    apache.is_used_with(&gateway, "/Shibboleth.sso/Logout");
    passed("Shibboleth SP", &debian("libapache2-mod-shib"), "service provider", &IN_A_BROWSER);
}

/// Starts Shibboleth's service provider with these handlers, and Apache before it. Its identity providers stand in `idp.xml`.
pub fn shibd(apache: &mut Apache, handlers: &str) {
    let dir = apache.scratch.path().display().to_string();
    let origin = apache.origin();
    apache.scratch.write(
        "shibboleth2.xml",
        &format!(
            "<SPConfig xmlns=\"urn:mace:shibboleth:3.0:native:sp:config\" clockSkew=\"60\"><OutOfProcess logger=\"/etc/shibboleth/console.logger\"/>\
             <UnixListener address=\"{dir}/run/shibd.sock\"/><ApplicationDefaults entityID=\"{origin}/shibboleth\" REMOTE_USER=\"persistent-id\" signing=\"true\" encryption=\"false\" requireConfidentiality=\"false\" requireTransportAuth=\"false\" signingAlg=\"http://www.w3.org/2001/04/xmldsig-more#rsa-sha256\" digestAlg=\"http://www.w3.org/2001/04/xmlenc#sha256\">\
             <Sessions lifetime=\"28800\" timeout=\"3600\" checkAddress=\"false\" handlerSSL=\"false\" cookieProps=\"http\" handlerURL=\"/Shibboleth.sso\" redirectLimit=\"exact\">\
             {handlers}<Handler type=\"MetadataGenerator\" Location=\"/Metadata\" signing=\"false\"/>\
             </Sessions><Errors/><MetadataProvider type=\"XML\" validate=\"false\" path=\"{dir}/idp.xml\"/>\
             <AttributeExtractor type=\"XML\" validate=\"false\" path=\"/etc/shibboleth/attribute-map.xml\"/>\
             <AttributeFilter type=\"XML\" validate=\"false\" path=\"/etc/shibboleth/attribute-policy.xml\"/>\
             <CredentialResolver type=\"File\" key=\"{dir}/sp.key\" certificate=\"{dir}/sp.crt\"/></ApplicationDefaults>\
             <SecurityPolicyProvider type=\"XML\" validate=\"false\" path=\"/etc/shibboleth/security-policy.xml\"/>\
             <ProtocolProvider type=\"XML\" validate=\"false\" reloadChanges=\"false\" path=\"/etc/shibboleth/protocols.xml\"/></SPConfig>"
        ),
    );
    let socket = apache.scratch.path().join("run/shibd.sock");
    let _ = std::fs::remove_file(&socket);
    apache.run("shibd", &["-F", "-f", "-c", &format!("{dir}/shibboleth2.xml"), "-p", &format!("{dir}/run/shibd.pid")]);
    for _ in 0..600 {
        if socket.exists() {
            break;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    std::fs::set_permissions(&socket, std::fs::Permissions::from_mode(0o777)).unwrap_or_else(|why| panic!("{why}: {}", apache.log()));
    apache.serve(
        "LoadModule mod_shib /usr/lib/apache2/modules/mod_shib.so",
        &format!(
            "ShibConfig {dir}/shibboleth2.xml\n<Location /secure>\nAuthType shibboleth\nShibRequestSetting requireSession true\nRequire shib-session\n</Location>"
        ),
    );
}

/// Some identity provider's metadata.
pub fn house_metadata() -> String {
    std::fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/metadata/idp.xml")).unwrap()
}

#[test]
fn mellon_signs_in_and_out_in_a_browser() {
    if !modules("/usr/lib/apache2/modules/mod_auth_mellon.so") {
        return;
    }
    let mut apache = Apache::new();
    let dir = apache.scratch.path().display().to_string();
    let origin = apache.origin();
    let made = Command::new("mellon_create_metadata")
        .args([&format!("{origin}/sp"), &format!("{origin}/mellon")])
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let file = |end: &str| {
        let found = std::fs::read_dir(&dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.extension().is_some_and(|own| own == end) && !path.ends_with(format!("sp.{end}")));
        found.unwrap_or_else(|| panic!("mellon made no .{end}"))
    };
    let (metadata, key, certificate) = (file("xml"), file("key"), file("cert"));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let gateway = house_for(&std::fs::read_to_string(&metadata).unwrap(), &format!("relay_state = \"{origin}/secure/\"\n"));
    apache.scratch.write("idp.xml", &metadata_of(&gateway).0);
    apache.serve(
        // Without TLS, Chromium keeps none of the cookies that mellon marks as cross-site ones.
        "LoadModule auth_mellon_module /usr/lib/apache2/modules/mod_auth_mellon.so\nLoadModule setenvif_module /usr/lib/apache2/modules/mod_setenvif.so\nSetEnvIf Request_URI . MELLON_DISABLE_SAMESITE=1",
        &format!(
            "<Location />\nMellonEnable info\nMellonEndpointPath /mellon\nMellonSPMetadataFile {}\nMellonSPPrivateKeyFile {}\nMellonSPCertFile {}\n\
             MellonIdPMetadataFile {dir}/idp.xml\nMellonSecureCookie Off\n</Location>\n<Location /secure>\nMellonEnable auth\nAuthType Mellon\nRequire valid-user\n</Location>",
            metadata.display(),
            key.display(),
            certificate.display()
        ),
    );
    apache.is_used_with(&gateway, "/mellon/logout?ReturnTo=/");
    passed("mod_auth_mellon", &debian("libapache2-mod-auth-mellon"), "service provider", &IN_A_BROWSER);
}

/// A service provider whose metadata are not known yet.
const SOMEBODY: &str = r#"<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="https://sp.example.org"><md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol"><md:AssertionConsumerService index="0" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://sp.example.org/acs"/></md:SPSSODescriptor></md:EntityDescriptor>"#;

/// Keycloak lets its users in by us: it is the service provider, and the identity provider of others.
#[test]
fn keycloak_brokers_our_logins_in_a_browser() {
    if crate::browser::is_missing() {
        return;
    }
    let Some(peer) = Keycloak::start() else { return };
    // It describes itself once it knows us, and we are known once we stand.
    let gateway = house_for(SOMEBODY, "");
    let (metadata, _) = metadata_of(&gateway);
    peer.meets_idp("vestibule", &metadata, &json!({"wantAuthnRequestsSigned": "true", "validateSignature": "true"}));
    let read = gateway.log().matches("the configuration was read again").count();
    gateway.scratch.write("peer.xml", &peer.fetch("/broker/vestibule/endpoint/descriptor"));
    crate::lifecycle::wait_for(|| gateway.log().matches("the configuration was read again").count() > read);
    let output = Command::new("node")
        .arg("broker.cjs")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser"))
        .env("VESTIBULE_PORTAL", format!("http://{PORTAL}:{}", gateway.address.port()))
        .env("VESTIBULE_REALM", format!("{}/realms/lab", peer.origin()))
        .env("VESTIBULE_USER", "ada")
        .env("VESTIBULE_PASSWORD", PASSWORD)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success() && said.matches("ok   ").count() == 2, "{said}\n{}\n{}", gateway.log(), peer.log());
    passed("Keycloak", keycloak::VERSION, "service provider, as a broker", &["login and logout begun there, requests signed"]);
}
