//! Canonical XML 1.0 and Exclusive XML Canonicalization 1.0, with and without comments, of a document or a subtree.
//!
//! Written straight into a hasher where the octets are not needed. What is skipped here (comments, a removed signature) is
//! what the verified view does not see: both walk the same tree by the same rule.

use std::ops::Range;

use crate::error::Error;
use crate::limits::Limits;
use crate::tree::{Attribute, Element, Kind, Link, Name, NamespaceId, Node, NodeId, Text, Tree, key};

/// Which canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonicalization {
    /// Exclusive (only the namespaces an element visibly uses) or inclusive (all in scope).
    pub exclusive: bool,
    /// Whether comments are part of it.
    pub with_comments: bool,
    /// `InclusiveNamespaces PrefixList`: prefixes treated as in the inclusive form. The empty text is `#default`.
    pub prefix_list: Vec<String>,
}

impl Canonicalization {
    /// `http://www.w3.org/2001/10/xml-exc-c14n#`.
    pub const EXCLUSIVE: Self = Self { exclusive: true, with_comments: false, prefix_list: Vec::new() };
    /// `http://www.w3.org/TR/2001/REC-xml-c14n-20010315`.
    pub const INCLUSIVE: Self = Self { exclusive: false, with_comments: false, prefix_list: Vec::new() };

    /// The same form with comments.
    pub fn with_comments(self) -> Self {
        Self { with_comments: true, ..self }
    }
}

/// The canonical form of a whole document.
///
/// # Errors
/// [`Error::Malformed`] if it cannot be read, or a limit is exceeded.
pub fn canonicalize(document: &[u8], limits: &Limits, form: &Canonicalization) -> Result<Vec<u8>, Error> {
    let tree = crate::parse::parse(document, limits)?;
    let mut octets = Vec::with_capacity(document.len());
    write(&tree, Apex::Document, None, form, limits, &mut octets)?;
    Ok(octets)
}

/// Where a canonical form begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Apex {
    /// The document with what stands outside the root element.
    Document,
    /// One element and everything in it.
    Element(NodeId),
    /// The same in place of a `SecurityTokenReference`: WSS SOAP Message Security 1.1 §8.3 has an apex in whose scope there
    /// is no default namespace say so.
    Token(NodeId),
}

impl Apex {
    fn element(self) -> Option<NodeId> {
        match self {
            Self::Document => None,
            Self::Element(id) | Self::Token(id) => Some(id),
        }
    }
}

/// Whatever takes canonical octets.
pub(crate) trait Sink {
    fn take(&mut self, octets: &[u8]);
}

impl Sink for Vec<u8> {
    fn take(&mut self, octets: &[u8]) {
        self.extend_from_slice(octets);
    }
}

impl Sink for aws_lc_rs::digest::Context {
    fn take(&mut self, octets: &[u8]) {
        self.update(octets);
    }
}

impl Sink for aws_lc_rs::hmac::Context {
    fn take(&mut self, octets: &[u8]) {
        self.update(octets);
    }
}

