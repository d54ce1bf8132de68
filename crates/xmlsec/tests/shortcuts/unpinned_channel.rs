//! A channel vouches only with a peer that a handshake confirmed.
use vestibule_xmlsec::{Document, Element, PinnedPeer, Verified};

fn vouch(document: Document) -> Verified<Element> {
    document.vouched_by_channel(PinnedPeer { partner: "idp".into() })
}

fn main() {}
