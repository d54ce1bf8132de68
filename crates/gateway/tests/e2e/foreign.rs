//! `authentication-chain.md` §2 and §15: sessions of another service, against a service that plays every attack of §2.3 to §2.6.

use std::sync::{Arc, PoisonError};

use crate::identity_service::{Asked, IdentityService, PEOPLE, session};
use crate::shown::Shown;
use crate::support::{Answer, Ask, CONFIG, Gateway, USERS, ask, exchange, free_port, get, in_every_world};

const ADA: &str = PEOPLE[0].0;
const BOB: &str = PEOPLE[1].0;
const EVE: &str = PEOPLE[2].0;

struct House {
    gateway: Gateway,
    service: Arc<IdentityService>,
    asked: Asked,
    questions: u16,
    _runtime: tokio::runtime::Runtime,
}

impl House {
    fn start() -> Self {
        Self::with("link_by = \"username\"", "")
    }

    /// A gateway whose chain begins with sessions of the service; more of the scheme, and more at the end.
    fn with(scheme: &str, more: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let asked = Asked::default();
        let service = runtime.block_on(IdentityService::start("id.localhost", asked.clone())).unwrap();
        let questions = free_port();
        let template = CONFIG
            .replace(r#"chain = ["session", "basic", "form"]"#, r#"chain = ["session", "salesforce", "basic", "form"]"#)
            .replacen(
                "[[route]]",
                &format!("[[listen]]\naddress = \"127.0.0.1:{questions}\"\nspeaks = \"forward-auth\"\ntrusted_proxies = [\"127.0.0.1\"]\n\n[[route]]"),
                1,
            );
        let template = format!(
            "{template}\n[scheme.salesforce]\ntype = \"identity-url\"\norganizations = [\"00D8k00000QwErT\"]\nhosts = [\"id.localhost:{}\"]\nca = \"authority.pem\"\n{scheme}\n\n\
             [[concession]]\nwhat = \"private-addresses\"\npartner = \"salesforce\"\nreason = \"the test's own service\"\nexpires = \"9999-12-31\"\n{more}",
            service.address.port()
        );
        let gateway = Gateway::with_files(&template, &[("authority.pem", &service.authority)]).with_users();
        Self { gateway, service, asked, questions, _runtime: runtime }
    }

    fn pair(&self, request: Ask, session: &str, user: &str) -> Ask {
        request.header("ssid", session).header("surl", &self.service.url(user))
    }

    /// The same request by both doors: what the proxy answered, and the status of the answer to a question.
    fn both(&self, method: &str, target: &str, dress: impl Fn(Ask) -> Ask) -> Answer {
        let question = ask("GET", "/")
            .header("X-Forwarded-Method", method)
            .header("X-Forwarded-Proto", "http")
            .header("X-Forwarded-Host", &format!("app.north.localhost:{}", self.gateway.public))
            .header("X-Forwarded-Uri", target);
        let asked = exchange(([127, 0, 0, 1], self.questions).into(), &dress(question).octets("gateway"));
        let answer = self.gateway.send(&dress(ask(method, target)));
        assert_eq!(asked.status, answer.status, "a proxy that asks is told otherwise: {asked:?}\n{answer:?}");
        assert_eq!(asked.header("x-vestibule-auth"), answer.header("x-vestibule-auth"));
        answer
    }

    fn come(&self, session: &str, user: &str) -> Answer {
        self.both("GET", "/api/orders", |request| self.pair(request, session, user))
    }

    fn reason(&self, answer: &Answer) -> String {
        let record = &self.gateway.audit_of(answer)[0];
        let step = record["steps"].as_array().unwrap().iter().find(|step| step["scheme"] == "salesforce").unwrap();
        step["reason"].as_str().unwrap_or_default().to_owned()
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let house = House::start();
    let mut shown = Shown::on("identity-url.md");
    shown.know("host", &format!("app.north.localhost:{}", house.gateway.public));
    shown.know("secret", session("own", ADA).split_once('!').unwrap().1);
    shown.know("identity-service", &format!("id.localhost:{}", house.service.address.port()));
    shown.next(|octets| exchange(house.gateway.address, octets));
    assert_eq!(house.gateway.application.last().header("x-vestibule-user"), Some("ada"));
    shown.end();
}

#[test]
fn chain_01_without_both_headers_nobody_is_asked() {
    in_every_world(|| {
        let house = House::start();
        let dressings: [fn(Ask, &House) -> Ask; 5] = [
            |request, _| request,
            |request, _| request.header("ssid", &session("own", ADA)),
            |request, house| request.header("surl", &house.service.url(ADA)),
            |request, house| request.header("ssid", "").header("surl", &house.service.url(ADA)),
            |request, _| request.header("ssid", &session("own", ADA)).header("surl", ""),
        ];
        for dress in dressings {
            assert_eq!(house.both("GET", "/api/orders", |request| dress(request, &house)).status, 401);
            let open = house.gateway.send(&dress(get("/public/page"), &house));
            assert_eq!((open.status, open.header("x-vestibule-auth")), (200, Some("anonymous")));
            let received = house.gateway.application.last();
            assert_eq!((received.header("ssid"), received.header("surl")), (None, None), "half a credential is one, too");
        }
        assert_eq!(house.asked(), Vec::<String>::new());
    });
}

#[test]
fn chain_02_the_first_scheme_that_recognises_somebody_decides() {
    in_every_world(|| {
        let house = House::start();
        // A wrong session and a right password.
        let basic =
            house.both("GET", "/api/orders", |request| house.pair(request, &session("unknown", ADA), ADA).basic(USERS[1].0, USERS[1].1));
        assert_eq!((basic.status, basic.header("x-vestibule-auth")), (200, Some("basic")));
        assert_eq!(house.gateway.application.last().header("x-vestibule-user"), Some("bob"));
        // A right session and wrong passwords: they are not looked at, so they are not counted.
        for _ in 0..8 {
            let answer =
                house.both("GET", "/api/orders", |request| house.pair(request, &session("own", ADA), ADA).basic(USERS[1].0, "wrong"));
            assert_eq!((answer.status, answer.header("x-vestibule-auth")), (200, Some("salesforce")));
        }
        let received = house.gateway.application.last();
        assert_eq!(received.header("x-vestibule-user"), Some("ada"));
        for name in ["ssid", "surl", "authorization"] {
            assert_eq!(received.header(name), None, "{name} never reaches the application");
        }
        assert_eq!(house.gateway.send(&get("/api/orders").basic(USERS[1].0, USERS[1].1)).status, 200, "bob is not locked out");
    });
}

#[test]
fn chain_03_a_session_that_reads_a_colleagues_identity_is_not_that_colleague() {
    in_every_world(|| {
        let house = House::start();
        for behaviour in ["own", "liar", "onward"] {
            let stolen = house.come(&session(behaviour, BOB), ADA);
            assert_eq!(stolen.status, 401, "{behaviour}");
            assert_eq!(house.reason(&stolen), "foreign_session_of_another", "{behaviour}");
        }
        let narrow = house.come(&session("narrow", ADA), ADA);
        assert_eq!((narrow.status, house.reason(&narrow).as_str()), (401, "foreign_session_refused"), "nobody says whose it is");
        assert!(house.gateway.application.received().is_empty(), "nothing was forwarded");
        // The same session where it belongs.
        assert_eq!(house.come(&session("own", BOB), BOB).status, 200);
    });
}

#[test]
fn chain_04_session_ids_go_to_listed_hosts_only() {
    in_every_world(|| {
        let house = House::start();
        let path = format!("/id/00D8k00000QwErTEAV/{ADA}");
        let port = house.service.address.port();
        for (url, reason) in [
            (format!("https://login.salesforce.com{path}"), "foreign_host_not_listed"),
            (format!("https://id.localhost{path}"), "foreign_host_not_listed"),
            (format!("https://x.id.localhost:{port}{path}"), "foreign_host_not_listed"),
            (format!("https://id.localhost.:{port}{path}"), "foreign_host_not_listed"),
            (format!("https://evilmy.salesforce.com.example.net{path}"), "foreign_host_not_listed"),
            (format!("https://my.salesforce.com@example.net{path}"), "malformed_credential"),
            (format!("https://id.localhost:{port}@127.0.0.1{path}"), "malformed_credential"),
            (format!("http://id.localhost:{port}{path}"), "malformed_credential"),
            (format!("https:\\\\id.localhost:{port}{path}"), "malformed_credential"),
            (format!("https://127.0.0.1:{port}{path}"), "malformed_credential"),
            (format!("https://[::1]:{port}{path}"), "malformed_credential"),
            (format!("https://2130706433:{port}{path}"), "malformed_credential"),
            (format!("https://id%2elocalhost:{port}{path}"), "malformed_credential"),
            (format!("https://xn--id-0xa.localhost:{port}{path}"), "foreign_host_not_listed"),
            (format!("https://id.localhost:{port}/services/oauth2/userinfo"), "malformed_credential"),
            (format!("https://id.localhost:{port}{path}?callback=x"), "malformed_credential"),
            (format!("https://id.localhost:{port}{path}#x"), "malformed_credential"),
            (format!("https://id.localhost:{port}/id/../id/00D8k00000QwErTEAV/{ADA}/.."), "malformed_credential"),
            ("file:///etc/passwd".to_owned(), "malformed_credential"),
            ("x".repeat(600), "malformed_credential"),
        ] {
            let answer = house.gateway.send(&get("/api/orders").header("ssid", &session("own", ADA)).header("surl", &url));
            assert_eq!((answer.status, house.reason(&answer).as_str()), (401, reason), "{url}");
        }
        assert_eq!(house.asked(), Vec::<String>::new(), "nobody was called");

        // The service itself sends the session elsewhere, and to itself.
        let away = house.come(&session("away", ADA), ADA);
        assert_eq!((away.status, house.reason(&away).as_str()), (401, "foreign_answer_unusable"));
        house.asked();
        let onward = house.gateway.send(&house.pair(get("/api/orders"), &session("onward", ADA), ADA));
        assert_eq!(onward.status, 200);
        assert_eq!(house.asked(), [path.clone(), path, "/services/oauth2/userinfo".to_owned()], "once more, and no further");
    });
}

#[test]
fn chain_04_a_listed_host_behind_our_walls_is_not_called_without_a_concession() {
    in_every_world(|| {
        let house = House::start();
        let text = std::fs::read_to_string(house.gateway.scratch.path().join("vestibule.toml")).unwrap();
        house.gateway.scratch.write("vestibule.toml", &text.replace("what = \"private-addresses\"\npartner = \"salesforce\"", "what = \"plain-http\"\npartner = \"127.0.0.1:1\"").replace("[[concession]]\nwhat = \"plain-http\"\npartner = \"127.0.0.1:1\"\nreason = \"the test's own service\"\nexpires = \"9999-12-31\"", ""));
        house.gateway.signal("HUP");
        crate::lifecycle::wait_for(|| {
            house.gateway.audit().iter().any(|record| record["event"] == "config.reloaded" && record["accepted"] == true)
        });
        house.asked();
        assert_eq!(house.come(&session("own", ADA), ADA).status, 503, "nobody proved to be anybody, and one step could not be asked");
        assert_eq!(house.asked(), Vec::<String>::new());
    });
}

#[test]
fn chain_05_an_organisation_that_is_not_listed_causes_no_call() {
    in_every_world(|| {
        let house = House::start();
        let url = house.service.url(ADA).replace("00D8k00000QwErTEAV", "00D8k00000OtHeREAV");
        let other = "00D8k00000OtHeR!own.0058k00000ZxCvB.padding";
        let answer = house.both("GET", "/api/orders", |request| request.header("ssid", other).header("surl", &url));
        assert_eq!((answer.status, house.reason(&answer).as_str()), (401, "foreign_organization_not_listed"));
        // The session's own organisation counts, too.
        let answer = house.gateway.send(&house.pair(get("/api/orders"), other, ADA));
        assert_eq!((answer.status, house.reason(&answer).as_str()), (401, "foreign_session_of_another"));
        assert_eq!(house.asked(), Vec::<String>::new());
        // And so does the one the service states.
        let elsewhere = house.come(&session("elsewhere", ADA), ADA);
        assert_eq!((elsewhere.status, house.reason(&elsewhere).as_str()), (401, "foreign_answer_unusable"));
    });
}

#[test]
fn chain_18_a_foreign_session_needs_no_token_against_foreign_pages() {
    in_every_world(|| {
        let house = House::start();
        let post =
            house.gateway.send(&house.pair(ask("POST", "/api/orders"), &session("own", ADA), ADA).header("Origin", "https://else.test"));
        assert_eq!(post.status, 200, "no page makes a browser send these headers without asking first: {post:?}");
    });
}

#[test]
fn chain_19_a_duplicated_session_id_is_a_malformed_step() {
    in_every_world(|| {
        let house = House::start();
        let twice = |target| house.pair(get(target), &session("own", ADA), ADA).header("ssid", &session("own", BOB));
        let open = house.gateway.send(&twice("/public/page"));
        assert_eq!((open.status, open.header("x-vestibule-auth")), (200, Some("anonymous")));
        let protected = house.gateway.send(&twice("/api/orders"));
        assert_eq!((protected.status, house.reason(&protected).as_str()), (401, "duplicate_credential"));
        assert_eq!(house.asked(), Vec::<String>::new());
    });
}

#[test]
fn what_the_service_answers_otherwise_lets_nobody_in() {
    let house = House::start();
    for (behaviour, status, reason) in [
        ("expired", 401, "foreign_session_refused"),
        ("former", 401, "disabled"),
        ("html", 401, "foreign_answer_unusable"),
        ("huge", 401, "foreign_answer_unusable"),
        ("down", 503, "unavailable"),
    ] {
        let answer = house.come(&session(behaviour, ADA), ADA);
        assert_eq!((answer.status, house.reason(&answer).as_str()), (status, reason), "{behaviour}");
    }
    // Slow: five seconds, and anonymous is still welcome where it was.
    let open = house.gateway.send(&house.pair(get("/public/page"), &session("slow", ADA), ADA));
    assert_eq!((open.status, open.header("x-vestibule-auth")), (200, Some("anonymous")));
    assert_eq!(house.come(&session("own", ADA), ADA).status, 200);
}

#[test]
fn an_answer_is_remembered_for_a_while_and_one_question_serves_many() {
    let house = House::start();
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| assert_eq!(house.gateway.send(&house.pair(get("/api/orders"), &session("own", ADA), ADA)).status, 200));
        }
    });
    assert_eq!(house.asked().len(), 2, "one identity, one owner");
    // What was remembered of the session is no licence for the account.
    let disabled = house.gateway.command(&["user", "disable", "ada", "--tenant", "north"]);
    assert!(disabled.status.success(), "{disabled:?}");
    crate::lifecycle::wait_for(|| house.gateway.send(&house.pair(get("/api/orders"), &session("own", ADA), ADA)).status == 401);
    assert_eq!(house.asked(), Vec::<String>::new());
}

