//! `authentication-chain.md` §15: the tests of the chain, by number, each in every [`World`]. Those that need a directory are in
//! `ldap.rs`, those of foreign sessions in `foreign.rs`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use crate::saml_sp::text;

use crate::support::{Gateway, USERS, World, ask, get, hidden_fields, in_every_world, world};

const CHAIN: &str = r#"chain = ["session", "basic", "form"]"#;
const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const BOB: (&str, &str) = (USERS[1].0, USERS[1].1);
const EVE: (&str, &str) = (USERS[2].0, USERS[2].1);

#[test]
fn chain_14_wrong_basic_on_an_open_route_is_anonymous() {
    in_every_world(|| {
        let gateway = Gateway::start().with_users();
        let answer = gateway.send(&get("/public/page").basic(ADA.0, "wrong"));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("x-vestibule-auth"), Some("anonymous"));
        let received = gateway.application.last();
        assert_eq!(received.header("authorization"), None, "a consumed credential never reaches the application");
        assert_eq!(received.header("x-vestibule-user"), None);

        let right = gateway.send(&get("/public/page").basic(ADA.0, ADA.1));
        assert_eq!(right.header("x-vestibule-auth"), Some("basic"));
        assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
    });
}

#[test]
fn chain_15_wrong_basic_on_a_protected_route() {
    in_every_world(|| {
        let gateway = Gateway::start().with_users();
        let curl = gateway.send(&get("/api/orders").basic(ADA.0, "wrong"));
        assert_eq!(curl.status, 401);
        let challenge = curl.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("Basic realm=\"") && challenge.contains("charset=\"UTF-8\""), "{challenge}");
        assert!(curl.body.contains("\"statusCode\":20"), "{}", curl.body);
        assert_eq!(curl.header("cache-control"), Some("no-store"));

        let script = gateway.send(&get("/api/orders").basic(ADA.0, "wrong").script());
        assert_eq!(script.status, 401);
        let challenge = script.header("www-authenticate").unwrap();
        assert!(challenge.starts_with("XBasic "), "a script must not open the browser's dialogue: {challenge}");

        // Nobody can tell a wrong password from an unknown name.
        let unknown = gateway.send(&get("/api/orders").basic("nobody-of-that-name", "wrong"));
        assert_eq!((unknown.status, &unknown.body), (curl.status, &curl.body));
        assert!(gateway.application.received().is_empty(), "nothing was forwarded");

        // Two reasons in the audit, one answer to the client.
        let step = |answer| {
            gateway.audit_of(answer)[0]["steps"].as_array().unwrap().iter().find(|step| step["scheme"] == "basic").unwrap()["reason"]
                .clone()
        };
        assert_eq!(step(&curl), "wrong_password");
        assert_eq!(step(&unknown), "unknown_user");
    });
}

/// A chain of passwords before an identity provider, which is never asked here.
const SAML: &str = r#"
[scheme.saml]
type = "saml"
identity_provider = ["corp"]

[scheme.saml.signing]
certificate = "sp.crt"
key = { file = "sp.key" }

[identity_provider.corp]
metadata = "corp.xml"
"#;

