//! Answers by artifact: one tenant resolves what the other, an identity provider, has issued, over SOAP.

use vestibule_saml::binding::Artifact;
use vestibule_saml::metadata::{Endpoint, Entity, IdpRole, IndexedEndpoint, KeyDescriptor, Protocols, SpRole, Usage};
use vestibule_saml::names::binding;

use super::text;
use crate::support::{Answer, Browser, Gateway, hidden_fields};

const NORTH: &str = "http://login.north.localhost:{{port}}";
const EAST: &str = "http://login.east.localhost:{{port}}";

fn keys(name: &str) -> Vec<KeyDescriptor> {
    use base64::Engine as _;
    let body: String = text(&format!("keys/{name}.crt")).lines().filter(|line| !line.starts_with("-----")).collect();
    let certificate = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    vec![KeyDescriptor { usage: Usage::Signing, certificates: vec![certificate], encryption_methods: Vec::new() }]
}

fn indexed(index: u16, binding: &str, location: String) -> IndexedEndpoint {
    IndexedEndpoint { index, is_default: Some(index == 0), binding: binding.to_owned(), location }
}

/// The north as an identity provider, and the east, which signs its users in there.
fn house() -> Gateway {
    let protocols = Protocols { saml20: true, saml11: false };
    let north = Entity {
        entity_id: format!("{NORTH}/saml/idp/metadata"),
        idp: Some(IdpRole {
            protocols,
            keys: keys("idp-rsa2048"),
            sso: vec![Endpoint::new(binding::REDIRECT, &format!("{NORTH}/saml/idp/sso"))],
            artifact_resolution: vec![indexed(0, binding::SOAP, format!("{NORTH}/saml/idp/artifact"))],
            ..IdpRole::default()
        }),
        ..Entity::default()
    };
    let east = Entity {
        entity_id: format!("{EAST}/saml/sp/metadata"),
        sp: Some(SpRole {
            protocols,
            keys: keys("sp-rsa2048"),
            authn_requests_signed: true,
            acs: vec![
                indexed(0, binding::POST, format!("{EAST}/saml/sp/acs")),
                indexed(1, binding::ARTIFACT, format!("{EAST}/saml/sp/acs")),
            ],
            ..SpRole::default()
        }),
        ..Entity::default()
    };
    let files = [
        ("idp.crt", text("keys/idp-rsa2048.crt")),
        ("idp.key", text("keys/idp-rsa2048.key")),
        ("sp.crt", text("keys/sp-rsa2048.crt")),
        ("sp.key", text("keys/sp-rsa2048.key")),
        ("north.xml", north.unsigned().unwrap().as_str().to_owned()),
        ("east.xml", east.unsigned().unwrap().as_str().to_owned()),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Gateway::with_files(include_str!("artifact.toml"), &files).with_users()
}

fn east(gateway: &Gateway) -> String {
    format!("http://app.east.localhost:{}/page?x=1", gateway.public)
}

/// Asks for a page of the east, signs in at the north, and returns the address with the artifact.
fn artifact(browser: &mut Browser<'_>, gateway: &Gateway) -> String {
    let form = browser.visit(&east(gateway));
    let going = match form.header("refresh") {
        Some(_) => form,
        None => {
            let hidden = hidden_fields(&form.body);
            let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            fields.extend([("username", "ada"), ("password", "correct horse battery")]);
            let onward = browser.post("login.north.localhost", "/login", &fields);
            browser.visit(onward.header("location").unwrap_or_else(|| panic!("{onward:?}")))
        }
    };
    let url = going.header("refresh").and_then(|value| value.strip_prefix("0; url=")).unwrap_or_else(|| panic!("{going:?}"));
    assert!(url.starts_with(&format!("http://login.east.localhost:{}/saml/sp/acs?SAMLart=", gateway.public)), "{url}");
    url.to_owned()
}

fn detail(gateway: &Gateway, answer: &Answer) -> String {
    let records = gateway.audit_of(answer);
    let decided = records.iter().find(|record| record["event"] == "request.decided").unwrap();
    decided["detail"].as_str().unwrap_or_default().to_owned()
}

/// How often the north was asked for what an artifact stands for.
fn questions(gateway: &Gateway) -> usize {
    gateway.audit().iter().filter(|record| record["path"] == "/saml/idp/artifact").count()
}

#[test]
fn an_artifact_is_resolved_for_the_browser_that_began_the_login() {
    let gateway = house();
    let metadata = gateway.send_to("login.east.localhost", &crate::support::get("/saml/sp/metadata")).body;
    assert!(metadata.contains("bindings:HTTP-Artifact"), "{metadata}");
    let mut browser = gateway.browser();
    let url = artifact(&mut browser, &gateway);
    let arrived = browser.load(&url);
    assert_eq!(arrived.status, 303, "{arrived:?}");
    assert_eq!(browser.visit(arrived.header("location").unwrap()).status, 200);
    let received = gateway.application.last();
    assert_eq!((received.line.as_str(), received.header("x-vestibule-user")), ("GET /page?x=1 HTTP/1.1", Some("ada")));

    // The back button: the page, and nobody is asked again.
    crate::lifecycle::wait_for(|| questions(&gateway) == 1);
    assert_eq!(browser.visit(&url).status, 200);
    // In another browser it is nothing, and nobody is asked.
    let mut other = gateway.browser();
    let stolen = other.load(&url);
    assert_eq!(stolen.status, 403, "{stolen:?}");
    assert!(detail(&gateway, &stolen).contains("relay state: expected an artifact for a login that this browser has begun"), "{stolen:?}");
    assert_eq!(questions(&gateway), 1);
}

#[test]
fn an_artifact_of_another_kind_or_of_nobody_opens_nothing() {
    let gateway = house();
    let mut browser = gateway.browser();
    let url = artifact(&mut browser, &gateway);
    let (_, query) = url.split_once('?').unwrap();
    let state = query.split_once("&RelayState=").unwrap().1;
    let ours = |value: &str| format!("http://login.east.localhost:{}/saml/sp/acs?SAMLart={value}&RelayState={state}", gateway.public);
    let encoded = |artifact: &Artifact| artifact.to_base64().replace('+', "%2B");
    let north = Artifact::source_id_of(&format!("http://login.north.localhost:{}/saml/idp/metadata", gateway.public));
    for (value, status, expected) in [
        (encoded(&Artifact::Saml20 { endpoint_index: 0, source_id: [7; 20], handle: [1; 20] }), 403, "artifact: expected an artifact of"),
        (encoded(&Artifact::Saml20 { endpoint_index: 3, source_id: north, handle: [1; 20] }), 403, "no address of index 3"),
        // Nobody issued it: the answer is empty.
        (encoded(&Artifact::Saml20 { endpoint_index: 0, source_id: north, handle: [1; 20] }), 403, "document:"),
        (encoded(&Artifact::Saml11 { source_id: north, handle: [1; 20] }), 400, ""),
        ("AAQ".to_owned(), 400, "binding:"),
    ] {
        let refused = browser.load(&ours(&value));
        assert_eq!(refused.status, status, "{value}: {refused:?}");
        assert!(detail(&gateway, &refused).contains(expected), "{expected}: {}", detail(&gateway, &refused));
        assert!(refused.cookies().keys().all(|name| name != "vestibule"));
    }
    // What was refused did not use up the login.
    assert_eq!(browser.visit(&url).status, 200);
}

#[test]
fn nobody_is_asked_where_nobody_was_to_be_asked() {
    let gateway = house();
    let mut browser = gateway.browser();
    let page = format!("http://app.east.localhost:{}/open/page", gateway.public);
    let login = format!(
        "http://login.east.localhost:{}/login?prompt=none&return_to={}",
        gateway.public,
        page.replace(':', "%3A").replace('/', "%2F")
    );
    // Nobody is signed in at the north: the page is shown as it is.
    let going = browser.visit(&login);
    let url = going.header("refresh").and_then(|value| value.strip_prefix("0; url=")).unwrap_or_else(|| panic!("{going:?}")).to_owned();
    assert_eq!(browser.visit(&url).status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-user"), None);
    // Somebody is, there only: nobody is asked, and they are signed in here.
    let mut other = gateway.browser();
    let form = other.visit(&format!("http://login.north.localhost:{}/login", gateway.public));
    let hidden = hidden_fields(&form.body);
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("username", "ada"), ("password", "correct horse battery")]);
    assert_eq!(other.post("login.north.localhost", "/login", &fields).status, 303);
    let going = other.visit(&login);
    let url = going.header("refresh").and_then(|value| value.strip_prefix("0; url=")).unwrap_or_else(|| panic!("{going:?}")).to_owned();
    assert_eq!(other.visit(&url).status, 200);
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
}
