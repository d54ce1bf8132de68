//! Realms: stores that check passwords.

pub mod hashing;
pub mod ldap;
pub mod local;
#[cfg(test)]
pub(crate) mod shelf;
