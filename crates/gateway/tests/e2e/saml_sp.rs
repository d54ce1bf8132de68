//! The tenant as a SAML service provider: the real gateway, and pysaml2 as the identity provider that reads our requests and
//! metadata and answers.
//!
//! SKIPPED where pysaml2 is missing, unless `VESTIBULE_PEERS=required`.

mod artifact;
mod channel;
mod fixtures;
mod inspect;
mod logout;
mod nodes;
mod refresh;
mod step_up;

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::interop::passed;
use crate::shown::Shown;
use crate::support::{Answer, Browser, Gateway, ask, exchange};

const PORTAL: &str = "login.north.localhost";
pub const ORIGIN: &str = "https://idp.example.org";
pub const CONFIG: &str = include_str!("saml_sp/saml.toml");

pub fn corpus(below: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded").join(below)
}

pub fn text(below: &str) -> String {
    std::fs::read_to_string(corpus(below)).unwrap()
}

fn python() -> Option<PathBuf> {
    let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/vestibule/peers/py-saml/bin/python"));
    let path = std::env::var_os("VESTIBULE_PYTHON_SAML").map(PathBuf::from).or_else(usual).filter(|path| path.exists());
    if path.is_none() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "pysaml2 is required here");
        println!("SKIPPED: pysaml2 is not installed");
    }
    path
}

/// An identity provider that pysaml2 plays.
#[derive(Debug, Clone)]
struct Peer {
    python: PathBuf,
    name: &'static str,
    key: &'static str,
    sp_metadata: Option<String>,
}

impl Peer {
    fn new(name: &'static str, key: &'static str) -> Option<Self> {
        Some(Self { python: python()?, name, key, sp_metadata: None })
    }

    fn entity_id(&self) -> String {
        format!("{ORIGIN}/{}", self.name)
    }

