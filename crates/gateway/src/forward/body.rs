//! Bodies on their way: streamed piece by piece, each piece within its time.
//!
//! Nothing is read before there is room for it, so a slow reader slows its own sender and nobody else.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The sender hung up or broke the framing.
    #[error("the body broke off")]
    Broken(#[from] hyper::Error),
    /// No piece came in time.
    #[error("the body stopped coming")]
    Idle,
    /// Our own page failed to write its body.
    #[error("the page broke off")]
    Page(#[source] axum::Error),
}

/// A body whose pieces come in time.
#[derive(Debug)]
pub struct Patient {
    body: Incoming,
    limit: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    beat: Option<Arc<Beat>>,
}

/// When the last piece of a body came.
#[derive(Debug)]
pub struct Beat(Mutex<Instant>);

impl Beat {
    /// For how long nothing has come.
    pub fn silence(&self) -> Duration {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Patient {
    /// A body that breaks off when `limit` passes without a piece.
    pub fn new(body: Incoming, limit: Duration) -> Self {
        Self { body, limit, timer: None, waiting: false, beat: None }
    }

    /// Lets somebody else see that pieces come.
    pub fn watch(&mut self) -> Arc<Beat> {
        self.beat.get_or_insert_with(|| Arc::new(Beat(Mutex::new(Instant::now())))).clone()
    }
}

impl Body for Patient {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.waiting = false;
            if let Some(beat) = &this.beat {
                *beat.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(BodyError::Broken)));
        }
        if !this.waiting {
            this.waiting = true;
            let deadline = Instant::now() + this.limit;
            match &mut this.timer {
                Some(timer) => timer.as_mut().reset(deadline),
                None => this.timer = Some(Box::pin(tokio::time::sleep_until(deadline))),
            }
        }
        let expired = this.timer.as_mut().is_some_and(|timer| timer.as_mut().poll(cx).is_ready());
        if expired { Poll::Ready(Some(Err(BodyError::Idle))) } else { Poll::Pending }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The body of a request to an upstream.
#[derive(Debug)]
pub enum Upload {
    /// None.
    Empty,
    /// Read before the decision; its share of the memory budget is returned when it has been sent.
    Whole(Option<Bytes>, #[expect(dead_code, reason = "held until it has been sent")] Option<OwnedSemaphorePermit>),
    /// As it comes.
    Stream(Patient),
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty => Poll::Ready(None),
            Self::Whole(bytes, _) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes)))),
            // A trailer is a header that comes too late to be stripped, and some servers merge the two: an
            // identity header could come that way. No request of a protocol we carry needs one.
            Self::Stream(body) => loop {
                return match std::task::ready!(Pin::new(&mut *body).poll_frame(cx)) {
                    Some(Ok(frame)) if frame.is_trailers() => continue,
                    other => Poll::Ready(other),
                };
            },
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes, _) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes, _) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
