//! The front door: how the login page shows itself and to whom, the emergency door, logins posted by other pages, the host of no
//! tenant, and what a profile asks of those who come. Chromium looks at the same pages in `browser.rs`.

use serde_json::Value;

use crate::saml_sp::text;
use crate::support::{Answer, Browser, CONFIG, Gateway, USERS, ask, cookie_header, get, hidden_fields};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const PORTAL: &str = "login.north.localhost";
const FRONT: &str = "anybody.localhost";
const PHONE: &str = "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Mobile Safari/537.36";
const DESK: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0";

fn login(gateway: &Gateway, target: &str, headers: &[(&str, &str)]) -> Answer {
    let request = headers.iter().fold(get(target).browser(), |request, (name, value)| request.header(name, value));
    gateway.send_to(PORTAL, &request)
}

/// Its layout and its language.
fn shown(page: &Answer) -> (&str, &str) {
    let attribute = |name: &str| page.body.split(&format!("{name}=\"")).nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    (attribute("class"), attribute("lang"))
}

#[test]
fn the_page_suits_whoever_holds_it_and_says_what_they_read() {
    let gateway = Gateway::start();
    for (target, agent, layout) in [
        ("/login", DESK, "page"),
        ("/login", PHONE, "touch"),
        ("/login?display=popup", DESK, "popup"),
        ("/login?display=page", PHONE, "page"),
        ("/login?display=touch", DESK, "touch"),
        ("/login?display=hologram", PHONE, "touch"),
        ("/login?display=hologram", DESK, "page"),
    ] {
        assert_eq!(shown(&login(&gateway, target, &[("User-Agent", agent)])).0, layout, "{target} {agent}");
    }
    assert_eq!(shown(&login(&gateway, "/login", &[("User-Agent", DESK), ("Sec-CH-UA-Mobile", "?1")])).0, "touch");
    for (accept, language, word) in [("de-CH, en;q=0.5", "de", "Anmelden"), ("fr, en;q=0.1", "en", "Sign in"), ("", "en", "Sign in")] {
        let page = login(&gateway, "/login", &[("Accept-Language", accept)]);
        assert_eq!((shown(&page).1, page.header("content-language")), (language, Some(language)), "{accept}");
        assert!(page.body.contains(&format!("<h1>{word}</h1>")), "{}", page.body);
    }
    // A refusal on an application's host speaks it, too; a program is answered in English.
    let refused = gateway.send(&get("/nowhere-at-all/%zz").browser().header("Accept-Language", "de"));
    assert_eq!(refused.status, 400);
    let ask_for_nothing = || get("/").header("Accept-Language", "de");
    let refused = gateway.send_to("nobodys.localhost", &ask_for_nothing().browser());
    assert!(refused.status == 404 && refused.body.contains("Nicht gefunden") && refused.body.contains("lang=\"de\""), "{refused:?}");
    let refused = gateway.send_to("nobodys.localhost", &ask_for_nothing());
    assert!(refused.status == 404 && refused.body.contains("Not found"), "{refused:?}");
}

#[test]
fn a_tenant_may_speak_one_language_and_says_what_it_likes() {
    let template = CONFIG.replacen("[tenant.south]", "languages = [\"de\"]\nbrand.heading = \"Willkommen <hier>\"\nbrand.aside = \"Sonntag zu.\\n\\n<b>Bald</b> mehr.\"\n\n[tenant.south]", 1);
    let gateway = Gateway::with(&template);
    let page = login(&gateway, "/login", &[("Accept-Language", "en")]);
    assert_eq!(shown(&page).1, "de");
    for text in ["Willkommen &#60;hier&#62;", "<p>Sonntag zu.</p>", "<p>&#60;b&#62;Bald"] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
}

#[test]
fn a_page_wears_the_brand_of_the_host_that_it_belongs_to() {
    let special = "brand.accent = \"#0b5fff\"\nbrand.support = \"Call 4711.\"\n\n[tenant.north.host_brand.\"shop.north.localhost\"]\n\
                   name = \"The <shop>\"\naccent = \"#8a1c4a\"\nheading = \"Shop with us\"\n\n[tenant.south]";
    let gateway = Gateway::with(&CONFIG.replacen("[tenant.south]", special, 1)).with_users();
    let [app, shop] = ["app", "shop"].map(|name| format!("http://{name}.north.localhost:{}/page", gateway.public));
    let toward = |page: &str| login(&gateway, &format!("/login?return_to={page}"), &[]);
    let style = |page: &Answer| {
        let address = page.body.split("href=\"").find_map(|rest| rest.strip_prefix("/assets/brand-")?.split('"').next()).unwrap();
        let css = gateway.send_to(PORTAL, &get(&format!("/assets/brand-{address}")));
        assert_eq!(css.status, 200);
        css.body
    };
    let (plain, dressed): (Answer, Answer) = (toward(&app), toward(&shop));
    assert!(plain.body.contains("<h1>Sign in</h1>") && !plain.body.contains("shop with"), "{}", plain.body);
    assert!(dressed.body.contains("<h1>Shop with us</h1>") && dressed.body.contains("The &#60;shop&#62;"), "{}", dressed.body);
    assert!(dressed.body.contains("Call 4711."), "what it leaves out is the tenant's");
    assert_ne!(style(&plain), style(&dressed));
    // Whoever is no application of the tenant has no brand here.
    assert!(toward("http://shop.north.localhost.evil.example/page").body.contains("<h1>Sign in</h1>"));
    // The form again, since the password was wrong.
    let mut browser = gateway.browser();
    let again = browser.submit_login(&format!("http://{PORTAL}/login?return_to={shop}"), ADA.0, "wrong");
    assert!(again.status == 403 && again.body.contains("<h1>Shop with us</h1>"), "{again:?}");
    // And a refusal on the host itself, which carries its style with it; nothing answers behind it.
    for (host, own) in [("shop.north.localhost", true), ("app.north.localhost", false)] {
        let mut browser = gateway.browser();
        assert_eq!(browser.sign_in(ADA.0, ADA.1, host).status, 200);
        let refused = browser.load(&format!("http://{host}/nowhere/page"));
        assert!(refused.status == 502 && refused.body.contains("The &#60;shop&#62;") == own, "{host}: {refused:?}");
    }
}

