//! What breaks under a running gateway, and what those in front of it see meanwhile.

use std::collections::BTreeSet;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::lifecycle::wait_for;
use crate::load::{ENDED, Load, OPEN, PASSWORD, SESSION, STRANGER, ended_session, usual};
use crate::peers::is_there;
use crate::support::{Answer, CONFIG, Gateway, Launch, USERS, ask, get};

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

/// The standard house in which a password over Basic opens a session: a write for every such request.
fn remembering() -> String {
    CONFIG.replacen("realm = \"local\"", "realm = \"local\"\nremember = true", 1) + "\n[session]\nper_user = 100000\n"
}

#[test]
fn a_full_disk_opens_no_session_ends_none_and_loses_none() {
    // A file system of its own, which is gone with the process.
    let own = |command: &str| vec!["unshare", "-m", "sh", "-c", command, "sh"].into_iter().map(str::to_owned).collect::<Vec<_>>();
    let probe = own("mount -t tmpfs -o size=64k tmpfs /mnt");
    if !is_there(std::process::Command::new(&probe[0]).args(&probe[1..]).status().is_ok_and(|status| status.success()), "a mount namespace")
    {
        return;
    }
    let launch =
        Launch { by: own("mkdir -p {dir}/data && mount -t tmpfs -o size=6m tmpfs {dir}/data && exec \"$@\""), ..Launch::default() };
    let gateway = Gateway::launched(&launch, &remembering(), &[], None).with_users();
    let live = gateway.sign_in(ADA.0, ADA.1).1;
    let ended = ended_session(&gateway, gateway.address, ADA.0, ADA.1);
    let load = Load::start(usual(gateway.address, gateway.public, &live, &ended, ADA));
    load.until(PASSWORD, 200, 5);

    let filler = format!("/proc/{}/root{}/filler", gateway.pid(), gateway.store().parent().unwrap().display());
    let mut file = std::fs::File::create(&filler).unwrap();
    while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    load.until(PASSWORD, 503, 3);
    load.phase();
    load.until(PASSWORD, 503, 5);
    load.until(SESSION, 200, 20);
    let told = load.phase();
    told.closed().only(SESSION, &[200]).only(PASSWORD, &[503]).only(OPEN, &[200]).only(STRANGER, &[401]).only(ENDED, &[401]);

    drop(file);
    std::fs::remove_file(&filler).unwrap();
    load.until(PASSWORD, 200, 1);
    load.phase();
    load.until(PASSWORD, 200, 5);
    load.phase().closed().only(SESSION, &[200]).only(PASSWORD, &[200]);
    let sessions = load.sessions();
    load.end().closed();
    for session in &sessions {
        assert_eq!(gateway.send(&get("/api/orders").cookie("vestibule", session)).status, 200, "an acknowledged login was lost");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test of a wrong clock asks the right one")]
fn a_clock_that_jumps_five_minutes_and_back_ends_nothing_and_opens_nothing() {
    let library = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";
    if !is_there(std::path::Path::new(library).exists(), "libfaketime") {
        return;
    }
    let begin = "echo +0 >{dir}/clock && LD_PRELOAD=\"$FAKE\" exec \"$@\"";
    let environment =
        [("FAKE", library), ("FAKETIME_TIMESTAMP_FILE", "{dir}/clock"), ("FAKETIME_NO_CACHE", "1"), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    let launch = Launch {
        by: ["sh", "-c", begin, "sh"].map(str::to_owned).into(),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..Launch::default()
    };
    let gateway = Gateway::launched(&launch, &remembering(), &[], None).with_users();
    let live = gateway.sign_in(ADA.0, ADA.1).1;
    let ended = ended_session(&gateway, gateway.address, ADA.0, ADA.1);
    let load = Load::start(usual(gateway.address, gateway.public, &live, &ended, ADA));
    load.until(PASSWORD, 200, 5);
    let shown = || -> i64 {
        let date = gateway.send(&get("/public/page")).header("x-vestibule-id").map(str::to_owned);
        let written = gateway.audit().into_iter().find(|record| record["request_id"].as_str() == date.as_deref());
        written.and_then(|record| Some(record["time"].as_str()?.parse::<jiff::Timestamp>().ok()?.as_second())).unwrap_or(0)
    };
    let real = || i64::try_from(std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()).unwrap();
    for (offset, seconds) in [("+300", 300), ("+0", 0), ("-300", -300), ("+0", 0)] {
        std::fs::write(gateway.scratch.path().join("clock"), offset).unwrap();
        wait_for(|| (shown() - real() - seconds).abs() < 30);
        load.phase();
        load.until(PASSWORD, 200, 5);
        load.until(SESSION, 200, 10);
        let told = load.phase();
        told.closed().only(SESSION, &[200]).only(PASSWORD, &[200]).only(OPEN, &[200]).only(STRANGER, &[401]).only(ENDED, &[401]);
    }
    let sessions = load.sessions();
    load.end().closed();
    for session in &sessions {
        assert_eq!(gateway.send(&get("/api/orders").cookie("vestibule", session)).status, 200, "a login was lost");
    }
}
