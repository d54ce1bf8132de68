//! The header of a message as old clients of integration services send it: a user name and a password in the namespace of
//! a draft or of the standard, or a token for single sign-on, and two blocks of their own
//! (`oracle-stateful-sessions.md` §3.4, §3.5, §4, §9).
//!
//! Unlike [`crate::Message::verify`] this asks for no signature and no timestamp: none of these clients sends one, so that the
//! channel alone protects what they send. What an attacker tries: two names or two headers of which we read one and the
//! service another, a password whose type says that it is none, a credential beside another.

use std::fmt;

use vestibule_soap::{Envelope, Target, Version};
use vestibule_xmlsec::{Document, Error as XmlError, FromClaimed, Limits, Place};
use zeroize::Zeroizing;

use crate::error::Error;
use crate::namespaces::{Era, PASSWORD_TEXT};
use crate::tokens::View;

/// The namespace of the blocks that these clients add.
pub const BLOCKS: &str = "urn:crmondemand/ws";
/// The kind of key identifier that is a token for single sign-on (§9).
pub const SSO_TOKEN: &str = "http://schemas.crmondemand.com/ws/2011/01/secext#SSOTokenKeyIdentifier";

/// Octets of a user name.
const LONGEST_NAME: usize = 1024;
/// Octets of a password or a token.
const LONGEST_SECRET: usize = 4096;

/// What the head of a message says.
#[derive(Debug, Clone)]
pub struct Heading {
    /// The version of SOAP.
    pub version: Version,
    /// Who is asking.
    pub security: Security,
    /// What the client calls itself, as it stands there.
    pub client_name: Option<String>,
    /// Whether it asks to be remembered for its next request.
    pub keep_alive: bool,
    /// Whether nothing is asked for: the Body is empty.
    pub empty: bool,
}

/// Who is asking, as the sender says.
#[derive(Clone)]
pub enum Security {
    /// There is no security header.
    Absent,
    /// A name and a password.
    Username {
        /// In which namespace.
        era: Era,
        /// The name.
        username: String,
        /// The password, not trimmed.
        password: Zeroizing<String>,
    },
    /// A token for single sign-on.
    SsoToken(Zeroizing<String>),
    /// A security header that proves nothing.
    Unusable {
        /// Its namespace, if it is one of these clients'.
        era: Option<Era>,
        /// What is wrong with it.
        lack: Lack,
    },
}

impl fmt::Debug for Security {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Username { era, .. } => write!(f, "Username({era:?})"),
            Self::SsoToken(_) => f.write_str("SsoToken"),
            Self::Unusable { lack, .. } => write!(f, "Unusable({lack:?})"),
        }
    }
}

/// What is wrong with a security header. The first four are told apart by the framework of these services (§4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lack {
    /// There is no token in it.
    Token,
    /// The token has no name.
    Username,
    /// The token has no password.
    Password,
    /// It is of a kind or in a namespace that these services do not read.
    Unsupported,
    /// Two of what must be single, or what cannot be read.
    Malformed,
}

impl Heading {
    /// Reads the head of a message.
    ///
    /// # Errors
    /// [`Error`]: the octets are no SOAP message.
    pub fn read(octets: &[u8], limits: &Limits) -> Result<Self, Error> {
        Self::of(&Document::parse(octets, limits)?)
    }

    /// Reads the head of the message that a document is.
    ///
    /// # Errors
    /// [`Error`]: it is no SOAP message.
    pub fn of(document: &Document) -> Result<Self, Error> {
        let envelope = Envelope::read(document)?;
        let envelope = envelope.sender_says();
        let mut blocks = Blocks { version: envelope.version(), found: Vec::new(), client_name: None, keep_alive: Vec::new() };
        // Those for others are none of ours, and what is for every node on the way was never written for these services.
        let ours: Vec<&Place> =
            envelope.blocks().iter().filter(|block| block.target == Target::Ultimate).map(|block| &block.place).collect();
        let claimed = document.claim::<Header>()?;
        for block in claimed.sender_says().0.iter().filter(|block| ours.contains(&&block.place)) {
            blocks.add(block);
        }
        Ok(Self {
            version: blocks.version,
            security: match blocks.found.as_slice() {
                [] => Security::Absent,
                [one] => one.clone(),
                [_, _, ..] => Security::Unusable { era: None, lack: Lack::Malformed },
            },
            client_name: blocks.client_name,
            // Two of them are as good as none: nobody can say which was meant.
            keep_alive: matches!(blocks.keep_alive.as_slice(), [true]),
            empty: envelope.operation().is_none(),
        })
    }
}

