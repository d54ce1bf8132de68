//! Schemes: ways in which a caller may be recognised.

pub mod accounts;
pub mod basic;
pub mod client_certificate;
pub mod family;
pub mod identity_url;
pub mod integration;
pub mod introspection;
pub mod known_device;
pub mod login_form;
pub mod oidc;
pub mod owners;
pub mod partners;
pub mod saml;
pub mod session;
pub mod session_ticket;
pub mod verified;
pub mod ws_security;

#[cfg(test)]
mod house;
