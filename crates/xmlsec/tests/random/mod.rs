//! Random documents, the same in every run, and a Python process that works on thousands of them.
#![expect(dead_code, reason = "each test binary uses a part")]
#![expect(clippy::panic, clippy::indexing_slicing, reason = "a test says what it expects")]

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;

/// Says that a peer is not installed, or fails where it has to be.
pub fn skipped(what: &str) {
    assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{what} is required here");
    eprintln!("SKIPPED: {what} is not installed");
}

/// One process: one line in (JSON), one line out.
pub struct Python {
    child: Child,
    to: ChildStdin,
    from: Lines<BufReader<ChildStdout>>,
}

impl Python {
    /// `None` if the interpreter has no such modules, which was said.
    pub fn start(modules: &str, program: &str) -> Option<Self> {
        let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let there = Command::new(&python).args(["-c", &format!("import {modules}")]).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            skipped(&format!("python3 with {modules}"));
            return None;
        }
        let mut child = Command::new(&python).args(["-c", program]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let to = child.stdin.take().unwrap();
        let from = BufReader::new(child.stdout.take().unwrap()).lines();
        Some(Self { child, to, from })
    }

    pub fn ask(&mut self, job: &Value) -> String {
        writeln!(self.to, "{job}").unwrap();
        self.from.next().unwrap_or_else(|| panic!("the peer ended at {job}")).unwrap()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // Ends by itself at the end of its input, but not where a test fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A generator whose documents are the same in every run.
pub struct Random(pub u64);

impl Random {
    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }

    pub fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap()]
    }
}

pub const PREFIXES: [&str; 4] = ["", "p", "q", "r"];
/// No `&`: libxml2 does not escape it in a namespace name (Canonical XML §2.3 does).
const NAMES: [&str; 5] = ["urn:a", "urn:b", "http://example.org/c?d=1", "urn:d#e", "urn:b"];

/// One element with everything in it; `scope` holds the prefixes that are declared.
pub fn element(random: &mut Random, depth: u64, scope: &[(&'static str, String)], out: &mut String) {
    let mut scope = scope.to_vec();
    let mut declared = String::new();
    let mut own: Vec<&str> = Vec::new();
    for _ in 0..random.below(3) {
        let prefix = random.of(&PREFIXES);
        if own.contains(&prefix) {
            continue;
        }
        own.push(prefix);
        let undeclare = prefix.is_empty() && random.below(3) == 0;
        let name = if undeclare { "" } else { random.of(&NAMES) };
        scope.retain(|(known, _)| *known != prefix);
        scope.push((prefix, name.to_owned()));
        declared += &if prefix.is_empty() { format!(" xmlns=\"{name}\"") } else { format!(" xmlns:{prefix}='{name}'") };
    }
    let bound: Vec<(&'static str, String)> = scope.iter().filter(|(prefix, _)| !prefix.is_empty()).cloned().collect();
    let local = random.of(&["a", "b", "élan", "c-d.e"]);
    let name = match random.below(2) {
        0 if !bound.is_empty() => format!("{}:{local}", bound[usize::try_from(random.below(bound.len() as u64)).unwrap()].0),
        _ => local.to_owned(),
    };
    let mut attributes = Vec::new();
    let mut seen: Vec<(String, &str)> = Vec::new();
    for _ in 0..random.below(4) {
        let local = random.of(&["x", "y", "z", "Z", "é"]);
        let (prefix, namespace) = match random.below(3) {
            0 if !bound.is_empty() => bound[usize::try_from(random.below(bound.len() as u64)).unwrap()].clone(),
            1 if random.below(3) == 0 => ("xml", "xml".to_owned()),
            _ => ("", String::new()),
        };
        if seen.contains(&(namespace.clone(), local)) {
            continue;
        }
        seen.push((namespace, local));
        let value =
            random.of(&["", "1", "a  b", "&lt;&amp;&gt;", "&#9;&#10;&#13;", "tab\tline\nend\r\n.", "é𝄞", "'", "&quot;", "]]>", "&#xA0;"]);
        let separator = if prefix.is_empty() { "" } else { ":" };
        attributes.push(format!(" {prefix}{separator}{local}=\"{value}\""));
    }
    // Declarations stand before or behind the attributes.
    let attributes = attributes.concat();
    *out += &if random.below(2) == 0 { format!("<{name}{declared}{attributes}") } else { format!("<{name}{attributes}{declared}") };
    if random.below(6) == 0 {
        *out += random.of(&["/>", " />"]);
        return;
    }
    *out += ">";
    for _ in 0..random.below(5) {
        match random.below(4) {
            0 | 1 if depth > 0 => element(random, depth - 1, &scope, out),
            _ => {
                *out += random.of(&[
                    "text",
                    " \n\t ",
                    "\r\n",
                    "\r",
                    "&#13;",
                    "&amp;&lt;&gt;",
                    ">",
                    "é𝄞\u{a0}",
                    "<![CDATA[<&>\r\n]]>",
                    "<![CDATA[]]>",
                    "<!-- c\r\n -->",
                    "<!---->",
                    "<?pi?>",
                    "<?pi  data \r\n?>",
                    "\"'",
                    "<![CDATA[a]]>b<![CDATA[c]]>",
                    "&quot;&apos;",
                ]);
            }
        }
    }
    *out += &format!("</{name}{}>", random.of(&["", " ", "\n"]));
}

pub fn document(random: &mut Random) -> String {
    let mut out = random.of(&["", "<?xml version='1.0'?>", "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n"]).to_owned();
    for _ in 0..random.below(3) {
        out += random.of(&["<!-- before -->", "<?before x?>", "\n", "<!--\r\n-->"]);
    }
    element(random, 4, &[], &mut out);
    for _ in 0..random.below(3) {
        out += random.of(&["<!-- after -->", "<?after x?>", "\n", "\r\n"]);
    }
    out
}

/// The place of the element whose `Id` this is.
pub fn place_of_id(document: &vestibule_xmlsec::Document, id: &str) -> vestibule_xmlsec::Place {
    use vestibule_xmlsec::{ElementView, Error, FromClaimed, Place, Unsigned};

    struct Ids(Vec<(String, Place)>);
    impl FromClaimed for Ids {
        fn from_claimed(root: ElementView<'_, Unsigned>) -> Result<Self, Error> {
            fn visit(element: ElementView<'_, Unsigned>, found: &mut Vec<(String, Place)>) {
                let ids = element.attributes().filter(|(_, local, _)| *local == "Id");
                found.extend(ids.map(|(_, _, id)| (id.to_owned(), element.place())));
                element.children().for_each(|child| visit(child, found));
            }
            let mut found = Vec::new();
            visit(root, &mut found);
            Ok(Self(found))
        }
    }
    let found = document.claim::<Ids>().unwrap();
    found.sender_says().0.iter().find(|(known, _)| known == id).map(|(_, place)| place.clone()).unwrap()
}
