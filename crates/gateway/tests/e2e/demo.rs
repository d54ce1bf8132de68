//! Every line the demo prints works as printed.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::doors::program;
use crate::support::{Browser, free_port};

struct Demo(std::process::Child);

impl Drop for Demo {
    /// Asks it to end, so that it takes its neighbour and its folder with it.
    fn drop(&mut self) {
        let asked = Command::new("kill").arg(self.0.id().to_string()).status().is_ok_and(|status| status.success());
        for _ in 0..1500 {
            if !asked || matches!(self.0.try_wait(), Ok(Some(_))) {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_printed_line_does_what_it_says() {
    play(&[], "");
}

#[test]
fn with_nginx_or_caddy_beside_it_every_line_does_too() {
    for proxy in ["nginx", "caddy"] {
        if program(proxy).is_none() {
            assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{proxy} is missing");
            println!("SKIPPED: {proxy} is not installed");
            continue;
        }
        play(&["--beside", proxy], &format!("http://{proxy}.north.localhost"));
    }
}

/// The east's users come from the north, both ways round, and leave both at once; those of the old company come by an artifact.
#[test]
fn a_browser_signs_in_at_another_tenant() {
    if crate::browser::is_missing() {
        return;
    }
    let port = free_port();
    let (_demo, screen) = start(port, &[]);
    let password = screen.iter().find_map(|line| line.trim().strip_prefix("ada ")).unwrap().trim();
    let output = Command::new("node")
        .arg("demo.cjs")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser"))
        .env("VESTIBULE_PORT", port.to_string())
        .env("VESTIBULE_USER", "ada")
        .env("VESTIBULE_PASSWORD", password)
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success() && said.matches("ok   ").count() == 5, "{said}");
}

#[test]
fn the_operator_sees_who_signed_in_and_nobody_else_does() {
    let port = free_port();
    let (_demo, screen) = start(port, &[]);
    let portal = format!("http://login.north.localhost:{port}");
    assert!(screen.iter().any(|line| line.contains(&format!("{portal}/history")) && line.contains("ola")), "{screen:#?}");
    for (name, status) in [("ada", 404), ("ola", 200)] {
        let password = screen.iter().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(' ')).unwrap().trim();
        let mut browser = Browser::at(([127, 0, 0, 1], port).into(), port);
        assert_eq!(browser.submit_login(&format!("{portal}/login"), name, password).status, 303, "{name}");
        // What was decided is written down a little later.
        crate::lifecycle::wait_for(|| {
            let page = browser.load(&format!("{portal}/history"));
            assert_eq!(page.status, status, "{name}: {page:?}");
            status != 200 || page.body.contains(">ada<")
        });
    }
}

/// Starts the demo, and returns what it prints until it is open.
fn start(port: u16, arguments: &[&str]) -> (Demo, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["demo", "--port", &port.to_string()])
        .args(arguments)
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let demo = Demo(child);
    let mut screen = Vec::new();
    // The screen ends with the line that says how to stop.
    for line in &mut lines {
        let line = line.unwrap();
        let last = line.contains("Ctrl-C");
        screen.push(line);
        if last {
            break;
        }
    }
    (demo, screen)
}

/// Starts the demo, expects `shown` on its screen, and does all that is printed.
fn play(arguments: &[&str], shown: &str) {
    let (_demo, screen) = start(free_port(), arguments);
    assert!(screen.iter().any(|line| line.contains(shown)), "{screen:#?}");
    let commands: Vec<(&str, u16)> = screen
        .iter()
        .map(|line| line.trim())
        .filter(|line| line.starts_with("curl "))
        .map(|line| {
            let (command, status) = line.rsplit_once('#').unwrap_or_else(|| panic!("no status beside {line}"));
            (command.trim(), status.split_whitespace().next().unwrap().parse().unwrap_or_else(|_| panic!("no status beside {line}")))
        })
        .collect();
    assert!(commands.len() >= 8, "{screen:#?}");
    if Command::new("curl").arg("--version").output().is_err() {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "curl is missing");
        println!("SKIPPED: curl is not installed");
        return;
    }
    for (command, status) in commands {
        let output = Command::new("sh").args(["-c", command]).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let found: Vec<u16> =
            text.lines().filter(|line| line.starts_with("HTTP/1.1 ")).filter_map(|line| line.split(' ').nth(1)?.parse().ok()).collect();
        assert_eq!(found.last(), Some(&status), "{command}\n{text}{}", String::from_utf8_lossy(&output.stderr));
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        match status {
            200 if command.contains(" -o ") => {}
            200 if command.contains("SAMLResponse=") => {
                let (_, last) = text.rsplit_once("HTTP/1.1 ").unwrap();
                assert!(text.contains("HTTP/1.1 302 ") && last.contains("set-cookie: JSESSIONID="), "{command}: {text}");
            }
            // Some answer with a header alone: old clients read nothing else.
            200 => assert!(
                !body.is_empty() || text.contains("JSESSIONID=") || text.contains("TARGET="),
                "{command}: an answer of the application"
            ),
            500 if command.contains("vouched.xml") => assert!(body.contains("Fault"), "{command}: {body}"),
            500 => assert!(body.contains("SBL-ODU-01006") || body.contains("Missing &lt;wsse:Security&gt;"), "{command}: {body}"),
            401 if command.contains("?command=") => assert!(body.contains("SBL-ODU-01006"), "{command}: {body}"),
            401 if command.contains("SOAPAction") => assert!(body.contains("Fault"), "{command}: {body}"),
            // nginx says the status and keeps its own words.
            401 | 403 if command.contains("//nginx.") => {}
            401 if command.contains("/.vestibule/login") => assert!(body.contains("invalid_login"), "{command}: {body}"),
            401 => assert!(body.contains("\"statusCode\":20"), "{command}: {body}"),
            403 => assert!(body.contains("\"statusCode\":5"), "{command}: {body}"),
            303 => assert!(text.to_lowercase().contains("location: http://login."), "{command}: {text}"),
            400 => assert!(text.to_lowercase().contains("x-vestibule-id"), "{command}: {text}"),
            other => panic!("{command}: nothing is known of {other}"),
        }
    }
    for page in screen.iter().map(|line| line.trim()).filter(|line| line.starts_with("http://")) {
        let url = page.split_whitespace().next().unwrap();
        let output =
            Command::new("curl").args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Accept: text/html", url]).output().unwrap();
        let status = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(matches!(status.as_str(), "200" | "303"), "{url}: {status}");
    }
}
