//! A document shows nothing by itself.
use vestibule_xmlsec::{Document, ElementView, Unsigned};

fn look(document: &Document) -> ElementView<'_, Unsigned> {
    document.root().unwrap()
}

fn dig(document: &Document) {
    let _ = &document.tree;
}

fn main() {}
