//! A replica's log as JSON, record by record, with the place of each.

use std::io;
use std::path::Path;

use bytes::Bytes;
use common::ids::{NodeId, ShardId};
use serde_json::{Value, json};

use super::{Error, replica_of};
use crate::dump::WalEntry;
use crate::raft::committed::{self, Committed};
use crate::wal::{self, Dumped, Record};

/// What to print.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// A node's data folder, or that of one replica.
    pub data: &'a Path,
    /// The shard.
    pub shard: ShardId,
    /// Which node's replica, where `data` has several.
    pub node: Option<&'a NodeId>,
    /// Leaves out what lies before this entry.
    pub from: Option<u64>,
}

/// Hands every record of a log to `each` as JSON, oldest first, entries that were voided later included, and goes on
/// behind damage with the next segment. Returns what is damaged, in words with file and byte.
///
/// May run beside a live node: what is being written just then looks cut short.
pub fn dump(wanted: &Wanted<'_>, mut each: impl FnMut(&Value) -> io::Result<()>) -> Result<Vec<String>, Error> {
    let dir = replica_of(wanted.data, wanted.shard, wanted.node)?.join("wal");
    let (mut begun, mut failed, mut unreadable) = (wanted.from.is_none(), None, Vec::new());
    let visit = |found: Dumped<'_>| {
        if let Record::Entry { id, .. } = found.record {
            begun = wanted.from.is_none_or(|from| id.index >= from);
        }
        if !begun || failed.is_some() {
            return;
        }
        let mut line = match shown(found.record) {
            Ok(line) => line,
            Err(reason) => {
                unreadable.push(format!("{} byte {}: {reason}", found.file.display(), found.offset));
                json!({ "record": "unreadable", "reason": reason })
            }
        };
        line["file"] = json!(found.file);
        line["byte"] = json!(found.offset);
        line["bytes"] = json!(found.len);
        failed = each(&line).err();
    };
    let damage = wal::scan(&dir, visit).map_err(|error| Error::Io { path: dir.clone(), reason: error.to_string() });
    if let Some(error) = failed {
        return Err(Error::Output(error));
    }
    Ok(damage?.iter().map(ToString::to_string).chain(unreadable).collect())
}

fn shown(record: &Record<'_>) -> Result<Value, String> {
    Ok(match record {
        Record::Entry { id, payload } => {
            let entry = wal::Entry { id: *id, payload: Bytes::copy_from_slice(payload) };
            let entry = WalEntry::from(Committed::of(entry)?);
            let mut line = serde_json::to_value(entry).map_err(|error| error.to_string())?;
            line["record"] = json!("entry");
            line
        }
        Record::Head { vote, purged, next } => {
            json!({ "record": "head", "vote": vote.and_then(voted), "purged": purged, "next": next })
        }
        Record::Vote(vote) => json!({ "record": "vote", "vote": voted(vote) }),
        Record::Truncate { from } => json!({ "record": "truncate", "from": from }),
        Record::Purge { upto } => json!({ "record": "purge", "upto": upto }),
        Record::Seal => json!({ "record": "seal" }),
    })
}

fn voted(bytes: &[u8]) -> Option<Value> {
    let (term, replica, committed) = committed::vote(bytes)?;
    Some(json!({ "term": term, "for": format!("{:016x}", replica.0), "committed": committed }))
}
