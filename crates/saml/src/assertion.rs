//! Assertions of SAML 2.0 (core §2) and 1.1 (core §2) in one model.
//!
//! An [`Assertion`] is made from signed content only; what is to be signed is written from an [`AssertionContent`]. Both
//! hold the same words. Attackers try to have two readers see two values: text is read whole, whatever comments split it,
//! and two of what must be single are refused.

mod saml11;
mod saml20;

use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use vestibule_xmlsec::{
    Authority, Document, ElementView, Error as XmlError, Fragment, FromClaimed, FromSigned, Profile, Purpose, Signed, SignedElement,
    SigningKey, TrustedKeys, Unsigned, Verified,
};

use crate::binding::MESSAGE_LIMITS;
use crate::error::Error;
use crate::names::{DS, SAML, SAML1, SAMLP1, XSI};
use crate::protocol;
use crate::read;
use crate::write::Writer;

/// What an issuer asserts. Only a verified signature, or a channel that vouches, makes one.
///
/// ```compile_fail
/// # use vestibule_saml::{Assertion, AssertionContent};
/// fn forge(content: AssertionContent) -> Assertion {
///     Assertion(content)
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Assertion(AssertionContent);

impl Deref for Assertion {
    type Target = AssertionContent;

    fn deref(&self) -> &AssertionContent {
        &self.0
    }
}

impl fmt::Debug for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assertion({:?} of {:?})", self.0.version, self.0.issuer)
    }
}

impl Assertion {
    /// Reads an assertion that stands by itself and carries its own signature.
    ///
    /// # Errors
    /// [`Error::Xml`].
    pub fn verify(octets: &[u8], keys: &TrustedKeys, profile: &Profile) -> Result<Verified<Self>, Error> {
        let document = Document::parse(octets, &MESSAGE_LIMITS)?;
        let saml11 = document.claim::<IsSaml11>()?.sender_says().0;
        let path = [(if saml11 { SAML1 } else { SAML }, "Assertion")];
        Ok(document.verify(SignedElement::Path(&path), keys, profile)?.read()?)
    }
}

/// Which of the two namespaces the root element is in.
struct IsSaml11(bool);

impl FromClaimed for IsSaml11 {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        Ok(Self(root.namespace() == SAML1))
    }
}

impl FromSigned for Assertion {
    /// Of an assertion, or of the one that stands in a response that is covered as a whole.
    fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, XmlError> {
        let element = match protocol::response_in(&element)? {
            None => element,
            Some(response) => {
                let namespace = if response.namespace() == SAMLP1 { SAML1 } else { SAML };
                // Decryption leaves the plaintext where the ciphertext stood.
                let holder = response.child(SAML, "EncryptedAssertion")?.unwrap_or(response);
                if holder.is(SAML, "EncryptedAssertion") && response.child(namespace, "Assertion")?.is_some() {
                    return Err(XmlError::Ambiguous("Assertion".to_owned()));
                }
                holder.child(namespace, "Assertion")?.ok_or_else(|| XmlError::ElementMissing("Assertion".to_owned()))?
            }
        };
        if element.is(SAML, "Assertion") {
            saml20::read(&element).map(Self)
        } else if element.is(SAML1, "Assertion") {
            saml11::read(&element).map(Self)
        } else {
            Err(element.unreadable("an element that is no Assertion"))
        }
    }
}

/// The version of a message or assertion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// SAML 2.0.
    Saml20,
    /// SAML 1.1, and 1.0, which is read alike.
    Saml11,
}

/// What an assertion says, in the words of SAML 2.0. Times are UTC and count to the millisecond once written.
#[derive(Clone, PartialEq, Eq)]
pub struct AssertionContent {
    /// The version it is, or will be, written in.
    pub version: Version,
    /// `ID`; in 1.1 `AssertionID`.
    pub id: String,
    /// Who says it.
    pub issuer: String,
    /// The format of `issuer`; absent means an entity id. Not in 1.1.
    pub issuer_format: Option<String>,
    /// When it was issued.
    pub issue_instant: Timestamp,
    /// Whom it is about. In 1.1 the one subject of all its statements.
    pub subject: Option<Subject>,
    /// For whom and when it holds.
    pub conditions: Option<Conditions>,
    /// How and when the subject signed in.
    pub authn: Vec<AuthnStatement>,
    /// What is known of the subject.
    pub attributes: Vec<Attribute>,
}

