//! What is written is accepted by what reads, and nothing else of a message changes.

use jiff::SignedDuration;
use vestibule_saml::{AssertionContent, AuthnStatement, Conditions, Confirmation, ConfirmationMethod, NameId, Subject, Version};
use vestibule_soap::{Target, Version as Soap};
use vestibule_wss::{
    Accepted, Assertion, AssertionReference, Concession, Confirmed, Conflict, Consumed, EncryptFor, EncryptedPart, Error, Header,
    KeyReference, Lifetime, Message, MustUnderstand, Part, Password, Randomness, Reason, SignWith, Token, TokenKind,
};
use vestibule_xmlsec::{AesSize, Fragment, IdentityProvider, KeyId, Limits, OaepHash, SigningKey, WebServices};

use crate::common::{AUDIENCE, IDP, NOW, World, der, signing_key};

pub const RANDOM: Randomness = Randomness([7; 32]);

pub fn now() -> jiff::Timestamp {
    NOW.parse().unwrap()
}

pub fn envelope(version: Soap, header: &str) -> String {
    let header = if header.is_empty() { String::new() } else { format!("<s:Header>{header}</s:Header>") };
    format!(
        "<?xml version='1.0'?>\n<s:Envelope  xmlns:s='{}' xmlns:o=\"urn:example:orders\">{header}\n <s:Body ><o:GetOrder><o:id>7</o:id></o:GetOrder></s:Body></s:Envelope>\n",
        version.namespace()
    )
}

pub fn plain<'a>() -> Header<'a> {
    Header {
        role: &Target::Ultimate,
        must_understand: MustUnderstand::Written,
        consumed: Consumed::Kept,
        lifetime: Lifetime::For(SignedDuration::from_secs(300)),
        token: Token::Nothing,
        sign: None,
        encrypt: None,
    }
}

pub fn write(header: &Header<'_>, text: &str) -> Result<String, Error> {
    let message = Message::read(text.as_bytes(), &Limits::SOAP)?;
    header.write(&message, &Limits::SOAP, now(), &RANDOM).map(|octets| String::from_utf8(octets).unwrap())
}

pub struct Signer {
    key: SigningKey<WebServices>,
    certificate: Vec<u8>,
}

impl Signer {
    pub fn of(name: &str) -> Self {
        Self { key: signing_key(name), certificate: der(&format!("{name}.crt")) }
    }

    pub fn with<'a>(&'a self, parts: &'a [Part], reference: KeyReference) -> Option<SignWith<'a>> {
        Some(SignWith { key: &self.key, certificate: &self.certificate, parts, reference })
    }
}

pub fn assertion(version: Version, method: ConfirmationMethod, holder: Option<&str>) -> AssertionContent {
    let confirmation = Confirmation {
        holder_certificates: holder.map(|name| der(&format!("{name}.crt"))).into_iter().collect(),
        ..Confirmation::of(method)
    };
    let after = now().checked_add(SignedDuration::from_secs(240)).unwrap();
    AssertionContent {
        version,
        id: "_assertion-1".to_owned(),
        issuer: IDP.to_owned(),
        issuer_format: None,
        issue_instant: now(),
        subject: Some(Subject {
            name_id: Some(NameId::new("alice@example.org", "urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress")),
            confirmations: vec![confirmation],
        }),
        conditions: Some(Conditions {
            not_before: Some(now()),
            not_on_or_after: Some(after),
            audiences: vec![vec![AUDIENCE.to_owned()]],
            ..Conditions::default()
        }),
        authn: vec![AuthnStatement::new(now(), "urn:oasis:names:tc:SAML:2.0:ac:classes:Password")],
        attributes: Vec::new(),
    }
}

pub fn issuer() -> SigningKey<IdentityProvider> {
    SigningKey::from_pkcs8("idp", &der("idp-rsa2048.key"), Some(&der("idp-rsa2048.crt"))).unwrap()
}

pub fn token(xml: &Fragment, version: Version, reference: AssertionReference) -> Token<'_> {
    Token::Saml(Assertion { xml, id: "_assertion-1", version, reference })
}

