//! The endpoint that others ask, over a real OpenLDAP and over our own users (`login-saml-delegated.md` §4, §11), with other
//! people's stacks as callers; and login by programs.

use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::delegated::{Behaviour, Endpoint, LOCAL, PASSWORD, add, called, data, gateway_with, http, missing, try_it};
use crate::ldap::{ADA, SERVICE_PASSWORD, Slapd};
use crate::lifecycle::wait_for;
use crate::support::{Answer, Gateway, ask, get};

const PATH: &str = "5f4dcc3b5aa765d61d8327deb882cf99";
const PREVIOUS: &str = "0cc175b9c0f1b6a831c399e269772661";
pub const OWN: &str = "92eb5ffee6ae2fec3ad71c777531578f";
const STRICT: &str = "4a8a08f09d37b73795649038408b5f33";

pub fn gateway(realm: &str) -> Gateway {
    let files =
        [("service-password", SERVICE_PASSWORD), ("path", PATH), ("previous-path", PREVIOUS), ("own-path", OWN), ("strict-path", STRICT)];
    Gateway::with_files(&include_str!("delegate.toml").replace("{{realm}}", realm), &files)
}

fn asked(name: &str, password: &str, source: &str) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;");
    let (name, password) = (escape(name), escape(password));
    let source = if source.is_empty() { String::new() } else { format!("<n:sourceIp>{source}</n:sourceIp>") };
    // Prefixes, another order and an element of a later version, as callers in the field may send them.
    format!(
        r#"<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><n:Authenticate xmlns:n="urn:authentication.soap.sforce.com">{source}<n:password>{password}</n:password><n:username>{name}</n:username><n:later>x</n:later></n:Authenticate></e:Body></e:Envelope>"#
    )
}

fn post(gateway: &Gateway, path: &str, body: &str) -> Answer {
    let ask =
        ask("POST", &format!("/.vestibule/delegate/{path}")).header("content-type", "text/xml; charset=UTF-8").header("soapaction", "\"\"");
    gateway.send_to("localhost", &ask.body(body))
}

/// Whether the endpoint says that the password is right; none for a fault.
fn verdict(answer: &Answer) -> Option<bool> {
    match answer.status {
        200 => Some(answer.body.contains("<Authenticated>true</Authenticated>")),
        500 => {
            assert!(answer.body.contains("Fault>") && !answer.body.contains("Authenticated"), "{answer:?}");
            None
        }
        other => panic!("{other}: {answer:?}"),
    }
}

