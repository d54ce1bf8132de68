//! `multipart/related` with the envelope as root part (RFC 2387), and XOP inclusions put back in line.
//!
//! What an attacker tries: another root for another reader, one Content-ID twice, an inclusion that leads out of the message
//! (attack 70), octets that are signed in one place and used in another (row 24 of the verifier's list). The root is the
//! first part or nothing, and the message is judged and forwarded with its inclusions in line.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use memchr::memmem;
use vestibule_xmlsec::{Document, Edit, ElementView, Error as XmlError, FromClaimed, Limits, Place, Unsigned};

use crate::error::{Error, MultipartFault};
use crate::media_type::{MediaType, is_token};

/// Parts of one message.
const MOST_PARTS: usize = 64;
/// Octets of the headers of one part.
const LONGEST_HEADERS: usize = 8 << 10;
/// Inclusions in one envelope.
const MOST_INCLUSIONS: usize = 256;
/// RFC 2046 §5.1.1.
const LONGEST_BOUNDARY: usize = 70;
const XOP: &str = "http://www.w3.org/2004/08/xop/include";

/// The parts of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Multipart<'a> {
    parts: Vec<Part<'a>>,
}

/// One part.
#[derive(Clone, PartialEq, Eq)]
pub struct Part<'a> {
    media_type: Option<MediaType>,
    id: Option<String>,
    octets: std::borrow::Cow<'a, [u8]>,
}

impl std::fmt::Debug for Part<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Part({:?}, {} octets)", self.media_type.as_ref().map(MediaType::essence), self.octets.len())
    }
}

impl Part<'_> {
    /// What it says it is.
    pub fn media_type(&self) -> Option<&MediaType> {
        self.media_type.as_ref()
    }

    /// Its `Content-ID`, without the angle brackets.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Its octets, decoded.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

impl<'a> Multipart<'a> {
    /// Reads a body of the media type `multipart/related`. Its length is the caller's to limit.
    ///
    /// # Errors
    /// [`Error::MediaType`] for another type, [`Error::Multipart`] for everything in the body.
    pub fn parse(media_type: &MediaType, body: &'a [u8]) -> Result<Self, Error> {
        if media_type.essence() != "multipart/related" {
            return Err(Error::MediaType);
        }
        let boundary = media_type.parameter("boundary").filter(|boundary| is_boundary(boundary));
        let delimiter = format!("--{}", boundary.ok_or(fault(MultipartFault::Boundary))?);
        let mut rest = body.strip_prefix(b"\r\n").unwrap_or(body);
        // A preamble is text that one reader skips and another reads.
        rest = rest.strip_prefix(delimiter.as_bytes()).ok_or(fault(MultipartFault::Frame))?;
        let between = format!("\r\n{delimiter}");
        let finder = memmem::Finder::new(&between);
        let mut parts: Vec<Part<'a>> = Vec::new();
        while let Some(after) = end_of_line(rest) {
            if parts.len() >= MOST_PARTS {
                return Err(fault(MultipartFault::TooManyParts));
            }
            let end = finder.find(after).ok_or(fault(MultipartFault::Frame))?;
            let (content, tail) = after.split_at_checked(end).ok_or(fault(MultipartFault::Frame))?;
            let part = part(content)?;
            if part.id.is_some() && parts.iter().any(|other| other.id == part.id) {
                return Err(fault(MultipartFault::DuplicateId));
            }
            parts.push(part);
            rest = tail.get(between.len()..).unwrap_or_default();
        }
        // `--`, then nothing but the end of the line.
        let end = rest.strip_prefix(b"--").ok_or(fault(MultipartFault::Frame))?;
        if !matches!(end, b"" | b"\r\n") {
            return Err(fault(MultipartFault::Frame));
        }
        let root = parts.first().ok_or(fault(MultipartFault::Root))?;
        let start = media_type.parameter("start").map(unbracketed);
        if start.is_some() && start != root.id.as_deref() {
            return Err(fault(MultipartFault::Root));
        }
        let announced = media_type.parameter("type").ok_or(fault(MultipartFault::Root))?;
        if root.media_type.as_ref().is_none_or(|kind| !kind.essence().eq_ignore_ascii_case(announced)) {
            return Err(fault(MultipartFault::Root));
        }
        // The version stands in both, for an XOP package.
        let inner = root.media_type.as_ref().filter(|kind| kind.essence() == "application/xop+xml").and_then(|kind| kind.parameter("type"));
        if let (Some(outer), Some(inner)) = (media_type.parameter("start-info"), inner)
            && MediaType::parse(outer)?.essence() != MediaType::parse(inner)?.essence()
        {
            return Err(fault(MultipartFault::Root));
        }
        Ok(Self { parts })
    }

