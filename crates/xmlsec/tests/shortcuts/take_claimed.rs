//! A claim is never taken for verified, nor made of nothing.
use vestibule_xmlsec::{Claimed, Verified};

fn promote<M>(claimed: Claimed<M>) -> Verified<M> {
    claimed.into()
}

fn invent() -> Claimed<String> {
    Claimed("admin".to_owned())
}

fn main() {}
