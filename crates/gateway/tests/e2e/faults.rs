//! What breaks under a running gateway, and what those in front of it see meanwhile.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::lifecycle::wait_for;
use crate::support::{Answer, CONFIG, Gateway, USERS, ask, get};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const BOB: (&str, &str) = (USERS[1].0, USERS[1].1);
const PORTAL: &str = "login.north.localhost";

fn id(answer: &Answer) -> String {
    answer.header("x-vestibule-id").unwrap().to_owned()
}

#[test]
fn a_full_audit_disk_closes_the_doors_until_there_is_room_and_loses_nothing() {
    let gateway = Gateway::start().with_users();
    let (name, session) = gateway.sign_in(ADA.0, ADA.1);
    let mut decided = vec![id(&gateway.send(&get("/api/orders").cookie(&name, &session)))];
    let (audit, kept) = (gateway.scratch.path().join("audit.jsonl"), gateway.scratch.path().join("kept.jsonl"));
    gateway.audit_of(&gateway.send(&get("/api/orders").cookie(&name, &session)));

    // From now on every write answers as on a full disk does.
    std::fs::rename(&audit, &kept).unwrap();
    symlink("/dev/full", &audit).unwrap();
    wait_for(|| {
        let answer = gateway.send(&get("/api/orders").cookie(&name, &session));
        if answer.status == 200 {
            decided.push(id(&answer));
        }
        answer.status == 503
    });
    gateway.application.forget();
    for refused in [
        get("/api/orders").cookie(&name, &session),
        get("/api/orders").basic(ADA.0, ADA.1),
        get("/api/orders").basic(ADA.0, "wrong"),
        get("/api/orders"),
        get("/public/page"),
    ] {
        let answer = gateway.send(&refused);
        assert_eq!(answer.status, 503, "{refused:?}");
        assert!(answer.header("retry-after").is_some() && answer.header("x-vestibule-id").is_some(), "{answer:?}");
    }
    let login = gateway.send_to(PORTAL, &get("/login").browser());
    assert_eq!(login.status, 503);
    assert_eq!(gateway.command(&["user", "disable", BOB.0, "--tenant", "north"]).status.code(), Some(2), "nothing is changed unrecorded");
    assert!(gateway.application.received().is_empty(), "nothing got through");

    // Room again: without a restart the doors open, and what waited is written.
    std::fs::remove_file(&audit).unwrap();
    std::fs::rename(&kept, &audit).unwrap();
    wait_for(|| gateway.send(&get("/api/orders").basic(BOB.0, BOB.1)).status == 200);
    let written =
        || -> BTreeSet<String> { gateway.audit().iter().filter_map(|record| Some(record["request_id"].as_str()?.to_owned())).collect() };
    wait_for(|| decided.iter().all(|id| written().contains(id)));
}

#[test]
fn a_store_that_cannot_be_written_opens_no_session_and_ends_none() {
    let gateway = Gateway::start().with_users();
    let (name, session) = gateway.sign_in(ADA.0, ADA.1);
    let other = rusqlite::Connection::open(gateway.store()).unwrap();
    other.busy_timeout(Duration::from_secs(5)).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let known = gateway.send(&get("/api/orders").cookie(&name, &session));
    assert_eq!(known.status, 200, "who is known stays so");
    let refused = gateway.sign_in_at_portal(BOB.0, BOB.1);
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.header("retry-after").is_some() && !refused.cookies().contains_key("vestibule"), "{refused:?}");
    assert_eq!(gateway.send(&get("/api/orders").cookie(&name, "A".repeat(43).as_str())).status, 401, "nobody is let in by it");

    other.execute_batch("ROLLBACK").unwrap();
    wait_for(|| gateway.sign_in_at_portal(BOB.0, BOB.1).cookies().contains_key("vestibule"));
    assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &session)).status, 200);
}

#[test]
fn who_may_not_wait_is_told_so_at_the_end_of_the_chain() {
    let config = format!("{CONFIG}\n[passwords]\nwaiters = 1\nfloor = \"2s\"\n");
    let gateway = Gateway::with(&config).with_users();
    let answers = |request: &(dyn Fn(usize) -> crate::support::Ask + Sync)| -> Vec<Answer> {
        std::thread::scope(|scope| {
            let sent: Vec<_> = (0..4)
                .map(|n| {
                    scope.spawn({
                        let gateway = &gateway;
                        move || gateway.send(&request(n))
                    })
                })
                .collect();
            sent.into_iter().map(|sent| sent.join().unwrap()).collect()
        })
    };
    let protected = answers(&|n| get("/api/orders").basic(ADA.0, &format!("guess {n}")));
    let turned_away: Vec<&Answer> = protected.iter().filter(|answer| answer.status == 429).collect();
    assert_eq!((protected.iter().filter(|answer| answer.status == 401).count(), turned_away.len()), (1, 3), "{protected:?}");
    assert!(turned_away[0].header("retry-after").is_some() && turned_away[0].header("www-authenticate").is_none());
    let record = &gateway.audit_of(turned_away[0])[0];
    assert_eq!((record["decision"].as_str(), record["reason"].as_str()), (Some("deny"), Some("too_many_waiting")));
    // An open route is open to whoever is nobody, for whatever reason.
    let open = answers(&|n| get("/public/page").basic(ADA.0, &format!("guess {n}")));
    assert!(open.iter().all(|answer| answer.status == 200 && answer.header("x-vestibule-auth") == Some("anonymous")), "{open:?}");
}

#[test]
fn methods_that_nobody_may_use_leave_a_record() {
    let gateway = Gateway::start();
    let answer = gateway.send(&ask("TRACE", "/api/orders"));
    assert_eq!(answer.status, 405);
    let id = id(&answer);
    wait_for(|| gateway.audit().iter().any(|record| record["request_id"] == id.as_str() && record["event"] == "request.unreadable"));
}