    /// All parts, the root first.
    pub fn parts(&self) -> &[Part<'a>] {
        &self.parts
    }

    /// The media type of the envelope: that of the root, or what an XOP root stands for.
    ///
    /// # Errors
    /// [`Error::MediaType`] if it is none of SOAP.
    pub fn envelope_type(&self) -> Result<MediaType, Error> {
        let root = self.parts.first().and_then(Part::media_type).ok_or(Error::MediaType)?;
        let kind = match root.essence() {
            "application/xop+xml" => MediaType::parse(root.parameter("type").ok_or(Error::MediaType)?)?,
            _ => root.clone(),
        };
        kind.version().map(|_| kind)
    }

    /// The envelope, with the inclusions of an XOP package in line as base64 (XOP §3.2), and read.
    ///
    /// # Errors
    /// [`Error::Xml`] as the parser; [`Error::Multipart`] for an inclusion that leads out of the message or is not alone, for
    /// an unreferenced part of a package, and where the limits would be exceeded.
    pub fn envelope(&self, limits: &Limits) -> Result<(Vec<u8>, Document), Error> {
        let root = self.parts.first().ok_or(fault(MultipartFault::Root))?;
        let package = root.media_type.as_ref().is_some_and(|kind| kind.essence() == "application/xop+xml");
        let document = Document::parse(&root.octets, limits)?;
        if !package {
            return Ok((root.octets.to_vec(), document));
        }
        let claimed = document.claim::<Inclusions>()?;
        let inclusions = match &claimed.sender_says().0 {
            Ok(inclusions) => inclusions,
            Err(why) => return Err(fault(*why)),
        };
        let mut used = vec![false; self.parts.len()];
        let mut size = root.octets.len();
        let mut texts = Vec::with_capacity(inclusions.len());
        for (place, id) in inclusions {
            // Never the root: it would be inside itself.
            let found = self.parts.iter().enumerate().skip(1).find(|(_, part)| part.id.as_deref() == Some(id));
            let (number, part) = found.ok_or(fault(MultipartFault::Reference))?;
            size = size.saturating_add(part.octets.len().div_ceil(3) * 4);
            if size > limits.size {
                return Err(fault(MultipartFault::TooLong));
            }
            used.iter_mut().skip(number).take(1).for_each(|used| *used = true);
            texts.push((place, STANDARD.encode(&part.octets)));
        }
        if used.iter().skip(1).any(|used| !used) {
            return Err(fault(MultipartFault::Unreferenced));
        }
        let edits: Vec<Edit<'_>> = texts.iter().map(|(place, text)| Edit::Text(place, text)).collect();
        let octets = document.edit(&edits)?;
        let document = Document::parse(&octets, limits)?;
        Ok((octets, document))
    }
}

/// Where `xop:Include` stands, and the Content-ID it names.
struct Inclusions(Result<Vec<(Place, String)>, MultipartFault>);

impl FromClaimed for Inclusions {
    fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, XmlError> {
        let mut found = Vec::new();
        Ok(Self(collect(root, &mut found).map(|()| found)))
    }
}

