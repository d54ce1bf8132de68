//! The tenant as an identity provider: what service providers get from it, and what they do not.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use vestibule_saml::binding::{Kind, Post, PostForm, Redirect, RelayState, redirect_url, signed_redirect_url, soap_envelope};
use vestibule_saml::metadata::{Endpoint, Entity, IndexedEndpoint, KeyDescriptor, Metadata, Protocols, SpRole, Trust, Usage};
use vestibule_saml::names::{authn_context, binding, name_id, status};
use vestibule_saml::protocol::{
    ArtifactResolve, AuthnRequest, Comparison, Consumer, Header, LogoutRequest, LogoutResponse, NameIdPolicy, RequestedContext,
    SessionIndex, Status, message_id,
};
use vestibule_saml::sp::{Expectations, Requests, TrustedIdp, Unsolicited};
use vestibule_saml::{Accepted, Incoming, NameId, Rejection, Sendable as _, Sp};
use vestibule_xmlsec::{DecryptionKeys, Purpose as _, ServiceProvider, SigningKey};

use crate::shown::Shown;
use crate::support::{Answer, Browser, CONFIG, Gateway, ask, exchange, hidden_fields};

pub const PORTAL: &str = "login.north.localhost";
const ACS: &str = "http://wiki.localhost:9/acs";
const ARTIFACTS: &str = "http://wiki.localhost:9/artifact";
pub const SLO: &str = "http://wiki.localhost:9/slo";
pub const WIKI: &str = "https://wiki.example.org/saml";
const TRAVEL: &str = "https://travel.example.org/saml";
pub const PASSWORD: &str = "correct horse battery";

/// Beside the standard house: two service providers of the tenant `north`.
const FEDERATED: &str = r#"
[tenant.north.idp]
certificate = "idp.crt"
key = { file = "idp.key" }

[tenant.south.idp]
certificate = "idp.crt"
key = { file = "idp.key" }

[service_provider.wiki]
tenant = "north"
metadata = "wiki.xml"
title = "Wiki"
name_id = ["persistent", "transient", "email", "username"]
release = { mail = "email", "urn:oid:2.5.4.3" = "display-name", groups = "groups" }
relay_state = "http://wiki.localhost:9/home"

[service_provider.travel]
tenant = "north"
metadata = "travel.xml"
title = "Travel <desk>"
groups = ["admins"]
encrypt = "never"

[service_provider.recorded]
tenant = "north"
metadata = "recorded.xml"

[service_provider.southern]
tenant = "south"
metadata = "wiki.xml"
"#;

#[expect(clippy::disallowed_methods, reason = "the gateway knows no other time than the present")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

pub fn recorded(name: &str) -> String {
    std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/keys").join(name)).unwrap()
}

fn der(name: &str) -> Vec<u8> {
    let text = recorded(name);
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    STANDARD.decode(body).unwrap()
}

pub fn sp_key() -> SigningKey<ServiceProvider> {
    SigningKey::from_pkcs8(ServiceProvider::NAME, &der("sp-rsa2048.key"), None).unwrap()
}

/// A service provider's own metadata.
pub fn provider(entity_id: &str, signs: bool) -> String {
    let acs = |index, binding: &str, location: &str| IndexedEndpoint {
        index,
        is_default: Some(index == 0),
        binding: binding.to_owned(),
        location: location.to_owned(),
    };
    let entity = Entity {
        entity_id: entity_id.to_owned(),
        sp: Some(SpRole {
            protocols: Protocols { saml20: true, saml11: false },
            keys: vec![KeyDescriptor { usage: Usage::Both, certificates: vec![der("sp-rsa2048.crt")], encryption_methods: Vec::new() }],
            authn_requests_signed: signs,
            acs: vec![acs(0, binding::POST, ACS), acs(1, binding::ARTIFACT, ARTIFACTS)],
            slo: vec![Endpoint::new(binding::REDIRECT, SLO), Endpoint::new(binding::POST, SLO)],
            ..SpRole::default()
        }),
        ..Entity::default()
    };
    entity.unsigned().unwrap().as_str().to_owned()
}

