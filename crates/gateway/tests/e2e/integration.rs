//! The protocol of old integration clients, row by row (`oracle-stateful-sessions.md`): every row that is confirmed and every one
//! that is our choice is a line here with its name, and all that fail are named at the end.

mod attacks;
mod doors;
mod further;
mod nodes;
mod page;
mod tokens;

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::{Answer, Ask, Gateway, USERS, ask, get};

pub const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const PATH: &str = "/Services/Integration";
const OASIS: &str = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-secext-1.0.xsd";
const APRIL: &str = "http://schemas.xmlsoap.org/ws/2002/04/secext";
const JULY: &str = "http://schemas.xmlsoap.org/ws/2002/07/secext";
const UMLAUTS: (&str, &str) = ("j\u{f6}rg", "p\u{e4}ss/word+100%");
pub const POLICY: (&str, &str) = (
    "crm.cedar",
    "@id(\"everybody-but-none-deletes\")\npermit(principal, action, resource)\nunless { resource.path == \"/Services/Integration/Forbidden\" };\n",
);

/// Rows of the reference, each with its name.
#[derive(Debug, Default)]
struct Rows(Vec<String>, usize);

impl Rows {
    fn row(&mut self, name: &str, check: impl FnOnce()) {
        self.1 += 1;
        if catch_unwind(AssertUnwindSafe(check)).is_err() {
            self.0.push(name.to_owned());
        }
    }

    /// Fails with the names of the rows that did not hold.
    fn hold(self) {
        assert!(self.1 > 0 && self.0.is_empty(), "{} of {} rows do not hold:\n{}", self.0.len(), self.1, self.0.join("\n"));
    }
}

pub fn gateway() -> Gateway {
    with("")
}

/// A gateway with more settings of the tenant. Requests may follow each other at once, unless these say otherwise.
fn with(settings: &str) -> Gateway {
    more(settings, "")
}

fn more(settings: &str, more: &str) -> Gateway {
    altered(settings, more, &[], str::to_owned)
}

/// The same, with more files, of a configuration that is then altered.
fn altered(settings: &str, more: &str, files: &[(&str, &str)], alter: impl FnOnce(&str) -> String) -> Gateway {
    let spacing = if settings.contains("spacing") { "" } else { "spacing = \"0s\"\n" };
    let quota = if settings.contains("quota") { "" } else { "quota = 1000\n" };
    let template =
        include_str!("integration.toml").replace("{{settings}}", &format!("{spacing}{quota}{settings}")).replace("{{more}}", more);
    let gateway = Gateway::with_files(&alter(&template), &[files, &[POLICY]].concat()).with_users();
    add(&gateway, UMLAUTS.0, UMLAUTS.1, "north", &[]);
    gateway
}

fn add(gateway: &Gateway, name: &str, password: &str, tenant: &str, more: &[&str]) {
    let file = gateway.scratch.write("password", password);
    let arguments = [&["user", "add", name, "--tenant", tenant, "--password-file", file.to_str().unwrap()], more].concat();
    let output = gateway.command(&arguments);
    assert!(output.status.success(), "{output:?}");
}

fn command(text: &str) -> Ask {
    get(&format!("{PATH}?command={text}"))
}

fn signed(ask: Ask, name: &str, password: &str) -> Ask {
    ask.header("UserName", name).header("Password", password)
}

fn login(gateway: &Gateway) -> Answer {
    let answer = gateway.send(&signed(command("login"), "NORTH/ada", ADA.1));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer
}

/// The session id as the clients cut it out: the first Set-Cookie, up to the semicolon, the part after the sign.
fn id(answer: &Answer) -> String {
    let first = answer.header("set-cookie").expect("no Set-Cookie");
    let pair = &first[..first.find(';').expect("no semicolon")];
    let parts: Vec<&str> = pair.split('=').collect();
    assert_eq!((parts.len(), parts[0]), (2, "JSESSIONID"), "{first}");
    parts[1].to_owned()
}

fn envelope(header: &str, body: &str) -> String {
    format!(
        "<soap:Envelope xmlns:soap=\"http://schemas.xmlsoap.org/soap/envelope/\"><soap:Header>{header}</soap:Header><soap:Body>{body}</soap:Body></soap:Envelope>"
    )
}

const QUERY: &str = "<ContactQueryPage_Input xmlns=\"urn:crmondemand/ws/ecbs/contact/\"/>";

fn post(path: &str, message: &str) -> Ask {
    ask("POST", path)
        .header("Content-Type", "text/xml; charset=utf-8")
        .header("SOAPAction", "\"document/urn:crmondemand/ws/ecbs/contact/:ContactQueryPage\"")
        .body(message)
}

/// A data request without credentials in its head.
fn data() -> Ask {
    post(&format!("{PATH}/Contact"), &envelope("", QUERY))
}

fn in_session(ask: Ask, id: &str) -> Ask {
    ask.cookie("JSESSIONID", id)
}

fn token(namespace: &str, inside: &str) -> String {
    format!(
        "<wsse:Security soap:mustUnderstand=\"1\" xmlns:wsse=\"{namespace}\"><wsse:UsernameToken>{inside}</wsse:UsernameToken></wsse:Security>"
    )
}

fn user(namespace: &str, name: &str, password: &str) -> String {
    let kind = if namespace == OASIS {
        "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-username-token-profile-1.0#PasswordText"
    } else {
        "wsse:PasswordText"
    };
    let password = password.replace('&', "&amp;");
    token(namespace, &format!("<wsse:Username>{name}</wsse:Username><wsse:Password Type=\"{kind}\">{password}</wsse:Password>"))
}

