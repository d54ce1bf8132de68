//! A public key is no secret for a MAC, and a secret is no list of public keys.
use vestibule_xmlsec::{Keys, SharedKey, TrustedKeys};

fn confuse(keys: &TrustedKeys) -> Keys<'_> {
    Keys::Shared(keys)
}

fn trust(key: &SharedKey, keys: &mut TrustedKeys) {
    keys.add_spki(key.octets());
}

fn main() {}
