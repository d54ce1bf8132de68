//! Artifacts over mutual TLS (bindings 1.1 §4.1.1.6): the source site believes the certificate that is shown, and no other; the
//! destination site believes the responder whose key it was given, and no other.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use super::{APP, CONFIG, PASSWORD, PORTAL, SP, free_port, leads_to, metadata_naming, reason, recorded, sign_in, source_config};
use crate::support::{Answer, Browser, Gateway, Scratch};

/// An authority, and what it issued: name and common name.
struct Office(Scratch);

const ISSUED: [(&str, &str); 4] = [("responder", PORTAL), ("other-responder", PORTAL), ("sp", "sp"), ("stranger", "stranger")];

impl Office {
    fn open() -> Self {
        let office = Self(Scratch::new());
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        ca.distinguished_name.push(rcgen::DnType::CommonName, "Authority");
        let key = rcgen::KeyPair::generate().unwrap();
        office.0.write("ca.pem", &ca.self_signed(&key).unwrap().pem());
        let issuer = rcgen::Issuer::new(ca, key);
        for (name, host) in ISSUED {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = rcgen::CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
            office.0.write(&format!("{name}.pem"), &certificate.pem());
            let path = office.0.write(&format!("{name}.key"), &key.serialize_pem());
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        office
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// All of it, as files beside a configuration.
    fn files(&self) -> Vec<(String, String)> {
        let names = ISSUED.iter().flat_map(|(name, _)| [format!("{name}.pem"), format!("{name}.key")]);
        names.chain(["ca.pem".to_owned()]).map(|name| (name.clone(), self.text(&name))).collect()
    }
}

/// A source site whose responder is behind TLS that asks for certificates, and its service provider, known by `sp.pem`.
struct Sites {
    office: Office,
    source: Gateway,
    public: u16,
    tls: u16,
}

impl Sites {
    fn start() -> Self {
        let office = Office::open();
        let (public, tls) = (free_port(), free_port());
        let metadata = metadata_naming(&office.text("sp.pem"), PORTAL, public, &["artifact-01"]);
        let (certificate, key) = (recorded("idp-rsa2048.crt"), recorded("idp-rsa2048.key"));
        let mut files = vec![("idp.crt", certificate.as_str()), ("idp.key", key.as_str()), ("peer.xml", metadata.as_str())];
        let issued = office.files();
        files.extend(issued.iter().map(|(name, text)| (name.as_str(), text.as_str())));
        let listen = format!(
            "\n[[listen]]\naddress = \"127.0.0.1:{tls}\"\n\n[listen.tls]\n\
             certificates = [{{ certificate = \"responder.pem\", key = {{ file = \"responder.key\" }} }}]\nclient_ca = [\"ca.pem\"]\n"
        );
        let source = Gateway::with_files(&source_config(CONFIG, &listen), &files).with_users();
        Self { office, source, public, tls }
    }

    fn responder(&self) -> String {
        format!("https://{PORTAL}:{}/saml/idp/responder", self.tls)
    }

    /// A destination site that shows this certificate, or none, and believes the responder of that one. It signs nothing.
    fn destination(&self, shows: Option<&str>, believes: &str) -> Gateway {
        let there = self.source.send_to(PORTAL, &crate::support::get("/saml/idp/metadata")).body;
        let plain = format!("http://{PORTAL}:{}/saml/idp/responder", self.source.public);
        assert!(there.contains(&plain), "{there}");
        let client = shows.map(|name| format!("client = {{ certificate = \"{name}.pem\", key = {{ file = \"{name}.key\" }} }}\n"));
        let site = format!("ca = \"ca.pem\"\nresponder_certificate = \"{believes}.pem\"\n{}", client.unwrap_or_default());
        let template = include_str!("destination.toml")
            .replace(
                "{{transfer}}",
                &format!("http://{PORTAL}:{}/saml/idp/transfer?providerId={SP}&TARGET=${{TARGET}}", self.source.public),
            )
            .replace("identity_provider = \"old\"", &format!("identity_provider = \"old\"\nentity_id = \"{SP}\""))
            .replace("{{more}}", "")
            .replace("{{site}}", &site);
        let mut files = vec![("old.xml".to_owned(), there.replace(&plain, &self.responder()))];
        files.extend(self.office.files());
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        Gateway::at(self.public, &template, &files)
    }

    /// Where the source site leads somebody who set out from a page.
    fn artifact(&self, here: &mut Browser<'_>) -> String {
        let mut location = format!("http://{APP}:{}/page", self.public);
        for _ in 0..6 {
            let answer = here.load(&location);
            location = answer.header("location").unwrap_or_else(|| panic!("{answer:?}")).to_owned();
            if location.contains("/saml/idp/transfer") {
                return leads_to(&sign_in(&mut self.source.browser(), &location, "ada", PASSWORD));
            }
        }
        panic!("{location}");
    }
}

#[test]
fn a_destination_site_shows_its_certificate_and_believes_that_of_the_responder() {
    let sites = Sites::start();
    for (shows, believes, status) in [
        (Some("sp"), "responder", 303),
        (None, "responder", 503),
        (Some("stranger"), "responder", 503),
        (Some("sp"), "other-responder", 403),
    ] {
        let destination = sites.destination(shows, believes);
        let mut here = destination.browser();
        let location = sites.artifact(&mut here);
        let arrived = here.load(&location);
        assert_eq!(arrived.status, status, "{shows:?} {believes} {arrived:?} {}", destination.log());
        assert_eq!(arrived.cookies().contains_key("vestibule"), status == 303, "{arrived:?}");
        if status == 403 {
            assert_eq!(reason(&destination, &arrived), json!({ "saml": "unknown_key" }));
        }
    }
}

/// Asks the responder over TLS for what an artifact stands for, as whoever holds this certificate.
fn question(sites: &Sites, who: Option<&str>, artifact: &str) -> Answer {
    let now = crate::saml_idp::now();
    let body = sites.office.0.write(
        "question.xml",
        &format!(
            r#"<S:Envelope xmlns:S="http://schemas.xmlsoap.org/soap/envelope/"><S:Body><samlp:Request xmlns:samlp="urn:oasis:names:tc:SAML:1.0:protocol" MajorVersion="1" MinorVersion="1" RequestID="_fetch" IssueInstant="{now}"><samlp:AssertionArtifact>{artifact}</samlp:AssertionArtifact></samlp:Request></S:Body></S:Envelope>"#
        ),
    );
    let file = |path: &Path| path.display().to_string();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "-i", "--http1.1", "--max-time", "20", "--cacert", &file(&sites.office.path("ca.pem"))]);
    curl.args(["--resolve", &format!("{PORTAL}:{}:127.0.0.1", sites.tls)]);
    if let Some(who) = who {
        let (certificate, key) = (sites.office.path(&format!("{who}.pem")), sites.office.path(&format!("{who}.key")));
        curl.args(["--cert", &file(&certificate), "--key", &file(&key)]);
    }
    curl.args(["-H", "Content-Type: text/xml", "--data-binary", &format!("@{}", file(&body)), &sites.responder()]);
    let output = curl.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    crate::support::read_answer(&mut output.stdout.as_slice())
}

