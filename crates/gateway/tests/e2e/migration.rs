//! Users who come from other systems and leave again; backup, restoration and upgrade; key stores. With the real programs that
//! make key stores, and kill -9 in the middle.

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use crate::lifecycle::wait_for;
use crate::peers::{PASSWORD, Postgres, is_there};
use crate::support::{Gateway, USERS, get};

const FILES: [(&str, &str); 2] = [("store", PASSWORD), ("sealing", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")];

/// The file of the examples' migration.
fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/migration").join(name)
}

fn on_postgres(postgres: &Postgres) -> Gateway {
    let configuration =
        include_str!("cluster.toml").replace("{{postgres}}", &postgres.port.to_string()).replace("{{expiring}}", "postgres");
    Gateway::with_files(&configuration, &FILES)
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn json(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(output)))
}

fn import(gateway: &Gateway, file: &Path, more: &[&str]) -> Output {
    let mut arguments = vec!["user", "import", file.to_str().unwrap(), "--tenant", "north"];
    arguments.extend(more);
    gateway.command(&arguments)
}

fn enters(gateway: &Gateway, name: &str, password: &str) -> bool {
    gateway.send(&get("/api/orders").basic(name, password)).status == 200
}

/// A program that runs without a server, on this gateway's configuration.
pub fn offline(gateway: &Gateway, arguments: &[&str]) -> Output {
    let config = gateway.scratch.path().join("vestibule.toml");
    Command::new(env!("CARGO_BIN_EXE_vestibule")).args(arguments).arg("--config").arg(config).output().unwrap()
}

#[test]
fn each_example_is_imported_and_its_users_sign_in() {
    let gateway = Gateway::start();
    each_example(&gateway);
    let postgres = Postgres::start();
    if let Some(postgres) = &postgres {
        each_example(&on_postgres(postgres));
    }
}

fn each_example(gateway: &Gateway) {
    for (file, more, added) in [
        ("users.ldif", vec!["--external-id", "https://idp.north.example=entryUUID"], 4),
        ("users.csv", vec![], 3),
        ("users.jsonl", vec![], 3),
    ] {
        let mut arguments = more.clone();
        arguments.extend(["--json", "--dry-run"]);
        let foretold = json(&import(gateway, &example(file), &arguments));
        assert_eq!((&foretold["added"], &foretold["refused"]), (&added.into(), &0.into()), "{file}: {foretold}");
        arguments.pop();
        let done = json(&import(gateway, &example(file), &arguments));
        assert_eq!((&done["added"], &done["refused"]), (&added.into(), &0.into()), "{file}: {done}");
        let again = json(&import(gateway, &example(file), &arguments));
        assert_eq!((&again["added"], &again["present"], &again["refused"]), (&0.into(), &added.into(), &0.into()), "{file}: {again}");
    }
    // `examples/migration/README.md` says so: one of each format, with hashes of several kinds.
    for name in ["ldif.ada", "ldif.bob", "ldif.cleo", "csv.ada", "csv.bob", "jsonl.ada", "jsonl.bob"] {
        assert!(enters(gateway, name, "Tr0ub4dor&3"), "{name}: {}", gateway.log());
        assert!(!enters(gateway, name, "Tr0ub4dor&4"), "{name}");
    }
    // Who was shut out there is shut out here.
    for name in ["ldif.dora", "csv.cleo", "jsonl.cleo"] {
        assert!(!enters(gateway, name, "Tr0ub4dor&3"), "{name}");
    }
    let ada = json(&gateway.command(&["user", "show", "ldif.ada", "--tenant", "north", "--json"]));
    assert_eq!(ada["user"]["groups"], serde_json::json!(["staff"]));
    assert_eq!(ada["user"]["external_ids"][0]["issuer"], "https://idp.north.example");
}

