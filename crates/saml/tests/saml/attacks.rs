//! Hostile messages, made here and kept in `corpus/attacks/saml/`, each with its settings and the reason it is refused for.
//!
//! Where an attack is about a rule above the signature, the message is signed with the trusted key all the same, so that only
//! the rule in question can refuse it. PKCS#1 v1.5 is deterministic: the test holds the files against what it makes;
//! `VESTIBULE_WRITE_CORPUS=1` writes them. Encrypted messages differ in each run; of them the kept file is judged.

use crate::common::{self, Harness, corpus, der, list, signing, text, trusted};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Value, json};
use vestibule_saml::binding::{Post, Redirect};
use vestibule_saml::idp::{Idp, RegisteredSp};
use vestibule_saml::metadata::{Metadata, Trust};
use vestibule_saml::names::{self, SAML, SAML1, SAMLP, SAMLP1};
use vestibule_saml::sp::{Expectations, Requests};
use vestibule_saml::{Incoming, Signature};
use vestibule_xmlsec::{
    AesSize, ContentKey, DecryptionKeys, Document, EncryptedForm, EncryptedKeyInfo, Encryption, IdentityProvider, Limits, Placement,
    Purpose, Recipient, ServiceProvider, SignedElement, SigningKey,
};

const IDP: &str = "https://idp.example.org/saml/metadata";
const SP: &str = "https://gw.example.com/saml/sp";
const ACS: &str = "https://gw.example.com/saml/acs";
const SSO: &str = "https://idp.example.org/saml/sso";
const SLO: &str = "https://idp.example.org/saml/slo";
const CLOCK: &str = "2026-03-01T12:01:00Z";
const REQUEST: &str = "_req-0001-5f2b";

/// What an assertion is made of. Each attack changes one part.
#[derive(Clone)]
struct Parts {
    id: String,
    issuer: String,
    name: String,
    confirmation: String,
    conditions: String,
    statements: String,
}

