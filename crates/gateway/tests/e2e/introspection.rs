//! Bearer tokens about which a server is asked (RFC 6750, RFC 7662): a stand-in that plays every attack, and npm's oidc-provider.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::oidc::peer::Peer;
use crate::openid_provider::{CLIENT, CLIENT_SECRET, OpenidProvider, SUBJECTS};
use crate::shown::Shown;
use crate::support::{Answer, Ask, CONFIG, Gateway, USERS, ask, exchange, free_port, get};

const AUDIENCE: &str = "https://app.north.localhost/api";

pub struct House {
    pub gateway: Gateway,
    provider: Arc<OpenidProvider>,
    questions: u16,
    runtime: Option<tokio::runtime::Runtime>,
}

fn template(questions: u16, scheme: &str) -> String {
    let door = format!(
        "[[listen]]\naddress = \"127.0.0.1:{questions}\"\nspeaks = \"forward-auth\"\ntrusted_proxies = [\"127.0.0.1\"]\n\n[[route]]"
    );
    let chain = CONFIG.replace(r#"chain = ["session", "basic", "form"]"#, r#"chain = ["session", "bearer", "basic", "form"]"#);
    format!("{}\n[scheme.bearer]\ntype = \"introspection\"\n{scheme}\n", chain.replacen("[[route]]", &door, 1))
}

impl House {
    pub fn start() -> Self {
        Self::with("scopes = \"orders.read\"")
    }

    fn with(more: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let provider = runtime.block_on(OpenidProvider::start("op.localhost")).unwrap();
        let (questions, issuer) = (free_port(), provider.issuer());
        let scheme = format!(
            "url = \"{issuer}/introspect\"\nissuer = \"{issuer}\"\nclient_id = \"{CLIENT}\"\nclient_secret = {{ file = \"secret\" }}\naudience = \"{AUDIENCE}\"\n{more}"
        );
        let gateway = Gateway::with_files(&template(questions, &scheme), &[("secret", CLIENT_SECRET)]).with_users();
        let link = ["user", "link", "ada", "--tenant", "north", "--issuer", &format!("oidc:{issuer}"), "--id", SUBJECTS[0].0];
        assert!(gateway.command(&link).status.success());
        Self { gateway, provider, questions, runtime: Some(runtime) }
    }

    /// The same request by both doors.
    fn both(&self, dress: impl Fn(Ask) -> Ask) -> Answer {
        let question = ask("GET", "/")
            .header("X-Forwarded-Method", "GET")
            .header("X-Forwarded-Proto", "http")
            .header("X-Forwarded-Host", &format!("app.north.localhost:{}", self.gateway.public))
            .header("X-Forwarded-Uri", "/api/orders");
        let asked = exchange(([127, 0, 0, 1], self.questions).into(), &dress(question).octets("gateway"));
        let answer = self.gateway.send(&dress(get("/api/orders")));
        assert_eq!(asked.status, answer.status, "a proxy that asks is told otherwise: {asked:?}\n{answer:?}");
        answer
    }

    pub fn come(&self, token: &str) -> Answer {
        self.both(|request| request.header("Authorization", &format!("Bearer {token}")))
    }

    fn asked(&self) -> u64 {
        let answer = exchange(self.provider.address, &get("/asked").octets("op.localhost"));
        serde_json::from_str::<Value>(&answer.body).unwrap()["/introspect"].as_u64().unwrap_or(0)
    }

    pub fn reason(&self, answer: &Answer) -> Value {
        let records = self.gateway.audit_of(answer);
        let decided = records.iter().find(|record| record["event"] == "request.decided").unwrap();
        decided["steps"].as_array().unwrap().iter().find(|step| step["scheme"] == "bearer").unwrap()["reason"].clone()
    }
}

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let house = House::start();
    let mut shown = Shown::on("introspection.md");
    shown.know("host", &format!("app.north.localhost:{}", house.gateway.public));
    shown.know("token", "own.ada");
    shown.next(|octets| exchange(house.gateway.address, octets));
    assert_eq!(house.gateway.application.last().header("x-vestibule-user"), Some("ada"));
    shown.end();
}

