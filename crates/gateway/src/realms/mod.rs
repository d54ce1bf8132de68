//! Realms: stores that check passwords.

pub mod delegated;
pub mod hashing;
pub mod ldap;
pub mod local;
pub mod operators;
mod pace;
#[cfg(test)]
pub(crate) mod shelf;
