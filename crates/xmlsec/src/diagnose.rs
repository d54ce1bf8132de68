//! What a verification did, step by step, for an operator.
//!
//! It is the very verification that the doors run, with somebody watching: a tool that verifies in its own way explains a
//! different program. What it says belongs on an operator's terminal; a client that saw it would have an oracle.

use crate::document::{Document, SignedElement};
use crate::element::ElementView;
use crate::error::Error;
use crate::keys::Keys;
use crate::limits::Limits;
use crate::profile::Profile;
use crate::signature::DS;
use crate::tokens::{self, Resolver};
use crate::tree::{Kind, NodeId, Tree};
use crate::verified::{Element, Signer, Verified};

/// One step of a verification, in the order in which they are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Check {
    /// The document is well-formed and within its limits.
    WellFormed,
    /// The element that has to be signed stands where it has to and carries one signature.
    Element,
    /// No id occurs twice.
    Ids,
    /// The signature is written as schema and profile demand.
    Signature,
    /// A trusted key made it.
    Key,
    /// The signature over `SignedInfo` is good.
    SignedInfo,
    /// A reference leads to an element that may be covered.
    Reference,
    /// The element is what was signed.
    Digest,
}

impl Check {
    /// Its name for programs.
    pub fn name(self) -> &'static str {
        match self {
            Self::WellFormed => "well-formed",
            Self::Element => "element",
            Self::Ids => "ids",
            Self::Signature => "signature",
            Self::Key => "key",
            Self::SignedInfo => "signed-info",
            Self::Reference => "reference",
            Self::Digest => "digest",
        }
    }
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// Which.
    pub check: Check,
    /// Whether it passed.
    pub ok: bool,
    /// What was found.
    pub detail: String,
}

/// An element that a good signature covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Covered {
    /// The names from the root element on, as written: `/s:Envelope/s:Body`.
    pub path: String,
    /// Where it begins, in octets of the document.
    pub at: usize,
}

/// What has to be verified.
#[derive(Debug, Clone, Copy)]
pub enum Demand<'a> {
    /// The enveloped signature of this element, as [`Document::verify`] does.
    Element(SignedElement<'a>),
    /// This signature, as [`Document::verify_parts`] does.
    Signature(SignedElement<'a>),
    /// Every signature in the document in the same way, wherever it stands; there has to be one.
    Every,
}

/// A verification to be watched.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// What has to be verified.
    pub demand: Demand<'a>,
    /// With which keys.
    pub keys: Keys<'a>,
    /// Under which profile.
    pub profile: &'a Profile,
    /// Within which limits.
    pub limits: &'a Limits,
    /// What token references name, where the profile knows them.
    pub tokens: Option<Resolver<'a>>,
    /// Whether the canonical octets of an element whose digest differs are kept. They are the message's content.
    pub keep_octets: bool,
}

impl std::fmt::Debug for Question<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Question({:?})", self.demand)
    }
}

/// What a verification did.
#[derive(Debug, Clone)]
pub struct Report {
    /// The checks in order. After one that failed there is none.
    pub checks: Vec<Checked>,
    /// Why it was refused; `None` if it was accepted.
    pub error: Option<Error>,
    /// Who signed, once for each signature.
    pub signers: Vec<Signer>,
    /// What is covered; nothing unless all was accepted.
    pub covered: Vec<Covered>,
    /// The canonical octets whose digest differs, where they were asked for.
    pub octets: Option<Vec<u8>>,
    current: Check,
    keep_octets: bool,
}

/// Verifies as [`Document::verify`] and [`Document::verify_parts`] do, and says what it did.
pub fn diagnose(octets: &[u8], question: &Question<'_>) -> Report {
    let mut report = Report {
        checks: Vec::new(),
        error: None,
        signers: Vec::new(),
        covered: Vec::new(),
        octets: None,
        current: Check::WellFormed,
        keep_octets: question.keep_octets,
    };
    match answer(octets, question, &mut report) {
        Ok(signers) => report.signers = signers,
        Err(error) => {
            report.covered.clear();
            report.checks.push(Checked { check: report.current, ok: false, detail: error.to_string() });
            report.error = Some(error);
        }
    }
    report
}

