//! Vestibule, an authentication gateway: parse arguments, run one command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use clap::Parser;

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

/// A request makes some fifty small allocations, all on one thread; glibc's allocator takes a tenth of its time for them.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse())
}