struct Blocks {
    version: Version,
    found: Vec<Security>,
    client_name: Option<String>,
    keep_alive: Vec<bool>,
}

impl Blocks {
    fn add(&mut self, block: &Block) {
        match &block.said {
            Said::Security(security) => self.found.push(security.clone()),
            Said::ClientName(name) => self.client_name = self.client_name.take().or(Some(name.clone())),
            Said::KeepAlive(keep) => self.keep_alive.push(*keep),
            Said::Other => {}
        }
    }
}

/// The blocks of a header.
#[derive(Debug, Clone)]
struct Header(Vec<Block>);

#[derive(Debug, Clone)]
struct Block {
    place: Place,
    said: Said,
}

#[derive(Debug, Clone)]
enum Said {
    Security(Security),
    ClientName(String),
    KeepAlive(bool),
    Other,
}

impl FromClaimed for Header {
    fn from_claimed(root: View<'_>) -> Result<Self, XmlError> {
        let header = root.children().find(|part| part.local() == "Header");
        let read = |block: View<'_>| {
            let said = match (block.namespace(), block.local()) {
                (_, "Security") => Said::Security(security(block)),
                (BLOCKS, "ClientName") => Said::ClientName(block.text().unwrap_or_default().trim().to_owned()),
                (BLOCKS, "SessionKeepAlive") => Said::KeepAlive(block.text().is_ok_and(|text| text.trim() == "true")),
                (_, _) => Said::Other,
            };
            Block { place: block.place(), said }
        };
        Ok(Self(header.iter().flat_map(View::children).map(read).collect()))
    }
}

fn security(header: View<'_>) -> Security {
    let eras = [Era::Standard, Era::Draft200204, Era::Draft200207];
    let Some(era) = eras.into_iter().find(|era| era.extension() == header.namespace()) else {
        return Security::Unusable { era: None, lack: Lack::Unsupported };
    };
    let unusable = |lack| Security::Unusable { era: Some(era), lack };
    let mut tokens = header.children().filter(|child| Era::knows(child.namespace()) && child.local() != "Timestamp");
    match (tokens.next(), tokens.next()) {
        (None, _) => unusable(Lack::Token),
        (Some(_), Some(_)) => unusable(Lack::Malformed),
        (Some(token), None) if token.is(era.extension(), "UsernameToken") => username(token, era).unwrap_or_else(unusable),
        (Some(token), None) if token.is(era.extension(), "SecurityTokenReference") && era == Era::Standard => {
            sso_token(token, era).unwrap_or_else(unusable)
        }
        (Some(_), None) => unusable(Lack::Unsupported),
    }
}

fn username(token: View<'_>, era: Era) -> Result<Security, Lack> {
    let single = |name: &str, missing: Lack| {
        let child = token.child(era.extension(), name).map_err(|_| Lack::Malformed)?.ok_or(missing)?;
        let text = child.text().map_err(|_| Lack::Malformed)?;
        if text.trim().is_empty() { Err(missing) } else { Ok((child, text)) }
    };
    let (_, name) = single("Username", Lack::Username)?;
    let (element, password) = single("Password", Lack::Password)?;
    if name.len() > LONGEST_NAME || name.chars().any(char::is_control) || password.len() > LONGEST_SECRET {
        return Err(Lack::Malformed);
    }
    // Without a type it is text (§4). A digest would need passwords that can be read here.
    let kind = element.attribute("", "Type").unwrap_or(PASSWORD_TEXT);
    let is_text = match era {
        Era::Standard => kind == PASSWORD_TEXT,
        // A qualified name, whose prefix nothing is made of, or the bare word.
        Era::Draft200204 | Era::Draft200207 | Era::Draft200212 | Era::Draft200306 => {
            kind == "PasswordText"
                || kind == PASSWORD_TEXT
                || kind.split_once(':').is_some_and(|(prefix, local)| !prefix.is_empty() && local == "PasswordText")
        }
    };
    if !is_text {
        return Err(Lack::Unsupported);
    }
    Ok(Security::Username { era, username: name.into_owned(), password: Zeroizing::new(password.into_owned()) })
}

