//! A writer of XML that cannot be injected (attack 50), and that writes exclusive canonical form at once.
//!
//! Names and namespaces are literals of the program, values are escaped where they are written, and an element is closed by
//! leaving its closure; there is no way to write a piece of markup but [`Writer::insert`], which takes a [`Fragment`], and
//! [`Writer::finished`], which takes what was written here before. Start tags are written as Canonical XML §2.3 has them,
//! whatever the order of the calls, so that what is signed needs no canonicalization.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{Error, Malformed};
use crate::fragment::{Extent, Fragment, SignaturePlace};
use crate::tree::XML_NAMESPACE;

/// Writes one element and what is in it. Its `Debug` does not show it.
pub struct Writer {
    out: String,
    /// The start tag that is not closed yet, so that attributes may follow.
    tag: Option<&'static str>,
    /// What stands in that tag.
    parts: Vec<Part>,
    /// Prefixes and what they mean, innermost last.
    scope: Vec<(&'static str, &'static str)>,
    /// How many of them are declared around the tag.
    around: usize,
    depth: usize,
    extent: Extent,
    canonical: bool,
    signature: Option<SignaturePlace>,
    /// Markup was written that nobody counted.
    uncounted: bool,
    fault: Option<Error>,
}

/// A declaration or an attribute of the start tag.
#[derive(Debug, Clone, Copy)]
struct Part {
    order: Order,
    /// The prefix that it uses; empty for declarations.
    prefix: &'static str,
    /// Where it begins, with its blank.
    begin: usize,
}

/// Where a part of a start tag stands: declarations by prefix, then attributes by namespace name and local name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Order {
    is_attribute: bool,
    namespace: &'static str,
    name: &'static str,
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Writer({} octets)", self.out.len())
    }
}

impl Writer {
    /// Writes a document of one root element.
    ///
    /// # Errors
    /// [`Error::Malformed`] for a character that XML does not allow, [`Error::Unreadable`] for a slip of the program: an
    /// attribute behind content, twice, or without its namespace.
    pub fn document(name: &'static str, content: impl FnOnce(&mut Self)) -> Result<String, Error> {
        Self::written(name, content).map(|writer| writer.out)
    }

    /// Writes an element that can be put anywhere.
    ///
    /// # Errors
    /// As [`Writer::document`], and [`Error::Unreadable`] where something finished was written into it.
    pub fn fragment(name: &'static str, content: impl FnOnce(&mut Self)) -> Result<Fragment, Error> {
        let Self { out, extent, canonical, signature, uncounted, .. } = Self::written(name, content)?;
        if uncounted {
            return Err(Error::Unreadable { what: "markup that was not counted", at: 0 });
        }
        Ok(Fragment { xml: out, extent, canonical, signature })
    }

    fn written(name: &'static str, content: impl FnOnce(&mut Self)) -> Result<Self, Error> {
        let mut writer = Self {
            out: String::with_capacity(2048),
            tag: None,
            parts: Vec::with_capacity(8),
            scope: Vec::with_capacity(8),
            around: 0,
            depth: 0,
            extent: Extent::default(),
            canonical: true,
            signature: None,
            uncounted: false,
            fault: None,
        };
        writer.element(name, content);
        match writer.fault.take() {
            Some(fault) => Err(fault),
            None => Ok(writer),
        }
    }

    /// An element; `content` writes its declarations and attributes first, then what is in it.
    pub fn element(&mut self, name: &'static str, content: impl FnOnce(&mut Self)) {
        self.end_tag();
        self.out.push('<');
        self.out.push_str(name);
        self.tag = Some(name);
        let around = self.scope.len();
        self.around = around;
        self.depth += 1;
        content(self);
        self.end_tag();
        self.depth -= 1;
        self.scope.truncate(around);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
    }

    /// An element that holds a text.
    pub fn leaf(&mut self, name: &'static str, text: &str) {
        self.element(name, |writer| writer.text(text));
    }

    /// Says what a prefix means in the element just begun; the empty one is the default namespace.
    pub fn declare(&mut self, prefix: &'static str, namespace: &'static str) {
        let begin = self.out.len();
        self.out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
        self.out.push_str(prefix);
        self.out.push_str("=\"");
        self.escaped(namespace, attribute_escape);
        self.out.push('"');
        // What is in force already is not written again in canonical form.
        self.canonical &= self.meaning(prefix) != Some(namespace);
        let is_late = !prefix.is_empty() && self.parts.iter().any(|part| part.prefix == prefix);
        if is_late || namespace.is_empty() {
            self.fail(Error::Unreadable { what: "a declaration of nothing, or behind what uses it", at: begin });
        }
        self.place(Part { order: Order { is_attribute: false, namespace: "", name: prefix }, prefix: "", begin });
        self.scope.push((prefix, namespace));
        self.extent.name = self.extent.name.max("xmlns:".len() + prefix.len());
    }

