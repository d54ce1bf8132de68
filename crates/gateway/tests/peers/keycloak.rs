//! Keycloak, its Quarkus distribution as Maven Central has it, on loopback, with a database in memory. Takes half a minute to start.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::peers::is_there;
use crate::support::{Scratch, free_port};

/// The release that `.ci/run` installs: of those that run on Java 17 a late one.
pub const VERSION: &str = "24.0.5";
/// Its administrator's password, of a server that lives for one test.
const ADMIN: &str = "of a test and nothing else";

/// A running one, with a realm `lab` and a user `alice`, whose password is `wonderland`.
#[derive(Debug)]
pub struct Keycloak {
    server: Child,
    scratch: Scratch,
    port: u16,
    token: String,
}

impl Keycloak {
    /// Starts one; `None`, with a word, where it is not installed.
    pub fn start() -> Option<Self> {
        let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
        let program = home.join(format!(".cache/vestibule/peers/keycloak-{VERSION}/bin/kc.sh"));
        if !is_there(program.exists() && std::path::Path::new("/usr/bin/java").exists(), "Keycloak") {
            return None;
        }
        let (scratch, port) = (Scratch::new(), free_port());
        // Names below localhost are this machine (RFC 6761); Java asks a resolver, or this file and nobody else.
        let name = std::fs::read_to_string("/etc/hostname").unwrap_or_default();
        let names = ["localhost", "idp.localhost", "login.north.localhost", "app.north.localhost", name.trim()];
        let hosts: String = names.iter().filter(|name| !name.is_empty()).map(|name| format!("127.0.0.1 {name}\n")).collect();
        let hosts = scratch.write("hosts", &hosts);
        let log = std::fs::File::create(scratch.path().join("log")).unwrap();
        let server = Command::new(program)
            .args(["start", "--optimized", "--http-enabled=true", "--http-host=127.0.0.1", "--hostname-strict=false"])
            .args([format!("--http-port={port}"), format!("--hostname-url=http://idp.localhost:{port}")])
            .env("KEYCLOAK_ADMIN", "admin")
            .env("KEYCLOAK_ADMIN_PASSWORD", ADMIN)
            .env("JAVA_OPTS_APPEND", format!("-Xmx512m -XX:TieredStopAtLevel=1 -Djdk.net.hosts.file={}", hosts.display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let mut keycloak = Self { server, scratch, port, token: String::new() };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        for _ in 0..240 {
            if TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(500));
        }
        let form = format!("client_id=admin-cli&grant_type=password&username=admin&password={}", ADMIN.replace(' ', "+"));
        let answer = keycloak.curl("/realms/master/protocol/openid-connect/token", &["-d", &form]);
        answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer} {}", keycloak.log())).clone_into(&mut keycloak.token);
        let alice = json!({
            "username": "alice", "enabled": true, "email": "alice@example.org", "firstName": "Alice", "lastName": "Lidell",
            "credentials": [{"type": "password", "value": "wonderland"}],
        });
        keycloak.post("/admin/realms", &json!({"realm": "lab", "enabled": true, "sslRequired": "none", "users": [alice]}));
        Some(keycloak)
    }

    /// The origin of its pages.
    pub fn origin(&self) -> String {
        format!("http://idp.localhost:{}", self.port)
    }