/// Writes the canonical form of `apex` without the subtree `omit`.
pub(crate) fn write(
    tree: &Tree,
    apex: Apex,
    omit: Option<NodeId>,
    form: &Canonicalization,
    limits: &Limits,
    sink: &mut impl Sink,
) -> Result<(), Error> {
    let (first, end) = match apex.element() {
        None => (0, tree.nodes.len()),
        Some(id) => (id.0 as usize, tree.node(id).map_or(0, |node| node.end as usize)),
    };
    let out =
        Out { sink, buffer: Vec::with_capacity(CHUNK), source: tree.source.as_bytes(), run: 0..0, written: 0, limit: limits.canonical };
    let mut writer = Writer {
        tree,
        form,
        out,
        rendered: Vec::with_capacity(FEW),
        open: Vec::with_capacity(FEW),
        listed: None,
        namespaces: Vec::with_capacity(FEW),
        attributes: Vec::with_capacity(FEW),
    };
    let mut at = first;
    let mut after_root = false;
    while let Some(node) = tree.nodes.get(at).filter(|_| at < end) {
        if writer.open.last().is_some_and(|open| open.end <= at) {
            writer.close_until(at)?;
        }
        if omit.is_some_and(|omit| omit.0 as usize == at) {
            at = node.end as usize;
            continue;
        }
        let outside = node.parent().is_none();
        match &node.kind {
            Kind::Element(element) => {
                let here = if at == first && apex != Apex::Document { Some(apex) } else { None };
                writer.start(element, node, here)?;
                let rendered = writer.rendered.len();
                let Element { name, namespace, plain_end, content, .. } = *element;
                let end = node.end as usize;
                let open = Open { end, name, namespace, close: node.span.1, plain_end, rendered };
                if writer.needs_nothing_inside(element) && omit.is_none_or(|omit| !(at..end).contains(&(omit.0 as usize))) {
                    // What is in it is not looked at piece by piece.
                    writer.out.run(content, open.end_tag())?;
                    at = end - 1;
                }
                writer.open.push(open);
                after_root |= outside;
            }
            Kind::Text(text) => writer.text(*text)?,
            Kind::Comment(text) if form.with_comments => {
                writer.outside_before(outside, after_root)?;
                writer.out.push(b"<!--")?;
                writer.escape_returns(tree.text(*text))?;
                writer.out.push(b"-->")?;
                writer.outside_after(outside, after_root)?;
            }
            Kind::Comment(_) => {}
            Kind::ProcessingInstruction { target, data } => {
                writer.outside_before(outside, after_root)?;
                writer.out.push(b"<?")?;
                writer.out.push(tree.qualified(*target).as_bytes())?;
                let data = tree.text(*data);
                if !data.is_empty() {
                    writer.out.push(b" ")?;
                    writer.escape_returns(data)?;
                }
                writer.out.push(b"?>")?;
                writer.outside_after(outside, after_root)?;
            }
        }
        at += 1;
    }
    writer.close_until(end)?;
    writer.out.finish()?;
    Ok(())
}

struct Writer<'t, 's, S> {
    tree: &'t Tree,
    form: &'t Canonicalization,
    out: Out<'t, 's, S>,
    /// Declarations in force in the output, innermost last.
    rendered: Vec<Rendered<'t>>,
    open: Vec<Open>,
    listed: Option<Listed>,
    // Reused between elements.
    namespaces: Vec<Rendered<'t>>,
    attributes: Vec<Attribute>,
}

/// A declaration in the output.
#[derive(Clone, Copy)]
struct Rendered<'t> {
    prefix: &'t [u8],
    /// The [`key`] of the prefix.
    key: u32,
    namespace: NamespaceId,
}

/// A scope in which every listed prefix is in force that is declared there, while this many declarations are.
#[derive(Clone, Copy)]
struct Listed {
    scope: Link,
    rendered: usize,
}

struct Open {
    end: usize,
    name: Name,
    namespace: NamespaceId,
    /// Where it ends in the source.
    close: u32,
    plain_end: bool,
    /// How many declarations are in force in its content.
    rendered: usize,
}

impl Open {
    /// Where the end tag begins, if it is plain.
    fn end_tag(&self) -> u32 {
        self.close.saturating_sub(u32::from(self.name.length) + 3)
    }
}

