//! Our two roles against each other, and what is written against what is read.

use std::sync::LazyLock;

use crate::common::{self, der, signing, trusted};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use vestibule_saml::binding::{Artifact, Kind, Post, PostForm, Redirect, RelayState, redirect_url, signed_redirect_url, soap_envelope};
use vestibule_saml::idp::{Idp, Login, RegisteredSp, Sign, SsoRequest, persistent_name, transient_name};
use vestibule_saml::metadata::{
    Endpoint, Entity, IdpRole, IndexedEndpoint, KeyDescriptor, Metadata, Protocols, RequestedAttribute, Scope, SpRole, Trust, Usage,
};
use vestibule_saml::names::{self, authn_context, binding, name_id};
use vestibule_saml::protocol::{
    ArtifactRequest11, ArtifactResolve, ArtifactResponse, AuthnRequest, Comparison, Consumer, Header, LogoutRequest, LogoutResponse,
    NameIdPolicy, RequestedContext, SessionIndex, Status, message_id,
};
use vestibule_saml::sp::{Demand, Expectations, Received, Requests, Saml11, TrustedIdp, Unsolicited};
use vestibule_saml::{
    Accepted, Assertion, AssertionContent, Attribute, AttributeValue, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, Error,
    Incoming, Issued, MetadataFault, NameId, ProxyRestriction, Reason, Rejection, Sendable, Signature, Sp, Subject, Version,
};
use vestibule_xmlsec::{
    Canonicalization, DecryptionKeys, Document, IdentityProvider, KeyId, Limits, PinnedPeer, Profile, ServiceProvider, SignedElement,
    Signer, SigningKey, canonicalize,
};

const IDP: &str = "https://idp.example.org/saml";
const SP: &str = "https://gw.example.com/saml";
const SSO: &str = "https://idp.example.org/sso";
const SLO: &str = "https://idp.example.org/slo";
const ACS: &str = "https://gw.example.com/acs";
const ACS11: &str = "https://gw.example.com/acs11";
const ARTIFACTS11: &str = "https://gw.example.com/art11";
const ARTIFACTS: &str = "https://gw.example.com/art";

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn later(seconds: i64) -> Timestamp {
    now() + SignedDuration::from_secs(seconds)
}

fn key(usage: Usage, name: &str) -> KeyDescriptor {
    KeyDescriptor { usage, certificates: vec![der(&format!("keys/{name}.crt"))], encryption_methods: Vec::new() }
}

fn acs(index: u16, binding: &str, location: &str) -> IndexedEndpoint {
    IndexedEndpoint { index, is_default: Some(index == 0), binding: binding.to_owned(), location: location.to_owned() }
}

fn sp_metadata() -> Entity {
    Entity {
        entity_id: SP.to_owned(),
        sp: Some(SpRole {
            protocols: Protocols { saml20: true, saml11: true },
            keys: vec![key(Usage::Both, "sp-rsa2048")],
            authn_requests_signed: true,
            want_assertions_signed: false,
            acs: vec![
                acs(0, binding::POST, ACS),
                acs(1, binding::ARTIFACT, ARTIFACTS),
                acs(2, binding::SAML11_POST, ACS11),
                acs(3, binding::SAML11_ARTIFACT, ARTIFACTS11),
            ],
            slo: vec![Endpoint::new(binding::REDIRECT, "https://gw.example.com/slo")],
            name_id_formats: vec![name_id::PERSISTENT.to_owned()],
            requested_attributes: vec![RequestedAttribute {
                name: "mail".to_owned(),
                format: Some(names::attribute::BASIC.to_owned()),
                friendly_name: None,
                required: true,
            }],
        }),
        ..Entity::default()
    }
}

fn idp_metadata() -> Entity {
    Entity {
        entity_id: IDP.to_owned(),
        display_name: Some("Example & <Sons>".to_owned()),
        idp: Some(IdpRole {
            protocols: Protocols { saml20: true, saml11: false },
            keys: vec![key(Usage::Signing, "idp-rsa2048")],
            want_authn_requests_signed: true,
            scopes: vec![Scope { value: "example.org".to_owned(), regexp: false }],
            sso: vec![Endpoint::new(binding::REDIRECT, SSO), Endpoint::new(binding::POST, SSO)],
            slo: vec![Endpoint { response_location: Some(format!("{SLO}/done")), ..Endpoint::new(binding::REDIRECT, SLO) }],
            artifact_resolution: vec![acs(7, binding::SOAP, "https://idp.example.org/ars")],
            name_id_formats: vec![name_id::PERSISTENT.to_owned(), name_id::TRANSIENT.to_owned()],
        }),
        ..Entity::default()
    }
}

fn idp() -> Idp {
    Idp { entity_id: IDP.to_owned(), sso_urls: vec![SSO.to_owned()], key: signing("idp-rsa2048") }
}

fn sp() -> Sp {
    let mut decryption = DecryptionKeys::new();
    decryption.add_pkcs8("sp-decryption", &der("keys/sp-rsa2048.key")).unwrap();
    Sp {
        entity_id: SP.to_owned(),
        acs_urls: vec![ACS.to_owned(), ARTIFACTS.to_owned(), ACS11.to_owned(), ARTIFACTS11.to_owned()],
        decryption,
    }
}

fn sp_key() -> SigningKey<ServiceProvider> {
    signing("sp-rsa2048")
}

fn header(destination: &str, issuer: &str) -> Header {
    Header { id: "_request".to_owned(), issue_instant: now(), destination: Some(destination.to_owned()), issuer: issuer.to_owned() }
}

fn authn_request(consumer: Consumer) -> AuthnRequest {
    AuthnRequest {
        header: header(SSO, SP),
        consumer,
        protocol_binding: None,
        force_authn: true,
        is_passive: false,
        name_id_policy: Some(NameIdPolicy { format: Some(name_id::PERSISTENT.to_owned()), sp_name_qualifier: None, allow_create: true }),
        requested_context: Some(RequestedContext {
            comparison: Comparison::Minimum,
            classes: vec![authn_context::PASSWORD_PROTECTED_TRANSPORT.to_owned()],
        }),
        subject: None,
        provider_name: Some("Gateway".to_owned()),
    }
}