    /// An attribute of the element just begun.
    pub fn attribute(&mut self, name: &'static str, value: &str) {
        let begin = self.out.len();
        self.out.push(' ');
        self.out.push_str(name);
        self.out.push_str("=\"");
        self.escaped(value, attribute_escape);
        self.out.push('"');
        let (prefix, local) = split(name);
        let namespace = if prefix.is_empty() { Some("") } else { self.meaning(prefix) };
        match namespace {
            Some(namespace) => self.place(Part { order: Order { is_attribute: true, namespace, name: local }, prefix, begin }),
            None => self.fail(Error::Unreadable { what: "an attribute without its namespace", at: begin }),
        }
        self.extent.name = self.extent.name.max(name.len());
    }

    /// An attribute, if there is a value.
    pub fn optional(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.attribute(name, value);
        }
    }

    /// Text.
    pub fn text(&mut self, text: &str) {
        self.end_tag();
        self.extent.nodes += usize::from(!text.is_empty());
        self.escaped(text, text_escape);
    }

    /// Octets as base64, without line breaks.
    pub fn base64(&mut self, octets: &[u8]) {
        self.end_tag();
        self.extent.nodes += usize::from(!octets.is_empty());
        STANDARD.encode_string(octets, &mut self.out);
    }

    /// An element that was read or written by itself.
    pub fn insert(&mut self, fragment: &Fragment) {
        self.end_tag();
        self.out.push_str(&fragment.xml);
        self.extent = self.extent.with(&fragment.extent, self.depth, self.scope.len());
        // Whether its declarations are in force here already, nobody looked.
        self.canonical = false;
    }

    /// An element that was written, signed or encrypted here before; its octets stay as they are.
    pub fn finished(&mut self, element: &str) {
        self.end_tag();
        self.out.push_str(element);
        self.uncounted = true;
        self.canonical = false;
    }

    /// The place in the root element where its signature belongs.
    pub fn signature_belongs_here(&mut self) {
        self.end_tag();
        let here = SignaturePlace { at: self.out.len(), namespaces: self.scope.len() };
        if self.depth != 1 || self.signature.replace(here).is_some() {
            self.fail(Error::Unreadable { what: "a second signature, or one outside the root element", at: here.at });
        }
    }

    /// Where the next thing is written, which is no attribute.
    pub(crate) fn position(&mut self) -> usize {
        self.end_tag();
        self.out.len()
    }

    /// What was written from there on.
    pub(crate) fn since(&self, position: usize) -> &str {
        self.out.get(position..).unwrap_or_default()
    }

    /// Lets the writing fail; the first reason counts.
    pub(crate) fn fail(&mut self, fault: Error) {
        self.fault.get_or_insert(fault);
    }

    /// What a prefix means here.
    fn meaning(&self, prefix: &str) -> Option<&'static str> {
        if prefix == "xml" {
            return Some(XML_NAMESPACE);
        }
        self.scope.iter().rev().find(|(known, _)| *known == prefix).map(|(_, namespace)| *namespace)
    }

    /// Puts the part of the start tag that was written last where it belongs.
    fn place(&mut self, part: Part) {
        if self.tag.is_none() {
            // INVARIANT: attributes are written before content; a slip is an error, not a broken document.
            return self.fail(Error::Unreadable { what: "an attribute behind content", at: part.begin });
        }
        if self.parts.last().is_none_or(|last| last.order < part.order) {
            return self.parts.push(part);
        }
        let index = self.parts.partition_point(|known| known.order < part.order);
        let Some(next) = self.parts.get(index).copied() else { return };
        if next.order == part.order {
            return self.fail(Error::Unreadable { what: "an attribute twice", at: part.begin });
        }
        let written = self.out.split_off(part.begin);
        self.out.insert_str(next.begin, &written);
        self.parts.iter_mut().skip(index).for_each(|behind| behind.begin += written.len());
        self.parts.insert(index, Part { begin: next.begin, ..part });
    }

    fn end_tag(&mut self) {
        let Some(name) = self.tag.take() else { return };
        self.out.push('>');
        let (prefix, _) = split(name);
        let at = self.out.len();
        if self.meaning(prefix).is_none() {
            self.fail(Error::Unreadable { what: "an element without its namespace", at });
        }
        let attributes = self.parts.iter().filter(|part| part.order.is_attribute);
        self.extent.element(self.depth, attributes.count(), self.scope.len(), name.len());
        // Exclusive canonical form declares what an element visibly uses, and nothing else.
        for (declared, _) in self.scope.get(self.around..).unwrap_or_default() {
            self.canonical &= *declared == prefix || (!declared.is_empty() && self.parts.iter().any(|part| part.prefix == *declared));
        }
        self.parts.clear();
    }

    fn escaped(&mut self, value: &str, escape: impl Fn(u8) -> Option<&'static str>) {
        // Most values are written as they are. Without a branch for each octet.
        if !value.bytes().fold(false, |found, octet| found | is_special(octet)) {
            return self.out.push_str(value);
        }
        if let Some(at) = crate::parse::forbidden_character(value.as_bytes()) {
            self.fail(Error::Malformed { why: Malformed::Character, at });
        }
        let mut from = 0;
        for (at, octet) in value.bytes().enumerate() {
            if let Some(reference) = escape(octet) {
                self.out.push_str(value.get(from..at).unwrap_or_default());
                self.out.push_str(reference);
                from = at + 1;
            }
        }
        self.out.push_str(value.get(from..).unwrap_or_default());
    }
}

