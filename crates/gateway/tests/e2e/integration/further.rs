//! Rows of the reference that need a house of their own.

use super::*;

/// A gateway whose chain reads assertions, and whose route `/vouch` makes them.
fn vouching() -> Gateway {
    let made = rcgen::generate_simple_self_signed(["soap.north.localhost".to_owned()]).unwrap();
    let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
    let files = [
        ("soap.crt", certificate.as_str()),
        ("soap.key", key.as_str()),
        ("vouch.cedar", "@id(\"vouched\") @response(\"vouched\")\npermit(principal, action, resource);\n"),
    ];
    let more = r#"
[[route]]
match = "/vouch"
policies = ["vouch.cedar"]
body = { limit = "64KiB", types = ["text/xml"] }
forward = "http://{{app}}"

[response.vouched]
type = "ws-security"
token = "saml"
certificate = "soap.crt"
key = { file = "soap.key" }
must_understand = false
assertion = { issuer = "urn:north", audience = "urn:crm", confirm = "sender-vouches" }

[scheme.assertion]
type = "ws-security"
token = "saml"
audience = "urn:crm"
issuers = [{ entity_id = "urn:north", certificates = ["soap.crt"] }]

[[concession]]
what = "wss_sender_vouches"
partner = "assertion"
reason = "a test"
expires = "9999-12-31"
"#;
    altered("", more, &files, |template| {
        template.replacen(
            "chain = [\"session\", \"crm\", \"basic\", \"form\"]",
            "chain = [\"session\", \"assertion\", \"crm\", \"basic\", \"form\"]",
            1,
        )
    })
}

#[test]
fn section_0_mechanisms() {
    let mut rows = Rows::default();
    rows.row("0 SAML assertion: stateless, the body is run, no id; once", || {
        let gateway = vouching();
        let header = |answer: &Answer| assert_eq!(answer.all("set-cookie"), Vec::<&str>::new(), "{answer:?}");
        forwarded(&gateway, &post("/vouch", &envelope("", QUERY)).basic(ADA.0, ADA.1));
        let vouched = gateway.application.last().body;
        assert!(String::from_utf8_lossy(&vouched).contains("Assertion"));
        let message = || post(&format!("{PATH}/Contact"), "").body(vouched.clone());
        header(&forwarded(&gateway, &message()));
        assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
        assert!(!String::from_utf8(gateway.application.last().body).unwrap().contains("Assertion"), "the service sees none of it");
        assert_ne!(gateway.send(&message()).status, 200, "a replay");
        // §3.5: it is not fetched for each request by a client that asks to be remembered.
        forwarded(&gateway, &post("/vouch", &envelope(KEEP, QUERY)).basic(ADA.0, ADA.1));
        let kept = gateway.application.last().body;
        let kept = id(&forwarded(&gateway, &post(&format!("{PATH}/Contact"), "").body(kept)));
        for _ in 0..2 {
            forwarded(&gateway, &in_session(post(&format!("{PATH}/Contact"), &envelope(KEEP, QUERY)), &kept));
            assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
        }
        works(&gateway, &kept);
        no_session(&gateway.send(&in_session(data(), &kept)));
        // A name and a password beside the message are no message's.
        header(&forwarded(&gateway, &post(&format!("{PATH}/Contact"), &envelope(KEEP, QUERY)).basic(ADA.0, ADA.1)));
        // The other mechanisms go on beside it.
        works(&gateway, &id(&login(&gateway)));
        works(&gateway, &id(&send(&gateway, &ada(APRIL))));
        assert_eq!(send(&gateway, &ada(OASIS)).status, 200);
    });
    rows.row("0 SSO token in the SOAP header: stateless, administrative services included", || {
        let gateway = gateway();
        for keep in ["", KEEP] {
            let header = key_identifier(&sso_token(&gateway)) + keep;
            let answer = forwarded(&gateway, &post("/Services/Integration/Administration/Users", &envelope(&header, QUERY)));
            assert_eq!(answer.all("set-cookie"), Vec::<&str>::new(), "{answer:?}");
        }
    });
    rows.row("3.1 what Siebel CRM on premise sends is not looked at", || {
        let gateway = gateway();
        let siebel = "xmlns=\"http://siebel.com/webservices\"";
        for header in [
            format!("<UsernameToken {siebel}>ada</UsernameToken><PasswordText {siebel}>{}</PasswordText>", ADA.1),
            format!("<SessionType {siebel}>Stateful</SessionType><UsernameToken {siebel}>ada</UsernameToken><PasswordText {siebel}>{}</PasswordText>", ADA.1),
            format!("<SessionToken {siebel}>{}</SessionToken>", id(&login(&gateway))),
        ] {
            nobody(&send(&gateway, &header));
        }
        // Beside a token that counts, it changes nothing.
        let beside = send(&gateway, &format!("<SessionType {siebel}>Stateful</SessionType>{}", ada(OASIS)));
        assert_eq!((beside.status, beside.all("set-cookie").len()), (200, 0), "{beside:?}");
    });
    rows.hold();
}