/// The files that [`SAML`] names.
fn saml_files() -> [(&'static str, String); 3] {
    [("corp.xml", text("metadata/idp.xml")), ("sp.crt", text("keys/sp-rsa2048.crt")), ("sp.key", text("keys/sp-rsa2048.key"))]
}

#[test]
fn chain_15_a_navigation_is_led_to_the_identity_provider_and_not_for_ever() {
    in_every_world(|| {
        let template = format!("{}{SAML}", crate::support::CONFIG).replacen(CHAIN, r#"chain = ["session", "basic", "saml", "form"]"#, 1);
        let files = saml_files();
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let gateway = Gateway::with_files(&template, &files).with_users();
        // A wrong password does not keep a person from the other way in.
        let led = gateway.send(&get("/page").browser().basic(ADA.0, "wrong"));
        assert_eq!(led.status, 303, "{led:?}");
        let login = url::Url::parse(led.header("location").unwrap()).unwrap();
        assert_eq!(login.host_str(), Some("login.north.localhost"));
        let away = gateway.send_to("login.north.localhost", &get(&login[url::Position::BeforePath..]).browser());
        assert!(away.status == 303 && away.header("location").unwrap().starts_with("https://idp.example.org/"), "{away:?}");
        // Who comes back from there without a session, again and again, is shown why instead.
        let mut asked = get("/page").browser();
        let mut statuses = Vec::new();
        for _ in 0..14 {
            let answer = gateway.send(&asked);
            statuses.push(answer.status);
            let Some((name, value)) = answer.cookies().into_iter().find(|(name, _)| name.contains("bounce")) else { break };
            asked = get("/page").browser().cookie(&name, &value);
        }
        assert!(statuses.contains(&303) && statuses.last() == Some(&401), "{statuses:?}");
        assert!(gateway.application.received().is_empty());
    });
}

#[test]
fn chain_11_a_locked_account_is_out_but_a_person_may_still_come_another_way() {
    in_every_world(|| {
        let directory = locked_directory();
        let realm = format!(
            "\n[scheme.corp]\ntype = \"basic\"\nrealm = \"corp\"\n\n[realm.corp]\ntype = \"ldap\"\nurl = \"ldap://{directory}\"\ndialect = \"active-directory\"\n\
             bind_dn = \"{SERVICE}\"\nbind_password = {{ file = \"service-password\" }}\nbase = \"dc=example,dc=com\"\nfilter = \"(uid={{user}})\"\nexclusive = false\n"
        );
        let template = format!("{}{SAML}{realm}", crate::support::CONFIG).replacen(
            CHAIN,
            r#"chain = ["session", "corp", "basic", "saml", "form"]"#,
            1,
        );
        let files = saml_files();
        let mut files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        files.push(("service-password", "what the service account knows"));
        let gateway = Gateway::with_files(&template, &files).with_users();
        // The right password of our own realm: the directory's lock comes first, and ends the family.
        let refused = gateway.send(&get("/api/orders").basic(ADA.0, ADA.1));
        assert_eq!(refused.status, 401, "{refused:?}");
        let steps = gateway.audit_of(&refused)[0]["steps"].clone();
        let verdicts: Vec<(&str, &str)> =
            steps.as_array().unwrap().iter().map(|step| (step["scheme"].as_str().unwrap(), step["verdict"].as_str().unwrap())).collect();
        assert!(verdicts.contains(&("corp", "rejected")) && verdicts.contains(&("basic", "skipped")), "{steps}");
        assert!(steps.to_string().contains("\"locked\""), "{steps}");
        // The other family is still offered to whoever can take it.
        let led = gateway.send(&get("/page").browser().basic(ADA.0, ADA.1));
        assert!(led.status == 303 && led.header("location").unwrap().contains("login.north.localhost"), "{led:?}");
        assert!(gateway.application.received().is_empty());
    });
}

const SERVICE: &str = "cn=vestibule,dc=example,dc=com";

/// An Active Directory that knows everybody, and has locked them all (`authentication-chain.md` §4.3: `data 775`).
fn locked_directory() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            std::thread::spawn(move || {
                let mut octets = [0; 4096];
                while let Ok(length) = stream.read(&mut octets) {
                    // LDAPMessage ::= SEQUENCE { messageID, protocolOp } (RFC 4511 §4.1.1), short lengths only.
                    let Some(message) = octets.get(..length).filter(|message| message.len() > 6) else { return };
                    let start = if message[1] < 0x80 { 2 } else { 2 + usize::from(message[1] & 0x7f) };
                    let id = &message[start..start + 2 + usize::from(message[start + 1])];
                    let operation = message[start + id.len()];
                    let has = |text: &str| message.windows(text.len()).any(|window| window == text.as_bytes());
                    let answer = match operation {
                        0x60 if has(SERVICE) => reply(id, 0x61, &result(0, "")),
                        0x60 => reply(
                            id,
                            0x61,
                            &result(49, "80090308: LdapErr: DSID-0C090447, comment: AcceptSecurityContext error, data 775, v4563"),
                        ),
                        0x63 => {
                            let attribute =
                                |name: &str, value: &[u8]| tlv(0x30, &[tlv(0x04, name.as_bytes()), tlv(0x31, &tlv(0x04, value))].concat());
                            let attributes =
                                [attribute("objectGUID", &[7; 16]), attribute("entryUUID", b"7"), attribute("uid", b"ada")].concat();
                            let entry = [tlv(0x04, b"uid=ada,dc=example,dc=com"), tlv(0x30, &attributes)].concat();
                            [reply(id, 0x64, &entry), reply(id, 0x65, &result(0, ""))].concat()
                        }
                        _ => return,
                    };
                    if stream.write_all(&answer).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

fn tlv(tag: u8, value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    [head, value.to_vec()].concat()
}

fn result(code: u8, text: &str) -> Vec<u8> {
    [tlv(0x0a, &[code]), tlv(0x04, b""), tlv(0x04, text.as_bytes())].concat()
}

fn reply(id: &[u8], operation: u8, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[id.to_vec(), tlv(operation, value)].concat())
}

/// Known and unknown names: the same answers, the same gate after the same number of guesses, and no telling times. The bounds
/// are wide, since a gate runs beside builds; `bench/passwords timing` measures finely.
#[test]
#[expect(clippy::disallowed_methods, reason = "it is the time of day that is measured")]
fn chain_13_an_unknown_name_is_locked_in_the_same_way_and_time() {
    in_every_world(|| {
        let gateway = Gateway::start().with_users();
        let guess = |name: &str, guess: usize| {
            let started = Instant::now();
            let answer = gateway.send(&get("/api/orders").basic(name, &format!("guess {guess}")));
            (answer, started.elapsed())
        };
        let mut medians = Vec::new();
        for name in [ADA.0, "nobody-of-that-name"] {
            let mut times = Vec::new();
            for number in 0..7 {
                let (answer, took) = guess(name, number);
                assert_eq!(answer.status, 401, "{name}");
                let closed = gateway.audit_of(&answer)[0].to_string().contains("account_gate_closed");
                assert_eq!(closed, number >= 5, "{name} after {number} guesses");
                // `authentication-chain.md` §10: nobody is answered before the floor, behind a closed gate neither.
                assert!(took >= Duration::from_millis(380), "{name}: {took:?}");
                times.push(took);
            }
            times.sort();
            medians.push(times[times.len() / 2].as_secs_f64());
        }
        let ratio = medians[0] / medians[1];
        assert!((0.6..1.67).contains(&ratio), "{medians:?}");
    });
}

#[test]
fn chain_18_what_acts_by_a_session_needs_its_token() {
    in_every_world(|| {
        let template = crate::support::CONFIG.replacen("[[route]]\nmatch = \"/**\"", "[[route]]\nmatch = \"/**\"\ncsrf = \"token\"", 1);
        let gateway = Gateway::with(&template).with_users();
        let (name, value) = gateway.sign_in(ADA.0, ADA.1);
        let own = format!("http://app.north.localhost:{}", gateway.public);
        let act = |token: Option<&str>| {
            let post = ask("DELETE", "/api/orders").cookie(&name, &value).header("Origin", &own);
            let post = match token {
                Some(token) => post.header("X-CSRF-Token", token),
                None => post,
            };
            gateway.send(&post)
        };
        let refused = act(None);
        assert_eq!((refused.status, gateway.audit_of(&refused)[0]["reason"].as_str()), (403, Some("csrf")), "{refused:?}");
        let read = gateway.send(&get("/api/orders").cookie(&name, &value));
        assert_eq!((read.status, read.header("x-csrf-header")), (200, Some("X-CSRF-TOKEN")), "{read:?}");
        let token = read.header("x-csrf-token").unwrap();
        assert_eq!(act(Some(token)).status, 200);
        assert_eq!(act(Some("0b8f7c52-6c1d-4d0e-9a55-3f6f2f1f7a10")).status, 403, "another's");
        // No page makes a program send its password.
        assert_eq!(gateway.send(&ask("DELETE", "/api/orders").basic(ADA.0, ADA.1)).status, 200);
        assert_eq!(gateway.send(&ask("DELETE", "/api/orders").basic(ADA.0, ADA.1).header("Origin", &own)).status, 403, "but a browser's");
    });
}

#[test]
fn chain_16_a_preflight_never_enters_the_chain_and_refusals_can_be_read() {
    in_every_world(|| {
        // What browsers ask beforehand, a proxy that asks us answers itself.
        if world() == World::ExtAuthz {
            return;
        }
        let listed = "https://crm.example.com";
        let template = crate::support::CONFIG.replacen(
            "[tenant.south]",
            "cors = { origins = [\"https://crm.example.com\", \"https://*.force.test\"], methods = [\"GET\", \"DELETE\"] }\n\n[tenant.south]",
            1,
        );
        let gateway = Gateway::with(&template).with_users();
        let preflight = |host: &str, origin: &str, method: &str| {
            let ask = ask("OPTIONS", "/api/orders").header("Origin", origin).header("Access-Control-Request-Method", method);
            gateway.send_to(host, &ask.header("Access-Control-Request-Headers", "ssid, surl"))
        };
        for origin in [listed, "https://a.b.force.test"] {
            let answer = preflight("app.north.localhost", origin, "DELETE");
            assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, Some(origin)), "{answer:?}");
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
            assert!(answer.header("access-control-allow-headers").unwrap().contains("ssid"));
            assert!(answer.all("vary").contains(&"Origin"));
            let record = &gateway.audit_of(&answer)[0];
            assert_eq!((&record["decision"], record["steps"].as_array().unwrap().len()), (&"allow".into(), 0), "no step was asked");
        }
        for (origin, method) in [("https://evil.test", "GET"), ("null", "GET"), ("https://force.test", "GET"), (listed, "TRACE")] {
            let answer = preflight("app.north.localhost", origin, method);
            assert_eq!(answer.status, 403, "{origin}");
            assert_eq!(answer.header("access-control-allow-origin").filter(|_| origin != listed), None);
            assert_eq!(gateway.audit_of(&answer)[0]["reason"], "cross_origin");
        }
        // What browsers ask nobody about is held against the list as well.
        let (name, value) = gateway.sign_in(ADA.0, ADA.1);
        gateway.application.forget();
        let simple = ask("POST", "/api/orders").header("Origin", listed).header("Sec-Fetch-Site", "same-site").cookie(&name, &value);
        let answer = gateway.send(&simple.header("Content-Type", "text/plain").body("x"));
        assert_eq!((answer.status, &gateway.audit_of(&answer)[0]["reason"]), (403, &"cross_origin".into()), "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(listed), "the page may read that");
        // Our own pages are nobody else's to read, and a tenant without a list answers as before.
        for (host, target) in
            [("login.north.localhost", "/login"), ("app.north.localhost", "/.vestibule/landing"), ("app.south.localhost", "/api/orders")]
        {
            let answer = gateway.send_to(host, &get(target).header("Origin", listed));
            assert_eq!(answer.header("access-control-allow-origin"), None, "{host}{target}");
            let answer =
                gateway.send_to(host, &ask("OPTIONS", target).header("Origin", listed).header("Access-Control-Request-Method", "GET"));
            assert_ne!(answer.status, 204, "{host}{target}");
        }
        assert!(gateway.application.received().is_empty(), "nothing was forwarded");

        // A page may read why it was refused, and what it was given; what the application says of it does not count.
        let refused = gateway.send(&get("/api/orders").header("Origin", listed).script());
        assert_eq!((refused.status, refused.header("access-control-allow-origin")), (401, Some(listed)));
        assert!(refused.header("access-control-expose-headers").unwrap().contains("x-csrf-token"));
        gateway.application.answer_raw("HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 2\r\n\r\nok");
        let mine = gateway.send(&get("/api/orders").header("Origin", listed).basic(ADA.0, ADA.1));
        assert_eq!((mine.status, mine.all("access-control-allow-origin")), (200, vec![listed]));
        let stranger = gateway.send(&get("/api/orders").header("Origin", "https://evil.test").basic(ADA.0, ADA.1));
        assert_eq!((stranger.status, stranger.header("access-control-allow-origin")), (200, None), "it may come, but no page may read it");

        // What acts with a session comes from listed pages only.
        let (name, value) = gateway.sign_in(ADA.0, ADA.1);
        let act = |origin: &str| gateway.send(&ask("DELETE", "/api/orders").header("Origin", origin).cookie(&name, &value)).status;
        assert_eq!((act(listed), act("https://evil.test")), (200, 403));
    });
}

#[test]
fn chain_17_a_credential_beside_a_session_is_judged() {
    in_every_world(|| {
        let gateway = Gateway::start().with_users();
        let (name, value) = gateway.sign_in(ADA.0, ADA.1);
        let mine = gateway.send(&get("/api/orders").cookie(&name, &value));
        assert_eq!((mine.status, mine.header("x-vestibule-auth")), (200, Some("session")));
        assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
        assert_eq!(gateway.application.last().header("cookie"), None, "the session cookie never reaches the application");

        // A wrong password: anonymous for this request, the session lives on.
        let wrong = gateway.send(&get("/api/orders").cookie(&name, &value).basic(BOB.0, "wrong"));
        assert_eq!(wrong.status, 401);
        assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &value)).status, 200);

        // Another user's right password: switched, the old session is dead.
        let switched = gateway.send(&get("/api/orders").cookie(&name, &value).basic(BOB.0, BOB.1));
        assert_eq!((switched.status, switched.header("x-vestibule-auth")), (200, Some("basic")));
        assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("bob"));
        let new = switched.cookies().remove("vestibule").expect("a new session");
        assert_ne!(new, value);
        assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &value)).status, 401);
        assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &new)).header("x-vestibule-auth"), Some("session"));
    });
}