/// Prefix and local name.
fn split(name: &'static str) -> (&'static str, &'static str) {
    name.split_once(':').unwrap_or(("", name))
}

/// Whether an octet is escaped anywhere, or begins a character that XML does not allow: U+FFFE and U+FFFF begin with 0xEF.
fn is_special(octet: u8) -> bool {
    (octet < b' ') | (octet == b'&') | (octet == b'<') | (octet == b'>') | (octet == b'"') | (octet == 0xef)
}

/// Canonical XML §2.3, text nodes.
fn text_escape(octet: u8) -> Option<&'static str> {
    match octet {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        // Ends a CDATA section where a naive reader looks for one.
        b'>' => Some("&gt;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    }
}

/// Canonical XML §2.3, attribute nodes: white space, too, that attribute normalization would change.
fn attribute_escape(octet: u8) -> Option<&'static str> {
    match octet {
        b'&' => Some("&amp;"),
        b'<' => Some("&lt;"),
        b'"' => Some("&quot;"),
        b'\t' => Some("&#x9;"),
        b'\n' => Some("&#xA;"),
        b'\r' => Some("&#xD;"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::c14n::{Canonicalization, canonicalize};
    use crate::limits::Limits;

    #[test]
    fn what_is_written_is_not_shown() {
        let fragment = Writer::fragment("a:a", |w| {
            w.declare("a", "urn:a");
            w.text("secret");
            assert!(!format!("{w:?}").contains("secret"));
        });
        assert!(!format!("{fragment:?}").contains("secret"));
    }

    #[test]
    fn values_stay_values() {
        let hostile = "\"><saml:Attribute Name='x'/>&#0;]]>\t\r\n";
        let xml = Writer::document("a:a", |w| {
            w.declare("a", "urn:a");
            w.attribute("b", hostile);
            w.leaf("a:c", hostile);
        })
        .unwrap();
        let attribute = "&quot;>&lt;saml:Attribute Name='x'/>&amp;#0;]]>&#x9;&#xD;&#xA;";
        let text = "\"&gt;&lt;saml:Attribute Name='x'/&gt;&amp;#0;]]&gt;\t&#xD;\n";
        assert_eq!(xml, format!("<a:a xmlns:a=\"urn:a\" b=\"{attribute}\"><a:c>{text}</a:c></a:a>"));
    }

    #[test]
    fn what_xml_cannot_say_is_refused() {
        let with = |content: fn(&mut Writer)| {
            Writer::document("a:a", |w| {
                w.declare("a", "urn:a");
                content(w);
            })
        };
        for bad in [|w: &mut Writer| w.text("\u{0}"), |w: &mut Writer| w.attribute("b", "a\u{1b}"), |w: &mut Writer| w.text("é\u{ffff}")] {
            assert!(matches!(with(bad), Err(Error::Malformed { why: Malformed::Character, .. })));
        }
        let slips: [fn(&mut Writer); 8] = [
            |w| {
                w.text("x");
                w.attribute("late", "y");
            },
            |w| {
                w.leaf("a:c", "x");
                w.declare("b", "urn:b");
            },
            |w| {
                w.attribute("b", "1");
                w.attribute("c", "1");
                w.attribute("b", "2");
            },
            |w| {
                w.declare("b", "urn:b");
                w.declare("b", "urn:c");
            },
            |w| w.leaf("b:b", "x"),
            |w| w.leaf("b", "x"),
            |w| w.attribute("b:b", "x"),
            |w| {
                w.element("a:b", Writer::signature_belongs_here);
            },
        ];
        for slip in slips {
            assert!(matches!(with(slip), Err(Error::Unreadable { .. })));
        }
        assert_eq!(with(|_| {}).unwrap(), "<a:a xmlns:a=\"urn:a\"></a:a>");
    }

    #[test]
    fn start_tags_are_ordered() {
        let xml = Writer::fragment("b:a", |w| {
            w.attribute("z", "1");
            w.declare("c", "urn:a");
            w.attribute("c:z", "2");
            w.declare("b", "urn:b");
            w.attribute("b:a", "3");
            w.attribute("y", "4");
            w.attribute("xml:lang", "5");
            w.attribute("c:a", "6");
        })
        .unwrap();
        let order = "y=\"4\" z=\"1\" xml:lang=\"5\" c:a=\"6\" c:z=\"2\" b:a=\"3\"";
        assert_eq!(&*xml, format!("<b:a xmlns:b=\"urn:b\" xmlns:c=\"urn:a\" {order}></b:a>"));
        assert!(xml.canonical);
    }

    #[test]
    fn what_is_declared_and_not_used_is_not_canonical() {
        let canonical = |content: fn(&mut Writer)| {
            let made = Writer::fragment("a:a", |w| {
                w.declare("a", "urn:a");
                content(w);
            });
            made.unwrap().canonical
        };
        assert!(canonical(|w| w.element("b:b", |w| w.declare("b", "urn:b"))));
        assert!(!canonical(|w| w.declare("b", "urn:b")));
        assert!(!canonical(|w| w.element("a:b", |w| w.declare("a", "urn:a"))));
        assert!(canonical(|w| w.element("a:b", |w| w.declare("a", "urn:b"))));
        assert!(!canonical(|w| w.element("a:b", |w| {
            w.declare("", "urn:b");
            w.attribute("c", "1");
        })));
    }

    /// What a writer is asked to write.
    #[derive(Debug, Clone)]
    enum Asked {
        Text(String),
        Attribute(usize, String),
        Declare(usize),
        Element(usize, Vec<Asked>),
    }

    fn asked() -> impl Strategy<Value = Vec<Asked>> {
        let value = "[a&<>\"'\t\r\n é\u{fffd}\\]x]{0,6}";
        let leaf = prop_oneof![
            value.prop_map(Asked::Text),
            (0..6_usize, value).prop_map(|(name, value)| Asked::Attribute(name, value)),
            (0..5_usize).prop_map(Asked::Declare),
        ];
        let one = leaf.prop_recursive(5, 60, 8, |inner| {
            (0..5_usize, proptest::collection::vec(inner, 0..8)).prop_map(|(name, inside)| Asked::Element(name, inside))
        });
        proptest::collection::vec(one, 0..8)
    }

    fn obey(w: &mut Writer, asked: &[Asked]) {
        for one in asked {
            match one {
                Asked::Text(text) => w.text(text),
                Asked::Attribute(name, value) => w.attribute(["x", "a:x", "b:x", "y", "xml:lang", "c:y"][*name], value),
                Asked::Declare(which) => {
                    let (prefix, namespace) = [("a", "urn:a"), ("b", "urn:b&\""), ("", "urn:d"), ("a", "urn:b&\""), ("c", "urn:a")][*which];
                    w.declare(prefix, namespace);
                }
                Asked::Element(name, inside) => w.element(["a:e", "b:e", "e", "c:f", "a:g"][*name], |w| obey(w, inside)),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_written_is_well_formed_counted_and_canonical_where_it_says_so(asked in asked()) {
            let made = Writer::fragment("a:root", |w| {
                w.declare("a", "urn:a");
                w.declare("b", "urn:b&\"");
                w.attribute("b:used", "");
                obey(w, &asked);
            });
            let Ok(fragment) = made else { return Ok(()) };
            let read = Fragment::parse(&fragment, &Limits::MESSAGE).unwrap();
            // Texts beside each other are counted apart.
            prop_assert!(read.extent.nodes <= fragment.extent.nodes);
            prop_assert_eq!(Extent { nodes: 0, ..read.extent }, Extent { nodes: 0, ..fragment.extent });
            let canonical = canonicalize(fragment.as_bytes(), &Limits::MESSAGE, &Canonicalization::EXCLUSIVE).unwrap();
            if fragment.canonical {
                prop_assert_eq!(std::str::from_utf8(&canonical).unwrap(), &*fragment);
            }
        }
    }
}
