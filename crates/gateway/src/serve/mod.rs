//! The doors: everything that speaks HTTP to clients.

pub mod admin;
pub mod answer;
pub mod api_login;
pub mod body;
pub mod client_certificates;
pub mod control;
pub mod cors;
pub mod delegate;
pub mod ext_authz;
pub mod ext_proc;
pub mod fault;
pub mod framing;
pub mod grpc;
pub mod hand_over;
pub mod health;
pub mod house;
pub mod integration;
pub mod kept;
pub mod listen;
pub mod load;
pub mod notify;
mod operation;
pub mod pages;
pub mod proxy;
pub mod proxy_protocol;
pub mod read;
pub mod return_to;
pub mod tickets;
pub mod tls;
pub mod upgrade;
pub mod wire;

#[cfg(test)]
mod tests;
