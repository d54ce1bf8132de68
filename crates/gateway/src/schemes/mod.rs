//! Schemes: ways in which a caller may be recognised.

pub mod basic;
pub mod client_certificate;
pub mod family;
pub mod identity_url;
pub mod known_device;
pub mod login_form;
pub mod owners;
pub mod session;
pub mod verified;
pub mod ws_security;

#[cfg(test)]
mod house;
