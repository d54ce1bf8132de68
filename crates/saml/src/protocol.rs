//! The messages of SAML 2.0 (core §3) and the two of 1.1: read from what is signed or from what a sender says, and written.
//!
//! None of them has authority by itself: what a request asks for and what a response's head says is compared with
//! configuration and with the signed assertion. What an attacker tries: to answer at an address of his own, to log others
//! out, to wrap one kind of message into another.

use jiff::Timestamp;
use vestibule_xmlsec::{Authority, ElementView, Error as XmlError, FromClaimed, FromSigned, Signed, Unsigned};

use crate::assertion::{NameId, Version, check_id};
use crate::error::Error;
use crate::names::{SAML, SAMLP, SAMLP1, SOAP11, status};
use crate::read;
use crate::time::written;
use crate::write::{self, Writer};

/// What every message of SAML 2.0 begins with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// `ID`: a letter or `_`, then letters, digits, `_`, `-` and `.`. See [`message_id`].
    pub id: String,
    /// When it was made.
    pub issue_instant: Timestamp,
    /// Where it was sent.
    pub destination: Option<String>,
    /// Who says it made it.
    pub issuer: String,
}

/// An id from 128 random bits (core §1.3.4).
pub fn message_id(random: [u8; 16]) -> String {
    let mut id = String::with_capacity(33);
    id.push('_');
    for octet in random {
        for digit in [octet >> 4, octet & 15] {
            id.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    id
}

/// How it went (core §3.2.2). Codes are the URIs of 2.0; those of 1.1 are translated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The top-level code.
    pub code: String,
    /// What exactly.
    pub subcode: Option<String>,
    /// A text for people, by the other side: show it to operators only.
    pub message: Option<String>,
}

impl Status {
    /// Success.
    pub fn success() -> Self {
        Self { code: status::SUCCESS.to_owned(), subcode: None, message: None }
    }

    /// A failure of a kind.
    pub fn failure(code: &str, subcode: &str) -> Self {
        Self { code: code.to_owned(), subcode: Some(subcode.to_owned()), message: None }
    }

    /// Whether it went well.
    pub fn is_success(&self) -> bool {
        self.code == status::SUCCESS
    }

    fn read<A: Authority>(parent: &ElementView<'_, A>) -> Result<Self, XmlError> {
        let ns = parent.namespace();
        let status = parent.child(ns, "Status")?.ok_or_else(|| parent.unreadable("a response without Status"))?;
        let code = status.child(ns, "StatusCode")?.ok_or_else(|| status.unreadable("a Status without StatusCode"))?;
        let value = |code: &ElementView<'_, A>| -> Result<String, XmlError> {
            let value = read::required(code, "Value", "a StatusCode without Value")?;
            if ns != SAMLP1 {
                return Ok(value.to_owned());
            }
            // A QName. Exclusive canonicalization does not cover what its prefix means; the standard lets no other vocabulary
            // define codes at the top, so that the local name says it all.
            let local = value.rsplit_once(':').map_or(value, |(_, local)| local);
            Ok(format!("{STATUS_PREFIX}{local}"))
        };
        let message = status.child(ns, "StatusMessage")?;
        Ok(Self {
            code: value(&code)?,
            subcode: code.child(ns, "StatusCode")?.map(|code| value(&code)).transpose()?,
            message: message.and_then(|message| message.text().ok()).map(|text| text.chars().take(LONGEST_MESSAGE).collect()),
        })
    }

    fn write(&self, w: &mut Writer, version: Version) {
        let code = |uri: &str| match version {
            Version::Saml20 => uri.to_owned(),
            Version::Saml11 => format!("samlp:{}", uri.strip_prefix(STATUS_PREFIX).unwrap_or(uri)),
        };
        w.element("samlp:Status", |w| {
            w.element("samlp:StatusCode", |w| {
                w.attribute("Value", &code(&self.code));
                if let Some(subcode) = &self.subcode {
                    w.element("samlp:StatusCode", |w| w.attribute("Value", &code(subcode)));
                }
            });
            if let Some(message) = &self.message {
                w.leaf("samlp:StatusMessage", message);
            }
        });
    }
}

const STATUS_PREFIX: &str = "urn:oasis:names:tc:SAML:2.0:status:";

/// Characters of a partner's status message that are kept.
const LONGEST_MESSAGE: usize = 500;

