//! Listening sockets outlive the process: an upgrade, and a service manager that holds them.

use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crate::lifecycle::wait_for;
use crate::support::{Gateway, PATIENCE, USERS, get, read_answer};

#[test]
fn an_upgrade_under_load_refuses_and_fails_nothing() {
    let gateway = Gateway::start().with_users();
    let (name, session) = gateway.sign_in(USERS[0].0, USERS[0].1);
    let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (address, host) = (gateway.address, format!("app.north.localhost:{}", gateway.address.port()));
    let workers: Vec<_> = (0..8)
        .map(|_| {
            let (stop, done, host) = (stop.clone(), done.clone(), host.clone());
            std::thread::spawn(move || {
                let mut wrong = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    // A connection for each request: nothing here may be tried again.
                    let Ok(mut stream) = TcpStream::connect(address) else {
                        wrong.push("refused".to_owned());
                        continue;
                    };
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    write!(stream, "GET /public/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
                    let mut reader = BufReader::new(stream);
                    use std::io::BufRead as _;
                    match reader.fill_buf().map(<[u8]>::is_empty) {
                        Ok(false) => match read_answer(&mut reader).status {
                            200 => drop(done.fetch_add(1, Ordering::Relaxed)),
                            status => wrong.push(status.to_string()),
                        },
                        Ok(true) => wrong.push("hung up".to_owned()),
                        Err(error) => wrong.push(error.to_string()),
                    }
                }
                wrong
            })
        })
        .collect();
    for upgrade in 1..=2 {
        let before = done.load(Ordering::Relaxed);
        wait_for(|| done.load(Ordering::Relaxed) > before + 20);
        gateway.signal("USR2");
        wait_for(|| gateway.log().matches("a successor takes over").count() == upgrade);
        let before = done.load(Ordering::Relaxed);
        wait_for(|| done.load(Ordering::Relaxed) > before + 20);
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        assert_eq!(worker.join().unwrap(), Vec::<String>::new());
    }
    assert_eq!(gateway.send(&get("/api/orders").cookie(&name, &session)).status, 200, "sessions go on");
}

#[test]
fn a_successor_that_refuses_the_configuration_does_not_take_over() {
    let gateway = Gateway::start();
    let path = gateway.scratch.path().join("vestibule.toml");
    let good = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, good.replace("access = \"open\"", "acess = \"open\"")).unwrap();
    gateway.signal("USR2");
    wait_for(|| gateway.log().contains("no successor takes over"));
    assert_eq!(gateway.send(&get("/public/x")).status, 200);
    assert!(!gateway.log().contains("a successor takes over"));
}

#[test]
fn sockets_of_a_service_manager_are_used() {
    let Some(python) = ["python3", "/usr/bin/python3"].into_iter().find(|python| Command::new(python).arg("-V").output().is_ok()) else {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "python3 is missing");
        println!("SKIPPED: python3 is not installed");
        return;
    };
    let mut gateway = Gateway::start();
    gateway.kill();
    // What systemd does: it listens, and starts the program at the first connection.
    let manager = "import os, select, socket, sys\n\
        s = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\ns.bind(('127.0.0.1', int(sys.argv[1])))\ns.listen(16)\n\
        select.select([s], [], [])\nif s.fileno() != 3: os.dup2(s.fileno(), 3)\nos.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\nos.execv(sys.argv[2], [sys.argv[2], 'serve', '--config', sys.argv[3]])\n";
    let (port, config) = (gateway.address.port().to_string(), gateway.scratch.path().join("vestibule.toml"));
    let mut child = Command::new(python);
    child.args(["-c", manager, &port, env!("CARGO_BIN_EXE_vestibule"), config.to_str().unwrap()]);
    gateway.adopt(child.spawn().unwrap());
    wait_for(|| TcpStream::connect(gateway.address).is_ok());
    assert_eq!(gateway.send(&get("/public/x")).status, 200);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(gateway.send(&get("/public/x")).status, 200);
}
