//! Small readers over one element, the same for signed content and for claims.

use jiff::Timestamp;
use vestibule_xmlsec::{Authority, ElementView, Error};

use crate::time;

/// A required attribute without namespace.
pub(crate) fn required<'t, A: Authority>(element: &ElementView<'t, A>, name: &str, missing: &'static str) -> Result<&'t str, Error> {
    element.attribute("", name).filter(|value| !value.is_empty()).ok_or_else(|| element.unreadable(missing))
}

/// An optional attribute as an owned string.
pub(crate) fn optional<A: Authority>(element: &ElementView<'_, A>, name: &str) -> Option<String> {
    element.attribute("", name).map(str::to_owned)
}

/// An optional instant.
pub(crate) fn instant<A: Authority>(element: &ElementView<'_, A>, name: &str) -> Result<Option<Timestamp>, Error> {
    match element.attribute("", name) {
        None => Ok(None),
        Some(value) => time::parse(value).map(Some).ok_or_else(|| element.unreadable("a time that is no UTC instant")),
    }
}

/// A required instant.
pub(crate) fn required_instant<A: Authority>(element: &ElementView<'_, A>, name: &str) -> Result<Timestamp, Error> {
    instant(element, name)?.ok_or_else(|| element.unreadable("a required time is missing"))
}

/// An optional `xs:boolean`.
pub(crate) fn boolean<A: Authority>(element: &ElementView<'_, A>, name: &str) -> Result<Option<bool>, Error> {
    match element.attribute("", name).map(|value| value.trim_matches(time::is_space)) {
        None => Ok(None),
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(_) => Err(element.unreadable("a boolean that is neither true nor false")),
    }
}

/// An optional number.
pub(crate) fn number<A: Authority, N: std::str::FromStr>(element: &ElementView<'_, A>, name: &str) -> Result<Option<N>, Error> {
    match element.attribute("", name) {
        None => Ok(None),
        Some(value) => value.trim_matches(time::is_space).parse().map(Some).map_err(|_| element.unreadable("a number that is none")),
    }
}

/// The whole text without white space around it: names and URIs, which some senders print on lines of their own.
pub(crate) fn token<A: Authority>(element: &ElementView<'_, A>) -> Result<String, Error> {
    Ok(element.text()?.trim_matches(time::is_space).to_owned())
}

/// A required child's token, not empty.
pub(crate) fn child_token<A: Authority>(
    element: &ElementView<'_, A>,
    namespace: &str,
    local: &str,
    missing: &'static str,
) -> Result<String, Error> {
    let child = element.child(namespace, local)?.ok_or_else(|| element.unreadable(missing))?;
    Some(token(&child)?).filter(|text| !text.is_empty()).ok_or_else(|| child.unreadable(missing))
}