#[test]
fn a_directory_answers_for_others_and_makes_nobody_an_account() {
    let Some(slapd) = Slapd::start() else { return };
    let gateway = gateway(&slapd.plain());
    for (name, password, expected) in [
        (ADA.0, ADA.1, true),
        (" Ada@Example.com ", ADA.1, true),
        ("ada@example.com.uat", ADA.1, true),
        (ADA.0, "wrong", false),
        (ADA.0, "", false),
        // Never trimmed.
        (ADA.0, &format!(" {}", ADA.1), false),
        ("nobody", ADA.1, false),
        ("*", ADA.1, false),
        ("ad*", ADA.1, false),
        ("ada)(uid=*", ADA.1, false),
        ("a\\64a", ADA.1, false),
        // Two entries have this address.
        ("twin@example.com", "directory password of bob", false),
        ("locked", "directory password of locked", false),
    ] {
        assert_eq!(verdict(&post(&gateway, PATH, &asked(name, password, "203.0.113.9"))), Some(expected), "{name}");
    }
    assert_eq!(verdict(&post(&gateway, PREVIOUS, &asked(ADA.0, ADA.1, ""))), Some(true), "the former path holds while callers change over");
    let listed = gateway.command(&["user", "list", "--tenant", "north", "--json"]);
    assert!(!String::from_utf8_lossy(&listed.stdout).contains("ada"), "{listed:?}");

    // What is no question is a fault of the caller's.
    for body in
        ["", "<html/>", "<!DOCTYPE a><a/>", &asked(ADA.0, ADA.1, "").replace("<n:later>x</n:later>", "<n:username>eve</n:username>")]
    {
        let answer = post(&gateway, PATH, body);
        assert!(verdict(&answer).is_none() && answer.body.contains(":Client<"), "{body}: {answer:?}");
    }
    let path = format!("/.vestibule/delegate/{PATH}");
    let answer = gateway.send_to("localhost", &ask("POST", &path).header("content-type", "application/json").body("{}"));
    assert_eq!(answer.status, 415, "{answer:?}");
    let answer = gateway.send_to("localhost", &ask("POST", &path).header("content-type", "text/xml").body("x".repeat(70_000)));
    assert_eq!(answer.status, 413, "{answer:?}");
    let answer = gateway.send_to("localhost", &ask("PUT", &path));
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST")), "{answer:?}");
    for (path, status) in [("?wsdl", 200), ("?WSDL", 200), ("", 404)] {
        assert_eq!(gateway.send_to("localhost", &get(&format!("/.vestibule/delegate/{PATH}{path}"))).status, status, "{path}");
    }
    assert_eq!(gateway.send_to("localhost", &get(&format!("/.vestibule/delegate/{OWN}?wsdl"))).status, 404);
    // A wrong path and a caller nobody listed look alike.
    for path in ["0123456789012345678901", STRICT, "x"] {
        assert_eq!(post(&gateway, path, &asked(ADA.0, ADA.1, "")).status, 404, "{path}");
    }

    // The directory's outage is a fault, and never `false`.
    drop(slapd);
    let answer = post(&gateway, PATH, &asked(ADA.0, ADA.1, "203.0.113.9"));
    assert!(verdict(&answer).is_none() && answer.body.contains(":Server<") && answer.body.contains("backend unavailable"), "{answer:?}");
    wait_for(|| gateway.audit().iter().any(|record| record["event"] == "request.decided" && record["decision"] == "fail"));

    // Neither path nor password is anywhere.
    let written = format!("{}{}", gateway.log(), std::fs::read_to_string(gateway.scratch.path().join("audit.jsonl")).unwrap());
    for secret in [PATH, PREVIOUS, STRICT, "directory password"] {
        assert!(!written.contains(secret), "{secret} was written down");
    }
    wait_for(|| {
        let history = logins(&gateway);
        let has = |status: &str| history["history"].as_array().unwrap().iter().any(|row| row["status"] == status);
        has("Success") && has("Invalid password")
    });
}

/// Ada's logins, the last one first.
fn logins(gateway: &Gateway) -> Value {
    serde_json::from_slice(&gateway.command(&["history", "--user", "ada", "--json"]).stdout).unwrap()
}

#[test]
fn a_silent_directory_is_a_fault_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gateway = gateway(&format!("url = \"ldap://{}\"", silent.local_addr().unwrap()));
    // The client of these tests waits for half a minute at most.
    assert!(verdict(&post(&gateway, PATH, &asked(ADA.0, ADA.1, ""))).is_none());
}

#[test]
fn our_own_users_are_answered_for_but_operators_are_not() {
    let gateway = gateway("url = \"ldap://127.0.0.1:1\"");
    add(&gateway, "bob", &[]);
    add(&gateway, "root", &["--break-glass"]);
    for (name, password, source, expected) in [
        ("bob", LOCAL, "192.0.2.7", true),
        ("bob", "wrong", "192.0.2.7", false),
        // From elsewhere, or who knows where.
        ("bob", LOCAL, "203.0.113.9", false),
        ("bob", LOCAL, "", false),
        ("bob", LOCAL, "not an address", false),
        // Operators sign in here only, whatever the caller says of where they are.
        ("root", LOCAL, "192.0.2.7", false),
    ] {
        let answer = post(&gateway, OWN, &asked(name, password, source));
        assert_eq!(verdict(&answer), Some(expected), "{name} {source}");
        assert!(answer.body.contains("<AuthenticateResponse"), "{answer:?}");
    }
}

