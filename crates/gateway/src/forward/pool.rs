//! Kept connections to one address, for one thread.
//!
//! A connection returns when its response has been read to the end; one whose response was abandoned is
//! closed, or the rest of one client's answer would be the beginning of the next one's.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use tokio::time::Instant;

use crate::forward::body::{BodyError, Patient, Upload};
use crate::forward::{Address, Limits};

/// Connections to one address. The lock is never contended: one thread uses it.
#[derive(Debug)]
pub struct Pool {
    address: Address,
    limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The most recently used last, so that the others may grow old and be closed.
    idle: Vec<(http1::SendRequest<Upload>, Instant)>,
    shared: Option<http2::SendRequest<Upload>>,
    avoid_until: Option<Instant>,
    tls: bool,
}

/// A connection to send one request on.
#[derive(Debug)]
pub enum Sender {
    /// For one request at a time.
    Http1(http1::SendRequest<Upload>),
    /// Shared by many.
    Http2(http2::SendRequest<Upload>),
}

impl Pool {
    pub fn new(address: Address, limits: Limits) -> Self {
        Self { address, limits, state: Mutex::default() }
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A kept connection that can take a request now.
    pub fn check_out(&self) -> Option<Sender> {
        let mut state = self.state();
        if let Some(shared) = &state.shared {
            if !shared.is_closed() {
                return Some(Sender::Http2(shared.clone()));
            }
            state.shared = None;
        }
        if state.idle.is_empty() {
            return None;
        }
        let now = Instant::now();
        let keep = self.limits.keep_idle;
        let old = state.idle.iter().take_while(|(_, since)| now.duration_since(*since) > keep).count();
        state.idle.drain(..old);
        state.idle.retain(|(sender, _)| !sender.is_closed());
        let ready = state.idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(Sender::Http1(state.idle.remove(ready).0))
    }

    /// Keeps a shared connection.
    pub fn share(&self, sender: http2::SendRequest<Upload>) {
        self.state().shared = Some(sender);
    }

    /// The right to return a connection.
    pub fn lease(self: &Arc<Self>, sender: http1::SendRequest<Upload>) -> Lease {
        Lease { sender, pool: self.clone() }
    }

    /// Remembers whether connections are protected.
    pub fn set_tls(&self, tls: bool) {
        self.state().tls = tls;
    }

    pub fn speaks_tls(&self) -> bool {
        self.state().tls
    }

    /// The address refused a connection.
    pub fn avoid(&self) {
        self.state().avoid_until = Some(Instant::now() + self.limits.avoid);
    }

    /// The address accepted a connection.
    pub fn works(&self) {
        self.state().avoid_until = None;
    }

    pub fn is_avoided(&self) -> bool {
        self.state().avoid_until.is_some_and(|until| Instant::now() < until)
    }
}

/// The right to return a connection to its pool.
#[derive(Debug)]
pub struct Lease {
    sender: http1::SendRequest<Upload>,
    pool: Arc<Pool>,
}

impl Lease {
    fn check_in(self) {
        let mut state = self.pool.state();
        if !self.sender.is_closed() && state.idle.len() < self.pool.limits.keep {
            state.idle.push((self.sender, Instant::now()));
        }
    }
}

/// The body of an upstream's response. Read to its end, it returns the connection.
#[derive(Debug)]
pub struct Download {
    body: Patient,
    lease: Option<Lease>,
}

impl Download {
    pub fn new(body: Incoming, lease: Option<Lease>, limit: std::time::Duration) -> Self {
        let mut download = Self { body: Patient::new(body, limit), lease };
        download.settle();
        download
    }

    fn settle(&mut self) {
        if self.body.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.check_in();
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => {
                if let Some(lease) = this.lease.take() {
                    lease.check_in();
                }
            }
            Poll::Ready(Some(Ok(_))) => this.settle(),
            Poll::Ready(Some(Err(_))) => this.lease = None,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
