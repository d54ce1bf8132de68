//! Structured logs on standard error. They are for operators; the audit is another stream.
//!
//! An operator who asks for `trace` to find a fault must not get passwords: HTTP, TLS and directory
//! libraries print bodies, headers and binds at that level. So every target but our own is capped, whatever
//! the filter asks for.

use std::io::IsTerminal;

use tracing::level_filters::LevelFilter;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// What is logged if nobody says otherwise.
const DEFAULT: &str = "info";
/// Crates of ours, whose own rule is never to log a secret.
const OURS: &str = "vestibule";
/// Dependencies that have nothing to say below a warning.
const QUIET: [&str; 9] = ["h2", "hyper", "hyper_util", "ldap3", "reqwest", "rusqlite", "rustls", "tokio_rustls", "tower"];

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Begins to log. `filter` is in the syntax of `tracing`, e.g. `info,vestibule::serve=debug`.
///
/// # Errors
/// A sentence, if the filter cannot be read or something logs already.
pub fn init(format: Format, filter: Option<&str>) -> Result<(), String> {
    let filter = filter.unwrap_or(DEFAULT);
    let wanted = EnvFilter::try_new(filter).map_err(|error| format!("the log filter `{filter}` cannot be read: {error}"))?;
    let registry = tracing_subscriber::registry().with(wanted).with(filter_fn(is_within_cap));
    let colour = std::io::stderr().is_terminal() && !crate::cli::output::no_color();
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let outcome = match format {
        Format::Text => registry.with(layer.with_ansi(colour)).try_init(),
        Format::Json => registry.with(layer.json().flatten_event(true)).try_init(),
    };
    outcome.map_err(|error| error.to_string())
}

fn is_within_cap(metadata: &Metadata<'_>) -> bool {
    *metadata.level() <= cap(metadata.target())
}

/// The most a target may say.
fn cap(target: &str) -> LevelFilter {
    let name = target.split("::").next().unwrap_or_default();
    if name == OURS || name.strip_prefix(OURS).is_some_and(|rest| rest.starts_with('_')) {
        LevelFilter::TRACE
    } else if QUIET.contains(&name) {
        LevelFilter::from_level(Level::WARN)
    } else {
        LevelFilter::INFO
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, octets: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn dependencies_are_capped_whatever_the_filter_asks_for() {
        let written = Written::default();
        let writer = written.clone();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(move || writer.clone());
        let filter = EnvFilter::try_new("trace,hyper::proto=trace,h2=trace").unwrap();
        let subscriber = tracing_subscriber::registry().with(filter).with(filter_fn(is_within_cap)).with(layer);
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "hyper::proto::h1", "hidden body");
            tracing::info!(target: "h2::codec", "hidden frame");
            tracing::debug!(target: "some_crate", "hidden bind");
            tracing::trace!(target: "vestibulefake", "hidden stranger");
            tracing::warn!(target: "hyper", "shown warning");
            tracing::trace!(target: "vestibule_engine::chain", "shown trace");
            tracing::trace!(target: "vestibule", "shown own");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("hidden"), "{text}");
        assert_eq!(text.matches("shown").count(), 3, "{text}");
    }
}
