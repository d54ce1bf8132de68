//! The search filter of a realm: a template with the place of the name (RFC 4515).
//!
//! A name like `*)(uid=*` must stay a name. It is escaped octet by octet, and the template is read once by the
//! parser that reads the filled filter later, so that a filter that cannot work is refused when `check` runs.

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

#[cfg(test)]
mod tests {
    use super::*;

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