#[test]
fn an_application_that_does_not_answer_is_told_of_in_the_readers_language() {
    let gateway = Gateway::with(&CONFIG.replace("{{app}}", &format!("127.0.0.1:{}", crate::support::free_port())));
    let silent = gateway.send(&get("/public/page").browser().header("Accept-Language", "de"));
    assert_eq!(silent.status, 502);
    assert!(silent.body.contains("Die Anwendung hat nicht geantwortet") && silent.body.contains("lang=\"de\""), "{silent:?}");
    let program = gateway.send(&get("/public/page").header("Accept-Language", "de"));
    assert!(program.status == 502 && program.body.contains("The application did not answer"), "{program:?}");
}

#[test]
fn older_names_of_the_parameters_hold_and_passwords_in_addresses_do_not() {
    let gateway = Gateway::start().with_users();
    let port = gateway.public;
    let page = login(&gateway, "/login?un=ada%40north", &[]);
    assert!(page.body.contains("value=\"ada@north\""), "{}", page.body);
    let start = format!("http://app.north.localhost:{port}/page?x=1");
    let encoded = percent_encoding::utf8_percent_encode(&start, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut browser = gateway.browser();
    let page = browser.load(&format!("http://{PORTAL}/login?startURL={encoded}"));
    let fields = hidden_fields(&page.body);
    assert!(fields.contains(&("return_to".to_owned(), start.clone())), "{fields:?}");
    let mut fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("un", ADA.0), ("pw", ADA.1)]);
    let mut answer = browser.post(PORTAL, "/login", &fields);
    while let Some(location) = answer.header("location").map(str::to_owned) {
        answer = browser.load(&location);
    }
    assert_eq!((answer.status, gateway.application.last().line.as_str()), (200, "GET /page?x=1 HTTP/1.1"));
    for evil in ["https://evil.example/", "//evil.example", "/%5Cevil.example", "javascript:alert(1)"] {
        let page = login(&gateway, &format!("/login?startURL={}", evil.replace(':', "%3A")), &[]);
        assert!(!page.body.contains("evil.example") && !page.body.contains("javascript:alert"), "{evil}");
    }
    for target in ["/login?pw=x", "/login?un=ada&pw=", "/login?password=x"] {
        assert_eq!(login(&gateway, target, &[]).status, 400, "{target}");
    }
    // Two readings of one form.
    let form = gateway.send_to(PORTAL, &get("/login").browser());
    let hidden = hidden_fields(&form.body);
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("un", ADA.0), ("pw", ADA.1), ("username", "bob")]);
    let both = ask("POST", "/login").browser().header("Origin", &format!("http://{PORTAL}:{port}")).header("Cookie", &cookie_header(&form));
    assert_eq!(gateway.send_to(PORTAL, &both.form(&fields)).status, 400);
}

#[test]
fn a_request_for_the_login_page_with_a_session_leads_on() {
    let gateway = Gateway::start().with_users();
    let mut browser = gateway.browser();
    assert_eq!(browser.submit_login(&format!("http://{PORTAL}/login"), ADA.0, ADA.1).status, 303);
    let again = browser.load(&format!("http://{PORTAL}/login"));
    assert_eq!((again.status, again.header("location")), (303, Some("/")));
    // Who asks for it expressly may sign in anew, and is told whose session that ends.
    let prompted = browser.load(&format!("http://{PORTAL}/login?prompt=login"));
    assert!(prompted.status == 200 && prompted.body.contains("<strong>ada</strong>"), "{prompted:?}");
}

#[test]
fn only_listed_pages_may_post_a_login() {
    let template = CONFIG.replacen("[tenant.south]", "login_from = [\"https://intranet.example.com\"]\n\n[tenant.south]", 1);
    let gateway = Gateway::with(&template).with_users();
    let post = |origin: &str, fields: &[(&str, &str)]| gateway.browser().post_from(origin, PORTAL, "/login", fields);
    let credentials = [("un", ADA.0), ("pw", ADA.1)];
    let answer = post("https://intranet.example.com", &credentials);
    assert!(answer.status == 303 && answer.cookies().contains_key("vestibule"), "{answer:?}");
    for (origin, fields) in [
        ("https://evil.example", &credentials[..]),
        ("https://intranet.example.com.evil.example", &credentials),
        ("null", &credentials),
        ("https://intranet.example.com", &[("un", ADA.0), ("pw", ADA.1), ("state", "0123456789012345678901")]),
    ] {
        let answer = post(origin, fields);
        assert!(answer.status == 403 && !answer.cookies().contains_key("vestibule"), "{origin}: {answer:?}");
    }
    assert_eq!(post("https://intranet.example.com", &[("un", ADA.0), ("pw", "wrong")]).status, 403);
}

