//! `ds:Signature` read strictly (XML Signature 1.1 §4), before anything in it is believed.
//!
//! What an attacker tries: two `SignedInfo` of which one is verified and the other digested, a comment that splits a
//! `DigestValue`, a foreign element that looks like `ds:Reference`, a truncated MAC, an `Object` to hide the original in.
//! Every element here has its place, its number and its attributes, or the whole signature is refused.

use std::iter::Peekable;

use crate::base64;
use crate::c14n::Canonicalization;
use crate::element::{ElementView, Unsigned};
use crate::error::{Error, ReferenceFault, Role, SignatureFault};
use crate::profile::{self, ENVELOPED, Hash, KeyInfo, Profile, STR_TRANSFORM, SignatureAlgorithm};
use crate::tokens::WSSE;
use crate::tree::{Kind, NodeId};

/// The namespace of XML Signature.
pub(crate) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
/// The namespace of exclusive canonicalization and its parameter.
pub(crate) const EXCLUSIVE: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";

type View<'t> = ElementView<'t, Unsigned>;

/// A signature as its sender wrote it.
#[derive(Debug)]
pub(crate) struct Signature<'t> {
    pub(crate) info: NodeId,
    pub(crate) form: Canonicalization,
    pub(crate) algorithm: SignatureAlgorithm,
    pub(crate) references: Vec<Reference<'t>>,
    pub(crate) value: Vec<u8>,
    pub(crate) key_info: Option<View<'t>>,
}

#[derive(Debug)]
pub(crate) struct Reference<'t> {
    pub(crate) target: Target<'t>,
    pub(crate) via: Via,
    pub(crate) form: Canonicalization,
    pub(crate) hash: Hash,
    pub(crate) digest: Vec<u8>,
}

/// How a reference gets from its element to the octets that are digested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// The element as it stands.
    Whole,
    /// The element without the signature that refers to it.
    Enveloped,
    /// The token that a `wsse:SecurityTokenReference` names.
    Token,
}

/// Where a reference leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'t> {
    /// `URI=""`.
    Document,
    /// `URI="#id"`.
    Id(&'t str),
}

impl Target<'_> {
    pub(crate) fn uri(&self) -> String {
        match self {
            Self::Document => String::new(),
            Self::Id(id) => format!("#{}", shortened(id)),
        }
    }
}

/// Reads a `ds:Signature` and holds it against the profile.
pub(crate) fn read<'t>(signature: View<'t>, profile: &Profile) -> Result<Signature<'t>, Error> {
    attributes(signature, &["Id"])?;
    let mut parts = content_of(signature)?;
    let info = parts.next_named("SignedInfo")?;
    let value = octets(parts.next_named("SignatureValue")?, &["Id"])?;
    let key_info = parts.optional("KeyInfo");
    if key_info.is_none() && profile.key_info == KeyInfo::Required {
        return Err(fault(signature, SignatureFault::MissingElement));
    }
    // Elsewhere no `Object`: what is signed stands where it is read, never inside a signature.
    let mut objects = 0;
    while let Some(object) = parts.take_if(|child| profile.objects && child.is(DS, "Object")) {
        attributes(object, &["Id", "MimeType", "Encoding"])?;
        objects += 1;
        if objects > profile.references {
            return Err(fault(object, SignatureFault::TooManyReferences));
        }
    }
    parts.end()?;

    attributes(info, &["Id"])?;
    let mut parts = content_of(info)?;
    let form = canonicalization(parts.next_named("CanonicalizationMethod")?, profile, Role::Canonicalization)?;
    let algorithm = method(parts.next_named("SignatureMethod")?, profile)?;
    let mut references = Vec::new();
    while let Some(reference) = parts.optional("Reference") {
        if references.len() >= profile.references {
            return Err(fault(reference, SignatureFault::TooManyReferences));
        }
        references.push(read_reference(reference, profile)?);
    }
    parts.end()?;
    if references.is_empty() {
        return Err(Error::ReferenceRefused { uri: None, why: ReferenceFault::NoReference });
    }
    Ok(Signature { info: info.id(), form, algorithm, references, value, key_info })
}