    fn ask(&self, mut job: Value) -> Value {
        let base = self.entity_id();
        let fixed = json!({
            "entity_id": base, "sso": format!("{base}/sso"), "slo": format!("{base}/slo"), "keys": corpus("keys"), "key": self.key,
        });
        for (name, value) in fixed.as_object().unwrap() {
            job[name] = value.clone();
        }
        if let Some(metadata) = &self.sp_metadata {
            job["sp_metadata"] = metadata.as_str().into();
        }
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/pysaml2_idp.py");
        let mut command = Command::new(&self.python);
        let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(job.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{job}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn metadata(&self) -> String {
        self.ask(json!({"do": "metadata"}))["metadata"].as_str().unwrap().to_owned()
    }

    /// Takes our metadata as the gateway prints them.
    fn meets(mut self, gateway: &Gateway) -> Self {
        let config = gateway.scratch.path().join("vestibule.toml");
        let printed = gateway.command(&["metadata", "sp", "north", "--config", config.to_str().unwrap()]);
        assert!(printed.status.success(), "{printed:?}");
        let printed = String::from_utf8(printed.stdout).unwrap();
        let served = gateway.send_to(PORTAL, &ask("GET", "/saml/sp/metadata"));
        assert_eq!((served.status, served.header("content-type")), (200, Some("application/samlmetadata+xml")));
        assert_eq!(printed.trim(), served.body.trim(), "one text, however it is asked for");
        self.sp_metadata = Some(printed);
        self
    }

    /// Answers the request in a redirect's address.
    fn answers(&self, url: &str, user: &str, more: Value) -> Value {
        let mut job = json!({"do": "answer", "url": url, "user": user});
        for (name, value) in more.as_object().into_iter().flatten() {
            job[name] = value.clone();
        }
        self.ask(job)
    }
}

/// A gateway with one identity provider, `corp`; `{{idp}}` stands for more of its settings.
fn house(peer: &Peer, settings: &str) -> Gateway {
    start(&[(peer, settings)], "")
}

/// A gateway with these identity providers.
fn start(peers: &[(&Peer, &str)], concessions: &str) -> Gateway {
    let mut config = CONFIG.to_owned();
    let names: Vec<String> = peers.iter().map(|(peer, _)| format!("\"{}\"", peer.name)).collect();
    config = config.replace("{{names}}", &names.join(", "));
    for (peer, settings) in peers {
        config.push_str(&format!("\n[identity_provider.{0}]\nmetadata = \"{0}.xml\"\n{settings}\n", peer.name));
    }
    config.push_str(concessions);
    let metadata: Vec<(String, String)> = peers.iter().map(|(peer, _)| (format!("{}.xml", peer.name), peer.metadata())).collect();
    let (certificate, key) = (text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"));
    let mut files: Vec<(&str, &str)> = metadata.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    files.extend([("sp.crt", certificate.as_str()), ("sp.key", key.as_str())]);
    Gateway::with_files(&config, &files).with_users()
}

/// Links a user to a subject of an identity provider.
fn link(gateway: &Gateway, peer: &Peer, user: &str, subject: &str) {
    let issuer = format!("saml:{}", peer.entity_id());
    let linked = gateway.command(&["user", "link", user, "--tenant", "north", "--issuer", &issuer, "--id", subject]);
    assert!(linked.status.success(), "{linked:?}");
}

/// Follows redirects from a page of an application to the identity provider, and returns the address there.
pub fn depart(browser: &mut Browser<'_>, page: &str) -> String {
    let mut answer = browser.load(page);
    for _ in 0..6 {
        let location = answer.header("location").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        if location.starts_with(ORIGIN) {
            return location;
        }
        answer = browser.load(&location);
    }
    panic!("{answer:?}");
}

/// The browser posts an answer, as a page of the identity provider makes it do.
pub fn bring(browser: &mut Browser<'_>, answer: &Value) -> Answer {
    let fields = answer["fields"].as_object().unwrap();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
    let action = url::Url::parse(answer["action"].as_str().unwrap()).unwrap();
    browser.post_from(ORIGIN, PORTAL, action.path(), &fields)
}

pub fn follow(browser: &mut Browser<'_>, answer: &Answer) -> Answer {
    assert_eq!(answer.status, 303, "{answer:?}");
    browser.visit(answer.header("location").unwrap())
}

pub fn page(gateway: &Gateway, path: &str) -> String {
    format!("http://app.north.localhost:{}{path}", gateway.public)
}

/// The reason in the audit, and what `message.refused` says.
fn reason(gateway: &Gateway, answer: &Answer) -> (Value, Value) {
    let records = gateway.audit_of(answer);
    let of = |event: &str| records.iter().find(|record| record["event"] == event).cloned().unwrap_or_default();
    (of("login.rejected")["reason"].clone(), of("message.refused"))
}

#[test]
fn somebody_signs_in_and_is_at_the_page_they_asked_for() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    let away = depart(&mut browser, &page(&gateway, "/page?x=1"));
    let answer = peer.answers(&away, "ada-at-corp", json!({}));
    assert_eq!(answer["request"]["signed"], true);
    let arrived = bring(&mut browser, &answer);
    let shown = follow(&mut browser, &arrived);
    assert_eq!(shown.status, 200, "{shown:?}");
    let received = gateway.application.last();
    assert_eq!((received.line.as_str(), received.header("x-vestibule-user")), ("GET /page?x=1 HTTP/1.1", Some("ada")));
    let records = gateway.audit_of(&arrived);
    let success = records.iter().find(|record| record["event"] == "login.succeeded").unwrap();
    assert_eq!(
        (success["scheme"].as_str(), success["realm"].as_str(), success["subject"].as_str()),
        (Some("saml"), Some("corp"), Some("ada"))
    );

    // The same form again, by the back button or a second click: the page, not an error.
    let again = bring(&mut browser, &answer);
    assert_eq!(follow(&mut browser, &again).status, 200);
    // In another browser it is nothing.
    let mut other = gateway.browser();
    let stolen = bring(&mut other, &answer);
    assert_eq!(stolen.status, 403);
    assert_eq!(reason(&gateway, &stolen).0, json!({"saml": "wrong_in_response_to"}));
    assert!(!stolen.cookies().contains_key("vestibule"));
    // The operator is told what was expected and what was found, the browser nothing.
    let explain = || gateway.command(&["explain", stolen.header("x-vestibule-id").unwrap()]);
    crate::lifecycle::wait_for(|| explain().status.success());
    let explained = String::from_utf8_lossy(&explain().stdout).into_owned();
    assert!(explained.contains("corp: ") && explained.contains("expected ") && explained.contains("found "), "{explained}");
    assert!(!stolen.body.contains("expected"), "{}", stolen.body);
    passed("pysaml2", "7.5.5", "identity provider", &["login begun here, requests signed"]);
}

/// pysaml2 encrypts by 3DES, which is a concession.
#[test]
fn an_encrypted_assertion_of_pysaml2_is_read_where_its_cipher_is_conceded() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let concession = "\n[[concession]]\nwhat = \"saml-3des\"\npartner = \"corp\"\nreason = \"what it does\"\nexpires = \"9999-12-31\"\n";
    for (concessions, status) in [("", 403), (concession, 303)] {
        let gateway = start(&[(&peer, "")], concessions);
        let peer = peer.clone().meets(&gateway);
        link(&gateway, &peer, "ada", "ada-at-corp");
        let mut browser = gateway.browser();
        let away = depart(&mut browser, &page(&gateway, "/page"));
        let answer = peer.answers(&away, "ada-at-corp", json!({"encrypt": true}));
        assert!(answer["xml"].as_str().unwrap().contains("EncryptedAssertion>"), "{answer}");
        let arrived = bring(&mut browser, &answer);
        assert_eq!(arrived.status, status, "{:?}", gateway.audit_of(&arrived));
        if status == 403 {
            assert_eq!(reason(&gateway, &arrived).0, json!({"saml": "algorithm_refused"}));
        }
    }
    passed("pysaml2", "7.5.5", "identity provider", &["assertion encrypted by 3DES (conceded)"]);
}

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut shown = Shown::on("saml.md");
    shown.know("host", &format!("app.north.localhost:{}", gateway.public));
    shown.know("portal", &format!("{PORTAL}:{}", gateway.public));
    shown.know("origin", ORIGIN);
    shown.next(|octets| exchange(gateway.address, octets));
    let away = shown.next(|octets| exchange(gateway.address, octets)).header("location").unwrap().to_owned();
    assert_eq!(shown.word("identity-provider"), peer.entity_id());
    let answer = peer.answers(&away, "ada-at-corp", json!({}));
    assert_eq!(answer["fields"]["RelayState"], shown.word("login"));
    let response = answer["fields"]["SAMLResponse"].as_str().unwrap();
    shown.know("response", &url::form_urlencoded::byte_serialize(response.as_bytes()).collect::<String>());
    shown.next(|octets| exchange(gateway.address, octets));
    shown.end();
}

