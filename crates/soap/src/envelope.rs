//! An envelope and its parts (SOAP 1.1 §4, SOAP 1.2 part 1 §5), as places and claims.
//!
//! What an attacker tries: a second Body or Header, elements behind the Body, attributes of the other version that one reader
//! sees and another does not, roles that make a header somebody else's. What the standard leaves open and no
//! client sends is refused here.

use std::fmt;

use vestibule_xmlsec::{Claimed, Document, ElementView, Error as XmlError, FromClaimed, Place, Unsigned};

use crate::error::Error;

/// The version of a message: that of its envelope's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// SOAP 1.1.
    Soap11,
    /// SOAP 1.2.
    Soap12,
}

impl Version {
    /// The namespace of the envelope.
    pub fn namespace(self) -> &'static str {
        match self {
            Self::Soap11 => "http://schemas.xmlsoap.org/soap/envelope/",
            Self::Soap12 => "http://www.w3.org/2003/05/soap-envelope",
        }
    }

    /// The media type of a message.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Soap11 => "text/xml; charset=utf-8",
            Self::Soap12 => "application/soap+xml; charset=utf-8",
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Soap11 => Self::Soap12,
            Self::Soap12 => Self::Soap11,
        }
    }

    fn of(namespace: &str) -> Option<Self> {
        [Self::Soap11, Self::Soap12].into_iter().find(|version| version.namespace() == namespace)
    }
}

/// Header blocks of one message.
const MOST_BLOCKS: usize = 64;
/// The namespaces of WS-Addressing: the recommendation, and the submission that older stacks send.
const ADDRESSING: [&str; 2] = ["http://www.w3.org/2005/08/addressing", "http://schemas.xmlsoap.org/ws/2004/08/addressing"];

/// A message as its sender describes it. Nothing of it is proven; its places can be compared with what was verified.
#[derive(Clone)]
pub struct Envelope {
    version: Version,
    header: Option<Place>,
    blocks: Vec<HeaderBlock>,
    body: Place,
    operation: Option<Operation>,
    addressed_action: Option<String>,
}

impl Envelope {
    /// Reads the envelope that a document is.
    ///
    /// # Errors
    /// [`Error::NotSoap`], [`Error::UnknownVersion`], or [`Error::Xml`] with the element that is wrong.
    pub fn read(document: &Document) -> Result<Claimed<Self>, Error> {
        match document.claim::<Root>()?.sender_says() {
            Root::Envelope => Ok(document.claim::<Self>()?),
            Root::UnknownVersion => Err(Error::UnknownVersion),
            Root::Other => Err(Error::NotSoap),
        }
    }

    /// The version.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The `Header`, if there is one.
    pub fn header(&self) -> Option<&Place> {
        self.header.as_ref()
    }

    /// Its blocks, in their order.
    pub fn blocks(&self) -> &[HeaderBlock] {
        &self.blocks
    }

    /// The `Body`.
    pub fn body(&self) -> &Place {
        &self.body
    }

    /// The first element of the Body, which names the operation. None in an empty Body.
    pub fn operation(&self) -> Option<&Operation> {
        self.operation.as_ref()
    }

    /// What `wsa:Action` says.
    pub fn addressed_action(&self) -> Option<&str> {
        self.addressed_action.as_deref()
    }

    /// The blocks of a name that are for a target.
    pub fn blocks_for<'a>(&'a self, namespace: &'a str, local: &'a str, target: &'a Target) -> impl Iterator<Item = &'a HeaderBlock> {
        self.blocks.iter().filter(move |block| block.is(namespace, local) && block.target == *target)
    }

    /// The first block that a node in these roles has to understand and does not (SOAP 1.2 §2.4). Such a message is answered
    /// with the fault `MustUnderstand`.
    pub fn not_understood<'a>(&'a self, roles: &[Target], understood: impl Fn(&HeaderBlock) -> bool) -> Option<&'a HeaderBlock> {
        self.blocks.iter().find(|block| block.must_understand && roles.contains(&block.target) && !understood(block))
    }
}