/// Asks an identity provider to say who is there (core §3.4.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthnRequest {
    /// Id, time, destination, issuer.
    pub header: Header,
    /// Where the answer shall go.
    pub consumer: Consumer,
    /// By which binding the answer shall go.
    pub protocol_binding: Option<String>,
    /// A session at the identity provider is not enough.
    pub force_authn: bool,
    /// The identity provider must not show itself.
    pub is_passive: bool,
    /// Which kind of name is wanted.
    pub name_id_policy: Option<NameIdPolicy>,
    /// How the user shall sign in.
    pub requested_context: Option<RequestedContext>,
    /// Who is expected. A hint.
    pub subject: Option<NameId>,
    /// A name of the requester for people.
    pub provider_name: Option<String>,
}

/// Where the answer shall go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Consumer {
    /// The default of the requester's metadata.
    Default,
    /// The endpoint of this index in the requester's metadata.
    Index(u16),
    /// An address, which must stand in the requester's metadata.
    Url(String),
}

/// Which kind of name is wanted (core §3.4.1.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NameIdPolicy {
    /// The format.
    pub format: Option<String>,
    /// For which service provider or affiliation, if not the requester.
    pub sp_name_qualifier: Option<String>,
    /// Whether a new name may be made.
    pub allow_create: bool,
}

/// How the user shall sign in (core §3.3.2.2.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedContext {
    /// How the classes are meant.
    pub comparison: Comparison,
    /// Classes, most wanted first.
    pub classes: Vec<String>,
}

/// How classes of authentication are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Comparison {
    /// One of them.
    Exact,
    /// One of them or a stronger one.
    Minimum,
    /// The strongest possible that is not stronger than one of them.
    Maximum,
    /// Stronger than any of them.
    Better,
}

impl Comparison {
    const NAMES: [(Self, &'static str); 4] =
        [(Self::Exact, "exact"), (Self::Minimum, "minimum"), (Self::Maximum, "maximum"), (Self::Better, "better")];

    fn name(self) -> &'static str {
        // INVARIANT: every comparison stands in the table.
        Self::NAMES.iter().find(|(one, _)| *one == self).map_or("exact", |(_, name)| name)
    }
}

/// The head of a Response (core §3.3.3; 1.1 core §3.4). What it holds beside is read from signed content only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// By its namespace.
    pub version: Version,
    /// The version it states: `2.0`, `1.1`.
    pub stated_version: String,
    /// `ID`, or `ResponseID`.
    pub id: String,
    /// When it was made.
    pub issue_instant: Timestamp,
    /// Where it was sent; in 1.1 `Recipient`.
    pub destination: Option<String>,
    /// Which request it answers.
    pub in_response_to: Option<String>,
    /// Who says it made it. 1.1 does not say.
    pub issuer: Option<String>,
    /// How it went.
    pub status: Status,
}

/// Asks to end sessions of somebody (core §3.7.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutRequest {
    /// Id, time, destination, issuer.
    pub header: Header,
    /// Who.
    pub name_id: NameId,
    /// Which sessions; none means all.
    pub session_indexes: Vec<SessionIndex>,
    /// Until when the request counts.
    pub not_on_or_after: Option<Timestamp>,
    /// Why, as a URI.
    pub reason: Option<String>,
}

/// A session at an identity provider. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionIndex(pub String);

impl std::fmt::Debug for SessionIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SessionIndex")
    }
}

/// The answer to a logout (core §3.7.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogoutResponse {
    /// Id, time, destination, issuer.
    pub header: Header,
    /// Which request it answers.
    pub in_response_to: Option<String>,
    /// How it went.
    pub status: Status,
}

/// Fetches the message behind an artifact (core §3.5.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactResolve {
    /// Id, time, destination, issuer.
    pub header: Header,
    /// The artifact as it came, base64.
    pub artifact: String,
}

/// The head of the answer (core §3.5.2); the message is inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactResponse {
    /// Id, time, destination, issuer.
    pub header: Header,
    /// Which request it answers.
    pub in_response_to: Option<String>,
    /// How it went.
    pub status: Status,
}

/// Fetches assertions by SAML 1.1 (1.1 core §3.2): the requester of Browser/Artifact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRequest11 {
    /// `RequestID`.
    pub id: String,
    /// When it was made.
    pub issue_instant: Timestamp,
    /// The artifacts as they came, base64.
    pub artifacts: Vec<String>,
}

