//! Writing a header (SOAP Message Security §5 to §9; §12 of the reference): tokens, times, a signature, encryption for the
//! service, and the header that was consumed taken out.
//!
//! Nothing else of a message changes: a signature that its sender made still holds at the service. Namespaces are declared on
//! what is written, never on the envelope. Where something cannot be written, nothing is.

mod markup;

use jiff::SignedDuration;
use vestibule_saml::Version as SamlVersion;
use vestibule_soap::Target;
use vestibule_xmlsec::{
    AesSize, ContentKey, Document, Edit, EncryptedForm, EncryptedKeyInfo, Encryption, Fragment, Insertion, KeyInfo, Limits, NewAttribute,
    OaepHash, Part as SignedPart, Place, Placement, Profile, Recipient, SignedElement, Signing, SigningKey, Token as Named, WebServices,
};

use crate::certificates::Certificate;
use crate::error::{Conflict, Error};
use crate::header::{Identified, Item, SecurityHeader};
use crate::namespaces::{ADDRESSING, Era, WSSE, WSU};
use crate::rules::Part;
use crate::verify::Message;

/// A header to be written.
#[derive(Debug, Clone, Copy)]
pub struct Header<'a> {
    /// For whom.
    pub role: &'a Target,
    /// Whether the receiver has to understand it.
    pub must_understand: MustUnderstand,
    /// What becomes of the header that was read.
    pub consumed: Consumed<'a>,
    /// The Timestamp.
    pub lifetime: Lifetime,
    /// The token.
    pub token: Token<'a>,
    /// The signature.
    pub sign: Option<SignWith<'a>>,
    /// The encryption, after the signature.
    pub encrypt: Option<EncryptFor<'a>>,
}

/// Whether the receiver has to understand a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MustUnderstand {
    /// `mustUnderstand="1"`.
    Written,
    /// No attribute.
    Omitted,
}

/// What becomes of the header that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consumed<'a> {
    /// It stays as it is.
    Kept,
    /// It stays for this role, but nobody has to understand it any more.
    Optional(&'a Target),
    /// It is taken out: the service never sees the credentials.
    Removed(&'a Target),
}

/// The Timestamp of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// None is written.
    Unsaid,
    /// Only when it was made.
    Created,
    /// Also until when it counts.
    For(SignedDuration),
}

/// The token of a header.
#[derive(Debug, Clone, Copy)]
pub enum Token<'a> {
    /// None beside what the signature needs.
    Nothing,
    /// A user name.
    Username {
        /// The name.
        name: &'a str,
        /// What proves it.
        password: Password<'a>,
    },
    /// An assertion.
    Saml(Assertion<'a>),
}

/// What proves a user name. Its `Debug` does not show it.
#[derive(Clone, Copy)]
pub enum Password<'a> {
    /// The password, or its equivalent, as text.
    Text(&'a str),
    /// Its digest, with a nonce and the time.
    Digest(&'a str),
    /// Nothing: only beside a signature.
    Nothing,
}

impl std::fmt::Debug for Password<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Digest(_) => "Digest",
            Self::Nothing => "Nothing",
        })
    }
}

/// An assertion to be put into a header.
#[derive(Clone, Copy)]
pub struct Assertion<'a> {
    /// The element, signed by its issuer or not.
    pub xml: &'a Fragment,
    /// Its id.
    pub id: &'a str,
    /// Its version.
    pub version: SamlVersion,
    /// How the signature over the message covers it, where that is demanded.
    pub reference: AssertionReference,
}

impl std::fmt::Debug for Assertion<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Assertion({:?})", self.id)
    }
}

/// How a signature over a message covers an assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AssertionReference {
    /// By its id.
    Direct,
    /// By a `SecurityTokenReference` and the STR-Transform.
    Transformed,
}

/// A signature.
#[derive(Debug, Clone, Copy)]
pub struct SignWith<'a> {
    /// The key.
    pub key: &'a SigningKey<WebServices>,
    /// Its certificate (DER).
    pub certificate: &'a [u8],
    /// What it covers. An empty list is refused.
    pub parts: &'a [Part],
    /// How it names its certificate.
    pub reference: KeyReference,
}

