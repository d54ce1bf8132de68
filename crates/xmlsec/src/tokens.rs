//! The STR-Transform (WSS SOAP Message Security 1.1 §8.3): a reference to a `wsse:SecurityTokenReference` covers the token
//! that it names, not the reference.
//!
//! What an attacker tries: to have the position of the reference counted as covered, or a token of another document. The
//! caller, who knows the tokens, says which one is named; it has to stand in the same document, or be a certificate that the
//! caller holds. What is covered is that token and nothing else.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::document::Document;
use crate::element::{ElementView, Place, Unsigned};
use crate::error::{Error, ReferenceFault};
use crate::limits::Limits;
use crate::tree::{NodeId, Tree};

/// What a `SecurityTokenReference` names.
#[derive(Debug, Clone)]
pub enum Token {
    /// An element of the same document.
    Element(Place),
    /// An X.509 certificate in DER that is not in the message: named by its issuer and serial number, key identifier or
    /// thumbprint.
    Certificate(Vec<u8>),
}

/// Finds what a `SecurityTokenReference` names; `None` refuses the signature.
pub type Resolver<'a> = &'a dyn Fn(ElementView<'_, Unsigned>) -> Option<Token>;

/// The resolver of profiles that know no tokens.
pub(crate) fn nothing(_: ElementView<'_, Unsigned>) -> Option<Token> {
    None
}

/// The tree and the node that stand in place of a reference.
pub(crate) fn dereference(
    reference: ElementView<'_, Unsigned>,
    tree: &Arc<Tree>,
    resolver: Resolver<'_>,
) -> Result<(Arc<Tree>, NodeId), Error> {
    let refused = |why| Error::ReferenceRefused { uri: None, why };
    if !reference.is(WSSE, "SecurityTokenReference") {
        return Err(refused(ReferenceFault::NoTokenReference));
    }
    match resolver(reference) {
        Some(Token::Element(place)) if Arc::ptr_eq(&place.tree, tree) => Ok((place.tree, place.id)),
        Some(Token::Certificate(der)) => {
            let tree = Document::parse(binary_token(reference.prefix(), &der).as_bytes(), &Limits::MESSAGE)?.tree;
            let root = tree.root;
            Ok((tree, root))
        }
        Some(Token::Element(_)) | None => Err(refused(ReferenceFault::NoToken)),
    }
}

/// §8.3: a certificate that is not in the message is taken as a `BinarySecurityToken` under the reference's own prefix,
/// base64 without line breaks.
fn binary_token(prefix: &str, der: &[u8]) -> String {
    let (colon, der) = (if prefix.is_empty() { "" } else { ":" }, STANDARD.encode(der));
    format!(
        r#"<{prefix}{colon}BinarySecurityToken xmlns{colon}{prefix}="{WSSE}" EncodingType="{BASE64}" ValueType="{X509}">{der}</{prefix}{colon}BinarySecurityToken>"#
    )
}

/// The namespace of WS-Security.
pub(crate) const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const BASE64: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";
const X509: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::c14n::{self, Apex, Canonicalization};

    fn canonical(document: &str, id: u32) -> String {
        let tree = crate::parse::parse(document.as_bytes(), &Limits::MESSAGE).unwrap();
        let mut octets = Vec::new();
        c14n::write(&tree, Apex::Token(NodeId(id)), None, &Canonicalization::EXCLUSIVE, &Limits::MESSAGE, &mut octets).unwrap();
        String::from_utf8(octets).unwrap()
    }

    #[test]
    fn an_apex_without_default_namespace_says_so() {
        assert_eq!(canonical("<a:t xmlns:a='urn:a'><a:u/><v/></a:t>", 0), r#"<a:t xmlns="" xmlns:a="urn:a"><a:u></a:u><v></v></a:t>"#);
        assert_eq!(canonical("<t/>", 0), r#"<t xmlns=""></t>"#);
        assert_eq!(canonical("<t xmlns='urn:a'/>", 0), r#"<t xmlns="urn:a"></t>"#);
        // In whose scope there is one, but which does not use it.
        assert_eq!(canonical("<e xmlns='urn:e'><a:t xmlns:a='urn:a'/></e>", 1), r#"<a:t xmlns:a="urn:a"></a:t>"#);
        assert_eq!(canonical("<e xmlns='urn:e'><a:t xmlns='' xmlns:a='urn:a'/></e>", 1), r#"<a:t xmlns="" xmlns:a="urn:a"></a:t>"#);
    }

    #[test]
    fn a_certificate_becomes_a_token_under_the_prefix_of_its_reference() {
        let token = canonical(&binary_token("w", &[1, 2, 3]), 0);
        assert_eq!(
            token,
            format!(
                r#"<w:BinarySecurityToken xmlns="" xmlns:w="{WSSE}" EncodingType="{BASE64}" ValueType="{X509}">AQID</w:BinarySecurityToken>"#
            )
        );
        assert!(canonical(&binary_token("", &[1]), 0).starts_with(&format!("<BinarySecurityToken xmlns=\"{WSSE}\" EncodingType")));
    }
}
