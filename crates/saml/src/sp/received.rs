//! A response as it came: where things stand in it, and the way to what is signed.

use vestibule_xmlsec::{
    Assertions, Authority, DecryptionKeys, Document, Element, ElementView, EncryptedPart, Error as XmlError, FromClaimed, PinnedPeer,
    Place, Profile, SignedElement, Unsigned, Verified,
};

use super::{Demand, TrustedIdp};
use crate::assertion::{Assertion, Version};
use crate::binding::MESSAGE_LIMITS;
use crate::names::{DS, SAML, SAML1, SAMLP, SAMLP1, SOAP11, XENC};
use crate::protocol::{ArtifactResponse, Response, response_in};
use crate::reason::{Reason, Rejection, Trace};

/// A response, read but not believed. Says whom to hold it against.
#[derive(Debug)]
pub struct Received {
    document: Document,
    size: usize,
    claims: Claims,
    peer: Option<PinnedPeer>,
}

/// What the sender says, and where.
#[derive(Debug, Clone)]
struct Claims {
    response: Response,
    resolution: Option<ArtifactResponse>,
    layout: Layout,
}

/// Where things stand. Decides what is tried, never what is true.
#[derive(Debug, Clone)]
struct Layout {
    /// From the root to the response.
    path: Path,
    resolution_signed: bool,
    response_signed: bool,
    assertions: usize,
    /// The ciphertexts in its `EncryptedAssertion`s, decrypted ones not counted.
    encrypted: Vec<Place>,
    /// From the root to the assertion, once it can be seen.
    assertion: Option<Path>,
    assertion_signed: bool,
    assertion_issuer: Option<String>,
}

type Path = Vec<(&'static str, &'static str)>;

/// What may be believed of a response.
pub(super) struct Content {
    pub(super) trace: Trace,
    /// The response's head, if it is covered.
    pub(super) response: Option<Response>,
    pub(super) assertion: Verified<Assertion>,
}

/// Keys and algorithms for one partner's messages.
#[derive(Clone, Copy)]
pub(super) struct Means<'a> {
    pub(super) idp: &'a TrustedIdp,
    pub(super) decryption: &'a DecryptionKeys<Assertions>,
}

impl Received {
    /// Reads the octets of a response, or of the SOAP envelope that brought one.
    ///
    /// # Errors
    /// [`Rejection`]: not well-formed, not within the limits, or no response.
    pub fn read(octets: &[u8]) -> Result<Self, Rejection> {
        let refuse = |error: &XmlError| Trace::default().refuse("document", Reason::of(error), error.to_string());
        let document = Document::parse(octets, &MESSAGE_LIMITS).map_err(|error| refuse(&error))?;
        let claims = document.claim::<Claims>().map_err(|error| refuse(&error))?.into_sender_says();
        Ok(Self { document, size: octets.len(), claims, peer: None })
    }

    /// Reads what a pinned partner sent over a channel that it authenticated, when an artifact was resolved. What is not
    /// signed then counts as said by that partner: a concession. Reviewers search for this word.
    ///
    /// # Errors
    /// As [`Received::read`].
    pub fn vouched_by_channel(octets: &[u8], peer: PinnedPeer) -> Result<Self, Rejection> {
        let received = Self::read(octets)?;
        // A browser is no partner: only what came in an envelope was fetched.
        let fetched = received.is_enveloped();
        Ok(Self { peer: Some(peer).filter(|_| fetched), ..received })
    }