#[test]
fn a_token_opens_the_door_and_its_server_is_asked_once() {
    let house = House::with("scopes = \"orders.read\"\nattributes = { client_id = \"client\" }");
    for _ in 0..3 {
        let answer = house.come("own.ada");
        assert_eq!((answer.status, answer.header("x-vestibule-auth")), (200, Some("bearer")), "{answer:?}");
    }
    assert_eq!(house.asked(), 1);
    let received = house.gateway.application.last();
    assert_eq!((received.header("x-vestibule-user"), received.header("authorization")), (Some("ada"), None));
    // The scheme's name is written in any case.
    assert_eq!(house.both(|request| request.header("Authorization", "bearer own.ada")).status, 200);
    let log = house.gateway.log();
    assert!(!log.contains("own.ada") && !log.contains(CLIENT_SECRET));
    let audit = std::fs::read_to_string(house.gateway.scratch.path().join("audit.jsonl")).unwrap();
    assert!(!audit.contains("own.ada"), "a token is a password");
}

#[test]
fn no_hostile_answer_is_a_yes() {
    let house = House::start();
    for (token, reason) in [
        ("unknown", json!({"oidc": "inactive"})),
        ("revoked.ada", json!({"oidc": "inactive"})),
        ("elsewhere.ada", json!({"oidc": "wrong_audience"})),
        ("foreign.ada", json!({"oidc": "wrong_issuer"})),
        ("over.ada", json!({"oidc": "expired"})),
        ("wordy.ada", json!({"oidc": "malformed"})),
        ("bound.ada", json!({"oidc": "wrong_type"})),
        ("nobody.ada", json!("no_account")),
        ("own.bob", json!("no_account")),
        ("huge.ada", json!({"oidc": "limits"})),
        ("html.ada", json!({"oidc": "malformed"})),
        ("away.ada", json!({"oidc": "malformed"})),
        ("not a token", json!("malformed_credential")),
        ("", json!("malformed_credential")),
    ] {
        let answer = house.come(token);
        assert_eq!((answer.status, house.reason(&answer)), (401, reason), "{token}");
        let challenges = answer.all("www-authenticate");
        assert!(challenges.contains(&"Bearer realm=\"North\", error=\"invalid_token\""), "{token}: {challenges:?}");
    }
    let two = house.both(|request| request.header("Authorization", "Bearer own.ada").header("Authorization", "Bearer own.bob"));
    assert!(matches!(two.status, 400 | 401), "{two:?}");
    // Whoever shows no token is told what would do, and nothing else (RFC 6750 §3.1).
    let nobody = house.both(|request| request);
    assert!(nobody.all("www-authenticate").contains(&"Bearer realm=\"North\""), "{nobody:?}");
    assert!(house.gateway.application.received().is_empty());
    // A refused token does not lock the next way.
    let (name, password, _) = USERS[1];
    assert_eq!(house.both(|request| request.basic(name, password)).status, 200);
}

#[test]
fn a_mail_address_that_nobody_has_verified_is_no_name() {
    for users in ["", "users = \"name\"\nsuffix = \"@north.example\""] {
        let house = House::with(&format!("subject = \"email\"\n{users}"));
        let (issuer, mail) = (format!("oidc:{}#email", house.provider.issuer()), SUBJECTS[0].2);
        if users.is_empty() {
            let link = house.gateway.command(&["user", "link", "ada", "--tenant", "north", "--issuer", &issuer, "--id", mail]);
            assert!(link.status.success(), "{link:?}");
        }
        let answer = house.come("own.ada");
        assert_eq!(answer.status, 200, "{users}: {answer:?} {}", house.reason(&answer));
        assert_eq!(house.gateway.application.last().header("x-vestibule-user"), Some("ada"));
        for token in ["unverified.ada", "unsaid.ada", "worded.ada"] {
            let answer = house.come(token);
            assert_eq!((answer.status, house.reason(&answer)), (401, json!("no_account")), "{token}");
        }
    }
}

