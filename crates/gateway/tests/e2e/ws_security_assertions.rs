//! Assertions that may be used once, or with one document: at the live door, and where a store has forgotten which ones were.

use jiff::SignedDuration;
use serde_json::Value;
use vestibule_engine::clock::{Clock as _, SystemClock};
use vestibule_saml::ConfirmationMethod::{self, Bearer, HolderOfKey, SenderVouches};

use crate::migration::offline;
use crate::support::{Answer, Gateway};
use crate::ws_security::{ADA, ORDER, asserted, conceding, house_of, post, presenting, reason};

const OTHER: &str = "<o:Cancel xmlns:o=\"urn:example:orders\"/>";

fn house() -> Gateway {
    house_of(&conceding(&[("wss_bearer", "asserted")]))
}

/// An assertion that was issued so many seconds ago.
fn issued(id: &str, method: &ConfirmationMethod, one_time: bool, ago: i64) -> String {
    asserted(id, ADA.0, method.clone(), SystemClock::default().now() - SignedDuration::from_secs(ago), one_time)
}

fn accepted(gateway: &Gateway, what: &str, answer: &Answer) {
    assert_eq!(answer.status, 200, "{what}: {answer:?} {:?}", gateway.audit_of(answer));
    assert_eq!(gateway.application.received().len(), 1, "{what}");
    gateway.application.forget();
}

fn refused(gateway: &Gateway, what: &str, answer: &Answer, why: &Value) {
    assert_eq!(reason(gateway, answer), *why, "{what}: {answer:?}");
    assert!(answer.body.contains("Fault") && gateway.application.received().is_empty(), "{what}: {answer:?}");
}

/// Row 61 of the attacks: what an attester vouched for in one document is nothing in another, even if he vouches again.
#[test]
fn an_assertion_that_is_vouched_for_belongs_to_one_document() {
    let gateway = house();
    let assertion = issued("_first", &SenderVouches, false, 1);
    let first = presenting("_first", &assertion, &SenderVouches, ORDER);
    accepted(&gateway, "the first document", &post(&gateway, "/orders", &first));
    accepted(&gateway, "which is passed on", &post(&gateway, "/ledger", &first));
    let replayed = Value::from("replayed");
    for path in ["/orders", "/ledger", "/kept"] {
        let second = presenting("_first", &assertion, &SenderVouches, OTHER);
        refused(&gateway, path, &post(&gateway, path, &second), &replayed);
    }
    let another = issued("_second", &SenderVouches, false, 1);
    accepted(&gateway, "an assertion of its own", &post(&gateway, "/orders", &presenting("_second", &another, &SenderVouches, OTHER)));
}

/// Rows 61 and 65: a holder may use an assertion again unless it says otherwise; whoever merely has one may not.
#[test]
fn an_assertion_is_used_once_where_it_or_its_method_says_so() {
    let gateway = house();
    for (id, method, one_time, again) in [
        ("_holder", HolderOfKey, false, true),
        ("_holder-once", HolderOfKey, true, false),
        ("_bearer", Bearer, false, false),
        ("_bearer-once", Bearer, true, false),
    ] {
        let assertion = issued(id, &method, one_time, 1);
        accepted(&gateway, id, &post(&gateway, "/orders", &presenting(id, &assertion, &method, ORDER)));
        let answer = post(&gateway, "/orders", &presenting(id, &assertion, &method, OTHER));
        match again {
            true => accepted(&gateway, id, &answer),
            false => refused(&gateway, id, &answer, &Value::from("replayed")),
        }
    }
}

/// What was issued before a store forgot may have been used; its end is its issuer's to choose, so waiting does not help.
#[test]
fn after_a_restore_nothing_counts_that_may_have_been_used_before() {
    let mut gateway = house();
    let backup = gateway.scratch.path().join("backup");
    let backup = backup.to_str().unwrap();
    assert!(gateway.command(&["backup", backup]).status.success());
    let cases = [
        ("_bearer", Bearer, false, true),
        ("_vouched", SenderVouches, false, true),
        ("_once", HolderOfKey, true, true),
        ("_holder", HolderOfKey, false, false),
    ];
    let old: Vec<String> = cases.iter().map(|(id, method, one_time, _)| issued(id, method, *one_time, 120)).collect();
    for ((id, method, ..), assertion) in cases.iter().zip(&old) {
        accepted(&gateway, id, &post(&gateway, "/orders", &presenting(id, assertion, method, ORDER)));
    }
    gateway.kill();
    let store = gateway.store();
    for companion in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{companion}", store.display()));
    }
    // Ten minutes later than that somebody may serve: a minute ago, so that the store knows what was used since.
    let down_since = (SystemClock::default().now() - SignedDuration::from_secs(660)).to_string();
    let output = offline(&gateway, &["restore", backup, "--down-since", &down_since]);
    assert!(output.status.success(), "{output:?}");
    gateway.restart();
    let stale = serde_json::json!({ "security": "stale" });
    for ((id, method, one_time, remembered), assertion) in cases.iter().zip(&old) {
        let answer = post(&gateway, "/orders", &presenting(id, assertion, method, ORDER));
        match remembered {
            true => refused(&gateway, id, &answer, &stale),
            false => accepted(&gateway, id, &answer),
        }
        let id = format!("{id}-new");
        let fresh = issued(&id, method, *one_time, 1);
        accepted(&gateway, &id, &post(&gateway, "/orders", &presenting(&id, &fresh, method, ORDER)));
    }
}
