//! What everybody depends on is gone, silent or slow while they go on asking. `docs/operations.md` promises what they see.

use std::time::Duration;

use crate::cluster::{FILES, over};
use crate::lifecycle::wait_for;
use crate::load::{ENDED, Load, OPEN, PASSWORD, SESSION, STRANGER, Tally, ended_session, usual};
use crate::peers::{Postgres, Redis, Wire};
use crate::support::{Gateway, USERS, get};
use crate::{ldap, load};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);

/// Two nodes over stores that are reached through wires, and callers of both.
struct Scene {
    nodes: [Gateway; 2],
    load: Load,
    live: String,
}

impl Scene {
    fn begin(configuration: &str) -> Self {
        let one = Gateway::with_files(configuration, &FILES).with_users();
        let other = one.beside(configuration, &FILES);
        let live = one.sign_in(ADA.0, ADA.1).1;
        let ended = ended_session(&one, one.address, ADA.0, ADA.1);
        let callers = [&one, &other].map(|node| usual(node.address, node.public, &live, &ended, ADA)).concat();
        let load = Load::start(callers);
        for who in [SESSION, PASSWORD] {
            load.until(who, 200, 5);
        }
        Self { nodes: [one, other], load, live }
    }

    /// Everybody is answered 503 while it lasts, but who needs nobody's word.
    fn is_out(&self) {
        // What was read just before may be used for the revocation lag.
        for node in &self.nodes {
            wait_for(|| node.send(&get("/api/orders").cookie("vestibule", &self.live)).status == 503);
        }
        self.load.phase();
        for who in [SESSION, PASSWORD, STRANGER, ENDED] {
            self.load.until(who, 503, 2);
        }
        let told = self.load.phase();
        told.closed().only(OPEN, &[200]);
        for who in [SESSION, PASSWORD, STRANGER, ENDED] {
            told.only(who, &[503]);
        }
        let refused = self.nodes[0].send(&get("/api/orders").cookie("vestibule", &self.live));
        assert!(refused.header("retry-after").is_some() && refused.header("set-cookie").is_none(), "{refused:?}");
    }

    /// It is over by itself, and nothing that was acknowledged is lost.
    fn ends_well(self) {
        for node in &self.nodes {
            wait_for(|| node.send(&get("/api/orders").cookie("vestibule", &self.live)).status == 200);
            wait_for(|| node.send(&get("/api/orders").basic(ADA.0, ADA.1)).status == 200);
        }
        self.load.phase();
        for (who, status) in [(SESSION, 200), (PASSWORD, 200), (ENDED, 401), (STRANGER, 401)] {
            self.load.until(who, status, 4);
        }
        as_ever(&self.load.phase());
        self.load.until(PASSWORD, 200, 1);
        let sessions = self.load.sessions();
        self.load.end().closed();
        assert!(sessions.len() > 5);
        for session in &sessions {
            for node in &self.nodes {
                assert_eq!(node.send(&get("/api/orders").cookie("vestibule", session)).status, 200, "an acknowledged login was lost");
            }
        }
    }
}

fn as_ever(told: &Tally) {
    told.closed().only(SESSION, &[200]).only(PASSWORD, &[200]).only(OPEN, &[200]).only(STRANGER, &[401]).only(ENDED, &[401]);
}

#[test]
fn a_database_that_is_cut_off_lets_nobody_in_and_loses_nothing() {
    let Some(postgres) = Postgres::start() else { return };
    let wire = Wire::to(postgres.port);
    let scene = Scene::begin(&over(wire.port, None));
    wire.cut(true);
    scene.is_out();
    wire.cut(false);
    scene.ends_well();
}

#[test]
fn a_database_that_falls_silent_lets_nobody_in_and_loses_nothing() {
    let Some(postgres) = Postgres::start() else { return };
    let wire = Wire::to(postgres.port);
    let scene = Scene::begin(&over(wire.port, None));
    wire.silence(true);
    scene.is_out();
    wire.silence(false);
    scene.ends_well();
}

#[test]
fn a_redis_that_is_cut_off_lets_nobody_in_and_loses_nothing() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start(&[])) else { return };
    let wire = Wire::to(redis.port);
    let scene = Scene::begin(&over(postgres.port, Some(wire.port)));
    wire.cut(true);
    scene.is_out();
    wire.cut(false);
    scene.ends_well();
}

#[test]
fn a_redis_that_falls_silent_lets_nobody_in_and_loses_nothing() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start(&[])) else { return };
    let wire = Wire::to(redis.port);
    let scene = Scene::begin(&over(postgres.port, Some(wire.port)));
    wire.silence(true);
    scene.is_out();
    wire.silence(false);
    scene.ends_well();
}

#[test]
fn a_slow_database_is_waited_for_and_a_too_slow_one_is_an_outage() {
    let Some(postgres) = Postgres::start() else { return };
    let wire = Wire::to(postgres.port);
    slows_down(Scene::begin(&over(wire.port, None)), &wire);
}

#[test]
fn a_slow_redis_is_waited_for_and_a_too_slow_one_is_an_outage() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start(&[])) else { return };
    let wire = Wire::to(redis.port);
    slows_down(Scene::begin(&over(postgres.port, Some(wire.port))), &wire);
}

fn slows_down(scene: Scene, wire: &Wire) {
    wire.delay(Duration::from_millis(50));
    scene.load.phase();
    for (who, status) in [(SESSION, 200), (PASSWORD, 200), (ENDED, 401), (STRANGER, 401)] {
        scene.load.until(who, status, 4);
    }
    as_ever(&scene.load.phase());
    // A log-out is heard of all the same.
    let session = scene.nodes[0].sign_in(ADA.0, ADA.1).1;
    assert_eq!(scene.nodes[1].send(&get("/api/orders").cookie("vestibule", &session)).status, 200);
    let ended = load::ended_session(&scene.nodes[0], scene.nodes[0].address, ADA.0, ADA.1);
    wait_for(|| scene.nodes[1].send(&get("/api/orders").cookie("vestibule", &ended)).status == 401);
    // Beyond the timeout of three seconds.
    wire.delay(Duration::from_secs(2));
    scene.is_out();
    wire.delay(Duration::ZERO);
    scene.ends_well();
}

#[test]
fn a_directory_that_hangs_keeps_out_only_those_who_need_it_and_locks_nobody_out() {
    let Some(slapd) = ldap::Slapd::start() else { return };
    let gateway = ldap::gateway(&format!("{}\ntimeout = \"1s\"", slapd.plain()));
    let live = gateway.sign_in(ldap::ADA.0, ldap::ADA.1).1;
    let ended = ended_session(&gateway, gateway.address, ldap::ADA.0, ldap::ADA.1);
    let load = Load::start(usual(gateway.address, gateway.public, &live, &ended, ldap::ADA));
    load.until(PASSWORD, 200, 5);
    slapd.freeze(true);
    load.until(PASSWORD, 503, 1);
    load.phase();
    // More often than an account may fail.
    load.until(PASSWORD, 503, 7);
    load.until(SESSION, 200, 20);
    let told = load.phase();
    told.closed().only(PASSWORD, &[503]).only(SESSION, &[200]).only(OPEN, &[200]).only(STRANGER, &[401]).only(ENDED, &[401]);
    slapd.freeze(false);
    load.until(PASSWORD, 200, 1);
    load.phase();
    load.until(PASSWORD, 200, 3);
    as_ever(&load.phase());
    load.end().closed();
    assert!(!gateway.audit().iter().any(|record| record["event"] == "gate.closed"), "an outage is nobody's guess");
}