fn sso_token(reference: View<'_>, era: Era) -> Result<Security, Lack> {
    let mut inside = reference.children();
    let (Some(identifier), None) = (inside.next(), inside.next()) else { return Err(Lack::Malformed) };
    if !identifier.is(era.extension(), "KeyIdentifier") || identifier.attribute("", "ValueType") != Some(SSO_TOKEN) {
        return Err(Lack::Unsupported);
    }
    let text = identifier.text().map_err(|_| Lack::Malformed)?;
    match text.trim() {
        "" => Err(Lack::Token),
        token if token.len() > LONGEST_SECRET => Err(Lack::Malformed),
        token => Ok(Security::SsoToken(Zeroizing::new(token.to_owned()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OASIS: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
    const APRIL: &str = "http://schemas.xmlsoap.org/ws/2002/04/secext";
    const JULY: &str = "http://schemas.xmlsoap.org/ws/2002/07/secext";

    fn envelope(header: &str, body: &str) -> String {
        format!(
            "<soap:Envelope xmlns:soap='http://schemas.xmlsoap.org/soap/envelope/'><soap:Header>{header}</soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>"
        )
    }

    fn read(header: &str) -> Heading {
        Heading::read(envelope(header, "<o xmlns='urn:o'/>").as_bytes(), &Limits::MESSAGE).unwrap()
    }

    fn token(namespace: &str, inside: &str) -> String {
        format!(
            "<wsse:Security soap:mustUnderstand='1' xmlns:wsse='{namespace}'><wsse:UsernameToken>{inside}</wsse:UsernameToken></wsse:Security>"
        )
    }

    fn both(kind: &str) -> String {
        format!("<wsse:Username>ACME/robot</wsse:Username><wsse:Password {kind}>se&amp;cret</wsse:Password>")
    }

    fn lack(header: &str) -> Lack {
        match read(header).security {
            Security::Unusable { lack, .. } => lack,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_and_a_password_are_read_in_three_namespaces() {
        let full = format!("Type='{PASSWORD_TEXT}'");
        for (namespace, era, kinds) in [
            (OASIS, Era::Standard, &["", full.as_str()][..]),
            (APRIL, Era::Draft200204, &["", "Type='wsse:PasswordText'", "Type='PasswordText'"]),
            (JULY, Era::Draft200207, &["", "Type='wsse:PasswordText'", "Type='PasswordText'"]),
        ] {
            for kind in kinds {
                match read(&token(namespace, &both(kind))).security {
                    Security::Username { era: found, username, password } => {
                        assert_eq!((found, username.as_str(), password.as_str()), (era, "ACME/robot", "se&cret"));
                    }
                    other => panic!("{namespace} {kind}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn rule_element_order_any_exactly_one_each() {
        let turned = "<wsse:Password>p</wsse:Password><wsse:Username>u</wsse:Username>";
        assert!(matches!(read(&token(OASIS, turned)).security, Security::Username { .. }));
        for twice in ["<wsse:Username>v</wsse:Username>", "<wsse:Password>q</wsse:Password>"] {
            assert_eq!(lack(&token(OASIS, &(both("") + twice))), Lack::Malformed);
        }
    }

    #[test]
    fn rule_must_understand_and_its_absence_are_accepted() {
        let without = token(OASIS, &both("")).replace("soap:mustUnderstand='1' ", "");
        assert!(matches!(read(&without).security, Security::Username { .. }));
    }

    #[test]
    fn rule_credentials_in_soap_are_never_url_decoded() {
        let inside = "<wsse:Username>a%62+c</wsse:Username><wsse:Password>%70+x</wsse:Password>";
        match read(&token(OASIS, inside)).security {
            Security::Username { username, password, .. } => assert_eq!((username.as_str(), password.as_str()), ("a%62+c", "%70+x")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rule_digest_is_rejected_nonce_and_created_are_ignored() {
        let digest = PASSWORD_TEXT.replace("PasswordText", "PasswordDigest");
        assert_eq!(lack(&token(OASIS, &both(&format!("Type='{digest}'")))), Lack::Unsupported);
        assert_eq!(lack(&token(APRIL, &both("Type='wsse:PasswordDigest'"))), Lack::Unsupported);
        let more = "<wsse:Nonce>!</wsse:Nonce><wsu:Created xmlns:wsu='http://schemas.xmlsoap.org/ws/2002/07/utility'>x</wsu:Created>";
        assert!(matches!(read(&token(JULY, &(both("") + more))).security, Security::Username { .. }));
    }

    #[test]
    fn texts_each_missing_part_is_told_apart() {
        assert!(matches!(read("").security, Security::Absent));
        assert_eq!(lack(&format!("<w:Security xmlns:w='{OASIS}'/>")), Lack::Token);
        assert_eq!(lack(&token(OASIS, "<wsse:Password>p</wsse:Password>")), Lack::Username);
        assert_eq!(lack(&token(OASIS, "<wsse:Username> </wsse:Username><wsse:Password>p</wsse:Password>")), Lack::Username);
        assert_eq!(lack(&token(OASIS, "<wsse:Username>u</wsse:Username>")), Lack::Password);
        assert_eq!(lack(&token(OASIS, "<wsse:Username>u</wsse:Username><wsse:Password/>")), Lack::Password);
    }

    #[test]
    fn decision_any_other_namespace_is_an_unsupported_token() {
        for namespace in [
            "http://schemas.xmlsoap.org/ws/2002/12/secext",
            "http://schemas.xmlsoap.org/ws/2003/06/secext",
            "http://siebel.com/webservices",
        ] {
            assert_eq!(lack(&token(namespace, &both(""))), Lack::Unsupported, "{namespace}");
        }
    }

    #[test]
    fn two_headers_or_two_tokens_are_none() {
        assert_eq!(lack(&(token(OASIS, &both("")) + &token(APRIL, &both("")))), Lack::Malformed);
        let two = format!(
            "<w:Security xmlns:w='{OASIS}' xmlns:wsse='{OASIS}'><w:UsernameToken>{0}</w:UsernameToken><w:UsernameToken>{0}</w:UsernameToken></w:Security>",
            both("")
        );
        assert_eq!(lack(&two), Lack::Malformed);
        let theirs = token(OASIS, &both("")).replace("soap:mustUnderstand='1'", "soap:actor='urn:other'");
        assert!(matches!(read(&theirs).security, Security::Absent), "somebody else's header");
    }

    #[test]
    fn markup_in_a_credential_is_refused() {
        for inside in [
            "<wsse:Username>ad<!-- -->min</wsse:Username>",
            "<wsse:Username><![CDATA[u]]></wsse:Username>",
            "<wsse:Username>u<?x?></wsse:Username>",
        ] {
            assert_eq!(lack(&token(OASIS, &format!("{inside}<wsse:Password>p</wsse:Password>"))), Lack::Malformed, "{inside}");
        }
    }

    #[test]
    fn sso_token_as_a_key_identifier_is_trimmed_and_not_decoded() {
        let reference = |kind: &str| {
            format!(
                "<w:Security xmlns:w='{OASIS}'><w:SecurityTokenReference><w:KeyIdentifier ValueType='{kind}'>\n TOK%2BEN \n</w:KeyIdentifier></w:SecurityTokenReference></w:Security>"
            )
        };
        match read(&reference(SSO_TOKEN)).security {
            Security::SsoToken(token) => assert_eq!(token.as_str(), "TOK%2BEN"),
            other => panic!("{other:?}"),
        }
        assert_eq!(lack(&reference("urn:other")), Lack::Unsupported);
        assert_eq!(lack(&reference(SSO_TOKEN).replace(OASIS, APRIL)), Lack::Unsupported);
    }

    #[test]
    fn keep_alive_is_exactly_true_after_trimming() {
        for (text, keep) in [("true", true), ("\n true\n", true), ("TRUE", false), ("1", false), ("false", false), ("", false)] {
            let block = format!("<SessionKeepAlive xmlns='{BLOCKS}'>{text}</SessionKeepAlive>");
            assert_eq!(read(&block).keep_alive, keep, "{text}");
            assert!(!read(&(block.clone() + &block)).keep_alive);
        }
        assert!(!read("<SessionKeepAlive xmlns='urn:other'>true</SessionKeepAlive>").keep_alive);
    }

    #[test]
    fn client_name_and_an_empty_body_are_seen() {
        let named = read(&format!("<ClientName xmlns='{BLOCKS}'> Acme Ltd, Sync </ClientName>"));
        assert_eq!((named.client_name.as_deref(), named.empty), (Some("Acme Ltd, Sync"), false));
        assert!(Heading::read(envelope("", "").as_bytes(), &Limits::MESSAGE).unwrap().empty);
        assert!(Heading::read(b"<a/>", &Limits::MESSAGE).is_err());
    }
}
