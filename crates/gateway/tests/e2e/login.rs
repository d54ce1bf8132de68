//! Login through the portal, sessions, hand-over between hosts, logout. Chromium walks the same way in `browser.rs`.

use crate::support::{Gateway, USERS, ask, cookie_header, get, hidden_fields};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const PORTAL: &str = "login.north.localhost";
const SHOP: &str = "shop.north.localhost";

#[test]
fn a_browser_is_led_to_the_portal_and_back_to_the_page_it_asked_for() {
    let gateway = Gateway::start().with_users();
    let asked = gateway.send(&get("/page?x=1").browser());
    assert_eq!(asked.status, 303);
    let login = url::Url::parse(asked.header("location").unwrap()).unwrap();
    assert_eq!(login.host_str(), Some(PORTAL));
    let return_to = login.query_pairs().find(|(name, _)| name == "return_to").unwrap().1.into_owned();
    assert_eq!(return_to, format!("http://app.north.localhost:{}/page?x=1", gateway.address.port()));

    let mut browser = gateway.browser();
    let page = browser.sign_in(ADA.0, ADA.1, "app.north.localhost");
    assert_eq!(page.status, 200);
    let received = gateway.application.last();
    assert_eq!((received.line.as_str(), received.header("x-vestibule-user")), ("GET /page HTTP/1.1", Some("ada")));
    assert_eq!(received.header("cookie"), None, "none of our cookies reaches the application");
}

#[test]
fn a_session_cookie_is_as_closed_as_it_can_be() {
    let gateway = Gateway::start().with_users();
    let answer = gateway.sign_in_at_portal(ADA.0, ADA.1);
    let cookie = answer.all("set-cookie").iter().find(|value| value.starts_with("vestibule=")).unwrap().to_owned();
    assert!(
        cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/") && !cookie.contains("Domain"),
        "{cookie}"
    );
}

#[test]
fn two_application_hosts_share_one_login_and_one_logout() {
    let gateway = Gateway::start().with_users();
    let mut browser = gateway.browser();
    assert_eq!(browser.sign_in(ADA.0, ADA.1, "app.north.localhost").status, 200);
    assert_eq!(browser.visit(&format!("http://{SHOP}/page")).status, 200, "no second login");
    let sessions = ["app.north.localhost", SHOP].map(|host| (host, browser.cookie(host, "vestibule").expect("a session of this host")));
    assert_ne!(sessions[0].1, sessions[1].1);

    // A session of one host is nobody on another.
    assert_eq!(gateway.send_to(SHOP, &get("/api/orders").cookie("vestibule", &sessions[0].1)).status, 401);
    assert_eq!(gateway.send_to(PORTAL, &get("/").browser().cookie("vestibule", &sessions[0].1)).status, 303);

    let page = browser.load(&format!("http://{PORTAL}/logout"));
    assert_eq!(page.status, 200);
    let fields = hidden_fields(&page.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let out = browser.post(PORTAL, "/logout", &fields);
    assert!(matches!(out.status, 200 | 303), "{out:?}");
    for (host, session) in sessions {
        assert_eq!(gateway.send_to(host, &get("/api/orders").cookie("vestibule", &session)).status, 401, "{host}");
    }
}

#[test]
fn a_wrong_password_says_nothing_of_which_half_was_wrong() {
    let gateway = Gateway::start().with_users();
    let wrong = gateway.sign_in_at_portal(ADA.0, "wrong");
    let unknown = gateway.sign_in_at_portal("nobody-of-that-name", "wrong");
    assert_eq!(wrong.status, unknown.status);
    assert!(!wrong.cookies().contains_key("vestibule"));
    assert!(wrong.body.contains("do not match"), "{}", wrong.body);
    assert!(wrong.body.contains("role=\"alert\"") || wrong.body.contains("aria-live"), "announced");
    assert!(wrong.body.contains(wrong.header("x-vestibule-id").unwrap()), "the decision id is on the page");
    assert!(!wrong.body.contains("wrong\""), "the password is never echoed");
}

#[test]
fn pages_are_locked_down() {
    let gateway = Gateway::start();
    let page = gateway.send_to(PORTAL, &get("/login").browser());
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("cache-control"), Some("no-store"));
    assert!(!page.body.contains(" style=") && !page.body.contains("onclick"), "nothing inline");
}

#[test]
fn a_foreign_page_can_neither_log_in_nor_out() {
    let gateway = Gateway::start().with_users();
    let form = gateway.send_to(PORTAL, &get("/login").browser());
    let fields = hidden_fields(&form.body);
    let mut fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("username", ADA.0), ("password", ADA.1)]);
    let good_origin = format!("http://{PORTAL}:{}", gateway.address.port());
    let cookies = cookie_header(&form);
    for (origin, site, cookie, form) in [
        ("https://evil.example", "cross-site", cookies.as_str(), fields.clone()),
        (&good_origin, "same-origin", "", fields.clone()),
        (&good_origin, "same-origin", cookies.as_str(), vec![("username", ADA.0), ("password", ADA.1)]),
    ] {
        let post = ask("POST", "/login").browser().header("Origin", origin).header("Sec-Fetch-Site", site).header("Cookie", cookie);
        let answer = gateway.send_to(PORTAL, &post.form(&form));
        assert!(!answer.cookies().contains_key("vestibule"), "{origin} {site}: {answer:?}");
        assert_ne!(answer.status, 303);
    }
    // The application's session: an unsafe method from a foreign page is refused.
    let (name, value) = gateway.sign_in(ADA.0, ADA.1);
    let own = format!("http://app.north.localhost:{}", gateway.address.port());
    let foreign =
        ask("POST", "/api/orders").cookie(&name, &value).header("Origin", "https://evil.example").header("Sec-Fetch-Site", "cross-site");
    assert_eq!(gateway.send(&foreign).status, 403);
    let mine = ask("POST", "/api/orders").cookie(&name, &value).header("Origin", &own);
    assert_eq!(gateway.send(&mine).status, 200);
}

#[test]
fn return_to_leads_nowhere_else() {
    let gateway = Gateway::start().with_users();
    for evil in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "http://app.north.localhost@evil.example/",
        "javascript:alert(1)",
        "/login",
        "http://app.south.localhost/",
    ] {
        let encoded = percent_encoding::utf8_percent_encode(evil, percent_encoding::NON_ALPHANUMERIC);
        let form = gateway.send_to(PORTAL, &get(&format!("/login?return_to={encoded}")).browser());
        assert!(!form.body.contains("evil.example"), "{evil}");
        assert!(matches!(form.status, 200 | 400), "{evil}: {form:?}");
    }
}

#[test]
fn five_wrong_passwords_close_the_account_and_say_so_to_nobody() {
    let gateway = Gateway::start().with_users();
    for guess in 0..5 {
        assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, &format!("guess {guess}"))).status, 401);
    }
    let right = gateway.send(&get("/api/orders").basic(ADA.0, ADA.1));
    assert_eq!(right.status, 401, "the gate is closed");
    assert!(right.header("retry-after").is_none() && !right.body.to_lowercase().contains("lock"), "{right:?}");
    assert!(gateway.audit_of(&right)[0].to_string().contains("account_gate_closed"));
    assert!(gateway.audit().iter().any(|record| record["event"] == "gate.closed"));
    // The form shares the counter.
    assert_eq!(gateway.sign_in_at_portal(ADA.0, ADA.1).cookies().get("vestibule"), None);
}
