//! Schemes and responses of type `ws-security`: certificates read, and what could never work refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use vestibule_engine::identity::{SchemeName, Username, password};
use vestibule_engine::secret::Secret;
use vestibule_saml::Version;
use vestibule_soap::Target;
use vestibule_wss::{Concession, EncryptedPart, KeyReference, Part, TokenKind, Window};
use vestibule_xmlsec::{DecryptionKeys, Messages, SigningKey, WebServices};

use super::Resolve;
use crate::config::checked::{
    Assertion, Conceded, Confirm, Encryption, Holder, Issuer, PasswordForm, PasswordSource, ResponseToken, SessionTicket,
    SessionTicketResponse, SigningCertificate, TicketPlace, Trust, WsSecurity, WsSecurityResponse,
};
use crate::config::file;
use crate::config::pem;
use crate::config::secrets::SecretRef;
use crate::config::values::{At, Period};
use crate::schemes::session_ticket;
use crate::schemes::ws_security::Subject;
use crate::ticket;

/// The oldest message that may be accepted at all: whoever records one can use it for so long where the store forgets.
const MAX_AGE: Duration = Duration::from_secs(3600);
/// The longest life of an assertion, which cannot be called back.
const MAX_LIFETIME: Duration = Duration::from_secs(3600);
/// The words of the parts.
const PARTS: &str = "write body, timestamp, token, wsa, headers, envelope, or {namespace}name";

