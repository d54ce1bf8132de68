//! `xenc:EncryptedData` and `xenc:EncryptedKey` read strictly (XML Encryption 1.1 §3), before a key is used.
//!
//! Every element has its place, its number and its attributes, or nothing is decrypted. References to octets elsewhere are
//! not written.

use std::borrow::Cow;

use crate::cipher::{AesSize, OaepHash};
use crate::element::{ElementView, Unsigned};
use crate::error::{EncryptionFault, Error, ReferenceFault, Role};
use crate::ids::{XENC, XENC11};
use crate::keys::KeyId;
use crate::profile::Profile;
use crate::rsa::Oaep;
use crate::signature::{DS, shortened};
use crate::tree::Kind;
use crate::verify::certificates;

pub(crate) type View<'t> = ElementView<'t, Unsigned>;

/// What `EncryptedData` and `EncryptedKey` have in common (XML Encryption §3.1).
pub(crate) struct Encrypted<'t> {
    pub(crate) method: View<'t>,
    pub(crate) key_info: Option<View<'t>>,
    pub(crate) value: View<'t>,
}

impl<'t> Encrypted<'t> {
    pub(crate) fn read(element: View<'t>) -> Result<Self, Error> {
        attributes(element, &["Id", "Type", "MimeType", "Encoding", "Recipient"])?;
        let mut parts = elements(element)?.into_iter().peekable();
        let mut next = |namespace: &str, local: &str| parts.next_if(|part| part.is(namespace, local));
        let missing = || fault(element, EncryptionFault::MissingElement);
        let method = next(XENC, "EncryptionMethod").ok_or_else(missing)?;
        let key_info = next(DS, "KeyInfo");
        let data = next(XENC, "CipherData").ok_or_else(missing)?;
        next(XENC, "EncryptionProperties");
        if element.local() == "EncryptedKey" {
            next(XENC, "ReferenceList");
            next(XENC, "CarriedKeyName");
        }
        if let Some(other) = parts.next() {
            return unexpected(other);
        }
        attributes(method, &["Algorithm"])?;
        attributes(data, &[])?;
        match elements(data)?.as_slice() {
            [value] if value.is(XENC, "CipherValue") => Ok(Self { method, key_info, value: *value }),
            [reference] if reference.is(XENC, "CipherReference") => {
                let uri = reference.attribute("", "URI").map(shortened);
                Err(Error::ReferenceRefused { uri, why: ReferenceFault::External })
            }
            [other, ..] => unexpected(*other),
            [] => Err(fault(data, EncryptionFault::MissingElement)),
        }
    }
}

/// How a content key travels.
pub(crate) enum Transport {
    Oaep(Oaep),
    Rsa15,
    Wrap(AesSize),
}

pub(crate) struct EncryptedKey<'t> {
    pub(crate) transport: Transport,
    pub(crate) value: Vec<u8>,
    /// Keys of the certificates it names.
    pub(crate) hints: Vec<KeyId>,
    pub(crate) name: Option<Cow<'t, str>>,
}

impl<'t> EncryptedKey<'t> {
    pub(crate) fn read(element: View<'t>, profile: &Profile) -> Result<Self, Error> {
        let read = Encrypted::read(element)?;
        let uri = algorithm(read.method)?;
        // Real senders write a `DigestMethod` with PKCS#1 v1.5, too, where it says nothing.
        let known = |child: &View<'_>| child.is(XENC, "KeySize") || (uri.ends_with("#rsa-1_5") && child.is(DS, "DigestMethod"));
        let plain = |transport| match elements(read.method)?.iter().find(|child| !known(child)) {
            Some(other) => unexpected(*other),
            None => Ok(transport),
        };
        let transport = match uri {
            "http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p" | "http://www.w3.org/2009/xmlenc11#rsa-oaep" => {
                Transport::Oaep(oaep(read.method, uri)?)
            }
            "http://www.w3.org/2001/04/xmlenc#rsa-1_5" if profile.admits_rsa15() => plain(Transport::Rsa15)?,
            "http://www.w3.org/2001/04/xmlenc#kw-aes128" => plain(Transport::Wrap(AesSize::Aes128))?,
            "http://www.w3.org/2001/04/xmlenc#kw-aes192" => plain(Transport::Wrap(AesSize::Aes192))?,
            "http://www.w3.org/2001/04/xmlenc#kw-aes256" => plain(Transport::Wrap(AesSize::Aes256))?,
            _ => return Err(not_admitted(Role::KeyEncryption, uri)),
        };
        let name = match read.key_info {
            Some(info) => info.children().find(|child| child.is(DS, "KeyName")).map(value_of).transpose()?,
            None => None,
        };
        Ok(Self { transport, value: base64(read.value)?, hints: certificates(read.key_info), name })
    }
}

