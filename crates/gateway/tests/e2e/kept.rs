//! A form that was sent after the session ran out: kept, shown to its sender after the next login, and sent once.

use std::time::Duration;

use crate::support::{Answer, Ask, CONFIG, Gateway, USERS, ask, hidden_fields};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const BOB: (&str, &str) = (USERS[1].0, USERS[1].1);
const APP: &str = "app.north.localhost";
const PORTAL: &str = "login.north.localhost";
/// A session is over after so many seconds without use.
const IDLE: u64 = 5;
const TEXT: &str = "Grüße & <b>mehr</b>";
const FIELDS: [(&str, &str); 4] = [("text", TEXT), ("tag", "a"), ("tag", "b"), ("new_password", "never shown to a neighbour")];

fn house(session: &str) -> Gateway {
    Gateway::with(&format!("{CONFIG}\n[session]\nidle = \"{IDLE}s\"\n{session}\n")).with_users()
}

/// The session of somebody at the application, which has run out.
fn ran_out(gateway: &Gateway, (name, password): (&str, &str)) -> String {
    let mut browser = gateway.browser();
    assert_eq!(browser.sign_in(name, password, APP).status, 200);
    std::thread::sleep(Duration::from_secs(IDLE + 1));
    browser.cookie(APP, "vestibule").unwrap()
}

fn form(gateway: &Gateway, session: &str) -> Ask {
    let origin = format!("http://{APP}:{}", gateway.public);
    ask("POST", "/orders?of=ada").browser().header("Origin", &origin).header("Sec-Fetch-Site", "same-origin").cookie("vestibule", session)
}

/// Where a kept form is offered again; `None` if it was not kept.
fn offered(answer: &Answer) -> Option<String> {
    let location = url::Url::parse(answer.header("location")?).unwrap();
    let return_to = location.query_pairs().find(|(name, _)| name == "return_to").unwrap().1.into_owned();
    assert!(return_to.contains("/.vestibule/kept?form="), "{return_to}");
    Some(return_to)
}

#[test]
fn a_form_outlives_its_session_and_is_sent_once_by_its_sender_only() {
    let gateway = house("keep_posts = \"10m\"");
    let session = ran_out(&gateway, ADA);
    let refused = gateway.send_to(APP, &form(&gateway, &session).form(&FIELDS));
    assert_eq!(refused.status, 303, "{refused:?}");
    let kept = offered(&refused).unwrap();
    assert!(gateway.audit_of(&refused).iter().any(|record| record["event"] == "request.decided"), "and it is recorded like any other");
    // In the store there is ciphertext. (Its log keeps what was written.)
    for entry in std::fs::read_dir(gateway.store().parent().unwrap()).unwrap() {
        let octets = std::fs::read(entry.unwrap().path()).unwrap_or_default();
        assert!(!octets.windows(5).any(|part| part == b"mehr%"), "the form is in the store as it was sent");
    }

    // Whoever signs in as somebody else sees nothing, however they got the address, and takes nothing away.
    let mut bob = gateway.browser();
    bob.sign_in(BOB.0, BOB.1, APP);
    let path = kept.split_once(&format!(":{}", gateway.public)).unwrap().1.to_owned();
    for answer in [bob.load(&kept), bob.post(APP, &path, &FIELDS)] {
        assert_eq!(answer.status, 410, "{answer:?}");
        assert!(!answer.body.contains("mehr"), "{}", answer.body);
        assert!(
            gateway.audit_of(&answer).iter().any(|record| record["reason"] == "subject_not_allowed"),
            "{:?}",
            gateway.audit_of(&answer)
        );
    }
    // Nobody is sent to sign in.
    assert_eq!(gateway.send_to(APP, &crate::support::get(&path).browser()).status, 303);

    // The sender follows the redirect, signs in, and is shown what was kept.
    gateway.application.forget();
    let mut ada = gateway.browser();
    let landed = ada.submit_login(refused.header("location").unwrap(), ADA.0, ADA.1);
    let shown = ada.visit(landed.header("location").unwrap());
    assert_eq!(shown.status, 200, "{shown:?}");
    assert!(shown.body.contains("/orders") && shown.body.contains("Gr\u{fc}\u{df}e &#38; &#60;b&#62;mehr"), "{}", shown.body);
    let (visible, hidden) = shown.body.split_once("<form").unwrap();
    assert!(!visible.contains("never shown") && hidden.contains("never shown"), "a password is not shown, but sent");
    assert_eq!(shown.header("cache-control"), Some("no-store"));
    let policy = shown.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("form-action 'self'"), "{policy}");
    assert!(gateway.application.received().is_empty(), "nothing was sent yet");
    // Another page cannot send it, and does not use it up.
    assert_eq!(ada.post_from("https://evil.example.net", APP, &path, &FIELDS).status, 403);
    assert_eq!(ada.load(&kept).status, 200, "looking uses nothing up");

    let unescape = |text: &str| text.replace("&#60;", "<").replace("&#62;", ">");
    let fields: Vec<(String, String)> = hidden_fields(&shown.body).into_iter().map(|(name, value)| (name, unescape(&value))).collect();
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(fields, FIELDS, "all of it, in order");
    let sent = ada.post(APP, &path, &fields);
    assert_eq!((sent.status, sent.header("location")), (307, Some("/orders?of=ada")));
    // The browser does as it is told.
    assert_eq!(ada.post(APP, "/orders?of=ada", &fields).status, 200);
    let received = gateway.application.last();
    assert_eq!((received.line.as_str(), received.header("x-vestibule-user")), ("POST /orders?of=ada HTTP/1.1", Some("ada")));
    // Twice is once.
    for answer in [ada.post(APP, &path, &fields), ada.load(&kept)] {
        assert_eq!(answer.status, 410, "{answer:?}");
        assert!(gateway.audit_of(&answer).iter().any(|record| record["reason"] == "bad_code"), "{:?}", gateway.audit_of(&answer));
    }
}

