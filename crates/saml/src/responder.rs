//! The source site's responder of SAML 1.1: requests for the assertions behind artifacts (1.1 bindings §3.1, §4.1.1.6).
//!
//! What an attacker tries: to redeem an artifact that he saw on its way. A request of 1.1 says nowhere who asks, so that
//! the artifact says for whom it was made, and whoever asks has to be that partner by its signature or by TLS.

use jiff::Timestamp;
use vestibule_xmlsec::{Document, SignedElement};

use crate::binding::MESSAGE_LIMITS;
use crate::error::Error;
use crate::names::{SAMLP1, SOAP11};
use crate::partner::{Admitted, Layout, Partner, Signature};
use crate::protocol::ArtifactRequest11;
use crate::reason::{Reason, Rejection, Trace};

impl ArtifactRequest11 {
    /// What somebody asks for: a hint for finding the partner it was made for, nothing more.
    ///
    /// # Errors
    /// [`Error::Xml`].
    pub fn claimed(octets: &[u8]) -> Result<Self, Error> {
        Ok(Document::parse(octets, &MESSAGE_LIMITS)?.claim::<Self>()?.sender_says().clone())
    }
}

impl Partner<'_> {
    /// Judges a request for the assertions behind artifacts, in its SOAP envelope.
    ///
    /// # Errors
    /// [`Rejection`].
    pub fn artifact_request(&self, octets: &[u8], signature: Signature, now: Timestamp) -> Result<Admitted<ArtifactRequest11>, Rejection> {
        let mut trace = Trace::default();
        let read = || -> Result<_, Error> {
            let document = Document::parse(octets, &MESSAGE_LIMITS)?;
            let layout = document.claim::<Layout>()?.sender_says().clone();
            Ok((document, layout))
        };
        let (document, layout) = match read() {
            Ok(read) => read,
            Err(error) => return Err(trace.refuse("document", error.reason(), error.to_string())),
        };
        if !layout.enveloped {
            return Err(trace.refuse("document", Reason::Malformed, "expected a SOAP envelope, found a bare message"));
        }
        trace.passed("document", "Request");
        let message = match (layout.signed, signature) {
            (true, _) => {
                let path = [(SOAP11, "Envelope"), (SOAP11, "Body"), (SAMLP1, "Request")];
                let verified = document.verify(SignedElement::Path(&path), self.keys, self.profile);
                verified.and_then(|verified| Ok(verified.read::<ArtifactRequest11>()?.into_value()))
            }
            (false, Signature::IfPresent) => document.claim::<ArtifactRequest11>().map(|claimed| claimed.sender_says().clone()),
            (false, Signature::Required) => {
                return Err(trace.refuse("signature", Reason::SignatureMissing, "expected a signature, found none"));
            }
        };
        let message = match message {
            Ok(message) => message,
            Err(error) => return Err(trace.refuse("signature", Reason::of(&error), error.to_string())),
        };
        trace.passed("signature", if layout.signed { "good" } else { "none, and none is demanded" });
        let age = now.duration_since(message.issue_instant);
        let detail = format!("issued {}, now {now}", message.issue_instant);
        if -age > self.skew {
            trace.failed("age", Reason::NotYetValid, detail);
        } else {
            trace.check("age", age <= self.max_age.saturating_add(self.skew), Reason::Stale, detail);
        }
        Ok(Admitted { message, signed: layout.signed, checks: trace.verdict()? })
    }
}
