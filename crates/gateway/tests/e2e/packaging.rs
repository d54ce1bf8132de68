//! What an installation is made of: what a service manager hears, the unit, the package. Nothing here needs systemd to run.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::peers::is_there;
use crate::support::{Gateway, PATIENCE, Scratch, get};

/// The socket of a service manager.
struct Manager(UnixDatagram);

impl Manager {
    fn hear(&self) -> String {
        let mut octets = [0; 1024];
        let length = self.0.recv(&mut octets).expect("the service manager heard nothing");
        String::from_utf8_lossy(&octets[..length]).into_owned()
    }

    fn until(&self, word: &str) -> String {
        for _ in 0..1000 {
            let heard = self.hear();
            if heard.contains(word) {
                return heard;
            }
        }
        panic!("never heard {word}");
    }
}

/// Goes on with the gateway as a service of this manager.
fn served(gateway: &mut Gateway, socket: &str, more: &[(&str, &str)]) {
    gateway.kill();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(gateway.scratch.path().join("stderr")).unwrap();
    let child: Child = Command::new(env!("CARGO_BIN_EXE_vestibule"))
        .args(["serve", "--config", gateway.scratch.path().join("vestibule.toml").to_str().unwrap()])
        .env("NOTIFY_SOCKET", socket)
        .envs(more.iter().copied())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    gateway.adopt(child);
}

