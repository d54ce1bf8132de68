//! Vestibule, an authentication gateway: parse arguments, run one command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

mod audit;
mod call;
mod certificate;
mod cli;
mod config;
mod forward;
mod history;
mod inject;
mod keys;
mod realms;
mod schemes;
mod serve;
mod store;
mod ticket;

/// Faster than the system's for many threads; without huge pages, which would make an idle gateway larger than it is.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