fn login() -> Login {
    let mut authn = AuthnStatement::new(now(), authn_context::PASSWORD_PROTECTED_TRANSPORT);
    authn.session_index = Some("_session".to_owned());
    authn.session_not_on_or_after = Some(later(3600));
    Login {
        name_id: persistent_name(&[7; 32], IDP, SP, "alice"),
        authn,
        attributes: vec![Attribute::of_texts("mail", names::attribute::BASIC, ["alice@example.org", "\"><saml:Attribute Name=\"x\"/>&"])],
        lifetime: Login::LIFETIME,
        response_id: [1; 16],
        assertion_id: [2; 16],
    }
}

fn validated(sp: &RegisteredSp, request: &AuthnRequest) -> Result<SsoRequest, Rejection> {
    let signed = request.signed(&sp_key()).unwrap();
    idp().validate(Incoming::Document(signed.as_str().as_bytes()), sp, later(1))
}

fn consume(partner: &TrustedIdp, message: &str, requests: Requests<'_>) -> Result<Accepted, Rejection> {
    sp().consume(message.as_bytes(), &Expectations { idp: partner, requests, resolved: None }, later(2))
}

#[test]
fn a_login_goes_through_both_roles_in_every_form_of_signature_and_encryption() {
    let mut registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let mut partner = TrustedIdp::from_metadata(&idp_metadata()).unwrap();
    let request = validated(&registered, &authn_request(Consumer::Url(ACS.to_owned()))).unwrap();
    assert!(request.signed && request.force_authn && !request.is_passive);
    assert_eq!(request.acs.location, ACS);
    for (sign, demand) in [(Sign::Assertion, Demand::Assertion), (Sign::Response, Demand::Response), (Sign::Both, Demand::Both)] {
        for encrypted in [true, false] {
            registered.sign = sign;
            partner.demand = demand;
            if !encrypted {
                registered.encryption = None;
            } else {
                registered.encryption = RegisteredSp::from_metadata(&sp_metadata()).unwrap().encryption;
            }
            let response = idp().respond(&registered, &request, &login(), now()).unwrap();
            assert_eq!(response.as_str().contains("EncryptedAssertion"), encrypted);
            let accepted = consume(&partner, response.as_str(), Requests::Open(&["_other", "_request"])).unwrap();
            assert_eq!(accepted.in_response_to.as_deref(), Some("_request"));
            assert_eq!(accepted.session_not_on_or_after, Some(later(3600)));
            assert_eq!(accepted.once.id, message_id([2; 16]));
            assert_eq!(accepted.once.until, later(300 + 60));
            assert_eq!(accepted.measured_skew, SignedDuration::from_secs(2));
            let assertion = accepted.assertion.value();
            assert_eq!(assertion.name_id(), Some(&login().name_id));
            assert_eq!(assertion.attributes, login().attributes);
            assert_eq!(assertion.authn, [login().authn]);

            // What is not signed as demanded is refused, however good the rest.
            for (demanded, held) in [(Demand::Assertion, sign != Sign::Response), (Demand::Response, sign != Sign::Assertion)] {
                let strict = TrustedIdp { demand: demanded, ..TrustedIdp::from_metadata(&idp_metadata()).unwrap() };
                let verdict = consume(&strict, response.as_str(), Requests::Open(&["_request"]));
                assert_eq!(verdict.map_err(|rejection| rejection.reason).err(), (!held).then_some(Reason::SignatureMissing));
            }
        }
    }
}

#[test]
fn an_unsolicited_login_is_a_concession() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let mut partner = TrustedIdp::from_metadata(&idp_metadata()).unwrap();
    let request = idp().unsolicited(&registered, &Consumer::Default).unwrap();
    let response = idp().respond(&registered, &request, &login(), now()).unwrap();
    let reason = |verdict: Result<Accepted, Rejection>| verdict.map_err(|rejection| rejection.reason).err();
    assert_eq!(reason(consume(&partner, response.as_str(), Requests::Open(&[]))), Some(Reason::Unsolicited));
    partner.unsolicited = Unsolicited::Allowed;
    let accepted = consume(&partner, response.as_str(), Requests::Open(&["_request"])).unwrap();
    assert_eq!(accepted.in_response_to, None);
}

#[test]
fn clocks_may_differ_by_the_skew_and_no_more() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let partner = TrustedIdp::from_metadata(&idp_metadata()).unwrap();
    let request = validated(&registered, &authn_request(Consumer::Default)).unwrap();
    let response = idp().respond(&registered, &request, &login(), now()).unwrap();
    let at = |seconds| {
        let expected = Expectations { idp: &partner, requests: Requests::Open(&["_request"]), resolved: None };
        sp().consume(response.as_str().as_bytes(), &expected, later(seconds)).map(drop).map_err(|rejection| rejection.reason)
    };
    assert_eq!(at(-60), Ok(()));
    assert_eq!(at(-61), Err(Reason::NotYetValid));
    assert_eq!(at(359), Ok(()));
    assert_eq!(at(360), Err(Reason::Expired));
}

#[test]
fn a_refusal_reaches_the_service_provider_as_its_status() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let request = validated(&registered, &authn_request(Consumer::Default)).unwrap();
    let status = Status::failure(names::status::RESPONDER, names::status::NO_PASSIVE);
    let refusal = idp().refuse(&request, status.clone(), [3; 16], now()).unwrap();
    let partner = TrustedIdp::from_metadata(&idp_metadata()).unwrap();
    let rejection = consume(&partner, refusal.as_str(), Requests::Open(&["_request"])).unwrap_err();
    assert_eq!((rejection.reason, rejection.status.as_deref()), (Reason::StatusNotSuccess, Some(&status)));
}