#[test]
fn nobody_is_answered_for_who_may_not_enter_here() {
    let Some(slapd) = Slapd::start() else { return };
    let profiles = "\n[profile.office]\nfrom = [\"192.0.2.0/28\"]\n\n[profile.never]\nhours = []\ntime_zone = \"UTC\"\n\n[profile.strong]\nlevel = 20\n";
    let toml = include_str!("delegate.toml").replace("{{realm}}", &format!("{}\nid = \"uid\"\nprovision = true", slapd.plain()));
    let toml = toml.replacen("from = [\"192.0.2.0/24\"]\nresponse_root", "response_root", 1);
    let files =
        [("service-password", SERVICE_PASSWORD), ("path", PATH), ("previous-path", PREVIOUS), ("own-path", OWN), ("strict-path", STRICT)];
    let gateway = Gateway::with_files(&(toml + profiles), &files);
    let reason = |answer: &Answer| {
        let records = gateway.audit_of(answer);
        records.iter().find(|record| record["event"] == "login.rejected").map(|record| record["reason"].clone()).unwrap_or_default()
    };
    // Kept here, each with the right password.
    add(&gateway, "bob", &[]);
    add(&gateway, "root", &["--break-glass"]);
    add(&gateway, "olga", &["--profile", "office"]);
    add(&gateway, "nora", &["--profile", "never"]);
    add(&gateway, "stan", &["--profile", "strong"]);
    add(&gateway, "mara", &["--must-change"]);
    for (name, source, refused) in [
        ("bob", "203.0.113.9", ""),
        ("bob", "", ""),
        ("root", "192.0.2.7", "subject_not_allowed"),
        ("olga", "192.0.2.7", ""),
        ("olga", "203.0.113.9", "address_not_listed"),
        // Nobody says from where; that the caller itself is near does not count.
        ("olga", "", "address_not_listed"),
        ("nora", "192.0.2.7", "outside_hours"),
        ("stan", "192.0.2.7", "weak_proof"),
        ("mara", "192.0.2.7", "must_change_password"),
    ] {
        let answer = post(&gateway, OWN, &asked(name, LOCAL, source));
        assert_eq!(verdict(&answer), Some(refused.is_empty()), "{name} {source}: {answer:?}");
        assert!(refused.is_empty() || reason(&answer) == refused, "{name} {source}: {}", reason(&answer));
    }
    // Of the directory: whom it knows and we do not, and those who have an account here by a link.
    assert_eq!(verdict(&post(&gateway, PATH, &asked(ADA.0, ADA.1, "192.0.2.7"))), Some(true));
    let link = |name: &str, id: &str| {
        let linked = gateway.command(&["user", "link", name, "--tenant", "north", "--issuer", "corp", "--id", id]);
        assert!(linked.status.success(), "{linked:?}");
    };
    add(&gateway, "adas", &[]);
    link("adas", "ada");
    assert_eq!(verdict(&post(&gateway, PATH, &asked(ADA.0, ADA.1, "192.0.2.7"))), Some(true));
    assert!(gateway.command(&["user", "disable", "adas", "--tenant", "north"]).status.success());
    let answer = post(&gateway, PATH, &asked(ADA.0, ADA.1, "192.0.2.7"));
    assert_eq!((verdict(&answer), reason(&answer)), (Some(false), "disabled".into()));
    for (name, id, refused) in
        [("root", "bob", "subject_not_allowed"), ("nora", "rob", "outside_hours"), ("mara", "rob", "must_change_password")]
    {
        if name == "mara" {
            let gone = gateway.command(&["user", "unlink", "nora", "--tenant", "north", "--issuer", "corp", "--id", "rob"]);
            assert!(gone.status.success(), "{gone:?}");
        }
        link(name, id);
        let answer = post(&gateway, PATH, &asked(id, "directory password of bob", "192.0.2.7"));
        assert_eq!((verdict(&answer), reason(&answer)), (Some(false), refused.into()), "{name}");
    }
}

