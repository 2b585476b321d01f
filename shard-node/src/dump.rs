//! Log entries as JSON for people and tools. Nobody parses this to rebuild anything.

use common::attachment::{Sent, Source};
use common::command::{Address, Bearer, By, Command, Edit, Graft, Op};
use common::validation::Defined;
use serde_json::{Value, json};

use crate::raft::committed::{Committed, Content};
use common::ids::{DbUid, Index, ShardId, Term};

/// Part of a shard's log, for people and tools.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WalPage {
    /// The first index the log still has.
    pub first: Index,
    /// Entries in order; empty if nothing was committed from there on.
    pub entries: Vec<WalEntry>,
}

/// One committed entry, for people and tools.
#[derive(Debug, Clone, serde::Serialize)]
pub struct WalEntry {
    /// Its index.
    pub index: Index,
    /// The term it was proposed in.
    pub term: Term,
    /// What it holds: commands, a membership, or nothing.
    #[serde(flatten)]
    pub content: WalContent,
}

/// What a committed entry holds.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WalContent {
    /// Commands, in the order they took effect.
    Commands(Vec<serde_json::Value>),
    /// The members of the replica set from here on.
    Members(serde_json::Value),
}

impl From<Committed> for WalEntry {
    fn from(entry: Committed) -> Self {
        Self { index: entry.index, term: entry.term, content: content(entry.content) }
    }
}

/// What an entry holds, readable.
fn content(content: Content) -> WalContent {
    match content {
        Content::Blank => WalContent::Commands(Vec::new()),
        Content::Commands(commands) => WalContent::Commands(commands.iter().map(command).collect()),
        Content::Members { voters, learners } => WalContent::Members(json!({ "voters": voters, "learners": learners })),
    }
}

fn command(command: &Command) -> Value {
    let mut line = shown_op(&command.op);
    line["request"] = Value::String(command.request.to_string());
    if command.retry {
        line["retry"] = Value::Bool(true);
    }
    line
}