impl fmt::Debug for AssertionContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AssertionContent({:?} of {:?})", self.version, self.issuer)
    }
}

impl AssertionContent {
    /// The element without a signature.
    ///
    /// # Errors
    /// [`Error::Character`] and [`Error::Unwritable`] for what XML or the version cannot say.
    pub fn to_xml(&self) -> Result<Fragment, Error> {
        match self.version {
            Version::Saml20 => saml20::write(self),
            Version::Saml11 => saml11::write(self),
        }
    }

    /// The element with its issuer's signature: in 2.0 behind the `Issuer`, in 1.1 at the end.
    ///
    /// # Errors
    /// As [`AssertionContent::to_xml`], and [`Error::Xml`] if the key cannot sign.
    pub fn signed<P: Purpose>(&self, key: &SigningKey<P>) -> Result<Fragment, Error> {
        Ok(self.to_xml()?.signed(&self.id, key)?)
    }

    /// The name of the subject.
    pub fn name_id(&self) -> Option<&NameId> {
        self.subject.as_ref().and_then(|subject| subject.name_id.as_ref())
    }

    /// Every text of every attribute of this name, whatever its format.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |attribute| attribute.name == name).flat_map(Attribute::texts)
    }
}

/// Whom an assertion is about (core §2.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Subject {
    /// Its name. Absent where only a confirmation identifies it.
    pub name_id: Option<NameId>,
    /// How whoever presents the assertion shows that it may.
    pub confirmations: Vec<Confirmation>,
}

/// A name (core §2.2.3). Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct NameId {
    /// The name, without white space around it.
    pub value: String,
    /// What kind of name; absent means unspecified.
    pub format: Option<String>,
    /// In whose realm the name is unique: for persistent names the identity provider.
    pub name_qualifier: Option<String>,
    /// For which service provider or affiliation it was made.
    pub sp_name_qualifier: Option<String>,
    /// The name that the service provider gave.
    pub sp_provided_id: Option<String>,
}

impl fmt::Debug for NameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NameId({})", self.format.as_deref().unwrap_or("no format"))
    }
}

impl NameId {
    /// A name of a format.
    pub fn new(value: impl Into<String>, format: &str) -> Self {
        Self { value: value.into(), format: Some(format.to_owned()), ..Self::default() }
    }

    pub(crate) fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        let value = read::token(element)?;
        if value.is_empty() {
            return Err(element.unreadable("an empty name"));
        }
        Ok(Self {
            value,
            format: read::optional(element, "Format"),
            name_qualifier: read::optional(element, "NameQualifier"),
            sp_name_qualifier: read::optional(element, "SPNameQualifier"),
            sp_provided_id: read::optional(element, "SPProvidedID"),
        })
    }

    /// The one name in an element, in the clear or decrypted.
    pub(crate) fn one_in<A: Authority>(element: &ElementView<'_, A>) -> Result<Option<Self>, XmlError> {
        let name = match (element.child(SAML, "NameID")?, element.child(SAML, "EncryptedID")?) {
            (name, None) => name,
            // Decryption leaves the plaintext where the ciphertext stood.
            (None, Some(holder)) => {
                Some(holder.child(SAML, "NameID")?.ok_or_else(|| holder.unreadable("an EncryptedID that was not decrypted"))?)
            }
            (Some(_), Some(_)) => return Err(XmlError::Ambiguous("NameID".to_owned())),
        };
        name.map(|name| Self::read(&name)).transpose()
    }

    pub(crate) fn write(&self, w: &mut Writer) {
        w.element("saml:NameID", |w| {
            w.optional("Format", self.format.as_deref());
            w.optional("NameQualifier", self.name_qualifier.as_deref());
            w.optional("SPNameQualifier", self.sp_name_qualifier.as_deref());
            w.optional("SPProvidedID", self.sp_provided_id.as_deref());
            w.text(&self.value);
        });
    }
}

/// How whoever presents an assertion shows that it may (core §2.4.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confirmation {
    /// The method.
    pub method: ConfirmationMethod,
    /// Only at this address may it be presented.
    pub recipient: Option<String>,
    /// Only as the answer to this request.
    pub in_response_to: Option<String>,
    /// Only from then on; bearer confirmations have none.
    pub not_before: Option<Timestamp>,
    /// Only before.
    pub not_on_or_after: Option<Timestamp>,
    /// Only from this address of the network.
    pub address: Option<String>,
    /// Certificates in DER of the keys whose holder may present it. Beside other forms of key, which are not read.
    pub holder_certificates: Vec<Vec<u8>>,
}

