//! A client's connection as the octets come: framing watched, slow senders and readers timed, closed politely.
//!
//! An attacker sends one octet of a head every ten seconds, or asks for a large answer and never reads it
//! (slowloris and its mirror image); each would hold a connection for ever.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::serve::framing::Framing;

/// Octets read and thrown away after the last answer, so that the client sees it instead of a reset.
const LINGER_OCTETS: usize = 4 * 1024 * 1024;
/// How long we do so.
const LINGER: Duration = Duration::from_secs(2);

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// From the first octet of a head to its last.
    pub head: Duration,
    /// For taking octets we have for it.
    pub write: Duration,
}

/// One connection.
#[derive(Debug)]
pub struct Wire<S> {
    stream: S,
    framing: Arc<Mutex<Framing>>,
    patience: Patience,
    head: Timer,
    write: Timer,
    linger: Timer,
    discarded: usize,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    Lingering,
    Closed,
}

impl<S> Wire<S> {
    /// Watches `stream`.
    pub fn new(stream: S, framing: Arc<Mutex<Framing>>, patience: Patience) -> Self {
        Self {
            stream,
            framing,
            patience,
            head: Timer::default(),
            write: Timer::default(),
            linger: Timer::default(),
            discarded: 0,
            stage: Stage::Open,
        }
    }
}

/// A timer that costs nothing until it is first needed.
#[derive(Debug, Default)]
struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Timer {
    fn stop(&mut self) {
        self.running = false;
    }

    fn has_expired(&mut self, after: Duration, cx: &mut Context<'_>) -> bool {
        if !self.running {
            self.running = true;
            let deadline = Instant::now() + after;
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(deadline),
                None => self.sleep = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        self.sleep.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let mut framing = this.framing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Poll::Ready(Ok(())) = &polled {
            framing.look(buffer.filled().get(before..).unwrap_or_default());
        }
        // The time for a head runs from its first octet and is not extended by further ones.
        if !framing.is_inside_head() {
            this.head.stop();
        } else if this.head.has_expired(this.patience.head, cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the request head took too long")));
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> Wire<S> {
    fn time_write<T>(&mut self, polled: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if polled.is_ready() {
            self.write.stop();
        } else if self.write.has_expired(self.patience.write, cx) {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")));
        }
        polled
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, octets: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write(cx, octets);
        this.time_write(polled, cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.time_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.stream).poll_flush(cx);
        this.time_write(polled, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.stage == Stage::Open {
            match Pin::new(&mut this.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return this.time_write(Poll::Pending, cx),
            }
            let quiet = this.framing.lock().unwrap_or_else(PoisonError::into_inner).is_between_requests();
            this.stage = if quiet { Stage::Closed } else { Stage::Lingering };
        }
        // A socket closed over unread octets resets the connection, and the client never sees our answer.
        while this.stage == Stage::Lingering {
            let mut sink = [0; 8192];
            let mut buffer = ReadBuf::new(&mut sink);
            match Pin::new(&mut this.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && this.discarded < LINGER_OCTETS => {
                    this.discarded += buffer.filled().len();
                }
                Poll::Ready(_) => this.stage = Stage::Closed,
                Poll::Pending if this.linger.has_expired(LINGER, cx) => this.stage = Stage::Closed,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }
}