#[test]
fn ten_tabs_make_one_login_and_each_finds_its_page() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    let pages: Vec<String> = (0..10).map(|tab| page(&gateway, &format!("/page?tab={tab}"))).collect();
    let away: Vec<String> = pages.iter().map(|page| depart(&mut browser, page)).collect();
    let mut session = None;
    for (tab, away) in away.iter().enumerate() {
        let answer = bring(&mut browser, &peer.answers(away, "ada-at-corp", json!({})));
        assert_eq!(follow(&mut browser, &answer).status, 200);
        assert_eq!(gateway.application.last().line, format!("GET /page?tab={tab} HTTP/1.1"));
        let held = browser.cookie(PORTAL, "vestibule");
        assert_eq!(*session.get_or_insert(held.clone()), held, "one login");
    }
    let opened = gateway.audit().into_iter().filter(|record| record["event"] == "login.succeeded").count();
    assert_eq!(opened, 1);
}

/// A login that is stronger, says something else or ends sooner is none of the ten tabs.
#[test]
fn a_login_that_says_more_or_less_takes_the_place_of_the_one_before() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let strong = "urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken";
    let gateway = house(&peer, &format!("levels = {{ \"{strong}\" = 20 }}\nattributes = {{ dept = \"department\" }}"));
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let sales = || json!({"dept": ["sales"]});
    let answers = [
        (json!({}), true),
        (json!({}), false),
        (json!({"context": strong}), true),
        (json!({}), false),
        (json!({"attributes": sales()}), true),
        (json!({"attributes": sales(), "session_seconds": 600}), true),
        (json!({"attributes": sales()}), false),
        (json!({"attributes": sales(), "session_seconds": 300}), true),
    ];
    let mut browser = gateway.browser();
    let away: Vec<String> = (0..answers.len()).map(|tab| depart(&mut browser, &page(&gateway, &format!("/page?tab={tab}")))).collect();
    let mut held = None;
    for (at, ((more, is_another), away)) in answers.into_iter().zip(away).enumerate() {
        let arrived = bring(&mut browser, &peer.answers(&away, "ada-at-corp", more));
        assert_eq!(follow(&mut browser, &arrived).status, 200);
        let now = browser.cookie(PORTAL, "vestibule");
        assert_eq!(now != held, is_another, "{at}");
        held = now;
    }
}

