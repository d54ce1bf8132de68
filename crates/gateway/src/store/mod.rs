//! The store backends.

pub mod embedded;
pub mod overlay;