    /// Who says that it sent this: a hint for choosing among identity providers, nothing more.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.response.issuer.as_deref().or(self.claims.layout.assertion_issuer.as_deref())
    }

    /// Which request it says to answer: a hint for finding the login in progress, nothing more.
    pub fn claimed_request(&self) -> Option<&str> {
        self.claims.response.in_response_to.as_deref()
    }

    /// The version it is written in.
    pub fn version(&self) -> Version {
        self.claims.response.version
    }

    pub(super) fn response(&self) -> &Response {
        &self.claims.response
    }

    pub(super) fn resolution(&self) -> Option<&ArtifactResponse> {
        self.claims.resolution.as_ref()
    }

    pub(super) fn is_enveloped(&self) -> bool {
        self.claims.layout.path.first() == Some(&(SOAP11, "Envelope"))
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A response that was signed and sent through a browser has to say where it was sent. SAML 1.1 always has to.
    pub(super) fn must_name_destination(&self) -> bool {
        let through_browser = self.claims.layout.path.len() == 1;
        through_browser && (self.claims.layout.response_signed || self.claims.response.version == Version::Saml11)
    }

    /// Decrypts, finds what is signed and verifies it; every signature that is there has to be good.
    pub(super) fn verify(&self, mut trace: Trace, means: Means<'_>) -> Result<Content, Rejection> {
        let layout = &self.claims.layout;
        match (layout.assertions, layout.encrypted.len()) {
            (1, 0) | (0, 1) => trace.passed("one assertion", ""),
            (0, 0) => return Err(trace.refuse("one assertion", Reason::AssertionMissing, "expected one assertion, found none")),
            (clear, encrypted) => {
                let detail = format!("expected one assertion, found {clear} and {encrypted} encrypted");
                return Err(trace.refuse("one assertion", Reason::Ambiguous, detail));
            }
        }
        let refuse = |trace: Trace, name, error: &XmlError| trace.refuse(name, Reason::of(error), error.to_string());
        let mut outer = match self.outer_signatures(means.idp) {
            Ok(outer) => outer,
            Err(error) => return Err(refuse(trace, "signature", &error)),
        };
        // A signature over ciphertext covers what follows from it. One inside the ciphertext is verified on the plaintext.
        let opened = match layout.encrypted.as_slice() {
            [] => Ok(None),
            [ciphertext, ..] => self.open(ciphertext, means).map(Some),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => return Err(refuse(trace, "decryption", &error)),
        };
        if opened.is_some() {
            trace.passed("decryption", "the assertion");
        }
        let (document, layout) = match &opened {
            None => (&self.document, layout),
            Some((document, claims)) => (document, &claims.layout),
        };
        if layout.assertions != 1 || !layout.encrypted.is_empty() {
            return Err(trace.refuse("one assertion", Reason::AssertionMissing, "the ciphertext holds no assertion"));
        }
        if let Err(detail) = self.demanded(means.idp, layout) {
            return Err(trace.refuse("signature", Reason::SignatureMissing, detail));
        }
        let inner = match (&layout.assertion, layout.assertion_signed) {
            (Some(path), true) => match document.verify(SignedElement::Path(path), &means.idp.keys, &means.idp.profile) {
                Ok(verified) => Some(verified),
                Err(error) => return Err(refuse(trace, "signature", &error)),
            },
            (Some(_) | None, _) => None,
        };
        if inner.is_some() {
            outer.names.push("Assertion");
        }
        if let Some(peer) = &self.peer
            && outer.covering.is_none()
        {
            outer.names.push("the channel");
            outer.covering = Some(self.document.clone().vouched_by_channel(peer.clone()));
        }
        trace.passed("signature", || outer.names.join(" and "));
        let Some(covering) = inner.or_else(|| outer.covering.clone()) else {
            return Err(trace.refuse("signature", Reason::SignatureMissing, "nothing is signed"));
        };
        let read = || -> Result<_, XmlError> {
            let response = outer.covering.map(|outer| outer.read::<Response>()).transpose()?.map(Verified::into_value);
            let assertion = decrypted(covering, means.decryption, &means.idp.profile)?.read::<Assertion>()?;
            Ok((response, assertion))
        };
        match read() {
            Ok((response, assertion)) => Ok(Content { trace, response, assertion }),
            Err(error) => Err(refuse(trace, "assertion", &error)),
        }
    }

    /// The signatures over the response, and over what carried it.
    fn outer_signatures(&self, idp: &TrustedIdp) -> Result<Outer, XmlError> {
        let layout = &self.claims.layout;
        let mut outer = Outer { names: Vec::new(), covering: None };
        let mut verify = |name, path: &[(&str, &str)]| -> Result<(), XmlError> {
            outer.covering = Some(self.document.verify(SignedElement::Path(path), &idp.keys, &idp.profile)?);
            outer.names.push(name);
            Ok(())
        };
        if layout.resolution_signed {
            verify("ArtifactResponse", layout.path.get(..layout.path.len().saturating_sub(1)).unwrap_or_default())?;
        }
        if layout.response_signed {
            verify("Response", &layout.path)?;
        }
        Ok(outer)
    }

    /// The document with the assertion in the clear, and where things stand in it.
    fn open(&self, ciphertext: &Place, means: Means<'_>) -> Result<(Document, Claims), XmlError> {
        let document = self.document.decrypt(&EncryptedPart::at(ciphertext), means.decryption, &means.idp.profile)?;
        let claims = document.claim::<Claims>()?.into_sender_says();
        Ok((document, claims))
    }

    /// Whether as much is signed as the partner has to sign.
    fn demanded(&self, idp: &TrustedIdp, layout: &Layout) -> Result<(), String> {
        let (assertion, response) = (layout.assertion_signed, layout.response_signed);
        let vouched = self.peer.is_some();
        let met = match idp.demand {
            Demand::Either => assertion || response || layout.resolution_signed || vouched,
            Demand::Assertion => assertion,
            Demand::Response => response,
            Demand::Both => assertion && response,
        };
        // Browser/POST of SAML 1.1 §4.1.2.5: the response has to be signed.
        let saml11 = self.claims.response.version == Version::Saml11;
        if met && (!saml11 || response || vouched) {
            return Ok(());
        }
        let said = |signed| if signed { "signed" } else { "unsigned" };
        let expected = if saml11 { Demand::Response } else { idp.demand };
        Err(format!("expected {expected:?} signed, found the assertion {}, the response {}", said(assertion), said(response)))
    }
}