impl Parts {
    fn good() -> Self {
        Self {
            id: "_a".to_owned(),
            issuer: IDP.to_owned(),
            name: "alice@example.org".to_owned(),
            confirmation: bearer(&format!(r#"NotOnOrAfter="2026-03-01T12:05:00Z" Recipient="{ACS}" InResponseTo="{REQUEST}""#)),
            conditions: conditions(&audience(SP)),
            statements: format!(
                r#"{}<saml:AttributeStatement><saml:Attribute Name="mail"><saml:AttributeValue>alice@example.org</saml:AttributeValue></saml:Attribute></saml:AttributeStatement>"#,
                authn("")
            ),
        }
    }

    fn evil() -> Self {
        Self { id: "_evil".to_owned(), name: "admin@example.org".to_owned(), ..Self::good() }
    }

    fn xml(&self) -> String {
        let Self { id, issuer, name, confirmation, conditions, statements } = self;
        format!(
            r#"<saml:Assertion xmlns:saml="{SAML}" ID="{id}" Version="2.0" IssueInstant="2026-03-01T12:00:00Z"><saml:Issuer>{issuer}</saml:Issuer><saml:Subject><saml:NameID>{name}</saml:NameID>{confirmation}</saml:Subject>{conditions}{statements}</saml:Assertion>"#
        )
    }
}

fn bearer(data: &str) -> String {
    confirmation("bearer", &format!("<saml:SubjectConfirmationData {data}/>"))
}

fn confirmation(method: &str, data: &str) -> String {
    format!(r#"<saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:{method}">{data}</saml:SubjectConfirmation>"#)
}

fn conditions(inside: &str) -> String {
    format!(r#"<saml:Conditions NotBefore="2026-03-01T11:59:00Z" NotOnOrAfter="2026-03-01T12:05:00Z">{inside}</saml:Conditions>"#)
}

fn audience(of: &str) -> String {
    format!("<saml:AudienceRestriction><saml:Audience>{of}</saml:Audience></saml:AudienceRestriction>")
}

fn authn(attributes: &str) -> String {
    format!(
        r#"<saml:AuthnStatement AuthnInstant="2026-03-01T12:00:00Z" SessionIndex="_s"{attributes}><saml:AuthnContext><saml:AuthnContextClassRef>{}</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement>"#,
        names::authn_context::PASSWORD_PROTECTED_TRANSPORT
    )
}

const SUCCESS: &str = r#"<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status>"#;
const DENIED: &str = r#"<samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Requester"/></samlp:Status>"#;

fn response_with(id: &str, attributes: &str, status: &str, inside: &str) -> String {
    format!(
        r#"<samlp:Response xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="{id}" Version="2.0" IssueInstant="2026-03-01T12:00:00Z" {attributes}><saml:Issuer>{IDP}</saml:Issuer>{status}{inside}</samlp:Response>"#
    )
}

fn usual() -> String {
    format!(r#"Destination="{ACS}" InResponseTo="{REQUEST}""#)
}

fn response(inside: &str) -> String {
    response_with("_r", &usual(), SUCCESS, inside)
}

fn sign_at<P: Purpose>(xml: &str, path: &[(&str, &str)], placement: Placement<'_>, key: &SigningKey<P>) -> String {
    let document = Document::parse(xml.as_bytes(), &Limits::MESSAGE).unwrap();
    String::from_utf8(document.sign_enveloped(SignedElement::Path(path), placement, &[], key).unwrap()).unwrap()
}

fn idp_key() -> SigningKey<IdentityProvider> {
    signing("idp-rsa2048")
}

fn assertion(parts: &Parts) -> String {
    sign_at(&parts.xml(), &[(SAML, "Assertion")], Placement::After(SAML, "Issuer"), &idp_key())
}

fn whole(response: &str) -> String {
    sign_at(response, &[(SAMLP, "Response")], Placement::After(SAML, "Issuer"), &idp_key())
}

/// The first signature of a text, and the text without it.
fn cut(xml: &str) -> (String, String) {
    let (before, rest) = xml.split_once("<ds:Signature ").unwrap();
    let (signature, after) = rest.split_once("</ds:Signature>").unwrap();
    (format!("<ds:Signature {signature}</ds:Signature>"), format!("{before}{after}"))
}

fn into_signature(signature: &str, inside: &str) -> String {
    signature.replace("</ds:Signature>", &format!("{inside}</ds:Signature>"))
}

fn object(inside: &str) -> String {
    format!("<ds:Object>{inside}</ds:Object>")
}

fn extensions(inside: &str) -> String {
    format!("<samlp:Extensions>{inside}</samlp:Extensions>")
}

fn put_before_end(xml: &str, end: &str, inside: &str) -> String {
    let at = xml.rfind(end).unwrap();
    format!("{}{inside}{}", &xml[..at], &xml[at..])
}

fn behind_issuer(xml: &str, inside: &str) -> String {
    xml.replacen("</saml:Issuer>", &format!("</saml:Issuer>{inside}"), 1)
}

struct Case {
    name: String,
    attack: &'static str,
    kind: &'static str,
    settings: &'static [&'static str],
    /// The reason, or `accept` for what is harmless.
    expect: &'static str,
    more: Value,
    /// Its octets are others in each run.
    random: bool,
    octets: Vec<u8>,
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: impl Into<String>, attack: &'static str, expect: &'static str, message: impl Into<String>) -> &mut Case {
        self.0.push(Case {
            name: name.into(),
            attack,
            kind: "saml20-response",
            settings: &[],
            expect,
            more: json!({}),
            random: false,
            octets: message.into().into_bytes(),
        });
        self.0.last_mut().unwrap()
    }
}

/// 1, 9, 11, 14, 17, 33: the eight known permutations of signature wrapping, whatever is signed.
fn wrapping(cases: &mut Cases) {
    let evil = Parts::evil().xml();
    let same_id = Parts { id: "_a".to_owned(), ..Parts::evil() }.xml();
    for (mode, expected) in [
        (
            "assertion",
            [
                "signature_missing",
                "signature_missing",
                "ambiguous",
                "signature_missing",
                "ambiguous",
                "malformed",
                "duplicate_id",
                "duplicate_id",
            ],
        ),
        (
            "response",
            ["malformed", "wrapped", "ambiguous", "digest_mismatch", "ambiguous", "digest_mismatch", "duplicate_id", "digest_mismatch"],
        ),
        ("both", ["malformed", "wrapped", "ambiguous", "digest_mismatch", "ambiguous", "digest_mismatch", "duplicate_id", "duplicate_id"]),
    ] {
        let (on_assertion, on_response) = (mode != "response", mode != "assertion");
        let inner = if on_assertion { assertion(&Parts::good()) } else { Parts::good().xml() };
        let (inner_signature, bare) = if on_assertion { cut(&inner) } else { (String::new(), inner.clone()) };
        let good = if on_response { whole(&response(&inner)) } else { response(&inner) };
        let (outer_signature, outer_bare) = if on_response { cut(&good) } else { (String::new(), good.clone()) };
        let around = |inside: &str| good.replacen(&inner, inside, 1);
        let evil_response = |signature: &str, inside: &str| behind_issuer(&response_with("_evil-r", &usual(), SUCCESS, inside), signature);
        let made = [
            evil_response(&into_signature(&outer_signature, &outer_bare), &evil),
            evil_response(&format!("{outer_bare}{outer_signature}"), &evil),
            around(&format!("{evil}{inner}")),
            around(&put_before_end(&evil, "</saml:Assertion>", &inner)),
            around(&format!("{}{bare}", behind_issuer(&evil, &inner_signature))),
            around(&behind_issuer(&evil, &into_signature(&inner_signature, &bare))),
            behind_issuer(&good, &extensions(&same_id)),
            around(&behind_issuer(&same_id, &into_signature(&inner_signature, &object(&bare)))),
        ];
        for (number, (message, expect)) in made.into_iter().zip(expected).enumerate() {
            cases.add(format!("xsw{}-{mode}", number + 1), "1, 9, 11", expect, message);
        }
    }
    let signed = assertion(&Parts::good());
    let (signature, bare) = cut(&signed);
    cases.add(
        "two-signed-assertions",
        "11",
        "ambiguous",
        response(&format!("{signed}{}", assertion(&Parts { id: "_b".to_owned(), ..Parts::good() }))),
    );
    cases.add("assertion-signature-under-response", "14", "wrapped", behind_issuer(&response(&bare), &signature));
    cases.add("signed-assertion-in-extensions", "2, 9, 17", "signature_missing", behind_issuer(&response(&evil), &extensions(&signed)));
    let detail = SUCCESS.replace("</samlp:Status>", &format!("<samlp:StatusDetail>{signed}</samlp:StatusDetail></samlp:Status>"));
    cases.add("signed-assertion-in-status-detail", "2", "assertion_missing", response_with("_r", &usual(), &detail, ""));
    cases.add(
        "signed-assertion-in-advice",
        "9",
        "signature_missing",
        response(&put_before_end(&evil, "</saml:Assertion>", &format!("<saml:Advice>{signed}</saml:Advice>"))),
    );
    cases.add("signed-assertion-in-a-name", "9", "signature_missing", response(&evil.replace("admin@example.org", &signed)));
    let error = whole(&response_with("_r", &usual(), DENIED, ""));
    let (outer, _) = cut(&error);
    let decoy = into_signature(&outer, &object(&evil));
    cases.add("signed-error-with-decoy", "19", "status_not_success", error.replace(&outer, &decoy));
    cases.add("response-in-a-response", "20", "assertion_missing", response_with("_evil-r", &usual(), SUCCESS, &response(&signed)));
    cases.add("foreign-signature-namespace", "6", "signature_missing", response(&signed.replace(names::DS, "urn:ds")));
    cases.add("foreign-assertion-namespace", "6", "assertion_missing", response(&evil.replace(SAML, "urn:saml")));
    cases.add(
        "id-in-a-foreign-namespace",
        "5",
        "accept",
        response(&signed).replace("ID=\"_r\"", "ID=\"_r\" xmlns:x=\"urn:x\" x:ID=\"_a\""),
    );
    cases.add("the-same-id-twice", "33", "duplicate_id", response(&signed).replace("ID=\"_r\"", "ID=\"_a\""));
}

/// 3, 10, 12, 13, 23, 24, 30, 35, 36, 48: what is read is what was signed.
fn reading(cases: &mut Cases) {
    let good = Parts::good();
    let signed = assertion(&good);
    let (signature, bare) = cut(&signed);
    let plain = response(&signed);
    cases.add("good-assertion", "-", "accept", plain.clone());
    cases.add("good-response", "-", "accept", whole(&response(&good.xml())));
    cases.add("good-both", "-", "accept", whole(&plain));
    for (name, from, to) in [
        ("name", "<saml:NameID>alice", "<saml:NameID>admin"),
        ("attribute", "<saml:AttributeValue>alice", "<saml:AttributeValue>admin"),
        ("audience", "<saml:Audience>https", "<saml:Audience>http"),
        ("end", "NotOnOrAfter=\"2026-03-01T12:05", "NotOnOrAfter=\"2036-03-01T12:05"),
        ("recipient", "Recipient=\"https", "Recipient=\"HTTPS"),
        ("request", "InResponseTo=\"_req-0001-5f2b\"/>", "InResponseTo=\"_req-0001-5f2c\"/>"),
        ("session", "SessionIndex=\"_s\"", "SessionIndex=\"_t\""),
    ] {
        assert!(plain.contains(from), "{name}");
        cases.add(format!("changed-{name}"), "10", "digest_mismatch", plain.replace(from, to));
    }
    cases.add("changed-destination-outside", "10", "wrong_destination", plain.replacen(ACS, "https://evil.example.net/acs", 1));
    cases.add("changed-request-outside", "10, 40", "wrong_in_response_to", plain.replacen(REQUEST, "_of-somebody-else", 1));
    cases.add("changed-status-outside", "10", "status_not_success", plain.replace(SUCCESS, DENIED));
    cases.add("changed-issuer-outside", "10", "wrong_issuer", plain.replacen(IDP, "https://evil.example.net", 1));
    cases.add("two-roots", "12", "malformed", format!("{plain}{plain}"));
    cases.add("text-behind", "12", "malformed", format!("{plain}x"));

    let split = |from: &str, to: &str| response(&signed.replacen(from, to, 1));
    cases.add("comment-in-name", "13", "accept", split("alice@", "alice<!-- -->@"));
    cases.add("cdata-in-name", "13", "accept", split("alice@example.org", "<![CDATA[alice@example.org]]>"));
    cases.add("instruction-in-name", "13", "digest_mismatch", split("alice@", "alice<?x?>@"));
    for (name, parts, expect) in [
        ("name", Parts { name: "alice@example.org<!-- -->.evil.example.net".to_owned(), ..good.clone() }, "accept"),
        ("issuer", Parts { issuer: format!("{IDP}<!-- -->.evil.example.net"), ..good.clone() }, "wrong_issuer"),
        (
            "audience",
            Parts { conditions: conditions(&audience(&format!("{SP}<!-- -->.evil.example.net"))), ..good.clone() },
            "wrong_audience",
        ),
    ] {
        let case = cases.add(format!("comment-ends-the-{name}"), "13", expect, response(&assertion(&parts)));
        if name == "name" {
            case.more = json!({"read": {"name_id": "alice@example.org.evil.example.net"}});
        }
    }
    cases.add(
        "instruction-in-a-signed-name",
        "13",
        "forbidden_markup",
        response(&assertion(&Parts { name: "alice@example.org<?x?>.evil".to_owned(), ..good.clone() })),
    );
    cases.add(
        "element-in-a-name",
        "13",
        "malformed",
        response(&assertion(&Parts { name: "alice<x xmlns=\"\"/>".to_owned(), ..good.clone() })),
    );

    let other: SigningKey<IdentityProvider> = signing("other-rsa2048");
    let forged = sign_at(&Parts::evil().xml(), &[(SAML, "Assertion")], Placement::After(SAML, "Issuer"), &other);
    cases.add("key-in-key-info", "23", "unknown_key", response(&forged));
    let swapped = STANDARD.encode(der("keys/idp-rsa2048.crt"));
    cases.add(
        "another-key-under-our-certificate",
        "23",
        "signature_invalid",
        response(&forged.replace(&STANDARD.encode(der("keys/other-rsa2048.crt")), &swapped)),
    );
    let value = signature.split_once("<ds:SignatureValue>").unwrap().1.split_once('<').unwrap().0;
    cases.add("empty-signature-value", "24, 25", "malformed", response(&signed.replace(value, "")));
    cases.add(
        "empty-signature",
        "36",
        "malformed",
        response(&signed.replace(&signature, &format!(r#"<ds:Signature xmlns:ds="{}"/>"#, names::DS))),
    );
    for (name, settings) in [
        ("", &[][..]),
        ("-unsolicited", &["allow_unsolicited"][..]),
        ("-legacy", &["legacy_sha1", "legacy_rsa1024", "legacy_cbc", "legacy_3des", "legacy_rsa15"][..]),
        ("-saml11", &["saml11"][..]),
    ] {
        cases.add(format!("signature-cut{name}"), "24", "signature_missing", response(&bare)).settings = settings;
    }
    for (name, doctype) in [
        ("doctype", "<!DOCTYPE samlp:Response>"),
        ("doctype-with-id-entity", r#"<!DOCTYPE x [<!ENTITY e "_a">]>"#),
        ("doctype-with-attlist", r"<!DOCTYPE x [<!ATTLIST saml:Assertion ID ID #IMPLIED>]>"),
    ] {
        cases.add(name, "3, 30, 48", "dtd", format!("{doctype}{plain}"));
    }
    cases.add("utf-7", "30", "encoding", format!(r#"<?xml version="1.0" encoding="UTF-7"?>{plain}"#));
    let utf16 = plain.encode_utf16().flat_map(u16::to_le_bytes);
    cases.add("utf-16", "30", "encoding", "").octets = [0xff, 0xfe].into_iter().chain(utf16).collect();
    let deep = extensions(&format!("{}{}", "<a>".repeat(100), "</a>".repeat(100)));
    cases.add("deep", "35", "limits", behind_issuer(&plain, &deep));
    let wide: String = (0..100).map(|n| format!(" a{n}=''")).collect();
    cases.add("many-attributes", "35", "limits", behind_issuer(&plain, &extensions(&format!("<a{wide}/>"))));
    cases
        .add("expression-in-a-value", "52", "accept", response(&assertion(&Parts { name: "${sysprop:user.home}".to_owned(), ..good })))
        .more = json!({"read": {"name_id": "${sysprop:user.home}"}});
}

/// 15, 40 to 43, 56, 115: what a good signature is over.
fn rules(cases: &mut Cases) {
    let good = Parts::good();
    let data = |attributes: &str| bearer(attributes);
    let (end, to, answer) =
        (r#"NotOnOrAfter="2026-03-01T12:05:00Z""#, format!(r#"Recipient="{ACS}""#), format!(r#"InResponseTo="{REQUEST}""#));
    let with_confirmation = |confirmation: String| Parts { confirmation, ..Parts::good() };
    let with_conditions = |conditions: String| Parts { conditions, ..Parts::good() };
    let restricted = |times: &str| format!("<saml:Conditions {times}>{}</saml:Conditions>", audience(SP));
    for (name, attack, expect, parts) in [
        ("no-confirmation", "42", "no_credentials", with_confirmation(String::new())),
        ("no-confirmation-data", "42", "wrong_recipient", with_confirmation(confirmation("bearer", ""))),
        ("holder-of-key-only", "42", "no_credentials", with_confirmation(confirmation("holder-of-key", ""))),
        ("sender-vouches-only", "42", "no_credentials", with_confirmation(confirmation("sender-vouches", ""))),
        ("unknown-confirmation", "42", "no_credentials", with_confirmation(confirmation("telepathy", ""))),
        (
            "saml11-bearer-in-saml20",
            "42",
            "no_credentials",
            with_confirmation(data(&format!("{end} {to} {answer}")).replace("SAML:2.0:cm", "SAML:1.0:cm")),
        ),
        (
            "wrong-recipient",
            "42",
            "wrong_recipient",
            with_confirmation(data(&format!(r#"{end} Recipient="https://other.example.com/acs" {answer}"#))),
        ),
        ("no-recipient", "42", "wrong_recipient", with_confirmation(data(&format!("{end} {answer}")))),
        ("recipient-longer", "42", "wrong_recipient", with_confirmation(data(&format!(r#"{end} Recipient="{ACS}/x" {answer}"#)))),
        ("confirmation-without-end", "42", "malformed", with_confirmation(data(&format!("{to} {answer}")))),
        (
            "confirmation-expired",
            "42",
            "expired",
            with_confirmation(data(&format!(r#"NotOnOrAfter="2026-03-01T12:00:00Z" {to} {answer}"#))),
        ),
        (
            "confirmation-with-begin",
            "42",
            "malformed",
            with_confirmation(data(&format!(r#"NotBefore="2026-03-01T11:00:00Z" {end} {to} {answer}"#))),
        ),
        (
            "one-good-confirmation-of-two",
            "42",
            "accept",
            with_confirmation(format!("{}{}", data(&format!("{end} {answer}")), data(&format!("{end} {to} {answer}")))),
        ),
        (
            "two-half-good-confirmations",
            "42",
            "wrong_recipient",
            with_confirmation(format!("{}{}", data(&format!("{end} {answer}")), data(&format!("{to} {answer}")))),
        ),
        ("answer-to-somebody-else", "40", "wrong_in_response_to", with_confirmation(data(&format!(r#"{end} {to} InResponseTo="_other""#)))),
        ("answer-outside-only", "40", "unsolicited", with_confirmation(data(&format!("{end} {to}")))),
        ("no-conditions", "41", "malformed", with_conditions(String::new())),
        ("no-audience", "41", "wrong_audience", with_conditions(conditions(""))),
        ("empty-audience-restriction", "41", "wrong_audience", with_conditions(conditions("<saml:AudienceRestriction/>"))),
        ("wrong-audience", "41", "wrong_audience", with_conditions(conditions(&audience("https://other.example.com")))),
        (
            "two-audiences-of-one-restriction",
            "41",
            "accept",
            with_conditions(conditions(&audience(&format!("https://other.example.com</saml:Audience><saml:Audience>{SP}")))),
        ),
        (
            "two-restrictions",
            "41",
            "wrong_audience",
            with_conditions(conditions(&format!("{}{}", audience(SP), audience("https://other.example.com")))),
        ),
        (
            "unknown-condition",
            "41",
            "malformed",
            with_conditions(conditions(&format!(r#"{}<saml:Condition xmlns:xsi="{}" xsi:type="x"/>"#, audience(SP), names::XSI))),
        ),
        ("expired", "41", "expired", with_conditions(restricted(r#"NotOnOrAfter="2026-03-01T12:00:00Z""#))),
        (
            "not-yet-valid",
            "41",
            "not_yet_valid",
            with_conditions(restricted(r#"NotBefore="2026-03-01T12:02:01Z" NotOnOrAfter="2026-03-01T12:05:00Z""#)),
        ),
        (
            "ends-before-it-begins",
            "41",
            "malformed",
            with_conditions(restricted(r#"NotBefore="2026-03-01T12:01:30Z" NotOnOrAfter="2026-03-01T12:01:10Z""#)),
        ),
        ("time-without-zone", "41", "malformed", with_conditions(restricted(r#"NotOnOrAfter="2026-03-01T12:05:00""#))),
        ("one-time-use", "43", "accept", with_conditions(conditions(&format!("{}<saml:OneTimeUse/>", audience(SP))))),
        ("no-statement", "41", "no_credentials", Parts { statements: String::new(), ..Parts::good() }),
        ("session-over", "41", "expired", Parts { statements: authn(r#" SessionNotOnOrAfter="2026-03-01T12:00:00Z""#), ..Parts::good() }),
        (
            "signed-in-tomorrow",
            "49",
            "not_yet_valid",
            Parts { statements: authn("").replace("2026-03-01T12", "2026-03-02T12"), ..Parts::good() },
        ),
        ("another-issuer", "40", "wrong_issuer", Parts { issuer: "https://other.example.org".to_owned(), ..Parts::good() }),
        ("empty-name", "41", "malformed", Parts { name: " ".to_owned(), ..Parts::good() }),
    ] {
        cases.add(name, attack, expect, response(&assertion(&parts)));
    }
    let old = good.xml().replace("IssueInstant=\"2026-03-01T12:00", "IssueInstant=\"2026-03-01T11:50");
    let sign = |xml: &str| sign_at(xml, &[(SAML, "Assertion")], Placement::After(SAML, "Issuer"), &idp_key());
    cases.add("issued-long-ago", "41", "stale", response(&sign(&old)));
    cases.add(
        "issued-tomorrow",
        "41",
        "not_yet_valid",
        response(&sign(&good.xml().replace("IssueInstant=\"2026-03-01", "IssueInstant=\"2026-03-02"))),
    );
    cases.add("assertion-of-version-3", "41", "malformed", response(&sign(&good.xml().replace("Version=\"2.0\"", "Version=\"3.0\""))));
    cases.add(
        "issuer-of-another-format",
        "41",
        "wrong_issuer",
        response(&sign(&good.xml().replacen("<saml:Issuer>", &format!(r#"<saml:Issuer Format="{}">"#, names::name_id::EMAIL), 1))),
    );
    let two = good.xml().replace("</saml:NameID>", "</saml:NameID><saml:NameID>admin@example.org</saml:NameID>");
    cases.add("two-names", "41", "ambiguous", response(&sign(&two)));
    cases.add(
        "two-subjects",
        "41",
        "ambiguous",
        response(&sign(&good.xml().replacen(
            "<saml:Subject>",
            "<saml:Subject><saml:NameID>admin@example.org</saml:NameID></saml:Subject><saml:Subject>",
            1,
        ))),
    );
    cases.add(
        "two-conditions",
        "41",
        "ambiguous",
        response(&sign(&good.xml().replacen("<saml:Conditions", &format!("{}<saml:Conditions", conditions("")), 1))),
    );
    cases.add("signed-response-without-destination", "40", "wrong_destination", whole(&response_with("_r", &answer, SUCCESS, &good.xml())));
    let alone = with_confirmation(data(&format!("{end} {to}")));
    cases.add(
        "unsolicited",
        "56, 115",
        "unsolicited",
        response_with("_r", &format!(r#"Destination="{ACS}""#), SUCCESS, &assertion(&alone)),
    );
    cases
        .add(
            "unsolicited-where-allowed",
            "56",
            "accept",
            response_with("_r", &format!(r#"Destination="{ACS}""#), SUCCESS, &assertion(&alone)),
        )
        .settings = &["allow_unsolicited"];
    cases
        .add(
            "answer-to-nobody-where-unsolicited-is-allowed",
            "40, 56",
            "wrong_in_response_to",
            response(&assertion(&with_confirmation(data(&format!(r#"{end} {to} InResponseTo="_other""#))))),
        )
        .settings = &["allow_unsolicited"];
}

/// 45, 46: encrypted is not authenticated.
fn encrypted(cases: &mut Cases) {
    let seal = |assertion: &str| {
        let document = Document::parse(assertion.as_bytes(), &Limits::MESSAGE).unwrap();
        let recipient = Recipient::from_certificate(&der("keys/sp-rsa2048.crt")).unwrap();
        let (key, form) = (ContentKey::generate(AesSize::Aes256).unwrap(), EncryptedForm::ElementIn(SAML, "EncryptedAssertion"));
        let path = [(SAML, "Assertion")];
        let info = EncryptedKeyInfo::Recipients(std::slice::from_ref(&recipient));
        String::from_utf8(
            document.encrypt(SignedElement::Path(&path), &Encryption { part: form, key: &key, key_info: info, id: None }).unwrap(),
        )
        .unwrap()
    };
    let (good, evil) = (assertion(&Parts::good()), Parts::evil().xml());
    let cipher = |message: &str, from: &str, to: &str| {
        let changed = message.replacen(from, to, 1);
        assert_ne!(changed, message);
        changed
    };
    let sealed = response(&seal(&good));
    let inside = sealed.split_once("<xenc:CipherData>").unwrap().1.split_once("</xenc:CipherData>").unwrap().0.to_owned();
    for (name, attack, expect, message) in [
        ("encrypted-good", "-", "accept", sealed.clone()),
        ("encrypted-unsigned", "45", "signature_missing", response(&seal(&evil))),
        ("encrypted-beside-signed", "45", "ambiguous", response(&format!("{good}{}", seal(&evil)))),
        ("encrypted-before-signed", "45", "ambiguous", response(&format!("{}{good}", seal(&evil)))),
        (
            "encrypted-into-a-signed-response",
            "45",
            "ambiguous",
            put_before_end(&whole(&response(&Parts::good().xml())), "</samlp:Response>", &seal(&evil)),
        ),
        (
            "encrypted-replaces-in-a-signed-response",
            "45",
            "digest_mismatch",
            whole(&response(&Parts::good().xml())).replace(&Parts::good().xml(), &seal(&evil)),
        ),
        ("encrypted-twice", "45", "ambiguous", response(&format!("{}{}", seal(&good), seal(&good)))),
        ("encrypted-something-else", "45", "assertion_missing", response(&seal(&good)).replace("EncryptedAssertion", "EncryptedID")),
        ("cipher-reference", "31, 46", "reference_refused", cipher(&sealed, &inside, r#"<xenc:CipherReference URI="http://127.0.0.1/"/>"#)),
        (
            "another-cipher",
            "46, 47",
            "algorithm_refused",
            cipher(&sealed, "http://www.w3.org/2009/xmlenc11#aes256-gcm", "http://www.w3.org/2001/04/xmlenc#aes256-cbc"),
        ),
    ] {
        let case = cases.add(name, attack, expect, message);
        case.random = true;
        case.more = json!({"decrypt_key": "keys/sp-rsa2048.key"});
    }
}

/// SAML 1.1: the same games with its names.
fn saml11(cases: &mut Cases) {
    let said = |id: &str, name: &str, other: &str, conditions: &str, method: &str| {
        let subject = |name: &str| {
            format!(
                r#"<saml:Subject><saml:NameIdentifier>{name}</saml:NameIdentifier><saml:SubjectConfirmation><saml:ConfirmationMethod>urn:oasis:names:tc:SAML:1.0:cm:{method}</saml:ConfirmationMethod></saml:SubjectConfirmation></saml:Subject>"#
            )
        };
        format!(
            r#"<saml:Assertion xmlns:saml="{SAML1}" MajorVersion="1" MinorVersion="1" AssertionID="{id}" Issuer="{IDP}" IssueInstant="2026-03-01T12:00:00Z">{conditions}<saml:AuthenticationStatement AuthenticationMethod="urn:oasis:names:tc:SAML:1.0:am:password" AuthenticationInstant="2026-03-01T12:00:00Z">{}</saml:AuthenticationStatement><saml:AttributeStatement>{}<saml:Attribute AttributeName="mail" AttributeNamespace="urn:x"><saml:AttributeValue>alice@example.org</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion>"#,
            subject(name),
            subject(other)
        )
    };
    let restricted = conditions(&audience(SP)).replace("AudienceRestriction", "AudienceRestrictionCondition");
    let alice = "alice@example.org";
    let good = said("_a", alice, alice, &restricted, "bearer");
    let evil = said("_evil", "admin@example.org", "admin@example.org", &restricted, "bearer");
    let around = |recipient: &str, status: &str, inside: &str| {
        format!(
            r#"<samlp:Response xmlns:samlp="{SAMLP1}" MajorVersion="1" MinorVersion="1" ResponseID="_r" IssueInstant="2026-03-01T12:00:00Z"{recipient}><samlp:Status><samlp:StatusCode Value="{status}"/></samlp:Status>{inside}</samlp:Response>"#
        )
    };
    let here = format!(r#" Recipient="{ACS}""#);
    let sign = |message: &str| sign_at(message, &[(SAMLP1, "Response")], Placement::First, &idp_key());
    let usual = |inside: &str| sign(&around(&here, "samlp:Success", inside));
    let (outer, _) = cut(&usual(&good));
    for (name, attack, expect, message) in [
        ("saml11-good", "-", "accept", usual(&good)),
        ("saml11-odd-prefix", "-", "accept", sign(&around(&here, "x:Success", &good))),
        ("saml11-status", "19", "status_not_success", sign(&around(&here, "samlp:Requester", &good))),
        (
            "saml11-unsigned-response",
            "24",
            "signature_missing",
            around(
                &here,
                "samlp:Success",
                &sign_at(&good, &[(SAML1, "Assertion")], Placement::After(SAML1, "AttributeStatement"), &idp_key()),
            ),
        ),
        ("saml11-no-recipient", "42", "wrong_recipient", sign(&around("", "samlp:Success", &good))),
        (
            "saml11-wrong-recipient",
            "42",
            "wrong_recipient",
            sign(&around(r#" Recipient="https://other.example.com/acs""#, "samlp:Success", &good)),
        ),
        ("saml11-artifact-confirmation-by-post", "42", "no_credentials", usual(&said("_a", alice, alice, &restricted, "artifact"))),
        ("saml11-two-subjects", "11", "malformed", usual(&said("_a", "admin@example.org", alice, &restricted, "bearer"))),
        (
            "saml11-without-times",
            "41",
            "malformed",
            usual(&said(
                "_a",
                alice,
                alice,
                &restricted.replace(r#" NotBefore="2026-03-01T11:59:00Z" NotOnOrAfter="2026-03-01T12:05:00Z""#, ""),
                "bearer",
            )),
        ),
        ("saml11-without-audience", "41", "wrong_audience", usual(&said("_a", alice, alice, &conditions(""), "bearer"))),
        ("saml11-expired", "41", "expired", usual(&said("_a", alice, alice, &restricted.replace("12:05", "12:00"), "bearer"))),
        (
            "saml11-xsw-before",
            "1, 11",
            "ambiguous",
            around(&here, "samlp:Success", &format!("{evil}{good}")).replacen('>', &format!(">{outer}"), 1),
        ),
        (
            "saml11-xsw-object",
            "1",
            "malformed",
            around(&here, "samlp:Success", &evil).replacen('>', &format!(">{}", into_signature(&outer, &object(&good))), 1),
        ),
        ("saml11-same-id", "33", "duplicate_id", usual(&good).replace("ResponseID=\"_r\"", "ResponseID=\"_a\"").replace("#_r", "#_a")),
        ("saml11-in-the-namespace-1.1", "6", "malformed", usual(&good).replace("SAML:1.0:protocol", "SAML:1.1:protocol")),
    ] {
        let case = cases.add(name, attack, expect, message);
        (case.kind, case.settings) = ("saml11-response", &["saml11"]);
    }
    let off = cases.add("saml11-not-enabled", "-", "not_enabled", usual(&good));
    off.kind = "saml11-response";
}

/// 20, 34, 38, 39, 51, 55, 120: other messages and other ways.
fn other_doors(cases: &mut Cases) {
    let sp_key: SigningKey<ServiceProvider> = signing("sp-rsa2048");
    let message = |name: &str, id: &str, to: &str, attributes: &str, inside: &str| {
        format!(
            r#"<samlp:{name} xmlns:samlp="{SAMLP}" xmlns:saml="{SAML}" ID="{id}" Version="2.0" IssueInstant="2026-03-01T12:00:00Z" Destination="{to}"{attributes}><saml:Issuer>{SP}</saml:Issuer>{inside}</samlp:{name}>"#
        )
    };
    let sign = |name: &str, message: &str| sign_at(message, &[(SAMLP, name)], Placement::After(SAML, "Issuer"), &sp_key);

    let logout = |id: &str, user: &str| message("LogoutRequest", id, SLO, "", &format!("<saml:NameID>{user}</saml:NameID>"));
    let signed = sign("LogoutRequest", &logout("_l", "alice"));
    let (signature, bare) = cut(&signed);
    let evil = logout("_evil", "admin");
    let expired = message("LogoutRequest", "_l", SLO, r#" NotOnOrAfter="2026-03-01T12:00:00Z""#, "<saml:NameID>alice</saml:NameID>");
    for (name, attack, expect, octets) in [
        ("logout-good", "-", "accept", signed.clone()),
        ("logout-unsigned", "120", "signature_missing", bare.clone()),
        ("logout-changed", "10", "digest_mismatch", signed.replace(">alice<", ">admin<")),
        ("logout-wrapped", "20", "wrapped", behind_issuer(&evil, &format!("{}{signature}", extensions(&bare)))),
        ("logout-in-its-signature", "20", "malformed", behind_issuer(&evil, &into_signature(&signature, &object(&bare)))),
        (
            "logout-around-a-signed-assertion",
            "20",
            "wrapped",
            behind_issuer(
                &evil,
                &format!(
                    "{}{}",
                    extensions(&cut(&assertion(&Parts::good())).1),
                    cut(&sign_at(&Parts::good().xml(), &[(SAML, "Assertion")], Placement::After(SAML, "Issuer"), &sp_key)).0
                ),
            ),
        ),
        ("logout-comment-in-name", "13", "accept", signed.replace(">alice<", ">ali<!-- -->ce<")),
        ("logout-expired", "120", "expired", sign("LogoutRequest", &expired)),
        (
            "logout-elsewhere",
            "120",
            "wrong_destination",
            sign("LogoutRequest", &message("LogoutRequest", "_l", "https://other.example.org/slo", "", "<saml:NameID>alice</saml:NameID>")),
        ),
        (
            "logout-of-somebody-else",
            "120",
            "wrong_issuer",
            sign("LogoutRequest", &logout("_l", "alice").replacen(SP, "https://other.example.com", 1)),
        ),
    ] {
        cases.add(name, attack, expect, octets).kind = "saml20-logout-request";
    }

    let request = |acs: &str| message("AuthnRequest", "_q", SSO, acs, "");
    let signed = sign("AuthnRequest", &request(""));
    let (signature, bare) = cut(&signed);
    let wrapped = behind_issuer(
        &request(r#" AssertionConsumerServiceIndex="1""#).replace("\"_q\"", "\"_evil\""),
        &format!("{signature}{}", extensions(&bare)),
    );
    for (name, attack, expect, octets) in [
        ("request-good", "-", "accept", signed.clone()),
        ("request-unsigned", "24", "signature_missing", bare.clone()),
        ("request-wrapped", "20", "wrapped", wrapped),
        (
            "request-foreign-acs",
            "51",
            "unknown_endpoint",
            sign("AuthnRequest", &request(r#" AssertionConsumerServiceURL="https://evil.example.net/acs""#)),
        ),
        (
            "request-longer-acs",
            "51",
            "unknown_endpoint",
            sign("AuthnRequest", &request(&format!(r#" AssertionConsumerServiceURL="{ACS}.evil.example.net""#))),
        ),
        (
            "request-script-acs",
            "51",
            "unknown_endpoint",
            sign("AuthnRequest", &request(r#" AssertionConsumerServiceURL="javascript:alert(1)""#)),
        ),
        (
            "request-url-and-index",
            "51",
            "malformed",
            sign("AuthnRequest", &request(&format!(r#" AssertionConsumerServiceURL="{ACS}" AssertionConsumerServiceIndex="0""#))),
        ),
        (
            "request-by-paos",
            "52, 53",
            "unsupported",
            sign("AuthnRequest", &request(r#" ProtocolBinding="urn:oasis:names:tc:SAML:2.0:bindings:PAOS""#)),
        ),
    ] {
        cases.add(name, attack, expect, octets).kind = "saml20-request";
    }

    let encoded = |octets: &[u8]| {
        let text = STANDARD.encode(miniz_oxide::deflate::compress_to_vec(octets, 9));
        text.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")
    };
    let bare = logout("_l", "alice");
    let algorithm = "SigAlg=http%3A%2F%2Fwww.w3.org%2F2001%2F04%2Fxmldsig-more%23rsa-sha256";
    let query = |relay: &str| {
        let octets = format!("SAMLRequest={}{relay}&{algorithm}", encoded(bare.as_bytes()));
        let value = STANDARD.encode(sp_key.sign_detached(octets.as_bytes()).unwrap());
        format!("{octets}&Signature={}", value.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D"))
    };
    let good = query("&RelayState=a");
    let evil = encoded(logout("_l", "admin").as_bytes());
    for (name, attack, expect, url) in [
        ("query-good", "-", "accept", good.clone()),
        ("query-request-twice", "38", "ambiguous", format!("SAMLRequest={evil}&{good}")),
        ("query-request-twice-behind", "38", "ambiguous", format!("{good}&SAMLRequest={evil}")),
        ("query-request-in-another-spelling", "38", "ambiguous", format!("SAML%52equest={evil}&{good}")),
        ("query-request-and-response", "38", "ambiguous", format!("{good}&SAMLResponse={evil}")),
        ("query-other-relay-state", "38", "signature_invalid", good.replace("RelayState=a", "RelayState=b")),
        ("query-relay-state-dropped", "38", "signature_invalid", good.replace("&RelayState=a", "")),
        ("query-relay-state-spelled-otherwise", "38", "signature_invalid", good.replace("RelayState=a", "RelayState=%61")),
        ("query-other-order", "38", "accept", good.replace("&RelayState=a", "") + "&RelayState=a"),
        ("query-signature-cut", "24", "signature_missing", good.split("&SigAlg").next().unwrap().to_owned()),
        ("query-algorithm-cut", "24", "algorithm_refused", good.replace(&format!("&{algorithm}"), "")),
        ("query-sha1", "27", "algorithm_refused", good.replace("2001%2F04%2Fxmldsig-more%23rsa-sha256", "2000%2F09%2Fxmldsig%23rsa-sha1")),
        ("query-hmac", "21", "algorithm_refused", good.replace("rsa-sha256", "hmac-sha256")),
        (
            "query-not-deflated",
            "38",
            "malformed",
            format!("SAMLRequest={}", STANDARD.encode(bare.as_bytes()).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D")),
        ),
        ("query-bomb", "34", "limits", format!("SAMLRequest={}", encoded(&vec![b' '; 4 << 20]))),
    ] {
        let case = cases.add(name, attack, expect, url);
        case.kind = "saml20-logout-request";
        case.more = json!({"binding": "redirect"});
    }

    let signed = STANDARD.encode(response(&assertion(&Parts::good()))).replace('+', "%2B");
    for (name, attack, expect, body) in [
        ("form-good", "-", "accept", format!("SAMLResponse={signed}&RelayState=a")),
        ("form-response-twice", "38", "ambiguous", format!("SAMLResponse={signed}&SAMLResponse={signed}")),
        ("form-request-and-response", "38", "ambiguous", format!("SAMLResponse={signed}&SAMLRequest={signed}")),
        ("form-relay-state-twice", "38", "ambiguous", format!("SAMLResponse={signed}&RelayState=a&Relay%53tate=b")),
        ("form-relay-state-long", "55", "malformed", format!("SAMLResponse={signed}&RelayState={}", "a".repeat(10_000))),
        ("form-relay-state-header", "55", "malformed", format!("SAMLResponse={signed}&RelayState=a%0d%0aSet-Cookie:b")),
        ("form-not-base64", "38", "malformed", "SAMLResponse=%3Csamlp:Response%3E".to_owned()),
    ] {
        cases.add(name, attack, expect, body).kind = "form";
    }

    let resolved = |issuer: &str, answer: &str, inside: &str| {
        let head = message("ArtifactResponse", "_ar", ACS, &format!(r#" InResponseTo="{answer}""#), &format!("{SUCCESS}{inside}"));
        let head = head.replacen(SP, issuer, 1);
        let head = sign_at(&head, &[(SAMLP, "ArtifactResponse")], Placement::After(SAML, "Issuer"), &idp_key());
        format!(r#"<S:Envelope xmlns:S="{}"><S:Body>{head}</S:Body></S:Envelope>"#, names::SOAP11)
    };
    let other = "https://other.example.org";
    let inside = response(&assertion(&Parts::good()));
    let foreign = response(&assertion(&Parts { issuer: other.to_owned(), ..Parts::good() })).replacen(IDP, other, 1);
    let good = resolved(IDP, "_resolve", &inside);
    for (name, attack, expect, envelope) in [
        ("artifact-good", "-", "accept", good.clone()),
        ("artifact-of-another-resolution", "39", "wrong_in_response_to", resolved(IDP, "_other", &inside)),
        ("artifact-with-a-foreign-response", "39", "wrong_issuer", resolved(IDP, "_resolve", &foreign)),
        ("artifact-by-a-foreign-responder", "39", "wrong_issuer", resolved(other, "_resolve", &inside)),
        ("artifact-two-bodies", "68", "ambiguous", good.replace("<S:Body>", &format!("<S:Body>{inside}"))),
        ("artifact-response-replaced", "39", "digest_mismatch", good.replace(">alice@", ">admin@")),
        ("artifact-nothing", "39", "malformed", resolved(IDP, "_resolve", "")),
    ] {
        let case = cases.add(name, attack, expect, envelope);
        case.kind = "saml20-artifact";
        case.more = json!({"resolved": "_resolve"});
    }

    let plain = String::from_utf8(common::octets("metadata/sp.xml")).unwrap();
    for (name, attack, expect, octets) in [
        (
            "metadata-script-endpoint",
            "51",
            "malformed",
            plain.replacen(&format!("Location=\"{ACS}\""), "Location=\"javascript:alert(1)\"", 1),
        ),
        ("metadata-doctype", "30", "dtd", format!("<!DOCTYPE x>{plain}")),
        ("metadata-expired", "41", "expired", plain.replacen("entityID=", "validUntil=\"2026-03-01T12:01:00Z\" entityID=", 1)),
        ("metadata-without-entity-id", "36", "malformed", plain.replacen("entityID=", "entity=", 1)),
    ] {
        assert_ne!(octets, plain, "{name}");
        cases.add(name, attack, expect, octets).kind = "metadata";
    }
}

fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    wrapping(&mut cases);
    reading(&mut cases);
    rules(&mut cases);
    encrypted(&mut cases);
    saml11(&mut cases);
    other_doors(&mut cases);
    cases.0
}

fn file_of(case: &Case) -> String {
    let extension = match (case.kind, case.more["binding"].as_str()) {
        ("form", _) => "form",
        (_, Some("redirect")) => "query",
        _ => "xml",
    };
    format!("{}.{extension}", case.name)
}

fn entry_of(case: &Case) -> Value {
    let trusted =
        if matches!(case.kind, "saml20-request" | "saml20-logout-request") { "keys/sp-rsa2048.crt" } else { "keys/idp-rsa2048.crt" };
    let mut entry = json!({
        "file": file_of(case), "attack": case.attack, "kind": case.kind, "settings": case.settings, "reason": case.expect, "clock": CLOCK,
        "trust_cert": trusted, "idp_entity_id": IDP, "sp_entity_id": SP, "acs_url": ACS, "in_response_to": REQUEST,
    });
    for (name, value) in case.more.as_object().unwrap() {
        entry[name] = value.clone();
    }
    entry
}

#[test]
fn the_corpus_is_what_is_made_here() {
    let cases = cases();
    let folder = corpus("attacks/saml");
    let manifest: Vec<Value> = cases.iter().map(entry_of).collect();
    if std::env::var_os("VESTIBULE_WRITE_CORPUS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        for case in &cases {
            let path = folder.join(file_of(case));
            if !case.random || !path.exists() {
                std::fs::write(path, &case.octets).unwrap();
            }
        }
        let lines: Vec<String> = manifest.iter().map(|entry| format!("  {entry}")).collect();
        std::fs::write(folder.join("manifest.json"), format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
    for case in &cases {
        let kept = std::fs::read(folder.join(file_of(case))).unwrap();
        assert!(case.random || kept == case.octets, "{} differs", case.name);
    }
    let kept: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(kept, Value::Array(manifest));
    // A file that no line names is judged by nobody.
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), cases.len() + 1);
}

/// The name that was believed, or the reason of the refusal.
fn judge(entry: &Value, octets: &[u8]) -> Result<Option<String>, String> {
    let word = |reason: vestibule_saml::Reason| reason.word().to_owned();
    let harness = Harness::of(entry, &list(&entry["settings"]));
    let now: Timestamp = CLOCK.parse().unwrap();
    let expected = Expectations { idp: &harness.idp, requests: Requests::Open(&[REQUEST]), resolved: entry["resolved"].as_str() };
    let consume = |octets: &[u8]| {
        let accepted = harness.sp.consume(octets, &expected, now).map_err(|rejection| word(rejection.reason))?;
        Ok(accepted.assertion.value().name_id().map(|name| name.value.clone()))
    };
    match text(entry, "kind") {
        "saml20-response" | "saml11-response" | "saml20-artifact" => consume(octets),
        "form" => {
            let post = Post::read(std::str::from_utf8(octets).unwrap()).map_err(|error| word(error.reason()))?;
            consume(&post.message)
        }
        "metadata" => Metadata::read(octets, Trust::Named, now).map(|_| None).map_err(|error| word(error.reason())),
        kind => {
            let metadata = Metadata::read(&common::octets("metadata/sp.xml"), Trust::Named, now).unwrap();
            let sp = RegisteredSp { requests: Signature::Required, ..RegisteredSp::from_metadata(metadata.entity(SP).unwrap()).unwrap() };
            let query = match entry["binding"].as_str() {
                Some(_) => Some(Redirect::read(std::str::from_utf8(octets).unwrap()).map_err(|error| word(error.reason()))?),
                None => None,
            };
            let incoming = query.as_ref().map_or(Incoming::Document(octets), Incoming::Redirect);
            if kind == "saml20-request" {
                let idp = Idp { entity_id: IDP.to_owned(), sso_urls: vec![SSO.to_owned()], key: idp_key() };
                return idp.validate(incoming, &sp, now).map(|_| None).map_err(|rejection| word(rejection.reason));
            }
            assert_eq!(kind, "saml20-logout-request");
            let admitted = sp.partner().logout_request(incoming, &[SLO], &DecryptionKeys::new(), now);
            admitted.map(|admitted| Some(admitted.message.name_id.value)).map_err(|rejection| word(rejection.reason))
        }
    }
}

#[test]
fn every_attack_is_refused_for_its_reason() {
    let folder = corpus("attacks/saml");
    let manifest: Value = serde_json::from_slice(&std::fs::read(folder.join("manifest.json")).unwrap()).unwrap();
    let entries = manifest.as_array().unwrap();
    let mut wrong = Vec::new();
    for entry in entries {
        let octets = std::fs::read(folder.join(text(entry, "file"))).unwrap();
        let found = judge(entry, &octets);
        let fine = match &found {
            Ok(name) => {
                let usual = if text(entry, "kind") == "saml20-logout-request" { "alice" } else { "alice@example.org" };
                let expected = entry["read"]["name_id"].as_str().unwrap_or(usual);
                text(entry, "reason") == "accept" && name.as_deref().is_none_or(|name| name == expected)
            }
            Err(reason) => reason == text(entry, "reason"),
        };
        if !fine {
            wrong.push(format!("{}: {found:?}, expected {}", text(entry, "file"), text(entry, "reason")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(entries.len() >= 150, "{}", entries.len());
}

#[test]
fn two_identity_providers_of_one_tenant_cannot_assert_each_others_users() {
    let entry = json!({"idp_entity_id": "https://other.example.org", "trust_cert": "keys/other-rsa2048.crt", "sp_entity_id": SP, "acs_url": ACS, "in_response_to": REQUEST});
    let harness = Harness::of(&entry, &[]);
    let now: Timestamp = CLOCK.parse().unwrap();
    let ours = response(&assertion(&Parts::good()));
    assert!(harness.consume(ours.as_bytes(), now).is_err());
    // Signed by the other one in the first one's name, judged as either.
    let other: SigningKey<IdentityProvider> = signing("other-rsa2048");
    let forged = response(&sign_at(&Parts::evil().xml(), &[(SAML, "Assertion")], Placement::After(SAML, "Issuer"), &other));
    assert_eq!(harness.consume(forged.as_bytes(), now).unwrap_err().reason, vestibule_saml::Reason::WrongIssuer);
    let first = Harness::of(&json!({"idp_entity_id": IDP, "trust_cert": "keys/idp-rsa2048.crt", "sp_entity_id": SP, "acs_url": ACS}), &[]);
    assert!(first.consume(forged.as_bytes(), now).is_err());
    assert_eq!(trusted(&["idp-rsa2048"]).ids().len(), 1);
}