impl<'t, S: Sink> Writer<'t, '_, S> {
    /// Writes a start tag; `apex` is given for the first.
    fn start(&mut self, element: &Element, node: &Node, apex: Option<Apex>) -> Result<(), Error> {
        let tree = self.tree;
        let is_apex = apex.is_some();
        if element.verbatim && !is_apex && self.needs_nothing(element) {
            return self.out.run(node.span.0, element.content);
        }
        self.namespaces.clear();
        if self.form.exclusive {
            self.visible_namespaces(element)
        } else {
            self.inclusive_namespaces(element, is_apex)?
        }
        if matches!(apex, Some(Apex::Token(_))) && tree.resolve(element.scope, b"").is_none_or(|default| default == NamespaceId::NONE) {
            self.namespaces.push(Rendered { prefix: b"", key: key(b""), namespace: NamespaceId::NONE });
        }
        let imports = is_apex && !self.form.exclusive;
        if self.namespaces.len() > 1 {
            self.namespaces.sort_unstable_by_key(|rendered| rendered.prefix);
        }
        if element.verbatim && !imports && self.declares_just_these(element) {
            self.rendered.append(&mut self.namespaces);
            self.remember_listed(element);
            return self.out.run(node.span.0, element.content);
        }
        self.out.push(b"<")?;
        self.out.push(tree.octets(element.name.start, element.name.end()))?;
        let mut namespaces = std::mem::take(&mut self.namespaces);
        for rendered in namespaces.drain(..) {
            let Rendered { prefix, namespace, .. } = rendered;
            self.out.push(b" xmlns")?;
            if !prefix.is_empty() {
                self.out.push(b":")?;
                self.out.push(prefix)?;
            }
            self.out.push(b"=\"")?;
            self.escape_attribute(tree.namespace(namespace))?;
            self.out.push(b"\"")?;
            self.rendered.push(rendered);
        }
        self.namespaces = namespaces;
        self.remember_listed(element);

        self.attributes.clear();
        self.attributes.extend_from_slice(tree.attributes(element));
        if imports {
            self.import_xml_attributes(node.parent());
        }
        if self.attributes.len() > 1 {
            self.attributes.sort_unstable_by(|one, other| tree.canonical_order(one, other));
        }
        let mut attributes = std::mem::take(&mut self.attributes);
        for attribute in attributes.drain(..) {
            if let Some(written) = as_written(tree, &attribute) {
                self.out.push(written)?;
                continue;
            }
            self.out.push(b" ")?;
            self.out.push(tree.octets(attribute.name.start, attribute.name.end()))?;
            self.out.push(b"=\"")?;
            if attribute.value.plain && !attribute.value.decoded {
                // Plain: nothing to escape but `>` might stand there, which attributes keep.
                self.out.push(tree.octets(attribute.value.start, attribute.value.end))?;
            } else {
                self.escape_attribute(tree.text(attribute.value))?;
            }
            self.out.push(b"\"")?;
        }
        self.attributes = attributes;
        self.out.push(b">")
    }

    /// The prefix list is looked through once for each scope, not for each element.
    fn remember_listed(&mut self, element: &Element) {
        if self.listed.is_none() {
            self.listed = Some(Listed { scope: element.scope, rendered: self.rendered.len() });
        }
    }

    /// Whether the declarations to be written are the element's own, which stand in order where it is verbatim.
    fn declares_just_these(&self, element: &Element) -> bool {
        let own = self.tree.declarations(element);
        own.len() == self.namespaces.len()
            && own.iter().zip(&self.namespaces).all(|(own, rendered)| own.key == rendered.key && self.tree.declared(own) == rendered.prefix)
    }

    /// Whether an element neither declares nor uses anything that is not in force already.
    fn needs_nothing(&self, element: &Element) -> bool {
        self.form.exclusive
            && !element.prefixed
            && element.declarations.0 == element.declarations.1
            && (self.form.prefix_list.is_empty() || self.listed.is_some_and(|listed| listed.scope == element.scope))
            && self.is_used_around(element)
    }

    /// Whether the content of an element, whose start tag is written, is canonical as it stands. Where all that is in it declares
    /// nothing and has its prefix, that prefix, and the list's where they were looked for, are in force.
    fn needs_nothing_inside(&self, element: &Element) -> bool {
        self.form.exclusive
            && element.plain_content
            && (self.form.prefix_list.is_empty() || self.listed.is_some_and(|listed| listed.scope == element.scope))
    }

    /// Whether the element around is in the same namespace by the same prefix: what it uses itself is in force in its content.
    fn is_used_around(&self, element: &Element) -> bool {
        let prefix = |name: Name| self.tree.prefix_octets(name);
        self.open.last().is_some_and(|open| open.namespace == element.namespace && prefix(open.name) == prefix(element.name))
    }

    /// Exclusive canonicalization §3: declarations an element visibly uses, and those of the prefix list in scope.
    fn visible_namespaces(&mut self, element: &Element) {
        let tree = self.tree;
        if !self.is_used_around(element) {
            self.use_namespace(tree.prefix_octets(element.name), element.namespace);
        }
        for attribute in tree.attributes(element) {
            if attribute.name.prefix != 0 {
                self.use_namespace(tree.prefix_octets(attribute.name), attribute.namespace);
            }
        }
        if self.listed.is_some_and(|listed| listed.scope == element.scope) {
            return;
        }
        self.listed = None;
        for prefix in &self.form.prefix_list {
            match tree.resolve(element.scope, prefix.as_bytes()) {
                Some(namespace) => self.use_namespace(prefix.as_bytes(), namespace),
                None if prefix.is_empty() => self.use_namespace(b"", NamespaceId::NONE),
                None => {}
            }
        }
    }

    /// Canonical XML §2.3: at the apex all namespaces in scope, below it an element's own declarations.
    fn inclusive_namespaces(&mut self, element: &Element, is_apex: bool) -> Result<(), Error> {
        let tree = self.tree;
        let own = tree.declarations(element).iter();
        let inherited = tree.scope(if is_apex || self.open.is_empty() { element.scope } else { Link::NONE });
        let mut seen: Vec<&[u8]> = Vec::new();
        for declaration in own.chain(inherited) {
            let prefix = tree.octets(declaration.prefix.0, declaration.prefix.1);
            // The innermost declaration of a prefix comes first and hides the others.
            if seen.contains(&prefix) {
                continue;
            }
            seen.push(prefix);
            let name = tree.namespace(declaration.namespace);
            if !name.is_empty() && !name.contains(':') {
                return Err(Error::RelativeNamespace);
            }
            self.use_namespace(prefix, declaration.namespace);
        }
        Ok(())
    }

    /// Adds a declaration unless it is in force already.
    fn use_namespace(&mut self, prefix: &'t [u8], namespace: NamespaceId) {
        let key = key(prefix);
        let same = |known: &&Rendered<'_>| known.key == key && known.prefix == prefix;
        if prefix == b"xml" || self.namespaces.iter().any(|known| same(&known)) {
            return;
        }
        let in_force = self.rendered.iter().rev().find(same).map(|known| known.namespace);
        let same = match in_force {
            Some(held) => held == namespace || self.tree.namespace_octets(held) == self.tree.namespace_octets(namespace),
            // No default namespace is in force where none was declared.
            None => namespace == NamespaceId::NONE,
        };
        if !same {
            self.namespaces.push(Rendered { prefix, key, namespace });
        }
    }

    /// Canonical XML §2.4: an apex takes the `xml:` attributes of its omitted ancestors, the nearest first.
    fn import_xml_attributes(&mut self, mut ancestor: Option<NodeId>) {
        while let Some(node) = ancestor.and_then(|id| self.tree.node(id)) {
            if let Kind::Element(element) = &node.kind {
                for attribute in self.tree.attributes(element).iter().filter(|attribute| attribute.namespace == NamespaceId::XML) {
                    let local = self.tree.local(attribute.name);
                    let known = self.attributes.iter().any(|own| own.namespace == NamespaceId::XML && self.tree.local(own.name) == local);
                    if !known {
                        self.attributes.push(*attribute);
                    }
                }
            }
            ancestor = node.parent();
        }
    }

    fn close_until(&mut self, at: usize) -> Result<(), Error> {
        while self.open.last().is_some_and(|open| open.end <= at) {
            let Some(open) = self.open.pop() else { break };
            // `</name>` without white space stands in the source already.
            if open.plain_end {
                self.out.run(open.end_tag(), open.close)?;
            } else {
                self.out.push(b"</")?;
                self.out.push(self.tree.octets(open.name.start, open.name.end()))?;
                self.out.push(b">")?;
            }
            let before = self.open.last().map_or(0, |outer| outer.rendered);
            self.rendered.truncate(before);
            if self.listed.is_some_and(|listed| before < listed.rendered) {
                self.listed = None;
            }
        }
        Ok(())
    }

    /// Canonical XML §2.1: a line feed stands between the root element and what surrounds it.
    fn outside_before(&mut self, outside: bool, after_root: bool) -> Result<(), Error> {
        if outside && after_root { self.out.push(b"\n") } else { Ok(()) }
    }

    fn outside_after(&mut self, outside: bool, after_root: bool) -> Result<(), Error> {
        if outside && !after_root { self.out.push(b"\n") } else { Ok(()) }
    }

    fn text(&mut self, text: Text) -> Result<(), Error> {
        if text.plain && !text.decoded {
            return self.out.run(text.start, text.end);
        }
        self.escape(self.tree.text(text), |octet| match octet {
            b'&' => Some(b"&amp;"),
            b'<' => Some(b"&lt;"),
            b'>' => Some(b"&gt;"),
            b'\r' => Some(b"&#xD;"),
            _ => None,
        })
    }

    fn escape_attribute(&mut self, text: &str) -> Result<(), Error> {
        self.escape(text, |octet| match octet {
            b'&' => Some(b"&amp;"),
            b'<' => Some(b"&lt;"),
            b'"' => Some(b"&quot;"),
            b'\t' => Some(b"&#x9;"),
            b'\n' => Some(b"&#xA;"),
            b'\r' => Some(b"&#xD;"),
            _ => None,
        })
    }

    fn escape_returns(&mut self, text: &str) -> Result<(), Error> {
        self.escape(text, |octet| if octet == b'\r' { Some(b"&#xD;") } else { None })
    }

    fn escape(&mut self, text: &str, escaped: impl Fn(u8) -> Option<&'static [u8]>) -> Result<(), Error> {
        let octets = text.as_bytes();
        // Without a branch for each octet: what is escaped anywhere is among these.
        let special = |octet: u8| (octet < b' ') | (octet == b'&') | (octet == b'<') | (octet == b'>') | (octet == b'"');
        if !octets.iter().fold(false, |found, octet| found | special(*octet)) {
            return self.out.push(octets);
        }
        let mut from = 0;
        for (at, octet) in octets.iter().enumerate() {
            if let Some(reference) = escaped(*octet) {
                self.out.push(octets.get(from..at).unwrap_or_default())?;
                self.out.push(reference)?;
                from = at + 1;
            }
        }
        self.out.push(octets.get(from..).unwrap_or_default())
    }
}

