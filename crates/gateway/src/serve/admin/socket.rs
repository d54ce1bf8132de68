//! The admin socket itself: who may connect, for how long, how many at once.

use std::fmt;
use std::fs::{DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::BufReader;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;

use vestibule_engine::clock::random;

use super::Admin;
use super::protocol::{AdminReply, AdminRequest, Error, MAX_REQUEST, Refusal, receive, send};

/// Administrators served at once.
const CONNECTIONS: usize = 16;
/// How long a connection may be silent.
const IDLE: Duration = Duration::from_secs(30);
/// How long to pause when the system has no descriptor for us.
const PAUSE: Duration = Duration::from_millis(100);

/// The bound socket. Dropping it removes the file.
#[derive(Debug)]
pub struct AdminSocket {
    listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
    owner: u32,
}

/// Who is connected, by the kernel's word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// The numeric user.
    pub uid: u32,
    /// Its name, where `/etc/passwd` has one.
    pub name: Option<String>,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} (uid {})", self.uid),
            None => write!(f, "uid {}", self.uid),
        }
    }
}

impl AdminSocket {
    /// Binds the socket at `path` with mode 0600. A socket that a dead server left there is replaced.
    /// Must be called on the runtime that will serve it.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when a server answers there or the file is no socket; whatever the system says else.
    pub fn bind(path: &Path) -> io::Result<Self> {
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "a file that is no socket is there already"));
            }
            Ok(_) if std::os::unix::net::UnixStream::connect(path).is_ok() => {
                return Err(io::Error::new(io::ErrorKind::AddrInUse, "another server answers there"));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        // Bound in a directory that only we may enter, so that there is no moment in which the socket has its
        // final name and the umask's mode.
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            Some(_) | None => Path::new("."),
        };
        let nonce = u32::from_be_bytes(random().map_err(io::Error::other)?);
        let nursery = parent.join(format!(".v{nonce:08x}"));
        DirBuilder::new().mode(0o700).create(&nursery)?;
        let bound = Self::bind_in(&nursery.join("s"), path);
        // Empty once the socket has moved; if it did not, the error below says why.
        let _ = std::fs::remove_dir_all(&nursery);
        bound
    }

    fn bind_in(first: &Path, path: &Path) -> io::Result<Self> {
        let listener = UnixListener::bind(first)?;
        std::fs::set_permissions(first, Permissions::from_mode(0o600))?;
        let made = std::fs::symlink_metadata(first)?;
        std::fs::rename(first, path)?;
        Ok(Self { listener, path: path.to_owned(), inode: (made.dev(), made.ino()), owner: made.uid() })
    }

    /// Serves administrators until it is dropped.
    pub async fn serve(&self, admin: Arc<Admin>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the admin socket could not accept a connection");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            };
            let peer = match stream.peer_cred() {
                Ok(credentials) if admits(self.owner, credentials.uid()) => {
                    Peer { uid: credentials.uid(), name: user_name(credentials.uid()) }
                }
                Ok(credentials) => {
                    tracing::warn!(uid = credentials.uid(), "the admin socket refused a foreign user");
                    continue;
                }
                Err(error) => {
                    tracing::warn!(%error, "the admin socket could not learn who connected");
                    continue;
                }
            };
            let admin = admin.clone();
            connections.spawn(async move {
                if let Err(error) = converse(stream, &admin, &peer).await {
                    tracing::info!(%error, %peer, "an administrator's connection ended");
                }
                drop(place);
            });
        }
    }
}

impl Drop for AdminSocket {
    fn drop(&mut self) {
        // A successor may have put its own socket there.
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(%error, "the admin socket could not be removed");
        }
    }
}

/// Our own user, who could read our memory anyway, and root.
fn admits(owner: u32, peer: u32) -> bool {
    peer == owner || peer == 0
}

async fn converse(stream: UnixStream, admin: &Admin, peer: &Peer) -> Result<(), Error> {
    let (reading, mut writing) = stream.into_split();
    let mut reading = BufReader::new(reading);
    loop {
        let request = match timeout(IDLE, receive::<AdminRequest>(&mut reading, MAX_REQUEST)).await {
            Ok(Ok(Some(request))) => request,
            Ok(Ok(None)) | Err(_) => return Ok(()),
            Ok(Err(error)) => {
                let reply = AdminReply::Refused(Refusal::Invalid(error.to_string()));
                timeout(IDLE, send(&mut writing, reply)).await.unwrap_or(Ok(()))?;
                return Err(error);
            }
        };
        let reply = admin.answer(request, peer).await;
        match timeout(IDLE, send(&mut writing, reply)).await {
            Ok(sent) => sent?,
            Err(_) => return Ok(()),
        }
    }
}

/// The name of a local user, for the audit. Directory users stay numbers: asking the directory could hang.
fn user_name(uid: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").ok()?;
    let number = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::tests::TempDir;
    use crate::serve::admin::tests::admin;

    #[test]
    fn only_the_owner_and_root_are_admitted() {
        assert!(admits(1000, 1000) && admits(1000, 0) && admits(0, 0));
        assert!(!admits(1000, 1001) && !admits(0, 1000));
    }

    #[tokio::test]
    async fn the_socket_is_private_replaces_a_dead_one_and_leaves_with_its_server() {
        let dir = TempDir::new();
        let path = dir.path().join("admin.sock");
        let first = AdminSocket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(AdminSocket::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse, "it answers");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left behind");
        drop(first);
        assert!(!path.exists());

        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists(), "a dead server's socket");
        let second = AdminSocket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let third = AdminSocket::bind(&path).unwrap();
        drop(second);
        assert!(path.exists(), "a successor's socket is not ours to remove");
        drop(third);

        std::fs::write(&path, "precious").unwrap();
        assert_eq!(AdminSocket::bind(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    #[tokio::test]
    async fn nonsense_is_answered_once_and_ends_the_connection() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let dir = TempDir::new();
        let path = dir.path().join("admin.sock");
        let socket = AdminSocket::bind(&path).unwrap();
        let (admin, _) = admin();
        let serving = tokio::spawn(async move { socket.serve(admin).await });
        let mut stream = UnixStream::connect(&path).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.contains("cannot be read") && answer.lines().count() == 1, "{answer}");
        serving.abort();
    }
}