#[test]
fn whoever_signs_in_from_a_listed_page_signs_out_who_was_here_before() {
    let template = CONFIG.replacen("[tenant.south]", "login_from = [\"https://intranet.example.com\"]\n\n[tenant.south]", 1);
    let gateway = Gateway::with(&template).with_users();
    let mut browser = gateway.browser();
    assert_eq!(browser.sign_in(ADA.0, ADA.1, "app.north.localhost").status, 200);
    let hers = browser.cookie("app.north.localhost", "vestibule").unwrap();
    let orders = |session: &str| gateway.send(&get("/api/orders").cookie("vestibule", session)).status;
    assert_eq!(orders(&hers), 200);
    // With a POST of another site browsers send no cookie that is Lax.
    let answered = browser.cookie(PORTAL, "vestibule-answered").expect("a cookie for posts from elsewhere");
    let post = ask("POST", "/login")
        .browser()
        .header("Origin", "https://intranet.example.com")
        .header("Sec-Fetch-Site", "cross-site")
        .cookie("vestibule-answered", &answered)
        .form(&[("un", USERS[1].0), ("pw", USERS[1].1)]);
    let answer = gateway.send_to(PORTAL, &post);
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(orders(&hers), 401);
    assert!(gateway.audit_of(&answer).iter().any(|record| record["event"] == "session.ended" && record["reason"] == "switched"));
}

/// A tenant whose people come by an identity provider, and whose form is for emergencies.
fn emergency(more: &str) -> Gateway {
    federated("emergency = \"local\"", more)
}

