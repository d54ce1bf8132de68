#![no_main]

#[path = "../src/keys.rs"]
mod fuzz_keys;
#[path = "../src/saml11.rs"]
mod saml11;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| saml11::consume(octets));
