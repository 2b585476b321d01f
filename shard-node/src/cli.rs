//! The command line of `quorate-shard-node`.

use std::path::PathBuf;

use clap::Parser;
use common::ids::NodeId;
use http::Uri;
use shard_node::check;

/// A Quorate shard node: hosts the replicas that the cluster file gives it.
///
/// Examples:
/// quorate-shard-node --cluster cluster.toml --node n1 --data /var/lib/quorate;
/// quorate-shard-node --check http://127.0.0.1:7001
///
/// Settings come from the cluster file, then from environment variables QUORATE_… (two underscores between levels:
/// QUORATE_REPLICATION__FAILOVER_TIMEOUT_MS=800), then from flags. SIGTERM or Ctrl-C hands the shards led here to
/// other nodes first and then stops. Exit codes: 0 stopped as asked, 1 wrong settings or a folder that cannot be used,
/// 70 the disk failed or an invariant broke: start it again, what is damaged is rebuilt from the other nodes.
#[derive(Debug, Parser)]
#[command(name = "quorate-shard-node", version)]
pub(crate) struct Args {
    /// The cluster file: nodes, shards, replication. Each process may have its own copy with its own addresses.
    #[arg(long, value_name = "FILE", required_unless_present = "check")]
    pub(crate) cluster: Option<PathBuf>,

    /// Which node of the cluster file this is.
    #[arg(long, value_name = "ID", value_parser = NodeId::parse, required_unless_present = "check")]
    pub(crate) node: Option<NodeId>,

    /// Where to listen for routers and other nodes; by default the node's address in the cluster file.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,

    /// Folder for the data; made when missing. The node keeps all of it under DIR/ID. [default: ./quorate-data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,

    /// Starts nothing: asks the node that runs at URL whether it is up, or at URL/_ready whether all its replicas can
    /// serve. Exits with 0 if so, else with 1 and the reason.
    #[arg(long, value_name = "URL", value_parser = check::url, exclusive = true)]
    pub(crate) check: Option<Uri>,
}

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Task {
    /// To ask a running node how it is.
    Check(Uri),
    /// To be a node.
    Run(Run),
}

/// A node to be.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) cluster: PathBuf,
    pub(crate) node: NodeId,
    pub(crate) listen: Option<String>,
    pub(crate) data: Option<PathBuf>,
}

impl Args {
    /// Tells the two apart.
    pub(crate) fn task(self) -> Task {
        match self {
            Self { check: Some(url), .. } => Task::Check(url),
            Self { cluster: Some(cluster), node: Some(node), listen, data, check: None } => {
                Task::Run(Run { cluster, node, listen, data })
            }
            _ => unreachable!("without --check the command line needs --cluster and --node"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Result<Task, clap::Error> {
        Args::try_parse_from([&["quorate-shard-node"], args].concat()).map(Args::task)
    }

    #[test]
    fn a_node_needs_a_file_and_a_name_and_a_check_neither() {
        Args::command().debug_assert();
        assert!(matches!(parse(&["--cluster", "c", "--node", "n1"]), Ok(Task::Run(run)) if run.node.as_str() == "n1"));
        assert!(matches!(parse(&["--check", "http://h:1"]), Ok(Task::Check(url)) if url == "http://h:1/_up"));
        for wrong in [&["--cluster", "c"][..], &["--node", "n1"], &["--check"], &["--check", "x", "--node", "n1"], &[]]
        {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
