//! Measures a running server: see `bench --help`.

use std::process::ExitCode;

use clap::Parser;
use harness::bench::{Options, run, table};

fn main() -> ExitCode {
    let options = Options::parse();
    match start(&options) {
        Ok(failed) if failed > 0 => ExitCode::FAILURE,
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs everything; how many requests failed.
fn start(options: &Options) -> harness::Result<u64> {
    let mut builder = match options.threads {
        0 | 1 => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(options.threads.max(1)).enable_all().build()?;
    if !options.json {
        println!("{}", table(None));
    }
    let show = |row: &_| {
        if !options.json {
            println!("{}", table(Some(row)));
        }
    };
    let rows = runtime.block_on(run(options, show))?;
    if options.json {
        let kind = format!("{:?}", options.kind).to_lowercase();
        let report = serde_json::json!({ "kind": kind, "url": options.url, "size": options.size, "rows": rows });
        println!("{}", serde_json::to_string_pretty(&report)?);
    }
    Ok(rows.iter().map(|row| row.errors).sum())
}
