//! Our own users.
