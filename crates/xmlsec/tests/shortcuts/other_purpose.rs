//! A key for one purpose is no key for another.
use vestibule_xmlsec::{IdentityProvider, ServiceProvider, SigningKey};

fn sign_a_response(_: &SigningKey<IdentityProvider>) {}

fn confuse(key: &SigningKey<ServiceProvider>) {
    sign_a_response(key);
}

fn main() {}
