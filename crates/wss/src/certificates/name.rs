//! Distinguished names as XML Signature writes them (XML Signature §4.5.4.1, RFC 4514), compared by their parts.
//!
//! A name only selects among certificates that are known; whether one counts is decided by its octets.

use x509_parser::x509::X509Name;

/// The types that have a word, and how tools spell them beside.
const TYPES: [(&str, &[&str]); 15] = [
    ("2.5.4.3", &["CN"]),
    ("2.5.4.4", &["SN", "SURNAME"]),
    ("2.5.4.5", &["SERIALNUMBER"]),
    ("2.5.4.6", &["C"]),
    ("2.5.4.7", &["L"]),
    ("2.5.4.8", &["ST", "S"]),
    ("2.5.4.9", &["STREET"]),
    ("2.5.4.10", &["O"]),
    ("2.5.4.11", &["OU"]),
    ("2.5.4.12", &["T", "TITLE"]),
    ("2.5.4.42", &["G", "GN", "GIVENNAME"]),
    ("2.5.4.46", &["DNQ", "DNQUALIFIER"]),
    ("0.9.2342.19200300.100.1.1", &["UID"]),
    ("0.9.2342.19200300.100.1.25", &["DC"]),
    ("1.2.840.113549.1.9.1", &["E", "EMAIL", "EMAILADDRESS"]),
];

/// The parts of a name, in the order of the certificate.
pub(super) fn of_certificate(name: &X509Name<'_>) -> Vec<(String, String)> {
    let parts = name.iter_attributes();
    parts.map(|part| (part.attr_type().to_id_string(), part.as_str().map(str::to_owned).unwrap_or_default())).collect()
}

/// As text, the last part first (RFC 4514 §2.1).
pub(super) fn written(parts: &[(String, String)]) -> String {
    let part = |(kind, value): &(String, String)| {
        let word = TYPES.iter().find(|(oid, _)| oid == kind).and_then(|(_, words)| words.first());
        let mut escaped = String::new();
        for (place, character) in value.chars().enumerate() {
            let edge = (place == 0 && matches!(character, ' ' | '#')) || (character == ' ' && place + 1 == value.chars().count());
            if edge || matches!(character, ',' | '+' | '"' | '\\' | '<' | '>' | ';' | '=') {
                escaped.push('\\');
            }
            escaped.push(character);
        }
        format!("{}={escaped}", word.copied().unwrap_or(kind))
    };
    parts.iter().rev().map(part).collect::<Vec<_>>().join(",")
}

/// Whether a text names the same. Old tools write the parts in the order of the certificate.
pub(super) fn is_same(parts: &[(String, String)], text: &str) -> bool {
    let Some(read) = parse(text) else { return false };
    let own: Vec<(String, String)> = parts.iter().map(|(kind, value)| (kind.clone(), folded(value))).collect();
    read.len() == own.len() && (read.iter().eq(own.iter().rev()) || read.iter().eq(own.iter()))
}

fn parse(text: &str) -> Option<Vec<(String, String)>> {
    let mut parts = Vec::new();
    let mut characters = text.chars().peekable();
    while characters.peek().is_some() {
        let mut kind = String::new();
        loop {
            match characters.next()? {
                '=' => break,
                other => kind.push(other),
            }
        }
        let (mut value, mut quoted) = (String::new(), false);
        loop {
            match characters.next() {
                None if quoted => return None,
                None => break,
                Some('"') => quoted = !quoted,
                Some(',' | ';' | '+') if !quoted => break,
                Some('\\') => {
                    let escaped = characters.next()?;
                    match (escaped.to_digit(16), characters.peek().and_then(|next| next.to_digit(16))) {
                        (Some(high), Some(low)) => {
                            characters.next();
                            // Only ASCII: other characters are written as they are.
                            value.push(char::from_u32(high * 16 + low).filter(char::is_ascii)?);
                        }
                        _ => value.push(escaped),
                    }
                }
                Some(other) => value.push(other),
            }
        }
        parts.push((oid(kind.trim())?, folded(&value)));
    }
    if parts.is_empty() { None } else { Some(parts) }
}

fn oid(kind: &str) -> Option<String> {
    let upper = kind.to_ascii_uppercase();
    if let Some((oid, _)) = TYPES.iter().find(|(_, words)| words.contains(&upper.as_str())) {
        return Some((*oid).to_owned());
    }
    let dotted = upper.strip_prefix("OID.").unwrap_or(&upper);
    (!dotted.is_empty() && dotted.bytes().all(|octet| octet.is_ascii_digit() || octet == b'.')).then(|| dotted.to_owned())
}

/// Case and runs of white space mean nothing in a name (RFC 4518 §2.6).
fn folded(value: &str) -> String {
    value.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Vec<(String, String)> {
        vec![
            ("2.5.4.10".to_owned(), "Example, Com".to_owned()),
            ("2.5.4.3".to_owned(), "a  b".to_owned()),
            ("1.2.3".to_owned(), "x".to_owned()),
        ]
    }

    #[test]
    fn names_are_compared_by_their_parts() {
        for same in ["1.2.3=x,CN=a  b,O=Example\\, Com", "OID.1.2.3 = X, cn = A b , O=\"Example, Com\"", "O=Example\\2c Com,CN=a b,1.2.3=x"]
        {
            assert!(is_same(&parts(), same), "{same}");
        }
        for other in [
            "",
            "CN=a b,O=Example\\, Com",
            "1.2.3=x,CN=a b,O=Example",
            "1.2.3=x,CN=a b,O=\"Example, Com",
            "1.2.3=x,CN=a b,XX=Example\\, Com",
            "1.2.3=x,O=Example\\, Com,CN=a b",
            "x",
        ] {
            assert!(!is_same(&parts(), other), "{other}");
        }
        assert!(is_same(&parts(), &written(&parts())));
        assert_eq!(written(&parts()), "1.2.3=x,CN=a  b,O=Example\\, Com");
    }
}
