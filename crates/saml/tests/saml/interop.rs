//! Our messages read by pysaml2 and python3-saml, theirs read by us, metadata exchanged as each writes them.
//!
//! Without the peers the tests say SKIPPED, or fail where `VESTIBULE_PEERS=required`. `VESTIBULE_PYTHON_SAML` names the
//! interpreter that has them.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::common::{corpus, der, signing, text};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use vestibule_saml::binding::{Kind, Post, PostForm, Redirect, RelayState, signed_redirect_url};
use vestibule_saml::idp::{Idp, Login, RegisteredSp, Sign, SsoRequest, persistent_name};
use vestibule_saml::metadata::{Endpoint, Entity, IdpRole, IndexedEndpoint, KeyDescriptor, Metadata, Protocols, SpRole, Trust, Usage};
use vestibule_saml::names::{self, authn_context, binding, name_id};
use vestibule_saml::protocol::{AuthnRequest, Consumer, Header, LogoutRequest, NameIdPolicy, SessionIndex};
use vestibule_saml::sp::{Expectations, Requests, TrustedIdp};
use vestibule_saml::{Attribute, AuthnStatement, Incoming, Sendable as _, Sp};
use vestibule_xmlsec::{Concession, DecryptionKeys, ServiceProvider, SigningKey};

const IDP: &str = "https://idp.example.org/saml";
const SP: &str = "https://gw.example.com/saml";
const SSO: &str = "https://idp.example.org/sso";
const SLO: &str = "https://idp.example.org/slo";
const SP_SLO: &str = "https://gw.example.com/slo";
const ACS: &str = "https://gw.example.com/acs";

#[expect(clippy::disallowed_methods, reason = "the peers know no other time than the present")]
fn now() -> Timestamp {
    Timestamp::now()
}

fn python() -> Option<PathBuf> {
    let usual = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/vestibule/peers/py-saml/bin/python"));
    let path = std::env::var_os("VESTIBULE_PYTHON_SAML").map(PathBuf::from).or_else(usual).filter(|path| path.exists());
    if path.is_none() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "pysaml2 and python3-saml are required here");
        eprintln!("SKIPPED: pysaml2 and python3-saml are not installed");
    }
    path
}

