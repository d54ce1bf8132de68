//! A certified OpenID provider, npm's oidc-provider, and a real browser.
//!
//! SKIPPED where Node, oidc-provider or Chromium is missing, unless `VESTIBULE_PEERS=required`.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use super::{CONFIG, PORTAL};
use crate::peers::{is_there, wait_for};
use crate::support::{Gateway, exchange, free_port, get};

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
        let files =
            [("secret", "the secret of the tests: 100 % + / & ="), ("client.key", &rcgen::KeyPair::generate().unwrap().serialize_pem())];
        let gateway = Gateway::with_files(&config, &files).with_users();
        let Some(peer) = Peer::start(port, gateway.public) else { return };
        walk(&gateway, &issuer, "oidc-provider", ("ada", "any"));
        drop(peer);
        let ended = gateway.audit().into_iter().filter(|record| record["reason"] == "single_logout").count();
        assert!(ended >= 1, "the provider said so behind the browser's back");
        assert_eq!(exchange(gateway.address, &get("/oidc/rp/jwks").octets(PORTAL)).status, 200);
    }
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
