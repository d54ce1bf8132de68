//! Names that the standards give, and the drafts of 2002 and 2003 beside them.
//!
//! What an attacker tries: a header in a draft's namespace that one reader takes for security and another does not see, or
//! eras mixed in one header (attack 69). A header is of one era, and a draft's counts only where it is conceded.

use crate::rules::Concession;

/// WS-Security 1.0, also the base of 1.1.
pub(crate) const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
/// The utility namespace: ids and timestamps.
pub(crate) const WSU: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd";
/// What 1.1 adds.
pub(crate) const WSSE11: &str = "http://docs.oasis-open.org/wss/oasis-wss-wssecurity-secext-1.1.xsd";
pub(crate) const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
pub(crate) const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";
pub(crate) const SAML11: &str = "urn:oasis:names:tc:SAML:1.0:assertion";
pub(crate) const SAML20: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// WS-Addressing: the recommendation, and the submission that older stacks send.
pub(crate) const ADDRESSING: [&str; 2] = ["http://www.w3.org/2005/08/addressing", "http://schemas.xmlsoap.org/ws/2004/08/addressing"];

pub(crate) const BASE64: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-soap-message-security-1.0#Base64Binary";
pub(crate) const PASSWORD_TEXT: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordText";
pub(crate) const PASSWORD_DIGEST: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordDigest";
pub(crate) const X509_V3: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509v3";
pub(crate) const PKI_PATH: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509PKIPathv1";
pub(crate) const SUBJECT_KEY_IDENTIFIER: &str =
    "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-x509-token-profile-1.0#X509SubjectKeyIdentifier";
pub(crate) const THUMBPRINT: &str = "http://docs.oasis-open.org/wss/oasis-wss-soap-message-security-1.1#ThumbprintSHA1";
pub(crate) const SAML11_KEY_IDENTIFIER: &str = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.0#SAMLAssertionID";
pub(crate) const SAML20_KEY_IDENTIFIER: &str = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLID";
pub(crate) const SAML11_TOKEN: &str = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLV1.1";
pub(crate) const SAML20_TOKEN: &str = "http://docs.oasis-open.org/wss/oasis-wss-saml-token-profile-1.1#SAMLV2.0";

/// When the namespaces of a header were in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Era {
    /// The standard, 1.0 and 1.1.
    Standard,
    /// The draft of April 2002.
    Draft200204,
    /// The draft of July 2002.
    Draft200207,
    /// The draft of December 2002.
    Draft200212,
    /// The draft of June 2003.
    Draft200306,
}

impl Era {
    /// Every era.
    pub const ALL: [Self; 5] = [Self::Standard, Self::Draft200204, Self::Draft200207, Self::Draft200212, Self::Draft200306];

    /// The namespace of `Security` and of tokens.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Standard => WSSE,
            Self::Draft200204 => "http://schemas.xmlsoap.org/ws/2002/04/secext",
            Self::Draft200207 => "http://schemas.xmlsoap.org/ws/2002/07/secext",
            Self::Draft200212 => "http://schemas.xmlsoap.org/ws/2002/12/secext",
            Self::Draft200306 => "http://schemas.xmlsoap.org/ws/2003/06/secext",
        }
    }

    /// The namespace of ids and times, where the draft has one.
    pub fn utility(self) -> Option<&'static str> {
        match self {
            Self::Standard => Some(WSU),
            Self::Draft200204 => None,
            Self::Draft200207 | Self::Draft200212 => Some("http://schemas.xmlsoap.org/ws/2002/07/utility"),
            Self::Draft200306 => Some("http://schemas.xmlsoap.org/ws/2003/06/utility"),
        }
    }

    /// What has to be conceded for it.
    pub fn concession(self) -> Option<Concession> {
        match self {
            Self::Standard => None,
            Self::Draft200204 => Some(Concession::Draft200204),
            Self::Draft200207 => Some(Concession::Draft200207),
            Self::Draft200212 => Some(Concession::Draft200212),
            Self::Draft200306 => Some(Concession::Draft200306),
        }
    }

    pub(crate) fn of_extension(namespace: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|era| era.extension() == namespace)
    }

    /// Whether a namespace belongs to some era.
    pub(crate) fn knows(namespace: &str) -> bool {
        Self::ALL.into_iter().any(|era| era.extension() == namespace || era.utility() == Some(namespace))
    }
}

/// Whether a header block is a security header, of whatever era.
pub fn is_security(block: &vestibule_soap::HeaderBlock) -> bool {
    block.local == "Security" && Era::of_extension(&block.namespace).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_era_has_its_own_namespace_and_each_draft_its_concession() {
        for era in Era::ALL {
            assert_eq!(Era::of_extension(era.extension()), Some(era));
            assert_eq!(era.concession().is_none(), era == Era::Standard);
            assert!(Era::knows(era.extension()));
        }
        // A constant of old code with another host (§5.2).
        assert_eq!(Era::of_extension(&WSSE.replace("//docs", "//www.docs")), None);
        assert!(!Era::knows("urn:x"));
    }
}
