//! The only parser of foreign XML (XML 1.0 fifth edition, Namespaces in XML 1.0 third edition).
//!
//! What an attacker tries: document types and entities (XXE, billion laughs), other encodings, deep or wide documents,
//! thousands of attributes or namespaces, names that two readers split differently. There is no document type here at
//! all, the five predefined entities are all there are, and every count has a limit that is checked while counting.

use std::cmp::Ordering;

use memchr::{memchr, memchr2, memchr3};

use crate::error::{Error, Malformed};
use crate::limits::Limits;
use crate::scan;
use crate::tree::{
    Attribute, Declaration, Element, Kind, Link, Name, NamespaceId, Node, NodeId, Text, Tree, XML_NAMESPACE, XMLNS_NAMESPACE, key,
};

/// Reads a document and keeps a copy of it.
pub(crate) fn parse(octets: &[u8], limits: &Limits) -> Result<Tree, Error> {
    let tree = read(octets, limits)?;
    let source = tree.source.to_owned();
    Ok(tree.over(source))
}

/// Reads a document and keeps it.
pub(crate) fn parse_owned(octets: Vec<u8>, limits: &Limits) -> Result<Tree, Error> {
    // Lets go of the octets, so that they can be taken; what was read of them stays.
    let tree = read(&octets, limits)?.over("");
    match String::from_utf8(octets) {
        Ok(source) => Ok(tree.over(source)),
        Err(error) => Err(Error::Malformed { why: Malformed::NotUtf8, at: error.utf8_error().valid_up_to() }),
    }
}

fn read<'a>(octets: &'a [u8], limits: &'a Limits) -> Result<Tree<&'a str>, Error> {
    // Spans are 32-bit; the limit of a caller cannot be beyond that.
    let size = limits.size.min(u32::MAX as usize);
    let fail = |why, at| Err(Error::Malformed { why, at });
    if octets.len() > size {
        return fail(Malformed::TooLong, size);
    }
    if octets.starts_with(&[0xff, 0xfe])
        || octets.starts_with(&[0xfe, 0xff])
        || octets.starts_with(&[0, b'<'])
        || octets.starts_with(&[b'<', 0])
    {
        return fail(Malformed::Utf16, 0);
    }
    let mark: &[u8] = &[0xef, 0xbb, 0xbf];
    let text = match std::str::from_utf8(octets) {
        Ok(text) => text,
        Err(error) => return fail(Malformed::NotUtf8, error.valid_up_to()),
    };
    if let Some(at) = forbidden_character(octets) {
        return fail(Malformed::Character, at);
    }
    let start = if octets.starts_with(mark) { mark.len() } else { 0 };
    let tree = Tree {
        source: text,
        heap: String::new(),
        nodes: Vec::with_capacity((octets.len() / 16 + 4).min(limits.nodes)),
        attributes: Vec::with_capacity(octets.len() / 64),
        declarations: Vec::with_capacity(32),
        namespaces: Vec::with_capacity(16),
        root: NodeId(0),
        likely_ids: Vec::new(),
        plaintexts: Vec::new(),
    };
    let tag = Tag { attributes: 0, canonical: false, end: 0, prefix: None };
    let open = Vec::with_capacity(limits.depth.min(16));
    Parser { text, octets, at: start, limits, tree, open, scope: Link::NONE, in_scope: 0, tag, last: None }.document()
}

struct Parser<'a> {
    text: &'a str,
    octets: &'a [u8],
    at: usize,
    limits: &'a Limits,
    tree: Tree<&'a str>,
    open: Vec<Open>,
    scope: Link,
    in_scope: usize,
    tag: Tag,
    /// What the prefix of the last element meant, and where.
    last: Option<(Name, Link, NamespaceId)>,
}

/// The start tag being read, and whether it is written as Canonical XML §2.3 writes it, so far: one space before each part,
/// quotation marks, nothing to escape, declarations first and in their order. The attributes' order is seen at the end.
#[derive(Clone, Copy)]
struct Tag {
    /// How many attributes the elements before have.
    attributes: usize,
    canonical: bool,
    /// One past what was read of it.
    end: u32,
    /// The last declared prefix.
    prefix: Option<(u32, u32)>,
}

/// An element whose end tag has not been seen.
struct Open {
    node: NodeId,
    name: Name,
    namespace: NamespaceId,
    outer: Link,
    outer_count: usize,
    /// Its start tag is canonical wherever the one around is written: it declares nothing and has the same prefix.
    blends: bool,
    /// So far everything in it is canonical as it stands.
    plain: bool,
}