/// XML Encryption 1.1 §5.5.2: SHA-1 where nothing is said. The older identifier fixes the mask's hash to SHA-1.
fn oaep(method: View<'_>, uri: &str) -> Result<Oaep, Error> {
    let mut read = Oaep { digest: OaepHash::Sha1, mask: OaepHash::Sha1, label: Vec::new() };
    let mut seen = [false; 4];
    for child in elements(method)? {
        let place = if child.is(XENC, "KeySize") {
            0
        } else if child.is(DS, "DigestMethod") {
            attributes(child, &["Algorithm"])?;
            let uri = algorithm(child)?;
            read.digest = OaepHash::from_digest_uri(uri).ok_or_else(|| not_admitted(Role::Digest, uri))?;
            1
        } else if child.is(XENC11, "MGF") {
            attributes(child, &["Algorithm"])?;
            let mask = algorithm(child)?;
            read.mask = OaepHash::from_mask_uri(mask).ok_or_else(|| not_admitted(Role::Mask, mask))?;
            if read.mask != OaepHash::Sha1 && !uri.ends_with("#rsa-oaep") {
                return Err(not_admitted(Role::Mask, mask));
            }
            2
        } else if child.is(XENC, "OAEPparams") {
            read.label = base64(child)?;
            3
        } else {
            return unexpected(child);
        };
        if seen.get_mut(place).is_some_and(|seen| std::mem::replace(seen, true)) {
            return unexpected(child);
        }
    }
    Ok(read)
}

/// The child elements; only white space and comments may stand between them.
pub(crate) fn elements(parent: View<'_>) -> Result<Vec<View<'_>>, Error> {
    let mut children = Vec::new();
    for (id, node) in parent.nodes() {
        match &node.kind {
            Kind::Element(_) => children.extend(parent.at_node(id)),
            Kind::Text(text) if parent.is_blank(*text) => {}
            Kind::Comment(_) => {}
            Kind::Text(_) | Kind::ProcessingInstruction { .. } => return Err(fault(parent, EncryptionFault::StrayContent)),
        }
    }
    Ok(children)
}

pub(crate) fn attributes(element: View<'_>, known: &[&str]) -> Result<(), Error> {
    if element.attributes().all(|(namespace, local, _)| namespace.is_empty() && known.contains(&local)) {
        Ok(())
    } else {
        Err(fault(element, EncryptionFault::UnexpectedAttribute))
    }
}

pub(crate) fn algorithm<'t>(element: View<'t>) -> Result<&'t str, Error> {
    element.attribute("", "Algorithm").ok_or_else(|| fault(element, EncryptionFault::MissingAttribute))
}

pub(crate) fn base64(element: View<'_>) -> Result<Vec<u8>, Error> {
    attributes(element, &[])?;
    let wrong = || fault(element, EncryptionFault::Value);
    let text = element.text().map_err(|_| wrong())?;
    crate::base64::decode(&text).filter(|octets| !octets.is_empty()).ok_or_else(wrong)
}

pub(crate) fn value_of<'t>(element: View<'t>) -> Result<Cow<'t, str>, Error> {
    element.text().map_err(|_| fault(element, EncryptionFault::Value))
}

pub(crate) fn fault(element: View<'_>, why: EncryptionFault) -> Error {
    Error::EncryptionMalformed { why, at: element.at() }
}

pub(crate) fn unexpected<T>(element: View<'_>) -> Result<T, Error> {
    Err(fault(element, EncryptionFault::UnexpectedElement))
}

pub(crate) fn not_admitted(role: Role, uri: &str) -> Error {
    Error::AlgorithmRefused { role, uri: shortened(uri) }
}