#[test]
fn chain_19_a_duplicated_authorization_is_a_malformed_step() {
    in_every_world(|| {
        let gateway = Gateway::start().with_users();
        let doubled = get("/public/page").basic(ADA.0, ADA.1).basic(ADA.0, ADA.1);
        let open = gateway.send(&doubled);
        assert_eq!((open.status, open.header("x-vestibule-auth")), (200, Some("anonymous")));
        let protected = gateway.send(&get("/api/orders").basic(ADA.0, ADA.1).basic(BOB.0, BOB.1));
        assert_eq!(protected.status, 401);
        let record = &gateway.audit_of(&protected)[0];
        assert!(record["steps"].to_string().contains("duplicate_credential"), "{record}");

        let lower = get("/api/orders").header("authorization", "basic YWRhOmNvcnJlY3QgaG9yc2UgYmF0dGVyeQ==");
        assert_eq!(gateway.send(&lower).status, 200);
    });
}

#[test]
fn chain_20_what_is_missing_is_never_mixed_up() {
    in_every_world(|| {
        let gateway = Gateway::start().with_users();
        let code = |answer: &crate::support::Answer| {
            let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            (answer.status, body["statusCode"].as_u64().unwrap())
        };
        let delete = || ask("DELETE", "/api/orders");
        assert_eq!(code(&gateway.send(&delete())), (401, 20), "nobody");
        assert_eq!(code(&gateway.send(&delete().basic(BOB.0, "wrong"))), (401, 20), "still nobody");
        if world() == World::CatchAll {
            assert_eq!(gateway.send(&delete().basic(BOB.0, BOB.1)).status, 200, "what permits everything permits this");
            return;
        }
        assert_eq!(code(&gateway.send(&delete().basic(BOB.0, BOB.1))), (403, 5), "somebody without the role");
        assert!(gateway.application.received().is_empty());
    });
}