#[test]
fn a_browser_that_goes_round_is_told_so() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    for _ in 0..3 {
        let away = depart(&mut browser, &page(&gateway, "/page"));
        let arrived = bring(&mut browser, &peer.answers(&away, "ada-at-corp", json!({})));
        assert_eq!(arrived.status, 303);
        // The session is lost before the page is asked for again.
        browser.forget("vestibule");
    }
    let stuck = browser.visit(&page(&gateway, "/page"));
    assert_eq!(stuck.status, 409, "{stuck:?}");
    assert!(stuck.body.contains("going round in circles"));
    assert!(gateway.audit_of(&stuck).iter().any(|record| record["reason"] == "loop"));
}

#[test]
fn identity_providers_cannot_name_each_others_users_nor_anybody_they_were_not_given() {
    let (Some(corp), Some(lab)) = (Peer::new("corp", "idp-rsa2048"), Peer::new("lab", "idp-rsa4096")) else { return };
    let gateway = start(&[(&corp, "hosts = [\"app.north.localhost\"]"), (&lab, "domains = [\"lab.example\"]")], "");
    let (corp, lab) = (corp.meets(&gateway), lab.meets(&gateway));
    link(&gateway, &corp, "ada", "ada@corp.example");
    link(&gateway, &lab, "bob", "bob@lab.example");
    let shop = format!("http://shop.north.localhost:{}/page", gateway.public);

    // By host; by mail address; by choice.
    let mut browser = gateway.browser();
    assert!(depart(&mut browser, &page(&gateway, "/page")).starts_with(&corp.entity_id()));
    let choice = gateway.browser().visit(&shop);
    assert_eq!(choice.status, 200);
    assert!(choice.body.contains("idp=corp") && choice.body.contains("idp=lab") && choice.body.contains("login=true"), "{}", choice.body);
    let login = format!("http://{PORTAL}:{}/login?login_hint=bob%40LAB.example", gateway.public);
    assert!(depart(&mut gateway.browser(), &login).starts_with(&lab.entity_id()));
    let form = gateway.browser().visit(&format!("http://{PORTAL}:{}/login?login", gateway.public));
    assert!(form.body.contains("name=\"password\""), "?login opens the form");

    let mut refused = Vec::new();
    for (asked, answering, user) in [
        ("corp", &corp, "bob@lab.example"),
        ("lab", &lab, "ada@corp.example"),
        ("corp", &corp, "nobody"),
        // Another one answers what was asked of the first.
        ("corp", &lab, "bob@lab.example"),
    ] {
        let mut browser = gateway.browser();
        let away = depart(&mut browser, &format!("http://{PORTAL}:{}/login?idp={asked}", gateway.public));
        let mut answer = if answering.name == asked {
            answering.answers(&away, user, json!({}))
        } else {
            // It got hold of the request.
            let request = corp.answers(&away, "nobody", json!({}))["request"]["id"].clone();
            let base = format!("http://{PORTAL}:{}/saml/sp", gateway.public);
            let (sp, acs) = (format!("{base}/metadata"), format!("{base}/acs"));
            answering.ask(json!({"do": "unsolicited", "user": user, "sp": sp, "acs": acs, "in_response_to": request}))
        };
        answer["action"] = format!("http://{PORTAL}/saml/sp/acs").into();
        let brought = bring(&mut browser, &answer);
        assert_eq!(brought.status, 403, "{asked} {user}");
        assert!(!brought.cookies().contains_key("vestibule"));
        refused.push(reason(&gateway, &brought).0);
    }
    assert_eq!(refused, [json!("unknown_user"), json!("unknown_user"), json!("unknown_user"), json!({"saml": "wrong_in_response_to"})]);
}

