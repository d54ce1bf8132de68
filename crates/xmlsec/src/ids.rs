//! Which attributes are ids, and that no two elements share one (attacks 5, 33).
//!
//! What an attacker tries: the same id twice, `id` beside `ID`, an id in a namespace of his own, so that the verifier's
//! element is not the reader's. The kinds are a closed list by namespace and name, and a value occurs once, whatever the kind.

use crate::element::{ElementView, Unsigned};
use crate::error::Error;
use crate::profile::Profile;
use crate::signature::{self, DS};
use crate::tree::{Attribute, Element, Kind, NamespaceId, Node, NodeId, Tree};

/// Every id of a document, sorted.
pub(crate) struct Ids<'t>(Vec<(&'t str, NodeId, u32)>);

impl<'t> Ids<'t> {
    /// Gathers them. Sorted and not hashed, so that no choice of names makes it slow.
    pub(crate) fn of(tree: &'t Tree, profile: &Profile) -> Result<Self, Error> {
        let mut ids = Vec::new();
        let mut note = |node: NodeId, element: &Element, attribute: &Attribute| {
            let local = tree.local(attribute.name);
            let counts = match attribute.namespace {
                NamespaceId::NONE => is_id(tree.namespace(element.namespace), tree.local(element.name), local, profile),
                other => local == "Id" && tree.namespace(other) == WSU,
            };
            if counts {
                ids.push((tree.text(attribute.value), node, attribute.name.start));
            }
        };
        if profile.ids.is_empty() {
            for (node, attribute) in &tree.likely_ids {
                if let (Some(Node { kind: Kind::Element(element), .. }), Some(attribute)) =
                    (tree.node(*node), tree.attributes.get(*attribute as usize))
                {
                    note(*node, element, attribute);
                }
            }
        } else {
            for (place, node) in tree.nodes.iter().enumerate() {
                let Kind::Element(element) = &node.kind else { continue };
                // INVARIANT: a tree has at most `u32::MAX` nodes.
                let node = NodeId(u32::try_from(place).unwrap_or(u32::MAX));
                tree.attributes(element).iter().for_each(|attribute| note(node, element, attribute));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    /// The parser notes attributes by how their names end; an id that ends otherwise would be passed over.
    #[test]
    fn the_ids_of_the_standards_are_those_the_parser_notes() {
        let document = format!(
            "<r><p:Assertion xmlns:p='{SAML2}' ID='1'/><p:Assertion xmlns:p='{SAML1}' AssertionID='2'/>\
             <p:Response xmlns:p='{SAML1P}' ResponseID='3'/><p:Request xmlns:p='{SAML1P}' RequestID='4'/>\
             <p:Object xmlns:p='{DS}' Id='5'/><p:EncryptedData xmlns:p='{XENC}' Id='6'/><x xmlns:w='{WSU}' a='7' w:Id='8' w:ID='9' ID='10'/>\
             <p:Body xmlns:p='{SOAP11}' Id='11'/></r>"
        );
        let tree = crate::parse::parse(document.as_bytes(), &Limits::MESSAGE).unwrap();
        let found = |profile: &Profile| {
            let ids = Ids::of(&tree, profile).unwrap().0;
            let mut ids: Vec<u32> = ids.iter().map(|(id, ..)| id.parse().unwrap()).collect();
            ids.sort_unstable();
            ids
        };
        assert_eq!(found(&Profile::SAML), [1, 2, 3, 4, 5, 6, 8]);
        // The same by looking at every attribute.
        assert_eq!(found(&Profile::SAML.with_id("urn:nobody", "x", "y")), [1, 2, 3, 4, 5, 6, 8]);
        assert_eq!(found(&Profile::SAML.with_id("", "x", "a")), [1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!(found(&Profile::SAML.admit(crate::profile::Concession::PlainId)), [1, 2, 3, 4, 5, 6, 8, 11]);
    }
}
