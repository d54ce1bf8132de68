//! The search filter of a realm: a template with the place of the name (RFC 4515).
//!
//! A name like `*)(uid=*` must stay a name. It is escaped octet by octet, and the template is read once by the
//! parser that reads the filled filter later, so that a filter that cannot work is refused when `check` runs.

use uuid::Uuid;
use vestibule_engine::identity::Username;

/// Where the name goes.
const PLACE: &str = "{user}";
/// Longest template, in octets.
const MAX_TEMPLATE: usize = 4096;

/// A search filter with the place of the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEMPLATE {
            return Err(format!("a filter has at most {MAX_TEMPLATE} octets"));
        }
        if !text.contains(PLACE) {
            return Err(format!("the filter has no `{PLACE}`, so everybody would be the same user"));
        }
        for (at, _) in text.match_indices(PLACE) {
            let before = text.get(..at).unwrap_or_default();
            let item = before.rsplit(['(', ')']).next().unwrap_or_default();
            if !item.contains('=') {
                return Err(format!("`{PLACE}` is a value: it stands after `=`"));
            }
        }
        let template = Self(text.to_owned());
        ldap3::parse_filter(template.filled("x")).map_err(|()| "this is not a search filter (RFC 4515)".to_owned())?;
        Ok(template)
    }

    /// The filter that finds this user.
    pub fn fill(&self, name: &Username) -> String {
        self.filled(&escape(name.as_str()))
    }

    /// The filter that finds who has this id, if the template would find them by whatever name.
    pub fn fill_id(&self, attribute: &str, id: &str) -> String {
        let mut spellings = vec![escape(id)];
        // How octets are shown that are no text, see `Entry::id`.
        if let Ok(guid) = Uuid::parse_str(id) {
            spellings.push(octets(&guid.to_bytes_le()));
        } else if let Some(shown) = hexadecimal(id) {
            spellings.push(octets(&shown));
        }
        let ids: String = spellings.iter().map(|id| format!("({attribute}={id})")).collect();
        // In an extensible match an asterisk is a name (RFC 4515 §3).
        let anybody = if self.0.contains(":=") { String::new() } else { self.filled("*") };
        format!("(&(|{ids}){anybody})")
    }

    fn filled(&self, value: &str) -> String {
        self.0.replace(PLACE, value)
    }
}

/// RFC 4515 §3: what is not plain printable ASCII, or means something in a filter, is written as `\hh`.
fn escape(value: &str) -> String {
    let mut escaped = String::with_capacity(value.len());
    for octet in value.bytes() {
        match octet {
            b'\\' | b'*' | b'(' | b')' | 0..=0x1f | 0x7f.. => escaped.push_str(&format!("\\{octet:02x}")),
            plain => escaped.push(char::from(plain)),
        }
    }
    escaped
}

fn octets(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("\\{octet:02x}")).collect()
}

fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    digits.then(|| text.as_bytes().chunks(2).filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_found_in_every_form_it_may_have_been_shown_from() {
        let template = Template::parse("(&(objectClass=person)(uid={user}))").unwrap();
        for (id, filter) in [
            ("a*b", r"(&(|(id=a\2ab))(&(objectClass=person)(uid=*)))"),
            ("0aff", r"(&(|(id=0aff)(id=\0a\ff))(&(objectClass=person)(uid=*)))"),
            (
                "01020304-0506-0708-090a-0b0c0d0e0f10",
                r"(&(|(id=01020304-0506-0708-090a-0b0c0d0e0f10)(id=\04\03\02\01\06\05\08\07\09\0a\0b\0c\0d\0e\0f\10))(&(objectClass=person)(uid=*)))",
            ),
        ] {
            let filled = template.fill_id("id", id);
            assert_eq!(filled, filter);
            assert!(ldap3::parse_filter(&filled).is_ok());
        }
        let extensible = Template::parse("(uid:caseExactMatch:={user})").unwrap();
        assert_eq!(extensible.fill_id("id", "x"), "(&(|(id=x)))");
    }

    #[test]
    fn a_name_stays_a_name() {
        for (name, escaped) in [
            ("ada", "ada"),
            ("*)(uid=*", r"\2a\29\28uid=\2a"),
            (r"a\b", r"a\5cb"),
            ("łucja", r"\c5\82ucja"),
            ("a b,c=d+e", "a b,c=d+e"),
            ("\0", r"\00"),
        ] {
            assert_eq!(escape(name), escaped, "{name:?}");
        }
        let template = Template::parse("(&(objectClass=person)(|(uid={user})(mail={user})))").unwrap();
        let filled = template.fill(&Username::parse("*)(uid=*").unwrap());
        assert_eq!(filled, r"(&(objectClass=person)(|(uid=\2a\29\28uid=\2a)(mail=\2a\29\28uid=\2a)))");
        assert!(ldap3::parse_filter(&filled).is_ok());
    }

    #[test]
    fn a_filter_that_cannot_work_is_refused() {
        for text in ["", "(uid=ada)", "(uid={user}", "uid={user})", "({user}=ada)", "(&({user})(uid=x))", "(uid=x){user}", "((uid={user}))"]
        {
            assert!(Template::parse(text).is_err(), "{text}");
        }
    }
}
