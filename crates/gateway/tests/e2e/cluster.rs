//! Two nodes that are one because they share their stores: on PostgreSQL, and on PostgreSQL with Redis.

use std::time::Duration;

use crate::lifecycle::wait_for;
use crate::peers::{PASSWORD, Postgres, Redis};
use crate::support::{Answer, Gateway, USERS, get, hidden_fields};

const ADA: (&str, &str) = (USERS[0].0, USERS[0].1);
const BOB: (&str, &str) = (USERS[1].0, USERS[1].1);
const APP: &str = "app.north.localhost";
const PORTAL: &str = "login.north.localhost";
pub const FILES: [(&str, &str); 2] = [("store", PASSWORD), ("sealing", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")];

fn configuration(postgres: &Postgres, redis: Option<&Redis>) -> String {
    over(postgres.port, redis.map(|redis| redis.port))
}

/// The configuration of every node over a PostgreSQL, and a Redis, at these ports.
pub fn over(postgres: u16, redis: Option<u16>) -> String {
    let template = include_str!("cluster.toml").replace("{{postgres}}", &postgres.to_string());
    match redis {
        None => template.replace("{{expiring}}", "postgres"),
        Some(redis) => {
            let section = format!("\n[store.redis]\nurl = \"redis://127.0.0.1:{redis}\"\npassword = {{ file = \"store\" }}\n");
            template.replace("{{expiring}}", "redis") + &section
        }
    }
}

fn nodes(postgres: &Postgres, redis: Option<&Redis>) -> (Gateway, Gateway) {
    let configuration = configuration(postgres, redis);
    let one = Gateway::with_files(&configuration, &FILES).with_users();
    let other = one.beside(&configuration, &FILES);
    (one, other)
}

fn keys(node: &Gateway) -> String {
    node.send_to(PORTAL, &get("/.well-known/jwks.json")).body
}

fn visit(node: &Gateway, session: &(String, String)) -> Answer {
    node.send(&get("/api/orders").cookie(&session.0, &session.1))
}

#[test]
fn two_nodes_on_postgres_are_one() {
    let Some(postgres) = Postgres::start() else { return };
    let (one, other) = nodes(&postgres, None);
    are_one(one, &other);
}

#[test]
fn two_nodes_on_postgres_and_redis_are_one() {
    let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start(&[])) else { return };
    let (one, other) = nodes(&postgres, Some(&redis));
    are_one(one, &other);
}

fn are_one(mut one: Gateway, other: &Gateway) {
    assert_eq!(keys(&one), keys(other), "what one signs the other's verifiers know");

    // A login on one is valid on the other, a log-out on one ends it on both.
    let mut browser = one.browser();
    assert_eq!(browser.sign_in(ADA.0, ADA.1, APP).status, 200);
    let session = ("vestibule".to_owned(), browser.cookie(APP, "vestibule").unwrap());
    assert_eq!(visit(other, &session).status, 200);
    assert_eq!(other.application.last().header("x-vestibule-user"), Some("ada"));
    let page = browser.load(&format!("http://{PORTAL}/logout"));
    let fields = hidden_fields(&page.body);
    let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert!(matches!(browser.post(PORTAL, "/logout", &fields).status, 200 | 303));
    assert_eq!(visit(&one, &session).status, 401);
    wait_for(|| visit(other, &session).status == 401);

    // A user disabled on one is out on the other.
    let session = other.sign_in(ADA.0, ADA.1);
    assert_eq!(visit(&one, &session).status, 200);
    assert!(one.command(&["user", "disable", ADA.0, "--tenant", "north"]).status.success());
    wait_for(|| visit(other, &session).status == 401);
    wait_for(|| other.send(&get("/api/orders").basic(ADA.0, ADA.1)).status == 401);

    // Guesses are counted together: five failures close the account's gate on both.
    for guess in 0..5 {
        let node = if guess % 2 == 0 { &one } else { other };
        assert_eq!(node.send(&get("/api/orders").basic(BOB.0, &format!("guess {guess}"))).status, 401);
    }
    for node in [&one, other] {
        let answer = node.send(&get("/api/orders").basic(BOB.0, BOB.1));
        assert_eq!(answer.status, 401);
        let step = node.audit_of(&answer)[0]["steps"].as_array().unwrap().iter().find(|step| step["scheme"] == "basic").cloned().unwrap();
        assert_eq!(step["reason"], "account_gate_closed");
    }

    // A node that dies takes nothing with it.
    one.command(&["user", "enable", ADA.0, "--tenant", "north"]);
    wait_for(|| other.send(&get("/api/orders").basic(ADA.0, ADA.1)).status == 200);
    let session = one.sign_in(ADA.0, ADA.1);
    one.kill();
    assert_eq!(visit(other, &session).status, 200);
    one.restart();
    assert_eq!(visit(&one, &session).status, 200);
}

#[test]
fn while_postgres_is_down_nobody_is_let_in_and_nobody_logged_out() {
    let Some(mut postgres) = Postgres::start() else { return };
    let gateway = Gateway::with_files(&configuration(&postgres, None), &FILES).with_users();
    let session = gateway.sign_in(ADA.0, ADA.1);
    postgres.stop();
    // What was read just before may be used for the revocation lag.
    wait_for(|| {
        let status = visit(&gateway, &session).status;
        assert!(matches!(status, 200 | 503), "{status}");
        status == 503
    });
    for _ in 0..3 {
        let answer = visit(&gateway, &session);
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.header("retry-after").is_some() && answer.header("www-authenticate").is_none());
        assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 503);
    }
    assert_eq!(gateway.send(&get("/public/page")).status, 200, "an open route stays open");
    postgres.resume();
    wait_for(|| visit(&gateway, &session).status == 200);
    assert_eq!(gateway.send(&get("/api/orders").basic(ADA.0, ADA.1)).status, 200);
}

#[test]
fn a_redis_that_lost_its_memory_logs_people_out_and_lets_them_in_again() {
    let (Some(postgres), Some(mut redis)) = (Postgres::start(), Redis::start(&[])) else { return };
    let (one, other) = nodes(&postgres, Some(&redis));
    let session = one.sign_in(ADA.0, ADA.1);
    redis.stop();
    wait_for(|| visit(&one, &session).status == 503);
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(visit(&one, &session).status, 503, "an outage is no log-out");
    redis.resume();
    wait_for(|| visit(&one, &session).status == 401);
    wait_for(|| visit(&other, &session).status == 401);
    let session = one.sign_in(ADA.0, ADA.1);
    assert_eq!(visit(&other, &session).status, 200);
}
