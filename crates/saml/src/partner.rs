//! Requests and answers that a registered partner sends: authentication, logout, artifact resolution.
//!
//! What an attacker tries: to log others out (attack 120), to have a request answered that nobody sent, to wrap one kind of
//! message into another (attack 20). A message is of one kind, from one partner, to one address, fresh, and signed where it has
//! to be; its signature is over itself.

use jiff::{SignedDuration, Timestamp};
use vestibule_xmlsec::{
    Assertions, DecryptionKeys, Document, Element, ElementView, Error as XmlError, FromClaimed, FromSigned, Profile, SignedElement,
    TrustedKeys, Unsigned, Verified,
};

use crate::binding::{MESSAGE_LIMITS, Redirect, same_endpoint};
use crate::error::Error;
use crate::names::{DS, SAMLP, SOAP11};
use crate::protocol::{ArtifactResolve, AuthnRequest, Header, LogoutRequest, LogoutResponse, body};
use crate::read;
use crate::reason::{Check, Reason, Rejection, Trace};
use crate::sp::{TrustedIdp, decrypted};

/// A message as it came.
#[derive(Debug, Clone, Copy)]
pub enum Incoming<'a> {
    /// In a query.
    Redirect(&'a Redirect),
    /// A document: the decoded field of a form, or a SOAP envelope.
    Document(&'a [u8]),
}

/// Whoever sends it, from metadata and configuration.
#[derive(Debug, Clone, Copy)]
pub struct Partner<'a> {
    /// Its entity id.
    pub entity_id: &'a str,
    /// Keys it signs with.
    pub keys: &'a TrustedKeys,
    /// Algorithms it may use.
    pub profile: &'a Profile,
    /// How far its clock may be off, either way.
    pub skew: SignedDuration,
    /// How old a message may be, beside `skew`.
    pub max_age: SignedDuration,
}

/// Whether a message has to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signature {
    /// It has to be.
    Required,
    /// If it is, it has to be good.
    IfPresent,
}

/// A message that may be acted on.
#[derive(Debug)]
pub struct Admitted<M> {
    /// The message.
    pub message: M,
    /// Whether it was signed.
    pub signed: bool,
    /// Every check, in order.
    pub checks: Vec<Check>,
}

impl Incoming<'_> {
    /// Who says that it sent this, in any request or answer: a hint for finding the partner, nothing more.
    ///
    /// # Errors
    /// [`Error::Xml`].
    pub fn claimed_issuer(&self) -> Result<String, Error> {
        Ok(self.claim::<AnyHeader>()?.0.issuer)
    }

    /// Which message of ours the sender says that this answers: a hint for finding it, nothing more.
    ///
    /// # Errors
    /// [`Error::Xml`].
    pub fn claimed_in_response_to(&self) -> Result<Option<String>, Error> {
        Ok(self.claim::<AnyHeader>()?.1)
    }

    fn claim<M: FromClaimed + Clone>(&self) -> Result<M, Error> {
        match self {
            Self::Redirect(query) => Ok(query.claim::<M>()?.sender_says().clone()),
            Self::Document(octets) => Ok(Document::parse(octets, &MESSAGE_LIMITS)?.claim::<M>()?.sender_says().clone()),
        }
    }

    fn is_signed(&self, layout: &Layout) -> bool {
        match self {
            Self::Redirect(query) => query.is_signed(),
            Self::Document(_) => layout.signed,
        }
    }

    fn verify(&self, name: &str, layout: &Layout, partner: &Partner<'_>) -> Result<Verified<Element>, Error> {
        match self {
            Self::Redirect(query) => query.verified(partner.keys, partner.profile),
            Self::Document(octets) => {
                let enveloped = [(SOAP11, "Envelope"), (SOAP11, "Body"), (SAMLP, name)];
                let path = enveloped.get(if layout.enveloped { 0 } else { 2 }..).unwrap_or_default();
                let document = Document::parse(octets, &MESSAGE_LIMITS)?;
                Ok(document.verify(SignedElement::Path(path), partner.keys, partner.profile)?)
            }
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) signed: bool,
    pub(crate) enveloped: bool,
}

impl FromClaimed for Layout {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let message = body(&root)?;
        Ok(Self { signed: message.children().any(|child| child.is(DS, "Signature")), enveloped: root.is(SOAP11, "Envelope") })
    }
}

#[derive(Debug, Clone)]
struct AnyHeader(Header, Option<String>);

impl FromClaimed for AnyHeader {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let message = body(&root)?;
        Ok(Self(Header::read(&message)?, read::optional(&message, "InResponseTo")))
    }
}

/// A kind of message that begins with a header.
trait Message: FromClaimed + FromSigned + Clone {
    const NAME: &'static str;
    fn header(&self) -> &Header;
}

macro_rules! messages {
    ($($message:ident),+) => {$(
        impl Message for $message {
            const NAME: &'static str = stringify!($message);
            fn header(&self) -> &Header {
                &self.header
            }
        }
    )+};
}

messages!(AuthnRequest, LogoutRequest, LogoutResponse, ArtifactResolve);

