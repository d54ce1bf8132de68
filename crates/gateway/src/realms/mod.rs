//! Realms: stores that check passwords.

pub mod delegated;
pub mod hashing;
pub mod ldap;
pub mod local;
pub mod operators;
mod pace;
pub mod shared_secrets;
#[cfg(test)]
pub(crate) mod shelf;
