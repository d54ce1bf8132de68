//! The store backends.

pub mod embedded;