fn accepted(world: &World, text: &str) -> Accepted {
    world.judge(text.as_bytes()).unwrap_or_else(|refusal| panic!("{} {}\n{text}", refusal.reason, refusal.trace))
}

fn refused(world: &World, text: &str) -> Reason {
    world.judge(text.as_bytes()).map(|accepted| format!("{:#?}", accepted.checks)).unwrap_err().reason
}

/// The text without what lies between `begin` and `end`, both included.
fn without(text: &str, begin: &str, end: &str) -> String {
    let at = text.find(begin).unwrap();
    let to = at + text[at..].find(end).unwrap() + end.len();
    format!("{}{}", &text[..at], &text[to..])
}

#[test]
fn user_names_come_back_with_their_passwords() {
    for version in [Soap::Soap11, Soap::Soap12] {
        for password in [Password::Text("wonder & <land>"), Password::Digest("wonder & <land>")] {
            let mut world = World::of(&[TokenKind::Username]);
            world.users.insert("jürgen <&>".to_owned(), "wonder & <land>".to_owned());
            let token = Token::Username { name: "jürgen <&>", password };
            let text = write(&Header { token, ..plain() }, &envelope(version, "")).unwrap();
            let read = accepted(&world, &text);
            assert_eq!(read.username.unwrap().username(), "jürgen <&>");
            assert_eq!(read.replay.len(), usize::from(matches!(password, Password::Digest(_))));
            world.users.insert("jürgen <&>".to_owned(), "another".to_owned());
            assert_eq!(refused(&world, &text), Reason::WrongPassword);
            world.protected = false;
            let open = refused(&world, &text);
            let expected = if matches!(password, Password::Text(_)) { Reason::NotEnabled } else { Reason::WrongPassword };
            assert_eq!(open, expected);
        }
    }
    for (name, password) in
        [("", Password::Text("x")), ("a", Password::Text("")), ("a", Password::Nothing), ("a\u{1}", Password::Text("x"))]
    {
        let token = Token::Username { name, password };
        assert!(matches!(write(&Header { token, ..plain() }, &envelope(Soap::Soap11, "")), Err(Error::Unwritable(_))));
    }
}

#[test]
fn every_way_to_name_a_certificate_is_read() {
    let signer = Signer::of("client-rsa2048");
    let parts = [Part::Body, Part::Timestamp];
    let world = World::of(&[TokenKind::X509]);
    for reference in [KeyReference::Direct, KeyReference::SubjectKeyIdentifier, KeyReference::Thumbprint, KeyReference::IssuerSerial] {
        let sign = signer.with(&parts, reference);
        let text = write(&Header { sign, ..plain() }, &envelope(Soap::Soap11, "")).unwrap();
        let read = accepted(&world, &text);
        assert_eq!(read.covered, ["body", "timestamp"], "{reference:?}");
        assert_eq!(read.certificate.unwrap().der(), der("client-rsa2048.crt"));
        assert_eq!(read.replay.len(), 1);
        assert_eq!(refused(&world, &text.replace("<o:id>7", "<o:id>8")), Reason::DigestMismatch);
    }
    let other = Signer::of("other-rsa2048");
    let text = write(&Header { sign: other.with(&parts, KeyReference::Direct), ..plain() }, &envelope(Soap::Soap11, "")).unwrap();
    assert_eq!(refused(&world, &text), Reason::UnknownKey);
}

