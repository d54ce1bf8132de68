//! What has to be signed, and was: a message's one header for us held against [`Rules`] (SOAP Message Security §11 of the
//! reference).
//!
//! The order is that of security: find the header, read it within limits, decrypt, verify signatures with keys that are
//! trusted for another reason than the message, check the times, and only then look at tokens. A signature proves what
//! stands at a place: the demand is "is this Body covered", never "is something called Body covered" (attacks 57, 58).

mod coverage;
mod decryption;
mod saml;
mod signatures;

pub use saml::{AcceptedAssertion, Confirmed};
pub use signatures::SignedParts;

use std::sync::Arc;

use vestibule_soap::{Envelope, Target};
use vestibule_xmlsec::{Claimed, Document, Limits};

use crate::certificates::Certificate;
use crate::error::Error;
use crate::header::{ClaimedAssertion, ClaimedSignature, Item, Outline, SecurityHeader};
use crate::namespaces::Era;
use crate::reason::{Check, Reason, Refused, Rejection, Trace};
use crate::replay::{self, Replay};
use crate::rules::{Concession, Part, Rules, TokenKind};
use crate::timestamp::{Timestamp, check_created};
use crate::tokens::{BinaryToken, Secret, UsernameToken};

use decryption::{Decryption, Stage};

/// Signatures of one header.
const MOST_SIGNATURES: usize = 2;
/// Binary tokens of one header.
const MOST_BINARY_TOKENS: usize = 8;

/// A SOAP message, read.
#[derive(Debug, Clone)]
pub struct Message {
    document: Document,
    envelope: Arc<Claimed<Envelope>>,
    outline: Arc<Claimed<Outline>>,
}

/// What was proven of a message.
#[derive(Debug)]
pub struct Accepted {
    /// The user name, whose password the caller still has to check.
    pub username: Option<UsernameToken>,
    /// The certificate whose key signed what had to be signed of the message.
    pub certificate: Option<Certificate>,
    /// The assertion, and how whoever presents it showed that it may.
    pub assertion: Option<AcceptedAssertion>,
    /// The signatures over the message and what each covers.
    pub signatures: Vec<SignedParts>,
    /// The names of the parts that signatures by the authenticating keys cover: those of [`Part::name`].
    pub covered: Vec<String>,
    /// The Timestamp, if there is one.
    pub timestamp: Option<Timestamp>,
    /// What has to be spent before the message counts, after a password was checked.
    pub replay: Vec<Replay>,
    /// The message with what was encrypted to us in the clear.
    pub message: Message,
    /// Every check, in order.
    pub checks: Vec<Check>,
}