#[test]
fn whoever_may_not_enter_is_refused_at_this_door_too() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let file = gateway.scratch.write("password", "long enough for root");
    let file = file.to_str().unwrap();
    let root = gateway.command(&["user", "add", "root", "--tenant", "north", "--password-file", file, "--profile", "administrator"]);
    assert!(root.status.success(), "{root:?}");
    link(&gateway, &peer, "root", "root-at-corp");
    assert!(gateway.command(&["user", "disable", "ada", "--tenant", "north"]).status.success());
    for (subject, expected) in [("ada-at-corp", "disabled"), ("root-at-corp", "subject_not_allowed")] {
        let mut browser = gateway.browser();
        let away = depart(&mut browser, &page(&gateway, "/page"));
        let brought = bring(&mut browser, &peer.answers(&away, subject, json!({})));
        assert_eq!((brought.status, reason(&gateway, &brought).0), (403, json!(expected)));
        assert!(brought.body.contains("You could not be signed in"), "one text for all");
    }
}

#[test]
fn what_the_identity_provider_says_of_somebody_becomes_their_account() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let settings = r#"
        binding = "post"
        provision = true
        name = "uid"
        email = "mail"
        group_attribute = "member"
        groups = { "cn=staff" = "staff", "cn=admins" = "admins" }
        attributes = { "dept" = "department" }
        authn_context = ["urn:oasis:names:tc:SAML:2.0:ac:classes:PasswordProtectedTransport"]
        name_id_format = "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent"
        force_authn = true
    "#;
    let gateway = house(&peer, settings);
    let peer = peer.meets(&gateway);
    let mut browser = gateway.browser();
    let arrive = |browser: &mut Browser<'_>, attributes: Value, more: Value| {
        let leaving = browser.visit(&page(&gateway, "/page"));
        assert_eq!(leaving.status, 200, "{leaving:?}");
        let fields: serde_json::Map<String, Value> =
            crate::support::hidden_fields(&leaving.body).into_iter().map(|(name, value)| (name, value.into())).collect();
        let mut job = json!({"do": "answer", "fields": fields, "user": "x-4711", "attributes": attributes});
        for (name, value) in more.as_object().unwrap() {
            job[name] = value.clone();
        }
        let answer = peer.ask(job);
        let request = answer["request"].clone();
        (bring(browser, &answer), request)
    };
    let attributes =
        json!({"uid": ["dora"], "mail": ["dora@corp.example"], "member": ["cn=staff", "cn=admins", "cn=other"], "dept": ["r+d"]});
    let (arrived, request) = arrive(&mut browser, attributes.clone(), json!({}));
    assert_eq!(request["signed"], true);
    assert_eq!((&request["force_authn"], request["context"].as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(request["name_id_format"], "urn:oasis:names:tc:SAML:2.0:nameid-format:persistent");
    assert_eq!(follow(&mut browser, &arrived).status, 200);
    let told = gateway.application.last();
    assert_eq!((told.header("x-vestibule-user"), told.header("x-vestibule-groups")), (Some("dora"), Some("admins,staff")));
    crate::lifecycle::wait_for(|| gateway.audit().iter().any(|record| record["action"] == "user.provision" && record["subject"] == "dora"));

    // A group that is lost ends the sessions.
    let mut other = gateway.browser();
    let moved = json!({"uid": ["dora"], "member": ["cn=staff"]});
    let (arrived, _) = arrive(&mut other, moved, json!({}));
    assert_eq!(follow(&mut other, &arrived).status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-groups"), Some("staff"));
    assert_eq!(browser.load(&page(&gateway, "/page")).status, 303, "the other session is over");

    // The name of an account here is not to be had by choosing it there.
    let mut third = gateway.browser();
    let (stolen, _) = arrive(&mut third, json!({"uid": ["bob"]}), json!({"user": "x-4712"}));
    assert_eq!((stolen.status, reason(&gateway, &stolen).0), (403, json!("no_account")));
    // Signed in another way than was asked.
    let (weak, _) = arrive(&mut gateway.browser(), attributes, json!({"context": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"}));
    let (rejected, refused) = reason(&gateway, &weak);
    assert_eq!((weak.status, rejected), (403, json!({"saml": "no_credentials"})));
    assert_eq!((&refused["check"], &refused["partner"]), (&json!("authentication context"), &json!("corp")));
}

/// Attack 43: a second use has no effect, on the account neither.
#[test]
fn an_answer_that_was_used_brings_nobody_back_what_they_have_lost() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let settings = r#"
        provision = true
        name = "uid"
        group_attribute = "member"
        groups = { "cn=staff" = "staff", "cn=admins" = "admins" }
    "#;
    let gateway = house(&peer, settings);
    let peer = peer.meets(&gateway);
    let answered = |browser: &mut Browser<'_>, groups: &[&str]| {
        let away = depart(browser, &page(&gateway, "/page"));
        peer.answers(&away, "x-4711", json!({"attributes": {"uid": ["dora"], "member": groups}}))
    };
    let replayed = |browser: &mut Browser<'_>, answer: &Value| {
        let again = bring(browser, answer);
        assert_eq!((again.status, reason(&gateway, &again).0), (403, json!("replayed")));
    };
    let mut browser = gateway.browser();
    let more = answered(&mut browser, &["cn=staff", "cn=admins"]);
    let as_it_left = browser.clone();
    let arrived = bring(&mut browser, &more);
    assert_eq!(follow(&mut browser, &arrived).status, 200);
    let less = answered(&mut gateway.browser(), &["cn=staff"]);
    assert_eq!(bring(&mut gateway.browser(), &less).status, 403, "it belongs to the browser that asked");
    let mut other = gateway.browser();
    let less = answered(&mut other, &["cn=staff"]);
    let arrived = bring(&mut other, &less);
    assert_eq!(follow(&mut other, &arrived).status, 200);
    replayed(&mut as_it_left.clone(), &more);
    assert_eq!(other.load(&page(&gateway, "/page")).status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-groups"), Some("staff"));

    // Nor an account that was removed.
    let of_dora = |verb: &str| gateway.command(&["user", verb, "dora", "--tenant", "north"]).status.success();
    assert!(of_dora("delete"));
    replayed(&mut as_it_left.clone(), &more);
    assert!(!of_dora("show"));
}

#[test]
fn an_identity_provider_chooses_among_the_profiles_that_it_was_given() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let settings = "provision = true\nname = \"uid\"\nprofile_attribute = \"role\"\nprofiles = { \"cn=clerks\" = \"clerk\" }";
    let gateway = house(&peer, settings);
    let peer = peer.meets(&gateway);
    for (name, roles, profile) in
        [("dora", json!(["cn=clerks"]), Some("clerk")), ("emil", json!([]), Some("user")), ("fay", json!(["cn=chiefs"]), None)]
    {
        let mut browser = gateway.browser();
        let away = depart(&mut browser, &page(&gateway, "/page"));
        let arrived = bring(&mut browser, &peer.answers(&away, name, json!({"attributes": {"uid": [name], "role": roles}})));
        match profile {
            Some(profile) => {
                assert_eq!(arrived.status, 303, "{arrived:?}");
                let shown = gateway.command(&["user", "show", name, "--tenant", "north", "--json"]);
                let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
                assert_eq!(shown["user"]["profile"], profile, "{shown}");
            }
            None => assert_eq!((arrived.status, reason(&gateway, &arrived).0), (403, json!("no_account"))),
        }
    }
}

/// Nobody was let in by it, so nothing was used up: the operator mends what was in the way, and the same answer is good, once.
#[test]
fn an_answer_that_a_taken_name_kept_out_is_good_once_that_is_mended() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "provision = true\nname = \"uid\"");
    let peer = peer.meets(&gateway);
    let mut browser = gateway.browser();
    let away = depart(&mut browser, &page(&gateway, "/page"));
    let answer = peer.answers(&away, "x-4711", json!({"attributes": {"uid": ["bob"]}}));
    let as_it_left = browser.clone();
    for _ in 0..2 {
        let kept_out = bring(&mut browser, &answer);
        assert_eq!((kept_out.status, reason(&gateway, &kept_out).0), (403, json!("no_account")));
    }
    link(&gateway, &peer, "bob", "x-4711");
    let arrived = bring(&mut browser, &answer);
    assert_eq!(follow(&mut browser, &arrived).status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("bob"));
    let again = bring(&mut as_it_left.clone(), &answer);
    assert_eq!((again.status, reason(&gateway, &again).0), (403, json!("replayed")));
}