/// The gateway, with its users.
fn house() -> Gateway {
    let template = format!("{CONFIG}{FEDERATED}");
    let files = [
        ("idp.crt", recorded("idp-rsa2048.crt")),
        ("idp.key", recorded("idp-rsa2048.key")),
        ("wiki.xml", provider(WIKI, false)),
        ("travel.xml", provider(TRAVEL, true)),
        ("recorded.xml", provider("https://gw.example.com/saml/sp", false)),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    Gateway::with_files(&template, &files).with_users()
}

/// A service provider that speaks to it.
pub struct Provider {
    entity_id: &'static str,
    idp: Entity,
    sp: Sp,
}

impl Provider {
    pub fn new(gateway: &Gateway, entity_id: &'static str) -> Self {
        Self::at(gateway, PORTAL, entity_id)
    }

    fn at(gateway: &Gateway, portal: &str, entity_id: &'static str) -> Self {
        let shown = gateway.send_to(portal, &crate::support::get("/saml/idp/metadata"));
        assert_eq!((shown.status, shown.header("content-type")), (200, Some("application/samlmetadata+xml")));
        let idp = Metadata::read(shown.body.as_bytes(), Trust::Named, now()).unwrap().entities.remove(0);
        let mut decryption = DecryptionKeys::new();
        decryption.add_pkcs8("sp-decryption", &der("sp-rsa2048.key")).unwrap();
        Self {
            entity_id,
            idp,
            sp: Sp { entity_id: entity_id.to_owned(), acs_urls: vec![ACS.to_owned(), ARTIFACTS.to_owned()], decryption },
        }
    }

    fn sso(&self) -> &str {
        &self.idp.idp.as_ref().unwrap().sso[0].location
    }

    pub fn slo(&self) -> &str {
        &self.idp.idp.as_ref().unwrap().slo[0].location
    }

    pub fn header(&self, destination: &str) -> Header {
        let id = message_id(vestibule_random());
        Header { id, issue_instant: now(), destination: Some(destination.to_owned()), issuer: self.entity_id.to_owned() }
    }

    fn request(&self) -> AuthnRequest {
        AuthnRequest {
            header: self.header(self.sso()),
            consumer: Consumer::Default,
            protocol_binding: None,
            force_authn: false,
            is_passive: false,
            name_id_policy: None,
            requested_context: None,
            subject: None,
            provider_name: None,
        }
    }

    /// What it makes of an answer.
    fn consume(&self, value: &str, request: Option<&str>) -> Result<Accepted, Rejection> {
        let message = Post::decode(value).unwrap();
        self.judge(&message, request, None)
    }

    fn judge(&self, message: &[u8], request: Option<&str>, resolved: Option<&str>) -> Result<Accepted, Rejection> {
        let mut idp = TrustedIdp::from_metadata(&self.idp).unwrap();
        if request.is_none() {
            idp.unsolicited = Unsolicited::Allowed;
        }
        let open: Vec<&str> = request.into_iter().collect();
        self.sp.consume(message, &Expectations { idp: &idp, requests: Requests::Open(&open), resolved }, now())
    }

    /// The address that asks for a login, and the id of the request.
    fn asks(&self, change: impl FnOnce(&mut AuthnRequest), relay_state: Option<&str>) -> (String, String) {
        let mut request = self.request();
        change(&mut request);
        let relay_state = relay_state.map(|state| RelayState::received(state).unwrap());
        let url = signed_redirect_url(self.sso(), Kind::Request, &request.unsigned().unwrap(), relay_state.as_ref(), &sp_key());
        (url.unwrap(), request.header.id)
    }

    /// What becomes of a request in a browser that is signed in.
    pub fn answered(&self, browser: &mut Browser<'_>, change: impl FnOnce(&mut AuthnRequest)) -> Result<Accepted, Rejection> {
        let (url, id) = self.asks(change, None);
        let page = browser.visit(&url);
        self.consume(&posted(&page)["SAMLResponse"], Some(&id))
    }
}

/// The fields of a page that posts itself to a service provider.
pub fn posted(page: &Answer) -> BTreeMap<String, String> {
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("data-submit") && page.body.contains("<button class=\"primary\">Continue</button>"), "{page:?}");
    hidden_fields(&page.body).into_iter().collect()
}

/// The status that a service provider was told.
fn told(answer: Result<Accepted, Rejection>) -> String {
    let rejection = answer.unwrap_err();
    assert_eq!(rejection.reason, vestibule_saml::Reason::StatusNotSuccess, "{rejection}");
    rejection.status.unwrap().subcode.unwrap()
}

fn name(accepted: &Accepted) -> NameId {
    accepted.assertion.value().name_id().unwrap().clone()
}

fn vestibule_random() -> [u8; 16] {
    use std::hash::{BuildHasher, Hasher};
    let one = || std::hash::RandomState::new().build_hasher().finish();
    (u128::from(one()) << 64 | u128::from(one())).to_be_bytes()
}

