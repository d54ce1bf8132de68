//! What the application is told.

pub mod headers;
pub mod jwt;
