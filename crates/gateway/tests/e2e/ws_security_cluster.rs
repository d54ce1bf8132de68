//! Two nodes over one PostgreSQL: what one has accepted the other refuses as a replay, and the ticket of one is good at the other.

use serde_json::Value;
use vestibule_wss::Password;

use crate::cluster::FILES;
use crate::peers::Postgres;
use crate::support::{Gateway, ask};
use crate::ws_security::{ADA, CLIENT, HOUSE, ORDER, PARTNER, add, envelope, files, named, post, reason, signed};

/// The house on shared stores, with tickets for whoever comes to `/told/ticket`.
fn configuration(postgres: &Postgres) -> String {
    let config: Vec<&str> = HOUSE.split("\n\n").filter(|part| !part.contains("[response.")).collect();
    let store = format!(
        "[keys]\nkey_encryption_key = {{ file = \"sealing\" }}\n\n[store]\npath = \"{{{{dir}}}}/data\"\ndurable = \"postgres\"\nexpiring = \"postgres\"\n\n\
         [store.postgres]\nurl = \"postgresql://vestibule@127.0.0.1:{}/postgres\"\npassword = {{ file = \"store\" }}\n\n\
         [scheme.ticket]\ntype = \"session-ticket\"\nsigned = false\n\n[response.ticket]\ntype = \"session-ticket\"\nto = \"header\"\n",
        postgres.port
    );
    let config = config.join("\n\n").replace("[store]\npath = \"{{dir}}/data\"\n", &store);
    config
        .replace("chain = [\"signed\"", "chain = [\"ticket\", \"signed\"")
        .replace("app.north.localhost:{{port}}", "app.north.localhost:{{public}}")
}

#[test]
fn two_nodes_accept_a_message_once_and_each_others_tickets() {
    let Some(postgres) = Postgres::start() else { return };
    let mut files = files("@id(\"ticket\") @response(\"ticket\") permit(principal, action, resource);");
    files.extend(FILES.map(|(name, text)| (name.to_owned(), text.to_owned())));
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let config = configuration(&postgres);
    let one = Gateway::with_files(&config, &files);
    let other = one.beside(&config, &files);
    for (name, password) in [PARTNER, ADA, (CLIENT, "never typed by anybody")] {
        add(&one, "north", name, password);
    }
    for message in [signed(), named(PARTNER.0, Password::Digest(PARTNER.1))] {
        let answer = post(&one, "/orders", &message);
        assert_eq!(answer.status, 200, "{answer:?} {}", one.log());
        assert_eq!(reason(&other, &post(&other, "/orders", &message)), Value::from("replayed"));
        assert_eq!(reason(&one, &post(&one, "/orders", &message)), Value::from("replayed"));
    }
    // Both at once: one of them wins.
    for _ in 0..5 {
        let message = signed();
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let nodes = [&one, &other, &one, &other].map(|node| scope.spawn(|| post(node, "/orders", &message).status));
            nodes.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    }
    assert_eq!(post(&one, "/told/ticket", &named(ADA.0, Password::Text(ADA.1))).status, 200, "{}", one.log());
    let ticket = one.application.last().header("tmsamlsessionticket").unwrap().to_owned();
    let with = ask("POST", "/orders").header("Content-Type", "text/xml").header("tmsamlsessionticket", &ticket);
    let answer = other.send(&with.body(envelope(ORDER)));
    assert_eq!(answer.status, 200, "{answer:?} {:?}", other.audit_of(&answer));
    assert_eq!(other.application.last().header("x-vestibule-user"), Some(ADA.0));
}
