//! The fuzz targets over their seeds and over the corpus, so that they compile and hold without a fuzzer.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test says what it expects by unwrapping it")]

use std::path::{Path, PathBuf};

#[path = "../../../fuzz/src/xml.rs"]
mod xml;

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, found) } else { found.push(path) }
    }
}

#[test]
fn the_targets_hold_for_every_seed() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut found = Vec::new();
    for folder in [
        "fuzz/seeds/xml",
        "corpus/attacks/xml-signature",
        "corpus/attacks/xml-encryption",
        "corpus/recorded/saml",
        "corpus/recorded/saml11",
        "corpus/recorded/soap",
    ] {
        files(&root.join(folder), &mut found);
    }
    assert!(found.len() > 300, "{}", found.len());
    for path in found {
        let octets = std::fs::read(&path).unwrap();
        xml::parse(&octets);
        xml::canonical(&octets);
        xml::verify(&octets);
        xml::decrypt(&octets);
        xml::edit(&[b"\x05\x00", &octets[..]].concat());
    }
}

/// What the fuzzers found worth keeping, each by the target that found it.
#[test]
fn each_target_holds_for_what_it_found() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    type Target = fn(&[u8]);
    let targets: [(&str, Target); 5] = [
        ("xml_parse", xml::parse),
        ("xml_canonicalize", xml::canonical),
        ("xml_verify", xml::verify),
        ("xml_decrypt", xml::decrypt),
        ("xml_edit", xml::edit),
    ];
    for (name, target) in targets {
        let mut found = Vec::new();
        files(&root.join(name), &mut found);
        assert!(found.len() > 20, "{name}: {}", found.len());
        found.iter().for_each(|path| target(&std::fs::read(path).unwrap()));
    }
}
