//! `quorate-router`: the front door, and without a cluster file the whole house.

use std::error::Error;
use std::process::ExitCode;

use clap::Parser;
use router::check::check;
use router::cli::{Cli, Task};
use router::embedded::{on_threads, small_pages};
use router::run::run;

/// Batches of documents come and go by the megabyte: the system's allocator gives their pages back to the kernel each
/// time and gets them back one fault at a time.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    small_pages();
    match start(&Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("quorate-router: {error}");
            ExitCode::FAILURE
        }
    }
}

fn start(cli: &Cli) -> Result<ExitCode, Box<dyn Error>> {
    match cli {
        Cli { task: Some(Task::Admin(admin)), .. } => return Ok(on_threads(1, admin.clone().run())?),
        Cli { check: Some(url), .. } => on_threads(1, check(url))??,
        cli => run(cli)?,
    }
    Ok(ExitCode::SUCCESS)
}
