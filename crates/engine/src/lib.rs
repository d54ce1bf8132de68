//! The engine answers one question about every request: who is asking, may they, and what shall the
//! application be told about them? It does no I/O of its own: schemes, realms, injectors and stores
//! are traits that the gateway implements.
//!
//! Start reading at [`engine::Engine::decide`].
#![forbid(unsafe_code)]

pub mod admission;
pub mod audit;
pub mod basic;
pub mod chain;
pub mod clock;
pub mod cors;
pub mod csrf;
pub mod decision;
pub mod engine;
#[cfg(test)]
mod fixtures;
pub mod identity;
pub mod inject;
pub mod policy;
pub mod profile;
pub mod realm;
pub mod request;
pub mod route;
pub mod scheme;
pub mod secret;
pub mod session;
pub mod store;
pub mod tenant;
pub mod users;

pub use clock::Timestamp;