#[test]
fn nothing_but_the_header_and_the_ids_changes() {
    let signer = Signer::of("client-rsa2048");
    for version in [Soap::Soap11, Soap::Soap12] {
        let sign = signer.with(&[Part::Body, Part::Timestamp, Part::Token], KeyReference::Direct);
        let role = Target::Role("urn:partner:gate".to_owned());
        for (header, empty) in [("", true), ("<x:Other xmlns:x='urn:x'>1</x:Other>", false)] {
            let before = envelope(version, header);
            let text = write(&Header { sign, role: &role, ..plain() }, &before).unwrap();
            let rest =
                if empty { without(&text, "<env:Header", "</env:Header>") } else { without(&text, "<wsse:Security", "</wsse:Security>") };
            let id = " xmlns:wsu=\"http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd\" wsu:Id=\"_07070707070707070707070707070707-body\"";
            assert_eq!(rest.replacen(id, "", 1), before);
            let mut world = World::of(&[TokenKind::X509]);
            assert_eq!(refused(&world, &text), Reason::NoCredentials);
            world.role = role.clone();
            assert_eq!(accepted(&world, &text).covered, ["body", "timestamp", "token"]);
            let message = Message::read(text.as_bytes(), &Limits::SOAP).unwrap();
            assert!(message.presents(&role) && !message.presents(&Target::Ultimate));
            assert!(message.envelope().blocks().iter().any(|block| block.must_understand));
        }
    }
}

#[test]
fn the_whole_envelope_is_signed_part_by_part() {
    let signer = Signer::of("client-rsa2048");
    let addressing = "<a:To xmlns:a='http://www.w3.org/2005/08/addressing'>urn:to</a:To><x:Other xmlns:x='urn:x'/>";
    let before = envelope(Soap::Soap11, addressing);
    let token = Token::Username { name: "alice", password: Password::Digest("wonderland") };
    let sign = signer.with(&[Part::Envelope], KeyReference::Direct);
    let text = write(&Header { sign, token, ..plain() }, &before).unwrap();
    let mut world = World::of(&[TokenKind::Username, TokenKind::X509]);
    world.parts = vec![Part::Envelope, Part::Addressing, Part::Header("urn:x".to_owned(), "Other".to_owned())];
    let read = accepted(&world, &text);
    assert_eq!(read.covered, ["body", "timestamp", "token", "{http://www.w3.org/2005/08/addressing}To", "{urn:x}Other"]);
    assert_eq!(refused(&world, &text.replace("</s:Header>", "<y:Late xmlns:y='urn:y'/></s:Header>")), Reason::PartNotSigned);
    assert_eq!(refused(&world, &text.replace("urn:to", "urn:elsewhere")), Reason::DigestMismatch);
    let only = signer.with(&[Part::Body, Part::Timestamp], KeyReference::Direct);
    let text = write(&Header { sign: only, token, ..plain() }, &before).unwrap();
    assert_eq!(refused(&world, &text), Reason::PartNotSigned);
}

#[test]
fn a_holder_of_key_shows_the_key_and_may_write_new_messages() {
    let client = Signer::of("client-rsa2048");
    let other = Signer::of("other-rsa2048");
    let parts = [Part::Body, Part::Timestamp];
    for version in [Version::Saml20, Version::Saml11] {
        let xml = assertion(version, ConfirmationMethod::HolderOfKey, Some("client-rsa2048")).signed(&issuer()).unwrap();
        let token = token(&xml, version, AssertionReference::Direct);
        let mut world = World::of(&[TokenKind::Saml]).conceding(&[Concession::Saml11]);
        for reference in [KeyReference::Assertion, KeyReference::Direct] {
            let text = write(&Header { token, sign: client.with(&parts, reference), ..plain() }, &envelope(Soap::Soap12, "")).unwrap();
            let read = accepted(&world, &text);
            let key = KeyId::of_certificate(&der("client-rsa2048.crt")).unwrap();
            assert_eq!(read.assertion.unwrap().confirmed, Confirmed::HolderOfKey(key));
            // The assertion itself is not spent: it is for many messages.
            assert_eq!(read.replay.len(), 1);
            let stolen = write(&Header { token, sign: other.with(&parts, reference), ..plain() }, &envelope(Soap::Soap12, "")).unwrap();
            assert!(matches!(refused(&world, &stolen), Reason::UnknownKey | Reason::SignatureInvalid), "{reference:?}");
        }
        let naked = write(&Header { token, ..plain() }, &envelope(Soap::Soap12, "")).unwrap();
        assert_eq!(refused(&world, &naked), Reason::SignatureMissing);
        world.peer = Some(der("client-rsa2048.crt"));
        assert_eq!(refused(&world, &naked), Reason::SignatureMissing);
        world.concessions = world.concessions.with(Concession::HolderOfKeyByTls);
        assert!(matches!(accepted(&world, &naked).assertion.unwrap().confirmed, Confirmed::HolderByTls(_)));
        world.peer = Some(der("other-rsa2048.crt"));
        assert_eq!(refused(&world, &naked), Reason::SignatureMissing);
    }
}

