//! Whether a word that octets do not contain can be in the document all the same.
//!
//! What an attacker tries: a name that one reader finds by its octets and another by what they mean, written with character
//! references or entities, or in an encoding of which the first knows nothing (attack 71).

use memchr::memchr_iter;
use memchr::memmem::find;

/// Encodings in which the characters of ASCII are their octets and nothing else means them. What is valid UTF-8 has in none of
/// them a second spelling of ASCII.
const TRANSPARENT: [&[u8]; 4] = [b"utf-8", b"us-ascii", b"ascii", b"iso-8859-1"];

/// Whether every reader finds the document's ASCII as its octets are: UTF-8 that declares nothing else, without character
/// references and without a document type, whose entities and default attributes would be more (XML 1.0 §4.1, §4.3.3, F).
/// Says nothing about whether it is well-formed; whoever needs to know more has to parse it.
pub fn is_literal(octets: &[u8]) -> bool {
    let text = octets.strip_prefix(b"\xef\xbb\xbf").unwrap_or(octets).trim_ascii_start();
    text.first() == Some(&b'<')
        && std::str::from_utf8(text).is_ok()
        && !text.contains(&0)
        && find(text, b"&#").is_none()
        && declares_nothing_else(text)
        && memchr_iter(b'!', text).all(|at| {
            let after = text.get(at + 1..).unwrap_or_default();
            let before = at.checked_sub(1).and_then(|before| text.get(before));
            before != Some(&b'<') || after.starts_with(b"--") || after.starts_with(b"[CDATA[")
        })
}

/// Whether an encoding, if the document begins with a declaration of it, is one of those.
fn declares_nothing_else(text: &[u8]) -> bool {
    let begins = |prefix: &[u8]| text.get(..prefix.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(prefix));
    if !begins(b"<?xml") {
        return true;
    }
    let Some(end) = find(text, b"?>") else { return false };
    let declaration = text.get(..end).unwrap_or_default().to_ascii_lowercase();
    let Some(at) = find(&declaration, b"encoding") else { return true };
    let named = declaration.get(at + b"encoding".len()..).unwrap_or_default();
    let value = named.trim_ascii_start().strip_prefix(b"=").map(<[u8]>::trim_ascii_start).unwrap_or_default();
    let Some((quote, value)) = value.split_first().filter(|(quote, _)| matches!(quote, b'"' | b'\'')) else { return false };
    // A second word of this kind would be another reader's.
    find(named, b"encoding").is_none() && value.split(|octet| octet == quote).next().is_some_and(|name| TRANSPARENT.contains(&name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::Limits;

    #[test]
    fn what_can_mean_something_else_than_its_octets_is_not_literal() {
        for text in [
            "<a/>",
            " \r\n<a b=\"&amp;\">\u{e9} ! <![CDATA[<x]]><!-- c --></a>",
            "\u{feff}<?xml version='1.0'?><a/>",
            "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone='yes'?><a/>",
            "<?xml version='1.0' encoding = 'iso-8859-1'?><a/>",
        ] {
            assert!(is_literal(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            "a<a/>",
            "\u{feff}\u{feff}<a/>",
            "<a b=\"&#101;\"/>",
            "<a>&#x65;</a>",
            "<!DOCTYPE a><a/>",
            "<!doctype a><a/>",
            "<a/><!ENTITY e 'e'>",
            "<a>\0</a>",
            "<?xml version='1.0' encoding='UTF-7'?><a/>",
            "<?xml version='1.0' encoding='UTF-16'?><a/>",
            "<?xml version='1.0' encoding='ibm037'?><a/>",
            "<?XML version='1.0' ENCODING='utf-7'?><a/>",
            "<?xml version='encoding=\"utf-8\"' encoding='utf-7'?><a/>",
            "<?xml version='1.0' encoding=utf-8?><a/>",
            "<?xml version='1.0' encoding?><a/>",
            "<?xml version='1.0'",
        ] {
            assert!(!is_literal(text.as_bytes()), "{text}");
        }
        for octets in [&b"<a>\xff</a>"[..], b"<a b='\xc1\xa5'/>", b"<\0a\0/\0>\0", b"\0<\0a\0/\0>", b"\xff\xfe<\0", b"\x4c\x6f\xa7\x94"] {
            assert!(!is_literal(octets), "{octets:?}");
        }
    }

    proptest! {
        /// What our own reader finds in a literal document, a search finds.
        #[test]
        fn a_name_in_a_literal_document_is_in_its_octets(value in "(s|e|secext|&#101;|&#x65;|&amp;|c| |&lt;){0,8}", before in "(\u{feff}| |<!-- -->|<\\?xml version='1.0'\\?>|<!DOCTYPE a>)?") {
            struct Read(bool);
            impl crate::FromClaimed for Read {
                fn from_claimed(root: crate::ElementView<'_, crate::Unsigned>) -> Result<Self, crate::Error> {
                    Ok(Self(root.attribute("", "b").is_some_and(|value| value.contains("secext"))))
                }
            }
            let text = format!("{before}<a b='{value}'/>");
            if let Ok(document) = crate::Document::parse(text.as_bytes(), &Limits::MESSAGE) {
                let found = document.claim::<Read>().unwrap().sender_says().0;
                prop_assert!(!is_literal(text.as_bytes()) || found == text.contains("secext"));
            }
        }
    }
}
