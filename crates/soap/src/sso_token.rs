//! The operation by which a program asks for a token about itself (`oracle-stateful-sessions.md` §6.1). Its name and those of
//! question and answer are the product's; the namespace is ours, since nobody has recorded theirs.

use vestibule_xmlsec::{Document, ElementView, Error as XmlError, FromClaimed, Unsigned};

use crate::delegated::LIMITS;
use crate::envelope::{Envelope, Version};

/// The operation's namespace.
pub const NAMESPACE: &str = "urn:vestibule:integration";
/// Its name.
const OPERATION: &str = "SSOTokenRead";

struct Question;

impl FromClaimed for Question {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let body = root.child(Version::Soap11.namespace(), "Body")?.ok_or_else(|| root.unreadable("no Body"))?;
        let mut calls = body.children();
        // In whatever namespace: it says nothing but its name.
        match (calls.next(), calls.next()) {
            (Some(call), None) if matches!(call.local(), "SSOTokenRead" | "SSOTokenQuery") => Ok(Self),
            (_, _) => Err(body.unreadable("another call than SSOTokenRead")),
        }
    }
}

/// Whether a message asks for a token.
pub fn is_question(octets: &[u8]) -> bool {
    let Ok(document) = Document::parse(octets, &LIMITS) else { return false };
    Envelope::read(&document).is_ok() && document.claim::<Question>().is_ok()
}

/// The message that brings the token, which is base64url and needs no escaping.
pub fn write_answer(token: &str) -> String {
    let envelope = Version::Soap11.namespace();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><soap:Envelope xmlns:soap=\"{envelope}\"><soap:Body>\
         <{OPERATION}Response xmlns=\"{NAMESPACE}\"><SSOTokenData>{token}</SSOTokenData></{OPERATION}Response></soap:Body></soap:Envelope>"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_has_one_call_and_the_answer_one_token() {
        let ask = |inside: &str| {
            format!("<s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'><s:Body>{inside}</s:Body></s:Envelope>")
        };
        assert!(is_question(ask("<SSOTokenRead xmlns='urn:x'><SSOTokenQuery/></SSOTokenRead>").as_bytes()));
        for other in ["", "<Other/>", "<SSOTokenRead/><SSOTokenRead/>"] {
            assert!(!is_question(ask(other).as_bytes()), "{other}");
        }
        assert!(!is_question(b"<SSOTokenRead/>"));
        let answer = write_answer("abc-_");
        Document::parse(answer.as_bytes(), &LIMITS).unwrap();
        assert!(answer.contains("<SSOTokenData>abc-_</SSOTokenData>"));
    }
}
