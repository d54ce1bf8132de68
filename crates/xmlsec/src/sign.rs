//! Signing: enveloped, detached, enveloping, and the whole document (XML Signature 1.1 §2, §4.4.3).
//!
//! The signature is put into the received octets; nothing else of them changes. `SignedInfo` is written in its own
//! canonical form, so that no canonicalization can disagree about it.

use aws_lc_rs::digest::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::c14n::{Apex, Canonicalization};
use crate::document::{Document, SignedElement};
use crate::element::{ElementView, Unsigned};
use crate::error::Error;
use crate::ids::id_of;
use crate::limits::Limits;
use crate::profile::{ENVELOPED, Profile, STR_TRANSFORM};
use crate::signature::{DS, EXCLUSIVE};
use crate::signing_key::{Purpose, SigningKey, Signs};
use crate::tokens::{self, Token, WSSE};
use crate::verified::Element;

/// One thing a signature covers.
#[derive(Debug, Clone, Copy)]
pub enum Part<'a> {
    /// An element with an id, without the signature where that stands in it. The prefixes are those used in values only
    /// (`xsi:type="xs:string"`): they become the `PrefixList`.
    Element(SignedElement<'a>, &'a [&'a str]),
    /// The whole document but for the signature: `URI=""`.
    Document(&'a [&'a str]),
    /// The token that this `wsse:SecurityTokenReference`, which has an id, names.
    Token(SignedElement<'a>, &'a Token),
}

/// What a signature says of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyInfo<'a> {
    /// The key's certificate, if it has one.
    Certificate,
    /// Nothing.
    Nothing,
    /// The content of `ds:KeyInfo` as markup that declares its own namespaces. The caller's own, never a message's.
    Markup(&'a str),
}

/// Where in an element something is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement<'a> {
    /// Before everything else.
    First,
    /// Behind everything else.
    Last,
    /// Behind the one child of this namespace and name, as SAML demands behind `Issuer`.
    After(&'a str, &'a str),
}

/// A signature to be made.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'a> {
    /// What it covers, in this order.
    pub parts: &'a [Part<'a>],
    /// In which element it is put.
    pub into: SignedElement<'a>,
    /// Where in it.
    pub placement: Placement<'a>,
    /// What it says of its key.
    pub key_info: KeyInfo<'a>,
    /// Under which profile ids are found.
    pub profile: &'a Profile,
}

impl Document {
    /// The document's octets with an enveloped signature over `what`, which must carry an id and must not be signed.
    /// `prefixes` are those used in values only (`xsi:type="xs:string"`): they become the `PrefixList`.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the element has no usable id or no content, [`Error::Ambiguous`] if it is signed already.
    pub fn sign_enveloped<P: Purpose>(
        &self,
        what: SignedElement<'_>,
        placement: Placement<'_>,
        prefixes: &[&str],
        key: &SigningKey<P>,
    ) -> Result<Vec<u8>, Error> {
        let (at, signature) = self.enveloped(what, placement, prefixes, key)?;
        self.with(at, &signature)
    }

    /// The signature of [`Document::sign_enveloped`], and at which octet it belongs.
    pub(crate) fn enveloped<P: Purpose>(
        &self,
        what: SignedElement<'_>,
        placement: Placement<'_>,
        prefixes: &[&str],
        key: &SigningKey<P>,
    ) -> Result<(usize, String), Error> {
        if self.locate(what)?.children().any(|child| child.is(DS, "Signature")) {
            return Err(Error::Ambiguous("Signature".to_owned()));
        }
        let parts = [Part::Element(what, prefixes)];
        self.signature(&Signing { parts: &parts, into: what, placement, key_info: KeyInfo::Certificate, profile: &Profile::SAML }, key)
    }

    /// The document's octets with a signature.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if a part has no usable id or there is no place for the signature, [`Error::Malformed`] if the
    /// result would not be readable, [`Error::Key`] if the provider cannot sign.
    pub fn sign(&self, signing: &Signing<'_>, key: &impl Signs) -> Result<Vec<u8>, Error> {
        let (at, signature) = self.signature(signing, key)?;
        let octets = self.with(at, &signature)?;
        if let KeyInfo::Markup(_) = signing.key_info {
            Self::parse(&octets, &self.limits)?;
        }
        Ok(octets)
    }

