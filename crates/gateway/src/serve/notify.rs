//! What a service manager hears of us: `sd_notify(3)`, a datagram to the socket in `NOTIFY_SOCKET`.
//!
//! The watchdog is told that we live only while every data thread and the control runtime do: a process that hangs is
//! restarted, one whose store is down is not.

use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How often a data thread shows that it lives.
pub const BEAT: Duration = Duration::from_millis(500);
/// The shortest watchdog that is kept.
const SHORTEST: Duration = Duration::from_secs(2);

/// What we do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// We serve.
    Ready,
    /// We read our configuration again, or make room for a successor; [`State::Ready`] follows.
    Reloading,
    /// We end.
    Stopping,
    /// We live.
    Alive,
}

/// Tells the service manager, if there is one. It must not keep us from serving, so what goes wrong is logged.
pub fn tell(state: State) {
    let Some(socket) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let message = match state {
        State::Ready => "READY=1\nSTATUS=serving".to_owned(),
        State::Reloading => format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", monotonic_microseconds()),
        State::Stopping => "STOPPING=1\nSTATUS=answering what was begun".to_owned(),
        State::Alive => "WATCHDOG=1".to_owned(),
    };
    if let Err(error) = send(&socket.into_vec(), message.as_bytes()) {
        tracing::warn!(%error, ?state, "the service manager could not be told");
    }
}

fn send(socket: &[u8], message: &[u8]) -> io::Result<()> {
    let address = match socket.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(socket))?,
    };
    UnixDatagram::unbound()?.send_to_addr(message, &address).map(drop)
}

/// `CLOCK_MONOTONIC`, as systemd compares it.
fn monotonic_microseconds() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1000)
}

/// How often the watchdog wants to hear of us, if there is one for this process.
pub fn watchdog() -> Option<Duration> {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    if std::env::var_os("WATCHDOG_PID").is_some() && number("WATCHDOG_PID") != Some(u64::from(std::process::id())) {
        return None;
    }
    let timeout = Duration::from_micros(number("WATCHDOG_USEC")?);
    if timeout < SHORTEST {
        tracing::warn!(?timeout, "the watchdog is too impatient and hears nothing; give it two seconds or more");
        return None;
    }
    Some(timeout / 2)
}

/// Tells the watchdog, every `period`, that we live, while every beat goes on.
pub async fn watch(period: Duration, beats: Arc<[AtomicU64]>) {
    let mut before: Vec<Option<u64>> = vec![None; beats.len()];
    loop {
        let now: Vec<Option<u64>> = beats.iter().map(|beat| Some(beat.load(Ordering::Relaxed))).collect();
        if now.iter().zip(&before).all(|(now, before)| now != before) {
            tell(State::Alive);
        } else {
            tracing::error!("a data thread does not move; the watchdog is not told that we live");
        }
        before = now;
        tokio::time::sleep(period).await;
    }
}
