//! Sessions that go on while their provider stands by them, which is asked by refresh tokens.

use serde_json::json;

use super::{CLIENT_SECRET, CONFIG, House, SUBJECTS, link, section};
use crate::cluster;
use crate::openid_provider::OpenidProvider;
use crate::peers::{self, Postgres};
use crate::support::{Answer, Browser, Gateway, exchange, get, hidden_fields};

/// Asks again after a second.
const EAGER: &str = "scopes = [\"profile\", \"offline_access\"]\nrefresh = \"1s\"\ngroup_claim = \"groups\"\n\
    groups = { crew = \"staff\" }\nattributes = { department = \"department\" }";

impl House {
    /// From now on refresh tokens of somebody are answered so.
    fn stands(&self, person: &str, how: &str) {
        stands(&self.provider, person, how);
    }

    fn watchful(settings: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let provider = runtime.block_on(OpenidProvider::start("op.localhost")).unwrap();
        let told = "[inject.headers]\ntype = \"headers\"\nmap = { X-Vestibule-User = \"user\", X-Department = \"attribute:department\" }\n";
        let config = format!(
            "{}\n{told}{}",
            CONFIG.replace("{{names}}", "\"op\""),
            section("op", &provider.issuer(), &format!("{EAGER}\n{settings}"))
        );
        let gateway = Gateway::with_files(&config, &[("secret", CLIENT_SECRET)]).with_users();
        Self { gateway, provider, runtime: Some(runtime) }.linked()
    }

    fn load(&self, browser: &mut Browser<'_>) -> Answer {
        browser.load(&self.page("/page"))
    }

    /// The record that says why the session of this request ended.
    fn why(&self, answer: &Answer) -> (serde_json::Value, serde_json::Value) {
        let mut found = None;
        wait_for(|| {
            let records = self.gateway.audit_of(answer);
            let ended = records.iter().any(|record| record["event"] == "session.ended" && record["reason"] == "withdrawn");
            let refused = records.iter().find(|record| record["event"] == "answer.refused");
            found = refused.map(|record| (record["check"].clone(), record["reason"].clone())).filter(|_| ended);
            found.is_some()
        });
        found.unwrap()
    }
}

fn wait_for(condition: impl FnMut() -> bool) {
    peers::wait_for("the provider", condition);
}

fn stands(provider: &OpenidProvider, person: &str, how: &str) {
    let told = exchange(provider.address, &get(&format!("/stands?person={person}&how={how}")).octets("op.localhost"));
    assert_eq!(told.status, 200);
}

#[test]
fn a_session_goes_on_with_what_its_provider_says_now() {
    let house = House::watchful("");
    let mut ada = house.signed_in("ada");
    let department = || house.gateway.application.last().header("x-department").map(str::to_owned);
    assert_eq!(department().as_deref(), Some("crew"), "at first the login holds");
    // Each answer brings another refresh token, and none is used twice.
    wait_for(|| house.load(&mut ada).status == 200 && house.asked("refresh") >= 3);
    // An attribute changes within the session, on every host of it.
    house.stands("ada", "promoted");
    wait_for(|| house.load(&mut ada).status == 200 && department().as_deref() == Some("bridge"));
    let shop = ada.visit(&format!("http://shop.north.localhost:{}/", house.gateway.public));
    assert_eq!((shop.status, department().as_deref()), (200, Some("bridge")));
    // Without a new ID token its claims are left as they were: the group stood in it.
    house.stands("ada", "wordless");
    let before = house.asked("refresh");
    wait_for(|| house.load(&mut ada).status == 200 && house.asked("refresh") >= before + 2);
    assert_eq!(department().as_deref(), Some("crew"), "what UserInfo says counts");
    // Who loses a group loses the session.
    house.stands("ada", "moved");
    wait_for(|| house.load(&mut ada).status == 303);
    assert_eq!(house.asked("theft"), 0);
    let shown = house.gateway.command(&["user", "show", "ada", "--tenant", "north"]);
    assert!(!String::from_utf8_lossy(&shown.stdout).contains("staff"), "{shown:?}");
}

#[test]
fn a_session_ends_when_its_provider_does_not_stand_by_it() {
    let house = House::watchful("on_outage = \"stop\"");
    for (how, check, reason) in [
        ("over", "token response", "provider_error"),
        ("somebody-else", "subject", "wrong_subject"),
        ("other-nonce", "nonce", "wrong_nonce"),
        ("forged", "signature", "signature_invalid"),
    ] {
        house.stands("ada", "");
        let (mut ada, mut bob) = (house.signed_in("ada"), house.signed_in("bob"));
        house.stands("ada", how);
        let mut last = None;
        wait_for(|| {
            let answer = house.load(&mut ada);
            let out = answer.status == 303;
            last = Some(answer);
            out
        });
        assert_eq!(house.why(&last.unwrap()), (json!(check), json!(reason)), "{how}");
        assert_eq!(ada.load(&format!("http://{}/", super::PORTAL)).status, 303, "{how}: the portal's session, too");
        assert_eq!(house.load(&mut bob).status, 200, "{how}: nobody else's");
    }
    let log = house.gateway.log();
    assert!(!log.contains("refresh-") && !log.contains("access-"), "{log}");
    // Nor in the store, where the session there rests sealed.
    let _bob = house.signed_in("bob");
    for entry in std::fs::read_dir(house.gateway.store().parent().unwrap()).unwrap().flatten() {
        let octets = std::fs::read(entry.path()).unwrap_or_default();
        assert!(!octets.windows(8).any(|run| run == b"refresh-"), "{:?}", entry.path());
    }
}