#[test]
fn a_sender_vouches_for_one_document() {
    let attester = Signer::of("client-rsa2048");
    let parts = [Part::Token, Part::Body, Part::Timestamp];
    for version in [Version::Saml20, Version::Saml11] {
        let content = assertion(version, ConfirmationMethod::SenderVouches, None);
        for (xml, reference) in [
            (content.to_xml().unwrap(), AssertionReference::Direct),
            (content.to_xml().unwrap(), AssertionReference::Transformed),
            (content.signed(&issuer()).unwrap(), AssertionReference::Transformed),
        ] {
            let token = token(&xml, version, reference);
            let header = Header { token, sign: attester.with(&parts, KeyReference::Direct), ..plain() };
            let text = write(&header, &envelope(Soap::Soap11, "")).unwrap();
            let world = World::of(&[TokenKind::Saml]).conceding(&[Concession::Saml11, Concession::SenderVouches]);
            let read = accepted(&world, &text);
            assert_eq!(read.covered, ["body", "timestamp", "token"]);
            assert!(matches!(read.assertion.unwrap().confirmed, Confirmed::SenderVouches(_)));
            // The message once, and the assertion bound to its Body.
            assert_eq!(read.replay.len(), 2);
            assert_eq!(refused(&world, &text.replace("<o:id>7", "<o:id>8")), Reason::DigestMismatch);
            assert!(matches!(refused(&world, &text.replace("alice@", "admin@")), Reason::DigestMismatch));
            let strict = World::of(&[TokenKind::Saml]).conceding(&[Concession::Saml11]);
            assert_eq!(refused(&strict, &text), Reason::NotEnabled);
            let half = Header { sign: attester.with(&[Part::Token, Part::Timestamp], KeyReference::Direct), ..header };
            assert_eq!(refused(&world, &write(&half, &envelope(Soap::Soap11, "")).unwrap()), Reason::PartNotSigned);
            let other = Signer::of("other-rsa2048");
            let foreign = Header { sign: other.with(&parts, KeyReference::Direct), ..header };
            assert_eq!(refused(&world, &write(&foreign, &envelope(Soap::Soap11, "")).unwrap()), Reason::UnknownKey);
        }
    }
}

#[test]
fn what_is_encrypted_for_the_service_is_read_by_its_key_alone() {
    let signer = Signer::of("client-rsa2048");
    let certificate = der("server-rsa2048.crt");
    let parts = [Part::Body, Part::Timestamp, Part::Token];
    let token = Token::Username { name: "alice", password: Password::Text("wonderland") };
    let everything = [EncryptedPart::Body, EncryptedPart::Token, EncryptedPart::Signature];
    for (hashes, size) in [((OaepHash::Sha1, OaepHash::Sha1), AesSize::Aes128), ((OaepHash::Sha256, OaepHash::Sha256), AesSize::Aes256)] {
        let encrypt = Some(EncryptFor { certificate: &certificate, parts: &everything, size, hashes });
        let header = Header { token, sign: signer.with(&parts, KeyReference::Direct), encrypt, ..plain() };
        let before = envelope(Soap::Soap11, "");
        let text = write(&header, &before).unwrap();
        assert!(!text.contains("GetOrder") && !text.contains("wonderland") && !text.contains("SignatureValue"));
        let mut world = World::of(&[TokenKind::Username, TokenKind::X509]).decrypting();
        // Encrypted, a password may travel openly.
        world.protected = false;
        let read = accepted(&world, &text);
        assert_eq!(read.covered, ["body", "timestamp", "token"]);
        assert_eq!(read.message.envelope().operation().unwrap().local, "GetOrder");
        world.decryption = None;
        assert_eq!(refused(&world, &text), Reason::NoCredentials);
    }
}