/// A tenant whose people come by an identity provider.
fn federated(door: &str, more: &str) -> Gateway {
    let template = CONFIG.replacen(
        "chain = [\"session\", \"basic\", \"form\"]",
        &format!("chain = [\"session\", \"saml\", \"form\"]\napi_login = [\"json\"]\n{door}"),
        1,
    ) + "\n[scheme.saml]\ntype = \"saml\"\nidentity_provider = [\"corp\", \"lab\"]\n\n[scheme.saml.signing]\ncertificate = \"sp.crt\"\nkey = { file = \"sp.key\" }\n\n\
           [identity_provider.corp]\nmetadata = \"corp.xml\"\ntitle = \"Example Bank\"\n\n[identity_provider.lab]\nmetadata = \"lab.xml\"\n"
        + more;
    let lab = text("metadata/idp.xml").replace("https://idp.example.org", "https://lab.example.org");
    let (corp, certificate, key) = (text("metadata/idp.xml"), text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"));
    let files = [("corp.xml", corp.as_str()), ("lab.xml", lab.as_str()), ("sp.crt", certificate.as_str()), ("sp.key", key.as_str())];
    let gateway = Gateway::with_files(&template, &files).with_users();
    let file = gateway.scratch.write("glass", "break only in need");
    let added = gateway.command(&[
        "user",
        "add",
        "glass",
        "--tenant",
        "north",
        "--break-glass",
        "--group",
        "staff",
        "--password-file",
        file.to_str().unwrap(),
    ]);
    assert!(added.status.success(), "{added:?}");
    gateway
}

fn alarms(gateway: &Gateway) -> Vec<Value> {
    gateway.audit().into_iter().filter(|record| record["event"] == "emergency.attempted").collect()
}

#[test]
fn the_emergency_door_opens_to_emergency_accounts_and_rings_each_time() {
    let gateway = emergency("");
    let choice = login(&gateway, "/login", &[]);
    assert!(choice.status == 200 && choice.body.contains("Example Bank") && !choice.body.contains("login=true"), "{}", choice.body);
    let mut browser = gateway.browser();
    let form = format!("http://{PORTAL}/login?login");
    // An ordinary account with its right password: unknown here.
    assert_eq!(browser.submit_login(&form, ADA.0, ADA.1).status, 403);
    assert_eq!(gateway.browser().submit_login(&form, "glass", "wrong").status, 403);
    let in_need = browser.submit_login(&form, "glass", "break only in need");
    assert!(in_need.status == 303 && in_need.cookies().contains_key("vestibule"), "{in_need:?}");
    crate::lifecycle::wait_for(|| alarms(&gateway).len() == 3);
    let alarms = alarms(&gateway);
    assert!(alarms.iter().all(|alarm| alarm["listed"] == true), "{alarms:?}");
    assert_eq!(alarms[0]["reason"], "unknown_user", "{alarms:?}");
    assert_ne!(alarms[0]["subject"], "ada", "a name that the door does not know is not written down");
    assert_eq!((&alarms[2]["subject"], alarms[2].get("reason")), (&"glass".into(), None));
    let metrics = crate::support::exchange(gateway.health, &get("/metrics").octets("localhost"));
    assert!(metrics.body.contains("vestibule_emergency_attempts_total 3"), "{}", metrics.body);
}

#[test]
fn the_emergency_door_is_not_there_for_others() {
    let gateway = emergency("\n[administrators]\nfrom = [\"10.9.0.0/16\"]\n");
    let page = login(&gateway, "/login?login", &[]);
    assert!(page.body.contains("Example Bank") && !page.body.contains("type=\"password\""), "{}", page.body);
    // Whoever has a form from elsewhere posts it for nothing: no password is looked at.
    let answer = gateway.browser().post(PORTAL, "/login", &[("un", "glass"), ("pw", "break only in need")]);
    assert!(answer.status == 403 && !answer.cookies().contains_key("vestibule"), "{answer:?}");
}

/// Logs in as a program does.
fn login_as_program(gateway: &Gateway, name: &str, password: &str) -> Answer {
    let body = serde_json::json!({ "username": name, "password": password }).to_string();
    gateway.send(&ask("POST", "/.vestibule/login").header("content-type", "application/json").body(body))
}

#[test]
fn programs_log_in_beside_an_identity_provider_and_by_the_emergency_door_as_people_do() {
    let usual = federated("", "");
    assert_eq!(login_as_program(&usual, ADA.0, ADA.1).status, 200);
    assert_eq!(login_as_program(&usual, ADA.0, "wrong").status, 401);
    assert!(alarms(&usual).is_empty());

    let door = emergency("");
    let ordinary = login_as_program(&door, ADA.0, ADA.1);
    assert!(ordinary.status == 401 && !ordinary.body.contains("session\":"), "{ordinary:?}");
    assert_eq!(login_as_program(&door, "glass", "break only in need").status, 200);
    crate::lifecycle::wait_for(|| alarms(&door).len() == 2);
    let rung = alarms(&door);
    assert!(rung[0]["reason"] == "unknown_user" && rung[0]["subject"] != "ada", "{rung:?}");
    assert_eq!((&rung[1]["subject"], rung[1].get("reason"), &rung[1]["listed"]), (&"glass".into(), None, &true.into()));

    let closed = emergency("\n[administrators]\nfrom = [\"10.9.0.0/16\"]\n");
    assert_eq!(login_as_program(&closed, "glass", "break only in need").status, 401);
    crate::lifecycle::wait_for(|| alarms(&closed).len() == 1);
    assert_eq!((&alarms(&closed)[0]["reason"], &alarms(&closed)[0]["listed"]), (&"address_not_listed".into(), &false.into()));
}

#[test]
fn what_a_stranger_writes_into_a_link_does_not_stand_on_the_page() {
    let gateway = front_door();
    let shown = |host: &str, return_to: &str| {
        let encoded = percent_encoding::utf8_percent_encode(return_to, percent_encoding::NON_ALPHANUMERIC).to_string();
        let page = gateway.send_to(host, &get(&format!("/login?return_to={encoded}")).browser());
        assert_eq!(page.status, 200, "{return_to}: {page:?}");
        // Beside what the form sends on, and nobody sees.
        page.body.lines().filter(|line| !line.contains("type=\"hidden\"")).collect::<Vec<_>>().join("\n")
    };
    let application = format!("http://app.north.localhost:{}/page", gateway.public);
    for host in [FRONT, PORTAL] {
        assert!(shown(host, &application).contains("app.north.localhost"), "{host}");
        for text in ["x://Locked. Call 0800 123", "/?x=://Locked.+Call+0800+123", "/page://Locked.Call", "https://Locked.example/"] {
            assert!(!shown(host, text).contains("Locked"), "{host} {text}");
        }
    }
}

/// A house with a host of no tenant.
fn front_door() -> Gateway {
    with_sue(Gateway::with(&front_door_template()).with_users())
}

fn front_door_template() -> String {
    CONFIG
        .replacen("[tenant.north]", &format!("[front_door]\nhost = \"{FRONT}:{{{{port}}}}\"\n\n[tenant.north]\ndomain = \"north\""), 1)
        .replacen("[tenant.south]", "[tenant.south]\ndomain = \"south\"", 1)
}

/// The same, with users of the south.
fn with_sue(gateway: Gateway) -> Gateway {
    for (name, password) in [("ada", "the other ada of the south"), ("sue", "only in the south")] {
        let file = gateway.scratch.write("password", password);
        let added =
            gateway.command(&["user", "add", name, "--tenant", "south", "--group", "staff", "--password-file", file.to_str().unwrap()]);
        assert!(added.status.success(), "{added:?}");
    }
    gateway
}

fn sign_in_at_front(browser: &mut Browser<'_>, query: &str, name: &str, password: &str) -> Answer {
    let form = browser.visit(&format!("http://{FRONT}/login{query}"));
    assert_eq!(form.status, 200, "{form:?}");
    let hidden = hidden_fields(&form.body);
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("username", name), ("password", password)]);
    browser.post(FRONT, "/login", &fields)
}

/// Follows redirects to the end.
fn follow(browser: &mut Browser<'_>, mut answer: Answer) -> (String, Answer) {
    let mut at = String::new();
    for _ in 0..12 {
        let Some(location) = answer.header("location").map(str::to_owned) else { return (at, answer) };
        answer = browser.load(&location);
        at = location;
    }
    panic!("{answer:?}");
}