impl fmt::Debug for Envelope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope")
            .field("version", &self.version)
            .field("blocks", &self.blocks)
            .field("operation", &self.operation)
            .finish()
    }
}

/// A child of the Header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBlock {
    /// Its namespace name, never empty.
    pub namespace: String,
    /// Its local name.
    pub local: String,
    /// Whom it is for.
    pub target: Target,
    /// Whether its target has to refuse the message if it does not know it.
    pub must_understand: bool,
    /// Where it stands.
    pub place: Place,
}

impl HeaderBlock {
    /// Whether it is called so.
    pub fn is(&self, namespace: &str, local: &str) -> bool {
        self.local == local && self.namespace == namespace
    }
}

/// Whom a header block is for: `actor` of SOAP 1.1, `role` of 1.2.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The last receiver: no attribute, an empty one, or the name that 1.2 has for it.
    Ultimate,
    /// Every node on the way.
    Next,
    /// Nobody: it may be read, but not acted on.
    Nobody,
    /// The node that plays this role.
    Role(String),
}

/// What the Body asks for: the name of its first element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The namespace name; may be empty.
    pub namespace: String,
    /// The local name.
    pub local: String,
    /// Where it stands.
    pub place: Place,
    /// Whether other elements follow it in the Body, as the encoding of SOAP 1.1 has them. A policy on the operation says
    /// nothing about them.
    pub followed: bool,
}

enum Root {
    Envelope,
    UnknownVersion,
    Other,
}

impl FromClaimed for Root {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        Ok(match (root.local(), Version::of(root.namespace())) {
            ("Envelope", Some(_)) => Self::Envelope,
            ("Envelope", None) => Self::UnknownVersion,
            (_, _) => Self::Other,
        })
    }
}

impl FromClaimed for Envelope {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let version = Version::of(root.namespace()).filter(|_| root.local() == "Envelope");
        let version = version.ok_or_else(|| root.unreadable("no SOAP envelope"))?;
        let namespace = version.namespace();
        // SOAP 1.1 §4 admits elements behind the Body; nobody sends them but to hide the signed Body there.
        let (header, body) = match root.children().collect::<Vec<_>>().as_slice() {
            [body] if body.is(namespace, "Body") => (None, *body),
            [header, body] if header.is(namespace, "Header") && body.is(namespace, "Body") => (Some(*header), *body),
            [..] => return Err(root.unreadable("not one Header and one Body")),
        };
        let mut blocks = Vec::new();
        let mut addressed_action = None;
        for child in header.iter().flat_map(ElementView::children) {
            if blocks.len() >= MOST_BLOCKS {
                return Err(child.unreadable("more header blocks than the limit"));
            }
            let block = block(child, version)?;
            if block.target == Target::Ultimate && block.local == "Action" && ADDRESSING.contains(&block.namespace.as_str()) {
                let action = child.text()?.trim_matches([' ', '\t', '\r', '\n']).to_owned();
                if addressed_action.replace(action).is_some() {
                    return Err(XmlError::Ambiguous("Action".to_owned()));
                }
            }
            blocks.push(block);
        }
        let mut inside = body.children();
        let operation = inside.next().map(|first| Operation {
            namespace: first.namespace().to_owned(),
            local: first.local().to_owned(),
            place: first.place(),
            followed: inside.next().is_some(),
        });
        Ok(Self { version, header: header.map(|header| header.place()), blocks, body: body.place(), operation, addressed_action })
    }
}

