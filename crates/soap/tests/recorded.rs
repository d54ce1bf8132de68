//! Every recorded message of real clients is an envelope with one operation; what is none is refused for its reason.

use std::path::PathBuf;

use vestibule_soap::{Envelope, Target};
use vestibule_xmlsec::{Document, Limits};

const WSSE: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";

#[test]
fn recorded_messages_are_read() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../corpus/recorded/soap");
    let (mut read, mut secured, mut refused) = (0, 0, Vec::new());
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "xml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let envelope = Document::parse(&std::fs::read(&path).unwrap(), &Limits::SOAP)
            .map_err(Into::into)
            .and_then(|document| Envelope::read(&document));
        match envelope {
            Ok(envelope) => {
                let envelope = envelope.sender_says();
                assert!(envelope.operation().is_some_and(|operation| !operation.followed), "{name}");
                read += 1;
                secured += envelope.blocks_for(WSSE, "Security", &Target::Ultimate).count();
            }
            Err(error) => refused.push((name, error.reason())),
        }
    }
    assert_eq!(refused, [("d06_dtd.xml".to_owned(), "dtd")]);
    assert!(read > 60 && secured > 55, "{read} read, {secured} headers");
}
