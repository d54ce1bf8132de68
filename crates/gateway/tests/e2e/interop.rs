//! What was seen to work with other people's programs: `docs/interop.md`, one line for each flow that a test went through.
//!
//! A test that has passed says so here, and its line must stand there already; with `VESTIBULE_WRITE_DOCS` it is written. So the
//! page says nothing that no test has done, and the tests do nothing that the page does not say.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;

/// One test at a time writes.
static PAGE: Mutex<()> = Mutex::new(());

const HEAD: &str = "# Interoperability

Which programs were seen to work with this one, and in what. The lines are written by the tests in which it was so
(`VESTIBULE_WRITE_DOCS=1`), and `.ci/run` runs each of them; metadata are exchanged as the programs write them.

| peer | version | its part | what was done | result |
|---|---|---|---|---|
";

/// Says that a peer of this version was seen doing `flows` in its part.
pub fn passed(peer: &str, version: &str, part: &str, flows: &[&str]) {
    let _turn = PAGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/interop.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let lines: Vec<String> = flows.iter().map(|flow| format!("| {peer} | {version} | {part} | {flow} | passes |")).collect();
    if std::env::var_os("VESTIBULE_WRITE_DOCS").is_none() {
        for line in lines {
            assert!(text.lines().any(|known| known == line), "docs/interop.md does not say: {line}\n(VESTIBULE_WRITE_DOCS=1 writes it)");
        }
        return;
    }
    // What this peer did before, in another version, goes.
    let stays = |line: &&str| !line.starts_with(&format!("| {peer} |")) || line.starts_with(&format!("| {peer} | {version} |"));
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| peer ")).filter(stays).map(str::to_owned);
    let rows: BTreeSet<String> = rows.chain(lines).collect();
    let body: String = rows.iter().map(|row| format!("{row}\n")).collect();
    std::fs::write(&path, format!("{HEAD}{body}")).unwrap();
}

/// The version of a Debian package as its makers count it.
pub fn debian(package: &str) -> String {
    let output = std::process::Command::new("dpkg-query").args(["-W", "-f", "${Version}", package]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let text = text.rsplit_once(':').map_or(text.as_str(), |(_, version)| version);
    text.split(['-', '+', '~']).next().unwrap_or_default().to_owned()
}