#[test]
fn whoever_comes_to_no_tenant_is_found_by_name_and_brought_home() {
    let gateway = front_door();
    let plain = gateway.send_to(FRONT, &get("/login").browser());
    assert!(
        plain.status == 200 && plain.body.contains("Vestibule") && !plain.body.contains("North") && plain.body.contains("id=\"suffix\""),
        "{}",
        plain.body
    );
    // By the suffix; without one, the only tenant with such a user.
    for (name, password, portal) in [
        ("ada@north", ADA.1, PORTAL),
        ("ada@SOUTH", "the other ada of the south", "login.south.localhost"),
        ("sue", "only in the south", "login.south.localhost"),
        ("bob", USERS[1].1, PORTAL),
    ] {
        let mut browser = gateway.browser();
        let answer = sign_in_at_front(&mut browser, "", name, password);
        assert_eq!(answer.status, 303, "{name}: {answer:?}");
        let (_, home) = follow(&mut browser, answer);
        assert!(home.status == 200 && browser.cookie(portal, "vestibule").is_some(), "{name}: {home:?}");
        assert!(home.body.contains(name.split('@').next().unwrap()), "{name}");
        // The code is spent and the session lives here, too: the front door leads home.
        let again = browser.load(&format!("http://{FRONT}/login"));
        let (_, home) = follow(&mut browser, again);
        assert_eq!(home.status, 200, "{name}");
    }
    // Where they wanted to go.
    let wanted = format!("http://app.north.localhost:{}/page?x=2", gateway.public);
    let encoded = percent_encoding::utf8_percent_encode(&wanted, percent_encoding::NON_ALPHANUMERIC).to_string();
    let mut browser = gateway.browser();
    let answer = sign_in_at_front(&mut browser, &format!("?startURL={encoded}"), "ada@north", ADA.1);
    let (_, page) = follow(&mut browser, answer);
    assert_eq!((page.status, gateway.application.last().line.as_str()), (200, "GET /page?x=2 HTTP/1.1"));
    // The record is the tenant's.
    let history = || gateway.command(&["history", "--tenant", "south", "--user", "sue", "--json"]).stdout;
    crate::lifecycle::wait_for(|| String::from_utf8_lossy(&history()).contains("\"Success\""));
}

#[test]
fn who_signs_in_at_no_tenants_host_signs_out_who_was_here_before() {
    let gateway = front_door();
    let mut browser = gateway.browser();
    let wanted = format!("?startURL=http%3A%2F%2Fapp.north.localhost%3A{}%2Fpage", gateway.public);
    let answer = sign_in_at_front(&mut browser, &wanted, "ada@north", ADA.1);
    assert_eq!(follow(&mut browser, answer).1.status, 200);
    let hers = browser.cookie("app.north.localhost", "vestibule").unwrap();
    let orders = || gateway.send(&get("/api/orders").cookie("vestibule", &hers)).status;
    assert_eq!(orders(), 200);
    let prompted = browser.load(&format!("http://{FRONT}/login?prompt=login"));
    assert!(prompted.status == 200 && prompted.body.contains("<strong>ada</strong>"), "{prompted:?}");
    // A refused login signs nobody out, another's does: of another tenant, too.
    assert_eq!(sign_in_at_front(&mut browser, "?prompt=login", "sue", "wrong").status, 403);
    assert_eq!(orders(), 200);
    let answer = sign_in_at_front(&mut browser, "?prompt=login", "sue", "only in the south");
    assert_eq!(answer.status, 303, "{answer:?}");
    assert_eq!(orders(), 401);
    let ended = |record: &Value| record["event"] == "session.ended" && record["subject"] == "ada" && record["reason"] == "switched";
    assert!(gateway.audit_of(&answer).iter().any(ended), "{:?}", gateway.audit_of(&answer));
}

#[test]
fn at_no_tenants_host_nobody_learns_who_exists() {
    let gateway = front_door();
    // Two tenants have an ada; of nobody's name, tenant or both; another tenant's password; somebody of no host here.
    all_hear_the_same(&gateway, &[("ada", ADA.1), ("nobody@north", "x"), ("ada@west", ADA.1), ("nobody", "x"), ("ada@south", ADA.1)]);
    for target in ["/password", "/logout", "/api/orders", "/.vestibule/landing", "/saml/sp/acs"] {
        assert_eq!(gateway.send_to(FRONT, &get(target).browser()).status, 404, "{target}");
    }
}

#[test]
fn at_no_tenants_host_an_outage_tells_nobody_whose_name_it_is() {
    // The directory of the north is down; that of the south is none.
    let template = front_door_template().replacen("\"basic\", \"form\"]", "\"basic\", \"northern\"]", 1)
        + "\n[scheme.northern]\ntype = \"login-form\"\nrealm = [\"corp\", \"local\"]\n\n[realm.corp]\ntype = \"ldap\"\n\
           url = \"ldap://127.0.0.1:9\"\nbind_dn = \"cn=vestibule\"\nbind_password = { file = \"service\" }\nbase = \"dc=example\"\n\
           filter = \"(uid={user})\"\n";
    let gateway = with_sue(Gateway::with_files(&template, &[("service", "x")]).with_users());
    all_hear_the_same(&gateway, &[("ada@north", ADA.1), ("nobody@north", "x"), ("sue", "wrong"), ("nobody@south", "x"), ("nobody", "x")]);
    let answer = sign_in_at_front(&mut gateway.browser(), "", "ada@north", ADA.1);
    assert!(answer.body.contains("or cannot be checked right now"), "{answer:?}");
    let refused = |record: &Value| record["event"] == "login.rejected" && record["reason"] == "unavailable";
    assert!(gateway.audit_of(&answer).iter().any(refused), "{:?}", gateway.audit_of(&answer));
    // Whom nothing is down for comes in; and who can help the north does, at its own door.
    assert_eq!(sign_in_at_front(&mut gateway.browser(), "", "sue", "only in the south").status, 303);
    assert_eq!(gateway.browser().submit_login(&format!("http://{PORTAL}/login"), ADA.0, ADA.1).status, 503);
}

