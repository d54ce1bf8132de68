//! What a message says it is for: the operation, `SOAPAction` (SOAP 1.1 §6.1.1), the `action` parameter of 1.2 (RFC 3902) and
//! `wsa:Action`.
//!
//! What an attacker tries: a harmless action for the gateway's policy, another operation in the Body for the application
//! (attack 67). Policy is about the operation; a declared action is compared, and never trusted.

use crate::envelope::{Envelope, Operation, Version};
use crate::error::{Error, shortened};
use crate::media_type::MediaType;

/// Octets of a declared action.
const LONGEST: usize = 1024;

/// The value of a `SOAPAction` header, without its quotation marks. `None` for an empty one, which says nothing.
///
/// # Errors
/// [`Error::SoapAction`] if a quotation mark is missing or too many, or it is too long.
pub fn soap_action(header: &str) -> Result<Option<&str>, Error> {
    let text = header.trim_matches([' ', '\t']);
    let value = match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').ok_or(Error::SoapAction)?,
        // Clients that forget the quotation marks are many.
        None => text,
    };
    if value.len() > LONGEST || value.contains(['"', ' ']) || value.chars().any(char::is_control) {
        return Err(Error::SoapAction);
    }
    Ok(Some(value).filter(|value| !value.is_empty()))
}

/// The action that the sender declares, the same wherever it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declared {
    action: Option<String>,
}

impl Declared {
    /// Compares every declaration of one message: the header, the media type's parameter, and `wsa:Action`.
    ///
    /// # Errors
    /// [`Error::ActionsDiffer`] if two are there and differ; [`Error::SoapAction`]; [`Error::VersionsDiffer`] if the media type
    /// announces another version than the envelope.
    pub fn read(envelope: &Envelope, header: Option<&str>, media_type: Option<&MediaType>) -> Result<Self, Error> {
        if let Some(media_type) = media_type {
            media_type.carries(envelope.version())?;
        }
        let header = header.map(soap_action).transpose()?.flatten();
        let parameter = media_type.and_then(|media_type| media_type.parameter("action")).filter(|action| !action.is_empty());
        // RFC 3902 has the parameter for SOAP 1.2 only; elsewhere it says nothing that anybody reads.
        let parameter = parameter.filter(|_| envelope.version() == Version::Soap12);
        let mut said: Option<&str> = None;
        for action in [header, parameter, envelope.addressed_action()].into_iter().flatten() {
            match said {
                Some(before) if before != action => {
                    return Err(Error::ActionsDiffer { one: shortened(before), other: shortened(action) });
                }
                Some(_) | None => said = Some(action),
            }
        }
        Ok(Self { action: said.map(str::to_owned) })
    }

    /// What was declared, if anything was.
    pub fn action(&self) -> Option<&str> {
        self.action.as_deref()
    }

    /// Refuses a declaration other than the one that belongs to the operation. None at all is admitted.
    ///
    /// # Errors
    /// [`Error::ActionsDiffer`].
    pub fn must_be(&self, expected: &str) -> Result<(), Error> {
        match &self.action {
            Some(action) if action != expected => Err(Error::ActionsDiffer { one: shortened(action), other: expected.to_owned() }),
            Some(_) | None => Ok(()),
        }
    }
}

impl Declared {
    /// Refuses a declaration that names another operation than the Body. Where no description of the service says which
    /// action belongs to which operation, the last word of the action has to be the operation's name, with or without what
    /// tools append to either (`urn:orders/OrderRequest`). None at all is admitted.
    ///
    /// # Errors
    /// [`Error::ActionsDiffer`].
    pub fn must_name(&self, operation: &Operation) -> Result<(), Error> {
        let Some(action) = &self.action else { return Ok(()) };
        let said = action.rsplit(['/', '#', ':', '.', '?', '=']).next().unwrap_or_default();
        if bare(said) == bare(&operation.local) {
            return Ok(());
        }
        Err(Error::ActionsDiffer { one: shortened(action), other: shortened(&operation.local) })
    }
}

