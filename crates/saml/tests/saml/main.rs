//! What the crate promises, shown from outside: recorded and hostile messages, both roles against each other, and peers.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test says what it expects by unwrapping it"
)]

mod attacks;
mod common;
#[path = "../../../../fuzz/src/keys.rs"]
#[expect(clippy::expect_used, reason = "it stops at what must not be")]
mod fuzz_keys;
mod interop;
mod recorded;
mod roles;
mod saml11;