fn answer(octets: &[u8], question: &Question<'_>, report: &mut Report) -> Result<Vec<Signer>, Error> {
    let document = Document::parse(octets, question.limits)?;
    report.pass(|| format!("{} octets, {} nodes", octets.len(), document.tree.nodes.len()));
    let tokens = question.tokens.unwrap_or(&tokens::nothing);
    let signer = |parts: &[Verified<Element>]| parts.first().map(|part| part.signer().clone());
    report.begin(Check::Element);
    match question.demand {
        Demand::Element(what) => {
            let verified = document.verify_watched(what, question.keys, question.profile, report)?;
            Ok(vec![verified.signer().clone()])
        }
        Demand::Signature(signature) => {
            let signature = document.locate(signature)?;
            let parts = document.parts_watched(signature, question.keys, question.profile, tokens, report)?;
            Ok(signer(&parts).into_iter().collect())
        }
        Demand::Every => {
            let mut signers = Vec::new();
            for signature in signatures(&document) {
                if signers.len() >= MOST_SIGNATURES {
                    return Err(Error::Ambiguous("Signature".to_owned()));
                }
                let parts = document.parts_watched(signature, question.keys, question.profile, tokens, report)?;
                signers.extend(signer(&parts));
            }
            if signers.is_empty() { Err(Error::SignatureMissing) } else { Ok(signers) }
        }
    }
}

/// Signatures of one document that a tool verifies.
const MOST_SIGNATURES: usize = 16;

fn signatures(document: &Document) -> impl Iterator<Item = ElementView<'_, crate::element::Unsigned>> {
    let elements = document.tree.nodes.iter().enumerate().filter(|(_, node)| matches!(node.kind, Kind::Element(_)));
    // INVARIANT: a tree has at most `u32::MAX` nodes.
    let ids = elements.filter_map(|(place, _)| u32::try_from(place).ok());
    ids.filter_map(|place| document.view(NodeId(place)).ok()).filter(|element| element.is(DS, "Signature"))
}

/// Somebody who watches a verification. It cannot change what happens.
pub(crate) trait Watch {
    /// A check begins.
    fn begin(&mut self, check: Check);
    /// It passed.
    fn pass(&mut self, detail: impl FnOnce() -> String);
    /// A digest differs.
    fn differs(&mut self, octets: impl FnOnce() -> Result<Vec<u8>, Error>);
    /// An element is covered.
    fn covers(&mut self, element: &Element);
}

/// Nobody.
pub(crate) struct Unwatched;

impl Watch for Unwatched {
    fn begin(&mut self, _: Check) {}
    fn pass(&mut self, _: impl FnOnce() -> String) {}
    fn differs(&mut self, _: impl FnOnce() -> Result<Vec<u8>, Error>) {}
    fn covers(&mut self, _: &Element) {}
}

impl Watch for Report {
    fn begin(&mut self, check: Check) {
        self.current = check;
    }

    fn pass(&mut self, detail: impl FnOnce() -> String) {
        self.checks.push(Checked { check: self.current, ok: true, detail: detail() });
    }

    fn differs(&mut self, octets: impl FnOnce() -> Result<Vec<u8>, Error>) {
        if self.keep_octets {
            self.octets = octets().ok();
        }
    }

    fn covers(&mut self, element: &Element) {
        let at = element.tree.node(element.id).map_or(0, |node| node.span.0 as usize);
        self.covered.push(Covered { path: path(&element.tree, element.id), at });
    }
}

fn path(tree: &Tree, id: NodeId) -> String {
    let mut names = Vec::new();
    let mut here = Some(id);
    while let Some(node) = here.and_then(|id| tree.node(id)) {
        if let Kind::Element(element) = &node.kind {
            names.push(tree.qualified(element.name));
        }
        here = node.parent();
    }
    names.iter().rev().flat_map(|name| ["/", name]).collect()
}
