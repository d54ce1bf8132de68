//! What is tried against the protocol of old integration clients, each with its name.

use super::*;

#[test]
fn attacks() {
    let gateway = gateway();
    let mut rows = Rows::default();
    let sent = |ask: Ask| gateway.send(&ask);

    rows.row("attack 54: an id that was planted is never adopted", || {
        for planted in ["planted", &"A".repeat(43)] {
            let answer = sent(in_session(signed(command("login"), "ada", ADA.1), planted));
            let fresh = id(&answer);
            assert_ne!(fresh, planted);
            no_session(&sent(in_session(data(), planted)));
        }
        // One's own id does not become another user's either.
        let mine = id(&sent(signed(command("login"), "bob", USERS[1].1)));
        let hers = id(&sent(in_session(signed(command("login"), "ada", ADA.1), &mine)));
        assert_ne!(mine, hers);
        forwarded(&gateway, &in_session(data(), &mine));
        assert_eq!(gateway.application.last().header("x-vestibule-user"), Some("bob"));
        let soap = send(&gateway, &ada(APRIL));
        assert_ne!(id(&soap), hers);
    });
    rows.row("attack: two session ids are none", || {
        let (one, other) = (id(&login(&gateway)), id(&login(&gateway)));
        no_session(&sent(data().header("Cookie", &format!("JSESSIONID={one}; JSESSIONID={other}"))));
        no_session(&sent(data().header("Cookie", &format!("JSESSIONID={one}; JSESSIONID={one}"))));
    });
    rows.row("attack: a browser's session is no program's, nor the other way round", || {
        let (name, session) = gateway.sign_in(ADA.0, ADA.1);
        no_session(&sent(in_session(data(), &session)));
        assert_eq!(sent(get("/page").cookie(&name, &id(&login(&gateway)))).status, 401);
    });
    rows.row("attack: a page on the application's host gets a token by its victim's session, and takes it elsewhere", || {
        let question = post("/Services/SSOToken", &envelope("", "<SSOTokenRead xmlns=\"urn:x\"/>"));
        let (name, session) = gateway.sign_in(ADA.0, ADA.1);
        let own = format!("http://app.north.localhost:{}", gateway.public);
        for script in [
            question.clone().cookie(&name, &session),
            question.clone().cookie(&name, &session).header("Origin", &own).header("Sec-Fetch-Site", "same-origin"),
            question.clone().basic(ADA.0, ADA.1).header("Sec-Fetch-Site", "same-origin"),
            post("/Services/SSOToken", &envelope(&ada(OASIS), "<SSOTokenRead xmlns=\"urn:x\"/>")).header("Origin", &own),
        ] {
            let answer = sent(script);
            assert!(answer.status == 500 && !answer.body.contains("SSOTokenData"), "{answer:?}");
            assert_eq!(gateway.audit_of(&answer)[0]["reason"], "session_not_here", "{answer:?}");
        }
        assert!(sent(question.basic(ADA.0, ADA.1)).body.contains("SSOTokenData"), "a program has its password");
    });
    rows.row("attack: a session of another tenant or host", || {
        let id = id(&login(&gateway));
        no_session(&gateway.send_to("app.south.localhost", &in_session(data(), &id)));
        works(&gateway, &id);
    });
    rows.row("attack: a token of another tenant, and spent by nobody's trying", || {
        let token = sso_token(&gateway);
        refused(&gateway.send_to("app.south.localhost", &ssologin(&token)), 401);
        assert_eq!(gateway.send_to("app.south.localhost", &validate(&token)).status, 401);
        id(&sent(ssologin(&token)));
    });
    rows.row("attack: header injection through UserName", || {
        for name in ["ada%0d%0aSet-Cookie:%20JSESSIONID=x", "ada%00", "ada%0A", "NORTH/ada%0d%0aX-Vestibule-User:%20root"] {
            let answer = sent(signed(command("login&isEncoded=Y"), name, ADA.1));
            refused(&answer, 401);
            assert!(!answer.headers.iter().any(|(_, value)| value.contains("root") || value.contains("=x")), "{answer:?}");
        }
        let named = sent(signed(command("login"), "ada", ADA.1).header("X-ClientName", "a\tb"));
        works(&gateway, &id(&named));
        assert_eq!(gateway.application.last().header("x-client-name"), Some("ab"));
    });
    rows.row("attack: percent tricks are decoded once, and in one place", || {
        let hers = |ask: Ask| signed(ask, "ada", ADA.1);
        refused(&sent(signed(command("login&isEncoded=Y"), "%2561da", ADA.1)), 401);
        // The query is decoded as any form; the word is then the word.
        id(&sent(hers(command("log%69n"))));
        refused(&sent(hers(command("login%00"))), 400);
        refused(&sent(hers(command("login%20"))), 400);
        let path = sent(hers(get("/Services/%49ntegration?command=login")));
        id(&path);
        for ambiguous in
            ["/Services%2fIntegration?command=login", "/Services/./Integration?command=login", "//Services/Integration?command=login"]
        {
            assert_eq!(sent(hers(get(ambiguous))).status, 400, "{ambiguous}");
        }
        let id = id(&login(&gateway));
        assert_eq!(sent(post(&format!("{PATH}/Contact%3Bjsessionid={id}"), &envelope("", QUERY))).status, 400, "an encoded semicolon");
    });
    rows.row("attack: quota exhaustion by unauthenticated callers", || {
        let gateway = with("quota = 2\nallotment = 2");
        let draft = |name: &str| post(&format!("{PATH}/Contact"), &envelope(&user(APRIL, name, "wrong"), QUERY));
        for number in 0..10 {
            let guess = format!("guess{number}");
            for tried in [
                signed(command("login"), &guess, "wrong"),
                signed(command("login"), "ada", &guess),
                draft("ada"),
                draft(&guess),
                ssologin(&guess),
                command(&format!("ssologin&ssoid=north-sso&odSsoTokenG={guess}")),
                in_session(data(), &guess),
                in_session(data(), &"A".repeat(43)),
                data(),
            ] {
                assert_ne!(gateway.send(&tried).status, 200, "{tried:?}");
            }
        }
        let ids = [id(&login(&gateway)), id(&login(&gateway))];
        ids.iter().for_each(|id| works(&gateway, id));
    });
    rows.row("attack: a replayed token, of any kind, opens nothing and ends nothing", || {
        let token = sso_token(&gateway);
        let hers = id(&sent(ssologin(&token)));
        for _ in 0..3 {
            let again = sent(ssologin(&token));
            refused(&again, 401);
            let records = gateway.audit_of(&again);
            assert!(records.iter().any(|record| record["reason"] == "replayed"), "{records:?}");
            assert_eq!(send(&gateway, &key_identifier(&token)).status, 500);
            assert_eq!(sent(validate(&token)).status, 401);
        }
        works(&gateway, &hers);
        // The id of a session that was ended is none either.
        sent(in_session(command("logoff"), &hers));
        no_session(&sent(in_session(data(), &hers)));
    });
    rows.row("attack: login CSRF by an ssologin link", || {
        let token = sso_token(&gateway);
        for browser in [
            ssologin(&token).browser(),
            ssologin(&token).header("Sec-Fetch-Site", "cross-site"),
            ssologin(&token).header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)"),
            ssologin(&token).browser().cookie("vestibule-sso", "whatever"),
        ] {
            refused(&sent(browser), 401);
        }
        id(&sent(ssologin(&token).header("User-Agent", "Mozilla/5.0 (Windows; U) AppleWebKit/533 AdobeAIR/2.6")));
        // The browser that was given the token may use it.
        let (name, session) = gateway.sign_in(ADA.0, ADA.1);
        let led = sent(get("/.vestibule/sso/reports").cookie(&name, &session).browser());
        let token = led.header("location").unwrap().rsplit_once('=').unwrap().1.to_owned();
        let bound = led.cookies()["vestibule-sso"].clone();
        refused(&sent(ssologin(&token).browser()), 401);
        id(&sent(ssologin(&token).browser().cookie("vestibule-sso", &bound)));
    });
    rows.row("attack: a page elsewhere acts with a session, or logs somebody in", || {
        let id = id(&login(&gateway));
        let foreign = in_session(data(), &id).header("Origin", "https://evil.example").header("Sec-Fetch-Site", "cross-site");
        let answer = sent(foreign);
        assert_eq!(answer.status, 500);
        form_a(&answer, "SBL-ODU-01011");
        refused(&sent(signed(command("login"), "ada", ADA.1).header("Origin", "https://evil.example")), 400);
    });
    rows.row("attack 119: whoever is disabled is out of every session and token", || {
        let dan = ("dan", "the password of dan");
        add(&gateway, dan.0, dan.1, "north", &[]);
        let id = id(&sent(signed(command("login"), dan.0, dan.1)));
        forwarded(&gateway, &in_session(data(), &id));
        assert!(gateway.command(&["user", "disable", dan.0, "--tenant", "north"]).status.success());
        crate::lifecycle::wait_for(|| gateway.send(&in_session(data(), &id)).status == 500);
        no_session(&sent(in_session(data(), &id)));
    });
    rows.row("attack 13, 59: markup in a name, no password", || {
        for inside in [
            "<wsse:Username>ad<!-- -->a</wsse:Username><wsse:Password>x</wsse:Password>",
            "<wsse:Username>ada</wsse:Username><wsse:Password/>",
        ] {
            assert_eq!(send(&gateway, &token(OASIS, inside)).status, 500, "{inside}");
        }
        assert_eq!(send(&gateway, &(ada(OASIS) + &ada(APRIL))).status, 500, "two headers");
        assert_eq!(send(&gateway, "<!DOCTYPE x>").status, 500);
    });
    rows.hold();
}
