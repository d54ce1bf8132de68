//! Inserting and removing elements of the received octets, so that what is forwarded is what was received but for that.
//!
//! Writing a tree anew would change quotes, white space and prefixes, and break signatures of others. What an attacker tries:
//! content that ends the element it stands in, or that takes another meaning from the prefixes around it. What is inserted
//! is read by itself first, where no prefix of the place is known, and the result is read again.

use std::sync::Arc;

use crate::document::Document;
use crate::element::{ElementView, Place, Unsigned};
use crate::error::Error;
use crate::tree::Kind;
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
    /// Inserts one element, written with all the namespaces it uses.
    Insert(Insertion<'a>, &'a str),
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
    /// something is changed inside what is removed, [`Error::Malformed`] if what is inserted is no element by itself or the
    /// result exceeds the limits.
    pub fn edit(&self, edits: &[Edit<'_>]) -> Result<Vec<u8>, Error> {
        let mut cuts = Vec::with_capacity(edits.len());
        for edit in edits {
            cuts.push(self.cut(*edit)?);
        }
        // Stable: insertions at one place keep their order. A removal ends before what is inserted behind it.
        cuts.sort_by_key(|cut| (cut.from, cut.to));
        // An empty tag is opened once, however much is put into it.
        cuts.dedup_by(|next, cut| {
            let same = next.opened.is_some() && next.opened == cut.opened && next.from == cut.from;
            if same {
                cut.text.push_str(&next.text);
            }
            same
        });
        let source = self.tree.source.as_bytes();
        let mut out = Vec::with_capacity(source.len() + cuts.iter().map(|cut| cut.text.len()).sum::<usize>());
        let mut at = 0;
        let overlap = || Error::Ambiguous("change of one element".to_owned());
        for cut in cuts {
            out.extend_from_slice(source.get(at..cut.from).ok_or_else(overlap)?);
            match cut.opened {
                Some(name) => out.extend_from_slice(format!(">{}</{name}>", cut.text).as_bytes()),
                None => out.extend_from_slice(cut.text.as_bytes()),
            }
            at = cut.to;
        }
        out.extend_from_slice(source.get(at..).ok_or_else(overlap)?);
        crate::parse::parse(&out, &self.limits)?;
        Ok(out)
    }

    fn cut(&self, edit: Edit<'_>) -> Result<Cut<'_>, Error> {
        let (insertion, element) = match edit {
            Edit::Remove(place) => {
                let (from, to) = self.inner(place)?.span();
                return Ok(Cut { from, to, text: String::new(), opened: None });
            }
            Edit::Text(place, text) => {
                let (from, to) = self.inner(place)?.span();
                let mut escaped = String::with_capacity(text.len());
                escape(text, &mut escaped);
                return Ok(Cut { from, to, text: escaped, opened: None });
            }
            Edit::Attribute(place, attribute) => return self.with_attribute(place, attribute),
            Edit::WithoutAttribute(place, namespace, local) => return self.without_attribute(place, namespace, local),
            Edit::Insert(insertion, element) => (insertion, self.alone(element)?),
        };
        let here = |at: usize| Cut { from: at, to: at, text: element.to_owned(), opened: None };
        match insertion {
            Insertion::Before(place) => Ok(here(self.inner(place)?.span().0)),
            Insertion::After(place) => Ok(here(self.inner(place)?.span().1)),
            Insertion::FirstIn(place) | Insertion::LastIn(place) => {
                let element_view = self.at(place)?;
                let Some(Kind::Element(data)) = self.tree.node(place.id).map(|node| node.kind) else {
                    return Err(Error::ElementMissing("element".to_owned()));
                };
                let (content, (start, end)) = (data.content as usize, element_view.span());
                let source = self.tree.source.get(start..end).unwrap_or_default();
                if source.ends_with("/>") && content == end {
                    // An empty tag is opened; nothing else of it changes.
                    let opened = Some(self.tree.qualified(data.name));
                    return Ok(Cut { from: end - 2, to: end, text: element.to_owned(), opened });
                }
                match insertion {
                    Insertion::FirstIn(_) => Ok(here(content)),
                    Insertion::LastIn(_) | Insertion::Before(_) | Insertion::After(_) => {
                        // The end tag is the last thing in the span that begins with `<`.
                        let close = source.rfind('<').ok_or_else(|| element_view.unreadable("an element without end tag"))?;
                        Ok(here(start + close))
                    }
                }
            }
        }
    }

    fn with_attribute(&self, place: &Place, new: NewAttribute<'_>) -> Result<Cut<'_>, Error> {
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
        let prefix = match known {
            Some(prefix) => prefix,
            None => {
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
        let at = data.name.end() as usize;
        Ok(Cut { from: at, to: at, text, opened: None })
    }

    fn without_attribute(&self, place: &Place, namespace: &str, local: &str) -> Result<Cut<'_>, Error> {
        let data = self.element(place)?;
        let is_meant = |name: crate::tree::Name, of| self.tree.local(name) == local && self.tree.namespace(of) == namespace;
        let found = self.tree.attributes(&data).iter().find(|attribute| is_meant(attribute.name, attribute.namespace));
        let Some(found) = found else {
            let at = data.name.end() as usize;
            return Ok(Cut { from: at, to: at, text: String::new(), opened: None });
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
        Ok(Cut { from, to: end + open + 1 + length + 1, text: String::new(), opened: None })
    }

    fn element(&self, place: &Place) -> Result<crate::tree::Element, Error> {
        match self.tree.node(place.id).map(|node| node.kind) {
            Some(Kind::Element(data)) => Ok(data),
            Some(Kind::Text(_) | Kind::Comment(_) | Kind::ProcessingInstruction { .. }) | None => {
                Err(Error::ElementMissing("element".to_owned()))
            }
        }
    }

    /// What is inserted, if it is one element that needs nothing from around it.
    fn alone<'e>(&self, element: &'e str) -> Result<&'e str, Error> {
        let tree = crate::parse::parse(element.as_bytes(), &self.limits)?;
        let whole = tree.node(tree.root).map(|node| (node.span.0 as usize, node.span.1 as usize));
        // In no namespace only by saying so: a default namespace of the place would take it in.
        let named = match tree.node(tree.root).map(|node| node.kind) {
            Some(Kind::Element(data)) => tree.resolve(data.scope, b"").is_some() || data.name.prefix != 0,
            Some(Kind::Text(_) | Kind::Comment(_) | Kind::ProcessingInstruction { .. }) | None => false,
        };
        if whole != Some((0, element.len())) || !named {
            return Err(Error::Unreadable { what: "not one element with its namespace", at: 0 });
        }
        Ok(element)
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
    text: String,
    /// The name of the empty tag that becomes a start tag and an end tag around the text.
    opened: Option<&'t str>,
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

    #[test]
    fn insertions_stand_where_they_should() {
        let text = "<?xml version='1.0'?><a xmlns=\"urn:a\" > t <b\n/> u <c>é</c  > v </a >\n<!-- <z/> -->";
        let at = |place: usize, make: fn(&Place) -> Insertion<'_>| {
            let (document, places) = read(text);
            String::from_utf8(document.edit(&[Edit::Insert(make(&places[place]), NEW)]).unwrap()).unwrap()
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
        let other = "<o xmlns='urn:o'/>";
        let made = edited("<a><b/><c/></a>", |places| {
            vec![
                Edit::Insert(Insertion::After(&places[2]), other),
                Edit::Remove(&places[1]),
                Edit::Insert(Insertion::Before(&places[2]), NEW),
                Edit::Insert(Insertion::Before(&places[2]), other),
            ]
        });
        assert_eq!(made.unwrap(), format!("<a>{NEW}{other}<c/>{other}</a>"));
        assert_eq!(edited("<a/>", |_| Vec::new()).unwrap(), "<a/>");
        let both = edited("<p:a xmlns:p='urn:p' />", |places| {
            vec![Edit::Insert(Insertion::FirstIn(&places[0]), NEW), Edit::Insert(Insertion::LastIn(&places[0]), other)]
        });
        assert_eq!(both.unwrap(), format!("<p:a xmlns:p='urn:p' >{NEW}{other}</p:a>"));
    }

    #[test]
    fn what_would_change_more_than_its_place_is_refused() {
        let insert = |element: &str| {
            let (document, places) = read("<p:a xmlns:p='urn:p' xmlns='urn:d'><b/></p:a>");
            document.edit(&[Edit::Insert(Insertion::LastIn(&places[0]), element)])
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
        assert!(matches!(insert("<x/>"), Err(Error::Unreadable { .. })));
        assert!(insert("<x xmlns=''/>").is_ok());
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
    fn places_that_are_none_are_refused() {
        let (document, places) = read("<a><b><c/></b></a>");
        let (_, foreign) = read("<a><b><c/></b></a>");
        for edit in
            [Edit::Remove(&places[0]), Edit::Insert(Insertion::Before(&places[0]), NEW), Edit::Insert(Insertion::After(&places[0]), NEW)]
        {
            assert!(matches!(document.edit(&[edit]), Err(Error::ElementMissing(_))));
        }
        assert!(matches!(document.edit(&[Edit::Remove(&foreign[1])]), Err(Error::ElementMissing(_))));
        for edits in [
            [Edit::Remove(&places[1]), Edit::Remove(&places[2])],
            [Edit::Remove(&places[2]), Edit::Remove(&places[2])],
            [Edit::Remove(&places[1]), Edit::Insert(Insertion::LastIn(&places[2]), NEW)],
        ] {
            assert!(matches!(document.edit(&edits), Err(Error::Ambiguous(_))));
        }
        let small = Document::parse(b"<a><b/></a>", &Limits { size: 20, ..Limits::MESSAGE }).unwrap();
        let place = small.claim::<Places>().unwrap().sender_says().0[1].clone();
        let error = small.edit(&[Edit::Insert(Insertion::After(&place), NEW)]).unwrap_err();
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
            let Ok(octets) = document.edit(&[Edit::Insert(insertion, added)]) else {
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
