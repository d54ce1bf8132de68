//! Realms: stores that check passwords.

pub mod hashing;
pub mod local;
