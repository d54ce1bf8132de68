//! Single logout between the gateway and its identity provider, begun by either.

use serde_json::{Value, json};

use super::{CONFIG, ORIGIN, PORTAL, Peer, bring, depart, follow, house, link, page, start, text};
use crate::interop::passed;
use crate::support::{Answer, Browser, Gateway, hidden_fields};

/// Signs ada in at the portal and two applications; the indexes of the session there.
fn signed_in(browser: &mut Browser<'_>, gateway: &Gateway, peer: &Peer) -> Vec<String> {
    let away = depart(browser, &page(gateway, "/page"));
    let answer = peer.answers(&away, "ada-at-corp", json!({}));
    let arrived = bring(browser, &answer);
    assert_eq!(follow(browser, &arrived).status, 200);
    assert_eq!(browser.visit(&shop(gateway)).status, 200, "the other application shares the login");
    let xml = answer["xml"].as_str().unwrap();
    xml.split("SessionIndex=\"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())).collect()
}

fn shop(gateway: &Gateway) -> String {
    format!("http://shop.north.localhost:{}/page", gateway.public)
}

fn slo(gateway: &Gateway) -> String {
    format!("http://{PORTAL}:{}/saml/sp/slo", gateway.public)
}

fn is_signed_in(browser: &mut Browser<'_>, gateway: &Gateway) -> bool {
    let pages = [page(gateway, "/page"), shop(gateway)].map(|page| browser.load(&page).status == 200);
    assert_eq!(pages[0], pages[1], "a login lives everywhere or nowhere");
    pages[0]
}

/// The address that a page leads on to.
fn led(answer: &Answer) -> &str {
    answer.header("refresh").and_then(|value| value.strip_prefix("0; url=")).unwrap_or_else(|| panic!("{answer:?}"))
}

/// Asks to sign out at an application, and returns the page on the way to the identity provider.
fn leave(browser: &mut Browser<'_>, gateway: &Gateway) -> Answer {
    let host = "app.north.localhost";
    let shown = browser.load(&format!("http://{host}:{}/.vestibule/logout", gateway.public));
    let hidden = hidden_fields(&shown.body);
    let fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let onward = browser.post(host, "/.vestibule/logout", &fields);
    assert_eq!(onward.status, 303, "{onward:?}");
    browser.visit(onward.header("location").unwrap())
}

fn bring_logout(browser: &mut Browser<'_>, message: &Value) -> Answer {
    match message["url"].as_str() {
        Some(url) => browser.load(url),
        None => bring(browser, message),
    }
}

#[test]
fn whoever_signs_out_here_is_signed_out_there() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "title = \"Corporate account\"");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    let indexes = signed_in(&mut browser, &gateway, &peer);
    let leaving = leave(&mut browser, &gateway);
    assert!(!is_signed_in(&mut browser, &gateway), "our sessions end first");
    let url = led(&leaving).to_owned();
    assert!(url.starts_with(&format!("{}/slo?", peer.entity_id())), "{url}");
    let answer = peer.ask(json!({"do": "logout_answer", "url": url, "user": "", "destination": slo(&gateway)}));
    assert_eq!((&answer["name_id"], &answer["signed"]), (&json!("ada-at-corp"), &json!(true)));
    assert_eq!(answer["session_index"], json!(indexes));
    let over = bring_logout(&mut browser, &answer);
    assert!(over.status == 200 && over.body.contains("<h1>You are signed out</h1>"), "{over:?}");
    assert!(over.body.contains("Corporate account</span><span class=\"outcome\">Signed out"), "{}", over.body);

    // An answer of nobody, and one that came before, change nothing and say nothing.
    let again = bring_logout(&mut browser, &answer);
    assert!(again.status == 200 && !again.body.contains("Corporate"), "{again:?}");

    // What is not confirmed is shown so.
    signed_in(&mut browser, &gateway, &peer);
    let url = led(&leave(&mut browser, &gateway)).to_owned();
    let stranger = Peer { key: "idp-rsa4096", ..peer.clone() };
    let forged = stranger.ask(json!({"do": "logout_answer", "url": url, "user": "", "destination": slo(&gateway)}));
    let over = bring_logout(&mut browser, &forged);
    assert!(over.body.contains("Corporate account</span><span class=\"outcome\">Did not confirm"), "{}", over.body);
    let records = gateway.audit_of(&over);
    let refused = records.iter().find(|record| record["event"] == "message.refused").unwrap();
    assert_eq!((&refused["partner"], &refused["reason"]), (&json!("corp"), &json!("signature_invalid")), "{records:?}");
}

