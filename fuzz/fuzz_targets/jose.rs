#![no_main]

#[path = "../src/jose.rs"]
mod jose;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| jose::consume(octets));