/// Refused at the host of no tenant, each of these names is answered as the others are.
fn all_hear_the_same(gateway: &Gateway, tried: &[(&str, &str)]) {
    let mut said = Vec::new();
    for (name, password) in tried {
        let mut browser = gateway.browser();
        let answer = sign_in_at_front(&mut browser, "", name, password);
        assert!(answer.status == 403 && !answer.cookies().contains_key("vestibule"), "{name}: {answer:?}");
        let id = answer.header("x-vestibule-id").unwrap().to_owned();
        let plain = |text: &str| text.replace(&id, "ID").replace(&format!("value=\"{name}\""), "value=\"NAME\"");
        // The token of the form is new each time.
        let text: String = plain(&answer.body)
            .lines()
            .filter(|line| !line.contains("name=\"state\""))
            .map(|line| format!("{}\n", line.replace(" autofocus", "")))
            .collect();
        said.push(text);
    }
    assert!(said.windows(2).all(|pair| pair[0] == pair[1]), "{said:#?}");
}

#[test]
fn at_no_tenants_host_nobody_learns_who_signs_in_elsewhere() {
    let gateway = everything();
    let file = gateway.scratch.write("password", "signs in elsewhere");
    let added = gateway.command(&["user", "add", "wes", "--tenant", "west", "--password-file", file.to_str().unwrap()]);
    assert!(added.status.success(), "{added:?}");
    for name in ["wes", "nobody"] {
        let answer = sign_in_at_front(&mut gateway.browser(), "", name, "signs in elsewhere");
        assert_eq!(answer.status, 403, "{name}: {answer:?}");
        let refused = |record: &Value| record["event"] == "login.rejected" && record["reason"] == "unknown_user";
        assert!(gateway.audit_of(&answer).iter().any(refused), "{name}: {:?}", gateway.audit_of(&answer));
    }
    // Whoever says that they are of the west is led there, be there such a user or not.
    for name in ["wes@west", "nobody@west"] {
        let answer = sign_in_at_front(&mut gateway.browser(), "", name, "x");
        assert!(
            answer.status == 303 && answer.header("location").unwrap().starts_with("http://login.west.localhost"),
            "{name}: {answer:?}"
        );
    }
}

#[test]
fn a_stolen_link_of_the_front_door_signs_nobody_in() {
    let gateway = front_door();
    let mut attacker = gateway.browser();
    let answer = sign_in_at_front(&mut attacker, "", "ada@north", ADA.1);
    let to_portal = answer.header("location").unwrap().to_owned();
    let to_front = attacker.load(&to_portal).header("location").unwrap().to_owned();
    let with_code = attacker.load(&to_front).header("location").unwrap().to_owned();
    assert!(with_code.contains("code=") && with_code.contains("seal="), "{with_code}");
    // In another browser, with or without a nonce of its own.
    let mut victim = gateway.browser();
    let first = victim.load(&with_code);
    assert!(first.status == 303 && victim.cookie(PORTAL, "vestibule").is_none(), "{first:?}");
    let (_, page) = follow(&mut victim, first);
    assert!(page.status == 200 && victim.cookie(PORTAL, "vestibule").is_none(), "the victim signs in themselves: {page:?}");
    // The browser that it was made for gets in.
    attacker.load(&with_code);
    assert!(attacker.cookie(PORTAL, "vestibule").is_some());
}

/// A house in which staff have these restrictions.
fn restricted(profile: &str) -> Gateway {
    let gateway = Gateway::with(&format!("{CONFIG}\n[profile.staff]\n{profile}\n")).with_users();
    let file = gateway.scratch.write("password", "held to the rules");
    let added = gateway.command(&[
        "user",
        "add",
        "rita",
        "--tenant",
        "north",
        "--group",
        "staff",
        "--profile",
        "staff",
        "--password-file",
        file.to_str().unwrap(),
    ]);
    assert!(added.status.success(), "{added:?}");
    gateway
}

const RITA: (&str, &str) = ("rita", "held to the rules");

fn refusal(gateway: &Gateway, answer: &Answer) -> String {
    gateway.audit_of(answer)[0]["steps"].to_string()
}

