//! Both stores in memory: for tests, and for a single process that may forget.
//!
//! An attacker tries to fill them: expired entries are reclaimed a few per write, so that neither memory
//! nor any single call grows with what has died.

mod durable;
mod expiring;
mod shard;

pub use durable::MemoryDurableStore;
pub use expiring::MemoryStore;