#[test]
fn zeep_node_and_php_ask_as_they_are() {
    let Some(slapd) = Slapd::start() else { return };
    let gateway = gateway(&slapd.plain());
    let address = format!("http://localhost:{}/.vestibule/delegate/{PATH}", gateway.public);
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let is_there = |program: &str, arguments: &[&str]| {
        let tried = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    let mut callers = Vec::new();
    if is_there(&python, &["-c", "import zeep"]) {
        callers.push((python.as_str(), "delegate_zeep.py"));
    } else {
        missing("zeep");
    }
    if is_there("node", &["-e", "require('soap')"]) {
        callers.push(("node", "delegate_node.js"));
    } else {
        missing("node's soap");
    }
    if is_there("php", &["-r", "exit(class_exists('SoapClient') ? 0 : 1);"]) {
        callers.push(("php", "delegate.php"));
    } else {
        missing("PHP's SoapClient");
    }
    for (program, script) in callers {
        let output = Command::new(program)
            .arg(data(script))
            .arg(&address)
            .args([ADA.0, ADA.1, "203.0.113.9", ADA.0, "wrong & <odd>", "203.0.113.9"])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.lines().collect::<Vec<_>>(), ["true", "false"], "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn our_caller_asks_our_endpoint() {
    let Some(slapd) = Slapd::start() else { return };
    let endpoint = gateway(&slapd.plain());
    let realm = format!(
        "url = \"http://localhost:{}/.vestibule/delegate\"\nsecret_path = {{ file = \"path\" }}\nusername = \"email\"",
        endpoint.public
    );
    let caller = gateway_with(&realm, &[("path", PATH)]);
    add(&caller, "ada", &["--profile", "sales", "--email", "ada@example.com"]);
    assert_eq!(try_it(&caller, "ada", ADA.1).status, 200);
    let refused = try_it(&caller, "ada", "wrong");
    assert_eq!((refused.status, called(&caller, &refused).unwrap()["outcome"].as_str()), (401, Some("denied")));

    let config = caller.scratch.path().join("vestibule.toml");
    let test = |arguments: &[&str]| {
        let output = caller.command(&[&["delegate", "test", "sso", "--json", "--config", config.to_str().unwrap()], arguments].concat());
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap_or_else(|_| panic!("{output:?}")))
    };
    let (code, report) = test(&[]);
    assert_eq!((code, &report["good"]), (Some(0), &json!(true)), "{report}");
    let file = caller.scratch.write("adas", ADA.1);
    let (code, report) = test(&["--user", "ada@example.com", "--password-file", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{report}");

    // The directory goes: an outage, told apart from a wrong password wherever it is seen.
    drop(slapd);
    let refused = try_it(&caller, "ada", ADA.1);
    let record = called(&caller, &refused).unwrap();
    assert_eq!((refused.status, record["outcome"].as_str()), (503, Some("soap_fault")), "{record}");
    // Histories are written beside the requests.
    let csv = || String::from_utf8_lossy(&caller.command(&["history", "delegated", "--user", "ada", "--csv"]).stdout).into_owned();
    wait_for(|| csv().lines().count() == 4);
    let csv = csv();
    let outcomes: Vec<&str> = csv.lines().skip(1).filter_map(|line| line.split(',').nth(7)).collect();
    assert_eq!(outcomes, ["\"soap_fault\"", "\"denied\"", "\"ok\""], "{csv}");
    wait_for(|| logins(&caller)["history"].as_array().unwrap().len() == 3);
    let history = logins(&caller);
    let statuses: Vec<&str> = history["history"].as_array().unwrap().iter().map(|row| row["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["Your company's authentication service is down", "Invalid password", "Success"], "{history}");
}

#[test]
fn an_endpoint_that_says_yes_to_everything_is_found_out() {
    let endpoint = Endpoint::start(None);
    endpoint.does(Behaviour::Says(http(200, &vestibule_soap::delegated::write_answer(true, Default::default()))));
    let gateway = gateway_with(&endpoint.plain(), &[]);
    let config = gateway.scratch.path().join("vestibule.toml");
    let output = gateway.command(&["delegate", "test", "sso", "--config", config.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("would let anybody in"), "{said}");
}

#[test]
fn programs_log_in_as_people_do() {
    let endpoint = Endpoint::start(None);
    let toml = include_str!("delegated.toml").replace("{{realm}}", &endpoint.plain());
    let gateway = Gateway::with(&toml.replace("title = \"North\"", "title = \"North\"\napi_login = [\"json\", \"soap\"]"));
    add(&gateway, "root", &["--break-glass"]);
    add(&gateway, "sara", &["--profile", "sales"]);
    add(&gateway, "bob", &[]);
    let json_login = |body: &str| gateway.send(&ask("POST", "/.vestibule/login").header("content-type", "application/json").body(body));
    let credentials = |name: &str, password: &str| json!({ "username": name, "password": password }).to_string();
    for (name, password) in [("sara", PASSWORD), ("bob", LOCAL)] {
        let answer = json_login(&credentials(name, password));
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{answer:?}");
        let said: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(said["user"], name);
        let session = said["session"].as_str().unwrap();
        assert_eq!(gateway.send(&get("/api/orders").cookie("vestibule", session)).status, 200);
    }
    for body in ["", "{}", "[]", r#"{"username":"bob","username":"eve","password":"x"}"#, r#"{"username":"bob","password":"x","more":1}"#] {
        assert_eq!(json_login(body).status, 400, "{body}");
    }
    // Unknown and wrong are told alike.
    let (wrong, unknown) = (json_login(&credentials("bob", "wrong")), json_login(&credentials("nobody", "wrong")));
    assert_eq!((wrong.status, &wrong.body), (401, &unknown.body));
    let foreign = ask("POST", "/.vestibule/login").header("content-type", "application/json").header("origin", "https://evil.example");
    assert_eq!(gateway.send(&foreign.body(credentials("bob", LOCAL))).status, 401);

    let soap_login = |interface: &str, version: &str, name: &str, password: &str| {
        let password = password.replace('&', "&amp;").replace('<', "&lt;");
        let body = format!(
            r#"<e:Envelope xmlns:e="http://schemas.xmlsoap.org/soap/envelope/"><e:Body><n:login xmlns:n="urn:{interface}.soap.sforce.com"><n:username>{name}</n:username><n:password>{password}</n:password></n:login></e:Body></e:Envelope>"#
        );
        let ask = ask("POST", &format!("/services/Soap/{version}"))
            .header("content-type", "text/xml; charset=utf-8")
            .header("soapaction", "login");
        gateway.send(&ask.body(body))
    };
    for (interface, version) in [("partner", "u/64.0"), ("enterprise", "c/58.0")] {
        let answer = soap_login(interface, version, "sara", PASSWORD);
        assert_eq!(answer.status, 200, "{answer:?}");
        let value = |name: &str| answer.body.split(&format!("<{name}>")).nth(1).and_then(|rest| rest.split('<').next()).unwrap().to_owned();
        assert_eq!((value("userName").as_str(), value("passwordExpired").as_str()), ("sara", "false"));
        assert!(value("serverUrl").ends_with(&format!("/services/Soap/{version}")), "{answer:?}");
        assert_eq!(gateway.send(&get("/api/orders").cookie("vestibule", &value("sessionId"))).status, 200);
    }
    let answer = soap_login("partner", "u/64.0", "sara", "wrong");
    assert!(answer.status == 500 && answer.body.contains("<sf:exceptionCode>INVALID_LOGIN</sf:exceptionCode>"), "{answer:?}");
    endpoint.says(http(503, ""));
    let answer = soap_login("partner", "u/64.0", "sara", "anything");
    assert!(answer.status == 500 && answer.body.contains("<faultcode>sf:SSO_SERVICE_DOWN</faultcode>"), "{answer:?}");
    assert_eq!(soap_login("partner", "u/64.0", "bob", LOCAL).status, 200, "others log in all the same");

    // It is off where nobody switched it on.
    let closed = gateway_with(&endpoint.plain(), &[]);
    let ask = ask("POST", "/.vestibule/login").header("content-type", "application/json").body(credentials("bob", LOCAL));
    assert!(matches!(closed.send(&ask).status, 404 | 415), "no login by programs");
}

#[test]
fn a_ticket_signs_in_once_in_place_of_the_password() {
    let toml = include_str!("delegate.toml").replace("{{realm}}", "url = \"ldap://127.0.0.1:1\"");
    let toml = toml.replacen("portal = \"localhost:", "portal = \"login.north.localhost:", 1).replacen(
        "[delegate.own]",
        "[delegate.own]\ntickets = \"http://crm.localhost/login\"\nsuffixes = { \"@example.com.uat\" = \"\" }",
        1,
    );
    let files =
        [("service-password", SERVICE_PASSWORD), ("path", PATH), ("previous-path", PREVIOUS), ("own-path", OWN), ("strict-path", STRICT)];
    let gateway = Gateway::with_files(&toml, &files);
    add(&gateway, "bob", &[]);
    add(&gateway, "eve", &[]);
    add(&gateway, "root", &["--break-glass"]);
    let portal = "login.north.localhost";
    let mut browser = gateway.browser();
    let nobody = browser.load(&format!("http://{portal}/ticket/own"));
    assert!(nobody.status == 303 && nobody.header("location").unwrap().contains("/login?return_to=%2Fticket%2Fown"), "{nobody:?}");
    assert_eq!(browser.submit_login(&format!("http://{portal}/login"), "bob", LOCAL).status, 303);
    assert!(browser.load(&format!("http://{portal}/")).body.contains("/ticket/own"));
    let ticket = |browser: &mut crate::support::Browser<'_>| {
        let page = browser.load(&format!("http://{portal}/ticket/own"));
        assert!(
            page.status == 200
                && page.body.contains("action=\"http://crm.localhost/login\"")
                && page.header("cache-control") == Some("no-store"),
            "{page:?}"
        );
        let fields = crate::support::hidden_fields(&page.body);
        let field = |name: &str| fields.iter().find(|(found, _)| found == name).unwrap().1.clone();
        assert_eq!(field("un"), "bob@example.com.uat", "the name as it is there");
        field("pw")
    };
    let post = |path: &str, body: &str| {
        let ask = ask("POST", &format!("/.vestibule/delegate/{path}")).header("content-type", "text/xml; charset=UTF-8");
        gateway.send_to(portal, &ask.body(body))
    };
    let tried = |name: &str, ticket: &str| verdict(&post(OWN, &asked(name, ticket, "192.0.2.7")));
    let good = ticket(&mut browser);
    assert!(good.starts_with("vt1."), "{good}");
    assert_eq!(tried("bob@example.com.uat", &good), Some(true));
    assert_eq!(tried("bob@example.com.uat", &good), Some(false), "once");
    let others = ticket(&mut browser);
    assert_eq!(tried("eve@example.com.uat", &others), Some(false), "for its own name");
    assert_eq!(
        verdict(&post(PATH, &asked("bob", &others, "192.0.2.7"))),
        None,
        "elsewhere it is a password like any other, and the directory is down"
    );
    assert_eq!(tried("bob", &format!("{others}x")), Some(false), "forged");
    assert_eq!(verdict(&post(OWN, &asked("bob", &others, "203.0.113.9"))), Some(false), "from where bob may not come");
    assert_eq!(tried("bob", &others), Some(true), "which spent nothing");
    // Ten bad tickets are no guesses at bob's password.
    for number in 0..10 {
        assert_eq!(tried("bob", &format!("vt1.{number}")), Some(false));
    }
    assert_eq!(tried("bob", LOCAL), Some(true));
    // Signed out everywhere, a ticket is over as well.
    let stale = ticket(&mut browser);
    assert!(gateway.command(&["user", "disable", "bob", "--tenant", "north"]).status.success());
    assert_eq!(tried("bob", &stale), Some(false));
    let mut root = gateway.browser();
    assert_eq!(root.submit_login(&format!("http://{portal}/login"), "root", LOCAL).status, 303);
    assert_eq!(root.load(&format!("http://{portal}/ticket/own")).status, 403, "operators sign in here only");
    let written = format!("{}{}", gateway.log(), std::fs::read_to_string(gateway.scratch.path().join("audit.jsonl")).unwrap());
    assert!(!written.contains(&good) && !written.contains(&others), "a ticket was written down");
}
