//! Signing: enveloped, detached, enveloping, and the whole document (XML Signature 1.1 §2, §4.4.3).
//!
//! The signature is put into the received octets; nothing else of them changes. `SignedInfo` is written in its own
//! canonical form, so that no canonicalization can disagree about it.

use aws_lc_rs::digest::{Context, Digest};

use crate::c14n::{Apex, Canonicalization};
use crate::document::{Document, SignedElement};
use crate::element::{ElementView, Unsigned};
use crate::error::Error;
use crate::fragment::Fragment;
use crate::ids::id_of;
use crate::limits::Limits;
use crate::profile::{ENVELOPED, Hash, Profile, STR_TRANSFORM};
use crate::signature::{DS, EXCLUSIVE};
use crate::signing_key::{Purpose, SigningKey, Signs};
use crate::tokens::{self, Token, WSSE};
use crate::verified::Element;
use crate::writer::Writer;

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
        let references: Result<Vec<Reference>, Error> =
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
        Ok(signature(&[reference], key, key_info, &object)?.into_bytes())
    }

    /// One `ds:Reference`, digested.
    fn reference(&self, part: Part<'_>, into: ElementView<'_, Unsigned>, profile: &Profile, key: &impl Signs) -> Result<Reference, Error> {
        let element = |id, apex, form| Element { tree: self.tree.clone(), limits: self.limits, id, apex, omit: None, form };
        let (uri, element, enveloped, via) = match part {
            Part::Element(what, prefixes) => {
                let target = self.locate(what)?;
                let (form, list) = exclusive(target, prefixes)?;
                let element = element(target.id(), Apex::Element(target.id()), form);
                (reference_to(target, profile)?, element, target.contains(into.id()), Via::Exclusive(list))
            }
            Part::Document(prefixes) => {
                let root = self.root()?;
                let (form, list) = exclusive(root, prefixes)?;
                (String::new(), element(root.id(), Apex::Document, form), true, Via::Exclusive(list))
            }
            Part::Token(what, token) => {
                let reference = self.locate(what)?;
                let (tree, id) = tokens::dereference(reference, &self.tree, &|_| Some(token.clone()))?;
                let element = Element { tree, ..element(id, Apex::Token(id), Canonicalization::EXCLUSIVE) };
                (reference_to(reference, profile)?, element, false, Via::Token)
            }
        };
        let mut context = Context::new(key.method().hash().algorithm());
        element.write(&mut context)?;
        Ok(Reference { uri, enveloped, via, digest: context.finish() })
    }
}

/// One thing that is covered.
struct Reference {
    uri: String,
    /// The signature stands in it.
    enveloped: bool,
    via: Via,
    digest: Digest,
}

/// How it becomes octets.
enum Via {
    /// By exclusive canonicalization with this `PrefixList`, which may be empty.
    Exclusive(String),
    /// By the STR-Transform.
    Token,
}

impl Reference {
    fn write(&self, w: &mut Writer, hash: Hash) {
        w.element("ds:Reference", |w| {
            w.attribute("URI", &self.uri);
            w.element("ds:Transforms", |w| {
                if self.enveloped {
                    method(w, "ds:Transform", ENVELOPED);
                }
                match &self.via {
                    Via::Exclusive(prefixes) if prefixes.is_empty() => method(w, "ds:Transform", EXCLUSIVE),
                    Via::Exclusive(prefixes) => w.element("ds:Transform", |w| {
                        w.attribute("Algorithm", EXCLUSIVE);
                        w.element("ec:InclusiveNamespaces", |w| {
                            w.declare("ec", EXCLUSIVE);
                            w.attribute("PrefixList", prefixes);
                        });
                    }),
                    Via::Token => w.element("ds:Transform", |w| {
                        w.attribute("Algorithm", STR_TRANSFORM);
                        w.element("wsse:TransformationParameters", |w| {
                            w.declare("wsse", WSSE);
                            method(w, "ds:CanonicalizationMethod", EXCLUSIVE);
                        });
                    }),
                }
            });
            method(w, "ds:DigestMethod", hash.uri());
            w.element("ds:DigestValue", |w| w.base64(self.digest.as_ref()));
        });
    }
}

fn method(w: &mut Writer, name: &'static str, uri: &str) {
    w.element(name, |w| w.attribute("Algorithm", uri));
}

/// `ds:Signature` over the element of this id and digest in which it is put.
pub(crate) fn over_its_parent(id: &str, digest: Digest, key: &impl Signs) -> Result<Fragment, Error> {
    if !is_plain_id(id) {
        return Err(Error::Unreadable { what: "no id to refer to", at: 0 });
    }
    let reference = Reference { uri: format!("#{id}"), enveloped: true, via: Via::Exclusive(String::new()), digest };
    Writer::fragment("ds:Signature", |w| write_signature(w, &[reference], key, KeyInfo::Certificate))
}

/// `ds:Signature` over these references.
fn signature(references: &[Reference], key: &impl Signs, key_info: KeyInfo<'_>, objects: &str) -> Result<String, Error> {
    Writer::document("ds:Signature", |w| {
        write_signature(w, references, key, key_info);
        w.finished(objects);
    })
}

fn write_signature(w: &mut Writer, references: &[Reference], key: &impl Signs, key_info: KeyInfo<'_>) {
    w.declare("ds", DS);
    let begin = w.position();
    w.element("ds:SignedInfo", |w| {
        method(w, "ds:CanonicalizationMethod", EXCLUSIVE);
        method(w, "ds:SignatureMethod", key.method().uri());
        references.iter().for_each(|reference| reference.write(w, key.method().hash()));
    });
    // Its own exclusive canonical form; in the document the declaration stands on `ds:Signature`.
    let info = w.since(begin + "<ds:SignedInfo".len());
    let info = ["<ds:SignedInfo xmlns:ds=\"", DS, "\"", info].concat();
    match key.value(info.as_bytes()) {
        Ok(value) => w.element("ds:SignatureValue", |w| w.base64(&value)),
        Err(fault) => w.fail(fault),
    }
    match (key_info, key.certificate()) {
        (KeyInfo::Markup(markup), _) => w.element("ds:KeyInfo", |w| w.finished(markup)),
        (KeyInfo::Certificate, Some(der)) => {
            w.element("ds:KeyInfo", |w| w.element("ds:X509Data", |w| w.element("ds:X509Certificate", |w| w.base64(der))));
        }
        (KeyInfo::Certificate, None) | (KeyInfo::Nothing, _) => {}
    }
}

fn exclusive(target: ElementView<'_, Unsigned>, prefixes: &[&str]) -> Result<(Canonicalization, String), Error> {
    if prefixes.iter().any(|prefix| !is_plain_id(prefix)) {
        return Err(target.unreadable("a prefix that is no name"));
    }
    let prefix_list: Vec<String> = prefixes.iter().map(|prefix| (*prefix).to_owned()).collect();
    Ok((Canonicalization { prefix_list, ..Canonicalization::EXCLUSIVE }, prefixes.join(" ")))
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