#[test]
fn what_was_encrypted_before_it_was_signed_is_verified_first() {
    let signer = Signer::of("client-rsa2048");
    let certificate = der("server-rsa2048.crt");
    let hashes = (OaepHash::Sha256, OaepHash::Sha256);
    let encrypt = EncryptFor { certificate: &certificate, parts: &[EncryptedPart::Body], size: AesSize::Aes256, hashes };
    let sealed = write(&Header { encrypt: Some(encrypt), ..plain() }, &envelope(Soap::Soap11, "")).unwrap();
    let message = Message::read(sealed.as_bytes(), &Limits::SOAP).unwrap();
    for reference in [KeyReference::Direct, KeyReference::Thumbprint] {
        let sign = signer.with(&[Part::Body, Part::Timestamp], reference);
        let header = Header { sign, lifetime: Lifetime::Unsaid, ..plain() };
        let text = header.write(&message, &Limits::SOAP, now(), &Randomness([9; 32])).unwrap();
        let text = String::from_utf8(text).unwrap();
        let mut world = World::of(&[TokenKind::X509]).decrypting();
        let read = accepted(&world, &text);
        assert_eq!(read.covered, ["body", "timestamp"], "{reference:?}");
        assert_eq!(read.message.envelope().operation().unwrap().local, "GetOrder");
        assert_eq!(refused(&world, &text.replace("aes256-gcm", "aes128-gcm")), Reason::DigestMismatch);
        // The service behind may be the one that decrypts.
        world.decryption = None;
        assert_eq!(accepted(&world, &text).message.envelope().operation().unwrap().local, "EncryptedData");
    }
}

#[test]
fn a_header_is_joined_removed_or_in_the_way() {
    let signer = Signer::of("client-rsa2048");
    let token = Token::Username { name: "alice", password: Password::Digest("wonderland") };
    let with_name = write(&Header { token, lifetime: Lifetime::Unsaid, ..plain() }, &envelope(Soap::Soap11, "")).unwrap();
    let sign = signer.with(&[Part::Body, Part::Timestamp], KeyReference::Direct);

    let joined = write(&Header { sign, ..plain() }, &with_name).unwrap();
    assert_eq!(joined.matches("<wsse:Security ").count(), 1);
    let read = accepted(&World::of(&[TokenKind::Username, TokenKind::X509]), &joined);
    assert_eq!(read.replay.len(), 2);

    let replaced = write(&Header { sign, consumed: Consumed::Removed(&Target::Ultimate), ..plain() }, &with_name).unwrap();
    assert!(!replaced.contains("UsernameToken"));
    assert_eq!(accepted(&World::of(&[TokenKind::X509]), &replaced).covered, ["body", "timestamp"]);

    let message = Message::read(with_name.as_bytes(), &Limits::SOAP).unwrap();
    let stripped = String::from_utf8(Header::remove(&message, &Target::Ultimate).unwrap()).unwrap();
    assert_eq!(stripped, without(&with_name, "<wsse:Security", "</wsse:Security>"));

    let role = Target::Role("urn:next-hop".to_owned());
    let beside =
        Header { role: &role, sign, consumed: Consumed::Optional(&Target::Ultimate), must_understand: MustUnderstand::Omitted, ..plain() };
    let both = write(&beside, &with_name).unwrap();
    assert!(!both.contains("mustUnderstand"));
    assert!(World::of(&[TokenKind::Username]).judge(both.as_bytes()).is_ok());

    assert_eq!(write(&Header { token, ..plain() }, &with_name), Err(Error::RoleConflict(Conflict::Token)));
    let dated = write(&plain(), &envelope(Soap::Soap11, "")).unwrap();
    assert_eq!(write(&Header { sign, ..plain() }, &dated), Err(Error::RoleConflict(Conflict::Timestamp)));
    let named = dated.replace(
        "<wsse:Security ",
        "<wsse:Security xmlns:u='http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd' u:Id='x' ",
    );
    assert_eq!(write(&plain(), &named), Err(Error::RoleConflict(Conflict::SignedHeader)));
    let unsigned = Header { sign: signer.with(&[], KeyReference::Direct), ..plain() };
    assert_eq!(write(&unsigned, &envelope(Soap::Soap11, "")), Err(Error::Missing("part to sign")));
    let gone = [Part::Header("urn:x".to_owned(), "Gone".to_owned())];
    let missing = Header { sign: signer.with(&gone, KeyReference::Direct), ..plain() };
    assert_eq!(write(&missing, &envelope(Soap::Soap11, "")), Err(Error::Missing("header block to sign")));
}