fn block(element: ElementView<'_, Unsigned>, version: Version) -> Result<HeaderBlock, XmlError> {
    let namespace = version.namespace();
    if element.namespace().is_empty() {
        return Err(element.unreadable("a header block without namespace"));
    }
    // Attack 71: `mustUnderstand` of the other version is seen by one reader and not by another.
    if element.attributes().any(|(other, ..)| other == version.other().namespace()) {
        return Err(element.unreadable("a header block with attributes of another SOAP version"));
    }
    let must_understand = match (element.attribute(namespace, "mustUnderstand"), version) {
        (None | Some("0"), _) | (Some("false"), Version::Soap12) => false,
        (Some("1"), _) | (Some("true"), Version::Soap12) => true,
        (Some(_), _) => return Err(element.unreadable("mustUnderstand that is neither true nor false")),
    };
    let target = match (version, element.attribute(namespace, if version == Version::Soap11 { "actor" } else { "role" })) {
        (_, None | Some("")) | (Version::Soap12, Some("http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver")) => Target::Ultimate,
        (Version::Soap11, Some("http://schemas.xmlsoap.org/soap/actor/next"))
        | (Version::Soap12, Some("http://www.w3.org/2003/05/soap-envelope/role/next")) => Target::Next,
        (Version::Soap12, Some("http://www.w3.org/2003/05/soap-envelope/role/none")) => Target::Nobody,
        (_, Some(role)) => Target::Role(role.to_owned()),
    };
    Ok(HeaderBlock {
        namespace: element.namespace().to_owned(),
        local: element.local().to_owned(),
        target,
        must_understand,
        place: element.place(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vestibule_xmlsec::Limits;

    use super::*;

    fn read(text: &str) -> Result<Envelope, Error> {
        let document = Document::parse(text.as_bytes(), &Limits::MESSAGE)?;
        Envelope::read(&document).map(|claimed| claimed.sender_says().clone())
    }

    fn envelope(version: Version, inside: &str) -> String {
        format!("<s:Envelope xmlns:s='{}'>{inside}</s:Envelope>", version.namespace())
    }

    const BOTH: [Version; 2] = [Version::Soap11, Version::Soap12];

    #[test]
    fn the_first_element_of_the_body_is_the_operation() {
        for version in BOTH {
            let read = read(&envelope(version, "<!-- --><s:Body> <m:Get xmlns:m='urn:m'/> </s:Body>")).unwrap();
            let operation = read.operation().unwrap();
            assert_eq!((read.version(), operation.namespace.as_str(), operation.local.as_str()), (version, "urn:m", "Get"));
            assert!(!operation.followed && read.header().is_none() && read.blocks().is_empty());
        }
        assert!(read(&envelope(Version::Soap11, "<s:Body/>")).unwrap().operation().is_none());
        assert!(read(&envelope(Version::Soap11, "<s:Body><a/><b/></s:Body>")).unwrap().operation().unwrap().followed);
    }

    #[test]
    fn what_is_no_envelope_of_ours_is_named() {
        assert_eq!(read("<a/>").unwrap_err(), Error::NotSoap);
        assert_eq!(read("<Envelope/>").unwrap_err(), Error::UnknownVersion);
        assert_eq!(read("<e:Envelope xmlns:e='http://www.w3.org/2001/12/soap-envelope'/>").unwrap_err(), Error::UnknownVersion);
        assert_eq!(read("<!DOCTYPE a><a/>").unwrap_err().reason(), "dtd");
    }

    #[test]
    fn parts_have_their_place_and_their_number() {
        for version in BOTH {
            let foreign = version.other().namespace();
            for inside in [
                "",
                "<s:Header/>",
                "<s:Body/><s:Body/>",
                "<s:Header/><s:Header/><s:Body/>",
                "<s:Body/><s:Header/>",
                "<s:Body/><x/>",
                "<x/><s:Body/>",
                "<Body/>",
                &format!("<s:Body/><o:Body xmlns:o='{foreign}'/>"),
                &format!("<o:Body xmlns:o='{foreign}'/>"),
                "<s:Header><x/></s:Header><s:Body/>",
            ] {
                assert!(matches!(read(&envelope(version, inside)), Err(Error::Xml(XmlError::Unreadable { .. }))), "{inside}");
            }
        }
    }

    #[test]
    fn blocks_say_whom_they_are_for_and_whether_they_matter() {
        let block = |version, attributes: &str| {
            let text = envelope(version, &format!("<s:Header><h:B xmlns:h='urn:h' {attributes}/></s:Header><s:Body/>"));
            read(&text).map(|read| (read.blocks()[0].target.clone(), read.blocks()[0].must_understand))
        };
        let role = Target::Role("urn:r".to_owned());
        for (version, attributes, expected) in [
            (Version::Soap11, "", (Target::Ultimate, false)),
            (Version::Soap11, "s:mustUnderstand='1' s:actor='urn:r'", (role.clone(), true)),
            (Version::Soap11, "s:mustUnderstand='0' s:actor='http://schemas.xmlsoap.org/soap/actor/next'", (Target::Next, false)),
            (Version::Soap11, "mustUnderstand='1' actor='urn:r'", (Target::Ultimate, false)),
            (Version::Soap12, "s:mustUnderstand='true' s:role='urn:r'", (role, true)),
            (Version::Soap12, "s:mustUnderstand='false' s:role=''", (Target::Ultimate, false)),
            (Version::Soap12, "s:role='http://www.w3.org/2003/05/soap-envelope/role/next'", (Target::Next, false)),
            (Version::Soap12, "s:role='http://www.w3.org/2003/05/soap-envelope/role/none'", (Target::Nobody, false)),
            (Version::Soap12, "s:role='http://www.w3.org/2003/05/soap-envelope/role/ultimateReceiver'", (Target::Ultimate, false)),
        ] {
            assert_eq!(block(version, attributes), Ok(expected), "{attributes}");
        }
        assert!(block(Version::Soap11, "s:mustUnderstand='true'").is_err());
        assert!(block(Version::Soap12, "s:mustUnderstand='yes'").is_err());
        for version in BOTH {
            let other = format!("xmlns:o='{}' o:mustUnderstand='1'", version.other().namespace());
            assert!(block(version, &other).is_err());
        }
    }

    #[test]
    fn a_block_that_must_be_understood_and_is_not_is_found() {
        let text = envelope(
            Version::Soap11,
            "<s:Header><h:A xmlns:h='urn:h' s:mustUnderstand='1'/><h:B xmlns:h='urn:h' s:mustUnderstand='1' s:actor='urn:r'/></s:Header><s:Body/>",
        );
        let envelope = read(&text).unwrap();
        let found = |roles: &[Target]| envelope.not_understood(roles, |_| false).map(|block| block.local.as_str());
        assert_eq!(found(&[Target::Role("urn:r".to_owned())]), Some("B"));
        assert_eq!(found(&[Target::Ultimate]), Some("A"));
        assert_eq!(found(&[Target::Next]), None);
        assert!(envelope.not_understood(&[Target::Ultimate], |block| block.is("urn:h", "A")).is_none());
        assert_eq!(envelope.blocks_for("urn:h", "A", &Target::Ultimate).count(), 1);
        assert_eq!(envelope.blocks_for("urn:h", "A", &Target::Next).count(), 0);
    }

    #[test]
    fn blocks_have_a_limit() {
        let blocks =
            |count: usize| envelope(Version::Soap11, &format!("<s:Header>{}</s:Header><s:Body/>", "<h:B xmlns:h='urn:h'/>".repeat(count)));
        assert!(read(&blocks(MOST_BLOCKS)).is_ok());
        assert!(read(&blocks(MOST_BLOCKS + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_message_is_read_or_refused(inside in "(<s:(Header|Body|x)( s:(actor|mustUnderstand)='[01a]')?/?>|</s:(Header|Body|x)>| |a){0,8}") {
            for version in BOTH {
                let _ = read(&envelope(version, &inside));
            }
        }
    }
}