impl Header {
    pub(crate) fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        if element.attribute("", "Version") != Some("2.0") {
            return Err(element.unreadable("a message of another version than 2.0"));
        }
        Ok(Self {
            id: read::required(element, "ID", "a message without ID")?.to_owned(),
            issue_instant: read::required_instant(element, "IssueInstant")?,
            destination: read::optional(element, "Destination"),
            issuer: read::child_token(element, SAML, "Issuer", "a message without Issuer")?,
        })
    }

    fn write(&self, w: &mut Writer, attributes: impl FnOnce(&mut Writer)) {
        w.declare("samlp", SAMLP);
        w.declare("saml", SAML);
        w.attribute("ID", &self.id);
        w.attribute("Version", "2.0");
        w.attribute("IssueInstant", &written(self.issue_instant));
        w.optional("Destination", self.destination.as_deref());
        attributes(w);
        w.leaf("saml:Issuer", &self.issuer);
    }
}

impl AuthnRequest {
    fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        expect(element, SAMLP, "AuthnRequest", "a message that is no AuthnRequest")?;
        let index = read::number(element, "AssertionConsumerServiceIndex")?;
        let consumer = match (index, read::optional(element, "AssertionConsumerServiceURL")) {
            (None, None) => Consumer::Default,
            (Some(index), None) => Consumer::Index(index),
            (None, Some(url)) => Consumer::Url(url),
            (Some(_), Some(_)) => return Err(element.unreadable("an index and an address at once")),
        };
        let policy = element.child(SAMLP, "NameIDPolicy")?;
        let subject = element.child(SAML, "Subject")?;
        Ok(Self {
            header: Header::read(element)?,
            consumer,
            protocol_binding: read::optional(element, "ProtocolBinding"),
            force_authn: read::boolean(element, "ForceAuthn")?.unwrap_or(false),
            is_passive: read::boolean(element, "IsPassive")?.unwrap_or(false),
            name_id_policy: policy.map(|policy| NameIdPolicy::read(&policy)).transpose()?,
            requested_context: element
                .child(SAMLP, "RequestedAuthnContext")?
                .map(|context| RequestedContext::read(&context))
                .transpose()?,
            subject: match subject {
                Some(subject) => subject.child(SAML, "NameID")?.map(|name| NameId::read(&name)).transpose()?,
                None => None,
            },
            provider_name: read::optional(element, "ProviderName"),
        })
    }

    /// The message, unsigned.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    pub fn to_xml(&self) -> Result<String, Error> {
        check_id(&self.header.id)?;
        let attributes = |w: &mut Writer| {
            if self.force_authn {
                w.attribute("ForceAuthn", "true");
            }
            if self.is_passive {
                w.attribute("IsPassive", "true");
            }
            w.optional("ProtocolBinding", self.protocol_binding.as_deref());
            match &self.consumer {
                Consumer::Default => {}
                Consumer::Index(index) => w.attribute("AssertionConsumerServiceIndex", &index.to_string()),
                Consumer::Url(url) => w.attribute("AssertionConsumerServiceURL", url),
            }
            w.optional("ProviderName", self.provider_name.as_deref());
        };
        write::document("samlp:AuthnRequest", |w| {
            self.header.write(w, attributes);
            if let Some(subject) = &self.subject {
                w.element("saml:Subject", |w| subject.write(w));
            }
            if let Some(policy) = &self.name_id_policy {
                policy.write(w);
            }
            if let Some(context) = &self.requested_context {
                context.write(w);
            }
        })
    }
}

impl NameIdPolicy {
    fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        Ok(Self {
            format: read::optional(element, "Format"),
            sp_name_qualifier: read::optional(element, "SPNameQualifier"),
            allow_create: read::boolean(element, "AllowCreate")?.unwrap_or(false),
        })
    }

    fn write(&self, w: &mut Writer) {
        w.element("samlp:NameIDPolicy", |w| {
            w.optional("Format", self.format.as_deref());
            w.optional("SPNameQualifier", self.sp_name_qualifier.as_deref());
            if self.allow_create {
                w.attribute("AllowCreate", "true");
            }
        });
    }
}

