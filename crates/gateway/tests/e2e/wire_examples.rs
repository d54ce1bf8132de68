//! The pages of the schemes show what goes over the wire: what they show against `*.localhost` is sent here, and answered so.
//! Examples that need a partner are held by the tests of that partner (`shown`), or their like is sent there.

use crate::support::{Gateway, USERS, exchange};

/// Pages that show nothing of the wire: a handshake has no text.
const NOTHING: [&str; 1] = ["client-certificate.md"];
/// What stands in a block that shows the wire.
const WIRE: [&str; 5] = ["GET /", "POST /", "HTTP/1.1", "<samlp:", "Envelope"];

#[test]
fn what_the_pages_of_schemes_show_is_what_is_answered() {
    let gateway = Gateway::start().with_users();
    let session = gateway.sign_in(USERS[0].0, USERS[0].1).1;
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/schemes");
    let mut shown = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let page = std::fs::read_to_string(&path).unwrap();
        let examples = page.split("```http\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let examples: Vec<&str> = examples.filter(|example| example.contains(".localhost\n")).collect();
        let shows = page.split("```").skip(1).step_by(2).any(|block| WIRE.iter().any(|word| block.contains(word)));
        assert!(shows || NOTHING.contains(&name.as_str()), "{name} shows nothing of the wire");
        for example in examples {
            let (request, response) = example.split_once("\nHTTP/1.1 ").unwrap_or_else(|| panic!("{name}: no answer in {example}"));
            let request = request.replace("{SESSION}", &session).replace(".localhost\n", &format!(".localhost:{}\n", gateway.public));
            let octets = format!("{}\nConnection: close\n\n", request.trim_end()).replace('\n', "\r\n");
            let answer = exchange(gateway.address, octets.as_bytes());
            let (status, headers) = response.split_once('\n').unwrap();
            assert_eq!(answer.status.to_string(), status.split(' ').next().unwrap(), "{name}: {example} {answer:?}");
            for line in headers.lines().filter(|line| !line.is_empty()) {
                let (header, value) = line.split_once(": ").unwrap();
                let fits = |found: &&str| value.strip_suffix('…').map_or(*found == value, |begins| found.starts_with(begins));
                assert!(answer.all(header).iter().any(fits), "{name}: expected {line}, found {answer:?}");
            }
            shown += 1;
        }
    }
    assert!(shown >= 6, "{shown}");
}
