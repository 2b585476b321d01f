//! The members of a document that start with `_`: each has a meaning, is ignored, or is refused.

use bytes::Bytes;
use serde_json::Value;

use super::Parsed;
use super::error::Error;
use super::scan::Scanner;
use crate::rev::Rev;

/// Takes the member `name` with the JSON text `raw` out of a document, or says that it stays in the body.
/// What is wrong with it is left with the scanner.
pub(super) fn take(parsed: &mut Parsed, name: &[u8], raw: Bytes, scanner: &mut Scanner<'_>) -> bool {
    let done = match name {
        b"_id" => string(&raw).ok_or(Error::IdNotString).map(|id| parsed.id = Some(id)),
        b"_rev" => rev(&raw).map(|rev| parsed.rev = Some(rev)),
        b"_deleted" => boolean(&raw).ok_or(Error::DeletedNotBoolean).map(|deleted| parsed.deleted = deleted),
        b"_revisions" => revisions(&raw).map(|revisions| parsed.revisions = Some(revisions)),
        b"_attachments" if raw.first() == Some(&b'{') => {
            parsed.attachments = Some(raw);
            Ok(())
        }
        // What a reader was told about a document comes back when it is written again.
        b"_revs_info" | b"_conflicts" | b"_deleted_conflicts" | b"_local_seq" => Ok(()),
        // The replicator's notes in its documents are body, as in CouchDB.
        b"_replication_id"
        | b"_replication_state"
        | b"_replication_state_time"
        | b"_replication_state_reason"
        | b"_replication_stats" => return false,
        _ => Err(Error::BadMember(String::from_utf8_lossy(name).into_owned())),
    };
    if let Err(error) = done {
        scanner.refuse(error);
    }
    true
}

/// `true` or `false`; the text is that of one JSON value.
pub(super) fn boolean(raw: &[u8]) -> Option<bool> {
    match raw {
        b"true" => Some(true),
        b"false" => Some(false),
        _ => None,
    }
}

fn string(raw: &[u8]) -> Option<String> {
    serde_json::from_slice(raw).ok()
}

fn rev(raw: &[u8]) -> Result<Rev, Error> {
    string(raw).and_then(|text| Rev::parse(&text).ok()).ok_or(Error::Rev)
}

fn revisions(raw: &[u8]) -> Result<(u64, Vec<String>), Error> {
    // A value and not a struct: the errors differ by what is wrong.
    let Ok(Value::Object(mut members)) = serde_json::from_slice(raw) else {
        return Err(Error::BadMember("_revisions".to_owned()));
    };
    let start = members.get("start").and_then(Value::as_u64).ok_or(Error::RevisionsStart)?;
    let Some(Value::Array(ids)) = members.remove("ids") else { return Err(Error::RevisionsIds) };
    let ids: Vec<String> = ids.into_iter().map(hash).collect::<Result<_, _>>()?;
    // Each hash has a generation, and generations count from 1.
    if ids.len() as u64 > start { Err(Error::RevisionsTooMany) } else { Ok((start, ids)) }
}

fn hash(id: Value) -> Result<String, Error> {
    match id {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(Error::RevisionsId),
    }
}