#[test]
fn a_profile_restricts_hours_strength_and_idleness() {
    // No hour of the week: whoever tries is refused, and others are not.
    let closed = restricted("hours = []\ntime_zone = \"Europe/Berlin\"");
    let answer = closed.send(&get("/api/orders").basic(RITA.0, RITA.1));
    assert!(answer.status == 401 && refusal(&closed, &answer).contains("outside_hours"), "{answer:?}");
    assert_eq!(closed.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 200);
    crate::lifecycle::wait_for(|| {
        let form = closed.sign_in_at_portal(RITA.0, RITA.1);
        assert_eq!(form.status, 403);
        let history = closed.command(&["history", "--tenant", "north", "--user", "rita", "--json"]);
        String::from_utf8_lossy(&history.stdout).contains("Restricted time")
    });

    let strong = restricted("level = 20");
    let answer = strong.send(&get("/api/orders").basic(RITA.0, RITA.1));
    assert!(answer.status == 401 && refusal(&strong, &answer).contains("weak_proof"), "{answer:?}");

    // Hours end while a session lives: the next request finds nobody.
    let open = restricted("hours = [\"mon-sun 00:00-24:00\"]\ntime_zone = \"UTC\"\nidle = \"2s\"\nlock = \"exact\"");
    let (name, value) = open.sign_in(RITA.0, RITA.1);
    assert_eq!(open.send(&get("/api/orders").cookie(&name, &value)).status, 200);
    let config = open.scratch.path().join("vestibule.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    open.scratch.write("vestibule.toml", &text.replace("[\"mon-sun 00:00-24:00\"]", "[]"));
    open.signal("HUP");
    crate::lifecycle::wait_for(|| open.audit().iter().any(|record| record["event"] == "config.reloaded" && record["accepted"] == true));
    let ended = open.send(&get("/api/orders").cookie(&name, &value));
    assert!(ended.status == 401 && refusal(&open, &ended).contains("outside_hours"), "{ended:?}");
    open.scratch.write("vestibule.toml", &text);
    open.signal("HUP");
    crate::lifecycle::wait_for(|| open.audit().iter().filter(|record| record["event"] == "config.reloaded").count() >= 2);
    std::thread::sleep(std::time::Duration::from_millis(2200));
    let idle = open.send(&get("/api/orders").cookie(&name, &value));
    assert_eq!(idle.status, 401, "after two seconds, not half an hour: {idle:?}");
}

#[test]
fn a_session_is_worth_nothing_from_another_address_where_the_profile_says_so() {
    // Behind a proxy that is believed about addresses.
    let template = CONFIG.replacen("[listen.limits]", "trusted_proxies = [\"127.0.0.1\"]\n\n[listen.limits]", 1);
    for (lock, near, far) in [("exact", false, false), ("network", true, false), ("off", true, true)] {
        let gateway = Gateway::with(&format!("{template}\n[profile.staff]\nlock = \"{lock}\"\n")).with_users();
        let file = gateway.scratch.write("password", RITA.1);
        let added = gateway.command(&[
            "user",
            "add",
            "rita",
            "--tenant",
            "north",
            "--group",
            "staff",
            "--profile",
            "staff",
            "--password-file",
            file.to_str().unwrap(),
        ]);
        assert!(added.status.success(), "{added:?}");
        let session = open_session(&gateway, "192.0.2.7");
        check(&gateway, &session, near, far, lock);
    }
}

/// Signs in at the portal from an address, and returns the session's cookie there.
fn open_session(gateway: &Gateway, address: &str) -> (String, String) {
    let dressed = |request: crate::support::Ask| request.browser().header("X-Forwarded-For", address).header("X-Forwarded-Proto", "https");
    let form = gateway.send_to(PORTAL, &dressed(get("/login")));
    let hidden = hidden_fields(&form.body);
    let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    fields.extend([("username", RITA.0), ("password", RITA.1)]);
    let origin = format!("https://{PORTAL}:{}", gateway.public);
    let post = dressed(ask("POST", "/login")).header("Origin", &origin).header("Cookie", &cookie_header(&form)).form(&fields);
    let answer = gateway.send_to(PORTAL, &post);
    assert_eq!(answer.status, 303, "{answer:?}");
    answer.cookies().into_iter().find(|(name, _)| name.ends_with("vestibule")).expect("a session")
}

fn check(gateway: &Gateway, (name, value): &(String, String), near: bool, far: bool, lock: &str) {
    let home = |address: &str| {
        let request = get("/").browser().header("X-Forwarded-For", address).header("X-Forwarded-Proto", "https").cookie(name, value);
        gateway.send_to(PORTAL, &request).status == 200
    };
    assert!(home("192.0.2.7"), "{lock}: at home");
    assert_eq!(home("192.0.2.99"), near, "{lock}: next door");
    assert_eq!(home("198.51.100.7"), far, "{lock}: far away");
    assert!(home("192.0.2.7"), "{lock}: a thief ends nothing");
}