#[test]
fn answers_go_to_addresses_of_the_metadata_only() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    for (consumer, binding, expected) in [
        (Consumer::Default, None, Ok(ACS)),
        (Consumer::Index(1), None, Ok(ARTIFACTS)),
        (Consumer::Index(1), Some(binding::ARTIFACT), Ok(ARTIFACTS)),
        (Consumer::Index(1), Some(binding::POST), Err(Reason::UnknownEndpoint)),
        (Consumer::Index(9), None, Err(Reason::UnknownEndpoint)),
        (Consumer::Default, Some(binding::ARTIFACT), Ok(ARTIFACTS)),
        (Consumer::Default, Some(binding::REDIRECT), Err(Reason::Unsupported)),
        (Consumer::Url("https://gw.example.com/acs/".to_owned()), None, Err(Reason::UnknownEndpoint)),
        (Consumer::Url("https://GW.example.com/acs".to_owned()), None, Err(Reason::UnknownEndpoint)),
        (Consumer::Url("https://evil.example.net/acs".to_owned()), None, Err(Reason::UnknownEndpoint)),
        (Consumer::Url("javascript:alert(1)".to_owned()), None, Err(Reason::UnknownEndpoint)),
    ] {
        let request = AuthnRequest { protocol_binding: binding.map(str::to_owned), ..authn_request(consumer.clone()) };
        let verdict = validated(&registered, &request);
        let found = verdict.as_ref().map(|request| request.acs.location.as_str()).map_err(|rejection| rejection.reason);
        assert_eq!(found, expected, "{consumer:?} {binding:?}");
    }
}

#[test]
fn requests_are_signed_fresh_for_us_and_from_whom_they_say() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let reason = |request: &Issued, at| {
        idp().validate(Incoming::Document(request.as_str().as_bytes()), &registered, later(at)).map(drop).map_err(|found| found.reason)
    };
    let good = authn_request(Consumer::Default);
    assert_eq!(reason(&good.signed(&sp_key()).unwrap(), 0), Ok(()));
    assert_eq!(reason(&good.signed(&sp_key()).unwrap(), -61), Err(Reason::NotYetValid));
    assert_eq!(reason(&good.signed(&sp_key()).unwrap(), 361), Err(Reason::Stale));
    assert_eq!(reason(&good.unsigned().unwrap(), 0), Err(Reason::SignatureMissing));
    let other: SigningKey<ServiceProvider> = signing("other-rsa2048");
    assert_eq!(reason(&good.signed(&other).unwrap(), 0), Err(Reason::UnknownKey));
    let with = |header: Header| AuthnRequest { header, ..good.clone() }.signed(&sp_key()).unwrap();
    assert_eq!(reason(&with(header("https://other.example.org/sso", SP)), 0), Err(Reason::WrongDestination));
    assert_eq!(reason(&with(Header { destination: None, ..header(SSO, SP) }), 0), Err(Reason::WrongDestination));
    assert_eq!(reason(&with(header(SSO, "https://other.example.com")), 0), Err(Reason::WrongIssuer));
    // Another kind of message is no request, however well it is signed.
    let logout = LogoutResponse { header: header(SSO, SP), in_response_to: None, status: Status::success() };
    assert!(reason(&logout.signed(&sp_key()).unwrap(), 0).is_err());

    let unsigned = RegisteredSp { requests: Signature::IfPresent, ..RegisteredSp::from_metadata(&sp_metadata()).unwrap() };
    let url = redirect_url(SSO, Kind::Request, &good.unsigned().unwrap(), None).unwrap();
    let query = Redirect::read(url.split_once('?').unwrap().1).unwrap();
    assert_eq!(Incoming::Redirect(&query).claimed_issuer().unwrap(), SP);
    assert!(!idp().validate(Incoming::Redirect(&query), &unsigned, now()).unwrap().signed);
    assert_eq!(idp().validate(Incoming::Redirect(&query), &registered, now()).unwrap_err().reason, Reason::SignatureMissing);
    let url = signed_redirect_url(SSO, Kind::Request, &good.unsigned().unwrap(), None, &sp_key()).unwrap();
    let query = Redirect::read(url.split_once('?').unwrap().1).unwrap();
    assert!(idp().validate(Incoming::Redirect(&query), &registered, now()).unwrap().signed);
}

#[test]
fn logouts_are_signed_both_ways() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let request = LogoutRequest {
        header: header(SLO, SP),
        name_id: persistent_name(&[7; 32], IDP, SP, "alice"),
        session_indexes: vec![SessionIndex("_session".to_owned()), SessionIndex("_other".to_owned())],
        not_on_or_after: Some(later(60)),
        reason: Some("urn:oasis:names:tc:SAML:2.0:logout:user".to_owned()),
    };
    let none = DecryptionKeys::new();
    let judged = |incoming: Incoming<'_>, at| registered.partner().logout_request(incoming, &[SLO], &none, later(at));
    let signed = request.signed(&sp_key()).unwrap();
    assert_eq!(judged(Incoming::Document(signed.as_str().as_bytes()), 0).unwrap().message, request);
    assert_eq!(judged(Incoming::Document(signed.as_str().as_bytes()), 120).unwrap_err().reason, Reason::Expired);
    let unsigned = request.unsigned().unwrap();
    assert_eq!(judged(Incoming::Document(unsigned.as_str().as_bytes()), 0).unwrap_err().reason, Reason::SignatureMissing);
    let state = RelayState::sent("s").unwrap();
    let url = signed_redirect_url(SLO, Kind::Request, &unsigned, Some(&state), &sp_key()).unwrap();
    let query = Redirect::read(url.split_once('?').unwrap().1).unwrap();
    assert_eq!(judged(Incoming::Redirect(&query), 0).unwrap().message, request);

    let response = LogoutResponse {
        header: Header { id: "_answer".to_owned(), ..header("https://gw.example.com/slo", IDP) },
        in_response_to: Some("_request".to_owned()),
        status: Status::failure(names::status::RESPONDER, names::status::PARTIAL_LOGOUT),
    };
    let partner = TrustedIdp::from_metadata(&idp_metadata()).unwrap();
    let url = signed_redirect_url("https://gw.example.com/slo", Kind::Response, &response.unsigned().unwrap(), None, &idp().key).unwrap();
    let query = Redirect::read(url.split_once('?').unwrap().1).unwrap();
    let judged = |own, request| partner.partner().logout_response(Incoming::Redirect(&query), &[own], request, now());
    assert_eq!(judged("https://gw.example.com/slo", "_request").unwrap().message, response);
    assert_eq!(judged("https://gw.example.com/slo", "_other").unwrap_err().reason, Reason::WrongInResponseTo);
    assert_eq!(judged("https://gw.example.com/other", "_request").unwrap_err().reason, Reason::WrongDestination);
}

