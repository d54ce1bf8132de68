//! Metadata that are published elsewhere: fetched, judged, put in the place of the file, and read again.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::{CONFIG, PORTAL, Peer, bring, depart, follow, link, page, text};
use crate::lifecycle::wait_for;
use crate::support::{Gateway, free_port, get};
use serde_json::{Value, json};

/// A server that publishes one text.
fn publish() -> (u16, Arc<Mutex<String>>) {
    use std::io::{BufRead as _, BufReader, Write as _};
    let published = Arc::new(Mutex::new(String::new()));
    let listener = std::net::TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let port = listener.local_addr().unwrap().port();
    let shown = published.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let head =
                BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).count();
            let body = shown.lock().unwrap().clone();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            let _ = if head == 0 { Ok(()) } else { stream.write_all(answer.as_bytes()) };
        }
    });
    (port, published)
}

/// Metadata of the identity provider `corp`, signed by the federation's key or by another.
fn signed(peer: &Peer, valid_until: &str, key: &str) -> String {
    let metadata = peer.ask(json!({"do": "metadata", "valid_until": valid_until, "signer": key}));
    metadata["metadata"].as_str().unwrap().to_owned()
}

#[test]
fn metadata_are_renewed_by_whoever_signs_them_and_never_by_older_ones() {
    let (Some(old), Some(new)) = (Peer::new("corp", "idp-rsa2048"), Peer::new("corp", "idp-rsa4096")) else { return };
    let (port, published) = publish();
    let first = signed(&old, "2100-01-01T00:00:00Z", "idp-ec256");
    first.clone_into(&mut published.lock().unwrap());
    let settings = format!(
        "\n[identity_provider.corp]\nmetadata = \"corp.xml\"\nrefresh = {{ url = \"http://localhost:{port}/metadata\", key = \"federation.crt\", every = \"1s\" }}\n"
    );
    let config = format!("{}{settings}", CONFIG.replace("{{names}}", "\"corp\""));
    let (certificate, key, federation) = (text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"), text("keys/idp-ec256.crt"));
    let files = [("corp.xml", first.as_str()), ("federation.crt", &federation), ("sp.crt", &certificate), ("sp.key", &key)];
    let gateway = Gateway::with_files(&config, &files).with_users();
    let (old, new) = (old.meets(&gateway), new.meets(&gateway));
    link(&gateway, &old, "ada", "ada-at-corp");
    let signs_in = |peer: &Peer| {
        let mut browser = gateway.browser();
        let away = depart(&mut browser, &page(&gateway, "/page"));
        let arrived = bring(&mut browser, &peer.answers(&away, "ada-at-corp", json!({})));
        arrived.status == 303 && follow(&mut browser, &arrived).status == 200
    };
    let held = || std::fs::read_to_string(Path::new(&gateway.scratch.path().join("corp.xml"))).unwrap();
    assert!(signs_in(&old) && !signs_in(&new));

    // Of another signer, or older, or no metadata at all: those that are there stay.
    for bad in [
        signed(&new, "2101-01-01T00:00:00Z", "idp-rsa4096"),
        signed(&new, "2099-01-01T00:00:00Z", "idp-ec256"),
        "<html>Not today</html>".to_owned(),
    ] {
        let before = gateway.log().matches("the metadata were not renewed").count();
        bad.clone_into(&mut published.lock().unwrap());
        wait_for(|| gateway.log().matches("the metadata were not renewed").count() > before);
        assert_eq!(held(), first);
        assert!(signs_in(&old) && !signs_in(&new));
    }

    // A new key.
    signed(&new, "2101-01-01T00:00:00Z", "idp-ec256").clone_into(&mut published.lock().unwrap());
    wait_for(|| signs_in(&new));
    assert!(!signs_in(&old) && held() != first);
    let rotated = || -> Vec<_> {
        let is_about_corp = |record: &Value| record["event"] == "key.rotated" && record["purpose"] == "identity provider corp";
        gateway.audit().into_iter().filter(is_about_corp).collect()
    };
    // Told once they are in force.
    wait_for(|| rotated().len() > 1 && gateway.log().contains("none of its keys of before is in its new metadata"));
    let rotated = rotated();
    assert_eq!(rotated.iter().map(|record| record["state"].as_str().unwrap()).collect::<Vec<_>>(), ["believed", "gone"], "{rotated:?}");
    assert_eq!(gateway.send_to(PORTAL, &get("/saml/sp/metadata")).status, 200);
}

#[test]
fn a_gateway_begins_with_an_address_alone_where_a_pinned_key_signs_what_is_there() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let (port, published) = publish();
    let first = signed(&peer, "2100-01-01T00:00:00Z", "idp-ec256");
    first.clone_into(&mut published.lock().unwrap());
    let settings = format!(
        "\n[identity_provider.corp]\nmetadata = \"fetched.xml\"\nrefresh = {{ url = \"http://localhost:{port}/metadata\", key = \"federation.crt\" }}\n"
    );
    let config = format!("{}{settings}", CONFIG.replace("{{names}}", "\"corp\""));
    let (certificate, key, federation) = (text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"), text("keys/idp-ec256.crt"));
    let files = [("federation.crt", federation.as_str()), ("sp.crt", &certificate), ("sp.key", &key)];
    let gateway = Gateway::with_files(&config, &files).with_users();
    let peer = peer.meets(&gateway);
    assert_eq!(std::fs::read_to_string(gateway.scratch.path().join("fetched.xml")).unwrap(), first);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let mut browser = gateway.browser();
    let away = depart(&mut browser, &page(&gateway, "/page"));
    let arrived = bring(&mut browser, &peer.answers(&away, "ada-at-corp", json!({})));
    assert_eq!(follow(&mut browser, &arrived).status, 200);

    // Whoever else answers there is believed as little at the beginning as later: without its file the gateway does not start.
    let other = gateway.scratch.path().join("vestibule.toml");
    let again = std::fs::read_to_string(&other).unwrap().replace("fetched.xml", "forged.xml");
    let other = gateway.scratch.write("other.toml", &again);
    signed(&peer, "2101-01-01T00:00:00Z", "idp-rsa4096").clone_into(&mut published.lock().unwrap());
    // What is not there yet is no mistake of the configuration, where a start may fetch it; without a key it would have to be put there.
    let said = gateway.command(&["check", "--config", other.to_str().unwrap()]);
    let text = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.status.success(), "{text}");
    assert!(
        text.contains("the metadata `forged.xml` are not there yet")
            && text.contains(&format!("fetches them from http://localhost:{port}/")),
        "{text}"
    );
    let unpinned = gateway.scratch.write("unpinned.toml", &again.replace(", key = \"federation.crt\"", ""));
    assert_eq!(gateway.command(&["check", "--config", unpinned.to_str().unwrap()]).status.code(), Some(1));
    let mut serve = std::process::Command::new(env!("CARGO_BIN_EXE_vestibule"));
    let refused = serve.args(["serve", "--config", other.to_str().unwrap()]).output().unwrap();
    assert!(!refused.status.success(), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("forged.xml"), "{said}");
    assert!(!gateway.scratch.path().join("forged.xml").exists());
}

