//! Which replica a folder belongs to: cluster, node, shard, and the incarnation drawn when the folder was made.
//!
//! The incarnation is the replica's Raft id. A folder that was lost and made anew has another one, so it never votes
//! with the promises of the one that was lost. Damaged folders are moved aside, never deleted: what is in them may be
//! all there is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use common::ids::{ClusterId, NodeId, RaftId, ShardId};
use serde::{Deserialize, Serialize};

/// In every folder of a replica.
pub(crate) const FILE: &str = "identity.json";
/// Left in a folder whose files turned out to be damaged while the node ran.
pub(crate) const DAMAGED: &str = "damaged";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) shard: ShardId,
    pub(crate) replica: RaftId,
    /// Whether this folder takes the place of one that was moved aside. Such a replica waits to be added and never
    /// founds a replica set: that would make an empty shard of a damaged one.
    pub(crate) replacement: bool,
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It belongs to somebody else.
    #[error(
        "{dir} belongs to node {node} of cluster {cluster}, shard {shard}; this is another one: check name and --data"
    )]
    Foreign {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        cluster: ClusterId,
        /// Whose it is.
        node: NodeId,
        /// Which shard's it is.
        shard: ShardId,
    },
    /// It cannot be read or written.
    #[error("{path}: {reason}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl Error {
    fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io { path: path.to_owned(), reason: error.to_string() }
    }
}

/// The place of one replica in a node's data.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    /// The node's folder.
    root: PathBuf,
    pub(crate) cluster: ClusterId,
    pub(crate) node: NodeId,
    pub(crate) shard: ShardId,
}

impl Home {
    /// Of a replica under `data`, the folder for all nodes of a process.
    pub(crate) fn new(data: &Path, cluster: ClusterId, node: &NodeId, shard: ShardId) -> Self {
        Self { root: data.join(node.as_str()), cluster, node: node.clone(), shard }
    }

    /// The replica's folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.root.join(format!("shard-{}", self.shard))
    }

    /// The identity of the folder; makes both when missing. A folder that was marked as damaged is moved aside first.
    pub(crate) fn open(&self) -> Result<Identity, Error> {
        let dir = self.dir();
        if let Ok(reason) = fs::read_to_string(dir.join(DAMAGED)) {
            self.move_aside(reason.trim())?;
        }
        let file = dir.join(FILE);
        match fs::read(&file) {
            Ok(bytes) => self.check(&file, &bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // Files without an identity are of nobody; a folder made by us has it first.
                if fs::read_dir(&dir).is_ok_and(|mut entries| entries.next().is_some()) {
                    self.move_aside("it has no identity")?;
                }
                self.make(&dir)
            }
            Err(error) => Err(Error::io(&file, &error)),
        }
    }

    fn check(&self, file: &Path, bytes: &[u8]) -> Result<Identity, Error> {
        let Ok(identity) = serde_json::from_slice::<Identity>(bytes) else {
            self.move_aside("its identity cannot be read")?;
            return self.make(&self.dir());
        };
        let Identity { cluster, node, shard, .. } = &identity;
        if (*cluster, node, *shard) != (self.cluster, &self.node, self.shard) {
            let dir = file.parent().unwrap_or(file).to_owned();
            return Err(Error::Foreign { dir, cluster: *cluster, node: node.clone(), shard: *shard });
        }
        Ok(identity)
    }

    fn make(&self, dir: &Path) -> Result<Identity, Error> {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes)
            .map_err(|error| Error::Io { path: dir.to_owned(), reason: format!("no randomness: {error}") })?;
        let identity = Identity {
            cluster: self.cluster,
            node: self.node.clone(),
            shard: self.shard,
            // 0 stands for nobody in the very first log entry.
            replica: RaftId(u64::from_le_bytes(bytes).max(1)),
            replacement: self.moved_aside() > 0,
        };
        let text = serde_json::to_vec_pretty(&identity).expect("an identity always serialises");
        // Durable before anything else is in the folder: whatever it votes for, it votes as this incarnation.
        let write = || {
            fs::create_dir_all(dir)?;
            let (part, file) = (dir.join("identity.part"), dir.join(FILE));
            let mut out = File::create(&part)?;
            out.write_all(&text)?;
            out.sync_all()?;
            fs::rename(&part, &file)?;
            File::open(dir)?.sync_all()?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(|error| Error::io(dir, &error))?;
        Ok(identity)
    }

    /// How many folders of damaged predecessors were set aside.
    pub(crate) fn moved_aside(&self) -> usize {
        (0..).map(|n| self.aside(n)).take_while(|path| path.exists()).count()
    }

    fn aside(&self, n: u32) -> PathBuf {
        self.root.join(format!("damaged-shard-{}-{n}", self.shard))
    }

    /// Takes the folder out of use; the next [`Home::open`] makes a new one.
    pub(crate) fn move_aside(&self, reason: &str) -> Result<(), Error> {
        let dir = self.dir();
        let to = (0..).map(|n| self.aside(n)).find(|path| !path.exists()).expect("folders are finite in number");
        tracing::error!(dir = %dir.display(), to = %to.display(), reason, "a damaged folder is moved aside");
        let rename = || {
            fs::rename(&dir, &to)?;
            File::open(&self.root)?.sync_all()
        };
        rename().map_err(|error| Error::io(&dir, &error))
    }

    /// Marks the folder as damaged, to be moved aside at the next start.
    pub(crate) fn mark_damaged(&self, reason: &str) -> Result<(), Error> {
        let path = self.dir().join(DAMAGED);
        let write = || {
            let mut file = File::create(&path)?;
            writeln!(file, "{reason}")?;
            file.sync_all()
        };
        write().map_err(|error| Error::io(&path, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home(data: &Path, node: &str) -> Home {
        Home::new(data, ClusterId::of("c"), &NodeId::parse(node).expect("valid"), ShardId(2))
    }

    #[test]
    fn a_folder_keeps_its_identity_and_a_new_one_gets_another() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let home = home(data.path(), "n1");
        let first = home.open().expect("made");
        assert_eq!(home.open().expect("read"), first);
        fs::remove_dir_all(home.dir()).expect("removed");
        let second = home.open().expect("made again");
        assert_ne!(second.replica, first.replica);
        assert!(!second.replacement);
    }

    #[test]
    fn a_foreign_folder_is_refused() {
        let data = tempfile::tempdir().expect("a temporary folder");
        home(data.path(), "n1").open().expect("made");
        fs::rename(data.path().join("n1"), data.path().join("n2")).expect("renamed");
        assert!(matches!(home(data.path(), "n2").open(), Err(Error::Foreign { .. })));
    }

    #[test]
    fn a_damaged_folder_is_kept_aside_and_its_successor_knows() {
        let data = tempfile::tempdir().expect("a temporary folder");
        let home = home(data.path(), "n1");
        let first = home.open().expect("made");
        home.mark_damaged("bit rot").expect("marked");
        let second = home.open().expect("made again");
        assert_ne!(second.replica, first.replica);
        assert!(second.replacement);
        assert!(data.path().join("n1/damaged-shard-2-0/identity.json").exists());
        fs::write(home.dir().join(FILE), "garbled").expect("written");
        assert!(home.open().expect("made a third time").replacement);
        assert!(data.path().join("n1/damaged-shard-2-1").exists());
    }
}
