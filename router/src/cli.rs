//! The command line of `quorate-router`.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use http::Uri;

use crate::admin::Admin;
use crate::check;

/// Where the router listens unless told otherwise: CouchDB's port, on loopback only.
pub const LISTEN: &str = "127.0.0.1:5984";
/// The server that `--check` asks unless told otherwise: one that listens at [`LISTEN`].
const RUNNING: &str = "http://127.0.0.1:5984";
/// Where the embedded mode keeps its data unless told otherwise.
pub const DATA: &str = "quorate-data";

/// Quorate's front door: documents over the CouchDB HTTP API, on quorum-replicated shards.
///
/// Without a cluster file it is the embedded mode: shards and replicas in this one process, open to everybody on
/// this machine (and to nobody else).
#[derive(Debug, Clone, Parser)]
#[command(name = "quorate-router", version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub struct Cli {
    /// The cluster file: nodes, shards, secret, settings. Without nodes and shards in it, its other settings
    /// hold for the embedded mode.
    #[arg(long, value_name = "FILE")]
    pub cluster: Option<PathBuf>,
    /// Where to take requests. Anything but a loopback address needs an admin (and, with nodes, a secret_file).
    #[arg(long, value_name = "HOST:PORT", default_value = LISTEN)]
    pub listen: String,
    /// Embedded mode: the folder for all data [default: quorate-data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Embedded mode: how many shards, fixed when the folder is made [default: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=64))]
    pub shards: Option<u32>,
    /// Embedded mode: how many replicas each shard has, fixed when the folder is made [default: 3].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=9))]
    pub replicas: Option<u32>,
    /// Starts nothing: asks the server that runs at URL [default: http://127.0.0.1:5984] whether it is up, or at
    /// URL/_ready whether it reaches all shards. Exits with 0 if so, else with 1 and the reason.
    #[arg(long, value_name = "URL", num_args = 0..=1, default_missing_value = RUNNING, exclusive = true)]
    #[arg(value_parser = check::url)]
    pub check: Option<Uri>,
    /// Instead of a router to run.
    #[command(subcommand)]
    pub task: Option<Task>,
}

/// What the program does besides being a router.
#[derive(Debug, Clone, Subcommand)]
pub enum Task {
    /// Looks after a cluster: who leads, planned changes, lost nodes, damaged folders.
    Admin(Box<Admin>),
}

const EXAMPLES: &str = "\
Examples:
  quorate-router                                          embedded, on http://127.0.0.1:5984
  quorate-router --replicas 1 --data /srv/quorate         embedded, for a small machine
  quorate-router --cluster cluster.toml --listen 127.0.0.1:5985
  quorate-router --check http://127.0.0.1:5985            exit code 0 if that router is up
  quorate-router admin status                             who leads, and how all replicas are; see admin --help
  quorate-router admin backup --to /srv/backup-1          all databases of a running cluster, in a new folder

Every setting of the cluster file can also be given as an environment variable: QUORATE_, then its path with __
between the levels, for example QUORATE_ADMIN__NAME, QUORATE_ADMIN__PASSWORD, QUORATE_LOG__FILTER=debug.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
        let cli = Cli::parse_from(["quorate-router", "--cluster", "c.toml", "--listen", "127.0.0.1:1"]);
        assert_eq!((cli.cluster, cli.listen.as_str()), (Some(PathBuf::from("c.toml")), "127.0.0.1:1"));
        assert!(cli.task.is_none());
        assert!(Cli::try_parse_from(["quorate-router", "--replicas", "0"]).is_err());
        assert!(Cli::try_parse_from(["quorate-router", "--replicas", "1", "admin", "status"]).is_err());
        let cli = Cli::parse_from(["quorate-router", "admin", "status"]);
        assert!(matches!(cli.task, Some(Task::Admin(_))));
    }

    #[test]
    fn a_check_asks_the_default_address_unless_told_and_takes_no_other_flags() {
        let check = |args: &[&str]| Cli::try_parse_from([&["quorate-router", "--check"], args].concat());
        assert_eq!(check(&[]).expect("valid").check.expect("asked"), "http://127.0.0.1:5984/_up");
        assert_eq!(check(&["http://r1:1"]).expect("valid").check.expect("asked"), "http://r1:1/_up");
        assert!(check(&["http://r1:1", "--listen", "127.0.0.1:1"]).is_err());
    }
}
