//! The SOAP message in a request: the body itself, or the root of several parts (SOAP 1.1 §6, SOAP 1.2 part 2 §7, RFC 2387).
//!
//! What an attacker tries: a media type or an encoding by which we and the service read two messages, a part that is
//! signed in one place and used in another. The message is read from the very octets that are forwarded.

use std::ops::Range;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, Method};
use memchr::memmem;
use vestibule_engine::request::{Body, CheckRequest};
use vestibule_soap::{MediaType, Multipart};
use vestibule_wss::{Error, Message};
use vestibule_xmlsec::{Limits, is_literal};

/// A message, and where it stands in the body.
#[derive(Debug, Clone)]
pub struct Received {
    /// As it is judged: inclusions stand in line.
    pub message: Message,
    /// The octets of the root part; the whole body where there are no parts.
    root: Range<usize>,
    /// Whether inclusions were put in line, so that the octets are not those of the root.
    packaged: bool,
}

/// The body, if it may be a message: a POST that was read whole and says that it is SOAP. No verdict.
pub fn body(request: &CheckRequest) -> Option<&Bytes> {
    octets(request).filter(|_| request.method == Method::POST)
}

/// The same by whatever method: what is no message here may be one for the service.
pub fn octets(request: &CheckRequest) -> Option<&Bytes> {
    let Body::Whole(body) = &request.body else { return None };
    let media_types = ["text/xml", "application/soap+xml", "application/xml", "multipart/related"];
    // Of two types the service may look at the second; such a message is refused when it is read.
    let is_soap = request.headers.get_all(CONTENT_TYPE).iter().any(|value| {
        let essence = value.as_bytes().split(|octet| *octet == b';').next().unwrap_or_default().trim_ascii();
        media_types.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(essence))
    });
    (is_soap && !body.is_empty()).then_some(body)
}

/// Whether a body may hold a security header: the namespaces of all eras have this word in common, and it is not there. Only
/// octets that nobody reads as another text prove that; all others have to be parsed.
pub fn may_be_secured(headers: &HeaderMap, body: &[u8]) -> bool {
    !is_plain(headers, body) || memmem::find(body, b"secext").is_some()
}

/// Whether the ASCII of a message is its octets, for every reader: one document, that neither says nor is said to be in another encoding.
pub fn is_plain(headers: &HeaderMap, body: &[u8]) -> bool {
    let is_xml = |media_type: &MediaType| {
        let charset = media_type.parameter("charset").unwrap_or("utf-8");
        let known = ["utf-8", "us-ascii", "iso-8859-1"].iter().any(|known| known.eq_ignore_ascii_case(charset));
        known && media_type.essence() != "multipart/related"
    };
    single(headers, &CONTENT_TYPE).ok().flatten().and_then(|value| MediaType::parse(value).ok()).is_some_and(|read| is_xml(&read))
        && !headers.contains_key(CONTENT_ENCODING)
        && is_literal(body)
}

/// The message in a body that has to be looked at; `None` for XML of another kind.
///
/// # Errors
/// As [`Received::read`].
pub fn received(headers: &HeaderMap, body: &Bytes) -> Result<Option<Received>, Error> {
    match Received::read(headers, body) {
        // Without the word its sender meant no security header, and to nobody it is a message.
        Err(Error::Soap(vestibule_soap::Error::NotSoap)) if memmem::find(body, b"secext").is_none() && !is_multipart(headers) => Ok(None),
        read => read.map(Some),
    }
}

fn is_multipart(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().to_ascii_lowercase().starts_with(b"multipart/"))
}

fn single<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Result<Option<&'h str>, vestibule_soap::Error> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value.and_then(|value| value.to_str().ok())),
        (_, Some(_)) => Err(vestibule_soap::Error::MediaType),
    }
}

/// The limits of a message whose length the route has limited: what is put in line or written into it must fit, too.
pub fn room(body: &[u8]) -> Limits {
    Limits { size: body.len().saturating_mul(2).saturating_add(1 << 20), ..Limits::SOAP }
}