#[test]
fn chain_21_path_tricks_do_not_turn_protected_into_open() {
    in_every_world(|| {
        let gateway = Gateway::start().with_users();
        for target in [
            "/public/../api/orders",
            "/public/%2e%2e/api/orders",
            "/public/..;/api/orders",
            "/public/.;x/../api/orders",
            "//api/orders",
            "/public//../api",
            "/api%2forders",
            "/public/%2e%2e%2fapi",
            "/./api/orders",
            "/public\\..\\api",
            "/api/orders%00",
            "/api/orders#/public",
        ] {
            let answer = gateway.send(&get(target));
            assert_eq!(answer.status, 400, "{target}");
            assert!(answer.header("x-vestibule-id").is_some(), "{target}");
        }
        for target in
            ["/api;jsessionid=x/orders", "/api/orders;jsessionid=x", "/%61pi/orders", "/api/orders?x=/public", "/api/public/../x;/public"]
        {
            let answer = gateway.send(&get(target));
            assert!(matches!(answer.status, 400 | 401), "{target}: {}", answer.status);
        }
        assert!(gateway.application.received().is_empty(), "nothing was forwarded");

        // A door cannot rewrite, so it refuses what it would have to.
        if world() == World::ExtAuthz {
            assert_eq!(gateway.send(&get("/%70ublic;v=1/%c5%82?q=%2F")).status, 400);
            return;
        }
        // What was judged is what is forwarded.
        gateway.send(&get("/%70ublic;v=1/%c5%82?q=%2F").header("X-Original-URL", "/api/orders"));
        let received = gateway.application.last();
        assert_eq!(received.line, "GET /public/%C5%82?q=%2F HTTP/1.1");
        assert_eq!(received.header("x-original-url"), None);
    });
}

