//! Other people's identity providers against our service provider: metadata exchanged as each writes them, with a real browser.
//!
//! Without the peers the tests say SKIPPED, or fail where `VESTIBULE_PEERS=required`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::interop::passed;
use crate::keycloak::{self, Keycloak};
use crate::peers::is_there;
use crate::saml_sp::{CONFIG, ORIGIN, bring, depart, follow, page, text};
use crate::simplesamlphp::{Settings, SimpleSamlPhp};
use crate::support::{Gateway, exchange, get, hidden_fields};

const PORTAL: &str = "login.north.localhost";

/// The gateway with one identity provider, `peer`, whose users get accounts.
fn house(metadata: &str, settings: &str, concessions: &[&str]) -> Gateway {
    let mut config = CONFIG.replace("{{names}}", "\"peer\"");
    config.push_str(&format!(
        "\n[identity_provider.peer]\nmetadata = \"peer.xml\"\ntitle = \"The peer\"\nprovision = true\nname = \"uid\"\n\
         group_attribute = \"groups\"\ngroups = {{ staff = \"staff\" }}\n{settings}\n"
    ));
    for what in concessions {
        config.push_str(&format!(
            "\n[[concession]]\nwhat = \"{what}\"\npartner = \"peer\"\nreason = \"what it does\"\nexpires = \"9999-12-31\"\n"
        ));
    }
    let (certificate, key) = (text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"));
    Gateway::with_files(&config, &[("peer.xml", metadata), ("sp.crt", &certificate), ("sp.key", &key)])
}

/// What a person does, and how many steps that were.
struct Walk<'a> {
    idp: String,
    start: Option<String>,
    end: Option<String>,
    user: (&'a str, &'a str),
    fields: &'a str,
}

impl Walk<'_> {
    /// Does it with Chromium; `log` is what the peer says where it fails.
    fn done_with(&self, gateway: &Gateway, log: impl Fn() -> String) {
        let mut command = Command::new("node");
        command
            .arg("idp.cjs")
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser"))
            .env("VESTIBULE_PORTAL", format!("http://{PORTAL}:{}", gateway.public))
            .env("VESTIBULE_PAGE", format!("http://app.north.localhost:{}/page?x=1", gateway.public))
            .env("VESTIBULE_IDP", &self.idp)
            .env("VESTIBULE_USER", self.user.0)
            .env("VESTIBULE_PASSWORD", self.user.1)
            .env("VESTIBULE_FIELDS", self.fields)
            .envs(self.start.iter().map(|url| ("VESTIBULE_START", url)))
            .envs(self.end.iter().map(|url| ("VESTIBULE_END", url)));
        let output = command.output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        println!("{said}");
        let steps = 2 + usize::from(self.start.is_some()) + usize::from(self.end.is_some());
        let audit: Vec<_> = gateway.audit().into_iter().filter(|record| record["event"] == "message.refused").collect();
        let went = output.status.success() && said.matches("ok   ").count() == steps;
        assert!(went, "{said}\n{audit:#?}\n{}\n{}", gateway.log(), log());
    }
}

#[test]
fn simplesamlphp_signs_in_and_out_in_a_browser() {
    if crate::browser::is_missing() {
        return;
    }
    let (key, certificate) = (text("keys/idp-rsa2048.key"), text("keys/idp-rsa2048.crt"));
    let name_id = "name_id_format = \"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\"";
    for (idp, settings, concessions, unsolicited, flows) in [
        (
            "",
            "",
            &[][..],
            true,
            &["login begun at either side, assertion signed, by redirect and form", "single logout begun at either side"][..],
        ),
        (
            "'saml20.sign.response' => true, 'assertion.encryption' => true,",
            "binding = \"post\"\nsigned = \"response\"",
            &["saml-cbc"],
            false,
            &["assertion encrypted by AES-CBC (conceded), response signed, request by form"],
        ),
        ("'saml20.sendartifact' => true,", "answers = \"artifact\"", &[], false, &["answer by artifact, resolved by SOAP"]),
    ] {
        let Some(peer) = SimpleSamlPhp::start(&key, &certificate, Settings { idp, ..Settings::default() }) else { return };
        let page = get("/simplesaml/saml2/idp/metadata.php").octets(peer.origin().trim_start_matches("http://"));
        let metadata = exchange(peer.address(), &page);
        assert_eq!(metadata.status, 200, "{metadata:?} {}", peer.log());
        let begins = if unsolicited { format!("unsolicited = true\norigins = [\"{}\"]", peer.origin()) } else { String::new() };
        let gateway = house(&metadata.body, &format!("{name_id}\n{settings}\n{begins}"), concessions);
        let ours = gateway.send_to(PORTAL, &get("/saml/sp/metadata")).body;
        peer.meets(&ours);
        let entity_id = format!("http%3A%2F%2F{PORTAL}%3A{}%2Fsaml%2Fsp%2Fmetadata", gateway.public);
        let walk = Walk {
            idp: peer.origin(),
            start: unsolicited.then(|| peer.at(&format!("saml2/idp/SSOService.php?spentityid={entity_id}"))),
            end: unsolicited.then(|| peer.at(&format!("saml2/idp/SingleLogoutService.php?ReturnTo={}", peer.at("logout.php")))),
            user: ("alice", "wonderland"),
            fields: "#username,#password,#submit_button",
        };
        walk.done_with(&gateway, || peer.log());
        passed("SimpleSAMLphp", &peer.version(), "identity provider", flows);
    }
}