impl Resolve<'_> {
    pub(super) fn ws_security_scheme(&mut self, name: &At<String>, written: &file::WsSecurityScheme) -> WsSecurity {
        let token = match written.token.value {
            file::WsToken::Username => TokenKind::Username,
            file::WsToken::X509 => TokenKind::X509,
            file::WsToken::Saml => TokenKind::Saml,
        };
        let parts = self.parts(&written.require);
        let trust = self.trusted(&written.certificates, &written.ca, &written.crl);
        let realms = if token == TokenKind::Username { self.scheme_realms(&written.realm) } else { Vec::new() };
        if token != TokenKind::Username && !written.realm.value.0.is_empty() {
            self.error(&written.realm, "no password comes with this token, so no realm is asked");
        }
        let signed = token == TokenKind::X509 || (token == TokenKind::Username && !parts.is_empty());
        if signed && trust.is_empty() {
            self.error(&written.token, "nobody's signature would count").help =
                Some("name certificates = [\"partner.pem\"] or their authority, ca = [\"partners-ca.pem\"]".to_owned());
        }
        let (issuers, audience) = if token == TokenKind::Saml { self.issuers(written) } else { (Vec::new(), String::new()) };
        let subject = self.subject(&written.subject);
        let decryption = written.decryption_keys.iter().filter_map(|at| self.decryption_key(at)).collect();
        let seconds = |duration: Duration| jiff::SignedDuration::try_from(duration).unwrap_or(jiff::SignedDuration::ZERO);
        for at in [&written.max_age, &written.future, &written.skew] {
            if at.value.0 > MAX_AGE {
                self.error(at, format!("a recorded message could be used for longer than {}", Period(MAX_AGE)));
            }
        }
        let window = Window {
            max_age: seconds(self.positive(&written.max_age)),
            future: seconds(written.future.value.0),
            skew: seconds(written.skew.value.0),
        };
        let scheme = SchemeName::from(name.value.as_str());
        let granted = |concession: &Concession| self.is_conceded(&Conceded::WsSecurity(scheme.clone(), *concession));
        let concessions = Concession::ALL.iter().copied().filter(granted).collect();
        WsSecurity {
            token,
            role: role(written.role.as_ref()),
            parts,
            realms,
            trust,
            mapping: self.mapping(&written.map),
            suffix: written.suffix.clone(),
            issuers,
            audience,
            recipients: written.recipients.clone(),
            subject,
            decryption,
            window,
            concessions,
            on_reject: match written.on_reject {
                file::OnReject::Continue => vestibule_engine::chain::OnReject::Continue,
                file::OnReject::Stop => vestibule_engine::chain::OnReject::Stop,
            },
        }
    }

    fn parts(&mut self, written: &[At<String>]) -> Vec<Part> {
        let mut parts = Vec::new();
        for at in written {
            match Part::parse(&at.value) {
                Some(part) => parts.push(part),
                None => self.error(at, format!("`{}` is no part of a message", at.value)).help = Some(PARTS.to_owned()),
            }
        }
        parts
    }

    fn ders(&mut self, files: &[At<PathBuf>]) -> Vec<Vec<u8>> {
        let mut ders = Vec::new();
        for at in files {
            let path = self.named_file(at);
            let found = self.or_error(at, pem::certificates(&path)).unwrap_or_default();
            for der in found {
                if let Err(why) = vestibule_wss::Certificate::from_der(&der) {
                    self.error(at, format!("the certificate cannot be used: {why}"));
                }
                ders.push(der.to_vec());
            }
        }
        ders
    }

    fn trusted(&mut self, known: &[At<PathBuf>], anchors: &[At<PathBuf>], lists: &[At<PathBuf>]) -> Trust {
        let (known_ders, anchor_ders) = (self.ders(known), self.ders(anchors));
        let mut revoked = Vec::new();
        for at in lists {
            let path = self.named_file(at);
            let found = self.or_error(at, pem::revocation_lists(&path)).unwrap_or_default();
            revoked.extend(found.into_iter().map(|(list, _)| list.to_vec()));
        }
        let trust = Trust { known: known_ders, anchors: anchor_ders, lists: revoked };
        if let (Some(at), Err(why)) = (known.first().or(anchors.first()).or(lists.first()), trust.store()) {
            self.error(at, format!("these certificates cannot be used: {why}"));
        }
        trust
    }

    fn issuers(&mut self, written: &file::WsSecurityScheme) -> (Vec<Issuer>, String) {
        if written.issuers.is_empty() {
            self.error(&written.token, "nobody's assertions would count").help =
                Some("add issuers = [{ entity_id = \"…\", certificates = [\"idp.pem\"] }]".to_owned());
        }
        let mut issuers: Vec<Issuer> = Vec::new();
        for At { value: one, .. } in &written.issuers {
            let certificates = self.ders(&one.certificates);
            if certificates.is_empty() {
                self.error(&one.entity_id, "an issuer without certificate could sign nothing");
            }
            if issuers.iter().any(|other| other.entity_id == one.entity_id.value) {
                self.error(&one.entity_id, format!("the issuer `{}` is listed twice", one.entity_id.value));
            }
            let attesters = if one.attesters.is_empty() { certificates.clone() } else { self.ders(&one.attesters) };
            issuers.push(Issuer { entity_id: one.entity_id.value.clone(), certificates, attesters });
        }
        match written.audience.as_ref().filter(|at| !at.value.trim().is_empty()) {
            Some(at) => (issuers, at.value.clone()),
            None => {
                self.error(&written.token, "an assertion made for somebody else would count here").help =
                    Some("say who we are, as in audience = \"urn:north:orders\"".to_owned());
                (issuers, String::new())
            }
        }
    }

    fn subject(&mut self, at: &At<String>) -> Subject {
        match at.value.as_str() {
            "name" => Subject::Name,
            "linked" => Subject::Linked,
            "ticket" => Subject::Ticket,
            other => match other.strip_prefix("attribute:").filter(|name| !name.is_empty()) {
                Some(name) => Subject::Attribute(name.to_owned()),
                None => {
                    self.error(at, format!("`{other}` names no user")).help =
                        Some("write name, linked, ticket or attribute:NAME".to_owned());
                    Subject::Name
                }
            },
        }
    }

    fn private_key(&mut self, at: &At<SecretRef>) -> Option<Secret<Vec<u8>>> {
        let text = self.secret(at)?;
        self.or_error(at, pem::pkcs8(&text))
    }

    fn decryption_key(&mut self, at: &At<SecretRef>) -> Option<Secret<Vec<u8>>> {
        let key = self.private_key(at)?;
        let usable = DecryptionKeys::<Messages>::new().add_pkcs8(DECRYPTION, key.reveal());
        if let Err(why) = usable {
            self.error(at, format!("this key cannot decrypt: {why}"));
        }
        Some(key)
    }

    pub(super) fn shared_secrets(&mut self, written: &file::SharedSecretsRealm) -> BTreeMap<Username, Secret<String>> {
        let mut secrets = BTreeMap::new();
        let Some(text) = self.secret(&written.users) else { return secrets };
        for (number, line) in text.reveal().lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let read = line.split_once(':').and_then(|(name, word)| Some((Username::parse(name)?, password(word)?)));
            match read.filter(|(_, word)| !word.reveal().is_empty()) {
                Some((name, word)) => drop(secrets.insert(name, word)),
                // Never the line: half of it is a password.
                None => {
                    self.error(&written.users, format!("line {} is not of the form name:password", number + 1));
                }
            }
        }
        secrets
    }

    pub(super) fn ws_security_response(&mut self, name: &At<String>, written: &file::WsSecurityResponse) -> Option<WsSecurityResponse> {
        let certificate = self.signing_certificate(written);
        let sign = written.sign.as_ref().map(|parts| self.parts(parts));
        let token = self.response_token(name, written)?;
        let vouched =
            matches!(&token, ResponseToken::Saml(Assertion { confirm: Confirm::SenderVouches | Confirm::SenderVouchesSigned, .. }));
        let sign = sign.unwrap_or_else(|| match (&token, vouched) {
            (ResponseToken::X509, _) => vec![Part::Envelope],
            (ResponseToken::Saml(_), true) => vec![Part::Token, Part::Body, Part::Timestamp],
            (ResponseToken::Password { .. } | ResponseToken::Saml(_), _) => Vec::new(),
        });
        let signs = !sign.is_empty() || matches!(token, ResponseToken::Saml(_));
        if signs && certificate.is_none() && written.certificate.is_none() {
            self.error(name, format!("the response `{}` signs, but has no key", name.value)).help =
                Some("add certificate = \"tls/soap.pem\" and key = { file = \"tls/soap.key\" }".to_owned());
        }
        if sign.is_empty() && (vouched || token == ResponseToken::X509) {
            self.error(name, format!("the response `{}` proves nothing without a signature", name.value)).help =
                Some("remove sign = [], so that what is needed is signed".to_owned());
        }
        let missing = [Part::Token, Part::Body, Part::Timestamp].into_iter().find(|part| vouched && !covers(&sign, part));
        if let Some(part) = missing {
            self.error(name, format!("what vouches for an assertion covers {}", part.name())).help = Some("remove `sign`".to_owned());
        }
        if !written.timestamp && sign.contains(&Part::Timestamp) {
            self.error(name, "there is no timestamp to sign").help = Some("remove timestamp = false".to_owned());
        }
        let encrypt = written.encrypt_for.as_ref().and_then(|at| {
            let der = self.ders(std::slice::from_ref(at)).into_iter().next()?;
            if let Err(why) = vestibule_xmlsec::Recipient::from_certificate(&der) {
                self.error(at, format!("nothing can be encrypted for this certificate: {why}"));
            }
            let parts = written.encrypt_parts.iter().map(|part| match part {
                file::WsEncryptedPart::Body => EncryptedPart::Body,
                file::WsEncryptedPart::Token => EncryptedPart::Token,
                file::WsEncryptedPart::Signature => EncryptedPart::Signature,
            });
            // A certificate is nothing to hide, and nothing else is a token of its kind.
            let parts = parts.filter(|part| *part != EncryptedPart::Token || token != ResponseToken::X509).collect();
            Some(Encryption { certificate: der, parts })
        });
        Some(WsSecurityResponse {
            role: role(written.role.as_ref()),
            lifetime: written.timestamp.then(|| self.positive(&written.lifetime)),
            certificate,
            sign,
            reference: match written.reference {
                file::WsReference::Direct => KeyReference::Direct,
                file::WsReference::Ski => KeyReference::SubjectKeyIdentifier,
                file::WsReference::Thumbprint => KeyReference::Thumbprint,
                file::WsReference::IssuerSerial => KeyReference::IssuerSerial,
            },
            encrypt,
            must_understand: written.must_understand.unwrap_or(true),
            remove: written.remove,
            token,
        })
    }

    fn signing_certificate(&mut self, written: &file::WsSecurityResponse) -> Option<SigningCertificate> {
        match (&written.certificate, &written.key) {
            (None, None) => None,
            (Some(at), None) => {
                self.error(at, "a certificate signs nothing without its key").help = Some("add key = { file = \"…\" }".to_owned());
                None
            }
            (None, Some(at)) => {
                self.error(at, "receivers would not know whose key this is").help = Some("add certificate = \"…\"".to_owned());
                None
            }
            (Some(certificate), Some(key)) => {
                let der = self.ders(std::slice::from_ref(certificate)).into_iter().next()?;
                let secret = self.private_key(key)?;
                if let Err(why) = SigningKey::<WebServices>::from_pkcs8(SIGNING, secret.reveal(), Some(&der)) {
                    self.error(key, format!("this key cannot sign with that certificate: {why}"));
                }
                Some(SigningCertificate { certificate: der, key: secret })
            }
        }
    }

    fn response_token(&mut self, name: &At<String>, written: &file::WsSecurityResponse) -> Option<ResponseToken> {
        let form = match written.token.value {
            file::WsResponseToken::PasswordDigest => PasswordForm::Digest,
            file::WsResponseToken::PasswordText => PasswordForm::Text,
            file::WsResponseToken::X509 => return Some(ResponseToken::X509),
            file::WsResponseToken::Saml => {
                let Some(assertion) = &written.assertion else {
                    self.error(&written.token, "nothing says what the assertion says").help =
                        Some(format!("add [response.{}.assertion] with issuer, audience and confirm", name.value));
                    return None;
                };
                return self.assertion(assertion).map(ResponseToken::Saml);
            }
        };
        let source = match (&written.password, &written.shared_password) {
            (None, Some(at)) => PasswordSource::Shared(self.secret(at)?),
            (Some(at), None) if at.value == "received" => PasswordSource::Received,
            (Some(at), None) => match at.value.strip_prefix("attribute:").filter(|name| !name.is_empty()) {
                Some(name) => PasswordSource::Attribute(name.to_owned()),
                None => {
                    self.error(at, format!("`{}` is no password", at.value)).help =
                        Some("write received, attribute:NAME, or shared_password = { file = \"…\" }".to_owned());
                    return None;
                }
            },
            (None, None) | (Some(_), Some(_)) => {
                self.error(&written.token, "a password comes from one place").help =
                    Some("write password = \"received\", or shared_password = { file = \"…\" }".to_owned());
                return None;
            }
        };
        Some(ResponseToken::Password { form, source })
    }

    fn assertion(&mut self, written: &file::WsAssertion) -> Option<Assertion> {
        let lifetime = written.lifetime.value.0;
        if !(Duration::from_secs(10)..=MAX_LIFETIME).contains(&lifetime) {
            self.error(&written.lifetime, format!("an assertion is valid for 10s to {}", Period(MAX_LIFETIME)));
        }
        if written.audience.value.0.is_empty() {
            self.error(&written.audience, "an assertion for everybody is one for thieves");
        }
        let confirm = match (written.confirm.value, &written.holder) {
            (file::WsConfirm::HolderOfKey, Some(at)) => Confirm::HolderOfKey(self.holder(at)?),
            (file::WsConfirm::HolderOfKey, None) => {
                self.error(&written.confirm, "nothing says whose key the holder has").help = Some("add holder = \"message\"".to_owned());
                return None;
            }
            (file::WsConfirm::SenderVouches | file::WsConfirm::SenderVouchesSigned, Some(at)) => {
                self.error(at, "an assertion that we vouch for has no holder");
                return None;
            }
            (file::WsConfirm::SenderVouches, None) => Confirm::SenderVouches,
            (file::WsConfirm::SenderVouchesSigned, None) => Confirm::SenderVouchesSigned,
        };
        if written.ticket.value && !matches!(confirm, Confirm::HolderOfKey(_)) {
            self.error(&written.ticket, "a ticket in an assertion that nobody holds is anybody's").help =
                Some("write confirm = \"holder-of-key\"".to_owned());
        }
        if written.attributes.0.iter().any(|(name, _)| name.value == ticket::ATTRIBUTE) {
            self.error(&written.ticket, format!("the attribute `{}` is a ticket's", ticket::ATTRIBUTE));
        }
        let attributes = written.attributes.0.iter();
        Some(Assertion {
            ticket: written.ticket.value,
            version: match written.version {
                file::WsSamlVersion::Saml20 => Version::Saml20,
                file::WsSamlVersion::Saml11 => Version::Saml11,
            },
            issuer: written.issuer.value.clone(),
            audience: written.audience.value.0.iter().map(|at| at.value.clone()).collect(),
            confirm,
            lifetime,
            name: self.fact(&written.name)?,
            format: written.format.clone(),
            attributes: attributes.filter_map(|(name, fact)| Some((name.value.clone(), self.fact(fact)?))).collect(),
        })
    }
}