#[test]
fn whoever_signs_out_there_is_signed_out_here() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let sp = format!("http://{PORTAL}:{}/saml/sp/metadata", gateway.public);
    let ask = |more: Value| {
        let mut job = json!({"do": "logout", "user": "ada-at-corp", "sp": sp, "destination": slo(&gateway)});
        for (name, value) in more.as_object().unwrap() {
            job[name] = value.clone();
        }
        peer.ask(job)
    };
    for binding in ["redirect", "post"] {
        for by_index in [true, false] {
            let mut browser = gateway.browser();
            let indexes = signed_in(&mut browser, &gateway, &peer);
            let other = ask(json!({"binding": binding, "session_index": ["another"]}));
            assert!(matches!(bring_logout(&mut browser, &other).status, 200 | 303));
            assert!(is_signed_in(&mut browser, &gateway), "another session was meant");
            let request = ask(if by_index { json!({"binding": binding, "session_index": indexes}) } else { json!({"binding": binding}) });
            let answered = bring_logout(&mut browser, &request);
            assert!(!is_signed_in(&mut browser, &gateway), "{binding} {by_index}");
            let read = match binding {
                "redirect" => peer.ask(json!({"do": "logout_end", "user": "", "url": answered.header("location").unwrap()})),
                _ => {
                    assert!(answered.body.contains(&format!("action=\"{}/slo/post\"", peer.entity_id())), "{}", answered.body);
                    let fields: serde_json::Map<String, Value> =
                        hidden_fields(&answered.body).into_iter().map(|(name, value)| (name, value.into())).collect();
                    peer.ask(json!({"do": "logout_end", "user": "", "fields": fields}))
                }
            };
            assert_eq!((&read["status"], &read["subcode"]), (&json!("urn:oasis:names:tc:SAML:2.0:status:Success"), &Value::Null));
            assert_eq!((&read["in_response_to"], &read["relay_state"]), (&request["id"], &json!("state")));
            assert_eq!(read["signed"], true);

            // Once: an old message does not end a later login.
            signed_in(&mut browser, &gateway, &peer);
            let again = bring_logout(&mut browser, &request);
            assert!(again.status == 409 && is_signed_in(&mut browser, &gateway), "{again:?}");
        }
    }
    let endings: Vec<Value> =
        gateway.audit().into_iter().filter(|record| record["event"] == "session.ended").map(|record| record["reason"].clone()).collect();
    // Without an index, all logins of that name: also those of the other browsers.
    assert!(endings.iter().filter(|reason| **reason == "single_logout").count() > 4, "{endings:?}");
    passed("pysaml2", "7.5.5", "identity provider", &["single logout begun there, by redirect and form"]);
}

/// A store that fails in the middle is no reason to say afterwards that it was done.
#[test]
fn a_sign_out_that_the_store_kept_from_being_done_is_done_when_it_comes_again() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    signed_in(&mut browser, &gateway, &peer);
    let sp = format!("http://{PORTAL}:{}/saml/sp/metadata", gateway.public);
    let request = peer.ask(json!({"do": "logout", "user": "ada-at-corp", "sp": sp, "destination": slo(&gateway), "binding": "redirect"}));
    let store = rusqlite::Connection::open(gateway.store()).unwrap();
    store.execute_batch("CREATE TRIGGER refuse BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'not now'); END").unwrap();
    assert_eq!(bring_logout(&mut browser, &request).status, 503);
    store.execute_batch("DROP TRIGGER refuse").unwrap();
    let done = bring_logout(&mut browser, &request);
    assert_eq!(done.status, 303, "{done:?}");
    assert!(!is_signed_in(&mut browser, &gateway));
    assert_eq!(bring_logout(&mut browser, &request).status, 409, "once");
}

