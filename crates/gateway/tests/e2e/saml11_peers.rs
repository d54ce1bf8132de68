//! SAML 1.1 with other people's implementations: SimpleSAMLphp as identity provider and as service provider, Shibboleth's service
//! provider; by POST and by artifact where they can.
//!
//! Without the peers the tests say SKIPPED, or fail where `VESTIBULE_PEERS=required`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::saml_idp::{PASSWORD, posted, recorded};
use crate::saml_idp_peers::{Apache, house_metadata, is_there, shibd};
use crate::saml11::{leads_to, source};
use crate::simplesamlphp::{Settings, SimpleSamlPhp};
use crate::support::{Answer, Browser, CONFIG, Gateway, free_port, get, hidden_fields};

const PORTAL: &str = "login.north.localhost";
const ENTITY: &str = "https://idp.example.org/ssp11";

/// Loads a page and follows redirects of any kind, as long as they stay at this host.
fn wander(browser: &mut Browser<'_>, host: &str, url: &str) -> Answer {
    let mut answer = browser.load(url);
    for _ in 0..12 {
        let Some(location) = answer.header("location").map(str::to_owned) else { return answer };
        let there = url::Url::parse(&location).ok().and_then(|url| url.host_str().map(str::to_owned));
        if there.is_some_and(|there| there != host) {
            return answer;
        }
        answer = browser.load(&location);
    }
    panic!("redirected for ever: {answer:?}");
}

/// Signs in at the portal where a service provider led, and gives the page that leads back.
fn signed_in(browser: &mut Browser<'_>, portal: &str, url: &str) -> Answer {
    let form = browser.visit(url);
    assert_eq!(form.status, 200, "{url} {form:?}");
    let hidden = hidden_fields(&form.body);
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("username", "ada"), ("password", PASSWORD)]);
    let onward = browser.post(portal, "/login", &fields);
    browser.visit(onward.header("location").unwrap_or_else(|| panic!("{onward:?}")))
}

/// Posts the form that a page of the portal holds, to whom it is for.
fn deliver(browser: &mut Browser<'_>, page: &Answer, origin: &str) -> Answer {
    let (_, rest) = page.body.split_once("action=\"").unwrap_or_else(|| panic!("{page:?}"));
    let action = url::Url::parse(&rest.split_once('"').unwrap().0.replace("&#x2f;", "/")).unwrap();
    let fields = posted(page);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post_from(origin, action.host_str().unwrap(), action.path(), &fields)
}

#[test]
fn simplesamlphp_signs_somebody_in_here() {
    let idp = "<?php $metadata['https://idp.example.org/ssp11'] = ['host' => '__DEFAULT__', 'privatekey' => 'idp.key', 'certificate' => 'idp.crt', 'auth' => 'silent',
        'signature.algorithm' => 'http://www.w3.org/2001/04/xmldsig-more#rsa-sha256', 'saml11.signresponse' => true,
        'NameIDFormat' => 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress',
        'authproc' => [3 => ['class' => 'saml:AttributeNameID', 'attribute' => 'mail', 'Format' => 'urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress']]];";
    let settings = Settings { files: &[("shib13-idp-hosted.php", idp)], ..Settings::default() };
    let Some(peer) = SimpleSamlPhp::start(&recorded("idp-rsa2048.key"), &recorded("idp-rsa2048.crt"), settings) else { return };
    assert!(peer.version().starts_with("1."), "SimpleSAMLphp {} speaks no SAML 1.1", peer.version());
    let metadata = Browser::at(peer.address(), 0).load(&peer.at("shib13/idp/metadata.php?output=xml")).body;
    assert!(metadata.contains("urn:oasis:names:tc:SAML:1.1:protocol") && metadata.contains(ENTITY), "{metadata} {}", peer.log());
    let public = free_port();
    let (sp, acs) = ("https://destination.example.com/saml11", format!("http://{PORTAL}:{public}/fed/sp/samlv11sso"));
    let transfer = format!("{}?providerId={sp}&shire={acs}&target=${{TARGET}}", peer.at("shib13/idp/SSOService.php"));
    let template = include_str!("saml11/destination.toml")
        .replace("{{transfer}}", &transfer)
        .replace("identity_provider = \"old\"", &format!("identity_provider = \"old\"\nentity_id = \"{sp}\""))
        .replace("{{more}}", "subject = \"uid\"\nemail = \"mail\"\n")
        .replace("{{site}}", "");
    let gateway = Gateway::at(public, &template, &[("old.xml", &metadata)]);
    // Ours, as we publish them.
    peer.meets(&gateway.send_to(PORTAL, &get("/saml/sp/metadata")).body);
    let (mut here, mut there) = (gateway.browser(), Browser::at(peer.address(), 0));
    let mut answer = here.load(&format!("http://app.north.localhost:{public}/page?of=php"));
    let away = loop {
        let location = answer.header("location").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
        if location.starts_with(&peer.origin()) {
            break location;
        }
        answer = here.load(&location);
    };
    let page = wander(&mut there, "idp.localhost", &away);
    let fields = hidden_fields(&page.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(fields.iter().any(|(name, _)| *name == "SAMLResponse"), "{page:?} {}", peer.log());
    let arrived = here.post_from(&peer.origin(), PORTAL, "/fed/sp/samlv11sso", &fields);
    assert_eq!(arrived.status, 303, "{arrived:?} {:?}", gateway.audit_of(&arrived));
    assert_eq!(here.visit(arrived.header("location").unwrap()).status, 200);
    let received = gateway.application.last();
    assert_eq!((received.line.as_str(), received.header("x-vestibule-user")), ("GET /page?of=php HTTP/1.1", Some("alice")));
}

