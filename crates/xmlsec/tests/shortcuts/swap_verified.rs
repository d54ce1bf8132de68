//! Nor puts other content under a proof.
use vestibule_xmlsec::{Element, Verified};

fn swap(mut proof: Verified<Element>, other: Element) -> Verified<Element> {
    proof.value = other;
    proof
}

fn map(proof: Verified<Element>) -> Verified<String> {
    proof.map(|_| "admin".to_owned())
}

fn main() {}
