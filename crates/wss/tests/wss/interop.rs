//! Our messages read by zeep and WSS4J, theirs read by us, in the present.
//!
//! Without the peers the tests say SKIPPED, or fail where `VESTIBULE_PEERS=required`. `VESTIBULE_PYTHON` names an interpreter
//! that has zeep; WSS4J is Debian's `libwss4j-java`.

use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::SignedDuration;
use vestibule_soap::Version as Soap;
use vestibule_wss::{EncryptFor, EncryptedPart, Header, KeyReference, Lifetime, Message, Part, Password, Randomness, Token, TokenKind};
use vestibule_xmlsec::{AesSize, Limits, OaepHash};

use crate::common::{World, corpus, der};
use crate::roundtrip::{Signer, envelope, plain};

#[expect(clippy::disallowed_methods, reason = "the peers know no other time than the present")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

fn skipped(what: &str) {
    assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{what} is required here");
    eprintln!("SKIPPED: {what} is not installed");
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A folder of its own in the target directory, gone in the end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

impl std::ops::Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

fn folder(name: &str) -> Folder {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("wss-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    Folder(folder)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "xml"));
    files.sort();
    files
}

/// What a peer wrote is accepted, and is refused once its Body is another.
fn theirs_are_read(folder: &Path, expected: usize) {
    let files = files(folder);
    assert_eq!(files.len(), expected);
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap();
        let octets = std::fs::read(&file).unwrap();
        let tokens = if name.starts_with("name") { [TokenKind::Username] } else { [TokenKind::X509] };
        let mut world = World::of(&tokens).decrypting();
        world.now = now();
        let judged = world.judge(&octets).unwrap_or_else(|refusal| panic!("{name}: {} {}", refusal.reason, refusal.trace));
        assert_eq!(judged.message.envelope().operation().unwrap().local, "GetOrder", "{name}");
        if tokens == [TokenKind::X509] {
            let token = if name == "signed-transform.xml" { &["body", "timestamp", "token"][..] } else { &["body", "timestamp"] };
            assert_eq!(judged.covered, token, "{name}");
            let text = String::from_utf8(octets).unwrap();
            assert!(world.judge(text.replace("<o:id>7", "<o:id>8").as_bytes()).is_err() || name.starts_with("encrypted"), "{name}");
        }
    }
}

/// Writes messages of ours; each is good, and one whose Body was changed is not.
fn ours_into(folder: &Path, versions: &[Soap], references: &[KeyReference], encrypted: bool) -> Vec<PathBuf> {
    let signer = Signer::of("client-rsa2048");
    let certificate = der("server-rsa2048.crt");
    let parts = [Part::Body, Part::Timestamp, Part::Token];
    let mut random = 0;
    let mut put = |name: String, header: &Header<'_>, version: Soap| {
        random += 1;
        let message = Message::read(envelope(version, "").as_bytes(), &Limits::SOAP).unwrap();
        let octets = header.write(&message, &Limits::SOAP, now(), &Randomness([random; 32])).unwrap();
        std::fs::write(folder.join(format!("{name}.xml")), &octets).unwrap();
        let changed = String::from_utf8(octets).unwrap().replace("<o:id>7", "<o:id>8");
        if header.sign.is_some() && header.encrypt.is_none() {
            std::fs::write(folder.join(format!("bad-{name}.xml")), changed).unwrap();
        }
    };
    for version in versions {
        for reference in references {
            let header =
                Header { sign: signer.with(&parts, *reference), lifetime: Lifetime::For(SignedDuration::from_secs(300)), ..plain() };
            put(format!("signed-{reference:?}-{version:?}"), &header, *version);
        }
        if encrypted {
            for size in [AesSize::Aes128, AesSize::Aes256] {
                let everything = [EncryptedPart::Body, EncryptedPart::Signature];
                let encrypt = EncryptFor { certificate: &certificate, parts: &everything, size, hashes: (OaepHash::Sha1, OaepHash::Sha1) };
                let header = Header { sign: signer.with(&parts, KeyReference::Direct), encrypt: Some(encrypt), ..plain() };
                put(format!("encrypted-{size:?}-{version:?}"), &header, *version);
            }
            for (name, password) in [("text", Password::Text("wonderland")), ("digest", Password::Digest("wonderland"))] {
                let token = Token::Username { name: "alice", password };
                put(format!("name-{name}-{version:?}"), &Header { token, ..plain() }, *version);
            }
        }
    }
    files(folder)
}

