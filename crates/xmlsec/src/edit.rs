//! Inserting and removing elements of the received octets, so that what is forwarded is what was received but for that.
//!
//! Writing a tree anew would change quotes, white space and prefixes, and break signatures of others. What an attacker tries:
//! content that ends the element it stands in, or that takes another meaning from the prefixes around it; so only a
//! [`Fragment`] is inserted. Whether the result is well-formed and within the limits is mostly known by counting; where that
//! leaves a doubt, the result is read again.

use std::borrow::Cow;
use std::sync::Arc;

use crate::document::Document;
use crate::element::{ElementView, Place, Unsigned};
use crate::error::Error;
use crate::fragment::{Extent, Fragment, most_in_scope};
use crate::parse::forbidden_character;
use crate::tree::{Kind, NodeId, XML_NAMESPACE, XMLNS_NAMESPACE};
use crate::write::escape;

/// Where an element is inserted.
#[derive(Debug, Clone, Copy)]
pub enum Insertion<'a> {
    /// As the first thing in an element.
    FirstIn(&'a Place),
    /// As the last thing in an element.
    LastIn(&'a Place),
    /// Directly in front of an element that is not the root.
    Before(&'a Place),
    /// Directly behind an element that is not the root.
    After(&'a Place),
}

/// One change of a document. Several are made at once, each at octets of the document as received.
#[derive(Debug, Clone, Copy)]
pub enum Edit<'a> {
    /// Inserts one element.
    Insert(Insertion<'a>, &'a Fragment),
    /// Removes an element that is not the root.
    Remove(&'a Place),
    /// Puts text in the place of an element that is not the root.
    Text(&'a Place, &'a str),
    /// Gives an element an attribute that it does not have.
    Attribute(&'a Place, NewAttribute<'a>),
    /// Takes an attribute away, by namespace and local name. Where there is none, nothing changes.
    WithoutAttribute(&'a Place, &'a str, &'a str),
}

/// An attribute in a namespace. A prefix that is in scope for it is used; else one that nobody uses there is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewAttribute<'a> {
    /// The namespace name, not empty.
    pub namespace: &'a str,
    /// The prefix to begin with where one has to be found.
    pub prefix: &'a str,
    /// The local name.
    pub local: &'a str,
    /// The value, to be escaped.
    pub value: &'a str,
}

impl Document {
    /// The octets with these changes; every other octet is as it was received. Insertions at one place stand in the order
    /// given.
    ///
    /// # Errors
    /// [`Error::ElementMissing`] for a place of another document or a place beside the root, [`Error::Ambiguous`] where
    /// something is changed inside what is removed, [`Error::Malformed`] if the result is not well-formed or exceeds the
    /// limits: exactly if reading it would be refused.
    pub fn edit(&self, edits: &[Edit<'_>]) -> Result<Vec<u8>, Error> {
        let mut cuts = Vec::with_capacity(edits.len());
        for edit in edits {
            cuts.push(self.cut(*edit)?);
        }
        let is_sure = self.is_sure(&cuts);
        // Stable: insertions at one place keep their order. A removal ends before what is inserted behind it.
        cuts.sort_by_key(|cut| (cut.from, cut.to));
        let source = self.tree.source.as_bytes();
        let mut out = Vec::with_capacity(source.len() + cuts.iter().map(Cut::length).sum::<usize>());
        let mut at = 0;
        let overlap = || Error::Ambiguous("change of one element".to_owned());
        let mut cuts = cuts.iter().peekable();
        let mut is_open = false;
        while let Some(cut) = cuts.next() {
            out.extend_from_slice(source.get(at..cut.from).ok_or_else(overlap)?);
            // An empty tag is opened once, however much is put into it.
            if cut.opened.is_some() && !is_open {
                out.push(b'>');
            }
            out.extend_from_slice(cut.text.as_bytes());
            at = cut.to;
            is_open = cut.opened.is_some() && cuts.peek().is_some_and(|next| next.opened == cut.opened && next.from == cut.from);
            match cut.opened {
                Some(_) if is_open => at = cut.from,
                Some(name) => [b"</", name.as_bytes(), b">"].into_iter().for_each(|piece| out.extend_from_slice(piece)),
                None => {}
            }
        }
        out.extend_from_slice(source.get(at..).ok_or_else(overlap)?);
        // No text is longer than the document it stands in: references only shorten.
        if !is_sure || out.len() > self.limits.text.min(self.limits.size).min(u32::MAX as usize) {
            crate::parse::parse(&out, &self.limits)?;
        }
        Ok(out)
    }

    /// Whether it is certain without reading it that the result is well-formed and, but for its length, within the limits.
    fn is_sure(&self, cuts: &[Cut<'_>]) -> bool {
        let Added { in_doubt, nodes, depth, namespaces, declared, attributes, name } =
            cuts.iter().map(|cut| cut.added).fold(Added::default(), |all, one| Added {
                in_doubt: all.in_doubt | one.in_doubt,
                nodes: all.nodes + one.nodes,
                depth: all.depth.max(one.depth),
                namespaces: all.namespaces.max(one.namespaces),
                declared: all.declared + one.declared,
                attributes: all.attributes.max(one.attributes),
                name: all.name.max(one.name),
            });
        // What two changes of one tag make of it together, nobody counts.
        let mut tags = cuts.iter().filter(|cut| cut.adds_attribute).map(|cut| cut.from);
        let apart = match (tags.next(), tags.next()) {
            (None, _) | (Some(_), None) => true,
            (Some(first), Some(second)) => {
                let mut tags: Vec<usize> = [first, second].into_iter().chain(tags).collect();
                tags.sort_unstable();
                tags.is_sorted_by(|one, next| one < next)
            }
        };
        let limits = &self.limits;
        apart
            && !in_doubt
            && self.tree.nodes.len() + nodes <= limits.nodes
            && depth <= limits.depth
            && namespaces + declared <= limits.namespaces
            && attributes <= limits.attributes
            && name <= limits.name.min(usize::from(u16::MAX))
    }

    fn cut<'t>(&'t self, edit: Edit<'t>) -> Result<Cut<'t>, Error> {
        let (insertion, fragment) = match edit {
            Edit::Remove(place) => return self.replaced(place, ""),
            Edit::Text(place, text) => return self.replaced(place, text),
            Edit::Attribute(place, attribute) => return self.with_attribute(place, attribute),
            Edit::WithoutAttribute(place, namespace, local) => return self.without_attribute(place, namespace, local),
            Edit::Insert(insertion, fragment) => (insertion, fragment),
        };
        let here = |at: usize, around: Option<NodeId>| Cut {
            from: at,
            to: at,
            text: Cow::Borrowed(&**fragment),
            opened: None,
            adds_attribute: false,
            added: self.added(&fragment.extent, around),
        };
        match insertion {
            Insertion::Before(place) => {
                let view = self.inner(place)?;
                Ok(here(view.span().0, self.around(place)))
            }
            Insertion::After(place) => {
                let view = self.inner(place)?;
                Ok(here(view.span().1, self.around(place)))
            }
            Insertion::FirstIn(place) | Insertion::LastIn(place) => {
                let element_view = self.at(place)?;
                let data = self.element(place)?;
                let (content, (start, end)) = (data.content as usize, element_view.span());
                let source = self.tree.source.get(start..end).unwrap_or_default();
                if source.ends_with("/>") && content == end {
                    // An empty tag is opened; nothing else of it changes.
                    let opened = Some(self.tree.qualified(data.name));
                    return Ok(Cut { to: end, opened, ..here(end - 2, Some(place.id)) });
                }
                match insertion {
                    Insertion::FirstIn(_) => Ok(here(content, Some(place.id))),
                    Insertion::LastIn(_) | Insertion::Before(_) | Insertion::After(_) => {
                        // The end tag is the last thing in the span that begins with `<`.
                        let close = source.rfind('<').ok_or_else(|| element_view.unreadable("an element without end tag"))?;
                        Ok(here(start + close, Some(place.id)))
                    }
                }
            }
        }
    }

    fn around(&self, place: &Place) -> Option<NodeId> {
        self.tree.node(place.id).and_then(crate::tree::Node::parent)
    }

    /// What a fragment of this extent adds in the content of an element.
    fn added(&self, extent: &Extent, around: Option<NodeId>) -> Added {
        let elements = std::iter::successors(around, |id| self.tree.node(*id)?.parent());
        let scope = around.and_then(|id| self.tree.node(id)).map_or(0, |node| match &node.kind {
            Kind::Element(element) => self.tree.scope(element.scope).count(),
            Kind::Text(_) | Kind::Comment(_) | Kind::ProcessingInstruction { .. } => 0,
        });
        Added {
            in_doubt: false,
            nodes: extent.nodes,
            depth: elements.count() + extent.depth,
            namespaces: scope + extent.namespaces,
            declared: 0,
            attributes: extent.attributes,
            name: extent.name,
        }
    }

    /// Text in the place of an element.
    fn replaced(&self, place: &Place, text: &str) -> Result<Cut<'static>, Error> {
        let (from, to) = self.inner(place)?.span();
        let mut escaped = String::with_capacity(text.len());
        escape(text, &mut escaped);
        // Texts on both sides become one, in which `]]>` may have come together.
        let before = from.checked_sub(1).and_then(|at| self.tree.source.as_bytes().get(at));
        let is_sure = before != Some(&b']') && !text.ends_with(']') && forbidden_character(text.as_bytes()).is_none();
        let added = Added { in_doubt: !is_sure, nodes: 1, ..Added::default() };
        Ok(Cut { from, to, text: Cow::Owned(escaped), opened: None, adds_attribute: false, added })
    }

    fn with_attribute(&self, place: &Place, new: NewAttribute<'_>) -> Result<Cut<'static>, Error> {
        let element = self.at(place)?;
        let data = self.element(place)?;
        if element.attribute(new.namespace, new.local).is_some() {
            return Err(Error::Ambiguous(new.local.to_owned()));
        }
        let mut seen: Vec<&str> = Vec::new();
        let mut known = None;
        for declaration in self.tree.scope(data.scope) {
            let prefix = self.tree.source(declaration.prefix.0, declaration.prefix.1);
            // An inner declaration hides the outer ones of its prefix. No prefix means no namespace on an attribute.
            if !seen.contains(&prefix) && !prefix.is_empty() && self.tree.namespace(declaration.namespace) == new.namespace {
                known = Some(prefix.to_owned());
                break;
            }
            seen.push(prefix);
        }
        let mut text = String::from(" ");
        let mut added = Added { attributes: self.tree.attributes(&data).len() + 1, ..Added::default() };
        let prefix = match known {
            Some(prefix) => prefix,
            None => {
                added.declared = 1;
                added.namespaces = most_in_scope(&self.tree);
                let mut names = (0..).map(|count: u32| if count == 0 { new.prefix.to_owned() } else { format!("{}{count}", new.prefix) });
                let free = names.find(|name| self.tree.resolve(data.scope, name.as_bytes()).is_none());
                let free = free.ok_or_else(|| element.unreadable("an element where every prefix is in use"))?;
                text.push_str(&format!("xmlns:{free}=\""));
                escape(new.namespace, &mut text);
                text.push_str("\" ");
                free
            }
        };
        text.push_str(&format!("{prefix}:{}=\"", new.local));
        escape(new.value, &mut text);
        text.push('"');
        added.name = "xmlns:".len() + prefix.len() + new.local.len();
        let is_sure = is_plain_name(&prefix)
            && is_plain_name(new.local)
            && !matches!(new.namespace, "" | XML_NAMESPACE | XMLNS_NAMESPACE)
            && [new.namespace, new.value].iter().all(|value| forbidden_character(value.as_bytes()).is_none());
        added.in_doubt = !is_sure;
        let at = data.name.end() as usize;
        Ok(Cut { from: at, to: at, text: Cow::Owned(text), opened: None, adds_attribute: true, added })
    }

    fn without_attribute(&self, place: &Place, namespace: &str, local: &str) -> Result<Cut<'static>, Error> {
        let data = self.element(place)?;
        let is_meant = |name: crate::tree::Name, of| self.tree.local(name) == local && self.tree.namespace(of) == namespace;
        let found = self.tree.attributes(&data).iter().find(|attribute| is_meant(attribute.name, attribute.namespace));
        let Some(found) = found else {
            return Ok(Cut::without(data.name.end() as usize, data.name.end() as usize));
        };
        let unreadable = || Error::ElementMissing("attribute".to_owned());
        let source = self.tree.source.as_bytes();
        let (start, end) = (found.name.start as usize, found.name.end() as usize);
        let before = source.get(..start).ok_or_else(unreadable)?;
        let from = start - before.iter().rev().take_while(|octet| octet.is_ascii_whitespace()).count();
        // `name = "value"`: the value ends at the second of its quotation marks.
        let rest = source.get(end..).ok_or_else(unreadable)?;
        let open = rest.iter().position(|octet| matches!(octet, b'"' | b'\'')).ok_or_else(unreadable)?;
        let mark = rest.get(open).ok_or_else(unreadable)?;
        let value = rest.get(open + 1..).ok_or_else(unreadable)?;
        let length = value.iter().position(|octet| octet == mark).ok_or_else(unreadable)?;
        Ok(Cut::without(from, end + open + 1 + length + 1))
    }

    fn element(&self, place: &Place) -> Result<crate::tree::Element, Error> {
        match self.tree.node(place.id).map(|node| node.kind) {
            Some(Kind::Element(data)) => Ok(data),
            Some(Kind::Text(_) | Kind::Comment(_) | Kind::ProcessingInstruction { .. }) | None => {
                Err(Error::ElementMissing("element".to_owned()))
            }
        }
    }

    fn at(&self, place: &Place) -> Result<ElementView<'_, Unsigned>, Error> {
        if !Arc::ptr_eq(&place.tree, &self.tree) {
            return Err(Error::ElementMissing("element of this document".to_owned()));
        }
        self.view(place.id)
    }

    fn inner(&self, place: &Place) -> Result<ElementView<'_, Unsigned>, Error> {
        let view = self.at(place)?;
        if place.id == self.tree.root { Err(Error::ElementMissing("element inside the root".to_owned())) } else { Ok(view) }
    }
}

/// What replaces which octets.
struct Cut<'t> {
    from: usize,
    to: usize,
    text: Cow<'t, str>,
    /// The name of the empty tag that becomes a start tag and an end tag around the text.
    opened: Option<&'t str>,
    adds_attribute: bool,
    added: Added,
}

impl Cut<'_> {
    /// Takes octets out of a start tag.
    fn without(from: usize, to: usize) -> Self {
        Self { from, to, text: Cow::Borrowed(""), opened: None, adds_attribute: false, added: Added::default() }
    }

    /// The most octets it writes.
    fn length(&self) -> usize {
        self.text.len() + self.opened.map_or(0, |name| name.len() + ">".len() + "</>".len())
    }
}