impl Received {
    /// Reads the message of a request with this head. Its length was limited by the route.
    ///
    /// # Errors
    /// [`Error`], with the reason for the audit.
    pub fn read(headers: &HeaderMap, body: &Bytes) -> Result<Self, Error> {
        if single(headers, &CONTENT_ENCODING)?.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
            return Err(vestibule_soap::Error::MediaType.into());
        }
        let media_type = MediaType::parse(single(headers, &CONTENT_TYPE)?.unwrap_or_default())?;
        let limits = room(body);
        if media_type.essence() != "multipart/related" {
            let message = Message::read(body, &limits)?;
            media_type.carries(message.envelope().version())?;
            return Ok(Self { message, root: 0..body.len(), packaged: false });
        }
        let multipart = Multipart::parse(&media_type, body)?;
        let octets = multipart.parts().first().ok_or(vestibule_soap::Error::NotSoap)?.octets();
        // Where the root is encoded there are no octets of the body that are its own.
        let begin = (octets.as_ptr() as usize).checked_sub(body.as_ptr() as usize).ok_or(vestibule_soap::Error::MediaType)?;
        let root = begin..begin.saturating_add(octets.len());
        if body.get(root.clone()) != Some(octets) {
            return Err(vestibule_soap::Error::MediaType.into());
        }
        let (inline, document) = multipart.envelope(&limits)?;
        let packaged = inline != octets;
        let message = Message::of(document)?;
        multipart.envelope_type()?.carries(message.envelope().version())?;
        Ok(Self { message, root, packaged })
    }

    /// The message as it stands in the body, to be edited there. In a package that is not the one that was judged.
    ///
    /// # Errors
    /// [`Error`] as for [`Received::read`].
    pub fn as_sent(&self, body: &Bytes) -> Result<Message, Error> {
        if !self.packaged {
            return Ok(self.message.clone());
        }
        let octets = body.get(self.root.clone()).unwrap_or_default();
        Message::read(octets, &room(body))
    }

    /// Whether inclusions were put in line: then what is signed is not what stands in the body.
    pub fn is_packaged(&self) -> bool {
        self.packaged
    }

    /// The body with another message in place of this one.
    pub fn replaced(&self, body: &Bytes, message: &[u8]) -> Bytes {
        let (before, after) = (body.get(..self.root.start).unwrap_or_default(), body.get(self.root.end..).unwrap_or_default());
        let mut whole = BytesMut::with_capacity(before.len() + message.len() + after.len());
        for octets in [before, message, after] {
            whole.extend_from_slice(octets);
        }
        whole.freeze()
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const SOAP: &str =
        "<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\"><s:Body><o xmlns=\"urn:o\"/></s:Body></s:Envelope>";

    fn read(media_type: &str, body: &str) -> Result<Received, Error> {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap())]);
        Received::read(&headers, &Bytes::copy_from_slice(body.as_bytes()))
    }

    #[test]
    fn the_version_is_that_of_the_media_type() {
        assert!(read("text/xml; charset=utf-8", SOAP).is_ok());
        for wrong in ["application/soap+xml", "text/plain", "text/xml; charset=utf-16", ""] {
            assert!(read(wrong, SOAP).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_root_of_several_parts_is_replaced_where_it_stands() {
        let body = format!("--b\r\nContent-Type: text/xml\r\n\r\n{SOAP}\r\n--b\r\nContent-ID: <x>\r\n\r\nattached\r\n--b--");
        let received = read("multipart/related; type=\"text/xml\"; boundary=b", &body).unwrap();
        let replaced = received.replaced(&Bytes::from(body.clone()), b"<other/>");
        assert_eq!(replaced, body.replace(SOAP, "<other/>").as_bytes());
        assert!(!received.is_packaged());
    }

    #[test]
    fn a_compressed_body_is_not_read() {
        let headers = [(CONTENT_TYPE, "text/xml"), (CONTENT_ENCODING, "gzip")].map(|(name, value)| (name, HeaderValue::from_static(value)));
        assert!(Received::read(&HeaderMap::from_iter(headers), &Bytes::from_static(SOAP.as_bytes())).is_err());
    }
}