#[test]
fn what_is_refused_is_said_line_by_line_and_no_secret_with_it() {
    let gateway = Gateway::start();
    let text = "name,email,password_hash\nada,ada@north.example,{SSHA}12mJ6etYCpM1oXTRaCHR4ffDmnBzYWx0c2FsdA==\n\
        bob,,hunter2\nhunter2,x\nADA,,\ncleo,,\n";
    let file = gateway.scratch.write("users.csv", text);
    let report = gateway.scratch.path().join("report");
    let output = import(&gateway, &file, &["--report", report.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    let report = std::fs::read_to_string(report).unwrap();
    let lines: Vec<i64> =
        report.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_i64().unwrap()).collect();
    assert_eq!(lines.iter().copied().collect::<std::collections::BTreeSet<_>>(), [3, 4, 5].into());
    let said = said(&output);
    for text in [&said, &report, &gateway.log(), &std::fs::read_to_string(gateway.scratch.path().join("audit.jsonl")).unwrap()] {
        assert!(!text.contains("hunter2") && !text.contains("12mJ6etY"), "{text}");
    }
    assert!(said.contains("2 added, 0 there already, 3 refused."), "{said}");
    assert!(enters(&gateway, "ada", "Tr0ub4dor&3") || gateway.send(&get("/api").basic("ada", "Tr0ub4dor&3")).status == 403);
}

/// Who is killed in the middle begins again, and nobody is there twice.
#[test]
fn an_import_that_is_killed_goes_on_where_it_was() {
    let mut gateway = Gateway::start();
    interrupted(&mut gateway);
    let postgres = Postgres::start();
    if let Some(postgres) = &postgres {
        interrupted(&mut on_postgres(postgres));
    }
}

fn interrupted(gateway: &mut Gateway) {
    const COUNT: usize = 12_000;
    let line = |n: usize| {
        format!(
            "{{\"name\":\"user{n}\",\"groups\":[\"staff\"],\"external_ids\":[{{\"issuer\":\"urn:old\",\"id\":\"{n}\"}}],\
            \"password_hash\":\"{{SSHA}}12mJ6etYCpM1oXTRaCHR4ffDmnBzYWx0c2FsdA==\"}}\n"
        )
    };
    let file = gateway.scratch.write("many.jsonl", &(0..COUNT).map(line).collect::<String>());
    let count =
        |gateway: &Gateway| json(&gateway.command(&["user", "list", "--tenant", "north", "--json"]))["users"].as_array().unwrap().len();
    // First the command dies, then the server under another one.
    for server in [false, true] {
        let mut import = Command::new(env!("CARGO_BIN_EXE_vestibule"))
            .args(["user", "import", file.to_str().unwrap(), "--tenant", "north", "--socket"])
            .arg(gateway.scratch.path().join("admin.sock"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let before = if server { count(gateway) } else { 0 };
        let one = format!("user{}", before + 1500);
        wait_for(|| gateway.command(&["user", "show", &one, "--tenant", "north"]).status.success() || import.try_wait().unwrap().is_some());
        if server {
            gateway.kill();
            import.wait().unwrap();
            gateway.restart();
        } else {
            import.kill().unwrap();
            import.wait().unwrap();
        }
    }
    let there = count(gateway);
    assert!(there > 1500 && there <= COUNT, "{there}");
    let done = json(&import(gateway, &file, &["--json"]));
    assert_eq!((&done["added"], &done["present"], &done["refused"]), (&(COUNT - there).into(), &there.into(), &0.into()), "{done}");
    assert_eq!(count(gateway), COUNT);
    assert!(enters(gateway, "user11999", "Tr0ub4dor&3"));
}

#[test]
fn what_leaves_comes_back_and_hashes_leave_only_when_they_are_asked_for() {
    let gateway = Gateway::start().with_users();
    assert_eq!(json(&import(&gateway, &example("users.jsonl"), &["--json"]))["added"], 3);
    let plain = gateway.command(&["user", "export", "--tenant", "north"]);
    let text = String::from_utf8(plain.stdout).unwrap();
    assert!(plain.status.success() && text.lines().count() == 6 && !text.contains('$') && !text.contains("{SSHA}"), "{text}");
    let bare = gateway.command(&["user", "export", "--tenant", "north", "--with-password-hashes"]);
    assert_eq!(bare.status.code(), Some(2), "not to standard output");
    let other = Gateway::start();
    for name in ["all.jsonl", "all.csv", "all.ldif"] {
        let file = gateway.scratch.path().join(name);
        let path = file.to_str().unwrap();
        let output = gateway.command(&["user", "export", "--tenant", "north", "--with-password-hashes", "--output", path]);
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let twice = gateway.command(&["user", "export", "--tenant", "north", "--output", path]);
        assert_eq!(twice.status.code(), Some(2), "nothing is overwritten");
        let into = ["user", "import", path, "--tenant", if name == "all.csv" { "south" } else { "north" }, "--json"];
        let done = json(&other.command(&into));
        // LDIF has a name to show for everybody, so that those from JSON Lines would differ.
        let expected = if name == "all.ldif" { 0 } else { 6 };
        assert_eq!(done["added"], expected, "{name}: {done}");
    }
    assert!(enters(&other, USERS[0].0, USERS[0].1), "a hash of ours goes on");
    assert!(enters(&other, "jsonl.ada", "Tr0ub4dor&3"), "and one that waits sealed, as it came");
    let exports = gateway.audit().iter().filter(|record| record["action"] == "user.export").count();
    assert_eq!(exports, 3, "each is recorded");
}

#[test]
fn a_backup_restores_users_and_keys_and_revives_no_session() {
    let mut gateway = Gateway::start().with_users();
    let session = gateway.sign_in(USERS[0].0, USERS[0].1);
    let visit = |gateway: &Gateway| gateway.send(&get("/api/orders").cookie(&session.0, &session.1)).status;
    assert_eq!(visit(&gateway), 200);
    let published = gateway.send_to("login.north.localhost", &get("/.well-known/jwks.json")).body;
    let file = gateway.scratch.path().join("backup");
    let path = file.to_str().unwrap();
    let output = gateway.command(&["backup", path]);
    assert!(output.status.success(), "{}", said(&output));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(gateway.command(&["backup", path]).status.code(), Some(2), "nothing is overwritten");
    let left: Vec<_> = std::fs::read_dir(gateway.scratch.path().join("data")).unwrap().flatten().map(|entry| entry.file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().contains("copy")), "{left:?}");

    // What happens after it: one user goes, another comes.
    assert!(gateway.command(&["user", "delete", "bob", "--tenant", "north"]).status.success());
    assert!(gateway.command(&["user", "add", "new", "--tenant", "north", "--no-password"]).status.success());
    let refused = offline(&gateway, &["restore", path]);
    assert!(said(&refused).contains("in use"), "{}", said(&refused));
    gateway.kill();
    let damaged = gateway.scratch.path().join("damaged");
    let mut octets = std::fs::read(&file).unwrap();
    octets.truncate(octets.len() / 2);
    std::fs::write(&damaged, octets).unwrap();
    assert_eq!(offline(&gateway, &["restore", damaged.to_str().unwrap()]).status.code(), Some(1));
    let output = offline(&gateway, &["restore", path]);
    assert!(output.status.success() && !said(&output).contains("no gateway serves"), "{}", said(&output));
    gateway.restart();
    assert_eq!(visit(&gateway), 401, "the session is over");
    assert!(enters(&gateway, USERS[1].0, USERS[1].1), "bob is back");
    assert!(!gateway.command(&["user", "show", "new", "--tenant", "north"]).status.success());
    assert_eq!(gateway.send_to("login.north.localhost", &get("/.well-known/jwks.json")).body, published);
    // Of two restorations of one backup the second ends what began after the first.
    let second = gateway.sign_in(USERS[0].0, USERS[0].1);
    gateway.kill();
    let output = offline(&gateway, &["restore", path]);
    assert!(output.status.success(), "{}", said(&output));
    gateway.restart();
    assert_eq!(gateway.send(&get("/api/orders").cookie(&second.0, &second.1)).status, 401);

    // Where the store is lost, nobody knows which tokens were used: none serves until none can be alive.
    gateway.kill();
    let store = gateway.store();
    std::fs::remove_file(&store).unwrap();
    for companion in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{companion}", store.display()));
    }
    let output = offline(&gateway, &["restore", path]);
    assert!(output.status.success() && said(&output).contains("no gateway serves before"), "{}", said(&output));
    let serve = offline(&gateway, &["serve"]);
    assert!(!serve.status.success() && said(&serve).contains("no gateway serves before"), "{}", said(&serve));
    assert!(offline(&gateway, &["restore", path, "--down-since", "2026-01-01T00:00:00Z"]).status.success());
    std::fs::remove_file(&store).unwrap();
    assert!(offline(&gateway, &["restore", path, "--down-since", "2026-01-01T00:00:00Z"]).status.success());
    gateway.restart();
    assert!(enters(&gateway, USERS[1].0, USERS[1].1));

    // Without the key that sealed it a backup is of no use, and says so before anything is replaced.
    gateway.kill();
    std::fs::write(gateway.scratch.path().join("data/sealing.key"), [9; 32]).unwrap();
    let refused = offline(&gateway, &["restore", path]);
    assert!(said(&refused).contains("another key-encryption key"), "{}", said(&refused));
    std::fs::remove_file(gateway.scratch.path().join("data/sealing.key")).unwrap();
    assert!(said(&offline(&gateway, &["restore", path])).contains("is missing"));
}

/// One of PostgreSQL's tools on its database; what it wrote.
fn tool(postgres: &Postgres, name: &str, arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let address = format!("--dbname=host=127.0.0.1 port={} user=vestibule dbname=postgres", postgres.port);
    let mut command = postgres.command(name);
    command.args(arguments).arg(address).env("PGPASSWORD", PASSWORD);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    output.stdout
}

#[test]
fn a_database_that_was_restored_with_its_own_tools_revives_nothing() {
    let Some(postgres) = Postgres::start() else { return };
    let mut gateway = on_postgres(&postgres).with_users();
    let session = gateway.sign_in(USERS[0].0, USERS[0].1);
    let refused = gateway.command(&["backup", gateway.scratch.path().join("b").to_str().unwrap()]);
    assert!(said(&refused).contains("pg_dump"), "{}", said(&refused));
    let dump = tool(&postgres, "pg_dump", &["--format=custom", "--schema=vestibule"], b"");
    let output = gateway.command(&["user", "disable", USERS[1].0, "--tenant", "north"]);
    assert!(output.status.success(), "{}", said(&output));
    gateway.kill();
    // As the runbook says it. Nobody was disabled then.
    tool(&postgres, "pg_restore", &["--clean", "--if-exists"], &dump);
    wait_for(|| offline(&gateway, &["restore", "--down-since", "2026-01-01T00:00:00Z"]).status.success());
    gateway.restart();
    assert_eq!(gateway.send(&get("/api/orders").cookie(&session.0, &session.1)).status, 401);
    assert!(enters(&gateway, USERS[1].0, USERS[1].1));
    gateway.kill();
    wait_for(|| offline(&gateway, &["restore"]).status.success());
    assert!(said(&offline(&gateway, &["serve"])).contains("no gateway serves before"));
}

/// `tests/data/upgrade/README.md` says what made the stored file.
#[test]
fn a_store_of_an_older_program_is_brought_forward_and_an_older_backup_restored() {
    let mut gateway = Gateway::start();
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/upgrade/embedded-1.db");
    let key = *b"0123456789abcdef0123456789abcdef";
    gateway.kill();
    for restored in [false, true] {
        std::fs::remove_dir_all(gateway.scratch.path().join("data")).unwrap();
        std::fs::create_dir(gateway.scratch.path().join("data")).unwrap();
        std::fs::write(gateway.scratch.path().join("data/sealing.key"), key).unwrap();
        if restored {
            let output = offline(&gateway, &["restore", old.to_str().unwrap(), "--down-since", "2026-01-01T00:00:00Z"]);
            assert!(output.status.success(), "{}", said(&output));
        } else {
            std::fs::copy(&old, gateway.store()).unwrap();
        }
        gateway.restart();
        assert!(enters(&gateway, "ada", "correct horse battery"), "{}", gateway.log());
        assert!(enters(&gateway, "bob", "Tr0ub4dor&3"), "a hash that it had wrapped");
        let ada = json(&gateway.command(&["user", "show", "ada", "--tenant", "north", "--json"]));
        assert_eq!(ada["user"]["display_name"], "Ada Lovelace");
        assert_eq!(ada["user"]["external_ids"].as_array().unwrap().len(), 1);
        let keys = json(&gateway.command(&["key", "list", "--json"])).to_string();
        assert!(keys.contains("N1iqs6tnCdbhFJTYE36hQp3ZwpEtG6gyiZKYRC1OIIc"), "what it signed is known: {keys}");
        gateway.kill();
    }
    // A newer one is refused, as it is.
    let there = Command::new("sqlite3").arg("--version").output().is_ok_and(|output| output.status.success());
    if !is_there(there, "sqlite3") {
        return;
    }
    assert!(Command::new("sqlite3").arg(gateway.store()).arg("PRAGMA user_version = 99").status().is_ok_and(|status| status.success()));
    assert!(said(&offline(&gateway, &["serve"])).contains("has schema 99"));
    let newer = gateway.scratch.path().join("newer");
    std::fs::copy(gateway.store(), &newer).unwrap();
    assert!(said(&offline(&gateway, &["restore", newer.to_str().unwrap()])).contains("has schema 99"));
}
