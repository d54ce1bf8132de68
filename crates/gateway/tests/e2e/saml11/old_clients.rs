//! Old clients of integration services whose users sign in elsewhere by SAML 1.1 (`oracle-stateful-sessions.md` §8).

use vestibule_saml::binding::Artifact;

use super::*;
use crate::shown::Shown;
use crate::support::{Ask, exchange};

const SERVICES: &str = "/Services/Integration";

/// The same house with services for old clients, which sign in at this address.
pub fn with_services(template: &str, its_url: &str) -> String {
    template
        .replace("chain = [\"session\", \"saml\"]", &format!("chain = [\"session\", \"crm\", \"saml\"]\n\n[tenant.north.integration]\nssoid = \"north-sso\"\nspacing = \"0s\"\nits_url = \"{its_url}\""))
        .replace("[scheme.saml]", "[[route]]\nmatch = \"/Services/Integration/**\"\npolicies = [\"policy.cedar\"]\ninject = [\"headers\"]\nbody = { limit = \"1MiB\", types = [\"text/xml\"] }\nforward = \"http://{{app}}\"\n\n[scheme.crm]\ntype = \"integration\"\nrealm = \"local\"\n\n[scheme.saml]")
}

/// The company's identity provider, and its services.
struct Company {
    source: Gateway,
    destination: Gateway,
}

impl Company {
    fn start(binding: &str) -> Self {
        let public = free_port();
        let source = source(CONFIG, &metadata_at(APP, public, &[binding]), "", &[]);
        let metadata = source.send_to(PORTAL, &get("/saml/idp/metadata")).body;
        let transfer = format!("http://{PORTAL}:{}/saml/idp/transfer?providerId={SP}&TARGET=${{TARGET}}", source.public);
        let signing = "signing = { certificate = \"sp.crt\", key = { file = \"sp.key\" } }";
        let template = include_str!("destination.toml")
            .replace("{{transfer}}", &transfer)
            .replace("identity_provider = \"old\"", &format!("identity_provider = \"old\"\nentity_id = \"{SP}\"\n{signing}"))
            .replace("{{more}}", "")
            .replace("{{site}}", "");
        let (certificate, key) = (recorded("sp-rsa2048.crt"), recorded("sp-rsa2048.key"));
        let files = [("old.xml", metadata.as_str()), ("sp.crt", &certificate), ("sp.key", &key)];
        let destination = Gateway::at(public, &with_services(&template, &transfer), &files);
        Self { source, destination }
    }

    fn send(&self, ask: Ask) -> Answer {
        self.destination.send_to(APP, &ask)
    }

    /// Where a client is told to sign in.
    fn its_url(&self) -> String {
        let told = self.send(get(&format!("{SERVICES}?command=ssoitsurl&ssoid=north-sso")));
        told.header("x-ssoitsurl").unwrap_or_else(|| panic!("{told:?}")).to_owned()
    }

    /// What the client gets there, signed in as ada, with the words that it brings: an artifact's, or a form's.
    fn sign_in(&self, its: &str) -> BTreeMap<String, String> {
        let page = sign_in(&mut self.source.browser(), its, "ada", PASSWORD);
        match page.header("refresh") {
            Some(_) => url::Url::parse(&leads_to(&page)).unwrap().query_pairs().into_owned().collect(),
            None => posted(&page),
        }
    }
}

fn brings(words: &BTreeMap<String, String>) -> Ask {
    if words.contains_key("SAMLart") {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(words).finish();
        return get(&format!("{CONSUMER}?{query}"));
    }
    ask("POST", CONSUMER).form(&fields(words))
}

fn with(words: &BTreeMap<String, String>, name: &str, value: &str) -> BTreeMap<String, String> {
    let mut words = words.clone();
    assert!(words.insert(name.to_owned(), value.to_owned()).is_some(), "{words:?}");
    words
}

