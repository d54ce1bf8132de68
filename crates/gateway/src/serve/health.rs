//! `/healthz`, `/readyz` and metrics.
