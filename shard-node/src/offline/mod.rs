//! Looks into the data folder of a node that is not running: what its replicas hold, and whether it is sound.
//!
//! For operators. A look changes no log; an engine is opened as the node itself would open it at its next start, which
//! may write to it. A replica in use is never looked at: the log's lock says so.

mod attachments;
pub mod check;
pub mod dump;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use common::ids::{NodeId, ShardId};

use crate::replica::identity::{FILE, Identity};
use crate::wal;

/// Why a folder cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing of ours in it.
    #[error("{0} holds no replica; give the folder that the node got with --data, or one of a single replica")]
    Nothing(PathBuf),
    /// The node runs.
    #[error("{0} is in use: stop its node first")]
    InUse(PathBuf),
    /// Several nodes have a replica of the shard there.
    #[error("{folder} holds replicas of shard {shard} of several nodes; say which with --node: {nodes}")]
    Several {
        /// The folder.
        folder: PathBuf,
        /// The shard.
        shard: ShardId,
        /// The names to choose from.
        nodes: String,
    },
    /// No replica of the shard is there.
    #[error("{folder} holds no replica of shard {shard}")]
    NotThere {
        /// The folder.
        folder: PathBuf,
        /// The shard.
        shard: ShardId,
    },
    /// It cannot be read.
    #[error("{path}: {reason}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// What was read cannot be handed on.
    #[error("the output: {0}")]
    Output(io::Error),
}

impl Error {
    fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io { path: path.to_owned(), reason: error.to_string() }
    }
}

/// `data` with its whole path: a replica's folder says by its name and its parent's whose it should be.
fn whole(data: &Path) -> Result<PathBuf, Error> {
    fs::canonicalize(data).map_err(|error| Error::io(data, &error))
}

/// The folders of replicas at or under `data`, sorted: that of a replica, of a node, or of all nodes of a process.
fn replicas(data: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    if is_replica(data) {
        found.push(data.to_owned());
    }
    for folder in folders(data)? {
        if is_replica(&folder) {
            found.push(folder);
        } else {
            found.extend(folders(&folder)?.into_iter().filter(|folder| is_replica(folder)));
        }
    }
    found.sort();
    if found.is_empty() { Err(Error::Nothing(data.to_owned())) } else { Ok(found) }
}

/// Folders moved aside as damaged are none: they are looked at only when they are named.
fn is_replica(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.strip_prefix("shard-").is_some_and(|number| number.parse::<u32>().is_ok())
        || (!is_aside(name) && folder.join(FILE).is_file())
}

fn is_aside(name: &str) -> bool {
    name.starts_with("damaged-shard-")
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |error: io::Error| Error::io(folder, &error);
    let entries = fs::read_dir(folder).map_err(failed)?;
    let paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>().map_err(failed)?;
    Ok(paths.into_iter().filter(|path| path.is_dir()).collect())
}

/// The folder of the one replica of `shard` at or under `data`; `node` tells several apart.
fn replica_of(data: &Path, shard: ShardId, node: Option<&NodeId>) -> Result<PathBuf, Error> {
    let (data, named) = (&whole(data)?, format!("shard-{shard}"));
    // A folder moved aside is looked at when it is named.
    let aside = data.file_name().and_then(|name| name.to_str()).is_some_and(is_aside);
    let all = if aside { vec![data.to_owned()] } else { replicas(data)? };
    let name_of = |path: &Path, n: usize| Some(path.ancestors().nth(n)?.file_name()?.to_str()?.to_owned());
    let of_shard = |path: &&PathBuf| aside || name_of(path, 0).as_deref() == Some(&named);
    let of_node = |path: &&PathBuf| node.is_none_or(|node| name_of(path, 1).as_deref() == Some(node.as_str()));
    let found: Vec<&PathBuf> = all.iter().filter(of_shard).filter(of_node).collect();
    match found[..] {
        [one] => Ok(one.clone()),
        [] => Err(Error::NotThere { folder: data.to_owned(), shard }),
        _ => {
            let nodes: Vec<String> = found.iter().filter_map(|path| name_of(path, 1)).collect();
            Err(Error::Several { folder: data.to_owned(), shard, nodes: nodes.join(", ") })
        }
    }
}

/// Whose log a replica's folder should hold.
fn owner(identity: &Identity) -> wal::Identity {
    wal::Identity {
        cluster: identity.cluster,
        node: identity.node.clone(),
        shard: identity.shard,
        replica: identity.replica,
    }
}