/// An attribute with the blank before it, where it stands in the source as it has to be written.
fn as_written<'t>(tree: &'t Tree, attribute: &Attribute) -> Option<&'t [u8]> {
    let Attribute { name, value, .. } = attribute;
    if !value.plain || value.decoded || value.start != name.end() + 2 {
        return None;
    }
    let octets = tree.octets(name.start.checked_sub(1)?, value.end + 1);
    let length = usize::from(name.length);
    (octets.first() == Some(&b' ') && octets.get(length + 1..length + 3) == Some(b"=\"")).then_some(octets)
}

/// Gathers small writes, so that a hasher sees large ones, and holds the limit.
struct Out<'t, 's, S> {
    sink: &'s mut S,
    buffer: Vec<u8>,
    source: &'t [u8],
    /// Octets of the source that come next: what is canonical as it stands is not copied piece by piece.
    run: Range<usize>,
    written: usize,
    limit: usize,
}

const CHUNK: usize = 4096;
/// More than most documents have of anything at once.
const FEW: usize = 16;

impl<S: Sink> Out<'_, '_, S> {
    /// Writes a span of the source.
    #[inline]
    fn run(&mut self, start: u32, end: u32) -> Result<(), Error> {
        let (start, end) = (start as usize, end as usize);
        if self.run.end == start {
            self.run.end = end;
            return Ok(());
        }
        if !self.run.is_empty() {
            self.end_run()?;
        }
        self.run = start..end;
        Ok(())
    }