fn collect(element: ElementView<'_, Unsigned>, found: &mut Vec<(Place, String)>) -> Result<(), MultipartFault> {
    for child in element.children() {
        if !child.is(XOP, "Include") {
            collect(child, found)?;
            continue;
        }
        // XOP §2.1: it stands for the whole content of its parent. Its own content means nothing.
        if element.children().count() != 1 || child.children().next().is_some() {
            return Err(MultipartFault::Inclusion);
        }
        if found.len() >= MOST_INCLUSIONS {
            return Err(MultipartFault::TooLong);
        }
        let id = child.attribute("", "href").and_then(|href| href.strip_prefix("cid:")).and_then(percent_decoded);
        found.push((child.place(), id.ok_or(MultipartFault::Reference)?));
    }
    Ok(())
}

/// RFC 2392: a Content-ID in a URI is percent-encoded.
fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(octets).ok().filter(|id| !id.is_empty())
}

/// What follows the end of a delimiter's line; `None` for the last delimiter.
fn end_of_line(rest: &[u8]) -> Option<&[u8]> {
    let blank = rest.iter().take_while(|octet| matches!(octet, b' ' | b'\t')).count();
    rest.get(blank..)?.strip_prefix(b"\r\n")
}

fn part(content: &[u8]) -> Result<Part<'_>, Error> {
    let (head, body) = match content.strip_prefix(b"\r\n") {
        Some(body) => (&[][..], body),
        None => {
            let window = content.get(..content.len().min(LONGEST_HEADERS + 4)).unwrap_or_default();
            let Some(end) = memmem::find(window, b"\r\n\r\n") else {
                let short = content.len() <= LONGEST_HEADERS;
                return Err(fault(if short { MultipartFault::Header } else { MultipartFault::HeadersTooLong }));
            };
            (content.get(..end).unwrap_or_default(), content.get(end + 4..).unwrap_or_default())
        }
    };
    let head = std::str::from_utf8(head).map_err(|_| fault(MultipartFault::Header))?;
    let mut seen: Vec<String> = Vec::new();
    let (mut media_type, mut id, mut encoding) = (None, None, None);
    // A folded line is one that two readers could see as two.
    for line in head.split("\r\n").filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').ok_or(fault(MultipartFault::Header))?;
        let name = name.to_ascii_lowercase();
        if !is_token(&name) || seen.contains(&name) || value.chars().any(|character| character.is_control() && character != '\t') {
            return Err(fault(MultipartFault::Header));
        }
        let value = value.trim_matches([' ', '\t']);
        match name.as_str() {
            "content-type" => media_type = Some(MediaType::parse(value)?),
            "content-id" => id = Some(unbracketed(value).to_owned()),
            "content-transfer-encoding" => encoding = Some(value.to_ascii_lowercase()),
            _ => {}
        }
        seen.push(name);
    }
    let octets = match encoding.as_deref() {
        None | Some("binary" | "8bit") => body.into(),
        Some("7bit") if body.is_ascii() => body.into(),
        Some("base64") => {
            let digits: Vec<u8> = body.iter().copied().filter(|octet| !matches!(octet, b'\r' | b'\n')).collect();
            STANDARD.decode(digits).map_err(|_| fault(MultipartFault::TransferEncoding))?.into()
        }
        Some(_) => return Err(fault(MultipartFault::TransferEncoding)),
    };
    Ok(Part { media_type, id: id.filter(|id| !id.is_empty()), octets })
}

fn unbracketed(text: &str) -> &str {
    text.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(text)
}

fn is_boundary(text: &str) -> bool {
    let known = |octet: u8| octet.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&octet);
    (1..=LONGEST_BOUNDARY).contains(&text.len()) && text.bytes().all(known) && !text.ends_with(' ')
}