#[test]
fn a_signature_of_the_sender_survives_what_is_written_beside_it() {
    let client = Signer::of("client-rsa2048");
    let gateway = Signer::of("server-rsa2048");
    let parts = [Part::Body, Part::Timestamp];
    let signed = write(&Header { sign: client.with(&parts, KeyReference::Direct), ..plain() }, &envelope(Soap::Soap12, "")).unwrap();
    let xml = assertion(Version::Saml20, ConfirmationMethod::SenderVouches, None).to_xml().unwrap();
    let role = Target::Role("urn:service".to_owned());
    let vouched = [Part::Token, Part::Body, Part::Timestamp];
    let header = Header {
        role: &role,
        token: token(&xml, Version::Saml20, AssertionReference::Transformed),
        sign: gateway.with(&vouched, KeyReference::Thumbprint),
        ..plain()
    };
    // Another hop writes with other random octets.
    let message = Message::read(signed.as_bytes(), &Limits::SOAP).unwrap();
    let both = header.write(&message, &Limits::SOAP, now(), &Randomness([9; 32])).unwrap();
    assert_eq!(World::of(&[TokenKind::X509]).judge(&both).unwrap().covered, ["body", "timestamp"]);
    let mut world = World::of(&[TokenKind::Saml]).conceding(&[Concession::SenderVouches]);
    world.issuers[0].attesters.know(&der("server-rsa2048.crt")).unwrap();
    world.role = role;
    assert_eq!(world.judge(&both).map(|read| read.covered).unwrap(), ["body", "timestamp", "token"]);
}

#[test]
fn no_octet_of_what_is_covered_may_change() {
    let signer = Signer::of("client-rsa2048");
    let sign = signer.with(&[Part::Body, Part::Timestamp, Part::Token], KeyReference::Direct);
    let text = write(&Header { sign, ..plain() }, &envelope(Soap::Soap12, "")).unwrap();
    let world = World::of(&[TokenKind::X509]);
    let content = |octets: &[u8]| {
        let read = world.judge(octets).ok()?;
        let places = [read.message.envelope().body().clone()];
        let covered = places.iter().filter_map(|place| read.signatures[0].part(place));
        Some((covered.map(|part| part.canonical().unwrap()).collect::<Vec<_>>(), read.timestamp, read.covered))
    };
    let good = content(text.as_bytes()).unwrap();
    let mut refused = 0;
    for place in 0..text.len() {
        let mut octets = text.clone().into_bytes();
        octets[place] = if octets[place] == b'1' { b'2' } else { b'1' };
        match content(&octets) {
            None => refused += 1,
            // White space in tags, and what surrounds the signed parts.
            Some(other) => assert_eq!(other, good, "octet {place}"),
        }
    }
    assert!(refused * 10 > text.len() * 9, "{refused} of {}", text.len());
}