/// What limits count of a change, or more.
#[derive(Clone, Copy, Default)]
struct Added {
    /// It cannot be known without reading the result.
    in_doubt: bool,
    nodes: usize,
    /// How deep it reaches.
    depth: usize,
    /// Declarations that are in scope where most are.
    namespaces: usize,
    /// Declarations that it makes around others.
    declared: usize,
    /// The most attributes of an element.
    attributes: usize,
    /// Octets of the longest name.
    name: usize,
}

/// A name that begins with a letter and has no colon. Those that begin with `xml` have meanings of their own.
fn is_plain_name(name: &str) -> bool {
    let is_reserved = name.get(..3).is_some_and(|begin| begin.eq_ignore_ascii_case("xml"));
    !is_reserved
        && name.starts_with(|first: char| first.is_ascii_alphabetic())
        && name.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'_' | b'-' | b'.'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::document::FromClaimed;
    use crate::error::Malformed;
    use crate::limits::Limits;

    /// Every element, in document order.
    struct Places(Vec<Place>);

    impl FromClaimed for Places {
        fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
            fn visit(element: ElementView<'_, Unsigned>, out: &mut Vec<Place>) {
                out.push(element.place());
                element.children().for_each(|child| visit(child, out));
            }
            let mut out = Vec::new();
            visit(root, &mut out);
            Ok(Self(out))
        }
    }

    fn read(text: &str) -> (Document, Vec<Place>) {
        let document = Document::parse(text.as_bytes(), &Limits::MESSAGE).unwrap();
        let places = document.claim::<Places>().unwrap().sender_says().0.clone();
        (document, places)
    }

    fn edited(text: &str, make: impl for<'a> Fn(&'a [Place]) -> Vec<Edit<'a>>) -> Result<String, Error> {
        let (document, places) = read(text);
        document.edit(&make(&places)).map(|octets| String::from_utf8(octets).unwrap())
    }

    const NEW: &str = "<n xmlns='urn:n'/>";

    fn fragment(xml: &str) -> Fragment {
        Fragment::parse(xml, &Limits::MESSAGE).unwrap()
    }

    #[test]
    fn insertions_stand_where_they_should() {
        let new = fragment(NEW);
        let text = "<?xml version='1.0'?><a xmlns=\"urn:a\" > t <b\n/> u <c>é</c  > v </a >\n<!-- <z/> -->";
        let at = |place: usize, make: fn(&Place) -> Insertion<'_>| {
            let (document, places) = read(text);
            String::from_utf8(document.edit(&[Edit::Insert(make(&places[place]), &new)]).unwrap()).unwrap()
        };
        assert_eq!(at(0, |place| Insertion::FirstIn(place)), text.replace("> t", &format!(">{NEW} t")));
        assert_eq!(at(0, |place| Insertion::LastIn(place)), text.replace("</a >", &format!("{NEW}</a >")));
        assert_eq!(at(1, |place| Insertion::FirstIn(place)), text.replace("<b\n/>", &format!("<b\n>{NEW}</b>")));
        assert_eq!(at(1, |place| Insertion::LastIn(place)), text.replace("<b\n/>", &format!("<b\n>{NEW}</b>")));
        assert_eq!(at(1, |place| Insertion::Before(place)), text.replace("<b", &format!("{NEW}<b")));
        assert_eq!(at(1, |place| Insertion::After(place)), text.replace("\n/>", &format!("\n/>{NEW}")));
        assert_eq!(at(2, |place| Insertion::FirstIn(place)), text.replace(">é", &format!(">{NEW}é")));
        assert_eq!(at(2, |place| Insertion::LastIn(place)), text.replace("é<", &format!("é{NEW}<")));
    }

    #[test]
    fn several_edits_are_made_at_once() {
        let (other, new) = (fragment("<o xmlns='urn:o'/>"), fragment(NEW));
        let (document, places) = read("<a><b/><c/></a>");
        let made = document.edit(&[
            Edit::Insert(Insertion::After(&places[2]), &other),
            Edit::Remove(&places[1]),
            Edit::Insert(Insertion::Before(&places[2]), &new),
            Edit::Insert(Insertion::Before(&places[2]), &other),
        ]);
        assert_eq!(String::from_utf8(made.unwrap()).unwrap(), format!("<a>{NEW}{}<c/>{}</a>", &*other, &*other));
        assert_eq!(edited("<a/>", |_| Vec::new()).unwrap(), "<a/>");
        let (document, places) = read("<p:a xmlns:p='urn:p' />");
        let both =
            document.edit(&[Edit::Insert(Insertion::FirstIn(&places[0]), &new), Edit::Insert(Insertion::LastIn(&places[0]), &other)]);
        assert_eq!(String::from_utf8(both.unwrap()).unwrap(), format!("<p:a xmlns:p='urn:p' >{NEW}{}</p:a>", &*other));
    }

    #[test]
    fn what_would_change_more_than_its_place_is_refused() {
        let insert = |element: &str| {
            let (document, places) = read("<p:a xmlns:p='urn:p' xmlns='urn:d'><b/></p:a>");
            document.edit(&[Edit::Insert(Insertion::LastIn(&places[0]), &Fragment::parse(element, &Limits::MESSAGE)?)])
        };
        assert!(insert(NEW).is_ok());
        for element in
            ["", "text", "<a/><b/>", "</p:a><p:a xmlns:p='urn:p'>", "<p:x/>", "<!-- --><n xmlns='urn:n'/>", "<n xmlns='urn:n'/> "]
        {
            assert!(insert(element).is_err(), "{element}");
        }
        for element in ["<x", "<x xmlns='urn:x'><!--</x>", "<!DOCTYPE x><x xmlns='urn:x'/>", "<x xmlns='urn:x'>&a;</x>"] {
            assert!(matches!(insert(element), Err(Error::Malformed { .. })), "{element}");
        }
        // Without a namespace it would be in that of the place.
        for element in ["<x/>", "<q:x xmlns:q='urn:q'><y/></q:x>", "<q:x xmlns:q='urn:q'><y xmlns='urn:y'/><y/></q:x>"] {
            assert!(matches!(insert(element), Err(Error::Unreadable { .. })), "{element}");
        }
        for element in ["<x xmlns=''/>", "<q:x xmlns:q='urn:q' xmlns=''><y/></q:x>", "<q:x xmlns:q='urn:q'><y xmlns=''/></q:x>"] {
            assert!(insert(element).is_ok(), "{element}");
        }
    }

    #[test]
    fn an_attribute_is_written_under_a_prefix_that_means_its_namespace() {
        let with = |text: &str, place: usize| {
            let new = NewAttribute { namespace: "urn:u", prefix: "u", local: "Id", value: "<1>\"" };
            edited(text, move |places| vec![Edit::Attribute(&places[place], new)])
        };
        let id = "Id=\"&lt;1&gt;&quot;\"";
        assert_eq!(with("<a/>", 0).unwrap(), format!("<a xmlns:u=\"urn:u\" u:{id}/>"));
        assert_eq!(with("<a b='1'>x</a>", 0).unwrap(), format!("<a xmlns:u=\"urn:u\" u:{id} b='1'>x</a>"));
        assert_eq!(with("<v:a xmlns:v='urn:u'><b/></v:a>", 1).unwrap(), format!("<v:a xmlns:v='urn:u'><b v:{id}/></v:a>"));
        // A default namespace is none for attributes, and a prefix that means something else stays what it is.
        assert_eq!(with("<a xmlns='urn:u'/>", 0).unwrap(), format!("<a xmlns:u=\"urn:u\" u:{id} xmlns='urn:u'/>"));
        let shadowed = "<a xmlns:v='urn:u' xmlns:u='urn:x'><b xmlns:v='urn:y'><u:c v:d=''/></b></a>";
        assert_eq!(with(shadowed, 1).unwrap(), shadowed.replace("<b", &format!("<b xmlns:u1=\"urn:u\" u1:{id}")));
        assert!(matches!(with("<a xmlns:v='urn:u' v:Id=''/>", 0), Err(Error::Ambiguous(_))));
    }

    #[test]
    fn an_attribute_is_taken_away_with_the_space_before_it() {
        let without = |text: &str| edited(text, |places| vec![Edit::WithoutAttribute(&places[0], "urn:u", "m")]).unwrap();
        assert_eq!(without("<a xmlns:u='urn:u'  u:m = \"1'>\" b='2'/>"), "<a xmlns:u='urn:u' b='2'/>");
        assert_eq!(without("<a xmlns:u='urn:u' b='2'\n u:m='\"'>x</a>"), "<a xmlns:u='urn:u' b='2'>x</a>");
        for same in ["<a m='1'/>", "<a xmlns:v='urn:v' v:m='1'/>", "<a/>"] {
            assert_eq!(without(same), same);
        }
    }

    #[test]
    fn text_takes_the_place_of_an_element() {
        let made = |text| edited("<a>x<b>y</b>z</a>", move |places| vec![Edit::Text(&places[1], text)]).unwrap();
        assert_eq!(made("1 < 2 & \"3\" é"), "<a>x1 &lt; 2 &amp; &quot;3&quot; éz</a>");
        assert_eq!(made(""), "<a>xz</a>");
        let (document, places) = read("<a><b/></a>");
        assert!(document.edit(&[Edit::Text(&places[1], "\u{1}")]).is_err());
        assert!(document.edit(&[Edit::Text(&places[0], "x")]).is_err());
    }

    #[test]
    fn texts_that_may_not_come_together_do_not() {
        let with = |text: &str, inside: &str| {
            let (document, places) = read(text);
            document.edit(&[Edit::Text(&places[1], inside)]).map(|octets| String::from_utf8(octets).unwrap())
        };
        for (text, inside) in [("<a>]]<b/>></a>", ""), ("<a>]<b/>]></a>", ""), ("<a><b/>]></a>", "]"), ("<a><b/>></a>", "]]")] {
            assert!(matches!(with(text, inside), Err(Error::Malformed { why: Malformed::CdataEnd, .. })), "{text}");
            assert!(with(text, "x").is_ok());
        }
        assert_eq!(edited("<a>]]<b/>></a>", |places| vec![Edit::Remove(&places[1])]), with("<a>]]<b/>></a>", ""));
        assert_eq!(with("<a>]<b/></a>", ">").unwrap(), "<a>]&gt;</a>");
    }

    #[test]
    fn two_attributes_of_one_tag_do_not_declare_a_prefix_twice() {
        let (document, places) = read("<a><b/></a>");
        let new = |local| NewAttribute { namespace: "urn:u", prefix: "u", local, value: "1" };
        let both =
            |one: usize, other: usize| document.edit(&[Edit::Attribute(&places[one], new("x")), Edit::Attribute(&places[other], new("y"))]);
        assert!(matches!(both(1, 1), Err(Error::Malformed { why: Malformed::DuplicateAttribute, .. })));
        assert!(both(0, 1).is_ok());
    }

    #[test]
    fn places_that_are_none_are_refused() {
        let (document, places) = read("<a><b><c/></b></a>");
        let (_, foreign) = read("<a><b><c/></b></a>");
        let new = &fragment(NEW);
        for edit in
            [Edit::Remove(&places[0]), Edit::Insert(Insertion::Before(&places[0]), new), Edit::Insert(Insertion::After(&places[0]), new)]
        {
            assert!(matches!(document.edit(&[edit]), Err(Error::ElementMissing(_))));
        }
        assert!(matches!(document.edit(&[Edit::Remove(&foreign[1])]), Err(Error::ElementMissing(_))));
        for edits in [
            [Edit::Remove(&places[1]), Edit::Remove(&places[2])],
            [Edit::Remove(&places[2]), Edit::Remove(&places[2])],
            [Edit::Remove(&places[1]), Edit::Insert(Insertion::LastIn(&places[2]), new)],
        ] {
            assert!(matches!(document.edit(&edits), Err(Error::Ambiguous(_))));
        }
        let small = Document::parse(b"<a><b/></a>", &Limits { size: 20, ..Limits::MESSAGE }).unwrap();
        let place = small.claim::<Places>().unwrap().sender_says().0[1].clone();
        let error = small.edit(&[Edit::Insert(Insertion::After(&place), new)]).unwrap_err();
        assert!(matches!(error, Error::Malformed { why: Malformed::TooLong, .. }));
    }

    fn element() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            "[a-z é\\n\r\\t]{0,6}",
            Just("<!-- </a> -->".to_owned()),
            Just("<![CDATA[</a>]]>".to_owned()),
            Just("&#13;&gt;".to_owned()),
            Just("<?p </a>?>".to_owned()),
            Just("<e/>".to_owned()),
            Just("<e  b='>' />".to_owned()),
            Just("<p:e xmlns:u='urn:u' xmlns:w='urn:w' u:Id='1' c='2' w:d='&lt;'/>".to_owned()),
        ];
        let inside = leaf.prop_recursive(4, 30, 5, |inner| {
            let names = prop_oneof![Just("e"), Just("p:f"), Just("p:g xmlns:p='urn:q'"), Just("h xmlns=''")];
            (names, proptest::collection::vec(inner, 0..5)).prop_map(|(open, inside)| {
                let name = open.split(' ').next().unwrap_or_default();
                format!("<{open}>{}</{name} >", inside.concat())
            })
        });
        proptest::collection::vec(inside, 1..5).prop_map(|inside| format!("<a xmlns='urn:a' xmlns:p='urn:p'>{}</a>", inside.concat()))
    }

    /// What is done, with which of the places and with which of the fragments or texts.
    type Drawn = (usize, prop::sample::Index, usize);

    fn edits<'a>(drawn: &[Drawn], places: &'a [Place], fragments: &'a [Fragment], texts: &[&'a str]) -> Vec<Edit<'a>> {
        let one = |(what, place, with): &Drawn| {
            let place = &places[place.index(places.len())];
            let (fragment, text) = (&fragments[with % fragments.len()], texts[with % texts.len()]);
            match what % 9 {
                0 | 1 => Edit::Insert(Insertion::FirstIn(place), fragment),
                2 => Edit::Insert(Insertion::LastIn(place), fragment),
                3 => Edit::Insert(Insertion::Before(place), fragment),
                4 => Edit::Insert(Insertion::After(place), fragment),
                5 => Edit::Remove(place),
                6 => Edit::Text(place, text),
                7 => {
                    let local = ["Id", "other", "xml", "a b"][with % 4];
                    Edit::Attribute(place, NewAttribute { namespace: ["urn:u", "urn:p"][with / 4 % 2], prefix: "u", local, value: text })
                }
                _ => Edit::WithoutAttribute(place, "urn:u", "Id"),
            }
        };
        drawn.iter().map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

        #[test]
        fn what_cannot_be_read_is_not_written(
            text in element(),
            drawn in proptest::collection::vec((0..9_usize, any::<prop::sample::Index>(), 0..60_usize), 1..4),
            which in 0..8_usize,
            less in 0..2_usize,
        ) {
            let written = crate::Writer::fragment("w:a", |w| {
                w.declare("w", "urn:w");
                w.element("w:b", |w| w.element("c:c", |w| {
                    w.declare("c", "urn:c");
                    w.attribute("c:long-name", "<>");
                    w.text("]]>");
                }));
            });
            let others = [
                NEW,
                "<n:x xmlns:n='urn:n'><n:y><n:z xmlns:m='urn:m' m:a='1' b='2' c='3' d='4'>1<!-- --><![CDATA[2]]><?p?></n:z></n:y></n:x>",
                "<n xmlns='urn:n' a='1'/>",
            ];
            let fragments: Vec<Fragment> = others.iter().map(|other| fragment(other)).chain(written).collect();
            let texts = ["", "x", "]", "]]>", "a&\r", "\u{1}"];
            let (loose, places) = read(&text);
            let made = loose.edit(&edits(&drawn, &places, &fragments, &texts));
            // Limits that the result just keeps, or just does not.
            let mut limits = Limits::MESSAGE;
            if let Ok(octets) = &made {
                let read = crate::parse::parse(octets, &Limits::MESSAGE);
                prop_assert!(read.is_ok(), "{:?}", String::from_utf8_lossy(octets));
                let tree = read.unwrap();
                let extent = Extent::of(&tree);
                let longest = tree.nodes.iter().filter_map(|node| match node.kind {
                    Kind::Text(text) => Some((text.end - text.start) as usize),
                    Kind::Element(_) | Kind::Comment(_) | Kind::ProcessingInstruction { .. } => None,
                });
                match which {
                    0 => limits.size = octets.len() - less,
                    1 => limits.nodes = extent.nodes - less,
                    2 => limits.depth = extent.depth - less,
                    3 => limits.attributes = extent.attributes.saturating_sub(less),
                    4 => limits.namespaces = extent.namespaces.saturating_sub(less),
                    5 => limits.name = extent.name - less,
                    6 => limits.text = longest.max().unwrap_or(0).saturating_sub(less),
                    _ => limits = Limits { size: octets.len(), nodes: extent.nodes, depth: extent.depth, attributes: extent.attributes, namespaces: extent.namespaces, ..limits },
                }
            }
            let Ok(tight) = Document::parse(text.as_bytes(), &limits) else { return Ok(()) };
            let places = tight.claim::<Places>().unwrap().sender_says().0.clone();
            let again = tight.edit(&edits(&drawn, &places, &fragments, &texts));
            match made {
                Ok(octets) => {
                    let readable = crate::parse::parse(&octets, &limits).map(|_| octets);
                    prop_assert_eq!(again, readable);
                }
                Err(error) => prop_assert_eq!(again, Err(error)),
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn what_is_inserted_and_removed_leaves_every_octet(text in element(), place: prop::sample::Index, how in 0..4) {
            let (document, places) = read(&text);
            let place = &places[place.index(places.len())];
            let insertion = match how {
                0 => Insertion::FirstIn(place),
                1 => Insertion::LastIn(place),
                2 => Insertion::Before(place),
                _ => Insertion::After(place),
            };
            let added = "<v:new xmlns:v='urn:vestibule'><v:x/>é</v:new>";
            let Ok(octets) = document.edit(&[Edit::Insert(insertion, &fragment(added))]) else {
                prop_assert!(how > 1 && place.id == document.tree.root);
                return Ok(());
            };
            let after = String::from_utf8(octets).unwrap();
            // Every octet outside the edit is as it was.
            let at = after.find(added).unwrap();
            let (before, behind) = (&after[..at], &after[at + added.len()..]);
            let opened = !text.starts_with(before) || !text.ends_with(behind);
            if opened {
                prop_assert!(how < 2 && text.starts_with(&before[..before.len() - 1]));
                prop_assert!(text.ends_with(&behind[behind.find('>').unwrap() + 1..]));
            } else {
                prop_assert_eq!(before.len() + behind.len(), text.len());
            }
            // And removing what was inserted gives what was received.
            let (changed, now) = read(&after);
            let new = now.iter().find(|now| changed.view(now.id).unwrap().is("urn:vestibule", "new")).unwrap();
            let back = String::from_utf8(changed.edit(&[Edit::Remove(new)]).unwrap()).unwrap();
            if opened { prop_assert_eq!(read(&back).1.len(), places.len()) } else { prop_assert_eq!(back, text) }
        }
    }
}