/// Signs in where a page of ours led, and goes where that leads.
pub fn sign_in(browser: &mut Browser<'_>, url: &str, user: &str, password: &str) -> Answer {
    let answer = browser.submit_login(url, user, password);
    assert_eq!(answer.status, 303, "{answer:?}");
    browser.visit(answer.header("location").unwrap())
}

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let gateway = house();
    let wiki = Provider::new(&gateway, WIKI);
    let (asked, id) = wiki.asks(|_| {}, Some("a page of the wiki"));
    let (_, query) = asked.split_once("?SAMLRequest=").unwrap();
    let (request, state) = query.split_once("&RelayState=").unwrap();
    let mut shown = Shown::on("saml-idp.md");
    shown.know("portal", &format!("{PORTAL}:{}", gateway.public));
    shown.know("request", request);
    shown.know("state", state);
    shown.next(|octets| exchange(gateway.address, octets));
    shown.next(|octets| exchange(gateway.address, octets));
    let session = gateway.sign_in_at_portal("ada", PASSWORD).cookies()["vestibule"].clone();
    shown.know("session", &session);
    shown.know("state", "a page of the wiki");
    shown.know("consumer", ACS);
    shown.next(|octets| exchange(gateway.address, octets));
    wiki.consume(shown.word("response"), Some(&id)).unwrap();
    shown.end();
}

#[test]
fn a_login_begins_at_the_service_provider() {
    let gateway = house();
    let (wiki, travel) = (Provider::new(&gateway, WIKI), Provider::new(&gateway, TRAVEL));
    let mut browser = gateway.browser();
    let (url, id) = wiki.asks(|_| {}, Some("http://wiki.localhost:9/a b?c=d&e"));
    let form = browser.visit(&url);
    assert!(form.body.contains("to continue to <strong>Wiki</strong>"), "{form:?}");
    // A wrong password leads back to the same form, which still knows where it leads.
    let hidden = hidden_fields(&form.body);
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("username", "ada"), ("password", "wrong")]);
    let again = browser.post(PORTAL, "/login", &fields);
    assert!(again.status == 403 && again.body.contains("to continue to <strong>Wiki</strong>"), "{again:?}");
    fields.pop();
    fields.push(("password", PASSWORD));
    let onward = browser.post(PORTAL, "/login", &fields).header("location").unwrap().to_owned();
    let page = browser.visit(&onward);
    assert!(page.body.contains(&format!("action=\"{ACS}\"")), "{page:?}");
    assert!(page.header("content-security-policy").unwrap().contains("form-action 'self' http: https:"), "{page:?}");
    let fields = posted(&page);
    assert_eq!(fields["RelayState"], "http://wiki.localhost:9/a b?c=d&e");
    let accepted = wiki.consume(&fields["SAMLResponse"], Some(&id)).unwrap();
    let assertion = accepted.assertion.value();
    assert_eq!(assertion.values("groups").collect::<Vec<_>>(), ["admins", "staff"]);
    assert_eq!(assertion.values("mail").count(), 0, "what is not known is not stated");
    assert_eq!(name(&accepted).format.as_deref(), Some(name_id::PERSISTENT));
    assert_eq!(assertion.authn[0].class.as_deref(), Some(authn_context::PASSWORD_PROTECTED_TRANSPORT));
    let octets = Post::decode(&fields["SAMLResponse"]).unwrap();
    let text = String::from_utf8(octets).unwrap();
    assert!(text.contains("EncryptedAssertion") && !text.contains("staff"), "its metadata hold a key, so nothing is readable on the way");

    // The same login again, and another application: nobody is asked, and nobody can tell that it is the same person.
    let same = wiki.answered(&mut browser, |_| {}).unwrap();
    assert_eq!(name(&same), name(&accepted));
    let elsewhere = travel.answered(&mut browser, |_| {}).unwrap();
    assert_ne!(name(&elsewhere).value, name(&accepted).value);
    assert_ne!(elsewhere.assertion.value().authn[0].session_index, assertion.authn[0].session_index);
    assert_eq!(elsewhere.assertion.value().attributes.len(), 0, "what is not released is not told");

    // Answered once: the address of the request in progress is of no use any more.
    let spent = browser.visit(&onward);
    assert!(spent.status == 409 && spent.body.contains("already done"), "{spent:?}");
    let records = gateway.audit_of(&page);
    let issued = records.iter().find(|record| record["event"] == "assertion.issued").unwrap();
    assert_eq!((issued["subject"].as_str(), issued["audience"].as_str()), (Some("ada"), Some("wiki")));

    // By POST, from the service provider's page: a browser sends no cookie of ours along.
    let mut request = travel.request();
    request.header.destination = Some(travel.sso().to_owned());
    let form = PostForm::new(travel.sso(), Kind::Request, &request.signed(&sp_key()).unwrap(), None).unwrap();
    let foreign = ask("POST", "/saml/idp/sso").browser().header("Origin", "http://wiki.localhost:9").header("Sec-Fetch-Site", "cross-site");
    let taken = gateway.send_to(PORTAL, &foreign.form(&[(form.field, &form.value)]));
    assert_eq!(taken.status, 303, "{taken:?}");
    let page = browser.visit(taken.header("location").unwrap());
    travel.consume(&posted(&page)["SAMLResponse"], Some(&request.header.id)).unwrap();

    // Who may not use it learns so here, and the application learns nothing.
    let mut other = gateway.browser();
    let (url, _) = travel.asks(|_| {}, None);
    let refused = sign_in(&mut other, &url, "bob", "staple of the north");
    assert!(refused.status == 403 && refused.body.contains("You may not use Travel &#60;desk&#62;"), "{refused:?}");
    assert!(!refused.body.contains("SAMLResponse"));

    // Whoever must change the password does so first.
    let mut new = gateway.browser();
    let (url, _) = wiki.asks(|_| {}, None);
    let answer = sign_in(&mut new, &url, "eve", "new on the first day");
    assert!(answer.status == 200 && answer.body.contains("Change your password"), "{answer:?}");
}