/// Good signatures around the assertion.
struct Outer {
    names: Vec<&'static str>,
    /// The innermost of them.
    covering: Option<Verified<Element>>,
}

/// Everything that is encrypted inside what a signature covers, in the clear.
pub(crate) fn decrypted(
    mut covering: Verified<Element>,
    keys: &DecryptionKeys<Assertions>,
    profile: &Profile,
) -> Result<Verified<Element>, XmlError> {
    // INVARIANT: the document's limits bound the number of decryptions.
    while covering.element()?.knows(XENC)
        && let Some(ciphertext) = ciphertext(&covering.element()?)?
    {
        covering = covering.decrypt(&EncryptedPart::at(&ciphertext), keys, profile)?;
    }
    Ok(covering)
}

/// The next ciphertext where SAML has one.
fn ciphertext<A: Authority>(element: &ElementView<'_, A>) -> Result<Option<Place>, XmlError> {
    for child in element.children() {
        let wrapper = child.namespace() == SAML && matches!(child.local(), "EncryptedAssertion" | "EncryptedID" | "EncryptedAttribute");
        if wrapper && let Some(data) = child.child(XENC, "EncryptedData")? {
            return Ok(Some(data.place()));
        }
        if let Some(found) = ciphertext(&child)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

impl FromClaimed for Claims {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let response = response_in(&root)?.ok_or_else(|| root.unreadable("a message that is no Response"))?;
        let saml11 = response.namespace() == SAMLP1;
        let resolution = if saml11 || root.is(SAMLP, "Response") { None } else { Some(ArtifactResponse::from_claimed(root)?) };
        let signed = |element: &ElementView<'_, Unsigned>| element.children().any(|child| child.is(DS, "Signature"));

        let namespace = if saml11 { SAML1 } else { SAML };
        let mut assertions: Vec<_> = response.children().filter(|child| child.is(namespace, "Assertion")).collect();
        let mut encrypted = Vec::new();
        let mut wrapped = false;
        for wrapper in response.children().filter(|child| child.is(SAML, "EncryptedAssertion")) {
            encrypted.extend(wrapper.child(XENC, "EncryptedData")?.map(|data| data.place()));
            let opened = wrapper.child(SAML, "Assertion")?;
            wrapped |= opened.is_some();
            assertions.extend(opened);
        }
        let mut path = Vec::new();
        if root.is(SOAP11, "Envelope") {
            path.extend([(SOAP11, "Envelope"), (SOAP11, "Body")]);
        }
        let mut resolution_signed = false;
        if resolution.is_some() {
            path.push((SAMLP, "ArtifactResponse"));
            resolution_signed = signed(&crate::protocol::body(&root)?);
        }
        path.push(if saml11 { (SAMLP1, "Response") } else { (SAMLP, "Response") });
        let mut assertion = path.clone();
        assertion.extend(wrapped.then_some((SAML, "EncryptedAssertion")));
        assertion.push((namespace, "Assertion"));
        let assertion_issuer = assertions.first().and_then(|assertion| match saml11 {
            true => assertion.attribute("", "Issuer").map(str::to_owned),
            false => assertion.child(SAML, "Issuer").ok().flatten().and_then(|issuer| crate::read::token(&issuer).ok()),
        });
        Ok(Self {
            response: Response::read(&response)?,
            resolution,
            layout: Layout {
                path,
                resolution_signed,
                response_signed: signed(&response),
                assertions: assertions.len(),
                encrypted,
                assertion: (!assertions.is_empty()).then_some(assertion),
                assertion_signed: assertions.iter().any(signed),
                assertion_issuer,
            },
        })
    }
}
