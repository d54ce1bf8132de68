//! Realms: stores that check passwords.

pub mod hashing;
pub mod ldap;
pub mod local;
pub mod shared_secrets;
#[cfg(test)]
pub(crate) mod shelf;