/// How a signature names its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyReference {
    /// The certificate goes along as a `BinarySecurityToken`.
    Direct,
    /// By the SubjectKeyIdentifier extension.
    SubjectKeyIdentifier,
    /// By the SHA-1 of the certificate.
    Thumbprint,
    /// By issuer and serial number.
    IssuerSerial,
    /// By the assertion that names its holder.
    Assertion,
}

/// Encryption for a service.
#[derive(Debug, Clone, Copy)]
pub struct EncryptFor<'a> {
    /// The service's certificate (DER).
    pub certificate: &'a [u8],
    /// What is encrypted.
    pub parts: &'a [EncryptedPart],
    /// The size of the content key.
    pub size: AesSize,
    /// The hashes of OAEP and of its mask.
    pub hashes: (OaepHash, OaepHash),
}

/// Something to encrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EncryptedPart {
    /// The content of the Body.
    Body,
    /// The token.
    Token,
    /// The signature.
    Signature,
}

/// Fresh random octets, for ids and the nonce. Never the same twice.
#[derive(Clone, Copy)]
pub struct Randomness(pub [u8; 32]);

impl std::fmt::Debug for Randomness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Randomness")
    }
}

impl Randomness {
    fn id(&self, what: &str) -> String {
        let digit = |half: u8| char::from_digit(u32::from(half), 16).unwrap_or_default();
        let hex = self.0.iter().take(16).flat_map(|octet| [digit(octet >> 4), digit(octet & 0xf)]);
        ["_", &hex.collect::<String>(), "-", what].concat()
    }

    fn nonce(&self) -> &[u8] {
        self.0.get(16..).unwrap_or_default()
    }
}

