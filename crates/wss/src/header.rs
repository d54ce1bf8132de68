//! What a message's security headers say, before anything of it is believed.
//!
//! Everything is read at its place: tokens are children of a header, ciphertext stands in the Body or in a header. What an
//! attacker tries: a second Timestamp or token of which one reader sees the first and another the last, elements of two eras in
//! one header (attacks 57, 68, 69).

use vestibule_xmlsec::{Error as XmlError, FromClaimed, Place};

use crate::namespaces::{DS, Era, SAML11, SAML20, WSSE11, WSU, XENC};
use crate::timestamp::Timestamp;
use crate::tokens::{BinaryToken, KeyInfo, Reference, UsernameToken, View};

/// Children of one header.
const MOST_CHILDREN: usize = 64;
/// Ciphertexts of one message.
const MOST_CIPHERTEXTS: usize = 16;

/// A message's headers and the elements that signatures and ciphertexts may concern.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    /// Security headers of every era and role, in their order.
    pub(crate) headers: Vec<SecurityHeader>,
    /// Every header block.
    pub(crate) blocks: Vec<Identified>,
    pub(crate) body: Option<Identified>,
    /// Ciphertexts in the Body and in headers that have an id.
    pub(crate) ciphertexts: Vec<Ciphertext>,
    /// Timestamps that stand as header blocks, as in the drafts.
    pub(crate) loose_timestamps: Vec<(Place, Era, Result<Timestamp, XmlError>)>,
}

/// An element and its id.
#[derive(Debug, Clone)]
pub(crate) struct Identified {
    pub(crate) place: Place,
    pub(crate) id: Option<String>,
}

