//! The clients of `examples/integration` as they are, and the front for clients that speak only TLS of old.

use std::process::{Child, Command, Stdio};

use crate::integration::{ADA, POLICY, gateway};
use crate::lifecycle::wait_for;
use crate::peers::is_there;
use crate::support::{Gateway, Scratch, free_port};

fn example(name: &str) -> String {
    format!("{}/../../examples/integration/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn runs(program: &str, arguments: &[&str]) -> bool {
    let tried = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

const ROUND: [&str; 5] = ["login 200", "query 200", "keep-alive 200", "logoff 200", "afterwards 500 SBL-ODU-01006"];

#[test]
fn the_clients_of_the_examples_do_their_rounds() {
    let gateway = gateway();
    let python = std::env::var("VESTIBULE_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let more = ["login by message 200", "query 200", "logoff 200"];
    for (program, script, there, expected) in [
        ("sh", "client.sh", is_there(runs("curl", &["--version"]), "curl"), ROUND.to_vec()),
        (python.as_str(), "client.py", is_there(runs(&python, &["-c", "import requests"]), "requests"), [&ROUND[..], &more].concat()),
        ("node", "client.js", is_there(runs("node", &["--version"]), "node"), ROUND.to_vec()),
    ] {
        if !there {
            continue;
        }
        // Not every system takes what is below `localhost` for itself.
        let base = format!("http://localhost:{}", gateway.public);
        let output = Command::new(program).arg(example(script)).args([base.as_str(), "NORTH/ada", ADA.1]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{script}: {}", String::from_utf8_lossy(&output.stderr));
        let wrong = Command::new(program).arg(example(script)).args([base.as_str(), "NORTH/ada", "wrong"]).output().unwrap();
        assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stdout).starts_with("login 401"), "{script}: {wrong:?}");
    }
}

struct Front(Child);

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The example's HAProxy before a gateway, on another port; `None` and a word if there is none.
fn front(gateway: &Gateway, scratch: &Scratch) -> Option<(Front, u16)> {
    if !is_there(runs("haproxy", &["-v"]), "HAProxy") || !is_there(runs("openssl", &["version"]), "openssl") {
        return None;
    }
    let (key, certificate) = (scratch.path().join("key.pem"), scratch.path().join("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=app.north.localhost", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let both = [key, certificate].map(|path| std::fs::read_to_string(path).unwrap()).concat();
    scratch.write("server.pem", &both);
    let port = free_port();
    let text = std::fs::read_to_string(example("haproxy.cfg")).unwrap();
    let text = text.replace("127.0.0.1:9443", &format!("127.0.0.1:{port}")).replace("127.0.0.1:8443", &gateway.address.to_string());
    assert!(text.contains(&port.to_string()) && text.contains(&gateway.address.to_string()));
    let file = scratch.write("haproxy.cfg", &text);
    let child = Command::new("haproxy")
        .args(["-db", "-f"])
        .arg(file)
        .current_dir(scratch.path())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap();
    let front = Front(child);
    wait_for(|| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some((front, port))
}

#[test]
fn section_7_clients_of_tls_1_0_and_1_1_come_through_the_front() {
    let listen = "trusted_proxies = [\"127.0.0.1/32\"]\nproxy_protocol = true\n";
    let template = include_str!("integration.toml")
        .replacen("trusted_proxies = [\"127.0.0.0/8\"]\n", listen, 1)
        .replace("{{settings}}", "spacing = \"0s\"")
        .replace("{{more}}", "");
    // Whoever adds users does so by the control socket.
    let gateway = Gateway::with_files(&template, &[POLICY]).with_users();
    let scratch = Scratch::new();
    let Some((_front, port)) = front(&gateway, &scratch) else { return };
    let ask = |version: &str, input: &str| {
        use std::io::Write as _;
        let mut child = Command::new("openssl")
            .args(["s_client", "-quiet", "-no_ign_eof", version, "-cipher", "ALL:@SECLEVEL=0", "-connect", &format!("127.0.0.1:{port}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        // It hangs up with its input.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        drop(stdin);
        String::from_utf8_lossy(&child.wait_with_output().unwrap().stdout).into_owned()
    };
    let login = format!(
        "GET /Services/Integration?command=login HTTP/1.1\r\nHost: app.north.localhost:{}\r\nUserName: NORTH/ada\r\nPassword: {}\r\nConnection: close\r\n\r\n",
        gateway.public, ADA.1
    );
    for version in ["-tls1", "-tls1_1", "-tls1_2"] {
        let answer = ask(version, &login);
        assert!(answer.starts_with("HTTP/1.1 200"), "{version}: {answer}");
        // The front said that the client spoke TLS, so the cookie stays there.
        assert!(answer.to_lowercase().contains("path=/services; secure; httponly"), "{version}: {answer}");
    }
    let records = gateway.audit();
    assert!(records.iter().any(|record| record["event"] == "session.opened" && record["client"] == "127.0.0.1"), "{records:?}");
}

/// The short form of `bench/integration`: sessions opened and ended as quickly as passwords are checked, none lost, none left over.
#[test]
fn sessions_that_come_and_go_are_neither_lost_nor_left_over() {
    if !is_there(runs("python3", &["--version"]), "python3") {
        return;
    }
    let output = Command::new("python3")
        .arg(format!("{}/../../bench/integration", env!("CARGO_MANIFEST_DIR")))
        .args(["--seconds", "5", "--rate", "20", "--single"])
        .env("BINARY", env!("CARGO_BIN_EXE_vestibule"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("none lost, none left over"), "{said}{}", String::from_utf8_lossy(&output.stderr));
}