impl Partner<'_> {
    /// Judges a request to end sessions; it has to be signed, whatever metadata say (profiles §4.4.3.1). `own` are our addresses
    /// for logouts; `decryption` opens an encrypted name.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn logout_request(
        &self,
        incoming: Incoming<'_>,
        own: &[&str],
        decryption: &DecryptionKeys<Assertions>,
        now: Timestamp,
    ) -> Result<Admitted<LogoutRequest>, Rejection> {
        let (mut trace, message, signed) = self.message::<LogoutRequest>(incoming, own, Signature::Required, decryption, now)?;
        if let Some(end) = message.not_on_or_after {
            let holds = now.duration_since(end) < self.skew;
            trace.check("not on or after", holds, Reason::Expired, format!("bound {end}, now {now}, skew {} s", self.skew.as_secs()));
        }
        Ok(Admitted { message, signed, checks: trace.verdict()? })
    }

    /// Judges the answer to our request to end sessions. That it reports a failure is no reason to refuse it.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn logout_response(
        &self,
        incoming: Incoming<'_>,
        own: &[&str],
        request: &str,
        now: Timestamp,
    ) -> Result<Admitted<LogoutResponse>, Rejection> {
        let none = DecryptionKeys::new();
        let (mut trace, message, signed) = self.message::<LogoutResponse>(incoming, own, Signature::Required, &none, now)?;
        let found = message.in_response_to.as_deref();
        trace.check("in response to", found == Some(request), Reason::WrongInResponseTo, format!("expected {request:?}, found {found:?}"));
        trace.passed("status", message.status.code.clone());
        Ok(Admitted { message, signed, checks: trace.verdict()? })
    }

    /// Judges a request for the message behind an artifact. Who asks has to be proven, by the signature or by TLS.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn artifact_resolve(
        &self,
        octets: &[u8],
        own: &[&str],
        signature: Signature,
        now: Timestamp,
    ) -> Result<Admitted<ArtifactResolve>, Rejection> {
        let incoming = Incoming::Document(octets);
        let (trace, message, signed) = self.message::<ArtifactResolve>(incoming, own, signature, &DecryptionKeys::new(), now)?;
        Ok(Admitted { message, signed, checks: trace.verdict()? })
    }

    pub(crate) fn authn_request(
        &self,
        incoming: Incoming<'_>,
        own: &[&str],
        signature: Signature,
        now: Timestamp,
    ) -> Result<(Trace, AuthnRequest, bool), Rejection> {
        self.message(incoming, own, signature, &DecryptionKeys::new(), now)
    }

    fn message<M: Message>(
        &self,
        incoming: Incoming<'_>,
        own: &[&str],
        signature: Signature,
        decryption: &DecryptionKeys<Assertions>,
        now: Timestamp,
    ) -> Result<(Trace, M, bool), Rejection> {
        let mut trace = Trace::default();
        let layout = match incoming.claim::<Layout>() {
            Ok(layout) => layout,
            Err(error) => return Err(trace.refuse("document", error.reason(), error.to_string())),
        };
        trace.passed("document", M::NAME);
        let signed = incoming.is_signed(&layout);
        let read = match (signed, signature) {
            (true, _) => incoming.verify(M::NAME, &layout, self).and_then(|verified| {
                let covering = decrypted(verified, decryption, self.profile)?;
                Ok(covering.read::<M>()?.into_value())
            }),
            (false, Signature::IfPresent) => incoming.claim::<M>(),
            (false, Signature::Required) => {
                return Err(trace.refuse("signature", Reason::SignatureMissing, "expected a signature, found none"));
            }
        };
        let message = match read {
            Ok(message) => message,
            Err(error) => return Err(trace.refuse("signature", error.reason(), error.to_string())),
        };
        trace.passed("signature", if signed { "good" } else { "none, and none is demanded" });

        let Header { issuer, destination, issue_instant, .. } = message.header();
        trace.check("issuer", issuer == self.entity_id, Reason::WrongIssuer, format!("expected {:?}, found {issuer:?}", self.entity_id));
        let detail = format!("expected {}, found {destination:?}", own.join(" or "));
        match destination {
            Some(destination) => {
                let holds = own.iter().any(|own| same_endpoint(own, destination));
                trace.check("destination", holds, Reason::WrongDestination, detail);
            }
            // Bindings §3.4.5.2, §3.5.5.2: what is signed and comes through a browser says where it was sent.
            None if signed && !layout.enveloped => trace.failed("destination", Reason::WrongDestination, detail),
            None => trace.skipped("destination", "the message names none"),
        }
        let age = now.duration_since(*issue_instant);
        let detail = format!("issued {issue_instant}, now {now}");
        if -age > self.skew {
            trace.failed("age", Reason::NotYetValid, detail);
        } else if age > self.max_age.saturating_add(self.skew) {
            trace.failed("age", Reason::Stale, detail);
        } else {
            trace.passed("age", detail);
        }
        Ok((trace, message, signed))
    }
}

impl TrustedIdp {
    /// The identity provider as the sender of logouts.
    pub fn partner(&self) -> Partner<'_> {
        Partner { entity_id: &self.entity_id, keys: &self.keys, profile: &self.profile, skew: self.skew, max_age: self.max_age }
    }
}
