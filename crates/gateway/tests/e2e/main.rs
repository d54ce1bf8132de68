//! The real binary, real sockets, a real application behind it.
#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "a test says what it expects")]
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a test says why it was skipped, and shows the gateway's log when it fails")]

mod admin;
mod bad_input;
mod chain;
mod demo;
mod doors;
mod ldap;
mod lifecycle;
mod login;
mod nginx;
mod soap;
mod support;
mod xml;
