//! Hostile messages, made here and kept in `corpus/attacks/wss/`, each with the settings that hold it and its reason.
//!
//! `VESTIBULE_WRITE_CORPUS=1` writes them in a first run. What is encrypted is random: it is kept as it was written then.

use serde_json::{Value, json};
use vestibule_saml::{ConfirmationMethod, Version};
use vestibule_soap::{Target, Version as Soap};
use vestibule_wss::{
    AssertionReference, Concession, EncryptFor, EncryptedPart, Header, KeyReference, Lifetime, Part, Password, Token, TokenKind,
};
use vestibule_xmlsec::{AesSize, Fragment, OaepHash};

use crate::common::{World, corpus, der};
use crate::roundtrip::{Signer, assertion, envelope, issuer, plain, token, write};

const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
const X509_V3: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3";
const DRAFT: &str = "http://schemas.xmlsoap.org/ws/2003/06/secext";

struct Case {
    name: String,
    /// The line of the list of attacks, or of §10 of the reference.
    attack: &'static str,
    tokens: &'static [TokenKind],
    parts: Vec<Part>,
    concessions: &'static [Concession],
    protected: bool,
    decrypting: bool,
    reason: &'static str,
    message: String,
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, name: &str, attack: &'static str, tokens: &'static [TokenKind], reason: &'static str, message: String) -> &mut Case {
        self.0.push(Case {
            name: name.to_owned(),
            attack,
            tokens,
            parts: Vec::new(),
            concessions: &[],
            protected: true,
            decrypting: false,
            reason,
            message,
        });
        self.0.last_mut().unwrap()
    }
}

const NAME: &[TokenKind] = &[TokenKind::Username];
const X509: &[TokenKind] = &[TokenKind::X509];
const SAML: &[TokenKind] = &[TokenKind::Saml];

/// The element that begins with `begin`, up to its end tag.
fn element<'t>(text: &'t str, begin: &str, end: &str) -> &'t str {
    let at = text.find(begin).unwrap_or_else(|| panic!("no {begin}"));
    &text[at..at + text[at..].find(end).unwrap() + end.len()]
}

/// One replacement, which has to change something.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "no {from}");
    text.replacen(from, to, 1)
}

/// Something put at the beginning of the SOAP header.
fn in_header(text: &str, what: &str) -> String {
    changed(text, "<wsse:Security ", &format!("{what}<wsse:Security "))
}

/// Something put at the end of our security header.
fn in_security(text: &str, what: &str) -> String {
    changed(text, "</wsse:Security>", &format!("{what}</wsse:Security>"))
}

fn signed(parts: &[Part]) -> String {
    let signer = Signer::of("client-rsa2048");
    write(&Header { sign: signer.with(parts, KeyReference::Direct), ..plain() }, &envelope(Soap::Soap11, "")).unwrap()
}

fn named(password: Password<'_>) -> String {
    let token = Token::Username { name: "alice", password };
    write(&Header { token, lifetime: Lifetime::Unsaid, ..plain() }, &envelope(Soap::Soap11, "")).unwrap()
}

fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    wrapped_bodies(&mut cases);
    wrapped_headers(&mut cases);
    keys(&mut cases);
    user_names(&mut cases);
    headers(&mut cases);
    assertions(&mut cases);
    ciphertexts(&mut cases);
    cases.0
}

fn wrapped_bodies(cases: &mut Cases) {
    let good = signed(&[Part::Body, Part::Timestamp]);
    cases.add("good-signed", "-", X509, "accept", good.clone());
    let body = element(&good, "<s:Body", "</s:Body>").to_owned();
    let evil = "<s:Body><o:GetOrder><o:id>666</o:id></o:GetOrder></s:Body>";
    let replaced = changed(&good, &body, evil);
    let around = |begin: &str, end: &str| format!("{begin}{body}{end}");
    let wrapper = around("<x:W xmlns:x=\"urn:x\">", "</x:W>");
    cases.add("body-in-a-header-block", "57", X509, "wrapped", in_header(&replaced, &wrapper));
    cases.add("body-as-a-header-block", "57", X509, "wrapped", in_header(&replaced, &body));
    cases.add("body-in-the-security-header", "57", X509, "wrapped", in_security(&replaced, &wrapper));
    cases.add("body-directly-in-the-security-header", "57", X509, "wrapped", in_security(&replaced, &body));
    let nested = around("<s:Envelope><s:Header/>", "</s:Envelope>");
    cases.add(
        "body-in-an-envelope-in-the-header",
        "57",
        X509,
        "wrapped",
        in_header(&replaced, &format!("<x:W xmlns:x=\"urn:x\">{nested}</x:W>")),
    );
    cases.add("body-in-the-body", "57", X509, "wrapped", changed(&good, &body, &changed(evil, "</s:Body>", &format!("{body}</s:Body>"))));
    let object = around("<ds:Object>", "</ds:Object>");
    cases.add("body-in-an-object", "57", X509, "malformed", changed(&replaced, "</ds:Signature>", &format!("{object}</ds:Signature>")));
    let in_token = changed(&replaced, "</wsse:BinarySecurityToken>", &format!("{body}</wsse:BinarySecurityToken>"));
    cases.add("body-in-a-token", "57", X509, "malformed", in_token);
    let twin = changed(&body, "<o:id>7", "<o:id>666");
    cases.add("two-bodies-of-one-id", "57", X509, "duplicate_id", in_header(&changed(&good, &body, &twin), &wrapper));
    let renamed = changed(&twin, "-body\"", "-other\"");
    cases.add("body-of-another-id", "57", X509, "wrapped", in_header(&changed(&good, &body, &renamed), &wrapper));
    cases.add("body-behind-the-body", "57", X509, "malformed", changed(&good, &body, &format!("{evil}{body}")));
    cases.add("body-before-the-body", "57", X509, "malformed", changed(&good, &body, &format!("{body}{evil}")));
    let plain_twin = changed(&evil.replace("<s:Body>", &format!("<s:Body Id=\"{}\">", id_of(&body))), "666", "667");
    cases.add("body-of-a-plain-id", "57", X509, "duplicate_id", in_header(&changed(&good, &body, &plain_twin), &wrapper)).concessions =
        &[Concession::PlainId];
    cases.add("body-changed", "57", X509, "digest_mismatch", changed(&good, "<o:id>7", "<o:id>8"));
    let renamed = wrapper.replace("s:Body", "x:B");
    cases.add("body-emptied", "58", X509, "digest_mismatch", in_header(&changed(&good, &body, "<s:Body/>"), &renamed));

    for (name, parts, required) in [
        ("only-the-timestamp", vec![Part::Timestamp], Vec::new()),
        ("only-the-body", vec![Part::Body], Vec::new()),
        ("not-the-token", vec![Part::Body, Part::Timestamp], vec![Part::Token]),
        ("no-such-header", vec![Part::Body, Part::Timestamp], vec![Part::Header("urn:x".to_owned(), "B".to_owned())]),
    ] {
        cases.add(name, "58", X509, "part_not_signed", signed(&parts)).parts = required;
    }
    cases.add("no-signature-beside-a-name", "58", NAME, "signature_missing", named(Password::Digest("wonderland"))).parts =
        vec![Part::Body];
    let unsigned = element(&good, "<ds:Signature", "</ds:Signature>").to_owned();
    cases.add("signature-cut-out", "58", X509, "signature_missing", changed(&good, &unsigned, ""));
    let token = element(&good, "<wsse:BinarySecurityToken", "</wsse:BinarySecurityToken>").to_owned();
    cases.add("everything-cut-out", "58", X509, "no_credentials", changed(&changed(&good, &unsigned, ""), &token, ""));
    cases.add("three-signatures", "§10.9", X509, "limits", changed(&good, &unsigned, &unsigned.repeat(3)));
    cases.add("second-signature-is-wrong", "58", X509, "malformed", {
        let foreign = element(&signed(&[Part::Body]), "<ds:Signature", "</ds:Signature>").replace("<ds:DigestValue>", "<ds:DigestValue>AA");
        changed(&good, &unsigned, &format!("{unsigned}{foreign}"))
    });
}