/// A name without the one ending that tells a request from its answer (WS-Addressing Metadata §4.4.4, WSDL 1.1 §2.4.5).
fn bare(name: &str) -> &str {
    const ENDINGS: [&str; 6] = ["RequestMessage", "_Input", "Request", "SoapIn", "Input", "In"];
    ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).filter(|rest| !rest.is_empty()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use vestibule_xmlsec::{Document, Limits};

    use super::*;

    #[test]
    fn the_header_is_read_with_and_without_quotation_marks() {
        assert_eq!(soap_action("\"urn:a\""), Ok(Some("urn:a")));
        assert_eq!(soap_action(" urn:a "), Ok(Some("urn:a")));
        assert_eq!(soap_action("\"\""), Ok(None));
        assert_eq!(soap_action(""), Ok(None));
        for wrong in ["\"", "\"urn:a", "urn:a\"", "\"a\" \"b\"", "\"a\"b\"", "a b", "a\u{1}", &"a".repeat(LONGEST + 1)] {
            assert_eq!(soap_action(wrong), Err(Error::SoapAction), "{wrong:?}");
        }
    }

    fn declared(
        version: Version,
        addressing: Option<&str>,
        header: Option<&str>,
        media_type: Option<&str>,
    ) -> Result<Option<String>, Error> {
        let block = addressing.map(|action| format!("<a:Action xmlns:a='http://www.w3.org/2005/08/addressing'> {action} </a:Action>"));
        let text = format!(
            "<s:Envelope xmlns:s='{}'><s:Header>{}</s:Header><s:Body/></s:Envelope>",
            version.namespace(),
            block.unwrap_or_default()
        );
        let document = Document::parse(text.as_bytes(), &Limits::MESSAGE)?;
        let envelope = Envelope::read(&document)?;
        let media_type = media_type.map(MediaType::parse).transpose()?;
        Declared::read(envelope.sender_says(), header, media_type.as_ref()).map(|declared| declared.action)
    }

    #[test]
    fn declarations_have_to_agree() {
        let (old, new) = (Version::Soap11, Version::Soap12);
        let action = Ok(Some("urn:a".to_owned()));
        assert_eq!(declared(old, None, None, None), Ok(None));
        assert_eq!(declared(old, Some("urn:a"), Some("\"urn:a\""), Some("text/xml")), action);
        assert_eq!(declared(old, None, Some("\"urn:a\""), Some("text/xml; action=\"urn:b\"")), action);
        assert_eq!(declared(new, Some("urn:a"), None, Some("application/soap+xml; action=\"urn:a\"")), action);
        assert_eq!(declared(new, Some("urn:a"), Some("\"\""), Some("application/soap+xml; action=\"\"")), action);
        let differ = |found: Result<Option<String>, Error>| matches!(found, Err(Error::ActionsDiffer { .. }));
        assert!(differ(declared(old, Some("urn:a"), Some("\"urn:b\""), None)));
        assert!(differ(declared(new, Some("urn:a"), None, Some("application/soap+xml; action=\"urn:b\""))));
        assert!(differ(declared(new, None, Some("urn:b"), Some("application/soap+xml; action=\"urn:a\""))));
        assert_eq!(declared(new, None, None, Some("text/xml")), Err(Error::VersionsDiffer { envelope: new }));
        assert_eq!(declared(old, None, None, Some("application/json")), Err(Error::MediaType));
        let said = Declared { action: Some("urn:a".to_owned()) };
        assert!(said.must_be("urn:a").is_ok() && said.must_be("urn:b").is_err());
        assert!(Declared { action: None }.must_be("urn:b").is_ok());
    }

    #[test]
    fn an_action_has_to_name_the_operation_of_the_body() {
        let text =
            format!("<s:Envelope xmlns:s='{}'><s:Body><o:Order xmlns:o='urn:o'/></s:Body></s:Envelope>", Version::Soap11.namespace());
        let document = Document::parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        let envelope = Envelope::read(&document).unwrap();
        let operation = envelope.sender_says().operation().unwrap();
        let names = |action: Option<&str>| Declared { action: action.map(str::to_owned) }.must_name(operation).is_ok();
        for action in ["Order", "urn:o/Order", "urn:o#Order", "urn:Order", "http://o.example/IOrders/OrderRequest", "urn:o/Order_Input"] {
            assert!(names(Some(action)), "{action}");
        }
        for action in ["Cancel", "urn:o/Cancel", "urn:Order/Cancel", "PreOrder", "urn:o/order", "urn:o/Order/", "OrderCancel", "Request"] {
            assert!(!names(Some(action)), "{action}");
        }
        assert!(names(None));
    }

    #[test]
    fn two_addressed_actions_are_refused() {
        let twice = "<a:Action xmlns:a='http://www.w3.org/2005/08/addressing'>x</a:Action>".repeat(2);
        let text = format!("<s:Envelope xmlns:s='{}'><s:Header>{twice}</s:Header><s:Body/></s:Envelope>", Version::Soap11.namespace());
        let document = Document::parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        assert_eq!(Envelope::read(&document).unwrap_err().reason(), "ambiguous");
    }
}