/// What an identity provider publishes, or does not, must not keep everybody else's gateway from starting.
#[test]
fn metadata_that_the_configuration_does_not_go_with_are_not_taken_and_expired_ones_close_one_door_only() {
    let Some(peer) = Peer::new("corp", "idp-rsa2048") else { return };
    let (port, published) = publish();
    let first = signed(&peer, "2100-01-01T00:00:00Z", "idp-ec256");
    first.clone_into(&mut published.lock().unwrap());
    let settings = format!(
        "\n[identity_provider.corp]\nmetadata = \"corp.xml\"\nrefresh = {{ url = \"http://localhost:{port}/metadata\", key = \"federation.crt\", every = \"1s\" }}\n"
    );
    let config = format!("{}{settings}", CONFIG.replace("{{names}}", "\"corp\""));
    let (certificate, key, federation) = (text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"), text("keys/idp-ec256.crt"));
    let files = [("corp.xml", first.as_str()), ("federation.crt", &federation), ("sp.crt", &certificate), ("sp.key", &key)];
    let mut gateway = Gateway::with_files(&config, &files).with_users();
    let peer = peer.meets(&gateway);
    link(&gateway, &peer, "ada", "ada-at-corp");
    let file = gateway.scratch.path().join("corp.xml");

    // Newer and well signed, and without the binding by which we ask.
    let without = peer.ask(json!({"do": "metadata", "valid_until": "2101-01-01T00:00:00Z", "signer": "idp-ec256", "only_post": true}));
    without["metadata"].as_str().unwrap().clone_into(&mut published.lock().unwrap());
    wait_for(|| gateway.log().contains("the configuration does not go with them"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    assert!(gateway.log().contains("takes no requests by this binding"), "{}", gateway.log());
    gateway.stop();
    gateway.restart();
    let mut browser = gateway.browser();
    let away = depart(&mut browser, &page(&gateway, "/page"));
    assert_eq!(bring(&mut browser, &peer.answers(&away, "ada-at-corp", json!({}))).status, 303);

    // The publisher is gone, and what there is has run out.
    "gone".clone_into(&mut published.lock().unwrap());
    let over = signed(&peer, "2020-01-01T00:00:00Z", "idp-ec256");
    std::fs::write(&file, over).unwrap();
    wait_for(|| gateway.log().contains("held until 2020-01-01T00:00:00Z: nobody is signed in by it"));
    gateway.stop();
    gateway.restart();
    let mut browser = gateway.browser();
    let away = depart(&mut browser, &page(&gateway, "/page"));
    let refused = bring(&mut browser, &peer.answers(&away, "ada-at-corp", json!({})));
    assert_eq!((refused.status, super::reason(&gateway, &refused).0), (403, json!({"saml": "expired"})));
    let mut others = gateway.browser();
    let form = format!("http://{PORTAL}:{}/login?login", gateway.public);
    assert_eq!(others.submit_login(&form, "bob", "staple of the north").status, 303, "a password is as good as ever");
}
