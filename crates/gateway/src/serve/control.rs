//! The one bridge from the data threads to the control runtime.
//!
//! Our own pages hash passwords, read stores and render; a data thread that waited for that would stop
//! forwarding for everybody on its core. What costs no more than a decision stays where it is.

use std::convert::Infallible;

use http::{Request, Response};
use tokio::runtime::Handle;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;
use vestibule_engine::scheme::Unavailable;

/// Our own endpoints. Each request carries the judged `Arc<CheckRequest>` and its `Found` as extensions;
/// its body has been read.
pub type OwnPages = BoxCloneSyncService<Request<axum::body::Body>, Response<axum::body::Body>, Infallible>;

/// Something that lives on the control runtime, to be used from elsewhere.
#[derive(Debug, Clone)]
pub struct OnControl<T> {
    handle: Handle,
    inner: T,
}

impl<T> OnControl<T> {
    /// `inner`, run on `handle`'s runtime.
    pub fn new(handle: Handle, inner: T) -> Self {
        Self { handle, inner }
    }
}

impl OnControl<OwnPages> {
    /// Asks our pages, on the control runtime unless it is `brief`. Whoever asked may go meanwhile: what was begun is done and recorded.
    ///
    /// # Errors
    /// [`Unavailable`] if the page panicked or the runtime is shutting down.
    pub async fn call(&self, request: Request<axum::body::Body>, brief: bool) -> Result<Response<axum::body::Body>, Unavailable> {
        let pages = self.inner.clone().oneshot(request);
        let answered = if brief { tokio::spawn(pages) } else { self.handle.spawn(pages) }.await;
        match answered.map_err(|error| Unavailable::new("pages", error))? {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}
