//! Old clients behind another proxy: only a door that can change the application's answer serves them.

use super::*;
use crate::ws_security::HOUSE;
use crate::ws_security_corpus::Door;

const CRM: &str = r#"
[tenant.north]
hosts = ["app.north.localhost:{{public}}"]
chain = ["crm"]

[tenant.north.integration]

[scheme.crm]
type = "integration"
realm = "local"

[[route]]
match = "/Services/Integration/**"
policies = ["crm.cedar"]
inject = ["headers"]
body = { limit = "1MiB", types = ["text/xml"] }
forward = "http://{{app}}"

[[route]]
match = "/page"
access = "open"
forward = "http://{{app}}"

[passwords]
floor = "0s"

[store]
path = "{{dir}}/data"

[audit]
to = "file"
path = "{{dir}}/audit.jsonl"
"#;

/// The service has sessions of its own, under the same name.
#[test]
fn the_services_own_session_reaches_no_old_client_through_any_door() {
    let config = HOUSE.split("[tenant.north]").next().unwrap().to_owned() + CRM;
    for door in Door::ALL {
        let Some(place) = door.open(&config, &[POLICY], true) else { continue };
        let gateway = place.gateway();
        add(gateway, ADA.0, ADA.1, "north", &[]);
        gateway.application.answer_raw(
            "HTTP/1.1 200 OK\r\nSet-Cookie: JSESSIONID=theirs; Path=/\r\nSet-Cookie: theme=dark\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        );
        // Elsewhere on the host it is the application's own.
        assert_eq!(gateway.send(&get("/page")).header("set-cookie"), Some("JSESSIONID=theirs; Path=/"), "{door:?}");
        gateway.application.forget();
        let answer = gateway.send(&post("/Services/Integration/Contact", &envelope(&user(APRIL, ADA.0, ADA.1), QUERY)));
        if door == Door::ExtAuthz {
            assert!(answer.status >= 400 && answer.header("set-cookie").is_none(), "{answer:?}");
            assert_eq!(gateway.audit_of(&answer)[0]["reason"], serde_json::json!({ "uncarried": "answer" }));
            assert!(gateway.application.received().is_empty());
            continue;
        }
        assert_eq!(answer.status, 200, "{door:?} {answer:?} {:?}", gateway.audit_of(&answer));
        let cookies = answer.all("set-cookie");
        assert!(cookies.len() == 2 && cookies[0].starts_with("JSESSIONID=") && cookies[1] == "theme=dark", "{door:?} {cookies:?}");
        assert_ne!(id(&answer), "theirs");
    }
}