/// The answer to an artifact, in its envelope.
fn resolved(issuer: &str, response: &Issued, sign: bool) -> String {
    let answer = ArtifactResponse {
        header: Header { id: "_resolved".to_owned(), destination: None, ..header(ACS, issuer) },
        in_response_to: Some("_resolve".to_owned()),
        status: Status::success(),
    };
    let answer = if sign { answer.signed(Some(response), &idp().key) } else { answer.unsigned(Some(response)) };
    soap_envelope(&answer.unwrap()).unwrap()
}

#[test]
fn an_artifact_is_exchanged_for_a_response() {
    let registered = RegisteredSp { encryption: None, ..RegisteredSp::from_metadata(&sp_metadata()).unwrap() };
    let partner = TrustedIdp::from_metadata(&idp_metadata()).unwrap();
    let artifact = Artifact::Saml20 { endpoint_index: 7, source_id: Artifact::source_id_of(IDP), handle: [9; 20] };
    let resolve = ArtifactResolve {
        header: Header { id: "_resolve".to_owned(), destination: None, ..header(SSO, SP) },
        artifact: artifact.to_base64(),
    };
    let envelope = soap_envelope(&resolve.signed(&sp_key()).unwrap()).unwrap();
    let asked = registered.partner().artifact_resolve(envelope.as_bytes(), &[], Signature::Required, now()).unwrap();
    assert_eq!(Artifact::parse(&asked.message.artifact).unwrap(), artifact);

    let request = validated(&registered, &authn_request(Consumer::Index(1))).unwrap();
    let signed = idp().respond(&registered, &request, &login(), now()).unwrap();
    let expected = Expectations { idp: &partner, requests: Requests::Open(&["_request"]), resolved: Some("_resolve") };
    let consume = |octets: &str, expected: &Expectations<'_>| {
        sp().consume(octets.as_bytes(), expected, now()).map(drop).map_err(|rejection| rejection.reason)
    };
    for sign in [true, false] {
        assert_eq!(consume(&resolved(IDP, &signed, sign), &expected), Ok(()));
    }
    let other = Expectations { resolved: Some("_other"), ..expected };
    assert_eq!(consume(&resolved(IDP, &signed, true), &other), Err(Reason::WrongInResponseTo));
    assert_eq!(consume(&resolved("https://other.example.org", &signed, true), &expected), Err(Reason::WrongIssuer));
    // What was not asked for by us, or came through the browser, is no resolution.
    assert_eq!(consume(&resolved(IDP, &signed, true), &Expectations { resolved: None, ..expected }), Err(Reason::Malformed));
    assert_eq!(consume(signed.as_str(), &expected), Err(Reason::Malformed));
}

#[test]
fn a_channel_vouches_for_its_own_partner_only() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let partner = TrustedIdp::from_metadata(&idp_metadata()).unwrap();
    let request = validated(&registered, &authn_request(Consumer::Index(1))).unwrap();
    let signed = idp().respond(&RegisteredSp { encryption: None, sign: Sign::Response, ..registered }, &request, &login(), now()).unwrap();
    let bare = cut_signature(signed.as_str());
    let envelope = format!(r#"<S:Envelope xmlns:S="{}"><S:Body>{}</S:Body></S:Envelope>"#, names::SOAP11, resolution_around(&bare));
    let certificate = der("keys/other-rsa2048.crt");
    let pinned = [KeyId::of_certificate(&certificate).unwrap()];
    let expected = Expectations { idp: &partner, requests: Requests::Open(&["_request"]), resolved: Some("_resolve") };
    let judged = |octets: &str, name: &str| {
        let peer = PinnedPeer::confirm(name, &pinned, &certificate).unwrap();
        let expected = if octets == bare { Expectations { resolved: None, ..expected } } else { expected };
        sp().judge(&Received::vouched_by_channel(octets.as_bytes(), peer).unwrap(), &expected, now())
    };
    let accepted = judged(&envelope, IDP).unwrap();
    assert!(matches!(accepted.assertion.signer(), Signer::Channel(peer) if peer.partner() == IDP));
    assert_eq!(judged(&envelope, "https://other.example.org").unwrap_err().reason, Reason::WrongIssuer);
    // A browser is no channel.
    assert_eq!(judged(&bare, IDP).unwrap_err().reason, Reason::SignatureMissing);
    assert_eq!(sp().consume(envelope.as_bytes(), &expected, now()).unwrap_err().reason, Reason::SignatureMissing);
}

fn resolution_around(response: &str) -> String {
    format!(
        r#"<samlp:ArtifactResponse xmlns:samlp="{}" xmlns:saml="{}" ID="_a" Version="2.0" IssueInstant="2026-03-01T12:00:00Z" InResponseTo="_resolve"><saml:Issuer>{IDP}</saml:Issuer><samlp:Status><samlp:StatusCode Value="{}"/></samlp:Status>{response}</samlp:ArtifactResponse>"#,
        names::SAMLP,
        names::SAML,
        names::status::SUCCESS
    )
}

fn cut_signature(xml: &str) -> String {
    let (before, rest) = xml.split_once("<ds:Signature").unwrap();
    let (_, after) = rest.split_once("</ds:Signature>").unwrap();
    format!("{before}{after}")
}

#[test]
fn saml_1_1_is_issued_and_read_where_it_is_allowed() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let mut partner = TrustedIdp::from_metadata(&idp_metadata()).unwrap();
    let request = idp().unsolicited(&registered, &Consumer::Index(2)).unwrap();
    let mut said = login();
    said.name_id = NameId::new("alice", name_id::UNSPECIFIED);
    said.authn = AuthnStatement::new(now(), authn_context::SAML11_PASSWORD);
    let response = idp().respond(&registered, &request, &said, now()).unwrap();
    assert_eq!(consume(&partner, response.as_str(), Requests::Open(&[])).unwrap_err().reason, Reason::NotEnabled);
    partner.saml11 = Saml11::Allowed;
    let accepted = consume(&partner, response.as_str(), Requests::Open(&[])).unwrap();
    let assertion = accepted.assertion.value();
    assert_eq!((assertion.version, assertion.name_id()), (Version::Saml11, Some(&said.name_id)));
    assert_eq!((&assertion.attributes, &assertion.authn), (&said.attributes, &vec![said.authn]));
    let form = PostForm::saml11(ACS11, &response, RelayState::received("https://gw.example.com/home").unwrap()).unwrap();
    assert_eq!((form.relay_field, Post::decode(&form.value).unwrap()), ("TARGET", response.as_str().as_bytes().to_vec()));
}