#[test]
fn a_service_manager_hears_when_we_serve_reload_live_and_end() {
    let mut gateway = Gateway::start();
    let path = gateway.scratch.path().join("notify");
    let manager = Manager(UnixDatagram::bind(&path).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    served(&mut gateway, path.to_str().unwrap(), &[("WATCHDOG_USEC", "2000000")]);
    manager.until("READY=1");
    assert_eq!(gateway.send(&get("/public/x")).status, 200, "ready means that it answers");
    for _ in 0..2 {
        manager.until("WATCHDOG=1");
    }
    gateway.signal("HUP");
    assert!(manager.until("RELOADING=1").contains("MONOTONIC_USEC="));
    manager.until("READY=1");
    gateway.signal("USR2");
    manager.until("RELOADING=1");
    manager.until("READY=1");
    assert_eq!(gateway.send(&get("/public/x")).status, 200, "the successor serves");
    manager.until("WATCHDOG=1");
    gateway.signal("TERM");
    manager.until("STOPPING=1");
}

#[test]
fn an_abstract_socket_and_another_process_watchdog_are_understood() {
    let mut gateway = Gateway::start();
    let name = format!("vestibule-notify-{}", std::process::id());
    let manager = Manager(UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap());
    manager.0.set_read_timeout(Some(PATIENCE)).unwrap();
    served(&mut gateway, &format!("@{name}"), &[("WATCHDOG_USEC", "2000000"), ("WATCHDOG_PID", "1")]);
    manager.until("READY=1");
    gateway.signal("TERM");
    assert!(manager.hear().contains("STOPPING=1"), "a watchdog of another process hears nothing of ours");
}

fn packaging(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(name)
}

#[test]
fn the_unit_is_well_formed_and_hardened() {
    if !is_there(Command::new("systemd-analyze").arg("--version").output().is_ok(), "systemd-analyze") {
        return;
    }
    let scratch = Scratch::new();
    for unit in ["vestibule.service", "vestibule.socket"] {
        // The program need not be installed for its unit to be read.
        let text = std::fs::read_to_string(packaging(unit)).unwrap().replace("/usr/bin/vestibule", env!("CARGO_BIN_EXE_vestibule"));
        scratch.write(unit, &text);
    }
    let verified = Command::new("systemd-analyze")
        .arg("verify")
        .args([scratch.path().join("vestibule.service"), scratch.path().join("vestibule.socket")])
        .output()
        .unwrap();
    assert!(verified.status.success() && verified.stderr.is_empty(), "{verified:?}");
    // Exposure from 0 (none) to 10; above 2.0 this fails.
    let security = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--threshold=20"])
        .arg(scratch.path().join("vestibule.service"))
        .output()
        .unwrap();
    assert!(security.status.success(), "{}", String::from_utf8_lossy(&security.stdout));
}

#[test]
fn the_debian_package_installs_checks_its_configuration_and_goes_again() {
    if !is_there(
        Command::new("dpkg-deb").arg("--version").output().is_ok() && Command::new("id").arg("-u").output().unwrap().stdout == b"0\n",
        "dpkg, as root,",
    ) {
        return;
    }
    let scratch = Scratch::new();
    let built = Command::new(packaging("deb")).args([env!("CARGO_BIN_EXE_vestibule"), scratch.path().to_str().unwrap()]).output().unwrap();
    assert!(built.status.success(), "{built:?}");
    let package = String::from_utf8(built.stdout).unwrap().trim().to_owned();
    // A root of its own: nothing of this machine is touched, and no chroot is needed.
    let root = scratch.path().join("root");
    for directory in ["var/lib/dpkg/info", "var/lib/dpkg/updates", "etc"] {
        std::fs::create_dir_all(root.join(directory)).unwrap();
    }
    std::fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    let dpkg = |arguments: &[&str]| {
        let mut command = Command::new("dpkg");
        command.args([&format!("--root={}", root.display()), "--force-script-chrootless", "--force-depends", "--log=/dev/null"]);
        let output = command.args(arguments).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    dpkg(&["--install", &package]);
    let passwd = std::fs::read_to_string(root.join("etc/passwd")).unwrap();
    assert!(passwd.contains("vestibule:") && passwd.contains("/usr/sbin/nologin"), "{passwd}");
    use std::os::unix::fs::PermissionsExt as _;
    let mode = |name: &str| std::fs::metadata(root.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("etc/vestibule/credentials"), mode("etc/vestibule/credentials/sealing-key")), (0o700, 0o600));
    // The installed program accepts the installed configuration, once its paths lead into this root.
    let path = root.join("etc/vestibule/vestibule.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    let text = text.replace("/run/credentials/vestibule.service", &root.join("etc/vestibule/credentials").display().to_string());
    std::fs::write(&path, &text).unwrap();
    let program = root.join("usr/bin/vestibule");
    let checked = Command::new(&program).args(["check", "--config", path.to_str().unwrap()]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    let key = std::fs::read(root.join("etc/vestibule/credentials/sealing-key")).unwrap();
    dpkg(&["--install", &package]);
    assert_eq!(std::fs::read(root.join("etc/vestibule/credentials/sealing-key")).unwrap(), key, "an upgrade keeps the key");
    dpkg(&["--remove", "vestibule"]);
    assert!(!program.exists() && root.join("etc/vestibule/credentials/sealing-key").exists());
    dpkg(&["--purge", "vestibule"]);
    assert!(!root.join("etc/vestibule/credentials").exists());
}

#[test]
fn the_sidecar_of_the_examples_serves() {
    let example =
        |name: &str| std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/sidecar").join(name)).unwrap();
    let template = example("vestibule.toml")
        .replace("0.0.0.0:8080", "127.0.0.1:{{port}}")
        .replace("10.0.0.0/8", "127.0.0.0/8")
        .replace("0.0.0.0:9180", "127.0.0.1:{{health}}")
        .replace("/run/vestibule/control.sock", "{{dir}}/admin.sock")
        .replace("/var/lib/vestibule", "{{dir}}/data")
        .replace("http://127.0.0.1:9000", "http://{{app}}")
        .replace("policies/app.cedar", "app.cedar");
    let gateway = Gateway::with_files(&template, &[("app.cedar", &example("policies/app.cedar"))]);
    let file = gateway.scratch.write("password", "correct horse battery");
    let added = gateway.command(&["user", "add", "ada", "--password-file", file.to_str().unwrap()]);
    assert!(added.status.success(), "{added:?}");
    let ask = |ask: crate::support::Ask| gateway.send(&ask.header("Host", "app.example.com").header("X-Forwarded-Proto", "https"));
    assert_eq!(ask(get("/")).status, 401);
    assert_eq!(ask(get("/").basic("ada", "correct horse battery")).status, 200);
    assert_eq!(ask(crate::support::ask("POST", "/").basic("ada", "correct horse battery")).status, 403, "writing needs a group");
}
