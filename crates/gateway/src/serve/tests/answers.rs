//! The table of `serve::answer`, seen from outside.

use super::*;

async fn ask(plan: Plan, path: &str, fields: &str) -> String {
    let house = plan.open();
    get(house.address, path, fields).await
}

#[tokio::test]
async fn an_api_client_is_told_in_json_and_challenged() {
    let answer = ask(Plan::default(), "/protected/x", "").await;
    assert_eq!(status(&answer), 401);
    assert_eq!(field(&answer, "www-authenticate"), ["Basic realm=\"North wing\", charset=\"UTF-8\""]);
    assert_eq!(body(&answer), "{\"statusCode\":20,\"statusMessage\":\"Access denied\"}");
    assert_eq!(field(&answer, "cache-control"), ["no-store"]);
    assert_eq!(field(&answer, "x-vestibule-auth"), ["anonymous"]);
    assert_eq!(field(&answer, "x-vestibule-id")[0].len(), 36);
}

#[tokio::test]
async fn a_script_is_never_shown_the_browsers_dialogue() {
    let answer = ask(Plan { login: true, ..Plan::default() }, "/protected/x", "X-Requested-With: XMLHttpRequest\r\n").await;
    assert_eq!(status(&answer), 401);
    assert!(field(&answer, "www-authenticate")[0].starts_with("XBasic "), "{answer}");
}

#[tokio::test]
async fn a_401_always_carries_a_challenge() {
    let answer = ask(Plan { http: false, ..Plan::default() }, "/protected/x", "").await;
    assert_eq!(field(&answer, "www-authenticate"), ["Vestibule realm=\"North wing\""]);
}

#[tokio::test]
async fn compat_answers_403_without_challenge() {
    let answer = ask(Plan { compat: true, ..Plan::default() }, "/protected/x", "").await;
    assert_eq!((status(&answer), field(&answer, "www-authenticate").len()), (403, 0));
    assert_eq!(body(&answer), "{\"statusCode\":20,\"statusMessage\":\"Access denied\"}");
}

#[tokio::test]
async fn a_browser_is_sent_to_the_login_and_back_without_the_credential_in_its_url() {
    let answer = ask(Plan { login: true, ..Plan::default() }, "/protected/x?a=1&token=secret", "Accept: text/html\r\n").await;
    assert_eq!(status(&answer), 303);
    let location = field(&answer, "location")[0];
    assert_eq!(location, "https://portal.test/login?return_to=http%3A%2F%2Fa%2Etest%2Fprotected%2Fx%3Fa%3D1");
    assert!(field(&answer, "set-cookie")[0].starts_with("vestibule-bounces=1;"));
}

#[tokio::test]
async fn a_redirect_loop_ends_in_a_page() {
    let plan = Plan { login: true, ..Plan::default() };
    let answer = ask(plan, "/protected/x", "Accept: text/html\r\nCookie: vestibule-bounces=10\r\n").await;
    assert_eq!(status(&answer), 401);
    assert!(body(&answer).contains(field(&answer, "x-vestibule-id")[0]), "{answer}");
    assert_eq!(field(&answer, "content-security-policy"), ["default-src 'none'"]);
}

#[tokio::test]
async fn a_browser_without_login_flow_gets_the_real_challenge() {
    let answer = ask(Plan::default(), "/protected/x", "Accept: text/html\r\n").await;
    assert!(field(&answer, "www-authenticate")[0].starts_with("Basic "));
}

#[tokio::test]
async fn soap_faults_speak_the_requests_version() {
    let soap11 = "SOAPAction: \"x\"\r\nContent-Type: text/xml\r\n";
    let soap12 = "Content-Type: application/soap+xml\r\n";
    let answer = ask(Plan::default(), "/protected/x", soap11).await;
    assert_eq!((status(&answer), field(&answer, "content-type")[0]), (401, "text/xml; charset=utf-8"));
    assert!(body(&answer).contains("<faultcode>wsse:FailedAuthentication</faultcode>"));
    let answer = ask(Plan { http: false, ..Plan::default() }, "/protected/x", soap11).await;
    assert_eq!(status(&answer), 500);
    let answer = ask(Plan { http: false, ..Plan::default() }, "/protected/x", soap12).await;
    assert_eq!((status(&answer), field(&answer, "content-type")[0]), (400, "application/soap+xml; charset=utf-8"));
    assert!(body(&answer).contains("<soap:Value>soap:Sender</soap:Value>"));
    let answer = ask(Plan::default(), "/protected/x", &format!("{soap12}X-Token: down\r\n")).await;
    assert_eq!((status(&answer), field(&answer, "retry-after")), (503, vec!["30"]));
    assert!(body(&answer).contains("soap:Receiver"));
}

#[tokio::test]
async fn the_table_for_api_clients() {
    for (path, fields, want, code) in [
        ("/protected/x", "X-Token: down\r\n", 503, 4),
        ("/protected/x", "X-Token: wrong\r\n", 401, 20),
        ("/protected/x", "X-Token: forged\r\n", 401, 20),
        ("/protected/x", "X-Token: busy\r\n", 429, 20),
        ("/protected/x", "X-Token: stale\r\n", 403, 5),
        ("/nowhere", "", 500, 4),
        ("/x", "X-Token: panic\r\n", 500, 4),
    ] {
        let answer = ask(Plan::default(), path, fields).await;
        assert_eq!(status(&answer), want, "{path} {fields} {answer}");
        assert!(body(&answer).starts_with(&format!("{{\"statusCode\":{code},")), "{answer}");
        assert_eq!(field(&answer, "x-vestibule-id").len(), 1);
    }
}

#[tokio::test]
async fn whoever_must_change_the_password_is_sent_there() {
    let fields = "Accept: text/html\r\nX-Token: stale\r\n";
    let answer = ask(Plan::default(), "/protected/x", fields).await;
    assert_eq!((status(&answer), field(&answer, "location")), (303, vec!["https://portal.test/password"]));
}

#[tokio::test]
async fn an_answer_to_head_has_no_body() {
    let house = Plan::default().open();
    let answer = raw(house.address, b"HEAD /protected/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!((status(&answer), body(&answer)), (401, ""));
}

#[tokio::test]
async fn own_pages_get_the_judged_request_and_its_body() {
    let house = Plan::default().open();
    let head = "POST /login?x=1 HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\nContent-Length: 3\r\n\r\na=b";
    assert_eq!(body(&raw(house.address, head.as_bytes()).await), "own POST /login?x=1 3");
    let long =
        format!("POST /login HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\nContent-Length: 70000\r\n\r\n{}", "x".repeat(70000));
    assert_eq!(status(&raw(house.address, long.as_bytes()).await), 413);
    let answer = raw(house.address, b"GET /panic HTTP/1.1\r\nHost: portal.test\r\nConnection: close\r\n\r\n").await;
    assert_eq!(status(&answer), 500);
}