fn ada(namespace: &str) -> String {
    user(namespace, "NORTH/ada", ADA.1)
}

fn send(gateway: &Gateway, header: &str) -> Answer {
    gateway.send(&post(&format!("{PATH}/Contact"), &envelope(header, QUERY)))
}

const KEEP: &str = "<SessionKeepAlive xmlns=\"urn:crmondemand/ws\">\n true \n</SessionKeepAlive>";

fn form_a(answer: &Answer, code: &str) {
    assert!(answer.body.contains(&format!("<ErrorCode>{code}</ErrorCode>")), "{answer:?}");
    assert!(answer.body.contains("<faultcode>soap:Server</faultcode><faultstring>Server</faultstring>"), "{answer:?}");
    assert!(answer.header("content-type").unwrap().starts_with("text/xml"), "{answer:?}");
    assert_eq!(answer.header("www-authenticate"), None);
    assert!(!answer.body.contains("Reason"), "{answer:?}");
}

fn no_session(answer: &Answer) {
    assert_eq!(answer.status, 500, "{answer:?}");
    form_a(answer, "SBL-ODU-01006");
    assert!(answer.body.contains("Session is invalid or has expired"), "{answer:?}");
}

/// A message of somebody who says not who it is.
fn nobody(answer: &Answer) {
    assert_eq!(answer.status, 500, "{answer:?}");
    assert!(answer.body.contains("Missing &lt;wsse:Security&gt; in SOAP Header"), "{answer:?}");
}

fn refused(answer: &Answer, status: u16) {
    assert_eq!(answer.status, status, "{answer:?}");
    form_a(answer, "SBL-ODU-01006");
    assert_eq!(answer.all("set-cookie"), Vec::<&str>::new(), "never a cookie on failure");
}

fn forwarded(gateway: &Gateway, ask: &Ask) -> Answer {
    gateway.application.forget();
    let answer = gateway.send(ask);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(gateway.application.received().len(), 1, "{answer:?}");
    answer
}

fn works(gateway: &Gateway, id: &str) {
    forwarded(gateway, &in_session(data(), id));
    assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
}

