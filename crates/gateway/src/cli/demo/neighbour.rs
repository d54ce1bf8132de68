//! A proxy that is installed on this machine, asking the demo about every request: over the very file of
//! `examples/behind-a-proxy`, with the demo's ports in it.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::ValueEnum;

/// For it to listen.
const LOOKS: u32 = 60;
const BETWEEN: Duration = Duration::from_millis(50);

/// A proxy the demo can start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// nginx, `auth_request`
    Nginx,
    /// Caddy, `forward_auth`
    Caddy,
}

/// Where it is to be.
#[derive(Debug)]
pub struct Plan {
    /// Which.
    pub kind: Kind,
    program: PathBuf,
    /// Where it listens.
    pub front: u16,
    /// Where it asks.
    pub question: u16,
}

/// One that runs; it ends with this.
#[derive(Debug)]
pub struct Neighbour(Child);

impl Kind {
    /// Its name, as a host's first label and as a program.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
        }
    }

    /// What a listener for it speaks.
    pub const fn dialect(self) -> &'static str {
        match self {
            Self::Nginx => "auth-request",
            Self::Caddy => "forward-auth",
        }
    }

    const fn example(self) -> (&'static str, &'static str) {
        match self {
            Self::Nginx => ("nginx.conf", include_str!("../../../../../examples/behind-a-proxy/nginx.conf")),
            Self::Caddy => ("Caddyfile", include_str!("../../../../../examples/behind-a-proxy/Caddyfile")),
        }
    }

    fn program(self) -> Option<PathBuf> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
        folders.map(|folder| folder.join(self.name())).find(|path| path.is_file())
    }
}

impl Plan {
    /// The proxy asked for, or the first that is installed. `None` if there is none.
    pub fn make(wanted: Option<Kind>) -> Option<Self> {
        let kinds = wanted.map_or_else(|| vec![Kind::Nginx, Kind::Caddy], |kind| vec![kind]);
        let (kind, program) = kinds.into_iter().find_map(|kind| Some((kind, kind.program()?)))?;
        // Both at once, so that they differ.
        let free: Vec<TcpListener> = (0..2).filter_map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()).collect();
        let ports: Vec<u16> = free.iter().filter_map(|socket| Some(socket.local_addr().ok()?.port())).collect();
        let &[front, question] = ports.as_slice() else { return None };
        Some(Self { kind, program, front, question })
    }

    /// The application's host behind it.
    pub fn host(&self) -> String {
        format!("{}.north.localhost:{}", self.kind.name(), self.front)
    }

    /// Starts it before an application, with our own pages at `pages`.
    ///
    /// # Errors
    /// A sentence: it does not run here.
    pub fn start(&self, folder: &Path, pages: u16, application: SocketAddr) -> Result<Neighbour, String> {
        let (name, text) = self.kind.example();
        let file = folder.join(name);
        std::fs::write(&file, self.configuration(text, folder, pages, application)).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.program);
        match self.kind {
            Kind::Nginx => command.arg("-c").arg(&file),
            Kind::Caddy => command.args(["run", "--adapter", "caddyfile", "--config"]).arg(&file).env("HOME", folder),
        };
        let child = command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut neighbour = Neighbour(child.map_err(|error| error.to_string())?);
        for _ in 0..LOOKS {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.front)).is_ok() {
                return Ok(neighbour);
            }
            if let Ok(Some(status)) = neighbour.0.try_wait() {
                return Err(format!("{} ended: {status}", self.kind.name()));
            }
            std::thread::sleep(BETWEEN);
        }
        Err(format!("{} does not listen", self.kind.name()))
    }

    fn configuration(&self, example: &str, folder: &Path, pages: u16, application: SocketAddr) -> String {
        let asked = match self.kind {
            Kind::Nginx => "9001",
            Kind::Caddy => "9002",
        };
        // Marked first, or a port could be taken for another one's place.
        let marked = [("8080", "<front>"), ("8081", "<application>"), ("9000", "<pages>"), (asked, "<question>")]
            .iter()
            .fold(example.replace("app.north.localhost", &format!("{}.north.localhost", self.kind.name())), |text, (port, mark)| {
                text.replace(port, mark)
            });
        let ports = [("<front>", self.front), ("<application>", application.port()), ("<pages>", pages), ("<question>", self.question)];
        let text = ports.iter().fold(marked, |text, (mark, port)| text.replace(mark, &port.to_string()));
        match self.kind {
            Kind::Nginx => {
                let dir = folder.display();
                let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
                    .iter()
                    .map(|kind| format!(" {kind}_temp_path {dir}/nginx-{kind};"))
                    .collect();
                // One process, which ends when it is killed.
                let own = format!("daemon off;\nmaster_process off;\npid {dir}/nginx.pid;\nerror_log {dir}/nginx.log;\n");
                format!("{own}{}", text.replacen("http {", &format!("http {{\n    access_log off;{paths}"), 1))
            }
            Kind::Caddy => text,
        }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