/// PHP looks up no names below `localhost`, so that the portal is `localhost` itself.
#[test]
fn somebody_signs_in_at_simplesamlphp_from_here() {
    for artifact in [false, true] {
        let Some(peer) = SimpleSamlPhp::start(&recorded("sp-rsa2048.key"), &recorded("sp-rsa2048.crt"), Settings::default()) else {
            return;
        };
        let idp = "https://source.example.com/saml11";
        peer.write(
            "config/authsources.php",
            &format!(
                "<?php $config = ['admin' => ['core:AdminPassword'], 'old' => ['saml:SP', 'entityID' => 'https://sp.example.org/ssp11', 'idp' => '{idp}',
                 'privatekey' => 'idp.key', 'certificate' => 'idp.crt']];"
            ),
        );
        let metadata = Browser::at(peer.address(), 0).load(&peer.at("module.php/saml/sp/metadata.php/old")).body;
        assert!(metadata.contains("urn:oasis:names:tc:SAML:1.0:profiles:artifact-01"), "{metadata} {}", peer.log());
        let template = CONFIG.replace("portal = \"login.north.localhost:{{port}}\"", "portal = \"localhost:{{port}}\"");
        let unproven = "\n[[concession]]\nwhat = \"saml11-unproven-artifacts\"\npartner = \"peer\"\nreason = \"PHP's artifact receiver signs nothing\"\nexpires = \"2099-01-01\"\n";
        let gateway = source(&template, &metadata, unproven, &[]);
        let own = gateway.send_to("localhost", &get("/saml/idp/metadata")).body;
        let (_, rest) = own.split_once("entityID=\"").unwrap();
        let (own_id, certificate) = (rest.split_once('"').unwrap().0, recorded("idp-rsa2048.crt"));
        let certificate: String = certificate.lines().filter(|line| !line.starts_with("-----")).collect();
        peer.write(
            "config/authsources.php",
            &format!(
                "<?php $config = ['admin' => ['core:AdminPassword'], 'old' => ['saml:SP', 'entityID' => 'https://sp.example.org/ssp11', 'idp' => '{own_id}',
                 'privatekey' => 'idp.key', 'certificate' => 'idp.crt']];"
            ),
        );
        let at = |page: &str| format!("http://localhost:{}/saml/idp/{page}", gateway.public);
        peer.write(
            "metadata/shib13-idp-remote.php",
            &format!(
                "<?php $metadata['{own_id}'] = ['SingleSignOnService' => '{}', 'certData' => '{certificate}', 'saml1.useartifact' => {artifact},
                 'ArtifactResolutionService' => [['index' => 0, 'Binding' => 'urn:oasis:names:tc:SAML:1.0:bindings:SOAP-binding', 'Location' => '{}']]];",
                at("transfer"),
                at("responder")
            ),
        );
        let (mut here, mut there) = (gateway.browser(), Browser::at(peer.address(), 0));
        let left = wander(&mut there, "idp.localhost", &peer.at("module.php/core/authenticate.php?as=old"));
        let transfer = left.header("location").unwrap_or_else(|| panic!("{left:?} {}", peer.log())).to_owned();
        assert!(transfer.starts_with(&at("transfer")), "{transfer}");
        let page = signed_in(&mut here, "localhost", &transfer);
        let origin = format!("http://localhost:{}", gateway.public);
        let arrived = if artifact { there.load(&leads_to(&page)) } else { deliver(&mut there, &page, &origin) };
        let location = arrived.header("location").unwrap_or_else(|| panic!("{arrived:?} {} {}", peer.log(), gateway.log())).to_owned();
        let shown = wander(&mut there, "idp.localhost", &location);
        assert!(shown.status == 200 && shown.body.contains(">ada<") || shown.body.contains("ada"), "{shown:?} {}", peer.log());
    }
}