    fn signature(&self, signing: &Signing<'_>, key: &impl Signs) -> Result<(usize, String), Error> {
        let into = self.locate(signing.into)?;
        let at = insertion(into, signing.placement)?;
        let references: Result<String, Error> =
            signing.parts.iter().map(|part| self.reference(*part, into, signing.profile, key)).collect();
        Ok((at, signature(&references?, key, signing.key_info, "")?))
    }

    fn with(&self, at: usize, signature: &str) -> Result<Vec<u8>, Error> {
        let halves = self.tree.source.split_at_checked(at);
        let (before, after) = halves.ok_or(Error::Unreadable { what: "no place for a signature", at })?;
        Ok([before.as_bytes(), signature.as_bytes(), after.as_bytes()].concat())
    }

    /// A signature around this document's root element: `ds:Signature` with the element in a `ds:Object` of this id.
    ///
    /// # Errors
    /// [`Error::Unreadable`] if the id cannot be referred to, [`Error::Key`] if the provider cannot sign.
    pub fn sign_enveloping(&self, id: &str, key_info: KeyInfo<'_>, key: &impl Signs) -> Result<Vec<u8>, Error> {
        let root = self.root()?;
        if !is_plain_id(id) {
            return Err(root.unreadable("no id to refer to"));
        }
        let (start, end) = root.span();
        let content = self.tree.source.get(start..end).unwrap_or_default();
        let object = format!(r#"<ds:Object Id="{id}">{content}</ds:Object>"#);
        // The object is digested where it will stand.
        let shell = format!(r#"<ds:Signature xmlns:ds="{DS}">{object}</ds:Signature>"#);
        // Two elements and one wrapping more than the limits allow to be read.
        let limits = Limits { depth: self.limits.depth + 2, nodes: self.limits.nodes + 2, size: shell.len(), ..self.limits };
        let shell = Self::parse(shell.as_bytes(), &limits)?;
        let path = [(DS, "Signature"), (DS, "Object")];
        let part = Part::Element(SignedElement::Path(&path), &[]);
        let reference = shell.reference(part, shell.root()?, &Profile::ANY_FORM, key)?;
        Ok(signature(&reference, key, key_info, &object)?.into_bytes())
    }

    /// One `ds:Reference`, digested.
    fn reference(&self, part: Part<'_>, into: ElementView<'_, Unsigned>, profile: &Profile, key: &impl Signs) -> Result<String, Error> {
        let element = |id, apex, form| Element { tree: self.tree.clone(), limits: self.limits, id, apex, omit: None, form };
        let (uri, element, transforms) = match part {
            Part::Element(what, prefixes) => {
                let target = self.locate(what)?;
                let (form, list) = exclusive(target, prefixes)?;
                let enveloped = if target.contains(into.id()) { transform(ENVELOPED, "") } else { String::new() };
                let element = element(target.id(), Apex::Element(target.id()), form);
                (reference_to(target, profile)?, element, enveloped + &transform(EXCLUSIVE, &list))
            }
            Part::Document(prefixes) => {
                let root = self.root()?;
                let (form, list) = exclusive(root, prefixes)?;
                (String::new(), element(root.id(), Apex::Document, form), transform(ENVELOPED, "") + &transform(EXCLUSIVE, &list))
            }
            Part::Token(what, token) => {
                let reference = self.locate(what)?;
                let (tree, id) = tokens::dereference(reference, &self.tree, &|_| Some(token.clone()))?;
                let element = Element { tree, ..element(id, Apex::Token(id), Canonicalization::EXCLUSIVE) };
                let parameters = format!(
                    r#"<wsse:TransformationParameters xmlns:wsse="{WSSE}"><ds:CanonicalizationMethod Algorithm="{EXCLUSIVE}"></ds:CanonicalizationMethod></wsse:TransformationParameters>"#
                );
                (reference_to(reference, profile)?, element, transform(STR_TRANSFORM, &parameters))
            }
        };
        let hash = key.method().hash();
        let mut context = Context::new(hash.algorithm());
        element.write(&mut context)?;
        Ok(format!(
            concat!(
                r#"<ds:Reference URI="{uri}"><ds:Transforms>{transforms}</ds:Transforms>"#,
                r#"<ds:DigestMethod Algorithm="{hash}"></ds:DigestMethod><ds:DigestValue>{digest}</ds:DigestValue></ds:Reference>"#,
            ),
            uri = uri,
            transforms = transforms,
            hash = hash.uri(),
            digest = STANDARD.encode(context.finish().as_ref()),
        ))
    }
}

fn transform(uri: &str, inside: &str) -> String {
    format!(r#"<ds:Transform Algorithm="{uri}">{inside}</ds:Transform>"#)
}

/// `ds:Signature` over these references.
fn signature(references: &str, key: &impl Signs, key_info: KeyInfo<'_>, objects: &str) -> Result<String, Error> {
    let info = format!(
        concat!(
            r#"<ds:CanonicalizationMethod Algorithm="{c14n}"></ds:CanonicalizationMethod>"#,
            r#"<ds:SignatureMethod Algorithm="{method}"></ds:SignatureMethod>{references}"#,
        ),
        c14n = EXCLUSIVE,
        method = key.method().uri(),
        references = references,
    );
    // Its own exclusive canonical form; in the document the declaration stands on `ds:Signature`.
    let value = key.value(format!(r#"<ds:SignedInfo xmlns:ds="{DS}">{info}</ds:SignedInfo>"#).as_bytes())?;
    let content = match (key_info, key.certificate()) {
        (KeyInfo::Markup(markup), _) => Some(markup.to_owned()),
        (KeyInfo::Certificate, Some(der)) => {
            Some(format!("<ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data>", STANDARD.encode(der)))
        }
        (KeyInfo::Certificate, None) | (KeyInfo::Nothing, _) => None,
    };
    let key_info = content.map(|content| format!("<ds:KeyInfo>{content}</ds:KeyInfo>")).unwrap_or_default();
    let value = STANDARD.encode(value);
    Ok(format!(
        r#"<ds:Signature xmlns:ds="{DS}"><ds:SignedInfo>{info}</ds:SignedInfo><ds:SignatureValue>{value}</ds:SignatureValue>{key_info}{objects}</ds:Signature>"#
    ))
}

fn exclusive(target: ElementView<'_, Unsigned>, prefixes: &[&str]) -> Result<(Canonicalization, String), Error> {
    if prefixes.iter().any(|prefix| !is_plain_id(prefix)) {
        return Err(target.unreadable("a prefix that is no name"));
    }
    let prefix_list: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    let list = if prefixes.is_empty() {
        String::new()
    } else {
        format!(r#"<ec:InclusiveNamespaces xmlns:ec="{EXCLUSIVE}" PrefixList="{}"></ec:InclusiveNamespaces>"#, prefixes.join(" "))
    };
    Ok((Canonicalization { prefix_list, ..Canonicalization::EXCLUSIVE }, list))
}

fn reference_to(target: ElementView<'_, Unsigned>, profile: &Profile) -> Result<String, Error> {
    let id = id_of(target, profile).filter(|id| is_plain_id(id)).ok_or_else(|| target.unreadable("no id to refer to"))?;
    Ok(format!("#{id}"))
}

fn insertion(target: ElementView<'_, Unsigned>, placement: Placement<'_>) -> Result<usize, Error> {
    let content = target.content().ok_or_else(|| target.unreadable("an element without content"))?;
    match placement {
        Placement::First => Ok(content),
        Placement::Last => Ok(target.nodes().last().map_or(content, |(_, node)| node.span.1 as usize)),
        Placement::After(namespace, local) => {
            let child = target.child(namespace, local)?.ok_or_else(|| Error::ElementMissing(local.to_owned()))?;
            Ok(child.span().1)
        }
    }
}

/// Letters, digits, `_`, `-` and `.`: nothing that a URI or an attribute would have to escape.
fn is_plain_id(id: &str) -> bool {
    !id.is_empty() && id.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.'))
}
