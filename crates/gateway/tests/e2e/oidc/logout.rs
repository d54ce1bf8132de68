//! Signing out, here and there.

use serde_json::json;
use vestibule_saml::Sendable as _;
use vestibule_saml::binding::{Kind, Redirect, signed_redirect_url};
use vestibule_saml::names::status;
use vestibule_saml::protocol::{LogoutRequest, LogoutResponse, Status};

use super::{House, PORTAL, SUBJECTS, link};
use crate::saml_idp;
use crate::support::{Answer, Browser, ask, exchange, get, hidden_fields};

impl House {
    /// A logout token that the provider would send.
    fn logout_token(&self, person: &str, how: &str) -> String {
        exchange(self.provider.address, &get(&format!("/logout-token?person={person}&how={how}")).octets("op.localhost")).body
    }

    fn say_over(&self, token: &str) -> Answer {
        self.gateway.send_to(PORTAL, &ask("POST", "/oidc/rp/logout/op").form(&[("logout_token", token)]))
    }

    fn is_in(&self, browser: &mut Browser<'_>) -> bool {
        browser.load(&self.page("/page")).status == 200
    }

    /// Signed in, with a session on the application's host, too.
    pub(super) fn signed_in(&self, person: &str) -> Browser<'_> {
        let mut browser = self.gateway.browser();
        let arrived = self.come(&mut browser, &format!("own.{person}"));
        assert_eq!(browser.visit(arrived.header("location").unwrap()).status, 200);
        assert!(self.is_in(&mut browser));
        browser
    }
}

#[test]
fn a_session_that_is_over_there_is_over_here_on_every_host() {
    let house = House::start("").linked();
    for how in ["", "by-session", "by-subject"] {
        let (mut ada, mut bob) = (house.signed_in("ada"), house.signed_in("bob"));
        let told = house.say_over(&house.logout_token("ada", how));
        assert_eq!((told.status, told.header("cache-control")), (200, Some("no-store")), "{how}: {told:?}");
        assert!(!house.is_in(&mut ada), "{how}");
        assert_eq!(ada.load(&format!("http://{PORTAL}/")).status, 303, "{how}: the portal's session, too");
        assert!(house.is_in(&mut bob), "{how}: and nobody else's");
        let records = house.gateway.audit_of(&told);
        assert!(records.iter().any(|record| record["event"] == "session.ended" && record["reason"] == "single_logout"), "{records:?}");
        assert_eq!(house.come(&mut house.gateway.browser(), "own.ada").status, 303, "{how}: who signs in anew is in");
    }
}

