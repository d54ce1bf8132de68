//! The doors: everything that speaks HTTP to clients.

pub mod answer;
pub mod health;
pub mod pages;
pub mod proxy;
pub mod return_to;
pub mod tls;