/// What samlify, in a process for each job, makes of it.
fn samlify(modules: &Path, mut job: Value) -> Value {
    job["entity_id"] = json!(format!("{ORIGIN}/samlify"));
    job["sso"] = json!(format!("{ORIGIN}/samlify/sso"));
    job["slo"] = json!(format!("{ORIGIN}/samlify/slo"));
    job["key"] = json!(text("keys/idp-rsa2048.key"));
    job["cert"] = json!(text("keys/idp-rsa2048.crt"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/samlify_idp.cjs");
    let mut command = Command::new("node");
    command.arg(script).env("NODE_PATH", modules).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn samlify_signs_in_and_out() {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let modules = std::env::var_os("NODE_PATH").map_or_else(|| home.join(".cache/vestibule/peers/node_modules"), PathBuf::from);
    if !is_there(modules.join("samlify").exists(), "samlify") {
        return;
    }
    let metadata = samlify(&modules, json!({"do": "metadata"}));
    let settings = format!("unsolicited = true\norigins = [\"{ORIGIN}\"]");
    let gateway = house(metadata["metadata"].as_str().unwrap(), &settings, &[]);
    let ours = gateway.send_to(PORTAL, &get("/saml/sp/metadata")).body;
    let portal = format!("http://{PORTAL}:{}/", gateway.public);
    for encrypt in [false, true] {
        let mut browser = gateway.browser();
        let away = depart(&mut browser, &page(&gateway, "/page"));
        let answer = samlify(&modules, json!({"do": "answer", "sp_metadata": ours, "url": away, "user": "alice", "encrypt": encrypt}));
        let arrived = bring(&mut browser, &answer);
        assert_eq!(follow(&mut browser, &arrived).status, 200, "{:?}", gateway.audit_of(&arrived));
        assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("alice"));
        // It ends the login.
        let over = samlify(&modules, json!({"do": "logout", "sp_metadata": ours, "user": "alice"}));
        let answered = browser.load(over["url"].as_str().unwrap());
        let location = answered.header("location").unwrap_or_else(|| panic!("{:?}", gateway.audit_of(&answered))).to_owned();
        let read = samlify(&modules, json!({"do": "logout_end", "sp_metadata": ours, "url": location}));
        assert_eq!(read["in_response_to"], over["id"], "{read}");
        assert_eq!(browser.load(&page(&gateway, "/page")).status, 303, "signed out");

        // It begins one, and we end that.
        let answer = samlify(&modules, json!({"do": "answer", "sp_metadata": ours, "user": "alice", "encrypt": encrypt}));
        let arrived = bring(&mut browser, &answer);
        assert_eq!(follow(&mut browser, &arrived).status, 200, "{:?}", gateway.audit_of(&arrived));
        let asked = browser.load(&format!("{portal}logout"));
        let hidden = hidden_fields(&asked.body);
        let hidden: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let onward = browser.post(PORTAL, "/logout", &hidden);
        let leaving = browser.visit(onward.header("location").unwrap_or_else(|| panic!("{onward:?}")));
        let url = leaving.header("refresh").and_then(|value| value.strip_prefix("0; url=")).unwrap_or_else(|| panic!("{leaving:?}"));
        let told = samlify(&modules, json!({"do": "logout_answer", "sp_metadata": ours, "url": url}));
        assert_eq!(told["name"], "alice");
        let end = browser.load(told["url"].as_str().unwrap());
        assert!(end.status == 200 && end.body.contains("The peer</span><span class=\"outcome\">Signed out"), "{end:?}");
    }
    passed(
        "samlify",
        "2.13.1",
        "identity provider",
        &["login begun at either side, request signed, assertion encrypted by AES-GCM", "single logout begun at either side"],
    );
}

#[test]
fn keycloak_signs_in_and_out_in_a_browser() {
    if crate::browser::is_missing() {
        return;
    }
    let Some(peer) = Keycloak::start() else { return };
    let metadata = peer.fetch("/protocol/saml/descriptor");
    // It encrypts by AES-CBC unless told otherwise.
    let settings = format!(
        "name_id_format = \"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\"\nunsolicited = true\norigins = [\"{}\"]",
        peer.origin()
    );
    let gateway = house(&metadata, &settings, &["saml-cbc"]);
    let ours = gateway.send_to(PORTAL, &get("/saml/sp/metadata")).body;
    peer.meets_sp(&ours, &json!({"saml_idp_initiated_sso_url_name": "north", "saml.force.post.binding": "true"}));
    let walk = Walk {
        idp: peer.origin(),
        start: Some(format!("{}/realms/lab/protocol/saml/clients/north", peer.origin())),
        end: Some(format!("{}/realms/lab/protocol/openid-connect/logout", peer.origin())),
        user: ("alice", "wonderland"),
        fields: "#username,#password,#kc-login",
    };
    walk.done_with(&gateway, || peer.log());
    passed(
        "Keycloak",
        keycloak::VERSION,
        "identity provider",
        &["login begun at either side, assertion encrypted by AES-CBC (conceded)", "single logout begun at either side"],
    );
}