#[test]
fn section_1_locked_and_section_3_interactive() {
    let mut rows = Rows::default();
    rows.row("1.4 locked after failures, at every door: the answer of a wrong password", || {
        let gateway = altered("", "", &[], |template| template.replace("account_failures = 1000", "account_failures = 3"));
        let at_address = |password: &str| gateway.send(&signed(command("login"), "NORTH/ada", password));
        let session = id(&login(&gateway));
        let bodies: Vec<String> = (0..2).map(|number| at_address(&format!("wrong {number}")).body).collect();
        // One of them by a message: they are counted together.
        assert!(send(&gateway, &user(APRIL, "ada", "wrong in a message")).body.contains("FailedAuthentication"));
        let locked = at_address(ADA.1);
        refused(&locked, 401);
        assert!(bodies.iter().all(|body| *body == locked.body), "{locked:?}");
        assert!(send(&gateway, &ada(OASIS)).body.contains("FailedAuthentication"));
        let records = gateway.audit_of(&locked);
        assert!(
            records.iter().any(|record| record["event"] == "login.rejected" && record["reason"] == "account_gate_closed"),
            "the true reason: {records:?}"
        );
        works(&gateway, &session);
    });
    rows.row("3.3 interactive sessions are not counted for web services, nor these for those", || {
        let gateway = with("quota = 1");
        let tabs: Vec<(String, String)> = (0..3).map(|_| gateway.sign_in(ADA.0, ADA.1)).collect();
        works(&gateway, &id(&login(&gateway)));
        refused(&gateway.send(&signed(command("login"), "ada", ADA.1)), 503);
        gateway.sign_in(ADA.0, ADA.1);
        for (name, session) in &tabs {
            assert_eq!(gateway.send(&get("/page").cookie(name, session)).status, 200);
        }
    });
    rows.hold();
}

/// `UserName` and `Password` are for us: whatever is forwarded for the services' tenant has neither.
#[test]
fn section_1_the_service_never_sees_the_password() {
    let door = crate::support::free_port();
    let listen = format!("[[listen]]\naddress = \"127.0.0.1:{door}\"\nspeaks = \"forward-auth\"\ntrusted_proxies = [\"127.0.0.1/32\"]\n");
    let route = "\n[[route]]\nmatch = \"/Services/open/*\"\naccess = \"open\"\nforward = \"http://{{app}}\"\n";
    let gateway = more("", &(listen + route));
    const SECRET: &str = "hunter2-of-nobody";
    let spelt =
        |ask: Ask| ["Password", "password", "PASSWORD", "UserName", "Username"].into_iter().fold(ask, |ask, name| ask.header(name, SECRET));
    let session = id(&login(&gateway));
    let asked = [
        in_session(data(), &session),
        in_session(post(PATH, &envelope("", QUERY)), &session),
        in_session(get(&format!("{PATH}/Contact?page=2")), &session),
        post(&format!("{PATH}/Contact"), &envelope(&ada(OASIS), QUERY)),
        post(&format!("{PATH}/Contact"), &envelope(&ada(APRIL), QUERY)),
        post("/Services/Integration/Administration/Users", &envelope(&ada(OASIS), QUERY)),
        get("/page").basic(ADA.0, ADA.1),
        get("/Services").basic(ADA.0, ADA.1),
        get("/Services/Other/page").basic(ADA.0, ADA.1),
        get("/Services/open/page"),
    ];
    for ask in asked {
        let what = format!("{ask:?}");
        forwarded(&gateway, &spelt(ask));
        let received = gateway.application.last();
        let held = format!("{received:?}{}", String::from_utf8_lossy(&received.body));
        assert!(!held.contains(SECRET) && !held.contains(ADA.1), "{what}: {received:?}");
        for name in ["username", "password"] {
            assert_eq!(received.header(name), None, "{what}");
        }
    }
    // What is no command is not data for that, nor is it forwarded.
    gateway.application.forget();
    for words in ["login", "Login", "login&command=x", "reboot"] {
        assert_ne!(gateway.send(&spelt(command(words))).status, 200, "{words}");
    }
    assert_eq!(gateway.application.received().len(), 0);
    // A proxy in front that asks is told to leave them out.
    let host = format!("app.north.localhost:{}", gateway.public);
    let question = spelt(get("/").basic(ADA.0, ADA.1)).header("X-Forwarded-Method", "GET").header("X-Forwarded-Proto", "http");
    let question = question.header("X-Forwarded-Host", &host).header("X-Forwarded-Uri", "/page").header("X-Forwarded-For", "127.0.0.1");
    let told = crate::support::exchange(std::net::SocketAddr::from(([127, 0, 0, 1], door)), &question.octets(&format!("127.0.0.1:{door}")));
    assert_eq!(told.status, 200, "{told:?}");
    assert_eq!((told.header("username"), told.header("password")), (Some(""), Some("")), "{told:?}");
}