#[test]
fn artifacts_of_saml_1_1_are_exchanged_over_soap() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let partner = TrustedIdp { saml11: Saml11::Allowed, ..TrustedIdp::from_metadata(&idp_metadata()).unwrap() };
    let artifact = Artifact::Saml11 { source_id: Artifact::source_id_of(IDP), handle: [5; 20] };
    let request = ArtifactRequest11 { id: "_fetch".to_owned(), issue_instant: now(), artifacts: vec![artifact.to_base64()] };
    let envelope = soap_envelope(&request.signed(&sp_key()).unwrap()).unwrap();
    let document = Document::parse(envelope.as_bytes(), &vestibule_saml::binding::MESSAGE_LIMITS).unwrap();
    assert_eq!(document.claim::<ArtifactRequest11>().unwrap().sender_says(), &request);

    // The answer names the request that fetched it.
    let to = SsoRequest { id: Some("_fetch".to_owned()), ..idp().unsolicited(&registered, &Consumer::Index(3)).unwrap() };
    let mut said = login();
    said.authn = AuthnStatement::new(now(), authn_context::SAML11_PASSWORD);
    let answer = soap_envelope(&idp().respond(&registered, &to, &said, now()).unwrap()).unwrap();
    let consume = |resolved| {
        let expected = Expectations { idp: &partner, requests: Requests::Open(&[]), resolved };
        sp().consume(answer.as_bytes(), &expected, now()).map(drop).map_err(|rejection| rejection.reason)
    };
    assert_eq!(consume(Some("_fetch")), Ok(()));
    assert_eq!(consume(Some("_other")), Err(Reason::WrongInResponseTo));
    // What a browser brings comes in no envelope, and is confirmed by its bearer: this is not.
    assert_eq!(consume(None), Err(Reason::Malformed));
}

#[test]
fn requests_that_the_service_provider_makes_are_good_ones() {
    let registered = RegisteredSp::from_metadata(&sp_metadata()).unwrap();
    let request = sp().authn_request(message_id([4; 16]), SSO, now());
    assert_eq!(validated(&registered, &request).unwrap().acs.location, ACS);
    let name = persistent_name(&[7; 32], IDP, SP, "alice");
    let logout = sp().logout_request(message_id([5; 16]), SLO, name, vec![SessionIndex("_session".to_owned())], now());
    let signed = logout.signed(&sp_key()).unwrap();
    let judged = registered.partner().logout_request(Incoming::Document(signed.as_str().as_bytes()), &[SLO], &DecryptionKeys::new(), now());
    assert_eq!(judged.unwrap().message, logout);
}

#[test]
fn persistent_names_stay_and_say_nothing() {
    let name = |key: u8, sp: &str, user: &str| persistent_name(&[key; 32], IDP, sp, user).value;
    assert_eq!(name(1, SP, "alice"), name(1, SP, "alice"));
    for other in [
        name(2, SP, "alice"),
        name(1, "https://other.example.com", "alice"),
        name(1, SP, "bob"),
        name(1, "https://gw.example.com/samla", "lice"),
    ] {
        assert_ne!(other, name(1, SP, "alice"));
    }
    assert_ne!(transient_name([1; 16]), transient_name([2; 16]));
}

#[test]
fn metadata_are_read_as_they_were_written() {
    for entity in [sp_metadata(), idp_metadata()] {
        let entity = Entity { valid_until: Some(later(86_400)), cache_duration: Some(SignedDuration::from_hours(6)), ..entity };
        let read = Metadata::read(entity.unsigned().unwrap().as_str().as_bytes(), Trust::Named, now()).unwrap();
        assert_eq!(read.entities, std::slice::from_ref(&entity));
        let key: SigningKey<IdentityProvider> = signing("idp-rsa2048");
        let signed = entity.signed("_md", &key).unwrap();
        let keys = trusted(&["idp-rsa2048"]);
        let trust = Trust::Signed { keys: &keys, profile: &Profile::SAML };
        assert_eq!(Metadata::read(signed.as_str().as_bytes(), trust, now()).unwrap().entity(&entity.entity_id).unwrap(), &entity);
        let expired = Metadata::read(signed.as_str().as_bytes(), trust, later(86_400)).unwrap_err();
        assert_eq!(expired, Error::Metadata(MetadataFault::Expired));
        let others = trusted(&["other-rsa2048"]);
        let verdict = Metadata::read(signed.as_str().as_bytes(), Trust::Signed { keys: &others, profile: &Profile::SAML }, now());
        assert_eq!(verdict.unwrap_err().reason(), Reason::UnknownKey);
        let unsigned = entity.unsigned().unwrap();
        assert_eq!(Metadata::read(unsigned.as_str().as_bytes(), trust, now()).unwrap_err().reason(), Reason::SignatureMissing);
    }
}

