//! Every processing rule of the SAML 1.1 browser profiles (A1–A16, P1–P15, S1–S15 of docs/schemes/saml11.md) has a message here
//! that breaks it and nothing else, kept in `corpus/attacks/saml11/`. Rules of HTTP and of memory (A1, A2, A7, A8, P1, P14) have
//! their tests at the running gateway, which meets all of these, too.
//!
//! As in `attacks.rs`: signed with the trusted key, reproducible, written by `VESTIBULE_WRITE_CORPUS=1`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use vestibule_saml::binding::{Artifact, ArtifactQuery, Post};
use vestibule_saml::names::{SAML1, SAMLP1, SOAP11};
use vestibule_saml::sp::{Audiences, Expectations, Received, Requests};
use vestibule_saml::{Accepted, Rejection};
use vestibule_xmlsec::{Document, IdentityProvider, KeyId, Limits, PinnedPeer, Placement, SignedElement, SigningKey};

use crate::common::{Harness, corpus, der, list, signing, text};

/// What is fuzzed in `fuzz/`.
#[path = "../../../../fuzz/src/saml11.rs"]
#[expect(clippy::expect_used, reason = "it stops at what must not be")]
mod fuzzed;

const IDP: &str = "https://idp.example.org/saml11";
const SP: &str = "https://gw.example.com/saml11/sp";
const ACS: &str = "https://gw.example.com/fed/sp/samlv11sso";
const CLOCK: &str = "2026-03-01T12:01:00Z";
/// The test vector of the reference: SHA-1 of `IDP`, and a handle that counts.
const ARTIFACT: &str = "AAH0ZacAeWjRBmSbmtlpmN6U9oMk7BAREhMUFRYXGBkaGxwdHh8gISIj";
const ALICE: &str = "<saml:NameIdentifier>alice@example.org</saml:NameIdentifier>";

/// What a response is made of. Each case changes one part.
#[derive(Clone)]
struct Parts {
    attributes: String,
    status: String,
    id: String,
    issuer: String,
    issued: String,
    conditions: String,
    name: String,
    confirmation: String,
    /// Of the authentication statement.
    said: String,
    /// Behind its subject.
    locality: String,
    /// Of the attribute statement.
    other: String,
    advice: String,
    /// Beside the assertion.
    beside: String,
}

fn method(name: &str) -> String {
    format!("<saml:ConfirmationMethod>urn:oasis:names:tc:SAML:1.0:cm:{name}</saml:ConfirmationMethod>")
}

fn confirmed(by: &str) -> String {
    format!("<saml:SubjectConfirmation>{by}</saml:SubjectConfirmation>")
}

