//! Messages of real clients, hostile ones, and our own, held against their verdicts.
<<<<<<< HEAD
#![expect(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "a test says what it expects by unwrapping it")]
=======
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test says what it expects by unwrapping it"
)]
>>>>>>> wss

mod attacks;
mod certificates;
mod common;
mod interop;
mod recorded;
mod roundtrip;