#[test]
fn a_list_of_entities_leaves_out_what_is_bad_and_inherits_its_end() {
    let strip = |entity: Entity| entity.unsigned().unwrap().as_str().to_owned();
    let list = |more: &str| {
        format!(
            r#"<EntitiesDescriptor xmlns="{}" validUntil="2026-03-02T00:00:00Z">{}<EntitiesDescriptor>{}</EntitiesDescriptor>{more}</EntitiesDescriptor>"#,
            names::MD,
            strip(Entity { valid_until: Some(later(864_000)), ..idp_metadata() }),
            strip(sp_metadata()),
        )
    };
    let hostile = strip(Entity { entity_id: "https://evil.example.net".to_owned(), ..sp_metadata() }).replace(ACS, "javascript:alert(1)//");
    let expired = strip(Entity { entity_id: "https://old.example.net".to_owned(), valid_until: Some(later(-1)), ..sp_metadata() });
    let read = Metadata::read(list(&(hostile + &expired)).as_bytes(), Trust::Named, now()).unwrap();
    let ends: Vec<_> = read.entities.iter().map(|entity| entity.valid_until).collect();
    let end: Timestamp = "2026-03-02T00:00:00Z".parse().unwrap();
    assert_eq!(ends, [Some(end), Some(end)]);
    let skipped: Vec<_> = read.skipped.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(skipped, ["https://evil.example.net", "https://old.example.net"]);
    let twice = Metadata::read(list(&strip(sp_metadata())).as_bytes(), Trust::Named, now());
    assert_eq!(twice.unwrap_err().reason(), Reason::Ambiguous);
}

#[test]
fn recorded_metadata_give_their_verdict() {
    let mut judged = 0;
    for entry in common::manifest() {
        if common::text(&entry, "kind") != "metadata" {
            continue;
        }
        let file = common::text(&entry, "file");
        let (octets, settings) = (common::octets(file), common::list(&entry["settings"]));
        let at: Timestamp = common::text(&entry, "clock").parse().unwrap();
        let harness = common::Harness::of(&entry, &settings);
        let signed = entry["trust_cert"].is_string();
        let trust = |profile| if signed { Trust::Signed { keys: &harness.idp.keys, profile } } else { Trust::Named };
        let read = Metadata::read(&octets, trust(&harness.idp.profile), at).unwrap();
        let entity = read.entity(common::text(&entry["read"], "entity_id")).unwrap();
        assert!(entity.idp.as_ref().is_some_and(|idp| !idp.sso.is_empty()) || entity.sp.as_ref().is_some_and(|sp| !sp.acs.is_empty()));
        let default = Metadata::read(&octets, trust(&Profile::SAML), at);
        let reason = default.as_ref().err().map(|error| error.reason().word());
        assert_eq!(reason, entry["default_reason"].as_str(), "{file}");
        judged += 1;
    }
    assert_eq!(judged, 6);
}

#[test]
fn a_key_without_a_use_is_for_both() {
    let entity = sp_metadata();
    let role = entity.sp.as_ref().unwrap();
    assert_eq!(vestibule_saml::metadata::signing_keys(&role.keys).ids().len(), 1);
    assert!(vestibule_saml::metadata::encryption_recipient(&role.keys).is_some());
    let mut bare = idp_metadata();
    bare.idp.as_mut().unwrap().keys = vec![key(Usage::Encryption, "idp-rsa2048")];
    assert!(matches!(TrustedIdp::from_metadata(&bare), Err(Error::Metadata(MetadataFault::Missing(_)))));
}

static KEY: LazyLock<SigningKey<IdentityProvider>> = LazyLock::new(|| signing("idp-ec256"));

fn read_back(content: &AssertionContent) -> Assertion {
    let signed = content.signed(&KEY).unwrap();
    Assertion::verify(signed.as_bytes(), &trusted(&["idp-ec256"]), &Profile::SAML).unwrap().into_value()
}

/// Texts with everything that could end a value early.
fn any_text() -> impl Strategy<Value = String> {
    proptest::collection::vec(
        prop_oneof![
            Just("&"),
            Just("<"),
            Just(">"),
            Just("\""),
            Just("'"),
            Just("]]>"),
            Just("<!--"),
            Just("-->"),
            Just("&#0;"),
            Just("\r"),
            Just("\n"),
            Just("\t"),
            Just(" "),
            Just("a"),
            Just("\u{e9}"),
            Just("\u{1f600}"),
            Just("</saml:AttributeValue>"),
            Just("\u{85}"),
        ],
        0..8,
    )
    .prop_map(|parts| parts.concat())
}

/// Names lose white space around them.
fn any_name() -> impl Strategy<Value = String> {
    any_text().prop_map(|text| format!("n{text}n"))
}

fn any_instant() -> impl Strategy<Value = Timestamp> {
    (0..4_000_000_000_000_i64).prop_map(|millisecond| Timestamp::from_millisecond(millisecond).unwrap())
}

fn any_name_id() -> impl Strategy<Value = NameId> {
    let some = || proptest::option::of(any_name());
    (any_name(), some(), some(), some(), some()).prop_map(|(value, format, name_qualifier, sp_name_qualifier, sp_provided_id)| NameId {
        value,
        format,
        name_qualifier,
        sp_name_qualifier,
        sp_provided_id,
    })
}

fn any_value() -> impl Strategy<Value = AttributeValue> {
    prop_oneof![any_text().prop_map(AttributeValue::Text), Just(AttributeValue::Nil), any_name_id().prop_map(AttributeValue::NameId)]
}

fn any_attribute() -> impl Strategy<Value = Attribute> {
    (any_name(), proptest::option::of(any_name()), proptest::option::of(any_name()), proptest::collection::vec(any_value(), 0..3))
        .prop_map(|(name, format, friendly_name, values)| Attribute { name, format, friendly_name, values })
}

fn any_confirmation() -> impl Strategy<Value = Confirmation> {
    let method = prop_oneof![
        Just(ConfirmationMethod::Bearer),
        Just(ConfirmationMethod::HolderOfKey),
        Just(ConfirmationMethod::SenderVouches),
        any_name().prop_map(ConfirmationMethod::Other)
    ];
    let instant = || proptest::option::of(any_instant());
    let some = || proptest::option::of(any_name());
    (method, some(), some(), instant(), instant(), some(), any::<bool>()).prop_map(
        |(method, recipient, in_response_to, not_before, not_on_or_after, address, holder)| Confirmation {
            method,
            recipient,
            in_response_to,
            not_before,
            not_on_or_after,
            address,
            holder_certificates: if holder { vec![b"certificate".to_vec()] } else { Vec::new() },
        },
    )
}