#[test]
fn a_login_that_the_identity_provider_begins_is_asked_about_before_it_replaces_anybody() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, &format!("unsolicited = true\norigins = [\"{ORIGIN}\"]"));
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    link(&gateway, &peer, "bob", "bob-at-corp");
    let portal = format!("http://{PORTAL}:{}", gateway.public);
    let unsolicited = |user: &str| {
        let relay_state = page(&gateway, "/page?from=idp");
        let (sp, acs) = (format!("{portal}/saml/sp/metadata"), format!("{portal}/saml/sp/acs"));
        peer.ask(json!({"do": "unsolicited", "user": user, "sp": sp, "acs": acs, "relay_state": relay_state}))
    };
    let first = unsolicited("ada-at-corp");
    let fields: Vec<(&str, &str)> = first["fields"].as_object().unwrap().iter().map(|(n, v)| (n.as_str(), v.as_str().unwrap())).collect();
    let mut browser = gateway.browser();
    let foreign = browser.post_from("https://evil.example", PORTAL, "/saml/sp/acs", &fields);
    assert_eq!((foreign.status, reason(&gateway, &foreign).0), (403, json!({"saml": "unsolicited"})));
    let arrived = bring(&mut browser, &first);
    assert_eq!(follow(&mut browser, &arrived).status, 200);
    assert!(browser.cookie(PORTAL, "vestibule-idp").is_some(), "remembered");
    let held = browser.cookie(PORTAL, "vestibule");
    // Ada again, by an answer that came before.
    let again = bring(&mut browser, &first);
    assert_eq!(again.status, 303);
    assert_eq!(browser.cookie(PORTAL, "vestibule"), held);

    let asked = bring(&mut browser, &unsolicited("bob-at-corp"));
    assert_eq!(asked.status, 200);
    assert!(asked.body.contains("You are signed in as <strong>ada</strong>"), "{}", asked.body);
    assert_eq!(browser.cookie(PORTAL, "vestibule"), held, "nothing has happened yet");
    let hidden = crate::support::hidden_fields(&asked.body);
    let hidden: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    // Nobody else's page can answer the question.
    let forged = browser.post_from("https://evil.example", PORTAL, "/saml/sp/acs", &hidden);
    assert_eq!(forged.status, 403);
    let switched = browser.post(PORTAL, "/saml/sp/acs", &hidden);
    assert_eq!(switched.status, 303, "{switched:?}");
    assert_ne!(browser.cookie(PORTAL, "vestibule"), held);
    crate::lifecycle::wait_for(|| {
        gateway.audit().iter().any(|record| record["event"] == "session.ended" && record["reason"] == "switched")
    });
    passed("pysaml2", "7.5.5", "identity provider", &["login begun there"]);
    // Without the setting, nobody begins but we.
    let strict = house(&peer, "");
    let refused = strict.browser().post_from(ORIGIN, PORTAL, "/saml/sp/acs", &fields);
    assert_eq!(refused.status, 403);
}