#[test]
fn what_a_request_asks_for_is_honoured_or_refused_by_name() {
    let gateway = house();
    let wiki = Provider::new(&gateway, WIKI);
    let mut browser = gateway.browser();
    assert_eq!(told(wiki.answered(&mut browser, |request| request.is_passive = true)), status::NO_PASSIVE);
    let (url, _) = wiki.asks(|_| {}, None);
    posted(&sign_in(&mut browser, &url, "ada", PASSWORD));
    wiki.answered(&mut browser, |request| request.is_passive = true).unwrap();

    let policy = |format: &str| Some(NameIdPolicy { format: Some(format.to_owned()), sp_name_qualifier: None, allow_create: true });
    let transient =
        |browser: &mut Browser<'_>| name(&wiki.answered(browser, |request| request.name_id_policy = policy(name_id::TRANSIENT)).unwrap());
    let (one, other) = (transient(&mut browser), transient(&mut browser));
    assert!(one.format.as_deref() == Some(name_id::TRANSIENT) && one.value != other.value);
    let no_mail = wiki.answered(&mut browser, |request| request.name_id_policy = policy(name_id::EMAIL));
    assert_eq!(told(no_mail), status::INVALID_NAME_ID_POLICY, "ada has no address for mail");
    let unknown =
        wiki.answered(&mut browser, |request| request.name_id_policy = policy("urn:oasis:names:tc:SAML:2.0:nameid-format:kerberos"));
    assert_eq!(told(unknown), status::INVALID_NAME_ID_POLICY);
    let unspecified = wiki.answered(&mut browser, |request| request.name_id_policy = policy(name_id::UNSPECIFIED)).unwrap();
    assert_eq!(name(&unspecified).format.as_deref(), Some(name_id::PERSISTENT));

    let context = |comparison, class: &str| Some(RequestedContext { comparison, classes: vec![class.to_owned()] });
    for (comparison, class, met) in [
        (Comparison::Exact, authn_context::PASSWORD_PROTECTED_TRANSPORT, Some(authn_context::PASSWORD_PROTECTED_TRANSPORT)),
        (Comparison::Exact, authn_context::PASSWORD, Some(authn_context::PASSWORD)),
        (Comparison::Minimum, authn_context::PASSWORD, Some(authn_context::PASSWORD_PROTECTED_TRANSPORT)),
        (Comparison::Exact, authn_context::X509, None),
        (Comparison::Better, authn_context::PASSWORD, None),
        (Comparison::Exact, "urn:oasis:names:tc:SAML:2.0:ac:classes:Smartcard", None),
    ] {
        let answer = wiki.answered(&mut browser, |request| request.requested_context = context(comparison, class));
        match met {
            Some(met) => assert_eq!(answer.unwrap().assertion.value().authn[0].class.as_deref(), Some(met), "{comparison:?} {class}"),
            None => assert_eq!(told(answer), status::NO_AUTHN_CONTEXT, "{comparison:?} {class}"),
        }
    }

    // Asked to ask again, the login page comes although there is a session; the answer tells of the new login.
    let before = wiki.answered(&mut browser, |_| {}).unwrap().assertion.value().authn[0].instant;
    while now().as_second() <= before.as_second() {
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let (url, id) = wiki.asks(|request| request.force_authn = true, None);
    let page = sign_in(&mut browser, &url, "ada", PASSWORD);
    let again = wiki.consume(&posted(&page)["SAMLResponse"], Some(&id)).unwrap();
    assert!(again.assertion.value().authn[0].instant > before);
    let both = wiki.answered(&mut browser, |request| (request.force_authn, request.is_passive) = (true, true));
    // The login a moment ago may be of the same second as the request: then it was made for it.
    if let Err(rejection) = both {
        assert_eq!(rejection.status.unwrap().subcode.as_deref(), Some(status::NO_PASSIVE));
    }
}

#[test]
fn a_login_begins_here() {
    let gateway = house();
    let wiki = Provider::new(&gateway, WIKI);
    let mut browser = gateway.browser();
    let home = sign_in(&mut browser, &format!("http://{PORTAL}/"), "bob", "staple of the north");
    assert!(home.body.contains("href=\"/saml/idp/start/wiki\"") && !home.body.contains("start/travel"), "{home:?}");
    let page = browser.visit(&format!("http://{PORTAL}/saml/idp/start/wiki?RelayState=https://evil.example/"));
    let fields = posted(&page);
    assert_eq!(fields["RelayState"], "http://wiki.localhost:9/home", "a link does not choose where the application goes");
    let accepted = wiki.consume(&fields["SAMLResponse"], None).unwrap();
    assert_eq!(accepted.in_response_to, None);
    assert_eq!(browser.load(&format!("http://{PORTAL}/saml/idp/start/nobody")).status, 404);
    // The command says what the page says, and a tenant that is none says so.
    let config = gateway.scratch.path().join("vestibule.toml");
    let said = gateway.command(&["metadata", "idp", "north", "--config", config.to_str().unwrap()]);
    let shown = gateway.send_to(PORTAL, &crate::support::get("/saml/idp/metadata"));
    assert_eq!((said.status.code(), String::from_utf8_lossy(&said.stdout).trim_end()), (Some(0), shown.body.as_str()));
    assert_eq!(gateway.command(&["metadata", "idp", "west", "--config", config.to_str().unwrap()]).status.code(), Some(2));
    // Nobody signed in: the login page comes first, and the way goes on.
    let mut stranger = gateway.browser();
    let page = sign_in(&mut stranger, &format!("http://{PORTAL}/saml/idp/start/wiki"), "ada", PASSWORD);
    wiki.consume(&posted(&page)["SAMLResponse"], None).unwrap();
}

#[test]
fn an_artifact_stands_for_one_answer_once() {
    let gateway = house();
    let (wiki, travel) = (Provider::new(&gateway, WIKI), Provider::new(&gateway, TRAVEL));
    let mut browser = gateway.browser();
    let artifact = |browser: &mut Browser<'_>, sign: bool| {
        let (url, id) = wiki.asks(|request| request.protocol_binding = Some(binding::ARTIFACT.to_owned()), Some("state"));
        let page = if sign { sign_in(browser, &url, "ada", PASSWORD) } else { browser.visit(&url) };
        let refresh = page.header("refresh").unwrap_or_else(|| panic!("{page:?}")).to_owned();
        let query = refresh.strip_prefix(&format!("0; url={ARTIFACTS}?")).unwrap().to_owned();
        let pairs: BTreeMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        assert_eq!(pairs["RelayState"], "state");
        (pairs["SAMLart"].clone(), id)
    };
    let resolve = |provider: &Provider, artifact: &str, key: Option<&SigningKey<ServiceProvider>>| {
        let location = provider.idp.idp.as_ref().unwrap().artifact_resolution[0].location.clone();
        let message = ArtifactResolve { header: provider.header(&location), artifact: artifact.to_owned() };
        let written = key.map_or_else(|| message.unsigned(), |key| message.signed(key)).unwrap();
        let body = soap_envelope(&written).unwrap();
        let ask = ask("POST", "/saml/idp/artifact").header("Content-Type", "text/xml").header("SOAPAction", "\"x\"").body(body);
        (gateway.send_to(PORTAL, &ask), message.header.id)
    };
    let (one, id) = artifact(&mut browser, true);
    let key = sp_key();
    let (unsigned, _) = resolve(&wiki, &one, None);
    assert!(unsigned.status == 500 && unsigned.body.contains("Fault"), "{unsigned:?}");
    let (other, _) = resolve(&travel, &one, Some(&key));
    assert!(other.status == 200 && !other.body.contains("Assertion"), "made for another: {other:?}");
    let (answer, resolved) = resolve(&wiki, &one, Some(&key));
    let accepted = wiki.judge(answer.body.as_bytes(), Some(&id), Some(&resolved)).unwrap();
    assert_eq!(accepted.assertion.value().values("groups").next(), Some("admins"));
    let (again, _) = resolve(&wiki, &one, Some(&key));
    assert!(again.status == 200 && !again.body.contains("Assertion"), "once: {again:?}");
    let (guessed, _) = resolve(&wiki, &one.replace(|c: char| c.is_ascii_digit(), "A"), Some(&key));
    assert!(guessed.status == 200 && !guessed.body.contains("Assertion"), "{guessed:?}");

    // At the same time, exactly one gets it.
    let (two, _) = artifact(&mut browser, false);
    let got: usize = std::thread::scope(|scope| {
        let askers: Vec<_> =
            (0..8).map(|_| scope.spawn(|| usize::from(resolve(&wiki, &two, Some(&key)).0.body.contains("Assertion")))).collect();
        askers.into_iter().map(|asker| asker.join().unwrap()).sum()
    });
    assert_eq!(got, 1);
}

