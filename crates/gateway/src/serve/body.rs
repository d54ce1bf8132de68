//! Bodies read whole before the chain, within one memory budget, and bodies of answers.
//!
//! An attacker sends many large bodies at once to routes that must read them, so
//! every octet held is counted against one budget for the whole process.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::stream::BoxStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use vestibule_engine::request::Malformed;

use crate::forward::{BodyError, Download, Patient};
use crate::serve::listen::InFlight;
use crate::serve::load::Place;

/// Octets per permit of the budget.
const UNIT: usize = 1024;

/// Memory for bodies that are held whole.
#[derive(Debug, Clone)]
pub struct BodyBudget(Arc<Semaphore>);

/// Why a body could not be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// 413.
    TooLong,
    /// 415.
    MediaType,
    /// It broke off or stopped coming. 400.
    Broken,
    /// The budget is spent. 503.
    NoMemory,
}

impl Unfit {
    /// Whether the request is to blame.
    pub fn malformed(self) -> Option<Malformed> {
        match self {
            Self::TooLong => Some(Malformed::BodyTooLong),
            Self::MediaType => Some(Malformed::MediaType),
            Self::Broken => Some(Malformed::Framing),
            Self::NoMemory => None,
        }
    }
}

/// A body held whole, and its share of the budget.
#[derive(Debug)]
pub struct Held {
    /// The octets.
    pub bytes: Bytes,
    /// Returned to the budget when dropped.
    pub share: Option<OwnedSemaphorePermit>,
}

impl BodyBudget {
    /// A budget of so many octets.
    pub fn new(octets: usize) -> Self {
        Self(Arc::new(Semaphore::new((octets / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Reads a body to its end.
    pub async fn hold(&self, body: Incoming, limit: usize, idle: Duration, total: Duration) -> Result<Held, Unfit> {
        self.hold_patient(Patient::new(body, idle), limit, total).await
    }

    /// The same for a body whose pauses are limited already.
    pub async fn hold_patient(&self, body: Patient, limit: usize, total: Duration) -> Result<Held, Unfit> {
        tokio::time::timeout(total, self.read(body, limit)).await.unwrap_or(Err(Unfit::Broken))
    }

    async fn read(&self, mut body: Patient, limit: usize) -> Result<Held, Unfit> {
        let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if announced > limit {
            return Err(Unfit::TooLong);
        }
        if body.is_end_stream() {
            return Ok(Held { bytes: Bytes::new(), share: None });
        }
        let mut bytes = BytesMut::new();
        let mut share: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame.map_err(|_| Unfit::Broken)?.into_data() else { continue };
            let length = bytes.len().saturating_add(data.len());
            if length > limit {
                return Err(Unfit::TooLong);
            }
            // What is announced is not yet here: memory is counted as it is used.
            self.reserve(length.div_ceil(UNIT), &mut share)?;
            bytes.extend_from_slice(&data);
        }
        Ok(Held { bytes: bytes.freeze(), share })
    }

    /// Counts so many octets more.
    pub fn count(&self, octets: usize, share: &mut Option<OwnedSemaphorePermit>) -> Result<(), Unfit> {
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        self.reserve(held.saturating_add(octets.div_ceil(UNIT)), share)
    }

    /// Sees to it that a share has so many units.
    fn reserve(&self, units: usize, share: &mut Option<OwnedSemaphorePermit>) -> Result<(), Unfit> {
        let needed = units.saturating_sub(share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if needed > 0 {
            let more = u32::try_from(needed).map_err(|_| Unfit::NoMemory)?;
            let more = self.0.clone().try_acquire_many_owned(more).map_err(|_| Unfit::NoMemory)?;
            match share {
                Some(share) => share.merge(more),
                None => *share = Some(more),
            }
        }
        Ok(())
    }
}

/// The body of an answer to a client.
#[derive(Debug)]
pub struct Reply {
    from: Source,
    /// The request counts as in flight until its answer has been taken.
    _in_flight: Option<InFlight>,
    _place: Option<Place>,
}

/// What we say in a conversation.
struct Frames(BoxStream<'static, Frame<Bytes>>);

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Frames")
    }
}

#[derive(Debug)]
enum Source {
    Us(Option<Bytes>),
    /// One message and what follows it.
    Call(Option<Bytes>, Option<HeaderMap>),
    /// A conversation, in which we say something whenever something was said to us.
    Conversation(Frames),
    Upstream(Download),
    Pages(axum::body::Body),
}

impl Reply {
    /// Our own words.
    pub fn whole(bytes: Bytes) -> Self {
        Self { from: Source::Us(Some(bytes)), _in_flight: None, _place: None }
    }

    /// The answer to a gRPC call.
    pub fn call(message: Bytes, trailers: HeaderMap) -> Self {
        Self { from: Source::Call(Some(message), Some(trailers)), _in_flight: None, _place: None }
    }

    /// Our part of a conversation.
    pub fn conversation(frames: BoxStream<'static, Frame<Bytes>>) -> Self {
        Self { from: Source::Conversation(Frames(frames)), _in_flight: None, _place: None }
    }

    /// An upstream's.
    pub fn upstream(body: Download) -> Self {
        Self { from: Source::Upstream(body), _in_flight: None, _place: None }
    }

    /// A page of ours.
    pub fn page(body: axum::body::Body) -> Self {
        Self { from: Source::Pages(body), _in_flight: None, _place: None }
    }

    /// Keeps the request's place until this body is gone.
    pub fn keeping(self, place: Place) -> Self {
        Self { _place: Some(place), ..self }
    }

    /// Keeps the request in flight until this body is gone.
    pub fn holding(self, in_flight: InFlight) -> Self {
        Self { _in_flight: Some(in_flight), ..self }
    }
}

impl Body for Reply {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut self.get_mut().from {
            Source::Us(bytes) => Poll::Ready(bytes.take().filter(|bytes| !bytes.is_empty()).map(|bytes| Ok(Frame::data(bytes)))),
            Source::Call(message, trailers) => {
                let next = message.take().map(Frame::data).or_else(|| trailers.take().map(Frame::trailers));
                Poll::Ready(next.map(Ok))
            }
            Source::Conversation(frames) => frames.0.as_mut().poll_next(cx).map(|frame| frame.map(Ok)),
            Source::Upstream(body) => Pin::new(body).poll_frame(cx),
            Source::Pages(body) => Pin::new(body).poll_frame(cx).map(|frame| frame.map(|frame| frame.map_err(BodyError::Page))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.from {
            Source::Us(bytes) => bytes.as_ref().is_none_or(Bytes::is_empty),
            Source::Call(message, trailers) => message.is_none() && trailers.is_none(),
            Source::Conversation(_) => false,
            Source::Upstream(body) => body.is_end_stream(),
            Source::Pages(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.from {
            Source::Us(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            Source::Call(..) | Source::Conversation(_) => SizeHint::default(),
            Source::Upstream(body) => body.size_hint(),
            Source::Pages(body) => body.size_hint(),
        }
    }
}