/// Three tenants and the host of none, for somebody to look at.
pub fn everything() -> Gateway {
    let template = CONFIG
        .replacen("[tenant.north]", &format!("[front_door]\nhost = \"{FRONT}:{{{{port}}}}\"\n\n[tenant.north]\ndomain = \"north\""), 1)
        .replacen(
            "[tenant.south]",
            "[tenant.south]\ntitle = \"South Sea Trading\"\ndomain = \"south\"\nbrand.accent = \"#0b5fff\"\nbrand.logo = \"south.svg\"\nbrand.heading = \"Welcome back\"\n\
             brand.aside = \"On Sunday from 6 to 8 we are not here.\\n\\nNew here? Ask whoever hired you.\"\nbrand.support = \"Trouble signing in? Call 4711.\"",
            1,
        )
        + "\n[tenant.west]\ntitle = \"West\"\ndomain = \"west\"\nhosts = [\"app.west.localhost:{{port}}\"]\nportal = \"login.west.localhost:{{port}}\"\nchain = [\"session\", \"saml\", \"form\"]\nemergency = \"local\"\n\n\
           [scheme.saml]\ntype = \"saml\"\nidentity_provider = [\"corp\", \"lab\"]\n\n[scheme.saml.signing]\ncertificate = \"sp.crt\"\nkey = { file = \"sp.key\" }\n\n\
           [identity_provider.corp]\nmetadata = \"corp.xml\"\ntitle = \"Example Bank\"\n\n[identity_provider.lab]\nmetadata = \"lab.xml\"\ntitle = \"Laboratory\"\n";
    let lab = text("metadata/idp.xml").replace("https://idp.example.org", "https://lab.example.org");
    let (corp, certificate, key) = (text("metadata/idp.xml"), text("keys/sp-rsa2048.crt"), text("keys/sp-rsa2048.key"));
    let logo = "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 180 40'><rect width='40' height='40' rx='8' fill='#0b5fff'/><text x='52' y='28' font-family='sans-serif' font-size='22' fill='#777'>South Sea</text></svg>";
    let files = [
        ("corp.xml", corp.as_str()),
        ("lab.xml", lab.as_str()),
        ("sp.crt", certificate.as_str()),
        ("sp.key", key.as_str()),
        ("south.svg", logo),
    ];
    let gateway = Gateway::with_files(&template, &files).with_users();
    let file = gateway.scratch.write("glass", "break only in need");
    for tenant in ["north", "west"] {
        let arguments = ["user", "add", "glass", "--tenant", tenant, "--break-glass", "--password-file", file.to_str().unwrap()];
        let added = gateway.command(&arguments);
        assert!(added.status.success(), "{added:?}");
    }
    gateway
}

#[test]
fn only_operators_look_up_who_signed_in() {
    let gateway = everything();
    // A name that a spreadsheet would run and a browser would draw.
    for name in ["=cmd|' /C calc'!A0", "<script>alert(1)</script>"] {
        gateway.send(&get("/api/orders").basic(name, "x"));
    }
    let mut ada = gateway.browser();
    ada.submit_login(&format!("http://{PORTAL}/login"), ADA.0, ADA.1);
    assert!(!ada.load(&format!("http://{PORTAL}/")).body.contains("/history"), "no link for others");
    for path in ["/history", "/history/delegated", "/history?format=csv", "/history?format=json"] {
        assert_eq!(ada.load(&format!("http://{PORTAL}{path}")).status, 404, "{path}");
        let nobody = gateway.send_to(PORTAL, &get(path).browser());
        assert!(nobody.status == 303 && nobody.header("location").unwrap().starts_with("/login?return_to=%2Fhistory"), "{nobody:?}");
    }
    // Nor an operator who must change the password first.
    let file = gateway.scratch.write("password", "set by somebody else");
    let arguments =
        ["user", "add", "fresh", "--tenant", "north", "--break-glass", "--must-change", "--password-file", file.to_str().unwrap()];
    assert!(gateway.command(&arguments).status.success());
    let mut fresh = gateway.browser();
    fresh.submit_login(&format!("http://{PORTAL}/login"), "fresh", "set by somebody else");
    let kept_back = fresh.load(&format!("http://{PORTAL}/history?format=csv"));
    assert_eq!((kept_back.status, kept_back.header("location")), (303, Some("/password")), "{kept_back:?}");
    let mut glass = gateway.browser();
    assert_eq!(glass.submit_login(&format!("http://{PORTAL}/login"), "glass", "break only in need").status, 303);
    assert!(glass.load(&format!("http://{PORTAL}/")).body.contains("href=\"/history\""));
    let mut load = |path: &str| glass.load(&format!("http://{PORTAL}{path}"));
    // Histories are written beside the requests.
    crate::lifecycle::wait_for(|| load("/history").body.matches("<td>Success</td>").count() >= 2);
    let page = load("/history");
    assert!(page.body.contains("<td>Invalid login</td>") && !page.body.contains("<script>alert"), "{}", page.body);
    assert_eq!(page.header("cache-control"), Some("no-store"));
    let csv = load("/history?format=csv&user=ada");
    assert_eq!(
        (csv.status, csv.header("content-type"), csv.header("content-disposition")),
        (200, Some("text/csv; charset=utf-8"), Some("attachment; filename=\"logins.csv\""))
    );
    assert!(csv.body.lines().count() == 2 && csv.body.contains("\"ada\"") && csv.body.contains("\"Success\""), "{}", csv.body);
    let json: Value = serde_json::from_str(&load("/history?format=json").body).unwrap();
    assert!(json["history"].as_array().unwrap().len() >= 4, "{json}");
    assert!(load("/history?user=nobody%22%3E%3Cb%3E").body.contains("value=\"nobody&#34;&#62;&#60;b&#62;\""));
    assert_eq!(load("/history/delegated").status, 200);
    // Another tenant's are not theirs, and their session is of this one.
    assert_eq!(gateway.send_to("login.south.localhost", &get("/history").browser()).status, 303);
}
