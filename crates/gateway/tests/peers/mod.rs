//! Stores that tests start for themselves: a PostgreSQL and a Redis, on free loopback ports, gone with the test.

mod wire;

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{OpenOptionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub use wire::Wire;

/// The password of both.
pub const PASSWORD: &str = "what the store asks";

/// Whether a program is there; if not, says so, or fails where it must be.
pub fn is_there(found: bool, what: &str) -> bool {
    if !found {
        assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "{what} is missing");
        println!("SKIPPED: {what} is not installed");
    }
    found
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn directory(what: &str) -> PathBuf {
    use std::hash::{BuildHasher, Hasher};
    let chance = std::hash::RandomState::new().build_hasher().finish();
    let path = std::env::temp_dir().join(format!("vestibule-{what}-{}-{chance:x}", std::process::id()));
    std::fs::create_dir(&path).unwrap();
    path
}

/// Writes `ca.pem`, and a certificate for `localhost` and its key.
pub fn certificates(directory: &Path) {
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let root = ca.self_signed(&ca_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    for (name, text) in [("ca.pem", root), ("server.pem", certificate.pem()), ("server.key", key.serialize_pem())] {
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(directory.join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

pub fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..1500 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not happen in time");
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap().success());
}

/// A PostgreSQL whose database `postgres` belongs to the user `vestibule`.
pub struct Postgres {
    child: Option<Child>,
    pub port: u16,
    directory: PathBuf,
    /// It refuses to run as root.
    owner: Option<(u32, u32)>,
}

impl Postgres {
    /// A fresh one, or `None` (and a word) if it is not installed.
    pub fn start() -> Option<Self> {
        if !is_there(program("initdb").is_some(), "PostgreSQL") {
            return None;
        }
        let id = |what: &str| -> u32 {
            let output = Command::new("id").args([what, "postgres"]).output().unwrap();
            String::from_utf8(output.stdout).unwrap().trim().parse().expect("there is no user postgres")
        };
        let root = Command::new("id").arg("-u").output().unwrap().stdout == b"0\n";
        let owner = root.then(|| (id("-u"), id("-g")));
        let mut server = Self { child: None, port: free_port(), directory: directory("postgres"), owner };
        certificates(&server.directory);
        std::fs::write(server.directory.join("password"), PASSWORD).unwrap();
        server.give(&["", "ca.pem", "server.pem", "server.key", "password"]);
        let data = server.directory.join("data");
        let made = server
            .command("initdb")
            .args(["--username=vestibule", "--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--pgdata"])
            .arg(&data)
            .arg("--pwfile")
            .arg(server.directory.join("password"))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.resume();
        Some(server)
    }

    fn give(&self, names: &[&str]) {
        if let Some((user, group)) = self.owner {
            for name in names {
                chown(self.directory.join(name), Some(user), Some(group)).unwrap();
            }
        }
    }

    /// A program of its own, as the user it runs as.
    pub fn command(&self, name: &str) -> Command {
        let mut command = Command::new(program(name).unwrap());
        if let Some((user, group)) = self.owner {
            command.uid(user).gid(group);
        }
        command.current_dir("/");
        command
    }

    /// Starts it again over what it keeps.
    pub fn resume(&mut self) {
        let file = |name: &str| self.directory.join(name).display().to_string();
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log")).unwrap();
        let mut command = self.command("postgres");
        command.arg("-D").arg(self.directory.join("data")).args(["-p", &self.port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1".to_owned(),
            "unix_socket_directories=".to_owned(),
            "fsync=off".to_owned(),
            "max_connections=200".to_owned(),
            "ssl=on".to_owned(),
            format!("ssl_cert_file={}", file("server.pem")),
            format!("ssl_key_file={}", file("server.key")),
        ] {
            command.args(["-c", &setting]);
        }
        self.child = Some(command.stdout(Stdio::null()).stderr(log).spawn().unwrap());
        wait_for("PostgreSQL's start", || self.psql("SELECT 1").is_some());
    }

    /// Stops it; connections break.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "INT");
            child.wait().unwrap();
        }
    }

    /// What a statement answers, or `None` if it fails.
    pub fn psql(&self, sql: &str) -> Option<String> {
        let address = format!("host=127.0.0.1 port={} user=vestibule dbname=postgres", self.port);
        let output = self.command("psql").args(["-XAtqc", sql, &address]).env("PGPASSWORD", PASSWORD).output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
    }

    /// The authority its certificate descends from.
    pub fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "QUIT");
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- PostgreSQL's log\n{}", std::fs::read_to_string(self.directory.join("log")).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The newest installed program of PostgreSQL of this name.
fn program(name: &str) -> Option<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    found.sort();
    found.push(PathBuf::from("/usr"));
    found.into_iter().map(|path| path.join("bin").join(name)).find(|path| path.exists())
}

/// A Redis.
pub struct Redis {
    program: PathBuf,
    child: Option<Child>,
    pub port: u16,
    pub directory: PathBuf,
    arguments: Vec<String>,
}

impl Redis {
    /// A fresh one that asks the password, with these arguments more; or `None` (and a word) if it is not installed.
    pub fn start(arguments: &[&str]) -> Option<Self> {
        let mut all = vec!["--requirepass", PASSWORD];
        all.extend(arguments);
        Self::start_with(&all)
    }

    /// A fresh one with these arguments only.
    pub fn start_with(arguments: &[&str]) -> Option<Self> {
        if !is_there(Command::new("redis-server").arg("--version").output().is_ok(), "Redis") {
            return None;
        }
        Some(Self::start_program(PathBuf::from("redis-server"), arguments))
    }

    /// A fresh Valkey that asks the password.
    pub fn valkey() -> Option<Self> {
        let own = std::env::var_os("VESTIBULE_PEERS_BIN").map(PathBuf::from);
        let folders = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()).chain(own).collect::<Vec<_>>();
        let program = folders.into_iter().map(|folder| folder.join("valkey-server")).find(|path| path.exists());
        is_there(program.is_some(), "Valkey").then(|| Self::start_program(program.unwrap(), &["--requirepass", PASSWORD]))
    }

    fn start_program(program: PathBuf, arguments: &[&str]) -> Self {
        let directory = directory("redis");
        certificates(&directory);
        let arguments = arguments.iter().map(|argument| argument.replace("{dir}", &directory.display().to_string())).collect();
        let mut server = Self { program, child: None, port: free_port(), directory, arguments };
        server.resume();
        server
    }

    /// Starts it again over what it keeps.
    pub fn resume(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.directory.join("log")).unwrap();
        let child = Command::new(&self.program)
            .args(self.arguments.iter().map(|argument| argument.replace("{port}", &self.port.to_string())))
            .args(
                if self.arguments.iter().any(|argument| argument == "--tls-port") { ["--port", "0"] } else { ["--port", PORT] }
                    .map(|argument| argument.replace(PORT, &self.port.to_string())),
            )
            .args(["--bind", "127.0.0.1", "--save", "", "--dir"])
            .arg(&self.directory)
            .stdout(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        wait_for("Redis' start", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    /// Stops it; connections break.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            signal(&child, "TERM");
            child.wait().unwrap();
        }
    }

    /// Stops it from answering, and lets it go on.
    pub fn freeze(&self, frozen: bool) {
        signal(self.child.as_ref().unwrap(), if frozen { "STOP" } else { "CONT" });
    }

    /// What a command answers.
    pub fn cli(&self, arguments: &[&str]) -> String {
        let output =
            Command::new("redis-cli").args(["-p", &self.port.to_string()]).args(arguments).env("REDISCLI_AUTH", PASSWORD).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}

const PORT: &str = "{port}";

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- Redis' log\n{}", std::fs::read_to_string(self.directory.join("log")).unwrap_or_default());
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
