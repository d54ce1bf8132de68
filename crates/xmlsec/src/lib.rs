//! XML security in which only signed content can be consumed.
//!
//! Wrapping attacks live in the gap between the tree that was verified and the tree that is read. Here there is
//! one parser, one owned tree that nobody outside can walk, and types that only a verification can make.
#![forbid(unsafe_code)]

mod c14n;
mod error;
mod limits;
mod parse;
mod tree;

pub use c14n::{Canonicalization, canonicalize};
pub use error::{Error, Malformed};
pub use limits::Limits;
