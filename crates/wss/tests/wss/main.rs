//! Messages of real clients, hostile ones, and our own, held against their verdicts.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects by unwrapping it"
)]

mod attacks;
mod certificates;
mod common;
mod interop;
mod recorded;
mod roundtrip;
