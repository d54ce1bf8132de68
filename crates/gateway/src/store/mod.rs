//! The store backends.

pub mod embedded;
#[cfg(test)]
#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it prints how long things take")]
mod measure;
pub mod overlay;
#[cfg(test)]
#[path = "../../tests/peers/mod.rs"]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a test says why it was skipped, and shows the store's log when it fails")]
mod peers;
pub mod postgres;
pub mod redis;
pub mod split;
mod telling;

use vestibule_engine::store::Kind;

/// What has died is kept for so long, in microseconds: a node whose clock is behind, or is set back, must still find a spent token.
const REMAINS: i64 = 10 * 60 * 1_000_000;

/// Whether a key or group is of this kind.
fn is_of(text: &str, kind: Kind) -> bool {
    let found = text.strip_prefix('{').and_then(|text| text.split_once("}:")).and_then(|(_, rest)| rest.split_once(':'));
    found.is_some_and(|(found, _)| found == kind.as_str())
}