    /// What an address of its realm answers.
    pub fn fetch(&self, page: &str) -> String {
        let output = Command::new("curl").args(["-s", &format!("http://127.0.0.1:{}/realms/lab{page}", self.port)]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Takes the metadata of a service provider as Keycloak reads them, with `more` attributes of the client.
    pub fn meets_sp(&self, metadata: &str, more: &Value) {
        let file = self.scratch.write("sp.xml", metadata);
        let text = format!("@{}", file.display());
        let arguments = ["-H", "Content-Type: application/xml", "--data-binary", &text];
        let mut client = self.curl("/admin/realms/lab/client-description-converter", &arguments);
        assert!(client["clientId"].is_string(), "{client}");
        for (name, value) in more.as_object().unwrap() {
            client["attributes"][name] = value.clone();
        }
        let mapper =
            |name: &str, kind: &str, config: Value| json!({"name": name, "protocol": "saml", "protocolMapper": kind, "config": config});
        client["protocolMappers"] = json!([
            mapper(
                "uid",
                "saml-user-property-mapper",
                json!({"user.attribute": "username", "attribute.name": "uid", "attribute.nameformat": "Basic"})
            ),
            mapper(
                "groups",
                "saml-hardcode-attribute-mapper",
                json!({"attribute.name": "groups", "attribute.value": "staff", "attribute.nameformat": "Basic"})
            ),
        ]);
        client["frontchannelLogout"] = json!(true);
        self.post("/admin/realms/lab/clients", &client);
    }

    /// Takes the metadata of an identity provider, whose users may then sign in here through `alias`.
    pub fn meets_idp(&self, alias: &str, metadata: &str, more: &Value) {
        let file = self.scratch.write("idp.xml", metadata);
        let arguments = ["-F", "providerId=saml", "-F", &format!("file=@{}", file.display())];
        let mut config = self.curl("/admin/realms/lab/identity-provider/import-config", &arguments);
        assert!(config["singleSignOnServiceUrl"].is_string(), "{config}");
        for (name, value) in more.as_object().unwrap() {
            config[name] = value.clone();
        }
        self.post(
            "/admin/realms/lab/identity-provider/instances",
            &json!({"alias": alias, "displayName": "Vestibule", "providerId": "saml", "enabled": true, "trustEmail": true,
                "firstBrokerLoginFlowAlias": "first broker login", "config": config}),
        );
    }

    /// Takes a relying party, whose users all come with the group `staff`.
    pub fn meets_oidc(&self, portal: &str, name: &str, secret: &str) {
        let mapper = json!({
            "name": "groups", "protocol": "openid-connect", "protocolMapper": "oidc-hardcoded-claim-mapper",
            "config": {
                "claim.name": "groups", "claim.value": "staff", "jsonType.label": "String", "id.token.claim": "true",
                "userinfo.token.claim": "true",
            },
        });
        self.post(
            "/admin/realms/lab/clients",
            &json!({
                "clientId": name, "secret": secret, "protocol": "openid-connect", "publicClient": false, "standardFlowEnabled": true,
                "directAccessGrantsEnabled": false, "redirectUris": [format!("{portal}/oidc/rp/callback/{name}")],
                "protocolMappers": [mapper],
                "attributes": {
                    "post.logout.redirect.uris": format!("{portal}/logout"),
                    "backchannel.logout.url": format!("{portal}/oidc/rp/logout/{name}"),
                    "backchannel.logout.session.required": "true", "pkce.code.challenge.method": "S256",
                },
            }),
        );
    }

    /// Changes the one user.
    pub fn change_alice(&self, change: &Value) {
        let found = self.curl("/admin/realms/lab/users?username=alice", &[]);
        let id = found[0]["id"].as_str().unwrap_or_else(|| panic!("{found}"));
        let file = self.scratch.write("body.json", &change.to_string());
        let body = format!("@{}", file.display());
        let answer = self
            .curl(&format!("/admin/realms/lab/users/{id}"), &["-X", "PUT", "-H", "Content-Type: application/json", "--data-binary", &body]);
        assert!(answer.is_null(), "{answer}");
    }

    /// Asks its interface for administrators for something.
    pub fn post(&self, path: &str, body: &Value) {
        let file = self.scratch.write("body.json", &body.to_string());
        let answer = self.curl(path, &["-H", "Content-Type: application/json", "--data-binary", &format!("@{}", file.display())]);
        assert!(answer.is_null(), "{path}: {answer}");
    }

    fn curl(&self, path: &str, arguments: &[&str]) -> Value {
        let mut command = Command::new("curl");
        if !self.token.is_empty() {
            command.args(["-H", &format!("Authorization: Bearer {}", self.token)]);
        }
        let output = command.args(["-s"]).args(arguments).arg(format!("http://127.0.0.1:{}{path}", self.port)).output().unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// What it wrote down, for a test that failed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Keycloak {
    fn drop(&mut self) {
        // The script's Java is of its own group.
        let _ = Command::new("kill").args(["--", &format!("-{}", self.server.id())]).status();
        let _ = self.server.wait();
    }
}