#[test]
fn a_token_that_is_good_for_less_is_told_what_it_lacks() {
    let house = House::start();
    let answer = house.come("narrow.ada");
    assert_eq!((answer.status, house.reason(&answer)), (403, json!({"oidc": "missing_scope"})), "{answer:?}");
    assert_eq!(answer.all("www-authenticate"), [r#"Bearer realm="North", error="insufficient_scope", scope="orders.read""#]);
    assert!(house.gateway.application.received().is_empty());
}

#[test]
fn junk_of_an_address_closes_it_and_what_lacks_a_scope_does_not() {
    let house = House::start();
    let at = |address: &str, token: &str| {
        let question = ask("GET", "/")
            .header("X-Forwarded-For", address)
            .header("X-Forwarded-Method", "GET")
            .header("X-Forwarded-Proto", "http")
            .header("X-Forwarded-Host", &format!("app.north.localhost:{}", house.gateway.public))
            .header("X-Forwarded-Uri", "/api/orders")
            .header("Authorization", &format!("Bearer {token}"));
        exchange(([127, 0, 0, 1], house.questions).into(), &question.octets("gateway"))
    };
    assert_eq!(at("192.0.2.1", "own.ada").status, 200);
    for number in 0..30 {
        assert_eq!(at("192.0.2.1", &format!("narrow.ada.{number}")).status, 403);
    }
    for number in 0..20 {
        let answer = at("192.0.2.1", &format!("unknown-{number}"));
        assert_eq!((answer.status, house.reason(&answer)), (401, json!({"oidc": "inactive"})), "{number}");
    }
    let asked = house.asked();
    let closed = at("192.0.2.1", "unknown");
    assert_eq!((closed.status, house.reason(&closed), house.asked()), (401, json!("address_gate_closed"), asked));
    assert_eq!(at("192.0.2.1", "own.ada").status, 200, "what is known needs no question");
    assert_eq!(at("192.0.2.2", "short.ada").status, 200, "and others are asked about");
}

#[test]
fn an_outage_lets_nobody_in_and_is_nobodys_fault() {
    let mut house = House::start();
    let down = house.come("down.ada");
    assert_eq!((down.status, house.reason(&down)), (503, json!("unavailable")));
    assert_eq!(house.come("own.ada").status, 200);
    // What it said is believed for a while, and then it is asked again.
    house.runtime.take().unwrap().shutdown_background();
    assert_eq!(house.come("own.ada").status, 200);
    assert_eq!(house.come("short.ada").status, 503);
}

#[test]
fn an_answer_is_not_believed_beyond_the_tokens_end_nor_longer_than_is_configured() {
    let house = House::with("remember = \"1s\"");
    assert_eq!(house.come("short.ada").status, 200);
    assert_eq!(house.come("own.ada").status, 200);
    let before = house.asked();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(house.come("own.ada").status, 200);
    assert_eq!(house.asked(), before + 1, "asked again");
}

#[test]
fn a_certified_server_is_asked_about_tokens_of_a_script() {
    let port = free_port();
    let issuer = format!("http://op.localhost:{port}");
    let scheme = format!(
        "url = \"{issuer}/token/introspection\"\nissuer = \"{issuer}\"\nclient_id = \"asker\"\nclient_secret = {{ file = \"secret\" }}\n\
         audience = \"{AUDIENCE}\"\nscopes = \"orders.read\"\nsubject = \"client_id\""
    );
    let gateway = Gateway::with_files(&template(free_port(), &scheme), &[("secret", "who asks about tokens")]).with_users();
    let link = ["user", "link", "ada", "--tenant", "north", "--issuer", &format!("oidc:{issuer}#client_id"), "--id", "script"];
    assert!(gateway.command(&link).status.success());
    let Some(peer) = Peer::start(port, gateway.public) else { return };
    let address = ([127, 0, 0, 1], peer.port).into();
    let token = |resource: &str| {
        let fields = [("grant_type", "client_credentials"), ("scope", "orders.read"), ("resource", resource)];
        let asked = ask("POST", "/token").basic("script", "a+script%27s+secret").form(&fields);
        let answer = exchange(address, &asked.octets(&format!("op.localhost:{port}")));
        serde_json::from_str::<Value>(&answer.body).unwrap()["access_token"].as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    };
    let bearer = |token: &str| gateway.send(&get("/api/orders").header("Authorization", &format!("Bearer {token}")));
    let answer = bearer(&token(AUDIENCE));
    assert_eq!(answer.status, 200, "{answer:?}\n{:?}", gateway.audit_of(&answer));
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
    assert_eq!(bearer("unknown").status, 401);
}