fn shown_op(op: &Op) -> Value {
    match op {
        Op::Edit(edit) => of_edit(edit),
        Op::Graft(graft) => grafted(graft),
        Op::Attached(attached) => {
            let mut line = match &attached.write {
                Bearer::Edit(edit) => of_edit(edit),
                Bearer::Graft(graft) => grafted(graft),
            };
            line["attachments"] = attached.attachments.iter().map(attachment).collect();
            line
        }
        Op::PutChunk(chunk) => json!({
            "op": "put_chunk",
            "db": chunk.doc.db.to_string(),
            "id": chunk.doc.id.as_str(),
            "upload": chunk.upload.to_string(),
            "number": chunk.number,
            "bytes": chunk.bytes.len(),
        }),
        Op::ForgetUploads { before } => json!({ "op": "forget_uploads", "before": before }),
        Op::KeepViews { db, signatures } => {
            let signatures: Vec<String> = signatures.iter().map(ToString::to_string).collect();
            json!({ "op": "keep_views", "db": db.to_string(), "signatures": signatures })
        }
        Op::Local(local) => json!({
            "op": "local",
            "db": local.doc.db.to_string(),
            "id": local.doc.id.as_str(),
            "parent": local.parent,
            "body": local.json.as_ref().map(|json| shown(&local.doc, json)),
        }),
        Op::DropDb { db } => json!({ "op": "drop_db", "db": db.to_string() }),
        Op::Compact { doc } => json!({ "op": "compact", "db": doc.db.to_string(), "id": doc.id.as_str() }),
        Op::Purge(purge) => json!({
            "op": "purge",
            "db": purge.doc.db.to_string(),
            "id": purge.doc.id.as_str(),
            "revs": purge.revs.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        Op::AdoptIndexes { db, version, indexes } => json!({
            "op": "adopt_indexes",
            "db": db.to_string(),
            "version": version,
            "indexes": indexes.iter().map(|index| [&index.ddoc, &index.definition.name]).collect::<Vec<_>>(),
        }),
        Op::BuildIndexes { db } => json!({ "op": "build_indexes", "db": db.to_string() }),
        Op::Atomic(atomic) => json!({
            "op": "atomic",
            "db": atomic.db.to_string(),
            "edits": atomic.edits.iter().map(of_edit).collect::<Vec<_>>(),
        }),
        Op::AdoptSlots { version, slots } => json!({ "op": "adopt_slots", "version": version, "slots": slots.len() }),
        Op::Validated(validated) => {
            let mut line = shown_op(&validated.op);
            line["let_in_by"] = match validated.by {
                By::Functions(functions) => Value::String(functions.to_string()),
                By::Exempt => "exempt".into(),
                By::Nobody => "nobody".into(),
            };
            line
        }
        Op::AdoptValidators { db, others } => json!({
            "op": "adopt_validators",
            "db": db.to_string(),
            "others": others.iter().map(of_others).collect::<Vec<_>>(),
        }),
    }
}

fn of_others((shard, defined): &(ShardId, Defined)) -> Value {
    let ddocs: Vec<&str> = defined.validators.iter().map(|validator| &*validator.ddoc).collect();
    json!({ "shard": shard, "change": defined.change, "ddocs": ddocs })
}

fn of_edit(edit: &Edit) -> Value {
    json!({
        "op": if edit.kind.deletes() { "delete" } else { "edit" },
        "db": edit.doc.db.to_string(),
        "id": edit.doc.id.as_str(),
        "parent": edit.parent.as_ref().map(ToString::to_string),
        "body": shown(&edit.doc, &edit.body.json),
    })
}

fn grafted(graft: &Graft) -> Value {
    json!({
        "op": "graft",
        "db": graft.doc.db.to_string(),
        "id": graft.doc.id.as_str(),
        "path": graft.path.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "deleted": graft.deleted,
        "body": shown(&graft.doc, &graft.body.json),
    })
}

fn attachment(sent: &Sent) -> Value {
    match sent {
        Sent::Stub { name, .. } => json!({ "name": name, "stub": true }),
        Sent::New { attachment, source } => {
            let mut line = json!({
                "name": attachment.name,
                "content_type": attachment.content_type,
                "bytes": attachment.content.stored_bytes,
                "blob": attachment.content.blob.to_string(),
            });
            if let Source::Uploaded(upload) = source {
                line["upload"] = Value::String(upload.to_string());
            }
            line
        }
    }
}

/// A body, unless it is a secret of the cluster.
fn shown(doc: &Address, json: &[u8]) -> Value {
    let secret = doc.db == DbUid::SHARDS && doc.id.as_str() == DbUid::SESSION_KEY;
    if secret { Value::Null } else { body(json) }
}

/// A body as JSON; as text if it is none, which only a damaged log could hold.
fn body(json: &[u8]) -> Value {
    serde_json::from_slice(json).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(json).into_owned()))
}

#[cfg(test)]
mod tests {
    use common::command::{Body, EditKind};
    use common::ids::{DocId, RequestId, Slot};

    use super::*;

    #[test]
    fn the_key_of_sessions_is_not_shown() {
        let line = |db, id: &str| {
            let doc = Address { db, slot: Slot(0), id: DocId::parse(id).expect("valid") };
            let body = Body { json: bytes::Bytes::from_static(br#"{"key":"deadbeef"}"#), digest: [0; 16] };
            let edit = Edit { doc, parent: None, kind: EditKind::Update, body, revs_limit: 1 };
            command(&Command { request: RequestId(uuid::Uuid::nil()), retry: false, op: Op::Edit(edit) }).to_string()
        };
        assert!(!line(DbUid::SHARDS, DbUid::SESSION_KEY).contains("deadbeef"));
        assert!(line(DbUid::SHARDS, "cluster").contains("deadbeef"));
        assert!(line(DbUid::USERS, DbUid::SESSION_KEY).contains("deadbeef"));
    }
}
