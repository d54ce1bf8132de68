//! Certificates by server name.
