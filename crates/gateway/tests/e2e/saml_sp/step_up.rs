//! A route that asks for more than a password: whom an identity provider vouched for weakly proves more there.

use serde_json::json;

use super::{Peer, bring, depart, follow, link, page, reason, start};
use crate::interop::passed;
use crate::support::{Browser, Gateway, get};

const STRONG: &str = "urn:oasis:names:tc:SAML:2.0:ac:classes:TimeSyncToken";
const VAULT: &str = "\n[[route]]\nname = \"vault\"\nmatch = \"/vault/**\"\nlevel = 20\npolicies = [\"policy.cedar\"]\n\
                     inject = [\"headers\"]\nforward = \"http://{{app}}\"\n";

fn vaulted(peer: Peer) -> (Gateway, Peer) {
    let gateway = start(&[(&peer, &format!("levels = {{ \"{STRONG}\" = 20 }}"))], VAULT);
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    (gateway, peer)
}

/// Ada, signed in weakly.
fn signed_in<'a>(gateway: &'a Gateway, peer: &Peer) -> Browser<'a> {
    let mut ada = gateway.browser();
    let away = depart(&mut ada, &page(gateway, "/page"));
    let answer = peer.answers(&away, "ada-at-corp", json!({}));
    assert_eq!(answer["request"]["context"], json!([]), "nothing is asked for where nothing is needed");
    let arrived = bring(&mut ada, &answer);
    assert_eq!(follow(&mut ada, &arrived).status, 200);
    ada
}

#[test]
fn who_is_signed_in_too_weakly_proves_more_and_goes_on() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let (gateway, peer) = vaulted(peer);
    let mut ada = signed_in(&gateway, &peer);
    let weak = ada.cookie("app.north.localhost", "vestibule").unwrap();

    let away = depart(&mut ada, &page(&gateway, "/vault/gold?x=1"));
    let strongly = peer.answers(&away, "ada-at-corp", json!({"context": STRONG}));
    assert_eq!(strongly["request"]["context"], json!([STRONG]));
    let arrived = bring(&mut ada, &strongly);
    let shown = follow(&mut ada, &arrived);
    assert_eq!(shown.status, 200, "{shown:?}");
    assert_eq!(gateway.application.last().line, "GET /vault/gold?x=1 HTTP/1.1");
    // It is another session, and the weaker one is over: who stole that has not come to more.
    assert_eq!(gateway.send(&get("/page").cookie("vestibule", &weak)).status, 401);
    passed("pysaml2", "7.5.5", "identity provider", &["a stronger login asked for and given"]);
}

#[test]
fn an_identity_provider_that_is_content_with_less_raises_nobody() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let (gateway, peer) = vaulted(peer);
    let mut ada = signed_in(&gateway, &peer);
    let away = depart(&mut ada, &page(&gateway, "/vault/gold"));
    let refused = bring(&mut ada, &peer.answers(&away, "ada-at-corp", json!({})));
    assert!(refused.status == 403 && refused.body.contains("A stronger sign-in is needed"), "{refused:?}");
    assert_eq!(reason(&gateway, &refused).0, json!("weak_proof"));
    // She is who she was, and may try again from there.
    assert!(refused.body.contains("level=20"), "{}", refused.body);
    assert_eq!(ada.load(&page(&gateway, "/page")).status, 200);
}