fn id_of(element: &str) -> &str {
    let at = element.find("wsu:Id=\"").unwrap() + "wsu:Id=\"".len();
    &element[at..at + element[at..].find('"').unwrap()]
}

fn wrapped_headers(cases: &mut Cases) {
    let good = signed(&[Part::Body, Part::Timestamp]);
    let stamp = element(&good, "<wsu:Timestamp", "</wsu:Timestamp>").to_owned();
    let fresh = changed(&stamp, &format!(" wsu:Id=\"{}\"", id_of(&stamp)), "").replace("12:06", "12:05");
    let foreign = |inside: &str| format!("<wsse:Security xmlns:wsse=\"{WSSE}\" s:actor=\"urn:other\">{inside}</wsse:Security>");
    let wrapper = format!("<x:W xmlns:x=\"urn:x\">{stamp}</x:W>");
    cases.add("timestamp-in-a-wrapper", "57", X509, "wrapped", in_security(&changed(&good, &stamp, &fresh), &wrapper));
    cases.add("timestamp-in-another-header", "57", X509, "part_not_signed", behind_security(&changed(&good, &stamp, ""), &foreign(&stamp)));
    cases.add(
        "timestamp-in-another-header-and-ours",
        "57",
        X509,
        "wrapped",
        behind_security(&changed(&good, &stamp, &fresh), &foreign(&stamp)),
    );
    cases.add("timestamp-cut-out", "57, 58", X509, "reference_refused", changed(&good, &stamp, ""));
    cases.add("two-timestamps", "57", X509, "ambiguous", changed(&good, &stamp, &format!("{fresh}{stamp}")));
    cases.add("timestamp-of-another-instant", "57", X509, "digest_mismatch", changed(&good, "12:06:00.000Z", "12:16:00.000Z"));

    let signer = Signer::of("client-rsa2048");
    let to = |to: &str| format!("<a:To xmlns:a=\"http://www.w3.org/2005/08/addressing\">{to}</a:To>");
    let parts = [Part::Body, Part::Timestamp, Part::Addressing];
    let header = Header { sign: signer.with(&parts, KeyReference::Direct), ..plain() };
    let addressed = write(&header, &envelope(Soap::Soap11, &to("urn:here"))).unwrap();
    let own = element(&addressed, "<a:To", "</a:To>").to_owned();
    let wrapper = format!("<x:W xmlns:x=\"urn:x\">{own}</x:W>");
    for (name, reason, message) in [
        ("good-addressed", "accept", addressed.clone()),
        ("address-in-a-wrapper", "wrapped", changed(&addressed, &own, &format!("{}{wrapper}", to("urn:there")))),
        ("two-addresses", "ambiguous", changed(&addressed, &own, &format!("{own}{}", to("urn:there")))),
        ("address-added-unsigned", "part_not_signed", in_header(&good, &to("urn:there"))),
        ("address-cut-out", "reference_refused", changed(&addressed, &own, "")),
    ] {
        cases.add(name, "57", X509, reason, message).parts = vec![Part::Addressing];
    }
}

fn behind_security(text: &str, what: &str) -> String {
    changed(text, "</wsse:Security>", &format!("</wsse:Security>{what}"))
}

