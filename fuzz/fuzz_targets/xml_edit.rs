#![no_main]

#[expect(dead_code, reason = "each target uses a part")]
#[path = "../src/xml.rs"]
mod xml;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| xml::edit(octets));
