//! Whether we live, whether we should get work, and numbers: on a listener of its own, never a client's.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use metrics_exporter_prometheus::PrometheusHandle;
use vestibule_engine::scheme::Unavailable;

use crate::serve::proxy::Shared;

/// What the answers depend on.
#[derive(Clone)]
pub struct Health {
    /// Says whether we are about to stop. It exists once the doors can open, so listen for health after that.
    pub shared: Arc<Shared>,
    /// Asks the stores.
    pub stores: Probe,
    /// The numbers.
    pub metrics: PrometheusHandle,
}

/// Asks whether what we depend on answers.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), Unavailable>> + Send + Sync>;

/// `/healthz`, `/readyz` and `/metrics`.
pub fn router(health: Health) -> Router {
    Router::new().route("/healthz", get(async || "alive\n")).route("/readyz", get(ready)).route("/metrics", get(metrics)).with_state(health)
}

/// Serves them until the process ends. Runs on the control runtime.
///
/// # Errors
/// When the socket fails.
pub async fn serve(listener: tokio::net::TcpListener, health: Health) -> std::io::Result<()> {
    axum::serve(listener, router(health)).await
}

async fn ready(State(health): State<Health>) -> Response {
    let verdict = if health.shared.is_draining() { Err("stopping\n") } else { (health.stores)().await.map_err(|_| "store unavailable\n") };
    let (status, text) = match verdict {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, why),
    };
    (status, [(CACHE_CONTROL, "no-store")], text).into_response()
}

async fn metrics(State(health): State<Health>) -> Response {
    metrics::gauge!("vestibule_requests_in_flight").set(health.shared.load().under_way() as f64);
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], health.metrics.render()).into_response()
}