impl RequestedContext {
    /// Whether somebody who signed in by `class` did as asked (core §3.3.2.2.1). `rank` orders the classes that the caller
    /// knows; what has no rank is only equal to itself.
    pub fn is_met_by(&self, class: &str, rank: impl Fn(&str) -> Option<u32>) -> bool {
        let is = |holds: fn(u32, u32) -> bool| {
            let mut pairs = self.classes.iter().map(|wanted| rank(class).zip(rank(wanted)));
            match self.comparison {
                Comparison::Better => pairs.all(|pair| pair.is_some_and(|(own, wanted)| holds(own, wanted))),
                Comparison::Exact | Comparison::Minimum | Comparison::Maximum => {
                    pairs.any(|pair| pair.is_some_and(|(own, wanted)| holds(own, wanted)))
                }
            }
        };
        let named = self.classes.iter().any(|wanted| wanted == class);
        match self.comparison {
            Comparison::Exact => named,
            Comparison::Minimum => named || is(|own, wanted| own >= wanted),
            Comparison::Maximum => named || is(|own, wanted| own <= wanted),
            Comparison::Better => !self.classes.is_empty() && is(|own, wanted| own > wanted),
        }
    }

    fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        let comparison = match element.attribute("", "Comparison") {
            None => Comparison::Exact,
            Some(name) => {
                let known = Comparison::NAMES.into_iter().find(|(_, known)| *known == name);
                known.map(|(comparison, _)| comparison).ok_or_else(|| element.unreadable("a Comparison that does not exist"))?
            }
        };
        let classes = element.children().filter(|child| child.is(SAML, "AuthnContextClassRef"));
        Ok(Self { comparison, classes: classes.map(|class| read::token(&class)).collect::<Result<_, _>>()? })
    }

    fn write(&self, w: &mut Writer) {
        w.element("samlp:RequestedAuthnContext", |w| {
            w.attribute("Comparison", self.comparison.name());
            self.classes.iter().for_each(|class| w.leaf("saml:AuthnContextClassRef", class));
        });
    }
}

impl Response {
    pub(crate) fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        let element = &response_in(element)?.ok_or_else(|| element.unreadable("a message that is no Response"))?;
        let issuer = element.child(SAML, "Issuer")?;
        if element.is(SAMLP, "Response") {
            Ok(Self {
                version: Version::Saml20,
                stated_version: read::required(element, "Version", "a Response without Version")?.to_owned(),
                id: read::required(element, "ID", "a Response without ID")?.to_owned(),
                issue_instant: read::required_instant(element, "IssueInstant")?,
                destination: read::optional(element, "Destination").filter(|destination| !destination.is_empty()),
                in_response_to: read::optional(element, "InResponseTo"),
                issuer: issuer.map(|issuer| read::token(&issuer)).transpose()?,
                status: Status::read(element)?,
            })
        } else {
            let of = |name| element.attribute("", name).unwrap_or_default();
            Ok(Self {
                version: Version::Saml11,
                stated_version: format!("{}.{}", of("MajorVersion"), of("MinorVersion")),
                id: read::required(element, "ResponseID", "a Response without ResponseID")?.to_owned(),
                issue_instant: read::required_instant(element, "IssueInstant")?,
                destination: read::optional(element, "Recipient"),
                in_response_to: read::optional(element, "InResponseTo"),
                issuer: None,
                status: Status::read(element)?,
            })
        }
    }

    /// The message around an assertion that was written, signed or encrypted before; unsigned by itself.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    pub(crate) fn write(&self, finished: Option<&str>) -> Result<String, Error> {
        check_id(&self.id)?;
        write::document("samlp:Response", |w| {
            match self.version {
                Version::Saml20 => {
                    w.declare("samlp", SAMLP);
                    w.declare("saml", SAML);
                    w.attribute("ID", &self.id);
                    w.attribute("Version", "2.0");
                }
                Version::Saml11 => {
                    w.declare("samlp", SAMLP1);
                    w.attribute("MajorVersion", "1");
                    w.attribute("MinorVersion", "1");
                    w.attribute("ResponseID", &self.id);
                }
            }
            w.attribute("IssueInstant", &written(self.issue_instant));
            w.optional("InResponseTo", self.in_response_to.as_deref());
            let destination = match self.version {
                Version::Saml20 => "Destination",
                Version::Saml11 => "Recipient",
            };
            w.optional(destination, self.destination.as_deref());
            if let (Version::Saml20, Some(issuer)) = (self.version, &self.issuer) {
                w.leaf("saml:Issuer", issuer);
            }
            self.status.write(w, self.version);
            if let Some(finished) = finished {
                w.finished(finished);
            }
        })
    }
}