impl Confirmation {
    /// A confirmation without data.
    pub fn of(method: ConfirmationMethod) -> Self {
        Self {
            method,
            recipient: None,
            in_response_to: None,
            not_before: None,
            not_on_or_after: None,
            address: None,
            holder_certificates: Vec::new(),
        }
    }
}

/// A method of confirmation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ConfirmationMethod {
    /// Whoever has it.
    Bearer,
    /// Whoever has the key.
    HolderOfKey,
    /// Another party vouches for the subject.
    SenderVouches,
    /// SAML 1.1: it was fetched with an artifact.
    Artifact,
    /// Some other URI.
    Other(String),
}

impl ConfirmationMethod {
    const URIS: [(Self, &'static str, &'static str); 4] = [
        (Self::Bearer, "urn:oasis:names:tc:SAML:2.0:cm:bearer", "urn:oasis:names:tc:SAML:1.0:cm:bearer"),
        (Self::HolderOfKey, "urn:oasis:names:tc:SAML:2.0:cm:holder-of-key", "urn:oasis:names:tc:SAML:1.0:cm:holder-of-key"),
        (Self::SenderVouches, "urn:oasis:names:tc:SAML:2.0:cm:sender-vouches", "urn:oasis:names:tc:SAML:1.0:cm:sender-vouches"),
        (Self::Artifact, "urn:oasis:names:tc:SAML:1.0:cm:artifact", "urn:oasis:names:tc:SAML:1.0:cm:artifact"),
    ];

    fn read(uri: &str, version: Version) -> Self {
        // Deprecated by SAML 1.1 for the one without number; still sent.
        if version == Version::Saml11 && uri == "urn:oasis:names:tc:SAML:1.0:cm:artifact-01" {
            return Self::Artifact;
        }
        let found = Self::URIS.into_iter().find(|(_, two, one)| match version {
            Version::Saml20 => *two == uri,
            Version::Saml11 => *one == uri,
        });
        found.map_or_else(|| Self::Other(uri.to_owned()), |(method, _, _)| method)
    }

    fn uri(&self, version: Version) -> &str {
        if let Self::Other(uri) = self {
            return uri;
        }
        let found = Self::URIS.iter().find(|(method, _, _)| method == self);
        // INVARIANT: every method but `Other` stands in the table.
        found.map_or("", |(_, two, one)| match version {
            Version::Saml20 => two,
            Version::Saml11 => one,
        })
    }
}

/// For whom and when an assertion holds (core §2.5).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Conditions {
    /// From then on.
    pub not_before: Option<Timestamp>,
    /// Only before.
    pub not_on_or_after: Option<Timestamp>,
    /// One list for each restriction: one of each list must be the reader.
    pub audiences: Vec<Vec<String>>,
    /// To be used at once and not kept; in 1.1 `DoNotCacheCondition`.
    pub one_time_use: bool,
    /// Limits on assertions made from this one.
    pub proxy: Option<ProxyRestriction>,
    /// Names of conditions that are not understood here; with one of them the assertion's validity is not known.
    pub unknown: Vec<String>,
}

/// Limits on assertions made from this one (core §2.5.1.6).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProxyRestriction {
    /// How many steps.
    pub count: Option<u32>,
    /// For whom.
    pub audiences: Vec<String>,
}

/// How and when the subject signed in (core §2.7.2). Its `Debug` does not show the session.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthnStatement {
    /// When.
    pub instant: Timestamp,
    /// How: the authentication context class; in 1.1 the authentication method.
    pub class: Option<String>,
    /// A more exact declaration of how, by reference.
    pub declaration: Option<String>,
    /// The session at the issuer, for logout.
    pub session_index: Option<String>,
    /// When the session must end.
    pub session_not_on_or_after: Option<Timestamp>,
    /// From which address of the network.
    pub address: Option<String>,
    /// Other authorities that took part.
    pub authorities: Vec<String>,
}

impl fmt::Debug for AuthnStatement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuthnStatement({} at {})", self.class.as_deref().unwrap_or("no class"), self.instant)
    }
}

