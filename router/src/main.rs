//! `quorate-router`: the front door, and without a cluster file the whole house.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use router::check::check;
use router::cli::{Cli, Command};
use router::embedded::on_threads;
use router::run::run;

/// Batches of documents come and go by the megabyte: the system's allocator gives their pages back to the kernel each
/// time and gets them back one fault at a time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match start(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("quorate-router: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<(), Box<dyn Error>> {
    match (&cli.command, &cli.check) {
        (Some(Command::Admin(admin)), _) => on_threads(1, admin.run())?,
        (None, Some(url)) => Ok(on_threads(1, check(url))??),
        (None, None) => Ok(run(cli)?),
    }
}