#[test]
fn an_outage_is_no_end_and_a_session_may_be_told_to_wait_for_it() {
    for (settings, waits) in [("", false), ("on_outage = \"stop\"", true)] {
        let house = House::watchful(settings);
        for how in ["down", "html", "stranger"] {
            house.stands("ada", "");
            let mut ada = house.signed_in("ada");
            house.stands("ada", how);
            let before = house.asked("refresh");
            let mut statuses = Vec::new();
            wait_for(|| {
                statuses.push(house.load(&mut ada).status);
                house.asked("refresh") > before && statuses.len() > 1
            });
            assert!(!statuses.contains(&303), "{how}: nobody is signed out: {statuses:?}");
            wait_for(|| house.load(&mut ada).status == if waits { 503 } else { 200 });
            // Only with the provider's own answer the rest of the page is worth waiting for.
            house.stands("ada", "");
            wait_for(|| house.load(&mut ada).status == 200);
        }
        assert_eq!(house.asked("theft"), 0);
    }
}

#[test]
fn without_a_refresh_token_or_the_setting_a_session_goes_by_our_own_limits() {
    for settings in ["refresh = \"1s\"", "scopes = \"offline_access\""] {
        let house = House::start(settings).linked();
        let mut ada = house.signed_in("ada");
        house.stands("ada", "over");
        std::thread::sleep(std::time::Duration::from_millis(1500));
        for _ in 0..3 {
            assert_eq!(house.load(&mut ada).status, 200, "{settings}");
        }
        assert_eq!((house.asked("refresh"), house.gateway.log().contains("it gave no refresh token")), (0, settings.contains("1s")));
    }
}

/// One login, many requests at once on two nodes: its provider takes a refresh token that comes twice for a theft.
#[test]
fn of_two_nodes_one_asks() {
    let Some(postgres) = Postgres::start() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let provider = runtime.block_on(OpenidProvider::start("op.localhost")).unwrap();
    let config = format!(
        "{}\n[scheme.oidc]\ntype = \"oidc\"\nopenid_provider = \"op\"\n{}",
        cluster::over(postgres.port, None).replace("\"basic\", \"form\"]", "\"basic\", \"oidc\", \"form\"]"),
        section("op", &provider.issuer(), EAGER)
    );
    let files: Vec<(&str, &str)> = cluster::FILES.into_iter().chain([("secret", CLIENT_SECRET)]).collect();
    let gateway = Gateway::with_files(&config, &files).with_users();
    let other = gateway.beside(&config, &files);
    link(&gateway, &provider.issuer(), "ada", SUBJECTS[0].0);
    let house = House { gateway, provider, runtime: Some(runtime) };
    let ada = house.signed_in("ada");
    let cookie = ada.cookie("app.north.localhost", "vestibule").unwrap();
    // So slowly that each node would have time to ask, too.
    house.stands("ada", "late");
    std::thread::scope(|scope| {
        for at in 0..8 {
            let (house, other, cookie) = (&house, &other, &cookie);
            scope.spawn(move || {
                let node = if at % 2 == 0 { &house.gateway } else { other };
                wait_for(|| {
                    let answer = node.send(&get("/api/orders").cookie("vestibule", cookie));
                    assert_eq!(answer.status, 200, "{answer:?}");
                    house.asked("refresh") >= 3
                });
            });
        }
    });
    assert_eq!(house.asked("theft"), 0);
    // What one node is told holds on the other.
    house.stands("ada", "over");
    let status = |node: &Gateway| node.send(&get("/api/orders").cookie("vestibule", &cookie)).status;
    wait_for(|| status(&house.gateway) == 401);
    wait_for(|| status(&other) == 401);
}

#[test]
fn whoever_signs_out_leaves_nothing_to_ask_with() {
    let house = House::watchful("");
    let sign_out = |browser: &mut Browser<'_>, more: &[(&str, &str)]| {
        let page = browser.load(&format!("http://{}/logout", super::PORTAL));
        let hidden = hidden_fields(&page.body);
        let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields.extend(more);
        browser.post(super::PORTAL, "/logout", &fields)
    };
    let (mut desk, mut phone, _bob) = (house.signed_in("ada"), house.signed_in("ada"), house.signed_in("bob"));
    assert_eq!(sign_out(&mut desk, &[]).status, 200);
    wait_for(|| house.asked("revoked") == 1);
    assert_eq!(house.load(&mut phone).status, 200, "another session of hers goes on");
    // Everywhere: those of her other sessions, too, and nobody else's.
    let _tablet = house.signed_in("ada");
    assert_eq!(sign_out(&mut phone, &[("everywhere", "yes")]).status, 200);
    wait_for(|| house.asked("revoked") == 3);
    // A provider that does not take it back keeps nobody here.
    let mut again = house.signed_in("ada");
    house.stands("ada", "down");
    assert_eq!(sign_out(&mut again, &[]).status, 200);
    wait_for(|| house.gateway.log().contains("a refresh token could not be taken back"));
    assert_eq!(house.load(&mut again).status, 303);
    assert_eq!((house.asked("revoked"), house.asked("/revoke")), (3, 4));
    assert!(!house.gateway.log().contains("refresh-"), "{}", house.gateway.log());
}
