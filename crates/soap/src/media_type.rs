//! Media types (RFC 9110 §8.3.1, RFC 7303, RFC 3902), which say the SOAP version once more.
//!
//! What an attacker tries: a parameter twice, so that two readers take another one.

use crate::envelope::Version;
use crate::error::Error;

/// A media type with its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaType {
    essence: String,
    parameters: Vec<(String, String)>,
}

/// Octets of a media type.
const LONGEST: usize = 1024;
/// Parameters of a media type.
const MOST_PARAMETERS: usize = 8;

impl MediaType {
    /// Reads the value of a `Content-Type` header.
    ///
    /// # Errors
    /// [`Error::MediaType`] if it is malformed, too long, or has a parameter twice.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text.len() > LONGEST {
            return Err(Error::MediaType);
        }
        let (essence, mut rest) = text.split_at(text.find(';').unwrap_or(text.len()));
        let essence = essence.trim_matches([' ', '\t']).to_ascii_lowercase();
        if !essence.split_once('/').is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype)) {
            return Err(Error::MediaType);
        }
        let mut parameters: Vec<(String, String)> = Vec::new();
        loop {
            rest = rest.trim_start_matches([' ', '\t']);
            let Some(after) = rest.strip_prefix(';') else { break };
            rest = after.trim_start_matches([' ', '\t']);
            if rest.is_empty() || rest.starts_with(';') {
                continue;
            }
            let (name, after) = rest.split_once('=').ok_or(Error::MediaType)?;
            let name = name.to_ascii_lowercase();
            let (value, after) = match after.strip_prefix('"') {
                Some(quoted) => unquoted(quoted).ok_or(Error::MediaType)?,
                None => {
                    let (value, after) = after.split_at(after.find([';', ' ', '\t']).unwrap_or(after.len()));
                    if !is_token(value) {
                        return Err(Error::MediaType);
                    }
                    (value.to_owned(), after)
                }
            };
            rest = after;
            if !is_token(&name) || parameters.len() >= MOST_PARAMETERS || parameters.iter().any(|(known, _)| *known == name) {
                return Err(Error::MediaType);
            }
            parameters.push((name, value));
        }
        if rest.is_empty() { Ok(Self { essence, parameters }) } else { Err(Error::MediaType) }
    }

    /// Type and subtype, in small letters.
    pub fn essence(&self) -> &str {
        &self.essence
    }

    /// A parameter's value; the name in small letters.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The version it announces; `None` for `application/xml`, which announces none.
    ///
    /// # Errors
    /// [`Error::MediaType`] for a type that carries no envelope by itself, or one that is not UTF-8.
    pub fn version(&self) -> Result<Option<Version>, Error> {
        if self.parameter("charset").is_some_and(|charset| !charset.eq_ignore_ascii_case("utf-8")) {
            return Err(Error::MediaType);
        }
        match self.essence.as_str() {
            "text/xml" => Ok(Some(Version::Soap11)),
            "application/soap+xml" => Ok(Some(Version::Soap12)),
            "application/xml" => Ok(None),
            _ => Err(Error::MediaType),
        }
    }

    /// Refuses an envelope of another version than announced (attack 71).
    ///
    /// # Errors
    /// [`Error::VersionsDiffer`], and as [`MediaType::version`].
    pub fn carries(&self, envelope: Version) -> Result<(), Error> {
        match self.version()? {
            Some(announced) if announced != envelope => Err(Error::VersionsDiffer { envelope }),
            Some(_) | None => Ok(()),
        }
    }
}

/// A quoted string after its first quotation mark, and what follows.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((place, character)) = characters.next() {
        match character {
            '"' => return text.get(place + 1..).map(|rest| (value, rest)),
            '\\' => value.push(characters.next().map(|(_, escaped)| escaped).filter(|escaped| !escaped.is_control())?),
            other if other.is_control() && other != '\t' => return None,
            other => value.push(other),
        }
    }
    None
}

pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parameters_are_read_quoted_or_not() {
        let read = MediaType::parse(r#"Application/SOAP+XML ; Charset=UTF-8; action="urn:a;\"b\"" ;"#).unwrap();
        assert_eq!(read.essence(), "application/soap+xml");
        assert_eq!(read.parameter("action"), Some("urn:a;\"b\""));
        assert_eq!(read.version(), Ok(Some(Version::Soap12)));
        assert_eq!(read.carries(Version::Soap11), Err(Error::VersionsDiffer { envelope: Version::Soap11 }));
        assert_eq!(MediaType::parse("application/xml").unwrap().carries(Version::Soap11), Ok(()));
        assert_eq!(MediaType::parse("text/plain").unwrap().version(), Err(Error::MediaType));
        assert_eq!(MediaType::parse("text/xml; charset=utf-16").unwrap().version(), Err(Error::MediaType));
    }

    #[test]
    fn what_two_readers_could_read_differently_is_refused() {
        for text in [
            "",
            "text",
            "text/",
            "/xml",
            "text/xml/x",
            "text /xml",
            "text/xml;a",
            "text/xml;a=",
            "text/xml;a=\"",
            "text/xml;a=\"\\",
            "text/xml;a=b c",
            "text/xml;a=1;A=2",
            "text/xml;a =1",
            "text/xml;a=\"b\"c",
            "text/xml, text/plain",
            "text/xml;a=\"\n\"",
        ] {
            assert_eq!(MediaType::parse(text), Err(Error::MediaType), "{text:?}");
        }
        assert!(MediaType::parse(&format!("text/xml;a={}", "x".repeat(LONGEST))).is_err());
        let many: String = (0..=MOST_PARAMETERS).map(|n| format!(";a{n}=1")).collect();
        assert!(MediaType::parse(&format!("text/xml{many}")).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}", tail in "[;=\"\\\\a ]{0,20}") {
            let _ = MediaType::parse(&text);
            let _ = MediaType::parse(&format!("a/b{tail}"));
        }
    }
}
