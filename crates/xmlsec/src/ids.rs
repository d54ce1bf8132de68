//! Which attributes are ids, and that no two elements share one (attacks 5, 33).
//!
//! What an attacker tries: the same id twice, `id` beside `ID`, an id in a namespace of his own, so that the verifier's
//! element is not the reader's. The kinds are a closed list by namespace and name, and a value occurs once, whatever the kind.

use crate::element::{ElementView, Unsigned};
use crate::error::Error;
use crate::profile::Profile;
use crate::signature::{self, DS};
use crate::tree::{Kind, NamespaceId, NodeId, Tree};

/// Every id of a document, sorted.
pub(crate) struct Ids<'t>(Vec<(&'t str, NodeId, u32)>);

impl<'t> Ids<'t> {
    /// Gathers them. Sorted and not hashed, so that no choice of names makes it slow.
    pub(crate) fn of(tree: &'t Tree, profile: &Profile) -> Result<Self, Error> {
        let mut ids = Vec::new();
        for (place, node) in tree.nodes.iter().enumerate() {
            let Kind::Element(element) = &node.kind else { continue };
            for attribute in tree.attributes(element) {
                let local = tree.local_octets(attribute.name);
                let counts = match attribute.namespace {
                    NamespaceId::NONE => {
                        // All that the standards name end so.
                        (matches!(local, [.., b'D' | b'd']) || !profile.ids.is_empty())
                            && is_id(tree.namespace(element.namespace), tree.local(element.name), tree.local(attribute.name), profile)
                    }
                    other => local == b"Id" && tree.namespace(other) == WSU,
                };
                if counts {
                    // INVARIANT: a tree has at most `u32::MAX` nodes.
                    let node = NodeId(u32::try_from(place).unwrap_or(u32::MAX));
                    ids.push((tree.text(attribute.value), node, attribute.name.start));
                }
            }
        }
        ids.sort_unstable();
        let twice = ids.iter().zip(ids.iter().skip(1)).filter(|((one, ..), (other, ..))| one == other);
        match twice.map(|(_, (id, _, at))| (*at, *id)).min() {
            Some((at, id)) => Err(Error::DuplicateId { id: signature::shortened(id), at: at as usize }),
            None => Ok(Self(ids)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The element that has this id.
    pub(crate) fn find(&self, id: &str) -> Option<NodeId> {
        let place = self.0.binary_search_by_key(&id, |(known, ..)| *known).ok()?;
        self.0.get(place).map(|(_, node, _)| *node)
    }
}

/// The id of one element, as the verifier would count it.
pub(crate) fn id_of<'t>(element: ElementView<'t, Unsigned>, profile: &Profile) -> Option<&'t str> {
    let mut ids = element.attributes().filter(|(namespace, attribute, _)| match *namespace {
        "" => is_id(element.namespace(), element.local(), attribute, profile),
        other => *attribute == "Id" && other == WSU,
    });
    ids.next().map(|(_, _, id)| id)
}

/// Whether an attribute without namespace is an id on such an element.
fn is_id(namespace: &str, local: &str, attribute: &str, profile: &Profile) -> bool {
    let standard = match attribute {
        "ID" => matches!(namespace, SAML2 | SAML2P | SAML2MD),
        "AssertionID" => namespace == SAML1 && local == "Assertion",
        "ResponseID" => namespace == SAML1P && local == "Response",
        "RequestID" => namespace == SAML1P && local == "Request",
        "Id" => match namespace {
            DS | XENC | XENC11 => true,
            SOAP11 | SOAP12 | WSU => profile.plain_id,
            _ => false,
        },
        _ => false,
    };
    standard || profile.ids.iter().any(|own| own.namespace == namespace && own.element == local && own.attribute == attribute)
}

const SAML1: &str = "urn:oasis:names:tc:SAML:1.0:assertion";
const SAML1P: &str = "urn:oasis:names:tc:SAML:1.0:protocol";
const SAML2: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
const SAML2P: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
const SAML2MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const SOAP12: &str = "http://www.w3.org/2003/05/soap-envelope";
const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
pub(crate) const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub(crate) const XENC11: &str = "http://www.w3.org/2009/xmlenc11#";