#[test]
fn what_is_no_logout_token_ends_nothing_and_one_counts_once() {
    let house = House::start("").linked();
    let mut ada = house.signed_in("ada");
    for how in ["nonce", "no-event", "elsewhere", "old"] {
        let told = house.say_over(&house.logout_token("ada", how));
        assert_eq!((told.status, told.body.as_str()), (400, r#"{"error":"invalid_request"}"#), "{how}");
        assert!(house.is_in(&mut ada), "{how}");
    }
    for (path, fields) in
        [("/oidc/rp/logout/op", &[][..]), ("/oidc/rp/logout/op", &[("logout_token", "a.b.c")]), ("/oidc/rp/logout/nobody", &[])]
    {
        let told = house.gateway.send_to(PORTAL, &ask("POST", path).form(fields));
        assert!(matches!(told.status, 400 | 404), "{path}: {told:?}");
    }
    assert_eq!(house.gateway.send_to(PORTAL, &get("/oidc/rp/logout/op")).status, 405);
    assert!(house.is_in(&mut ada));
    let token = house.logout_token("ada", "");
    assert_eq!(house.say_over(&token).status, 200);
    let again = house.say_over(&token);
    assert_eq!((again.status, house.reason(&again).0), (400, json!("replayed")));
}

fn sign_out(browser: &mut Browser<'_>) -> Answer {
    let page = browser.load(&format!("http://{PORTAL}/logout"));
    let fields = hidden_fields(&page.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post(PORTAL, "/logout", &fields)
}

#[test]
fn signing_out_here_leads_on_to_sign_out_there() {
    let house = House::start("").linked();
    let mut ada = house.signed_in("ada");
    let out = sign_out(&mut ada);
    let refresh = out.header("refresh").unwrap_or_else(|| panic!("{out:?}"));
    assert_eq!(out.status, 200);
    for part in ["http://op.localhost", "/end?id_token_hint=ey", "client_id=vestibule", "post_logout_redirect_uri=http%3A%2F%2Flogin.north"]
    {
        assert!(refresh.contains(part), "{part}: {refresh}");
    }
    assert!(!house.is_in(&mut ada));
    // Whoever signed in by a password here has nowhere else to sign out.
    let mut bob = house.gateway.browser();
    let form = format!("http://{PORTAL}/login?login");
    let (name, password, _) = crate::support::USERS[1];
    assert_eq!(bob.submit_login(&form, name, password).status, 303);
    assert_eq!(sign_out(&mut bob).status, 303);

    let here = House::start("logout = \"here\"").linked();
    assert_eq!(sign_out(&mut here.signed_in("ada")).status, 303);
}

#[test]
fn whoever_signs_out_is_led_to_service_providers_first_and_then_to_the_provider() {
    let idp = "[tenant.north.idp]\ncertificate = \"idp.crt\"\nkey = { file = \"idp.key\" }\n\n\
        [service_provider.wiki]\ntenant = \"north\"\nmetadata = \"wiki.xml\"\ntitle = \"Wiki\"\n";
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let provider = runtime.block_on(crate::openid_provider::OpenidProvider::start("op.localhost")).unwrap();
    let config = format!("{}\n{}\n{idp}", super::CONFIG.replace("{{names}}", "\"op\""), super::section("op", &provider.issuer(), ""));
    let (certificate, key) = (saml_idp::recorded("idp-rsa2048.crt"), saml_idp::recorded("idp-rsa2048.key"));
    let metadata = saml_idp::provider(saml_idp::WIKI, false);
    let files = [("secret", super::CLIENT_SECRET), ("idp.crt", &certificate), ("idp.key", &key), ("wiki.xml", &metadata)];
    let gateway = crate::support::Gateway::with_files(&config, &files).with_users();
    let house = House { gateway, provider, runtime: Some(runtime) }.linked();
    let wiki = saml_idp::Provider::new(&house.gateway, saml_idp::WIKI);
    let told = |outcome: Status| {
        let mut ada = house.signed_in("ada");
        wiki.answered(&mut ada, |_| {}).unwrap();
        let onward = sign_out(&mut ada);
        let asked = ada.load(onward.header("location").unwrap_or_else(|| panic!("{onward:?}")));
        let location = asked.header("refresh").or(asked.header("location")).unwrap_or_else(|| panic!("{asked:?}"));
        let asked = Redirect::read(location.split_once(&format!("{}?", saml_idp::SLO)).unwrap().1).unwrap();
        let request = asked.claim::<LogoutRequest>().unwrap().sender_says().header.id.clone();
        let answer = LogoutResponse { header: wiki.header(wiki.slo()), in_response_to: Some(request), status: outcome };
        let back = signed_redirect_url(wiki.slo(), Kind::Response, &answer.unsigned().unwrap(), None, &saml_idp::sp_key()).unwrap();
        let page = ada.load(&back);
        assert!(!house.is_in(&mut ada));
        page
    };
    let page = told(Status::success());
    let refresh = page.header("refresh").unwrap_or_else(|| panic!("{page:?}"));
    assert!(refresh.contains("http://op.localhost") && refresh.contains("/end?id_token_hint=ey"), "{refresh}");
    // Who did not confirm is named before the browser goes on.
    let page = told(Status::failure(status::RESPONDER, status::REQUEST_DENIED));
    assert_eq!((page.status, page.header("refresh")), (200, None), "{page:?}");
    assert!(page.body.contains("Did not confirm") && page.body.contains("/end?id_token_hint=ey"), "{page:?}");
}

#[test]
fn a_key_of_ours_is_published_for_providers_that_ask_for_a_signature() {
    let key = rcgen::KeyPair::generate().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let provider = runtime.block_on(crate::openid_provider::OpenidProvider::start("op.localhost")).unwrap();
    let settings = "client_authentication = \"private-key-jwt\"\nclient_key = { file = \"client.key\" }";
    let config = format!("{}\n{}", super::CONFIG.replace("{{names}}", "\"op\""), super::section("op", &provider.issuer(), settings));
    let gateway = crate::support::Gateway::with_files(&config, &[("client.key", &key.serialize_pem())]).with_users();
    link(&gateway, &provider.issuer(), "ada", SUBJECTS[0].0);
    let house = House { gateway, provider, runtime: Some(runtime) };
    assert_eq!(house.come(&mut house.gateway.browser(), "own.ada").status, 303);
    let keys = house.gateway.send_to(PORTAL, &get("/oidc/rp/jwks"));
    assert_eq!((keys.status, keys.header("content-type")), (200, Some("application/jwk-set+json")));
    assert!(keys.body.contains("\"crv\":\"P-256\"") && !keys.body.contains("\"d\""), "{}", keys.body);
}
