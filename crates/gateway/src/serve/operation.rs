//! The operation of a SOAP body, for policies that ask for it (architecture §3).
//!
//! The engine knows no XML: a door that held the body says what it asks for. What an attacker tries: a harmless
//! `SOAPAction` beside another operation (attack 67), a second operation behind the first, a media type that makes us not
//! look, so that a `forbid` does not meet him. Where policies ask, every body therefore names exactly one operation, in the
//! SOAP that its media type announces, or is refused.

use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use vestibule_engine::request::{Body, CheckRequest, Malformed};
use vestibule_engine::route::Found;
use vestibule_soap::{Declared, Envelope, Error, MediaType, Multipart};
use vestibule_xmlsec::{Document, Limits};

/// Octets that a data thread reads by itself; more would keep everybody on its core waiting.
const AT_ONCE: usize = 64 * 1024;

/// Notes the operation in a request whose body is held, if the route's policies ask for it.
pub(super) async fn note(request: &mut CheckRequest, found: &Found) -> Result<(), Malformed> {
    if !found.route.policy.reads_operation() {
        return Ok(());
    }
    // A door that cannot see the body says nothing about it; `check` refuses such a route, and so does this.
    let Body::Whole(body) = &request.body else { return Err(Malformed::Soap) };
    if body.is_empty() {
        return Ok(());
    }
    let said = Said::of(&request.headers)?;
    let body = body.clone();
    let operation = if body.len() > AT_ONCE {
        tokio::task::spawn_blocking(move || said.operation(&body)).await.unwrap_or(Err(Malformed::Soap))
    } else {
        said.operation(&body)
    };
    request.operation = Some(operation?);
    Ok(())
}

/// What the head says of the message.
struct Said {
    media_type: MediaType,
    action: Option<String>,
}

impl Said {
    fn of(headers: &HeaderMap) -> Result<Self, Malformed> {
        let single = |name: &str, wrong: Malformed| {
            let mut values = headers.get_all(name).iter();
            match (values.next(), values.next()) {
                (None, _) => Ok(None),
                (Some(value), None) => value.to_str().map(Some).map_err(|_| wrong),
                (Some(_), Some(_)) => Err(wrong),
            }
        };
        let media_type = single(CONTENT_TYPE.as_str(), Malformed::Soap)?.ok_or(Malformed::Soap)?;
        let media_type = MediaType::parse(media_type).map_err(|_| Malformed::Soap)?;
        let action = single("soapaction", Malformed::SoapAction)?.map(str::to_owned);
        Ok(Self { media_type, action })
    }

    fn operation(&self, body: &Bytes) -> Result<Box<str>, Malformed> {
        self.read(body).map_err(|error| {
            tracing::debug!(%error, "a body without an operation");
            match error {
                Error::ActionsDiffer { .. } | Error::SoapAction => Malformed::SoapAction,
                Error::Xml(_)
                | Error::NotSoap
                | Error::UnknownVersion
                | Error::VersionsDiffer { .. }
                | Error::MediaType
                | Error::Multipart(_) => Malformed::Soap,
            }
        })
    }

    fn read(&self, body: &Bytes) -> Result<Box<str>, Error> {
        // The body's own length was limited by the route.
        let limits = Limits { size: body.len(), ..Limits::SOAP };
        let (document, media_type) = if self.media_type.essence() == "multipart/related" {
            let multipart = Multipart::parse(&self.media_type, body)?;
            let root = multipart.parts().first().ok_or(Error::NotSoap)?;
            (Document::parse(root.octets(), &limits)?, multipart.envelope_type()?)
        } else {
            (Document::parse(body, &limits)?, self.media_type.clone())
        };
        let envelope = Envelope::read(&document)?;
        let envelope = envelope.sender_says();
        // A policy on one operation says nothing about a second one, and an empty Body leaves the choice to `SOAPAction`.
        let operation = envelope.operation().filter(|operation| !operation.followed).ok_or(Error::NotSoap)?;
        Declared::read(envelope, self.action.as_deref(), Some(&media_type))?.must_name(operation)?;
        Ok(operation.local.as_str().into())
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";

    fn operation(headers: &[(&'static str, &str)], body: &str) -> Result<Box<str>, Malformed> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        Said::of(&map)?.operation(&Bytes::copy_from_slice(body.as_bytes()))
    }

    fn envelope(inside: &str) -> String {
        format!("<s:Envelope xmlns:s='{SOAP11}' xmlns:o='urn:o'><s:Body>{inside}</s:Body></s:Envelope>")
    }

    #[test]
    fn the_operation_is_the_one_element_of_the_body() {
        let order = envelope("<o:Order/>");
        let text = ("content-type", "text/xml; charset=utf-8");
        assert_eq!(operation(&[text], &order).as_deref(), Ok("Order"));
        assert_eq!(operation(&[text, ("soapaction", "\"urn:o/Order\"")], &order).as_deref(), Ok("Order"));
        assert_eq!(operation(&[text, ("soapaction", "\"urn:o/Cancel\"")], &order), Err(Malformed::SoapAction));
        assert_eq!(operation(&[text, ("soapaction", "\"Order\""), ("soapaction", "\"Order\"")], &order), Err(Malformed::SoapAction));
        assert_eq!(operation(&[text, ("soapaction", "\"urn:o/Order")], &order), Err(Malformed::SoapAction));
        assert_eq!(operation(&[text, ("content-type", "text/xml")], &order), Err(Malformed::Soap));
        assert_eq!(operation(&[], &order), Err(Malformed::Soap));
        for body in [envelope(""), envelope("<o:Order/><o:Cancel/>"), "<o:Order xmlns:o='urn:o'/>".to_owned(), "{}".to_owned()] {
            assert_eq!(operation(&[text], &body), Err(Malformed::Soap), "{body}");
        }
        for media_type in ["application/json", "application/soap+xml", "text/xml; charset=utf-16", "text/xml; charset=utf-8; charset=x"] {
            assert_eq!(operation(&[("content-type", media_type)], &order), Err(Malformed::Soap), "{media_type}");
        }
    }

    #[test]
    fn the_operation_of_several_parts_is_that_of_the_root() {
        let parts = |order: &str, other: &str| {
            let part = |inside: &str| format!("--b\r\nContent-Type: text/xml\r\n\r\n{}\r\n", envelope(inside));
            format!("{}{}--b--", part(order), part(other))
        };
        let media_type = ("content-type", "multipart/related; type=\"text/xml\"; boundary=b");
        let body = parts("<o:Order/>", "<o:Cancel/>");
        assert_eq!(operation(&[media_type], &body).as_deref(), Ok("Order"));
        assert_eq!(operation(&[media_type, ("soapaction", "Cancel")], &body), Err(Malformed::SoapAction));
        assert_eq!(operation(&[("content-type", "multipart/related; type=\"text/xml\"; boundary=c")], &body), Err(Malformed::Soap));
    }
}
