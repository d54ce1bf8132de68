//! Keys and certificates as other programs keep them: key stores made by openssl and keytool, an encrypted key, a request that
//! openssl signs, and what is known of when certificates end.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lifecycle::wait_for;
use crate::support::{CONFIG, Gateway, Scratch, get};

const STORE_PASSWORD: &str = "what the store asks";

fn is_there(program: &str, argument: &str) -> bool {
    let found = Command::new(program).arg(argument).output().is_ok();
    if !found {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{program} is missing");
        println!("SKIPPED: {program} is not installed");
    }
    found
}

fn run(directory: &Path, program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn path(scratch: &Scratch, name: &str) -> PathBuf {
    scratch.path().join(name)
}

/// A key with a certificate for the application's host, `NAME.pem` and `NAME.key`, of this common name.
fn made(directory: &Path, name: &str, days: &str) {
    let (key, certificate, subject) = (format!("{name}.key"), format!("{name}.pem"), format!("/CN={name}"));
    let curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
    let names = ["-addext", "subjectAltName=DNS:app.north.localhost,DNS:login.north.localhost"];
    let files = ["-keyout", &key, "-out", &certificate, "-subj", &subject, "-days", days];
    run(directory, "openssl", &[&["req", "-x509"][..], &curve, &names, &files].concat());
}

fn configuration(certificate: &str) -> String {
    CONFIG.replacen("[listen.limits]", &format!("[listen.tls]\ncertificates = [{certificate}]\n\n[listen.limits]"), 1)
}

/// The common name of whatever the gateway shows.
fn shown(gateway: &Gateway) -> String {
    let address = gateway.address.to_string();
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-servername", "app.north.localhost"])
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let subject = text.lines().find(|line| line.starts_with("subject=")).unwrap_or_default();
    subject.rsplit('=').next().unwrap_or_default().trim().to_owned()
}

fn metrics(gateway: &Gateway) -> String {
    crate::support::exchange(gateway.health, &get("/metrics").octets("localhost")).body
}

#[test]
fn every_way_to_keep_a_key_serves_tls_and_a_new_one_without_a_restart() {
    if !is_there("openssl", "version") || !is_there("keytool", "-help") {
        return;
    }
    let office = Scratch::new();
    let directory = office.path();
    for name in ["first", "second", "third", "fourth"] {
        made(directory, name, "30");
    }
    office.write("password", STORE_PASSWORD);
    let p12 = |name: &str, out: &str, more: &[&str]| {
        let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
        let files = ["-inkey", &key, "-in", &certificate, "-out", out, "-name", name, "-passout", "file:password"];
        run(directory, "openssl", &[&["pkcs12", "-export"][..], &files, more].concat());
    };
    p12("first", "store", &[]);
    p12("second", "legacy.p12", &["-legacy"]);
    p12("third", "third.p12", &[]);
    let store = ["-srcstorepass", STORE_PASSWORD, "-deststorepass", STORE_PASSWORD, "-noprompt"];
    let keytool = ["-importkeystore", "-srckeystore", "third.p12", "-destkeystore", "third.jks", "-deststoretype", "JKS"];
    run(directory, "keytool", &[&keytool[..], &store].concat());
    run(directory, "openssl", &["pkcs8", "-topk8", "-in", "fourth.key", "-out", "encrypted.key", "-passout", "file:password"]);

    // The house's scratch is made with it; files come by a first, bare one.
    let bare = "{ certificate = \"store\", key = { file = \"key\" } }";
    let read = |name: &str| std::fs::read_to_string(path(&office, name)).unwrap();
    let (certificate, key) = (read("first.pem"), read("first.key"));
    let house = Gateway::with_files(&configuration(bare), &[("store", &certificate), ("key", &key), ("password", STORE_PASSWORD)]);
    assert_eq!(shown(&house), "first");
    let put = |file: &str, certificate: &str| {
        std::fs::copy(path(&office, file), path(&house.scratch, "store")).unwrap();
        let text = configuration(certificate);
        let health = house.health.port().to_string();
        let text = text
            .replace("{{port}}", &house.public.to_string())
            .replace("{{health}}", &health)
            .replace("{{app}}", &house.application.address.to_string())
            .replace("{{dir}}", &house.scratch.path().display().to_string());
        house.scratch.write("vestibule.toml", &text);
        house.command(&["reload"])
    };
    let password = "password = { file = \"password\" }";
    for (file, certificate, expected) in [
        ("legacy.p12", format!("{{ certificate = \"store\", {password} }}"), "second"),
        ("third.jks", format!("{{ certificate = \"store\", {password}, alias = \"third\" }}"), "third"),
        ("store", format!("{{ certificate = \"store\", {password} }}"), "first"),
    ] {
        let output = put(file, &certificate);
        assert!(output.status.success(), "{file}: {}{}", String::from_utf8_lossy(&output.stderr), house.log());
        assert_eq!(shown(&house), expected, "{file}");
    }
    std::fs::copy(path(&office, "encrypted.key"), path(&house.scratch, "key")).unwrap();
    let output = put("fourth.pem", &format!("{{ certificate = \"store\", key = {{ file = \"key\" }}, {password} }}"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(shown(&house), "fourth");

    // A wrong password, a missing one, a store in which there is no such key: refused, and the one in force goes on.
    for (file, certificate) in [
        ("third.jks", "{ certificate = \"store\" }".to_owned()),
        ("third.jks", format!("{{ certificate = \"store\", {password}, alias = \"nobody\" }}")),
        ("third.p12", "{ certificate = \"store\", password = { file = \"kek\" } }".to_owned()),
        ("third.pem", format!("{{ certificate = \"store\", key = {{ file = \"key\" }}, {password} }}")),
    ] {
        let output = put(file, &certificate);
        assert!(!output.status.success(), "{file} {certificate}");
        assert!(!String::from_utf8_lossy(&output.stderr).contains(STORE_PASSWORD));
        assert_eq!(shown(&house), "fourth");
    }
    assert!(!house.log().contains(STORE_PASSWORD));
}

#[test]
fn certificates_say_when_they_end() {
    if !is_there("openssl", "version") {
        return;
    }
    let office = Scratch::new();
    made(office.path(), "soon", "3");
    let read = |name: &str| std::fs::read_to_string(path(&office, name)).unwrap();
    let (certificate, key) = (read("soon.pem"), read("soon.key"));
    let files = [("soon.pem", certificate.as_str()), ("soon.key", key.as_str())];
    let house = Gateway::with_files(&configuration("{ certificate = \"soon.pem\", key = { file = \"soon.key\" } }"), &files);
    let gauge = "vestibule_certificate_not_after_seconds{file=\"soon.pem\",subject=\"CN=soon\"}";
    wait_for(|| {
        metrics(&house)
            .lines()
            .any(|line| line.strip_prefix(gauge).is_some_and(|value| value.trim().parse::<f64>().is_ok_and(|at| at > 1.7e9)))
    });
    let checked = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["check", "--config"])
        .arg(path(&house.scratch, "vestibule.toml"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&checked.stdout);
    assert!(checked.status.success() && text.contains("the certificate of `CN=soon` ends on"), "{text}");
}

#[test]
fn a_request_is_signed_and_a_key_of_another_system_signs_after_a_rotation() {
    if !is_there("openssl", "version") || !is_there("keytool", "-help") {
        return;
    }
    let office = Scratch::new();
    let directory = office.path();
    let vestibule =
        |arguments: &[&str]| Command::new(env!("CARGO_BIN_EXE_vestibule")).args(arguments).current_dir(directory).output().unwrap();
    for kind in ["ecdsa", "rsa"] {
        let key = format!("{kind}.key");
        let output = vestibule(&[
            "key",
            "csr",
            "--host",
            "app.north.localhost",
            "--host",
            "north.example",
            "--organization",
            "North",
            "--new-key",
            &key,
            "--kind",
            kind,
        ]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        std::fs::write(directory.join("request.csr"), &output.stdout).unwrap();
        run(directory, "openssl", &["req", "-in", "request.csr", "-verify", "-noout"]);
        let text = Command::new("openssl").args(["req", "-in", "request.csr", "-noout", "-text"]).current_dir(directory).output().unwrap();
        let text = String::from_utf8_lossy(&text.stdout).into_owned();
        assert!(text.contains("DNS:app.north.localhost, DNS:north.example") && text.contains("North"), "{text}");
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(directory.join(&key)).unwrap().permissions().mode() & 0o777, 0o600);
        let again = vestibule(&["key", "csr", "--host", "north.example", "--new-key", &key]);
        assert_eq!(again.status.code(), Some(2), "no key is overwritten");
        let renewed = vestibule(&["key", "csr", "--host", "north.example", "--key", &key]);
        assert!(renewed.status.success(), "{}", String::from_utf8_lossy(&renewed.stderr));
    }

    let gateway = Gateway::start();
    office.write("password", STORE_PASSWORD);
    let store = ["-storepass", STORE_PASSWORD, "-keypass", STORE_PASSWORD, "-alias", "old", "-dname", "CN=old"];
    let kind = ["-keyalg", "EC", "-groupname", "secp256r1", "-storetype", "JKS", "-keystore", "old.jks"];
    run(directory, "keytool", &[&["-genkeypair"][..], &kind, &store].concat());
    let (file, password) = (path(&office, "old.jks"), path(&office, "password"));
    let import = |file: &Path| {
        gateway.command(&["key", "import", "jwt", file.to_str().unwrap(), "--password-file", password.to_str().unwrap(), "--json"])
    };
    let output = import(&file);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let keys: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let in_state = |keys: &serde_json::Value, state: &str| {
        let found: Vec<String> = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|key| key["state"] == state)
            .map(|key| key["id"].as_str().unwrap().to_owned())
            .collect();
        found
    };
    let next = in_state(&keys, "next");
    assert_eq!(next.len(), 1, "{keys}");
    let published = gateway.send_to("login.north.localhost", &get("/.well-known/jwks.json")).body;
    assert!(published.contains(&next[0]), "verifiers know it before it signs");
    let rotated = gateway.command(&["key", "rotate", "jwt", "--json"]);
    let keys: serde_json::Value = serde_json::from_slice(&rotated.stdout).unwrap();
    assert_eq!(in_state(&keys, "current"), next);
    let twice = import(&file);
    assert!(!twice.status.success() && String::from_utf8_lossy(&twice.stdout).contains("is here already"));
    let rsa = gateway.command(&["key", "import", "jwt", path(&office, "rsa.key").to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&rsa.stderr).contains("ES256"), "{}", String::from_utf8_lossy(&rsa.stderr));
}