#[test]
fn twenty_refusals_in_a_minute_close_the_way_for_an_address() {
    let house = House::start();
    for number in 0..20 {
        let session = format!("00D8k00000QwErT!unknown.{ADA}.{number:06}");
        assert_eq!(house.gateway.send(&house.pair(get("/api/orders"), &session, ADA)).status, 401);
    }
    house.asked();
    let right = house.gateway.send(&house.pair(get("/api/orders"), &session("own", ADA), ADA));
    assert_eq!((right.status, house.reason(&right).as_str()), (401, "address_gate_closed"));
    assert_eq!(house.asked(), Vec::<String>::new());
    assert_eq!(house.gateway.send(&get("/api/orders").basic(USERS[0].0, USERS[0].1)).status, 200, "passwords have counters of their own");
}

#[test]
fn a_name_links_an_account_once_and_then_the_ids_count() {
    // By mail address: eve's there is ada's, and was never verified.
    let house = House::with("link_by = \"email\"", "");
    for name in ["ada@north.example", "bob@north.example"] {
        let file = house.gateway.scratch.write("password", "does not matter here");
        let added = house.gateway.command(&[
            "user",
            "add",
            name,
            "--tenant",
            "north",
            "--group",
            "staff",
            "--password-file",
            file.to_str().unwrap(),
        ]);
        assert!(added.status.success(), "{added:?}");
    }
    let eve = house.come(&session("own", EVE), EVE);
    assert_eq!((eve.status, house.reason(&eve).as_str()), (401, "no_account"));
    assert_eq!(house.come(&session("own", ADA), ADA).status, 200);
    let link = || house.gateway.audit().into_iter().find(|record| record["action"] == "user.link" && record["by"] == "salesforce");
    crate::lifecycle::wait_for(|| link().is_some());
    let linked = link().unwrap();
    assert_eq!(linked["subject"], "ada@north.example is 00D8k00000QwErT/0058k00000ZxCvB at urn:vestibule:salesforce");
    assert!(!house.gateway.log().contains("own."), "no session id in the log");

    // Linked by an administrator, under a name that has nothing to do with it; and unlinked, nobody comes.
    let house = House::with("", "");
    let nobody = house.come(&session("own", BOB), BOB);
    assert_eq!((nobody.status, house.reason(&nobody).as_str()), (401, "no_account"));
    let id = "00D8k00000QwErT/0058k00000BoBbB";
    let link = house.gateway.command(&["user", "link", "ada", "--tenant", "north", "--issuer", "urn:vestibule:salesforce", "--id", id]);
    assert!(link.status.success(), "{link:?}");
    assert_eq!(house.come(&session("own", BOB), BOB).status, 200);
    assert_eq!(house.gateway.application.last().header("x-vestibule-user"), Some("ada"));
}

#[test]
fn somebody_elses_namesake_is_not_linked() {
    let house = House::start();
    let link =
        ["user", "link", "bob", "--tenant", "north", "--issuer", "urn:vestibule:salesforce", "--id", "00D8k00000QwErT/0058k00000ZzZzZ"];
    assert!(house.gateway.command(&link).status.success());
    let namesake = house.come(&session("own", BOB), BOB);
    assert_eq!((namesake.status, house.reason(&namesake).as_str()), (401, "linked_to_another"));
}