impl Header<'_> {
    /// The message's octets with this header. `limits` are those of the message.
    ///
    /// # Errors
    /// [`Error::RoleConflict`] if the role has a header that this cannot be joined with, [`Error::Missing`] if something to be
    /// signed or encrypted is not there, [`Error::Unwritable`], [`Error::Xml`].
    pub fn write(&self, message: &Message, limits: &Limits, now: jiff::Timestamp, random: &Randomness) -> Result<Vec<u8>, Error> {
        let mut octets = self.with_tokens(message, now, random)?;
        if let Some(sign) = &self.sign {
            let joined = self.existing(message)?.is_some();
            octets = self.signed(sign, &Message::read(&octets, limits)?, joined, random)?;
        }
        if let Some(encrypt) = &self.encrypt {
            octets = self.encrypted(encrypt, octets, limits, random)?;
        }
        Ok(octets)
    }

    /// Takes a role's header out, and changes nothing else.
    ///
    /// # Errors
    /// [`Error::Xml`].
    pub fn remove(message: &Message, role: &Target) -> Result<Vec<u8>, Error> {
        let places: Vec<&Place> = message.headers_for(role).map(|header| &header.place).collect();
        let edits: Vec<Edit<'_>> = places.into_iter().map(Edit::Remove).collect();
        Ok(message.document().edit(&edits)?)
    }

    /// Tokens, Timestamp and ids.
    fn with_tokens(&self, message: &Message, now: jiff::Timestamp, random: &Randomness) -> Result<Vec<u8>, Error> {
        let envelope = message.envelope();
        let version = envelope.version();
        let items = self.items(now, random)?;
        let mut edits = Vec::new();
        match self.consumed {
            Consumed::Kept => {}
            Consumed::Optional(role) => {
                let headers = message.headers_for(role);
                edits.extend(headers.map(|header| Edit::WithoutAttribute(&header.place, version.namespace(), "mustUnderstand")));
            }
            Consumed::Removed(role) => edits.extend(message.headers_for(role).map(|header| Edit::Remove(&header.place))),
        }
        let existing = self.existing(message)?;
        let security = markup::security(version, self.role, self.must_understand, &items)?;
        let header;
        match (&existing, envelope.header()) {
            (Some(existing), _) => {
                edits.extend(items.iter().map(|item| Edit::Insert(Insertion::FirstIn(&existing.place), item)));
            }
            (None, Some(place)) => edits.push(Edit::Insert(Insertion::FirstIn(place), &security)),
            (None, None) => {
                header = markup::soap_header(version, &security)?;
                edits.push(Edit::Insert(Insertion::Before(envelope.body()), &header));
            }
        }
        let without_id: Vec<(&Place, String)> = self.without_id(message, random)?;
        let attribute = |id| NewAttribute { namespace: WSU, prefix: "wsu", local: "Id", value: id };
        edits.extend(without_id.iter().map(|(place, id)| Edit::Attribute(place, attribute(id))));
        Ok(message.document().edit(&edits)?)
    }

    /// The header of the role that what is written joins, if there is one that stays.
    fn existing<'m>(&'m self, message: &'m Message) -> Result<Option<&'m SecurityHeader>, Error> {
        if self.consumed == Consumed::Removed(self.role) {
            return Ok(None);
        }
        let mut headers = message.headers_for(self.role);
        let (Some(header), next) = (headers.next(), headers.next()) else { return Ok(None) };
        if next.is_some() || header.era != Era::Standard {
            return Err(Error::RoleConflict(Conflict::TwoHeaders));
        }
        // With an id it may be signed as a whole; what is put into it would break that.
        if header.id.is_some() {
            return Err(Error::RoleConflict(Conflict::SignedHeader));
        }
        let items = header.items.as_ref().map_err(|error| Error::Xml(error.clone()))?;
        for item in items {
            let conflict = match (item, self.token) {
                (Item::Timestamp { .. }, _) if self.lifetime != Lifetime::Unsaid => Conflict::Timestamp,
                (Item::Username(_), Token::Username { .. }) | (Item::Assertion(_), Token::Saml(_)) => Conflict::Token,
                _ => continue,
            };
            return Err(Error::RoleConflict(conflict));
        }
        Ok(Some(header))
    }

    /// What stands in the header but for the signature: a token before everything that refers to it (BSP R5205).
    fn items(&self, now: jiff::Timestamp, random: &Randomness) -> Result<Vec<Fragment>, Error> {
        let mut items = Vec::new();
        if let Some(SignWith { certificate, reference: KeyReference::Direct, .. }) = self.sign {
            items.push(markup::binary_token(&random.id("x509"), certificate)?);
        }
        match self.lifetime {
            Lifetime::Unsaid => {}
            Lifetime::Created => items.push(markup::timestamp(&random.id("ts"), now, None)?),
            Lifetime::For(length) => {
                let end = now.checked_add(length).ok().filter(|end| *end > now).ok_or(Error::Unwritable("a lifetime that is none"))?;
                items.push(markup::timestamp(&random.id("ts"), now, Some(end))?);
            }
        }
        match self.token {
            Token::Nothing => {}
            Token::Username { name, password } => {
                if matches!(password, Password::Nothing) && self.sign.is_none() {
                    return Err(Error::Unwritable("a user name that nothing proves"));
                }
                items.push(markup::username_token(&random.id("user"), name, password, random.nonce(), now)?);
            }
            Token::Saml(assertion) => {
                items.push(assertion.xml.clone());
                if assertion.reference == AssertionReference::Transformed && self.signs(&Part::Token) {
                    items.push(markup::assertion_reference(Some(&random.id("str")), assertion.id, assertion.version)?);
                }
            }
        }
        Ok(items)
    }

    fn signs(&self, part: &Part) -> bool {
        let parts = self.sign.map(|sign| sign.parts).unwrap_or_default();
        parts.contains(part) || (parts.contains(&Part::Envelope) && matches!(part, Part::Token | Part::Timestamp | Part::Body))
    }

    /// What has to be signed in the received message and has no id yet.
    fn without_id<'m>(&self, message: &'m Message, random: &Randomness) -> Result<Vec<(&'m Place, String)>, Error> {
        let Some(sign) = &self.sign else { return Ok(Vec::new()) };
        if sign.parts.is_empty() {
            return Err(Error::Missing("part to sign"));
        }
        let removed = |place: &Place| match self.consumed {
            Consumed::Removed(role) => message.headers_for(role).any(|header| header.place == *place),
            Consumed::Kept | Consumed::Optional(_) => false,
        };
        let mut wanted = Vec::new();
        if self.signs(&Part::Body) {
            let body = message.outline().body.as_ref().ok_or(Error::Missing("Body"))?;
            wanted.push((body, random.id("body")));
        }
        for (count, block) in blocks(message, sign.parts)?.into_iter().enumerate() {
            wanted.push((block, random.id(&format!("h{count}"))));
        }
        let without = wanted.into_iter().filter(|(element, _)| element.id.is_none() && !removed(&element.place));
        Ok(without.map(|(element, id)| (&element.place, id)).collect())
    }

    fn signed(&self, sign: &SignWith<'_>, message: &Message, joined: bool, random: &Randomness) -> Result<Vec<u8>, Error> {
        let header = message.headers_for(self.role).next().ok_or(Error::Missing("security header"))?;
        let items = header.items.as_ref().map_err(|error| Error::Xml(error.clone()))?;
        let at = |place| SignedPart::Element(SignedElement::At(place), &[]);
        let mut parts = Vec::new();
        let mut named = None;
        let mut reference = None;
        for item in items {
            match item {
                Item::Timestamp { place, .. } if self.signs(&Part::Timestamp) => parts.push(at(place)),
                Item::Username(token) if self.signs(&Part::Token) && matches!(self.token, Token::Username { .. }) => {
                    parts.push(at(&token.place));
                }
                Item::Binary(token) if self.signs(&Part::Token) && token.id.as_deref() == Some(&random.id("x509")) => {
                    parts.push(at(&token.place));
                }
                Item::Assertion(assertion) if self.signs(&Part::Token) => match self.token {
                    Token::Saml(Assertion { reference: AssertionReference::Transformed, .. }) => {
                        named = Some(Named::Element(assertion.place.clone()));
                    }
                    Token::Saml(_) => parts.push(at(&assertion.place)),
                    Token::Nothing | Token::Username { .. } => {}
                },
                Item::TokenReference { id, place } if id.as_deref() == Some(&random.id("str")) => reference = Some(place),
                _ => {}
            }
        }
        if self.signs(&Part::Timestamp) && !items.iter().any(|item| matches!(item, Item::Timestamp { .. })) {
            return Err(Error::Missing("Timestamp"));
        }
        if let (Some(named), Some(place)) = (&named, reference) {
            parts.push(SignedPart::Token(SignedElement::At(place), named));
        }
        parts.extend(blocks(message, sign.parts)?.into_iter().map(|block| at(&block.place)));
        if self.signs(&Part::Body) {
            parts.push(at(message.envelope().body()));
        }
        let tokens = items.iter().filter(|item| matches!(item, Item::Binary(_))).count();
        let placement = match (joined, sign.reference) {
            (false, _) => Placement::Last,
            // Receivers read from the top: what was signed last is verified first, before older parts are decrypted.
            (true, KeyReference::Direct) if tokens == 1 => Placement::After(WSSE, "BinarySecurityToken"),
            (true, _) => Placement::First,
        };
        let key_info = self.key_info(sign, random)?;
        let signing = Signing {
            parts: &parts,
            into: SignedElement::At(&header.place),
            placement,
            key_info: KeyInfo::Markup(&key_info),
            profile: &Profile::WS_SECURITY,
        };
        Ok(message.document().sign(&signing, sign.key)?)
    }

    fn key_info(&self, sign: &SignWith<'_>, random: &Randomness) -> Result<Fragment, Error> {
        let certificate = Certificate::from_der(sign.certificate)?;
        match (sign.reference, self.token) {
            (KeyReference::Direct, _) => markup::direct_reference(&random.id("x509")),
            (KeyReference::SubjectKeyIdentifier, _) => {
                let identifier = certificate.subject_key_identifier().ok_or(Error::Unwritable("a certificate without key identifier"))?;
                markup::key_identifier(crate::namespaces::SUBJECT_KEY_IDENTIFIER, identifier)
            }
            (KeyReference::Thumbprint, _) => markup::key_identifier(crate::namespaces::THUMBPRINT, certificate.thumbprint()),
            (KeyReference::IssuerSerial, _) => markup::issuer_serial(&certificate),
            (KeyReference::Assertion, Token::Saml(assertion)) => markup::assertion_reference(None, assertion.id, assertion.version),
            (KeyReference::Assertion, Token::Nothing | Token::Username { .. }) => Err(Error::Missing("assertion to name the key")),
        }
    }

    fn encrypted(&self, encrypt: &EncryptFor<'_>, octets: Vec<u8>, limits: &Limits, random: &Randomness) -> Result<Vec<u8>, Error> {
        let (digest, mask) = encrypt.hashes;
        let recipient = Recipient::from_certificate(encrypt.certificate)?.hashes(digest, mask);
        let key = ContentKey::generate(encrypt.size)?;
        let mut octets = octets;
        let mut ids = Vec::new();
        for (count, part) in encrypt.parts.iter().enumerate() {
            let message = Message::read(&octets, limits)?;
            let (place, form) = self.plaintext(*part, &message)?;
            let id = random.id(&format!("e{count}"));
            let encryption = Encryption { part: form, key: &key, key_info: EncryptedKeyInfo::Absent, id: Some(&id) };
            octets = message.document().encrypt(SignedElement::At(&place), &encryption)?;
            ids.push(id);
        }
        if ids.is_empty() {
            return Err(Error::Missing("part to encrypt"));
        }
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let named = markup::issuer_serial(&Certificate::from_der(encrypt.certificate)?)?;
        // Before everything it opens: receivers read from the top.
        let key = recipient.encrypted_key(&key, Some(&random.id("key")), Some(&named), &ids)?;
        let key = Fragment::parse(&key, limits)?;
        let message = Message::of(Document::parse_owned(octets, limits)?)?;
        let header = message.headers_for(self.role).next().ok_or(Error::Missing("security header"))?;
        Ok(message.document().edit(&[Edit::Insert(Insertion::FirstIn(&header.place), &key)])?)
    }

    fn plaintext(&self, part: EncryptedPart, message: &Message) -> Result<(Place, EncryptedForm<'static>), Error> {
        if part == EncryptedPart::Body {
            return Ok((message.envelope().body().clone(), EncryptedForm::Content));
        }
        let header = message.headers_for(self.role).next().ok_or(Error::Missing("security header"))?;
        let items = header.items.as_ref().map_err(|error| Error::Xml(error.clone()))?;
        let found = items.iter().rev().find_map(|item| match (item, part) {
            (Item::Signature(signature), EncryptedPart::Signature) => Some(&signature.place),
            (Item::Username(token), EncryptedPart::Token) => Some(&token.place),
            (Item::Assertion(assertion), EncryptedPart::Token) => Some(&assertion.place),
            _ => None,
        });
        let missing = if part == EncryptedPart::Token { "token to encrypt" } else { "signature to encrypt" };
        Ok((found.ok_or(Error::Missing(missing))?.clone(), EncryptedForm::Element))
    }
}

/// The header blocks that these parts name.
fn blocks<'m>(message: &'m Message, parts: &[Part]) -> Result<Vec<&'m Identified>, Error> {
    let outline = message.outline();
    let mut found: Vec<&Identified> = Vec::new();
    let all = parts.iter().any(|part| matches!(part, Part::Headers | Part::Envelope));
    for block in message.envelope().blocks() {
        let is_security = outline.headers.iter().any(|header| header.place == block.place);
        let named = parts.iter().any(|part| match part {
            Part::Addressing => ADDRESSING.contains(&block.namespace.as_str()),
            Part::Header(namespace, local) => block.is(namespace, local),
            Part::Body | Part::Timestamp | Part::Token | Part::Headers | Part::Envelope => false,
        });
        if !is_security && (all || named) {
            found.extend(outline.blocks.iter().find(|own| own.place == block.place));
        }
    }
    let missing = parts.iter().any(|part| match part {
        Part::Header(namespace, local) => !message.envelope().blocks().iter().any(|block| block.is(namespace, local)),
        Part::Body | Part::Timestamp | Part::Token | Part::Addressing | Part::Headers | Part::Envelope => false,
    });
    if missing { Err(Error::Missing("header block to sign")) } else { Ok(found) }
}