#[test]
fn what_is_no_answer_gets_a_page_and_a_record() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let long = "A".repeat(400 * 1024);
    let huge = "A".repeat(600 * 1024);
    for (fields, status, expected) in [
        (vec![], 400, json!({"saml": "malformed"})),
        (vec![("SAMLResponse", "!")], 400, json!({"saml": "malformed"})),
        (vec![("SAMLRequest", "PGEvPg==")], 400, json!({"saml": "unsupported"})),
        (vec![("SAMLResponse", "PGEvPg=="), ("SAMLResponse", "PGIvPg==")], 400, json!({"saml": "ambiguous"})),
        (vec![("SAMLResponse", "PGEvPg==")], 403, json!({"saml": "malformed"})),
        (vec![("SAMLResponse", long.as_str())], 400, json!({"saml": "limits"})),
    ] {
        let refused = gateway.browser().post_from(ORIGIN, PORTAL, "/saml/sp/acs", &fields);
        assert_eq!(refused.status, status, "{fields:?}");
        assert!(refused.body.contains(refused.header("x-vestibule-id").unwrap()), "the page says the number");
        assert_eq!(reason(&gateway, &refused).0, expected, "{:?}", fields.first().map(|(name, _)| name));
    }
    assert_eq!(gateway.browser().post_from(ORIGIN, PORTAL, "/saml/sp/acs", &[("SAMLResponse", &huge)]).status, 413);
    assert_eq!(gateway.send_to(PORTAL, &ask("GET", "/saml/sp/acs").browser()).status, 405);
    assert_eq!(gateway.send(&ask("POST", "/saml/sp/acs").form(&[("SAMLResponse", "x")])).status, 401, "not on an application's host");
}