impl AuthnStatement {
    /// A statement of how and when.
    pub fn new(instant: Timestamp, class: &str) -> Self {
        Self {
            instant,
            class: Some(class.to_owned()),
            declaration: None,
            session_index: None,
            session_not_on_or_after: None,
            address: None,
            authorities: Vec::new(),
        }
    }
}

/// What is known of the subject (core §2.7.3.1). Its `Debug` does not show the values.
#[derive(Clone, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// How the name is meant; in 1.1 the attribute's namespace.
    pub format: Option<String>,
    /// A name for people.
    pub friendly_name: Option<String>,
    /// Its values, in order.
    pub values: Vec<AttributeValue>,
}

impl fmt::Debug for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attribute({:?}, {} values)", self.name, self.values.len())
    }
}

impl Attribute {
    /// An attribute of texts.
    pub fn of_texts<T: Into<String>>(name: &str, format: &str, values: impl IntoIterator<Item = T>) -> Self {
        Self {
            name: name.to_owned(),
            format: Some(format.to_owned()),
            friendly_name: None,
            values: values.into_iter().map(|value| AttributeValue::Text(value.into())).collect(),
        }
    }

    /// Its values that are texts. Nil and structured ones are none.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.values.iter().filter_map(|value| match value {
            AttributeValue::Text(text) => Some(text.as_str()),
            AttributeValue::Nil | AttributeValue::NameId(_) | AttributeValue::Structured => None,
        })
    }
}

/// One value of an attribute.
#[derive(Clone, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text, whole and as it stands.
    Text(String),
    /// `xsi:nil`: known to have no value, which is not the empty text.
    Nil,
    /// A name, as in eduPersonTargetedID. SAML 2.0 only.
    NameId(NameId),
    /// Other elements, which are not read here.
    Structured,
}

impl fmt::Debug for AttributeValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text(_) => "Text",
            Self::Nil => "Nil",
            Self::NameId(_) => "NameId",
            Self::Structured => "Structured",
        })
    }
}

impl AttributeValue {
    fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        if element.attribute(XSI, "nil").is_some_and(|nil| matches!(nil.trim(), "true" | "1")) {
            return Ok(Self::Nil);
        }
        let mut children = element.children();
        match (children.next(), children.next()) {
            (None, _) => Ok(Self::Text(element.text()?.into_owned())),
            (Some(only), None) if only.is(SAML, "NameID") => NameId::read(&only).map(Self::NameId),
            (Some(_), _) => Ok(Self::Structured),
        }
    }

    fn write(&self, w: &mut Writer) {
        w.element("saml:AttributeValue", |w| match self {
            Self::Text(text) => w.text(text),
            Self::Nil => {
                w.declare("xsi", XSI);
                w.attribute("xsi:nil", "true");
            }
            Self::NameId(name) => name.write(w),
            Self::Structured => {}
        });
    }
}

/// The certificates of a `KeyInfo`, which name whose key may present the assertion.
fn holder_certificates(element: &ElementView<'_, Signed>) -> Result<Vec<Vec<u8>>, XmlError> {
    let mut found = Vec::new();
    for info in element.children().filter(|child| child.is(DS, "KeyInfo")) {
        for data in info.children().filter(|child| child.is(DS, "X509Data")) {
            for certificate in data.children().filter(|child| child.is(DS, "X509Certificate")) {
                let text: String = certificate.text()?.split_ascii_whitespace().collect();
                found.push(STANDARD.decode(text).map_err(|_| certificate.unreadable("a certificate that is not base64"))?);
            }
        }
    }
    if found.len() > MOST_HOLDERS { Err(element.unreadable("more holders than the limit")) } else { Ok(found) }
}

/// Keys that one confirmation may name.
const MOST_HOLDERS: usize = 8;

fn write_key_info(w: &mut Writer, certificates: &[Vec<u8>]) {
    for certificate in certificates {
        w.element("ds:KeyInfo", |w| {
            w.declare("ds", DS);
            w.element("ds:X509Data", |w| w.element("ds:X509Certificate", |w| w.base64(certificate)));
        });
    }
}

/// An id that can be referred to by a signature: a plain name that begins with a letter or `_`.
pub(crate) fn check_id(id: &str) -> Result<(), Error> {
    let begins = id.bytes().next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_');
    let plain = id.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.'));
    if begins && plain && id.len() <= LONGEST_ID { Ok(()) } else { Err(Error::Unwritable("an id that is no plain name")) }
}

/// Octets of an id that we write.
const LONGEST_ID: usize = 128;