#[test]
fn section_1_login() {
    let gateway = gateway();
    let mut rows = Rows::default();
    let sent = |ask: Ask| gateway.send(&ask);
    let hers = |ask: Ask| signed(ask, "NORTH/ada", ADA.1);

    rows.row("1.1 documented method GET", || works(&gateway, &id(&login(&gateway))));
    rows.row("1.1 POST with an empty body, any body ignored", || {
        works(&gateway, &id(&sent(hers(ask("POST", &format!("{PATH}?command=login"))))));
        let body = hers(ask("POST", &format!("{PATH}?command=login"))).header("Content-Type", "text/xml").body("<ignored/>");
        works(&gateway, &id(&sent(body)));
    });
    rows.row("1.1 other methods are no login", || refused(&sent(hers(ask("PUT", &format!("{PATH}?command=login")))), 400));
    rows.row("1.1 command value is case sensitive; test 1", || {
        for word in ["Login", "LOGIN", "logIn"] {
            refused(&sent(hers(command(word))), 400);
        }
    });
    rows.row("1.1 isEncoded Y and y: URL-encoded UTF-8; test 2 and 3", || {
        for word in ["Y", "y"] {
            let answer = sent(signed(command(&format!("login&isEncoded={word}")), "NORTH/j%C3%B6rg", "p%C3%A4ss%2Fword%2B100%25"));
            id(&answer);
        }
    });
    rows.row("1.1 isEncoded N, n and absent: raw", || {
        for words in ["login&isEncoded=N", "login&isEncoded=n", "login"] {
            id(&sent(hers(command(words))));
            refused(&sent(signed(command(words), "NORTH%2Fada", ADA.1)), 401);
        }
    });
    rows.row("1.1 isEncoded of any other value is a bad request", || {
        for words in ["login&isEncoded=X", "login&isEncoded=", "login&isEncoded=true", "login&isEncoded=Y&isEncoded=N"] {
            refused(&sent(hers(command(words))), 400);
        }
    });
    rows.row("1.1 header names are case-insensitive", || {
        for (name, password) in [("username", "password"), ("Username", "PASSWORD")] {
            id(&sent(command("login").header(name, "NORTH/ada").header(password, ADA.1)));
        }
    });
    rows.row("1.1 a trailing semicolon is stripped", || {
        for words in ["login;", "login;;", "login&isEncoded=N;"] {
            id(&sent(hers(command(words))));
        }
    });
    rows.row("encoding: percent-escapes have to be UTF-8, else bad credentials", || {
        refused(&sent(signed(command("login&isEncoded=Y"), "NORTH/ada%FF", ADA.1)), 401);
    });
    rows.row("encoding: / and the rest that encodeURI leaves are accepted", || {
        let password = "p%C3%A4ss/word%2B100%25";
        id(&sent(signed(command("login&isEncoded=Y"), "NORTH/j%C3%B6rg", password)));
    });
    rows.row("encoding: + is a space", || {
        id(&sent(signed(command("login&isEncoded=Y"), "NORTH/ada", &ADA.1.replace(' ', "+"))));
        refused(&sent(signed(command("login&isEncoded=Y"), "NORTH/j%C3%B6rg", "p%C3%A4ss/word+100%25")), 401);
    });
    rows.row("encoding: a bad escape is bad credentials, no hint", || {
        let bad = sent(signed(command("login&isEncoded=Y"), "NORTH/ada", "%zz"));
        let wrong = sent(signed(command("login&isEncoded=Y"), "NORTH/ada", "wrong"));
        refused(&bad, 401);
        assert_eq!(bad.body, wrong.body);
    });
    rows.row("encoding: isEncoded=N and a byte above 0x7F is bad credentials", || {
        refused(&sent(signed(command("login"), "NORTH/j\u{f6}rg", UMLAUTS.1)), 401);
    });
    rows.row("1.1 missing, empty and doubled headers", || {
        for bad in [
            command("login"),
            command("login").header("UserName", "NORTH/ada"),
            command("login").header("Password", ADA.1),
            signed(command("login"), "", ADA.1),
            signed(command("login"), "NORTH/ada", ""),
            hers(command("login")).header("UserName", "NORTH/bob"),
            hers(command("login")).header("Password", ADA.1),
        ] {
            refused(&sent(bad), 400);
        }
    });
    rows.row("0 user id form COMPANYSIGNIN/user, forward slash", || {
        for name in ["NORTH/ada", "north/ada", "ada", "NORTH/Ada"] {
            id(&sent(signed(command("login"), name, ADA.1)));
        }
        for name in ["SOUTH/ada", "NORTH/NORTH/ada", "/ada", "NORTH/"] {
            refused(&sent(signed(command("login"), name, ADA.1)), 401);
        }
    });
    rows.row("test 4: a backslash is accepted as sent and not rewritten", || {
        refused(&sent(signed(command("login"), "NORTH\\ada", ADA.1)), 401);
        add(&gateway, "a\\b", "backslashes are letters", "north", &[]);
        id(&sent(signed(command("login"), "NORTH/a\\b", "backslashes are letters")));
    });
    rows.row("1.2 status 200, empty body", || {
        let answer = login(&gateway);
        assert_eq!(
            (answer.body.as_str(), answer.header("content-length"), answer.header("cache-control")),
            ("", Some("0"), Some("no-store"))
        );
    });
    rows.row("1.2 the cookie: first, prefix, an attribute, charset, no other; test 5", || {
        let answer = login(&gateway);
        let cookies = answer.all("set-cookie");
        assert_eq!(cookies.len(), 1);
        assert!(cookies[0].starts_with("JSESSIONID=") && cookies[0].contains(';'), "{cookies:?}");
        let id = id(&answer);
        assert_eq!(id.len(), 43);
        assert!(id.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')), "{id}");
    });
    rows.row("1.2 flags: Path=/Services, HttpOnly, SameSite=Lax, no Domain, no Expires", || {
        let answer = login(&gateway);
        let cookie = answer.header("set-cookie").unwrap();
        assert!(cookie.ends_with("; Path=/Services; HttpOnly; SameSite=Lax"), "{cookie}");
        let secure = sent(hers(command("login")).header("X-Forwarded-Proto", "https"));
        assert!(secure.header("set-cookie").unwrap().ends_with("; Path=/Services; Secure; HttpOnly; SameSite=Lax"), "{secure:?}");
    });
    rows.row("1.3 the cookie authenticates later calls, by its upper-case name", || {
        let id = id(&login(&gateway));
        works(&gateway, &id);
        let received = gateway.application.last();
        assert!(received.header("cookie").is_none(), "the session stays with us: {received:?}");
        nobody(&sent(data().cookie("jsessionid", &id)));
        no_session(&sent(data().cookie("JSESSIONID", &format!("{id}x"))));
    });
    rows.row("1.3 the form in the URL is refused by default; test 20", || {
        let id = id(&login(&gateway));
        nobody(&sent(post(&format!("{PATH}/Contact;jsessionid={id}"), &envelope("", QUERY))));
    });
    rows.row("1.3 data: reply as the service gave it, with its content type", || {
        let id = id(&login(&gateway));
        gateway.application.answer_raw("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n<ok/>");
        let answer = sent(in_session(data(), &id));
        gateway.application.answer_normally();
        assert_eq!((answer.status, answer.header("content-type"), answer.body.as_str()), (200, Some("text/xml"), "<ok/>"));
    });
    rows.row("1.3 data at the address of commands", || {
        let id = id(&login(&gateway));
        forwarded(&gateway, &in_session(post(PATH, &envelope("", QUERY)), &id));
    });
    rows.row("1.4 wrong password, unknown user, locked, disabled: 401 and one text", || {
        add(&gateway, "gone", "the password of gone", "north", &[]);
        assert!(gateway.command(&["user", "disable", "gone", "--tenant", "north"]).status.success());
        let bodies: Vec<String> = [("ada", "wrong"), ("nobody", "wrong"), ("gone", "the password of gone"), ("gone", "wrong")]
            .map(|(name, password)| {
                let answer = sent(signed(command("login"), name, password));
                refused(&answer, 401);
                answer.body
            })
            .into();
        assert!(bodies.iter().all(|body| *body == bodies[0]) && bodies[0].contains("Unknown user ID or incorrect password"), "{bodies:?}");
    });
    rows.row("1.4 malformed login requests: 400 and their text", || {
        let answer = sent(command("login"));
        refused(&answer, 400);
        assert!(answer.body.contains("malformed login request"), "{answer:?}");
    });
    rows.row("1.4 unknown or missing command on GET", || {
        for target in [
            PATH.to_owned(),
            format!("{PATH}?command="),
            format!("{PATH}?command=reboot"),
            format!("{PATH}?Command=login"),
            format!("{PATH}?command=login&command=logoff"),
        ] {
            refused(&sent(hers(get(&target))), 400);
        }
    });
    rows.row("1.4 company allows SSO only: as a wrong password", || {
        add(&gateway, "ada", "the password of south", "south", &[]);
        let south = gateway.send_to("app.south.localhost", &signed(command("login"), "ada", "the password of south"));
        refused(&south, 401);
        assert_eq!(south.body, sent(signed(command("login"), "ada", "wrong")).body);
    });
    rows.row("1.4 plain HTTP is refused without a redirect", || {
        let answer = sent(hers(command("login")).header("X-Forwarded-For", "192.0.2.7").header("X-Forwarded-Proto", "http"));
        refused(&answer, 400);
        assert_eq!(answer.header("location"), None);
    });
    rows.row("1.4 failures are counted and recorded with their true reason", || {
        let answer = sent(signed(command("login"), "NORTH/ada", "wrong as never before"));
        let records = gateway.audit_of(&answer);
        assert!(
            records
                .iter()
                .any(|record| record["event"] == "login.rejected" && record["reason"] == "wrong_password" && record["subject"] == "ada"),
            "{records:?}"
        );
        assert_eq!((records[0]["decision"].as_str(), records[0]["path"].as_str()), (Some("deny"), Some(PATH)));
    });
    rows.hold();
}

#[test]
fn section_2_logoff() {
    let gateway = gateway();
    let mut rows = Rows::default();
    let cleared = |answer: &Answer| {
        assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{answer:?}");
        assert_eq!(answer.header("set-cookie"), Some("JSESSIONID=; Max-Age=0; Path=/Services; HttpOnly; SameSite=Lax"));
    };
    rows.row("2 GET and POST, a trailing semicolon; revoked at once; test 11", || {
        for logoff in [command("logoff"), command("logoff;"), ask("POST", &format!("{PATH}?command=logoff"))] {
            let id = id(&login(&gateway));
            works(&gateway, &id);
            cleared(&gateway.send(&in_session(logoff.clone(), &id)));
            no_session(&gateway.send(&in_session(data(), &id)));
            cleared(&gateway.send(&in_session(logoff, &id)));
        }
    });
    rows.row("2 unknown, expired or missing session: also 200", || {
        cleared(&gateway.send(&command("logoff")));
        cleared(&gateway.send(&in_session(command("logoff"), "x")));
        cleared(&gateway.send(&in_session(command("logoff"), &"A".repeat(43))));
    });
    rows.row("2 the value is case sensitive", || {
        let id = id(&login(&gateway));
        refused(&gateway.send(&in_session(command("Logoff"), &id)), 400);
        works(&gateway, &id);
    });
    rows.row("2 a page elsewhere ends nobody's session", || {
        let id = id(&login(&gateway));
        cleared(&gateway.send(&in_session(command("logoff"), &id).header("Sec-Fetch-Site", "cross-site")));
        works(&gateway, &id);
    });
    rows.hold();
}

#[test]
fn section_3_sessions() {
    let gateway = gateway();
    let mut rows = Rows::default();
    let no_id = |answer: &Answer| assert_eq!(answer.all("set-cookie"), Vec::<&str>::new(), "{answer:?}");
    let sent_on = || String::from_utf8(gateway.application.last().body).unwrap();

    rows.row("3.1 R16 off, OASIS: stateless, run, no id; test 12", || {
        gateway.application.forget();
        let answer = send(&gateway, &ada(OASIS));
        assert_eq!(answer.status, 200, "{answer:?}");
        no_id(&answer);
        assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
        assert!(sent_on().contains("ContactQueryPage_Input") && !sent_on().contains("Security"), "{}", sent_on());
    });
    rows.row("3.1 R16 off, 2002/04 and 2002/07: stateful, the body is run in the same round trip; test 13", || {
        for namespace in [APRIL, JULY] {
            gateway.application.forget();
            let answer = send(&gateway, &ada(namespace));
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(sent_on().contains("ContactQueryPage_Input") && !sent_on().contains(ADA.1), "{}", sent_on());
            works(&gateway, &id(&answer));
        }
    });
    rows.row("1.2 first Set-Cookie of the response, beside the service's own", || {
        gateway.application.answer_raw(
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nSet-Cookie: theme=dark\r\nSet-Cookie: JSESSIONID=theirs; Path=/\r\nConnection: close\r\n\r\n<ok/>",
        );
        let answer = send(&gateway, &ada(APRIL));
        gateway.application.answer_normally();
        assert_eq!(answer.all("set-cookie").len(), 2, "{answer:?}");
        assert_eq!(answer.body, "<ok/>");
        works(&gateway, &id(&answer));
    });
    rows.row("3.1 any other namespace: unsupported token", || {
        for namespace in ["http://schemas.xmlsoap.org/ws/2002/12/secext", "http://schemas.xmlsoap.org/ws/2003/06/secext"] {
            let answer = send(&gateway, &ada(namespace));
            assert_eq!(answer.status, 500);
            assert!(answer.body.contains("wsse:UnsupportedSecurityToken"), "{answer:?}");
        }
    });
    rows.row("3.4 X-ClientName at login is reported, later ones are ignored", || {
        let answer = gateway.send(&signed(command("login"), "ada", ADA.1).header("X-ClientName", "Acme Ltd, Nightly Sync"));
        let id = id(&answer);
        let later = post(&format!("{PATH}/Contact"), &envelope("<ClientName xmlns=\"urn:crmondemand/ws\">other</ClientName>", QUERY));
        forwarded(&gateway, &in_session(later.header("X-ClientName", "another"), &id));
        assert_eq!(gateway.application.last().header("x-client-name"), Some("Acme%20Ltd%2C%20Nightly%20Sync"));
        works(&gateway, &self::id(&login(&gateway)));
        assert_eq!(gateway.application.last().header("x-client-name"), None);
    });
    rows.row("3.4 ClientName in SOAP; capped at 256 characters, without control characters", || {
        let named = format!("{}<ClientName xmlns=\"urn:crmondemand/ws\">{}\t</ClientName>", ada(OASIS), "n".repeat(300));
        assert_eq!(send(&gateway, &named).status, 200);
        assert_eq!(gateway.application.last().header("x-client-name"), Some("n".repeat(256).as_str()));
    });
    rows.row("3.5 SessionKeepAlive true: an id that authenticates later requests; test 12", || {
        let answer = send(&gateway, &(ada(OASIS) + KEEP));
        let id = id(&answer);
        for _ in 0..2 {
            let kept = in_session(post(&format!("{PATH}/Contact"), &envelope(KEEP, QUERY)), &id);
            forwarded(&gateway, &kept);
        }
    });
    rows.row("3.5 false, empty or absent: logged off after the request", || {
        for end in [
            "",
            "<SessionKeepAlive xmlns=\"urn:crmondemand/ws\">false</SessionKeepAlive>",
            "<SessionKeepAlive xmlns=\"urn:crmondemand/ws\"/>",
        ] {
            let id = id(&send(&gateway, &(ada(OASIS) + KEEP)));
            forwarded(&gateway, &in_session(post(&format!("{PATH}/Contact"), &envelope(end, QUERY)), &id));
            no_session(&gateway.send(&in_session(data(), &id)));
        }
        for block in [
            "<SessionKeepAlive xmlns=\"urn:crmondemand/ws\">TRUE</SessionKeepAlive>",
            "<SessionKeepAlive xmlns=\"urn:crmondemand/ws\">1</SessionKeepAlive>",
        ] {
            no_id(&send(&gateway, &(ada(OASIS) + block)));
        }
    });
    rows.row("3.5 neither valid id nor valid credentials: rejected", || {
        no_session(&gateway.send(&in_session(data(), &"A".repeat(43))));
        assert_eq!(send(&gateway, KEEP).status, 500);
    });
    rows.row("0 administrative services: no session of either kind, no draft", || {
        let path = "/Services/Integration/Administration/Users";
        let id = id(&login(&gateway));
        no_session(&gateway.send(&in_session(post(path, &envelope("", QUERY)), &id)));
        assert!(gateway.send(&post(path, &envelope(&ada(APRIL), QUERY))).body.contains("wsse:FailedAuthentication"));
        for header in [ada(OASIS), ada(OASIS) + KEEP] {
            let answer = gateway.send(&post(path, &envelope(&header, QUERY)));
            assert_eq!(answer.status, 200, "{answer:?}");
            no_id(&answer);
        }
        assert_eq!(gateway.send(&in_session(post(path, &envelope(&ada(OASIS), QUERY)), &id)).status, 200);
        works(&gateway, &id);
    });
    rows.hold();
}

#[test]
fn section_3_settings() {
    let mut rows = Rows::default();
    rows.row("3.1 R16 on: stateful in all three namespaces; test 14", || {
        let gateway = with("compatibility = true");
        for namespace in [OASIS, APRIL, JULY] {
            works(&gateway, &id(&send(&gateway, &ada(namespace))));
        }
    });
    rows.row("3.3 session quota: the 11th login is refused, and accepted after a logoff; test 9", || {
        let gateway = with("quota = 10");
        let ids: Vec<String> = (0..10).map(|_| id(&login(&gateway))).collect();
        let full = gateway.send(&signed(command("login"), "ada", ADA.1));
        refused(&full, 503);
        assert!(full.header("retry-after").is_some() && full.body.contains("session limit reached"), "{full:?}");
        let soap = send(&gateway, &ada(APRIL));
        assert!(
            soap.body.contains("SBL-ODU-01006") && soap.body.contains("com.siebel.occam.integration.IntegrationServletException"),
            "{soap:?}"
        );
        assert_eq!(send(&gateway, &ada(OASIS)).status, 200, "the quota covers stateful sessions only");
        ids.iter().for_each(|id| works(&gateway, id));
        // Whoever has proved nothing takes no place, and frees none.
        for _ in 0..5 {
            refused(&gateway.send(&signed(command("login"), "ada", "wrong")), 401);
        }
        assert_eq!(gateway.send(&in_session(command("logoff"), &ids[0])).status, 200);
        login(&gateway);
        refused(&gateway.send(&signed(command("login"), "ada", ADA.1)), 503);
    });
    rows.row("3.3 request rate: 01005, its text and RequestWait", || {
        let gateway = with("spacing = \"20s\"");
        let id = id(&login(&gateway));
        works(&gateway, &id);
        let soon = gateway.send(&in_session(data(), &id));
        assert_eq!(soon.status, 500);
        form_a(&soon, "SBL-ODU-01005");
        let wait = soon.body.split("<RequestWait>").nth(1).and_then(|rest| rest.split('<').next()).unwrap().to_owned();
        assert!((1..=20_000).contains(&wait.parse::<u32>().unwrap()), "{wait}");
        assert!(soon.body.contains(&format!("The maximum rate of requests was exceeded. Please try again in {wait} ms.")), "{soon:?}");
    });
    rows.row("3.3 allotments: operations per rolling 24 h, SBL-SBL-70172", || {
        let gateway = with("allotment = 5");
        // Commands are no operations, and nobody uses up what they were not allotted.
        let ids: Vec<String> = (0..6).map(|_| id(&login(&gateway))).collect();
        for _ in 0..6 {
            nobody(&gateway.send(&data()));
            no_session(&gateway.send(&in_session(data(), "nonsense")));
            assert!(send(&gateway, &user(OASIS, "ada", "wrong")).body.contains("FailedAuthentication"));
        }
        let token = sso_token(&gateway);
        works(&gateway, &ids[0]);
        works(&gateway, &ids[1]);
        assert_eq!(send(&gateway, &ada(OASIS)).status, 200);
        assert_eq!(send(&gateway, &key_identifier(&token)).status, 200);
        gateway.application.forget();
        for over in [gateway.send(&in_session(data(), &ids[2])), send(&gateway, &ada(OASIS)), send(&gateway, &ada(APRIL))] {
            assert_eq!(over.status, 500, "{over:?}");
            form_a(&over, "SBL-SBL-70172");
            assert_eq!(over.all("set-cookie"), Vec::<&str>::new(), "{over:?}");
            let wait: u32 = over.header("retry-after").unwrap().parse().unwrap();
            assert!((86_400..=90_000).contains(&wait), "{wait}");
            let records = gateway.audit_of(&over);
            assert_eq!(records[0]["reason"], serde_json::json!({ "allotment": wait }), "{records:?}");
        }
        assert!(gateway.application.received().is_empty());
        assert_eq!(gateway.send(&in_session(command("logoff"), &ids[0])).status, 200);
    });
    rows.row("3.2 a profile's idle time applies in its place", || {
        let gateway = more("", "\n[profile.brief]\nidle = \"1s\"\n");
        add(&gateway, "brief", "not here for long", "north", &["--profile", "brief"]);
        let brief = id(&gateway.send(&signed(command("login"), "NORTH/brief", "not here for long")));
        let other = id(&login(&gateway));
        std::thread::sleep(std::time::Duration::from_millis(1200));
        assert_eq!(gateway.send(&in_session(data(), &other)).status, 200);
        no_session(&gateway.send(&in_session(data(), &brief)));
    });
    rows.row("3.2 company idle 1 s applies", || {
        let gateway = with("idle = \"1s\"");
        let id = id(&login(&gateway));
        works(&gateway, &id);
        std::thread::sleep(std::time::Duration::from_millis(1200));
        no_session(&gateway.send(&in_session(data(), &id)));
    });
    rows.row("1.1 plus_is_space = false", || {
        let gateway = with("plus_is_space = false");
        id(&gateway.send(&signed(command("login&isEncoded=Y"), "NORTH/j%C3%B6rg", "p%C3%A4ss/word+100%25")));
    });
    rows.row("1.4 not allowed for web services: as a wrong password", || {
        let gateway = altered("groups = [\"admins\"]", "", &[], |toml| toml.replace("floor = \"0s\"", "floor = \"900ms\""));
        login(&gateway);
        #[expect(clippy::disallowed_methods, reason = "it is the time of day that is measured")]
        let timed = |ask: &dyn Fn() -> Answer| {
            let since = std::time::Instant::now();
            let answer = ask();
            assert!(
                since.elapsed() >= std::time::Duration::from_millis(900),
                "it shows that the password was right: {:?}",
                since.elapsed()
            );
            answer
        };
        let bob = timed(&|| gateway.send(&signed(command("login"), "bob", USERS[1].1)));
        refused(&bob, 401);
        assert_eq!(bob.body, gateway.send(&signed(command("login"), "bob", "wrong")).body);
        // Also when it is known from the request before.
        for _ in 0..2 {
            assert!(timed(&|| send(&gateway, &user(OASIS, "bob", USERS[1].1))).body.contains("FailedAuthentication"));
        }
    });
    rows.row("1.3 the URL form with the setting; both present and different: invalid; test 20", || {
        let concession = "\n[[concession]]\nwhat = \"session-id-in-url\"\npartner = \"north\"\nreason = \"a client of 2009\"\nexpires = \"9999-12-31\"\n";
        let gateway = more("", concession);
        let (one, other) = (id(&login(&gateway)), id(&login(&gateway)));
        let at = |id: &str| post(&format!("{PATH}/Contact;jsessionid={id}"), &envelope("", QUERY));
        forwarded(&gateway, &at(&one));
        assert!(!gateway.application.last().line.contains("jsessionid"), "{:?}", gateway.application.last());
        forwarded(&gateway, &in_session(at(&one), &one));
        no_session(&gateway.send(&in_session(at(&one), &other)));
        assert_eq!(gateway.send(&get(&format!("{PATH};jsessionid={one}?command=logoff"))).status, 200);
        no_session(&gateway.send(&at(&one)));
    });
    rows.hold();
}

#[test]
fn section_4_and_5_tokens_and_faults() {
    let gateway = gateway();
    let mut rows = Rows::default();
    let says = |header: &str, namespace: &str, code: &str, text: &str| {
        let answer = send(&gateway, header);
        assert_eq!(answer.status, 500, "{answer:?}");
        assert!(answer.body.contains(&format!("<faultcode>wsse:{code}</faultcode>")) && answer.body.contains(text), "{answer:?}");
        assert!(answer.body.contains(&format!("xmlns:wsse=\"{namespace}\"")), "{answer:?}");
    };
    rows.row("4 credentials in SOAP are never URL-decoded", || {
        assert_eq!(send(&gateway, &user(OASIS, UMLAUTS.0, UMLAUTS.1)).status, 200);
        says(&user(OASIS, "NORTH%2Fada", ADA.1), OASIS, "FailedAuthentication", "The security token could not");
    });
    rows.row("4 mustUnderstand: both accepted", || {
        assert_eq!(send(&gateway, &ada(OASIS).replace(" soap:mustUnderstand=\"1\"", "")).status, 200);
    });
    rows.row("4 reject Digest, ignore Nonce and Created", || {
        says(&ada(OASIS).replace("PasswordText", "PasswordDigest"), OASIS, "UnsupportedSecurityToken", "unsupported");
        let nonce = "<wsse:Nonce>AAAAAAAAAAAAAAAAAAAAAA==</wsse:Nonce></wsse:UsernameToken>";
        for _ in 0..2 {
            assert_eq!(send(&gateway, &ada(OASIS).replace("</wsse:UsernameToken>", nonce)).status, 200, "and so it may come twice");
        }
    });
    rows.row("4 a valid cookie and a token: the session wins if it is the same user's, else fault", || {
        let id = id(&login(&gateway));
        let both = |name: &str, password: &str| {
            gateway.send(&in_session(post(&format!("{PATH}/Contact"), &envelope(&user(APRIL, name, password), QUERY)), &id))
        };
        let same = both("NORTH/ada", "not even asked");
        assert_eq!((same.status, same.all("set-cookie").len()), (200, 0), "{same:?}");
        assert_eq!(both("bob", USERS[1].1).status, 500);
        // An id that is over says nothing against the credential.
        let over = post(&format!("{PATH}/Contact"), &envelope(&ada(APRIL), QUERY)).cookie("JSESSIONID", &"A".repeat(43));
        works(&gateway, &self::id(&gateway.send(&over)));
    });
    rows.row("4 a body-less envelope with token: 200, empty Body, cookie", || {
        gateway.application.forget();
        let answer = gateway.send(&post(PATH, &envelope(&ada(JULY), "")));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(answer.body.contains("<soap:Body/>") && gateway.application.received().is_empty(), "{answer:?}");
        works(&gateway, &id(&answer));
    });
    rows.row("4 text: wrong credentials", || {
        for namespace in [OASIS, APRIL, JULY] {
            let text = "The security token could not be authenticated or authorized.";
            says(&user(namespace, "ada", "wrong"), namespace, "FailedAuthentication", text);
            says(&user(namespace, "nobody", "wrong"), namespace, "FailedAuthentication", text);
        }
    });
    rows.row("4 text: no Security header", || says("", OASIS, "InvalidSecurity", "Missing &lt;wsse:Security&gt; in SOAP Header"));
    rows.row("4 text: no UsernameToken", || {
        says(&format!("<w:Security xmlns:w=\"{APRIL}\"/>"), APRIL, "InvalidSecurity", "Policy requires authentication token");
    });
    rows.row("4 text: no Username", || {
        says(&token(JULY, "<wsse:Password>p</wsse:Password>"), JULY, "InvalidSecurity", "Missing user name in security token");
    });
    rows.row("4 text: no Password", || {
        says(&token(OASIS, "<wsse:Username>ada</wsse:Username>"), OASIS, "InvalidSecurity", "Missing password value");
    });
    rows.row("5.2 form B passes untouched", || {
        let id = id(&login(&gateway));
        let fault = "<SOAP-ENV:Envelope xmlns:SOAP-ENV=\"http://schemas.xmlsoap.org/soap/envelope/\"><SOAP-ENV:Body><SOAP-ENV:Fault><faultcode>SOAP-ENV:Server</faultcode><detail><siebelf:siebdetail xmlns:siebelf=\"http://www.siebel.com/ws/fault\"><siebelf:errorstack><siebelf:error><siebelf:errorcode>(SBL-EAI-04316)</siebelf:errorcode></siebelf:error></siebelf:errorstack></siebelf:siebdetail></detail></SOAP-ENV:Fault></SOAP-ENV:Body></SOAP-ENV:Envelope>";
        gateway.application.answer_raw(format!("HTTP/1.1 500 Internal Server Error\r\nContent-Type: text/xml\r\nConnection: close\r\n\r\n{fault}"));
        let answer = gateway.send(&in_session(data(), &id));
        gateway.application.answer_normally();
        assert_eq!((answer.status, answer.body.as_str()), (500, fault));
    });
    rows.row("5.3 01006: invalid or expired session, HTTP 500, never 401 or 302", || {
        no_session(&gateway.send(&in_session(data(), "nonsense")));
        no_session(&gateway.send(&in_session(get(&format!("{PATH}/Contact")), "nonsense").header("Accept", "text/html")));
    });
    rows.row("5.3 01011: lacks rights", || {
        let id = id(&login(&gateway));
        let answer = gateway.send(&in_session(post(&format!("{PATH}/Forbidden"), &envelope("", QUERY)), &id));
        assert_eq!(answer.status, 500);
        form_a(&answer, "SBL-ODU-01011");
    });
    rows.hold();
}

/// An application of its own beside the services, on the same host, has a `JSESSIONID` of its own.
#[test]
fn section_1_the_cookie_of_an_application_elsewhere_is_its_own() {
    const THEIRS: &str = "JSESSIONID=0A1B2C3D4E5F60718293A4B5C6D7E8F9.node1";
    let door = crate::support::free_port();
    let listen = format!("[[listen]]\naddress = \"127.0.0.1:{door}\"\nspeaks = \"forward-auth\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n");
    let gateway = more("", &listen);
    let ours = id(&login(&gateway));
    let asked = |path: &str, cookie: &str| get(path).basic(ADA.0, ADA.1).header("Cookie", cookie);
    // What the application behind the proxy gets, and what another proxy is told to send it.
    let arrives = |path: &str, cookie: &str| {
        forwarded(&gateway, &asked(path, cookie));
        gateway.application.last().header("cookie").unwrap_or_default().to_owned()
    };
    let host = format!("app.north.localhost:{}", gateway.public);
    let told = |path: &str, cookie: &str| {
        let question = asked("/", cookie).header("X-Forwarded-Method", "GET").header("X-Forwarded-Proto", "http");
        let question = question.header("X-Forwarded-Host", &host).header("X-Forwarded-Uri", path).header("X-Forwarded-For", "127.0.0.1");
        let octets = question.octets(&format!("127.0.0.1:{door}"));
        let answer = crate::support::exchange(std::net::SocketAddr::from(([127, 0, 0, 1], door)), &octets);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("cookie").unwrap_or_default().to_owned()
    };
    for path in ["/page", "/Services", "/Services/Other", "/Services/IntegrationOther"] {
        let both = format!("JSESSIONID={ours}; theme=dark; {THEIRS}");
        for kept in [arrives(path, &both), told(path, &both)] {
            assert_eq!(kept, format!("theme=dark; {THEIRS}"), "{path}");
        }
        for hidden in [format!("JSESSIONID={ours}.node1"), format!("JSESSIONID=\"{ours}\"")] {
            assert_eq!((arrives(path, &hidden), told(path, &hidden)), (String::new(), String::new()), "{path} {hidden}");
        }
    }
    forwarded(&gateway, &in_session(data(), &ours));
    assert_eq!(gateway.application.last().header("cookie"), None);
    // Where it is ours, no other has the name: it is refused, and with a credential beside it the service does not see it.
    no_session(&gateway.send(&data().header("Cookie", THEIRS)));
    forwarded(
        &gateway,
        &post(&format!("{PATH}/Contact"), &envelope(&ada(OASIS), QUERY)).header("Cookie", &format!("{THEIRS}; theme=dark")),
    );
    assert_eq!(gateway.application.last().header("cookie"), Some("theme=dark"));
}

/// §5.3: what waits for a service in vain is told so as these clients know it.
#[test]
fn section_5_a_service_that_does_not_answer() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let route = |name: &str, address: &str| {
        format!(
            "[upstream.{name}]\nurl = \"http://{address}\"\nresponse_timeout = \"1s\"\n\n[[route]]\nmatch = \"{PATH}/{name}\"\npolicies = [\"crm.cedar\"]\n\
             body = {{ limit = \"1MiB\", types = [\"text/xml\", \"application/soap+xml\"] }}\nforward = \"{name}\"\n\n"
        )
    };
    let nowhere = format!("127.0.0.1:{}", crate::support::free_port());
    let gateway = more("", &(route("slow", &silent.local_addr().unwrap().to_string()) + &route("gone", &nowhere)));
    let id = id(&login(&gateway));
    for (name, status) in [("slow", 504), ("gone", 502)] {
        let answer = gateway.send(&in_session(post(&format!("{PATH}/{name}"), &envelope("", QUERY)), &id));
        assert_eq!(answer.status, status, "{answer:?}");
        form_a(&answer, "SBL-ODU-01006");
        assert!(answer.body.contains("<ErrorMessage>RIP_WAIT_ERROR_TIMEOUT</ErrorMessage>"), "{answer:?}");
        assert_eq!((answer.header("retry-after"), answer.header("cache-control")), (Some("30"), Some("no-store")));
        assert!(answer.header("x-vestibule-id").is_some() && answer.all("set-cookie").is_empty(), "{answer:?}");
        // A newer client gets a fault of its own version, and who asked with a password keeps the session that was opened.
        let newer = ask("POST", &format!("{PATH}/{name}"))
            .header("Content-Type", "application/soap+xml")
            .body(envelope("", QUERY).replace("http://schemas.xmlsoap.org/soap/envelope/", "http://www.w3.org/2003/05/soap-envelope"));
        assert!(!gateway.send(&in_session(newer, &id)).body.contains("SBL-ODU"));
        let opened = gateway.send(&post(&format!("{PATH}/{name}"), &envelope(&ada(APRIL), QUERY)));
        form_a(&opened, "SBL-ODU-01006");
        works(&gateway, &self::id(&opened));
    }
    works(&gateway, &id);
}

/// A token about ada, as a program gets it.
fn sso_token(gateway: &Gateway) -> String {
    let question = "<SSOTokenRead xmlns=\"urn:vestibule:integration\"><SSOTokenQuery/></SSOTokenRead>";
    let answer = gateway.send(&post("/Services/SSOToken", &envelope(&ada(OASIS), question)));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.split("<SSOTokenData>").nth(1).and_then(|rest| rest.split('<').next()).expect("no token").to_owned()
}

fn ssologin(token: &str) -> Ask {
    command(&format!("ssologin&odSsoToken={token}"))
}

fn validate(token: &str) -> Ask {
    get(&format!("/Services/SSOTokenValidate?odSsoToken={token}"))
}

fn key_identifier(token: &str) -> String {
    format!(
        "<wsse:Security xmlns:wsse=\"{OASIS}\"><wsse:SecurityTokenReference><wsse:KeyIdentifier ValueType=\"http://schemas.crmondemand.com/ws/2011/01/secext#SSOTokenKeyIdentifier\">\n  {token}\n</wsse:KeyIdentifier></wsse:SecurityTokenReference></wsse:Security>"
    )
}
