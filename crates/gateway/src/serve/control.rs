//! The one bridge from the data threads to the control runtime.
//!
//! Our own pages hash passwords, read stores and render; a data thread that waited for that would stop
//! forwarding for everybody on its core.

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
    /// Asks our pages.
    ///
    /// # Errors
    /// [`Unavailable`] if the page panicked or the runtime is shutting down.
    pub async fn call(&self, request: Request<axum::body::Body>) -> Result<Response<axum::body::Body>, Unavailable> {
        let pages = self.inner.clone();
        let answered = self.handle.spawn(pages.oneshot(request)).await;
        match answered.map_err(|error| Unavailable::new("pages", error))? {
            Ok(response) => Ok(response),
            Err(never) => match never {},
        }
    }
}
