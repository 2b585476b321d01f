//! `quorate-router admin`: what an operator does to a running cluster, and to a node's folder.
//!
//! Commands on the cluster are one or two requests to any router and then looks at `/v1/_replication/state` until what
//! was asked for is there; the cluster itself does the work, so a command that is cut off leaves nothing half done.
//! Answers go to the standard output, what is wrong to the standard error.

mod client;
mod drain;
mod error;
mod files;
mod output;
mod overview;
mod replace;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use common::config::OPERATOR_PASSWORD;
use common::ids::{NodeId, ShardId};
use http::Uri;

use crate::backup::{self, Reach};
use client::Router;
pub use error::Error;
use output::Output;

/// Looks after a cluster: who leads, planned changes, lost nodes, damaged folders.
///
/// Exit codes: 0 done, or all is well; 1 not well (a shard without a primary, damage found), or begun and not done in
/// time; 2 not possible (no router answers, it refuses, a folder is in use, a wrong command line).
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct Admin {
    /// Which router to ask.
    #[arg(long, value_name = "URL", global = true, default_value = "http://127.0.0.1:5984", value_parser = client::url)]
    url: Uri,
    /// The admin's name. The password comes from the environment variable QUORATE_PASSWORD or from --password-file.
    #[arg(long, value_name = "NAME", global = true)]
    user: Option<String>,
    /// A file with the admin's password; wins over QUORATE_PASSWORD.
    #[arg(long, value_name = "FILE", global = true, requires = "user")]
    password_file: Option<PathBuf>,
    /// Answers as JSON, one value a line.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  quorate-router admin status
  quorate-router admin --url http://r1:5984 --user admin --password-file admin.password status --watch
  quorate-router admin drain n4 && systemctl restart quorate-shard-node@n4
  quorate-router admin replace n4             after n4 was started with an empty folder
  quorate-router admin check --data /var/lib/quorate
  quorate-router admin dump-wal --shard 0 --from 1000 --json | jq .index
  quorate-router admin backup --to /srv/backup-1          all databases of a running cluster, in a new folder";

#[derive(Debug, Clone, Subcommand)]
enum Command {
    /// Shows one row a replica: role, term, log, lag, disk, health. Exit code 1 if a shard has no primary.
    ///
    /// `disk` is log and engine together, `free` what is left on the node's file system, `lag` the entries that are
    /// committed somewhere and not applied here.
    Status {
        /// Only this shard.
        #[arg(long, value_name = "S", value_parser = shard)]
        shard: Option<ShardId>,
        /// Shows it again and again, every so many seconds [default: 2].
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
        #[arg(value_parser = clap::value_parser!(u64).range(1..=3600))]
        watch: Option<u64>,
    },
    /// Asks a replica to lead its shard, and waits until it does.
    ///
    /// The primary hands over when the replica has everything; writers of the shard wait for about half a second. The
    /// votes decide: nothing is lost whatever becomes of it.
    Promote {
        /// The shard.
        #[arg(long, value_name = "S", value_parser = shard)]
        shard: ShardId,
        /// The node whose replica is to lead; the most advanced one, if left out.
        #[arg(long, value_name = "NODE", value_parser = NodeId::parse)]
        node: Option<NodeId>,
        /// Gives up waiting after so many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 15)]
        timeout: u64,
    },
    /// Hands everything that a node leads over to other nodes, and waits until it leads nothing.
    ///
    /// Shard after shard goes to the most advanced other replica that can serve; writers of that shard wait for about
    /// half a second. The node goes on storing and voting. Until `undrain` or its next start it is not made primary
    /// again, not by `promote` either; only when no other replica of a shard can win an election does it lead that
    /// shard, and gives it away again as soon as another one can take it. If time is up the node goes on trying.
    Drain {
        /// The node.
        #[arg(value_name = "NODE", value_parser = NodeId::parse)]
        node: NodeId,
        /// Gives up waiting after so many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 60)]
        timeout: u64,
    },
    /// Lets a drained node lead again. It takes nothing back by itself.
    Undrain {
        /// The node.
        #[arg(value_name = "NODE", value_parser = NodeId::parse)]
        node: NodeId,
    },
    /// Watches a lost node come back with an empty folder, until it serves all its shards.
    ///
    /// Start the node under its old id with an empty folder: on the same machine, or on another one whose address was
    /// put into the cluster files. It draws a new incarnation; the primary of each shard sends it a snapshot or the log,
    /// and makes it a voter in the place of the lost one, through joint consensus. This command does nothing but watch
    /// and say how far it is; it may begin before the node is started, and cutting it off stops nothing.
    Replace {
        /// The node that was lost.
        #[arg(value_name = "NODE", value_parser = NodeId::parse)]
        node: NodeId,
        /// Refused: a shard cannot be moved to a node of another id yet.
        #[arg(long, value_name = "OTHER", value_parser = NodeId::parse)]
        with: Option<NodeId>,
        /// Gives up waiting after so many seconds.
        #[arg(long, value_name = "SECONDS", default_value_t = 3600)]
        timeout: u64,
    },
    /// Checks the folder of a node that is not running: every record of the log, everything in the engine.
    ///
    /// Names each damage with file and byte (the engine names no byte). The log is only read; the engine is opened as
    /// the node's next start would open it. Exit code 0 sound, 1 damaged, 2 cannot look (the node runs, no such folder).
    Check {
        /// What the node got with --data; or the folder of one node or replica in it, also one that was moved aside.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
    },
    /// Prints a shard's log as JSON, one line each: of a running shard, or with --data from a folder.
    ///
    /// Of a running shard: committed entries. From a folder: every record with its file and byte, those never committed
    /// or voided later included; goes on behind damage, which is named on the standard error (exit code 1).
    DumpWal {
        /// The shard.
        #[arg(long, value_name = "S", value_parser = shard)]
        shard: ShardId,
        /// Leaves out what lies before this index.
        #[arg(long, value_name = "INDEX")]
        from: Option<u64>,
        /// A node's folder, as for `check`.
        #[arg(long, value_name = "DIR")]
        data: Option<PathBuf>,
        /// Which node's replica, where the folder has several.
        #[arg(long, value_name = "NODE", requires = "data", value_parser = NodeId::parse)]
        node: Option<NodeId>,
        /// Goes on with new entries as they are committed.
        #[arg(long, conflicts_with = "data")]
        follow: bool,
    },
    #[command(flatten)]
    Backup(backup::Command),
}

fn shard(text: &str) -> Result<ShardId, std::num::ParseIntError> {
    text.parse().map(ShardId)
}

/// What a command found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// All is well, or done.
    Good,
    /// Something is not as it should be; it was printed.
    Bad,
}

