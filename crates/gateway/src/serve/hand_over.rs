//! Listening sockets that outlive a process: given by a service manager (`sd_listen_fds(3)`), or by the process that was
//! here before, so that an upgrade of the program refuses no connection.
//!
//! A process that makes room executes the new program in its own place: the process stays the same, so that whoever
//! supervises it notices nothing, and the sockets stay open. What comes between the two waits in the kernel's queue.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use listenfd::ListenFd;
use rustix::io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd};

/// Where descriptors that follow each other are looked for, and how far apart. `sd_listen_fds` begins at 3, where others are.
const PLACES: std::ops::Range<i32> = 64..1024;
const APART: usize = 64;
/// Longest excerpt of what a successor has to say against a configuration, in octets.
const MAX_SAID: usize = 4096;

/// Sockets that were open when this process began.
#[derive(Debug, Default)]
pub struct Inherited(Vec<TcpListener>);

impl Inherited {
    /// Takes what was handed over: `LISTEN_FDS` sockets, if `LISTEN_PID` is this process.
    ///
    /// # Errors
    /// If one of them is no listening TCP socket.
    pub fn take() -> io::Result<Self> {
        let mut handed = ListenFd::from_env();
        let mut sockets = Vec::new();
        for index in 0..handed.len() {
            if let Some(socket) = handed.take_tcp_listener(index)? {
                sockets.push(socket);
            }
        }
        Ok(Self(sockets))
    }

    /// The socket of an address: the one that is open already, or a new one.
    ///
    /// # Errors
    /// Whatever the system says.
    pub fn listen(&mut self, address: SocketAddr) -> io::Result<TcpListener> {
        let place = self.0.iter().position(|socket| socket.local_addr().is_ok_and(|own| own == address));
        match place {
            Some(place) => Ok(self.0.swap_remove(place)),
            None => TcpListener::bind(address),
        }
    }

    /// The addresses that nobody asked for; their sockets close with this.
    pub fn rest(&self) -> impl Iterator<Item = SocketAddr> {
        self.0.iter().filter_map(|socket| socket.local_addr().ok())
    }
}

/// The program that will take this one's place.
#[derive(Debug)]
pub struct Successor(PathBuf);

impl Successor {
    /// Whatever stands at the path of this program when its time comes. Must be called before the file is replaced.
    ///
    /// # Errors
    /// If the system does not say where this program is.
    pub fn new() -> io::Result<Self> {
        std::env::current_exe().map(Self)
    }

    /// Whether it accepts a configuration. What it would refuse at its start is better known before this one ends.
    ///
    /// # Errors
    /// What it says against it.
    pub fn check(&self, config: &Path) -> Result<(), String> {
        let checked = Command::new(&self.0).arg("check").arg("--config").arg(config).stdin(Stdio::null()).output();
        let checked = checked.map_err(|error| format!("{} cannot be started: {error}", self.0.display()))?;
        if checked.status.success() {
            return Ok(());
        }
        let said = [checked.stderr, checked.stdout].concat();
        Err(String::from_utf8_lossy(said.get(..MAX_SAID).unwrap_or(&said)).into_owned())
    }

    /// Becomes it, with these sockets and the arguments of this one. Returns only if that fails.
    pub fn take_over(&self, sockets: Vec<TcpListener>) -> io::Error {
        let (first, kept) = match in_a_row(&sockets) {
            Ok(found) => found,
            Err(error) => return error,
        };
        let mut command = Command::new(&self.0);
        command.args(std::env::args_os().skip(1));
        command.env("LISTEN_FDS", kept.len().to_string()).env("LISTEN_FDS_FIRST_FD", first.to_string());
        command.env("LISTEN_PID", std::process::id().to_string()).env_remove("LISTEN_FDNAMES");
        command.exec()
    }
}

/// Copies of sockets under numbers that follow each other, the first of which it returns; they outlive `exec`.
fn in_a_row(sockets: &[TcpListener]) -> io::Result<(i32, Vec<OwnedFd>)> {
    for first in PLACES.step_by(APART) {
        let mut row = Vec::new();
        for (socket, number) in sockets.iter().zip(first..) {
            let copy = fcntl_dupfd_cloexec(socket.as_fd(), number)?;
            if copy.as_raw_fd() != number {
                break;
            }
            row.push(copy);
        }
        if row.len() == sockets.len() {
            for copy in &row {
                fcntl_setfd(copy, FdFlags::empty())?;
            }
            return Ok((first, row));
        }
    }
    Err(io::Error::other("there is no room for the sockets among the descriptors"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_copied_to_numbers_that_follow_each_other() {
        let sockets: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let (first, row) = in_a_row(&sockets).unwrap();
        assert_eq!(row.iter().map(AsRawFd::as_raw_fd).collect::<Vec<_>>(), [first, first + 1, first + 2]);
        let (second, _) = in_a_row(&sockets).unwrap();
        assert!(second > first + 2, "what is taken is left alone");
        assert_eq!(in_a_row(&[]).unwrap().1.len(), 0);
    }

    #[test]
    fn a_socket_goes_to_the_listener_of_its_address_and_to_no_other() {
        let open = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = open.local_addr().unwrap();
        let mut inherited = Inherited(vec![TcpListener::bind("127.0.0.1:0").unwrap(), open]);
        let other = inherited.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert_ne!(other.local_addr().unwrap(), address);
        assert_eq!(inherited.listen(address).unwrap().local_addr().unwrap(), address);
        assert_eq!(inherited.rest().count(), 1);
        assert!(inherited.rest().all(|rest| rest != address));
    }
}
