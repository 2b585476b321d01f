//! The manifest: what a backup holds, written last.
//!
//! JSON for people and tools, in an envelope of its digest:
//! `{"sha256":"<of the text behind "manifest":>","manifest":{…}}`. Every byte is either covered by the digest or
//! compared with what it must be.

use common::backup::tally::Tally;
use common::ids::{ClusterId, DbName, Index, ShardId, Term};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::catalog::Database;
use super::error::Damage;

/// Its name in the backup's folder.
pub(super) const FILE: &str = "manifest.json";

const BEFORE: &str = "{\"sha256\":\"";
const BETWEEN: &str = "\",\"manifest\":";
const BEHIND: &str = "}\n";
const DIGEST_CHARS: usize = 64;

/// See the module.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    /// The format of all files.
    pub(super) format: u16,
    /// The version of the program that wrote it.
    pub(super) quorate: String,
    /// Names the backup; each file carries it.
    pub(super) backup: Uuid,
    /// The name of the cluster it was taken from.
    pub(super) cluster: String,
    /// That cluster.
    pub(super) cluster_id: ClusterId,
    /// When it was begun, in milliseconds since 1970: every write acknowledged before is in it.
    pub(super) began_ms: u64,
    /// When it was done.
    pub(super) ended_ms: u64,
    /// The databases, sorted by name.
    pub(super) databases: Vec<Saved>,
    /// Databases that were deleted while it was taken; nothing of them is to be restored.
    pub(super) left_out: Vec<DbName>,
    /// A file a shard.
    pub(super) shards: Vec<Part>,
}

/// A database in a backup.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Saved {
    /// What it is called, and its settings.
    pub(super) database: Database,
    /// What there is of it, over all shards.
    pub(super) tally: Tally,
}

/// A file of a backup: what one shard gave out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Part {
    /// The shard.
    pub(super) shard: ShardId,
    /// The file's name.
    pub(super) file: String,
    /// Its size.
    pub(super) bytes: u64,
    /// Its digest, as `sha256sum` shows it.
    pub sha256: String,
    /// Term of the last log entry in it.
    pub(super) term: Term,
    /// Index of the last log entry in it.
    pub(super) index: Index,
    /// Documents in it, deleted ones included.
    pub(super) documents: u64,
}

/// The name of a shard's file.
pub(super) fn file_of(shard: ShardId) -> String {
    format!("shard-{shard}.backup")
}

impl Manifest {
    /// Its text.
    pub(super) fn to_text(&self) -> String {
        let text = serde_json::to_string_pretty(self).expect("a manifest always serialises");
        format!("{BEFORE}{}{BETWEEN}{text}{BEHIND}", hex(&Sha256::digest(&text)))
    }

    /// Reads and checks its text.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Damage> {
        let damage = |offset: usize, reason: String| Damage { file: FILE.to_owned(), offset: offset as u64, reason };
        let cut = || damage(0, "it is no manifest, or not all of one".to_owned());
        let rest = text.strip_prefix(BEFORE.as_bytes()).ok_or_else(cut)?;
        let (digest, rest) = rest.split_at_checked(DIGEST_CHARS).ok_or_else(cut)?;
        let rest = rest.strip_prefix(BETWEEN.as_bytes()).ok_or_else(cut)?;
        let inner = rest.strip_suffix(BEHIND.as_bytes()).ok_or_else(cut)?;
        if hex(&Sha256::digest(inner)).as_bytes() != digest {
            return Err(damage(BEFORE.len(), "the digest does not match".to_owned()));
        }
        let unreadable = |error: serde_json::Error| damage(0, format!("it cannot be read: {error}"));
        let manifest: Self = serde_json::from_slice(inner).map_err(unreadable)?;
        match manifest.shards.iter().find(|part| part.file != file_of(part.shard)) {
            None => Ok(manifest),
            Some(part) => Err(damage(0, format!("the file of shard {} is called {}", part.shard, part.file))),
        }
    }
}

/// Lowercase hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
