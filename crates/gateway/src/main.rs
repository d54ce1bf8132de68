//! Vestibule, an authentication gateway: parse arguments, run one command.
#![forbid(unsafe_code)]

mod audit;
mod cli;
mod config;
mod forward;
mod inject;
mod keys;
mod realms;
mod schemes;
mod serve;
mod store;

fn main() {}
