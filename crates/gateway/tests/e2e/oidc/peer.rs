//! A certified OpenID provider, npm's oidc-provider, and Keycloak; and a real browser.
//!
//! SKIPPED where Node, oidc-provider, Java, Keycloak or Chromium is missing, unless `VESTIBULE_PEERS=required`.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{CONFIG, PORTAL};
use crate::interop::passed;
use crate::keycloak::{self, Keycloak};
use crate::peers::{is_there, wait_for};
use crate::support::{Browser, Gateway, exchange, free_port, get, hidden_fields};

/// The release that `.ci/run` installs.
const OIDC_PROVIDER: &str = "9.13.3";
const SECRET: &str = "the secret of the tests: 100 % + / & =";
/// A session that is asked about again at once, and says where its user works.
const EAGER: &str = "refresh = \"1s\"\non_outage = \"stop\"";
const DEPARTMENT: &str = "[inject.headers]\ntype = \"headers\"\n\
    map = { X-Vestibule-User = \"user\", X-Department = \"attribute:department\" }";

/// The provider's process.
pub struct Peer {
    child: Child,
    pub port: u16,
}

impl Peer {
    /// Starts one that knows the gateway whose public names have this port. It answers when this returns.
    pub fn start(port: u16, portal: u16) -> Option<Self> {
        let modules = std::env::var_os("NODE_PATH").map(PathBuf::from);
        let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/vestibule/peers/node_modules"));
        let modules = modules.or_else(usual).unwrap_or_default();
        if !is_there(modules.join("oidc-provider").exists(), "oidc-provider") {
            return None;
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/oidc_provider.mjs");
        let child = Command::new("node")
            .arg(script)
            .env("VESTIBULE_MODULES", modules)
            .env("VESTIBULE_PORTAL", format!("http://{PORTAL}:{portal}"))
            .env("VESTIBULE_PORT", port.to_string())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let peer = Self { child, port };
        wait_for("oidc-provider", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(peer)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_certified_provider_signs_a_real_browser_in_and_out() {
    if crate::browser::is_missing() {
        return;
    }
    // With a secret in a header, signed by RSA; and with a signature of ours, signed by an elliptic curve.
    for (name, how) in [
        ("secret", "client_secret = { file = \"secret\" }\nsubject = \"preferred_username\""),
        (
            "key",
            "client_authentication = \"private-key-jwt\"\nclient_key = { file = \"client.key\" }\nalgorithms = \"ES256\"\n\
             subject = \"email\"\nsuffix = \"@north.example\"",
        ),
    ] {
        let port = free_port();
        let issuer = format!("http://op.localhost:{port}");
        let config = format!(
            "{}\n[openid_provider.{name}]\nissuer = \"{issuer}\"\nclient_id = \"{name}\"\nusers = \"name\"\n{how}\n",
            CONFIG.replace("{{names}}", &format!("\"{name}\""))
        );
        let files = [("secret", SECRET), ("client.key", &rcgen::KeyPair::generate().unwrap().serialize_pem())];
        let gateway = Gateway::with_files(&config, &files).with_users();
        let Some(peer) = Peer::start(port, gateway.public) else { return };
        walk(&gateway, &issuer, "oidc-provider", ("ada", "any"));
        drop(peer);
        let ended = gateway.audit().into_iter().filter(|record| record["reason"] == "single_logout").count();
        assert!(ended >= 1, "the provider said so behind the browser's back");
        assert_eq!(exchange(gateway.address, &get("/oidc/rp/jwks").octets(PORTAL)).status, 200);
    }
    passed("oidc-provider", OIDC_PROVIDER, "OpenID provider", &["login and logout begun at either side, in a browser"]);
}

#[test]
fn keycloak_signs_a_real_browser_in_and_out() {
    if crate::browser::is_missing() {
        return;
    }
    let Some(peer) = Keycloak::start() else { return };
    let gateway = beside_keycloak(&peer, "");
    walk(&gateway, &format!("{}/realms/lab", peer.origin()), "keycloak", ("alice", "wonderland"));
    wait_for("back-channel logout", || gateway.audit().into_iter().any(|record| record["reason"] == "single_logout"));
    passed("Keycloak", keycloak::VERSION, "OpenID provider", &["login and logout begun at either side, in a browser"]);
}

fn beside_keycloak(peer: &Keycloak, settings: &str) -> Gateway {
    let config = format!(
        "{}\n{DEPARTMENT}\n[openid_provider.keycloak]\nissuer = \"{}/realms/lab\"\nclient_id = \"keycloak\"\n\
         client_secret = {{ file = \"secret\" }}\nprovision = true\nname = \"preferred_username\"\ngroup_claim = \"groups\"\n\
         groups = {{ staff = \"staff\" }}\nattributes = {{ given_name = \"department\" }}\n{settings}\n",
        CONFIG.replace("{{names}}", "\"keycloak\""),
        peer.origin(),
    );
    let gateway = Gateway::with_files(&config, &[("secret", SECRET)]);
    peer.meets_oidc(&format!("http://{PORTAL}:{}", gateway.public), "keycloak", SECRET);
    gateway
}

#[test]
fn a_session_goes_on_while_a_certified_provider_stands_by_it() {
    let port = free_port();
    let issuer = format!("http://op.localhost:{port}");
    let config = format!(
        "{}\n{DEPARTMENT}\n[openid_provider.secret]\nissuer = \"{issuer}\"\nclient_id = \"secret\"\nusers = \"name\"\n\
         client_secret = {{ file = \"secret\" }}\nsubject = \"preferred_username\"\nscopes = [\"profile\", \"offline_access\"]\n\
         parameters = {{ prompt = \"consent\" }}\nattributes = {{ department = \"department\" }}\n{EAGER}\n",
        CONFIG.replace("{{names}}", "\"secret\""),
    );
    let gateway = Gateway::with_files(&config, &[("secret", SECRET)]).with_users();
    let Some(peer) = Peer::start(port, gateway.public) else { return };
    let tell = |path: &str| assert!(Command::new("curl").args(["-sf", &format!("{issuer}{path}")]).output().unwrap().status.success());
    goes_on(&gateway, "secret", ("ada", "any"), ("crew", "bridge"), || tell("/move"), || tell("/forget"));
    drop(peer);
    passed("oidc-provider", OIDC_PROVIDER, "OpenID provider", &["refresh tokens used once, a session that ends with its user there"]);
}

#[test]
fn a_session_goes_on_while_keycloak_stands_by_it() {
    let Some(peer) = Keycloak::start() else { return };
    let gateway = beside_keycloak(&peer, EAGER);
    let alice = |name: &str, enabled: bool| serde_json::json!({ "firstName": name, "lastName": "Lidell", "email": "alice@example.org", "enabled": enabled });
    let moved = || peer.change_alice(&alice("Alicia", true));
    let gone = || peer.change_alice(&alice("Alicia", false));
    goes_on(&gateway, "keycloak", ("alice", "wonderland"), ("Alice", "Alicia"), moved, gone);
    passed("Keycloak", keycloak::VERSION, "OpenID provider", &["refresh tokens, a session that ends with its user there"]);
}

/// Signs in, sees what is said of the user change within the session, and the session end with the user.
fn goes_on(gateway: &Gateway, provider: &str, user: (&str, &str), (before, after): (&str, &str), moved: impl Fn(), gone: impl Fn()) {
    let page = format!("http://app.north.localhost:{}/page", gateway.public);
    let mut browser = gateway.browser();
    let start = browser.load(&format!("http://{PORTAL}/login?idp={provider}&return_to={page}"));
    let back = sign_in_there(&format!("http://{PORTAL}:{}/", gateway.public), start.header("location").unwrap(), user);
    let arrived = browser.load(&back);
    assert_eq!(browser.visit(arrived.header("location").unwrap_or_else(|| panic!("{arrived:?}"))).status, 200);
    let department = || gateway.application.last().header("x-department").map(str::to_owned);
    assert_eq!(department().as_deref(), Some(before));
    moved();
    let see = |browser: &mut Browser<'_>| browser.load(&page).status;
    wait_for("what is said anew", || see(&mut browser) == 200 && department().as_deref() == Some(after));
    gone();
    wait_for("the end of the session", || see(&mut browser) == 303);
    let ended = || gateway.audit().into_iter().any(|record| record["event"] == "session.ended" && record["reason"] == "withdrawn");
    wait_for("its record", ended);
    assert!(!gateway.log().contains("could not be asked"), "{}", gateway.log());
}

/// Signs in at a provider as a browser without scripts would, and gives the address at which it comes back.
fn sign_in_there(portal: &str, start: &str, (user, password): (&str, &str)) -> String {
    let folder = crate::support::Scratch::new();
    let jar = folder.path().join("jar").display().to_string();
    let curl = |url: &str, fields: &[(String, String)]| {
        let mut command = Command::new("curl");
        command.args(["-s", "-b", &jar, "-c", &jar, "-w", "\n%{redirect_url}"]);
        for (name, value) in fields {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let output = command.arg(url).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let (page, onward) = said.rsplit_once('\n').unwrap();
        (page.to_owned(), onward.to_owned())
    };
    let (mut url, mut fields) = (start.to_owned(), Vec::new());
    for _ in 0..20 {
        let (page, onward) = curl(&url, &fields);
        fields.clear();
        if onward.starts_with(portal) {
            return onward;
        }
        if onward.is_empty() {
            let form = page.split_once("<form").unwrap_or_else(|| panic!("{url}: {page}")).1;
            let action = form.split_once("action=\"").unwrap().1.split_once('"').unwrap().0.replace("&amp;", "&");
            url = url::Url::parse(&url).unwrap().join(&action).unwrap().into();
            fields = hidden_fields(&page);
            for (name, value) in [("login", user), ("username", user), ("password", password)] {
                if form.contains(&format!("name=\"{name}\"")) {
                    fields.push((name.to_owned(), value.to_owned()));
                }
            }
        } else {
            url = onward;
        }
    }
    panic!("no way back: {url}")
}

/// All steps of the browser.
fn walk(gateway: &Gateway, issuer: &str, peer: &str, (user, password): (&str, &str)) {
    let mut command = Command::new("node");
    command
        .arg("oidc.cjs")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser"))
        .env("VESTIBULE_PORTAL", format!("http://{PORTAL}:{}", gateway.public))
        .env("VESTIBULE_PAGE", format!("http://app.north.localhost:{}/page", gateway.public))
        .env("VESTIBULE_ISSUER", issuer)
        .env("VESTIBULE_PEER", peer)
        .env("VESTIBULE_USER", user)
        .env("VESTIBULE_PASSWORD", password);
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success() && said.matches("ok   ").count() == 3, "{peer}: {said}\n{}", gateway.log());
}