    fn end_run(&mut self) -> Result<(), Error> {
        let octets = self.source.get(self.run.clone()).unwrap_or_default();
        self.run = 0..0;
        self.append(octets)
    }

    #[inline]
    fn push(&mut self, octets: &[u8]) -> Result<(), Error> {
        if !self.run.is_empty() {
            self.end_run()?;
        }
        self.append(octets)
    }

    fn append(&mut self, octets: &[u8]) -> Result<(), Error> {
        self.written += octets.len();
        if self.written > self.limit {
            return Err(Error::CanonicalTooLong { limit: self.limit });
        }
        if self.buffer.len() + octets.len() > CHUNK {
            self.sink.take(&self.buffer);
            self.buffer.clear();
            if octets.len() > CHUNK {
                self.sink.take(octets);
                return Ok(());
            }
        }
        self.buffer.extend_from_slice(octets);
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.end_run()?;
        self.sink.take(&self.buffer);
        self.buffer.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn canonical(text: &str, form: &Canonicalization) -> String {
        String::from_utf8(canonicalize(text.as_bytes(), &Limits::MESSAGE, form).unwrap()).unwrap()
    }

    #[test]
    fn texts_and_attributes_are_escaped_as_the_standard_says() {
        let document = "<?xml version='1.0'?>\r\n<!-- c --><?pi  data ?><a b='\"&#9;&#xA;&#13;&lt;&gt;&apos; x\ty' c=\"1\">&gt;&amp;&#xD;<![CDATA[<&]]>\r\nz<!--in--></a>\n<?end?>\n";
        assert_eq!(
            canonical(document, &Canonicalization::EXCLUSIVE),
            "<?pi data ?>\n<a b=\"&quot;&#x9;&#xA;&#xD;&lt;>' x y\" c=\"1\">&gt;&amp;&#xD;&lt;&amp;\nz</a>\n<?end?>"
        );
        assert!(canonical(document, &Canonicalization::INCLUSIVE.with_comments()).starts_with("<!-- c -->\n<?pi data ?>\n<a "));
    }

    #[test]
    fn exclusive_renders_what_is_used_where_it_is_used() {
        let document =
            "<a xmlns='urn:a' xmlns:b='urn:b' xmlns:c='urn:c'><b:x c:y='1' z='2'><b:in/></b:x><d xmlns=''><e xmlns='urn:a'/></d></a>";
        assert_eq!(
            canonical(document, &Canonicalization::EXCLUSIVE),
            "<a xmlns=\"urn:a\"><b:x xmlns:b=\"urn:b\" xmlns:c=\"urn:c\" z=\"2\" c:y=\"1\"><b:in></b:in></b:x><d xmlns=\"\"><e xmlns=\"urn:a\"></e></d></a>"
        );
        let listed = Canonicalization { prefix_list: vec!["c".into()], ..Canonicalization::EXCLUSIVE };
        assert!(canonical(document, &listed).starts_with("<a xmlns=\"urn:a\" xmlns:c=\"urn:c\"><b:x xmlns:b=\"urn:b\" z="));
    }

    #[test]
    fn inclusive_renders_all_that_is_in_scope() {
        let document = "<a xmlns:b='urn:b' xmlns='urn:a'><c xmlns:b='urn:b'><d xmlns:b='urn:other' xmlns=''/></c></a>";
        assert_eq!(
            canonical(document, &Canonicalization::INCLUSIVE),
            "<a xmlns=\"urn:a\" xmlns:b=\"urn:b\"><c><d xmlns=\"\" xmlns:b=\"urn:other\"></d></c></a>"
        );
        let relative = canonicalize(b"<a xmlns='rel'/>", &Limits::MESSAGE, &Canonicalization::INCLUSIVE);
        assert_eq!(relative, Err(Error::RelativeNamespace));
    }

    #[test]
    fn a_subtree_takes_namespaces_and_xml_attributes_of_its_ancestors() {
        let document = b"<a xmlns:u='urn:u' xmlns='urn:d' xml:lang='en' xml:space='preserve'><b xml:lang='de'><c u:x='1'/></b></a>";
        let tree = crate::parse::parse(document, &Limits::MESSAGE).unwrap();
        let mut octets = Vec::new();
        write(&tree, Apex::Element(NodeId(2)), None, &Canonicalization::INCLUSIVE, &Limits::MESSAGE, &mut octets).unwrap();
        assert_eq!(
            String::from_utf8(octets).unwrap(),
            "<c xmlns=\"urn:d\" xmlns:u=\"urn:u\" xml:lang=\"de\" xml:space=\"preserve\" u:x=\"1\"></c>"
        );
    }

    #[test]
    fn an_omitted_subtree_is_not_there() {
        let tree = crate::parse::parse(b"<a><s><x/></s>t</a>", &Limits::MESSAGE).unwrap();
        let mut octets = Vec::new();
        write(&tree, Apex::Document, Some(NodeId(1)), &Canonicalization::EXCLUSIVE, &Limits::MESSAGE, &mut octets).unwrap();
        assert_eq!(octets, b"<a>t</a>");
    }

    #[test]
    fn amplification_has_a_limit() {
        let declarations: String = (0..60).map(|n| format!(" xmlns:p{n}='urn:{}'", "x".repeat(1000))).collect();
        let children: String = (0..2000).map(|_| "<c/>".to_owned()).collect();
        let prefixes: Vec<String> = (0..60).map(|n| format!("p{n}")).collect();
        let used: String = (0..60).map(|n| format!(" p{n}:a='1'")).collect();
        let document = format!("<r><a{declarations}>{}</a>{children}</r>", format!("<c{used}/>").repeat(2000));
        let form = Canonicalization { prefix_list: prefixes, ..Canonicalization::EXCLUSIVE };
        let limits = Limits { canonical: 100_000, ..Limits::MESSAGE };
        assert!(matches!(canonicalize(document.as_bytes(), &limits, &form), Err(Error::CanonicalTooLong { .. } | Error::Malformed { .. })));
    }

    fn element() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![4 => "[a-z é]{0,6}", 1 => "(&gt;|>|\r|<!-- -->|<\\?p q\\?>|<!\\[CDATA\\[x?]]>|<p:e/>)"];
        leaf.prop_recursive(6, 60, 4, |inner| {
            let tags = prop_oneof![
                6 => Just(("p:e", "p:e")),
                2 => Just(("p:f b=\"1\" c=\"2\"", "p:f")),
                1 => Just(("p:g b='1'", "p:g")),
                1 => Just(("p:g c=\"1\" b=\"2\"", "p:g")),
                1 => Just(("p:g", "p:g ")),
                1 => Just(("p:g q:b=\"1\"", "p:g")),
                1 => Just(("p:h xmlns:p=\"urn:other\"", "p:h")),
                1 => Just(("p:h xmlns:q=\"urn:q\"", "p:h")),
                1 => Just(("p:h xmlns=\"urn:d\"", "p:h")),
                2 => Just(("q:i", "q:i")),
                3 => Just(("j", "j")),
                1 => Just(("j xmlns=\"\"", "j")),
            ];
            (tags, proptest::collection::vec(inner, 0..4))
                .prop_map(|((open, close), inside)| format!("<{open}>{}</{close}>", inside.concat()))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

        /// Content that is not looked at piece by piece is written as if it were, whatever begins there or is left out.
        #[test]
        fn a_run_is_what_its_pieces_are(
            inside in proptest::collection::vec(element(), 0..4),
            listed in proptest::sample::subsequence(vec!["p", "q", ""], 0..3),
            apex: prop::sample::Index,
            omit: prop::sample::Index,
            leaves_out: bool,
        ) {
            let text = format!("<p:a xmlns:p=\"urn:p\" xmlns:q=\"urn:q\" xmlns=\"urn:d\">{}</p:a>", inside.concat());
            let tree = crate::parse::parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
            let mut slow = crate::parse::parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
            for node in &mut slow.nodes {
                if let Kind::Element(element) = &mut node.kind {
                    element.plain_content = false;
                }
            }
            let node = |index: prop::sample::Index| NodeId(index.index(tree.nodes.len()) as u32);
            let listed = Canonicalization { prefix_list: listed.into_iter().map(str::to_owned).collect(), ..Canonicalization::EXCLUSIVE };
            for form in [Canonicalization::EXCLUSIVE, Canonicalization::EXCLUSIVE.with_comments(), Canonicalization::INCLUSIVE, listed] {
                for apex in [Apex::Document, Apex::Element(node(apex)), Apex::Token(node(apex))] {
                    let written = |tree: &Tree| {
                        let mut octets = Vec::new();
                        write(tree, apex, leaves_out.then(|| node(omit)), &form, &Limits::MESSAGE, &mut octets).map(|()| String::from_utf8(octets).unwrap())
                    };
                    prop_assert_eq!(written(&tree), written(&slow));
                }
            }
        }
    }
}
