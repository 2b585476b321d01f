//! Failover exercises on the containers of a compose project, or on processes: see `failover --help`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use harness::Result;
use harness::failover::{Exercise, Outcome, Processes, Project, Settings, Target, run, table};
use harness::layout::Layout;

/// Does failover exercises under load, one after the other, and says what clients saw. Exits with 1 when an
/// acknowledged write was lost, an answer was wrong, a shard was silent for too long, or a patient client's request
/// failed.
#[derive(Debug, Parser)]
#[command(name = "failover")]
struct Options {
    /// The exercises; all of them if none is named.
    exercises: Vec<Exercise>,
    /// Where.
    #[arg(long, default_value = "auto")]
    on: On,
    /// The compose project.
    #[arg(long, default_value = "quorate")]
    project: String,
    /// The compose file that it was started from.
    #[arg(long, default_value = "deploy/docker-compose.yml")]
    file: PathBuf,
    /// The admin's password of that project.
    #[arg(long, default_value = "deploy/secrets/admin.password")]
    password_file: PathBuf,
    /// Processes: nodes; with fewer than nine, nodes host replicas of several shards.
    #[arg(long, default_value_t = 9)]
    nodes: usize,
    /// Processes: routers.
    #[arg(long, default_value_t = 2)]
    routers: usize,
    /// Longest silence, in milliseconds, of a shard that loses its primary.
    #[arg(long, default_value_t = 1_000)]
    silence_max_ms: u64,
    /// Longest silence, in milliseconds, of a shard that loses nothing it needs.
    #[arg(long, default_value_t = 500)]
    elsewhere_max_ms: u64,
    /// How long, in milliseconds, a fault lasts that could last.
    #[arg(long, default_value_t = 5_000)]
    hold_ms: u64,
    /// How long, in milliseconds, the clients of rolling-restart and lose-router repeat a request.
    #[arg(long, default_value_t = 2_000)]
    retry_ms: u64,
    /// Writers.
    #[arg(long, default_value_t = 12)]
    writers: usize,
    /// Readers; as many as there are shards, or a multiple of that, so that each reads one shard.
    #[arg(long, default_value_t = 6)]
    readers: usize,
    /// Pause, in milliseconds, of each of them between two requests.
    #[arg(long, default_value_t = 5)]
    pause_ms: u64,
}

/// What to hurt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// The containers if the project runs, else processes.
    Auto,
    /// The containers, or nothing.
    Containers,
    /// Processes started for the purpose.
    Processes,
}

#[tokio::main]
async fn main() -> ExitCode {
    match start(&Options::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn start(options: &Options) -> Result<bool> {
    let exercises = match &options.exercises[..] {
        [] => Exercise::value_variants(),
        some => some,
    };
    if options.on != On::Processes {
        match Project::find(&options.project, options.file.clone(), &options.password_file).await {
            Ok(project) => return all(exercises, project, options).await,
            Err(error) if options.on == On::Containers => return Err(error),
            Err(why) => println!("containers skipped: {why}; on processes instead"),
        }
    }
    let layout = Layout { nodes: options.nodes, ..Layout::nine().routers(options.routers) };
    let layout = if exercises.contains(&Exercise::Partition) { layout.proxied() } else { layout };
    all(exercises, Processes::start(layout).await?, options).await
}

/// Does them all, also after one that showed a broken promise; whether all promises were kept.
async fn all<T: Target>(exercises: &[Exercise], mut target: T, options: &Options) -> Result<bool> {
    let settings = Settings {
        hit: Duration::from_millis(options.silence_max_ms),
        elsewhere: Duration::from_millis(options.elsewhere_max_ms),
        hold: Duration::from_millis(options.hold_ms),
        writers: options.writers,
        readers: options.readers,
        pause: Duration::from_millis(options.pause_ms),
        retry: Duration::from_millis(options.retry_ms),
    };
    let (writers, readers) = (settings.writers, settings.readers);
    println!("{}; {writers} writers and {readers} readers", target.describe());
    let mut outcomes = Vec::new();
    for exercise in exercises {
        let ended = tokio::select! {
            outcome = run(*exercise, &mut target, settings) => outcome,
            _ = tokio::signal::ctrl_c() => Err("interrupted".into()),
        };
        match ended {
            Ok(outcome) => outcomes.push(outcome),
            Err(error) => {
                eprintln!("{}\n{}: {error}; undoing it", target.logs().await, exercise.name());
                target.heal().await?;
                return Err(error);
            }
        }
    }
    if outcomes.len() > 1 {
        print!("\n{}", table(&outcomes));
    }
    Ok(outcomes.iter().map(Outcome::broken).all(|broken| broken.is_empty()))
}