fn read_reference<'t>(reference: View<'t>, profile: &Profile) -> Result<Reference<'t>, Error> {
    attributes(reference, &["Id", "URI", "Type"])?;
    let refused = |uri: Option<&str>, why| Err(Error::ReferenceRefused { uri: uri.map(shortened), why });
    let uri = reference.attribute("", "URI");
    let target = match (uri, uri.and_then(|uri| uri.strip_prefix('#'))) {
        (None, _) => return refused(None, ReferenceFault::NoUri),
        (Some(""), _) if profile.whole_document => Target::Document,
        (Some(""), _) => return refused(uri, ReferenceFault::WholeDocument),
        // `xpointer(…)` has parentheses, which no id has.
        (Some(_), Some(id)) if !id.is_empty() && !id.contains(['(', ')', '#', '%']) => Target::Id(id),
        (Some(_), _) => return refused(uri, ReferenceFault::External),
    };
    let mut parts = content_of(reference)?;
    let (via, form) = transforms(parts.optional("Transforms"), reference, profile)?;
    let digest_method = parts.next_named("DigestMethod")?;
    attributes(digest_method, &["Algorithm"])?;
    content_of(digest_method)?.end()?;
    let uri = algorithm(digest_method)?;
    let hash = Hash::from_uri(uri).filter(|hash| profile.admits_hash(*hash)).ok_or_else(|| not_admitted(Role::Digest, uri))?;
    let digest_value = parts.next_named("DigestValue")?;
    let digest = octets(digest_value, &[])?;
    if digest.len() != hash.algorithm().output_len() {
        return Err(fault(digest_value, SignatureFault::DigestLength));
    }
    parts.end()?;
    Ok(Reference { target, via, form, hash, digest })
}

/// Enveloped-signature first, canonicalization last, each at most once; or the one that leads to a token, alone.
fn transforms(list: Option<View<'_>>, reference: View<'_>, profile: &Profile) -> Result<(Via, Canonicalization), Error> {
    let (mut via, mut form) = (Via::Whole, None);
    if let Some(list) = list {
        attributes(list, &[])?;
        let mut parts = content_of(list)?;
        let mut count = 0;
        while let Some(transform) = parts.optional("Transform") {
            count += 1;
            if count > profile.transforms {
                return Err(fault(transform, SignatureFault::Transforms));
            }
            let uri = algorithm(transform)?;
            // It gives octets, which no transform known here takes; and a token reference has no signature inside.
            if via == Via::Token || (uri == STR_TRANSFORM && profile.tokens && count > 1) {
                return Err(fault(transform, SignatureFault::Transforms));
            }
            if uri == STR_TRANSFORM && profile.tokens {
                via = Via::Token;
                form = Some(token_form(transform, profile)?);
            } else if uri == ENVELOPED {
                attributes(transform, &["Algorithm"])?;
                content_of(transform)?.end()?;
                if via == Via::Enveloped || form.is_some() {
                    return Err(fault(transform, SignatureFault::Transforms));
                }
                via = Via::Enveloped;
            } else {
                let next = canonicalization(transform, profile, Role::Transform)?;
                if form.replace(next).is_some() {
                    return Err(fault(transform, SignatureFault::Transforms));
                }
            }
        }
        parts.end()?;
        if count == 0 {
            return Err(fault(list, SignatureFault::MissingElement));
        }
    }
    // XML Signature §4.4.3.2: octets are needed and none were made, so Canonical XML 1.0 makes them.
    let form = form.unwrap_or(Canonicalization::INCLUSIVE);
    if !profile.admits_form(&form) {
        let uri = reference.attribute("", "URI").unwrap_or_default();
        return Err(not_admitted(Role::Transform, &format!("implied inclusive canonicalization of {}", shortened(uri))));
    }
    Ok((via, form))
}

/// WS-I Basic Security Profile R3065: the canonicalization is a parameter and has to be given.
fn token_form(transform: View<'_>, profile: &Profile) -> Result<Canonicalization, Error> {
    attributes(transform, &["Algorithm"])?;
    let mut parts = content_of(transform)?;
    let parameters = parts.take_if(|child| child.is(WSSE, "TransformationParameters"));
    let parameters = parameters.ok_or_else(|| fault(transform, SignatureFault::MissingElement))?;
    parts.end()?;
    attributes(parameters, &[])?;
    let mut parts = content_of(parameters)?;
    let form = canonicalization(parts.next_named("CanonicalizationMethod")?, profile, Role::Transform)?;
    parts.end()?;
    Ok(form)
}