fn conditions(from: &str, to: &str, inside: &str) -> String {
    format!(r#"<saml:Conditions NotBefore="{from}" NotOnOrAfter="{to}">{inside}</saml:Conditions>"#)
}

fn lasting(inside: &str) -> String {
    conditions("2026-03-01T11:59:00Z", "2026-03-01T12:05:00Z", inside)
}

fn audience(of: &str) -> String {
    format!("<saml:AudienceRestrictionCondition><saml:Audience>{of}</saml:Audience></saml:AudienceRestrictionCondition>")
}

fn signed_in(at: &str) -> String {
    format!(r#" AuthenticationMethod="urn:oasis:names:tc:SAML:1.0:am:password" AuthenticationInstant="{at}""#)
}

impl Parts {
    /// By POST.
    fn posted() -> Self {
        Self {
            attributes: format!(
                r#" MajorVersion="1" MinorVersion="1" ResponseID="_r" IssueInstant="2026-03-01T12:00:00Z" Recipient="{ACS}""#
            ),
            status: "samlp:Success".to_owned(),
            id: "_a".to_owned(),
            issuer: IDP.to_owned(),
            issued: "2026-03-01T12:00:00Z".to_owned(),
            conditions: lasting(&audience(SP)),
            name: ALICE.to_owned(),
            confirmation: confirmed(&method("bearer")),
            said: signed_in("2026-03-01T12:00:00Z"),
            locality: String::new(),
            other: ALICE.to_owned(),
            advice: String::new(),
            beside: String::new(),
        }
    }

    /// As the answer to an artifact.
    fn resolved() -> Self {
        let good = Self::posted();
        Self {
            attributes: good.attributes.replace(&format!(r#" Recipient="{ACS}""#), ""),
            confirmation: confirmed(&method("artifact")),
            ..good
        }
    }

    fn assertion(&self) -> String {
        let Self { id, issuer, issued, conditions, advice, said, name, confirmation, locality, other, .. } = self;
        format!(
            r#"<saml:Assertion xmlns:saml="{SAML1}" MajorVersion="1" MinorVersion="1" AssertionID="{id}" Issuer="{issuer}" IssueInstant="{issued}">{conditions}{advice}<saml:AuthenticationStatement{said}><saml:Subject>{name}{confirmation}</saml:Subject>{locality}</saml:AuthenticationStatement><saml:AttributeStatement><saml:Subject>{other}{confirmation}</saml:Subject><saml:Attribute AttributeName="mail" AttributeNamespace="urn:x"><saml:AttributeValue>alice@example.org</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>"#
        )
    }

    fn around(&self, inside: &str) -> String {
        let Self { attributes, status, beside, .. } = self;
        format!(
            r#"<samlp:Response xmlns:samlp="{SAMLP1}"{attributes}><samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status>{inside}{beside}</samlp:Response>"#
        )
    }

    fn unsigned(&self) -> String {
        self.around(&self.assertion())
    }

    fn signed(&self) -> String {
        sign(&self.unsigned())
    }

    fn enveloped(&self) -> String {
        envelope(&self.signed())
    }
}

fn sign(response: &str) -> String {
    sign_as(response, &signing("idp-rsa2048"))
}

fn sign_as(response: &str, key: &SigningKey<IdentityProvider>) -> String {
    let document = Document::parse(response.as_bytes(), &Limits::MESSAGE).unwrap();
    let path = [(SAMLP1, "Response")];
    String::from_utf8(document.sign_enveloped(SignedElement::Path(&path), Placement::First, &[], key).unwrap()).unwrap()
}

fn envelope(inside: &str) -> String {
    format!(r#"<S:Envelope xmlns:S="{SOAP11}"><S:Body>{inside}</S:Body></S:Envelope>"#)
}

/// One message that breaks one rule.
struct Case {
    rule: &'static str,
    name: &'static str,
    kind: &'static str,
    settings: &'static [&'static str],
    expect: &'static str,
    message: String,
}

/// A form as a browser posts it.
fn form(message: &str, target: &str) -> String {
    let value = STANDARD.encode(message).replace('+', "%2B").replace('=', "%3D");
    format!("SAMLResponse={value}&{target}")
}

const HOME: &str = "TARGET=https%3A%2F%2Fapp.example.com%2Fpage";

fn posts() -> Vec<(&'static str, &'static str, &'static str, String)> {
    let good = Parts::posted;
    let with = |attributes: &str| Parts { attributes: attributes.to_owned(), ..good() }.signed();
    let confirmation = |confirmation: String| Parts { confirmation, ..good() }.signed();
    let conditioned = |conditions: String| Parts { conditions, ..good() }.signed();
    let said = |said: &str| Parts { said: said.to_owned(), ..good() }.signed();
    let evil = Parts { id: "_evil".to_owned(), name: ALICE.replace("alice", "admin"), other: ALICE.replace("alice", "admin"), ..good() };
    let signed = good().signed();
    let (head, rest) = signed.split_once("<ds:Signature ").unwrap();
    let (signature, tail) = rest.split_once("</ds:Signature>").unwrap();
    let signature = format!("<ds:Signature {signature}</ds:Signature>");
    let assertion_signed = {
        let document = Document::parse(good().assertion().into_bytes().as_slice(), &Limits::MESSAGE).unwrap();
        let key: SigningKey<IdentityProvider> = signing("idp-rsa2048");
        let placement = Placement::After(SAML1, "AttributeStatement");
        let signed = document.sign_enveloped(SignedElement::Path(&[(SAML1, "Assertion")]), placement, &[], &key).unwrap();
        String::from_utf8(signed).unwrap()
    };
    let usual = good().attributes;
    vec![
        ("-", "post-good", "accept", signed.clone()),
        ("P4", "post-doctype", "dtd", format!("<!DOCTYPE r>{signed}")),
        ("P4", "post-entity", "dtd", format!("<!DOCTYPE r [<!ENTITY e SYSTEM \"file:///etc/passwd\">]>{signed}")),
        ("P4", "post-deep", "limits", format!("{}{}", "<a>".repeat(500), "</a>".repeat(500))),
        ("P5", "post-another-root", "malformed", good().assertion()),
        ("P5", "post-an-envelope", "malformed", envelope(&signed)),
        ("P5", "post-a-request", "malformed", signed.replace("samlp:Response", "samlp:Request")),
        ("P5", "post-namespace-1.1", "malformed", signed.replace("SAML:1.0:protocol", "SAML:1.1:protocol")),
        ("P5", "post-version-2", "wrong_version", with(&usual.replace(r#"MajorVersion="1""#, r#"MajorVersion="2""#))),
        ("P5", "post-version-1.2", "wrong_version", with(&usual.replace(r#"MinorVersion="1""#, r#"MinorVersion="2""#))),
        ("P6", "post-one-id-twice", "duplicate_id", signed.replace(r#"AssertionID="_a""#, r#"AssertionID="_r""#)),
        (
            "P6",
            "post-under-another-response",
            "assertion_missing",
            Parts { id: "_x".to_owned(), ..good() }.around(&signed).replacen("_r", "_o", 1),
        ),
        ("P7", "post-another-issuer", "wrong_issuer", Parts { issuer: "https://other.example.org".to_owned(), ..good() }.signed()),
        ("P7", "post-two-issuers", "ambiguous", {
            let other = Parts { issuer: "https://other.example.org".to_owned(), ..evil.clone() };
            sign(&good().around(&format!("{}{}", good().assertion(), other.assertion())))
        }),
        ("P8", "post-unsigned", "signature_missing", good().unsigned()),
        ("P8", "post-only-the-assertion-signed", "signature_missing", good().around(&assertion_signed)),
        ("P8", "post-another-key", "unknown_key", sign_as(&good().unsigned(), &signing("other-rsa2048"))),
        ("P8", "post-changed-name", "digest_mismatch", signed.replace(">alice@", ">admin@")),
        (
            "P8",
            "post-changed-recipient",
            "digest_mismatch",
            with(&usual.replace(ACS, "https://other.example.com/acs")).replace("https://other.example.com/acs", ACS),
        ),
        ("P8", "post-changed-signature", "signature_invalid", {
            let (before, after) = signed.split_once("<ds:SignatureValue>").unwrap();
            let first = if after.starts_with('A') { "B" } else { "A" };
            format!("{before}<ds:SignatureValue>{first}{}", after.get(1..).unwrap())
        }),
        ("P8", "post-two-signatures", "ambiguous", format!("{head}{signature}{signature}{tail}")),
        ("P8", "post-whole-document-reference", "reference_refused", signed.replace("URI=\"#_r\"", "URI=\"\"")),
        ("P8", "post-outside-reference", "reference_refused", signed.replace("URI=\"#_r\"", "URI=\"https://other.example.com/r\"")),
        (
            "P8",
            "post-sha1",
            "algorithm_refused",
            signed.replace("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2000/09/xmldsig#rsa-sha1"),
        ),
        (
            "P8",
            "post-hmac",
            "algorithm_refused",
            signed.replace("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", "http://www.w3.org/2000/09/xmldsig#hmac-sha1"),
        ),
        (
            "P8",
            "post-xslt",
            "algorithm_refused",
            signed.replace("http://www.w3.org/2000/09/xmldsig#enveloped-signature", "http://www.w3.org/TR/1999/REC-xslt-19991116"),
        ),
        ("P9", "post-no-recipient", "wrong_recipient", with(&usual.replace(&format!(r#" Recipient="{ACS}""#), ""))),
        ("P9", "post-another-recipient", "wrong_recipient", with(&usual.replace(ACS, "https://other.example.com/fed/sp/samlv11sso"))),
        ("P9", "post-recipient-in-capitals", "wrong_recipient", with(&usual.replace("samlv11sso", "SAMLV11SSO"))),
        ("P9", "post-recipient-begins-alike", "wrong_recipient", with(&usual.replace(ACS, &format!("{ACS}/x")))),
        ("P10", "post-stale", "stale", with(&usual.replace("12:00:00", "11:50:00"))),
        ("P10", "post-from-tomorrow", "not_yet_valid", with(&usual.replace("12:00:00", "12:30:00"))),
        ("P11", "post-requester", "status_not_success", Parts { status: "samlp:Requester".to_owned(), ..good() }.signed()),
        ("P11", "post-success-at-second-level", "status_not_success", {
            let two = r#"<samlp:StatusCode Value="samlp:Responder"><samlp:StatusCode Value="samlp:Success"/></samlp:StatusCode>"#;
            sign(&good().unsigned().replace(r#"<samlp:StatusCode Value="samlp:Success"/>"#, two))
        }),
        ("P12", "post-evil-before", "ambiguous", signed.replace("<saml:Assertion ", &format!("{}<saml:Assertion ", evil.assertion()))),
        ("P12", "post-evil-behind", "ambiguous", signed.replace("</samlp:Response>", &format!("{}</samlp:Response>", evil.assertion()))),
        ("P12", "post-evil-around", "malformed", {
            let object = signature.replace("</ds:Signature>", &format!("<ds:Object>{}</ds:Object></ds:Signature>", good().unsigned()));
            evil.around(&evil.assertion()).replacen("_r", "_o", 1).replacen('>', &format!(">{object}"), 1)
        }),
        ("P13", "post-confirmed-by-artifact", "no_credentials", confirmation(confirmed(&method("artifact")))),
        ("P13", "post-holder-of-key", "no_credentials", confirmation(confirmed(&method("holder-of-key")))),
        ("P13", "post-sender-vouches", "no_credentials", confirmation(confirmed(&method("sender-vouches")))),
        ("P13", "post-bearer-of-2.0", "no_credentials", confirmation(confirmed(&method("bearer").replace("1.0", "2.0")))),
        ("S1", "post-long-id", "malformed", Parts { id: "x".repeat(257), ..good() }.signed()),
        ("S1", "post-id-with-space", "malformed", Parts { id: "_a _b".to_owned(), ..good() }.signed()),
        ("S1", "post-id-begins-with-a-digit", "accept", Parts { id: "7c0e2a10-1d1b-4d2a".to_owned(), ..good() }.signed()),
        ("S1", "post-no-issuer", "malformed", Parts { issuer: String::new(), ..good() }.signed()),
        ("S2", "post-time-without-zone", "malformed", conditioned(lasting(&audience(SP)).replace("12:05:00Z", "12:05:00"))),
        ("S2", "post-time-with-offset", "accept", conditioned(lasting(&audience(SP)).replace("12:05:00Z", "13:05:00+01:00"))),
        ("S2", "post-issued-at-no-time", "malformed", Parts { issued: "yesterday".to_owned(), ..good() }.signed()),
        ("S3", "post-expired", "expired", conditioned(conditions("2026-03-01T11:50:00Z", "2026-03-01T12:00:00Z", &audience(SP)))),
        ("S3", "post-not-yet", "not_yet_valid", conditioned(conditions("2026-03-01T12:10:00Z", "2026-03-01T12:15:00Z", &audience(SP)))),
        ("S3", "post-without-conditions", "malformed", conditioned(String::new())),
        ("S3", "post-without-begin", "malformed", conditioned(lasting(&audience(SP)).replace(r#" NotBefore="2026-03-01T11:59:00Z""#, ""))),
        ("S3", "post-without-end", "malformed", conditioned(lasting(&audience(SP)).replace(r#" NotOnOrAfter="2026-03-01T12:05:00Z""#, ""))),
        (
            "S4",
            "post-ends-before-it-begins",
            "malformed",
            conditioned(conditions("2026-03-01T12:01:10Z", "2026-03-01T12:00:50Z", &audience(SP))),
        ),
        ("S4", "post-wide-window", "malformed", conditioned(conditions("2026-03-01T11:59:00Z", "2026-03-01T12:59:01Z", &audience(SP)))),
        ("S5", "post-another-audience", "wrong_audience", conditioned(lasting(&audience("https://other.example.com")))),
        (
            "S5",
            "post-one-audience-of-two-conditions",
            "wrong_audience",
            conditioned(lasting(&format!("{}{}", audience(SP), audience("https://other.example.com")))),
        ),
        ("S5", "post-empty-audience", "wrong_audience", conditioned(lasting("<saml:AudienceRestrictionCondition/>"))),
        ("S5", "post-no-audience", "wrong_audience", conditioned(lasting(""))),
        (
            "S5",
            "post-one-audience-of-two",
            "accept",
            conditioned(lasting(
                &audience(SP).replace("<saml:Audience>", "<saml:Audience>https://other.example.com</saml:Audience><saml:Audience>"),
            )),
        ),
        ("S6", "post-do-not-cache", "accept", conditioned(lasting(&format!("{}<saml:DoNotCacheCondition/>", audience(SP))))),
        ("S7", "post-unknown-condition", "malformed", conditioned(lasting(&format!("{}<saml:Condition/>", audience(SP))))),
        ("S7", "post-foreign-condition", "malformed", conditioned(lasting(&format!("{}<x:Only xmlns:x=\"urn:x\"/>", audience(SP))))),
        ("S8", "post-no-authentication-statement", "no_credentials", {
            let text = good().unsigned();
            let (before, rest) = text.split_once("<saml:AuthenticationStatement").unwrap();
            sign(&format!("{before}{}", rest.split_once("</saml:AuthenticationStatement>").unwrap().1))
        }),
        ("S8", "post-no-method", "malformed", said(r#" AuthenticationInstant="2026-03-01T12:00:00Z""#)),
        ("S8", "post-no-instant", "malformed", said(r#" AuthenticationMethod="urn:oasis:names:tc:SAML:1.0:am:password""#)),
        ("S9", "post-no-confirmation", "no_credentials", confirmation(String::new())),
        ("S9", "post-no-method-of-confirmation", "no_credentials", confirmation(confirmed(""))),
        ("S10", "post-no-name", "no_credentials", Parts { name: String::new(), other: String::new(), ..good() }.signed()),
        (
            "S10",
            "post-empty-name",
            "malformed",
            Parts { name: "<saml:NameIdentifier> </saml:NameIdentifier>".to_owned(), ..good() }.signed(),
        ),
        ("S10", "post-comment-in-name", "accept", {
            let name = ALICE.replace("alice@", "alice<!-- -->@");
            Parts { name: name.clone(), other: name, ..good() }.signed()
        }),
        ("S10", "post-instruction-in-name", "forbidden_markup", {
            let name = ALICE.replace("alice@", "alice<?x?>@");
            Parts { name: name.clone(), other: name, ..good() }.signed()
        }),
        ("S11", "post-two-subjects", "malformed", Parts { other: ALICE.replace("alice", "admin"), ..good() }.signed()),
        ("S11", "post-two-formats", "malformed", {
            let other = ALICE
                .replace("<saml:NameIdentifier", r#"<saml:NameIdentifier Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress""#);
            Parts { other, ..good() }.signed()
        }),
        ("S12", "post-signed-in-tomorrow", "not_yet_valid", said(&signed_in("2026-03-01T12:30:00Z"))),
        ("S12", "post-signed-in-yesterday", "stale", said(&signed_in("2026-03-01T03:00:00Z"))),
        (
            "S13",
            "post-from-another-address",
            "accept",
            Parts { locality: r#"<saml:SubjectLocality IPAddress="203.0.113.9"/>"#.to_owned(), ..good() }.signed(),
        ),
        ("S14", "post-advice-and-authority", "accept", {
            let locality = r#"<saml:AuthorityBinding AuthorityKind="samlp:AttributeQuery" Location="https://other.example.com/aa" Binding="urn:oasis:names:tc:SAML:1.0:bindings:SOAP-binding"/>"#;
            let confirmation = confirmed(&format!("{}<saml:SubjectConfirmationData>x</saml:SubjectConfirmationData>", method("bearer")));
            Parts { advice: "<saml:Advice/>".to_owned(), locality: locality.to_owned(), confirmation, ..good() }.signed()
        }),
        (
            "S14",
            "post-evil-in-advice",
            "accept",
            Parts { advice: format!("<saml:Advice>{}</saml:Advice>", evil.assertion()), ..good() }.signed(),
        ),
        ("S15", "post-two-methods", "accept", confirmation(confirmed(&format!("{}{}", method("sender-vouches"), method("bearer"))))),
    ]
}

fn cases() -> Vec<Case> {
    const SAML11: &[&str] = &["saml11"];
    let mut cases = Vec::new();
    let mut add = |rule, name, kind, settings, expect, message| cases.push(Case { rule, name, kind, settings, expect, message });
    for (rule, name, expect, message) in posts() {
        add(rule, name, "saml11-response", SAML11, expect, message);
    }
    let good = Parts::posted().signed();
    add("-", "post-not-enabled", "saml11-response", &[], "not_enabled", good.clone());
    let silent = Parts { conditions: lasting(""), ..Parts::posted() }.signed();
    add("S5", "post-no-audience-conceded", "saml11-response", &["saml11", "saml11_without_audience"], "accept", silent);
    let other = Parts { conditions: lasting(&audience("https://other.example.com")), ..Parts::posted() }.signed();
    add("S5", "post-another-audience-still", "saml11-response", &["saml11", "saml11_without_audience"], "wrong_audience", other);

    let sent = form(&good, HOME);
    for (rule, name, expect, body) in [
        ("-", "form-good", "accept", sent.clone()),
        ("P2", "form-no-target", "malformed", sent.replace(&format!("&{HOME}"), "")),
        ("P2", "form-two-targets", "ambiguous", format!("{sent}&TARGET=x")),
        ("P2", "form-two-responses", "ambiguous", format!("{sent}&{sent}").replacen(HOME, "x=y", 1)),
        ("P2", "form-target-spelled-otherwise", "ambiguous", format!("{sent}&%54ARGET=x")),
        ("P2", "form-in-small-letters", "malformed", sent.replace("SAMLResponse", "samlresponse")),
        ("P2", "form-request", "malformed", sent.replace("SAMLResponse", "SAMLRequest")),
        ("P3", "form-not-base64", "malformed", format!("SAMLResponse=%3CResponse%2F%3E&{HOME}")),
        ("P3", "form-base64-in-lines", "accept", {
            let text = STANDARD.encode(&good);
            let lines: Vec<String> = text.as_bytes().chunks(76).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect();
            format!("SAMLResponse={}&{HOME}", lines.join("%0D%0A").replace('+', "%2B").replace('=', "%3D"))
        }),
        (
            "P3",
            "form-not-utf8",
            "encoding",
            format!("SAMLResponse={}&{HOME}", STANDARD.encode(b"\xff\xfe<\0").replace('+', "%2B").replace('=', "%3D")),
        ),
        ("P15", "form-target-elsewhere", "accept", form(&good, "TARGET=https%3A%2F%2Fevil.example.net%2F")),
        ("P15", "form-target-script", "accept", form(&good, "TARGET=javascript%3Aalert(1)")),
        ("P15", "form-target-header", "malformed", form(&good, "TARGET=%2F%0D%0ASet-Cookie%3A%20a%3Db")),
    ] {
        add(rule, name, "saml11-form", SAML11, expect, body);
    }

    let artifact = |octets: &[u8]| STANDARD.encode(octets).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    let of = |source_id: [u8; 20]| Artifact::Saml11 { source_id, handle: [1; 20] }.to_base64().replace('+', "%2B");
    let mut second = [0, 2].to_vec();
    second.extend([7; 20]);
    second.extend(b"https://evil.example.net/responder");
    let mut long = STANDARD.decode(ARTIFACT).unwrap();
    long.push(0);
    for (rule, name, expect, query) in [
        ("-", "query-good", "accept", format!("{HOME}&SAMLart={ARTIFACT}")),
        ("A3", "query-no-artifact", "malformed", HOME.to_owned()),
        ("A3", "query-no-target", "malformed", format!("SAMLart={ARTIFACT}")),
        ("A3", "query-two-targets", "ambiguous", format!("{HOME}&{HOME}&SAMLart={ARTIFACT}")),
        ("A3", "query-in-small-letters", "malformed", format!("{HOME}&samlart={ARTIFACT}")),
        ("A4", "query-five-artifacts", "ambiguous", format!("{HOME}{}", format!("&SAMLart={ARTIFACT}").repeat(5))),
        ("A5", "query-not-base64", "malformed", format!("{HOME}&SAMLart=AAH0*")),
        ("A5", "query-short", "malformed", format!("{HOME}&SAMLart={}", artifact(&long[..41]))),
        ("A5", "query-long", "malformed", format!("{HOME}&SAMLart={}", artifact(&long))),
        ("A5", "query-type-2", "malformed", format!("{HOME}&SAMLart={}", artifact(&second))),
        ("A5", "query-type-4", "malformed", format!("{HOME}&SAMLart={}", artifact(&[&[0, 4, 0, 0][..], &[7; 40]].concat()))),
        ("A5", "query-type-9", "malformed", format!("{HOME}&SAMLart={}", artifact(&[&[0, 9][..], &[7; 40]].concat()))),
        ("A6", "query-unknown-source", "wrong_issuer", format!("{HOME}&SAMLart={}", of([7; 20]))),
        ("A6", "query-two-sources", "ambiguous", format!("{HOME}&SAMLart={ARTIFACT}&SAMLart={}", of([7; 20]))),
    ] {
        add(rule, name, "saml11-query", SAML11, expect, query);
    }

    let fetched = Parts::resolved;
    let with = |attributes: &str| Parts { attributes: attributes.to_owned(), ..fetched() }.enveloped();
    let usual = fetched().attributes;
    let bare = envelope(&fetched().unsigned());
    let vouched: &[&str] = &["saml11", "saml11_channel"];
    for (rule, name, settings, expect, message) in [
        ("-", "answer-good", SAML11, "accept", fetched().enveloped()),
        (
            "A9",
            "answer-fault",
            SAML11,
            "malformed",
            envelope("<S:Fault><faultcode>S:Server</faultcode><faultstring>no</faultstring></S:Fault>"),
        ),
        ("A9", "answer-empty-body", SAML11, "malformed", envelope("")),
        (
            "A9",
            "answer-two-in-the-body",
            SAML11,
            "ambiguous",
            envelope(&format!("{0}{0}", fetched().signed().replace("_r", "_q").replace("_a", "_b"))),
        ),
        ("A9", "answer-without-envelope", SAML11, "malformed", fetched().signed()),
        ("A9", "answer-of-soap-1.2", SAML11, "malformed", fetched().enveloped().replace(SOAP11, "http://www.w3.org/2003/05/soap-envelope")),
        (
            "A9",
            "answer-in-the-header",
            SAML11,
            "malformed",
            format!(r#"<S:Envelope xmlns:S="{SOAP11}"><S:Header>{}</S:Header><S:Body/></S:Envelope>"#, fetched().signed()),
        ),
        ("A10", "answer-to-another-request", SAML11, "wrong_in_response_to", with(&format!(r#"{usual} InResponseTo="_other""#))),
        ("A11", "answer-denied", SAML11, "status_not_success", Parts { status: "samlp:Responder".to_owned(), ..fetched() }.enveloped()),
        ("A12", "answer-version-2", SAML11, "wrong_version", with(&usual.replace(r#"MajorVersion="1""#, r#"MajorVersion="2""#))),
        ("A12", "answer-stale", SAML11, "stale", with(&usual.replace("12:00:00", "11:50:00"))),
        ("A13", "answer-without-assertion", SAML11, "assertion_missing", envelope(&sign(&fetched().around("")))),
        ("A13", "answer-two-assertions", SAML11, "ambiguous", {
            let other = Parts { id: "_b".to_owned(), ..fetched() };
            envelope(&sign(&fetched().around(&format!("{}{}", fetched().assertion(), other.assertion()))))
        }),
        ("A14", "answer-unsigned", SAML11, "signature_missing", bare.clone()),
        ("A14", "answer-of-another-key", SAML11, "unknown_key", envelope(&sign_as(&fetched().unsigned(), &signing("other-rsa2048")))),
        ("A14", "answer-unsigned-of-a-named-channel", vouched, "accept", bare.clone()),
        ("A14", "answer-of-a-channel-about-another-issuer", vouched, "wrong_issuer", bare.replace(IDP, "https://other.example.org")),
        (
            "A15",
            "answer-confirmed-by-bearer",
            SAML11,
            "no_credentials",
            Parts { confirmation: confirmed(&method("bearer")), ..fetched() }.enveloped(),
        ),
        (
            "A15",
            "answer-confirmed-by-artifact-01",
            SAML11,
            "accept",
            Parts { confirmation: confirmed(&method("artifact-01")), ..fetched() }.enveloped(),
        ),
        (
            "A15",
            "answer-expired",
            SAML11,
            "expired",
            Parts { conditions: conditions("2026-03-01T11:50:00Z", "2026-03-01T12:00:00Z", &audience(SP)), ..fetched() }.enveloped(),
        ),
        (
            "A15",
            "answer-another-audience",
            SAML11,
            "wrong_audience",
            Parts { conditions: lasting(&audience("https://other.example.com")), ..fetched() }.enveloped(),
        ),
        (
            "A16",
            "answer-for-another-recipient",
            SAML11,
            "wrong_recipient",
            with(&format!(r#"{usual} Recipient="https://other.example.com/acs""#)),
        ),
        ("A16", "answer-for-us", SAML11, "accept", with(&format!(r#"{usual} Recipient="{ACS}""#))),
    ] {
        add(rule, name, "saml11-answer", settings, expect, message);
    }
    cases
}

fn file_of(case: &Case) -> String {
    let extension = match case.kind {
        "saml11-form" => "form",
        "saml11-query" => "query",
        _ => "xml",
    };
    format!("{}.{extension}", case.name)
}

fn entry_of(case: &Case) -> Value {
    json!({
        "file": file_of(case), "rule": case.rule, "kind": case.kind, "settings": case.settings, "reason": case.expect, "clock": CLOCK,
        "trust_cert": "keys/idp-rsa2048.crt", "idp_entity_id": IDP, "sp_entity_id": SP, "acs_url": ACS, "in_response_to": Value::Null,
    })
}

#[test]
fn the_corpus_is_what_is_made_here() {
    let cases = cases();
    let folder = corpus("attacks/saml11");
    let manifest: Vec<Value> = cases.iter().map(entry_of).collect();
    if std::env::var_os("VESTIBULE_WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for case in &cases {
            std::fs::write(folder.join(file_of(case)), &case.message).unwrap();
        }
        let lines: Vec<String> = manifest.iter().map(|entry| format!("  {entry}")).collect();
        std::fs::write(folder.join("manifest.json"), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
    for case in &cases {
        let kept = std::fs::read_to_string(folder.join(file_of(case))).unwrap();
        assert!(kept == case.message, "{} differs", case.name);
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(kept, Value::Array(manifest));
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), cases.len() + 1);
}

fn harness(entry: &Value) -> Harness {
    let settings = list(&entry["settings"]);
    let of_the_library: Vec<&str> = settings.iter().copied().filter(|setting| *setting == "saml11").collect();
    let mut harness = Harness::of(entry, &of_the_library);
    if settings.contains(&"saml11_without_audience") {
        harness.idp.audiences = Audiences::IfNamed;
    }
    harness
}

/// The name that is believed, or the reason of the refusal.
fn judge(entry: &Value, octets: &[u8]) -> Result<Option<String>, String> {
    let harness = harness(entry);
    let now: Timestamp = CLOCK.parse().unwrap();
    let named = |judged: Result<Accepted, Rejection>| {
        let accepted = judged.map_err(|rejection| rejection.reason.word().to_owned())?;
        Ok(accepted.assertion.value().name_id().map(|name| name.value.clone()))
    };
    let unread = |error: vestibule_saml::Error| error.reason().word().to_owned();
    let in_text = || std::str::from_utf8(octets).unwrap();
    match text(entry, "kind") {
        "saml11-response" => named(harness.consume(octets, now)),
        "saml11-form" => named(harness.consume(&Post::read_saml11(in_text()).map_err(unread)?.message, now)),
        "saml11-query" => {
            let query = ArtifactQuery::read(in_text()).map_err(unread)?;
            // Which partner it is, the gateway looks up; artifacts of 2.0 have no business at this door.
            match query.artifacts.as_slice() {
                [Artifact::Saml11 { source_id, .. }, ..] if *source_id == Artifact::source_id_of(IDP) => Ok(None),
                [Artifact::Saml11 { .. }, ..] => Err("wrong_issuer".to_owned()),
                _ => Err("malformed".to_owned()),
            }
        }
        "saml11-answer" => {
            let expected = Expectations { idp: &harness.idp, requests: Requests::Open(&[]), resolved: Some("_fetch") };
            let received = if list(&entry["settings"]).contains(&"saml11_channel") {
                let certificate = der("keys/server-rsa2048.crt");
                let pinned = [KeyId::of_certificate(&certificate).unwrap()];
                Received::vouched_by_channel(octets, PinnedPeer::confirm(IDP, &pinned, &certificate).unwrap())
            } else {
                Received::read(octets)
            };
            named(received.and_then(|received| harness.sp.judge(&received, &expected, now)))
        }
        other => panic!("{other}"),
    }
}

#[test]
fn every_message_that_breaks_a_rule_is_refused_for_its_reason() {
    let folder = corpus("attacks/saml11");
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for entry in manifest.as_array().unwrap() {
        let found = judge(entry, &std::fs::read(folder.join(text(entry, "file"))).unwrap());
        let fine = match &found {
            Ok(name) => text(entry, "reason") == "accept" && name.as_deref().is_none_or(|name| name == "alice@example.org"),
            Err(reason) => reason == text(entry, "reason"),
        };
        if !fine {
            wrong.push(format!("{} {}: {found:?}, expected {}", text(entry, "rule"), text(entry, "file"), text(entry, "reason")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The rules that a message can break, each broken here at least once, by something that is refused.
#[test]
fn every_rule_of_messages_is_broken_once() {
    let cases = cases();
    let broken = |rule: &str| cases.iter().any(|case| case.rule == rule && case.expect != "accept");
    let met = |rule: &str| cases.iter().any(|case| case.rule == rule);
    let artifact = [3, 4, 5, 6, 9, 10, 11, 12, 13, 14, 15, 16].map(|rule| format!("A{rule}"));
    let post = [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15].map(|rule| format!("P{rule}"));
    let assertion = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12].map(|rule| format!("S{rule}"));
    for rule in artifact.iter().chain(&post).chain(&assertion) {
        assert!(broken(rule), "{rule}");
    }
    // What these say is that something is no reason to refuse.
    assert!(["S6", "S13", "S14", "S15"].into_iter().all(met));
}

/// No change of one octet of a signed response of SAML 1.1 is accepted with another meaning, by POST or behind an artifact.
#[test]
fn one_changed_octet_changes_nothing_that_is_believed() {
    let entry = entry_of(&cases().remove(0));
    let harness = harness(&entry);
    let now: Timestamp = CLOCK.parse().unwrap();
    for (message, resolved) in [(Parts::posted().signed(), None), (Parts::resolved().enveloped(), Some("_fetch"))] {
        let expected = Expectations { idp: &harness.idp, requests: Requests::Open(&[]), resolved };
        let meaning = harness.sp.consume(message.as_bytes(), &expected, now).unwrap().assertion.into_value();
        let message = message.into_bytes();
        let mut accepted = 0;
        for at in 0..message.len() {
            for change in [1, 0x20, 0x1c] {
                let mut changed = message.clone();
                changed[at] ^= change;
                if let Ok(found) = harness.sp.consume(&changed, &expected, now) {
                    assert!(found.assertion.value() == &meaning, "octet {at}");
                    accepted += 1;
                }
            }
        }
        // Of the certificate in KeyInfo nobody reads more than whether it is one that is trusted; that much may change, and no more.
        assert!(accepted < 2 * message.len(), "{accepted}");
    }
}

/// The fuzz target, over everything hostile and recorded there is, and what one lost octet leaves of it.
#[test]
fn what_is_fuzzed_holds_for_the_corpus() {
    let mut looked_at = 0;
    for folder in ["attacks/saml11", "attacks/saml", "recorded/saml11"] {
        for file in std::fs::read_dir(corpus(folder)).unwrap() {
            let octets = std::fs::read(file.unwrap().path()).unwrap();
            fuzzed::consume(&octets);
            for at in [octets.len() / 3, octets.len() / 2] {
                fuzzed::consume(&[&octets[..at], &octets[at + 1..]].concat());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 250, "{looked_at}");
}

/// docs/schemes/saml11.md shows messages of the corpus, and has a line for each rule.
#[test]
fn the_page_shows_what_goes_over_the_wire() {
    let page = std::fs::read_to_string(corpus("../docs/schemes/saml11.md")).unwrap();
    let blocks: Vec<&str> = page.split("```").skip(1).step_by(2).collect();
    let of = |file: &str| std::fs::read_to_string(corpus("attacks/saml11").join(file)).unwrap();
    let shown = |language: &str| {
        let found = blocks.iter().filter_map(|block| block.strip_prefix(language)).map(str::trim);
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    assert!(shown("xml").iter().all(|text| of("post-good.xml").starts_with(text)) && shown("xml").len() == 1);
    assert!(shown("text").contains(&of("query-good.query")));
    let rules = page
        .lines()
        .filter(|line| line.starts_with("| "))
        .filter_map(|line| line.split(" | ").next())
        .flat_map(|cell| cell.trim_start_matches("| ").split(", "));
    let rules: Vec<&str> = rules.collect();
    for (letter, most) in [("A", 16), ("P", 15), ("S", 15)] {
        for rule in (1..=most).map(|number| format!("{letter}{number}")) {
            assert!(rules.contains(&rule.as_str()), "{rule}");
        }
    }
}
