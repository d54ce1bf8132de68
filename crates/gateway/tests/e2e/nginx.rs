//! A real service that is not ours behind the gateway: nginx serving files.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::support::{CONFIG, Gateway, Scratch, USERS, free_port, get};

struct Nginx {
    child: Child,
    port: u16,
    _scratch: Scratch,
}

impl Nginx {
    /// Nginx over a folder of files, or `None` (and a word) if it is not installed.
    fn start(files: &[(&str, &[u8])]) -> Option<Self> {
        if Command::new("nginx").arg("-v").output().is_err() {
            assert!(std::env::var("VESTIBULE_PEERS").as_deref() != Ok("required"), "nginx is missing");
            println!("SKIPPED: nginx is not installed");
            return None;
        }
        let (scratch, port) = (Scratch::new(), free_port());
        let root = scratch.path().join("files");
        for (name, content) in files {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, content).unwrap();
        }
        // Workers of a master started by root run as another user.
        let user = if Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n") { "user root;" } else { "" };
        let dir = scratch.path().display();
        let config = format!(
            "{user} daemon off; pid {dir}/pid; error_log {dir}/error.log; events {{}} http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; \
             fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; server {{ listen 127.0.0.1:{port}; root {dir}/files; }} }}"
        );
        let path = scratch.write("nginx.conf", &config);
        let child = Command::new("nginx").arg("-c").arg(path).stderr(Stdio::null()).spawn().unwrap();
        for _ in 0..1500 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(Self { child, port, _scratch: scratch })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn files_of_a_real_server_pass_whole_and_only_to_those_who_may() {
    let large: Vec<u8> = (0..4_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let Some(nginx) = Nginx::start(&[("page", b"hello from nginx"), ("api/large", &large)]) else { return };
    let config = CONFIG.replace("{{app}}", &format!("127.0.0.1:{}", nginx.port));
    let gateway = Gateway::with(&config).with_users();
    assert_eq!(gateway.send(&get("/page")).status, 401);
    let page = gateway.send(&get("/page").basic(USERS[1].0, USERS[1].1));
    assert_eq!((page.status, page.body.as_str()), (200, "hello from nginx"));
    assert!(page.header("server").is_some_and(|server| server.starts_with("nginx")));
    assert_eq!(gateway.send(&get("/missing").basic(USERS[1].0, USERS[1].1)).status, 404);
    let ranged = gateway.send(&get("/page").basic(USERS[1].0, USERS[1].1).header("Range", "bytes=0-4"));
    assert_eq!((ranged.status, ranged.body.as_str()), (206, "hello"));
    let whole = gateway.send(&get("/api/large").basic(USERS[1].0, USERS[1].1));
    assert_eq!(whole.header("content-length"), Some("4000000"));
    let (name, value) = gateway.sign_in(USERS[0].0, USERS[0].1);
    assert_eq!(gateway.send(&get("/page").cookie(&name, &value)).body, "hello from nginx");
}