#[test]
fn somebody_signs_in_at_shibboleth_from_here_by_post_and_by_artifact() {
    let there = |path: &str| std::path::Path::new(path).exists();
    if !is_there(there("/usr/sbin/apache2") && there("/usr/lib/apache2/modules/mod_shib.so"), "Shibboleth's service provider") {
        return;
    }
    let mut apache = Apache::new();
    let origin = apache.origin();
    apache.scratch.write("idp.xml", &house_metadata());
    shibd(&mut apache, "<SSO entityID=\"https://idp.example.org\">SAML1</SSO>");
    let own = apache.fetch("/Shibboleth.sso/Metadata");
    apache.stop();
    let gateway = source(CONFIG, &own, "", &[]);
    let idp = gateway.send_to(PORTAL, &get("/saml/idp/metadata")).body;
    apache.scratch.write("idp.xml", &idp);
    let (_, rest) = idp.split_once("entityID=\"").unwrap();
    shibd(&mut apache, &format!("<SSO entityID=\"{}\">SAML1</SSO>", rest.split_once('"').unwrap().0));
    let index = |binding: &str| {
        let endpoint = own.split("<md:AssertionConsumerService ").find(|text| text.contains(binding)).unwrap_or_else(|| panic!("{own}"));
        endpoint.split_once("index=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
    };
    for (binding, artifact) in [("profiles:browser-post", false), ("profiles:artifact-01", true)] {
        let (mut here, mut there) = (gateway.browser(), Browser::at(SocketAddr::from(([127, 0, 0, 1], apache.port)), apache.port));
        let mut begin = format!("{origin}/Shibboleth.sso/Login?acsIndex={}&target=", index(binding));
        write!(begin, "{}", percent_encoding::utf8_percent_encode(&format!("{origin}/secure/"), percent_encoding::NON_ALPHANUMERIC))
            .unwrap();
        let left = wander(&mut there, "sp.localhost", &begin);
        let transfer = left.header("location").unwrap_or_else(|| panic!("{left:?} {}", apache.log())).to_owned();
        assert!(transfer.contains("/saml/idp/transfer?") && transfer.contains("shire="), "{transfer}");
        let page = signed_in(&mut here, PORTAL, &transfer);
        let arrived = if artifact { there.load(&leads_to(&page)) } else { deliver(&mut there, &page, "http://login.north.localhost") };
        let Some(location) = arrived.header("location").map(str::to_owned) else {
            // It writes its log a little later.
            std::thread::sleep(std::time::Duration::from_secs(1));
            panic!("{arrived:?} {} {} {:#?}", apache.log(), gateway.log(), gateway.audit().iter().rev().take(4).collect::<Vec<_>>());
        };
        let shown = wander(&mut there, "sp.localhost", &location);
        assert!(shown.body.contains("inside the peer"), "{binding}: {shown:?} {}", apache.log());
    }
}
