//! Whether the required parts are covered, each at its place, by one signature of the authenticating key.

use vestibule_xmlsec::Place;

use super::saml::{AcceptedAssertion, Confirmed};
use super::{Contents, Message, SignedParts, parts_of};
use crate::namespaces::{ADDRESSING, Era};
use crate::reason::{Reason, Refused, Trace};
use crate::rules::{Concession, Part, Rules, TokenKind};
use crate::tokens::BinaryKind;

pub(super) struct Coverage<'a> {
    pub(super) message: &'a Message,
    pub(super) contents: &'a Contents<'a>,
    pub(super) signatures: &'a [SignedParts],
    pub(super) rules: &'a Rules<'a>,
}

/// Something that has to be covered.
struct Wanted {
    part: String,
    /// The local name of what stands there.
    local: String,
    /// `None`: it is not there.
    place: Option<Place>,
}

impl Coverage<'_> {
    /// The signature by a trusted key that covers what it has to, if one has to. Another that stands beside it, over something
    /// that nobody reads, says nothing about who sends the message.
    pub(super) fn check(&self, assertion: Option<&AcceptedAssertion>, trace: &mut Trace) -> Result<Option<&SignedParts>, Refused> {
        let mut signer: Option<&SignedParts> = None;
        for token in self.rules.demand.tokens {
            let confirmed = assertion.map(|assertion| &assertion.confirmed);
            let parts = parts_of(*token, confirmed, self.rules);
            if parts.is_empty() {
                continue;
            }
            let counts = |signature: &&SignedParts| match (token, confirmed) {
                (TokenKind::X509, _) => signature.trusted,
                (TokenKind::Saml, Some(Confirmed::HolderOfKey(_))) => signature.holder,
                (TokenKind::Saml, Some(Confirmed::SenderVouches(_))) => signature.attester,
                (TokenKind::Saml, Some(Confirmed::HolderByTls(_) | Confirmed::VouchedByTls(_) | Confirmed::Bearer) | None)
                | (TokenKind::Username, _) => true,
            };
            let covering = self.one_covers(*token, &parts, counts, trace)?;
            match token {
                TokenKind::X509 => signer = Some(covering),
                TokenKind::Username => signer = signer.or(Some(covering)),
                TokenKind::Saml => {}
            }
        }
        Ok(signer.filter(|signature| signature.trusted))
    }

    fn one_covers(
        &self,
        token: TokenKind,
        parts: &[Part],
        counts: impl Fn(&&SignedParts) -> bool,
        trace: &mut Trace,
    ) -> Result<&SignedParts, Refused> {
        let name = "coverage";
        let mut missing = None;
        for signature in self.signatures.iter().filter(|signature| counts(signature)) {
            let mut wanted = Vec::new();
            for part in parts {
                self.places(part, token, signature, &mut wanted).map_err(|(reason, why)| trace.refuse(name, reason, why))?;
            }
            let open = wanted.into_iter().find(|wanted| wanted.place.as_ref().is_none_or(|place| !signature.covers(place)));
            let Some(open) = open else {
                let parts: Vec<String> = parts.iter().map(Part::name).collect();
                trace.passed(name, format!("{} for {token:?}", parts.join(", ")));
                return Ok(signature);
            };
            missing = missing.or(Some(open));
        }
        let Some(missing) = missing else {
            return Err(trace.refuse(name, Reason::SignatureMissing, format!("no signature by the key of {token:?}")));
        };
        // The signature is good, and covers something of this name that nobody reads.
        let elsewhere = self.signatures.iter().flat_map(SignedParts::parts).any(|part| {
            let same = part.element().is_ok_and(|element| element.local() == missing.local);
            same && missing.place.as_ref() != Some(&part.place())
        });
        let (reason, why) = match (&missing.place, elsewhere) {
            (Some(_), true) => (Reason::Wrapped, "is not what is signed under its name"),
            (Some(_), false) => (Reason::PartNotSigned, "is not covered"),
            (None, _) => (Reason::PartNotSigned, "is not there"),
        };
        Err(trace.refuse(name, reason, format!("the part {} {why}", missing.part)))
    }

    fn places(&self, part: &Part, token: TokenKind, signature: &SignedParts, out: &mut Vec<Wanted>) -> Result<(), (Reason, String)> {
        let mut want = |local: &str, place: Option<&Place>| {
            out.push(Wanted { part: part.name(), local: local.to_owned(), place: place.cloned() });
        };
        let blocks = self.message.envelope().blocks();
        let is_security = |place: &Place| self.message.outline().headers.iter().any(|header| header.place == *place);
        match part {
            Part::Body => want("Body", Some(self.message.envelope().body())),
            Part::Timestamp => want("Timestamp", self.contents.timestamps.first().map(|(place, _)| *place)),
            Part::Token => match token {
                TokenKind::Username => want("UsernameToken", self.contents.usernames.first().map(|token| &token.place)),
                TokenKind::Saml => want("Assertion", self.contents.assertions.first().map(|assertion| &assertion.place)),
                TokenKind::X509 => {
                    let certificate = signature.certificate().map(|certificate| certificate.der());
                    let own = self
                        .contents
                        .binaries
                        .iter()
                        .filter(|token| token.kind != BinaryKind::Certificate || Some(token.octets.as_slice()) == certificate);
                    own.for_each(|token| want("BinarySecurityToken", Some(&token.place)));
                }
            },
            Part::Addressing => {
                let mut seen: Vec<&str> = Vec::new();
                for block in blocks.iter().filter(|block| ADDRESSING.contains(&block.namespace.as_str())) {
                    // Of two, one would be read and the other signed.
                    if seen.contains(&block.local.as_str()) && block.local != "RelatesTo" {
                        return Err((Reason::Ambiguous, format!("two header blocks {}", block.local)));
                    }
                    seen.push(&block.local);
                    want(&block.local, Some(&block.place));
                }
            }
            Part::Headers => {
                for block in blocks.iter().filter(|block| !is_security(&block.place)) {
                    want(&block.local, Some(&block.place));
                }
            }
            Part::Header(namespace, local) => {
                let mut found = blocks.iter().filter(|block| block.is(namespace, local));
                want(local, found.next().map(|block| &block.place));
                if found.next().is_some() {
                    return Err((Reason::Ambiguous, format!("two header blocks {local}")));
                }
            }
            Part::Envelope => {
                let unsigned = self.rules.concessions.admit(Concession::UnsignedTimestamp);
                let parts = [Part::Headers, Part::Body, Part::Timestamp, Part::Token];
                for inner in parts.iter().filter(|inner| !(unsigned && **inner == Part::Timestamp)) {
                    self.places(inner, token, signature, out)?;
                }
            }
        }
        Ok(())
    }

    /// The names of what is covered by any of the signatures that count.
    pub(super) fn names(&self, signer: Option<&SignedParts>) -> Vec<String> {
        let key = signer.map(|signer| signer.key);
        let counts = |signature: &&SignedParts| signature.attester || signature.holder || key == Some(signature.key);
        let covered = |place: &Place| self.signatures.iter().filter(counts).any(|signature| signature.covers(place));
        let mut names = Vec::new();
        if covered(self.message.envelope().body()) {
            names.push(Part::Body.name());
        }
        if self.contents.timestamps.iter().any(|(place, _)| covered(place)) {
            names.push(Part::Timestamp.name());
        }
        let usernames = self.contents.usernames.iter().map(|token| &token.place);
        let binaries = self.contents.binaries.iter().map(|token| &token.place);
        let mut tokens = usernames.chain(binaries).chain(self.contents.assertions.iter().map(|assertion| &assertion.place));
        if tokens.any(&covered) {
            names.push(Part::Token.name());
        }
        for block in self.message.envelope().blocks() {
            if Era::of_extension(&block.namespace).is_none() && covered(&block.place) {
                names.push(Part::Header(block.namespace.clone(), block.local.clone()).name());
            }
        }
        names
    }
}
