//! Schemes: ways in which a caller may be recognised.

pub mod basic;
pub mod login_form;
pub mod session;
