//! A person's browser against the real gateway: Chromium, driven by the steps of `tests/browser/browser.cjs`.
//!
//! SKIPPED where Chromium, Node or playwright-core is missing, unless `VESTIBULE_PEERS=required`.

use std::process::{Command, Stdio};

use crate::support::{CONFIG, Gateway, USERS};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/browser");
/// All steps of the script that need no waiting.
const STEPS: usize = 15;

#[test]
fn a_real_browser_finds_its_way() {
    if is_missing() {
        return;
    }
    let said = drive(&Gateway::start().with_users(), &[], None);
    assert_eq!(said.matches("ok   ").count(), STEPS, "{said}");
}

#[test]
fn a_session_that_was_left_alone_ends_at_the_login_and_the_login_leads_back() {
    if is_missing() {
        return;
    }
    let config = format!("{CONFIG}\n[session]\nidle = \"4s\"\n");
    let said = drive(&Gateway::with(&config).with_users(), &["an expired session"], Some(4));
    assert_eq!(said.matches("ok   ").count(), 1, "{said}");
}

#[test]
fn a_form_that_outlived_its_session_is_sent_after_the_login_with_a_script_or_without() {
    if is_missing() {
        return;
    }
    let config = format!("{CONFIG}\n[session]\nidle = \"6s\"\nkeep_posts = \"10m\"\n");
    let gateway = Gateway::with(&config).with_users();
    let page = "<!doctype html><html lang=en><title>Orders</title><form method=post action=/orders><input name=text aria-label=Text><button>Order</button></form>";
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\n\r\n", page.len());
    gateway.application.answer_raw(format!("{head}{page}"));
    let mut command = Command::new("node");
    command
        .arg("kept.cjs")
        .current_dir(FOLDER)
        .env("VESTIBULE_PAGE", format!("http://app.north.localhost:{}/page", gateway.address.port()))
        .envs([("VESTIBULE_USER", USERS[0].0), ("VESTIBULE_PASSWORD", USERS[0].1), ("VESTIBULE_IDLE", "6")]);
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success() && said.matches("ok   ").count() == 2, "{said}");
    let received = gateway.application.received();
    let sent: Vec<_> =
        received.iter().filter(|one| one.line == "POST /orders HTTP/1.1").map(|one| String::from_utf8_lossy(&one.body)).collect();
    assert_eq!(sent, ["text=two+of+%C3%A4+%26+%3Cb%3E", "text=two+of+%C3%A4+%26+%3Cb%3E"]);
}

/// Runs the steps, all or those named, and returns what they said.
fn drive(gateway: &Gateway, steps: &[&str], idle: Option<u64>) -> String {
    let port = gateway.address.port();
    let [(user, password, _), _, (fresh_user, fresh_password, _)] = USERS;
    let mut command = Command::new("node");
    command
        .arg("browser.cjs")
        .args(steps)
        .current_dir(FOLDER)
        .env("VESTIBULE_PORTAL", format!("http://login.north.localhost:{port}"))
        .env("VESTIBULE_PAGE", format!("http://app.north.localhost:{port}/page"))
        .env("VESTIBULE_OTHER", format!("http://shop.north.localhost:{port}/page"))
        .env("VESTIBULE_USER", user)
        .env("VESTIBULE_PASSWORD", password)
        .env("VESTIBULE_FRESH_USER", fresh_user)
        .env("VESTIBULE_FRESH_PASSWORD", fresh_password)
        .envs(idle.map(|seconds| ("VESTIBULE_IDLE", seconds.to_string())));
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{said}");
    said
}

pub fn is_missing() -> bool {
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    let node = |code: &str| {
        let mut command = Command::new("node");
        command.args(["-e", code]).current_dir(FOLDER).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let missing = if !std::path::Path::new(&chromium).exists() {
        "Chromium"
    } else if !node("") {
        "Node"
    } else if !node("require('playwright-core')") {
        "playwright-core"
    } else {
        return false;
    };
    assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{missing} is missing");
    println!("SKIPPED: {missing} is missing");
    true
}

/// Pages that the script looks at: 36 layouts, the chooser and the emergency door, the host of no tenant, the lists, the inspection,
/// what is missing.
const LOOKS: usize = 36 + 3 + 2 + 4 + 3 + 2;

#[test]
fn the_front_door_is_well_made_in_every_layout_brand_and_language() {
    if is_missing() {
        return;
    }
    let axe = Command::new("node").args(["-e", "require('axe-core')"]).stderr(Stdio::null()).status();
    if !axe.is_ok_and(|status| status.success()) {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "axe-core is missing");
        println!("SKIPPED: axe-core is missing");
        return;
    }
    let gateway = crate::front_door::everything();
    let port = gateway.public;
    let origin = |host: &str| format!("http://{host}:{port}");
    let mut command = Command::new("node");
    command
        .arg("front.cjs")
        .current_dir(FOLDER)
        .env("VESTIBULE_NORTH", origin("login.north.localhost"))
        .env("VESTIBULE_SOUTH", origin("login.south.localhost"))
        .env("VESTIBULE_WEST", origin("login.west.localhost"))
        .env("VESTIBULE_FRONT", origin("anybody.localhost"))
        .envs([("VESTIBULE_USER", USERS[0].0), ("VESTIBULE_PASSWORD", USERS[0].1)])
        .envs([("VESTIBULE_ADMIN", "glass"), ("VESTIBULE_ADMIN_PASSWORD", "break only in need")]);
    let output = command.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success() && said.contains(&format!("looked at {LOOKS} pages")), "{said}");
}
