//! Realms: stores that check passwords.

pub mod hashing;
pub mod local;
#[cfg(test)]
pub(crate) mod shelf;