#[test]
fn nothing_is_kept_that_somebody_else_may_have_sent_or_that_is_too_much() {
    let gateway = house("keep_posts = \"10m\"");
    let origin = format!("http://{APP}:{}", gateway.public);
    let session = ran_out(&gateway, ADA);
    let from = |origin: &str, site: &str| {
        ask("POST", "/orders").browser().header("Origin", origin).header("Sec-Fetch-Site", site).cookie("vestibule", &session).form(&FIELDS)
    };
    let long = format!("text={}", "x".repeat(64 * 1024));
    let typed = |media_type: &str, body: &str| form(&gateway, &session).header("Content-Type", media_type).body(body);
    let urlencoded = "application/x-www-form-urlencoded";
    for (what, request) in [
        ("another site", from("https://evil.example.net", "cross-site")),
        ("a sibling", from(&format!("http://shop.north.localhost:{}", gateway.public), "same-site")),
        ("an unknown sender", from("null", "same-origin")),
        ("no session", form(&gateway, &"A".repeat(43)).form(&FIELDS)),
        ("two sessions", form(&gateway, &session).cookie("vestibule", &session).form(&FIELDS)),
        ("a script", ask("POST", "/orders").script().header("Origin", &origin).cookie("vestibule", &session).form(&FIELDS)),
        ("too long", typed(urlencoded, &long)),
        ("no text", typed(urlencoded, "text=%00")),
        ("a file", typed("multipart/form-data; boundary=x", "--x--")),
    ] {
        let answer = gateway.send_to(APP, &request);
        assert_eq!((answer.status, answer.header("location")), (401, None), "{what}: {answer:?}");
    }
    // At another host the session is nobody's.
    let elsewhere = gateway.send_to("shop.north.localhost", &form(&gateway, &session).form(&FIELDS));
    assert_eq!(elsewhere.status, 401);
    // This much is kept, and so many times.
    let most = format!("text={}", "x".repeat(64 * 1024 - 5));
    let kept = (0..10).filter(|_| gateway.send_to(APP, &typed(urlencoded, &most)).status == 303).count();
    assert_eq!(kept, 8);
}

#[test]
fn a_form_waits_for_so_long_and_a_session_that_was_ended_keeps_none() {
    let gateway = house("keep_posts = \"4s\"");
    let session = ran_out(&gateway, ADA);
    let refused = gateway.send_to(APP, &form(&gateway, &session).form(&FIELDS));
    let kept = offered(&refused).unwrap();
    let mut ada = gateway.browser();
    ada.sign_in(ADA.0, ADA.1, APP);
    crate::lifecycle::wait_for(|| ada.load(&kept).status == 410);
    // The session has been over for longer than anything is kept, too.
    crate::lifecycle::wait_for(|| gateway.send_to(APP, &form(&gateway, &session).form(&FIELDS)).status == 401);

    let mut browser = gateway.browser();
    browser.sign_in(ADA.0, ADA.1, APP);
    let session = browser.cookie(APP, "vestibule").unwrap();
    let page = browser.load(&format!("http://{PORTAL}/logout"));
    let fields = hidden_fields(&page.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    browser.post(PORTAL, "/logout", &fields);
    assert_eq!(gateway.send_to(APP, &form(&gateway, &session).form(&FIELDS)).status, 401, "whoever signed out names nobody");
}

#[test]
fn nothing_is_kept_unless_the_configuration_says_so() {
    let gateway = house("");
    let session = ran_out(&gateway, ADA);
    assert_eq!(gateway.send_to(APP, &form(&gateway, &session).form(&FIELDS)).status, 401);
    let (name, value) = gateway.sign_in(ADA.0, ADA.1);
    assert_eq!(
        gateway.send_to(APP, &crate::support::get("/.vestibule/kept?form=AAAAAAAAAAAAAAAAAAAAAA").browser().cookie(&name, &value)).status,
        404
    );
}