#[test]
fn a_logout_reaches_everybody_who_took_part() {
    let gateway = house();
    let (wiki, travel) = (Provider::new(&gateway, WIKI), Provider::new(&gateway, TRAVEL));
    let app = "app.north.localhost";
    let begin = || {
        let mut browser = gateway.browser();
        assert_eq!(browser.sign_in("ada", PASSWORD, app).status, 200);
        let (at_wiki, at_travel) = (wiki.answered(&mut browser, |_| {}).unwrap(), travel.answered(&mut browser, |_| {}).unwrap());
        (browser, at_wiki, at_travel)
    };
    let is_out = |browser: &mut Browser<'_>| browser.load(&format!("http://{app}/page")).status == 303;
    let logout = |provider: &Provider, accepted: &Accepted, key: &SigningKey<ServiceProvider>| {
        let request = LogoutRequest {
            header: provider.header(provider.slo()),
            name_id: name(accepted),
            session_indexes: accepted.assertion.value().authn[0].session_index.clone().map(SessionIndex).into_iter().collect(),
            not_on_or_after: None,
            reason: None,
        };
        let state = RelayState::sent("back").unwrap();
        let url = signed_redirect_url(provider.slo(), Kind::Request, &request.unsigned().unwrap(), Some(&state), key).unwrap();
        (url, request.header.id)
    };
    // What an application is sent, in the address that a page leads on to.
    let sent = |page: &Answer| {
        let location = page.header("refresh").and_then(|refresh| refresh.strip_prefix("0; url=")).or(page.header("location"));
        let location = location.unwrap_or_else(|| panic!("{page:?}"));
        Redirect::read(location.strip_prefix(&format!("{SLO}?")).unwrap()).unwrap()
    };
    let answer_to = |provider: &Provider, asked: &Redirect, outcome: Status| {
        let request = asked.claim::<LogoutRequest>().unwrap().sender_says().clone();
        let answer =
            LogoutResponse { header: provider.header(provider.slo()), in_response_to: Some(request.header.id.clone()), status: outcome };
        signed_redirect_url(provider.slo(), Kind::Response, &answer.unsigned().unwrap(), None, &sp_key()).unwrap()
    };

    // Begun at the wiki: the login ends here at once, the travel desk is told, and the wiki hears how it went.
    let (mut browser, at_wiki, at_travel) = begin();
    let (url, id) = logout(&wiki, &at_wiki, &sp_key());
    let page = browser.load(&url);
    assert!(is_out(&mut browser), "our own sessions end first");
    let asked = sent(&page);
    let request = asked.claim::<LogoutRequest>().unwrap().sender_says().clone();
    assert_eq!(request.name_id, name(&at_travel));
    assert_eq!(Some(&request.session_indexes[0].0), at_travel.assertion.value().authn[0].session_index.as_ref());
    let idp = TrustedIdp::from_metadata(&wiki.idp).unwrap();
    idp.partner().logout_request(Incoming::Redirect(&asked), &[SLO], &DecryptionKeys::new(), now()).unwrap();
    let done = browser.load(&answer_to(&travel, &asked, Status::success()));
    let answer = sent(&done);
    assert_eq!(answer.relay_state.as_ref().map(RelayState::as_str), Some("back"));
    let answer = idp.partner().logout_response(Incoming::Redirect(&answer), &[SLO], &id, now()).unwrap().message;
    assert_eq!(answer.status, Status::success());
    // The same answer again leads nowhere.
    assert_eq!(browser.load(&answer_to(&travel, &asked, Status::success())).status, 200);

    // The travel desk refuses: the wiki hears that it was partial.
    let (mut browser, at_wiki, _) = begin();
    let (url, _) = logout(&wiki, &at_wiki, &sp_key());
    let asked = sent(&browser.load(&url));
    let done = browser.load(&answer_to(&travel, &asked, Status::failure(status::RESPONDER, status::REQUEST_DENIED)));
    let answer = sent(&done).claim::<LogoutResponse>().unwrap().sender_says().clone();
    assert_eq!((answer.status.is_success(), answer.status.subcode.as_deref()), (true, Some(status::PARTIAL_LOGOUT)));

    // Begun here, on an application's host: each is told, and the page says which confirmed.
    let (mut browser, _, _) = begin();
    let shown = browser.load(&format!("http://{app}/.vestibule/logout"));
    let fields = hidden_fields(&shown.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let onward = browser.post(app, "/.vestibule/logout", &fields);
    let mut page = browser.load(onward.header("location").unwrap());
    assert!(is_out(&mut browser));
    for _ in 0..2 {
        let asked = sent(&page);
        let request = asked.claim::<LogoutRequest>().unwrap().sender_says().clone();
        let (provider, outcome) = match request.name_id.sp_name_qualifier.as_deref() {
            Some(WIKI) => (&wiki, Status::success()),
            _ => (&travel, Status::failure(status::RESPONDER, status::REQUEST_DENIED)),
        };
        page = browser.load(&answer_to(provider, &asked, outcome));
    }
    assert!(page.body.contains("You are signed out here") && page.body.contains("Did not confirm"), "{page:?}");
    assert_eq!(page.body.matches("Signed out</span>").count(), 1, "{page:?}");

    // Nobody logs others out: not unsigned, not with another's key, not by another's name.
    let (mut browser, at_wiki, at_travel) = begin();
    let (url, _) = logout(&wiki, &at_wiki, &sp_key());
    let unsigned = url.split("&SigAlg=").next().unwrap().to_owned();
    assert_eq!(browser.load(&unsigned).status, 403);
    let stranger = SigningKey::from_pkcs8(ServiceProvider::NAME, &der("other-rsa2048.key"), None).unwrap();
    let (forged, _) = logout(&wiki, &at_wiki, &stranger);
    assert_eq!(browser.load(&forged).status, 403);
    let (foreign, _) = logout(&wiki, &at_travel, &sp_key());
    browser.load(&foreign);
    assert!(!is_out(&mut browser), "a name that another application knows is nobody to the wiki");
    let records = gateway.audit();
    let endings: Vec<_> =
        records.iter().filter(|record| record["event"] == "session.ended").map(|record| record["reason"].clone()).collect();
    assert!(endings.contains(&"single_logout".into()), "{endings:?}");
}

#[test]
fn nothing_is_answered_to_strangers() {
    let gateway = house();
    let (wiki, travel) = (Provider::new(&gateway, WIKI), Provider::new(&gateway, TRAVEL));
    let mut browser = gateway.browser();
    sign_in(&mut browser, &format!("http://{PORTAL}/"), "ada", PASSWORD);
    let mut refused = |url: &str, status: u16| {
        let page = browser.load(url);
        assert!(page.status == status && !page.body.contains("SAMLResponse") && page.header("location").is_none(), "{url}: {page:?}");
        assert!(page.header("x-vestibule-id").is_some_and(|id| page.body.contains(id)), "{page:?}");
    };
    // Attack 51: an address that the metadata do not name.
    for foreign in ["https://evil.example/acs", "javascript:alert(1)", "http://wiki.localhost:9/acs/", "http://wiki.localhost:9/acs?x"] {
        refused(&wiki.asks(|request| request.consumer = Consumer::Url(foreign.to_owned()), None).0, 403);
    }
    refused(&wiki.asks(|request| request.consumer = Consumer::Index(7), None).0, 403);
    refused(&wiki.asks(|request| request.protocol_binding = Some("urn:oasis:names:tc:SAML:2.0:bindings:PAOS".to_owned()), None).0, 403);
    let unsigned = |provider: &Provider, request: AuthnRequest| {
        redirect_url(provider.sso(), Kind::Request, &request.unsigned().unwrap(), None).unwrap()
    };
    // Its metadata say that it signs.
    refused(&unsigned(&travel, travel.request()), 403);
    let mut stale = wiki.request();
    stale.header.issue_instant = now() - jiff::SignedDuration::from_mins(30);
    refused(&unsigned(&wiki, stale), 403);
    let mut elsewhere = wiki.request();
    elsewhere.header.destination = Some("https://other.example/sso".to_owned());
    refused(&unsigned(&wiki, elsewhere), 403);
    let mut nobody = wiki.request();
    nobody.header.issuer = "https://nobody.example".to_owned();
    refused(&unsigned(&wiki, nobody), 400);
    let (url, _) = wiki.asks(|_| {}, Some(&"x".repeat(1500)));
    refused(&url, 400);
    for (target, status) in
        [("sso", 400), ("sso?SAMLRequest=%00", 400), ("slo?SAMLResponse=x&SAMLRequest=x", 400), ("continue?request=forged", 400)]
    {
        refused(&format!("http://{PORTAL}/saml/idp/{target}"), status);
    }
    let document = "<!DOCTYPE a [<!ENTITY b SYSTEM \"file:///etc/passwd\">]><samlp:AuthnRequest xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\">&b;</samlp:AuthnRequest>";
    for (body, status) in [(document.to_owned(), 400), ("<a>".repeat(20_000), 400), ("x".repeat(300 * 1024), 400)] {
        let page = browser.post(PORTAL, "/saml/idp/sso", &[("SAMLRequest", &STANDARD.encode(body))]);
        assert_eq!(page.status, status, "{page:?}");
    }
    let page = browser.post(PORTAL, "/saml/idp/sso", &[("SAMLRequest", &"A".repeat(600 * 1024))]);
    assert_eq!(page.status, 413, "{page:?}");

    // Another tenant's portal: its own entity, and nobody of the north is anybody there.
    let south = Provider::at(&gateway, "login.south.localhost", WIKI);
    assert_ne!(south.idp.entity_id, wiki.idp.entity_id);
    let (url, _) = wiki.asks(|_| {}, None);
    let sealed = browser.load(&url).header("location").unwrap().to_owned();
    assert_eq!(browser.load(&format!("http://login.south.localhost{sealed}")).status, 400, "sealed for one portal");
    let (url, _) = south.asks(|_| {}, None);
    let page = browser.visit(&url);
    assert!(page.status == 200 && page.body.contains("<h1>Sign in</h1>"), "{page:?}");
    let (url, _) = wiki.asks(|_| {}, None);
    let query = url.split_once('?').unwrap().1.to_owned();
    assert_eq!(browser.load(&format!("http://login.south.localhost/saml/idp/sso?{query}")).status, 403, "sent to another");
}

/// Every hostile file of the corpus, whatever it was made for, at every door: nobody is answered, and nothing breaks.
#[test]
fn hostile_messages_of_the_corpus_are_refused_at_every_door() {
    let gateway = house();
    let mut browser = gateway.browser();
    sign_in(&mut browser, &format!("http://{PORTAL}/"), "ada", PASSWORD);
    let session = browser.cookie(PORTAL, "vestibule").unwrap();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../corpus/attacks/saml");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let octets = std::fs::read(&path).unwrap();
        let form = |body: Vec<u8>, page: &str| {
            ask("POST", page).browser().cookie("vestibule", &session).header("Content-Type", "application/x-www-form-urlencoded").body(body)
        };
        let in_field = |field: &str| {
            let value = percent_encoding::utf8_percent_encode(&STANDARD.encode(&octets), percent_encoding::NON_ALPHANUMERIC).to_string();
            format!("{field}={value}").into_bytes()
        };
        let (sso, slo) = ("/saml/idp/sso", "/saml/idp/slo");
        let asks = match path.extension().and_then(|extension| extension.to_str()) {
            Some("xml") => vec![
                form(in_field("SAMLRequest"), sso),
                form(in_field("SAMLRequest"), slo),
                form(in_field("SAMLResponse"), slo),
                ask("POST", "/saml/idp/artifact").header("Content-Type", "text/xml").body(octets.clone()),
            ],
            Some("form") => vec![form(octets.clone(), sso), form(octets.clone(), slo)],
            Some("query") => {
                let query = String::from_utf8(octets.clone()).unwrap();
                [sso, slo]
                    .map(|page| crate::support::get(&format!("{page}?{}", query.trim())).browser().cookie("vestibule", &session))
                    .into()
            }
            _ => continue,
        };
        for (door, ask) in asks.iter().enumerate() {
            let answer = gateway.send_to(PORTAL, ask);
            let fault = door == 3 && answer.status == 500 && answer.body.contains("Fault>");
            assert!(fault || (400..500).contains(&answer.status), "{} at door {door}: {answer:?}", path.display());
            assert!(!answer.body.contains("SAMLResponse") && answer.header("location").is_none(), "{}: {answer:?}", path.display());
            seen += 1;
        }
    }
    assert!(seen > 300, "only {seen} messages");
    assert_eq!(browser.load(&format!("http://{PORTAL}/")).status, 200, "the session lives on");
}
