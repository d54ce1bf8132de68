//! Two nodes over one PostgreSQL are one service provider: what is spent or ended at one is so at the other, and after a restart.

use serde_json::json;

use super::{CONFIG, PORTAL, Peer, bring, depart, follow, link, page, reason, text};
use crate::cluster::FILES;
use crate::lifecycle::wait_for;
use crate::peers::Postgres;
use crate::support::Gateway;

const STORE: &str = "[store]\npath = \"{{dir}}/data\"\n";

fn configuration(postgres: &Postgres) -> String {
    let shared = format!(
        "{STORE}durable = \"postgres\"\nexpiring = \"postgres\"\n\n[store.postgres]\nurl = \"postgresql://vestibule@127.0.0.1:{}/postgres\"\n\
         password = {{ file = \"store\" }}\n\n[keys]\nkey_encryption_key = {{ file = \"sealing\" }}\n",
        postgres.port
    );
    let config = CONFIG.replace("{{names}}", "\"corp\"").replace("localhost:{{port}}", "localhost:{{public}}").replace(STORE, &shared);
    config + "\n[identity_provider.corp]\nmetadata = \"corp.xml\"\n"
}

/// Attack 43, and a logout that reaches every node.
#[test]
fn two_nodes_are_one_service_provider() {
    let (Some(postgres), Some(peer)) = (Postgres::start(), Peer::new("corp", "idp-rsa2048")) else { return };
    let (metadata, certificate, key) = (peer.metadata(), text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"));
    let mut files = vec![("corp.xml", metadata.as_str()), ("sp.crt", &certificate), ("sp.key", &key)];
    files.extend(FILES);
    let config = configuration(&postgres);
    let one = Gateway::with_files(&config, &files).with_users();
    let mut other = one.beside(&config, &files);
    let peer = peer.meets(&one);
    link(&one, &peer, "ada", "ada-at-corp");

    // Begun at one, answered at the other, a session at both.
    let mut browser = one.browser();
    let away = depart(&mut browser, &page(&one, "/page"));
    let answer = peer.answers(&away, "ada-at-corp", json!({}));
    let as_it_left = browser.clone();
    let mut browser = browser.through(&other);
    let arrived = bring(&mut browser, &answer);
    assert_eq!(follow(&mut browser, &arrived).status, 200, "{arrived:?}");
    let mut browser = browser.through(&one);
    assert_eq!(browser.load(&page(&one, "/page")).status, 200);

    // Its use is spent at both, and for good.
    let spent_at = |node: &Gateway| {
        let again = bring(&mut as_it_left.clone().through(node), &answer);
        assert_eq!((again.status, reason(node, &again).0), (403, json!("replayed")));
    };
    spent_at(&one);
    spent_at(&other);
    other.stop();
    other.restart();
    spent_at(&other);

    // The identity provider ends the login at one node.
    let sp = format!("http://{PORTAL}:{}/saml/sp/metadata", one.public);
    let destination = format!("http://{PORTAL}:{}/saml/sp/slo", one.public);
    let over = peer.ask(json!({"do": "logout", "user": "ada-at-corp", "sp": sp, "destination": destination, "binding": "redirect"}));
    let mut there = browser.clone().through(&other);
    assert_eq!(there.load(&page(&one, "/page")).status, 200);
    assert_eq!(browser.load(over["url"].as_str().unwrap()).status, 303);
    wait_for(|| there.load(&page(&one, "/page")).status == 303);
    assert_eq!(browser.load(&page(&one, "/page")).status, 303);
    // The same message brought to the other one.
    assert_eq!(there.load(over["url"].as_str().unwrap()).status, 409);
}