impl Resolve<'_> {
    fn holder(&mut self, at: &At<String>) -> Option<Holder> {
        Some(match at.value.as_str() {
            "message" => Holder::Message,
            "client-certificate" => Holder::ClientCertificate,
            other => match other.strip_prefix("attribute:").filter(|name| !name.is_empty()) {
                Some(name) => Holder::Attribute(name.to_owned()),
                None => {
                    self.error(at, format!("`{other}` is nobody's key")).help =
                        Some("write message, client-certificate or attribute:NAME".to_owned());
                    return None;
                }
            },
        })
    }

    pub(super) fn session_ticket_scheme(&mut self, written: &file::SessionTicketScheme) -> SessionTicket {
        let header = self.settable_header(&written.header);
        let cookie = self.ticket_cookie(&written.cookie);
        if written.max_age.value.0 > MAX_AGE {
            self.error(&written.max_age, format!("a recorded message could be used for longer than {}", Period(MAX_AGE)));
        }
        let max_age = self.positive(&written.max_age);
        let max_age = jiff::SignedDuration::try_from(max_age).unwrap_or(jiff::SignedDuration::ZERO);
        if let Some(at) = written.role.as_ref().filter(|_| !written.signed) {
            self.error(at, "no security header is read where nothing has to be signed");
        }
        let settings = session_ticket::Settings {
            cookie,
            // The fallback is never used: a refused header is an error.
            header: header.unwrap_or(http::header::AUTHORIZATION),
            signed: written.signed.then(|| (role(written.role.as_ref()), Window { max_age, ..Window::default() })),
        };
        let on_reject = match written.on_reject {
            file::OnReject::Continue => vestibule_engine::chain::OnReject::Continue,
            file::OnReject::Stop => vestibule_engine::chain::OnReject::Stop,
        };
        SessionTicket { settings, on_reject }
    }

    pub(super) fn session_ticket_response(&mut self, written: &file::SessionTicketResponse) -> Option<SessionTicketResponse> {
        let lifetime = written.lifetime.value.0;
        if !(Duration::from_secs(10)..=MAX_LIFETIME).contains(&lifetime) {
            self.error(&written.lifetime, format!("a ticket counts for 10s to {}", Period(MAX_LIFETIME)));
        }
        let named = |usual: &str| written.name.clone().unwrap_or_else(|| usual.to_owned().into());
        let to = match written.to {
            file::TicketTo::Header => TicketPlace::Header(self.settable_header(&named("tmsamlsessionticket"))?),
            file::TicketTo::Cookie => TicketPlace::Cookie(self.ticket_cookie(&named("tmsamlsession"))),
        };
        let holder = match &written.holder {
            Some(at) => Some(self.holder(at)?),
            None => None,
        };
        Some(SessionTicketResponse { to, holder, lifetime })
    }

    /// The name of a cookie of ours that others see, too.
    fn ticket_cookie(&mut self, at: &At<String>) -> String {
        let token = |character: char| character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character);
        if at.value.is_empty() || !at.value.chars().all(token) {
            self.error(at, format!("`{}` is no name of a cookie", at.value));
        } else if at.value.to_ascii_lowercase().trim_start_matches("__host-").starts_with("vestibule") {
            self.error(at, "cookies of this name are for browsers' sessions");
        }
        at.value.clone()
    }
}

/// The purpose of a key that signs messages.
pub const SIGNING: &str = <WebServices as vestibule_xmlsec::Purpose>::NAME;
/// The purpose of a key that decrypts them.
pub const DECRYPTION: &str = <Messages as vestibule_xmlsec::DecryptionPurpose>::NAME;

fn covers(sign: &[Part], part: &Part) -> bool {
    sign.contains(part) || sign.contains(&Part::Envelope)
}

fn role(written: Option<&At<String>>) -> Target {
    written.filter(|at| !at.value.is_empty()).map_or(Target::Ultimate, |at| Target::Role(at.value.clone()))
}