#[test]
fn a_vouched_assertion_belongs_to_its_body() {
    use vestibule_wss::Replay;
    let attester = Signer::of("client-rsa2048");
    let xml = assertion(Version::Saml20, ConfirmationMethod::SenderVouches, None).to_xml().unwrap();
    let parts = [Part::Token, Part::Body, Part::Timestamp];
    let bound = |body: &str| {
        let sign = attester.with(&parts, KeyReference::Direct);
        let header = Header { token: token(&xml, Version::Saml20, AssertionReference::Direct), sign, ..plain() };
        let text = write(&header, &envelope(Soap::Soap11, "").replace("<o:id>7", body)).unwrap();
        let read = accepted(&World::of(&[TokenKind::Saml]).conceding(&[Concession::SenderVouches]), &text);
        let found = read.replay.into_iter().find_map(|condition| match condition {
            Replay::Bound { key, digest, until } => Some((key, digest, until)),
            Replay::Once { .. } => None,
        });
        found.unwrap()
    };
    let (first, other) = (bound("<o:id>7"), bound("<o:id>8"));
    assert_eq!(first, bound("<o:id>7"));
    assert_eq!(first.0, other.0);
    assert_ne!(first.1, other.1);
    assert_eq!(first.2, "2026-03-01T12:05:30Z".parse().unwrap());
}

/// Attack 57 among those who are trusted: what another one signed once stands beside what the sender signs, where nobody reads it. Whose
/// the message is says the signature over what is read.
#[test]
fn a_signature_of_another_over_something_else_makes_nobody_of_the_sender() {
    let (another, sender) = (Signer::of("client-rsa2048"), Signer::of("other-rsa2048"));
    let mut world = World::of(&[TokenKind::X509]);
    world.certificates.know(&der("other-rsa2048.crt")).unwrap();
    let parts = [Part::Body, Part::Timestamp];
    let signed = |signer: &Signer, random: u8| {
        let message = Message::read(envelope(Soap::Soap11, "").as_bytes(), &Limits::SOAP).unwrap();
        let header = Header { sign: signer.with(&parts, KeyReference::Direct), ..plain() };
        String::from_utf8(header.write(&message, &Limits::SOAP, now(), &Randomness([random; 32])).unwrap()).unwrap()
    };
    let (old, own) = (signed(&another, 8), signed(&sender, 7));
    let of = |name: &str, end: &str| &old[old.find(name).unwrap()..old.find(end).unwrap() + end.len()];
    let proof = of("<wsse:BinarySecurityToken", "</wsse:BinarySecurityToken>").to_owned() + of("<ds:Signature ", "</ds:Signature>");
    let signed = of("<wsu:Timestamp", "</wsu:Timestamp>").to_owned() + of("<s:Body", "</s:Body>");
    let beside = own.replacen("</env:Header>", &format!("<w xmlns=\"urn:w\">{signed}</w></env:Header>"), 1);
    let begin = beside.find("<wsse:BinarySecurityToken").unwrap();
    for text in [
        format!("{}{proof}{}", &beside[..begin], &beside[begin..]),
        beside.replacen("</wsse:Security>", &format!("{proof}</wsse:Security>"), 1),
    ] {
        let read = accepted(&world, &text);
        assert_eq!(read.signatures.len(), 2);
        assert_eq!(read.certificate.unwrap().der(), der("other-rsa2048.crt"));
    }
    // Without his own he has nothing.
    let mine = &own[own.find("<ds:Signature ").unwrap()..own.find("</ds:Signature>").unwrap() + "</ds:Signature>".len()];
    let stolen = beside.replacen(mine, &proof, 1);
    assert_eq!(refused(&world, &stolen), Reason::Wrapped);
}

/// A name with its password, and a signature where that is asked for: it is known by whose key.
#[test]
fn the_key_beside_a_name_is_known_where_a_signature_is_asked_for() {
    let sender = Signer::of("client-rsa2048");
    let parts = [Part::Body, Part::Timestamp, Part::Token];
    let token = Token::Username { name: "alice", password: Password::Text("wonderland") };
    let text = write(&Header { token, sign: sender.with(&parts, KeyReference::Direct), ..plain() }, &envelope(Soap::Soap11, "")).unwrap();
    let mut world = World::of(&[TokenKind::Username]);
    assert!(accepted(&world, &text).certificate.is_none(), "nobody asked");
    world.parts = parts.to_vec();
    let read = accepted(&world, &text);
    assert_eq!(read.certificate.unwrap().der(), der("client-rsa2048.crt"));
    assert_eq!(read.covered, ["body", "timestamp", "token"]);
}
