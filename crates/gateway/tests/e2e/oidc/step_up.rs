//! Routes that ask for more than a password: who came weakly is sent to prove themselves better.

use serde_json::json;

use super::{CONFIG, House, PORTAL, section};
use crate::openid_provider::{OpenidProvider, SECOND_FACTOR};
use crate::support::{Browser, Gateway, USERS, get, in_every_world, world};

/// A house whose vault asks for a second factor, which its provider knows.
fn vaulted() -> House {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let provider = runtime.block_on(OpenidProvider::start("op.localhost")).unwrap();
    let config = format!(
        "{}\n[[route]]\nname = \"vault\"\nmatch = \"/vault/**\"\nlevel = 20\npolicies = [\"policy.cedar\"]\ninject = [\"headers\"]\n\
         forward = \"http://{{{{app}}}}\"\n\n[scheme.basic]\ntype = \"basic\"\nrealm = \"local\"\n\n[inject.headers]\ntype = \"headers\"\n\
         map = {{ X-Vestibule-User = \"user\", X-Level = \"level\" }}\n{}",
        CONFIG.replace("{{names}}", "\"op\"").replace("\"oidc\", \"form\"]", "\"basic\", \"oidc\", \"form\"]"),
        section("op", &provider.issuer(), &format!("levels = {{ \"{SECOND_FACTOR}\" = 20 }}"))
    );
    let gateway = Gateway::with_files(&config, &[("secret", super::CLIENT_SECRET)]).with_users();
    House { gateway, provider, runtime: Some(runtime) }.linked()
}

impl House {
    /// Goes to a page of the vault, as far as the provider's answer.
    fn raise(&self, browser: &mut Browser<'_>, hint: &str) -> String {
        let sent = browser.load(&self.page("/vault/gold?x=1"));
        let location = sent.header("location").unwrap_or_else(|| panic!("{sent:?}")).to_owned();
        assert!(sent.status == 303 && location.contains(&format!("//{PORTAL}")) && location.ends_with("&level=20"), "{location}");
        let start = browser.load(&format!("{location}&login_hint={hint}"));
        assert!(start.header("location").unwrap().contains("acr_values=urn%3Ademo%3Asecond-factor"), "{start:?}");
        self.answer(&start)
    }
}

#[test]
fn who_is_signed_in_too_weakly_proves_more_and_goes_on() {
    in_every_world(|| {
        let house = vaulted();
        let mut ada = house.signed_in("ada");
        let weak = ada.cookie("app.north.localhost", "vestibule").unwrap();
        let back = house.raise(&mut ada, "own.ada");
        let arrived = ada.load(&back);
        assert_eq!(arrived.status, 303, "{arrived:?}");
        let shown = ada.visit(arrived.header("location").unwrap());
        assert_eq!(shown.status, 200, "{:?} {shown:?}", world());
        let received = house.gateway.application.last();
        assert_eq!((received.line.as_str(), received.header("x-level")), ("GET /vault/gold?x=1 HTTP/1.1", Some("20")));
        // It is another session, and the weaker one is over: who stole that has not come to more.
        assert_eq!(house.gateway.send(&get("/page").cookie("vestibule", &weak)).status, 401);
        // Nobody is asked again.
        let before = house.asked("/authorize");
        assert_eq!((ada.load(&house.page("/vault/silver")).status, ada.load(&house.page("/page")).status), (200, 200));
        assert_eq!(house.asked("/authorize"), before);
    });
}

#[test]
fn a_provider_that_is_content_with_less_raises_nobody() {
    let house = vaulted();
    let mut ada = house.signed_in("ada");
    let back = house.raise(&mut ada, "weak.ada");
    let refused = ada.load(&back);
    assert!(refused.status == 403 && refused.body.contains("A stronger sign-in is needed"), "{refused:?}");
    assert_eq!(house.reason(&refused).0, json!("weak_proof"));
    // She is who she was, and may try again from there.
    assert_eq!(ada.load(&house.page("/page")).status, 200);
    assert!(refused.body.contains("level=20"), "{}", refused.body);
    // In the reader's language.
    let german = house.gateway.send_to(PORTAL, &get("/login?level=99").browser().header("Accept-Language", "de"));
    assert!(german.status == 403 && german.body.contains("Eine stärkere Anmeldung ist nötig"), "{german:?}");
}

#[test]
fn who_cannot_be_sent_is_refused_and_told_why() {
    in_every_world(|| {
        let house = vaulted();
        let session = house.signed_in("ada").cookie("app.north.localhost", "vestibule").unwrap();
        let (name, password, _) = USERS[0];
        for request in [
            get("/vault/gold").cookie("vestibule", &session),
            get("/vault/gold").cookie("vestibule", &session).script(),
            get("/vault/gold").basic(name, password),
            // A browser would bring it again.
            get("/vault/gold").basic(name, password).browser(),
        ] {
            let refused = house.gateway.send(&request);
            assert!(refused.status == 403 && refused.body.contains("A stronger sign-in is needed"), "{:?} {refused:?}", world());
            let records = house.gateway.audit_of(&refused);
            assert!(records.iter().any(|record| record["event"] == "request.decided" && record["reason"] == "weak_proof"), "{records:?}");
        }
        let soap = get("/vault/gold").cookie("vestibule", &session).header("SOAPAction", "\"\"");
        let refused = house.gateway.send(&soap);
        assert!(refused.status == 500 && refused.body.contains("A stronger sign-in is needed"), "{refused:?}");
        // Nobody's request is a matter of signing in, not of how well.
        assert_eq!(house.gateway.send(&get("/vault/gold")).status, 401);
    });
}

#[test]
fn explain_says_what_is_lacking() {
    let house = vaulted();
    let session = house.signed_in("ada").cookie("app.north.localhost", "vestibule").unwrap();
    let cookie = house.gateway.scratch.write("cookie", &format!("Cookie: vestibule={session}\n"));
    let explained = house.gateway.command(&["explain", "GET", &house.page("/vault/gold"), "--header", &format!("@{}", cookie.display())]);
    let text = String::from_utf8_lossy(&explained.stdout).into_owned();
    assert!(text.contains("the route asks for a stronger proof") && text.contains("level=20"), "{text}");
}
