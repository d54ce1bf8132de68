//! Tokens for single sign-on, row by row (§6–§10).

use super::*;

#[test]
fn section_6_to_10_sso_tokens() {
    let gateway = gateway();
    let mut rows = Rows::default();
    let sent = |ask: Ask| gateway.send(&ask);
    let told = |answer: &Answer| (answer.status, answer.body.clone());

    rows.row("6.1 SSOTokenRead: in SSOTokenQuery, out SSOTokenData; safe in a URL", || {
        let token = sso_token(&gateway);
        assert!(token.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_')), "{token}");
        let answer = sent(post("/Services/SSOToken", &envelope("", "<SSOTokenRead xmlns=\"urn:x\"/>")));
        assert!(answer.status == 500 && answer.body.contains("Missing &lt;wsse:Security&gt; in SOAP Header"), "{answer:?}");
    });
    rows.row("6.2 once only: a replay fails; test 15", || {
        let token = sso_token(&gateway);
        works(&gateway, &id(&sent(ssologin(&token))));
        refused(&sent(ssologin(&token)), 401);
    });
    rows.row("6.2 validate, then log in; log in, then validate fails; test 15", || {
        let token = sso_token(&gateway);
        assert_eq!(told(&sent(validate(&token))), (200, "NORTH/ada\n".to_owned()));
        assert_eq!(told(&sent(validate(&token))), (401, String::new()));
        id(&sent(ssologin(&token)));
        let token = sso_token(&gateway);
        id(&sent(ssologin(&token)));
        assert_eq!(told(&sent(validate(&token))), (401, String::new()));
    });
    rows.row("6.3 the value of command is case sensitive, the parameter's name exact", || {
        let token = sso_token(&gateway);
        for words in [
            format!("SSOLogin&odSsoToken={token}"),
            format!("ssologin&odssotoken={token}"),
            format!("ssologin&odSsoToken={token}&odSsoToken={token}"),
        ] {
            refused(&sent(command(&words)), 400);
        }
        id(&sent(ssologin(&token)));
    });
    rows.row("6.3 an un-encoded + arrives as a space and is repaired; test 16", || {
        // Ours has none, so that no encoding can spoil it; with one it is simply none of ours.
        refused(&sent(ssologin("abc+def")), 401);
        refused(&sent(ssologin("abc%20def")), 401);
    });
    rows.row("6.3 success: 200 and the cookie as for login; X-ClientName allowed", || {
        let answer = sent(ssologin(&sso_token(&gateway)).header("X-ClientName", "reports"));
        assert_eq!((answer.status, answer.body.as_str(), answer.all("set-cookie").len()), (200, "", 1));
        works(&gateway, &id(&answer));
        assert_eq!(gateway.application.last().header("x-client-name"), Some("reports"));
    });
    rows.row("6.3 expired, used or unknown: 401, form A, its text", || {
        for token in ["x", "%246%24YQ%3d%3d%3b%246%24Yg%3d%3d", &"A".repeat(103)] {
            let answer = sent(ssologin(token));
            refused(&answer, 401);
            assert!(answer.body.contains("SSO token is not valid"), "{answer:?}");
        }
    });
    rows.row("6.3 missing token: 400", || {
        refused(&sent(command("ssologin")), 400);
        refused(&sent(ssologin("")), 400);
    });
    rows.row("6.3 tokens in no log, Referrer-Policy: no-referrer; test 17", || {
        let token = sso_token(&gateway);
        let answer = sent(ssologin(&token));
        assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
        gateway.audit_of(&answer);
        let id = id(&answer);
        let written = format!("{}{}", gateway.log(), std::fs::read_to_string(gateway.scratch.path().join("audit.jsonl")).unwrap());
        for secret in [token.as_str(), id.as_str(), ADA.1] {
            assert!(!written.contains(secret), "{secret} was written down");
        }
        let stray = in_session(get(&format!("{PATH}/Contact?odSsoToken={token}&page=2")), &id);
        forwarded(&gateway, &stray);
        assert!(
            gateway.application.last().line.starts_with("GET /Services/Integration/Contact?page=2 "),
            "{:?}",
            gateway.application.last()
        );
    });
    rows.row("7 GET or POST, the token in the URL; body: the sign-in id and one line feed", || {
        let post = ask("POST", &format!("/Services/SSOTokenValidate?odSsoToken={}", sso_token(&gateway)));
        let answer = sent(post);
        assert_eq!(told(&answer), (200, "NORTH/ada\n".to_owned()));
        assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    });
    rows.row("7 errors: 400 missing, 401 invalid, empty body", || {
        assert_eq!(told(&sent(get("/Services/SSOTokenValidate"))), (400, String::new()));
        assert_eq!(told(&sent(validate("x"))), (401, String::new()));
    });
    rows.row("8 ssoitsurl: the header, TARGET last and encoded; unknown ssoid; test 18", || {
        let answer = sent(command("ssoitsurl&ssoid=north-sso"));
        let url = answer.header("x-ssoitsurl").expect("no header").to_owned();
        assert_eq!((answer.status, answer.body.as_str()), (200, ""));
        let (before, target) = url.split_once("TARGET=").unwrap();
        assert_eq!(before, "https://idp.example.com/its?realm=a&");
        assert!(!target.contains(['&', '/', '?', '=']), "{target}");
        let target = percent_encoding::percent_decode_str(target).decode_utf8().unwrap();
        assert_eq!(target, format!("http://app.north.localhost:{}{PATH}?command=ssologin&ssoid=north-sso", gateway.public));
        for words in ["ssoitsurl&ssoid=other", "ssoitsurl", "ssoitsurl&ssoid=NORTH-SSO"] {
            let answer = sent(command(words));
            assert_eq!((answer.status, answer.header("x-ssoitsurl")), (404, None), "{words}");
        }
        // Who tries names is stopped.
        let statuses: Vec<u16> = (0..40).map(|number| sent(command(&format!("ssoitsurl&ssoid=guess{number}"))).status).collect();
        assert!(statuses.contains(&429), "{statuses:?}");
    });
    rows.row("8 a one-time internal token that was never minted opens nothing", || {
        refused(&sent(command("ssologin&ssoid=north-sso&odSsoTokenG=x")), 401);
        refused(&sent(command(&format!("ssologin&ssoid=north-sso&odSsoTokenG={}", sso_token(&gateway)))), 401);
        let form = ask("POST", PATH).form(&[("command", "ssologin"), ("ssoid", "north-sso"), ("odSsoTokenG", "x")]);
        refused(&sent(form), 401);
        refused(&sent(command("ssologin&odSsoTokenG=a&odSsoToken=b")), 400);
    });
    rows.row("9 KeyIdentifier: stateless, white space trimmed, counts as login", || {
        let token = sso_token(&gateway);
        let answer = send(&gateway, &key_identifier(&token));
        assert_eq!((answer.status, answer.all("set-cookie").len()), (200, 0), "{answer:?}");
        assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("ada"));
        assert!(!String::from_utf8(gateway.application.last().body).unwrap().contains(&token));
        let again = send(&gateway, &key_identifier(&token));
        assert!(again.status == 500 && again.body.contains("wsse:FailedAuthentication"), "{again:?}");
        assert_eq!(told(&sent(validate(&token))).0, 401);
    });
    rows.row("9 KeyIdentifier with SessionKeepAlive: an id for the next calls", || {
        let answer = send(&gateway, &(key_identifier(&sso_token(&gateway)) + KEEP));
        let kept = in_session(post(&format!("{PATH}/Contact"), &envelope(KEEP, QUERY)), &id(&answer));
        forwarded(&gateway, &kept);
    });
    rows.row("10 a page link hands a token to a third party of the configuration only", || {
        let (name, session) = gateway.sign_in(ADA.0, ADA.1);
        let anonymous = sent(get("/.vestibule/sso/reports"));
        assert_eq!(anonymous.status, 303);
        assert!(anonymous.header("location").unwrap().starts_with("http://login.north.localhost"), "{anonymous:?}");
        assert_eq!(sent(get("/.vestibule/sso/elsewhere").cookie(&name, &session)).status, 404);
        let foreign = get("/.vestibule/sso/reports").cookie(&name, &session).header("Sec-Fetch-Site", "cross-site");
        assert_eq!(sent(foreign).status, 403);
        let led = sent(get("/.vestibule/sso/reports?url=https://evil.example").cookie(&name, &session));
        assert_eq!(led.status, 303, "{led:?}");
        let token = led.header("location").unwrap().strip_prefix("https://reports.example.com/enter?lang=en&odSsoToken=").unwrap();
        assert_eq!(told(&sent(validate(token))), (200, "NORTH/ada\n".to_owned()));
        works(&gateway, &id(&sent(ssologin(token))));
        let records = gateway.audit_of(&led);
        assert!(records.iter().any(|record| record["event"] == "token.issued" && record["subject"] == "ada"), "{records:?}");
    });
    rows.hold();
}

#[test]
fn section_6_settings() {
    let mut rows = Rows::default();
    rows.row("6.2 strict_single_use: validate then login fails; test 15", || {
        let gateway = with("strict_single_use = true");
        let token = sso_token(&gateway);
        assert_eq!(gateway.send(&validate(&token)).status, 200);
        refused(&gateway.send(&ssologin(&token)), 401);
    });
    rows.row("7 optional allow-list of caller addresses", || {
        let gateway = with("validators = [\"192.0.2.0/24\"]");
        let token = sso_token(&gateway);
        assert_eq!(gateway.send(&validate(&token)).status, 401);
        let listed = validate(&token).header("X-Forwarded-For", "192.0.2.9").header("X-Forwarded-Proto", "https");
        assert_eq!(gateway.send(&listed).status, 200);
    });
    rows.hold();
}
