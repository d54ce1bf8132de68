//! The login form.