fn fault(why: MultipartFault) -> Error {
    Error::Multipart(why)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::envelope::{Envelope, Version};

    const TYPE: &str = r#"multipart/related; boundary="b"; type="application/xop+xml"; start="<root@x>"; start-info="text/xml""#;
    const ROOT: &str = "Content-Type: application/xop+xml; charset=UTF-8; type=\"text/xml\"\r\nContent-ID: <root@x>";

    fn soap(inside: &str) -> String {
        format!("<s:Envelope xmlns:s='{}'><s:Body>{inside}</s:Body></s:Envelope>", Version::Soap11.namespace())
    }

    fn include(href: &str) -> String {
        format!("<d> <x:Include xmlns:x='{XOP}' href='{href}'/></d>")
    }

    fn message(parts: &[(&str, &str)]) -> String {
        let parts: String = parts.iter().map(|(head, body)| format!("--b\r\n{head}\r\n\r\n{body}\r\n")).collect();
        format!("{parts}--b--\r\n")
    }

    fn read(kind: &str, body: &str) -> Result<String, Error> {
        let multipart = Multipart::parse(&MediaType::parse(kind)?, body.as_bytes())?;
        let (octets, document) = multipart.envelope(&Limits { size: 4096, ..Limits::MESSAGE })?;
        assert_eq!(Envelope::read(&document)?.sender_says().version(), Version::Soap11);
        multipart.envelope_type()?.carries(Version::Soap11)?;
        Ok(String::from_utf8(octets).unwrap())
    }

    fn why(kind: &str, body: &str) -> MultipartFault {
        match read(kind, body) {
            Err(Error::Multipart(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn inclusions_come_back_in_line() {
        let envelope = soap(&format!("<op>{}{}</op>", include("cid:a%40x"), include("cid:b@x")));
        let body = message(&[
            (ROOT, &envelope),
            ("Content-ID: <a@x>\r\nContent-Transfer-Encoding: binary", "\r\n-bb\u{1}"),
            ("content-id:<b@x>\r\nContent-Transfer-Encoding: base64", "AAEC\r\n/w=="),
        ]);
        let expected = soap("<op><d> DQotYmIB</d><d> AAEC/w==</d></op>");
        assert_eq!(read(TYPE, &body).as_deref(), Ok(expected.as_str()));
        // The same with a line before the first delimiter, as HTTP clients write it.
        assert_eq!(read(TYPE, &format!("\r\n{body}")).as_deref(), Ok(expected.as_str()));
    }

    #[test]
    fn a_root_of_its_own_type_is_read_as_it_is() {
        let kind = "multipart/related; boundary=b; type=\"text/xml\"";
        let envelope = soap(&include("cid:a@x"));
        let body = message(&[("Content-Type: text/xml; charset=utf-8", &envelope), ("Content-ID: <a@x>", "attached")]);
        assert_eq!(read(kind, &body).as_deref(), Ok(envelope.as_str()));
    }

    #[test]
    fn inclusions_lead_to_parts_of_the_message_only() {
        for href in [
            "http://169.254.169.254/",
            "file:///etc/hostname",
            "#a",
            "a@x",
            "cid:",
            "cid:c@x",
            "cid:root@x",
            "cid:%zz",
            "cid:%ff",
            "CID:a@x",
        ] {
            let body = message(&[(ROOT, &soap(&include(href))), ("Content-ID: <a@x>", "x")]);
            assert_eq!(why(TYPE, &body), MultipartFault::Reference, "{href}");
        }
        let two = format!("<d><x:Include xmlns:x='{XOP}' href='cid:a@x'/><y/></d>");
        assert_eq!(why(TYPE, &message(&[(ROOT, &soap(&two)), ("Content-ID: <a@x>", "x")])), MultipartFault::Inclusion);
        assert_eq!(why(TYPE, &message(&[(ROOT, &soap("<d/>")), ("Content-ID: <a@x>", "x")])), MultipartFault::Unreferenced);
    }

    #[test]
    fn one_message_has_one_root_and_one_part_of_a_name() {
        let envelope = soap("<d/>");
        let good = message(&[(ROOT, &envelope)]);
        assert!(read(TYPE, &good).is_ok());
        let swapped = message(&[("Content-ID: <a@x>\r\nContent-Type: text/xml", &soap("<evil/>")), (ROOT, &envelope)]);
        assert_eq!(why(TYPE, &swapped), MultipartFault::Root);
        assert_eq!(why(&TYPE.replace("root@x", "other@x"), &good), MultipartFault::Root);
        assert_eq!(why(&TYPE.replace("application/xop+xml", "text/xml"), &good), MultipartFault::Root);
        assert_eq!(why("multipart/related; boundary=b", &good), MultipartFault::Root);
        assert_eq!(why(&TYPE.replace("text/xml", "application/soap+xml"), &good), MultipartFault::Root);
        let envelope = soap(&include("cid:a@x"));
        let twice = message(&[(ROOT, &envelope), ("Content-ID: <a@x>", "x"), ("Content-ID: <a@x>", "y")]);
        assert_eq!(why(TYPE, &twice), MultipartFault::DuplicateId);
    }

    #[test]
    fn the_frame_is_kept_strictly() {
        let good = message(&[(ROOT, &soap("<d/>"))]);
        for wrong in [
            String::new(),
            "--b".to_owned(),
            "--b\r\n".to_owned(),
            "--b\r\n\r\n".to_owned(),
            format!("preamble\r\n{good}"),
            format!("{good}epilogue"),
            good.replace("--b--", "--b"),
            good.replace("--b--", "--c--"),
            good.replace("--b--", "--b-"),
            good.replace("\r\n", "\n"),
            // RFC 2046 §5.1.1 forbids the delimiter inside a part, whatever follows it.
            message(&[(ROOT, &soap("<d/>")), ("X: y", "\r\n--bb")]),
        ] {
            assert_eq!(why(TYPE, &wrong), MultipartFault::Frame, "{wrong:?}");
        }
        assert_eq!(why(TYPE, "--b--"), MultipartFault::Root);
        for boundary in ["", &"b".repeat(71), "b ", "b;"] {
            assert_eq!(why(&TYPE.replace("\"b\"", &format!("\"{boundary}\"")), &good), MultipartFault::Boundary);
        }
        assert_eq!(why("multipart/related; type=\"text/xml\"", &good), MultipartFault::Boundary);
        assert_eq!(read("multipart/mixed; boundary=b", &good), Err(Error::MediaType));
        for (head, expected) in [
            ("Content-ID: a\r\nContent-Id: b", MultipartFault::Header),
            ("Content-ID", MultipartFault::Header),
            ("Content-Type: text/xml;\r\n charset=utf-8", MultipartFault::Header),
            (": x", MultipartFault::Header),
            ("Content-Transfer-Encoding: quoted-printable", MultipartFault::TransferEncoding),
            ("Content-Transfer-Encoding: base64", MultipartFault::TransferEncoding),
            ("Content-Transfer-Encoding: 7bit", MultipartFault::TransferEncoding),
        ] {
            assert_eq!(why(TYPE, &message(&[(ROOT, &soap("<d/>")), (head, "é*")])), expected, "{head}");
        }
    }

    #[test]
    fn amounts_have_their_limits() {
        let envelope = soap("<d/>");
        let part = ("Content-Type: a/b", "x");
        let many = |count: usize| message(&[&[(ROOT, envelope.as_str())][..], &vec![part; count]].concat());
        assert_eq!(why(TYPE, &many(MOST_PARTS - 1)), MultipartFault::Unreferenced);
        assert_eq!(why(TYPE, &many(MOST_PARTS)), MultipartFault::TooManyParts);
        let long = format!("X: {}", "x".repeat(LONGEST_HEADERS));
        assert_eq!(why(TYPE, &message(&[(ROOT, &envelope), (&long, "x")])), MultipartFault::HeadersTooLong);
        // One part, included again and again.
        let again = soap(&include("cid:a@x").repeat(20));
        assert_eq!(why(TYPE, &message(&[(ROOT, &again), ("Content-ID: <a@x>", &"x".repeat(500))])), MultipartFault::TooLong);
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in "(--b(--)?|\r\n|Content-ID: <root@x>|Content-Type: text/xml|[a:<> -]){0,16}") {
            let _ = read(TYPE, &body);
            let _ = read(TYPE, &format!("--b\r\n{body}\r\n--b--"));
        }
    }
}
