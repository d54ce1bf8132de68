//! The signals by which a house is told what to do.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What somebody told a house to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// To end.
    Stop,
    /// To make room for another program.
    HandOver,
}

/// What ends us or makes room for a successor. Caught before anybody is told that we serve: a signal that nobody catches kills.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    upgrade: Signal,
}

impl Signals {
    /// Catches them from now on.
    pub(super) fn catch() -> Result<Self, String> {
        let catch = |kind| signal(kind).map_err(|why| format!("signals cannot be received: {why}"));
        Ok(Self {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            upgrade: catch(SignalKind::user_defined2())?,
        })
    }
    /// Waits for SIGTERM or SIGINT.
    pub(super) async fn stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Waits for the first of them all: SIGUSR2 asks for a successor.
    pub(super) async fn any(&mut self) -> Told {
        tokio::select! {
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
            _ = self.upgrade.recv() => Told::HandOver,
        }
    }
}