/// What a peer makes of some jobs.
fn ask_all(peer: &str, mut jobs: Vec<Value>) -> Vec<Value> {
    let fixed = json!({"idp": IDP, "sp": SP, "sso": SSO, "slo": SLO, "sp_slo": SP_SLO, "acs": ACS, "keys": corpus("recorded/keys")});
    for job in &mut jobs {
        for (name, value) in fixed.as_object().unwrap() {
            job[name] = value.clone();
        }
    }
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(peer);
    let mut command = Command::new(python().unwrap());
    let mut child = command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(Value::Array(jobs).to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{peer}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn ask(peer: &str, job: Value) -> Value {
    ask_all(peer, vec![job]).remove(0)
}

fn key(name: &str) -> KeyDescriptor {
    KeyDescriptor { usage: Usage::Both, certificates: vec![der(&format!("keys/{name}.crt"))], encryption_methods: Vec::new() }
}

fn idp_metadata() -> Entity {
    Entity {
        entity_id: IDP.to_owned(),
        idp: Some(IdpRole {
            protocols: Protocols { saml20: true, saml11: false },
            keys: vec![key("idp-rsa2048")],
            want_authn_requests_signed: true,
            sso: vec![Endpoint::new(binding::REDIRECT, SSO), Endpoint::new(binding::POST, SSO)],
            slo: vec![Endpoint::new(binding::REDIRECT, SLO)],
            name_id_formats: vec![name_id::PERSISTENT.to_owned()],
            ..IdpRole::default()
        }),
        ..Entity::default()
    }
}

fn sp_metadata() -> Entity {
    Entity {
        entity_id: SP.to_owned(),
        sp: Some(SpRole {
            protocols: Protocols { saml20: true, saml11: false },
            keys: vec![key("sp-rsa2048")],
            authn_requests_signed: true,
            acs: vec![IndexedEndpoint { index: 0, is_default: Some(true), binding: binding::POST.to_owned(), location: ACS.to_owned() }],
            slo: vec![Endpoint::new(binding::REDIRECT, SP_SLO)],
            ..SpRole::default()
        }),
        ..Entity::default()
    }
}

fn idp() -> Idp {
    Idp { entity_id: IDP.to_owned(), sso_urls: vec![SSO.to_owned()], key: signing("idp-rsa2048") }
}

fn sp_key() -> SigningKey<ServiceProvider> {
    signing("sp-rsa2048")
}

fn xml(entity: &Entity) -> String {
    entity.unsigned().unwrap().as_str().to_owned()
}

fn read_entity(metadata: &str, id: &str) -> Entity {
    Metadata::read(metadata.as_bytes(), Trust::Named, now()).unwrap().entity(id).unwrap().clone()
}

fn query_of(url: &str) -> Redirect {
    Redirect::read(url.split_once('?').unwrap().1).unwrap()
}

fn login() -> Login {
    let mut authn = AuthnStatement::new(now(), authn_context::PASSWORD_PROTECTED_TRANSPORT);
    authn.session_index = Some("_session".to_owned());
    Login {
        name_id: persistent_name(&[7; 32], IDP, SP, "alice"),
        authn,
        attributes: vec![Attribute::of_texts("mail", names::attribute::BASIC, ["alice@example.org", "a & <b> \"c\""])],
        lifetime: Login::LIFETIME,
        response_id: [1; 16],
        assertion_id: [2; 16],
    }
}

fn request(id: &str) -> SsoRequest {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    SsoRequest { id: Some(id.to_owned()), ..idp().unsolicited(&registered, &Consumer::Default).unwrap() }
}

#[test]
fn our_requests_are_read_by_pysaml2() {
    if python().is_none() {
        return;
    }
    let request = AuthnRequest {
        header: Header { id: "_request".to_owned(), issue_instant: now(), destination: Some(SSO.to_owned()), issuer: SP.to_owned() },
        consumer: Consumer::Url(ACS.to_owned()),
        protocol_binding: Some(binding::POST.to_owned()),
        force_authn: true,
        is_passive: false,
        name_id_policy: Some(NameIdPolicy { format: Some(name_id::PERSISTENT.to_owned()), sp_name_qualifier: None, allow_create: true }),
        requested_context: None,
        subject: None,
        provider_name: None,
    };
    let form = PostForm::new(SSO, Kind::Request, &request.signed(&sp_key()).unwrap(), None).unwrap();
    let post = json!({"do": "read_request", "metadata": xml(&sp_metadata()), "binding": "post", "message": form.value});

    // Without a space, which this peer spells anew before it verifies.
    let state = RelayState::sent("/a?b=c&d").unwrap();
    let url = signed_redirect_url(SSO, Kind::Request, &request.unsigned().unwrap(), Some(&state), &sp_key()).unwrap();
    let parameter = |name: &str| {
        let (_, rest) = url.split_once(&format!("{name}=")).unwrap();
        percent_encoding::percent_decode_str(rest.split('&').next().unwrap()).decode_utf8().unwrap().into_owned()
    };
    let redirect = json!({"do": "read_request", "metadata": xml(&sp_metadata()), "binding": "redirect", "message": parameter("SAMLRequest"),
        "relay_state": parameter("RelayState"), "algorithm": parameter("SigAlg"), "signature": parameter("Signature")});

    let logout = LogoutRequest {
        header: Header { destination: Some(SLO.to_owned()), ..request.header },
        name_id: persistent_name(&[7; 32], IDP, SP, "alice"),
        session_indexes: vec![SessionIndex("_s1".to_owned()), SessionIndex("_s2".to_owned())],
        not_on_or_after: None,
        reason: None,
    };
    let form = PostForm::new(SLO, Kind::Request, &logout.signed(&sp_key()).unwrap(), None).unwrap();
    let read_logout = json!({"do": "read_logout", "metadata": xml(&sp_metadata()), "message": form.value});

    let read = json!({"id": "_request", "issuer": SP, "acs": ACS, "force": "true"});
    let ended = json!({"name": logout.name_id.value, "indexes": ["_s1", "_s2"]});
    assert_eq!(ask_all("pysaml2_peer.py", vec![post, redirect, read_logout]), [read.clone(), read, ended]);
}

#[test]
fn our_responses_are_read_by_both_service_providers() {
    if python().is_none() {
        return;
    }
    let mut jobs = Vec::new();
    for (sign, assertion, response) in [(Sign::Assertion, true, false), (Sign::Response, false, true), (Sign::Both, true, true)] {
        for encrypted in [false, true] {
            let mut registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
            registered.sign = sign;
            if !encrypted {
                registered.encryption = None;
            }
            let message = idp().respond(&registered, &request("_request"), &login(), now()).unwrap();
            jobs.push(json!({"do": "read_response", "metadata": xml(&idp_metadata()), "message": STANDARD.encode(message.as_str()),
                "request": "_request", "want_assertions_signed": assertion, "want_messages_signed": response, "want_encrypted": encrypted}));
        }
    }
    for peer in ["pysaml2_peer.py", "python3_saml_peer.py"] {
        let answers = ask_all(peer, jobs.clone());
        assert_eq!(answers.len(), 6);
        for (found, job) in answers.iter().zip(&jobs) {
            assert_eq!(text(found, "name"), login().name_id.value, "{peer} {job}");
            assert_eq!(found["attributes"], json!({"mail": ["alice@example.org", "a & <b> \"c\""]}), "{peer}");
            assert_eq!(found["index"], "_session", "{peer}");
        }
    }
}

#[test]
fn their_requests_are_read_here() {
    if python().is_none() {
        return;
    }
    let of_ours = |job: &str, binding: &str| json!({"do": job, "metadata": xml(&idp_metadata()), "binding": binding});
    for peer in ["pysaml2_peer.py", "python3_saml_peer.py"] {
        let jobs = vec![json!({"do": "metadata"}), of_ours("make_request", "redirect"), of_ours("make_logout", "redirect")];
        let made = ask_all(peer, jobs);
        let [metadata, request, logout] = made.as_slice() else { panic!("{made:?}") };
        let registered = RegisteredSp::from_metadata(&read_entity(text(metadata, "sp"), SP)).unwrap();
        let query = query_of(text(request, "url"));
        let asked = idp().validate(Incoming::Redirect(&query), &registered, now()).unwrap();
        assert!(asked.signed, "{peer}");
        assert_eq!((asked.id.as_deref(), asked.acs.location.as_str()), (request["id"].as_str(), ACS), "{peer}");
        assert!(query.relay_state.unwrap().as_str().ends_with("/a b?c=d&e"), "{peer}");

        let query = query_of(text(logout, "url"));
        let admitted = registered.partner().logout_request(Incoming::Redirect(&query), &[SLO], &DecryptionKeys::new(), now()).unwrap();
        assert_eq!(admitted.message.name_id.value, "alice <&>", "{peer}");
        assert_eq!(admitted.message.session_indexes.first().unwrap().0, "_s1", "{peer}");
    }
    let made = ask("pysaml2_peer.py", of_ours("make_request", "post"));
    let (_, rest) = text(&made, "form").split_once("name=\"SAMLRequest\" value=\"").unwrap();
    let document = Post::decode(rest.split('"').next().unwrap()).unwrap();
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    assert!(idp().validate(Incoming::Document(&document), &registered, now()).unwrap().signed);
}

#[test]
fn their_responses_are_read_here() {
    if python().is_none() {
        return;
    }
    let theirs = ask("pysaml2_peer.py", json!({"do": "metadata"}));
    let mut partner = TrustedIdp::from_metadata(&read_entity(text(&theirs, "idp"), IDP)).unwrap();
    let mut decryption = DecryptionKeys::new();
    decryption.add_pkcs8("sp-decryption", &der("keys/sp-rsa2048.key")).unwrap();
    let sp = Sp { entity_id: SP.to_owned(), acs_urls: vec![ACS.to_owned()], decryption };
    let forms = [(true, false, false), (false, true, false), (true, true, false), (true, false, true)];
    let job = |(assertion, response, encrypted): (bool, bool, bool)| {
        json!({"do": "make_response", "metadata": xml(&sp_metadata()), "request": "_request", "sign_assertion": assertion,
            "sign_response": response, "encrypt": encrypted})
    };
    let made = ask_all("pysaml2_peer.py", forms.into_iter().map(job).collect());
    for (made, (assertion, response, encrypted)) in made.iter().zip(forms) {
        // Its one cipher.
        if encrypted {
            partner.profile = partner.profile.admit(Concession::TripleDes);
        }
        let expected = Expectations { idp: &partner, requests: Requests::Open(&["_request"]), resolved: None };
        let accepted = sp.consume(text(made, "xml").as_bytes(), &expected, now()).unwrap_or_else(|refused| panic!("{refused:?}"));
        let said = accepted.assertion.value();
        assert_eq!(said.name_id().unwrap().value, "alice <&>");
        assert_eq!(said.attributes.iter().flat_map(Attribute::texts).count(), 3, "{assertion} {response}");
    }
}