fn judged(lines: impl Iterator<Item = (String, String)>, expected: usize) {
    let mut seen = 0;
    for (file, verdict) in lines {
        seen += 1;
        assert_eq!(verdict.starts_with("accept"), !file.starts_with("bad-"), "{file}: {verdict}");
    }
    assert_eq!(seen, expected);
}

#[test]
fn zeep_reads_ours_and_we_read_zeep_s() {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache/vestibule/peers/py/bin/python"));
    let has_zeep =
        |python: &PathBuf| Command::new(python).args(["-c", "import zeep, xmlsec"]).output().is_ok_and(|output| output.status.success());
    let named = std::env::var_os("VESTIBULE_PYTHON").map(PathBuf::from);
    let Some(python) = named.into_iter().chain(home()).find(has_zeep) else { return skipped("zeep") };
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/zeep_peer.py");
    let keys = corpus().join("recorded/keys");
    let theirs = folder("from-zeep");
    run(Command::new(&python).arg(&script).arg("make").arg(&keys).arg(&*theirs));
    theirs_are_read(&theirs, 8);

    // It takes its key from the caller, whatever the message says.
    let references = [KeyReference::Direct, KeyReference::Thumbprint];
    let to = folder("to-zeep");
    let ours = ours_into(&to, &[Soap::Soap11, Soap::Soap12], &references, false);
    let answer = run(Command::new(&python).arg(&script).arg("check").arg(&keys).args(&ours));
    let lines = answer.lines().map(|line| serde_json::from_str::<(String, String)>(line).unwrap());
    judged(lines, 8);
}

#[test]
fn wss4j_reads_ours_and_we_read_wss4j_s() {
    let java = Path::new("/usr/share/java");
    let compiler = Command::new("javac").arg("-version").output().is_ok();
    if !compiler || !java.join("wss4j.jar").exists() {
        return skipped("WSS4J");
    }
    let build = folder("java");
    let jars = ["wss4j.jar", "xmlsec.jar", "commons-logging.jar", "slf4j-api.jar", "slf4j-nop.jar"];
    let path: Vec<String> =
        jars.iter().map(|jar| java.join(jar)).chain([build.to_path_buf()]).map(|path| path.display().to_string()).collect();
    let path = path.join(":");
    let source = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/Wss4jPeer.java");
    run(Command::new("javac").args(["-nowarn", "-cp", &path, "-d"]).arg(&*build).arg(&source));
    let keys = corpus().join("recorded/keys");
    let peer = |what: &str| {
        let mut command = Command::new("java");
        command.args(["-cp", &path, "Wss4jPeer", what]).arg(&keys);
        command
    };
    let theirs = folder("from-wss4j");
    run(peer("make").arg(&*theirs));
    theirs_are_read(&theirs, 7);

    let references = [KeyReference::Direct, KeyReference::IssuerSerial, KeyReference::SubjectKeyIdentifier, KeyReference::Thumbprint];
    let to = folder("to-wss4j");
    let ours = ours_into(&to, &[Soap::Soap11, Soap::Soap12], &references, true);
    let answer = run(peer("check").args(&ours));
    let lines = answer.lines().filter_map(|line| line.split_once('\t')).map(|(file, verdict)| (file.to_owned(), verdict.to_owned()));
    judged(lines, 24);
}