impl<'a> Parser<'a> {
    fn document(mut self) -> Result<Tree<&'a str>, Error> {
        self.declaration()?;
        let mut root = None;
        loop {
            let begin = self.at;
            match self.peek() {
                None => break,
                Some(b'<') => self.markup(&mut root)?,
                Some(b' ' | b'\t' | b'\r' | b'\n') if self.open.is_empty() => self.at += 1,
                Some(_) if self.open.is_empty() => return self.fail_at(Malformed::OutsideRoot, begin),
                Some(_) => self.characters()?,
            }
        }
        if !self.open.is_empty() {
            return self.fail(Malformed::End);
        }
        match root {
            Some(root) => {
                self.tree.root = root;
                Ok(self.tree)
            }
            None => self.fail(Malformed::NoRoot),
        }
    }

    /// `<?xml version="1.0" encoding="UTF-8"?>`, where it is there.
    fn declaration(&mut self) -> Result<(), Error> {
        let begin = self.at;
        let rest = self.octets.get(begin..).unwrap_or_default();
        let Some(after) = rest.strip_prefix(b"<?xml") else { return Ok(()) };
        if !matches!(after.first(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            return Ok(());
        }
        let Some(length) = after.windows(2).take(256).position(|two| two == b"?>") else {
            return self.fail(Malformed::Declaration);
        };
        let mut rest = self.text.get(begin + 5..begin + 5 + length).unwrap_or_default();
        let mut expected = ["version", "encoding", "standalone"].iter().peekable();
        let mut first = true;
        loop {
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n']);
            if trimmed.is_empty() {
                break;
            }
            if trimmed.len() == rest.len() {
                return self.fail(Malformed::Declaration);
            }
            let Some((name, value, after)) = pseudo_attribute(trimmed) else { return self.fail(Malformed::Declaration) };
            if expected.find(|known| **known == name).is_none() || (first && name != "version") {
                return self.fail(Malformed::Declaration);
            }
            let fine = match name {
                "version" => value == "1.0",
                "encoding" if value.eq_ignore_ascii_case("utf-8") => true,
                "encoding" => return self.fail(Malformed::OtherEncoding),
                _ => matches!(value, "yes" | "no"),
            };
            if !fine {
                return self.fail(Malformed::Declaration);
            }
            first = false;
            rest = after;
        }
        if first {
            return self.fail(Malformed::Declaration);
        }
        self.at = begin + 5 + length + 2;
        Ok(())
    }

    fn markup(&mut self, root: &mut Option<NodeId>) -> Result<(), Error> {
        let begin = self.at;
        match self.octets.get(begin + 1) {
            Some(b'/') => self.end_tag(),
            Some(b'?') => self.processing_instruction(),
            Some(b'!') => {
                let rest = self.octets.get(begin + 2..).unwrap_or_default();
                if rest.starts_with(b"--") {
                    self.comment()
                } else if rest.starts_with(b"[CDATA[") {
                    if self.open.is_empty() { self.fail(Malformed::OutsideRoot) } else { self.characters() }
                } else if rest.starts_with(b"DOCTYPE") {
                    self.fail(Malformed::Doctype)
                } else {
                    self.fail(Malformed::Markup)
                }
            }
            Some(_) => {
                if self.open.is_empty() && root.is_some() {
                    return self.fail(Malformed::OutsideRoot);
                }
                let node = self.start_tag()?;
                root.get_or_insert(node);
                Ok(())
            }
            None => self.fail(Malformed::End),
        }
    }

    fn start_tag(&mut self) -> Result<NodeId, Error> {
        let begin = self.at;
        if self.open.len() >= self.limits.depth {
            return self.fail(Malformed::TooDeep);
        }
        self.at += 1;
        let name = self.name()?;
        self.tag = Tag { attributes: self.tree.attributes.len(), canonical: true, end: name.end(), prefix: None };
        let outer = self.scope;
        let outer_count = self.in_scope;
        let first_declaration = index(self.tree.declarations.len());
        let empty = loop {
            let spaced = self.skip_space();
            match self.peek() {
                Some(b'>') => {
                    self.at += 1;
                    break false;
                }
                Some(b'/') if self.octets.get(self.at + 1) == Some(&b'>') => {
                    self.at += 2;
                    break true;
                }
                Some(_) if spaced => self.attribute(first_declaration)?,
                Some(_) => return self.fail(Malformed::Markup),
                None => return self.fail(Malformed::End),
            }
        };
        let declarations = (first_declaration, index(self.tree.declarations.len()));
        let (attributes, prefixed) = self.resolve_attributes()?;
        let declares = declarations.0 != declarations.1;
        // Under the same prefix, where nothing is declared, it is in the namespace of the element around.
        let alike = if declares { None } else { self.open.last().filter(|around| self.has_prefix_of(name, around.name)) };
        let blends = alike.is_some();
        let namespace = match alike.map(|around| around.namespace) {
            Some(namespace) => namespace,
            None => self.namespace_of_element(name, begin)?,
        };
        let verbatim = !empty
            && self.tag.canonical
            && self.at == self.tag.end as usize + 1
            && (attributes.0 == attributes.1 || self.is_in_order(attributes));
        let element = Element {
            name,
            namespace,
            attributes,
            declarations,
            scope: self.scope,
            content: index(self.at),
            verbatim,
            plain_end: false,
            prefixed,
            plain_content: false,
        };
        let node = self.push(Kind::Element(element), begin)?;
        if empty {
            self.scope = outer;
            self.in_scope = outer_count;
            self.is_not_plain();
        } else {
            let blends = blends && verbatim && !prefixed;
            self.open.push(Open { node, name, namespace, outer, outer_count, blends, plain: true });
        }
        Ok(node)
    }

    fn attribute(&mut self, first_declaration: u32) -> Result<(), Error> {
        let begin = self.at;
        let name = self.name()?;
        self.skip_space();
        if self.peek() != Some(b'=') {
            return self.fail(Malformed::Markup);
        }
        self.at += 1;
        self.skip_space();
        let quote = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => quote,
            _ => return self.fail(Malformed::Markup),
        };
        self.at += 1;
        let value = self.attribute_value(quote)?;
        // All of them short: compared without calls.
        self.tag.canonical &= name.start == self.tag.end + 1
            && self.octets.get(self.tag.end as usize) == Some(&b' ')
            && value.start == name.end() + 2
            && self.octets.get(name.end() as usize) == Some(&b'=')
            && quote == b'"'
            && value.plain
            && !value.decoded;
        self.tag.end = index(self.at);
        let written = self.octets.get(name.start as usize..name.end() as usize).unwrap_or_default();
        let prefix = match written.strip_prefix(b"xmlns") {
            Some([]) => (name.end(), name.end()),
            Some([b':', ..]) => (name.start + 6, name.end()),
            _ => {
                if self.tree.attributes.len() - self.tag.attributes >= self.limits.attributes {
                    return self.fail_at(Malformed::TooManyAttributes, begin);
                }
                // What its prefix means is known when all declarations are.
                self.tree.attributes.push(Attribute { name, namespace: NamespaceId::NONE, value });
                return Ok(());
            }
        };
        self.declare(prefix, value, first_declaration, begin)
    }

    /// Namespaces in XML §3 and its constraints.
    fn declare(&mut self, prefix: (u32, u32), value: Text, first: u32, begin: usize) -> Result<(), Error> {
        if self.in_scope >= self.limits.namespaces {
            return self.fail_at(Malformed::TooManyNamespaces, begin);
        }
        let name = self.tree.octets(prefix.0, prefix.1);
        let uri = self.tree.text_octets(value);
        let is_xml = uri == XML_NAMESPACE.as_bytes();
        if name == b"xmlns" || uri == XMLNS_NAMESPACE.as_bytes() || (name == b"xml") != is_xml || (uri.is_empty() && !name.is_empty()) {
            return self.fail_at(Malformed::ReservedNamespace, begin);
        }
        let own = self.tree.declarations.get(first as usize..).unwrap_or_default();
        let key = key(name);
        if own.iter().any(|declaration| declaration.key == key && self.tree.declared(declaration) == name) {
            return self.fail_at(Malformed::DuplicateAttribute, begin);
        }
        let before = self.tag.prefix.map(|(start, end)| self.tree.octets(start, end));
        self.tag.canonical &= self.tree.attributes.len() == self.tag.attributes && before.is_none_or(|before| before < name);
        self.tag.prefix = Some(prefix);
        let namespace = self.intern(value);
        let declared = index(self.tree.declarations.len());
        self.tree.declarations.push(Declaration { prefix, key, namespace, outer: self.scope });
        self.scope = Link::to(declared);
        self.in_scope += 1;
        Ok(())
    }

    fn intern(&mut self, value: Text) -> NamespaceId {
        let uri = self.tree.text_octets(value);
        if uri.is_empty() {
            return NamespaceId::NONE;
        }
        if uri == XML_NAMESPACE.as_bytes() {
            return NamespaceId::XML;
        }
        // Linear, but only over the namespaces in scope and those before: bounded by the declarations in scope.
        let key = key(uri);
        let same = |id: NamespaceId| self.tree.namespace_key(id) == key && self.tree.namespace_octets(id) == uri;
        let known = self.tree.scope(self.scope).find(|declaration| same(declaration.namespace)).map(|d| d.namespace);
        known.or_else(|| self.interned(uri, key)).unwrap_or_else(|| {
            self.tree.namespaces.push((value, key));
            NamespaceId(index(self.tree.namespaces.len()) + 1)
        })
    }

    /// A namespace declared somewhere before and out of scope now. The number of different names is bounded here, too.
    fn interned(&self, uri: &[u8], key: u32) -> Option<NamespaceId> {
        let recent = self.tree.namespaces.len().saturating_sub(INTERNED);
        let found = self
            .tree
            .namespaces
            .iter()
            .enumerate()
            .skip(recent)
            .find(|(_, (text, known))| *known == key && self.tree.text_octets(*text) == uri);
        found.map(|(place, _)| NamespaceId(index(place) + 2))
    }

    /// Gives every attribute of the tag its namespace, and says whether one has a prefix; refuses doubles by name as written and by expanded name.
    fn resolve_attributes(&mut self) -> Result<((u32, u32), bool), Error> {
        let first = self.tag.attributes;
        let mut prefixed = false;
        for place in first..self.tree.attributes.len() {
            let Some(Attribute { name, .. }) = self.tree.attributes.get(place).copied() else { break };
            let begin = name.start as usize;
            prefixed |= name.prefix != 0;
            if matches!(self.octets.get(name.end() as usize - 1), Some(b'd' | b'D')) {
                // The element becomes the next node.
                self.tree.likely_ids.push((NodeId(index(self.tree.nodes.len())), index(place)));
            }
            let namespace = if name.prefix == 0 { NamespaceId::NONE } else { self.namespace_of(name, begin, false)? };
            // At most `limits.attributes`, so that the square is bounded.
            let double = self.tree.attributes.get(first..place).unwrap_or_default().iter().any(|other| {
                other.name.local_length() == name.local_length()
                    && self.tree.local_octets(other.name) == self.tree.local_octets(name)
                    && (self.tree.prefix_octets(other.name) == self.tree.prefix_octets(name)
                        || (name.prefix != 0
                            && other.name.prefix != 0
                            && self.tree.namespace(other.namespace) == self.tree.namespace(namespace)))
            });
            if double {
                return self.fail_at(Malformed::DuplicateAttribute, begin);
            }
            if let Some(attribute) = self.tree.attributes.get_mut(place) {
                attribute.namespace = namespace;
            }
        }
        Ok(((index(first), index(self.tree.attributes.len())), prefixed))
    }

    /// Canonical XML §2.3: by namespace name, then local name; unprefixed attributes first.
    fn is_in_order(&self, (first, end): (u32, u32)) -> bool {
        let attributes = self.tree.attributes.get(first as usize..end as usize).unwrap_or_default();
        attributes.is_sorted_by(|one, other| self.tree.canonical_order(one, other) == Ordering::Less)
    }

    fn namespace_of_element(&mut self, name: Name, begin: usize) -> Result<NamespaceId, Error> {
        if let Some((last, scope, namespace)) = self.last
            && scope == self.scope
            && self.has_prefix_of(last, name)
        {
            return Ok(namespace);
        }
        let namespace = self.namespace_of(name, begin, true)?;
        self.last = Some((name, self.scope, namespace));
        Ok(namespace)
    }

    fn namespace_of(&self, name: Name, begin: usize, element: bool) -> Result<NamespaceId, Error> {
        match self.tree.resolve(self.scope, self.tree.prefix_octets(name)) {
            Some(namespace) => Ok(namespace),
            None if name.prefix == 0 && element => Ok(NamespaceId::NONE),
            None => self.fail_at(Malformed::UndeclaredPrefix, begin),
        }
    }

    fn end_tag(&mut self) -> Result<(), Error> {
        let begin = self.at;
        self.at += 2;
        let Some(open) = self.open.pop() else { return self.fail_at(Malformed::Mismatch, begin) };
        let expected = self.octets.get(open.name.start as usize..open.name.end() as usize).unwrap_or_default();
        let rest = self.octets.get(self.at..).unwrap_or_default();
        if !rest.starts_with(expected) {
            return self.fail_at(Malformed::Mismatch, begin);
        }
        self.at += expected.len();
        let plain = !self.skip_space();
        match self.peek() {
            Some(b'>') => self.at += 1,
            Some(_) => return self.fail_at(Malformed::Mismatch, begin),
            None => return self.fail(Malformed::End),
        }
        let (end, to) = (index(self.tree.nodes.len()), index(self.at));
        let plain_content = plain && open.plain;
        if let Some(node) = self.tree.nodes.get_mut(open.node.0 as usize) {
            node.end = end;
            node.span.1 = to;
            if let Kind::Element(element) = &mut node.kind {
                element.plain_end = plain;
                element.plain_content = plain_content;
            }
        }
        if !(plain_content && open.blends) {
            self.is_not_plain();
        }
        self.scope = open.outer;
        self.in_scope = open.outer_count;
        Ok(())
    }

    /// Something in the element around is not canonical as it stands.
    fn is_not_plain(&mut self) {
        if let Some(around) = self.open.last_mut() {
            around.plain = false;
        }
    }

    /// Whether two names have the same prefix. It is short: compared without a call.
    #[inline]
    fn has_prefix_of(&self, one: Name, other: Name) -> bool {
        one.prefix == other.prefix && self.tree.prefix_octets(one).iter().eq(self.tree.prefix_octets(other))
    }

    fn comment(&mut self) -> Result<(), Error> {
        let begin = self.at;
        let start = begin + 4;
        let Some(length) = find(self.octets, start, b"--") else { return self.fail(Malformed::End) };
        if self.octets.get(start + length + 2) != Some(&b'>') {
            return self.fail_at(Malformed::CommentDashes, start + length);
        }
        let text = self.raw(start, start + length)?;
        self.at = start + length + 3;
        self.push(Kind::Comment(text), begin).map(drop)
    }

    fn processing_instruction(&mut self) -> Result<(), Error> {
        let begin = self.at;
        self.at += 2;
        let target = self.name()?;
        if target.prefix != 0 {
            return self.fail_at(Malformed::Name, begin);
        }
        if self.text.get(target.start as usize..target.end() as usize).is_some_and(|name| name.eq_ignore_ascii_case("xml")) {
            return self.fail_at(Malformed::ReservedTarget, begin);
        }
        let spaced = self.skip_space();
        let start = self.at;
        let Some(length) = find(self.octets, start, b"?>") else { return self.fail(Malformed::End) };
        if length > 0 && !spaced {
            return self.fail(Malformed::Markup);
        }
        let data = self.raw(start, start + length)?;
        self.at = start + length + 2;
        self.push(Kind::ProcessingInstruction { target, data }, begin).map(drop)
    }

    /// Text up to the next markup that is not CDATA: one node, whole, however it was written.
    fn characters(&mut self) -> Result<(), Error> {
        let begin = self.at;
        // First the common cases: a short text as it stands, and any text with nothing to decode.
        let rest = self.octets.get(begin..).unwrap_or_default();
        if let Some(length) = scan::text(rest)
            && matches!(rest.get(length..), Some([b'<', next, ..]) if *next != b'!')
            && length <= self.limits.text
        {
            self.at = begin + length;
            let text = Text { start: index(begin), end: index(self.at), decoded: false, plain: true };
            return self.push(Kind::Text(text), begin).map(drop);
        }
        let end = memchr3(b'<', b'&', b'\r', rest).map_or(self.octets.len(), |length| begin + length);
        let rest = self.octets.get(end..).unwrap_or_default();
        if matches!(rest.first(), None | Some(b'<')) && !rest.starts_with(b"<![CDATA[") {
            let plain = memchr(b'>', self.octets.get(begin..end).unwrap_or_default()).is_none();
            if !plain {
                self.no_cdata_end(begin, end)?;
            }
            if end - begin > self.limits.text {
                return self.fail_at(Malformed::TextTooLong, begin);
            }
            self.at = end;
            let text = Text { start: index(begin), end: index(end), decoded: false, plain };
            return self.push(Kind::Text(text), begin).map(drop);
        }
        let start = self.tree.heap.len();
        loop {
            match self.peek() {
                None => break,
                Some(b'<') => {
                    let rest = self.octets.get(self.at..).unwrap_or_default();
                    if !rest.starts_with(b"<![CDATA[") {
                        break;
                    }
                    let from = self.at + 9;
                    let Some(length) = find(self.octets, from, b"]]>") else { return self.fail(Malformed::End) };
                    self.append_lines(from, from + length);
                    self.at = from + length + 3;
                }
                Some(b'&') => {
                    let character = self.reference()?;
                    self.tree.heap.push(character);
                }
                Some(_) => {
                    let from = self.at;
                    let length = memchr2(b'<', b'&', self.octets.get(from..).unwrap_or_default());
                    let to = length.map_or(self.octets.len(), |length| from + length);
                    self.no_cdata_end(from, to)?;
                    self.append_lines(from, to);
                    self.at = to;
                }
            }
            if self.tree.heap.len() - start > self.limits.text {
                return self.fail_at(Malformed::TextTooLong, begin);
            }
        }
        let end = self.tree.heap.len();
        // An empty CDATA section is no node, but it has octets.
        if end == start {
            self.is_not_plain();
            return Ok(());
        }
        self.push(Kind::Text(Text { start: index(start), end: index(end), decoded: true, plain: false }), begin).map(drop)
    }

    fn no_cdata_end(&self, from: usize, to: usize) -> Result<(), Error> {
        match find(self.octets.get(..to).unwrap_or_default(), from, b"]]>") {
            Some(length) => self.fail_at(Malformed::CdataEnd, from + length),
            None => Ok(()),
        }
    }

    /// XML 1.0 §3.3.3: white space becomes spaces, references are decoded, `<` is not admitted.
    fn attribute_value(&mut self, quote: u8) -> Result<Text, Error> {
        let begin = self.at;
        let rest = self.octets.get(begin..).unwrap_or_default();
        if let Some(length) = scan::value(rest, quote)
            && rest.get(length) == Some(&quote)
            && length <= self.limits.text
        {
            self.at = begin + length + 1;
            let plain = quote == b'"' || memchr(b'"', rest.get(..length).unwrap_or_default()).is_none();
            return Ok(Text { start: index(begin), end: index(begin + length), decoded: false, plain });
        }
        let Some(length) = memchr3(quote, b'<', b'&', rest) else { return self.fail(Malformed::End) };
        let end = begin + length;
        let value = rest.get(..length).unwrap_or_default();
        // White space other than the blank; without a branch for each octet.
        let clean = rest.get(length) == Some(&quote) && !value.iter().fold(false, |found, octet| found | (*octet < b' '));
        if clean {
            if end - begin > self.limits.text {
                return self.fail_at(Malformed::TextTooLong, begin);
            }
            self.at = end + 1;
            // Between apostrophes a quotation mark may stand, which the canonical form escapes.
            let plain = quote == b'"' || memchr(b'"', value).is_none();
            return Ok(Text { start: index(begin), end: index(end), decoded: false, plain });
        }
        let start = self.tree.heap.len();
        loop {
            match self.peek() {
                None => return self.fail(Malformed::End),
                Some(octet) if octet == quote => break,
                Some(b'<') => return self.fail(Malformed::Markup),
                Some(b'&') => {
                    let character = self.reference()?;
                    self.tree.heap.push(character);
                }
                Some(b'\r') => {
                    self.tree.heap.push(' ');
                    self.at += if self.octets.get(self.at + 1) == Some(&b'\n') { 2 } else { 1 };
                }
                Some(b'\t' | b'\n') => {
                    self.tree.heap.push(' ');
                    self.at += 1;
                }
                Some(_) => {
                    let from = self.at;
                    let rest = self.octets.get(from..).unwrap_or_default();
                    let length = rest.iter().position(|octet| *octet == quote || matches!(octet, b'<' | b'&' | b'\r' | b'\n' | b'\t'));
                    let to = length.map_or(self.octets.len(), |length| from + length);
                    self.tree.heap.push_str(self.text.get(from..to).unwrap_or_default());
                    self.at = to;
                }
            }
            if self.tree.heap.len() - start > self.limits.text {
                return self.fail_at(Malformed::TextTooLong, begin);
            }
        }
        self.at += 1;
        Ok(Text { start: index(start), end: index(self.tree.heap.len()), decoded: true, plain: false })
    }

    /// `&name;`, `&#n;` or `&#xn;`.
    fn reference(&mut self) -> Result<char, Error> {
        let begin = self.at;
        let rest = self.text.get(begin + 1..).unwrap_or_default();
        let Some(length) = rest.as_bytes().iter().take(LONGEST_REFERENCE).position(|octet| *octet == b';') else {
            return self.fail(Malformed::Entity);
        };
        let body = rest.get(..length).unwrap_or_default();
        self.at = begin + length + 2;
        let number = match body {
            "lt" => return Ok('<'),
            "gt" => return Ok('>'),
            "amp" => return Ok('&'),
            "quot" => return Ok('"'),
            "apos" => return Ok('\''),
            _ => match (body.strip_prefix("#x"), body.strip_prefix('#')) {
                (Some(hex), _) if !hex.is_empty() && hex.bytes().all(|b| b.is_ascii_hexdigit()) => u32::from_str_radix(hex, 16).ok(),
                (None, Some(decimal)) if !decimal.is_empty() && decimal.bytes().all(|b| b.is_ascii_digit()) => decimal.parse().ok(),
                (_, Some(_)) => None,
                (_, None) => return self.fail_at(Malformed::Entity, begin),
            },
        };
        match number.and_then(char::from_u32).filter(|character| is_character(*character)) {
            Some(character) => Ok(character),
            None => self.fail_at(Malformed::CharacterReference, begin),
        }
    }

    /// The text of a comment or processing instruction, line ends normalised.
    fn raw(&mut self, from: usize, to: usize) -> Result<Text, Error> {
        if to - from > self.limits.text {
            return self.fail_at(Malformed::TextTooLong, from);
        }
        if memchr(b'\r', self.octets.get(from..to).unwrap_or_default()).is_none() {
            return Ok(Text { start: index(from), end: index(to), decoded: false, plain: false });
        }
        let start = self.tree.heap.len();
        self.append_lines(from, to);
        Ok(Text { start: index(start), end: index(self.tree.heap.len()), decoded: true, plain: false })
    }

    /// XML 1.0 §2.11: CR LF and CR become LF.
    fn append_lines(&mut self, from: usize, to: usize) {
        let mut rest = self.text.get(from..to).unwrap_or_default();
        while let Some((line, after)) = rest.split_once('\r') {
            self.tree.heap.push_str(line);
            self.tree.heap.push('\n');
            rest = after.strip_prefix('\n').unwrap_or(after);
        }
        self.tree.heap.push_str(rest);
    }

    /// A qualified name (Namespaces in XML §4): one colon at most, with a name on both sides.
    fn name(&mut self) -> Result<Name, Error> {
        let begin = self.at;
        let rest = self.octets.get(begin..).unwrap_or_default();
        let scan::AsciiName { mut length, mut colons, mut colon } = scan::name(rest);
        let ascii = rest.get(length).is_none_or(u8::is_ascii);
        if !ascii {
            length = self.long_name(begin);
            let written = rest.get(..length).unwrap_or_default();
            colons = written.iter().filter(|octet| **octet == b':').count();
            colon = memchr(b':', written).unwrap_or(0);
        }
        if length > self.limits.name.min(usize::from(u16::MAX)) {
            return self.fail(Malformed::NameTooLong);
        }
        let local = if colons == 0 { 0 } else { colon + 1 };
        let starts = |at: usize| matches!(rest.get(at), Some(b'a'..=b'z' | b'A'..=b'Z' | b'_')) || self.starts_name(begin + at);
        if colons > 1 || !starts(local) || (colons == 1 && !starts(0)) {
            return self.fail(Malformed::Name);
        }
        self.at = begin + length;
        // INVARIANT: the length was held against `u16::MAX`.
        let short = |length| u16::try_from(length).unwrap_or(0);
        Ok(Name { start: index(begin), prefix: short(colon), length: short(length) })
    }

    #[cold]
    fn starts_name(&self, at: usize) -> bool {
        self.text.get(at..).and_then(|rest| rest.chars().next()).is_some_and(is_name_start)
    }

    /// The length of a name with characters beyond ASCII, colons included.
    fn long_name(&self, begin: usize) -> usize {
        let rest = self.text.get(begin..).unwrap_or_default();
        rest.find(|character| character != ':' && !is_name_character(character)).unwrap_or(rest.len())
    }

    #[inline]
    fn push(&mut self, kind: Kind, begin: usize) -> Result<NodeId, Error> {
        if self.tree.nodes.len() >= self.limits.nodes {
            return self.fail_at(Malformed::TooManyNodes, begin);
        }
        let is_plain = match &kind {
            // Known at its end.
            Kind::Element(_) => true,
            Kind::Text(text) => text.plain && !text.decoded,
            Kind::Comment(_) | Kind::ProcessingInstruction { .. } => false,
        };
        if !is_plain {
            self.is_not_plain();
        }
        let id = NodeId(index(self.tree.nodes.len()));
        let above = self.open.last().map_or(Link::NONE, |open| Link::to(open.node.0));
        self.tree.nodes.push(Node { kind, above, end: id.0 + 1, span: (index(begin), index(self.at)) });
        Ok(id)
    }

    fn peek(&self) -> Option<u8> {
        self.octets.get(self.at).copied()
    }

    fn skip_space(&mut self) -> bool {
        let begin = self.at;
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
        self.at > begin
    }

    fn fail<T>(&self, why: Malformed) -> Result<T, Error> {
        self.fail_at(why, self.at)
    }

    #[expect(clippy::unused_self, reason = "reads as the parser refusing")]
    fn fail_at<T>(&self, why: Malformed, at: usize) -> Result<T, Error> {
        Err(Error::Malformed { why, at })
    }
}

