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
mod interop;
mod recorded;
mod roles;
mod saml11;
