//! Pieces of XML that are written around received octets.

use crate::tree::{Declaration, Element, Tree};

/// Writes the declarations in scope at an element, save those it makes itself, if `own` is given.
pub(crate) fn declare(tree: &Tree, at: &Element, own: Option<&Element>, out: &mut String) {
    let prefix_of = |declaration: &Declaration| tree.source(declaration.prefix.0, declaration.prefix.1);
    let mut seen: Vec<&str> = own.map(|own| tree.declarations(own).iter().map(prefix_of).collect()).unwrap_or_default();
    for declaration in tree.scope(at.scope) {
        let prefix = prefix_of(declaration);
        if prefix == "xml" || seen.contains(&prefix) {
            continue;
        }
        seen.push(prefix);
        let name = tree.namespace(declaration.namespace);
        if own.is_some() && name.is_empty() {
            continue;
        }
        out.push_str(if prefix.is_empty() { " xmlns" } else { " xmlns:" });
        out.push_str(prefix);
        out.push_str("=\"");
        escape(name, out);
        out.push('"');
    }
}

/// A text, or a value for an attribute in quotation marks.
pub(crate) fn escape(value: &str, out: &mut String) {
    let mut rest = value;
    while let Some(place) = rest.find(['&', '<', '>', '"', '\t', '\n', '\r']) {
        let (plain, special) = rest.split_at(place);
        let mut characters = special.chars();
        out.push_str(plain);
        out.push_str(match characters.next() {
            Some('&') => "&amp;",
            Some('<') => "&lt;",
            Some('>') => "&gt;",
            Some('"') => "&quot;",
            Some('\t') => "&#9;",
            Some('\n') => "&#10;",
            Some('\r') => "&#13;",
            Some(_) | None => "",
        });
        rest = characters.as_str();
    }
    out.push_str(rest);
}