/// Longest reference: `&#x10FFFF;` with some leading zeros.
const LONGEST_REFERENCE: usize = 16;
/// How many namespaces out of scope are searched before a new id is given to the same name.
const INTERNED: usize = 64;

/// INVARIANT: a document is at most `u32::MAX` octets long, and so is everything counted in it.
fn index(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

fn find(octets: &[u8], from: usize, needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(octets.get(from..)?, needle)
}

/// Where the first character stands that XML does not allow (§2.2): control characters, U+FFFE and U+FFFF.
pub(crate) fn forbidden_character(octets: &[u8]) -> Option<usize> {
    let forbidden = |octet: u8| (octet < b' ') & (octet != b'\t') & (octet != b'\n') & (octet != b'\r');
    // Without a branch for each octet, so that the whole document is looked through many octets at a time; closely where
    // there is more than what a line without white space but blanks has.
    let rough = |chunk: &[u8]| chunk.iter().fold(false, |found, octet| found | (*octet < b' ') | (*octet == 0xef));
    let close = |chunk: &[u8]| chunk.iter().fold(false, |found, octet| found | forbidden(*octet) | (*octet == 0xef));
    if !octets.chunks(256).any(|chunk| rough(chunk) && close(chunk)) {
        return None;
    }
    let at = |place: usize| octets.get(place..place + 3).is_some_and(|three| matches!(three, [0xef, 0xbf, 0xbe | 0xbf]));
    octets.iter().enumerate().position(|(place, octet)| forbidden(*octet) || (*octet == 0xef && at(place)))
}

/// `name="value"` at the beginning of an XML declaration's rest.
fn pseudo_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let (name, rest) = text.split_once('=')?;
    let name = name.trim_end_matches([' ', '\t', '\r', '\n']);
    let rest = rest.trim_start_matches([' ', '\t', '\r', '\n']);
    let quote = rest.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let (value, after) = rest.get(1..)?.split_once(quote)?;
    Some((name, value, after))
}

