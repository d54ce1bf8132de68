//! Load balancers in front of several gateways: nginx and Envoy over the very files of `examples/cluster`.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::doors::program;
use crate::peers::is_there;
use crate::support::{Gateway, Scratch};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Nginx,
    Envoy,
}

pub struct Balancer {
    kind: Kind,
    child: Child,
    pub address: SocketAddr,
    scratch: Scratch,
}

impl Balancer {
    /// Whether it is installed; if not, says so, or fails where it must be.
    pub fn is_there(kind: Kind) -> bool {
        is_there(program(kind.program()).is_some(), kind.program())
    }

    /// A balancer at this port, before these two.
    pub fn start(kind: Kind, port: u16, nodes: [&Gateway; 2]) -> Self {
        let scratch = Scratch::new();
        let example = format!("{}/../../examples/cluster/{}", env!("CARGO_MANIFEST_DIR"), kind.file());
        let text = std::fs::read_to_string(example).unwrap();
        // In two steps, so that no port is replaced by what another was.
        let places = [
            ("127.0.0.1:8000", format!("127.0.0.1:{port}")),
            ("10.0.0.1:8080", nodes[0].address.to_string()),
            ("10.0.0.2:8080", nodes[1].address.to_string()),
            ("address: 127.0.0.1, port_value: 8000", format!("address: 127.0.0.1, port_value: {port}")),
            ("address: 10.0.0.1, port_value: 8080", format!("address: 127.0.0.1, port_value: {}", nodes[0].address.port())),
            ("address: 10.0.0.2, port_value: 8080", format!("address: 127.0.0.1, port_value: {}", nodes[1].address.port())),
            ("address: 10.0.0.1, port_value: 9090", format!("address: 127.0.0.1, port_value: {}", nodes[0].health.port())),
            ("address: 10.0.0.2, port_value: 9090", format!("address: 127.0.0.1, port_value: {}", nodes[1].health.port())),
        ];
        let text = places.iter().enumerate().fold(text, |text, (number, (from, _))| text.replace(from, &format!("<place {number}>")));
        let text = places.iter().enumerate().fold(text, |text, (number, (_, to))| text.replace(&format!("<place {number}>"), to));
        scratch.write(kind.file(), &kind.adapt(&text, &scratch));
        let log = std::fs::File::create(scratch.path().join("log")).unwrap();
        let mut command = Command::new(program(kind.program()).unwrap());
        match kind {
            Kind::Nginx => command.arg("-c").arg(scratch.path().join(kind.file())),
            Kind::Envoy => command.args(["-c", kind.file(), "--concurrency", "1", "--use-dynamic-base-id", "-l", "warn"]),
        };
        let child = command.current_dir(scratch.path()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut balancer = Self { kind, child, address, scratch };
        for _ in 0..1500 {
            if TcpStream::connect(address).is_ok() {
                return balancer;
            }
            if let Ok(Some(status)) = balancer.child.try_wait() {
                panic!("{kind:?} ended: {status}\n{}", balancer.log());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{kind:?} does not answer\n{}", balancer.log());
    }

    fn log(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default();
        read("log") + &read("error.log")
    }
}

impl Kind {
    fn program(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Envoy => "envoy",
        }
    }

    fn file(self) -> &'static str {
        match self {
            Self::Nginx => "nginx.conf",
            Self::Envoy => "envoy.yaml",
        }
    }

    /// What the example leaves to the package's own configuration.
    fn adapt(self, text: &str, scratch: &Scratch) -> String {
        match self {
            Self::Envoy => text.to_owned(),
            Self::Nginx => {
                let dir = scratch.path().display();
                let root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
                let user = if root { "user root;" } else { "" };
                let own = format!(
                    "http {{ access_log off; client_body_temp_path {dir}/b; proxy_temp_path {dir}/p; fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s;"
                );
                format!("{user} daemon off; pid {dir}/pid; error_log {dir}/error.log;\n{}", text.replacen("http {", &own, 1))
            }
        }
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {:?}\n{}", self.kind, self.log());
        }
    }
}
