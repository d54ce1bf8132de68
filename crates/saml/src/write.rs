//! A writer of XML that cannot be injected (attack 50).
//!
//! Names are literals of this crate, values are escaped where they are written, and an element is closed by leaving its
//! closure; there is no way to write a piece of markup but [`Writer::finished`], which takes what was signed here before.

use crate::error::Error;

/// Writes one document.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: String,
    /// The start tag is not closed yet, so that attributes may follow.
    in_tag: bool,
    failed: bool,
}

impl Writer {
    /// Writes a document of one root element.
    pub(crate) fn document(name: &'static str, content: impl FnOnce(&mut Self)) -> Result<String, Error> {
        let mut writer = Self::default();
        writer.element(name, content);
        if writer.failed { Err(Error::Character) } else { Ok(writer.out) }
    }

    /// An element; `content` writes its attributes first, then what is in it.
    pub(crate) fn element(&mut self, name: &'static str, content: impl FnOnce(&mut Self)) {
        self.end_tag();
        self.out.push('<');
        self.out.push_str(name);
        self.in_tag = true;
        content(self);
        if self.in_tag {
            self.out.push_str("/>");
            self.in_tag = false;
        } else {
            self.out.push_str("</");
            self.out.push_str(name);
            self.out.push('>');
        }
    }

    /// An element that holds a text.
    pub(crate) fn leaf(&mut self, name: &'static str, text: &str) {
        self.element(name, |writer| writer.text(text));
    }

    /// An attribute of the element just begun.
    pub(crate) fn attribute(&mut self, name: &'static str, value: &str) {
        // INVARIANT: attributes are written before content; a slip is an error, not a broken document.
        self.failed |= !self.in_tag;
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        self.escaped(value);
        self.out.push('"');
    }

    /// An attribute, if there is a value.
    pub(crate) fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.attribute(name, value);
        }
    }

    /// Text.
    pub(crate) fn text(&mut self, text: &str) {
        self.end_tag();
        self.escaped(text);
    }

    /// An element that this crate wrote and signed or encrypted before; its octets stay as they are.
    pub(crate) fn finished(&mut self, element: &str) {
        self.end_tag();
        self.out.push_str(element);
    }

    fn end_tag(&mut self) {
        if self.in_tag {
            self.out.push('>');
            self.in_tag = false;
        }
    }

    fn escaped(&mut self, value: &str) {
        let mut rest = value;
        // Most values, and all that are base64, are written as they are.
        while let Some(at) = rest.bytes().position(is_special) {
            let (plain, special) = rest.split_at(at);
            self.out.push_str(plain);
            let mut characters = special.chars();
            match characters.next() {
                Some('&') => self.out.push_str("&amp;"),
                Some('<') => self.out.push_str("&lt;"),
                // Ends a CDATA section where a naive reader looks for one.
                Some('>') => self.out.push_str("&gt;"),
                Some('"') => self.out.push_str("&quot;"),
                // White space that attribute normalization and line ends would change.
                Some('\t') => self.out.push_str("&#9;"),
                Some('\n') => self.out.push_str("&#10;"),
                Some('\r') => self.out.push_str("&#13;"),
                Some('\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}') => self.failed = true,
                Some(other) => self.out.push(other),
                None => {}
            }
            rest = characters.as_str();
        }
        self.out.push_str(rest);
    }
}

/// Whether an octet begins a character that is not written as it is, or may be none of XML's: U+FFFE and U+FFFF begin with 0xEF.
fn is_special(octet: u8) -> bool {
    matches!(octet, b'&' | b'<' | b'>' | b'"' | ..=0x1f | 0xef)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_values() {
        let hostile = "\"><saml:Attribute Name='x'/>&#0;]]>\t\r\n";
        let xml = Writer::document("a", |w| {
            w.attribute("b", hostile);
            w.leaf("c", hostile);
        })
        .unwrap();
        let escaped = "&quot;&gt;&lt;saml:Attribute Name='x'/&gt;&amp;#0;]]&gt;&#9;&#13;&#10;";
        assert_eq!(xml, format!("<a b=\"{escaped}\"><c>{escaped}</c></a>"));
    }

    #[test]
    fn what_xml_cannot_say_is_refused() {
        for bad in ["\u{0}", "a\u{1b}", "\u{ffff}"] {
            assert_eq!(Writer::document("a", |w| w.text(bad)), Err(Error::Character));
        }
        assert_eq!(
            Writer::document("a", |w| {
                w.text("x");
                w.attribute("late", "y");
            }),
            Err(Error::Character)
        );
        assert_eq!(Writer::document("a", |_| {}).unwrap(), "<a/>");
    }
}
