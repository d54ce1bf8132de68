#![no_main]

#[path = "../src/keys.rs"]
mod fuzz_keys;
#[path = "../src/saml20.rs"]
mod saml20;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| saml20::consume(octets));