#[test]
fn nobody_is_signed_out_by_a_message_that_is_not_their_identity_providers() {
    let (Some(corp), Some(lab)) = (Peer::new("corp", "idp-rsa2048"), Peer::new("lab", "idp-rsa4096")) else { return };
    let gateway = start(&[(&corp, "hosts = [\"app.north.localhost\"]"), (&lab, "")], "");
    let (corp, lab) = (corp.meets(&gateway), lab.meets(&gateway));
    link(&gateway, &corp, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    signed_in(&mut browser, &gateway, &corp);
    let sp = format!("http://{PORTAL}:{}/saml/sp/metadata", gateway.public);
    let impostor = Peer { key: "idp-rsa4096", ..corp.clone() };
    let elsewhere = "http://login.south.localhost/saml/sp/slo";
    for (from, destination, binding, signed, status, expected) in [
        (&lab, slo(&gateway), "redirect", true, 303, None),
        (&lab, slo(&gateway), "post", true, 200, None),
        (&impostor, slo(&gateway), "redirect", true, 403, Some("signature_invalid")),
        (&impostor, slo(&gateway), "post", true, 403, Some("unknown_key")),
        (&corp, slo(&gateway), "redirect", false, 403, Some("signature_missing")),
        (&corp, slo(&gateway), "post", false, 403, Some("signature_missing")),
        (&corp, elsewhere.to_owned(), "redirect", true, 403, Some("wrong_destination")),
    ] {
        let job =
            json!({"do": "logout", "user": "ada-at-corp", "sp": sp, "destination": destination, "binding": binding, "signed": signed});
        let mut message = from.ask(job);
        // Whatever it says of where it goes, it comes here.
        if let Some(query) = message["url"].as_str().and_then(|url| url.split_once('?')).map(|(_, query)| query.to_owned()) {
            message["url"] = format!("{}?{query}", slo(&gateway)).into();
        }
        let answered = bring_logout(&mut browser, &message);
        assert_eq!(answered.status, status, "{} {binding} {signed}: {answered:?}", from.key);
        let refused = gateway.audit_of(&answered).into_iter().find(|record| record["event"] == "message.refused");
        assert_eq!(refused.as_ref().and_then(|record| record["reason"].as_str()), expected, "{refused:?}");
        assert!(is_signed_in(&mut browser, &gateway), "{} {binding} {signed}", from.key);
    }
    // What is no message at all.
    for target in ["/saml/sp/slo", "/saml/sp/slo?SAMLRequest=%00", "/saml/sp/slo?SAMLRequest=x&SAMLResponse=x"] {
        let answered = browser.load(&format!("http://{PORTAL}:{}{target}", gateway.public));
        assert_eq!(answered.status, 400, "{target}: {answered:?}");
    }
    assert!(is_signed_in(&mut browser, &gateway));
}

#[test]
fn a_logout_may_be_local() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let gateway = house(&peer, "logout = \"local\"");
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    signed_in(&mut browser, &gateway, &peer);
    let over = leave(&mut browser, &gateway);
    assert!(over.status == 200 && over.header("refresh").is_none() && over.body.contains("You are signed out"), "{over:?}");
    assert!(!is_signed_in(&mut browser, &gateway));

    // Without a key of ours, nobody can be told, and nobody is believed.
    let unsigned = CONFIG.replace("[scheme.saml.signing]\ncertificate = \"sp.crt\"\nkey = { file = \"sp.key\" }\n", "");
    assert_ne!(unsigned, CONFIG);
    let unsigned = unsigned.replace("{{names}}", "\"corp\"") + "\n[identity_provider.corp]\nmetadata = \"corp.xml\"\n";
    let files = [("corp.xml", peer.metadata()), ("sp.crt", text("keys/sp-rsa2048.crt")), ("sp.key", text("keys/sp-rsa2048.key"))];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    let gateway = Gateway::with_files(&unsigned, &files).with_users();
    let metadata = gateway.send_to(PORTAL, &crate::support::get("/saml/sp/metadata"));
    assert!(metadata.status == 200 && !metadata.body.contains("SingleLogoutService"), "{metadata:?}");
    assert_eq!(gateway.send_to(PORTAL, &crate::support::get("/saml/sp/slo?SAMLRequest=x")).status, 404);
    let peer = Peer { sp_metadata: Some(metadata.body), ..peer };
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    signed_in(&mut browser, &gateway, &peer);
    let over = leave(&mut browser, &gateway);
    assert!(over.body.contains("Cannot be asked") && over.body.contains("signed out here"), "{}", over.body);
    assert!(!is_signed_in(&mut browser, &gateway));
}

/// The cookie that a login begun there leaves leads back there, until somebody signs out, here or there, or wants our own form.
#[test]
fn whoever_signs_out_is_not_led_back_unasked() {
    let (Some(corp), Some(lab)) = (Peer::new("corp", "idp-rsa2048"), Peer::new("lab", "idp-rsa4096")) else { return };
    let gateway = start(&[(&corp, &format!("unsolicited = true\norigins = [\"{ORIGIN}\"]")), (&lab, "")], "");
    let corp = corp.meets(&gateway);
    link(&gateway, &corp, "ada", "ada-at-corp");
    let portal = format!("http://{PORTAL}:{}", gateway.public);
    let sp = format!("{portal}/saml/sp/metadata");
    type Leave<'a> = &'a dyn Fn(&mut Browser<'_>) -> Answer;
    let here: Leave<'_> = &|browser| leave(browser, &gateway);
    let there: Leave<'_> = &|browser| {
        let job = json!({"do": "logout", "user": "ada-at-corp", "sp": sp, "destination": slo(&gateway), "binding": "redirect"});
        bring_logout(browser, &corp.ask(job))
    };
    let form: Leave<'_> = &|browser| browser.load(&format!("{portal}/login?login&prompt=login"));
    for (name, leaves) in [("here", here), ("there", there), ("our form", form)] {
        let mut browser = gateway.browser();
        let acs = format!("{portal}/saml/sp/acs");
        let answer =
            corp.ask(json!({"do": "unsolicited", "user": "ada-at-corp", "sp": sp, "acs": acs, "relay_state": page(&gateway, "/page")}));
        let arrived = bring(&mut browser, &answer);
        assert_eq!(follow(&mut browser, &arrived).status, 200);
        let onward = browser.load(&format!("{portal}/login?prompt=login"));
        assert!(onward.header("location").is_some_and(|location| location.starts_with(&corp.entity_id())), "{name}: {onward:?}");
        let left = leaves(&mut browser);
        assert!(matches!(left.status, 200 | 303), "{name}: {left:?}");
        assert_eq!(browser.cookie(PORTAL, "vestibule-idp"), None, "{name}");
        let chosen = browser.load(&format!("{portal}/login?prompt=login"));
        assert!(chosen.status == 200 && chosen.body.contains("idp=lab"), "{name}: {chosen:?}");
    }
}
