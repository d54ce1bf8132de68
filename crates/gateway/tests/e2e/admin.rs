//! The command line against a running gateway.

use crate::support::{Gateway, USERS, get};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);

fn json(output: &std::process::Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}

#[test]
fn a_disabled_user_is_out_at_once_and_everywhere() {
    let gateway = Gateway::start().with_users();
    let (name, value) = gateway.sign_in(ADA.0, ADA.1);
    assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &value)).status, 200);
    assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 200);
    let sessions = json(&gateway.command(&["session", "list", ADA.0, "--tenant", "north", "--json"]));
    assert_eq!(sessions["sessions"].as_array().map(Vec::len), Some(2), "the portal's and the application's: {sessions}");
    assert!(!sessions.to_string().contains(&value), "ids are hashes: {sessions}");

    assert!(gateway.command(&["user", "disable", ADA.0, "--tenant", "north"]).status.success());
    assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &value)).status, 401);
    assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 401, "cached credentials are void, too");
    assert!(gateway.audit().iter().any(|record| record["event"] == "admin.changed"));
}

#[test]
fn whoever_gets_a_new_password_is_not_held_to_what_was_guessed_before() {
    let gateway = Gateway::start().with_users();
    let come = |password: &str| gateway.send(&get("/api/orders").basic(ADA.0, password)).status;
    // The last of them is what she asks for afterwards, since her program sends it anyhow.
    for wrong in ["1", "2", "3", "4", "what her desk remembers"] {
        assert_eq!(come(wrong), 401);
    }
    assert_eq!(come(ADA.1), 401, "the gate is closed");
    let file = gateway.scratch.write("password", "what her desk remembers");
    let set = gateway.command(&["user", "passwd", ADA.0, "--tenant", "north", "--password-file", file.to_str().unwrap()]);
    assert!(set.status.success(), "{set:?}");
    assert_eq!(come("what her desk remembers"), 200);
    assert!(gateway.audit().iter().any(|record| record["event"] == "gate.opened"));
    // Enabling is the way without a new one.
    for wrong in ["6", "7", "8", "9", "10"] {
        assert_eq!(come(wrong), 401);
    }
    assert!(gateway.command(&["user", "enable", ADA.0, "--tenant", "north"]).status.success());
    assert_eq!(come("what her desk remembers"), 200);
}

#[test]
fn a_deleted_user_is_nobody_and_whoever_takes_the_name_is_somebody_else() {
    let gateway = Gateway::start().with_users();
    let (name, value) = gateway.sign_in(ADA.0, ADA.1);
    assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &value)).status, 200);
    let before = json(&gateway.command(&["user", "show", ADA.0, "--tenant", "north", "--json"]));
    assert!(gateway.command(&["user", "delete", ADA.0, "--tenant", "north"]).status.success());
    let shut_out = || {
        assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &value)).status, 401);
        assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 401);
    };
    shut_out();
    assert_eq!(gateway.command(&["user", "show", ADA.0, "--tenant", "north"]).status.code(), Some(1));
    assert_eq!(gateway.command(&["user", "delete", ADA.0, "--tenant", "north"]).status.code(), Some(1));

    let file = gateway.scratch.write("password", "another person's words");
    let add = gateway.command(&["user", "add", ADA.0, "--tenant", "north", "--password-file", file.to_str().unwrap(), "--json"]);
    assert_ne!(json(&add)["user"]["id"], before["user"]["id"]);
    shut_out();
    assert!(gateway.audit().iter().any(|record| record["action"] == "user.delete" && record["subject"] == "north/ada"));
    assert!(gateway.audit().iter().any(|record| record["event"] == "session.opened" && record["subject"] == "ada"), "history stays");
}

#[test]
fn sessions_can_be_ended_from_the_command_line() {
    let gateway = Gateway::start().with_users();
    let (name, value) = gateway.sign_in(ADA.0, ADA.1);
    assert!(gateway.command(&["session", "end", ADA.0, "--all", "--tenant", "north"]).status.success());
    assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &value)).status, 401);
    assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 200);
}

#[test]
fn explain_tells_every_step_of_a_logged_decision() {
    let gateway = Gateway::start().with_users();
    let answer = gateway.send(&get("/api/orders").basic(ADA.0, "wrong"));
    let id = answer.header("x-vestibule-id").unwrap();
    gateway.audit_of(&answer);
    crate::lifecycle::wait_for(|| gateway.command(&["explain", id]).status.success());
    let output = gateway.command(&["explain", id]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for word in ["north", "session", "basic", "wrong password"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[test]
fn explain_judges_a_request_that_was_never_sent() {
    let gateway = Gateway::start().with_users();
    let url = format!("http://app.north.localhost:{}/api/orders", gateway.address.port());
    let output = gateway.command(&["explain", "GET", &url, "--json"]);
    let explained = json(&output);
    assert_eq!(output.status.code(), Some(1), "it would be refused: {explained}");
    assert!(explained.to_string().contains("challenge"), "{explained}");
    assert!(gateway.application.received().is_empty());
}

#[test]
fn keys_rotate_and_verifiers_see_old_and_new() {
    let gateway = Gateway::start().with_users();
    let published = || gateway.send_to("login.north.localhost", &get("/.well-known/jwks.json")).body;
    let kids = |text: &str| -> Vec<String> {
        let set: serde_json::Value = serde_json::from_str(text).unwrap();
        set["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    gateway.send(&get("/api/orders").basic(ADA.0, ADA.1));
    let token = gateway.application.last().header("x-vestibule-token").unwrap().to_owned();
    let before = kids(&published());
    assert!(gateway.command(&["key", "rotate", "jwt"]).status.success());
    let after = kids(&published());
    assert!(before.iter().all(|kid| after.contains(kid)), "nothing that was published disappears: {before:?} {after:?}");
    gateway.send(&get("/api/orders").basic(ADA.0, ADA.1));
    let next = gateway.application.last().header("x-vestibule-token").unwrap().to_owned();
    let header = |token: &str| {
        use base64::Engine as _;
        let part = token.split('.').next().unwrap();
        let octets = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
        serde_json::from_slice::<serde_json::Value>(&octets).unwrap()["kid"].as_str().unwrap().to_owned()
    };
    assert_ne!(header(&token), header(&next));
    assert!(before.contains(&header(&next)), "the new current key had been published before it was used");
}

#[test]
fn one_token_serves_a_whole_session() {
    let gateway = Gateway::start().with_users();
    let (name, value) = gateway.sign_in(ADA.0, ADA.1);
    let token = || {
        gateway.send(&get("/api/orders").cookie(&name, &value));
        gateway.application.last().header("x-vestibule-token").unwrap().to_owned()
    };
    assert_eq!(token(), token());
}

#[test]
fn hash_prints_a_phc_string_and_takes_no_password_as_an_argument() {
    let gateway = Gateway::start();
    let file = gateway.scratch.write("secret", "a password to hash");
    let output = gateway.command(&["hash", "--password-file", file.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stdout).trim().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
    assert_eq!(gateway.command(&["hash", "a password to hash"]).status.code(), Some(2));
}