#[test]
fn chain_22_who_must_change_the_password_does_nothing_else() {
    in_every_world(|| {
        let gateway = Gateway::start().with_users();
        let api = gateway.send(&get("/api/orders").basic(EVE.0, EVE.1));
        assert_eq!(api.status, 403, "{api:?}");
        assert!(api.body.contains("\"statusMessage\""), "{}", api.body);
        assert!(gateway.application.received().is_empty());
        assert_eq!(gateway.audit_of(&api)[0]["reason"], "must_change_password");

        // A browser is led to the page where it can be changed, and to nothing else.
        let portal = "login.north.localhost";
        let mut browser = gateway.browser();
        let answer = browser.submit_login(&format!("http://{portal}/login"), EVE.0, EVE.1);
        assert_eq!(answer.status, 303);
        assert!(answer.header("location").unwrap().contains("/password"), "{answer:?}");
        let restricted = browser.cookie(portal, "vestibule").expect("a restricted session");
        let home = browser.load(&format!("http://{portal}/"));
        assert_eq!((home.status, home.header("location").map(|to| to.contains("/password"))), (303, Some(true)), "{home:?}");
        let page = browser.load(&format!("http://{portal}/password"));
        assert_eq!(page.status, 200);
        let hidden = hidden_fields(&page.body);
        let mut fields: Vec<(&str, &str)> = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        fields.extend([("old", EVE.1), ("new", "another one for eve"), ("repeat", "another one for eve")]);
        let changed = browser.post(portal, "/password", &fields);
        assert_eq!(changed.status, 303, "{changed:?}");
        assert_ne!(browser.cookie(portal, "vestibule"), Some(restricted), "a change of privilege makes a new session");
        assert_eq!(gateway.send(&get("/api/orders").basic(EVE.0, EVE.1)).status, 401);
        assert_eq!(gateway.send(&get("/api/orders").basic(EVE.0, "another one for eve")).status, 200);
    });
}

