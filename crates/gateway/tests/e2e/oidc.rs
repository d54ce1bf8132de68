//! The tenant as an OpenID Connect relying party, against a provider that plays every attack of the code flow.

mod logout;
pub mod peer;
mod refresh;
mod step_up;

use std::sync::Arc;

use serde_json::{Value, json};

use crate::openid_provider::{CLIENT_SECRET, OpenidProvider, SUBJECTS};
use crate::shown::Shown;
use crate::support::{Answer, Browser, Gateway, exchange, get};

const PORTAL: &str = "login.north.localhost";
const CONFIG: &str = include_str!("oidc/oidc.toml");
/// As everybody is told who could not be signed in.
const SORRY: &str = "You could not be signed in";

struct House {
    gateway: Gateway,
    provider: Arc<OpenidProvider>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl House {
    /// A gateway with one provider, `op`, of which there are more settings.
    fn start(settings: &str) -> Self {
        Self::below("", settings)
    }

    /// The same with a provider whose issuer has a path.
    fn below(path: &str, settings: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let provider = runtime.block_on(OpenidProvider::start("op.localhost")).unwrap();
        let config =
            format!("{}\n{}", CONFIG.replace("{{names}}", "\"op\""), section("op", &format!("{}{path}", provider.issuer()), settings));
        let gateway = Gateway::with_files(&config, &[("secret", CLIENT_SECRET)]).with_users();
        Self { gateway, provider, runtime: Some(runtime) }
    }

    fn linked(self) -> Self {
        for (subject, name, ..) in SUBJECTS.iter().take(2) {
            link(&self.gateway, &self.provider.issuer(), name, subject);
        }
        self
    }

    /// Begins a login and gives the address at which the browser comes back: the provider has answered.
    fn leave(&self, browser: &mut Browser<'_>, hint: &str) -> String {
        let start = browser.load(&format!("http://{PORTAL}/login?idp=op&login_hint={hint}&return_to={}", encoded(&self.page("/page?x=1"))));
        assert_eq!(start.status, 303, "{start:?}");
        self.answer(&start)
    }

    /// What the provider answers to the address that a redirect leads to.
    fn answer(&self, start: &Answer) -> String {
        let location = url::Url::parse(start.header("location").unwrap()).unwrap();
        assert_eq!(location.host_str(), Some("op.localhost"), "{location}");
        let answer = exchange(self.provider.address, &get(&location[url::Position::BeforePath..]).octets("op.localhost"));
        answer.header("location").unwrap_or_else(|| panic!("{answer:?}")).to_owned()
    }

    /// A login from its beginning to its end.
    fn come(&self, browser: &mut Browser<'_>, hint: &str) -> Answer {
        let back = self.leave(browser, hint);
        browser.load(&back)
    }

    fn page(&self, path: &str) -> String {
        format!("http://app.north.localhost:{}{path}", self.gateway.public)
    }

    /// How often the provider was asked for this.
    fn asked(&self, path: &str) -> u64 {
        let answer = exchange(self.provider.address, &get("/asked").octets("op.localhost"));
        serde_json::from_str::<Value>(&answer.body).unwrap()[path].as_u64().unwrap_or(0)
    }

    /// The reason in the audit, and the check that failed.
    fn reason(&self, answer: &Answer) -> (Value, Value) {
        // What led to a decision is written behind it.
        for _ in 0..1500 {
            let records = self.gateway.audit_of(answer);
            let of = |event: &str| records.iter().find(|record| record["event"] == event).cloned().unwrap_or_default();
            let reason = of("login.rejected")["reason"].clone();
            if !reason.is_null() {
                return (reason, of("answer.refused")["check"].clone());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        (Value::Null, Value::Null)
    }
}

fn section(name: &str, issuer: &str, settings: &str) -> String {
    let secret = if settings.contains("private-key-jwt") { "" } else { "client_secret = { file = \"secret\" }" };
    format!("[openid_provider.{name}]\nissuer = \"{issuer}\"\nclient_id = \"vestibule\"\n{secret}\n{settings}\n")
}

fn link(gateway: &Gateway, issuer: &str, user: &str, subject: &str) {
    let issuer = format!("oidc:{issuer}");
    let linked = gateway.command(&["user", "link", user, "--tenant", "north", "--issuer", &issuer, "--id", subject]);
    assert!(linked.status.success(), "{linked:?}");
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

#[test]
fn somebody_signs_in_and_is_at_the_page_they_asked_for() {
    let house = House::start("").linked();
    let mut browser = house.gateway.browser();
    let back = house.leave(&mut browser, "own.ada");
    assert!(back.contains("/oidc/rp/callback/op?") && !back.contains("verifier"), "{back}");
    let arrived = browser.load(&back);
    assert_eq!(arrived.status, 303, "{arrived:?}");
    let shown = browser.visit(arrived.header("location").unwrap());
    assert_eq!(shown.status, 200, "{shown:?}");
    let received = house.gateway.application.last();
    assert_eq!((received.line.as_str(), received.header("x-vestibule-user")), ("GET /page?x=1 HTTP/1.1", Some("ada")));
    let records = house.gateway.audit_of(&arrived);
    let success = records.iter().find(|record| record["event"] == "login.succeeded").unwrap();
    assert_eq!((&success["scheme"], &success["realm"], &success["subject"]), (&json!("oidc"), &json!("op"), &json!("ada")));

    // The back button: the page, not an error, and nobody is asked again.
    let again = browser.load(&back);
    assert_eq!(again.status, 303, "{again:?}");
    assert_eq!(house.asked("/token"), 1);
    // In another browser it is nothing: the code is not even exchanged.
    let stolen = house.gateway.browser().load(&back);
    assert_eq!((stolen.status, house.reason(&stolen)), (403, (json!({"oidc": "wrong_state"}), json!("state"))));
    assert!(!stolen.cookies().contains_key("vestibule"));
    assert_eq!(house.asked("/token"), 1);
    // What is secret stands in no log.
    let log = house.gateway.log();
    for secret in ["access-", "code-1", CLIENT_SECRET] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let house = House::start("").linked();
    let mut shown = Shown::on("oidc.md");
    shown.know("host", &format!("app.north.localhost:{}", house.gateway.public));
    shown.know("portal", &format!("{PORTAL}:{}", house.gateway.public));
    shown.next(|octets| exchange(house.gateway.address, octets));
    let away = shown.next(|octets| exchange(house.gateway.address, octets));
    let address = format!("{}&login_hint=own.ada", away.header("location").unwrap());
    let address = url::Url::parse(&address).unwrap();
    let back = exchange(house.provider.address, &get(&address[url::Position::BeforePath..]).octets("op.localhost"));
    let back = url::Url::parse(back.header("location").unwrap()).unwrap();
    for (name, value) in back.query_pairs() {
        match &*name {
            "code" => shown.know("code", &value),
            "iss" => shown.know("issuer", &url::form_urlencoded::byte_serialize(value.as_bytes()).collect::<String>()),
            _ => {}
        }
    }
    shown.next(|octets| exchange(house.gateway.address, octets));
    for path in ["/token", "/userinfo"] {
        let request = exchange(house.provider.address, &get(&format!("/received?path={path}")).octets("op.localhost"));
        shown.asked(&request.body);
    }
    shown.end();
}

#[test]
fn no_hostile_answer_signs_anybody_in_and_all_are_told_the_same() {
    let house = House::start("").linked();
    for (behaviour, reason, check) in [
        ("unsigned", "algorithm_refused", "algorithm"),
        ("hmac", "algorithm_refused", "algorithm"),
        ("two-kids", "malformed", "form"),
        ("unpublished", "unknown_key", "key"),
        ("confused", "signature_invalid", "signature"),
        ("access-token", "wrong_type", "type"),
        ("other-audience", "wrong_audience", "audience"),
        ("other-party", "wrong_audience", "authorized party"),
        ("other-issuer", "wrong_issuer", "issuer"),
        ("other-nonce", "wrong_nonce", "nonce"),
        ("no-nonce", "wrong_nonce", "nonce"),
        ("expired", "expired", "expiry"),
        ("ahead", "not_yet_valid", "not before"),
        ("other-access", "wrong_hash", "access token hash"),
        ("swapped", "wrong_subject", "userinfo subject"),
        ("mixed-up", "wrong_issuer", "answer issuer"),
        ("silent", "wrong_issuer", "answer issuer"),
        ("twice", "ambiguous", "answer"),
        ("denied", "provider_error", "answer"),
        ("huge", "limits", "token response"),
        ("html", "malformed", "token response"),
        ("away", "malformed", "token response"),
    ] {
        let mut browser = house.gateway.browser();
        let answer = house.come(&mut browser, &format!("{behaviour}.ada"));
        assert_eq!(answer.status, 403, "{behaviour}: {answer:?}");
        assert_eq!(house.reason(&answer), (json!({ "oidc": reason }), json!(check)), "{behaviour}");
        assert!(!answer.cookies().contains_key("vestibule"), "{behaviour}");
        assert!(answer.body.contains(SORRY), "{behaviour}: one text for all");
        assert!(
            !answer.body.contains(check) || check == "key" || check == "form" || check == "type" || check == "answer",
            "{behaviour}: {check}"
        );
    }
    // Forged tokens make us fetch the keys once more, and not again.
    for _ in 0..3 {
        assert_eq!(house.come(&mut house.gateway.browser(), "unpublished.ada").status, 403);
    }
    assert_eq!(house.asked("/keys"), 2);
    // An outage is told as one, and is nobody's fault.
    let down = house.come(&mut house.gateway.browser(), "down.ada");
    assert_eq!((down.status, down.header("retry-after").is_some()), (503, true));
    // And whoever comes properly comes in.
    assert_eq!(house.come(&mut house.gateway.browser(), "own.ada").status, 303);
}

#[test]
fn keys_that_change_are_found_and_a_provider_that_is_away_is_remembered() {
    let mut house = House::start("").linked();
    assert_eq!(house.come(&mut house.gateway.browser(), "own.ada").status, 303);
    assert_eq!(house.come(&mut house.gateway.browser(), "rotated.ada").status, 303, "the new key is fetched");
    assert_eq!(house.come(&mut house.gateway.browser(), "own.bob").status, 303);
    assert_eq!((house.asked("/keys"), house.asked("/.well-known/openid-configuration")), (2, 2));
    let mut browser = house.gateway.browser();
    let back = house.leave(&mut browser, "own.ada");
    house.runtime.take().unwrap().shutdown_background();
    let start = house.gateway.browser().load(&format!("http://{PORTAL}/login?idp=op"));
    assert_eq!(start.status, 303, "where it is, is known");
    let answer = browser.load(&back);
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(!answer.cookies().contains_key("vestibule"));
}

#[test]
fn a_provider_that_cannot_be_understood_leads_nobody_anywhere() {
    for path in ["liar", "plain", "inward", "keyless", "huge", "away", "down", "unpkced"] {
        let house = House::below(&format!("/{path}"), "");
        let start = house.gateway.browser().load(&format!("http://{PORTAL}/login?idp=op"));
        assert_eq!((start.status, start.header("location")), (503, None), "{path}: {start:?}");
        // The form is there all the same.
        let form = house.gateway.browser().load(&format!("http://{PORTAL}/login?login"));
        assert!(form.body.contains("name=\"password\""), "{path}");
        if path == "inward" {
            assert!(house.gateway.log().contains("not public"), "{}", house.gateway.log());
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test that measures time")]
fn a_slow_provider_keeps_its_own_users_waiting_and_nobody_else() {
    let house = House::start("").linked();
    let mut bob = house.gateway.browser();
    let arrived = house.come(&mut bob, "own.bob");
    assert_eq!(bob.visit(arrived.header("location").unwrap()).status, 200);
    let mut ada = house.gateway.browser();
    let back = house.leave(&mut ada, "slow.ada");
    let began = std::time::Instant::now();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ada.load(&back));
        while !waiting.is_finished() {
            let asked = std::time::Instant::now();
            assert_eq!(bob.load(&house.page("/page")).status, 200);
            assert!(asked.elapsed() < std::time::Duration::from_secs(7), "others wait, too");
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        let answer = waiting.join().unwrap();
        assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{answer:?}");
        assert!(!answer.cookies().contains_key("vestibule"));
    });
    // Eight seconds, and what the machine adds.
    assert!(began.elapsed() < std::time::Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn one_providers_answer_is_nothing_at_anothers_address() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (one, other) = (
        runtime.block_on(OpenidProvider::start("op.localhost")).unwrap(),
        runtime.block_on(OpenidProvider::start("op2.localhost")).unwrap(),
    );
    let sections = format!(
        "{}{}",
        section("op", &one.issuer(), "title = \"The first\""),
        section("lab", &other.issuer(), "domains = [\"lab.example\"]")
    );
    let config = format!("{}\n{sections}", CONFIG.replace("{{names}}", "\"op\", \"lab\""));
    let gateway = Gateway::with_files(&config, &[("secret", CLIENT_SECRET)]).with_users();
    link(&gateway, &one.issuer(), "ada", SUBJECTS[0].0);
    let house = House { gateway, provider: one, runtime: Some(runtime) };
    // Both are there to choose from, and the form; a mail address chooses, too.
    let choice = house.gateway.browser().load(&format!("http://{PORTAL}/login"));
    assert!(choice.body.contains("idp=op") && choice.body.contains("The first") && choice.body.contains("idp=lab"), "{}", choice.body);
    let led = house.gateway.browser().load(&format!("http://{PORTAL}/login?login_hint=x%40lab.example"));
    assert!(led.header("location").unwrap().starts_with(&other.issuer()));
    // Mix-up: the browser was to go to `lab`, and brings what `op` answered.
    let mut browser = house.gateway.browser();
    let back = house.leave(&mut browser, "own.ada");
    let elsewhere = browser.load(&back.replace("/callback/op?", "/callback/lab?"));
    assert_eq!((elsewhere.status, house.reason(&elsewhere).0), (403, json!({"oidc": "wrong_state"})));
    assert_eq!((house.asked("/token"), browser.load(&back).status), (0, 303), "where it belongs it counts");
}

#[test]
fn a_login_is_finished_once_even_where_its_provider_forgets_to_look() {
    let house = House::start("").linked();
    let mut browser = house.gateway.browser();
    let back = house.leave(&mut browser, "forgetful.ada");
    let url = url::Url::parse(&back).unwrap();
    let state = url.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    let name = format!("vestibule-login.{state}");
    let cookie = browser.cookie(PORTAL, &name).expect("a journey");
    assert_eq!(browser.load(&back).status, 303);
    // The journey as it was, without the session: the code is exchanged again, and counts for nothing.
    let again = house.gateway.send_to(PORTAL, &get(&url[url::Position::BeforePath..]).browser().cookie(&name, &cookie));
    assert_eq!((again.status, house.reason(&again).0, house.asked("/token")), (403, json!("replayed"), 2));
    assert!(!again.cookies().contains_key("vestibule"));
}

/// As with SAML: what was used changes no account, and makes none.
#[test]
fn a_login_that_was_finished_brings_no_removed_account_back() {
    let house = House::start("provision = true\nname = \"preferred_username\"");
    let mut browser = house.gateway.browser();
    let back = house.leave(&mut browser, "forgetful.zoe");
    let mut as_it_left = browser.clone();
    assert_eq!(browser.load(&back).status, 303);
    let of_zoe = |verb: &str| house.gateway.command(&["user", verb, "zoe", "--tenant", "north"]).status.success();
    assert!(of_zoe("delete"));
    let again = as_it_left.load(&back);
    assert_eq!((again.status, house.reason(&again).0, house.asked("/token")), (403, json!("replayed"), 2));
    assert!(!of_zoe("show"));
}

#[test]
fn what_the_provider_says_of_somebody_becomes_their_account() {
    let settings = r#"
        provision = true
        name = "preferred_username"
        display_name = "name"
        email = "email"
        group_claim = "groups"
        groups = { crew = "staff" }
        attributes = { department = "department" }
        max_age = "1h"
        acr_values = ["urn:demo:password"]
        levels = { "urn:demo:password" = 15 }
        parameters = { ui_locales = "en" }
    "#;
    let house = House::start(settings);
    let mut browser = house.gateway.browser();
    let start = browser.load(&format!("http://{PORTAL}/login?idp=op&login_hint=own.zoe"));
    let location = start.header("location").unwrap();
    for part in
        ["max_age=3600", "acr_values=urn%3Ademo%3Apassword", "ui_locales=en", "scope=openid+profile+email", "code_challenge_method=S256"]
    {
        assert!(location.contains(part), "{part}: {location}");
    }
    let back = house.answer(&start);
    assert_eq!(browser.load(&back).status, 303);
    let shown = house.gateway.command(&["user", "show", "zoe", "--tenant", "north"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(shown.contains("zoe of the demo") && shown.contains("zoe@north.example"), "{shown}");
    assert_eq!(browser.visit(&house.page("/page")).status, 403, "her groups have no name here, and no policy permits her");
    // Too long ago for us.
    let stale = house.come(&mut house.gateway.browser(), "stale.zoe");
    assert_eq!((stale.status, house.reason(&stale)), (403, (json!({"oidc": "stale"}), json!("authentication time"))));
    // Bob's name is taken by an account that nobody linked.
    let taken = house.come(&mut house.gateway.browser(), "own.bob");
    assert_eq!((taken.status, house.reason(&taken).0), (403, json!("no_account")));
    // Asked to prove herself anew, she has to.
    let anew = browser.load(&format!("http://{PORTAL}/login?idp=op&prompt=login&login_hint=stale.zoe"));
    assert!(anew.header("location").unwrap().contains("prompt=login&max_age=0"), "{anew:?}");
    let back = house.answer(&anew);
    assert_eq!(browser.load(&back).status, 403);
}

#[test]
fn whoever_may_not_enter_is_refused_at_this_door_too() {
    let house = House::start("").linked();
    assert!(house.gateway.command(&["user", "disable", "ada", "--tenant", "north"]).status.success());
    for (person, reason) in [("ada", "disabled"), ("zoe", "unknown_user")] {
        let answer = house.come(&mut house.gateway.browser(), &format!("own.{person}"));
        assert_eq!((answer.status, house.reason(&answer).0), (403, json!(reason)), "{person}");
        assert!(answer.body.contains(SORRY));
    }
}

#[test]
fn a_browser_that_goes_round_is_told_so() {
    let house = House::start("").linked();
    let mut browser = house.gateway.browser();
    for _ in 0..3 {
        assert_eq!(house.come(&mut browser, "own.ada").status, 303);
        browser.forget("vestibule");
    }
    let stuck = browser.visit(&house.page("/page?x=1"));
    assert_eq!(stuck.status, 409, "{stuck:?}");
    assert!(house.gateway.audit_of(&stuck).iter().any(|record| record["reason"] == "loop"));
}
