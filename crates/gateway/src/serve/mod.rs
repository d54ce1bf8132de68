//! The doors: everything that speaks HTTP to clients.

pub mod admin;
pub mod answer;
pub mod health;
pub mod pages;
pub mod proxy;
pub mod tls;