/// As their client goes through it: it asks where to sign in, signs in there, brings what it gets, and ends with its `JSESSIONID`.
#[test]
fn an_old_client_that_signs_in_elsewhere_ends_with_its_session() {
    for binding in ["browser-post", "artifact-01"] {
        let company = Company::start(binding);
        let public = company.destination.public;
        let words = company.sign_in(&company.its_url());
        assert_eq!(words["TARGET"], format!("http://{APP}:{public}{SERVICES}?command=ssologin&ssoid=north-sso"));
        // A browser brings nothing here: it would work in the name of whoever made the link.
        let lured = company.send(brings(&words).browser());
        assert_eq!((lured.status, reason(&company.destination, &lured)), (400, serde_json::json!({"saml": "unsolicited"})));
        // TARGET leads to the services of this host; what is refused for it spends nothing.
        for target in [
            "https://evil.example/Services/Integration?command=ssologin&ssoid=north-sso".to_owned(),
            format!("http://{APP}:{public}{SERVICES}/Contact?command=ssologin&ssoid=north-sso"),
            format!("http://{APP}:{public}{SERVICES}?command=logoff&ssoid=north-sso"),
            format!("http://{APP}@evil.example{SERVICES}?command=ssologin&ssoid=north-sso"),
            format!("{}\r\nX-Header: x", words["TARGET"]),
        ] {
            let elsewhere = company.send(brings(&with(&words, "TARGET", &target)));
            assert_eq!(elsewhere.status, 400, "{target:?} {elsewhere:?}");
            assert_eq!(elsewhere.header("location"), None, "{target:?}");
        }
        if binding == "artifact-01" {
            // An artifact of another source names somebody whom we do not know, and nobody is asked.
            let other = Artifact::Saml11 { source_id: Artifact::source_id_of("https://other.example.org/saml11"), handle: [7; 20] };
            let foreign = company.send(brings(&with(&words, "SAMLart", &other.to_base64())));
            assert_eq!((foreign.status, reason(&company.destination, &foreign)), (403, serde_json::json!("unknown_partner")));
        }
        let arrived = company.send(brings(&words));
        assert_eq!(arrived.status, 302, "{arrived:?} {:?}", company.destination.audit_of(&arrived));
        let location = url::Url::parse(arrived.header("location").unwrap()).unwrap();
        assert!(location.query_pairs().any(|(name, _)| name == "odSsoTokenG"), "{location}");
        // Once.
        let again = company.send(brings(&words));
        assert_eq!(again.status, 403, "{again:?}");
        // In the address, or in a form as some clients post it (§6.3).
        let onward = || match binding {
            "browser-post" => {
                let form: Vec<(String, String)> = location.query_pairs().into_owned().collect();
                let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                ask("POST", SERVICES).form(&form)
            }
            _ => get(&location[url::Position::BeforePath..]),
        };
        let entered = company.send(onward());
        let cookie = entered.header("set-cookie").unwrap_or_else(|| panic!("{entered:?}")).split(';').next().unwrap().to_owned();
        assert!(entered.status == 200 && cookie.starts_with("JSESSIONID="), "{entered:?}");
        assert_ne!(company.send(onward()).status, 200, "the address is good once");
        let data = company.send(get(&format!("{SERVICES}/Account")).header("Cookie", &cookie));
        assert_eq!(data.status, 200, "{data:?}");
        assert_eq!(company.destination.application.last().header("x-vestibule-user"), Some("ada"));
    }
}

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let company = Company::start("artifact-01");
    let mut shown = Shown::on("saml11.md");
    let (here, there) = (company.destination.address, company.source.address);
    shown.know("host", &format!("{APP}:{}", company.destination.public));
    shown.know("portal", &format!("{PORTAL}:{}", company.source.public));
    shown.know("provider", SP);
    shown.next(|octets| exchange(here, octets));
    let its = format!("{}&TARGET={}", shown.word("transfer"), shown.word("target"));
    assert_eq!(its, company.its_url());
    let artifact = company.sign_in(&its)["SAMLart"].clone();
    shown.know("artifact", &artifact.replace('+', "%2B"));
    shown.next(|octets| exchange(here, octets));
    shown.next(|octets| exchange(here, octets));
    shown.next(|octets| exchange(there, octets));
    // Nobody else gets what an artifact stands for.
    let kept = company.sign_in(&its)["SAMLart"].clone();
    shown.know("artifact", &kept);
    shown.know("now", &crate::saml_idp::now().to_string());
    shown.next(|octets| exchange(there, octets));
    assert_eq!(
        company
            .send(brings(
                &[("TARGET", percent_decoded(shown.word("target"))), ("SAMLart", kept)]
                    .map(|(name, value)| (name.to_owned(), value))
                    .into()
            ))
            .status,
        302
    );
    shown.end();
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().unwrap().into_owned()
}
