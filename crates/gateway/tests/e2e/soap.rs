//! Policies on the operation of a SOAP body (attack 67): what the body says counts, and what a header says must not differ.

use crate::support::{Answer, CONFIG, Gateway, USERS, ask};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const SOAP11: &str = "http://schemas.xmlsoap.org/soap/envelope/";
const SOAP12: &str = "http://www.w3.org/2003/05/soap-envelope";

const ROUTES: &str = r#"
[[route]]
match = "/orders"
policies = ["orders.cedar"]
body = { limit = "1MiB", types = ["text/xml", "application/soap+xml", "application/json"] }
forward = "http://{{app}}"

[[route]]
match = "/ledger"
policies = ["ledger.cedar"]
body = { limit = "1MiB", types = ["text/xml", "application/soap+xml", "application/json"] }
forward = "http://{{app}}"

[scheme.basic]"#;

const ORDERS: &str =
    r#"@id("orders") permit(principal, action, resource) when { resource has operation && resource.operation == "Order" };"#;
const LEDGER: &str = r#"
@id("ledger") permit(principal, action, resource);
@id("no-delete") forbid(principal, action, resource) when { resource has operation && resource.operation == "Delete" };"#;

fn gateway() -> Gateway {
    let config = CONFIG.replacen("\n[scheme.basic]", ROUTES, 1);
    Gateway::with_files(&config, &[("orders.cedar", ORDERS), ("ledger.cedar", LEDGER)]).with_users()
}

fn envelope(namespace: &str, inside: &str) -> String {
    format!(r#"<s:Envelope xmlns:s="{namespace}" xmlns:o="urn:orders"><s:Body>{inside}</s:Body></s:Envelope>"#)
}

fn post(gateway: &Gateway, path: &str, media_type: &str, action: Option<&str>, body: &str) -> Answer {
    let mut request = ask("POST", path).basic(ADA.0, ADA.1).header("Content-Type", media_type).body(body);
    if let Some(action) = action {
        request = request.header("SOAPAction", action);
    }
    gateway.send(&request)
}

fn reason(gateway: &Gateway, answer: &Answer) -> String {
    gateway.audit_of(answer)[0]["reason"].to_string()
}

#[test]
fn a_policy_permits_one_operation_and_not_another_whatever_soapaction_says() {
    let gateway = gateway();
    let order = envelope(SOAP11, "<o:Order><o:item>1</o:item></o:Order>");
    let cancel = envelope(SOAP11, "<o:Cancel/>");
    for action in [None, Some("\"\""), Some("\"urn:orders/Order\""), Some("urn:orders/OrderRequest")] {
        assert_eq!(post(&gateway, "/orders", "text/xml; charset=utf-8", action, &order).status, 200, "{action:?}");
    }
    assert_eq!(gateway.application.last().body, order.as_bytes(), "what was read is what is forwarded");
    let twelve = envelope(SOAP12, "<o:Order/>");
    assert_eq!(post(&gateway, "/orders", "application/soap+xml; action=\"urn:orders/Order\"", None, &twelve).status, 200);

    gateway.application.forget();
    let refused = post(&gateway, "/orders", "text/xml", Some("\"urn:orders/Cancel\""), &cancel);
    assert_eq!(reason(&gateway, &refused), "\"policy\"");
    assert!(refused.body.contains("Fault"), "{refused:?}");
    // The action of what is permitted, over another body; and the other way round.
    for (action, body) in [("\"urn:orders/Order\"", &cancel), ("\"urn:orders/Cancel\"", &order)] {
        let lied = post(&gateway, "/orders", "text/xml", Some(action), body);
        assert!(lied.status >= 400 && reason(&gateway, &lied) != "\"policy\"", "{lied:?}");
    }
    let lied = post(&gateway, "/orders", "application/soap+xml; action=\"urn:orders/Order\"", None, &envelope(SOAP12, "<o:Cancel/>"));
    assert_eq!(lied.status, 400);
    // Two headers, of which an application may read the other one.
    let both = ask("POST", "/orders").basic(ADA.0, ADA.1).header("Content-Type", "text/xml").header("SOAPAction", "urn:orders/Order");
    assert!(gateway.send(&both.header("SOAPAction", "urn:orders/Cancel").body(order.as_str())).status >= 400);
    assert!(gateway.application.received().is_empty());
}

#[test]
fn no_body_gets_around_a_forbidden_operation() {
    let gateway = gateway();
    let delete = envelope(SOAP11, "<o:Delete/>");
    assert_eq!(post(&gateway, "/ledger", "text/xml", None, &envelope(SOAP11, "<o:Read/>")).status, 200);
    gateway.application.forget();
    let bodies = [
        ("text/xml", delete.clone()),
        // Something else than SOAP, by its name or its octets.
        ("application/json", delete.clone()),
        ("application/json", "{}".to_owned()),
        ("application/soap+xml", delete.clone()),
        ("text/xml; charset=utf-16", delete.clone()),
        ("text/xml", "<o:Read xmlns:o='urn:orders'/>".to_owned()),
        // A second operation behind the first, and none at all.
        ("text/xml", envelope(SOAP11, "<o:Read/><o:Delete/>")),
        ("text/xml", envelope(SOAP11, "")),
        ("text/xml", delete.replace("</s:Body>", "</s:Body><s:Body><o:Read/></s:Body>")),
        ("text/xml", format!("<!DOCTYPE x>{delete}")),
        ("text/xml", delete.replace("<o:Delete/>", "<!-- --><o:Delete/>")),
        ("text/xml", envelope(SOAP11, &format!("<o:Read/>{}<o:Delete/>", " ".repeat(100_000)))),
    ];
    for (media_type, body) in &bodies {
        let answer = post(&gateway, "/ledger", media_type, None, body);
        assert!(answer.status >= 400, "{media_type} {body}: {answer:?}");
    }
    assert!(gateway.application.received().is_empty());
    // Large ones are read elsewhere, to the same end.
    let large = envelope(SOAP11, &format!("<o:Read>{}</o:Read>", "x".repeat(200_000)));
    assert_eq!(post(&gateway, "/ledger", "text/xml", None, &large).status, 200);
}

#[test]
fn a_policy_on_operations_needs_the_body() {
    let scratch = crate::support::Scratch::new();
    let config = CONFIG.replacen("\n[scheme.basic]", ROUTES, 1).replace("{{app}}", "127.0.0.1:9").replace("{{port}}", "1");
    let config = config.replace("{{health}}", "2").replace("{{dir}}", &scratch.path().display().to_string());
    let without: Vec<&str> = config.lines().filter(|line| !line.starts_with("body = ")).collect();
    scratch.write("orders.cedar", ORDERS);
    scratch.write("ledger.cedar", LEDGER);
    scratch.write("policy.cedar", crate::support::POLICY);
    let check = |text: &str| {
        let file = scratch.write("vestibule.toml", text);
        std::process::Command::new(env!("CARGO_BIN_EXE_vestibule")).args(["check", file.to_str().unwrap()]).output().unwrap()
    };
    let output = check(&without.join("\n"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.code() == Some(1) && text.contains("`/ledger` ask for the operation"), "{text}");
    let output = check(&config);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