fn any_conditions() -> impl Strategy<Value = Conditions> {
    let audiences = || proptest::collection::vec(any_name(), 0..3);
    let instant = || proptest::option::of(any_instant());
    let proxy = (proptest::option::of(any::<u32>()), audiences()).prop_map(|(count, audiences)| ProxyRestriction { count, audiences });
    (instant(), instant(), proptest::collection::vec(audiences(), 0..3), any::<bool>(), proptest::option::of(proxy)).prop_map(
        |(not_before, not_on_or_after, audiences, one_time_use, proxy)| Conditions {
            not_before,
            not_on_or_after,
            audiences,
            one_time_use,
            proxy,
            unknown: Vec::new(),
        },
    )
}

fn any_authn() -> impl Strategy<Value = AuthnStatement> {
    let some = || proptest::option::of(any_name());
    let end = proptest::option::of(any_instant());
    (any_instant(), some(), some(), some(), end, some(), proptest::collection::vec(any_name(), 0..3)).prop_map(
        |(instant, class, declaration, session_index, session_not_on_or_after, address, authorities)| AuthnStatement {
            instant,
            class,
            declaration,
            session_index,
            session_not_on_or_after,
            address,
            authorities,
        },
    )
}

fn any_assertion() -> impl Strategy<Value = AssertionContent> {
    let subject = (proptest::option::of(any_name_id()), proptest::collection::vec(any_confirmation(), 0..3))
        .prop_map(|(name_id, confirmations)| Subject { name_id, confirmations });
    (
        any_name(),
        proptest::option::of(any_name()),
        any_instant(),
        proptest::option::of(subject),
        proptest::option::of(any_conditions()),
        proptest::collection::vec(any_authn(), 0..3),
        proptest::collection::vec(any_attribute(), 0..3),
    )
        .prop_map(|(issuer, issuer_format, issue_instant, subject, conditions, authn, attributes)| AssertionContent {
            version: Version::Saml20,
            id: "_a".to_owned(),
            issuer,
            issuer_format,
            issue_instant,
            subject,
            conditions,
            authn,
            attributes,
        })
}