impl Admin {
    /// Carries the command out; the exit code says what [`Admin`] promises.
    pub async fn run(self) -> ExitCode {
        match self.carry_out().await {
            Ok(Verdict::Good) => ExitCode::SUCCESS,
            Ok(Verdict::Bad) => ExitCode::from(1),
            Err(error) if error.is_unread() => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("quorate-router admin: {error}");
                ExitCode::from(error.code())
            }
        }
    }

    async fn carry_out(self) -> Result<Verdict, Error> {
        let output = Output::new(self.json);
        let router = || self.router();
        let seconds = Duration::from_secs;
        match self.command.clone() {
            Command::Status { shard, watch } => status::status(&router()?, &output, shard, watch.map(seconds)).await,
            Command::Promote { shard, node, timeout } => {
                drain::promote(&router()?, &output, shard, node, seconds(timeout)).await
            }
            Command::Drain { node, timeout } => drain::drain(&router()?, &output, &node, seconds(timeout)).await,
            Command::Undrain { node } => drain::undrain(&router()?, &output, &node).await,
            Command::Replace { node, with: Some(other), .. } if other != node => Err(replace::moving(&node, &other)),
            Command::Replace { node, timeout, .. } => {
                replace::replace(&router()?, &output, &node, seconds(timeout)).await
            }
            Command::Check { data } => files::check(&output, &data),
            Command::DumpWal { shard, from, data: Some(data), node, .. } => {
                files::dump_folder(&output, &data, shard, node.as_ref(), from)
            }
            Command::DumpWal { shard, from, data: None, follow, .. } => {
                files::dump_running(&router()?, &output, shard, from, follow).await
            }
            Command::Backup(command) => {
                let reach = Reach { url: self.url.clone(), credentials: self.credentials()?, json: self.json };
                backup::run(&command, &reach, &now_ms).await?;
                Ok(Verdict::Good)
            }
        }
    }

    /// The router to ask, as the admin named on the command line.
    fn router(&self) -> Result<Router, Error> {
        let credentials = self.credentials()?;
        Router::new(&self.url, credentials.as_ref().map(|(user, password)| (user.as_str(), password.as_str())))
    }

    /// The admin's name and password, if there is one.
    fn credentials(&self) -> Result<Option<(String, String)>, Error> {
        let Some(user) = &self.user else { return Ok(None) };
        let password = match &self.password_file {
            Some(path) => {
                let failed = |source| Error::File { path: path.clone(), source };
                std::fs::read_to_string(path).map_err(failed)?.trim_end_matches(['\r', '\n']).to_owned()
            }
            None => std::env::var(OPERATOR_PASSWORD).map_err(|_| {
                let what = format!("--user needs a password: in {OPERATOR_PASSWORD}, or in a --password-file");
                Error::Usage(what)
            })?,
        };
        Ok(Some((user.clone(), password)))
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        admin: Admin,
    }

    fn parse(args: &[&str]) -> Result<Admin, clap::Error> {
        Line::try_parse_from([&["admin"], args].concat()).map(|line| line.admin)
    }

    #[test]
    fn flags_stand_before_or_behind_the_command() {
        let admin = parse(&["status", "--json", "--url", "http://r1:1", "--shard", "2", "--watch"]).expect("valid");
        assert!(admin.json && admin.url == "http://r1:1/");
        let Command::Status { shard: Some(ShardId(2)), watch: Some(2) } = admin.command else {
            panic!("{:?}", admin.command)
        };
        assert_eq!(parse(&["--user", "a", "drain", "n1"]).expect("valid").user.as_deref(), Some("a"));
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for wrong in [
            &["status", "--watch", "0"][..],
            &["promote", "--node", "n1"],
            &["drain"],
            &["drain", "not a name!"],
            &["check"],
            &["dump-wal", "--shard", "0", "--node", "n1"],
            &["dump-wal", "--shard", "0", "--data", "d", "--follow"],
            &["--password-file", "p", "status"],
            &["--url", "ftp://r1", "status"],
            &[],
        ] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