fn canonicalization(element: View<'_>, profile: &Profile, role: Role) -> Result<Canonicalization, Error> {
    attributes(element, &["Algorithm"])?;
    let uri = algorithm(element)?;
    let form = profile::canonicalization(uri).filter(|form| profile.admits_form(form));
    let mut form = form.ok_or_else(|| not_admitted(role, uri))?;
    let mut parts = content_of(element)?;
    if let Some(list) = parts.take_if(|child| child.is(EXCLUSIVE, "InclusiveNamespaces")) {
        attributes(list, &["PrefixList"])?;
        content_of(list)?.end()?;
        let prefixes = list.attribute("", "PrefixList").unwrap_or_default().split_ascii_whitespace();
        form.prefix_list = prefixes.map(|prefix| if prefix == "#default" { "" } else { prefix }.to_owned()).collect();
        if !form.exclusive || form.prefix_list.len() > LONGEST_PREFIX_LIST {
            return Err(fault(list, SignatureFault::PrefixList));
        }
    }
    parts.end()?;
    Ok(form)
}

/// Each prefix is looked for at each element.
const LONGEST_PREFIX_LIST: usize = 32;

/// `SignatureMethod` has no content: neither `HMACOutputLength` (attack 22) nor RSA-PSS parameters are admitted.
fn method(element: View<'_>, profile: &Profile) -> Result<SignatureAlgorithm, Error> {
    attributes(element, &["Algorithm"])?;
    let uri = algorithm(element)?;
    let known = SignatureAlgorithm::from_uri(uri).filter(|known| profile.admits(*known));
    let known = known.ok_or_else(|| not_admitted(Role::Signature, uri))?;
    content_of(element)?.end()?;
    Ok(known)
}

fn algorithm<'t>(element: View<'t>) -> Result<&'t str, Error> {
    element.attribute("", "Algorithm").ok_or_else(|| fault(element, SignatureFault::MissingAttribute))
}

/// Refuses every attribute the schema does not have. `xml:` attributes and foreign ones included.
fn attributes(element: View<'_>, known: &[&str]) -> Result<(), Error> {
    if element.attributes().all(|(namespace, local, _)| namespace.is_empty() && known.contains(&local)) {
        Ok(())
    } else {
        Err(fault(element, SignatureFault::UnexpectedAttribute))
    }
}

/// Base64 with white space between the digits and nothing else: no comment, no CDATA section, one padding.
fn octets(element: View<'_>, known: &[&str]) -> Result<Vec<u8>, Error> {
    attributes(element, known)?;
    let text = element.text().map_err(|_| fault(element, SignatureFault::Base64))?;
    let octets = base64::decode(&text).ok_or_else(|| fault(element, SignatureFault::Base64))?;
    if octets.is_empty() { Err(fault(element, SignatureFault::Base64)) } else { Ok(octets) }
}

/// The child elements in order; only white space and comments may stand between them.
fn content_of(parent: View<'_>) -> Result<Parts<'_, impl Iterator<Item = View<'_>>>, Error> {
    for (_, node) in parent.nodes() {
        match &node.kind {
            Kind::Element(_) | Kind::Comment(_) => {}
            Kind::Text(text) if parent.is_blank(*text) => {}
            Kind::Text(_) | Kind::ProcessingInstruction { .. } => return Err(fault(parent, SignatureFault::StrayContent)),
        }
    }
    Ok(Parts { parent, rest: parent.children().peekable() })
}

struct Parts<'t, I: Iterator> {
    parent: View<'t>,
    rest: Peekable<I>,
}

impl<'t, I: Iterator<Item = View<'t>>> Parts<'t, I> {
    fn take_if(&mut self, wanted: impl Fn(&View<'t>) -> bool) -> Option<View<'t>> {
        self.rest.next_if(wanted)
    }

    fn optional(&mut self, local: &str) -> Option<View<'t>> {
        self.take_if(|child| child.is(DS, local))
    }

    fn next_named(&mut self, local: &str) -> Result<View<'t>, Error> {
        match self.optional(local) {
            Some(child) => Ok(child),
            None => match self.rest.peek() {
                Some(other) => Err(fault(*other, SignatureFault::UnexpectedElement)),
                None => Err(fault(self.parent, SignatureFault::MissingElement)),
            },
        }
    }

    fn end(mut self) -> Result<(), Error> {
        self.rest.next().map_or(Ok(()), |other| Err(fault(other, SignatureFault::UnexpectedElement)))
    }
}

fn fault(element: View<'_>, why: SignatureFault) -> Error {
    Error::SignatureMalformed { why, at: element.at() }
}

fn not_admitted(role: Role, uri: &str) -> Error {
    Error::AlgorithmRefused { role, uri: shortened(uri) }
}

/// What a sender wrote, cut to what a log line can bear.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(120).collect()
}