impl LogoutRequest {
    fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        expect(element, SAMLP, "LogoutRequest", "a message that is no LogoutRequest")?;
        let name = NameId::one_in(element)?.ok_or_else(|| element.unreadable("a LogoutRequest without a NameID"))?;
        let indexes = element.children().filter(|child| child.is(SAMLP, "SessionIndex"));
        Ok(Self {
            header: Header::read(element)?,
            name_id: name,
            session_indexes: indexes.map(|index| read::token(&index).map(SessionIndex)).collect::<Result<_, _>>()?,
            not_on_or_after: read::instant(element, "NotOnOrAfter")?,
            reason: read::optional(element, "Reason"),
        })
    }

    /// The message, unsigned.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    pub fn to_xml(&self) -> Result<String, Error> {
        check_id(&self.header.id)?;
        write::document("samlp:LogoutRequest", |w| {
            self.header.write(w, |w| {
                w.optional("NotOnOrAfter", self.not_on_or_after.map(written).as_deref());
                w.optional("Reason", self.reason.as_deref());
            });
            self.name_id.write(w);
            self.session_indexes.iter().for_each(|index| w.leaf("samlp:SessionIndex", &index.0));
        })
    }
}

impl LogoutResponse {
    fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        expect(element, SAMLP, "LogoutResponse", "a message that is no LogoutResponse")?;
        Ok(Self { header: Header::read(element)?, in_response_to: read::optional(element, "InResponseTo"), status: Status::read(element)? })
    }

    /// The message, unsigned.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    pub fn to_xml(&self) -> Result<String, Error> {
        check_id(&self.header.id)?;
        write::document("samlp:LogoutResponse", |w| {
            self.header.write(w, |w| w.optional("InResponseTo", self.in_response_to.as_deref()));
            self.status.write(w, Version::Saml20);
        })
    }
}

impl ArtifactResolve {
    fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        let element = body(element)?;
        expect(&element, SAMLP, "ArtifactResolve", "a message that is no ArtifactResolve")?;
        Ok(Self {
            header: Header::read(&element)?,
            artifact: read::child_token(&element, SAMLP, "Artifact", "an ArtifactResolve without Artifact")?,
        })
    }

    /// The message, unsigned and without envelope.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    pub fn to_xml(&self) -> Result<String, Error> {
        check_id(&self.header.id)?;
        write::document("samlp:ArtifactResolve", |w| {
            self.header.write(w, |_| {});
            w.leaf("samlp:Artifact", &self.artifact);
        })
    }
}

impl ArtifactResponse {
    pub(crate) fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        let element = body(element)?;
        expect(&element, SAMLP, "ArtifactResponse", "a message that is no ArtifactResponse")?;
        Ok(Self {
            header: Header::read(&element)?,
            in_response_to: read::optional(&element, "InResponseTo"),
            status: Status::read(&element)?,
        })
    }

    /// The message around the one that the artifact stood for, `None` where there is none (core §3.5.3: an artifact that
    /// is unknown, spent or somebody else's is answered so). `message` is the octets that this crate wrote.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    pub fn to_xml(&self, message: Option<&crate::Issued>) -> Result<String, Error> {
        check_id(&self.header.id)?;
        write::document("samlp:ArtifactResponse", |w| {
            self.header.write(w, |w| w.optional("InResponseTo", self.in_response_to.as_deref()));
            self.status.write(w, Version::Saml20);
            if let Some(message) = message {
                w.finished(message.as_str());
            }
        })
    }
}

impl ArtifactRequest11 {
    fn read<A: Authority>(element: &ElementView<'_, A>) -> Result<Self, XmlError> {
        let element = body(element)?;
        expect(&element, SAMLP1, "Request", "a message that is no Request")?;
        let (major, minor) = (element.attribute("", "MajorVersion"), element.attribute("", "MinorVersion"));
        if major != Some("1") || !matches!(minor, Some("0" | "1")) {
            return Err(element.unreadable("a Request of another version than 1.0 and 1.1"));
        }
        let artifacts = element.children().filter(|child| child.is(SAMLP1, "AssertionArtifact"));
        let artifacts: Vec<_> = artifacts.map(|artifact| read::token(&artifact)).collect::<Result<_, _>>()?;
        if artifacts.is_empty() || artifacts.len() > crate::binding::MOST_ARTIFACTS {
            return Err(element.unreadable("a Request without artifacts, or with more than the limit"));
        }
        Ok(Self {
            id: read::required(&element, "RequestID", "a Request without RequestID")?.to_owned(),
            issue_instant: read::required_instant(&element, "IssueInstant")?,
            artifacts,
        })
    }

