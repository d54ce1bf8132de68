//! The session cookie.