#[test]
fn a_source_site_resolves_an_artifact_for_the_certificate_of_its_service_provider_only() {
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "curl is missing");
        println!("SKIPPED: curl is not installed");
        return;
    }
    let sites = Sites::start();
    let begun = format!("http://{PORTAL}:{}/saml/idp/transfer?providerId={SP}&TARGET=https%3A%2F%2Fa.example.com%2F", sites.source.public);
    let location = leads_to(&sign_in(&mut sites.source.browser(), &begun, "ada", PASSWORD));
    let artifact = url::Url::parse(&location).unwrap().query_pairs().find(|(name, _)| name == "SAMLart").unwrap().1.into_owned();
    for who in [None, Some("stranger"), Some("responder")] {
        let refused = question(&sites, who, &artifact);
        assert_eq!(refused.status, 403, "{who:?} {refused:?}");
        assert!(refused.body.contains("Fault") && !refused.body.contains("Assertion "), "{refused:?}");
        assert_eq!(reason(&sites.source, &refused), json!({ "saml": "signature_missing" }), "{who:?}");
    }
    let told = question(&sites, Some("sp"), &artifact);
    assert!(told.status == 200 && told.body.contains("<saml:Assertion "), "asking wrongly spent nothing: {told:?}");
    let again = question(&sites, Some("sp"), &artifact);
    assert!(again.status == 200 && !again.body.contains("<saml:Assertion "), "{again:?}");
}
