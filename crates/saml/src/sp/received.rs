//! A response as it came: where things stand in it, and the way to what is signed.

use vestibule_xmlsec::{Document, Element, ElementView, Error as XmlError, FromClaimed, SignedElement, Unsigned, Verified};

use super::{Demand, TrustedIdp};
use crate::assertion::{Assertion, Version};
use crate::binding::MESSAGE_LIMITS;
use crate::names::{DS, SAML, SAML1, SAMLP, SAMLP1, SOAP11};
use crate::protocol::{ArtifactResponse, Response, response_in};
use crate::reason::{Reason, Rejection, Trace};

/// A response, read but not believed. Says whom to hold it against.
#[derive(Debug)]
pub struct Received {
    document: Document,
    size: usize,
    claims: Claims,
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
    path: Vec<(&'static str, &'static str)>,
    resolution_signed: bool,
    response_signed: bool,
    assertions: usize,
    encrypted: usize,
    assertion_signed: bool,
    assertion_issuer: Option<String>,
}

/// What a signature covers of a response.
pub(super) struct Content {
    pub(super) trace: Trace,
    /// The response's head, if it is covered.
    pub(super) response: Option<Response>,
    pub(super) assertion: Verified<Assertion>,
}

impl Received {
    /// Reads the octets of a response, or of the SOAP envelope that brought one.
    ///
    /// # Errors
    /// [`Rejection`]: not well-formed, not within the limits, or no response.
    pub fn read(octets: &[u8]) -> Result<Self, Rejection> {
        let refuse = |error: &XmlError| Trace::default().refuse("document", Reason::of(error), error.to_string());
        let document = Document::parse(octets, &MESSAGE_LIMITS).map_err(|error| refuse(&error))?;
        let claims = document.claim::<Claims>().map_err(|error| refuse(&error))?.sender_says().clone();
        Ok(Self { document, size: octets.len(), claims })
    }

    /// Who says that it sent this: a hint for choosing among identity providers, nothing more.
    pub fn claimed_issuer(&self) -> Option<&str> {
        self.claims.response.issuer.as_deref().or(self.claims.layout.assertion_issuer.as_deref())
    }

    /// Which request it says to answer: a hint for finding the login in progress, nothing more.
    pub fn claimed_request(&self) -> Option<&str> {
        self.claims.response.in_response_to.as_deref()
    }

    pub(super) fn response(&self) -> &Response {
        &self.claims.response
    }

    pub(super) fn resolution(&self) -> Option<&ArtifactResponse> {
        self.claims.resolution.as_ref()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// A response that was signed and sent through a browser has to say where it was sent. SAML 1.1 always has to.
    pub(super) fn must_name_destination(&self) -> bool {
        let through_browser = self.claims.layout.path.len() == 1;
        through_browser && (self.claims.layout.response_signed || self.claims.response.version == Version::Saml11)
    }

    /// Finds what is signed and verifies it; every signature that is there has to be good.
    pub(super) fn verify(&self, mut trace: Trace, idp: &TrustedIdp) -> Result<Content, Rejection> {
        let layout = &self.claims.layout;
        match (layout.assertions, layout.encrypted) {
            (1, 0) | (0, 1) => trace.passed("one assertion", ""),
            (0, 0) => return Err(trace.refuse("one assertion", Reason::AssertionMissing, "expected one assertion, found none")),
            (clear, encrypted) => {
                let detail = format!("expected one assertion, found {clear} and {encrypted} encrypted");
                return Err(trace.refuse("one assertion", Reason::Ambiguous, detail));
            }
        }
        if layout.encrypted > 0 {
            return Err(trace.refuse("decryption", Reason::DecryptionFailed, "no key to decrypt with"));
        }
        let unmet = match idp.demand {
            Demand::Either => !(layout.assertion_signed || layout.response_signed || layout.resolution_signed),
            Demand::Assertion => !layout.assertion_signed,
            Demand::Response => !layout.response_signed,
            Demand::Both => !(layout.assertion_signed && layout.response_signed),
        };
        // Browser/POST of SAML 1.1 §4.1.2.5: the response has to be signed.
        let unmet = unmet || (self.claims.response.version == Version::Saml11 && !layout.response_signed);
        if unmet {
            let detail = format!(
                "expected {:?}, found the assertion {}, the response {}",
                idp.demand,
                said(layout.assertion_signed),
                said(layout.response_signed)
            );
            return Err(trace.refuse("signature", Reason::SignatureMissing, detail));
        }
        match self.signatures(idp) {
            Ok(found) => {
                trace.passed("signature", found.what);
                match (found.covering.read::<Assertion>(), found.response.map(|response| response.read::<Response>()).transpose()) {
                    (Ok(assertion), Ok(response)) => {
                        let response = response.map(Verified::into_value);
                        Ok(Content { trace, response, assertion })
                    }
                    (Err(error), _) | (_, Err(error)) => Err(trace.refuse("assertion", Reason::of(&error), error.to_string())),
                }
            }
            Err(error) => Err(trace.refuse("signature", Reason::of(&error), error.to_string())),
        }
    }

    fn signatures(&self, idp: &TrustedIdp) -> Result<Found, XmlError> {
        let layout = &self.claims.layout;
        let verify = |path: &[(&str, &str)]| self.document.verify(SignedElement::Path(path), &idp.keys, &idp.profile);
        let mut found: Vec<(&'static str, Verified<Element>)> = Vec::new();
        if layout.resolution_signed {
            found.push(("ArtifactResponse", verify(layout.path.get(..layout.path.len().saturating_sub(1)).unwrap_or_default())?));
        }
        let mut response = None;
        if layout.response_signed {
            let verified = verify(&layout.path)?;
            response = Some(verified.clone());
            found.push(("Response", verified));
        }
        if layout.assertion_signed {
            let mut path = layout.path.clone();
            path.push(if self.claims.response.version == Version::Saml11 { (SAML1, "Assertion") } else { (SAML, "Assertion") });
            found.push(("Assertion", verify(&path)?));
        }
        let what = found.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" and ");
        // A signature over what is around covers the response as well.
        let response = response.or_else(|| found.iter().find(|(name, _)| *name == "ArtifactResponse").map(|(_, found)| found.clone()));
        let covering = found.pop().map(|(_, verified)| verified).ok_or(XmlError::SignatureMissing)?;
        Ok(Found { what, response, covering })
    }
}

/// Good signatures.
struct Found {
    what: String,
    /// Over the response.
    response: Option<Verified<Element>>,
    /// The innermost one over the assertion.
    covering: Verified<Element>,
}

fn said(signed: bool) -> &'static str {
    if signed { "signed" } else { "unsigned" }
}

impl FromClaimed for Claims {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let response = response_in(&root)?.ok_or_else(|| root.unreadable("a message that is no Response"))?;
        let saml11 = response.namespace() == SAMLP1;
        let resolution = if saml11 || root.is(SAMLP, "Response") { None } else { Some(ArtifactResponse::from_claimed(root)?) };
        let signed = |element: &ElementView<'_, Unsigned>| element.children().any(|child| child.is(DS, "Signature"));

        let namespace = if saml11 { SAML1 } else { SAML };
        let assertions: Vec<_> = response.children().filter(|child| child.is(namespace, "Assertion")).collect();
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
                encrypted: response.children().filter(|child| child.is(SAML, "EncryptedAssertion")).count(),
                assertion_signed: assertions.iter().any(signed),
                assertion_issuer,
            },
        })
    }
}