impl Message {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Error::Xml`], [`Error::Soap`].
    pub fn read(octets: &[u8], limits: &Limits) -> Result<Self, Error> {
        Self::of(Document::parse(octets, limits)?)
    }

    /// The message that a document is.
    ///
    /// # Errors
    /// As [`Message::read`].
    pub fn of(document: Document) -> Result<Self, Error> {
        let envelope = Arc::new(Envelope::read(&document)?);
        let outline = Arc::new(document.claim()?);
        Ok(Self { document, envelope, outline })
    }

    /// Its envelope. Claims, but for what [`Accepted::covered`] names.
    pub fn envelope(&self) -> &Envelope {
        self.envelope.sender_says()
    }

    /// Its document.
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Whether there is a security header for this role, of whatever era. Says nothing about what is in it.
    pub fn presents(&self, role: &Target) -> bool {
        self.headers_for(role).next().is_some()
    }

    /// The kinds of token that the headers for this role seem to hold: which scheme a message is for. All of them where
    /// ciphertext hides what is there, or nothing of it can be read.
    pub fn offers(&self, role: &Target) -> Vec<TokenKind> {
        let all = [TokenKind::Username, TokenKind::X509, TokenKind::Saml];
        let mut offered = Vec::new();
        for header in self.headers_for(role) {
            let Ok(items) = &header.items else { return all.to_vec() };
            if !self.outline().ciphertexts.is_empty() {
                return all.to_vec();
            }
            let is_there = |wanted: fn(&Item) -> bool| items.iter().any(wanted);
            let assertion = is_there(|item| matches!(item, Item::Assertion(_)));
            let signature = is_there(|item| matches!(item, Item::Signature(_) | Item::Binary(_)));
            offered.extend(is_there(|item| matches!(item, Item::Username(_))).then_some(TokenKind::Username));
            offered.extend(assertion.then_some(TokenKind::Saml));
            // Beside an assertion a signature shows who holds it, and is nobody's own credential.
            offered.extend((signature && !assertion).then_some(TokenKind::X509));
        }
        offered
    }

    /// The user name in the header for a role, as its sender shows it; none where there are two. Whoever reads a password from
    /// it has seen it proven.
    pub fn username<'a>(&'a self, role: &'a Target) -> Option<&'a UsernameToken> {
        let items = self.headers_for(role).filter_map(|header| header.items.as_ref().ok()).flatten();
        let mut names = items.filter_map(|item| match item {
            Item::Username(token) => Some(token),
            _ => None,
        });
        names.next().filter(|_| names.next().is_none())
    }

    /// Judges the header for the role that the rules name.
    ///
    /// # Errors
    /// [`Rejection`], with the check that failed and all that were made.
    pub fn verify(&self, rules: &Rules<'_>, now: jiff::Timestamp) -> Result<Accepted, Rejection> {
        let mut trace = Trace::default();
        match self.judged(rules, now, &mut trace) {
            Ok(accepted) => Ok(Accepted { checks: trace.0, ..accepted }),
            Err(refused) => Err(trace.rejection(refused)),
        }
    }

    pub(crate) fn outline(&self) -> &Outline {
        self.outline.sender_says()
    }

    pub(crate) fn headers_for<'a>(&'a self, role: &'a Target) -> impl Iterator<Item = &'a SecurityHeader> {
        let ours = self.envelope().blocks().iter().filter(move |block| block.target == *role);
        ours.filter_map(|block| self.outline().headers.iter().find(|header| header.place == block.place))
    }

    /// The one header for us, of an era that counts.
    fn header<'a>(&'a self, rules: &'a Rules<'_>, trace: &mut Trace) -> Result<&'a SecurityHeader, Refused> {
        let name = "header";
        let mut headers = self.headers_for(rules.role);
        let Some(header) = headers.next() else {
            return Err(trace.refuse(name, Reason::NoCredentials, format!("no security header for {:?}", rules.role)));
        };
        if headers.next().is_some() {
            return Err(trace.refuse(name, Reason::Ambiguous, format!("two security headers for {:?}", rules.role)));
        }
        let enabled = header.era.concession().is_none_or(|concession| rules.concessions.admit(concession));
        trace.demand(name, enabled, Reason::NotEnabled, format!("of the era {:?}", header.era))?;
        Ok(header)
    }

    fn judged(&self, rules: &Rules<'_>, now: jiff::Timestamp, trace: &mut Trace) -> Result<Accepted, Refused> {
        let received = Contents::of(self.header(rules, trace)?, trace)?;
        let was_there = !received.usernames.is_empty();
        let mut decryption = Decryption::new(rules);
        let message = decryption.run(self.clone(), Stage::BeforeSignatures, trace)?;
        let header = message.header(rules, &mut Trace::default())?;
        let contents = Contents::of(header, trace)?;
        contents.check(rules, trace)?;

        let own = saml::own(&message, &contents, rules, now, trace)?;
        let signatures = signatures::verify(&message, &contents, rules, own.as_ref(), now, trace)?;
        let timestamp = contents.timestamp(&message, &signatures, rules, now, trace)?;
        let username = contents.username(rules, was_there, now, trace)?;
        let assertion = saml::confirmed(own, &contents, &signatures, rules, now, trace)?;
        let coverage = coverage::Coverage { message: &message, contents: &contents, signatures: &signatures, rules };
        let signer = coverage.check(assertion.as_ref(), trace)?;

        let until = timestamp.map_or_else(|| rules.window.end_of(now), |timestamp| timestamp.end(&rules.window));
        let mut replay: Vec<Replay> = username.iter().filter_map(|token| token.replay(&role_name(rules.role), &rules.window)).collect();
        for once in signatures.iter().map(|signature| signature.once(until)) {
            // Two signatures that say the same are one condition: a message is no replay of itself.
            if !replay.contains(&once) {
                replay.push(once);
            }
        }
        replay.extend(assertion.iter().flat_map(|accepted| accepted.replay(&message, &signatures, rules)));
        let covered = coverage.names(signer);
        let certificate = signer.and_then(|signature| signature.certificate.clone());
        let message = decryption.run(message.clone(), Stage::AfterSignatures, trace)?;
        Ok(Accepted { username, certificate, assertion, signatures, covered, timestamp, replay, message, checks: Vec::new() })
    }
}

/// What stands in the header, by kind.
#[derive(Debug)]
struct Contents<'h> {
    era: Era,
    timestamps: Vec<(&'h vestibule_xmlsec::Place, &'h Result<Timestamp, vestibule_xmlsec::Error>)>,
    usernames: Vec<&'h UsernameToken>,
    binaries: Vec<&'h BinaryToken>,
    assertions: Vec<&'h ClaimedAssertion>,
    signatures: Vec<&'h ClaimedSignature>,
}

impl<'h> Contents<'h> {
    fn of(header: &'h SecurityHeader, trace: &mut Trace) -> Result<Self, Refused> {
        let items = header.items.as_ref().map_err(|error| trace.refuse_xml("header", error))?;
        let mut contents = Self {
            era: header.era,
            timestamps: Vec::new(),
            usernames: Vec::new(),
            binaries: Vec::new(),
            assertions: Vec::new(),
            signatures: Vec::new(),
        };
        for item in items {
            match item {
                Item::Timestamp { place, read } => contents.timestamps.push((place, read)),
                Item::Username(token) => contents.usernames.push(token),
                Item::Binary(token) => contents.binaries.push(token),
                Item::Assertion(assertion) => contents.assertions.push(assertion),
                Item::Signature(signature) => contents.signatures.push(signature),
                Item::EncryptedKey { .. } | Item::ReferenceList { .. } | Item::TokenReference { .. } | Item::Other => {}
            }
        }
        Ok(contents)
    }

    /// What needs no key: that nothing is there twice, and that what was demanded is there at all.
    fn check(&self, rules: &Rules<'_>, trace: &mut Trace) -> Result<(), Refused> {
        let name = "contents";
        for (what, count) in
            [("Timestamp", self.timestamps.len()), ("UsernameToken", self.usernames.len()), ("Assertion", self.assertions.len())]
        {
            if count > 1 {
                return Err(trace.refuse(name, Reason::Ambiguous, format!("{count} elements {what}")));
            }
        }
        if self.signatures.len() > MOST_SIGNATURES || self.binaries.len() > MOST_BINARY_TOKENS {
            let detail = format!("{} signatures, {} certificates", self.signatures.len(), self.binaries.len());
            return Err(trace.refuse(name, Reason::Limits, detail));
        }
        // Ids and token references of the drafts are not read: nothing could be proven with them.
        if self.era != Era::Standard && !self.signatures.is_empty() {
            return Err(trace.refuse(name, Reason::NotEnabled, "a signature in a draft's header"));
        }
        if rules.demand.tokens.is_empty() {
            return Err(trace.refuse(name, Reason::NoCredentials, "no token is demanded"));
        }
        for token in rules.demand.tokens {
            let (found, missing) = match token {
                TokenKind::Username => (!self.usernames.is_empty(), Reason::NoCredentials),
                TokenKind::Saml => (!self.assertions.is_empty(), Reason::NoCredentials),
                // A certificate that signs nothing is no credential.
                TokenKind::X509 if self.binaries.is_empty() => (!self.signatures.is_empty(), Reason::NoCredentials),
                TokenKind::X509 => (!self.signatures.is_empty(), Reason::SignatureMissing),
            };
            trace.demand(name, found, missing, format!("{token:?}"))?;
        }
        Ok(())
    }

    /// The time of the message: from what is signed wherever it is signed.
    fn timestamp(
        &self,
        message: &Message,
        signatures: &[SignedParts],
        rules: &Rules<'_>,
        now: jiff::Timestamp,
        trace: &mut Trace,
    ) -> Result<Option<Timestamp>, Refused> {
        let name = "timestamp";
        let mut found = None;
        for (place, claimed) in &self.timestamps {
            let signed = signatures.iter().find_map(|signature| signature.part(place));
            let read = match signed {
                Some(part) => part.read::<Timestamp>().map(|timestamp| *timestamp.value()),
                None => (*claimed).clone(),
            };
            found = Some(read.map_err(|error| trace.refuse_xml(name, &error))?);
        }
        // The drafts have it beside the security header.
        for (place, era, read) in &message.outline().loose_timestamps {
            let ours = message.envelope().blocks().iter().any(|block| block.place == *place && block.target == *rules.role);
            if ours && *era == self.era && self.era != Era::Standard {
                let read = read.clone().map_err(|error| trace.refuse_xml(name, &error))?;
                if found.replace(read).is_some() {
                    return Err(trace.refuse(name, Reason::Ambiguous, "two Timestamps"));
                }
            }
        }
        match &found {
            Some(timestamp) => timestamp.check(trace, &rules.window, now)?,
            None => trace.skipped(name, "there is none"),
        }
        Ok(found)
    }

    /// The user name, if it is demanded, with something that may prove it.
    fn username(
        &self,
        rules: &Rules<'_>,
        in_the_clear: bool,
        now: jiff::Timestamp,
        trace: &mut Trace,
    ) -> Result<Option<UsernameToken>, Refused> {
        use crate::tokens::UsernameOffer as Offer;
        let name = "username token";
        let (Some(token), true) = (self.usernames.first(), rules.demand.tokens.contains(&TokenKind::Username)) else {
            return Ok(None);
        };
        match token.offered() {
            // Attack 59.
            Offer::Nothing => return Err(trace.refuse(name, Reason::NoCredentials, "a name without password")),
            Offer::DerivedKey => return Err(trace.refuse(name, Reason::NotEnabled, "a key derived from the password")),
            // Attack 60.
            Offer::Secret(Secret::Text(_)) if in_the_clear && !rules.channel.is_protected() => {
                return Err(trace.refuse(name, Reason::NotEnabled, "a password in the clear over an open channel"));
            }
            Offer::Secret(_) => trace.passed(name, token.kind()),
        }
        if let Some(created) = token.created() {
            check_created(trace, name, created, &rules.window, now)?;
        }
        trace.skipped("password", "the caller's to check");
        Ok(Some((*token).clone()))
    }
}

/// Parts that a token needs wherever it counts.
fn parts_of(token: TokenKind, confirmed: Option<&Confirmed>, rules: &Rules<'_>) -> Vec<Part> {
    let mut parts = match (token, confirmed) {
        (TokenKind::X509, _) | (TokenKind::Saml, Some(Confirmed::HolderOfKey(_))) => vec![Part::Body, Part::Timestamp],
        (TokenKind::Saml, Some(Confirmed::SenderVouches(_))) => vec![Part::Token, Part::Body, Part::Timestamp],
        (TokenKind::Saml, Some(Confirmed::HolderByTls(_) | Confirmed::VouchedByTls(_) | Confirmed::Bearer) | None)
        | (TokenKind::Username, _) => Vec::new(),
    };
    parts.extend(rules.demand.parts.iter().filter(|part| !parts.contains(part)).cloned().collect::<Vec<_>>());
    if rules.concessions.admit(Concession::UnsignedTimestamp) {
        parts.retain(|part| *part != Part::Timestamp);
    }
    parts
}

fn role_name(role: &Target) -> String {
    match role {
        Target::Ultimate => String::new(),
        Target::Next => "next".to_owned(),
        Target::Nobody => "none".to_owned(),
        Target::Role(role) => format!("role {role}"),
    }
}

/// SHA-256 of a digest as `SignedInfo` has it.
fn of_digest(digest: &str) -> [u8; 32] {
    replay::hash("wss digest", [digest.as_bytes()])
}
