//! The page of the scheme is true.

use super::*;

/// What the page of the scheme shows of the wire is what goes over it.
#[test]
fn the_page_of_the_scheme_is_true() {
    let gateway = gateway();
    let page = std::fs::read_to_string(format!("{}/../../docs/schemes/integration.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let blocks = |language: &str| -> Vec<String> {
        page.split(&format!("\n```{language}\n")).skip(1).map(|rest| rest.split("\n```").next().unwrap().to_owned()).collect()
    };
    let (asked, answered) = (blocks("http"), blocks("http-answer"));
    assert!(asked.len() == 2 && answered.len() == 2);
    let host = format!("app.north.localhost:{}", gateway.public);
    for (request, expected) in asked.iter().zip(&answered) {
        let request = request.replace("{{host}}", &host).replace("{{password}}", &ADA.1.replace(' ', "%20"));
        let (head, body) = request.split_once("\n\n").unwrap_or((&request, ""));
        let octets =
            format!("{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", head.trim_end().replace('\n', "\r\n"), body.len());
        let answer = crate::support::exchange(gateway.address, octets.as_bytes());
        let (head, body) = expected.split_once("\n\n").unwrap_or((expected, ""));
        let mut lines = head.lines();
        assert!(lines.next().unwrap().starts_with(&format!("HTTP/1.1 {}", answer.status)), "{answer:?}");
        for line in lines {
            let (name, value) = line.split_once(": ").unwrap();
            let found = answer.header(name).unwrap_or_else(|| panic!("no {name}: {answer:?}"));
            match value.split_once("{{session}}") {
                Some((before, after)) => assert!(found.starts_with(before) && found.ends_with(after), "{found}"),
                None => assert_eq!(found, value),
            }
        }
        assert!(answer.body.contains(body), "{answer:?}");
    }
}