    /// The message without envelope.
    ///
    /// # Errors
    /// [`Error::Character`], [`Error::Unwritable`].
    pub fn to_xml(&self) -> Result<String, Error> {
        check_id(&self.id)?;
        write::document("samlp:Request", |w| {
            w.declare("samlp", SAMLP1);
            w.attribute("MajorVersion", "1");
            w.attribute("MinorVersion", "1");
            w.attribute("RequestID", &self.id);
            w.attribute("IssueInstant", &written(self.issue_instant));
            self.artifacts.iter().for_each(|artifact| w.leaf("samlp:AssertionArtifact", artifact));
        })
    }
}

/// What stands alone in the body of a SOAP envelope, or the element itself where there is none.
pub(crate) fn body<'t, A: Authority>(element: &ElementView<'t, A>) -> Result<ElementView<'t, A>, XmlError> {
    if !element.is(SOAP11, "Envelope") {
        return Ok(*element);
    }
    let body = element.child(SOAP11, "Body")?.ok_or_else(|| element.unreadable("an Envelope without Body"))?;
    let mut children = body.children();
    match (children.next(), children.next()) {
        (Some(only), None) => Ok(only),
        (None, _) => Err(body.unreadable("an empty Body")),
        (Some(_), Some(_)) => Err(XmlError::Ambiguous("element in the Body".to_owned())),
    }
}

/// The Response that an element is, or carries to whoever resolved an artifact.
pub(crate) fn response_in<'t, A: Authority>(element: &ElementView<'t, A>) -> Result<Option<ElementView<'t, A>>, XmlError> {
    let element = body(element)?;
    if element.is(SAMLP, "ArtifactResponse") {
        return element.child(SAMLP, "Response");
    }
    Ok(Some(element).filter(|element| element.is(SAMLP, "Response") || element.is(SAMLP1, "Response")))
}

fn expect<A: Authority>(element: &ElementView<'_, A>, namespace: &str, local: &str, other: &'static str) -> Result<(), XmlError> {
    if element.is(namespace, local) { Ok(()) } else { Err(element.unreadable(other)) }
}

macro_rules! readable {
    ($($message:ty),+) => {$(
        impl FromClaimed for $message {
            fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
                Self::read(&root)
            }
        }
        impl FromSigned for $message {
            fn from_signed(element: ElementView<'_, Signed>) -> Result<Self, XmlError> {
                Self::read(&element)
            }
        }
    )+};
}

readable!(AuthnRequest, Response, LogoutRequest, LogoutResponse, ArtifactResolve, ArtifactResponse, ArtifactRequest11);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_compared_as_the_request_says() {
        let rank =
            |class: &str| ["password", "token", "card"].iter().position(|known| *known == class).and_then(|at| u32::try_from(at).ok());
        let met = |comparison, classes: &[&str], class: &str| {
            let classes = classes.iter().map(|class| (*class).to_owned()).collect();
            RequestedContext { comparison, classes }.is_met_by(class, rank)
        };
        assert!(met(Comparison::Exact, &["token", "card"], "card") && !met(Comparison::Exact, &["token"], "card"));
        assert!(met(Comparison::Minimum, &["token"], "card") && !met(Comparison::Minimum, &["token"], "password"));
        assert!(met(Comparison::Maximum, &["token"], "password") && !met(Comparison::Maximum, &["token"], "card"));
        assert!(met(Comparison::Better, &["password", "token"], "card") && !met(Comparison::Better, &["password", "card"], "card"));
        assert!(met(Comparison::Minimum, &["urn:own"], "urn:own") && !met(Comparison::Minimum, &["urn:own"], "card"));
        assert!(!met(Comparison::Better, &[], "card") && !met(Comparison::Minimum, &["token"], "unknown"));
    }

    #[test]
    fn ids_are_plain_names() {
        assert_eq!(message_id([0xab; 16]), "_abababababababababababababababab");
        assert!(check_id(&message_id([0; 16])).is_ok());
        for bad in ["", "1a", "a b", "a\"", "a#b"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }
}