/// What SAML 1.1 can say of it.
fn in_saml11(content: AssertionContent) -> AssertionContent {
    let mut subject = content.subject.unwrap_or_default();
    if let Some(name) = &mut subject.name_id {
        (name.sp_name_qualifier, name.sp_provided_id) = (None, None);
    }
    for confirmation in &mut subject.confirmations {
        let bare = Confirmation::of(confirmation.method.clone());
        *confirmation = Confirmation { holder_certificates: vec![b"certificate".to_vec()], ..bare };
    }
    let authn = content.authn.into_iter().take(1).map(|statement| AuthnStatement {
        class: Some(statement.class.unwrap_or_else(|| "urn:x".to_owned())),
        declaration: None,
        session_index: None,
        session_not_on_or_after: None,
        authorities: Vec::new(),
        ..statement
    });
    let mut attributes = content.attributes;
    attributes.push(Attribute::of_texts("mail", "urn:x", ["a"]));
    for attribute in &mut attributes {
        attribute.friendly_name = None;
        attribute.format.get_or_insert_with(|| "urn:x".to_owned());
        attribute.values.retain(|value| !matches!(value, AttributeValue::NameId(_)));
    }
    AssertionContent {
        version: Version::Saml11,
        issuer_format: None,
        subject: Some(subject),
        conditions: content.conditions.map(|conditions| Conditions { proxy: None, ..conditions }),
        authn: authn.collect(),
        attributes,
        ..content
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn an_assertion_is_read_as_it_was_written(content in any_assertion()) {
        prop_assert!(*read_back(&content) == content);
        let content = in_saml11(content);
        prop_assert!(*read_back(&content) == content);
    }

    /// What is signed is digested as it was written; so it has to be canonical, whatever is in it.
    #[test]
    fn an_assertion_is_written_in_canonical_form(content in any_assertion()) {
        for content in [content.clone(), in_saml11(content)] {
            for written in [content.to_xml().unwrap(), content.signed(&KEY).unwrap()] {
                let form = canonicalize(written.as_bytes(), &Limits::MESSAGE, &Canonicalization::EXCLUSIVE).unwrap();
                prop_assert_eq!(std::str::from_utf8(&form).unwrap(), &*written);
            }
        }
    }

    #[test]
    fn requests_are_read_as_they_were_written(
        name in any_name_id(), texts in proptest::collection::vec(any_name(), 6), bits in any::<[bool; 4]>(), at in any_instant(),
    ) {
        let mut texts = texts.into_iter();
        let mut text = || texts.next().unwrap();
        let header = Header { id: "_1".to_owned(), issue_instant: at, destination: bits[0].then(&mut text), issuer: text() };
        let request = AuthnRequest {
            header: header.clone(),
            consumer: if bits[1] { Consumer::Url(text()) } else { Consumer::Index(3) },
            protocol_binding: None,
            force_authn: bits[2],
            is_passive: bits[3],
            name_id_policy: bits[2].then(|| NameIdPolicy { format: Some(text()), sp_name_qualifier: None, allow_create: bits[3] }),
            requested_context: bits[3].then(|| RequestedContext { comparison: Comparison::Better, classes: vec![text()] }),
            subject: bits[0].then(|| name.clone()),
            provider_name: bits[1].then(&mut text),
        };
        prop_assert_eq!(&back::<AuthnRequest>(&request.unsigned().unwrap()), &request);
        let url = redirect_url("https://a/b", Kind::Request, &request.unsigned().unwrap(), None).unwrap();
        let query = Redirect::read(url.split_once('?').unwrap().1).unwrap();
        let claimed = query.claim::<AuthnRequest>().unwrap();
        prop_assert_eq!(claimed.sender_says(), &request);
        let logout = LogoutRequest {
            header,
            name_id: name,
            session_indexes: vec![SessionIndex("_s".to_owned())],
            not_on_or_after: bits[0].then_some(at),
            reason: None,
        };
        prop_assert_eq!(&back::<LogoutRequest>(&logout.unsigned().unwrap()), &logout);
    }

    #[test]
    fn readers_meet_garbage_without_harm(octets in proptest::collection::vec(any::<u8>(), 0..200), text in any_text()) {
        let partner = TrustedIdp::new(IDP, trusted(&["idp-rsa2048"]));
        let expected = Expectations { idp: &partner, requests: Requests::Open(&[]), resolved: None };
        prop_assert!(sp().consume(&octets, &expected, now()).is_err());
        prop_assert!(Post::read(&text).is_err() && Redirect::read(&text).is_err());
        prop_assert!(Metadata::read(text.as_bytes(), Trust::Named, now()).is_err());
        drop(Artifact::parse(&text));
    }
}

/// No change of one octet of a signed response is accepted with another meaning.
#[test]
fn one_changed_octet_changes_nothing_that_is_believed() {
    let (message, meaning) = &*MESSAGE;
    let partner = TrustedIdp::new(IDP, trusted(&["idp-rsa2048"]));
    let expected = Expectations { idp: &partner, requests: Requests::Open(&["_request"]), resolved: None };
    let sp = sp();
    for at in 0..message.len() {
        for change in [1, 0x20, 0x1c] {
            let mut changed = message.clone();
            changed[at] ^= change;
            if let Ok(accepted) = sp.consume(&changed, &expected, later(2)) {
                assert!(accepted.assertion.value() == meaning, "octet {at}");
                assert_eq!(accepted.in_response_to.as_deref(), Some("_request"), "octet {at}");
            }
        }
    }
}

/// What an attacker may splice into a message.
const SPLICED: [&str; 10] = [
    "<!---->",
    "<?x?>",
    "<![CDATA[x]]>",
    "<saml:Assertion xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" ID=\"_evil\" Version=\"2.0\"/>",
    "<saml:NameID xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">mallory</saml:NameID>",
    "<saml:Audience xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">https://evil.example.net</saml:Audience>",
    " ID=\"_evil\"",
    " Recipient=\"https://evil.example.net/\"",
    " xmlns:saml=\"urn:evil\"",
    "&#x41;",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// No rearrangement of a signed response (parts cut, doubled, moved, markup spliced in) is accepted with another meaning.
    #[test]
    fn no_rearrangement_changes_what_is_believed(
        edits in proptest::collection::vec((0..5_u8, any::<proptest::sample::Index>(), any::<proptest::sample::Index>(), any::<proptest::sample::Index>()), 1..5),
    ) {
        let (message, meaning) = &*MESSAGE;
        let mut changed = String::from_utf8(message.clone()).unwrap();
        for (kind, one, other, third) in edits {
            // At the borders of markup, where it hurts; every other octet is changed elsewhere.
            let borders: Vec<usize> = changed.char_indices().filter(|(_, c)| matches!(c, '<' | '>' | '"' | ' ')).map(|(at, _)| at).collect();
            let mut at = [one, other, third].map(|index| *index.get(&borders));
            at.sort_unstable();
            let [first, middle, last] = at;
            changed = match kind {
                0 => format!("{}{}", &changed[..first], &changed[middle..]),
                1 => format!("{}{}{}", &changed[..middle], &changed[first..middle], &changed[middle..]),
                2 => format!("{}{}{}{}", &changed[..first], &changed[middle..last], &changed[first..middle], &changed[last..]),
                3 => format!("{}{}{}", &changed[..first], third.get(&SPLICED), &changed[first..]),
                _ => format!("{}{}{}", &changed[..last], &changed[first..middle], &changed[last..]),
            };
            prop_assume!(!changed.is_empty() && changed.contains('<') && changed.len() < 100_000);
        }
        let partner = TrustedIdp::new(IDP, trusted(&["idp-rsa2048"]));
        let expected = Expectations { idp: &partner, requests: Requests::Open(&["_request"]), resolved: None };
        if let Ok(accepted) = sp().consume(changed.as_bytes(), &expected, later(2)) {
            prop_assert!(accepted.assertion.value() == meaning, "{}", changed);
            prop_assert_eq!(accepted.in_response_to.as_deref(), Some("_request"));
        }
    }
}

/// What is fuzzed in `fuzz/`.
#[path = "../../../../fuzz/src/saml20.rs"]
#[expect(clippy::expect_used, reason = "it stops at what must not be")]
mod fuzzed;

/// The fuzz target, over everything hostile and recorded there is.
#[test]
fn what_is_fuzzed_holds_for_the_corpus() {
    let mut seen = 0;
    for folder in ["attacks/saml", "recorded/saml", "recorded/metadata"] {
        for file in std::fs::read_dir(common::corpus(folder)).unwrap() {
            let octets = std::fs::read(file.unwrap().path()).unwrap();
            fuzzed::consume(&octets);
            for at in [octets.len() / 3, octets.len() / 2] {
                fuzzed::consume(&[&octets[..at], &octets[at + 1..]].concat());
            }
            seen += 1;
        }
    }
    assert!(seen > 200, "{seen}");
}

fn back<M: vestibule_xmlsec::FromClaimed + Clone>(issued: &Issued) -> M {
    let document = Document::parse(issued.as_str().as_bytes(), &vestibule_saml::binding::MESSAGE_LIMITS).unwrap();
    document.claim::<M>().unwrap().sender_says().clone()
}

static MESSAGE: LazyLock<(Vec<u8>, Assertion)> = LazyLock::new(|| {
    let registered = RegisteredSp { encryption: None, sign: Sign::Assertion, ..RegisteredSp::from_metadata(&sp_metadata()).unwrap() };
    let request = validated(&registered, &authn_request(Consumer::Default)).unwrap();
    let response = idp().respond(&registered, &request, &login(), now()).unwrap();
    let partner = TrustedIdp::new(IDP, trusted(&["idp-rsa2048"]));
    let accepted = consume(&partner, response.as_str(), Requests::Open(&["_request"])).unwrap();
    (response.as_str().as_bytes().to_vec(), accepted.assertion.into_value())
});

#[test]
fn a_key_of_one_purpose_signs_nothing_else() {
    let pkcs8 = der("keys/sp-rsa2048.key");
    assert!(SigningKey::<IdentityProvider>::from_pkcs8("sp", &pkcs8, None).is_err());
    let document = Document::parse(b"<a/>", &vestibule_saml::binding::MESSAGE_LIMITS).unwrap();
    assert!(document.verify(SignedElement::Path(&[("", "a")]), &trusted(&["sp-rsa2048"]), &Profile::SAML).is_err());
}
