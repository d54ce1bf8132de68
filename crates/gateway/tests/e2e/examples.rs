//! Every configuration in `examples` is served as it stands, but for its places: addresses, files and stores of this test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use toml::{Table, Value};

use crate::lifecycle::wait_for;
use crate::peers::{PASSWORD, Postgres, Redis};
use crate::support::{Scratch, exchange, free_port, get};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The section of this name, made if there is none.
fn section<'a>(of: &'a mut Table, name: &str) -> &'a mut Table {
    of.entry(name).or_insert_with(|| Value::Table(Table::new())).as_table_mut().unwrap()
}

struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_example_is_served() {
    let cargo: Table = toml::from_str(&std::fs::read_to_string(root().join(".cargo/config.toml")).unwrap()).unwrap();
    let secrets = cargo["env"].as_table().unwrap();
    let folders = std::fs::read_dir(root().join("examples")).unwrap().map(|entry| entry.unwrap().path());
    let examples: Vec<PathBuf> = folders.filter(|path| path.join("vestibule.toml").exists()).collect();
    assert!(examples.len() >= 12, "{examples:?}");
    for example in examples {
        let name = example.file_name().unwrap().to_str().unwrap();
        let mut config: Table = toml::from_str(&std::fs::read_to_string(example.join("vestibule.toml")).unwrap()).unwrap();
        let scratch = Scratch::new();
        let dir = scratch.path().display();
        assert!(Command::new("cp").arg("-r").arg(example.join(".")).arg(scratch.path()).status().unwrap().success());

        let (mut plain, mut moved) = (None, Vec::new());
        for listen in config["listen"].as_array_mut().unwrap() {
            let listen = listen.as_table_mut().unwrap();
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            moved.push((listen.insert("address".to_owned(), address.to_string().into()).unwrap(), address));
            if !listen.contains_key("certificates") && !listen.contains_key("speaks") {
                plain.get_or_insert(address);
            }
        }
        // What is conceded to an address goes where that went.
        for concession in config.get_mut("concession").and_then(Value::as_array_mut).into_iter().flatten() {
            if let Some((_, to)) = moved.iter().find(|(from, _)| concession.get("partner") == Some(from)) {
                concession["partner"] = to.to_string().into();
            }
        }
        let health = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let server = section(&mut config, "server");
        server.insert("health".to_owned(), health.to_string().into());
        server.insert("control_socket".to_owned(), format!("{dir}/admin.sock").into());
        let store = section(&mut config, "store");
        store.insert("path".to_owned(), format!("{dir}/data").into());
        let peers = match store.contains_key("postgres") {
            false => None,
            true => {
                let (Some(postgres), Some(redis)) = (Postgres::start(), Redis::start(&[])) else { continue };
                let to = |url: String| Value::Table(Table::from_iter([("url".to_owned(), url.into()), password()]));
                store.insert("postgres".to_owned(), to(format!("postgresql://vestibule@127.0.0.1:{}/postgres", postgres.port)));
                store.insert("redis".to_owned(), to(format!("redis://127.0.0.1:{}", redis.port)));
                Some((postgres, redis))
            }
        };
        if let Some(audit) = config.get_mut("audit").and_then(Value::as_table_mut).filter(|audit| audit.contains_key("path")) {
            audit.insert("path".to_owned(), format!("{dir}/audit.jsonl").into());
        }
        let path = scratch.write("vestibule.toml", &toml::to_string(&config).unwrap());

        let log = std::fs::File::create(scratch.path().join("log")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vestibule"));
        command.arg("serve").arg("--config").arg(&path).stdout(Stdio::null()).stderr(log);
        command.envs(secrets.iter().filter_map(|(name, value)| Some((name, value.as_str()?)))).env(STORES, PASSWORD);
        let mut served = Served(command.spawn().unwrap());
        let said = || std::fs::read_to_string(scratch.path().join("log")).unwrap_or_default();
        wait_for(|| {
            let ended = served.0.try_wait().unwrap();
            assert!(ended.is_none(), "{name}: {ended:?}\n{}", said());
            std::net::TcpStream::connect(health).is_ok() && exchange(health, &get("/readyz").octets("localhost")).status == 200
        });
        // Whoever is asked gives an answer with a number.
        if let Some(plain) = plain {
            let tenants = config["tenant"].as_table().unwrap();
            let host = tenants.values().find_map(|tenant| tenant.get("hosts")?.get(0)?.as_str()).unwrap_or("localhost");
            let answer = exchange(plain, &get("/").octets(host));
            assert!(answer.status < 500 && answer.header("x-vestibule-id").is_some(), "{name}: {answer:?}\n{}", said());
        }
        println!("{name} is served");
        drop((served, peers));
    }
}

/// Where the password of the stores is.
const STORES: &str = "VESTIBULE_TEST_STORES";

fn password() -> (String, Value) {
    ("password".to_owned(), Value::Table(Table::from_iter([("env".to_owned(), STORES.into())])))
}