fn keys(cases: &mut Cases) {
    let good = signed(&[Part::Body, Part::Timestamp]);
    let info = element(&good, "<ds:KeyInfo>", "</ds:KeyInfo>").to_owned();
    let with = |inside: &str| changed(&good, &info, &format!("<ds:KeyInfo>{inside}</ds:KeyInfo>"));
    let reference = |inside: &str| format!("<wsse:SecurityTokenReference xmlns:wsse=\"{WSSE}\">{inside}</wsse:SecurityTokenReference>");
    let token = element(&good, "<wsse:BinarySecurityToken", "</wsse:BinarySecurityToken>").to_owned();
    let id = id_of(&token);
    let own = format!("<wsse:Reference URI=\"#{id}\"/>");
    let certificate = base64(&der("client-rsa2048.crt"));
    let other = base64(&der("other-rsa2048.crt"));
    let data = |der: &str| format!("<ds:X509Data><ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data>");

    let foreign = Signer::of("other-rsa2048");
    let header = Header { sign: foreign.with(&[Part::Body, Part::Timestamp], KeyReference::Direct), ..plain() };
    let theirs = write(&header, &envelope(Soap::Soap11, "")).unwrap();
    cases.add("certificate-of-his-own", "§10.14", X509, "unknown_key", theirs.clone());
    cases.add("our-certificate-beside-his-signature", "§10.15", X509, "signature_invalid", changed(&theirs, &other, &certificate));
    cases.add("his-certificate-beside-our-signature", "§10.15", X509, "unknown_key", changed(&good, &certificate, &other));
    cases.add("certificate-by-its-name-his-signature", "§10.15", X509, "signature_invalid", {
        let serial = Signer::of("client-rsa2048");
        let named = Header { sign: serial.with(&[Part::Body, Part::Timestamp], KeyReference::IssuerSerial), ..plain() };
        let named = write(&named, &envelope(Soap::Soap11, "")).unwrap();
        let info = element(&named, "<ds:KeyInfo>", "</ds:KeyInfo>");
        let theirs_info = element(&theirs, "<ds:KeyInfo>", "</ds:KeyInfo>").to_owned();
        changed(&theirs, &theirs_info, info)
    });
    for (name, reason, inside) in [
        ("key-value", "reference_refused", "<ds:KeyValue/>".to_owned()),
        ("key-name", "reference_refused", "<ds:KeyName>client</ds:KeyName>".to_owned()),
        ("retrieval-method", "reference_refused", format!("<ds:RetrievalMethod URI=\"#{id}\"/>")),
        ("bare-certificate", "not_enabled", data(&certificate)),
        ("key-value-in-a-reference", "reference_refused", reference("<ds:KeyValue/>")),
        ("two-references", "reference_refused", reference(&own.repeat(2))),
        ("two-token-references", "reference_refused", reference(&own).repeat(2)),
        ("no-reference", "reference_refused", reference("")),
        ("empty-key-info", "reference_refused", String::new()),
        ("reference-without-uri", "reference_refused", reference("<wsse:Reference/>")),
        ("reference-by-http", "reference_refused", reference("<wsse:Reference URI=\"http://169.254.169.254/key\"/>")),
        ("reference-by-file", "reference_refused", reference("<wsse:Reference URI=\"file:///etc/hostname\"/>")),
        ("reference-to-a-part", "reference_refused", reference("<wsse:Reference URI=\"cid:key\"/>")),
        ("reference-to-the-body", "reference_refused", reference(&format!("<wsse:Reference URI=\"#{}\"/>", id.replace("x509", "body")))),
        ("reference-to-nothing", "reference_refused", reference("<wsse:Reference URI=\"#nothing\"/>")),
        ("reference-by-xpointer", "reference_refused", reference(&format!("<wsse:Reference URI=\"#xpointer(id('{id}'))\"/>"))),
        ("identifier-of-another-kind", "reference_refused", reference("<wsse:KeyIdentifier ValueType=\"urn:x\">AA==</wsse:KeyIdentifier>")),
        (
            "thumbprint-of-nobody",
            "unknown_key",
            reference(&format!(
                "<wsse:KeyIdentifier ValueType=\"http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#ThumbprintSHA1\">{}</wsse:KeyIdentifier>",
                "AAAA".repeat(6) + "AAA="
            )),
        ),
        (
            "assertion-that-is-none",
            "reference_refused",
            reference(
                "<wsse:KeyIdentifier ValueType=\"http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLID\">_a</wsse:KeyIdentifier>",
            ),
        ),
    ] {
        cases.add(name, "§10.14", X509, reason, with(&inside));
    }
    let embedded = changed(&token, &format!(" wsu:Id=\"{id}\""), "");
    let identifier = changed(&format!("<wsse:KeyIdentifier ValueType=\"TYPE\">{certificate}</wsse:KeyIdentifier>"), "TYPE", X509_V3);
    for (name, inside) in [
        ("good-embedded", reference(&format!("<wsse:Embedded>{embedded}</wsse:Embedded>"))),
        (
            "good-certificate-in-a-reference",
            reference(&data(&certificate).replace("<ds:X509Data>", "<ds:X509Data xmlns:ds=\"http://www.w3.org/2000/09/xmldsig#\">")),
        ),
        ("good-certificate-in-an-identifier", reference(&identifier)),
    ] {
        cases.add(name, "-", X509, "accept", with(&inside));
    }
    cases.add(
        "embedded-twice",
        "§10.14",
        X509,
        "reference_refused",
        with(&reference(&format!("<wsse:Embedded>{}</wsse:Embedded>", embedded.repeat(2)))),
    );
    cases.add(
        "embedded-reference",
        "§10.14",
        X509,
        "reference_refused",
        with(&reference(&format!("<wsse:Embedded>{}</wsse:Embedded>", reference(&own)))),
    );
    let theirs_info = element(&theirs, "<ds:KeyInfo>", "</ds:KeyInfo>").to_owned();
    let bare = changed(&theirs, &theirs_info, &format!("<ds:KeyInfo>{}</ds:KeyInfo>", data(&other)));
    cases.add("bare-certificate-of-his-own", "§10.14", X509, "unknown_key", bare).concessions = &[Concession::BareKeyInfo];
    cases.add("good-bare-certificate", "-", X509, "accept", with(&data(&certificate))).concessions = &[Concession::BareKeyInfo];
    let elsewhere = behind_security(
        &changed(&good, &token, ""),
        &format!("<wsse:Security xmlns:wsse=\"{WSSE}\" s:actor=\"urn:other\">{token}</wsse:Security>"),
    );
    cases.add("token-in-another-header", "68", X509, "reference_refused", elsewhere);
    cases.add("comment-in-a-token", "§10.12", X509, "forbidden_markup", changed(&good, &certificate, &format!("{}<!-- -->", certificate)));
    cases.add("token-of-another-encoding", "§10.14", X509, "malformed", changed(&good, "#Base64Binary", "#HexBinary"));
    cases.add("token-of-another-type", "§10.14", X509, "not_enabled", changed(&good, "#X509v3\" wsu:Id", "#PKCS7\" wsu:Id"));
    cases.add("nine-tokens", "§10.9", X509, "limits", {
        let more: String = (0..8).map(|count| changed(&token, id, &format!("{id}{count}"))).collect();
        in_security(&good, &more)
    });
    cases.add("many-children", "§10.9", X509, "malformed", in_security(&good, &"<x:y xmlns:x=\"urn:x\"/>".repeat(70)));

    let algorithm = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";
    cases.add(
        "hmac-with-a-certificate",
        "§10.13",
        X509,
        "algorithm_refused",
        changed(&good, algorithm, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"),
    );
    cases.add("rsa-sha1", "§10.16", X509, "algorithm_refused", changed(&good, algorithm, "http://www.w3.org/2000/09/xmldsig#rsa-sha1"));
    let exclusive = "<ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"";
    for (name, uri) in [
        ("xslt", "http://www.w3.org/TR/1999/REC-xslt-19991116"),
        ("xpath", "http://www.w3.org/TR/1999/REC-xpath-19991116"),
        ("xpath-filter", "http://www.w3.org/2002/06/xmldsig-filter2"),
        ("base64-transform", "http://www.w3.org/2000/09/xmldsig#base64"),
        ("with-comments", "http://www.w3.org/2001/10/xml-exc-c14n#WithComments"),
        ("inclusive", "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
        ("decryption-transform", "http://www.w3.org/2002/07/decrypt#XML"),
    ] {
        let message = changed(&good, exclusive, &format!("<ds:Transform Algorithm=\"{uri}\""));
        cases.add(name, "§10.10", X509, "algorithm_refused", message);
    }
}

fn base64(octets: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(octets)
}

fn user_names(cases: &mut Cases) {
    let text = named(Password::Text("wonderland"));
    let digest = named(Password::Digest("wonderland"));
    cases.add("good-text", "-", NAME, "accept", text.clone());
    cases.add("good-digest", "-", NAME, "accept", digest.clone());
    let password = element(&text, "<wsse:Password", "</wsse:Password>").to_owned();
    cases.add("no-password", "59", NAME, "no_credentials", changed(&text, &password, ""));
    cases.add("empty-password", "59", NAME, "no_credentials", changed(&text, "wonderland", ""));
    cases.add("empty-password-element", "59", NAME, "no_credentials", changed(&text, &password, "<wsse:Password/>"));
    cases.add("password-of-another-type", "59", NAME, "malformed", changed(&text, "#PasswordText", "#PasswordNone"));
    cases.add(
        "password-of-a-qualified-type",
        "59",
        NAME,
        "malformed",
        changed(
            &text,
            "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordText",
            "wsse:PasswordText",
        ),
    );
    cases.add("digest-as-text", "59", NAME, "wrong_password", changed(&digest, "#PasswordDigest", "#PasswordText"));
    cases.add("text-as-digest", "59", NAME, "malformed", changed(&text, "#PasswordText", "#PasswordDigest"));
    cases.add(
        "derived-key",
        "59",
        NAME,
        "not_enabled",
        changed(&text, &password, "<y:Salt xmlns:y=\"http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd\">AQ==</y:Salt>"),
    );
    cases.add("text-over-an-open-channel", "60", NAME, "not_enabled", text.clone()).protected = false;
    cases.add("good-digest-over-an-open-channel", "-", NAME, "accept", digest.clone()).protected = false;
    cases.add("another-user", "59", NAME, "unknown_user", changed(&digest, ">alice<", ">admin<"));
    let token = element(&text, "<wsse:UsernameToken", "</wsse:UsernameToken>").to_owned();
    cases.add("two-names", "68", NAME, "ambiguous", in_security(&text, &changed(&token, "-user\"", "-user2\"")));
    cases.add("name-in-a-wrapper", "57", NAME, "no_credentials", changed(&text, &token, &format!("<x:W xmlns:x=\"urn:x\">{token}</x:W>")));

    let nonce = element(&digest, "<wsse:Nonce", "</wsse:Nonce>").to_owned();
    let created = element(&digest, "<wsu:Created", "</wsu:Created>").to_owned();
    let at = |time: &str| changed(&digest, "2026-03-01T12:01:00.000Z", time);
    cases.add("no-nonce", "65", NAME, "malformed", changed(&digest, &nonce, ""));
    cases.add("no-created", "65", NAME, "malformed", changed(&digest, &created, ""));
    cases.add("two-nonces", "65", NAME, "ambiguous", changed(&digest, &nonce, &nonce.repeat(2)));
    cases.add("short-nonce", "65", NAME, "malformed", changed(&digest, "BwcHBwcHBwcHBwcHBwcHBw==", "BwcHBwcH"));
    cases.add("huge-nonce", "65", NAME, "malformed", changed(&digest, "BwcHBwcHBwcHBwcHBwcHBw==", &"BwcH".repeat(1 << 13)));
    cases.add("another-nonce", "65", NAME, "wrong_password", changed(&digest, "BwcHBwcHBwcHBwcHBwcHBw==", "CAcHBwcHBwcHBwcHBwcHBw=="));
    cases.add("created-in-the-future", "65", NAME, "not_yet_valid", at("2026-03-01T12:02:00.001Z"));
    cases.add("created-long-ago", "65", NAME, "stale", at("2026-03-01T11:55:59.999Z"));
    cases.add("created-without-zone", "65", NAME, "malformed", at("2026-03-01T12:01:00.000"));
    cases.add("created-elsewhere", "65", NAME, "malformed", at("2026-03-01T13:01:00.000+01:00"));
    for (name, from, to) in [
        ("comment-in-the-name", ">alice<", ">ali<!-- -->ce<"),
        ("instruction-in-the-name", ">alice<", ">ali<?x?>ce<"),
        ("cdata-in-the-name", ">alice<", "><![CDATA[alice]]><"),
        ("comment-in-the-nonce", "BwcHBwcHBwcHBwcHBwcHBw==", "BwcHBwcHBwcH<!-- -->BwcHBwcHBw=="),
        ("comment-in-the-time", "12:01:00.000Z", "12:01:00<!-- -->.000Z"),
    ] {
        cases.add(name, "§10.12", NAME, "forbidden_markup", changed(&digest, from, to));
    }
    cases.add("comment-in-the-password", "§10.12", NAME, "forbidden_markup", changed(&text, "wonderland", "wonder<!-- -->land"));
    cases.add("element-in-the-password", "§10.12", NAME, "malformed", changed(&text, "wonderland", "wonder<x/>land"));
    cases.add("name-of-a-control-character", "§10.12", NAME, "malformed", changed(&text, ">alice<", ">ali&#10;ce<"));
}

fn headers(cases: &mut Cases) {
    let text = named(Password::Text("wonderland"));
    let header = element(&text, "<wsse:Security", "</wsse:Security>").to_owned();
    let of = |attributes: &str| changed(&header, "<wsse:Security ", &format!("<wsse:Security {attributes} "));
    let with = |headers: &str| changed(&text, &header, headers);
    cases.add("two-headers", "68", NAME, "ambiguous", with(&header.repeat(2).replacen("-user\"", "-user2\"", 1)));
    cases.add("two-headers-one-of-an-empty-role", "68", NAME, "ambiguous", with(&format!("{}{header}", of("s:actor=\"\""))));
    cases.add("header-for-another-role", "68", NAME, "no_credentials", with(&of("s:actor=\"urn:other\"")));
    cases.add(
        "header-for-the-next-node",
        "68",
        NAME,
        "no_credentials",
        with(&of("s:actor=\"http://schemas.xmlsoap.org/soap/actor/next\"")),
    );
    cases.add(
        "header-of-the-other-version",
        "68, 71",
        NAME,
        "malformed",
        with(&of("xmlns:n=\"http://www.w3.org/2003/05/soap-envelope\" n:role=\"\"")),
    );
    cases.add("header-in-a-header", "68", NAME, "no_credentials", with(&format!("<x:W xmlns:x=\"urn:x\">{header}</x:W>")));
    cases.add("header-in-the-body", "68", NAME, "no_credentials", changed(&with(""), "<o:GetOrder>", &format!("<o:GetOrder>{header}")));
    let soap12 = text.replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope");
    let nobody = changed(&soap12, "<wsse:Security ", "<wsse:Security s:role=\"http://www.w3.org/2003/05/soap-envelope/role/none\" ");
    cases.add("header-for-nobody", "68", NAME, "no_credentials", nobody);
    cases.add("good-in-soap12", "-", NAME, "accept", soap12);
    cases.add("doctype", "§10.8", NAME, "dtd", changed(&text, "<s:Envelope", "<!DOCTYPE s:Envelope><s:Envelope"));
    cases.add(
        "credentials-without-header",
        "68",
        NAME,
        "malformed",
        envelope(
            Soap::Soap11,
            &element(&text, "<wsse:UsernameToken", "</wsse:UsernameToken>")
                .replace("<wsse:UsernameToken", "<UsernameToken")
                .replace("</wsse:UsernameToken", "</UsernameToken"),
        ),
    );

    let plain_type = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordText";
    let draft = text.replace(WSSE, DRAFT).replace(plain_type, "wsse:PasswordText");
    let admitted: &[Concession] = &[Concession::Draft200306];
    cases.add("good-draft", "-", NAME, "accept", draft.clone()).concessions = admitted;
    cases.add("draft-that-is-not-enabled", "69", NAME, "not_enabled", draft.clone());
    cases
        .add(
            "another-draft-than-the-enabled",
            "69",
            NAME,
            "not_enabled",
            draft.replace(DRAFT, "http://schemas.xmlsoap.org/ws/2002/12/secext"),
        )
        .concessions = admitted;
    let token = element(&text, "<wsse:UsernameToken", "</wsse:UsernameToken>").to_owned();
    let draft_token = element(&draft, "<wsse:UsernameToken", "</wsse:UsernameToken>").to_owned();
    cases.add("draft-token-in-a-standard-header", "69", NAME, "malformed", changed(&text, &token, &draft_token)).concessions = admitted;
    cases.add("standard-token-in-a-draft-header", "69", NAME, "malformed", changed(&draft, &draft_token, &token)).concessions = admitted;
    let both = format!("{header}{}", element(&draft, "<wsse:Security", "</wsse:Security>"));
    cases.add("headers-of-two-eras", "69", NAME, "ambiguous", with(&both).replacen("-user\"", "-user2\"", 1)).concessions = admitted;
    cases.add("draft-without-password", "69, 59", NAME, "no_credentials", changed(&draft, "wonderland", "")).concessions = admitted;
    cases.add(
        "namespace-of-another-host",
        "69",
        NAME,
        "no_credentials",
        text.replace("//docs.oasis-open.org", "//www.docs.oasis-open.org"),
    );
    let good = signed(&[Part::Body, Part::Timestamp]);
    cases
        .add(
            "signature-in-a-draft",
            "69",
            X509,
            "not_enabled",
            good.replace(WSSE, DRAFT).replace(WSU, "http://schemas.xmlsoap.org/ws/2003/06/utility"),
        )
        .concessions = admitted;
}

fn assertions(cases: &mut Cases) {
    let client = Signer::of("client-rsa2048");
    let other = Signer::of("other-rsa2048");
    let both = [Part::Body, Part::Timestamp];
    let all = [Part::Token, Part::Body, Part::Timestamp];
    let version = Version::Saml20;
    let send = |xml: &Fragment, signer: Option<(&Signer, &[Part], KeyReference)>| {
        let sign = signer.and_then(|(signer, parts, reference)| signer.with(parts, reference));
        write(&Header { token: token(xml, version, AssertionReference::Direct), sign, ..plain() }, &envelope(Soap::Soap11, "")).unwrap()
    };
    let holder = assertion(version, ConfirmationMethod::HolderOfKey, Some("client-rsa2048")).signed(&issuer()).unwrap();
    let direct = KeyReference::Direct;
    let good = send(&holder, Some((&client, &both, direct)));
    cases.add("good-holder-of-key", "-", SAML, "accept", good.clone());
    cases.add("holder-without-proof", "61", SAML, "signature_missing", send(&holder, None));
    cases.add("holder-of-another-key", "61", SAML, "unknown_key", send(&holder, Some((&other, &both, direct))));
    cases.add(
        "holder-of-another-key-by-the-assertion",
        "61",
        SAML,
        "signature_invalid",
        send(&holder, Some((&other, &both, KeyReference::Assertion))),
    );
    cases.add(
        "holder-who-does-not-sign-the-body",
        "61",
        SAML,
        "part_not_signed",
        send(&holder, Some((&client, &[Part::Timestamp], direct))),
    );
    cases.add("holder-who-does-not-sign-the-time", "61", SAML, "part_not_signed", send(&holder, Some((&client, &[Part::Body], direct))));
    let swapped =
        changed(&send(&holder, Some((&other, &both, direct))), &base64(&der("client-rsa2048.crt")), &base64(&der("other-rsa2048.crt")));
    cases.add("holder-exchanged", "61", SAML, "digest_mismatch", swapped);
    let unnamed = assertion(version, ConfirmationMethod::HolderOfKey, None).signed(&issuer()).unwrap();
    cases.add("holder-of-no-key", "61", SAML, "unknown_key", send(&unnamed, Some((&client, &both, direct))));
    let stray = assertion(version, ConfirmationMethod::HolderOfKey, Some("client-rsa2048")).to_xml().unwrap();
    cases.add("holder-assertion-of-his-own", "61", SAML, "not_enabled", send(&stray, Some((&client, &both, direct))));
    cases.add("holder-assertion-of-his-own-vouched", "61", SAML, "unknown_key", send(&stray, Some((&client, &all, direct)))).concessions =
        &[Concession::SenderVouches];

    let vouched = assertion(version, ConfirmationMethod::SenderVouches, None);
    let vouching: &[Concession] = &[Concession::SenderVouches];
    let xml = vouched.to_xml().unwrap();
    cases.add("good-sender-vouches", "-", SAML, "accept", send(&xml, Some((&client, &all, direct)))).concessions = vouching;
    for (name, reason, message) in [
        ("vouched-without-signature", "signature_missing", send(&xml, None)),
        ("vouched-by-nobody", "signature_missing", send(&vouched.signed(&issuer()).unwrap(), None)),
        ("vouched-without-the-body", "part_not_signed", send(&xml, Some((&client, &[Part::Token, Part::Timestamp], direct)))),
        ("vouched-without-the-time", "part_not_signed", send(&xml, Some((&client, &[Part::Token, Part::Body], direct)))),
        ("vouched-without-the-assertion", "part_not_signed", send(&xml, Some((&client, &both, direct)))),
        ("vouched-by-somebody", "unknown_key", send(&xml, Some((&other, &all, direct)))),
    ] {
        cases.add(name, "61", SAML, reason, message).concessions = vouching;
    }
    cases.add("vouched-where-that-is-off", "61", SAML, "not_enabled", send(&xml, Some((&client, &all, direct))));

    let bearer = |change: &dyn Fn(&mut vestibule_saml::AssertionContent)| {
        let mut content = assertion(version, ConfirmationMethod::Bearer, None);
        change(&mut content);
        send(&content.signed(&issuer()).unwrap(), None)
    };
    let bearing: &[Concession] = &[Concession::Bearer];
    let plainly = bearer(&|_| {});
    cases.add("good-bearer", "-", SAML, "accept", plainly.clone()).concessions = bearing;
    cases.add("bearer-where-that-is-off", "61", SAML, "not_enabled", plainly.clone());
    let open = cases.add("bearer-over-an-open-channel", "60", SAML, "not_enabled", plainly.clone());
    (open.concessions, open.protected) = (bearing, false);
    let later = |seconds: i64| jiff::SignedDuration::from_secs(seconds);
    for (name, attack, reason, message) in [
        (
            "audience-of-others",
            "64",
            "wrong_audience",
            bearer(&|one| one.conditions.as_mut().unwrap().audiences = vec![vec!["urn:other".to_owned()]]),
        ),
        ("audience-of-nobody", "64", "wrong_audience", bearer(&|one| one.conditions.as_mut().unwrap().audiences = Vec::new())),
        (
            "two-audiences-one-foreign",
            "64",
            "wrong_audience",
            bearer(&|one| one.conditions.as_mut().unwrap().audiences.push(vec!["urn:other".to_owned()])),
        ),
        (
            "recipient-of-others",
            "61",
            "wrong_recipient",
            bearer(&|one| one.subject.as_mut().unwrap().confirmations[0].recipient = Some("urn:other".to_owned())),
        ),
        (
            "confirmation-of-yesterday",
            "61",
            "expired",
            bearer(&|one| {
                let confirmation = &mut one.subject.as_mut().unwrap().confirmations[0];
                confirmation.not_on_or_after = Some(one.issue_instant.checked_sub(later(60)).unwrap());
            }),
        ),
        (
            "confirmation-of-tomorrow",
            "61",
            "not_yet_valid",
            bearer(&|one| {
                let confirmation = &mut one.subject.as_mut().unwrap().confirmations[0];
                confirmation.not_before = Some(one.issue_instant.checked_add(later(60)).unwrap());
            }),
        ),
        ("no-confirmation", "61", "no_credentials", bearer(&|one| one.subject.as_mut().unwrap().confirmations.clear())),
        (
            "unknown-confirmation",
            "61",
            "not_enabled",
            bearer(&|one| one.subject.as_mut().unwrap().confirmations[0].method = ConfirmationMethod::Other("urn:x".to_owned())),
        ),
        (
            "expired-assertion",
            "61",
            "expired",
            bearer(&|one| {
                let conditions = one.conditions.as_mut().unwrap();
                conditions.not_before = one.issue_instant.checked_sub(later(200)).ok();
                conditions.not_on_or_after = one.issue_instant.checked_sub(later(60)).ok();
            }),
        ),
        (
            "long-lived-bearer",
            "61",
            "stale",
            bearer(&|one| one.conditions.as_mut().unwrap().not_on_or_after = one.issue_instant.checked_add(later(3600)).ok()),
        ),
        ("issuer-of-others", "61", "wrong_issuer", bearer(&|one| one.issuer = "urn:other".to_owned())),
    ] {
        cases.add(name, attack, SAML, reason, message).concessions = bearing;
    }

    // Wrapping (attacks 1 to 19): the signed assertion elsewhere, an evil one where it is read.
    let original = element(&plainly, "<saml:Assertion", "</saml:Assertion>").to_owned();
    let signature = element(&original, "<ds:Signature", "</ds:Signature>").to_owned();
    let evil = changed(&changed(&original, "_assertion-1", "_evil"), "alice@", "admin@");
    let unsigned = changed(&evil, &signature, "");
    let advised = changed(&unsigned, "</saml:Conditions>", &format!("</saml:Conditions><saml:Advice>{original}</saml:Advice>"));
    for (name, reason, with) in [
        ("assertion-beside-before", "ambiguous", format!("{unsigned}{original}")),
        ("assertion-beside-behind", "ambiguous", format!("{original}{unsigned}")),
        ("assertion-in-the-advice", "signature_missing", advised.clone()),
        (
            "assertion-in-the-advice-of-a-signed-one",
            "wrapped",
            advised.replacen("</saml:Issuer>", &format!("</saml:Issuer>{signature}"), 1),
        ),
        (
            "assertion-in-an-object",
            "malformed",
            changed(&evil, "</ds:Signature>", &format!("<ds:Object>{original}</ds:Object></ds:Signature>")),
        ),
        ("assertion-in-a-wrapper", "signature_missing", format!("{unsigned}<x:W xmlns:x=\"urn:x\">{original}</x:W>")),
        (
            "assertion-in-a-wrapper-signature-outside",
            "wrapped",
            format!("{evil}<x:W xmlns:x=\"urn:x\">{}</x:W>", changed(&original, &signature, "")),
        ),
        (
            "assertion-twice-with-one-id",
            "duplicate_id",
            format!("{}<x:W xmlns:x=\"urn:x\">{original}</x:W>", changed(&original, "alice@", "admin@")),
        ),
        ("assertion-changed", "digest_mismatch", changed(&original, "alice@", "admin@")),
        ("assertion-unsigned", "signature_missing", unsigned.clone()),
        ("assertion-cut-out", "no_credentials", String::new()),
    ] {
        cases.add(name, "57", SAML, reason, changed(&plainly, &original, &with)).concessions = bearing;
    }
    let elsewhere = behind_security(
        &changed(&plainly, &original, ""),
        &format!("<wsse:Security xmlns:wsse=\"{WSSE}\" s:actor=\"urn:other\">{original}</wsse:Security>"),
    );
    cases.add("assertion-in-another-header", "68", SAML, "no_credentials", elsewhere).concessions = bearing;
    cases.add("comment-in-a-signed-name", "§10.12", SAML, "accept", changed(&plainly, "alice@", "ali<!-- -->ce@")).concessions = bearing;
    let old = assertion(Version::Saml11, ConfirmationMethod::Bearer, None).signed(&issuer()).unwrap();
    let old =
        write(&Header { token: token(&old, Version::Saml11, AssertionReference::Direct), ..plain() }, &envelope(Soap::Soap11, "")).unwrap();
    cases.add("saml11-that-is-not-enabled", "69", SAML, "not_enabled", old).concessions = bearing;
}

fn ciphertexts(cases: &mut Cases) {
    let client = Signer::of("client-rsa2048");
    let certificate = der("server-rsa2048.crt");
    let encrypt = EncryptFor {
        certificate: &certificate,
        parts: &[EncryptedPart::Body],
        size: AesSize::Aes128,
        hashes: (OaepHash::Sha1, OaepHash::Sha1),
    };
    let header = Header { sign: client.with(&[Part::Body, Part::Timestamp], KeyReference::Direct), encrypt: Some(encrypt), ..plain() };
    let good = write(&header, &envelope(Soap::Soap11, "")).unwrap();
    let data = element(&good, "<xenc:EncryptedData", "</xenc:EncryptedData>").to_owned();
    let key = element(&good, "<xenc:EncryptedKey", "</xenc:EncryptedKey>").to_owned();
    let list = element(&key, "<xenc:ReferenceList", "</xenc:ReferenceList>").to_owned();
    let evil = "<o:GetOrder><o:id>666</o:id></o:GetOrder>";
    for (name, reason, message) in [
        ("good-encrypted", "accept", good.clone()),
        ("ciphertext-moved-to-the-header", "digest_mismatch", in_security(&changed(&good, &data, evil), &data)),
        (
            "ciphertext-moved-out-of-reach",
            "reference_refused",
            in_header(&changed(&good, &data, evil), &format!("<x:W xmlns:x=\"urn:x\">{data}</x:W>")),
        ),
        ("plaintext-beside-ciphertext", "digest_mismatch", changed(&good, &data, &format!("{evil}{data}"))),
        ("ciphertext-that-nobody-lists", "digest_mismatch", changed(&good, &list, "")),
        ("key-that-lists-nothing-here", "reference_refused", changed(&good, "DataReference URI=\"#_", "DataReference URI=\"#x_")),
        ("key-that-lists-elsewhere", "malformed", changed(&good, "DataReference URI=\"#", "DataReference URI=\"http://169.254.169.254/#")),
        ("ciphertext-twice", "reference_refused", in_security(&good, &data)),
        ("tag-changed", "decryption_failed", {
            let value = element(&data, "<xenc:CipherValue>", "</xenc:CipherValue>").to_owned();
            let at = value.len() - "</xenc:CipherValue>".len() - 6;
            let other = format!("{}{}{}", &value[..at], if value[at..].starts_with("AA") { "BB" } else { "AA" }, &value[at + 2..]);
            changed(&good, &value, &other)
        }),
        ("key-changed", "decryption_failed", {
            let value = element(&key, "<xenc:CipherValue>", "</xenc:CipherValue>").to_owned();
            changed(&good, &value, &format!("<xenc:CipherValue>{}</xenc:CipherValue>", "AAAA".repeat(85) + "AA=="))
        }),
    ] {
        cases.add(&format!("encrypted-{name}"), "§10.19", X509, reason, message).decrypting = true;
    }
    cases.add("encrypted-signature-of-ciphertext-unread", "§10.19", X509, "digest_mismatch", good);
}

fn settings(case: &Case) -> Value {
    json!({
        "file": format!("{}.xml", case.name),
        "attack": case.attack,
        "tokens": case.tokens.iter().map(|token| word(*token)).collect::<Vec<_>>(),
        "require": case.parts.iter().map(Part::name).collect::<Vec<_>>(),
        "settings": case.concessions.iter().map(|one| one.word()).collect::<Vec<_>>(),
        "channel": if case.protected { "tls" } else { "open" },
        "decrypt_key": case.decrypting.then_some("keys/server-rsa2048.key"),
        "clock": crate::common::NOW,
        "reason": case.reason,
    })
}

fn word(token: TokenKind) -> &'static str {
    match token {
        TokenKind::Username => "username",
        TokenKind::X509 => "x509",
        TokenKind::Saml => "saml",
    }
}

fn manifest_of(cases: &[Case]) -> String {
    let lines: Vec<String> = cases.iter().map(|case| format!("  {}", settings(case))).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn world(entry: &Value) -> World {
    let words = |name: &str| entry[name].as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let token = |name: String| [TokenKind::Username, TokenKind::X509, TokenKind::Saml].into_iter().find(|one| word(*one) == name).unwrap();
    let concession = |name: String| Concession::ALL.iter().copied().find(|one| one.word() == name).unwrap();
    let world = World {
        role: Target::Ultimate,
        tokens: words("tokens").into_iter().map(token).collect(),
        parts: words("require").iter().map(|name| Part::parse(name).unwrap()).collect(),
        concessions: words("settings").into_iter().map(concession).collect(),
        protected: entry["channel"] == "tls",
        now: entry["clock"].as_str().unwrap().parse().unwrap(),
        ..World::default()
    };
    if entry["decrypt_key"].is_string() { world.decrypting() } else { world }
}

#[test]
fn the_corpus_is_what_this_test_makes_and_every_message_has_its_reason() {
    let (cases, folder) = (cases(), corpus().join("attacks/wss"));
    let write = std::env::var_os("VESTIBULE_WRITE_CORPUS").is_some();
    if write {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("manifest.json"), manifest_of(&cases)).unwrap();
    }
    let mut wrong = Vec::new();
    for case in &cases {
        let path = folder.join(format!("{}.xml", case.name));
        if write {
            std::fs::write(&path, &case.message).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(kept == case.message || case.name.starts_with("encrypted-"), "{} differs", case.name);
        // Those made now, and those that were kept.
        for message in [&case.message, &kept] {
            let found = world(&settings(case)).judge(message.as_bytes());
            let (found, trace) = match found {
                Ok(_) => ("accept", String::new()),
                Err(refusal) => (refusal.reason.word(), refusal.trace),
            };
            if found != case.reason {
                wrong.push(format!("{}: {found} instead of {}\n{trace}", case.name, case.reason));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let manifest = value(&std::fs::read_to_string(folder.join("manifest.json")).unwrap());
    assert_eq!(manifest, value(&manifest_of(&cases)));
    assert!(cases.len() > 130, "{}", cases.len());
}