/// `authentication-chain.md` §15, 11 and 15: what a browser brought in vain does not keep it from the identity provider; a program
/// is told what it may bring instead.
#[test]
fn a_wrong_or_barred_password_leaves_a_browser_its_identity_provider() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let config = CONFIG.replace("[\"session\", \"saml\", \"form\"]", "[\"session\", \"basic\", \"saml\", \"form\"]");
    let config = config.replace("{{names}}", "\"corp\"");
    let basic = "\n[scheme.basic]\ntype = \"basic\"\nrealm = \"local\"\n\n[identity_provider.corp]\nmetadata = \"corp.xml\"\n";
    let (certificate, key, metadata) = (text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"), peer.metadata());
    let files = [("corp.xml", metadata.as_str()), ("sp.crt", &certificate), ("sp.key", &key)];
    let gateway = Gateway::with_files(&(config + basic), &files).with_users();
    assert!(gateway.command(&["user", "disable", "bob", "--tenant", "north"]).status.success());
    for (name, password) in [("ada", "wrong"), ("bob", "staple of the north")] {
        let page = || ask("GET", "/page").basic(name, password);
        let program = gateway.send(&page());
        assert_eq!(program.status, 401, "{program:?}");
        assert!(program.header("www-authenticate").is_some_and(|challenge| challenge.starts_with("Basic ")), "{program:?}");
        let script = gateway.send(&page().script());
        assert_eq!(script.status, 401, "{script:?}");
        assert!(
            script.all("www-authenticate").iter().all(|challenge| !challenge.starts_with("Basic ")),
            "no dialogue of the browser's: {script:?}"
        );
        let person = gateway.send(&page().browser());
        assert_eq!(person.status, 303, "{person:?}");
        assert!(depart(&mut gateway.browser(), person.header("location").unwrap()).starts_with(&peer.entity_id()));
    }
}