impl Identified {
    fn read(element: View<'_>) -> Self {
        Self { place: element.place(), id: element.attribute(WSU, "Id").map(str::to_owned) }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Ciphertext {
    pub(crate) id: String,
    pub(crate) place: Place,
    /// The `EncryptedKey` that its `KeyInfo` names.
    pub(crate) key: Option<String>,
}

/// One `wsse:Security`.
#[derive(Debug, Clone)]
pub(crate) struct SecurityHeader {
    pub(crate) place: Place,
    pub(crate) era: Era,
    pub(crate) id: Option<String>,
    /// What is in it, or why it cannot be read. Somebody else's header may be unreadable.
    pub(crate) items: Result<Vec<Item>, XmlError>,
}

#[derive(Debug, Clone)]
pub(crate) enum Item {
    Timestamp {
        place: Place,
        read: Result<Timestamp, XmlError>,
    },
    Username(UsernameToken),
    Binary(BinaryToken),
    Assertion(ClaimedAssertion),
    Signature(ClaimedSignature),
    EncryptedKey {
        id: Option<String>,
        place: Place,
        data: Vec<String>,
    },
    ReferenceList {
        data: Vec<String>,
    },
    TokenReference {
        id: Option<String>,
        place: Place,
    },
    /// A child that is encrypted, or is none of those above.
    Other,
}

/// An assertion as its sender shows it: where it stands, and whom it names. Nothing is read from it.
#[derive(Debug, Clone)]
pub(crate) struct ClaimedAssertion {
    pub(crate) place: Place,
    pub(crate) id: String,
    pub(crate) issuer: String,
    pub(crate) signed: bool,
}

#[derive(Debug, Clone)]
pub(crate) struct ClaimedSignature {
    pub(crate) place: Place,
    pub(crate) key_info: KeyInfo,
    /// `DigestValue`s in order, without white space. The signature over `SignedInfo` fixes them.
    pub(crate) digests: Vec<String>,
}

impl FromClaimed for Outline {
    fn from_claimed(root: View<'_>) -> Result<Self, XmlError> {
        let mut outline =
            Self { headers: Vec::new(), blocks: Vec::new(), body: None, ciphertexts: Vec::new(), loose_timestamps: Vec::new() };
        for part in root.children() {
            if part.local() == "Body" {
                outline.body = Some(Identified::read(part));
                // The header stands before the Body: where it lists nothing, a large Body need not be searched.
                if outline.lists_ciphertext() {
                    gather(part, &mut outline.ciphertexts)?;
                }
            } else {
                for block in part.children() {
                    outline.blocks.push(Identified::read(block));
                    let era = Era::of_extension(block.namespace()).filter(|_| block.local() == "Security");
                    if let Some(era) = era {
                        outline.headers.push(SecurityHeader {
                            place: block.place(),
                            era,
                            id: block.attribute(WSU, "Id").map(str::to_owned),
                            items: items(block, era),
                        });
                        gather(block, &mut outline.ciphertexts)?;
                    } else if block.is(WSSE11, "EncryptedHeader") {
                        gather(block, &mut outline.ciphertexts)?;
                    } else if block.local() == "Timestamp" {
                        let era = Era::ALL.into_iter().find(|era| era.utility() == Some(block.namespace()));
                        outline.loose_timestamps.extend(era.map(|era| (block.place(), era, Timestamp::read(&block, era))));
                    }
                }
            }
        }
        Ok(outline)
    }
}

impl Outline {
    fn lists_ciphertext(&self) -> bool {
        let items = self.headers.iter().flat_map(|header| header.items.iter().flatten());
        items.into_iter().any(|item| matches!(item, Item::EncryptedKey { .. } | Item::ReferenceList { .. }))
    }
}

/// The ciphertexts of a part. Elements are visited in a list, not by recursion.
fn gather(part: View<'_>, found: &mut Vec<Ciphertext>) -> Result<(), XmlError> {
    let mut rest = vec![part];
    while let Some(element) = rest.pop() {
        for child in element.children() {
            if !child.is(XENC, "EncryptedData") {
                rest.push(child);
                continue;
            }
            if found.len() >= MOST_CIPHERTEXTS {
                return Err(child.unreadable("more ciphertexts than the limit"));
            }
            if let Some(id) = child.attribute("", "Id") {
                let reference = match child.child(DS, "KeyInfo")? {
                    Some(info) => info.child(Era::Standard.extension(), "SecurityTokenReference")?.map(Reference::read).transpose()?,
                    None => None,
                };
                let key = match reference {
                    Some(Reference::Id(key)) => Some(key),
                    Some(_) | None => None,
                };
                found.push(Ciphertext { id: id.to_owned(), place: child.place(), key });
            }
        }
    }
    Ok(())
}

fn items(header: View<'_>, era: Era) -> Result<Vec<Item>, XmlError> {
    let mut items = Vec::new();
    for child in header.children() {
        if items.len() >= MOST_CHILDREN {
            return Err(child.unreadable("more in a security header than the limit"));
        }
        let own = child.namespace() == era.extension() || Some(child.namespace()) == era.utility();
        if Era::knows(child.namespace()) && !own {
            return Err(child.unreadable("two eras of WS-Security in one header"));
        }
        items.push(item(child, era)?);
    }
    Ok(items)
}

fn item(child: View<'_>, era: Era) -> Result<Item, XmlError> {
    Ok(match (child.namespace(), child.local()) {
        (namespace, "Timestamp") if Some(namespace) == era.utility() => {
            Item::Timestamp { place: child.place(), read: Timestamp::read(&child, era) }
        }
        (namespace, "UsernameToken") if namespace == era.extension() => Item::Username(UsernameToken::read(child, era)?),
        (namespace, "BinarySecurityToken") if namespace == era.extension() && era == Era::Standard => {
            Item::Binary(BinaryToken::read(child)?)
        }
        (SAML11 | SAML20, "Assertion") => Item::Assertion(ClaimedAssertion::read(child)?),
        // Decryption leaves the plaintext where the ciphertext stood.
        (SAML20, "EncryptedAssertion") => match child.child(SAML20, "Assertion")? {
            Some(assertion) => Item::Assertion(ClaimedAssertion::read(assertion)?),
            None => Item::Other,
        },
        (DS, "Signature") => Item::Signature(ClaimedSignature::read(child)?),
        (XENC, "EncryptedKey") => Item::EncryptedKey {
            id: child.attribute("", "Id").map(str::to_owned),
            place: child.place(),
            data: child.child(XENC, "ReferenceList")?.map(references).transpose()?.unwrap_or_default(),
        },
        (namespace, "SecurityTokenReference") if namespace == era.extension() => {
            Item::TokenReference { id: child.attribute(WSU, "Id").map(str::to_owned), place: child.place() }
        }
        (XENC, "ReferenceList") => Item::ReferenceList { data: references(child)? },
        (_, _) => Item::Other,
    })
}

fn references(list: View<'_>) -> Result<Vec<String>, XmlError> {
    let mut found = Vec::new();
    for child in list.children() {
        if found.len() >= MOST_CIPHERTEXTS {
            return Err(child.unreadable("more references to ciphertext than the limit"));
        }
        let id = child.attribute("", "URI").and_then(|uri| uri.strip_prefix('#')).filter(|id| !id.is_empty());
        match id {
            Some(id) if child.is(XENC, "DataReference") => found.push(id.to_owned()),
            Some(_) | None => return Err(child.unreadable("a reference to no ciphertext of this message")),
        }
    }
    Ok(found)
}

impl ClaimedAssertion {
    fn read(element: View<'_>) -> Result<Self, XmlError> {
        let (id, issuer) = if element.namespace() == SAML20 {
            let issuer = element.child(SAML20, "Issuer")?.ok_or_else(|| element.unreadable("an Assertion without Issuer"))?;
            // Only to find whose keys to try; what counts is read again from what was signed.
            (element.attribute("", "ID"), issuer.text().unwrap_or_default().trim().to_owned())
        } else {
            (element.attribute("", "AssertionID"), element.attribute("", "Issuer").unwrap_or_default().to_owned())
        };
        let id = id.ok_or_else(|| element.unreadable("an Assertion without id"))?.to_owned();
        let signed = element.child(DS, "Signature")?.is_some();
        Ok(Self { place: element.place(), id, issuer, signed })
    }
}

impl ClaimedSignature {
    fn read(element: View<'_>) -> Result<Self, XmlError> {
        let mut digests = Vec::new();
        if let Some(info) = element.child(DS, "SignedInfo")? {
            for reference in info.children().filter(|child| child.is(DS, "Reference")) {
                let digest = reference.child(DS, "DigestValue")?.map(|value| value.text()).transpose()?;
                digests.push(digest.unwrap_or_default().split_ascii_whitespace().collect());
            }
        }
        Ok(Self { place: element.place(), key_info: KeyInfo::read(element)?, digests })
    }
}