#[test]
fn a_catch_all_permit_never_lets_anonymous_into_a_protected_route() {
    let gateway = Gateway::start();
    gateway.scratch.write("policy.cedar", "@id(\"everything\")\npermit(principal, action, resource);\n");
    gateway.signal("HUP");
    crate::lifecycle::wait_for(|| gateway.audit().iter().any(|record| record["event"] == "config.reloaded" && record["accepted"] == true));
    let gateway = gateway.with_users();
    for request in [
        get("/api/orders"),
        get("/api/orders").script(),
        ask("POST", "/api/orders").header("Content-Type", "text/xml").header("SOAPAction", "\"x\""),
    ] {
        assert_eq!(gateway.send(&request).status, 401, "{request:?}");
    }
    assert_eq!(gateway.send(&get("/page").browser()).status, 303);
    assert!(gateway.application.received().is_empty());
    assert_eq!(gateway.send(&ask("DELETE", "/api/orders").basic(BOB.0, BOB.1)).status, 200, "the new policy is in force");
}

#[test]
fn a_policy_refusal_is_a_403_and_names_its_policy_in_the_audit() {
    let gateway = Gateway::start().with_users();
    let answer = gateway.send(&ask("DELETE", "/api/orders").basic(BOB.0, BOB.1));
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("\"statusCode\":5"), "{}", answer.body);
    assert_eq!(gateway.audit_of(&answer)[0]["reason"], "policy");
    let allowed = gateway.send(&ask("DELETE", "/api/orders").basic(ADA.0, ADA.1));
    assert_eq!(allowed.status, 200);
    assert_eq!(gateway.audit_of(&allowed)[0]["policy"], serde_json::json!(["admins-may-write"]));
}