/// XML 1.0 production 2.
fn is_character(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// XML 1.0 production 4, without the colon.
fn is_name_start(character: char) -> bool {
    matches!(character,
        'a'..='z' | 'A'..='Z' | '_' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}' | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}'
        | '\u{37f}'..='\u{1fff}' | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}' | '\u{3001}'..='\u{d7ff}'
        | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}' | '\u{10000}'..='\u{effff}')
}

/// XML 1.0 production 4a, without the colon.
fn is_name_character(character: char) -> bool {
    is_name_start(character) || matches!(character, '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn why(document: &str) -> Malformed {
        match parse(document.as_bytes(), &Limits::MESSAGE) {
            Err(Error::Malformed { why, .. }) => why,
            other => panic!("{document}: {other:?}"),
        }
    }

    #[test]
    fn what_is_not_admitted_is_named() {
        for (document, expected) in [
            ("<!DOCTYPE a><a/>", Malformed::Doctype),
            ("<a><!DOCTYPE b></a>", Malformed::Doctype),
            ("<a>&x;</a>", Malformed::Entity),
            ("<a b='&x;'/>", Malformed::Entity),
            ("<a>&#0;</a>", Malformed::CharacterReference),
            ("<a>&#xD800;</a>", Malformed::CharacterReference),
            ("<a>&#x;</a>", Malformed::CharacterReference),
            ("<a>\u{1}</a>", Malformed::Character),
            ("<a>\u{ffff}</a>", Malformed::Character),
            ("<a b='\u{fffe}'/>", Malformed::Character),
            ("<!--\u{1}--><a/>", Malformed::Character),
            ("<a", Malformed::End),
            ("<a>", Malformed::End),
            ("<a></b>", Malformed::Mismatch),
            ("<a></ab>", Malformed::Mismatch),
            ("</a>", Malformed::Mismatch),
            ("<a/><b/>", Malformed::OutsideRoot),
            ("<a/>x", Malformed::OutsideRoot),
            ("x<a/>", Malformed::OutsideRoot),
            ("<a/><![CDATA[]]>", Malformed::OutsideRoot),
            ("", Malformed::NoRoot),
            ("<!-- -->", Malformed::NoRoot),
            ("<a b='1' b='2'/>", Malformed::DuplicateAttribute),
            ("<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>", Malformed::DuplicateAttribute),
            ("<a xmlns:p='u' xmlns:p='v'/>", Malformed::DuplicateAttribute),
            ("<a xmlns='u' xmlns='v'/>", Malformed::DuplicateAttribute),
            ("<p:a/>", Malformed::UndeclaredPrefix),
            ("<a p:b='1'/>", Malformed::UndeclaredPrefix),
            ("<a xmlns:p=''/>", Malformed::ReservedNamespace),
            ("<a xmlns:xml='u'/>", Malformed::ReservedNamespace),
            ("<a xmlns:xmlns='u'/>", Malformed::ReservedNamespace),
            ("<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>", Malformed::ReservedNamespace),
            ("<a xmlns='http://www.w3.org/2000/xmlns/'/>", Malformed::ReservedNamespace),
            ("<a:b:c/>", Malformed::Name),
            ("<:a/>", Malformed::Name),
            ("<a:/>", Malformed::Name),
            ("<1a/>", Malformed::Name),
            ("<a b=1/>", Malformed::Markup),
            ("<a b='1'c='2'/>", Malformed::Markup),
            ("<a b='<'/>", Malformed::Markup),
            ("<a / >", Malformed::Name),
            ("<a b='1'/ >", Malformed::Markup),
            ("<a>]]></a>", Malformed::CdataEnd),
            ("<a>&amp;]]></a>", Malformed::CdataEnd),
            ("<a><!-- -- --></a>", Malformed::CommentDashes),
            ("<a><?xml ?></a>", Malformed::ReservedTarget),
            (" <?xml version='1.0'?><a/>", Malformed::ReservedTarget),
            ("<?xml version='1.0' encoding='ISO-8859-1'?><a/>", Malformed::OtherEncoding),
            ("<?xml version='1.1'?><a/>", Malformed::Declaration),
            ("<?xml encoding='UTF-8'?><a/>", Malformed::Declaration),
        ] {
            assert_eq!(why(document), expected, "{document}");
        }
        assert_eq!(parse(b"\xff\xfe<\0a\0", &Limits::MESSAGE).unwrap_err(), Error::Malformed { why: Malformed::Utf16, at: 0 });
        assert_eq!(parse(b"<a>\xc3</a>", &Limits::MESSAGE).unwrap_err(), Error::Malformed { why: Malformed::NotUtf8, at: 3 });
    }

    #[test]
    fn every_limit_holds() {
        let cases: [(String, Malformed); 6] = [
            ("<a>".repeat(100), Malformed::TooDeep),
            (format!("<a>{}</a>", "<b/>".repeat(60_000)), Malformed::TooManyNodes),
            (format!("<a {}/>", (0..100).map(|n| format!("b{n}='' ")).collect::<String>()), Malformed::TooManyAttributes),
            (format!("<a {}/>", (0..100).map(|n| format!("xmlns:b{n}='u' ")).collect::<String>()), Malformed::TooManyNamespaces),
            (format!("<{}/>", "a".repeat(2000)), Malformed::NameTooLong),
            (format!("<a>{}</a>", "x".repeat(2 << 20)), Malformed::TooLong),
        ];
        for (document, expected) in cases {
            assert_eq!(why(&document), expected, "{:.40}", document);
        }
        let limits = Limits { text: 10, ..Limits::MESSAGE };
        for document in [
            "<a>01234567890</a>",
            "<a b='01234567890'/>",
            "<a>&amp;1234567890</a>",
            "<a><![CDATA[01234567890]]></a>",
            "<!--01234567890--><a/>",
        ] {
            assert!(matches!(parse(document.as_bytes(), &limits), Err(Error::Malformed { why: Malformed::TextTooLong, .. })), "{document}");
        }
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(octets in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&octets, &Limits::MESSAGE);
        }

        #[test]
        fn any_markup_is_read_or_refused_and_canonical_forms_are_stable(document in "(<[ab]( [xy]='[&;a#1 ]{0,3}')?( xmlns(:[ab])?='[uv]?')?/?>|</[ab]>|[a&;\r\n]|<!--a-->|<\\?p a\\?>|<!\\[CDATA\\[<]\\]>){0,12}") {
            let form = crate::c14n::Canonicalization::EXCLUSIVE.with_comments();
            if let Ok(first) = crate::c14n::canonicalize(document.as_bytes(), &Limits::MESSAGE, &form) {
                let second = crate::c14n::canonicalize(&first, &Limits::MESSAGE, &form).unwrap();
                prop_assert_eq!(first, second);
            }
        }
    }
}
